"""The report as one HTML file that works offline: charts, tables and what to take.

The plotting library (Plotly) is read from its package and written into the page, packed. The page
loads nothing: its content security policy forbids it to.
"""

import base64
import datetime
import functools
import gzip
import html
import importlib.util
import json
import math
import string
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from data_pipeline.batches import mixture
from data_pipeline.errors import UserError
from mypt_jax.report import charts as report_charts
from mypt_jax.report import groups as run_groups
from mypt_jax.report import plane as report_plane
from mypt_jax.report import rules, standing
from mypt_jax.report import tables as report_tables
from mypt_jax.report import tree as report_tree
from mypt_jax.report.groups import Group
from mypt_jax.report.run import Run
from mypt_jax.runs import evaluations, kinds, lineage
from mypt_jax.runs import layout as run_files
from mypt_jax.runs.comparison import Difference

_ASSETS = Path(__file__).parent / "assets"
_WIDE = ("shares", "epochs")
_LIBRARY = "package_data/plotly.min.js"
_FEW_WARNINGS = 5  # that stand on the first screen; more are folded
_HIGHEST = 680  # pixels of a lineage that stands beside the plane of losses; else it stands below


def _plotly() -> str:
    """The plotting library, packed. Raises UserError when plotly is not installed."""
    found = importlib.util.find_spec("plotly")  # read, not imported: that takes a second
    if found is None or not found.submodule_search_locations:
        raise UserError(
            "--html needs plotly, which is not installed: pip install -r requirements-report.txt"
        )
    return _packed_file(Path(found.submodule_search_locations[0], _LIBRARY))


@functools.cache
def _packed_file(path: Path) -> str:
    return packed(path.read_bytes())


def packed(data: bytes) -> str:
    """gzip as base64: a quarter of the bytes of a script, unpacked by the reader's browser."""
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def _text(value: str) -> str:
    return html.escape(value, quote=True)


def _table(table: report_tables.Table, names: Collection[str] = ()) -> str:
    """`names`: of the runs, whose rows are hidden with them."""
    if not table.rows:
        return ""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in table.header)
    rows = "".join(
        f'<tr data-run="{_text(row[0])}">' * (row[0] in names)
        + "<tr>" * (row[0] not in names)
        + "".join(f"<td>{_text(cell)}</td>" for cell in row)
        + "</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{_text(table.note)}</p>' if table.note else ""
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return (
        f'<section class="table"><h3>{_text(table.title)}</h3>{note}'
        f'<div class="scroll" tabindex="0">{body}</div></section>'
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


def _cards(runs: Sequence[Run], found: Sequence[Group]) -> str:
    """What to take: the decision matrix as three cards, in the colours of the runs."""
    cards, of = [], run_groups.by_run(found)
    for choice in rules.decide(runs):
        run = choice.run
        name, facts, line = "none qualifies", ["no finished run stays within the limit"], ""
        if run is not None:
            name, facts = run.name, _card_facts(run)
            line = f' style="--run: {of[run.name].look.colour}"'
        lines = "".join(f"<div>{_text(fact)}</div>" for fact in facts)
        cards.append(
            f'<div class="card"{line}><div class="for">{_text(choice.priority)}</div>'
            f'<div class="run">{_text(name)}</div>{lines}'
            f'<div class="for">{_text(choice.rule)}</div></div>'
        )
    return f'<section class="cards">{"".join(cards)}</section>'


def _warnings(runs: Sequence[Run]) -> str:
    return _listed(rules.all_warnings(runs))


def _listed(lines: Sequence[str]) -> str:
    """Many are folded."""
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    shown = f'<ul class="warnings">{items}</ul>' if lines else ""
    if len(lines) <= _FEW_WARNINGS:
        return shown
    return f"<details><summary>{len(lines)} things to know of these runs</summary>{shown}</details>"


def _charts(charts: Sequence[report_charts.Chart], prefix: str, layout: str = "charts") -> str:
    parts = []
    for chart in charts:
        wide = " wide" if chart.key in _WIDE else ""
        parts.append(
            f'<section class="chart{wide}"><h3>{_text(chart.title)}</h3>'
            f'<p class="note">{_text(chart.note)}</p><div id="{prefix}{chart.key}"></div></section>'
        )
    return f'<section class="{layout}">{"".join(parts)}</section>'


def _tables(runs: Sequence[Run], found: Sequence[Group]) -> str:
    tables = report_tables.tables(runs)
    names = {run.name for run in runs} | {group.name for group in found}
    single = [table for table in tables if ": " in table.title]
    overview = [_table(table, names) for table in tables if table not in single]
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
    begun = sorted({str(run.record.get("created", ""))[:10] for run in runs} - {""})
    dates = f", begun {' to '.join(dict.fromkeys((begun[0], begun[-1])))}" if begun else ""
    return f"{done} of {len(runs)} runs finished{dates}" + "".join(f"; {x}" for x in unfinished)


def _compared(runs: Sequence[Run]) -> str:
    """Which data was trained on, and on how much text the runs are compared."""
    shown = []
    for role in mixture.ROLES:
        sources: dict[str, list[str]] = {}
        for run in runs:
            for key, source in run.trained_on.items():
                if evaluations.role_of(key) == role:
                    names = sources.setdefault(source["dataset"], [])
                    names += [name for name in [key.partition("/")[2]] if name not in names]
        if sources:
            said = (f"{', '.join(names)} ({place})" for place, names in sources.items())
            shown.append(f"{role}: {'; '.join(said)}")
    held = []
    for role in mixture.ROLES:
        most = next(iter(standing.groups(runs, role)), [])
        if most:
            found = most[0].result.of(role).values()
            documents = sum(len(one.tokens_D) for one in found)
            tokens = sum(one.tokens for one in found)
            held.append(f"{tokens:,} tokens of {documents:,} held-out {role} documents")
    if held:
        shown.append(f"compared on {' and '.join(held)}")
    return ". ".join(f"{text[0].upper()}{text[1:]}" for text in shown)


def _repeats(found: Sequence[Group]) -> str:
    """A line where colours stand for more than one run."""
    if len(found) <= run_groups.FEW:
        return ""
    return (
        f'<p class="note">{len(found)} kinds of run share {run_groups.FEW} colours: the symbol, '
        "and the dashes of its curves, tell them apart. Runs that differ in their seed alone look "
        "the same.</p>"
    )


def page(
    groups: Sequence[Sequence[Run]],
    *,
    title: str,
    directory: Path,
    left_out: Sequence[str] = (),
    live_secs: int = 0,
) -> str:
    """The whole page; `left_out`: a line on each run that could not be read; `live_secs` > 0 makes
    it reload itself that often."""
    body, charts, chips = [_listed([f"Left out: {line}" for line in left_out])], [], []
    for number, runs in enumerate(groups):
        prefix = f"lineage{number}-"
        found = run_groups.groups(runs)
        tree = report_tree.lineage_chart(runs)
        is_deep = tree.height > _HIGHEST
        beside = report_charts.HEIGHT if is_deep else tree.height
        plane = report_plane.trade_off(runs, beside)
        curves = [*report_charts.curves(runs), report_charts.shares(runs)]
        curves.append(report_charts.epochs(runs))
        if len(groups) > 1:
            body.append(f"<h2>Lineage of {_text(runs[0].name)}</h2>")
        body += [f'<p class="note">{_text(_compared(runs))}</p>', _cards(runs, found)]
        body += [_repeats(found), _warnings(runs)]
        body.append(_charts([plane, tree], prefix, "overview deep" if is_deep else "overview"))
        body += ["<h2>Curves and data</h2>", _charts(curves, prefix), _tables(runs, found)]
        for chart in (plane, tree, *curves):
            spec = {"data": chart.data, "layout": chart.layout, "height": chart.height}
            charts.append({"id": prefix + chart.key, **spec})
        chips += [_chip(group) for group in found]
    body.append(_samples(directory))
    data = json.dumps({"charts": charts, "runs": chips}, allow_nan=False)
    now = datetime.datetime.now().astimezone()
    return string.Template((_ASSETS / "page.html").read_text(encoding="utf-8")).substitute(
        title=_text(title),
        status=_text(_status([run for runs in groups for run in runs])),
        body="\n".join(body),
        data=packed(data.encode()),
        css=(_ASSETS / "page.css").read_text(encoding="utf-8"),
        js=(_ASSETS / "page.js").read_text(encoding="utf-8"),
        plotly=_plotly(),
        written=now.strftime("%Y-%m-%d %H:%M:%S %z"),
        live_secs=live_secs,
    )


def _chip(group: Group) -> dict:
    """What shows and hides a group."""
    look = group.look
    members = [run.name for run in group.runs]
    shown = {"name": group.name, "title": group.title, "members": members}
    return {**shown, "colour": look.colour, "symbol": look.symbol}
