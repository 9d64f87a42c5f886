"""Tiles joined are the whole, whatever the VAE's strides; nothing of a sound is lost; a prepared VAE says the same."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck
from torch import Tensor, nn

from acestep_lab.engines.ace15 import fast_vae
from acestep_lab.engines.ace15.codec import Codec, reach
from acestep_lab.engines.ace15.fast_vae import Convolution, Upsampling, prepare_vae
from acestep_lab.engines.tiles import tiles
from acestep_lab.errors import CheckpointError, MachineError, SourceError, Stopped
from tests.closeness import assert_near
from tests.tiny import CHANNELS, LATENT, RATE, tiny_components

REAL_RATIOS, POCKET_RATIOS = [2, 4, 4, 6, 10], [120, 2]
FRAMES = 70


def narrow(ratios: list[int]) -> Any:
    """A VAE of these strides, two channels wide, in float64."""
    torch.manual_seed(3)
    sizes: dict[str, Any] = {
        "encoder_hidden_size": 4,
        "decoder_channels": 2,
        "decoder_input_channels": 2,
        "channel_multiples": [1] * len(ratios),
        "audio_channels": 1,
        "sampling_rate": 4800,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        vae = AutoencoderOobleck(downsampling_ratios=ratios, **sizes)
    return vae.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae() -> Any:
    return tiny_components()["vae"]


@pytest.fixture(scope="module")
def latent() -> Tensor:
    return torch.randn(FRAMES, LATENT, generator=torch.Generator().manual_seed(1))


def whole(vae: Any, latent: Tensor) -> Tensor:
    """What diffusers makes of it in one go."""
    with torch.inference_mode():
        return vae.decode(latent.T[None]).sample[0]


@pytest.mark.parametrize(("ratios", "frames"), [(REAL_RATIOS, 9), (POCKET_RATIOS, 24)])
def test_the_reach_is_the_furthest_frame_that_matters_and_no_further(ratios: list[int], frames: int) -> None:
    decoder, hop = narrow(ratios).decoder, torch.tensor(ratios).prod().item()
    assert reach(decoder) == frames
    middle = 2 * frames
    silent = torch.zeros(1, 2, 4 * frames + 1, dtype=torch.float64)
    reference = decoder(silent)[0, :, middle * hop : (middle + 1) * hop]
    moved = {}
    for away in (-frames - 1, -frames, frames, frames + 1):
        loud = silent.clone()
        loud[0, :, middle + away] = 1e6
        moved[away] = (decoder(loud)[0, :, middle * hop : (middle + 1) * hop] - reference).abs().max().item()
    assert moved[-frames - 1] == moved[frames + 1] == 0.0
    assert max(moved[-frames], moved[frames]) > 0.0


def test_tiles_cover_every_frame_once_with_its_context_and_one_shape() -> None:
    for frames in (1, 29, 30, 31, 47, 200):
        found = list(tiles(frames, 30, 7))
        covered = [frame for t in found for frame in range(t.start + t.core.start, t.start + t.core.stop)]
        assert covered == list(range(frames))
        assert {t.end - t.start for t in found} == {min(30, frames)}
        for t in found:
            assert t.core.start >= 7 or t.start == 0
            assert t.end - t.start - t.core.stop >= 7 or t.end == frames


@pytest.mark.parametrize("tile", [None, 33, 50])
def test_a_latent_decoded_in_tiles_is_the_latent_decoded_whole(vae: Any, latent: Tensor, tile: int | None) -> None:
    codec = Codec(vae, tile)
    assert_near(codec.decode(latent), whole(vae, latent))
    joined = torch.cat(list(codec.stream(latent)), dim=-1)
    torch.testing.assert_close(joined, codec.decode(latent), atol=0, rtol=0)


@pytest.mark.parametrize("tile", [None, 33])
def test_a_sound_encoded_in_tiles_is_the_posteriors_mode_of_the_whole(vae: Any, tile: int | None) -> None:
    codec = Codec(vae, tile)
    sound = torch.randn(CHANNELS, FRAMES * codec.hop, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = vae.encode(sound[None]).latent_dist.mode()[0].T
    found = codec.encode(sound)
    assert_near(found, expected)
    assert torch.equal(found, codec.encode(sound))


def test_the_numbers_of_a_codec_come_from_the_vae(vae: Any) -> None:
    codec = Codec(vae)
    assert (codec.rate, codec.channels, codec.hop, codec.latent_channels) == (RATE, CHANNELS, 160, LATENT)
    assert codec.frames_per_second == 50


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 5003])
def test_no_sample_of_a_sound_is_lost(vae: Any, samples: int) -> None:
    codec = Codec(vae)
    latent = codec.encode(torch.randn(CHANNELS, samples))
    assert latent.shape == (-(-samples // codec.hop), LATENT)
    assert codec.decode(latent).shape[-1] >= samples


def test_a_window_sounds_as_it_does_in_the_whole(vae: Any, latent: Tensor) -> None:
    codec, expected = Codec(vae, 40), whole(vae, latent)
    for start, end in ((0, 5), (30, 41), (60, FRAMES), (0, FRAMES)):
        found = codec.window(latent, start, end)
        assert_near(found, expected[:, start * 160 : end * 160])


def test_a_batch_is_its_items(vae: Any, latent: Tensor) -> None:
    codec, pair = Codec(vae, 40), torch.stack([latent, latent.flip(0)])
    both = codec.decode(pair)
    assert_near(both[1], codec.decode(pair[1]))
    assert codec.encode(both).shape == pair.shape


def test_the_first_piece_comes_before_the_second_is_decoded_and_a_stop_ends_the_stream(latent: Tensor) -> None:
    counted, stop = tiny_components()["vae"], threading.Event()
    calls: list[int] = []
    counted.decoder.register_forward_pre_hook(lambda module, args: calls.append(args[0].shape[-1]))
    stream = Codec(counted, 40).stream(latent, stop)
    assert next(stream).shape[-1] > 0
    assert calls == [40]
    stop.set()
    with pytest.raises(Stopped):
        next(stream)
    assert calls == [40]
    with pytest.raises(Stopped):
        Codec(counted).encode(torch.zeros(CHANNELS, 160), stop)


def test_a_prepared_vae_makes_the_same_sound_and_latent(vae: Any, latent: Tensor) -> None:
    prepared = prepare_vae(prepare_vae(tiny_components()["vae"]))
    sound = torch.randn(CHANNELS, 3200)
    assert_near(Codec(prepared).decode(latent), whole(vae, latent))
    assert_near(Codec(prepared).encode(sound), Codec(vae).encode(sound))
    assert not [name for name, _ in prepared.named_parameters() if "weight_g" in name]
    layers = list(prepared.bfloat16().modules())
    raised = [module for module in layers if isinstance(module, Upsampling)]
    assert len(raised) == 3
    assert all(module.weight.is_contiguous() for module in raised)  # no copy at every call
    assert all(m.weight.transpose(1, 2).is_contiguous() for m in layers if isinstance(m, Convolution))


def test_a_prepared_vae_says_the_same_while_gradients_flow_and_lets_them_through(vae: Any, latent: Tensor) -> None:
    prepared = prepare_vae(tiny_components()["vae"])
    listened = latent.T[None].clone().requires_grad_()
    sound = prepared.decoder(listened)
    assert_near(sound[0].detach(), whole(vae, latent))
    sound.square().sum().backward()
    assert listened.grad is not None
    assert listened.grad.isfinite().all()


def test_a_piece_walks_through_a_block_in_stretches_and_comes_out_the_same() -> None:
    prepared = prepare_vae(tiny_components()["vae"])
    units = fast_vae._units(prepared.decoder.block[-1])
    channels = units[0].conv1.in_channels
    longer_than_a_stretch = fast_vae.STRETCH // channels + 5000
    x = torch.randn(1, channels, longer_than_a_stretch, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        at_once = fast_vae._one_after_another(units, x.clone())
        assert_near(fast_vae.in_pieces(units, x), at_once)


def test_half_precision_is_as_near_to_full_as_diffusers_is_and_nearer(latent: Tensor) -> None:
    exact = whole(tiny_components()["vae"], latent)
    stock = tiny_components()["vae"].bfloat16()
    ours = prepare_vae(tiny_components()["vae"]).bfloat16()
    with torch.inference_mode():
        theirs = stock.decoder(latent.T[None].bfloat16())[0].float()
    assert (Codec(ours).decode(latent) - exact).norm() <= (theirs - exact).norm()


def test_idle_residual_units_are_dropped_even_without_a_direction(latent: Tensor) -> None:
    idle, same = tiny_components()["vae"], tiny_components()["vae"]
    for made in (idle, same):
        for unit in (made.decoder.block[2].res_unit1, made.decoder.block[2].res_unit3):
            unit.conv2.weight_g.zero_()
            unit.conv2.bias.zero_()
    idle.decoder.block[2].res_unit3.conv2.weight_v.zero_()  # 0 / 0 in diffusers
    prepare_vae(idle)
    assert isinstance(idle.decoder.block[2].res_unit1, nn.Identity)
    assert isinstance(idle.decoder.block[2].res_unit3, nn.Identity)
    assert_near(Codec(idle).decode(latent), whole(same, latent))


@pytest.mark.parametrize("units_too", [True, False], ids=["a snake between", "a residual unit between"])
def test_full_rate_channels_that_are_always_zero_are_left_out_where_only_a_snake_hears_them(
    latent: Tensor, units_too: bool
) -> None:
    sparse, same = tiny_components()["vae"], tiny_components()["vae"]
    for one in (sparse, same):
        with torch.no_grad():
            for unit in _units_of(one.encoder.block[0]) + _units_of(one.decoder.block[-1]) if units_too else ():
                unit.conv2.weight_g.zero_()
                unit.conv2.bias.zero_()
            one.encoder.conv1.weight_g[1:].zero_()
            one.encoder.conv1.bias[1:] = 0
            last = one.decoder.block[-1].conv_t1
            last.weight_v[:, 2] = 0
            last.bias[2] = 0
    full = same.decoder.conv2.in_channels
    prepared = prepare_vae(sparse)
    assert prepared.decoder.conv2.in_channels == full - units_too
    assert prepared.encoder.conv1.out_channels == (1 if units_too else same.encoder.conv1.out_channels)
    sound = whole(same, latent)
    assert_near(Codec(prepared).decode(latent), sound)
    assert_near(Codec(prepared).encode(sound), same.encode(sound[None]).latent_dist.mean[0].T)


def _units_of(block: Any) -> list[Any]:
    return [block.res_unit1, block.res_unit2, block.res_unit3]


def test_both_of_torchs_weight_norms_are_fused() -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old = nn.utils.weight_norm(nn.Conv1d(3, 5, 3))
    new = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 5, 3))
    x = torch.randn(1, 3, 9)
    for conv in (old, new):
        expected = conv(x)
        prepare_vae(nn.Sequential(conv))
        assert_near(conv(x), expected)
        assert set(dict(conv.named_parameters())) == {"weight", "bias"}


def test_half_precision_weights_give_float32_sound(vae: Any, latent: Tensor) -> None:
    half = prepare_vae(tiny_components()["vae"]).bfloat16()
    found, expected = Codec(half).decode(latent), whole(vae, latent)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        (torch.zeros(1, 800), "with_channels"),
        (torch.zeros(800), "float tensor"),
        (torch.zeros(CHANNELS, 800, dtype=torch.int16), "int16"),
        (torch.zeros(CHANNELS, 0), "no samples"),
    ],
)
def test_an_unfit_sound_is_refused_in_words(vae: Any, sound: Tensor, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        Codec(vae).encode(sound)


def test_unfit_latents_tiles_and_strides_are_refused_in_words(vae: Any, latent: Tensor) -> None:
    with pytest.raises(SourceError, match=r"\[frames, 8\]"):
        Codec(vae).decode(latent.T)
    with pytest.raises(SourceError, match="70 frames"):
        Codec(vae).window(latent, 60, 71)
    with pytest.raises(MachineError, match="no core"):
        Codec(vae, 3)
    with pytest.raises(CheckpointError, match="odd ratio 3"):
        Codec(narrow([4, 3]))
