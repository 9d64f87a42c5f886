"""Labelling as a run: a data set is listened to song by song, beside whatever else the session is asked for.

Who listens is a session's verbs, and these have runs of their own in the same queue; so the listening is done by a thread beside it,
and the run in the queue only tells how far that is, and gives way. What is finished is on disk song by song: a stop keeps it, and
the same call goes on, whatever ended it. Knows sessions by their verbs; no page.
"""

from __future__ import annotations

import html
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from acestep_lab import upstairs
from acestep_lab.errors import LibraryError, RecipeError, Stopped
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.run import Run
from acestep_lab.jobs.training import Pace
from acestep_lab.prompt import checks
from acestep_lab.train import dataset_html
from acestep_lab.train.dataset import Dataset, as_dataset
from acestep_lab.train.label import MOST_SEEDS, Lab, Labelled, Listeners, label, labelled

LABEL = "labelling"
"""Its stage."""
PROGRESS = ".labels.jsonl"
"""The file, in a folder that is named, that knows which songs are finished."""
LIBRARY_PROGRESS = ("adapters", "labels.jsonl")
"""Where it lies in a library where none is named."""
MODEST = -3
"""The priority of a run whose songs are listened to elsewhere: it gives way to what is asked for here."""
NAP = 0.05
"""Seconds between two looks at the thread that listens."""


class LabSession(Lab, Protocol):
    """A session whose queue the run stands in."""

    @property
    def jobs(self) -> JobQueue: ...


class LabelRun(Run[Labelled, Dataset]):
    """Songs being listened to: iterate it for each song as it is done, ask it for its `result()`, the data set with its labels.

    ::

        run = lab.label("my songs")
        for event in run: ...               # or run.stop(), which keeps what was heard: run.dataset
        run.result().write("my data set")
    """

    kind = "labelling"
    gives_way = True

    def __init__(self, songs: Dataset, lacks: str = "") -> None:
        """`lacks` says what nobody will say of a song."""
        self._songs = songs
        self.pace = Pace(len(songs))
        super().__init__(f"labels for {len(songs)} song{'s' * (len(songs) != 1)}", songs.seconds)
        if lacks:
            self.messages.append(lacks)

    @property
    def events(self) -> tuple[Labelled, ...]:
        """What was said of each song so far."""
        return tuple(self._pieces)

    @property
    def dataset(self) -> Dataset:
        """The data set with what was heard so far, as one change that can be undone."""
        return labelled(self._songs, self.events)

    @property
    def failed(self) -> int:
        """Songs that could not be listened to whole; the same call tries these again."""
        return sum(one.failed for one in self.events)

    @property
    def remaining(self) -> float | None:
        """Seconds of its own work still to do, by its own pace; None before its first song."""
        return 0.0 if self.over else self.pace.left

    def _result(self) -> Dataset:
        return self.dataset

    def _at_work(self) -> str:
        if self._state != LABEL:
            return self._state
        return f"song {min(self.pace.done + 1, self.pace.whole)} of {self.pace.whole}"

    def what_is_kept(self) -> str:
        """What there is of it so far, in a sentence."""
        done = len(self.events)
        return (
            f"{done} of {self.pace.whole} songs are labelled, in run.dataset; the same lab.label(…) goes on from there."
        )

    def stopped(self) -> Stopped:
        """What to raise for a labelling that was asked to stop."""
        return Stopped(f"The labelling was stopped. {self.what_is_kept()}")

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data."""
        return super().to_json() | {"done": self.pace.done, "of": self.pace.whole, "failed": self.failed}

    def _repr_html_(self) -> str:
        """How it stands, and the songs as they are now."""
        lines = [f"{self.title}: {self.doing}", *self.messages, self.problem]
        text = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
        done = self.dataset
        return text + dataset_html.table(done.songs, done.problems, repr(done).strip("<>"))

    # -- what the listening tells

    def begin(self) -> None:
        """The work begins; Stopped where a stop was asked for."""
        self.enter(LABEL)

    def labelled(self, event: Labelled, seconds: float) -> None:
        """A song is done."""
        self.pace.add(seconds)
        self._add(event)
        self._measure(self.pace.done / max(1, self.pace.whole))
        self._emit("labelled", event)
        self._emit("progress", self._fraction)


@dataclass(frozen=True)
class _Wish:
    """What is to be listened to, and how."""

    songs: Dataset
    listeners: Listeners
    seeds: int
    lyrics: bool
    progress: Path | None
    pool: Any = None
    """Who listens elsewhere; None: the listeners here."""


def begin(
    session: LabSession, songs: Any, *, seeds: Any = 3, lyrics: Any = False, folder: Any = None,
    listeners: Listeners | None = None, on: Any = None, resource: str | None = None,
) -> LabelRun:  # fmt: skip
    """Queue a labelling; RecipeError for what cannot be labelled, LibraryError for a folder that is none, before any work."""
    session.jobs.must_be_open()
    found = as_dataset(songs)
    if not found.songs:
        raise RecipeError("There is nothing to label; a data set has at least one song.")
    count, words = checks.whole("The number of readings", seeds, 1, MOST_SEEDS), checks.truth("lyrics", lyrics)
    progress = _progress(session, folder)
    if on is not None:
        pool = upstairs.call("pool_for", session, on, resource)
        run = LabelRun(found)
        run.subscribe(lambda event: pool.close() if event.kind == "state" and run.over else None)
        return session.jobs.submit(
            run, partial(_work, wish=_Wish(found, Listeners(), count, words, progress, pool)), MODEST
        )
    who = Listeners.of(session) if listeners is None else listeners
    wish = _Wish(found, who, count, words, progress)
    return session.jobs.submit(LabelRun(found, who.lacks), partial(_work, wish=wish))


def _progress(session: LabSession, folder: Any) -> Path | None:
    """The file that knows what is finished: in the folder that is named, else in the library; none where that lies nowhere."""
    if folder is not None:
        place = Path(checks.place("A folder for labels", folder, LibraryError)).expanduser()
        if place.exists() and not place.is_dir():
            raise LibraryError(f"{place.name} is no folder; labels are kept in one.")
        return place / PROGRESS
    library: Any = getattr(session.library, "folder", None)
    return None if library is None else Path(os.fspath(library)).joinpath(*LIBRARY_PROGRESS)


def _work(run: LabelRun, wish: _Wish) -> Iterator[None]:
    """Tell what the listening thread does, giving way to the very runs that it asks for."""
    run.begin()
    listening = _Listening(run, wish)
    try:
        while not listening.is_told_of():
            yield
    finally:
        listening.halt.set()
    if listening.error is not None and not run.stopping:
        raise listening.error
    run.check()
    run.finish()


class _Listening:
    """A thread that listens to one song after another."""

    def __init__(self, run: LabelRun, wish: _Wish) -> None:
        self.halt = threading.Event()
        self.error: BaseException | None = None
        self._run, self._news = run, queue.SimpleQueue[tuple[Labelled, float] | None]()
        threading.Thread(target=self._listen, args=(wish,), name="acestep_lab labelling", daemon=True).start()

    def is_told_of(self) -> bool:
        """Tell the run what is new, waiting a moment for it; whether there will be nothing more."""
        try:
            said = self._news.get(timeout=NAP)
        except queue.Empty:
            return False
        if said is not None:
            self._run.labelled(*said)
        return said is None

    def _listen(self, wish: _Wish) -> None:
        run = self._run
        self._since = time.monotonic()
        try:
            with (
                run.client.acting() if run.owner else nullcontext()
            ):  # the host's page takes no voice for its own new take
                self._label(wish)
        except BaseException as error:  # noqa: BLE001 - whatever happens in it belongs to the run
            self.error = error
        finally:
            self._news.put(None)

    def _label(self, wish: _Wish) -> None:
        how: dict[str, Any] = {"seeds": wish.seeds, "lyrics": wish.lyrics, "progress": wish.progress}
        if wish.pool is not None:
            upstairs.call("label_on", wish.pool, wish.songs, self._tell, self._stopped, **how)
            return
        for event in label(wish.songs, wish.listeners, stop=self._stopped, **how):
            self._tell(event)

    def _stopped(self) -> bool:
        return self._run.stopping or self.halt.is_set()

    def _tell(self, event: Labelled) -> None:
        now = time.monotonic()
        self._news.put((event, now - self._since))
        self._since = now
