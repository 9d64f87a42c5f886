"""Teaching an adapter: a loop over lessons that tells what happens, and can be stopped and taken up again exactly.

x_t = t·noise + (1 - t)·x0, target v = noise - x0, mean squared error over all frames and channels (flow matching, as the
published model code trains); the engine says by which rule t is drawn, and whether the error is the velocity's or the song's. Every draw of a step comes from (seed, step) alone: a
run that was interrupted goes on to the same weights as one that was not. Knows no files, no session, no sound.

::

    trainer = Trainer(engine, lessons, LoraConfig(steps=120))
    for event in trainer.run(check):        # Learnt, HeldOut; between two of them the session may do other work
        ...
    trainer.adapter_state()                 # what an adapter file is written from
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from acestep_lab._libraries import peft
from acestep_lab.engines.base import Check, Lesson, Trains
from acestep_lab.errors import MachineError, RecipeError, shown
from acestep_lab.models.assembly import DRAWING
from acestep_lab.prompt import checks
from acestep_lab.train.alignment import PREFIX, Aligner, Alignment, features_of
from acestep_lab.train.optimisers import NAMES as OPTIMISERS
from acestep_lab.train.optimisers import Optimiser, optimiser_for
from acestep_lab.train.ranks import Ranks
from acestep_lab.train.repa import Features

KINDS = ("lora", "dora", "rslora", "lokr")
HELD_OUT_TIMES = (0.3, 0.6, 0.9)
"""Where the held-out loss is taken, always with the same noise: the running loss mostly says which times were drawn."""
NAME = "trained"
"""What PEFT calls the adapter while it is taught."""
MOST_RANK = 512
PROJECTORS = -(2**31)
"""The number of the draw that projectors begin from: no pass and no held-out song has it."""
BY_RULE = ("learning_rate", "dropout", "crop_seconds")
"""Numbers of a config that may be left to the checkpoint's rule, or to the songs."""
UNTOLD = {"repa_block": None, "repa_coefficient": 1.0}
"""Values of a config that are said nowhere while they are these: files of trainings without them stay what they were."""
Worded = Callable[[int, int], Lesson]
"""`worded(place, turn)`: the lesson at a place, in the words that the pass of this number hears it in."""


@dataclass(frozen=True)
class LoraConfig:
    """What is taught, and how; None is decided by the checkpoint's rule. RecipeError for what makes no sense."""

    kind: str = "lora"
    rank: int = 8
    alpha: float = 16.0
    """The adapter's strength is alpha / rank (rsLoRA: alpha / √rank)."""
    targets: tuple[str, ...] = ("attention",)
    """Groups of layers of the engine's rule: "attention", "mlp"."""
    steps: int = 500
    batch: int = 1
    """Lessons of one pass; they are cut to the shortest among them."""
    accumulation: int = 1
    """Passes before the weights move."""
    crop_seconds: float | None = None
    """Lessons are cut to so much from the start, where songs begin; None: whole."""
    learning_rate: float | None = None
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    warm_up: int = 100
    """Steps in which the rate rises; at most a tenth of all."""
    clip: float = 1.0
    dropout: float | None = None
    """Share of lessons without words; where words are of several kinds, without each of them."""
    adapter_dropout: float = 0.0
    """Share of the adapter's inputs that is silenced while it learns."""
    ema: float = 0.0
    """Above 0: what is kept is this much of itself and the rest of the weights of now, step after step."""
    gradient_checkpointing: bool = False
    """Half the memory for a third more time."""
    held_out: float = 0.1
    """Share of the songs that is not learnt from, to see what was learnt; one at least where there are four, none below."""
    held_out_every: int = 20
    patience: int = 0
    """Above 0: after so many held-out losses without a better one it ends, and the best is kept."""
    save_every: int = 50
    """Steps after which all is saved."""
    preview_every: int = 0
    """Above 0: steps after which a take is made with and without the adapter."""
    seed: int = 0
    repa_block: int | None = field(default=None, repr=False)
    """Of a training with `repa`, the block whose states are aligned, counted from 1; None: 8, or the middle of a smaller model."""
    repa_coefficient: float = field(default=1.0, repr=False)
    """How much of that loss is added to the other."""

    def __post_init__(self) -> None:
        _choice("kind", self.kind, KINDS)
        for name, low, high in (
            ("rank", 1, MOST_RANK), ("steps", 1, 10**7), ("batch", 1, 1024), ("accumulation", 1, 10**4),
            ("warm_up", 0, 10**6), ("held_out_every", 1, 10**6), ("patience", 0, 10**6), ("save_every", 1, 10**6), ("preview_every", 0, 10**6),
            ("seed", 0, 2**63 - 1),
        ):  # fmt: skip
            _whole(name, getattr(self, name), low, high)
        for name, least, most in (
            ("alpha", 1e-6, 1e6), ("learning_rate", 1e-9, 10.0), ("weight_decay", 0.0, 1.0), ("clip", 1e-6, 1e6),
            ("dropout", 0.0, 0.99), ("adapter_dropout", 0.0, 0.99), ("repa_coefficient", 1e-6, 1e3), ("ema", 0.0, 0.99999), ("crop_seconds", 0.4, 3600.0), ("held_out", 0.0, 0.9),
        ):  # fmt: skip
            if getattr(self, name) is not None or name not in BY_RULE:
                _number(name, getattr(self, name), least, most)
        if self.repa_block is not None:
            _whole("repa_block", self.repa_block, 1, 1000)
        _choice("optimiser", self.optimiser, OPTIMISERS)
        checks.truth("gradient_checkpointing", self.gradient_checkpointing)
        object.__setattr__(self, "targets", _groups(self.targets))

    @property
    def scale(self) -> float:
        """What the adapter's change is multiplied by while it is taught."""
        return self.alpha / (math.sqrt(self.rank) if self.kind == "rslora" else self.rank)

    def told(self) -> dict[str, Any]:
        """All of it as plain data; what is only for `repa`, where it is not as usual."""
        whole = asdict(self)
        return {name: value for name, value in whole.items() if name not in UNTOLD or value != UNTOLD[name]}

    def replace(self, **changes: Any) -> LoraConfig:
        """The same with other values."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Learnt:
    """A step was made."""

    step: int
    """Counted from 1: how many have been made."""
    loss: float
    """Of the lessons just heard: it mostly says which times were drawn."""
    learning_rate: float
    seconds: float
    alignment: float | None = None
    """With `repa`: 1 - cosine between what the block gives and what the encoders hear."""


@dataclass(frozen=True)
class HeldOut:
    """The loss on songs that are not learnt from, at fixed times with fixed noise."""

    step: int
    losses: Mapping[float, float]
    """Time → mean squared error."""
    best: bool
    """Whether it is the lowest sum so far."""
    alignment: float | None = None
    """With `repa`: 1 - cosine of these songs, mean over the times; no part of the sum."""

    @property
    def total(self) -> float:
        """The sum over the times."""
        return sum(self.losses.values())


@dataclass(frozen=True)
class _Told:
    """What a pass, or a held-out song, says; plain data, so that it can be told to others."""

    loss: float
    alignment: float = 0.0
    bad: tuple[int, ...] = ()
    """Lessons whose loss is no number."""


class Trainer:
    """An adapter being taught. `run` makes steps; `state` and `load_state` interrupt it exactly."""

    def __init__(
        self, engine: Trains, lessons: Sequence[Lesson], config: LoraConfig, held_out: Sequence[Lesson] = (),
        names: Sequence[str] = (), dtype: torch.dtype = torch.float32, alignment: Alignment | None = None,
        ranks: Ranks | None = None, worded: Worded | None = None,
    ) -> None:  # fmt: skip
        """`names` say which song a lesson is, for errors; `alignment` is what REPA draws towards, `ranks` who teaches together; `worded` gives some passes another lesson of the same song (`wordings`).
        RecipeError where there is nothing to learn from.
        """
        if not lessons:
            raise RecipeError("There is no lesson to learn from; a data set has at least one song that can be read.")
        self.engine, self.lessons, self.config, self.held_out = engine, lessons, config, held_out
        self.worded = worded
        self.names = tuple(names) or tuple(f"lesson {place + 1}" for place in range(len(lessons)))
        rule = engine.training_rule
        self.dropout = rule.dropout if config.dropout is None else config.dropout
        self.learning_rate = rule.learning_rate if config.learning_rate is None else config.learning_rate
        self.is_song_error = rule.error == "song"
        self.frames = (
            None if config.crop_seconds is None else max(2, round(config.crop_seconds * rule.frames_per_second))
        )
        ends = ends_of(config.targets, rule.targets)
        with DRAWING:  # a module is born with drawn weights, before it reads its own
            self.module = engine.training_module(dtype)
        self.device = next(self.module.parameters()).device
        with _seeded(config.seed, 0, self.device):
            inject(self.module, config, ends)
        if config.gradient_checkpointing:
            vars(self.module)["gradient_checkpointing"] = True
        self.ranks, self.alignment, self._lengths = ranks or Ranks(), alignment, dict[int, int]()
        self.parameters = {name: one for name, one in self.module.named_parameters() if one.requires_grad}
        self.aligner = self._aligner()
        self.ranks.from_main([one.data for one in self.parameters.values()])
        self.optimiser: Optimiser = optimiser_for(
            config.optimiser, list(self.parameters.values()), self.learning_rate, config.weight_decay, rule.betas
        )
        self.step, self.best, self.since_best = 0, math.inf, 0
        self._average = {name: one.detach().clone() for name, one in self.parameters.items()} if config.ema else {}
        self._best: dict[str, Tensor] = {}
        self._good: dict[str, Tensor] = {}

    def _aligner(self) -> Aligner | None:
        """The projectors, learnt beside the adapter; the adapter begins as it would without them."""
        if self.alignment is None:
            return None
        with _seeded(self.config.seed, PROJECTORS, torch.device("cpu")):
            made = Aligner(self.engine, self.config.repa_block, self.alignment.widths)
        self.parameters |= {f"{PREFIX}{name}": one for name, one in made.to(self.device).named_parameters()}
        return made

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self, check: Check = lambda: None) -> Iterator[Learnt | HeldOut]:
        """Make the steps that are left, telling each; `check` is called before every pass and may raise Stopped.

        MachineError where a loss is no number: the weights are then those of the last good step.
        """
        if self.step == 0 and self.held_out:
            yield self._held_out()
        while self.step < self.config.steps and not self.is_satisfied:
            learnt = self._learn(check)
            due = self.step % self.config.held_out_every == 0 or self.step == self.config.steps
            judged = self._held_out() if self.held_out and due else None
            if judged is not None:
                yield judged
            yield learnt  # once all of the step is done, so that what is saved now is gone on from exactly

    @property
    def has_good(self) -> bool:
        """Whether a step was made here whose loss was a number: weights from before it are known."""
        return bool(self._good)

    @property
    def is_satisfied(self) -> bool:
        """Whether the held-out loss has not fallen for as long as `patience` says."""
        return 0 < self.config.patience <= self.since_best

    def _learn(self, check: Check) -> Learnt:
        """One step of the weights."""
        began = time.monotonic()
        rate = self.learning_rate * self.optimiser.schedule(self.step, self.config.steps, self.config.warm_up)
        self.optimiser.begin(rate)
        made = []
        for turn in range(self.config.accumulation):
            check()
            made.append(self._pass(self.step * self.config.accumulation + turn))
        self._average_gradients()
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.config.clip)
        if not bool(torch.isfinite(norm)):
            first = self.step * self.config.accumulation
            self._refuse([at for turn in range(self.config.accumulation) for at in self._places(first + turn)])
        self._good = _copied(self._average or self.parameters)
        self.optimiser.step()
        self.step += 1
        self._remember()
        alignment = None if self.aligner is None else float(np.mean([one.alignment for one in made]))
        return Learnt(self.step, float(np.mean([one.loss for one in made])), rate, time.monotonic() - began, alignment)

    def _average_gradients(self) -> None:
        """The mean over all who teach together; a layer that one of them left out counts as nothing learnt there."""
        if self.ranks.count == 1:
            return
        for one in self.parameters.values():
            one.grad = torch.zeros_like(one) if one.grad is None else one.grad
        self.ranks.average([one.grad for one in self.parameters.values() if one.grad is not None])

    def one_pass(self) -> float:
        """Loss and gradients of the batch that is next, and nothing learnt: what a measurement needs."""
        return self._pass(self.step * self.config.accumulation).loss

    def _pass(self, turn: int) -> _Told:
        """Loss and gradients of one batch; of those that teach together each makes its share, by the draws of the whole."""
        generator = _generator(self.config.seed, turn + 1)
        places, mine = self._places(turn), self.ranks.share(self.config.batch)
        worded = self.worded
        lessons = [self.lessons[place] if worded is None else worded(place, turn) for place in places[mine]]
        batch = batched(lessons, self._cut(places))
        t = self.engine.draw_times(len(places), generator)[mine]
        noise = torch.randn((len(places), *batch.target.shape[1:]), generator=generator)[mine]
        dropped = (torch.rand((len(places), batch.null.shape[1]), generator=generator) < self.dropout)[mine]
        heard = () if self.alignment is None else [self.alignment.lessons[place] for place in places[mine]]
        with _seeded(self.config.seed, turn + 1 + self.ranks.number * 2**33, self.device):
            errors, apart = self._judge(batch, t, noise, dropped, heard)
        whole = errors if apart is None else errors + self.config.repa_coefficient * apart
        fine = torch.isfinite(whole.detach()).tolist()
        told = self.ranks.gathered(
            _Told(
                float(errors.detach().mean()), 0.0 if apart is None else float(apart.detach().mean()),
                tuple(place for place, one in zip(places[mine], fine, strict=True) if not one),
            )
        )  # fmt: skip
        if bad := [place for one in told for place in one.bad]:
            self._refuse(bad)
        with DRAWING if self.config.gradient_checkpointing else nullcontext():  # it draws again what was drawn
            (whole.mean() / self.config.accumulation).backward()
        return _Told(float(np.mean([one.loss for one in told])), float(np.mean([one.alignment for one in told])))

    def _cut(self, places: Sequence[int]) -> int | None:
        """The length that a batch is cut to: where it is shared, all parts to the shortest of the whole."""
        if self.ranks.count == 1:
            return self.frames
        for place in places:
            if place not in self._lengths:
                self._lengths[place] = len(self.lessons[place].target)
        return min(*(self._lengths[place] for place in places), self.frames or 2**62)

    def _errors(self, batch: Batch, t: Tensor, noise: Tensor, dropped: Tensor) -> Tensor:
        """Squared error of the velocity per item `[items]`."""
        return self._judge(batch, t, noise, dropped)[0]

    def _judge(
        self, batch: Batch, t: Tensor, noise: Tensor, dropped: Tensor, heard: Sequence[tuple[Features, ...]] = ()
    ) -> tuple[Tensor, Tensor | None]:
        """Per item `[items]` the squared error of the velocity, and, of what encoders heard, how far the states are from it."""
        x = torch.lerp(batch.target, noise, t[:, None, None])
        states, mask = batch.heard(dropped)
        x, t, states, mask, context, wanted = (
            one.to(self.device) for one in (x, t, states, mask, batch.context, noise - batch.target)
        )
        aligner = self.aligner if heard else None
        with nullcontext() if aligner is None else aligner.watch(self.module) as hidden:
            found = self.engine.velocity(self.module, x, t, states, mask, context)
        errors = (found.float() - wanted).square().mean(dim=(1, 2))
        errors = errors * t.square() if self.is_song_error else errors
        if aligner is None or hidden is None or self.alignment is None:
            return errors, None
        frames = batch.target.shape[1]
        features = features_of(heard, self.alignment.widths, frames / aligner.frames_per_second)
        return errors, aligner(hidden, frames, features)

    def _places(self, turn: int) -> list[int]:
        """Which lessons a pass hears: every one once before any comes again, in an order of the seed and the round."""
        count, places, size = len(self.lessons), [], self.config.batch * self.ranks.count
        for at in range(turn * size, (turn + 1) * size):
            order = np.random.default_rng([self.config.seed, at // count]).permutation(count)
            places.append(int(order[at % count]))
        return places

    def _refuse(self, places: Sequence[int]) -> NoReturn:
        """A loss that is no number: back to the last good weights, and say which songs it was."""
        for name, kept in self._good.items():
            (self._average or self.parameters)[name].data.copy_(kept)
        self.optimiser.forget_gradients()
        songs = ", ".join(shown(name, 40) for name in list(dict.fromkeys(self.names[place] for place in places))[:3])
        raise MachineError(
            f"The loss is no number any more at step {self.step + 1} ({songs}); the weights of the step before are kept. "
            "A lower learning_rate usually helps; else look at that song."
        )

    def _remember(self) -> None:
        keep = self.config.ema
        for name, kept in self._average.items():
            kept.lerp_(self.parameters[name].detach(), 1.0 - keep)

    # -- judging -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _held_out(self) -> HeldOut:
        """The loss of songs that are not learnt from, with the weights that would be kept."""
        kept, learning = self._kept(), _copied(self.parameters)
        self.module.eval()
        self._set(kept)
        judged = {t: self._held_out_at(t) for t in HELD_OUT_TIMES}
        self._set(learning)
        self.module.train()
        losses = {t: one.loss for t, one in judged.items()}
        total = sum(losses.values())
        best = total < self.best
        self.best, self.since_best = (total, 0) if best else (self.best, self.since_best + 1)
        if best and self.config.patience:
            self._best = _copied(kept)
        alignment = None if self.aligner is None else float(np.mean([one.alignment for one in judged.values()]))
        return HeldOut(self.step, losses, best, alignment)

    def _set(self, weights: Mapping[str, Tensor]) -> None:
        for name, one in weights.items():
            self.parameters[name].copy_(one)

    def _held_out_at(self, t: float) -> _Told:
        """Means over the held-out songs; those who teach together judge some of them each."""
        count, mine = self.ranks.count, range(self.ranks.number, len(self.held_out), self.ranks.count)
        told = self.ranks.gathered([self._held_out_of(place, t) for place in mine])
        found = [told[place % count][place // count] for place in range(len(self.held_out))]
        return _Told(float(np.mean([one.loss for one in found])), float(np.mean([one.alignment for one in found])))

    def _held_out_of(self, place: int, t: float) -> _Told:
        batch = batched([self.held_out[place]], self.frames)
        noise = torch.randn(batch.target.shape, generator=_generator(self.config.seed, -1 - place))
        heard = () if self.alignment is None else (self.alignment.held_out[place],)
        error, apart = self._judge(batch, torch.tensor([t]), noise, torch.zeros((1, 1), dtype=torch.bool), heard)
        return _Told(float(error.mean()), 0.0 if apart is None else float(apart.mean()))

    # -- what is kept --------------------------------------------------------------------------------------------------

    def adapter_state(self) -> dict[str, Tensor]:
        """The adapter's tensors by PEFT's names, on the CPU: those of now, of an average (`ema`) that, with `patience` the best."""
        kept = self._best or self._kept()
        adapter = {name: one for name, one in kept.items() if not name.startswith(PREFIX)}
        return {name.replace(f".{NAME}", ""): one.float().cpu() for name, one in _copied(adapter).items()}

    def _kept(self) -> Mapping[str, Tensor]:
        """The weights that would be kept if it ended now."""
        if self._average:
            return self._average
        self.optimiser.judged()
        found = _copied(self.parameters)
        self.optimiser.learning()
        return found

    def state(self) -> dict[str, Any]:
        """All that going on needs, as plain data and tensors."""
        return {
            "step": self.step, "best": self.best, "since_best": self.since_best,
            "parameters": _on_cpu(self.parameters), "average": _on_cpu(self._average), "best_weights": _on_cpu(self._best),
            "optimiser": self.optimiser.state(),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same adapter; RecipeError where it is of another shape, ValueError where it is none."""
        if _shapes(state["parameters"]) != _shapes(self.parameters):
            raise RecipeError(
                "This state is of another adapter: its kind, rank or targets are others than those asked for."
            )
        self._must_be_sound(state)
        self.optimiser.load_state(state["optimiser"])
        with torch.no_grad():
            for name, one in state["parameters"].items():
                self.parameters[name].copy_(one)
            for name, one in state["average"].items():
                self._average[name].copy_(one)
        self._best = {name: one.to(self.device) for name, one in state["best_weights"].items()}
        self.step, self.best, self.since_best = state["step"], float(state["best"]), state["since_best"]
        self.ranks.from_main([one.data for one in self.parameters.values()])

    def _must_be_sound(self, state: Mapping[str, Any]) -> None:
        """ValueError for a state that no training of this adapter leaves: a file may be anybody's."""
        for name, wanted in (("parameters", self.parameters), ("average", self._average), ("best_weights", None)):
            kept = state[name]
            if not (wanted is None and kept == {}) and _shapes(kept) != _shapes(
                self.parameters if wanted is None else wanted
            ):
                raise ValueError(f"its {name} are of other shapes")
            if not all(one.is_floating_point() and bool(torch.isfinite(one).all()) for one in kept.values()):
                raise ValueError(f"its {name} are no numbers")
        for name, most in (("step", self.config.steps), ("since_best", self.config.steps + 1)):
            if not checks.is_a(state[name], int) or not 0 <= state[name] <= most:
                raise ValueError(f"its {name} is none of this training's")
        if not checks.is_a(state["best"], float) or math.isnan(state["best"]):
            raise ValueError("its best loss is no number")


def _shapes(tensors: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by name; ValueError for what is no table of tensors."""
    if not isinstance(tensors, Mapping) or not all(isinstance(one, Tensor) for one in tensors.values()):
        raise ValueError("it holds no weights")
    return {name: tuple(one.shape) for name, one in tensors.items()}


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in tensors.items()}


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.detach().cpu().clone() for name, one in tensors.items()}


# -- lessons side by side ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Batch:
    """Lessons cut to one length, in RAM."""

    target: Tensor
    """x0 `[items, frames, channels]`."""
    context: Tensor
    """`[items, frames, channels of the context]`."""
    states: Tensor
    """`[items, tokens, width]`, zero where an item has none."""
    mask: Tensor
    """`[items, tokens]`, True where there is something to hear: padding is never heard."""
    null: Tensor
    """`[items, kinds, width]`."""
    kinds: Tensor
    """`[items, tokens]`."""

    def heard(self, dropped: Tensor) -> tuple[Tensor, Tensor]:
        """States and mask with nothing asked where `dropped` is True, of an item `[items]` or of a kind `[items, kinds]`."""
        gone = dropped.reshape(len(dropped), -1).expand(-1, self.null.shape[1]).gather(1, self.kinds)
        null = self.null.gather(1, self.kinds[..., None].expand_as(self.states))
        return torch.where(gone[..., None], null, self.states), self.mask


def batched(lessons: Sequence[Lesson], most_frames: int | None = None) -> Batch:
    """Lessons side by side, cut from the start to the shortest of them or to `most_frames`."""
    frames = min(*(len(one.target) for one in lessons), most_frames or 2**62, 2**62)
    tokens = max(len(one.states) for one in lessons)
    states = torch.zeros(len(lessons), tokens, lessons[0].states.shape[-1])
    mask = torch.zeros(len(lessons), tokens, dtype=torch.bool)
    kinds = torch.zeros(len(lessons), tokens, dtype=torch.long)
    for place, one in enumerate(lessons):
        if one.kinds is not None:
            kinds[place, : len(one.kinds)] = one.kinds
        states[place, : len(one.states)], mask[place, : len(one.states)] = one.states.float(), True
    return Batch(
        torch.stack([one.target[:frames].float() for one in lessons]),
        torch.stack([one.context[:frames].float() for one in lessons]),
        states, mask, torch.stack([one.null.float() for one in lessons]), kinds,
    )  # fmt: skip


# -- the adapter -------------------------------------------------------------------------------------------------------


def inject(module: nn.Module, config: LoraConfig, ends: Sequence[str]) -> None:
    """Put a new adapter on a frozen module, on its layers whose names end so, in float32; RecipeError for a rank too large."""
    names = [
        name for name, one in module.named_modules()
        if isinstance(one, nn.Linear) and any(name.endswith(f".{end}") for end in ends)
    ]  # fmt: skip
    smallest = min((min(module.get_submodule(name).weight.shape) for name in names), default=0)  # type: ignore[arg-type]
    check_rank(config, smallest)
    made: Any
    if config.kind == "lokr":
        made = peft.LoKrConfig(
            r=config.rank, alpha=config.alpha, target_modules=names, module_dropout=config.adapter_dropout
        )
    else:
        made = peft.LoraConfig(
            r=config.rank, lora_alpha=config.alpha, target_modules=names, lora_dropout=config.adapter_dropout,
            use_dora=config.kind == "dora", use_rslora=config.kind == "rslora",
        )  # fmt: skip
    peft.inject_adapter_in_model(made, module, NAME)
    for one in module.parameters():
        if one.requires_grad:
            one.data = one.data.float()


def check_rank(config: LoraConfig, most: int) -> None:
    """RecipeError where a rank is more than the smallest side of a layer."""
    if config.rank > most:
        raise RecipeError(
            f"A rank of {config.rank} is more than a layer here has ({most}); a lower one learns the same."
        )


def ends_of(asked: Sequence[str], known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Names that the layers of some groups end with; RecipeError for a group that is not known."""
    for group in asked:
        _choice("targets", group, tuple(known))
    return tuple(end for group in dict.fromkeys(asked) for end in known[group])


# -- draws -------------------------------------------------------------------------------------------------------------


def _generator(seed: int, number: int) -> torch.Generator:
    """The draws of one pass, from the seed and its number alone."""
    words = np.random.SeedSequence([seed, number + 2**32]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


@contextmanager
def _seeded(seed: int, number: int, device: torch.device) -> Iterator[None]:
    """Draws that a library takes from torch's own generator, from a seed too; that generator is left as it was.

    There is one for all threads, so that two sessions of one process take turns.
    """
    devices = [device] if device.type == "cuda" else []
    with DRAWING, torch.random.fork_rng(devices):
        torch.manual_seed(_generator(seed, number).initial_seed() % 2**63)
        yield


# -- checks ------------------------------------------------------------------------------------------------------------


def _choice(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise RecipeError(f"{name} is one of {', '.join(known)}, not {shown(value)}.")


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise RecipeError(f"{name} is a whole number from {least} to {most}, not {shown(value)}.")


def _groups(targets: Any) -> tuple[str, ...]:
    """Groups of layers as a tuple, from a list too; their names are the engine's to know."""
    if not isinstance(targets, list | tuple) or not targets or not all(isinstance(one, str) for one in targets):
        raise RecipeError('targets is a tuple of groups of layers, such as ("attention", "mlp").')
    return tuple(targets)


def _number(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise RecipeError(f"{name} is a number from {least:g} to {most:g}, not {shown(value)}.")
