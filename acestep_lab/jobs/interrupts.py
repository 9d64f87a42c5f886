"""Ctrl-C while somebody waits for a run or loops over it, also in the loop's own body. Knows runs by their `interrupt` only.

What was kept is a note of the KeyboardInterrupt, which Python and IPython show under the traceback.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Interruptible(Protocol):
    """What an interrupt stops."""

    def interrupt(self) -> str:
        """Be asked to stop, by whatever means take no lock; what is kept, in a sentence."""


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
        # No more than this: whatever this interrupts may hold a lock.
        said = [run.interrupt() for run in dict.fromkeys(self._runs)]
        try:
            self._before(number, frame)
        except KeyboardInterrupt as interrupt:
            for sentence in said:
                interrupt.add_note(sentence)
            raise


interrupts = Interrupts()
"""The one of this process."""
