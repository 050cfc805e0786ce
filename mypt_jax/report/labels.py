"""Where names stand on a plane of points, so that none covers another."""

from collections.abc import Sequence

LABEL_PLACES = {
    "top right": (1, 1),
    "bottom left": (-1, -1),
    "bottom right": (1, -1),
    "top left": (-1, 1),
}
TEXT_AT = 0.62
_CHARACTER, _SMALL, _LINE, _MARK = 7.2, 5.6, 15, 9  # pixels


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


def labels(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    width: float,
    height: float,
    texts: Sequence[tuple[float, str]] = (),
) -> list[str]:
    """For every point the corner for its name, "" where that would touch another name or a point;
    earlier points come first. Sizes of the plane in pixels; `texts`: what stands on lines at these
    heights already, around TEXT_AT of the width."""
    if not points:
        return []
    lows = [min(values) for values in zip(*points, strict=True)]
    # Plotly leaves a margin around the outermost points.
    spans = [1.16 * (max(v) - min(v)) or 1.0 for v in zip(*points, strict=True)]
    sides = (width, height)
    centres = [
        tuple(
            ((value - low) / span + 0.07) * side
            for value, low, span, side in zip(point, lows, spans, sides, strict=True)
        )
        for point in points
    ]
    taken = [(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in centres]
    for level, text in texts:
        y = ((level - lows[1]) / spans[1] + 0.07) * height
        half = _SMALL * len(text) / 2
        taken.append((TEXT_AT * width - half, y, TEXT_AT * width + half, y + _LINE))
    found = []
    for number, (best, name) in enumerate(zip(label_places(points), names, strict=True)):
        x, y = centres[number]
        long = _CHARACTER * len(name)
        for place in dict.fromkeys((best, *LABEL_PLACES)):
            dx, dy = LABEL_PLACES[place]
            left, low = (
                (x + _MARK if dx > 0 else x - _MARK - long),
                (y if dy > 0 else y - _LINE - 4),
            )
            box = (left, low, left + long, low + _LINE + 4)
            others = [one for index, one in enumerate(taken) if index != number]
            is_inside = box[0] >= 0 and box[2] <= width
            if is_inside and not any(_touch(box, other) for other in others):
                taken.append(box)
                found.append(place)
                break
        else:
            found.append("")
    return found


def _touch(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
