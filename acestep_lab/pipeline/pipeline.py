"""A checkpoint that is called with words and gives music, as pipelines of diffusers do, over any session.

Knows sessions by their protocol; torch comes with the session that `load` opens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, overload

from acestep_lab.errors import RecipeError, shown
from acestep_lab.pipeline import arguments, watching
from acestep_lab.pipeline.result import Result
from acestep_lab.pipeline.watching import Callbacks
from acestep_lab.prompt import checks
from acestep_lab.prompt.checks import Place

if TYPE_CHECKING:
    from acestep_lab.jobs.kinds import RenderRun
    from acestep_lab.session_like import SessionLike
    from acestep_lab.takes.take import Take

OPTIONS = ("library", "tier", "precision", "lm", "device", "dtype")
"""What `load` hands on to `Session.open`."""


class Pipeline:
    """A checkpoint to be called: `pipe("slow dub techno", duration=30, seed=42).save("dub.mp3")`.

    `session` is any session: one here, one far away, a stand-in. It stays its owner's to close, unless `owned`.
    """

    def __init__(self, session: SessionLike, *, owned: bool = False) -> None:
        self.session = session
        """All other verbs: repaint, cover, stems, … of the same takes in the same library."""
        self._owned = owned
        self._interrupt = False

    @classmethod
    def from_pretrained(cls, checkpoint: Place = "pocket", **options: Any) -> Self:
        """As `load`, by the name that diffusers has for it; raises what `load` raises."""
        return cls(_opened(checkpoint, options), owned=True)

    @overload
    def __call__(self, prompt: str | None = None, lyrics: str | None = None, **asked: Any) -> Result: ...
    @overload
    def __call__(
        self, prompt: list[str] | tuple[str, ...], lyrics: str | list[str] | None = None, **asked: Any
    ) -> list[Result]: ...
    def __call__(self, prompt: Any = None, lyrics: Any = None, *more: object, **asked: Any) -> Result | list[Result]:
        """Make music of a prompt and wait for it; of a list of prompts, a list of results.

        ::

            pipe(prompt, lyrics, duration=30, num_inference_steps=27, guidance_scale=4.0, seed=42)

        `duration` is in seconds, `seed` one number or a list with one for each waveform; a torch.Generator as `generator`
        counts by the seed it began with. `num_waveforms_per_prompt` makes several, their seeds following each other.
        `scheduler` is euler, heun, pingpong or dpmpp2m, `negative_prompt` what the planner keeps away from. Every field and
        knob of a `Recipe` goes by its own name (bpm, keyscale, language, shift, task, …), and the names that ACE-Step's
        pipelines have (audio_duration, infer_step, manual_seeds, scheduler_type, …) are understood.

        `callback_on_step_end(pipe, index, t, tensors)` is called on this thread after every step of every waveform, with
        "latents" and "estimate" as `callback_on_step_end_tensor_inputs` names them; it watches. An error in it, and
        `pipe.interrupt()`, stop the run. The older `callback(index, t, latents)` with `callback_steps` works too.

        Raises RecipeError, before any work, for an unknown name, a wrong type, and what the checkpoint does not have;
        Stopped where it was interrupted.
        """
        if more:
            raise RecipeError(
                "A pipeline takes the prompt and the lyrics in this order; the rest goes by name: duration=30."
            )
        callbacks = Callbacks.read(asked)
        asked = {name: value for name, value in asked.items() if name not in watching.NAMES}
        wanted = arguments.read({"prompt": prompt, "lyrics": lyrics, **asked}, self._model())
        self.session.jobs.refuse_to_wait()
        self._interrupt = False
        takes = self._takes(self.session.start(wanted.recipes), callbacks)
        results = [Result(tuple(takes[at : at + wanted.each])) for at in range(0, len(takes), wanted.each)]
        return results if wanted.is_list else results[0]

    def interrupt(self) -> None:
        """Stop the call under way within a step: for a callback. The call then raises Stopped."""
        self._interrupt = True

    @property
    def sample_rate(self) -> int:
        """Samples per second of its music, in Hz."""
        return self.session.capabilities.latent.rate

    def close(self) -> None:
        """Close the session that `load` opened; one that was handed in stays open."""
        if self._owned:
            self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        can = self.session.capabilities
        return f"<Pipeline {self.session.name!r}: {can.family}, {can.latent.rate} Hz>"

    def _model(self) -> arguments.Model:
        can = self.session.capabilities
        return arguments.Model(self.session.name, can.family, can.sampling.names(), self.session.has_planner)

    def _takes(self, run: RenderRun, callbacks: Callbacks) -> list[Take]:
        """Wait for a run's takes, telling callbacks of its steps; whatever they raise stops the run."""
        if not callbacks:
            return run.takes()
        try:
            for step in run:
                callbacks.tell(self, step)
                if self._interrupt:
                    break
        finally:
            if not run.over:
                run.stop()
        return run.takes()


def load(checkpoint: Place = "pocket", **options: Any) -> Pipeline:
    """Open a checkpoint as a pipeline: `load("pocket")`, "turbo", "musicgen-small", a folder or a hub id.

    ::

        with load("pocket") as pipe:
            result = pipe("slow dub techno, tape hiss", duration=30, num_inference_steps=27, seed=42)
            result.save("dub.mp3")

    `options` are those of `Session.open`: library (a Library or its folder; your own where none is named), device, dtype
    (or torch_dtype), precision, lm, tier. No weights are read yet. Raises CheckpointError where there is no such checkpoint,
    MachineError for a device that is not there, RecipeError for an option that there is not.
    """
    return Pipeline.from_pretrained(checkpoint, **options)


def _opened(checkpoint: Place, options: Mapping[str, Any]) -> SessionLike:
    """A session of our own with a checkpoint."""
    options = dict(options)
    if "torch_dtype" in options:
        if "dtype" in options:
            raise RecipeError("dtype is said twice, also as torch_dtype; say it once.")
        options["dtype"] = options.pop("torch_dtype")
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise RecipeError(f"load has no option {shown(unknown[0])}.{checks.nearest(unknown[0], OPTIONS)}")
    from acestep_lab.session import Session

    opened: Any = Session.open(checkpoint, **{name: value for name, value in options.items() if value is not None})
    session: SessionLike = opened
    return session
