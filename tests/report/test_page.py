"""The report page: valid charts, nothing loaded, nothing injected; drawn by a real browser."""

import json
import os
import re
import shutil
import subprocess

import pytest

from mypt_jax.report import charts as report_charts
from mypt_jax.report import command as report
from mypt_jax.report import page as report_page
from mypt_jax.report import plane
from mypt_jax.report.runs import lineages, read_runs
from tests import run_factory

pytest.importorskip("plotly", reason="plotly is not installed: requirements-report.txt")

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: bash scripts/test_page.sh installs Debian's"
)


@pytest.fixture
def guide(tmp_path):
    run_factory.write_guide_chain(tmp_path)
    return tmp_path


def write_page(root) -> str:
    assert report.main([str(root), "--html"]) == 0
    return (root / "report.html").read_text(encoding="utf-8")


def spec_of(text: str) -> dict:
    """The page's own data, as its script reads it."""
    return json.loads(re.search(r'id="page-data">(.*?)</script>', text, re.S)[1])


def test_charts_are_valid_figures_and_complete(guide):
    from plotly import graph_objects

    charts = spec_of(write_page(guide))["charts"]
    keys = [chart["id"].removeprefix("lineage0-") for chart in charts]
    assert keys == [
        "tradeoff", "lineage", "domain", "general", "forgetting", "train", "rate", "speed",
        "shares", "epochs",
    ]  # fmt: skip
    for chart in charts:
        # Plotly refuses unknown properties and values.
        graph_objects.Figure(data=chart["data"], layout=chart["layout"])
        named = {trace["meta"]["run"] for trace in chart["data"] if "meta" in trace}
        stages = {"v3", "v5", "v7", "v8"}
        assert named in (stages, stages | {"base"}, set()), chart["id"]


def test_curves_of_a_child_begin_where_its_parent_ended(guide):
    (runs,) = lineages(read_runs(guide))
    assert [report_charts.offset(run) for run in runs] == [0, 20, 40, 40, 60]
    assert [run.name for run in runs] == ["base", "v3", "v5", "v7", "v8"]


def test_pareto_front_holds_what_nothing_beats():
    points = [(3.0, 2.4), (3.5, 2.3), (3.6, 2.35), (3.9, 2.2), (5.0, 2.2), (3.0, 2.5)]
    assert plane.pareto(points) == [(3.0, 2.4), (3.5, 2.3), (3.9, 2.2)]


def test_names_on_the_plane_avoid_the_points():
    """Close points get their names on the sides that look away from each other."""
    points = [(6.81, 5.69), (4.94, 5.72), (4.42, 5.79), (4.39, 5.82), (4.31, 5.95)]
    places = plane.label_places(points)
    assert places[2] == "bottom right" and places[3].endswith("left")
    assert places[0].endswith("left") and places[4].endswith("right"), "names stay inside"
    assert plane.label_places([(1.0, 1.0)]) == ["top right"]


def test_no_colour_stands_for_two_things():
    keys = [f"{role}/{number}" for role in ("domain", "general") for number in range(7)]
    shades = report_charts.source_colours(keys)
    assert len(set(shades)) == 14
    assert not set(shades) & {*report_charts.COLOURS, report_charts.LIMIT_COLOUR}


def test_cards_name_what_was_gained_and_what_it_cost(guide):
    own = write_page(guide).replace(report_page.plotly_js(), "")
    facts = own[own.index('class="cards"') : own.index('class="overview"')].replace("\u00a0", " ")
    assert "domain 5.038 \u2192 3.257 (-35.4 %)" in facts
    assert "general 2.227 \u2192 2.360 (+6.0 %)" in facts


def test_long_curves_are_thinned_and_keep_their_ends():
    xs = list(range(100_000))
    thin, same = report_charts.thin(xs, xs)
    assert thin == same and len(thin) == report_charts.MAX_POINTS
    assert (thin[0], thin[-1]) == (0, 99_999)


def test_page_loads_nothing_and_recommends(guide):
    text = write_page(guide)
    own = text.replace(report_page.plotly_js(), "")
    assert len(own) < 200_000
    assert "http" not in own.replace("http-equiv", "")
    assert "default-src 'none'" in own
    cards = re.findall(r'class="for">([^<]+)</div><div class="run">([^<]+)<', own)
    assert cards == [("preserve general", "v5"), ("balanced", "v7"), ("maximum domain", "v8")]
    assert 'data-live="0"' in own
    assert "showSendToCloud: false" in own


def test_hostile_names_stay_text(guide):
    name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    path = guide / "v5" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stage": name}))
    (guide / "samples.json").write_text(json.dumps({name: {name: name}}))
    own = write_page(guide).replace(report_page.plotly_js(), "")
    assert "<script>alert" not in own and "<img" not in own
    assert name in [run["name"] for run in spec_of(own)["runs"]]


def test_without_plotly_one_line_names_the_remedy(guide, monkeypatch):
    from data_pipeline.errors import UserError

    monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    with pytest.raises(UserError, match="requirements-report.txt"):
        report.main([str(guide), "--html"])
    assert not (guide / "report.md").exists()


def test_a_run_that_has_only_begun_has_a_page(guide):
    (guide / "v8" / "finished.json").unlink()
    (guide / "v8" / "metrics.jsonl").write_text("")
    text = write_page(guide)
    assert "4 of 5 runs finished; v8 at step 0 of 20" in text
    assert [run["name"] for run in spec_of(text)["runs"]] == ["base", "v3", "v5", "v7", "v8"]


def test_an_imported_base_has_a_place_on_the_page(guide):
    """It evaluated nothing, and what it was trained on is unknown."""
    record = json.loads((guide / "base" / "lineage.json").read_text())
    (guide / "base" / "lineage.json").write_text(json.dumps(record | {"data": {}}))
    (guide / "base" / "metrics.jsonl").write_text("")
    own = write_page(guide).replace(report_page.plotly_js(), "")
    assert re.findall(r'class="run">([^<]+)<', own) == ["v5", "v7", "v8"]
    charts = {chart["id"]: chart for chart in spec_of(own)["charts"]}
    assert {trace["name"] for trace in charts["lineage0-epochs"]["data"]} >= {"v3", "v8"}
    texts = [text for trace in charts["lineage0-lineage"]["data"] for text in trace["text"]]
    assert texts[0] == "<b>base</b><br>5.038<br>baseline"


def test_a_single_run_without_evaluations_has_a_page(tmp_path):
    run = run_factory.write_run(tmp_path, "base", parent=None, start=(9, 9), final=(5, 5))
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0, "lr": 0.1}\n')
    (run / "finished.json").unlink()
    assert "none qualifies" in write_page(tmp_path)


# Clicks the chip of v8 and notes how many of its traces are shown before and after.
CLICK = """
<script>
const shown = () => [...document.querySelectorAll(".js-plotly-plot")].flatMap((div) => div.data)
  .filter((trace) => trace.meta && trace.meta.run === "v8" && trace.visible !== false).length;
const wait = setInterval(() => {
  if (!document.documentElement.dataset.drawn) return;
  clearInterval(wait);
  const before = shown();
  [...document.querySelectorAll(".chips button")].find((b) => b.textContent === "v8").click();
  setTimeout(() => { document.documentElement.dataset.clicked = `${before} ${shown()}`; }, 500);
}, 50);
</script></body>"""


def browse(page, *options: str) -> tuple[str, list[str]]:
    """(the page's own root element after drawing, lines of the browser's console)."""
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--disable-background-networking", f"--user-data-dir={page.parent / 'browser'}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=10000", *options]
    done = subprocess.run(
        [*command, f"file://{page}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "HOME": str(page.parent)},
    )
    assert "Share chart" not in done.stdout.replace(report_page.plotly_js(), ""), "uploads charts"
    return done.stdout[:400], [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.full
@needs_browser
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_browser_draws_every_chart_without_an_error(guide, scheme):
    text = write_page(guide)
    page = guide / "clicking.html"
    page.write_text(text.replace("</body>", CLICK), encoding="utf-8")
    root, console = browse(page, f"--blink-settings=preferredColorScheme={scheme}")
    assert console == []
    assert 'data-errors="0"' in root
    assert 'data-drawn="10"' in root and 'data-charts="10"' in root
    before, after = re.search(r'data-clicked="(\d+) (\d+)"', root).groups()
    assert int(before) >= 9 and after == "0"


@pytest.mark.full
@needs_browser
def test_browser_test_notices_a_broken_chart(guide):
    page = guide / "broken.html"
    page.write_text(write_page(guide).replace('"type": "bar"', '"type": 1, "x": 2'))
    broken = page.read_text().replace("Plotly.react(chart.id", 'Plotly.react("no-such-chart"')
    page.write_text(broken)
    root, console = browse(page)
    assert 'data-drawn="10"' not in root and console != []
