"""How much work a run has, from what engines say: what the time to go is told from. Knows engines by their contract only."""

from __future__ import annotations

from acestep_lab.engines.base import Engine, Request
from acestep_lab.jobs.eta import ItemWork
from acestep_lab.prompt.recipe import Recipe

WORDS = (250, 1)
"""Tokens of a plan without codes, or of a description, about, and rows."""


def work_key(engine: Engine, device: object) -> str:
    """Whose history counts: a checkpoint on a device."""
    return f"{engine.name} on {device}"


def item_work(engine: Engine, request: Request, planned: bool) -> ItemWork:
    """What one take asks for; `planned` says whether the planner writes first."""
    tokens, rows = plan_size(engine, request.recipe) if planned else (0, 1)
    length = request.seconds if engine.capabilities.latent.kind == "continuous" else 1.0
    return ItemWork(request.seconds, request.steps, request.passes * length, tokens, rows, len(request.task.sources()))


def plan_size(engine: Engine, recipe: Recipe, codes: bool | None = None) -> tuple[int, int]:
    """What the planner writes for a recipe, about: tokens, and rows of its batch."""
    return engine.plan_tokens(recipe, codes) if engine.capabilities.plans else WORDS  # type: ignore[attr-defined]
