"""Looks for evaluation text in training text: `mypt contamination`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.commands.contamination import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
