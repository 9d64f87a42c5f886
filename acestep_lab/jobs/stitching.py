"""Stitched songs: pieces of takes and sounds put one after another, by numbers that are all in the recipe of the take.

Knows takes, beats and samples; no engine. What `Stitch` leaves open — where a beat falls, where a wave crosses zero — is decided
first and written down, so that the take is made again sample for sample wherever its sources are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.audio.mastering import gain_for, mastered
from acestep_lab.audio.stitching import Part, arranged, stitched, zero_crossing
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.listen.beats import beats_near
from acestep_lab.listen.tempo import same_tempo
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MOST_CROSSFADE_SECONDS, STITCHED_SECONDS, Piece, Region, Stitch
from acestep_lab.takes.take import Take
from acestep_lab.versions import version_of

Sound: TypeAlias = Take | Audio
Find: TypeAlias = Callable[[Any], Sound]

USUAL_BEAT = 0.5
"""Seconds of a crossfade where no beat is heard and no tempo known."""
CUT_SECONDS = 0.005
"""How far a cut may move to where the wave crosses zero."""
SLACK_SECONDS = 0.05
"""How far a region may reach beyond its sound's end."""
_WORDS = ("caption", "lyrics", "bpm", "keyscale", "timesignature", "language")


@dataclass(frozen=True, eq=False)
class Stitched:
    """A stitched song, decided: the recipe with every number, and the parts it is made of."""

    asked: Recipe
    recipe: Recipe
    parts: tuple[Part, ...]
    remarks: tuple[str, ...]

    def take(self) -> Take:
        """The finished song; its latent is empty, and whoever goes on from it encodes the sound."""
        task: Any = self.recipe.task
        return Take(
            recipe=self.recipe.replace(task=task.with_ids()),
            audio=_mastered(self.recipe, stitched(self.parts)),
            latent=np.zeros((0, 1), np.float32),
            parents=tuple(dict.fromkeys(task.with_ids().sources().values())),
            made_with={"stitch": list(self.remarks), "versions": {"acestep_lab": version_of("acestep_lab")}},
            asked=self.asked.replace(task=self.asked.task.with_ids()),
        )


def is_stitch(recipe: object) -> bool:
    """Whether a recipe is for a stitched song, which no engine makes."""
    return checks.is_a(recipe, Recipe) and isinstance(recipe.task, Stitch)  # type: ignore[attr-defined]


def recipe_for(find: Find, pieces: Any, crossfade: object = "beat", changes: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe that stitches pieces; its words are the first take's, where `changes` bring none."""
    task = Stitch(pieces, crossfade)  # type: ignore[arg-type]  # what it is, Stitch itself reads
    first = next((one for piece in task.pieces if isinstance(one := find(piece.source), Take)), None)
    words = {} if first is None else {name: getattr(first.recipe, name) for name in _WORDS}
    return Recipe(**({"caption": "", **words, "task": task} | dict(changes or {})))


def decided(recipe: Recipe, find: Find) -> Stitched:
    """A recipe's joints as numbers; RecipeError or SourceError for what cannot be stitched, before any work."""
    task = recipe.task
    assert isinstance(task, Stitch)
    if recipe.sampling.given():
        raise RecipeError(f"A stitched song is not sampled, so leave out {', '.join(recipe.sampling.given())}.")
    sounds = [find(piece.source) for piece in task.pieces]
    audios, remarks = alike([one.audio if isinstance(one, Take) else one for one in sounds])
    regions = [_region(*one) for one in enumerate(zip(task.pieces, audios, strict=True), 1)]
    parts = [Part(audio, *_ends(audio, region)) for audio, region in zip(audios, regions, strict=True)]
    for number in range(1, len(parts)):
        how = task.crossfade if task.pieces[number].crossfade is None else task.pieces[number].crossfade
        tempi = [_bpm_of(sound) for sound in sounds[number - 1 : number + 1]]
        if _is_decided(recipe):
            parts[number] = replace(parts[number], crossfade=round(float(how or 0) * parts[number].audio.rate))
            continue
        parts[number - 1 : number + 1], said = _joined(parts[number - 1], parts[number], how, tempi, number)
        remarks += said
    seconds = _checked_seconds(recipe, parts)
    pieces = tuple(map(_decided_piece, sounds, parts, [True] + [False] * (len(parts) - 1)))
    made = recipe.replace(task=Stitch(pieces, task.crossfade), seconds=seconds, checkpoint=None)
    return Stitched(recipe, made, tuple(parts), tuple(dict.fromkeys(remarks)))


def _is_decided(recipe: Recipe) -> bool:
    """Whether a recipe holds every number already, as a stitched take's own does: its cuts are not looked for again."""
    pieces = recipe.task.pieces  # type: ignore[union-attr]
    return recipe.seconds is not None and all(
        piece.region is not None and (piece.crossfade is not None or place == 0) for place, piece in enumerate(pieces)
    )


def alike(audios: Sequence[Audio]) -> tuple[list[Audio], list[str]]:
    """Sounds at the first one's rate and the most channels of any, and a sentence for each that had to change."""
    rate, channels = audios[0].rate, max(audio.channels for audio in audios)
    made: dict[int, Audio] = {}
    remarks = []
    for number, audio in enumerate(audios, 1):
        if not audio.samples.size:
            raise SourceError(f"Piece {number} has no samples; there is nothing to put into a song.")
        if id(audio) in made:
            continue
        made[id(audio)] = audio.with_channels(channels).resample(rate)
        if audio.rate != rate:
            remarks.append(f"Piece {number} was brought from {audio.rate} to {rate} Hz, as the first piece is.")
        if audio.channels != channels:
            remarks.append(f"Piece {number} was brought from {audio.channels} to {channels} channels.")
    return [made[id(audio)] for audio in audios], remarks


def _region(number: int, one: tuple[Piece, Audio]) -> Region:
    """A piece's region, cut at its sound's end; RecipeError where it lies beyond."""
    piece, audio = one
    region = piece.region or Region(0.0, audio.seconds)
    if region.end > audio.seconds + SLACK_SECONDS or region.start >= audio.seconds:
        raise RecipeError(
            f"Piece {number} is {region.start:g}–{region.end:g} s of a sound that ends at {audio.seconds:.2f} s; "
            "choose a region inside it."
        )
    return region


def _ends(audio: Audio, region: Region) -> tuple[int, int]:
    """First and last sample of a region; at least one between them."""
    span, length = region.samples(audio.rate), audio.samples.shape[1]
    first = min(span.start, length - 1)
    return first, min(max(span.stop, first + 1), length)


def _bpm_of(sound: Sound) -> float | None:
    """The tempo that a take is known to have: its recipe's stands against its plan's."""
    if not isinstance(sound, Take):
        return None
    return sound.recipe.bpm or getattr(sound.plan, "bpm", None)


def _joined(
    before: Part, part: Part, how: str | float | None, tempi: Sequence[float | None], number: int
) -> tuple[list[Part], list[str]]:
    """Two parts with the joint between them decided, and what is to be said of it."""
    if part.audio is before.audio and part.first == before.last:
        return [before, part], []
    if how in ("none", 0):
        return list(_cut(before, part)), []
    if how == "beat":
        made, said = _on_the_beat(before, part, tempi, number)
        return [before, made], said
    return [before, replace(part, crossfade=round(float(how or 0) * part.audio.rate))], []


def _cut(before: Part, part: Part) -> tuple[Part, Part]:
    """Both ends moved to where the wave crosses zero in one direction."""
    within = round(CUT_SECONDS * part.audio.rate)
    last, rising = zero_crossing(before.audio, before.last, within)
    first, _ = zero_crossing(part.audio, part.first, within, rising)
    fits = last > before.first and first < part.last
    return (replace(before, last=last), replace(part, first=first)) if fits else (before, part)


def _on_the_beat(before: Part, part: Part, tempi: Sequence[float | None], number: int) -> tuple[Part, list[str]]:
    """The part moved by up to half a beat so that its beats fall on those before, coming in over one beat."""
    rate, end, start = part.audio.rate, before.last / part.audio.rate, part.first / part.audio.rate
    old, new = beats_near(before.audio, end, tempi[0]), beats_near(part.audio, start, tempi[1])
    known = 60.0 / tempi[0] if tempi[0] else None
    beat = min(old.period if old else known or USUAL_BEAT, MOST_CROSSFADE_SECONDS)
    faded = replace(part, crossfade=round(beat * rate))
    if old is None or new is None:
        missing = "before" if old is None else "after"
        return faded, [f"Joint {number}: no beat is heard {missing} it, so nothing was moved; crossfade {beat:.2f} s."]
    beats = min(old.period, new.period)
    by = (old.after(end) - new.after(start) + beats / 2) % beats - beats / 2
    by += beats * max(0, -((start + by) // beats)) if start + by < 0 else 0.0
    moved = part.first + round(by * rate)
    said = [f"Joint {number}: the next piece was moved by {1000 * by:+.0f} ms so that the beats fall together."]
    if not same_tempo(60 / old.period, 60 / new.period):
        said.append(f"Joint {number}: the tempi differ ({60 / old.period:.0f} and {60 / new.period:.0f} bpm).")
    if moved >= part.last - 1:
        return faded, [f"Joint {number}: piece {number + 1} is shorter than half a beat; nothing was moved."]
    return replace(faded, first=moved), said


def _checked_seconds(recipe: Recipe, parts: Sequence[Part]) -> float:
    """The song's length in seconds; RecipeError for one that is too short, too long, or not as asked."""
    places, rate = arranged(parts), parts[0].audio.rate
    seconds = float((places[-1].start + parts[-1].count) / rate)
    low, high = STITCHED_SECONDS
    if not low <= seconds <= high:
        raise RecipeError(
            f"These pieces make a song of {seconds:.1f} s; a stitched song lasts {low:g} to {high:g} s. Take "
            f"{'longer' if seconds < low else 'fewer or shorter'} pieces."
        )
    if recipe.seconds is not None and abs(recipe.seconds - seconds) > SLACK_SECONDS:
        raise RecipeError(
            f"These pieces make a song of {seconds:.2f} s, not of {recipe.seconds:g} s: leave out its length, and trim "
            "the pieces."
        )
    return seconds


def _decided_piece(sound: Sound, part: Part, is_first: bool) -> Piece:
    """A part as the piece that makes it again."""
    rate = part.audio.rate
    return Piece(sound, Region(part.first / rate, part.last / rate), None if is_first else part.crossfade / rate)


def _mastered(recipe: Recipe, song: Audio) -> Audio:
    """The song at the level and with the fades that its recipe asks for; as it is where it asks for none."""
    wanted = recipe.normalize or recipe.peak_db is not None
    if not wanted and not recipe.fade_in and not recipe.fade_out:
        return song
    samples = song.samples.copy()
    return mastered(recipe, samples, song.rate, gain_for(recipe, samples) if wanted else 1.0)


def only_stitches(recipes: Iterable[Recipe]) -> bool:
    """Whether recipes are for stitched songs; RecipeError where some are and some are not."""
    found = {is_stitch(one) for one in recipes}
    if len(found) > 1:
        raise RecipeError("Stitched songs are made apart from others: start them in a run of their own.")
    return found == {True}
