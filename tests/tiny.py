"""Tiny random checkpoints in every layout we read: small enough to build in a test, odd enough to catch constants.

The sound runs at 8000 Hz and 50 latent frames a second, a token is 2 frames and a code 5, so code that believes in 48 kHz,
25 Hz or 64 channels fails here. Weights are perturbed away from their initial values, so that norms and tables matter.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from acestep_lab._libraries import ace_step_modules, diffusers, transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

RATE, RATIOS, CHANNELS, LATENT = 8000, (4, 4, 10), 2, 8
PATCH, POOL, LEVELS = 2, 5, (8, 5)
CODES = 40
TEXT, CONDITION = 24, 32

VAE: dict[str, Any] = {
    "encoder_hidden_size": 2 * LATENT,
    "downsampling_ratios": list(RATIOS),
    "channel_multiples": [1, 2, 2],
    "decoder_channels": 8,
    "decoder_input_channels": LATENT,
    "audio_channels": CHANNELS,
    "sampling_rate": RATE,
}
_ATTENTION: dict[str, Any] = {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rope_theta": 10_000.0,
    "sliding_window": 6,
    "rms_norm_eps": 1e-6,
}
_ENCODER = _ATTENTION | {"hidden_size": CONDITION, "intermediate_size": 48}
_CODES = _ENCODER | {
    "audio_acoustic_hidden_dim": LATENT,
    "pool_window_size": POOL,
    "num_attention_pooler_hidden_layers": 2,
}

_WORDS = (
    "# Instruction\nFill the audio semantic mask based on the given conditions:\n\n# Caption\n\n# Metas\n- bpm: 120\n"
    "- timesignature: 4\n- keyscale: C major\n- duration: 30 seconds\n<|endoftext|>\n# Languages\nen\n\n# Lyric\n[verse]\n"
    "bpm: caption: duration: keyscale: language: timesignature: genres: a slow dub techno with tape hiss and warm bass "
)
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(codes: int = CODES) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the special tokens of Qwen3 and, for a planner, so many `<|audio_code_i|>`."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bare.train_from_iterator([_WORDS], trainer)
    bare.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    plain = ["<think>", "</think>", *(f"<|audio_code_{i}|>" for i in range(codes))]
    bare.add_tokens([AddedToken(word, special=False, normalized=False) for word in plain])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bare,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_CHAT,
        clean_up_tokenization_spaces=False,
    )


def tiny_lm(tokenizer: PreTrainedTokenizerFast, seed: int = 5) -> Qwen3ForCausalLM:
    """A planner of two layers over the tokenizer's words, with tied embeddings as the published ones have them."""
    torch.manual_seed(seed)
    config = _qwen3(32, len(tokenizer), tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id)
    return _perturbed(transformers.Qwen3ForCausalLM(config))


def tiny_diffusers(
    folder: Path, turbo: bool = True, *, xl: bool = False, lm: bool = True, seed: int = 0, shallow: bool = False
) -> Path:
    """Write a random pipeline in the diffusers layout (with `lm/`, as the pocket has it); the folder comes back.

    `shallow`: as few layers as there can be, for what takes its time over each.
    """
    components = tiny_components(turbo=turbo, xl=xl, seed=seed, shallow=shallow)
    pipe = diffusers.AceStepPipeline(
        vae=components["vae"],
        text_encoder=components["text"],
        tokenizer=tiny_tokenizer(0),
        transformer=components["dit"],
        condition_encoder=components["condition"],
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        audio_tokenizer=components["tokenizer"],
        audio_token_detokenizer=components["detokenizer"],
    )
    folder = Path(folder)
    pipe.save_pretrained(folder)
    if lm:
        write_lm(folder / "lm")
    return folder


def tiny_original(
    folder: Path,
    kind: str = "turbo",
    *,
    xl: bool = False,
    sharded: bool = False,
    lm: bool = True,
    pickles: bool = True,
    seed: int = 0,
) -> Path:
    """Write the same random checkpoint as `tiny_diffusers(seed=…)` in the published layout; the root folder comes back.

    The renaming below is written apart from the one under test, from the reference's own names.
    """
    components = tiny_components(turbo=kind == "turbo", xl=xl, seed=seed, version=kind)
    folder = Path(folder)
    own = folder / f"acestep-v15-{'xl-' if xl else ''}{kind}"
    own.mkdir(parents=True)
    (own / "config.json").write_text(json.dumps(published_config(kind, xl)))
    tensors, silence = published_tensors(components)
    _save(own, tensors, sharded)
    if pickles:
        torch.save(silence.transpose(1, 2).contiguous(), own / "silence_latent.pt")  # [1, channels, frames]
    components["vae"].save_pretrained(folder / "vae")
    text = folder / "Qwen3-Embedding-0.6B"
    components["text"].save_pretrained(text)
    tiny_tokenizer(0).save_pretrained(text)
    if lm:
        write_lm(folder / "acestep-5Hz-lm-1.7B")
    return folder


def write_lm(folder: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tiny_lm(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_components(
    turbo: bool = True, xl: bool = False, seed: int = 0, version: str | None = None, shallow: bool = False
) -> dict[str, nn.Module]:
    """The random modules both layouts are written from; the same seed gives the same numbers."""
    torch.manual_seed(seed)
    version = version or ("turbo" if turbo else "base")
    depth = {"num_hidden_layers": 2} if shallow else {}  # one that sees a window, one that sees all
    layers = 1 if shallow else 2
    components = {
        "dit": diffusers.AceStepTransformer1DModel(**dit_config(xl) | depth, is_turbo=turbo, model_version=version),
        "condition": ace_step_modules.AceStepConditionEncoder(
            **_ENCODER,
            text_hidden_dim=TEXT,
            timbre_hidden_dim=LATENT,
            num_lyric_encoder_hidden_layers=layers,
            num_timbre_encoder_hidden_layers=layers,
        ),
        "tokenizer": ace_step_modules.AceStepAudioTokenizer(**_CODES, fsq_dim=CONDITION, fsq_input_levels=list(LEVELS)),
        "detokenizer": ace_step_modules.AceStepAudioTokenDetokenizer(**_CODES),
        "vae": _vae(),
        "text": transformers.Qwen3Model(_qwen3(TEXT, len(tiny_tokenizer(0)))),
    }
    for component in components.values():
        _perturbed(component)
    components["condition"].silence_latent = 0.3 * torch.randn(1, 15_000, LATENT)
    return components


def dit_config(xl: bool = False) -> dict[str, Any]:
    """Arguments of the tiny transformer; XL is wider and deeper than its condition encoder."""
    size = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 4, "num_attention_heads": 6}
    plain = {
        "hidden_size": CONDITION,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    return (
        _ATTENTION
        | (size if xl else plain)
        | {
            "in_channels": 3 * LATENT,
            "audio_acoustic_hidden_dim": LATENT,
            "patch_size": PATCH,
            "encoder_hidden_size": CONDITION,
        }
    )


def published_config(kind: str, xl: bool) -> dict[str, Any]:
    """A config as published: one table for transformer, encoders and codes; XL writes its encoders' sizes apart."""
    dit = dit_config(xl)
    layers = dit["num_hidden_layers"]
    config = dit | {
        "model_type": "acestep",
        "architectures": ["AceStepConditionGenerationModel"],
        "auto_map": {"AutoModel": "modeling_acestep_v15_turbo.AceStepConditionGenerationModel"},
        "is_turbo": kind == "turbo",
        "model_version": kind,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": True,
        "layer_types": [("sliding_attention", "full_attention")[i % 2] for i in range(layers)],
        "text_hidden_dim": TEXT,
        "timbre_hidden_dim": LATENT,
        "timbre_fix_frame": 750,
        "num_lyric_encoder_hidden_layers": 2,
        "num_timbre_encoder_hidden_layers": 2,
        "num_attention_pooler_hidden_layers": 2,
        "pool_window_size": POOL,
        "fsq_dim": CONDITION,
        "fsq_input_levels": list(LEVELS),
        "fsq_input_num_quantizers": 1,
    }
    del config["encoder_hidden_size"]
    if xl:
        config |= {f"encoder_{name}": _ENCODER[name] for name in ("hidden_size", "intermediate_size")}
        config |= {f"encoder_{name}": _ENCODER[name] for name in ("num_attention_heads", "num_key_value_heads")}
    return config


def published_tensors(components: dict[str, nn.Module]) -> tuple[dict[str, Tensor], Tensor]:
    """(every weight under the reference's names, the silence latent [1, frames, channels])."""
    found: dict[str, Tensor] = {}
    silence = components["condition"].silence_latent
    homes = {"dit": "decoder", "condition": "encoder", "tokenizer": "tokenizer", "detokenizer": "detokenizer"}
    for component, home in homes.items():
        for name, tensor in components[component].state_dict().items():
            if name == "silence_latent":
                continue
            key = "null_condition_emb" if name == "null_condition_emb" else f"{home}.{published_name(name)}"
            found[key] = tensor.contiguous().clone()
    return found, silence


def published_name(name: str) -> str:
    """diffusers' name of a weight in the reference's words."""
    name = re.sub(r"\bto_([qkv])\b", r"\1_proj", name)
    name = re.sub(r"\bto_out\.0\b", "o_proj", name)
    name = re.sub(r"\bnorm_([qk])\b", r"\1_norm", name)
    return re.sub(r"\bproj_(in|out)_conv\b", r"proj_\1.1", name)


def _save(folder: Path, tensors: dict[str, Tensor], sharded: bool) -> None:
    if not sharded:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in halves.items():
        save_file({key: tensors[key] for key in keys}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: file for file, keys in halves.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _vae() -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        return diffusers.AutoencoderOobleck(**VAE)


def _qwen3(width: int, words: int, **more: Any) -> Qwen3Config:
    return transformers.Qwen3Config(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=4096,
        **more,
    )


@torch.no_grad()
def _perturbed(module: nn.Module) -> Any:
    """The module with every weight moved a little, ready for inference; norms and gates no longer ones and zeros."""
    for name, weight in module.named_parameters():
        scale = 0.02 if "weight_v" in name else 0.1
        weight.add_(scale * torch.randn_like(weight))
    return module.requires_grad_(False).eval()
