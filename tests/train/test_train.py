"""Two stages as real processes: what a run leaves behind, what a child knows of its parent."""

import json
import shutil

import pytest
from conftest import train

from data_pipeline.batches import eval_windows
from data_pipeline.tokens import shards
from mypt_jax.checkpoint import restore
from mypt_jax.evaluate import command
from mypt_jax.runs import evaluations, layout, lineage

SPEED = (
    "tokens_per_sec device_tokens_per_sec step_secs step_p50_secs step_p95_secs input_wait_share"
).split()
MEASURED = ("_secs", "_per_sec", "_share", "_bytes", "mfu")


@pytest.fixture(scope="module")
def chain(datasets, compile_cache, tmp_path_factory):
    """base, then v3 from it; returns (root, overrides, stdout of v3)."""
    from conftest import SMALL

    root = tmp_path_factory.mktemp("chain")
    overrides = {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
    }
    traced = {"profile.start_step": 2, "profile.num_steps": 2}
    base = train("base", {**overrides, **traced, "workdir": root / "base"})
    assert base.returncode == 0, base.stderr
    child = {**overrides, "workdir": root / "v3", "init_from": root / "base", "num_steps": 14}
    v3 = train("v3", child)
    assert v3.returncode == 0, v3.stderr
    return root, child, v3.stdout


def test_loss_falls_on_what_a_stage_is_trained_on(chain):
    root, *_ = chain
    first, *_, last = layout.metrics(root / "base")
    assert last["eval/general/loss"] < first["eval/general/loss"] - 0.1
    first, *_, last = layout.metrics(root / "v3")
    assert last["eval/domain/loss"] < first["eval/domain/loss"] - 0.1


def test_every_step_stands_once_and_evaluations_come_as_configured(chain):
    root, *_ = chain
    rows = layout.metrics(root / "v3")
    assert [row["step"] for row in rows] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert [row["step"] for row in rows if layout.has_eval(row)] == [0, 6, 12, 14]
    assert {"loss", "lr", "grad_norm", "tokens", *SPEED} <= set(rows[-1])
    assert rows[-1]["tokens"] == 14 * 8 * 32


def test_a_trace_of_the_named_steps_is_written(chain):
    root, *_ = chain
    (trace,) = (root / "base" / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 1000
    assert not (root / "v3" / "profile").exists()


def test_realised_share_is_the_requested_one_to_a_window(chain):
    root, *_ = chain
    last = layout.metrics(root / "v3")[-1]
    windows = 14 * 8
    assert abs(last["share/general/encyclopedia"] - 0.30) <= 1 / windows
    domain = last["share/domain/manuals"] + last["share/domain/laws"]
    assert abs(domain - 0.70) <= 1 / windows


def test_the_child_starts_exactly_where_its_parent_ended(chain):
    root, _, stdout = chain
    end, start = layout.metrics(root / "base")[-1], layout.metrics(root / "v3")[0]
    for key in ("domain/manuals", "domain/laws", "general/encyclopedia"):
        assert start[f"eval/{key}/loss"] == end[f"eval/{key}/loss"]
    assert "step 0 equals the parent's end on 6 sources (tolerance 0 nats)" in stdout
    assert start["forgetting/nats"] == 0.0


def test_half_of_val_is_kept_for_the_report(chain):
    """It is measured at the start and at the end, and nothing is chosen on it."""
    root, *_ = chain
    rows = layout.metrics(root / "v3")
    assert [row["step"] for row in rows if "report/general/loss" in row] == [0, 14]
    first, last = rows[0], rows[-1]
    assert first["report/forgetting/nats"] == 0
    assert last["report/domain/loss"] != last["eval/domain/loss"]
    kept = {k: v for k, v in last.items() if k.startswith("report/") and k.endswith("/loss")}
    kept.pop("report/val/loss")
    finished = layout.finished(root / "v3")["report"]
    drift = {name: finished.pop(name) for name in [*finished] if name.endswith("/drift")}
    assert drift["general/drift"] == last["report/general/drift"] > 0
    assert first["report/general/drift"] == pytest.approx(0, abs=1e-6)
    assert set(drift) == {"general/drift", "general/encyclopedia/drift"}
    assert {f"report/{name}/loss": loss for name, loss in finished.items()} == pytest.approx(kept)
    end = evaluations.read(layout.eval_file(root / "base", 12)).sources
    start = evaluations.read(layout.eval_file(root / "v3", 0)).sources
    assert len(start) == 6 and {k: s.fingerprint for k, s in end.items()} == {
        k: s.fingerprint for k, s in start.items()
    }


def test_val_is_weighted_by_the_mixture(chain):
    root, *_ = chain
    row = layout.metrics(root / "v3")[-1]
    record = layout.record(root / "v3")
    shares = {
        key: float(eval_share(entry["share"])) for key, entry in record["data"]["sources"].items()
    }
    expected = sum(share * row[f"eval/{key}/loss"] for key, share in shares.items())
    assert row["eval/val/loss"] == pytest.approx(expected, rel=1e-12)


def eval_share(text: str) -> float:
    numerator, _, denominator = text.partition("/")
    return int(numerator) / int(denominator or 1)


def test_lineage_names_parent_digest_and_tokens(chain):
    root, *_ = chain
    parent, record = layout.finished(root / "base"), layout.record(root / "v3")
    assert record["parent"] == {
        "path": str(root / "base"),
        "stage": "base",
        "step": 12,
        "params_sha256": parent["params_sha256"],
    }
    assert record["ancestors"][0]["tokens_by_source"]["general/encyclopedia"] == 12 * 8 * 32
    assert sum(record["tokens_by_source"].values()) == 14 * 8 * 32
    total = lineage.total_tokens_by_source(record)
    assert sum(total.values()) == (12 + 14) * 8 * 32
    assert record["baseline"]["stage"] == "base"
    loaded = restore.load_params(str(root / "base"))
    assert lineage.params_sha256(loaded.params) == parent["params_sha256"]


def test_a_child_goes_on_in_the_text_where_its_parent_stopped(chain):
    root, *_ = chain
    key = "general/encyclopedia"
    base, v3 = (layout.record(root / stage)["data"]["sources"][key] for stage in ("base", "v3"))
    assert (base["first_window"], base["windows"]) == (0, 12 * 8)
    assert v3["first_window"] == 12 * 8
    assert v3["windows"] * 32 == layout.record(root / "v3")["tokens_by_source"][key]
    last = {stage: layout.metrics(root / stage)[-1][f"epochs/{key}"] for stage in ("base", "v3")}
    per_epoch = base["windows"] / last["base"]
    assert last["v3"] == pytest.approx((96 + v3["windows"]) / per_epoch)


def test_stages_of_one_shape_share_one_program(chain, datasets, tmp_path):
    """The persistent cache of compilations has one train step for base, v3 and v5."""
    root, child, _ = chain
    own = {"compile_cache": tmp_path / "cache", "num_steps": 2}
    for stage, parent, seed in (("base", "scratch", 1), ("v3", "base", 1), ("v5", "v3", 2)):
        parent = parent if parent == "scratch" else tmp_path / parent
        places = {"workdir": tmp_path / stage, "init_from": parent, "seed": seed}
        end = train(stage, {**child, **own, **places})
        assert end.returncode == 0, end.stderr
    assert len(list((tmp_path / "cache").glob("jit__train_step-*-cache"))) == 1


def test_a_step_of_a_parent_counts_the_windows_up_to_it(chain, tmp_path):
    root, child, _ = chain
    base = {"workdir": tmp_path / "base", "init_from": "scratch", "checkpoint.every_steps": 6}
    base |= {"checkpoint.keep_last": 9, "checkpoint.keep_best": 9, "data.replay_ratio": 1.0}
    assert train("base", {**child, **base, "num_steps": 12, "eval.every_steps": 6}).returncode == 0
    kept = layout.steps(tmp_path / "base")
    step = kept[0]
    assert step < 12
    start = {"init_from": f"{tmp_path / 'base'}@{step}", "workdir": tmp_path / "v3"}
    end = train("v3", {**child, **start, "num_steps": 2})
    assert end.returncode == 0, end.stderr
    sources = layout.record(tmp_path / "v3")["data"]["sources"]
    assert sources["general/encyclopedia"]["first_window"] == step * 8


def test_a_finished_stage_keeps_parameters_only(chain):
    root, *_ = chain
    directory = layout.step_dir(root / "v3", 14)
    assert sorted(p.name for p in (root / "v3" / "checkpoints").iterdir())[-1] == "00000014"
    assert not (root / "v3" / "checkpoints" / "00000014" / "rest").exists()
    from mypt_jax.runs import integrity

    assert integrity.fault(directory) == ""


def test_config_and_its_difference_to_the_parents_are_saved(chain):
    root, *_ = chain
    assert layout.config(root / "v3")["optim"]["peak_lr"] == 3e-4
    diff = json.loads((root / "v3" / "config_diff.json").read_text())
    assert diff["data/replay_ratio"] == [1.0, 0.3]
    assert "model/n_layer" not in diff


def test_a_finished_run_is_left_alone(chain):
    root, child, _ = chain
    before = (root / "v3" / "metrics.jsonl").read_bytes()
    again = train("v3", child)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert (root / "v3" / "metrics.jsonl").read_bytes() == before


def test_a_parent_that_does_not_hold_its_evaluation_is_refused(chain, tmp_path):
    """Parameters swapped under a parent's evaluation: step 0 tells."""
    root, child, _ = chain
    forged = tmp_path / "forged"
    shutil.copytree(root / "base", forged)
    path = layout.eval_file(forged, 12)
    sources = evaluations.read(path).sources
    sources["domain/laws"].nll_sum_D[:] += 0.01
    evaluations.write(path, sources)
    end = train("v3", {**child, "init_from": forged, "workdir": tmp_path / "v3"})
    assert end.returncode == 2
    assert "not the one that the parent saved" in end.stderr.splitlines()[-1]


def test_evaluation_on_demand_gives_the_runs_own_losses(chain, datasets, tmp_path):
    from mypt_jax.evaluate import scorer

    root, *_ = chain
    v3 = scorer.Scorer(str(root / "v3"), batch_size=8)
    data = shards.open_dataset(datasets["general"]).sources["encyclopedia"]
    row = layout.metrics(root / "v3")[-1]
    halves = eval_windows.halved_windows(data, block_size=32, num_windows=24)
    for name, windows in zip(("eval", "report"), halves, strict=True):
        own = v3.nll(windows.tokens).mean(dtype=float)
        assert own == pytest.approx(row[f"{name}/general/loss"], rel=1e-6)
    whole = eval_windows.eval_windows(data, block_size=32, num_windows=24)
    found = v3.score_data(datasets["general"], windows=24)["encyclopedia"]
    assert found.nll_sum_D.sum() == pytest.approx(v3.nll(whole.tokens).sum(dtype=float), rel=1e-6)

    text = tmp_path / "text.txt"
    text.write_text("one two three " * 40)
    score = v3.score_data(str(text), windows=0)["text.txt"]
    assert score.text_bytes == len(text.read_text())
    assert score.tokens == len(v3.tokenizer.encode(text.read_text()))


def test_texts_of_the_same_name_are_all_in_the_table(chain, tmp_path, capsys):
    root, *_ = chain
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text(f"one two {name} " * 10)
    files = [str(tmp_path / name / "text.txt") for name in "ab"]
    assert command.main([f"--run={root / 'v3'}", "--data", *files, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert list(scores) == ["text.txt", f"{files[1]}#text.txt"]


def test_a_token_sees_only_its_window_when_scored(chain):
    """The first window of a text has the same losses whatever comes later."""
    import numpy as np

    from mypt_jax.evaluate import scorer

    root, *_ = chain
    v3 = scorer.Scorer(str(root / "v3"), batch_size=2)
    ids = np.arange(1, 33 * 3)
    whole = v3.nll_of(ids)
    assert whole[:20] == pytest.approx(v3.nll_of(ids[:21]), rel=1e-5)
    assert len(whole) == len(ids) - 1
