"""The trained parts as an ordinary checkpoint folder: what diffusers and transformers open without knowing of us.

Half precision on disk; 40 MB is the budget for all of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AceStepPipeline, AceStepTransformer1DModel, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ace_step.modeling_ace_step import (
    AceStepAudioTokenDetokenizer,
    AceStepAudioTokenizer,
    AceStepConditionEncoder,
)
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from acestep_lab.train.pocket.codes import Codec5
from acestep_lab.train.pocket.components import Parts
from acestep_lab.train.pocket.config import Shapes
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


def codec_of(folder: Path, shapes: Shapes) -> Codec5:
    """The code pair of a finished folder; its scribe is untaught."""
    codec = Codec5(shapes)
    codec.tokenizer.load_state_dict(AceStepAudioTokenizer.from_pretrained(folder / "audio_tokenizer").state_dict())
    codec.detokenizer.load_state_dict(
        AceStepAudioTokenDetokenizer.from_pretrained(folder / "audio_token_detokenizer").state_dict()
    )
    return codec.float().eval()


def parts_of(folder: Path, parts: Parts) -> Parts:
    """Parts with the weights of a finished folder."""
    parts.text.load_state_dict(Qwen3Model.from_pretrained(folder / "text_encoder").state_dict())
    parts.condition.load_state_dict(AceStepConditionEncoder.from_pretrained(folder / "condition_encoder").state_dict())
    parts.dit.load_state_dict(AceStepTransformer1DModel.from_pretrained(folder / "transformer").state_dict())
    return parts.float()


def lm_of(folder: Path) -> Qwen3ForCausalLM:
    """The planner of a finished folder."""
    return Qwen3ForCausalLM.from_pretrained(folder / "lm", dtype=torch.float32)


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
