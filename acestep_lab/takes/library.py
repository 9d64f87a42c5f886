"""The Library: a folder that keeps takes, each whole or not at all.

Knows takes and files; no model. A take is three files named by its id: the sound (FLAC, 24 bit, with the manifest in
its comment), the latent (safetensors) and the manifest (JSON) — the last written, so that a manifest means a take.
What a musician says about it (star, reject, note, tags, scores) is a fourth, small one. The index is only a mirror.
Recordings that takes start from lie in `sounds/`, sample for sample, so that such a take can be made again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from acestep_lab.decode.audio import Audio, can_write, draft_of, tags
from acestep_lab.errors import LibraryError, SourceError
from acestep_lab.takes import manifest
from acestep_lab.takes.index import Card, Index
from acestep_lab.takes.take import Take

TRASH_HOURS = 24.0
"""How long a binned take can be brought back."""

CLOCK_TICK_NS = 100_000_000
"""A folder changed more recently than this may change again without its time changing."""

SOUNDS = "sounds"
"""The folder of recordings, inside the library's."""

_KINDS = ("flac", "safetensors", "marks.json", "json")


class Library:
    """Kept takes in one folder, newest first; several processes may use one folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self._make_folder()
        self._index = Index(self.folder / ".index.sqlite")
        self._seen = 0
        self.empty_trash(older_than_hours=TRASH_HOURS)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(f"The library folder {str(self.folder)!r} cannot be made ({error.strerror}).") from None

    def __repr__(self) -> str:
        return f"<Library of {len(self)} takes in {str(self.folder)!r}>"

    def __len__(self) -> int:
        return len(self.ids())

    def __iter__(self) -> Iterator[Take]:
        return (self.open(name) for name in self.ids())

    def __contains__(self, take: Take | str) -> bool:
        return self._file(take.id if isinstance(take, Take) else take, "json").is_file()

    def close(self) -> None:
        """Let the index's file go."""
        self._index.close()

    # -- looking ---------------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Ids of all kept takes, newest first."""
        self._sync()
        return self._index.ids()

    def takes(self, most: int | None = None) -> list[Take]:
        """Kept takes, newest first, each with its sound."""
        return [self.open(name) for name in self.ids()[:most]]

    def cards(self, query: str = "", most: int | None = None, **where: object) -> list[Card]:
        """Cards (no sound is read), newest first. All words of `query` must occur; `star=True` and such narrow further."""
        self._sync()
        return self._index.cards(query, most, **where)

    def card(self, name: str) -> Card:
        """The card of one take."""
        found = self.cards(id=self._known(name))
        if not found:
            raise LibraryError(f"The library keeps no take {name!r}.")
        return found[0]

    def children(self, name: str) -> list[Card]:
        """Cards of the takes made from this one."""
        return [card for card in self.cards() if name in card.parents]

    def open(self, name: str) -> Take:
        """Read a kept take by its id; LibraryError where there is none or its files are damaged."""
        story = self._file(name, "json")
        if not story.is_file():
            raise LibraryError(f"The library {str(self.folder)!r} keeps no take {name!r}.")
        facts = manifest.from_text(story.read_text(encoding="utf-8"), story.name)
        try:
            return manifest.rebuild(
                facts, Audio.read(self._file(name, "flac")), _latent(self._file(name, "safetensors"))
            )
        except SourceError as error:
            raise LibraryError(f"The sound of {name} cannot be read: {error}") from None

    def sound(self, name: str) -> Path:
        """The sound file of a take."""
        return self._file(self._known(name), "flac")

    # -- keeping ---------------------------------------------------------------------------------------------------------

    def keep(self, take: Take) -> Path:
        """Write a take and return its sound file; keeping it twice changes nothing."""
        sound = self._file(take.id, "flac")
        if take in self:
            return sound
        story = manifest.describe(take)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            take.audio.write(sound, comment=manifest.to_text(story), title=take.recipe.caption[:200] or take.id)
            self._whole(take.id, "safetensors", lambda path: save_file({"latent": np.array(take.latent)}, path))
            self._whole(take.id, "json", lambda path: path.write_text(manifest.to_text(story), encoding="utf-8"))
        except (OSError, SourceError) as error:
            for kind in _KINDS:
                self._file(take.id, kind).unlink(missing_ok=True)
            raise LibraryError(f"The take could not be kept in {str(self.folder)!r}: {error}") from None
        self._index.put([(self._stamp(take.id), story, self.marks(take.id))])
        return sound

    def keep_sound(self, audio: Audio) -> Path:
        """Write a recording that a take starts from, sample for sample; keeping it twice changes nothing."""
        known = self._sound_file(audio.id)
        if known is not None:
            return known
        kind = "flac" if audio.channels <= 2 and audio == audio.on_grid() else "wav"
        target = self.folder / SOUNDS / f"{audio.id}.{kind}"
        try:
            target.parent.mkdir(exist_ok=True)
            return audio.write(target)
        except (OSError, SourceError) as error:
            raise LibraryError(f"The recording could not be kept in {str(self.folder)!r}: {error}") from None

    def open_sound(self, name: str) -> Audio:
        """Read a kept recording by its id; LibraryError where there is none or its file is damaged."""
        file = self._sound_file(name)
        if file is None:
            raise LibraryError(f"The library {str(self.folder)!r} keeps no recording {name!r}.")
        try:
            return Audio.read(file)
        except SourceError as error:
            raise LibraryError(f"The recording {name} cannot be read: {error}") from None

    def _sound_file(self, name: str) -> Path | None:
        """The file of a kept recording, if there is one."""
        places = [self._file(name, kind) for kind in ("flac", "wav")]
        return next((found for place in places if (found := self.folder / SOUNDS / place.name).is_file()), None)

    # -- marking ---------------------------------------------------------------------------------------------------------

    def marks(self, name: str) -> dict[str, Any]:
        """What was said about a take: star, reject, note, tags, scores."""
        path = self._file(name, "marks.json")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return said if isinstance(said, dict) else {}

    def mark(
        self,
        name: str,
        *,
        star: bool | None = None,
        reject: bool | None = None,
        note: str | None = None,
        tags: Iterable[str] | None = None,
        scores: dict[str, float] | None = None,
    ) -> Card:
        """Say something about a take; what is None stays as it was. A star takes a rejection back, and vice versa."""
        said = self.marks(self._known(name))
        new: dict[str, Any] = {"star": star, "reject": reject, "note": note, "scores": scores}
        new["tags"] = None if tags is None else sorted(set(tags))
        if star:
            new["reject"] = False
        if reject:
            new["star"] = False
        said |= {key: value for key, value in new.items() if value is not None}
        self._whole(
            name,
            "marks.json",
            lambda path: path.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8"),
        )
        self._sync()
        return self.card(name)

    # -- the trash -------------------------------------------------------------------------------------------------------

    def bin(self, *names: str) -> list[str]:
        """Put takes into the trash, from where `restore` brings them back for a day; returns their ids."""
        gone = [self._known(getattr(name, "id", name)) for name in names]
        for name in gone:
            target = self.folder / ".trash" / f"{time.time_ns()}-{name}"
            target.mkdir(parents=True)
            for kind in reversed(_KINDS):  # the manifest first: from then on the take is gone, whole
                if (file := self._file(name, kind)).is_file():
                    os.replace(file, target / file.name)
        self._index.drop(gone)
        return gone

    def keep_starred(self) -> list[str]:
        """Bin every take without a star; returns the binned ids."""
        return self.bin(*[card.id for card in self.cards(star=False)])

    def trash(self) -> list[str]:
        """Ids in the trash, newest first."""
        return [place.name.split("-", 1)[1] for place in self._binned()]

    def restore(self, *names: str) -> list[str]:
        """Bring takes back out of the trash; returns the ids found there."""
        back = []
        for place in self._binned():
            name = place.name.split("-", 1)[1]
            if name in names and name not in back:
                for kind in _KINDS:
                    if (place / f"{name}.{kind}").is_file():
                        os.replace(place / f"{name}.{kind}", self._file(name, kind))
                shutil.rmtree(place, ignore_errors=True)
                back.append(name)
        self._sync()
        return back

    def empty_trash(self, older_than_hours: float = 0.0) -> None:
        """Delete what has been in the trash for so long, and the recordings only such takes started from."""
        old = [
            place
            for place in self._binned()
            if time.time_ns() - int(place.name.split("-", 1)[0]) >= older_than_hours * 3600e9
        ]
        started_from = {name for place in old for name in _parents(place)}
        for place in old:
            shutil.rmtree(place, ignore_errors=True)
        if started_from:
            needed = {name for card in self.cards() for name in card.parents}
            needed |= {name for place in self._binned() for name in _parents(place)}
            for name in started_from - needed:
                if (file := self._sound_file(name)) is not None:
                    file.unlink(missing_ok=True)

    def _binned(self) -> list[Path]:
        folder = self.folder / ".trash"
        return sorted(folder.glob("*-take-*"), reverse=True) if folder.is_dir() else []

    # -- files and index -------------------------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Make the index anew from the files."""
        self._index.close()
        for suffix in ("", "-wal", "-shm"):
            self._index.path.with_name(self._index.path.name + suffix).unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        """Bring the index up to what lies in the folder, which another process may have changed."""
        if not self.folder.is_dir():
            raise LibraryError(f"The library folder {str(self.folder)!r} is gone. Bring it back, or open another one.")
        changed_at, now = self.folder.stat().st_mtime_ns, time.time_ns()
        if changed_at == self._seen and self._index.path.exists():
            return
        here, known = self._stamps(), self._index.stamps()
        if gone := set(known) - set(here):
            self._index.drop(gone)
        if changed := [name for name, stamp in here.items() if known.get(name) != stamp]:
            self._index.put(self._entries(changed, here))
        self._seen = changed_at if now - changed_at > CLOCK_TICK_NS else 0  # else a later change may bear the same time

    def _entries(
        self, names: Iterable[str], stamps: dict[str, str]
    ) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        for name in names:
            try:
                story = manifest.from_text(self._file(name, "json").read_text(encoding="utf-8"), name)
            except (
                FileNotFoundError,
                LibraryError,
            ):  # binned by another process just now, or not one of ours
                continue
            yield stamps[name], story, self.marks(name)

    def _stamps(self) -> dict[str, str]:
        """Id → size and time of its manifest and marks, for every take in the folder."""
        with os.scandir(self.folder) as entries:
            files = [e for e in entries if e.name.startswith("take-") and e.name.endswith(".json")]
            marks = {e.name.removesuffix(".marks.json"): e.stat() for e in files if e.name.endswith(".marks.json")}
            plain = ((e.name.removesuffix(".json"), e.stat()) for e in files if not e.name.endswith(".marks.json"))
            return {name: _stamp(facts, marks.get(name)) for name, facts in plain}

    def _stamp(self, name: str) -> str:
        """The same for one take."""
        marks = self._file(name, "marks.json")
        return _stamp(self._file(name, "json").stat(), marks.stat() if marks.exists() else None)

    def _known(self, name: str) -> str:
        """The id, where the library keeps it; LibraryError otherwise."""
        if name not in self:
            raise LibraryError(f"The library {str(self.folder)!r} keeps no take {name!r}.")
        return name

    def _file(self, name: str, kind: str) -> Path:
        """The path of one of a take's files; a name that leaves the folder is refused."""
        if not name or Path(name).name != name or name.startswith(".") or "\\" in name or "\0" in name:
            raise LibraryError(f"{name!r} is no take's name.")
        return self.folder / f"{name}.{kind}"

    def _whole(self, name: str, kind: str, write: Callable[[Path], object]) -> None:
        """Write a file under a draft name and move it into place."""
        target = self._file(name, kind)
        draft = draft_of(target)
        try:
            write(draft)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)


def _stamp(story: os.stat_result, marks: os.stat_result | None) -> str:
    """What changes whenever a take's manifest or marks do."""
    return " ".join(f"{facts.st_mtime_ns}:{facts.st_size}" for facts in (story, marks) if facts is not None)


def _parents(binned: Path) -> list[str]:
    """What a binned take was made from."""
    for file in binned.glob("take-*.json"):
        if not file.name.endswith(".marks.json"):
            try:
                return list(manifest.from_text(file.read_text(encoding="utf-8"), file.name)["parents"])
            except (OSError, LibraryError):
                return []
    return []


def read_file(path: str | os.PathLike[str]) -> Take:
    """Read a take out of any of our sound files; its latent comes along where it lies beside the file.

    FLAC and Opus carry the manifest inside; beside a WAV or MP3 it lies as a `.json` of the same name.
    """
    file = Path(path).expanduser()
    audio = Audio.read(file)
    comment = tags(file).get("comment", "")
    beside = file.with_suffix(".json")
    if not comment.startswith("{") and beside.is_file():
        comment = beside.read_text(encoding="utf-8")
    return manifest.rebuild(manifest.from_text(comment, file.name), audio, _latent(file.with_suffix(".safetensors")))


def _latent(path: Path) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        return np.asarray(load_file(path)["latent"])
    except (SafetensorError, KeyError):
        raise LibraryError(
            f"The latent {path.name!r} is damaged; move it away to open the take by its sound."
        ) from None


_INSIDE = ("flac", "ogg", "opus")
"""Files whose comment holds a whole manifest; others get it beside them."""


def export(take: Take, path: str | os.PathLike[str]) -> Path:
    """Write a take as .flac, .wav (float), .opus, .ogg, .mp3 — or .zip: FLAC, latent and manifest together."""
    target = Path(path)
    if target.suffix.lower() == ".zip":
        return _export_zip(take, target)
    target, kind = can_write(target)
    story = manifest.to_text(manifest.describe(take))
    take.audio.write(target, comment=story if kind in _INSIDE else take.id, title=take.recipe.caption[:200] or take.id)
    if kind not in _INSIDE:
        target.with_suffix(".json").write_text(story, encoding="utf-8")
    return target


def _export_zip(take: Take, target: Path) -> Path:
    can_write(target.with_suffix(".flac"))
    with tempfile.TemporaryDirectory(dir=target.parent) as draft:
        folder = Path(draft)
        export(take, folder / f"{take.id}.flac")
        save_file({"latent": np.array(take.latent)}, folder / f"{take.id}.safetensors")
        (folder / f"{take.id}.json").write_text(manifest.to_text(manifest.describe(take)), encoding="utf-8")
        with zipfile.ZipFile(folder / "whole.zip", "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.glob(f"{take.id}.*")):
                archive.write(file, file.name)
        os.replace(folder / "whole.zip", target)
    return target
