"""Makes a token dataset from texts: `mypt prepare`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.commands.prepare import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
