"""What may be asked, as fields: the tables of all there are, and a Form, which is what one checkpoint lets be asked.

Knows no browser and no model, but for what its capabilities say. A field's name is that of the recipe it ends in: "steps",
"planning.temperature", "Cover.strength".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from acestep_lab.engines.base import Capabilities
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.recipe import Planning
from acestep_lab.prompt.sampling import (
    DCW_MODES,
    GUIDANCE,
    GUIDANCE_V1,
    SOLVERS,
    SOLVERS_V1,
    FlowSampling,
    FlowSamplingV1,
    Kind,
    TokenSampling,
)
from acestep_lab.prompt.tasks import MASKS, REPAINT_MODES
from acestep_lab.ui.fields import Field

_SCHEDULES = (
    "1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125",
    "1, 0.97, 0.93, 0.88, 0.8, 0.68, 0.5, 0.25",
    "1, 0.75, 0.55, 0.4, 0.28, 0.18, 0.1, 0.04",
)
"""Eight steps spread evenly, near the noise (large shapes), near the song (detail)."""

METADATA = (
    Field("bpm", "Tempo", "whole", "Beats in a minute, 30 to 300.", unit="beats per minute", tries=(80, 110, 140)),
    Field("keyscale", "Key", "choice", "The scale the song stands in.",
          tuple(f"{n} {m}" for m in ("major", "minor") for n in vocabulary.NOTES),
          tries=("C major", "A minor", "E minor")),
    Field("timesignature", "Meter", "choice", "Beats in a bar; 6 means 6/8.", vocabulary.TIMESIGNATURES,
          tries=("3", "4", "6")),
)  # fmt: skip
SONG = (
    Field("seconds", "Length", "number", "How long the music lasts.", unit="seconds", tries=(10, 20, 40)),
    Field("seed", "Seed", "whole", "The same seed and words give the same take.", unit=""),
)
FLOW = (
    Field("steps", "Steps", "whole", "How often the model looks at the noise; more is slower and cleaner.",
          group="Sampling"),
    Field("shift", "Shift", "number", "Above 1, more of the steps are spent on the large shapes.", group="Sampling"),
    Field("solver", "Solver", "choice", "How one step follows from the last.", SOLVERS, group="Sampling"),
    Field("timesteps", "Own schedule", "numbers",
          "The steps themselves, from 1 (noise) down towards 0, with commas between; overrides steps and shift.",
          group="Sampling", tries=_SCHEDULES),
    Field("velocity_clamp", "Clamp", "number",
          "Holds steps that leap too far: the largest pull, as a multiple of the noise; empty is off.",
          group="Sampling", tries=(0.8, 1.2, 2.0)),
    Field("velocity_ema", "Momentum", "number",
          "How much of the last step's pull goes on into this one, 0 to 0.99; empty is off.",
          group="Sampling", tries=(0.1, 0.3, 0.6)),
    Field("guidance", "Guidance", "choice", "How the words are made to count more.", GUIDANCE, group="Guidance"),
    Field("guidance_scale", "Guidance scale", "number",
          "How much more the words count; distilled models need none.", group="Guidance"),
    Field("guidance_interval", "Guidance from–to", "span",
          "Guidance acts only between these times, 0 (finished song) to 1 (noise).", group="Guidance",
          tries=(("0.0", "0.5"), ("0.25", "0.75"), ("0.5", "1.0"))),
    Field("dcw", "Wavelet correction", "choice",
          "Corrects every step's loudness and detail (DCW), in low bands, high bands or both.", DCW_MODES,
          group="Guidance", tries=("off", "low", "double")),
    Field("dcw_low", "Correction, low", "number", "How strongly the low bands are corrected.", group="Guidance",
          usual=0.05, tries=(0.02, 0.05, 0.1)),
    Field("dcw_high", "Correction, high", "number", "How strongly the high bands are corrected.", group="Guidance",
          usual=0.02, tries=(0.01, 0.02, 0.05)),
    Field("latent_rescale", "Latent times", "number",
          "The finished latent is multiplied by this before it is decoded; 1 leaves it.", group="Sound", usual=1.0,
          tries=(0.9, 1.0, 1.1)),
    Field("latent_shift", "Latent plus", "number",
          "Added to the finished latent before it is decoded; 0 leaves it.", group="Sound", usual=0.0,
          tries=(-0.1, 0.0, 0.1)),
    Field("instruction", "Instruction", "long",
          "The line the music model reads before the words, instead of the task's own.", group="Words"),
    Field("global_caption", "Whole song", "long",
          "What the whole song is, where the caption speaks of one part; for checkpoints taught both.", group="Words"),
)  # fmt: skip
TOKENS = (
    Field("temperature", "Temperature", "number", "Above 1 bolder, below 1 safer; 0 takes the likeliest token.",
          group="Sampling"),
    Field("top_k", "Top k", "whole", "Only so many of the likeliest tokens may be drawn; 0 is all of them.",
          group="Sampling"),
    Field("top_p", "Top p", "number",
          "Only the likeliest tokens that together have this probability; 1 is all.", group="Sampling",
          tries=(0.8, 0.9, 1.0)),
    Field("guidance_scale", "Guidance scale", "number",
          "How much more the words count than no words; 1 is no guidance.", group="Guidance"),
)  # fmt: skip
FLOW_V1 = (
    Field("steps", "Steps", "whole", "How often the model looks at the noise: 27 is fast, 40 balanced, 60 best.",
          group="Sampling", tries=(27, 40, 60)),
    Field("shift", "Shift", "number", "Above 1, more of the steps are spent on the large shapes.", group="Sampling"),
    Field("solver", "Solver", "choice", "How one step follows from the last.", SOLVERS_V1, group="Sampling"),
    Field("own_steps", "Own steps", "numbers",
          "Only these steps of a finer schedule, counted from 1, with commas between; overrides steps.", group="Sampling"),
    Field("omega", "Granularity", "number",
          "Above 0 every step reaches a little further, below 0 less far; −100 to 100.", group="Sampling",
          tries=(-10, 0, 10)),
    Field("guidance", "Guidance", "choice", "How the words are made to count more.", GUIDANCE_V1, group="Guidance"),
    Field("guidance_scale", "Guidance scale", "number", "How much more the words count; 0 and 1 are no guidance.",
          group="Guidance"),
    Field("guidance_share", "Guided steps", "number",
          "The share of the steps, in their middle, in which guidance acts: 0 to 1.", group="Guidance",
          tries=(0.3, 0.5, 1.0)),
    Field("guidance_decay", "Guidance decay", "number",
          "How far guidance falls to the smallest over these steps: 0 not at all, 1 all the way.", group="Guidance",
          tries=(0.0, 0.5, 1.0)),
    Field("min_guidance_scale", "Smallest guidance", "number", "The scale that guidance falls to.", group="Guidance"),
    Field("guidance_scale_text", "Guidance of caption", "number",
          "With the next one, both above 1: caption and lyrics are guided apart, such as 5 and 1.5; 0 together.",
          group="Guidance", tries=(0.0, 5.0, 8.0)),
    Field("guidance_scale_lyric", "Guidance of lyrics", "number",
          "With the one before, both above 1: caption and lyrics are guided apart; 0 together.", group="Guidance",
          tries=(0.0, 1.5, 3.0)),
    Field("erg_tag", "Weak caption", "flag",
          "On: guidance leads away from a caption that is hardly read (ERG); off: from none.", group="Guidance"),
    Field("erg_lyric", "Weak lyrics", "flag",
          "On: guidance leads away from lyrics that are hardly read (ERG); off: from none.", group="Guidance"),
    Field("erg_diffusion", "Weak model", "flag",
          "On: guidance leads away from a music model that hardly listens (ERG); off: from a whole one.",
          group="Guidance"),
)  # fmt: skip
FINISHING = (
    Field("normalize", "Level", "flag", "Brings the song's peak to the level below; off leaves it as it comes.",
          group="Sound"),
    Field("peak_db", "Peak", "number", "The level the loudest sample is brought to.", unit="dBFS", group="Sound",
          usual=-1.0, tries=(-6.0, -3.0, -1.0)),
    Field("fade_in", "Fade in", "number", "From silence at the start, in seconds.", unit="seconds", group="Sound",
          usual=0.0, tries=(0.0, 0.5, 2.0)),
    Field("fade_out", "Fade out", "number", "To silence at the end, in seconds.", unit="seconds", group="Sound",
          usual=0.0, tries=(0.0, 2.0, 5.0)),
)  # fmt: skip
_PLANNER = (
    Field("thinking", "Thinking", "flag",
          "The planner writes tempo, key and audio codes before the music; Auto: wherever it can."),
    Field("temperature", "Planner temperature", "number", "Above 1 bolder plans, below 1 safer; 0 the likeliest.",
          tries=(0.6, 0.85, 1.1)),
    Field("top_p", "Planner top p", "number", "Only the likeliest words that together have this probability.",
          tries=(0.7, 0.9, 1.0)),
    Field("top_k", "Planner top k", "whole", "Only so many of the likeliest words may be drawn; 0 is all.",
          tries=(0, 20, 100)),
    Field("repetition_penalty", "Against repetition", "number", "Above 1, the planner repeats itself less.",
          tries=(1.0, 1.1, 1.3)),
    Field("cfg_scale", "Planner guidance", "number", "How firmly the codes follow the caption; 1 is off.",
          tries=(1.0, 2.0, 3.0)),
    Field("negative_prompt", "Negative prompt", "long",
          "What the planner steers away from, such as: muffled, noisy, speech.",
          tries=("NO USER INPUT", "low quality, muffled, noisy", "speech, applause, crowd")),
    Field("writes_caption", "Planner's own caption", "flag", "The planner words the music for itself before the codes."),
    Field("rewrite_caption", "Use its caption", "flag",
          "The planner's caption takes the place of yours for the music model."),
    Field("legacy_negative_layout", "Old negative layout", "flag",
          "The negative prompt is laid out as in the planner's first release; only to repeat old songs."),
)  # fmt: skip
_USUAL_PLANNING = {f.name: f.default for f in fields(Planning)}
PLANNING = tuple(
    replace(one, name=f"planning.{one.name}", group="Planning", usual=_USUAL_PLANNING[one.name]) for one in _PLANNER
)
SAMPLING: Mapping[Kind, tuple[Field, ...]] = {
    FlowSampling: FLOW,
    TokenSampling: TOKENS,
    FlowSamplingV1: FLOW_V1,
}
"""The sampling's fields by the kind of value a checkpoint's recipes have."""
_STEMS = tuple(vocabulary.STEMS)


@dataclass(frozen=True)
class TaskForm:
    """One task as a form: only its own fields."""

    name: str
    title: str
    hint: str
    fields: tuple[Field, ...] = ()
    needs_source: bool = True


def _reference(what: str) -> Field:
    return Field("reference", "Reference sound", "sound", what, group="Sound")


def _mask(what: str) -> Field:
    return Field("mask", "Mask", "choice", what, MASKS, group="Sampling", usual="explicit")


_CODES = "Music follows these audio codes, five a second; paste them, or take them from the plan or the take in hand."
_CROSSFADE = Field("wave_crossfade", "Crossfade", "number", "Seconds in which old and new sound meet at each seam.",
                   unit="seconds", group="Sound", tries=(0.01, 0.05, 0.5))  # fmt: skip
TASK_FORMS = (
    TaskForm("Text2Music", "From words", "A new piece from what you write.", (
        _reference("The new piece leans on the timbre of this take or sound."),
        Field("codes", "Audio codes", "codes", _CODES, group="Sound"),
    ), needs_source=False),
    TaskForm("Repaint", "Repaint", "Mark regions on the waveform; mode and strength are there.", (
        Field("mode", "Mode", "choice", "How freely the inside may leave the old music.", REPAINT_MODES,
              default="balanced"),
        Field("strength", "Strength", "share", "0 keeps much of the old music, 1 lets go of it.", default=0.5,
              tries=(0.2, 0.5, 0.9)),
        Field("injection", "Hold the outside", "number",
              "For this share of the steps the outside is held at the old music; Auto follows mode and strength.",
              group="Guidance", tries=(0.2, 0.5, 1.0)),
        Field("latent_crossfade", "Crossfade of latents", "number",
              "Seconds in which old and new latents meet at each border.", unit="seconds", group="Sound",
              tries=(0.0, 0.5, 1.0)),
        _CROSSFADE,
        _mask("How the model is told what is new: by the region, or by ones everywhere (auto)."),
    )),
    TaskForm("Extend", "Extend", "More music before or after the take; the take itself stays.", (
        Field("before", "Before", "number", "Seconds of new music in front.", unit="seconds", usual=0.0,
              tries=(2.0, 4.0, 8.0)),
        Field("after", "After", "number", "Seconds of new music behind; 8 where nothing is said.", unit="seconds",
              usual=8.0, tries=(4.0, 8.0, 16.0)),
        _CROSSFADE,
    )),
    TaskForm("Cover", "Cover", "The take's rhythm and harmony in another sound.", (
        Field("strength", "Follow the take", "share", "For this share of the steps the take leads, then the words.",
              default=1.0, tries=(0.3, 0.6, 1.0)),
        Field("noise_strength", "Keep its sound", "share", "Above 0, more of the take's own sound stays.", default=0.0,
              tries=(0.0, 0.3, 0.6)),
        Field("through_codes", "Through codes", "flag",
              "On: only rhythm and harmony are heard; off: the raw sound, with its timbre.", group="Sound"),
        _reference("The cover leans on the timbre of this take or sound."),
        Field("codes", "Codes instead", "codes", "The cover follows these audio codes instead of the take in hand.",
              group="Sound"),
    )),
    TaskForm("Retake", "Vary", "The same piece, turned a little towards another seed.", (
        Field("variance", "Distance", "share", "0 is the same take, 1 another one.", default=0.3,
              tries=(0.1, 0.3, 0.6), rest="similarity"),
        Field("seed", "Towards seed", "whole", "The seed the take is turned towards.", default=1, tries=(1, 2, 3)),
    )),
    TaskForm("Extract", "Extract a stem", "One instrument of the take, alone.", (
        Field("stem", "Stem", "choice", "Which instrument.", _STEMS, default="drums", tries=("drums", "bass", "vocals")),
    )),
    TaskForm("Lego", "Add a stem", "A new instrument that fits the take.", (
        Field("stem", "Stem", "choice", "Which instrument.", _STEMS, default="bass", tries=("drums", "bass", "guitar")),
        Field("region", "Only from–to", "span", "Where the instrument plays; empty: all along.", unit="seconds"),
        _mask("How the model is told where the stem plays: by the region, or by ones everywhere (auto)."),
    )),
    TaskForm("Complete", "Complete", "The take with accompaniment around it.", (
        Field("stems", "Stems", "stems", "Which instruments to add.", _STEMS, default=("drums", "bass"),
              tries=(("drums",), ("drums", "bass"), ("drums", "bass", "keyboard"))),
    )),
    TaskForm("FlowEdit", "Change the words", "The take moved from its old words to those below.", (
        Field("caption", "The take's words", "text", "What describes the take as it is; empty: its own caption.",
              default=""),
        Field("n_min", "From", "share", "Share of the schedule at which the change begins.", default=0.0,
              tries=(0.0, 0.2, 0.4)),
        Field("n_max", "To", "share", "Share of the schedule at which it ends.", default=1.0, tries=(0.6, 0.8, 1.0)),
        Field("n_avg", "Averaged", "whole", "How many noises are averaged; more is slower and steadier.",
              group="Sampling", usual=1, tries=(1, 2, 4)),
        Field("lyrics", "The take's lyrics", "long", "What is sung in the take as it is; empty: its own lyrics.",
              group="Words", default=""),
    )),
)  # fmt: skip
FORMS = {form.name: form for form in TASK_FORMS}
PLAIN_FIELDS = {f.name: f for f in (*METADATA, *SONG, *FLOW, *TOKENS, *FINISHING, *PLANNING)}
PLAIN_FIELDS |= {f.name: f for f in FLOW_V1 if f.name not in PLAIN_FIELDS}
TASK_FIELDS = {f"{form.name}.{f.name}": f for form in TASK_FORMS for f in form.fields}
"""The fields of every task as "Task.field"."""


@dataclass(frozen=True)
class Form:
    """What can be asked of one checkpoint: only the fields it has, with the choices and numbers it allows."""

    metadata: tuple[Field, ...] = METADATA
    song: tuple[Field, ...] = SONG
    sampling: Kind = FlowSampling
    tasks: tuple[TaskForm, ...] = TASK_FORMS
    fixed: frozenset[str] = frozenset()
    """Fields of tasks that it has no use for, as "Extend.before"."""
    presets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Settings that come with the checkpoint's family, by name."""
    codes: bool = True
    """Whether a cover follows the source's codes."""
    plans: bool = True
    """Whether there is a planner to ask."""

    @classmethod
    def of(cls, can: Capabilities, plans: bool | None = None) -> Form:
        """The form of a checkpoint; `plans` False where its planner has no room on this machine."""
        return cls(
            metadata=tuple(f for f in (_offered(f, can) for f in METADATA) if f is not None),
            song=tuple(_lasting(f, can) if f.name == "seconds" else f for f in SONG),
            sampling=can.sampling,
            tasks=tuple(replace(form, fields=_task_fields(form, can)) for form in TASK_FORMS),
            fixed=can.fixed,
            presets=can.presets,
            codes=can.codes,
            plans=can.plans if plans is None else plans,
        )

    @property
    def knobs(self) -> tuple[Field, ...]:
        """The fields of how it samples."""
        return SAMPLING[self.sampling]

    @property
    def planning(self) -> tuple[Field, ...]:
        """The fields of the planner, where there is one."""
        return PLANNING if self.plans else ()

    @property
    def plain(self) -> tuple[Field, ...]:
        """All fields but those of tasks."""
        return (*self.metadata, *self.song, *self.knobs, *self.planning, *FINISHING)

    @property
    def by_name(self) -> dict[str, Field]:
        """The same by their names."""
        return {field.name: field for field in self.plain}

    def task(self, name: str) -> TaskForm:
        """The form of a task by its class name."""
        return next(form for form in self.tasks if form.name == name)

    def of_task(self, name: str) -> dict[str, Field]:
        """The fields of a task by their names in a draft, as "Cover.strength"."""
        return {f"{name}.{field.name}": field for field in self.task(name).fields}


def _offered(field: Field, can: Capabilities) -> Field | None:
    """A field of the metadata as a checkpoint understands it; None where it does not."""
    words = can.vocabulary
    if field.name == "bpm":
        if words.bpm is None:
            return None
        return replace(field, hint=f"Beats in a minute, {words.bpm[0]} to {words.bpm[1]}.", within=words.bpm)
    known = words.keyscales if field.name == "keyscale" else words.timesignatures
    options = tuple(option for option in field.options if option in known)
    return replace(field, options=options) if options else None


def _lasting(field: Field, can: Capabilities) -> Field:
    low, high = can.seconds
    return replace(field, hint=f"How long the music lasts, {low:g} to {high:g} seconds.", within=can.seconds)


def _task_fields(form: TaskForm, can: Capabilities) -> tuple[Field, ...]:
    """A task's fields without those the checkpoint has no use for, and with the stems it knows."""
    found = [_as_usual(f, can.usual.get(f"{form.name}.{f.name}")) for f in form.fields]
    found = [f for f in found if f"{form.name}.{f.name}" not in can.fixed]
    if not can.codes:
        found = [f for f in found if f.name not in ("codes", "through_codes")]
    return tuple(_known_stems(f, can.vocabulary.stems) if f.name in ("stem", "stems") else f for f in found)


def _as_usual(field: Field, usual: float | None) -> Field:
    """A field that is something else where nothing is said than with other checkpoints."""
    return field if usual is None else replace(field, default=usual, tries=(0.3, 0.5, 0.7))


def _known_stems(field: Field, stems: tuple[str, ...]) -> Field:
    """A field that chooses stems, with those a checkpoint knows."""
    usual = field.default if isinstance(field.default, tuple) else (field.default,)
    default = tuple(stem for stem in usual if stem in stems) or stems[:1]
    return replace(field, options=stems, default=default if field.kind == "stems" else next(iter(default), None))


WHOLE = Form()
"""The form of a flow model that can do everything; for an editor that stands alone."""
