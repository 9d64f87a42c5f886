"""Our loading and our loop give what `diffusers.AceStepPipeline` gives from the same weights and the same noise.

Where the two mean different things on purpose, the reference's meaning is ours and there is no equality to show: the
interval of guidance is measured on t (diffusers: 1 - t), a cover of strength below 1 switches (diffusers blends), a repaint
holds its outside (diffusers does not), a turbo's steps are corrected (DCW; diffusers knows none, so it is off here; see
test_dcw), and the autoencoder's posterior gives its mode (diffusers draws from it; here it is
told not to).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AceStepPipeline, AutoencoderOobleck

from acestep_lab import Audio, Library, Recipe, Region, Session
from acestep_lab.diffusion import sampler
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.models.loading import Checkpoint
from acestep_lab.prompt.tasks import Complete, Cover, Extract, Lego, Repaint, Text2Music
from tests.closeness import NEAR, assert_near, relative_error
from tests.tiny import RATE, tiny_diffusers, tiny_original

pytestmark = [
    pytest.mark.filterwarnings("ignore::acestep_lab.errors.LintWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.*"),
]

WORDS = Recipe(
    "slow dub techno, tape hiss",
    "[Verse]\nhello there",
    2.0,
    7,
    118,
    "C minor",
    "4",
    "en",
    steps=4,
    shift=1.0,
    dcw="off",
)
SAID = {
    "prompt": WORDS.caption, "lyrics": WORDS.lyrics, "audio_duration": 2.0, "bpm": 118, "keyscale": "C minor",
    "timesignature": "4", "vocal_language": "en", "num_inference_steps": 4, "shift": 1.0, "guidance_scale": 4.0,
}  # fmt: skip


class ModeVAE(AutoencoderOobleck):
    """The oracle's autoencoder with a posterior that always gives its mode."""

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        posterior = super().encode(x).latent_dist
        return SimpleNamespace(latent_dist=SimpleNamespace(sample=lambda generator=None: posterior.mode()))


class Pair:
    """A session on the published layout, and the pipeline on diffusers' layout, of the same weights."""

    def __init__(self, root: Path, kind: str) -> None:
        theirs = tiny_diffusers(root / f"{kind}-diffusers", turbo=kind == "turbo", lm=False)
        ours = tiny_original(root / f"{kind}-original", kind, lm=False)
        self.lab = Session(Ace15Engine(Checkpoint.open(ours)), library=Library(root / f"{kind}-takes"))
        vae = ModeVAE.from_pretrained(theirs / "vae")
        self.pipe = AceStepPipeline.from_pretrained(theirs, vae=vae)
        self.pipe.set_progress_bar_config(disable=True)

    def differ(self, recipe: Recipe, seed: int = 7, **said: Any) -> float:
        """How far the samples of our take are from their audio, as a share of the loudest."""
        take = self.lab.make(recipe)
        theirs = self.theirs(take.latent.shape[0], seed, **said)
        return relative_error(take.audio.samples, theirs)

    def theirs(self, frames: int, seed: int = 7, **said: Any) -> torch.Tensor:
        start = sampler.noises([seed], frames, self.lab.engine.checkpoint.geometry.latent_channels)
        return self.pipe(**{**SAID, "latents": start, **said}).audios[0]


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("oracle"), "turbo")
    yield pair
    pair.lab.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(tmp_path_factory.mktemp("oracle"), "base")
    yield pair
    pair.lab.close()


def sound(seconds: float = 2.0, seed: int = 1) -> Audio:
    """Two channels of sines and a little noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    left = 0.3 * np.sin(2 * np.pi * 220 * time) + 0.2 * np.sin(2 * np.pi * 331 * time * (1 + 0.1 * time))
    noise = np.random.default_rng(seed).normal(0, 0.05, (2, time.size))
    return Audio(np.stack([left, 0.7 * left]) + noise, RATE)


def tensor(audio: Audio) -> torch.Tensor:
    return torch.from_numpy(audio.samples.copy())


@pytest.mark.parametrize("shift", [1.0, 2.0, 3.0])
def test_turbo_makes_the_same_sound_at_every_shift(turbo: Pair, shift: float) -> None:
    assert turbo.differ(WORDS.replace(shift=shift), shift=shift) <= NEAR


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_base_under_guidance_makes_the_same_sound(base: Pair, shift: float) -> None:
    recipe = WORDS.replace(shift=shift, guidance="apg", guidance_scale=4.0)
    assert base.differ(recipe, shift=shift) <= NEAR


def test_base_without_guidance_makes_the_same_sound(base: Pair) -> None:
    assert base.differ(WORDS.replace(guidance="none"), guidance_scale=1.0) <= NEAR


def test_times_by_hand_make_the_same_sound(turbo: Pair) -> None:
    times = (1.0, 0.8, 0.35)
    assert turbo.differ(WORDS.replace(timesteps=times), timesteps=list(times)) <= NEAR


def test_guidance_in_a_part_of_the_way_is_theirs_mirrored(base: Pair) -> None:
    recipe = WORDS.replace(guidance="apg", guidance_scale=4.0, guidance_interval=(0.4, 0.9))
    assert base.differ(recipe, cfg_interval_start=0.1, cfg_interval_end=0.6) <= NEAR


def test_a_reference_recording_gives_the_same_timbre(turbo: Pair) -> None:
    reference = sound(3.0, seed=5)
    recipe = WORDS.replace(task=Text2Music(reference=reference))
    assert turbo.differ(recipe, reference_audio=tensor(reference)) <= NEAR


def test_a_cover_of_a_sound_is_the_same(base: Pair) -> None:
    source = sound()
    recipe = WORDS.replace(task=Cover(source), guidance_scale=4.0)
    assert base.differ(recipe, task_type="cover", src_audio=tensor(source)) <= NEAR


@pytest.mark.parametrize("task", [Text2Music, Cover])
def test_a_cover_of_codes_is_the_same_whichever_way_it_is_asked_for(turbo: Pair, task: Any) -> None:
    codes = (3, 17, 0, 39, 21, 8, 8, 30, 5, 11, 2, 38, 19, 7, 6, 25, 31, 1, 13, 4)
    text = "".join(f"<|audio_code_{code}|>" for code in codes)
    assert turbo.differ(WORDS.replace(task=task(codes=codes)), audio_codes=text) <= NEAR


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (lambda s: Extract(s, "drums"), {"task_type": "extract", "track_name": "drums"}),
        (lambda s: Lego(s, "bass"), {"task_type": "lego", "track_name": "bass"}),
        (
            lambda s: Lego(s, "bass", Region(0.4, 1.2)),
            {"task_type": "lego", "track_name": "bass", "repainting_start": 0.4, "repainting_end": 1.2},
        ),
        (
            lambda s: Complete(s, ("drums", "bass")),
            {"task_type": "complete", "complete_track_classes": ["drums", "bass"]},
        ),
    ],
    ids=["extract", "lego", "lego in a region", "complete"],
)
def test_stem_tasks_are_the_same(base: Pair, task: Any, said: dict[str, Any]) -> None:
    source = sound()
    recipe = WORDS.replace(task=task(source), guidance_scale=4.0)
    assert base.differ(recipe, src_audio=tensor(source), **said) <= NEAR


def test_inside_its_region_a_repaint_that_holds_nothing_is_the_same(base: Pair) -> None:
    source = sound()
    task = Repaint(source, (Region(0.4, 1.2),), mode="aggressive")
    take = base.lab.make(WORDS.replace(task=task, guidance_scale=4.0))
    theirs = base.theirs(
        take.latent.shape[0],
        task_type="repaint",
        src_audio=tensor(source),
        repainting_start=0.4,
        repainting_end=1.2,
        output_type="latent",
    )
    assert_near(take.latent[20:60], theirs[20:60])


def test_the_tail_of_a_source_that_fills_no_frame_is_kept(base: Pair) -> None:
    source = Audio(sound().samples[:, :-37], RATE)
    take = base.lab.make(WORDS.replace(task=Extract(source, "drums")))
    assert take.audio.samples.shape == source.samples.shape


def test_codes_of_a_sound_are_those_of_the_audio_tokenizer(turbo: Pair) -> None:
    source = sound(1.94)
    latent = turbo.pipe.vae.encode(tensor(source)[None]).latent_dist.sample().transpose(1, 2)
    with torch.no_grad():
        _, theirs = turbo.pipe.audio_tokenizer.tokenize(latent, turbo.pipe.condition_encoder.silence_latent)
    assert turbo.lab.codes(source) == tuple(theirs[0, :, 0].tolist())


@pytest.mark.parametrize("kind", ["turbo", "base"])
def test_an_xl_checkpoint_makes_the_same_song_in_both_layouts(kind: str, tmp_path: Path) -> None:
    folders = (
        tiny_original(tmp_path / "published", kind, xl=True, lm=False),
        tiny_diffusers(tmp_path / "diffusers", turbo=kind == "turbo", xl=True, lm=False),
    )
    songs = []
    for folder in folders:
        with Session(Ace15Engine(Checkpoint.open(folder)), library=Library(tmp_path / f"{folder.name}-takes")) as lab:
            encoder = lab.engine.checkpoint.build("condition").timbre_encoder
            told = encoder(torch.ones(1, 30, encoder.embed_tokens.in_features), torch.zeros(1, dtype=torch.long))
            songs.append((lab.make(WORDS.replace(guidance_scale=None)).latent, told[0]))
    assert_near(songs[0][0], songs[1][0])
    assert torch.equal(songs[0][1], songs[1][1])


def test_the_timbre_token_is_read_beside_a_wider_transformer_only_and_never_by_a_pocket(tmp_path: Path) -> None:
    def hooked(folder: Path | str) -> bool:
        return bool(Checkpoint.open(folder).build("condition").timbre_encoder.embed_tokens._forward_hooks)

    assert hooked(tiny_diffusers(tmp_path / "xl", xl=True, lm=False))
    assert not hooked(tiny_diffusers(tmp_path / "2b", lm=False))
    assert not hooked("pocket"), "as wide as an XL, but taught with diffusers' class"
