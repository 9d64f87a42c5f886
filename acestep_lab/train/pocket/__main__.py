"""`python -m acestep_lab.train.pocket`: the whole pocket checkpoint, from nothing, in the time that is given.

    python -m acestep_lab.train.pocket --out FOLDER --minutes 120 --work DIR [--device cuda] [--stages vae,clips,…]

Every stage continues where an earlier call stopped. Give a stage more time with --stage-minutes, as in `--stage-minutes dit=90`.
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
from tokenizers import Tokenizer

from acestep_lab._libraries import diffusers
from acestep_lab.train import synthetic_music
from acestep_lab.train.pocket import export
from acestep_lab.train.pocket.attribute_pretraining import AttributeHeads, pretrain_attributes
from acestep_lab.train.pocket.clips import SHARD, Clip, ClipPool, make_clip, write_shards
from acestep_lab.train.pocket.codes import AudioCodeModel, train_audio_tokenizer, train_codes
from acestep_lab.train.pocket.components import Components
from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.counterfactual import counterfactual_gaps
from acestep_lab.train.pocket.dit import CodeSource, train_dit
from acestep_lab.train.pocket.generation_eval import SamplingSettings, generation_scores
from acestep_lab.train.pocket.lm import PlanCorpus, train_lm
from acestep_lab.train.pocket.silence import timed_silence
from acestep_lab.train.pocket.stage import Stage
from acestep_lab.train.pocket.tokenizer import for_lm, for_text, train_tokenizer
from acestep_lab.train.pocket.train_vae import HELD_OUT, polish, train_vae
from acestep_lab.train.pocket.vae import PocketVae, import_vae, use_fast_snake

TIME_SHARES = {
    "vae": 0.16,
    "clips": 0.05,
    "tokenizer": 0.0,
    "attributes": 0.02,
    "codes": 0.03,
    "audio_tokenizer": 0.06,
    "dit": 0.48,
    "lm": 0.16,
    "polish": 0.04,
    "evaluate": 0.0,
    "export": 0.0,
}
"""Stage → its share of the minutes."""
FIRST_SEED = 10_000_000  # of the clips' songs
WORKER_OFFSET, PLANNER_OFFSET = 10_000_000, 30_000_000  # from there to the songs of a data worker and of the planner
SETTLED_COUNT = 1000  # steps after which a weight average moves at its final rate
DEFAULTS: dict[str, Any] = {
    "steps": 16, "shift": 3.0, "guidance": "cfg", "guidance_scale": 3.0, "longest_seconds": 120.0, "direct": ["extract"], "tells_key": True, "repeats_caption": True,
}  # fmt: skip


@dataclass
class TrainingRun:
    """The training of one checkpoint: its stages (a method each) and the folder they share."""

    work: Path
    out: Path
    minutes: dict[str, float]
    device: str
    config: PocketConfig = field(default_factory=PocketConfig)
    rate_scale: float = 1.0
    first_seed: int = FIRST_SEED

    def stage(self, name: str) -> Stage:
        """The clock, state and log of a stage."""
        return Stage(name, 60 * self.minutes[name], self.work, self.device, rate_scale=self.rate_scale)

    # --- what earlier stages left -------------------------------------------------------------------------------

    @cached_property
    def trained_vae(self) -> PocketVae:
        """The autoencoder of the stage `vae`, or `polish` where it has run."""
        vae = use_fast_snake(PocketVae(self.config))
        polished = (self.work / "polish.pt").exists()
        vae.load_state_dict(self._state("polish" if polished else "vae")["vae"])
        return vae.to(self.device).eval()

    @cached_property
    def text_tokenizer(self) -> Tokenizer:
        """The tokenizer of the stage `tokenizer`."""
        return Tokenizer.from_file(str(self.work / "tokenizer.json"))

    @cached_property
    def pool(self) -> ClipPool:
        """All clips encoded so far."""
        return ClipPool(self.work / "clips", seed=5)

    @cached_property
    def code_model(self) -> AudioCodeModel:
        """The audio tokenizer pair as far as it is trained."""
        code_model = AudioCodeModel(self.config)
        code_model.load_state_dict(self._state("codes")["code_model"])
        if (self.work / "audio_tokenizer.pt").exists():
            code_model.tokenizer.load_state_dict(self._state("audio_tokenizer")["tokenizer"])
        return code_model.to(self.device).eval()

    def components(self) -> Components:
        """Text encoder, condition encoder and transformer as they are initialised."""
        torch.manual_seed(3)
        return Components(self.config, len(for_text(self.text_tokenizer)), timed_silence(self.trained_vae, self.config))

    def _state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(self.work / f"{name}.pt", map_location="cpu", weights_only=False)["state"]
        return state

    # --- stages -------------------------------------------------------------------------------------------------

    def vae(self) -> None:
        """Train the autoencoder."""
        train_vae(self.stage("vae"), self.config)

    def reuse_vae(self, folder: Path) -> None:
        """Take autoencoder and tokenizer from a finished checkpoint, so that its latents stay valid and the rest is trained anew."""
        published = diffusers.AutoencoderOobleck.from_pretrained(folder / "vae", torch_dtype=torch.float32)
        if not (self.work / "vae.pt").exists():
            self.stage("vae").save(vae=import_vae(published, self.config).state_dict(), final=True)
        if not (self.work / "tokenizer.json").exists():
            shutil.copy(folder / "tokenizer" / "tokenizer.json", self.work / "tokenizer.json")

    def continue_from(self, folder: Path) -> None:
        """Take every component from a finished checkpoint and train it further: transformer, planner, audio tokenizer and decoder.

        Encoder, tokenizer and codebook stay, since all others are built on them; optimisers begin anew.
        """
        self.reuse_vae(folder)
        if not (self.work / "codes.pt").exists():
            self.stage("codes").save(code_model=export.load_code_model(folder, self.config).state_dict(), final=True)
        if not (self.work / "dit.pt").exists():
            components = export.load_components(folder, self.components())
            attribute_heads = AttributeHeads(self.config.condition_width)
            stage = Stage("attribute_heads", 60, self.work, self.device)
            texts = for_text(self.text_tokenizer)
            pretrain_attributes(stage, components, attribute_heads, texts, train_encoder=False)
            weights = components.cpu().state_dict()
            self.stage("dit").save(
                components=weights,
                attribute_heads=attribute_heads.cpu().state_dict(),
                average=weights,
                count=SETTLED_COUNT,
            )
        if not (self.work / "lm.pt").exists():
            weights = export.load_lm(folder).state_dict()
            self.stage("lm").save(model=weights, average=weights, count=SETTLED_COUNT)

    def tokenizer(self) -> None:
        """Train the text tokenizer on prompts of synthetic songs."""
        if not (self.work / "tokenizer.json").exists():
            songs = (synthetic_music.compose(seed, 10.0 + seed % 20) for seed in range(2000))
            train_tokenizer(songs).save(str(self.work / "tokenizer.json"))

    def clips(self) -> None:
        """Encode songs to begin with; a data worker adds more all the time."""
        until, seed = time.monotonic() + 60 * self.minutes["clips"], self.first_seed
        while time.monotonic() < until or seed == self.first_seed:
            write_shards(self.work / "clips", self.trained_vae, self.config, seed, 1, self.device)
            seed += SHARD

    def attributes(self) -> None:
        """Attribute pretraining of the text encoder; skipped where the transformer has begun."""
        if (self.work / "dit.pt").exists():
            return
        components = self.components()
        pretrain_attributes(
            self.stage("attributes"),
            components,
            AttributeHeads(self.config.condition_width),
            for_text(self.text_tokenizer),
        )

    def codes(self) -> None:
        """Train the codebook on note targets."""
        train_codes(self.stage("codes"), self.config, self.pool)

    def audio_tokenizer(self) -> None:
        """Train the audio tokenizer to find the codes in latents."""
        train_audio_tokenizer(self.stage("audio_tokenizer"), self.code_model, self.pool)

    def dit(self) -> None:
        """Train transformer, condition encoder and text encoder."""
        trained = (self.work / "codes.pt").exists()
        code_source = CodeSource(self.code_model) if trained else None
        components, attribute_heads = self.components(), AttributeHeads(self.config.condition_width)
        if (self.work / "attributes.pt").exists():
            pretrained = self._state("attributes")
            components.text.load_state_dict(pretrained["text"])
            components.condition.text_projector.load_state_dict(pretrained["projector"])
            attribute_heads.load_state_dict(pretrained["attribute_heads"])
        tokenizer = for_text(self.text_tokenizer)
        train_dit(self.stage("dit"), components, attribute_heads, self.pool, tokenizer, code_source, self.trained_vae)

    def lm(self) -> None:
        """Train the planner."""
        corpus = PlanCorpus(self.code_model, self.config, self.first_seed + PLANNER_OFFSET)
        train_lm(self.stage("lm"), self.config, for_lm(self.text_tokenizer, self.config.codes), corpus)

    def polish(self) -> None:
        """Train the decoder once more, on noisy latents."""
        polish(self.stage("polish"), self.config, self.trained_vae)

    def evaluate(self) -> None:
        """Measure prompt adherence on songs never trained on, by the loss and by generating; writes `evaluated.json`."""
        clips, tokenizer = self.held_out(), for_text(self.text_tokenizer)
        components = export.with_weights(self.components(), self._state("dit")["average"]).requires_grad_(False)
        lm_tokenizer = for_lm(self.text_tokenizer, self.config.codes)
        lm = export.build_lm(self._state("lm")["average"], self.config, lm_tokenizer)
        settings = SamplingSettings(DEFAULTS["steps"], DEFAULTS["shift"], DEFAULTS["guidance_scale"])
        gaps = counterfactual_gaps(components, clips[:48], tokenizer, CodeSource(self.code_model))
        codes = CodeSource(self.code_model)
        generation = generation_scores(
            components, self.trained_vae, codes, clips[:64], tokenizer, settings, lm, lm_tokenizer
        )
        scores = {"gaps": gaps, "generation": generation}
        (self.work / "evaluated.json").write_text(json.dumps(scores, indent=1))
        print(json.dumps(scores, indent=1))

    def held_out(self, count: int = 96) -> list[Clip]:
        """Clips of ten seconds that no stage trains on."""
        file, random = self.work / "held.pt", np.random.default_rng(3)
        if not file.exists():
            torch.save(
                [
                    make_clip(HELD_OUT + 100_000 + i, 10, self.trained_vae, self.config, random, self.device)
                    for i in range(count)
                ],
                file,
            )
        clips: list[Clip] = torch.load(file, weights_only=False)
        return clips

    def export(self) -> None:
        """Write the checkpoint folder; components not yet trained are exported as initialised, and `pocket.json` says so."""
        components, lm_tokenizer = self.components(), for_lm(self.text_tokenizer, self.config.codes)
        if (self.work / "dit.pt").exists():
            export.with_weights(components, self._state("dit")["average"])
        lm_weights = self._state("lm")["average"] if (self.work / "lm.pt").exists() else None
        lm = export.build_lm(lm_weights, self.config, lm_tokenizer)
        code_model = self.code_model if (self.work / "codes.pt").exists() else AudioCodeModel(self.config)
        tokenizer = for_text(self.text_tokenizer)
        pipe = export.pipeline(self.trained_vae.cpu(), code_model.cpu(), components, tokenizer, self.config)
        evaluated = self.work / "evaluated.json"
        metadata = DEFAULTS | {"training": self.last_log_lines()}
        if evaluated.exists():
            metadata |= {"evaluated": json.loads(evaluated.read_text())}
        print("bytes", export.write(self.out, pipe, metadata, lm, lm_tokenizer))

    def last_log_lines(self) -> dict[str, Any]:
        """The last line of every stage's log."""
        logs = ((name, self.work / f"{name}.jsonl") for name in TIME_SHARES)
        return {name: json.loads(log.read_text().splitlines()[-1]) for name, log in logs if log.exists()}


def write_clips(work: Path, seed: int) -> None:
    """The data worker, a second process: compose, render and encode songs for as long as it lives."""
    os.nice(5)
    torch.set_num_threads(1)
    training = TrainingRun(work, work, dict.fromkeys(TIME_SHARES, 0.0), "cpu")
    write_shards(work / "clips", training.trained_vae, training.config, seed, 10**6)


def main() -> None:
    """Read the command line and run the stages."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    minutes = {name: arguments.minutes * share for name, share in TIME_SHARES.items()}
    minutes |= {name: float(value) for name, value in (item.split("=") for item in arguments.stage_minutes)}
    arguments.work.mkdir(parents=True, exist_ok=True)
    training = TrainingRun(
        arguments.work, arguments.out, minutes, arguments.device, rate_scale=arguments.lr_scale, first_seed=arguments.first_seed
    )  # fmt: skip
    worker = None
    if arguments.vae_from:
        training.reuse_vae(arguments.vae_from)
    if arguments.continue_from:
        training.continue_from(arguments.continue_from)
    for name in arguments.stages.split(","):
        if name in ("codes", "dit") and arguments.data_worker and worker is None:
            worker = multiprocessing.get_context("spawn").Process(
                target=write_clips, args=(arguments.work, arguments.first_seed + WORKER_OFFSET), daemon=True
            )
            worker.start()
        getattr(training, name)()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m acestep_lab.train.pocket", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished checkpoint")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for states and logs; the next call continues there"
    )
    parser.add_argument("--minutes", type=float, default=120, help="time for all stages together")
    parser.add_argument(
        "--stage-minutes", action="append", default=[], metavar="STAGE=MINUTES", help="another time budget for one stage"
    )  # fmt: skip
    parser.add_argument("--stages", default=",".join(TIME_SHARES), help="stages to run, in order")
    parser.add_argument(
        "--vae-from", type=Path, metavar="FOLDER", help="a finished checkpoint whose autoencoder and tokenizer to keep"
    )
    parser.add_argument(
        "--continue-from", type=Path, metavar="FOLDER", help="a finished checkpoint to train further in all components"
    )
    parser.add_argument(
        "--lr-scale", type=float, default=1.0, help="factor on all learning rates, such as 0.5 to train further"
    )
    parser.add_argument(
        "--first-seed", type=int, default=FIRST_SEED, metavar="N",
        help="seed of the first song to train on; another one when training further, or the same songs are read again",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-worker", action="store_true", help="compose and encode new songs in a second process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
