"""Planning: a Recipe goes in, a Plan comes out of a language model. Light until `Planner` is touched (torch)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from acestep_lab.plan.plan import Plan

if TYPE_CHECKING:
    from acestep_lab.plan.planner import Generation, Planner, Token

__all__ = ["Generation", "Plan", "Planner", "Token"]


def __getattr__(name: str) -> Any:
    if name not in ("Planner", "Token", "Generation"):
        raise AttributeError(f"module 'acestep_lab.plan' has no attribute {name!r}")
    return getattr(importlib.import_module("acestep_lab.plan.planner"), name)
