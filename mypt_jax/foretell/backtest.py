"""Final losses of finished runs as they would have been foretold, beside what they came to."""

from collections.abc import Iterable, Iterator

import numpy as np

from data_pipeline.errors import UserError
from mypt_jax.foretell import law, lineage
from mypt_jax.runs import layout
from mypt_jax.runs import lineage as data_lineage
from mypt_jax.schema import duration, recorded, stage_data

SEEN = (0.0, 0.25, 0.5, 0.75)  # shares of a run's steps


def lines(paths: Iterable[str]) -> Iterator[str]:
    """A line for each loss that is foretold of each run, and how well that went over all."""
    yield f"{'run':32} {'seen':>5}  {'role':8} {'foretold':>24} {'was':>7} {'error':>7}"
    errors: dict[tuple[float, str], list[tuple[float, bool | None]]] = {}
    for path in paths:
        try:
            for seen, role, told, was in _of_run(path):
                inside = told.low <= was <= told.high if np.isfinite(told.low) else None
                errors.setdefault((seen, role), []).append((told.loss - was, inside))
                shown = f"{told!s:>24} {was:7.3f} {told.loss - was:+7.3f}"
                yield f"{path:32} {seen:5.0%}  {role:8} {shown}"
        except UserError as error:
            yield f"{path:32} -      {error}"
    for (seen, role), found in sorted(errors.items()):
        inside = [one for _, one in found if one is not None]
        mean = np.mean([abs(error) for error, _ in found])
        yield (
            f"{seen:.0%} seen, {role}: mean error {mean:.3f} of {len(found)}; in the interval "
            f"{sum(inside)} of {len(inside)}"
        )


def _of_run(path: str) -> Iterator[tuple[float, str, law.Foretold, float]]:
    """(share of the steps seen, role, foretold, what it was). Raises UserError."""
    config, record, end = recorded.config(path), layout.record(path), layout.finished(path)
    if record.get("merged_from"):
        raise UserError("it is a sum of runs, and was not trained")
    if end is None or "rolled_back_from" in end:
        raise UserError("its guard rolled it back: its last step is not what it came to")
    row = next((row for row in layout.metrics(path) if row["step"] == end["step"]), {})
    last = end.get("eval") or layout.losses(row)
    if not last.keys() >= {*lineage.ROLES}:
        raise UserError("it was not evaluated on domain and general at its end, or that is damaged")
    above = lineage.above(record["ancestors"])
    mixture = stage_data.open_data(config)[0]
    since = data_lineage.changed(record)["step"]
    epochs = duration.domain_epochs(config, mixture, record.get("drawn", {}), since=since)
    told, why = 0, ""
    for seen in SEEN:
        own = lineage.read(path, until=seen * config["num_steps"])
        try:
            found = law.foretell([*above, own], epochs=epochs)
        except UserError as error:
            why = str(error)
            continue
        for role, one in found.items():
            told += 1
            yield seen, role, one, last[role]
    if not told:
        raise UserError(why)
