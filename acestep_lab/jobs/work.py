"""How much work a run has, in pieces of its stages: what the time to go is told from. Knows engines by their contract only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from acestep_lab.engines.base import Engine, Request
from acestep_lab.jobs.eta import DECODE, ENCODE, PLAN, RENDER, Round, Work
from acestep_lab.prompt.recipe import Recipe

WORDS = Round(250.0)
"""Tokens of a plan without codes, or of a description, about."""


class HasRequest(Protocol):
    """One recipe of a run, as its engine decided it."""

    @property
    def engine(self) -> Engine: ...
    @property
    def request(self) -> Request: ...


def work_key(engine: Engine, device: object) -> str:
    """Whose history counts: a checkpoint on a device."""
    return f"{engine.name} on {device}"


def render_work(items: Sequence[HasRequest], planned: Sequence[bool], batch: int, device: object) -> Work:
    """What there is to do for these items; `planned` says for which the planner writes first."""
    loops = [items[first : first + batch] for first in range(0, len(items), max(1, batch))]
    sources = sum(len(item.request.task.sources()) for item in items)
    thinking = [item for item, wanted in zip(items, planned, strict=True) if wanted]
    return Work(work_key(items[0].engine, device), {
        PLAN: [plan_round(item.engine, item.request.recipe) for item in thinking],
        ENCODE: [Round(1.0, float(len(items) + 4 * sources))],
        RENDER: [Round(loop[0].request.steps, sum(_size(item.request) for item in loop)) for loop in loops],
        DECODE: [Round(1.0, item.request.seconds) for item in items],
    })  # fmt: skip


def _size(request: Request) -> float:
    return request.passes * request.seconds


def planning_work(engine: Engine, device: object, written: Round = WORDS) -> Work:
    """What there is to do for a question to the planner."""
    return Work(work_key(engine, device), {PLAN: [written]})


def plan_round(engine: Any, recipe: Recipe, codes: bool | None = None) -> Round:
    """What the planner writes for a recipe, about: a few fields, then codes, or lyrics."""
    if not engine.capabilities.plans:
        return WORDS
    tokens, rows = engine.plan_tokens(recipe, codes)
    return Round(float(tokens), float(rows))
