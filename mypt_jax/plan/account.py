"""What the compiler itself says of a TPU program: its estimate of the cycles, by kind and by entry.

An estimate ranks variants of one program; it is no speed. It leaves Pallas kernels out (attention),
and collectives, which are counted in bytes beside it.
"""

import math
import re
from typing import NamedTuple

from mypt_jax.model import flops
from mypt_jax.plan import collectives, hlo

PRODUCTS, COPIES, OTHER = "matrix products", "copies", "other fusions"
MOVES = frozenset(
    "parameter constant tuple get-tuple-element copy bitcast transpose reshape broadcast slice "
    "concatenate dynamic-slice dynamic-update-slice pad".split()
)
LARGEST = 10


class Core(NamedTuple):
    """Of a chip: multiply-adds count two operations; what one link carries each way, bytes/s."""

    flops_per_cycle: int
    link_bytes_per_sec: float


# Units of 128 x 128: 4 in v5e, 8 in v4 and v5p; v6e 4 of 256 x 256. Links: Google's data sheets, by
# chip (2400, 1600, 4800, 3584 Gbit/s), divided by their number (6, 4, 6, 4).
CORES = {
    "v4": Core(8 * 128 * 128 * 2, 50e9),
    "v5e": Core(4 * 128 * 128 * 2, 50e9),
    "v5p": Core(8 * 128 * 128 * 2, 100e9),
    "v6e": Core(4 * 256 * 256 * 2, 112e9),
}
LINKS = 2  # of a chip that a collective uses: a ring, both ways


class Shape(NamedTuple):
    """Of the step on one chip, by which arrays are recognised."""

    n_layer: int
    rows: int  # windows that are computed at a time
    length: int
    vocab: int  # of the head's part


class Entry(NamedTuple):
    """A line of the program."""

    name: str
    kind: str
    cycles: int  # of all its executions
    times: int
    source: list[str]


class Account(NamedTuple):
    """Of a program; cycles are the compiler's estimates, times loop trips."""

    cycles: dict[str, int]  # by kind
    ideal_cycles: float  # of the products, at the chip's peak
    entries: list[Entry]  # the largest first
    kernels: dict[str, int]  # executions of Pallas kernels, which have no estimate
    loops: list[tuple[int, list[str]]]  # trips (0: not known) of the outer loops; their source
    collectives: list[collectives.Collective]
    exposed_secs: float  # of collectives with nothing beside them, at LINKS links
    overlapped_secs: float
    clock_hz: float
    windowed_products: int  # loops over slices of a product
    logits_arrays: list[str]  # arrays [B, L, V] of all positions
    attention_again: int  # executions of attention's forward pass in the backward pass
    fp32_stacks: list[str]  # activations of all layers, kept in fp32

    @property
    def total(self) -> int:
        return sum(self.cycles.values())


def of(text: str, *, chip: str, shape: Shape, slice_size: int) -> Account:
    """Reads the text of a program compiled for a TPU."""
    program, core = hlo.Program(text), CORES[chip]
    executed = list(program.executed())
    clock = flops.CHIPS[chip].peak / core.flops_per_cycle
    entries = [_entry(program, e) for e in executed if e.instruction.cycles]
    exchanged = collectives.found(program, slice_size=slice_size)
    inside = [c for c in exchanged if not c.between_slices]

    def secs(overlapped: bool) -> float:
        size = sum(c.times * c.received_bytes for c in inside if c.overlapped == overlapped)
        return size / (LINKS * core.link_bytes_per_sec)

    kernels: dict[str, int] = {}
    for entry in executed:
        if '"tpu_custom_call"' in entry.instruction.attributes:
            name = re.sub(r"[.\d]*$", "", entry.instruction.name.lstrip("%"))
            kernels[name] = kernels.get(name, 0) + entry.times
    return Account(
        cycles={
            kind: sum(e.cycles for e in entries if e.kind == kind)
            for kind in (PRODUCTS, COPIES, OTHER)
        },
        ideal_cycles=sum(e.times * _flops(program, e) for e in executed) / core.flops_per_cycle,
        entries=sorted(entries, key=lambda entry: -entry.cycles),
        kernels=kernels,
        loops=[
            (program.trips(e.instruction, e.computation) or 0, program.source(e.instruction))
            for e in executed
            if e.instruction.opcode == "while" and e.computation == program.entry
        ],
        collectives=exchanged,
        exposed_secs=secs(False),
        overlapped_secs=secs(True),
        clock_hz=clock,
        windowed_products=sum(_is_windowed(program, e.instruction) for e in executed),
        logits_arrays=_logits(executed, shape),
        attention_again=sum(e.times for e in executed if _is_attention_again(program, e)),
        fp32_stacks=_stacks(executed, shape),
    )


def _entry(program: hlo.Program, executed: hlo.Executed) -> Entry:
    one = executed.instruction
    opcodes = {inner.opcode for inner, _ in program.inside(one, executed.computation)} - {"fusion"}
    if opcodes & {"convolution", "dot"}:
        kind = PRODUCTS
    elif opcodes <= MOVES:
        kind = COPIES
    else:
        kind = OTHER
    name = one.name.lstrip("%")
    return Entry(name, kind, one.cycles * executed.times, executed.times, program.source(one))


def _flops(program: hlo.Program, executed: hlo.Executed) -> int:
    """Of the products in an instruction of the control flow, 2 for a multiply-add."""
    return sum(
        product_flops(program, inner, computation)
        for inner, computation in program.inside(executed.instruction, executed.computation)
        if inner.opcode in ("convolution", "dot")
    )


def product_flops(program: hlo.Program, one: hlo.Instruction, computation: str) -> int:
    """Of a dot or a convolution, which is how the TPU's compiler writes a product.

    Positions of the window that lie in the padding cost nothing here: a product in slices is
    written so."""
    left, right = program.arrays_of(one, computation)[:2]
    (out,) = one.arrays
    if one.opcode == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
        dims = [int(n) for n in contracted[1].split(",") if n] if contracted else []
        return 2 * out.elements * math.prod(left.dims[d] for d in dims)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes)
    if labels is None:
        return 0
    window = {
        key: value.split("x")
        for key, value in re.findall(r"(\w+)=([\dx_]+)", _window(one.attributes))
    }
    total = 2 * right.dims[labels[2].index("i")]
    total *= out.dims[labels[3].index("b")] * out.dims[labels[3].index("f")]
    for axis in range(len(labels[1]) - 2):
        low = int(window["pad"][axis].split("_")[0]) if "pad" in window else 0
        stride = int(window["stride"][axis]) if "stride" in window else 1
        spread = int(window["lhs_dilate"][axis]) if "lhs_dilate" in window else 1
        size = (left.dims[labels[1].index(str(axis))] - 1) * spread + 1
        total *= sum(
            0 <= at < size and at % spread == 0
            for position in range(out.dims[labels[3].index(str(axis))])
            for offset in range(right.dims[labels[2].index(str(axis))])
            for at in (position * stride + offset - low,)
        )
    return total


def _window(attributes: str) -> str:
    found = re.search(r"window=\{([^}]*)\}", attributes)
    return found[1] if found else ""


def _is_windowed(program: hlo.Program, one: hlo.Instruction) -> bool:
    """A loop that computes a product in the slices in which its weights lie on the chips."""
    return one.opcode == "while" and any("windowed_dot_general" in name for name in one.called)


def _is_attention_again(program: hlo.Program, executed: hlo.Executed) -> bool:
    """Attention's forward kernel among what the backward pass recomputes."""
    one = executed.instruction
    return "rematted_computation" in one.op_name and (
        '"tpu_custom_call"' in one.attributes or "__cudnn$fmha" in one.attributes
    )


def _logits(executed: list[hlo.Executed], shape: Shape) -> list[str]:
    tokens = shape.rows * shape.length
    return _arrays(executed, lambda a: shape.vocab in a.dims and a.elements >= tokens * shape.vocab)


def _stacks(executed: list[hlo.Executed], shape: Shape) -> list[str]:
    def is_stack(array: hlo.Array) -> bool:
        behind = array.dims[1:]
        tokens = (shape.rows, shape.length)
        return (
            array.dtype == "f32"
            and array.dims[:1] == (shape.n_layer,)
            and len(behind) > 2
            and behind[:2] in (tokens, tokens[::-1])
        )

    return _arrays(executed, is_stack)


def _arrays(executed: list[hlo.Executed], wanted) -> list[str]:
    """Shapes of the arrays that are made somewhere in the control flow."""
    made = (e.instruction for e in executed if e.instruction.opcode not in ("tuple", "parameter"))
    found = {a for one in made for a in one.arrays if wanted(a)}
    return sorted(f"{a.dtype}[{','.join(map(str, a.dims))}]" for a in found)
