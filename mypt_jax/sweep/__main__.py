"""python -m mypt_jax.sweep"""

import sys

from mypt_jax import console
from mypt_jax.sweep import command

sys.exit(console.run(command.main))
