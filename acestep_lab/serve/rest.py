"""The routes of ACE-Step 1.5's REST API over a Session, and a few more. Thin: what is asked becomes a value, what was
made an answer; the work is done in `rest_fields`, `rest_tasks` and `rest_verbs`.

Routes, fields, envelope and quirks are those of the published server (API.md of ACE-Step 1.5). Ours differs on purpose
where that leaves its users waiting: an unknown id has failed, a failure says why, a refused task leaves no ghost.
Our own routes: `/v1/cancel`, `/v1/tasks`, `/v1/events` (server-sent events), `/openapi.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.client import Client
from acestep_lab.serve import rest_verbs
from acestep_lab.serve.api_chat import ChatCompletions, OpenAiHandler
from acestep_lab.serve.api_handler import ApiHandler, Refused
from acestep_lab.serve.openapi import document
from acestep_lab.serve.rest_fields import read_request, task_ids
from acestep_lab.serve.rest_tasks import RestTask
from acestep_lab.serve.sound_urls import byte_range

MOST_LISTENERS = 200
"""Clients that may listen to events at once."""
HEARTBEAT = 15.0
"""Seconds of silence after which a listener is told that the connection still stands."""
_PIECE = 2**18


class Health(ApiHandler):
    """Whether the door answers, and what is in use."""

    is_open = True

    def get(self) -> None:
        lab = self.door.session
        self.answer(
            {
                "status": "ok", "service": "ACE-Step Music Generation API", "version": "1.0",
                "models_initialized": True, "llm_initialized": lab.has_planner, "loaded_model": lab.name,
                "loaded_lm_model": rest_verbs.inventory(lab)["loaded_lm_model"],
            }
        )  # fmt: skip


class ReleaseTask(ApiHandler):
    """Ask for music."""

    takes_files = True

    async def post(self) -> None:
        body = self.read_body()
        try:
            task = await self.work(self._begin)
        except BaseException:
            body.forget()
            raise
        place = max(1, self.door.tasks.position(task))
        self.answer({"task_id": task.id, "status": "queued", "queue_position": place})

    def _begin(self) -> RestTask:
        tasks = self.door.tasks
        files = {name: one.path for name, one in self.body.files.items()}
        request = read_request(
            self.body.fields, files, place=tasks.place(self.owner), models=self.door.session.checkpoints
        )
        return tasks.begin(request, self.owner, str(self.request.remote_ip))


class QueryResult(ApiHandler):
    """How tasks stand, and what came of them."""

    def post(self) -> None:
        self.answer(self.door.tasks.entries(task_ids(self.read_body().fields), self.owner))


class SoundFile(ApiHandler):
    """The file of a result, whole or a range of it."""

    async def get(self) -> None:
        path, media = self.door.tasks.sound_file(self.get_query_argument("path", ""), self.owner)
        size = path.stat().st_size
        asked = self.request.headers.get("Range", "")
        span = byte_range(asked, size)
        if span is None:
            self.set_header("Content-Range", f"bytes */{size}")
            raise Refused(416, "The file has no such bytes.")
        first, last = span
        if asked and (first, last) != (0, size - 1):
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.set_header("Content-Type", media)
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Length", str(last - first + 1))
        self.set_header("Content-Disposition", f'inline; filename="{path.name}"')
        if self.request.method == "GET":
            await self._stream(path, first, last + 1)

    head = get

    async def _stream(self, path: Path, first: int, end: int) -> None:
        """Piece by piece, as fast as whoever fetches it takes them."""
        with path.open("rb") as file:
            file.seek(first)
            while first < end and (piece := file.read(min(_PIECE, end - first))):
                self.write(piece)
                first += len(piece)
                await self.flush()


class Models(OpenAiHandler):
    """The open checkpoints, as OpenAI's clients list them: without the envelope."""

    def get(self) -> None:
        self.send(rest_verbs.models(self.door.session))


class Model(OpenAiHandler):
    """One open checkpoint, as OpenAI's clients ask for it."""

    def get(self, id: str) -> None:
        rows = rest_verbs.models(self.door.session)["data"]
        found = next((row for row in rows if id in (row["id"], row["name"])), None)
        if found is None:
            raise Refused(404, f"No model {shown(id)} is open here; /v1/models lists those that are.")
        self.send(found)


class Inventory(ApiHandler):
    """What each open checkpoint can do."""

    def get(self) -> None:
        self.answer(rest_verbs.inventory(self.door.session))


class Stats(ApiHandler):
    """How many tasks there are, and how long they take."""

    def get(self) -> None:
        self.answer(self.door.tasks.stats())


class _Asked(ApiHandler):
    """A route that waits for the session; what it cannot do comes as HTTP 200 with a code inside, as clients expect it."""

    async def post(self) -> None:
        self.read_body()
        try:
            found = await self.work(self._ask)
        except RecipeError as problem:
            self.answer(None, 400, str(problem))
        except LabError as problem:
            self.answer(None, int(getattr(problem, "status", 500)), str(problem))
        else:
            self.answer(found)

    def _ask(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def client(self) -> Client:
        """On whose behalf the planner is asked."""
        return Client(self.owner, str(self.request.remote_ip))


class FormatInput(_Asked):
    """Better words for a prompt and lyrics."""

    def _ask(self) -> dict[str, Any]:
        return rest_verbs.format_input(self.door.session, self.body.fields, self.client)


class CreateSample(_Asked):
    """A song's words out of one sentence."""

    def _ask(self) -> dict[str, Any]:
        return rest_verbs.create_sample(self.door.session, self.body.fields, self.client)


class RandomSample(_Asked):
    """One of the examples."""

    def _ask(self) -> dict[str, Any]:
        return rest_verbs.random_sample()


class Init(_Asked):
    """Make another checkpoint the one in use."""

    def _ask(self) -> dict[str, Any]:
        return rest_verbs.init(self.door.session, self.body.fields, self.owner)


class Cancel(ApiHandler):
    """Stop tasks: `task_id`, or `task_id_list`."""

    async def post(self) -> None:
        ids = task_ids(self.read_body().fields)
        stopped = [id for id in ids if await self.work(self.door.tasks.cancel, id, self.owner)]
        self.answer({"cancelled": stopped, "not_running": [id for id in ids if id not in stopped]})


class Tasks(ApiHandler):
    """The asker's own tasks, the newest first."""

    def get(self) -> None:
        self.answer([state_of(task) for task in self.door.tasks.tasks(self.owner)])


def state_of(task: RestTask) -> dict[str, Any]:
    """How a task stands, in a few plain values; `eta` in seconds, null while nothing is known."""
    run = task.run
    eta = None if run is None or task.over else run.eta
    steps = getattr(run, "steps", None) if run is not None else None
    return {
        "task_id": task.id, "state": task.state, "stage": task.stage, "progress": task.fraction, "create_time": task.created,
        "eta": None if eta is None else round(eta, 2), "step": len(steps) if steps else 0,
    }  # fmt: skip


class Events(ApiHandler):
    """Server-sent events of the asker's tasks (all, or `?task_id=`): one `task` event whenever one of them changes."""

    async def get(self) -> None:
        only = self.get_query_argument("task_id", "")
        if only and self.door.tasks.find(only, self.owner) is None:
            raise Refused(404, "There is no such task of yours.")
        listeners = self.door.listeners
        if len(listeners) >= MOST_LISTENERS:
            raise Refused(503, f"{MOST_LISTENERS} clients listen already; ask /query_result instead.")
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake(run: object, event: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(changed.set)

        stop = self.door.session.jobs.subscribe(wake, self.owner)
        listeners.add(self)
        try:
            await self._tell(only, changed)
        except StreamClosedError:  # whoever listened has gone
            pass
        finally:
            listeners.discard(self)
            stop()

    async def _tell(self, only: str, changed: asyncio.Event) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        told: dict[str, str] = {}
        quiet = 0.0
        await self.flush()
        while True:
            tasks = [one for one in self.door.tasks.tasks(self.owner) if not only or one.id == only]
            for task in reversed(tasks):
                text = json.dumps(state_of(task), ensure_ascii=False)
                if told.get(task.id) != text:
                    told[task.id], quiet = text, 0.0
                    self.write(f"event: task\ndata: {text}\n\n")
            if quiet >= HEARTBEAT:
                self.write(": still here\n\n")
                quiet = 0.0
            await self.flush()
            if only and tasks and tasks[0].over:
                return
            changed.clear()
            quiet += await _wait(changed, 0.5)


async def _wait(changed: asyncio.Event, seconds: float) -> float:
    """Wait for a change, at most so long; gives how long at most. What comes together is told together."""
    try:
        await asyncio.wait_for(changed.wait(), seconds)
    except TimeoutError:
        return seconds
    await asyncio.sleep(0.02)
    return 0.0


class OpenApi(ApiHandler):
    """What this door understands, as an OpenAPI document."""

    is_open = True

    def get(self) -> None:
        self.send(document())


ROUTES: dict[str, type[RequestHandler]] = {
    "/health": Health,
    "/release_task": ReleaseTask,
    "/query_result": QueryResult,
    "/v1/audio": SoundFile,
    "/v1/models": Models,
    "/v1/models/{id}": Model,
    "/api/v1/models": Models,
    "/v1/chat/completions": ChatCompletions,
    "/api/v1/chat/completions": ChatCompletions,
    "/v1/model_inventory": Inventory,
    "/v1/stats": Stats,
    "/v1/init": Init,
    "/format_input": FormatInput,
    "/v1/create_sample": CreateSample,
    "/create_random_sample": RandomSample,
    "/v1/cancel": Cancel,
    "/v1/tasks": Tasks,
    "/v1/events": Events,
    "/openapi.json": OpenApi,
}
"""Every route by its path, `{id}` for the rest of it; `openapi.py` describes the same ones, which a test holds it to."""
