"""Runs whose documents begin with BOS: so they are trained, continued, sampled and scored."""

import json

import bos_factory
import numpy as np
import pytest
from bos_factory import BOS, EOS
from conftest import documents

from data_pipeline.errors import UserError
from data_pipeline.prepare import budget, build
from data_pipeline.tokens import shards, tokenizer
from mypt_jax import continuation
from mypt_jax.evaluate import scorer
from mypt_jax.runs import layout, own_tokenizer
from mypt_jax.sample import command as sample
from tests.family_factory import SHAPE, run_stage

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The tokenizer's folder, datasets of both roles with and without BOS, a base trained with."""
    found = tmp_path_factory.mktemp("bos")
    bos_factory.write_folder(found / "model")
    vocabulary = tokenizer.get(f"hf:{found}/model")
    for role in ("domain", "general"):
        for has_bos in (True, False):
            build.build_dataset(
                documents(role, 60, 0),
                out_dir=found / f"{role}_{has_bos}",
                vocabulary=vocabulary.beginning(has_bos),
                settings=budget.Settings(seed=0, val_fraction=0.3, tokens_per_shard=20_000),
                recorded={"command": "test"},
            )
    run_stage("base", _values(found, True) | {"workdir": found / "base"})
    return found


def _values(root, has_bos: bool) -> dict:
    return {
        **SHAPE,
        "compile_cache": root / "xla",
        "model.vocab_size": 384,
        "data.tokenizer": f"hf:{root}/model",
        "data.domain": root / f"domain_{has_bos}",
        "data.general": root / f"general_{has_bos}",
    }


def test_the_lineage_says_so_and_prompts_begin_so(root):
    path = str(root / "base")
    assert layout.record(path)["tokenizer"]["bos"] == BOS
    _, vocabulary = continuation.load(path)
    assert vocabulary.document_bos == BOS
    for prompt in ("ab", "<s>ab", ""):
        assert vocabulary.encode_prompt(prompt).tolist().count(BOS) == 1
    run = scorer.Scorer(path, batch_size=4)
    ids = np.concatenate([[BOS], run.tokenizer.encode("some text")])
    assert run.score_text("some text").sums["nll"].sum() == pytest.approx(run.nll_of(ids).sum())
    run.score_data(str(root / "domain_True"), windows=2)
    assert not run.notes
    run.score_data(str(root / "domain_False"), windows=2)
    assert "begin without BOS" in run.notes[0]


def test_own_samples_are_such_documents(root, tmp_path):
    arguments = ["--tokens=600", "--block_rows=8", f"--out_dir={tmp_path}/own"]
    assert sample.main([f"--run={root}/base", *arguments]) == 0
    dataset = shards.open_dataset(tmp_path / "own")
    assert dataset.bos == BOS
    stream = dataset.sources["samples"].stream("train")
    ends = stream.doc_ends.astype(int).tolist()
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        assert (stream[start], stream[end - 1]) == (BOS, EOS) and stream[start + 1] != BOS


def test_a_stage_whose_documents_begin_otherwise_is_told(root, tmp_path, capsys):
    own = {"init_from": root / "base", "workdir": tmp_path / "v3"}
    run_stage("v3", _values(root, False) | own)
    assert "do not begin with BOS, those of" in capsys.readouterr().out
    assert layout.record(str(tmp_path / "v3"))["tokenizer"]["bos"] is None
    own = {"init_from": tmp_path / "v3", "workdir": tmp_path / "v5"}
    run_stage("v5", _values(root, True) | own)
    assert "of this stage begin with BOS, those of" in capsys.readouterr().out
    own = {"init_from": root / "base", "workdir": tmp_path / "v7"}
    with pytest.raises(UserError, match="documents begin in two ways"):
        run_stage("v7", _values(root, True) | {"data.domain": root / "domain_False"} | own)
    with pytest.raises(UserError, match="bos_at_cuts: the documents of"):
        run_stage("v7", _values(root, False) | {"data.bos_at_cuts": True} | own)
    assert not (tmp_path / "v7").exists()


def test_windows_that_begin_so_are_other_windows_and_said_to_be(root, tmp_path, capsys):
    own = {"init_from": root / "base", "workdir": tmp_path / "v3", "data.bos_at_cuts": True}
    run_stage("v3", _values(root, True) | own)
    assert "not compared with the parent's end: other windows" in capsys.readouterr().out
    more = own | {"num_steps": 4, "data.bos_at_cuts": False}
    with pytest.raises(UserError, match="the data of .* changed since step 2"):
        run_stage("v3", _values(root, True) | more)


def test_what_older_runs_and_imports_do_not_say(root):
    vocabulary = tokenizer.get(f"hf:{root}/model")
    record = layout.record(str(root / "base"))
    del record["tokenizer"]["bos"]
    assert not own_tokenizer.has_bos(record, vocabulary), "trained by a version without"
    imported = record | {"data": {}}
    assert own_tokenizer.has_bos(imported, vocabulary), "as its model was given texts"
    assert not own_tokenizer.has_bos(imported, tokenizer.get("gpt2"))
    assert own_tokenizer.recorded_as(tokenizer.get("gpt2")).keys() == {"name", "sha256"}


def test_a_run_that_was_begun_before_goes_on(root, tmp_path):
    """Its lineage says nothing of BOS, and its data have none."""
    values = _values(root, False) | {"workdir": tmp_path / "base"}
    run_stage("base", values)
    file = tmp_path / "base" / "lineage.json"
    content = json.loads(file.read_text())
    del content["tokenizer"]["bos"]
    file.write_text(json.dumps(content))
    run_stage("v3", values | {"workdir": tmp_path / "v3", "init_from": tmp_path / "base"})
    assert continuation.load(str(tmp_path / "v3"))[1].document_bos is None
