"""What is foretold of a run at work, at each of its evaluations."""

from collections.abc import Mapping

from data_pipeline.errors import UserError
from mypt_jax.foretell import law, lineage


def entries(config: Mapping, ancestors: list[Mapping], row: Mapping, *, epochs: float) -> dict:
    """{"foretold/domain/loss": nats/token, ..}: entries of the row of an evaluation; {} where
    nothing can be told, or no more is to come. `epochs`: see law.foretell."""
    if not ancestors or not 0 < row["step"] < config["num_steps"]:
        return {}
    try:
        stages = [*lineage.above(ancestors), lineage.under_way(config, row)]
        found = law.foretell(stages, epochs=epochs)
    except UserError:  # nothing that the user asked for; `mypt foretell` says why
        return {}
    return {
        f"foretold/{role}/{name}": value
        for role, one in found.items()
        for name, value in one._asdict().items()
        if value == value
    }
