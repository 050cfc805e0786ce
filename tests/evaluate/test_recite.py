"""What a model knows by heart: a text it was trained to say is found, another one is not."""

import json
import shutil

import numpy as np
import pytest

from data_pipeline.errors import UserError
from data_pipeline.tokens import mypt_format, shards, tokenizer
from mypt_jax.evaluate import command, recite
from mypt_jax.interop import card
from mypt_jax.report import command as report
from mypt_jax.runs import integrity, layout, recited
from mypt_jax.schema import recorded

VOCABULARY = tokenizer.get("gpt2-4096")


@pytest.fixture
def source(datasets):
    return shards.open_dataset(datasets["general"]).sources["encyclopedia"]


class Oracle:
    """Knows the training split, whatever it is asked; of val a wrong token in the middle."""

    block_size = 64

    def __init__(self, source):
        how = {"eot": VOCABULARY.eot, "length": 64, "most": 10**6}
        rows = [recite._rows(source, split, **how) for split in shards.SPLITS]
        rows[1][:, 40] += 1
        self._known = {tuple(row[:32]): row[32:].tolist() for row in np.concatenate(rows)}

    def generate(self, prompts, **how):
        return recite.sampling.Generated([self._known[tuple(p)] for p in prompts], 0.0, 0.0, 1)


def test_exact_is_all_of_a_continuation_and_matched_what_came_before(source, monkeypatch):
    monkeypatch.setattr(recite.generator, "load", lambda spec: (Oracle(source), VOCABULARY))
    reciter = recite.Reciter("any")
    train, val = (reciter.recite(source, split, most=9, batch_size=4) for split in shards.SPLITS)
    assert (train.documents, train.share, train.matched) == (9, 1.0, 32.0)
    assert (val.share, val.matched) == (0.0, 8.0) and len(train.examples) == recite.EXAMPLES
    assert train.examples[0] in "".join(
        VOCABULARY.decode(source.stream("train")[0 : len(source.stream("train"))])
    )


def test_a_run_stands_beside_its_base(family, datasets, capsys):
    line = [f"--run={family / 'v3'}", "--data", datasets["domain"], "--recite", "--windows=3"]
    assert command.main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == 16
    assert {(row["split"], row["who"]) for row in found["rows"]} == {
        (split, who) for split in shards.SPLITS for who in ("run", "base")
    }
    assert all(row["documents"] == 3 and 0 <= row["share"] <= 1 for row in found["rows"])


def test_what_is_kept_stands_in_report_and_card(family, datasets, tmp_path, capsys):
    """The figures in both; the texts themselves in the report alone, which is not published."""
    shutil.copytree(family, tmp_path / "runs")
    path = str(tmp_path / "runs" / "v3")
    line = [f"--run={path}", "--data", datasets["domain"], "--recite", "--windows=3"]
    assert command.main([*line, "--save"]) == 0
    record, step = layout.record(path), layout.finished(path)["step"]
    tokens, pairs = recited.read(path, run_id=record["run_id"], step=step)
    assert tokens == 16 and len(pairs) == 4 and all(one.base for one in pairs)
    known = pairs[0].run | {"exact": 2, "documents": 3, "examples": ["SECRET"], "split": "train"}
    rows = [known, *(one.base for one in pairs)]
    recited.write(path, run_id=record["run_id"], step=step, tokens=tokens, rows=rows)
    assert report.main([str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "### Known by heart" in shown and "66.7%" in shown and "v3: 'SECRET'" in shown
    how = {"path": path, "config": recorded.config(path), "record": record, "parameters": 1}
    text = card.render(**how, step=step, remarks=[])
    assert "## Known by heart" in text and "66.7%" in text and "SECRET" not in text
    # Of another step it says nothing, nor of a run that was trained anew.
    assert recited.read(path, run_id=record["run_id"], step=step + 1) == (0, [])
    assert "heart" not in card.render(**how, step=step + 1, remarks=[])


def test_a_run_whose_base_is_gone_is_asked_alone(family, datasets, tmp_path, capsys):
    shutil.copytree(family / "v3", tmp_path / "v3")
    path = tmp_path / "v3/checkpoints/00000002/meta.json"
    content = json.loads(path.read_text())
    content["lineage"]["ancestors"][0]["path"] = str(tmp_path / "gone")
    path.write_text(json.dumps(content))
    config = layout.config(str(tmp_path / "v3")) | {"init_from": str(tmp_path / "gone")}
    (tmp_path / "v3/config.json").write_text(json.dumps(config))
    integrity.vouch(str(path.parent), path.name)
    line = [f"--run={tmp_path}/v3", "--data", datasets["domain"], "--recite", "--windows=2"]
    assert command.main([*line, "--json"]) == 0
    told = capsys.readouterr()
    assert {row["who"] for row in json.loads(told.out)["rows"]} == {"run"}
    assert "warning: the base was not asked: " in told.err
    with pytest.raises(UserError, match="--save keeps what --recite finds"):
        command.main([*line[:3], "--save"])


@pytest.mark.parametrize("split", shards.SPLITS)
def test_text_that_was_changed_is_named_before_anything_is_asked(
    split, datasets, tmp_path, monkeypatch
):
    """Both splits are asked, and what they say stands in a report."""
    data = shutil.copytree(datasets["general"], tmp_path / "data")
    part = shards.open_dataset(str(data)).sources["encyclopedia"].parts[split][0]
    with open(f"{part.path}.bin", "r+b") as file:
        file.write(b"\1\0" * 40)
    monkeypatch.setattr(layout, "resolve_step", lambda spec: (spec, 0))
    with pytest.raises(UserError, match=part.path):
        recite.ask("runs/any", [str(data)], most=1, batch_size=1)


def test_what_is_no_dataset_is_refused(family, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match="is asked of a token dataset"):
        command.main([f"--run={family / 'v3'}", "--data", str(tmp_path / "a.txt"), "--recite"])


def test_the_originals_shards_are_asked_by_document(source, tmp_path):
    mypt_format.write(
        tmp_path / "d",
        vocabulary=VOCABULARY,
        splits={split: [source.stream(split)] for split in shards.SPLITS},
        tokens_per_shard=10**9,
        val_fraction=0.1,
        sources={},
        targets={},
    )
    (written,) = shards.open_dataset(tmp_path / "d").sources.values()
    how = {"eot": VOCABULARY.eot, "length": 64, "most": 10**6}
    for split in shards.SPLITS:
        asked = [recite._rows(one, split, **how) for one in (source, written)]
        assert len(asked[0]) > 1 and np.array_equal(*asked)
