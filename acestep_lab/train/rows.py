"""What is learnt from: songs of a data set, each with its words as a recipe and its sound. Knows no engine and no file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from acestep_lab.engines.base import Sound
from acestep_lab.errors import RecipeError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.train.activation_tag import position_of, taught_caption
from acestep_lab.train.dataset import Dataset, as_dataset
from acestep_lab.train.labels import Label
from acestep_lab.train.song import Song

INSTRUMENTAL = "[Instrumental]"
"""What the checkpoints read where nobody sings."""
LEAST_SPLIT = 4
"""Songs of which one at least is held out; of fewer none is."""


def dataset_of(songs: Any) -> Dataset:
    """Songs to learn from: a data set, songs of one, a folder, takes; RecipeError for anything else, and for nothing."""
    listed = isinstance(songs, list | tuple)
    found = Dataset(tuple(songs)) if listed and all(isinstance(one, Song) for one in songs) else as_dataset(songs)
    if not found.songs:
        raise RecipeError("There is nothing to learn from; a data set has at least one song.")
    return replace(found, songs=tuple(_said(song, position_of(found.about)) for song in found.songs))


def _said(song: Song, position: str) -> Song:
    """A song with the caption that it teaches: its own, else its genre, with its tag where the data set wants it."""
    bare = _captioned(song, song.caption or song.genre)
    return _captioned(bare, taught_caption(bare, position))


def _captioned(song: Song, caption: str) -> Song:
    return song if caption == song.caption else replace(song, labels={**song.labels, "caption": Label(caption)})


def split(songs: Dataset, share: float, seed: int) -> tuple[tuple[Song, ...], tuple[Song, ...]]:
    """Songs to learn from and songs held out, by a lot of the seed; copies of one sound stay together."""
    if share == 0 or len(songs) < LEAST_SPLIT:
        return songs.songs, ()
    learnt, held_out = songs.split(seed, share)
    return learnt.songs, held_out.songs


def sound_of(song: Song) -> Sound:
    """What is learnt: the take itself where there is one, so that its latent need not be made again."""
    return song.held if isinstance(song.held, Take) else song.audio()


def recipe_of(song: Song, seconds: float) -> Recipe:
    """A song's words as somebody would ask for it, and so long."""
    lyrics = song.lyrics or (INSTRUMENTAL if song.instrumental else "")
    recipe = Recipe(
        song.caption, lyrics, seconds=seconds, seed=0, bpm=song.bpm, keyscale=song.keyscale,
        timesignature=song.timesignature, language=song.language,
    )  # fmt: skip
    return recipe.replace(thinking=False)


def tag_of(songs: Dataset) -> str:
    """The word that all of them are tagged with, "" where there is none."""
    tags = {song.tag for song in songs}
    return tags.pop() if len(tags) == 1 else ""
