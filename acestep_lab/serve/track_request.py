"""What a client of the daemon asks a track to be, read from its parameters, and the errors it is refused with."""

from __future__ import annotations

import difflib
import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import CheckpointError, DownloadError, MachineError, NotFoundError, RecipeError, shown
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED
from acestep_lab.serve.jsonrpc import INVALID_PARAMS, RpcError

SECONDS, SECONDS_RANGE = 30.0, (5.0, 240.0)
"""Length of a track that names none, and the lengths a track may have."""
MOST_PROMPT, STEPS_RANGE, GUIDANCE_RANGE = 1000, (1, 200), (1.0, 30.0)
SOLVER_OF = {"euler": "euler", "heun": "heun", "pingpong": "sde", "sde": "sde", "dpmpp2m": "dpmpp2m"}
"""Our solver by the name of a scheduler; ping-pong goes to the estimate and back to fresh noise, as sde does."""
OTHER_NAMES = {"infer_steps": "inference_steps", "duration": "duration_sec"}
"""Parameters that clients know by another name."""
GENERATE = (
    "prompt", "duration_sec", "seed", "backend", "priority", "inference_steps", "scheduler", "guidance_scale",
)  # fmt: skip
ERRORS: Mapping[str, tuple[int, str]] = {
    "MODEL_NOT_FOUND": (-32000, "Fetch it: call download_backend, or run `acestep-lab download`."),
    "MODEL_LOAD_FAILED": (
        -32001,
        "Close other programs, or choose a smaller checkpoint; `acestep-lab doctor` says more.",
    ),
    "MODEL_DOWNLOAD_FAILED": (
        -32002,
        "Look at the network and the disk, then call download_backend again; it resumes.",
    ),
    "MODEL_INFERENCE_FAILED": (-32003, "Try again with a shorter track or another seed."),
    "QUEUE_FULL": (-32004, "Wait for a track to finish, or cancel one, then ask again."),
    "INVALID_DURATION": (-32005, "Set duration_sec between 5 and 240, and within what the backend can make."),
    "INVALID_PROMPT": (-32006, "Describe the music in 1 to 1000 characters."),
    "INVALID_BACKEND": (-32007, "Choose one that get_backends lists."),
    "BACKEND_NOT_INSTALLED": (-32008, "Call download_backend, or choose a backend that is ready."),
    "INVALID_INFERENCE_STEPS": (-32009, "Set inference_steps between 1 and 200; leave it out for musicgen."),
    "INVALID_GUIDANCE_SCALE": (-32010, "Set guidance_scale between 1 and 30, or leave it out."),
    "INVALID_SCHEDULER": (-32011, "Set scheduler to euler, heun or pingpong; leave it out for musicgen."),
}
"""Number and recovery hint of each error by its name."""


def refusal(name: str, message: str) -> RpcError:
    """The error of this name."""
    number, hint = ERRORS[name]
    return RpcError(number, message, name, hint)


def name_of(problem: BaseException | None) -> str:
    """The name of what made a run fail."""
    if isinstance(problem, DownloadError):
        return "MODEL_DOWNLOAD_FAILED"
    if isinstance(problem, NotFoundError):
        return "MODEL_NOT_FOUND"
    return "MODEL_LOAD_FAILED" if isinstance(problem, CheckpointError | MachineError) else "MODEL_INFERENCE_FAILED"


def known(params: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The parameters that say something, by our names; RpcError for one that is unknown or said twice. Null says nothing."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        ours = OTHER_NAMES.get(name, name) if name not in names else name
        if ours not in names:
            near = difflib.get_close_matches(name, names, n=1)
            there = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}."
            raise RpcError(INVALID_PARAMS, f"There is no parameter {shown(name)}; {there}")
        if ours in found:
            raise RpcError(INVALID_PARAMS, f"{ours} is said twice, the second time as {shown(name)}.")
        if value is not None:
            found[ours] = value
    return found


def text(params: Mapping[str, Any], name: str) -> str:
    """A parameter that must be there and be text."""
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise RpcError(INVALID_PARAMS, f"{name} must be text, not {shown(value)}.")
    return value


def whole(params: Mapping[str, Any], name: str, usual: int, low: int, high: int) -> int:
    """A whole number between limits; clients that know one kind of number may write 8.0."""
    return _whole(params.get(name, usual), name, low, high)


def _number(value: object, name: str, low: float, high: float, error: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise refusal(error, f"{name} lies between {low:g} and {high:g}; {shown(value)} does not.")
    return float(value)


def _whole(value: object, name: str, low: int, high: int, error: str = "") -> int:
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        message = f"{name} is a whole number between {low} and {high}, not {shown(value)}."
        raise refusal(error, message) if error else RpcError(INVALID_PARAMS, message)
    return value


@dataclass(frozen=True)
class TrackRequest:
    """A track as a client asks for it, each value within its limits; None where nothing was said."""

    prompt: str
    seconds: float
    seed: int
    backend: str | None
    urgent: bool
    steps: int | None
    solver: str | None
    guidance_scale: float | None

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> TrackRequest:
        """Read parameters; RpcError naming what is wrong. A seed that is left out, or -1, is drawn."""
        asked = known(params, GENERATE)
        steps, guidance = asked.get("inference_steps"), asked.get("guidance_scale")
        return cls(
            _prompt(asked.get("prompt")),
            _number(asked.get("duration_sec", SECONDS), "duration_sec", *SECONDS_RANGE, "INVALID_DURATION"),
            _seed(asked.get("seed", -1)),
            text(asked, "backend") if "backend" in asked else None,
            _is_urgent(asked.get("priority", "normal")),
            None if steps is None else _whole(steps, "inference_steps", *STEPS_RANGE, "INVALID_INFERENCE_STEPS"),
            _solver(asked.get("scheduler")),
            None if guidance is None else _number(guidance, "guidance_scale", *GUIDANCE_RANGE, "INVALID_GUIDANCE_SCALE"),
        )  # fmt: skip

    def check(self, can: Capabilities, backend: str) -> None:
        """RpcError where a backend cannot do what is asked."""
        low, high = can.seconds
        if not low <= self.seconds <= high:
            raise refusal("INVALID_DURATION", f"{backend} makes {low:g} to {high:g} s, not {self.seconds:g} s.")
        knobs = can.sampling.names()
        if self.steps is not None and "steps" not in knobs:
            raise refusal("INVALID_INFERENCE_STEPS", f"{backend} has no inference steps; leave inference_steps out.")
        if self.solver is not None and "solver" not in knobs:
            raise refusal("INVALID_SCHEDULER", f"{backend} has no scheduler; leave it out.")

    def knobs(self) -> dict[str, Any]:
        """What was said of how to sample."""
        said = {"steps": self.steps, "solver": self.solver, "guidance_scale": self.guidance_scale}
        return {name: value for name, value in said.items() if value is not None}

    def recipe(self, checkpoint: str) -> Recipe:
        """The recipe of the track; RpcError where a value makes none."""
        try:
            return Recipe(
                self.prompt, seconds=self.seconds, seed=self.seed, checkpoint=checkpoint, **self.knobs()
            )  # fmt: skip
        except RecipeError as problem:
            raise refusal("INVALID_PROMPT", str(problem)) from None  # all else was read within narrower limits


def _prompt(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_PROMPT:
        many = f"{len(value):,} characters" if isinstance(value, str) and value.strip() else shown(value)
        raise refusal("INVALID_PROMPT", f"A prompt is text of 1 to {MOST_PROMPT} characters, not {many}.")
    return value.strip()


def _seed(value: object) -> int:
    seed = _whole(value, "seed", -1, MAX_SEED)
    return secrets.randbelow(2**31) if seed == -1 else seed


def _is_urgent(value: object) -> bool:
    if value not in ("normal", "high"):
        raise RpcError(INVALID_PARAMS, f"priority is normal or high, not {shown(value)}.")
    return value == "high"


def _solver(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in SOLVER_OF:
        raise refusal("INVALID_SCHEDULER", f"scheduler is one of {', '.join(SOLVER_OF)}, not {shown(value)}.")
    return SOLVER_OF[value]
