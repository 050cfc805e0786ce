"""Mixes a domain dataset with replayed general text, exactly and without copying.

    mypt mix --domain_dir data/itsec_v3_tokenized \\
        --replay_dir data/multilingual_1.5B_wiki90 --output_dir data/domain_mixed_20pct \\
        --replay_ratio 0.20
    python -m mypt_jax.main --config=configs/v5.py --config.data.mixture=data/domain_mixed_20pct
"""

from fractions import Fraction
from pathlib import Path

from data_pipeline import arguments, atomic, errors
from data_pipeline.batches import mixture
from data_pipeline.prepare import mix


def main(argv=None) -> int:
    """Writes the mixture and prints its shares."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--domain_dir", type=Path, required=True)
    parser.add_argument("--replay_dir", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--replay_ratio", default="0.3", help="share of replay, up to 6 decimals")
    parser.add_argument("--replay_tokens", type=int, default=0, help="instead of the ratio")
    parser.add_argument("--replay2_dir", type=Path)
    parser.add_argument("--replay2_ratio", default="0")
    parser.add_argument("--include_replay_val", action="store_true", help="with --materialize")
    parser.add_argument("--seed", type=int, default=42, help="order of replay in --materialize")
    parser.add_argument("--materialize", action="store_true", help="write real shards")
    parser.add_argument("--layout", choices=("mypt_jax", "mypt"), default="mypt_jax")
    parser.add_argument("--tokens_per_shard", type=int, default=10_000_000)
    args = parser.parse_args(argv)
    if args.tokens_per_shard < 1:
        raise errors.UserError(f"--tokens_per_shard {args.tokens_per_shard}: 1 or more is wanted")
    atomic.check_free(args.output_dir)
    first, second = _ratios(args)
    general = [args.replay_dir] + ([args.replay2_dir] if args.replay2_dir else [])
    weights = [first, second] if args.replay2_dir and first + second else []
    recorded = {"command": "mix_tokenized_datasets", "seed": args.seed}
    ratio = first + second
    if not args.materialize:
        if args.layout != "mypt_jax":
            raise errors.UserError("--layout mypt holds real shards: add --materialize")
        made = mix.write_view(
            args.output_dir,
            domain=[args.domain_dir],
            general=general,
            general_weights=weights,
            replay_ratio=ratio,
            recorded=recorded,
        )
        for one in made.components:
            print(f"{one.key}: share {one.share} = {float(one.share):.6f} of the windows")
        print(f"{args.output_dir}: a view; train with --config.data.mixture={args.output_dir}")
        return 0
    made = mixture.build(
        domain=[str(args.domain_dir)],
        general=[str(path) for path in general],
        domain_weights=(),
        general_weights=[mix.decimal(weight) for weight in weights],
        replay_ratio=mix.decimal(ratio),
    )
    tokens = mix.materialize(
        args.output_dir,
        made,
        seed=args.seed,
        tokens_per_shard=args.tokens_per_shard,
        include_replay_val=args.include_replay_val,
        layout=args.layout,
        recorded=recorded | {"replay_ratio": mix.decimal(ratio)},
    )
    total = sum(tokens.values())
    for name, count in tokens.items():
        print(f"{name}: {count} train tokens, {count / total:.6f}")
    print(f"{args.output_dir}: {total} train tokens, all copied")
    return 0


def _ratios(args) -> tuple[Fraction, Fraction]:
    """The shares of both replay datasets in all windows."""
    first = mixture.exact(args.replay_ratio, "--replay_ratio")
    second = mixture.exact(args.replay2_ratio, "--replay2_ratio")
    if second and not args.replay2_dir:
        raise errors.UserError("--replay2_ratio needs --replay2_dir")
    if args.replay2_dir and not second:
        raise errors.UserError("--replay2_dir needs a positive --replay2_ratio")
    if args.replay_tokens < 0:
        raise errors.UserError(f"--replay_tokens {args.replay_tokens}: 0 or more is wanted")
    if args.replay_tokens:
        domain = mixture.components_of("domain", [str(args.domain_dir)])
        have = sum(one.data.tokens["train"] for one in domain)
        exact = Fraction(args.replay_tokens, have + args.replay_tokens) * (1 - second)
        first = Fraction(round(exact * 10**6), 10**6)
    for name, ratio in (("--replay_ratio", first), ("--replay2_ratio", second)):
        if not 0 <= ratio <= 1:
            raise errors.UserError(f"{name} is {float(ratio):g}: 0..1 is wanted")
    if first + second > 1:
        raise errors.UserError(f"both replay ratios sum to {float(first + second):g}: 1 at most")
    return first, second
