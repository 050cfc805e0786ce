"""A child starts as its parent ended: its first evaluation says whether it did."""

from data_pipeline.batches.eval_windows import REPORT
from data_pipeline.errors import UserError
from mypt_jax.runs import comparison, evaluations, layout
from mypt_jax.runs.evaluations import Evaluation
from mypt_jax.train import provenance
from mypt_jax.train.run import Run


def compare(run: Run, own: Evaluation) -> None:
    """At step 0 the model is the parent's, and so must be its losses.

    Raises UserError when a source that both evaluated on the same windows differs: exactly where
    hardware and numerics are the same, beyond eval.parent_tolerance_nats elsewhere.
    """
    parent = run.parent
    assert parent is not None
    if not run.record["ancestors"][-1]["eval"]:
        run.note(f"parent {parent.path} evaluated nothing: this evaluation is its own")
        return
    numerics = run.record["numerics"]
    # Other processes may choose other kernels on a GPU, by what was fastest there.
    repeats = numerics["platform"] != "gpu" or numerics["deterministic"]
    before = provenance.evaluated_by(provenance.recorded_numerics(parent.record))
    same = repeats and before == provenance.evaluated_by(numerics)
    tolerance = 0.0 if same else run.config["eval"]["parent_tolerance_nats"]
    theirs = evaluations.read(layout.eval_file(parent.path, parent.step))
    compared, new = 0, []
    for key in own.sources:
        found = comparison.compare(own, theirs, key)
        if isinstance(found, comparison.Refusal):
            if theirs.sources and key not in theirs.sources:
                new.append(key.removeprefix(REPORT))
            else:
                run.note(f"{key}: not compared with the parent's end: {found.reason}")
            continue
        compared += 1
        if not abs(found.nats) <= tolerance:
            raise UserError(
                f"{key}: step 0 has loss {found.final:.6f}, the parent {parent.path} "
                f"ended with {found.start:.6f}, {abs(found.nats):.1e} apart; tolerance "
                f"{tolerance:g} nats (eval.parent_tolerance_nats): the model is not the one that "
                "the parent saved"
            )
    if new:
        names = ", ".join(dict.fromkeys(new))
        run.note(f"{names}: text that {parent.path} was not measured on, to compare step 0 with")
    if compared:
        run.note(
            f"step 0 equals the parent's end on {compared} sources (tolerance {tolerance:g} nats)"
        )
    elif len(new) < len(own.sources):
        run.note(
            f"warning: nothing says that step 0 is {parent.path}: no source was measured on the "
            "same windows"
        )
