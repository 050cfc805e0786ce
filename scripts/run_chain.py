"""Trains a chain of stages, from the checkout wherever it is called: `mypt chain`."""

import os
import sys

from _checkout import ROOT

from data_pipeline import errors
from mypt_jax import chain


def main(argv: list[str] | None = None) -> int:
    os.chdir(ROOT)  # runs/, data/ and configs/ are meant from here
    return chain.main(argv)


if __name__ == "__main__":
    sys.exit(errors.run(main))
