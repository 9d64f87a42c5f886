"""The losses of a training from its first step, kept in its folder: a run that goes on after a stop knows only its own.

Knows losses as numbers; no trainer, no run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

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

    @classmethod
    def read(cls, folder: Path) -> LossHistory:
        """What a training's folder tells; nothing where its file is missing or damaged: a curve is no reason to stop."""
        try:
            found = files.read_json(folder / FILE, "The losses", LibraryError)
            learnt = tuple((int(step), float(loss)) for step, loss in found["learnt"])  # type: ignore[attr-defined]
            held_out = tuple(
                (int(step), {str(t): float(loss) for t, loss in losses.items()})
                for step, losses in found["held_out"]  # type: ignore[attr-defined]
            )
        except (LibraryError, KeyError, TypeError, ValueError, AttributeError):
            return cls()
        return cls(learnt, held_out)

    def until(self, step: int) -> LossHistory:
        """Without what came after a step, from where a training goes on."""
        return LossHistory(
            tuple(one for one in self.learnt if one[0] <= step), tuple(one for one in self.held_out if one[0] <= step)
        )

    def and_of(self, losses: Iterable[Loss]) -> LossHistory:
        """With a run's own losses after these."""
        learnt, held_out = dict(self.learnt), dict(self.held_out)
        for one in losses:
            if one.held_out:
                held_out[one.step] = {str(t): loss for t, loss in (one.losses or {}).items()}
            else:
                learnt[one.step] = one.loss
        return LossHistory(tuple(sorted(learnt.items())), tuple(sorted(held_out.items())))

    def write(self, folder: Path) -> Path:
        """Keep them in a training's folder; LibraryError where the disk refuses."""
        learnt = list(self.learnt)
        while len(learnt) > MOST:
            learnt = learnt[::2]
        text = json.dumps({"learnt": learnt, "held_out": list(self.held_out)})
        return files.write_whole(folder / FILE, lambda draft: draft.write_text(text, encoding="utf-8"), "The losses")
