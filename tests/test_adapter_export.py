"""An adapter as we write it acts the same for everybody who reads it: here, in PEFT, in diffusers, by ComfyUI's rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AceStepPipeline, AceStepTransformer1DModel
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from acestep_lab.engines.ace15.training import ATTENTION, MLP
from acestep_lab.errors import RecipeError
from acestep_lab.models.adapters import Adapter, apply
from acestep_lab.train.adapter_export import AdapterFacts, theirs, write_adapter
from acestep_lab.train.lora import NAME, LoraConfig, inject
from tests import tiny
from tests.closeness import assert_near, relative_error
from tests.test_adapters import in_reference_words, velocity

CONFIGS = {
    "lora": LoraConfig(rank=4, alpha=10.0),
    "rslora with the mlp": LoraConfig(kind="rslora", rank=4, alpha=3.0, targets=("attention", "mlp")),
    "mlp alone": LoraConfig(rank=2, alpha=5.0, targets=("mlp",)),
    "dora": LoraConfig(kind="dora", rank=4, alpha=10.0),
    "lokr": LoraConfig(kind="lokr", rank=2, alpha=6.0, targets=("attention", "mlp")),
}
ENDS = {"attention": ATTENTION, "mlp": MLP}
FACTS = AdapterFacts("tiny", tag="zafu", songs=3, data="abc", steps=7)


@pytest.fixture(scope="module")
def bare() -> AceStepTransformer1DModel:
    return tiny.tiny_components()["dit"]  # type: ignore[return-value]


@pytest.fixture
def dit(bare: AceStepTransformer1DModel) -> AceStepTransformer1DModel:
    return deepcopy(bare)


def taught(dit: nn.Module, config: LoraConfig, folder: Path) -> tuple[Tensor, Path]:
    """The velocity of a module with an adapter in training, and the adapter as it is written."""
    module = deepcopy(dit).requires_grad_(False)
    torch.manual_seed(5)
    inject(module, config, [end for group in config.targets for end in ENDS[group]])
    state = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            weight.data += 0.2 * torch.randn_like(weight)
            state[name.replace(f".{NAME}", "")] = weight.detach().clone()
    return velocity(module.eval()), write_adapter(folder, state, config, FACTS)


def here(dit: Any, file: Path) -> nn.Module:
    return apply(dit, [(Adapter.open(file.parent), 1.0)])


def in_peft(dit: Any, file: Path) -> nn.Module:
    return PeftModel.from_pretrained(in_reference_words(dit), file.parent)


def in_diffusers(dit: Any, file: Path) -> nn.Module:
    state, metadata = AceStepPipeline.lora_state_dict(file.parent, weight_name=file.name, return_lora_metadata=True)
    AceStepPipeline.load_lora_into_transformer(state, dit, adapter_name="one", metadata=metadata)
    return dit


def by_comfyuis_rule(dit: Any, file: Path) -> nn.Module:
    """ΔW = B·A times `.alpha` / rank where it is stored, else times 1; of a LoKr w1 ⊗ w2 times alpha / rank."""
    stored = load_file(file)
    for name, weight in dit.named_parameters():
        layer = theirs(name.removesuffix(".weight"))
        low, lokr = f"base_model.model.{layer}", f"lycoris_{layer.replace('.', '_')}"
        if f"{low}.lora_A.weight" in stored:
            assert f"{low}.alpha" not in stored
            weight.data += stored[f"{low}.lora_B.weight"] @ stored[f"{low}.lora_A.weight"]
        elif f"{lokr}.alpha" in stored:
            one, rank = factor(stored, f"{lokr}.lokr_w1")
            two, other = factor(stored, f"{lokr}.lokr_w2")
            alpha, dim = float(stored[f"{lokr}.alpha"]), other or rank
            weight.data += (alpha / dim if dim else 1.0) * torch.kron(one, two)
    return dit


def factor(stored: dict[str, Tensor], name: str) -> tuple[Tensor, int | None]:
    """A factor, and its rank where it is stored as a product."""
    if name in stored:
        return stored[name], None
    return stored[f"{name}_a"] @ stored[f"{name}_b"], len(stored[f"{name}_b"])


READERS: dict[str, tuple[Callable[[Any, Path], nn.Module], set[str]]] = {
    "here": (here, set(CONFIGS)),
    "PEFT on the reference's names": (in_peft, set(CONFIGS) - {"lokr"}),
    "diffusers": (in_diffusers, {"lora", "rslora with the mlp"}),  # it knows the reference by its attention's names
    "ComfyUI's rule": (by_comfyuis_rule, set(CONFIGS) - {"dora"}),
}


@pytest.mark.parametrize(
    ("reader", "kind"), [(reader, kind) for reader, (_, kinds) in READERS.items() for kind in CONFIGS if kind in kinds]
)
def test_every_reader_hears_what_was_taught(reader: str, kind: str, dit: Any, tmp_path: Path) -> None:
    bare = velocity(dit)
    wanted, file = taught(dit, CONFIGS[kind], tmp_path / "adapter")

    adapted = READERS[reader][0](dit, file)

    assert relative_error(bare, wanted) > 0.02  # or there would be nothing to hear
    assert_near(velocity(adapted.eval()), wanted)


def test_the_file_tells_what_was_taught_and_how(dit: Any, tmp_path: Path) -> None:
    _, file = taught(dit, CONFIGS["lora"], tmp_path)
    with safe_open(file, "pt") as stored:
        told = json.loads(stored.metadata()["acestep_lab"])
    assert told["tag"] == "zafu"
    assert told["checkpoint"] == "tiny"
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"]) == (4, 4)  # alpha is baked in
    assert settings["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]


def test_the_same_weights_are_the_same_bytes(dit: Any, tmp_path: Path) -> None:
    files = [taught(dit, CONFIGS["lokr"], tmp_path / name)[1] for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_rank_larger_than_a_layer_is_refused(dit: Any) -> None:
    with pytest.raises(RecipeError, match="rank"):
        inject(dit, LoraConfig(rank=500), ATTENTION)
