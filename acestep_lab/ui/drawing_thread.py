"""Draws on a thread of its own, so that no run waits for a picture. Knows no pictures.

Of what is asked for, only the newest of each kind is drawn. The thread ends when nothing waits; it is no daemon, since a process
that ends in the middle of torch's arithmetic aborts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)


class DrawingThread:
    """Work by kinds: what waits of a kind is replaced by what comes after it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, Callable[[], None]] = {}
        self._at_work = False

    def ask(self, kind: str, work: Callable[[], None]) -> None:
        """Do this soon, instead of what waits of the same kind."""
        with self._lock:
            self._waiting[kind] = work
            if self._at_work:
                return
            self._at_work = True
        threading.Thread(target=self._work, name="acestep_lab pictures", daemon=False).start()

    def _work(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:  # noqa: BLE001 - a picture that cannot be drawn must not keep the next from being drawn
                _log.exception("A picture could not be drawn.")

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            kind = next(iter(self._waiting), None)
            if kind is None:
                self._at_work = False
                return None
            return self._waiting.pop(kind)
