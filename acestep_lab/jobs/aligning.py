"""Lyrics found in a sound: which words, which engine, what is kept from before, where the result is kept. Knows engines by their
contract; how a path is found is said in `listen.alignment`.

The engine's work is one small job on the queue's thread, between two steps of a run; the path is found beside it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from acestep_lab.engines.base import Aligns, Engine, LyricAttention, Prepared, Sound
from acestep_lab.errors import LibraryError, RecipeError, SourceError
from acestep_lab.jobs import annotating
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.stitching import is_stitch
from acestep_lab.listen import alignment, lyric_scores
from acestep_lab.listen.lyric_text import LyricText
from acestep_lab.listen.monotone_path import monotone_path
from acestep_lab.listen.silence import block_levels
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.recipe import SECONDS_RANGE, Recipe
from acestep_lab.prompt.tasks import Region, Repaint, Retake, Source, Task, Text2Music
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take

DRAWS = ((0.125, 0), (0.3, 1), (0.5, 2))
"""Times (1 is noise) and seeds at which a sound is listened to; near the sound, where heads see best."""
KIND = "alignment"
METHOD = 1
"""Which version of the method found what is kept; another one listens anew."""
SILENT, QUIET = 1e-4, 1e-3
"""A sound is silent below this level; a frame is, below this share of the sound's loudest."""
NO_LYRICS = "There are no lyrics to find; say what it sings: lab.align(sound, lyrics='…')."


class Engines(Protocol):
    """The engines that are open."""

    current: Engine

    def asked(self, checkpoint: str | None) -> Engine:
        """An open engine by its name, the one in use where none is named; CheckpointError where it is not open."""

    def maker_of(self, made: Take) -> Engine:
        """The engine that made a take."""

    def longest(self, engine: Engine) -> float:
        """The longest song, in seconds, that this machine has room for."""


@dataclass(frozen=True)
class Wanted:
    """Words to be found in a sound, and the engine that listens."""

    sound: Sound
    lyrics: str
    language: str | None
    engine: Engine
    own: bool
    """Whether the words are the take's own."""
    reference: bool

    @property
    def key(self) -> dict[str, Any]:
        """What a kept alignment must have been found with to be this one."""
        words = hashlib.blake2b(f"{self.language}\n{self.lyrics}".encode(), digest_size=8).hexdigest()
        return {"words": words, "checkpoint": self.engine.name, "method": METHOD}


class Aligning:
    """Finds lyrics in takes and sounds."""

    def __init__(self, engines: Engines, sounds: Sounds, queue: JobQueue) -> None:
        self.engines, self.sounds, self.queue = engines, sounds, queue

    def align(
        self, source: Source, lyrics: str | None, language: str | None, by: str, checkpoint: str | None, reference: bool,
        anew: bool,
    ) -> Alignment:  # fmt: skip
        """Lines and words with their times; what was found before is not looked for again."""
        by, anew = checks.choice("What to align by", by, ("sound", "plan")), checks.truth("anew", anew)
        wanted = self._wanted(
            self.sounds.find(source), lyrics, language, checkpoint, checks.truth("reference", reference)
        )
        if by == "plan":
            return self._planned(wanted)
        alignment.text_with_words(wanted.lyrics)
        self._must_align(wanted)
        known = None if anew else self._known(wanted)
        return self._found(wanted, anew) if known is None else known

    def _found(self, wanted: Wanted, anew: bool) -> Alignment:
        """Listened for by one at a time: whoever asked for the same meanwhile has found it."""
        self.queue.refuse_to_wait()
        with annotating.alone(self.sounds.library, KIND, wanted.sound.id):
            known = None if anew else self._known(wanted)
            return self._kept(wanted, self._heard(wanted)) if known is None else known

    def _wanted(
        self, sound: Sound, lyrics: str | None, language: str | None, checkpoint: str | None, reference: bool
    ) -> Wanted:  # fmt: skip
        recipe = sound.recipe if isinstance(sound, Take) else None
        own = lyrics is None and recipe is not None
        if lyrics is None and recipe is None:
            raise RecipeError("A sound that is no take has no lyrics of its own; say what it sings: lyrics='…'.")
        words = checks.text("The lyrics", recipe.lyrics if lyrics is None and recipe is not None else lyrics)
        if not words.strip():
            raise RecipeError(NO_LYRICS)
        language = (recipe.language if recipe else None) if language is None else vocabulary.language(language)
        engine = self.engines.maker_of(sound) if checkpoint is None and isinstance(sound, Take) else None
        return Wanted(sound, words, language, engine or self.engines.asked(checkpoint), own, reference)

    def _planned(self, wanted: Wanted) -> Alignment:
        recipe, plan = getattr(wanted.sound, "recipe", None), getattr(wanted.sound, "plan", None)
        bpm = getattr(recipe, "bpm", None) or getattr(plan, "bpm", None)
        return alignment.planned(wanted.lyrics, wanted.sound.seconds, bpm)

    def _must_align(self, wanted: Wanted) -> None:
        """RecipeError where nobody knows the engine's heads, and the plan's sections offered where there are some."""
        engine = wanted.engine
        if engine.capabilities.aligns and isinstance(engine, Aligns):
            return
        tags = LyricText.of(wanted.lyrics).tags
        if any(tag.text for tag in tags):
            raise RecipeError(
                f"{engine.name} aligns no lyrics: which of its heads listen to them is not known. Where its sections are planned "
                "to be says lab.align(…, by='plan')."
            )
        raise RecipeError(f"{engine.name} aligns no lyrics: which of its heads listen to them is not known.")

    # -- what is kept beside a take

    def _known(self, wanted: Wanted) -> Alignment | None:
        kept = annotating.kept(self.sounds.library, wanted.sound.id, KIND) if wanted.own else {}
        if kept.get("key") != wanted.key:
            return None
        found = _read(kept)
        has_reference = found is not None and found.scores is not None and "reference" in found.scores
        return found if has_reference or not wanted.reference else None

    def _kept(self, wanted: Wanted, found: Alignment) -> Alignment:
        """The alignment of a take's own words, once it is beside the take."""
        if not wanted.own:
            return found
        data = {"key": wanted.key, KIND: found.to_json()}
        said = annotating.keep(self.sounds.library, wanted.sound.id, KIND, data)
        return replace(found, remarks=(*found.remarks, *said))

    # -- listening

    def _heard(self, wanted: Wanted) -> Alignment:
        silent = _silent_blocks(wanted.sound)
        prepared, remarks = self.queue.aside(lambda stop: self._prepared(wanted, stop))
        text = alignment.text_with_words(prepared.request.recipe.lyrics)  # as it is read, which tokens are counted in
        attention, others = self._attention(wanted, prepared)
        quiet = _of_frames(silent, len(attention.rest), attention.seconds_per_frame)
        found = alignment.evidence(attention, text, quiet)
        path = monotone_path(found.units, found.rest, found.last_of_line)
        scores: dict[str, Any] = lyric_scores.lyric_scores(found, path, len(text.lines))
        if wanted.reference:
            scores["reference"] = {name: lyric_scores.reference_score(one, text) for name, one in others.items()}
        timed = self._in_regions(wanted, attention, text, quiet) or alignment.of_path(found, path, text, attention)
        said = () if scores["fits"] else (lyric_scores.FITS_NO_BETTER,)
        return replace(timed, scores=scores, remarks=(*said, *timed.remarks, *remarks))

    def _attention(self, wanted: Wanted, prepared: Prepared) -> tuple[LyricAttention, Mapping[str, LyricAttention]]:
        """What the engine attends to of the words; where asked for, also at the times of the reference's two scores. Each draw is a
        job of its own, less than a step of a render that it may come between.
        """
        engine: Any = wanted.engine
        latent = self.queue.aside(lambda stop: engine.encode(wanted.sound, stop))

        def hear(t: float, seed: int) -> LyricAttention:
            found: LyricAttention = self.queue.aside(
                lambda stop: engine.lyric_attention(prepared, latent, ((t, seed),), stop)
            )
            return found

        at = {"dit_score": 1.0 / max(1, prepared.request.steps), "lm_score": 1.0} if wanted.reference else {}
        others = {name: hear(t, 0) for name, t in at.items()}
        return alignment.mean_attention(hear(t, seed) for t, seed in DRAWS), others

    def _prepared(self, wanted: Wanted, stop: threading.Event) -> tuple[Prepared, tuple[str, ...]]:
        """The words as the render heard them; where that cannot be, or the words are others, as music from words alone."""
        if not (isinstance(wanted.sound, Take) and wanted.own) or is_stitch(wanted.sound.recipe):
            return self._request(wanted, _plain(wanted), None, stop), ()
        try:
            return self._request(wanted, wanted.sound.recipe, wanted.sound.plan, stop), ()
        except (SourceError, LibraryError, RecipeError) as problem:  # its source is gone, say
            said = f"The words were looked for as in music from words alone, for this take cannot be prepared again: {problem}"
            return self._request(wanted, _plain(wanted), None, stop), (said,)

    def _request(self, wanted: Wanted, recipe: Recipe, plan: Any, stop: threading.Event) -> Prepared:
        engine = wanted.engine
        request = engine.resolve(recipe, plan, self.sounds.find, self.engines.longest(engine))
        return engine.prepare([request], stop)[0]

    def _in_regions(
        self, wanted: Wanted, attention: LyricAttention, text: LyricText, quiet: np.ndarray
    ) -> Alignment | None:
        """Of a repaint whose parent was aligned: only its regions anew; None for anything else."""
        sound = wanted.sound
        task = _root(sound.recipe.task) if isinstance(sound, Take) and wanted.own else None
        if not isinstance(task, Repaint):
            return None
        source = task.with_ids().source  # what its file says it came from besides is only said
        kept = annotating.kept(self.sounds.library, str(source), KIND)
        before = _read(kept) if checks.is_a(kept.get("key"), dict) and kept["key"].get("method") == METHOD else None
        if before is None or not before.lines:
            return None
        return alignment.realigned(attention, text.text, _regions(task), before, quiet)


def kept_alignment(library: Library, id: str) -> Alignment | None:
    """What was found for a take and lies beside it; None where nothing does."""
    return _read(annotating.kept(library, id, KIND))


def _regions(task: Repaint) -> Sequence[Region]:
    return tuple(task.regions)


def _root(task: Task) -> Task:
    """The task itself; of a retake, the one it turns."""
    while isinstance(task, Retake) and isinstance(task.source, Take):
        task = task.source.recipe.task
    return task


def _read(kept: Mapping[str, Any]) -> Alignment | None:
    return annotating.read(Alignment.from_json, kept, KIND)


def _plain(wanted: Wanted) -> Recipe:
    """The words as music from words: what a recording, or a take under other words, is listened to with."""
    words: dict[str, Any] = {
        "lyrics": wanted.lyrics,
        "seconds": max(wanted.sound.seconds, SECONDS_RANGE[0]),
        "language": wanted.language,
    }
    how: dict[str, Any] = {"thinking": False, "seed": 0, "task": Text2Music()}
    if not isinstance(wanted.sound, Take):
        return Recipe("", **words, **how)
    old = wanted.sound.recipe
    kept = {name: getattr(old, name) for name in ("bpm", "keyscale", "timesignature")}
    return Recipe(old.caption, **words, **how, **kept)


def _silent_blocks(sound: Sound) -> np.ndarray:
    """Which blocks of 10 ms are silent; SourceError where all are."""
    audio = sound.audio if isinstance(sound, Take) else sound
    levels, _ = block_levels(audio)
    loudest = float(levels.max(initial=0.0))
    if loudest < SILENT:
        raise SourceError("This sound is silent; no words can be found in it.")
    return np.asarray(levels < QUIET * loudest)


def _of_frames(silent: np.ndarray, frames: int, seconds: float) -> np.ndarray:
    """Frames all of whose blocks of 10 ms are silent."""
    edges = np.round(np.arange(frames + 1) * seconds / 0.01).astype(int)
    found = [
        bool(silent[start:end].all()) if start < len(silent) else True
        for start, end in zip(edges, edges[1:], strict=False)
    ]
    return np.array(found, bool)
