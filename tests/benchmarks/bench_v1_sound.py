"""ACE-Step v1's sound in tiles against the whole: error, time, peak memory, and what windows change.

    python -m tests.benchmarks.bench_v1_sound                # a few minutes of processor time
    python -m tests.benchmarks.bench_v1_sound memory 240     # one length alone; also: tiles, windows

Layers have their published shape and order, one a level, and random weights. "tiles" runs them at half the published width,
"memory" at an eighth, each case in a process of its own. The whole is diffusers' decoder and the vocoder on all frames at once.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

from acestep_lab.engines.ace_v1.codec import SCALE, SHIFT, Codec
from acestep_lab.engines.ace_v1.dcae import PUBLISHED, build
from acestep_lab.engines.ace_v1.log_mel import from_picture
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig
from tests.benchmarks.bench_memory import MB, PROCESSES, peak_above
from tests.benchmarks.meter import error, known, race, show, write

ROUNDS, LENGTHS = 3, (30, 60, 240)


def thin(share: int, vocoder_layers: bool = True) -> tuple[Any, Vocoder]:
    """A DCAE and a vocoder of the published shape with 1/share of the channels and one layer a level."""
    torch.manual_seed(0)
    channels, one = tuple(width // share for width in (128, 256, 512, 1024)), (1, 1, 1, 1)
    sizes = {"encoder_block_out_channels": channels, "decoder_block_out_channels": channels}
    layers = {
        "encoder_layers_per_block": one,
        "decoder_layers_per_block": one,
        "attention_head_dim": 32 // min(share, 4),
    }
    kinds: dict[str, Any] = (
        {} if vocoder_layers else {"resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1, 3, 5),)}
    )
    config = VocoderConfig(
        depths=one, dims=(128, 256 // share, 384 // share, 512 // share), num_mels=512 // share,
        upsample_initial_channel=1024 // share, **kinds,
    )  # fmt: skip
    vocoder = Vocoder(config).eval().requires_grad_(False)
    for name, value in vocoder.named_parameters():
        if name.endswith(("gamma", "original0")):
            value.fill_(0.3) if name.endswith("gamma") else value.mul_(2.0)
    return build({**PUBLISHED, **sizes, **layers}).eval().requires_grad_(False), vocoder.fuse()


def latent_of(frames: int) -> Tensor:
    return torch.randn(frames, 128, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def at_once(dcae: Any, vocoder: Vocoder, latent: Tensor) -> Tensor:
    """The whole with nothing cut: what the original does without `overlapped_decode`."""
    picture = dcae.decoder(latent.T.unflatten(0, (8, 16))[None] / SCALE + SHIFT)
    return torch.cat([vocoder(one[None]) for one in from_picture(picture)[0]])


def tiles() -> dict[str, Any]:
    """20 seconds (two and a half tiles): milliseconds a second of sound, and the error against the whole."""
    dcae, vocoder = thin(2, vocoder_layers=False)
    codec, latent = Codec(dcae, vocoder), latent_of(215)
    works = {"at once": lambda: at_once(dcae, vocoder, latent), "in tiles": lambda: codec.decode(latent)}
    table: dict[str, dict[str, Any]] = race(works, ROUNDS, 215 / codec.frames_per_second, warm=False)
    table["in tiles"]["error"] = float(f"{error(codec.decode(latent), works['at once']()):.1e}")
    return table


def two_frames_of_context(codec: Codec, log_mel: Tensor) -> Tensor:
    """The vocoder as the original's windows run it: 512 mel frames with two of context on either side."""
    hop, frames = codec.log_mel.hop, log_mel.shape[-1]
    pieces = []
    for start in range(0, frames, 508):
        low, high = max(0, start - 2), min(frames, start + 510)
        part = codec.vocoder(log_mel[..., low:high])
        pieces.append(part[:, (start - low) * hop : (min(frames, start + 508) - low) * hop])
    return torch.cat(pieces, dim=-1)


@torch.inference_mode()
def overlaps() -> dict[str, Any]:
    """A minute and a half: how far windows are from the whole, of the DCAE's picture and of the sound; random weights."""
    dcae, vocoder = thin(8)
    whole, windowed, latent = Codec(dcae, vocoder), Codec(dcae, vocoder, overlapped=True), latent_of(970)
    pictures, sounds = [], []
    for codec in (whole, windowed):
        opened = codec.open(latent)
        opened._sum(0, 970, None, lambda share: None)
        pictures.append(torch.cat([opened._log_mel(i, min(970, i + 97), None) for i in range(0, 970, 97)], dim=-1))
        sounds.append(codec.decode(latent))
    cut = two_frames_of_context(whole, pictures[0])
    return {
        "DCAE windows, log-mel": {"error": float(f"{error(pictures[1], pictures[0]):.1e}")},
        "DCAE windows, sound": {"error": float(f"{error(sounds[1], sounds[0]):.1e}")},
        "vocoder, 2 frames of context": {"error": float(f"{error(cut, sounds[0]):.1e}")},
        "vocoder, its whole reach": {"error": float(f"{error(sounds[0], at_once(dcae, vocoder, latent)):.1e}")},
    }


def memory_case(seconds: int, kind: str) -> int:
    """Bytes at the peak; of the tiles only what is held is counted, what is played or written away is not."""
    dcae, vocoder = thin(8, vocoder_layers=False)
    codec = Codec(dcae, vocoder)
    latent = latent_of(round(seconds * codec.frames_per_second))
    if kind == "at once":
        return peak_above(lambda: at_once(dcae, vocoder, latent))
    if kind == "encode":
        sound = torch.zeros(2, len(latent) * codec.hop)
        return peak_above(lambda: codec.encode(sound))
    return peak_above(lambda: [None for _ in codec.stream(latent)])


def in_a_process_of_its_own(seconds: int, kind: str) -> int:
    """The same, in a copy of this process, so that no case inherits what another one left behind."""
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=lambda: there.send(memory_case(seconds, kind)))
    process.start()
    there.close()
    found: int = here.recv()
    process.join()
    return found


def memory(lengths: tuple[int, ...]) -> dict[str, Any]:
    """Megabytes above the weights at each length."""
    kinds = ("in tiles", "at once", "encode")
    return {f"{kind}, {s} s": {"MB": round(in_a_process_of_its_own(s, kind) / MB)} for s in lengths for kind in kinds}


def main(asked: list[str]) -> None:
    lengths = tuple(int(word) for word in asked if word.isdigit()) or LENGTHS
    titles = {"tiles": tiles, "windows": overlaps, "memory": lambda: memory(lengths)}
    figures = known("v1_sound")
    for name in ("memory", "tiles", "windows"):
        if not asked or name in asked:
            figures[name] = titles[name]()
            show(name, figures[name])
    write("v1_sound", {name: figures[name] for name in titles if name in figures})


if __name__ == "__main__":
    main(sys.argv[1:])
