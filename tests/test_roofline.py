"""Floors counted from configs agree with torch's own counting of what the modules do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from acestep_lab.models import roofline
from acestep_lab.models.roofline import Peak, Work
from tests.tiny import CHANNELS, CONDITION, LATENT, RATIOS, VAE, dit_config, tiny_components

PUBLISHED: dict[str, Any] = {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "in_channels": 192, "audio_acoustic_hidden_dim": 64, "patch_size": 2,
    "sliding_window": 128,
}  # fmt: skip


def counted(work: Any) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_a_vae_does_what_the_floor_says() -> None:
    vae, frames, hop = tiny_components()["vae"], 12, 160
    assert hop == torch.tensor(RATIOS).prod()
    decoded = counted(lambda: vae.decoder(torch.zeros(1, LATENT, frames)))
    assert roofline.decode(VAE, frames).flops == pytest.approx(decoded, rel=0.02)
    encoded = counted(lambda: vae.encoder(torch.zeros(1, CHANNELS, frames * hop)))
    assert roofline.encode_sound(VAE, frames).flops == pytest.approx(encoded, rel=0.02)


def test_a_step_does_no_less_than_the_floor_says_and_not_much_more() -> None:
    dit, frames, tokens = tiny_components()["dit"], 64, 9
    config = dict(dit_config()) | {"layer_types": dit.layer_types}
    x, states, context = (
        torch.zeros(1, frames, LATENT),
        torch.zeros(1, tokens, CONDITION),
        torch.zeros(1, frames, 2 * LATENT),
    )
    time = torch.ones(1)
    whole = counted(lambda: dit(x, time, time, states, context))
    assert 0.6 * whole < roofline.dit_step(config, frames, tokens).flops < whole


def test_the_published_sizes_come_out_as_surveyed() -> None:
    assert roofline.dit_step(PUBLISHED, 250, 0).bytes == pytest.approx(
        2.97e9, rel=0.02
    )  # without cross keys and values
    assert roofline.dit_step(PUBLISHED, 6000, 351).flops == pytest.approx(9.6e12, rel=0.02)
    real = {"downsampling_ratios": [2, 4, 4, 6, 10], "channel_multiples": [1, 2, 4, 8, 16], "decoder_channels": 128,
            "encoder_hidden_size": 128, "decoder_input_channels": 64, "audio_channels": 2}  # fmt: skip
    assert roofline.decode(real, 25).flops == pytest.approx(121.9e9, rel=0.005)
    assert roofline.encode_sound(real, 25).flops == pytest.approx(121.8e9, rel=0.005)
    planner = {"num_hidden_layers": 28, "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16,
               "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 217_204}  # fmt: skip
    assert roofline.plan_token(planner, 0).bytes == pytest.approx(1326e6, rel=0.01)
    assert roofline.plan_token(planner, 0, head_rows=64_000).bytes == pytest.approx(1015e6, rel=0.01)


def test_a_floor_is_the_slower_of_arithmetic_and_traffic() -> None:
    work = Work(200.0, 30.0) + Work(100.0, 30.0) * 2
    assert (work.flops, work.bytes) == (400.0, 90.0)
    assert work.floor(Peak(100.0, 1e9)) == 4.0
    assert work.floor(Peak(1e9, 10.0)) == 9.0


def test_encoding_words_grows_with_every_stack() -> None:
    config = PUBLISHED | {"num_lyric_encoder_hidden_layers": 8, "num_timbre_encoder_hidden_layers": 4}
    little, more = (roofline.encode(PUBLISHED, config, 70, lyrics, 750) for lyrics in (100, 200))
    assert more.flops > little.flops > roofline.read(PUBLISHED, 70).flops
    assert more.bytes == little.bytes


def test_a_machine_has_a_measurable_peak() -> None:
    peak = roofline.measured_peak(torch.float32, seconds=0.02)
    assert peak.flops > 1e8
    assert peak.bandwidth > 1e8
