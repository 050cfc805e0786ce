"""What the TPU compiler makes of the 750m step, with weights whole or in slices.

    python scripts/tpu_programs.py                     all rows into docs/tpu_programs.json
    python scripts/tpu_programs.py --only=v5e:2x4      of one topology, the others stay
    python scripts/tpu_programs.py --only=v5e:2x4 --batch_size=96      of one batch of it
    python scripts/tpu_programs.py --table             prints the kept rows, compiles nothing

Compiles `configs/v8.py:750m` with remat=full for chips that are not here (requirements-tpu.txt),
one to three minutes a row on two cores; what was compiled before is taken from compile_cache. The
figures are the compiler's estimates, by `python -m mypt_jax.plan --explain`: they rank variants of
one program and are no speed.
"""

import argparse
import datetime
import importlib.metadata
import json
import sys

from _checkout import ROOT

from data_pipeline import atomic, errors

FILE = ROOT / "docs" / "tpu_programs.json"
STAGE = "configs/v8.py:750m,batch=96"
LOSS_CHUNKS = 8
# Topology, windows of a batch: 12, 4 and 2 a chip, two slices, and other chips.
CASES = (
    ("v5e:2x4", 96),
    ("v5e:2x4", 32),
    ("v5e:2x4", 16),
    ("v5e:2x4*2", 96),
    ("v5e:16x16", 768),
    ("v5p:2x2x1", 96),
    ("v6e:2x2", 96),
)
FORMS = {True: "whole", False: "in slices"}  # model.gather_weights
FIGURES = (
    "total_mcycles",
    "product_mcycles",
    "product_ideal_mcycles",
    "exposed_collective_mcycles",
    "overlapped_collective_mcycles",
    "windowed_products",
    "peak_gib",
)
HEADER = (
    "topology",
    "windows a chip",
    "weights",
    "total",
    "products",
    "ideal",
    "exposed",
    "overlapped",
    "sliced loops",
    "peak GiB",
)


def measure(topology: str, batch_size: int, *, gather: bool) -> dict:
    """One row: what was compiled, and the FIGURES of it."""
    from mypt_jax.plan import asked, costs, explain
    from mypt_jax.schema import overrides

    given = overrides.read(
        [
            f"--config={ROOT / STAGE}",
            f"--config.batch_size={batch_size}",
            "--config.model.remat=full",
            f"--config.model.loss_chunks={LOSS_CHUNKS}",
            f"--config.model.gather_weights={gather}",
        ]
    )
    config = costs.resolve(asked.config(given), given.overridden)
    one = explain.explain(config, topology, options={})
    found = explain.as_json({explain.OWN: one})["explain"]
    return {
        "topology": topology,
        "batch_size": batch_size,
        "mesh": list(one.memory.mesh),
        "gather_weights": gather,
        **{name: round(found[name], 3) for name in FIGURES},
    }


def table(rows: list[dict]) -> list[str]:
    """Lines of Markdown."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    for row in rows:
        data, fsdp, _ = row["mesh"]
        cells = [row["topology"], row["batch_size"] // (data * fsdp), FORMS[row["gather_weights"]]]
        cells += [f"{row[name]:,.0f}" for name in FIGURES[:-1]]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['peak_gib']:.2f} |")
    return lines


def kept() -> dict:
    return json.loads(FILE.read_text()) if FILE.exists() else {"rows": []}


def keep(row: dict) -> None:
    """Puts a row in the place of the one of the same program."""
    place = [(t, b, gather) for t, b in CASES for gather in FORMS]
    of = {(r["topology"], r["batch_size"], r["gather_weights"]): r for r in [*kept()["rows"], row]}
    content = {
        "command": "python scripts/tpu_programs.py",
        "rows": [of[key] for key in place if key in of],
    }
    with atomic.replacing(str(FILE)) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="one topology, as v5e:2x4")
    parser.add_argument("--batch_size", type=int, default=0, help="windows, of one batch alone")
    parser.add_argument("--table", action="store_true", help="print the kept table")
    args = parser.parse_args(argv)
    cases = [
        (name, batch_size)
        for name, batch_size in CASES
        if args.only in ("", name) and args.batch_size in (0, batch_size)
    ]
    if not cases:
        known = ", ".join(f"{name} with {batch_size}" for name, batch_size in CASES)
        raise errors.UserError(
            f"--only={args.only} --batch_size={args.batch_size} has no row here: there are {known}"
        )
    if not args.table:
        from mypt_jax.plan import topology

        topology.prepare()
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "libtpu")]
        made = {"date": f"{datetime.date.today()}", "versions": ", ".join(versions)}
        for name, batch_size in cases:
            for gather in FORMS:
                keep(measure(name, batch_size, gather=gather) | made)
    print("\n".join(table(kept()["rows"])))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
