"""The tasks of the REST door: requests on their way through one session, and what `/query_result` says of them.

Knows a session's backend, files and JSON; no server. A task first waits here (the queue of the session takes only so many runs
of one person), is then prepared with the planner, rendered, and written to files by a small pool of threads that waits for runs,
never by an event loop. Takes land in the session's library for whoever asked.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, RecipeError, SourceError, Stopped, sentence, shown
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.queue import MOST_WAITING
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import fitted
from acestep_lab.prompt.tasks import Source
from acestep_lab.serve.rest_adapters import ClientAdapters, Examine, examined
from acestep_lab.serve.rest_fields import Place, RenderRequest
from acestep_lab.serve.rest_paths import MEDIA, SoundPlaces
from acestep_lab.serve.rest_scores import scores_of, timed, untimed
from acestep_lab.serve.rest_verbs import planner_of
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.ids import is_id
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend, backend_of
from acestep_lab.ui.listeners import Listeners

MOST_QUEUED = 200
"""Tasks that wait; another is refused (HTTP 429)."""
MOST_AGE = 24 * 3600.0
"""Seconds a task and its files are kept once it is over."""
MOST_KEPT = 2000
"""Tasks that are known at once; what is over is forgotten first, the oldest of it."""
MOST_BYTES = 4 * 2**30
"""Bytes of results on disk; the oldest go first."""
THREADS = 4
"""Tasks in hand at once: one is rendered while others are prepared and written."""
USUAL_SECONDS = 5.0
"""What a task is said to take before any was done."""
NONE = "N/A"
"""What results say in place of a value that is not there."""
QUEUED, RUNNING, DONE, FAILED, STOPPED = "queued", "running", "succeeded", "failed", "stopped"
STATUS = {QUEUED: 0, RUNNING: 0, DONE: 1, FAILED: 2, STOPPED: 2}
_ENDING: dict[str, tuple[str, int | None]] = {
    "mp3": (".mp3", None), "wav": (".wav", 16), "wav24": (".wav", 24), "wav32": (".wav", 32), "flac": (".flac", None),
    "opus": (".opus", None), "ogg": (".ogg", None), "aac": (".m4a", None),
}  # fmt: skip
"""The ending of each format's file, and its bits."""
Clock = Callable[[], float]
_log = logging.getLogger(__name__)


class QueueFull(LabError):
    """No more tasks can wait (HTTP 429)."""

    code = "QUEUE"
    status = 429


class NotDone(LabError):
    """Something was asked of a task that has to be over first (HTTP 409)."""

    code = "NOT_DONE"
    status = 409


class DoorClosed(LabError):
    """The door takes no more tasks (HTTP 503)."""

    code = "CLOSED"
    status = 503


class TookTooLong(LabError):
    """A render took longer than the server lets it (HTTP 504)."""

    code = "TIMEOUT"
    status = 504


@dataclass(eq=False)
class RestTask:
    """One task: whose it is, what was asked, how far it is, and what came of it."""

    request: RenderRequest
    owner: str
    client: Client
    created: float
    """Seconds since 1970."""
    adapters: tuple[tuple[str, float], ...] | None = None
    """Those its client had on when it asked; None: those of the session."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = QUEUED
    doing: str = "queued"
    """What is done for it just now, in a few words."""
    run: RenderRun | None = None
    """The render, while there is one."""
    error: str = ""
    items: list[dict[str, Any]] = field(default_factory=list)
    """What `/query_result` says of each song once the task is over; of one that was stopped or failed, of those that exist."""
    files: list[Path] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0
    stopping: bool = False
    problem: BaseException | None = None
    """What it failed by."""
    waiters: list[Callable[[], None]] = field(default_factory=list)
    """Called once it is over."""
    last: dict[str, int] = field(default_factory=lambda: {"step": 0, "steps": 0, "song": 0, "songs": 0})
    """What `reached` was when it ended."""

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in (DONE, FAILED, STOPPED)

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1; the files are written in the last hundredth."""
        run = self.run
        return 1.0 if self.state == DONE else 0.0 if run is None else round(0.99 * run.fraction, 4)

    @property
    def reached(self) -> dict[str, int]:
        """The step it has reached, counted from 1 (0: none yet), of how many, and the song it is of, counted from 0, of how many."""
        run = self.run
        if run is None:
            return self.last
        newest = run.steps[-1] if run.steps else None
        step, steps, song = (newest.index + 1, newest.steps, newest.item) if newest else (0, 0, 0)
        return {"step": step, "steps": steps, "song": song, "songs": len(run.recipes)}

    @property
    def stage(self) -> str:
        """queued, running, or what it is doing, in a few words."""
        run = self.run
        return run.doing if run is not None and not run.over and self.state == RUNNING else self.doing


class RestTasks:
    """The tasks of one session, its results and uploads in `folder`; `close()` ends its threads.

    ::

        tasks = RestTasks(session, folder)
        task = tasks.begin(read_request(body, place=tasks.place("ada"), models=session.checkpoints), "ada")
        tasks.entries([task.id], "ada")
    """

    def __init__(
        self,
        session: SessionLike,
        folder: str | os.PathLike[str],
        *,
        clock: Clock = time.time,
        most_queued: int = MOST_QUEUED,
        most_age: float = MOST_AGE,
        most_bytes: int = MOST_BYTES,
        adapters: str | os.PathLike[str] | None = None,
        examine: Examine = examined,
        most_seconds: float | None = None,
    ) -> None:
        """`adapters` is the folder they are loaded from (None: the one that is set), `examine` what looks at one.

        `most_seconds`: how long one render may take once it is begun; None: as long as it takes.
        """
        self.session = session
        self.backend: Backend = backend_of(session)
        self.places = SoundPlaces(folder, getattr(session.library, "folder", None), self._sees, adapters)
        self.adapters = ClientAdapters(session, self.places.adapter, examine, self._worn)
        self._changed = Listeners()
        self._clock, self._most_queued = clock, most_queued
        self._most_age, self._most_bytes, self._most_seconds = most_age, most_bytes, most_seconds
        self._tasks: dict[str, RestTask] = {}
        self._waiting: deque[RestTask] = deque()
        self._took: deque[float] = deque(maxlen=50)
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, "acestep_lab rest")
        self.places.sweep(clock() - most_age)

    def place(self, owner: str) -> Place:
        """What a source that somebody's request names becomes; for `read_request`."""
        return lambda text: self.places.source(text, owner)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` whenever a task begins, goes on to something else or ends, on whatever thread; returns the way
        to stop that. How far a render is, the session's queue tells.
        """
        return self._changed.add(listener)

    def _sees(self, id: str, owner: str) -> bool:
        return owner in self.backend.takes.owners.holders(id)

    # -- what the door asks

    def begin(self, request: RenderRequest, owner: str = "", address: str = "") -> RestTask:
        """Take a task on and return at once; QueueFull where too many wait, DoorClosed after `close`."""
        with self._lock:
            if refused := self._refusal():
                _remove(request.uploads)
                raise refused
            task = RestTask(request, owner, Client(owner, address), self._clock(), self.adapters.wanted(owner))
            self._sweep()
            self._tasks[task.id] = task
            self._waiting.append(task)
            self._pool.submit(self._work)
        self._changed.tell()
        return task

    def _refusal(self) -> LabError | None:
        """Why no task can be taken on now; None where one can."""
        if self._closing.is_set():
            return DoorClosed("This server is closing and takes no more tasks.")
        if len(self._waiting) >= self._most_queued:
            return QueueFull(f"{len(self._waiting)} tasks are waiting already; ask again once some are done.")
        return None

    def position(self, task: RestTask) -> int:
        """Its place among those that wait, from 1; 0 once it is in hand."""
        with self._lock:
            return self._waiting.index(task) + 1 if task in self._waiting else 0

    def find(self, id: str, owner: str = "") -> RestTask | None:
        """Somebody's task; None for an unknown id and anybody else's."""
        task = self._tasks.get(id)
        return task if task is not None and task.owner == owner else None

    def when_over(self, task: RestTask, call: Callable[[], None]) -> None:
        """Have something quick called once a task is over, on whichever thread ends it; at once where it is over already."""
        with self._lock:
            if not task.over:
                task.waiters.append(call)
                return
        call()

    def tasks(self, owner: str = "") -> list[RestTask]:
        """Somebody's tasks, the newest first."""
        with self._lock:
            return [task for task in reversed(self._tasks.values()) if task.owner == owner]

    def entries(self, ids: Sequence[str], owner: str = "") -> list[dict[str, Any]]:
        """What `/query_result` says of each id, in their order; an unknown id has failed, and says so."""
        return [_entry(id, self.find(id, owner)) for id in ids]

    def cancel(self, id: str, owner: str = "") -> bool:
        """Stop somebody's task and say whether there was anything to stop."""
        task = self.find(id, owner)
        if task is None or task.over:
            return False
        with self._lock:
            task.stopping = True
            waits = task in self._waiting
            if waits:
                self._waiting.remove(task)
                self._end(task, STOPPED, "The task was cancelled before it began.")
        if waits:
            _remove(task.request.uploads)
        task.client.stop()
        if (run := task.run) is not None:
            run.stop()
        return True

    def stats(self) -> dict[str, Any]:
        """The numbers of `/v1/stats`, of everybody's tasks together."""
        with self._lock:
            states = [task.state for task in self._tasks.values()]
            mean = sum(self._took) / len(self._took) if self._took else USUAL_SECONDS
            counts = {state: states.count(state) for state in (QUEUED, RUNNING, DONE)}
            return {
                "jobs": {"total": len(states), **counts, FAILED: states.count(FAILED) + states.count(STOPPED)},
                "queue_size": len(self._waiting), "queue_maxsize": self._most_queued,
                "avg_job_seconds": round(mean, 3),
            }  # fmt: skip

    def sound_file(self, path: str, owner: str = "") -> tuple[Path, str]:
        """The file of a result and its media type; ForbiddenSound for what is not this person's, MissingSound where none is."""
        found = self.places.sound(path, owner)
        return found, MEDIA[found.suffix.lower()]

    def close(self) -> None:
        """Stop what is under way, drop what waits, and end the threads."""
        with self._lock:  # no task is between being taken on and its turn in the pool
            self._closing.set()
        for task in tuple(self._tasks.values()):
            self.cancel(task.id, task.owner)
        self._pool.shutdown(wait=True)

    # -- the work, on threads of the pool

    def _work(self) -> None:
        """Do the next task: of whoever has the fewest in hand, the one that waits longest."""
        with self._lock:
            if not self._waiting:
                return  # the one this turn was meant for was cancelled
            busy = [task.owner for task in self._tasks.values() if task.state == RUNNING]
            task = min(self._waiting, key=lambda one: busy.count(one.owner))
            self._waiting.remove(task)
            task.state, task.doing, task.began = RUNNING, "running", self._clock()
        self._changed.tell()
        try:
            items = self._items(task)
            with self._lock:
                task.items = items
                self._end(task, DONE)
        except Stopped as stopped:
            self._end(task, STOPPED, str(stopped), stopped)
        except BaseException as problem:  # noqa: BLE001 - whatever an engine raises, an exit too, is this task's failure alone
            _log.info("A task of the REST door failed.", exc_info=not isinstance(problem, LabError))
            self._end(task, FAILED, sentence(problem), problem)
        finally:
            _remove(task.request.uploads)
            with self._lock:
                self._sweep()

    def _end(self, task: RestTask, state: str, error: str = "", problem: BaseException | None = None) -> None:
        with self._lock:
            task.problem, task.last = problem, task.reached
            task.error, task.doing, task.ended, task.run = error, state, self._clock(), None
            task.state = state
            if state == DONE:
                self._took.append(max(0.0, task.ended - task.began))
            waiters, task.waiters = task.waiters, []
        for call in waiters:
            call()
        self._changed.tell()

    def _do(self, task: RestTask, what: str) -> None:
        """Go over to something else, and tell."""
        task.doing = what
        self._changed.tell()

    def _items(self, task: RestTask) -> list[dict[str, Any]]:
        """Everything a task makes, as its results say it."""
        request = task.request
        checkpoint = request.model or self.session.name
        if request.needs_planner and not self.session.has_planner_of(checkpoint):
            raise RecipeError(
                f"{checkpoint} has no planner (LM), which thinking, sample_mode, use_format and analyses need; "
                "turn them off, or load one with /v1/init."
            )
        if request.work == "render":
            return self._render(task)
        return [self._analysis(task)]

    def _render(self, task: RestTask) -> list[dict[str, Any]]:
        recipes = [self._ready(one, task) for one in self._written_out(task)]
        self._wait_for_room(task)
        self._check(task)
        more: dict[str, Any] = {"adapters": task.adapters} if self._wears(task) else {}
        task.run = run = self.backend.start(recipes, owner=task.owner, address=task.client.address, **more)
        if task.stopping:
            run.stop()
        try:
            self._watch(run)
            run.takes()
        except Exception:
            task.items = self._songs(task, run.made)  # what there is of it by then
            raise
        self._do(task, "writing files")
        task.items = songs = self._songs(task, run.made)  # they are there, whatever becomes of their scores
        if task.request.scale is not None:
            self._do(task, "scoring")
            for item, take in zip(songs, run.made.values(), strict=True):
                item["scores"] = self._scores(task, take, task.request.scale)
        if task.request.lrc or task.request.scale is not None:
            self._do(task, "finding words")
            for item, take in zip(songs, run.made.values(), strict=True):
                item |= self.backend.ask(task.client, lambda: timed(self.session, take))  # noqa: B023
        return songs

    def _wears(self, task: RestTask) -> bool:
        """Whether the task is made with its client's own adapters: not by a checkpoint that takes none. RecipeError where a
        file of theirs is gone.
        """
        checkpoint = task.request.model or self.session.name
        if task.adapters is None or not self.session.capabilities_of(checkpoint).attaches:
            return False
        if not all(Path(place).exists() for place, _ in task.adapters):
            raise RecipeError(
                "The file of an adapter you loaded is not there any more; load it again, or take all off with /v1/lora/unload."
            )
        return True

    def _worn(self) -> set[str]:
        """The places of the adapters that tasks need which are not over."""
        with self._lock:
            under_way = [task for task in self._tasks.values() if not task.over]
        return {place for task in under_way for place, _ in task.adapters or ()}

    def _scores(self, task: RestTask, take: Take, scale: float) -> dict[str, Any]:
        return self.backend.ask(task.client, lambda: scores_of(self.session, take, scale))

    def scores(self, id: str, owner: str, scale: float, heard: bool = False) -> list[dict[str, Any]] | None:
        """The scores of a task's songs, found now; they are in its results from now on. None for an unknown task, NotDone
        for one that is not over. Waits for the planner; where `heard` asks for it, also for what is heard against what was
        asked, behind all renders.
        """
        task = self.find(id, owner)
        if task is None:
            return None
        if not task.over:
            raise NotDone("The task is not over yet; ask for its scores once it is.")
        found = []
        for item in task.items:
            if "take_id" in item:
                take = self.backend.takes.take(item["take_id"], owner)
                client = Client(owner, task.client.address)  # the task's own may have been stopped
                item["scores"] = self.backend.ask(client, lambda: scores_of(self.session, take, scale))  # noqa: B023
                item |= self.backend.ask(client, lambda: timed(self.session, take))  # noqa: B023
                rows = self.backend.ask(client, lambda: self.session.scores(take)).to_json() if heard else None  # noqa: B023
                told = {} if rows is None else {"heard": rows["rows"]}
                found.append({"take_id": item["take_id"], "file": item["file"], **item["scores"], **told})
        return found

    def _watch(self, run: RenderRun) -> None:
        """Wait for a render; one that takes longer than it may is stopped, and TookTooLong says so."""
        while self._most_seconds is not None and not run.wait(0.2):
            if run.seconds_running > self._most_seconds:
                run.stop()
                raise TookTooLong(
                    f"The render took longer than {self._most_seconds:g} seconds and was stopped; "
                    "ACESTEP_GENERATION_TIMEOUT of the server lets it take more."
                )

    def _written_out(self, task: RestTask) -> list[Recipe]:
        """The recipes with the words the planner wrote for them, where it was asked to."""
        request = task.request
        recipes = [_seeded(one) for one in request.recipes]
        first = recipes[0]
        if not request.sketch and not request.polish:
            return recipes
        self._do(task, "planning")
        plan = self._ask(task, lambda: self._words(request, first))
        return [plan.resolve(one, words=True) for one in recipes]

    def _words(self, request: RenderRequest, first: Recipe) -> Plan:
        seed = first.seed or 0  # which it has by now
        if request.sketch:
            sings = first.lyrics.strip().lower() not in ("[instrumental]", "[inst]")
            return self.session.sketch(
                request.sketch, not sings, seed, language=first.language, checkpoint=request.model
            )
        fixed = {name: getattr(first, name) for name in ("bpm", "keyscale", "timesignature", "language", "seconds")}
        return self.session.polish(first.caption, first.lyrics, seed, checkpoint=request.model, **fixed)

    def _ask(self, task: RestTask, work: Callable[[], Any]) -> Any:
        """Ask the planner for somebody; cancelling the task ends it."""
        self._wait_for_room(task)
        self._check(task)
        return self.backend.ask(task.client, work)

    def _ready(self, recipe: Recipe, task: RestTask) -> Recipe:
        """A recipe with its seed, its sounds read, and only the knobs its checkpoint has: clients send every one."""
        sources = {name: self._sound(source, task.owner) for name, source in recipe.task.sources().items()}
        kind = self.session.capabilities_of(recipe.checkpoint or self.session.name).sampling
        sampling = recipe.sampling
        if type(sampling) is not kind:
            sampling = fitted(sampling.given(), kind)
        return recipe.replace(task=recipe.task.with_sources(sources), sampling=sampling)

    def _sound(self, source: Source, owner: str) -> Source:
        """A file as the sound in it, read now: it may be gone once the run begins; an id as it is, where it is theirs.

        SourceError in words that whoever asked knows: a file that was sent has a name here that its sender never saw.
        """
        text = str(source)
        try:
            return self.backend.source(text, owner) if is_id(text) else Audio.read(text)
        except LibraryError as problem:
            raise SourceError(str(problem)) from None
        except SourceError as problem:
            if not Path(text).is_relative_to(self.places.uploads(owner)):
                raise
            raise SourceError(str(problem).replace(shown(Path(text).name), "The sound that was sent")) from None

    def _wait_for_room(self, task: RestTask) -> None:
        """Wait until the session's queue takes another run of this person's, and of everybody's at their address."""
        while not task.stopping and not self._closing.is_set() and self._live(task.client) >= MOST_WAITING - THREADS:
            self._closing.wait(0.05)

    def _live(self, client: Client) -> int:
        live = [run.client for run in self.backend.jobs.runs() if not run.over and run.client.counted]
        mine = sum(one.owner == client.owner for one in live)
        return max(mine, sum(one.address == client.address for one in live) if client.address else 0)

    def _check(self, task: RestTask) -> None:
        if task.stopping or self._closing.is_set():
            raise Stopped("The task was cancelled before it had a result.")

    # -- results

    def _songs(self, task: RestTask, made: Mapping[int, Take]) -> list[dict[str, Any]]:
        """An item for each take, by its place, with its file written."""
        seeds = ",".join(str(take.recipe.seed) for take in made.values())
        return [self._song(task, place, take, seeds) for place, take in made.items()]

    def _song(self, task: RestTask, place: int, take: Take, seeds: str) -> dict[str, Any]:
        file = self._write(task, place, take.audio)
        recipe, url, checkpoint = take.recipe, address_of(file), _checkpoint_of(take, self.session)
        return _item(task) | {
            "file": url, "url": url, "status": 1, "prompt": recipe.caption, "lyrics": recipe.lyrics,
            "metas": _metas(recipe, take.seconds, task.request, take.plan), "seed_value": seeds,
            "generation_info": _info(take), "lm_model": self._planner(checkpoint), "dit_model": checkpoint,
            "progress": 1.0, "stage": DONE, "take_id": take.id, "seed": recipe.seed, "language": recipe.language,
            "scores": None, **untimed(recipe.lyrics, self._aligns(checkpoint)),
            **(_codes(take.plan.codes) if take.plan is not None and take.plan.codes else {}),
        }  # fmt: skip

    def _aligns(self, checkpoint: str) -> bool:
        """Whether a take's checkpoint finds words in time; no where it is closed by now."""
        return checkpoint in self.session.checkpoints and self.session.capabilities_of(checkpoint).aligns

    def _planner(self, checkpoint: str) -> str:
        """What the planner of a take's checkpoint is called; "" where there is none, or the checkpoint is closed by now."""
        return planner_of(self.session, checkpoint) if checkpoint in self.session.checkpoints else ""

    def _write(self, task: RestTask, place: int, audio: Audio) -> Path:
        """Write a song as the format that was asked for; what is above full scale is turned down, for all clients read alike."""
        ending, bits = _ENDING[task.request.audio_format]
        sound = audio.normalized() if audio.peak > 1 and task.request.audio_format != "wav32" else audio
        file = sound.write(self.places.results(task.owner) / f"{task.id}-{place + 1}{ending}", bits=bits)
        task.files.append(file)
        return file

    def _analysis(self, task: RestTask) -> dict[str, Any]:
        """The one item of a task that makes no sound."""
        request, session = task.request, self.session
        self._do(task, "listening" if request.source else "planning")
        sound = None if request.source is None else self._sound(request.source, task.owner)
        codes: tuple[int, ...] = ()
        if sound is not None and request.work in ("codes", "full_analysis"):
            codes = self._ask(task, lambda: session.codes(sound, checkpoint=request.model))
        if request.work == "codes":
            return _item(task) | {"status": 1, "status_message": "Codes extracted.", "metas": {}} | _codes(codes)
        if sound is not None:
            plan = self._ask(task, lambda: session.understand(sound, checkpoint=request.model))
        else:
            plan = self._ask(task, lambda: session.plan(request.recipes[0], codes=False))
        return _item(task) | _understood(plan) | (_codes(codes) if codes else {})

    # -- sweeping

    def _sweep(self) -> None:
        """Forget what is over and old, and the oldest results where all together are too large."""
        now = self._clock()
        self.adapters.sweep()
        over = sorted((task for task in self._tasks.values() if task.over), key=lambda task: task.ended)
        sizes = {task.id: sum(_size(file) for file in task.files) for task in over}
        held = sum(sizes.values())
        for task in over:
            kept = len(self._tasks) <= MOST_KEPT and (held <= self._most_bytes or not sizes[task.id])
            if now - task.ended <= self._most_age and kept:
                continue
            held -= sizes[task.id]
            _remove(task.files)
            del self._tasks[task.id]


def _seeded(recipe: Recipe) -> Recipe:
    """A recipe with a seed, drawn where nobody chose one: the planner's words come from it as well."""
    return recipe.replace(seed=secrets.randbelow(2**32)) if recipe.seed is None else recipe


def address_of(file: Path) -> str:
    """Where a result is fetched: ends in the file's real ending, which some clients read there."""
    return f"/v1/audio?path={quote(str(file), safe='')}"


def _entry(id: str, task: RestTask | None) -> dict[str, Any]:
    """One task as `/query_result` says it; None for one that nobody knows."""
    if task is None:
        lost = "This task is not known here: the server was started anew, it is too old, or it is not yours."
        item = {"file": "", "wave": "", "status": 2, "progress": 0.0, "stage": FAILED, "error": lost, "metas": {}}
        return {"task_id": id, "status": 2, "result": json.dumps([item]), "progress_text": lost}
    state = task.state
    if state == DONE:
        items = task.items
    else:
        why = {"error": task.error, "status_message": task.error} if task.over else {}
        made = task.items if task.over else []
        items = [one | {"status": STATUS[state], "stage": FAILED} | why for one in made] or [_item(task) | why]
    text = json.dumps(items, ensure_ascii=False)
    return {"task_id": id, "status": STATUS[state], "result": text, "progress_text": task.error or task.stage}


def _item(task: RestTask) -> dict[str, Any]:
    """What every item says, whatever became of its task."""
    return {
        "file": "", "wave": "", "status": STATUS[task.state], "create_time": int(task.created), "env": "development",
        "prompt": task.request.prompt, "lyrics": task.request.lyrics, "metas": {},
        "progress": task.fraction, "stage": FAILED if task.state == STOPPED else task.stage,
    }  # fmt: skip


def _metas(recipe: Recipe, seconds: float, request: RenderRequest, plan: Plan | None) -> dict[str, Any]:
    """A song's metadata by the names of results; what is absent is the text "N/A"."""
    known = {
        "bpm": recipe.bpm, "duration": round(seconds, 2), "genres": plan.genres if plan is not None else "",
        "keyscale": recipe.keyscale, "timesignature": recipe.timesignature,
    }  # fmt: skip
    asked = {"prompt": request.prompt, "lyrics": request.lyrics}
    return {name: NONE if value in (None, "") else value for name, value in known.items()} | asked


def _understood(plan: Plan) -> dict[str, Any]:
    """What the planner heard or wrote, as an item."""
    words = {
        "bpm": plan.bpm, "keyscale": plan.keyscale, "timesignature": plan.timesignature, "duration": plan.seconds,
        "genre": plan.genres, "prompt": plan.caption, "lyrics": plan.lyrics, "language": plan.language,
    }  # fmt: skip
    said = {name: NONE if value in (None, "") else value for name, value in words.items()}
    metas = {name: said[name] for name in ("bpm", "keyscale", "timesignature", "duration")} | {"genres": said["genre"]}
    done = {"status": 1, "status_message": "Analysis done.", "progress": 1.0, "stage": DONE}
    return said | {"metas": metas} | done


def _codes(codes: Sequence[int]) -> dict[str, Any]:
    written = "".join(f"<|audio_code_{code}|>" for code in codes)
    return {"audio_codes": written, "progress": 1.0, "stage": DONE}


def _info(take: Take) -> str:
    """What a person is told of how a song was made."""
    steps = getattr(take.recipe.sampling, "steps", None)
    worn = take.made_with.get("adapters")
    said = f"{take.seconds:.1f} s of music, seed {take.recipe.seed}" + (f", {steps} steps" if steps else "")
    return said + (f", adapters: {', '.join(map(str, worn))}" if isinstance(worn, Mapping) and worn else "")


def _checkpoint_of(take: Take, session: SessionLike) -> str:
    return str(take.made_with.get("checkpoint") or take.recipe.checkpoint or session.name)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # swept by somebody else


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with contextlib.suppress(OSError):  # gone already, or held open: the folder is a temporary one
            file.unlink(missing_ok=True)
