"""Writes the checkpoints of one run, and says where a start goes on.

Orbax writes the arrays; a step counts when its manifest stands beside them. Where several
processes see the directory, each writes the shards that it holds and hashes what it wrote, and
process 0 joins the digests into the manifest. Where they do not, process 0 gathers one array after
another.
"""

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from mypt_jax import exits
from mypt_jax.checkpoint import restore, retention
from mypt_jax.distributed import coordination, sharding
from mypt_jax.model import state as states
from mypt_jax.runs import integrity, layout, lineage, own_tokenizer


@jax.jit
def _is_finite(params: Mapping) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(params)]).all()


_OF_SYSTEM = re.compile(r"([^:]+) \[os_error_code=")  # what Orbax quotes of the system


def _why(error: BaseException) -> str:
    """No space left on device: without the eight files of Orbax that it was said of."""
    quoted = _OF_SYSTEM.search(str(error))
    return quoted[1].strip() if quoted else f"{type(error).__name__}: {error}"


def _written_by(process: int) -> str:
    """The directory in which Orbax puts the shards that a process holds, below each item."""
    return f"ocdbt.process_{process}"


class Checkpointer:
    """Saves in the background, verifies, restores and retains the steps of one run.

    Saving: arrays are copied, written by Orbax, then a thread adds meta.json and the manifest and
    removes steps that are no longer wanted. A failure there is raised by the next `poll`.
    """

    def __init__(
        self,
        workdir: str,
        *,
        keep: Callable[[list[int]], set[int]],
        timeout_secs: float = 0.0,
        is_common: bool = False,
        check_owner: Callable[[], None] = lambda: None,
        on_commit: Callable[[], None] = lambda: None,
    ):
        """`keep` says which of the committed steps stay; processes wait `timeout_secs` for each
        other; `is_common` says that all of them see the directory (hosts.share); `check_owner`
        raises when this process is no longer the one that may write here; `on_commit` is called
        when a step is complete."""
        self.workdir = workdir
        self._keep = keep
        self._timeout_secs = timeout_secs
        self._check_owner = check_owner
        self._on_commit = on_commit
        self._saves: list[tuple[float, float]] = []  # seconds training was held, in the background
        self._blocked_secs = 0.0
        self._saved_bytes = 0
        self._together = is_common and jax.process_count() > 1
        how = restore.together() if self._together else restore.alone()
        handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(**how))
        limit = math.ceil(timeout_secs) or None
        self._orbax = ocp.AsyncCheckpointer(handler, timeout_secs=limit, **how)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._is_writer = jax.process_index() == 0
        self._number = 0  # of the save, the same on all processes

    def save(self, step: int, state: Mapping, meta: Mapping) -> None:
        """Starts to save {"params": .., and the rest}; returns when the arrays are copied.

        A stage that trains adapters has no params but at its end: its other steps are these alone.
        """
        start = time.monotonic()
        self.wait()
        if not _is_finite(state[states.trained(state)]):
            raise exits.Divergence(
                f"step {step}: parameters that are not finite are not saved; the newest checkpoint "
                "is an earlier one; a lower optim.peak_lr is the usual remedy"
            )
        self._number += 1
        if jax.process_count() > 1:
            # Process 0 comes here when the save before is on the disk and in the bucket.
            coordination.barrier("come to a save", timeout_secs=self._timeout_secs)
        if jax.process_count() > 1 and not self._together:
            # Whole arrays, in the memory of process 0; None on the others.
            state = jax.tree.map(sharding.to_first, state)
            if not self._is_writer:
                return
        rest = {key: value for key, value in state.items() if key != "params"}
        path = os.path.abspath(layout.step_dir(self.workdir, step))
        meta = {
            **meta,
            "step": step,
            "tree": {
                "params": restore.tree_table(state.get("params", {})),
                "rest": restore.tree_table(rest),
            },
        }
        parts = {"rest": rest, **({"params": state["params"]} if "params" in state else {})}
        items = ocp.args.Composite(**{n: ocp.args.StandardSave(x) for n, x in parts.items()})
        try:
            if self._is_writer:
                self._check_owner()
                os.makedirs(os.path.dirname(path), exist_ok=True)
                retention.mark(path)
            self._orbax.save(path, args=items, force=True)
        except (OSError, ValueError) as error:
            raise exits.StorageFailure(f"step {step} could not be saved: {_why(error)}") from error
        self._blocked_secs = time.monotonic() - start
        self._thread = threading.Thread(target=self._commit, args=(path, meta), daemon=True)
        self._thread.start()

    def _commit(self, path: str, meta: dict) -> None:
        start = time.monotonic()
        try:
            self._wait_written()
            if not self._is_writer:
                own = integrity.entries_below(path, _written_by(jax.process_index()))
                coordination.client().key_value_set(self._key(jax.process_index()), json.dumps(own))
                return
            lineage.write_json(os.path.join(path, restore.META), meta)
            known = self._told() if self._together else {}
            self._check_owner()
            self._saved_bytes = integrity.write_manifest(path, known)
            retention.unmark(path)
            self.prune()
            self._on_commit()
            self._saves.append((self._blocked_secs, time.monotonic() - start))
        except BaseException as error:  # noqa: B036 (any failure is handed to the main thread)
            self._error = error

    def _wait_written(self) -> None:
        """Raises LostPeer when another process does not write its part."""
        try:
            self._orbax.wait_until_finished()
        except TimeoutError as error:
            if not self._together or error.errno is not None:
                raise  # of the file system
            # Whatever ended a barrier of Orbax: its limit, or the coordinator that is gone.
            raise exits.LostPeer(
                "another process of this run is gone, or did not write its part of a save within "
                f"{self._timeout_secs:g} s (distributed.save_timeout_secs): {error}"
            ) from error

    def _key(self, process: int) -> str:
        return f"mypt_jax/saved/{self._number}/{process}"

    def _told(self) -> dict[str, dict]:
        """The digests of what every other process wrote. Raises LostPeer when one says nothing."""
        limit, found = round(1000 * self._timeout_secs), {}
        for process in range(1, jax.process_count()):
            key = self._key(process)
            with coordination.lost_peer_after(self._timeout_secs, "write their part of a save"):
                found |= json.loads(coordination.client().blocking_key_value_get(key, limit))
            coordination.client().key_value_delete(key)
        return found

    def cost(self) -> str:
        """A line on what saving has cost this process, or ""."""
        if not self._saves:
            return ""
        blocked, background = (
            sum(times) / len(self._saves) for times in zip(*self._saves, strict=True)
        )
        return (
            f"{len(self._saves)} checkpoints of {self._saved_bytes / 1e6:.1f} MB: each held "
            f"training for {blocked:.3f} s, then was written and hashed in {background:.3f} s"
        )

    def prune(self) -> None:
        """Removes committed steps that `keep` does not name, and what broken saves left behind."""
        committed = [
            step
            for step in layout.steps(self.workdir)
            if integrity.is_committed(layout.step_dir(self.workdir, step))
        ]
        for step in sorted(set(committed) - self._keep(committed)):
            retention.remove(self.workdir, step)

    def poll(self) -> None:
        """Raises StorageFailure when a background save has failed."""
        if self._error is not None:
            error, self._error = self._error, None
            if isinstance(error, exits.RunEnd):
                raise error
            self._check_owner()  # another owner removes what this process was writing
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> exits.StorageFailure:
        return exits.StorageFailure(
            f"a background save failed ({_why(error)}); "
            f"the step before it is intact in {self.workdir}: run the same command again"
        )

    def wait(self) -> None:
        """Blocks until the save in progress is committed. Raises StorageFailure."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.poll()

    def wait_together(self) -> None:
        """As `wait`, for all processes: none leaves before process 0 has saved."""
        self.wait()
        coordination.barrier("see the save committed", timeout_secs=self._timeout_secs)

    def close(self) -> None:
        try:
            self.wait()
        finally:
            try:
                self._orbax.close()
            except (OSError, ValueError) as error:  # of a save that `wait` has reported
                raise self._failure(error) from error

    def newest_valid(self, *, fallback: bool) -> tuple[int | None, list[str]]:
        """(step, reasons why newer ones were passed over); step None when nothing was ever saved.

        Raises NoValidState when steps exist but none is valid, or the newest is not and fallback
        is off: never a silent start from scratch.
        """
        reasons: list[str] = []
        damaged = False
        for step in reversed(layout.steps(self.workdir)):
            directory = layout.step_dir(self.workdir, step)
            reason = integrity.fault(directory)
            if not reason:
                return step, reasons
            if retention.never_finished(directory):
                reasons.append(f"step {step}: its save did not finish")
                continue
            reasons.append(f"step {step}: {reason}")
            damaged = True
            if not fallback:
                raise exits.NoValidState(
                    f"{self.workdir}: the newest checkpoint is invalid ({reasons[-1]}) and "
                    "checkpoint.fallback is False"
                )
        if damaged:
            raise exits.NoValidState(
                f"{self.workdir}: no valid checkpoint ({'; '.join(reasons)}); "
                "remove the run to start anew"
            )
        return None, reasons

    def restore(self, step: int, abstract_state: Mapping) -> tuple[dict, dict]:
        """(state, meta) of a verified step, placed as `abstract_state` says, strictly matched."""
        path = os.path.abspath(layout.step_dir(self.workdir, step))
        meta = restore.read_meta(path)
        wanted = {"rest": {key: x for key, x in abstract_state.items() if key != "params"}}
        if "params" in abstract_state:
            wanted["params"] = abstract_state["params"]
        for name, tree in wanted.items():
            restore.check_tree(restore.tree_table(tree), meta["tree"][name], where=path)
        with ocp.StandardCheckpointer(**restore.alone()) as alone:
            restored = {n: alone.restore(os.path.join(path, n), x) for n, x in wanted.items()}
        params = {"params": restored["params"]} if "params" in wanted else {}
        return {**params, **restored["rest"]}, meta

    def has_params(self, step: int) -> bool:
        """Whether a step holds the parameters of the whole model."""
        return bool(restore.read_meta(layout.step_dir(self.workdir, step))["tree"]["params"])

    def finish(self, kept: set[int], *, keep_optimizer: bool) -> None:
        """Keeps these steps only, and without keep_optimizer only their parameters."""
        self.wait()
        for step in layout.steps(self.workdir):
            if step not in kept and integrity.is_committed(layout.step_dir(self.workdir, step)):
                retention.remove(self.workdir, step)
        if not keep_optimizer:
            retention.strip(self.workdir)


def start(
    checkpointer: Checkpointer,
    program,
    *,
    parent,
    fallback: bool,
    allow_cast: bool,
    moments: str,
    fetch_step: Callable[[int], None],
    timeout_secs: float,
) -> tuple[dict, dict | None, list[str]]:
    """(state, meta of the resumed step or None, notes). The order of starting:

    1. The workdir has a valid checkpoint: resume everything from it; of a finished run that kept
       its parameters alone these, with a fresh optimizer.
    2. init_from names a run: its parameters only, strictly matched; step and, unless `moments` is
       "parent", optimizer are fresh. Adapters begin at zero; what they are added to is read by the
       caller, here and at a resume.
    3. Scratch: only where init_from is the word scratch, so that `parent` is None.

    Process 0 chooses the step; `fetch_step` brings it to the disk of every other one.
    """
    begin = time.monotonic()

    def choose() -> list:
        step, reasons = checkpointer.newest_valid(fallback=fallback)
        retention.clean(checkpointer.workdir)
        return [step, reasons]

    step, reasons = coordination.broadcast(
        "find the newest checkpoint", choose, timeout_secs=timeout_secs
    )
    notes = [f"warning: passed over checkpoint of {reason}" for reason in reasons]
    if step is not None:
        if jax.process_count() > 1:
            is_first = jax.process_index() == 0
            coordination.everywhere(
                f"have step {step}",
                lambda: None if is_first else fetch_step(step),
                timeout_secs=timeout_secs,
            )
        verified_secs, begin = time.monotonic() - begin, time.monotonic()
        if not layout.has_optimizer(checkpointer.workdir, step):
            params = restore.restore_params(checkpointer.workdir, step, program.abstract_params)
            state = program.from_params(params)
            done = jax.device_put(np.int32(step), program.abstract_state["step"].sharding)
            directory = layout.step_dir(checkpointer.workdir, step)
            return {**state, "step": done}, restore.read_meta(directory), notes
        wanted = dict(program.abstract_state)
        if checkpointer.has_params(step):
            # Also where adapters are trained: at its end a run is what they made.
            wanted["params"] = program.abstract_params
        state, meta = jax.block_until_ready(checkpointer.restore(step, wanted))
        notes.append(
            f"checkpoint of step {step}: verified in {verified_secs:.3f} s, restored in "
            f"{time.monotonic() - begin:.3f} s"
        )
        return state, meta, notes
    if parent is not None and not program.abstract_frozen:
        wanted = program.abstract_params
        params = restore.restore_params(parent.path, parent.step, wanted, allow_cast=allow_cast)
        state = program.from_params(params)
        if moments == "parent":
            held = restore.restore_moments(parent.path, parent.step, program.abstract_state)
            state = {**state, "opt_state": held}
        return state, None, notes
    return program.init(), None, notes


def write_finished_run(workdir: str, params: Mapping, config: Mapping, record: Mapping) -> None:
    """Writes imported parameters as a finished run that a stage can start from."""
    checkpointer = Checkpointer(workdir, keep=set)
    state = {"params": params, "step": np.zeros((), np.int32)}
    checkpointer.save(0, state, {"lineage": record, "imported": True})
    checkpointer.close()
    own_tokenizer.keep(workdir, config["data"]["tokenizer"])
    lineage.write_json(layout.join(workdir, layout.CONFIG), dict(config))
    lineage.write_json(layout.join(workdir, lineage.FILE), dict(record))
    digest = lineage.params_sha256(params)
    done = {"step": 0, "run_id": record["run_id"], "params_sha256": digest, "wall_secs": 0.0}
    lineage.write_json(layout.join(workdir, layout.FINISHED), {**done, "eval": {}})
