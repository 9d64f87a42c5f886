"""MusicGen out of an exported folder: the same token loop, windows and codec pieces, each component asked through onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.engines.exported import ExportedEngine
from acestep_lab.engines.musicgen import catalog
from acestep_lab.engines.musicgen.checkpoint import COMPONENTS, Checkpoint
from acestep_lab.engines.musicgen.engine import LABELS, ROLES, MusicGenEngine
from acestep_lab.engines.musicgen.generation import rows_of, with_null
from acestep_lab.engines.musicgen.onnx import FAMILY
from acestep_lab.errors import CheckpointError
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.onnx_runner import OnnxModule, OnnxRunner

NEEDED = ("text_encoder", "decoder_conditions", "decoder", "codec_decoder_inner", "codec_decoder_outer")
"""Graphs without which there is no song."""


class OnnxMusicGenEngine(ExportedEngine, MusicGenEngine):
    """An exported checkpoint; see `engines.base.Engine` for what each method promises."""

    @classmethod
    def open(cls, folder: Path) -> OnnxMusicGenEngine:
        """Open an exported folder; CheckpointError where it is damaged or incomplete."""
        return cls(OnnxCheckpoint.of(folder))

    def component_specs(self) -> Sequence[ComponentSpec]:
        return self.runner.specs([ComponentSpec(name, 0, ROLES[name], LABELS[name]) for name in COMPONENTS])

    @property
    def codec_mark(self) -> str:
        """Which EnCodec this is, as it was written down when it was exported."""
        return str(self.runner.manifest.facts.get("codec_mark", ""))


@dataclass(frozen=True)
class OnnxCheckpoint(Checkpoint):
    """A checkpoint whose weights are graphs; config and tokenizer lie in the same folder."""

    runner: OnnxRunner

    @classmethod
    def of(cls, folder: Path) -> OnnxCheckpoint:
        """An exported folder; CheckpointError where something is missing."""
        runner = OnnxRunner.open(folder, FAMILY)
        runner.need(NEEDED)
        plain = Checkpoint.open(folder)
        row = catalog.find(str(runner.manifest.facts.get("row")))
        return cls(row, folder.name, folder, plain.config, plain.defaults, plain.shape, runner)

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        if component not in _MODULES:
            raise CheckpointError(f"{self.name} has no component {component!r}; it has {', '.join(COMPONENTS)}.")
        return _MODULES[component](self)

    def verify(self, component: str) -> None:
        self.runner.verify(component)

    def sizes(self) -> dict[str, int]:
        return self.runner.manifest.components


# --- components, shaped like transformers' ------------------------------------------------------------------------------


class OnnxText(OnnxModule):
    """T5."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.ask("text_encoder", input_ids, attention_mask)[0])


class OnnxDecoder(OnnxModule):
    """The transformer that writes codes; see `generation.Decoder` for what each method gives."""

    def __init__(self, runner: OnnxRunner, checkpoint: Checkpoint) -> None:
        super().__init__(runner)
        config, self.codebooks = checkpoint.config_of("decoder"), checkpoint.shape.codebooks
        heads, self.hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        self.memory = int(config["num_hidden_layers"]), heads, self.hidden // heads
        self.is_melody = checkpoint.is_melody

    def new_cache(self) -> Any:
        """Keys and values of the music with nothing in them; whatever row asks first decides how many rows there are."""
        return SimpleNamespace(keys=None, values=None)

    def heard(self, text: Tensor, has_words: bool, chroma: Tensor | None, rows: int) -> dict[str, Tensor]:
        """What is listened to, row by row: with the words, and then without."""
        text = text[None].float()
        mask = torch.full(text.shape[:2], int(has_words))
        both = rows_of(text, torch.zeros_like(text), rows), rows_of(mask, torch.zeros_like(mask), rows)
        if chroma is not None:
            melody = with_null(chroma[None].float(), rows)
            return {"before": self.ask("decoder_conditions", *both, melody)[0]}
        keys, values = self.ask("decoder_conditions", *both)
        return {"mask": both[1], "word_keys": keys, "word_values": values}

    def next(self, ids: Tensor, cache: Any, heard: Mapping[str, Tensor]) -> Tensor:
        """Logits of the next column `[rows * codebooks, words]` after new columns; the cache takes those in."""
        columns = ids.unflatten(0, (-1, self.codebooks)).cpu()  # [rows, codebooks, columns]
        layers, heads, width = self.memory
        empty = torch.zeros(layers, len(columns), heads, 0, width)
        past = [empty if side is None else side for side in (cache.keys, cache.values)]
        given = (heard or {"before": torch.zeros(len(columns), 0, self.hidden)}).values()
        logits, keys, values = self.ask("decoder", columns, *given, *past)
        cache.keys, cache.values = (torch.cat(pair, dim=3) for pair in zip(past, (keys, values), strict=True))
        return logits.flatten(0, 1)


class _Part(OnnxModule):
    """A graph in the place of some layers of EnCodec; `lstm` marks the recurrent middle, as the layers themselves do."""

    def __init__(self, runner: OnnxRunner, graph: str) -> None:
        super().__init__(runner)
        self.graph = graph

    def forward(self, x: Tensor) -> Tensor:
        return self.ask(self.graph, x)[0]


class _Middle(nn.Module):
    """Stands where the recurrent middle was: its graph looks codes up, or writes them, as well."""

    lstm = True

    def forward(self, x: Tensor) -> Tensor:
        return x


class OnnxCodec(OnnxModule):
    """EnCodec."""

    def __init__(self, runner: OnnxRunner, checkpoint: Checkpoint) -> None:
        super().__init__(runner)
        config = checkpoint.config_of("codec")
        self.config = SimpleNamespace(hop_length=checkpoint.shape.hop, target_bandwidths=config["target_bandwidths"])
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.layers = nn.ModuleList([_Part(runner, "codec_encoder_outer"), _Middle()])
        self.decoder.layers = nn.ModuleList([_Middle(), _Part(runner, "codec_decoder_outer")])
        self.quantizer = SimpleNamespace(
            encode=lambda states, bandwidth: self.ask("codec_encoder_inner", states)[0],
            decode=lambda codes: self.ask("codec_decoder_inner", codes)[0],
        )


_MODULES: dict[str, Callable[[OnnxCheckpoint], OnnxModule]] = {
    "text": lambda one: OnnxText(one.runner),
    "decoder": lambda one: OnnxDecoder(one.runner, one),
    "codec": lambda one: OnnxCodec(one.runner, one),
}
