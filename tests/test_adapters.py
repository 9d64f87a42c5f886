"""Every layout of LoRA the reference's trainers write acts here as PEFT acts on the reference's own module names.

The oracle is the same tiny transformer with its layers called as in the reference (`q_proj`, …, `o_proj`), adapted by PEFT
itself; what PEFT saves from it is what a trainer would leave on disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AceStepTransformer1DModel
from diffusers.models.transformers.ace_step_transformer import AceStepAttention
from peft import LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from acestep_lab.errors import CheckpointError
from acestep_lab.models.adapters import Adapter, active, apply, remove
from acestep_lab.models.storage import Int8Linear, to_fp8, to_int8
from tests import tiny
from tests.closeness import assert_near, relative_error

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]

CONFIGS: dict[str, Callable[[], Any]] = {
    "attention": lambda: LoraConfig(r=4, lora_alpha=16, target_modules=ATTENTION, lora_dropout=0.1),
    "two of the attention": lambda: LoraConfig(r=4, lora_alpha=16, target_modules=["v_proj", "o_proj"]),
    "mlp": lambda: LoraConfig(r=4, lora_alpha=8, target_modules=MLP),
    "everything linear": lambda: LoraConfig(
        r=3, lora_alpha=5, target_modules=[*ATTENTION, *MLP, "linear_1", "condition_embedder"]
    ),
    "dora": lambda: LoraConfig(r=4, lora_alpha=16, target_modules=ATTENTION, use_dora=True),
    "rslora with patterns": lambda: LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=ATTENTION,
        use_rslora=True,
        rank_pattern={"layers.0.self_attn.q_proj": 2, r"layers\.[12]\.cross_attn\.o_proj": 6},
        alpha_pattern={"k_proj": 3, "self_attn.v_proj": 40},
    ),
    "some layers by a pattern": lambda: LoraConfig(
        r=2, lora_alpha=8, target_modules=r".*layers\.[01]\.cross_attn\.(q|v)_proj"
    ),
    "with biases": lambda: LoraConfig(
        r=2, lora_alpha=8, target_modules=["linear_1", "condition_embedder"], lora_bias=True
    ),
    "lokr": lambda: LoKrConfig(r=2, alpha=6, target_modules=ATTENTION, decompose_both=True, decompose_factor=4),
    "lokr with patterns": lambda: LoKrConfig(
        r=64,
        alpha=32,
        target_modules=MLP,
        rank_pattern={"layers.1.mlp.up_proj": 1},
        alpha_pattern={"down_proj": 2},
    ),
}


class ReferenceAttention(AceStepAttention):
    """The attention with its layers called as in the reference."""

    to_q = property(lambda self: self.q_proj)
    to_k = property(lambda self: self.k_proj)
    to_v = property(lambda self: self.v_proj)
    to_out = property(lambda self: (self.o_proj, nn.Identity()))

    @classmethod
    def renamed(cls, attention: AceStepAttention) -> None:
        layers = {
            "q_proj": attention.to_q,
            "k_proj": attention.to_k,
            "v_proj": attention.to_v,
            "o_proj": attention.to_out[0],
        }
        for name in ("to_q", "to_k", "to_v", "to_out"):
            delattr(attention, name)
        attention.__class__ = cls
        for name, layer in layers.items():
            setattr(attention, name, layer)


@pytest.fixture(scope="module")
def bare() -> AceStepTransformer1DModel:
    return tiny.tiny_components()["dit"]  # type: ignore[return-value]


@pytest.fixture
def dit(bare: AceStepTransformer1DModel) -> AceStepTransformer1DModel:
    return deepcopy(bare)


def in_reference_words(dit: AceStepTransformer1DModel) -> AceStepTransformer1DModel:
    copy = deepcopy(dit)
    for module in list(copy.modules()):
        if type(module) is AceStepAttention:
            ReferenceAttention.renamed(module)
    return copy


def trained(
    dit: AceStepTransformer1DModel, config: Any, folder: Path, seed: int = 3, words: Callable = in_reference_words
) -> nn.Module:
    """An adapter as if trained by the reference, saved into the folder; the adapted model comes back."""
    model = get_peft_model(words(dit), config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "lokr_" in name:
                weight.add_(0.3 * torch.randn_like(weight))
    model.save_pretrained(folder)
    return model.eval()


@torch.no_grad()
def velocity(model: nn.Module) -> Tensor:
    make = torch.Generator().manual_seed(11)
    channels = tiny.LATENT
    t = torch.tensor([0.8, 0.3])
    return model(
        hidden_states=torch.randn(2, 21, channels, generator=make),
        timestep=t,
        timestep_r=t,
        encoder_hidden_states=torch.randn(2, 7, tiny.CONDITION, generator=make),
        context_latents=torch.randn(2, 21, 2 * channels, generator=make),
        return_dict=False,
    )[0]


@pytest.mark.filterwarnings("ignore:Adapter .default.:UserWarning")  # PEFT about its own saving of biases
@pytest.mark.parametrize("layout", CONFIGS)
def test_adapted_velocity_is_that_of_peft_on_the_references_names(layout: str, dit: Any, tmp_path: Path) -> None:
    before = velocity(dit)
    expected = velocity(trained(dit, CONFIGS[layout](), tmp_path / "adapter"))

    apply(dit, [(Adapter.open(tmp_path / "adapter"), 1.0)])

    assert relative_error(expected, before) > 0.02, "the adapter does too little to be measured"
    assert_near(velocity(dit), expected)


@pytest.mark.parametrize("layout", ["attention", "rslora with patterns", "lokr"])
def test_half_strength_is_half_of_what_is_added_to_the_weights(layout: str, dit: Any, tmp_path: Path) -> None:
    model = trained(dit, CONFIGS[layout](), tmp_path / "adapter")
    for module in model.modules():
        if hasattr(module, "scale_layer"):
            module.scale_layer(0.5)

    apply(dit, [(Adapter.open(tmp_path / "adapter"), 0.5)])

    assert_near(velocity(dit), velocity(model))


def test_an_adapter_trained_on_diffusers_names_is_read_as_well(dit: Any, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    expected = velocity(trained(dit, config, tmp_path / "ours", words=deepcopy))

    assert_near(velocity(apply(dit, [(Adapter.open(tmp_path / "ours"), 1.0)])), expected)


@pytest.mark.parametrize("layout", ["attention", "dora", "lokr"])
def test_adapters_act_on_weights_kept_in_eight_bits(layout: str, dit: Any, tmp_path: Path) -> None:
    to_int8(dit)
    widened = deepcopy(dit)
    for module in list(widened.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Int8Linear):
                dense = nn.Linear(child.in_features, child.out_features, child.bias is not None)
                dense.weight.data.copy_(child.weight)
                if child.bias is not None:
                    dense.bias.data.copy_(child.bias)
                setattr(module, name, dense)
    expected = velocity(trained(widened, CONFIGS[layout](), tmp_path / "adapter"))

    assert_near(velocity(apply(dit, [(Adapter.open(tmp_path / "adapter"), 1.0)])), expected)


@pytest.mark.parametrize("layout", ["attention", "lokr"])
def test_on_fp8_weights_it_does_not_matter_which_came_first(layout: str, dit: Any, tmp_path: Path) -> None:
    trained(dit, CONFIGS[layout](), tmp_path / "adapter")
    wanted = [(Adapter.open(tmp_path / "adapter"), 1.0)]
    early, late = apply(deepcopy(dit), wanted), deepcopy(dit)
    to_fp8(early, torch.float32)
    to_fp8(late, torch.float32)
    small = velocity(late)

    assert torch.equal(velocity(apply(late, wanted)), velocity(early))
    assert torch.equal(velocity(apply(late, [])), small)


def test_several_adapters_of_different_kinds_add_up(dit: Any, tmp_path: Path) -> None:
    wanted, merged = [], deepcopy(dit)
    for seed, (layout, strength) in enumerate({"attention": 0.7, "mlp": 1.3, "lokr": -0.4}.items()):
        model = trained(dit, CONFIGS[layout](), tmp_path / layout, seed)
        change = difference(model, dit)
        for name, weight in merged.named_parameters():
            if name in change:
                weight.data += strength * change[name]
        wanted.append((Adapter.open(tmp_path / layout), strength))

    for order in (wanted, wanted[::-1]):
        apply(dit, order)
        assert_near(velocity(dit), velocity(merged))
        remove(dit)


def difference(adapted: Any, dit: nn.Module) -> dict[str, Tensor]:
    """What an adapter adds to each weight of the transformer, by diffusers' names: merged minus bare."""
    merged = adapted.merge_and_unload()
    words = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "o_proj": "to_out.0"}
    bare, found = dict(dit.named_parameters()), {}
    for name, weight in merged.named_parameters():
        for theirs, ours in words.items():
            name = name.replace(theirs, ours)
        found[name] = weight.detach() - bare[name]
    return found


def test_off_is_exactly_the_bare_model(dit: Any, tmp_path: Path) -> None:
    before, weights = velocity(dit), {name: weight.clone() for name, weight in dit.state_dict().items()}
    adapters = []
    for layout in ("attention", "dora", "lokr", "mlp"):
        trained(dit, CONFIGS[layout](), tmp_path / layout)
        adapters.append(Adapter.open(tmp_path / layout))

    apply(dit, [(adapter, 1.0) for adapter in adapters])
    assert relative_error(velocity(dit), before) > 0.02
    apply(dit, [(adapter, 0.0) for adapter in adapters])
    assert torch.equal(velocity(dit), before)
    apply(dit, [(adapters[0], 1.0)])
    apply(dit, [])
    assert torch.equal(velocity(dit), before)
    assert active(dit) == tuple(adapters)

    remove(dit)
    assert active(dit) == ()
    assert torch.equal(velocity(dit), before)
    assert dit.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in dit.state_dict().items())


def test_strengths_change_without_reading_the_file_again(dit: Any, tmp_path: Path) -> None:
    trained(dit, CONFIGS["attention"](), tmp_path / "adapter")
    adapter = Adapter.open(tmp_path / "adapter")
    apply(dit, [(adapter, 1.0)])
    full = velocity(dit)
    apply(dit, [(adapter, 0.2)])
    adapter.file.unlink()

    apply(dit, [(adapter, 1.0)])

    assert torch.equal(velocity(dit), full)
    assert not any(weight.requires_grad for weight in dit.parameters())


def test_one_adapter_alone_acts_as_if_the_others_had_never_been_aboard(dit: Any, tmp_path: Path) -> None:
    for layout in ("attention", "mlp", "lokr"):
        trained(dit, CONFIGS[layout](), tmp_path / layout)
    adapters = [Adapter.open(tmp_path / layout) for layout in ("attention", "mlp", "lokr")]
    alone = velocity(apply(deepcopy(dit), [(adapters[0], 1.0)]))

    apply(dit, [(adapter, 1.0) for adapter in adapters])
    apply(dit, [(adapters[0], 1.0)])

    assert_near(velocity(dit), alone)


@pytest.mark.parametrize("settings", [{}, {"decompose_both": True}, {"full": True}, {"rs_lora": True}])
def test_a_lycoris_lokr_acts_as_its_formula_says(settings: dict[str, bool], dit: Any, tmp_path: Path) -> None:
    expected = deepcopy(dit)
    file = lycoris_file(tmp_path / "adapter", expected, **settings)

    apply(dit, [(Adapter.open(file.parent), 0.6)])

    assert_near(velocity(dit), velocity(expected))


def lycoris_file(
    folder: Path, model: nn.Module, decompose_both: bool = False, full: bool = False, rs_lora: bool = False
) -> Path:
    """A LoKr as LyCORIS stores it; what it does at strength 0.6 is added to the model. ΔW = alpha/rank · w1 ⊗ w2.

    As LyCORIS does under the reference's trainer, it also holds layers that were never trained, convolutions among them.
    """
    torch.manual_seed(8)
    rank = 2
    scale = 1.0 if full else 6.0 / (rank**0.5 if rs_lora else rank)
    stored = {"lycoris_proj_in_1.lokr_w1": torch.randn(4, 4), "lycoris_proj_in_1.lokr_w2": torch.zeros(8, 6, 2)}
    for name, weight in model.named_parameters():
        if name.endswith(("attn.to_q.weight", "attn.to_out.0.weight")):
            rows, columns = weight.shape[0] // 4, weight.shape[1] // 4
            left, small = factor("lokr_w1", 4, 4, rank if decompose_both else None)
            right, large = factor("lokr_w2", rows, columns, None if full else rank)
            weight.data += 0.6 * scale * torch.kron(left, right)
            kept = {**small, **large, "alpha": torch.tensor(scale * rank)}  # alpha is stored as it scales
            theirs = tiny.published_name(name.removesuffix(".weight")).replace(".", "_")
            stored |= {f"lycoris_{theirs}.{word}": tensor for word, tensor in kept.items()}
    folder.mkdir()
    config = {"linear_dim": rank, "linear_alpha": 6, "rs_lora": rs_lora, "decompose_both": decompose_both}
    file = folder / "lokr_weights.safetensors"
    save_file(stored, file, {"algo": "lokr", "lokr_config": json.dumps(config)})
    return file


def factor(word: str, rows: int, columns: int, rank: int | None) -> tuple[Tensor, dict[str, Tensor]]:
    """A factor of a Kronecker product and how it is stored: whole, or as a product over the rank."""
    if rank is None:
        whole = 0.2 * torch.randn(rows, columns)
        return whole, {word: whole}
    first, second = 0.3 * torch.randn(rows, rank), 0.3 * torch.randn(rank, columns)
    return first @ second, {f"{word}_a": first, f"{word}_b": second}


def test_a_trainers_output_folder_is_found_through(dit: Any, tmp_path: Path) -> None:
    trained(dit, CONFIGS["attention"](), tmp_path / "growl" / "adapter")

    adapter = Adapter.open(tmp_path / "growl")

    assert adapter.name == "growl"
    assert (adapter.kind, adapter.rank, adapter.targets) == ("lora", 4, tuple(sorted(ATTENTION)))
    assert adapter == Adapter.open(tmp_path / "growl")


def test_an_adapter_for_a_larger_model_says_so_and_leaves_the_transformer_alone(dit: Any, tmp_path: Path) -> None:
    before = velocity(dit)
    trained(tiny.tiny_components(xl=True)["dit"], CONFIGS["attention"](), tmp_path / "xl")  # type: ignore[arg-type]
    trained(dit, CONFIGS["mlp"](), tmp_path / "fits")

    with pytest.raises(CheckpointError, match=r"xl does not fit this transformer"):
        apply(dit, [(Adapter.open(tmp_path / "fits"), 1.0), (Adapter.open(tmp_path / "xl"), 1.0)])
    assert torch.equal(velocity(dit), before)


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(change({key: tensor.clone() for key, tensor in load_file(file).items()}), file)


def test_what_is_no_adapter_of_this_model_is_refused_in_a_sentence(dit: Any, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    trained(dit, CONFIGS["attention"](), folder)
    config = json.loads((folder / "adapter_config.json").read_text())

    def refused(match: str) -> None:
        with pytest.raises(CheckpointError, match=match):
            Adapter.open(folder)

    rewritten(
        folder,
        lambda t: {k.replace("layers.0.self_attn", "transformer_blocks.0.attn"): v for k, v in t.items()},
    )
    refused(r"'transformer_blocks\.0\.attn\.k_proj' \(16×32\) is no linear layer of the transformer")
    trained(dit, CONFIGS["attention"](), folder)
    rewritten(folder, lambda t: {k: v for k, v in t.items() if "layers.1.self_attn.q_proj.lora_B" not in k})
    refused(r"'layers\.1\.self_attn\.q_proj' lacks lora_B; it has lora_A")
    file = folder / "adapter_model.safetensors"
    trained(dit, CONFIGS["attention"](), folder)
    file.write_bytes(file.read_bytes()[:-100])
    refused("cut short")
    file.rename(folder / "adapter_model.bin")
    refused(r"weights as a pickle \(adapter_model\.bin\)")
    (folder / "adapter_model.bin").rename(file)
    trained(dit, CONFIGS["attention"](), folder)
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    refused("of the kind 'IA3'")
    (folder / "adapter_config.json").write_text(json.dumps(config | {"init_lora_weights": "pissa"}))
    refused("changes the base weights")
    (folder / "adapter_config.json").unlink()
    file.unlink()
    refused("is no adapter")
    with pytest.raises(CheckpointError, match=r"There is no adapter .*elsewhere"):
        Adapter.open(tmp_path / "elsewhere")


def test_the_same_adapter_twice_is_refused(dit: Any, tmp_path: Path) -> None:
    trained(dit, CONFIGS["attention"](), tmp_path / "adapter")
    adapter = Adapter.open(tmp_path / "adapter")

    with pytest.raises(CheckpointError, match="named twice"):
        apply(dit, [(adapter, 1.0), (Adapter.open(tmp_path / "adapter"), 0.5)])
    with pytest.raises(CheckpointError, match="strength is a number"):
        apply(dit, [(adapter, float("nan"))])


def test_adapters_follow_the_precision_of_the_transformer(dit: Any, tmp_path: Path) -> None:
    trained(dit, CONFIGS["attention"](), tmp_path / "adapter")
    dit.to(torch.bfloat16)

    apply(dit, [(Adapter.open(tmp_path / "adapter"), 1.0)])

    assert {weight.dtype for weight in dit.parameters()} == {torch.bfloat16}
