"""Where a session elsewhere has its takes, and how sounds get to the other machine before a run starts from them.

Knows a library and the line; no run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Source
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.library import RemoteLibrary
from acestep_lab.remote.sources import Sources
from acestep_lab.remote.transfer import fetch_take
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take


class Bench:
    """A library, the other machine's or one here, and the sounds that a session knows by name."""

    def __init__(self, connection: Connection, library: Library | None) -> None:
        """`library` None: the one there."""
        self._connection = connection
        self.library = RemoteLibrary(connection) if library is None else library
        self.sounds = Sounds(self.library)
        self._sources = Sources(connection, self.sounds.find)

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
        [name] = self._sources.bring_all([source])
        return name

    def brought(self, recipe: Recipe) -> Recipe:
        """A recipe whose sounds are on the other machine, by their names there."""
        return self._sources.bring(recipe)
