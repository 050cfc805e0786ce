"""Forgetting is measured on the windows of the run, whatever its base has seen of them."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import build_dataset, train

from mypt_jax.report import command as report
from mypt_jax.runs import integrity, layout

FIRST, LATER = {"eval.windows": 12}, {"eval.windows": 16}


@pytest.fixture(scope="module")
def runs(datasets, compile_cache, tmp_path_factory) -> tuple[Path, dict]:
    """(directory, overrides): base without a domain; v3 from it and v5 from v3, each on windows of
    its own, so that the base has seen neither's."""
    from conftest import SMALL

    root = tmp_path_factory.mktemp("runs")
    overrides = {
        **SMALL,
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
        "num_steps": 2,
        "optim.warmup_steps": 1,
    }
    fiction = build_dataset(root / "fiction", {"fiction": 120})
    base = {"data.domain": "()", "workdir": root / "base"}
    beside = {"data.elsewhere": fiction, "eval.extra": f"('general={fiction}',)"}
    overrides["data.domain"] = datasets["domain"]
    for stage, own in (
        ("base", base),
        ("v3", {**FIRST, "workdir": root / "v3", "init_from": root / "base"}),
        ("v5", {**LATER, **beside, "workdir": root / "v5", "init_from": root / "v3"}),
    ):
        done = train(stage, {**overrides, **own})
        assert done.returncode == 0, done.stderr
        (root / f"{stage}.txt").write_text(done.stdout)
    return root, overrides


def test_a_direct_child_is_measured_against_its_own_step_0(runs):
    root, _ = runs
    assert "step 0 equals the parent's end" not in (root / "v3.txt").read_text()
    first, *_, last = layout.metrics(root / "v3")
    assert first["forgetting/nats"] == 0 and first["forgetting/base_loss"] > 0
    change = last["eval/general/loss"] - first["eval/general/loss"]
    assert last["forgetting/nats"] == pytest.approx(change)
    assert last["guard/action"] in ("", "warn")
    baseline = layout.record(root / "v3")["baseline"]
    assert set(baseline["from"].values()) == {f"step 0 of {root / 'v3'}"}
    assert baseline["eval"]["domain"] == pytest.approx(first["eval/domain/loss"])


def test_later_the_base_is_evaluated_once_on_windows_that_nobody_saw(runs):
    root, _ = runs
    place = f"{root / 'base'}@2"
    assert f"{place} is evaluated on the windows of this run" in (root / "v5.txt").read_text()
    record = layout.record(root / "v5")
    assert set(record["baseline"]["from"].values()) == {place}
    first, *_ = layout.metrics(root / "v5")
    # v3 learned for two steps: that is what lies between the base and the start of v5.
    assert first["forgetting/nats"] != 0
    assert abs(first["forgetting/nats"]) < 0.1


def test_what_is_only_evaluated_moves_no_mean(runs):
    root, _ = runs
    last = layout.metrics(root / "v5")[-1]
    assert last["eval/general/loss"] == last["eval/general/encyclopedia/loss"]
    assert last["eval/extra/general/loss"] == last["eval/elsewhere/fiction/loss"]
    trained = layout.record(root / "v5")["data"]["sources"]
    assert not [key for key in trained if "fiction" in key]
    assert last["report/elsewhere/drift"] > 0 and "report/extra/general/drift" not in last
    report.main([str(root)])
    (lineage,) = json.loads((root / "report.json").read_text())["lineages"]
    v5 = lineage["runs"][-1]
    assert v5["from_baseline"]["elsewhere"]["nats"] is not None
    assert v5["from_baseline"]["extra/general"]["nats"] is not None
    assert v5["drift"]["general"]["mean"] == last["report/general/drift"]


def test_tokens_are_counted_along_the_lineage(runs):
    root, _ = runs
    for before, stage in enumerate(("base", "v3", "v5")):
        last = layout.metrics(root / stage)[-1]
        assert last["lineage_tokens"] == (before + 1) * last["tokens"] == (before + 1) * 2 * 8 * 32


def test_the_report_has_the_trainers_figures(runs):
    root, _ = runs
    report.main([str(root)])
    (lineage,) = json.loads((root / "report.json").read_text())["lineages"]
    for run in lineage["runs"][1:]:
        last = layout.metrics(root / run["run"])[-1]
        found = run["from_baseline"]["general"]
        assert found["nats"] == pytest.approx(last["report/forgetting/nats"])
        assert run["from_baseline"]["domain"]["nats"] is not None


def test_without_the_base_nothing_is_measured_and_nothing_fails(runs, tmp_path):
    """Its directory is gone, and other windows are asked for."""
    root, overrides = runs
    moved = Path(shutil.copytree(root / "v3", tmp_path / "v3"))
    record = layout.record(moved)
    record["ancestors"][0]["path"] = str(tmp_path / "gone")
    config = layout.config(moved) | {"init_from": str(tmp_path / "gone")}
    (moved / "config.json").write_text(json.dumps(config))
    for name in (moved / "lineage.json", *moved.glob("checkpoints/*/meta.json")):
        text = json.loads(name.read_text())
        text = {**text, "lineage": record} if "lineage" in text else record
        name.write_text(json.dumps(text))
    for manifest in moved.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
        integrity.write_manifest(str(manifest.parent))
    own = {"workdir": tmp_path / "v7", "init_from": moved, "eval.windows": 20}
    done = train("v7", {**overrides, **own})
    assert done.returncode == 0, done.stderr
    assert "no forgetting, and no guard of it: other windows" in done.stdout
    assert "forgetting/nats" not in layout.metrics(tmp_path / "v7")[-1]
    # On windows that v3 has measured it against the base, that goes on.
    own = {"workdir": tmp_path / "v8", "init_from": moved, **FIRST}
    done = train("v8", {**overrides, **own})
    assert done.returncode == 0, done.stderr
    assert "forgetting/nats" in layout.metrics(tmp_path / "v8")[-1]
