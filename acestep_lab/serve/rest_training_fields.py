"""Data sets and trainings in the words of ACE-Step's REST clients: rows of routes, fields read, songs told. Plain data.

Names and defaults are those of the published server; Ace-Step-Wrangler's other names for some fields go too. What is sent and has
no meaning here is named in the answer's message, never left out in silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.vocabulary import INSTRUMENTAL
from acestep_lab.serve.rest_verbs import Fields, is_on, text_of
from acestep_lab.train.rows import override_of
from acestep_lab.train.song import Song

_TEXT, _NUMBER, _YES, _WHOLE = {"type": "string"}, {"type": "number"}, {"type": "boolean"}, {"type": "integer"}
_TAG = {
    "custom_tag": _TEXT, "tag_position": {"type": "string", "enum": ["prepend", "append", "replace"]},
    "all_instrumental": _YES,
}  # fmt: skip
_LABEL = {
    "only_unlabeled": _YES, "skip_metas": {**_YES, "description": "leave tempo, key and meter alone"},
    "transcribe_lyrics": {**_YES, "description": "guess lyrics where nobody wrote any"}, "save_path": _TEXT,
    "lm_model_path": {**_TEXT, "description": "the planner that is open, by its name"},
}  # fmt: skip
_ENCODE = {"output_dir": _TEXT, "skip_existing": _YES}
_TRAIN = {
    "tensor_dir": {**_TEXT, "description": "what /v1/dataset/preprocess wrote; absent: the data set that is open"},
    "learning_rate": _NUMBER, "train_epochs": _WHOLE, "train_batch_size": _WHOLE, "gradient_accumulation": _WHOLE,
    "save_every_n_epochs": _WHOLE, "training_seed": _WHOLE, "gradient_checkpointing": _YES,
    "output_dir": {**_TEXT, "description": "or lora_output_dir; absent: the library's own place"},
}  # fmt: skip
TRAINING: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("post", "/v1/dataset/scan", "Look for sounds in a folder", {"audio_dir": _TEXT, "dataset_name": _TEXT, **_TAG}),
    ("post", "/v1/dataset/load", "Open a data set", {"dataset_path": _TEXT}),
    ("get", "/v1/dataset/load", "Open a data set, as Wrangler asks", {"file_path": _TEXT}),
    (
        "post", "/v1/dataset/save", "Save the data set as ACE-Step's JSON",
        {"save_path": _TEXT, "dataset_name": _TEXT, **_TAG, "genre_ratio": _WHOLE},
    ),
    ("get", "/v1/dataset/samples", "The sounds of the data set", {}),
    ("get", "/v1/dataset/sample/{id}", "One sound of the data set, by its number from 0", {}),
    (
        "put", "/v1/dataset/sample/{id}", "Change what is said of one sound; what is not sent stays",
        {
            "caption": _TEXT, "genre": _TEXT, "lyrics": _TEXT, "bpm": _WHOLE, "keyscale": _TEXT, "timesignature": _TEXT,
            "language": _TEXT, "is_instrumental": _YES, "prompt_override": _TEXT,
        },
    ),
    ("post", "/v1/dataset/auto_label", "Have sounds described, and wait", _LABEL),
    ("post", "/v1/dataset/auto_label_async", "Have sounds described, in the background", _LABEL),
    ("get", "/v1/dataset/auto_label_status", "How far the latest description is", {}),
    ("get", "/v1/dataset/auto_label_status/{id}", "How far a description is", {}),
    ("post", "/v1/dataset/preprocess", "Encode sounds for training, and wait", _ENCODE),
    ("post", "/v1/dataset/preprocess_async", "Encode sounds for training, in the background", _ENCODE),
    ("get", "/v1/dataset/preprocess_status", "How far the latest encoding is", {}),
    ("get", "/v1/dataset/preprocess_status/{id}", "How far an encoding is", {}),
    ("post", "/v1/training/load_tensor_info", "What a folder of encoded sounds holds", {"tensor_dir": _TEXT}),
    (
        "post", "/v1/training/start", "Train a LoRA",
        {**_TRAIN, "lora_rank": _WHOLE, "lora_alpha": _NUMBER, "lora_dropout": _NUMBER},
    ),
    (
        "post", "/v1/training/start_lokr", "Train a LoKr",
        {**_TRAIN, "lokr_linear_dim": _WHOLE, "lokr_linear_alpha": _NUMBER},
    ),
    ("post", "/v1/training/stop", "Stop the training; what was learnt is kept", {}),
    ("get", "/v1/training/status", "How far the training is", {}),
    ("post", "/v1/training/export", "Copy an adapter to where it is loaded from", {"export_path": _TEXT, "lora_output_dir": _TEXT}),
)  # fmt: skip
"""Method, path (`{id}` for the rest of it), purpose and fields of each route; all are the host's."""

_EDITS = {
    "caption": "caption", "genre": "genre", "lyrics": "lyrics", "bpm": "bpm", "keyscale": "keyscale",
    "timesignature": "timesignature", "language": "language", "is_instrumental": "instrumental",
}  # fmt: skip
"""Their name of a song's field → ours."""
_OF_KIND: dict[str, dict[str, tuple[str, ...]]] = {
    "lora": {"rank": ("lora_rank",), "alpha": ("lora_alpha",), "adapter_dropout": ("lora_dropout",)},
    "lokr": {
        "rank": ("lokr_linear_dim", "lora_rank"), "alpha": ("lokr_linear_alpha", "lora_alpha"),
        "adapter_dropout": ("lora_dropout",),
    },
}  # fmt: skip
RANK, ACCUMULATION, SAVE_EVERY, SEED = 64, 4, 5, 42
EPOCHS = {"lora": 10, "lokr": 500}
"""What their server takes where nothing is said."""
LEFT_ASIDE = {
    "use_fp8": "weights are not taught in fp8", "network_weights": "a training goes on by itself in its own folder",
    "lokr_factor": "the factors follow from the rank", "lokr_decompose_both": "the factors follow from the rank",
    "lokr_use_tucker": "there are no convolutions", "lokr_use_scalar": "the strength is alpha / rank",
    "lokr_weight_decompose": "a LoKr is taught without magnitudes",
}  # fmt: skip
"""What of a training has no meaning here, and why; said where it was asked for."""


# -- songs told --------------------------------------------------------------------------------------------------------


def sample(song: Song, index: int) -> dict[str, Any]:
    """A song under the names of ACE-Step's server."""
    return {
        "index": index, "filename": song.path.name if song.path is not None else song.name,
        "audio_path": str(song.path or ""), "duration": round(song.seconds, 3), "caption": song.caption,
        "genre": song.genre, "prompt_override": override_of(song) or None, "lyrics": song.lyrics, "bpm": song.bpm,
        "keyscale": song.keyscale or "", "timesignature": song.timesignature or "",
        "language": song.language or "unknown", "is_instrumental": bool(song.instrumental),
        "labeled": bool(song.caption),
    }  # fmt: skip


def whole_sample(song: Song, index: int) -> dict[str, Any]:
    """The same with what only we know: its tag, who said what, what is odd."""
    said = {
        name: {"source": label.source, "locked": label.locked, "sure": label.sure}
        for name, label in song.labels.items()
        if not label.is_open or label.locked
    }
    more = {"custom_tag": song.tag, "repeat": song.repeat, "labels": said}
    return sample(song, index) | more | {"remarks": [str(remark) for remark in song.remarks]}


def labeled(songs: Sequence[Song]) -> int:
    """How many have a caption."""
    return sum(bool(song.caption) for song in songs)


# -- fields read -------------------------------------------------------------------------------------------------------


def edits(fields: Fields) -> dict[str, Any]:
    """What is to be changed of a song, by our names; of one that is instrumental also its lyrics and language."""
    found = {ours: fields[theirs] for theirs, ours in _EDITS.items() if theirs in fields}
    if found.get("language") == "unknown":
        found["language"] = None
    if "bpm" in found:
        found["bpm"] = whole_of(fields, "bpm")
    if "instrumental" in found:
        found["instrumental"] = is_on(found["instrumental"])
        if found["instrumental"]:
            found |= {"lyrics": INSTRUMENTAL, "language": None}
    return found


def whole_of(fields: Fields, *names: str, least: int | None = None) -> int | None:
    """The first of several names that has a value, as a whole number; None where none has. RecipeError for anything else."""
    number = number_of(fields, *names)
    if number is None:
        return None
    if number != int(number) or (least is not None and number < least):
        raise RecipeError(f"The field {names[0]} is a whole number{_from(least)}, not {number:g}.")
    return int(number)


def _from(least: int | None) -> str:
    return "" if least is None else f" from {least}"


def number_of(fields: Fields, *names: str) -> float | None:
    """The first of several names that has a value, as a finite number; None where none has."""
    for name in names:
        value = fields.get(name)
        if value is None or value == "":
            continue
        try:
            number = checks.plain_number(float(value) if isinstance(value, str) else value)
        except ValueError:
            number = None
        if number is None or not math.isfinite(number):
            raise RecipeError(f"The field {name} is a number, not {shown(value)}.")
        return number
    return None


@dataclass(frozen=True)
class Wish:
    """A training as a client asks for it."""

    values: Mapping[str, Any]
    """Options of `lab.train`, the steps still to be counted (`counted`)."""
    epochs: int
    save_every: int
    """In epochs."""
    notes: tuple[str, ...]
    """What was asked for and has no meaning here, as sentences."""

    def counted(self, songs: int) -> dict[str, Any]:
        """The options with as many steps as so many songs have in all epochs."""
        steps = max(1, math.ceil(self.epochs * self.per_epoch(songs)))
        return {**self.values, "steps": steps, "save_every": max(1, round(self.save_every * self.per_epoch(songs)))}

    def per_epoch(self, songs: int) -> float:
        """Steps in which every song is heard once."""
        return max(1, songs) / float(self.values["batch"] * self.values["accumulation"])

    def told(self) -> dict[str, Any]:
        """The same under the names of their server."""
        one = self.values
        names = ("lora_rank", "lora_alpha") if one["kind"] == "lora" else ("lokr_linear_dim", "lokr_linear_alpha")
        return {
            "adapter_type": one["kind"], names[0]: one["rank"], names[1]: one["alpha"],
            "lora_dropout": one["adapter_dropout"], "learning_rate": one["learning_rate"], "epochs": self.epochs,
            "train_batch_size": one["batch"], "gradient_accumulation": one["accumulation"],
            "training_seed": one["seed"], "gradient_checkpointing": one["gradient_checkpointing"],
        }  # fmt: skip


def wish(fields: Fields, kind: str) -> Wish:
    """A training out of the fields of a request; RecipeError for what are no numbers."""
    names = _OF_KIND[kind]
    rank = whole_of(fields, *names["rank"])
    alpha, seed = number_of(fields, *names["alpha"]), whole_of(fields, "training_seed", least=0)
    rank = RANK if rank is None else rank
    values: dict[str, Any] = {
        "kind": kind, "rank": rank, "alpha": 2.0 * rank if alpha is None else alpha,
        "batch": whole_of(fields, "train_batch_size", least=1) or 1,
        "accumulation": whole_of(fields, "gradient_accumulation", least=1) or ACCUMULATION,
        "gradient_checkpointing": is_on(fields.get("gradient_checkpointing")),
        "learning_rate": number_of(fields, "learning_rate"), "seed": SEED if seed is None else seed,
        "adapter_dropout": number_of(fields, *names["adapter_dropout"]) or 0.0,
    }  # fmt: skip
    epochs = whole_of(fields, "train_epochs", least=1) or EPOCHS[kind]
    every = whole_of(fields, "save_every_n_epochs", least=1) or SAVE_EVERY
    return Wish(values, epochs, every, _aside(fields))


def _aside(fields: Fields) -> tuple[str, ...]:
    asked = [name for name in LEFT_ASIDE if _says(fields.get(name))]
    return tuple(f"{name} is left aside: {LEFT_ASIDE[name]}." for name in asked)


def _says(value: object) -> bool:
    """Whether a field asks for something."""
    return value not in (None, "", -1, "-1") and (is_on(value) or not _is_off(value))


def _is_off(value: object) -> bool:
    return value is False or str(value).strip().lower() in ("false", "0", "no", "off")


def unread(fields: Mapping[str, Any], *names: str) -> list[str]:
    """Of these fields those that ask for something."""
    return [name for name in names if _says(fields.get(name))]


def path_text(fields: Fields, *names: str) -> str:
    """The first of several names as a path's text; RecipeError, saying its first name, where there is none."""
    text = text_of(fields, *names).strip()
    if not text:
        raise RecipeError(f"The field {names[0]} says which file or folder, and is not there.")
    return text
