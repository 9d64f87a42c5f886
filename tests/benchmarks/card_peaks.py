"""What each component of each published checkpoint takes on a card: weights as they are kept, and the peak of its work, traced on a
pretended one (`tests/phantom.py`). Traces are of the engines' own code, by the road they take there: on a card the DiT's
(`card_attention`) and steps of fixed shapes, in the rows of a CPU the CPU's. They are remembered by their shape.

Takes have rows of their own, so that a peak is a straight line in their number; and in that of a stack's equal layers where the
peak is inside one of them (nothing but keys and values grows from one to the next): two points are traced. `whole` traces all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab._libraries import diffusers
from acestep_lab.engines.ace15 import attention, card_attention, conditioning
from acestep_lab.engines.ace15.codec import Codec as Ace15Codec
from acestep_lab.engines.ace_v1.codec import TILE as V1_TILE
from acestep_lab.engines.ace_v1.codec import Codec as V1Codec
from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.musicgen.codec import TILE as MUSICGEN_TILE
from acestep_lab.engines.musicgen.codec import Codec as MusicGenCodec
from acestep_lab.engines.musicgen.fixed_columns import FixedColumns
from acestep_lab.engines.musicgen.generation import Decoder as MusicGenDecoder
from acestep_lab.engines.musicgen.request import Rules
from acestep_lab.models.assembly import empty
from acestep_lab.models.component_spec import ComponentSpec, WorkingMemory
from acestep_lab.models.memory_plan import MemoryPlan
from acestep_lab.models.recording import plain
from acestep_lab.models.storage import KEPT_FULL
from acestep_lab.plan.decode_batch import Choice, DecodeBatch
from acestep_lab.plan.decoder import decoder_of
from acestep_lab.plan.fixed_batch import FixedBatch
from acestep_lab.plan.planner import THOUGHT_TOKENS
from acestep_lab.plan.token_sampler import TokenSampler
from acestep_lab.prompt.recipe import Planning
from tests.benchmarks.launches import Shapes
from tests.hollow import XL, hollow_ace15, hollow_musicgen, hollow_v1
from tests.phantom import PhantomCard

TEXT, LYRICS, TIMBRE = 256, 512, 750
"""Tokens of a prompt at its fullest, of long lyrics, and latent frames of a timbre."""
STATES = TEXT + LYRICS + 1
PROMPT = 400
"""Tokens a planner reads before it writes."""
FEW = (2, 4)
"""Layers traced where the rest follows."""
BF16 = torch.bfloat16


@dataclass
class Peaks:
    """The components of one engine on a pretended card."""

    card: PhantomCard
    folder: Path
    name: str  # of a catalog
    lm: str = ""
    whole: bool = False  # every layer is traced

    known: dict[tuple[object, ...], Any] = field(default_factory=dict)
    """What was traced before, by configs and shapes: models that share a component share its traces."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def engine(self) -> Any:
        if self.name.startswith("musicgen"):
            return hollow_musicgen(self.folder, self.name)
        return hollow_v1(self.folder) if self.name == "ace-step-v1" else hollow_ace15(self.folder, self.name, self.lm)

    @cached_property
    def specs(self) -> tuple[ComponentSpec, ...]:
        return tuple(self.engine.component_specs())

    def traced(self, plan: MemoryPlan) -> MemoryPlan:
        """A plan whose sizes are counted and whose work is traced."""
        return replace(plan, components=tuple(self._traced(plan, one) for one in plan.components))

    def _traced(self, plan: MemoryPlan, one: ComponentSpec) -> ComponentSpec:
        work = self.work(one.name, plan.seconds, plan.takes, plan.passes, plan.tile_frames, plan.device != "cpu")
        kept, way = plan.stored(one.name), plan.mechanism(one.name)
        share = self.kept(one.name, kept, way) / one.bytes / ({"block": 0.2, "leaf": 0.12}.get(way, 1.0))
        shares = {kept: min(1.0, share)} if kept != "full" else {}
        return replace(one, working=WorkingMemory(fixed=work), **shares)

    def kept(self, component: str, stored: str, way: str) -> float:
        """Bytes of a component on the card, as its weights are kept and brought there."""
        key = ("kept", *self._config(component), stored, way)
        return self._recalled(key, lambda: _kept(self._built(component), stored, way))

    def _config(self, component: str) -> tuple[str, ...]:
        """What says how a component is built."""
        checkpoint = self.engine.checkpoint
        config = getattr(checkpoint, "config_of", None) or getattr(checkpoint, "config", None)
        return component, json.dumps(config(component), sort_keys=True) if callable(
            config
        ) and self.name != "ace-step-v1" else self.name

    def work(self, component: str, seconds: float, takes: int, passes: int, tile: int, on_card: bool = True) -> float:
        """Bytes at the peak of a component's work, weights apart; `on_card`: by the road of a card."""
        makers: dict[str, Callable[[], float]] = {
            "dit": lambda: self._dit(seconds, takes, passes, on_card), "text": self._text, "condition": self._condition,
            "codes": lambda: self._codes(seconds), "vae": lambda: self._vae(min(tile, round(seconds * 25))),
            "lm": lambda: self._lm(seconds, takes, on_card), "codec": self._codec,
            "decoder": lambda: self._decoder(takes, on_card),
        }  # fmt: skip
        key = {
            "dit": (seconds, takes, passes, on_card),
            "vae": (tile, seconds < 60),
            "lm": (seconds, takes, on_card),
            "decoder": (takes, on_card),
        }
        return self._recalled((*self._config(component), *key.get(component, ())), makers[component])

    def _recalled(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    # -- modules

    def _built(self, component: str) -> nn.Module:
        return self.engine.build(component, BF16)

    def _held(self, component: str) -> Any:
        return self.card.holds(self._built(component))

    def _peak(self, module: nn.Module, work: Callable[[], object], *answers: object) -> float:
        with (
            torch.inference_mode(),
            self.card.counting(module) as count,
            self.card.answering(*answers, all_asked=False),
        ):
            work()
        return float(count.peak)

    def _by_layers(self, count: int, peak: Callable[[int], float]) -> float:
        """The peak of so many layers, from that of few."""
        if self.whole or count <= FEW[1]:
            return peak(count)
        low, high = map(peak, FEW)
        return low + (high - low) / (FEW[1] - FEW[0]) * (count - FEW[0])

    def _by_takes(self, takes: int, peak: Callable[[int], float]) -> float:
        """The peak of so many takes, from that of one and two: each has rows of its own."""
        if self.whole or takes <= 2:
            return peak(takes)
        one, two = map(peak, (1, 2))
        return two + (two - one) * (takes - 2)

    # -- loops

    def _dit(self, seconds: float, takes: int, passes: int, on_card: bool) -> float:
        if self.name == "ace-step-v1":
            return self._by_takes(takes, lambda count: self._v1_look(seconds, count))
        config = {"encoder_hidden_size": 2048} | (XL if self.name.startswith("xl") else {})
        count = int(config.get("num_hidden_layers", 24))
        return self._by_layers(
            count,
            lambda layers: self._by_takes(
                takes * passes,
                lambda rows: self._ace15_look(config | {"num_hidden_layers": layers}, seconds, rows, on_card),
            ),
        )

    def _ace15_look(self, config: dict[str, Any], seconds: float, rows: int, on_card: bool) -> float:
        dit = empty(lambda: diffusers.AceStepTransformer1DModel(**config)).to(BF16)
        module = self.card.holds(card_attention.install(dit) if on_card else attention.install(dit))
        frames, cache, tensor = round(seconds * 25), attention.CrossAttentionCache(), self.card.tensor

        def look() -> None:
            x, states, seen = tensor(rows, frames, 64), tensor(rows, STATES, 2048), tensor(rows, frames, 128)
            for _ in range(2):  # the second finds keys and values made
                attention.velocity(module, x, torch.full((), 0.5, device=self.card.device), states, seen, cache=cache)

        return self._peak(module, look)

    def _v1_look(self, seconds: float, takes: int) -> float:
        module: Any = self.card.holds(empty(lambda: AceStepV1Transformer(V1Config())).to(BF16))
        frames, tensor = round(seconds * 44_100 / 4096), self.card.tensor

        def look() -> None:
            ids = torch.zeros(takes, LYRICS, dtype=torch.long, device=self.card.device)
            one = torch.ones_like(ids[:, :TEXT])
            heard = [
                module.prepare_states(
                    *module.encode(tensor(takes, TEXT, 768), one, tensor(takes, 512), ids, torch.ones_like(ids))
                )
                for _ in range(2)  # what is asked for, and what guidance leads away from
            ]
            x = tensor(takes, 8, 16, frames, dtype=torch.float32)
            found = [module.velocity(x, x.new_full((takes,), 0.5), one) for one in heard]
            del found

        return self._peak(module, look)

    def _decoder(self, takes: int, on_card: bool) -> float:
        """MusicGen's: a window's keys and values of each song, two rows each, and one song at work."""
        count = int(self.engine.checkpoint.config_of("decoder")["num_hidden_layers"])
        both = [
            self._by_layers(count, lambda layers, part=part: self._window(layers, on_card)[part]) for part in (0, 1)
        ]
        return both[0] + (takes - 1) * both[1]

    def _window(self, layers: int, on_card: bool) -> tuple[float, float]:
        trace = self._columns_traced if on_card else self._window_traced
        found: tuple[float, float] = self._recalled(("window", self.name, layers, on_card), lambda: trace(layers))
        return found

    def _window_traced(self, layers: int) -> tuple[float, float]:
        """The peak of a window of all its columns, and its keys and values."""
        module, shape, device = self._musicgen(layers), self.engine.checkpoint.shape, self.card.device
        columns = round(self.engine.window_seconds * shape.frames_per_second) + shape.codebooks
        with torch.inference_mode(), self.card.counting(module) as count:
            cache, heard = module.new_cache(), module.heard(torch.zeros(TEXT, 768), True, None, 2)
            module.next(torch.zeros(2 * shape.codebooks, columns, dtype=torch.long, device=device), cache, heard)
            module.next(torch.zeros(2 * shape.codebooks, 1, dtype=torch.long, device=device), cache, heard)
            kept = _cached(cache.self_attention_cache, cache.cross_attention_cache)
        return float(count.peak), kept

    def _columns_traced(self, layers: int) -> tuple[float, float]:
        """The same in steps of fixed shapes: half of a window is read at once, as an overlap is, and the rest written."""
        module, shape, device = self._musicgen(layers), self.engine.checkpoint.shape, self.card.device
        columns = round(self.engine.window_seconds * shape.frames_per_second) + shape.codebooks
        at, rules = columns // 2, Rules(1.0, 250, 1.0, 3.0)
        grid, chances = torch.zeros(shape.codebooks, columns, dtype=torch.long), torch.full((8, shape.codebooks), 0.5)
        with torch.inference_mode(), self.card.counting(module) as count:
            cache, heard = module.new_cache(), module.heard(torch.zeros(TEXT, 768), True, None, 2)
            told = torch.zeros(2 * shape.codebooks, at, dtype=torch.long, device=device)
            logits = module.next(told, cache, heard)
            fixed = FixedColumns(module, cache, logits, grid, grid == 0, at, rules, plain)
            del logits, told
            words = _cached(cache.cross_attention_cache)
            del cache, heard
            with self.card.answering(*[True] * 4, all_asked=False):
                fixed.write(chances, at)
        return float(count.peak), words + sum(one.nbytes for one in (*fixed._keys, *fixed._values))

    def _musicgen(self, layers: int) -> Any:
        place = self.folder / f"{self.name}-{layers}"
        config = json.loads((self.engine.checkpoint.folder / "config.json").read_text())
        config["decoder"]["num_hidden_layers"] = layers
        place.mkdir(exist_ok=True)
        for file in self.engine.checkpoint.folder.iterdir():
            (place / file.name).write_bytes(file.read_bytes())
        (place / "config.json").write_text(json.dumps(config))
        found = type(self.engine.checkpoint).open(place).build("decoder", BF16)
        assert isinstance(found, MusicGenDecoder)
        return self.card.holds(found)

    def _lm(self, seconds: float, takes: int, on_card: bool) -> float:
        config = self.engine.checkpoint.config("lm")
        return self._by_layers(
            int(config["num_hidden_layers"]),
            lambda layers: self._by_takes(
                takes, lambda count: self._written(config | {"num_hidden_layers": layers}, seconds, count, on_card)
            ),
        )

    def _written(self, config: dict[str, Any], seconds: float, takes: int, on_card: bool) -> float:
        """A prompt read, rows for guidance added with room for all codes, and tokens written."""
        from acestep_lab._libraries import transformers

        made = transformers.Qwen3Config(**config)
        module = self.card.holds(empty(lambda: transformers.Qwen3ForCausalLM(made)).to(BF16))
        decoder, rows, prompt = decoder_of(module), list(range(takes)), [1] * PROMPT

        def write() -> None:
            batch: Any = DecodeBatch.prefill(decoder, rows, prompt, 2.0, 100)
            batch.add_cfg_rows(prompt, round(5 * seconds))
            batch.feed([[1]] * takes)
            batch.logits(slice(0, 64_000))

        def write_on_card() -> None:
            batch: FixedBatch[int] = Shapes.prefill(decoder, rows, prompt, 2.0, THOUGHT_TOKENS, plain)
            batch.add_cfg_rows(prompt, round(5 * seconds))
            batch.write([Choice(TokenSampler(Planning(), row)) for row in rows], torch.arange(64_000), [])

        return self._peak(module, write_on_card if on_card else write, *[True] * 8)

    # -- encoders and decoders

    def _text(self) -> float:
        module, device = self._held("text"), self.card.device
        ids = torch.zeros(1, TEXT, dtype=torch.long, device=device)
        return self._peak(module, lambda: module(input_ids=ids, attention_mask=torch.ones_like(ids)))

    def _condition(self) -> float:
        module: Any = self._held("condition")
        encoding = conditioning.TextEncoding(self.card.tensor(TEXT, 1024), self.card.tensor(LYRICS, 1024))
        return self._peak(module, lambda: conditioning.encode_conditions(module, [encoding], TIMBRE), 0, 1, 1)

    def _codes(self, seconds: float) -> float:
        module: Any = self._held("codes")
        return self._peak(module, lambda: module.detokenizer(self.card.tensor(1, round(5 * seconds), 2048)))

    def _vae(self, frames: int) -> float:
        module: Any = self._held("vae")
        codec = Ace15Codec(module, max(frames, 2 * 9 + 1))
        return self._peak(module, lambda: codec.decode(torch.zeros(frames, 64)))

    def _codec(self) -> float:
        module: Any = self._held("codec")
        if self.name == "ace-step-v1":
            codec: Any = V1Codec(module.dcae, module.vocoder, V1_TILE)
            return self._peak(module, lambda: codec.decode(torch.zeros(2 * V1_TILE, 128)))
        shape = self.engine.checkpoint.shape
        codec = MusicGenCodec(module, shape.channels, self.card.device)
        codes = torch.zeros(MUSICGEN_TILE + 16, shape.codebooks, dtype=torch.long)
        return self._peak(module, lambda: codec.decode(codes))


def _cached(*caches: Any) -> float:
    """Bytes of keys and values."""
    layers = [layer for cache in caches for layer in cache.layers]
    return float(
        sum(each.nbytes for layer in layers for each in (layer.keys, layer.values) if isinstance(each, Tensor))
    )


def _kept(module: nn.Module, stored: str, way: str) -> float:
    """Bytes on the card: whole, or (streamed) what is always there and two of the largest pieces, at work and on its way."""
    if way not in ("block", "leaf"):
        return _bytes(module, stored)
    pieces = _blocks(module) if way == "block" else [one for one in module.modules() if not list(one.children())]
    sizes = sorted((_bytes(one, stored) for one in pieces), reverse=True)
    return _bytes(module, stored) - sum(sizes) + sum(sizes[:2])


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The outermost lists' parts: what is brought and sent away at once."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [block for child in module.children() for block in _blocks(child)]


def _bytes(module: nn.Module, stored: str) -> float:
    """Bytes of all that a module holds: linear layers in eight bits where they are kept so, one scale for each row."""
    seen: dict[int, float] = {}
    for name, part in module.named_modules():
        for key, value in (*part._parameters.items(), *part._buffers.items()):
            if value is not None:
                seen.setdefault(id(value), _stored(value, part, f"{name}.{key}", stored))
    return sum(seen.values())


def _stored(value: Tensor, part: nn.Module, name: str, stored: str) -> float:
    full = float(value.numel() * value.element_size())
    if stored == "int8" and type(part) is nn.Linear and value.ndim == 2:
        return float(value.numel() + 2 * value.shape[0])
    casts = isinstance(part, nn.Linear | nn.Conv1d | nn.ConvTranspose1d | nn.Embedding)
    return full / 2 if stored == "fp8" and casts and not any(one in name for one in KEPT_FULL) else full
