"""validate(config): every check that needs no device, once, before anything is written.

What comes out is what runs: num_steps and warmup_steps resolved, sources and parent opened.
"""

import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from data_pipeline.batches import eval_windows
from data_pipeline.batches import mixture as mixtures
from data_pipeline.errors import UserError
from data_pipeline.prepare.contamination import checks
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax import guide
from mypt_jax.runs import baselines, kinds, layout, lineage, own_tokenizer
from mypt_jax.runs import drawn as drawn_windows
from mypt_jax.schema import (
    duration,
    held,
    parents,
    recorded,
    stage_data,
    stage_file,
    together,
    tree,
    values,
)
from mypt_jax.schema.held import Parent, Teacher


class Validated(NamedTuple):
    """The resolved config with what was opened to check it."""

    config: dict
    mixture: mixtures.Mixture
    elsewhere: list[mixtures.Component]  # evaluated, never trained on, as `extra`
    extra: list[mixtures.Component]
    eval_plan: int  # version of eval_windows
    tokenizer: tokenizers.Tokenizer
    parent: Parent | None
    teacher: Teacher | None
    frozen: Teacher | None  # what adapters are added to
    drawn: dict  # drawn.table of the ancestors
    notes: list[str]  # lines for the user


def validate(
    config: Mapping, *, overridden: Collection[str] = (), stage: Mapping | None = None
) -> Validated:
    """Checks and resolves a config; `overridden` names the keys given on the command line.

    `stage`: the stage file's own values, to say what an override changed.

    Raises UserError with one line: what was got, what is wanted, what to do.
    """
    config = tree.plain(config)
    values.check_values(config)
    _check_workdir(config["workdir"])
    mixture, elsewhere, extra = stage_data.open_data(config, overridden)
    components = [*mixture.components, *elsewhere, *extra]
    # What an earlier version took goes on by the command that began it.
    is_begun = bool(layout.steps(config["workdir"]))
    together.check_objective(config, () if is_begun else overridden)
    together.check_adapter(config)
    tokenizer = stage_data.tokenizer_of(config, components)
    mixtures.check_overlap(components)
    if config["data"]["bos_at_cuts"]:
        for one in components:
            one.dataset.edges()
    stage_data.check_elsewhere(elsewhere, mixture)
    notes = together.without_effect(config, overridden) + stage_data.samples_note(components)
    notes += duration.resolve(config, stage_data.domain_tokens(mixture), overridden)
    _check_recorded_parent(config)
    parent = _open_parent(config, tokenizer)
    notes += _bos_note(config, parent, tokenizer)
    if parent is not None:
        own_words = [one.dataset for one in components if one.role != "domain"]
        notes += held.foreign_samples(own_words, parent)
    if parent is not None and config["data"]["replay_ratio"] < guide.LOW_REPLAY:
        notes.append(
            f"warning: replay_ratio {config['data']['replay_ratio']:g} is under "
            f"{guide.LOW_REPLAY:g}: "
            "the guide sees a risk of catastrophic forgetting there"
        )
    if stage and "batch_size" in overridden:
        notes.append(stage_file.length_note(stage, config))
    notes.append(duration.line(config))
    if not layout.steps(config["workdir"]):  # a run that goes on has been asked before
        trained = [one for one in mixture.components if one.share]
        notes += checks.before_stage(trained, components)
    drawn, since = _drawn(config["workdir"], parent)
    notes += drawn_windows.changed_sources(drawn, mixture.components)
    notes += duration.coverage(config, mixture, drawn, since=since)
    if parent is not None:
        parents.check_moments(parent.config, config, path=parent.path, step=parent.step)
    teacher = _find_teacher(config, parent)
    _check_limit(config, components)
    return Validated(
        config,
        mixture,
        elsewhere,
        extra,
        _eval_plan(config["workdir"], parent),
        tokenizer,
        parent,
        teacher,
        held.find_frozen(config, parent),
        drawn,
        notes,
    )


def _find_teacher(config: dict, parent: Parent | None) -> Teacher | None:
    """The run that objective.teacher names: the one that was found when this run began, unchanged.

    Raises UserError when there is none, or nothing that it would teach.
    """
    wanted, workdir = config["objective"], config["workdir"]
    is_begun = layout.steps(workdir) and "teacher" in layout.record(workdir)
    before = recorded.config(workdir)["objective"]["teacher"] if is_begun else wanted["teacher"]
    if before != wanted["teacher"]:
        raise UserError(
            f"objective.teacher is {wanted['teacher']}, but the run at {workdir} was started with "
            f"{before}; another value wants another --config.workdir"
        )
    if not tree.has_effect(config, "objective.teacher"):
        return None
    told = f"objective.replay={wanted['replay']}"
    if parent is None and not is_begun:
        raise UserError(
            f"{told} wants a teacher, and a run from scratch has none: set objective.replay=ce"
        )
    if parent is None:  # it may be gone: the lineage says where its teacher is
        path, step = "", 0
    elif wanted["teacher"] == "base" and parent.record["ancestors"]:
        path, step = (parent.record["ancestors"][0][key] for key in ("path", "step"))
    else:
        path, step = parent.path, parent.step
    return held.find(
        config,
        "teacher",
        path,
        step,
        told=f"objective.teacher={wanted['teacher']}",
        else_do=", or set objective.replay=ce (or objective.teacher=parent in a new run)",
    )


def _check_limit(config: dict, components: list[mixtures.Component]) -> None:
    """Raises UserError for objective.max_forgetting on text of which nothing is held out."""
    wanted = config["objective"]
    roles = {one.evaluated_as for one in components if one.data.tokens["val"]}
    known_before = {"general", mixtures.BEHAVIOUR}
    needed = known_before if wanted["limit_on"] == "drift" else {wanted["limit_on"]}
    if wanted["max_forgetting"] and not needed & roles:
        remedy = {
            "drift": "give some as eval.extra=('general=DIR',)",
            "general": "limit_on=behaviour or drift is held by what mypt sample wrote",
            mixtures.BEHAVIOUR: "give data.general or data.elsewhere what mypt sample wrote",
        }[wanted["limit_on"]]
        raise UserError(
            f"objective.max_forgetting={wanted['max_forgetting']:g} on {wanted['limit_on']} wants "
            f"{' or '.join(sorted(needed))} text that is held out, and there is none; {remedy}"
        )


def _drawn(workdir: str, parent: Parent | None) -> tuple[dict, int]:
    """(drawn.table of the ancestors, the step from which a run counts): one that exists has both
    from its own start, and from where its data was changed."""
    if layout.steps(workdir) and os.path.exists(layout.join(workdir, lineage.FILE)):
        record = layout.record(workdir)
        return record.get("drawn", {}), lineage.changed(record)["step"]
    return (drawn_windows.table(parent.record, parent.config) if parent else {}), 0


def _check_workdir(workdir: str) -> None:
    """Raises UserError when `workdir` cannot be made or written to; creates nothing."""
    if not layout.steps(workdir):
        layout.check_name(workdir, what="workdir")
    path = os.path.abspath(workdir)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise UserError(f"workdir {workdir}: {path} is a file, wanted a directory")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"workdir {workdir}: {path} is not writable")


def _eval_plan(workdir: str, parent: Parent | None) -> int:
    """How windows of evaluation are chosen: a lineage goes on with what it has measured."""
    if layout.steps(workdir) and os.path.exists(layout.join(workdir, lineage.FILE)):
        return layout.record(workdir).get("eval_plan", eval_windows.WHOLE)
    if parent is None or "eval_plan" in parent.record:
        return parent.record["eval_plan"] if parent else eval_windows.HALVES
    measured = any(map(layout.has_eval, layout.metrics(parent.path)))
    return eval_windows.WHOLE if measured else eval_windows.HALVES


def _bos_note(config: Mapping, parent: Parent | None, tokenizer: tokenizers.Tokenizer) -> list[str]:
    """A line where documents begin otherwise than the parent's."""
    if parent is None or layout.steps(config["workdir"]) or tokenizer.bos == tokenizer.eot:
        return []
    has_bos = tokenizer.document_bos is not None
    if own_tokenizer.has_bos(parent.record, tokenizer) == has_bos:
        return []
    ours, theirs = ("begin", "did not") if has_bos else ("do not begin", "did")
    return [
        f"warning: the documents of this stage {ours} with BOS, those of {parent.path} {theirs}: "
        f"prepare them again with --bos={'no' if has_bos else 'yes'} to go on as it was trained"
    ]


def _check_recorded_parent(config: dict) -> None:
    """A run that exists keeps its parent: init_from must be the recorded one."""
    path = layout.join(config["workdir"], layout.CONFIG)
    if not os.path.exists(path):
        return
    start = lineage.read_json(path, what="run", wanted={"init_from": kinds.TEXT})["init_from"]
    if not baselines.is_same_start(config["workdir"], start, config["init_from"]):
        raise UserError(
            f"init_from is {config['init_from']}, but the run at {config['workdir']} was started "
            f"from {start}; another parent wants another --config.workdir"
        )


def _open_parent(config: dict, tokenizer: tokenizers.Tokenizer) -> Parent | None:
    if config["init_from"] == "scratch":
        return None
    workdir, (path, _) = config["workdir"], layout.parse_spec(config["init_from"])
    if layout.steps(workdir) and os.path.exists(layout.join(workdir, lineage.FILE)):
        # A run that resumes needs its parent no more: it may be gone, or be trained longer.
        step = (layout.record(workdir)["parent"] or {}).get("step")
        if step not in layout.steps(path):
            return None
    else:
        path, step = layout.resolve_step(config["init_from"])
    if os.path.realpath(path) == os.path.realpath(config["workdir"]):
        raise UserError(f"init_from {path} is the workdir itself; a run resumes without init_from")
    parent = Parent(path, step, recorded.config(path), layout.record_at(path, step))
    parents.check_architecture(parent.config, config, path=path)
    theirs = parent.record["tokenizer"]["sha256"]
    if theirs != tokenizer.sha256:
        raise UserError(
            f"parent {path} was trained with tokenizer {parent.record['tokenizer']['name']} "
            f"({theirs[:12]}), the config has {tokenizer.name} ({tokenizer.sha256[:12]})"
        )
    return parent
