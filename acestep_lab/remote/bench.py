"""Where a session elsewhere has its takes, and how sounds get to the other machine before a run starts from them.

Knows a library and the line; no run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from acestep_lab.errors import SourceError
from acestep_lab.lru_cache import LRUCache
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Source
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.library import RemoteLibrary
from acestep_lab.remote.transfer import fetch_take, send_sound, send_take
from acestep_lab.takes.ids import is_id
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take

MOST_NAMED = 512
"""Sounds whose names on the other machine are remembered, where they have another one there."""


class Bench:
    """A library, the other machine's or one here, and the sounds that a session knows by name."""

    def __init__(self, connection: Connection, library: Library | None) -> None:
        """`library` None: the one there."""
        self._connection = connection
        self.library = RemoteLibrary(connection) if library is None else library
        self.sounds = Sounds(self.library)
        self._named: LRUCache[str] = LRUCache(MOST_NAMED)

    def take(self, id: str, sources: Iterable[object], on_message: Callable[[str], None]) -> Take:
        """A take that was made there, brought over whole; into the library with the recordings it starts from, where that
        is one of this machine: a disk that refuses costs a sentence.
        """
        if isinstance(self.library, RemoteLibrary):
            if id not in self.library:
                self.library.refresh()
            take = self.library.open(id)
            self.sounds.remember(take)
        else:
            take = fetch_take(self._connection, id)
            self.sounds.store(take, sources, on_message)
        return take

    def there(self, source: Source) -> str:
        """The name of a sound on the other machine, to which it is sent unless it is there; a file is read here."""
        if isinstance(source, str) and is_id(source) and self._is_known(source):
            return source
        sound = self.sounds.find(source)
        if sound.id in self._named:
            sent = self._named[sound.id]
            if self._is_known(sent):
                return sent
        elif self._is_known(sound.id):
            return sound.id
        sent = send_take(self._connection, sound).id if isinstance(sound, Take) else send_sound(self._connection, sound)
        self._named.put(sound.id, sent)
        return sent

    def brought(self, recipe: Recipe) -> Recipe:
        """A recipe whose sounds are on the other machine, by their names there."""
        sources = {name: self.there(source) for name, source in recipe.task.sources().items()}
        return recipe.replace(task=recipe.task.with_sources(sources)) if sources else recipe

    def _is_known(self, id: str) -> bool:
        answer: Any = self._connection.post("/v1/lab/known", {"ids": [id]})
        if not isinstance(answer, dict) or not isinstance(answer.get("known"), list):
            raise SourceError(f"The other machine does not say whether it knows {id}.")
        return id in answer["known"]
