"""What an exported folder holds, written down: `manifest.json`. Knows files; no onnx, no onnxruntime, no torch.

::

    folder/manifest.json        what each graph takes and gives, how far it is from torch, and the digest of each file
    folder/dit.fp32.onnx        a graph, and beside it dit.fp32.onnx.data where its weights are too large for one file
    folder/tensors.safetensors  numbers that belong to no graph (a recorded silence, …)
    folder/…                    the checkpoint's own small files: configs and tokenizers, in its own layout

So a folder is opened like any checkpoint: its family sees the configs, then the manifest, and computes with onnxruntime.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from acestep_lab import files
from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models.stored_content import StoredFile, digest
from acestep_lab.models.weights import read_json, short

NAME, TENSORS = "manifest.json", "tensors.safetensors"
SCHEMA = 1
"""Version of the manifest; a reader refuses a later one."""
FORMAT = "acestep-lab onnx"
DTYPES = ("fp32", "fp16", "int8")
Axis = int | str
"""A length that is always the same, or the name of one that is not; None in JSON never."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    dtype: str
    """As numpy names it: "float32", "int64", "bool"."""
    shape: tuple[Axis, ...]
    """"frames" where it may be any length, "2*frames" where any even one."""


@dataclass(frozen=True)
class Graph:
    """One graph of a checkpoint: its files, its ports, and how far it is from what torch computes."""

    name: str
    component: str
    """The engine's component that it is (part of): graphs of one are in memory together."""
    dtype: str
    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    exporter: str
    """"dynamo" or "legacy": which of torch's two exporters made it."""
    files: Mapping[str, str]
    """Each of its files by name, and its SHA-256."""
    bytes: int
    tolerance: float
    error: float
    """The largest difference to torch at any of the lengths it was tried at, as a share of the largest number there."""
    lengths: tuple[Mapping[str, int], ...] = ()
    """The lengths at which it was tried."""


@dataclass(frozen=True)
class Manifest:
    """All graphs of an exported checkpoint."""

    family: str
    checkpoint: str
    """The name of the checkpoint it was made from."""
    graphs: tuple[Graph, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    """The checkpoint's own small files, by name, and the SHA-256 of each."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What its family wants to know again, as plain data."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries that made it."""

    def named(self, name: str) -> Graph:
        """A graph; CheckpointError where it was not exported."""
        for graph in self.graphs:
            if graph.name == name:
                return graph
        known = ", ".join(graph.name for graph in self.graphs)
        raise CheckpointError(
            f"This ONNX folder has no {shown(name)}; it has {known}. Export it too: "
            f"acestep-lab export-onnx {self.checkpoint} --component {name} --to the same folder."
        )

    @property
    def components(self) -> dict[str, int]:
        """Bytes of each component that is there, in the order of its graphs."""
        sizes: dict[str, int] = {}
        for graph in self.graphs:
            sizes[graph.component] = sizes.get(graph.component, 0) + graph.bytes
        return sizes

    def write(self, folder: Path) -> None:
        """Write it into a folder, whole or not at all."""
        said = {"format": FORMAT, "schema": SCHEMA, **asdict(self)}
        text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
        files.write_whole(folder / NAME, lambda place: Path(place).write_text(text, encoding="utf-8"))


def is_exported(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has a manifest, right or wrong."""
    try:
        return (Path(folder).expanduser() / NAME).is_file()
    except (OSError, ValueError, TypeError, RuntimeError):  # a name that no disk has
        return False


def family_of(folder: str | os.PathLike[str]) -> str:
    """The family of an exported folder; "" where it is none, or its manifest cannot be read."""
    if not is_exported(folder):
        return ""
    try:
        return read(Path(folder).expanduser()).family
    except CheckpointError:
        return ""


def read(folder: Path, family: str | None = None) -> Manifest:
    """The manifest of a folder; CheckpointError where there is none, or it is damaged, newer, or of another family."""
    if not (folder / NAME).is_file():
        raise CheckpointError(f"{short(folder)} is no exported checkpoint: it has no {NAME}.")
    said = read_json(folder / NAME)
    if said.get("format") != FORMAT:
        raise CheckpointError(f"The {NAME} in {short(folder)} is not of an ONNX export of ours; choose another folder.")
    if said.get("schema") != SCHEMA:
        raise CheckpointError(
            f"The {NAME} in {short(folder)} has the schema {shown(said.get('schema'))}, and this version reads {SCHEMA}. "
            "Export the checkpoint again."
        )
    try:
        found = _manifest(said)
    except (TypeError, KeyError, ValueError, AttributeError) as reason:
        raise CheckpointError(
            f"The {NAME} in {short(folder)} is damaged ({shown(str(reason), 80)}). Export the checkpoint again."
        ) from reason
    if family is not None and found.family != family:
        raise CheckpointError(f"{short(folder)} was exported from a {shown(found.family)}, not from a {family}.")
    return found


def _manifest(said: Mapping[str, Any]) -> Manifest:
    graphs = tuple(_graph(_table(one)) for one in said["graphs"])
    tables = [_table(said[key]) for key in ("files", "facts", "versions")]
    for name in tables[0]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"the file {name!r}")
    return Manifest(_text(said["family"]), _text(said["checkpoint"]), graphs, *tables)


def _graph(said: Mapping[str, Any]) -> Graph:
    inputs, outputs = (tuple(_port(port) for port in said[key]) for key in ("inputs", "outputs"))
    name, component, dtype, file, exporter = (
        _text(said[key]) for key in ("name", "component", "dtype", "file", "exporter")
    )
    opset, size, tolerance, error = (_number(said[key]) for key in ("opset", "bytes", "tolerance", "error"))
    files, lengths = _table(said["files"]), tuple(_table(one) for one in said["lengths"])
    outside = [one for one in (file, *files) if Path(one).name != one or one.startswith(".")]
    if outside or file not in files or dtype not in DTYPES:
        raise ValueError(f"the files of {name!r}")
    return Graph(
        name, component, dtype, file, inputs, outputs, int(opset), exporter, files, int(size), tolerance, error, lengths
    )


def _port(said: Mapping[str, Any]) -> Port:
    shape = tuple(said["shape"])
    if not all(type(axis) in (int, str) for axis in shape):
        raise ValueError(f"the shape {shape!r}")
    return Port(_text(said["name"]), _text(said["dtype"]), shape)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float) or not value >= 0:  # type: ignore[operator]
        raise TypeError(f"{value!r} is no number")
    return value  # type: ignore[return-value]


def _table(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no table")
    return dict(value)


def verify(folder: Path, listed: Mapping[str, str], names: Sequence[str] | None = None) -> None:
    """Compare files with the digests that are written down for them; CheckpointError names the first that differs."""
    for name, wanted in listed.items():
        if names is not None and name not in names:
            continue
        if digest(StoredFile.at(folder / name)) != wanted:
            raise CheckpointError(
                f"The file {shown(name)} in {short(folder)} is not the one that was exported: its SHA-256 differs. Export "
                "the checkpoint again."
            )
