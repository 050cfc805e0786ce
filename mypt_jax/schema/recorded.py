"""The config that a run was started with, from its directory."""

from mypt_jax.runs import layout
from mypt_jax.schema import tree


def config(workdir: str) -> dict:
    """config.json of the run at `workdir`, with tuples; a key that came later has the value that
    the run had before there was one. Raises UserError."""
    return tree.completed(layout.config(workdir))
