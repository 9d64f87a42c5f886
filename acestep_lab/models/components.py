"""Each component of a checkpoint made into its module. The only file that says which class a component is; torch lives here."""

from __future__ import annotations

import inspect
import pickle
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from acestep_lab._libraries import ace_step_modules, diffusers, transformers
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import published_layout, weights
from acestep_lab.models.assembly import ODD_CONFIG, Codes, assemble, fitting
from acestep_lab.models.weights import Entry, read_config, short

MARKS = frozenset({"is_lego_sft"})
"""What a config says of how a component was taught, not of how it is built."""

if TYPE_CHECKING:
    from acestep_lab.models.loading import Checkpoint

Make = Callable[[], nn.Module]


def build(checkpoint: Checkpoint, component: str, dtype: torch.dtype | None) -> nn.Module:
    """One component of a checkpoint on the CPU, strictly loaded, in evaluation mode."""
    make, entries, place, given = _ingredients(checkpoint, component)
    return assemble(make, entries, place, dtype, given)


def verify(checkpoint: Checkpoint, component: str) -> None:
    """Compare a component's stored tensors with its module by name and shape, without reading them; CheckpointError."""
    make, entries, place, given = _ingredients(checkpoint, component)
    fitting(make, entries, place, given)


def _ingredients(checkpoint: Checkpoint, component: str) -> tuple[Make, Mapping[str, Entry], Path, dict[str, Tensor]]:
    """What makes a component, the tensors stored for it, where they are, and those that are stored apart."""
    place = checkpoint.places[component]
    entries: Mapping[str, Entry] = checkpoint._entries(component)
    if component in ("text", "lm"):
        entries = _language_entries(component, entries)
    given = _silence(place) if component == "condition" and checkpoint.layout == "original" else {}
    return maker(checkpoint, component), entries, place, given


def maker(checkpoint: Checkpoint, component: str) -> Make:
    """What makes the bare module of a component from its config; the libraries are there once this returns."""
    if component in ("text", "lm"):
        return _language(component, checkpoint.places[component])
    if checkpoint.layout == "original" and component in published_layout.PREFIXES:
        return from_published(component, checkpoint.config(component))
    if component == "codes":
        back = read_config(checkpoint.places["codes_back"] / "config.json")
        return _codes(checkpoint.config("codes"), back)
    config = checkpoint.config(component)
    if component == "condition":
        return _condition(config, _reads_token(checkpoint, config))
    kind = {"dit": "AceStepTransformer1DModel", "vae": "AutoencoderOobleck"}[component]
    return partial(_make, getattr(diffusers, kind), config)


def _reads_token(checkpoint: Checkpoint, config: Mapping[str, Any]) -> bool:
    """Whether the timbre encoder reads its learnt token first: beside a wider transformer (XL), in both layouts.

    A pocket may be as wide, but was taught with diffusers' own class, which never reads it.
    """
    if (checkpoint.folder / "pocket.json").is_file():
        return False
    width = _width(diffusers.AceStepTransformer1DModel, checkpoint.config("dit"))
    return width != _width(ace_step_modules.AceStepConditionEncoder, config)


def _width(kind: Any, config: Mapping[str, Any]) -> int:
    """The width a config gives its module, or the module's own where the config leaves it open."""
    return config.get("hidden_size") or inspect.signature(kind.__init__).parameters["hidden_size"].default


def from_published(component: str, config: Mapping[str, Any]) -> Make:
    """What makes the bare module of a component of the published layout."""
    if component == "dit":
        return partial(_make, diffusers.AceStepTransformer1DModel, published_layout.dit_config(config))
    if component == "condition":
        return _condition(published_layout.condition_config(config), published_layout.timbre_takes_a_token(config))
    return _codes(published_layout.tokenizer_config(config), published_layout.detokenizer_config(config))


def _codes(tokenizer: Mapping[str, Any], detokenizer: Mapping[str, Any]) -> Make:
    """What makes both halves of the audio codes."""
    there, back = ace_step_modules.AceStepAudioTokenizer, ace_step_modules.AceStepAudioTokenDetokenizer
    return lambda: Codes(_make(there, tokenizer), _make(back, detokenizer))


def _condition(config: Mapping[str, object], token: bool) -> Make:
    """What makes the condition encoder; `token`: its timbre encoder reads its learnt token first."""
    kind = ace_step_modules.AceStepConditionEncoder

    def make() -> nn.Module:
        condition: nn.Module = _make(kind, config)
        if token:
            encoder: Any = condition.timbre_encoder
            encoder.embed_tokens.register_forward_hook(_TokenFirst(encoder))
        return condition

    return make


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
        raise CheckpointError(f"A config is of a {shown(named)} where a {kind.__name__} belongs.")
    known = inspect.signature(kind.__init__).parameters
    arguments = {key: value for key, value in config.items() if not key.startswith("_") and key not in MARKS}
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise CheckpointError(
            f"The config of a {kind.__name__} has {shown(', '.join(unknown))}, which this version of diffusers does not know; "
            "a newer diffusers may."
        )
    arguments = {key: value for key, value in arguments.items() if value is not None or key in NULL_HAS_A_MEANING}
    for key, value in arguments.items():
        if not _is_like(value, known[key].default, key):
            raise CheckpointError(
                f"The config of a {kind.__name__} has {shown(value)} for {key}, which is no value of its kind."
            )
    return kind(**arguments)


NULL_HAS_A_MEANING = ("sliding_window",)
"""Where null is not "as usual", which is what diffusers saves for whatever was left out: no window, every frame is seen."""
LAYER_TYPES = ("sliding_attention", "full_attention")


def _is_like(value: Any, default: Any, name: str) -> bool:
    """Whether a config's value is of the kind of the class's own default; where that is None, of what is known by name."""
    if value is None:
        return True
    if name == "layer_types":
        return isinstance(value, list) and all(one in LAYER_TYPES for one in value)
    if name == "fsq_input_levels" or isinstance(default, list):
        return isinstance(value, list) and bool(value) and all(type(one) is int and one > 0 for one in value)
    if name == "model_version" or isinstance(default, bool):
        return isinstance(value, str) if name == "model_version" else isinstance(value, bool)
    if name == "encoder_hidden_size" or isinstance(default, int):
        return type(value) is int and value > 0
    return not isinstance(default, float) or (type(value) in (int, float) and value >= 0)


def _language(component: str, folder: Path) -> Make:
    config = read_config(folder / "config.json")
    if config.get("model_type") != "qwen3":
        raise CheckpointError(
            f"{short(folder / 'config.json')} is of a {shown(config.get('model_type'))} where a 'qwen3' belongs."
        )
    kind = transformers.Qwen3Model if component == "text" else transformers.Qwen3ForCausalLM
    plain = {key: value for key, value in config.items() if not key.startswith("_") and key not in NOT_OURS}
    known: Any = transformers.Qwen3Config
    return lambda: kind(known.from_dict(plain))


NOT_OURS = ("auto_map", "attn_implementation", "quantization_config", "transformers_version", "torch_dtype", "dtype")
"""What a config says of code, kernels and storage; how its weights are computed with is decided here."""


def _language_entries(component: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Stored keys of a language model in the words of the class, whether it was saved with its head or without.

    With its head a model's names begin with "model.", without it they do not.
    """
    if component == "text":
        return {key.removeprefix("model."): entry for key, entry in entries.items() if key != "lm_head.weight"}
    if any(key.startswith("model.") for key in entries):
        return dict(entries)
    return {key if key == "lm_head.weight" else f"model.{key}": entry for key, entry in entries.items()}


LARGEST_SILENCE = 2**30
"""Bytes, once a tensor is laid out: a file of some bytes may claim any size."""


def _silence(folder: Path) -> dict[str, Tensor]:
    """The silence latent of a published checkpoint, [1, frames, channels]; read as numbers only, never as code."""
    file = folder / published_layout.SILENCE
    if not file.is_file():
        raise CheckpointError(f"The file {short(file)} is missing; {weights.holds(folder)}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            stored = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, EOFError, *ODD_CONFIG) as reason:  # a damaged pickle raises any of them
        raise CheckpointError(
            f"The file {short(file)} is damaged, or holds more than numbers and is not trusted. Fetch it again."
        ) from reason
    if not isinstance(stored, Tensor) or stored.ndim != 3 or not stored.is_floating_point():
        raise CheckpointError(f"The file {short(file)} does not hold one tensor [1, channels, frames].")
    if stored.numel() * stored.element_size() > LARGEST_SILENCE:
        raise CheckpointError(f"The file {short(file)} holds {stored.numel():,} numbers; a silence has some millions.")
    return {"silence_latent": stored.transpose(1, 2).contiguous()}  # stored [1, channels, frames]
