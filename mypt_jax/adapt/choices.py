"""What a stage on someone's own text is to be like: chosen from the corpus, with the reasons."""

import math
from typing import NamedTuple

from data_pipeline.errors import UserError
from mypt_jax.schema import duration

EPOCHS = 2.0  # of the domain; the guide: 2 to 5 is good
_LEAST_UPDATES = 100  # fewer, and the rate has hardly risen before it falls
_LEAST_ROWS = 4
_EVALUATIONS = 8  # over a run: enough to see where it goes, and for a limit to follow
_LITTLE_TOKENS = 100_000
_MANY_EPOCHS = 5.0
_LEAST_WINDOWS = 32  # of val; below, a change of a few per cent is noise


class Corpus(NamedTuple):
    """Tokens by split."""

    train: int
    val: int


class Choices(NamedTuple):
    """What is chosen; `lines` say why, `warnings` what the result will not be able to say."""

    batch_size: int
    num_steps: int
    every_steps: int  # between evaluations
    lines: list[str]
    warnings: list[str]

    def replay_tokens(self, block_size: int, replay_ratio: float) -> int:
        """Tokens of replay that the stage reads."""
        return math.ceil(self.num_steps * self.batch_size * block_size * replay_ratio)


def choose(
    domain: Corpus, *, block_size: int, batch_size: int, replay_ratio: float, epochs: float
) -> Choices:
    """`batch_size`: of the stage file, which is halved until there are updates enough. Raises
    UserError for a length that no run has."""

    def steps(rows: int) -> int:
        found = epochs * domain.train / (1 - replay_ratio) / (rows * block_size)
        if not found < duration.MAX_STEPS:
            raise UserError(f"{epochs:g} epochs would take {found:.3g} updates")
        return max(1, round(found))

    rows = batch_size
    while steps(rows) < _LEAST_UPDATES and rows >= 2 * _LEAST_ROWS:
        rows //= 2
    num_steps = steps(rows)
    lines = [
        f"{epochs:g} epochs of {domain.train:,} domain tokens (2 to 5 is good) and "
        f"{replay_ratio:.0%} replay: {num_steps:,} updates of {rows} x {block_size:,} tokens",
    ]
    if rows < batch_size:
        lines.append(
            f"batches of {rows}, not {batch_size}, for updates enough on so little text; the rate "
            "falls with the root of that"
        )
    every_steps = max(1, num_steps // _EVALUATIONS)
    lines.append(f"evaluation every {every_steps:,} updates: {_EVALUATIONS} times in all")
    return Choices(rows, num_steps, every_steps, lines, _warnings(domain, block_size, epochs))


def _warnings(domain: Corpus, block_size: int, epochs: float) -> list[str]:
    found = []
    if domain.train < _LITTLE_TOKENS:
        found.append(
            f"{domain.train:,} tokens are little: the model learns how this text sounds, hardly "
            f"what it says; {_LITTLE_TOKENS:,} and more are wanted"
        )
    if epochs > _MANY_EPOCHS:
        found.append(f"{epochs:g} epochs: text that is read more than 5 times is learned by heart")
    if domain.val // block_size < _LEAST_WINDOWS:
        found.append(
            f"{domain.val:,} held-out tokens are {domain.val // block_size} windows: too few to "
            "tell small changes"
        )
    return found


def replay_warning(replay: Corpus, wanted: int) -> str:
    """A line where replayed text is read too often; "" where it is not."""
    epochs = wanted / max(1, replay.train)
    if epochs <= _MANY_EPOCHS:
        return ""
    return f"{replay.train:,} tokens of replay are read {epochs:.0f} times: bring more of it"
