"""Shared by all tests: small token datasets, and the trainer as a real process."""

import contextlib
import fcntl
import importlib.metadata
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# No test depends on how fast a machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# What XLA and LLVM optimise is most of a compilation, and these programs run for moments: a third
# of the time for the first run of a shape. Users' flags, where there are some, stay as they are.
QUICK_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if importlib.metadata.version("jaxlib").startswith("0.10."):  # later ones know no other way
    QUICK_COMPILE += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", QUICK_COMPILE)

# A model that compiles and steps in moments; the code path is that of the full size.
SMALL = {
    "model.n_layer": 2,
    "model.n_head": 2,
    "model.n_embd": 64,
    "model.block_size": 32,
    "batch_size": 8,
    "num_steps": 12,
    "optim.warmup_steps": 2,
    "eval.every_steps": 6,
    "eval.windows": 24,
    "eval.min_windows": 4,
    "log.every_steps": 2,
    "log.trackers": (),
}


def documents(source: str, count: int, seed: int):
    """Texts with a vocabulary of their own, so that one source can be told from another."""
    from data_pipeline import document

    rng = random.Random(f"{source}/{seed}")
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 7))) for _ in range(60)]
    for number in range(count):
        lines = [" ".join(rng.choices(words, k=12)) for _ in range(rng.randint(6, 30))]
        yield document.Document(
            id=f"{source}-{number}", text="\n".join(lines) + "\n", source=source, licence="MIT"
        )


def build_dataset(
    out_dir: Path,
    sources: dict[str, int],
    seed: int = 0,
    val_fraction: float = 0.2,
    vocabulary: str = "gpt2-4096",
) -> Path:
    """A token dataset with `sources`: {name: documents}."""
    from data_pipeline.prepare import budget, build
    from data_pipeline.tokens import tokenizer

    settings = budget.Settings(seed=seed, val_fraction=val_fraction, tokens_per_shard=20_000)
    texts = (text for name, count in sources.items() for text in documents(name, count, seed))
    build.build_dataset(
        texts,
        out_dir=out_dir,
        vocabulary=tokenizer.get(vocabulary),
        settings=settings,
        recorded={"command": "test"},
    )
    return out_dir


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A directory that all processes of a test run see, where tests run in several."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """What a run remembers of files it remembers here, and not where the machine's user does."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@contextlib.contextmanager
def made_once(path: Path) -> Iterator[bool]:
    """Whether `path`, which all processes share, is yet to be made here; the others wait for it."""
    done = path.with_name(f"{path.name}.done")
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


@pytest.fixture(scope="session")
def datasets(shared) -> dict[str, str]:
    """{"domain": directory with two sources, "general": directory with one}."""
    root = shared / "data"
    with made_once(root) as is_missing:
        if is_missing:
            root.mkdir()
            build_dataset(root / "domain", {"manuals": 120, "laws": 110})
            build_dataset(root / "general", {"encyclopedia": 150})
    return {"domain": str(root / "domain"), "general": str(root / "general")}


@pytest.fixture(scope="session")
def compile_cache(shared) -> str:
    """One XLA cache for all processes of a test run: the second start of a shape is quick."""
    return str(shared / "xla")


@pytest.fixture
def small(datasets, compile_cache):
    """Overrides {key: value} for a SMALL run on the small datasets."""
    return {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
    }


@pytest.fixture(scope="session")
def lineage_values(datasets, compile_cache) -> dict:
    """What all stages of the small lineage have in common."""
    from tests import family_factory

    data = {"data.domain": datasets["domain"], "data.general": datasets["general"]}
    return {**family_factory.SHAPE, **data, "compile_cache": compile_cache}


@pytest.fixture(scope="session")
def family(shared, lineage_values) -> Path:
    """The directory of the small lineage's runs, to be read only: base, v3 and v5."""
    from tests import family_factory

    root = shared / "family"
    with made_once(root) as is_missing:
        if is_missing:
            family_factory.train_family(root, lineage_values)
    return root


def command(stage: str, overrides: dict) -> list[str]:
    """The command line of a stage, at :tiny unless `stage` says otherwise."""
    spec = stage if "/" in stage else f"configs/{stage}.py:tiny"
    flags = [f"--config.{key}={value}" for key, value in overrides.items()]
    return [sys.executable, "-m", "mypt_jax.main", f"--config={spec}", *flags]


def train(stage: str, overrides: dict, *, timeout: float = 300, **environment: str):
    """Runs a stage to its end as a process of its own; returns subprocess.CompletedProcess.

    With an `environment`, which Python may read at its start, one that begins with the interpreter.
    """
    from tests import commands

    program = command(stage, overrides)
    if not environment:
        return commands.run(["main", *program[3:]], timeout=timeout)
    return subprocess.run(
        program,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
