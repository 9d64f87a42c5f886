"""An Oobleck VAE asked for the same numbers with less work. Does not know tiles of a piece, latents or sound.

    vae = prepare_vae(vae).bfloat16()            # in place; weights are rounded once

What changes against diffusers: weight norm is worked out once. Sound lies in memory step after step, the channels of a
step together ("rows"), because products and convolutions are quicker so; shapes stay [items, channels, steps]. Snakes are
worked out in float32 in pieces that stay in a core's cache. A residual unit's second convolution, its bias and the sum are
one matrix product that rounds once; an upsampling is one matrix product. A block's residual units walk through the piece in
stretches that stay in the cache. In half precision that is quicker than diffusers by 2.5 times and more, and nearer to
float32 (`tests/benchmarks/bench_vae.py`). On a GPU, and while gradients flow, the layers work as torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from acestep_lab.engines.ace15.cache import fingerprint
from acestep_lab.engines.ace15.minimal_filtering import MinimalFilter
from acestep_lab.engines.tiles import tiles
from acestep_lab.models import products


def prepare_vae(vae: nn.Module) -> nn.Module:
    """Make an Oobleck VAE quicker in place, changing its numbers by rounding only; the same module comes back.

    Residual units that add nothing and full-rate channels that are always zero are dropped as well. Do it in float32 and
    cast afterwards, so that every weight is rounded once. Without gradients, layers overwrite inputs that nobody needs again.
    """
    with torch.no_grad():
        fuse_weight_norms(vae)
        _drop_identities(vae)
        _drop_silence(vae)
        for module in list(vae.modules()):
            _replace_layers(module)
        if sum(weight.numel() for weight in vae.parameters()) < LARGE:
            for module in vae.modules():
                vars(module)["as_before"] = True
    return vae


LARGE = 40_000_000
"""Numbers of a VAE worth fewer products; smaller ones, such as the pocket's, make the bytes they always made."""


def fuse_weight_norms(vae: nn.Module) -> nn.Module:
    """Work out every weight norm once, in place; the same module comes back."""
    with torch.no_grad():
        for module in list(vae.modules()):
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                _fuse_weight_norm(module)
    return vae


def _replace_layers(module: nn.Module) -> None:
    """Put our layers where diffusers' and torch's are."""
    for name in ("snake1", "snake2"):
        child: Any = getattr(module, name, None)
        if type(child).__name__ == "Snake1d":
            setattr(module, name, Snake(child))
    if type(module).__name__ in _BLOCKS:
        module.__class__ = _BLOCKS[type(module).__name__]
    elif type(module) is nn.Conv1d and module.padding_mode == "zeros":
        Convolution.of(module)
    elif type(module) is nn.ConvTranspose1d and module.kernel_size[0] == 2 * module.stride[0]:
        Upsampling.of(module)


def _use_own_layers(x: Tensor) -> bool:
    """Whether our own ways are worth it: on a CPU, and without gradients."""
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def _in_rows(like: Tensor, channels: int, steps: int, room: int = 0) -> Tensor:
    """An empty [items, channels, steps] that lies step after step, with room for so many channels more in each step."""
    return like.new_empty(len(like), steps, channels + room).transpose(1, 2)[:, :channels]


# --- what is worked out beforehand ---------------------------------------------------------------------------------------


def _fuse_weight_norm(conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
    """Replace direction and magnitude by their product, whichever of torch's two weight norms made them."""
    if "weight_g" in conv._parameters:  # the old hook
        magnitude, direction = conv.get_parameter("weight_g"), conv.get_parameter("weight_v")
        for key, hook in list(conv._forward_pre_hooks.items()):
            if type(hook).__name__ == "WeightNorm":
                del conv._forward_pre_hooks[key]
        for name in ("weight_g", "weight_v"):
            del conv._parameters[name]
        conv.__dict__.pop("weight", None)
        conv.register_parameter("weight", _product(magnitude, direction))
    elif parametrize.is_parametrized(conv, "weight"):
        stored: Any = conv.parametrizations["weight"]  # type: ignore[index]
        weight = _product(stored.original0, stored.original1)
        parametrize.remove_parametrizations(conv, "weight", leave_parametrized=True)
        conv.weight = weight


def _product(magnitude: Tensor, direction: Tensor) -> nn.Parameter:
    """g * v / |v|, the norm over all but the first dimension; a magnitude of 0 gives 0 even without a direction."""
    wide = direction.float()
    norm = wide.norm(dim=tuple(range(1, wide.ndim)), keepdim=True)
    scale = torch.where(magnitude == 0, torch.zeros_like(norm), magnitude.float() / norm)
    return nn.Parameter((wide * scale).to(direction.dtype), requires_grad=magnitude.requires_grad)


def _drop_identities(vae: nn.Module) -> None:
    """Put nn.Identity where a residual unit's last convolution is all zero: it passes its input on untouched."""
    for parent in list(vae.modules()):
        for name, child in list(parent.named_children()):
            if _adds_nothing(child):
                setattr(parent, name, nn.Identity())


def _adds_nothing(module: nn.Module) -> bool:
    last = getattr(module, "conv2", None)
    if type(module).__name__ != "OobleckResidualUnit" or not isinstance(last, nn.Conv1d):
        return False
    return not last.weight.any() and (last.bias is None or not last.bias.any())


def _drop_silence(vae: nn.Module) -> None:
    """Leave out full-rate channels that are zero whatever the latent, where nothing but a snake (0 stays 0) lies between the
    convolution that makes them and the one that reads them.
    """
    encoder: Any = getattr(vae, "encoder", None)
    decoder: Any = getattr(vae, "decoder", None)
    if type(encoder).__name__ == "OobleckEncoder":
        first: Any = encoder.block[0]
        if not _units(first):
            _drop_between(encoder.conv1, first.snake1, first.conv1)
    if type(decoder).__name__ == "OobleckDecoder":
        last: Any = decoder.block[-1]
        if not _units(last):
            _drop_between(last.conv_t1, decoder.snake1, decoder.conv2)


def _drop_between(maker: Any, snake: Any, reader: nn.Conv1d) -> None:
    """Leave out the channels from `maker` to `reader` whose weights and bias are zero."""
    raised = isinstance(maker, nn.ConvTranspose1d)
    made = (maker.weight.transpose(0, 1) if raised else maker.weight).flatten(1).any(dim=1)  # [channels]
    sounding = made if maker.bias is None else made | (maker.bias != 0)
    if sounding.all() or not sounding.any() or maker.groups != 1 or reader.groups != 1:
        return
    maker.weight = _some(maker.weight, 1 if raised else 0, sounding)
    if maker.bias is not None:
        maker.bias = _some(maker.bias, 0, sounding)
    snake.alpha, snake.beta = _some(snake.alpha, 1, sounding), _some(snake.beta, 1, sounding)
    reader.weight = _some(reader.weight, 1, sounding)
    maker.out_channels = reader.in_channels = int(sounding.sum())


def _some(weight: Tensor, dim: int, chosen: Tensor) -> nn.Parameter:
    """Some of a weight's channels."""
    return nn.Parameter(weight.index_select(dim, chosen.nonzero()[:, 0]), requires_grad=weight.requires_grad)


# --- layers ----------------------------------------------------------------------------------------------------------


class Snake(nn.Module):
    """x + sin²(a x) / b, the periodic activation of BigVGAN, in pieces that stay in a core's cache and in float32 there."""

    PIECE = 2**16  # numbers worked on at once
    frequency: Tensor
    height: Tensor

    def __init__(self, diffusers_snake: Any):
        super().__init__()
        alpha, beta = diffusers_snake.alpha.detach().float(), diffusers_snake.beta.detach().float()
        if diffusers_snake.logscale:
            alpha, beta = alpha.exp(), beta.exp()
        self.register_buffer("frequency", alpha)  # [1, channels, 1]
        self.register_buffer("height", (beta + 1e-9).reciprocal())

    def forward(self, x: Tensor) -> Tensor:
        if _use_own_layers(x):
            return self.into(x, _in_rows(x, *x.shape[1:]))
        wide = x.float()
        return (wide + self.height.float() * (self.frequency.float() * wide).sin().square()).to(x.dtype)

    def into(self, x: Tensor, out: Tensor) -> Tensor:
        """The same, written into `out`."""
        half, direct = x.dtype in (torch.bfloat16, torch.float16), x.dtype == torch.float32
        frequency, height = self.frequency[0, :, 0].float(), self.height[0, :, 0].float()
        if half:
            wave, frequency, height = _nearly_squared_sine, frequency / math.pi, height * SCALE
        elif vars(self).get("as_before"):
            wave = _squared_sine_by_torch
        else:
            wave, frequency, height = _squared_sine, frequency / math.pi, height * 4
        rows = min(max(1, self.PIECE // x.shape[1]), x.shape[2])
        scratch = torch.empty(2 if direct else 3, rows, x.shape[1])  # fresh memory at every operation would cost more
        for here, there in zip(x.transpose(1, 2), out.transpose(1, 2), strict=True):
            for some, place in zip(here.split(rows), there.split(rows), strict=True):
                turned, spare, *wide = scratch[:, : len(some)]
                seen = some if direct else wide[0].copy_(some)
                waved = wave(torch.mul(seen, frequency, out=turned), spare)
                made = torch.addcmul(seen, waved, height, out=place if direct else seen)
                if not direct:
                    place.copy_(made)
        return out


def _squared_sine_by_torch(turned: Tensor, spare: Tensor) -> Tensor:
    """sin² of angles by torch's sine, in place."""
    return turned.sin_().square_()


LAST, *SERIES = -0.11138040629413651, *map(torch.tensor, (0.666657983815668, -2.0293076075155025, 2.467400722713607))
"""sin²(πr / 2) = s (... + s (SERIES[0] + LAST s)) with s = r², for |r| up to 1/2 (Chebyshev's nodes): sin²(πr) comes out to 8e-8,
as float32 rounds, in two thirds of the time of torch's sine. Tensors, because numbers are made into one at every operation."""


def _squared_sine(turned: Tensor, spare: Tensor) -> Tensor:
    """sin²(π u) / 4 of half turns u, in place, by its period and sin² 2a = 4 sin² a (1 - sin² a)."""
    square = turned.sub_(torch.round(turned, out=spare)).square_()
    third, second, first = SERIES
    torch.add(third, square, alpha=LAST, out=spare)
    torch.addcmul(second, spare, square, out=spare)
    torch.addcmul(first, spare, square, out=spare).mul_(square)
    return torch.addcmul(spare, spare, spare, value=-1, out=spare)


SCALE, ROOT, MIDDLE, REST = -22.99091407680352, 0.6461398643, -0.5750013440, 0.3335566191
"""sin²(πr) = SCALE s (s - ROOT) ((s + MIDDLE)² + REST) with s = r², for |r| up to 1/2, to 2.3e-5: a hundredth of what half
precision rounds away, in half the time of torch's sine."""


def _nearly_squared_sine(turned: Tensor, spare: Tensor) -> Tensor:
    """sin²(π u) / SCALE of half turns u, in place, by its period and a polynomial."""
    square = turned.sub_(torch.round(turned, out=spare)).square_()
    torch.add(square, MIDDLE, out=spare).square_().add_(REST).mul_(square)
    return spare.mul_(square.sub_(ROOT))


class Convolution(nn.Conv1d):
    """A convolution over rows; its weight lies [out, kernel, in], as the kernel for rows reads it."""

    @classmethod
    def of(cls, conv: nn.Conv1d) -> None:
        """Make a convolution one of these, in place."""
        conv.__class__ = cls
        stored = conv.weight.transpose(1, 2).contiguous()
        conv.weight = nn.Parameter(stored.transpose(1, 2), requires_grad=conv.weight.requires_grad)

    def forward(self, input: Tensor) -> Tensor:
        if not _use_own_layers(input):
            return super().forward(input)
        stride, padding, dilation = self.stride[0], int(self.padding[0]), self.dilation[0]
        if (
            input.ndim == 3
            and input.numel()
            and input.shape[1] == self.in_channels
            and (quick := self.minimal) is not None
        ):
            return _each_item(input, lambda steps: quick(steps, padding)).transpose(1, 2)
        table, weight = input.unsqueeze(2), self.weight.unsqueeze(2)  # a picture one pixel high
        return F.conv2d(table, weight, self.bias, (1, stride), (0, padding), (1, dilation), self.groups).squeeze(2)

    @property
    def minimal(self) -> MinimalFilter | None:
        """The same with fewer products, where that is quicker."""
        alone = self.stride[0] == self.groups == 1 and not vars(self).get("as_before")
        if not alone or not MinimalFilter.fits(self.weight, *reversed(self.weight.shape)):
            return None
        return _minimal(self, lambda: MinimalFilter.of(self.weight, self.bias, self.dilation[0]))


def _minimal(layer: nn.Module, make: Callable[[], MinimalFilter]) -> MinimalFilter:
    """What quicker products need of a layer's weight, worked out when the weight is new."""
    now = fingerprint(layer)
    known: tuple[object, MinimalFilter] | None = vars(layer).get("_minimal_filter")
    if known is None or known[0] != now:
        known = vars(layer)["_minimal_filter"] = now, make()
    return known[1]


def _each_item(x: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """What work makes of the steps [steps, channels] of each item; one item alone is not copied."""
    first, *others = x.transpose(1, 2)
    return torch.stack([work(first), *map(work, others)]) if others else work(first)[None]


class ResidualUnit(nn.Module):
    """x + conv2(snake2(conv1(snake1(x)))), whose second convolution looks at one step only."""

    def forward(self, x: Tensor) -> Tensor:
        unit: Any = self
        quick = getattr(unit.conv1, "minimal", None) if _use_own_layers(x) and x.numel() else None
        if quick is not None:
            return _each_item(x, lambda steps: self._filtered(steps, quick)).transpose(1, 2)
        seen: Tensor = unit.conv1(unit.snake1(x))
        if not _use_own_layers(x):
            summed: Tensor = x + unit.conv2(unit.snake2(seen))
            return summed
        items, channels, steps = seen.shape
        wave = _in_rows(seen, channels + 1, steps, room=ROOM)
        wave[:, channels] = 1.0  # for the bias, so that it is added before anything is rounded
        unit.snake2.into(seen, wave[:, :channels])
        weight, bias = unit.conv2.weight[..., 0], unit.conv2.bias
        mixed = torch.cat([weight, weight.new_zeros(len(weight), 1) if bias is None else bias[:, None]], dim=1)
        out = _in_rows(x, *x.shape[1:])
        for item in range(items):
            torch.addmm(x[item].t(), wave[item].t(), mixed.t(), out=out[item].t())
        return out

    def _filtered(self, steps: Tensor, quick: MinimalFilter) -> Tensor:
        """The same for one item, [steps, channels], in float32: each piece goes through all layers while it is at hand."""
        unit: Any = self
        padding, length = int(unit.conv1.padding[0]), len(steps)
        padded = quick.room(length, padding, steps)
        unit.snake1.into(steps.t()[None], padded[padding : padding + length].t()[None])
        weight, bias = unit.conv2.weight[..., 0].t(), unit.conv2.bias
        out = steps.clone() if bias is None else steps + bias
        for place, seen in quick.pieces(padded, length):
            waved = seen.t()[None]
            unit.snake2.into(waved, waved)
            out[place].addmm_(seen, weight)
        return out


ROOM = 31
"""Channels that fill a step up, so that every row begins where the processor likes it."""


class Upsampling(nn.ConvTranspose1d):
    """A transposed convolution whose kernel is two strides long, as one matrix product.

    A stride of output hears two steps of input, the one before and this one; `weight` is stored as the product reads it,
    [stride * out, 2 * in].
    """

    @classmethod
    def of(cls, raised: nn.ConvTranspose1d) -> None:
        """Make a transposed convolution one of these, in place."""
        halves = raised.weight.unflatten(2, (2, raised.stride[0])).flip(
            2
        )  # [in, out, half, stride], the later half first
        stored = halves.permute(3, 1, 2, 0).flatten(2).flatten(0, 1).contiguous()
        raised.__class__ = cls
        raised.weight = nn.Parameter(stored, requires_grad=raised.weight.requires_grad)

    @property
    def kernel(self) -> Tensor:
        """The weight as torch wants it, [in, out, 2 * stride]."""
        stored = self.weight.view(self.stride[0], self.out_channels, 2, self.in_channels)
        return stored.permute(3, 1, 2, 0).flip(2).flatten(2)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        stride, padding = self.stride[0], int(self.padding[0])
        if not _use_own_layers(input):
            return F.conv_transpose1d(input, self.kernel, self.bias, stride, padding)
        items, channels, steps = input.shape
        bias = None if self.bias is None else self.bias.repeat(stride)
        if not vars(self).get("as_before") and MinimalFilter.fits(self.weight, 2, channels, self.out_channels):
            quick = _minimal(self, lambda: MinimalFilter.of(self.weight.unflatten(1, (2, channels)).mT, bias))
            made = _each_item(input, lambda steps: quick(steps, 1))
        else:
            product = F.linear if vars(self).get("as_before") else products.linear
            made = product(self._pairs(input), self.weight, bias)  # [items, steps + 1, stride * out]
        rows = made.view(items, (steps + 1) * stride, self.out_channels)
        return rows[:, padding : (steps + 1) * stride - padding].transpose(1, 2)

    @staticmethod
    def _pairs(input: Tensor) -> Tensor:
        """Each step beside the one before, [items, steps + 1, 2 * channels]."""
        items, channels, steps = input.shape
        pairs = input.new_zeros(items, steps + 1, 2 * channels)
        pairs[:, 1:, :channels] = pairs[:, :-1, channels:] = input.transpose(1, 2)
        return pairs


class EncoderBlock(nn.Module):
    """Residual units, then a convolution that leaves out steps."""

    def forward(self, x: Tensor) -> Tensor:
        block: Any = self
        seen: Tensor = block.conv1(block.snake1(in_pieces(_units(block), x)))
        return seen


class DecoderBlock(nn.Module):
    """An upsampling, then residual units."""

    def forward(self, x: Tensor) -> Tensor:
        block: Any = self
        return in_pieces(_units(block), block.conv_t1(block.snake1(x)))


_BLOCKS: dict[str, type[nn.Module]] = {
    "OobleckResidualUnit": ResidualUnit,
    "OobleckEncoderBlock": EncoderBlock,
    "OobleckDecoderBlock": DecoderBlock,
}

STRETCH, FILTERED_STRETCH = 2**19, 2**20
"""Numbers [channels × steps] that go through a block's residual units together: about what a core keeps close at hand; more where
the units themselves go piece by piece."""


def _units(block: Any) -> list[object]:
    """A block's residual units that do something."""
    units = (block.res_unit1, block.res_unit2, block.res_unit3)
    return [unit for unit in units if not isinstance(unit, nn.Identity)]


def in_pieces(units: list[Any], x: Tensor) -> Tensor:
    """x after one residual unit after another, stretch by stretch with the context that each needs; the same numbers."""
    if not units:
        return x
    context = sum(int(unit.conv1.padding[0]) for unit in units)
    own = _use_own_layers(x)
    most = FILTERED_STRETCH if own and getattr(units[0].conv1, "minimal", None) is not None else STRETCH
    stretch = max(most // x.shape[1], 16 * context)
    if not own or x.shape[-1] <= stretch:
        return _one_after_another(units, x)
    out = _in_rows(x, *x.shape[1:])
    for tile in tiles(x.shape[-1], stretch, context):
        made = _one_after_another(units, x[..., tile.start : tile.end])
        out[..., tile.start + tile.core.start : tile.start + tile.core.stop] = made[..., tile.core]
    return out


def _one_after_another(units: list[Any], x: Tensor) -> Tensor:
    for unit in units:
        x = unit(x)
    return x
