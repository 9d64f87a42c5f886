"""The takes of several people in one library: whose each is, and what a run makes kept for whoever asked.

Knows no model and no page. A take is kept in the library the moment it exists; where the disk refuses, it stays in memory
and the sentence says so.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, sentence, shown
from acestep_lab.files import clean_text
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.owners import MOST_NAME, Owners, OwnNames
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.worker import AnyRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Retake, Task
from acestep_lab.takes.ids import is_sound_id, is_take_id
from acestep_lab.takes.index import Card
from acestep_lab.takes.library import Library
from acestep_lab.takes.lineage import Relative, relatives
from acestep_lab.takes.manifest import describe
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import TitleParts, title, titles

MOST_REMEMBERED = 512 * 2**20
"""Bytes of takes held in memory besides those on disk."""
MOST_SEARCHED = 100_000
"""Takes looked through for one that started from a recording."""
MOST_RETAKEN = 40
"""Retakes of retakes, one made from the other, that are followed back to their sources."""
MOST_TITLED = 200
"""People whose titles are remembered."""
MOST_SOUNDS = 60
"""Recordings kept for one visitor."""
BROUGHT = "brought-"
"""How the mark begins of a take that came as a file: which run made it is not known here."""
NOT_YOURS = "That take belongs to somebody else."


class NotYours(LibraryError):
    """What is somebody else's."""


class OwnedLibrary:
    """One library, its takes by their owners; a queue's takes are kept for whoever began the run.

    `library` keeps, opens and marks takes (`takes/library.py`, or another that does).
    """

    def __init__(self, library: Library, jobs: JobQueue | None = None) -> None:
        self.library = library
        self.owners = Owners(getattr(library, "folder", None))
        self._names = OwnNames(getattr(library, "folder", None))
        self._recent: OrderedDict[str, Take] = OrderedDict()
        self._unsaved: dict[str, Take] = {}
        self._brought: set[str] = set()
        self._titled: dict[str, tuple[object, Mapping[str, str]]] = {}
        self._lock = threading.RLock()
        if jobs is not None:
            jobs.subscribe(self._receive)

    def _receive(self, run: AnyRun | None, event: Event | None) -> None:
        """A run has made a take: keep it for whoever asked through a server; a notebook's are in its own hands."""
        if run is not None and event is not None and event.kind == "take" and run.client.counted:
            take = event.value[1]
            run.problem = run.problem or self.keep(take, run.owner)
            self._write_batch(take.id, run.id)

    def _write_batch(self, id: str, batch: str) -> None:
        """Write down which run made a take, so that what was made together stays together; one made again keeps its first."""
        if id in self._unsaved:
            return
        with contextlib.suppress(LabError, OSError):  # a full disk has been told of already
            if not self.library.marks(id).get("batch"):
                self.library.mark(id, batch=batch)

    # -- what somebody may start from ----------------------------------------------------------------------------------

    def check_sources(self, recipes: Recipe | Sequence[Recipe], owner: str) -> None:
        """LabError where a recipe starts from what is somebody else's: an id in a recipe may come out of any file."""
        if owner:  # the host may open any file of the machine anyway
            for one in (recipes,) if isinstance(recipes, Recipe) else recipes:
                self._check_task(one.task, owner)

    def to_remake(self, take: Take, owner: str) -> Take:
        """A take that somebody may have listened to as it was made, from its sources; NotYours where its file claims that those are
        somebody else's. Of a source that is gone nothing can be read.
        """
        try:
            self.check_sources(take.recipe.replace(task=Retake(take, 0.0, 0)), owner)
        except NotYours:
            raise
        except LibraryError:
            pass
        return take

    def _check_task(self, task: Task, owner: str, above: tuple[str, ...] = ()) -> None:
        for source in task.sources().values():
            named = isinstance(source, str | os.PathLike)
            found = self._source(os.fspath(source), owner) if named else source  # type: ignore[arg-type]
            if isinstance(task, Retake) and isinstance(found, Take):  # it is made once more, from its own sources
                if found.id in above or len(above) >= MOST_RETAKEN:
                    raise LibraryError("That take says it was made from itself, or from too many others in a row.")
                self._check_task(found.recipe.task, owner, (*above, found.id))

    def _source(self, name: str, owner: str) -> Take | None:
        """The take of an id that somebody may start from; None for a recording of theirs."""
        if name.startswith("take-"):
            return self.take(name, owner)
        self.check_recording(name, owner)
        return None

    def check_recording(self, id: str, owner: str) -> None:
        """LabError for a recording that somebody neither brought nor made anything from."""
        if owner and not self._may_hear(id, owner):
            raise LibraryError(f"{shown(id)} is no recording of yours; bring its file once more.")

    def _may_hear(self, id: str, owner: str) -> bool:
        """Whether a recording is somebody's. Any file may claim to come from anybody's: only what was brought or made here
        counts, and where nobody has a recording (earlier versions wrote no owner), that a take of theirs started from it.
        """
        if not owner:
            return True
        if not is_sound_id(id):
            return False
        if self._whose_sound(id) is not None:
            return self.owners.had(id, owner)
        mine: tuple[Take | Card, ...] = (*self.unsaved_takes(owner), *self.cards(owner, most=MOST_SEARCHED))
        return any(id in one.parents and not self._is_brought(one) for one in mine)

    def _is_brought(self, one: Take | Card) -> bool:
        """Whether a take came as a file, so that what it says of its sources is only said."""
        return one.id in self._brought or str(getattr(one, "batch", "")).startswith(BROUGHT)

    # -- what takes are called, and who came from whom --------------------------------------------------------------------

    def titles(self, owner: str = "") -> Mapping[str, str]:
        """What somebody's takes are called, by their ids; others' takes of the same title do not count."""
        revision = self._reading(lambda: self.library.revision)
        with self._lock:
            mine = [
                (id, one if not one.title or self.owner_of(id) == owner else replace(one, title=""))
                for id, one in self._reading(self.library.title_parts)
                if self._sees(id, owner)
            ]
            mine += [(id, TitleParts.of(take)) for id, take in self._unsaved.items() if self._sees(id, owner)]
            key = (revision, [id for id, _ in mine])
            kept = self._titled.get(owner)
            if kept is None or kept[0] != key:
                self._titled.pop(owner, None)
                kept = self._titled[owner] = (key, titles(mine, lambda id: self._source_title(id, owner)))
                while len(self._titled) > MOST_TITLED:
                    del self._titled[next(iter(self._titled))]
        return kept[1]

    def title(self, sound: Take | Audio, owner: str = "") -> str:
        """What a take or recording is called by somebody; by its own words where it is not in the library."""
        if not isinstance(sound, Take):
            return self._source_title(sound.id, owner) or sound.id
        known = self._known_titles(owner)
        return known.get(sound.id) or title(TitleParts.of(sound), lambda id: known.get(id, "")) or sound.id

    def binned_title(self, id: str, owner: str = "") -> str:
        """What a take in the bin is called by somebody."""
        return self._source_title(id, owner) or id

    def title_of_recipe(self, recipe: Recipe, owner: str = "") -> str:
        """What the take of a recipe will be called; "" where it has neither words nor a source."""
        parts, known = TitleParts.of_recipe(recipe.to_json()), self._known_titles(owner)
        return title(parts, lambda id: known.get(id) or self._source_title(id, owner))

    def _known_titles(self, owner: str) -> Mapping[str, str]:
        """The titles, or none while the library cannot be read, which its list says: a name is no reason to make no music."""
        try:
            return self.titles(owner)
        except LibraryError:
            return {}

    def _source_title(self, id: str, owner: str) -> str:
        """What a source is called that is none of somebody's takes: a recording, or a take in their bin."""
        if is_sound_id(id):
            return self.recording_title(id, owner)
        if not is_take_id(id) or not self._sees(id, owner):
            return ""
        if self.owner_of(id) == owner:
            return str(self._reading(lambda: self.library.source_title(id)))
        binned = self._reading(lambda: self.library.binned_title_parts(id))  # its owner's title is the owner's alone
        return "" if binned is None else title(replace(binned, title=""))

    def recording_title(self, id: str, owner: str = "") -> str:
        """What somebody calls a recording; others' names for it are theirs, and so is what is none of theirs: ""."""
        if not self._may_hear(id, owner):
            return ""
        own = self._names.of(owner, id)
        if own or (owner and self.owners.of(id) not in (owner, None)):
            return own or "a recording"
        return str(self._reading(lambda: self.library.source_title(id)))

    def family(self, id: str, owner: str = "") -> list[Relative]:
        """A take or recording, all it came from, and all that came from it, as somebody may see them; itself first."""
        parents: dict[str, tuple[str, ...]] = {card.id: card.parents for card in self.cards(owner, most=MOST_SEARCHED)}
        parents |= {take.id: take.parents for take in self.unsaved_takes(owner)}
        found = relatives(id, parents, lambda lost: self._lost_parents(lost, owner))
        names = self.titles(owner)
        return [self._relative(one, found[one], one in parents, names, owner) for one in found]

    def _lost_parents(self, id: str, owner: str) -> tuple[str, ...]:
        """What a take in somebody's bin was made from."""
        return self.library.binned_parents(id) if is_take_id(id) and self._sees(id, owner) else ()

    def _relative(
        self, id: str, parents: tuple[str, ...], kept: bool, names: Mapping[str, str], owner: str
    ) -> Relative:
        if kept:
            return Relative(id, "here", names.get(id, id), parents)
        called = self._source_title(id, owner)
        if is_sound_id(id):
            return Relative(id, "recording" if called else "gone", called, parents)
        if not self._sees(id, owner):
            return Relative(id, "other" if id not in self.owners.left(owner) else "bin", called, parents)
        return Relative(id, "bin" if id in self.library.trash() else "gone", called, parents)

    # -- recordings -----------------------------------------------------------------------------------------------------

    def keep_sound(self, audio: Audio, owner: str, name: str) -> None:
        """Keep a recording somebody brought, under the name of its file; LibraryError where the disk refuses, or it is much."""
        if owner and audio.id not in self.sounds(owner) and len(self.sounds(owner)) >= MOST_SOUNDS:
            raise LibraryError(
                f"{MOST_SOUNDS} sounds are kept for you already; forget one in the list, then bring this one again. "
                "It is in hand until you reload the page."
            )
        before = self._whose_sound(audio.id)
        self.library.keep_sound(audio)
        self.owners.claim(audio.id, before, owner)
        self._name(audio.id, owner, name)
        self.owners.write()

    def sounds(self, owner: str = "") -> list[str]:
        """Ids of the recordings somebody brought, the one brought last first."""
        kept = self._reading(self.library.sounds)
        return [id for id in kept if self._sees(id, owner) and self._name_of(id, owner)]

    def sound(self, id: str, owner: str) -> Audio:
        """One of somebody's recordings; LibraryError for anybody else's."""
        self._check_sound(id, owner)
        audio: Audio = self._reading(lambda: self.library.open_sound(id))
        return audio

    def sound_seconds(self, id: str) -> float:
        """How long a recording lasts; 0 where its file cannot be read, which opening it will say."""
        try:
            return float(self._reading(lambda: self.library.sound_seconds(id)))
        except LibraryError:
            return 0.0

    def sound_name(self, id: str, owner: str) -> str:
        """What somebody calls a recording of theirs: two people may have brought the very same."""
        self._check_sound(id, owner)
        return self._name_of(id, owner) or id

    def _name_of(self, id: str, owner: str) -> str:
        """The name somebody gave a recording; "" for what a run cut out of another sound, which is on no list."""
        return self._names.of(owner, id) or (self.library.sound_name(id) if self.owner_of(id) == owner else "")

    def name_sound(self, id: str, owner: str, name: str) -> None:
        """Call a recording of somebody's otherwise."""
        self._check_sound(id, owner)
        if not clean_text(" ".join(name.split()), "The name of a recording", LibraryError):
            raise LibraryError("A recording needs a name; write one, or leave the one it has.")
        self._name(id, owner, name)

    def forget_sound(self, id: str, owner: str) -> None:
        """Take a recording off somebody's list; what no take starts from, and nobody else has, is deleted."""
        self._check_sound(id, owner)
        if len(self.owners.holders(id)) < 2 and self._reading(lambda: self.library.forget_sound(id)):
            self.owners.forget(id)
        else:
            self.owners.leave(id, owner)
        self._names.put(owner, id, "")
        self.owners.write()

    def _whose_sound(self, id: str) -> str | None:
        """Whose a recording is already; None for one that nobody has. What is not the host's is in the table of owners."""
        known = self.owners.of(id)
        return (
            "" if known is None and id in self._reading(self.library.sounds) and self.library.sound_name(id) else known
        )

    def _name(self, id: str, owner: str, name: str) -> None:
        """Write down what somebody calls a recording; its owner's name is the one everything made from it bears."""
        if self.owner_of(id) == owner:
            self._reading(lambda: self.library.name_sound(id, name))
        else:
            self._names.put(owner, id, " ".join(name.split())[:MOST_NAME])
            self._titled.pop(owner, None)

    def _check_sound(self, id: str, owner: str) -> None:
        if not is_sound_id(id) or not self._sees(id, owner):
            raise LibraryError("That recording is not on your list; bring its file in once more.")

    # -- takes ----------------------------------------------------------------------------------------------------------

    def keep(self, take: Take, owner: str = "", made: bool = True) -> str:
        """Write a take to the library and return ""; or the sentence that says why the disk refused (it stays in memory).

        A take that is known already stays whose it is. Somebody who `made` the very same sees it as well; somebody who
        brought it as a file has it in hand, and that is all.
        """
        with self._lock:
            before = self._whose(take, made)
            if before is not None and before != owner and not made:
                return "This take is in the library already, and somebody else's there; you have it in hand."
            self.owners.claim(take.id, before, owner)
            if before is None and not made:
                self._brought.add(take.id)
            for sound in filter(is_sound_id, take.parents if made and owner else ()):
                self.owners.claim(sound, self._whose_sound(sound), owner)
            if made or before is None:  # a file may hold less than what is known under its id
                self._remember(take)
            elif take.id in self._unsaved:
                return ""
        try:
            self.library.keep(take)
            self.owners.write()
            self._unsaved.pop(take.id, None)
            if take.id in self._brought:
                self._write_batch(take.id, f"{BROUGHT}{take.id}"[:64])
                self._brought.discard(take.id)
            return ""
        except (LabError, OSError) as problem:
            self._unsaved.setdefault(take.id, take)
            return f"{sentence(problem)} The take stays in memory while this session runs; press Save again once there is room."

    def _whose(self, take: Take, made: bool) -> str | None:
        """Whose a take is already; None for one that nobody has. What a run has made the session may have kept a moment ago,
        and only one kept at another time was there before.
        """
        known = self.owners.of(take.id)
        if known is not None or take.id not in self.library:
            return known
        return None if made and self._created(take.id) in (take.created, None) else ""

    def _created(self, id: str) -> str | None:
        """When a kept take was made; None where the library cannot say."""
        try:
            return str(self._reading(lambda: self.library.card(id)).created)
        except LibraryError:
            return None

    @property
    def revision(self) -> tuple[object, ...]:
        """Differs whenever anybody's takes, marks or recordings may have changed."""
        folder = getattr(self.library, "folder", None)
        return (
            self._reading(lambda: self.library.revision), self.owners.revision, self._names.revision,
            tuple(self._unsaved), *(_changed_at(folder / name) for name in ("sounds", ".trash") if folder),
        )  # fmt: skip

    def recordings(self, owner: str = "") -> list[tuple[str, str]]:
        """Every recording that somebody may start from, with what they call it: "" for one that is on no list of theirs."""
        kept = [id for id in self._reading(self.library.sounds) if self.owners.had(id, owner)]
        return [(id, self._name_of(id, owner) if self._sees(id, owner) else "") for id in kept]

    def told(self, id: str, owner: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
        """The manifest and the marks of a take of somebody's, kept or in their bin, as plain data; marks are the owner's alone."""
        if not self._sees(id, owner) and id not in self.owners.left(owner):
            raise NotYours(NOT_YOURS)
        if id in self._unsaved:
            return describe(self._unsaved[id]), {}
        data, marks = self._reading(lambda: self.library.told(id))
        mine = self.owner_of(id) == owner
        return data, marks if mine else {name: value for name, value in marks.items() if name == "batch"}

    def keep_unsaved(self) -> str:
        """Try once more to write the takes the disk refused."""
        return next(
            (said for take in list(self._unsaved.values()) if (said := self.keep(take, self.owner_of(take.id)))), ""
        )

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Ids of the takes that are only in memory."""
        return tuple(self._unsaved)

    def unsaved_of(self, owner: str) -> list[str]:
        """Ids of somebody's takes that are only in memory."""
        return [id for id in self._unsaved if self._sees(id, owner)]

    def owner_of(self, id: str) -> str:
        """Whose take it is; "" for takes that were there before."""
        return self.owners.of(id) or ""

    def _sees(self, id: str, owner: str) -> bool:
        """Whether somebody owns a take, or made the very same one."""
        return owner in self.owners.holders(id)

    def take(self, id: str, owner: str | None = None) -> Take:
        """A take by its id, from memory or disk; with an owner, only if it is theirs or they made the same."""
        if owner is not None and not self._sees(id, owner):
            raise NotYours(NOT_YOURS)
        with self._lock:
            if id in self._recent:
                self._recent.move_to_end(id)
                return self._recent[id]
        take = self._unsaved.get(id) or self.library.open(id)
        with self._lock:
            self._remember(take)
        return take

    def ids(self, owner: str = "") -> list[str]:
        """Ids of somebody's takes, newest first: those in memory only, then the library's."""
        lost = [id for id in reversed(self._unsaved) if self._sees(id, owner)]
        return lost + [
            id for id in self._reading(self.library.ids) if self._sees(id, owner) and id not in self._unsaved
        ]

    def cards(self, owner: str = "", query: str = "", most: int = 60) -> list[Card]:
        """The library's cards of somebody's takes, newest first; no sound is read. What is only in memory has none."""
        found = self._reading(lambda: self.library.cards(query))
        words = query.casefold().split()
        mine = (card for card in found if self._sees(card.id, owner) and card.id not in self._unsaved)
        return [card for card in mine if self.owner_of(card.id) == owner or _says(card, words)][:most]

    def unsaved_takes(self, owner: str) -> list[Take]:
        """Somebody's takes that are only in memory, newest first."""
        return [take for id, take in reversed(self._unsaved.items()) if self._sees(id, owner)]

    def mark(self, id: str, owner: str, **marks: Any) -> None:
        """Star, reject or write a note on somebody's own take."""
        if self.owner_of(id) != owner:
            both = self._sees(id, owner)
            raise LibraryError(
                NOT_YOURS if not both else "Its marks belong to somebody else, who made the very same take before you."
            )
        if id not in self._unsaved:
            self._reading(lambda: self.library.mark(id, **marks))

    def bin(self, ids: list[str], owner: str) -> list[str]:
        """Put somebody's takes into the bin, from where they come back for a day; what others made as well lives on for them."""
        for id in ids:
            if not self._sees(id, owner):
                raise NotYours(NOT_YOURS)
        shared = [id for id in ids if len(self.owners.holders(id)) > 1]
        for id in shared:
            self.owners.leave(id, owner)
        self.owners.write()
        if ids and all(id in self._unsaved for id in ids):
            raise LibraryError("It is only in memory, where there is no bin; press Save again once there is room.")
        gone = [id for id in ids if id not in shared and id not in self._unsaved]
        return list(self._reading(lambda: self.library.bin(*gone)))

    def binned(self, owner: str) -> list[str]:
        """Ids of what somebody binned."""
        gone = [id for id in self._reading(self.library.trash) if self._sees(id, owner)]
        return gone + [id for id in self.owners.left(owner) if id in self.library]

    def restore(self, owner: str, only: Sequence[str] | None = None) -> list[str]:
        """Bring back what somebody binned: all of it, or these. LibraryError where it is not in their bin any more."""
        ids = [id for id in self.binned(owner) if only is None or id in only]
        if only and not ids:
            raise LibraryError("That is not in the bin any more; after a day it is emptied.")
        for id in ids:
            self.owners.claim(id, self.owners.of(id), owner)
        self.owners.write()
        back = self._reading(lambda: self.library.restore(*ids))
        return [id for id in ids if id in back or id in self.library]

    def _reading(self, work: Callable[[], Any]) -> Any:
        """Ask the library; a folder that has vanished becomes a sentence."""
        try:
            return work()
        except OSError as problem:
            raise LibraryError(
                f"The library folder cannot be used ({(problem.strerror or str(problem)).lower()}). Takes of this session are still in memory."
            ) from None

    def admit(self, take: Take) -> Take:
        """A take that was brought in, under an id of its own where the one it claims is another sound's here."""
        known = self._unsaved.get(take.id) or self._recent.get(take.id)
        if known is not None and take.manifest is not None and not take.has_sound_of(known):
            return take.as_child()
        admitted: Take = self.library.admit(take)
        return admitted

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _remember(self, take: Take) -> None:
        """Hold a take in memory, and let go of those not asked for lately once there are too many bytes."""
        self._recent[take.id] = take
        self._recent.move_to_end(take.id)
        held = sum(one.audio.samples.nbytes for one in self._recent.values())
        while held > MOST_REMEMBERED and len(self._recent) > 1:
            _, old = self._recent.popitem(last=False)
            held -= old.audio.samples.nbytes


def _changed_at(folder: Path) -> int:
    """When something came into a folder or went, in nanoseconds; 0 where there is none."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _says(card: Card, words: Sequence[str]) -> bool:
    """Whether every word searched for begins a word of what a take is made of, its owner's title, tags and note aside."""
    recipe = card.recipe
    told = [
        card.caption,
        recipe.get("lyrics", ""),
        card.task,
        f"{card.bpm} bpm" if card.bpm else "",
        card.keyscale or "",
    ]
    own = " ".join(map(str, told)).casefold().split()
    return all(any(one.startswith(word) for one in own) for word in words)
