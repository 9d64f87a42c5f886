"""DatasetTable: songs to learn from as rows that are heard, edited, locked and dropped. Browser half: `widgets/dataset_table.js`.

The data set is a frozen value: every change here is a new one (`table.dataset`), with its own undo. The browser is told how
many rows there are and asks for those in sight, so that ten thousand cost no more than ten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, SourceError, Stopped, code_of, sentence, shown
from acestep_lab.prompt import vocabulary
from acestep_lab.train.dataset import Dataset, as_dataset
from acestep_lab.train.labels import FIELDS, Label
from acestep_lab.train.song import Song
from acestep_lab.ui import dataset_saving, tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id, Line, Name, Typed, optional, text

MOST_ROWS = 200
"""Rows of one answer: what a tall screen shows, and what is scrolled to next."""
MOST_LETTERS = 160
"""Letters of a text that its cell is told; whoever edits it is told the whole."""
MOST_COUNTED = 2000
"""Songs whose remarks are counted: of more, words are not looked at only to be counted."""
MOST_NAMED = 20
"""Files left out that are named."""
HEARD_SOUNDS = 3
"""Sounds that stay decoded."""

SongName = Annotated[str, text(2000)]
MaybeName = Annotated[str | None, optional(text(2000))]

NARROW: Mapping[str, Callable[[Song], bool]] = {
    "": lambda song: True,
    "remarks": lambda song: bool(song.remarks),
    "open": lambda song: all(label.is_open for label in song.labels.values()),
    "guessed": lambda song: any(label.source != "written" for label in song.labels.values()),
    "locked": lambda song: any(label.locked for label in song.labels.values()),
}
"""Which rows are shown, beside those that the words of the filter are in; "chosen" is known to the table."""


class DatasetTable(Component):
    """A data set's rows: play, edit in place, lock, drop, undo; many at once; filtered.

    ::

        table = DatasetTableWidget(Dataset.scan("my songs"))
        table                       # edit it there …
        lab.train(table.dataset)    # … and go on with what it is now

    Listeners: "changed" () after every change, by hand or by Python. A data set that is handed in shows whole.
    """

    about: dict[str, Any]
    busy: str
    progress: float
    choices: dict[str, Any]
    module = "dataset_table"
    includes = ("audio_player",)
    hidden: bool
    hint: bool
    saves: bool
    fields: ClassVar[Mapping[str, object]] = {
        "about": {}, "busy": "", "progress": 0.0, "choices": {}, "hidden": False, "hint": False, "saves": False,
    }  # fmt: skip

    def setup(
        self, dataset: Any = None, *, url: tracks.UrlOf | None = None, standalone: bool = True,
        home: Callable[[], Path] | None = None,
    ) -> None:  # fmt: skip
        """Show a data set, a folder of songs or some takes, if given; `home()` gives the folder that it may be saved into."""
        self._url, self._standalone, self._home = url, standalone, home
        self.saves = home is not None
        self._saved_as: set[tuple[str, str]] = set()
        self.hidden = not standalone
        self._guard = threading.RLock()
        self._revision = 0
        self._filter, self._only = "", ""
        self._chosen: set[str] = set()
        self._shown: list[str] = []
        self._heard: OrderedDict[str, Audio] = OrderedDict()
        self._reading, self._wanted = threading.Lock(), ""
        self._halt = threading.Event()
        self._dataset = Dataset()
        self.choices = {
            "language": list(vocabulary.LANGUAGES), "keyscale": list(vocabulary.KEYSCALES),
            "timesignature": list(vocabulary.TIMESIGNATURES), "instrumental": ["yes", "no"],
        }  # fmt: skip
        self.lay(Dataset() if dataset is None else as_dataset(dataset))

    # -- the value -----------------------------------------------------------------------------------------------------

    @property
    def dataset(self) -> Dataset:
        """The data set as it stands."""
        return self._dataset

    @dataset.setter
    def dataset(self, dataset: Dataset) -> None:
        self.lay(as_dataset(dataset))

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the songs that are chosen, in the data set's order."""
        return tuple(song.name for song in self._dataset if song.name in self._chosen)

    def lay(self, dataset: Dataset) -> None:
        """Another data set, shown from its first row; what was filtered and chosen is forgotten."""
        with self._guard:
            self._filter, self._only, self._chosen = "", "", set()
            self._heard.clear()
            self._become(dataset, anew=True)

    def become(self, dataset: Dataset) -> None:
        """The data set after a change made elsewhere: what is filtered and chosen stays."""
        self._become(dataset, anew=True)

    def fold(self, on: bool) -> None:
        """Hide the table on a page that has no use for it now; alone, it stays."""
        self.hidden = on and not self._standalone

    def _become(self, dataset: Dataset, anew: bool = False) -> None:
        """The data set is this one now. Rows stay where they are while they are edited, whatever the filter says of them."""
        with self._guard:
            self._dataset = dataset
            self._chosen = {name for name in self._chosen if name in dataset}
            self._shown = self._found() if anew else [name for name in self._shown if name in dataset]
            self._tell()
        self.notify("changed")

    def _found(self) -> list[str]:
        """Names of the rows that the filter lets through."""
        words, keep = self._filter.casefold(), NARROW.get(self._only)
        return [
            song.name
            for song in self._dataset
            if (song.name in self._chosen if keep is None else keep(song)) and (not words or _holds(song, words))
        ]

    def _tell(self) -> None:
        self._revision += 1
        data, few = self._dataset, len(self._dataset) <= MOST_COUNTED
        self.about = {
            "revision": self._revision, "total": len(data), "shown": len(self._shown), "chosen": len(self._chosen),
            "seconds": round(data.seconds, 1), "undo": data.can_undo, "redo": data.can_redo,
            "remarked": sum(bool(song.remarks) for song in data) if few else None,
            "filter": self._filter, "only": self._only, "left_out": len(data.problems),
            "problems": [str(one) for one in data.problems[:MOST_NAMED]],
        }  # fmt: skip

    def _change(self, how: Callable[[Dataset], Dataset], anew: bool = False) -> None:
        with self._guard:
            self._become(how(self._dataset), anew)

    def _song(self, name: str) -> Song:
        if name not in self._dataset:
            raise RecipeError(f"{shown(name, 100)} is not in the table any more.")
        return self._dataset[name]

    def _chosen_or(self, name: str | None) -> list[str]:
        """The song meant, or those that are chosen."""
        if name is not None:
            return [self._song(name).name]
        if not self._chosen:
            raise RecipeError("No song is chosen; tick the box before a row first.")
        return list(self.chosen)

    # -- what the browser asks -----------------------------------------------------------------------------------------

    def do_rows(self, start: int, count: int) -> None:
        """Send some of the rows that are shown."""
        with self._guard:
            start = max(0, start)
            names = self._shown[start : start + max(0, min(count, MOST_ROWS))]
            rows = [self._row(name) for name in names]
            self.emit("rows", start=start, revision=self._revision, rows=rows)

    def _row(self, name: str) -> dict[str, Any]:
        song = self._dataset[name]
        return {
            "name": name, "seconds": round(float(song.seconds), 1), "chosen": name in self._chosen, "repeat": song.repeat,
            "cells": {field: _cell(song.labels[field]) for field in FIELDS},
            "remarks": [{"text": str(one), "field": one.field} for one in song.remarks],
        }  # fmt: skip

    def do_text(self, name: SongName, field: Name) -> None:
        """Send the whole text of a cell, to be edited."""
        value = self._label(name, field).value
        self.emit("text", name=name, field=field, value=value)

    def do_edit(self, name: SongName, field: Name, value: Typed = None) -> None:
        """Write a field of a song, or how often it is heard."""
        self._song(name)
        self._change(lambda data: data.edit(name, **{_field(field): value}))
        self.emit("edited", name=name, field=field)

    def do_lock(self, name: SongName, field: Name, on: bool) -> None:
        """Lock a field of a song, or unlock it."""
        self._label(name, field)
        self._change(lambda data: (data.lock if on else data.unlock)(name, field))

    def do_choose(self, name: SongName, on: bool, since: MaybeName = None) -> None:
        """Choose a song, or not any more; with `since` all between that one and this one as they are shown."""
        with self._guard:
            self._song(name)
            names = [name]
            if since is not None and since in self._shown and name in self._shown:
                first, last = sorted((self._shown.index(since), self._shown.index(name)))
                names = self._shown[first : last + 1]
            self._chosen = self._chosen | set(names) if on else self._chosen - set(names)
            self._tell()

    def do_choose_all(self, on: bool) -> None:
        """Choose all that are shown, or none."""
        with self._guard:
            self._chosen = self._chosen | set(self._shown) if on else set()
            self._tell()

    def do_edit_chosen(self, field: Name, value: Typed = None) -> None:
        """Write a field of every chosen song, in one change; locked ones stay as they are."""
        names = self._chosen_or(None)
        self._change(lambda data: data.edit(names, **{_field(field): value}))
        self.emit("edited", name="", field=field)

    def do_lock_chosen(self, on: bool, field: Name = "") -> None:
        """Lock or unlock a field of every chosen song, all fields where none is named."""
        names, fields = self._chosen_or(None), [_field(field)] if field else []
        self._change(lambda data: (data.lock if on else data.unlock)(names, *fields))

    def do_drop(self, name: MaybeName = None) -> None:
        """Take a song out of the data set, or those that are chosen; their files stay."""
        names = self._chosen_or(name)
        self._change(lambda data: data.drop(names))

    def do_undo(self) -> None:
        """Undo the last change."""
        self._change(lambda data: data.undo(), anew=True)

    def do_redo(self) -> None:
        """Make the change again that was undone last."""
        self._change(lambda data: data.redo(), anew=True)

    def do_narrow(self, text: Line = "", only: Name = "") -> None:
        """Show only the rows that hold these words, and only those with remarks, without words, guessed, locked or chosen."""
        if only not in (*NARROW, "chosen"):
            raise RecipeError(f"{shown(only)} is no way to narrow the table.")
        with self._guard:
            self._filter, self._only = text.strip(), only
            self._shown = self._found()
            self._tell()

    # -- sounds --------------------------------------------------------------------------------------------------------

    def do_play(self, name: SongName) -> None:
        """Read a song's sound, and say where it is heard; of several asked for at once, the last."""
        song = self._song(name)
        self._wanted = name
        self._aside(lambda: self._read(song))

    def _read(self, song: Song) -> None:
        with self._reading:
            if self._wanted != song.name:
                return
            audio = self._heard.pop(song.name, None) or song.audio()
            self._heard[song.name] = audio
            while len(self._heard) > HEARD_SOUNDS:
                self._heard.popitem(last=False)
        told = {"id": audio.id, "seconds": float(audio.seconds), "url": self._url(audio) if self._url else None}
        self.emit("sound", name=song.name, track=told)

    def do_bytes(self, id: Id) -> None:
        """Send a sound that was asked for as a WAV file."""
        with self._reading:
            found = next((one for one in self._heard.values() if one.id == id), None)
        if found is None:
            raise SourceError("This sound was let go; press play again.")
        self.emit("bytes", tracks.wav_of(found), id=id)

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused here."""
        self.notify("at", seconds=float(seconds))

    def do_check(self) -> None:
        """Read every sound and remark on what is odd: short, silent, clipped, twice the same, unreadable."""
        if self.busy:
            raise LabError("One moment: what was asked for last is still being done.")
        self._must_have_songs()
        self._halt.clear()
        self.busy, self.progress = "check", 0.0
        self._aside(self._check)

    def _check(self) -> None:
        before = self._dataset

        def tell(number: int, _: Song) -> None:
            if self._halt.is_set():
                raise Stopped("The check was stopped; nothing was remarked.")
            self.progress = number / len(before)

        try:
            noted = {song.name: song for song in before.check(on_song=tell)}
            self._change(lambda data: replace(data, songs=tuple(_noted(song, noted) for song in data)))
            self.emit("said", key="checked", n=sum(bool(song.remarks) for song in self._dataset))
        except Stopped:
            self.emit("said", key="halted", n=0)
        finally:
            self.busy, self.progress = "", 0.0

    def do_halt(self) -> None:
        """Stop the check."""
        self._halt.set()

    # -- files ---------------------------------------------------------------------------------------------------------

    def do_save(self, name: Line, form: Name = "folder", replace: bool = False) -> None:
        """Save the data set under a name, as a folder with its sounds or as the reference's JSON; once more under it replaces it."""
        if self._home is None:
            raise LabError(
                "Nothing is saved on this page: data sets are the host's. In a notebook, table.dataset.write(…) does."
            )
        wanted, what = dataset_saving.name_of(name), dataset_saving.form_of(form)
        data, home = self._must_have_songs(), self._home()
        if self.busy:
            raise LabError("One moment: what was asked for last is still being done.")
        self.busy = "save"
        self._aside(lambda: self._save(data, home, wanted, what, replace))

    def _save(self, data: Dataset, home: Path, name: str, form: str, replace: bool) -> None:
        try:
            again = replace or (name, form) in self._saved_as
            place = dataset_saving.save(data, home, name, form, again)
            self._saved_as.add((name, form))
            self.emit("saved", name=name, place=f"{home.name}/{place.name}", n=len(data))
        finally:
            self.busy = ""

    def do_download(self, form: Name = "folder") -> None:
        """Send the table as a file: metadata.jsonl, or the reference's JSON; the sounds are not in it."""
        name, data = dataset_saving.as_file(self._must_have_songs(), dataset_saving.form_of(form))
        self.emit("file", data, name=name)

    def _must_have_songs(self) -> Dataset:
        if not len(self._dataset):
            raise LabError("There is no song in the table yet.")
        return self._dataset

    # -- inside --------------------------------------------------------------------------------------------------------

    def _aside(self, work: Callable[[], None]) -> None:
        """Do what reads files on a thread of its own."""

        def run() -> None:
            try:
                work()
            except (LabError, OSError) as problem:
                self.show_error(sentence(problem), code=code_of(problem))

        threading.Thread(target=run, name="acestep_lab data set", daemon=True).start()

    def _label(self, name: str, field: str) -> Label:
        song = self._song(name)
        if field not in FIELDS:
            raise RecipeError(f"A song has no field {shown(field)}.")
        return song.labels[field]


def _field(name: str) -> str:
    if name not in (*FIELDS, "repeat"):
        raise RecipeError(f"A song has no field {shown(name)}.")
    return name


def _holds(song: Song, words: str) -> bool:
    """Whether its name or anything said of it holds these words, in small letters."""
    if words in song.name.casefold():
        return True
    return any(words in str(label.value).casefold() for label in song.labels.values() if not label.is_open)


def _noted(song: Song, checked: Mapping[str, Song]) -> Song:
    """A song with the remarks that were made on its sound meanwhile."""
    return replace(song, noted=checked[song.name].noted) if song.name in checked else song


def _cell(label: Label) -> dict[str, Any]:
    value = label.value
    long = isinstance(value, str) and len(value) > MOST_LETTERS
    told = value[:MOST_LETTERS] if long and isinstance(value, str) else value
    return {
        "value": told,
        "source": "" if label.is_open else label.source,
        "locked": label.locked,
        "sure": label.sure,
        "long": long,
    }


DatasetTableWidget, DatasetTablePane = widget_and_pane(DatasetTable)
