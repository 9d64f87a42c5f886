"""A recipe with every number decided for ACE-Step v1. Knows no weights and no loop; no field is None."""

from __future__ import annotations

from dataclasses import dataclass

from acestep_lab.engines.ace_v1.loop import Settings
from acestep_lab.engines.ace_v1.lyric_tokenizer import NO_WORDS, LyricTokens
from acestep_lab.engines.ace_v1.schedules import Walk
from acestep_lab.engines.ace_v1.task_rows import rooted, row_of
from acestep_lab.engines.base import Request
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSamplingV1, converted
from acestep_lab.prompt.tasks import Task

FAMILY = "ACE-Step v1"


@dataclass(frozen=True)
class Words:
    """What a song is asked for, as the two encoders read it."""

    prompt: str
    lyrics: LyricTokens = NO_WORDS


@dataclass(frozen=True)
class V1Request(Request):
    """A request for ACE-Step v1."""

    settings: Settings
    words: Words
    source_words: tuple[Words, ...]
    """Of an edit, what describes its source; else ()."""
    noise_seed: int
    """The seed that start noise is drawn from: of a retake, that of the first take of its line."""
    turns: tuple[tuple[int, float], ...]
    """(seed, variance) of each retake that the noise is turned towards."""

    @property
    def root(self) -> Task:
        """The task itself; of a retake, the one it turns."""
        return rooted(self.task)

    @property
    def how(self) -> FlowSamplingV1:
        """The knobs, all decided."""
        return flow(self.recipe)

    @property
    def walk(self) -> Walk:
        """How the loop goes."""
        return row_of(self.root).walk(self.root, self.how)

    @property
    def steps(self) -> int:
        return self.walk.steps

    @property
    def passes(self) -> int:
        return 1 if not self.settings.strength.acts else 3 if self.settings.strength.apart else 2


def flow(recipe: Recipe) -> FlowSamplingV1:
    """A recipe's sampling as this family's; RecipeError naming a knob that it does not have."""
    found = converted(recipe.sampling, FlowSamplingV1, FAMILY)
    assert isinstance(found, FlowSamplingV1)
    return found
