"""A model's own text as a dataset: what is sampled, how it is cut, and what a kill changes."""

import hashlib
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import model_factory as factory
import numpy as np
import pytest
from model_factory import quick  # noqa: F401

from configs import base
from data_pipeline import errors
from data_pipeline.batches import eval_windows
from data_pipeline.prepare import budget, encoded
from data_pipeline.tokens import shards, verification
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.model import sampling
from mypt_jax.runs import layout
from mypt_jax.sample import command, dataset
from mypt_jax.schema import validation
from tests import speaker_factory

EOT, START = 96, 3
UNASKED = sampling.Script(START, EOT)


def sampled(rows=range(4), seed=0, **changes) -> np.ndarray:
    gpt = factory.randomized(**changes)
    made = sampling.Generator(gpt, eot=EOT, vocab_size=97)
    return made.block(np.array(rows, np.uint32), seed=seed, script=UNASKED)


def test_a_row_is_what_the_model_says_without_a_cache():
    """Token by token from the whole forward pass, each document from `start` alone."""
    gpt = factory.randomized(**{**factory.LLAMA, "head_bias": True})
    gpt.head.bias[...] = gpt.head.bias[...].at[EOT].add(4.0)  # several documents in a row
    got = sampling.Generator(gpt, eot=EOT, vocab_size=97).block(
        np.array([2, 7], np.uint32), seed=5, script=UNASKED
    )
    key = jax.random.fold_in(jax.random.key(5), 7)
    context = [START]
    for index in range(16):
        padded = np.array([context + [0] * (16 - len(context))])
        logits_V = factory.logits(gpt, padded)[0, len(context) - 1]
        token = int(jax.random.categorical(jax.random.fold_in(key, index), logits_V))
        assert got[1, index] == token
        context = [START] if token == EOT else [*context, token]
    assert 1 < (got[1] == EOT).sum() < 10


def test_a_row_depends_on_its_number_and_the_seed_alone():
    alone, together = sampled([2]), sampled([0, 1, 2, 3])
    np.testing.assert_array_equal(alone[0], together[2])
    np.testing.assert_array_equal(together, sampled([3, 2, 1, 0])[::-1])
    assert len({row.tobytes() for row in together}) == 4
    assert (sampled(seed=1) != together).any()


def test_the_first_token_has_the_models_probabilities():
    """Nothing is cut off, and what is no id is never sampled."""
    gpt = factory.randomized(block_size=1)
    made = sampling.Generator(gpt, eot=EOT, vocab_size=90)
    first_B = made.block(np.arange(4096, dtype=np.uint32), seed=0, script=UNASKED)[:, 0]
    logits_V = factory.logits(gpt, np.full((1, 1), START))[0, 0]
    want_V = np.asarray(jax.nn.softmax(jnp.where(jnp.arange(97) < 90, logits_V, -jnp.inf)))
    found_V = np.bincount(first_B, minlength=97)
    assert found_V[90:].sum() == 0
    # Deviations in units of their own spread: 97 of them, each normal.
    spread_V = np.sqrt(4096 * want_V * (1 - want_V)) + 1e-9
    assert np.abs((found_V - 4096 * want_V) / spread_V)[want_V * 4096 > 5].max() < 4.5


def test_documents_end_with_eot_and_are_never_empty():
    rows = np.array([[1, 2, 9, 3, 9], [9, 9, 4, 5, 6], [9, 9, 9, 9, 9]])
    found = [piece.tolist() for piece in dataset.documents(rows, 9, script=sampling.Script(0, 9))]
    assert found == [[1, 2, 9], [3, 9], [4, 5, 6, 9]]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of a tiny model that writes short documents."""
    path = tmp_path_factory.mktemp("runs") / "base"
    shape = {"block_size": 32, "vocab_size": 4224}
    return speaker_factory.write_run(path, "gpt2-4096", more_eot=5.0, **shape)


def sample(run: Path, out: Path, *arguments: str, tokens: int = 2000) -> int:
    given = [f"--run={run}", f"--tokens={tokens}", f"--out_dir={out}", "--block_rows=16"]
    return errors.run(lambda: command.main([*given, *arguments]))


def content(directory: Path) -> dict[str, str]:
    """{file: digest} of everything below."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_it_is_a_dataset_like_any_other(run, tmp_path, capsys):
    assert sample(run, tmp_path / "own") == 0
    found = shards.open_dataset(tmp_path / "own")
    verification.verify(found)
    source = found.sources["samples"]
    assert source.tokens["train"] + source.tokens["val"] == 2000
    assert 0.03 < source.tokens["val"] / 2000 < 0.25
    hashes = [source.stream(split).doc_hashes for split in shards.SPLITS]
    assert not np.isin(*hashes).any()
    done = layout.finished(str(run))
    (said,) = found.settings
    assert said["run"] == str(run) and said["params_sha256"] == done["params_sha256"]
    assert said["seed"] == 0 and said["command"] == "sample"
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    shown = capsys.readouterr().out
    assert "block 0: " in shown and "tokens/s" in shown


@pytest.mark.parametrize("val_fraction", [0.1, 0])
def test_a_stage_replays_it(run, tmp_path, datasets, val_fraction):
    """With a teacher; its own words are evaluated as behaviour, a small real set as general."""
    assert sample(run, tmp_path / "own", f"--val_fraction={val_fraction}") == 0
    config = base.get_config("tiny").to_dict()
    config |= {"init_from": str(run), "workdir": str(tmp_path / "v3"), "batch_size": 8}
    config["model"] = layout.config(str(run))["model"]
    config["data"] |= {"domain": (datasets["domain"],), "general": (str(tmp_path / "own"),)}
    config["data"]["replay_ratio"] = 0.5
    config["objective"] |= {"replay": "kl"}
    alone = validation.validate(config).notes if val_fraction else []
    config["eval"]["extra"] = (f"general={datasets['general']}",)
    validated = validation.validate(config)
    for notes, is_warned in ((alone, bool(val_fraction)), (validated.notes, False)):
        assert any("forgetting is not known" in note for note in notes) == is_warned
    assert validated.teacher.path == str(run)
    shares = {part.key: float(part.share) for part in validated.mixture.components}
    assert shares["general/samples"] == 0.5
    plan = eval_windows.plan_eval(
        validated.mixture.components,
        validated.extra,
        windows_per_role=8,
        min_per_source=1,
        block_size=32,
        version=eval_windows.HALVES,
    )
    evaluated = {key for key in plan if key.startswith(("general/", "behaviour/"))}
    own = {"behaviour/samples"} if val_fraction else set()
    assert evaluated == {"general/encyclopedia", *own}


class Killed(Exception):
    pass


def kill_at(monkeypatch, number: int) -> list[int]:
    """The blocks that are sampled from here on, until a kill at that many."""
    seen: list[int] = []
    original = sampling.Generator.block

    def block(self, rows_B, **how):
        if len(seen) == number:
            raise Killed
        seen.append(int(rows_B[0]) // len(rows_B))
        return original(self, rows_B, **how)

    monkeypatch.setattr(sampling.Generator, "block", block)
    return seen


def test_killed_it_goes_on_at_the_block_with_the_same_bytes(run, tmp_path, monkeypatch, capsys):
    assert sample(run, tmp_path / "whole") == 0
    with monkeypatch.context() as patched:
        kill_at(patched, 2)
        with pytest.raises(Killed):
            sample(run, tmp_path / "own")
    assert not (tmp_path / "own").exists()
    # The save of a block was cut short, too.
    (tmp_path / ".own.samples" / ".000002.npy.partial").write_bytes(b"\x93NUMPY")
    with monkeypatch.context() as patched:
        seen = kill_at(patched, math.inf)
        assert sample(run, tmp_path / "own") == 0
        assert seen == list(range(2, 2 + len(seen)))
    assert content(tmp_path / "own") == content(tmp_path / "whole")
    assert "block 0: " in (shown := capsys.readouterr().out) and "sampled before" in shown


def test_blocks_of_another_seed_are_not_gone_on_with(run, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        kill_at(patched, 1)
        with pytest.raises(Killed):
            sample(run, tmp_path / "own")
    before = content(tmp_path)
    assert sample(run, tmp_path / "own", "--seed=1") == 2
    shown = capsys.readouterr().err
    assert "were sampled with seed 0, not 1: go on as they were begun" in shown
    assert content(tmp_path) == before


def test_more_tokens_begin_with_the_same_blocks(run, tmp_path, monkeypatch):
    """What is sampled does not depend on how much is asked for."""
    with monkeypatch.context() as patched:
        few = kill_at(patched, math.inf)
        sample(run, tmp_path / "few", tokens=600)
        few = [*few]
    texts = []
    for name, tokens in (("few", 0), ("more", 2000)):
        if tokens:
            sample(run, tmp_path / name, tokens=tokens)
        source = shards.open_dataset(tmp_path / name).sources["samples"]
        texts.append(np.concatenate([source.stream(s).doc_hashes for s in shards.SPLITS]))
    # All but those that were left out, or shortened, to fit the number asked for.
    assert np.isin(texts[0], texts[1]).mean() > 0.9 and len(few) >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tokens=0"], "--tokens is 0, wanted 2 or more"),
        (["--block_rows=0"], "--block_rows is 0, wanted 1 or more"),
        (["--seed=-1"], "--seed is -1, wanted 0 or more"),
        (["--val_fraction=1"], "val_fraction 1.0: 0 <= fraction < 1 is wanted"),
        (["--run=gone"], "there is no run at gone"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, capsys, arguments, said):
    assert sample(run, tmp_path / "own", *arguments) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_something_in_it_is_not_written_to(run, tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    assert sample(run, tmp_path) == 2
    assert "is not empty: remove it or choose another" in capsys.readouterr().err


def test_a_model_that_repeats_itself_comes_to_an_end(tmp_path):
    """One document, over and over: 2,000 tokens of it are never there."""
    vocabulary = tokenizers.get("gpt2-4096")
    same_BL = np.tile([5, 6, 7, vocabulary.eot], (4, 8))
    script = sampling.Script(vocabulary.eot, vocabulary.eot)
    model = dataset.Model(lambda number: same_BL, vocabulary, script, (), {}, "")
    model.identity["params_sha256"] = "0"
    settings = budget.Settings(seed=0, val_fraction=0.1, tokens_per_shard=100, total_tokens=2000)
    with pytest.raises(errors.UserError, match="after 4 tokens the model writes nothing new"):
        dataset.build(
            model,
            out_dir=tmp_path / "own",
            settings=settings,
            block_rows=4,
            on_block=lambda block: None,
        )
    assert not (tmp_path / "own").exists()


def test_encoded_documents_are_known_by_their_text(tmp_path):
    """As those of prepare, so that a text is recognised in any dataset."""
    from conftest import build_dataset, documents

    vocabulary = tokenizers.get("gpt2-4096")
    build_dataset(tmp_path / "prepared", {"samples": 150})
    texts = [one.text for one in documents("samples", 150, 0)]
    pieces = [np.append(vocabulary.encode(text), vocabulary.eot) for text in texts]
    settings = budget.Settings(seed=0, val_fraction=0.2, tokens_per_shard=20_000)
    encoded.build_encoded(
        [encoded.encoded("samples", pieces, vocabulary)],
        out_dir=tmp_path / "own",
        source="samples",
        vocabulary=vocabulary,
        settings=settings,
        recorded={},
    )
    one, other = (
        json.loads((tmp_path / name / shards.MANIFEST).read_text())["sources"]["samples"]["splits"]
        for name in ("prepared", "own")
    )
    assert one == other
