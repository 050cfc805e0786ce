"""The report as one HTML file that works offline: charts, tables and what to take.

The plotting library (Plotly) is read from its package and written into the page, which loads
nothing: its content security policy forbids it to.
"""

import datetime
import html
import json
import math
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipeline.batches import mixture
from data_pipeline.errors import UserError
from mypt_jax import guide
from mypt_jax.report import charts as report_charts
from mypt_jax.report import plane as report_plane
from mypt_jax.report import rules
from mypt_jax.report import tables as report_tables
from mypt_jax.report.run import Run
from mypt_jax.runs import kinds, lineage
from mypt_jax.runs import layout as run_files
from mypt_jax.runs.comparison import Difference

_ASSETS = Path(__file__).parent / "assets"
_WIDE = ("shares", "epochs")
_SHALLOW = 4  # generations that fit beside the plane of losses; a deeper lineage is drawn below it


def plotly_js() -> str:
    """The plotting library's text. Raises UserError when plotly is not installed."""
    try:
        from plotly import offline
    except ImportError as error:
        raise UserError(
            "--html needs plotly, which is not installed: pip install -r requirements-report.txt"
        ) from error
    return offline.get_plotlyjs()


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _table(table: report_tables.Table) -> str:
    if not table.rows:
        return ""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    note = f'<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<section class="table"><h3>{_text(table.title)}</h3>{note}'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _card_facts(run: Run) -> list[str]:
    """What was gained and what it cost, from the baseline to this run; lines break at "(" only."""
    facts = []
    for role in mixture.ROLES:
        change = run.against_baseline(role)
        if not isinstance(change, Difference):
            continue
        known = math.isfinite(change.stderr)
        bar = f" \u00b1 {100 * change.stderr / change.start:.1f}" if known else ""
        losses = f"{role} {change.start:.3f} \u2192 {change.final:.3f}"
        percent = f"({change.percent:+.1f}{bar} %)"
        facts.append(" ".join(part.replace(" ", "\u00a0") for part in (losses, percent)))
    return facts


def _cards(runs: Sequence[Run]) -> str:
    """What to take: the decision matrix as three cards, in the colours of the runs."""
    cards = []
    for priority, limit, run, among in rules.decide(runs):
        name, facts, line = "none qualifies", ["no finished run stays within the limit"], ""
        if run is not None:
            name, facts = run.name, _card_facts(run)
            line = f' style="--run: {report_charts.colour(runs.index(run))}"'
        lines = "".join(f"<div>{_text(fact)}</div>" for fact in facts)
        cards.append(
            f'<div class="card"{line}><div class="for">{_text(priority)}</div>'
            f'<div class="run">{_text(name)}</div>{lines}'
            '<div class="for">lowest domain loss with forgetting up to '
            f"+{_text(guide.percent(limit))}{_text(among)}</div></div>"
        )
    return f'<section class="cards">{"".join(cards)}</section>'


def _warnings(runs: Sequence[Run]) -> str:
    found = [f"<li>{_text(w)}</li>" for run in runs for w in rules.warnings(run)]
    return f'<ul class="warnings">{"".join(found)}</ul>' if found else ""


def _charts(charts: Sequence[report_charts.Chart], prefix: str, layout: str = "charts") -> str:
    parts = []
    for chart in charts:
        wide = " wide" if chart.key in _WIDE else ""
        parts.append(
            f'<section class="chart{wide}"><h3>{_text(chart.title)}</h3>'
            f'<p class="note">{_text(chart.note)}</p><div id="{prefix}{chart.key}"></div></section>'
        )
    return f'<section class="{layout}">{"".join(parts)}</section>'


def _tables(runs: Sequence[Run]) -> str:
    tables = report_tables.tables(runs)
    single = [table for table in tables if ": " in table.title]
    overview = [_table(table) for table in tables if table not in single]
    details = "".join(_table(table) for table in single)
    return (
        f"<h2>Tables</h2>{''.join(overview)}"
        f"<details><summary>Every run: start, final, change</summary>{details}</details>"
    )


def _continuations(prompt: str, texts: Mapping[str, str]) -> str:
    columns = (
        f'<div><p class="note">{_text(run)}</p><pre class="sample">{_text(text)}</pre></div>'
        for run, text in texts.items()
    )
    return f'<h3>{_text(prompt)}</h3><section class="samples">{"".join(columns)}</section>'


def _samples(directory: Path) -> str:
    """Continuations of the same prompts by several runs, where they were generated."""
    path = directory / run_files.SAMPLES
    if not path.is_file():
        return ""
    samples = lineage.read_json(str(path), what="samples", wanted=kinds.SAMPLES)
    parts = [_continuations(prompt, texts) for prompt, texts in samples.items()]
    return f"<h2>Samples</h2>{''.join(parts)}"


def _status(runs: Sequence[Run]) -> str:
    unfinished = [f"{r.name} at step {r.step:,} of {r.num_steps:,}" for r in runs if not r.finished]
    done = len(runs) - len(unfinished)
    return f"{done} of {len(runs)} runs finished" + "".join(f"; {text}" for text in unfinished)


def page(
    groups: Sequence[Sequence[Run]], *, title: str, directory: Path, live_secs: int = 0
) -> str:
    """The whole page; `live_secs` > 0 makes it reload itself that often."""
    body, charts, chips = [], [], []
    for number, runs in enumerate(groups):
        prefix = f"lineage{number}-"
        plane, tree = report_plane.trade_off(runs), report_plane.lineage_chart(runs)
        curves = [*report_charts.curves(runs), report_charts.shares(runs)]
        curves.append(report_charts.epochs(runs))
        if len(groups) > 1:
            body.append(f"<h2>Lineage of {_text(runs[0].name)}</h2>")
        deep = max(len(run.record["ancestors"]) for run in runs) >= _SHALLOW
        body += [_cards(runs), _warnings(runs)]
        body.append(_charts([plane, tree], prefix, "overview deep" if deep else "overview"))
        body += ["<h2>Curves and data</h2>", _charts(curves, prefix), _tables(runs)]
        for chart in (plane, tree, *curves):
            spec = {"data": chart.data, "layout": chart.layout, "height": chart.height}
            charts.append({"id": prefix + chart.key, **spec})
        chips += [{"name": r.name, "colour": report_charts.colour(i)} for i, r in enumerate(runs)]
    body.append(_samples(directory))
    # A "<" in a name could end the script element that holds the data.
    data = json.dumps({"charts": charts, "runs": chips}, allow_nan=False).replace("<", "\\u003c")
    now = datetime.datetime.now().astimezone()
    return string.Template((_ASSETS / "page.html").read_text(encoding="utf-8")).substitute(
        title=_text(title),
        status=_text(_status([run for runs in groups for run in runs])),
        body="\n".join(body),
        data=data,
        css=(_ASSETS / "page.css").read_text(encoding="utf-8"),
        js=(_ASSETS / "page.js").read_text(encoding="utf-8"),
        plotly=plotly_js(),
        written=now.strftime("%Y-%m-%d %H:%M:%S %z"),
        live_secs=live_secs,
    )
