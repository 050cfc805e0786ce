"""A child starts as its parent ended: its first evaluation says whether it did."""

from collections.abc import Mapping

from data_pipeline.errors import UserError
from mypt_jax.evaluate import losses
from mypt_jax.runs import evaluations, layout
from mypt_jax.train import provenance
from mypt_jax.train.run import Run


def compare(run: Run, plan: Mapping, row: Mapping, path: str) -> None:
    """At step 0 the model is the parent's, and so must be its losses.

    Raises UserError when a source that both evaluated on the same windows differs: exactly where
    hardware and numerics are the same, beyond eval.parent_tolerance_nats elsewhere.
    """
    parent = run.parent
    theirs = run.record["ancestors"][-1]["eval"]
    if not theirs:
        if run.record["baseline"] is None:
            run.record["baseline"] = {
                "stage": parent.record["stage"],
                "path": parent.path,
                "step": parent.step,
                "eval": layout.losses(row),
            }
        run.note(f"parent {parent.path} evaluated nothing: this evaluation is its own")
        return
    numerics = run.record["numerics"]
    # Other processes may choose other kernels on a GPU, by what was fastest there.
    repeats = numerics["platform"] != "gpu" or numerics["deterministic"]
    same = repeats and provenance.recorded_numerics(parent.record) == numerics
    tolerance = 0.0 if same else run.config["eval"]["parent_tolerance_nats"]
    parent_path = layout.eval_file(parent.path, parent.step)
    if reason := evaluations.fault(parent_path):
        run.note(f"warning: nothing says that step 0 is {parent.path}: {reason}")
        return
    compared = 0
    for key in plan:
        if key not in theirs or losses.paired_difference(path, parent_path, key) is None:
            run.note(f"{key}: new here, or measured on other windows than the parent's")
            continue
        compared += 1
        gap = abs(row[f"eval/{key}/loss"] - theirs[key])
        if not gap <= tolerance:
            raise UserError(
                f"{key}: step 0 has loss {row[f'eval/{key}/loss']:.6f}, the parent {parent.path} "
                f"ended with {theirs[key]:.6f}, {gap:.1e} apart; tolerance {tolerance:g} nats "
                "(eval.parent_tolerance_nats): the model is not the one that the parent saved"
            )
    run.note(
        f"step 0 equals the parent's end on {compared} sources (tolerance {tolerance:g} nats)"
        if compared
        else f"warning: nothing says that step 0 is {parent.path}: no source was measured on "
        "the same windows"
    )
