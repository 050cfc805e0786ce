"""The collectives of a compiled program: how many bytes each chip takes in, and whether anything is
computed meanwhile."""

import functools
import math
import re
from typing import NamedTuple

import numpy as np

from mypt_jax.plan import hlo

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")


class Collective(NamedTuple):
    """One of the program, and how often it is executed."""

    kind: str
    arrays: tuple[hlo.Array, ...]  # the results
    times: int
    received_bytes: float  # by each chip, each time, on a ring
    overlapped: bool  # a product, a fusion or a kernel runs between its start and its end
    between_slices: bool
    source: list[str]


def found(program: hlo.Program, *, slice_size: int) -> list[Collective]:
    """Every collective of the control flow; `slice_size`: chips that are joined by fast links."""
    result, seen = [], set()
    executed = list(program.executed())
    schedules: dict[str, list[hlo.Instruction]] = {}
    for entry in executed:
        schedules.setdefault(entry.computation, []).append(entry.instruction)
    for entry in executed:
        for one, place in program.inside(entry.instruction, entry.computation):
            if one.opcode.removesuffix("-start") not in KINDS:
                continue
            fused = one is not entry.instruction
            # One that is spread over fusions has a part in each of them, its start is the first.
            channel = re.search(r"channel_id=\d+", one.attributes)
            key = (channel[0],) if channel and fused else (place, one.name)
            if key in seen:
                continue
            seen.add(key)
            if fused:
                overlapped = '"async_collective_fusion_config"' in one.attributes
            else:
                overlapped = _is_overlapped(one, schedules[place])
            result.append(_collective(program, one, place, entry.times, overlapped, slice_size))
    return result


def _collective(program, one, place, times, overlapped, slice_size) -> Collective:
    kind = _kind(one, place)
    chips = groups(one.attributes)
    arrays = _result(kind, one) if one.opcode.endswith("-start") else one.arrays
    return Collective(
        kind,
        arrays,
        times,
        _received(kind, arrays, program.arrays_of(one, place), chips.shape[1] if chips.size else 0),
        overlapped,
        bool((chips // slice_size != chips[:, :1] // slice_size).any()),
        program.source(one),
    )


def _kind(one: hlo.Instruction, place: str) -> str:
    """The TPU's compiler writes a reduce-scatter as the slice of an all-reduce, fused."""
    kind = one.opcode.removesuffix("-start")
    if kind == "all-reduce" and "all-reduce-scatter" in place:
        return "reduce-scatter"
    return kind


def _result(kind: str, start: hlo.Instruction) -> tuple[hlo.Array, ...]:
    """Of a start that returns (operands, results, ...); on a GPU it has several of both."""
    if kind == "all-reduce":
        return start.arrays
    return start.arrays[len(start.operands) : 2 * len(start.operands)]


def _received(kind: str, arrays, operands, group: int) -> float:
    """Bytes that a ring brings to each of its `group` chips."""
    if kind == "collective-permute":
        return float(sum(a.size_bytes for a in arrays))
    if group < 2:
        return 0.0
    share = (group - 1) / group
    if kind == "reduce-scatter":
        return share * sum(a.size_bytes for a in operands)
    return (2 if kind == "all-reduce" else 1) * share * sum(a.size_bytes for a in arrays)


def _is_overlapped(start: hlo.Instruction, schedule: list[hlo.Instruction]) -> bool:
    """Whether anything is computed before the result of a start is waited for."""
    if not start.opcode.endswith("-start"):
        return False
    for one in schedule[schedule.index(start) + 1 :]:
        if start.name in one.operands:
            return False
        if one.cycles or one.opcode in ("fusion", "while", "dot"):
            return True
    return False


def groups(attributes: str) -> np.ndarray:
    """int[groups, chips of each] of replica_groups or source_target_pairs, in any way of writing:
    {{0,1},{2,3}}, [2,4]<=[8], [2,4]<=[4,2]T(1,0), mesh['x'=2,'y'=4] {'y'}."""
    pairs = re.search(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{}]*\})\}", attributes)
    if pairs:
        return np.array([[int(n) for n in g.split(",")] for g in re.findall(r"[\d,]*\d", pairs[1])])
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", attributes)
    if iota:
        shape, sizes, order = (
            tuple(int(n) for n in (part or "").split(",") if n) for part in iota.groups()
        )
        chips = np.arange(math.prod(sizes)).reshape(sizes)
        return chips.transpose(order or None).reshape(shape)
    mesh = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\S+)? \{([^}]*)\}", attributes
    )
    if mesh:
        sizes = {axis: int(n) for axis, n in re.findall(r"('\w+')=(\d+)", mesh[1])}
        along = re.findall(r"'\w+'", mesh[2])
        axes = [*(axis for axis in sizes if axis not in along), *along]
        chips = np.arange(math.prod(sizes.values())).reshape(tuple(sizes.values()))
        group = functools.reduce(int.__mul__, (sizes[axis] for axis in along), 1)
        return chips.transpose([list(sizes).index(axis) for axis in axes]).reshape(-1, group)
    return np.zeros((0, 1), int)
