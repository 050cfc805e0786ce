"""Formats of conversations, in which a model that was taught one says what it would answer.

A model that is given the beginning of a user's turn writes the question as well (Xu et al. 2024,
"Magpie", arXiv:2406.08464). Templates are programs; none is run here: a format is known by the
control tokens that the template writes.
"""

from typing import NamedTuple

from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.model import sampling
from mypt_jax.runs import own_tokenizer


class Format(NamedTuple):
    """What stands before the user's turn, between it and the answer, and what ends either."""

    user: str
    assistant: str
    end: str


FORMATS = {
    "chatml": Format("<|im_start|>user\n", "\n<|im_start|>assistant\n", "<|im_end|>"),
    "llama-3": Format(
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "gemma": Format("<start_of_turn>user\n", "\n<start_of_turn>model\n", "<end_of_turn>"),
}


class Chat(NamedTuple):
    """A format in the ids of a tokenizer."""

    name: str
    opening: tuple[int, ...]
    turn: tuple[int, ...]
    end: int

    def script(self, bos: int | None) -> tuple[sampling.Script, tuple[int, ...]]:
        """(how an exchange of one question and one answer goes, what stands before its tokens)."""
        speaks = sampling.SPEAKS
        rest = (speaks, *self.turn, speaks)
        if bos is not None:
            return sampling.Script(bos, self.end, (*self.opening, *rest)), ()
        first, *opening = self.opening  # which the model reads first, and nothing before it
        return sampling.Script(first, self.end, (*opening, *rest)), (first,)


def of(run: str, vocabulary: tokenizers.Tokenizer) -> Chat | str:
    """The format of a run's chat template; "" where it has none, or why it is not known."""
    template = own_tokenizer.chat_template(run)
    if not template:
        return ""

    def ids(text: str) -> list[int]:
        found = vocabulary.encode_prompt(text).tolist()
        return found[1:] if found[:1] == [vocabulary.document_bos] else found

    for name, one in FORMATS.items():
        marks = {one.user.partition("user")[0], one.end}
        if all(mark in template and len(ids(mark)) == 1 for mark in marks):
            return Chat(name, tuple(ids(one.user)), tuple(ids(one.assistant)), ids(one.end)[0])
    return f"its chat template is of none of the formats {', '.join(FORMATS)}: as it writes unasked"
