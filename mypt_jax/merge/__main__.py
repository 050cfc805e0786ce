"""python -m mypt_jax.merge"""

import sys

from mypt_jax import console
from mypt_jax.merge import command

sys.exit(console.run(command.main))
