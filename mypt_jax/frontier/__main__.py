"""python -m mypt_jax.frontier"""

import sys

from data_pipeline import errors
from mypt_jax.frontier import command

sys.exit(errors.run(command.main))
