"""Continues prompts with a run's model.

python -m mypt_jax.generate --run=runs/tiny/v8 --prompt="A buffer overflow occurs when"
python -m mypt_jax.generate --run=runs/tiny/v8 --compare base v3 v8 --prompt=... --save
"""

import argparse
import functools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from data_pipeline import errors
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.checkpoint import restore
from mypt_jax.model import gpt as model
from mypt_jax.model import sampling
from mypt_jax.runs import layout
from mypt_jax.storage import bucket

DEFAULT_NEW_TOKENS = 200


def load(spec: str) -> tuple[sampling.Generator, tokenizers.Tokenizer]:
    """The model of a run (PATH, PATH@STEP, PATH@best) on the first device, and its tokenizer.

    Raises UserError when there is no such run or its tokenizer is not the recorded one.
    """
    loaded = restore.load_params(spec)
    tokenizer = tokenizers.get(loaded.config["data"]["tokenizer"])
    recorded = loaded.record["tokenizer"]
    if recorded["sha256"] != tokenizer.sha256:
        raise errors.UserError(
            f"run {loaded.path} was trained with tokenizer {recorded['name']} "
            f"{recorded['sha256'][:12]}, found {tokenizer.sha256[:12]}: restore that tokenizer"
        )
    device = jax.devices()[0]
    settings = model.resolve(loaded.config["model"], device)
    # One document and no backward pass: neither masks nor rematerialisation.
    settings |= {"attention": "xla", "document_mask": False, "remat": "none", "dropout": 0.0}
    abstract = nnx.eval_shape(lambda: model.GPT(rngs=nnx.Rngs(0), **settings))
    gpt = nnx.merge(nnx.graphdef(abstract), nnx.State(jax.device_put(loaded.params, device)))
    return sampling.Generator(gpt, eot=tokenizer.eot, vocab_size=tokenizer.vocab_size), tokenizer


class _Stream:
    """Writes the text of one row as its tokens arrive, whole characters only."""

    def __init__(self, tokenizer, prompt: str, write: Callable[[str], None]):
        self._decode, self._tokens, self._shown = tokenizer.decode, [], ""
        self._write, self._prompt = write, prompt

    def __call__(self, tokens_B: np.ndarray) -> None:
        # With the first token: a prompt that is refused is not repeated.
        self._write(self._prompt)
        self._prompt = ""
        if tokens_B[0] < 0:
            return
        self._tokens.append(int(tokens_B[0]))
        text = self._decode(self._tokens)
        if not text.endswith("\ufffd"):  # the rest of a character is still to come
            self._write(text[len(self._shown) :])
            self._shown = text


def _continue(spec, prompts, arguments, *, write=None) -> tuple[list[str], sampling.Generated]:
    generator, tokenizer = load(spec)
    encoded = [tokenizer.encode(prompt).tolist() for prompt in prompts]
    room = generator.block_size - max(1, *map(len, encoded))
    new_tokens = arguments.max_new_tokens or min(DEFAULT_NEW_TOKENS, max(room, 1))
    made = generator.generate(
        encoded,
        max_new_tokens=new_tokens,
        sampling=sampling.Sampling(
            temperature=arguments.temperature,
            top_k=arguments.top_k,
            top_p=arguments.top_p,
            repetition_penalty=arguments.repetition_penalty,
        ),
        seed=arguments.seed,
        use_cache=not arguments.no_cache,
        **({"on_tokens": _Stream(tokenizer, prompts[0], write)} if write else {}),
    )
    return [tokenizer.decode(tokens) for tokens in made.tokens], made


def _beside(run: str, name: str) -> str:
    """What lies in the same directory or bucket as the run."""
    above, slash, _ = run.rstrip("/").rpartition("/")
    return f"{above}{slash}{name}"


def _locate(name: str, run: str) -> str:
    """A run named by its path or URL, or by its stage beside `run`."""
    path = name.rpartition("@")[0] or name
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
    parser = argparse.ArgumentParser(prog="python -m mypt_jax.generate", description=__doc__)
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
    arguments = parser.parse_args(argv)
    if arguments.max_new_tokens < 0:
        raise errors.UserError(f"--max_new_tokens is {arguments.max_new_tokens}, wanted 0 or more")
    if not 0 <= arguments.seed < 2**32:
        raise errors.UserError(f"--seed is {arguments.seed}, wanted 0 or more and less than 2**32")
    if arguments.save and not arguments.compare:
        raise errors.UserError("--save keeps what --compare=RUN ... found: give both or neither")
    return arguments


def _prompts(arguments) -> list[str]:
    prompts = list(arguments.prompt or [])
    if arguments.prompts_file:
        try:
            with open(arguments.prompts_file, encoding="utf-8") as file:
                prompts += file.read().splitlines()
        except (OSError, ValueError) as error:
            raise errors.UserError(f"--prompts_file cannot be read: {error}") from None
        if not prompts:
            raise errors.UserError(f"--prompts_file {arguments.prompts_file} holds no prompt")
    return prompts or [""]


def main(argv=None) -> int:
    arguments = _parse(argv)
    prompts = _prompts(arguments)
    if arguments.compare:
        found = {name: _locate(name, arguments.run) for name in arguments.compare}
        texts = {name: _continue(spec, prompts, arguments)[0] for name, spec in found.items()}
        samples = {}
        for row, prompt in enumerate(prompts):
            samples[prompt] = {name: texts[name][row] for name in found}
            print(f"prompt: {prompt}\n")
            print(_side_by_side(samples[prompt], shutil.get_terminal_size().columns), end="\n\n")
        if arguments.save:
            path = bucket.local_path(_beside(arguments.run, layout.SAMPLES))
            with open(path, "w", encoding="utf-8") as file:
                json.dump(samples, file, indent=1, ensure_ascii=False)
        return 0
    stream = len(prompts) == 1
    write = functools.partial(print, end="", flush=True) if stream else None
    texts, made = _continue(arguments.run, prompts, arguments, write=write)
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
