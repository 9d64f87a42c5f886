"""What is in use on another machine, as its door tells it. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import MachineError, shown
from acestep_lab.remote.telling import understood
from acestep_lab.remote.wire import VERSION, fits, from_wire


@dataclass(frozen=True)
class FarTier:
    """How much machine there is, there."""

    name: str


@dataclass(frozen=True)
class Facts:
    """What is in use on the other machine."""

    name: str
    capabilities: Mapping[str, Capabilities]
    """Of every open checkpoint, by its name."""
    planners: Mapping[str, bool]
    tier: FarTier
    adapters: tuple[tuple[str, str, float], ...]
    is_host: bool
    """Whether the key is the host's, who may change what everybody uses."""

    @classmethod
    def read(cls, told: Any, url: str) -> Facts:
        """Facts as the door tells them; MachineError where it speaks otherwise."""
        if not isinstance(told, dict) or told.get("version") != VERSION:
            raise MachineError(
                f"{shown(url)} speaks another version than this one; install the same acestep_lab on both."
            )
        with understood(url):
            return cls._read(told)

    @classmethod
    def _read(cls, told: Mapping[str, Any]) -> Facts:
        rows = told["checkpoints"]
        found = cls(
            told["name"],
            {row["name"]: from_wire(row["capabilities"]) for row in rows},
            {row["name"]: row["has_planner"] for row in rows},
            FarTier(told["tier"]),
            tuple((name, file, from_wire(strength)) for name, file, strength in told["adapters"]),
            told["host"],
        )
        hints = (str, dict[str, Capabilities], dict[str, bool], FarTier, tuple[tuple[str, str, float], ...], bool)
        values = (found.name, found.capabilities, found.planners, found.tier, found.adapters, found.is_host)
        if not all(map(fits, values, hints)) or not isinstance(found.tier.name, str):
            raise TypeError("other facts")
        _ = found.capabilities[found.name]  # KeyError where what is in use is not open
        return found
