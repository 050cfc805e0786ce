"""python -m mypt_jax COMMAND ..."""

import sys

from mypt_jax import cli

sys.exit(cli.command())
