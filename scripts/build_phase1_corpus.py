"""Builds the general corpus: `mypt corpus general`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.corpus import command

main = command.main_of("general")

if __name__ == "__main__":
    sys.exit(errors.run(main))
