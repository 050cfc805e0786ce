"""Compares recipes of adaptation: what each learns of the domain for what it forgets.

    mypt demo --out_dir=data/testbed --val_fraction=0.3
    mypt frontier --base=runs/testbed/base --out_dir=runs/testbed/frontier \\
        --config.data.domain=data/testbed/domain --config.data.general=data/testbed/general
    mypt frontier ... --add=configs/mine.py --recipes=chain,ce,kl,mine
    mypt frontier ... --size=runs/gpt2 --num_steps=64 --recipes=ce,kl,samples --samples=data/own

Every recipe is trained from one base in equal steps: with the first seed at each of --rates, which
multiply the rates of the stage files, then at its best rate with the other seeds. A stage file of
one's own is trained with the stages that its init_from names, from the base on. All get the same
free treatment, a place on the line from the base, and are compared at one domain loss: that of the
guide's chain, or of the recipe that --recipes names first where the chain is not among them. Places
and rates are chosen on one half of val, figures are of the other.

Finished runs and measurements are kept in --out_dir: the same command goes on where it stopped.
"""

import math
import os
from collections.abc import Mapping

from data_pipeline import arguments
from data_pipeline.batches import mixture
from data_pipeline.errors import UserError
from mypt_jax.frontier import recipes, training
from mypt_jax.schema import overrides, stage_file


def main(argv: list[str] | None = None) -> int:
    args, flags = _parse(argv)
    table = _recipes(args.recipes, args.add, args.size)
    plan = training.Plan(args.base, args.size, args.out_dir, tuple(flags), args.num_steps)
    against = next(iter(table))
    samples = args.samples or ""
    if not samples and any(recipe.needs_samples for recipe in table.values()):
        raise UserError(
            f"the recipe samples wants the base's own text: mypt sample --run={args.base} "
            "--tokens=N --out_dir=DIR, then --samples=DIR; or name the --recipes without it"
        )

    def of(name: str, rate: float, seed: int) -> training.Candidate:
        recipe = table[name]
        return training.candidate(plan, name, recipe, rate=rate, seed=seed, samples=samples)

    first, *others = range(args.first_seed, args.first_seed + args.seeds)
    tried = [of(name, rate, first) for rate in _first(1.0, args.rates) for name in table]
    training.check_base(plan, tried)
    training.check_flags(plan, tried)
    data = _data(training.data(plan), args.elsewhere, samples, args.behaviour)
    failed = 0
    for run, code in training.train(tried, parallel=args.parallel):
        failed = failed or code
        print(f"{run.workdir}: {f'exit code {code}' if code else 'finished'}", flush=True)
    tried = training.finished(tried)
    if args.train_only or failed == training.STOPPED:
        return failed
    from mypt_jax.frontier import comparison, page, points  # here: --help waits for no jax

    measure = points.Points(
        args.base,
        data,
        windows=args.windows,
        questions=args.questions,
        cache=os.path.join(args.out_dir, "points"),
    )
    target, best = comparison.choose_rates(measure, tried, against)
    print(f"compared with raw {against} at a domain loss of {target:.3f}; rates {best}", flush=True)
    more = [of(name, best[name], seed) for seed in others for name in best]
    for run, code in training.train(more, parallel=args.parallel):
        failed = failed or code
        print(f"{run.workdir}: {f'exit code {code}' if code else 'finished'}", flush=True)
    if failed == training.STOPPED:
        return failed
    every = [*tried, *training.finished(more)]
    chosen = [one for one in every if one.rate == best[one.recipe]]
    found = comparison.rows(measure, table, chosen, every, against=against, say=print)
    for path in page.write(args.out_dir, found, table, target=target):
        print(f"wrote {path}")
    print("\n".join(page.table(found, against)))
    return failed


def _parse(argv: list[str] | None):
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.frontier")
    parser.add_argument("--base", required=True, help="a finished run that all start from")
    parser.add_argument("--size", default="tiny", help="what follows a stage file's colon")
    parser.add_argument("--out_dir", required=True)
    parser.add_argument(
        "--num_steps", type=int, default=0, help="of every result; default: adapt's"
    )
    names, usual = ", ".join(recipes.RECIPES), ",".join(recipes.USUAL)
    parser.add_argument(
        "--recipes", default="", help=f"by commas, of {names}; default: {usual}, and those of --add"
    )
    parser.add_argument("--add", nargs="+", default=[], metavar="FILE", help="stage files as well")
    parser.add_argument("--rates", default="1,0.5,2", help="factors, by commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first_seed", type=int, default=1337)
    parser.add_argument("--samples", default="", help="dataset of the base's own, for replay")
    parser.add_argument(
        "--behaviour", default="", help="another one, by which its own words are judged"
    )
    parser.add_argument("--elsewhere", default="", help="dataset of general text of other kinds")
    parser.add_argument("--windows", type=int, default=256, help="per role and half of val")
    parser.add_argument("--questions", type=int, default=200, help="of each task and source")
    parser.add_argument("--parallel", type=int, default=1, help="runs at once, on a device each")
    parser.add_argument("--train_only", action="store_true", help="train the first seed, and stop")
    args, flags = parser.parse_known_args(argv)
    for name in ("seeds", "windows", "questions", "parallel"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)}: at least 1 is wanted")
    if args.num_steps < 0:
        raise UserError(f"--num_steps={args.num_steps}: at least 1 is wanted, or 0 for adapt's")
    try:
        args.rates = [float(one) for one in args.rates.split(",")]
    except ValueError:
        raise UserError(f"--rates={args.rates}: wanted numbers by commas, as 0.5,1,2") from None
    if not all(0 < rate < math.inf for rate in args.rates):
        raise UserError(f"--rates={args.rates}: wanted factors above 0")
    return args, overrides.expand(flags)


def _first(rate: float, rates: list[float]) -> list[float]:
    """The rates with `rate`, which the raw chain has, before the others."""
    return [rate, *(one for one in dict.fromkeys(rates) if one != rate)]


def _recipes(names: str, added: list[str], size: str) -> dict[str, recipes.Recipe]:
    """The recipes asked for, first the one with which all are compared: the chain, where it is
    among them. Raises UserError."""
    table, own = dict(recipes.RECIPES), []
    for file in added:
        stage = stage_file.load(f"{file}:{size}").stage
        if stage in table:
            raise UserError(f"--add={file}: a recipe is called {stage} already; rename the stage")
        table[stage] = recipes.of_file(file, size)
        own.append(stage)
    wanted = [name for name in names.split(",") if name] or [*recipes.USUAL, *own]
    unknown = [name for name in wanted if name not in table]
    if unknown:
        raise UserError(f"--recipes: {unknown[0]} is none of {', '.join(table)}")
    order = dict.fromkeys(wanted)
    if recipes.CHAIN in order:
        order = {recipes.CHAIN: None, **order}
    return {name: table[name] for name in order}


def _data(
    data: Mapping, elsewhere: str, samples: str, behaviour: str
) -> dict[str, tuple[str, ...]]:
    """What is evaluated, by role: the data of all stages, and the base's own words.

    Raises UserError for what is not there, before anything is trained.
    """
    words = behaviour or samples
    beside = (elsewhere,) if elsewhere else tuple(data["elsewhere"])
    beside += (words,) if words else ()
    found = {"domain": data["domain"], "general": data["general"], "elsewhere": beside}
    for role, paths in found.items():
        mixture.components_of(role, tuple(paths))
    own = mixture.components_of("elsewhere", (behaviour,)) if behaviour else ()
    if any(one.evaluated_as != mixture.BEHAVIOUR for one in own):
        raise UserError(f"--behaviour={behaviour}: wanted a dataset that mypt sample wrote")
    return found
