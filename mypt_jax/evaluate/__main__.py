"""python -m mypt_jax.evaluate"""

import sys

from data_pipeline import errors
from mypt_jax.evaluate import losses

sys.exit(errors.run(losses.main))
