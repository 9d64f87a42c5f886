"""The same work on many songs, on whichever machines there are: a library aligned, analyzed, scored. The road of a sweep.

Knows sessions by their verbs. What comes of each is told as it comes; an alignment is kept beside its take the moment it is here,
so that the same call goes on after a stop or a kill.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, Stopped, sentence, shown
from acestep_lab.jobs.client import at_priority
from acestep_lab.jobs.run import Run
from acestep_lab.jobs.training import Pace
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.prompt import checks
from acestep_lab.sweep.pools import pool_for
from acestep_lab.sweep.work import MODEST, OWN, Job, News, Pool, Watch
from acestep_lab.takes.ids import is_take_id
from acestep_lab.takes.take import Take

VERBS = ("analyze", "align", "notes", "understand", "plan_score", "scores", "codes")
"""Verbs of a session that take one song."""
MOST_SONGS = 100_000
MAP = "working"
NAP = 0.05
_Run = TypeVar("_Run", bound="MapRun")


@dataclass(frozen=True)
class Mapped:
    """What came of one song."""

    place: int
    name: str
    state: str = "waiting"
    """waiting, working; at last done, failed or stopped."""
    value: Any = field(default=None, compare=False)
    problem: str = ""
    by: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain data, without what came of it."""
        return {"place": self.place, "name": self.name, "state": self.state, "problem": self.problem, "by": self.by}


class MapRun(Run[Mapped, "list[Any]"]):
    """Songs being worked at: iterate it for each as it is done; `result()` has what came of each, None where nothing could."""

    kind = "map"
    gives_way = True

    def __init__(self, what: str, songs: list[Mapped]) -> None:
        self._songs, self._guard = songs, threading.RLock()
        self.pace, self._since = Pace(len(songs)), time.monotonic()
        super().__init__(f"{what} of {len(songs)} song{'s' * (len(songs) != 1)}")

    @property
    def songs(self) -> tuple[Mapped, ...]:
        """How every song stands, in the order they were handed in."""
        return tuple(self._songs)

    @property
    def failed(self) -> tuple[Mapped, ...]:
        """Songs that nothing came of."""
        return tuple(one for one in self._songs if one.state == "failed")

    @property
    def remaining(self) -> float | None:
        """Seconds still to go, by its own pace; None before its first song."""
        return 0.0 if self.over else self.pace.left

    def _result(self) -> list[Any]:
        return [one.value for one in self._songs]

    def what_is_kept(self) -> str:
        """What there is of it so far, in a sentence."""
        return f"{self.pace.done} of {self.pace.whole} songs are done, in run.songs."

    def stopped(self) -> Stopped:
        """What to raise for work that was asked to stop."""
        return Stopped(f"The work was stopped. {self.what_is_kept()}")

    def to_json(self) -> dict[str, object]:
        """How it stands, as plain data."""
        return super().to_json() | {"songs": [one.to_json() for one in self._songs]}

    # -- what who works tells

    def begin(self) -> None:
        """The work begins; Stopped where a stop was asked for."""
        self._since = time.monotonic()
        self.enter(MAP)

    def hear(self, news: News) -> None:
        """Something happened to a song."""
        with self._guard:
            now = self._songs[news.place]
            if news.kind == "told" or now.state in ("done", "failed"):
                return
            state = {"begun": "working"}.get(news.kind, news.kind)
            said = {"value": news.value} if state == "done" else {}
            problem = sentence(news.value) if state == "failed" else ""
            self._songs[news.place] = one = replace(now, state=state, problem=problem, by=news.by or now.by, **said)
            if state in ("done", "failed"):
                self.pace.add(time.monotonic() - self._since)
                self._since = time.monotonic()
                self._add(one)
                self._measure(self.pace.done / max(1, self.pace.whole))
        self._emit("mapped", one)


def map_songs(
    session: Any, work: Any, items: Any, *, on: Any = None, resource: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> MapRun:  # fmt: skip
    """Begin work on many songs; RecipeError for what is no work, or no list of songs."""
    session.jobs.must_be_open()
    if not (isinstance(work, str) and work in VERBS) and not (callable(work) and not isinstance(work, str)):
        raise RecipeError(
            f"The work is one of {', '.join(VERBS)}, or a function of a session and a song, not {shown(work)}."
        )
    songs = checks.sequence("The songs", items, MOST_SONGS, ordered=True)
    if not songs:
        raise RecipeError("There is no song to work at; hand over at least one.")
    pool = pool_for(session, on, resource)
    name = work if isinstance(work, str) else str(getattr(work, "__name__", "work")).strip("<>")
    run = MapRun(name, [Mapped(place, _name(song)) for place, song in enumerate(songs)])
    return submitted(session, run, pool, Verbs(session, run, pool, songs, work, dict(options or {})))


def submitted(session: Any, run: _Run, pool: Pool, body: Songs) -> _Run:
    """Queue work on songs; its pool is let go once it is over, begun or not."""
    run.subscribe(lambda event: pool.close() if event.kind == "state" and run.over else None)
    try:
        session.jobs.submit(run, body.work, OWN)
    except BaseException:
        pool.close()
        raise
    return run


def _name(song: Any) -> str:
    return str(getattr(song, "id", song))[:200]


def do_verb(lab: Any, watch: Watch, song: Take | Audio, verb: str, options: Mapping[str, Any]) -> Any:
    """A verb of a session on one song, when nobody else wants the machine."""
    with at_priority(MODEST):
        if verb == "align":
            return _align(lab, song, options)
        return getattr(lab, verb)(song, **options)


def _align(lab: Any, song: Take | Audio, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """An alignment as plain data, and what a library keeps of it beside a take."""
    if isinstance(song, Take):
        song = lab.keep(song)
    found = lab.align(song, **options)
    kept = lab.library.annotation(song.id, "alignment") if isinstance(song, Take) else None
    return found.to_json(), kept


def do_function(
    lab: Any, watch: Watch, song: Take | Audio, function: Callable[..., Any], options: Mapping[str, Any]
) -> Any:
    """Somebody's own function of a session and a song."""
    with at_priority(MODEST):
        return function(lab, song, **options)


@dataclass
class Songs:
    """A thread that has the songs worked at; the run in the queue gives way to what this asks for."""

    session: Any
    run: MapRun
    pool: Pool
    songs: Sequence[Any]

    def __post_init__(self) -> None:
        self.error: BaseException | None = None
        self.over, self.halt = threading.Event(), threading.Event()

    def work(self, run: MapRun) -> Iterator[None]:
        """The run's body."""
        run.begin()
        threading.Thread(target=self._drive, name="acestep_lab songs", daemon=True).start()
        try:
            while not self.over.wait(NAP):
                yield
        finally:
            self.halt.set()
        if self.error is not None and not run.stopping:
            raise self.error
        run.check()
        if run.failed:
            first = run.failed[0]
            run.message(f"{len(run.failed)} of {len(run.songs)} songs failed, first {first.name}: {first.problem}")
        run.finish()

    def _drive(self) -> None:
        try:
            self.pool.run(self._jobs(), self._hear, lambda: self.run.stopping or self.halt.is_set())
        except BaseException as error:  # noqa: BLE001 - whatever happens in it belongs to the run
            self.error = error
        finally:
            self.over.set()

    def _jobs(self) -> Iterator[Job]:
        """What is to be done, one song after another."""
        raise NotImplementedError

    def _hear(self, news: News) -> None:
        """Something happened to a song."""
        self.run.hear(news)


@dataclass
class Verbs(Songs):
    """Has a verb of a session, or somebody's function, done for each song."""

    what: Any
    options: dict[str, Any]

    def _jobs(self) -> Iterator[Job]:
        """What is to be done; a sound is read when its turn comes."""
        verb = isinstance(self.what, str)
        work: Any = do_verb if verb else do_function
        for place, song in enumerate(self.songs):
            if (known := self._known(song)) is not None:
                self.run.hear(News(place, "done", known, "the library"))
                continue
            yield Job(place, work, partial(self._arguments, song, "verb" if verb else "function"))

    def _arguments(self, song: Any, name: str) -> Mapping[str, Any]:
        return {"song": self.session.sound(song), name: self.what, "options": self.options}

    def _known(self, song: Any) -> Alignment | None:
        """What the library has of a take's alignment already, where nothing else is asked for."""
        from acestep_lab.jobs.aligning import kept_alignment

        id = _name(song)
        if self.what != "align" or self.options or not is_take_id(id):
            return None
        return kept_alignment(self.session.library, id)

    def _hear(self, news: News) -> None:
        """Keep what was found of a take beside it, then tell of it."""
        if news.kind == "done" and self.what == "align":
            plain, kept = news.value
            id = _name(self.songs[news.place])
            try:
                if kept is not None and is_take_id(id) and id in self.session.library:
                    self.session.library.annotate(id, "alignment", kept)
                news = replace(news, value=Alignment.from_json(plain))
            except (LabError, OSError) as problem:
                news = replace(news, kind="failed", value=problem)
        self.run.hear(news)
