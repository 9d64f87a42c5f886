"""Every "auto" of a recipe becomes a number, every impossible wish a sentence: before any work is done. Knows no torch."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Find
from acestep_lab.engines.musicgen.request import Rules, TokenRequest
from acestep_lab.engines.musicgen.windows import Window, windows
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.lyrics import sections
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import TokenSampling, converted
from acestep_lab.prompt.tasks import Cover, Extend, Task, Text2Music
from acestep_lab.takes.take import Take

SHORTEST_SECONDS = 0.5
DEFAULT_SECONDS = 30.0
"""The length of a song where nobody says one: what the models were taught."""
CROSSFADE_SECONDS = 0.025
"""Between a source and what is added to it, on the source's side; as ACE-Step's."""
SILENT = 1e-5
"""A sound whose peak is no higher is silence (-100 dBFS)."""


@dataclass(frozen=True)
class Limits:
    """What a checkpoint can do, as far as a recipe is concerned."""

    name: str
    channels: int
    follows_melodies: bool
    frames_per_second: float
    window_seconds: float
    stride_seconds: float
    longest_seconds: float
    latest: int
    """By how many steps the last codebook is late."""
    defaults: TokenSampling
    """Every knob decided."""

    def frames(self, seconds: float) -> int:
        """Frames of codes that last at least so long."""
        return max(1, int(np.ceil(seconds * self.frames_per_second - 1e-6)))


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
    decided = recipe.replace(task=task, seconds=seconds, seed=seed, sampling=how)
    rules = Rules(how.temperature, how.top_k, how.top_p, how.guidance_scale)
    found = song_windows(task, seconds, limits)
    said = tuple(remarks(decided, seconds, found, limits))
    return TokenRequest(decided, seconds, seed, said, rules, found, limits.latest)


# --- refusing --------------------------------------------------------------------------------------------------------

_OTHERS = {
    "Repaint": ("repaint", "ACE-Step 1.5 checkpoints can, such as Session.open('turbo')."),
    "Retake": (
        "turn a take's noise (Retake): its music is drawn token by token and has none",
        "Make the recipe again with another seed, or open an ACE-Step checkpoint.",
    ),
    "Extract": ("take a stem out of a sound (Extract)", "ACE-Step's base checkpoints can: Session.open('base')."),
    "Lego": ("add a stem to a sound (Lego)", "ACE-Step's base checkpoints can: Session.open('base')."),
    "Complete": ("accompany a stem (Complete)", "ACE-Step's base checkpoints can: Session.open('base')."),
    "FlowEdit": ("edit a sound (FlowEdit)", "ACE-Step 1.5 checkpoints can, such as Session.open('turbo')."),
    "Cover": (
        "make covers: it follows no melody",
        "MusicGen's melody checkpoints do, such as Session.open('musicgen-melody'); so do ACE-Step's.",
    ),
}
"""What this family, or a checkpoint of it, cannot do, and who can."""


def _check_task(task: Task, limits: Limits) -> None:
    """Refuse what the checkpoint cannot do, with one that can; and a task's fields that mean nothing to it."""
    name = type(task).__name__
    if name in _OTHERS and not (name == "Cover" and limits.follows_melodies):
        does, able = _OTHERS[name]
        raise RecipeError(f"{limits.name} cannot {does}. {able}")
    if isinstance(task, Extend) and task.before:
        raise RecipeError(
            f"{limits.name} writes music from left to right and can add none before a sound (before={task.before:g}); leave "
            "before at 0. ACE-Step checkpoints can."
        )
    if isinstance(task, Text2Music | Cover):
        _check_unused(task, limits)


def _check_unused(task: Text2Music | Cover, limits: Limits) -> None:
    who = "that is ACE-Step's."
    if task.codes is not None:
        raise RecipeError(f"{limits.name} cannot follow audio codes; {who} Leave codes away.")
    if task.reference is not None:
        raise RecipeError(f"{limits.name} takes no timbre from a reference; {who} Describe the sound in the caption.")
    if isinstance(task, Cover):
        usual = Cover(source=task.source)
        for field in (
            "strength",
            "noise_strength",
        ):  # through_codes says how an ACE-Step hears a source; here is one way only
            if getattr(task, field) != getattr(usual, field):
                raise RecipeError(
                    f"{limits.name} follows a source's melody as it is and has no {field}; {who} Leave it at "
                    f"{getattr(usual, field)}."
                )


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
    if isinstance(recipe.task, Text2Music) and not recipe.caption.strip():
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
        if isinstance(task, Cover) and audio.with_channels(1).peak <= SILENT:
            raise SourceError(f"The {name} is silent; choose a sound with a melody in it.")


def audio_of(source: Any) -> Audio:
    """The sound of a resolved source: a take's, or the audio itself."""
    found: Audio = source.audio if isinstance(source, Take) else source
    return found


def _seconds(recipe: Recipe, task: Task, limits: Limits) -> float:
    """Length of the song: its source's with what is added, as asked, its source's, or the default."""
    least = 1 / limits.frames_per_second
    if isinstance(task, Extend):
        if task.after < least:
            raise RecipeError(f"Extend adds at least {least:g} s, one frame of codes; after={task.after:g} is less.")
        seconds = audio_of(task.source).seconds + task.after
    elif recipe.seconds is not None:
        seconds = recipe.seconds
    elif isinstance(task, Cover):
        seconds = max(SHORTEST_SECONDS, audio_of(task.source).seconds)
    else:
        seconds = min(DEFAULT_SECONDS, limits.longest_seconds)
    if seconds > limits.longest_seconds + 1e-6:
        raise RecipeError(
            f"{limits.name} makes music of up to {limits.longest_seconds:g} s here; {seconds:g} s is too long. {_shorter(task)}"
        )
    return float(seconds)


def _shorter(task: Task) -> str:
    if isinstance(task, Extend):
        return "Cut the source to its end, or add less."
    return "Name the seconds to make." if isinstance(task, Cover) else "Make it shorter."


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
    """A sentence for each wish of a resolved recipe that is done otherwise than elsewhere, or only in part."""
    if (words := described(recipe)) != recipe.caption.strip():
        short = words if len(words) <= 80 else f"…{words[-79:]}"
        yield f"{limits.name} has no fields for tempo, key and meter; it reads them as words, {short!r}, and may stray from them."
    task: Any = recipe.task
    yield from _stitches(seconds, found, limits)
    if isinstance(task, Cover):
        yield "The melody is the loudest pitch class of the whole mix at each moment; drums and bass may cover it."
        if seconds > audio_of(task.source).seconds + 0.05:
            yield f"The source lasts {audio_of(task.source).seconds:.1f} s; its melody is heard again from its begin after that."
    if isinstance(task, Extend) and audio_of(task.source).channels > limits.channels:
        yield f"{limits.name} writes mono: what is added is the same in both channels. The source keeps its own."


def song_windows(task: Task, seconds: float, limits: Limits) -> tuple[Window, ...]:
    """The windows a song of so many seconds is written in."""
    known = limits.frames(audio_of(task.source).seconds) if isinstance(task, Extend) else 0
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
        heard = (found[0].start - found[0].begin) / limits.frames_per_second
        yield f"{limits.name} hears the last {heard:.4g} s of the source and goes on from there."


# --- warning ---------------------------------------------------------------------------------------------------------


def lint(asked: Recipe, limits: Limits) -> Iterator[str]:
    """A sentence for each explicit choice that usually spoils the music, or does nothing."""
    sampling: Any = asked.sampling
    if isinstance(sampling, TokenSampling):
        if sampling.temperature == 0.0:
            yield f"At temperature 0 {limits.name} takes the likeliest token each time, and usually goes round in circles."
        if sampling.temperature == 0.0 and (sampling.top_k is not None or sampling.top_p is not None):
            yield "top_k and top_p are not used: at temperature 0 nothing is drawn."
    scale = getattr(sampling, "guidance_scale", None)
    if scale is not None and scale <= 1.0:
        yield f"{limits.name} was made to be guided ({limits.defaults.guidance_scale:g}); at {scale:g} it hardly hears the words."
    if asked.language not in (None, "unknown"):
        yield f"language={asked.language!r} is not used: {limits.name} does not sing."
    if asked.lyrics.strip() and not sings(asked.lyrics):
        yield f"The tags in the lyrics are not used: {limits.name} plans no sections and does not sing."
    if isinstance(asked.task, Extend) and (asked.normalize is not None or asked.peak_db is not None):
        yield "normalize and peak_db are not used: what is added takes the level of the source before it."
    if isinstance(asked.task, Extend) and asked.seconds is not None:
        yield f"seconds={asked.seconds:g} is not used: the source and after= say how long it gets."
