"""Data sets as other programs open them: audiofolder's metadata.jsonl with its sounds, and the reference's JSON.

Knows songs and files. Sources, locks and certainty go along in places that other programs leave aside. The rules by which
`datasets` finds files and splits are those of its `data_files.py` and `folder_based_builder.py` (version 4).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType

from acestep_lab.audio.reading import path_of
from acestep_lab.errors import LabError, LibraryError, RecipeError, SourceError, shown, warn_caller
from acestep_lab.files import mended_text, open_ordinary, read_bytes, write_whole
from acestep_lab.train.dataset_tables import MOST_TABLE, OURS, OWN_FIELDS, line, marks_text, read_jsonl
from acestep_lab.train.labels import FIELDS, TEXTS, Value, read_value
from acestep_lab.train.song import Song

METADATA = "metadata.jsonl"
AUDIOFOLDER = frozenset(
    ".aiff .au .avr .caf .flac .htk .svx .mat4 .mat5 .mpc2k .ogg .paf .pvf .raw .rf64 .sd2 .sds .ircam .voc .w64 .wav .nist .wavex "
    ".wve .xi .mp3 .opus".split()
)
"""Endings that audiofolder takes for sounds."""

_SPLITS = re.compile(
    r"(?:^|[-._ 0-9/])(?:train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?:$|[-._ 0-9/])"
)
"""Words in a file's name by which `datasets` sorts it into a split, and then leaves out every file without one."""

_UNFIT = re.compile(r"[^\w \-.()&+',]+")
_KEYS = {"instrumental": "is_instrumental", "tag": "custom_tag"}


class DatasetWarning(UserWarning):
    """Something about a data set that other programs will trip over."""


# -- audiofolder -------------------------------------------------------------------------------------------------------


def write(
    songs: Sequence[Song],
    place: str | os.PathLike[str],
    own: Path | None,
    overwrite: bool,
    about: Mapping[str, object] = MappingProxyType({}),
) -> Path:
    """Write metadata.jsonl and the sounds into a folder; the folder."""
    folder = path_of(place)
    root, here, before = may_write(folder, own, overwrite)
    new: list[Path] = []
    try:
        names = _put_all(songs, root, here, new)
        _write_text(root / METADATA, "\n".join(_lines(songs, names, about)) + "\n")
    except LabError:
        for path in new:  # half a data set is none, and would stand in the way of the next try
            _forget(path, songs)
        raise
    for stale in set(before) - set(names.values()):
        _forget(root / stale, songs)
    _warn_of_splits(list(names.values()))
    return folder


def metadata_text(songs: Sequence[Song], own: Path | None, about: Mapping[str, object]) -> str:
    """What metadata.jsonl would say, each sound by its place beside the file, or by the song's name where it lies elsewhere."""
    names = {song.name: (_own_place(song, own) if own is not None else "") or song.name for song in songs}
    return mended_text("\n".join(_lines(songs, names, about)) + "\n")


def may_write(folder: Path, own: Path | None, overwrite: bool) -> tuple[Path, bool, list[str]]:
    """Make the folder, and refuse one that holds others' things; LibraryError. To be asked before any work.

    The folder resolved, whether it is the songs' own, and the sounds that an earlier writing put there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        root = folder.resolve(strict=True)
    except OSError as problem:
        raise LibraryError(f"The folder {shown(str(folder), 120)} cannot be made ({problem.strerror}).") from None
    here = own is not None and root == own
    return root, here, [] if here else _written_before(root, overwrite)


def _put_all(songs: Sequence[Song], root: Path, here: bool, new: list[Path]) -> dict[str, str]:
    """Put every sound into a folder; their names there by the songs'. `new` gets what was not there before."""
    names: dict[str, str] = {}
    used = {METADATA} | {_own_place(song, root).casefold() for song in songs if here}
    for song in songs:
        names[song.name] = (_own_place(song, root) if here else "") or _place(song, root, used, new)
        used.add(names[song.name].casefold())
    return names


def _lines(songs: Sequence[Song], names: Mapping[str, str], about: Mapping[str, object]) -> list[str]:
    """A line for each song; what is said of the whole, such as where its tag stands, is in every one."""
    whole = {"about": json.dumps(dict(about), ensure_ascii=False)} if about else {}
    rows = [row(song, names[song.name]) | whole for song in songs]
    with_given = any(one["given"] for one in rows)
    return [line(one if with_given else {k: v for k, v in one.items() if k != "given"}) for one in rows]


def row(song: Song, file_name: str) -> dict[str, object]:
    """One line of metadata.jsonl: the same columns, of the same types, for every song."""
    words = {name: song.labels[name].value for name in FIELDS}
    texts = {
        name: "" if words[name] is None else words[name] for name in (*TEXTS, "language", "keyscale", "timesignature")
    }
    return {
        "file_name": file_name,
        **words,
        **texts,
        "seconds": float(song.seconds),
        "repeat": song.repeat,
        **marks_text(song.labels),
        "take": song.take,
        "given": json.dumps(song.given, ensure_ascii=False) if song.given else "",
    }


def _written_before(root: Path, overwrite: bool) -> list[str]:
    """The sounds that we wrote into this folder before; LibraryError where others' things lie there."""
    try:
        others = [name for name in os.listdir(root) if not name.startswith(".")]
    except OSError as problem:
        raise LibraryError(f"The folder {shown(str(root), 120)} cannot be read ({problem.strerror}).") from None
    if not others:
        return []
    if METADATA not in others:
        raise LibraryError(f"{shown(root.name)} holds other files; write the data set into an empty folder.")
    if not overwrite:
        raise LibraryError(f"{shown(root.name)} holds a data set already; overwrite=True replaces it.")
    try:
        table = read_jsonl(read_bytes(root / METADATA, "The table", SourceError, MOST_TABLE), METADATA)
    except (SourceError, RecipeError) as problem:
        raise LibraryError(f"The data set there cannot be read, so it is not replaced: {problem}") from None
    return [entry.places[0] for entry in table.entries if entry.told.whole and _is_plain(entry.places[0])]


def _is_plain(name: str) -> bool:
    return Path(name).name == name and name not in ("", METADATA) and not name.startswith(".")


def _forget(path: Path, songs: Sequence[Song]) -> None:
    """Remove a copy that an earlier writing made, unless a song is read from it."""
    if path not in {song.path.resolve() for song in songs if song.path is not None}:
        try:
            path.unlink(missing_ok=True)
        except OSError as problem:
            raise LibraryError(f"{shown(path.name)} cannot be removed ({problem.strerror}).") from None


def _own_place(song: Song, root: Path) -> str:
    """Where a song's sound lies in a folder already, "" where it does not."""
    return song.path.relative_to(root).as_posix() if song.path is not None and song.path.is_relative_to(root) else ""


def _place(song: Song, root: Path, used: Set[str], new: list[Path]) -> str:
    """Put a song's sound into a folder; its name there. `used` are names that are taken, in small letters."""
    kind = _kind(song)
    for name in _names(song.name, kind):
        target = root / name
        if name.casefold() in used:
            continue
        if not os.path.lexists(target):
            _put(song, target)
            new.append(target)
            return name
        if song.path is not None and _same_bytes(song, target):
            return name
    raise LibraryError(f"{shown(root.name)} has no free name for {shown(song.name, 80)}.")


def _kind(song: Song) -> str:
    """The ending a sound is written under: its own where audiofolder knows it."""
    if song.path is None:
        return f".{song.audio().lossless_kind}"
    kind = song.path.suffix.lower()
    return kind if kind in AUDIOFOLDER else ".flac"


def _names(name: str, kind: str) -> Iterator[str]:
    """Names for a file, the nearest to its own first: none hidden, none that says "train" or "test" to `datasets`."""
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name.replace("/", " - "))
    stem = _UNFIT.sub("_", stem).strip(" ._")[:80].strip(" ._") or "song"
    if _SPLITS.search(stem + kind) or stem.upper() in ("CON", "PRN", "AUX", "NUL"):
        stem = f"song {hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
    yield stem + kind
    yield from (f"{stem} ({number}){kind}" for number in range(2, 10_000))


def _put(song: Song, target: Path) -> None:
    """Write a sound: byte for byte where its form is kept, else as FLAC."""
    path = song.path
    if path is not None and path.suffix.lower() == target.suffix:

        def copy(draft: Path) -> None:
            with open_ordinary(path, "The sound", SourceError) as source, draft.open("xb") as copied:
                shutil.copyfileobj(source, copied, 2**20)

        write_whole(target, copy, "The sound", LibraryError)
    elif song.held is not None:
        song.held.export(target)
    else:
        song.audio().write(target)


def _same_bytes(song: Song, target: Path) -> bool:
    """Whether a song's own file lies there already, byte for byte."""
    path = song.path
    if path is None or target.is_symlink() or not target.is_file() or path.suffix.lower() != target.suffix:
        return False
    try:
        if path.resolve() == target:
            return True
        if path.stat().st_size != target.stat().st_size:
            return False
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == song.sound_hash
    except OSError:  # one of them went away: then they are not the same
        return False


def _warn_of_splits(names: Sequence[str]) -> None:
    odd = next((name for name in names if _SPLITS.search(name)), None)
    if odd is not None:
        warn_caller(
            f"{shown(odd, 80)} says 'train' or 'test' in its name, so datasets will load such files only; write the data set into "
            "another folder, where it gets other names.",
            DatasetWarning,
        )


def _write_text(target: Path, text: str) -> Path:
    whole = mended_text(text)  # another program's JSON may hold half characters, which no file does
    return write_whole(target, lambda draft: draft.write_text(whole, encoding="utf-8", newline="\n"))


# -- the reference's JSON ----------------------------------------------------------------------------------------------


def write_reference_json(songs: Sequence[Song], about: Mapping[str, object], place: str | os.PathLike[str]) -> Path:
    """Write the reference's data set; the path."""
    target = path_of(place)
    if target.suffix.lower() != ".json":
        raise LibraryError(f"The reference's data set is a .json file, not {shown(target.name)}.")
    _must_have_files(songs)
    if not target.parent.is_dir():
        raise LibraryError(f"There is no folder {shown(str(target.parent), 120)} to write {shown(target.name)} into.")
    return _write_text(target, reference_text(songs, about, target.parent.resolve()))


def _must_have_files(songs: Sequence[Song]) -> None:
    homeless = next((song for song in songs if song.path is None), None)
    if homeless is not None:
        raise LibraryError(f"{shown(homeless.name)} lies in no file yet: write(folder) first, then scan it.")


def reference_text(songs: Sequence[Song], about: Mapping[str, object], base: Path | None) -> str:
    """What the reference's JSON says, each sound by its place under `base`, else by its whole path; LibraryError for one in no file."""
    _must_have_files(songs)
    used: set[str] = set()
    samples, ours = [], {}
    for song in songs:
        name = _id(song, used)
        samples.append(_sample(song, name, base or Path()))
        ours[name] = {**marks_text(song.labels), "repeat": song.repeat, "open": _open(song)}
        ours[name] |= {field_: song.labels[field_].value for field_ in OWN_FIELDS if not song.labels[field_].is_open}
    data = {"metadata": _about(songs, about), "samples": samples, OURS: ours}
    return mended_text(json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def _open(song: Song) -> str:
    return ", ".join(name for name in FIELDS if song.labels[name].is_open)


def _id(song: Song, used: set[str]) -> str:
    """The id a song has in the reference's form: the one it was given, where no other has it."""
    given = song.given.get("id")
    name, number = str(given) if isinstance(given, str | int) and str(given) else "", 0
    while not name or name in used:
        name = hashlib.blake2b(f"{song.name} {number}".encode(), digest_size=4).hexdigest()
        number += 1
    used.add(name)
    return name


def _about(songs: Sequence[Song], about: Mapping[str, object]) -> dict[str, object]:
    tags = {song.tag for song in songs}
    now = datetime.datetime.now().isoformat(timespec="seconds")
    usual: dict[str, object] = {
        "name": "dataset",
        "custom_tag": tags.pop() if len(tags) == 1 else "",
        "tag_position": "prepend",
        "genre_ratio": 0,
        "all_instrumental": bool(songs) and all(song.instrumental for song in songs),
        "created_at": now,
    }
    return {**usual, **about, "num_samples": len(songs)}


def _sample(song: Song, name: str, base: Path) -> dict[str, object]:
    path = song.path or Path()
    place = path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
    written = song.labels["lyrics"].source == "written"
    usual: dict[str, object] = {
        "id": name, "audio_path": place, "filename": path.name, "caption": "", "genre": "", "lyrics": "",
        "raw_lyrics": song.lyrics if written else "", "formatted_lyrics": "", "bpm": None, "keyscale": "", "timesignature": "",
        "duration": round(song.seconds), "language": "unknown", "is_instrumental": False, "custom_tag": "",
        "labeled": bool(song.caption), "prompt_override": None,
    }  # fmt: skip
    sample = {**usual, **song.given, "id": name, "audio_path": place, "filename": path.name}
    if "raw_lyrics" in song.given and _read(song, "lyrics", song.given.get("lyrics")) != song.labels["lyrics"].value:
        sample["raw_lyrics"] = usual["raw_lyrics"] or sample["raw_lyrics"]
    for field_ in (name for name in FIELDS if name not in OWN_FIELDS):
        key, value = _KEYS.get(field_, field_), song.labels[field_].value
        if key not in song.given or _read(song, field_, song.given[key]) != value:
            sample[key] = usual[key] if value is None else value
    return sample


def _read(song: Song, name: str, raw: object) -> Value:
    """A given value as it was read, so that one that nobody changed is given back as it was spelt."""
    try:
        return read_value(name, raw)
    except RecipeError:
        return None
