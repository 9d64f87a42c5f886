"""MusicGen as graphs: T5, the decoder with what it remembers as an argument, EnCodec in halves. Knows onnx by contract only.

The decoder's graph reads a whole prompt or writes one column: it takes any number of new columns and of remembered ones, none
included. What it listens to is worked out once by a graph of its own: keys and values of the words, or, where a melody is
followed, the states that stand before the music.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab.engines.musicgen.checkpoint import Checkpoint
from acestep_lab.engines.musicgen.chroma import PITCH_CLASSES
from acestep_lab.engines.musicgen.codec import halves
from acestep_lab.models.onnx_export import OnnxGraph, OnnxParts, Slot

FAMILY = "musicgen"
POSITIONS = 4096
"""Columns that the decoder's table of sines reaches to: a window, a melody and the words before it."""
HIDDEN = -1e4
"""Added to scores of what is not to be heard: nothing after a softmax, and a number in half precision too."""
FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def parts(checkpoint: Checkpoint, codec_mark: str) -> OnnxParts:
    """All that an export of a checkpoint consists of."""
    graphs = (*_text(checkpoint), *_decoder(checkpoint), *_codec(checkpoint))
    files: dict[str, Path] = {name: checkpoint.folder / name for name in FILES if (checkpoint.folder / name).is_file()}
    facts = {"codec_mark": codec_mark, "row": checkpoint.row.name if checkpoint.row else ""}
    return OnnxParts(FAMILY, checkpoint.name, graphs, files, facts=facts)


def _draws(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def _ids(words: int, *shape: int) -> Tensor:
    return torch.randint(words, shape, generator=torch.Generator().manual_seed(sum(shape)))


# --- words --------------------------------------------------------------------------------------------------------------


class TextGraph(nn.Module):
    """Token ids and mask `[items, tokens]` → T5's states `[items, tokens, width]`."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        return states


def _text(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    words, axes = int(checkpoint.config_of("text")["vocab_size"]), {0: "items", 1: "tokens"}

    def example(items: int, tokens: int) -> tuple[Tensor, ...]:
        mask = torch.ones(items, tokens, dtype=torch.long)
        mask[0, tokens // 2 :] = 0
        return _ids(words, items, tokens), mask

    yield OnnxGraph(
        "text_encoder", "text", lambda: TextGraph(checkpoint.build("text", torch.float32)),
        (Slot("ids", axes), Slot("mask", axes)), (Slot("states", axes),), lambda: (example(2, 7), example(3, 12)), "legacy",
    )  # fmt: skip


# --- the decoder --------------------------------------------------------------------------------------------------------


class WordsGraph(nn.Module):
    """T5's states `[rows, words, width]` and mask `[rows, words]` → each layer's keys and values of them
    `[layers, rows, heads, words, width]`; a row without words hears zeros.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        states = self.decoder.words(text) * mask[..., None]
        layers = [layer.encoder_attn for layer in self.decoder.decoder.model.decoder.layers]
        keys = [_heads(layer.k_proj(states), layer.head_dim) for layer in layers]
        values = [_heads(layer.v_proj(states), layer.head_dim) for layer in layers]
        return torch.stack(keys), torch.stack(values)


class MelodyGraph(nn.Module):
    """Words as above and a melody `[rows, frames, pitch classes]` → the states that stand before the music."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, text: Tensor, mask: Tensor, chroma: Tensor) -> Tensor:
        return torch.cat([self.decoder.melody(chroma), self.decoder.words(text) * mask[..., None]], dim=1)


class ColumnGraph(nn.Module):
    """New columns `[rows, codebooks, columns]` and what is remembered `[layers, rows, heads, past, width]` → logits of the next
    column `[rows, codebooks, words]`, and the new keys and values.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.inner, self.heads = decoder.decoder.model.decoder, decoder.decoder.lm_heads
        positions = self.inner.embed_positions
        positions.make_weights(POSITIONS, positions.embedding_dim)
        self.register_buffer("sines", positions.weights.float())

    def _embedded(self, columns: Tensor) -> Tensor:
        tables = self.inner.embed_tokens
        return sum(
            (table(columns[:, place]) for place, table in enumerate(tables)), torch.zeros(())
        )  # [rows, columns, width]

    def _through(
        self, state: Tensor, past_keys: Tensor, past_values: Tensor, cross: Callable[[int, Any, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        new, past = state.shape[1], past_keys.shape[3]
        sines: Tensor = self.sines  # type: ignore[assignment]
        state = state + sines[past + torch.arange(new, device=state.device)]
        visible = torch.arange(past + new)[None] <= past + torch.arange(new)[:, None]  # [new, past + new]
        keys, values = [], []
        for index, layer in enumerate(self.inner.layers):
            own, heard = layer.self_attn, layer.self_attn_layer_norm(state)
            query, key, value = (_heads(part(heard), own.head_dim) for part in (own.q_proj, own.k_proj, own.v_proj))
            mixed = F.scaled_dot_product_attention(
                query, torch.cat([past_keys[index], key], dim=2), torch.cat([past_values[index], value], dim=2), visible
            )
            state = cross(index, layer, state + own.out_proj(_flat(mixed)))
            state = state + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(state))))
            keys.append(key)
            values.append(value)
        last = self.inner.layer_norm(state)[:, -1]
        return torch.stack([head(last) for head in self.heads], dim=1), torch.stack(keys), torch.stack(values)


class WordsDecoderGraph(ColumnGraph):
    """The decoder that looks at words by cross-attention: their mask, keys and values come along."""

    def forward(
        self,
        columns: Tensor,
        mask: Tensor,
        word_keys: Tensor,
        word_values: Tensor,
        past_keys: Tensor,
        past_values: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        hidden = (1 - mask[:, None, None].float()) * HIDDEN

        def cross(index: int, layer: Any, state: Tensor) -> Tensor:
            other = layer.encoder_attn
            query = _heads(other.q_proj(layer.encoder_attn_layer_norm(state)), other.head_dim)
            mixed = F.scaled_dot_product_attention(query, word_keys[index], word_values[index], hidden)
            return state + other.out_proj(_flat(mixed))

        return self._through(self._embedded(columns), past_keys, past_values, cross)


class MelodyDecoderGraph(ColumnGraph):
    """The decoder before whose music its conditions `[rows, states, width]` stand; none once they have been read."""

    def forward(
        self, columns: Tensor, before: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        state = torch.cat([before, self._embedded(columns)], dim=1)
        return self._through(state, past_keys, past_values, lambda index, layer, state: state)


def _heads(x: Tensor, width: int) -> Tensor:
    return x.unflatten(-1, (-1, width)).transpose(1, 2)  # [rows, heads, columns, width]


def _flat(mixed: Tensor) -> Tensor:
    return mixed.transpose(1, 2).flatten(2)


def _decoder(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    config, shape = checkpoint.config_of("decoder"), checkpoint.shape
    width = int(config["hidden_size"])
    layers, heads = int(config["num_hidden_layers"]), int(config["num_attention_heads"])
    text_width = int(checkpoint.config_of("text")["d_model"])
    make = partial(checkpoint.build, "decoder", torch.float32)

    def words(rows: int, count: int) -> tuple[Tensor, Tensor]:
        mask = torch.ones(rows, count, dtype=torch.long)
        mask[-1] = 0
        return _draws(count)(rows, count, text_width), mask

    def memory(rows: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
        draw = _draws(seed)
        both = [draw(layers, rows, heads, count, width // heads) for _ in range(2)]
        return both[0], both[1]

    def columns(rows: int, count: int) -> Tensor:
        return _ids(shape.words, rows, shape.codebooks, count)

    def words_memory(rows: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
        keys, values = memory(rows, count, seed)
        keys[:, -1], values[:, -1] = 0, 0  # of a row without words
        return keys, values

    heard = {0: "rows", 1: "words"}
    past = {1: "rows", 3: "past"}
    asked, remembered = Slot("columns", {0: "rows", 2: "columns"}), (Slot("past_keys", past), Slot("past_values", past))
    if checkpoint.is_melody:
        chroma, before = Slot("chroma", {0: "rows", 1: "frames"}), {0: "rows", 1: "states"}
        told = (Slot("logits", {0: "rows"}), Slot("keys", {1: "rows", 3: "new"}), Slot("values", {1: "rows", 3: "new"}))
        yield OnnxGraph(
            "decoder_conditions", "decoder", lambda: MelodyGraph(make()), (Slot("text", heard), Slot("mask", heard), chroma),
            (Slot("states", before),),
            lambda: ((*words(2, 5), _draws(1)(2, 6, PITCH_CLASSES)), (*words(3, 9), _draws(2)(3, 11, PITCH_CLASSES))), "legacy",
        )  # fmt: skip
        yield OnnxGraph(
            "decoder", "decoder", lambda: MelodyDecoderGraph(make()), (asked, Slot("before", before), *remembered), told,
            lambda: ((columns(2, 3), _draws(3)(2, 6, width), *memory(2, 7, 4)),
                     (columns(3, 1), _draws(5)(3, 0, width), *memory(3, 16, 6))), "legacy",
        )  # fmt: skip
        return
    kept = {1: "rows", 3: "words"}
    told = (
        Slot("logits", {0: "rows"}), Slot("keys", {1: "rows", 3: "columns"}), Slot("values", {1: "rows", 3: "columns"}),
    )  # fmt: skip
    yield OnnxGraph(
        "decoder_conditions", "decoder", lambda: WordsGraph(make()), (Slot("text", heard), Slot("mask", heard)),
        (Slot("word_keys", kept), Slot("word_values", kept)), lambda: (words(2, 5), words(3, 9)), "legacy",
    )  # fmt: skip
    yield OnnxGraph(
        "decoder", "decoder", lambda: WordsDecoderGraph(make()),
        (asked, Slot("mask", heard), Slot("word_keys", kept), Slot("word_values", kept), *remembered), told,
        lambda: ((columns(2, 3), words(2, 5)[1], *words_memory(2, 5, 3), *memory(2, 7, 4)),
                 (columns(3, 1), words(3, 9)[1], *words_memory(3, 9, 5), *memory(3, 16, 6))), "legacy",
    )  # fmt: skip


# --- sound --------------------------------------------------------------------------------------------------------------


class LayersGraph(nn.Module):
    """Layers of EnCodec one after another, perhaps behind its codebooks (`looks_up`) or before them (`writes`)."""

    def __init__(self, codec: Any, layers: list[nn.Module], looks_up: bool = False, writes: bool = False) -> None:
        super().__init__()
        self.layers, self.quantizer = nn.ModuleList(layers), codec.quantizer
        self.bandwidth = codec.config.target_bandwidths[-1]
        self.looks_up, self.writes = looks_up, writes

    def forward(self, x: Tensor) -> Tensor:
        if self.looks_up:
            x = self.quantizer.decode(x)
        for layer in self.layers:
            x = layer(x)
        return self.quantizer.encode(x, self.bandwidth) if self.writes else x


def _codec(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    shape, config = checkpoint.shape, checkpoint.config_of("codec")
    channels, books = shape.channels, shape.codebooks // shape.channels
    middle = int(config.get("num_filters", 32)) * 2 ** len(config["upsampling_ratios"])  # width of the recurrent middle
    build: Callable[[], Any] = partial(checkpoint.build, "codec", torch.float32)

    def heard() -> tuple[list[nn.Module], list[nn.Module], Any]:
        codec = build()
        return (*halves(codec.encoder.layers, outer_first=True), codec)

    def told() -> tuple[list[nn.Module], list[nn.Module], Any]:
        codec = build()
        return (*halves(codec.decoder.layers, outer_first=False), codec)

    def outer_in() -> nn.Module:
        outer, _, codec = heard()
        return LayersGraph(codec, outer)

    def inner_in() -> nn.Module:
        _, inner, codec = heard()
        return LayersGraph(codec, inner, writes=True)

    def inner_out() -> nn.Module:
        inner, _, codec = told()
        return LayersGraph(codec, inner, looks_up=True)

    def outer_out() -> nn.Module:
        _, outer, codec = told()
        return LayersGraph(codec, outer)

    frames, hop = {2: "frames"}, shape.hop
    rows = (
        ("codec_encoder_outer", outer_in, Slot("sound", {2: "samples"}), Slot("states", frames),
         lambda: ((_draws(1)(channels, 1, 12 * hop),), (_draws(2)(channels, 1, 23 * hop - 5),))),
        ("codec_encoder_inner", inner_in, Slot("states", frames), Slot("codes", frames),
         lambda: ((_draws(3)(channels, middle, 12),), (_draws(4)(channels, middle, 23),))),
        ("codec_decoder_inner", inner_out, Slot("codes", frames), Slot("states", frames),
         lambda: ((_ids(shape.words, books, channels, 12),), (_ids(shape.words, books, channels, 23),))),
        ("codec_decoder_outer", outer_out, Slot("states", frames), Slot("sound", {2: "samples"}),
         lambda: ((_draws(5)(channels, middle, 12),), (_draws(6)(channels, middle, 23),))),
    )  # fmt: skip
    for name, make, taken, given, examples in rows:
        yield OnnxGraph(name, "codec", make, (taken,), (given,), examples, "legacy", int8=False)
