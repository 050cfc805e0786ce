"""Lines of every command that work, and what can be wrong: arguments, files, processes."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT, SMALL

_SHORT = {**SMALL, "num_steps": 2, "eval.every_steps": 2, "optim.warmup_steps": 1}
TRAIN = [f"--config.{key}={value}" for key, value in _SHORT.items()]
DATA = "--config.data.domain=data/domain --config.data.general=data/general"
# Each works in the directory that `make_world` makes; what it writes is new, at `out`.
LINES = {
    "main": "--config=configs/v3.py:tiny --config.workdir=out --config.init_from=runs/base " + DATA,
    "chain": "--size=tiny --stages=v3,v5 --runs_dir=runs --dry_run --times=times.txt",
    "sweep": "--config=configs/v3.py:tiny --grid optim.peak_lr=1e-4,2e-4 --seeds=2 --parallel=2 "
    "--out_dir=out --print --config.init_from=runs/base " + DATA,
    "frontier": "--base=runs/base --size=tiny --out_dir=out --recipes=none --rates=x --seeds=1 "
    "--samples=data/general --elsewhere=data/general",
    "adapt": "--base=runs/base --text=texts --general=texts/a.txt --out_dir=out --epochs=2 "
    "--limit=1% --dry_run",
    "plan": "--config=configs/v3.py:tiny --utilisation=0.4 " + DATA,
    "foretell": "runs",
    "runs list": "runs",
    "runs clean": "runs --yes",
    "runs rename": "runs/v5 runs/v6",
    "runs remove": "runs/v5",
    "report": "runs --out=out",
    "report --html": "runs --out=out",
    "merge": "runs/v3:0.5 runs/v5:0.5 --out=out",
    "merge --line": "runs/v3 --toward=runs/v5 --points=3 --limit=1% --out=out",
    "sample": "--run=runs/base --tokens=500 --out_dir=out --seed=1 --val_fraction=0.1 "
    "--tokens_per_shard=1000 --block_rows=4",
    "generate": "--run=runs/v3@best --prompt=word --max_new_tokens=3 --temperature=0.5 --top_k=4 "
    "--top_p=0.9 --repetition_penalty=1.1 --seed=1",
    "generate --save": "--run=runs/v3 --prompts_file=prompts --max_new_tokens=3 --compare base v3",
    "evaluate": "--run=runs/v3 --data data/general texts/a.txt --windows=4 --batch_size=4 --json",
    "evaluate --tasks": "--run=runs/v3 --data data/general --windows=4",
    "export": "runs/v3 out",
    "interop.huggingface export": "runs/v3 out --dtype=fp32",
    "interop.huggingface import": "hf out --origin=own --tokenizer=gpt2",
    "interop.mypt export": "runs/v3 out --dtype=fp32",
    "interop.mypt import": "mypt out --origin=own",
    "interop.lm_eval": "--run=runs/v3 --tasks nothing --limit=1",
    "stages": "out",
    "corpus domain": "--registry=registry.json --sources_dir=texts --out_dir=out --only=notes "
    "--workers=1 --count_tokens=gpt2-4096 --min_accounted=0.5 --quality=min_chars=1 "
    "--against=texts/d.jsonl",
    "prepare": "--source a:texts/a*.txt --source b:texts/c.jsonl --weight a:2 --weight b:1 "
    "--total_tokens=5000 --out_dir=out --tokenizer=gpt2-4096 --workers=1 --val_fraction=0.2 "
    "--seed=3 --repeat --max_repeat=100 --tokens_per_shard=4000",
    "prepare --layout=mypt": "--source a:texts/*.md --out_dir=out --workers=1 --val_fraction=0.2",
    "append": "--dataset_dir=data/general --source more:texts/b.md --workers=1 --target_tokens=100",
    "mix": "--domain_dir=data/domain --replay_dir=data/general --output_dir=out --replay_ratio=.3",
    "mix --materialize": "--domain_dir=data/domain --replay_dir=data/general --output_dir=out "
    "--replay2_dir=data/domain --replay2_ratio=0.1 --seed=2 --tokens_per_shard=1000",
    "inspect": "data/general --verify --json",
    "inspect --split=val": "data/general --decode=2",
    "contamination": "--train_dir=data/domain --eval_dir=data/general --words=5 --run_tokens=20 "
    "--min_jaccard=0.5 --max_share=0.5 --examples=2 --workers=1",
    "export_tfds": "--dataset_dir=data/general --out_dir=out --format=array_record",
    "demo": "--out_dir=out --tokenizer=nothing",
    "picture": "data/domain --general=data/general --replay_ratio=.3 --windows=20 --width=20",
}
# What is typed by mistake, or what a script makes of an empty variable.
VALUES = ["", " ", "-1", "0", "1", "nan", "1e999", "9" * 30, "\udcff.txt", "\u00e4", "n" * 300]
VALUES += ["x/" * 2200, "/dev/null", "/dev/null/x", "/proc/self/mem", ".", "..", "/", "~nobody/x"]
VALUES += ["*", "[", "**", "@", "runs/v3@9", "runs/v3@x@1", "hf:", "hf:texts", ":", "a:", ",", "--"]
VALUES += ["1,2", "--no_such=1", "-x", "null", "missing", "texts", "texts/a.txt", "junk", "empty"]
VALUES += ["texts/none.txt", "dangling", "loop", "loop/x", "data/general", "runs", "runs/base"]
VALUES += ["registry.json", "gs://", "s3:///", "file:///x", "configs/none.py"]
# How a process may be started; the names are those of command_server.child.
PROCESSES = {
    "LANG=C": {"environment": {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}},
    "no stdin": {"closed": [0]},
    "no stdout": {"closed": [1]},
    "no stderr": {"closed": [2]},
    "no console": {"closed": [0, 1, 2]},
    "no HOME": {"unset": ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME"]},
    "HOME=nothing": {"environment": {"HOME": "/dev/null/x", "XDG_CACHE_HOME": "/dev/null/x"}},
    "TMPDIR=nothing": {"environment": {"TMPDIR": "/dev/null/x"}},
    "64 files": {"files": 64},
    "umask 777": {"umask": 0o777},
    "full disk": {"file_bytes": 20_000},
}


class Case(NamedTuple):
    """A line of LINES with one thing wrong; what is not given is as it should be."""

    name: str
    arguments: list[str]
    damage: tuple[str, str] = ("", "")  # (one of DAMAGES, file)
    process: dict = {}


def arguments_of(line: str) -> list[str]:
    more = TRAIN if line == "main" else []
    return [*line.split(), *LINES[line].split(), *more]


def with_other_arguments(line: str) -> list[Case]:
    """Each value of the line replaced by each of VALUES, behind the colon of NAME:VALUE too."""
    given, cases = arguments_of(line), []
    for place in range(len(line.split()), len(given)):
        name, equals, value = given[place].partition("=")
        if given[place] in TRAIN or name.startswith("--") and not equals:
            continue
        head = f"{name}=" if equals else ""
        stem, colon, _ = (value if equals else name).partition(":")
        for other in VALUES:
            for changed in (other, f"{stem}:{other}") if colon else (other,):
                arguments = [*given[:place], head + changed, *given[place + 1 :]]
                cases.append(Case(f"{line}: {head}{changed!r:.40}", arguments))
    return cases


def with_damage(line: str, world: Path) -> list[Case]:
    """Each kind of damage to each file below what the line names."""
    given, cases = arguments_of(line), []
    for path in sorted(p for p in world.rglob("*") if p.is_file() and not p.is_symlink()):
        name = path.relative_to(world).as_posix()
        if any(name.split("/")[0] in one for one in given) and not name.startswith("configs/"):
            cases += [Case(f"{line}: {kind} {name}", given, (kind, name)) for kind in DAMAGES]
    return cases


def in_other_processes(line: str) -> list[Case]:
    given = arguments_of(line)
    return [Case(f"{line}: {name}", given, process=how) for name, how in PROCESSES.items()]


def make_world(root: Path, family: Path, datasets: dict[str, str]) -> None:
    """A directory with what the lines name."""
    shutil.copytree(family, root / "runs")
    for path in (root / "runs").glob("*/*.json"):
        path.write_text(path.read_text().replace(str(family), "runs"))
    for role, path in datasets.items():
        shutil.copytree(path, root / "data" / role)
    shutil.copytree(ROOT / "configs", root / "configs", ignore=shutil.ignore_patterns("__pyc*"))
    texts = root / "texts"
    (texts / "notes").mkdir(parents=True)
    (texts / "empty").mkdir()
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefgh", k=5)) for _ in range(50)]
    paragraphs = [" ".join(rng.choices(words, k=80)) for _ in range(20)]
    for name in ("a.txt", "a2.txt", "b.md", "notes/c.txt"):
        (texts / name).write_text("\n\n".join(paragraphs))
    rows = [{"text": text, "id": str(n), "source": "s"} for n, text in enumerate(paragraphs)]
    for name in ("c.jsonl", "d.jsonl"):
        (texts / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "prompts").write_text("abc def\nefg\n")
    (root / "junk").write_bytes(rng.randbytes(3000))
    (root / "empty").write_bytes(b"")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    source = {"name": "notes", "role": "domain", "lang": "en", "reader": "plain", "licence": "MIT"}
    source |= {"include": ["*.txt"], "fetch": {"kind": "local", "url": "https://example.org"}}
    source |= {"attribution": "nobody", "homepage": "https://example.org"}
    registry = {"schema": 1, "exclude": [], "sources": [source]}
    (root / "registry.json").write_text(json.dumps(registry))
    for name in ("hf", "mypt"):
        (root / name).mkdir()
        config = {"model_type": "gpt2", "vocab_size": 8, "n_positions": 8, "n_layer": 1}
        (root / name / "config.json").write_text(json.dumps({**config, "n_head": 1, "n_embd": 8}))
        (root / name / "model.safetensors").write_bytes(b"\0" * 64)


def damage(path: Path, kind: str, rng: random.Random) -> None:
    """Replaces a file, which may have other names elsewhere, by a damaged one."""
    data = path.read_bytes()
    path.unlink()
    DAMAGES[kind](path, data, rng)


def _odd_value(path: Path, data: bytes, rng: random.Random) -> None:
    """One value of a JSON file, or of a line of JSON, at any depth, becomes another."""
    if path.suffix not in (".json", ".jsonl"):
        path.write_bytes(b"\xff\xfe" + data)
        return
    lines = data.splitlines() if path.suffix == ".jsonl" else [data]
    number = rng.randrange(len(lines))
    content = json.loads(lines[number])
    inner, key = rng.choice(_places(content) or [({}, "")])
    odd = [None, True, -1, 2, 40.0, 1e300, float("nan"), "40", "", "\ud800", "a\0b", [], [[]], {}]
    inner[key] = rng.choice(odd)
    lines[number] = json.dumps(content).encode()
    path.write_bytes(b"\n".join(lines))


def _places(value) -> list[tuple]:
    """(container, key) of everything inside a JSON value."""
    below = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, entry in below:
        found.append((value, key))
        if isinstance(entry, (dict, list)):
            found += _places(entry)
    return found


def _flipped(path: Path, data: bytes, rng: random.Random) -> None:
    place = rng.randrange(max(1, len(data)))
    path.write_bytes(
        data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :] if data else b""
    )


def _content(content: bytes) -> Callable:
    return lambda path, data, rng: path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path, bytes, random.Random], object]] = {
    "odd value in": _odd_value,
    "another odd value in": _odd_value,
    "one more odd value in": _odd_value,
    "half of": lambda path, data, rng: path.write_bytes(data[: len(data) // 2]),
    "flipped bits in": _flipped,
    "empty": _content(b""),
    "null for": _content(b"null"),
    "a list for": _content(b"[]"),
    "depth in": _content(b"[" * 100_000),
    "all bytes in": _content(bytes(range(256)) * 4),
    "not UTF-8:": _content(b"\xff\n"),
    "no": lambda path, data, rng: None,
    "a directory for": lambda path, data, rng: path.mkdir(),
    "a dangling link for": lambda path, data, rng: path.symlink_to("nowhere"),
    "a circle of links for": lambda path, data, rng: path.symlink_to(path.name),
}


def copy_world(world: Path, place: Path) -> None:
    shutil.copytree(world, place, symlinks=True, copy_function=_copy)


def _copy(source: str, to: str) -> None:
    """A file; a large one, which no command writes into, by another name of it."""
    if os.path.getsize(source) > 100_000:
        os.link(source, to)
    else:
        shutil.copy2(source, to)


def files_below(root: Path) -> dict[str, tuple[int, int]]:
    """{path: (size, mtime)}; an empty directory, as of an --out on a full disk, is nothing."""
    found = {}
    for directory, _, names in os.walk(root):
        for path in (os.path.join(directory, name) for name in names):
            about = os.lstat(path)
            found[os.path.relpath(path, root)] = (about.st_size, about.st_mtime_ns)
    return found
