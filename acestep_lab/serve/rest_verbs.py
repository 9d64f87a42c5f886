"""What the REST door can be asked besides a render: words, checkpoints, adapters. Plain functions, no web.

Each takes the fields of a request and gives the `data` of its answer, under the names of ACE-Step 1.5's own server; what
cannot be done raises a LabError. They wait for the planner, and belong into a thread.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from acestep_lab.engines import registry
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.client import Client
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks, examples
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.settings import understand
from acestep_lab.prompt.tasks import MAX_SEED
from acestep_lab.session_like import SessionLike

Fields = Mapping[str, Any]
_ON = ("1", "true", "yes", "y", "on")
_TASK_NAMES = {
    "Text2Music": "text2music", "Repaint": "repaint", "Cover": "cover", "Extract": "extract", "Lego": "lego",
    "Complete": "complete", "Retake": "retake", "Extend": "extend", "FlowEdit": "edit",
}  # fmt: skip


class HostOnly(LabError):
    """Something that would change what everybody hears was asked for by somebody who is not the host."""

    code = "FORBIDDEN"
    status = 403


def is_on(value: object) -> bool:
    """Whether a field says yes, as JSON or as a form says it."""
    return value is True or (not isinstance(value, bool) and str(value).strip().lower() in _ON)


def text_of(fields: Fields, *names: str) -> str:
    """The first of several names that has a value, as text; RecipeError where that is none."""
    for name in names:
        if (value := fields.get(name)) is not None:
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                return str(value)
            raise RecipeError(f"The field {name} is text, not {shown(value)}.")
    return ""


def models(session: SessionLike) -> dict[str, Any]:
    """The open checkpoints, as OpenAI's list of models has them."""
    rows = [
        {
            "id": f"acestep/{name}", "object": "model", "name": name, "created": 0, "owned_by": "acestep_lab",
            "input_modalities": ["text", "audio"], "output_modalities": ["audio", "text"],
            "context_length": 4096, "max_output_length": int(session.capabilities_of(name).seconds[1]),
            "pricing": {"prompt": "0", "completion": "0", "request": "0", "image": "0"},
            "description": f"{session.capabilities_of(name).family}, {session.capabilities_of(name).licence}",
            "architecture": {"modality": "text+audio->audio"},
        }
        for name in _in_order(session)
    ]  # fmt: skip
    return {"object": "list", "data": rows}


def _in_order(session: SessionLike) -> list[str]:
    """The open checkpoints, the one in use first."""
    return sorted(session.checkpoints, key=lambda name: name != session.name)


def inventory(session: SessionLike) -> dict[str, Any]:
    """Which checkpoints are open, what each can do, and whether there is a planner."""
    rows = []
    for name in _in_order(session):
        tasks = session.capabilities_of(name).tasks
        can = [wire for task, wire in _TASK_NAMES.items() if task in tasks]
        rows.append({"name": name, "is_default": name == session.name, "is_loaded": True, "supported_task_types": can})
    planner = planner_of(session, session.name)
    planners = dict.fromkeys(filter(None, (planner_of(session, name) for name in _in_order(session))))
    return {
        "models": rows, "default_model": session.name, "loaded_lm_model": planner or None,
        "lm_models": [{"name": name, "is_loaded": True} for name in planners], "llm_initialized": bool(planner),
    }  # fmt: skip


def planner_of(session: SessionLike, checkpoint: str) -> str:
    """What the planner of an open checkpoint is called; "" where it has none, or this machine no room for it."""
    if not session.has_planner_of(checkpoint):
        return ""
    return session.capabilities_of(checkpoint).planner or f"{checkpoint}-lm"


def init(session: SessionLike, fields: Fields, owner: str = "") -> dict[str, Any]:
    """Make another checkpoint the one in use: for the host, since it moves what is in memory for everybody.

    Checkpoints go by their names here and are as many as fit: a `slot` (1 to 3) is told back, and no more.
    """
    if owner:
        raise HostOnly("Only the host's key can change the checkpoint everybody uses.")
    wanted = _named(session, text_of(fields, "model", "model_name"))
    planner = text_of(fields, "lm_model_path") or None
    if wanted not in session.checkpoints and any(mark in wanted for mark in "/\\~"):
        raise RecipeError("A model is named as the inventory names it; a path is opened on the machine itself.")
    if planner is not None and any(mark in planner for mark in "/\\~"):
        raise RecipeError("A planner (lm_model_path) goes by its name here; a path is opened on the machine itself.")
    if wanted in session.checkpoints and planner in (None, planner_of(session, wanted)):
        planner = None  # the one it has
    slot = fields.get("slot")
    asked = 1 if slot is None else checks.whole("A slot", _whole(slot), 1, 3)
    session.use(wanted) if planner is None else session.use(wanted, planner)
    found = inventory(session)
    lacks = is_on(fields.get("init_llm")) and not session.has_planner
    return {
        "message": f"{session.name} is in use" + (", which has no planner (LM)" if lacks else ""), "slot": asked, "loaded_model": session.name,
        "loaded_lm_model": found["loaded_lm_model"], "models": found["models"], "lm_models": found["lm_models"],
        "llm_initialized": found["llm_initialized"],
    }  # fmt: skip


def _named(session: SessionLike, name: str) -> str:
    """The checkpoint of a name: the one in use where none is said, an open one, or the catalog's by any published name."""
    plain = name.removeprefix("acestep/") or session.name
    return plain if plain in session.checkpoints else registry.catalog_name(plain)


def reinitialize(session: SessionLike, owner: str = "") -> dict[str, Any]:
    """Give the memory of all models back, so that they are read anew from the disk when they are next needed; for the host."""
    if owner:
        raise HostOnly("Only the host's key can have the models read anew.")
    free = getattr(session, "free", None)
    if free is None:
        raise LabError("This session does not hold its models itself; have them read anew where it does.")
    free()
    return {"message": "The models are read anew when they are next needed.", "reloaded": list(session.checkpoints)}


def _seed(fields: Fields) -> int:
    """The seed of the planner's words: the one asked for, or one that is drawn and told in the answer."""
    value = fields.get("seed")
    drawn = value in (None, "", -1, "-1")
    return secrets.randbelow(2**31) if drawn else checks.whole("A seed", _whole(value), 0, MAX_SEED)


def _whole(value: object) -> object:
    """A number as a form says it, in digits."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else value


def _needs_planner(session: SessionLike) -> None:
    if not session.has_planner:
        raise LabError("This checkpoint has no planner, which is what writes words; open one that has.")


def format_input(session: SessionLike, fields: Fields, client: Client) -> dict[str, Any]:
    """Better words for a prompt and lyrics, with what was asked standing (`/format_input`)."""
    _needs_planner(session)
    caption, lyrics = text_of(fields, "prompt", "caption"), text_of(fields, "lyrics")
    asked = understand({**_param_obj(fields), "prompt": caption or lyrics or "music"}, paths=False).recipe
    fixed = {name: getattr(asked, name) for name in ("bpm", "keyscale", "timesignature", "language", "seconds")}
    fixed = {name: value for name, value in fixed.items() if value is not None}
    seed = _seed(fields)
    with client.acting():
        plan = session.polish(caption, lyrics, seed, **fixed)
    return _plan(plan, asked, key="key_scale", meter="time_signature", language="vocal_language") | {"seed": seed}


def create_sample(session: SessionLike, fields: Fields, client: Client) -> dict[str, Any]:
    """A whole song's words out of one sentence (`/v1/create_sample`)."""
    _needs_planner(session)
    language = text_of(fields, "vocal_language", "language")
    seed = _seed(fields)
    with client.acting():
        plan = session.sketch(
            text_of(fields, "query", "description"), is_on(fields.get("instrumental")), seed,
            language=None if language in ("", "unknown", "auto") else language,
        )  # fmt: skip
    return _plan(plan, None, key="keyscale", meter="timesignature", language="vocal_language") | {"seed": seed}


def random_sample() -> dict[str, Any]:
    """One of our examples, as it is (`/create_random_sample`)."""
    one = secrets.choice(examples.examples())
    return {
        "think": True, "caption": one.caption, "lyrics": one.lyrics, "bpm": one.bpm, "duration": one.seconds,
        "keyscale": one.keyscale or "", "language": one.language or "unknown",
        "timesignature": str(one.timesignature or ""),
    }  # fmt: skip


def _plan(plan: Plan, asked: Recipe | None, key: str, meter: str, language: str) -> dict[str, Any]:
    def decided(name: str) -> Any:
        """What was asked stands; else what the planner wrote."""
        return getattr(plan, name) if asked is None or getattr(asked, name) is None else getattr(asked, name)

    return {
        "caption": plan.caption, "lyrics": plan.lyrics, "bpm": decided("bpm"), "duration": decided("seconds"),
        key: decided("keyscale") or "", meter: str(decided("timesignature") or ""),
        language: decided("language") or "unknown",
    }  # fmt: skip


def _param_obj(fields: Fields) -> Fields:
    """`param_obj`, which comes as an object or as the text of one."""
    value = fields.get("param_obj")
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RecipeError("param_obj is a JSON object; what came cannot be read.") from None
    if value in (None, ""):
        return {}
    if not isinstance(value, dict):
        raise RecipeError(f"param_obj is a JSON object, not {shown(value)}.")
    return value
