"""Sixty example prompts of our own, in many styles and languages: what the dice throw, and what lessons start from.

Knows recipes; no page, no model. The texts are in `examples.toml`, which is read when the first example is asked for.
"""

from __future__ import annotations

import random
import tomllib
from functools import cache
from pathlib import Path

from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED
from acestep_lab.prompt.vocabulary import INSTRUMENTAL

_FILE = Path(__file__).with_suffix(".toml")


@cache
def examples() -> tuple[Recipe, ...]:
    """All of them, in the order of the file; those without words are instrumental."""
    rows = tomllib.loads(_FILE.read_text(encoding="utf-8"))["example"]
    return tuple(Recipe(**{"lyrics": INSTRUMENTAL, **row}) for row in rows)


def example(seed: int) -> Recipe:
    """The example of a throw of the dice: the same for the same seed, on every machine. RecipeError for what is no seed."""
    return random.Random(checks.whole("A seed", seed, 0, MAX_SEED)).choice(examples())
