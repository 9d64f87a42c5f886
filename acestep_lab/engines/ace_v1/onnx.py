"""ACE-Step v1 as graphs: each component as modules of plain tensors that an exporter can follow. Knows onnx by contract only.

Guidance that reads energies (ERG) is in the graphs: an input `tau` multiplies the queries that it dampens, and 1 is the plain
reading. The DCAE's attention level is a graph that is told what the whole piece sums to, and says what its part of the piece sums to;
so a song of any length is worked tile by tile with the numbers of the whole, as in torch. The log-mel and everything else of the codec's
road stay outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.engines.ace_v1 import dcae, erg, lyric_tokenizer
from acestep_lab.engines.ace_v1.checkpoint import DCAE, FOLDERS, TEXT, VOCODER, Checkpoint
from acestep_lab.engines.ace_v1.text_encoder import queries
from acestep_lab.engines.ace_v1.transformer import PreparedStates
from acestep_lab.engines.ace_v1.vocoder import VocoderConfig
from acestep_lab.models.onnx_export import OnnxGraph, OnnxParts, Slot
from acestep_lab.models.weights import read_config

FAMILY = "ace-step-v1"
HALVES = ("dcae_encoder", "dcae_decoder")
_SMALL = (".json", ".txt", ".model")
"""Endings of the files that are copied: configs and the tokenizer, never weights."""


def parts(checkpoint: Checkpoint, vae_mark: str) -> OnnxParts:
    """All that an export of a checkpoint consists of."""
    graphs = (*_text(checkpoint), *_dit(checkpoint), *_codec(checkpoint))
    facts = {"vae_mark": vae_mark, "row": checkpoint.row.name if checkpoint.row else ""}
    return OnnxParts(FAMILY, checkpoint.name, graphs, dict(_files(checkpoint.folder)), facts=facts)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Configs, the tokenizer, and the vocabulary of lyrics if the folder has it."""
    for part in FOLDERS:
        for file in sorted((folder / part).iterdir()):
            if file.suffix in _SMALL and file.is_file() and not file.name.endswith(".index.json"):
                yield f"{part}/{file.name}", file
    vocabulary = next((folder / place for place in lyric_tokenizer.PLACES if (folder / place).is_file()), None)
    if vocabulary is not None:
        yield lyric_tokenizer.PLACES[0], vocabulary


def _draws(seed: int) -> Callable[..., Tensor]:
    """Normal numbers of a shape, from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def _ids(words: int, *shape: int) -> Tensor:
    return torch.randint(words, shape, generator=torch.Generator().manual_seed(sum(shape)))


def _mask(items: int, tokens: int) -> Tensor:
    """The first item is shorter than the others."""
    mask = torch.ones(items, tokens, dtype=torch.long)
    mask[0, tokens // 2 + 1 :] = 0
    return mask


# --- words --------------------------------------------------------------------------------------------------------------


class TextGraph(nn.Module):
    """Token ids and mask `[items, tokens]` → UMT5's states `[items, tokens, width]`, some of its queries multiplied by tau `[1]`."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text

    def forward(self, ids: Tensor, mask: Tensor, tau: Tensor) -> Tensor:
        with erg.dampened(self.text, queries(self.text), tau):
            states: Tensor = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        return states


def _text(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    words, axes = int(checkpoint.config_of("text")[TEXT]["vocab_size"]), {0: "items", 1: "tokens"}

    def example(items: int, tokens: int, tau: float) -> tuple[Tensor, ...]:
        return _ids(words, items, tokens), _mask(items, tokens), torch.tensor([tau])

    yield OnnxGraph(
        "text_encoder", "text", lambda: TextGraph(checkpoint.build("text", torch.float32)),
        (Slot("ids", axes), Slot("mask", axes), Slot("tau")), (Slot("states", axes),),
        lambda: (example(2, 7, 1.0), example(3, 12, erg.TAU)),
    )  # fmt: skip


# --- the transformer ----------------------------------------------------------------------------------------------------


class EncodeGraph(nn.Module):
    """Text, speaker and lyrics → the states that the song is conditioned on and their mask: `transformer.encode`, some of the
    conformer's queries multiplied by tau `[1]`.
    """

    def __init__(self, dit: Any) -> None:
        super().__init__()
        self.dit = dit

    def forward(
        self, text: Tensor, text_mask: Tensor, speaker: Tensor, lyric_ids: Tensor, lyric_mask: Tensor, tau: Tensor
    ) -> tuple[Tensor, Tensor]:
        with erg.dampened(self.dit, self.dit.damped_lyric_queries, tau):
            states, mask = self.dit.encode(text, text_mask, speaker, lyric_ids, lyric_mask)
        return states, mask


class StatesGraph(nn.Module):
    """States `[items, states, dim]` and their mask → every block's keys and values of them
    `[blocks, items, heads, states, head]`, and the bias `[items, 1, 1, states]`, -inf where nobody listens.
    """

    def __init__(self, dit: Any) -> None:
        super().__init__()
        self.dit = dit

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prepared = self.dit.states_prepared(states, mask)
        return torch.stack(prepared.keys), torch.stack(prepared.values), prepared.bias


class VelocityGraph(nn.Module):
    """Latent `[items, channels, rows, frames]`, t `[items]` and what `StatesGraph` makes → the velocity, some blocks' queries
    multiplied by tau `[1]`.
    """

    def __init__(self, dit: Any) -> None:
        super().__init__()
        self.dit = dit

    def forward(self, latent: Tensor, t: Tensor, keys: Tensor, values: Tensor, bias: Tensor, tau: Tensor) -> Tensor:
        heard = PreparedStates(keys.unbind(0), values.unbind(0), bias)
        with erg.dampened(self.dit, self.dit.damped_queries, tau):
            velocity: Tensor = self.dit.velocity(latent, t, heard)
        return velocity


def _dit(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    c, make = checkpoint.config, partial(checkpoint.build, "dit", torch.float32)
    heads, width = c.num_attention_heads, c.attention_head_dim

    def words(items: int, tokens: int, lyrics: int, tau: float) -> tuple[Tensor, ...]:
        draw, ids = _draws(tokens), _ids(c.lyric_encoder_vocab_size, items, lyrics)
        return (
            draw(items, tokens, c.text_embedding_dim), _mask(items, tokens), draw(items, c.speaker_embedding_dim),
            ids, _mask(items, lyrics), torch.tensor([tau]),
        )  # fmt: skip

    def states(items: int, count: int) -> tuple[Tensor, Tensor]:
        return _draws(count)(items, count, c.dim), _mask(items, count).bool()

    def music(items: int, frames: int, count: int, tau: float) -> tuple[Tensor, ...]:
        draw = _draws(frames)
        bias = torch.zeros(items, count).masked_fill(_mask(items, count) == 0, -torch.inf)[:, None, None]
        keys, values = (draw(c.num_layers, items, heads, count, width) for _ in range(2))
        latent = draw(items, c.in_channels, c.max_height, frames)
        return latent, torch.linspace(0.2, 0.9, items), keys, values, bias, torch.tensor([tau])

    text, lyrics, heard = ({0: "items", 1: axis} for axis in ("tokens", "lyric_tokens", "states"))
    kept, image = {1: "items", 3: "states"}, {0: "items", 3: "frames"}
    bias = Slot("bias", {0: "items", 3: "states"})
    yield OnnxGraph(
        "condition_encoder", "dit", lambda: EncodeGraph(make()),
        (Slot("text", text), Slot("text_mask", text), Slot("speaker", {0: "items"}), Slot("lyric_ids", lyrics),
         Slot("lyric_mask", lyrics), Slot("tau")),
        (Slot("states", heard), Slot("mask", heard)), lambda: (words(2, 7, 11, 1.0), words(3, 12, 5, erg.TAU)),
    )  # fmt: skip
    yield OnnxGraph(
        "dit_states", "dit", lambda: StatesGraph(make()), (Slot("states", heard), Slot("mask", heard)),
        (Slot("keys", kept), Slot("values", kept), bias), lambda: (states(2, 9), states(3, 17)),
    )  # fmt: skip
    yield OnnxGraph(
        "dit", "dit", lambda: VelocityGraph(make()),
        (Slot("latent", image), Slot("t", {0: "items"}), Slot("keys", kept), Slot("values", kept), bias, Slot("tau")),
        (Slot("velocity", image),), lambda: (music(2, 20, 9, 1.0), music(3, 37, 17, erg.TAU)), wide=(r"/attn/[A-Z]",),
    )  # fmt: skip


# --- sound --------------------------------------------------------------------------------------------------------------


class CallGraph(nn.Module):
    """A function of one tensor that belongs to a module."""

    def __init__(self, module: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.function: Callable[[Tensor], Tensor] = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class AttentionGraph(nn.Module):
    """A tile of the DCAE's attention level `[1, channels, rows, frames]`, 1 for its core's frames `[frames]`, and what each block sums
    over the piece `[blocks, 1, groups, head + 1, head]` → the tile worked out, and what each block sums over the core.

    A block's own sum depends on those before it alone, so they are found one after another. Where a query is all but nought, this
    attention jumps, and sums over minutes leave the range of half precision: so it stays in float32.
    """

    def __init__(self, whole: nn.Module, attention: dcae.Attention) -> None:
        super().__init__()
        self.whole, self.attention = whole, attention

    def forward(self, x: Tensor, core: Tensor, sums: Tensor) -> tuple[Tensor, ...]:
        found = []
        for index in range(len(self.attention.blocks)):
            found.append(self.attention.weighed(x, index, core))
            x = self.attention.step(x, index, sums[index])
        return (x, *found)


def sums_shape(attention: dcae.Attention) -> tuple[int, ...]:
    """The shape of what a block sums: `[1, groups, head + 1, head]`."""
    attn = attention.blocks[0].attn
    head = int(attn.attention_head_dim)
    groups = attn.to_q.out_features // head * (1 + len(attn.to_qkv_multiscale))
    return 1, groups, head + 1, head


def skeleton(checkpoint: Checkpoint) -> tuple[dcae.DcaeEncoder, dcae.DcaeDecoder]:
    """The halves of a checkpoint's DCAE by their shapes, without numbers."""
    with torch.device("meta"):
        bare = dcae.build(read_config(checkpoint.place(DCAE) / "config.json"))
    return dcae.DcaeEncoder(bare.encoder), dcae.DcaeDecoder(bare.decoder)


def _codec(checkpoint: Checkpoint) -> Iterator[OnnxGraph]:
    config = checkpoint.config_of("codec")
    vocoder, sizes = VocoderConfig.from_config(config[VOCODER]), config[DCAE]
    channels, inner = int(sizes["latent_channels"]), {"dcae_encoder": "encoder", "dcae_decoder": "decoder"}
    factor = 2 ** (len(sizes["encoder_block_out_channels"]) - 1)
    rows, wide = (
        vocoder.n_mels // factor,
        {name: int(sizes[f"{inner[name]}_block_out_channels"][-1]) for name in HALVES},
    )
    make: Callable[[], Any] = partial(checkpoint.build, "codec", torch.float32)

    def call(name: str, function: str) -> nn.Module:
        whole = make().dcae
        half = (dcae.DcaeEncoder, dcae.DcaeDecoder)[HALVES.index(name)](getattr(whole, inner[name]))
        return CallGraph(whole, getattr(half, function))

    def attention(name: str) -> nn.Module:
        whole = make().dcae
        half = (dcae.DcaeEncoder, dcae.DcaeDecoder)[HALVES.index(name)](getattr(whole, inner[name]))
        return AttentionGraph(whole, half.attention)

    def tiles(name: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        found = skeleton(checkpoint)[HALVES.index(name)].attention
        draw, one = _draws(5), sums_shape(found)

        def tile(frames: int) -> tuple[Tensor, ...]:
            core = torch.zeros(frames)
            core[2:-3] = 1.0
            sums = draw(len(found.blocks), *one)
            sums[..., -1, :] = sums[..., -1, :].abs() + 1.0  # of keys, which are never negative
            return draw(1, wide[name], rows, frames), core, sums

        return tile(12), tile(23)

    def pictures(seed: int, *shape: int, step: int = 1) -> Callable[[], Any]:
        return lambda: tuple((_draws(seed + count)(1, *shape, count * step),) for count in (12, 23))

    frames, mel = {3: "frames"}, {3: "mel_frames"}
    x, latent, picture = Slot("x", frames), Slot("latent", frames), Slot("picture", mel)
    ends = {
        "dcae_encoder": (("down", (picture,), (x,), pictures(1, 2, vocoder.n_mels, step=factor)),
                         ("out", (x,), (latent,), pictures(2, wide["dcae_encoder"], rows))),
        "dcae_decoder": (("into", (latent,), (x,), pictures(3, channels, rows)),
                         ("up", (x,), (picture,), pictures(4, wide["dcae_decoder"], rows))),
    }  # fmt: skip
    for name in HALVES:
        count = int(sizes[f"{inner[name]}_layers_per_block"][-1])
        for function, taken, given, examples in ends[name]:
            yield OnnxGraph(
                f"{name}_{function}", "codec", partial(call, name, function), taken, given, examples, int8=False,
                multiples={"mel_frames": factor} if function == "down" else {},
            )  # fmt: skip
        yield OnnxGraph(
            f"{name}_attention", "codec", partial(attention, name), (x, Slot("core", {0: "frames"}), Slot("sums")),
            (Slot("y", frames), *(Slot(f"sums_{index}") for index in range(count))), partial(tiles, name), int8=False, fp16=False,
        )  # fmt: skip
    heard, states, bands = {0: "items", 2: "mel_frames"}, vocoder.dims[-1], vocoder.n_mels
    for name, taken_as, width, given_as in (
        ("backbone", "log_mel", bands, Slot("states", heard)),
        ("head", "states", states, Slot("sound", {0: "items", 2: "samples"})),
    ):  # fmt: skip
        yield OnnxGraph(
            f"vocoder_{name}", "codec", lambda name=name: CallGraph(whole := make().vocoder, getattr(whole, name)),  # type: ignore[misc]
            (Slot(taken_as, heard),), (given_as,),
            lambda width=width: ((_draws(6)(2, width, 12),), (_draws(7)(1, width, 23),)), int8=False,  # type: ignore[misc]
        )  # fmt: skip
