"""The lines that the plan of a stage is shown as."""

from collections.abc import Mapping

from data_pipeline.batches import mixture
from data_pipeline.errors import UserError
from data_pipeline.tokens import tokenizer
from mypt_jax.foretell import law, lineage
from mypt_jax.model import flops, memory
from mypt_jax.plan import asked, collectives, costs, gpu, hlo, topology
from mypt_jax.runs import layout
from mypt_jax.schema import duration, overrides, parents


def table(rows: list[tuple], header: tuple[str, ...]) -> list[str]:
    cells = [header, *[tuple(str(value) for value in row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return [
        "  "
        + "  ".join(
            value.ljust(width) if i == 0 else value.rjust(width)
            for i, (value, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def plan(
    config: dict,
    given: overrides.Given,
    utilisation: float,
    prices: Mapping[str, float] | None = None,
) -> list[str]:
    """The whole plan as lines; `config`: that of the command line `given`, resolved; `prices`: of
    an hour of one device, by the names of flops.CHIPS."""
    parts = costs.mixture_parts(config)
    stages, note = costs.ancestors(config, given)
    if stages:
        _check_parent(config, stages[-1])
    shared = costs.shares_teacher(config, stages)
    size = costs.sizes(config)._replace(shares_teacher=shared)
    own = costs.stage_of(config, "this")
    lines = [f"stage {config['stage']} ({config['size']}), {size.parameters:,} parameters"]
    lines += _lineage([*stages, own], note)
    past = costs.past_tokens(parts, stages)
    lines += _tokens(parts, own.tokens, past)
    lines += _rates(config, stages[-1] if stages else None)
    lines += _foretold(config, stages, parts, past)
    # What is trained already costs nothing more.
    todo = [one for one in stages if one.origin == costs.STAGE_FILE] + [own]
    lines += _operations(config, parts, own.tokens)
    lines += _hours(todo, parts, utilisation, prices or {})
    lines += _memory(config, size)
    return lines + _disk(config, size, [*stages, own], parts)


def _check_parent(config: dict, parent: costs.Stage) -> None:
    """Raises UserError where the stage could not start from its parent, as far as that is made."""
    if parent.origin == costs.STAGE_FILE:
        parents.check_planned(parent.config, config, path=parent.path)
    elif layout.finished(parent.path):
        parents.check(config, config["init_from"])
    else:
        parents.check_architecture(parent.config, config, path=parent.path)


def _lineage(stages: list[costs.Stage], note: str) -> list[str]:
    rows = [
        (
            stage.name,
            stage.origin,
            f"{stage.num_steps:,}",
            f"{stage.peak_lr:.4g}",
            f"{stage.replay_ratio:.0%}",
            f"{stage.tokens:,}",
            stage.path,
        )
        for stage in stages
    ]
    header = ("lineage", "from", "steps", "peak_lr", "replay", "tokens", "run")
    return ["", *table(rows, header), *([f"  {note}"] if note else [])]


def _tokens(parts: list[costs.Part], total: int, past: Mapping[str, int]) -> list[str]:
    """`past`: tokens that the ancestors saw; epochs count them too."""
    rows, warnings = [], []
    for part, epochs in zip(parts, costs.epochs(parts, past, total), strict=True):
        if part.share == 0:
            continue
        seen = part.share * total
        line = duration.judged(f"{part.key}: {epochs:.2f} epochs", part.key.split("/")[0], epochs)
        if line.startswith("warning"):
            warnings.append(f"  {line}")
        rows.append(
            (
                part.key,
                f"{part.share:.2%}",
                f"{seen:,.0f}",
                f"{part.tokens:,}{' expected' if part.expected else ''}",
                f"{epochs:.2f}",
                f"{past.get(part.text, 0):,}",
            )
        )
    header = ("source", "share", "trained on", "in its train split", "epochs", "ancestors saw")
    roles = [
        f"{role} {sum(p.share for p in parts if p.key.startswith(role)) * total:,.0f}"
        for role in mixture.ROLES
    ]
    expected = any(part.expected for part in parts)
    lines = ["", *table(rows, header), f"  together {total:,} tokens: {', '.join(roles)}"]
    lines += warnings
    if expected:
        lines.append("  expected: no manifest there yet, size from data.expected_*_tokens")
    return lines


def _rates(config: Mapping, parent: costs.Stage | None) -> list[str]:
    optim = config["optim"]
    rates = "  ".join(f"{n:,}: {lr:.3g}" for n, lr in costs.learning_rates(config, parent))
    return ["", f"learning rate by update ({optim['schedule']})", f"  {rates}"]


def _foretold(
    config: Mapping,
    stages: list[costs.Stage],
    parts: list[costs.Part],
    past: Mapping[str, int],
) -> list[str]:
    """Where its losses will end, of a stage whose parent was trained from the base."""
    if len(stages) < 2 or stages[-1].origin != costs.RUN:
        return []
    tokens = costs.stage_of(config, "this").tokens
    read = zip(parts, costs.epochs(parts, past, tokens), strict=True)
    most = max((epochs for part, epochs in read if part.key.startswith("domain/")), default=0.0)
    try:
        since = lineage.until(stages[-1].path, stages[-1].num_steps)
        found = law.foretell([*since, lineage.to_be(config)], epochs=most)
    except UserError as error:
        return [f"final losses are not foretold: {error}"]
    told = ", ".join(f"{role} {one}" for role, one in found.items())
    return [f"foretold at its end, nats/token: {told}"]


def _operations(config, parts, total: int) -> list[str]:
    model = config["model"]
    evaluated = costs.eval_tokens(config, parts)
    return [
        "",
        f"{flops.per_token(model):.4g} FLOPs/token ({flops.CONVENTION}); causal count "
        f"{flops.per_token_causal(model):.4g}; executed {flops.executed_per_token(model):.4g} "
        f"with remat={_policy(model)}, loss_chunks={model['loss_chunks']}",
        *_teacher(config),
        *_adapters(config, costs.sizes(config)),
        f"{costs.work(config, total, 0):.3g} FLOPs for {total:,} tokens, and evaluations of "
        f"{evaluated:,}, {_share_of_evaluations(config, total, evaluated):.0%} of all",
    ]


def _share_of_evaluations(config: Mapping, trained: int, evaluated: int) -> float:
    whole = costs.work(config, trained, evaluated)
    return 1 - costs.work(config, trained, 0) / whole


def _hours(
    todo: list[costs.Stage], parts: list[costs.Part], utilisation: float, prices: Mapping
) -> list[str]:
    """How long the last of `todo` takes on one device, and all of them on one and on eight."""
    rows = []
    for name, chip in flops.CHIPS.items():
        hours = [
            costs.work(one.config, one.tokens, costs.eval_tokens(one.config, parts))
            / (chip.peak * utilisation * 3600)
            for one in todo
        ]
        rate = utilisation * chip.peak / flops.per_token(todo[-1].config["model"])
        money = f"{sum(hours) * prices[name]:,.2f}" if name in prices else "-"
        found = [hours[-1], sum(hours), sum(hours) / 8]
        peak = f"{chip.peak / 1e12:,.0f} {chip.dtype}"
        rows.append((name, peak, f"{rate:,.0f}", *map(_time, found), *([money] if prices else [])))
    # Eight as eight times one: what they lose to each other depends on the mesh (--topology).
    names = ", ".join(one.name for one in todo)
    header = ("one", "peak TFLOP/s", "tokens/s", "this stage", "all to do", "on eight")
    return [
        f"at an assumed {utilisation:.0%} of peak; to do: {names}; eight devices as eight of one:",
        *table(rows, (*header, *(["price"] if prices else []))),
    ]


def _time(hours: float) -> str:
    """ "4.1 s", "3.2 min", "5.1 h" or "12.3 days"."""
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} s"
    if hours < 1:
        return f"{60 * hours:.2g} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _policy(model: Mapping) -> str:
    """What recomputes least, where the device decides."""
    return memory.CHEAPEST_FIRST[0] if model["remat"] == memory.AUTO else model["remat"]


def _teacher(config: Mapping) -> list[str]:
    """What an objective with a teacher costs more, and how much of it is padding."""
    read, rows = costs.teacher_rows(config)
    if not read:
        return []
    ratio = config["data"]["replay_ratio"]
    return [
        f"objective.replay={config['objective']['replay']}: the teacher reads {read} of {rows} "
        f"windows a pass ({read / rows:.1%}, replay is {ratio:.1%}), "
        f"+{costs.teacher_factor(config) - 1:.1%} FLOPs"
    ]


def _adapters(config: Mapping, size: memory.Bytes) -> list[str]:
    """What adapters train, and what they spare."""
    rank, scope = config["adapter"]["rank"], ", ".join(config["adapter"]["matrices"])
    if not rank:
        return []
    return [
        f"adapter.rank={rank} on {scope}: {size.trained // 4:,} parameters are trained, "
        f"{1 - costs.adapter_factor(config):.0%} fewer FLOPs in training, about (no gradient of a "
        "matrix)"
    ]


def _memory(config: Mapping, size: memory.Bytes) -> list[str]:
    columns = [
        costs.memory(
            config,
            size,
            devices=devices,
            compute_dtype=dtype,
            # Fused kernels take no float32; without them the scores of a block are held.
            attention="xla" if dtype == "float32" else "cudnn",
            limit_gib=0.0,
        )
        for dtype in ("bfloat16", "float32")
        for devices in (1, 8)
    ]
    remat, first = columns[0]
    rows = [(name, *(f"{found[name]:.2f}" for _, found in columns)) for name in first]
    header = ("GiB per device, estimate", "bf16 x1", "bf16 x8", "fp32 x1", "fp32 x8")
    return [
        "",
        *table(rows, header),
        f"  with remat={remat}; has room on 1 device: {_with_room(config, size, 1)}; "
        f"8 devices: {_with_room(config, size, 8)}",
    ]


def _with_room(config: Mapping, size: memory.Bytes, devices: int) -> str:
    """Chips that have it in the dtype and with the attention of theirs, with the policy that it
    takes where that is chosen."""
    found = []
    for name, chip in flops.CHIPS.items():
        # TPUs are called v5e, v6e; all others are NVIDIA's.
        fused = "splash" if name.startswith("v") else "cudnn"
        remat, need = costs.memory(
            config,
            size,
            devices=devices,
            compute_dtype=chip.dtype,
            attention="xla" if chip.dtype == "float32" else fused,
            limit_gib=chip.memory_gib,
        )
        if need["total"] <= chip.memory_gib:
            is_chosen = config["model"]["remat"] == memory.AUTO
            found.append(f"{name} ({remat})" if is_chosen else name)
    return ", ".join(found) or "none"


def _disk(config, size, stages: list[costs.Stage], parts) -> list[str]:
    tokens = sum(part.tokens for part in parts)
    need = costs.disk(config, size, len(stages), tokens)
    rows = [(name, f"{value / 1e9:.2f}") for name, value in need.items()]
    # One checkpoint is in what a run takes already.
    total = sum(value for name, value in need.items() if not name.startswith("one checkpoint"))
    return [
        "",
        *table(rows, ("disk", "GB")),
        f"  the chain of {len(stages)} stages needs at most {total / 1e9:.1f} GB",
    ]


def compiled(config: dict, name: str, *, search: bool) -> list[str]:
    """The compiler's account of the train step on a topology, as lines."""
    eot = tokenizer.get(config["data"]["tokenizer"]).eot
    lines = ["", f"ahead-of-time compilation for {name}; bytes are XLA's account, no speed is"]
    rows, more = [], []
    if search:
        rows = topology.search(config, name, eot=eot)
        more = [topology.advice(config, rows)]
    else:
        made = topology.compile_step(config, name, eot=eot, options={})
        rows = [made.memory]
        if asked.gpus(name) and made.text:
            more = _called(made)
    header = ("remat", "batch", "chips", "mesh", "state+batch", "aliased", "temporaries", "peak")
    cells = [
        (
            row.remat,
            row.batch_size,
            row.chips,
            "x".join(map(str, row.mesh)),
            *(
                f"{value / costs.GIB:.2f}" if value else "-"
                for value in (row.arguments, row.aliased, row.temporaries, row.peak)
            ),
            f"{row.usable_gib:.2f}",
            row.verdict,
            f"{row.compile_secs:.0f} s",
        )
        for row in rows
    ]
    lines += table(cells, (*header, "usable GiB", "verdict", "compiled in"))
    return lines + more


def _called(made: topology.Compiled) -> list[str]:
    """What a GPU's program calls of libraries, and what it exchanges."""
    calls = ", ".join(f"{name} x {times}" for name, times in gpu.kernels(made.text).items())
    received: dict[str, float] = {}
    for one in collectives.found(hlo.Program(made.text), slice_size=made.slice_size):
        received[one.kind] = received.get(one.kind, 0) + one.times * one.received_bytes
    exchanged = ", ".join(f"{kind} {size / 2**20:,.0f}" for kind, size in sorted(received.items()))
    return [
        f"  calls of libraries: {calls or 'none'}",
        f"  collectives, MiB to each device: {exchanged or 'none'}",
    ]
