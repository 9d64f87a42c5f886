"""Ctrl-C in a loop over a run, also in the loop's own body. Knows runs only by their `stop_event`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Interruptible(Protocol):
    """What an interrupt stops."""

    @property
    def stop_event(self) -> threading.Event:
        """Set when somebody asked to stop."""


class Interrupts:
    """At an interrupt the watched runs are stopped, then all goes on as it would have.

    Python hands signals to the main thread only, so that runs looked at elsewhere need no watch.
    """

    def __init__(self) -> None:
        self._runs: list[Interruptible] = []
        self._before: Any = None

    @contextmanager
    def watching(self, run: Interruptible) -> Iterator[None]:
        """Stop this run at an interrupt, for as long as somebody looks at it from the main thread."""
        watched = threading.current_thread() is threading.main_thread() and self._install()
        if watched:
            self._runs.append(run)
        try:
            yield
        finally:
            if watched:
                self._runs.remove(run)
                self._uninstall()

    def _install(self) -> bool:
        """Be called at an interrupt; False where interrupts are ignored, or end the process at once."""
        now = signal.getsignal(signal.SIGINT)
        if now == self._interrupted:
            return True
        if not callable(now):
            return False
        self._before = now
        signal.signal(signal.SIGINT, self._interrupted)
        return True

    def _uninstall(self) -> None:
        last = not self._runs and threading.current_thread() is threading.main_thread()
        if last and signal.getsignal(signal.SIGINT) == self._interrupted:
            signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, number: int, frame: Any) -> None:
        for run in self._runs:
            run.stop_event.set()  # no more: whatever this interrupts may hold a lock
        self._before(number, frame)


interrupts = Interrupts()
"""The one of this process."""
