"""Lessons, made once and kept: a song's latent, what is heard of its words, in one file named by all that decides them.

The words are read by the very code that a render prepares with. After that no encoder is needed: training reads the files.
A file that is damaged, or was made by other encoders, is made again. Knows engines by their contract.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from acestep_lab import files
from acestep_lab.engines.base import Engine, HasCodes, Lesson, Request, Sound, Trains, able
from acestep_lab.errors import LibraryError, RecipeError, SourceError, shown
from acestep_lab.lru_cache import LRUCache
from acestep_lab.prompt.tasks import Text2Music
from acestep_lab.train.rows import recipe_of, sound_of
from acestep_lab.train.song import Song

ROADS = ("words", "codes")
"""What a lesson's context is: silence, as music from words has it, or the song's own audio codes, as a planner would give."""
TOGETHER = 32
"""Songs whose words are read in one go, so that a small machine changes its encoders seldom."""
FORMAT = 1
IN_MEMORY = 64
"""Lessons kept in RAM; the others are read when they are heard."""
_PARTS = ("target", "states", "null", "context", "kinds")
"""Of a lesson; the last is there where its words are of several kinds."""


class TrainableEngine(Engine, Trains, Protocol):
    """An engine that can be taught."""


@dataclass(frozen=True)
class Kept:
    """A lesson in the cache, by its key."""

    key: str
    name: str
    """Of its song."""
    road: str
    new: bool = False
    """Whether it had to be made now."""


@dataclass(frozen=True)
class Failed:
    """A song that cannot be learnt from, and why."""

    name: str
    why: str


@dataclass(frozen=True, eq=False)
class _Wanted:
    """A lesson that has to be made."""

    kept: Kept
    row: Song
    request: Request


class LessonCache:
    """A folder of lessons."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise LibraryError(f"The folder for lessons cannot be made ({problem.strerror}).") from None

    def make(
        self, engine: TrainableEngine, rows: Sequence[Song], roads: Sequence[str] = ("words",), longest: float = 600.0,
        stop: threading.Event | None = None,
    ) -> Iterator[Kept | Failed]:  # fmt: skip
        """The lessons of songs, one road after another, those at hand first of each group; each is kept once it exists.

        A song that cannot be read or asked for is `Failed`; a disk that is full is LibraryError.
        """
        for road in roads:
            for first in range(0, len(rows), TOGETHER):
                yield from self._group(engine, rows[first : first + TOGETHER], road, longest, stop)

    def _group(
        self, engine: TrainableEngine, rows: Sequence[Song], road: str, longest: float, stop: threading.Event | None
    ) -> Iterator[Kept | Failed]:
        missing: list[_Wanted] = []
        for row in rows:
            try:
                kept = Kept(_key(engine, row, road), row.name, road)
                if self.find(kept.key) is None:
                    missing.append(_wanted(engine, kept, row, longest, stop))
                else:
                    yield kept
            except (SourceError, RecipeError) as problem:
                yield Failed(row.name, str(problem))
        if not missing:
            return
        prepared = engine.prepare([one.request for one in missing], stop)
        for one, ready in zip(missing, prepared, strict=True):
            try:
                lesson = _sound(engine.lesson(ready, sound_of(one.row), stop))
            except (SourceError, RecipeError) as problem:
                yield Failed(one.row.name, str(problem))
                continue
            self._write(one.kept, lesson)
            yield replace(one.kept, new=True)

    def has(self, engine: TrainableEngine, row: Song, road: str) -> bool:
        """Whether a song's lesson seems to be here; False too for one that cannot be read."""
        try:
            return self._file(_key(engine, row, road)).is_file()
        except (SourceError, RecipeError):
            return False

    # -- files ---------------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Lesson | None:
        """A lesson by its key; None where there is none, or its file is damaged."""
        try:
            with safe_open(self._file(key), "pt") as opened:
                about = json.loads(opened.metadata()["acestep_lab"])
                there = opened.keys()
                parts = {name: opened.get_tensor(name) for name in _PARTS if name in there}
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None
        if about.get("key") != key or about.get("digest") != _digest(parts):
            return None
        whole = {name: part.float() if part.is_floating_point() else part for name, part in parts.items()}
        return Lesson(**whole, notes=tuple(about["notes"]))

    def _write(self, kept: Kept, lesson: Lesson) -> None:
        whole: dict[str, Tensor | None] = {name: getattr(lesson, name) for name in _PARTS}
        parts = {name: _smallest(part) for name, part in whole.items() if part is not None}
        about = {"key": kept.key, "song": kept.name, "road": kept.road, "notes": lesson.notes, "digest": _digest(parts)}
        data = save(parts, {"format": "pt", "acestep_lab": json.dumps(about)})
        files.write_whole(self._file(kept.key), lambda draft: draft.write_bytes(data), "The lesson")

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


class CachedLessons(Sequence[Lesson]):
    """Lessons of a cache as a sequence: read when they are heard, the last ones kept in RAM."""

    def __init__(self, cache: LessonCache, kept: Sequence[Kept]) -> None:
        self._cache, self._kept, self._known = cache, tuple(kept), LRUCache[Lesson](IN_MEMORY)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, place: int) -> Lesson:  # type: ignore[override]
        """LibraryError where its file is gone or damaged since it was made."""
        kept = self._kept[place]
        return self._known.recall(kept.key, lambda: self._read(kept))

    def _read(self, kept: Kept) -> Lesson:
        found = self._cache.find(kept.key)
        if found is None:
            raise LibraryError(
                f"The lesson of {shown(kept.name)} is gone or damaged; train again, and it is made anew."
            )
        return found


def _key(engine: TrainableEngine, row: Song, road: str) -> str:
    """A name made of all that decides a lesson: sound, words, road, encoders."""
    words = recipe_of(row, round(row.seconds, 6)).to_json()
    text = json.dumps([FORMAT, row.sound_hash, words, road, engine.lesson_mark], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _wanted(
    engine: TrainableEngine, kept: Kept, row: Song, longest: float, stop: threading.Event | None
) -> _Wanted:  # fmt: skip
    """A song's request as a render would have it; one that is too long is learnt as far as it goes."""
    recipe = recipe_of(row, min(row.seconds, longest, engine.capabilities.seconds[1]))
    if kept.road == "codes":
        coder = able(engine, HasCodes, "has no audio codes to learn from", engine.capabilities.codes)
        recipe = recipe.replace(task=Text2Music(codes=coder.codes(sound_of(row), stop)))
    return _Wanted(kept, row, engine.resolve(recipe, None, _no_source, longest))


def _sound(lesson: Lesson) -> Lesson:
    """A lesson whose numbers are some; SourceError for a sound, such as one far too loud, that gives none."""
    parts = (part for name in _PARTS if (part := getattr(lesson, name)) is not None)
    if all(bool(torch.isfinite(part).all()) for part in parts):
        return lesson
    raise SourceError("What the encoder makes of this sound is no number; it may be far too loud, or damaged.")


def _no_source(source: object) -> Sound:
    raise RecipeError(f"A song to learn from leans on no other sound, such as {shown(source)}.")


def _smallest(tensor: Tensor) -> Tensor:
    """A tensor in sixteen bits where that loses nothing, else as it is."""
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    for dtype in (torch.float16, torch.bfloat16):
        short = tensor.to(dtype)
        if torch.equal(short.to(tensor.dtype), tensor):
            return short
    return tensor


def _digest(parts: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in (name for name in _PARTS if name in parts):
        part = parts[name]
        digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
