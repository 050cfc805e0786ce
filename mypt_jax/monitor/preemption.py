"""Signals that ask the process to stop (SIGTERM, SIGINT, SIGHUP), seen even while XLA is busy.

Python runs signal handlers between bytecodes of the main thread, and a compilation or a device
wait can hold that thread for minutes. A pipe given to `signal.set_wakeup_fd` is written at once
by the C handler; a thread reads it.
"""

import os
import signal
import threading
import time

from mypt_jax import console, exits

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupts:
    """Before `arm` a signal ends the process at once with exit code 75: nothing is to be saved.

    After it the first signal sets `requested`, which the loop answers by saving; a second one ends
    the process at once, and the newest committed checkpoint stays what it was. A SIGHUP that a
    closed terminal sends asks for nothing: the run goes on without it. Made as the first thing that
    a process does, so that no signal meets Python's own handlers.
    """

    def __init__(self):
        self.requested = ""
        self._armed = False
        self._had_terminal = console.has_terminal()
        self._begun = time.monotonic()
        self._deadline: float | None = None
        read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        # nohup has SIGHUP ignored, and it stays so; SIGINT is asked for also behind a script's &.
        stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        asked = [n for n in SIGNALS if not (stays and n == signal.SIGHUP)]
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in asked}
        self._wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._thread = threading.Thread(
            target=self._listen, args=(read_end,), name="signals", daemon=True
        )
        self._thread.start()

    def _listen(self, read_end: int) -> None:
        while data := os.read(read_end, 1):
            if data[0] not in SIGNALS:
                continue
            is_hangup = data[0] == signal.SIGHUP and self._had_terminal
            if is_hangup and not console.has_terminal():
                continue
            name = signal.Signals(data[0]).name
            if not self._armed or self.requested:
                state = "again" if self.requested else "with nothing to save"
                console.say_at_once(f"{name} {state}: leaving at once")
                os._exit(exits.Preempted.code)
            self.requested = name
        os.close(read_end)

    def limit(self, time_budget_secs: float) -> None:
        """Seconds after which to stop as a signal would, from when this was made; 0 = none."""
        self._deadline = self._begun + time_budget_secs if time_budget_secs else None

    def arm(self) -> None:
        """From here on there is something to save."""
        self._armed = True

    def reason(self) -> str:
        """Why the run should save and leave, or ""."""
        if self.requested:
            return self.requested
        if self._deadline is not None and time.monotonic() > self._deadline:
            return "the time budget is used up"
        return ""

    def check(self) -> None:
        """Raises Preempted when asked to stop; for places where everything is saved already.

        Not before `arm`: a time budget that is over by then would otherwise never allow a step.
        """
        if self._armed and self.reason():
            raise self.preempted()

    def preempted(self) -> exits.Preempted:
        """Why the run ends; the request may have come from another process."""
        reason = self.reason() or "another process was asked to stop"
        return exits.Preempted(f"{reason}: run the same command again to resume")

    def close(self) -> None:
        """Gives the signals back to whom they belonged before."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._write_end)
        self._thread.join()
