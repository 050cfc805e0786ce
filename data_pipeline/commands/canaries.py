"""Texts that stand nowhere else, planted to find out what a model learns by heart.

Whoever says one after its beginning has it from training (Carlini et al. 2019, "The secret
sharer"). They are split as all documents: those of val are never trained on, and say what is
guessed.
"""

import random
import string
from collections.abc import Iterator

from data_pipeline import document

SOURCE = "canaries"
_WORDS, _LETTERS = 80, 6  # more than twice the 50 tokens that mypt evaluate --recite asks for


def documents(count: int, *, seed: int) -> Iterator[document.Document]:
    """`count` documents of random words, a function of the seed."""
    for number in range(count):
        rng = random.Random(f"{SOURCE}/{seed}/{number}")
        words = ("".join(rng.choices(string.ascii_lowercase, k=_LETTERS)) for _ in range(_WORDS))
        yield document.Document(
            id=f"{SOURCE}-{number}", text=" ".join(words) + "\n", source=SOURCE, licence="CC0-1.0"
        )
