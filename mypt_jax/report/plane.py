"""Two charts of the report page: the lineage as a graph, and domain against general loss."""

import math
from collections.abc import Sequence

from data_pipeline.batches import mixture
from mypt_jax.report import cells, rules, standing, tables
from mypt_jax.report.charts import Chart, axes, colour, limit_lines, symbol
from mypt_jax.report.run import Run
from mypt_jax.runs import comparison
from mypt_jax.runs.comparison import Difference
from mypt_jax.runs.evaluations import Evaluation

HEIGHT = 350  # both charts stand beside each other, on the first screen
LABEL_PLACES = {
    "top right": (1, 1),
    "bottom left": (-1, -1),
    "bottom right": (1, -1),
    "top left": (-1, 1),
}


def _positions(runs: Sequence[Run]) -> dict[str, tuple[float, float]]:
    """Depth and row of every run: leaves below each other, a parent between its children."""
    places: dict[str, tuple[float, float]] = {}
    rows = 0

    def place(run: Run, depth: int) -> float:
        nonlocal rows
        below = [place(child, depth + 1) for child in run.children]
        if below:
            row = (below[0] + below[-1]) / 2
        else:
            row, rows = float(rows), rows + 1
        places[run.name] = (float(depth), row)
        return row

    place(runs[0], 0)
    for run in runs:
        # Behind all that it is the sum of, and its children behind it.
        behind = [places[one.name][0] for one in run.merged if one and one.name in places]
        short = max((x + 1 - places[run.name][0] for x in behind), default=0.0)
        if short > 0:
            _move(run, short, places)
    return places


def _move(run: Run, right: float, places: dict[str, tuple[float, float]]) -> None:
    """A run and its descendants."""
    x, y = places[run.name]
    places[run.name] = (x + right, y)
    for child in run.children:
        _move(child, right, places)


def lineage_chart(runs: Sequence[Run]) -> Chart:
    places = _positions(runs)
    baseline = tables.baseline_of(runs)
    apart = {role: standing.apart(runs, role) for role in mixture.ROLES}
    data, notes = [], []
    for index, run in enumerate(runs):
        x, y = places[run.name]
        change = run.against_baseline("general") if run.is_domain_stage else None
        domain = cells.standing_text(run, "domain", apart["domain"])
        if not run.final and not run.is_domain_stage:
            domain = cells.loss_text(baseline.get("domain"))  # of an import its stages know it
        text = f"<b>{run.name}</b><br>{domain}"
        text += f"<br>{cells.percent_text(change)}" if change else "<br>baseline"
        hover = [
            f"<b>{run.name}</b> from {cells.init_text(run)}",
            "peak_lr {}, replay {}".format(*cells.recipe_texts(run)),
            f"steps {cells.steps_text(run)}",
            *(f"{role} {cells.standing_text(run, role, apart[role])}" for role in apart),
            rules.verdict(run),
        ]
        data.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": [x],
                "y": [y],
                "text": [text],
                "textposition": "bottom center",
                "cliponaxis": False,
                "marker": {
                    "size": 15,
                    "color": colour(index),
                    "symbol": symbol(index) + ("" if run.finished else "-open"),
                    "line": {"width": 2, "color": colour(index)},
                },
                "meta": {"run": run.name},
                "hovertemplate": "<br>".join(hover) + "<extra></extra>",
            }
        )
        sources = run.merged or [run.parent]
        notes += [_arrow(places[one.name], (x, y)) for one in sources if one and one.name in places]
    depth = max(x for x, _ in places.values())
    rows = max(y for _, y in places.values())
    hidden = {"visible": False, "fixedrange": True}
    layout = {
        "xaxis": {**hidden, "range": [-0.45, depth + 0.45]},
        "yaxis": {**hidden, "range": [rows + 0.75, -0.35]},
        "annotations": notes,
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
    }
    note = (
        "Each run starts from the one at its left. Below its name: domain loss in nats/token, and "
    )
    note += "forgetting. Open symbols: unfinished."
    return Chart("lineage", "Lineage", note, data, layout, max(HEIGHT, 190 + round(120 * rows)))


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> dict:
    place = {"ax": start[0], "ay": start[1], "x": end[0], "y": end[1]}
    refs = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y"}
    look = {
        "showarrow": True,
        "arrowhead": 2,
        "arrowwidth": 1.5,
        "arrowcolor": "#8a929e",
        "text": "",
    }
    return {**place, **refs, **look, "standoff": 16, "startstandoff": 16}


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both coordinates (lower is better), by the first."""
    front, lowest = [], float("inf")
    for x, y in sorted(set(points)):
        if y < lowest:
            front.append((x, y))
            lowest = y
    return front


def label_places(points: Sequence[tuple[float, float]]) -> list[str]:
    """For every point the corner for its name with the most room to the other points.

    Corners, because the error bars take the axes.
    """
    spans = [max(v) - min(v) or 1.0 for v in zip(*points, strict=True)]
    scaled = [[value / span for value, span in zip(point, spans, strict=True)] for point in points]
    places = []
    for index, (x, y) in enumerate(scaled):
        others = [other for number, other in enumerate(scaled) if number != index]

        def room(place: str, x=x, y=y, others=others) -> float:
            dx, dy = LABEL_PLACES[place]
            at = (x + 0.05 * dx, y + 0.08 * dy)
            return min((abs(at[0] - o[0]) + abs(at[1] - o[1]) for o in others), default=0.0)

        # A name beyond the outermost points would leave the picture.
        first, *_, last = sorted(s[0] for s in scaled) if len(scaled) > 1 else (x - 1, x + 1)
        outside = {first: "left", last: "right"}.get(x, "nowhere")
        places.append(max((p for p in LABEL_PLACES if not p.endswith(outside)), key=room))
    return places


def _points(run: Run) -> list[tuple[float, float, int]]:
    """(domain, general, step) of the evaluations of the text that the newest one is of; of a base
    the newest alone, since where it began says nothing here."""
    if not run.is_domain_stage:
        domain, general = (run.final[role] for role in mixture.ROLES)
        return [(domain, general, run.evaluations[-1][0])]
    places = ((_place(run, run.at(step)), step) for step, _ in run.evaluations)
    return [(*place, step) for place, step in places if place]


def _place(run: Run, other: Evaluation) -> tuple[float, float] | None:
    """(domain, general) of an evaluation of all the text that the run's newest one is of."""
    found = []
    for role in mixture.ROLES:
        change = comparison.compare(run.result, other, role)
        if not isinstance(change, Difference) or change.left_out:
            return None
        found.append(change.start)
    domain, general = found
    return domain, general


def _line(run: Run, index: int) -> list[dict]:
    """The line that a merged run is a point of."""
    places = ((_place(run, point), at) for at, point in run.line)
    found = [(*place, at) for place, at in places if place]
    if not found:
        return []
    xs, ys, ats = (list(values) for values in zip(*found, strict=True))
    return [
        {
            "type": "scatter",
            "meta": {"run": run.name},
            "mode": "lines+markers",
            "x": xs,
            "y": ys,
            "customdata": ats,
            "line": {"color": colour(index), "width": 1.2, "dash": "dot"},
            "marker": {"size": 4, "color": colour(index), "symbol": "circle-open"},
            "hovertemplate": f"line of {run.name}, at %{{customdata:.3g}}<br>domain %{{x:.3f}}, "
            "general %{y:.3f}<extra></extra>",
        }
    ]


def _path(run: Run, index: int, place: str) -> list[dict]:
    """A run's evaluations on the plane of domain and general loss, the last one named."""
    pairs = _points(run)
    if not pairs:
        return []
    xs, ys, steps = (list(values) for values in zip(*pairs, strict=True))
    common = {"type": "scatter", "meta": {"run": run.name}}
    path = {
        **common,
        "mode": "lines+markers",
        "x": xs,
        "y": ys,
        "customdata": steps,
        "line": {"color": colour(index), "width": 1.2},
        "marker": {"size": 5, "color": colour(index)},
        "hovertemplate": f"{run.name}, step %{{customdata:,}}<br>domain %{{x:.3f}}, "
        "general %{y:.3f}<extra></extra>",
    }
    final = {
        **common,
        "mode": "markers+text",
        "x": xs[-1:],
        "y": ys[-1:],
        "text": [f"<b>{run.name}</b>"],
        "textposition": place,
        "marker": {
            "size": 14,
            "color": colour(index),
            "symbol": symbol(index) + ("" if run.finished else "-open"),
        },
        "hovertemplate": f"<b>{run.name}</b>, {cells.steps_text(run)}<br>domain "
        "%{x:.3f}, general %{y:.3f}<extra></extra>",
    }
    for axis, role in (("error_x", "domain"), ("error_y", "general")):
        # Of the paired difference: what two losses on the same windows share says nothing here.
        change = run.against_baseline(role) if run.is_domain_stage else None
        if isinstance(change, Difference) and math.isfinite(change.stderr):
            final[axis] = {"array": [change.stderr], "thickness": 1.2, "width": 3}
    return [path, final]


def trade_off(runs: Sequence[Run]) -> Chart:
    apart = {
        name: why for role in mixture.ROLES for name, why in standing.apart(runs, role).items()
    }
    shown = {
        index: (run.final["domain"], run.final["general"])
        for index, run in enumerate(runs)
        if {*run.final} >= {*mixture.ROLES} and run.name not in apart
    }
    places = dict(zip(shown, label_places(list(shown.values())) if shown else (), strict=True))
    data = [
        trace
        for index in shown
        for trace in (*_line(runs[index], index), *_path(runs[index], index, places[index]))
    ]
    front = pareto(list(shown.values()))
    line = {"dash": "dash", "width": 1.5, "color": "#8a929e"}
    data.insert(
        0,
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for x, _ in front],
            "y": [y for _, y in front],
            "line": line,
            "hoverinfo": "skip",
        },
    )
    layout = axes("domain loss, nats/token", "general loss, nats/token")
    baseline = tables.baseline_of(runs).get("general")
    if baseline:
        layout["shapes"], layout["annotations"] = limit_lines(baseline)
    note = (
        "Left: more of the domain learned. Up: more of the general text forgotten. Dashed: "
        "Pareto front. Dotted: the guide's limits. Bars: standard error of the change from base."
    )
    if apart:
        note += f" Not here, since measured on other windows: {', '.join(apart)}."
    return Chart("tradeoff", "Learned against forgotten", note, data, layout, HEIGHT)
