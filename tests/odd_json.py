"""JSON values with something else in one place: another type, another number, or nothing."""

import copy

from hypothesis import strategies as st

_ODD = st.sampled_from(
    [None, True, -1, 2, 40.0, 1e300, float("nan"), "40", "", "\ud800", [], [[]], {}, {"a": None}]
)


def _places(value, at=()) -> list[tuple]:
    """Paths to everything inside a JSON value."""
    found = [at] if at else []
    below = value.items() if isinstance(value, dict) else ()
    for key, entry in enumerate(value) if isinstance(value, list) else below:
        found += _places(entry, (*at, key))
    return found


@st.composite
def altered(draw, value):
    """A copy of `value` with one entry, at any depth, replaced or left out."""
    changed = copy.deepcopy(value)
    *groups, leaf = draw(st.sampled_from(_places(value)))
    inner = changed
    for key in groups:
        inner = inner[key]
    if isinstance(inner, dict) and draw(st.booleans()):
        del inner[leaf]
    else:
        inner[leaf] = draw(_ODD)
    return changed
