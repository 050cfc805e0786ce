"""Mixes a domain dataset with replayed general text: `mypt mix`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.commands.mix import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
