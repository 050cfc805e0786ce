"""What an unknown key or flag was probably meant to be: an old name, another group, a slip."""

import difflib
from collections.abc import Iterator

from mypt_jax.schema import keys

# Flags of the original that no key stands for.
_ELSEWHERE = {
    "config_file": "a stage file is given as --config=configs/STAGE.py",
    "device": "JAX chooses it; JAX_PLATFORMS=cpu in the environment keeps to the CPU",
    "eval_seed": "evaluation windows are a fixed list, the same for every stage",
}
_MOST = 3  # more than these are no hint


def nearest(name: str) -> list[str]:
    """The keys that `name` may stand for, the likeliest only; [] where nothing is near."""
    return next((found for found in _guesses(name) if 0 < len(found) <= _MOST), [])


def _guesses(name: str) -> Iterator[list[str]]:
    leaf = name.rpartition(".")[2]
    yield [row.name for row in keys.ROWS if row.name == leaf]
    for old in (name, leaf):
        yield [row.name for row in keys.ROWS if old in row.was]
    yield [row.name for row in keys.ROWS if row.leaf == leaf]
    words = set(leaf.split("_"))
    yield [row.name for row in keys.ROWS if words <= set(row.leaf.split("_"))]
    spelt: dict[str, str] = {}
    for row in keys.ROWS:
        for spelling in (row.name, row.leaf, *row.was):
            spelt.setdefault(spelling, row.name)
    yield [spelt[near] for near in difflib.get_close_matches(name, spelt, 1, 0.6)]


def hint(name: str) -> str:
    """The end of a line on an unknown key or flag, with what it may stand for; "" for nothing.

    `name`: "optim.peek_lr", "learning_rate" or an argument as it was typed, "--learning_rate=1".
    """
    name = name.lstrip("-").partition("=")[0]
    leaf = name.rpartition(".")[2]
    if leaf in _ELSEWHERE:
        return f"; {_ELSEWHERE[leaf]}"
    flags = [f"--config.{near}" for near in nearest(name)]
    return f"; did you mean {' or '.join(flags)}?" if flags else ""
