"""The routes of a session far away (`remote/`): what is in use, short verbs, runs and what happens in them.

Plain JSON without an envelope, values as `remote/wire.py` writes them. Every key's bearer sees their own runs and takes;
what moves things for everybody is the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.rendering import recipes_of, varied_seeds
from acestep_lab.plan.fields import ATTRIBUTES
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED, TASKS
from acestep_lab.remote.wire import VERSION, Price, array_of, from_wire, to_wire
from acestep_lab.serve.api_handler import ApiHandler, Refused
from acestep_lab.serve.api_lab_runs import LabRun, LabRuns, Work, token_row
from acestep_lab.serve.api_lab_shelf import shelf_of
from acestep_lab.serve.openapi import Row
from acestep_lab.serve.rest_verbs import HostOnly
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.ids import is_id, is_take_id
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend

MOST_LISTENERS = 200
"""Runs that are followed at once."""
HEARTBEAT = 15.0
"""Seconds of silence after which whoever follows a run is told that the line still stands."""
_RUN_ID = re.compile(r"[0-9a-zA-Z-]{8,64}")
Fields = dict[str, Any]


@runtime_checkable
class _Verifies(Protocol):
    def verify(self, take: Take) -> Any: ...


class Asked:
    """What somebody far away asks for, read: the fields of a request, and whose they are."""

    def __init__(
        self, backend: Backend, owner: str, fields: Mapping[str, Any], find_adapter: Callable[[str, str], str]
    ) -> None:  # fmt: skip
        """`find_adapter(name, owner)` is the file of an adapter that somebody may put on; RecipeError where they may not."""
        self._find_adapter = find_adapter
        self.backend, self.owner, self.fields = backend, owner, {name: from_wire(one) for name, one in fields.items()}

    @property
    def session(self) -> SessionLike:
        """The session here."""
        return self.backend.session

    def get(self, name: str) -> Any:
        """A field as it came; None where it did not."""
        return self.fields.get(name)

    def read(self, name: str) -> Any:
        """A field of words, numbers and yes or no; None where it did not come. RecipeError for another kind of value."""
        value = self.fields.get(name)
        return None if value is None else _READERS[name](f"The field {name}", value)

    def some(self, *names: str) -> Fields:
        """Those of these fields that came; the first must."""
        found = {name: value for name in names if (value := self.read(name)) is not None}
        if names[0] not in found:
            raise RecipeError(f"The field {names[0]} is missing.")
        return found

    def host(self, what: str) -> None:
        """HostOnly for everybody else."""
        if self.owner:
            raise HostOnly(f"Only the host's key can {what}.")

    def sound(self, name: str = "source") -> Take | Audio:
        """A take or recording of theirs, by its id."""
        return shelf_of(self.backend).source(_id(self.get(name)), self.owner)

    def take(self, name: str) -> Take:
        """A take of theirs."""
        found = self.sound(name)
        if not isinstance(found, Take):
            raise RecipeError(f"The field {name} is the id of a take.")
        return found

    def recipe(self, value: Any) -> Recipe:
        """A recipe that starts from nothing but what is theirs, by ids."""
        recipe = checks.instance("What is made", value, Recipe)
        for source in recipe.task.sources().values():
            _id(source)
        return shelf_of(self.backend).with_sources(recipe, self.owner)

    def recipes(self) -> list[Recipe]:
        """The recipes of a run, at least one."""
        return [self.recipe(one) for one in recipes_of(self.get("recipes"))]

    def plan(self, name: str = "plan") -> Plan | None:
        """A plan, where one came."""
        plan = self.get(name)
        return None if plan is None else checks.instance("A plan", plan, Plan)

    def checkpoint(self) -> str:
        """A checkpoint by its name: paths are opened on the machine itself."""
        name: str = self.some("checkpoint")["checkpoint"]
        if name not in self.session.checkpoints and any(mark in name for mark in "/\\~"):
            raise RecipeError(
                "A checkpoint of another machine goes by its name; a path is opened on the machine itself."
            )
        return name

    def planner(self) -> Fields:
        """`lm`, where one is named."""
        lm = self.read("lm")
        if lm is not None and any(mark in lm for mark in "/\\~"):
            raise RecipeError("A planner of another machine goes by its name, such as '0.6B'.")
        return {} if lm is None else {"lm": lm}

    def adapters(self, name: str = "adapters") -> list[tuple[str, float]] | None:
        """Adapters of this machine: by their names in the folder of adapters; the host's also by any file or folder."""
        listed = self.get(name)
        if listed is None:
            return None
        pairs = [
            checks.pair("An adapter, a file and a strength,", one) for one in checks.sequence("adapters", listed, 100)
        ]
        return [(self._adapter(file), checks.real("A strength", strength, -1e6, 1e6)) for file, strength in pairs]

    def _adapter(self, file: object) -> str:
        text = checks.text("An adapter", file, 4096)
        return text if not self.owner and os.path.isabs(text) else self._find_adapter(text, self.owner)


def _id(value: Any) -> str:
    if not isinstance(value, str) or not is_id(value):
        raise RecipeError(f"A sound goes to another machine by its id, not as {shown(value)}; its file is sent first.")
    return value


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("sentence", "caption", "lyrics", "language", "checkpoint", "lm", "title"), checks.text),
    **dict.fromkeys(("instrumental", "codes"), lambda what, value: checks.truth(what, value)),
    "seed": lambda what, value: checks.whole(what, value, 0, MAX_SEED),
    "n": lambda what, value: checks.whole(what, value, 1, 1000),
    **dict.fromkeys(("bpm", "scale", "variance"), lambda what, value: checks.real(what, value, -1e6, 1e6)),
}
"""How fields of plain values are read; what they mean, the session says."""


# -- short verbs


def _use(asked: Asked) -> Any:
    asked.host("change the checkpoint everybody uses")
    asked.backend.use(asked.checkpoint(), **asked.planner())
    return asked.session.capabilities


def _cost(asked: Asked) -> Price:
    cost = asked.session.cost(asked.checkpoint(), **asked.planner())
    told = {name: getattr(cost, name, None) for name in ("more_bytes", "shared_bytes", "fits")}
    return Price(str(cost.checkpoint), str(cost), **told)


def _defaults(asked: Asked) -> Any:
    task = checks.instance("A task", asked.get("task"), tuple(TASKS.values()))
    return asked.session.defaults(task, asked.read("checkpoint"))


def _resolve(asked: Asked) -> list[Recipe]:
    plan = asked.plan()
    return [asked.session.resolve(one, plan) if plan else asked.session.resolve(one) for one in asked.recipes()]


def _lora(asked: Asked) -> Any:
    asked.host("put on adapters")
    return asked.session.lora(*(asked.adapters() or ()))


def _codes(asked: Asked) -> Any:
    return asked.session.codes(asked.sound(), checkpoint=asked.read("checkpoint"))


def _score(asked: Asked) -> Any:
    scale = {} if asked.read("scale") is None else {"scale": asked.read("scale")}
    found = asked.session.plan_score(asked.sound(), asked.plan(), **scale)
    return {"scores": to_wire(dict(getattr(found, "scores", {}))), "total": to_wire(float(found.total))}


VERBS: Mapping[str, Callable[[Asked], Any]] = {
    "use": _use,
    "cost": _cost,
    "defaults": _defaults,
    "resolve": _resolve,
    "lora": _lora,
    "codes": _codes,
    "analyze": lambda asked: asked.session.analyze(asked.sound(), asked.read("bpm")),
    "plan_score": _score,
    "capabilities_of": lambda asked: asked.session.capabilities_of(**asked.some("checkpoint")),
    "has_planner_of": lambda asked: asked.session.has_planner_of(**asked.some("checkpoint")),
}
"""Verbs that are answered at once, or soon."""


# -- runs


def _render(asked: Asked) -> Work:
    recipes, plan, adapters = asked.recipes(), asked.plan(), asked.adapters()
    title = asked.read("title") or ""
    return lambda client, run: asked.backend.start(recipes, plan, asked.owner, title, adapters=adapters, client=client)


def _vary(asked: Asked) -> Work:
    source = asked.take("source") if isinstance(asked.get("source"), str) else asked.recipe(asked.get("source"))
    variance = asked.read("variance")
    seeds = varied_seeds(source, asked.get("seeds"), variance)

    def work(client: Client, run: LabRun) -> None:
        asked.session.vary(source, seeds, variance)

    return work


def _verify(asked: Asked) -> Work:
    take, session = asked.take("take"), asked.session
    if not isinstance(session, _Verifies):
        raise LabError("The session there makes no take again to compare it.")
    return lambda client, run: session.verify(take)


def _told(run: LabRun) -> Callable[[Any], None]:
    return lambda token: run.log("token", token_row(token))


def _plan(asked: Asked) -> Work:
    recipe, keep = asked.recipe(asked.get("recipe")), asked.plan("keep")
    n, codes = asked.read("n"), asked.read("codes")
    return lambda client, run: asked.session.plan(recipe, n, keep=keep, codes=codes, on_token=_told(run))


def _sketch(asked: Asked) -> Work:
    how = asked.some("sentence", "instrumental", "seed", "language", "checkpoint")
    return lambda client, run: asked.session.sketch(**how, on_token=_told(run))


def _polish(asked: Asked) -> Work:
    how = asked.some("caption", "lyrics", "seed", "checkpoint")
    fixed = checks.mapping("Fixed fields", asked.get("fixed") or {})
    checks.known_fields("A plan", fixed, set(ATTRIBUTES) - {*how, "on_token"})
    return lambda client, run: asked.session.polish(**how, on_token=_told(run), **fixed)


def _understand(asked: Asked) -> Work:
    sound, asked_for = asked.sound(), ("seed", "checkpoint")
    how = {name: value for name in asked_for if (value := asked.read(name)) is not None}
    return lambda client, run: asked.session.understand(sound, **how, on_token=_told(run))


RUNS: Mapping[str, Callable[[Asked], Work]] = {
    "render": _render, "vary": _vary, "verify": _verify, "plan": _plan, "sketch": _sketch, "polish": _polish,
    "understand": _understand,
}  # fmt: skip
"""Kinds of runs: what is asked for, read and checked, and what begins it."""


def begin(
    runs: LabRuns, fields: Mapping[str, Any], owner: str, address: str, find_adapter: Callable[[str, str], str]
) -> LabRun:  # fmt: skip
    """Begin the run that somebody asks for, or find the one that has begun under its id."""
    id, kind = fields.get("id"), str(fields.get("kind"))
    if not isinstance(id, str) or not _RUN_ID.fullmatch(id):
        raise RecipeError("A run has an id of 8 to 64 letters, digits and dashes, which its asker makes up.")
    if kind not in RUNS:
        raise RecipeError(f"There is no kind of run {shown(kind)}; there are {', '.join(RUNS)}.")
    given = {name: one for name, one in fields.items() if name not in ("id", "kind")}
    return runs.begin(id, kind, owner, address, lambda: RUNS[kind](Asked(runs.backend, owner, given, find_adapter)))


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

    def number(self, name: str, most: float = 1e9) -> float:
        """A number of the query; RecipeError for what is none."""
        text = self.get_query_argument(name, "")
        try:
            return checks.real(f"The field {name}", float(text), 0.0, most)
        except ValueError:
            raise RecipeError(f"The field {name} is a number, not {shown(text)}.") from None

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
        asked = Asked(self.door.lab.backend, self.owner, fields, self.door.tasks.places.adapter)
        self.send({"value": to_wire(await self.work(self.aside, partial(VERBS[verb], asked)))})


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
        take = run.of_queue().keep(fields.get("step"), fields.get("item", 0))
        problem = self.door.lab.backend.takes.keep(take, self.owner)
        if problem:
            raise LabError(problem)
        return str(take.id)


class RunHear(_Lab):
    """The seconds from `start` to `end` of a step's estimate."""

    async def get(self, id: str) -> None:
        run = self.door.lab.find(id, self.owner)
        step, item = int(self.number("step")), int(self.number("item"))
        start, end = self.number("start"), self.number("end")
        self.send_sound(await self.work(self.aside, lambda: run.of_queue().hear(step, start, end, item)))


class Preview(_Lab):
    """The `seconds` around a time `at` of a take's latent, or of a step of a run (`run`, `step`, `item`)."""

    async def get(self) -> None:
        self.send_sound(await self.work(self.aside, self._preview))

    def _preview(self) -> Audio:
        lab, at, seconds = self.door.lab, self.number("at"), self.number("seconds")
        take = self.get_query_argument("take", "")
        made: Any
        if take:
            made = lab.backend.takes.take(_id(take), self.owner) if is_take_id(take) else None
        else:
            run = lab.find(self.get_query_argument("run", ""), self.owner)
            made = run.step(int(self.number("step")), int(self.number("item")))
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
