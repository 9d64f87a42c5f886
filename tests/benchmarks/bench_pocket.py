"""The embedded checkpoint's VAE on ten seconds of music: diffusers, ours; and the spectrum guessed without decoding.

python -m tests.benchmarks.bench_pocket         # under a minute of processor time
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from acestep_lab._torchaudio import mel
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from acestep_lab.models.loading import Checkpoint
from acestep_lab.train.synthetic_music import compose, render
from acestep_lab.ui.latent_image import Probe
from tests.benchmarks.meter import error, race, show, write

SECONDS, SONGS, BANDS = 10.0, 4, 48


def song(seed: int, codec: Codec) -> Tensor:
    """A made song, [channels, samples], at the VAE's rate."""
    mix = np.atleast_2d(np.asarray(render(compose(seed, SECONDS), codec.rate).mix, dtype=np.float32))
    return torch.from_numpy(np.ascontiguousarray(mix[: codec.channels]))


@torch.inference_mode()
def main() -> None:
    checkpoint = Checkpoint.open("pocket")
    stock: Any = checkpoint.build("vae")
    stock.use_tiling = False
    codec = Codec(prepare_vae(checkpoint.build("vae")))
    sound = song(0, codec)
    latent = codec.encode(sound)
    decoding = race(
        {"diffusers fp32": lambda: stock.decode(latent.T[None]).sample, "ours fp32": lambda: codec.decode(latent)},
        5,
        SECONDS,
    )
    decoding["ours fp32"]["error"] = error(codec.decode(latent), stock.decode(latent.T[None]).sample[0])
    encoding = race(
        {"diffusers fp32": lambda: stock.encode(sound[None]), "ours fp32": lambda: codec.encode(sound)}, 3, SECONDS
    )
    show("decoding, processor milliseconds per second of sound", decoding)
    show("encoding, processor milliseconds per second of sound", encoding)
    explained, probing = probe(codec)
    show("spectrum without decoding", {"probe": {"explained": explained, **probing}})
    write("pocket", {"decode": decoding, "encode": encoding, "probe": {"explained": explained, **probing}})


def probe(codec: Codec) -> tuple[float, dict[str, float]]:
    """How much of unheard spectra a probe explains, and what it costs beside decoding."""
    latents, bands = [], []
    for seed in range(SONGS):
        latent = codec.encode(song(seed, codec))
        power = mel(codec.decode(latent).mean(0), codec.rate, bins=BANDS, window=1024, hop=codec.hop)[:, : len(latent)]
        latents.append(latent)
        bands.append(torch.log10(power + 1e-4).T)
    found = Probe.fit(torch.cat(latents), torch.cat(bands))
    taken = race({"decode": lambda: codec.decode(latents[0]), "probe": lambda: found.spectrum(latents[0])}, 3, SECONDS)
    return round(found.explained, 3), {"ms": taken["probe"]["ms"], "quicker than decoding": taken["probe"]["quicker"]}


if __name__ == "__main__":
    main()
