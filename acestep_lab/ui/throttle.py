"""Not more often than so many times a second, one at a time, and the latest wins.

Knows nothing of what is said. A render tells many things a second, from its worker thread; a browser is told the last
of them, at most `hertz` times a second, and the very last one always arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Calls what it is offered, at most `hertz` times a second; of several offers in a gap only the last is called.

    Never two at once, from whatever threads: what began earlier could end later, and show what is no longer so.
    """

    def __init__(self, hertz: float, now: Callable[[], float] = time.monotonic) -> None:
        self._gap = 1.0 / hertz
        self._now = now
        self._lock, self._working = threading.Lock(), threading.RLock()
        self._next = 0.0
        self._waiting: Callable[[], None] | None = None
        self._timer: threading.Timer | None = None

    def offer(self, work: Callable[[], None]) -> None:
        """Do `work` now if the gap has passed, else at its end unless something newer comes."""
        with self._lock:
            rest = self._next - self._now()
            if rest > 0:
                self._waiting = work
                if self._timer is None:
                    self._timer = threading.Timer(rest, self.flush)
                    self._timer.daemon = True
                    self._timer.start()
                return
            self._next = self._now() + self._gap
            self._waiting = None
        with self._working:
            work()

    def flush(self) -> None:
        """Do what is waiting, now."""
        self.now(self._dropped() or _nothing)

    def now(self, work: Callable[[], None]) -> None:
        """Do `work` at once, instead of what is waiting."""
        self._dropped()
        with self._working:
            work()

    def anew(self, work: Callable[[], None]) -> None:
        """Do `work` instead of what is waiting, and let the next offer through at once: something else is told of now."""
        self.now(work)
        with self._lock:
            self._next = 0.0

    def _dropped(self) -> Callable[[], None] | None:
        """Take away what is waiting, and its timer."""
        with self._lock:
            work, self._waiting = self._waiting, None
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            self._next = self._now() + self._gap
        return work


def _nothing() -> None:
    """Nothing waited."""
