"""What a client of the REST door asks for: the body of `/release_task` as a frozen `RenderRequest`.

Knows the names ACE-Step's API and its clients use, and recipes; no server, no session. Each field is looked for in the body, then
in its `param_obj`, then in its metadata, under each of its names; the first that is not null counts. A number that is none
becomes the default, as those clients expect; a choice that no model here knows is refused in a sentence.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acestep_lab.engines import registry
from acestep_lab.errors import RecipeError, shown
from acestep_lab.files import parse_json
from acestep_lab.prompt import checks, languages, vocabulary
from acestep_lab.prompt.recipe import SECONDS_RANGE, Planning, Recipe
from acestep_lab.prompt.settings import V1_KNOBS
from acestep_lab.prompt.tasks import (
    MAX_SEED,
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Task,
    Text2Music,
)

FIELDS: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "caption"),
    "lyrics": ("lyrics",),
    "global_caption": ("global_caption",),
    "task_type": ("task_type", "taskType", "task"),
    "audio_duration": ("audio_duration", "duration", "audioDuration", "target_duration", "targetDuration"),
    "bpm": ("bpm",),
    "key_scale": ("key_scale", "keyscale", "keyScale", "key"),
    "time_signature": ("time_signature", "timesignature", "timeSignature"),
    "vocal_language": ("vocal_language", "vocalLanguage", "language"),
    "batch_size": ("batch_size",),
    "seed": ("seed", "manual_seeds"),
    "use_random_seed": ("use_random_seed", "useRandomSeed"),
    "inference_steps": ("inference_steps", "inferenceSteps", "infer_steps", "infer_step"),
    "guidance_scale": ("guidance_scale", "guidanceScale"),
    "shift": ("shift",),
    "use_adg": ("use_adg",),
    "guidance": ("guidance", "cfg_type"),
    "guidance_interval": ("guidance_interval",),
    "cfg_interval_start": ("cfg_interval_start",),
    "cfg_interval_end": ("cfg_interval_end",),
    "infer_method": ("infer_method", "inferMethod"),
    "sampler_mode": ("sampler_mode", "scheduler_type"),
    "velocity_norm_threshold": ("velocity_norm_threshold",),
    "velocity_ema_factor": ("velocity_ema_factor",),
    **V1_KNOBS,
    "retake_variance": ("retake_variance",),
    "retake_seed": ("retake_seed", "retake_seeds"),
    "audio2audio_enable": ("audio2audio_enable",),
    "ref_audio_strength": ("ref_audio_strength",),
    "edit_target_prompt": ("edit_target_prompt",),
    "edit_target_lyrics": ("edit_target_lyrics",),
    "edit_n_min": ("edit_n_min",),
    "edit_n_max": ("edit_n_max",),
    "edit_n_avg": ("edit_n_avg",),
    "left_extend_length": ("left_extend_length",),
    "right_extend_length": ("right_extend_length",),
    "latent_shift": ("latent_shift",),
    "latent_rescale": ("latent_rescale",),
    "timesteps": ("timesteps",),
    "reference_audio_path": (
        "reference_audio_path", "ref_audio_path", "referenceAudioPath", "refAudioPath",
        "ref_audio_input",
    ),
    "src_audio_path": (
        "src_audio_path", "ctx_audio_path", "sourceAudioPath", "srcAudioPath", "ctxAudioPath",
    ),
    "audio_cover_strength": ("audio_cover_strength", "audioCoverStrength", "cover_strength", "coverStrength"),
    "cover_noise_strength": ("cover_noise_strength", "coverNoiseStrength"),
    "repainting_start": ("repainting_start", "repaint_start"),
    "repainting_end": ("repainting_end", "repaint_end"),
    "repaint_mode": ("repaint_mode",),
    "repaint_strength": ("repaint_strength",),
    "repaint_latent_crossfade_frames": ("repaint_latent_crossfade_frames",),
    "repaint_wav_crossfade_sec": ("repaint_wav_crossfade_sec",),
    "chunk_mask_mode": ("chunk_mask_mode",),
    "track_name": ("track_name", "trackName"),
    "track_classes": ("track_classes", "trackClasses", "instruments"),
    "instruction": ("instruction",),
    "audio_code_string": ("audio_code_string", "audioCodeString", "audio_codes"),
    "thinking": ("thinking",),
    "use_format": ("use_format", "useFormat", "format"),
    "sample_mode": ("sample_mode", "sampleMode"),
    "sample_query": ("sample_query", "sampleQuery", "description", "desc"),
    "use_cot_caption": ("use_cot_caption", "cot_caption", "cot-caption"),
    "use_cot_language": ("use_cot_language", "cot_language", "cot-language"),
    "is_format_caption": ("is_format_caption",),
    "lm_temperature": ("lm_temperature",),
    "lm_cfg_scale": ("lm_cfg_scale",),
    "lm_top_k": ("lm_top_k",),
    "lm_top_p": ("lm_top_p",),
    "lm_repetition_penalty": ("lm_repetition_penalty",),
    "lm_negative_prompt": ("lm_negative_prompt",),
    "model": ("model", "model_name", "modelName", "dit_model", "ditModel"),
    "audio_format": ("audio_format",),
    "analysis_only": ("analysis_only", "analysisOnly"),
    "full_analysis_only": ("full_analysis_only", "fullAnalysisOnly"),
    "extract_codes_only": ("extract_codes_only", "extractCodesOnly"),
    "get_scores": ("get_scores", "getScores"),
    "get_lrc": ("get_lrc", "getLrc"),
    "score_scale": ("score_scale", "scoreScale"),
}  # fmt: skip
"""Each field with the names it goes by, the first that is given counts; camelCase only where clients write it so."""
WITHOUT_EFFECT: Mapping[str, str] = {
    "lm_model_path": "the planner is chosen with the checkpoint, by /v1/init",
    "lm_backend": "the planner has one way of running",
    "allow_lm_batch": "what can be planned together is",
    "constrained_decoding": "the planner's answers are always held to their form",
    "eta": "APG has one, which is its own",
    "momentum": "APG has one, which is its own",
    "lora_name_or_path": "an adapter is loaded by /v1/lora/load",
    "lora_weight": "an adapter's weight is set by /v1/lora/scale",
}
"""Fields that clients send, are understood, and change nothing here, with the reason."""
METAS = ("metas", "meta", "metadata", "user_metadata", "userMetadata")
"""Where a body keeps metadata; the first of them that is there counts."""
SOURCE_FILES, REFERENCE_FILES = ("src_audio", "ctx_audio"), ("reference_audio", "ref_audio")
"""Names of the files in a multipart body; they win over paths."""
FORMATS = {
    "mp3": "mp3", "wav": "wav", "wav16": "wav", "wav24": "wav24", "wav32": "wav32", "flac": "flac", "opus": "opus",
    "aac": "aac", "m4a": "aac", "ogg": "ogg",
}  # fmt: skip
"""Kinds of sound files as clients write them, and as they are called here."""
DEFAULT_BATCH, MOST_BATCH = 2, 8
SCORE_SCALE = 0.1
"""How sensitive the scores of words are, the smaller the more."""
MOST_IDS = 1000
"""Tasks asked about in one request."""
FRAMES_PER_SECOND, USUAL_CROSSFADE = 25.0, 10
"""Latent frames a second, and of the reference's own crossfade, which is left to the repaint's mode."""
TASKS = (
    "text2music", "repaint", "cover", "cover-nofsq", "extract", "lego", "complete", "retake", "extend", "edit", "audio2audio",
)  # fmt: skip
USUAL_KEPT, USUAL_ADDED = 0.5, 8.0
"""What audio2audio keeps of its sound, and a retake leaves of its noise, where nobody says; seconds that are added."""
_TRUE = {"1", "true", "yes", "y", "on"}
Place = Callable[[str], str]
"""What a source that a request names becomes: the file or id it may start from; RecipeError for any other."""


@dataclass(frozen=True)
class RenderRequest:
    """One task as asked for: what to make, how often, as which files, and what to ask the planner first."""

    work: str
    """render, analysis, full_analysis or codes: the latter three make no sound."""
    recipes: tuple[Recipe, ...] = ()
    """One for each song; sources are files or ids, seeds that are open None. Of an analysis of a sound there are none."""
    audio_format: str = "mp3"
    polish: bool = False
    """Whether the planner writes caption, lyrics and metadata out first."""
    sketch: str = ""
    """What the planner makes a whole song's words of first; "" where it is not asked to."""
    source: str | None = None
    """The file or id that is analysed."""
    model: str | None = None
    """The checkpoint; None: the one in use."""
    prompt: str = ""
    lyrics: str = ""
    uploads: tuple[Path, ...] = ()
    """Files that came with the request; they go when its task ends."""
    asked: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Metadata as asked for, by the names of results: bpm, duration, keyscale, timesignature."""
    scale: float | None = None
    """How sensitive the scores of its songs are; None: none are asked for."""
    lrc: bool = False
    """Whether its words are to be found in time."""

    @property
    def needs_planner(self) -> bool:
        """Whether the task cannot be done without a planner."""
        thinking = any(recipe.planning.thinking for recipe in self.recipes)
        return thinking or self.polish or bool(self.sketch) or self.work in ("analysis", "full_analysis")


def read_request(
    body: Mapping[str, object],
    uploads: Mapping[str, Path] | None = None,
    *,
    place: Place = str,
    models: Sequence[str] = (),
) -> RenderRequest:
    """A body of `/release_task`, and the files that came with it by the names of their parts; RecipeError in a sentence.

    `place` says what a named source becomes; `models` are the checkpoints that are open.
    """
    return _Body(checks.mapping("The body of a request", body), uploads or {}, place, models).request()


def task_ids(body: Mapping[str, object]) -> list[str]:
    """The ids that a body of `/query_result` names: a list, or the JSON text of one; RecipeError for anything else."""
    value = body.get("task_id_list")
    value = body.get("task_ids", body.get("task_id")) if value is None else value
    if isinstance(value, str):
        value = parse_json(value, "The list of tasks") if value.lstrip()[:1] == "[" else [value]
    if not isinstance(value, list) or not all(isinstance(one, str | int) for one in value):
        raise RecipeError('task_id_list names the tasks that are asked about: ["…", "…"], or that as JSON text.')
    if len(value) > MOST_IDS:
        raise RecipeError(f"Ask about at most {MOST_IDS} tasks at once, not {len(value)}.")
    return [str(one) for one in value if str(one)]


def nested(value: object, what: str) -> Mapping[str, object]:
    """An object, or the JSON text of one; {} for nothing and for other text, RecipeError for JSON that is broken."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = parse_json(value, what)
    return {str(name): one for name, one in value.items()} if isinstance(value, Mapping) else {}


class _Body:
    """One body's fields, found by what they mean."""

    def __init__(
        self, body: Mapping[str, object], uploads: Mapping[str, Path], place: Place, models: Sequence[str]
    ) -> None:
        metas = next((body[name] for name in METAS if body.get(name) is not None), None)
        self.layers = (body, nested(body.get("param_obj"), "param_obj"), nested(metas, "The metadata"))
        self.uploads, self.place, self.models = uploads, place, models

    # -- single fields

    def get(self, name: str) -> Any:
        """A field's value: of the first layer and alias that is not null; None where all are."""
        given = (layer.get(alias) for layer in self.layers for alias in FIELDS[name])
        return next((value for value in given if value is not None), None)

    def text(self, name: str) -> str:
        value = self.get(name)
        if isinstance(value, list | Mapping):
            raise RecipeError(f"{name} is text, not {checks.kind_of(value)}.")
        return "" if value is None else str(value)

    def word(self, name: str) -> str:
        """A choice in small letters; "" where it is left open."""
        found = self.text(name).strip()
        return "" if found.lower() in languages.AUTO else found.lower()

    def truth(self, name: str, default: bool = False) -> bool:
        value = self.get(name)
        return default if value is None else str(value).strip().lower() in _TRUE

    def number(self, name: str) -> float | None:
        """A finite number; None for anything else."""
        value = self.get(name)
        try:
            found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            return None
        return found if math.isfinite(found) else None

    def positive(self, name: str) -> float | None:
        """A number above 0; None for 0 and -1, which leave the choice open."""
        found = self.number(name)
        return found if found is not None and found > 0 else None

    def whole(self, name: str) -> int | None:
        """A positive whole number; None for anything else."""
        found = self.positive(name)
        return int(found) if found is not None and found == int(found) else None

    # -- the whole

    def request(self) -> RenderRequest:
        work = self._work()
        task, sketch, plans = self._task(work), "", False
        if task is not None:
            plans = task.plans
            sketch = self._sketch() if plans else ""
        return RenderRequest(
            work,
            () if task is None else self._recipes(task, sketch, 1 if work != "render" else self._count()),
            audio_format=self._format(),
            polish=plans and not sketch and self.truth("use_format"),
            sketch=sketch,
            source=None if work == "render" else self._source(),
            model=self._model(),
            prompt=self.text("prompt"),
            lyrics=self.text("lyrics"),
            uploads=tuple(self.uploads.values()),
            asked=self._asked(),
            scale=(self.positive("score_scale") or SCORE_SCALE) if self.truth("get_scores") else None,
            lrc=bool(self.truth("get_lrc")),
        )

    def _work(self) -> str:
        kinds = {"extract_codes_only": "codes", "full_analysis_only": "full_analysis", "analysis_only": "analysis"}
        work = next((kind for name, kind in kinds.items() if self.truth(name)), "render")
        if work in ("codes", "full_analysis") and self._source() is None:
            raise RecipeError("An analysis starts from a sound: send src_audio, or name it in src_audio_path.")
        return work

    def _count(self) -> int:
        count = self.whole("batch_size") or DEFAULT_BATCH
        if count > MOST_BATCH:
            raise RecipeError(f"batch_size is 1 to {MOST_BATCH}, not {shown(count)}; ask for the rest in another task.")
        return count

    def _format(self) -> str:
        word = self.word("audio_format").lstrip(".")
        if word and word not in FORMATS:
            raise RecipeError(f"audio_format is mp3, wav, wav24, wav32, flac, opus or aac, not {shown(word)}.")
        return FORMATS[word or "mp3"]

    def _model(self) -> str | None:
        """The open checkpoint of this name; None for any other, as those clients expect."""
        name = self.text("model").strip()
        if not name:
            return None
        meant = {name, name.removeprefix("acestep/"), registry.catalog_name(name)}
        return next((known for known in self.models if known in meant), None)

    def _sketch(self) -> str:
        query = self.text("sample_query").strip()
        if not query and self.truth("sample_mode"):
            query = self.text("prompt").strip() or "NO USER INPUT"
        return query

    def _seeds(self, count: int) -> list[int | None]:
        """A seed for each song; None where it is drawn: all of them unless use_random_seed is false."""
        found: list[int | None] = []
        if not self.truth("use_random_seed", not self._names_manual_seeds()):
            value = self.get("seed")
            items = value if isinstance(value, list) else str(value if value is not None else "").split(",")
            found = [_seed(item) for item in items]
        return (found + [None] * count)[:count]

    def _names_manual_seeds(self) -> bool:
        """Whether seeds are given as ACE-Step v1's clients do, who have no switch beside them."""
        return any(layer.get("manual_seeds") not in (None, "", []) for layer in self.layers)

    def _asked(self) -> dict[str, Any]:
        names = {"bpm": "bpm", "duration": "audio_duration", "keyscale": "key_scale", "timesignature": "time_signature"}
        return {ours: value for ours, name in names.items() if (value := self.get(name)) not in (None, "")}

    # -- recipes

    def _recipes(self, task: Task, sketch: str, count: int) -> tuple[Recipe, ...]:
        starts = any(name == "source" for name in task.sources())
        edits = isinstance(task, FlowEdit)
        first = Recipe(
            (self.text("edit_target_prompt") if edits else "") or self.text("prompt") or sketch,
            (self.text("edit_target_lyrics") if edits else "") or self.text("lyrics"),
            seconds=None if starts else self.positive("audio_duration"),
            bpm=self.whole("bpm"),
            keyscale=self.text("key_scale").strip() if self._is_said("key_scale") else None,
            timesignature=self.text("time_signature").strip() if self._is_said("time_signature") else None,
            language=self._language(sketch),
            task=task,
            checkpoint=self._model(),
            planning=self._planning(task),
            **self._sampling(task),
        )
        return tuple(first.replace(seed=seed) for seed in self._seeds(count))

    def _is_said(self, name: str) -> bool:
        """Whether a choice is made: neither open nor 0 nor -1."""
        return self.word(name) not in ("", "0", "-1", "unknown")

    def _language(self, sketch: str) -> str | None:
        """Without a word English, as upstream; the planner decides where it is asked and `use_cot_language` lets it."""
        if self.get("vocal_language") is None:
            asked = sketch or self.truth("thinking") or self.truth("use_format")
            return None if asked and self.truth("use_cot_language", True) else "en"
        return self.word("vocal_language") if self._is_said("vocal_language") else None

    def _planning(self, task: Task) -> Planning:
        writes = self.truth("use_cot_caption", True) and not self.truth("is_format_caption")
        has_codes = getattr(task, "codes", None) is not None
        top_p, top_k, cfg = self.positive("lm_top_p"), self.whole("lm_top_k"), self.number("lm_cfg_scale")
        return Planning(
            temperature=0.85 if (heat := self.number("lm_temperature")) is None else heat,
            top_p=0.9 if top_p is None else min(top_p, 1.0),
            top_k=top_k or 0,
            repetition_penalty=self.positive("lm_repetition_penalty") or 1.0,
            cfg_scale=2.5 if cfg is None else max(cfg, 1.0),
            negative_prompt=self.text("lm_negative_prompt") or "NO USER INPUT",
            writes_caption=writes,
            rewrite_caption=writes,
            thinking=self.truth("thinking") if task.plans and not has_codes else None,
        )

    def _sampling(self, task: Task) -> dict[str, Any]:
        """What is said of the sampling; what is not is the checkpoint's own."""
        low, high = self.number("cfg_interval_start") or 0.0, self.number("cfg_interval_end")
        ends = (low, 1.0 if high is None else high)
        knobs = {
            "steps": self.whole("inference_steps"),
            "shift": self.positive("shift"),
            "guidance_scale": None if (scale := self.number("guidance_scale")) is None or scale < 0 else scale,
            "guidance": "adg" if self.truth("use_adg") else self.word("guidance") or None,
            "guidance_interval": None if ends == (0.0, 1.0) else ends,
            "solver": self._solver(),
            "timesteps": self._row("timesteps"),
            "velocity_clamp": self.positive("velocity_norm_threshold"),
            "velocity_ema": self.positive("velocity_ema_factor"),
            "latent_shift": self.number("latent_shift"),
            "latent_rescale": self.positive("latent_rescale"),
            "instruction": self._instruction() or None,
            "global_caption": (self.text("global_caption") or None) if isinstance(task, Lego) else None,
        }
        return {name: value for name, value in (knobs | self._of_v1()).items() if value is not None}

    def _of_v1(self) -> dict[str, Any]:
        """What only ACE-Step v1 has."""
        numbers = (
            "omega", "guidance_share", "guidance_decay", "min_guidance_scale", "guidance_scale_text", "guidance_scale_lyric",
        )  # fmt: skip
        truths = ("erg_tag", "erg_lyric", "erg_diffusion")
        said = {name: self.number(name) for name in numbers}
        if said["guidance_share"] is None:
            said["guidance_share"] = self.number("guidance_interval")
        return {
            **said,
            **{name: None if self.get(name) is None else self.truth(name) for name in truths},
            "own_steps": self._row("own_steps"),
        }

    def _solver(self) -> str | None:
        method = "sde" if self.word("infer_method") == "sde" else self.word("sampler_mode") or self.word("infer_method")
        return {"ode": "euler"}.get(method, method) or None

    def _row(self, name: str) -> list[float] | None:
        """Numbers in a row, also written as text with commas."""
        value = self.get(name)
        items = re.split(r"[,;\s]+", value.strip(" []()")) if isinstance(value, str) else value
        if not isinstance(items, list) or not any(str(item).strip() for item in items):
            return None
        try:
            return [float(item) for item in items]
        except (TypeError, ValueError, OverflowError):
            return None  # as any bad number

    def _instruction(self) -> str:
        """An instruction of the client's own; "" for the usual ones, which follow from the task."""
        given = self.text("instruction").strip()
        usual = (re.escape(known).replace(r"\{\}", ".*") for known in vocabulary.INSTRUCTIONS.values())
        return "" if any(re.fullmatch(known, given) for known in usual) else given

    # -- tasks

    def _task(self, work: str) -> Task | None:
        if work in ("codes", "full_analysis") or (work == "analysis" and self._source() is not None):
            return None
        name = self.word("task_type").replace("_", "-") or "text2music"
        name = "audio2audio" if name == "text2music" and self.truth("audio2audio_enable") else name
        if name not in TASKS:
            raise RecipeError(f"{shown(name)} is no task; there are {', '.join(TASKS)}.")
        made: Task = getattr(self, "_" + name.replace("-", "_"))()
        return made

    def _file(self, names: Sequence[str], path: str) -> str | None:
        """What a request starts from: a file that came with it, or one it names."""
        sent = next((self.uploads[name] for name in names if name in self.uploads), None)
        if sent is not None:
            return str(sent)
        return self.place(text) if (text := self.text(path).strip()) else None

    def _source(self) -> str | None:
        return self._file(SOURCE_FILES, "src_audio_path")

    def _reference(self) -> str | None:
        return self._file(REFERENCE_FILES, "reference_audio_path")

    def _needed(self, task: str) -> str:
        found = self._source()
        if found is None:
            raise RecipeError(f"The task {task} starts from a sound: send src_audio, or name it in src_audio_path.")
        return found

    def _codes(self) -> tuple[int, ...] | None:
        value = self.get("audio_code_string")
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            value = value[0] if "audio_code" in value[0] else ",".join(value)
        return checks.codes(value) or None if value not in (None, "", []) else None

    def _region(self) -> Region | None:
        """The region, up to the longest song where the end is open; None where it is the whole."""
        start, end = self.number("repainting_start") or 0.0, self.positive("repainting_end")
        if not start and end is None:
            return None
        return Region(start, SECONDS_RANGE[1] if end is None else end)

    def _mask(self) -> str:
        """explicit or auto, which here is a word of its own."""
        return self.text("chunk_mask_mode").strip().lower() or "explicit"

    def _text2music(self) -> Task:
        return Text2Music(self._reference(), self._codes())

    def _cover(self, through_codes: bool = True) -> Task:
        codes = self._codes()
        source = None if codes else self._needed("cover")
        strength, noise = self.number("audio_cover_strength"), self.number("cover_noise_strength")
        return Cover(
            source, 1.0 if strength is None else strength, (noise or 0.0) if source else 0.0, through_codes, codes,
            self._reference(),
        )  # fmt: skip

    def _cover_nofsq(self) -> Task:
        return self._cover(through_codes=False)

    def _repaint(self) -> Task:
        frames, strength = self.number("repaint_latent_crossfade_frames"), self.number("repaint_strength")
        kept = frames is None or frames < 0 or frames == USUAL_CROSSFADE
        return Repaint(
            self._needed("repaint"),
            (self._region() or Region(0.0, SECONDS_RANGE[1]),),
            mode=self.word("repaint_mode") or "balanced",
            strength=0.5 if strength is None else strength,
            latent_crossfade=None if kept else float(frames or 0.0) / FRAMES_PER_SECOND,
            wave_crossfade=self.positive("repaint_wav_crossfade_sec"),
            mask=self._mask(),
        )

    def _audio2audio(self) -> Task:
        """A cover that begins from a sound of which a share is kept."""
        source, kept = self._source() or self._reference(), self.number("ref_audio_strength")
        if source is None:
            raise RecipeError("audio2audio starts from a sound: send ref_audio, or name it in ref_audio_input.")
        return Cover(source, noise_strength=USUAL_KEPT if kept is None else kept)

    def _retake(self) -> Task:
        """A take again, its noise turned towards that of a second seed, which is drawn where none is named."""
        seeds, variance = self.get("retake_seed"), self.number("retake_variance")
        found = _seed(seeds[0] if isinstance(seeds, list) and seeds else str(seeds).split(",")[0])
        towards = secrets.randbelow(2**32) if found is None else found
        return Retake(self._needed("retake"), USUAL_KEPT if variance is None else variance, towards)

    def _extend(self) -> Task:
        """More music before or after a sound: as seconds, or as a region that goes beyond its length."""
        start, end, length = (self.number(name) for name in ("repainting_start", "repainting_end", "audio_duration"))
        before, after = self.number("left_extend_length"), self.number("right_extend_length")
        before = max(0.0, -(start or 0.0)) if before is None else before
        if after is None and end is not None and length is not None:
            after = max(0.0, end - length)
        usual = 0.0 if before else USUAL_ADDED
        return Extend(self._needed("extend"), before, usual if after is None else after)

    def _edit(self) -> Task:
        """A sound moved to other words (FlowEdit): `prompt` and `lyrics`, or the goal's, are those it is moved to."""
        goal = self.get("edit_target_prompt"), self.get("edit_target_lyrics")
        told = (self.text("prompt"), self.text("lyrics")) if any(goal) else ("", "")
        ends = (self.number("edit_n_min") or 0.0, 1.0 if (n_max := self.number("edit_n_max")) is None else n_max)
        return FlowEdit(self._needed("edit"), *told, *ends, self.whole("edit_n_avg") or 1)

    def _extract(self) -> Task:
        return Extract(self._needed("extract"), self._stems("extract")[0])

    def _lego(self) -> Task:
        return Lego(self._needed("lego"), self._stems("lego")[0], self._region(), self._mask())

    def _complete(self) -> Task:
        return Complete(self._needed("complete"), tuple(self._stems("complete")))

    def _stems(self, task: str) -> list[str]:
        """The stems a task is about: of `complete` the classes first, of the others the one track."""
        names = ("track_classes", "track_name") if task == "complete" else ("track_name", "track_classes")
        for name in names:
            value = self.get(name)
            items = re.split(r"\s*[,|;]\s*", value.strip()) if isinstance(value, str) else value
            if isinstance(items, list) and (found := [str(item).strip() for item in items if str(item).strip()]):
                return found
        raise RecipeError(f"The task {task} needs the name of a stem in {names[0]}: {', '.join(vocabulary.STEMS[:4])}.")


def _seed(item: object) -> int | None:
    """A seed that is one; None for -1 and what is no whole number."""
    text = str(item).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= MAX_SEED else None
