"""What is learnt from: songs of a data set, each with its words as a recipe and its sound. Knows no engine and no file.

A song may have two wordings: its caption, and its genre. Which of them its lessons have is said by the data set's `genre_ratio`, a
percentage, and by a song's own `prompt_override`, "caption" or "genre", both as ACE-Step's own JSON writes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from acestep_lab.engines.base import Sound
from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.train.activation_tag import position_of, taught_caption
from acestep_lab.train.dataset import Dataset, as_dataset
from acestep_lab.train.labels import Label
from acestep_lab.train.song import Song

INSTRUMENTAL = "[Instrumental]"
"""What the checkpoints read where nobody sings."""
OVERRIDES = ("caption", "genre")
"""What a song's `prompt_override` may be, beside nothing."""
LEAST_SPLIT = 4
"""Songs of which one at least is held out; of fewer none is."""


def dataset_of(songs: Any) -> Dataset:
    """Songs to learn from: a data set, songs of one, a folder, takes; RecipeError for anything else, and for nothing."""
    return captioned(opened(songs))


def opened(songs: Any) -> Dataset:
    """The same, with their words as they are said."""
    listed = isinstance(songs, list | tuple)
    found = Dataset(tuple(songs)) if listed and all(isinstance(one, Song) for one in songs) else as_dataset(songs)
    if not found.songs:
        raise RecipeError("There is nothing to learn from; a data set has at least one song.")
    return found


def captioned(songs: Dataset) -> Dataset:
    """Each song with the caption that it teaches."""
    position = position_of(songs.about)
    return replace(songs, songs=tuple(_said(song, position, override_of(song) == "genre") for song in songs.songs))


def by_genre(songs: Dataset) -> tuple[Song, ...]:
    """The songs that are also taught by their genre, each with that for its caption; none where the data set has no `genre_ratio`."""
    if not genre_share(songs):
        return ()
    position = position_of(songs.about)
    both = [song for song in songs.songs if song.caption and song.genre and not override_of(song)]
    return tuple(_said(song, position, True) for song in both)


def genre_share(songs: Dataset) -> float:
    """The share of lessons whose caption is replaced by the genre, 0 to 1, out of a `genre_ratio` from 0 to 100."""
    said = songs.about.get("genre_ratio")
    if said in (None, ""):
        return 0.0
    ratio = checks.plain_number(said)
    if ratio is None or not 0 <= ratio <= 100:
        raise RecipeError(f"genre_ratio is a percentage of the lessons, from 0 to 100, not {shown(said)}.")
    return float(ratio) / 100


def override_of(song: Song) -> str:
    """ "caption" or "genre" where a song is always taught by that one, "" where the data set decides."""
    said = checks.plain_text(song.given.get("prompt_override")) or ""
    return said if said in OVERRIDES else ""


def _said(song: Song, position: str, genre_first: bool = False) -> Song:
    """A song with the caption that it teaches: its own, else its genre, with its tag where the data set wants it."""
    first, second = (song.genre, song.caption) if genre_first else (song.caption, song.genre)
    bare = _captioned(song, first or second)
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


def has_words(song: Song) -> bool:
    """Whether a song can be asked for: it has a caption, or lyrics, or nobody sings in it."""
    return bool(song.caption.strip() or _lyrics(song).strip())


def _lyrics(song: Song) -> str:
    return song.lyrics or (INSTRUMENTAL if song.instrumental else "")


def recipe_of(song: Song, seconds: float) -> Recipe:
    """A song's words as somebody would ask for it, and so long; RecipeError for one without any."""
    recipe = Recipe(
        song.caption, _lyrics(song), seconds=seconds, seed=0, bpm=song.bpm, keyscale=song.keyscale,
        timesignature=song.timesignature, language=song.language,
    )  # fmt: skip
    return recipe.replace(thinking=False)


def tag_of(songs: Dataset) -> str:
    """The word that all of them are tagged with, "" where there is none."""
    tags = {song.tag for song in songs}
    return tags.pop() if len(tags) == 1 else ""
