"""The lyric encoder of ACE-Step v1: a conformer of attention with relative positions and a feed-forward, and nothing else.

Of what a conformer may have it has no convolution and no second feed-forward; every token sees every other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from acestep_lab.engines.ace_v1.geometry import V1Config


def relative_positions(length: int, dim: int, like: Tensor) -> Tensor:
    """Sines and cosines of every distance between two of `length` tokens, from length - 1 down to 1 - length:
    [2 * length - 1, dim], in the dtype and on the device of `like`.
    """
    distances = torch.arange(length - 1, -length, -1, dtype=torch.float32, device=like.device)
    exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=like.device)
    angles = distances[:, None] * torch.exp(exponents * -(math.log(10_000.0) / dim))
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1).to(like.dtype)


def by_distance(scores: Tensor, length: int) -> Tensor:
    """Scores of a token with every distance [..., length, 2 * length - 1] as scores with every token [..., length, length]."""
    rows = nn.functional.pad(scores, (1, 0)).flatten(-2)[..., length:]
    return rows.unflatten(-1, (length, 2 * length - 1))[..., :length]


class RelativeAttention(nn.Module):
    """Softmax attention whose scores have a share of content and a share of distance (Transformer-XL)."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(dim, dim) for _ in range(4))
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, dim // heads))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, tokens: Tensor, distances: Tensor, silent: Tensor) -> Tensor:
        """[batch, tokens, dim] → the same; `silent` [batch, 1, 1, tokens] is true for tokens nobody looks at."""
        query, key, value, place = (
            layer(of).unflatten(-1, (self.heads, -1))
            for layer, of in (
                (self.linear_q, tokens), (self.linear_k, tokens), (self.linear_v, tokens), (self.linear_pos, distances)
            )
        )  # fmt: skip
        content = (query + self.pos_bias_u).transpose(1, 2) @ key.permute(0, 2, 3, 1)
        distance = by_distance((query + self.pos_bias_v).transpose(1, 2) @ place.permute(1, 2, 0), silent.shape[-1])
        scores = (content + distance) / math.sqrt(query.shape[-1])
        weights = scores.masked_fill(silent, -torch.inf).softmax(-1).masked_fill(silent, 0.0)
        return self.linear_out((weights @ value.transpose(1, 2)).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two layers with a SiLU between them."""

    def __init__(self, dim: int, inner: int, dropout: float):
        super().__init__()
        self.w_1, self.w_2, self.dropout = nn.Linear(dim, inner), nn.Linear(inner, dim), nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens, dim] → the same."""
        return self.w_2(self.dropout(nn.functional.silu(self.w_1(tokens))))


class LyricLayer(nn.Module):
    """Attention, then feed-forward, each behind its norm and added to what came in."""

    def __init__(self, config: V1Config):
        super().__init__()
        dim = config.lyric_hidden_size
        self.self_attn = RelativeAttention(dim, config.lyric_heads)
        self.feed_forward = FeedForward(dim, config.lyric_feed_forward, config.lyric_dropout)
        self.norm_mha, self.norm_ff = nn.LayerNorm(dim, eps=1e-5), nn.LayerNorm(dim, eps=1e-5)
        self.dropout = nn.Dropout(config.lyric_dropout)

    def forward(self, tokens: Tensor, distances: Tensor, silent: Tensor) -> Tensor:
        """[batch, tokens, dim] → the same."""
        tokens = tokens + self.dropout(self.self_attn(self.norm_mha(tokens), distances, silent))
        return tokens + self.dropout(self.feed_forward(self.norm_ff(tokens)))


class LyricEmbed(nn.Module):
    """What stands before the layers: one linear layer with a norm, and the table of distances."""

    def __init__(self, config: V1Config):
        super().__init__()
        self.dim, dropout = config.lyric_hidden_size, config.lyric_dropout
        self.out = nn.Sequential(nn.Linear(self.dim, self.dim), nn.LayerNorm(self.dim, eps=1e-5), nn.Dropout(dropout))
        self.dropout = nn.Dropout(dropout)

    def forward(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded tokens [batch, tokens, dim] → the same, and the distances [2 * tokens - 1, dim]."""
        tokens = self.out(embedded) * math.sqrt(self.dim)
        distances = relative_positions(embedded.shape[1], self.dim, tokens)
        return self.dropout(tokens), self.dropout(distances)


class LyricEncoder(nn.Module):
    """Embedded lyric tokens to states that know each other. A padded item comes out as it does alone."""

    def __init__(self, config: V1Config):
        super().__init__()
        self.embed = LyricEmbed(config)
        self.encoders = nn.ModuleList(LyricLayer(config) for _ in range(config.lyric_layers))
        self.after_norm = nn.LayerNorm(config.lyric_hidden_size, eps=1e-5)
        self.gradient_checkpointing = False

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """[batch, tokens, dim] → the same; `mask` [batch, tokens] has 0 for padding (all of it zero: words nobody sings)."""
        silent = (mask == 0)[:, None, None]
        tokens, distances = self.embed(embedded)
        for layer in self.encoders:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(layer, tokens, distances, silent, use_reentrant=False)
            else:
                tokens = layer(tokens, distances, silent)
        return self.after_norm(tokens)
