"""The trained parts as an ordinary checkpoint folder: what diffusers and transformers open without knowing of us.

Half precision on disk; 40 MB is the budget for all of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AceStepPipeline, FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from acestep_lab.train.pocket.codes import Codec5
from acestep_lab.train.pocket.parts import Parts
from acestep_lab.train.pocket.shapes import Shapes
from acestep_lab.train.pocket.vae import PocketVae
from acestep_lab.train.pocket.vae import export as export_vae

BUDGET = 40_000_000  # bytes


def with_weights(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The model with other weights, strictly."""
    model.load_state_dict(weights)
    return model.eval()


def pipeline(
    vae: PocketVae, codec: Codec5, parts: Parts, tokenizer: PreTrainedTokenizerFast, shapes: Shapes
) -> AceStepPipeline:
    """All parts but the planner in the class that runs them."""
    return AceStepPipeline(
        vae=export_vae(vae, shapes), text_encoder=parts.text, tokenizer=tokenizer, transformer=parts.dit,
        condition_encoder=parts.condition, scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        audio_tokenizer=codec.tokenizer, audio_token_detokenizer=codec.detokenizer,
    )  # fmt: skip


def lm_from(weights: dict[str, Tensor] | None, shapes: Shapes, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """The planner from its weights; untrained without them."""
    config = Qwen3Config(
        **shapes.lm_config(len(tokenizer)), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    return model if weights is None else with_weights(model, weights)


def write(
    folder: Path,
    pipe: AceStepPipeline,
    facts: dict[str, Any],
    lm: Qwen3ForCausalLM,
    lm_tokenizer: PreTrainedTokenizerFast,
) -> int:
    """Write the folder (replacing what was there) in half precision; returns the bytes of its weights."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    pipe.to(dtype=torch.float16).save_pretrained(fresh, safe_serialization=True)
    lm.to(torch.float16).save_pretrained(fresh / "lm", safe_serialization=True)
    lm_tokenizer.save_pretrained(fresh / "lm")
    size = sum(file.stat().st_size for file in fresh.rglob("*.safetensors"))
    if size > BUDGET:
        raise ValueError(f"The checkpoint has {size / 1e6:.1f} MB of weights; the budget is {BUDGET / 1e6:.0f} MB.")
    (fresh / "pocket.json").write_text(json.dumps(facts | {"weight_bytes": size}, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return size
