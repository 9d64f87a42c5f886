"""What tests look at inside an engine: requests and what is prepared from them."""

from __future__ import annotations

from typing import Any

from acestep_lab import Recipe, Session
from acestep_lab.jobs.rendering import Renderer


def request(lab: Session, recipe: Recipe) -> Any:
    """A recipe as the session's engine decides it."""
    return Renderer(lab.engines, lab._sounds, lab.jobs).resolve(recipe).request


def prepared(lab: Session, *recipes: Recipe) -> list[Any]:
    """Recipes with everything the loop needs."""
    return list(lab.engine.prepare([request(lab, recipe) for recipe in recipes]))
