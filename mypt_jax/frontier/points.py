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
from data_pipeline.tokens import check
from mypt_jax.checkpoint import restore
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses, tasks
from mypt_jax.model import forward, gpt
from mypt_jax.runs import evaluations, lineage, own_tokenizer

_BATCH = 32  # windows of a pass


class Points:
    """Measures parameters of one architecture on fixed windows, on one device.

    `data`: {role: datasets}; `windows`: per role and half; `questions`: of each task and source, at
    most. Raises UserError.
    """

    def __init__(
        self,
        base: str,
        data: Mapping[str, Iterable[str]],
        *,
        windows: int,
        questions: int,
        cache: str,
    ):
        loaded = restore.load_params(base)
        self.base = loaded.params
        device = jax.devices()[0]
        model = gpt.resolve({**loaded.config["model"], "param_dtype": "float32"}, device)
        graphdef = nnx.split(nnx.eval_shape(lambda: gpt.GPT(rngs=nnx.Rngs(0), **model)), nnx.Param)[
            0
        ]
        vocabulary = own_tokenizer.of(loaded.path, loaded.config, loaded.record)
        self._mesh = sharding.make_mesh((1, 1, 1), [device])
        bind = forward.binder(graphdef, mesh=self._mesh, eot=vocabulary.eot)
        self._measure, self._drift = losses.make_measure(bind), losses.make_drift(bind)
        self._token_bytes = vocabulary.token_bytes()
        self._cache = cache
        components = [
            one for role, paths in data.items() for one in mixture.components_of(role, tuple(paths))
        ]
        check.check((one.data, "val") for one in components)
        self._plan = eval_windows.plan_eval(
            components,
            windows_per_role=windows,
            min_per_source=1,
            block_size=model["block_size"],
            version=eval_windows.HALVES,
            bos_at_cuts=loaded.config["data"]["bos_at_cuts"],
        )
        self._tasks = {
            f"{name}/{one.role}/{one.source}": task
            for one in components
            for name, make in tasks.TASKS.items()
            if (task := make(one.data, block_size=model["block_size"], most=questions))
        }

    def selected(self, params: Mapping) -> evaluations.Evaluation:
        """Domain and general loss on the half that is chosen on."""
        plan = {key: self._plan[key] for key in self._plan if _is_chosen_on(key)}
        return self._kept(params, plan, {}, lambda placed: self._losses(placed, plan))

    def reported(self, params: Mapping) -> evaluations.Evaluation:
        """Everything, on the half that nothing is chosen on, under plain names."""
        plan = {key: self._plan[key] for key in self._plan if key.startswith(REPORT)}

        def measure(placed) -> dict[str, evaluations.Source]:
            found = dict(self._losses(placed, plan))
            drifting = {k: one for k, one in plan.items() if not k.startswith(f"{REPORT}domain/")}
            base = jax.device_put(self.base)
            found = losses.with_measure(
                found, functools.partial(self._drift, placed, base), drifting, **self._how
            )
            nll = functools.partial(self._nll, placed)
            asked = {key: tasks.score(nll, task) for key, task in self._tasks.items()}
            return {**{k.removeprefix(REPORT): x for k, x in found.items()}, **asked}

        return self._kept(params, plan, self._tasks, measure)

    @property
    def _how(self) -> dict:
        return {"mesh": self._mesh, "batch_size": _BATCH, "between_batches": lambda: None}

    def _losses(self, placed, plan: Mapping) -> dict[str, losses.Score]:
        return losses.score(self._measure, placed, plan, token_bytes=self._token_bytes, **self._how)

    def _nll(self, placed, windows: np.ndarray) -> np.ndarray:
        rows = np.arange(-(-len(windows) // _BATCH) * _BATCH) % len(windows)
        parts = [self._measure(placed, windows[part])["nll"] for part in rows.reshape(-1, _BATCH)]
        return np.concatenate([sharding.to_host(x) for x in parts])[: len(windows)]

    def _kept(self, params: Mapping, plan: Mapping, asked: Mapping, measure):
        """What was measured of these parameters with these windows and questions, once for all."""
        digest = hashlib.sha256(lineage.params_sha256(params).encode())
        for one in (*plan.values(), *asked.values()):
            digest.update(one.fingerprint.encode())
        path = os.path.join(self._cache, f"{digest.hexdigest()[:24]}.npz")
        if os.path.exists(path):
            found = evaluations.read(path)
            if not found.fault:
                return found
        # In fp32 whatever a recipe was trained in: what is compared is what was learned.
        placed = jax.device_put(jax.tree.map(lambda x: np.asarray(x, np.float32), dict(params)))
        os.makedirs(self._cache, exist_ok=True)
        evaluations.write(path, measure(placed))
        return evaluations.read(path)


def _is_chosen_on(key: str) -> bool:
    """Of the losses by which a rate and a place on the line are chosen."""
    return evaluations.role_of(key) in ("domain", "general")
