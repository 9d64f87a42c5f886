"""Decoding sound with the VAE at its real size (random weights): diffusers, and ours, in what this machine computes in.

python -m tests.benchmarks.bench_vae            # one second of sound; under a minute of processor time
python -m tests.benchmarks.bench_vae compile    # and torch.compile (a C++ compiler, half a minute more)
python -m tests.benchmarks.bench_vae seconds=4  # more at once, as a song is decoded
"""

from __future__ import annotations

import copy
import sys
import warnings
from typing import Any

import torch
from torch import nn

from acestep_lab._libraries import oobleck
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from tests.benchmarks.meter import DTYPE, SHORT, by_dtype, error, race, show, write

RATIOS, FRAMES_PER_SECOND, CHANNELS = [10, 6, 4, 4, 2], 25, 64
ROUNDS = 5


def real_size() -> Any:
    """The decoder of the published VAE with random weights."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        decoder = oobleck.OobleckDecoder(128, CHANNELS, 2, RATIOS, [1, 2, 4, 8, 16])
    return decoder.eval().requires_grad_(False)


def fused(decoder: nn.Module) -> nn.Module:
    """Weight norm fused, nothing else changed."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            nn.utils.remove_weight_norm(module)
    return decoder


@torch.inference_mode()
def main(compiled: bool, seconds: int = 1) -> None:
    stock = real_size()
    latent = torch.randn(1, CHANNELS, seconds * FRAMES_PER_SECOND, generator=torch.Generator().manual_seed(1))
    seen = latent.to(DTYPE)
    decoders = {"diffusers fp32": (stock, latent), "ours fp32": (prepare_vae(copy.deepcopy(stock)), latent)}
    if DTYPE is torch.bfloat16:
        decoders |= {
            "diffusers bf16": (copy.deepcopy(stock).bfloat16(), seen),
            "ours bf16": (prepare_vae(copy.deepcopy(stock)).bfloat16(), seen),
        }
    decoders[f"{SHORT}, weight norm fused"] = (fused(copy.deepcopy(stock)).to(DTYPE), seen)
    if compiled:
        whole = torch.compile(fused(copy.deepcopy(stock)).to(DTYPE), dynamic=False)
        decoders[f"{SHORT}, fused, torch.compile"] = (whole, seen)
    exact = stock(latent)
    errors = {name: error(decoder(z), exact) for name, (decoder, z) in decoders.items()}  # and everything is warm
    works = {name: lambda d=d, z=z: d(z) for name, (d, z) in decoders.items()}
    table: dict[str, dict[str, Any]] = race(works, ROUNDS, seconds, warm=False)
    for name in decoders:
        table[name]["error"] = float(f"{errors[name]:.2e}")
    show("decoding, processor milliseconds per second of sound", table)
    write(by_dtype("vae"), {f"decode {seconds} s": table})


if __name__ == "__main__":
    main("compile" in sys.argv[1:], *(int(one.split("=")[1]) for one in sys.argv[1:] if one.startswith("seconds=")))
