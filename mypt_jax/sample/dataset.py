"""Sampled blocks as a token dataset: cut into documents, counted, built."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipeline import errors
from data_pipeline.prepare import budget, encoded, tokenise
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax import continuation
from mypt_jax.checkpoint import restore
from mypt_jax.model import sampling
from mypt_jax.runs import lineage
from mypt_jax.sample import blocks as kept_blocks
from mypt_jax.sample import chats

SOURCE = "samples"
# Blocks without one new document, one after another, after which the model is taken to repeat
# itself: more would not end.
MOST_BARREN = 8


class Model(NamedTuple):
    """A run's model, ready to be sampled from; `identity`: which run, step and parameters."""

    sample: Callable[[int], np.ndarray]  # block's number -> tokens [B, L]
    vocabulary: tokenizers.Tokenizer
    script: sampling.Script
    lead: tuple[int, ...]  # what stands before the tokens of each document
    identity: dict
    note: str  # on the format of its documents, where there is something to tell


class Block(NamedTuple):
    """What became of a block."""

    number: int
    sampled: int  # tokens
    secs: float  # that took, with compilation in the first; 0 where it was sampled before
    tokens: int  # in distinct documents so far, up to what is wanted


def open_model(spec: str, *, seed: int, block_rows: int, chat: bool) -> Model:
    """Loads a run, PATH, PATH@STEP or PATH@best, on the first device; `chat`: in the format of its
    chat template, where it has one that is known. Raises UserError."""
    loaded = restore.load_params(spec)
    generator, vocabulary = continuation.of_loaded(loaded)
    found = chats.of(loaded.path, vocabulary) if chat else ""
    if isinstance(found, str):
        start = vocabulary.eot if vocabulary.document_bos is None else vocabulary.document_bos
        script, lead = sampling.Script(start, vocabulary.eot), ()
    else:
        script, lead = found.script(vocabulary.document_bos)

    def sample(number: int) -> np.ndarray:
        rows_B = number * block_rows + np.arange(block_rows, dtype=np.uint32)
        return generator.block(rows_B, seed=seed, script=script)

    identity = {
        "run": loaded.path,
        "step": loaded.step,
        "run_id": loaded.record["run_id"],
        "params_sha256": lineage.params_sha256(loaded.params),
        "begins_with": script.start,
    }
    if isinstance(found, chats.Chat):
        answers = {"after": [*found.turn], "end": found.end}
        identity |= {"chat": found.name, "answers": answers}
    note = found if isinstance(found, str) else f"questions and answers as {found.name} has them"
    return Model(sample, vocabulary, script, lead, identity, note)


def documents(
    tokens_BL: np.ndarray,
    eot: int,
    *,
    script: sampling.Script,
    lead: Sequence[int] = (),
    bos: int | None = None,
) -> list[np.ndarray]:
    """Documents with EOT at their end, in the order of rows, without the BOS that a model may have
    written before them. Those in which the model never came to its last word, or has none, are
    none."""
    found = []
    for row_L in tokens_BL:
        ended = _ends(row_L.tolist(), eot, script)
        for first, last, said in ended:
            piece = row_L[first:last]
            if bos is not None and piece[0] == bos:
                piece, said = piece[1:], said - 1
            if said < 1:
                continue
            tail = [] if piece[-1] == eot else [eot]
            found.append(np.concatenate([lead, piece, tail]).astype(row_L.dtype))
    return found


def _ends(row: list[int], eot: int, script: sampling.Script) -> list[tuple[int, int, int]]:
    """(first, behind the last token, words of its last turn without what ends it) of the documents
    of a row, as the script went."""
    found, first, place, said = [], 0, 0, 0
    for at, token in enumerate(row):
        speaks = script.tokens[place] == sampling.SPEAKS
        is_last = place == len(script.tokens) - 1
        said += is_last and token not in (script.end, eot)
        place += not speaks or token == script.end
        if place == len(script.tokens) or speaks and token == eot != script.end:
            found.append((first, at + 1, said))
            first, place, said = at + 1, 0, 0
    return [*found, (first, len(row), said)] if said else found


def build(
    model: Model,
    *,
    out_dir: Path,
    settings: budget.Settings,
    block_rows: int,
    on_block: Callable[[Block], None],
) -> dict[str, int]:
    """Writes settings.total_tokens sampled tokens as a dataset; returns those of each split.

    `on_block` is called after each block.
    """
    identity = {
        "params_sha256": model.identity["params_sha256"],
        "tokenizer_sha256": model.vocabulary.sha256,
        "seed": settings.seed,
        "block_rows": block_rows,
    }
    identity |= {key: model.identity[key] for key in ("chat",) if key in model.identity}
    dtype = model.vocabulary.dtype
    with kept_blocks.kept(out_dir, identity, model.sample, dtype) as blocks:
        return encoded.build_encoded(
            _batches(blocks, model, settings.total_tokens or 0, on_block),
            out_dir=out_dir,
            source=SOURCE,
            vocabulary=model.vocabulary,
            settings=settings,
            recorded={"command": "sample", "block_rows": block_rows, **model.identity},
        )


def _batches(
    blocks: kept_blocks.Blocks,
    model: Model,
    wanted: int,
    on_block: Callable[[Block], None],
) -> Iterator[tokenise.Encoded]:
    """Documents of one block after another, until the distinct ones have the tokens wanted."""
    vocabulary = model.vocabulary
    known: set[int] = set()
    number = tokens = barren = 0
    while tokens < wanted:
        start = 0.0 if number in blocks else time.monotonic()
        block_BL = blocks[number]
        secs = time.monotonic() - start if start else 0.0
        pieces = documents(
            block_BL,
            vocabulary.eot,
            script=model.script,
            lead=model.lead,
            bos=vocabulary.document_bos,
        )
        batch = encoded.encoded(SOURCE, pieces, vocabulary)
        before = tokens
        for row in batch.table:
            if int(row["doc"]) not in known:
                known.add(int(row["doc"]))
                tokens += int(row["tokens"])
        barren = 0 if tokens > before else barren + 1
        if barren == MOST_BARREN:
            raise errors.UserError(
                f"after {tokens:,} tokens the model writes nothing new: {MOST_BARREN} blocks of "
                f"{block_BL.size:,} tokens held no other document; ask for fewer --tokens"
            )
        on_block(Block(number, block_BL.size, secs, min(tokens, wanted)))
        number += 1
        if len(batch.table):
            yield batch
