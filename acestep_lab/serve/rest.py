"""The routes of ACE-Step 1.5's REST API over a Session, and a few more. Thin: what is asked becomes a value, what was
made an answer; the work is done in `rest_fields`, `rest_tasks` and `rest_verbs`.

Routes, fields, envelope and quirks are those of the published server (API.md of ACE-Step 1.5). Ours differs on purpose
where that leaves its users waiting: an unknown id has failed, a failure says why, a refused task leaves no ghost.
Our own routes: `/v1/cancel`, `/v1/tasks`, `/v1/events` (server-sent events), `/v1/latent`, `/v1/scores`, `/openapi.json`.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from tornado.web import RequestHandler

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.client import Client
from acestep_lab.serve import rest_adapters, rest_verbs
from acestep_lab.serve.api_chat import ChatCompletions, OpenAiHandler
from acestep_lab.serve.api_handler import ApiHandler, Refused
from acestep_lab.serve.api_lab import LAB_ROUTES, LAB_ROWS
from acestep_lab.serve.api_lab_library import LIBRARY_ROUTES, LIBRARY_ROWS
from acestep_lab.serve.openapi import document
from acestep_lab.serve.rest_events import state_of
from acestep_lab.serve.rest_fields import SCORE_SCALE, read_request, task_ids
from acestep_lab.serve.rest_listening import Events, Latent
from acestep_lab.serve.rest_tasks import RestTask
from acestep_lab.serve.rest_training import TRAINING_ROUTES
from acestep_lab.serve.sound_urls import byte_range

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
        self.set_header("Content-Disposition", f"inline; filename*=UTF-8''{quote(path.name, safe='')}")
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
    """A route whose failures come as HTTP 200 with a code inside, as clients expect it."""

    waits: ClassVar[bool] = True
    """Whether it waits for the planner or for models; what does not has no need of a turn."""

    async def post(self) -> None:
        self.read_body()
        try:
            found = await (self.ask(self._ask) if self.waits else self.work(self._ask))
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

    waits = False

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


class Scores(ApiHandler):
    """How well a task's songs agree with their plans: `task_id`, and perhaps `scale`; found out when it is asked."""

    async def get(self) -> None:
        scale = self.get_query_argument("scale", "") or str(SCORE_SCALE)
        try:
            asked = float(scale)
        except ValueError:
            asked = math.nan
        if not 0 < asked < 1e6:
            raise Refused(400, f"scale is a number above 0, such as {SCORE_SCALE}, not {shown(scale)}.")
        task = self.get_query_argument("task_id", "")
        heard = rest_verbs.is_on(self.get_query_argument("heard", ""))
        found = await self.ask(partial(self.door.tasks.scores, task, self.owner, asked, heard))
        if found is None:
            raise Refused(404, "There is no such task of yours.")
        self.answer(found)


class LoraLoad(ApiHandler):
    """Load an adapter for the asker alone; what fails is HTTP 400."""

    takes_files = True

    async def post(self) -> None:
        body = self.read_body()
        files = [one.path for one in body.files.values()]
        sent = files[0] if files else None
        try:
            if len(files) > 1:
                raise Refused(400, "Send one adapter at a time.")
            done = await self.work(rest_adapters.load, self.door.tasks.adapters, body.fields, sent, self.owner)
        except BaseException:
            body.forget()
            raise
        self.answer(done)


class LoraUnload(ApiHandler):
    """Take the asker's adapters off; what fails is HTTP 400."""

    async def post(self) -> None:
        self.read_body()
        self.answer(await self.work(rest_adapters.unload, self.door.tasks.adapters, self.owner))


class LoraStatus(ApiHandler):
    """Which adapters the asker's next task sounds with."""

    async def get(self) -> None:
        self.answer(await self.work(self.door.tasks.adapters.status, self.owner))


class LoraToggle(_Asked):
    """Switch the asker's adapters off, and on again; what fails is a code in the envelope."""

    waits = False

    def _ask(self) -> dict[str, Any]:
        return rest_adapters.toggle(self.door.tasks.adapters, self.body.fields, self.owner)


class LoraScale(_Asked):
    """Give one of the asker's adapters another strength; what fails is a code in the envelope."""

    waits = False

    def _ask(self) -> dict[str, Any]:
        return rest_adapters.scale(self.door.tasks.adapters, self.body.fields, self.owner)


class Reinitialize(_Asked):
    """Have the models read anew (the host)."""

    def _ask(self) -> dict[str, Any]:
        return rest_verbs.reinitialize(self.door.session, self.owner)


MORE_ROWS = (*LAB_ROWS, *LIBRARY_ROWS)
"""What the document says of the routes for sessions far away."""


class OpenApi(ApiHandler):
    """What this door understands, as an OpenAPI document."""

    is_open = True

    def get(self) -> None:
        self.send(document(MORE_ROWS))


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
    "/v1/latent": Latent,
    "/v1/scores": Scores,
    "/v1/lora/load": LoraLoad,
    "/v1/lora/unload": LoraUnload,
    "/v1/lora/status": LoraStatus,
    "/v1/lora/toggle": LoraToggle,
    "/v1/lora/scale": LoraScale,
    "/v1/reinitialize": Reinitialize,
    **TRAINING_ROUTES,
    "/openapi.json": OpenApi,
    **LAB_ROUTES,
    **LIBRARY_ROUTES,
}
"""Every route by its path, `{id}` for the rest of it; `openapi.py` describes the same ones, which a test holds it to."""
