"""Weights kept in eight bits or streamed: the same music within a measured tolerance, LoRA included."""

import zlib

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from acestep_lab.errors import MachineError
from acestep_lab.models.device_manager import DeviceMover
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.storage import Int8Linear, floating_dtype, quantize, refuse_adapter, store


@pytest.fixture(scope="module")
def checkpoint(tiny_turbo):
    return Checkpoint.open(tiny_turbo)


def dit_inputs(checkpoint, seed=0):
    """Arguments of one call of the tiny transformer."""
    generator = torch.Generator().manual_seed(seed)
    latent = checkpoint.geometry.latent_channels
    config = checkpoint.config("dit")
    width = config.get("encoder_hidden_size") or config["hidden_size"]
    return {
        "hidden_states": torch.randn(1, 20, latent, generator=generator),
        "context_latents": torch.randn(1, 20, 2 * latent, generator=generator),
        "encoder_hidden_states": torch.randn(1, 7, width, generator=generator),
        "timestep": torch.tensor([0.6]),
        "timestep_r": torch.tensor([0.6]),
        "return_dict": False,
    }


def velocity(dit, inputs):
    with torch.no_grad():
        return dit(**inputs)[0].float()


def room(module):
    """Bytes a module's numbers take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def relative(one, other):
    return ((one - other).norm() / other.norm()).item()


def test_int8_weights_are_whole_numbers_within_half_a_step():
    weight = torch.randn(6, 32)
    whole, scale = quantize(weight)
    assert whole.dtype == torch.int8
    assert (whole.float() * scale[:, None] - weight).abs().amax(1).le(scale / 2 + 1e-7).all()


def test_int8_weights_in_bf16_are_as_good_as_in_float32():
    torch.manual_seed(0)
    weight = torch.randn(64, 256)
    errors = []
    for dtype in (torch.float32, torch.bfloat16):
        whole, scale = quantize(weight.to(dtype))
        errors.append(relative(whole.float() * scale.float()[:, None], weight.to(dtype).float()))
    assert errors[1] < 1.05 * errors[0]


def test_int8_weights_of_zeros_stay_zeros():
    whole, scale = quantize(torch.zeros(2, 3))
    assert not whole.any()
    assert scale.isfinite().all()


def test_int8_is_as_near_to_full_precision_as_torchao_is():
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is optional")
    torch.manual_seed(0)
    dense = nn.Linear(512, 512)
    theirs = nn.Sequential(nn.Linear(512, 512))
    theirs.load_state_dict({f"0.{name}": value for name, value in dense.state_dict().items()})
    quantization.quantize_(theirs, quantization.Int8WeightOnlyConfig())
    sound = torch.randn(50, 512)
    assert relative(Int8Linear(dense)(sound), dense(sound)) <= 1.05 * relative(theirs(sound), dense(sound))


@pytest.mark.parametrize(("how", "tolerance"), [("int8", 0.02), ("fp8", 0.08)])
@pytest.mark.parametrize("part", ["dit", "text"])
def test_eight_bits_take_half_the_room_and_change_little(checkpoint, how, tolerance, part):
    whole, kept = checkpoint.build(part), checkpoint.build(part)
    store(kept, how)
    if part == "dit":
        inputs = dit_inputs(checkpoint)
        error = relative(velocity(kept, inputs), velocity(whole, inputs))
    else:
        words = torch.tensor([[1, 2, 3, 4]])
        with torch.no_grad():
            error = relative(kept(words)[0], whole(words)[0])
    assert 0 < error < tolerance
    layers = [(a, b) for a, b in zip(whole.modules(), kept.modules()) if isinstance(a, nn.Linear)]
    small = [
        b for a, b in layers if next((t for t in b.state_dict().values() if t.element_size() == 1), None) is not None
    ]
    assert len(small) >= 0.7 * len(layers)
    assert sum(map(room, (b for _, b in layers))) < 0.65 * sum(map(room, (a for a, _ in layers)))
    assert floating_dtype(kept) == torch.float32


def test_a_module_stored_in_full_is_left_alone(checkpoint):
    dit = checkpoint.build("dit")
    store(dit, "full")
    assert not any(isinstance(module, Int8Linear) for module in dit.modules())


@pytest.mark.parametrize("level", ["block", "leaf"])
@pytest.mark.parametrize("how", ["full", "int8", "fp8"])
def test_a_transformer_streamed_piece_by_piece_sings_the_same(checkpoint, level, how):
    inputs = dit_inputs(checkpoint)
    still, streamed = checkpoint.build("dit"), checkpoint.build("dit")
    store(still, how)
    store(streamed, how)
    DeviceMover("cpu").stream(streamed, level)
    assert relative(velocity(streamed, inputs), velocity(still, inputs)) < 1e-6


@pytest.mark.parametrize("level", ["block", "leaf"])
def test_the_text_encoder_streams_as_well(checkpoint, level):
    words = torch.tensor([[1, 2, 3, 4]])
    still, streamed = checkpoint.build("text"), checkpoint.build("text")
    store(streamed, "full")
    DeviceMover("cpu").stream(streamed, level)
    with torch.no_grad():
        assert relative(streamed(words)[0], still(words)[0]) < 1e-6


def with_lora(dit, **kind):
    """The same small random LoRA around every query projection."""
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], **kind), dit)
    for name, parameter in dit.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return dit


@pytest.mark.parametrize("order", ["shrunk, then the LoRA", "the LoRA, then shrunk"])
@pytest.mark.parametrize(
    ("how", "kind", "tolerance"), [("int8", {}, 0.05), ("fp8", {}, 0.3), ("int8", {"use_dora": True}, 0.05)]
)
def test_a_lora_works_on_weights_kept_in_eight_bits(checkpoint, order, how, kind, tolerance):
    inputs = dit_inputs(checkpoint)
    wanted = velocity(with_lora(checkpoint.build("dit"), **kind), inputs) - velocity(checkpoint.build("dit"), inputs)
    bare, kept = checkpoint.build("dit"), checkpoint.build("dit")
    store(bare, how)
    if order.startswith("shrunk"):
        store(kept, how)
        with_lora(kept, **kind)
    else:
        with_lora(kept, **kind)
        store(kept, how)
    assert relative(velocity(kept, inputs) - velocity(bare, inputs), wanted) < tolerance


def test_a_dora_on_fp8_weights_is_refused_with_the_reason(checkpoint):
    dit = checkpoint.build("dit")
    refuse_adapter(dit, "dora")
    store(dit, "fp8")
    refuse_adapter(dit, "lora")
    with pytest.raises(MachineError, match="DoRA measures the weights themselves"):
        refuse_adapter(dit, "dora")
