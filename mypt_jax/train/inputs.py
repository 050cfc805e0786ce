"""What a run reads: its batches, evaluation windows, and the models that stand beside its own."""

import contextlib
import hashlib
from collections.abc import Mapping

from data_pipeline.batches import eval_windows, window_order
from data_pipeline.batches import loader as loaders
from mypt_jax.checkpoint import restore
from mypt_jax.distributed import sharding
from mypt_jax.monitor import data_check
from mypt_jax.runs import drawn as drawn_windows
from mypt_jax.runs import integrity, layout, lineage
from mypt_jax.schema.validation import Parent, Teacher, Validated
from mypt_jax.train import step


def open_loader(
    validated: Validated,
    program: step.Program,
    record: Mapping | None = None,
    version: int = window_order.VERSION,
) -> loaders.TrainLoader:
    """The batches of a run: of one that goes on as its `record` has them, in an order of its
    `version`."""
    config = validated.config
    drawn = record.get("drawn", {}) if record else validated.drawn
    return loaders.TrainLoader(
        validated.mixture,
        block_size=config["model"]["block_size"],
        batch_size=config["batch_size"],
        seed=config["seed"],
        past={part.key: drawn_windows.past(drawn, part) for part in validated.mixture.components},
        version=version,
        bos_at_cuts=config["data"]["bos_at_cuts"],
        rows=sharding.local_rows(program.mesh, config["batch_size"]),
        first_step=lineage.changed(record)["step"] if record else 0,
    )


def plan_evaluation(validated: Validated) -> dict[str, eval_windows.EvalWindows]:
    config = validated.config
    return eval_windows.plan_eval(
        [*validated.mixture.components, *validated.elsewhere],
        validated.extra,
        windows_per_role=config["eval"]["windows"],
        min_per_source=config["eval"]["min_windows"],
        block_size=config["model"]["block_size"],
        version=validated.eval_plan,
        bos_at_cuts=config["data"]["bos_at_cuts"],
    )


def notes_of(plan: Mapping) -> list[str]:
    return [f"evaluation of {key}: {source.note}" for key, source in plan.items() if source.note]


def digests(loader: loaders.TrainLoader, plan: Mapping, parent: Parent | None) -> dict[str, str]:
    """What this process reads: training data, evaluation windows, the parent's step."""
    evaluation = hashlib.sha256()
    for key, windows in sorted(plan.items()):
        # The shape as well: bytes alone do not say where one window ends.
        evaluation.update(f"{key} {windows.tokens.shape}\n".encode())
        evaluation.update(windows.tokens.tobytes())
        evaluation.update(windows.doc_WL.tobytes())
    found = {
        "training data": loader.fingerprint[:12],
        "evaluation windows": evaluation.hexdigest()[:12],
    }
    if parent is not None:
        directory = layout.step_dir(parent.path, parent.step)
        found[f"{parent.path}@{parent.step}"] = integrity.digest(directory, "params")
    return found


def check_data(validated: Validated, stack: contextlib.ExitStack) -> data_check.DataCheck:
    """Begins to read what the manifests vouch for."""
    components = [*validated.mixture.components, *validated.elsewhere, *validated.extra]
    splits = [(one.data, "val") for one in components]
    # Text that is only evaluated may be a large dataset's, whose train split nobody reads here.
    splits += [(one.data, "train") for one in components if one.share]
    limit = validated.config["distributed"]["save_timeout_secs"]
    found = data_check.DataCheck(splits, timeout_secs=limit)
    stack.callback(found.close)
    found.start()
    return found


def load_frozen(program: step.Program, frozen: Teacher | None) -> dict:
    """What adapters are added to, {} where all parameters are trained. Raises as load_teacher."""
    if frozen is None:
        return {}
    return restore.restore_params(
        frozen.path, frozen.step, program.abstract_frozen, allow_cast=True
    )


def load_teacher(program: step.Program, validated: Validated, frozen: dict) -> dict:
    """Parameters of a verified step, placed like the student's, in the dtype of the products; {}
    where the objective has no teacher. What adapters are added to is not held twice.

    Raises NoValidState when the step fails its manifest, UserError when its shapes differ.
    """
    teacher = validated.teacher
    if teacher is None:
        return {}
    if teacher == validated.frozen:
        return frozen
    return restore.restore_params(
        teacher.path, teacher.step, program.abstract_teacher, allow_cast=True
    )
