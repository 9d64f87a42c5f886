"""Each part of a checkpoint made into its module. The only file that says which class a part is; torch lives here."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AceStepTransformer1DModel, AutoencoderOobleck
from diffusers.pipelines.ace_step.modeling_ace_step import (
    AceStepAudioTokenDetokenizer,
    AceStepAudioTokenizer,
    AceStepConditionEncoder,
)
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from acestep_lab.errors import CheckpointError
from acestep_lab.models import original, weights
from acestep_lab.models.assembly import Codes, assemble, fitting
from acestep_lab.models.weights import Entry, read_json

MARKS = frozenset({"is_lego_sft"})
"""What a config says of how a part was taught, not of how it is built."""

if TYPE_CHECKING:
    from acestep_lab.models.loading import Checkpoint

Make = Callable[[], nn.Module]


def build(checkpoint: Checkpoint, part: str, dtype: torch.dtype | None) -> nn.Module:
    """One part of a checkpoint on the CPU, strictly loaded, in evaluation mode."""
    make, entries, place, given = _ingredients(checkpoint, part)
    return assemble(make, entries, place, dtype, given)


def verify(checkpoint: Checkpoint, part: str) -> None:
    """Compare a part's stored tensors with its module by name and shape, without reading them; CheckpointError."""
    make, entries, place, given = _ingredients(checkpoint, part)
    fitting(make, entries, place, given)


def _ingredients(checkpoint: Checkpoint, part: str) -> tuple[Make, Mapping[str, Entry], Path, dict[str, Tensor]]:
    """What makes a part, the tensors stored for it, where they are, and those that are stored apart."""
    place = checkpoint.places[part]
    entries: Mapping[str, Entry] = checkpoint._entries(part)
    if part in ("text", "lm"):
        entries = _language_entries(part, entries)
    given = _silence(place) if part == "condition" and checkpoint.layout == "original" else {}
    return maker(checkpoint, part), entries, place, given


def maker(checkpoint: Checkpoint, part: str) -> Make:
    """What makes the bare module of a part from its config."""
    if part in ("text", "lm"):
        return _language(part, checkpoint.places[part])
    if checkpoint.layout == "original" and part in original.PREFIXES:
        return from_published(part, checkpoint.config(part))
    if part == "codes":
        here, back = checkpoint.config("codes"), read_json(checkpoint.places["codes_back"] / "config.json")
        return lambda: Codes(_make(AceStepAudioTokenizer, here), _make(AceStepAudioTokenDetokenizer, back))
    classes = {
        "dit": AceStepTransformer1DModel,
        "condition": AceStepConditionEncoder,
        "vae": AutoencoderOobleck,
    }
    config = checkpoint.config(part)
    if part == "condition":
        token = _reads_token(checkpoint, config)
        return lambda: _condition(config, token)
    return lambda: _make(classes[part], config)


def _reads_token(checkpoint: Checkpoint, config: Mapping[str, Any]) -> bool:
    """Whether the timbre encoder reads its learnt token first: beside a wider transformer (XL), in both layouts.

    A pocket may be as wide, but was taught with diffusers' own class, which never reads it.
    """
    if (checkpoint.folder / "pocket.json").is_file():
        return False
    return _width(AceStepTransformer1DModel, checkpoint.config("dit")) != _width(AceStepConditionEncoder, config)


def _width(kind: Any, config: Mapping[str, Any]) -> int:
    """The width a config gives its module, or the module's own where the config leaves it open."""
    return config.get("hidden_size") or inspect.signature(kind.__init__).parameters["hidden_size"].default


def from_published(part: str, config: Mapping[str, Any]) -> Make:
    """What makes the bare module of a part of the published layout."""
    if part == "dit":
        return lambda: _make(AceStepTransformer1DModel, original.dit_config(config))
    if part == "condition":
        return lambda: _condition(original.condition_config(config), original.timbre_takes_a_token(config))
    return lambda: Codes(
        _make(AceStepAudioTokenizer, original.tokenizer_config(config)),
        _make(AceStepAudioTokenDetokenizer, original.detokenizer_config(config)),
    )


def _condition(config: Mapping[str, Any], token: bool) -> nn.Module:
    """The condition encoder; `token`: its timbre encoder reads its learnt token first."""
    condition = _make(AceStepConditionEncoder, config)
    if token:
        encoder = condition.timbre_encoder
        encoder.embed_tokens.register_forward_hook(_TokenFirst(encoder))
    return condition


class _TokenFirst:
    """Puts the timbre encoder's learnt token before the frames; the encoder then reads its answer there."""

    def __init__(self, encoder: Any):
        self.encoder = encoder

    def __call__(self, module: nn.Module, inputs: Any, frames: Tensor) -> Tensor:
        token = self.encoder.special_token.to(frames).expand(len(frames), 1, -1)
        return torch.cat([token, frames], dim=1)  # [clips, 1 + frames, width]


def _make(kind: Any, config: Mapping[str, Any]) -> Any:
    """The module of a config, whose notes to itself ("_class_name", …) are not arguments."""
    named = config.get("_class_name", kind.__name__)
    if named != kind.__name__:
        raise CheckpointError(f"A config is of a {named} where a {kind.__name__} belongs.")
    arguments = {key: value for key, value in config.items() if not key.startswith("_") and key not in MARKS}
    unknown = sorted(set(arguments) - set(inspect.signature(kind.__init__).parameters))
    if unknown:
        raise CheckpointError(
            f"The config of a {kind.__name__} has {', '.join(unknown)}, which this version of diffusers does not know; "
            "a newer diffusers may."
        )
    return kind(**arguments)


def _language(part: str, folder: Path) -> Make:
    config = read_json(folder / "config.json")
    if config.get("model_type") != "qwen3":
        raise CheckpointError(f"{folder / 'config.json'} is of a {config.get('model_type')!r} where a 'qwen3' belongs.")
    kind = Qwen3Model if part == "text" else Qwen3ForCausalLM
    return lambda: kind(Qwen3Config.from_dict(config))


def _language_entries(part: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Stored keys of a language model in the words of the class, whether it was saved with its head or without.

    With its head a model's names begin with "model.", without it they do not.
    """
    if part == "text":
        return {key.removeprefix("model."): entry for key, entry in entries.items() if key != "lm_head.weight"}
    if any(key.startswith("model.") for key in entries):
        return dict(entries)
    return {key if key == "lm_head.weight" else f"model.{key}": entry for key, entry in entries.items()}


def _silence(folder: Path) -> dict[str, Tensor]:
    """The silence latent of a published checkpoint, [1, frames, channels]; read as numbers only, never as code."""
    file = folder / original.SILENCE
    if not file.is_file():
        raise CheckpointError(f"The file {file} is missing; {weights.holds(folder)}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            stored = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as reason:
        raise CheckpointError(
            f"The file {file} is damaged, or holds more than numbers and is not trusted. Fetch it again."
        ) from reason
    if not isinstance(stored, Tensor) or stored.ndim != 3:
        raise CheckpointError(f"The file {file} does not hold one tensor [1, channels, frames].")
    return {"silence_latent": stored.transpose(1, 2).contiguous()}  # stored [1, channels, frames]
