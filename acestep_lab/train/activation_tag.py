"""The word that is to call a taught sound up later, and where it stands in the words that are learnt.

Knows songs and data sets. The caption stays unless somebody says "replace": a tag alone teaches nothing of what words mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from acestep_lab.errors import RecipeError
from acestep_lab.prompt import checks
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.labels import TAG_POSITIONS, read_value
from acestep_lab.train.song import Song

USUAL_POSITION = "prepend"


def tagged(dataset: Dataset, tag: str, position: str = USUAL_POSITION) -> Dataset:
    """The data set with a tag on every song that has none, and where it stands in the words that are learnt.

    A song whose tag is written already, or locked, keeps it. RecipeError for what is no tag or no position.
    """
    position = checks.choice("position of a tag", position, TAG_POSITIONS)
    word = read_value("tag", tag)
    if not word:
        raise RecipeError("A tag is a word that no caption has, such as 'zafu', and not nothing.")
    bare = [song.name for song in dataset if song.labels["tag"].is_open and not song.labels["tag"].locked]
    changed = dataset.edit(bare, tag=word) if bare else dataset
    return changed.describe(custom_tag=word, tag_position=position)


def position_of(about: Mapping[str, object]) -> str:
    """Where a data set says that its tags stand; before the caption, where it says nothing that is known."""
    said = checks.plain_text(about.get("tag_position"))
    return said if said in TAG_POSITIONS else USUAL_POSITION


def taught_caption(song: Song, position: str = USUAL_POSITION) -> str:
    """The caption that a song teaches: its own, with its tag where that stands; a tag that is in it already is not said twice."""
    position = checks.choice("position of a tag", position, TAG_POSITIONS)
    caption, tag = song.caption.strip(), song.tag
    if not tag or (position != "replace" and _says(caption, tag)):
        return caption
    if position == "replace" or not caption:
        return tag
    return f"{tag}, {caption}" if position == "prepend" else f"{caption.rstrip(' ,.;')}, {tag}"


def _says(caption: str, tag: str) -> bool:
    """Whether a tag stands in a caption as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(tag.casefold())}(?!\w)", caption.casefold()) is not None
