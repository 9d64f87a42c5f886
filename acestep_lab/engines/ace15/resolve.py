"""Every "auto" of a recipe becomes a number, every impossible wish a sentence: before any work is done.

Knows recipes, plans, takes, a checkpoint's row and how to hear a key; no torch and no weights. The row decides steps, shift and guidance, so
that a turbo under guidance cannot happen by accident; whoever insists is told once what usually comes of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.listen.key import key
from acestep_lab.models.catalog import ROWS, Row
from acestep_lab.models.geometry import Geometry
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.lyrics import sung_by_mistake
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
)
from acestep_lab.takes.take import Take

DEFAULT_SECONDS = 30.0
"""What the models are told where nobody says how long a song lasts."""

SILENT = 1e-5
"""A sound whose peak is no higher is silence (-100 dBFS)."""

SURE = 0.05
"""A key's lead over the second best from which it is told; below, it is a guess between two (one in ten songs)."""

TURBO_TIMES = tuple(sorted({round(shift * n / (8 + (shift - 1) * n), 12) for shift in (1, 2, 3) for n in range(1, 9)}))
"""The 20 times of the reference's turbo tables: eight steps at shift 1, 2 and 3."""

NEAR_TIME = 1e-3
"""How far a timestep may lie beside one of them and still be meant: the tables are printed with four digits."""

MOST_TIMES = 20
"""Timesteps the reference reads of a turbo's own schedule."""

Find = Callable[[Any], "Take | Audio"]


@dataclass(frozen=True)
class ResolveContext:
    """What a recipe is resolved against: the checkpoint at hand and the longest song this machine has room for."""

    row: Row
    geometry: Geometry
    components: tuple[str, ...]
    longest_seconds: float
    find: Find
    """The sound an id, a path, a take or an audio stands for; SourceError where there is none."""


def resolve(recipe: Recipe, house: ResolveContext, plan: Plan | None = None) -> Recipe:
    """The recipe with every "auto" decided and every source at hand; raises RecipeError or SourceError."""
    recipe = _planned(recipe, plan)
    recipe = recipe.replace(task=_with_sources(recipe.task, house.find))
    recipe = _of_its_source(recipe)
    _check_allowed(rooted(recipe.task), house)
    _check_sources(recipe.task, house.geometry)
    _check_codes(recipe.task, house)
    recipe = _with_key_heard(recipe, house.row)
    return _with_defaults(recipe.replace(seconds=_seconds(recipe, house)), house.row)


def rooted(task: Task) -> Task:
    """The task itself; of a retake, the task of the take it turns."""
    while isinstance(task, Retake):
        task = _take(task).recipe.task
    return task


def _take(task: Retake) -> Take:
    if not isinstance(task.source, Take):
        raise SourceError(
            "A retake turns the noise of a take; a bare sound has none. Use Cover or FlowEdit for a sound."
        )
    return task.source


def thinks(recipe: Recipe, has_planner: bool) -> bool:
    """Whether the planner has the first word: where music starts from words and has no codes yet, unless the recipe says
    otherwise.
    """
    if not recipe.task.plans or getattr(recipe.task, "codes", None) or recipe.thinking is False:
        return False
    if recipe.thinking and not has_planner:
        raise RecipeError(
            "thinking=True needs a planner, and none is aboard: this checkpoint has none, or this machine no room for it. "
            "Leave it away."
        )
    return has_planner


# --- filling in ------------------------------------------------------------------------------------------------------


def _planned(recipe: Recipe, plan: Plan | None) -> Recipe:
    """The recipe with the plan's decisions in its open fields, and its codes in the task."""
    if plan is None:
        return recipe
    for name, (asked, planned) in plan.against(recipe).items():
        if name in plan.locked:
            raise RecipeError(
                f"The recipe asks for {name} {asked!r}, the plan has {planned!r} locked. Change one or unlock it."
            )
    recipe = plan.resolve(recipe)
    task = recipe.task
    if isinstance(task, Text2Music) and task.codes is None and plan.codes and recipe.thinking is not False:
        return recipe.replace(task=replace(task, codes=plan.codes))
    return recipe


def _with_sources(task: Task, find: Find) -> Task:
    """The task with its sources as takes and sounds instead of ids and paths; those of a turned take as well."""
    found: dict[str, Any] = {name: find(source) for name, source in task.sources().items()}
    task = replace(task, **found) if found else task
    if isinstance(task, Retake):
        inner = _take(task)
        return replace(
            task, source=inner.replace(recipe=inner.recipe.replace(task=_with_sources(inner.recipe.task, find)))
        )
    return task


def _of_its_source(recipe: Recipe) -> Recipe:
    """A retake takes over everything its source's recipe says and its own does not."""
    if not isinstance(recipe.task, Retake):
        return recipe
    source = _take(recipe.task).recipe
    source = source if source.dcw else source.replace(dcw="off")  # made before DCW was known
    names = (
        "lyrics", "seconds", "seed", "bpm", "keyscale", "timesignature", "language", "steps", "shift", "timesteps",
        "solver", "guidance", "guidance_scale", "guidance_interval", "velocity_clamp", "velocity_ema", "dcw", "dcw_low",
        "dcw_high",
    )  # fmt: skip
    open_fields = [name for name in names if getattr(recipe, name) in (None, "")]
    return recipe.replace(
        caption=recipe.caption or source.caption, **{name: getattr(source, name) for name in open_fields}
    )


def _with_key_heard(recipe: Recipe, row: Row) -> Recipe:
    """A cover's open key becomes the one heard in its source, for checkpoints whose codes do not carry it."""
    task = recipe.task
    if not row.tells_key or not isinstance(task, Cover) or recipe.keyscale is not None:
        return recipe
    source = task.source.audio if isinstance(task.source, Take) else task.source
    found, lead = key(source)  # type: ignore[arg-type]
    return recipe.replace(keyscale=found) if lead >= SURE else recipe


def _with_defaults(recipe: Recipe, row: Row) -> Recipe:
    times = recipe.timesteps
    recipe = _with_dcw(recipe, row)
    return recipe.replace(
        seed=recipe.seed if recipe.seed is not None else secrets.randbelow(2**32),
        language=recipe.language or "unknown",
        steps=len(times) if times else recipe.steps or row.steps_for(recipe.task.name),
        shift=recipe.shift if recipe.shift is not None else row.shift,
        solver=recipe.solver or "euler",
        guidance=recipe.guidance or row.guidance_for(recipe.task.name),
        guidance_scale=recipe.guidance_scale if recipe.guidance_scale is not None else row.guidance_scale,
    )


def _with_dcw(recipe: Recipe, row: Row) -> Recipe:
    """The mode of DCW and its two strengths; a flow-edit goes without, as the reference's does."""
    mode = "off" if isinstance(rooted(recipe.task), FlowEdit) else recipe.dcw or row.dcw
    if mode == "off":
        return recipe.replace(dcw="off", dcw_low=None, dcw_high=None)
    low = row.dcw_low if recipe.dcw_low is None else recipe.dcw_low
    return recipe.replace(dcw=mode, dcw_low=low, dcw_high=row.dcw_high if recipe.dcw_high is None else recipe.dcw_high)


def _seconds(recipe: Recipe, house: ResolveContext) -> float:
    """Length of the song: its source's, its codes', as asked, or the default."""
    seconds = _given_seconds(rooted(recipe.task), recipe, house.geometry)
    if seconds > house.longest_seconds + 1e-6:
        raise RecipeError(
            f"{house.row.name} makes songs of up to {house.longest_seconds:g} s here; {seconds:g} s is too long. Make it "
            "shorter, or extend a take in parts."
        )
    return seconds


def _given_seconds(task: Task, recipe: Recipe, geometry: Geometry) -> float:
    source = getattr(task, "source", None)
    if isinstance(task, Extend):
        before = geometry.seconds(round(task.before * geometry.frames_per_second))
        return float(before + source.seconds + task.after)  # type: ignore[union-attr]
    if source is not None:
        return float(source.seconds)
    codes = getattr(task, "codes", None)
    if recipe.seconds is None and codes and geometry.codes_per_second:
        return len(codes) / geometry.codes_per_second
    return recipe.seconds or min(DEFAULT_SECONDS, geometry.longest_seconds)


# --- refusing --------------------------------------------------------------------------------------------------------


def _check_allowed(task: Task, house: ResolveContext) -> None:
    """Refuse what the checkpoint cannot do, with the reason and one that can."""
    if house.row.allows(task.name):
        return
    able = [row for row in ROWS.values() if row.allows(task.name)]
    able.sort(key=lambda row: (row.repo is None, row.sizes != house.row.sizes))  # as large as this one first, toys last
    raise RecipeError(
        f"{house.row.name} cannot {_DOES.get(type(task), task.name)}: {_why_not(house.row)} Open one that can, such as "
        f"Session.open({able[0].name!r}){' or ' + repr(able[1].name) if len(able) > 1 else ''}."
    )


def _why_not(row: Row) -> str:
    if row.kind == "base":
        return "it was not trained for this."
    return f"a {row.kind} checkpoint was trained on whole mixes only, not on stems."


_DOES = {
    Extract: "take a stem out of a sound (Extract)",
    Lego: "add a stem to a sound (Lego)",
    Complete: "accompany a stem (Complete)",
    Repaint: "repaint",
    Extend: "extend a sound",
    Cover: "make covers",
    FlowEdit: "edit a sound",
}


def _check_sources(task: Task, geometry: Geometry) -> None:
    """Refuse sounds that cannot be worked from, before anything is encoded."""
    for name, source in task.sources().items():
        audio: Audio = source.audio if isinstance(source, Take) else source  # type: ignore[assignment]
        if not np.isfinite(audio.samples).all():
            raise SourceError(f"The {name} holds samples that are not numbers.")
        if audio.seconds * geometry.frames_per_second < geometry.patch:
            least = geometry.patch / geometry.frames_per_second
            raise SourceError(f"The {name} lasts {audio.seconds:.3f} s; at least {least:g} s are needed.")
        if audio.with_channels(geometry.channels).peak <= SILENT and not isinstance(task, Repaint | Extend):
            raise SourceError(f"The {name} is silent; choose a sound with something to hear in it.")
    if isinstance(task, Extend):
        _check_added(task, geometry)
    for region in _regions(task):
        if region.start >= task.source.seconds:  # type: ignore[union-attr]
            raise RecipeError(
                f"The region {region.start:g}–{region.end:g} s begins after the source ends "
                f"({task.source.seconds:.2f} s); to add music after it, use Extend."  # type: ignore[union-attr]
            )


def _check_added(task: Extend, geometry: Geometry) -> None:
    """Refuse to add less than the autoencoder can make."""
    for name in ("before", "after"):
        if 0 < getattr(task, name) < 1 / geometry.frames_per_second:
            raise RecipeError(
                f"Extend adds at least {1 / geometry.frames_per_second:g} s, one frame of the autoencoder; "
                f"{name}={getattr(task, name):g} is less."
            )


def _regions(task: Task) -> tuple[Region, ...]:
    if isinstance(task, Lego) and task.region is not None:
        return (task.region,)
    return task.regions if isinstance(task, Repaint) else ()


def _check_codes(task: Task, house: ResolveContext) -> None:
    """Refuse codes that do not exist here, and the way through codes where there are none."""
    task, geometry = rooted(task), house.geometry
    codes = getattr(task, "codes", None)
    needs = bool(codes) or (isinstance(task, Cover) and task.through_codes)
    if needs and "codes" not in house.components:
        advice = " Use Cover(…, through_codes=False)." if not codes else " Leave the codes away."
        raise RecipeError(f"{house.row.name} has no audio codes.{advice}")
    if codes and max(codes) >= geometry.code_count:
        raise RecipeError(
            f"Code {max(codes)} does not exist: this checkpoint's run from 0 to {geometry.code_count - 1}."
        )


# --- remarking -------------------------------------------------------------------------------------------------------


def remarks(recipe: Recipe, geometry: Geometry) -> Iterator[str]:
    """A sentence for each wish of a resolved recipe that its source or its codes can only fulfil in part."""
    task = rooted(recipe.task)
    for region in _regions(task):
        end = task.source.seconds  # type: ignore[union-attr]
        if region.end > end + 1 / geometry.frames_per_second:
            yield f"The region {region.start:g}–{region.end:g} s ends with the source, at {end:.2f} s."
    codes = getattr(task, "codes", None)
    if codes and geometry.codes_per_second:
        heard, whole = len(codes) / geometry.codes_per_second, recipe.seconds or 0.0
        if heard < whole - 1 / geometry.codes_per_second:
            yield f"The {len(codes)} codes last {heard:g} s of {whole:g} s; what comes after them is free."
        if heard > whole + 1 / geometry.codes_per_second:
            yield f"The {len(codes)} codes last {heard:g} s and the song {whole:g} s; the last ones are not heard."


# --- warning ---------------------------------------------------------------------------------------------------------


def plan_conflicts(asked: Recipe, plan: Plan, geometry: Geometry) -> Iterator[str]:
    """A sentence for each field in which a plan is not followed, because the recipe says otherwise."""
    for name, (own, planned) in plan.against(asked).items():
        yield f"The recipe's {name} {_short(own)} stands; the plan says {_short(planned)}."
    if "caption" in plan.locked and not asked.planning.rewrite_caption and plan.caption != asked.caption != "":
        yield (
            f"The codes follow the plan's locked caption {_short(plan.caption)}; the sound is made from the recipe's "
            f"{_short(asked.caption)}. To hand on the plan's, say planning=Planning(rewrite_caption=True)."
        )
    seconds = asked.seconds
    follows = isinstance(asked.task, Text2Music) and asked.task.codes is None and asked.thinking is not False
    if follows and plan.codes and seconds and geometry.codes(seconds) != len(plan.codes):
        found = len(plan.codes) / geometry.codes_per_second
        end = "they are cut" if found > seconds else "the rest is made without"
        yield f"The plan's codes are {found:g} s of music, the recipe asks for {seconds:g} s: {end}."


def _short(value: Any) -> str:
    return repr(value if not isinstance(value, str) or len(value) <= 40 else value[:39] + "…")


def lint(asked: Recipe, row: Row) -> Iterator[str]:
    """A sentence for each explicit choice that usually spoils the music with this checkpoint, or does nothing."""
    if asked.thinking and not asked.task.plans and not isinstance(asked.task, Retake):
        yield f"{type(asked.task).__name__} follows its source and not the planner; thinking=True does nothing here."
    scale = asked.guidance_scale if asked.guidance_scale is not None else row.guidance_scale
    usual = row.guidance_for(asked.task.name)
    guided = (asked.guidance or usual) != "none" and scale > 1.0
    if row.is_turbo and guided:
        yield f"{row.name} has its guidance built in; more of it ({asked.guidance or usual}) usually gives noise."
    if not row.is_turbo and not guided and usual != "none":
        yield f"{row.name} was trained to be guided ({row.guidance}, {row.guidance_scale:g}); without, it usually drifts."
    if asked.shift is not None and row.name != "turbo-continuous" and abs(asked.shift - row.shift) >= 0.5:
        yield f"{row.name} is used with shift {row.shift:g}; with {asked.shift:g} its steps fall where it did not learn."
    if row.most_steps is not None:
        yield from _beyond_the_reference(asked, row)
    yield from _lines_sung_by_mistake(asked.lyrics)
    yield from _idle_choices(asked, row)


def _beyond_the_reference(asked: Recipe, row: Row) -> Iterator[str]:
    """A sentence where the reference would silently take other times for a turbo than those asked for: it cuts its steps
    down and moves each timestep to the nearest of TURBO_TIMES.
    """
    if not asked.timesteps:
        if asked.steps is not None and row.most_steps is not None and asked.steps > row.most_steps:
            yield (
                f"{row.name} is made for {row.steps} steps, and the reference cuts more than {row.most_steps} down to "
                f"{row.most_steps} unsaid; all {asked.steps} are taken here."
            )
        return
    off = [t for t in asked.timesteps if min(abs(t - known) for known in TURBO_TIMES) > NEAR_TIME]
    if off:
        nearest = min(TURBO_TIMES, key=lambda known: abs(known - off[0]))
        yield (
            f"{row.name} was distilled at {len(TURBO_TIMES)} times, and the reference moves others there unsaid "
            f"({off[0]:g} to {nearest:.4g}); the timesteps are taken here as they are."
        )
    elif len(asked.timesteps) > MOST_TIMES:
        yield (
            f"The reference reads the first {MOST_TIMES} timesteps of a turbo and drops the rest unsaid; all "
            f"{len(asked.timesteps)} are taken here."
        )


def _lines_sung_by_mistake(lyrics: str) -> Iterator[str]:
    """A sentence for the times in lyrics, and one for section tags in another form; the first of each says how to mend it."""
    found = sung_by_mistake(lyrics)
    for remark in found[:2]:
        more = len(found) - 2 if remark is found[:2][-1] and len(found) > 2 else 0
        also = f" ({more} more line{'s' * (more > 1)} like it.)" if more else ""
        yield f"Lyrics, line {remark.line + 1}: {remark.text}{also}"


def _idle_choices(asked: Recipe, row: Row) -> Iterator[str]:
    """A sentence for each explicit choice that another one leaves without effect."""
    how = asked.guidance or row.guidance_for(asked.task.name)
    if how == "none" and (asked.guidance_scale or 1.0) > 1.0:
        yield (
            f"guidance_scale={asked.guidance_scale:g} is not used: {row.name} is sampled with guidance 'none'. Whoever "
            "insists says which: guidance='apg'."
        )
    if how == "none" and asked.guidance_interval is not None:
        yield f"guidance_interval is not used: {row.name} is sampled with guidance 'none' here."
    if asked.global_caption and not row.stem_captions:
        yield f"global_caption is not used: {row.name} reads one caption; only checkpoints tuned on stems read two."
    if isinstance(asked.task, Repaint | Extend) and (asked.normalize is not None or asked.peak_db is not None):
        yield "normalize and peak_db are not used: what is made anew takes the level of the source around it."
    if isinstance(asked.task, Repaint) and (asked.fade_in or asked.fade_out):
        yield "fade_in and fade_out are heard only where a region reaches them: a repaint keeps what lies outside."
    if asked.timesteps and asked.steps is not None and asked.steps != len(asked.timesteps):
        yield f"steps={asked.steps} is not used: timesteps names {len(asked.timesteps)}."
    if isinstance(asked.task, FlowEdit) and asked.solver not in (None, "euler"):
        yield f"solver={asked.solver!r} is not used: a flow-edit goes by euler's steps."
    yield from _idle_dcw(asked, row)


def _idle_dcw(asked: Recipe, row: Row) -> Iterator[str]:
    """A sentence for each part of DCW that was asked for and does nothing."""
    mode = asked.dcw or row.dcw
    if isinstance(asked.task, FlowEdit):
        if (asked.dcw or "off") != "off":
            yield f"dcw={asked.dcw!r} is not used: a flow-edit's steps are not corrected."
        mode = "off"
    for name in ("dcw_low", "dcw_high"):
        if getattr(asked, name) is not None and name not in _DCW_READS[mode]:
            yield f"{name}={getattr(asked, name):g} is not used: with dcw={mode!r} nothing reads it."


_DCW_READS: dict[str, tuple[str, ...]] = {
    "off": (),
    "low": ("dcw_low",),
    "high": ("dcw_high",),
    "double": ("dcw_low", "dcw_high"),
    "pix": ("dcw_low",),
}
"""Which strengths a mode of DCW reads."""
