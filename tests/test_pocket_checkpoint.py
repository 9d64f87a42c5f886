"""The checkpoint that ships with the package: it opens without a network, fits its budget, and does what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers import AceStepPipeline

from acestep_lab.audio.audio import Audio
from acestep_lab.listen import key, same_key
from acestep_lab.models.loading import POCKET, Checkpoint
from acestep_lab.train import synthetic_music
from acestep_lab.train.pocket.note_targets import note_targets_of
from acestep_lab.train.pocket.vae import si_sdr

UNSEEN = 910_000_000


@pytest.fixture(scope="module")
def pipe() -> AceStepPipeline:
    pipe = AceStepPipeline.from_pretrained(POCKET)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(torch.float32)


def played(seed: int, seconds: float = 6.0) -> tuple[synthetic_music.Song, np.ndarray]:
    song = synthetic_music.compose(seed, seconds)
    return song, np.asarray(synthetic_music.render(song, 24_000, 1).mix, np.float32).reshape(-1)


def test_all_weights_fit_into_forty_megabytes() -> None:
    classifiers = POCKET.parent.parent / "listen"
    files = [*POCKET.rglob("*.safetensors"), *classifiers.glob("*.npz")]
    assert {"presence.npz", "meter.npz"} < {file.name for file in files}
    assert sum(file.stat().st_size for file in files) <= 40_000_000


def test_it_says_how_it_wants_to_be_sampled() -> None:
    settings = json.loads((POCKET / "pocket.json").read_text())
    assert {"steps", "shift", "guidance", "guidance_scale", "longest_seconds", "training"} <= set(settings)


def test_every_part_is_there_and_builds_strictly() -> None:
    checkpoint = Checkpoint.open("pocket")
    assert checkpoint.components == ("text", "condition", "dit", "vae", "codes", "lm")
    assert all(checkpoint.build(component) is not None for component in checkpoint.components)
    assert len(checkpoint.lm_tokenizer().encode("<|audio_code_999|>")) == 1


def test_the_pipeline_of_diffusers_opens_it_and_guidance_works(pipe: AceStepPipeline) -> None:
    def make(scale: float) -> torch.Tensor:
        return pipe("drums and bass", audio_duration=4.0, num_inference_steps=2, guidance_scale=scale, bpm=120,
                    generator=torch.Generator().manual_seed(1)).audios  # fmt: skip

    plain, guided = make(1.0), make(3.0)
    assert plain.shape == (1, 1, 96_000)
    assert torch.isfinite(plain).all()
    assert not torch.allclose(plain, guided)


def test_sound_survives_the_autoencoder(pipe: AceStepPipeline) -> None:
    quality, same_keys = [], 0
    for seed in range(UNSEEN, UNSEEN + 6):
        _, sound = played(seed)
        with torch.no_grad():
            latent = pipe.vae.encode(torch.from_numpy(sound)[None, None]).latent_dist.mode()
            made = pipe.vae.decode(latent).sample[0]
        quality.append(si_sdr(made, torch.from_numpy(sound)[None]).item())
        same_keys += same_key(key(Audio(made.numpy(), 24_000))[0], key(Audio(sound[None], 24_000))[0])
        assert 0.5 < latent.std() < 2
    assert np.mean(quality) > 7
    assert same_keys >= 5


def test_codes_keep_where_the_drums_are(pipe: AceStepPipeline) -> None:
    found = []
    for seed in range(UNSEEN + 10, UNSEEN + 14):
        song = synthetic_music.compose(seed, 6.0, instruments=("drums", "bass", "keyboard"))
        sound = np.asarray(synthetic_music.render(song, 24_000, 1).mix, np.float32).reshape(-1)
        with torch.no_grad():
            latent = pipe.vae.encode(torch.from_numpy(sound)[None, None]).latent_dist.mode().transpose(1, 2)
            quantised, _ = pipe.audio_tokenizer.tokenize(latent)
            targets = pipe.audio_token_detokenizer(quantised)[0]
        true = note_targets_of(song, len(targets), 100).float()
        found.append(np.corrcoef(targets[:, 24:27].flatten(), true[:, 24:27].flatten())[0, 1])
    assert np.mean(found) > 0.4
