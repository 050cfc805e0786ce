"""Domain against general loss: what was learned and what was forgotten."""

import math
import statistics
from collections.abc import Collection, Sequence

from data_pipeline.batches import mixture
from mypt_jax.report import cells, rules, standing, tables
from mypt_jax.report import groups as run_groups
from mypt_jax.report.charts import HEIGHT, Chart, axes, limit_lines, short
from mypt_jax.report.groups import Group
from mypt_jax.report.labels import labels
from mypt_jax.report.run import Run
from mypt_jax.runs import comparison
from mypt_jax.runs.comparison import Difference
from mypt_jax.runs.evaluations import Evaluation

# What is left of the plane inside its axes, in pixels: beside the lineage, and on a phone.
_WIDE, _NARROW = 590, 270


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both coordinates (lower is better), by the first."""
    front, lowest = [], float("inf")
    for x, y in sorted(set(points)):
        if y < lowest:
            front.append((x, y))
            lowest = y
    return front


def _points(run: Run) -> list[tuple[float, float, int]]:
    """(domain, general, step) of the evaluations of the text that the newest one is of; of a base
    the newest alone, since where it began says nothing here."""
    if not run.evaluations:
        return []
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


def _line(run: Run, group: Group) -> list[dict]:
    """The line that a merged run is a point of."""
    places = ((_place(run, point), at) for at, point in run.line)
    found = [(*place, at) for place, at in places if place]
    if not found:
        return []
    xs, ys, ats = (list(values) for values in zip(*found, strict=True))
    colour = group.look.colour
    return [
        {
            "type": "scatter",
            "meta": {"run": group.name},
            "mode": "lines+markers",
            "x": xs,
            "y": ys,
            "customdata": ats,
            "line": {"color": colour, "width": 1.2, "dash": "dot"},
            "marker": {"size": 4, "color": colour, "symbol": "circle-open"},
            "hovertemplate": f"line of {run.name}, at %{{customdata:.3g}}<br>domain %{{x:.3f}}, "
            "general %{y:.3f}<extra></extra>",
        }
    ]


def _path(run: Run, group: Group) -> list[dict]:
    """A run's evaluations on the plane of domain and general loss."""
    pairs = _points(run)
    if not pairs:
        return []
    xs, ys, steps = (list(values) for values in zip(*pairs, strict=True))
    return [
        {
            "type": "scatter",
            "meta": {"run": group.name},
            "mode": "lines+markers",
            "x": [short(x) for x in xs],
            "y": [short(y) for y in ys],
            "customdata": steps,
            "line": {"color": group.look.colour, "width": 1.2},
            "marker": {"size": 5, "color": group.look.colour},
            "hovertemplate": f"{run.name}, step %{{customdata:,}}<br>domain %{{x:.3f}}, "
            "general %{y:.3f}<extra></extra>",
        }
    ]


def _seeds(shown: Sequence[Run], points: Sequence[tuple[float, float]], group: Group) -> list[dict]:
    """Small and open: each run of a group whose mean stands as its point."""
    if len(shown) < 2:
        return []
    xs, ys = zip(*points, strict=True)
    return [
        {
            "type": "scatter",
            "meta": {"run": group.name},
            "mode": "markers",
            "x": list(xs),
            "y": list(ys),
            "text": [run.name for run in shown],
            "marker": {"size": 5, "color": group.look.colour, "symbol": "circle-open"},
            "hovertemplate": "%{text}<br>domain %{x:.3f}, general %{y:.3f}<extra></extra>",
        }
    ]


def _ends(runs: Sequence[Run], apart: Collection[str]) -> dict[str, tuple[float, float]]:
    """{run: (domain, general)} of those that stand beside each other; an imported base, which
    evaluated nothing, where its stages have measured it."""
    baseline, found = tables.baseline_of(runs), {}
    for run in runs:
        losses = run.final if run.final or run.is_domain_stage else baseline
        if run.name not in apart and {*losses} >= {*mixture.ROLES}:
            found[run.name] = losses["domain"], losses["general"]
    return found


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    domain, general = zip(*points, strict=True)
    return statistics.fmean(domain), statistics.fmean(general)


def _final(
    shown: Sequence[Run],
    points: Sequence[tuple[float, float]],
    group: Group,
    place: str,
    narrow: str,
) -> dict:
    """Where a group came to, named where there is room."""
    run = shown[0]
    finished = all(one.finished for one in shown)
    x, y = _mean(points)
    said = cells.steps_text(run) if len(shown) == 1 else f"mean of {len(shown)} seeds"
    final: dict = {
        "type": "scatter",
        "meta": {"run": group.name, "place": place, "narrow": narrow},
        "mode": "markers+text",
        "x": [x],
        "y": [y],
        "text": [f"<b>{group.label}</b>" if place else ""],
        "textposition": place or "top right",
        "marker": {
            "size": 14,
            "color": group.look.colour,
            "symbol": group.look.symbol + ("" if finished else "-open"),
        },
        "hovertemplate": f"<b>{group.name}</b>, {said}<br>domain "
        "%{x:.3f}, general %{y:.3f}<extra></extra>",
    }
    for axis, role, number in (("error_x", "domain", 0), ("error_y", "general", 1)):
        if len(shown) > 1:
            bar = statistics.stdev(point[number] for point in points)
        else:
            # Of the paired difference: what two losses on the same windows share says nothing here.
            change = run.against_baseline(role) if run.is_domain_stage else None
            bar = change.stderr if isinstance(change, Difference) else math.nan
        if math.isfinite(bar):
            final[axis] = {"array": [bar], "thickness": 1.2, "width": 3}
    return final


def trade_off(runs: Sequence[Run], height: int = HEIGHT) -> Chart:
    found = run_groups.groups(runs)
    apart = {
        name: why for role in mixture.ROLES for name, why in standing.apart(runs, role).items()
    }
    at = _ends(runs, apart)
    shown = {
        group.name: kept
        for group in found
        if (kept := [run for run in group.runs if run.name in at])
    }
    ends = {name: _mean([at[run.name] for run in kept]) for name, kept in shown.items()}
    front = pareto(list(ends.values()))
    chosen = {choice.run.name for choice in rules.decide(runs) if choice.run}
    # First those that one would take, then those that nothing beats.
    order = sorted(
        (group for group in found if group.name in shown),
        key=lambda group: (
            not chosen & {run.name for run in group.runs},
            ends[group.name] not in front,
        ),
    )
    points, names = [ends[group.name] for group in order], [group.label for group in order]
    inner = height - 70
    layout = axes("domain loss, nats/token", "general loss, nats/token")
    if baseline := tables.baseline_of(runs).get("general"):
        layout["shapes"], layout["annotations"] = limit_lines(baseline)
    texts = [(one["y"], one["text"]) for one in layout.get("annotations", ())]
    wide, narrow = (
        labels(points, names, width=width, height=inner, texts=texts) for width in (_WIDE, _NARROW)
    )
    data = []
    for group, place, small in zip(order, wide, narrow, strict=True):
        kept = shown[group.name]
        paths = _path(kept[0], group) if len(found) <= run_groups.FEW else []
        lines = [trace for run in kept for trace in _line(run, group)]
        points = [at[run.name] for run in kept]
        data += [*lines, *paths, *_seeds(kept, points, group)]
        data.append(_final(kept, points, group, place, small))
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
    note = (
        "Left: more of the domain learned. Up: more of the general text forgotten. Dashed: "
        "Pareto front. Dotted: the guide's limits. Bars: standard error of the change from base"
    )
    many = any(len(kept) > 1 for kept in shown.values())
    note += "; of several seeds their standard deviation." if many else "."
    if unnamed := wide.count(""):
        note += f" Without a name for want of room: {unnamed}; hover over them."
    if apart:
        note += f" Not here, since measured on other windows: {cells.listed(list(apart))}."
    return Chart("tradeoff", "Learned against forgotten", note, data, layout, height)
