"""Runs on 8 CPU devices, in a process of its own, what test_sharding.py looks at.

The device count of a process is fixed before its first use, so tests cannot choose it themselves.
python tests/mesh_worker.py DIR            writes DIR/result.json
python tests/mesh_worker.py DIR slow       what takes minutes to compile, the same way
"""

import json
import math
import sys
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np

from configs import base, v8
from data_pipeline.batches import source_order
from data_pipeline.batches.batch import Batch
from mypt_jax.checkpoint import save
from mypt_jax.distributed import sharding
from mypt_jax.plan import collectives, hlo
from mypt_jax.train import step

MESHES = {"data": (8, 1, 1), "fsdp": (1, 8, 1), "all": (2, 2, 2), "one": (1, 1, 1)}
SLICED = "fsdp, weights in slices"
STEPS = 20
VOCAB, WIDTH, LENGTH, BATCH = 256, 64, 32, 16
# Dropout key, learning rate, largest loss accepted.
CONTROL = step.Control(step.dropout_key(0, 0), *np.array([1e-3, np.inf, 0], np.float32))


def small_config(**changes) -> dict:
    """A base config with a model that compiles in seconds; dropout stays on."""
    config = base.get_config("tiny").to_dict()
    config["model"] |= dict(vocab_size=VOCAB, block_size=LENGTH, n_layer=2, n_embd=WIDTH)
    config["model"]["dropout_bits"] = "hash"  # as on a TPU
    config["model"]["scan_layers"] = True  # as the sizes that are trained on several devices
    config["optim"]["warmup_steps"] = 5
    config |= dict(batch_size=BATCH, num_steps=STEPS)
    for key, value in changes.items():
        if isinstance(value, dict):
            config[key] |= value
        else:
            config[key] = value
    return config


def mesh_of(sizes: tuple[int, int, int]) -> dict:
    return {"mesh": dict(zip(sharding.MESH_AXES, sizes, strict=True))}


def build(sizes, **changes) -> step.Program:
    config = small_config(**mesh_of(sizes), **changes)
    return step.build(config, eot=VOCAB - 1, devices=jax.devices()[: math.prod(sizes)])


def batches() -> np.ndarray:
    """[STEPS, B, L + 1]: counting sequences with a few gaps, which a model learns at once."""
    random = np.random.default_rng(0)
    jumps = random.integers(0, 50, (STEPS, BATCH, LENGTH + 1)) * (
        random.random((STEPS, BATCH, LENGTH + 1)) < 0.1
    )
    return ((1 + jumps).cumsum(axis=2) % VOCAB).astype(np.int32)


def on_devices(program: step.Program, rows: np.ndarray) -> Batch:
    """A batch of windows that are all of the first source."""
    return sharding.global_batch(program.mesh, Batch(rows, np.zeros(BATCH, np.int32)), BATCH)


def compile_step(program: step.Program):
    return program.step.lower(
        program.abstract_state, program.abstract_batch, CONTROL, program.abstract_teacher
    ).compile()


def train(program, compiled, initial, steps: int = STEPS) -> tuple[dict, list[float], bool]:
    """(state, losses, whether every device batch put together again was the given one)."""
    state = jax.tree.map(
        lambda x, a: jax.device_put(np.asarray(x), a.sharding), initial, program.abstract_state
    )
    losses, same = [], True
    for done, rows in enumerate(batches()[:steps]):
        batch = on_devices(program, rows)
        windows, seen = batch.tokens, np.zeros_like(rows)
        for shard in windows.addressable_shards:
            seen[shard.index] = shard.data
        same &= bool(np.array_equal(seen, rows))
        state, figures = compiled(state, batch, CONTROL._replace(lr=program.rates(done)), {})
        losses.append(float(figures["loss"]))
    return state, losses, same


def bytes_per_device(state: dict) -> list[int]:
    held = dict.fromkeys((d.id for d in jax.devices()), 0)
    for leaf in jax.tree.leaves(state):
        for shard in leaf.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
    return list(held.values())


def donation(program: step.Program, compiled) -> dict:
    """Bytes per device that the step hands back in place, against the bytes of the state."""
    state_bytes = sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(program.abstract_state)
    )
    return {"alias": compiled.memory_analysis().alias_size_in_bytes, "state": state_bytes}


def of_the_head(compiled) -> dict[str, int]:
    """How often a step runs each collective that the loss has; not every jax says from which line
    the head is gathered."""
    found: dict[str, int] = {}
    for one in collectives.found(hlo.Program(compiled.as_text()), slice_size=8):
        is_head = not one.source and one.arrays[0].dims == (WIDTH, VOCAB)
        if (
            is_head
            or any("loss.py" in line for line in one.source)
            and (one.arrays[0].elements >= VOCAB)
        ):
            found[one.kind] = found.get(one.kind, 0) + one.times
    return found


def cross_restore(directory: Path, programs: dict, states: dict) -> list[str]:
    """Saves on every mesh, restores on every mesh; returns what was not equal."""
    wrong = []
    for name, state in states.items():
        checkpointer = save.Checkpointer(str(directory / name), keep=set)
        checkpointer.save(STEPS, state, {"mesh": name})
        checkpointer.wait()
        want = jax.tree.leaves(jax.tree.map(sharding.to_host, state))
        for other, program in programs.items():
            restored, _ = checkpointer.restore(STEPS, program.abstract_state)
            placed = jax.tree.map(
                lambda x, a: x.sharding == a.sharding, restored, program.abstract_state
            )
            got = jax.tree.leaves(jax.tree.map(sharding.to_host, restored))
            same = all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
            if not (same and all(jax.tree.leaves(placed))):
                wrong.append(f"{name} -> {other}")
        checkpointer.close()
    return wrong


def splash_losses(sizes: tuple[int, int, int]) -> list[float]:
    """The splash kernel, interpreted, under this mesh; 2 steps are enough to see a wrong place."""
    program = build(sizes, model={"attention": "splash_interpret", "block_size": 128, "n_layer": 1})
    state, losses = program.init(), []
    for rows in batches()[:2]:
        windows = np.tile(rows[:, :-1], 4)[:, :128]
        windows = np.concatenate([windows, windows[:, :1]], axis=1)
        state, figures = program.step(state, on_devices(program, windows), CONTROL, {})
        losses.append(float(figures["loss"]))
    return losses


def taught(sizes: tuple[int, int, int], parts: int) -> dict[str, list[float]]:
    """Figures of two updates with a teacher on the replay windows: batch 12, a fifth of them."""
    program = build(
        sizes,
        batch_size=12,
        accumulation_steps=parts,
        objective={"replay": "kl"},
        data={"replay_ratio": 0.2},
        model={"dropout": 0.0, "scan_layers": False},
    )
    teacher = build((1, 1, 1), seed=7).init()["params"]  # not the student's own start
    teacher = jax.tree.map(
        lambda x, a: jax.device_put(np.asarray(x), a.sharding), teacher, program.abstract_teacher
    )
    order = source_order.Schedule([Fraction(4, 5), Fraction(1, 5)])
    state, found = program.init(), {}
    control = CONTROL._replace(replay_weight=np.float32(3))
    for step_, rows in enumerate(batches()[:2]):
        source = order.sources(5)[np.arange(12 * step_, 12 * step_ + 12) % 5]
        batch = sharding.global_batch(program.mesh, Batch(rows[:12], source), 12)
        state, figures = program.step(state, batch, control, teacher)
        for name, value in figures.items():
            found.setdefault(name, []).extend(map(float, jax.tree.leaves(value)))
    return found


def stage_file() -> dict:
    """configs/v8.py as it stands, batch 12, on 8 devices: compiled, never run."""
    config = v8.get_config().to_dict()
    program = step.build(config, eot=50_256)
    compile_step(program)
    return {"mesh": list(program.mesh.devices.shape), "notes": program.notes}


def quick(directory: Path) -> dict:
    programs = {name: build(sizes) for name, sizes in MESHES.items()}
    programs[SLICED] = build(MESHES["fsdp"], model={"gather_weights": False})
    result = {"losses": {}, "same_batches": {}, "donation": {}, "of_the_head": {}}
    states = {}
    # Initialised on one mesh and on another: random numbers do not depend on the mesh either.
    initial = jax.tree.map(np.asarray, programs["one"].init())
    other = jax.tree.map(np.asarray, programs["all"].init())
    same = jax.tree.map(np.array_equal, initial, other)
    result["same_initialisation"] = all(jax.tree.leaves(same))
    for name, program in programs.items():
        compiled = compile_step(program)
        result["donation"][name] = donation(program, compiled)
        result["of_the_head"][name] = of_the_head(compiled)
        states[name], result["losses"][name], result["same_batches"][name] = train(
            program, compiled, initial
        )
    result["restore_faults"] = cross_restore(directory, programs, states)
    # Parts of a batch draw other dropout masks, so without dropout.
    plain = {"model": {"dropout": 0.0}}
    result["accumulated"] = [
        train(program, compile_step(program), initial, 4)[1]
        for program in (
            build(MESHES["fsdp"], accumulation_steps=2, **plain),
            build(MESHES["one"], **plain),
        )
    ]
    taught_on = {"one": ((1, 1, 1), 1), "parts": ((2, 2, 1), 3), "all": ((1, 2, 2), 1)}
    result["taught"] = {name: taught(*where) for name, where in taught_on.items()}
    tiny = base.get_config("tiny").to_dict() | mesh_of(MESHES["fsdp"])
    program = step.build(tiny, eot=4096)
    state = jax.tree.map(
        lambda x: jax.device_put(np.zeros(x.shape, x.dtype), x.sharding), program.abstract_state
    )
    result["fsdp_bytes"] = bytes_per_device(state)
    result["state_bytes"] = sum(x.nbytes for x in jax.tree.leaves(state))
    return result


def slow() -> dict:
    splash = {name: splash_losses(MESHES[name]) for name in ("one", "all")}
    return {"splash": splash, "stage_file": stage_file()}


def main(directory: Path, which: str = "quick") -> None:
    result = slow() if which == "slow" else quick(directory)
    (directory / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
