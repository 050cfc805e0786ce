"""The line between runs: its ends, the point that keeps a limit, and what is kept of it."""

import json
import math
import shutil

import numpy as np
import pytest

from data_pipeline import errors
from mypt_jax.merge import command, line
from mypt_jax.report import command as report
from mypt_jax.report import plane, runs
from mypt_jax.runs import comparison, evaluations, layout
from mypt_jax.runs.evaluations import Evaluation
from tests.run_factory import measured


def merge(*arguments) -> int:
    return errors.run(lambda: command.main([str(one) for one in arguments]))


@pytest.fixture(scope="module")
def drawn(family, tmp_path_factory):
    """The small lineage with a point of the line from v5 to base, by a limit that all keep."""
    root = tmp_path_factory.mktemp("drawn") / "family"
    shutil.copytree(family, root)
    toward = ["--line", f"--toward={root / 'base'}", "--points=3", "--limit=1%"]
    assert merge(root / "v5", *toward, f"--out={root / 'point'}") == 0
    return root


def test_its_ends_are_the_runs_to_the_last_bit(drawn):
    for number, name in ((0, "base"), (2, "v5")):
        found = evaluations.read(layout.line_file(str(drawn / "point"), number))
        step = layout.finished(drawn / name)["step"]
        theirs = evaluations.read(layout.eval_file(str(drawn / name), step))
        assert found.sources.keys() == theirs.sources.keys()
        for key, source in found.sources.items():
            np.testing.assert_array_equal(source.nll_sum_D, theirs.sources[key].nll_sum_D)


def test_the_point_is_a_run(drawn):
    """General text was learned, too, so that the end of the line keeps the limit."""
    record = layout.record(drawn / "point")
    assert [(one["stage"], one["weight"]) for one in record["merged_from"]] == [("v5", 1.0)]
    own, v5 = (layout.finished(drawn / name)["params_sha256"] for name in ("point", "v5"))
    assert own == v5


def test_the_report_draws_it(drawn):
    report.main([str(drawn)])
    (found,) = json.loads((drawn / "report.json").read_text())["lineages"]
    own = {run["run"]: run for run in found["runs"]}
    points = own["point"]["line"]
    assert [one["at"] for one in points] == [0, 0.5, 1]
    for at, name in ((0, "base"), (2, "v5")):
        for role in ("domain", "general"):
            assert points[at][role] == pytest.approx(own[name]["losses"][role], abs=1e-12)
    ((*_, group),) = [runs.lineages(runs.read_runs(drawn))]
    chart = plane.trade_off(group)
    (shown,) = [one for one in chart.data if "line of point" in one.get("hovertemplate", "")]
    assert shown["customdata"] == [0, 0.5, 1] and len(set(shown["x"])) == 3


def test_without_a_limit_the_run_is_the_sum(family, tmp_path, capsys):
    toward = ["--line", f"--toward={family / 'base'}", "--points=2"]
    assert merge(family / "v3", family / "v5", *toward, f"--out={tmp_path / 'sum'}") == 0
    shown = capsys.readouterr().out
    assert "| at | domain | general | forgetting |" in shown and "<-" not in shown
    assert "at 1, on text that nothing was chosen on: domain -" in shown
    weights = [one["weight"] for one in layout.record(tmp_path / "sum")["merged_from"]]
    assert weights == [0.5, 0.5]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--line"], "--line and --toward=RUN go together"),
        (["--toward=base"], "--line and --toward=RUN go together"),
        (["--limit=1%"], "--limit chooses a point of a line"),
        (["--points=5"], "--points are of a line"),
        (
            ["--line", "--toward=base", "--points=1"],
            "--points is 1, wanted 2 (a line has two ends) to 1,001",
        ),
        (["--line", "--toward=base", "--limit=0"], "--limit=0: wanted a share"),
        (["--line", "--toward=base", "--limit=0%"], "--limit=0%: wanted a share"),
        (["--line", "--toward=base", "--limit=-1%"], "wanted a share"),
        (["--line", "--toward=base", "--limit=100%"], "wanted a share"),
        (["--line", "--toward=base", "--limit=nan"], "wanted a share"),
        (["--line", "--toward=gone"], "there is no run at gone"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(family, tmp_path, capsys, arguments, said):
    assert merge(family / "v5", *arguments, f"--out={tmp_path / 'm'}") == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def a_line(*losses: tuple[float, float]) -> line.Line:
    """Points of these (domain, general) losses; the base's general loss is 2."""
    base = Evaluation({"general/wiki": measured([2.0], "g")})
    points = []
    for number, (domain, general) in enumerate(losses):
        scores = {"domain/cwe": measured([domain], "d"), "general/wiki": measured([general], "g")}
        found = comparison.compare(Evaluation(scores), base, "general")
        points.append(line.Point(number / max(1, len(losses) - 1), [], scores, found))
    return line.Line(None, points, base)


def test_the_limit_leaves_the_lowest_domain_loss():
    found = a_line((5, 2.0), (4, 2.009), (3, 2.021), (2, 2.2))
    assert line.choose(found, limit=0.01).domain == 4
    assert line.choose(found, limit=0.02).domain == 3
    assert line.choose(found, limit=0.001).domain == 5
    # Not the last one inside: the domain may be learned best before the end.
    assert line.choose(a_line((5, 2), (3, 2), (4, 2)), limit=0.01).domain == 3


def test_a_limit_that_nothing_keeps_is_bad_input():
    with pytest.raises(errors.UserError, match=r"keeps the limit of 1 %: the least .* \+5.00 %"):
        line.choose(a_line((5, 2.1), (4, 2.2)), limit=0.01)
    found = a_line((5, 2.0))
    unknown = found.points[0]._replace(forgetting=comparison.Refusal("not measured: gone"))
    with pytest.raises(errors.UserError, match="no forgetting to keep a limit of: not measured"):
        line.choose(found._replace(points=[unknown]), limit=0.01)


def test_what_a_point_is_worth_is_said_of_the_other_half():
    found = a_line((5, 2.0))
    kept = {"report/general/wiki": measured([2.1, 2.3], "r"), "general/wiki": measured([9], "g")}
    point = found.points[0]._replace(scores=kept)
    base = {"report/general/wiki": measured([2.0, 2.0], "r")}
    found = found._replace(baseline=Evaluation(base))
    said = line.reported(found, point)
    assert "domain not measured" in said
    assert "forgetting +10.00 +/- " in said and not math.isnan(found.on_report(point)[1].stderr)
