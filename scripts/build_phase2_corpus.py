"""Builds the domain corpus: `mypt corpus domain`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.corpus import command

main = command.main_of("domain")

if __name__ == "__main__":
    sys.exit(errors.run(main))
