"""Ids that are unique on all machines and sort by when they were made. Knows no run.

Laid out as a ULID (github.com/ulid/spec), in lower case: 48 bits of milliseconds, then 80 bits of chance, as 26 characters
of Crockford's base 32, which has no letter that looks like another.
"""

from __future__ import annotations

import os
import secrets
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
SHORT = 6
"""Characters of an id's short form; two runs of one queue share it once in 2^30."""
_CHANCE = 80
_lock = threading.Lock()
_last = (0, 0)
"""The process and the number of the id made last."""


def new_id(prefix: str = "run") -> str:
    """An id such as "run-01k3v9…"; of two made in one process the later one sorts after the other, whatever the clock does."""
    global _last
    with _lock:
        process, before = _last
        number = (time.time_ns() // 1_000_000 << _CHANCE) | secrets.randbits(_CHANCE)
        if process == os.getpid() and number <= before:  # the same millisecond, or the clock was set back
            number = before + 1 + secrets.randbits(_CHANCE // 2)
        _last = (os.getpid(), number)
    return f"{prefix}-{_base32(number)}"


def short_id(id: str) -> str:
    """The end of an id, for people to read and type."""
    return id[-SHORT:]


def _base32(number: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))
