"""ACE-Step 1.5 out of an exported folder: the same loop, tasks and planner, each component asked through onnxruntime.

`Session.open("folder")` opens it. Adapters and training need weights that torch can reach, and are refused in a sentence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.engines.ace15.onnx import FAMILY
from acestep_lab.engines.ace15.render import PredictFn
from acestep_lab.engines.base import Capabilities, Check
from acestep_lab.engines.exported import ExportedEngine, FixedWeights
from acestep_lab.errors import CheckpointError
from acestep_lab.models import catalog, components
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.loading import TRAITS, Checkpoint
from acestep_lab.models.onnx_runner import OnnxModule, OnnxRunner
from acestep_lab.plan.decoder import Decoder, KVCache

NEEDED = ("text_encoder", "condition_encoder", "dit", "vae_decoder")
"""Graphs without which there is no song."""


class OnnxAce15Engine(ExportedEngine, FixedWeights, Ace15Engine):
    """An exported checkpoint; see `engines.base.Engine` for what each method promises."""

    @classmethod
    def open(cls, folder: Path, lm: object = None, precision: object = "auto") -> OnnxAce15Engine:
        """Open an exported folder; CheckpointError where it is damaged, incomplete, or asked for another planner."""
        if lm is not None or precision != "auto":
            raise CheckpointError(
                "An exported checkpoint has the planner and the numbers it was exported with; leave lm= and precision= away."
            )
        return cls(OnnxCheckpoint.of(folder))

    @cached_property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, attaches=False, trains=False, takes_lm=False, aligns=False, attends=False)

    def component_specs(self) -> Sequence[ComponentSpec]:
        return self.runner.specs([replace(TRAITS[name], halves=False) for name in self.checkpoint.components])

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        return self.checkpoint.build(component, dtype)

    def _predict(self, check: Check) -> PredictFn:
        def predict(x: Tensor, t: float, states: Tensor, mask: Tensor, context: Tensor) -> Tensor:
            check()
            return self.devices.run_with_retry("dit", lambda dit: dit(x, t, states, mask, context))

        return predict


@dataclass(frozen=True)
class OnnxCheckpoint(Checkpoint):
    """A checkpoint whose weights are graphs; configs and tokenizers lie in the same folder."""

    runner: OnnxRunner

    @classmethod
    def of(cls, folder: Path) -> OnnxCheckpoint:
        """An exported folder; CheckpointError where something is missing."""
        runner = OnnxRunner.open(folder, FAMILY)
        runner.need(NEEDED)
        plain = Checkpoint.open(folder)
        row = catalog.ROWS.get(str(runner.manifest.facts.get("row")))
        there = runner.manifest.components
        places = {name: place for name, place in plain.places.items() if name in there or name not in TRAITS}
        return cls(
            plain.row if row is None else row.replace(name=folder.name, repo=None), folder, plain.layout, places,
            plain.geometry, runner,
        )  # fmt: skip

    def build(self, component: str, dtype: torch.dtype | None = None) -> nn.Module:
        self._require(component)
        return _MODULES[component](self)

    def verify(self, component: str) -> None:
        self._require(component)
        self.runner.verify(component)

    def sizes(self, bytes_per_number: int | None = None) -> dict[str, int]:
        return self.runner.manifest.components

    @cached_property
    def vae_mark(self) -> str:
        return str(self.runner.manifest.facts.get("vae_mark", ""))


# --- components, shaped like torch's ------------------------------------------------------------------------------------


class OnnxText(OnnxModule):
    """What reads prompts, and what lyrics are looked up in."""

    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(last_hidden_state=self.ask("text_encoder", input_ids)[0])

    def get_input_embeddings(self) -> Callable[[Tensor], Tensor]:
        return lambda ids: self.ask("text_encoder", ids)[1]


class OnnxCondition(OnnxModule):
    """What makes words, lyrics and timbre into states."""

    def __init__(self, runner: OnnxRunner) -> None:
        super().__init__(runner)
        for name, tensor in runner.tensors().items():
            self.register_buffer(name, tensor)

    def forward(
        self,
        text_hidden_states: Tensor,
        lyric_hidden_states: Tensor,
        refer_audio_acoustic_hidden_states_packed: Tensor,
        **masks: Tensor,
    ) -> tuple[Tensor, Tensor]:
        timbre = refer_audio_acoustic_hidden_states_packed
        states = self.ask("condition_encoder", text_hidden_states, lyric_hidden_states, timbre)[0]
        return states, torch.ones(states.shape[:2], dtype=torch.bool)


class OnnxDit(OnnxModule):
    """The velocity, of any number of frames."""

    def __init__(self, runner: OnnxRunner, patch: int) -> None:
        super().__init__(runner)
        self.patch = patch

    def forward(self, x: Tensor, t: float, states: Tensor, mask: Tensor, context: Tensor) -> Tensor:
        frames = x.shape[1]
        wide = [F.pad(one.float(), (0, 0, 0, -frames % self.patch)) for one in (x, context)]
        times = torch.full((len(x),), float(t))
        found = self.ask("dit", wide[0], times, states.float(), mask, wide[1])[0]
        return found[:, :frames].to(x)


class OnnxHalf(OnnxModule):
    """One half of the autoencoder; `skeleton` has the shapes of its layers, and no numbers."""

    def __init__(self, runner: OnnxRunner, graph: str, skeleton: nn.Module) -> None:
        super().__init__(runner)
        self.graph = graph
        object.__setattr__(self, "skeleton", skeleton)  # no part of this module: nothing of it is ever moved

    def forward(self, x: Tensor) -> Tensor:
        return self.ask(self.graph, x)[0]


class OnnxVae(OnnxModule):
    """The autoencoder; one that was exported without its encoder hears no sounds."""

    def __init__(self, runner: OnnxRunner, checkpoint: Checkpoint) -> None:
        super().__init__(runner)
        with torch.device("meta"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
            bare: Any = components.maker(checkpoint, "vae")()
        self.config = bare.config
        self.decoder = OnnxHalf(runner, "vae_decoder", bare.decoder)
        self.encoder = OnnxHalf(runner, "vae_encoder", bare.encoder)


class OnnxCodes(OnnxModule):
    """Audio codes; between its halves go the codes themselves, where torch's module hands on what they stand for."""

    def __init__(self, runner: OnnxRunner, window: int, count: int) -> None:
        super().__init__(runner)
        self.window = window
        to_weight = SimpleNamespace(weight=self.like)
        quantizer = SimpleNamespace(codebook_size=count, project_out=to_weight, get_output_from_indices=lambda ids: ids)
        self.tokenizer = SimpleNamespace(quantizer=quantizer, tokenize=self._tokenize)

    def _tokenize(self, latent: Tensor, silence: Tensor) -> tuple[Tensor, Tensor]:
        whole = torch.cat([latent, silence[:, : -latent.shape[1] % self.window]], dim=1)
        indices = self.ask("codes_encoder", whole.unflatten(1, (-1, self.window)))[0]
        return indices, indices

    def detokenizer(self, indices: Tensor) -> Tensor:
        """The latent of codes `[1, codes, 1]`."""
        return self.ask("codes_decoder", indices.round().long())[0]


class OnnxPlanner(OnnxModule):
    """The language model; it brings its own decoder."""

    def __init__(self, runner: OnnxRunner, config: Mapping[str, Any]) -> None:
        super().__init__(runner)
        self.facts = config

    def as_decoder(self) -> Decoder:
        """What writes tokens one by one."""
        return OnnxDecoder(self)


class OnnxDecoder(Decoder):
    """The planner's graph as a function of (KV cache, new tokens)."""

    open_weights = False

    def __init__(self, lm: OnnxPlanner) -> None:
        self.lm, config = lm, lm.facts
        heads = int(config["num_attention_heads"])
        self.kv_heads = int(config.get("num_key_value_heads") or heads)
        self.width = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
        self.depth, self.words = int(config["num_hidden_layers"]), int(config["vocab_size"])
        self.max_positions = int(config["max_position_embeddings"])

    @property
    def vocabulary(self) -> int:
        return self.words

    @property
    def device(self) -> torch.device:
        return self.lm.like.device

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        shape = (rows, self.kv_heads, capacity, self.width)
        keys, values = ([torch.zeros(shape, device=self.device) for _ in range(self.depth)] for _ in range(2))
        return KVCache(keys, values, [0] * rows)

    @torch.inference_mode()
    def states(self, cache: KVCache, tokens: Sequence[Sequence[int]]) -> Tensor:
        counts = [len(row) for row in tokens]
        most, used = max(counts), max(cache.lengths)
        ids = torch.tensor([[*row, *[0] * (most - len(row))] for row in tokens])
        past = [torch.stack([layer[:, :, :used] for layer in side]) for side in (cache.keys, cache.values)]
        states, keys, values = self.lm.ask("lm", ids, torch.tensor(cache.lengths), *past)
        for side, new in ((cache.keys, keys), (cache.values, values)):
            for layer, fresh in zip(side, new, strict=True):
                for row, (length, count) in enumerate(zip(cache.lengths, counts, strict=True)):
                    layer[row, :, length : length + count] = fresh[row, :, :count]
        cache.lengths = [length + count for length, count in zip(cache.lengths, counts, strict=True)]
        return states

    @torch.inference_mode()
    def logits(self, hidden: Tensor, wanted: slice | Tensor) -> Tensor:
        return self.lm.ask("lm_head", hidden)[0][:, wanted].float()


_MODULES: dict[str, Callable[[OnnxCheckpoint], OnnxModule]] = {
    "text": lambda one: OnnxText(one.runner),
    "condition": lambda one: OnnxCondition(one.runner),
    "dit": lambda one: OnnxDit(one.runner, one.geometry.patch),
    "vae": lambda one: OnnxVae(one.runner, one),
    "codes": lambda one: OnnxCodes(one.runner, one.geometry.pool_window, one.geometry.code_count),
    "lm": lambda one: OnnxPlanner(one.runner, one.config("lm")),
}  # fmt: skip
