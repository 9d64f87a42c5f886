"""What lies in safetensors files and configs, from headers and JSON alone. Knows no torch.

Only safetensors are ever opened: a pickle would run whatever its author wrote into it. Whatever a file holds, what comes out
of here is whole and of the right type, or a CheckpointError naming the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any, BinaryIO

from acestep_lab import files
from acestep_lab.errors import CheckpointError, NotFoundError, shown

STEMS = ("diffusion_pytorch_model", "model", "adapter_model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

LONGEST_HEADER = 100 * 2**20
"""Bytes; safetensors' own limit."""
LONGEST_NAME = 500
"""Characters in the name of a tensor."""
LARGEST_NUMBER, LARGEST_COUNT = 2**24, 512
"""In a config: of any whole number (the largest published is a vocabulary of 217,204), and of what is built one by one."""
COUNTED = ("layers", "quantizers", "per_block", "depths")
"""How the names of what is built one by one end."""

BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one number, by safetensors' name of its type."""


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

    @property
    def is_floating(self) -> bool:
        return "F" in self.dtype


def short(path: Path) -> str:
    """The end of a path, as a sentence names it: the file and the folder it is in."""
    return "/".join(path.parts[-2:]) if len(path.parts) > 1 else str(path)


def read_json(file: Path) -> dict[str, object]:
    """A JSON table from a file; CheckpointError naming the file when it is missing or damaged."""
    if not os.path.lexists(file):
        raise NotFoundError(f"The file {short(file)} is missing; {holds(file.parent)}")
    what = f"The file {short(file)}"
    text = files.decode_text(files.read_bytes(file, what, CheckpointError), what, CheckpointError)
    found = files.parse_json(text, what, CheckpointError)
    if not isinstance(found, dict):
        raise CheckpointError(f"{what} holds {type(found).__name__} where a JSON table belongs.")
    return found


def read_config(file: Path) -> dict[str, object]:
    """The config of a module: JSON whose numbers are of a size that a module can be built from."""
    config = read_json(file)
    for name, value in _numbers(config):
        most = LARGEST_COUNT if name.endswith(COUNTED) else LARGEST_NUMBER
        if isinstance(value, int) and abs(value) > most:
            raise CheckpointError(f"In {short(file)}, {shown(name)} is {shown(value)}; no model is that large.")
    return config


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each number of a config, those in its lists too, by the name it stands under."""
    for name, value in config.items():
        members = value if isinstance(value, list) else [value]
        if len(members) > LARGEST_COUNT and all(isinstance(one, int) for one in members):
            yield f"the length of {name} in layers", len(members)
        yield from ((name, one) for one in members if isinstance(one, int | float))


def whole_number(
    config: Mapping[str, Any], name: str, where: str, otherwise: int | None = None, least: int = 1, most: int = 2**24
) -> int:
    """A whole number of a config, between `least` and `most`; CheckpointError where it is none, or missing."""
    value = config.get(name)
    if value is None and otherwise is not None:
        return otherwise
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        said = "lacks" if value is None else f"has {shown(value)} for"
        raise CheckpointError(f"The config of {where} {said} {name}, a whole number of at least {least}.")
    return value


def number(config: Mapping[str, object], name: str, where: str, otherwise: float | None = None) -> float:
    """A finite number of a config; CheckpointError where it is none, or missing and without a default."""
    value = config.get(name)
    if value is None and otherwise is not None:
        return otherwise
    if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
        raise CheckpointError(
            f"The config of {where} {'lacks' if value is None else f'has {shown(value)} for'} {name}, a number."
        )
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def stored_tensors(folder: Path) -> dict[str, Entry]:
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
    raise NotFoundError(_nothing(folder))


def _sharded(index: Path) -> dict[str, Entry]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"The index {short(index)} has no weight_map of names and files; fetch it again.")
    names = sorted(set(places.values()))
    strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if strange:
        raise CheckpointError(
            f"The index {short(index)} points to {shown(strange[0])}, which is no safetensors file beside it."
        )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise NotFoundError(
            f"The shard {short(index.parent / missing[0])} is missing "
            f"({len(names) - len(missing)} of {len(names)} are there)."
        )
    found: dict[str, Entry] = {}
    for name in names:
        found.update(header(index.parent / name))
    lost = sorted(set(places) - set(found))
    if lost:
        raise CheckpointError(
            f"The index {short(index)} promises {shown(lost[0])}{_more(lost)}, but {places[lost[0]]} lacks it."
        )
    return found


def header(file: Path) -> dict[str, Entry]:
    """Every tensor of one safetensors file; CheckpointError when the file is cut short or no such file."""
    table, start, length = header_table(file)
    found = {key: _entry(file, key, fact) for key, fact in table.items() if key != "__metadata__"}
    end = start + max((fact["data_offsets"][1] for key, fact in table.items() if key != "__metadata__"), default=0)
    if end > length:
        raise CheckpointError(
            f"The file {short(file)} is cut short: {length:,} of {end:,} bytes are there. Fetch it again."
        )
    return found


def _entry(file: Path, key: str, fact: Any) -> Entry:
    """One row of a header; CheckpointError unless its shape, type and place agree."""
    fact = fact if isinstance(fact, dict) else {}
    shape, dtype, offsets = fact.get("shape"), fact.get("dtype"), fact.get("data_offsets")
    if len(key) > LONGEST_NAME:
        raise CheckpointError(f"The header of {short(file)} has a name of {len(key):,} characters: {shown(key)}.")
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2 and isinstance(dtype, str)):
        raise CheckpointError(
            f"The header of {short(file)} says no shape, type and place of {shown(key)}. Fetch it again."
        )
    if dtype not in BYTES:
        raise CheckpointError(
            f"In {short(file)}, {shown(key)} is of the type {shown(dtype)}; read are {', '.join(BYTES)}."
        )
    size = offsets[1] - offsets[0]
    if size != prod(shape) * BYTES[dtype]:
        raise CheckpointError(
            f"In {short(file)}, {shown(key)} has {size:,} bytes, and its shape {shown(shape, 40)} asks for others. "
            "Fetch it again."
        )
    return Entry(file, key, tuple(shape), dtype, size)


def _are_counts(values: object) -> bool:
    """Whether these are a few whole numbers, none below zero and none beyond any file."""
    if not isinstance(values, list) or len(values) > 16:
        return False
    return all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**48 for one in values)


def metadata(file: Path) -> dict[str, str]:
    """What the writer of a safetensors file noted in its header beside the tensors."""
    found = header_table(file)[0].get("__metadata__")
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def header_table(file: Path) -> tuple[dict[str, Any], int, int]:
    """The header's table, the byte at which the numbers start, and the file's length."""
    with files.open_ordinary(file, "The weights", CheckpointError) as stream:
        length = os.fstat(stream.fileno()).st_size
        raw = _header_bytes(stream, length)
    try:
        table = files.parse_json(raw, "The header", CheckpointError) if raw else None
    except CheckpointError:
        table = None
    if not isinstance(table, dict):
        raise CheckpointError(
            f"The file {short(file)} ({length:,} bytes) is cut short or is no safetensors file. Fetch it again."
        )
    return table, 8 + len(raw), length


def _header_bytes(stream: BinaryIO, length: int) -> bytes:
    """The header, or nothing where its length is none; a file that breaks off while it is read holds none either."""
    try:
        size = int.from_bytes(stream.read(8), "little")
        return stream.read(size) if 2 <= size <= min(length - 8, LONGEST_HEADER) else b""
    except OSError:
        return b""


def _nothing(folder: Path) -> str:
    if not folder.is_dir():
        return f"The folder {short(folder)} is missing; {holds(folder.parent)}"
    if pickle := pickled(folder):
        return f"The folder {short(folder)} has its weights as a pickle ({pickle}). {NO_PICKLES}"
    return f"The folder {short(folder)} has no weights (*.safetensors); {holds(folder)}"


NO_PICKLES = (
    "A pickle could run anything, so only safetensors are read; convert it with safetensors' own convert script."
)


def pickled(folder: Path) -> str | None:
    """The name of the first file in a folder that is a pickle."""
    return next((name for name in _names(folder) if Path(name).suffix in PICKLES), None)


def holds(folder: Path) -> str:
    """Half a sentence: what is in a folder."""
    if not folder.is_dir():
        return f"there is no folder {shown(str(folder))}."
    names = [name + "/" * (folder / name).is_dir() for name in _names(folder)[:9]]
    if not names:
        return f"{shown(folder.name)} is empty, or may not be read."
    return f"{folder.name[:60] or folder} holds {shown_names(names, len(_names(folder)))}."


def shown_names(names: list[str], count: int = 0, most: int = 90) -> str:
    """The first of some names, as many as go into a line, and how many more there are."""
    count, kept = max(count, len(names)), list(names[:8])
    while len(kept) > 1 and len(", ".join(kept)) > most:
        kept.pop()
    return f"{', '.join(name[:most] for name in kept)}{f' and {count - len(kept)} more' if count > len(kept) else ''}"


def _names(folder: Path) -> list[str]:
    """What is in a folder, in order; nothing where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _more(names: list[str], shown: int = 1) -> str:
    return f" and {len(names) - shown} more" if len(names) > shown else ""


def check(wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, Entry], folder: Path) -> None:
    """Compare the tensors a module has (name → shape) with those stored: all there, none over, all of the same shape."""
    missing = sorted(set(wanted) - set(stored))
    if missing:
        raise CheckpointError(
            f"{short(folder)} lacks the weights {missing[0]}{_more(missing)} "
            f"({len(wanted) - len(missing)} of {len(wanted)} are there)."
        )
    over = sorted(set(stored) - set(wanted))
    if over:
        raise CheckpointError(
            f"{short(folder)} holds weights this model has no place for: {shown(over[0])}{_more(over)}. "
            "Its config and its weights are not of the same model."
        )
    for name, shape in wanted.items():
        entry = stored[name]
        if tuple(shape) != entry.shape:
            raise CheckpointError(
                f"In {short(entry.file)}, {entry.key} has the shape {list(entry.shape)} where the config asks for "
                f"{list(shape)}."
            )
