"""Peak memory above the weights, each case in a process of its own: the high-water mark of resident memory (Linux).

    python -m tests.benchmarks.bench_memory         # about two minutes of processor time
    python -m tests.benchmarks.bench_memory vae 48

The DiT has its real width and two layers (one sliding, one full; layers do not add up, they reuse each other's memory); the
VAE has its real size and is streamed in tiles of the default length. Its cost in time forbids decoding 600 s here, so its
flatness is shown at 12 and 24 s, and the whole 600 s with a narrow VAE of the same strides. A whole render goes through a
Session into a library, with tiny models at the published rate: what it shows is what is done to the sound itself, of which ten
minutes are 230 MB in float32.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from acestep_lab._libraries import diffusers
from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from tests.benchmarks import bench_dit
from tests.benchmarks.meter import DTYPE, by_dtype, known, show, write

CASES = [
    ("narrow vae", 60),
    ("narrow vae", 600),
    ("dit", 60),
    ("dit", 600),
    ("vae", 12),
    ("vae", 24),
    ("diffusers dit", 600),
    ("whole render", 60),
    ("whole render", 600),
]
PROCESSES = multiprocessing.get_context("fork")
MB = 2**20


def resident(field: str) -> int:
    """Bytes this process holds ("VmRSS") or has held at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_above(work: Callable[[], Any]) -> int:
    """Bytes of resident memory that a piece of work adds at its highest."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def dit_case(seconds: int, stock: bool = False) -> int:
    dit = bench_dit.real_size(layers=2).to(DTYPE)
    x, states, context = bench_dit.inputs(seconds)
    if stock:
        dit.requires_grad_(True)
        return peak_above(lambda: bench_dit.stock(dit, x, states, context))
    attention.install(dit)
    memory = attention.CrossAttentionCache()
    return peak_above(lambda: attention.velocity(dit, x, 0.7, states, context, cache=memory))


def vae_case(seconds: int, width: int = 128) -> int:
    """Streaming the decode: what is played or written away is not counted, what is held is."""
    config: dict[str, Any] = {
        "downsampling_ratios": [2, 4, 4, 6, 10],
        "sampling_rate": 48_000,
        "encoder_hidden_size": 2 * 64,
        "decoder_channels": width,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        vae = diffusers.AutoencoderOobleck(**config)
    vae.encoder = torch.nn.Sequential()  # not at work here
    codec = Codec(prepare_vae(vae.eval().requires_grad_(False)).to(DTYPE))
    latent = torch.randn(round(seconds * codec.frames_per_second), codec.latent_channels)
    return peak_above(lambda: [None for _ in codec.stream(latent)])


def render_case(seconds: int) -> int:
    """A take from words to file."""
    from acestep_lab import Recipe, Session
    from tests import tiny

    published = {"downsampling_ratios": [2, 4, 4, 6, 10], "channel_multiples": [1] * 5, "sampling_rate": 48_000}
    tiny.VAE.update(published)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tiny.tiny_diffusers(Path(folder, "checkpoint"), turbo=True, lm=False)
        with Session.open(checkpoint, library=Path(folder, "takes")) as lab:
            lab.make(Recipe("loads the parts", seconds=2, steps=1))
            return peak_above(lambda: lab.make(Recipe("dub", seconds=seconds, steps=1, seed=7)))


def measured(case: str, seconds: int) -> int:
    """Bytes at the peak of one case."""
    if case == "whole render":
        return render_case(seconds)
    with torch.inference_mode():
        if case.endswith("dit"):
            return dit_case(seconds, stock=case.startswith("diffusers"))
        return vae_case(seconds, width=8 if case.startswith("narrow") else 128)


def in_a_process_of_its_own(case: str, seconds: int) -> int:
    """The same, in a copy of this process, so that no case inherits what another one left behind."""
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=lambda: there.send(measured(case, seconds)))
    process.start()
    there.close()
    found: int = here.recv()
    process.join()
    return found


def main(cases: list[tuple[str, int]]) -> None:
    table = {} if cases is CASES else known(by_dtype("memory")).get("peak above the weights", {})
    for case, seconds in cases:
        row = {"MB": round(in_a_process_of_its_own(case, seconds) / MB)}
        table[f"{case}, {seconds} s"] = row
        show("peak memory above the weights", {f"{case}, {seconds} s": row})
        write(by_dtype("memory"), {"peak above the weights": table})


if __name__ == "__main__":
    main(CASES if len(sys.argv) < 3 else [(" ".join(sys.argv[1:-1]), int(sys.argv[-1]))])
