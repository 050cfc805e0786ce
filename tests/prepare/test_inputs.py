"""Reading texts: every kind of file, every kind of damage named with file and place."""

import bz2
import gzip
import io
import json
import lzma
import random
import sys
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_pipeline import errors
from data_pipeline.prepare import build_report, inputs
from data_pipeline.readers import account, markers, pieces, table, textfiles


def options(**changes):
    values = {
        "bad_text": "error",
        "text_field": "text",
        "doc_separator": "",
        "split_tsv": False,
        "rows_per_document": 3,
        "lowercase": False,
        "filter_lines": False,
        "fold_whitespace": False,
    }
    return inputs.Options(**(values | changes))


def read(pattern, name="s", groups=None, **changes):
    specs = [inputs.parse(f"{name}:{pattern}", reader=changes.get("reader", ""))]
    groups = {} if groups is None else groups
    return list(inputs.documents(specs, options(**changes), groups=groups))


def texts(pattern, **changes):
    return [item.text for item in read(pattern, **changes)]


def test_a_text_file_is_one_document_unchanged(tmp_path):
    text = "\tdef f():\n\n        return 'Ä'  \n"
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.md").write_text("# B\n")
    assert texts(f"{tmp_path}/*.txt,{tmp_path}/*.md", reader="plain") == [text, "# B\n"]


def test_marks_and_line_ends(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n\r\n")
    assert texts(f"{tmp_path}/a.txt") == ["one\ntwo\nthree\n\n"]


@given(data=st.binary(max_size=60).filter(lambda b: b"\0" not in b), size=st.integers(1, 7))
@example(data=b"\xef\xbb\xbf", size=1)
@example(data="\ufeff\U0001f600\n".encode("utf-16-be"), size=3)
@example(data="\ufeff\U0001f600\n".encode("utf-16-le")[:-3], size=1)
@settings(max_examples=200, deadline=None)
def test_blocks_of_any_size_read_the_same(tmp_path_factory, data, size):
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    path.write_bytes(data)
    said = "UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "UTF-8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textfiles, "_BLOCK_BYTES", size)
        try:
            with open(path, "rb") as file:
                got = "".join(textfiles.text_blocks(file, path="a.txt", bad_text="error"))
        except errors.UserError as error:
            assert f"not {said}" in str(error)
            with pytest.raises(UnicodeDecodeError) as caught:
                data.decode(said)
            assert f"byte {caught.value.start}:" in str(error)
            return
    wanted = data.decode(said).removeprefix("\ufeff")
    assert got == wanted.replace("\r\n", "\n").replace("\r", "\n")


BAD = {
    "utf8.txt": (b"abc\ndef \xff ghi\n", "byte 8: not UTF-8"),
    "cut.txt": (b"abc\xc3", "byte 3: not UTF-8"),
    "nul.txt": (b"abc\0def", "byte 3: a NUL byte"),
    "wide.txt": ("abc".encode("utf-16") + b"x", "byte 8: not UTF-16"),
    "wide_nul.txt": ("a\0c".encode("utf-16"), "U\\+0000 in UTF-16"),
    "wider.txt": ("abc".encode("utf-32"), "U\\+0000 in UTF-16, so it is binary or UTF-32"),
    "utf8.jsonl": (b'{"text": "a"}\n{"text": "\xff"}\n', "byte 24: not UTF-8"),
    "nul.jsonl": (b'{"text": "a\\u0000b"}\n', "line 1 at byte 0: U\\+0000 at character 1"),
    "lone.jsonl": (b'{"text": "ab\\ud800"}\n', "U\\+D800 at character 2"),
    "cut.jsonl": (b'{"text": "a"}\n{"text": \n', "line 2 at byte 14: not JSON"),
    "list.jsonl": (b"[1]\n", "not a JSON object"),
    "field.jsonl": (b'{"body": "a"}\n', "no field 'text' but body"),
    "type.jsonl": (b'{"text": 3}\n', "is int, text is wanted"),
    "nul.tsv": (b"a\tb\nc\0\n", "byte 5: a NUL byte"),
    "utf8.tsv": (b"a\tb\n\xff\n", "byte 4: not UTF-8"),
    "cut.txt.gz": (gzip.compress(b"abc" * 999)[:-9], "truncated or damaged"),
    "no.txt.gz": (b"plain", "truncated or damaged"),
    "no.txt.zst": (b"plain text here", "truncated or damaged"),
    "no.parquet": (b"PAR1", "no whole Parquet file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_place(tmp_path, name):
    content, said = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.UserError, match=said) as caught:
        read(f"{tmp_path}/{name}")
    assert name in str(caught.value)


def test_text_as_windows_writes_it_is_read(tmp_path):
    """UTF-16 with a mark: pages of Markdown were read so, and plain text refused."""
    (tmp_path / "a.txt").write_bytes("\ufeffeins\r\nzwei \u00e4\U0001f600".encode("utf-16-le"))
    (tmp_path / "b.txt").write_bytes("\ufeffdrei".encode("utf-16-be"))
    assert texts(f"{tmp_path}/*.txt") == ["eins\nzwei \u00e4\U0001f600", "drei"]


@pytest.mark.parametrize(
    "name", ["wide.txt", "utf8.txt", "nul.txt", "utf8.jsonl", "nul.jsonl", "lone.jsonl"]
)
def test_bad_text_can_be_replaced(tmp_path, name):
    (tmp_path / name).write_bytes(BAD[name][0])
    got = "".join(texts(f"{tmp_path}/{name}", bad_text="replace"))
    assert "\ufffd" in got and "\0" not in got
    got.encode()


def test_pairs_of_surrogates_are_one_character(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "\\ud83d\\ude00 \\ud800"}\n')
    assert texts(f"{tmp_path}/a.jsonl", bad_text="replace") == ["\U0001f600 \ufffd"]


def test_records_keep_what_they_say_of_themselves(tmp_path):
    record = {"text": "x", "source": "rfc", "license": "MIT", "split_key": "c7", "lang": "de"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n\n" + '{"text": "y"}\n')
    groups = {}
    first, second = read(f"{tmp_path}/a.jsonl", name="domain", groups=groups)
    assert (first.source, first.licence, first.split_key, first.lang) == ("rfc", "MIT", "c7", "de")
    assert second.source == "domain"
    assert groups == {"rfc": "domain", "domain": "domain"}


def test_compressed_files(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    line = b'{"text": "a"}\n'
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line) + gzip.compress(line))
    (tmp_path / "b.jsonl.bz2").write_bytes(bz2.compress(line))
    packed = zstandard.ZstdCompressor().compress(line)
    (tmp_path / "c.jsonl.zst").write_bytes(packed + packed)
    assert texts(f"{tmp_path}/*") == ["a"] * 5


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_a_compressed_file_that_ends_too_early_is_never_taken_for_a_short_one(tmp_path, suffix):
    zstandard = pytest.importorskip("zstandard")
    text = "".join(f"line {number} of the text\n" for number in range(5000)).encode()
    compress = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "zst": zstandard.ZstdCompressor(write_content_size=False).compress,
    }
    packed = compress[suffix](text)
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(packed + packed)
    assert "".join(texts(path)).encode() == text + text
    for size in (5, len(packed) // 2, len(packed) - 1, len(packed) + 3, 2 * len(packed) - 1):
        path.write_bytes((packed + packed)[:size])
        with pytest.raises(errors.UserError, match="truncated or damaged"):
            texts(path)


def test_suffixes_of_any_case_name_the_reader_and_the_compression(tmp_path):
    (tmp_path / "A.TXT.GZ").write_bytes(gzip.compress(b"one"))
    (tmp_path / "b.Md").write_text("# T\n\n- `x  y`\n")
    (tmp_path / "c.html.xz").write_bytes(lzma.compress(b"<ol><li>a<li>b</ol>"))
    (tmp_path / "d.rst").write_text("T\n=\n\n.. literalinclude:: code.py\n")
    (tmp_path / "code.py").write_text("x = 1\n")
    assert texts(f"{tmp_path}/[A-Z].*") == ["one"]
    assert texts(f"{tmp_path}/[bcd].*") == ["T\n\n- x  y", "1. a\n2. b", "T\n\nx = 1"]
    assert texts(f"{tmp_path}/b.Md", reader="plain") == ["# T\n\n- `x  y`\n"]


def test_one_table_of_readers_for_every_command():
    """A file is read alike by a corpus build, whose registry names the reader, and by prepare."""
    assert table.BY_SUFFIX[".md"] == "markdown" and table.named_for("x.TSV.zst") == "rows"
    for suffix, name in table.BY_SUFFIX.items():
        assert suffix in table.READERS[name].suffixes and suffix == suffix.lower()
    assert sum(len(each.suffixes) for each in table.READERS.values()) == len(table.BY_SUFFIX)


@pytest.mark.parametrize(
    "name", ["text[1].txt", "a,b.txt", "a, b,c.txt", "what?.txt", "x{1,2}.txt", "star*.txt"]
)
def test_names_that_look_like_patterns(tmp_path, name):
    (tmp_path / name).write_text(name)
    (tmp_path / "text1.txt").write_text("other")
    assert texts(f"{tmp_path}/{name}") == [name]
    assert sorted(texts(f"{tmp_path}/text1.txt,{tmp_path}/{name}")) == sorted(["other", name])
    assert sorted(texts(f"{tmp_path}/{name},{tmp_path}/text1.txt")) == sorted(["other", name])


def test_what_readers_leave_out_of_converted_files_is_told(tmp_path):
    (tmp_path / "a.md").write_text("See [it](http://a.b/c).\n\n<script>no()</script>\n")
    (tmp_path / "b.md").write_text("<!-- empty -->")
    counted = account.Words()
    specs = [inputs.parse(f"s:{tmp_path}/*.md")]
    assert len(list(inputs.documents(specs, options(), groups={}, account=counted))) == 1
    assert build_report.left_out(counted) == [
        "of 10 words, 8 are not text or left out: 4 words markup/link_targets, "
        "2 words markup/tags, 1 words script, 1 words markup/comments, 1 file_without_text"
    ]
    assert build_report.left_out(account.Words()) == []


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table(
        {"body": ["a", "b"] * 300, "source": ["x", None] * 300, "n": [1, 2] * 300}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    got = read(f"{tmp_path}/a.parquet", text_field="body")
    assert [item.text for item in got] == ["a", "b"] * 300
    assert [item.source for item in got[:2]] == ["x", "s"]
    with pytest.raises(errors.UserError, match="no column 'text' but body, source, n"):
        read(f"{tmp_path}/a.parquet")


@pytest.mark.parametrize("rows_of_group", [50, 10_000])
def test_parquet_is_read_as_it_goes(tmp_path, rows_of_group):
    """A file of any size: neither all row groups nor one of them has to fit into memory."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    from data_pipeline.readers.records import columns

    draw = random.Random(0)
    texts = ["".join(map(chr, draw.choices(range(33, 127), k=20_000))) for _ in range(600)]
    pages = {"data_page_size": 1 << 16, "write_batch_size": 16, "use_dictionary": False}
    how = {"row_group_size": rows_of_group, **pages}
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", **how)

    class Counted(io.FileIO):
        taken = 0

        def read(self, size=-1):
            content = super().read(size)
            self.taken += len(content)
            return content

    with Counted(tmp_path / "a.parquet") as stream:
        for number, item in enumerate(columns.read(stream, path="a")):
            assert item.text == texts[number]
            assert stream.taken < (number + 1) * 20_000 + (4 << 20)
        assert number == 599 and stream.taken > 12_000_000 * 0.8


def test_arrow_files_and_streams(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    made = pyarrow.table({"body": ["a", None, "b"], "title": ["A", None, "B"], "n": [1, 2, 3]})
    for name, writer in (("s", pyarrow.ipc.new_stream), ("f", pyarrow.ipc.new_file)):
        with writer(tmp_path / f"{name}.arrow", made.schema) as stream:
            stream.write_table(made.slice(0, 1), max_chunksize=1)
            stream.write_table(made.slice(2, 1))
        got = read(f"{tmp_path}/{name}.arrow", text_field="body")
        assert [(item.text, item.title, item.kind) for item in got] == [
            ("a", "A", "arrow"),
            ("b", "B", "arrow"),
        ]
        data = (tmp_path / f"{name}.arrow").read_bytes()
        for size in (0, 7, len(data) // 2):
            (tmp_path / "cut.arrow").write_bytes(data[:size])
            with pytest.raises(errors.UserError, match="no whole Arrow file"):
                read(f"{tmp_path}/cut.arrow", text_field="body")
    with pytest.raises(errors.UserError, match="no column 'text' but body, title, n"):
        read(f"{tmp_path}/s.arrow")


def test_tsv_rows_stay_with_their_neighbours(tmp_path):
    (tmp_path / "a.tsv").write_text("".join(f"de{i}\ten{i}\n" for i in range(4)))
    assert texts(f"{tmp_path}/a.tsv") == ["de0\ten0\nde1\ten1\nde2\ten2", "de3\ten3"]
    assert texts(f"{tmp_path}/a.tsv", split_tsv=True)[1] == "de3\nen3"


def test_the_originals_blocks_lose_their_headers(tmp_path):
    (tmp_path / "a.txt").write_text(
        "==== DOC START ====\nSOURCE: owasp/top 10 | PATH: a/b.md\n====\n\n  one\ntwo\n"
        "==== DOC END ====\n\n==== DOC START ====\nSOURCE: rfc | PATH: c\n====\nthree\n"
    )
    (tmp_path / "b.txt").write_text(
        "# file header\n<|doc|>\nsource=fedlex level=cc lang=de\n<|text|>\nArt. 1\n<|enddoc|>\n"
        "<|doc|>\nsource=fedlex\n<|text|>\nArt. 2\n\n  Abs. 2\n<|enddoc|>\n"
    )
    got = read(f"{tmp_path}/*.txt", name="law")
    assert [(item.source, item.text) for item in got] == [
        ("owasp_top_10", "  one\ntwo"),
        ("rfc", "three"),
        ("law", "Art. 1"),
        ("law", "Art. 2\n\n  Abs. 2"),
    ]


@given(
    parts=st.lists(st.text("ab\n", max_size=12), min_size=1, max_size=8),
    size=st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_separators_split_the_same_in_blocks_of_any_size(parts, size):
    text = "\n-----\n".join(parts)
    blocks = [text[i : i + size] for i in range(0, len(text), size)]
    separator = markers.compile_separator(r"^-----$")
    got = {}
    for number, part, _ in markers.split(blocks, separator=separator):
        got[number] = got.get(number, "") + part
    pieces_of = [piece for piece in separator.split(text)]
    assert [got.get(number, "") for number in range(len(pieces_of))] == pieces_of


def test_a_separator_that_matches_between_characters_is_refused():
    """It would be found at its place for ever."""
    separator = markers.compile_separator(r"(?=^Chapter)")
    with pytest.raises(errors.UserError, match="matches between two characters"):
        list(markers.split(["one\nChapter 1\ntwo\n"], separator=separator))


@pytest.mark.parametrize("mark", ["==== DOC START ====", "<|doc|>"])
def test_a_text_that_only_mentions_a_mark_is_kept_whole(tmp_path, mark):
    text = f"How blocks are written:\n{mark}\n====\nbody\n==== DOC END ====\nand more"
    (tmp_path / "a.txt").write_text(text)
    assert texts(f"{tmp_path}/a.txt") == [text]


@pytest.mark.parametrize("pattern", ["(", "x*", ""])
def test_separators_must_match_something(pattern):
    if pattern:
        with pytest.raises(errors.UserError, match="--doc_separator"):
            markers.compile_separator(pattern)


def test_a_long_line_is_read_in_parts(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    with open(path, "w") as file:
        for _ in range(40):
            file.write("word " * 100_000)
    tracemalloc.start()
    sizes = [
        len(item.text)
        for item in inputs.documents([inputs.parse(f"s:{path}")], options(), groups={})
    ]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == 20_000_000 and max(sizes) <= 2 * pieces.MAX_DOCUMENT_CHARS
    assert peak < 40e6
    monkeypatch.setattr(textfiles, "MAX_LINE_BYTES", 1000)
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "x" * 2000}) + "\n")
    with pytest.raises(errors.UserError, match="line 1 at byte 0: longer than"):
        read(f"{tmp_path}/b.jsonl")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("wiki", "NAME:paths"),
        ("wiki:", "NAME:paths"),
        ("wiki:/nowhere/*.txt", "matches no file"),
        (f"wiki:{sys.executable}", "not read"),
    ],
)
def test_bad_specs(spec, said):
    with pytest.raises(errors.UserError, match=said):
        inputs.parse(spec)


def test_a_file_that_links_lead_to_twice_is_read_once(tmp_path):
    (tmp_path / "book.txt").write_text("text")
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "alias.txt").symlink_to("book.txt")
    (tmp_path / "other.txt").write_text("text")
    found = inputs.parse(f"s:{tmp_path}/**/*.txt").files
    assert sorted(file.path.name for file in found) == ["alias.txt", "other.txt"]
    assert all(file.path.parent == tmp_path for file in found)


def test_one_source_under_two_names(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "source": "rfc"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "y", "source": "rfc"}\n')
    specs = [inputs.parse(f"one:{tmp_path}/a.jsonl"), inputs.parse(f"two:{tmp_path}/b.jsonl")]
    with pytest.raises(errors.UserError, match="both --source one and two"):
        list(inputs.documents(specs, options(), groups={}))


def test_the_originals_rewritings_are_off_unless_asked(tmp_path):
    text = "    if X  then do this and that:\n\nshort\n"
    (tmp_path / "a.txt").write_text(text)
    path = f"{tmp_path}/a.txt"
    assert texts(path) == [text]
    assert texts(path, lowercase=True) == [text.lower()]
    assert texts(path, fold_whitespace=True) == ["if X then do this and that:\nshort"]
    assert texts(path, filter_lines=True) == ["    if X  then do this and that:"]


def test_tfds_datasets_without_tensorflow(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    import contextlib
    import io

    class SmallNews(tfds.core.GeneratorBasedBuilder):
        """Two texts."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2)}
            )
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number, text in enumerate(["Grün", "second\ntext"]):
                yield number, {"text": text, "label": 0}

    builder = SmallNews(data_dir=str(tmp_path), file_format="array_record")
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    spec = inputs.parse(f"news:tfds:{builder.data_dir}:train")
    got = list(inputs.documents([spec], options(), groups={}))
    assert [item.text for item in got] == ["Grün", "second\ntext"]
    assert got[0].source == "news"
    for bad in (f"{builder.data_dir}:nosplit", f"{tmp_path}/nothing:train", "x"):
        with pytest.raises(errors.UserError, match="tfds:"):
            list(inputs.documents([inputs.parse(f"n:tfds:{bad}")], options(), groups={}))
    spec = inputs.parse(f"news:tfds:{builder.data_dir}:train")
    with pytest.raises(errors.UserError, match="no field 'body' but label, text"):
        list(inputs.documents([spec], options(text_field="body"), groups={}))


def test_tfds_datasets_by_name(tmp_path, monkeypatch):
    """A builder with configs is prepared when it is first asked for, and found again."""
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path))
    tfds.disable_progress_bar()

    class NamedPairs(tfds.core.GeneratorBasedBuilder):
        """Translations, and single texts."""

        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [
            tfds.core.BuilderConfig(name=name, description=name) for name in ("de_en", "plain")
        ]

        def _info(self):
            pair = tfds.features.Translation(("de", "en"))
            plain = tfds.features.FeaturesDict({"text": tfds.features.Text()})
            features = pair if self.builder_config.name == "de_en" else plain
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(0), "test": self._generate_examples(100)}

        def _generate_examples(self, first):
            for i in range(first, first + 10):
                pair = {"de": f"Haus {i}", "en": f"house {i}"}
                yield i, pair if self.builder_config.name == "de_en" else {"text": pair["de"]}

    def texts_of(spec, **changes):
        found = inputs.documents([inputs.parse(spec)], options(**changes), groups={})
        return [item.text for item in found]

    assert texts_of("p:tfds:named_pairs/plain:train[:20%]") == ["Haus 0", "Haus 1"]
    assert texts_of("p:tfds:named_pairs/plain:1.0.0:train+test")[9:11] == ["Haus 9", "Haus 100"]
    assert (tmp_path / "named_pairs" / "plain" / "1.0.0").is_dir()
    pairs = texts_of("p:tfds:named_pairs/de_en:test", rows_per_document=4)
    assert len(pairs) == 3 and pairs[0].startswith("Haus 100\nhouse 100\nHaus 101\n")
    with pytest.raises(errors.UserError, match="TFDS knows no such dataset"):
        texts_of("p:tfds:there_is_none_of_this_name:train")


@pytest.mark.parametrize("name", ["wikipedia/20230601.de", "wmt19_translate/de-en", "wiki40b/de"])
def test_tfds_text_builders_are_found_without_tensorflow(name):
    tfds = pytest.importorskip("tensorflow_datasets")
    from data_pipeline.readers.records import tfds_text

    assert tfds_text._builder(name).info.full_name.startswith(f"{name}/")
    assert "tensorflow" not in sys.modules, tfds.__version__
