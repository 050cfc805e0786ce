"""The same free treatment for every recipe: the line from the base to what was trained.

A model on the line is base + share x (trained - base). Where to stand on it is chosen by domain
loss on one half of val; what is said of it is measured on the other. Source: Wortsman et al. 2022,
"Robust fine-tuning of zero-shot models" (arXiv:2109.01903).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mypt_jax.frontier.points import Points
from mypt_jax.merge import weights

SHARES = (0.4, 0.55, 0.7, 0.85, 1.0)
_EQUAL = 0.005  # nats/token, a tenth of what a domain loss is uncertain by


class Place(NamedTuple):
    """A point of a line, by the half that is chosen on; nats/token."""

    share: float
    domain: float
    general: float


def on_line(base: Mapping, trained: Mapping, share: float) -> Mapping:
    """base + share x (trained - base), host arrays."""
    return trained if share == 1 else weights.combine([(share, trained), (1 - share, base)])


def mean(trained: Sequence[Mapping]) -> dict:
    """The mean of several models of one architecture."""
    return weights.combine([(1 / len(trained), params) for params in trained])


def walk(points: Points, trained: Mapping) -> list[Place]:
    """The line in steps, from near the base to the end."""
    found = []
    for share in SHARES:
        seen = points.selected(on_line(points.base, trained, share))
        domain, general = seen.mean("domain"), seen.mean("general")
        assert domain is not None and general is not None, seen.fault
        found.append(Place(share, domain, general))
    return found


def at_domain_loss(line: Sequence[Place], target: float) -> Place | None:
    """Where the line has this domain loss, between two of its steps, or is as good as there; None
    where it is not.

    The place nearest the base, where several have it.
    """
    if line[0].domain <= target:
        return line[0]
    for near, far in zip(line, line[1:], strict=False):
        if far.domain <= target < near.domain:
            part = (near.domain - target) / (near.domain - far.domain)
            between = [a + part * (b - a) for a, b in zip(near, far, strict=True)]
            return Place(between[0], target, between[2])
    lowest = min(line, key=lambda place: place.domain)
    return lowest if lowest.domain <= target + _EQUAL else None


def general_at(line: Sequence[Place], target: float) -> float:
    """General loss where the line has this domain loss; inf where it has not."""
    place = at_domain_loss(line, target)
    return place.general if place else math.inf
