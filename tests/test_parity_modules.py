"""What is loaded from the published layout computes what diffusers' own loading of the same weights computes.

Ours: `Checkpoint.open` on the published layout, by our own key map. Theirs: `AceStepPipeline.from_pretrained` on a diffusers
folder written by diffusers itself. Whole renders are compared in `test_oracle.py`; here it is module by module,
equal but for rounding: the same operations, with numbers that lie elsewhere in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AceStepPipeline
from torch import Tensor

from acestep_lab.models.loading import Checkpoint
from tests import tiny
from tests.closeness import assert_near

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*")

SHAPES = [("turbo", False), ("base", False), ("turbo", True), ("base", True)]


def oracle_pipeline(folder: Path, kind: str, xl: bool) -> AceStepPipeline:
    """The same random weights through diffusers alone: written by its pipeline, read by its pipeline."""
    return AceStepPipeline.from_pretrained(tiny.tiny_diffusers(folder, turbo=kind == "turbo", xl=xl, lm=False))


class Pair:
    """Our modules and the oracle's, and the inputs both are asked with."""

    def __init__(self, root: Path, kind: str, xl: bool):
        self.xl = xl
        self.ours = Checkpoint.open(tiny.tiny_original(root / "ours", kind, xl=xl, sharded=xl, lm=False))
        self.theirs = oracle_pipeline(root / "theirs", kind, xl)


@pytest.fixture(scope="module", params=SHAPES, ids=[f"{'xl-' if xl else ''}{kind}" for kind, xl in SHAPES])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("parity"), *request.param)


def noise(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [64, 63])
@pytest.mark.parametrize("jump", [0.0, 0.2])
def test_velocities_are_equal(pair: Pair, frames: int, jump: float) -> None:
    t = torch.tensor([0.9, 0.4])
    asked = {
        "hidden_states": noise(2, frames, tiny.LATENT),
        "timestep": t,
        "timestep_r": t - jump,
        "encoder_hidden_states": noise(2, 9, tiny.CONDITION, seed=6),
        "context_latents": noise(2, frames, 2 * tiny.LATENT, seed=7),
        "return_dict": False,
    }
    with torch.no_grad():
        assert_near(pair.ours.build("dit")(**asked)[0], pair.theirs.transformer(**asked)[0])


def conditions(encoder: Any) -> tuple[Tensor, Tensor]:
    """A padded batch of two through a condition encoder."""
    words, lyrics = torch.tensor([[1] * 6, [1] * 4 + [0] * 2]), torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    with torch.no_grad():
        return encoder(
            noise(2, 6, tiny.TEXT),
            words,
            noise(2, 9, tiny.TEXT, seed=6),
            lyrics,
            noise(2, 30, tiny.LATENT),
            torch.arange(2),
        )


def test_conditions_are_equal(pair: Pair) -> None:
    ours, theirs = pair.ours.build("condition"), pair.theirs.condition_encoder
    if pair.xl:  # diffusers never reads the token, the reference's XL does: give it to diffusers as a first frame
        embed, token = theirs.timbre_encoder.embed_tokens, theirs.timbre_encoder.special_token
        taught = embed.register_forward_hook(lambda m, i, out: torch.cat([token.expand(len(out), 1, -1), out], dim=1))
        with_token = conditions(theirs)
        taught.remove()
        assert not torch.allclose(conditions(theirs)[0], with_token[0])
        assert_near(conditions(ours)[0], with_token[0])
    else:
        assert_near(conditions(ours)[0], conditions(theirs)[0])
    assert torch.equal(conditions(ours)[1], conditions(theirs)[1])
    assert torch.equal(ours.silence_latent, theirs.silence_latent)
    assert torch.equal(ours.null_condition_emb, theirs.null_condition_emb)


def test_codes_are_equal_both_ways(pair: Pair) -> None:
    codes = pair.ours.build("codes")
    latents, every_code = noise(2, 23, tiny.LATENT), torch.arange(tiny.CODES).reshape(1, -1, 1)
    with torch.no_grad():
        ours, theirs = codes.tokenizer.tokenize(latents), pair.theirs.audio_tokenizer.tokenize(latents)
        assert_near(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
        assert_near(codes.detokenizer(ours[0]), pair.theirs.audio_token_detokenizer(theirs[0]))
        meant = codes.tokenizer.quantizer.get_output_from_indices(every_code)
        assert torch.equal(meant, pair.theirs.audio_tokenizer.quantizer.get_output_from_indices(every_code))


def test_sound_and_words_are_equal(pair: Pair) -> None:
    vae, text = pair.ours.build("vae"), pair.ours.build("text")
    sound = noise(1, tiny.CHANNELS, 1600)
    words = pair.ours.tokenizer()(["slow dub techno", "bpm"], padding=True, return_tensors="pt")
    with torch.no_grad():
        latents = vae.encode(sound).latent_dist.mode()
        assert_near(latents, pair.theirs.vae.encode(sound).latent_dist.mode())
        assert_near(vae.decode(latents).sample, pair.theirs.vae.decode(latents).sample)
        asked = {"input_ids": words.input_ids, "attention_mask": words.attention_mask}
        assert_near(text(**asked).last_hidden_state, pair.theirs.text_encoder(**asked).last_hidden_state)
    theirs = pair.theirs.tokenizer(["slow dub techno", "bpm"], padding=True, return_tensors="pt")
    assert torch.equal(words.input_ids, theirs.input_ids)
