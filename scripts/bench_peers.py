"""A train step beside the same model's in PyTorch, written here, and beside GPT-2's shape.

    python scripts/bench_peers.py                     :tiny on one thread
    python scripts/bench_peers.py --size=small --threads=2     6 layers x 384, L 256, V 50304, B 8

In one process and in turn, on as many cores: an update here (forward, backward, clipping, AdamW)
and one in PyTorch (requirements-torch.txt). `original` is the default architecture of
configs/base.py, with the parameters that the model here has: their losses must agree first. `gpt2`
is what nanoGPT trains: a tied head, biases everywhere. fp32, dropout off. A ratio is the peer's
time over that of the step here: above 1 the step here is the faster one. CPU seconds are what to
look at on a machine that does other things.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import _checkout  # noqa: F401
import bench_step

from data_pipeline import errors

LR = 1e-4
TOLERANCE = 1e-4  # of the losses, relative


def block_class():
    """A transformer block, pre-norm; imported late, so that --help waits for no torch."""
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, m: dict, *, attention_bias: bool):
            super().__init__()
            D = m["n_embd"]
            self.n_head = m["n_head"]
            self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
            self.qkv = nn.Linear(D, 3 * D, bias=attention_bias)
            self.proj = nn.Linear(D, D, bias=attention_bias)
            self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

        def forward(self, x):
            B, L, D = x.shape
            q, k, v = (
                part.view(B, L, self.n_head, -1).transpose(1, 2)
                for part in self.qkv(self.ln1(x)).split(D, dim=-1)
            )
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(attended.transpose(1, 2).reshape(B, L, D))
            return x + self.down(functional.gelu(self.up(self.ln2(x))))

    return Block


def make_model(m: dict, kind: str):
    import torch
    from torch import nn
    from torch.nn import functional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            D, tied = m["n_embd"], kind == "gpt2"
            self.tokens = nn.Embedding(m["vocab_size"], D)
            self.positions = nn.Embedding(m["block_size"], D)
            make = block_class()
            blocks = [make(m, attention_bias=tied) for _ in range(m["n_layer"])]
            self.blocks = nn.ModuleList(blocks)
            self.ln_f = nn.LayerNorm(D)
            self.head = nn.Linear(D, m["vocab_size"], bias=not tied)
            for parameter in self.parameters():
                if parameter.dim() > 1:  # torch's own tables would make a tied head's logits huge
                    nn.init.normal_(parameter, std=0.02)
            if tied:
                self.head.weight = self.tokens.weight

        def forward(self, windows):
            inputs, targets = windows[:, :-1], windows[:, 1:]
            x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.ln_f(x))
            return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return Model()


def copy_parameters(params: dict, model) -> None:
    """Puts the parameters of the model here into the `original` one."""
    import numpy as np
    import torch

    def put(parameter, values, *, turned=False):
        values = np.asarray(values)
        parameter.data.copy_(torch.tensor(values.T if turned else values))

    def put_norm(norm, values, at=...):
        put(norm.weight, values["scale"][at])
        put(norm.bias, values["bias"][at])

    def put_linear(linear, values, at=...):
        put(linear.weight, values["kernel"][at], turned=True)
        if linear.bias is not None:
            put(linear.bias, values["bias"][at])

    put(model.tokens.weight, params["embed"]["tokens"])
    put(model.positions.weight, params["embed"]["positions"])
    for number, block in enumerate(model.blocks):
        of = params["blocks"]
        for norm, name in ((block.ln1, "ln1"), (block.ln2, "ln2")):
            put_norm(norm, of[name], number)
        for part, names in (("attn", ("qkv", "proj")), ("mlp", ("up", "down"))):
            for name in names:
                put_linear(getattr(block, name), of[part][name], number)
    put_norm(model.ln_f, params["ln_f"])
    put_linear(model.head, params["head"])


def torch_update(model, config: dict, rows) -> Callable[[], float]:
    """A function that makes one update and returns its loss."""
    import torch

    o = config["optim"]
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": o["weight_decay"]},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(o["beta1"], o["beta2"]))
    windows = torch.tensor(rows, dtype=torch.long)

    def update() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = model(windows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), o["clip_norm"])
        optimizer.step()
        return loss.item()

    return update


def own_update(program, config: dict, rows) -> tuple[Callable[[], float], dict]:
    """(a function that makes one update and returns its loss, the parameters at its start)."""
    import jax
    import numpy as np

    from data_pipeline.batches.batch import Batch
    from mypt_jax.distributed import sharding
    from mypt_jax.train import step

    control = step.Control(step.dropout_key(0, 0), *np.array([LR, np.inf, 0], np.float32))
    batch = Batch(rows, np.zeros(len(rows), np.int32))
    batch = sharding.global_batch(program.mesh, batch, len(rows))
    latest = [program.init()]
    params = jax.tree.map(np.asarray, latest[0]["params"])

    def update() -> float:
        latest[0], figures = program.step(latest[0], batch, control, {})
        return float(figures["loss"])

    return update, params


def measure(config: dict, rounds: int, threads: int) -> dict:
    import jax
    import numpy as np
    import torch

    from mypt_jax.train import step

    torch.set_num_threads(threads)
    m = config["model"]
    shape = config["batch_size"], m["block_size"] + 1
    rows = np.random.default_rng(0).integers(0, m["vocab_size"], shape).astype(np.int32)
    program = step.build(config, eot=0, devices=jax.devices()[:1])
    own, params = own_update(program, config, rows)
    original, gpt2 = (make_model(m, kind) for kind in ("original", "gpt2"))
    copy_parameters(params, original)
    updates = {"here": own}
    updates |= {
        "original": torch_update(original, config, rows),
        "gpt2": torch_update(gpt2, config, rows),
    }
    losses = {name: [update(), update()] for name, update in updates.items()}  # and compiles
    gap = float(np.max(np.abs(np.divide(losses["original"], losses["here"]) - 1)))
    if gap > TOLERANCE:
        raise errors.UserError(f"the losses of the same model differ by {gap:.1e}: {losses}")
    cpu: dict[str, list[float]] = {name: [] for name in updates}
    wall: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(rounds):
        for name, update in updates.items():
            starts = time.process_time(), time.perf_counter()
            update()
            cpu[name].append(time.process_time() - starts[0])
            wall[name].append(time.perf_counter() - starts[1])

    def ratios(secs: dict[str, list[float]], name: str) -> dict[str, float]:
        found = [a / b for a, b in zip(secs[name], secs["here"], strict=True)]
        return {"median": statistics.median(found), "min": min(found), "max": max(found)}

    return {
        "model": f"{m['n_layer']} layers x {m['n_embd']}, L {m['block_size']}, "
        f"V {m['vocab_size']}, B {len(rows)}, float32",
        "threads": threads,
        "rounds": rounds,
        "versions": {"jax": jax.__version__, "torch": torch.__version__},
        "loss_gap": gap,
        "cpu_secs": {name: statistics.median(values) for name, values in cpu.items()},
        "cpu_ratio": {name: ratios(cpu, name) for name in ("original", "gpt2")},
        "wall_ratio": {name: ratios(wall, name) for name in ("original", "gpt2")},
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="tiny", help="small, or a size of configs/common.py")
    parser.add_argument("--threads", type=int, default=1, help="and cores, for each of them")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= args.threads <= len(cores):
        raise errors.UserError(f"--threads={args.threads}, wanted 1 to {len(cores)}")
    if args.rounds < 1:
        raise errors.UserError(f"--rounds is {args.rounds}, wanted 1 or more")
    # Before jax and torch count the cores.
    os.sched_setaffinity(0, cores[: args.threads])
    config = bench_step.bench_config(args.size, 0, "light")
    print(json.dumps(measure(config, args.rounds, args.threads), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
