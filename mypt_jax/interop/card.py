"""The model card of an export: what the lineage says, as Markdown."""

import os
from collections.abc import Mapping

from mypt_jax.interop import runs
from mypt_jax.runs import layout, lineage


def licences(record: Mapping) -> dict[str, str]:
    """{source: licence} of what this run was trained or evaluated on."""
    sources = record["data"].get("sources", {})
    return {key: facts.get("licence") or "not stated" for key, facts in sources.items()}


def _stages(record: Mapping, config: Mapping, losses: Mapping) -> list[dict]:
    own = {
        "stage": record["stage"],
        "step": config["num_steps"],
        "peak_lr": config["optim"]["peak_lr"],
        "replay_ratio": config["data"]["replay_ratio"],
        "eval": losses,
        "tokens_by_source": record["tokens_by_source"],
        "config": config,
    }
    return [*record["ancestors"], own]


def _row(stage: Mapping) -> str:
    """A line of the training table; of an imported base nothing but its name is known."""
    if runs.imported_from(stage.get("config", {})):
        return f"| {stage['stage']} | imported | - | - | - | - | unknown |"
    losses = stage.get("eval") or {}
    return (
        f"| {stage['stage']} | {stage['step']:,} | {_number(stage.get('peak_lr'), 'g')} "
        f"| {_number(stage.get('replay_ratio'), '.2f')} "
        f"| {_number(losses.get('domain'), '.3f')} | {_number(losses.get('general'), '.3f')} "
        f"| {sum(stage['tokens_by_source'].values()):,} |"
    )


def _number(value, pattern: str) -> str:
    return format(value, pattern) if value is not None else "-"


def render(
    *, path: str, step: int, config: Mapping, record: Mapping, parameters: int, remarks: list[str]
) -> str:
    """README.md of an exported folder: stages, tokens per source, licences, tokenizer."""
    finished = layout.finished(path) or {}
    known = licences(record)
    shape = config["model"]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "---",
        f"# {record['size']} {record['stage']}",
        "",
        f"A GPT of {parameters:,} parameters ({shape['n_layer']} layers x {shape['n_embd']}, "
        f"{shape['n_head']} heads, context {shape['block_size']}), exported by mypt_jax from "
        f"`{path}` at step {step}.",
        "",
        *[f"{remark}\n" for remark in [*remarks, *record.get("notes", [])]],
        "## Training",
        "",
        "| stage | steps | peak learning rate | replay | domain loss | general loss | tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    stages = _stages(record, config, finished.get("eval") or {})
    lines += [*map(_row, stages), "", "Losses are nats per token on held-out text."]
    source = runs.imported_from(stages[0].get("config", {}))
    if source:
        name = os.path.basename(os.path.normpath(source))
        lines += [
            "",
            f"The base was imported from `{name}`: its training data, card and licence come on top "
            "of what is listed here.",
        ]
    lines += ["", "## Data", ""]
    lines += ["| source | tokens seen | licence |", "|---|---|---|"]
    for source, tokens in sorted(lineage.total_tokens_by_source(record).items()):
        lines.append(f"| {source} | {tokens:,} | {known.get(source, 'not stated')} |")
    tokenizer = record["tokenizer"]
    lines += ["", "## Tokenizer", "", f"{tokenizer['name']}, SHA-256 `{tokenizer['sha256']}`.", ""]
    return "\n".join(lines)
