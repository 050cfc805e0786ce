"""What the trials of a sweep came to, as one CSV file that a later start writes again."""

import csv
import io
from collections.abc import Iterable, Mapping

from data_pipeline import atomic
from data_pipeline.errors import UserError
from mypt_jax.runs import comparison, evaluations, layout
from mypt_jax.sweep.trials import Trial

FILE = "trials.csv"
# Losses, learned (of the domain), forgetting (of general text) and drift: nats/token. A trial is
# chosen by what begins with select_, on one half of val; what is said of it is on the other, which
# is kept for the report. Digests: 12 hex digits.
_MEASURED = (
    *("step", "select_domain", "select_general", "select_forgetting"),
    *("domain", "learned", "learned_stderr"),
    *("general", "forgetting", "forgetting_stderr", "drift"),
    *("params", "base", "data", "code"),
)


def of_run(workdir: str) -> dict[str, object]:
    """The measured columns of a finished run, as far as they are known; {} of any other."""
    end = layout.finished(workdir)
    if end is None:
        return {}
    record = layout.record(workdir)
    select = evaluations.read(layout.eval_file(workdir, end["step"]))
    base_select = evaluations.read(layout.baseline_file(workdir))
    own, base = select.reported, base_select.reported
    ancestors = record["ancestors"]
    by_select = _difference("forgetting", comparison.compare(select, base_select, "general"))
    learned = comparison.compare(base, own, "domain")
    forgotten = comparison.compare(own, base, "general")
    found = {
        "step": end["step"],
        "select_domain": select.mean("domain"),
        "select_general": select.mean("general"),
        "select_forgetting": by_select.get("forgetting"),
        "domain": own.mean("domain"),
        **_difference("learned", learned),
        "general": own.mean("general"),
        **_difference("forgetting", forgotten),
        "drift": own.mean("general", "drift"),
        "params": end["params_sha256"][:12],
        "base": ancestors[0]["params_sha256"][:12] if ancestors else "",
        "data": record["data"]["fingerprint"][:12],
        "code": record.get("code", ""),
    }
    return {key: value for key, value in found.items() if value is not None}


def _difference(name: str, found: comparison.Difference | comparison.Refusal) -> dict:
    # A change over a part of the sources does not belong to the loss beside it, over all.
    if isinstance(found, comparison.Refusal) or found.left_out:
        return {}
    return {name: found.nats, f"{name}_stderr": found.stderr}


def write(path: str, trials: Iterable[Trial], ended: Mapping[str, str]) -> None:
    """Writes a row per trial; `ended`: {workdir: how a trial of this start ended otherwise}."""
    trials = list(trials)
    text = io.StringIO()
    columns = ["run", "state", *trials[0].settings, *_MEASURED]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for one in trials:
        try:
            measured = of_run(one.workdir)
            state = "finished" if measured else ended.get(one.workdir, "not finished")
        except UserError as error:  # the others are trained and written all the same
            measured, state = {}, f"damaged: {error}"
        writer.writerow({"run": one.workdir, "state": state, **one.settings, **measured})
    with atomic.replacing(path) as file:
        file.write(text.getvalue().encode())
