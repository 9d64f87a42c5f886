"""What happens in a run, as values, and as JSON for whoever is not in this process. Knows no run and no tensor.

`event.to_json()` is `{"version": 1, "kind": …, "run": id, "time": seconds since 1970, "value": …}`; the value is, by kind:

=========  =======================================================================================================
state      the new state: "queued", "planning", "rendering", "decoding", or any other while at work; at last "done",
           "stopped" or "failed"
error      `{"kind": "MachineError", "message": "…"}`: why the run fails, told before the state
step       `{"index": 3, "steps": 8, "t": 0.5, "fraction": 0.5, "item": 0}`: a step of the loop, without its tensors;
           `t` is null where a model has no such time, `item` is the place of the recipe
token      `{"row": 0, "field": "bpm", "text": "118"}`: a token of the planner; `row` is the place of the plan
plan       `{"place": 0, "plan": {…}}`: a plan is written, for the recipe at this place
take       `{"place": 0, "id": "take-…"}`: a take exists, and is kept
message    a sentence for the musician
progress   how much of the run is done, 0 to 1
position   how many runs will be done before this one
held       whether the run is held back while it waits
eta        seconds until the run is done, those before it included; null while nothing is known
learnt     `{"step": 3, "loss": 0.61, "learning_rate": 0.0002}`: a training made a step
held_out   `{"step": 20, "loss": 1.8, "best": true, "losses": {"0.3": 0.5, …}}`: the loss on songs it does not learn from
preview    `{"step": 40, "take": "take-…", "bare": "take-…"}`: two takes, with the adapter and without
saved      the step whose adapter, and all that going on needs, is on disk now
measured   `{"step": 40, "rows": […], …}`: what an adapter changed was measured (`changes.py`)
labelled   `{"done": 3, "of": 12, "song": "a.wav", …}`: a song was listened to, and what is said of it
cell       `{"place": 3, "state": "rendering", "step": 4, "steps": 8, "take": "", …}`: how a cell of a sweep stands
effect     `{"kind": "phrase", "name": "warm pad", "moved": 0.4, …}`: what one word of a take did was measured
mapped     `{"place": 3, "state": "done", "problem": "", "by": "…"}`: a song of a library was worked at
=========  =======================================================================================================

A number that is not finite becomes null. Fields may be added to a value; a change of what one means raises the version.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from acestep_lab.errors import sentence

VERSION = 1
Kind = Literal[
    "state", "error", "step", "token", "plan", "take", "message", "progress", "position", "held", "eta",
    "learnt", "held_out", "preview", "saved", "measured", "labelled", "cell", "mapped", "effect",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Event:
    """Something that happened in a run. `value` is the thing itself: a state, an exception, a step with its tensors, a token,
    (place, plan), (place, take), a sentence, a number, a loss.
    """

    kind: Kind
    value: Any
    run: str = ""
    """The run's id."""
    time: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        """The event as plain data that `json.dumps` writes, without tensors and sounds."""
        plain = _PLAIN[self.kind](self.value)
        return {"version": VERSION, "kind": self.kind, "run": self.run, "time": self.time, "value": plain}


def _number(value: Any) -> float | None:
    try:
        number = math.nan if value is None else float(value)
    except OverflowError:  # a whole number beyond every float is not a finite one
        return None
    return number if math.isfinite(number) else None


def _error(error: BaseException) -> dict[str, object]:
    return {"kind": type(error).__name__, "message": sentence(error)}


def _step(step: Any) -> dict[str, object]:
    index, steps = int(step.index), int(step.steps)
    items = tuple(getattr(step, "items", ())) or (0,)
    time_of_flow = _number(getattr(step, "t", None))
    return {"index": index, "steps": steps, "t": time_of_flow, "fraction": (index + 1) / steps, "item": int(items[0])}


def _token(token: Any) -> dict[str, object]:
    if isinstance(token, str):
        return {"row": 0, "field": "", "text": token}
    return {
        "row": int(getattr(token, "row", 0)), "field": str(getattr(token, "field", "")), "text": str(token.text)
    }  # fmt: skip


def _plan(value: tuple[int, Any]) -> dict[str, Any]:
    place, plan = value
    return {"place": int(place), "plan": plan.to_json()}


def _take(value: tuple[int, Any]) -> dict[str, Any]:
    place, take = value
    return {"place": int(place), "id": str(take.id)}


def _learnt(loss: Any) -> dict[str, object]:
    return {"step": int(loss.step), "loss": _number(loss.loss), "learning_rate": _number(loss.learning_rate)}


def _held_out(loss: Any) -> dict[str, object]:
    losses = {str(t): _number(one) for t, one in loss.losses.items()}
    return {"step": int(loss.step), "loss": _number(loss.loss), "best": bool(loss.best), "losses": losses}


def _preview(preview: Any) -> dict[str, object]:
    return {"step": int(preview.step), "take": str(preview.take.id), "bare": str(preview.bare.id)}


_PLAIN: Mapping[str, Callable[[Any], object]] = {
    "state": str, "error": _error, "step": _step, "token": _token, "plan": _plan, "take": _take, "message": str,
    "progress": _number, "position": int, "held": bool, "eta": _number,
    "learnt": _learnt, "held_out": _held_out, "preview": _preview, "saved": int,
    "measured": lambda changes: changes.to_json(), "labelled": lambda labelled: labelled.to_json(),
    "cell": lambda cell: cell.to_json(), "mapped": lambda mapped: mapped.to_json(),
    "effect": lambda effect: effect.to_json(),
}  # fmt: skip
