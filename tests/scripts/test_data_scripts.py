"""The data tools as commands: what they print, exit with, and leave alone."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from conftest import ROOT, documents

from data_pipeline import atomic, errors
from data_pipeline.batches import loader, mixture
from data_pipeline.tokens import shards, verification


def run(name, *args):
    """Runs scripts/NAME.py in this process; returns its exit code as a shell would see it."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    sys.path.insert(0, str(ROOT / "scripts"))
    spec.loader.exec_module(module)
    sys.path[:] = path
    return errors.run(lambda: module.main([str(arg) for arg in args]))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A directory with corpus.jsonl (two named sources), notes.txt and pairs.tsv."""
    root = tmp_path_factory.mktemp("texts")
    with open(root / "corpus.jsonl", "w") as file:
        for name in ("rfc", "owasp"):
            for item in documents(name, 120, 0):
                file.write(json.dumps({"text": item.text, "source": name, "licence": "MIT"}) + "\n")
    (root / "notes.txt").write_text("\n\n".join(item.text for item in documents("n", 150, 1)))
    with open(root / "pairs.tsv", "w") as file:
        for item in documents("p", 60, 2):
            for line in item.text.splitlines():
                file.write(f"{line}\t{line.upper()}\n")
    return root


@pytest.fixture(scope="module")
def prepared(texts, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    common = ("--tokenizer", "gpt2-4096", "--tokens_per_shard", "20000", "--workers", "2")
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"domain:{texts}/corpus.jsonl", "--out_dir", root / "domain"),
        *("--total_tokens", "500000000", *common),
    )
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"notes:{texts}/*.txt", "--source", f"pairs:{texts}/pairs.tsv"),
        *("--weight", "notes:0.6", "--weight", "pairs:0.4", "--total_tokens", "30000"),
        *("--split_tsv", "--rows_per_document", "8", "--out_dir", root / "general", *common),
    )
    return root


def test_prepared_datasets(prepared, capsys):
    assert not run("inspect_dataset", prepared / "domain", "--json", "--verify")
    shown = json.loads(capsys.readouterr().out)
    assert sorted(shown["sources"]) == ["owasp", "rfc"]
    assert shown["settings"][0]["total_tokens"] == 500_000_000
    assert shown["settings"][0]["inputs"] == {"domain": ["corpus.jsonl"]}
    general = shards.open_dataset(prepared / "general")
    tokens = {name: sum(one.tokens.values()) for name, one in general.sources.items()}
    assert tokens == {"notes": 18_000, "pairs": 12_000}


def test_inspect_shows_documents(prepared, capsys):
    assert not run("inspect_dataset", prepared / "domain", "--decode", "2", "--split", "val")
    shown = capsys.readouterr().out
    assert "MIT" in shown and shown.count("--- rfc/val document") == 2
    texts = {item.text.strip() for item in documents("rfc", 120, 0)}
    body = shown.split("--- rfc/val document")[1].split("\n", 1)[1].strip()
    assert body in texts


def test_append_counts_what_was_there(prepared, texts, tmp_path, capsys):
    import shutil

    copy = shutil.copytree(prepared / "domain", tmp_path / "copy")
    assert not run(
        "append_to_dataset", "--dataset_dir", copy, "--source", f"x:{texts}/corpus.jsonl"
    )
    assert "120 left out: there already" in capsys.readouterr().out
    assert not run(
        "append_to_dataset",
        *("--dataset_dir", copy, "--source", f"notes:{texts}/notes.txt"),
        *("--target_tokens", "5000"),
    )
    dataset = shards.open_dataset(copy)
    verification.verify(dataset)
    assert sum(dataset.sources["notes"].tokens.values()) == 5000


def test_a_mixture_trains_like_its_parts(prepared, tmp_path, capsys):
    assert not run(
        "mix_tokenized_datasets",
        *("--domain_dir", prepared / "domain", "--replay_dir", prepared / "general"),
        *("--output_dir", tmp_path / "mixed", "--replay_ratio", "0.20"),
    )
    assert "share 1/5" not in capsys.readouterr().err
    made = mixture.from_manifest(tmp_path / "mixed")
    assert sum(one.share for one in made.components if one.role == "general") * 5 == 1


def test_an_append_to_a_materialized_mixture_asks_for_the_fraction(
    prepared, texts, tmp_path, capsys
):
    """Its parts may have different ones."""
    mixed = tmp_path / "mixed"
    assert not run(
        "mix_tokenized_datasets",
        *("--domain_dir", prepared / "domain", "--replay_dir", prepared / "general"),
        *("--output_dir", mixed, "--replay_ratio", "0.05", "--materialize"),
    )
    before = (mixed / "manifest.json").read_bytes()
    capsys.readouterr()
    append = ("append_to_dataset", "--dataset_dir", mixed, "--source", f"new:{texts}/notes.txt")
    assert run(*append) == 2
    shown = capsys.readouterr().err
    assert "give --val_fraction" in shown and shown.count("\n") == 1
    assert (mixed / "manifest.json").read_bytes() == before
    assert not run(*append, "--val_fraction", "0.2")


@pytest.mark.parametrize("settings", [{"command": "sample"}, {"answers": {"after": [5], "end": 7}}])
def test_text_is_not_added_to_a_models_own_words(prepared, texts, tmp_path, capsys, settings):
    """It would be evaluated as these: of a chat model as what stands outside of answers."""
    shutil.copytree(prepared / "domain", tmp_path / "sampled")
    manifest = shards.read_manifest(tmp_path / "sampled")
    (own, *_) = manifest["settings"]
    manifest |= {"settings": [own | settings]}
    atomic.write_json(tmp_path / "sampled" / shards.MANIFEST, manifest)
    source = ("--source", f"new:{texts}/notes.txt")
    assert run("append_to_dataset", "--dataset_dir", tmp_path / "sampled", *source) == 2
    shown = capsys.readouterr().err
    assert "has a model's own words" in shown and shown.count("\n") == 1
    assert shards.read_manifest(tmp_path / "sampled") == manifest


def test_an_append_to_masked_text_masks_too(texts, tmp_path, capsys):
    pytest.importorskip("detect_secrets")
    for name in ("one", "two", "three"):
        words = f"Write to anna.{name}@realmail.ch about {name}, soon.\n\n" * 3
        (tmp_path / f"{name}.txt").write_text(words + "More of it.\n")
    data = tmp_path / "masked"
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"mine:{tmp_path}/one.txt", "--out_dir", data, "--sensitive", "mask"),
        *("--tokenizer", "gpt2-4096", "--val_fraction", "0"),
    )
    append = ("append_to_dataset", "--dataset_dir", data, "--source")
    capsys.readouterr()
    assert not run(*append, f"mine:{tmp_path}/two.txt")
    shown = capsys.readouterr().out
    assert re.search(r"^mine: sensitive: 3 .* \(masked\)$", shown, re.M)
    assert not run(*append, f"mine:{tmp_path}/three.txt", "--sensitive", "count")
    dataset = shards.open_dataset(data)
    stream = dataset.sources["mine"].stream("train")
    text = dataset.vocabulary().decode(stream.read(0, len(stream)).tolist())
    assert "anna.three@" in text and "anna.two@" not in text and "anna.one@" not in text


def test_two_replay_datasets(prepared, tmp_path):
    assert not run(
        "mix_tokenized_datasets",
        *("--domain_dir", f"{prepared}/domain", "--replay_dir", f"{prepared}/general#notes"),
        *("--replay2_dir", f"{prepared}/general#pairs", "--output_dir", tmp_path / "mixed"),
        *("--replay_ratio", "0.2", "--replay2_ratio", "0.05"),
    )
    shares = {
        one.key: float(one.share) for one in mixture.from_manifest(tmp_path / "mixed").components
    }
    assert shares["general/notes"] == 0.2 and shares["general/pairs"] == 0.05


@pytest.mark.parametrize("storage", ["tfds", "array_record"])
def test_training_from_an_export_gives_the_same_batches(prepared, tmp_path, storage):
    out = tmp_path / "out"
    assert not run(
        "export_tfds",
        *("--dataset_dir", prepared / "domain", "--out_dir", out, "--format", storage),
    )
    loaders = [
        loader.TrainLoader(
            mixture.build(
                domain=(str(directory),),
                general=(str(prepared / "general"),),
                domain_weights=(),
                general_weights=(),
                replay_ratio=0.3,
            ),
            block_size=100,
            batch_size=10,
            seed=0,
        )
        for directory in (prepared / "domain", out)
    ]
    assert loaders[0].fingerprint == loaders[1].fingerprint
    for step in (0, 1, 40):
        assert np.array_equal(loaders[0].batch(step).tokens, loaders[1].batch(step).tokens)
    verification.verify(shards.open_dataset(out))


def test_the_originals_layout(texts, tmp_path):
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"domain:{texts}/corpus.jsonl", "--out_dir", tmp_path / "d"),
        *("--layout", "mypt", "--tokens_per_shard", "20000"),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]
    read = np.concatenate(
        [np.fromfile(path, np.uint32) for path in sorted(tmp_path.glob("d/*/*.bin"))]
    )
    metadata = json.loads((tmp_path / "d" / "dataset_metadata.json").read_text())
    assert len(read) == metadata["total_tokens"] and read.max() == 50256
    assert shards.open_dataset(tmp_path / "d").storage == "mypt"


def test_the_originals_layout_of_another_vocabulary(texts, tmp_path, capsys):
    source = ("--source", f"domain:{texts}/notes.txt", "--tokenizer", "gpt2-4096")
    for name, layout in (("native", "mypt_jax"), ("d", "mypt")):
        out = ("--out_dir", tmp_path / name, "--layout", layout)
        assert not run("prepare_weighted_dataset", *source, *out)
    native, written = shards.open_dataset(tmp_path / "native"), shards.open_dataset(tmp_path / "d")
    assert (written.tokenizer, written.tokenizer_sha256) == ("gpt2-4096", native.tokenizer_sha256)
    for split in shards.SPLITS:
        ours, theirs = native.sources["domain"].stream(split), written.sources["d"].stream(split)
        assert np.array_equal(ours[0 : len(ours)], theirs[0 : len(theirs)])
    # Its shards hold no ends of documents: they are where the ends of text are.
    shown = []
    for directory in ("native", "d"):
        capsys.readouterr()
        assert not run("inspect_dataset", tmp_path / directory, "--decode", "3")
        shown.append(capsys.readouterr().out.partition("---")[2].replace("domain/", "d/"))
    assert shown[0] == shown[1]
    assert run("inspect_dataset", tmp_path / "d", "--decode", "1", "--tokenizer=gpt2") == 2
    assert "with tokenizer gpt2-4096, got --tokenizer=gpt2:" in capsys.readouterr().err
    state = tmp_path / "d" / "tokenizer_state.json"
    state.write_text(state.read_text().replace(native.tokenizer_sha256, "0" * 64))
    with pytest.raises(errors.UserError, match="made with another gpt2-4096"):
        shards.open_dataset(tmp_path / "d")


def test_contamination_is_found(prepared, texts, tmp_path, capsys):
    assert not run("check_contamination", "--train_dir", prepared / "domain")
    assert capsys.readouterr().out.rstrip().endswith("clean")
    # An evaluation set of training documents, every tenth word changed in one, cut in another.
    corpus = (texts / "corpus.jsonl").read_text().splitlines()
    lines = [json.loads(line)["text"] for line in corpus]
    known = {item.text for item in documents("rfc", 120, 0)}
    train = [text for text in lines if text in known][:100]
    longest = sorted(train, key=len)[-40:]
    changed = [f"{text}and five words more here" for text in longest]
    fresh = [item.text for item in documents("fresh", 100, 9)]
    with open(tmp_path / "eval.jsonl", "w") as file:
        for text in [*changed, *fresh]:
            file.write(json.dumps({"text": text}) + "\n")
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"eval:{tmp_path}/eval.jsonl", "--out_dir", tmp_path / "eval"),
        *("--tokenizer", "gpt2-4096", "--val_fraction", "0.9"),
    )
    capsys.readouterr()
    arguments = ("--train_dir", prepared / "domain", "--eval_dir", tmp_path / "eval")
    assert run("check_contamination", *arguments) == 1
    shown = capsys.readouterr().out
    count = int(shown.split("or more: ")[1].split("\n")[0])
    assert 20 <= count <= 40
    where = f"{tmp_path}/eval#eval val in {prepared}/domain#rfc train: "
    assert where in shown and f"again with --exclude_dir {tmp_path}/eval" in shown
    assert shown.endswith("\nfound contamination\n")


QUOTES = {
    "wrapped": lambda text: textwrap.fill(text, 60),
    "quoted": lambda text: "".join(f"> {line}\n" for line in textwrap.wrap(text, 60)),
    "lower case": str.lower,
    "other punctuation": lambda text: "; ".join(f"**{line}**" for line in text.splitlines()),
    "hyphenated": lambda text: re.sub(r"(\w{3})(\w{3})", "\\1-\n\\2", text),
}


@pytest.mark.parametrize("name", QUOTES)
def test_evaluation_texts_inside_longer_documents_are_found(tmp_path, capsys, name):
    """Each stands whole in a train document, set otherwise; none is equal or similar to it."""
    held = [f"{item.text.strip().capitalize()}." for item in documents("held", 120, 4)]
    around = [item.text for item in documents("around", 240, 5)]
    parts = zip(around[:120], held, around[120:], strict=True)
    inside = [f"{before}\n{QUOTES[name](text)}\n{after}" for before, text, after in parts]
    for own, texts in (("held", held), ("train", inside)):
        rows = (json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / f"{own}.jsonl").write_text("".join(rows))
        assert not run(
            "prepare_weighted_dataset",
            *("--source", f"{own}:{tmp_path}/{own}.jsonl", "--out_dir", tmp_path / own),
            *("--tokenizer", "gpt2-4096", "--val_fraction", "0", "--workers", "1"),
        )
    capsys.readouterr()
    arguments = ("--train_dir", tmp_path / "train", "--eval_dir", tmp_path / "held")
    assert run("check_contamination", *arguments, "--workers", "1") == 1
    shown = capsys.readouterr().out
    assert ": 120 of 120 documents stand there, half or more of each; 100.00% of" in shown
    assert "near-duplicates of Jaccard 0.7 or more: 0" in shown
    left = ("--exclude_dir", tmp_path / "held", "--out_dir", tmp_path / "left")
    source = ("--source", f"train:{tmp_path}/train.jsonl", "--tokenizer", "gpt2-4096")
    assert run("prepare_weighted_dataset", *source, *left, "--workers", "1") == 2
    assert "nothing is left" in capsys.readouterr().err


def test_an_append_leaves_out_what_an_excluded_dataset_has(prepared, texts, tmp_path, capsys):
    """The remedy that an overlap is answered with."""
    new = tmp_path / "new"
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"s:{texts}/notes.txt", "--out_dir", new, "--tokenizer", "gpt2-4096"),
    )
    before = shards.open_dataset(new).sources
    source = ("--source", f"s:{texts}/corpus.jsonl", "--exclude_dir", prepared / "domain")
    assert not run("append_to_dataset", "--dataset_dir", new, *source)
    assert shards.open_dataset(new).sources == before
    assert "left out: there already" in capsys.readouterr().out


def test_an_evaluation_set_is_looked_for_whole_however_it_was_split(
    prepared, texts, tmp_path, capsys
):
    """Its documents all lie in train: looking at val alone would call it clean."""
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"eval:{texts}/corpus.jsonl", "--out_dir", tmp_path / "eval"),
        *("--tokenizer", "gpt2-4096", "--val_fraction", "0"),
    )
    arguments = ("--train_dir", prepared / "domain", "--eval_dir", tmp_path / "eval")
    assert run("check_contamination", *arguments) == 1
    assert "equal: " in capsys.readouterr().out
    # And without any evaluation text nothing has been compared.
    assert run("check_contamination", "--train_dir", tmp_path / "eval") == 2
    assert "the evaluation text has 0 tokens" in capsys.readouterr().err


BAD = [
    ("prepare_weighted_dataset", ["--source", "a:/nowhere/*", "--out_dir", "OUT"], "no file"),
    ("prepare_weighted_dataset", ["--out_dir", "OUT"], "--source"),
    ("prepare_weighted_dataset", ["--bogus"], "required"),
    ("prepare_weighted_dataset", ["--source", "a:TEXT", "--out_dir", "FULL"], "not empty"),
    (
        "prepare_weighted_dataset",
        ["--source", "a:TEXT", "--out_dir", "OUT", "--tokenizer", "x"],
        "unknown tokenizer",
    ),
    (
        "prepare_weighted_dataset",
        ["--source", "a:TEXT", "--out_dir", "OUT", "--weight", "b:1", "--total_tokens", "9"],
        "no source",
    ),
    (
        "prepare_weighted_dataset",
        ["--source", "a:TEXT", "--out_dir", "OUT", "--weight", "a:x"],
        "NAME:number",
    ),
    (
        "prepare_weighted_dataset",
        ["--source", "a:TEXT", "--out_dir", "OUT", "--val_fraction", "1.0"],
        "val_fraction",
    ),
    (
        "prepare_weighted_dataset",
        ["--source", "a:TEXT", "--source", "a:TEXT", "--out_dir", "OUT"],
        "2 times",
    ),
    *(
        (
            "prepare_weighted_dataset",
            ["--source", "a:TEXT", "--out_dir", "OUT", "--weight", f"a:{weight}"],
            "NAME:number is wanted",
        )
        for weight in ("1e999999999", "1e-999999999", "0." + 5000 * "1")
    ),
    ("append_to_dataset", ["--dataset_dir", "OUT", "--source", "a:TEXT"], "no dataset directory"),
    (
        "mix_tokenized_datasets",
        ["--domain_dir", "OUT", "--replay_dir", "OUT", "--output_dir", "MIX"],
        "no dataset directory",
    ),
    (
        "mix_tokenized_datasets",
        ["--domain_dir", "D", "--replay_dir", "D", "--output_dir", "MIX", "--replay_ratio", "nan"],
        "number is wanted",
    ),
    (
        "mix_tokenized_datasets",
        ["--domain_dir", "D", "--replay_dir", "D", "--output_dir", "MIX", "--replay2_ratio", ".1"],
        "--replay2_dir",
    ),
    (
        "mix_tokenized_datasets",
        [*("--domain_dir", "D", "--replay_dir", "D", "--output_dir", "MIX"), "--materialize"]
        + ["--tokens_per_shard", "0"],
        "--tokens_per_shard 0",
    ),
    ("export_tfds", ["--dataset_dir", "OUT", "--out_dir", "MIX"], "no dataset directory"),
    ("inspect_dataset", ["OUT"], "no dataset directory"),
    ("check_contamination", ["--train_dir", "OUT"], "no dataset directory"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), BAD)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, texts, capsys, name, arguments, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    places = {
        "OUT": tmp_path / "out",
        "MIX": tmp_path / "mix",
        "FULL": tmp_path / "full",
        "a:TEXT": f"a:{texts}/notes.txt",
    }
    assert run(name, *(places.get(one, one) for one in arguments)) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and shown.err.startswith("error: ") and said in shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_second_command_leaves_alone_what_the_first_is_making(texts, tmp_path, capsys):
    work = tmp_path / ".out.native"
    (work / "dataset").mkdir(parents=True)
    (work / "dataset" / "half").write_text("")
    source = ("--source", f"a:{texts}/notes.txt", "--layout", "mypt", "--workers", "1")
    with atomic.locked(work):
        assert run("prepare_weighted_dataset", *source, "--out_dir", tmp_path / "out") == 2
    assert "is being written by another command" in capsys.readouterr().err
    assert (work / "dataset" / "half").exists()
    assert not run("prepare_weighted_dataset", *source, "--out_dir", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_loader_bench_measures(capsys):
    run("bench_loader", "--tokens", "200000", "--batches", "5", "--rounds", "1")
    assert json.loads(capsys.readouterr().out)["plain_tokens_per_sec"] > 0


def test_the_contamination_bench_measures(tmp_path, capsys):
    for item in documents("bench", 60, 6):
        (tmp_path / f"{item.id}.txt").write_text(item.text)
    assert not run("bench_contamination", tmp_path, "--samples", "40", "--text_bytes", "100000")
    shown = capsys.readouterr().out
    assert "| quoted with `> ` | 1.000 |" in shown and "| all together | 1.000 |" in shown
    falses = [line.split("|")[-2] for line in shown.splitlines() if " words | " in line]
    assert [one.strip() for one in falses[1:]] == ["0", "0"] and "searching " in shown
    assert run("bench_contamination", tmp_path / "bench-0.txt") == 2


def test_the_tokenizer_bench_measures(texts):
    def bench(*args):
        program = [sys.executable, str(ROOT / "scripts" / "bench_tokenize.py")]
        program += ["--source", f"a:{texts}/corpus.jsonl", "--text_bytes", "300000", *args]
        return json.loads(subprocess.run(program, capture_output=True, text=True).stdout)

    # In a process of its own: it forks.
    assert bench("--rounds", "1")["two_workers_to_one"] > 0
    shown = bench("--memory", "line", "--workers", "1")
    assert shown["file_bytes"] > 290_000 and shown["peak_bytes"] > 10_000_000
    assert "fewer than 100 documents" in shown["said"][0]


def test_replay_of_the_original_materializes_in_the_domains_format(texts, tmp_path):
    """Its shards are uint32, and do not end where a document ends."""
    common = ("--tokens_per_shard", "5000", "--workers", "1")
    for name, layout in (("domain", "mypt_jax"), ("general", "mypt")):
        assert not run(
            "prepare_weighted_dataset",
            *("--source", f"{name}:{texts}/notes.txt", "--out_dir", tmp_path / name),
            *("--layout", layout, *common),
        )
    assert not run(
        "mix_tokenized_datasets",
        *("--domain_dir", tmp_path / "domain", "--replay_dir", tmp_path / "general"),
        *("--output_dir", tmp_path / "mixed", "--replay_ratio", "0.1", "--materialize"),
    )
    assert not run("inspect_dataset", tmp_path / "mixed", "--verify")
    mixed = shards.open_dataset(tmp_path / "mixed")
    train = {name: one.tokens["train"] for name, one in mixed.sources.items()}
    assert abs(train["replay_general"] * 9 - train["domain"]) <= 5
    assert mixed.dtype == np.uint16


def test_a_vocabulary_above_65536_ids_takes_four_bytes(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{number}": number for number in range(70_000)} | {"</s>": 70_000, "?": 70_001}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    (tmp_path / "hf").mkdir()
    inner.save(str(tmp_path / "hf" / "tokenizer.json"))
    with open(tmp_path / "text.jsonl", "w") as file:
        for number in range(300):
            text = " ".join(f"w{(number * 977 + i) * 31 % 70_000}" for i in range(40))
            file.write(json.dumps({"text": text}) + "\n")
    assert not run(
        "prepare_weighted_dataset",
        *("--source", f"words:{tmp_path}/text.jsonl", "--out_dir", tmp_path / "out"),
        *("--tokenizer", f"hf:{tmp_path}/hf"),
    )
    assert not run("inspect_dataset", tmp_path / "out", "--verify")
    dataset = shards.open_dataset(tmp_path / "out")
    assert dataset.dtype == np.uint32 and dataset.eot == 70_000
    assert np.unique(dataset.sources["words"].stream("train")[0:5000]).max() > 65_536
    assert dataset.sources["words"].tokens["train"] % 41 == 0
