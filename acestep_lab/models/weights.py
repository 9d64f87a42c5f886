"""What lies in safetensors files, from their headers alone. Knows no torch: a header is eight bytes and a JSON table.

Only safetensors are ever opened: a pickle would run whatever its author wrote into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from acestep_lab.errors import CheckpointError

STEMS = ("diffusion_pytorch_model", "model", "adapter_model")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Entry:
    """One stored tensor: which file it is in, under which key, of which shape."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors spells it: "F32", "F16", "BF16", …
    size: int  # bytes

    @property
    def numbers(self) -> int:
        return prod(self.shape)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON table from a file; CheckpointError naming the file when it is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"The file {file} is missing; {holds(file.parent)}") from None
    except (ValueError, OSError) as reason:
        raise CheckpointError(f"The file {file} cannot be read as JSON ({reason}); fetch it again.") from reason
    if not isinstance(found, dict):
        raise CheckpointError(f"The file {file} holds {type(found).__name__} where a JSON table belongs.")
    return found


def shelf(folder: Path) -> dict[str, Entry]:
    """Every tensor stored in a folder, by key: one file, or the shards its index names."""
    for stem in STEMS:
        index = folder / f"{stem}.safetensors.index.json"
        if index.is_file():
            return _sharded(index)
        single = folder / f"{stem}.safetensors"
        if single.is_file():
            return header(single)
        variants = sorted(folder.glob(f"{stem}.*.safetensors"))
        if len(variants) == 1:
            return header(variants[0])
    raise CheckpointError(_nothing(folder))


def _sharded(index: Path) -> dict[str, Entry]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"The index {index} has no weight_map; fetch it again.")
    names = sorted(set(places.values()))
    strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if strange:
        raise CheckpointError(f"The index {index} points to {strange[0]!r}, which is no safetensors file beside it.")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"The shard {index.parent / missing[0]} is missing ({len(names) - len(missing)} of {len(names)} are there)."
        )
    found: dict[str, Entry] = {}
    for name in names:
        found.update(header(index.parent / name))
    lost = sorted(set(places) - set(found))
    if lost:
        raise CheckpointError(f"The index {index} promises {lost[0]}{_more(lost)}, but {places[lost[0]]} lacks it.")
    return found


def header(file: Path) -> dict[str, Entry]:
    """Every tensor of one safetensors file; CheckpointError when the file is cut short or no such file."""
    table, start, length = _table(file)
    found = {}
    for key, fact in table.items():
        if key == "__metadata__":
            continue
        first, last = fact["data_offsets"]
        found[key] = Entry(file, key, tuple(fact["shape"]), fact["dtype"], last - first)
    end = start + max((fact["data_offsets"][1] for key, fact in table.items() if key != "__metadata__"), default=0)
    if end > length:
        raise CheckpointError(f"The file {file} is cut short: {length:,} of {end:,} bytes are there. Fetch it again.")
    return found


def notes(file: Path) -> dict[str, str]:
    """What the writer of a safetensors file noted in its header beside the tensors."""
    return dict(_table(file)[0].get("__metadata__") or {})


def _table(file: Path) -> tuple[dict[str, Any], int, int]:
    """The header's table, the byte at which the numbers start, and the file's length."""
    length = file.stat().st_size
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        raw = stream.read(size) if 2 <= size <= length - 8 else b""
    try:
        table = json.loads(raw)
    except ValueError:
        raise CheckpointError(
            f"The file {file} ({length:,} bytes) is cut short or is no safetensors file. Fetch it again."
        ) from None
    return table, 8 + size, length


def _nothing(folder: Path) -> str:
    if not folder.is_dir():
        return f"The folder {folder} is missing; {holds(folder.parent)}"
    pickles = [file.name for file in folder.iterdir() if file.suffix in _PICKLES]
    if pickles:
        return (
            f"The folder {folder} has its weights as a pickle ({pickles[0]}), which could run anything; "
            "only safetensors are read. Convert it with safetensors' own convert script."
        )
    return f"The folder {folder} has no weights (*.safetensors); {holds(folder)}"


def holds(folder: Path) -> str:
    """Half a sentence: what is in a folder."""
    if not folder.is_dir():
        return f"there is no folder {folder}."
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not names:
        return f"{folder} is empty."
    return f"{folder} holds {', '.join(names[:8])}{_more(names, 8)}."


def _more(names: list[str], shown: int = 1) -> str:
    return f" and {len(names) - shown} more" if len(names) > shown else ""


def check(wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, Entry], folder: Path) -> None:
    """Compare the tensors a module has (name → shape) with those stored: all there, none over, all of the same shape."""
    missing = sorted(set(wanted) - set(stored))
    if missing:
        raise CheckpointError(
            f"{folder} lacks the weights {missing[0]}{_more(missing)} "
            f"({len(wanted) - len(missing)} of {len(wanted)} are there)."
        )
    over = sorted(set(stored) - set(wanted))
    if over:
        raise CheckpointError(
            f"{folder} holds weights this model has no place for: {over[0]}{_more(over)}. "
            "Its config and its weights are not of the same model."
        )
    for name, shape in wanted.items():
        entry = stored[name]
        if tuple(shape) != entry.shape:
            raise CheckpointError(
                f"In {entry.file}, {entry.key} has the shape {list(entry.shape)} where the config asks for {list(shape)}."
            )
