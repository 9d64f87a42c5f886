"""What a recipe starts from is brought to the box before it is asked to run: whatever it does not know by its id yet is sent.

Content has one id wherever it is, so that nothing is sent twice. Files are read here: a path of this machine says nothing there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LibraryError, SourceError
from acestep_lab.lru_cache import LRUCache
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Retake, Source
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.transfer import path_of, send_sound, send_take
from acestep_lab.takes import identity
from acestep_lab.takes.ids import is_id
from acestep_lab.takes.take import Take

KNOWN = "/v1/lab/known"
AT_ONCE = 200
"""Sounds that are asked for together."""
MOST_NAMED = 512
"""Takes that have another id on the box, and are known by it."""
MOST_RETAKEN = 40
"""Retakes of retakes that are followed back to their sources."""
Find = Callable[[Any], Take | Audio]
"""Finds what stands for a sound here: itself, an id, a file. SourceError or LibraryError where there is none."""


@dataclass(frozen=True)
class _Named:
    """Something a recipe starts from: its id, the sound where that is at hand, and what its file is called."""

    id: str
    sound: Take | Audio | None = None
    name: str = ""

    @property
    def is_claimed(self) -> bool:
        """Whether it is a take of an old file, which only claims its id."""
        take = self.sound
        return isinstance(take, Take) and take.manifest is not None and not identity.is_proven(take.manifest)

    @property
    def key(self) -> str:
        """What tells it from every other sound."""
        take = self.sound
        if isinstance(take, Take) and self.is_claimed:
            return f"{self.id} {take.facts['audio']['sha256']}"
        return self.id


class Sources:
    """Brings sounds to the box of a connection; `find` finds them here."""

    def __init__(self, line: Connection, find: Find) -> None:
        self._line, self._find = line, find
        self._named_there: LRUCache[str] = LRUCache(MOST_NAMED)

    def bring(self, recipe: Recipe) -> Recipe:
        """The same recipe with its sounds by the ids under which the box knows them. LabError for a sound that is neither here
        nor there, or that the box refuses.
        """
        named = recipe.task.sources()
        if not named:
            return recipe
        ids = self.bring_all(named.values())
        if isinstance(recipe.task, Retake):
            self._bring_behind(recipe.task)
        return recipe.replace(task=recipe.task.with_sources(dict(zip(named, ids, strict=True))))

    def bring_all(self, sources: Iterable[Source]) -> list[str]:
        """The ids under which the box knows these sounds, in their order; what it does not know is sent."""
        named = [self._named(one) for one in sources]
        names = {one.key: self._named_there.get(one.key) or one.id for one in named}
        known, found = self.known(list(names.values())), dict[str, str]()
        for one in named:
            name = names[one.key]
            if one.key not in found:
                is_there = name in known and (name != one.id or self._is_that(one))
                found[one.key] = name if is_there else self._send(one)
        return [found[one.key] for one in named]

    def known(self, ids: Sequence[str]) -> frozenset[str]:
        """Which of these the box can start from as it is."""
        asked = list(dict.fromkeys(ids))
        return frozenset(
            id for first in range(0, len(asked), AT_ONCE) for id in self._asked(asked[first : first + AT_ONCE])
        )

    def _asked(self, ids: list[str]) -> list[str]:
        answer = self._line.post(KNOWN, {"ids": ids})
        found = answer.get("known") if isinstance(answer, Mapping) else None
        return [id for id in ids if isinstance(found, list) and id in found]

    def _named(self, source: Any) -> _Named:
        if isinstance(source, Take | Audio):
            return _Named(source.id, source)
        if is_id(source):
            return _Named(str(source))
        found = self._find(source)
        is_path = isinstance(source, str | os.PathLike)
        return _Named(found.id, found, os.path.basename(os.fspath(source)) if is_path else "")

    def _is_that(self, named: _Named) -> bool:
        """Whether a sound at hand is the one the box knows under its id: an old take only claims its id."""
        take = named.sound
        if not named.is_claimed or not isinstance(take, Take) or take.manifest is None:
            return True
        there = self._line.get(path_of(named.id, "manifest"))
        facts = there.get("audio") if isinstance(there, Mapping) else None
        mine = take.facts["audio"]["sha256"], identity.original_of(take.manifest)["sha256"]
        return isinstance(facts, Mapping) and facts.get("sha256") in mine

    def _send(self, named: _Named) -> str:
        """Send one sound; the id that it has there."""
        sound = named.sound if named.sound is not None else self._find(named.id)
        if not isinstance(sound, Take):
            return send_sound(self._line, sound, named.name)
        id = send_take(self._line, sound).id
        if id != named.id:  # it is another take there; this one got an id of its own
            self._named_there.put(named.key, id)
        return id

    def _bring_behind(self, task: Retake) -> None:
        """What a retake's source was made from itself: it is made once more, from there. What is not here the box may have."""
        source: Any = task.source
        for _ in range(MOST_RETAKEN):
            take = source if isinstance(source, Take) else self._here(source)
            if not isinstance(take, Take):
                return
            behind = [one for one in map(self._here, take.recipe.task.sources().values()) if one is not None]
            self.bring_all(behind)
            if not isinstance(take.recipe.task, Retake):
                return
            source = take.recipe.task.source

    def _here(self, source: Any) -> Take | Audio | None:
        try:
            return self._find(source)
        except (LibraryError, SourceError):
            return None
