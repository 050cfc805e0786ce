"""The compiled programs of a run: initialisation, the train step and the evaluation forward pass.

Axes: B batch, L length, A accumulation steps, S sources.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from data_pipeline.batches import source_order
from data_pipeline.batches.batch import Batch
from data_pipeline.batches.mixture import exact
from data_pipeline.errors import UserError
from mypt_jax import optim
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses
from mypt_jax.model import adapters, forward, gpt, memory, parameters
from mypt_jax.model import state as states
from mypt_jax.schema import tree
from mypt_jax.train import averaging
from mypt_jax.train import objective as objectives

_ADAPTER_KEY = 1  # folded into the seed's key, of which the model is drawn


class Control(NamedTuple):
    """What the host gives every update: arguments, nothing that is compiled in, so that all stages
    of one shape and objective share one program, which the compile cache has after the first."""

    dropout_key: np.ndarray  # uint32[2], see dropout_key
    lr: np.float32
    max_loss: np.float32  # the largest that is accepted, with guard.skip_spikes
    replay_weight: np.float32  # of the divergence from a teacher
    average_from: np.int32 = np.int32(0)  # the update after which parameters are averaged


class Source(NamedTuple):
    """A source of the training mixture: its role, and its exact share of the windows."""

    role: str
    share: Fraction


class Program(NamedTuple):
    """Everything compiled for one config on one mesh; `abstract_state` has shapes and places."""

    mesh: Mesh
    model_config: dict  # with "auto" resolved for these devices
    abstract_state: dict
    abstract_params: dict  # of the whole model
    abstract_teacher: dict  # parameters, {} where the objective has no teacher
    abstract_frozen: dict  # parameters that adapters are added to, {} where all are trained
    abstract_batch: Batch
    init: Callable[[], dict]
    from_params: Callable[[Mapping], dict]
    rates: optim.Rates
    # (state, batch, control, teacher[, frozen]) -> (state, figures)
    step: Callable[..., tuple[dict, dict]]
    merge: Callable[[Mapping, Mapping], dict]  # (frozen, adapter) -> parameters
    measure: losses.Measure
    drift: Callable[..., dict]  # (params, of a teacher, windows) -> {"drift": [B, L]}
    notes: list[str]


def set_up_jax(*, deterministic: bool, compile_cache: str) -> None:
    """Process-wide settings of JAX; before the first use of a device."""
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if compile_cache:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(compile_cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def dropout_key(seed: int, depth: int) -> np.ndarray:
    """uint32[2]: the data of a run's dropout key; `depth` stages from scratch it is another one
    than the parent's."""
    key = jax.random.key(seed)
    # On the host, where every process can give it to a program of all.
    return np.asarray(jax.random.key_data(jax.random.fold_in(key, depth) if depth else key))


def expected_sources(config: Mapping) -> list[Source]:
    """The mixture as far as it is known without data: two sources, by the replay ratio."""
    ratio = exact(config["data"]["replay_ratio"], "replay_ratio")
    return [Source("domain", 1 - ratio), Source("general", ratio)]


def build(
    config: Mapping,
    *,
    eot: int,
    sources: Sequence[Source] | None = None,
    devices: list | None = None,
    room: memory.Room | None = None,
    shares_teacher: bool = False,
) -> Program:
    """Compiles nothing yet. `sources`: by their numbers in a batch, expected_sources unless given;
    `devices` may be those of a topology that is not here (plan); `room`: theirs unless given;
    `shares_teacher`: as of memory.Bytes."""
    devices = list(devices) if devices is not None else jax.devices()
    sources = expected_sources(config) if sources is None else sources
    mesh, note = _make_mesh(config, devices)
    resolved = gpt.resolve(config["model"], devices[0])
    tx = optim.make_optimizer(config["optim"], is_matrix=parameters.is_matrix)
    adapter = adapters.of(config)
    make = _makers(config, resolved, adapter, tx)
    whole = nnx.to_pure_dict(nnx.eval_shape(make.model)[1])
    shapes = jax.eval_shape(make.state)
    choice = memory.choose(
        config,
        memory.sizes(shapes, whole)._replace(shares_teacher=shares_teacher),
        resolved,
        memory.Split(**mesh.shape),
        room or memory.Room(memory.limit_gib(devices[0])),
    )
    resolved["remat"] = choice.remat
    # A single copy of everything has nothing to gather.
    resolved["gather_weights"] &= mesh.shape["data"] * mesh.shape["fsdp"] > 1
    # The graph again, of what has been resolved since.
    bind = forward.binder(nnx.eval_shape(make.model)[0], mesh=mesh, eot=eot)
    shardings = states.shardings(mesh, shapes, tx)
    abstract_params = _placed(whole, states.parameter_shardings(mesh, whole))
    abstract_frozen, bind_adapted = {}, None
    if adapter:
        abstract_frozen = adapters.frozen_places(abstract_params, resolved["compute_dtype"])
        bind_adapted = forward.binder(nnx.eval_shape(make.adapted)[0], mesh=mesh, eot=eot)
    name = config["objective"]["replay"]
    abstract_teacher = {}
    if tree.has_effect(config, "objective.teacher"):
        abstract_teacher = _teacher_of(abstract_params, resolved["compute_dtype"])
    train_step = functools.partial(
        _train_step,
        bind=bind,
        bind_adapted=bind_adapted,
        objective=objectives.make(
            name, roles=[source.role for source in sources], rows=_rows(config, sources, mesh)
        ),
        tx=tx,
        accumulation_steps=config["accumulation_steps"],
        skip_spikes=config["guard"]["skip_spikes"],
    )
    batch_split = NamedSharding(mesh, P(sharding.BATCH_AXES))
    return Program(
        mesh=mesh,
        model_config=resolved,
        abstract_state=_placed(shapes, shardings),
        abstract_params=abstract_params,
        abstract_teacher=abstract_teacher,
        abstract_frozen=abstract_frozen,
        abstract_batch=_abstract_batch(config, batch_split),
        rates=optim.Rates(config["optim"], num_steps=config["num_steps"]),
        init=jax.jit(make.state, out_shardings=shardings),
        from_params=jax.jit(make.state_of, out_shardings=shardings, donate_argnums=0),
        step=_compiled_step(
            train_step,
            mesh,
            shardings,
            batch_split,
            [abstract_teacher, *([abstract_frozen] if adapter else [])],
        ),
        merge=jax.jit(
            functools.partial(adapters.merged, scale=adapter.scale if adapter else 0.0),
            out_shardings=jax.tree.map(lambda x: x.sharding, abstract_params),
        ),
        measure=losses.make_measure(bind),
        drift=losses.make_drift(bind),
        notes=[n for n in (note, gpt.device_note(resolved, devices[0]), choice.note) if n],
    )


class _Makers(NamedTuple):
    """What draws a model by the seed, and makes a run's state of parameters."""

    model: Callable[[], tuple]  # (graph, parameters)
    adapted: Callable[[], tuple]  # the same with adapters beside its matrices
    state_of: Callable[[Mapping], dict]  # of what is trained
    state: Callable[[], dict]


def _makers(config: Mapping, resolved: dict, adapter: adapters.Adapter | None, tx) -> _Makers:
    def model():
        return nnx.split(gpt.GPT(rngs=nnx.Rngs(config["seed"]), **resolved), nnx.Param)

    def adapted():
        assert adapter is not None
        whole = gpt.GPT(rngs=nnx.Rngs(config["seed"]), **resolved)
        adapters.attach(
            whole, adapter, jax.random.fold_in(jax.random.key(config["seed"]), _ADAPTER_KEY)
        )
        return nnx.split(whole, nnx.Param)

    def state_of(params):
        name = adapters.NAME if adapter else "params"
        state = {name: params, "opt_state": tx.init(params), "step": jnp.zeros((), jnp.int32)}
        if config["optim"]["average_ratio"]:
            state[averaging.NAME] = averaging.initial(params)
        return state

    def state():
        if adapter:
            return state_of(adapters.split(nnx.to_pure_dict(adapted()[1]))[1])
        return state_of(nnx.to_pure_dict(model()[1]))

    return _Makers(model, adapted, state_of, state)


def _compiled_step(train_step, mesh: Mesh, shardings, batch_split: NamedSharding, held: list):
    """The update, its state given away. `held`: places of the parameters that only are read."""
    replicated = NamedSharding(mesh, P())
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(
            shardings,
            Batch(batch_split, batch_split),
            replicated,
            *jax.tree.map(lambda x: x.sharding, held),
        ),
        out_shardings=(shardings, replicated),
    )


def _make_mesh(config: Mapping, devices: list) -> tuple[Mesh, str]:
    """(mesh, note). Raises UserError where training or evaluation does not fit it."""
    sizes, note = sharding.resolve_mesh(
        **config["mesh"],
        num_devices=len(devices),
        num_slices=sharding.num_slices(devices),
        batch_size=config["batch_size"] // config["accumulation_steps"],
        accumulation_steps=config["accumulation_steps"],
        dims=parameters.split_dims(config["model"]),
    )
    eval_batch_size = losses.eval_batch_size(config)
    if eval_batch_size % (sizes[0] * sizes[1]):
        raise UserError(
            f"eval.batch_size {eval_batch_size} is not divisible by data x fsdp = {sizes[0]} x "
            f"{sizes[1]}; --config.eval.batch_size=0 takes what is trained on at one time"
        )
    return sharding.make_mesh(sizes, devices), note


def _placed(shapes, shardings):
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings
    )


def _abstract_batch(config: Mapping, split: NamedSharding) -> Batch:
    B, L = config["batch_size"], config["model"]["block_size"]
    return Batch(
        jax.ShapeDtypeStruct((B, L + 1), jnp.int32, sharding=split),
        jax.ShapeDtypeStruct((B,), jnp.int32, sharding=split),
    )


def _teacher_of(abstract_params, compute_dtype: str):
    """Places of a teacher's parameters: where the student's lie, in the dtype of the products."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, compute_dtype, sharding=x.sharding),
        abstract_params,
    )


def _rows(config: Mapping, sources: Sequence[Source], mesh: Mesh) -> objectives.Rows:
    """The most domain and replay rows that a shard of the batch has in one pass."""
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    drawn = [source for source in sources if source.share]
    order = source_order.Schedule([source.share for source in drawn])

    def most(role: str) -> int:
        return order.most_rows(
            {number for number, source in enumerate(drawn) if source.role == role},
            batch_size=config["batch_size"],
            shards=shards,
            parts=config["accumulation_steps"],
        )

    # At least one, of weight 0 where general text is all there is: no rows have no chunks.
    return objectives.Rows(shards, max(1, most("domain")), most("general"))


def _loss_and_gradients(batch_loss, params, batch, key, accumulation_steps):
    """((loss, figures), gradients) of the whole batch, computed in equal parts one after another.

    batch_loss: (params, batch, key) -> (loss, figures).
    """
    differentiated = jax.value_and_grad(batch_loss, has_aux=True)
    if accumulation_steps == 1:
        return differentiated(params, batch, key)
    # Part a takes rows a, a + A, ...: every device splits its own rows, none are moved.
    parts = jax.tree.map(
        lambda x: x.reshape(-1, accumulation_steps, *x.shape[1:]).swapaxes(0, 1), batch
    )

    def add(total, part):
        index, rows = part
        new = differentiated(params, rows, jax.random.fold_in(key, index))
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, new), None

    one = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(differentiated, params, one, key)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)
    total, _ = jax.lax.scan(add, zeros, (jnp.arange(accumulation_steps), parts))
    (loss_sum, figures), gradients = total
    mean = jax.tree.map(lambda g, p: (g / accumulation_steps).astype(p.dtype), gradients, params)
    return (loss_sum / accumulation_steps, figures), mean


def _train_step(
    state,
    batch,
    control: Control,
    teacher,
    frozen=None,
    *,
    bind,
    bind_adapted,
    objective,
    tx,
    accumulation_steps,
    skip_spikes,
):
    """One update; figures are what the objective tells, `loss` and `grad_norm`."""
    # In the update what Control holds is traced, jax.Array to a stub.
    stage_key = jax.random.wrap_key_data(control.dropout_key)  # ty: ignore[invalid-argument-type]
    key = jax.random.fold_in(stage_key, state["step"])
    taught = bind(teacher) if teacher else None

    def model_of(trained):
        return bind(trained) if frozen is None else bind_adapted(adapters.join(frozen, trained))

    def batch_loss(trained, rows, key):
        return objective(model_of(trained), rows, key, taught, control.replay_weight)

    (value, figures), gradients = _loss_and_gradients(
        batch_loss, state[states.trained(state)], batch, key, accumulation_steps
    )
    accepted = jnp.isfinite(value)
    if skip_spikes:
        accepted &= value <= control.max_loss
    new, grad_norm = update(state, gradients, control.lr, accepted, tx=tx)
    if averaging.NAME in state:
        mean = averaging.add(
            state[averaging.NAME], new["params"], new["step"], control.average_from
        )
        new = {**new, averaging.NAME: mean}
    return new, {**figures, "loss": value, "grad_norm": grad_norm}


def update(state, gradients, lr, accepted, *, tx: optax.GradientTransformation) -> tuple:
    """The state after one update, and the norm of the gradients.

    Unless `accepted`, or with a gradient that is not finite, it changes nothing but the step count.
    """
    name = states.trained(state)
    grad_norm = optax.tree.norm(gradients)
    updates, opt_state = tx.update(gradients, state["opt_state"], state[name])
    params = jax.tree.map(lambda p, u: (p - lr * u).astype(p.dtype), state[name], updates)
    accepted &= jnp.isfinite(grad_norm)
    new = {name: params, "opt_state": opt_state}
    old = {name: state[name], "opt_state": state["opt_state"]}
    new = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)
    return {**new, "step": state["step"] + 1}, grad_norm
