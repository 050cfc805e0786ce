"""What sees a run at work without changing what it learns: timing, guards, traces, trackers.

A hook that is not overridden does nothing. Hooks run on the main thread of every process, between
updates: what takes long belongs into a thread.
"""

from collections.abc import Mapping


class Observer:
    """`done` counts completed updates."""

    def before_step(self, done: int) -> None:
        """Update done + 1 is about to be sent to the device."""

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        """The figures of update `done` have been read, one update later than it was sent."""

    def at_row(self, row: Mapping) -> None:
        """A row of metrics was written."""

    def at_save(self, done: int) -> None:
        """Step `done` is about to be saved: its text was looked at, or its arrays were copied."""

    def at_evaluation(self, done: int) -> None:
        """A part of the evaluation of step `done` was computed."""

    def close(self) -> None:
        """The run ends, in whatever way."""


class Observers(Observer):
    """Hands every call to each of them, in their order."""

    def __init__(self, *observers: Observer):
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def _each(self, hook: str, *args) -> None:
        for observer in self._observers:
            getattr(observer, hook)(*args)

    def before_step(self, done: int) -> None:
        self._each("before_step", done)

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        self._each("after_step", done, figures)

    def at_row(self, row: Mapping) -> None:
        self._each("at_row", row)

    def at_save(self, done: int) -> None:
        self._each("at_save", done)

    def at_evaluation(self, done: int) -> None:
        self._each("at_evaluation", done)

    def close(self) -> None:
        self._each("close")
