"""The four models that are trained together: text encoder, condition encoder, transformer, and the frozen code pair.

`Parts.conditions` computes what the pipeline computes, with one short cut: the timbre encoder's answer is its first frame
alone, so only that frame's row of the attention is worked out.
"""

from __future__ import annotations

import torch
from diffusers import AceStepTransformer1DModel
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.ace_step_transformer import _ace_step_rotary_freqs
from diffusers.pipelines.ace_step.modeling_ace_step import AceStepConditionEncoder, _pack_sequences
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3Config, Qwen3Model

from acestep_lab.train.pocket.config import Shapes


def timbre_row(encoder: nn.Module, latents: Tensor) -> Tensor:
    """What `AceStepTimbreEncoder` with one layer says of reference latents [items, frames, channels]: [items, width]."""
    (layer,) = encoder.layers
    attention = layer.self_attn
    hidden = encoder.embed_tokens(latents)
    normed = layer.input_layernorm(hidden)
    query = attention.norm_q(attention.to_q(normed[:, :1]).unflatten(-1, (attention.heads, -1)))
    key = attention.norm_k(attention.to_k(normed).unflatten(-1, (attention.kv_heads, -1)))
    value = attention.to_v(normed).unflatten(-1, (attention.kv_heads, -1))
    waves = _ace_step_rotary_freqs(key.shape[1], encoder.head_dim, encoder.rope_theta, key.device, key.dtype)
    key = apply_rotary_emb(key, waves, use_real=True, use_real_unbind_dim=-2, sequence_dim=1)
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    heard = functional.scaled_dot_product_attention(
        query, key.to(query.dtype), value.to(query.dtype), scale=attention.scaling, enable_gqa=True
    )
    hidden = hidden[:, 0] + attention.to_out[0](heard.transpose(1, 2).flatten(2))[:, 0]
    return encoder.norm(hidden + layer.mlp(layer.post_attention_layernorm(hidden)))


def let_noise_through(dit: nn.Module, shapes: Shapes) -> None:
    """Start as a transformer that answers "all of it is noise": x_t has channels of its own from input to output.

    The velocity contains the noise itself, whole. A model that has to find that out first loses a thousand steps, and one
    whose tokens are as wide as their noise never does.
    """
    channels, frames = shapes.latent_channels, torch.arange(shapes.patch)
    for channel in range(channels):
        lane = frames * channels + channel
        dit.proj_in_conv.weight[lane] = 0
        dit.proj_in_conv.weight[lane, 2 * channels + channel, frames] = 1
        dit.proj_out_conv.weight[:, channel].mul_(0.1)
        dit.proj_out_conv.weight[lane, channel, frames] = (
            0.75  # about the length of a token's state before the last norm
        )
    for layer in dit.layers:
        for last in (layer.self_attn.to_out[0], layer.mlp.down_proj):
            last.weight.mul_(0.3)


class Parts(nn.Module):
    """Text encoder, condition encoder and transformer, trained as one."""

    def __init__(self, shapes: Shapes, vocabulary: int, silence: Tensor) -> None:
        super().__init__()
        self.shapes = shapes
        self.text = Qwen3Model(Qwen3Config(**shapes.text_config(vocabulary)))
        self.condition = AceStepConditionEncoder(**shapes.condition_config())
        self.dit = AceStepTransformer1DModel(**shapes.dit_config())
        self.condition.silence_latent.copy_(silence)
        with torch.no_grad():
            self.condition.null_condition_emb.mul_(0.5)
            let_noise_through(self.dit, shapes)

    def silence(self, frames: int) -> Tensor:
        """The timed silence, [frames, channels]."""
        return self.condition.silence_latent[0, :frames]

    def tell(self, texts: dict[str, Tensor]) -> Tensor:
        """The states of prompts, [items, tokens, width]."""
        return self.condition.text_projector(self.text(input_ids=texts["input_ids"]).last_hidden_state)

    def conditions(
        self,
        texts: dict[str, Tensor],
        lyrics: dict[str, Tensor],
        references: dict[int, Tensor],
        told: Tensor | None = None,
    ) -> Tensor:
        """What the transformer listens to, [items, tokens, width]; `references` holds latents for some of the items."""
        told = self.tell(texts) if told is None else told
        sung_mask = lyrics["attention_mask"].bool()
        sung = self.condition.lyric_encoder(self.text.get_input_embeddings()(lyrics["input_ids"]), sung_mask)
        timbre = self._timbres(len(told), references)[:, None].to(sung.dtype)
        packed, mask = _pack_sequences(sung, timbre, sung_mask, sung_mask.new_ones(len(told), 1))
        return _pack_sequences(packed, told.to(packed.dtype), mask, texts["attention_mask"].bool())[0]

    def _timbres(self, items: int, references: dict[int, Tensor]) -> Tensor:
        encoder = self.condition.timbre_encoder
        quiet = timbre_row(encoder, self.silence(self.shapes.timbre_frames)[None])
        rows = [quiet[0]] * items
        for item, latents in references.items():
            rows[item] = timbre_row(encoder, latents[None])[0]
        return torch.stack(rows)

    def null(self, like: Tensor) -> Tensor:
        """The condition that says nothing, as long as `like`."""
        return self.condition.null_condition_emb.to(like.dtype).expand_as(like)

    def velocity(self, noisy: Tensor, time: Tensor, heard: Tensor, context: Tensor) -> Tensor:
        """The transformer's answer, [items, frames, channels]."""
        return self.dit(noisy, time, time, heard, context, return_dict=False)[0]
