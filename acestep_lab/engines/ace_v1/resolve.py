"""Every "auto" of a recipe becomes a number, every impossible request a sentence: before any work is done. Knows no weights."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from acestep_lab.engines.ace_v1 import schedules
from acestep_lab.engines.ace_v1.geometry import FRAMES_PER_SECOND
from acestep_lab.engines.ace_v1.loop import Settings
from acestep_lab.engines.ace_v1.lyric_tokenizer import LyricTokens
from acestep_lab.engines.ace_v1.request import V1Request, Words, flow
from acestep_lab.engines.ace_v1.task_rows import (
    SHORTEST_SECONDS,
    audio_of,
    check_added,
    check_unused,
    rooted,
    row_of,
    turned,
)
from acestep_lab.engines.base import Find
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSamplingV1
from acestep_lab.prompt.tasks import Extend, FlowEdit, Retake, Task
from acestep_lab.takes.take import Take

SILENT = 1e-5
"""A sound whose peak is no higher is silence (-100 dBFS)."""
INSTRUMENTAL = ("[instrumental]", "[inst]")
ReadLyrics = Callable[[str, str | None], LyricTokens]
"""Lyrics and the language a recipe names as tokens; RecipeError or CheckpointError where they cannot be read."""


@dataclass(frozen=True)
class ResolveContext:
    """What a recipe is resolved against."""

    name: str
    """The checkpoint's."""
    longest: float
    """Seconds of the longest song that this machine has room for."""
    at_once: float
    """Seconds that the model looks at at once."""
    find: Find
    read_lyrics: ReadLyrics


def resolve(recipe: Recipe, plan: Plan | None, context: ResolveContext) -> V1Request:
    """The recipe with every "auto" decided and every source at hand; raises RecipeError or SourceError."""
    _check_task(recipe.task, context.name)
    if plan is not None or recipe.planning.thinking:
        raise RecipeError(
            f"{context.name} has no planner and follows no plan; that is ACE-Step 1.5's. Leave the plan and thinking=True away."
        )
    asked = recipe.replace(sampling=flow(recipe), task=_with_sources(recipe.task, context.find))
    asked = _of_its_source(asked)
    root = rooted(asked.task)
    _check_task(root, context.name)
    _check_sources(root)
    if row_of(root).needs_words and not (asked.caption.strip() or asked.lyrics.strip()):
        raise RecipeError("There are no words to work from. Write a caption such as 'slow dub techno, tape hiss'.")
    if root is asked.task:
        asked = asked.replace(task=row_of(root).decided(root))
    return _request(_decided(asked, context), context)


def _decided(asked: Recipe, context: ResolveContext) -> Recipe:
    root = rooted(asked.task)
    return asked.replace(
        seconds=_seconds(root, asked.seconds, context),
        seed=secrets.randbelow(2**32) if asked.seed is None else asked.seed,
        language=asked.language or "unknown",
        sampling=schedules.decided(flow(asked), row_of(root).sampling),
    )


def _request(decided: Recipe, context: ResolveContext) -> V1Request:
    """A recipe whose numbers are all decided, as a request."""
    assert decided.seconds is not None
    assert decided.seed is not None
    root = rooted(decided.task)
    words = _words(decided, context)
    described = () if not row_of(root).edits else (_words(_described_source(root, decided), context),)
    noise_seed, turns = _noise(decided)
    return V1Request(
        recipe=decided,
        seconds=decided.seconds,
        seed=decided.seed,
        remarks=tuple(_remarks(decided, words, context.name)),
        settings=Settings.of(flow(decided)),
        words=words,
        source_words=described,
        noise_seed=noise_seed,
        turns=turns,
    )


def _words(recipe: Recipe, context: ResolveContext) -> Words:
    sung = "" if recipe.lyrics.strip().lower() in INSTRUMENTAL else recipe.lyrics
    return Words(described(recipe), context.read_lyrics(sung, recipe.language))


def described(recipe: Recipe) -> str:
    """The words that UMT5 reads: the caption, and tempo, key and meter in words where they were asked for."""
    asked = (
        f"{recipe.bpm} bpm" if recipe.bpm is not None else "",
        recipe.keyscale or "",
        f"{recipe.timesignature} time" if recipe.timesignature else "",
    )
    return ", ".join(words for words in (recipe.caption.strip(), *asked) if words)


def _described_source(task: Task, recipe: Recipe) -> Recipe:
    """How an edit's source is described: as the task says, else as its own recipe does; a recording's tempo, key and meter are
    taken to be the goal's.
    """
    assert isinstance(task, FlowEdit)
    old = task.source.recipe if isinstance(task.source, Take) else recipe.replace(lyrics="")
    metas = {name: getattr(old, name) for name in ("bpm", "keyscale", "timesignature", "language")}
    return recipe.replace(caption=task.caption or old.caption, lyrics=task.lyrics or old.lyrics, **metas)


def _noise(recipe: Recipe) -> tuple[int, tuple[tuple[int, float], ...]]:
    """Where a decided recipe's noise comes from: a seed, and of a retake what its source's is turned towards."""
    if isinstance(recipe.task, Retake):
        seed, turns = _noise(turned(recipe.task).recipe)
        return seed, (*turns, (recipe.task.seed, recipe.task.variance))
    if recipe.seed is None:
        raise SourceError("That take's recipe does not tell its seed, so there is no noise that could be turned.")
    return recipe.seed, ()


# --- filling in ------------------------------------------------------------------------------------------------------


def _with_sources(task: Task, find: Find) -> Task:
    """The task with its sources as takes and sounds instead of ids and paths; those of a turned take as well."""
    found: dict[str, Any] = {name: find(source) for name, source in task.sources().items()}
    task = replace(task, **found) if found else task
    if not isinstance(task, Retake):
        return task
    take = turned(task)
    return replace(task, source=take.replace(recipe=take.recipe.replace(task=_with_sources(take.recipe.task, find))))


def _of_its_source(recipe: Recipe) -> Recipe:
    """A retake takes over everything its source's recipe says and its own does not."""
    if not isinstance(recipe.task, Retake):
        return recipe
    source, here = turned(recipe.task).recipe, flow(recipe)
    if not isinstance(source.sampling, FlowSamplingV1):
        raise SourceError(
            "That take was made by a model of another family, whose noise means nothing to ACE-Step v1. Use Cover or FlowEdit for it."
        )
    words = {name: getattr(source, name) for name in _WORDS if getattr(recipe, name) in (None, "")}
    knobs = flow(source).given() | here.given()
    return recipe.replace(caption=recipe.caption or source.caption, **words, sampling=type(here)(**knobs))


_WORDS = ("lyrics", "seconds", "seed", "bpm", "keyscale", "timesignature", "language")
"""What a retake takes over from the recipe of the take it turns."""


def _seconds(task: Task, asked: float | None, context: ResolveContext) -> float:
    """Length of the song: its source's with what is added, as asked, or the default."""
    row = row_of(task)
    seconds = min(row.seconds(task, None), context.longest) if asked is None and not task.sources() else None
    seconds = row.seconds(task, asked) if seconds is None else seconds
    most = context.longest if row.grows else min(context.longest, context.at_once)
    if seconds > most + 1e-6:
        raise RecipeError(
            f"{context.name} makes songs of up to {most:g} s here; {seconds:g} s is too long. Make it shorter, or extend a take "
            "in parts."
        )
    if seconds < SHORTEST_SECONDS and not task.sources():
        raise RecipeError(f"{context.name} makes songs from {SHORTEST_SECONDS:g} s on; {seconds:g} s is too short.")
    return float(seconds)


# --- refusing --------------------------------------------------------------------------------------------------------


def _check_task(task: Task, name: str) -> None:
    """Refuse what the checkpoint cannot do, with one that can; and a task's fields that mean nothing to it."""
    row = row_of(task)
    if row.instead:
        raise RecipeError(f"{name} cannot {row.does}. {row.instead}")
    check_unused(task, name)


def _check_sources(task: Task) -> None:
    """Refuse sounds that cannot be worked from, before anything is encoded."""
    row = row_of(task)
    for name, source in task.sources().items():
        audio = audio_of(source)
        if not np.isfinite(audio.samples).all():
            raise SourceError(f"The {name} holds samples that are not numbers.")
        if audio.seconds * FRAMES_PER_SECOND < 1:
            raise SourceError(
                f"The {name} lasts {audio.seconds:.3f} s; at least {1 / FRAMES_PER_SECOND:.3f} s are needed."
            )
        if not row.takes_silence and audio.with_channels(2).peak <= SILENT:
            raise SourceError(f"The {name} is silent; choose a sound with something to hear in it.")
    if isinstance(task, Extend):
        check_added(task)
    for region in row.regions(task):
        end = audio_of(task.source).seconds  # type: ignore[union-attr]
        if region.start >= end:
            raise RecipeError(
                f"The region {region.start:g}–{region.end:g} s begins after the source ends ({end:.2f} s); to add music after it, "
                "use Extend."
            )


# --- remarking -------------------------------------------------------------------------------------------------------


def _remarks(recipe: Recipe, words: Words, name: str) -> Iterator[str]:
    """A sentence for each choice of a resolved recipe that is done otherwise than elsewhere, or only in part."""
    if words.prompt != recipe.caption.strip():
        short = words.prompt if len(words.prompt) <= 80 else f"…{words.prompt[-79:]}"
        yield f"{name} has no fields for tempo, key and meter; it reads them as words, {short!r}, and may stray from them."
    yield from words.lyrics.remarks
    root = rooted(recipe.task)
    yield from row_of(root).remarks(root)


def lint(asked: Recipe, name: str) -> Iterator[str]:
    """A sentence for each explicit choice that usually spoils the music, or does nothing."""
    how = flow(asked)
    if how.guidance == "none" or (how.guidance_scale is not None and how.guidance_scale <= 1.0):
        yield f"{name} was trained to be guided (apg, 15); without, it hardly hears the words."
    if how.solver == "pingpong" and how.omega not in (None, 0.0):
        yield "omega is not used: pingpong draws new noise at each step."
    if how.own_steps is not None and how.steps is not None and how.steps != len(how.own_steps):
        yield f"steps={how.steps} is not used: own_steps names {len(how.own_steps)}."
    if isinstance(asked.task, Extend) and asked.seconds is not None:
        yield f"seconds={asked.seconds:g} is not used: the source and what is added say how long it gets."
