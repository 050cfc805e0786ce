"""One run in a page of text: what it is, what it came to, what it holds, and what can follow."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipeline.batches import mixture
from mypt_jax.manage import listing
from mypt_jax.report import cells, rules, runs, tables
from mypt_jax.report.run import Run
from mypt_jax.runs import layout
from mypt_jax.runs.comparison import Difference, Refusal
from mypt_jax.schema import changes, keys, recorded, tree

_WIDTH = 10  # of the names before the lines


def _find(path: str) -> tuple[Run, list[Run], list[str]]:
    """(the run at a path, all runs beside it, linked, why others are not among these). Raises
    UserError where there is none."""
    runs.read_run(Path(path))  # says what is missing
    damaged: list[str] = []
    around = runs.read_runs(Path(path).absolute().parent, tell=damaged.append)
    run = next(one for one in around if os.path.samefile(one.path, path))
    return run, around, damaged


def lines(path: str) -> list[str]:
    """The page of the run at `path`. Raises UserError where there is none."""
    run, around, damaged = _find(path)
    found: list[str] = []
    for name, said in [*_parts(run, path, around), *(("left out", line) for line in damaged)]:
        shown = [said] if isinstance(said, str) else list(said)
        for number, line in enumerate(shown):
            found.append(f"{'' if number else name:{_WIDTH}}{line}".rstrip())
    return found


def _parts(run: Run, path: str, around: Sequence[Run]) -> Iterator[tuple[str, str | Sequence[str]]]:
    yield "run", f"{path}: {listing.state(run)}, {rules.verdict(run)}"
    yield "begun", f"{run.record['created']}, run_id {run.record['run_id']}"
    chain = [f"{one['stage']}@{one['step']}" for one in run.ancestors]
    yield "lineage", " -> ".join([*chain, run.stage])
    yield "recipe", _recipe(run)
    if changed := _changed(run):
        yield "changed", changed
    yield "losses", _losses(run)
    yield "data", _data(run)
    if used := [one for one in around if _started_from(one, run)]:
        yield "parent of", [os.path.join(os.path.dirname(path), _place(one, run)) for one in used]
    yield "holds", _holds(path)
    if notes := rules.warnings(run):
        yield "notes", [note.partition(": ")[2] for note in notes]
    yield "then", _then(run, path)


def _place(one: Run, run: Run) -> str:
    return os.path.relpath(one.path, os.path.dirname(run.path))


def _started_from(one: Run, run: Run) -> bool:
    return one.parent is run or any(part is run for part in one.merged)


def _recipe(run: Run) -> str:
    if run.merged_from:
        return f"the sum {cells.init_text(run)}"
    rate, replay = cells.recipe_texts(run)
    config = run.config
    block = config["model"]["block_size"]
    return (
        f"{run.num_steps:,} steps of {config['batch_size']} x {block} tokens, peak_lr {rate}, "
        f"replay {replay}, seed {config['seed']}"
    )


def _changed(run: Run) -> list[str]:
    """Keys that differ from the parent's and decide the result, with both values."""
    if not run.ancestors or run.merged_from:
        return []
    before = tree.completed(run.ancestors[-1]["config"])
    effects = (keys.ARCHITECTURE, keys.TRAINING, keys.EVALUATION)
    found = changes.between(before, recorded.config(str(run.path)), *effects)
    return [
        f"{name}: {before} -> {now}" for name, (before, now) in found.items() if name != "init_from"
    ]


def _losses(run: Run) -> list[str]:
    """Start, final, and the changes in the stage and against the base, by role."""
    rows = [("", "start", "final", "in this run", "against the base")]
    for role in tables.roles_of([run]):
        if role not in run.final:
            continue
        own = run.against_start(role)
        base = run.against_baseline(role) if run.is_domain_stage else None
        start = cells.loss_text(own.start) if isinstance(own, Difference) else cells.NONE
        changes = [cells.change_text(change) or cells.NONE for change in (own, base)]
        rows.append((role, start, cells.loss_text(run.final[role]), *changes))
    if len(rows) == 1:
        return ["nothing was evaluated"]
    drift = run.drift("general")
    more = [f"drift {cells.drift_text(run, 'general')} nats/token"] if drift else []
    refused = [run.against_baseline(role) for role in mixture.ROLES if run.is_domain_stage]
    more += [one.reason for one in refused if isinstance(one, Refusal)]
    return [*listing.aligned(rows), *more]


def _data(run: Run) -> list[str]:
    table = tables.data_seen([run])
    if not table.rows:
        return ["not known: it was imported" if not run.rows else "none"]
    datasets = [source["dataset"] for source in run.trained_on.values()]
    rows = [table.header[1:], *(row[1:] for row in table.rows)]
    places = ["Dataset", *datasets]
    return listing.aligned([(*row, place) for row, place in zip(rows, places, strict=True)])


def _holds(path: str) -> list[str]:
    """Its saved steps, with what each takes."""
    found = []
    finished = layout.finished(path)
    for step in layout.steps(path):
        size = listing.size(layout.step_dir(path, step)) / 1e6
        is_result = finished and finished["step"] == step
        kept = "with its optimizer" if layout.has_optimizer(path, step) else "parameters alone"
        found.append(f"step {step:,}: {size:,.1f} MB, {kept}{', the result' if is_result else ''}")
    rest = listing.size(path) / 1e6
    return [*found, f"{rest:,.1f} MB in all"]


def _then(run: Run, path: str) -> list[str]:
    if not run.finished:
        command = layout.make_command(path)
        stop = f"guard stop: step {listing.stands_at(run)}:"
        if any(note.startswith(stop) for note in run.record["notes"]):
            command += " --config.guard.action=warn"
            return ["its guard would stop it again; so it goes on, with its overrides:", command]
        return ["the command that began it goes on, with its overrides:", command]
    found = [f"mypt generate --run={path} --prompt=TEXT"]
    step = run.finished["step"]
    if run.merged_from or not run.rows:
        return found
    has_optimizer = layout.has_optimizer(path, step)
    if (
        "rolled_back_from" in run.finished
        or changes.is_drawn_back(run.record)
        or (not has_optimizer and changes.lost_with_optimizer(recorded.config(path)))
    ):
        return [*found, f"a stage from it: --config.init_from={path}"]
    if has_optimizer:
        longer = "where it stopped"
    else:
        longer = "from its parameters, the rate warmed up again"
    return [*found, f"--config.num_steps above {step:,} trains it longer, {longer}"]
