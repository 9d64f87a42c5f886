"""A tiny random ACE-Step v1 checkpoint in the published folders: under 2 MB, the same classes, nothing trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from acestep_lab.engines.ace_v1 import dcae
from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.engines.ace_v1.layout import projectors, uncalled
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig
from tests.tiny_v1_words import tiny_umt5, tiny_vocabulary


def tiny_v1(folder: Path, seed: int = 0, whole: bool = False, words: bool = True) -> Path:
    """Write a checkpoint; `whole` with what the published file holds and nobody calls, `words` with a lyric vocabulary."""
    config = _config()
    torch.manual_seed(seed)
    dit = AceStepV1Transformer(config)
    _spread(dit, 0.02)
    state = {name: tensor.contiguous() for name, tensor in dit.state_dict().items()}
    if whole:
        state |= {name: torch.randn(shape) for name, shape in (uncalled(config) | projectors(config)).items()}
    _write(folder / "ace_step_transformer", config.to_config(), state)
    autoencoder = dcae.build(dcae.TINY)
    _spread(autoencoder, 0.05)
    _write(folder / "music_dcae_f8c8", dict(autoencoder.config), autoencoder.state_dict())
    vocoder = Vocoder(VocoderConfig.tiny())
    _spread(vocoder, 0.05)
    _write(folder / "music_vocoder", vars(vocoder.config), vocoder.state_dict())
    tiny_umt5(folder / "umt5-base", layers=3, seed=seed)
    if words:
        tiny_vocabulary(folder / "lyric_tokenizer" / "vocab.json")
    return folder


def _config() -> V1Config:
    """The tiny transformer, as wide as the tiny text encoder speaks."""
    sizes = V1Config.tiny().to_config() | {"text_embedding_dim": 16}
    return V1Config.from_config(sizes)


def _spread(module: nn.Module, by: float) -> None:
    """Weights that are nowhere zero or all alike, so that every part of the model is heard."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(by * torch.randn_like(weight))


def _write(folder: Path, config: Any, state: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, default=list))
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, folder / "diffusion_pytorch_model.safetensors"
    )
