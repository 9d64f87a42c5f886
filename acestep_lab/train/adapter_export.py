"""What was taught, as files that other programs read to the same numbers.

A LoRA is a PEFT folder under the reference's names with alpha baked into B: PEFT and diffusers take the strength from
`adapter_config.json`, ComfyUI from an `.alpha` that PEFT never writes, and else 1; baked (B ← B·alpha/r, alpha = r) all agree.
A LoKr is one file under LyCORIS' names, its scale baked into the first factor and alpha = rank for the same reason.
For ACE-Step v1 it is the file that diffusers' `save_lora_adapter` writes and the original reads: the published names, the
settings (rank, alpha) in its header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from acestep_lab import files
from acestep_lab._libraries import peft
from acestep_lab.models.adapter_files import (
    DIFFUSERS_CONFIG,
    DIFFUSERS_WEIGHTS,
    LYCORIS_WEIGHTS,
    NAMED,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
)
from acestep_lab.models.adapter_names import ACE15, V1, named
from acestep_lab.train.lora import LoraConfig

WEIGHTS, CONFIG, LYCORIS, DIFFUSERS = PEFT_WEIGHTS, PEFT_CONFIG, LYCORIS_WEIGHTS, DIFFUSERS_WEIGHTS
FILES = NAMED
"""Every name that an adapter's weights may be written under."""
_THEIRS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "o_proj"}
_WORD = re.compile(r"\.(lora_[AB]\.weight|lora_magnitude_vector(?:\.weight)?|lokr_w[12](?:_[ab])?)$")


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter should remember of how it came to be; goes into the header of its file."""

    checkpoint: str
    tag: str = ""
    """The word that stands for what was taught."""
    songs: int = 0
    data: str = ""
    """The data set's hash."""
    steps: int = 0
    roads: tuple[str, ...] = ("words",)
    """What the lessons heard: "words", "codes"."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """As it was taught: `LoraConfig`, alpha and all."""
    family: str = ACE15.name
    """Of the checkpoint: it decides under which names the weights are written."""


def write_adapter(folder: Path, state: Mapping[str, Tensor], config: LoraConfig, facts: AdapterFacts) -> Path:
    """Write an adapter into a folder, whole or not at all, and give the file `Adapter.open` takes.

    `state` is `Trainer.adapter_state()`: tensors by our names of the layers, as taught.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = {"format": "pt", "acestep_lab": json.dumps(asdict(facts), sort_keys=True)}
    if config.kind == "lokr":
        tensors = _lycoris(state, config, facts.family)
        return _write(folder / LYCORIS, tensors, header | {"lokr_config": _lokr_config(config)})
    if facts.family == V1.name:
        return _write(folder / DIFFUSERS, _diffusers(state, config), header | _settings(state, config))
    tensors = {f"base_model.model.{theirs(name)}": tensor for name, tensor in _baked(state, config).items()}
    settings: Any = peft.LoraConfig(
        r=config.rank, lora_alpha=config.rank, use_dora=config.kind == "dora", inference_mode=True,
        target_modules=sorted({theirs(_layer(name)).rpartition(".")[2] for name in state}),
        base_model_name_or_path=facts.checkpoint,
    )  # fmt: skip
    plain = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.to_dict().items()}
    text = json.dumps(plain, indent=2, sort_keys=True, default=str)
    files.write_whole(folder / CONFIG, lambda part: part.write_text(text + "\n", encoding="utf-8"))
    return _write(folder / WEIGHTS, tensors, header)


def theirs(name: str) -> str:
    """A layer or tensor by the reference's name of it."""
    for ours, other in _THEIRS.items():
        name = re.sub(rf"\.{re.escape(ours)}(?=\.|$)", f".{other}", name)
    return name


def _layer(name: str) -> str:
    """The layer of a tensor."""
    return _WORD.sub("", name)


def _baked(state: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The same change at strength 1 with alpha = rank."""
    return {
        name: tensor * config.scale if name.endswith(".lora_B.weight") else tensor for name, tensor in state.items()
    }


def _diffusers(state: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The published names, and the shapes of convolutions where the original has those."""
    found: dict[str, Tensor] = {}
    for name, tensor in _baked(state, config).items():
        at, word = named(_layer(name)), name.removesuffix(".weight")
        is_magnitude = word.endswith(".lora_magnitude_vector")
        if at is not None and at.is_pointwise:
            tensor = tensor.reshape(1, -1, 1) if is_magnitude else tensor.unsqueeze(-1)
        found[word if is_magnitude else name] = tensor
    return found


def _settings(state: Mapping[str, Tensor], config: LoraConfig) -> dict[str, str]:
    """Rank and alpha in the header, as diffusers keeps them."""
    layers = sorted({_layer(name) for name in state})
    told = {
        "r": config.rank, "lora_alpha": config.rank, "target_modules": layers, "use_dora": config.kind == "dora",
        "use_rslora": False, "peft_type": "LORA",
    }  # fmt: skip
    return {DIFFUSERS_CONFIG: json.dumps(told, sort_keys=True)}


def _lycoris(state: Mapping[str, Tensor], config: LoraConfig, family: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _WORD.search(name)
        assert match is not None, name
        word, layer = match[1], _layer(name) if family == V1.name else theirs(_layer(name))
        scaled = tensor * config.scale if word in ("lokr_w1", "lokr_w1_b") else tensor
        module = f"lycoris_{layer.replace('.', '_')}"
        found[f"{module}.{word}"] = scaled
        found[f"{module}.alpha"] = torch.tensor(float(config.rank))
    return found


def _lokr_config(config: LoraConfig) -> str:
    return json.dumps({"linear_dim": config.rank, "linear_alpha": config.rank, "algo": "lokr"}, sort_keys=True)


def _write(file: Path, tensors: Mapping[str, Tensor], header: dict[str, str]) -> Path:
    data = save({name: tensor.contiguous() for name, tensor in sorted(tensors.items())}, header)
    return files.write_whole(file, lambda draft: draft.write_bytes(_in_order(data)), "The adapter")


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with its notes in one order: the library writes them in another one each time."""
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]
