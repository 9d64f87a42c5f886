"""Whole numbers: close where they may be used, refused in words where they may not, and a LoRA stays what it was."""

from __future__ import annotations

import copy
import re
from types import SimpleNamespace

import peft
import pytest
import torch
from torch import Tensor, nn

from acestep_lab.engines.ace15 import attention
from acestep_lab.errors import MachineError
from acestep_lab.models import precision
from acestep_lab.models.precision import DynamicInt8Linear, cpu_dtype, quantize_linear, quantize_where_close, restore
from acestep_lab.models.storage import refuse_adapter
from tests.closeness import assert_near
from tests.tiny import CONDITION, LATENT, tiny_components


@pytest.fixture(scope="module")
def dit() -> nn.Module:
    return attention.install(tiny_components()["dit"])


def velocity_of(dit: nn.Module) -> Tensor:
    """Velocities at two times, [2, items, frames, channels]."""
    draw = torch.Generator().manual_seed(4)
    x, states, context = (
        torch.randn(1, *size, generator=draw) for size in ((40, LATENT), (9, CONDITION), (40, 2 * LATENT))
    )
    return torch.stack([attention.velocity(dit, x, t, states, context) for t in (0.9, 0.3)])


@pytest.mark.parametrize("rows", [1, 3, 700])
def test_a_layer_of_whole_numbers_is_within_a_percent_of_the_dense_one(rows: int) -> None:
    torch.manual_seed(0)
    dense = nn.Linear(96, 32).requires_grad_(False)
    x = torch.randn(rows, 96) * torch.logspace(-3, 3, rows)[:, None]  # tokens of very different loudness
    found = DynamicInt8Linear(dense)(x[None])[0]
    true = dense(x)
    product = true - dense.bias
    assert ((found - true).norm(dim=1) < 0.02 * product.norm(dim=1)).all()


def test_a_token_says_the_same_alone_and_among_loud_ones() -> None:
    quick = DynamicInt8Linear(nn.Linear(64, 16).requires_grad_(False))
    x = torch.randn(5, 64)
    x[0] *= 1000
    assert_near(quick(x)[3:4], quick(x[3:4]))


def test_a_silent_token_gives_the_bias() -> None:
    dense = nn.Linear(8, 8).requires_grad_(False)
    assert_near(DynamicInt8Linear(dense)(torch.zeros(1, 8)), dense.bias[None])


def test_the_gate_lets_a_dit_through_and_says_its_error(dit: nn.Module) -> None:
    quick = copy.deepcopy(dit)
    decision = quantize_where_close(quick, velocity_of, compare_speed=lambda dense, whole, x: (1.9, 1.0))
    assert 0 < decision.error < decision.largest
    assert decision.speed == pytest.approx(1.9)
    assert re.search(r"moved the velocity by \d\.\d% .* 1\.9 times as quick .*: int8 is used", str(decision))
    assert decision.chosen == "int8"
    assert isinstance(quick.layers[0].mlp.up_proj, DynamicInt8Linear)
    assert type(quick.time_embed.linear_1) is nn.Linear


@pytest.mark.parametrize(("largest", "seconds"), [(1e-6, (1.9, 1.0)), (0.05, (1.0, 14.0)), (0.05, (1.0, 1.0))])
def test_a_gate_closed_by_error_or_by_speed_leaves_the_dit_as_it_was_and_says_so(
    dit: nn.Module, largest: float, seconds: tuple[float, float]
) -> None:
    quick, before = copy.deepcopy(dit), velocity_of(dit)
    decision = quantize_where_close(quick, velocity_of, largest, compare_speed=lambda dense, whole, x: seconds)
    assert not decision.open
    assert decision.chosen == "auto"
    assert "the DiT stays as it was" in str(decision)
    assert f"{seconds[0] / seconds[1]:.2g} times as quick" in str(decision)
    assert torch.equal(velocity_of(quick), before)
    assert type(quick.layers[0].mlp.up_proj) is nn.Linear  # type: ignore[union-attr,index]


def test_each_shape_is_raced_on_its_own_input_and_counts_for_all_of_its_shape(dit: nn.Module) -> None:
    raced = {}

    def stand_in(dense: nn.Linear, whole: nn.Linear, x: Tensor) -> tuple[float, float]:
        assert isinstance(whole, DynamicInt8Linear)
        assert x.shape[-1] == dense.in_features == whole.in_features
        raced[dense.out_features, dense.in_features] = True
        return (3.0, 1.0) if dense.out_features == 32 and dense.in_features == 48 else (1.0, 1.0)

    decision = quantize_where_close(copy.deepcopy(dit), velocity_of, compare_speed=stand_in)
    shapes = [(one.out_features, one.in_features) for _, _, one in precision._candidates(dit)]
    assert set(raced) == set(shapes)
    share = shapes.count((32, 48)) / len(shapes)
    assert decision.speed == pytest.approx(1 + 2 * share)


def test_two_layers_are_timed_by_turns() -> None:
    dense = nn.Linear(64, 64).requires_grad_(False)
    seconds = precision.compare_speed(dense, DynamicInt8Linear(dense), torch.randn(4, 64))
    assert all(0 < one < 10 for one in seconds)


@pytest.mark.parametrize("exact", [True, False])
def test_sums_of_whole_numbers_are_exact_with_the_cpus_product_and_without(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if exact and not precision.int8_sums_are_exact():
        exact = False
    monkeypatch.setattr(precision, "int8_sums_are_exact", lambda: exact)
    left, right = torch.full((5, 96), 127, dtype=torch.int8), torch.full((96, 16), -127, dtype=torch.int8)
    found = precision.int8_matmul(left, right)
    assert torch.equal(found.double(), torch.full((5, 16), -127.0 * 127 * 96).double())


def test_restoring_brings_the_same_numbers_back(dit: nn.Module) -> None:
    quick, before = copy.deepcopy(dit), velocity_of(dit)
    replaced = quantize_linear(quick)
    assert not torch.equal(velocity_of(quick), before)
    restore(replaced)
    assert torch.equal(velocity_of(quick), before)


@pytest.mark.parametrize("first", ["lora", "int8"])
def test_a_lora_speaks_the_same_whether_it_comes_before_or_after(dit: nn.Module, first: str) -> None:
    def with_lora(module: nn.Module) -> nn.Module:
        torch.manual_seed(9)
        config = peft.LoraConfig(r=2, target_modules=["to_q", "up_proj"], init_lora_weights=False)
        return peft.inject_adapter_in_model(config, module)

    exact, quick = copy.deepcopy(dit), copy.deepcopy(dit)
    with_lora(exact)
    for step in (with_lora, quantize_linear) if first == "lora" else (quantize_linear, with_lora):
        step(quick)
    effect = (velocity_of(exact) - velocity_of(dit)).norm()
    assert (velocity_of(quick) - velocity_of(exact)).norm() < 0.1 * effect
    assert {p.dtype for n, p in quick.named_parameters() if "lora_" in n} == {torch.float32}


def test_the_dtype_of_a_cpu_is_what_it_has_instructions_for() -> None:
    able, unable = (SimpleNamespace(_is_amx_tile_supported=lambda yes=yes: yes) for yes in (True, False))
    assert cpu_dtype(able, "AVX512", {}) == cpu_dtype(able, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"})
    assert cpu_dtype(able, "AVX512", {}) == torch.bfloat16
    assert cpu_dtype(unable, "AVX512", {}) == torch.float32
    assert cpu_dtype(able, "AVX2", {}) == torch.float32, "torch was told not to use what is there"
    assert cpu_dtype(able, "AVX512", {"ONEDNN_MAX_CPU_ISA": "AVX2"}) == torch.float32
    assert precision.cpu_dtype() in (torch.bfloat16, torch.float32)


def test_a_dora_on_whole_numbers_is_refused_with_the_reason(dit: nn.Module) -> None:
    quick = copy.deepcopy(dit)
    quantize_linear(quick)
    refuse_adapter(quick, "lora")
    with pytest.raises(MachineError, match="multiplies them as whole numbers"):
        refuse_adapter(quick, "dora")
