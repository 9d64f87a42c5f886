"""ACE-Step v1's transformer once more, from its formulas: NumPy in float64, one head and one position at a time.

Nothing of ours is used but the numbers of a state dict by their published names. It is slow, and shaped otherwise on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from acestep_lab.engines.ace_v1.geometry import V1Config

Array = NDArray[np.float64]


class Formulas:
    """The formulas with one model's weights; every method is of one item, without padding."""

    def __init__(self, state: Mapping[str, object], config: V1Config):
        self.config = config
        self.of = {name: np.asarray(tensor, dtype=np.float64) for name, tensor in state.items()}

    def linear(self, name: str, x: Array) -> Array:
        found = x @ self.of[f"{name}.weight"].reshape(len(self.of[f"{name}.weight"]), -1).T
        return found + self.of[f"{name}.bias"] if f"{name}.bias" in self.of else found

    def rotation(self, position: int) -> Array:
        """The matrix that turns a head at this position: pairs of neighbours, angles half after half."""
        size = self.config.attention_head_dim
        angles = [position * self.config.rope_theta ** (-2.0 * (i % (size // 2)) / size) for i in range(size)]
        matrix = np.zeros((size, size))
        for i in range(0, size, 2):
            matrix[i, i], matrix[i, i + 1] = np.cos(angles[i]), -np.sin(angles[i])
            matrix[i + 1, i + 1], matrix[i + 1, i] = np.cos(angles[i + 1]), np.sin(angles[i + 1])
        return matrix

    def heads(self, name: str, x: Array, turn: bool) -> list[Array]:
        """Of each head its [positions, head], turned or not."""
        size = self.config.attention_head_dim
        split = np.split(self.linear(name, x), self.config.num_attention_heads, axis=-1)
        turns = [self.rotation(p) if turn else np.eye(size) for p in range(len(x))]
        return [np.stack([turns[p] @ head[p] for p in range(len(x))]) for head in split]

    def linear_attention(self, name: str, x: Array) -> Array:
        """Every frame's weighted mean over all frames, one by one: the square that linear attention avoids."""
        found = []
        parts = (self.heads(f"{name}.to_{which}", x, turn) for which, turn in (("q", True), ("k", True), ("v", False)))
        for query, key, value in zip(*parts, strict=True):
            rows = []
            for q in np.maximum(query, 0):
                weights = np.array([q @ k for k in np.maximum(key, 0)])
                rows.append(weights @ value / (weights.sum() + 1e-15))
            found.append(np.stack(rows))
        return self.linear(f"{name}.to_out.0", np.concatenate(found, -1))

    def cross_attention(self, name: str, x: Array, states: Array) -> Array:
        found = []
        queries, keys = self.heads(f"{name}.to_q", x, True), self.heads(f"{name}.to_k", states, True)
        for query, key, value in zip(queries, keys, self.heads(f"{name}.to_v", states, False), strict=True):
            found.append(softmax(query @ key.T / np.sqrt(query.shape[-1])) @ value)
        return self.linear(f"{name}.to_out.0", np.concatenate(found, -1))

    def network(self, name: str, x: Array) -> Array:
        wide = silu(self.linear(f"{name}.inverted_conv.conv", x))
        weight, bias = self.of[f"{name}.depth_conv.conv.weight"][:, 0], self.of[f"{name}.depth_conv.conv.bias"]
        mixed = np.zeros_like(wide)
        for frame in range(len(wide)):
            for tap in (-1, 0, 1):
                if 0 <= frame + tap < len(wide):
                    mixed[frame] += weight[:, tap + 1] * wide[frame + tap]
        kept, gate = np.split(mixed + bias, 2, axis=-1)
        return self.linear(f"{name}.point_conv.conv", kept * silu(gate))

    def block(self, index: int, x: Array, states: Array, time: Array) -> Array:
        name = f"transformer_blocks.{index}"
        table = self.of[f"{name}.scale_shift_table"] + time.reshape(6, -1)
        x = x + table[2] * self.linear_attention(f"{name}.attn", rms(x) * (1 + table[1]) + table[0])
        x = x + self.cross_attention(f"{name}.cross_attn", x, states)
        return x + table[5] * self.network(f"{name}.ff", rms(x) * (1 + table[4]) + table[3])

    def tokens(self, latent: Array) -> Array:
        """A latent [channels, rows, frames] → [frames, dim]."""
        name, groups = "proj_in.early_conv_layers", self.config.patch_groups
        image = np.einsum("ochw,chf->of", self.of[f"{name}.0.weight"], latent) + self.of[f"{name}.0.bias"][:, None]
        normed = np.concatenate([(g - g.mean()) / np.sqrt(g.var() + 1e-6) for g in np.split(image, groups)])
        normed = normed * self.of[f"{name}.1.weight"][:, None] + self.of[f"{name}.1.bias"][:, None]
        return self.linear(f"{name}.2", normed.T)

    def embedded_time(self, t: float) -> Array:
        half = self.config.timestep_channels // 2
        angles = np.array([1000 * t * 10_000.0 ** (-i / half) for i in range(half)])
        waves = np.concatenate((np.cos(angles), np.sin(angles)))
        return self.linear("timestep_embedder.linear_2", silu(self.linear("timestep_embedder.linear_1", waves)))

    def final(self, x: Array, embedded: Array) -> Array:
        """[frames, dim] → a latent [channels, rows, frames]."""
        shift, scale = self.of["final_layer.scale_shift_table"] + embedded
        numbers = self.linear("final_layer.linear", rms(x) * (1 + scale) + shift)
        latent = np.zeros((self.config.out_channels, self.config.max_height, len(x)))
        for frame, row in enumerate(numbers):
            for at, value in enumerate(row):
                latent[at % self.config.out_channels, at // self.config.out_channels, frame] = value
        return latent

    def velocity(self, latent: Array, t: float, states: Array) -> Array:
        embedded = self.embedded_time(t)
        x = self.tokens(latent)
        for index in range(self.config.num_layers):
            x = self.block(index, x, states, self.linear("t_block.1", silu(embedded)))
        return self.final(x, embedded)

    def lyrics(self, ids: Array) -> Array:
        """Tokens → what the conformer makes of them [tokens, lyric size]."""
        x = self.linear("lyric_encoder.embed.out.0", self.of["lyric_embs.weight"][ids.astype(int)])
        x = self.norm("lyric_encoder.embed.out.1", x) * np.sqrt(self.config.lyric_hidden_size)
        for index in range(self.config.lyric_layers):
            name = f"lyric_encoder.encoders.{index}"
            x = x + self.relative_attention(f"{name}.self_attn", self.norm(f"{name}.norm_mha", x))
            inner = silu(self.linear(f"{name}.feed_forward.w_1", self.norm(f"{name}.norm_ff", x)))
            x = x + self.linear(f"{name}.feed_forward.w_2", inner)
        return self.norm("lyric_encoder.after_norm", x)

    def relative_attention(self, name: str, x: Array) -> Array:
        """Each score by itself: content plus distance, the distance's waves made where they are needed."""
        heads, length, found = self.config.lyric_heads, len(x), []
        query, key, value = (np.split(self.linear(f"{name}.linear_{w}", x), heads, axis=-1) for w in ("q", "k", "v"))
        for h in range(heads):
            scores = np.zeros((length, length))
            for i in range(length):
                for j in range(length):
                    place = np.split(self.linear(f"{name}.linear_pos", self.waves(i - j)), heads)[h]
                    u, v = self.of[f"{name}.pos_bias_u"][h], self.of[f"{name}.pos_bias_v"][h]
                    scores[i, j] = (query[h][i] + u) @ key[h][j] + (query[h][i] + v) @ place
            found.append(softmax(scores / np.sqrt(query[h].shape[-1])) @ value[h])
        return self.linear(f"{name}.linear_out", np.concatenate(found, -1))

    def waves(self, distance: int) -> Array:
        size = self.config.lyric_hidden_size
        angles = [distance * 10_000.0 ** (-(i - i % 2) / size) for i in range(size)]
        return np.array([np.cos(a) if i % 2 else np.sin(a) for i, a in enumerate(angles)])

    def norm(self, name: str, x: Array) -> Array:
        normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return normed * self.of[f"{name}.weight"] + self.of[f"{name}.bias"]

    def encode(self, text: Array, speaker: Array, ids: Array) -> Array:
        rows = (self.linear("speaker_embedder", speaker[None]), self.linear("genre_embedder", text))
        return np.concatenate((*rows, self.linear("lyric_proj", self.lyrics(ids))))


def silu(x: Array) -> Array:
    return x / (1 + np.exp(-x))


def rms(x: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
