"""python -m mypt_jax.frontier"""

import sys

from mypt_jax import console
from mypt_jax.frontier import command

sys.exit(console.run(command.main))
