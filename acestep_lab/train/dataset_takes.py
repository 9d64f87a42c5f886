"""Takes as songs to learn from: their recipes say what they are.

Knows takes and libraries. A take that a library holds is read from there only when its sound is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from acestep_lab.audio.reading import seconds_of
from acestep_lab.errors import LibraryError, SourceError, shown
from acestep_lab.files import read_json
from acestep_lab.prompt.checks import is_a, sequence
from acestep_lab.takes.ids import take_id
from acestep_lab.takes.index import Card
from acestep_lab.takes.library import Library, Problem
from acestep_lab.takes.take import Take
from acestep_lab.train.dataset_sidecars import from_manifest, from_recipes
from acestep_lab.train.song import Song
from acestep_lab.train.told import Told, together


def songs_of(
    takes: Library | Take | Iterable[Take | Card | str], library: Library | None
) -> tuple[list[Song], tuple[Problem, ...]]:
    """A song for each take, and what could not be read; LibraryError for what is no take, or an id without a library."""
    if is_a(takes, Library):
        library, wanted = takes, tuple(takes.ids())  # type: ignore[union-attr,assignment]
    else:
        wanted = sequence("Takes", [takes] if is_a(takes, Take, Card, str) else takes)
    songs: dict[str, Song] = {}
    problems = []
    for one in wanted:
        name = one.id if is_a(one, Take, Card) else take_id(one)
        if name in songs:
            continue
        try:
            songs[name] = _song(one, name, library)
        except (LibraryError, SourceError) as problem:
            if is_a(one, Take) or library is None:
                raise
            problems.append(Problem(name, str(problem)))
    return list(songs.values()), tuple(problems)


def _song(one: Any, name: str, library: Library | None) -> Song:
    if library is not None and name in library:
        return _kept(name, library)
    if is_a(one, Take):
        told = from_recipes(one.recipe.to_json(), one.asked.to_json() if one.asked else None, name, name)
        return _row(name, one.seconds, told, held=one)
    if library is None:
        raise LibraryError(f"{shown(name)} is an id; hand in the library it is of: Dataset.of_takes(ids, library).")
    raise LibraryError(f"There is no take {shown(name)} in this library.")


def _kept(name: str, library: Library) -> Song:
    path = library.sound(name)
    data: Mapping[str, object] = read_json(library.folder / f"{name}.json", "The manifest", LibraryError)
    return _row(name, seconds_of(path), from_manifest(data, name), path=path)


def _row(name: str, seconds: float, told: Told, **where: Any) -> Song:
    all_ = together([told])
    return Song(name, seconds, all_.labels, take=name, noted=all_.remarks, **where)
