"""Trains a chain of stages, from the checkout wherever it is called: `mypt chain`."""

import os
import sys

from _checkout import ROOT

from mypt_jax import console
from mypt_jax.chain import command


def main(argv: list[str] | None = None) -> int:
    os.chdir(ROOT)  # runs/, data/ and configs/ are meant from here
    return command.main(argv)


if __name__ == "__main__":
    sys.exit(console.run(main))
