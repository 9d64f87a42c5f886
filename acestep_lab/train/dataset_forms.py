"""A folder's sounds and everything said of them, in whatever form: the rows of a data set.

Knows files and forms. Nothing outside the folder is read, whatever a table or a link says; a file that cannot be used costs
itself, and a problem names it. Sounds are not decoded here: their heads tell how long they are.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from acestep_lab.audio import reading
from acestep_lab.errors import SourceError, shown
from acestep_lab.prompt.checks import place as named_place
from acestep_lab.takes.library import Problem
from acestep_lab.train import dataset_sidecars as sidecars
from acestep_lab.train.dataset_rows import MOST_SONGS
from acestep_lab.train.dataset_tables import TABLES, Entry, Table, read_table
from acestep_lab.train.song import Song
from acestep_lab.train.told import Told, together

SOUNDS = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .caf .au .snd .w64 .rf64 .m4a .mp4 .aac .webm .mka .mkv .mov .wma .ac3 .wv .ape "
    ".tta .mpc .dsf .dff .amr".split()
)
"""Endings of the sounds that are looked at."""

_METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass
class Found:
    """A folder's files by their place in it, and what was left out."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_case: dict[str, str] | None = None
        self._by_name: dict[str, list[str]] | None = None

    def find(self, name: str) -> Path | None:
        """A file by its place, whatever the case of its letters; None where there is none."""
        if self._by_case is None:
            self._by_case = {folded(one): one for one in self.files}
        return self.files.get(name) or self.files.get(self._by_case.get(folded(name), ""))

    def sounds(self) -> list[str]:
        """Places of all sounds, in order."""
        return [name for name in sorted(self.files) if posixpath.splitext(name)[1].lower() in SOUNDS]

    def sound_at(self, places: Iterable[str], base: str) -> tuple[str, str]:
        """The sound that a table in `base` means, or "" and a sentence that says why there is none."""
        sentence = ""
        for place in places:
            name, outside = _inside(place, base, self.root)
            for candidate in self._candidates(name, place):
                return candidate, ""
            short = shown(posixpath.basename(place.replace("\\", "/")), 80)
            sentence = sentence or (
                f"{short} lies outside the folder and is never read; copy it into the folder."
                if outside
                else f"There is no sound {short} in the folder, or several go by that name."
            )
        return "", sentence

    def _candidates(self, name: str, place: str) -> list[str]:
        """The one sound of this place, else of this file name, else of this name without an ending."""
        if self._by_name is None:
            self._by_name = _by_name(self.sounds())
        base = folded(posixpath.basename(place.replace("\\", "/")))
        alike = self._by_name.get("/" + folded(name), []) if name else []
        exact = [name] if name in alike else alike  # letter for letter, where several differ in case alone
        found = exact or self._by_name.get(base, []) or self._by_name.get("." + base, [])
        return found if len(found) == 1 else []


def folded(name: str) -> str:
    """A name as it is compared: small letters in one normal form, as a Mac writes "é" as two characters and a table as one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _by_name(sounds: Iterable[str]) -> dict[str, list[str]]:
    """Sounds by "/" and their place, by their file name, and by "." and that without its ending; `folded`."""
    found: dict[str, list[str]] = {}
    for name in sounds:
        base = folded(posixpath.basename(name))
        for key in ("/" + folded(name), base, "." + posixpath.splitext(base)[0]):
            found.setdefault(key, []).append(name)
    return found


def _inside(place: str, base: str, root: Path) -> tuple[str, bool]:
    """A place in the folder that a table in `base` names, "" where it points elsewhere; and whether it does."""
    path = place.replace("\\", "/").strip()
    if path.startswith("/") or re.match(r"[A-Za-z]:|~", path):
        start = root.as_posix().rstrip("/") + "/"
        return (posixpath.normpath(path[len(start) :]), False) if path.startswith(start) else ("", True)
    name = posixpath.normpath(posixpath.join(base, path))
    return ("", True) if name == ".." or name.startswith("../") else (name, False)


def listing(root: Path) -> Found:
    """Every file in a folder and the folders below it; hidden ones and links that leave the folder are left out."""
    found = Found(root)
    for folder, folders, names in os.walk(root, onerror=lambda error: _unreadable(found, error)):
        above = "" if Path(folder) == root else Path(folder).relative_to(root).as_posix() + "/"
        for name in [n for n in folders if os.path.islink(os.path.join(folder, n))]:
            found.problems.append(Problem(above + _printable(name), "This link to a folder is not followed."))
        for name in [n for n in folders if _printable(n) != n]:
            found.problems.append(Problem(above + _printable(name), "This name is no text (UTF-8); rename the folder."))
        folders[:] = sorted(n for n in folders if not n.startswith((".", "__")) and _printable(n) == n)
        for name in sorted(names):
            _list(found, folder, above, name)
        if len(found.files) > MOST_SONGS:
            raise SourceError(f"{shown(str(root), 120)} holds more than {MOST_SONGS:,} files; scan a folder of songs.")
    return found


def _list(found: Found, folder: str, above: str, name: str) -> None:
    path = os.path.join(folder, name)
    if name.startswith("."):
        return
    if _printable(name) != name:
        found.problems.append(Problem(above + _printable(name), "This name is no text (UTF-8); rename the file."))
    elif os.path.islink(path) and not _stays(path, found.root):
        found.problems.append(Problem(above + name, "This link leads out of the folder and is not read."))
    else:
        found.files[above + name] = Path(path)


def _stays(path: str, root: Path) -> bool:
    try:
        return Path(path).resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # a link to nowhere, or to itself
        return False


def _unreadable(found: Found, error: OSError) -> None:
    name = os.path.relpath(str(error.filename or found.root), found.root)
    found.problems.append(Problem(_printable(name), f"This folder cannot be read ({error.strerror})."))


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


# -- rows --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """What was scanned: songs, what was left out, and what a table says of the whole."""

    songs: tuple[Song, ...]
    problems: tuple[Problem, ...]
    about: Mapping[str, object]
    folder: Path


def scan(place: str | os.PathLike[str], on_file: Callable[[int, int], object] | None = None) -> Rows:
    """The songs in a folder, or those that one table names; SourceError where there is none.

    `on_file` is called with (files done, files) and may raise to stop.
    """
    path = reading.path_of(named_place("A folder of songs", place, SourceError))
    try:
        root = path.resolve(strict=True)
    except (OSError, RuntimeError) as problem:
        raise SourceError(f"There is no folder {shown(str(path), 120)} ({_why(problem)}).") from None
    if root.is_dir():
        return _Scan(listing(root), on_file).folder()
    if root.suffix.lower() not in TABLES:
        raise SourceError(f"{shown(root.name)} is neither a folder of songs nor a table ({', '.join(TABLES)}).")
    return _Scan(listing(root.parent), on_file).table(root.name)


def _why(problem: Exception) -> str:
    return str(getattr(problem, "strerror", None) or problem)[:80].lower()


class _Scan:
    """One scan under way: what is told of each sound, by form."""

    def __init__(self, found: Found, on_file: Callable[[int, int], object] | None) -> None:
        self.found, self.problems = found, list(found.problems)
        self.on_file = on_file or (lambda done, all_: None)
        self.about: Mapping[str, object] = {}

    def folder(self) -> Rows:
        """Everything in the folder."""
        sounds = self.found.sounds()
        if not sounds:
            raise SourceError(f"There is no sound in {shown(self.found.root.name)}. {self._first_problem()}")
        first, later = self._tables(sounds)
        songs = self._songs(sounds, first, later)
        return self._rows(songs)

    def table(self, name: str) -> Rows:
        """Only what one table names, and says."""
        table = read_table(self.found.root / name, name)
        if table is None or not table.entries:
            why = table.problems[0].sentence if table and table.problems else "It names no sounds."
            raise SourceError(f"{shown(name)} is no table of songs. {why}")
        told: dict[str, list[Entry]] = {}
        self._add(table, told)
        return self._rows(self._songs(list(told), told, {}, alone=True))

    def _rows(self, songs: list[Song]) -> Rows:
        if not songs:
            raise SourceError(
                f"None of the sounds of {shown(self.found.root.name)} can be read. {self._first_problem()}"
            )
        return Rows(tuple(songs), tuple(self.problems), self.about, self.found.root)

    def _first_problem(self) -> str:
        return str(self.problems[0])[:150] if self.problems else "WAV, FLAC, OGG, Opus, MP3, AIFF and M4A are read."

    def _tables(self, sounds: list[str]) -> tuple[dict[str, list[Entry]], dict[str, list[Entry]]]:
        """What tables say of each sound: metadata files, which come before what lies beside it, and others."""
        beside = {folded(posixpath.splitext(name)[0]) for name in sounds}
        first: dict[str, list[Entry]] = {}
        later: dict[str, list[Entry]] = {}
        names = [n for n in sorted(self.found.files) if posixpath.splitext(n)[1].lower() in TABLES]
        for name in sorted(names, key=_table_order):
            stem, kind = posixpath.splitext(name)
            if kind.lower() == ".json" and folded(stem) in beside:
                continue
            table = read_table(self.found.files[name], name)
            if table is not None:
                self._add(table, first if posixpath.basename(name).lower() in _METADATA else later)
        return first, later

    def _add(self, table: Table, told: dict[str, list[Entry]]) -> None:
        self.problems += table.problems
        self.about = self.about or table.about
        base = posixpath.dirname(table.name)
        for entry in table.entries:
            sound, sentence = self.found.sound_at(entry.places, base)
            if sound:
                told.setdefault(sound, []).append(entry)
            else:
                self.problems.append(Problem(table.name, sentence))

    def _songs(
        self, sounds: list[str], first: Mapping[str, list[Entry]], later: Mapping[str, list[Entry]], alone: bool = False
    ) -> list[Song]:
        songs = []
        for done, name in enumerate(sounds):
            self.on_file(done, len(sounds))
            try:
                head = reading.head(self.found.files[name])
            except SourceError as problem:
                self.problems.append(Problem(name, str(problem)))
                continue
            comment = head.tags.get("comment", "")
            told = self._told(name, comment, first.get(name, []), later.get(name, []), alone)
            songs.append(_song(name, self.found.files[name], head.seconds, told))
        return songs

    def _told(self, name: str, comment: str, first: list[Entry], later: list[Entry], alone: bool) -> list[Told]:
        own = sidecars.from_comment(comment, posixpath.basename(name))
        whole = [entry.told for entry in first if entry.told.whole][:1]
        before = whole or [entry.told for entry in first]
        if whole or alone:
            return [*before, Told(own.where, take=own.take)]
        after = [entry.told for entry in later]
        return [*before, *sidecars.beside(name, self.found.find), *after, own]


def _table_order(name: str) -> tuple[int, str]:
    """Tables of measured tempo and key before the reference's, which may have guessed them."""
    return TABLES.index(posixpath.splitext(name)[1].lower()), name


def _song(name: str, path: Path, seconds: float, told: list[Told]) -> Song:
    all_ = together(told)
    return Song(name, seconds, all_.labels, path, all_.take, all_.remarks, all_.repeat, all_.given)
