"""Checks an accelerator in five minutes: `mypt first_light`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from mypt_jax.first_light import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
