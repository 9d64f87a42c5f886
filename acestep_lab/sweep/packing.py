"""Takes, sounds and recipes on their way to another process and back: as the files we write, never as pickles of ours.

Pickles of one version are strange to another; a take's zip proves its own id. Knows files; no cluster.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LibraryError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.exchange import read_file
from acestep_lab.takes.take import Take


@dataclass(frozen=True)
class Packed:
    """Something of ours as bytes and plain data."""

    kind: str
    data: Any = field(repr=False)
    inner: Mapping[str, Any] = field(default_factory=dict)


def pack(value: Any) -> Any:
    """A take as its zip, a sound as its file, a recipe as JSON with its sources; anything else as it is."""
    if isinstance(value, Take):
        with tempfile.TemporaryDirectory(prefix="acestep-lab-") as place:
            return Packed("take", value.export(Path(place) / "take.zip").read_bytes())
    if isinstance(value, Audio):
        return Packed("sound", value.encoded(value.lossless_kind), {"kind": value.lossless_kind})
    if isinstance(value, Recipe):
        sources = {name: one for name, one in value.task.sources().items() if isinstance(one, Take | Audio)}
        plain = value.replace(task=value.task.with_ids()).to_json()
        return Packed("recipe", plain, {name: pack(one) for name, one in sources.items()})
    if isinstance(value, list | tuple):
        return type(value)(pack(one) for one in value)
    return value


def unpack(value: Any) -> Any:
    """What was packed; LibraryError for a take that is not the one its manifest tells of."""
    if isinstance(value, list | tuple):
        return type(value)(unpack(one) for one in value)
    if not isinstance(value, Packed):
        return value
    return {"take": _take, "sound": _sound, "recipe": _recipe}[value.kind](value)


def _take(packed: Packed) -> Take:
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as place:
        file = Path(place) / "take.zip"
        file.write_bytes(packed.data)
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if Path(name).name == name]
            for name in names:
                (Path(place) / name).write_bytes(archive.read(name))
        sound = next((name for name in names if name.endswith((".flac", ".wav"))), None)
        if sound is None:
            raise LibraryError("What came back holds no take.")
        return read_file(Path(place) / sound)


def _sound(packed: Packed) -> Audio:
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as place:
        file = Path(place) / f"sound.{packed.inner['kind']}"
        file.write_bytes(packed.data)
        return Audio.read(file)


def _recipe(packed: Packed) -> Recipe:
    recipe = Recipe.from_json(packed.data)
    sources = {name: unpack(one) for name, one in packed.inner.items()}
    return recipe.replace(task=recipe.task.with_sources(sources)) if sources else recipe
