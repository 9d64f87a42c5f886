"""A data set: songs to learn from, as a frozen sequence of rows; every change is a new one, and can be undone.

Knows values; the forms in which data sets lie on disks are read in `dataset_forms` and written in `dataset_writing`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, overload

from acestep_lab.errors import RecipeError, SourceError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.tasks import MAX_SEED
from acestep_lab.takes.index import Card
from acestep_lab.takes.library import Library, Problem
from acestep_lab.takes.take import Take
from acestep_lab.train import dataset_forms, dataset_html, dataset_rows, dataset_takes, dataset_writing
from acestep_lab.train.dataset_checks import SHORTEST_SECONDS, checked
from acestep_lab.train.dataset_rows import Rows, number_of, numbers, without_lost
from acestep_lab.train.labels import FIELDS, Label, Remark
from acestep_lab.train.song import Song
from acestep_lab.train.word_checks import Tokens

MOST_HISTORY = 100
"""Changes that can be undone."""

MOST_LOOKED_AT = 200
"""Songs whose words are looked at only to show a data set in one line."""

_State = tuple[tuple[Song, ...], Mapping[str, object]]


@dataclass(frozen=True)
class Dataset(Sequence[Song]):
    """Songs to learn from, in order.

    ::

        songs = Dataset.scan("my songs").check()
        songs = songs.edit(genre="dub", tag="zafu")            # all of them
        songs = songs.edit("night.flac", bpm=120).lock("night.flac", "bpm")
        songs = songs.undo()
        train, held_out = songs.split(seed=0)
        songs.write("my data set")                             # datasets.load_dataset("audiofolder", data_dir=…)
    """

    songs: tuple[Song, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict, hash=False)
    """What the reference's JSON says of the whole: its name, where the tag stands, and so on."""
    problems: tuple[Problem, ...] = field(default=(), compare=False, repr=False)
    """Files that were left out, and why."""
    folder: Path | None = field(default=None, compare=False, repr=False)
    past: tuple[_State, ...] = field(default=(), compare=False, repr=False)
    future: tuple[_State, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        songs = checks.sequence("Songs", self.songs, dataset_rows.MOST_SONGS, ordered=True)
        for song in songs:
            checks.instance("A row of a data set", song, Song)
        object.__setattr__(self, "songs", songs)
        if len(self._places) != len(songs):
            twice = next(song.name for number, song in enumerate(songs) if self._places[song.name] != number)
            raise RecipeError(f"Two songs of one data set are both called {shown(twice)}.")

    # -- where it comes from -------------------------------------------------------------------------------------------

    @classmethod
    def scan(cls, place: str | os.PathLike[str], on_file: Callable[[int, int], object] | None = None) -> Self:
        """The songs of a folder, with everything said of them in any known form; or those of one CSV, JSON or JSON lines file.

        Sounds are not decoded. `on_file` is called with (files done, files), and may raise to stop. SourceError where
        there is no sound; files that cannot be used are left out and named in `problems`.
        """
        rows = dataset_forms.scan(place, on_file)
        return cls(rows.songs, rows.about, rows.problems, rows.folder)

    @classmethod
    def of_takes(cls, takes: Library | Take | Iterable[Take | Card | str], library: Library | None = None) -> Self:
        """Takes as songs to learn from: a whole library, or some takes, cards or ids of one; LibraryError for anything else.

        Where a library holds a take, its sound is read from there when it is needed.
        """
        songs, problems = dataset_takes.songs_of(takes, library)
        return cls(tuple(songs), problems=problems)

    # -- a sequence ----------------------------------------------------------------------------------------------------

    @cached_property
    def _places(self) -> dict[str, int]:
        return {song.name: number for number, song in enumerate(self.songs)}

    def __len__(self) -> int:
        return len(self.songs)

    def __iter__(self) -> Iterator[Song]:
        return iter(self.songs)

    def __contains__(self, song: object) -> bool:
        return song in self._places if isinstance(song, str) else song in self.songs

    @overload
    def __getitem__(self, which: int | str) -> Song: ...
    @overload
    def __getitem__(self, which: slice) -> Self: ...
    def __getitem__(self, which: int | str | slice) -> Song | Self:
        """One song by number or name, or some of them as a data set of their own."""
        if isinstance(which, slice):
            return self._part(self.songs[which])
        if isinstance(which, str):
            return self.songs[number_of(which, self._places)]
        return self.songs[which]

    def _numbers(self, rows: Rows) -> list[int]:
        return numbers(rows, self.songs, self._places)

    def select(self, rows: Rows) -> Self:
        """Some songs as a data set of their own: by number, name, slice, several of these, or a question asked of each.

        ::

            songs.select(lambda song: song.language == "pt" and not song.remarks)
        """
        return self._part(tuple(self.songs[number] for number in self._numbers(rows)))

    def usable(self) -> Self:
        """Without the songs whose sound cannot be read or is silence."""
        return self.select(lambda song: not any(one.kind in ("unreadable", "silent") for one in song.noted))

    def _part(self, songs: tuple[Song, ...]) -> Self:
        return replace(self, songs=without_lost(songs), past=(), future=())

    # -- changes -------------------------------------------------------------------------------------------------------

    def _changed(self, songs: Iterable[Song], about: Mapping[str, object] | None = None) -> Self:
        """The data set after a change that can be undone; itself where nothing changed."""
        new, about = tuple(songs), self.about if about is None else about
        if new == self.songs and about == self.about:
            return self
        past = (*self.past, (self.songs, self.about))[-MOST_HISTORY:]
        return replace(self, songs=new, about=about, past=past, future=())

    def _each(self, rows: Rows, change: Callable[[Song], Song]) -> Self:
        songs = list(self.songs)
        for number in self._numbers(rows):
            songs[number] = change(songs[number])
        return self._changed(songs)

    def edit(self, rows: Rows = None, **values: object) -> Self:
        """Fields of some songs as a person writes them; None or "" says nothing of them. Locked ones stay as they are.

        `repeat` is how often an epoch visits a song. RecipeError for what is no value of a field, or where all are locked.
        """
        checks.known_fields("A song", values, (*FIELDS, "repeat"))
        meant = [self.songs[number] for number in self._numbers(rows)]
        for name in values:
            if meant and name in FIELDS and all(song.labels[name].locked for song in meant):
                raise RecipeError(f"The {name} of {_whose(meant)} is locked; unlock it first.")
        return self._each(rows, lambda song: song.edited(**values))

    def fill(self, labels: Mapping[str, Mapping[str, Label]]) -> Self:
        """What was heard or guessed, by song's name and field, where no person wrote anything and nothing is locked."""
        return self._each(list(labels), lambda song: song.filled(labels[song.name]))

    def lock(self, rows: Rows = None, *names: str) -> Self:
        """Some fields of some songs locked, all of them where none is named: nothing changes what is locked."""
        return self._each(rows, lambda song: song.locking(names or FIELDS))

    def unlock(self, rows: Rows = None, *names: str) -> Self:
        """The same, unlocked."""
        return self._each(rows, lambda song: song.locking(names or FIELDS, False))

    def drop(self, rows: Rows) -> Self:
        """Without some songs; their files stay where they are."""
        gone = set(self._numbers(rows))
        left = tuple(song for number, song in enumerate(self.songs) if number not in gone)
        return self._changed(without_lost(left))

    def add(self, songs: Iterable[Song]) -> Self:
        """With more songs after these. One that is here already stays once; another of the same name is called by its folder."""
        more, names = [], {song.name: song for song in self.songs}
        for song in songs:
            checks.instance("A row of a data set", song, Song)
            known = names.get(song.name)
            if known is not None and (known.path, known.take) == (song.path, song.take):
                continue
            if known is not None and song.path is not None:
                song = replace(song, name=f"{song.path.parent.name}/{song.name}")
            names[song.name] = song
            more.append(song)
        problems = (*self.problems, *getattr(songs, "problems", ()))
        return replace(self._changed((*self.songs, *more)), problems=problems)

    def describe(self, **values: object) -> Self:
        """What is said of the whole: `name`, `custom_tag`, `tag_position`, `genre_ratio`, and so on. Plain data."""
        return self._changed(self.songs, {**self.about, **checks.plain("What is said of a data set", values)})

    @property
    def can_undo(self) -> bool:
        """Whether a change can be undone."""
        return bool(self.past)

    @property
    def can_redo(self) -> bool:
        """Whether an undone change can be made again."""
        return bool(self.future)

    def undo(self) -> Self:
        """The data set before the last change; RecipeError where there was none."""
        if not self.past:
            raise RecipeError("There is no change to undo.")
        songs, about = self.past[-1]
        now = (self.songs, self.about)
        return replace(self, songs=songs, about=about, past=self.past[:-1], future=(*self.future, now))

    def redo(self) -> Self:
        """The data set before the last undo; RecipeError where there was none, or something was changed since."""
        if not self.future:
            raise RecipeError("There is no undone change to make again.")
        songs, about = self.future[-1]
        now = (self.songs, self.about)
        return replace(self, songs=songs, about=about, past=(*self.past, now), future=self.future[:-1])

    # -- what is odd ---------------------------------------------------------------------------------------------------

    def check(
        self,
        tokens: Tokens | None = None,
        sounds: bool = True,
        shortest: float = SHORTEST_SECONDS,
        on_song: Callable[[int, Song], object] | None = None,
    ) -> Self:
        """The same songs with the remarks on their sounds new (those on words always are); every sound is read once, unless `sounds` is False. No change to undo.

        `tokens` counts the tokens of a text (by letters without it), `shortest` is in seconds; `on_song` is called with
        each song before it is read, and may raise to stop.
        """
        songs = self.songs if tokens is None else tuple(replace(song, tokens=tokens) for song in self.songs)
        return replace(self, songs=tuple(checked(songs, shortest, on_song)) if sounds else songs)

    def remarks(self) -> list[tuple[str, Remark]]:
        """Every remark, with the name of the song it is on."""
        return [(song.name, remark) for song in self.songs for remark in song.remarks]

    # -- for training --------------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Length of all songs together, in seconds."""
        return sum(song.seconds for song in self.songs)

    def split(self, seed: int = 0, held_out: float = 0.1) -> tuple[Self, Self]:
        """Songs to learn from, and songs held out to see what was learnt: a share, or a whole number of them.

        At least one is held out where there are two; copies of one sound stay together. The same seed holds out the same
        songs, and nearly the same when some are added.
        """
        out = dataset_rows.held_out(self.songs, checks.whole("A seed", seed, 0, MAX_SEED), held_out)
        return self.select(lambda song: song.name not in out), self.select(lambda song: song.name in out)

    @cached_property
    def hash(self) -> str:
        """A digest of what is learnt from: every sound and all that is said of it, in any order; SourceError without a sound.

        Places, sources, locks and remarks are no part of it.
        """
        rows = sorted(json.dumps([song.sound_hash, song.words(), song.repeat], sort_keys=True) for song in self.songs)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    # -- files ---------------------------------------------------------------------------------------------------------

    def write(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write `metadata.jsonl` and every sound into a folder that `datasets.load_dataset("audiofolder")` and `scan` open.

        Written into its own folder, the sounds stay where they are, also of songs that were dropped: scanning
        `metadata.jsonl` itself then gives these very songs. LibraryError where the folder holds another data set
        (unless `overwrite`) or the disk refuses, SourceError for a sound that cannot be read. Returns the folder.
        """
        if not self.songs:
            raise SourceError("There is no song in this data set; nothing is written.")
        return dataset_writing.write(self.songs, folder, self.folder, checks.truth("overwrite", overwrite), self.about)

    def write_reference_json(self, path: str | os.PathLike[str]) -> Path:
        """Write the reference's data set: whatever its form knows comes back from `scan`. LibraryError where the disk refuses.

        Sounds are named by their place beside the file where they lie there, else by their whole path.
        """
        return dataset_writing.write_reference_json(self.songs, self.about, path)

    # -- to be seen ----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        few = len(self) <= MOST_LOOKED_AT  # of more, words are not looked at only to be counted
        odd = f", {sum(bool(song.remarks) for song in self.songs)} with remarks" if few else ""
        left = f", {len(self.problems)} files left out" if self.problems else ""
        return f"<Dataset of {len(self)} songs, {self.seconds / 60:.1f} min{odd}{left}>"

    def _repr_html_(self) -> str:
        return dataset_html.table(self.songs, self.problems, repr(self).strip("<>"))


def _whose(songs: Sequence[Song]) -> str:
    return shown(songs[0].name, 100) if len(songs) == 1 else f"all {len(songs)} songs"


def as_dataset(value: Any) -> Dataset:
    """A data set out of one, a folder or table to scan, or takes; RecipeError for anything else."""
    if isinstance(value, Dataset):
        return value
    if isinstance(value, str | os.PathLike):
        return Dataset.scan(value)
    if isinstance(value, Library | Take | list | tuple):
        return Dataset.of_takes(value)
    raise RecipeError(f"A data set, a folder of songs or some takes are learnt from, not {shown(value)}.")
