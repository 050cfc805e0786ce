"""A stage from its start to its end: resumed or begun, evaluated, trained, finished."""

import contextlib

import jax

from mypt_jax import exits
from mypt_jax.checkpoint import restore
from mypt_jax.distributed import coordination, heartbeat, hosts
from mypt_jax.model import attention_check, memory
from mypt_jax.monitor import preemption
from mypt_jax.runs import layout
from mypt_jax.schema import duration
from mypt_jax.schema.validation import Validated
from mypt_jax.train import finish, loop, provenance, start, step
from mypt_jax.train.forgetting import guard


def run_stage(validated: Validated, interrupts: preemption.Interrupts) -> None:
    """Trains a stage to its end, resuming what is there. Raises RunEnd and UserError."""
    config = validated.config
    with contextlib.ExitStack() as stack:
        stack.enter_context(exits.storage())
        interrupts.limit(config["time_budget_secs"])
        step.set_up_jax(
            deterministic=config["deterministic"], compile_cache=config["compile_cache"]
        )
        _join_hosts(config, stack)
        if coordination.broadcast(
            "see what is there",
            lambda: finish.is_there(config),
            timeout_secs=config["distributed"]["save_timeout_secs"],
        ):
            return
        sources = [step.Source(part.role, part.share) for part in validated.mixture.components]
        room = coordination.broadcast(
            "see the memory of a device",
            lambda: (memory.limit_gib(jax.local_devices()[0]), provenance.policy_of(config)),
            timeout_secs=config["distributed"]["save_timeout_secs"],
        )
        program = step.build(
            config,
            eot=validated.tokenizer.eot,
            sources=sources,
            room=memory.Room(*room),
            shares_teacher=validated.frozen is not None and validated.frozen == validated.teacher,
        )
        attention_check.run(program.model_config)
        work, state, done, row = start.open_loop(validated, program, interrupts, stack)
        work.evaluate.compile(state)
        if duration.is_evaluation_due(config, done) and not layout.has_eval(row):
            row = work.evaluate(state, done, row)
        kept = guard.act(work.run, done, row)
        if kept is None:
            state, done, row = loop.train(work, state, done, row)
            kept = guard.act(work.run, done, row)
        if kept is not None and kept != done:
            places = program.abstract_params
            work.evaluate.complete(restore.restore_params(work.run.workdir, kept, places), kept)
        finish.pin(work, done if kept is None else kept, done)


def _join_hosts(config: dict, stack: contextlib.ExitStack) -> None:
    """Makes this process one of a run's, all with the same config; from here they hear of each
    other's end."""
    hosts.start(config["distributed"])
    timeout_secs = config["distributed"]["timeout_secs"]
    listener = stack.enter_context(heartbeat.Heartbeat(timeout_secs))
    stack.enter_context(hosts.peers(listener.who_is_missing))
    hosts.compare(config, timeout_secs=timeout_secs)
