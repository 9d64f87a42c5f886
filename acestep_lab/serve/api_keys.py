"""Keys of the REST door: who may come in, and whose takes are theirs. Knows no request and no take.

A key proves that its bearer was given it, and nothing else. The first plain key is the host's; every other one is a
person of its own, whose runs and takes the others neither see nor touch.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

from acestep_lab.errors import MachineError

SHORTEST = 8
"""Characters of the shortest key taken: what is shorter can be guessed."""
TOKEN_FIELD = "ai_token"
"""The field of a body that may carry the key, as ACE-Step's own clients send it."""


def can_be_key(text: str) -> bool:
    """Whether something is long enough to be a key, and can be sent in a header."""
    return len(text) >= SHORTEST and text.isascii() and text.isprintable() and " " not in text


class ApiKeys:
    """The keys that are taken; with none, everybody who reaches the door is the host."""

    def __init__(self, keys: Iterable[str] = (), guests: Iterable[str] = ()) -> None:
        """The first of `keys` is the host's, none of `guests` is. Raises MachineError for a key that can be guessed, or
        cannot be sent in a header.
        """
        self._owners: dict[bytes, str] = {}
        for key in keys:
            self._add(key.strip(), is_host=not self._owners)
        for key in guests:
            self._add(key.strip(), is_host=False)

    def _add(self, key: str, is_host: bool) -> None:
        if not can_be_key(key):
            raise MachineError(
                f"A key has at least {SHORTEST} plain characters and no spaces; what was given has not. "
                "Take one from: python -c 'import secrets; print(secrets.token_urlsafe(16))'."
            )
        digest = hashlib.sha256(key.encode()).digest()
        self._owners.setdefault(digest, "" if is_host else f"key-{digest.hex()[:16]}")

    def __bool__(self) -> bool:
        return bool(self._owners)

    def owner(self, header: str = "", fields: Mapping[str, Any] | None = None) -> str | None:
        """Whose key came along: as `Authorization: Bearer k`, as the bare key, or as `ai_token` in the body; None: nobody's."""
        if not self._owners:
            return ""
        scheme, _, rest = header.strip().partition(" ")
        header = rest.strip() if scheme.lower() == "bearer" else header.strip()
        told = header or (fields or {}).get(TOKEN_FIELD)
        return self._find(told) if isinstance(told, str) and told else None

    def _find(self, key: str) -> str | None:
        digest, found = hashlib.sha256(key.strip().encode("utf-8", "replace")).digest(), None
        for known, owner in self._owners.items():  # all of them: how long it takes tells nothing
            if hmac.compare_digest(known, digest):
                found = owner
        return found
