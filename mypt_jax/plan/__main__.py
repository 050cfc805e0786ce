"""python -m mypt_jax.plan"""

import sys

from data_pipeline import errors
from mypt_jax.plan import command

sys.exit(errors.run(command.main))
