"""How many tokens each source contributes: totals, weights, and what is missing."""

import dataclasses
from collections.abc import Mapping
from fractions import Fraction

from data_pipeline import errors


@dataclasses.dataclass(frozen=True)
class Settings:
    """How documents become a dataset; saved in its manifest with what the command adds."""

    seed: int
    val_fraction: float
    tokens_per_shard: int
    total_tokens: int | None = None  # None: everything
    # Relative, by group; a group that is not named has weight 1.
    weights: dict[str, Fraction] = dataclasses.field(default_factory=dict)
    repeat: bool = False
    max_repeat: int = 1
    allow_short: bool = False
    # Neither is saved: they change nothing.
    workers: int = 1
    runner: str = "local"

    def check(self) -> None:
        """Raises UserError for values that cannot be meant."""
        if not 0 <= self.val_fraction < 1:
            raise errors.UserError(f"val_fraction {self.val_fraction}: 0 <= fraction < 1 is wanted")
        if self.tokens_per_shard < 1:
            raise errors.UserError(f"tokens_per_shard {self.tokens_per_shard}: 1 or more is wanted")
        if self.total_tokens is not None and self.total_tokens < 1:
            raise errors.UserError(f"total_tokens {self.total_tokens}: 1 or more is wanted")
        if self.workers < 1 or self.max_repeat < 1:
            raise errors.UserError("workers and max_repeat: 1 or more is wanted")
        if self.weights and self.total_tokens is None:
            raise errors.UserError("weights need a total: add --total_tokens=N")
        for name, weight in self.weights.items():
            if weight <= 0:
                raise errors.UserError(f"weight of {name} is {weight}: a positive one is wanted")


def targets(
    have: Mapping[str, int], *, groups: Mapping[str, str], settings: Settings
) -> dict[str, int | None]:
    """Returns tokens wanted of each source, given those it has; None: all of them.

    A weight names a group, or a single source of a group whose files hold many. The total is
    divided among groups by weight, a group's part among its sources by what they have.
    With one group the total is a ceiling. With several, a group that is too short is a UserError
    that says what is missing, unless it may be repeated or short.
    """
    members: dict[str, list[str]] = {}
    for source in have:
        group = source if source in settings.weights else groups.get(source, source)
        members.setdefault(group, []).append(source)
    unknown = sorted(set(settings.weights) - set(members))
    if unknown:
        raise errors.UserError(
            f"weight for {', '.join(unknown)}, which is no source: have {', '.join(members)}"
        )
    if settings.total_tokens is None:
        return dict.fromkeys(have)
    weights = {group: settings.weights.get(group, Fraction(1)) for group in members}
    parts = divide(settings.total_tokens, weights)
    held = {group: sum(have[source] for source in members[group]) for group in members}
    short = [group for group in members if held[group] < parts[group]]
    if short and len(members) > 1 and not settings.repeat and not settings.allow_short:
        group = max(short, key=lambda group: parts[group] - held[group])
        whole = sum(weights.values())
        most = min(int(held[name] * whole / weights[name]) for name in members)
        raise errors.UserError(
            f"source {group} has {held[group]} tokens, its weight needs {parts[group]}: "
            f"{parts[group] - held[group]} are missing; pass --repeat, --allow_short or "
            f"--total_tokens={most} at most"
        )
    wanted: dict[str, int | None] = {}
    for group, sources in members.items():
        if group in short and not settings.repeat:
            wanted |= dict.fromkeys(sources)
        else:
            wanted |= divide(parts[group], {s: Fraction(have[s]) for s in sources if have[s]})
    return {source: wanted.get(source) for source in have}


def divide(total: int, weights: Mapping[str, Fraction]) -> dict[str, int]:
    """Returns integers in proportion to the weights that sum to `total` (largest remainder)."""
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    parts = {name: int(value) for name, value in exact.items()}
    order = sorted(parts, key=lambda name: (parts[name] - exact[name], name))
    for name in order[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def check_repeats(chosen: Mapping, wanted: Mapping[str, int | None], *, settings: Settings) -> None:
    """Raises UserError when even max_repeat passes of train do not give a source its tokens.

    `chosen` holds the selection of each source; its val is never repeated.
    """
    for source, one in chosen.items():
        target = wanted[source]
        if target is None or target <= one.available_tokens or settings.allow_short:
            continue
        train = one.available_tokens - one.val_tokens
        most = one.val_tokens + settings.max_repeat * train
        if most < target:
            raise errors.UserError(
                f"source {source} has {one.available_tokens} tokens, its weight needs {target}: "
                f"{target - most} are missing even after {settings.max_repeat} passes; give more "
                "text, raise --max_repeat or lower --total_tokens"
            )
