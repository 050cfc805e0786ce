"""python -m mypt_jax.manage"""

import sys

from data_pipeline import errors
from mypt_jax.manage import command

sys.exit(errors.run(command.main))
