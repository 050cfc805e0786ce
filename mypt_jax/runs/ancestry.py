"""Which ancestor several runs share: known by its parameters, wherever they lie now."""

from collections.abc import Iterator, Mapping, Sequence

Ancestors = Sequence[Mapping]  # as in a lineage: the oldest first


def last_shared(families: Sequence[Ancestors]) -> list[Mapping]:
    """The ancestors that several runs have in common, with the last one at the end; [] for none.

    A family is a run's ancestors and, at its end, the run itself.
    """
    first, *others = ([*_up_to_each(family)] for family in families)
    known = [{_digest(family) for family in of_other} for of_other in others]
    shared = [family for family in first if all(_digest(family) in one for one in known)]
    return list(shared[-1]) if shared else []


def since(family: Ancestors, shared: Ancestors) -> list[Mapping]:
    """Of a family those after the last shared ancestor, without the run itself."""
    digests = [one["params_sha256"] for one in family]
    begin = digests.index(_digest(shared)) + 1 if _digest(shared) in digests else 0
    return list(family[begin:-1])


def _up_to_each(family: Ancestors) -> Iterator[Ancestors]:
    """For every ancestor the list that ends with it; those of an import's origin before it."""
    for number, one in enumerate(family, 1):
        yield from _up_to_each(one.get("origin", ()))
        yield family[:number]


def _digest(family: Ancestors) -> str:
    return family[-1]["params_sha256"]
