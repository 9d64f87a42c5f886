"""The three components that are trained together: text encoder, condition encoder and transformer.

`Components.conditions` computes what the pipeline computes, with one short cut: the timbre encoder's output is its first frame
alone, so only that frame's row of the attention is computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab._libraries import ace_step_modules, ace_step_transformer, diffusers, diffusers_embeddings, transformers
from acestep_lab.train.pocket.config import PocketConfig


def timbre_embedding(encoder: Any, latents: Tensor) -> Tensor:
    """The output [items, width] of a one-layer `AceStepTimbreEncoder` for reference latents [items, frames, channels]."""
    (layer,) = encoder.layers
    attention = layer.self_attn
    hidden = encoder.embed_tokens(latents)
    normed = layer.input_layernorm(hidden)
    query = attention.norm_q(attention.to_q(normed[:, :1]).unflatten(-1, (attention.heads, -1)))
    key: Any = attention.norm_k(attention.to_k(normed).unflatten(-1, (attention.kv_heads, -1)))
    value = attention.to_v(normed).unflatten(-1, (attention.kv_heads, -1))
    rotary: Any = ace_step_transformer._ace_step_rotary_freqs(
        key.shape[1], encoder.head_dim, encoder.rope_theta, key.device, key.dtype
    )
    key = diffusers_embeddings.apply_rotary_emb(key, rotary, use_real=True, use_real_unbind_dim=-2, sequence_dim=1)
    query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    attended = functional.scaled_dot_product_attention(
        query, key.to(query.dtype), value.to(query.dtype), scale=attention.scaling, enable_gqa=True
    )
    hidden = hidden[:, 0] + attention.to_out[0](attended.transpose(1, 2).flatten(2))[:, 0]
    embedding: Tensor = encoder.norm(hidden + layer.mlp(layer.post_attention_layernorm(hidden)))
    return embedding


def init_noise_passthrough(dit: Any, config: PocketConfig) -> None:
    """Initialise a transformer to predict that all of x_t is noise: x_t gets channels of its own from input to output; in place.

    The velocity contains the noise itself, whole. A model that has to find that out first loses a thousand steps, and one
    whose tokens are as wide as their noise never does.
    """
    channels, frames = config.latent_channels, torch.arange(config.patch)
    for channel in range(channels):
        lane = frames * channels + channel
        dit.proj_in_conv.weight[lane] = 0
        dit.proj_in_conv.weight[lane, 2 * channels + channel, frames] = 1
        dit.proj_out_conv.weight[:, channel].mul_(0.1)
        # 0.75: about the length of a token's state before the last norm
        dit.proj_out_conv.weight[lane, channel, frames] = 0.75
    for layer in dit.layers:
        for last in (layer.self_attn.to_out[0], layer.mlp.down_proj):
            last.weight.mul_(0.3)


class Components(nn.Module):
    """Text encoder, condition encoder and transformer, trained as one."""

    def __init__(self, config: PocketConfig, vocabulary: int, silence: Tensor) -> None:
        super().__init__()
        self.config = config
        self.text: Any = transformers.Qwen3Model(transformers.Qwen3Config(**config.text_config(vocabulary)))
        self.condition: Any = ace_step_modules.AceStepConditionEncoder(**config.condition_config())
        self.dit: Any = diffusers.AceStepTransformer1DModel(**config.dit_config())
        self.condition.silence_latent.copy_(silence)
        with torch.no_grad():
            self.condition.null_condition_emb.mul_(0.5)
            init_noise_passthrough(self.dit, config)

    def silence(self, frames: int) -> Tensor:
        """The timed silence, [frames, channels]."""
        silence: Tensor = self.condition.silence_latent[0, :frames]
        return silence

    def encode_text(self, texts: dict[str, Tensor]) -> Tensor:
        """The projected states of tokenized prompts, [items, tokens, width]."""
        states: Tensor = self.condition.text_projector(self.text(input_ids=texts["input_ids"]).last_hidden_state)
        return states

    def conditions(
        self,
        texts: dict[str, Tensor],
        lyrics: dict[str, Tensor],
        references: dict[int, Tensor],
        text_states: Tensor | None = None,
    ) -> Tensor:
        """What the transformer attends to, [items, tokens, width]: lyrics, timbre, text.

        `references` holds timbre latents [frames, channels] for some of the items; the others get silence.
        """
        text_states = self.encode_text(texts) if text_states is None else text_states
        lyrics_mask = lyrics["attention_mask"].bool()
        lyric_states = self.condition.lyric_encoder(self.text.get_input_embeddings()(lyrics["input_ids"]), lyrics_mask)
        timbre = self._timbres(len(text_states), references)[:, None].to(lyric_states.dtype)
        packed, mask = ace_step_modules._pack_sequences(
            lyric_states, timbre, lyrics_mask, lyrics_mask.new_ones(len(text_states), 1)
        )
        return ace_step_modules._pack_sequences(
            packed, text_states.to(packed.dtype), mask, texts["attention_mask"].bool()
        )[0]

    def _timbres(self, items: int, references: dict[int, Tensor]) -> Tensor:
        encoder = self.condition.timbre_encoder
        silent = timbre_embedding(encoder, self.silence(self.config.timbre_frames)[None])
        rows = [silent[0]] * items
        for item, latents in references.items():
            rows[item] = timbre_embedding(encoder, latents[None])[0]
        return torch.stack(rows)

    def null(self, like: Tensor) -> Tensor:
        """The null condition for classifier-free guidance, in the shape of `like`."""
        null: Tensor = self.condition.null_condition_emb.to(like.dtype).expand_as(like)
        return null

    def velocity(self, noisy: Tensor, time: Tensor, conditions: Tensor, context: Tensor) -> Tensor:
        """The transformer's velocity, [items, frames, channels], at times [items]."""
        velocity: Tensor = self.dit(noisy, time, time, conditions, context, return_dict=False)[0]
        return velocity
