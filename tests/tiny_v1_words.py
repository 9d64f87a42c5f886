"""What reads the words of a tiny ACE-Step v1: a vocabulary with the published signs and single letters, and a random UMT5."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from acestep_lab._libraries import transformers
from tests.tiny_musicgen import TEXTS, tiny_t5_tokenizer

SIGNS = {
    "[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[en]": 259, "[de]": 260, "[START]": 261, "[fr]": 262, "[ru]": 267, "[es]": 284,
    "[it]": 285, "[pt]": 286, "[cs]": 293, "[pl]": 294, "[tr]": 295, "[nl]": 297, "[ar]": 5022, "[zh-cn]": 5023, "[ja]": 5412,
    "[hu]": 5753, "[ko]": 6152, "[hi]": 6680, "[start]": 6681, "[intro]": 6682, "[verse]": 6683, "[chorus]": 6684,
    "[bridge]": 6685, "[outro]": 6686, "[end]": 6687, "[inst]": 6688, "[solo]": 6689, "[hook]": 6690, "[pre-chorus]": 6691,
    "[break]": 6692,
}  # fmt: skip
"""The published vocabulary's signs and their places."""
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789',.-?!éñüабвгдеклмнопрстуяुतमहमैंन"


def tiny_vocabulary(file: Path, without: str = "", **moved: int) -> Path:
    """Write a lyric vocabulary; `without` one sign, or with some signs at other places."""
    letters = {letter: place for place, letter in enumerate(dict.fromkeys(LETTERS), 3)}
    signs = {sign: place for sign, place in SIGNS.items() if sign != without}
    signs |= {f"[{name}]": place for name, place in moved.items()}
    added = [
        {"id": place, "content": sign, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False} for sign, place in sorted(signs.items(), key=lambda one: one[1])
    ]  # fmt: skip
    model = {"type": "BPE", "unk_token": "[UNK]", "fuse_unk": False, "vocab": letters | signs, "merges": []}
    file.parent.mkdir(parents=True, exist_ok=True)
    table = {"version": "1.0", "added_tokens": added, "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    file.write_text(json.dumps(table), encoding="utf-8")
    return file


def tiny_umt5(folder: Path, layers: int = 12, seed: int = 0) -> Path:
    """Write a random text encoder in the published layout; the folder comes back."""
    torch.manual_seed(seed)
    config = transformers.UMT5Config(
        vocab_size=TEXTS, d_model=16, d_kv=8, d_ff=16, num_layers=layers, num_heads=2, is_encoder_decoder=False
    )
    model = transformers.UMT5EncoderModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tiny_t5_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
