"""The published layout of ACE-Step 1.5, in our words: which folder holds what, and which stored key is whose weight.

One file, `acestep-v15-*/model.safetensors` (or its shards), holds transformer, condition encoder and both halves of the
audio codes; diffusers has a module for each. Knows no torch: names and configs only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import weights
from acestep_lab.models.catalog import MAIN_REPO, TEXT_FOLDER, VAE_FOLDER, LMRow, Row
from acestep_lab.models.weights import Entry, read_json, short, whole_number

PREFIXES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "dit": (("decoder.", ""),),
    "condition": (("encoder.", ""), ("null_condition_emb", "null_condition_emb")),
    "codes": (("tokenizer.", "tokenizer."), ("detokenizer.", "detokenizer.")),
}
"""Component → (how its keys begin in the file, how they begin in the module)."""

RENAMED: tuple[tuple[str, str], ...] = (
    ("attn.q_proj.", "attn.to_q."),
    ("attn.k_proj.", "attn.to_k."),
    ("attn.v_proj.", "attn.to_v."),
    ("attn.o_proj.", "attn.to_out.0."),
    ("attn.q_norm.", "attn.norm_q."),
    ("attn.k_norm.", "attn.norm_k."),
    ("proj_in.1.", "proj_in_conv."),
    ("proj_out.1.", "proj_out_conv."),
)
"""(the reference's word, diffusers' word) inside a key; everything else is called the same."""

SILENCE = "silence_latent.pt"

_LM_PREFIX = "acestep-5Hz-lm-"
_Snapshot = Callable[[str, str], Path]


def ours(key: str) -> str:
    """A key of the reference's modules in the words of diffusers' modules; prefixes are not touched."""
    for theirs, here in RENAMED:
        key = key.replace(theirs, here)
    return key


def entries(component: str, stored: Mapping[str, Entry], folder: Path) -> dict[str, Entry]:
    """The tensors of one component, by the names its module gives them; CheckpointError if a key belongs to no component."""
    stray = sorted(key for key in stored if _owner(key) is None)
    if stray:
        raise CheckpointError(
            f"{short(folder)} holds {shown(stray[0])} and in all {len(stray)} weights that no component of ACE-Step 1.5 takes; "
            "it is a checkpoint of another kind."
        )
    found = {}
    for key, entry in stored.items():
        owner = _owner(key)
        if owner is not None and owner[0] == component:
            found[ours(owner[2] + key.removeprefix(owner[1]))] = entry
    return found


def _owner(key: str) -> tuple[str, str, str] | None:
    """(component, its prefix in the file, its prefix in the module) of a stored key."""
    for component, prefixes in PREFIXES.items():
        for theirs, here in prefixes:
            if key == theirs or (theirs.endswith(".") and key.startswith(theirs)):
                return component, theirs, here
    return None


def dit_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `AceStepTransformer1DModel` from a published config."""
    direct = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "in_channels", "audio_acoustic_hidden_dim", "patch_size",
    )  # fmt: skip
    return (
        _attention(config)
        | _taken(config, direct)
        | {
            "layer_types": layer_types(config, _count(config, "num_hidden_layers")),
            "encoder_hidden_size": encoder_size(config, "hidden_size"),
            "is_turbo": bool(config.get("is_turbo", False)),
            "model_version": config.get("model_version"),
        }
    )


def condition_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `AceStepConditionEncoder` from a published config."""
    direct = (
        "text_hidden_dim", "timbre_hidden_dim", "num_lyric_encoder_hidden_layers", "num_timbre_encoder_hidden_layers",
    )  # fmt: skip
    _must_alternate(config, _count(config, "num_timbre_encoder_hidden_layers"))
    return (
        _encoder(config)
        | _taken(config, direct)
        | {"layer_types": layer_types(config, _count(config, "num_lyric_encoder_hidden_layers"))}
    )


def detokenizer_config(config: Mapping[str, object]) -> dict[str, Any]:
    """Arguments of `AceStepAudioTokenDetokenizer` from a published config."""
    direct = ("audio_acoustic_hidden_dim", "pool_window_size", "num_attention_pooler_hidden_layers")
    return (
        _encoder(config)
        | _taken(config, direct)
        | {"layer_types": layer_types(config, _count(config, "num_attention_pooler_hidden_layers"))}
    )


def tokenizer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `AceStepAudioTokenizer` from a published config."""
    return detokenizer_config(config) | _taken(config, ("fsq_dim", "fsq_input_levels", "fsq_input_num_quantizers"))


TRANSFORMER = "the transformer"


def _count(config: Mapping[str, object], name: str) -> int:
    """How many layers a config names."""
    return whole_number(config, name, TRANSFORMER, least=0, most=weights.LARGEST_COUNT)


def encoder_size(config: Mapping[str, object], name: str) -> int:
    """A size of everything but the transformer: XL checkpoints write it apart ("encoder_hidden_size")."""
    apart = f"encoder_{name}"
    return whole_number(config, apart if config.get(apart) else name, TRANSFORMER)


def timbre_takes_a_token(config: Mapping[str, object]) -> bool:
    """Whether the timbre encoder reads its learnt token first, as the XL models do and the others do not.

    The reference switched it on for XL only ("`special_token` prepend enabled in timbre encoder", its pull request 1001);
    diffusers' class never reads it. XL is told by its encoders' sizes, written apart from the transformer's.
    """
    return encoder_size(config, "hidden_size") != config.get("hidden_size")


def layer_types(config: Mapping[str, Any], layers: int) -> list[str]:
    """Which of the layers see a window and which see all; unwritten, they alternate, starting with a window."""
    written = config.get("layer_types") or alternating(layers)
    if not isinstance(written, list) or not all(isinstance(one, str) for one in written):
        raise CheckpointError(f"The config of {TRANSFORMER} has {shown(written)} for layer_types, a list of names.")
    if len(written) < layers:
        raise CheckpointError(f"The config names {len(written)} layer_types for {layers} layers.")
    return list(written[:layers])


def alternating(layers: int) -> list[str]:
    return ["sliding_attention" if layer % 2 == 0 else "full_attention" for layer in range(layers)]


def _must_alternate(config: Mapping[str, object], layers: int) -> None:
    """diffusers' timbre encoder always alternates; a config that says otherwise would be computed wrongly."""
    if layer_types(config, layers) != alternating(layers):
        raise CheckpointError(
            "The config's layer_types do not alternate between window and full attention; diffusers' timbre encoder "
            "cannot follow them."
        )


def _encoder(config: Mapping[str, object]) -> dict[str, object]:
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    return _attention(config) | {name: encoder_size(config, name) for name in names}


def _attention(config: Mapping[str, object]) -> dict[str, object]:
    taken = _taken(config, ("head_dim", "rms_norm_eps", "sliding_window"))
    return taken | {
        "rope_theta": _rope_theta(config),
        "attention_bias": bool(config.get("attention_bias", False)),
        "attention_dropout": weights.number(config, "attention_dropout", TRANSFORMER, 0.0),
    }


def _rope_theta(config: Mapping[str, object]) -> float:
    """The base of the rotary positions: written plainly, or (by newer transformers) among `rope_parameters`."""
    among = config.get("rope_parameters")
    holder = among if not config.get("rope_theta") and isinstance(among, dict) else config
    return weights.number(holder, "rope_theta", TRANSFORMER)


def _taken(config: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    missing = [name for name in names if config.get(name) is None]
    if missing:
        raise CheckpointError(f"The config of the transformer lacks {', '.join(missing)}; fetch the folder again.")
    return {name: config[name] for name in names}


def places(folder: Path, row: Row | None, snapshot: _Snapshot) -> dict[str, Path]:
    """Where each component of a published checkpoint lies, given its own folder or the folder above.

    Autoencoder, text encoder and planner are looked for inside, beside it, and in the cache of the main repo.
    """
    own = _own_folder(folder, row)
    roots = [own, own.parent]
    if not all(any((root / name).is_dir() for root in roots) for name in (VAE_FOLDER, TEXT_FOLDER)):
        roots.append(_main_repo(own, snapshot))
    found = dict.fromkeys(PREFIXES, own)
    text = _beside(roots, TEXT_FOLDER, own)
    found |= {"vae": _beside(roots, VAE_FOLDER, own), "text": text, "tokenizer": text}
    if (lm := _planner(roots, row)) is not None:
        found["lm"] = lm
    return found


def _own_folder(folder: Path, row: Row | None) -> Path:
    """The folder with the transformer: this one, or the one inside that is a published transformer."""
    if (folder / "config.json").is_file():
        if _is_transformer(folder):
            return folder
        raise CheckpointError(
            f"The folder {short(folder)} holds no ACE-Step 1.5 transformer: its config.json is of a "
            f"{shown(read_json(folder / 'config.json').get('model_type', 'model of another kind'))}."
        )
    inside, damaged = _transformers_inside(folder)
    if damaged is not None and not inside:
        raise damaged
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(entry.name for entry in inside)
        raise CheckpointError(
            f"The folder {short(folder)} holds {len(inside)} checkpoints ({names}); open one of them."
        )
    raise CheckpointError(
        f"No checkpoint is in {shown(str(folder), 110)}: {weights.holds(folder)} A checkpoint folder has "
        "transformer/config.json and its siblings (diffusers), or acestep-v15-*/config.json, vae/, Qwen3-Embedding-0.6B/."
    )


def is_inside(folder: Path) -> bool:
    """Whether a folder is a published transformer, or has one inside."""
    try:
        own = (folder / "config.json").is_file() and _is_transformer(folder)
    except CheckpointError:
        own = False
    return own or bool(_transformers_inside(folder)[0])


def _transformers_inside(folder: Path) -> tuple[list[Path], CheckpointError | None]:
    """The folders inside one that are published transformers, and what is wrong with the first config that is unreadable:
    a damaged neighbour does not close the others.
    """
    found, damaged = [], None
    for config in sorted(folder.glob("*/config.json")):
        try:
            found += [config.parent] if _is_transformer(config.parent) else []
        except CheckpointError as reason:
            damaged = damaged or reason
    return found, damaged


def _is_transformer(folder: Path) -> bool:
    """Whether a folder's config is of a published transformer: it alone speaks of lyric and timbre encoders."""
    config = read_json(folder / "config.json")
    return config.get("model_type") == "acestep" or "num_lyric_encoder_hidden_layers" in config


def _main_repo(own: Path, snapshot: _Snapshot) -> Path:
    try:
        return snapshot(MAIN_REPO, f"{short(own)} lacks {VAE_FOLDER}/ or {TEXT_FOLDER}/, which every checkpoint shares")
    except CheckpointError as reason:
        raise CheckpointError(f"{reason} They may also lie beside {own.name}.") from reason


def _beside(roots: list[Path], name: str, own: Path) -> Path:
    for root in roots:
        if (root / name / "config.json").is_file():
            return root / name
    raise CheckpointError(f"{name}/config.json is missing beside {short(own)}; {weights.holds(own.parent)}")


def _planner(roots: list[Path], row: Row | None) -> Path | None:
    """The planner beside the checkpoint: the recommended one if it is there, else the first by name."""
    found = sorted(
        folder for root in roots for folder in root.glob(f"{_LM_PREFIX}*") if (folder / "config.json").is_file()
    )
    wanted = f"{_LM_PREFIX}{row.lm}" if row is not None and row.lm else None
    return next((folder for folder in found if folder.name == wanted), found[0] if found else None)


def lm_place(row: LMRow, folder: Path, snapshot: _Snapshot) -> Path:
    """The folder of a planner from the catalog: beside the checkpoint, or in the cache of the hub."""
    name = f"{_LM_PREFIX}{row.name}"
    for beside in (folder / name, folder.parent / name):
        if (beside / "config.json").is_file():
            return beside
    found = snapshot(row.repo, f"The planner {row.name} has not been downloaded yet") / row.folder
    if not (found / "config.json").is_file():
        raise CheckpointError(f"The planner {row.name} is incomplete; {weights.holds(found)}")
    return found
