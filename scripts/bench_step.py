"""How fast a train step is on this machine, against what its own matrix products reach here.

    python scripts/bench_step.py                 6 layers x 384, L 256, V 50304, B 8, fp32
    python scripts/bench_step.py --size=tiny     the model and batch of :tiny
    python scripts/bench_step.py --size=tiny --loop      the training loop against the bare step
    python scripts/bench_step.py --start         process start to first step, first and second time

In one process and in turn: a step of training (forward, backward, optimizer), and all matrix
products that such a step needs, of the same shapes and number and nothing else. The ratio of their
times is the share of this machine's own rate; it depends little on what else the machine does, the
absolute figures do. Dropout is off. Needs no data.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data_pipeline import errors  # noqa: E402

SMALL = dict(n_layer=6, n_head=6, n_embd=384, block_size=256, vocab_size=50_304)


def bench_config(size: str, batch_size: int, remat: str) -> dict:
    from configs import base

    config = base.get_config("tiny" if size in ("tiny", "small") else size).to_dict()
    if size == "small":
        config["model"] |= SMALL
        config["batch_size"] = 8
    config["model"] |= dict(dropout=0.0, remat=remat)
    config["batch_size"] = batch_size or config["batch_size"]
    return config


def products(config: dict, dtype: str) -> tuple[Callable, dict]:
    """(jitted function, operands): every matrix product of one step, forward and backward."""
    import jax
    import jax.numpy as jnp

    m, B = config["model"], config["batch_size"]
    L, N, D, H, V = (m[k] for k in ("block_size", "n_layer", "n_embd", "n_head", "vocab_size"))
    T, K, F = B * L, D // H, 4 * D

    def normal(*shape):
        return jax.random.normal(jax.random.key(0), shape, jnp.float32).astype(dtype)

    def linear(i, o):
        # The turned ones lie there turned: a product of turned operands is slower on a CPU.
        return normal(T, i), normal(i, o), normal(T, o), normal(o, i), normal(i, T)

    operands = {
        "linear": [linear(D, 3 * D), linear(D, D), linear(D, F), linear(F, D)],
        "heads": (*(normal(B, H, L, K) for _ in range(3)), normal(B, H, L, L)),
        "head": linear(D, V),
    }

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

    def after(total, first, *others):
        """The operands, tied to the layer before, so that no product leaves the loop."""
        return jax.lax.optimization_barrier((first + 0 * total, *others))

    @jax.jit
    def run(operands):
        def layer(total, _):
            for of_one in operands["linear"]:
                total += of_linear(*after(total, *of_one))
            return total + of_attention(*after(total, *operands["heads"])), None

        total, _ = jax.lax.scan(layer, jnp.zeros((), dtype), None, length=N)
        return total + of_linear(*operands["head"])

    return run, operands


def timed(function: Callable, *arguments) -> tuple[float, object]:
    import jax

    start = time.perf_counter()
    out = jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start, out


def measure_step(config: dict, pairs: int) -> dict:
    """A step and its products, in turn; then the forward pass alone."""
    import jax
    import numpy as np

    from mypt_jax import flops, sharding, step

    m, B = config["model"], config["batch_size"]
    program = step.build(config, eot=0, devices=jax.devices()[:1])
    rows = np.random.default_rng(0).integers(0, m["vocab_size"], (B, m["block_size"] + 1))
    windows = sharding.global_batch(program.mesh, rows.astype(np.int32))
    scalars = np.float32(1e-4), np.float32(np.inf)
    state = program.init()
    compile_secs, (state, _) = timed(program.step, state, windows, *scalars)
    matmuls, operands = products(config, program.model_config["compute_dtype"])
    timed(matmuls, operands)
    forward = jax.jit(lambda p, w: program.nll(p, w).mean())
    timed(forward, state["params"], windows)
    secs: dict[str, list[float]] = {}
    for _ in range(pairs):
        one, (state, _) = timed(program.step, state, windows, *scalars)
        secs.setdefault("step", []).append(one)
        secs.setdefault("products", []).append(timed(matmuls, operands)[0])
    for _ in range(max(3, pairs // 2)):
        secs.setdefault("forward", []).append(timed(forward, state["params"], windows)[0])
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
        "compile_secs": compile_secs,
        "secs": median,
        "pairs": pairs,
    }


def make_dataset(directory: Path) -> str:
    """A small token dataset of words from this repository's own documents."""
    from data_pipeline import budget, prepare, tokenizer
    from data_pipeline.corpus import document

    text = "\n\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
    texts = (
        document.Document(id=str(i), text=f"{i}\n{text}", source="docs", licence="MIT")
        for i in range(20)
    )
    settings = budget.Settings(
        seed=0,
        val_fraction=0.2,
        tokens_per_shard=1_000_000,
        total_tokens=None,
        weights={},
        repeat=False,
        max_repeat=1,
        allow_short=False,
        workers=1,
    )
    prepare.build_dataset(
        texts,
        out_dir=directory,
        vocabulary=tokenizer.get("gpt2-4096"),
        settings=settings,
        recorded={"command": "bench_step"},
    )
    return str(directory)


def measure_loop(config: dict, pairs: int, steps: int) -> dict:
    """Seconds per step of the training loop (batches, metrics, guards; evaluation and saving
    apart) and of the bare step, in turn on the same state."""
    import contextlib

    import jax
    import numpy as np

    from mypt_jax import config as configs
    from mypt_jax import interrupt, session, sharding, step, train

    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        data = make_dataset(Path(directory) / "data")
        config["workdir"] = str(Path(directory) / "run")
        config["data"] |= dict(domain=(), domain_weights=(), general=(data,), general_weights=())
        config["checkpoint"]["every_secs"] = 0.0
        validated = configs.validate(config)
        program = step.build(validated.config, eot=validated.tokenizer.eot)
        interrupts = interrupt.Interrupts()
        work, state, done = session.open_session(validated, program, interrupts, stack)
        session.eval_due = lambda config, done: False  # evaluation and saving are left out
        windows = sharding.global_batch(program.mesh, work.loader.batch(0))
        scalars = np.float32(1e-4), np.float32(np.inf)
        secs: dict[str, list[float]] = {"loop": [], "bare": []}
        for pair in range(-1, pairs):  # the first compiles
            work.config["num_steps"] = done + steps
            start = time.perf_counter()
            with contextlib.redirect_stdout(open(os.devnull, "w")):
                state, done = train._loop(work, state, done)
            jax.block_until_ready(state)
            loop = (time.perf_counter() - start) / steps
            start = time.perf_counter()
            for _ in range(steps):
                state, figures = program.step(state, windows, *scalars)
            jax.block_until_ready((state, figures))
            bare = (time.perf_counter() - start) / steps
            if pair >= 0:
                secs["loop"].append(loop)
                secs["bare"].append(bare)
    ratios = [a / b for a, b in zip(secs["loop"], secs["bare"], strict=True)]
    return {
        "loop_over_bare": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "secs": {name: statistics.median(values) for name, values in secs.items()},
        "pairs": pairs,
        "steps_per_segment": steps,
    }


def measure_start() -> dict:
    """Seconds from process start until the first step is done at :tiny, twice, with one cache.

    The evaluation of step 0 is before it; what follows the first step does not count.
    """
    with tempfile.TemporaryDirectory() as directory:
        data = make_dataset(Path(directory) / "data")
        secs = []
        for attempt in ("first", "second"):
            command = [sys.executable, "-u", "-m", "mypt_jax.main", "--config=configs/base.py:tiny"]
            overrides = {
                "workdir": f"{directory}/{attempt}",
                "compile_cache": f"{directory}/xla",
                "data.general": data,
                "data.domain": "()",
                "num_steps": 2,
                "optim.warmup_steps": 1,
                "eval.windows": 16,
                "log.every_steps": 1,
                "log.tensorboard": False,
            }
            command += [f"--config.{key}={value}" for key, value in overrides.items()]
            start = time.perf_counter()
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout:
                    if line.startswith("step 1/"):
                        secs.append(time.perf_counter() - start)
            if process.returncode:
                raise errors.UserError(f"the {attempt} start ended with code {process.returncode}")
    return {"first_secs": secs[0], "second_secs": secs[1], "second_over_first": secs[1] / secs[0]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="small", help="small, or a size of configs/common.py")
    parser.add_argument("--batch_size", type=int, default=0, help="0: 8, or the size's own")
    parser.add_argument("--remat", choices=("none", "dots", "full"), default="none")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--loop", action="store_true")
    parser.add_argument("--start", action="store_true")
    args = parser.parse_args(argv)
    if args.start:
        found = measure_start()
    else:
        config = bench_config(args.size, args.batch_size, args.remat)
        if args.loop:
            found = measure_loop(config, args.pairs, steps=20)
        else:
            found = measure_step(config, args.pairs)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
