"""What somebody far away sees of this machine's library, and what they may bring into it: their own takes and recordings.

Knows a backend, files and plain data; no request. What comes from elsewhere is checked as a file is that is dropped on the
studio's page: it proves what it holds, and nothing about whose it is. What cannot be kept for its sender is held in hand, so
that a run of theirs may still start from it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, SourceError, shown
from acestep_lab.files import clean_text
from acestep_lab.jobs.owned_library import MOST_SOUNDS
from acestep_lab.jobs.owners import MOST_NAME
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.exchange import read_file, write_latent, write_sound
from acestep_lab.takes.ids import is_id, is_sound_id, is_take_id
from acestep_lab.takes.manifest import describe
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend
from acestep_lab.ui.sound_drop import check

MOST_ASKED = 200
"""Takes that are told of at once."""
MOST_TOLD = 8 * 2**20
"""Bytes of manifests in one answer; who asked for more asks again."""
MOST_HELD = 12
"""Sounds that are held in hand for one person."""
MOST_HELD_BYTES = 512 * 2**20
"""Bytes of what is held in hand for everybody."""
MOST_UNNAMED = 4 * MOST_SOUNDS
"""Recordings of one person that are on no list."""
FRESH_SECONDS = 3600.0
"""How long a recording that nothing started from yet is left alone."""
MARKS = ("star", "reject", "note", "tags", "scores", "title", "batch", "heard", "locks")


class NotTheHost(LabError):
    """Only the host may do this (HTTP 403)."""

    code = "FORBIDDEN"
    status = 403


class Shelf:
    """One backend's library for people far away, by their owners' names; "" is the host."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.takes = backend.takes
        self._listed: dict[str, tuple[object, dict[str, Any]]] = {}
        self._seconds: dict[str, float] = {}
        self._held: OrderedDict[tuple[str, str], Take | Audio] = OrderedDict()
        self._lock = threading.RLock()

    # -- what there is --------------------------------------------------------------------------------------------------

    def listing(self, owner: str, known: str = "") -> dict[str, Any]:
        """All that somebody has: takes with what changes when they do, the bin, recordings. Nothing but the stamp where it
        is the one that is known.
        """
        found = self._listing(owner)
        return {"stamp": known, "same": True} if known == found["stamp"] else found

    def _listing(self, owner: str) -> dict[str, Any]:
        revision = self.takes.revision
        with self._lock:
            kept = self._listed.get(owner)
        if kept is not None and kept[0] == revision:
            return kept[1]
        stamps = self.backend.session.library.stamps()
        found: dict[str, Any] = {
            "takes": {id: self._stamp(id, owner, stamps) for id in self.takes.ids(owner)},
            "binned": self.takes.binned(owner),
            "sounds": [[id, name, self._length(id)] for id, name in self.takes.recordings(owner)],
            "damaged": [] if owner else [[one.name, one.sentence] for one in self.backend.session.library.damaged],
        }
        found["stamp"] = hashlib.blake2b(json.dumps(found).encode(), digest_size=12).hexdigest()
        with self._lock:
            self._listed[owner] = (revision, found)
        return found

    def _stamp(self, id: str, owner: str, stamps: dict[str, str]) -> str:
        """What changes when somebody would see another manifest or other marks."""
        return f"{stamps.get(id, 'in memory')}{'' if self.takes.owner_of(id) == owner else ' shared'}"

    def _length(self, id: str) -> float:
        """Seconds of a recording; its id stands for its samples, so they are asked for once."""
        if id not in self._seconds:
            self._seconds[id] = round(self.takes.sound_seconds(id), 3)
        return self._seconds[id]

    def told(self, ids: Iterable[object], owner: str) -> dict[str, Any]:
        """Manifest and marks of each take; of those that are gone meanwhile nothing, and of as many as one answer holds."""
        found: dict[str, Any] = {}
        size = 0
        for id in list(ids)[:MOST_ASKED]:
            if not is_take_id(id):
                raise LibraryError(f"{shown(id)} is no take's name; one looks like 'take-1f0c9a52b7d3e846'.")
            try:
                data, marks = self.takes.told(str(id), owner)
            except LibraryError as problem:
                found[str(id)] = {"error": str(problem)}
                continue
            found[str(id)] = {"manifest": data, "marks": marks}
            size += len(json.dumps(found[str(id)]))
            if size > MOST_TOLD:
                break
        return found

    @contextmanager
    def sound(self, id: str, owner: str) -> Iterator[Path]:
        """The file of a take's or a recording's sound, lossless; of what is in memory only, one that goes afterwards."""
        mine = self._of(id, owner)
        with tempfile.TemporaryDirectory(prefix="acestep-lab-") as folder:
            yield self._file(id, owner) if mine is None else _written(mine, Path(folder))

    @contextmanager
    def latent(self, id: str, owner: str) -> Iterator[Path | None]:
        """The file of a take's latent; None for a take that has none."""
        mine = self._of(id, owner)
        if mine is None:
            yield self.backend.session.library.latent(id)
            return
        with tempfile.TemporaryDirectory(prefix="acestep-lab-") as folder:
            file = Path(folder) / f"{id}.safetensors"
            if isinstance(mine, Take) and mine.latent.size:
                write_latent(file, mine.latent)
            yield file if file.exists() else None

    def _of(self, id: str, owner: str) -> Take | Audio | None:
        """What is somebody's and only in memory; None for what lies in the library. LabError for anybody else's."""
        if (held := self._held.get((owner, id))) is not None:
            return held
        library = self.backend.session.library
        if is_sound_id(id):
            self.takes.check_recording(id, owner)
            return None if id in library.sounds() else self.backend.source(id, owner)
        if id not in self.takes.ids(owner):
            return self.takes.take(id, owner)  # which says why not
        return self.takes.take(id, owner) if id in self.takes.unsaved else None

    def _file(self, id: str, owner: str) -> Path:
        library = self.backend.session.library
        return library.recording(id) if is_sound_id(id) else library.sound(id)

    # -- what is said about it ------------------------------------------------------------------------------------------

    def mark(self, id: str, owner: str, marks: object) -> dict[str, Any]:
        """Say something about a take of somebody's; gives what is said about it now."""
        odd = [name for name in marks if name not in MARKS] if isinstance(marks, dict) else [marks]
        if odd or not isinstance(marks, dict):
            raise LibraryError(f"Takes have no mark {shown(odd[0])}; there are {', '.join(MARKS)}.")
        self.takes.mark(id, owner, **marks)
        self.backend.marked(owner, self)
        return self._now(id, owner)

    def _now(self, id: str, owner: str) -> dict[str, Any]:
        stamp = self._stamp(id, owner, self.backend.session.library.stamps())
        return {"marks": self.takes.told(id, owner)[1], "stamp": stamp}

    def bin(self, ids: list[str], owner: str) -> list[str]:
        """Put takes of somebody's into the bin; gives their ids."""
        self.takes.bin(ids, owner)
        self.backend.marked(owner, self)
        return ids

    def restore(self, ids: list[str], owner: str) -> list[str]:
        """Bring takes back out of somebody's bin; gives those that were found there."""
        there = set(self.takes.binned(owner))
        wanted = [id for id in ids if id in there]
        back = self.takes.restore(owner, wanted) if wanted else []
        self.backend.marked(owner, self)
        return back

    def empty(self, hours: float, owner: str) -> None:
        """Delete what has been in the bin for so many hours; for the host, since the bin is everybody's."""
        if owner:
            raise NotTheHost("Only the host can empty the bin of this machine; after a day it empties itself.")
        self.backend.session.library.empty_trash(hours)

    def name_sound(self, id: str, owner: str, name: str) -> None:
        """Call a recording of somebody's otherwise."""
        self.takes.name_sound(id, owner, name)

    def forget_sound(self, id: str, owner: str) -> bool:
        """Take a recording off somebody's list; whether it is gone for good."""
        self.takes.forget_sound(id, owner)
        return id not in self.backend.session.library.sounds()

    # -- what is brought ------------------------------------------------------------------------------------------------

    def receive_take(self, path: Path, name: str, owner: str, latent: Path | None = None) -> dict[str, Any]:
        """A file of ours that came: under which id its take is kept here, or held in hand, and what there is to say of it.

        LabError for a file that holds no take.
        """
        check(name, path.stat().st_size, 2**40)  # how large it may be, the door has seen to
        if latent is not None:
            latent.rename(path.with_suffix(".safetensors"))
        try:
            take = self.takes.admit(read_file(path))
        finally:
            path.with_suffix(".safetensors").unlink(missing_ok=True)
        said = self._keep(take, owner)
        if take.id not in self.takes.ids(owner):
            self._hold(take, owner)
        self.backend.marked(owner, self)
        return {"id": take.id, "kept": not said, "remark": " ".join(filter(None, (*take.remarks, said)))}

    def _keep(self, take: Take, owner: str) -> str:
        """Keep a take that was brought, as the studio does; the sentence that says why not."""
        if take.is_copy and self.backend.session.library.knows(take.id):
            return (
                "" if take.id in self.takes.ids(owner) else "It is in hand: the library has its original, for somebody."
            )
        return self.takes.keep(take, owner, made=False)

    def receive_sound(self, path: Path, name: str, owner: str) -> dict[str, Any]:
        """A sound that came: the id it is kept under, what it is called, and its length in seconds. LabError for no sound."""
        called = " ".join(clean_text(name, "The name of a recording", SourceError).split())[:MOST_NAME]
        audio = Audio.read(path)
        if not audio.samples.size:
            raise SourceError("The sound has no samples: there is nothing to keep.")
        known = dict(self.takes.recordings(owner)).get(audio.id)
        if known is None and not called:
            self._make_room(owner)
        if called or known is None:
            self.takes.keep_sound(audio, owner, called)
        return {"id": audio.id, "name": called or known or "", "seconds": audio.seconds}

    def _make_room(self, owner: str) -> None:
        """Let go of what somebody's runs brought along and no take starts from; LibraryError where too much of it is new."""
        library = self.backend.session.library
        unnamed = [id for id, name in self.takes.recordings(owner) if not name] if owner else []
        if len(unnamed) < MOST_UNNAMED:
            return
        old = [id for id in unnamed if time.time() - library.recording(id).stat().st_mtime > FRESH_SECONDS]
        gone = [id for id in old if library.forget_sound(id)]
        for id in gone:
            self.takes.owners.forget(id)
        if not gone:
            raise LibraryError(
                f"{len(unnamed)} sounds were brought here for runs already; bring this one again in an hour."
            )

    def _hold(self, sound: Take | Audio, owner: str) -> None:
        with self._lock:
            self._held[owner, sound.id] = sound
            self._held.move_to_end((owner, sound.id))
            mine = [key for key in self._held if key[0] == owner]
            for key in mine[:-MOST_HELD]:
                del self._held[key]
            while sum(map(_bytes, self._held.values())) > MOST_HELD_BYTES and len(self._held) > 1:
                self._held.popitem(last=False)

    # -- what a run starts from -----------------------------------------------------------------------------------------

    def source(self, id: str, owner: str) -> Take | Audio:
        """A take or recording of somebody's, or what they have in hand; LabError for anybody else's."""
        held = self._held.get((owner, id))
        return self.backend.source(id, owner) if held is None else held

    def with_sources(self, recipe: Recipe, owner: str) -> Recipe:
        """A recipe whose sounds, given by their ids, are at hand; LabError for what is none of somebody's."""
        named = recipe.task.sources()
        if odd := [one for one in named.values() if not is_id(one)]:
            raise SourceError(f"A recipe from elsewhere names its sounds by their ids, not as {shown(odd[0])}.")
        found = {name: self.source(str(one), owner) for name, one in named.items()}
        return recipe.replace(task=recipe.task.with_sources(found)) if found else recipe

    def knows(self, ids: Iterable[object], owner: str) -> list[str]:
        """Which of these takes and recordings a run of somebody's could start from as it is."""
        return [str(id) for id in list(ids)[:MOST_ASKED] if is_id(id) and self._may_use(str(id), owner)]

    def _may_use(self, id: str, owner: str) -> bool:
        if (owner, id) in self._held:
            return True
        if is_take_id(id):
            return id in self.takes.ids(owner)
        try:
            self.takes.check_recording(id, owner)
            self.backend.session.library.recording(id)
        except LibraryError:
            return False
        return True


def _written(sound: Take | Audio, folder: Path) -> Path:
    """A sound as the file that the library would hold it in."""
    audio = sound.audio if isinstance(sound, Take) else sound
    file = folder / f"{sound.id}.{audio.lossless_kind}"
    if isinstance(sound, Take):
        write_sound(file, audio, describe(sound))
    else:
        audio.write(file)
    return file


def _bytes(sound: Take | Audio) -> int:
    return int((sound.audio if isinstance(sound, Take) else sound).samples.nbytes)


_ONE = threading.Lock()


def shelf_of(backend: Backend) -> Shelf:
    """The one Shelf of a backend; it lives as long as that does."""
    with _ONE:
        shelf: Shelf | None = vars(backend).get("_shelf")
        if shelf is None:
            shelf = vars(backend)["_shelf"] = Shelf(backend)
        return shelf
