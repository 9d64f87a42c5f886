"""What a training's folder remembers beside its weights, so that it can be looked at again: its previews, and what it changed.

Takes lie in a library; the folder names them. Whatever is missing or damaged is left out: it is no reason not to go on. Knows files
and runs; no trainer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from acestep_lab import files
from acestep_lab.errors import LabError, LibraryError, shown
from acestep_lab.jobs.changes import Changes
from acestep_lab.jobs.training import Loss, Preview, TrainingRun
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.train import adapter_export
from acestep_lab.train.loss_history import LossHistory
from acestep_lab.train.run_folder import ADAPTER, RUN

PREVIEWS, CHANGES = "previews.json", "changes.json"
MOST = 10**7
"""Songs or steps that a training may have."""
LoadTake = Callable[[str], Take]


def write_previews(folder: Path, previews: Sequence[Preview], asked: Recipe) -> None:
    """Remember which takes the previews are, and the recipe they were asked for with; LibraryError where the disk refuses."""
    words = _words(asked)
    rows = [{"step": one.step, "take": one.take.id, "bare": one.bare.id, "words": words} for one in previews]
    text = json.dumps({"previews": rows}, indent=1)
    files.write_whole(folder / PREVIEWS, lambda draft: draft.write_text(text, encoding="utf-8"), "The previews")


def read_previews(folder: Path, load: LoadTake, until: int, asked: Recipe | None = None) -> list[Preview]:
    """The previews up to a step whose takes are still there, in order; with `asked` only those of this recipe."""
    found = []
    for row in _rows(folder):
        try:
            if asked is not None and row["words"] != _words(asked):
                continue
            preview = Preview(int(row["step"]), load(str(row["take"])), load(str(row["bare"])))
        except (LabError, OSError, KeyError, TypeError, ValueError, OverflowError):
            continue
        if preview.step <= until:
            found.append(preview)
    return sorted(found, key=lambda one: one.step)


def _words(asked: Recipe) -> str:
    return hashlib.sha256(json.dumps(asked.to_json(), sort_keys=True).encode()).hexdigest()[:16]


def previews_named(folder: Path) -> int:
    """How many previews a folder names."""
    return len(_rows(folder))


def _rows(folder: Path) -> list[Any]:
    try:
        found: Any = files.read_json(folder / PREVIEWS, "The previews", LibraryError)
        rows = found["previews"]
    except (LibraryError, KeyError, TypeError):
        return []
    return rows if isinstance(rows, list) else []


def write_changes(folder: Path, changes: Changes) -> None:
    """Keep what was measured; LibraryError where the disk refuses."""
    text = json.dumps(changes.to_json(), indent=1, ensure_ascii=False)
    files.write_whole(folder / CHANGES, lambda draft: draft.write_text(text, encoding="utf-8"), "What changed")


def read_changes(folder: Path, until: int) -> Changes | None:
    """What was measured, where that was no later than a step."""
    try:
        found: Any = files.read_json(folder / CHANGES, "What changed", LibraryError)
        changes = Changes.from_json(found)
    except (LibraryError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    return changes if changes.step <= until else None


def recall(run: TrainingRun, folder: Path, step: int, load: LoadTake, asked: Recipe | None = None) -> None:
    """Let a run remember what earlier ones of its folder told, up to a step; of previews those of a recipe, where one is asked for."""
    losses = LossHistory.read(folder).until(step).losses()
    run.remembers(losses, read_previews(folder, load, step, asked), read_changes(folder, step))


def opened(folder: Path, load: LoadTake) -> TrainingRun:
    """A training as its folder tells of it, over: nothing is trained. LibraryError for a folder that holds none."""
    facts = _facts(folder)
    config, step = facts["config"], _saved_step(folder)
    songs, steps = facts["songs"], config["steps"]
    title = f"{facts['tag'] or 'an adapter'}, taught by {songs} song{'s' * (songs != 1)}"
    run = TrainingRun(title, steps, songs, previews_named(folder), folder, 0.0)
    run.goes_on(step)
    recall(run, folder, step, load)
    if (gone := previews_named(folder) - len(run.previews)) > 0:
        run.message(f"{gone} of its previews cannot be heard any more: their takes are not in this library.")
    if step >= steps or _is_satisfied(run.held_out_curve, config.get("patience")):
        run.finish()
    else:
        run.fail(run.stopped())
    return run


def checkpoint_of(folder: Path) -> str:
    """The checkpoint that a training is of; LibraryError for a folder that holds none."""
    return str(_facts(folder)["checkpoint"])


def _facts(folder: Path) -> dict[str, Any]:
    """What run.json says, as far as it is needed to look at it."""
    if not (folder / RUN).is_file():
        raise LibraryError(f"{shown(str(folder), 120)} holds no training; lab.train(songs, folder=…) begins one there.")
    found: Any = files.read_json(folder / RUN, "The training's run.json", LibraryError)
    config = found.get("config") if isinstance(found, dict) else None
    numbers = (found.get("songs"), config.get("steps")) if isinstance(config, dict) else (None,)
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= MOST for one in numbers):
        raise LibraryError(f"The run.json in {shown(str(folder), 120)} is damaged; its adapter can still be put on.")
    return {
        "tag": str(found.get("tag") or ""),
        "checkpoint": found.get("checkpoint"),
        "songs": numbers[0],
        "config": config,
    }


def _saved_step(folder: Path) -> int:
    """The step of the adapter that is kept there, by its own header; 0 where there is none."""
    for name in adapter_export.FILES:
        try:
            with safe_open(folder / ADAPTER / name, "np") as file:
                about: Any = files.parse_json(file.metadata()["acestep_lab"], "The adapter's header", LibraryError)
                return max(0, int(about["steps"]))
        except (OSError, SafetensorError, LibraryError, KeyError, TypeError, ValueError, OverflowError):
            continue
    return 0


def _is_satisfied(held_out: Sequence[Loss], patience: object) -> bool:
    """Whether it ended by itself, as its held-out loss did not fall any more."""
    if not isinstance(patience, int) or patience <= 0 or not held_out:
        return False
    best = max((place for place, one in enumerate(held_out) if one.best), default=0)
    return len(held_out) - 1 - best >= patience
