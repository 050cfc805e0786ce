"""The compiled step of a topology, told in lines or as JSON: where the cycles are expected."""

from collections.abc import Mapping
from typing import NamedTuple

from data_pipeline.tokens import tokenizer
from mypt_jax.plan import account as accounts
from mypt_jax.plan import costs, describe, topology

OWN = "as configured"
MEGA = 1e6


class Explained(NamedTuple):
    """`account` is None where the program does not fit, since the compiler gives no text then."""

    memory: topology.Memory
    account: accounts.Account | None


def explain(config: Mapping, name: str, *, options: Mapping) -> Explained:
    """Compiles the step of a config for a topology, with options of the compiler, and reads it."""
    eot = tokenizer.get(config["data"]["tokenizer"]).eot
    compiled = topology.compile_step(config, name, eot=eot, options=options)
    if not compiled.text:
        return Explained(compiled.memory, None)
    data, fsdp, tensor = compiled.memory.mesh
    model = config["model"]
    shape = accounts.Shape(
        n_layer=model["n_layer"],
        rows=config["batch_size"] // config["accumulation_steps"] // (data * fsdp),
        length=model["block_size"],
        vocab=model["vocab_size"] // tensor,
    )
    account = accounts.of(
        compiled.text,
        chip=name.partition(":")[0],
        shape=shape,
        slice_size=compiled.slice_size,
    )
    return Explained(compiled.memory, account)


def lines(explained: Mapping[str, Explained], name: str) -> list[str]:
    """What was found, the configured program in full, then all side by side."""
    found = [
        "",
        f"the compiled step on {name}: the compiler's estimates, which rank variants and are no "
        "speed;",
        "they leave Pallas kernels (attention) and collectives out",
    ]
    own = explained[OWN]
    if own.account is None:
        found.append(_too_large(own))
    else:
        found += _whole(own.account)
    if len(explained) > 1:
        found += ["", *_side_by_side(explained)]
    return found


def as_json(explained: Mapping[str, Explained]) -> dict:
    """The figures by variant; `explain` is the configured program."""
    figures = {name: _figures(one) for name, one in explained.items()}
    own = figures.pop(OWN)
    return {"explain": own, **({"compare": figures} if figures else {})}


def _figures(one: Explained) -> dict:
    row, account = one.memory, one.account
    memory = {"peak_gib": row.peak / costs.GIB, "fits": row.fits, "remat": row.remat}
    if account is None:
        return memory
    return {
        **memory,
        "total_mcycles": account.total / MEGA,
        "product_mcycles": account.cycles[accounts.PRODUCTS] / MEGA,
        "product_ideal_mcycles": account.ideal_cycles / MEGA,
        "copy_mcycles": account.cycles[accounts.COPIES] / MEGA,
        "other_mcycles": account.cycles[accounts.OTHER] / MEGA,
        "exposed_collective_mcycles": account.exposed_secs * account.clock_hz / MEGA,
        "overlapped_collective_mcycles": account.overlapped_secs * account.clock_hz / MEGA,
        "windowed_products": account.windowed_products,
        "logits_arrays": account.logits_arrays,
        "attention_forward_again": account.attention_again,
        "fp32_stacks": account.fp32_stacks,
        "kernels": account.kernels,
    }


def _whole(account: accounts.Account) -> list[str]:
    return [
        *_by_kind(account),
        "",
        *_flags(account),
        "",
        *_largest(account),
        "",
        *_exchanged(account),
    ]


def _by_kind(account: accounts.Account) -> list[str]:
    rows = [
        (kind, f"{cycles / MEGA:.1f}", f"{cycles / account.total:.1%}")
        for kind, cycles in account.cycles.items()
    ]
    rows.append(("together", f"{account.total / MEGA:.1f}", ""))
    ideal = account.ideal_cycles
    ratio = account.cycles[accounts.PRODUCTS] / ideal if ideal else 0
    return [
        *describe.table(rows, ("a step", "Mcycles", "share")),
        f"  the products' operations at the chip's peak: {ideal / MEGA:.1f} Mcycles, "
        f"{ratio:.2f} times that is expected; clock {account.clock_hz / 1e9:.2f} GHz",
    ]


def _flags(account: accounts.Account) -> list[str]:
    kernels = ", ".join(f"{name} x {times}" for name, times in sorted(account.kernels.items()))
    trips = ", ".join(f"{n or '?'} ({where(source)})" for n, source in account.loops)
    return [
        f"  loops of the step, trips: {trips or 'none'}",
        f"  windowed products, in slices of a weight: {account.windowed_products or 'none'}",
        f"  logits of all positions [B, L, V]: {', '.join(account.logits_arrays) or 'none'}",
        f"  attention's forward pass repeated: {account.attention_again or 'none'}",
        f"  activations of all layers in fp32: {', '.join(account.fp32_stacks) or 'none'}",
        f"  kernels without an estimate: {kernels or 'none'}",
    ]


def _largest(account: accounts.Account) -> list[str]:
    rows = [
        (entry.name, entry.kind, f"{entry.cycles / MEGA:.1f}", entry.times, where(entry.source))
        for entry in account.entries[: accounts.LARGEST]
    ]
    return _left(("largest", "kind", "Mcycles", "times", "source"), rows)


def _exchanged(account: accounts.Account) -> list[str]:
    sums: dict[tuple, list[float]] = {}
    for one in account.collectives:
        how = "overlapped" if one.overlapped else "exposed"
        links = "between slices" if one.between_slices else "within"
        total = sums.setdefault((one.kind, how, links, where(one.source)), [0, 0.0])
        total[0] += one.times
        total[1] += one.times * one.received_bytes
    rows = [
        (kind, how, links, f"{size / 2**20:.1f}", times, place)
        for (kind, how, links, place), (times, size) in sorted(
            sums.items(), key=lambda item: -item[1][1]
        )[: accounts.LARGEST]
    ]
    exposed, overlapped = account.exposed_secs, account.overlapped_secs
    return [
        *_left(("collective", "", "slices", "MiB to a chip", "times", "source"), rows),
        f"  at the published rate of {accounts.LINKS} links: exposed {exposed * 1e3:.2f} ms "
        f"({exposed * account.clock_hz / MEGA:.1f} Mcycles), overlapped {overlapped * 1e3:.2f} ms "
        f"({overlapped * account.clock_hz / MEGA:.1f} Mcycles); between slices not priced",
    ]


def _left(header: tuple, rows: list[tuple]) -> list[str]:
    """A table whose last column is text."""
    found = describe.table([row[:-1] for row in rows], header[:-1])
    width = max(len(line) for line in found)
    last = [header[-1], *(row[-1] for row in rows)]
    return [f"{line:{width}}  {text}".rstrip() for line, text in zip(found, last, strict=True)]


def where(source: list[str]) -> str:
    """The innermost place of the source, and what called it."""
    return " < ".join(source[:2])


def _side_by_side(explained: Mapping[str, Explained]) -> list[str]:
    header = ("variant", "total", "products", "ideal", "copies", "other", "exposed", "overlapped")
    rows = []
    for name, one in explained.items():
        peak = f"{one.memory.peak / costs.GIB:.2f}"
        if one.account is None:
            rows.append((name, *("-",) * 8, peak, one.memory.verdict))
            continue
        a = one.account
        cycles = (a.total, a.cycles[accounts.PRODUCTS], a.ideal_cycles, a.cycles[accounts.COPIES])
        outside = (a.exposed_secs * a.clock_hz, a.overlapped_secs * a.clock_hz)
        figures = (*cycles, a.cycles[accounts.OTHER], *outside)
        shown = (f"{value / MEGA:.1f}" for value in figures)
        rows.append((name, *shown, a.windowed_products, peak, one.memory.verdict))
    return describe.table(rows, (*header, "windowed", "peak GiB", "verdict"))


def _too_large(one: Explained) -> str:
    needed = f"{one.memory.peak / costs.GIB:.2f}" if one.memory.peak else "more"
    has = f"{one.memory.usable_gib:.2f}"
    return f"  does not fit: it needs {needed} GiB of {has}; --search finds what fits"
