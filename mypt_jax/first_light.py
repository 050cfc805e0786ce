"""Checks an accelerator in five minutes: one table to paste into an issue.

    mypt first_light                on whatever jax finds here
    mypt first_light --size=350m    another model (default: tiny on a CPU, else 150m)
    mypt first_light --full         also speed and memory of every form of the step
    mypt first_light --full --into=docs/scaling.md      puts the table into a page

Attention of the chosen backend against fp32, loss and gradients in the compute dtype against fp32,
all devices against one, the memory of a step against the plan, and tokens/s.
"""

import datetime
import functools
import itertools
import os
import re
import sys
import time
from typing import Any

from data_pipeline import arguments, atomic, errors
from mypt_jax.schema import stage_file

STEPS = 8  # of which the first two are not timed


def config_of(size: str, devices: int) -> dict:
    config = stage_file.load(f"{stage_file.BASE}:{size}").to_dict()
    config["model"]["dropout"] = 0.0
    rows = 8 if size != "tiny" else config["batch_size"] // devices or 1
    config["batch_size"] = rows * devices
    config["optim"]["warmup_steps"] = 2
    return config


def rows_of(config: dict):
    """[B, L + 1]: counting sequences, which a model learns at once."""
    import numpy as np

    shape = config["batch_size"], config["model"]["block_size"] + 1
    starts = np.arange(shape[0])[:, None] * 7
    return ((starts + np.arange(shape[1])) % min(1000, config["model"]["vocab_size"])).astype(
        np.int32
    )


def build(config: dict, devices: list, **model):
    from mypt_jax.train import step

    return step.build({**config, "model": {**config["model"], **model}}, eot=0, devices=devices)


def check_attention(config: dict, program) -> tuple[bool, str, str]:
    from mypt_jax.model import attention_check

    model = program.model_config
    try:
        attention_check.check_model({**model, "document_mask": model["attention"] != "cudnn"})
    except errors.UserError as error:
        return False, model["attention"], str(error)
    return True, f"{model['attention']}, {model['compute_dtype']}", "no leak, as fp32"


def check_gradients(config: dict, program, devices: list) -> tuple[bool, str, str]:
    """Loss and gradients of one device in its compute dtype against fp32 with XLA attention."""
    import jax
    import numpy as np

    # Two layers are enough to use every kernel, and leave room for both programs.
    small = {**config, "batch_size": 2, "model": {**config["model"], "n_layer": 2}}
    values = []
    for choice in ({}, {"attention": "xla", "compute_dtype": "float32"}):
        one = build(small, devices[:1], **choice)
        gradient = jax.jit(jax.value_and_grad(lambda p, w, f=one.measure: f(p, w)["nll"].mean()))
        with jax.default_matmul_precision("highest" if choice else "default"):
            loss, grads = gradient(one.init()["params"], rows_of(small))
        flat = np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(grads)])
        values.append((float(loss), flat))
    (loss, grads), (want_loss, want) = values
    gap = abs(loss - want_loss) / want_loss
    cosine = float(grads @ want / (np.linalg.norm(grads) * np.linalg.norm(want)))
    exact = program.model_config["compute_dtype"] == "float32"
    limit = 1e-4 if exact else 1e-2
    figure = f"loss {gap:.1e} apart, gradients' cosine {cosine:.6f}"
    return gap <= limit and cosine >= 1 - limit, figure, f"{limit:g}"


def check_devices(config: dict, devices: list) -> tuple[bool, str, str]:
    """Losses of four steps on all devices against one."""
    import numpy as np

    if len(devices) == 1:
        return True, "one device", "-"
    small = {**config, "model": {**config["model"], "n_layer": 2}}
    losses = [run(build(small, part), small, 4)[0] for part in (devices, devices[:1])]
    gap = float(np.max(np.abs(np.subtract(*losses)) / losses[1]))
    return gap <= 1e-2, f"{len(devices)} devices against one: {gap:.1e}", "0.01"


def run(program, config: dict, steps: int):
    """(losses, seconds) of each step."""
    import numpy as np

    from data_pipeline.batches.batch import Batch
    from mypt_jax.plan import here

    rows = Batch(rows_of(config), np.zeros(config["batch_size"], np.int32))
    return tuple(zip(*itertools.islice(here.updates(program, rows), steps), strict=True))


def check_memory(config: dict, program, devices: list) -> tuple[bool, str, str]:
    """The state's bytes per device against the plan, and the most that was in use."""
    import math

    import jax

    from mypt_jax.model import memory
    from mypt_jax.plan import costs

    split = program.mesh.shape["fsdp"] * program.mesh.shape["tensor"]
    held = sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(program.abstract_state)
    )
    planned = costs.sizes(config).state / split
    stats = devices[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use", 0)
    estimate = memory.estimate(
        config, costs.sizes(config), program.model_config, memory.Split(**program.mesh.shape)
    )["total"]
    text = f"state {held / 2**20:.1f} MiB/device, plan {planned / 2**20:.1f}"
    measured = f"peak {peak / 2**30:.2f} GiB" if peak else "peak not told by this device"
    return held <= 1.05 * planned, text, f"{measured}, plan about {estimate:.2f} GiB"


def check_speed(config: dict, program, devices: list) -> tuple[bool, str, str]:
    import statistics

    from mypt_jax.model import flops

    losses, secs = run(program, config, STEPS)
    step_secs = statistics.median(secs[2:])
    rate = config["batch_size"] * config["model"]["block_size"] / step_secs
    mfu = flops.utilisation(config["model"], rate, devices[0].device_kind, len(devices))
    figure = f"{rate:,.0f} tokens/s" + (f", MFU {mfu:.1%}" if mfu else "")
    return losses[-1] < losses[0], figure, f"loss {losses[0]:.2f} -> {losses[-1]:.2f}"


def check_variant(config: dict, devices: list, block: int, model: dict) -> tuple[bool, str, str]:
    """The speed and the memory of another form of the same step; one that does not fit fails
    nothing. `block`: positions of a block of splash attention."""
    from unittest import mock

    import jax

    from mypt_jax.model import attention, memory
    from mypt_jax.plan import costs, here

    program = build(config, devices, **model)
    try:
        with mock.patch.object(attention, "SPLASH_BLOCK", block):
            compiled = here.lower(program).compile()
        good, found, remark = check_speed(config, program._replace(step=compiled), devices)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return True, "does not fit", "-"
    held: Any = compiled.memory_analysis()
    peak = held.peak_memory_in_bytes
    split = memory.Split(**program.mesh.shape)
    planned = memory.estimate(config, costs.sizes(config), program.model_config, split)["total"]
    return good, found, f"{remark}, peak {peak / memory.GIB:.2f} GiB, plan about {planned:.2f}"


def variants(config: dict, devices: list) -> dict:
    """{name: check} of every policy, where there are several devices of both ways to bring weights
    to their products, and on a TPU of attention's blocks, of which no estimate tells anything."""
    from mypt_jax.model import attention

    found: dict[str, tuple[int, dict]] = {}
    for remat in ("none", "light", "dots", "full"):
        for is_whole in (True, False) if len(devices) > 1 else (True,):
            name = f"remat={remat}" + ("" if is_whole else ", weights in slices")
            found[name] = attention.SPLASH_BLOCK, {"remat": remat, "gather_weights": is_whole}
    if devices[0].platform == "tpu":
        found |= {f"attention in blocks of {n}": (n, {}) for n in (256, 1024)}
    return {n: functools.partial(check_variant, config, devices, *of) for n, of in found.items()}


def pasted(text: str, title: str, lines: list[str]) -> str:
    """A page with a section of that title, in place of the one that it has, else at its end."""
    heading = f"### {title}\n"
    before, found, after = text.partition(heading)
    following = re.search(r"^#{1,3} ", after, re.MULTILINE) if found else None
    rest = "\n" + after[following.start() :] if following else ""
    own = "\n".join([heading, *lines])
    return (before if found else text.rstrip("\n") + "\n\n") + f"{own}\n{rest}"


def paste(path: str, title: str, lines: list[str]) -> None:
    with open(path, encoding="utf-8") as file:
        page = file.read()
    with atomic.replacing(path) as file:
        file.write(pasted(page, title, lines).encode())


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__)
    parser.add_argument("--size", default="", help="tiny, 150m, 350m, 750m")
    parser.add_argument("--full", action="store_true", help="time every form of the step")
    parser.add_argument("--into", default="", metavar="FILE", help="a Markdown page, for the table")
    args = parser.parse_args(argv)
    if args.size:
        stage_file.load(f"{stage_file.BASE}:{args.size}")
    if args.into and not os.path.isfile(args.into):
        raise errors.UserError(f"--into={args.into} is no file: wanted a page, as docs/scaling.md")
    import jax

    devices = jax.devices()
    size = args.size or ("tiny" if devices[0].platform == "cpu" else "150m")
    config = config_of(size, len(devices))
    program = build(config, devices)
    name = f"{len(devices)} x {devices[0].device_kind}"
    lines: list[str] = []

    def say(*more: str) -> None:
        lines.extend(more)
        print(*more, sep="\n", flush=True)

    say(
        f"{name}, jax {jax.__version__}, {size}, batch "
        f"{config['batch_size']} x {config['model']['block_size']}, mesh "
        f"{'x'.join(map(str, program.mesh.devices.shape))}",
        "",
        "| check | | found | limit, remark |",
        "|---|---|---|---|",
    )
    checks = {
        "attention": lambda: check_attention(config, program),
        "loss and gradients": lambda: check_gradients(config, program, devices),
        "all devices": lambda: check_devices(config, devices),
        "speed": lambda: check_speed(config, program, devices),
        "memory": lambda: check_memory(config, program, devices),
    }
    if args.full:
        checks |= variants(config, devices)
    failed = []
    for check_name, check in checks.items():
        start = time.perf_counter()
        good, found, remark = check()
        say(
            f"| {check_name} ({time.perf_counter() - start:.0f} s) | {'ok' if good else 'FAILED'} "
            f"| {found} | {remark} |"
        )
        if not good:
            failed.append(check_name)
    if args.into:
        paste(args.into, f"First light: {name}, {size}, {datetime.date.today()}", lines)
    if failed:
        raise errors.UserError(f"failed: {', '.join(failed)}; the table above says by how much")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
