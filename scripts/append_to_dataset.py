"""Adds texts to a token dataset: `mypt append`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.commands.append import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
