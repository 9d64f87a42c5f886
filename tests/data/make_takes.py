"""The recipes behind `takes_of_2026_11`, as a program for the code of that time.

Knows only the verbs that a notebook uses. Run it with a checkout of an earlier commit on the path (see README.md)::

    PYTHONPATH=EARLIER_CHECKOUT OMP_NUM_THREADS=1 python tests/data/make_takes.py FOLDER [first]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from acestep_lab import Audio, Library, Planning, Recipe, Region, Session

DUB = Recipe(
    "slow dub techno, tape hiss",
    "[Verse]\nRain on the roof",
    seconds=1.6,
    seed=11,
    language="en",
    planning=Planning(temperature=0.7, cfg_scale=1.5),
)
PIANO = Recipe("a calm piano piece", seconds=1.5, seed=12, bpm=90, keyscale="C major", thinking=False)
ODD = Recipe(
    "bright synth pop with drums",
    seconds=1.2,
    seed=13,
    timesignature="3",
    thinking=False,
    timesteps=(1.0, 0.88, 0.7, 0.5, 0.3, 0.12),
    solver="heun",
    guidance="cfg_zero",
    guidance_scale=4.0,
    guidance_interval=(0.2, 0.95),
    velocity_clamp=0.8,
    velocity_ema=0.1,
    dcw="double",
    dcw_low=0.1,
    dcw_high=0.3,
    latent_shift=0.2,
    latent_rescale=0.95,
    fade_in=0.1,
    fade_out=0.2,
    peak_db=-3.0,
)
"""Everything that a flow model's loop and the finish can be told."""


def recording(rate: int = 24_000) -> Audio:
    """A sound that no model made: a falling tone and a click twice a second."""
    at = np.arange(round(1.5 * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (330 * at - 60 * at**2))
    clicks = 0.4 * np.exp(-80 * (at % 0.5)) * np.sin(2 * np.pi * 1800 * at)
    return Audio((tone + clicks)[None].astype(np.float32), rate).on_grid()


def adapter(file: Path) -> Path:
    """A LoRA of rank 2 on one layer, with factors drawn by a seed."""
    draw = np.random.default_rng(5)
    layer = "base_model.model.layers.2.self_attn"
    shapes = {"q_proj": (256, 256), "v_proj": (128, 256)}
    factors: dict[str, np.ndarray] = {}
    for name, (wide, narrow) in shapes.items():
        factors[f"{layer}.{name}.lora_A.weight"] = 0.2 * draw.standard_normal((2, narrow)).astype(np.float32)
        factors[f"{layer}.{name}.lora_B.weight"] = 0.2 * draw.standard_normal((wide, 2)).astype(np.float32)
    save_file(factors, file)
    return file


def make(lab: Session, folder: Path) -> dict[str, Any]:
    """Takes of every task, by the name of what they show; each is kept in the session's library as it is made."""
    made: dict[str, Any] = {"planned": lab.make(DUB), "words": lab.make(PIANO), "odd_sampling": lab.make(ODD)}
    dub, piano = made["planned"], made["words"]
    parts = [Region(0.2, 0.5), Region(0.9, 1.2)]
    made["repaint"] = lab.repaint(
        dub, parts, "a dub siren", mode="aggressive", strength=0.7, seed=14, solver="sde", guidance="apg", steps=8
    )
    made["extend"] = lab.extend(piano, before=0.3, after=0.5, seed=15, steps=8)
    made["cover"] = lab.cover(dub, "a string quartet", strength=0.6, reference=piano, seed=16, steps=8)
    made["cover_of_a_recording"] = lab.cover(
        recording(), "soft bells", through_codes=False, noise_strength=0.4, seed=17, steps=8
    )
    [made["retake"]] = lab.vary(piano, seeds=[18], variance=0.3)
    made["extract"] = lab.extract(dub, "drums", seed=19)
    made["lego"] = lab.lego(
        piano, "bass", "a round bass", Region(0.5, 1.2), seed=20, solver="dpmpp2m", guidance="adg", steps=6
    )
    made["complete"] = lab.complete(piano, ("drums", "bass"), "a jazz trio", seed=21, steps=8, shift=2.0)
    made["edit"] = lab.edit(dub, "slow dub techno with a flute", n_min=0.2, n_max=0.9, n_avg=2, seed=22, steps=8)
    lab.lora((adapter(folder / "adapter.safetensors"), 0.8))
    made["adapted"] = lab.make(Recipe("a calm piano piece", seconds=1.0, seed=23, steps=8, thinking=False))
    lab.lora()
    made["step"] = kept_step(lab, 3)
    return made


def make_first(lab: Session, folder: Path) -> dict[str, Any]:
    """Two takes for code that wrote the first format (take/1), which knew no fingerprints."""
    piano = lab.make(Recipe("a calm piano piece", seconds=1.0, seed=31, bpm=90, steps=8, thinking=False))
    painted = lab.repaint(piano, Region(0.3, 0.6), "a flute", seed=32, steps=8)
    return {"first_format": piano, "first_format_repaint": painted}


def kept_step(lab: Session, step: int) -> Any:
    """The take of one step of a run, kept while the run goes on."""
    run = lab.start(Recipe("a harp", seconds=1.0, seed=24, steps=8, thinking=False))
    for frame in run:
        if frame.index == step:
            kept = run.keep(step)
    run.take()
    return kept


def told(take: Any) -> dict[str, Any]:
    """What has to be so whenever the take is opened: its id, its parents, and the lines of Python for its recipes."""
    asked = None if take.asked is None else take.asked.code()
    return {"id": take.id, "parents": list(take.parents), "recipe": take.recipe.code(), "asked": asked}


def main(folder: Path, make_all: Callable[[Session, Path], dict[str, Any]] = make) -> None:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    list_of_takes = folder / "takes.json"
    known = json.loads(list_of_takes.read_text()) if list_of_takes.is_file() else {}
    with Session.open("pocket", library=Library(folder)) as lab:
        known |= {name: told(take) for name, take in make_all(lab, folder).items()}
        for name in set(lab.library.ids()) - {one["id"] for one in known.values()}:
            for file in folder.glob(f"{name}.*"):  # the last step of a run of which an earlier one is wanted
                file.unlink()
    list_of_takes.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), make_first if sys.argv[2:] == ["first"] else make)
