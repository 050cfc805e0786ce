"""The report page: valid charts, nothing loaded, nothing injected; drawn by a real browser."""

import base64
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess

import pytest

from mypt_jax.report import charts as report_charts
from mypt_jax.report import command as report
from mypt_jax.report import groups, labels, plane, rules, tables, tree
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
    packed = re.search(r'id="page-data">(.*?)</script>', text, re.S)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def own_of(text: str) -> str:
    """A page without its plotting library and data."""
    return re.sub(r'(<script type="application/gzip" id="[\w-]+">).*?</script>', r"\1", text)


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
    places = labels.label_places(points)
    assert places[2] == "bottom right" and places[3].endswith("left")
    assert places[0].endswith("left") and places[4].endswith("right"), "names stay inside"
    assert labels.label_places([(1.0, 1.0)]) == ["top right"]


def test_no_colour_stands_for_two_things():
    keys = [f"{role}/{number}" for role in ("domain", "general") for number in range(7)]
    shades = report_charts.source_colours(keys)
    assert len(set(shades)) == 14
    assert not set(shades) & {*groups.COLOURS, report_charts.LIMIT_COLOUR}


def test_cards_name_what_was_gained_and_what_it_cost(guide):
    own = own_of(write_page(guide))
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
    own = own_of(text)
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
    text = write_page(guide)
    assert "<script>alert" not in own_of(text) and "<img" not in own_of(text)
    assert name in [run["name"] for run in spec_of(text)["runs"]]


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
    assert "4 of 5 runs finished, begun base to v8; v8 at step 0 of 20" in text
    assert [run["name"] for run in spec_of(text)["runs"]] == ["base", "v3", "v5", "v7", "v8"]


def test_an_imported_base_has_a_place_on_the_page(guide):
    """It evaluated nothing, and what it was trained on is unknown."""
    record = json.loads((guide / "base" / "lineage.json").read_text())
    (guide / "base" / "lineage.json").write_text(json.dumps(record | {"data": {}}))
    (guide / "base" / "metrics.jsonl").write_text("")
    text = write_page(guide)
    assert re.findall(r'class="run">([^<]+)<', own_of(text)) == ["v5", "v7", "v8"]
    charts = {chart["id"]: chart for chart in spec_of(text)["charts"]}
    assert {trace["name"] for trace in charts["lineage0-epochs"]["data"]} >= {"v3", "v8"}
    texts = [text for trace in charts["lineage0-lineage"]["data"] for text in trace.get("text", ())]
    assert texts[0] == "  <b>base</b>  5.038, baseline"
    plane_texts = {
        trace["text"][0]: (trace["x"][0], trace["y"][0])
        for trace in charts["lineage0-tradeoff"]["data"]
        if "place" in trace.get("meta", {})
    }
    assert plane_texts["<b>base</b>"] == (5.038, 2.227)


def test_a_single_run_without_evaluations_has_a_page(tmp_path):
    run = run_factory.write_run(tmp_path, "base", parent=None, start=(9, 9), final=(5, 5))
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0, "lr": 0.1}\n')
    (run / "finished.json").unlink()
    assert "none qualifies" in write_page(tmp_path)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """30 runs: the guide's, and a sweep with three seeds of each trial but the last."""
    root = tmp_path_factory.mktemp("many")
    run_factory.write_sweep(root, 30, rows=20)
    return root


def test_thirty_runs_are_told_apart_and_named_without_touching(many):
    text = write_page(many)
    assert len(text) < 3_000_000
    spec = spec_of(text)
    looks = [(chip["colour"], chip["symbol"]) for chip in spec["runs"]]
    assert len({*looks}) == len(looks) == 14, "five runs, eight trials and one with a single seed"
    assert "14 kinds of run share 8 colours" in text
    assert sum(chip["title"].endswith("(seeds: 3)") for chip in spec["runs"]) == 8
    chart = next(one for one in spec["charts"] if one["id"].endswith("tradeoff"))
    places = [one["meta"]["place"] for one in chart["data"] if "place" in one.get("meta", {})]
    assert len(places) == 14 and 7 <= sum(map(bool, places))
    assert f"want of room: {places.count('')};" in text


def test_names_have_boxes_of_their_own():
    """Beside each other they fit; on one place only the first is named."""
    points = [(float(x), 0.1 * x) for x in range(4)]
    assert "" not in labels.labels(points, ["name"] * 4, width=590, height=280)
    crowd = [*points, (1.01, 0.101), (1.02, 0.1), (1.0, 0.102)]
    found = labels.labels(crowd, ["a longer name"] * 7, width=590, height=280)
    assert "" not in found[:4] and "" in found[4:]
    assert labels.labels([(1.0, 1.0)], ["far too long a name " * 9], width=590, height=280) == [""]


def test_colours_repeat_only_with_another_symbol():
    looks = [groups.look(number)[:2] for number in range(64)]
    assert len({*looks}) == 64
    assert groups.look(3).dash == "solid" != groups.look(11).dash


def test_seeds_are_a_group_and_their_spread_a_row(many):
    (runs,) = lineages(read_runs(many))
    found = {group.name: group for group in groups.groups(runs)}
    trial = found["sweep/peak_lr=3e-05,replay_ratio=0.05"]
    assert sorted(run.config["seed"] for run in trial.runs) == [1337, 1338, 1339]
    assert trial.label == "3e-05, 0.05" and len(found["v5"].runs) == 1
    rows = {row[0]: row for row in tables.seeds(runs).rows}
    assert rows.keys() == {name for name, group in found.items() if len(group.runs) > 1}
    losses = [run.final["domain"] for run in trial.runs]
    mean, spread = statistics.fmean(losses), statistics.stdev(losses)
    assert rows[trial.name][4] == f"{mean:.3f} +/- {spread:.3f}"
    target = tables.target_metrics(runs)
    assert len(target.header) < 10 and len(target.rows) == len(runs) + 1, "a row for each run"


def test_what_is_said_of_many_runs_stands_once(many):
    (runs,) = lineages(read_runs(many))
    (line,) = rules.all_warnings(runs)
    assert "and 12 more: replay_ratio 0.05 is under 0.1" in line


def test_the_first_screen_has_date_data_and_what_was_compared(many):
    text = write_page(many)
    first = text[: text.index('class="cards"')]
    assert "30 of 30 runs finished, begun 2026-11-27" in first
    assert "Domain: cwe (data/d). General: wiki (data/g)." in first
    assert "ompared on 40,000 tokens of 40 held-out domain documents" in first


def test_the_lineage_has_a_row_for_each_and_no_two_share_one(many):
    (runs,) = lineages(read_runs(many))
    chart = tree.lineage_chart(runs)
    rows = [trace["y"][0] for trace in chart.data if "meta" in trace]
    assert sorted(rows) == list(range(14))


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
    shown = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)
    assert "Share chart" not in shown, "uploads charts"
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


# Types into the filter and notes the chips, rows and traces that stay; then leaves it as it was.
FILTER = """
<script>
const wait = setInterval(() => {
  if (!document.documentElement.dataset.drawn) return;
  clearInterval(wait);
  const input = document.querySelector(".finder input");
  input.value = "replay_ratio=0.05 -5e-05";
  input.dispatchEvent(new Event("input"));
  setTimeout(() => {
    const chips = [...document.querySelectorAll(".chips > button")].filter((b) => !b.hidden).length;
    const rows = [...document.querySelectorAll(".table tr[data-run]")].filter((r) => !r.hidden);
    const wrong = rows.filter((r) => !r.dataset.run.includes("replay_ratio=0.05")).length;
    document.documentElement.dataset.filtered = `${chips} ${rows.length > 0} ${wrong}`;
  }, 1500);
}, 50);
</script></body>"""


@pytest.mark.full
@needs_browser
def test_browser_filters_thirty_runs(many):
    page = many / "filtering.html"
    page.write_text(write_page(many).replace("</body>", FILTER), encoding="utf-8")
    root, console = browse(page)
    assert console == [] and 'data-errors="0"' in root
    assert 'data-filtered="4 true 0"' in root


def test_names_are_each_of_one_run_or_group(tmp_path):
    """Seeds beside a run that is called as they begin, and a place that is another one's stage."""
    ends = {"start": (6.0, 5.0), "final": (5.0, 5.2)}
    run_factory.write_run(tmp_path, "base", parent=None, **ends)
    for seed in (1, 2):
        place = f"v5_seed{seed}"
        run_factory.write_run(tmp_path, "v5", parent="base", place=place, seed=seed, **ends)
    run_factory.write_run(tmp_path, "v5", parent="base", place="v5", peak_lr=1e-3, **ends)
    run_factory.write_run(tmp_path, "v7", parent="v5", **ends)
    run_factory.write_run(tmp_path, "v3", parent="base", place="v8", **ends)
    for place in ("mine", "yours"):
        run_factory.write_run(tmp_path, "v8", parent="base", place=place, seed=len(place), **ends)
    os.rename(tmp_path / "yours", tmp_path / "v3")
    found = read_runs(tmp_path)
    names = [run.name for run in found]
    assert len({*names}) == len(names) == 8, names
    shown = groups.groups(found)
    assert len({group.name for group in shown}) == len(shown)
    rows = [group.name for group, _, _ in tree._rows(shown)]
    assert sorted(rows) == sorted(group.name for group in shown), "each once"


def test_seeds_of_real_runs_are_a_group_and_a_sweep_alone_is_one_lineage(tmp_path):
    """The fingerprint of their batches has the seed in it; their parent lies elsewhere."""
    ends = {"start": (6.0, 5.0), "final": (5.0, 5.2)}
    run_factory.write_run(tmp_path, "base", parent=None, **ends)
    for rate in (1e-3, 1e-2):
        for seed in (1, 2):
            place = f"sweep/lr={rate:g},seed={seed}"
            run = run_factory.write_run(
                tmp_path, "v3", parent="base", place=place, seed=seed, peak_lr=rate, **ends
            )
            record = json.loads((run / "lineage.json").read_text())
            record["data"]["fingerprint"] = f"of seed {seed}"
            (run / "lineage.json").write_text(json.dumps(record))
    (runs,) = lineages(read_runs(tmp_path / "sweep"))
    assert [(group.name, len(group.runs)) for group in groups.groups(runs)] == [
        ("lr=0.001", 2),
        ("lr=0.01", 2),
    ]
    assert len(tables.seeds(runs).rows) == 2
