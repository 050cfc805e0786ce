"""The report page's charts as Plotly figures: plain dictionaries, made from runs.

A trace's meta.run names the run it belongs to, so that the page can hide a run in every chart.
Colours of text and grid are set by the page, which follows the reader's light or dark scheme.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from mypt_jax import guide
from mypt_jax.report import groups as run_groups
from mypt_jax.report.groups import Group
from mypt_jax.report.labels import TEXT_AT
from mypt_jax.report.run import Run
from mypt_jax.runs import comparison

# Runs have colours of their own, so that a limit is never taken for one, nor a source.
LIMIT_COLOUR = "#d1495b"
ROLE_HUES = {"domain": (174, 62), "general": (215, 16)}  # hue, saturation in %
HEIGHT = 350  # of the two charts that stand beside each other, on the first screen
STEPS = "steps along the lineage"
MAX_POINTS = 1500  # per curve: more cannot be told apart on a screen, and the file stays small
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash")
_ALL_POINTS = 24_000  # of the curves of a chart, but at least 200 of each


@dataclass
class Chart:
    key: str
    title: str
    note: str
    data: list[dict]
    layout: dict = field(default_factory=dict)
    height: int = 380


def thin(xs: list, ys: list, most: int = MAX_POINTS) -> tuple[list, list]:
    """At most so many points of a curve, first and last included."""
    if len(xs) <= most:
        return xs, ys
    keep = [round(i * (len(xs) - 1) / (most - 1)) for i in range(most)]
    return [xs[i] for i in keep], [ys[i] for i in keep]


def short(value: float) -> float:
    """As exact as it can be seen: the file stays small."""
    return float(f"{value:.5g}")


def offset(run: Run) -> int:
    """Steps of all ancestors before this run began: curves of a lineage follow each other."""
    return sum(int(ancestor["step"]) for ancestor in run.record["ancestors"])


def axes(x: str, y: str, **more) -> dict:
    titles = [{"title": {"text": text, "standoff": 10}} for text in (x, y)]
    return {"xaxis": titles[0], "yaxis": titles[1], **more}


def _curves(found: Sequence[Group], key: str, **line) -> list[dict]:
    """One metric over the steps of the lineage, one trace per run."""
    count = sum(len(group.runs) for group in found)
    most = min(MAX_POINTS, max(200, _ALL_POINTS // count))
    return [
        trace
        for group in found
        for run in group.runs
        if (trace := _curve(run, group, key, most, **line))
    ]


def _curve(run: Run, group: Group, key: str, most: int = MAX_POINTS, **line) -> dict:
    steps, values = thin(*run.series(key), most)
    if not steps:
        return {}
    start, look = offset(run), group.look
    evaluated = key.startswith(("eval/", "forgetting/"))
    is_thin = len(group.runs) > 1
    return {
        "type": "scatter",
        "mode": "lines+markers" if evaluated else "lines",
        "name": run.name,
        "x": [start + step for step in steps],
        "y": [short(value) for value in values],
        "line": {"color": look.colour, "dash": look.dash, "width": 1.2 if is_thin else 2, **line},
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 4 if is_thin else 6},
        "meta": {"run": group.name},
        "hovertemplate": f"{run.name}, step %{{x:,}}: %{{y:.4g}}<extra></extra>",
    }


def _told(found: Sequence[Group]) -> list[dict]:
    """The figures of objectives, a dash for each: their names are the objectives' own."""
    keys = dict.fromkeys(key for group in found for run in group.runs for key in run.told)
    traces = []
    for key, dash in zip(keys, itertools.cycle(_DASHES), strict=False):
        for trace in _curves(found, key, width=1.2, dash=dash):
            name = f"{trace['name']}, {key}"
            hover = f"{name}, step %{{x:,}}: %{{y:.4g}}<extra></extra>"
            traces.append({**trace, "name": name, "hovertemplate": hover})
    return traces


def _loss_curves(found: Sequence[Group], role: str) -> list[dict]:
    """A role's losses; those of other windows than most runs ended with in traces of their own."""
    traces = []
    runs = [run for group in found for run in group.runs]
    newest = [run.newest for run in runs]
    most = next(iter(comparison.alike(newest, role)), [])
    for group in found:
        for run in group.runs:
            trace = _curve(run, group, f"eval/{role}/loss")
            if not trace:
                continue
            start = offset(run)
            is_apart = [
                not most or bool(comparison.why_apart(run.at(x - start), newest[most[0]], role))
                for x in trace["x"]
            ]
            traces += _parts(trace, is_apart)
    return traces


def _parts(trace: dict, is_apart: Sequence[bool]) -> list[dict]:
    """A curve in two: what stands beside the other curves, and what does not."""
    parts = []
    for apart in (False, True):
        kept = [i for i, one in enumerate(is_apart) if one == apart]
        if not kept:
            continue
        part = {**trace, **{axis: [trace[axis][i] for i in kept] for axis in ("x", "y")}}
        if apart:
            part["name"] = f"{trace['name']} ({comparison.OTHER})"
            part["line"] = {**trace["line"], "dash": "dash"}
            name = f"{trace['name']}, step"
            part["hovertemplate"] = trace["hovertemplate"].replace(name, f"{part['name']}, step")
        parts.append(part)
    return parts


def limit_lines(baseline: float) -> tuple[list[dict], list[dict]]:
    """Lines and labels at the guide's thresholds of the general loss."""
    shapes, labels = [], []
    for limit, text in guide.VERDICTS:
        y = baseline * (1 + limit)
        shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y}
        shape["line"] = {"color": LIMIT_COLOUR, "width": 1.2, "dash": "dot"}
        shapes.append(shape)
        # In the middle: the base stands at the right, what was learned at the left.
        place = {"xref": "paper", "x": TEXT_AT, "y": y, "xanchor": "center", "yanchor": "bottom"}
        label = f"+{guide.percent(limit)}: {text}"
        labels.append({**place, "text": label, "showarrow": False, "font": {"size": 10}})
    return shapes, labels


def _losses(key: str, title: str, note: str, data: list[dict]) -> Chart:
    return Chart(key, title, note, data, axes(STEPS, f"{title.lower()}, nats/token"))


def source_colours(keys: Sequence[str]) -> list[str]:
    """Of "role/name" keys: shades of the role's hue, from dark to light."""
    roles = [key.partition("/")[0] for key in keys]
    found = []
    for index, role in enumerate(roles):
        hue, saturation = ROLE_HUES[role]
        lightness = 38 + round(36 * roles[:index].count(role) / max(1, roles.count(role) - 1))
        found.append(f"hsl({hue}, {saturation}%, {lightness}%)")
    return found


def curves(runs: Sequence[Run]) -> list[Chart]:
    found = run_groups.groups(runs)
    forgetting = axes(STEPS, "general loss against base, %")
    shapes, labels = limit_lines(0.0)
    for (limit, _), shape, label in zip(guide.VERDICTS, shapes, labels, strict=True):
        shape["y0"] = shape["y1"] = label["y"] = 100 * limit
        label |= {"text": f"+{guide.percent(limit)}", "x": 1, "xanchor": "right"}
    forgetting |= {"shapes": shapes, "annotations": labels}
    stages = [group for group in found if group.runs[0].is_domain_stage]
    rate = axes(STEPS, "learning rate")
    # A format of its own: else 2 and 5 stand between powers of ten without their power.
    rate["yaxis"] |= {"tickformat": ".1~e", "type": "log", "dtick": "D2"}
    speed = axes(STEPS, "tokens/s")
    domain, general = _loss_curves(found, "domain"), _loss_curves(found, "general")
    lost = _curves(stages, "forgetting/percent") if stages else []
    trained = _curves(found, "loss", width=1.2)
    told = _told(found)
    parts = Chart("objective", "Parts of the objective", "As it tells them.", told, axes(STEPS, ""))
    return [
        _losses("domain", "Domain loss", "Held-out domain text, at every evaluation.", domain),
        _losses("general", "General loss", "Held-out general text, at every evaluation.", general),
        Chart("forgetting", "Forgetting", "With the guide's limits.", lost, forgetting),
        _losses("train", "Training loss", "Of the mixture, as logged.", trained),
        *([parts] if told else []),
        Chart("rate", "Learning rate", "On a logarithmic axis.", _curves(found, "lr"), rate),
        Chart("speed", "Throughput", "As logged.", _curves(found, "tokens_per_sec"), speed),
    ]


def shares(runs: Sequence[Run]) -> Chart:
    """One bar per run, stacked by source: what was drawn; ticks where it was asked to end."""
    keys = list(dict.fromkeys(key for run in runs for key in run.trained_on))
    data = []
    for key, shade in zip(keys, source_colours(keys), strict=True):
        drawn = [100 * (run.value(f"share/{key}") or 0.0) for run in runs]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": key,
                "y": [run.name for run in runs],
                "x": drawn,
                "marker": {"color": shade},
                "hovertemplate": f"%{{y}}, {key}: %{{x:.2f}} % of windows<extra></extra>",
            }
        )
    xs, ys = [], []
    for run in runs:
        reached = 0.0
        for key in keys:
            reached += 100 * run.shares.get(key, 0.0)
            xs.append(reached)
            ys.append(run.name)
    mark = {"symbol": "line-ns-open", "size": 22, "line": {"width": 2}, "color": "#8a929e"}
    asked = {"type": "scatter", "mode": "markers", "name": "asked", "x": xs, "y": ys}
    data.append({**asked, "marker": mark, "hoverinfo": "skip"})
    layout = axes("share of training windows, %", "", barmode="stack", showlegend=True)
    layout["legend"] = {"orientation": "h", "traceorder": "normal", "y": 1.02, "yanchor": "bottom"}
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    note = "Drawn so far, by source; the ticks stand where the shares asked for end."
    height = 180 + max(18, min(40, 320 // len(runs))) * len(runs)
    return Chart("shares", "Realised shares", note, data, layout, height)


def epochs(runs: Sequence[Run]) -> Chart:
    data = []
    for group in run_groups.groups(runs):
        for run in group.runs:
            seen = {key: run.value(f"epochs/{key}") for key in run.trained_on}
            seen = {key: short(value) for key, value in seen.items() if value is not None}
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": run.name,
                    "y": list(seen),
                    "x": list(seen.values()),
                    "marker": {"color": group.look.colour},
                    "meta": {"run": group.name},
                    "hovertemplate": f"{run.name}, %{{y}}: %{{x:.2f}} epochs<extra></extra>",
                }
            )
    layout = axes("passes over the source, the ancestors' included", "", barmode="group")
    layout["yaxis"] |= {"autorange": "reversed", "type": "category", "automargin": True}
    keys = {key for run in runs for key in run.trained_on}
    note = "2 to 5 epochs of the domain are usual; above 10 is memorisation."
    height = 160 + max(90, 8 * len(runs)) * len(keys)
    return Chart("epochs", "Epochs", note, data, layout, height)
