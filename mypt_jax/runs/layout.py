"""A run directory: where its files are, and what can be read from them without JAX."""

import contextlib
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence

from data_pipeline.errors import UserError
from mypt_jax import shipped
from mypt_jax.runs import comparison, evaluations, integrity, kinds, lineage, metrics_file

CONFIG = "config.json"
CONFIG_DIFF = "config_diff.json"
METRICS = "metrics.jsonl"
FINISHED = "finished.json"
CHECKPOINTS = "checkpoints"
META = "meta.json"  # of a checkpoint
EVALUATIONS = "eval"
LINE = "line.json"  # of a merged run: the points of the line that it is one of
MERGE_OF = "merge of "  # in the place of init_from
SAMPLES = "samples.json"  # {"prompt": {"run": "continuation"}}, beside the runs


def join(workdir: str, *names: str) -> str:
    return os.path.join(workdir, *names)


def step_dir(workdir: str, step: int) -> str:
    return os.path.join(workdir, CHECKPOINTS, f"{step:08d}")


def eval_file(workdir: str, step: int) -> str:
    return os.path.join(workdir, EVALUATIONS, f"step_{step:08d}.npz")


def baseline_file(workdir: str) -> str:
    """The base stage on the windows of this run."""
    return os.path.join(workdir, EVALUATIONS, "baseline.npz")


def line_file(workdir: str, number: int) -> str:
    """What a point of the line was measured at."""
    return os.path.join(workdir, EVALUATIONS, f"line_{number:04d}.npz")


def line(workdir: str) -> dict | None:
    """line.json of a merged run; None where it is of no line."""
    path = join(workdir, LINE)
    if not os.path.exists(path):
        return None
    return lineage.read_json(path, what=f"run {workdir}", wanted=kinds.LINE)


def steps(workdir: str) -> list[int]:
    """Steps that have a checkpoint directory (valid or not), ascending."""
    directory = os.path.join(workdir, CHECKPOINTS)
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return sorted(int(name) for name in names if name.isdecimal())


def has_optimizer(workdir: str, step: int) -> bool:
    """Whether a step has its optimizer's state: a finished run need not, an import and a sum of
    runs never had one, and what a killed removal left is none."""
    directory = step_dir(workdir, step)
    if not integrity.has(directory, "rest"):
        return False
    meta = lineage.read_json(join(directory, META), what=f"run {workdir}", wanted=kinds.META)
    return any(name.startswith("opt_state/") for name in meta["tree"]["rest"])


def config(workdir: str) -> dict:
    """config.json as it stands; schema/recorded.py reads what an older version did not write."""
    return lineage.read_json(join(workdir, CONFIG), what=f"run {workdir}", wanted=kinds.CONFIG)


def record(workdir: str) -> dict:
    """The lineage of the run, with the places where its ancestors lie now."""
    return located(workdir, _recorded(workdir))


def _recorded(workdir: str) -> dict:
    path = join(workdir, lineage.FILE)
    return lineage.read_json(path, what=f"run {workdir}", wanted=kinds.RECORD)


def located(workdir: str, record: dict, *, init_from: str = "") -> dict:
    """A lineage of the run at `workdir`, in which what it came from has the places where that lies
    now: runs that were moved together keep to each other. `init_from`: instead of its config's."""
    anchors = list(_moves(workdir, record, init_from))  # (a run's place as recorded, and now)
    return _located(record, anchors) if anchors else record


def _located(record: dict, anchors: Sequence[tuple[str, str]]) -> dict:
    def here(one: dict) -> dict:
        if not one["path"]:
            return one
        places = (join(now, os.path.relpath(one["path"], before)) for before, now in anchors)
        place = next((place for place in places if _is_known(place, one)), one["path"])
        return {**one, "path": os.path.normpath(place)}

    lists = {
        name: [_located(here(one), anchors) for one in record[name]]
        for name in lineage.ABOVE
        if name in record
    }
    held = {name: here(record[name]) for name in ("teacher", "frozen") if name in record}
    found = {**record, **lists, **held}
    if found.get("parent"):
        found["parent"] = {**found["parent"], "path": found["ancestors"][-1]["path"]}
    return found


def _moves(workdir: str, record: Mapping, init_from: str) -> Iterator[tuple[str, str]]:
    """Where this run and its parent were when they were recorded, and lie now, if elsewhere."""
    try:
        own = config(workdir)
    except UserError:  # told by whoever needs it
        return
    known = [(own["workdir"], workdir)]
    init_from = init_from or own["init_from"]
    if record["ancestors"] and not init_from.startswith(MERGE_OF):
        with contextlib.suppress(UserError):  # a path with an @ that is not there any more
            known.append((record["ancestors"][-1]["path"], parse_spec(init_from)[0]))
    for before, now in known:
        if before and os.path.realpath(before) != os.path.realpath(now):
            yield before, now


def _is_known(path: str, one: Mapping) -> bool:
    """Whether the run at `path` is this one: by its id, older ones by their end; a step that is
    held beside another by its files."""
    if "digest" in one:
        return integrity.digest(step_dir(path, one["step"]), "params") == one["digest"]
    try:
        if one.get("run_id"):
            return _recorded(path)["run_id"] == one["run_id"]
        return (finished(path) or {}).get("params_sha256", "") == one.get("params_sha256")
    except UserError:
        return False


def record_at(workdir: str, step: int) -> dict:
    """The lineage as it stood at a saved step, with the tokens seen up to it."""
    path = join(step_dir(workdir, step), META)
    if not os.path.exists(path):
        return record(workdir)
    meta = lineage.read_json(path, what=f"run {workdir}", wanted=kinds.STEP_META)
    return located(workdir, meta["lineage"])


def finished(workdir: str) -> dict | None:
    path = join(workdir, FINISHED)
    if not os.path.exists(path):
        return None
    return lineage.read_json(path, what=f"run {workdir}", wanted=kinds.FINISHED)


def read_metrics(workdir: str) -> metrics_file.Read:
    return metrics_file.read(join(workdir, METRICS))


def metrics(workdir: str) -> list[dict]:
    """Rows of metrics.jsonl in the order of their steps, damaged lines left out."""
    return read_metrics(workdir).rows


def losses(row: dict) -> dict[str, float]:
    """{"domain": .., "general": .., "domain/cwe": ..}: finite losses of a row's evaluation."""
    found = {}
    for key, value in row.items():
        if key.startswith("eval/") and key.endswith("/loss"):
            name = key[len("eval/") : -len("/loss")]
            if name and value is not None and math.isfinite(value):
                found[name] = value
    return found


def as_ancestor(record: dict, config: dict, *, path: str, step: int, digest: str) -> dict:
    """lineage.as_ancestor, with the losses that the run at `path` logged at `step`."""
    row = next((row for row in metrics(path) if row["step"] == step), {})
    return lineage.as_ancestor(
        record, config, path=path, step=step, digest=digest, losses=losses(row)
    )


def has_eval(row: dict) -> bool:
    return any(key.startswith("eval/") for key in row)


def best_steps(workdir: str, saved: list[int], *, max_forgetting: float) -> list[int]:
    """Of the saved steps those with an allowed forgetting, lowest domain loss first; of those whose
    domain losses are of one text, which is that of the newest."""
    allowed = []
    for row in metrics(workdir):
        domain = row.get("eval/domain/loss")
        changes = [row.get(f"{name}/percent", 0.0) for name in ("forgetting", "behaviour")]
        if row["step"] in saved and domain is not None and None not in changes:
            if max(changes) <= 100 * max_forgetting:
                allowed.append((domain, row["step"]))
    records = [evaluations.read(eval_file(workdir, step)) for _, step in allowed]
    groups = comparison.alike(records, "domain")
    newest = max(groups, key=max, default=[])
    return [step for _, step in sorted(allowed[number] for number in newest)]


def make_hint(path: str) -> str:
    """How the run at `path` could be made, where a stage file has its name."""
    stage = os.path.basename(os.path.normpath(path))
    if stage in shipped.names():
        return f"make it with: {make_command(path)}"
    return "a run is a directory with a config.json, such as runs/tiny/v8"


def make_command(path: str) -> str:
    """The command that would make the run at `path`, but for overrides: as its config says, else
    guessed from where it lies."""
    above, stage = os.path.split(os.path.normpath(path))
    size, places = os.path.basename(above), []
    if _is_run(path):
        own = config(path)
        stage, size = own["stage"], own["size"]
        if os.path.normpath(path) != join("runs", size, stage):
            places = [f"--config.workdir={path}", f"--config.init_from={own['init_from']}"]
    size = above if above and _is_run(above) else size  # stages of an import lie inside it
    spec = f"configs/{stage}.py:{size}" if size else f"configs/{stage}.py"
    return shlex.join(["python", "-m", "mypt_jax.main", f"--config={spec}", *places])


def parse_spec(spec: str) -> tuple[str, str]:
    """ "PATH", "PATH@STEP" or "PATH@best" -> (path, "" | digits | "best"); a path may have an @ of
    its own. Raises UserError."""
    path, at, which = spec.rpartition("@")
    if at and _is_step(which):
        is_its_name = _is_run(spec) and not _is_run(path)
        return (spec, "") if is_its_name else (path, which)
    # What a bucket has is not asked here: it says itself that there is no such run.
    if not at or "/" in which or "://" in path or _is_run(spec):
        return spec, ""
    raise UserError(f"{spec!r}: after @ stands a step number or the word best")


def check_name(path: str, *, what: str) -> None:
    """Raises UserError for a new run's directory that would be read as a step of another one."""
    start, _, which = os.path.normpath(path).rpartition("@")
    if start and _is_step(which):
        raise UserError(f"{what} {path} reads as step {which} of {start}: give it another name")


def _is_step(which: str) -> bool:
    return which == "best" or which.isdecimal()


def _is_run(path: str) -> bool:
    return os.path.isfile(join(os.path.expanduser(path), CONFIG))


def resolve_step(spec: str) -> tuple[str, int]:
    """(path, step) that `spec` names. Raises UserError when the run is missing or unfinished."""
    path, which = parse_spec(spec)
    if not os.path.isfile(join(path, CONFIG)):
        raise UserError(f"there is no run at {path}; {make_hint(path)}")
    have = steps(path)
    if which == "best":
        limit = config(path)["guard"]["max_forgetting"]
        best = best_steps(path, have, max_forgetting=limit)
        if not best:
            raise UserError(f"run {path} has no saved step with an allowed evaluation; use @STEP")
        return path, best[0]
    if which:
        if int(which) not in have:
            raise UserError(f"run {path} has no checkpoint of step {which}; it has {have}")
        return path, int(which)
    done = finished(path)
    if done is None:
        raise UserError(
            f"run {path} is not finished (checkpoints: {have}); finish it with: "
            f"{make_command(path)}  or name a step: {path}@STEP"
        )
    return path, done["step"]
