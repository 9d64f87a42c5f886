"""Each component of an ACE-Step v1 checkpoint made into its module. The only file that says which class a component is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from acestep_lab.engines.ace_v1 import dcae, layout, text_encoder
from acestep_lab.engines.ace_v1.checkpoint import DCAE, TEXT, TRANSFORMER, VOCODER, Checkpoint
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig, check_derived, is_derived, own_names
from acestep_lab.models import weights
from acestep_lab.models.assembly import assemble, fitting, read
from acestep_lab.models.weights import Entry, read_config


class Codecs(nn.Module):
    """What makes sound of a latent and the other way round: the DCAE and the vocoder, beside each other."""

    def __init__(self, dcae: nn.Module, vocoder: Vocoder):
        super().__init__()
        self.dcae, self.vocoder = dcae, vocoder


def entries(checkpoint: Checkpoint, component: str) -> dict[str, Entry]:
    """The stored tensors of a component by its module's names; CheckpointError where a file is missing or damaged."""
    if component == "text":
        return text_encoder.entries(checkpoint.place(TEXT))
    if component == "dit":
        return layout.without_unused(weights.stored_tensors(checkpoint.place(TRANSFORMER)), checkpoint.config)
    of_dcae = weights.stored_tensors(checkpoint.place(DCAE))
    of_vocoder = own_names(weights.stored_tensors(checkpoint.place(VOCODER)))
    return {f"dcae.{name}": entry for name, entry in of_dcae.items()} | {
        f"vocoder.{name}": entry for name, entry in of_vocoder.items()
    }


def build(checkpoint: Checkpoint, component: str, dtype: torch.dtype) -> nn.Module:
    """One component on the CPU, strictly loaded, in evaluation mode."""
    if component == "text":
        return text_encoder.build(checkpoint.place(TEXT), dtype)
    if component == "dit":
        return AceStepV1Transformer.load(checkpoint.place(TRANSFORMER), dtype)
    autoencoder = assemble(*_dcae(checkpoint.place(DCAE)), checkpoint.place(DCAE), dtype)
    return Codecs(autoencoder, _vocoder(checkpoint.place(VOCODER), dtype)).eval()


def verify(checkpoint: Checkpoint, component: str) -> None:
    """Compare a component's stored tensors with its module by name and shape, without reading them; CheckpointError."""
    if component == "text":
        text_encoder.verify(checkpoint.place(TEXT))
    elif component == "dit":
        fitting(
            lambda: AceStepV1Transformer(checkpoint.config),
            entries(checkpoint, "dit"),
            checkpoint.place(TRANSFORMER),
            {},
        )
    else:
        for made, own, place in (
            (*_dcae(checkpoint.place(DCAE)), DCAE),
            (*_bare_vocoder(checkpoint.place(VOCODER)), VOCODER),
        ):
            fitting(made, own, checkpoint.place(place), {})


def _dcae(folder: Path) -> tuple[Any, dict[str, Entry]]:
    config = read_config(folder / "config.json")
    return lambda: dcae.build(config), weights.stored_tensors(folder)


def _bare_vocoder(folder: Path) -> tuple[Any, dict[str, Entry]]:
    config = VocoderConfig.from_config(read_config(folder / "config.json"))
    return lambda: Vocoder(config), own_names(weights.stored_tensors(folder))


def _vocoder(folder: Path, dtype: torch.dtype) -> Vocoder:
    """The vocoder with its weight norm worked out, once what its file says of the mel is found true."""
    make, own = _bare_vocoder(folder)
    derived = {name: entry for name, entry in weights.stored_tensors(folder).items() if is_derived(name)}
    made = assemble(make, own, folder, torch.float32)
    assert isinstance(made, Vocoder)
    check_derived(read(derived, torch.float32), made.config)
    return made.fuse().requires_grad_(False).to(dtype)
