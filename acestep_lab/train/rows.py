"""What is learnt from, as rows: songs of a data set, or takes, each with its words as a recipe. Knows no engine and no file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Sound
from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take

INSTRUMENTAL = "[Instrumental]"
"""What the checkpoints read where nobody sings."""
MOST_SONGS = 100_000


@runtime_checkable
class Row(Protocol):
    """A song as a data set tells of it (`dataset.Song`)."""

    @property
    def name(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def caption(self) -> str: ...
    @property
    def lyrics(self) -> str: ...
    @property
    def language(self) -> str | None: ...
    @property
    def bpm(self) -> int | None: ...
    @property
    def keyscale(self) -> str | None: ...
    @property
    def timesignature(self) -> str | None: ...
    @property
    def sound_hash(self) -> str:
        """A digest of its sound."""

    def audio(self) -> Audio:
        """Its sound, read now; SourceError where it cannot be."""


@dataclass(frozen=True)
class TakeRow:
    """A take as a song to learn from: its own latent is what is learnt, where the autoencoder is the same."""

    held: Take

    name = property(lambda self: self.held.id)
    seconds = property(lambda self: self.held.audio.seconds)
    caption = property(lambda self: self.held.recipe.caption)
    lyrics = property(lambda self: self.held.recipe.lyrics)
    language = property(lambda self: self.held.recipe.language)
    bpm = property(lambda self: self.held.recipe.bpm)
    keyscale = property(lambda self: self.held.recipe.keyscale)
    timesignature = property(lambda self: self.held.recipe.timesignature)

    @property
    def sound_hash(self) -> str:
        """A digest of its sound and its latent."""
        facts = self.held.facts
        return hashlib.sha256(repr((facts["audio"], facts["latent"])).encode()).hexdigest()

    def audio(self) -> Audio:
        """Its sound."""
        return self.held.audio


def rows_of(songs: Any) -> tuple[Row, ...]:
    """Songs to learn from out of a data set, takes, or both; RecipeError where there is none, or something else."""
    if not checks.is_a(songs, Iterable) or checks.is_a(songs, str, bytes, os.PathLike, Take):
        raise RecipeError(f"What is learnt from is a data set or a list of takes, not {shown(songs)}.")
    found = checks.sequence("Songs to learn from", songs, MOST_SONGS)
    rows = tuple(TakeRow(one) if checks.is_a(one, Take) else one for one in found)
    for one in rows:
        if not isinstance(one, Row):
            raise RecipeError(f"A song to learn from is a row of a data set or a take, not {shown(one)}.")
    if not rows:
        raise RecipeError("There is nothing to learn from; a data set has at least one song.")
    return rows


def sound_of(row: Row) -> Sound:
    """What is learnt: the take itself where the row holds one, so that its latent need not be made again."""
    held = getattr(row, "held", None)
    return held if isinstance(held, Take) else row.audio()


def recipe_of(row: Row, seconds: float) -> Recipe:
    """A song's words as somebody would ask for it: its tag before its caption, and so long."""
    tag, caption = getattr(row, "tag", ""), row.caption or getattr(row, "genre", "")
    lyrics = row.lyrics or (INSTRUMENTAL if getattr(row, "instrumental", None) else "")
    recipe = Recipe(
        ", ".join(word for word in (tag, caption) if word), lyrics, seconds=seconds, seed=0, bpm=row.bpm,
        keyscale=row.keyscale, timesignature=row.timesignature, language=row.language,
    )  # fmt: skip
    return recipe.replace(thinking=False)


def tag_of(rows: Sequence[Row]) -> str:
    """The word that all of them are tagged with, "" where there is none."""
    tags = {str(getattr(row, "tag", "")) for row in rows}
    return tags.pop() if len(tags) == 1 else ""


def split(songs: Any, rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Songs to learn from and songs held out, by a lot of the seed; a data set splits itself, so that copies stay together.

    One song at least is held out where there are four, none where there are fewer.
    """
    if share == 0 or len(rows) < 4:
        return list(rows), []
    if callable(own := getattr(songs, "split", None)):
        learnt, held_out = own(seed, share)
        return list(learnt), list(held_out)
    lots = {row.sound_hash: hashlib.blake2b(f"{seed} {row.sound_hash}".encode()).hexdigest() for row in rows}
    wanted = min(max(1, round(share * len(lots))), len(lots) - 1)
    out = set(sorted(lots, key=lambda sound: lots[sound])[:wanted])
    return [row for row in rows if row.sound_hash not in out], [row for row in rows if row.sound_hash in out]
