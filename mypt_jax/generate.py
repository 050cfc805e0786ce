"""Continues prompts with a run's model.

mypt generate --run=runs/tiny/v8 --prompt="A buffer overflow occurs when"
mypt generate --run=runs/tiny/v8 --compare base v3 v8 --prompt=... --save
"""

import argparse
import functools
import json
import os
import shutil
import sys
import textwrap

from data_pipeline import arguments, atomic, errors
from mypt_jax.runs import layout
from mypt_jax.storage import bucket, fetch


def _beside(run: str, name: str) -> str:
    """What lies in the same directory or bucket as the run."""
    above, slash, _ = run.rstrip("/").rpartition("/")
    return f"{above}{slash}{name}"


def _locate(name: str, run: str) -> str:
    """A run named by its path or URL, or by its stage beside `run`."""
    path = layout.parse_spec(name)[0]
    known = "://" in name or os.path.isfile(os.path.join(path, "config.json"))
    return name if known else _beside(run, name)


def _side_by_side(columns: dict[str, str], width: int) -> str:
    """Texts in columns of equal width, each under its name."""
    each = max(20, (width + 3) // len(columns) - 3)
    wrapped = []
    for name, text in columns.items():
        lines = [part for line in text.splitlines() for part in textwrap.wrap(line, each) or [""]]
        wrapped.append([name, "-" * min(each, len(name)), *lines])
    height = max(map(len, wrapped))
    rows = [[column[i] if i < len(column) else "" for column in wrapped] for i in range(height)]
    return "\n".join(" | ".join(f"{cell:{each}}" for cell in row).rstrip() for row in rows)


def _parse(argv) -> argparse.Namespace:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.generate")
    parser.add_argument("--run", required=True, help="run directory, PATH[@STEP|@best]")
    parser.add_argument("--prompt", action="append", help="may be given several times")
    parser.add_argument("--prompts_file", help="a file with one prompt in each line")
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="runs, by path or by stage")
    parser.add_argument("--save", action="store_true", help=f"--compare: into {layout.SAMPLES}")
    parser.add_argument("--max_new_tokens", type=int, default=0, help="0: 200, or what fits")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: most likely token")
    parser.add_argument("--top_k", type=int, default=0, help="0: off")
    parser.add_argument("--top_p", type=float, default=1.0, help="1: off")
    parser.add_argument("--repetition_penalty", type=float, default=1.0, help="1: off")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_cache", action="store_true", help="recompute every position")
    options = parser.parse_args(argv)
    if options.max_new_tokens < 0:
        raise errors.UserError(f"--max_new_tokens is {options.max_new_tokens}, wanted 0 or more")
    if not 0 <= options.seed < 2**32:
        raise errors.UserError(f"--seed is {options.seed}, wanted 0 or more and less than 2**32")
    if options.save and not options.compare:
        raise errors.UserError("--save keeps what --compare=RUN ... found: give both or neither")
    return options


def _prompts(options) -> list[str]:
    prompts = list(options.prompt or [])
    if options.prompts_file:
        try:
            with open(options.prompts_file, encoding="utf-8") as file:
                prompts += file.read().splitlines()
        except (OSError, ValueError) as error:
            raise errors.UserError(f"--prompts_file cannot be read: {error}") from None
        if not prompts:
            raise errors.UserError(f"--prompts_file {options.prompts_file} holds no prompt")
    return prompts or [""]


def main(argv=None) -> int:
    options = _parse(argv)
    prompts = _prompts(options)
    found = {name: _locate(name, options.run) for name in options.compare or ()}
    for spec in found.values() or [options.run]:
        fetch.check_run(spec)
    from mypt_jax import continuation  # here: --help and a slip wait for no jax

    if options.compare:
        texts = {name: continuation.of(spec, prompts, options)[0] for name, spec in found.items()}
        samples = {}
        for row, prompt in enumerate(prompts):
            samples[prompt] = {name: texts[name][row] for name in found}
            print(f"prompt: {prompt}\n")
            print(_side_by_side(samples[prompt], shutil.get_terminal_size().columns), end="\n\n")
        if options.save:
            path = bucket.local_path(_beside(options.run, layout.SAMPLES))
            with atomic.replacing(path) as file:
                file.write(json.dumps(samples, indent=1, ensure_ascii=False).encode())
        return 0
    stream = len(prompts) == 1
    write = functools.partial(print, end="", flush=True) if stream else None
    texts, made = continuation.of(options.run, prompts, options, write=write)
    if stream:
        print()
    for prompt, text in zip(prompts, texts, strict=True):
        if not stream:
            print(f"prompt: {prompt}\n{prompt}{text}\n")
    print(
        f"{made.decoded_tokens} tokens in {made.decode_secs:.2f} s: {made.tokens_per_sec:.1f} "
        f"tokens/s (compiled in {made.compile_secs:.1f} s)",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
