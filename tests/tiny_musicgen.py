"""Tiny random MusicGen checkpoints: small enough to write in a test, odd enough to catch constants.

The codec runs at 1600 Hz and 25 frames a second with codebooks of 32 codes, so that code which believes in 32 kHz, 50 Hz or 2048
fails here. Written by transformers' own classes in the published layout: one file for all components.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

from acestep_lab._libraries import transformers

RATE, RATIOS, WORDS, CHROMA = 1600, [4, 4, 4], 32, 12
FRAMES_PER_SECOND = 25
TEXTS = 64


def tiny_musicgen(folder: Path, *, melody: bool = False, stereo: bool = False, seed: int = 0) -> Path:
    """Write a random checkpoint; the folder comes back."""
    folder = Path(folder)
    model = tiny_model(melody=melody, stereo=stereo, seed=seed)
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "guidance_scale": 3.0, "max_length": 1500, "pad_token_id": WORDS})
    )
    tiny_t5_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def tiny_model(melody: bool = False, stereo: bool = False, seed: int = 0) -> Any:
    """The whole model as transformers has it."""
    torch.manual_seed(seed)
    text = transformers.T5Config(vocab_size=TEXTS, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    codec = transformers.EncodecConfig(
        sampling_rate=RATE, num_filters=4, hidden_size=16, upsampling_ratios=RATIOS, codebook_size=WORDS, codebook_dim=16,
        target_bandwidths=[0.5], use_causal_conv=False, use_conv_shortcut=False,
    )  # fmt: skip
    decoder = {
        "vocab_size": WORDS, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 48,
        "num_codebooks": 8 if stereo else 4, "audio_channels": 2 if stereo else 1, "pad_token_id": WORDS, "bos_token_id": WORDS,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        if melody:
            config: Any = transformers.MusicgenMelodyConfig(
                text_encoder=text.to_dict(), audio_encoder=codec.to_dict(),
                decoder=transformers.MusicgenMelodyDecoderConfig(**decoder).to_dict(), chroma_length=CHROMA,
            )  # fmt: skip
            model: Any = transformers.MusicgenMelodyForConditionalGeneration(config)
        else:
            config = transformers.MusicgenConfig(
                text_encoder=text.to_dict(),
                audio_encoder=codec.to_dict(),
                decoder=transformers.MusicgenDecoderConfig(**decoder).to_dict(),
            )
            model = transformers.MusicgenForConditionalGeneration(config)
    model.generation_config.update(pad_token_id=WORDS, bos_token_id=WORDS, decoder_start_token_id=WORDS)
    return _perturbed(model)


def tiny_t5_tokenizer() -> Tokenizer:
    """Letters and a few words, with T5's end of text after every caption."""
    words = [
        "<pad>",
        "</s>",
        "<unk>",
        "dub",
        "techno",
        "slow",
        "bpm",
        *"abcdefghijklmnopqrstuvwxyz",
        *"0123456789",
        ",",
        "#",
    ]
    found = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return found


@torch.no_grad()
def _perturbed(model: nn.Module) -> Any:
    """The model with every weight and codebook moved, so that norms, tables and guidance matter."""
    for name, weight in model.named_parameters():
        weight.add_((0.02 if "original" in name else 0.3) * torch.randn_like(weight))
    for name, table in model.named_buffers():
        if name.endswith("codebook.embed"):
            table.copy_(torch.randn_like(table))
    return model.requires_grad_(False).eval()
