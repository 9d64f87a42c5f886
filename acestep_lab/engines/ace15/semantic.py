"""Latents to codes and back: the five-a-second bottleneck that keeps rhythm and harmony and forgets the sound.

Does not know tasks or the loop. `coder` is a module with `.tokenizer` and `.detokenizer` (diffusers'
AceStepAudioTokenizer and AceStepAudioTokenDetokenizer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from acestep_lab.errors import RecipeError


@torch.inference_mode()
def to_codes(coder: object, latent: Tensor, silence: Tensor) -> tuple[int, ...]:
    """Codes of a latent [frames, channels]; the last window is filled up with silence."""
    _, indices = _tokenized(coder, latent, silence)
    return tuple(int(code) for code in indices[0, :, 0])


@torch.inference_mode()
def from_codes(coder: Any, codes: Sequence[int]) -> Tensor:
    """Latent [codes * window, channels] that a list of codes stands for."""
    count = coder.tokenizer.quantizer.codebook_size
    if not codes:
        raise RecipeError("The list of codes is empty: give at least one code.")
    if wrong := [code for code in codes if not 0 <= code < count]:
        raise RecipeError(f"Code {wrong[0]} does not exist: this checkpoint's codes run from 0 to {count - 1}.")
    weight = coder.tokenizer.quantizer.project_out.weight
    indices = torch.tensor(codes, device=weight.device, dtype=torch.long)[None, :, None]
    return coder.detokenizer(coder.tokenizer.quantizer.get_output_from_indices(indices).to(weight.dtype))[0].float()


@torch.inference_mode()
def through_codes(coder: Any, latent: Tensor, silence: Tensor) -> Tensor:
    """A latent as its codes remember it, [frames, channels]."""
    quantized, _ = _tokenized(coder, latent, silence)
    return coder.detokenizer(quantized)[0, : latent.shape[0]].float()


def _tokenized(coder: Any, latent: Tensor, silence: Tensor) -> tuple[Tensor, Tensor]:
    like = coder.tokenizer.quantizer.project_out.weight
    return coder.tokenizer.tokenize(latent[None].to(like), silence[None].to(like))


def fitted(latent: Tensor, silence: Tensor, frames: int) -> Tensor:
    """A latent cut or filled up with silence to so many frames."""
    if latent.shape[0] >= frames:
        return latent[:frames]
    return torch.cat([latent, silence[: frames - latent.shape[0]].to(latent)])
