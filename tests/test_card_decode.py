"""Decoders at work on a pretended card: what is copied, how much lives there, and nothing on the wrong side."""

from functools import partial

import pytest
import torch
from torch import nn

from acestep_lab._libraries import diffusers
from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from acestep_lab.engines.card_tiles import CardTiles
from acestep_lab.models.assembly import empty
from acestep_lab.models.memory_plan import READING_STREAM_SHARE, STREAM_SHARE
from acestep_lab.models.pinned import Pack, Streamed, blocks_of, leaves_of, tensors_of
from tests.hollow import hollow_ace15
from tests.phantom import PhantomCard, PhantomLanes


@pytest.fixture(scope="module")
def vae():
    """The published autoencoder's decoder, prepared as a render has it."""
    return prepare_vae(
        diffusers.AutoencoderOobleck(
            encoder_hidden_size=8, downsampling_ratios=[2, 4, 4, 6, 10], channel_multiples=[1, 2, 4, 8, 16],
            decoder_channels=16, decoder_input_channels=64, audio_channels=2, sampling_rate=48_000,
        )
    ).requires_grad_(False)  # fmt: skip


@pytest.mark.parametrize("most", [64, 128])
def test_a_latent_goes_to_the_card_once_and_each_tile_of_sound_comes_home_once(vae, most):
    with PhantomCard() as card:
        held = card.holds(empty(lambda: vae), torch.bfloat16)
        codec = Codec(held, most, PhantomLanes(card), CardTiles(most))
        pieces = 0
        with card.counting(held) as count:
            for piece in codec.stream(torch.empty(500, 64)):
                assert piece.device.type == "cpu"
                pieces += 1
    sides = [(at, to) for at, to, _ in count.copies]
    assert sides.count(("cpu", "card")) == 1
    assert sides.count(("card", "cpu")) == pieces > 3
    assert sum(size for at, _, size in count.copies if at == "card") == 500 * 1920 * 2 * 4


@pytest.mark.parametrize("level", ["block", "leaf"])
def test_a_streamed_transformer_finds_everything_on_the_card(level, monkeypatch):
    monkeypatch.setattr(Pack, "_look_at", _moved)
    make = partial(
        diffusers.AceStepTransformer1DModel, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, encoder_hidden_size=256,
    )  # fmt: skip
    dit = attention.install(empty(make)).requires_grad_(False).eval()
    with PhantomCard() as card:
        _on_the_host(dit)
        found = Streamed(dit, level, PhantomLanes(card), "dit")
        for _ in range(2):
            with card.counting() as count:
                attention.velocity(dit, torch.empty(1, 200, 64), 0.5, torch.empty(1, 9, 256), torch.empty(1, 200, 128))
    largest = max(sum(one.nbytes for one in tensors_of([part])) for part in found.parts)
    whole = sum(one.nbytes for one in tensors_of([dit]))
    assert found.bytes <= 2 * largest * 1.01 + whole - sum(one.nbytes for one in tensors_of(found.parts)) * 0.99
    assert sum(size for at, _, size in count.copies if at == "cpu") > sum(one.nbytes for one in tensors_of(found.parts))


@pytest.mark.parametrize("name", ["text", "dit"])
def test_what_is_streamed_at_the_published_sizes_takes_what_is_planned(name, tmp_path):
    """Two rooms for its largest blocks, and what is in none."""
    module = hollow_ace15(tmp_path).checkpoint.build(name)
    shares = READING_STREAM_SHARE if name == "text" else STREAM_SHARE
    for level, parts in (("block", list(blocks_of(module))), ("leaf", list(leaves_of(module)))):
        sizes = sorted(sum(one.nbytes for one in tensors_of([part])) for part in parts)
        whole = sum(one.nbytes for one in tensors_of([module]))
        rest = whole - sum(one.nbytes for one in tensors_of(parts))
        assert sum(sizes[-2:]) + rest <= shares[level] * whole


def _on_the_host(module):
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = nn.Parameter(torch.empty(value.shape, dtype=torch.bfloat16), False)
        for name, value in list(part._buffers.items()):
            if value is not None:
                part._buffers[name] = torch.empty(value.shape, dtype=value.dtype)


def _moved(pack, places):
    """What `tensor.data = place` does between a CPU and a real card, and torch refuses between a CPU and a pretended one."""
    for one, place in zip(pack.tensors, places, strict=True):
        one.fake_device = place.fake_device
