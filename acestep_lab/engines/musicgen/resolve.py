"""Every "auto" of a recipe becomes a number, every impossible request a sentence: before any work is done. Knows no torch."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from acestep_lab.engines.base import Find
from acestep_lab.engines.musicgen.request import Rules, TokenRequest
from acestep_lab.engines.musicgen.task_rows import Limits, audio_of, row_of
from acestep_lab.engines.musicgen.windows import Window, windows
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.lyrics import sections
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import TokenSampling, converted
from acestep_lab.prompt.tasks import Task

SILENT = 1e-5
"""A sound whose peak is no higher is silence (-100 dBFS)."""


def resolve(recipe: Recipe, plan: Plan | None, find: Find, limits: Limits) -> TokenRequest:
    """The recipe with every "auto" decided and every source at hand; raises RecipeError or SourceError."""
    _check_task(recipe.task, limits)
    sampling = converted(recipe.sampling, TokenSampling, limits.name)
    _check_words(recipe, plan, limits)
    task = _with_sources(recipe.task, find)
    _check_sources(task, limits)
    seconds = _seconds(recipe, task, limits)
    seed = recipe.seed if recipe.seed is not None else secrets.randbelow(2**32)
    how: Any = limits.defaults.replace(**sampling.given())
    return _request(recipe.replace(task=task, sampling=how), seconds, seed, limits)


def _request(decided: Recipe, seconds: float, seed: int, limits: Limits) -> TokenRequest:
    """A recipe whose sources and knobs are decided, as a request for a song of so many seconds."""
    how: Any = decided.sampling
    decided, found = decided.replace(seconds=seconds, seed=seed), song_windows(decided.task, seconds, limits)
    return TokenRequest(
        recipe=decided,
        seconds=seconds,
        seed=seed,
        remarks=tuple(remarks(decided, seconds, found, limits)),
        rules=Rules(how.temperature, how.top_k, how.top_p, how.guidance_scale),
        windows=found,
        latest=limits.latest,
    )


# --- refusing --------------------------------------------------------------------------------------------------------


def _check_task(task: Task, limits: Limits) -> None:
    """Refuse what the checkpoint cannot do, with one that can; and a task's fields that mean nothing to it."""
    row = row_of(task)
    if not row.allows(limits.follows_melodies):
        raise RecipeError(f"{limits.name} cannot {row.does}. {row.instead}")
    row.check(task, limits)


def _check_words(recipe: Recipe, plan: Plan | None, limits: Limits) -> None:
    """Refuse lyrics, plans and planning: what would be left out of the music without a word."""
    if sings(recipe.lyrics):
        raise RecipeError(
            f"{limits.name} does not sing: it has no place for lyrics. Leave them away, or open an ACE-Step checkpoint, such as "
            "Session.open('turbo')."
        )
    if plan is not None or recipe.planning.thinking:
        raise RecipeError(
            f"{limits.name} has no planner and follows no plan; that is ACE-Step's. Leave the plan and thinking=True away."
        )
    if row_of(recipe.task).needs_words and not recipe.caption.strip():
        raise RecipeError("There are no words to work from. Write a caption such as 'slow dub techno, tape hiss'.")


def sings(lyrics: str) -> bool:
    """Whether lyrics have a line to sing: tags alone ("[Instrumental]") have none."""
    return any(section.lines for section in sections(lyrics))


def _with_sources(task: Task, find: Find) -> Task:
    found: dict[str, Any] = {name: find(source) for name, source in task.sources().items()}
    return replace(task, **found) if found else task


def _check_sources(task: Task, limits: Limits) -> None:
    """Refuse sounds that cannot be worked from, before anything is encoded."""
    for name, source in task.sources().items():
        audio = audio_of(source)
        if not np.isfinite(audio.samples).all():
            raise SourceError(f"The {name} holds samples that are not numbers.")
        if audio.seconds * limits.frames_per_second < 1:
            raise SourceError(
                f"The {name} lasts {audio.seconds:.3f} s; at least {1 / limits.frames_per_second:g} s are needed."
            )
        if not row_of(task).takes_silence and audio.with_channels(1).peak <= SILENT:
            raise SourceError(f"The {name} is silent; choose a sound with a melody in it.")


def _seconds(recipe: Recipe, task: Task, limits: Limits) -> float:
    """Length of the song: its source's with what is added, as asked, its source's, or the default."""
    row = row_of(task)
    seconds = row.seconds(task, recipe.seconds, limits)
    if seconds > limits.longest_seconds + 1e-6:
        raise RecipeError(
            f"{limits.name} makes music of up to {limits.longest_seconds:g} s here; {seconds:g} s is too long. {row.shorter}"
        )
    return float(seconds)


# --- remarking -------------------------------------------------------------------------------------------------------


def described(recipe: Recipe) -> str:
    """The words that T5 reads: the caption, and tempo, key and meter in words where they were asked for."""
    asked = (
        f"{recipe.bpm} bpm" if recipe.bpm is not None else "",
        recipe.keyscale or "",
        f"{recipe.timesignature} time" if recipe.timesignature else "",
    )
    return ", ".join(words for words in (recipe.caption.strip(), *asked) if words)


def remarks(recipe: Recipe, seconds: float, found: tuple[Window, ...], limits: Limits) -> Iterator[str]:
    """A sentence for each choice of a resolved recipe that is done otherwise than elsewhere, or only in part."""
    if (words := described(recipe)) != recipe.caption.strip():
        short = words if len(words) <= 80 else f"…{words[-79:]}"
        yield f"{limits.name} has no fields for tempo, key and meter; it reads them as words, {short!r}, and may stray from them."
    yield from _stitches(seconds, found, limits)
    yield from row_of(recipe.task).remarks(recipe.task, seconds, limits)


def song_windows(task: Task, seconds: float, limits: Limits) -> tuple[Window, ...]:
    """The windows a song of so many seconds is written in."""
    known = sum(limits.frames(audio_of(sound).seconds) for sound in row_of(task).prompt(task))
    frames = max(limits.frames(seconds), known + 1)
    return windows(frames, known, limits.frames(limits.window_seconds), limits.frames(limits.stride_seconds))


def _stitches(seconds: float, found: tuple[Window, ...], limits: Limits) -> Iterator[str]:
    if len(found) > 1:
        overlap = limits.window_seconds - limits.stride_seconds
        yield (
            f"Stitched: {limits.name} hears {limits.window_seconds:g} s at once, so {seconds:.4g} s are written in "
            f"{len(found)} windows, each going on from the last {overlap:g} s before it."
        )
    if found[0].begin:
        known = (found[0].start - found[0].begin) / limits.frames_per_second
        yield f"{limits.name} hears the last {known:.4g} s of the source and goes on from there."


# --- warning ---------------------------------------------------------------------------------------------------------


def lint(asked: Recipe, limits: Limits) -> Iterator[str]:
    """A sentence for each explicit choice that usually spoils the music, or does nothing."""
    yield from _odd_sampling(asked, limits)
    if asked.language not in (None, "unknown"):
        yield f"language={asked.language!r} is not used: {limits.name} does not sing."
    if asked.lyrics.strip() and not sings(asked.lyrics):
        yield f"The tags in the lyrics are not used: {limits.name} plans no sections and does not sing."
    yield from row_of(asked.task).lint(asked)


def _odd_sampling(asked: Recipe, limits: Limits) -> Iterator[str]:
    """A sentence for each knob that draws tokens in an odd way; another family's knobs are refused by resolving."""
    how: Any = asked.sampling
    if getattr(how, "temperature", None) == 0.0:
        yield f"At temperature 0 {limits.name} takes the likeliest token each time, and usually goes round in circles."
        if how.top_k is not None or how.top_p is not None:
            yield "top_k and top_p are not used: at temperature 0 nothing is drawn."
    scale = getattr(how, "guidance_scale", None)
    if scale is not None and scale <= 1.0:
        yield f"{limits.name} was made to be guided ({limits.defaults.guidance_scale:g}); at {scale:g} it hardly hears the words."
