"""What a command line asks of the plan, checked before jax is imported."""

import difflib
import importlib.util
import re

from data_pipeline.errors import UserError
from mypt_jax.plan import gpu
from mypt_jax.schema import overrides, stage_data, together, values
from mypt_jax.storage import fetch

EXAMPLES = ("v5e:1x1", "v5e:2x4", "v4:2x2x1", "v5p:2x2x1", "v6e:2x2", "v5e:16x16", "h100x8")
FLAT = ("v5e", "v6e")  # joined in two dimensions, in these layouts only
FLAT_LAYOUTS = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")


def config(given: overrides.Given) -> dict:
    """The config of a command line, checked as far as needs no data. Raises UserError."""
    found = fetch.expand_home(given.config)
    values.check_values(found)
    together.tokenizer(found)
    stage_data.check_extra(found["eval"]["extra"])
    if found["data"]["mixture"]:
        stage_data.open_view(found["data"], given.overridden)
    together.check_objective(found, given.overridden)
    together.check_adapter(found)
    return found


def gpus(name: str) -> tuple[str, int] | None:
    """(name of gpu.GPUS, how many in one host) of one like h100x8, else None."""
    match = re.fullmatch(r"([a-z]+\d+)x([1-9]\d?)", name)
    return (match[1], int(match[2])) if match and match[1] in gpu.GPUS else None


def compiler(name: str) -> str:
    """The package whose compiler makes the programs of a topology."""
    return "jax-cuda12-plugin" if gpus(name) else "libtpu"


def compiler_options(change: str) -> dict[str, bool | int | str]:
    """Of xla_one=true+xla_other=8; {} for a key of the config. Raises UserError."""
    if not change.startswith("xla_"):
        return {}
    found: dict[str, bool | int | str] = {}
    for one in change.split("+"):
        name, equals, value = one.partition("=")
        if not (name.startswith("xla_") and equals and value):
            raise UserError(
                f"--compare {change}: {one!r} is no option of the compiler, wanted xla_NAME=VALUE, "
                "joined by + where several go together"
            )
        number = int(value) if re.fullmatch(r"-?\d+", value) else value
        found[name] = {"true": True, "false": False}.get(value.lower(), number)
    return found


def topology(name: str) -> None:
    """Raises UserError for what cannot be a topology, or whose compiler is not installed."""
    if not gpus(name):
        tpu(name)
    elif importlib.util.find_spec("jax_cuda12_plugin") is None:
        raise UserError(
            f"--topology={name} needs the CUDA plugin of jax, which is not installed: pip install "
            "-r requirements-cuda.txt, in an environment of its own (5 GB)"
        )


def tpu(name: str) -> re.Match:
    """Raises UserError for what cannot be a slice of a TPU, or when libtpu is not installed."""
    match = re.fullmatch(r"(v4|v5e|v5p|v6e):(\d+(?:x\d+){1,2})(?:\*([1-9]\d*))?", name)
    if match is None:
        raise UserError(
            f"topology {name!r} does not exist: wanted one like {', '.join(EXAMPLES)} (NAME*N for "
            f"N slices; GPUs: {', '.join(gpu.GPUS)}, with x and their number){_nearest(name)}"
        )
    flat = match[1] in FLAT
    if match[2] not in FLAT_LAYOUTS if flat else match[2].count("x") != 2:
        wanted = ", ".join(FLAT_LAYOUTS) if flat else "three dimensions, as v4:2x2x1"
        raise UserError(f"topology {name!r} does not exist: {match[1]} has {wanted}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "--topology needs libtpu, which is not installed: pip install -r requirements-tpu.txt"
        )
    return match


def _nearest(name: str) -> str:
    """The end of a line on a name that is none, "" where nothing is near."""
    known = [*EXAMPLES, *(f"{chip}:{layout}" for chip in FLAT for layout in FLAT_LAYOUTS)]
    known += [f"{chip}x{number}" for chip in gpu.GPUS for number in (1, 8)]
    found = difflib.get_close_matches(name.lower(), known, 1, 0.6)
    return f"; did you mean {found[0]}?" if found else ""
