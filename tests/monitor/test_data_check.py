"""What is wrong with the text is said of the text, before anything is saved or judged."""

import shutil
from pathlib import Path

import pytest

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax import exits
from mypt_jax.monitor import data_check


@pytest.fixture
def general(datasets, tmp_path, monkeypatch) -> Path:
    """A copy to be changed, on a machine that has read nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(datasets["general"], tmp_path / "general"))


def change(path: Path) -> None:
    """The same size and the same vocabulary: nothing but its hash tells."""
    tokens = path.read_bytes()
    path.write_bytes((tokens[: len(tokens) // 4 * 2] * 3)[: len(tokens)])


def opened(general: Path) -> data_check.DataCheck:
    sources = shards.open_dataset(general).sources.values()
    return data_check.DataCheck([(one, "val") for one in sources], timeout_secs=10)


@pytest.mark.parametrize("end", [UserError("not the model"), exits.Divergence("8 in a row")])
def test_the_model_is_not_blamed_for_its_text(general, end):
    def blame(check):
        check.start()
        with check.before_blame():
            raise end

    with pytest.raises(type(end), match=str(end)):
        blame(opened(general))
    shard = next(general.rglob("val/*.bin"))
    change(shard)
    with pytest.raises(exits.NoValidState, match=f"{shard} was changed"):
        blame(opened(general))


def test_what_is_found_is_raised_when_asked_and_at_the_save(general):
    shard = next(general.rglob("val/*.doc"))
    change(shard)
    check = opened(general)
    check.start()
    with pytest.raises(exits.NoValidState, match=f"{shard} was changed"):
        check.settle(lambda: None, lambda line: None)
    with pytest.raises(exits.NoValidState):
        check.poll()


def test_it_is_told_once(general):
    check, told = opened(general), []
    check.start()
    for _ in range(2):
        check.settle(lambda: None, told.append)
        check.poll()
    (line,) = told
    assert line.startswith("data: ") and "are what their manifests say" in line
