"""What parameters are measured at: losses on both halves, drift from the base, and two tasks.

Each measurement is kept by a digest of the parameters and of what was asked, so that a comparison
that was interrupted, or has a recipe more, measures only what is new.
"""

import functools
import hashlib
import os
from collections.abc import Iterable, Mapping

import jax
import numpy as np
from flax import nnx

from data_pipeline.batches import eval_windows, mixture
from data_pipeline.batches.eval_windows import REPORT
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.checkpoint import restore
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses, tasks
from mypt_jax.model import forward, gpt
from mypt_jax.runs import evaluations, lineage

_QUESTIONS = 200  # of each task and source, at most


class Points:
    """Measures parameters of one architecture on fixed windows, on one device.

    `data`: {role: datasets}; `windows`: per role and half. Raises UserError.
    """

    def __init__(self, base: str, data: Mapping[str, Iterable[str]], *, windows: int, cache: str):
        loaded = restore.load_params(base)
        self.base = loaded.params
        device = jax.devices()[0]
        model = gpt.resolve({**loaded.config["model"], "param_dtype": "float32"}, device)
        graphdef = nnx.split(nnx.eval_shape(lambda: gpt.GPT(rngs=nnx.Rngs(0), **model)), nnx.Param)[
            0
        ]
        vocabulary = tokenizers.get(loaded.config["data"]["tokenizer"])
        self._mesh = sharding.make_mesh((1, 1, 1), [device])
        bind = forward.binder(graphdef, mesh=self._mesh, eot=vocabulary.eot)
        self._measure, self._drift = losses.make_measure(bind), losses.make_drift(bind)
        self._token_bytes = vocabulary.token_bytes()
        self._cache = cache
        components = [
            one for role, paths in data.items() for one in mixture.components_of(role, tuple(paths))
        ]
        self._plan = eval_windows.plan_eval(
            components,
            windows_per_role=windows,
            min_per_source=1,
            block_size=model["block_size"],
            version=eval_windows.HALVES,
        )
        self._tasks = {
            f"{name}/{one.role}/{one.source}": task
            for one in components
            for name, make in tasks.TASKS.items()
            if (task := make(one.data, block_size=model["block_size"], most=_QUESTIONS))
        }

    def selected(self, params: Mapping) -> evaluations.Evaluation:
        """Domain and general loss on the half that is chosen on."""
        keys = [k for k in self._plan if not k.startswith(REPORT) and "elsewhere" not in k]
        return self._kept(params, "select", lambda placed: self._losses(placed, keys))

    def reported(self, params: Mapping) -> evaluations.Evaluation:
        """Everything, on the half that nothing is chosen on, under plain names."""

        def measure(placed) -> dict[str, evaluations.Source]:
            keys = [key for key in self._plan if key.startswith(REPORT)]
            found = dict(self._losses(placed, keys))
            drifting = {k: self._plan[k] for k in keys if not k.startswith(f"{REPORT}domain/")}
            base = jax.device_put(self.base)
            found = losses.with_measure(
                found, functools.partial(self._drift, placed, base), drifting, **self._how
            )
            nll = functools.partial(self._nll, placed)
            asked = {key: tasks.score(nll, task) for key, task in self._tasks.items()}
            return {**{k.removeprefix(REPORT): x for k, x in found.items()}, **asked}

        return self._kept(params, "report", measure)

    @property
    def _how(self) -> dict:
        return {"mesh": self._mesh, "batch_size": 32, "between_batches": lambda: None}

    def _losses(self, placed, keys: Iterable[str]) -> dict[str, losses.Score]:
        plan = {key: self._plan[key] for key in keys}
        return losses.score(self._measure, placed, plan, token_bytes=self._token_bytes, **self._how)

    def _nll(self, placed, windows: np.ndarray) -> np.ndarray:
        rows = np.arange(-(-len(windows) // 32) * 32) % len(windows)
        parts = [self._measure(placed, windows[part])["nll"] for part in rows.reshape(-1, 32)]
        return np.concatenate([sharding.to_host(x) for x in parts])[: len(windows)]

    def _kept(self, params: Mapping, what: str, measure) -> evaluations.Evaluation:
        path = os.path.join(self._cache, f"{what}-{self._digest(params)}.npz")
        if os.path.exists(path):
            found = evaluations.read(path)
            if not found.fault:
                return found
        placed = jax.device_put(jax.tree.map(lambda x: np.asarray(x, np.float32), dict(params)))
        os.makedirs(self._cache, exist_ok=True)
        evaluations.write(path, measure(placed))
        return evaluations.read(path)

    def _digest(self, params: Mapping) -> str:
        """Of parameters, windows and questions, 24 hex digits."""
        asked = [one.fingerprint for one in (*self._plan.values(), *self._tasks.values())]
        whole = "\n".join([lineage.params_sha256(params), *asked])
        return hashlib.sha256(whole.encode()).hexdigest()[:24]
