"""Who wants to hear of something, and how they are told: one that fails keeps no other from hearing it."""

from __future__ import annotations

import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Listeners:
    """Functions that are called in the order they came; those of pages, which come and go on any thread."""

    def __init__(self) -> None:
        self._all: list[Callable[..., None]] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, listener: Callable[..., None]) -> Callable[[], None]:
        """Call it from now on; returns the way to stop that."""
        self._all.append(listener)
        return lambda: self._all.remove(listener) if listener in self._all else None

    def tell(self, *about: object) -> None:
        """Call each of them."""
        for listener in tuple(self._all):
            try:
                listener(*about)
            except Exception:  # noqa: BLE001 - a broken page must not keep the others from hearing it
                _log.exception("A page failed to take up what was changed.")
