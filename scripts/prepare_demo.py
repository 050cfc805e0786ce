"""Makes the demo's token datasets: `mypt demo`."""

import sys

import _checkout  # noqa: F401

from data_pipeline import errors
from data_pipeline.commands.demo import main

if __name__ == "__main__":
    sys.exit(errors.run(main))
