"""What lies higher up the stairs and is asked for from below: by a name, which the package as a whole gives it.

A verb of a session such as `serve` is made of rooms that know sessions, so that the session cannot know them. `__init__`,
which stands above all rooms, says what each name means; nothing is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_LOOK_UP: dict[str, Callable[[], Callable[..., Any]]] = {}


def provide(name: str, look_up: Callable[[], Callable[..., Any]]) -> None:
    """Say what a name means: `look_up()` imports it and gives it back."""
    _LOOK_UP[name] = look_up


def call(name: str, /, *values: Any, **options: Any) -> Any:
    """Call what a name means."""
    return _LOOK_UP[name]()(*values, **options)
