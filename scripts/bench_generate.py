"""Measures sampling with and without a KV cache: tokens per second, interleaved, median ratio.

python scripts/bench_generate.py                  # 6 layers x 384, L 512, 256 new tokens
"""

import statistics
import sys
from pathlib import Path

import _checkout  # noqa: F401

from data_pipeline import arguments, errors
from mypt_jax.schema import stage_file

GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}


def main(argv=None) -> int:
    parser = arguments.Parser(__doc__)
    parser.add_argument("--n_layer", type=int, default=6)
    parser.add_argument("--n_head", type=int, default=6)
    parser.add_argument("--n_embd", type=int, default=384)
    parser.add_argument("--block_size", type=int, default=512)
    parser.add_argument("--prompt_tokens", type=int, default=256)
    parser.add_argument("--new_tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    import jax  # here, so that --help waits for none of it
    import numpy as np
    from flax import nnx

    from mypt_jax.model import gpt as model
    from mypt_jax.model import sampling

    base = stage_file.load(str(Path(__file__).resolve().parents[1] / "configs" / "base.py"))
    settings = model.resolve(base.to_dict()["model"], jax.devices()[0])
    for key in ("n_layer", "n_head", "n_embd", "block_size"):
        settings[key] = getattr(args, key)
    gpt = jax.jit(lambda: model.GPT(rngs=nnx.Rngs(0), **settings))()
    made = sampling.Generator(gpt, eot=-1, vocab_size=settings["vocab_size"])
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, 50_000, (args.batch, args.prompt_tokens)).tolist()

    def rate(use_cache: bool) -> float:
        return made.generate(
            prompts,
            max_new_tokens=args.new_tokens,
            sampling=sampling.Sampling(**GREEDY),
            seed=0,
            use_cache=use_cache,
        ).tokens_per_sec

    rows = [(rate(True), rate(False)) for _ in range(args.rounds)]
    for cached, plain in rows:
        print(f"cache {cached:8.1f} tokens/s   no cache {plain:8.1f}   ratio {cached / plain:.2f}")
    ratios = [cached / plain for cached, plain in rows]
    print(
        f"{settings['n_layer']} x {settings['n_embd']}, L {settings['block_size']}, "
        f"{args.prompt_tokens} + {args.new_tokens} tokens, batch {args.batch}: "
        f"median ratio {statistics.median(ratios):.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
