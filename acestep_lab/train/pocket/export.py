"""The trained components as an ordinary checkpoint folder, which diffusers and transformers open without knowing of us.

Half precision on disk; 40 MB is the budget for all of it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from acestep_lab._libraries import ace_step_modules, diffusers, transformers
from acestep_lab.train.pocket.codes import AudioCodeModel
from acestep_lab.train.pocket.components import Components
from acestep_lab.train.pocket.config import PocketConfig
from acestep_lab.train.pocket.vae import PocketVae, export_vae

if TYPE_CHECKING:
    from diffusers import AceStepPipeline
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

BUDGET = 40_000_000  # bytes
M = TypeVar("M", bound=nn.Module)


def with_weights(model: M, weights: dict[str, Tensor]) -> M:
    """Load a full set of weights into a model, in place, and set it to evaluation; raises RuntimeError where names or shapes differ."""
    model.load_state_dict(weights)
    return model.eval()


def pipeline(
    vae: PocketVae,
    code_model: AudioCodeModel,
    components: Components,
    tokenizer: PreTrainedTokenizerFast,
    config: PocketConfig,
) -> AceStepPipeline:
    """All components but the planner in the pipeline class of diffusers."""
    return diffusers.AceStepPipeline(
        vae=export_vae(vae, config), text_encoder=components.text, tokenizer=tokenizer, transformer=components.dit,
        condition_encoder=components.condition, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        audio_tokenizer=code_model.tokenizer, audio_token_detokenizer=code_model.detokenizer,
    )  # fmt: skip


def build_lm(
    weights: dict[str, Tensor] | None, config: PocketConfig, tokenizer: PreTrainedTokenizerFast
) -> Qwen3ForCausalLM:
    """The planner with these weights; untrained without them."""
    qwen_config = transformers.Qwen3Config(
        **config.lm_config(len(tokenizer)), eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None
    )  # fmt: skip
    model: Qwen3ForCausalLM = transformers.Qwen3ForCausalLM(qwen_config).eval()
    return model if weights is None else with_weights(model, weights)


def load_code_model(folder: Path, config: PocketConfig) -> AudioCodeModel:
    """The audio tokenizer pair of a finished checkpoint; its target encoder is untrained."""
    code_model = AudioCodeModel(config)
    code_model.tokenizer.load_state_dict(
        ace_step_modules.AceStepAudioTokenizer.from_pretrained(folder / "audio_tokenizer").state_dict()
    )
    code_model.detokenizer.load_state_dict(
        ace_step_modules.AceStepAudioTokenDetokenizer.from_pretrained(folder / "audio_token_detokenizer").state_dict()
    )
    return code_model.float().eval()


def load_components(folder: Path, components: Components) -> Components:
    """Load the weights of a finished checkpoint into `components`, in place, as float32."""
    components.text.load_state_dict(transformers.Qwen3Model.from_pretrained(folder / "text_encoder").state_dict())
    components.condition.load_state_dict(
        ace_step_modules.AceStepConditionEncoder.from_pretrained(folder / "condition_encoder").state_dict()
    )
    components.dit.load_state_dict(
        diffusers.AceStepTransformer1DModel.from_pretrained(folder / "transformer").state_dict()
    )
    return components.float()


def load_lm(folder: Path) -> Qwen3ForCausalLM:
    """The planner of a finished checkpoint, as float32."""
    lm: Qwen3ForCausalLM = transformers.Qwen3ForCausalLM.from_pretrained(folder / "lm", dtype=torch.float32)
    return lm


def write(
    folder: Path,
    pipe: Any,
    metadata: dict[str, Any],
    lm: Any,
    lm_tokenizer: PreTrainedTokenizerFast,
) -> int:
    """Write the checkpoint folder in half precision, replacing what was there; returns the bytes of its weights.

    `metadata` becomes `pocket.json`. Raises ValueError where the weights are over BUDGET.
    """
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    pipe.to(dtype=torch.float16).save_pretrained(temporary, safe_serialization=True)
    lm.to(torch.float16).save_pretrained(temporary / "lm", safe_serialization=True)
    lm_tokenizer.save_pretrained(temporary / "lm")
    size = sum(file.stat().st_size for file in temporary.rglob("*.safetensors"))
    if size > BUDGET:
        raise ValueError(f"The checkpoint has {size / 1e6:.1f} MB of weights; the budget is {BUDGET / 1e6:.0f} MB.")
    (temporary / "pocket.json").write_text(json.dumps(metadata | {"weight_bytes": size}, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return size
