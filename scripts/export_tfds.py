"""Writes a token dataset as TFDS or plain ArrayRecord files: `mypt export_tfds`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.commands.export_tfds import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
