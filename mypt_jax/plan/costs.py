"""What a stage needs, by formula: tokens, ancestors, memory, disk; no device and no data."""

import functools
import os
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import NamedTuple

import jax
from flax import nnx

from data_pipeline.batches import mixture as mixtures
from data_pipeline.batches import source_order
from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax import optim
from mypt_jax.checkpoint import retention
from mypt_jax.model import adapters, flops, gpt, parameters
from mypt_jax.model import memory as memories
from mypt_jax.plan import asked
from mypt_jax.runs import drawn as drawn_windows
from mypt_jax.runs import layout, lineage
from mypt_jax.schema import duration, overrides, recorded, stage_file, tree

GIB = memories.GIB

RUN, STAGE_FILE = "run", "stage file"  # where a stage is known from, one not trained yet


class Part(NamedTuple):
    """One source of the training mixture; `expected` marks a size from the config, no manifest."""

    key: str
    share: float
    tokens: int  # in its train split
    expected: bool
    text: str  # the same of one text in two roles, or under two names where it is known
    component: mixtures.Component | None = None  # where all datasets of the stage are there


class Stage(NamedTuple):
    """One ancestor or the stage itself."""

    config: Mapping
    name: str
    path: str
    origin: str  # RUN | STAGE_FILE | "this"
    num_steps: int
    peak_lr: float
    replay_ratio: float
    tokens: int


def mixture_parts(config: Mapping) -> list[Part]:
    """Sources with their shares: from manifests where they are, else from expected_*_tokens."""
    data = config["data"]
    entries = [entry.partition("#")[0] for role in mixtures.ROLES for entry in data[role]]
    if data["mixture"] or all(os.path.isdir(path) for path in entries):
        mixture = (
            mixtures.from_manifest(data["mixture"])
            if data["mixture"]
            else mixtures.build(
                **{key: data[key] for role in mixtures.ROLES for key in (role, f"{role}_weights")},
                replay_ratio=data["replay_ratio"],
            )
        )
        return [
            Part(c.key, float(c.share), c.data.tokens["train"], False, c.train_fingerprint, c)
            for c in mixture.components
        ]
    parts = []
    for role, share in zip(
        mixtures.ROLES, (1 - data["replay_ratio"], data["replay_ratio"]), strict=True
    ):
        weights = data[f"{role}_weights"] or (1.0,) * len(data[role])
        if len(weights) != len(data[role]):
            raise UserError(
                f"data.{role}_weights has {len(weights)} numbers, data.{role} {len(data[role])} "
                "directories: give one number for each, or none"
            )
        if any(weight < 0 for weight in weights) or (weights and not sum(weights)):
            raise UserError(
                f"data.{role}_weights is {weights}: no negative number and one positive is wanted"
            )
        for entry, weight in zip(data[role], weights, strict=True):
            fraction = weight / sum(weights)
            parts += _parts_of(entry, role, share * fraction, fraction, data)
    return parts


def domain_tokens(parts: list[Part]) -> int:
    """Tokens in the train splits of all domain sources."""
    return sum(part.tokens for part in parts if part.key.startswith("domain/"))


def _parts_of(entry: str, role: str, share: float, fraction: float, data: Mapping) -> list[Part]:
    """The sources of one entry DIR or DIR#SOURCE, opened if it is there."""
    path, _, wanted = entry.partition("#")
    if os.path.exists(path) and not os.path.isdir(path):
        raise UserError(f"data.{role}: {path} is a file, wanted the directory of a token dataset")
    if not os.path.isdir(path):
        expected = round(fraction * data[f"expected_{role}_tokens"])
        key = f"{role}/{wanted or os.path.basename(path)}"
        return [Part(key, share, expected, True, os.path.normpath(entry))]
    dataset = shards.open_dataset(path)
    found = [
        mixtures.Component(role, dataset, name, Fraction(0))
        for name in dataset.sources
        if wanted in ("", name)
    ]
    total = max(1, sum(one.data.tokens["train"] for one in found))
    return [
        Part(one.key, share * tokens / total, tokens, False, one.train_fingerprint)
        for one in found
        for tokens in [one.data.tokens["train"]]
    ]


def stage_of(config: Mapping, origin: str) -> Stage:
    return Stage(
        config,
        config["stage"],
        config["workdir"],
        origin,
        config["num_steps"],
        config["optim"]["peak_lr"],
        config["data"]["replay_ratio"],
        config["num_steps"] * config["batch_size"] * config["model"]["block_size"],
    )


def resolve(config: dict, overridden: Collection[str]) -> dict:
    """The config with its lengths resolved as training does. Raises UserError."""
    duration.resolve(config, domain_tokens(mixture_parts(config)), overridden)
    return config


def ancestors(config: Mapping, given: overrides.Given) -> tuple[list[Stage], str]:
    """(ancestors from the root on, note): a run with those in its lineage where it exists, else the
    stage files that would train them, with the overrides that a chain would give them."""
    path, colon, argument = given.spec.partition(":")
    flags = overrides.for_ancestor(given.flags)

    def read(file: str) -> overrides.Given:
        return overrides.read([f"--config={file}{colon}{argument}", *flags])

    found: list[Stage] = []
    while config["init_from"] not in ("", "scratch"):
        parent = layout.parse_spec(config["init_from"])[0]
        if os.path.isfile(layout.join(parent, layout.CONFIG)):
            return [*_runs_until(config["init_from"]), *found], ""
        above = stage_file.writer(
            parent, os.path.dirname(path), lambda file: read(file).config["workdir"]
        )
        if not above.file:
            why = f": {above.why}" if above.why else ""
            return found, f"parent {parent}: neither a run, nor does a stage file train it{why}"
        theirs = read(above.file)
        config = resolve(asked.config(theirs), theirs.overridden)
        found.insert(0, stage_of(config, STAGE_FILE))
        if len(found) > 100:
            raise UserError(f"init_from of {found[0].path} leads in a circle")
    return found, ""


def _runs_until(spec: str) -> list[Stage]:
    """A run PATH[@STEP] and its ancestors, each with the steps that the next one begins after; of
    one at work all that it is to make."""
    path, which = layout.parse_spec(spec)
    config = recorded.config(path)
    is_known = which or layout.finished(path)
    step = layout.resolve_step(spec)[1] if is_known else config["num_steps"]
    above = layout.record_at(path, step)["ancestors"]
    ended = [(one["path"], tree.completed(one["config"]), one["step"]) for one in above]
    return [_ended(*one) for one in (*ended, (path, config, step))]


def _ended(path: str, config: Mapping, step: int) -> Stage:
    found = stage_of({**config, "num_steps": step}, RUN)
    return found._replace(config=config, path=path)


def sizes(config: Mapping) -> memories.Bytes:
    """Counted abstractly: no memory is used."""
    architecture = {**config["model"], "attention": "xla", "compute_dtype": "float32"}
    adapter = adapters.of(config)

    def build():
        model = gpt.GPT(rngs=nnx.Rngs(0), **architecture)
        if adapter:
            adapters.attach(model, adapter, jax.random.key(0))
        return nnx.state(model, nnx.Param)

    params, added = adapters.split(nnx.to_pure_dict(nnx.eval_shape(build)))
    trained = added if adapter else params
    tx = optim.make_optimizer(config["optim"], is_matrix=parameters.is_matrix)
    state = {
        adapters.NAME if adapter else "params": trained,
        "opt_state": jax.eval_shape(tx.init, trained),
    }
    found = memories.sizes(state, params)
    average = 4 * found.parameters if config["optim"]["average_ratio"] else 0
    return found._replace(state=found.state + average + 4)  # and the step


def shares_teacher(config: Mapping, ancestors: Collection[Stage]) -> bool:
    """Whether what adapters are added to is what the objective compares with: the parent, which
    may be the base."""
    is_parent = config["objective"]["teacher"] == "parent" or len(ancestors) == 1
    return bool(config["adapter"]["rank"]) and is_parent


def memory(
    config: Mapping,
    size: memories.Bytes,
    *,
    devices: int,
    compute_dtype: str,
    attention: str,
    limit_gib: float,
) -> tuple[str, dict[str, float]]:
    """(policy, memory.estimate) on each of `devices` that split state and batch; limit_gib 0: the
    policy that is chosen where nothing is scarce."""
    split = memories.Split(1, devices, 1)
    model = {**config["model"], "compute_dtype": compute_dtype, "attention": attention}
    remat = memories.choose(config, size, model, split, memories.Room(limit_gib)).remat
    return remat, memories.estimate(config, size, {**model, "remat": remat}, split)


def teacher_rows(config: Mapping) -> tuple[int, int]:
    """(rows that a teacher reads, rows of a pass) on one device: the most replay windows that a
    pass has, since arrays have one shape; (0, ..) where the objective has no teacher."""
    rows = config["batch_size"] // config["accumulation_steps"]
    ratio = mixtures.exact(config["data"]["replay_ratio"], "replay_ratio")
    if not tree.has_effect(config, "objective.teacher") or not ratio:
        return 0, rows
    shares = tuple(_exact_shares(config, ratio))
    return _most_replay(shares, config["batch_size"], config["accumulation_steps"]), rows


@functools.cache  # a stage is asked for it many times
def _most_replay(shares: tuple[tuple[str, Fraction], ...], batch_size: int, parts: int) -> int:
    drawn = [one for one in shares if one[1]]
    is_replay = {number for number, (role, _) in enumerate(drawn) if role == "general"}
    order = source_order.Schedule([share for _, share in drawn])
    return order.most_rows(is_replay, batch_size=batch_size, shards=1, parts=parts)


def _exact_shares(config: Mapping, ratio: Fraction) -> list[tuple[str, Fraction]]:
    """(role, share) of each source, by which windows come in another order than by their roles;
    of the roles where a dataset is not there yet."""
    found = [part.component for part in mixture_parts(config)]
    known = [(one.role, one.share) for one in found if one is not None]
    if len(known) == len(found):
        return known
    return [("domain", 1 - ratio), ("general", ratio)]


def teacher_factor(config: Mapping) -> float:
    """FLOPs of a step over those without a teacher, whose forward pass is a third of a row."""
    read, rows = teacher_rows(config)
    return 1 + read / rows / 3


def disk(config: Mapping, size: memories.Bytes, stages: int, tokens: int) -> dict[str, int]:
    """Bytes of the whole chain: finished stages keep parameters, the one at work also moments."""
    at_work, at_rest = retention.most_steps(config["checkpoint"])
    own = 0 if size.trained == size.params else size.params  # what adapters make, at the end
    at_rest = 1 if own else at_rest
    kept = size.state + own if config["checkpoint"]["keep_optimizer"] else size.params
    token_bytes = 2 if config["model"]["vocab_size"] <= 65_536 else 4
    return {
        "one checkpoint while training": size.state,
        "one checkpoint of a finished stage": kept,
        "this stage at its largest": at_work * size.state + own,
        "the finished stages": stages * at_rest * kept,
        "token datasets": tokens * token_bytes,
    }


def eval_tokens(config: Mapping, parts: list[Part]) -> int:
    """Tokens that pass through a model in all evaluations of the stage, at most (sources with few
    windows give fewer): what is chosen on each time, what is kept for the report at both ends, and
    twice of what drift is measured on, by model and base."""
    evaluation = config["eval"]
    roles = {part.key.split("/")[0] for part in parts}
    roles |= {"elsewhere"} if config["data"]["elsewhere"] else set()
    times = 1 + len(duration.evaluation_steps(config))
    passes = len(roles) * (times + 2)
    known_before = 0 if config["init_from"] == "scratch" else len(roles - {"domain"})
    passes += {"off": 0, "end": 4, "always": 2 * (times + 2)}[evaluation["drift"]] * known_before
    return passes * evaluation["windows"] * config["model"]["block_size"]


def adapter_factor(config: Mapping) -> float:
    """FLOPs of a step over those that train all: the gradients of matrices are a third of them."""
    return 2 / 3 if config["adapter"]["rank"] else 1.0


def work(config: Mapping, tokens: int, evaluated: int) -> float:
    """FLOPs of a stage; an evaluated token costs a third of a trained one (no backward pass)."""
    trained = tokens * (teacher_factor(config) - 1 + adapter_factor(config))
    return flops.per_token(config["model"]) * (trained + evaluated / 3)


def learning_rates(config: Mapping, parent: Stage | None = None) -> list[tuple[int, float]]:
    """(update, learning rate) at the start, the end of warmup and the quarters of the run."""
    first = 0.0
    if parent is not None and config["optim"]["moments"] == "parent":
        theirs = optim.Rates(parent.config["optim"], num_steps=parent.config["num_steps"])
        first = float(theirs(parent.num_steps - 1))
    rates = optim.Rates(config["optim"], num_steps=config["num_steps"], first_lr=first)
    total = config["num_steps"]
    at = {1, int(config["optim"]["warmup_steps"]) or 1, total}
    at |= {max(1, round(total * quarter / 4)) for quarter in (1, 2, 3)}
    return [(n, float(rates(n - 1))) for n in sorted(at)]


def past_tokens(parts: list[Part], stages: list[Stage]) -> dict[str, int]:
    """{text: tokens that the ancestors have seen of it, or will}; what a run has seen of a source
    that is not here goes by its name. `stages`: the ancestors, from the root on."""
    planned: dict[str, int] = {}
    done: list[Stage] = [stage for stage in stages if stage.origin == "run"]
    for stage in stages[len(done) :]:
        for part in mixture_parts(stage.config):
            planned[part.text] = planned.get(part.text, 0) + round(part.share * stage.tokens)
    if not done or not os.path.isfile(layout.join(done[-1].path, lineage.FILE)):
        return planned
    record, config = layout.record_at(done[-1].path, done[-1].num_steps), done[-1].config
    drawn, by_name = drawn_windows.table(record, config), lineage.total_tokens_by_source(record)
    block_size = config["model"]["block_size"]
    seen: dict[str, int] = {}
    for part in parts:
        if part.component:
            windows = drawn_windows.first_window(part.component, drawn, block_size)
            seen[part.text] = windows * block_size  # of the text, in whatever role
        else:
            seen[part.text] = seen.get(part.text, 0) + by_name.get(part.key, 0)
    return {text: planned.get(text, 0) + seen.get(text, 0) for text in {**planned, **seen}}


def epochs(parts: list[Part], past: Mapping[str, int], total: int) -> list[float]:
    """How often the text of each part is gone through when a stage of `total` tokens ends, the
    `past_tokens` of its ancestors and its other role included."""
    own: dict[str, float] = {}
    for part in parts:
        own[part.text] = own.get(part.text, 0.0) + part.share * total
    return [
        (past.get(part.text, 0) + own[part.text]) / max(1, part.tokens) if part.share else 0.0
        for part in parts
    ]
