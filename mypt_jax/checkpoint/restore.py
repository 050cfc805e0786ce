"""Checkpoints as they are read: verified by their manifest, matched with what is wanted.

A step is a directory `checkpoints/<step>/` with the items `params` and `rest` (optimizer state and
counters), `meta.json`, and `manifest.json`, written last: without it the step does not exist. Every
process reads alone, the parts of its own devices. Writing: save.py.
"""

import contextlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from data_pipeline.errors import UserError
from mypt_jax import exits
from mypt_jax.runs import integrity, kinds, layout, lineage
from mypt_jax.schema import recorded
from mypt_jax.storage import fetch

META = layout.META


class Loaded(NamedTuple):
    """Parameters of a run on the host, with what the run says of itself."""

    params: dict
    config: dict
    record: dict  # lineage
    meta: dict
    path: str
    step: int


def tree_table(tree: Any) -> dict[str, list]:
    """{leaf name: [shape, dtype]}, to compare trees by before arrays are read."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = jax.tree_util.keystr
    return {
        name(path, simple=True, separator="/"): [list(x.shape), str(x.dtype)] for path, x in leaves
    }


def check_tree(wanted: Mapping, stored: Mapping, *, where: str, allow_cast: bool = False) -> None:
    """Raises UserError that names the first leaf which is missing, extra, or of another shape.

    Or of another dtype, unless `allow_cast`: Orbax would cast without a word.
    """
    for name in sorted({*wanted, *stored}):
        if name not in stored:
            raise UserError(f"{where}: {name} is missing; the config wants {wanted[name]}")
        if name not in wanted:
            raise UserError(f"{where}: {name} {stored[name]} is not in the configured model")
        (shape, dtype), (stored_shape, stored_dtype) = wanted[name], stored[name]
        if shape != stored_shape or (dtype != stored_dtype and not allow_cast):
            raise UserError(
                f"{where}: {name} is {stored_dtype} {stored_shape}, the config wants {dtype} "
                f"{shape}"
            )


def alone() -> dict:
    """Orbax's options for a process that works by itself, whatever others there are."""
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process_{here}"
    )
    return {"multiprocessing_options": alone}


def together() -> dict:
    """Orbax's options for all processes, which write one step, each the shards that it holds."""
    options = ocp.options.MultiprocessingOptions(
        primary_host=0,
        active_processes={*range(jax.process_count())},
        barrier_sync_key_prefix="all_processes",
    )
    return {"multiprocessing_options": options}


def read_meta(directory: str) -> dict:
    return lineage.read_json(os.path.join(directory, META), what="checkpoint", wanted=kinds.META)


def restore_params(
    path: str, step: int, abstract_params: Mapping | None, *, allow_cast: bool = False
) -> dict:
    """Parameters of a verified step: placed as `abstract_params` says, or on the host as NumPy.

    Raises NoValidState when the step fails its manifest, UserError when shapes or dtypes differ.
    """
    with _reading(path, step) as directory:
        table, where = read_meta(directory)["tree"]["params"], f"{path}@{step}"
        if not table:
            raise UserError(
                f"{where} holds adapters alone, as every step of such a stage but its last: take "
                "the finished run"
            )
        if abstract_params is None:
            return _restore_host(directory, "params")
        check_tree(tree_table(abstract_params), table, where=where, allow_cast=allow_cast)
        with ocp.StandardCheckpointer(**alone()) as checkpointer:
            return checkpointer.restore(os.path.join(directory, "params"), abstract_params)


def restore_moments(path: str, step: int, abstract_state: Mapping) -> Any:
    """The optimizer's state of a verified step of another run, placed as `abstract_state` says.

    Raises NoValidState when the step fails its manifest, UserError when it is another optimizer's.
    """
    with _reading(path, step) as directory:
        table = read_meta(directory)["tree"]["rest"]
        wide = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, np.float32, sharding=x.sharding),
            abstract_state["params"],
        )
        # What else was saved beside it is read with it, and left.
        known = {"average": wide, **abstract_state}
        wanted = {name: known[name] for name in {key.partition("/")[0] for key in table}}
        check_tree(tree_table(wanted), table, where=f"{path}@{step}, its optimizer")
        with ocp.StandardCheckpointer(**alone()) as checkpointer:
            return checkpointer.restore(os.path.join(directory, "rest"), wanted)["opt_state"]


def restore_rest(path: str, step: int) -> dict:
    """Optimizer state and counters of a verified step, on the host as NumPy."""
    with _reading(path, step) as directory:
        return _restore_host(directory, "rest")


@contextlib.contextmanager
def _reading(path: str, step: int):
    """Yields the directory of a verified step. Raises NoValidState, also when the run that it
    belongs to removes the step meanwhile."""
    directory = os.path.abspath(layout.step_dir(path, step))
    reason = integrity.fault(directory)
    if reason:
        raise exits.NoValidState(f"{path}: checkpoint of step {step} is invalid: {reason}")
    try:
        yield directory
    except (OSError, ValueError, KeyError) as error:
        if integrity.is_committed(directory):
            raise
        raise exits.NoValidState(
            f"{path}: checkpoint of step {step} was removed while it was read"
        ) from error


def _restore_host(directory: str, item: str) -> dict:
    path = epath.Path(directory) / item
    handler = ocp.PyTreeCheckpointHandler(**alone())
    try:
        # Arrays as they were saved, whatever devices they lay on.
        args = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(path).tree
        )
        return handler.restore(path, args=ocp.args.PyTreeRestore(restore_args=args))
    finally:
        handler.close()


def load_params(spec: str) -> Loaded:
    """Parameters of the run that `spec` names (PATH, PATH@STEP or PATH@best), on the host.

    A run at gs:// or s3:// is fetched first.
    """
    path, step = layout.resolve_step(fetch.fetch_run(spec))
    params = restore_params(path, step, None)
    meta = read_meta(layout.step_dir(path, step))
    record = layout.located(path, meta["lineage"])
    return Loaded(params, recorded.config(path), record, meta, path, step)
