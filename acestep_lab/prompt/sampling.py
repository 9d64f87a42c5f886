"""How an engine is asked to sample: one frozen value for each kind of model, with only the knobs that kind has.

Knows no torch and no model. `None` means "auto": the engine's own default. What people type flat, `Recipe("dub", steps=8)`,
lands here; `kind_for` says which kind of value a set of knobs belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any, Self, TypeAlias

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.checks import Reader, given, read_fields, sentences

SOLVERS = ("euler", "heun", "sde", "dpmpp2m")
GUIDANCE = ("none", "cfg", "apg", "adg", "cfg_zero")
DCW_MODES = ("off", "low", "high", "double", "pix")
SOLVERS_V1 = ("euler", "heun", "pingpong")
GUIDANCE_V1 = ("none", "apg", "cfg", "cfg_star")
MOST_STEPS_V1 = 200
"""Steps of ACE-Step v1; more add nothing that can be heard."""
MOST_CAPTION = 20_000
"""Characters of a caption; the models read about 256 tokens of it."""


class _Knobs:
    """What the kinds share: changed copies, and the way to and from plain data."""

    def replace(self, /, **changes: Any) -> Self:
        """The same knobs with some changed; RecipeError for one that this kind of model does not have."""
        checks.known_fields(type(self).__name__, changes, self.names())
        return type(self)(**{**{name: getattr(self, name) for name in self.names()}, **changes})

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The knobs, in order."""
        return tuple(f.name for f in fields(cls))  # type: ignore[arg-type]

    def given(self) -> dict[str, Any]:
        """Every knob that is not at its default."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default}  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Plain data holding every knob that is not at its default."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in self.given().items()}


@sentences
@dataclass(frozen=True, kw_only=True)
class FlowSampling(_Knobs):
    """The knobs of a flow model, which goes from noise to music in steps (ACE-Step)."""

    steps: int | None = None
    """Sampling steps."""
    shift: float | None = None
    """Shift of the schedule towards noise: t' = s·t / (1 + (s − 1)·t)."""
    timesteps: tuple[float, ...] | None = None
    """Own schedule from 1 (noise) down; overrides steps and shift."""
    solver: str | None = None
    """euler, heun, sde or dpmpp2m."""
    guidance: str | None = None
    """none, cfg, apg, adg or cfg_zero."""
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    """(low, high) of t between which guidance acts; t = 1 is pure noise, t = 0 the finished song."""
    velocity_clamp: float | None = None
    """Largest norm of the velocity relative to that of x_t; None = off."""
    velocity_ema: float | None = None
    """Share of the previous step's velocity blended in; None = off."""
    dcw: str | None = None
    """Correction of each step in the wavelet domain (DCW, arXiv 2604.16044): off, low, high, double or pix; None = the
    checkpoint's own."""
    dcw_low: float | None = None
    """How much DCW moves the means of frame pairs; None: 0.05."""
    dcw_high: float | None = None
    """How much DCW moves their half-differences; None: 0.02."""
    instruction: str = ""
    """The line the DiT reads before the words, instead of the task's own; "" = the task's."""
    global_caption: str = ""
    """What the whole song is, where the caption speaks of one part or stem of it; for checkpoints that were taught both."""
    latent_shift: float = 0.0
    """Added to the finished latent before it is decoded."""
    latent_rescale: float = 1.0
    """The finished latent is multiplied by this before the shift."""

    def __post_init__(self) -> None:
        read_fields(self, _FLOW)


@sentences
@dataclass(frozen=True, kw_only=True)
class TokenSampling(_Knobs):
    """The knobs of a token model, which writes its codes one after another (MusicGen)."""

    temperature: float | None = None
    """Above 1 bolder, below 1 safer; 0 takes the likeliest token each time."""
    top_k: int | None = None
    """Only so many of the likeliest tokens may be drawn; 0 = all."""
    top_p: float | None = None
    """Only the likeliest tokens that together have this probability may be drawn; 1 = all."""
    guidance_scale: float | None = None
    """How far the words are followed against no words; 1 = no guidance."""

    def __post_init__(self) -> None:
        read_fields(self, _TOKENS)


@sentences
@dataclass(frozen=True, kw_only=True)
class FlowSamplingV1(_Knobs):
    """The knobs of ACE-Step v1, a flow model whose guidance acts on a part of the steps and may use a dampened model (ERG)."""

    steps: int | None = None
    """Sampling steps; None: 60 (27 is fast, 40 balanced)."""
    shift: float | None = None
    """Shift of the schedule towards noise, s·t / (1 + (s − 1)·t), applied twice as the model was taught; None: 3."""
    own_steps: tuple[int, ...] | None = None
    """Which steps of a finer schedule are taken, counted from 1, such as (16, 29, 52, 96, 200); overrides steps."""
    solver: str | None = None
    """euler, heun or pingpong; None: euler."""
    omega: float | None = None
    """How far each step leaves its own mean, −100 to 100: 0 is the plain step, 10 is 1.046 of it; None: 10."""
    guidance: str | None = None
    """none, apg, cfg or cfg_star; None: apg."""
    guidance_scale: float | None = None
    """How much the words count; 0 and 1 are off; None: 15."""
    guidance_share: float | None = None
    """Share of the steps, in the middle of them, in which guidance acts (the original's `guidance_interval`); None: 0.5."""
    guidance_decay: float | None = None
    """How far the scale falls towards the smallest over these steps, 0 to 1 (the original's `guidance_interval_decay`); None: 0."""
    min_guidance_scale: float | None = None
    """The smallest scale that decay falls to; None: 3."""
    guidance_scale_text: float | None = None
    """Scale of the caption where caption and lyrics are guided apart: both above 1, such as 5 and 1.5; None: 0, together."""
    guidance_scale_lyric: float | None = None
    """Scale of the lyrics where caption and lyrics are guided apart; None: 0, together."""
    erg_tag: bool | None = None
    """Whether guidance moves away from a caption that is hardly read instead of from none; None: yes."""
    erg_lyric: bool | None = None
    """Whether guidance moves away from lyrics that are hardly read instead of from none; None: yes."""
    erg_diffusion: bool | None = None
    """Whether guidance moves away from a music model that hardly listens instead of a whole one; None: yes."""

    def __post_init__(self) -> None:
        read_fields(self, _FLOW_V1)


Sampling: TypeAlias = FlowSampling | TokenSampling | FlowSamplingV1
Kind: TypeAlias = type[FlowSampling] | type[TokenSampling] | type[FlowSamplingV1]
KINDS: Mapping[str, Kind] = {"flow": FlowSampling, "tokens": TokenSampling, "flow-v1": FlowSamplingV1}
"""Every kind by its name in JSON; where a set of knobs fits several, it is the first."""
NAMES: Mapping[type[object], str] = {kind: name for name, kind in KINDS.items()}
KNOBS: frozenset[str] = frozenset(name for kind in KINDS.values() for name in kind.names())
"""Every knob of every kind: what a recipe takes flat."""


def kind_for(names: Iterable[str], usual: type[Any] = FlowSampling) -> Kind:
    """The kind of sampling that has all these knobs, the usual one where it has them; RecipeError where they are mixed."""
    names = set(names)
    checks.known_fields("Sampling", names, sorted(KNOBS))
    for kind in (usual, *KINDS.values()):
        if names <= set(kind.names()):
            return kind
    one, other = next(pair for pair in combinations(sorted(names, key=_order), 2) if not _owners(*pair))
    raise RecipeError(
        f"No model has both {shown(one)} and {shown(other)}: the first is a knob of {_MODELS[_owners(one)[0]]}, the second "
        f"of {_MODELS[_owners(other)[0]]}."
    )


def _owners(*names: str) -> list[Kind]:
    """The kinds that have all these knobs."""
    return [kind for kind in KINDS.values() if set(names) <= set(kind.names())]


def _order(name: str) -> tuple[int, str]:
    """Knobs as a sentence names them: those of the first kind first."""
    return list(KINDS.values()).index(_owners(name)[0]), name


def sampled(sampling: Sampling, changes: Mapping[str, Any]) -> Sampling:
    """The sampling with some knobs changed; of another kind where they are another kind's and nothing else was set."""
    if not changes:
        return sampling
    set_now = {name: value for name, value in sampling.given().items() if name not in changes}
    kind = kind_for([*set_now, *(name for name, value in changes.items() if value is not None)], type(sampling))
    return fitted({**set_now, **changes}, kind)


def fitted(knobs: Mapping[str, Any], kind: Kind) -> Sampling:
    """The knobs that a kind has, called as it calls them; what it has not is left away."""
    return kind(**{name: value for name, value in _in_words_of(kind, knobs).items() if name in kind.names()})


def converted(sampling: Sampling, kind: type[Any], engine: str) -> Sampling:
    """The sampling as another kind of model has it; RecipeError naming a knob that this engine does not have."""
    if type(sampling) is kind:
        return sampling
    foreign = [name for name in sampling.given() if name not in kind.names()]
    if foreign:
        raise RecipeError(
            f"{engine} has no {foreign[0]}: that is a knob of {_MODELS[type(sampling)]}. It has {', '.join(kind.names()[:6])}"
            f"{' and more' if len(kind.names()) > 6 else ''}; sampling={NAMES[kind]!r} leaves the others' knobs away."
        )
    found: Sampling = kind(**_in_words_of(kind, sampling.given()))
    return found


def _in_words_of(kind: type[Any], knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Knobs with what is the same under two names called as this kind calls it."""
    words = _SAME.get(kind, {})
    return {name: words.get(value, value) if checks.is_a(value, str) else value for name, value in knobs.items()}


_SAME: Mapping[type[object], Mapping[str, str]] = {
    FlowSampling: {"pingpong": "sde", "cfg_star": "cfg_zero"},
    FlowSamplingV1: {"sde": "pingpong", "cfg_zero": "cfg_star"},
}
"""Solvers and kinds of guidance that are the same thing under two names."""
_MODELS: Mapping[type[object], str] = {
    FlowSampling: "flow models such as ACE-Step 1.5",
    TokenSampling: "token models such as MusicGen",
    FlowSamplingV1: "ACE-Step v1",
}


def read_sampling(value: Any) -> Sampling:
    """A sampling, its name in JSON, or its knobs with that name under "kind"; RecipeError for anything else."""
    if checks.is_a(value, str):
        return KINDS[checks.choice("kind of sampling", value, KINDS)]()
    if checks.is_a(value, Mapping):
        knobs = checks.mapping("Sampling", value)
        named = knobs.pop("kind", None)
        kind = kind_for(knobs) if named is None else KINDS[checks.choice("kind of sampling", named, KINDS)]
        return kind(**knobs)
    found: Sampling = checks.instance(
        "sampling", value, tuple(KINDS.values()), " Write sampling=FlowSampling(steps=8)."
    )
    return found


def _known_as(kind: type[Any], name: str, choices: tuple[str, ...]) -> Reader:
    """Reads a choice, also by the name that another kind gives the same thing."""

    def read(what: str, value: Any) -> Any:
        same = _SAME[kind].get(value.lower(), value) if checks.is_a(value, str) else value
        return checks.choice(what, same, choices)

    return given(name, read)


def _times(value: Any) -> tuple[float, ...]:
    times = tuple(
        checks.real("A timestep", v, 0.0, 1.0)
        for v in checks.sequence("A schedule of timesteps", value, 1001, ordered=True)
    )
    while times and times[-1] == 0.0:
        times = times[:-1]
    if not 1 <= len(times) <= 1000 or any(b >= a for a, b in zip(times, times[1:], strict=False)):
        raise RecipeError(
            "Timesteps run down from noise (1) towards the song (0), each below the one before: (1, 0.7, 0.3)."
        )
    return times


def _own_steps(value: object) -> tuple[int, ...]:
    steps = tuple(
        checks.whole("An own step", v, 1, MOST_STEPS_V1)
        for v in checks.sequence("A list of own steps", value, MOST_STEPS_V1, ordered=True)
    )
    if not steps or any(b <= a for a, b in zip(steps, steps[1:], strict=False)):
        raise RecipeError("Own steps are counted upwards from 1, each above the one before: (16, 29, 52, 96, 200).")
    return steps


def _interval(value: object) -> tuple[float, float]:
    ends = checks.pair("A guidance interval, (low, high) of t such as (0.1, 0.9),", value)
    low, high = (checks.real("A guidance interval's end", v, 0.0, 1.0) for v in ends)
    if low >= high:
        raise RecipeError(
            f"A guidance interval runs from low t (song) to high t (noise), not from {low:g} to {high:g}."
        )
    return low, high


_FLOW: Mapping[str, Reader] = {
    "steps": given("The number of steps", checks.whole, 1, 1000),
    "shift": given("The shift", checks.real, 0.1, 20.0),
    "timesteps": _times,
    "solver": _known_as(FlowSampling, "solver", SOLVERS),
    "guidance": _known_as(FlowSampling, "guidance", GUIDANCE),
    "guidance_scale": given("The guidance scale", checks.real, 0.0, 30.0),
    "guidance_interval": _interval,
    "velocity_clamp": given("The velocity clamp", checks.real, 0.01, 100.0),
    "velocity_ema": given("The velocity's moving average", checks.real, 0.0, 0.99),
    "dcw": given("DCW mode", checks.choice, DCW_MODES),
    "dcw_low": given("DCW's low part", checks.real, 0.0, 1.0),
    "dcw_high": given("DCW's high part", checks.real, 0.0, 1.0),
    "instruction": given("The instruction", checks.text, 2_000),
    "global_caption": given("The global caption", checks.text, MOST_CAPTION),
    "latent_shift": given("The latent shift", checks.real, -10.0, 10.0),
    "latent_rescale": given("The latent rescale", checks.real, 0.01, 10.0),
}
_TOKENS: Mapping[str, Reader] = {
    "temperature": given("The temperature", checks.real, 0.0, 5.0),
    "top_k": given("top_k", checks.whole, 0, 1_000_000),
    "top_p": given("top_p", checks.real, 0.01, 1.0),
    "guidance_scale": given("The guidance scale", checks.real, 0.0, 30.0),
}
_FLOW_V1: Mapping[str, Reader] = {
    "steps": given("The number of steps", checks.whole, 1, MOST_STEPS_V1),
    "shift": given("The shift", checks.real, 0.1, 20.0),
    "own_steps": _own_steps,
    "solver": _known_as(FlowSamplingV1, "solver of ACE-Step v1", SOLVERS_V1),
    "omega": given("omega", checks.real, -100.0, 100.0),
    "guidance": _known_as(FlowSamplingV1, "guidance of ACE-Step v1", GUIDANCE_V1),
    "guidance_scale": given("The guidance scale", checks.real, 0.0, 30.0),
    "guidance_share": given("The share of the steps that are guided", checks.share),
    "guidance_decay": given("The decay of guidance", checks.share),
    "min_guidance_scale": given("The smallest guidance scale", checks.real, 0.0, 30.0),
    "guidance_scale_text": given("The caption's guidance scale", checks.real, 0.0, 30.0),
    "guidance_scale_lyric": given("The lyrics' guidance scale", checks.real, 0.0, 30.0),
    "erg_tag": given("erg_tag", checks.truth),
    "erg_lyric": given("erg_lyric", checks.truth),
    "erg_diffusion": given("erg_diffusion", checks.truth),
}
