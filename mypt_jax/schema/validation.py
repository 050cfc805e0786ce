"""validate(config): every check that needs no device, once, before anything is written.

What comes out is what runs: num_steps and warmup_steps resolved, sources and parent opened.
"""

import math
import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from data_pipeline.batches import eval_windows
from data_pipeline.batches import mixture as mixtures
from data_pipeline.errors import UserError
from data_pipeline.prepare.contamination import checks
from data_pipeline.tokens import mypt_format
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax import guide
from mypt_jax.runs import baselines, kinds, layout, lineage, own_tokenizer
from mypt_jax.runs import drawn as drawn_windows
from mypt_jax.schema import duration, held, parents, recorded, stage_file, together, tree, values
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
    mixture, elsewhere, extra = open_data(config, overridden)
    components = [*mixture.components, *elsewhere, *extra]
    # What an earlier version took goes on by the command that began it.
    is_begun = bool(layout.steps(config["workdir"]))
    together.check_objective(config, () if is_begun else overridden)
    together.check_adapter(config)
    tokenizer = _check_tokenizer(config, components)
    mixtures.check_overlap(components)
    if config["data"]["bos_at_cuts"]:
        for one in components:
            one.dataset.edges()
    _check_elsewhere(elsewhere, mixture)
    notes = together.without_effect(config, overridden) + _samples_note(components)
    notes += duration.resolve(config, _domain_tokens(mixture), overridden)
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
    if wanted["replay"] == "ce":
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


def _check_directories(data: dict) -> None:
    """Raises UserError that names the command which makes a missing default dataset."""
    for role in mixtures.GIVEN_ROLES:
        for entry in data[role]:
            directory = entry.partition("#")[0]
            if "://" in directory or os.path.exists(directory):
                continue
            hint = _made_by(directory, role)
            if role == "domain" and data["replay_ratio"] == 1:
                hint += '; --config.data.domain="()" trains without evaluating on it'
            raise UserError(f"data.{role}: there is no {directory}; {hint}")


def _made_by(directory: str, role: str) -> str:
    if os.path.dirname(os.path.normpath(directory)) == os.path.join("data", "demo"):
        return "make the demo's datasets with: python -m mypt_jax demo"
    return (
        "make it with: python -m mypt_jax prepare --source NAME:FILES "
        f"--total_tokens N --out_dir {directory}  (docs/guide.md), or set --config.data.{role}=DIR"
    )


def open_view(data: dict, overridden: Collection[str]) -> mixtures.Mixture:
    """Opens data.mixture, which decides data.replay_ratio; UserError if an override differs."""
    mixture = mixtures.from_manifest(data["mixture"])
    given, ratio = data["replay_ratio"], float(mixture.replay_ratio)
    if "data.replay_ratio" in overridden and not math.isclose(given, ratio):
        raise UserError(
            f"data.replay_ratio {given} differs from the {ratio:g} of "
            f"data.mixture={data['mixture']}; leave one of the two out"
        )
    data["replay_ratio"] = ratio
    return mixture


def open_data(
    config: dict, overridden: Collection[str] = ()
) -> tuple[mixtures.Mixture, list[mixtures.Component], list[mixtures.Component]]:
    """(what a config is trained and evaluated on, data.elsewhere, eval.extra). Raises UserError."""
    mixture = _open_mixture(config, overridden)
    elsewhere = list(mixtures.components_of("elsewhere", config["data"]["elsewhere"]))
    return mixture, elsewhere, _open_extra(config["eval"]["extra"])


def _open_mixture(config: dict, overridden: Collection[str]) -> mixtures.Mixture:
    data = config["data"]
    if data["mixture"]:
        return open_view(data, overridden)
    _check_directories(data)
    return mixtures.build(
        domain=data["domain"],
        general=data["general"],
        domain_weights=data["domain_weights"],
        general_weights=data["general_weights"],
        replay_ratio=data["replay_ratio"],
    )


def check_extra(entries: tuple[str, ...]) -> None:
    """Raises UserError for an entry of eval.extra that is not ROLE=DIR."""
    for entry in entries:
        role, _, directory = entry.partition("=")
        if not directory or role not in mixtures.ROLES:
            raise UserError(f"eval.extra has {entry!r}, wanted domain=DIR or general=DIR")


def _open_extra(entries: tuple[str, ...]) -> list[mixtures.Component]:
    check_extra(entries)
    components = []
    for entry in entries:
        role, _, directory = entry.partition("=")
        components += mixtures.components_of(role, (directory,))
    return components


def _check_elsewhere(elsewhere: list[mixtures.Component], mixture: mixtures.Mixture) -> None:
    """Raises UserError for a source of data.elsewhere that is trained on."""
    trained = {
        (one.dataset.fingerprint, one.source): one for one in mixture.components if one.share
    }
    for one in elsewhere:
        same = trained.get((one.dataset.fingerprint, one.source))
        if same is not None:
            raise UserError(
                f"data.elsewhere has {one.dataset.path}#{one.source}, which is trained on as "
                f"{same.key}: it is for text of kinds that are never trained on"
            )


def _samples_note(components: list[mixtures.Component]) -> list[str]:
    """A line where what is forgotten can only be told by what a model wrote itself."""
    roles = {one.evaluated_as for one in components if one.data.tokens["val"]}
    if mixtures.BEHAVIOUR not in roles or "general" in roles:
        return []
    return [
        "warning: no general text is held out, so forgetting is not known, only how far the model "
        "leaves its base's own words (behaviour); give real text as eval.extra=('general=DIR',)"
    ]


def _eval_plan(workdir: str, parent: Parent | None) -> int:
    """How windows of evaluation are chosen: a lineage goes on with what it has measured."""
    if layout.steps(workdir) and os.path.exists(layout.join(workdir, lineage.FILE)):
        return layout.record(workdir).get("eval_plan", eval_windows.WHOLE)
    if parent is None or "eval_plan" in parent.record:
        return parent.record["eval_plan"] if parent else eval_windows.HALVES
    measured = any(map(layout.has_eval, layout.metrics(parent.path)))
    return eval_windows.WHOLE if measured else eval_windows.HALVES


def _check_tokenizer(config: dict, components: list[mixtures.Component]) -> tokenizers.Tokenizer:
    tokenizer = together.tokenizer(config)
    vocab_size = config["model"]["vocab_size"]
    for component in components:
        dataset = component.dataset
        if dataset.tokenizer_sha256 != tokenizer.sha256:
            raise UserError(
                f"dataset {dataset.path} was made with tokenizer {dataset.tokenizer} "
                f"({dataset.tokenizer_sha256[:12]}), the config has {tokenizer.name} "
                f"({tokenizer.sha256[:12]}); prepare it again or set data.tokenizer"
            )
        dataset.check_ids(tokenizer)
        if dataset.storage != mypt_format.STORAGE and dataset.max_id >= vocab_size:
            raise UserError(
                f"dataset {dataset.path} holds token id {dataset.max_id}, "
                f"model.vocab_size is {vocab_size}"
            )
    mixtures.check_alike(components)
    return tokenizer.beginning(any(one.dataset.bos is not None for one in components))


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


def _domain_tokens(mixture: mixtures.Mixture) -> int:
    parts = [c for c in mixture.components if c.role == "domain"]
    return sum(c.dataset.sources[c.source].tokens["train"] for c in parts)


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
