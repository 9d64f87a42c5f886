"""The routes of a session far away (`remote/`): what is in use, short verbs, runs and what happens in them.

Plain JSON without an envelope, values as `remote/wire.py` writes them. Every key's bearer sees their own runs and takes;
what moves things for everybody is the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.client import Client
from acestep_lab.prompt import checks
from acestep_lab.remote.wire import VERSION, array_of, to_wire
from acestep_lab.serve.api_handler import ApiHandler, Refused
from acestep_lab.serve.api_lab_asked import RUNS, VERBS, Asked, Fields, begin
from acestep_lab.serve.api_lab_runs import LabRun
from acestep_lab.serve.openapi import Row
from acestep_lab.takes.ids import take_id
from acestep_lab.takes.take import Take

MOST_LISTENERS = 200
"""Runs that are followed at once."""
HEARTBEAT = 15.0
"""Seconds of silence after which whoever follows a run is told that the line still stands."""
MOST_SECONDS = 3600.0
"""The latest time in a sound that can be listened to, and the longest piece of one."""


# -- handlers


class _Lab(ApiHandler):
    """A route of the lab: whose client asks."""

    @property
    def client(self) -> Client:
        """On whose behalf something small is done."""
        return Client(self.owner, str(self.request.remote_ip))

    def aside(self, job: Callable[[], Any]) -> Any:
        """Do something small for somebody, of which they may have a few at once."""
        done = self.door.session.jobs.attend(self.client)
        try:
            with self.client.acting():
                return job()
        finally:
            done()

    def seconds(self, name: str) -> float:
        """A time of the query, in seconds; RecipeError for what is none."""
        text = self.get_query_argument(name, "")
        try:
            found = float(text)
        except ValueError:
            raise RecipeError(f"The field {name} is a number of seconds, not {shown(text)}.") from None
        return checks.real(f"The field {name}", found, 0.0, MOST_SECONDS)

    def whole(self, name: str) -> int:
        """Which one, counted from 0, of the query; RecipeError for what is no such number."""
        text = self.get_query_argument(name, "")
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise RecipeError(f"The field {name} is a whole number from 0, not {shown(text)}.")
        return int(text)

    def send_sound(self, audio: Audio) -> None:
        """A sound as a WAV of the floats it is."""
        self.set_header("Content-Type", "audio/wav")
        self.finish(audio.encoded("wav", bits=32))


class Lab(_Lab):
    """What is in use."""

    async def get(self) -> None:
        self.send(await self.work(self._facts))

    def _facts(self) -> Fields:
        lab = self.door.session
        rows = [
            {"name": name, "capabilities": to_wire(lab.capabilities_of(name)), "has_planner": lab.has_planner_of(name)}
            for name in lab.checkpoints
        ]
        adapters = [[name, file if not self.owner else "", strength] for name, file, strength in lab.adapters]
        return {
            "version": VERSION, "name": lab.name, "checkpoints": rows, "tier": str(lab.tier.name), "adapters": adapters,
            "host": not self.owner,
        }  # fmt: skip


class Do(_Lab):
    """A short verb."""

    async def post(self, verb: str) -> None:
        fields = self.read_body().fields
        if verb not in VERBS:
            raise Refused(404, f"There is no verb {shown(verb)}; there are {', '.join(VERBS)}.")
        self.send({"value": await self.work(self.aside, partial(self._do, verb, fields))})

    def _do(self, verb: str, fields: Mapping[str, Any]) -> Any:
        """Read what is asked for, which may be much, and do it."""
        asked = Asked(self.door.lab.backend, self.owner, fields, self.door.tasks.places.adapter)
        return to_wire(VERBS[verb](asked))


class Runs(_Lab):
    """Begin a run: `id`, `kind` and what it asks for."""

    async def post(self) -> None:
        fields = self.read_body().fields
        find, address = self.door.tasks.places.adapter, str(self.request.remote_ip)
        run = await self.work(begin, self.door.lab, fields, self.owner, address, find)
        self.send({"id": run.id})


class RunEvents(_Lab):
    """What happens in a run, as server-sent events, those after `Last-Event-ID`; the last is called `end`."""

    async def get(self, id: str) -> None:
        run = self.door.lab.find(id, self.owner)
        after = self.request.headers.get("Last-Event-ID", "")
        if len(self.door.listeners) >= MOST_LISTENERS:
            raise Refused(503, f"{MOST_LISTENERS} runs are followed already; try again in a while.")
        loop, self._changed = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._changed.set)

        stop = run.listen(wake)
        self.door.listeners.add(self)
        try:
            await self._tell(run, int(after) if after.isascii() and after.isdigit() and len(after) < 12 else 0)
        except StreamClosedError:  # whoever followed has gone; the run goes on
            pass
        finally:
            self.door.listeners.discard(self)
            stop()

    async def _tell(self, run: LabRun, after: int) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        told: Fields = {}
        while True:
            self._changed.clear()
            over, entries, status = run.over, run.since(after), run.status()
            for entry in entries:
                self.write(f"id: {entry.number}\nevent: {entry.kind}\ndata: {entry.text}\n\n")
                after = entry.number
            if status and status != told:
                told = status
                self.write(f"event: status\ndata: {json.dumps(status)}\n\n")
            if over:
                self.write("event: end\ndata: {}\n\n")
                await self.flush()
                return
            await self.flush()
            await self._wait()

    async def _wait(self) -> None:
        """Wait for what happens next; a sign of life after a while without."""
        try:
            await asyncio.wait_for(self._changed.wait(), HEARTBEAT)
        except TimeoutError:
            self.write(": still here\n\n")

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if hasattr(self, "_changed"):
            self._changed.set()  # the next write says that nobody listens


class RunStep(_Lab):
    """The estimate of a step, or with `?which=state` where the loop is, `[frames, channels]`, as .npy."""

    async def get(self, id: str, number: str, item: str) -> None:
        run = self.door.lab.find(id, self.owner)
        which = self.get_query_argument("which", "estimate")
        if which not in ("estimate", "state"):
            raise RecipeError(f"Of a step there is its estimate and its state, not {shown(which)}.")
        body = await self.work(self._array, run, int(number), int(item), which)
        self.set_header("Content-Type", "application/octet-stream")
        self.finish(body)

    def _array(self, run: LabRun, number: int, item: int, which: str) -> bytes:
        latent = getattr(run.step(number, item), which)
        if latent is None:
            raise RecipeError("This step has nothing to look at.")
        file = io.BytesIO()
        np.save(file, array_of(latent), allow_pickle=False)
        return file.getvalue()


class RunStop(_Lab):
    """Ask a run to end."""

    async def post(self, id: str) -> None:
        self.read_body()
        await self.work(self.door.lab.stop, self.door.lab.find(id, self.owner))
        self.send({})


class RunKeep(_Lab):
    """Make a take of a step: `step`, `item`; answers with its id."""

    async def post(self, id: str) -> None:
        fields = self.read_body().fields
        run = self.door.lab.find(id, self.owner)
        self.send({"take": await self.work(self.aside, partial(self._keep, run, fields))})

    def _keep(self, run: LabRun, fields: Mapping[str, Any]) -> str:
        step, item = (
            checks.whole("A step", fields.get("step"), 0, 10**9),
            checks.whole("An item", fields.get("item", 0), 0, 10**9),
        )
        take = run.render().keep(step, item)
        problem = self.door.lab.backend.takes.keep(take, self.owner)
        if problem:
            raise LabError(problem)
        return str(take.id)


class RunHear(_Lab):
    """The seconds from `start` to `end` of a step's estimate."""

    async def get(self, id: str) -> None:
        run = self.door.lab.find(id, self.owner)
        step, item, start, end = self.whole("step"), self.whole("item"), self.seconds("start"), self.seconds("end")
        self.send_sound(await self.work(self.aside, lambda: run.render().hear(step, start, end, item)))


class Preview(_Lab):
    """The `seconds` around a time `at` of a take's latent, or of a step of a run (`run`, `step`, `item`)."""

    async def get(self) -> None:
        self.send_sound(await self.work(self.aside, self._preview))

    def _preview(self) -> Audio:
        lab, at, seconds = self.door.lab, self.seconds("at"), self.seconds("seconds")
        made: Take | Step
        if take := self.get_query_argument("take", ""):
            made = lab.backend.takes.take(take_id(take), self.owner)
        else:
            run = lab.find(self.get_query_argument("run", ""), self.owner)
            made = run.step(self.whole("step"), self.whole("item"))
        return self.door.session.preview(made, at, seconds)


LAB_ROUTES: dict[str, type[RequestHandler]] = {
    "/v1/lab": Lab,
    "/v1/lab/do/([a-z_]+)": Do,
    "/v1/lab/runs": Runs,
    "/v1/lab/runs/([0-9a-zA-Z-]+)/events": RunEvents,
    "/v1/lab/runs/([0-9a-zA-Z-]+)/steps/([0-9]{1,9})/([0-9]{1,9})": RunStep,
    "/v1/lab/runs/([0-9a-zA-Z-]+)/stop": RunStop,
    "/v1/lab/runs/([0-9a-zA-Z-]+)/keep": RunKeep,
    "/v1/lab/runs/([0-9a-zA-Z-]+)/hear": RunHear,
    "/v1/lab/preview": Preview,
}
"""The routes of sessions far away, by their paths as Tornado reads them."""

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_RUN = "/v1/lab/runs/{id}"
LAB_ROWS: tuple[Row, ...] = (
    ("get", "/v1/lab", "What is in use, for a session far away", {}),
    ("post", "/v1/lab/do/{verb}", f"A short verb: {', '.join(VERBS)}", {}),
    ("post", "/v1/lab/runs", f"Begin a run: {', '.join(RUNS)}", {"id": _TEXT, "kind": _TEXT}),
    ("get", f"{_RUN}/events", "Server-sent events of a run, those after Last-Event-ID", {}),
    ("get", f"{_RUN}/steps/{{step}}/{{item}}", "A step's estimate, or with `which=state` its x_t, as .npy", {}),
    ("post", f"{_RUN}/stop", "Ask a run to end", {}),
    ("post", f"{_RUN}/keep", "Make a take of a step", {"step": _NUMBER, "item": _NUMBER}),
    ("get", f"{_RUN}/hear", "Seconds of a step", dict.fromkeys(("step", "item", "start", "end"), _NUMBER)),
    ("get", "/v1/lab/preview", "Seconds of a take's latent, or a step's", {"take": _TEXT, "at": _NUMBER, "seconds": _NUMBER}),
)  # fmt: skip
"""The same routes as `openapi.py` describes them."""
