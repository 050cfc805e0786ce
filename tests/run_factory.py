"""Run directories written by hand, in the format that training leaves behind."""

import hashlib
import json
from pathlib import Path

import numpy as np

from configs import base
from mypt_jax.runs import evaluations, layout

SOURCES = {
    "domain/cwe": {"dataset": "data/d", "share": 0.8, "fingerprint": "f1", "licence": "CWE-ToU"},
    "general/wiki": {"dataset": "data/g", "share": 0.2, "fingerprint": "f2", "licence": "CC-BY-SA"},
}


def config(**changes) -> dict:
    """What config.json of a run holds; a group of `changes` replaces the keys that it names."""
    found = base.get_config("tiny").to_dict()
    for key, value in changes.items():
        found[key] = {**found[key], **value} if isinstance(value, dict) else value
    return found


def evaluation(domain: float, general: float) -> dict[str, float]:
    """The evaluation keys of a metrics row; val is the mixture of the two."""
    losses = {"domain": domain, "general": general, "val": 0.8 * domain + 0.2 * general}
    losses |= {"domain/cwe": domain, "general/wiki": general}
    row = {f"eval/{name}/loss": loss for name, loss in losses.items()}
    return row | {"eval/domain/bits_per_byte": domain / 2}


def measured(loss_D: list[float], text: str, tokens: int = 1000) -> evaluations.Source:
    """A source with a document for each loss; `text` says which windows those are."""
    losses = np.array(loss_D, float)
    return evaluations.Source(
        sums={"nll": tokens * losses},
        tokens_D=np.full(len(losses), tokens),
        doc_D=np.arange(len(losses)),
        loss_W=losses,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
    )


def write_evaluation(run: Path, step: int, losses: dict[str, list[float]], texts=()) -> None:
    """eval/step_N.npz; a source's text is its name, unless `texts` has another for it."""
    texts = dict(texts)
    sources = {key: measured(loss, texts.get(key, key)) for key, loss in losses.items()}
    evaluations.write(layout.eval_file(str(run), step), sources)


def write_run(
    root: Path,
    stage: str,
    *,
    parent: str | None,
    start: tuple[float, float],
    final: tuple[float, float],
    peak_lr: float = 3e-5,
    replay_ratio: float = 0.2,
    num_steps: int = 20,
    finished: bool = True,
    baseline: tuple[float, float] | None = None,
    texts: dict[str, str] | None = None,
    place: str = "",
    seed: int = 1337,
) -> Path:
    """One run whose (domain, general) losses go from start to final; returns its directory.

    `baseline`: what the trainer measured forgetting against; `texts`: as of write_evaluation;
    `place`: where it lies, unless under its stage's name.
    """
    run = root / (place or stage)
    run.mkdir(parents=True)
    own = config(
        stage=stage,
        workdir=str(run),
        seed=seed,
        num_steps=num_steps,
        init_from=str(root / parent) if parent else "scratch",
        optim={"peak_lr": peak_lr},
        data={"replay_ratio": replay_ratio},
    )
    (run / "config.json").write_text(json.dumps(own))
    facts = {"path": str(root / str(parent)), "stage": parent, "step": 20}
    facts["params_sha256"] = f"digest of {parent}"
    above = root / str(parent) / "lineage.json"
    ancestors = json.loads(above.read_text())["ancestors"] if above.is_file() else []
    if parent:
        file = root / parent / "config.json"
        theirs = json.loads(file.read_text()) if file.is_file() else own
        more = {"peak_lr": theirs["optim"]["peak_lr"], "config": theirs, "eval": {}}
        more |= {"replay_ratio": theirs["data"]["replay_ratio"], "tokens_by_source": {}}
        ancestors = [*ancestors, facts | more]
    record = {"schema": 1, "stage": stage, "size": "tiny", "run_id": "r", "created": stage}
    record |= {
        "parent": facts if parent else None,
        "ancestors": ancestors,
    }
    record |= {
        "data": {"fingerprint": "f", "sources": SOURCES},
        "tokenizer": {"name": "gpt2", "sha256": ""},
    }
    record["tokens_by_source"] = {"domain/cwe": 800, "general/wiki": 200}
    record["notes"] = []
    record["baseline"] = None
    (run / "lineage.json").write_text(json.dumps(record))
    last = num_steps if finished else num_steps // 2
    rows = [{"step": 0, **evaluation(*start)}]
    for step in range(5, last + 1, 5):
        rows.append({"step": step, "loss": 4.0, "lr": peak_lr, "tokens": 100 * step})
        rows[-1] |= {"tokens_per_sec": 900.0 + step, "wall_secs": 2.0 * step, "grad_norm": 1.0}
        rows[-1] |= {"share/domain/cwe": 0.79, "share/general/wiki": 0.21}
        rows[-1] |= {"epochs/domain/cwe": 0.5, "epochs/general/wiki": 0.1}
    rows[-1] |= evaluation(*final)
    if baseline:
        forgetting = 100 * (final[1] / baseline[1] - 1)
        rows[0] |= {"forgetting/percent": 0.0}
        rows[-1] |= {"forgetting/percent": forgetting, "eval/general/stderr": 0.004}
    for step, (domain, general) in ((0, start), (last, final)):
        losses = {"domain/cwe": [domain], "general/wiki": [general]}
        write_evaluation(run, step, losses, texts or {})
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if finished:
        done = {"step": last, "run_id": "r", "params_sha256": f"digest of {stage}"}
        (run / "finished.json").write_text(json.dumps(done | {"wall_secs": 42.0, "eval": {}}))
    return run


def write_guide_chain(root: Path) -> None:
    """The guide's five stages with the guide's results."""
    base, v3, v5 = (5.038, 2.227), (3.921, 2.177), (3.709, 2.214)
    v7, v8 = (3.460, 2.290), (3.257, 2.360)
    write_run(
        root, "base", parent=None, start=(10.8, 10.8), final=base, peak_lr=3e-4, replay_ratio=1.0
    )
    for stage, parent, start, final, rate, replay in (
        ("v3", "base", base, v3, 3e-5, 0.3),
        ("v5", "v3", v3, v5, 5e-5, 0.2),
        ("v7", "v3", v3, v7, 7e-5, 0.2),
        ("v8", "v7", v7, v8, 9e-5, 0.2),
    ):
        write_run(
            root, stage, parent=parent, start=start, final=final, peak_lr=rate,
            replay_ratio=replay, baseline=base,
        )  # fmt: skip


def write_sweep(root: Path, runs: int, *, rows: int = 40) -> None:
    """The guide's five stages and beside them the trials of a sweep, three seeds each, `runs` in
    all; `rows` of metrics and eleven evaluations of forty documents a role in every run."""
    write_guide_chain(root)
    base = (5.038, 2.227)
    grid = [
        (rate, replay, seed)
        for replay in (0.05, 0.1, 0.2, 0.3)
        for rate in (3e-5, 5e-5, 7e-5, 9e-5, 1.5e-4)
        for seed in (1337, 1338, 1339)
    ]
    for number, (rate, replay, seed) in enumerate(grid[: runs - 5]):
        noise = np.random.default_rng(number).normal(0, 0.008, 2)
        learned = 1.9 * (1 - np.exp(-rate / 5e-5)) * (1 - replay / 2)
        lost = 0.3 * (rate / 1e-4) * (1 - 2.5 * replay)
        write_run(
            root,
            "adapt",
            parent="base",
            start=base,
            final=(base[0] - learned + noise[0], base[1] + lost + noise[1]),
            peak_lr=rate,
            replay_ratio=replay,
            baseline=base,
            place=f"sweep/peak_lr={rate:g},replay_ratio={replay:g},seed={seed}",
            seed=seed,
        )
    for number, run in enumerate(sorted(path.parent for path in root.rglob("metrics.jsonl"))):
        _lengthen(run, rows, np.random.default_rng(number))


def _lengthen(run: Path, rows: int, rng: np.random.Generator) -> None:
    """Replaces what a run logged by `rows` steps between its first and last losses."""
    found = layout.metrics(str(run))
    first, last = (
        [row[f"eval/{r}/loss"] for r in ("domain", "general")] for row in (found[0], found[-1])
    )
    steps = np.linspace(0, rows, 11).round().astype(int)
    document_D = np.random.default_rng(0).normal(0, 0.3, 40)  # the same documents everywhere
    written = []
    for step in range(rows + 1):
        share = 1 - np.exp(-4 * step / rows) if step < rows else 1.0
        losses = [a + share * (b - a) for a, b in zip(first, last, strict=True)]
        row = {**found[-1], "step": step, "loss": losses[0] + rng.normal(0, 0.05)}
        row |= {"tokens": 12_288 * step, "lineage_tokens": 12_288 * (step + 40)}
        row |= {"grad_norm": 1 + rng.normal(0, 0.1), "tokens_per_sec": 9e4 + rng.normal(0, 900)}
        row |= {
            "step_secs": 0.13,
            "wall_secs": 0.13 * step,
            "lr": row.get("lr", 1e-4) * min(1, (step + 1) / 20),
        }
        row = {
            key: value for key, value in row.items() if not key.startswith(("eval/", "forgetting/"))
        }
        if step in steps:
            row |= evaluation(*losses)
            row["forgetting/percent"] = 100 * (losses[1] / first[1] - 1)
            sources = {
                key: list(loss + document_D + rng.normal(0, 0.01, 40))
                for key, loss in zip(("domain/cwe", "general/wiki"), losses, strict=True)
            }
            write_evaluation(run, step, sources)
        written.append(row)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    done = json.loads((run / "finished.json").read_text()) | {"step": rows}
    (run / "finished.json").write_text(json.dumps(done))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"num_steps": rows}))
    record = json.loads((run / "lineage.json").read_text())
    record["created"] = f"2026-11-27T10:{int(rng.integers(60)):02d}:00+00:00"
    for one in (record["parent"], *record["ancestors"]):
        if one:
            one["step"] = rows
    (run / "lineage.json").write_text(json.dumps(record))
