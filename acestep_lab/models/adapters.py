"""LoRA and LoKr: small weights trained beside the transformer, put on, weighed, and taken off again.

Read are the folders the reference's trainers write: PEFT's (`adapter_config.json` + `adapter_model.safetensors`; LoRA, DoRA,
rsLoRA, rank and alpha patterns, LoKr) and LyCORIS' (`lokr_weights.safetensors`). Every name, rank and alpha is settled from
the file itself in the reference's own words and only then said in diffusers' words, because translating patterns would not
be safe and diffusers' `load_lora_weights` drops alpha. The base weights are never touched: off is exactly the bare model.

    growl = Adapter.open("growl")                    # JSON and headers; nothing is put on yet
    apply(dit, [(growl, 0.8), (choir, 0.3)])         # these two and no others; call again to change strengths
    apply(dit, [])                                   # off
    remove(dit)                                      # off, and their memory given back
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import CheckpointError
from acestep_lab.models import original, weights
from acestep_lab.models.loading import is_hub_id, snapshot
from acestep_lab.models.weights import Entry, read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LYCORIS_WEIGHTS, LYCORIS_CONFIG = "lokr_weights.safetensors", "lokr_config"

_TARGET = re.compile(
    r"layers\.\d+\.((self_attn|cross_attn)\.(to_[qkv]|to_out\.0)|mlp\.(gate|up|down)_proj)"
    r"|time_embed(_r)?\.(linear_1|linear_2|time_proj)|condition_embedder"
)
"""The linear layers of the transformer, by diffusers' names."""

_PEFT_KEY = re.compile(
    r"(?P<module>.+?)\.(?P<word>lora_[AB]|lora_magnitude_vector|lokr_w[12](_[ab])?|lokr_t2)(\.\w+)*$"
)
_LYCORIS_KEY = re.compile(r"lycoris_(?P<module>\w+)\.(?P<word>lokr_w[12](_[ab])?|lokr_t[12]|alpha|dora_scale|scalar)$")
_OVERWRITES_BASE = ("pissa", "olora", "corda", "loftq", "mica", "orthogonal", "lora_ga")
"""Ways of starting a LoRA that change the base weights too; such a LoRA means nothing without them."""


@dataclass(frozen=True)
class Layer:
    """What an adapter adds to one linear layer: stored tensors by PEFT's word for them, and the factor before them."""

    theirs: str  # the layer's name in the reference
    scale: float  # alpha / rank (or / sqrt(rank)) before any strength
    rank: int
    tensors: Mapping[str, Entry]  # "lora_A", "lora_B", "lora_magnitude_vector", "lokr_w1", "lokr_w2_a", …


@dataclass(frozen=True)
class Adapter:
    """One trained adapter on disk; two of the same file and date are the same."""

    file: Path
    stamp: int  # when the file was written, in nanoseconds
    name: str = field(compare=False)
    kind: str = field(compare=False)  # "lora", "dora" or "lokr"
    layers: Mapping[str, Layer] = field(compare=False, repr=False)  # by diffusers' name of the layer
    biases: bool = field(compare=False, default=False, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Adapter:
        """Read an adapter's config and the headers of its weights; CheckpointError where it is none for ACE-Step 1.5.

        A folder, a LyCORIS file, or a hub id in the local cache.
        """
        place = Path(folder).expanduser()
        if not place.exists() and isinstance(folder, str) and is_hub_id(folder):
            place = snapshot(folder, f"There is no folder {folder}, and no adapter of that name in the cache")
        if not place.exists():
            raise CheckpointError(f"There is no adapter {place}; {weights.holds(place.parent)}")
        if place.is_dir() and (place / PEFT_CONFIG).is_file():
            return _peft(place)
        if place.is_dir() and (place / "adapter" / PEFT_CONFIG).is_file():  # a trainer's output folder
            return _peft(place / "adapter", name=place.name)
        file = _lycoris_file(place)
        if file is not None:
            return _lycoris(file)
        raise CheckpointError(
            f"{place} is no adapter: a PEFT adapter has {PEFT_CONFIG} and {PEFT_WEIGHTS}, a LyCORIS one "
            f"{LYCORIS_WEIGHTS}; {weights.holds(place if place.is_dir() else place.parent)}"
        )

    @property
    def rank(self) -> int:
        """The largest rank among its layers."""
        return max(layer.rank for layer in self.layers.values())

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(entry.size for layer in self.layers.values() for entry in layer.tensors.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """Which kinds of layers it adapts, in the reference's words: ("k_proj", "q_proj", …)."""
        return tuple(sorted({layer.theirs.split(".")[-1] for layer in self.layers.values()}))


def apply(dit: nn.Module, wanted: Sequence[tuple[Adapter, float]]) -> nn.Module:
    """Let exactly these adapters act on the transformer, each at its strength (1 as trained, 0 off, below 0 against it).

    New ones are put on, others switched off but kept aboard, so that strengths change at once. CheckpointError, and the
    transformer as it was, if one does not fit. With DoRA the strength weighs its direction; its magnitudes act whole.
    """
    adapters = [adapter for adapter, _ in wanted]
    odd = next((strength for _, strength in wanted if not math.isfinite(strength)), None)
    if odd is not None:
        raise CheckpointError(f"An adapter's strength is a number, 1 as trained and 0 off, not {odd!r}.")
    for place, adapter in enumerate(adapters):
        if adapter in adapters[:place]:
            raise CheckpointError(f"The adapter {adapter.name} is named twice; give it one strength.")
        _check(adapter, dit)
    aboard: dict[Adapter, str] = _aboard(dit)
    for adapter in adapters:
        if adapter not in aboard:
            aboard[adapter] = _put_on(dit, adapter, f"lab{len(aboard)}")
    _weigh(dit, {aboard[adapter]: float(strength) for adapter, strength in wanted})
    return dit


def remove(dit: nn.Module) -> nn.Module:
    """Take every adapter off, so that the transformer is the bare one again, weight for weight."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in list(dit.modules()):
        if isinstance(module, BaseTunerLayer):
            continue
        for name, child in list(module.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(module, name, child.get_base_layer())
    _aboard(dit).clear()
    return dit


def active(dit: nn.Module) -> tuple[Adapter, ...]:
    """The adapters aboard, acting or not, in the order they came."""
    return tuple(_aboard(dit))


def _aboard(dit: nn.Module) -> dict[Adapter, str]:
    """Which adapters this transformer wears, and under which name PEFT knows them; kept with the transformer itself."""
    if "_adapters_aboard" not in dit.__dict__:
        dit.__dict__["_adapters_aboard"] = {}
    return dit.__dict__["_adapters_aboard"]


# --- reading ----------------------------------------------------------------------------------------------------------


def _peft(folder: Path, name: str | None = None) -> Adapter:
    config = read_json(folder / PEFT_CONFIG)
    kind = str(config.get("peft_type", "")).upper()
    if kind not in ("LORA", "LOKR"):
        raise CheckpointError(
            f"The adapter {folder} is of the kind {kind or 'unknown'!r}; LoRA, DoRA and LoKr are read."
        )
    _refuse_unsupported(folder, config)
    file = folder / PEFT_WEIGHTS
    if not file.is_file():
        raise CheckpointError(f"The adapter {folder} lacks {PEFT_WEIGHTS}; {weights.holds(folder)}")
    found = _grouped(file, _PEFT_KEY)
    build = _lora_layer if kind == "LORA" else _lokr_layer
    layers = {
        original.ours(f"{module}.")[:-1]: build(module, config, tensors, file) for module, tensors in found.items()
    }
    _check_targets(layers, file)
    word = "dora" if config.get("use_dora") else kind.lower()
    return Adapter(file, file.stat().st_mtime_ns, name or folder.name, word, layers, bool(config.get("lora_bias")))


def _refuse_unsupported(folder: Path, config: Mapping[str, Any]) -> None:
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(_OVERWRITES_BASE):
        raise CheckpointError(
            f"The adapter {folder} was started with {start!r}, which changes the base weights as well; "
            "convert it to a plain LoRA with PEFT (`path_initial_model_for_weight_conversion`) and open that."
        )
    if config.get("modules_to_save"):
        raise CheckpointError(
            f"The adapter {folder} carries whole modules ({', '.join(config['modules_to_save'])}) besides its LoRA; "
            "only what is added to linear layers of the transformer can be put on and off."
        )


def _grouped(file: Path, pattern: re.Pattern[str]) -> dict[str, dict[str, Entry]]:
    """Stored tensors by layer (as named in the reference) and word; CheckpointError for a key of another kind."""
    found: dict[str, dict[str, Entry]] = {}
    for key, entry in weights.header(file).items():
        match = pattern.match(key)
        if match is None:
            raise CheckpointError(f"In {file}, {key} belongs to no kind of adapter that is read (LoRA, DoRA, LoKr).")
        module = _bare(match["module"])
        word = f"{match['word']}.bias" if key.endswith("lora_B.bias") else match["word"]
        found.setdefault(module, {})[word] = entry
    if not found:
        raise CheckpointError(f"The adapter {file} is empty.")
    return found


def _bare(module: str) -> str:
    """A layer's name without what wraps it: PEFT's model, the reference's decoder."""
    for prefix in ("base_model.model.", "decoder.", "transformer."):
        module = module.removeprefix(prefix)
    return module


def _lora_layer(module: str, config: Mapping[str, Any], tensors: Mapping[str, Entry], file: Path) -> Layer:
    if not {"lora_A", "lora_B"} <= set(tensors):
        raise CheckpointError(f"In {file}, {module} has {', '.join(sorted(tensors))} but a LoRA has lora_A and lora_B.")
    if config.get("use_dora") and "lora_magnitude_vector" not in tensors:
        raise CheckpointError(f"In {file}, {module} lacks the magnitudes its config promises (use_dora).")
    rank = tensors["lora_A"].shape[0]
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", rank))
    return Layer(module, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank), rank, tensors)


def _lokr_layer(module: str, config: Mapping[str, Any], tensors: Mapping[str, Entry], file: Path) -> Layer:
    rank = int(_by_pattern(config.get("rank_pattern"), module, config.get("r", 8)))
    alpha = _by_pattern(config.get("alpha_pattern"), module, config.get("alpha", rank))
    return Layer(module, alpha / rank, rank, _kron(module, tensors, file))


def _by_pattern(patterns: Mapping[str, float] | None, module: str, otherwise: float) -> float:
    """PEFT's rule: the first pattern that is the module's whole name or the end of it, as a regular expression."""
    return next((v for p, v in (patterns or {}).items() if re.match(rf"(.*\.)?({p})$", module)), otherwise)


def _kron(module: str, tensors: Mapping[str, Entry], file: Path) -> Mapping[str, Entry]:
    """The two factors of a Kronecker product, each whole or as a product of two."""
    for factor in ("lokr_w1", "lokr_w2"):
        if factor not in tensors and not {f"{factor}_a", f"{factor}_b"} <= set(tensors):
            raise CheckpointError(f"In {file}, {module} lacks {factor}; it has {', '.join(sorted(tensors))}.")
    if any(word.startswith("lokr_t") for word in tensors):
        raise CheckpointError(
            f"In {file}, {module} is adapted as a convolution (lokr_t2), which the transformer has not."
        )
    return tensors


def _lycoris_file(place: Path) -> Path | None:
    """The LyCORIS file of a folder (or the file itself): by its name, or because its header speaks of a LoKr."""
    if place.is_file():
        return place if place.suffix == ".safetensors" else None
    if (place / LYCORIS_WEIGHTS).is_file():
        return place / LYCORIS_WEIGHTS
    return next((file for file in sorted(place.glob("*.safetensors")) if LYCORIS_CONFIG in weights.notes(file)), None)


def _lycoris(file: Path) -> Adapter:
    config = _lycoris_config(file)
    layers = {}
    for flat, tensors in _grouped(file, _LYCORIS_KEY).items():
        if _does_nothing(tensors):
            continue
        module = _unflattened(flat)
        if "dora_scale" in tensors:
            raise CheckpointError(
                f"The adapter {file} decomposes weights (LoKr with weight_decompose), which is not supported; "
                "train it without, or as a DoRA."
            )
        layers[original.ours(f"{module}.")[:-1]] = _lycoris_layer(module, config, tensors, file)
    if not layers:
        raise CheckpointError(f"The adapter {file} adds nothing: every one of its weights is zero.")
    _check_targets(layers, file)
    name = file.parent.name if file.name == LYCORIS_WEIGHTS else file.stem
    return Adapter(file, file.stat().st_mtime_ns, name, "lokr", layers)


def _does_nothing(tensors: Mapping[str, Entry]) -> bool:
    """Whether a layer was never trained: the reference has LyCORIS wrap every layer, convolutions too, and trains some.

    What it does not train keeps the zeros it was born with, so that nothing is added.
    """
    from safetensors import safe_open

    factors = [entry for word, entry in tensors.items() if word.startswith(("lokr_w", "scalar"))]
    with safe_open(factors[0].file, framework="pt") as stored:
        return any(not stored.get_tensor(entry.key).any() for entry in factors)


def _lycoris_config(file: Path) -> Mapping[str, Any]:
    written = weights.notes(file).get(LYCORIS_CONFIG)
    try:
        config = json.loads(written) if written else {}
    except ValueError as reason:
        raise CheckpointError(f"The header of {file} has a damaged {LYCORIS_CONFIG} ({reason}).") from reason
    return config if isinstance(config, dict) else {}


def _lycoris_layer(module: str, config: Mapping[str, Any], tensors: Mapping[str, Entry], file: Path) -> Layer:
    """LyCORIS stores alpha as it scales, so that alpha / rank holds for rsLoRA too; factors stored whole have no rank."""
    factors = _kron(module, {word: entry for word, entry in tensors.items() if word.startswith("lokr_")}, file)
    split = next((factors[word] for word in ("lokr_w2_a", "lokr_w1_a") if word in factors), None)
    rank = split.shape[1] if split is not None else int(config.get("linear_dim") or 0)
    if not rank:
        return Layer(module, 1.0, 1, factors)
    otherwise = float(config.get("linear_alpha") or rank) if split is not None else rank
    return Layer(module, _one_number(tensors.get("alpha"), otherwise) / rank, rank, factors)


def _one_number(entry: Entry | None, otherwise: float) -> float:
    """A stored single number; LyCORIS keeps alpha so."""
    if entry is None:
        return otherwise
    from safetensors import safe_open

    with safe_open(entry.file, framework="pt") as stored:
        return float(stored.get_tensor(entry.key))


_FLAT = re.compile(
    r"layers_(\d+)_(self_attn|cross_attn|mlp)_(\w+)|(time_embed_r|time_embed)_(linear_1|linear_2|time_proj)"
)


def _unflattened(flat: str) -> str:
    """The layer's name again, where LyCORIS wrote "_" for every "."."""
    match = _FLAT.fullmatch(flat)
    if match is None:
        return flat
    layer, block, leaf, embed, inner = match.groups()
    return f"layers.{layer}.{block}.{leaf}" if layer else f"{embed}.{inner}"


def _check_targets(layers: Iterable[str], file: Path) -> None:
    strange = sorted(name for name in layers if not _TARGET.fullmatch(name))
    if strange:
        raise CheckpointError(
            f"The adapter {file} is not for ACE-Step 1.5: it adapts {strange[0]}"
            f"{f' and {len(strange) - 1} more layers' if len(strange) > 1 else ''}, which the transformer has not. "
            "It adapts layers.N.self_attn, .cross_attn (q_proj, k_proj, v_proj, o_proj) and .mlp."
        )


# --- putting on -------------------------------------------------------------------------------------------------------


def _check(adapter: Adapter, dit: nn.Module) -> None:
    """CheckpointError if the adapter was trained for a transformer of another size, MachineError if fp8 forbids it."""
    from acestep_lab.models.storage import refuse_adapter

    refuse_adapter(dit, adapter.kind)
    for name, layer in adapter.layers.items():
        here = _linear(dit, name)
        if here is None:
            raise CheckpointError(
                f"The adapter {adapter.name} does not fit this transformer: it adapts {layer.theirs}, which is not there "
                "(an XL adapter on a smaller model?)."
            )
        trained = _shape(layer)
        if trained != (here.out_features, here.in_features):
            raise CheckpointError(
                f"The adapter {adapter.name} does not fit this transformer: its {layer.theirs} is for a layer of "
                f"{trained[0]}×{trained[1]} where this one is {here.out_features}×{here.in_features}."
            )


def _linear(dit: nn.Module, name: str) -> Any:
    """The bare linear layer of a name, under whatever it wears; None if there is none."""
    try:
        found: Any = dit.get_submodule(name)
    except AttributeError:
        return None
    return found.get_base_layer() if hasattr(found, "get_base_layer") else found


def _shape(layer: Layer) -> tuple[int, int]:
    """(out, in) of the linear layer an adapter's layer was trained for."""
    t = layer.tensors
    if "lora_A" in t:
        return t["lora_B"].shape[0], t["lora_A"].shape[1]
    first = t["lokr_w1"].shape if "lokr_w1" in t else (t["lokr_w1_a"].shape[0], t["lokr_w1_b"].shape[1])
    second = t["lokr_w2"].shape if "lokr_w2" in t else (t["lokr_w2_a"].shape[0], t["lokr_w2_b"].shape[1])
    return first[0] * second[0], first[1] * second[1]


def _put_on(dit: nn.Module, adapter: Adapter, name: str) -> str:
    """Let PEFT wrap the adapter's layers and fill in its weights, on each layer's device, in the precision it computes in."""
    from peft import LoKrConfig, LoraConfig, inject_adapter_in_model

    from acestep_lab.models.storage import floating_dtype

    dtype = floating_dtype(dit)
    targets = list(adapter.layers)
    if adapter.kind == "lokr":
        inject_adapter_in_model(LoKrConfig(r=1, alpha=1, target_modules=targets), dit, name)
    else:
        config = LoraConfig(
            r=adapter.rank,
            target_modules=targets,
            rank_pattern={
                re.escape(n): layer.rank for n, layer in adapter.layers.items() if layer.rank != adapter.rank
            },
            use_dora=adapter.kind == "dora",
            lora_bias=adapter.biases,
        )
        inject_adapter_in_model(config, dit, name)
    del dit.peft_config  # one per model in PEFT's eyes, which warns at the next; ours is `_aboard`
    fill = _fill_kron if adapter.kind == "lokr" else _fill_lora
    for target, layer in adapter.layers.items():
        fill(_wearing(dit, target, name), name, layer, dtype)
    return name


def _wearing(dit: nn.Module, target: str, name: str) -> Any:
    """PEFT's layer that holds this adapter: the outermost, or one it wraps."""
    found: Any = dit.get_submodule(target)
    while name not in {
        *getattr(found, "lora_A", ()),
        *getattr(found, "lokr_w1", ()),
        *getattr(found, "lokr_w1_a", ()),
    }:
        found = found.base_layer
    return found


def _fill_lora(worn: Any, name: str, layer: Layer, dtype: torch.dtype) -> None:
    homes = {"lora_A": "lora_A.{}.weight", "lora_B": "lora_B.{}.weight", "lora_B.bias": "lora_B.{}.bias"}
    homes["lora_magnitude_vector"] = "lora_magnitude_vector.{}.weight"
    for word, tensor in _read(layer).items():
        weight = worn.get_parameter(homes[word].format(name))
        weight.data = tensor.to(weight.device, dtype)
    worn.lora_alpha[name] = layer.scale * layer.rank
    worn.set_scale(name, 1.0)


def _fill_kron(worn: Any, name: str, layer: Layer, dtype: torch.dtype) -> None:
    """Both factors whole, so that no rule of factorisation need agree with the trainer's."""
    from torch import nn

    stored = _read(layer)
    device = worn.get_base_layer().weight.device
    for factor in ("lokr_w1", "lokr_w2"):
        whole = stored[factor] if factor in stored else stored[f"{factor}_a"] @ stored[f"{factor}_b"]
        for half in (getattr(worn, f"{factor}_a"), getattr(worn, f"{factor}_b")):
            if name in half:
                del half[name]
        getattr(worn, factor)[name] = nn.Parameter(whole.to(device, dtype), requires_grad=False)
    worn.alpha[name], worn.r[name] = layer.scale, 1
    worn.set_scale(name, 1.0)


def _read(layer: Layer) -> dict[str, Tensor]:
    import torch

    from acestep_lab.models.assembly import read

    return read(layer.tensors, torch.float32)


def _weigh(dit: nn.Module, strengths: Mapping[str, float]) -> None:
    """Give each adapter its strength; those at 0, and those not named, do not act at all."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    acting = [name for name, strength in strengths.items() if strength != 0.0]
    worn: list[Any] = [module for module in dit.modules() if isinstance(module, BaseTunerLayer)]
    for layer in worn:
        layer.enable_adapters(bool(acting))
        if acting:
            layer.set_adapter(acting)
        for name in acting:
            layer.set_scale(name, strengths[name])
    dit.requires_grad_(False)
    dit.eval()
