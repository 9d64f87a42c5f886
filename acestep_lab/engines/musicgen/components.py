"""Each component of a MusicGen checkpoint made into its module. The only file that says which class a component is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch import nn

from acestep_lab._libraries import transformers
from acestep_lab.engines.musicgen.chroma import PITCH_CLASSES
from acestep_lab.engines.musicgen.generation import Decoder
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import weights
from acestep_lab.models.assembly import assemble, fitting
from acestep_lab.models.weights import short

_PADDINGS = frozenset({"stride", "kernel_size", "padding_total"})
"""What an EnCodec convolution reads to know how far to fill up its input."""

if TYPE_CHECKING:
    from acestep_lab.engines.musicgen.checkpoint import Checkpoint


def build(checkpoint: Checkpoint, component: str, dtype: torch.dtype) -> nn.Module:
    """One component on the CPU, strictly loaded, in evaluation mode."""
    entries = checkpoint.entries(component)
    dtype = torch.float32 if component == "codec" else dtype
    module = assemble(maker(checkpoint, component), entries, checkpoint.folder, dtype)
    finish(component, module, dtype)
    return module


def verify(checkpoint: Checkpoint, component: str) -> None:
    """Compare a component's stored tensors with its module by name and shape, without reading them; CheckpointError."""
    fitting(maker(checkpoint, component), checkpoint.entries(component), checkpoint.folder, {})


def finish(component: str, module: Any, dtype: torch.dtype) -> None:
    """What no stored tensor says: T5 reads one table under two names, the decoder's table of sines is computed, and EnCodec's
    sizes stay on the host: on a card, transformers would wait for each of them at every convolution.
    """
    if component == "codec":
        for part in module.modules():
            for name in _PADDINGS & part._buffers.keys():
                setattr(part, name, part._buffers.pop(name).detach())  # a plain tensor, which no `to` moves
    if component == "text":
        module.encoder.embed_tokens.weight = module.shared.weight
    if component == "decoder":
        positions = module.decoder.model.decoder.embed_positions
        positions.weights = positions.weights.to(dtype)


def maker(checkpoint: Checkpoint, component: str) -> Callable[[], nn.Module]:
    """What makes the bare module of a component from its config."""
    config = checkpoint.config_of(component)
    if component == "text":
        return lambda: transformers.T5EncoderModel(transformers.T5Config.from_dict(_encoder_only(config)))
    if component == "codec":
        return lambda: transformers.EncodecModel(transformers.EncodecConfig.from_dict(config))
    width = weights.whole_number(checkpoint.config_of("text"), "d_model", short(checkpoint.folder), 768)
    if checkpoint.is_melody:
        return lambda: Decoder(
            transformers.MusicgenMelodyForCausalLM(transformers.MusicgenMelodyDecoderConfig.from_dict(config)),
            width,
            PITCH_CLASSES,
        )
    return lambda: Decoder(
        transformers.MusicgenForCausalLM(transformers.MusicgenDecoderConfig.from_dict(config)), width, None
    )


def _encoder_only(config: Mapping[str, Any]) -> dict[str, Any]:
    """T5's config for its encoder alone."""
    return dict(config) | {"is_encoder_decoder": False, "use_cache": False}


def tokenizer(folder: Path, words: int) -> Tokenizer:
    """The tokenizer in a folder's tokenizer.json; it knows no word that its model does not."""
    file = folder / "tokenizer.json"
    text = weights.read_json(file)  # missing, damaged or no table: said there
    try:
        found = Tokenizer.from_file(str(file))
    except Exception as reason:  # the library raises nothing more particular
        raise CheckpointError(
            f"The tokenizer in {short(file)} cannot be read ({shown(' '.join(str(reason).split()), 100)})."
        ) from reason
    found.no_padding()
    found.no_truncation()
    if not text or found.get_vocab_size() > words:
        raise CheckpointError(
            f"The tokenizer in {short(folder)} knows {found.get_vocab_size():,} words and its model {words:,}: they are not of a "
            "kind."
        )
    return found
