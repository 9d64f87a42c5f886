"""What a catalog says of a checkpoint without opening it. Light: no torch, no numpy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogEntry:
    """One row of a family's catalog, as any family tells it."""

    name: str
    licence: str
    """Of the weights."""
    tasks: frozenset[str]
    """Class names of the tasks it can do: "Text2Music", "Repaint", …"""
    bytes: int = 0
    """Of its weights at two bytes a number, without a planner; 0: said by nobody but the files."""
    repo: str | None = None
    """On the hub; None: it ships with a package."""
    note: str = ""
    """What sets it apart, in a few words."""
