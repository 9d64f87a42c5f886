"""Adapters on disk: every layout people share them in, read into one form. Knows no torch module and puts nothing on.

::

    PEFT            adapter_config.json + adapter_model.safetensors (or the file alone): "…q_proj.lora_A.weight"
    diffusers       pytorch_lora_weights.safetensors, settings in its header: "transformer.….lora_A.weight", ".lora.down."
    ComfyUI         one file: "diffusion_model.decoder.….lora_A.weight", perhaps ".alpha"
    kohya           one file: "lora_unet_layers_0_self_attn_q_proj.lora_down.weight", ".alpha", perhaps ".dora_scale"
    LyCORIS         one file: "lycoris_layers_0_self_attn_q_proj.lokr_w1" (LoKr) or ".hada_w1_a" (LoHa), ".alpha"

Keys are taken apart into a layer and a word, whatever wraps the layer's name ("base_model.model.", "module.", "_orig_mod.",
"decoder.", …), dots or underscores, the reference's names or diffusers'. Alpha is, in this order: stored beside the layer;
in the config; in the header; the rank, so that the weights act as they are stored (what ComfyUI and diffusers do).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from acestep_lab import files
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import weights
from acestep_lab.models.adapter_names import ACE15, Family, Named, bare, named
from acestep_lab.models.weights import Entry, short

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LYCORIS_WEIGHTS, LYCORIS_CONFIG = "lokr_weights.safetensors", "lokr_config"
DIFFUSERS_WEIGHTS, DIFFUSERS_CONFIG = "pytorch_lora_weights.safetensors", "lora_adapter_metadata"
NAMED = (PEFT_WEIGHTS, LYCORIS_WEIGHTS, DIFFUSERS_WEIGHTS)
"""Files that are the folder's adapter by their name."""

_WORD = re.compile(
    r"(?P<layer>.+?)"
    r"(?:\.(?P<plain>lora_[AB]|lora_(?:down|up|mid)|lora\.(?:down|up)|lora_linear_layer\.(?:down|up)"
    r"|lora_magnitude_vector|lokr_w[12](?:_[ab])?|lokr_t[12]|hada_w[12]_[ab]|hada_t[12]|alpha|dora_scale|scalar)"
    r"|_(?P<fused>lora\.(?:down|up)))"
    r"(?:\.(?!bias$|weight$)\w+)?(?:\.(?P<end>weight|bias))?$"
)
"""A key: the layer, what it is, perhaps PEFT's name of the adapter ("default"), perhaps "weight" or "bias"."""

_SAME_WORD = {
    "lora_down": "lora_A", "lora.down": "lora_A", "lora_linear_layer.down": "lora_A",
    "lora_up": "lora_B", "lora.up": "lora_B", "lora_linear_layer.up": "lora_B",
}  # fmt: skip

_FACTORS = {
    "lora_A", "lora_B", "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "scalar",
}  # fmt: skip

_OVERWRITES_BASE = ("pissa", "olora", "corda", "loftq", "mica", "orthogonal", "lora_ga")
"""Ways of starting a LoRA that change the base weights too; such a LoRA means nothing without them."""

_SERIES = re.compile(
    r"(adapters?|final|last|latest|best|output|checkpoints?|(lora|lokr|peft)_?weights)"
    r"|(?:epoch=\d+-)?(checkpoint|epoch|step|iter|ckpt)s?[-_= ]?(?P<at>\d+)(\D.*)?",
    re.IGNORECASE,
)
"""Folders of a trainer's output: where the adapter lies, and which of several is the newest."""
DEEPEST, MOST_FOLDERS = 3, 2000
"""Folders below the one that is named in which an adapter is looked for: a trainer's "final/adapter/"."""


@dataclass(frozen=True)
class Layer:
    """What an adapter adds to one linear layer: stored tensors by PEFT's word for them, and the factor before them."""

    theirs: str  # the layer's name in the file
    scale: float  # alpha / rank (or / sqrt(rank)) before any strength
    rank: int
    tensors: Mapping[str, Entry]  # "lora_A", "lora_B", "lora_magnitude_vector", "lokr_w1", "hada_w1_a", "dora_scale", …

    @property
    def kind(self) -> str:
        """ "lora", "lokr" or "loha"."""
        return {"lora": "lora", "lokr": "lokr", "hada": "loha"}[next(iter(sorted(self.factors)))[:4]]

    @property
    def factors(self) -> tuple[str, ...]:
        """The words of the tensors that are multiplied to what is added."""
        return tuple(word for word in self.tensors if word[:5] in ("lora_", "lokr_", "hada_"))

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the linear layer it was trained for."""
        at = {word: entry.shape for word, entry in self.tensors.items()}
        if self.kind == "lora":
            return at["lora_B"][0], at["lora_A"][1]
        if self.kind == "loha":
            return at["hada_w1_a"][0], at["hada_w1_b"][1]
        first, second = (_factor_shape(at, word) for word in ("lokr_w1", "lokr_w2"))
        return first[0] * second[0], first[1] * second[1]


def _factor_shape(at: Mapping[str, tuple[int, ...]], word: str) -> tuple[int, int]:
    """(rows, columns) of a factor stored whole or as a product over the rank."""
    if word in at:
        return at[word][0], at[word][1]
    return at[f"{word}_a"][0], at[f"{word}_b"][1]


@dataclass(frozen=True)
class Found:
    """What was read: the file, how the adapter is called, and its layers by diffusers' name of each."""

    file: Path
    name: str
    layers: Mapping[str, Layer]
    biases: bool = False
    family: str = ACE15.name
    """The family of models whose layers these are."""


# --- which file -------------------------------------------------------------------------------------------------------


def find(place: Path) -> Found:
    """The adapter in a folder or a file; CheckpointError where there is none, or where it cannot be one."""
    if place.is_dir():
        folder = _with_an_adapter(place)
        return read(_weights_in(folder), place.name)
    if place.name == PEFT_CONFIG:
        return read(_weights_in(place.parent), _called(place))
    if place.suffix in weights.PICKLES:
        raise CheckpointError(f"The adapter {short(place)} is a pickle. {weights.NO_PICKLES}")
    return read(place, _called(place) if place.name in NAMED else place.stem)


def _called(file: Path) -> str:
    """What a folder with an adapter is called: the first name above the file that says more than "adapter" or "final"."""
    return next((folder.name for folder in file.parents if not _SERIES.fullmatch(folder.name)), file.stem)


def _with_an_adapter(place: Path) -> Path:
    """The folder itself, or the one below it that has the adapter: a trainer's newest, or the only one."""
    if _may_hold(place):
        return place
    below = sorted(folder for folder in islice(_folders(place, DEEPEST), MOST_FOLDERS) if _may_hold(folder))
    if len(below) > 1 and all(_is_series(folder.relative_to(place)) for folder in below):
        return max(below, key=lambda folder: _age(folder.relative_to(place)))
    if len(below) > 1:
        names = weights.shown_names([str(folder.relative_to(place)) for folder in below])
        raise CheckpointError(f"The folder {short(place)} holds {len(below)} adapters ({names}); name one of them.")
    return below[0] if below else place


def _may_hold(folder: Path) -> bool:
    """Whether a folder looks like an adapter: by its config, by a file's name, or by the keys of its only file."""
    if (folder / PEFT_CONFIG).exists() or any((folder / name).exists() for name in NAMED):
        return True
    return any(_looks_like_one(file) for file in folder.glob("*.safetensors"))


def _looks_like_one(file: Path) -> bool:
    try:
        return any(_WORD.match(key) for key in weights.header(file))
    except CheckpointError:
        return False


def _folders(place: Path, depth: int) -> Iterator[Path]:
    """The folders below one, nearest first; links are not followed."""
    try:
        inside = sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.is_symlink())
    except OSError:
        return
    for folder in inside:
        yield folder
        if depth > 1:
            yield from _folders(folder, depth - 1)


def _is_series(path: Path) -> bool:
    return all(_SERIES.fullmatch(part) for part in path.parts)


def _age(path: Path) -> tuple[bool, int]:
    """How late in a training a folder was written: what is called final is last, then the highest number."""
    numbers = [int(match["at"][:15]) for part in path.parts if (match := _SERIES.fullmatch(part)) and match["at"]]
    return any(part.lower() in ("final", "last", "latest") for part in path.parts), max(numbers, default=0)


def _weights_in(folder: Path) -> Path:
    """The file with an adapter's weights in a folder; CheckpointError where there is none, or more than one."""
    named = next((folder / name for name in NAMED if (folder / name).exists()), None)
    if named is not None:
        return named
    files_here = sorted(folder.glob("*.safetensors"))
    likely = [file for file in files_here if _looks_like_one(file)] or files_here
    if len(likely) == 1:
        return likely[0]
    if likely:
        names = weights.shown_names([file.name for file in likely])
        raise CheckpointError(f"The folder {short(folder)} holds {len(likely)} adapters ({names}); name one of them.")
    if pickle := weights.pickled(folder):
        raise CheckpointError(
            f"The adapter {short(folder)} has its weights as a pickle ({pickle}). {weights.NO_PICKLES}"
        )
    if (folder / PEFT_CONFIG).exists():
        raise CheckpointError(f"The adapter {short(folder)} lacks {PEFT_WEIGHTS}; {weights.holds(folder)}")
    raise CheckpointError(
        f"{shown(folder.name)} is no adapter: one is a safetensors file, or a folder with {PEFT_WEIGHTS}, "
        f"{DIFFUSERS_WEIGHTS} or {LYCORIS_WEIGHTS}; {weights.holds(folder)}"
    )


# --- its settings -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What a config beside or in the file says of every layer; without one, everything is None."""

    config: Mapping[str, object]
    peft: str = ""  # "LORA", "LOKR" or "LOHA" where PEFT wrote it; its LoKr has another scale than LyCORIS'
    where: str = ""

    def number(self, name: str, patterns: str, layer: str) -> float | None:
        """A layer's number: by the first of PEFT's patterns that is its name or the end of it, else as for all."""
        found = self.config.get(patterns) or {}
        if not isinstance(found, dict):
            raise CheckpointError(f"The config of {self.where} has {shown(found)} for {patterns}, a table of patterns.")
        match = next((pattern for pattern in found if _fits(pattern, layer, self.where)), None)
        table, key = (self.config, name) if match is None else (found, match)
        return None if table.get(key) is None else weights.number(table, key, self.where)

    def rank(self, layer: str) -> int | None:
        """The rank a config gives a layer; CheckpointError where that is no count."""
        found = self.number("r", "rank_pattern", layer)
        if found is not None and (found < 1 or found != int(found)):
            raise CheckpointError(f"The config of {self.where} has {shown(found)} for a rank, a whole number above 0.")
        return None if found is None else int(found)

    def alpha(self, layer: str) -> float | None:
        return self.number("alpha" if self.peft in ("LOKR", "LOHA") else "lora_alpha", "alpha_pattern", layer)


def _fits(pattern: str, layer: str, where: str) -> bool:
    """PEFT's rule: a regular expression for the layer's whole name or the end of it. What could run for ever is refused."""
    if len(pattern) > 300 or len(re.findall(r"[*+{]", pattern)) > 4 or re.search(r"\)[*+{]", pattern):
        raise CheckpointError(
            f"The config of {where} has the pattern {shown(pattern)}: more than a name and wildcards."
        )
    try:
        return re.match(rf"(.*\.)?({pattern})$", layer) is not None
    except (re.error, OverflowError, RecursionError) as reason:
        raise CheckpointError(f"The config of {where} has the pattern {shown(pattern)} ({reason}).") from None


def _settings(file: Path) -> Settings:
    """The config that belongs to a file: beside it, else in its header; refused where it asks what cannot be done."""
    beside = file.parent / PEFT_CONFIG
    notes = weights.metadata(file)
    if beside.exists() and _belongs(file):
        config = weights.read_json(beside)
        kind = str(config.get("peft_type", "")).upper()[:30]
        if kind not in ("LORA", "LOKR", "LOHA"):
            raise CheckpointError(
                f"The adapter {short(file.parent)} is of the kind {kind or 'unknown'!r}; LoRA, DoRA, LoKr and LoHa are read."
            )
        _refuse_unsupported(file.parent, config)
        return Settings(config, kind, short(file.parent))
    for name in (DIFFUSERS_CONFIG, LYCORIS_CONFIG):
        if notes.get(name):
            return Settings(_without_prefix(_noted(file, name, notes[name])), "", short(file))
    if _is_number(notes.get("ss_network_alpha")):  # kohya's, where no ".alpha" is stored
        return Settings({"lora_alpha": float(notes["ss_network_alpha"])}, "", short(file))
    return Settings({}, "", short(file))


def _is_number(text: str | None) -> bool:
    return text is not None and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) is not None


def _belongs(file: Path) -> bool:
    """Whether the config in a folder is this file's: by its name, or because there is no other it could belong to."""
    return file.name == PEFT_WEIGHTS or len(list(file.parent.glob("*.safetensors"))) == 1


def _noted(file: Path, name: str, text: str) -> Mapping[str, object]:
    try:
        found = files.parse_json(text, name, CheckpointError)
    except CheckpointError as reason:
        raise CheckpointError(f"The header of {short(file)} has a damaged {name}: {reason}") from None
    return found if isinstance(found, dict) else {}


def _without_prefix(config: Mapping[str, object]) -> Mapping[str, object]:
    """diffusers writes the settings of its transformer as "transformer.lora_alpha"."""
    return {key.removeprefix("transformer."): value for key, value in config.items()}


def _refuse_unsupported(folder: Path, config: Mapping[str, object]) -> None:
    start = str(config.get("init_lora_weights", "")).lower()[:40]
    if start.startswith(_OVERWRITES_BASE):
        raise CheckpointError(
            f"The adapter {short(folder)} was started with {start!r}, which changes the base weights as well; "
            "convert it to a plain LoRA with PEFT (`path_initial_model_for_weight_conversion`) and open that."
        )
    if config.get("modules_to_save"):
        raise CheckpointError(
            f"The adapter {short(folder)} carries whole modules ({shown(config['modules_to_save'])}) besides its LoRA; "
            "only what is added to linear layers of the transformer can be put on and off."
        )


# --- its layers -------------------------------------------------------------------------------------------------------


def read(file: Path, name: str) -> Found:
    """Every layer an adapter file changes; CheckpointError naming the first that is no layer of the transformer."""
    found = _grouped(file)
    settings = _settings(file)
    places = {module: named(module) for module in found}
    family = _family(places, file)
    layers: dict[str, Layer] = {}
    for module, stored in found.items():
        at = places[module]
        ours = None if at is None else at.layer
        tensors = _tables(stored) if at is not None and at.is_pointwise else stored
        if _was_never_trained(ours, tensors, settings):
            continue
        layer = _layer(module, tensors, settings, file)
        if ours is None:
            raise CheckpointError(_no_such_layer(module, layer, file, family))
        if ours in layers:
            raise CheckpointError(
                f"In {short(file)}, the layer {ours} is adapted twice ({layers[ours].theirs}, {module})."
            )
        layers[ours] = layer
    if not layers:
        raise CheckpointError(f"The adapter {short(file)} adds nothing: every one of its weights is zero.")
    biases = any("lora_B.bias" in layer.tensors for layer in layers.values())
    return Found(file, name, layers, biases, family.name)


def _family(places: Mapping[str, Named | None], file: Path) -> Family:
    """The family whose layers a file names; CheckpointError where it names two families' layers."""
    of = {at.family.name: (module, at.family) for module, at in places.items() if at is not None}
    if len(of) > 1:
        (first, one), (second, other) = of.values()
        raise CheckpointError(
            f"In {short(file)}, {shown(first, 60)} is a layer of {one.title} and {shown(second, 60)} of {other.title}; an "
            "adapter is for one of them."
        )
    return next((family for _, family in of.values()), ACE15)


def _tables(tensors: Mapping[str, Entry]) -> dict[str, Entry]:
    """Tensors of a convolution over single frames as a linear layer has them: without sides of 1 at the end."""
    return {word: replace(entry, shape=_table(entry.shape)) for word, entry in tensors.items()}


def _table(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) < 3 or any(side != 1 for side in shape[2:]):
        return shape
    return (shape[1],) if len(shape) == 3 and shape[0] == 1 and shape[1] != 1 else shape[:2]


def _grouped(file: Path) -> dict[str, dict[str, Entry]]:
    """Stored tensors by layer (its wrappers taken off) and word; CheckpointError for a key of another kind."""
    found: dict[str, dict[str, Entry]] = {}
    for key, entry in weights.header(file).items():
        match = _WORD.match(key)
        if match is None:
            raise CheckpointError(
                f"In {short(file)}, {shown(key, 80)} belongs to no kind of adapter that is read (LoRA, DoRA, LoKr, LoHa)."
            )
        plain = match["plain"] or match["fused"]
        word = _SAME_WORD.get(plain, plain) + (".bias" if match["end"] == "bias" else "")
        layer = found.setdefault(bare(match["layer"]), {})
        if word in layer:
            raise CheckpointError(
                f"In {short(file)}, {shown(key, 80)} says again what {shown(layer[word].key, 80)} says."
            )
        layer[word] = entry
    if not found:
        raise CheckpointError(f"The adapter {short(file)} is empty.")
    return found


def _no_such_layer(module: str, layer: Layer, file: Path, family: Family) -> str:
    out, into = layer.shape
    return (
        f"In {short(file)}, {shown(module, 80)} ({out}×{into}) is no linear layer of the transformer; it has "
        f"{family.layers}."
    )


def _layer(module: str, tensors: Mapping[str, Entry], settings: Settings, file: Path) -> Layer:
    """One layer with its rank and scale, its shapes checked against each other; CheckpointError where they do not fit."""
    for word, entry in tensors.items():
        if not entry.is_floating and word != "alpha":
            raise CheckpointError(f"In {short(file)}, {shown(entry.key, 80)} is of whole numbers ({entry.dtype}).")
        if word.startswith(("lora_mid", "lokr_t", "hada_t")):
            raise CheckpointError(
                f"In {short(file)}, {shown(module, 80)} is adapted as a convolution ({word}), which the transformer has not."
            )
    kinds = {word[:4] for word in tensors if word[:5] in ("lora_", "lokr_", "hada_")}
    build: Mapping[str, _Build] = {"lora": _lora, "lokr": _lokr, "hada": _loha}
    if len(kinds) != 1:
        raise CheckpointError(
            f"In {short(file)}, {shown(module, 80)} has {', '.join(sorted(tensors))}: no LoRA, LoKr or LoHa of one kind."
        )
    return build[kinds.pop()](module, tensors, settings, file)


_Build = Callable[[str, Mapping[str, Entry], Settings, Path], Layer]


def _lora(module: str, tensors: Mapping[str, Entry], settings: Settings, file: Path) -> Layer:
    """ΔW = scale · B · A; scale alpha / rank, or alpha / sqrt(rank) where the config says rank-stabilised."""
    _must_have(module, tensors, file, "lora_A", "lora_B")
    rank = _shared_rank(module, file, tensors["lora_B"], tensors["lora_A"])
    if settings.config.get("use_dora") and "lora_magnitude_vector" not in tensors:
        raise CheckpointError(
            f"In {short(file)}, {shown(module, 80)} lacks the magnitudes its config promises (use_dora)."
        )
    _must_match(module, file, tensors, "lora_B.bias", (tensors["lora_B"].shape[0],))
    _must_match(module, file, tensors, "lora_magnitude_vector", (tensors["lora_B"].shape[0],))
    alpha = _alpha(tensors, settings, module, rank)
    root = bool(settings.config.get("use_rslora"))
    return _finished(module, alpha / (math.sqrt(rank) if root else rank), rank, tensors, file)


def _loha(module: str, tensors: Mapping[str, Entry], settings: Settings, file: Path) -> Layer:
    """ΔW = scale · (w1_a · w1_b) ⊙ (w2_a · w2_b); scale alpha / rank."""
    _must_have(module, tensors, file, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    rank = _shared_rank(module, file, tensors["hada_w1_a"], tensors["hada_w1_b"])
    _shared_rank(module, file, tensors["hada_w2_a"], tensors["hada_w2_b"])
    for first, second in (("hada_w1_a", "hada_w2_a"), ("hada_w1_b", "hada_w2_b")):
        _must_match(module, file, tensors, second, tensors[first].shape)
    return _finished(module, _alpha(tensors, settings, module, rank) / rank, rank, tensors, file)


def _lokr(module: str, tensors: Mapping[str, Entry], settings: Settings, file: Path) -> Layer:
    """ΔW = scale · w1 ⊗ w2, each factor whole or a product over the rank.

    PEFT's scale is alpha / r as its config has them. LyCORIS stores alpha as it scales, so that alpha / rank holds for
    rsLoRA too; where it stored both factors whole, its scale is 1.
    """
    for factor in ("lokr_w1", "lokr_w2"):
        if factor not in tensors:
            _must_have(module, tensors, file, f"{factor}_a", f"{factor}_b")
            _shared_rank(module, file, tensors[f"{factor}_a"], tensors[f"{factor}_b"])
        elif len(tensors[factor].shape) != 2 or 0 in tensors[factor].shape:
            raise CheckpointError(_odd_shape(module, file, tensors[factor]))
    split = next((tensors[word] for word in ("lokr_w2_a", "lokr_w1_a") if word in tensors), None)
    if settings.peft == "LOKR":
        rank = settings.rank(module) or 8  # PEFT's own default
        return _finished(module, _alpha(tensors, settings, module, rank) / rank, rank, tensors, file)
    rank = split.shape[1] if split is not None else _positive(settings, "linear_dim")
    if not rank:
        return _finished(module, 1.0, 1, tensors, file)
    stored = _one_number(tensors["alpha"]) if "alpha" in tensors else None
    noted = settings.config.get("linear_alpha") if split is not None else None
    alpha = stored or (weights.number({"linear_alpha": noted}, "linear_alpha", settings.where) if noted else rank)
    return _finished(module, alpha / rank, rank, tensors, file)


def _positive(settings: Settings, name: str) -> int:
    return weights.whole_number(settings.config, name, settings.where, 0, least=0)


def _alpha(tensors: Mapping[str, Entry], settings: Settings, module: str, rank: int) -> float:
    """The alpha stored beside a layer, else the config's, else the rank: then the weights act as they are stored."""
    if "alpha" in tensors:
        return _one_number(tensors["alpha"])
    said = settings.alpha(module)
    return float(rank) if said is None else said


def _finished(module: str, scale: float, rank: int, tensors: Mapping[str, Entry], file: Path) -> Layer:
    """The layer, its scalar (LyCORIS' learnt factor) taken into the scale and its magnitudes of a shape that fits."""
    if "scalar" in tensors:
        scale *= _one_number(tensors["scalar"])
    kept = {word: entry for word, entry in tensors.items() if word not in ("alpha", "scalar")}
    if "dora_scale" in kept and len(kept) > len([word for word in kept if word in _FACTORS]) + 1:
        raise CheckpointError(
            f"In {short(file)}, {shown(module, 80)} has {', '.join(sorted(kept))}, which no trainer writes."
        )
    layer = Layer(module, scale, rank, kept)
    if "dora_scale" in kept:
        out, into = layer.shape
        if kept["dora_scale"].shape not in ((out, 1), (1, into), (out,)):
            raise CheckpointError(_odd_shape(module, file, kept["dora_scale"]))
    if not math.isfinite(scale):
        raise CheckpointError(f"In {short(file)}, the alpha of {shown(module, 80)} is no number.")
    return layer


def _must_have(module: str, tensors: Mapping[str, Entry], file: Path, *words: str) -> None:
    lacking = next((word for word in words if word not in tensors), None)
    if lacking is not None:
        raise CheckpointError(
            f"In {short(file)}, {shown(module, 80)} lacks {lacking}; it has {', '.join(sorted(tensors))}."
        )


def _shared_rank(module: str, file: Path, left: Entry, right: Entry) -> int:
    """The rank of a product left · right; CheckpointError unless both are tables that share it."""
    for entry in (left, right):
        if len(entry.shape) != 2 or 0 in entry.shape:
            raise CheckpointError(_odd_shape(module, file, entry))
    if left.shape[1] != right.shape[0]:
        raise CheckpointError(
            f"In {short(file)}, {shown(module, 80)} multiplies {list(left.shape)} by {list(right.shape)}: not of one rank."
        )
    return right.shape[0]


def _must_match(module: str, file: Path, tensors: Mapping[str, Entry], word: str, shape: tuple[int, ...]) -> None:
    if word in tensors and tensors[word].shape != shape:
        raise CheckpointError(_odd_shape(module, file, tensors[word]))


def _odd_shape(module: str, file: Path, entry: Entry) -> str:
    return f"In {short(file)}, {shown(entry.key, 80)} has the shape {list(entry.shape)}, which does not fit its layer."


def _was_never_trained(ours: str | None, tensors: Mapping[str, Entry], settings: Settings) -> bool:
    """Whether a layer adds nothing because one of its factors is zero, as it was born.

    LyCORIS wraps every layer, convolutions too, and trains some. Elsewhere only what is no layer of the transformer is
    looked into, so that opening an adapter reads little.
    """
    factors = [entry for word, entry in tensors.items() if word in _FACTORS]
    is_lycoris = not settings.peft and any(word.startswith(("lokr_", "hada_")) for word in tensors)
    if (ours is not None and not is_lycoris) or (ours is not None and "dora_scale" in tensors):
        return False
    return any(not _stored(entry).any() for entry in factors)


def _one_number(entry: Entry) -> float:
    """A stored single number; LyCORIS and kohya keep alpha so."""
    if entry.numbers != 1:
        raise CheckpointError(f"In {short(entry.file)}, {shown(entry.key, 80)} is no single number.")
    return float(_stored(entry))


def _stored(entry: Entry) -> Any:
    """A stored tensor."""
    from acestep_lab.models.assembly import opened

    with opened(entry.file) as shelf:
        return shelf.get_tensor(entry.key).float()
