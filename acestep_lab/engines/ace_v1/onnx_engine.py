"""ACE-Step v1 out of an exported folder: the same loop, tasks, guidance and tiles, each component asked through onnxruntime.

`Session.open("folder")` opens it. Adapters and training need weights that torch can reach, and are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.engines.ace_v1 import catalog, dcae
from acestep_lab.engines.ace_v1.checkpoint import COMPONENTS, DCAE, VOCODER, Checkpoint
from acestep_lab.engines.ace_v1.codec import TILE, Codec
from acestep_lab.engines.ace_v1.engine import LABELS, ROLES, AceV1Engine
from acestep_lab.engines.ace_v1.onnx import FAMILY, HALVES, skeleton, sums_shape
from acestep_lab.engines.ace_v1.transformer import PreparedStates, without_unheard
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig
from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.exported import ExportedEngine, FixedWeights
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.onnx_runner import OnnxModule, OnnxRunner
from acestep_lab.models.weights import read_config

NEEDED = (
    "text_encoder", "condition_encoder", "dit_states", "dit", "dcae_decoder_into", "dcae_decoder_attention", "dcae_decoder_up",
    "vocoder_backbone", "vocoder_head",
)  # fmt: skip
"""Graphs without which there is no song."""


class OnnxAceV1Engine(ExportedEngine, FixedWeights, AceV1Engine):
    """An exported checkpoint; see `engines.base.Engine` for what each method promises."""

    @classmethod
    def open(cls, folder: Path) -> OnnxAceV1Engine:
        """Open an exported folder; CheckpointError where it is damaged or incomplete."""
        return cls(OnnxCheckpoint.of(folder))

    @cached_property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, attaches=False, trains=False)

    def component_specs(self) -> Sequence[ComponentSpec]:
        return self.runner.specs([ComponentSpec(name, 0, ROLES[name], LABELS[name]) for name in COMPONENTS])

    def _codec(self, found: Any) -> Codec:
        return Codec(found.dcae, found.vocoder, TILE, halves=found.halves)

    @property
    def vae_mark(self) -> str:
        """Which DCAE this is, as it was written down when it was exported."""
        return str(self.runner.manifest.facts.get("vae_mark", ""))


@dataclass(frozen=True)
class OnnxCheckpoint(Checkpoint):
    """A checkpoint whose weights are graphs; configs, tokenizer and vocabulary lie in the same folder."""

    runner: OnnxRunner

    @classmethod
    def of(cls, folder: Path) -> OnnxCheckpoint:
        """An exported folder; CheckpointError where something is missing."""
        runner = OnnxRunner.open(folder, FAMILY)
        runner.need(NEEDED)
        plain = Checkpoint.open(folder)
        row = catalog.find(str(runner.manifest.facts.get("row")))
        return cls(row, folder.name, folder, plain.config, runner)

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        self.parts(component)
        return _MODULES[component](self)

    def verify(self, component: str) -> None:
        self.parts(component)
        self.runner.verify(component)

    def sizes(self) -> dict[str, int]:
        return self.runner.manifest.components


# --- components, shaped like torch's ------------------------------------------------------------------------------------


class Queries(nn.Module):
    """Stands for the queries that ERG dampens: whatever multiplies what it says is the graph's tau."""

    def forward(self) -> Tensor:
        return torch.ones(1)


class OnnxText(OnnxModule):
    """UMT5."""

    damped_queries = ("quiet",)

    def __init__(self, runner: OnnxRunner) -> None:
        super().__init__(runner)
        self.quiet = Queries()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.ask("text_encoder", input_ids, attention_mask, self.quiet())[0])


class OnnxDit(OnnxModule):
    """The transformer with its condition encoder; see `transformer.AceStepV1Transformer` for what each method gives."""

    damped_queries, damped_lyric_queries = ("quiet",), ("quiet_lyrics",)

    def __init__(self, runner: OnnxRunner) -> None:
        super().__init__(runner)
        self.quiet, self.quiet_lyrics = Queries(), Queries()

    def encode(
        self, text: Tensor, text_mask: Tensor, speaker: Tensor, lyric_ids: Tensor, lyric_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The states that a song is conditioned on, and their mask."""
        given = (text.float(), text_mask.long(), speaker.float(), lyric_ids.long(), lyric_mask.long())
        states, mask = self.ask("condition_encoder", *given, self.quiet_lyrics())
        return states, mask

    def prepare_states(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and bias for every step of a run, without the states that no item hears."""
        keys, values, every = self.ask("dit_states", states, mask)
        kept = without_unheard(PreparedStates(tuple(keys), tuple(values), every), mask)
        bias = torch.zeros(len(states), 1, 1, kept.keys[0].shape[2]) if kept.bias is None else kept.bias
        return torch.stack(kept.keys), torch.stack(kept.values), bias

    def velocity(self, latent: Tensor, t: Tensor, heard: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The velocity `[items, channels, rows, frames]` of a latent at times `[items]`."""
        return self.ask("dit", latent.float(), t.float(), *heard, self.quiet())[0].to(latent)


class OnnxAttention(dcae.Attention):
    """The DCAE's attention level, by its shapes and its graph."""

    def __init__(self, codec: OnnxCodec, name: str, bare: dcae.Attention) -> None:
        super().__init__(bare.blocks)
        self.codec, self.graph = codec, f"{name}_attention"

    def summed(self, x: Tensor, sums: list[Tensor], core: slice) -> Tensor:
        weights = torch.zeros(x.shape[-1])
        weights[core] = 1.0
        return self._asked(x, weights, sums, f"sums_{len(sums)}")

    def run(self, x: Tensor, sums: list[Tensor]) -> Tensor:
        return self._asked(x, torch.ones(x.shape[-1]), sums, "y")

    def _asked(self, x: Tensor, core: Tensor, sums: list[Tensor], wanted: str) -> Tensor:
        """One output of the graph; blocks whose sums are not known yet are told zeros, and not worked out."""
        one = sums_shape(self)
        known = [*sums, *(torch.zeros(one) for _ in self.blocks[len(sums) :])]
        return self.codec.ask(self.graph, x, core, torch.stack(known), only=[wanted])[0]


class OnnxEncoder(dcae.DcaeEncoder):
    """Pictures to latents, by graphs."""

    def __init__(self, codec: OnnxCodec, bare: dcae.DcaeEncoder) -> None:
        super().__init__(bare.encoder)
        self.codec, self.attention = codec, OnnxAttention(codec, HALVES[0], bare.attention)

    def down(self, x: Tensor) -> Tensor:
        return self.codec.ask("dcae_encoder_down", x)[0]

    def out(self, x: Tensor) -> Tensor:
        return self.codec.ask("dcae_encoder_out", x)[0]


class OnnxDecoder(dcae.DcaeDecoder):
    """Latents to pictures, by graphs."""

    def __init__(self, codec: OnnxCodec, bare: dcae.DcaeDecoder) -> None:
        super().__init__(bare.decoder)
        self.codec, self.attention = codec, OnnxAttention(codec, HALVES[1], bare.attention)

    def into(self, x: Tensor) -> Tensor:
        return self.codec.ask("dcae_decoder_into", x)[0]

    def up(self, x: Tensor) -> Tensor:
        return self.codec.ask("dcae_decoder_up", x)[0]


class OnnxVocoder(OnnxModule):
    """The vocoder in its two halves; how far each hears follows from its config."""

    def __init__(self, runner: OnnxRunner, config: VocoderConfig) -> None:
        super().__init__(runner)
        self.config = config
        with torch.device("meta"):
            bare = Vocoder(config)
        self.backbone_reach, self.head_reach = bare.backbone_reach, bare.head_reach

    def backbone(self, log_mel: Tensor) -> Tensor:
        """States of a log-mel `[items, bands, frames]`."""
        return self.ask("vocoder_backbone", log_mel)[0]

    def head(self, states: Tensor) -> Tensor:
        """Samples `[items, 1, frames * hop]`."""
        return self.ask("vocoder_head", states)[0]


class OnnxCodec(OnnxModule):
    """DCAE and vocoder; one that was exported without its encoder hears no sounds."""

    def __init__(self, checkpoint: OnnxCheckpoint) -> None:
        super().__init__(checkpoint.runner)
        self.config = SimpleNamespace(**read_config(checkpoint.place(DCAE) / "config.json"))
        vocoder = VocoderConfig.from_config(read_config(checkpoint.place(VOCODER) / "config.json"))
        self.vocoder = OnnxVocoder(checkpoint.runner, vocoder)
        encoder, decoder = skeleton(checkpoint)
        self.halves = (OnnxEncoder(self, encoder), OnnxDecoder(self, decoder))

    @property
    def dcae(self) -> OnnxCodec:
        """Where the codec looks for the DCAE's config and its kind of numbers."""
        return self


_MODULES: dict[str, Callable[[OnnxCheckpoint], OnnxModule]] = {
    "text": lambda one: OnnxText(one.runner), "dit": lambda one: OnnxDit(one.runner), "codec": OnnxCodec,
}  # fmt: skip
