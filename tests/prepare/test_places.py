"""A folder, an archive, a glob as a source: what is read, what is counted, what is refused."""

import gzip
import io
import json
import os
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inputs import options

from data_pipeline import errors
from data_pipeline.commands import prepare
from data_pipeline.prepare import inputs, not_read, places
from data_pipeline.readers import table
from data_pipeline.tokens import shards


def read(where, *, strict=False, **changes):
    """Returns ({path below the folder: text}, what was not read by kind)."""
    counted = not_read.NotRead(strict=strict)
    spec = inputs.parse(f"s:{where}", reader=changes.get("reader", ""), counted=counted)
    found = inputs.documents([spec], options(**changes), groups={}, counted=counted)
    texts = {item.path or item.id.rpartition("#")[0]: item.text for item in found}
    root = str(where).rstrip("/") + "/"
    return (
        {path.removeprefix(root): text for path, text in texts.items()},
        counted.by_kind().get("s", {}),
    )


@pytest.fixture
def folder(tmp_path):
    """Every kind of thing that a folder may hold."""
    root = tmp_path / "texts"
    (root / "inner" / "deep").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "a.md").write_text("# A\n\n- one\n")
    (root / "inner" / "b.txt").write_text("two")
    (root / "inner" / "deep" / "c.HTML").write_text("<p>three")
    (root / "inner" / "x.xyz").write_text("unknown")
    (root / "inner" / "y.xyz").write_text("unknown")
    (root / "noise").write_bytes(b"\x00")
    os.mkfifo(root / "pipe.1")
    (root / "bad.txt").write_bytes(b"ab\xff")
    (root / ".git" / "config.txt").write_text("hidden")
    (root / ".hidden.txt").write_text("hidden")
    (tmp_path / "secret.txt").write_text("outside")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "inner" / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.txt")
    return root


WANTED = {"a.md": "A\n\n- one", "inner/b.txt": "two", "inner/deep/c.HTML": "three"}
COUNTED = {".xyz": 2, "without suffix": 1, "undecodable": 1, "hidden": 2, "symlink": 2}


def test_a_folder_is_read_whole_and_what_is_not_is_counted(folder):
    assert read(folder) == (WANTED, COUNTED | {"no file": 2})
    assert read(f"{folder}/") == (WANTED, COUNTED | {"no file": 2})


def test_what_is_not_read_is_said_with_a_remedy(folder):
    counted = not_read.NotRead()
    spec = inputs.parse(f"s:{folder}", counted=counted)
    list(inputs.documents([spec], options(), groups={}, counted=counted))
    (line,) = counted.lines()
    assert line.startswith("s: not read: 2 ") and "2 .xyz (no reader)" in line
    assert "bad.txt, byte 2: not UTF-8" in line and "links are not followed" in line


def test_a_line_shows_the_most_frequent_kinds():
    counted = not_read.NotRead()
    for number in range(20):
        counted.add("s", f".{number}", "x", remedy="no reader")
    assert counted.lines()[0].endswith(".11 (no reader), 8 of 8 other kinds")


def test_strict_stops_at_the_first_that_is_not_read(folder):
    with pytest.raises(errors.UserError, match=r"--source s: .*noise.*\(--strict\)"):
        (folder / "bad.txt").unlink()
        (folder / "link.txt").unlink()
        (folder / "pipe.txt").unlink()
        (folder / "pipe.1").unlink()
        read(folder, strict=True)
    (folder / "noise").unlink()
    with pytest.raises(errors.UserError, match="links are not followed"):
        read(folder, strict=True)
    (folder / "inner" / "up").unlink()
    for path in folder.glob("inner/*.xyz"):
        path.unlink()
    assert read(folder, strict=True)[0] == WANTED
    (folder / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(errors.UserError, match="bad.txt, byte 0: not UTF-8.*strict"):
        read(folder, strict=True)


def test_a_glob_goes_on_and_a_named_file_must_be_read(folder):
    texts, counted = read(f"{folder}/*.txt,{folder}/inner/*")
    assert sorted(texts.values()) == ["outside", "two"]  # a pattern's links are followed
    assert counted == {"undecodable": 1, ".xyz": 2}
    with pytest.raises(errors.UserError, match="x.xyz: files of this kind are not read"):
        read(folder / "inner" / "x.xyz")
    with pytest.raises(errors.UserError, match="bad.txt, byte 2"):
        read(folder / "bad.txt")


def test_a_reader_is_named_for_a_glob_or_a_folder(folder):
    assert read(f"{folder}/inner/*.xyz", reader="plain")[0] == {
        f"{folder}/inner/{name}.xyz": "unknown" for name in "xy"
    }
    texts, counted = read(folder / "inner", reader="plain")
    assert texts["deep/c.HTML"] == "<p>three" and counted == {"symlink": 1}


def test_nothing_that_is_read_is_an_error_that_says_what_was_there(tmp_path):
    (tmp_path / "a.xyz").write_text("x")
    with pytest.raises(errors.UserError, match=r"nothing in .* is read: 1 .xyz \(no reader\)"):
        read(tmp_path)
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(errors.UserError, match="no text in .*; not read: .*1 undecodable"):
        read(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.UserError, match="nothing in .* is read: it is empty"):
        read(tmp_path / "empty")


def test_what_an_extra_would_read_is_counted_with_it(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.later").write_text("two")
    later = table.Reader("reader_of_nothing", (".later",))
    monkeypatch.setitem(table.READERS, "later", later)
    monkeypatch.setitem(table.BY_SUFFIX, ".later", "later")
    counted = not_read.NotRead()
    spec = inputs.parse(f"s:{tmp_path}", counted=counted)
    assert len(list(inputs.documents([spec], options(), groups={}, counted=counted))) == 1
    said = "1 .later (pip install -r requirements-corpora.txt reads them)"
    assert counted.lines() == [f"s: not read: {said}"]


def test_kinds_and_titles(tmp_path):
    files = {
        "a.md": "# The `A`\n\ntext",
        "b.html": "<head><title>B</title></head><p>text",
        "c.py": "x = 1\n",
        "README": "read me",
        "d.jsonl": '{"text": "x", "title": "T", "kind": "law"}\n',
        "ls.1": ".TH LS 1\n.SH NAME\nls \\- list\n",
        "access.log.1": "127.0.0.1 GET\n",
        "run": "#!/usr/bin/perl -w\n",
        "data": "a\1b",
        "empty": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "NEWS.gz").write_bytes(gzip.compress(("ä" * 5000).encode()))
    counted = not_read.NotRead()
    spec = inputs.parse(f"s:{tmp_path}", counted=counted)
    found = inputs.documents([spec], options(), groups={}, counted=counted)
    names = {os.path.basename(item.path): (item.kind, item.title) for item in found}
    assert names == {
        "a.md": ("markdown", "The A"),
        "b.html": ("html", "B"),
        "c.py": ("code/python", ""),
        "README": ("plain", ""),
        "NEWS.gz": ("plain", ""),
        "run": ("code/perl", ""),
        "d.jsonl": ("law", "T"),
        "ls.1": ("man", ""),
    }
    assert counted.by_kind() == {"s": {".1": 1, "without suffix": 2}}


def test_a_data_set_of_hugging_face_on_disk(tmp_path):
    """Laid out as datasets.save_to_disk does it, and as a hub's folder of Parquet."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def arrow(path, text):
        made = pyarrow.table({"text": [text]})
        with pyarrow.ipc.new_stream(path, made.schema) as stream:
            stream.write_table(made)

    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "dataset_info.json").write_text('{"features": {}}')
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (tmp_path / "train" / "state.json").write_text(json.dumps(state))
    arrow(tmp_path / "train" / "data-00000-of-00001.arrow", "one")
    arrow(tmp_path / "train" / "cache-1f3a.arrow", "mapped from one")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    (tmp_path / "hub" / "README.md").write_text("card")
    made = pyarrow.table({"text": ["two"]})
    parquet.write_table(made, tmp_path / "hub" / "data" / "train-00000.parquet")
    texts, counted = read(tmp_path, strict=True)
    assert sorted(texts.values()) == ["card", "one", "two"] and counted == {"metadata": 4}
    (tmp_path / "train" / "state.json").write_text("[]")
    assert len(read(tmp_path)[0]) == 4


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def tarred(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


@pytest.mark.parametrize("name", ["t.zip", "t.tar.gz", "t.TGZ", "t.tar"])
def test_archives_are_read_like_folders(tmp_path, name):
    write = zipped if name.endswith("zip") else tarred
    mode = {} if name.endswith("zip") else {"mode": "w" if name == "t.tar" else "w:gz"}
    members = {"d/a.md": "*x*", "b.txt": "y", "c.xyz": "z", "t.zip": "", ".h": ""}
    write(tmp_path / name, members, **mode)
    wanted = {"d/a.md": "x", "b.txt": "y"}, {".xyz": 1, "archive": 1, "hidden": 1}
    assert read(tmp_path / name) == wanted
    inside = {f"{name}/{path}": text for path, text in wanted[0].items()}
    assert read(tmp_path) == (inside, wanted[1])
    assert read(f"{tmp_path}/t*")[1] == wanted[1]


def test_archives_are_limited(tmp_path, monkeypatch):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    zipped(folder / "out.zip", {"../../evil.txt": "x", "b.txt": "y"})
    (folder / "no.zip").write_bytes(b"PK\x03\x04 no archive")
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.txt", b"0" * 5_000_000)
    monkeypatch.setattr(places, "_SMALL_BYTES", 1000)
    with tarfile.open(folder / "links.tar", "w") as archive:
        info = tarfile.TarInfo("passwd.txt")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert read(folder) == ({"a.txt": "one"}, {"archive": 3, "symlink": 1})
    with pytest.raises(errors.UserError, match=r"links.tar/passwd.txt: links .*--strict"):
        read(folder / "links.tar", strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["texts"]
    for name, said in (
        ("out", "leaves the archive's directory"),
        ("no", "neither tar nor zip, or damaged"),
        ("bomb", "unpacks to more than"),
        ("links", "no text in links.tar"),
    ):
        with pytest.raises(errors.UserError, match=said):
            read(next(folder.glob(f"{name}.*")))


def test_a_manifest_keeps_names_and_not_where_they_stood(folder):
    names = {"": ["texts/"], "/": ["texts/"], "/*.md": ["a.md"], "/a.md": ["a.md"]}
    for path, recorded in names.items():
        assert inputs.parse(f"s:{folder}{path}").recorded == recorded


@given(
    names=st.lists(
        st.from_regex(r"\A[a-c.]{1,3}(/[a-c.\-]{1,3}){0,2}\Z").filter(
            lambda name: not {".", ".."} & set(name.split("/"))
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_every_file_of_a_folder_is_read_or_counted_once(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("any")
    made = set()
    for name in names:
        path = root / f"{name}.txt"
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
            made.add(path)
    counted = not_read.NotRead()
    found = list(places.find("s", str(root), reader="", counted=counted))
    hidden = [path for path in made if any(p.startswith(".") for p in path.relative_to(root).parts)]
    assert {file.path for file in found} == made - set(hidden)
    assert len(found) == len(made) - len(hidden)
    assert bool(counted) == bool(hidden)


def test_the_command_goes_on_and_says_what_it_did_not_read(folder, tmp_path, capsys):
    (folder / "b.txt").write_text("\n\n".join(f"Paragraph {number}." * 9 for number in range(400)))
    arguments = ["--source", f"mine:{folder}/", "--tokenizer", "gpt2-4096", "--workers", "1"]
    assert prepare.main([*arguments, "--out_dir", str(tmp_path / "out")]) == 0
    assert "\nmine: not read: 2 " in capsys.readouterr().out
    recorded = shards.read_manifest(tmp_path / "out")["settings"][0]
    assert recorded["inputs"] == {"mine": ["texts/"]}
    with pytest.raises(errors.UserError, match="strict"):
        prepare.main([*arguments, "--strict", "--out_dir", str(tmp_path / "strict")])
    assert not (tmp_path / "strict").exists()


def test_a_pattern_of_another_suffix_is_answered_with_what_is_there(tmp_path):
    """The guide's corpus_shards/*.txt, where a corpus is .jsonl.zst here."""
    folder = tmp_path / "corpus_shards"
    folder.mkdir()
    for number in range(3):
        (folder / f"shard_{number}.jsonl.zst").touch()
    with pytest.raises(errors.UserError, match=r"/\*\.jsonl\.zst has 3; check the path"):
        inputs.parse(f"domain:{folder}/*.txt")
    with pytest.raises(errors.UserError, match="matches no file: check the path"):
        inputs.parse(f"domain:{tmp_path}/*.txt")
