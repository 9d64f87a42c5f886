"""Wide convolutions in float32 by fewer products: the same as torch's, as near to the truth as float32 lets them be."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from acestep_lab._libraries import oobleck
from acestep_lab.engines.ace15.fast_vae import Convolution, Upsampling, fuse_weight_norms, prepare_vae
from acestep_lab.engines.ace15.minimal_filtering import MinimalFilter, transforms

WIDE = 128


@pytest.mark.parametrize("taps", [2, 7])
def test_the_transforms_are_a_filter_exactly(taps: int) -> None:
    before, filters, after = transforms(taps)
    draw = torch.Generator().manual_seed(0)
    steps, weights = (torch.randn(n, dtype=torch.float64, generator=draw) for n in (len(before), taps))
    plain = steps.unfold(0, taps, 1) @ weights
    assert torch.allclose(after @ ((filters @ weights) * (before @ steps)), plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dilation", "steps"), [(1, 1), (1, 2050), (3, 50), (9, 7), (9, 300)])
def test_a_wide_convolution_is_torchs_to_float32s_rounding(dilation: int, steps: int) -> None:
    torch.manual_seed(steps)
    conv = nn.Conv1d(WIDE, WIDE, 7, padding=3 * dilation, dilation=dilation)
    x = torch.randn(2, WIDE, steps)
    exact = copy.deepcopy(conv).double()(x.double())
    Convolution.of(conv)
    with torch.inference_mode():
        assert float((conv(x) - exact).norm() / exact.norm()) < 8e-6


@pytest.mark.parametrize("steps", [1, 61, 2500])
@pytest.mark.parametrize("dilation", [1, 9])
def test_a_wide_residual_unit_is_diffusers_to_float32s_rounding(dilation: int, steps: int) -> None:
    torch.manual_seed(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        unit = oobleck.OobleckResidualUnit(WIDE, dilation)
    unit.requires_grad_(False)
    for snake in (unit.snake1, unit.snake2):
        nn.init.normal_(snake.alpha)
        nn.init.normal_(snake.beta)
    x = 3 * torch.randn(2, WIDE, steps)
    with torch.inference_mode():
        theirs = unit(x)
        ours = prepare_vae(nn.Sequential(fuse_weight_norms(unit)))  # small, so it works as the pocket always did
        assert torch.allclose(ours(x), theirs, rtol=0, atol=1e-3)
        for module in ours.modules():
            vars(module).pop("as_before")
        assert float((ours(x) - theirs).norm() / theirs.norm()) < 5e-5


def test_a_wide_upsampling_is_torchs_to_float32s_rounding() -> None:
    torch.manual_seed(0)
    raised = nn.ConvTranspose1d(WIDE, WIDE, 8, stride=4, padding=2)
    x = torch.randn(2, WIDE, 61)
    exact = copy.deepcopy(raised).double()(x.double())
    Upsampling.of(raised)
    with torch.inference_mode():
        assert float((raised(x) - exact).norm() / exact.norm()) < 3e-6


def test_new_weights_are_noticed_and_half_precision_is_left_to_torch() -> None:
    conv = nn.Conv1d(WIDE, WIDE, 7, padding=3)
    Convolution.of(conv)
    x = torch.randn(1, WIDE, 20)
    with torch.inference_mode():
        conv(x)
    with torch.no_grad():
        conv.weight.mul_(2)
        near = F.conv1d(x, conv.weight, conv.bias, padding=3)
        assert float((conv(x) - near).norm() / near.norm()) < 8e-6
    assert not MinimalFilter.fits(conv.weight.bfloat16(), 7, WIDE, WIDE)
    assert not MinimalFilter.fits(conv.weight, 7, 2, WIDE)
    assert not MinimalFilter.fits(conv.weight, 3, WIDE, WIDE)


def test_what_is_no_input_of_a_layer_is_torchs_to_answer() -> None:
    conv = nn.Conv1d(WIDE, WIDE, 7, padding=3)
    Convolution.of(conv)
    with torch.inference_mode():
        assert conv(torch.zeros(0, WIDE, 20)).shape == (0, WIDE, 20)
        for odd in (torch.zeros(1, 1, 50), torch.zeros(1, WIDE + 1, 50)):
            with pytest.raises(RuntimeError):
                conv(odd)
