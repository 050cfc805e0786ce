"""What an unknown key or flag was probably meant to be: an old name, another group, a slip."""

import difflib
from collections.abc import Iterator

from mypt_jax.schema import keys

_ORDER = "windows come in one shuffled order over a lineage, by --config.seed"
_PROMPTS = "mypt generate continues prompts with a run's model"
_FREEZE = "--config.adapter.rank trains additions to matrices and nothing else"
# Flags and keys of the original that no key stands for.
ELSEWHERE = {
    "config_file": "a stage file is given as --config=configs/STAGE.py",
    "device": "JAX chooses it; JAX_PLATFORMS=cpu in the environment keeps to the CPU",
    "input_file": "mypt prepare makes a token dataset of text, for --config.data.domain=DIR",
    "eval_seed": "evaluation windows are a fixed list, the same for every stage",
    "eval_prompts_file": _PROMPTS,
    "eval_max_new_tokens": _PROMPTS,
    "use_loss_mask": "every token of a window is learned",
    "pad_token_id": "windows are full, so that nothing is padded",
    "freeze_layers": _FREEZE,
    "freeze_embeddings": _FREEZE,
    "curriculum": "each of its phases is a stage file of its own, with init_from the one before",
    "batch_sampling_mode": _ORDER,
    "episode_min_tokens": _ORDER,
    "epoch_seed": _ORDER,
    "epoch_shuffle": _ORDER,
    "epoch_drop_last": _ORDER,
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
    if leaf in ELSEWHERE:
        return f"; {ELSEWHERE[leaf]}"
    flags = [f"--config.{near}" for near in nearest(name)]
    return f"; did you mean {' or '.join(flags)}?" if flags else ""
