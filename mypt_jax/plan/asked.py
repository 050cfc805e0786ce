"""What a command line asks of the plan, checked before jax is imported."""

import importlib.util
import re

from data_pipeline.errors import UserError
from data_pipeline.tokens import tokenizer
from mypt_jax.schema import overrides, validation, values
from mypt_jax.storage import fetch

EXAMPLES = ("v5e:1x1", "v5e:2x4", "v4:2x2x1", "v5p:2x2x1", "v6e:2x2", "v5e:16x16")
FLAT = ("v5e", "v6e")  # joined in two dimensions, in these layouts only
FLAT_LAYOUTS = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")


def config(given: overrides.Given) -> dict:
    """The config of a command line, checked as far as needs no data. Raises UserError."""
    found = fetch.expand_home(given.config)
    values.check_values(found)
    tokenizer.get(found["data"]["tokenizer"])
    validation.check_extra(found["eval"]["extra"])
    if found["data"]["mixture"]:
        validation.open_view(found["data"], given.overridden)
    return found


def topology(name: str) -> re.Match:
    """Raises UserError for what cannot be a topology, or when libtpu is not installed."""
    match = re.fullmatch(r"(v4|v5e|v5p|v6e):(\d+(?:x\d+){1,2})(?:\*([1-9]\d*))?", name)
    if match is None:
        raise UserError(
            f"topology {name!r} does not exist: wanted one like {', '.join(EXAMPLES)} "
            "(NAME*N for N slices)"
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
