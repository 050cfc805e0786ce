"""How fast a train step is on this machine, against what its own matrix products reach here.

    python scripts/bench_step.py                 6 layers x 384, L 256, V 50304, B 8, fp32
    python scripts/bench_step.py --size=tiny     the model and batch of :tiny
    python scripts/bench_step.py --parts         also where the time goes

In one process and in turn: a step of training (forward, backward, optimizer), and all matrix
products that such a step needs, of the same shapes and number and nothing else. The ratio of their
times is the share of this machine's own rate; it depends little on what else the machine does, the
absolute figures do. Dropout is off. Needs no data.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

from _checkout import ROOT

from data_pipeline import arguments, errors

SMALL = dict(n_layer=6, n_head=6, n_embd=384, block_size=256, vocab_size=50_304)


def bench_config(size: str, batch_size: int, remat: str) -> dict:
    from mypt_jax.schema import stage_file

    row = "tiny" if size == "small" else size
    config = stage_file.load(f"{ROOT}/configs/base.py:{row}").to_dict()
    if size == "small":
        config["model"] |= SMALL
        config["batch_size"] = 8
    config["model"] |= dict(dropout=0.0, remat=remat)
    config["batch_size"] = batch_size or config["batch_size"]
    return config


def operands(config: dict, dtype: str) -> dict:
    """What the matrix products of a step multiply, by the part of the model that needs them."""
    import jax
    import jax.numpy as jnp

    m, B = config["model"], config["batch_size"]
    L, D, H, V = (m[k] for k in ("block_size", "n_embd", "n_head", "vocab_size"))
    T, K, F = B * L, D // H, 4 * D

    def normal(*shape):
        return jax.random.normal(jax.random.key(0), shape, jnp.float32).astype(dtype)

    def linear(i, o):
        # The turned ones lie there turned: a product of turned operands is slower on a CPU.
        return normal(T, i), normal(i, o), normal(T, o), normal(o, i), normal(i, T)

    return {
        "linear": [linear(D, 3 * D), linear(D, D), linear(D, F), linear(F, D)],
        "attention": (*(normal(B, H, L, K) for _ in range(3)), normal(B, H, L, L)),
        "head": linear(D, V),
    }


def make_products(n_layer: int) -> Callable:
    """A jitted function of some or all `operands`: every product of a step, and nothing else."""
    import jax
    import jax.numpy as jnp

    def kept(*arrays):
        """Makes XLA compute whole arrays of which one element is looked at."""
        return sum(a.reshape(-1)[0] for a in jax.lax.optimization_barrier(arrays))

    def of_linear(x, w, g, w_turned, x_turned):
        return kept(x @ w, g @ w_turned, x_turned @ g)

    def of_attention(q, k, v, s):
        return kept(
            jnp.einsum("bhlk,bhmk->bhlm", q, k),
            jnp.einsum("bhlm,bhmk->bhlk", s, v),
            jnp.einsum("bhlk,bhmk->bhlm", v, k),
            jnp.einsum("bhlm,bhlk->bhmk", s, v),
            jnp.einsum("bhlm,bhmk->bhlk", s, k),
            jnp.einsum("bhlm,bhlk->bhmk", s, q),
        )

    @jax.jit
    def products(operands):
        def layer(total, _):
            for of_one in operands.get("linear", ()):
                total += of_linear(*_after(total, *of_one))
            if "attention" in operands:
                total += of_attention(*_after(total, *operands["attention"]))
            return total, None

        zero = jnp.zeros((), jax.tree.leaves(operands)[0].dtype)
        total, _ = jax.lax.scan(layer, zero, None, length=n_layer)
        return total + of_linear(*operands["head"]) if "head" in operands else total

    return products


def _after(total, first, *others):
    """The operands, tied to the layer before, so that nothing of a layer leaves the loop."""
    import jax

    return jax.lax.optimization_barrier((first + 0 * total, *others))


def make_parts(config: dict, model_config: dict, state: dict) -> dict[str, Callable]:
    """Pieces of a step by themselves, forward and backward, ready to be called."""
    import jax
    import jax.numpy as jnp

    from mypt_jax import optim
    from mypt_jax.model import attention, loss, parameters
    from mypt_jax.train import step

    m, B = config["model"], config["batch_size"]
    L, D, H, V, N = (m[k] for k in ("block_size", "n_embd", "n_head", "vocab_size", "n_layer"))
    dtype = model_config["compute_dtype"]

    def normal(*shape):
        return jax.random.normal(jax.random.key(1), shape, jnp.float32).astype(dtype)

    def head_loss(hidden_BLD, weights):
        head = loss.Head(weights["kernel"], weights["bias"], tied=False)
        return loss.mean_nll(head, hidden_BLD, targets_BL, num_chunks=m["loss_chunks"])

    def attended(q, k, v):
        out = attention.attend(model_config["attention"], q, k, v, segments_BL=None)
        return (out * gradient).sum()

    @jax.jit
    def all_attention(*heads):
        def layer(total, _):
            gradients = jax.grad(attended, argnums=(0, 1, 2))(*_after(total, *heads))
            return sum(a.reshape(-1)[0] for a in jax.lax.optimization_barrier(gradients)), None

        return jax.lax.scan(layer, jnp.zeros((), dtype), None, length=N)[0]

    tx = optim.make_optimizer(config["optim"], is_matrix=parameters.is_matrix)
    optimizer = jax.jit(
        lambda state, gradients: step.update(state, gradients, 1e-4, True, tx=tx),
        donate_argnums=0,
    )
    targets_BL = jax.random.randint(jax.random.key(2), (B, L), 0, V)
    gradient, *heads = (normal(B, L, H, D // H) for _ in range(4))
    head_gradients = jax.jit(jax.grad(head_loss, argnums=(0, 1)))
    hidden_BLD, weights = normal(B, L, D), jax.tree.map(jnp.copy, state["params"]["head"])
    gradients = jax.tree.map(lambda p: jnp.full_like(p, 1e-3), state["params"])
    latest = [jax.tree.map(jnp.copy, state)]

    def run_optimizer():
        latest[0], _ = optimizer(latest[0], gradients)
        return latest[0]

    return {
        "head": lambda: head_gradients(hidden_BLD, weights),
        "attention": lambda: all_attention(*heads),
        "optimizer": run_optimizer,
    }


def in_turn(pieces: dict[str, Callable], rounds: int) -> tuple[dict[str, float], dict[str, list]]:
    """(seconds of every piece's first call, its seconds in each of the rounds)."""
    import jax

    def timed(piece):
        start = time.perf_counter()
        jax.block_until_ready(piece())
        return time.perf_counter() - start

    first = {name: timed(piece) for name, piece in pieces.items()}
    rows = [{name: timed(piece) for name, piece in pieces.items()} for _ in range(rounds)]
    return first, {name: [row[name] for row in rows] for name in pieces}


def measure(config: dict, pairs: int, with_parts: bool) -> dict:
    import jax
    import numpy as np

    from data_pipeline.batches.batch import Batch
    from mypt_jax.distributed import sharding
    from mypt_jax.model import flops
    from mypt_jax.train import step

    m, B = config["model"], config["batch_size"]
    program = step.build(config, eot=0, devices=jax.devices()[:1])
    rows = np.random.default_rng(0).integers(0, m["vocab_size"], (B, m["block_size"] + 1))
    batch = Batch(rows.astype(np.int32), np.zeros(B, np.int32))
    batch = sharding.global_batch(program.mesh, batch, B)
    control = step.Control(step.dropout_key(0, 0), *np.array([1e-4, np.inf, 0], np.float32))
    latest = [program.init()]
    products = make_products(m["n_layer"])
    factors = operands(config, program.model_config["compute_dtype"])

    def run_step():
        latest[0], _ = program.step(latest[0], batch, control, {})
        return latest[0]

    pieces = {"step": run_step, "products": lambda: products(factors)}
    if with_parts:
        pieces |= make_parts(config, program.model_config, latest[0])
        for name in factors:
            pieces[f"products of {name}"] = lambda name=name: products({name: factors[name]})
    first, secs = in_turn(pieces, pairs)
    shares = [p / s for p, s in zip(secs["products"], secs["step"], strict=True)]
    median = {name: statistics.median(values) for name, values in secs.items()}
    work = flops.per_token(m) * B * m["block_size"]
    return {
        "device": jax.devices()[0].device_kind,
        "model": f"{m['n_layer']} layers x {m['n_embd']}, L {m['block_size']}, "
        f"V {m['vocab_size']}, B {B}, {program.model_config['compute_dtype']}",
        "tokens_per_sec": B * m["block_size"] / median["step"],
        "model_flops_per_sec": work / median["step"],
        "products_flops_per_sec": work / median["products"],
        "share_of_products": statistics.median(shares),
        "share_min": min(shares),
        "share_max": max(shares),
        "compile_secs": first["step"],
        "secs": median,
        "pairs": pairs,
    }


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__)
    parser.add_argument("--size", default="small", help="small, or a size of configs/common.py")
    parser.add_argument("--batch_size", type=int, default=0, help="0: 8, or the size's own")
    parser.add_argument("--remat", choices=("none", "light", "dots", "full"), default="light")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--parts", action="store_true", help="also where the time goes")
    args = parser.parse_args(argv)
    if args.pairs < 1:
        raise errors.UserError(f"--pairs is {args.pairs}, wanted 1 or more")
    config = bench_config(args.size, args.batch_size, args.remat)
    print(json.dumps(measure(config, args.pairs, args.parts), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
