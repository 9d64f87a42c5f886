"""The size of the pocket checkpoint: every number its components are built from, and what follows from them.

The numbers were chosen for a file budget (all weights together at most 40 MB in half precision) and for a CPU that has to
train them. `latents_per_second` is the number that mattered most: 100 instead of the large models' 25 makes the autoencoder
easy to learn. `patch` frames make a token; patch · channels has to be well below the transformer's width, because noise has to
pass through it whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any


@dataclass(frozen=True)
class PocketConfig:
    """Rates and widths of every component; the defaults are the checkpoint that ships with the package."""

    rate: int = 24_000
    ratios: tuple[int, ...] = (120, 2)
    latent_channels: int = 32
    codes_per_second: int = 5
    code_levels: tuple[int, ...] = (8, 5, 5, 5)
    patch: int = 4
    text_width: int = 192
    condition_width: int = 192
    dit_width: int = 256
    dit_layers: int = 6
    code_width: int = 128
    lm_width: int = 160
    lm_layers: int = 4
    silence_frames: int = 15_000
    timbre_seconds: int = 30
    decoder_channels: int = 32
    channel_multiples: tuple[int, ...] = (4, 8)

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return prod(self.ratios)

    @property
    def latents_per_second(self) -> int:
        """Latent frames per second."""
        return self.rate // self.hop

    @property
    def pool(self) -> int:
        """Latent frames per audio code."""
        return self.latents_per_second // self.codes_per_second

    @property
    def codes(self) -> int:
        """Size of the codebook."""
        return prod(self.code_levels)

    @property
    def timbre_frames(self) -> int:
        """Latent frames of a timbre reference."""
        return self.timbre_seconds * self.latents_per_second

    def vae_config(self) -> dict[str, Any]:
        """Arguments of `AutoencoderOobleck`: mono, a long first stride, then a short one."""
        return {
            "encoder_hidden_size": 2 * self.latent_channels,
            "downsampling_ratios": list(self.ratios),
            "channel_multiples": list(self.channel_multiples),
            "decoder_channels": self.decoder_channels,
            "decoder_input_channels": self.latent_channels,
            "audio_channels": 1,
            "sampling_rate": self.rate,
        }

    def text_config(self, vocabulary: int) -> dict[str, Any]:
        """Arguments of `Qwen3Config` for the text encoder."""
        return qwen3(self.text_width, 2, 320, vocabulary, heads=4, positions=4096)

    def lm_config(self, vocabulary: int) -> dict[str, Any]:
        """Arguments of `Qwen3Config` for the planning language model."""
        return qwen3(self.lm_width, self.lm_layers, 448, vocabulary, heads=4, positions=4096)

    def dit_config(self) -> dict[str, Any]:
        """Arguments of `AceStepTransformer1DModel`; a base model, so that guidance works."""
        return {
            "hidden_size": self.dit_width,
            "intermediate_size": 3 * self.dit_width,
            "num_hidden_layers": self.dit_layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": self.dit_width // 4,
            "in_channels": 3 * self.latent_channels,
            "audio_acoustic_hidden_dim": self.latent_channels,
            "patch_size": self.patch,
            "rope_theta": 10_000.0,
            "sliding_window": 64,
            "encoder_hidden_size": self.condition_width,
            "is_turbo": False,
            "model_version": "base",
        }

    def condition_config(self) -> dict[str, Any]:
        """Arguments of `AceStepConditionEncoder`; the window covers the whole timbre clip, so one layer sees all of it."""
        return {
            "hidden_size": self.condition_width,
            "intermediate_size": 384,
            "text_hidden_dim": self.text_width,
            "timbre_hidden_dim": self.latent_channels,
            "num_lyric_encoder_hidden_layers": 2,
            "num_timbre_encoder_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": self.condition_width // 4,
            "rope_theta": 10_000.0,
            "sliding_window": self.timbre_frames,
        }

    def _pooler_config(self) -> dict[str, object]:
        return {
            "hidden_size": self.code_width,
            "intermediate_size": 3 * self.code_width,
            "audio_acoustic_hidden_dim": self.latent_channels,
            "pool_window_size": self.pool,
            "num_attention_pooler_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": self.code_width // 4,
            "rope_theta": 10_000.0,
            "sliding_window": 2 * self.pool,
        }

    def tokenizer_config(self) -> dict[str, Any]:
        """Arguments of `AceStepAudioTokenizer`: latents to codes."""
        return {**self._pooler_config(), "fsq_dim": self.code_width, "fsq_input_levels": list(self.code_levels)}

    def detokenizer_config(self) -> dict[str, Any]:
        """Arguments of `AceStepAudioTokenDetokenizer`: codes to latents."""
        return self._pooler_config()


def qwen3(width: int, layers: int, inner: int, vocabulary: int, *, heads: int, positions: int) -> dict[str, object]:
    """A small Qwen3: grouped attention with half as many key heads, tied embeddings."""
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": width // heads,
        "max_position_embeddings": positions,
        "tie_word_embeddings": True,
        "rope_theta": 10_000.0,
    }
