"""LoRA and its kin: small weights trained beside the transformer, put on, weighed, and taken off again.

`adapter_files` reads them, in every layout people share them in; here they are attached. Every name, rank and alpha is settled
from the file itself in its own words and only then said in diffusers' words, because translating patterns would not be safe
and diffusers' `load_lora_weights` drops alpha. The base weights are never touched: off is exactly the bare model.

    growl = Adapter.open("growl")                    # JSON and headers; nothing is put on yet
    apply(dit, [(growl, 0.8), (choir, 0.3)])         # these two and no others; call again to change strengths
    apply(dit, [])                                   # off
    remove(dit)                                      # off, and their memory given back
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acestep_lab._libraries import peft, peft_layers
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import adapter_files, adapter_names, weights
from acestep_lab.models.adapter_files import Layer
from acestep_lab.models.loading import is_hub_id, snapshot
from acestep_lab.prompt.checks import is_a, plain_number

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Adapter:
    """One trained adapter on disk; two of the same file and date are the same."""

    file: Path
    stamp: int  # when the file was written, in nanoseconds
    name: str = field(compare=False)
    layers: Mapping[str, Layer] = field(compare=False, repr=False)  # by diffusers' name of the layer
    biases: bool = field(compare=False, default=False, repr=False)
    family: str = field(compare=False, default=adapter_names.ACE15.name, repr=False)  # of the checkpoints it is for

    @classmethod
    def open(cls, place: str | Path) -> Adapter:
        """Read an adapter's config and the headers of its weights; CheckpointError where it is none for ACE-Step.

        A safetensors file, a folder with one (or a trainer's output folder), or a hub id in the local cache.
        """
        if not is_a(place, str, Path) or not str(place).strip():
            raise CheckpointError(f"An adapter is a file or a folder, not {shown(place)}.")
        try:
            there = Path(place).expanduser()
            if not there.exists() and isinstance(place, str) and is_hub_id(place):
                there = snapshot(place, f"There is no folder {shown(place)}, and no adapter of that name in the cache")
            if not there.exists():
                raise CheckpointError(f"There is no adapter {shown(str(there), 120)}; {weights.holds(there.parent)}")
            found = adapter_files.find(there)
            stamp = found.file.stat().st_mtime_ns
        except (OSError, ValueError, RuntimeError) as reason:  # a name no disk has, a folder that may not be read
            raise CheckpointError(
                f"The adapter {shown(str(place), 100)} cannot be read ({shown(str(reason))})."
            ) from reason
        return cls(found.file, stamp, found.name, found.layers, found.biases, found.family)

    @property
    def kind(self) -> str:
        """ "lora", "dora" (PEFT's), "lokr" or "loha"; more than one joined by "+"."""
        kinds = {"dora" if "lora_magnitude_vector" in one.tensors else one.kind for one in self.layers.values()}
        return "+".join(sorted(kinds))

    @property
    def decomposed(self) -> bool:
        """Whether it scales the weights to lengths it learnt (DoRA), for which it has to read them."""
        words = ("lora_magnitude_vector", "dora_scale")
        return any(word in layer.tensors for layer in self.layers.values() for word in words)

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
        """Which kinds of layers it adapts, in the file's words: ("k_proj", "q_proj", …)."""
        return tuple(sorted({_leaf(layer.theirs) for layer in self.layers.values()}))


def _leaf(theirs: str) -> str:
    """The last word of a layer's name, with dots or underscores."""
    match = re.search(
        r"([qkvo]_proj|to_[qkv]|to_out(?:[._]0)?|(?:gate|up|down)_proj|linear_(?:q|k|v|out|pos)|w_[12])$", theirs
    )
    match = match or re.search(r"((?:inverted|point)_conv)[._]conv$", theirs)
    return match[1] if match else theirs.split(".")[-1]


def apply(dit: nn.Module, wanted: Sequence[tuple[Adapter, float]]) -> nn.Module:
    """Let exactly these adapters act on the transformer, each at its strength (1 as trained, 0 off, below 0 against it).

    New ones are put on, others switched off but kept attached, so that strengths change at once. CheckpointError, and the
    transformer as it was, if one does not fit. Half the strength is half of the change, except for PEFT's DoRA, where the
    strength weighs the direction and the magnitudes act whole (`dora_scale`, LyCORIS' and kohya's, is weighed whole).
    """
    adapters = [adapter for adapter, _ in wanted]
    _check_strengths([strength for _, strength in wanted])
    for place, adapter in enumerate(adapters):
        if adapter in adapters[:place]:
            raise CheckpointError(f"The adapter {adapter.name} is named twice; give it one strength.")
        check_fits(adapter, dit)
    attached: dict[Adapter, str] = _attached(dit)
    for adapter in adapters:
        if adapter not in attached:
            _check_numbers(adapter)
    for adapter in adapters:
        if adapter not in attached:
            attached[adapter] = _attach(dit, adapter, f"lab{len(attached)}")
    _weigh(dit, {attached[adapter]: float(strength) for adapter, strength in wanted})
    return dit


def _check_strengths(strengths: Sequence[object]) -> None:
    odd = [strength for strength in strengths if not _is_strength(strength)]
    if odd:
        raise CheckpointError(f"An adapter's strength is a number, 1 as trained and 0 off, not {shown(odd[0])}.")


def _is_strength(value: object) -> bool:
    number = plain_number(value)
    return number is not None and abs(number) < 1e6


def opened(asked: Sequence[object]) -> tuple[tuple[Adapter, float], ...]:
    """Adapters as people name them, each alone or with a strength: `("growl", ("choir.safetensors", 0.5))`."""
    alone = next((one for one in asked if plain_number(one) is not None), None)
    if alone is not None:
        raise CheckpointError(
            f"A strength stands beside its adapter, in brackets of their own: ('growl', 0.5), and not {shown(alone)} alone."
        )
    pairs: list[Any] = [one if is_a(one, tuple) and len(one) == 2 else (one, 1.0) for one in asked]  # type: ignore[arg-type]
    _check_strengths([strength for _, strength in pairs])
    return tuple((Adapter.open(place), float(strength)) for place, strength in pairs)


def remove(dit: nn.Module) -> nn.Module:
    """Take every adapter off, so that the transformer is the bare one again, weight for weight."""
    for module in list(dit.modules()):
        if isinstance(module, peft_layers.BaseTunerLayer):
            continue
        for name, child in list(module.named_children()):
            if isinstance(child, peft_layers.BaseTunerLayer):
                setattr(module, name, child.get_base_layer())
    _attached(dit).clear()
    return dit


def active(dit: nn.Module) -> tuple[Adapter, ...]:
    """The adapters attached, acting or not, in the order they came."""
    return tuple(_attached(dit))


def _attached(dit: nn.Module) -> dict[Adapter, str]:
    """Which adapters are attached to this transformer, and under which name PEFT knows them; kept with the transformer itself."""
    if "_attached_adapters" not in dit.__dict__:
        dit.__dict__["_attached_adapters"] = {}
    return dit.__dict__["_attached_adapters"]


# --- putting on -------------------------------------------------------------------------------------------------------


def check_fits(adapter: Adapter, dit: nn.Module) -> None:
    """CheckpointError if the adapter was trained for another family's transformer or one of another size, MachineError if fp8
    forbids it.
    """
    from acestep_lab.models.storage import refuse_adapter

    of = adapter_names.family_of(dit)
    if of is not None and of.name != adapter.family:
        check_family(adapter, of.name)
    refuse_adapter(dit, "dora" if adapter.decomposed else adapter.kind)
    for name, layer in adapter.layers.items():
        here, trained = _linear(dit, name), layer.shape
        if here is None:
            raise CheckpointError(
                f"The adapter {adapter.name} does not fit this transformer: it adapts {layer.theirs} "
                f"({trained[0]}×{trained[1]}), which is not there; it has {_depth(dit)} layers."
            )
        if trained != (here.out_features, here.in_features):
            raise CheckpointError(
                f"The adapter {adapter.name} does not fit this transformer: its {layer.theirs} is for a layer of "
                f"{trained[0]}×{trained[1]} where this one is {here.out_features}×{here.in_features}."
            )


def check_family(adapter: Adapter, family: str) -> None:
    """CheckpointError where an adapter was taught on a checkpoint of another family; no weights are needed to know."""
    titles = {one.name: one.title for one in adapter_names.FAMILIES}
    if adapter.family != family:
        own, here = titles[adapter.family], titles.get(family, family)
        raise CheckpointError(
            f"The adapter {adapter.name} is for {own}, and this checkpoint is {here}: open a checkpoint of {own}, or take an "
            f"adapter that was taught on {here}."
        )


def _linear(dit: nn.Module, name: str) -> Any:
    """The bare linear layer of a name, under whatever is attached to it; None if there is none."""
    try:
        found: Any = dit.get_submodule(name)
    except AttributeError:
        return None
    return found.get_base_layer() if hasattr(found, "get_base_layer") else found


def _depth(dit: nn.Module) -> int:
    of = adapter_names.family_of(dit)
    layers: Any = () if of is None else getattr(dit, of.trunk)
    return len(layers)


def _check_numbers(adapter: Adapter) -> None:
    """CheckpointError where a stored number is none: one of them would silence the whole song."""
    for layer in adapter.layers.values():
        for word, tensor in _read(layer).items():
            if not tensor.isfinite().all():
                raise CheckpointError(
                    f"The adapter {adapter.name} is damaged: {layer.theirs} has numbers that are none (NaN or infinite) "
                    f"in {word}. Fetch it again."
                )


def _attach(dit: nn.Module, adapter: Adapter, name: str) -> str:
    """Put every layer on by the way of its kind, in the precision the transformer computes in."""
    from acestep_lab.models.storage import floating_dtype

    dtype = floating_dtype(dit)
    ways: dict[str, dict[str, Layer]] = {}
    for target, layer in adapter.layers.items():
        ways.setdefault(_way(layer), {})[target] = layer
    for target, layer in ways.pop("added", {}).items():
        _add(dit, target, layer, name, dtype)
    for way, layers in ways.items():
        _inject(dit, way, layers, name, adapter.biases)
        fill = _fill_kron if way == "lokr" else _fill_lora
        for target, layer in layers.items():
            fill(_layer_with(dit, target, name), name, layer, dtype)
    return name


def _way(layer: Layer) -> str:
    """How a layer is put on: by PEFT's layer for "lora", "dora" or "lokr", or by our own, "added"."""
    if layer.kind == "loha" or "dora_scale" in layer.tensors:
        return "added"
    return "dora" if "lora_magnitude_vector" in layer.tensors else layer.kind


def _inject(dit: nn.Module, kind: str, layers: Mapping[str, Layer], name: str, biases: bool) -> None:
    """Let PEFT wrap the layers of a LoRA or LoKr."""
    if kind == "lokr":
        peft.inject_adapter_in_model(peft.LoKrConfig(r=1, alpha=1, target_modules=list(layers)), dit, name)
    else:
        rank = max(layer.rank for layer in layers.values())
        ranks = {re.escape(n): layer.rank for n, layer in layers.items() if layer.rank != rank}
        config = peft.LoraConfig(
            r=rank,
            target_modules=list(layers),
            rank_pattern=ranks,
            use_dora=kind == "dora",
            lora_bias=biases,
        )
        peft.inject_adapter_in_model(config, dit, name)
    del dit.peft_config  # one per model in PEFT's eyes, which warns at the next; ours is `_attached`


def _add(dit: nn.Module, target: str, layer: Layer, name: str, dtype: torch.dtype) -> None:
    """Put what PEFT has no layer for beside a linear layer."""
    from acestep_lab.models.adapter_layers import AddedLayer

    parent_name, _, child_name = target.rpartition(".")
    parent, wrapped = dit.get_submodule(parent_name), dit.get_submodule(target)
    if not isinstance(wrapped, AddedLayer):
        wrapped = AddedLayer(wrapped)
        setattr(parent, child_name, wrapped)
    stored = _read(layer)
    device = wrapped.device
    change = _change(layer, stored).to(device, dtype)
    magnitude = stored.get("dora_scale")
    if magnitude is not None:
        magnitude = (magnitude[:, None] if magnitude.ndim == 1 else magnitude).to(device)
    wrapped.attach(name, change, magnitude)


def _change(layer: Layer, stored: Mapping[str, Tensor]) -> Any:
    """What a layer adds to the weight, its scale taken into the first factor."""
    from acestep_lab.models.adapter_layers import Hadamard, Kronecker, LowRank

    if layer.kind == "lora":
        return LowRank(stored["lora_A"], layer.scale * stored["lora_B"])
    if layer.kind == "lokr":
        return Kronecker(layer.scale * _whole(stored, "lokr_w1"), _whole(stored, "lokr_w2"))
    first, second = (stored[f"hada_w{n}_a"] for n in (1, 2))
    return Hadamard(layer.scale * first, stored["hada_w1_b"], second, stored["hada_w2_b"])


def _whole(stored: Mapping[str, Tensor], factor: str) -> Tensor:
    """A factor of a Kronecker product, stored whole or as a product over the rank."""
    return stored[factor] if factor in stored else stored[f"{factor}_a"] @ stored[f"{factor}_b"]


def _layer_with(dit: nn.Module, target: str, name: str) -> Any:
    """PEFT's layer that holds this adapter: the outermost, or one it wraps."""
    found: Any = dit.get_submodule(target)
    while name not in {
        *getattr(found, "lora_A", ()),
        *getattr(found, "lokr_w1", ()),
        *getattr(found, "lokr_w1_a", ()),
    }:
        found = found.base_layer
    return found


def _fill_lora(wrapped: Any, name: str, layer: Layer, dtype: torch.dtype) -> None:
    homes = {"lora_A": "lora_A.{}.weight", "lora_B": "lora_B.{}.weight", "lora_B.bias": "lora_B.{}.bias"}
    homes["lora_magnitude_vector"] = "lora_magnitude_vector.{}.weight"
    for word, tensor in _read(layer).items():
        weight = wrapped.get_parameter(homes[word].format(name))
        weight.data = tensor.to(weight.device, dtype)
    wrapped.lora_alpha[name] = layer.scale * layer.rank
    wrapped.set_scale(name, 1.0)


def _fill_kron(wrapped: Any, name: str, layer: Layer, dtype: torch.dtype) -> None:
    """Both factors whole, so that no rule of factorisation need agree with the trainer's."""
    from torch import nn

    stored = _read(layer)
    device = wrapped.get_base_layer().weight.device
    for factor in ("lokr_w1", "lokr_w2"):
        whole = _whole(stored, factor)
        for half in (getattr(wrapped, f"{factor}_a"), getattr(wrapped, f"{factor}_b")):
            if name in half:
                del half[name]
        getattr(wrapped, factor)[name] = nn.Parameter(whole.to(device, dtype), requires_grad=False)
    wrapped.alpha[name], wrapped.r[name] = layer.scale, 1
    wrapped.set_scale(name, 1.0)


def _read(layer: Layer) -> dict[str, Tensor]:
    import torch

    from acestep_lab.models.assembly import read

    stored = read(layer.tensors, torch.float32)
    return {word: tensor.reshape(layer.tensors[word].shape) for word, tensor in stored.items()}


def _weigh(dit: nn.Module, strengths: Mapping[str, float]) -> None:
    """Give each adapter its strength; those at 0, and those not named, do not act at all."""
    acting = [name for name, strength in strengths.items() if strength != 0.0]
    wrapped: list[Any] = [module for module in dit.modules() if isinstance(module, peft_layers.BaseTunerLayer)]
    for layer in wrapped:
        layer.enable_adapters(bool(acting))
        if acting:
            layer.set_adapter(acting)
        for name in acting:
            layer.set_scale(name, strengths[name])
    dit.requires_grad_(False)
    dit.eval()
