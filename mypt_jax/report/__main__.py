"""python -m mypt_jax.report"""

import sys

from data_pipeline import errors
from mypt_jax.report import command

sys.exit(errors.run(command.main))
