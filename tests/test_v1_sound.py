"""ACE-Step v1's sound: log-mel, vocoder and DCAE against written-out formulas, tiles against the whole, bad input."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.ace_v1 import codec as codec_module
from acestep_lab.engines.ace_v1.codec import SCALE, SHIFT, Codec, windows
from acestep_lab.engines.ace_v1.dcae import PUBLISHED, TINY, build
from acestep_lab.engines.ace_v1.log_mel import LogMel, from_picture, to_picture
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig
from acestep_lab.errors import CheckpointError, MachineError, SourceError, Stopped

HOP = 4096


def tiny_vocoder(config: VocoderConfig | None = None) -> Vocoder:
    """A vocoder of random weights whose sound depends on its mel everywhere it may."""
    torch.manual_seed(1)
    vocoder = Vocoder(config or VocoderConfig.tiny()).double().eval().requires_grad_(False)
    for name, value in vocoder.named_parameters():
        if name.endswith("gamma"):
            value.uniform_(0.2, 0.5)
        elif name.endswith("original0"):
            value.mul_(2.0)
    return vocoder


def tiny_dcae() -> Any:
    torch.manual_seed(2)
    return build(TINY).double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Vocoder]:
    return tiny_dcae(), tiny_vocoder().fuse()


def latent_of(frames: int) -> Tensor:
    return torch.randn(frames, 128, generator=torch.Generator().manual_seed(frames), dtype=torch.float64)


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples), dtype=torch.float64)


# --- log-mel ---------------------------------------------------------------------------------------------------------


def test_mel_bands_are_slaneys() -> None:
    librosa = pytest.importorskip("librosa")
    true = librosa.filters.mel(sr=44100, n_fft=2048, n_mels=128, fmin=40, fmax=16000, dtype=np.float64)
    assert np.abs(LogMel().filters().numpy().T - true).max() < 1e-15


def test_log_mel_is_the_written_formula() -> None:
    samples = noise(4 * 512)
    padded = np.pad(samples[0].numpy(), (768, 768), mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    frames = np.stack([padded[512 * i : 512 * i + 2048] * window for i in range(4)])
    magnitude = np.sqrt(np.abs(np.fft.rfft(frames)) ** 2 + 1e-6)
    true = np.log(np.maximum(magnitude @ LogMel().filters().numpy(), 1e-5)).T
    assert np.abs(LogMel()(samples)[0].numpy() - true).max() < 1e-10


def test_part_of_a_log_mel_is_that_part_of_the_whole() -> None:
    samples = noise(9 * 512 + 100)
    whole = LogMel()(samples)
    joined = torch.cat([LogMel().part(samples, *ends) for ends in ((0, 1), (1, 4), (4, 8), (8, 9))], dim=-1)
    assert whole.shape == (2, 128, 9)
    torch.testing.assert_close(joined, whole, rtol=0, atol=1e-12)


def test_picture_runs_from_minus_eleven_to_three_and_back() -> None:
    log_mel = torch.tensor([-11.0, -4.0, 3.0, 10.0])
    assert to_picture(log_mel).tolist() == [-1.0, 0.0, 1.0, 2.0]
    torch.testing.assert_close(from_picture(to_picture(log_mel)), log_mel)


# --- vocoder ---------------------------------------------------------------------------------------------------------


def convolved(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1, edge: str = "constant") -> Tensor:
    """A convolution that keeps the length, tap by tap: x [C, T]."""
    taps = weight.shape[-1]
    padded = torch.nn.functional.pad(x[None], (dilation * (taps // 2),) * 2, mode=edge)[0]
    return (
        sum(weight[..., k] @ padded[:, k * dilation : k * dilation + x.shape[1]] for k in range(taps)) + bias[:, None]
    )


def raised(x: Tensor, weight: Tensor, bias: Tensor, rate: int) -> Tensor:
    """A transposed convolution: every step rings on, and the padding is cut off both ends."""
    taps, cut = weight.shape[-1], (weight.shape[-1] - rate) // 2
    made = torch.zeros(weight.shape[1], rate * (x.shape[1] - 1) + taps, dtype=x.dtype)
    for t in range(x.shape[1]):
        made[:, t * rate : t * rate + taps] += torch.einsum("i,iok->ok", x[:, t], weight)
    return made[:, cut : made.shape[1] - cut] + bias[:, None]


def normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return weight[:, None] * centred / (centred.square().mean(0) + 1e-6).sqrt() + bias[:, None]


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def spelt_out(state: dict[str, Tensor], config: VocoderConfig, mel: Tensor) -> Tensor:
    """The vocoder from its formulas: mel [bands, T] to samples [T · hop]."""

    def of(name: str) -> tuple[Tensor, Tensor]:
        if f"{name}.weight" in state:
            return state[f"{name}.weight"], state[f"{name}.bias"]
        g, v = (state[f"{name}.parametrizations.weight.original{i}"] for i in (0, 1))
        return g * v / v.square().sum((1, 2), keepdim=True).sqrt(), state[f"{name}.bias"]

    def block(name: str, x: Tensor) -> Tensor:
        weight, bias = of(f"{name}.dwconv")
        y = normed(convolved(x, torch.diag_embed(weight[:, 0].T).permute(1, 2, 0), bias), *of(f"{name}.norm"))
        y = of(f"{name}.pwconv1")[0] @ y + of(f"{name}.pwconv1")[1][:, None]
        y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
        y = of(f"{name}.pwconv2")[0] @ y + of(f"{name}.pwconv2")[1][:, None]
        return state[f"{name}.gamma"][:, None] * y

    x = mel
    for i, depth in enumerate(config.depths):
        if i == 0:
            x = convolved(x, *of("backbone.channel_layers.0.0"), edge="replicate")
            x = normed(x, *of("backbone.channel_layers.0.1"))
        else:
            x = convolved(normed(x, *of(f"backbone.channel_layers.{i}.0")), *of(f"backbone.channel_layers.{i}.1"))
        for j in range(depth):
            name, several = f"backbone.stages.{i}.{j}", len(config.kernel_sizes)
            names = [name] if several == 1 else [f"{name}.blocks.{k}" for k in range(several)]
            x = x + sum(block(one, x) for one in names)
    x = convolved(normed(x, *of("backbone.norm")), *of("head.conv_pre"))
    kinds = config.resblock_dilation_sizes
    for i, rate in enumerate(config.upsample_rates):
        x, heard = raised(silu(x), *of(f"head.ups.{i}"), rate), []
        for j, dilations in enumerate(kinds):
            y = x
            for k, dilation in enumerate(dilations):
                name = f"head.resblocks.{i * len(kinds) + j}"
                first = convolved(silu(y), *of(f"{name}.convs1.{k}"), dilation)
                y = y + convolved(silu(first), *of(f"{name}.convs2.{k}"))
            heard.append(y)
        x = torch.stack(heard).mean(0)
    return torch.tanh(convolved(silu(x), *of("head.conv_post")))[0]


@pytest.mark.parametrize("kernels", [(7,), (3, 5)])
def test_vocoder_is_the_written_formula_and_fusing_changes_rounding_only(kernels: tuple[int, ...]) -> None:
    tiny = VocoderConfig.tiny()
    config = VocoderConfig(**{**vars(tiny), "kernel_sizes": kernels})
    vocoder, mel = tiny_vocoder(config), noise(128 * 6).reshape(2, 128, 6) * 30
    true = torch.stack([spelt_out(vocoder.state_dict(), config, one) for one in mel])
    with torch.no_grad():
        assert true.shape == (2, 6 * 512)
        assert true.std() > 1e-3
        torch.testing.assert_close(vocoder(mel), true, rtol=0, atol=1e-12)
        torch.testing.assert_close(vocoder.fuse()(mel), true, rtol=0, atol=1e-12)
    assert not any("parametrizations" in name for name in vocoder.state_dict())


def test_published_sizes_and_tiny_ones() -> None:
    with torch.device("meta"):
        vocoder, dcae = Vocoder(VocoderConfig.from_config({"_class_name": "ADaMoSHiFiGANV1"})), build(PUBLISHED)
    assert sum(p.numel() for p in vocoder.parameters()) == 103_005_138
    assert sum(p.numel() for p in dcae.parameters()) == 156_812_426
    assert (vocoder.backbone_reach, vocoder.head_reach) == (57, 34)
    tiny = (Vocoder(VocoderConfig.tiny()), build(TINY))
    assert all(sum(4 * p.numel() for p in module.parameters()) < 300_000 for module in tiny)


def test_vocoder_hears_as_far_as_it_says_and_no_further() -> None:
    vocoder = tiny_vocoder().fuse()
    reach, mel = vocoder.backbone_reach + vocoder.head_reach, noise(128 * 41).reshape(2, 128, 41)[:1] * 30
    with torch.no_grad():
        true, heard = vocoder(mel), {}
        for distance in (reach, reach + 1):
            changed = mel.clone()
            changed[:, :, 20 - distance] += 1
            changed[:, :, 20 + distance] += 1
            frame = slice(20 * 512, 21 * 512)
            heard[distance] = float((vocoder(changed) - true)[:, frame].abs().max())
    assert heard[reach + 1] < 1e-15  # rounding of shapes alone
    assert heard[reach] > 1e-12


def published_state(vocoder: Vocoder) -> dict[str, Tensor]:
    """As in the published file: the old names of weight norm, and the mel's buffers."""
    old = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
    state = {}
    for name, value in vocoder.state_dict().items():
        for ours, theirs in old.items():
            name = name.replace(ours, theirs)
        state[name] = value
    state["mel_transform.spectrogram.window"] = torch.hann_window(2048)
    state["mel_transform.mel_scale.fb"] = LogMel().filters().bfloat16()
    return state


def test_a_published_state_loads_under_either_name_of_weight_norm() -> None:
    true, mel = tiny_vocoder(), noise(128 * 3).reshape(2, 128, 3)
    for state in (published_state(true), true.state_dict()):
        with torch.device("meta"):
            loaded = Vocoder(VocoderConfig.tiny())
        loaded.load_state(state)
        with torch.no_grad():
            assert torch.equal(loaded.eval()(mel), true(mel))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("head.conv_pre.weight_g", None, "lacks"),
        ("head.noise_convs.0.weight", torch.ones(1), "no vocoder"),
        ("backbone.norm.weight", torch.ones(3), "belongs"),
        ("mel_transform.spectrogram.window", torch.ones(2048), "window"),
        ("mel_transform.mel_scale.fb", LogMel(f_min=20).filters(), "mel_scale"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, value: Tensor | None, said: str) -> None:
    state = published_state(tiny_vocoder())
    state.pop(name, None)
    if value is not None:
        state[name] = value
    with pytest.raises(CheckpointError, match=said):
        Vocoder(VocoderConfig.tiny()).load_state(state)


@pytest.mark.parametrize(
    "odd",
    [{"use_template": True}, {"hop_length": 256}, {"dims": [1, 2]}, {"dims": 5}, {"n_fft": -1}, {"depths": []},
     {"upsample_kernel_sizes": [8, 8, 4, 4, 4, 4, 5]}, {"resblock_kernel_sizes": [3, 7, 11, 12]}, {"num_mels": 64},
     {"upsample_initial_channel": 100}, {"dims": ["a", 2, 3, 512]}],
)  # fmt: skip
def test_a_vocoder_that_cannot_be_is_a_sentence(odd: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="vocoder"):
        VocoderConfig.from_config(odd)


# --- tiles and the whole ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 3, 37])
def test_decoding_in_tiles_is_the_whole(parts: tuple[Any, Vocoder], frames: int) -> None:
    dcae, vocoder = parts
    latent = latent_of(frames)
    with torch.no_grad():
        picture = dcae.decoder(latent.T.unflatten(0, (8, 16))[None] / SCALE + SHIFT)
        stock = vocoder(from_picture(picture)[0])
    tiled, whole = Codec(dcae, vocoder, tile=23).decode(latent), Codec(dcae, vocoder, tile=4096).decode(latent)
    assert tiled.shape == (2, frames * HOP)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(tiled, stock, rtol=0, atol=1e-4 * float(stock.std()))  # diffusers attends in float32


@pytest.mark.parametrize("samples", [1, HOP, HOP * 2 + 1, HOP * 37 - 9])
def test_encoding_in_tiles_is_the_whole(parts: tuple[Any, Vocoder], samples: int) -> None:
    dcae, vocoder = parts
    sound, frames = noise(samples), -(-samples // HOP)
    with torch.no_grad():
        filled = torch.nn.functional.pad(sound, (0, frames * HOP - samples))
        stock = (dcae.encoder(to_picture(LogMel()(filled))[None]) - SHIFT) * SCALE
    tiled, whole = Codec(dcae, vocoder, tile=23).encode(sound), Codec(dcae, vocoder, tile=4096).encode(sound)
    assert tiled.shape == (frames, 128)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-11)
    torch.testing.assert_close(tiled, stock[0].flatten(0, 1).T, rtol=0, atol=1e-5)


def test_a_preview_sounds_as_in_the_whole_and_pieces_join_to_it(parts: tuple[Any, Vocoder]) -> None:
    codec, latent = Codec(*parts, tile=23), latent_of(30)
    whole, opened = codec.decode(latent), codec.open(latent)
    for start, end in ((0, 1), (17, 20), (29, 30)):
        preview = torch.cat(list(opened.pieces(start, end)), dim=-1)
        torch.testing.assert_close(preview, whole[:, start * HOP : end * HOP], rtol=0, atol=1e-12)
    assert torch.equal(torch.cat(list(codec.stream(latent)), dim=-1), whole)
    assert torch.equal(codec.window(latent, 17, 20), torch.cat(list(opened.pieces(17, 20)), dim=-1))


def test_windows_are_the_originals() -> None:
    assert windows(512) == [(0, 512)]
    assert windows(513) == [(0, 512), (256, 513)]
    assert windows(1024) == [(0, 512), (256, 768), (512, 1024)]


def test_overlapped_windows_hear_themselves_alone_whatever_the_tile(
    parts: tuple[Any, Vocoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WINDOW", 16), ("WINDOW_HOP", 8), ("FADE", 2)):
        monkeypatch.setattr(codec_module, name, value)
    latent = latent_of(30)
    small, large = (Codec(*parts, tile=tile, overlapped=True).decode(latent) for tile in (23, 4096))
    torch.testing.assert_close(small, large, rtol=0, atol=1e-12)
    opened = Codec(*parts, overlapped=True).open(latent)
    assert opened.bounds == [(0, 16), (8, 24), (16, 30)]
    counts = torch.zeros(30 * 8, dtype=torch.float64)
    for i in range(3):
        begin, end = opened._heard(i)
        counts[begin * 8 : end * 8] += opened._weights(i, begin, end)
    assert torch.allclose(counts, torch.ones_like(counts), atol=1e-12)
    alone = Codec(*parts).decode(latent[:16])[:, :HOP]  # nothing of the second window reaches these
    torch.testing.assert_close(large[:, :HOP], alone, rtol=0, atol=1e-12)
    assert not torch.equal(large, Codec(*parts).decode(latent))
    assert torch.equal(Codec(*parts, overlapped=True).decode(latent[:16]), Codec(*parts).decode(latent[:16]))


def test_progress_grows_to_one_and_stop_ends_it_between_tiles(parts: tuple[Any, Vocoder]) -> None:
    codec, stop = Codec(*parts, tile=23), threading.Event()
    for work in (codec.decode, codec.encode):
        material: Tensor = latent_of(30) if work == codec.decode else noise(30 * HOP)
        shares: list[float] = []
        work(material, progress=shares.append)
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1)
        assert len(shares) > 5
        stopped: list[float] = []

        def until(share: float, heard: list[float] = stopped) -> None:
            heard.append(share)
            if share > 0.3:
                stop.set()

        with pytest.raises(Stopped):
            work(material, stop, until)
        assert max(stopped) < 1
        stop.clear()


# --- what comes in and goes out --------------------------------------------------------------------------------------


def test_any_sound_is_heard_in_stereo_at_the_codecs_rate(parts: tuple[Any, Vocoder]) -> None:
    codec, mono = Codec(*parts), noise(48_000)[:1].float().numpy()
    stereo = np.repeat(Audio(mono, 48_000).resample(44_100).samples, 2, axis=0)
    assert codec.rate == 44_100
    assert codec.hop == HOP
    assert torch.equal(codec.encode(Audio(mono, 48_000)), codec.encode(torch.from_numpy(stereo)))
    assert codec.encode(Audio(mono, 48_000)).shape == (11, 128)


def test_silence_goes_both_ways_and_half_precision_stays_finite() -> None:
    half = build(TINY).eval().bfloat16(), tiny_vocoder().fuse().bfloat16()
    codec = Codec(*half, tile=23)
    latent = codec.encode(torch.zeros(2, 30 * HOP))
    sound = codec.decode(latent)
    assert latent.dtype == sound.dtype == torch.float32
    assert torch.isfinite(latent).all()
    assert torch.isfinite(sound).all()
    assert sound.abs().max() <= 1


@pytest.mark.parametrize(
    "bad", [torch.full((2, 9000), torch.nan), torch.zeros(2, 0), torch.zeros(1, 9000), torch.zeros(9000), torch.ones(2, 9).long()]
)  # fmt: skip
def test_what_is_no_sound_is_refused(parts: tuple[Any, Vocoder], bad: Tensor) -> None:
    with pytest.raises(SourceError):
        Codec(*parts).encode(bad)


@pytest.mark.parametrize(
    "bad", [torch.full((5, 128), torch.inf), torch.zeros(0, 128), torch.zeros(5, 64), torch.zeros(1, 5, 128)]
)
def test_what_is_no_latent_is_refused(parts: tuple[Any, Vocoder], bad: Tensor) -> None:
    with pytest.raises(SourceError):
        Codec(*parts).decode(bad)


def test_damaged_weights_and_small_tiles_are_sentences() -> None:
    dcae, vocoder = tiny_dcae(), tiny_vocoder().fuse()
    with pytest.raises(MachineError, match="no core"):
        Codec(dcae, vocoder, tile=20)
    vocoder.head.conv_post.bias.fill_(torch.nan)
    with pytest.raises(MachineError, match="vocoder"):
        Codec(dcae, vocoder).decode(latent_of(2))
    dcae.encoder.conv_out.bias.fill_(torch.nan)
    with pytest.raises(MachineError, match="DCAE"):
        Codec(dcae, vocoder).encode(noise(HOP))
    with pytest.raises(CheckpointError, match="innermost"):
        Codec(build({**TINY, "encoder_block_types": "EfficientViTBlock"}), vocoder)


@pytest.mark.parametrize("frames", [1, 7, 108])
def test_export_has_exactly_the_samples_of_its_rate(parts: tuple[Any, Vocoder], frames: int) -> None:
    codec, samples = Codec(*parts), 0.1 * torch.ones(2, frames * HOP)
    exported = codec.exported(samples)
    assert exported.rate == 48_000
    assert exported.samples.shape == (2, -(-frames * HOP * 160 // 147))
    assert codec.exported(samples, 1000).samples.shape == (2, 1000)
    for wrong in (0, exported.samples.shape[1] + 1):
        with pytest.raises(SourceError, match="asked for"):
            codec.exported(samples, wrong)
