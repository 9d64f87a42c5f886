"""Settings files of other tools read as a recipe: each field under every name it goes by, each "auto" in every spelling.

Knows the names of ACE-Step's Gradio page, REST API, examples and command line, of ace-step-ui, and of our own takes; no model. The
names and defaults are those of the published inference code (README, INFERENCE.md and API.md of ACE-Step 1.5) and its clients.
"""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date, time
from pathlib import Path
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.files import decode_text, parse_json, read_bytes
from acestep_lab.prompt import checks, languages, vocabulary
from acestep_lab.prompt.recipe import FLAT_PLANNING, SECONDS_RANGE, Planning, Recipe
from acestep_lab.prompt.sampling import KNOBS, FlowSamplingV1
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Retake,
    Source,
    Task,
    Text2Music,
    task_from_json,
)

FRAMES_PER_SECOND = 25.0
"""Latent frames a second of ACE-Step 1.5, in which the reference counts a crossfade."""


USUAL_VARIANCE = 0.5
"""`retake_variance` of ACE-Step v1, where a file leaves it out."""
_FIRST_STRENGTH = 0.05
"""`dcw_scaler` of the reference, where a file leaves it out."""


class SettingsWarning(UserWarning):
    """Something in a settings file was not understood, or means something else here."""


@dataclass(frozen=True)
class Settings:
    """What a settings file says: a recipe, further seeds, and what could not be understood."""

    recipe: Recipe
    seeds: tuple[int, ...] = ()
    """All seeds it names; the first is the recipe's. `lab.vary(recipe, settings.seeds)` makes a take of each."""
    ignored: tuple[str, ...] = ()
    """Names of fields nobody here knows."""
    remarks: tuple[str, ...] = ()
    """A sentence for each thing worth knowing, the ignored names included."""

    def warn(self) -> None:
        """Say the remarks as warnings, at the caller's caller's line."""
        for remark in self.remarks:
            warnings.warn(remark, SettingsWarning, stacklevel=3)


# -- files -------------------------------------------------------------------------------------------------------------

_SOUNDS = {".flac", ".ogg", ".opus", ".wav", ".mp3"}


def read(file: str | os.PathLike[str], source: Source | None = None) -> Settings:
    """The settings in a JSON or TOML file, or inside one of our sound files; RecipeError where there are none.

    `source` is the sound a cover, repaint and the like start from, in place of the file's own path.
    """
    if not checks.is_a(file, str, os.PathLike):
        raise RecipeError(f"Settings are read from a file's path, not from {checks.kind_of(file)}.")
    path = Path(os.path.expanduser(checks.place("The settings file", file)))
    if path.suffix.lower() in _SOUNDS:
        return understand(_inside(path), source)
    named = f"The settings file {shown(path.name)}"
    text = decode_text(read_bytes(path, "The settings file"), named)
    if path.suffix.lower() == ".toml":
        return understand(_toml(text, named), source)
    return understand(parse_json(text, named), source)


def _toml(text: str, named: str) -> dict[str, object]:
    try:
        return {name: _dated(value) for name, value in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as problem:
        raise RecipeError(f"{named} is not TOML ({str(problem)[:80]}).") from None


def _dated(value: object) -> object:
    """TOML's dates and times as text, as JSON has them."""
    if isinstance(value, dict):
        return {name: _dated(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_dated(item) for item in value]
    return value.isoformat() if isinstance(value, date | time) else value


def _inside(path: Path) -> object:
    """The manifest in a sound file's comment, or in the .json beside it."""
    import soundfile

    read_bytes(path, "The sound file", most=2**31)[:0]
    try:
        with soundfile.SoundFile(str(path)) as opened:
            comment = opened.comment or ""
    except (soundfile.LibsndfileError, ValueError) as problem:
        raise RecipeError(f"The sound file {shown(path.name)} cannot be read ({str(problem)[:80]}).") from None
    beside = path.with_suffix(".json")
    if not comment.lstrip().startswith("{") and beside.is_file():
        return parse_json(decode_text(read_bytes(beside), "The settings"), "The settings beside the sound")
    return parse_json(comment, f"The comment of {shown(path.name)}")


# -- understanding -----------------------------------------------------------------------------------------------------


def understand(data: object, source: Source | None = None, *, paths: bool = True) -> Settings:
    """Plain data as settings: a manifest of ours, a recipe of ours, or anybody else's fields.

    Without `paths`, a file's own paths are dropped and only ids of takes and sounds are kept: for what strangers upload.
    """
    data = checks.plain("A settings file", data)
    if isinstance(data, list) and data and isinstance(data[0], Mapping):
        found = understand(data[0], source, paths=paths)
        more = (f"The file holds {len(data)} songs; this is the first.",) if len(data) > 1 else ()
        return Settings(found.recipe, found.seeds, found.ignored, (*more, *found.remarks))
    values = checks.mapping("A settings file", data)
    if isinstance(values.get("recipe"), Mapping):
        values = checks.mapping("The recipe in a take's manifest", values["recipe"])
    if _is_ours(values):
        task = values.get("task")
        return Settings(Recipe.from_json({**values, "task": _own_task(task, source, paths)} if task else values))
    reader = _Reader(values, source, paths)
    return (_ReaderV1(values, source, paths) if reader.is_v1 else reader).settings()


def _is_ours(values: Mapping[str, object]) -> bool:
    """Whether this is a recipe's own JSON: only its fields, and none that says something in another tool's way."""
    names = {f.name for f in fields(Recipe)} | KNOBS | set(FLAT_PLANNING)
    if not isinstance(values.get("task"), Mapping) and "sampling" not in values:  # ours always have a task
        names -= {"checkpoint", *KNOBS, *FLAT_PLANNING}
    task = values.get("task", {})
    foreign = any(
        _open(value)
        or (isinstance(value, str) and name not in _WORDS)
        or _number(value) in _FOREIGN_NUMBERS.get(name, ())
        for name, value in values.items()
    )
    return bool(values) and set(values) <= names and isinstance(task, Mapping) and not foreign


_WORDS = {
    "caption",
    "lyrics",
    "keyscale",
    "timesignature",
    "solver",
    "guidance",
    "dcw",
    "instruction",
    "global_caption",
    "language",
    "sampling",
    "checkpoint",
}
"""Fields of a recipe that are text."""


_FOREIGN_NUMBERS = {"seed": (-1,), "thinking": (0, 1)} | dict.fromkeys(
    ("bpm", "timesignature", "seconds", "steps", "shift", "keyscale", "language"), (0, -1)
)
"""Numbers no recipe of ours has in these fields, and other tools have."""


def _own_task(task: Mapping[str, Any], source: Source | None, paths: bool) -> dict[str, Any]:
    """A task as `to_json` gives it, with another source where one is handed over, and no paths where none are wanted."""
    changed = dict(task) if source is None else {**task, "source": source}
    named = {name: changed.get(name) for name in ("source", "reference")}
    for name, value in named.items():
        if not paths and isinstance(value, str) and value is not source and not _ID.fullmatch(value):
            raise RecipeError(
                f"The {name} of this {shown(task.get('task'))} is a path of another machine; hand the sound over."
            )
    return changed


def _is_auto(value: object) -> bool:
    """Whether a value is 0 or -1, which leave the choice to the planner where no song could have them."""
    return _number(value) in (0, -1)


def _open(value: object) -> bool:
    """Whether a value leaves the choice to the planner wherever it stands: None, "", "N/A", "auto"."""
    return value is None or (isinstance(value, str) and value.strip().lower() in languages.AUTO)


_ONLY_V1 = (
    "omega", "own_steps", "guidance_share", "guidance_decay", "min_guidance_scale", "guidance_scale_text",
    "guidance_scale_lyric", "erg_tag", "erg_lyric", "erg_diffusion", "audio2audio", "kept_of_reference",
)  # fmt: skip
"""What only the files of ACE-Step v1 say."""
_NESTED = (
    "metas", "meta", "metadata", "user_metadata", "param_obj", "params", "generation_params", "generation_config",
    "generation", "config", "audio_config", "input", "lm_metadata", "result", "data",
)  # fmt: skip
"""Names under which a file keeps more fields of the same song; those outside win."""

V1_KNOBS: Mapping[str, tuple[str, ...]] = {
    "omega": ("omega", "omega_scale"),
    "own_steps": ("own_steps", "oss_steps"),
    "guidance_share": ("guidance_share",),
    "guidance_decay": ("guidance_decay", "guidance_interval_decay"),
    "min_guidance_scale": ("min_guidance_scale",),
    "guidance_scale_text": ("guidance_scale_text",),
    "guidance_scale_lyric": ("guidance_scale_lyric",),
    "erg_tag": ("erg_tag", "use_erg_tag"),
    "erg_lyric": ("erg_lyric", "use_erg_lyric"),
    "erg_diffusion": ("erg_diffusion", "use_erg_diffusion"),
}
"""The knobs that only ACE-Step v1 has, and what the original calls them."""
ALIASES: dict[str, tuple[str, ...]] = {
    "caption": ("caption", "prompt", "captions", "tags", "style", "text_prompt", "src_caption"),
    "query": ("sample_query", "description", "desc", "song_description", "query"),
    "lyrics": ("lyrics", "lyric", "lyrics_text"),
    "instrumental": ("instrumental", "is_instrumental"),
    "seconds": (
        "seconds", "audio_duration", "duration", "target_duration", "duration_seconds", "audio_length", "duration_sec",
    ),
    "seed": ("seed", "seeds", "manual_seeds", "seed_value", "actual_seeds", "seed_list"),
    "use_random_seed": ("use_random_seed", "random_seed_checkbox"),
    "bpm": ("bpm", "tempo"),
    "keyscale": ("keyscale", "key_scale", "key", "musical_key"),
    "timesignature": ("timesignature", "time_signature", "meter"),
    "language": ("language", "vocal_language", "lyrics_language"),
    "task": ("task", "task_type"),
    "steps": ("steps", "inference_steps", "infer_steps", "infer_step", "num_inference_steps", "num_steps"),
    "shift": ("shift", "timestep_shift"),
    "timesteps": ("timesteps", "custom_timesteps"),
    "guidance_scale": ("guidance_scale", "cfg_scale"),
    "use_adg": ("use_adg",),
    "guidance": ("guidance", "guidance_variant", "cfg_type"),
    "guidance_interval": ("guidance_interval",),
    **V1_KNOBS,
    "audio2audio": ("audio2audio_enable", "audio2audio"),
    "kept_of_reference": ("ref_audio_strength",),
    "retake_seed": ("retake_seeds", "retake_seed"),
    "retake_variance": ("retake_variance",),
    "adapter": ("lora_name_or_path",),
    "adapter_weight": ("lora_weight",),
    "goal_caption": ("edit_target_prompt",),
    "goal_lyrics": ("edit_target_lyrics",),
    "cfg_start": ("cfg_interval_start",),
    "cfg_end": ("cfg_interval_end",),
    "infer_method": ("infer_method",),
    "solver": ("solver", "sampler_mode", "scheduler_type", "sampler"),
    "velocity_clamp": ("velocity_clamp", "velocity_norm_threshold"),
    "velocity_ema": ("velocity_ema", "velocity_ema_factor"),
    "dcw": ("dcw", "dcw_mode"),
    "dcw_enabled": ("dcw_enabled",),
    "dcw_low": ("dcw_low", "dcw_scaler"),
    "dcw_high": ("dcw_high", "dcw_high_scaler"),
    "dcw_wavelet": ("dcw_wavelet",),
    "instruction": ("instruction",),
    "global_caption": ("global_caption",),
    "latent_shift": ("latent_shift",),
    "latent_rescale": ("latent_rescale",),
    "fade_in": ("fade_in", "fade_in_duration"),
    "fade_out": ("fade_out", "fade_out_duration"),
    "normalize": ("normalize", "enable_normalization"),
    "peak_db": ("peak_db", "normalization_db"),
    "thinking": ("thinking", "think"),
    "planning": ("planning",),
    "temperature": ("lm_temperature",),
    "top_p": ("lm_top_p",),
    "top_k": ("lm_top_k",),
    "repetition_penalty": ("lm_repetition_penalty",),
    "cfg_scale": ("lm_cfg_scale",),
    "negative_prompt": ("lm_negative_prompt",),
    "rewrite_caption": ("use_cot_caption", "cot_caption", "rewrite_caption"),
    "legacy_negative_layout": ("lm_use_legacy_cfg_prompt",),
    "source": (
        "source", "src_audio", "src_audio_path", "ctx_audio", "ctx_audio_path", "source_audio", "source_audio_path",
        "source_audio_url", "src_audio_url",
    ),
    "reference": (
        "reference", "reference_audio", "reference_audio_path", "ref_audio", "ref_audio_path", "reference_audio_url",
        "ref_audio_input",
    ),
    "codes": ("codes", "audio_codes", "audio_code_string", "text2music_audio_code_string"),
    "strength": ("audio_cover_strength", "cover_strength"),
    "noise_strength": ("cover_noise_strength",),
    "start": ("repainting_start", "repaint_start"),
    "end": ("repainting_end", "repaint_end"),
    "repaint_mode": ("repaint_mode",),
    "repaint_strength": ("repaint_strength",),
    "crossfade_frames": ("repaint_latent_crossfade_frames",),
    "wave_crossfade": ("repaint_wav_crossfade_sec",),
    "mask": ("chunk_mask_mode", "mask"),
    "stem": ("track_name", "stem"),
    "stems": ("track_classes", "complete_track_classes", "stems", "instruments"),
    "flow_edit": ("flow_edit_morph",),
    "flow_caption": ("flow_edit_source_caption",),
    "flow_lyrics": ("flow_edit_source_lyrics",),
    "n_min": ("flow_edit_n_min", "edit_n_min"),
    "n_max": ("flow_edit_n_max", "edit_n_max"),
    "n_avg": ("flow_edit_n_avg", "edit_n_avg"),
    "model": ("model", "dit_model", "model_name", "config_path", "checkpoint"),
}  # fmt: skip
"""What a field means here → the names it goes by elsewhere, the likeliest first; camelCase is read as snake_case."""

_ELSEWHERE = frozenset(
    """
    batch_size batch_size_input audio_format format mp3_bitrate mp3_sample_rate output_format random_seed use_format
    sample_mode is_format_caption allow_lm_batch lm_batch_chunk_size constrained_decoding constrained_decoding_debug
    use_constrained_decoding use_cot_metas use_cot_language use_cot_lyrics cot_language lm_model lm_model_path lm_backend
    backend device save_dir project_root log_level offload_to_cpu offload_dit_to_cpu offload use_flash_attention checkpoint_dir
    init_llm download_source auto_score auto_lrc autogen get_scores get_lrc score_scale score analysis_only
    full_analysis_only extract_codes_only title id song_id created_at saved_at timestamp version status status_message
    progress stage wave file url env create_time generation_info generation_time time_costs genres genre custom_mode
    ai_token stream modalities messages thinking_mode save_path audio_path cover_url audio_url lora_path lora_scale
    use_lora cot_bpm cot_keyscale cot_timesignature cot_duration cot_vocal_language cot_caption_text cot_lyrics timecosts
    debug torch_compile cpu_offload overlapped_decode task_id code error extra success key sample_rate path silent format_version success_message
    """.split()
)  # fmt: skip
"""Names that speak of a file, a machine, a page or a result and not of the song: passed over in silence."""

_TASKS = {
    "text2music": "text2music", "text_to_music": "text2music", "generate": "text2music", "": "text2music",
    "repaint": "repaint", "cover": "cover", "remix": "cover", "audio2audio": "cover", "cover-nofsq": "cover-nofsq",
    "cover_nofsq": "cover-nofsq", "extract": "extract", "lego": "lego", "complete": "complete", "edit": "flow",
    "flow_edit": "flow", "retake": "retake", "extend": "extend",
}  # fmt: skip


class _Reader:
    """One settings file's fields, found by what they mean."""

    def __init__(self, data: Mapping[str, Any], source: Source | None, paths: bool) -> None:
        self.given: dict[str, Any] = {}
        self.spelt: dict[str, str] = {}
        self.source, self.paths = source, paths
        self.remarks: list[str] = []
        self._gather(data, 4)

    def _gather(self, data: Mapping[str, object], depth: int) -> None:
        """Flatten what is nested; a name met before stands."""
        inner = []
        for name, value in data.items():
            snake = _snake(name)
            nested = _nested(value) if snake in _NESTED else None
            if nested is not None:
                inner.append(nested)
            elif _open(self.given.get(snake)):
                self.given[snake], self.spelt[snake] = value, name
        for one in inner if depth else []:
            self._gather(one, depth - 1)

    def get(self, meaning: str) -> Any:
        """The first value under any of a field's names that says something; None otherwise."""
        values = (self.given.get(name) for name in ALIASES[meaning])
        return next((value for value in values if not _open(value)), None)

    def number(self, meaning: str, auto: Callable[[float], bool] | None = None) -> float | None:
        """A number, also one written as text; None where it is left open."""
        value = self.get(meaning)
        found = _number(value)
        if value is not None and found is None:
            raise RecipeError(f"The settings' {meaning} is a number, not {shown(value)}.")
        return None if found is None or (auto is not None and auto(found)) else found

    def truth(self, meaning: str) -> bool | None:
        """True or False, also written as 1, "yes" or "on"; None where it is left open."""
        value = self.get(meaning)
        word = str(value).strip().lower() if isinstance(value, str | bool | int) else None
        if value is None or word in _YES | _NO:
            return None if value is None else word in _YES
        raise RecipeError(f"The settings' {meaning} is true or false, not {shown(value)}.")

    def text(self, meaning: str) -> str:
        """Text; the first of a list; "" where it is left open."""
        value = self.get(meaning)
        value = value[0] if isinstance(value, list) and value else value
        return "" if _open(value) or value == [] else checks.text(f"The settings' {meaning}", value)

    @property
    def is_v1(self) -> bool:
        """Whether these are settings of ACE-Step v1, by fields that no other family has."""
        return any(name in self.given for meaning in _ONLY_V1 for name in ALIASES[meaning])

    # -- the whole ------------------------------------------------------------------------------------------------------

    def settings(self) -> Settings:
        """The recipe and everything to be said about it."""
        if not set(self.given) & {name for names in ALIASES.values() for name in names}:
            raise RecipeError("These are no settings of a song: no field is known here.")
        ignored = self._ignored()
        seeds = self._seeds()
        said = {**self._words(), **self._numbers(), **self._finish(), **self._sampling()}
        if "sampling" in said:
            said = {name: value for name, value in said.items() if name not in KNOBS}
        recipe = Recipe(**said, task=self._task(), seed=seeds[0] if seeds else None, planning=self._planning())
        if len(seeds) > 1:
            self.remarks.append(
                f"The settings name {len(seeds)} seeds, and the recipe has the first; lab.vary(recipe, {_few(seeds)}) makes all."
            )
        if model := self.text("model"):
            self.remarks.append(f"These settings were used with {shown(model)}; the session's checkpoint decides here.")
        if ignored:
            names = ", ".join(shown(name, 30).strip("'") for name in ignored[:6])
            more = f" and {len(ignored) - 6} more" if len(ignored) > 6 else ""
            self.remarks.append(f"Not understood and left out: {names}{more}.")
        return Settings(recipe, seeds, ignored, tuple(dict.fromkeys(self.remarks)))

    def _ignored(self) -> tuple[str, ...]:
        known = {name for names in ALIASES.values() for name in names} | _ELSEWHERE | set(_NESTED)
        return tuple(self.spelt[name] for name, value in self.given.items() if name not in known and not _is_off(value))

    def _words(self) -> dict[str, Any]:
        caption, lyrics, query = self.text("caption"), self.text("lyrics"), self.text("query")
        if not caption and query:
            caption = query
            self.remarks.append("The caption is a description for the planner to write out; lab.sketch(…) does that.")
        if not lyrics and self.truth("instrumental"):
            lyrics = vocabulary.INSTRUMENTAL
        instruction = self.text("instruction")
        usual = instruction in vocabulary.INSTRUCTIONS.values() or any(
            re.fullmatch(re.escape(known).replace(r"\{\}", ".*"), instruction)
            for known in vocabulary.INSTRUCTIONS.values()
        )
        return {
            "caption": caption,
            "lyrics": lyrics,
            "instruction": "" if usual else instruction,
            "global_caption": self.text("global_caption"),
        }

    def _numbers(self) -> dict[str, Any]:
        """Length, tempo, key, meter and language; 0, -1 and "N/A" are left to the planner."""
        asked = {name: self.get(name) for name in ("bpm", "keyscale", "timesignature", "language")}
        if checks.word(asked["language"]) == "unknown":
            asked["language"] = None
        return {
            **{name: None if _is_auto(value) else value for name, value in asked.items()},
            "seconds": self.number("seconds", _not_positive),
            "thinking": self.truth("thinking") if not self.get("codes") else None,
        }

    def _seeds(self) -> tuple[int, ...]:
        """Every seed that is one, where they are not to be drawn anew."""
        seeds = self._whole_numbers("seed")
        wanted = self.truth("use_random_seed") or (
            self.spelt.get("random_seed") == "randomSeed" and self.given["random_seed"]
        )
        if seeds and wanted is True:
            self.remarks.append(f"The settings ask for a random seed each time, so that {_few(seeds)} is left out.")
            return ()
        return seeds

    def _whole_numbers(self, meaning: str) -> tuple[int, ...]:
        """The seeds of a field, one or several; -1 stands for a fresh one."""
        value = self.get(meaning)
        items = (
            value
            if isinstance(value, list)
            else re.split(r"[,;\s]+", value.strip())
            if isinstance(value, str)
            else [value]
        )
        found = [number for item in items if (number := _seed_of(item)) is not None and number >= 0]
        return tuple(checks.whole("The settings' seed", number, 0, 2**63 - 1) for number in found)

    def _sampling(self) -> dict[str, Any]:
        solver, method = self.text("solver").lower(), self.text("infer_method").lower()
        if solver == "pingpong":
            self.remarks.append("The solver pingpong is sde here.")
        solver = "sde" if method == "sde" or solver == "pingpong" else solver or ("euler" if method == "ode" else "")
        timesteps = self.get("timesteps")
        return {
            "steps": self.number("steps", _not_positive),
            "shift": self.number("shift", _not_positive),
            "timesteps": [_number(item) for item in re.split(r"[,;\s]+", timesteps.strip(" []()"))]
            if isinstance(timesteps, str) else timesteps or None,
            "solver": solver or None,
            "guidance": self._guidance(),
            "guidance_scale": self.number("guidance_scale", _negative),
            "guidance_interval": self._interval(),
            "velocity_clamp": self.number("velocity_clamp", _not_positive),
            "velocity_ema": self.number("velocity_ema", _not_positive),
            **self._dcw(),
        }  # fmt: skip

    def _guidance(self) -> str | None:
        if self.truth("use_adg"):
            return "adg"
        name = self.text("guidance").lower()
        return {"apg_classic": "apg", "adg_w_norm": "adg", "adg_wo_clip": "adg", "cfg_star": "cfg_zero"}.get(
            name, name
        ) or None

    def _interval(self) -> tuple[float, float] | None:
        own = self.get("guidance_interval")
        if isinstance(own, list):
            return tuple(own)
        low, high = self.number("cfg_start"), self.number("cfg_end")
        ends = (0.0 if low is None else low, 1.0 if high is None else high)
        return None if ends == (0.0, 1.0) else ends

    def _dcw(self) -> dict[str, object]:
        enabled, mode = self.truth("dcw_enabled"), self.text("dcw").lower()
        if (wavelet := self.text("dcw_wavelet")) and wavelet.lower() not in ("haar", "db1"):
            self.remarks.append(f"The wavelet of DCW is haar here, not {shown(wavelet)}.")
        named = ALIASES["dcw"][0] in self.given  # ours; elsewhere a mode means nothing until it is switched on
        chosen = "off" if enabled is False else mode or "double" if enabled else mode if named else ""
        low, high = self.number("dcw_low"), self.number("dcw_high")
        if chosen == "high" and not named:  # the reference reads its first strength in this mode
            low, high = None, _FIRST_STRENGTH if low is None else low
        return {"dcw": chosen or None, "dcw_low": low, "dcw_high": high}

    def _finish(self) -> dict[str, Any]:
        names = ("latent_shift", "latent_rescale", "fade_in", "fade_out", "peak_db")
        return {name: self.number(name) for name in names} | {"normalize": self.truth("normalize")}

    def _planning(self) -> Planning:
        own = self.get("planning")
        if isinstance(own, Mapping):
            return Planning.from_json(own)
        cfg = self.number("cfg_scale")
        return Planning(
            temperature=self.number("temperature"),  # type: ignore[arg-type]
            top_p=None if (top := self.number("top_p")) is None else min(top, 1.0),  # type: ignore[arg-type]
            top_k=None if (best := self.number("top_k")) is None else max(best, 0),  # type: ignore[arg-type]
            repetition_penalty=self.number("repetition_penalty"),  # type: ignore[arg-type]
            cfg_scale=None if cfg is None else max(cfg, 1.0),  # type: ignore[arg-type]
            negative_prompt=self.text("negative_prompt") or None,  # type: ignore[arg-type]
            writes_caption=self.truth("rewrite_caption"),  # type: ignore[arg-type]
            rewrite_caption=self.truth("rewrite_caption"),  # type: ignore[arg-type]
            legacy_negative_layout=self.truth("legacy_negative_layout"),  # type: ignore[arg-type]
        )

    # -- tasks ----------------------------------------------------------------------------------------------------------

    def _task(self) -> Task:
        """The task these settings are for; RecipeError where it starts from a sound and none is named."""
        own = self.get("task")
        if isinstance(own, Mapping):
            return task_from_json(_own_task(own, self.source, self.paths))
        return getattr(self, "_" + self.kind.replace("-", "_"))()

    @property
    def kind(self) -> str:
        """Which task, as `_TASKS` calls it; RecipeError for one that nobody knows."""
        name = self.text("task").strip().lower() if isinstance(self.get("task"), str) else ""
        if name not in _TASKS:
            raise RecipeError(f"{shown(name)} is no task.{vocabulary.nearest(name, _TASKS)}")
        return "flow" if self.truth("flow_edit") and _TASKS[name] == "text2music" else _TASKS[name]

    def _sound(self, meaning: str) -> Any:
        """A path or id; None where there is none, or where paths are not wanted."""
        value = self.source if meaning == "source" and self.source is not None else self.get(meaning)
        if not self.paths and isinstance(value, str) and value is not self.source and not _ID.fullmatch(value):
            self.remarks.append(f"The path of the {meaning} is left out; hand the sound over.")
            return None
        return value

    def _needs(self, what: str) -> Any:
        found = self._sound("source")
        if found is None:
            raise RecipeError(
                f"These settings are for {what} and name no sound to start from; hand it over: Recipe.read(file, source=take)."
            )
        return found

    def _codes(self) -> tuple[int, ...] | None:
        """The codes of the song, or of the first of several whose codes are given as a list of texts."""
        value = self.get("codes")
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            songs = [checks.codes(item) for item in value]
            if max(map(len, songs)) > 1 < len(songs):
                self.remarks.append(f"The file holds the codes of {len(songs)} songs; these are the first's.")
            value = songs[0] if max(map(len, songs)) > 1 else [code for song in songs for code in song]
        return checks.codes(value) or None if value is not None else None

    def _region(self, default: Region | None) -> Region | None:
        """The region, up to the longest song where the end is open; `default` where it is the whole."""
        start, end = self.number("start"), self.number("end", _negative)
        if not start and end is None:
            return default
        return Region(start or 0.0, SECONDS_RANGE[1] if end is None else end)

    def _mask(self) -> Any:
        """explicit or auto, which here is a word of its own."""
        return next((word for name in ALIASES["mask"] if (word := self.given.get(name))), None)

    def _text2music(self) -> Task:
        return Text2Music(self._sound("reference"), self._codes())

    def _cover(self, through_codes: bool = True) -> Task:
        codes = self._codes()
        source = None if codes else self._needs("a cover")
        strength, noise = self.number("strength"), self.number("noise_strength")
        return Cover(
            source, strength, noise if source is not None else None, through_codes, codes, self._sound("reference"),  # type: ignore[arg-type]
        )  # fmt: skip

    def _cover_nofsq(self) -> Task:
        return self._cover(through_codes=False)

    def _repaint(self) -> Task:
        region = self._region(Region(0.0, SECONDS_RANGE[1]))
        frames, seam = self.number("crossfade_frames"), self.number("wave_crossfade")
        return Repaint(
            self._needs("a repaint"),
            region,  # type: ignore[arg-type]
            mode=self.text("repaint_mode") or None,  # type: ignore[arg-type]
            strength=self.number("repaint_strength"),  # type: ignore[arg-type]
            latent_crossfade=None if frames in (None, 10) else float(frames or 0) / FRAMES_PER_SECOND,
            wave_crossfade=seam or None,
            mask=self._mask(),
        )

    def _extract(self) -> Task:
        return Extract(self._needs("taking a stem out"), self._stem())

    def _lego(self) -> Task:
        return Lego(self._needs("adding a stem"), self._stem(), self._region(None), self._mask())

    def _complete(self) -> Task:
        value = self.get("stems") or self.get("stem")
        stems = re.split(r"\s*[,|;]\s*", value.strip()) if isinstance(value, str) else value or []
        return Complete(self._needs("an accompaniment"), tuple(stems) if isinstance(stems, list) else stems)

    def _flow(self) -> Task:
        return FlowEdit(
            self._needs("an edit"), self.text("flow_caption"), self.text("flow_lyrics"),
            self.number("n_min"), self.number("n_max"), self.number("n_avg"),  # type: ignore[arg-type]
        )  # fmt: skip

    def _retake(self) -> Task:
        seeds, variance = self._whole_numbers("retake_seed"), self.number("retake_variance")
        if not seeds:
            raise RecipeError("These settings are for a retake and name no seed to turn towards: retake_seeds=[7].")
        return Retake(self._needs("a retake"), USUAL_VARIANCE if variance is None else variance, seeds[0])

    def _extend(self) -> Task:
        """What is added before and after: the region goes beyond the source's length on both sides."""
        start, end, length = self.number("start"), self.number("end"), self.number("seconds", _not_positive)
        source = self._needs("an extension")
        if end is not None and length is None:
            raise RecipeError("These settings are for an extension and do not say how long the sound was: duration=30.")
        return Extend(source, max(0.0, -(start or 0.0)), max(0.0, (end or 0.0) - (length or 0.0)))

    def _stem(self) -> str:
        return self.text("stem") or self.text("stems")


class _ReaderV1(_Reader):
    """A settings file of ACE-Step v1, as its page writes one beside every song (`…_input_params.json`)."""

    def settings(self) -> Settings:
        self.remarks.append("These are settings of ACE-Step v1; another family has not all of their knobs.")
        if (adapter := self.text("adapter")) and adapter.lower() != "none":
            weight = self.number("adapter_weight")
            self.remarks.append(
                f"The song was made with the LoRA {shown(adapter, 60)}, weight {1.0 if weight is None else weight:g}; load it to "
                "hear the same."
            )
        return super().settings()

    def _words(self) -> dict[str, Any]:
        """The words; of an edit those of its goal."""
        said = super()._words()
        return said | {
            "caption": said["caption"] or self.text("goal_caption"),
            "lyrics": said["lyrics"] or self.text("goal_lyrics"),
        }

    def _numbers(self) -> dict[str, Any]:
        """The numbers; the length only where no source says it."""
        said = super()._numbers()
        return said if self.kind in ("text2music", "retake") else said | {"seconds": None}

    @property
    def kind(self) -> str:
        """Which task: audio2audio is text2music with a sound to begin from."""
        kind = super().kind
        wanted = kind == "text2music" and self.truth("audio2audio")
        return "cover" if wanted and (self.get("reference") or self.source is not None) else kind

    def _sampling(self) -> dict[str, Any]:
        """The knobs of a file of ACE-Step v1, whose `guidance_interval` is a share."""
        steps = self.get("own_steps")
        numbers = ("omega", "guidance_decay", "min_guidance_scale", "guidance_scale_text", "guidance_scale_lyric")
        shares = [self.number(name) for name in ("guidance_share", "guidance_interval")]
        how = FlowSamplingV1(
            steps=self.number("steps", _not_positive),  # type: ignore[arg-type]
            shift=self.number("shift", _not_positive),
            own_steps=tuple(_number(one) for one in re.findall(r"[^,;\s\[\]()]+", steps))  # type: ignore[misc]
            if isinstance(steps, str) else steps or None,
            solver=self.text("solver").lower() or None,
            guidance=self.text("guidance").lower() or None,
            guidance_scale=self.number("guidance_scale", _negative),
            guidance_share=next((share for share in shares if share is not None), None),
            **{name: self.number(name) for name in numbers},  # type: ignore[arg-type]
            **{name: self.truth(name) for name in ("erg_tag", "erg_lyric", "erg_diffusion")},
        )  # fmt: skip
        return {"sampling": how}

    def _text2music(self) -> Task:
        if self.get("reference"):
            self.remarks.append("The reference sound is left out: audio2audio is off, and nothing else hears it.")
        return Text2Music()

    def _cover(self, through_codes: bool = True) -> Task:
        """audio2audio: `ref_audio_strength` of the sound is kept."""
        if self.source is None and self._sound("reference") is not None:
            self.source = self._sound("reference")
        return Cover(self._needs("audio2audio"), noise_strength=self.number("kept_of_reference"))  # type: ignore[arg-type]

    def _repaint(self) -> Task:
        """A repaint that may vary as much as the file says."""
        region, variance = self._region(Region(0.0, SECONDS_RANGE[1])), self.number("retake_variance")
        return Repaint(self._needs("a repaint"), region, strength=variance)  # type: ignore[arg-type]


# -- single values -----------------------------------------------------------------------------------------------------

_ID = re.compile(r"(?:take|audio)-[0-9a-f]{4,64}")
_YES, _NO = {"true", "1", "yes", "y", "on"}, {"false", "0", "no", "n", "off"}


def _snake(name: str) -> str:
    """camelCase, kebab-case and "Time Signature" as snake_case."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:100])
    return re.sub(r"[\s\-]+", "_", parted.strip()).lower()


def _nested(value: object) -> dict[str, object] | None:
    """A mapping, the JSON text of one, or the first of a list of such; None for anything else."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = parse_json(value, "The settings inside the settings")
    if isinstance(value, list) and value:
        return _nested(value[0])
    return checks.mapping("Settings", value) if isinstance(value, Mapping) else None


def _number(value: object) -> float | None:
    """A number, or text that is one ("30", "30 s", "-1")."""
    if isinstance(value, str):
        match = re.fullmatch(
            r"\s*([+-]?\d{1,19}(?:\.\d*)?|[+-]?\.\d+)(?:e([+-]?\d{1,2}))?\s*(?:s|sec|seconds|bpm)?\s*", value, re.I
        )
        return float(f"{match.group(1)}e{match.group(2) or 0}") if match else None
    return checks.plain_number(value)


def _seed_of(item: object) -> int | None:
    """A whole number, or text that is one, however long; None for an open one."""
    if _open(item):
        return None
    if isinstance(item, str) and re.fullmatch(r"-?\d{1,19}", item):
        return int(item)
    if not checks.is_whole(item):
        raise RecipeError(f"The settings' seed is a whole number, such as 7, not {shown(item)}.")
    return int(checks.plain_number(item) or 0)


def _not_positive(value: float) -> bool:
    return value <= 0


def _negative(value: float) -> bool:
    return value < 0


def _is_off(value: object) -> bool:
    """Whether leaving a field out changes nothing: it is off, empty or open."""
    return _open(value) or value is False or value in ([], {})


def _few(seeds: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, seeds[:4]))}{', …' if len(seeds) > 4 else ''}{',' if len(seeds) == 1 else ''})"
