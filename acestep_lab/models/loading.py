"""A name, a folder or a hub id, and the components of the checkpoint it stands for. Knows files; never the network.

Opening reads a few small JSON files and no weights; `build(component)` makes one component, strictly: every stored tensor has its
place and every place its tensor. No pickle is executed, no code from a checkpoint is trusted, nothing is fetched.

Two layouts are read. A **diffusers** folder has `transformer/`, `condition_encoder/`, `vae/`, `text_encoder/`, `tokenizer/`
and, if it knows audio codes, `audio_tokenizer/` and `audio_token_detokenizer/`. The **published** one has
`acestep-v15-*/` (transformer, condition encoder and codes in one file), `vae/` and `Qwen3-Embedding-0.6B/`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from acestep_lab._libraries import transformers
from acestep_lab.errors import CheckpointError, LabError, NotFoundError, shown
from acestep_lab.models import catalog, published_layout, weights
from acestep_lab.models.catalog import Row
from acestep_lab.models.component_spec import ComponentSpec, WorkingMemory
from acestep_lab.models.geometry import Geometry
from acestep_lab.models.stored_content import StoredContent
from acestep_lab.models.weights import Entry, read_config, read_json, short

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerFast

COMPONENTS = ("text", "condition", "dit", "vae", "codes", "lm")
POCKET = Path(__file__).parent / "pocket"

DIFFUSERS_FOLDERS: Mapping[str, str] = {
    "text": "text_encoder",
    "tokenizer": "tokenizer",
    "condition": "condition_encoder",
    "dit": "transformer",
    "vae": "vae",
    "codes": "audio_tokenizer",
    "codes_back": "audio_token_detokenizer",
    "lm": "lm",
}
"""Our word for a component → its folder in a diffusers checkpoint."""


TRAITS: Mapping[str, ComponentSpec] = {
    spec.name: spec
    for spec in (
        ComponentSpec("text", 0, "encoder", "text encoder", int8=0.65, fp8=0.51, streams=True),
        ComponentSpec("condition", 0, "encoder", "condition encoder", int8=0.52, fp8=0.54, streams=True),
        ComponentSpec("dit", 0, "loop", "DiT", int8=0.52, fp8=0.54, streams=True, halves=True),
        ComponentSpec("vae", 0, "decoder", "VAE"),
        ComponentSpec("codes", 0, "encoder", "audio codes"),
        ComponentSpec("lm", 0, "planner", "LM", optional=True),
    )
}
"""What ACE-Step 1.5's components are to a plan for memory. The LM's token choices and the small VAE and codes are never kept in
eight bits; the LM's token loop reaches inside it, so hooks cannot stream it."""


def specs_of_sizes(
    sizes: Mapping[str, float], contents: Mapping[str, StoredContent] | None = None
) -> tuple[ComponentSpec, ...]:
    """Components of ACE-Step 1.5 of these sizes (bytes in bf16), in the order a render uses them; CheckpointError for a name
    that none has.
    """
    unknown = next((name for name in sizes if name not in TRAITS), None)
    if unknown is not None:
        raise CheckpointError(f"No component is called {shown(unknown)}; the components are {', '.join(COMPONENTS)}.")
    content = contents or {}
    return tuple(
        replace(TRAITS[name], bytes=int(sizes[name]), content=content.get(name)) for name in COMPONENTS if name in sizes
    )


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk: how it is sampled, how large it is, and how each of its components is made."""

    row: Row
    folder: Path
    layout: str  # "diffusers" or "original"
    places: Mapping[str, Path]  # component → folder
    geometry: Geometry

    @classmethod
    def open(
        cls, name_or_folder: str | os.PathLike[str] = "pocket", lm: str | os.PathLike[str] | None = None
    ) -> Checkpoint:
        """Find a checkpoint by catalog name, folder or hub id; `lm` names another planner than its own.

        Light: JSON only. CheckpointError says what is missing, and which names are near.
        """
        name_or_folder, lm = _named(name_or_folder), None if lm is None else _named(lm)
        try:
            return cls._opened(name_or_folder, lm)
        except LabError:
            raise
        except (OSError, ValueError, RuntimeError) as reason:  # a name no disk has, a folder that may not be read
            raise CheckpointError(
                f"The checkpoint {shown(str(name_or_folder))} cannot be read ({shown(str(reason), 100)})."
            ) from reason

    @classmethod
    def _opened(cls, name_or_folder: str | Path, lm: str | Path | None) -> Checkpoint:
        folder, row = _locate(name_or_folder)
        places, layout = _places(folder, row)
        if lm is not None:
            places["lm"] = _lm_folder(lm, folder)
        configs = _configs(places)
        if row is None:
            row = catalog.inferred(places["dit"] if layout == "original" else folder, configs["dit"])
        row = _with_own_defaults(row, folder)
        row = row.replace(stem_captions=True) if configs["dit"].get("is_lego_sft") is True else row
        geometry = Geometry.read(configs["vae"], configs["dit"], configs.get("codes"), row.longest_seconds)
        return cls(row, folder, layout, places, geometry)

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def components(self) -> tuple[str, ...]:
        """The components this checkpoint has, in the order a render uses them."""
        return tuple(component for component in COMPONENTS if component in self.places)

    @property
    def has_lm(self) -> bool:
        return "lm" in self.places

    @property
    def lm_name(self) -> str:
        """What its planner is called: as published where it is one of the catalog's, else after its folder or the checkpoint."""
        return catalog.lm_name(self.places["lm"], self.name) if self.has_lm else ""

    def sizes(self, bytes_per_number: int | None = None) -> dict[str, int]:
        """Bytes of each component: as stored, or at so many bytes per number (4 float32, 2 bfloat16, 1 int8)."""
        found = {}
        for component in self.components:
            entries = self._entries(component).values()
            found[component] = sum(e.numbers * bytes_per_number if bytes_per_number else e.size for e in entries)
        return found

    def content(self, component: str) -> StoredContent:
        """Which weights a component is, so that checkpoints with the same ones share them in memory."""
        self._require(component)
        config, others = self.config(component), [self.places[component] / published_layout.SILENCE]
        if component == "condition":  # how it is built depends on the transformer it stands beside
            config = config | {"dit": self.config("dit"), "pocket": (self.folder / "pocket.json").is_file()}
        if component == "codes" and "codes_back" in self.places:
            config = config | {"back": read_config(self.places["codes_back"] / "config.json")}
        apart = [file for file in others if component == "condition" and file.is_file()]
        return StoredContent.of(f"ace-step-1.5 {component}", config, self._entries(component), apart)

    def shape_of(self, component: str, tensor: str) -> tuple[int, ...]:
        """The shape of a component's stored tensor, from its header; CheckpointError where it is missing."""
        found = self._entries(component).get(tensor)
        if found is None:
            raise CheckpointError(f"The {component} of {self.name} has no {tensor}; fetch the folder again.")
        return tuple(found.shape)

    @cached_property
    def vae_mark(self) -> str:
        """Which autoencoder this is, from the first bytes of its weights."""
        digest = hashlib.blake2b(digest_size=8)
        for file in sorted(self.places["vae"].glob("*.safetensors")):
            with file.open("rb") as opened:
                digest.update(str(file.stat().st_size).encode() + opened.read(1 << 20))
        return digest.hexdigest()

    def build(self, component: str, dtype: torch.dtype | None = None) -> nn.Module:
        """Make one component on the CPU, in evaluation mode and without gradients; `dtype` None is float32.

        "text" Qwen3Model; "condition" AceStepConditionEncoder (with silence_latent and null_condition_emb); "dit"
        AceStepTransformer1DModel; "vae" AutoencoderOobleck; "codes" a module with `.tokenizer` and `.detokenizer`;
        "lm" Qwen3ForCausalLM.
        """
        self._require(component)
        from acestep_lab.models import components

        return components.build(self, component, dtype)

    def verify(self, component: str) -> None:
        """Check a component's files against its config, names and shapes, without reading the weights; CheckpointError."""
        self._require(component)
        from acestep_lab.models import components

        components.verify(self, component)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The text encoder's tokenizer; it pads on the right, as the model was trained."""
        return _tokenizer(self.places["tokenizer"], self.config("text"))

    def lm_tokenizer(self) -> PreTrainedTokenizerFast:
        """The planner's tokenizer, which knows every `<|audio_code_i|>`."""
        self._require("lm")
        return _tokenizer(self.places["lm"], self.config("lm"))

    def config(self, component: str) -> dict[str, Any]:
        """The JSON config a component is made from (the published layout has one for three components)."""
        return read_config(self.places[component] / "config.json")

    def _require(self, component: str) -> None:
        if component not in COMPONENTS:
            raise CheckpointError(f"No component is called {component!r}; the components are {', '.join(COMPONENTS)}.")
        if component not in self.places:
            advice = " Open it with lm='1.7B' or another planner." if component == "lm" else ""
            raise CheckpointError(
                f"The checkpoint {self.name} has no {component!r}; it has {', '.join(self.components)}.{advice}"
            )

    def _entries(self, component: str) -> dict[str, Entry]:
        """The stored tensors of one component, by the names its module gives them."""
        if self.layout == "original" and component in published_layout.PREFIXES:
            return published_layout.entries(
                component, weights.stored_tensors(self.places[component]), self.places[component]
            )
        found = weights.stored_tensors(self.places[component])
        if component == "codes":
            back = weights.stored_tensors(self.places["codes_back"])
            return {f"tokenizer.{n}": e for n, e in found.items()} | {f"detokenizer.{n}": e for n, e in back.items()}
        return found


def component_specs(checkpoint: Checkpoint) -> tuple[ComponentSpec, ...]:
    """What a plan for memory must know of a checkpoint's components: sizes in bf16, roles, and which weights they are; from
    headers, nothing is loaded. The DiT is never shared: adapters and int8 change it in place.
    """
    contents = {name: checkpoint.content(name) for name in checkpoint.components if name != "dit"}
    specs = specs_of_sizes(checkpoint.sizes(2), contents)
    return tuple(replace(one, working=_cache(checkpoint)) if one.name == "lm" else one for one in specs)


def _cache(checkpoint: Checkpoint) -> WorkingMemory:
    """What the planner's keys and values take, by its config."""
    config, where = checkpoint.config("lm"), checkpoint.lm_name
    layers, heads = (weights.whole_number(config, name, where) for name in ("num_hidden_layers", "num_key_value_heads"))
    return WorkingMemory.of_cache(2 * 2 * layers * heads * weights.whole_number(config, "head_dim", where, 128))


def _named(asked: object) -> str | Path:
    """A name, or a path of whatever kind; CheckpointError for anything else."""
    found = os.fspath(asked) if isinstance(asked, os.PathLike) else asked
    if not isinstance(found, str) or not found.strip():
        raise CheckpointError(f"A checkpoint is a name, a folder or a hub id, not {shown(asked)}.")
    return Path(found) if isinstance(asked, os.PathLike) else found


def _locate(name: str | Path) -> tuple[Path, Row | None]:
    """The folder a name stands for, and its catalog row where the name is in the catalog."""
    if isinstance(name, str) and (row := catalog.find(name)) is not None and not Path(name).is_dir():
        return (POCKET, row) if row.name == "pocket" else (_cached(row), row)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, None
    if isinstance(name, str) and is_hub_id(name):
        return snapshot(name, f"{shown(name)} is not in the cache on this machine"), None
    if isinstance(name, Path) or "/" in name or "\\" in name:
        raise NotFoundError(f"There is no folder {shown(str(folder), 120)}; {weights.holds(folder.parent)}")
    raise NotFoundError(f"No checkpoint is called {shown(name)}; {catalog.nearest(name, catalog.ROWS)}")


def is_folder_of_ours(name: str | os.PathLike[str]) -> bool:
    """Whether a folder holds an ACE-Step 1.5 checkpoint in either layout, complete or not."""
    try:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            return False
        return (folder / DIFFUSERS_FOLDERS["condition"]).is_dir() or published_layout.is_inside(folder)
    except (OSError, ValueError, RuntimeError):  # a name that no disk has
        return False


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a repo on the hub, "owner/name"."""
    owner, slash, rest = name.partition("/")
    return bool(slash and owner and rest) and "/" not in rest and not name.startswith((".", "~", "/"))


def _cached(row: Row) -> Path:
    """The folder of a catalog row in the local cache of the hub."""
    assert row.repo is not None
    otherwise = f"The checkpoint {row.name} has not been downloaded yet"
    folder = snapshot(row.repo, otherwise, row.name) / row.folder
    if not folder.is_dir():  # another checkpoint brought what all share, from the same repo
        raise NotFoundError(_not_here(otherwise, row.repo, row.name))
    return folder


def _not_here(otherwise: str, repo: str, name: str) -> str:
    return (
        f"{otherwise} (looked for {repo} in the hub's cache; nothing is fetched unasked). "
        f"Fetch it with `acestep-lab download {name}`; the pocket checkpoint is always there."
    )


def snapshot(repo: str, otherwise: str, name: str = "") -> Path:
    """Where a repo lies in the local cache of the hub; CheckpointError, beginning with `otherwise`, if it does not.

    `name` is what to ask the download for, where that is not the repo.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as reason:
        raise NotFoundError(_not_here(otherwise, repo, name or repo)) from reason


def _places(folder: Path, row: Row | None) -> tuple[dict[str, Path], str]:
    """Where each component lies, and in which layout; CheckpointError naming the first thing missing."""
    if (folder / DIFFUSERS_FOLDERS["dit"]).is_dir() or (folder / "model_index.json").is_file():
        return _diffusers_places(folder), "diffusers"
    return published_layout.places(folder, row, snapshot), "original"


def _diffusers_places(folder: Path) -> dict[str, Path]:
    found = {component: folder / name for component, name in DIFFUSERS_FOLDERS.items()}
    for component in ("dit", "condition", "vae", "text"):
        if not (found[component] / "config.json").is_file():
            raise NotFoundError(_incomplete(folder, f"{DIFFUSERS_FOLDERS[component]}/config.json"))
    if not found["tokenizer"].is_dir():
        raise NotFoundError(_incomplete(folder, "tokenizer/"))
    if found["codes"].is_dir() != found["codes_back"].is_dir():
        raise CheckpointError(
            _incomplete(folder, f"{DIFFUSERS_FOLDERS['codes']}/ and {DIFFUSERS_FOLDERS['codes_back']}/ together")
        )
    return {component: place for component, place in found.items() if place.is_dir()}


def _incomplete(folder: Path, what: str) -> str:
    return (
        f"The folder {short(folder)} has no {what}; {weights.holds(folder)} A checkpoint has transformer/, "
        "condition_encoder/, vae/, text_encoder/, tokenizer/; or, as published, acestep-v15-*/, vae/, Qwen3-Embedding-0.6B/."
    )


def _configs(places: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    return {
        component: read_config(places[component] / "config.json")
        for component in ("vae", "dit", "codes")
        if component in places
    }


def _with_own_defaults(row: Row, folder: Path) -> Row:
    """The row with what a `pocket.json` in the folder says of steps, shift, guidance and length."""
    if not (folder / "pocket.json").is_file():
        return row
    said = read_json(folder / "pocket.json")
    return catalog.ROWS["pocket"].replace(
        name=row.name, **{key: read(said, key) for key, read in _OWN.items() if key in said}
    )


def _names(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = config[name]
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise CheckpointError(f"pocket.json has {shown(found)} for {name}, a list of names.")
    return tuple(found)


def _positive(config: Mapping[str, Any], name: str) -> float:
    found = weights.number(config, name, "pocket.json")
    if found <= 0:
        raise CheckpointError(f"pocket.json has {shown(found)} for {name}, a number above 0.")
    return found


def _rule(config: Mapping[str, Any], name: str) -> str:
    if not isinstance(config[name], str):
        raise CheckpointError(f"pocket.json has {shown(config[name])} for {name}, the name of a rule such as 'apg'.")
    return config[name]


_OWN: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "steps": lambda config, name: weights.whole_number(config, name, "pocket.json", most=1000),
    "shift": _positive,
    "guidance": _rule,
    "guidance_scale": _positive,
    "longest_seconds": _positive,
    "direct": _names,
    "tells_key": lambda config, name: config[name] is True,
    "repeats_caption": lambda config, name: config[name] is True,
}
"""What a checkpoint may say of its own defaults, and how each is read."""


def _lm_folder(lm: str | Path, folder: Path) -> Path:
    """The folder of a planner named by catalog name, folder or hub id."""
    row = catalog.lm_row(str(lm))
    if row is not None and not Path(lm).is_dir():
        return published_layout.lm_place(row, folder, snapshot)
    found = Path(lm).expanduser()
    if not found.is_dir() and isinstance(lm, str) and is_hub_id(lm):
        found = snapshot(lm, f"The planner {shown(lm)} is not in the cache on this machine")
    if not found.is_dir():
        raise CheckpointError(f"No planner is called {shown(str(lm))}; {catalog.nearest(str(lm), catalog.LMS)}")
    if read_json(found / "config.json").get("model_type") != "qwen3":
        raise CheckpointError(f"{short(found)} holds no planner: its config.json is not of a Qwen3 language model.")
    return found


def _tokenizer(folder: Path, config: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """Read a tokenizer from files; never code, never the network. It knows no word that its model does not."""
    _only_ordinary_files(folder)
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        tokenizer.padding_side = "right"
        ids = tokenizer(["a", "a b"], padding=True)["input_ids"]
        largest = max(tokenizer.vocab_size - 1, *(token for row in ids for token in row))
    except LabError:
        raise
    except Exception as reason:
        said = shown(" ".join(str(reason).split()), 100)
        raise CheckpointError(
            f"The tokenizer in {short(folder)} cannot be read ({said}); {weights.holds(folder)}"
        ) from reason
    words = config.get("vocab_size")
    if isinstance(words, int) and largest >= words:
        raise CheckpointError(
            f"The tokenizer in {short(folder)} knows {largest + 1:,} words and its model {words:,}: they are not of a kind."
        )
    return tokenizer


def _only_ordinary_files(folder: Path) -> None:
    """CheckpointError for a pipe, a device or a folder where a tokenizer's file belongs: reading it might never end."""
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".txt", ".model", ".jinja") and file.exists() and not file.is_file():
            raise CheckpointError(f"The file {short(file)} of the tokenizer is no ordinary file.")


class _Published(Protocol):
    """A catalog's row, as far as finding its files goes."""

    @property
    def name(self) -> str: ...
    @property
    def repo(self) -> str: ...


R = TypeVar("R", bound=_Published)


def located(
    name: str | os.PathLike[str], find: Callable[[str], R | None], names: Iterable[str]
) -> tuple[Path, R | None]:
    """The folder of a catalog name, a folder or a hub id, and its row of the catalog, which a folder of somebody's own has not.

    `find` is the family's way from a name to a row, `names` all that it has. CheckpointError says what is missing.
    """
    if not isinstance(name, str | os.PathLike) or not str(name).strip():
        raise CheckpointError(f"A checkpoint is a name, a folder or a hub id, not {shown(name)}.")
    row = find(name) if isinstance(name, str) else None
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, None
    if row is not None:
        return snapshot(row.repo, f"The checkpoint {row.name} has not been downloaded yet", row.name), row
    if isinstance(name, str) and is_hub_id(name):
        return snapshot(name, f"{shown(name)} is not in the cache on this machine"), None
    if isinstance(name, str) and "/" not in name:
        raise CheckpointError(f"No checkpoint is called {shown(name)}; {catalog.nearest(name, names)}")
    raise CheckpointError(f"There is no folder {shown(str(folder), 120)}; {weights.holds(folder.parent)}")
