"""What a stage will be and cost, in seconds, before it runs: parent and lineage, tokens and epochs,
learning rates, FLOPs, memory, disk, days per accelerator. Needs neither data nor an accelerator.

    python -m mypt_jax.plan --config=configs/v8.py:750m,batch=96
    python -m mypt_jax.plan --config=configs/v8.py:tiny --config.optim.peak_lr=8e-5
    python -m mypt_jax.plan --config=configs/v8.py --topology=v5e:2x4 --search

--topology compiles the real train step for that TPU slice (requirements-tpu.txt).
"""

from data_pipeline import arguments, errors
from mypt_jax.schema import hints, overrides

UTILISATION = 0.40  # of the peak rate; published values near this size are 0.35 to 0.57


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(
        __doc__,
        prog="python -m mypt_jax.plan",
        usage="%(prog)s --config=FILE[:SIZE] [--config.KEY=VALUE ...] [options]",
        epilog="Every key: python -m mypt_jax.main --help",
    )
    parser.add_argument("--topology", default="", help="v5e:2x4 and the like")
    parser.add_argument("--search", action="store_true", help="with --topology: what fits")
    parser.add_argument("--utilisation", type=float, default=UTILISATION, help="share of peak")
    known, rest = parser.parse_known_args(argv)
    given = overrides.read(rest)
    if given.rest:
        strange = given.rest[0]
        raise errors.UserError(
            f"unknown argument {strange}; values are --config.KEY=VALUE{hints.hint(strange)}"
        )
    if not 0 < known.utilisation <= 1:
        raise errors.UserError(f"--utilisation is {known.utilisation}, wanted a share in (0, 1]")
    if known.search and not known.topology:
        raise errors.UserError("--search wants --topology=NAME, for example --topology=v5e:2x4")
    from mypt_jax.plan import describe  # here, so that --help waits for no jax

    if known.topology:
        from mypt_jax.plan import topology

        topology.prepare()
        topology.devices(known.topology)  # refused, if so, before anything is printed
    config = describe.resolve(given)
    print("\n".join(describe.plan(config, given.spec, known.utilisation)), flush=True)
    if known.topology:
        print("\n".join(describe.compiled(config, known.topology, search=known.search)))
    return 0
