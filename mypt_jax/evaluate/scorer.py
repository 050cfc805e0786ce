"""A run's model as a scorer of text: token losses of any dataset or text, outside training.

Axes: W windows, L length.
"""

import functools
import os

import jax
import numpy as np
from flax import nnx

from data_pipeline.batches import eval_windows
from data_pipeline.errors import UserError
from data_pipeline.tokens import check, shards
from mypt_jax.checkpoint import restore
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses, tasks
from mypt_jax.model import attention, forward
from mypt_jax.model import gpt as model
from mypt_jax.runs import evaluations, own_tokenizer


class Scorer:
    """Parameters, tokenizer and compiled forward pass of one run at one step, on one device."""

    def __init__(self, spec: str, *, batch_size: int):
        """`spec`: PATH, PATH@STEP or PATH@best. Raises UserError and NoValidState."""
        loaded = restore.load_params(spec)
        self.path, self.step, self.config = loaded.path, loaded.step, loaded.config
        self.batch_size = batch_size
        self.notes: list[str] = []  # lines for the user on what was scored
        self.tokenizer = own_tokenizer.of(self.path, self.config, loaded.record)
        devices = jax.devices()[:1]
        resolved = model.resolve(self.config["model"], devices[0])
        gpt = nnx.eval_shape(lambda: model.GPT(rngs=nnx.Rngs(0), **resolved))
        self.block_size = resolved["block_size"]
        self.mesh = sharding.make_mesh((1, 1, 1), devices)
        self._params = jax.device_put(loaded.params, devices[0])
        graphdef = nnx.split(gpt, nnx.Param)[0]
        self._greedy = jax.jit(functools.partial(_greedy, graphdef, resolved, self.tokenizer.eot))
        self._measure = losses.make_measure(
            forward.binder(graphdef, mesh=self.mesh, eot=self.tokenizer.eot)
        )

    @functools.cached_property
    def _token_bytes(self) -> np.ndarray:
        return self.tokenizer.token_bytes()

    def _open(self, data: str) -> shards.Dataset:
        dataset = shards.open_dataset(data)
        if dataset.tokenizer_sha256 != self.tokenizer.sha256:
            raise UserError(
                f"dataset {data} was made with tokenizer {dataset.tokenizer}, the run "
                f"{self.path} has {self.tokenizer.name}; prepare it again or give the text itself"
            )
        dataset.check_ids(self.tokenizer)
        if dataset.bos != self.tokenizer.document_bos:
            has = "without" if dataset.bos is None else "with"
            self.notes.append(
                f"warning: the documents of {data} begin {has} BOS, which those of {self.path} did "
                "otherwise"
            )
        check.check((source, "val") for source in dataset.sources.values())
        return dataset

    def score_data(self, data: str, *, windows: int) -> dict[str, losses.Score]:
        """Scores the val splits of a token dataset, by source, or a text file, whole.

        `windows`: per source at most so many, evenly spread; 0 = all. Raises UserError.
        """
        if not os.path.exists(data):
            raise UserError(f"{data} does not exist; wanted a token dataset or a text file")
        if not os.path.isdir(data):
            return {os.path.basename(data): self.score_text(_read_text(data))}
        dataset = self._open(data)
        plan = {
            name: eval_windows.eval_windows(
                source,
                block_size=self.block_size,
                num_windows=windows or max(1, source.tokens["val"] // self.block_size),
                answers=dataset.answers,
            )
            for name, source in dataset.sources.items()
        }
        if self.config["data"]["bos_at_cuts"]:
            plan = {name: found.begun(dataset) for name, found in plan.items()}
        return losses.score(
            self._measure,
            self._params,
            plan,
            mesh=self.mesh,
            batch_size=self.batch_size,
            token_bytes=self._token_bytes,
        )

    def score_tasks(self, data: str, *, most: int) -> dict[str, dict[str, evaluations.Source]]:
        """{source: {"choice": .., "recall": ..}} of a token dataset, from the half of val that is
        kept for the report, at most so many questions of each. Raises UserError."""
        if not os.path.isdir(data):
            raise UserError(f"{data}: tasks are made from a token dataset, see mypt prepare")
        found: dict[str, dict[str, evaluations.Source]] = {}
        for name, source in self._open(data).sources.items():
            made = {
                key: make(source, block_size=self.block_size, most=most)
                for key, make in tasks.TASKS.items()
            }
            found[name] = {k: tasks.score(self.nll, one) for k, one in made.items() if one}
        return found

    def score_text(self, text: str) -> losses.Score:
        """Scores every token of a text, in windows one after another; it follows the BOS that
        documents begin with, else an EOT."""
        ids, bos = self.tokenizer.encode(text), self.tokenizer.document_bos
        nll = self.nll_of(np.concatenate([[self.tokenizer.eot if bos is None else bos], ids]))
        return losses.score_of(
            {"nll": nll[None]}, np.zeros((1, len(nll)), np.int64), self._token_bytes[ids][None]
        )

    def nll_of(self, ids: np.ndarray) -> np.ndarray:
        """nats of ids[1:], float64, each predicted once, in windows of block_size.

        The last window reaches back, so that its tokens see a whole context (as the rolling
        likelihood of lm-evaluation-harness does). Raises UserError when there is nothing to score.
        """
        count, size = len(ids) - 1, self.block_size
        if count < 1:
            raise UserError("the text is empty; wanted at least one token")
        ids = np.concatenate([ids, np.zeros(max(0, size - count), np.int64)]).astype(np.int32)
        ends = [*range(size, count, size), max(count, size)]
        windows = np.stack([ids[end - size : end + 1] for end in ends])
        nll = self.nll(windows).astype(np.float64)
        new = count - size * (len(ends) - 1)  # of the last window
        last = nll[-1, :new] if len(ends) == 1 else nll[-1, size - new :]
        return np.concatenate([nll[:-1].reshape(-1), last])

    def nll(self, windows: np.ndarray) -> np.ndarray:
        """nats of every target of int32[W, L + 1], fp32[W, L]."""
        rows = np.arange(-(-len(windows) // self.batch_size) * self.batch_size) % len(windows)
        parts = rows.reshape(-1, self.batch_size)
        measured = [self._measure(self._params, windows[part]) for part in parts]
        found = [sharding.to_host(one["nll"]) for one in measured]
        return np.concatenate(found)[: len(windows)]

    def is_greedy(self, windows: np.ndarray) -> np.ndarray:
        """Whether each target of int32[W, L + 1] is the likeliest token there, bool[W, L]."""
        found = [sharding.to_host(self._greedy(self._params, row[None])) for row in windows]
        return np.concatenate(found)


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None


def _greedy(graphdef, resolved, eot, params, windows):
    """bool[B, L] of windows [B, L + 1]; one row at a time, since it makes logits [B, L, V]."""
    gpt = nnx.merge(graphdef, nnx.State(params))
    inputs_BL, targets_BL = windows[:, :-1], windows[:, 1:]
    segments = attention.segments_from_eot(inputs_BL, eot) if resolved["document_mask"] else None
    return gpt.logits(gpt(inputs_BL, segments_BL=segments)).argmax(-1) == targets_BL
