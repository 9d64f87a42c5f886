"""What somebody far away asks for, read and checked: the short verbs, and what begins a run.

Knows a backend and plain data; no request. Whatever a field names, a take, a sound, an adapter, is theirs, or refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs import noting
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.rendering import recipes_of, varied_seeds
from acestep_lab.listen.plan_score import PlanScore
from acestep_lab.plan.fields import ATTRIBUTES
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED, TASKS, Retake
from acestep_lab.remote.wire import Price, from_wire
from acestep_lab.serve.api_lab_runs import LabRun, LabRuns, Work, token_row
from acestep_lab.serve.api_lab_shelf import shelf_of
from acestep_lab.serve.rest_verbs import HostOnly
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.ids import is_id
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend

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

    def take_to_remake(self, name: str) -> Take:
        """A take of theirs that was made from nothing but what is theirs: its file may claim another's."""
        take = self.take(name)
        self.backend.takes.check_sources(take.recipe.replace(task=Retake(take, 0.0, 0)), self.owner)
        return take

    def sound_as_made(self, name: str = "source") -> Take | Audio:
        """A take or recording of theirs, to be listened to with what it was made from, which is theirs as well or gone."""
        sound = self.sound(name)
        return self.backend.takes.to_remake(sound, self.owner) if isinstance(sound, Take) else sound

    def recipe(self, value: Any) -> Recipe:
        """A recipe that starts from nothing but what is theirs, by ids; a retake also from what its take was made from."""
        recipe = checks.instance("What is made", value, Recipe)
        for source in recipe.task.sources().values():
            _id(source)
        found = shelf_of(self.backend).with_sources(recipe, self.owner)
        self.backend.takes.check_sources(found, self.owner)
        return found

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
    **dict.fromkeys(
        ("sentence", "caption", "lyrics", "language", "checkpoint", "lm", "title", "by", "stem"), checks.text
    ),
    **dict.fromkeys(("instrumental", "codes", "reference", "anew"), lambda what, value: checks.truth(what, value)),
    "seed": lambda what, value: checks.whole(what, value, 0, MAX_SEED),
    "n": lambda what, value: checks.whole(what, value, 1, 1000),
    **dict.fromkeys(("bpm", "scale", "variance"), lambda what, value: checks.real(what, value, -1e6, 1e6)),
}
"""How fields of plain values are read; what they mean, the session says."""


ALIGNED_WITH = ("lyrics", "language", "by", "checkpoint", "reference", "anew")
ATTRIBUTED_WITH = ("what", "swap", "steps", "by", "anew")

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
    return PlanScore(dict(getattr(found, "scores", {})), float(found.total))


def _align(asked: Asked) -> Any:
    how = {name: value for name in ALIGNED_WITH if (value := asked.read(name)) is not None}
    return asked.session.align(asked.sound_as_made(), **how)


def _attributed(asked: Asked) -> tuple[Take, Fields]:
    """A take of theirs, and how its words are to be tried; what a choice means, the session says."""
    return asked.take_to_remake("take"), {name: one for name in ATTRIBUTED_WITH if (one := asked.get(name)) is not None}


def _attribution_cost(asked: Asked) -> Any:
    take, how = _attributed(asked)
    return asked.session.attribute(take, **how, dry_run=True)


def _scores(asked: Asked) -> Any:
    how = {name: value for name in ("reference", "anew") if (value := asked.read(name)) is not None}
    asked.take("source")
    return asked.session.scores(asked.sound_as_made(), **how)


def _notes(asked: Asked) -> Any:
    stem, anew = asked.read("stem"), bool(asked.read("anew"))
    name = noting.MIX if stem is None else noting.pitched_stem(stem)
    if name and asked.get("alone") is None:
        raise RecipeError("Notes of a stem need the stem as well: its id in the field alone.")
    alone = asked.sound("alone") if name else None
    return noting.notes_of_sound(asked.session.library, asked.sound(), name, alone, anew)


VERBS: Mapping[str, Callable[[Asked], Any]] = {
    "use": _use,
    "cost": _cost,
    "defaults": _defaults,
    "resolve": _resolve,
    "lora": _lora,
    "codes": _codes,
    "analyze": lambda asked: asked.session.analyze(asked.sound(), asked.read("bpm")),
    "plan_score": _score,
    "align": _align,
    "attribution_cost": _attribution_cost,
    "scores": _scores,
    "notes": _notes,
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
    source = (
        asked.take_to_remake("source") if isinstance(asked.get("source"), str) else asked.recipe(asked.get("source"))
    )
    variance = asked.read("variance")
    seeds = varied_seeds(source, asked.get("seeds"), variance)

    def work(client: Client, run: LabRun) -> None:
        asked.session.vary(source, seeds, variance)

    return work


def _verify(asked: Asked) -> Work:
    take, session = asked.take_to_remake("take"), asked.session
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


def _attribute(asked: Asked) -> Work:
    take, how = _attributed(asked)
    return lambda client, run: asked.session.attribute(take, **how).result()


RUNS: Mapping[str, Callable[[Asked], Work]] = {
    "render": _render, "vary": _vary, "verify": _verify, "plan": _plan, "sketch": _sketch, "polish": _polish,
    "understand": _understand, "attribute": _attribute,
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
