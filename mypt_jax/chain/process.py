"""A stage as a process of its own: how it is called, and what its exit code asks of the user."""

import signal
import subprocess
import sys

from mypt_jax.chain import stages

# What a stage's exit code asks of the user; the codes are mypt_jax.main's.
MEANING = {
    3: "forgetting passed guard.max_forgetting; see the run's metrics, lower peak_lr or add replay",
    4: "the loss diverged; lower optim.peak_lr",
    5: "no valid checkpoint or dataset",
    6: "the watchdog saw no step; see the stacks above",
    7: "another host was lost; run the same command again to resume",
    8: "storage failed",
    75: "preempted; run the same command again to resume",
    # A process that a signal ended says nothing itself.
    128 + signal.SIGBUS: "a file that it was reading was cut short, or its disk failed; look with "
    "`mypt inspect DATASET --verify`, and run the same command again to resume",
    128 + signal.SIGKILL: "killed, as the system does where memory runs out; run the same command "
    "again to resume",
    128 + signal.SIGSEGV: "the program itself crashed; run the same command again to resume",
}
PLANNED = (3, 75)  # ends that something was asked for


def line_of(stage: stages.Stage, argument: str, moved: bool) -> list[str]:
    line = [sys.executable, "-m", "mypt_jax.main", f"--config=configs/{stage.name}.py:{argument}"]
    if moved:
        line.append(f"--config.workdir={stage.workdir}")
        if stage.parent:
            line.append(f"--config.init_from={stage.parent_spec}")
    return [*line, *stage.flags]


def run(line: list[str]) -> int:
    """Runs one stage to its end and returns its exit code; signals go to it, once each."""
    # A process group of its own: Ctrl-C would otherwise reach the stage from the terminal and
    # again from here, and a second one means "at once".
    child = subprocess.Popen(line, process_group=0)

    def forward(signum, frame):
        child.send_signal(signum)

    kept = {s: signal.signal(s, forward) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        code = child.wait()
    finally:
        for signum, handler in kept.items():
            signal.signal(signum, handler)
    return code if code >= 0 else 128 - code
