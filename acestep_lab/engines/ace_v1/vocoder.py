"""ACE-Step v1's vocoder "ADaMoS": a ConvNeXt over the log-mel and a HiFi-GAN that raises it to samples, one channel at a time.

Own code for the published numbers and parameter names (ConvNeXt: Liu et al. 2022; HiFi-GAN: Kong et al. 2020). Everything is a
convolution, so a part hears no further than `backbone_reach` + `head_reach` frames and tiles joined are the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil, prod
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from acestep_lab.engines.ace_v1.log_mel import LogMel, hann_window
from acestep_lab.errors import CheckpointError, shown

_T = TypeVar("_T")
_NORM_EPS, _GAMMA = 1e-6, 1e-6
_LONGEST_WINDOW = 2**16  # samples; its mel bands are a table of as many rows
_MEL = "mel_transform."
_WINDOW, _FILTERS = f"{_MEL}spectrogram.window", f"{_MEL}mel_scale.fb"
_NEW_NAMES = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}


@dataclass(frozen=True)
class VocoderConfig:
    """Every size of a vocoder; the defaults are the published ones."""

    input_channels: int = 128
    depths: tuple[int, ...] = (3, 3, 9, 3)
    dims: tuple[int, ...] = (128, 256, 384, 512)
    kernel_sizes: tuple[int, ...] = (7,)
    upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (8, 8, 4, 4, 4, 4, 4)
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11, 13)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 4
    num_mels: int = 512
    upsample_initial_channel: int = 1024
    pre_conv_kernel_size: int = 13
    post_conv_kernel_size: int = 13
    sampling_rate: int = 44_100
    n_fft: int = 2048
    win_length: int = 2048
    hop_length: int = 512
    f_min: float = 40
    f_max: float = 16_000
    n_mels: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            _check_sizes(field.name, value)
            if isinstance(value, tuple) is not isinstance(field.default, tuple):
                raise CheckpointError(
                    f"The vocoder's {field.name} is {shown(value)}, where {shown(field.default)} is published."
                )
        self._check_shape()

    def _check_shape(self) -> None:
        same = (len(self.depths), len(self.upsample_rates), len(self.resblock_kernel_sizes))
        if same != (len(self.dims), len(self.upsample_kernel_sizes), len(self.resblock_dilation_sizes)):
            raise CheckpointError(
                "The vocoder's config names lists of different lengths where each entry has its partner."
            )
        if prod(self.upsample_rates) != self.hop_length:
            raise CheckpointError(
                f"The vocoder raises a frame to {prod(self.upsample_rates)} samples, and its hop is {self.hop_length}: "
                "the product of its upsample_rates has to be its hop_length."
            )
        if self.dims[-1] != self.num_mels or self.input_channels != self.n_mels:
            raise CheckpointError(
                f"The vocoder's halves do not fit: dims ends with {self.dims[-1]} where num_mels is {self.num_mels}, and "
                f"{self.input_channels} input_channels read {self.n_mels} n_mels."
            )
        heard = self.f_min < self.f_max <= self.sampling_rate / 2
        if not (
            heard and self.hop_length <= self.win_length <= self.n_fft <= _LONGEST_WINDOW and self.n_mels < self.n_fft
        ):
            raise CheckpointError(
                f"The vocoder hears {self.f_min:g} to {self.f_max:g} Hz of {self.sampling_rate} samples a second, in windows of "
                f"{self.win_length} of {self.n_fft}: there is no such picture."
            )
        odd = (*self.kernel_sizes, *self.resblock_kernel_sizes, self.pre_conv_kernel_size, self.post_conv_kernel_size)
        steps = zip(self.upsample_kernel_sizes, self.upsample_rates, strict=True)
        if any(size % 2 == 0 for size in odd) or any(size < rate or (size - rate) % 2 for size, rate in steps):
            raise CheckpointError(
                "The vocoder's kernels would move the sound: odd sizes, and rate + an even number, keep it in step."
            )
        if self.upsample_initial_channel % 2 ** len(self.upsample_rates):
            raise CheckpointError(
                f"{self.upsample_initial_channel} channels cannot be halved {len(self.upsample_rates)} times in the vocoder."
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VocoderConfig:
        """The sizes of a published `music_vocoder/config.json`; what it leaves out is the published size."""
        if config.get("use_template"):
            raise CheckpointError(
                "This vocoder wants a template of the pitch beside the mel (use_template); none is made here."
            )
        known = {field.name for field in fields(cls)}
        return cls(**{name: _frozen(value) for name, value in config.items() if name in known})

    @classmethod
    def tiny(cls) -> VocoderConfig:
        """Under 300 kB in float32, for tests: the published mel and hop, few channels and layers."""
        return cls(
            depths=(1, 1), dims=(16, 16), num_mels=16, upsample_rates=(8, 8, 8), upsample_kernel_sizes=(16, 16, 16),
            resblock_kernel_sizes=(3, 5), resblock_dilation_sizes=((1,), (2,)), upsample_initial_channel=32,
            pre_conv_kernel_size=5, post_conv_kernel_size=5,
        )  # fmt: skip

    @property
    def log_mel(self) -> LogMel:
        """The log-mel this vocoder was made for."""
        return LogMel(
            self.sampling_rate, self.n_fft, self.win_length, self.hop_length, self.n_mels, self.f_min, self.f_max
        )


class Vocoder(nn.Module):
    """Log-mels `[B, bands, T]` to samples `[B, T·hop]`, each row a channel of its own; parameters named as published."""

    def __init__(self, config: VocoderConfig | None = None):
        super().__init__()
        self.config = config or VocoderConfig()
        self.backbone, self.head = Backbone(self.config), Head(self.config)
        self.backbone_reach, self.head_reach = _backbone_reach(self.config), _head_reach(self.config)

    def forward(self, log_mel: Tensor) -> Tensor:
        samples: Tensor = self.head(self.backbone(log_mel))
        return samples[:, 0]

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take in a published state, strictly: either of torch's names for weight norm, and the mel's buffers, which are checked.

        CheckpointError where a tensor is missing, left over, or of another shape. A fused vocoder takes no state any more.
        """
        check_derived(state, self.config)
        found, wanted = own_names(state), self.state_dict()
        for name in sorted(wanted.keys() - found.keys()):
            raise CheckpointError(
                f"The vocoder's file lacks the tensor {name}: it is damaged, or of another model. Fetch it again."
            )
        for name in sorted(found.keys() - wanted.keys()):
            raise CheckpointError(
                f"The vocoder's file holds {name}, which no vocoder of its config has: it is damaged, or of another model. "
                "Fetch it again."
            )
        for name, tensor in found.items():
            if tensor.shape != wanted[name].shape:
                raise CheckpointError(
                    f"The vocoder's {name} is {list(tensor.shape)} where {list(wanted[name].shape)} belongs. Fetch it again."
                )
        self.load_state_dict(found, assign=next(self.parameters()).is_meta)

    def fuse(self) -> Vocoder:
        """Work weight norm out once and for all, in float32 at the least; the same module, with plain weights."""
        with torch.no_grad():
            for module in self.modules():
                if parametrize.is_parametrized(module, "weight"):
                    _fuse(module)
        return self


def own_names(state: Mapping[str, _T]) -> dict[str, _T]:
    """A published state under our names: weight norm's new ones, and without the mel's buffers, which follow from the config."""
    found: dict[str, _T] = {}
    for name, value in state.items():
        stem, end = name[:-9], name[-9:]
        if not name.startswith(_MEL):
            found[stem + _NEW_NAMES.get(end, end)] = value
    return found


def is_derived(name: str) -> bool:
    """Whether a stored tensor follows from the config: a buffer of the mel."""
    return name.startswith(_MEL)


def check_derived(state: Mapping[str, Tensor], config: VocoderConfig) -> None:
    """The stored window and mel bands, where there are any, are those the config describes; CheckpointError otherwise."""
    true = {_WINDOW: hann_window(config.win_length), _FILTERS: config.log_mel.filters()}
    for name, stored in state.items():
        if not name.startswith(_MEL):
            continue
        expected = true.get(name)
        if expected is None or stored.shape != expected.shape or not _near(stored, expected):
            raise CheckpointError(
                f"The vocoder's file holds another {name.removeprefix(_MEL)} than its config describes: sound would not be "
                "read as it was in training. Fetch it again."
            )


def _near(stored: Tensor, expected: Tensor) -> bool:
    """Equal to the rounding of what it was stored in, with room for a frequency axis worked out in float32."""
    room = max(1e-4, 2 * torch.finfo(stored.dtype).eps) if stored.is_floating_point() else 0.0
    return bool(((stored.double() - expected).abs() <= room * expected.abs().max()).all())


def _fuse(module: nn.Module) -> None:
    """g · v / |v| in place of the two, rounded once; a magnitude of 0 gives 0 even without a direction."""
    stored: Any = module.parametrizations["weight"]  # type: ignore[index]
    magnitude, direction = stored.original0, stored.original1
    wide = direction.to(torch.promote_types(direction.dtype, torch.float32))
    norm = wide.norm(dim=tuple(range(1, wide.ndim)), keepdim=True)
    scale = torch.where(magnitude == 0, torch.zeros_like(norm), magnitude.to(wide.dtype) / norm)
    weight = nn.Parameter((wide * scale).to(direction.dtype), requires_grad=direction.requires_grad)
    parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    module.weight = weight


# --- ConvNeXt --------------------------------------------------------------------------------------------------------


class ChannelNorm(nn.Module):
    """Layer norm over the channels of `[B, C, T]`."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        rows = F.layer_norm(x.transpose(1, 2), self.weight.shape, self.weight, self.bias, _NORM_EPS)
        return rows.transpose(1, 2)


class ConvNeXtBlock(nn.Module):
    """What a block adds: depthwise convolution, norm, a two-layer network in each step, scaled by gamma."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, _NORM_EPS)
        self.pwconv1, self.pwconv2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), _GAMMA))

    def added(self, x: Tensor) -> Tensor:
        """The residual branch alone."""
        rows = self.norm(self.dwconv(x).transpose(1, 2))
        rows = self.pwconv2(F.gelu(self.pwconv1(rows))) * self.gamma
        return rows.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.added(x)


class ParallelConvNeXtBlock(nn.Module):
    """Blocks of several kernels side by side, all added to the same input."""

    def __init__(self, channels: int, kernels: tuple[int, ...]):
        super().__init__()
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, kernel) for kernel in kernels)

    def forward(self, x: Tensor) -> Tensor:
        blocks: Any = self.blocks
        return torch.stack([*(block.added(x) for block in blocks), x]).sum(0)


class Backbone(nn.Module):
    """The ConvNeXt: log-mel `[B, bands, T]` to states `[B, dims[-1], T]`."""

    def __init__(self, config: VocoderConfig):
        super().__init__()
        dims, kernels = config.dims, config.kernel_sizes
        stem = nn.Sequential(
            nn.Conv1d(config.input_channels, dims[0], 7, padding=3, padding_mode="replicate"), ChannelNorm(dims[0])
        )
        wider = [nn.Sequential(ChannelNorm(a), nn.Conv1d(a, b, 1)) for a, b in zip(dims[:-1], dims[1:], strict=True)]
        self.channel_layers = nn.ModuleList([stem, *wider])
        self.stages = nn.ModuleList(
            nn.Sequential(*(_block(dim, kernels) for _ in range(depth)))
            for dim, depth in zip(dims, config.depths, strict=True)
        )
        self.norm = ChannelNorm(dims[-1])

    def forward(self, x: Tensor) -> Tensor:
        for layer, stage in zip(self.channel_layers, self.stages, strict=True):
            x = stage(layer(x))
        states: Tensor = self.norm(x)
        return states


def _block(channels: int, kernels: tuple[int, ...]) -> nn.Module:
    if len(kernels) == 1:
        return ConvNeXtBlock(channels, kernels[0])
    return ParallelConvNeXtBlock(channels, kernels)


# --- HiFi-GAN --------------------------------------------------------------------------------------------------------


class ResBlock(nn.Module):
    """Pairs of convolutions, the first of each spread out by its dilation, each pair added to what it heard."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]):
        super().__init__()
        self.convs1 = nn.ModuleList(_conv(channels, channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_conv(channels, channels, kernel) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(_silu(first(F.silu(x))))
        return x


class Head(nn.Module):
    """The HiFi-GAN: states `[B, num_mels, T]` to samples `[B, 1, T·hop]` between -1 and 1."""

    def __init__(self, config: VocoderConfig):
        super().__init__()
        widths = [config.upsample_initial_channel >> i for i in range(len(config.upsample_rates) + 1)]
        self.conv_pre = _conv(config.num_mels, widths[0], config.pre_conv_kernel_size)
        self.ups = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(a, b, kernel, rate, (kernel - rate) // 2))
            for a, b, kernel, rate in zip(
                widths[:-1], widths[1:], config.upsample_kernel_sizes, config.upsample_rates, strict=True
            )
        )
        kinds = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
        self.resblocks = nn.ModuleList(ResBlock(width, *kind) for width in widths[1:] for kind in kinds)
        self.conv_post = _conv(widths[-1], 1, config.post_conv_kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_pre(x)
        side_by_side = len(self.resblocks) // len(self.ups)
        for i, up in enumerate(self.ups):
            x = up(_silu(x))
            total = self.resblocks[i * side_by_side](x)
            for block in self.resblocks[i * side_by_side + 1 : (i + 1) * side_by_side]:
                total = total + block(x)
            x = total / side_by_side
        return torch.tanh(self.conv_post(_silu(x)))


def _conv(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Module:
    """A convolution that keeps the length, under weight norm."""
    made: nn.Module = weight_norm(
        nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
    )
    return made


def _silu(x: Tensor) -> Tensor:
    """SiLU over a value that nobody needs again: in place unless gradients flow."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


# --- how far it hears ------------------------------------------------------------------------------------------------


def _backbone_reach(config: VocoderConfig) -> int:
    return 3 + sum(config.depths) * (max(config.kernel_sizes) // 2)


def _head_reach(config: VocoderConfig) -> int:
    """Frames to either side behind one frame's samples, followed back from the sound."""
    kinds = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
    spread = max(sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations) for kernel, dilations in kinds)
    first, last = -(config.post_conv_kernel_size // 2), config.hop_length - 1 + config.post_conv_kernel_size // 2
    for kernel, rate in reversed(list(zip(config.upsample_kernel_sizes, config.upsample_rates, strict=True))):
        padding = (kernel - rate) // 2
        first, last = ceil((first - spread + padding - kernel + 1) / rate), (last + spread + padding) // rate
    return max(-first, last) + config.pre_conv_kernel_size // 2


# --- what a config may say ---------------------------------------------------------------------------------------------


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _check_sizes(name: str, value: Any) -> None:
    """A size is a positive number, or a list of them."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, tuple):
            _check_sizes(name, item)
        elif (
            isinstance(item, bool) or not isinstance(item, int | float) or item <= 0 or (name[:2] != "f_" and item % 1)
        ):
            raise CheckpointError(f"The vocoder's {name} is {shown(value)}; sizes are positive whole numbers.")
    if value == ():
        raise CheckpointError(f"The vocoder's {name} is an empty list; sizes are positive whole numbers.")
