"""Takes and sounds by whatever stands for them: themselves, an id, a file; and where takes are put the moment they exist.

Knows a library and the sounds of this process; no model, no run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LibraryError, SourceError, TakeWarning, shown, warn_caller
from acestep_lab.lru_cache import LRUCache
from acestep_lab.prompt import checks
from acestep_lab.prompt.tasks import Source
from acestep_lab.takes.ids import is_id, is_sound_id, is_take_id
from acestep_lab.takes.library import Library, read_file
from acestep_lab.takes.take import Take

REMEMBERED = 256
"""Takes and sounds found by their ids without the library."""


class Sounds:
    """What a session knows by name; an id that is known stays whose it is."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._known: LRUCache[Take | Audio] = LRUCache(REMEMBERED)

    def keep(self, take: Take) -> Take:
        """Put a take into the library, and return it as it is kept: under an id of its own where its id is another sound's."""
        if not checks.is_a(take, Take):
            raise LibraryError(f"A library keeps takes, not {shown(take)}.")
        take = self._admitted(take)
        self.remember(take)
        self.library.keep(take)
        return take

    def store(self, take: Take, sources: Iterable[Any], on_message: Callable[[str], None]) -> None:
        """Put a take on disk the moment it exists, and the recordings it starts from; a full disk costs a sentence, never the
        take.
        """
        self._known.put(take.id, take)
        try:
            for sound in sources:
                if isinstance(sound, Audio):
                    self.library.keep_sound(sound)
            self.library.keep(take)
        except (LibraryError, OSError) as error:
            on_message(f"{error} The take is safe in memory: free some space, then call lab.keep(take).")

    def load(self, name: str | os.PathLike[str]) -> Take:
        """A take by its id, or out of any of our sound files; LibraryError where there is none."""
        text = checks.place("A take's id or file", name, LibraryError)
        known = self._known.get(text)
        if isinstance(known, Take):
            return known
        file = os.path.expanduser(text)  # Path.expanduser raises where there is no such home
        if is_take_id(text) and (text in self.library or not os.path.isfile(file)):
            take = self.library.open(text)
        elif not os.path.isfile(file):
            raise LibraryError(
                f"There is no file {shown(text)}, and no take of that name; ids look like 'take-1f0c9a52'."
            )
        else:
            take = self._admitted(read_file(file))
        self.remember(take)
        for remark in take.remarks:
            warn_caller(remark, TakeWarning)
        return take

    def find(self, source: Source | os.PathLike[str]) -> Take | Audio:
        """The take or sound that a source stands for: itself, an id this session or its library knows, or a file."""
        given: Any = source
        if checks.is_a(given, Take, Audio):
            self.remember(given)
            return given
        if not checks.is_a(given, str, os.PathLike):
            raise SourceError(f"A source is a take, an audio, an id or a file, not {checks.kind_of(source)}.")
        name = checks.place("A source", given, SourceError)
        if name in self._known:
            return self._known[name]
        if not is_id(name) and os.path.isfile(os.path.expanduser(name)):
            return Audio.read(os.path.expanduser(name))
        return self._kept(name)

    def _kept(self, name: str) -> Take | Audio:
        """A take or recording of the library."""
        try:
            return self.library.open_sound(name) if is_sound_id(name) else self.library.open(name)
        except LibraryError as problem:
            if name in self.library:
                raise SourceError(str(problem)) from None
            raise SourceError(
                f"{shown(name)} is no file and no take this session knows; its library has {len(self.library)} takes."
            ) from None

    def remember(self, sound: Take | Audio) -> None:
        """Find a sound by its id from now on."""
        known = self._known.get(sound.id)
        if isinstance(sound, Take) and sound.manifest is not None:
            taken = known is not None and not (isinstance(known, Take) and known.is_copy and not sound.is_copy)
            if taken or (sound.is_copy and sound in self.library) or self._admitted(sound) is not sound:
                return
        self._known.put(sound.id, sound)

    def _admitted(self, take: Take) -> Take:
        """The take, or the same under an id of its own where its id is another sound's, in memory or in the library."""
        known = self._known.get(take.id)
        if take.manifest is not None and isinstance(known, Take) and not take.has_sound_of(known):
            return take.as_child(
                f"{take.id} is another take here; this one got an id of its own, with that one as its parent."
            )
        return self.library.admit(take)
