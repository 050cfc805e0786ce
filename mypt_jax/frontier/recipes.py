"""The recipes that are compared, as a table: which stages, from what, with which values.

A row of one's own is a stage file: `mypt frontier --add=configs/mine.py`.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from data_pipeline.errors import UserError
from mypt_jax.runs import layout
from mypt_jax.schema import stage_file

CHAIN = "chain"  # the guide's, with which others are compared, at its own rates
SAMPLES = "SAMPLES"  # in a value: the dataset of the base's own samples


class Stage(NamedTuple):
    """One stage of a recipe; `parent`: an earlier stage of it, "" for the base."""

    file: str  # "v3" of configs/v3.py, or a path
    parent: str = ""
    values: Mapping[str, object] = {}  # {"objective.replay": "ce"}
    rate: float = 1.0  # factor on the file's rate, besides the rates that are tried

    @property
    def name(self) -> str:
        return os.path.basename(self.file).removesuffix(".py")

    def spec(self, size: str) -> str:
        """What --config= takes."""
        file = self.file if self.file.endswith(".py") else f"configs/{self.file}.py"
        return f"{file}:{size}"


class Recipe(NamedTuple):
    """What is trained from the base; the result is the last stage, and with `soup` also the mean of
    these stages."""

    what: str
    stages: tuple[Stage, ...]
    soup: tuple[str, ...] = ()
    kind: str = ""  # ce | kl: what its replayed windows are trained on; "" for none

    @property
    def needs_samples(self) -> bool:
        return any(
            SAMPLES in value
            for one in self.stages
            for value in one.values.values()
            if isinstance(value, tuple)
        )

    @property
    def needed(self) -> list[Stage]:
        """The stages of the result, from the base on; others are in the soup alone."""
        by_name = {one.name: one for one in self.stages}
        found: list[Stage] = []
        stage: Stage | None = self.stages[-1]
        while stage:
            found.insert(0, stage)
            stage = by_name.get(stage.parent)
        return found


def of_file(file: str, size: str) -> Recipe:
    """A stage file with the stages that it goes on from, as far as the base, which is --base.

    Raises UserError where it starts from something else.
    """
    stages = [Stage(file)]
    while parent := _parent_file(stages[0], size):
        above = Stage(parent)
        if above.name in [one.name for one in stages]:
            raise UserError(f"--add={file}: init_from of {parent} leads in a circle")
        stages = [above, stages[0]._replace(parent=above.name), *stages[1:]]
    return Recipe(f"the stage file {file}", tuple(stages))


def _parent_file(stage: Stage, size: str) -> str:
    """The stage file of a stage's parent, "" where that is the base. Raises UserError."""
    config = stage_file.load(stage.spec(size))
    path, step = layout.parse_spec(config.init_from)
    if path == os.path.normpath(size.partition(",")[0]):  # a run, which is the base of its stages
        return ""
    above = stage_file.writer(
        path,
        os.path.dirname(stage.spec(size).partition(":")[0]),
        lambda file: stage_file.load(f"{file}:{size}").workdir,
    )
    if not above.file or step or path == "scratch":
        raise UserError(
            f"{stage.spec(size)} has init_from={config.init_from}: a recipe starts from the end of "
            f"another stage file, or from that of the base{above.why and f'; {above.why}'}"
        )
    is_base = stage_file.load(f"{above.file}:{size}").init_from == "scratch"
    return "" if is_base else above.file


def _chain(**values: object) -> tuple[Stage, ...]:
    """v3, then from it v5, and v7 -> v8; v8 is the guide's result."""
    parents = {"v3": "", "v5": "v3", "v7": "v3", "v8": "v7"}
    return tuple(Stage(name, parent, values) for name, parent in parents.items())


def _one(kind: str, **values: object) -> tuple[Stage, ...]:
    named = {key.replace("__", "."): value for key, value in values.items()}
    return (Stage("adapt", "", {"objective.replay": kind, **named}),)


def _start(kind: str, what: str, **values: object) -> Recipe:
    """One that begins otherwise."""
    return Recipe(f"{kind}, {what}", _one(kind, **values), kind=kind)


_WARM = {"optim__warmup_steps": 0.1}
_MOMENTS = {"optim__moments": "parent"}  # of a base that kept its optimizer
_MEAN = {"optim__schedule": "constant", "optim__average_ratio": 0.5}

USUAL = (CHAIN, "ce", "kl")  # what is compared where nothing is asked for
RECIPES: dict[str, Recipe] = {
    CHAIN: Recipe("the guide's v3, v7, v8", _chain(), ("v5", "v7", "v8"), "ce"),
    "ce": Recipe("one stage, 20 % replay", _one("ce"), kind="ce"),
    "ce-5": Recipe("ce, 5 % replay", _one("ce", data__replay_ratio=0.05), kind="ce"),
    "ce-10": Recipe("ce, 10 % replay", _one("ce", data__replay_ratio=0.10), kind="ce"),
    "ce-30": Recipe("ce, 30 % replay", _one("ce", data__replay_ratio=0.30), kind="ce"),
    "ce-mean": Recipe("ce, mean of the last half of the steps", _one("ce", **_MEAN), kind="ce"),
    "ce-warm": _start("ce", "warmup of a tenth", **_WARM),
    "ce-moments": _start("ce", "the base's moments", **_MOMENTS),
    "ce-both": _start(
        "ce", "the base's moments, and a tenth from its rate up", **_WARM, **_MOMENTS
    ),
    "none": Recipe("no replay", _one("ce", data__replay_ratio=0.0)),
    "kl": Recipe("one stage, 20 % replay keeps the base's words", _one("kl"), kind="kl"),
    "kl-10": Recipe("kl, 10 % replay", _one("kl", data__replay_ratio=0.10), kind="kl"),
    "kl-mean": Recipe("kl, mean of the last half of the steps", _one("kl", **_MEAN), kind="kl"),
    "kl-warm": _start("kl", "warmup of a tenth", **_WARM),
    "kl-moments": _start("kl", "the base's moments", **_MOMENTS),
    "kl-both": _start(
        "kl", "the base's moments, and a tenth from its rate up", **_WARM, **_MOMENTS
    ),
    "samples": Recipe(
        "kl on the base's own samples, no general text",
        _one("kl", data__general=(SAMPLES,)),
        kind="kl",
    ),
    "control": Recipe("general text alone", _one("ce", data__replay_ratio=1.0)),
    "adapter": Recipe(
        "kl, adapters of rank 8 at five times the rate",
        (Stage("adapt", "", {"objective.replay": "kl", "adapter.rank": 8}, rate=5.0),),
        kind="kl",
    ),
    "bf16": Recipe(
        "ce with weights in bfloat16",
        _one("ce", model__param_dtype="bfloat16", checkpoint__allow_cast=True),
        kind="ce",
    ),
}
