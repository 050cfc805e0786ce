"""The compiled programs of a run: initialisation, the train step and the evaluation forward pass.

Axes: B batch, L length, A accumulation steps.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from data_pipeline.errors import UserError
from mypt_jax import optim
from mypt_jax.distributed import sharding
from mypt_jax.evaluate import losses
from mypt_jax.model import attention, loss
from mypt_jax.model import gpt as model


class Program(NamedTuple):
    """Everything compiled for one config on one mesh; `abstract_state` has shapes and places."""

    mesh: Mesh
    model_config: dict  # with "auto" resolved for these devices
    abstract_state: dict
    init: Callable[[], dict]
    from_params: Callable[[Mapping], dict]
    schedule: Callable[[int], float]  # learning rate after so many completed updates
    step: Callable[..., tuple[dict, dict]]  # (state, windows, dropout key, lr, max_loss)
    nll: Callable[[Mapping, jax.Array], jax.Array]
    notes: list[str]


def set_up_jax(*, deterministic: bool, compile_cache: str) -> None:
    """Process-wide settings of JAX; before the first use of a device."""
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if compile_cache:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(compile_cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def build(config: Mapping, *, eot: int, devices: list | None = None) -> Program:
    """Compiles nothing yet; `devices` may be those of a topology that is not here (plan)."""
    devices = list(devices) if devices is not None else jax.devices()
    sizes, note = sharding.resolve_mesh(
        **config["mesh"],
        num_devices=len(devices),
        num_slices=sharding.num_slices(devices),
        batch_size=config["batch_size"] // config["accumulation_steps"],
        accumulation_steps=config["accumulation_steps"],
        dims=sharding.split_dims(config["model"]),
    )
    eval_batch_size = losses.eval_batch_size(config)
    if eval_batch_size % (sizes[0] * sizes[1]):
        raise UserError(
            f"eval.batch_size {eval_batch_size} is not divisible by data x fsdp = {sizes[0]} x "
            f"{sizes[1]}; --config.eval.batch_size=0 takes what is trained on at one time"
        )
    resolved = model.resolve(config["model"], devices[0])
    mesh = sharding.make_mesh(sizes, devices)
    tx = optim.make_optimizer(**only(config["optim"], optim.make_optimizer))
    schedule = optim.make_schedule(
        num_steps=config["num_steps"],
        **only(config["optim"], optim.make_schedule, without=("num_steps",)),
    )

    def new_params():
        return nnx.split(model.GPT(rngs=nnx.Rngs(config["seed"]), **resolved), nnx.Param)

    graphdef = nnx.eval_shape(new_params)[0]

    def from_params(params):
        return {
            "params": params,
            "opt_state": tx.init(params),
            "step": jnp.zeros((), jnp.int32),
        }

    def init():
        return from_params(nnx.to_pure_dict(new_params()[1]))

    shapes = jax.eval_shape(init)
    shardings = sharding.state_shardings(mesh, shapes, model.param_axes, tx)
    nll = losses.make_nll(
        graphdef,
        mesh=mesh,
        num_chunks=resolved["loss_chunks"],
        document_mask=resolved["document_mask"],
        eot=eot,
    )
    train_step = functools.partial(
        _train_step,
        batch_loss=_batch_loss(graphdef, resolved, mesh, eot),
        tx=tx,
        accumulation_steps=config["accumulation_steps"],
        skip_spikes=config["guard"]["skip_spikes"],
    )
    replicated = NamedSharding(mesh, P())
    return Program(
        mesh=mesh,
        model_config=resolved,
        abstract_state=jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings
        ),
        schedule=schedule,
        init=jax.jit(init, out_shardings=shardings),
        from_params=jax.jit(from_params, out_shardings=shardings, donate_argnums=0),
        step=jax.jit(
            train_step,
            donate_argnums=0,
            in_shardings=(
                shardings,
                NamedSharding(mesh, P(sharding.BATCH_AXES)),
                *[replicated] * 3,
            ),
            out_shardings=(shardings, replicated),
        ),
        nll=nll,
        notes=[line for line in (note, model.device_note(resolved, devices[0])) if line],
    )


def only(config: Mapping, function: Callable, without: tuple[str, ...] = ()) -> dict:
    """The entries of a config group that `function` takes."""
    names = function.__code__.co_varnames[
        : function.__code__.co_argcount + function.__code__.co_kwonlyargcount
    ]
    return {key: config[key] for key in names if key not in without}


def _batch_loss(graphdef, resolved: Mapping, mesh: Mesh, eot: int) -> Callable:
    """(params, windows [B, L + 1], dropout key) -> mean loss, nats/token, fp32."""

    def batch_loss(params, windows, key):
        gpt = nnx.merge(graphdef, nnx.State(params))
        inputs_BL, targets_BL = windows[:, :-1], windows[:, 1:]
        hidden_BLD = gpt(
            inputs_BL,
            dropout_key=key if resolved["dropout"] else None,
            segments_BL=(
                attention.segments_from_eot(inputs_BL, eot) if resolved["document_mask"] else None
            ),
            constrain=sharding.constrain_to(mesh),
            mesh=mesh,
        )
        return loss.mean_nll(
            gpt.head_weights(), hidden_BLD, targets_BL, num_chunks=resolved["loss_chunks"]
        )

    return batch_loss


def _loss_and_gradients(batch_loss, params, windows, key, accumulation_steps):
    """Loss and gradients of the whole batch, computed in equal parts one after another."""
    if accumulation_steps == 1:
        return jax.value_and_grad(batch_loss)(params, windows, key)
    # Part a takes rows a, a + A, ...: every device splits its own rows, none are moved.
    size = windows.shape[0] // accumulation_steps
    parts = windows.reshape(size, accumulation_steps, -1).swapaxes(0, 1)

    def add(total, part):
        index, rows = part
        new = jax.value_and_grad(batch_loss)(params, rows, jax.random.fold_in(key, index))
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), total, new), None

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), params)
    total, _ = jax.lax.scan(
        add, (jnp.zeros((), jnp.float32), zeros), (jnp.arange(accumulation_steps), parts)
    )
    loss_sum, gradients = jax.tree.map(lambda x: x / accumulation_steps, total)
    return loss_sum, jax.tree.map(lambda g, p: g.astype(p.dtype), gradients, params)


def dropout_key(seed: int, depth: int) -> np.ndarray:
    """uint32[2]: the data of a run's dropout key; `depth` stages from scratch it is another one
    than the parent's."""
    key = jax.random.key(seed)
    # On the host, where every process can give it to a program of all.
    return np.asarray(jax.random.key_data(jax.random.fold_in(key, depth) if depth else key))


def _train_step(
    state, windows, dropout_key, lr, max_loss, *, batch_loss, tx, accumulation_steps, skip_spikes
):
    """One update.

    `lr` and the key are arguments, nothing that is compiled in: so all stages of a chain share one
    program, and the compile cache gives it to every stage after the first.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(dropout_key), state["step"])
    value, gradients = _loss_and_gradients(
        batch_loss, state["params"], windows, key, accumulation_steps
    )
    accepted = jnp.isfinite(value)
    if skip_spikes:
        accepted &= value <= max_loss
    state, grad_norm = update(state, gradients, lr, accepted, tx=tx)
    return state, {"loss": value, "grad_norm": grad_norm}


def update(state, gradients, lr, accepted, *, tx: optax.GradientTransformation) -> tuple:
    """The state after one update, and the norm of the gradients.

    Unless `accepted`, or with a gradient that is not finite, it changes nothing but the step count.
    """
    grad_norm = optax.global_norm(gradients)
    updates, opt_state = tx.update(gradients, state["opt_state"], state["params"])
    params = jax.tree.map(lambda p, u: (p - lr * u).astype(p.dtype), state["params"], updates)
    accepted &= jnp.isfinite(grad_norm)
    new = {"params": params, "opt_state": opt_state}
    old = {"params": state["params"], "opt_state": state["opt_state"]}
    new = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)
    return {**new, "step": state["step"] + 1}, grad_norm
