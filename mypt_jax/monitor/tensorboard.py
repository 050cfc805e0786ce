"""TensorBoard: rows as event files in the workdir, written without TensorFlow."""

import os
from collections.abc import Mapping

from mypt_jax.monitor import observer
from mypt_jax.monitor.tracked import Tracked, scalars

EVENTS = "events"


class TensorBoard(observer.Observer):
    """Event files under <workdir>/events, written without TensorFlow."""

    def __init__(self, run: Tracked):
        # Not at the top: it loads torch where that is installed, which takes seconds.
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(
            os.path.join(run.workdir, EVENTS), purge_step=run.first_step or None, flush_secs=10
        )

    def at_row(self, row: Mapping) -> None:
        for key, value in scalars(row).items():
            self._writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        self._writer.close()
