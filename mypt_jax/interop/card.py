"""The model card of an export: what the lineage says, as Markdown."""

import os
from collections.abc import Mapping

from data_pipeline.batches import mixture
from mypt_jax.interop import runs
from mypt_jax.runs import baselines, comparison, evaluations, layout, lineage, recited
from mypt_jax.runs.comparison import OTHER, Refusal
from mypt_jax.runs.evaluations import Evaluation

# SPDX names, and those of our registries, as the Hub writes them.
_HUB_LICENCES = {
    "MIT": "mit",
    "APACHE-2.0": "apache-2.0",
    "BSD-3-CLAUSE": "bsd-3-clause",
    "CC0-1.0": "cc0-1.0",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-3.0": "cc-by-sa-3.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "GPL-3.0": "gpl-3.0",
}


def licences(record: Mapping) -> dict[str, list[str]]:
    """{source: its licences} of what this run was trained on, its ancestors and the runs that it
    is the sum of; a source of one name may have been of several texts."""
    found: dict[str, dict[str, None]] = {}
    for one in ({**record, "licences": lineage.licences(record)}, *lineage.all_above(record)):
        own = one.get("licences")
        if own is None:  # of an older version, which kept them beside the run itself
            own = _recorded_there(one)
        for key, tokens in one["tokens_by_source"].items():
            if tokens:
                found.setdefault(key, {})[own.get(key) or "not stated"] = None
    return {key: [*of_source] for key, of_source in found.items()}


def _recorded_there(ancestor: Mapping) -> dict[str, str]:
    place = ancestor["path"]
    return lineage.licences(layout.record(place)) if baselines.is_same(place, ancestor) else {}


def _stages(path: str, step: int, record: Mapping, config: Mapping) -> list[dict]:
    """The ancestors and the run, each with its losses where they are of the run's own text."""
    own = {
        "stage": record["stage"],
        "step": step,
        "peak_lr": config["optim"]["peak_lr"],
        "replay_ratio": config["data"]["replay_ratio"],
        "tokens_by_source": record["tokens_by_source"],
        "config": config,
        "merged_from": record.get("merged_from", []),
    }
    mine = evaluations.read(layout.eval_file(path, step)).reported
    cells = [_cells(mine, one) for one in _measured(path, record, mine)]
    stages = [*record["ancestors"], own]
    return [{**stage, "cells": found} for stage, found in zip(stages, cells, strict=True)]


def _measured(path: str, record: Mapping, mine: Evaluation) -> list[Evaluation]:
    """What every ancestor, and the run, was measured at on the windows of the run."""
    places = [ancestor["path"] for ancestor in record["ancestors"]] + [path]
    found = []
    for number, place in enumerate(places[:-1]):
        candidates = baselines.candidates(
            record["ancestors"], number, place=place, runs=places[number + 1 :]
        )
        found.append(comparison.baseline(mine, candidates)[0])
    return [*found, mine]


def _cells(mine: Evaluation, one: Evaluation) -> list[str]:
    """Domain and general loss of a stage, or why they do not stand beside those of the run."""
    found = []
    for role in mixture.ROLES:
        change = comparison.compare(mine, one, role)
        if isinstance(change, Refusal):
            found.append(change.word if mine.of(role) else "-")
        else:
            found.append(OTHER if change.left_out else f"{change.start:.3f}")
    return found


def _row(stage: Mapping) -> str:
    """A line of the training table; of an imported base nothing but its name is known, and a merged
    run was not trained."""
    if runs.imported_from(stage.get("config", {})):
        return f"| {stage['stage']} | imported | - | - | - | - | unknown |"
    if stage.get("merged_from"):
        parts = " ".join(f"{x['weight']:+.3g} {x['stage']}" for x in stage["merged_from"])
        return f"| {stage['stage']} | merged: {parts} | - | - | {' | '.join(stage['cells'])} | - |"
    return (
        f"| {stage['stage']} | {stage['step']:,} | {_number(stage.get('peak_lr'), 'g')} "
        f"| {_number(stage.get('replay_ratio'), '.2f')} "
        f"| {' | '.join(stage['cells'])} "
        f"| {sum(stage['tokens_by_source'].values()):,} |"
    )


def _number(value, pattern: str) -> str:
    return format(value, pattern) if value is not None else "-"


def _metadata(record: Mapping, known: Mapping[str, list[str]], base_model: str) -> list[str]:
    """The head of the card, as the Hub reads it."""
    stated = {licence for of_source in known.values() for licence in of_source}
    found = {_HUB_LICENCES.get(licence.upper(), "") for licence in stated}
    above = [one["config"] for one in lineage.all_above(record)]
    is_imported = any(map(runs.imported_from, above))  # with a licence that is not known here
    licence = found.pop() if len(found) == 1 and not is_imported else ""
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    if licence:
        lines.append(f"license: {licence}")
    else:  # several, or one that the Hub has no name for
        lines += ["license: other", "license_name: see-data", "license_link: README.md"]
    if base_model:
        lines += [f"base_model: {base_model}", "base_model_relation: finetune"]
    tags = ["mypt_jax", "domain-adaptation", "continual-pretraining"]
    return [*lines, "tags:", *(f"- {tag}" for tag in tags), "---"]


def _usage(own_code: bool) -> list[str]:
    trusted = ", trust_remote_code=True" if own_code else ""
    return [
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'name = "."  # this folder, or its name on the Hub',
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        f"model = AutoModelForCausalLM.from_pretrained(name{trusted})",
        'inputs = tokenizer("Once", return_tensors="pt")',
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))",
        "```",
        "",
    ]


def _recited(path: str, step: int, record: Mapping) -> list[str]:
    """What it was found to know by heart, without the texts themselves; [] where nobody asked."""
    tokens, pairs = recited.read(path, run_id=record["run_id"], step=step)
    if not pairs:
        return []
    rows = [
        f"| {os.path.basename(one.data)} | {one.split} | {one.share:.1%} | "
        f"{'-' if one.base_share is None else f'{one.base_share:.1%}'} | {one.run['documents']:,} |"
        for one in pairs
    ]
    return [
        "",
        "## Known by heart",
        "",
        f"Of how many documents the model, given the first {tokens} tokens, says the next {tokens} "
        "word for word, beside what the base says of them and what it says of held-out text.",
        "",
        "| data | split | exact | base | documents |",
        "|---|---|---|---|---|",
        *rows,
    ]


def render(
    *,
    path: str,
    step: int,
    config: Mapping,
    record: Mapping,
    parameters: int,
    remarks: list[str],
    base_model: str = "",
    own_code: bool = False,
) -> str:
    """README.md of an exported folder: metadata, use, stages, tokens per source, licences.

    `base_model`: its name on the Hub; `own_code`: whether it needs its modelling file.
    """
    known = licences(record)
    shape = config["model"]
    lines = [
        *_metadata(record, known, base_model),
        f"# {config['size']} {record['stage']}",
        "",
        f"A GPT of {parameters:,} parameters ({shape['n_layer']} layers x {shape['n_embd']}, "
        f"{shape['n_head']} heads, context {shape['block_size']}), exported by mypt_jax from "
        f"`{path}` at step {step}.",
        "",
        *[f"{remark}\n" for remark in [*remarks, *record.get("notes", [])]],
        *_usage(own_code),
        "## Training",
        "",
        "| stage | steps | peak learning rate | replay | domain loss | general loss | tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    stages = _stages(path, step, record, config)
    lines += [
        *map(_row, stages),
        "",
        "Losses are nats per token on held-out text, the same in all rows.",
    ]
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
    for source, tokens in sorted(lineage.total_tokens_by_source(dict(record)).items()):
        if not tokens:  # it was evaluated on
            continue
        stated = ", ".join(known.get(source, ["not stated"]))
        lines.append(f"| {source} | {tokens:,} | {stated} |")
    lines += _recited(path, step, record)
    tokenizer = record["tokenizer"]
    lines += ["", "## Tokenizer", "", f"{tokenizer['name']}, SHA-256 `{tokenizer['sha256']}`.", ""]
    return "\n".join(lines)
