"""Datasets against datasets: evaluation text in training text is found, kept, said, left out."""

import dataclasses
import errno
import itertools
import json
import os
import random
import textwrap

import pytest

from data_pipeline import document, errors
from data_pipeline.batches import mixture
from data_pipeline.prepare import append, budget, build
from data_pipeline.prepare.contamination import checks, compare, results, verdict
from data_pipeline.similarity import containment, letters
from data_pipeline.tokens import tokenizer

SETTINGS = containment.Settings()
RNG = random.Random(0)
WORDS = ["".join(RNG.choices("etaoinshrdlu", k=RNG.randint(2, 9))) for _ in range(900)]


def prose(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count)) + "."


def quoted(text: str) -> str:
    return "".join(f"> {line}\n" for line in textwrap.wrap(text.upper(), 60))


def options(**changes) -> dict:
    vocabulary = changes.pop("vocabulary", "gpt2-4096")
    values = {"seed": 0, "val_fraction": 0.1, "tokens_per_shard": 20_000, "workers": 1} | changes
    return {
        "vocabulary": tokenizer.get(vocabulary),
        "settings": budget.Settings(**values),
        "recorded": {},
    }


def named(source: str, texts: list[str]) -> list[document.Document]:
    return [
        document.Document(id=f"{source}-{n}", text=text, source=source, licence="MIT")
        for n, text in enumerate(texts)
    ]


def dataset(out_dir, sources: dict[str, list[str]], exclude_dirs=(), **changes):
    texts = [one for name, own in sources.items() for one in named(name, own)]
    return build.build_dataset(
        texts, out_dir=out_dir, exclude_dirs=exclude_dirs, **options(**changes)
    )


def of(directory, split: str) -> list[compare.Documents]:
    found = mixture.components_of("domain", [str(directory)])
    return [compare.Documents(one, split) for one in found if one.data.tokens[split]]


def compared(train_dir, eval_dir, workers: int = 1) -> list[list[compare.Overlap]]:
    evaluated = [*of(eval_dir, "train"), *of(eval_dir, "val")]
    return compare.compare(of(train_dir, "train"), evaluated, SETTINGS, workers=workers, examples=9)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An evaluation set of 12 documents, and training sets that hold them in other shapes."""
    root, rng = tmp_path_factory.mktemp("places"), random.Random(1)
    held = [prose(rng, 80) for _ in range(12)]
    dataset(root / "eval", {"eval": held}, vocabulary="gpt2")
    other = [prose(rng, 150) for _ in range(130)]
    dataset(root / "clean", {"web": other})
    embedded = [f"{other[n]}\n\n{quoted(one)}\n{prose(rng, 20)}" for n, one in enumerate(held)]
    dataset(root / "documents", {"web": [*other[20:], *embedded], "more": other[:110]})
    # One book: a source of few documents is cut into pieces.
    dataset(root / "book", {"book": ["\n\n".join([*other, *embedded])]})
    return root


@pytest.mark.parametrize("workers", [1, 2])
def test_embedded_documents_are_found_across_tokenizers(places, monkeypatch, workers):
    if workers > 1:
        monkeypatch.setattr(compare, "_TASK_TOKENS", 30_000)
    more, web = compared(places / "documents", places / "eval", workers)
    # Some of the 12 stand in documents that are val.
    contained = sum(one.contained for one in web)
    assert 8 <= contained <= 12 and sum(one.documents for one in web) == 12
    assert all(one.contained == one.share == 0 and not one.examples for one in more)
    example = next(one for overlap in web for one in overlap.examples)
    assert example.share == 1 and len(example.passage) > 250
    (train,) = [one for one in of(places / "documents", "train") if one.component.source == "web"]
    passage, text = example.passage, train.open()[0][example.train_document]
    assert letters.of(passage)[0].tobytes() in letters.of(text)[0].tobytes()


def test_nothing_is_found_where_nothing_is(places):
    (row,) = compared(places / "clean", places / "eval")
    assert not any(verdict.is_found(one) or one.share for one in row)
    (row,) = compared(places / "book", places / "eval")
    assert 8 <= sum(one.contained for one in row) <= 12


def test_repeated_training_text_is_no_formula(tmp_path, places):
    rng = random.Random(2)
    held = [text for one in of(places / "eval", "train") for text in one.open()[0]]
    texts = [f"{prose(rng, 60)} {text} {prose(rng, 60)}" for text in held]
    texts += [prose(rng, 100) for _ in range(120)]
    dataset(tmp_path / "d", {"x": texts}, repeat=True, max_repeat=90, total_tokens=1_500_000)
    (row,) = compared(tmp_path / "d", places / "eval")
    assert sum(one.contained for one in row) >= 8 and not any(one.formulae for one in row)


def test_results_are_kept_until_either_dataset_changes(tmp_path):
    rng = random.Random(3)
    texts = [prose(rng, 60) for _ in range(120)]
    dataset(tmp_path / "train", {"a": texts}, val_fraction=0)
    dataset(tmp_path / "eval", {"b": [*texts[:60], *(prose(rng, 60) for _ in range(60))]})

    def pair():
        return of(tmp_path / "train", "train"), of(tmp_path / "eval", "val")

    def known(settings=SETTINGS):
        return results.known(pair()[0][0], pair()[1][0], settings)

    assert known() is None
    overlaps = compare.compare(*pair(), SETTINGS, workers=1, examples=2)
    results.keep(*pair(), SETTINGS, overlaps)
    assert known() == overlaps[0][0] and overlaps[0][0].contained > 0
    assert known(dataclasses.replace(SETTINGS, words=8)) is None
    (path,) = (tmp_path / "train" / "contamination").iterdir()
    content = path.read_text()
    path.write_text(content.replace('"documents"', '"dokuments"'))
    assert known() is None
    path.write_text(content[:100])
    assert known() is None
    path.write_text(content)
    assert known() is not None
    more = named("b", [prose(rng, 60)])
    append.append_documents(
        more, dataset_dir=tmp_path / "eval", groups={}, **options(val_fraction=0)
    )
    assert known() is None
    # Of a share of the documents nothing is kept.
    some = [dataclasses.replace(one, share=0.5) for one in pair()[0]]
    results.keep(some, pair()[1], SETTINGS, overlaps)
    assert known() is None


def components(*directories):
    return [one for path in directories for one in mixture.components_of("domain", [str(path)])]


def test_a_stage_is_told_before_it_starts(tmp_path, monkeypatch):
    rng = random.Random(4)
    val = [prose(rng, 70) for _ in range(60)]
    train = [prose(rng, 70) for _ in range(200)]
    dataset(tmp_path / "general", {"wiki": [*val, *train[:100]]}, val_fraction=0.4)
    sides = {text for one in of(tmp_path / "general", "val") for text in one.open()[0]}
    inside = [text for text in val if text in sides][:8]
    dataset(
        tmp_path / "domain",
        {"mine": [*train[100:], *(f"{prose(rng, 70)} {quoted(one)}" for one in inside)]},
        val_fraction=0.0,
    )
    both = components(tmp_path / "general", tmp_path / "domain")
    lines = checks.before_stage(both, both)
    (warning,) = [line for line in lines if line.startswith("warning:")]
    assert f"{tmp_path}/general#wiki val in {tmp_path}/domain#mine train: 8 of " in warning
    assert f"--exclude_dir {tmp_path}/general" in lines[-1]
    # The second start reads what is kept.
    monkeypatch.setattr(compare, "compare", None)
    assert checks.before_stage(both, both) == lines
    assert checks.before_stage(both[:1], both[:1]) == []


def test_a_start_looks_at_a_part_of_much_text(tmp_path, monkeypatch):
    rng = random.Random(5)
    dataset(tmp_path / "d", {"x": [prose(rng, 70) for _ in range(200)]})
    one = components(tmp_path / "d")
    monkeypatch.setattr(checks, "_TRAIN_BYTES", one[0].data.text_bytes["train"] // 4)
    (line,) = checks.before_stage(one, one)
    assert "100% of the evaluated documents in 25% of the training documents" in line
    assert line.endswith(f"python -m mypt_jax contamination --train_dir {tmp_path}/d")
    assert not (tmp_path / "d" / "contamination").exists()
    monkeypatch.undo()
    assert checks.before_stage(one, one) == []
    assert (tmp_path / "d" / "contamination").exists()


def test_a_start_is_refused_where_the_evaluation_means_nothing(tmp_path):
    rng = random.Random(6)
    texts = [prose(rng, 70) for _ in range(120)]
    dataset(tmp_path / "general", {"wiki": texts}, val_fraction=0.3)
    sides = [text for one in of(tmp_path / "general", "val") for text in one.open()[0]]
    dataset(tmp_path / "domain", {"mine": [quoted(one) for one in sides] * 2 + texts[:1]})
    if os.getuid():  # root may write where nobody may
        (tmp_path / "domain").chmod(0o555)
    both = components(tmp_path / "general", tmp_path / "domain")
    with pytest.raises(errors.UserError, match=r"evaluation text in training text: .*wiki val in"):
        checks.before_stage(both, both)
    (tmp_path / "domain").chmod(0o755)


def test_texts_that_hold_excluded_text_are_left_out(tmp_path, places):
    rng = random.Random(7)
    held = [
        text for s in ("train", "val") for one in of(places / "eval", s) for text in one.open()[0]
    ]
    formula = held[0]
    texts = [prose(rng, 90) + (f"\n{formula}\n" if n < 30 else "") for n in range(150)]
    holding = [f"{prose(rng, 90)}\n{quoted(one)}" for one in held[1:5]]
    passages = [prose(rng, 200) + held[5][:60] + prose(rng, 30)]  # less than half of it
    reports = dataset(
        tmp_path / "d",
        {"x": [*texts, *holding, *passages], "book": ["\n\n".join(holding)]},
        exclude_dirs=[places / "eval"],
    )
    counts = {one.name: one.holding for one in reports}
    assert counts["x"] == 4 and 1 <= counts["book"] <= 4
    left = [
        text for s in ("train", "val") for one in of(tmp_path / "d", s) for text in one.open()[0]
    ]
    assert not any(quoted(one) in text for one in held[1:5] for text in left)
    assert sum(formula in text for text in left) >= 30 and passages[0] in left
    (line,) = [one for one in build_lines(reports) if one.startswith("x:")]
    assert "4 left out: they hold text of an excluded dataset" in line
    reports = append.append_documents(
        named("x", [f"{prose(rng, 9)} {quoted(held[6])}", prose(rng, 80)]),
        dataset_dir=tmp_path / "d",
        groups={},
        exclude_dirs=[places / "eval"],
        **options(val_fraction=0.0),
    )
    assert [(one.holding, one.documents["train"]) for one in reports] == [(1, 1)]
    checks.after_build(tmp_path / "d", [places / "eval"], workers=1)
    kept = [
        results.known(one, other, SETTINGS)
        for one, other in itertools.product(of(tmp_path / "d", "train"), of(places / "eval", "val"))
    ]
    assert kept and not any(verdict.is_found(one) for one in kept)
    assert json.loads(next((tmp_path / "d" / "contamination").iterdir()).read_text())["schema"] == 2


def build_lines(reports) -> list[str]:
    from data_pipeline.prepare import build_report

    return build_report.describe(reports)


def test_a_full_disk_is_one_line(places, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(errors.UserError, match=r"no room in .* \(No space left .*TMPDIR"):
        compared(places / "clean", places / "eval")


def test_a_new_dataset_says_what_of_its_val_is_in_its_train(tmp_path):
    rng = random.Random(8)
    passages = [prose(rng, 80) for _ in range(60)]
    texts = [f"{prose(rng, 30)}\n{one}" for one in passages]
    texts += [f"{quoted(one)}\n{prose(rng, 20)}" for one in passages]
    dataset(tmp_path / "d", {"x": texts}, val_fraction=0.3)
    lines = checks.after_build(tmp_path / "d", [], workers=1)
    assert f"{tmp_path}/d#x val in {tmp_path}/d#x train: " in lines[0] and "split_key" in lines[-1]
