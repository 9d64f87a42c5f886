"""The losses of a training from its first step, kept in its folder: a run that goes on after a stop knows only its own.

Knows losses as numbers; no trainer, no run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acestep_lab import files
from acestep_lab.errors import LibraryError
from acestep_lab.jobs.training import Loss

FILE = "losses.json"
MOST = 4000
"""Running losses that are kept; of more, each second one."""


@dataclass(frozen=True)
class LossHistory:
    """Running losses and held-out ones, by step."""

    learnt: tuple[tuple[int, float], ...] = ()
    held_out: tuple[tuple[int, Mapping[str, float]], ...] = ()
    """Step → loss by time."""
    aligned: tuple[tuple[int, float], ...] = ()
    """Of a training with `repa`, 1 - cosine of the lessons of a step."""
    aligned_held_out: tuple[tuple[int, float], ...] = ()
    """The same of held-out songs."""

    @classmethod
    def read(cls, folder: Path) -> LossHistory:
        """What a training's folder tells; nothing where its file is missing or damaged: a curve is no reason to stop."""
        try:
            found = files.read_json(folder / FILE, "The losses", LibraryError)
            learnt = tuple((int(step), float(loss)) for step, loss in found["learnt"])  # type: ignore[attr-defined]
            held_out = tuple(
                (int(step), {str(float(t)): float(loss) for t, loss in losses.items()})
                for step, losses in found["held_out"]  # type: ignore[attr-defined]
            )
            aligned, aligned_held_out = (
                tuple((int(step), float(apart)) for step, apart in found.get(name, ()))  # type: ignore[attr-defined]
                for name in ("aligned", "aligned_held_out")
            )
        except (LibraryError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return cls()
        return cls(learnt, held_out, aligned, aligned_held_out)

    def until(self, step: int) -> LossHistory:
        """Without what came after a step, from where a training goes on."""
        return LossHistory(*(tuple(one for one in curve if one[0] <= step) for curve in self._curves()))

    def losses(self) -> tuple[Loss, ...]:
        """The same as a run tells them, in order of steps."""
        near, held = dict(self.aligned), dict(self.aligned_held_out)
        learnt = [Loss(step, loss, alignment=near.get(step)) for step, loss in self.learnt]
        found, lowest = list[Loss](), math.inf
        for step, losses in self.held_out:
            total = sum(losses.values())
            by_time = {float(t): loss for t, loss in losses.items()}
            found.append(Loss(step, total, True, by_time, total < lowest, alignment=held.get(step)))
            lowest = min(lowest, total)
        return tuple(sorted((*found, *learnt), key=lambda one: one.step))

    def and_of(self, losses: Iterable[Loss]) -> LossHistory:
        """With a run's own losses after these."""
        learnt, held_out, aligned, aligned_held_out = (dict[int, Any](curve) for curve in self._curves())
        for one in losses:
            if one.held_out:
                held_out[one.step] = {str(t): loss for t, loss in (one.losses or {}).items()}
            else:
                learnt[one.step] = one.loss
            if one.alignment is not None:
                (aligned_held_out if one.held_out else aligned)[one.step] = one.alignment
        found = (learnt, held_out, aligned, aligned_held_out)
        return LossHistory(*(tuple(sorted(one.items())) for one in found))

    def _curves(self) -> tuple[tuple[tuple[int, Any], ...], ...]:
        return self.learnt, self.held_out, self.aligned, self.aligned_held_out

    def write(self, folder: Path) -> Path:
        """Keep them in a training's folder; LibraryError where the disk refuses."""
        told: dict[str, Any] = {"learnt": _fewer(self.learnt), "held_out": list(self.held_out)}
        if self.aligned:
            told |= {"aligned": _fewer(self.aligned), "aligned_held_out": list(self.aligned_held_out)}
        text = json.dumps(told)
        return files.write_whole(folder / FILE, lambda draft: draft.write_text(text, encoding="utf-8"), "The losses")


def _fewer(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """A curve, or of a long one each second point."""
    found = list(curve)
    while len(found) > MOST:
        found = found[::2]
    return found
