"""What REPA does on the embedded checkpoint: the alignment falls, and what becomes of the held-out loss beside a training without.

python -m tests.benchmarks.repa [steps=120]        # about five minutes of one core

Songs of the synthetic world through a narrow band (`odd_sounds`' radio), the same draws with and without. The encoders are a mel
spectrogram in dB of 40 bands (a listener that says something about music) and a HuBERT of random weights (one that says little).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acestep_lab import Library, Session
from acestep_lab._libraries import transformers
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.repa import SoundEncoder
from tests.benchmarks.meter import show, write
from tests.benchmarks.odd_sounds import dataset

RATE, HOP, WINDOW, BANDS, SONGS = 16_000, 320, 1024, 40, 12
HOW: dict[str, Any] = {
    "rank": 16, "alpha": 16.0, "targets": ("attention", "mlp"), "learning_rate": 2e-3, "batch": 4, "crop_seconds": 5.0,
    "warm_up": 10, "held_out": 0.25, "seed": 1,
}  # fmt: skip


def bands(sound: Tensor) -> Tensor:
    """Levels of 40 bands in dB, 50 times a second, each band around its own mean `[frames, 40]`."""
    power = torch.stft(sound, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)[0].abs() ** 2
    edges = torch.logspace(0.7, torch.log10(torch.tensor(WINDOW / 2.0)), BANDS + 1).round().long()
    summed = torch.stack([power[low : max(high, low + 1)].mean(dim=0) for low, high in zip(edges, edges[1:])], dim=1)
    level = 10 * torch.log10(summed + 1e-6)
    return level - level.mean(dim=0)


def listeners() -> dict[str, list[Any]]:
    """Which encoders each training has."""
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    hubert, mel = transformers.HubertModel(config).eval(), SoundEncoder(bands, RATE, "bands")
    return {"without": [], "bands": [mel], "bands and a random HuBERT": [mel, hubert]}


def taught(lab: Session, songs: Dataset, ears: list[Any], folder: Path, steps: int) -> tuple[TrainingRun, float]:
    """A training, and the processor seconds of it all."""
    began = time.process_time()
    run = lab.train(songs, folder=folder, repa=ears, steps=steps, held_out_every=max(1, steps // 4), **HOW)
    run.result()
    return run, time.process_time() - began


def told(run: TrainingRun, seconds: float) -> dict[str, Any]:
    """Held-out loss and alignment over the steps, and the processor seconds of a step."""
    aligned = " → ".join(f"{one.loss:.3f}" for one in run.alignment_curve) or "–"
    held_out = " → ".join(f"{one.loss:.3f}" for one in run.held_out_curve)
    return {"held-out loss": held_out, "alignment": aligned, "cpu-s a step": round(seconds / run.steps, 3)}


def main(steps: int) -> None:
    """Train without and with, and tell."""
    torch.set_num_threads(1)
    table = {}
    with tempfile.TemporaryDirectory() as place, Session.open(library=Library(Path(place) / "library")) as lab:
        lab.jobs.progress = False
        songs = Dataset(dataset("radio", Path(place)).songs[:SONGS])
        lab.train(songs, folder=Path(place) / "first", steps=2, **HOW).result()  # reads the songs for all
        for number, (name, ears) in enumerate(listeners().items()):
            table[name] = told(*taught(lab, songs, ears, Path(place) / f"run {number}", steps))
            print(name, table[name], flush=True)
    show(f"{steps} steps, held-out songs at five moments of each training", table)
    write("repa", {"steps": steps, "trainings": table})


if __name__ == "__main__":
    main(next((int(one.partition("=")[2]) for one in sys.argv[1:] if one.startswith("steps=")), 120))
