"""Shows what a token dataset holds, checks it, and decodes documents: `mypt inspect`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.commands.inspect import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
