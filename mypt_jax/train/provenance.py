"""What a run says of itself in its workdir: config, difference to the parent's, lineage."""

import copy
import datetime
import os
import uuid
from collections.abc import Callable, Mapping
from fractions import Fraction

import jax
import jaxlib

from data_pipeline.batches import loader as loaders
from data_pipeline.batches import mixture as mixtures
from data_pipeline.batches import window_order
from data_pipeline.errors import UserError
from mypt_jax import optim
from mypt_jax.checkpoint import restore
from mypt_jax.distributed import coordination, sharding
from mypt_jax.evaluate import losses
from mypt_jax.monitor import device as devices
from mypt_jax.monitor import metrics
from mypt_jax.runs import code, drawn, layout, lineage, own_tokenizer
from mypt_jax.schema import keys, recorded, tree
from mypt_jax.schema.validation import Parent, Validated
from mypt_jax.train import averaging, step
from mypt_jax.train.rows import Rows
from mypt_jax.train.run import Run

# Set by the environment (JAX_ENABLE_X64 and so on), and seen in the bits of a run.
_OF_JAX = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_most_optimizations",
    "jax_enable_x64",
    "jax_threefry_partitionable",
)
FIRST_LR = "first_lr"  # in the lineage: what warmup rises from where a parent's moments go on
REWARM = "rewarm"  # in the lineage: where the rate was warmed up again, {"after", "steps"}


def new(
    validated: Validated, loader: loaders.TrainLoader, program: step.Program, state: Mapping
) -> dict:
    """The lineage of a run that begins now."""
    config, parent = validated.config, validated.parent
    record = lineage.new(
        config=config,
        run_id=uuid.uuid4().hex[:12],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data=data(validated.mixture, loader),
        tokenizer=own_tokenizer.recorded_as(validated.tokenizer),
    )
    record["code"] = code.digest()
    record["numerics"] = numerics(config, program)
    record["schedule"] = _schedule(config)
    record["eval_plan"] = validated.eval_plan
    if config["optim"]["average_ratio"]:
        record[averaging.BEGIN] = averaging.begin_of(config)
    if validated.frozen is not None:
        record["frozen"] = validated.frozen._asdict()
    if parent is None:
        return record
    finished = coordination.broadcast(  # since hashing the parameters takes all processes
        "see how the parent ended",
        lambda: layout.finished(parent.path),
        timeout_secs=config["distributed"]["save_timeout_secs"],
    )
    if finished and finished["step"] == parent.step:
        digest = finished["params_sha256"]
    else:
        if "params" in state:
            params = jax.tree.map(sharding.to_host, dict(state["params"]))
        else:  # adapters begin beside the parent's, of which no copy is held
            params = restore.restore_params(parent.path, parent.step, None)
        digest = lineage.params_sha256(params)
    own = layout.as_ancestor(
        parent.record, parent.config, path=parent.path, step=parent.step, digest=digest
    )
    if config["optim"]["moments"] == "parent":
        record[FIRST_LR] = float(rates(parent.config, parent.record)(parent.step - 1))
    table = drawn.table(parent.record, parent.config)
    return lineage.child_of(parent.record, record, own, drawn=table)


def data(mixture: mixtures.Mixture, loader: loaders.TrainLoader) -> dict:
    """What a run is trained on, and which windows of it were there before it began."""
    first = loader.first_windows()
    sources = {
        part.key: {
            "dataset": part.dataset.path,
            "share": str(part.share),
            "fingerprint": part.dataset.fingerprint,
            "train_fingerprint": part.train_fingerprint,
            "licence": part.data.licence,
            "first_window": first.get(part.key, 0),
            "windows": 0,
        }
        for part in mixture.components
    }
    return {"fingerprint": loader.fingerprint, "order": loader.version, "sources": sources}


def count_windows(run: Run, loader: loaders.TrainLoader, done: int) -> None:
    """Writes into the lineage what was drawn up to step `done`."""
    block_size = run.config["model"]["block_size"]
    lineage.count_windows(run.record, loader.counts(done), block_size)


def meta(run: Run, rows: Rows, done: int, row: Mapping) -> dict:
    """What is saved beside the arrays of step `done`."""
    count_windows(run, rows.loader, done)
    return {
        # As it is now: the file is written in the background, when the next step may be counted.
        "lineage": copy.deepcopy(run.record),
        "row": metrics.finite(row),
        "guard": rows.guard.state(),
        "wall_secs": run.wall_secs(),
        "data": {"fingerprint": rows.loader.fingerprint, "describe": rows.loader.describe()},
    }


def numerics(config: Mapping, program: step.Program) -> dict:
    """What two evaluations must share for their losses to be equal to the last bit."""
    device = program.mesh.devices.flat[0]
    evaluation = {**config["eval"], "batch_size": losses.eval_batch_size(config)}
    resolved = {**config, "model": program.model_config, "eval": evaluation}
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "processor": devices.fingerprint(device),
        "cores": devices.cores(device),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_settings": {name: jax.config.values.get(name) for name in _OF_JAX},
        "mesh": list(program.mesh.devices.shape),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        **{_numerics_name(row): tree.get(resolved, row.name) for row in keys.ROWS if row.numerics},
    }


def _numerics_name(row: keys.Key) -> str:
    return row.name.removeprefix("model.").replace(".", "_")


def recorded_numerics(record: Mapping) -> dict:
    """The numerics in a run's lineage; a key of later times has the value of its time."""
    absent = {_numerics_name(row): row.absent for row in keys.ROWS if row.numerics}
    return {**absent, **record.get("numerics", {})}


def evaluated_by(numerics: Mapping) -> dict:
    """Of the numerics, what an evaluation computes with, not what is trained with."""
    return {n: value for n, value in numerics.items() if n not in ("remat", "dropout_bits")}


def policy_of(config: Mapping) -> str:
    """The policy of recomputation of the run that is in the workdir, "" where there is none."""
    workdir = config["workdir"]
    if not layout.steps(workdir) or not os.path.exists(layout.join(workdir, lineage.FILE)):
        return ""
    numerics = layout.record(workdir).get("numerics", {})
    return numerics.get("remat") or recorded.config(workdir)["model"]["remat"]


def write(workdir: str, config: Mapping, record: Mapping, parent: Parent | None) -> None:
    """config.json, its difference to the parent's, and lineage.json; no longer finished.json."""
    if os.path.exists(layout.join(workdir, layout.FINISHED)):
        os.remove(layout.join(workdir, layout.FINISHED))  # a finished run that is to go on
    above = parent.path if parent else ""
    own_tokenizer.keep(workdir, config["data"]["tokenizer"], parent=above)
    lineage.write_json(layout.join(workdir, layout.CONFIG), config)
    lineage.write_json(layout.join(workdir, lineage.FILE), record)
    if parent is not None:
        diff = lineage.differences(parent.config, config)
        lineage.write_json(layout.join(workdir, layout.CONFIG_DIFF), diff)


def check_data(
    record: dict,
    config: Mapping,
    mixture: mixtures.Mixture,
    saved: Mapping,
    done: int,
    *,
    open_loader: Callable[[Mapping, int], loaders.TrainLoader],
) -> tuple[loaders.TrainLoader, list[str]]:
    """(what the run goes on with, lines on data that changed since step `done`, recorded).

    `open_loader(record, version)`: the batches as a lineage has them. Raises UserError for other
    training data, unless that is allowed.
    """
    loader = open_loader(record, saved["describe"]["order"])
    if saved["fingerprint"] == loader.fingerprint:
        return loader, []
    before, now = saved["describe"], loader.describe()
    changed = _shown(lineage.differences(before, now))
    line = f"the data of {config['workdir']} changed since step {done} ({changed})"
    if _trained_on(before) == _trained_on(now):
        was, are = before["sources"], now["sources"]
        names = [key for key in sorted({*was, *are}) if was.get(key) != are.get(key)]
        evaluated = f"what {config['workdir']} is evaluated on changed since step {done}"
        line = f"{evaluated} ({', '.join(names)})"
    elif not config["data"]["allow_change"]:
        raise UserError(f"{line}; --config.data.allow_change=True goes on and records it")
    else:
        _begin_anew(record, before, done)
        loader = open_loader(record, window_order.VERSION)
    record["notes"].append(line)
    kept = {name: record["data"][name] for name in (lineage.CHANGED,) if name in record["data"]}
    record["data"] = data(mixture, loader) | kept
    return loader, [f"warning: {line}"]


def _begin_anew(record: dict, before: Mapping, done: int) -> None:
    """Writes into the lineage what the run itself drew until now: it goes on with other data as a
    child of it would, which finds these windows among those of its ancestors. `before`: of
    TrainLoader.describe."""
    block_size = before["block_size"]
    own = {"seed": before["seed"], "model": {"block_size": block_size}}
    record["drawn"] = drawn.table(record, own)
    windows = {key: n // block_size for key, n in record["tokens_by_source"].items()}
    licences = {key: one for key, one in lineage.licences(record).items() if windows.get(key)}
    record["data"][lineage.CHANGED] = {"step": done, "windows": windows, "licences": licences}


def _schedule(config: Mapping) -> dict:
    """What decides the learning rate of every step."""
    return {name: tree.get(config, name) for name in optim.rate_keys()}


def check_schedule(record: dict, config: Mapping, done: int) -> list[str]:
    """A line where another length or schedule goes on from step `done`, recorded."""
    before, now = record.get("schedule"), _schedule(config)
    if before is None and os.path.exists(layout.join(config["workdir"], layout.CONFIG)):
        before = _schedule(recorded.config(config["workdir"]))
    elif before is not None:  # a key that came later has the value that the run had without it
        missing = now.keys() - before.keys()
        before = {**before, **{name: keys.BY_NAME[name].absent for name in missing}}
    record["schedule"] = now
    if before is None:
        return []
    found = lineage.differences(before, now)
    if not found:
        return []
    own = {name.rpartition(".")[2]: value for name, value in before.items()}
    is_rewarmed_here = record.get(REWARM, {}).get("after") == done
    earlier = {**record, REWARM: None} if is_rewarmed_here else record
    was = float(rates({"optim": own, "num_steps": own["num_steps"]}, earlier)(done))
    is_now = float(rates(config, record)(done))
    line = f"learning rate of step {done + 1}: {was:.3g} before, {is_now:.3g} now ({_shown(found)})"
    record["notes"].append(line)
    return [line]


def rewarm(record: dict, config: Mapping, done: int) -> str:
    """A line where a finished run goes on from its parameters alone, recorded."""
    steps = int(config["optim"]["warmup_steps"])
    line = (
        f"trained longer from the parameters of step {done}, since its optimizer's state was not "
        f"kept: moments begin at zero, the rate is warmed up again over {steps} steps"
    )
    # A start that was killed before its first save comes here again.
    if record.get(REWARM, {}).get("after") != done:
        record["notes"].append(line)
    record[REWARM] = {"after": done, "steps": steps}
    return line


def rates(config: Mapping, record: Mapping) -> optim.Rates:
    """The learning rates of a run, with what its lineage says of them."""
    found = record.get(REWARM)
    again = (found["after"], found["steps"]) if found else None
    return optim.Rates(
        config["optim"],
        num_steps=config["num_steps"],
        first_lr=record.get(FIRST_LR, 0.0),
        rewarm=again,
    )


def _trained_on(describe: Mapping) -> dict:
    """What decides the batches, of TrainLoader.describe: without text that has no share in them,
    and wherever it lies."""
    sources = {
        key: {name: value for name, value in source.items() if name != "dataset"}
        for key, source in describe["sources"].items()
        if Fraction(source["share"])
    }
    return {**describe, "sources": sources}


def check_numerics(record: dict, config: Mapping, program: step.Program, done: int) -> list[str]:
    """A line where what computes from step `done` on is not what did before, recorded.

    Losses of two runs are compared exactly only where it is the same (parent_check.py).
    """
    now = numerics(config, program)
    before = {**recorded_numerics(record), "remat": policy_of(config)}
    record["numerics"] = now
    # What an older version did not record may have been the same.
    found = lineage.differences(before, {name: now[name] for name in before if name in now})
    if not found:
        return []
    masks = " and dropout's masks" if "dropout_bits" in found else ""
    line = (
        f"numerics changed at step {done} ({_shown(found)}): equal to an undisturbed run but for "
        f"rounding{masks}"
    )
    record["notes"].append(line)
    return [line]


def _shown(differences: Mapping[str, list]) -> str:
    return "; ".join(f"{key.replace('/', '.')}: {a} -> {b}" for key, (a, b) in differences.items())
