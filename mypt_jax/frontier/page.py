"""The table and the picture of a comparison, as files: frontier.json, frontier.md, frontier.svg."""

import datetime
import html
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata

from data_pipeline import atomic
from mypt_jax.frontier.comparison import (
    BEST_CE,
    BEST_CE_BEHAVIOUR,
    BEST_CE_DRIFT,
    REFERENCE,
    Row,
)
from mypt_jax.frontier.intervals import Interval
from mypt_jax.frontier.recipes import Recipe
from mypt_jax.runs import code

_WIDTH, _HEIGHT, _MARGIN = 760, 520, 64  # pixels
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
_DASHES = ("", "6 3", "2 3")
NONE = "-"  # not measured
_HEADER = (
    "recipe|rate|seeds|share|domain|forgetting|less than raw {}|less than best CE|elsewhere"
    "|drift|less than best CE|own words|less than best CE|choice: domain|choice: general"
    "|recall: general|FLOPs|with all trials"
)


def table(rows: Sequence[Row], against: str) -> list[str]:
    """Markdown. Losses are nats/token over the base's, intervals 95 %; `against`: the recipe that
    all are compared with. A column that nothing was measured for is left out."""
    columns = zip(_HEADER.format(against).split("|"), *map(_cells, rows), strict=True)
    header, *shown = zip(*(one for one in columns if {*one[1:]} != {NONE}), strict=True)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return [*lines, *(f"| {' | '.join(cells)} |" for cells in shown)]


def table_of(path: str | os.PathLike) -> list[str]:
    """The table of a frontier.json, as it was written beside it."""
    with open(path, encoding="utf-8") as file:
        found = json.load(file)

    def intervals(given: Mapping) -> dict[str, Interval]:
        return {name: Interval(**one) for name, one in given.items()}

    rows = [
        Row(**row)._replace(figures=intervals(row["figures"]), less=intervals(row["less"]))
        for row in found["rows"]
    ]
    return table(rows, found["compared_with"])


def _cells(row: Row) -> list[str]:
    figures = row.figures
    return [
        f"{row.recipe}, {row.form}",
        f"{row.rate:g}",
        str(len(row.seeds)),
        "1" if row.share is None else f"{row.share:.2f}",
        _signed(figures.get("domain")),
        _signed(figures.get("general")),
        _percent(row.less.get(REFERENCE)),
        _percent(row.less.get(BEST_CE)),
        _signed(figures.get("elsewhere")),
        _signed(figures.get("drift/general")),
        _percent(row.less.get(BEST_CE_DRIFT)),
        _signed(figures.get("behaviour")),
        _percent(row.less.get(BEST_CE_BEHAVIOUR)),
        *(_share(figures.get(name)) for name in ("choice/domain", "choice/general")),
        _share(figures.get("recall/general")),
        f"{row.flops:.2e}",
        f"{row.flops_tried:.2e}",
    ]


def _signed(one: Interval | None) -> str:
    return NONE if one is None else f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _percent(one: Interval | None) -> str:
    return NONE if one is None else f"{one.value:.0f} % ({one.low:.0f} to {one.high:.0f})"


def _share(one: Interval | None) -> str:
    return (
        NONE
        if one is None
        else f"{100 * one.value:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f})"
    )


def made() -> dict:
    """When, on what and by which code figures came about."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")},
        "code": code.digest(),
    }


def write(
    out_dir: str, rows: Sequence[Row], recipes: Mapping[str, Recipe], *, target: float
) -> list[str]:
    """Writes the three files; returns their paths."""
    against = next(iter(recipes))
    whole = {
        "made": made(),
        "domain_loss": target,
        "compared_with": against,
        "recipes": {name: one.what for name, one in recipes.items()},
        "rows": [_plain(row._asdict()) for row in rows],
    }
    contents = {
        "frontier.json": json.dumps(whole, indent=1),
        "frontier.md": "\n".join(table(rows, against)) + "\n",
        "frontier.svg": picture(rows),
    }
    for name, text in contents.items():
        with atomic.replacing(os.path.join(out_dir, name)) as file:
            file.write(text.encode())
    return [os.path.join(out_dir, name) for name in contents]


def _plain(value):
    """Named tuples as dictionaries, all the way down."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def picture(rows: Sequence[Row]) -> str:
    """The lines from the base, of the first seed: domain loss and general loss, by the half that is
    chosen on; a dot where each ends."""
    drawn = [row for row in rows if row.form != "raw"] or list(rows)
    places = [place for row in drawn for place in row.lines[0]]
    x_of = _axis([p.domain for p in places], _MARGIN, _WIDTH - 160)
    y_of = _axis([p.general for p in places], _HEIGHT - _MARGIN, 24)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_frame(places, x_of, y_of),
    ]
    for number, row in enumerate(drawn):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
        path = " ".join(f"{x_of(p.domain):.1f},{y_of(p.general):.1f}" for p in row.lines[0])
        end = row.lines[0][-1]
        label = html.escape(f"{row.recipe}, {row.form}")
        at = 40 + 16 * number
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"><title>{label}</title></polyline>',
            f'<circle cx="{x_of(end.domain):.1f}" cy="{y_of(end.general):.1f}" r="4" '
            f'fill="{colour}"/>',
            f'<line x1="{_WIDTH - 150}" y1="{at}" x2="{_WIDTH - 126}" y2="{at}" '
            f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>',
            f'<text x="{_WIDTH - 120}" y="{at + 4}">{label}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axis(values: Sequence[float], start: float, end: float):
    """A function from a loss to pixels, with some room at both ends."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low or 1)
    low, high = low - room, high + room
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _frame(places, x_of, y_of) -> list[str]:
    """Axes with five ticks each, and what they are."""
    parts = []
    for number in range(5):
        for name, of, along in (("domain", x_of, True), ("general", y_of, False)):
            values = [getattr(place, name) for place in places]
            value = min(values) + number / 4 * (max(values) - min(values))
            at = of(value)
            x, y, anchor = (
                (at, _HEIGHT - _MARGIN + 18, "middle") if along else (_MARGIN - 6, at + 4, "end")
            )
            parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{value:.2f}</text>')
    middle = (_MARGIN + _WIDTH - 160) / 2
    parts += [
        f'<text x="{middle:.0f}" y="{_HEIGHT - 16}" text-anchor="middle">domain loss, nats/token '
        "(left: more learned)</text>",
        f'<text x="14" y="{_HEIGHT / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {_HEIGHT / 2:.0f})">general loss (down: less forgotten)</text>',
        f'<path d="M{_MARGIN} 24 V{_HEIGHT - _MARGIN} H{_WIDTH - 160}" fill="none" stroke="#444"/>',
    ]
    return parts
