"""Merged runs: the sum of their parents' parameters, and a run like any other."""

import json
import shutil

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import errors
from mypt_jax.checkpoint import restore
from mypt_jax.interop import card
from mypt_jax.interop import runs as imports
from mypt_jax.merge import command, evaluation, parents, weights
from mypt_jax.report import command as report
from mypt_jax.runs import ancestry, baselines, evaluations, integrity, layout, lineage
from mypt_jax.schema import recorded
from tests.family_factory import run_stage


def merge(*arguments) -> int:
    return errors.run(lambda: command.main([str(one) for one in arguments]))


def params(run) -> dict:
    return lineage.flatten(restore.load_params(str(run)).params)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        one[key].tobytes() == other[key].tobytes() for key in one
    )


@pytest.fixture(scope="module")
def merged(family, tmp_path_factory):
    """A directory with the small lineage and the mean of v3 and v5 in it."""
    root = tmp_path_factory.mktemp("merged") / "family"
    shutil.copytree(family, root)
    assert merge(root / "v3", root / "v5", f"--out={root / 'merged'}") == 0
    return root


def test_it_is_the_mean_of_its_parents_and_knows_them(merged):
    v3, v5, own = (params(merged / name) for name in ("v3", "v5", "merged"))
    for key, leaf in own.items():
        np.testing.assert_allclose(leaf, (v3[key] + v5[key]) / 2, atol=1e-7)
    record, done = layout.record(merged / "merged"), layout.finished(merged / "merged")
    assert [one["weight"] for one in record["merged_from"]] == [0.5, 0.5]
    for one, name in zip(record["merged_from"], ("v3", "v5"), strict=True):
        theirs = layout.finished(merged / name)
        assert (one["step"], one["params_sha256"]) == (theirs["step"], theirs["params_sha256"])
        assert one["run_id"] == theirs["run_id"]
    assert done["params_sha256"] == lineage.params_sha256(own)
    assert layout.steps(merged / "merged") == [done["step"]]


def test_its_ancestors_end_with_the_last_one_that_all_share(merged):
    record = layout.record(merged / "merged")
    assert [one["stage"] for one in record["ancestors"]] == ["base", "v3"]
    assert record["parent"]["params_sha256"] == layout.finished(merged / "v3")["params_sha256"]
    assert lineage.total_tokens_by_source(record) == lineage.total_tokens_by_source(
        layout.record(merged / "v5")
    )


def test_it_is_evaluated_as_the_end_of_a_stage_is(merged):
    own, theirs = (
        evaluations.read(layout.eval_file(merged / name, layout.finished(merged / name)["step"]))
        for name in ("merged", "v5")
    )
    assert {key: one.fingerprint for key, one in own.sources.items()} == {
        key: one.fingerprint for key, one in theirs.sources.items()
    }
    done = layout.finished(merged / "merged")
    assert done["report"].keys() == layout.finished(merged / "v5")["report"].keys()
    assert done["report"]["general/drift"] > 0
    row = layout.metrics(merged / "merged")[-1]
    assert row["forgetting/base_loss"] == pytest.approx(
        layout.metrics(merged / "v5")[-1]["forgetting/base_loss"]
    )


def test_its_step_0_stands_in_for_no_ancestor(merged):
    record = layout.record(merged / "merged")
    found = baselines.candidates(
        record["ancestors"], 1, place=str(merged / "v3"), runs=[str(merged / "merged")]
    )
    assert [name for name, _ in found] == [f"{merged / 'v3'}@2"]
    # Its record of the base is the base's.
    found = baselines.candidates(
        record["ancestors"], 0, place=str(merged / "base"), runs=[str(merged / "merged")]
    )
    assert layout.baseline_file(str(merged / "merged")) in dict(found)


def test_a_stage_starts_from_it_where_its_furthest_parent_stopped(
    merged, lineage_values, tmp_path, capsys
):
    own = {"workdir": tmp_path / "v8", "init_from": merged / "merged"}
    run_stage("v8", {**lineage_values, **own})
    assert (
        "step 0 equals the parent's end on 6 sources (tolerance 0 nats)" in capsys.readouterr().out
    )
    record = layout.record(tmp_path / "v8")
    assert [one["stage"] for one in record["ancestors"]] == ["base", "v3", "merged"]
    v5 = layout.record(merged / "v5")["data"]["sources"]
    for key, source in record["data"]["sources"].items():
        assert source["first_window"] == v5[key]["first_window"] + v5[key]["windows"]
    # What it was merged from is not forgotten behind it.
    seen = {**lineage.total_tokens_by_source(layout.record(merged / "v5"))}
    total = lineage.total_tokens_by_source(record)
    assert total == {key: seen[key] + n for key, n in record["tokens_by_source"].items()}


def test_the_report_shows_it_among_the_others(merged):
    report.main([str(merged), "--html"])
    (found,) = json.loads((merged / "report.json").read_text())["lineages"]
    own = next(run for run in found["runs"] if run["run"] == "merged")
    assert own["init_from"] == "+0.5 v3 +0.5 v5"
    assert [one["weight"] for one in own["merged_from"]] == [0.5, 0.5]
    assert own["from_baseline"]["general"]["nats"] is not None
    # Its changes are against v3, whose end v5 began with.
    v5 = next(run for run in found["runs"] if run["run"] == "v5")
    for role in ("domain", "general"):
        assert own["from_start"][role]["start"] == v5["from_start"][role]["start"]
    assert own["warnings"] == [] and "weighted sum" in own["advice"]
    text = (merged / "report.md").read_text()
    assert "| merged | +0.5 v3 +0.5 v5 | - | - | 0 |" in text
    assert "merged" in (merged / "report.html").read_text()


def test_its_card_says_what_it_is_the_sum_of(merged):
    record, config = layout.record(merged / "merged"), recorded.config(str(merged / "merged"))
    text = card.render(
        path=str(merged / "merged"), step=0, config=config, record=record, parameters=1, remarks=[]
    )
    assert "| merged | merged: +0.5 v3 +0.5 v5 | - | - |" in text
    assert "not stated" not in text.split("## Data")[1]


def test_one_run_or_itself_twice_is_that_run(family, tmp_path):
    want = params(family / "v5")
    assert merge(family / "v5", f"--out={tmp_path / 'one'}") == 0
    assert merge(family / "v5:-1", family / "v5:2", f"--out={tmp_path / 'two'}") == 0
    for name in ("one", "two"):
        assert same(params(tmp_path / name), want)
        assert layout.finished(tmp_path / name)["params_sha256"] == lineage.params_sha256(want)
    # So is what it was measured at, to the last bit.
    v5, own = (layout.metrics(run)[-1] for run in (family / "v5", tmp_path / "one"))
    losses = layout.losses(own)
    assert losses == {key: layout.losses(v5)[key] for key in losses} != {}


LEAF = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=5)


@given(LEAF, st.lists(st.floats(-3, 3), min_size=1, max_size=4))
def test_equal_parameters_stay_what_they_are(leaf, given_weights):
    """Whatever weights of sum 1, up to rounding; for those that halve exactly, to the last bit."""
    array = {"a": np.array(leaf, np.float32)}
    exact = weights.combine([(0.25, array), (0.75, array)])
    assert exact["a"].tobytes() == array["a"].tobytes()
    parts = [*given_weights, 1 - sum(given_weights)]
    found = weights.combine([(weight, array) for weight in parts])
    np.testing.assert_allclose(found["a"], array["a"], rtol=1e-6, atol=1e-30)


def test_weights_stand_behind_the_last_colon_if_they_are_numbers():
    assert weights.parse(["a", "b"]) == [("a", 0.5), ("b", 0.5)]
    assert weights.parse(["a:1", "b:1e0", "gs://c/d:-1."]) == [
        ("a", 1.0), ("b", 1.0), ("gs://c/d", -1.0)
    ]  # fmt: skip
    assert weights.parse(["a:b", "c:"]) == [("a:b", 0.5), ("c:", 0.5)]
    assert weights.parse(["a:b:.25", "c@best:.75"]) == [("a:b", 0.25), ("c@best", 0.75)]


def test_a_run_may_be_called_as_if_it_had_a_weight(tmp_path):
    (tmp_path / "m:1").mkdir()
    (tmp_path / "m:1/config.json").write_text("{}")
    run = str(tmp_path / "m:1")
    assert weights.parse([run, "b"]) == [(run, 0.5), ("b", 0.5)]
    assert weights.parse([f"{run}:2", "b:-1"]) == [(run, 2.0), ("b", -1.0)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v3:0.5", "v5:0.4"], "the weights 0.5, 0.4 sum to 0.9, wanted 1"),
        (["v3:0.5", "v5"], "v5 has no weight, but others have"),
        (["v3:1e400", "v5:1"], "sum to inf"),
        (["v3:nan"], "there is no run at"),
        (["v3@7"], "no checkpoint of step 7"),
        (["other", "v5"], "share no ancestor"),
        (["wide", "v5"], "model.n_embd is 128 in "),
        (["words", "v5"], "only runs of one tokenizer can be merged"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(strangers, tmp_path, capsys, arguments, said):
    before = sorted(tmp_path.rglob("*"))
    assert merge(*(strangers / one for one in arguments), f"--out={tmp_path / 'm'}") == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_whose_evaluation_is_gone_was_evaluated_nevertheless(tmp_path):
    """So that the sum is, on the windows that its config names."""
    parent = parents.Parent(str(tmp_path), 0, 1.0, {}, {}, {"eval": {"domain": 3.0}}, {})
    assert evaluation._is_measured(parent)
    assert not evaluation._is_measured(parent._replace(own={"eval": {}}))


def test_a_sum_is_not_called_as_a_step(family, tmp_path, capsys):
    assert merge(family / "v3", f"--out={tmp_path / 'm@1'}") == 2
    assert "m@1 reads as step 1 of" in capsys.readouterr().err and not [*tmp_path.iterdir()]


def test_nothing_is_overwritten(family, tmp_path, capsys):
    (tmp_path / "m").mkdir()
    assert merge(family / "v5", f"--out={tmp_path / 'm'}") == 2
    assert "exists: name another directory" in capsys.readouterr().err
    assert list((tmp_path / "m").iterdir()) == []
    assert merge(family / "v5", "--out=gs://bucket/m") == 2


def imported(run, path, *, shift: float = 0.0, tokenizer="", origin="", **settings) -> None:
    """An import with the parameters of a run, moved by `shift`."""
    loaded = restore.load_params(str(run))
    name = tokenizer or loaded.config["data"]["tokenizer"]
    shape = {**loaded.config["model"], **settings}
    source = {"tokenizer_name": name, "source": str(path)}
    imports.write(
        str(path),
        params=jax.tree.map(lambda x: x + x.dtype.type(shift), loaded.params),
        settings=shape,
        note="",
        origin=imports.family_of(str(origin) if origin else "", settings=shape, **source),
        **source,
    )


@pytest.fixture(scope="module")
def strangers(family, tmp_path_factory):
    """The small lineage with runs that cannot be merged with it."""
    root = tmp_path_factory.mktemp("strangers") / "family"
    shutil.copytree(family, root)
    imported(root / "base", root / "other", shift=1.0)
    imported(root / "base", root / "wide", n_embd=128)
    shutil.copytree(root / "v3", root / "words")
    step = layout.step_dir(str(root / "words"), 2)
    meta = lineage.read_json(f"{step}/meta.json", what="", wanted={})
    meta["lineage"]["tokenizer"] = {"name": "words", "sha256": "0" * 64}
    lineage.write_json(f"{step}/meta.json", meta)
    integrity.write_manifest(step)
    return root


def test_imports_name_their_common_origin(family, tmp_path):
    """base -> instruct elsewhere; base -> v3 here: v3 + instruct - base."""
    imported(family / "base", tmp_path / "base")
    imported(family / "v3", tmp_path / "instruct", origin=tmp_path / "base")
    line = [family / "v5:1", tmp_path / "instruct:1", tmp_path / "base:-1"]
    assert merge(*line, f"--out={tmp_path / 'sum'}") == 0
    record = layout.record(tmp_path / "sum")
    assert [one["stage"] for one in record["ancestors"]] == ["base"]
    base, v3, v5, own = (
        params(run) for run in (family / "base", family / "v3", family / "v5", tmp_path / "sum")
    )
    for key, leaf in own.items():
        np.testing.assert_allclose(leaf, v5[key] + v3[key] - base[key], atol=1e-6)
    # The import itself is the base of what descends from it.
    assert layout.record(tmp_path / "instruct")["ancestors"] == []


def test_an_origin_has_the_architecture_and_tokenizer_of_its_import(family, tmp_path):
    for settings, said in (
        ({"n_embd": 128}, "--origin=.* has model.n_embd 64, .* has 128"),
        ({"tokenizer": "gpt2", "vocab_size": 4224}, "--origin=.* has tokenizer gpt2-4096"),
    ):
        with pytest.raises(errors.UserError, match=said):
            imported(family / "base", tmp_path / "m", origin=family / "base", **settings)
    assert not (tmp_path / "m").exists()


def entry(digest: str, **more) -> dict:
    return {"params_sha256": digest, **more}


@pytest.mark.parametrize(
    ("families", "shared", "since"),
    [
        (["ab5", "ab7", "ab78"], "ab", "7"),
        (["ab", "abc"], "ab", ""),
        (["abc", "ab"], "ab", ""),
        (["abc"], "abc", ""),
        (["abx", "cbx"], "abx", ""),  # the same parameters, wherever they came from
        (["ab", "cd"], "", None),
    ],
)
def test_the_last_shared_ancestor(families, shared, since):
    lists = [[entry(one) for one in family] for family in families]
    found = ancestry.last_shared(lists)
    assert "".join(one["params_sha256"] for one in found) == shared
    if since is not None:
        left = ancestry.since(lists[-1], found)
        assert "".join(one["params_sha256"] for one in left) == since


def test_an_origin_counts_as_an_ancestor():
    base = [entry("a"), entry("b")]
    instruct = entry("i", origin=base)
    first, second = [instruct, entry("x")], [entry("a"), entry("b"), entry("y")]
    assert ancestry.last_shared([first, second]) == base
    assert ancestry.last_shared([first, [instruct]]) == [instruct]
    assert ancestry.since(first, base) == [instruct]
