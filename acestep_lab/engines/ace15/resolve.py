"""Every "auto" of a recipe becomes a number, every impossible request a sentence: before any work is done.

Knows recipes, plans, takes, a checkpoint's row and how to hear a key; no torch and no weights. The row decides steps, shift and
guidance, so that a turbo under guidance cannot happen by accident; `lint.py` says what usually comes of an odd choice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.diffusion import schedule
from acestep_lab.engines.ace15.request import FlowRequest, LoopSettings, NoiseSource, flow
from acestep_lab.engines.ace15.task_rows import rooted, row_of
from acestep_lab.engines.base import Find
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.listen.key import key
from acestep_lab.models.catalog import ROWS, Row
from acestep_lab.models.geometry import Geometry
from acestep_lab.plan.following import with_plan
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSampling
from acestep_lab.prompt.tasks import Task
from acestep_lab.takes.take import Take

DEFAULT_SECONDS = 30.0
"""What the models are told where nobody says how long a song lasts."""

SILENT = 1e-5
"""A sound whose peak is no higher is silence (-100 dBFS)."""

SURE = 0.05
"""A key's lead over the second best from which it is told; below, it is a guess between two (one in ten songs)."""


@dataclass(frozen=True)
class ResolveContext:
    """What a recipe is resolved against: the checkpoint at hand and the longest song this machine has room for."""

    row: Row
    geometry: Geometry
    components: tuple[str, ...]
    longest_seconds: float
    find: Find
    """The sound an id, a path, a take or an audio stands for; SourceError where there is none."""


def resolve(recipe: Recipe, context: ResolveContext, plan: Plan | None = None) -> FlowRequest:
    """The request of a recipe: every "auto" decided, every source at hand; raises RecipeError or SourceError."""
    asked = with_plan(recipe, plan).replace(sampling=flow(recipe))
    asked = asked.replace(task=_with_sources(asked.task, context.find))
    asked = _of_its_source(asked)
    _check_allowed(rooted(asked.task), context)
    _check_sources(asked.task, context.geometry)
    _check_codes(rooted(asked.task), context)
    decided = _with_detected_key(asked, context.row)
    detected = decided.keyscale if decided.keyscale != asked.keyscale else None
    decided = _with_defaults(decided.replace(seconds=_seconds(decided, context)), context.row)
    return _request(decided, (*_key_remark(detected), *_remarks(decided, context.geometry)))


def _request(decided: Recipe, remarks: tuple[str, ...]) -> FlowRequest:
    """A recipe whose numbers are all decided, as a request."""
    task, how = rooted(decided.task), flow(decided)
    assert decided.seconds is not None
    assert decided.seed is not None
    return FlowRequest(
        recipe=decided,
        seconds=decided.seconds,
        seed=decided.seed,
        remarks=remarks,
        loop=_loop(how),
        noise=_noise(decided),
        codes=getattr(task, "codes", None) or (),
        edit_window=row_of(task).window(task),
        instruction=how.instruction,
        latent_rescale=how.latent_rescale,
        latent_shift=how.latent_shift,
    )


def _loop(how: FlowSampling) -> LoopSettings:
    """The loop of a sampling whose numbers are decided."""
    assert how.steps is not None and how.shift is not None and how.guidance_scale is not None  # noqa: PT018
    assert how.solver is not None and how.guidance is not None and how.dcw is not None  # noqa: PT018
    return LoopSettings(
        times=schedule.checked_times(how.timesteps) if how.timesteps else schedule.times(how.steps, how.shift),
        solver=how.solver,
        guidance=how.guidance,
        guidance_scale=how.guidance_scale,
        guidance_interval=(0.0, 1.0) if how.guidance_interval is None else how.guidance_interval,
        velocity_clamp=how.velocity_clamp or 0.0,
        velocity_ema=how.velocity_ema or 0.0,
        dcw=how.dcw,
        dcw_low=how.dcw_low or 0.0,
        dcw_high=how.dcw_high or 0.0,
    )


def _noise(recipe: Recipe) -> NoiseSource:
    """Where a decided recipe's noise comes from: of a retake its source's, turned once more."""
    turn = row_of(recipe.task).turn(recipe.task)
    if turn is not None:
        first = _noise(turn.source.recipe)
        return replace(first, turns=(*first.turns, (turn.seed, turn.variance)))
    if recipe.seed is None:
        raise SourceError("That take's recipe does not tell its seed, so there is no noise that could be turned.")
    return NoiseSource(recipe.seed)


# --- filling in ------------------------------------------------------------------------------------------------------


def _with_sources(task: Task, find: Find) -> Task:
    """The task with its sources as takes and sounds instead of ids and paths; those of a turned take as well."""
    found: dict[str, Any] = {name: find(source) for name, source in task.sources().items()}
    task = replace(task, **found) if found else task
    turn = row_of(task).turn(task)
    if turn is None:
        return task
    recipe = turn.source.recipe
    inner: dict[str, Any] = {
        "source": turn.source.replace(recipe=recipe.replace(task=_with_sources(recipe.task, find)))
    }
    return replace(task, **inner)


def _of_its_source(recipe: Recipe) -> Recipe:
    """A retake takes over everything its source's recipe says and its own does not."""
    turn = row_of(recipe.task).turn(recipe.task)
    if turn is None:
        return recipe
    source, here = turn.source.recipe, recipe.sampling
    before = flow(source)
    before = before if before.dcw else before.replace(dcw="off")  # made before DCW was known
    words = {name: getattr(source, name) for name in _WORDS if getattr(recipe, name) in (None, "")}
    knobs = {name: getattr(before, name) for name in _KNOBS if getattr(here, name) is None}
    return recipe.replace(caption=recipe.caption or source.caption, **words, **knobs)


_WORDS = ("lyrics", "seconds", "seed", "bpm", "keyscale", "timesignature", "language")
_KNOBS = (
    "steps", "shift", "timesteps", "solver", "guidance", "guidance_scale", "guidance_interval", "velocity_clamp",
    "velocity_ema", "dcw", "dcw_low", "dcw_high",
)  # fmt: skip
"""What a retake takes over from the recipe of the take it turns."""


def _with_detected_key(recipe: Recipe, row: Row) -> Recipe:
    """A cover's open key becomes the one detected in its source, for checkpoints whose codes do not carry it."""
    source: Any = getattr(recipe.task, "source", None)  # none: it follows codes alone
    if source is None or not (row.tells_key and row_of(recipe.task).detects_key) or recipe.keyscale is not None:
        return recipe
    found, lead = key(source.audio if isinstance(source, Take) else source)
    return recipe.replace(keyscale=found) if lead >= SURE else recipe


def _with_defaults(recipe: Recipe, row: Row) -> Recipe:
    return recipe.replace(
        seed=secrets.randbelow(2**32) if recipe.seed is None else recipe.seed,
        language=recipe.language or "unknown",
        sampling=decided_sampling(flow(recipe), rooted(recipe.task), recipe.task, row),
    )


def decided_sampling(how: FlowSampling, root: Task, task: Task, row: Row) -> FlowSampling:
    """The knobs with the row's numbers where nothing is said; `root` is the task that is really done."""
    usual = {
        "steps": len(how.timesteps) if how.timesteps else how.steps or row.steps_for(task.name),
        "shift": row.shift if how.shift is None else how.shift,
        "solver": how.solver or "euler",
        "guidance": how.guidance or row.guidance_for(task.name),
        "guidance_scale": row.guidance_scale if how.guidance_scale is None else how.guidance_scale,
    }
    return _with_dcw(how.replace(**usual), row_of(root).corrected, row)


def _with_dcw(how: FlowSampling, corrected: bool, row: Row) -> FlowSampling:
    """The mode of DCW and its two strengths; a flow-edit goes without, as the reference's does."""
    mode = how.dcw or row.dcw if corrected else "off"
    if mode == "off":
        return how.replace(dcw="off", dcw_low=None, dcw_high=None)
    low = row.dcw_low if how.dcw_low is None else how.dcw_low
    return how.replace(dcw=mode, dcw_low=low, dcw_high=row.dcw_high if how.dcw_high is None else how.dcw_high)


def _seconds(recipe: Recipe, context: ResolveContext) -> float:
    """Length of the song: its source's, its codes', as asked, or the default."""
    seconds = _given_seconds(rooted(recipe.task), recipe.seconds, context.geometry)
    if seconds > context.longest_seconds + 1e-6:
        raise RecipeError(
            f"{context.row.name} makes songs of up to {context.longest_seconds:g} s here; {seconds:g} s is too long. Make it "
            "shorter, or extend a take in parts."
        )
    return seconds


def _given_seconds(task: Task, asked: float | None, geometry: Geometry) -> float:
    if asked is not None and getattr(task, "source", None) is None:
        return asked
    decided = row_of(task).seconds(task, geometry)
    return min(DEFAULT_SECONDS, geometry.longest_seconds) if decided is None else decided


# --- refusing --------------------------------------------------------------------------------------------------------


def _check_allowed(task: Task, context: ResolveContext) -> None:
    """Refuse what the checkpoint cannot do, with the reason and one that can."""
    here = context.row
    if here.allows(task.name):
        return
    able = [row for row in ROWS.values() if row.allows(task.name)]
    able.sort(key=lambda row: (row.repo is None, row.sizes != here.sizes))  # as large as this one first, toys last
    raise RecipeError(
        f"{here.name} cannot {row_of(task).does}: {_why_not(here)} Open one that can, such as "
        f"Session.open({able[0].name!r}){' or ' + repr(able[1].name) if len(able) > 1 else ''}."
    )


def _why_not(row: Row) -> str:
    if row.kind == "base":
        return "it was not trained for this."
    return f"a {row.kind} checkpoint was trained on whole mixes only, not on stems."


def _check_sources(task: Task, geometry: Geometry) -> None:
    """Refuse sounds that cannot be worked from, before anything is encoded."""
    row = row_of(task)
    for name, source in task.sources().items():
        audio: Audio = source.audio if isinstance(source, Take) else source  # type: ignore[assignment]
        if not np.isfinite(audio.samples).all():
            raise SourceError(f"The {name} holds samples that are not numbers.")
        if audio.seconds * geometry.frames_per_second < geometry.patch:
            least = geometry.patch / geometry.frames_per_second
            raise SourceError(f"The {name} lasts {audio.seconds:.3f} s; at least {least:g} s are needed.")
        if audio.with_channels(geometry.channels).peak <= SILENT and not row.takes_silence:
            raise SourceError(f"The {name} is silent; choose a sound with something to hear in it.")
    row.check(task, geometry)
    _check_regions(task)


def _check_regions(task: Task) -> None:
    """Refuse a region that begins after its source ends."""
    for region in row_of(task).regions(task):
        if region.start >= task.source.seconds:  # type: ignore[union-attr]
            raise RecipeError(
                f"The region {region.start:g}–{region.end:g} s begins after the source ends "
                f"({task.source.seconds:.2f} s); to add music after it, use Extend."  # type: ignore[union-attr]
            )


def _check_codes(task: Task, context: ResolveContext) -> None:
    """Refuse codes that do not exist here, and the way through codes where there are none."""
    codes, count = getattr(task, "codes", None), context.geometry.code_count
    if (codes or row_of(task).through_codes(task)) and "codes" not in context.components:
        advice = " Use Cover(…, through_codes=False)." if not codes else " Leave the codes away."
        raise RecipeError(f"{context.row.name} has no audio codes.{advice}")
    if codes and max(codes) >= count:
        raise RecipeError(f"Code {max(codes)} does not exist: this checkpoint's run from 0 to {count - 1}.")


# --- remarking -------------------------------------------------------------------------------------------------------


def _key_remark(keyscale: str | None) -> Iterator[str]:
    if keyscale is not None:
        yield f"Detected in the source and put into the prompt: {keyscale}. Another keyscale may be asked for."


def _remarks(recipe: Recipe, geometry: Geometry) -> Iterator[str]:
    """A sentence for each choice of a resolved recipe that its source or its codes can only fulfil in part."""
    task = rooted(recipe.task)
    for region in row_of(task).regions(task):
        end = task.source.seconds  # type: ignore[union-attr]
        if region.end > end + 1 / geometry.frames_per_second:
            yield f"The region {region.start:g}–{region.end:g} s ends with the source, at {end:.2f} s."
    codes = getattr(task, "codes", None)
    if codes and geometry.codes_per_second and recipe.seconds is not None:
        length, whole = len(codes) / geometry.codes_per_second, recipe.seconds
        if length < whole - 1 / geometry.codes_per_second:
            yield f"The {len(codes)} codes last {length:g} s of {whole:g} s; what comes after them is free."
        if length > whole + 1 / geometry.codes_per_second:
            yield f"The {len(codes)} codes last {length:g} s and the song {whole:g} s; the last ones are not heard."
