"""A random checkpoint of full size, and a song of it from words to sound: what a laptop without a card goes through.

python -m tests.benchmarks.full_size                    # 8 GB of disk, minutes of processor time; the folder is deleted after
python -m tests.benchmarks.full_size --layers 2         # everything but the DiT's depth
python -m tests.benchmarks.full_size --keep FOLDER      # written there once, used again and left

The 2B turbo with the 0.6B planner in bfloat16, as published; rendered in what this machine computes in and within `--memory` GB, each
component leaving when its work is done where they do not all fit. Told are the seconds of each stage, those in which weights
were read, and the most memory at any time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import nn

from acestep_lab import Planning, Recipe, Session
from acestep_lab._libraries import ace_step_modules, diffusers, transformers
from acestep_lab.errors import MachineError
from acestep_lab.models.tiers import GB, Tier
from tests.benchmarks.bench_planner import CODES, TEXT, language_model, planner_config, vocabulary
from tests.benchmarks.meter import DTYPE, by_dtype, show, write
from tests.tiny import _CHAT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DISK_BYTES = 8 * GB
NUMBERS = 999_983
"""Random numbers that are laid end to end over a weight: a prime, so that no two rows are alike."""
SONG = Recipe(
    "warm dub techno with tape hiss", lyrics="[verse]\nslow and deep\nwe go to sleep", seconds=10, seed=1, bpm=100,
    keyscale="C minor", timesignature="4", language="en", planning=Planning(writes_caption=False),
)  # fmt: skip
"""Everything is said, so that the planner writes its codes alone: what a random one says of a song has no end."""


# --- the checkpoint ------------------------------------------------------------------------------------------------------


def random_checkpoint(folder: Path, layers: int = 24) -> Path:
    """Write a full-size turbo with its planner, component by component, so that no more than one is in memory."""
    if shutil.disk_usage(folder).free < DISK_BYTES:
        raise MachineError(f"A checkpoint of full size takes {DISK_BYTES // GB} GB of disk; there are fewer left.")
    makers: dict[str, Callable[[], nn.Module]] = {
        "transformer": lambda: diffusers.AceStepTransformer1DModel(
            num_hidden_layers=layers, is_turbo=True, model_version="turbo"
        ),
        "condition_encoder": ace_step_modules.AceStepConditionEncoder,
        "audio_tokenizer": ace_step_modules.AceStepAudioTokenizer,
        "audio_token_detokenizer": ace_step_modules.AceStepAudioTokenDetokenizer,
        "text_encoder": lambda: transformers.Qwen3Model(planner_config(TEXT, 28)),
        "vae": vae,
        "lm": lambda: language_model(28, torch.bfloat16),
    }
    for name, make in makers.items():
        component(make).save_pretrained(folder / name)
    words = vocabulary()
    words.save_pretrained(folder / "tokenizer")
    write_planner_words(words, folder / "lm")
    return folder


def component(make: Callable[[], nn.Module]) -> Any:
    """A component in bfloat16 with random weights that keep the size of what goes through it."""
    with torch.device("meta"):
        shapes = make().bfloat16()
    plain = dict(shapes.named_parameters()).keys() >= shapes.state_dict().keys() - {"lm_head.weight"}
    module = shapes.to_empty(device="cpu") if plain else make().bfloat16()  # tables of its own are worked out
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    numbers = torch.randn(NUMBERS, generator=torch.Generator().manual_seed(0)).bfloat16()
    for name, weight in module.named_parameters():
        fill(name, weight.data, numbers)
    if hasattr(module, "silence_latent"):
        module.silence_latent.normal_(0, 0.3)
    return module


def fill(name: str, weight: torch.Tensor, numbers: torch.Tensor) -> None:
    """Matrices random, norms near one, biases and snakes zero."""
    if weight.ndim < 2 or "weight_g" in name or "alpha" in name or "beta" in name:
        weight.fill_(float("norm" in name or "weight_g" in name))
        return
    flat, scale = weight.view(-1), weight[0].numel() ** -0.5
    for start in range(0, len(flat), NUMBERS):
        some = flat[start : start + NUMBERS]
        torch.mul(numbers[: len(some)], scale, out=some)


def vae() -> nn.Module:
    """The published autoencoder's shape."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found: nn.Module = diffusers.AutoencoderOobleck(
            encoder_hidden_size=128, decoder_channels=128, decoder_input_channels=64, audio_channels=2,
            downsampling_ratios=[2, 4, 4, 6, 10], channel_multiples=[1, 2, 4, 8, 16], sampling_rate=48_000,
        )  # fmt: skip
    return found


def write_planner_words(words: PreTrainedTokenizerFast, folder: Path) -> None:
    """The tokenizer with its codes, written into its file: one by one they would take minutes."""
    words.chat_template = _CHAT
    words.save_pretrained(folder)
    file = folder / "tokenizer.json"
    stored = json.loads(file.read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    codes = ({"id": TEXT + code, "content": f"<|audio_code_{code}|>"} | plain for code in range(CODES))
    stored["added_tokens"] += codes
    file.write_text(json.dumps(stored))


# --- the song --------------------------------------------------------------------------------------------------------


class Watch:
    """How much memory this process holds and which weights are being read, looked at twenty times a second."""

    def __init__(self, lab: Session):
        self.devices, self.process = lab.engines.devices, psutil.Process()
        self.most, self.reading, self.over = 0, Counter[str](), threading.Event()
        self.held: Counter[str] = Counter()  # most bytes while a component is the last one read

    def look(self) -> None:
        last, component = time.perf_counter(), "start"
        while not self.over.wait(0.05):
            now, held = time.perf_counter(), self.process.memory_info().rss
            if self.devices.loading:
                component = self.devices.loading
                self.reading[component] += round(1000 * (now - last))
            self.held[component] = max(self.held[component], held)
            self.most, last = max(self.most, held), now

    @contextmanager
    def running(self) -> Iterator[None]:
        looking = threading.Thread(target=self.look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            self.over.set()
            looking.join()


def render(checkpoint: Path, memory: float) -> dict[str, Any]:
    """Seconds of each stage and memory of one song, planned, rendered and decoded."""
    tier = Tier.for_memory(memory, "cpu")
    with (
        tempfile.TemporaryDirectory() as library,
        Session.open(
            checkpoint, library=library, device="cpu", tier=tier, dtype=str(DTYPE).removeprefix("torch.")
        ) as lab,
    ):
        watch, processor = Watch(lab), time.process_time()
        with watch.running():
            take = lab.make(SONG)
        seconds = {name: round(took, 1) for name, took in take.made_with["seconds"].items()}
        plan = lab.engines.devices.memory_plan
        return {
            "seconds": seconds | {"a step": round(seconds["render"] / take.made_with.get("steps", 8), 2)},
            "reading, seconds": {name: took / 1000 for name, took in watch.reading.items()},
            "memory, GB": {"most": gigabytes(watch.most)} | {name: gigabytes(held) for name, held in watch.held.items()},
            "whole": {"processor s": round(time.process_time() - processor), "way": plan.way, "computes in": plan.dtype},
        }  # fmt: skip


def gigabytes(held: float) -> float:
    return round(held / GB, 2)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--layers", type=int, default=24)
    options.add_argument("--memory", type=float, default=12.0, help="GB there are")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--keep", type=Path, help="a folder for the checkpoint, used again and left")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    place = chosen.keep or Path(tempfile.mkdtemp())
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "lm" / "tokenizer.json").is_file():
            random_checkpoint(place, chosen.layers)
        found = render(place, chosen.memory)
    finally:
        if chosen.keep is None:
            shutil.rmtree(place)
    for title, row in found.items():
        show(title, {"": row})
    if chosen.layers == 24:
        write(by_dtype("full_size"), found)


if __name__ == "__main__":
    main()
