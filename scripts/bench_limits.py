"""A limit of forgetting held by one run, beside the best of a sweep drawn back to the same limit.

    python scripts/bench_limits.py --base=runs/testbed/base --limits=runs/testbed/limits \\
        --grid=runs/testbed/grid --out=docs/limits.json

Both directories are of `mypt sweep`: --limits has objective.max_forgetting in its grid, --grid any
other keys; both the same seeds. Every run of the grid is drawn back on its line to the base as a
run with a limit is (halved, on the half of val that is chosen on), and the settings of the lowest
mean domain loss there are the grid's best at that limit. All figures are of the other half.
"""

import argparse
import collections
import csv
import json
import statistics
import sys
from pathlib import Path

import _checkout  # noqa: F401
import numpy as np

from data_pipeline import atomic, errors

LIMIT = "objective.max_forgetting"
# Columns of trials.csv: settings stand from the third one on until what was measured.
SEED, MEASURED = "seed", "step"
HEADER = ("limit", "measured", "domain", "best of the grid", "measured", "domain", "difference")


def read(directory: str) -> dict[tuple, dict[int, str]]:
    """{settings: {seed: run}} of a sweep. Raises UserError where one is not finished."""
    from mypt_jax.sweep import outcome

    path = Path(directory) / outcome.FILE
    if not path.exists():
        raise errors.UserError(f"{path} is not there: wanted a directory of `mypt sweep`")
    found = collections.defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["state"] != "finished":
                raise errors.UserError(f"{row['run']} is {row['state']}: run the sweep again")
            names = list(row)[2 : list(row).index(MEASURED)]
            settings = tuple((n, row[n]) for n in names if n != SEED)
            found[settings][int(row.get(SEED) or 0)] = row["run"]
    return dict(found)


class Measured:
    """Runs of one base, and their points on the line to it, by both halves of val."""

    def __init__(self, base: str, runs: list[str]):
        from mypt_jax.merge import evaluation, parents

        # All on the windows of the first.
        opened = parents.open_all([(run, 0.0) for run in (*runs, base)])
        self._params = {one.path: one.params for one in opened}
        self._base = opened[-1].params
        self._all = evaluation.open_evaluator(opened)
        chosen_on = {k: one for k, one in self._all.plan.items() if k.startswith("general/")}
        self._general = self._all._replace(plan=chosen_on)
        self.base = self.score(self._base, self._all)

    def score(self, params, evaluator):
        from mypt_jax.runs.evaluations import Evaluation

        return Evaluation(evaluator.score(params))

    def run(self, path: str):
        return self.score(self._params[path], self._all)

    def drawn_back(self, path: str, limit: float):
        """The furthest point from the base that keeps the limit, on the half that is chosen on."""
        from mypt_jax.runs import comparison
        from mypt_jax.train.forgetting import limit as limits

        def forgotten(params) -> float:
            found = comparison.compare(self.score(params, self._general), self.base, "general")
            if isinstance(found, comparison.Refusal):
                raise errors.UserError(f"{path}: {found.reason}")
            return found.share

        params, _, _ = limits.hold(self._params[path], self._base, forgotten, limit)
        return self.score(params, self._all)


def figures(measured: Measured, draws, runs: list) -> tuple[list[float], np.ndarray]:
    """(forgetting of each seed in per cent, domain over the base's with its resamples)."""
    from mypt_jax.runs import comparison

    changed = [comparison.compare(one.reported, measured.base.reported, "general") for one in runs]
    return [one.percent for one in changed], draws.change([r.reported for r in runs], "domain")


def at_limit(measured: Measured, draws, limit: str, own: dict, grid: dict) -> dict:
    """One row: a limit's runs, and the best settings of the grid at it."""
    from mypt_jax.frontier import intervals

    seeds = sorted(own)
    mine = [measured.run(own[seed]) for seed in seeds]
    best, lowest = None, float("inf")
    for settings, runs in grid.items():
        points = [measured.drawn_back(runs[seed], float(limit)) for seed in seeds]
        mean = statistics.fmean(one.mean("domain") for one in points)
        if mean < lowest:
            best, lowest, theirs = settings, mean, points
    percent, domain = figures(measured, draws, mine)
    its_percent, its_domain = figures(measured, draws, theirs)
    return {
        "limit_percent": 100 * float(limit),
        "percent": percent,
        "domain": intervals.interval(domain),
        "best": dict(best),
        "best_percent": its_percent,
        "best_domain": intervals.interval(its_domain),
        "difference": intervals.interval(domain - its_domain),
    }


def table(rows: list[dict]) -> list[str]:
    """Lines of Markdown; changes in nats/token with 95 % intervals over seeds and documents."""

    def shown(found) -> str:
        return f"{found[0]:+.3f} ({found[1]:+.3f} to {found[2]:+.3f})"

    def percents(found: list[float]) -> str:
        return ", ".join(f"{one:+.2f}" for one in found) + " %"

    lines = [f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
    for row in rows:
        settings = ", ".join(f"{k.rpartition('.')[2]} {v}" for k, v in row["best"].items())
        cells = [
            f"{row['limit_percent']:g} %",
            percents(row["percent"]),
            shown(row["domain"]),
            settings,
            percents(row["best_percent"]),
            shown(row["best_domain"]),
            shown(row["difference"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", required=True)
    parser.add_argument("--limits", required=True, help="sweep over objective.max_forgetting")
    parser.add_argument("--grid", required=True, help="sweep over other keys")
    parser.add_argument("--without_seed", type=int, help="one on which something was chosen")
    parser.add_argument("--out", help="JSON of all figures")
    args = parser.parse_args(argv)
    own, grid = read(args.limits), read(args.grid)
    for settings, runs in (*own.items(), *grid.items()):
        if args.without_seed is not None and runs.pop(args.without_seed, None) is None:
            raise errors.UserError(f"{dict(settings)} has no seed {args.without_seed}")
    limits = {dict(settings).get(LIMIT): runs for settings, runs in own.items()}
    if None in limits:
        raise errors.UserError(f"--limits={args.limits}: its grid has no {LIMIT}")
    seeds = sorted(next(iter(limits.values())))
    for settings, runs in [*own.items(), *grid.items()]:
        if sorted(runs) != seeds:
            raise errors.UserError(f"{dict(settings)} has seeds {sorted(runs)}, wanted {seeds}")
    from mypt_jax.frontier import intervals, page

    runs = [run for of in (*own.values(), *grid.values()) for run in of.values()]
    measured = Measured(args.base, runs)
    draws = intervals.Resamples(measured.base.reported, len(seeds))
    rows = [at_limit(measured, draws, limit, of, grid) for limit, of in limits.items()]
    if args.out:
        with atomic.replacing(args.out) as file:
            found = {"made": page.made(), "seeds": seeds, "rows": rows}
            file.write(json.dumps(found, indent=1).encode() + b"\n")
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
