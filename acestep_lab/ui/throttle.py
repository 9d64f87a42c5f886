"""Not more often than so many times a second, and the latest wins.

Knows nothing of what is said. A render tells many things a second, from its worker thread; a browser is told the last
of them, at most `hertz` times a second, and the very last one always arrives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Calls what it is offered, at most `hertz` times a second; of several offers in a gap only the last is called."""

    def __init__(self, hertz: float, now: Callable[[], float] = time.monotonic) -> None:
        self._gap = 1.0 / hertz
        self._now = now
        self._lock = threading.Lock()
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
        work()

    def flush(self) -> None:
        """Do what is waiting, now."""
        with self._lock:
            work, self._waiting = self._waiting, None
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            self._next = self._now() + self._gap
        if work is not None:
            work()
