"""What a model knows by heart: a text it was trained to say is found, another one is not."""

import json

import numpy as np
import pytest

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax.evaluate import command, recite


@pytest.fixture
def source(datasets):
    return shards.open_dataset(datasets["general"]).sources["encyclopedia"]


class Oracle:
    """Knows the training split, whatever it is asked; of val a wrong token in the middle."""

    block_size = 64

    def __init__(self, source):
        rows = [recite._rows(source, split, length=64, most=10**6) for split in shards.SPLITS]
        rows[1][:, 40] += 1
        self._known = {tuple(row[:32]): row[32:].tolist() for row in np.concatenate(rows)}

    def generate(self, prompts, **how):
        return recite.sampling.Generated([self._known[tuple(p)] for p in prompts], 0.0, 0.0, 1)


def test_exact_is_all_of_a_continuation_and_matched_what_came_before(source, monkeypatch):
    vocabulary = recite.generator.tokenizers.get("gpt2-4096")
    monkeypatch.setattr(recite.generator, "load", lambda spec: (Oracle(source), vocabulary))
    reciter = recite.Reciter("any")
    train, val = (reciter.recite(source, split, most=9) for split in shards.SPLITS)
    assert (train.documents, train.share, train.matched) == (9, 1.0, 32.0)
    assert (val.share, val.matched) == (0.0, 8.0) and len(train.examples) == recite.EXAMPLES
    assert train.examples[0] in "".join(
        vocabulary.decode(source.stream("train")[0 : len(source.stream("train"))])
    )


def test_a_run_stands_beside_its_base(family, datasets, capsys):
    line = [f"--run={family / 'v3'}", "--data", datasets["domain"], "--recite", "--windows=3"]
    assert command.main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == 16
    assert {(row["split"], row["who"]) for row in found["recited"]} == {
        (split, who) for split in shards.SPLITS for who in ("run", "base")
    }
    assert all(row["documents"] == 3 and 0 <= row["share"] <= 1 for row in found["recited"])


def test_what_is_no_dataset_is_refused(family, tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(UserError, match="is asked of a token dataset"):
        command.main([f"--run={family / 'v3'}", "--data", str(tmp_path / "a.txt"), "--recite"])
