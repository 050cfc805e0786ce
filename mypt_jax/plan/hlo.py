"""The text of a compiled XLA program, read: its instructions, how often each runs, and from which
line of the source it comes.

The grammar is that of `jax.stages.Compiled.as_text()` (openxla.org/xla, "HLO IR"); only what the
account of a program needs is read.
"""

import functools
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

ITEM_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8}  # else by the digits of its name
CONTROL = ("while", "call", "conditional")  # what they call is executed, not fused


class Array(NamedTuple):
    """One array of a shape: bf16[12,1024,1280]."""

    dtype: str
    dims: tuple[int, ...]

    @property
    def elements(self) -> int:
        return functools.reduce(int.__mul__, self.dims, 1)

    @property
    def size_bytes(self) -> int:
        known = ITEM_BYTES.get(self.dtype)
        digits = re.search(r"\d+", self.dtype)
        bits = 8 * known if known else int(digits[0]) if digits else 0
        return self.elements * bits // 8


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    arrays: tuple[Array, ...]  # one, or those of a tuple
    opcode: str
    operands: tuple[str, ...]
    text: str  # the literal of a constant, the number of a parameter
    attributes: str
    is_root: bool

    @property
    def called(self) -> tuple[str, ...]:
        """Computations that belong to it: of a fusion, a call, the body of a loop."""
        listed = re.findall(r"(?:calls|to_apply|body)=(%[\w.\-]+)", self.attributes)
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
        return (*listed, *(re.findall(r"%[\w.\-]+", branches[1]) if branches else ()))

    @property
    def cycles(self) -> int:
        """The TPU compiler's estimate for one execution, 0 where it gives none."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.attributes)
        return int(found[1]) if found else 0

    @property
    def op_name(self) -> str:
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""


class Executed(NamedTuple):
    """An instruction of the control flow, and how often a run of the program executes it."""

    instruction: Instruction
    computation: str
    times: int


class Program:
    """A program by its text."""

    def __init__(self, text: str):
        header, *blocks = re.split(r"\n(?=ENTRY |%)", text)
        self._frames = _Frames(header)
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ""
        for block in blocks:
            # The metadata of a kernel may go over several lines.
            title, *lines = re.split(r"\n(?=\s+(?:ROOT )?%[\w.\-]+ = )", block)
            name = title.removeprefix("ENTRY ").split(" ")[0]
            self.entry = name if title.startswith("ENTRY ") else self.entry
            found = (_instruction(line) for line in lines)
            self.computations[name] = {i.name: i for i in found if i is not None}
        if not self.entry:
            raise ValueError("no ENTRY computation in the text of the program")

    def executed(self) -> Iterator[Executed]:
        """Instructions of the entry and of what it calls, in the order of the schedule; not the
        insides of fusions. A loop whose trips cannot be told counts once."""
        yield from self._executed(self.entry, 1)

    def _executed(self, computation: str, times: int) -> Iterator[Executed]:
        for one in self.computations[computation].values():
            yield Executed(one, computation, times)
            if one.opcode in CONTROL:
                factor = (self.trips(one, computation) or 1) if one.opcode == "while" else 1
                for called in one.called:
                    yield from self._executed(called, times * factor)

    def inside(self, one: Instruction, computation: str) -> Iterator[tuple[Instruction, str]]:
        """The instruction and all that it is fused from, each with the computation it stands in;
        nothing of what control flow calls."""
        yield one, computation
        if one.opcode not in CONTROL:
            for called in one.called:
                for inner in self.computations[called].values():
                    yield from self.inside(inner, called)

    def arrays_of(self, one: Instruction, computation: str) -> list[Array]:
        """The operands' arrays."""
        table = self.computations[computation]
        return [a for name in one.operands if name in table for a in table[name].arrays]

    def trips(self, loop: Instruction, computation: str) -> int | None:
        """How often the body of a counting loop runs; None where the text does not tell."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
        if known:
            return int(known[1])
        condition = re.search(r"condition=(%[\w.\-]+)", loop.attributes)
        (body,) = loop.called
        if condition is None:
            return None
        compare = next(
            (i for i in self.computations[condition[1]].values() if i.opcode == "compare"), None
        )
        if compare is None or not re.search(r"direction=(LT|NE)", compare.attributes):
            return None
        counter = self.computations[condition[1]].get(compare.operands[0])
        limit = self._value(compare.operands[1], condition[1])
        if counter is None or counter.opcode != "get-tuple-element" or limit is None:
            return None
        index = _index(counter)
        start = self._value(self._element(loop.operands[0], computation, index), computation)
        step = self._step(body, index)
        return None if start is None or not step else max(0, -(-(limit - start) // step))

    def _step(self, body: str, index: int) -> int | None:
        """What a loop's body adds to the element `index` of its state."""
        root = next(i for i in self.computations[body].values() if i.is_root)
        if root.opcode != "tuple":
            return None
        added = self.computations[body].get(self._original(root.operands[index], body))
        if added is None or added.opcode != "add":
            return None
        values = [self._value(name, body) for name in added.operands]
        return next((value for value in values if value is not None), None)

    def _original(self, name: str, computation: str) -> str:
        """What a chain of copies copies."""
        one = self.computations[computation].get(name)
        while one is not None and one.opcode in ("copy", "bitcast", "copy-done", "copy-start"):
            name = one.operands[0]
            one = self.computations[computation].get(name)
        return name

    def _element(self, name: str, computation: str, index: int) -> str:
        one = self.computations[computation].get(self._original(name, computation))
        return one.operands[index] if one is not None and one.opcode == "tuple" else ""

    def _value(self, name: str, computation: str) -> int | None:
        """An integer constant."""
        one = self.computations[computation].get(self._original(name, computation))
        if one is None or one.opcode != "constant" or not re.fullmatch(r"-?\d+", one.text):
            return None
        return int(one.text)

    def source(self, one: Instruction) -> list[str]:
        """The lines of the source that made it, innermost first: "layers.py:122 Norm.__call__"."""
        found = re.search(r"stack_frame_id=(\d+)", one.attributes)
        return self._frames.lines(int(found[1])) if found else []


class _Frames:
    """The tables of file names, functions and stack frames before the first computation."""

    def __init__(self, header: str):
        def table(title: str) -> list[str]:
            part = re.search(rf"^{title}\n((?:\d+ .*\n?)*)", header, re.MULTILINE)
            return [row.split(" ", 1)[1] for row in part[1].splitlines()] if part else []

        self._files = [json.loads(name) for name in table("FileNames")]
        self._functions = [json.loads(name) for name in table("FunctionNames")]
        self._places = [_fields(row) for row in table("FileLocations")]
        self._frames = [_fields(row) for row in table("StackFrames")]

    def lines(self, number: int) -> list[str]:
        """From a frame outwards."""
        found = []
        while 0 < number <= len(self._frames):
            frame = self._frames[number - 1]
            place = self._places[frame["file_location_id"] - 1]
            file = self._files[place["file_name_id"] - 1].rpartition("/")[2]
            function = self._functions[place["function_name_id"] - 1].replace("<locals>.", "")
            found.append(f"{file}:{place['line']} {function}")
            number = frame["parent_frame_id"] - 1  # 1 is none
        return found


def _fields(row: str) -> dict[str, int]:
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", row)}


def _index(one: Instruction) -> int:
    found = re.search(r"index=(\d+)", one.attributes)
    return int(found[1]) if found else 0


def _instruction(line: str) -> Instruction | None:
    """A line such as `ROOT %add.1 = f32[8]{0} add(%a, %b), metadata={...}`; None for others."""
    start = re.match(r"\s+(ROOT )?(%[\w.\-]+) = ", line)
    if start is None:
        return None
    at = _end(line, start.end()) if line[start.end()] == "(" else line.index(" ", start.end())
    shape, rest = line[start.end() : at], line[at:].lstrip()
    opcode, _, _ = rest.partition("(")
    stop = _end(rest, len(opcode))
    inside = rest[len(opcode) + 1 : stop - 1]
    return Instruction(
        name=start[2],
        arrays=tuple(
            Array(dtype, tuple(int(n) for n in re.findall(r"\d+", dims)))
            for dtype, dims in re.findall(r"\b([a-z]\w*)\[([\d,<=]*)\]", shape)
        ),
        opcode=opcode,
        operands=tuple(re.findall(r"%[\w.\-]+", inside)),
        text=inside,
        attributes=rest[stop:],
        is_root=bool(start[1]),
    )


def _end(line: str, start: int) -> int:
    """The position behind the parenthesis that closes the one at `start`."""
    depth = 0
    for at in range(start, len(line)):
        depth += (line[at] == "(") - (line[at] == ")")
        if not depth:
            return at + 1
    return len(line)
