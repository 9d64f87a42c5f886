"""`python -m acestep_lab.train.pocket`: the whole pocket checkpoint, from nothing, in the time that is given.

    python -m acestep_lab.train.pocket --out FOLDER --minutes 120 --work DIR [--device cuda] [--stages vae,clips,…]

Every stage continues where an earlier call stopped. Give a stage more time with --box, as in `--box dit=90`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderOobleck
from tokenizers import Tokenizer

from acestep_lab.train import synthetic_music
from acestep_lab.train.pocket import export
from acestep_lab.train.pocket.stage import Stage
from acestep_lab.train.pocket.clips import SHARD, Clip, ClipPool, fill, make_clip
from acestep_lab.train.pocket.codes import Codec5, train_codes, train_ears
from acestep_lab.train.pocket.counterfactual import gaps
from acestep_lab.train.pocket.dit import CodeSource, train_dit
from acestep_lab.train.pocket.attribute_pretraining import Gist, train_gist
from acestep_lab.train.pocket.generation_eval import Sampling, roads
from acestep_lab.train.pocket.lm import Library, train_lm
from acestep_lab.train.pocket.components import Parts
from acestep_lab.train.pocket.config import Shapes
from acestep_lab.train.pocket.silence import timed_silence
from acestep_lab.train.pocket.train_vae import HELD_OUT, polish, train_vae
from acestep_lab.train.pocket.vae import PocketVae, imported, use_fast_snake
from acestep_lab.train.pocket.tokenizer import for_lm, for_text, train_tokenizer

BOXES = {
    "vae": 0.16,
    "clips": 0.05,
    "words": 0.0,
    "gist": 0.02,
    "codes": 0.03,
    "ears": 0.06,
    "dit": 0.48,
    "lm": 0.16,
    "polish": 0.04,
    "judge": 0.0,
    "export": 0.0,
}
"""Stage → its share of the minutes."""
FIRST_SONG = 10_000_000  # of the clips, by number
FEEDER, PLANNER = 10_000_000, 30_000_000  # how much further on the songs of a feeder and of the planner begin
SETTLED = 1000  # steps after which an average of weights no longer hurries
DEFAULTS = {
    "steps": 16, "shift": 3.0, "guidance": "cfg", "guidance_scale": 3.0, "longest_seconds": 120.0, "direct": ["extract"], "tells_key": True, "repeats_caption": True,
}  # fmt: skip


@dataclass
class TrainingRun:
    """The stages of one checkpoint and the folder they share."""

    work: Path
    out: Path
    minutes: dict[str, float]
    device: str
    shapes: Shapes = field(default_factory=Shapes)
    pace: float = 1.0
    first_song: int = FIRST_SONG

    def stage(self, name: str) -> Stage:
        return Stage(name, 60 * self.minutes[name], self.work, self.device, pace=self.pace)

    # --- what earlier stages left -------------------------------------------------------------------------------

    @cached_property
    def made_vae(self) -> PocketVae:
        vae = use_fast_snake(PocketVae(self.shapes))
        polished = (self.work / "polish.pt").exists()
        vae.load_state_dict(self._kept("polish" if polished else "vae")["vae"])
        return vae.to(self.device).eval()

    @cached_property
    def tokens(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.work / "words.json"))

    @cached_property
    def pool(self) -> ClipPool:
        return ClipPool(self.work / "clips", seed=5)

    @cached_property
    def codec(self) -> Codec5:
        codec = Codec5(self.shapes)
        codec.load_state_dict(self._kept("codes")["codec"])
        if (self.work / "ears.pt").exists():
            codec.tokenizer.load_state_dict(self._kept("ears")["tokenizer"])
        return codec.to(self.device).eval()

    def parts(self) -> Parts:
        torch.manual_seed(3)
        return Parts(self.shapes, len(for_text(self.tokens)), timed_silence(self.made_vae, self.shapes))

    def _kept(self, name: str) -> dict[str, Any]:
        return torch.load(self.work / f"{name}.pt", map_location="cpu", weights_only=False)["state"]

    # --- stages -------------------------------------------------------------------------------------------------

    def vae(self) -> None:
        """Sound to latents and back."""
        train_vae(self.stage("vae"), self.shapes)

    def begin_with(self, folder: Path) -> None:
        """Take autoencoder and words from a finished folder, so that its latents stay valid and the rest is trained anew."""
        real = AutoencoderOobleck.from_pretrained(folder / "vae", torch_dtype=torch.float32)
        if not (self.work / "vae.pt").exists():
            self.stage("vae").save(vae=imported(real, self.shapes).state_dict(), final=True)
        if not (self.work / "words.json").exists():
            shutil.copy(folder / "tokenizer" / "tokenizer.json", self.work / "words.json")

    def go_on_from(self, folder: Path) -> None:
        """Take every part from a finished folder, to train it further: transformer, planner, ears and decoder. Autoencoder, words and
        codes stay, since all others are built on them; optimisers begin anew.
        """
        self.begin_with(folder)
        if not (self.work / "codes.pt").exists():
            self.stage("codes").save(codec=export.codec_of(folder, self.shapes).state_dict(), final=True)
        if not (self.work / "dit.pt").exists():
            parts = export.parts_of(folder, self.parts())
            gist = Gist(self.shapes.condition)
            train_gist(
                Stage("readings", 60, self.work, self.device), parts, gist, for_text(self.tokens), words_too=False
            )
            weights = parts.cpu().state_dict()
            self.stage("dit").save(parts=weights, gist=gist.cpu().state_dict(), average=weights, count=SETTLED)
        if not (self.work / "lm.pt").exists():
            weights = export.lm_of(folder).state_dict()
            self.stage("lm").save(model=weights, average=weights, count=SETTLED)

    def words(self) -> None:
        """The tokenizer, from the world's own texts."""
        if not (self.work / "words.json").exists():
            songs = (synthetic_music.compose(seed, 10.0 + seed % 20) for seed in range(2000))
            train_tokenizer(songs).save(str(self.work / "words.json"))

    def clips(self) -> None:
        """Encoded songs to begin with; `feeding` adds more all the time."""
        until, seed = time.monotonic() + 60 * self.minutes["clips"], self.first_song
        while time.monotonic() < until or seed == self.first_song:
            fill(self.work / "clips", self.made_vae, self.shapes, seed, 1, self.device)
            seed += SHARD

    def gist(self) -> None:
        """What the words mean, before there is any sound; a transformer that has begun knows it."""
        if (self.work / "dit.pt").exists():
            return
        parts = self.parts()
        train_gist(self.stage("gist"), parts, Gist(self.shapes.condition), for_text(self.tokens))

    def codes(self) -> None:
        """Five codes a second."""
        train_codes(self.stage("codes"), self.shapes, self.pool)

    def ears(self) -> None:
        """The same codes heard in latents."""
        train_ears(self.stage("ears"), self.codec, self.pool)

    def dit(self) -> None:
        """Words and sources to latents."""
        trained = (self.work / "codes.pt").exists()
        pair = CodeSource(self.codec) if trained else None
        parts, gist = self.parts(), Gist(self.shapes.condition)
        if (self.work / "gist.pt").exists():
            learnt = self._kept("gist")
            parts.text.load_state_dict(learnt["text"])
            parts.condition.text_projector.load_state_dict(learnt["projector"])
            gist.load_state_dict(learnt["gist"])
        train_dit(self.stage("dit"), parts, gist, self.pool, for_text(self.tokens), pair, self.made_vae)

    def lm(self) -> None:
        """Words to a plan with codes."""
        library = Library(self.codec, self.shapes, self.first_song + PLANNER)
        train_lm(self.stage("lm"), self.shapes, for_lm(self.tokens, self.shapes.codes), library)

    def polish(self) -> None:
        """The decoder once more, on latents that are a little off."""
        polish(self.stage("polish"), self.shapes, self.made_vae)

    def judge(self) -> None:
        """Which words are obeyed, on songs never trained on: the loss's answer and the listener's."""
        clips, words = self.held_out(), for_text(self.tokens)
        parts = export.with_weights(self.parts(), self._kept("dit")["average"]).requires_grad_(False)
        lm_tokenizer = for_lm(self.tokens, self.shapes.codes)
        lm = export.lm_from(self._kept("lm")["average"], self.shapes, lm_tokenizer)
        how = Sampling(DEFAULTS["steps"], DEFAULTS["shift"], DEFAULTS["guidance_scale"])
        found = {
            "gaps": gaps(parts, clips[:48], words, CodeSource(self.codec)),
            "roads": roads(parts, self.made_vae, CodeSource(self.codec), clips[:64], words, how, lm, lm_tokenizer),
        }
        (self.work / "judged.json").write_text(json.dumps(found, indent=1))
        print(json.dumps(found, indent=1))

    def held_out(self, count: int = 96) -> list[Clip]:
        """Ten-second songs that no stage has seen."""
        file, random = self.work / "held.pt", np.random.default_rng(3)
        if not file.exists():
            torch.save(
                [
                    make_clip(HELD_OUT + 100_000 + i, 10, self.made_vae, self.shapes, random, self.device)
                    for i in range(count)
                ],
                file,
            )
        return torch.load(file, weights_only=False)

    def export(self) -> None:
        """The folder that everybody opens; parts not yet trained are exported as they begin, and `pocket.json` says so."""
        parts, lm_tokenizer = self.parts(), for_lm(self.tokens, self.shapes.codes)
        if (self.work / "dit.pt").exists():
            export.with_weights(parts, self._kept("dit")["average"])
        lm = export.lm_from(
            self._kept("lm")["average"] if (self.work / "lm.pt").exists() else None, self.shapes, lm_tokenizer
        )
        codec = self.codec if (self.work / "codes.pt").exists() else Codec5(self.shapes)
        pipe = export.pipeline(self.made_vae.cpu(), codec.cpu(), parts, for_text(self.tokens), self.shapes)
        judged = self.work / "judged.json"
        facts = (
            DEFAULTS
            | {"training": self.diary()}
            | ({"judged": json.loads(judged.read_text())} if judged.exists() else {})
        )
        print("bytes", export.write(self.out, pipe, facts, lm, lm_tokenizer))

    def diary(self) -> dict[str, Any]:
        """The last line of every stage's log."""
        logs = ((name, self.work / f"{name}.jsonl") for name in BOXES)
        return {name: json.loads(log.read_text().splitlines()[-1]) for name, log in logs if log.exists()}


def feed(work: Path, seed: int) -> None:
    """A second process: compose, render and encode songs for as long as it lives."""
    os.nice(5)
    torch.set_num_threads(1)
    shop = TrainingRun(work, work, dict.fromkeys(BOXES, 0.0), "cpu")
    fill(work / "clips", shop.made_vae, shop.shapes, seed, 10**6)


def main() -> None:
    """Read the command line and run the stages."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    minutes = {name: asked.minutes * share for name, share in BOXES.items()} | {
        k: float(v) for k, v in (b.split("=") for b in asked.box)
    }
    asked.work.mkdir(parents=True, exist_ok=True)
    shop = TrainingRun(asked.work, asked.out, minutes, asked.device, pace=asked.pace, first_song=asked.first_song)
    feeder = None
    if asked.begin_with:
        shop.begin_with(asked.begin_with)
    if asked.go_on_from:
        shop.go_on_from(asked.go_on_from)
    for name in asked.stages.split(","):
        if name in ("codes", "dit") and asked.feeder and feeder is None:
            feeder = multiprocessing.get_context("spawn").Process(
                target=feed, args=(asked.work, asked.first_song + FEEDER), daemon=True
            )
            feeder.start()
        getattr(shop, name)()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m acestep_lab.train.pocket", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished checkpoint")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for states and logs; the next call continues there"
    )
    parser.add_argument("--minutes", type=float, default=120, help="time for all stages together")
    parser.add_argument("--box", action="append", default=[], metavar="STAGE=MINUTES", help="another box for one stage")
    parser.add_argument("--stages", default=",".join(BOXES), help="stages to run, in order")
    parser.add_argument(
        "--begin-with", type=Path, metavar="FOLDER", help="a finished checkpoint whose autoencoder and words to keep"
    )
    parser.add_argument(
        "--go-on-from", type=Path, metavar="FOLDER", help="a finished checkpoint to train further in all its parts"
    )
    parser.add_argument(
        "--pace", type=float, default=1.0, help="share of the usual learning rates, such as 0.5 to go on"
    )
    parser.add_argument(
        "--first-song", type=int, default=FIRST_SONG, metavar="N",
        help="number of the first song to learn from; another one when going on, or the same songs are read again",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--feeder", action="store_true", help="compose and encode new songs in a second process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
