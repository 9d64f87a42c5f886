"""Files and texts that come from outside, read at one boundary: whatever cannot be read is one sentence.

Knows bytes, text and JSON; no take, no checkpoint, no model. Each reader takes the LabError to raise, since the same broken
file is a LibraryError in a library and a CheckpointError in a checkpoint.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from acestep_lab.errors import LabError, LibraryError, RecipeError, shown

MOST_TEXT = 32 * 2**20
"""Bytes of the largest text or JSON file that is read."""

INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u00ad"
"""Byte order mark, zero-width space and joiners, marks of direction, word joiner, soft hyphen: editors and web pages leave them
at the ends of lines, where nobody sees them and they mean nothing. Inside a line they may (Thai, Persian, emoji)."""

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
"""Windows, old Macs, word processors' soft breaks and pages, and Unicode's own; `str.splitlines` breaks at all of these."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def clean_text(text: str, what: str = "The text", error: type[LabError] = RecipeError) -> str:
    """One form for every text: NFC, lines ending in "\\n", no byte order mark, nothing invisible at a line's ends.

    Raises `error` where it holds what no text holds (NO_CHARACTER). What comes out is left as it
    is when it comes in again.
    """
    if not (text.isascii() and not _LINE_ENDS.search(text)):
        text = _LINE_ENDS.sub("\n", text.replace("\ufeff", ""))
        text = unicodedata.normalize("NFC", "\n".join(_bare(line) for line in text.split("\n")))
    bad = NO_CHARACTER.search(text)
    if bad is not None:
        raise error(f"{what} holds a character that is none (U+{ord(bad.group()):04X}), at place {bad.start() + 1}.")
    return text


def mended_text(text: str) -> str:
    """A text nobody can be asked about, such as a model's, without what is no character."""
    return NO_CHARACTER.sub("", text)


NO_CHARACTER = re.compile("[\0\ud800-\udfff\ufffe\uffff]")
"""What no text holds: NUL, half a character, and the two codes that are none (libFLAC aborts the process over them in a tag)."""


def _bare(line: str) -> str:
    """A line without what is invisible at its ends; plain spaces there stay, unless mixed with such."""
    bare = line.strip(INVISIBLE + " \t")
    start = line.find(bare)
    ends = line[:start] + line[start + len(bare) :]
    return bare if any(ch in INVISIBLE for ch in ends) else line


def decode_text(data: bytes, what: str = "The text", error: type[LabError] = RecipeError) -> str:
    """Bytes as text in `clean_text`'s form: by their byte order mark, else UTF-8, else UTF-16 where every other byte is zero."""
    return clean_text(_decoded(data, what, error), what, error)


def _decoded(data: bytes, what: str, error: type[LabError]) -> str:
    """Bytes as the text they are, letter for letter."""
    coding = next((name for mark, name in _MARKS if data.startswith(mark)), None) or _guessed(data)
    try:
        return data.decode(coding).removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        raise error(
            f"{what} is not {coding.upper()} text (byte {problem.start + 1:,} of {len(data):,}); save it as UTF-8."
        ) from None


def _guessed(data: bytes) -> str:
    """UTF-16 without a mark shows itself by its zeros; everything else is taken for UTF-8."""
    head = data[:4096]
    if len(head) >= 4 and head.count(0) >= len(head) // 4:
        return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    return "utf-8"


def read_bytes(
    path: str | os.PathLike[str], what: str = "The file", error: type[LabError] = RecipeError, most: int = MOST_TEXT
) -> bytes:
    """All bytes of an ordinary file of at most `most` bytes; `error` for a folder, a pipe, a device, or one too large."""
    with open_ordinary(path, what, error) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise error(f"{what} {shown(str(path))} has {size:,} bytes; at most {most:,} are read.")
        try:
            return file.read(most + 1)[:most]
        except OSError as problem:
            raise error(f"{what} {shown(str(path))} cannot be read ({_reason(problem)}).") from None


def open_ordinary(
    path: str | os.PathLike[str], what: str = "The file", error: type[LabError] = RecipeError
) -> BinaryIO:
    """An ordinary file opened for reading; `error` for a folder, a pipe, a device, or one that cannot be opened."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as problem:
        raise error(f"{what} {shown(str(path))} cannot be read ({_reason(problem)}).") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise error(f"{what} {shown(str(path))} is no ordinary file.")
    return os.fdopen(handle, "rb")


def read_text(
    path: str | os.PathLike[str], what: str = "The file", error: type[LabError] = RecipeError, most: int = MOST_TEXT
) -> str:
    """A text file in `clean_text`'s form; a leading "~" is the home folder."""
    place = os.path.expanduser(os.fspath(path))  # Path.expanduser raises where there is no such home
    return decode_text(read_bytes(place, what, error, most), f"{what} {shown(os.path.basename(place))}", error)


def parse_json(text: str | bytes, what: str = "The JSON", error: type[LabError] = RecipeError) -> object:
    """Plain data out of JSON: finite numbers only; `error` for anything else, however deep or long."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as problem:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        where = f"line {problem.lineno}" if isinstance(problem, json.JSONDecodeError) else _reason(problem)
        raise error(f"{what} is not JSON ({where}).") from None


def read_json(
    path: str | os.PathLike[str], what: str = "The file", error: type[LabError] = RecipeError, most: int = MOST_TEXT
) -> dict[str, object]:
    """The JSON object in a file; `error` where there is none.

    Its strings are those that were written: some are names or part of a checksum, which another normal form would change.
    """
    named = f"{what} {shown(Path(path).name)}"
    found = parse_json(_decoded(read_bytes(path, what, error, most), named, error), named, error)
    if not isinstance(found, dict):
        raise error(f"{named} holds no JSON object, but {type(found).__name__}.")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _reason(problem: BaseException) -> str:
    if isinstance(problem, RecursionError):
        return "nested too deeply"
    return str(getattr(problem, "strerror", None) or problem)[:80]


def write_whole(
    target: Path, write: Callable[[Path], object], what: str = "The file", error: type[LabError] = LibraryError
) -> Path:
    """Write a file whole or not at all: into a draft beside it, flushed to the disk, then moved into place.

    `write` is handed the draft's path. Raises `error` where the disk refuses; a draft that cannot be removed is left.
    """
    draft = target.with_name(f".draft-{secrets.token_hex(6)}{target.suffix}")
    try:
        write(draft)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, target)
        flush_folder(target.parent)
    except OSError as problem:
        raise error(f"{what} {shown(target.name)} cannot be written ({_reason(problem)}).") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return target


def flush_folder(folder: Path) -> None:
    """Make a folder's names last through a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def to_json(data: Mapping[str, object]) -> str:
    """Plain data as one line of JSON."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def append_line(path: Path, text: str, what: str = "The line", error: type[LabError] = LibraryError) -> None:
    """Add a line to a file and have it on the disk; a half-written line before it is ended first. `error` where the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            half = False
            if file.tell():
                file.seek(-1, os.SEEK_END)
                half = file.read(1) != b"\n"
            file.write(b"\n" * half + text.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        why = problem.strerror or type(problem).__name__
        raise error(f"{what} cannot be written to {shown(path.name)} ({why}).") from None
