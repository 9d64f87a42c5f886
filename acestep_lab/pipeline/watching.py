"""Callbacks of a pipeline's call, in both forms that diffusers has. They watch: what a step has become is not theirs to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks

if TYPE_CHECKING:
    from acestep_lab.engines.step import Step

NAMES = ("callback_on_step_end", "callback_on_step_end_tensor_inputs", "callback", "callback_steps")
"""The arguments that are about callbacks."""
TENSORS: Mapping[str, str] = {"latents": "state", "estimate": "estimate"}
"""What a callback may ask for, and what a step calls it."""


@dataclass(frozen=True)
class Callbacks:
    """Whom to tell of each step, and what of it."""

    on_step_end: Callable[..., object] | None = None
    """Called with the pipeline, the step's index from 0, its time t (1 noise, 0 music) and a dict of tensors."""
    tensors: tuple[str, ...] = ("latents",)
    plain: Callable[..., object] | None = None
    """The older form: called with the index, t and the latents."""
    every: int = 1
    """The older form is told of every so many steps."""

    @classmethod
    def read(cls, given: Mapping[str, object]) -> Callbacks:
        """Out of a call's arguments; RecipeError for what cannot be called and for tensors that no step has."""
        asked = {name: value for name in NAMES if (value := given.get(name)) is not None}
        names = checks.sequence(NAMES[1], asked.get(NAMES[1], ("latents",)), 100)
        return cls(
            _callable(NAMES[0], asked.get(NAMES[0])),
            tuple(checks.choice("tensor of a step", name, TENSORS) for name in names),
            _callable(NAMES[2], asked.get(NAMES[2])),
            checks.whole(NAMES[3], asked.get(NAMES[3], 1), 1, 1_000_000),
        )

    def __bool__(self) -> bool:
        return self.on_step_end is not None or self.plain is not None

    def tell(self, pipeline: object, step: Step) -> None:
        """Of one step; RecipeError where the callback hands back other tensors than it was given."""
        if self.plain is not None and step.index % self.every == 0:
            self.plain(step.index, step.t, step.state)
        if self.on_step_end is None:
            return
        handed = {name: getattr(step, TENSORS[name]) for name in self.tensors}
        returned = self.on_step_end(pipeline, step.index, step.t, dict(handed))
        _must_be_unchanged(handed, returned)


def _must_be_unchanged(handed: Mapping[str, Any], returned: object) -> None:
    if not checks.is_a(returned, Mapping):
        return
    changed = [name for name, value in checks.mapping("A callback's answer", returned).items()
               if name not in handed or value is not handed[name]]  # fmt: skip
    if changed:
        raise RecipeError(
            f"A callback here watches: it handed back another {shown(changed[0])}, which cannot go into the music. Hand back "
            "what came, or nothing."
        )


def _callable(what: str, value: object) -> Callable[..., object] | None:
    if value is not None and not callable(value):
        raise RecipeError(f"{what} is a function that is called at every step, not {checks.kind_of(value)}.")
    return value
