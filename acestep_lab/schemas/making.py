"""The schemas of recipe, plan and manifest, made by asking their readers. Knows one full example of each, and where words are.

A new field of a recipe, a task, a plan or a manifest needs nothing here but its value in an example; a test says when one lacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError
from acestep_lab.plan.plan import LOCKABLE, Plan
from acestep_lab.prompt import checks, sampling, tasks, vocabulary
from acestep_lab.prompt.recipe import Planning, Recipe
from acestep_lab.prompt.sampling import FlowSampling, FlowSamplingV1, TokenSampling
from acestep_lab.prompt.tasks import Cover, Piece, Region, Stitch, Task, Text2Music
from acestep_lab.schemas.asking import Accepts, Asking, Schema
from acestep_lab.takes import identity, manifest
from acestep_lab.takes.take import Take

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SOURCE, TIMBRE = "take-0123456789abcdef", "audio-0123456789abcdef"
TASKS: tuple[Task, ...] = (
    Text2Music(reference=TIMBRE, codes=(5, 17)),
    tasks.Repaint(SOURCE, (Region(8, 12),), "aggressive", 0.7, 0.6, 0.2, 0.1, "auto"),
    tasks.Extend(SOURCE, before=2, after=4, wave_crossfade=0.1),
    Cover(SOURCE, strength=0.8, noise_strength=0.1, through_codes=False, reference=TIMBRE),
    tasks.Retake(SOURCE, 0.3, 7),
    tasks.Extract(SOURCE, "drums"),
    tasks.Lego(SOURCE, "bass", Region(8, 12), "auto"),
    tasks.Complete(SOURCE, ("drums", "bass")),
    tasks.FlowEdit(SOURCE, "a waltz", "la", 0.1, 0.9, 2),
    Stitch((Piece(SOURCE, Region(8, 12), 0.5),), "none"),
)
"""Every task, with every field set that may stand beside the others."""
COVER_OF_CODES = Cover(codes=(5, 17), strength=0.8)
STITCH_OVER_SECONDS = Stitch((Piece(SOURCE, Region(8, 12), 0.5),), 0.25)

PLANNING = Planning(0.7, 0.8, 40, 1.1, 3.0, "noise", False, True, True)
FLOW = FlowSampling(
    steps=8, shift=3.0, timesteps=(0.5,), solver="heun", guidance="apg", guidance_scale=7.0, guidance_interval=(0.1, 0.9),
    velocity_clamp=2.0, velocity_ema=0.1, dcw="double", dcw_low=0.1, dcw_high=0.03, instruction="Play:", global_caption="a song",
    latent_shift=0.1, latent_rescale=0.9,
)  # fmt: skip
TOKENS = TokenSampling(temperature=0.9, top_k=250, top_p=0.9, guidance_scale=3.0)
FLOW_V1 = FlowSamplingV1(
    steps=27, shift=2.0, own_steps=(16, 29), solver="pingpong", omega=5.0, guidance="cfg_star", guidance_scale=7.0,
    guidance_share=0.4, guidance_decay=0.3, min_guidance_scale=2.0, guidance_scale_text=5.0, guidance_scale_lyric=1.5,
    erg_tag=False, erg_lyric=False, erg_diffusion=False,
)  # fmt: skip
KNOBS: tuple[sampling.Sampling, ...] = (FLOW, TOKENS, FLOW_V1)
"""Every kind of sampling."""
RECIPE = Recipe(
    "slow dub techno", "[Verse]\nla", 20.5, 7, 120, "F# minor", "4", "en", checkpoint="turbo", planning=PLANNING.replace(thinking=True),
    fade_in=0.5, fade_out=1.5, normalize=False, peak_db=-3.0,
)  # fmt: skip
PLAN = Plan(
    120, "F# minor", "4", "en", "slow dub techno", "[Verse]\nla", 20.5, (5, 17), "dub", "bpm: 120", frozenset({"bpm"}),
    {"bpm": 120}, {"genres": "no list"},
)  # fmt: skip

ASKING = Asking(
    words=tuple(
        dict.fromkeys(
            [
                *vocabulary.KEYSCALES, *vocabulary.TIMESIGNATURES, *vocabulary.LANGUAGES, *vocabulary.STEMS, *sampling.SOLVERS,
                *sampling.GUIDANCE, *sampling.SOLVERS_V1, *sampling.GUIDANCE_V1, *sampling.DCW_MODES, *tasks.REPAINT_MODES, *tasks.MASKS, *tasks.JOINTS, *sampling.KINDS, *tasks.TASKS,
                *LOCKABLE, identity.FORMAT,
            ]
        )
    ),
    patterns={
        "^take-[0-9a-z]{1,40}$": "take-z",
        "^[0-9a-f]{64}$": "0f" * 32,
        r"^[0-9T:.+\-Z]{1,40}$": "2001-02-03T04:05:06Z",
    },
    limits=(2, tasks.MOST_LYRICS, tasks.MOST_CAPTION, checks.MOST_ITEMS, manifest.MOST_PARENTS, len(vocabulary.STEMS), 100, 1000,
            sampling.MOST_STEPS_V1),
    lists={
        "timesteps": lambda n: [1 - i / max(n, 1) for i in range(n)],
        "own_steps": lambda n: list(range(1, n + 1)),
        "regions": lambda n: [[2.0 * i, 2.0 * i + 1] for i in range(n)],
    },
)  # fmt: skip


def made() -> dict[str, Schema]:
    """Every schema by its name, without `$id` and version."""
    recipe, plan = recipe_schema(), plan_schema()
    return {
        "recipe": {"title": "A recipe of acestep_lab: everything asked for", **recipe},
        "plan": {"title": "A plan of acestep_lab: what the planner decided before a note was made", **plan},
        "manifest": {"title": "A take's manifest of acestep_lab", **manifest_schema(recipe, plan)},
    }


def recipe_schema() -> Schema:
    """A recipe's fields one by one, its tasks, and the knobs of one kind of sampling, never of two."""
    common = _fields(RECIPE.to_json(), lambda plain: _is_read(Recipe.from_json, {"caption": "x", **plain}))
    kinds = {sampling.NAMES[type(example)]: _knobs(sampling.NAMES[type(example)], example) for example in KNOBS}
    fields = {**common, "task": {"$ref": "#/$defs/task"}, "sampling": {"type": "string", "enum": list(kinds)}}
    return {
        "type": "object",
        "properties": {**fields, **_of_all(kinds)},
        "required": ["caption"],
        "anyOf": [_of_kind(name, kinds, tuple(fields)) for name in kinds],
        "$defs": {"task": {"anyOf": [_task(task) for task in (*TASKS, COVER_OF_CODES, STITCH_OVER_SECONDS)]}},
    }


def _of_all(kinds: Mapping[str, Mapping[str, Schema]]) -> dict[str, Schema]:
    """Every knob of every kind; where they read it otherwise, as any of them does."""
    found: dict[str, list[Schema]] = {}
    for knobs in kinds.values():
        for name, one in knobs.items():
            found[name] = [*(known for known in found.get(name, ()) if known != one), one]
    return {name: ways[0] if len(ways) == 1 else {"anyOf": ways} for name, ways in found.items()}


def _of_kind(kind: str, kinds: Mapping[str, Mapping[str, Schema]], fields: tuple[str, ...]) -> Schema:
    """A recipe of one kind: its knobs as it reads them; where it is not the usual kind, it is named, or a knob says so."""
    every = _of_all(kinds)
    own = {name: one for name, one in kinds[kind].items() if every[name] != one}
    found: Schema = {
        "properties": {"sampling": {"const": kind}, **own},
        "propertyNames": {"enum": [*fields, *kinds[kind]]},
    }
    if own and kind != next(iter(kinds)):
        telling = [name for name in kinds[kind] if sum(name in knobs for knobs in kinds.values()) == 1]
        found["anyOf"] = [{"required": [name]} for name in ("sampling", *telling)]
    return found


def _knobs(kind: str, example: sampling.Sampling) -> Schema:
    """The knobs of one kind of sampling."""
    return _fields(
        example.to_json(), lambda plain: _is_read(Recipe.from_json, {"caption": "x", "sampling": kind, **plain})
    )


def _task(task: Task) -> Schema:
    """One task's fields, its name among them."""
    name, plain = type(task).__name__, task.to_json()
    found = ASKING.describe(plain, lambda fields: _is_read(tasks.task_from_json, fields), name)
    return {**found, "title": name, "properties": {**found["properties"], "task": {"const": name}}}


def plan_schema() -> Schema:
    """A plan's fields one by one."""
    known = _fields(PLAN.to_json(), lambda plain: _is_read(Plan.from_json, plain))
    return {"type": "object", "properties": known, "additionalProperties": False}


def manifest_schema(recipe: Schema, plan: Schema) -> Schema:
    """A manifest as today's version writes it, with the schemas of recipe and plan in it."""
    whole = example_manifest()
    found = ASKING.describe(whole, lambda plain: _is_read(lambda one: manifest.checked(one, "It"), plain), "manifest")
    task = recipe["$defs"]["task"]
    asked = {"anyOf": [{"$ref": "#/$defs/recipe"}, {"type": "null"}]}
    planned = {"anyOf": [{"$ref": "#/$defs/plan"}, {"type": "null"}]}
    audio = found["properties"]["audio"]
    audio["properties"]["original"] = {"$ref": "#/$defs/original"}
    original = {**audio, "properties": {n: s for n, s in audio["properties"].items() if n != "original"}}
    inner = {name: part for name, part in recipe.items() if name != "$defs"}
    parts = {
        "recipe": {"$ref": "#/$defs/recipe"},
        "asked": asked,
        "plan": planned,
        "format": {"const": identity.FORMAT},
    }
    defs = {"task": task, "recipe": inner, "plan": plan, "original": original}
    return {**found, "properties": {**found["properties"], **parts}, "$defs": defs}


def example_manifest() -> dict[str, Any]:
    """The manifest of a take of silence."""
    take = Take(
        recipe=RECIPE,
        audio=Audio(np.zeros((2, 4800), np.float32), 48_000),
        latent=np.zeros((3, 64), np.float32),
        plan=PLAN,
        asked=RECIPE.replace(seed=None),
        parents=(SOURCE,),
        made_with={"checkpoint": "pocket", "step": 7, "gain": 0.5, "seconds": {"dit": 1.5}},
        created="2026-01-02T03:04:05.678+00:00",
    )
    return manifest.describe(take)


def _fields(example: Mapping[str, Any], accepts: Accepts) -> Schema:
    """The schema of each field of an example, on its own."""
    return {name: ASKING.describe(value, _alone(name, accepts), name) for name, value in example.items()}


def _alone(name: str, accepts: Accepts) -> Accepts:
    return lambda value: accepts({name: value})


def _is_read(reader: Callable[[Any], object], plain: Any) -> bool:
    """Whether a reader takes it, as it comes out of JSON."""
    try:
        reader(plain)
    except LabError:
        return False
    return True


def versioned(name: str, content: Schema, before: Schema | None) -> Schema:
    """A schema with its `$id` and version: the one it had if its content is the same, else the next."""
    old = 0 if before is None else int(before["version"])
    same = before is not None and bare(before) == json.loads(json.dumps(content))
    version = old if same else old + 1
    return {"$schema": DIALECT, "$id": f"urn:acestep_lab:{name}:{version}", "version": version, **content}


def bare(schema: Schema) -> Schema:
    """A schema without its `$id` and version."""
    return {name: part for name, part in schema.items() if name not in ("$schema", "$id", "version")}
