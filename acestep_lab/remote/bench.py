"""Where a session far away has its takes, and how sounds come to the other machine and from it.

Knows a library of this machine and the line; no run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from acestep_lab.audio.audio import Audio
from acestep_lab.lru_cache import LRUCache
from acestep_lab.remote.connection import Connection
from acestep_lab.takes.exchange import read_file
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take

LAB = "/v1/lab"


class Bench:
    """A library of this machine, to which takes of the other one are brought as they are made."""

    def __init__(self, connection: Connection, library: Library) -> None:
        self._connection, self.library = connection, library
        self._sent: LRUCache[bool] = LRUCache(1000)

    def take(self, id: str) -> Take:
        """A take that was made there, brought over whole and kept here."""
        with tempfile.TemporaryDirectory(prefix="acestep_lab-") as folder:
            file = Path(folder) / f"{id}.wav"
            self._connection.fetch(f"{LAB}/takes/{id}", file)
            self._connection.fetch(f"{LAB}/takes/{id}/latent", file.with_suffix(".safetensors"))
            take = read_file(file)
        self.library.keep(take)
        return take

    def known(self, ids: Iterable[str]) -> set[str]:
        return set(self._connection.post(f"{LAB}/known", {"ids": list(ids)})["known"])

    def bring(self, sound: Take | Audio) -> str:
        if sound.id in self._sent or self.known([sound.id]):
            return sound.id
        with tempfile.TemporaryDirectory(prefix="acestep_lab-") as folder:
            file = Path(folder) / f"{sound.id}.wav"
            if isinstance(sound, Take):
                raise NotImplementedError
            sound.write(file)
            self._connection.send(f"{LAB}/sounds", file, name=sound.id)
        self._sent.put(sound.id, True)
        return sound.id


def bench_at(connection: Connection, library: Library | None) -> Bench:
    assert library is not None
    return Bench(connection, library)
