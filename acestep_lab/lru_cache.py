"""The last so many results by key: a cache, which may have forgotten any of them when it is asked again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class LRUCache(dict[Hashable, T]):
    """A dict that forgets what was put in or recalled longest ago."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def put(self, key: Hashable, value: T) -> T:
        self.pop(key, None)
        self[key] = value
        while len(self) > self.most:
            del self[next(iter(self))]
        return value

    def recall(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of a key, made where it is not at hand."""
        return self.put(key, self[key] if key in self else make())
