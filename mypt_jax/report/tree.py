"""The lineage as a tree of rows: each run below and to the right of what it started from."""

from collections.abc import Mapping, Sequence

from data_pipeline.batches import mixture
from mypt_jax.report import cells, rules, standing, tables
from mypt_jax.report import groups as run_groups
from mypt_jax.report.charts import HEIGHT, Chart
from mypt_jax.report.groups import Group
from mypt_jax.report.run import Run
from mypt_jax.runs.comparison import Difference

_PITCH = (24, 46)  # pixels between rows: many, few
_INDENT = 26  # pixels from a parent to its children
_SHORT = 24  # characters of a name


def _rows(found: Sequence[Group]) -> list[tuple[Group, int, int]]:
    """(group, generation, row of its parent or -1), each below its parent, in rows."""
    of = run_groups.by_run(found)
    children: dict[str, list[Group]] = {}
    roots = []
    for group in found:
        parent = group.runs[0].parent
        above = of.get(parent.name) if parent else None
        if above is None or above is group:
            roots.append(group)
        else:
            children.setdefault(above.name, []).append(group)
    rows: list[tuple[Group, int, int]] = []

    def place(group: Group, depth: int, above: int) -> None:
        own = len(rows)
        rows.append((group, depth, above))
        for child in children.get(group.name, ()):
            place(child, depth + 1, own)

    for group in roots:
        place(group, 0, -1)
    return rows


def lineage_chart(runs: Sequence[Run]) -> Chart:
    """A row for each group, below and to the right of what it started from: nothing crosses."""
    rows = _rows(run_groups.groups(runs))
    baseline = tables.baseline_of(runs)
    apart = {role: standing.apart(runs, role) for role in mixture.ROLES}
    data = [_branches(rows)]
    for row, (group, depth, _) in enumerate(rows):
        look, run = group.look, group.runs[0]
        unfinished = [one for one in group.runs if not one.finished]
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": [depth],
                "y": [row],
                "text": [_line_text(group, baseline, apart)],
                "textposition": "middle right",
                "cliponaxis": False,
                "marker": {
                    "size": 13,
                    "color": look.colour,
                    "symbol": look.symbol + ("-open" if unfinished else ""),
                    "line": {"width": 2, "color": look.colour},
                },
                "meta": {"run": group.name},
                "hovertemplate": "<br>".join(_hover(run, group, apart)) + "<extra></extra>",
            }
        )
    pitch = max(_PITCH[0], min(_PITCH[1], (HEIGHT - 30) // len(rows)))
    height = max(HEIGHT, pitch * len(rows) + 30)
    hidden = {"visible": False, "fixedrange": True}
    layout = {
        # Pixels for every generation; what is left is for the text.
        "xaxis": {**hidden, "range": [-0.5, 400 / _INDENT]},
        "yaxis": {**hidden, "range": [(height - 20) / pitch - 0.6, -0.6]},
        "margin": {"l": 4, "r": 4, "t": 10, "b": 10},
    }
    note = (
        "Each run stands below the one that it starts from. Behind its name: domain loss in "
        "nats/token, and forgetting. Open symbols: unfinished."
    )
    return Chart("lineage", "Lineage", note, data, layout, height)


def _branches(rows: Sequence[tuple[Group, int, int]]) -> dict:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for row, (_, depth, above) in enumerate(rows):
        if above >= 0:
            xs += [depth - 1, depth - 1, depth, None]
            ys += [above, row, row, None]
    line = {"color": "#8a929e", "width": 1.5}
    return {"type": "scatter", "mode": "lines", "x": xs, "y": ys, "line": line, "hoverinfo": "skip"}


def _line_text(group: Group, baseline: Mapping[str, float], apart: Mapping) -> str:
    """v8  4.214, +0.193 nats (+3.5 %); of several seeds their means."""
    run = group.runs[0]
    many = len(group.runs) > 1
    times = f" \u00d7{len(group.runs)}" if many else ""
    short = group.name.rpartition("/")[2]
    name = f"  <b>{short if len(short) <= 36 else group.label}</b>{times}  "
    if not run.is_domain_stage:
        loss = run.final.get("domain") if run.final else baseline.get("domain")
        return f"{name}{cells.loss_text(loss)}, baseline"  # of an import its stages know it
    own = f" = {cells.init_text(run)}" if run.merged_from else ""
    if many:
        domain = run_groups.spread(group, lambda one: one.final.get("domain"))
        forgotten = run_groups.spread(group, _nats)
        shown = cells.loss_text(domain and domain[0])
        return f"{name}{shown}" + (f", {forgotten[0]:+.3f} nats" if forgotten else "")
    change = run.against_baseline("general")
    shown = cells.standing_text(run, "domain", apart["domain"])
    # Its error stands in the table; a long name leaves no room for more.
    lost = cells.empty_text(change)
    if isinstance(change, Difference):
        share = f" ({change.percent:+.1f} %)" if len(short) <= _SHORT else ""
        lost = f"{change.nats:+.3f} nats{share}"
    return f"{name}{shown}, {lost}{own}"


def _nats(run: Run) -> float | None:
    change = run.against_baseline("general")
    return change.nats if isinstance(change, Difference) else None


def _hover(run: Run, group: Group, apart: Mapping) -> list[str]:
    seeds = f", {len(group.runs)} seeds, the first:" if len(group.runs) > 1 else ""
    return [
        f"<b>{group.name}</b> from {cells.init_text(run)}{seeds}",
        "peak_lr {}, replay {}".format(*cells.recipe_texts(run)),
        f"steps {cells.steps_text(run)}",
        *(f"{role} {cells.standing_text(run, role, apart[role])}" for role in apart),
        rules.verdict(run),
    ]
