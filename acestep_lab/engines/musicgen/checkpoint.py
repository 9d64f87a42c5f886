"""A name or folder, and the components of the MusicGen checkpoint it stands for. Knows files; never the network.

Opening reads small JSON files and no weights; `build(component)` makes one, strictly: every stored tensor has its place and every
place its tensor. Only safetensors are read. A published checkpoint keeps all its components in one file, under prefixes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acestep_lab.engines.musicgen import catalog
from acestep_lab.engines.musicgen.catalog import Row
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import loading, weights
from acestep_lab.models.weights import Entry, number, read_config, short, whole_number

if TYPE_CHECKING:
    import torch
    from torch import nn

COMPONENTS = ("text", "codec", "decoder")
"""In the order a render uses them; the codec once more at its end."""
KINDS = ("musicgen", "musicgen_melody")
"""What a config.json of this family says of its model_type."""

_PREFIXES = {
    "text": ("text_encoder.",),
    "codec": ("audio_encoder.",),
    "decoder": ("decoder.", "enc_to_dec_proj.", "audio_enc_to_dec_proj."),
}
_CONFIGS = {"text": ("text_encoder", "t5"), "codec": ("audio_encoder", "encodec"), "decoder": ("decoder", "")}
"""Each component's table in config.json, and the model_type it must have."""
_NOT_OURS = (
    "auto_map", "attn_implementation", "quantization_config", "transformers_version", "torch_dtype", "dtype", "architectures",
)  # fmt: skip
"""What a config says of code, kernels and storage; how weights are computed with is decided here."""
_LARGEST = {"max_position_embeddings": 2**16}
"""Of numbers whose tables are computed, and not read, when a component is made."""
_POSITIONS = "decoder.model.decoder.embed_positions.weights"
"""A table of sines that older files hold, and that is computed here."""
_SHARED = ("shared.weight", "encoder.embed_tokens.weight")
"""T5's two names for its one table of words, of which a file holds either or both."""
_WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""torch's older names for the halves of a normalised weight, which published files have, and its newer ones."""


@dataclass(frozen=True)
class Shape:
    """The numbers of a checkpoint that everybody asks for."""

    codebooks: int
    channels: int
    words: int
    """Codes of a codebook; the one after the last is the pad."""
    pad: int
    rate: int
    hop: int
    """Samples of a frame at the codec's rate."""
    chroma: int | None
    """Frames of a melody; None: this checkpoint follows none."""

    @property
    def frames_per_second(self) -> float:
        return self.rate / self.hop


@dataclass(frozen=True)
class Checkpoint:
    """One MusicGen checkpoint on disk."""

    row: Row | None
    """Its catalog row; None for a folder of somebody's own."""
    name: str
    folder: Path
    config: Mapping[str, Any]
    defaults: Mapping[str, Any]
    """What its generation_config.json says."""
    shape: Shape

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Checkpoint:
        """Find a checkpoint by catalog name, folder or hub id; light. CheckpointError says what is missing."""
        folder, row = loading.located(name, catalog.find, catalog.ROWS)
        config = read_config(folder / "config.json")
        if config.get("model_type") not in KINDS:
            raise CheckpointError(
                f"{short(folder / 'config.json')} is of a {shown(config.get('model_type'))} where a 'musicgen' belongs."
            )
        generation_config = folder / "generation_config.json"
        defaults = read_config(generation_config) if generation_config.is_file() else {}
        return cls(row, row.name if row else folder.name, folder, config, defaults, _shape(config, folder))

    @property
    def is_melody(self) -> bool:
        return self.shape.chroma is not None

    def config_of(self, component: str) -> dict[str, Any]:
        """The table of config.json that a component is made from, without what is decided here."""
        return _table(self.config, component, self.folder)

    @cached_property
    def stored(self) -> Mapping[str, Entry]:
        """Every stored tensor by its published name: headers only."""
        return weights.stored_tensors(self.folder)

    def entries(self, component: str) -> dict[str, Entry]:
        """The stored tensors of a component, by the names its module gives them; CheckpointError for tensors of none."""
        if component not in COMPONENTS:
            raise CheckpointError(f"{self.name} has no component {shown(component)}; it has {', '.join(COMPONENTS)}.")
        homeless = [
            name for name in self.stored if not name.startswith(tuple(p for ps in _PREFIXES.values() for p in ps))
        ]
        if homeless:
            raise CheckpointError(
                f"{short(self.folder)} holds weights of no component of MusicGen: {shown(homeless[0])}."
            )
        own = {name: entry for name, entry in self.stored.items() if name.startswith(_PREFIXES[component])}
        return dict(_renamed(component, own))

    def sizes(self) -> dict[str, int]:
        """Bytes of each component at two bytes a number; EnCodec, computed in float32 always, at four."""
        each = {"codec": 4}
        return {
            name: sum(entry.numbers for key, entry in self.entries(name).items() if key != _SHARED[1])
            * each.get(name, 2)
            for name in COMPONENTS
        }

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        """Make a component on the CPU: "text" T5EncoderModel, "codec" EncodecModel (float32, whatever is asked: codes are
        nearest neighbours), "decoder" `generation.Decoder`.
        """
        from acestep_lab.engines.musicgen import components

        return components.build(self, component, dtype)

    def verify(self, component: str) -> None:
        """Check a component's tensors against its config, names and shapes, without reading them; CheckpointError."""
        from acestep_lab.engines.musicgen import components

        components.verify(self, component)

    def tokenizer(self) -> Any:
        """T5's tokenizer, from tokenizer.json; never code, never the network."""
        from acestep_lab.engines.musicgen import components

        return components.tokenizer(self.folder, whole_number(self.config_of("text"), "vocab_size", short(self.folder)))


def claims(name: str | os.PathLike[str]) -> bool:
    """Whether a name or folder is MusicGen's: a catalog name, or a config.json whose model_type says so."""
    if isinstance(name, str) and catalog.find(name) is not None:
        return True
    config = _config_file(name)
    if config is None:
        return False
    try:
        return weights.read_json(config).get("model_type") in KINDS
    except CheckpointError:
        return False


def _config_file(name: str | os.PathLike[str]) -> Path | None:
    """The config.json of a folder, or of a hub id in the cache; None where there is none."""
    try:
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder / "config.json" if (folder / "config.json").is_file() else None
    except (OSError, ValueError, TypeError, RuntimeError):  # a name that no disk has
        return None
    if not isinstance(name, str) or not loading.is_hub_id(name):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _table(config: Mapping[str, object], component: str, folder: Path) -> dict[str, Any]:
    name, kind = _CONFIGS[component]
    kind = kind or f"{config['model_type']}_decoder"
    found = config.get(name)
    if not isinstance(found, dict) or found.get("model_type") != kind:
        given = found.get("model_type") if isinstance(found, dict) else found
        raise CheckpointError(
            f"In {short(folder / 'config.json')}, {name} is of a {shown(given)} where {kind!r} belongs."
        )
    table = {key: value for key, value in found.items() if not key.startswith("_") and key not in _NOT_OURS}
    for key, value in table.items():
        most = weights.LARGEST_COUNT if key.endswith("layers") else _LARGEST.get(key, weights.LARGEST_NUMBER)
        if isinstance(value, int) and abs(value) > most:
            raise CheckpointError(
                f"In {short(folder / 'config.json')}, {shown(key)} of {name} is {shown(value)}; no model is that large."
            )
    return table


def _shape(config: Mapping[str, object], folder: Path) -> Shape:
    where = short(folder)
    decoder, codec = _table(config, "decoder", folder), _table(config, "codec", folder)
    _table(config, "text", folder)
    ratios = codec.get("upsampling_ratios")
    if not isinstance(ratios, list) or not ratios or not all(type(one) is int and 0 < one <= 64 for one in ratios):
        raise CheckpointError(
            f"The config of {where} has {shown(ratios)} for upsampling_ratios, a list of whole numbers."
        )
    if len(ratios) > 8:
        raise CheckpointError(f"The config of {where} has {len(ratios)} upsampling_ratios; EnCodec has four.")
    hop = 1
    for ratio in ratios:
        hop *= ratio
    words = whole_number(decoder, "vocab_size", where, 2048)
    channels = whole_number(decoder, "audio_channels", where, 1, most=2)
    codebooks = whole_number(decoder, "num_codebooks", where, 4, most=64)
    shape = Shape(
        codebooks, channels, words, whole_number(decoder, "pad_token_id", where, words, least=0),
        whole_number(codec, "sampling_rate", where, most=768_000), hop,
        whole_number(config, "chroma_length", where, 235, most=100_000) if config["model_type"] == KINDS[1] else None,
    )  # fmt: skip
    _check_fit(shape, codec, config, where)
    return shape


def _check_fit(shape: Shape, codec: Mapping[str, object], config: Mapping[str, object], where: str) -> None:
    """Refuse a codec that is not the decoder's own kind: mono, in one piece, with as many codebooks as it writes."""
    if codec.get("normalize") or codec.get("chunk_length_s") is not None or codec.get("audio_channels", 1) != 1:
        raise CheckpointError(
            f"The audio_encoder of {where} is no EnCodec as MusicGen has it: mono, unlevelled, in one piece."
        )
    if shape.codebooks % shape.channels or shape.pad != shape.words or shape.hop > shape.rate:
        raise CheckpointError(
            f"The config of {where} has {shape.codebooks} codebooks for {shape.channels} channels, {shape.words} codes and pad "
            f"{shape.pad}; MusicGen has the same number for each channel and pads with the code after the last."
        )
    size = whole_number(codec, "codebook_size", where, 1024)
    widths = codec.get("target_bandwidths")
    best = number({"best": widths[-1]}, "best", where) if isinstance(widths, list) and widths else 0.0
    bits = (size - 1).bit_length() * -(-shape.rate // shape.hop)
    if size != shape.words or not bits or int(1000 * best // bits) != shape.codebooks // shape.channels:
        raise CheckpointError(
            f"The decoder of {where} writes {shape.codebooks // shape.channels} codebooks of {shape.words} codes a channel, and its "
            f"audio_encoder has {int(1000 * best // bits) if bits else 0} of {size}: they are not of a kind."
        )
    if config["model_type"] == KINDS[1] and config.get("num_chroma", 12) != 12:
        raise CheckpointError(
            f"The config of {where} has {shown(config.get('num_chroma'))} pitch classes; there are 12."
        )


def _renamed(component: str, own: Mapping[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """Stored tensors under their module's names; what is stored twice, or computed, is left out."""
    for name, entry in own.items():
        if component == "decoder":
            if name != _POSITIONS:
                yield name, entry
            continue
        bare = name.removeprefix(_PREFIXES[component][0])
        head, _, tail = bare.rpartition(".")
        if component == "codec" and tail in _WEIGHT_NORM:
            bare = f"{head}.{_WEIGHT_NORM[tail]}"
        yield bare, entry
        other = _SHARED[1 - _SHARED.index(bare)] if component == "text" and bare in _SHARED else ""
        if other and f"{_PREFIXES['text'][0]}{other}" not in own:
            yield other, entry
