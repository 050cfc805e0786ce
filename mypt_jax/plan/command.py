"""What a stage will be and cost, in seconds, before it runs: parent and lineage, tokens and epochs,
learning rates, FLOPs, memory, disk, days per accelerator. Needs neither data nor an accelerator.

    python -m mypt_jax.plan --config=configs/v8.py:750m,batch=96
    python -m mypt_jax.plan --config=configs/v8.py:tiny --config.optim.peak_lr=8e-5
    python -m mypt_jax.plan --config=configs/v8.py:tiny --here
    python -m mypt_jax.plan --config=configs/v8.py --prices=prices.json     # {"H100": 2.5}
    python -m mypt_jax.plan --config=configs/v8.py --topology=v5e:2x4 --search

    python -m mypt_jax.plan --config=configs/v8.py:750m,batch=96 --topology=v5e:2x4 --explain \\
        --compare model.remat=dots model.loss_chunks=8

    python -m mypt_jax.plan --config=configs/v8.py:750m,batch=96 --topology=v5e:2x4 --explain \\
        --compare xla_tpu_scoped_vmem_limit_kib=65536 xla_one=true+xla_other=false

    python -m mypt_jax.plan --config=configs/v8.py:750m --topology=h100x8

--here times some updates on this machine. --topology compiles the real train step for that TPU
slice (requirements-tpu.txt), or for so many GPUs of one host (requirements-cuda.txt). --explain
reads the compiled program: where the compiler expects the cycles to go; --compare sets variants
beside it: keys of the config, or options of the compiler, joined by + where they go together.
Compiled programs are kept in config.compile_cache.
"""

import argparse
import json
import math
import sys

from data_pipeline import arguments, errors
from mypt_jax.plan import asked
from mypt_jax.schema import hints, overrides, together

UTILISATION = 0.40  # of the peak rate; published values near this size are 0.35 to 0.57


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    known, rest = _parser().parse_known_args(argv)
    given = overrides.read(rest)
    if given.rest:
        strange = given.rest[0]
        raise errors.UserError(
            f"unknown argument {strange}; values are --config.KEY=VALUE{hints.hint(strange)}"
        )
    _check(known)
    options = {change: asked.compiler_options(change) for change in known.compare}
    commands = {
        change: overrides.read([*rest, *([] if options[change] else [f"--config.{change}"])])
        for change in known.compare
    }
    config = asked.config(given)
    variants = {change: asked.config(one) for change, one in commands.items()}
    if known.topology:
        asked.topology(known.topology)
    from mypt_jax.plan import costs, describe  # here: --help and a slip wait for no jax

    prices = _prices(known.prices) if known.prices else {}
    config = costs.resolve(config, given.overridden)
    for change, one in variants.items():
        costs.resolve(one, commands[change].overridden)
    if known.topology:
        from mypt_jax.plan import topology

        topology.prepare()
        # Refused, if so, before anything is printed.
        topology.devices(known.topology)
        for change, one in options.items():
            topology.check_options(known.topology, one, told=f"--compare {change}")
    idle = together.without_effect(config, given.overridden)
    for change, one in variants.items():
        own = together.without_effect(one, commands[change].overridden)
        idle += [f"{line} (--compare {change})" for line in own if line not in idle]
    if known.json:
        print("".join(f"{line}\n" for line in idle), end="", file=sys.stderr)
    else:
        lines = [*idle, *describe.plan(config, given, known.utilisation, prices)]
        print("\n".join(lines), flush=True)
    if known.here:
        from mypt_jax.plan import here

        print(f"\n{here.measure(config).line(config['num_steps'])}")
    if known.topology and not (known.explain or known.compare):
        print("\n".join(describe.compiled(config, known.topology, search=known.search)))
    if known.explain or known.compare:
        from mypt_jax.plan import explain

        explained = {
            name: explain.explain(one, known.topology, options=options.get(name, {}))
            for name, one in {explain.OWN: config, **variants}.items()
        }
        if known.json:
            print(json.dumps(explain.as_json(explained), indent=1, sort_keys=True))
        else:
            print("\n".join(explain.lines(explained, known.topology)))
    return 0


def _parser() -> arguments.Parser:
    parser = arguments.Parser(
        __doc__,
        prog="python -m mypt_jax.plan",
        usage="%(prog)s --config=FILE[:SIZE] [--config.KEY=VALUE ...] [options]",
        epilog="Every key: python -m mypt_jax.main --help",
    )
    parser.add_argument("--topology", default="", help="v5e:2x4, h100x8 and the like")
    parser.add_argument("--search", action="store_true", help="with --topology: what fits")
    parser.add_argument("--explain", action="store_true", help="with --topology: where cycles go")
    parser.add_argument(
        "--compare", nargs="+", default=[], metavar="KEY=VALUE", help="with --topology: variants"
    )
    parser.add_argument("--json", action="store_true", help="what --explain found, as JSON")
    parser.add_argument("--here", action="store_true", help="time updates on this machine")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="share of peak")
    parser.add_argument(
        "--prices", default="", metavar="FILE", help='JSON, of a device hour: {"H100": 2.5, ..}'
    )
    return parser


def _check(known: argparse.Namespace) -> None:
    """Raises UserError for options that do not go together."""
    if not 0 < known.utilisation <= 1:
        raise errors.UserError(f"--utilisation is {known.utilisation}, wanted a share in (0, 1]")
    for option in ("search", "explain", "compare"):
        if getattr(known, option) and not known.topology:
            raise errors.UserError(
                f"--{option} wants --topology=NAME, for example --topology=v5e:2x4"
            )
    if asked.gpus(known.topology) and (known.explain or known.compare):
        raise errors.UserError(
            f"--explain reads the estimates of a TPU's compiler, and there are none for "
            f"{known.topology}: leave --explain and --compare out"
        )
    if known.search and (known.explain or known.compare):
        raise errors.UserError("--search is a command of its own: leave --explain, --compare out")
    if known.here and (known.topology or known.json):
        raise errors.UserError("--here is of this machine: leave --topology and --json out")
    if known.json and not (known.explain or known.compare):
        raise errors.UserError("--json wants --explain or --compare, and --topology=NAME")


def _prices(path: str) -> dict[str, float]:
    """Prices of a device hour, in any currency, by the names of flops.CHIPS. Raises UserError."""
    from mypt_jax.model import flops

    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(f"--prices={path} cannot be read: {error}") from None
    known = ", ".join(flops.CHIPS)
    if not isinstance(found, dict) or not {*found} <= {*flops.CHIPS}:
        raise errors.UserError(f"--prices={path}: wanted an object with prices of {known}")
    for name, price in found.items():
        if (
            isinstance(price, bool)
            or not isinstance(price, int | float)
            or not 0 < price < math.inf
        ):
            raise errors.UserError(f"--prices={path}: {name} is {price!r}, wanted a number above 0")
    return found
