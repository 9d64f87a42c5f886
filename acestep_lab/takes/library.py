"""The Library: a folder that keeps takes, each whole or not at all.

Knows takes and files; no model. A take is three files named by its id: the sound (FLAC of 24 bits where its grid holds every
sample, else WAV of floats; the manifest in its comment), the latent (safetensors) and the manifest (JSON) — the last written,
so that a manifest means a take. What a musician says about it (star, title, note, tags, scores) is a fourth, small one. The
index is only a mirror. Recordings that takes start from lie in `sounds/`, sample for sample, so that such a take can be made
again. A file that cannot be read costs one take: it is skipped, and `problems` names it. Reading needs no right to write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.audio.reading import seconds_of
from acestep_lab.errors import LibraryError, RecipeError, SourceError, shown
from acestep_lab.files import clean_text, read_json, to_json, write_whole
from acestep_lab.prompt.checks import choice, is_a, is_whole, place, plain, plain_number, sequence, truth
from acestep_lab.prompt.checks import text as checked_text
from acestep_lab.settings import VARIABLES
from acestep_lab.takes import identity, manifest
from acestep_lab.takes.exchange import export, read_file, read_latent, write_latent, write_sound
from acestep_lab.takes.ids import is_id, is_sound_id, is_take_id, sound_id, take_id
from acestep_lab.takes.index import Card, Index, IndexLost
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import TitleParts, titles
from acestep_lab.takes.titles import title as title_of
from acestep_lab.takes.trash import FULL, Trash, TrashedTake, files_of

__all__ = ["Library", "Problem", "export", "read_file"]

TRASH_HOURS = 24.0
"""How long a binned take can be brought back."""

DRAFT_HOURS = 1.0
"""How old a half-written file must be before it is nobody's any more."""

CLOCK_TICK_NS = 100_000_000
"""A folder changed more recently than this may change again without its time changing."""

SOUNDS = "sounds"
MOST_NAME = 200
"""Characters of what a recording is called."""
"""The folder of recordings, inside the library's."""

ANNOTATIONS = ("alignment", "attribution", "notes", "scores")
"""What may be kept beside a take: lyrics in time; what each word did; notes, chords and beats; asked against heard."""

KINDS = ("flac", "wav")
"""A sound is in one of these."""

_DRAFT = re.compile(r"\.draft-[0-9a-z_]{6,16}(\.[0-9a-z.]{1,16})?")
_ATTEMPTS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """A file of the library that could not be used, and why."""

    name: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


class Library:
    """Kept takes in one folder, newest first; several processes may use one folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not isinstance(folder, str | os.PathLike) or not isinstance(os.fspath(folder), str):
            raise LibraryError(f"A library is opened by its folder, not by {shown(folder)}.")
        self.folder = Path(os.path.expanduser(folder))
        self._make_folder()
        self._index = Index(self.folder / ".index.sqlite")
        self._trash = Trash(self.folder / ".trash")
        self._seen = 0
        self._damaged: dict[str, tuple[str, str]] = {}
        with contextlib.suppress(OSError):  # there while there is room
            self._trash.folder.mkdir(exist_ok=True)
        self._sweep()
        self.empty_trash(older_than_hours=TRASH_HOURS)

    def _make_folder(self) -> None:
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise LibraryError(f"The library folder {shown(str(self.folder), 120)} cannot be made ({why}).") from None

    def __repr__(self) -> str:
        takes = len(self)
        damaged = f", and {len(self._damaged)} damaged (see problems())" if self._damaged else ""
        return f"<Library of {takes} takes in {str(self.folder)!r}{damaged}>"

    def __len__(self) -> int:
        return len(self.ids())

    def __iter__(self) -> Iterator[Take]:
        return self._readable(self.ids())

    def __contains__(self, take: Take | str) -> bool:
        name = take.id if isinstance(take, Take) else take
        return is_take_id(name) and _is_file(self.folder / f"{name}.json")

    def close(self) -> None:
        """Let the index's file go."""
        self._index.close()

    # -- looking ---------------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Ids of all kept takes, newest first."""
        return self._query(self._index.ids)

    def takes(self, most: int | None = None) -> list[Take]:
        """Kept takes, newest first, each with its sound; damaged ones are left out. LibraryError for an odd number of them."""
        if most is not None and not (is_whole(most) and (plain_number(most) or 0) >= 0):
            raise LibraryError(f"At most so many takes is a whole number from 0 up, not {shown(most)}.")
        return list(self._readable(self.ids()[: None if most is None else int(plain_number(most) or 0)]))

    def _readable(self, names: Iterable[str]) -> Iterator[Take]:
        for name in names:
            with contextlib.suppress(LibraryError):
                yield self.open(name)

    def cards(self, query: str = "", most: int | None = None, **where: object) -> list[Card]:
        """Cards (no sound is read), newest first. All words of `query` must occur; `star=True` and such narrow further."""
        return self._query(lambda: self._index.cards(query, most, **where))

    def card(self, name: str) -> Card:
        """The card of one take; LibraryError where none is kept under that name, or it is damaged."""
        found = self.cards(id=self._known(name))
        if not found:
            raise LibraryError(self._damaged.get(name, ("", f"The library keeps no take {shown(name)}."))[1])
        return found[0]

    def title_parts(self) -> list[tuple[str, TitleParts]]:
        """What the titles of all kept takes are made of, oldest first (see `titles`)."""
        return self._query(self._index.title_parts)

    @property
    def revision(self) -> int:
        """Moves whenever what is listed may have changed."""
        self._query(lambda: None)
        return self._index.revision

    def titles(self) -> dict[str, str]:
        """What every kept take is called, by its id: by hand, or by what it was made from, "… #2" where that is the same."""
        return titles(self.title_parts(), self.source_title)

    def source_title(self, name: str) -> str:
        """What a recording, or a take in the trash, is called; "" where there is none, or it has no name."""
        if is_sound_id(name):
            return self.sound_name(name) or ("a recording" if self._sound_of(self.folder / SOUNDS, name) else "")
        binned = self.binned_title_parts(name)
        return "" if binned is None else title_of(binned)

    def binned_title_parts(self, name: str) -> TitleParts | None:
        """What the title of a take in the trash is made of; None where it is not there, or cannot be read."""
        for one in self._trash:
            if one.name == name:
                with contextlib.suppress(LibraryError):
                    data = self._manifest(name, one.folder / f"{one.stem}.json")
                    marks = self._marks_at(one.folder / f"{one.stem}.marks.json")[0]
                    return TitleParts.of_recipe(
                        manifest.recipe_of(data), data["made_with"], str(marks.get("title", ""))
                    )
        return None

    def binned_parents(self, name: str) -> tuple[str, ...]:
        """What a take in the trash was made from; nothing where it is not there, or cannot be read."""
        found = next((one for one in self._trash if one.name == name), None)
        return tuple(filter(is_id, self._needs(found) or ())) if found else ()

    def children(self, name: str) -> list[Card]:
        """Cards of the takes made from this one."""
        return [card for card in self.cards() if name in card.parents]

    def open(self, name: str) -> Take:
        """Read a kept take by its id; LibraryError where there is none, or its manifest or sound is damaged.

        A damaged latent costs only itself: the take's `remarks` say so.
        """
        data = self._manifest(self._known(name))
        try:
            audio = Audio.read(self.sound(name))
        except SourceError as error:
            raise LibraryError(f"The sound of {name} cannot be read: {error}") from None
        found = identity.compare_with_manifest(data, audio, lossy=False)
        if found == "other":
            raise LibraryError(
                f"The sound of {name} is damaged: it is not the one its manifest tells of. What is left of it can be heard by "
                f"opening the file {self.sound(name).name}."
            )
        latent, remarks = read_latent(self.folder / f"{name}.safetensors", data["latent"])
        return manifest.to_take(data, audio, latent, *remarks)

    def sound(self, name: str) -> Path:
        """The sound file of a take; LibraryError where it is missing."""
        found = self._sound_of(self.folder, self._known(name))
        if found is None:
            raise LibraryError(f"The sound of {name} is missing from {shown(str(self.folder), 120)}.")
        return found

    def knows(self, name: str) -> bool:
        """Whether a take of this id is kept, or lies in the trash."""
        return name in self or name in self.trash()

    @property
    def damaged(self) -> tuple[Problem, ...]:
        """The manifests that could not be read when the folder was last listed."""
        return tuple(Problem(f"{name}.json", sentence) for name, (_, sentence) in sorted(self._damaged.items()))

    def problems(self, sounds: bool = False) -> tuple[Problem, ...]:
        """Every file that could not be used, and why; with `sounds`, each take is read whole and held against its digests."""
        self._seen = 0  # a file changed in place leaves its folder's time as it was
        names, sounds = self.ids(), truth("sounds", sounds)
        found = [*self.damaged, *self._odd_marks(), *self._odd_places(), *self._lost(names)]
        for name in names if sounds else ():
            try:
                found += [Problem(name, remark) for remark in self.open(name).remarks]
            except LibraryError as problem:
                found.append(Problem(name, str(problem)))
        return tuple(sorted(set(found), key=lambda problem: (problem.name, problem.sentence)))

    def _odd_marks(self) -> list[Problem]:
        names = {name.removesuffix(".marks.json") for name in _names(self.folder) if name.endswith(".marks.json")}
        found = [(name, self._marks(name)[1]) for name in names if is_take_id(name)]
        return [Problem(f"{name}.marks.json", sentence) for name, sentence in found if sentence]

    def _odd_places(self) -> list[Problem]:
        """What lies among takes, recordings and in the trash under a name that none of them has."""
        stem = re.compile(r"[^.]*")
        odd = [place.relative_to(self.folder).as_posix() for place in self._trash.foreign_files()]
        odd += [n for n in _names(self.folder) if n.startswith("take-") and not is_take_id(stem.findall(n)[0])]
        recordings = [n for n in _names(self.folder / SOUNDS) if not n.startswith(".")]
        odd += [f"{SOUNDS}/{n}" for n in recordings if not is_sound_id(stem.findall(n)[0])]
        found = [Problem(name, "Nothing of the library's has such a name; it is left alone.") for name in odd]
        unread = [one for one in self._trash if self._needs(one) is None]
        return found + [Problem(f".trash/{one.since}-{one.name}", "Its manifest cannot be read.") for one in unread]

    def _lost(self, names: Iterable[str]) -> list[Problem]:
        lost = [name for name in names if self._sound_of(self.folder, name) is None]
        return [Problem(name, "Its sound is missing.") for name in lost]

    # -- for who mirrors it ----------------------------------------------------------------------------------------------

    def stamps(self) -> dict[str, str]:
        """What changes whenever a kept take's manifest or marks do, by its id."""
        return self._query(self._index.stamps)

    def told(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The manifest and the marks of a take, kept or in the trash, as plain data; LibraryError where there is none."""
        if take_id(name) in self:
            return self._manifest(name), self.marks(name)
        for one in self._trash:
            if one.name == name:
                marks = self._marks_at(one.folder / f"{one.stem}.marks.json")[0]
                return self._manifest(name, one.folder / f"{one.stem}.json"), marks
        raise LibraryError(f"The library keeps no take {shown(name)}.")

    def latent(self, name: str) -> Path | None:
        """The latent's file of a kept take, where it has one."""
        file = self.folder / f"{self._known(name)}.safetensors"
        return file if _is_file(file) else None

    # -- keeping ---------------------------------------------------------------------------------------------------------

    def keep(self, take: Take) -> Path:
        """Write a take and return its sound file; keeping it twice changes nothing.

        A take whose id belongs to another sound here is kept under an id of its own (see `admit`). Raises LibraryError where
        it cannot be written; nothing of it is left then, and the take is as whole in memory as before.
        """
        check_can_be_kept(take)
        take = self.admit(take)
        there = self._sound_of(self.folder, take.id)
        if there is not None and self._is_whole(take):
            return there
        data = manifest.describe(take)
        text = manifest.to_text(data)
        kind = take.audio.lossless_kind
        try:
            self._make_folder()
            self._whole(f"{take.id}.{kind}", lambda path: write_sound(path, take.audio, data))
            if take.latent.size:
                self._whole(f"{take.id}.safetensors", lambda path: write_latent(path, take.latent))
            self._whole(f"{take.id}.json", lambda path: path.write_text(text, encoding="utf-8"))
        except (LibraryError, SourceError, OSError) as error:
            self._discard(take.id)
            raise self._refusal("take", error, take.audio.samples.nbytes + take.latent.nbytes) from None
        self._drop_other_kinds(take.id, kind)
        return self.folder / f"{take.id}.{kind}"

    def _drop_other_kinds(self, name: str, kind: str) -> None:
        """Delete what an earlier copy of a take left: its sound as another kind of file."""
        for other in KINDS:
            with contextlib.suppress(OSError):
                if other != kind:
                    (self.folder / f"{name}.{other}").unlink(missing_ok=True)

    def admit(self, take: Take) -> Take:
        """The take as this library can keep it: itself, or, where its id belongs to another sound here, one of its own.

        Ids are earned by content, but one of an old file is only claimed; a claim never takes over what is here. LibraryError
        for what is no take.
        """
        if not is_a(take, Take) or not isinstance(take, Take):  # the second for the type checker: a liar raises there
            raise LibraryError(f"A library admits takes, not {shown(take)}.")
        if take.manifest is None:
            return take
        known = self._kept_under(take.id)
        if known is None and (take not in self or (identity.is_proven(take.manifest) and not take.is_copy)):
            return take  # where only a damaged manifest is left, a proven original makes it whole
        if known is not None and self._is_same(known, take):
            return take
        return take.as_child(
            f"{take.id} is another take here; this one got an id of its own, with that one as its parent."
        )

    def _kept_under(self, name: str) -> tuple[dict[str, object], Path | None] | None:
        """The manifest under a name, here or in the trash, and the sound beside it."""
        places = [(one.folder, one.stem) for one in self._trash if one.name == name]
        for folder, stem in [(self.folder, name), *places]:
            if _is_file(folder / f"{stem}.json"):
                with contextlib.suppress(LibraryError):
                    return self._manifest(name, folder / f"{stem}.json"), self._sound_of(folder, stem)
        return None

    def _is_same(self, known: tuple[dict[str, Any], Path | None], take: Take) -> bool:
        """Whether a take holds the sound kept under its id, or a copy of it."""
        data, place = known
        original, facts = identity.original_of(data), take.facts["audio"]
        if facts["sha256"] in (original["sha256"], data["audio"]["sha256"]):
            return True
        if data["format"] == identity.FORMAT:
            return identity.is_copy_of(original, take.audio)
        try:
            return place is not None and identity.is_copy_of(identity.sound_facts(Audio.read(place)), take.audio)
        except SourceError:
            return False

    def _is_whole(self, take: Take) -> bool:
        """Whether all of a take is here already, unharmed: its latent if it has one, and no copy instead of it."""
        try:
            kept = self.open(take.id)
        except LibraryError:
            return False
        if kept.is_copy and not take.is_copy:
            return False
        return bool(kept.latent.size or not take.latent.size)

    def keep_sound(self, audio: Audio) -> Path:
        """Write a recording that a take starts from, sample for sample; keeping it twice changes nothing.

        LibraryError for what is no Audio, holds samples that are no numbers, or finds no room.
        """
        if not isinstance(audio, Audio):
            raise LibraryError(f"A recording is an Audio, not {shown(audio)}.")
        known = self._sound_of(self.folder / SOUNDS, audio.id)
        if known is not None and self._holds_sound(audio.id):
            return known
        if not np.isfinite(audio.samples).all():
            raise LibraryError("The recording holds samples that are not numbers (NaN or infinite): it cannot be kept.")
        kind = audio.lossless_kind
        try:
            self._make_folder()
            (self.folder / SOUNDS).mkdir(exist_ok=True)
            return self._whole(f"{SOUNDS}/{audio.id}.{kind}", audio.write)
        except (LibraryError, OSError, SourceError) as error:
            raise self._refusal("recording", error, audio.samples.nbytes) from None

    def _holds_sound(self, name: str) -> bool:
        """Whether a recording is here, unharmed."""
        try:
            return self.open_sound(name).samples.size > 0
        except LibraryError:
            return False

    def recording(self, name: str) -> Path:
        """The file of a kept recording; LibraryError where there is none."""
        file = self._sound_of(self.folder / SOUNDS, sound_id(name))
        if file is None:
            raise LibraryError(f"The library {shown(str(self.folder), 120)} keeps no recording {name!r}.")
        return file

    def open_sound(self, name: str) -> Audio:
        """Read a kept recording by its id; LibraryError where there is none or its file is damaged."""
        try:
            audio = Audio.read(self.recording(name))
        except SourceError as error:
            raise LibraryError(f"The recording {name} cannot be read: {error}") from None
        if match_recording(audio, name) == "other":
            raise LibraryError(f"The recording {name} is damaged: it holds another sound than the one that was kept.")
        return audio

    def name_sound(self, name: str, called: str) -> None:
        """Say what a kept recording is called, as its file was; LibraryError where none is kept under that id."""
        if self._sound_of(self.folder / SOUNDS, sound_id(name)) is None:
            raise LibraryError(f"The library keeps no recording {shown(name)}.")
        words = clean_text(called, "The name of a recording", LibraryError)
        text = to_json({"name": " ".join(words.split())[:MOST_NAME]})
        self._whole(f"{SOUNDS}/{name}.json", lambda path: path.write_text(text, encoding="utf-8"))
        self._index.revision += 1  # what was made from it is called by its name

    def sound_name(self, name: str) -> str:
        """What a recording is called; "" where nobody said, or what was said cannot be read."""
        path = self.folder / SOUNDS / f"{sound_id(name)}.json"
        try:
            called = read_json(path, "The name of a recording", LibraryError).get("name", "") if _is_file(path) else ""
        except LibraryError:
            return ""
        return called[:MOST_NAME] if isinstance(called, str) else ""

    def sound_seconds(self, name: str) -> float:
        """How long a recording lasts, by its file's header; LibraryError where there is none, or it cannot be read."""
        file = self._sound_of(self.folder / SOUNDS, sound_id(name))
        if file is None:
            raise LibraryError(f"The library keeps no recording {shown(name)}.")
        try:
            return seconds_of(file)
        except SourceError as error:
            raise LibraryError(f"The recording {name} cannot be read: {error}") from None

    def forget_sound(self, name: str) -> bool:
        """Delete a recording and what it is called, unless a take starts from it; returns whether it is gone."""
        self._forget_sounds({sound_id(name)}, named=True)
        return self._sound_of(self.folder / SOUNDS, name) is None

    def sounds(self) -> list[str]:
        """Ids of all kept recordings, the one brought last first."""
        folder = self.folder / SOUNDS
        found = {name.partition(".")[0] for name in _names(folder) if is_sound_id(name.partition(".")[0])}
        kept = {name: file for name in found if (file := self._sound_of(folder, name)) is not None}
        return sorted(kept, key=lambda name: (-kept[name].stat().st_mtime, name))

    def _sound_of(self, folder: Path, name: str) -> Path | None:
        """The sound file of a take or recording in a folder, if there is one."""
        return next((file for kind in KINDS if _is_file(file := folder / f"{name}.{kind}")), None)

    # -- marking ---------------------------------------------------------------------------------------------------------

    def marks(self, name: str) -> dict[str, Any]:
        """What was said about a take: star, reject, note, tags, scores, title, batch, heard; nothing where
        its file is damaged.
        """
        return self._marks(take_id(name))[0]

    def _marks(self, name: str) -> tuple[dict[str, object], str]:
        """The marks of a take, and a sentence where they cannot be read."""
        return self._marks_at(self.folder / f"{name}.marks.json")

    def _marks_at(self, path: Path) -> tuple[dict[str, object], str]:
        if not path.exists() and not path.is_symlink():
            return {}, ""
        try:
            return manifest.checked_marks(read_json(path, "The marks", LibraryError), path.name), ""
        except LibraryError as problem:
            return {}, str(problem)

    def mark(
        self,
        name: str,
        *,
        star: bool | None = None,
        reject: bool | None = None,
        note: str | None = None,
        tags: Iterable[str] | None = None,
        scores: dict[str, float] | None = None,
        title: str | None = None,
        batch: str | None = None,
        heard: dict[str, str] | None = None,
        locks: Sequence[str] | None = None,
    ) -> Card:
        """Say something about a take; what is None stays as it was. A star takes a rejection back, and vice versa.

        `title` is what it is called from now on ("": again by what it was made from), `batch` the run that made it, `heard`
        what was heard in it that is no number, `locks` the names of the form's fields that were locked when it was made.
        LibraryError for an unknown take or a mark of another kind.
        """
        marks, unread = self._marks(self._known(name))
        said: dict[str, object] = {"star": star, "reject": reject, "note": note, "scores": scores, "tags": tags}
        new = new_marks(said | {"title": title, "batch": batch, "heard": heard, "locks": locks})
        text = to_json(marks | manifest.checked_marks(new, "The marks"))
        file = self.folder / f"{name}.marks.json"
        if unread:  # what it said may still be read by a person
            with contextlib.suppress(OSError):
                os.replace(file, file.with_suffix(".unread"))
        self._whole(file.name, lambda path: path.write_text(text, encoding="utf-8"))
        return self.card(name)

    # -- what was heard in a take, beside it -----------------------------------------------------------------------------

    def annotation(self, name: str, kind: str) -> dict[str, Any] | None:
        """What was worked out about a take and kept beside it, by its kind (`ANNOTATIONS`); None where nothing is, or where its
        file is damaged: it can be worked out again.
        """
        file = self.folder / f"{take_id(name)}.{choice('An annotation', kind, ANNOTATIONS)}.json"
        if not _is_file(file):
            return None
        try:
            return read_json(file, "The annotation", LibraryError)
        except LibraryError:
            return None

    def annotate(self, name: str, kind: str, data: Mapping[str, Any]) -> None:
        """Keep something that was worked out beside a take, in place of what was there; the take itself does not change."""
        kind = choice("An annotation", kind, ANNOTATIONS)
        text = to_json(data)
        try:
            self._whole(f"{self._known(name)}.{kind}.json", lambda path: path.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise self._refusal(kind, error, len(text)) from None

    # -- the trash -------------------------------------------------------------------------------------------------------

    def bin(self, *names: str) -> list[str]:
        """Put takes into the trash, from where `restore` brings them back for a day; returns their ids."""
        gone = [self._known(getattr(name, "id", name) if is_a(name, Take, Card) else name) for name in names]
        for name in gone:
            self._bin(name)
        return gone

    def _bin(self, name: str) -> None:
        """Move one take; on a full disk the index, which is only a mirror, makes room."""
        for attempt in range(2):
            try:
                self._trash.add(name, files_of(self.folder, name))
            except OSError as error:
                if error.errno not in FULL or attempt:
                    raise LibraryError(f"{name} cannot be binned ({error.strerror}).") from None
                self._index.to_memory()
            else:
                return

    def keep_starred(self) -> list[str]:
        """Bin every take without a star; returns the binned ids."""
        return self.bin(*[card.id for card in self.cards(star=False)])

    def trash(self) -> list[str]:
        """Ids in the trash, newest first."""
        return [binned.name for binned in self._trash]

    def restore(self, *names: str) -> list[str]:
        """Bring takes back out of the trash; returns the ids found there."""
        back: list[str] = []
        for binned in self._trash:
            if binned.name in names and binned.name not in back:
                self._trash.restore(binned, self.folder, self._lacks(binned))
                self._tidy(binned.name)
                back.append(binned.name)
        return back

    def _lacks(self, binned: TrashedTake) -> Callable[[str], bool]:
        """Which of a binned take's files are wanted back; where it was kept again meanwhile, only what that one lacks."""
        name = binned.name
        if name not in self:
            return lambda file: True
        binned_is_better = self._quality(name, binned.folder, binned.stem) > self._quality(name, self.folder, name)
        apart = (f"{name}.marks.json", f"{name}.safetensors", *(f"{name}.{kind}.json" for kind in ANNOTATIONS))
        return lambda file: not _is_file(self.folder / file) if file in apart else binned_is_better

    def _quality(self, name: str, folder: Path, stem: str) -> int:
        """2 for a take with its own sound, 1 for one with a copy of it, 0 for what cannot be opened."""
        try:
            data = self._manifest(name, folder / f"{stem}.json")
        except LibraryError:
            return 0
        return 0 if self._sound_of(folder, stem) is None else 1 + ("original" not in data["audio"])

    def _tidy(self, name: str) -> None:
        """Leave a take one sound file, the one its manifest tells of."""
        files = [file for kind in KINDS if _is_file(file := self.folder / f"{name}.{kind}")]
        for file in files if len(files) > 1 else ():
            with contextlib.suppress(LibraryError, SourceError, OSError):
                if identity.compare_with_manifest(self._manifest(name), Audio.read(file), lossy=False) == "other":
                    file.unlink()

    def empty_trash(self, older_than_hours: float = 0.0) -> None:
        """Delete what has been in the trash for so long, and the recordings only such takes started from.

        LibraryError where the hours are no number.
        """
        if isinstance(older_than_hours, bool) or not isinstance(older_than_hours, int | float):
            raise LibraryError(
                f"How long a take lies in the trash is a number of hours, not {shown(older_than_hours)}."
            )
        old = [binned for binned in self._trash if binned.hours >= older_than_hours]
        started_from = {name for binned in old for name in self._needs(binned) or ()}
        for binned in old:
            self._trash.delete(binned)
        if any(map(is_sound_id, started_from)):
            with contextlib.suppress(LibraryError):
                self._forget_sounds(started_from)

    def _forget_sounds(self, names: set[str], named: bool = False) -> None:
        """Delete recordings that no take starts from any more; none while a damaged manifest may need one. Those that bear a
        name were brought in by somebody, and stay until they are to go as well.
        """
        needed = {name for card in self.cards() for name in (*card.parents, *_sources(card.recipe))}
        binned = [self._needs(one) for one in self._trash]
        if self._damaged or None in binned:
            return
        needed |= {name for names in binned for name in names or ()}
        for name in filter(is_sound_id, names - needed):
            if self.sound_name(name) and not named:
                continue
            if (file := self._sound_of(self.folder / SOUNDS, name)) is not None:
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
                    file.with_suffix(".json").unlink(missing_ok=True)

    def _needs(self, binned: TrashedTake) -> list[str] | None:
        """What a binned take was made from; None where its manifest does not tell."""
        try:
            data = self._manifest(binned.name, binned.folder / f"{binned.stem}.json")
        except LibraryError:
            return None
        return [*data["parents"], *_sources(data["recipe"])]

    def _sweep(self) -> None:
        """Delete what kills left half-written long ago."""
        for folder in (self.folder, self.folder / SOUNDS):
            for name in filter(_DRAFT.fullmatch, _names(folder)):
                with contextlib.suppress(OSError):
                    file = folder / name
                    if _is_file(file) and time.time() - file.stat().st_mtime > DRAFT_HOURS * 3600:
                        file.unlink()

    # -- files and index -------------------------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Make the index anew from the files."""
        self._index.forget()
        self._index.in_memory = False
        self._damaged.clear()
        self._seen = 0
        self._query(self._index.ids)

    def _query(self, call: Callable[[], T]) -> T:
        """An answer of the index, brought up to date first, and filled anew where it was lost."""
        for attempt in range(_ATTEMPTS):
            try:
                self._sync()
                return call()
            except IndexLost:
                self._seen = 0
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError  # the last attempt returned or raised

    def _sync(self) -> None:
        """Bring the index up to what lies in the folder, which another process may have changed."""
        try:
            changed_at, now = self.folder.stat().st_mtime_ns, time.time_ns()
            if changed_at == self._seen and self._index.ready:
                return
            here = self._stamps()
        except OSError:
            raise LibraryError(
                f"The library folder {shown(str(self.folder), 120)} is gone. Bring it back, or open another one."
            ) from None
        known = self._index.stamps()
        if gone := set(known) - set(here):
            self._index.drop(gone)
        self._damaged = {name: found for name, found in self._damaged.items() if here.get(name) == found[0]}
        changed = [name for name, stamp in here.items() if known.get(name) != stamp and name not in self._damaged]
        if changed:
            self._index.drop(name for name in changed if name in known)
            self._index.put(self._entries(changed, here))
        self._seen = changed_at if now - changed_at > CLOCK_TICK_NS else 0  # else a later change may bear the same time

    def _entries(
        self, names: Iterable[str], stamps: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, object], dict[str, object]]]:
        """What the index is told of takes; those that cannot be read are named in `problems` instead."""
        for name in names:
            try:
                data = self._manifest(name)
                entry = stamps[name], {**data, "recipe": manifest.recipe_of(data)}, self.marks(name)
            except LibraryError as problem:
                if (self.folder / f"{name}.json").exists() or (self.folder / f"{name}.json").is_symlink():
                    self._damaged[name] = stamps[name], str(problem)
                continue
            yield entry

    def _stamps(self) -> dict[str, str]:
        """Id → size and time of its manifest and marks, for every take in the folder."""
        with os.scandir(self.folder) as entries:
            stats = {entry.name: _stamp(entry) for entry in entries if entry.name.endswith(".json")}
        names = [name.removesuffix(".json") for name in stats]
        return {
            name: " ".join(filter(None, (stats[f"{name}.json"], stats.get(f"{name}.marks.json"))))
            for name in names
            if is_take_id(name)
        }

    def _manifest(self, name: str, path: Path | None = None) -> dict[str, Any]:
        """The manifest of a take, every field of the right kind and its own; LibraryError says what is wrong."""
        path = path or self.folder / f"{name}.json"
        data = manifest.checked(read_json(path, "The manifest", LibraryError), path.name)
        if data["id"] != name:
            raise LibraryError(f"{path.name} is the manifest of another take, {data['id']}.")
        if data["format"] == identity.FORMAT and not (identity.is_proven(data) and manifest.is_intact(data)):
            raise LibraryError(
                f"{path.name} is damaged: it does not tell of {name} any more. The sound file carries its manifest as well: "
                "open that, and keep it again."
            )
        return data

    def _known(self, name: str) -> str:
        """The id, where the library keeps it; LibraryError otherwise."""
        if take_id(name) not in self:
            raise LibraryError(f"The library {shown(str(self.folder), 120)} keeps no take {name!r}.")
        return name

    def _refusal(self, what: str, error: Exception, size: int) -> LibraryError:
        """Why something of so many bytes could not be written, as a person would say it."""
        why = str(error.strerror if isinstance(error, OSError) else error).rstrip(".")
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.folder).free
            if not os.access(self.folder, os.W_OK):
                why = "the folder is write-protected"
            elif free < size:
                why = f"there is no space left on the disk ({free / 2**20:.1f} MB are free)"
        return LibraryError(f"The {what} could not be kept in {shown(str(self.folder), 100)}: {why}.")

    def _discard(self, name: str) -> None:
        """Remove what was written of a take, as far as the disk lets us; never raises."""
        for kind in ("json", "safetensors", *KINDS):
            with contextlib.suppress(OSError):
                (self.folder / f"{name}.{kind}").unlink(missing_ok=True)

    def _whole(self, name: str, write: Callable[[Path], object]) -> Path:
        """Write one file whole, and on the disk, or not at all."""
        return write_whole(self.folder / name, write)


def _is_file(path: Path) -> bool:
    """Whether there is an ordinary file; no where the disk does not answer."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _names(folder: Path) -> list[str]:
    """Names in a folder; none where it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _stamp(entry: os.DirEntry[str]) -> str:
    """What changes whenever a file does."""
    try:
        facts = entry.stat()
    except OSError:
        return "unreadable"
    return f"{facts.st_mtime_ns}:{facts.st_size}"


def check_can_be_kept(take: object) -> None:
    """LibraryError for what is no take, or a take without a sound."""
    if not is_a(take, Take) or not isinstance(take, Take):  # the second for the type checker: a liar raises there
        raise LibraryError(f"A library keeps takes, not {shown(take)}.")
    if not take.audio.samples.size:
        raise LibraryError("The take's sound has no samples: there is nothing to keep.")
    if not np.isfinite(take.audio.samples).all():
        raise LibraryError("The take's sound holds samples that are not numbers (NaN or infinite): it cannot be kept.")


def new_marks(asked: dict[str, object]) -> dict[str, object]:
    """Marks as plain data, without those that are None; a star takes a rejection back, and vice versa. LibraryError."""
    try:
        if asked["tags"] is not None:
            tags = sequence("A mark's tags", asked["tags"], 1000)
            asked["tags"] = sorted({checked_text("A tag", tag) for tag in tags})
        new = {what: plain(f"A mark's {what}", value) for what, value in asked.items()}
    except RecipeError as problem:
        raise LibraryError(str(problem)) from None
    if asked["star"] is True:
        new["reject"] = False
    if asked["reject"] is True:
        new["star"] = False
    return {key: value for key, value in new.items() if value is not None}


def _sources(recipe: Any) -> list[str]:
    """Ids that a recipe, as plain data, starts from."""
    task = recipe.get("task")
    found = [task.get(name) for name in ("source", "reference")] if isinstance(task, dict) else []
    return [name for name in found if isinstance(name, str)]


def match_recording(audio: Audio, name: str) -> identity.Match:
    """Whether a recording is the one of an id, the signs of its zeros aside, which an older FLAC of it lost."""
    if audio.id == name:
        return "same"
    salt = str(audio.rate).encode()[:16]
    return identity.match_signs(
        audio.samples, lambda: hashlib.blake2b(digest_size=8, salt=salt), name.removeprefix("audio-")
    )


def library_at(library: Any = None) -> Library:
    """A library at hand, or the one in a folder; the default one's where none is named. RecipeError for anything else."""
    if is_a(library, Library):
        return library
    return Library(default_folder() if library is None else place("A library's folder", library))


def default_folder() -> Path:
    """Where takes are kept unless told otherwise: `ACESTEP_LAB_TAKES`, or this user's data folder."""
    from platformdirs import user_data_path

    return Path(VARIABLES.get("ACESTEP_LAB_TAKES") or user_data_path("acestep_lab") / "takes")
