"""Hollow checkpoints: every engine's, tiny and at the published sizes, with configs and tokenizers and no numbers at all.

Their components are built on meta and held by a pretended card (`tests/phantom.py`), so that an engine's own prepare, sample and
decode run at 2B or 4B in seconds, on shapes only::

    with PhantomCard(real_host=True) as card:
        engine = hollow_ace15(folder, "turbo")
        devices = HollowDevices(card, engine)       # the engine is told
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acestep_lab._libraries import transformers
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.engines.ace_v1 import checkpoint as v1
from acestep_lab.engines.ace_v1 import components as v1_components
from acestep_lab.engines.ace_v1 import dcae, text_encoder
from acestep_lab.engines.ace_v1.engine import AceV1Engine
from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig
from acestep_lab.engines.musicgen import catalog as musicgen_catalog
from acestep_lab.engines.musicgen import checkpoint as musicgen
from acestep_lab.engines.musicgen import components as musicgen_components
from acestep_lab.engines.musicgen.engine import MusicGenEngine
from acestep_lab.models import catalog, components, loading
from acestep_lab.models.assembly import empty
from acestep_lab.models.lanes import Watch, watching
from acestep_lab.models.memory_plan import MemoryPlan, plan_for_tier
from acestep_lab.models.tiers import Tier
from tests.phantom import PhantomCard, PhantomLanes
from tests.tiny import tiny_tokenizer
from tests.tiny_musicgen import tiny_t5_tokenizer
from tests.tiny_v1_words import tiny_vocabulary

_LANGUAGE = {"model_type": "qwen3", "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True}
LMS: Mapping[str, Mapping[str, int]] = {
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "1.7B": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
    "4B": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32},
}
"""The published planners (Qwen3), each with a table of 217,204 words."""
XL = {
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "encoder_hidden_size": 2048,
}  # fmt: skip
"""What an XL transformer has unlike diffusers' defaults, which are the 2B's."""
VAE = {
    "encoder_hidden_size": 128, "downsampling_ratios": [2, 4, 4, 6, 10], "channel_multiples": [1, 2, 4, 8, 16],
    "decoder_channels": 128, "decoder_input_channels": 64, "audio_channels": 2, "sampling_rate": 48_000,
}  # fmt: skip


def _write(folder: Path, config: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, default=list))


# --- ACE-Step 1.5 -----------------------------------------------------------------------------------------------------


_COUNTED: dict[tuple[str, str], int] = {}


class _HollowCheckpoint(loading.Checkpoint):
    """A checkpoint whose components are made on meta."""

    def build(self, component: str, dtype: torch.dtype | None = None) -> nn.Module:
        self._require(component)
        return empty(components.maker(self, component)).to(dtype or torch.float32).requires_grad_(False).eval()

    def sizes(self, bytes_per_number: int | None = None) -> dict[str, int]:
        return {name: self._numbers(name) * (bytes_per_number or 2) for name in self.components}

    def _numbers(self, name: str) -> int:
        """Numbers of a component; counted once for each config there is."""
        said = name, json.dumps(self.config(name), sort_keys=True)
        if said not in _COUNTED:
            _COUNTED[said] = numbers_of(self.build(name))
        return _COUNTED[said]

    def _entries(self, component: str) -> dict[str, Any]:
        return {}


def hollow_ace15(folder: Path, name: str = "turbo", lm: str = "", tiny: Path | None = None) -> Ace15Engine:
    """The engine of a published checkpoint by its catalog name, with a planner of a size; `tiny`: of a tiny folder's configs."""
    if tiny is None:
        folder = _ace15_folder(folder / name, xl=name.startswith("xl"), lm=lm)
    found = _HollowCheckpoint.open(tiny or folder)
    return Ace15Engine(replace(found, row=replace(found.row if tiny else catalog.row(name))))


def _ace15_folder(folder: Path, xl: bool, lm: str) -> Path:
    """The configs of a published checkpoint in the diffusers layout."""
    _write(folder / "transformer", {"encoder_hidden_size": 2048} | (XL if xl else {}))
    for name in ("condition_encoder", "audio_tokenizer", "audio_token_detokenizer"):
        _write(folder / name, {})
    _write(folder / "vae", VAE)
    _write(folder / "text_encoder", {**_LANGUAGE, **LMS["0.6B"], "vocab_size": 151_669})
    tiny_tokenizer(0).save_pretrained(folder / "tokenizer")
    if lm:
        _write(folder / "lm", {**_LANGUAGE, **LMS[lm], "vocab_size": 217_204, "max_position_embeddings": 40_960})
        tiny_tokenizer(40).save_pretrained(folder / "lm")
    return folder


# --- ACE-Step v1 ------------------------------------------------------------------------------------------------------


class _HollowV1(v1.Checkpoint):
    """An ACE-Step v1 checkpoint whose components are made on meta."""

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        module: Any = empty(self._maker(component)).to(dtype).requires_grad_(False).eval()
        return _one_table(module) if component == "text" else module

    def _maker(self, component: str) -> Callable[[], nn.Module]:
        if component == "dit":
            return lambda: AceStepV1Transformer(self.config)
        if component == "text":
            config = transformers.UMT5Config.from_dict(text_encoder.config_of(self.place(v1.TEXT)))
            return lambda: transformers.UMT5EncoderModel(config)
        of_dcae, of_vocoder = (
            json.loads((self.place(name) / "config.json").read_text()) for name in (v1.DCAE, v1.VOCODER)
        )
        vocoder = VocoderConfig.from_config(of_vocoder)
        return lambda: v1_components.Codecs(dcae.build(of_dcae), Vocoder(vocoder).fuse())

    def sizes(self) -> dict[str, int]:
        return {name: 2 * numbers_of(self.build(name, torch.bfloat16)) for name in v1.COMPONENTS}

    def entries(self, component: str) -> dict[str, Any]:
        return {}


def hollow_v1(folder: Path, tiny: Path | None = None) -> AceV1Engine:
    """The engine of the published ACE-Step v1; `tiny`: of a tiny folder's configs."""
    found = _HollowV1.open(tiny or _v1_folder(folder / "v1"))
    return AceV1Engine(found)


def _v1_folder(folder: Path) -> Path:
    _write(folder / v1.TRANSFORMER, V1Config().to_config())
    _write(folder / v1.DCAE, dcae.PUBLISHED)
    _write(folder / v1.VOCODER, vars(VocoderConfig()))
    umt5 = {"model_type": "umt5", "vocab_size": 256_384, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12,
            "feed_forward_proj": "gated-gelu"}  # fmt: skip
    _write(folder / v1.TEXT, umt5)
    tiny_t5_tokenizer().save(str(folder / v1.TEXT / "tokenizer.json"))
    tiny_vocabulary(folder / v1.LYRICS / "vocab.json")
    return folder


# --- MusicGen ---------------------------------------------------------------------------------------------------------


class _HollowMusicGen(musicgen.Checkpoint):
    """A MusicGen checkpoint whose components are made on meta."""

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        dtype = torch.float32 if component == "codec" else dtype
        module = empty(musicgen_components.maker(self, component)).to(dtype).requires_grad_(False).eval()
        musicgen_components.finish(component, module, dtype)
        return module

    def sizes(self) -> dict[str, int]:
        width = {"codec": 4}
        return {name: width.get(name, 2) * numbers_of(self.build(name, torch.bfloat16)) for name in musicgen.COMPONENTS}

    def entries(self, component: str) -> dict[str, Any]:
        return {}


def hollow_musicgen(folder: Path, name: str = "musicgen-small", tiny: Path | None = None) -> MusicGenEngine:
    """The engine of a published MusicGen by its catalog name; `tiny`: of a tiny folder's configs."""
    found = _HollowMusicGen.open(tiny or _musicgen_folder(folder / name, musicgen_catalog.ROWS[name]))
    return MusicGenEngine(found)


def _musicgen_folder(folder: Path, row: musicgen_catalog.Row) -> Path:
    text = {
        "model_type": "t5",
        "vocab_size": 32_128,
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 3072,
        "num_layers": 12,
        "num_heads": 12,
    }
    codec = {"model_type": "encodec", "sampling_rate": 32_000, "num_filters": 64, "hidden_size": 128, "upsampling_ratios": [8, 5, 4, 4],
             "codebook_size": 2048, "codebook_dim": 128, "target_bandwidths": [2.2], "use_causal_conv": False,
             "use_conv_shortcut": False, "audio_channels": 1}  # fmt: skip
    decoder = {"vocab_size": 2048, "hidden_size": row.width, "ffn_dim": 4 * row.width, "num_hidden_layers": row.layers,
               "num_attention_heads": row.width // 64, "num_codebooks": row.codebooks, "audio_channels": 1 + row.stereo,
               "pad_token_id": 2048, "bos_token_id": 2048, "max_position_embeddings": 2048}  # fmt: skip
    kind = "musicgen_melody" if row.melody else "musicgen"
    whole = {
        "model_type": kind,
        "text_encoder": text,
        "audio_encoder": codec,
        "decoder": decoder | {"model_type": f"{kind}_decoder"},
    }
    _write(folder, whole | ({"chroma_length": 235, "num_chroma": 12} if row.melody else {}))
    (folder / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "guidance_scale": 3.0, "max_length": 1500})
    )
    tiny_t5_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


# --- where the components are -------------------------------------------------------------------------------------------


def _one_table(text: Any) -> nn.Module:
    """T5 reads one table of words under two names."""
    text.encoder.embed_tokens.weight = text.shared.weight
    found: nn.Module = text
    return found


def numbers_of(module: nn.Module) -> int:
    """Numbers in a module's parameters and the buffers that are stored with it."""
    return sum(
        tensor.numel() for tensor in {id(one): one for one in module.state_dict(keep_vars=True).values()}.values()
    )


class HollowDevices:
    """An engine's components on the pretended card, built on meta by the engine's own `build` when they are first asked for."""

    def __init__(self, card: PhantomCard, engine: Any, plan: MemoryPlan | None = None) -> None:
        self.card, self.engine, self.device = card, engine, card.device
        self.memory_plan = plan or plan_for_tier(Tier.for_memory(24), engine.component_specs(), passes=engine.passes)
        self.lanes = PhantomLanes(card, self.memory_plan.machine.memory_bytes)
        self.modules: dict[str, nn.Module] = {}
        self.asked = Counter[str]()
        engine.connect(self)

    def module(self, name: str) -> nn.Module:
        """A component on the card, in the dtype that is planned."""
        if name not in self.modules:
            self.modules[name] = self.card.holds(self.engine.build(name, self.memory_plan.torch_dtype))
        return self.modules[name]

    def device_for(self, name: str) -> torch.device:
        """All work on the one card."""
        return self.device

    @contextmanager
    def on(self, component: str) -> Iterator[Any]:
        self.asked[component] += 1
        yield self.module(component)

    def run_with_retry(self, component: str, operation: Callable[[Any], Any]) -> Any:
        with self.on(component) as module:
            return operation(module)

    def free(self) -> None:
        self.modules.clear()

    def watched(self) -> AbstractContextManager[Watch]:
        return watching(Watch(), ())

    def say(self, sentence: str) -> None:
        """Nobody waits for music here."""
