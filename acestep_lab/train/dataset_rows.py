"""Which songs of a data set are meant, and which of them are held out.

Knows names and numbers of songs; no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.train.song import Song

MOST_SONGS = 500_000

Rows = int | str | slice | Iterable[int | str] | Callable[[Song], object] | None
"""Which songs: a number, a name, a slice, several of these, a question asked of each, or None for all."""


def number_of(name: str, places: Mapping[str, int]) -> int:
    """The place of a song by its name; RecipeError where there is none."""
    if name not in places:
        near = checks.nearest(name, places) if len(places) <= 1000 else ""
        raise RecipeError(f"There is no song {shown(name, 100)} in this data set.{near}")
    return places[name]


def numbers(rows: Rows, songs: Sequence[Song], places: Mapping[str, int]) -> list[int]:
    """The places of the songs meant, in the data set's order; RecipeError for what means none."""
    if rows is None:
        return list(range(len(songs)))
    if isinstance(rows, slice):
        return list(range(len(songs))[rows])
    if callable(rows):
        return [number for number, song in enumerate(songs) if rows(song)]
    if isinstance(rows, str) or checks.is_number(rows):
        rows = [rows]  # type: ignore[list-item]
    found = checks.sequence("The songs meant", rows, MOST_SONGS)
    return sorted({number_of(one, places) if isinstance(one, str) else _at(one, len(songs)) for one in found})


def _at(number: object, count: int) -> int:
    if not count:
        raise RecipeError("There is no song in this data set.")
    return checks.whole("A song's number", number, -count, count - 1) % count


def without_lost(songs: tuple[Song, ...]) -> tuple[Song, ...]:
    """The same songs without remarks that speak of one that is not among them."""
    names = {song.name for song in songs}
    return tuple(
        replace(song, noted=tuple(one for one in song.noted if not one.other or one.other in names))
        if any(one.other and one.other not in names for one in song.noted)
        else song
        for song in songs
    )


def held_out(songs: Sequence[Song], seed: int, part: float) -> set[str]:
    """Names of the songs held out: a share, or a whole number of them; copies of one sound stay together."""
    wanted = _count(part, len(songs))
    groups: dict[str, list[str]] = {}
    for song in songs:
        first = next((one.other for one in song.noted if one.kind == "duplicate"), song.name)
        groups.setdefault(first, []).append(song.name)
    out: set[str] = set()
    for _, group in sorted(groups.items(), key=lambda item: _lot(seed, item[0])):
        if len(out) + len(group) <= wanted:
            out.update(group)
    return out


def _count(part: float, songs: int) -> int:
    """How many songs are held out: at least one where there are two, never all."""
    if checks.is_a(part, int) and part > 1:
        if part >= songs:
            raise RecipeError(f"Of {songs} songs at most {max(songs - 1, 0)} can be held out, not {part:,}.")
        return int(part)
    share = 1 / max(songs, 1) if checks.is_a(part, int) and part == 1 else checks.share("The part held out", part)
    return 0 if songs < 2 or share == 0 else min(max(1, round(share * songs)), songs - 1)


def _lot(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
