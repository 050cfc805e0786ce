"""What a merged model is evaluated on, and by which program: as its parents were."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from data_pipeline.batches import eval_windows, mixture
from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.evaluate import losses
from mypt_jax.merge.parents import Parent
from mypt_jax.runs import evaluations, layout, own_tokenizer
from mypt_jax.schema import stage_data
from mypt_jax.train import step


class Evaluator(NamedTuple):
    """Compiled programs with the windows of the parents' evaluations, select and report halves."""

    program: step.Program
    config: dict  # the parents', with the data and mesh that are evaluated on
    plan: dict[str, eval_windows.EvalWindows]
    eval_plan: int  # version of eval_windows
    token_bytes: np.ndarray
    evaluated: list[shards.Source]  # of whose val the windows are
    notes: list[str]

    def place(self, params: Mapping) -> dict:
        """Host arrays on the mesh."""
        abstract = self.program.abstract_params
        return jax.tree.map(lambda x, to: jax.device_put(x, to.sharding), params, abstract)

    def score(self, params: Mapping) -> dict[str, losses.Score]:
        """What every source is measured at with parameters on the host."""
        return losses.score(
            self.program.measure,
            self.place(params),
            self.plan,
            mesh=self.program.mesh,
            batch_size=losses.eval_batch_size(self.config),
            token_bytes=self.token_bytes,
        )


def open_evaluator(parents: Sequence[Parent]) -> Evaluator:
    """Opens the data that the parents were evaluated on. Raises UserError where it is gone, or
    where one trained on what another was evaluated on."""
    measured = [one for one in parents if _is_measured(one)]
    config = _config(measured or parents)
    plan: dict[str, eval_windows.EvalWindows] = {}
    notes, components = [], {}
    for parent in measured:
        mixed, elsewhere, extra = stage_data.open_data(parent.config)
        for one in (*mixed.components, *elsewhere, *extra):
            components.setdefault((one.key, one.train_fingerprint, bool(one.share)), one)
        found = eval_windows.plan_eval(
            [*mixed.components, *elsewhere],
            extra,
            windows_per_role=parent.config["eval"]["windows"],
            min_per_source=parent.config["eval"]["min_windows"],
            block_size=parent.config["model"]["block_size"],
            version=_version(parent),
            bos_at_cuts=parent.config["data"]["bos_at_cuts"],
        )
        for key, windows in found.items():
            if plan.setdefault(key, windows).fingerprint != windows.fingerprint:
                notes.append(f"{parent.path} was evaluated on other windows of {key}")
    mixture.check_overlap(list(components.values()))
    if not measured:
        notes.append("none of these runs was evaluated: the merged run is not either")
    tokenizer = tokenizers.get(config["data"]["tokenizer"])
    program, config, note = _build(config, tokenizer.eot)
    return Evaluator(
        program,
        config,
        plan,
        _version((measured or parents)[0]),
        tokenizer.token_bytes(),
        [one.data for one in components.values()],
        [*notes, *program.notes, *note],
    )


def _is_measured(parent: Parent) -> bool:
    """Whether a run was evaluated, also where its file of that is gone or damaged."""
    return bool(parent.own["eval"]) or bool(
        evaluations.read(layout.eval_file(parent.path, parent.step)).sources
    )


def _version(parent: Parent) -> int:
    return parent.record.get("eval_plan", eval_windows.WHOLE)


def _config(parents: Sequence[Parent]) -> dict:
    """The first one's, with the evaluated data of all."""
    first = parents[0].config
    data, evaluation = dict(first["data"]), dict(first["eval"])
    data["tokenizer"] = own_tokenizer.name_of(parents[0].path, first)
    for group, key in ((data, "domain"), (data, "general"), (data, "elsewhere")):
        group[key] = _union(one.config["data"][key] for one in parents)
    evaluation["extra"] = _union(one.config["eval"]["extra"] for one in parents)
    for key in mixture.ROLES:
        if data[key] != tuple(first["data"][key]):
            data[f"{key}_weights"] = ()  # which there is one of for each entry
    adapter = {**first["adapter"], "rank": 0}  # nothing is trained
    return {**first, "adapter": adapter, "data": data, "eval": evaluation}


def _union(entries) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for of_run in entries for one in of_run))


def _build(config: dict, eot: int) -> tuple[step.Program, dict, list[str]]:
    """The program on the parents' mesh, or on this machine's own where that does not fit it."""
    step.set_up_jax(deterministic=config["deterministic"], compile_cache=config["compile_cache"])
    try:
        return step.build(config, eot=eot), config, []
    except UserError as error:
        own = {**config, "mesh": {"data": 0, "fsdp": 1, "tensor": 1}}
        return step.build(own, eot=eot), own, [f"not on the mesh of the runs: {error}"]
