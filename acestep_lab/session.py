"""The front door: a Session holds the loaded models and turns recipes into takes. The one file where the stages meet."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self, overload

import torch
from torch import Tensor

from acestep_lab._torchaudio import cure
from acestep_lab.decode.audio import Audio, normalizing_gain
from acestep_lab.decode.codec import Codec, prepare_vae
from acestep_lab.errors import LibraryError, RecipeError
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.residency import Residency
from acestep_lab.models.tiers import Tier
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Text2Music
from acestep_lab.run import Run, Worker
from acestep_lab.synth import conditioning, context, guidance, sampler, schedule
from acestep_lab.synth.conditioning import Conditions, Words
from acestep_lab.synth.sampler import Frame
from acestep_lab.takes.library import Library, read_file
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import Comparison, Verdict

cure()

DEFAULT_SECONDS = 30.0
"""What the models are told where nobody says how long a song lasts."""

DECODE_SHARE = 0.15
"""Share of a run's progress bar that belongs to decoding."""


class _Open:
    """`Session.open("turbo")` opens a checkpoint; `lab.open("song.flac")` opens a take."""

    @overload
    def __get__(self, session: None, kind: type[Session]) -> Callable[..., Session]: ...
    @overload
    def __get__(self, session: Session, kind: type[Session]) -> Callable[[str | os.PathLike[str]], Take]: ...
    def __get__(self, session: Session | None, kind: type[Session]) -> Callable[..., Any]:
        return kind.open_checkpoint if session is None else session.open_take


class Session:
    """Loaded models, a worker thread, and a library of takes.

    `checkpoint` is opened light; parts load when they are first needed, on the worker thread. Stand-ins with the same
    verbs may be handed in for every collaborator.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tier: Tier | None = None,
        library: Library | None = None,
        residency: Residency | None = None,
        worker: Worker | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.tier = tier or Tier.detect()
        self.library = library or Library(default_folder())
        self.residency = residency or Residency(self._build, self.tier)
        self._worker = worker or Worker()
        self._tokenizer: Any = None
        self._conditions: dict[tuple[Any, ...], Conditions] = {}
        self._pace = Pace()
        self._known: dict[str, Take | Audio] = {}

    open = _Open()

    @classmethod
    def open_checkpoint(
        cls,
        checkpoint: str | os.PathLike[str] = "pocket",
        tier: Tier | None = None,
        library: Library | str | os.PathLike[str] | None = None,
    ) -> Self:
        """Open a checkpoint: "pocket", a catalog name, a folder, or a hub id; no weights are read yet.

        Raises CheckpointError where there is none, saying what is missing.
        """
        kept = library if isinstance(library, Library | None) else Library(library)
        return cls(Checkpoint.open(checkpoint), tier, kept)

    def __repr__(self) -> str:
        g = self.checkpoint.geometry
        return f"<Session {self.checkpoint.name!r}: {g.rate} Hz, {self.tier.name} tier, {len(self.library)} takes kept>"

    # -- verbs ---------------------------------------------------------------------------------------------------------

    def start(self, recipe: Recipe, plan: Plan | None = None) -> Run:
        """Begin a render and return at once; the run shows frames, can be stopped, and has a take at its end.

        Raises RecipeError for what this checkpoint cannot make, before any work.
        """
        resolved = self.resolve(recipe, plan)
        run = Run((resolved,), self._pace.expect(resolved))
        return self._worker.submit(run, partial(self._render, asked=recipe, plan=plan))

    def make(self, recipe: Recipe, plan: Plan | None = None) -> Take:
        """Render a recipe and wait for its take."""
        return self.start(recipe, plan).take()

    def vary(self, source: Take | Recipe, seeds: Iterable[int]) -> list[Take]:
        """The same recipe with other seeds, a take for each."""
        recipe = source.recipe if isinstance(source, Take) else source
        return [run.take() for run in [self.start(recipe.but(seed=seed)) for seed in seeds]]

    def keep(self, take: Take) -> Take:
        """Keep a take in the library; every take a run makes is kept already."""
        self.library.keep(take)
        return take

    def open_take(self, name: str | os.PathLike[str]) -> Take:
        """A take by its id, or out of any of our sound files: recipe, plan and parents come along."""
        known = self._known.get(str(name))
        if isinstance(known, Take):
            return known
        take = read_file(name) if Path(name).is_file() else self.library.open(str(name))
        self._known[take.id] = take
        return take

    def compare(self, one: Take, other: Take) -> Comparison:
        """What differs between two takes: the fields of their recipes, and their sounds."""
        return Comparison.of(one, other)

    def verify(self, take: Take) -> Verdict:
        """Make a take again from its recipe and say: same, same to the ear, or different."""
        return take.verify(self)

    def studio(self) -> Any:
        """The studio page, to be shown in a notebook; the same page `acestep-lab serve` shows."""
        from acestep_lab.serve.app import page

        return page(self)

    show = studio

    def close(self) -> None:
        """Stop what runs and end the worker thread."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runs(self) -> tuple[Run, ...]:
        """Runs under way or waiting, in order."""
        return self._worker.waiting

    # -- resolving: every "auto" becomes a number, everything impossible is refused ------------------------------------

    def resolve(self, recipe: Recipe, plan: Plan | None = None) -> Recipe:
        """The recipe with every "auto" decided by the plan, then the checkpoint's row; raises RecipeError."""
        row, longest = self.checkpoint.row, self.checkpoint.geometry.longest_seconds
        if not isinstance(recipe.task, Text2Music):
            raise RecipeError(f"{type(recipe.task).__name__} is not wired to this session yet.")
        seconds = recipe.seconds or (plan.seconds if plan else None) or min(DEFAULT_SECONDS, longest)
        if seconds > longest:
            raise RecipeError(
                f"{self.checkpoint.name} makes songs of up to {longest:g} s; {seconds:g} s is too long. Make it shorter, "
                "or extend a take in parts."
            )
        times = recipe.timesteps
        scale = recipe.guidance_scale if recipe.guidance_scale is not None else row.guidance_scale
        return recipe.but(
            seconds=seconds,
            seed=recipe.seed if recipe.seed is not None else secrets.randbelow(2**32),
            bpm=recipe.bpm or (plan.bpm if plan else None),
            keyscale=recipe.keyscale or (plan.keyscale if plan else None),
            timesignature=recipe.timesignature or (plan.timesignature if plan else None),
            language=recipe.language or (plan.language if plan else None) or "unknown",
            steps=len(times) if times else recipe.steps or row.steps,
            shift=recipe.shift if recipe.shift is not None else row.shift,
            solver=recipe.solver or "euler",
            guidance=recipe.guidance or row.guidance,
            guidance_scale=scale,
        )

    # -- the road, on the worker thread --------------------------------------------------------------------------------

    def _render(self, run: Run, asked: Recipe, plan: Plan | None) -> None:
        """Words → conditions → frames → sound → take."""
        recipe, clock = run.recipe, Clock()
        run.enter("rendering", 0.0)
        with clock("encode"):
            conditions = self._listen_to(recipe)
            [run.note(note) for note in conditions.notes]
        run.can_keep(lambda frame: [self._finish(recipe, asked, plan, frame.estimate, clock)])
        with clock("render"):
            for frame in self._frames(recipe, conditions, run):
                run.show(frame, (1 - DECODE_SHARE) * frame.fraction)
                run.check()
        run.enter("decoding")
        with clock("decode"):
            take = self._finish(recipe, asked, plan, frame.latent, clock, run)
        self._pace.learn(recipe, run.seconds_running)
        self._store(take, run)
        run.finish([take])

    @torch.inference_mode()
    def _listen_to(self, recipe: Recipe) -> Conditions:
        """What the DiT listens to, from the cache where the words were read before."""
        words = Words(
            caption=recipe.caption,
            lyrics=recipe.lyrics,
            language=recipe.language or "unknown",
            seconds=recipe.seconds,
            bpm=recipe.bpm,
            keyscale=recipe.keyscale,
            timesignature=recipe.timesignature,
            instruction=recipe.task.instruction(),
        )
        if (words,) not in self._conditions:
            with self.residency.on("text") as text:
                readings = conditioning.read(text, self._text_tokenizer(), [words])
            frames = conditioning.timbre_frames(self.checkpoint.geometry.frames_per_second)
            with self.residency.on("condition") as encoder:
                self._conditions[(words,)] = conditioning.fuse(encoder, readings, frames)
            while len(self._conditions) > 64:
                self._conditions.pop(next(iter(self._conditions)))
        return self._conditions[(words,)]

    @torch.inference_mode()
    def _frames(self, recipe: Recipe, conditions: Conditions, run: Run) -> Iterator[Frame]:
        """The loop over the DiT, one Frame a step."""
        geometry = self.checkpoint.geometry
        frames = geometry.frames(recipe.seconds or DEFAULT_SECONDS)
        with self.residency.on("condition") as encoder:
            source = context.stacked([context.blank(encoder.silence_latent[0], frames)])
        times = recipe.timesteps or schedule.times(recipe.steps or 1, recipe.shift or 1.0)
        start = sampler.noises([recipe.seed or 0], frames, geometry.latent_channels)
        velocity = self._velocity(recipe, conditions, source, run)
        fresh = partial(_fresh, recipe.seed or 0, frames, geometry.latent_channels)
        steps = sampler.sample(
            velocity, start, times, solver=recipe.solver or "euler", fresh=fresh,
            clamp=recipe.velocity_clamp, ema=recipe.velocity_ema,
        )  # fmt: skip
        for frame in sampler.checked(steps):
            yield replace(frame, latent=frame.latent[0].cpu(), estimate=frame.estimate[0].cpu())

    def _velocity(self, recipe: Recipe, conditions: Conditions, source: Tensor, run: Run) -> sampler.Velocity:
        """The DiT as a function of x and t, guided as the recipe says; the DiT is aboard only while it works."""

        def look(states: Tensor, x: Tensor, t: float) -> Tensor:
            run.check()
            with self.residency.on("dit") as dit:
                like = next(dit.parameters())
                when = torch.full((x.shape[0],), t, dtype=like.dtype, device=like.device)
                return dit(
                    hidden_states=x.to(like),
                    timestep=when,
                    timestep_r=when,
                    encoder_hidden_states=states.to(like),
                    context_latents=source.to(like),
                    return_dict=False,
                )[0].to(x)

        def alone(x: Tensor, t: float) -> Tensor:
            return look(conditions.states, x, t)

        def pair(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            return alone(x, t), look(conditions.nothing, x, t)

        return guidance.guided(
            alone,
            pair,
            recipe.guidance or "none",
            recipe.guidance_scale or 1.0,
            recipe.guidance_interval or (0.0, 1.0),
        )

    @torch.inference_mode()
    def _finish(
        self,
        recipe: Recipe,
        asked: Recipe,
        plan: Plan | None,
        latent: Tensor,
        clock: Clock,
        run: Run | None = None,
    ) -> Take:
        """Decode a latent, bring it to -1 dBFS, and make the take."""
        samples = self._decode(latent, run)
        gain = normalizing_gain(samples.numpy())
        audio = Audio(samples.numpy() * gain, self.checkpoint.geometry.rate).on_grid()
        take = Take(
            recipe=recipe.but(task=recipe.task.with_ids()),
            audio=audio,
            latent=latent.float().numpy(),
            plan=plan,
            made_with=self._made_with(clock, gain),
            asked=asked.but(task=asked.task.with_ids()),
        )
        self._known[take.id] = take
        return take

    def _decode(self, latent: Tensor, run: Run | None) -> Tensor:
        """Samples `[channels, samples]` of a latent, tile by tile; stops between tiles."""
        with self.residency.on("vae") as vae:
            codec = Codec(vae, self.tier.tile_frames)
            windows = []
            total = codec.hop * latent.shape[0]
            for window in codec.stream(latent, run.stop_event if run else threading.Event()):
                windows.append(window.cpu())
                if run:
                    done = sum(w.shape[-1] for w in windows) / total
                    run.progress(1 - DECODE_SHARE + DECODE_SHARE * min(1.0, done))
            if run:
                run.check()
            return torch.cat(windows, dim=-1).float()

    def _store(self, take: Take, run: Run) -> None:
        """Put a take on disk the moment it exists; a full disk costs a sentence, never the take."""
        try:
            self.library.keep(take)
        except LibraryError as error:
            run.note(f"{error} The take is safe in memory: free some space, then call lab.keep(take).")

    # -- collaborators -------------------------------------------------------------------------------------------------

    def _build(self, part: str) -> torch.nn.Module:
        """Make a part; the VAE is slimmed on the way (same numbers, less work)."""
        module = self.checkpoint.build(part)
        return prepare_vae(module) if part == "vae" else module

    def _text_tokenizer(self) -> Any:
        self._tokenizer = self._tokenizer or self.checkpoint.tokenizer()
        return self._tokenizer

    def _made_with(self, clock: Clock, gain: float) -> dict[str, Any]:
        """What a take was made with, as plain data."""
        return {
            "checkpoint": self.checkpoint.name,
            "tier": self.tier.name,
            "threads": torch.get_num_threads(),
            "gain": gain,
            "seconds": {name: round(seconds, 4) for name, seconds in clock.seconds.items()},
            "versions": {
                name: version(name) for name in ("acestep_lab", "torch", "diffusers", "transformers")
            },
        }


def default_folder() -> Path:
    """Where takes are kept unless told otherwise: `ACESTEP_LAB_TAKES`, or this user's data folder."""
    from platformdirs import user_data_path

    return Path(os.environ.get("ACESTEP_LAB_TAKES") or user_data_path("acestep_lab") / "takes")


def _fresh(seed: int, frames: int, channels: int, index: int) -> Tensor:
    """New noise for step `index` of a stochastic solver."""
    return sampler.noises([seed], frames, channels, draw=index + 1)


@dataclass
class Clock:
    """Seconds spent per stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


class Pace:
    """How long renders took here, to say how long the next one will take."""

    def __init__(self) -> None:
        self._per_unit: list[float] = []

    def learn(self, recipe: Recipe, seconds: float) -> None:
        """Remember that this recipe took so many seconds."""
        self._per_unit = [*self._per_unit[-19:], seconds / self._units(recipe)]

    def expect(self, recipe: Recipe) -> float | None:
        """Seconds this recipe should take; None before the first run."""
        if not self._per_unit:
            return None
        return sorted(self._per_unit)[len(self._per_unit) // 2] * self._units(recipe)

    def _units(self, recipe: Recipe) -> float:
        """Work in seconds of music times looks at the DiT, decoding counted as four looks."""
        looks = (recipe.steps or 1) * (1 if recipe.guidance in (None, "none") else 2)
        return (recipe.seconds or DEFAULT_SECONDS) * (looks + 4)
