"""Takes as files that travel: reading one from anywhere, writing one in any format.

Knows files and takes; no library. A file from anywhere may claim to be any take: it is that one only if its sound is.
"""

from __future__ import annotations

import math
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from acestep_lab.audio.audio import Audio, can_write
from acestep_lab.audio.reading import path_of
from acestep_lab.errors import LibraryError, SourceError, shown
from acestep_lab.files import mended_text, read_bytes, read_json, write_whole
from acestep_lab.takes import identity, manifest
from acestep_lab.takes.comments import MOST_OPUS, read_comment
from acestep_lab.takes.take import Take

_HEADER_BYTES = 2**20


def read_file(path: str | os.PathLike[str]) -> Take:
    """Read a take out of any of our sound files; its latent comes along where it lies beside the file.

    The manifest is inside the file, or lies beside it as a `.json` of the same name. Where the sound is not the one the
    manifest tells of, it is a new take with that one as its parent, and its `remarks` say so. Raises LibraryError where
    there is no manifest, SourceError where there is no sound.
    """
    file = path_of(path)
    audio = Audio.read(file)
    data, lossy = _manifest(file)
    latent, remarks = read_latent(file.with_suffix(".safetensors"), data["latent"])
    take = manifest.from_file(data, audio, latent, lossy, file.name)
    return take.replace(remarks=(*take.remarks, *remarks)) if remarks else take


def _manifest(file: Path) -> tuple[dict[str, Any], bool]:
    """The manifest in a file or beside it, and whether the file's format changes samples."""
    comment, lossy = read_comment(file)
    beside = file.with_suffix(".json")
    if not comment.startswith("{") and beside.is_file():
        return manifest.checked(read_json(beside, "The manifest", LibraryError), beside.name), lossy
    return manifest.from_text(comment, file.name), lossy


def read_latent(path: Path, facts: dict[str, Any]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """A latent from its file, if it is the one that a manifest tells of; else None, and a sentence where there is a file."""
    if not os.path.lexists(path):
        return None, ()
    try:
        latent = _read_latent(path, tuple(facts["shape"]))
    except (SafetensorError, LibraryError, KeyError, TypeError, ValueError):
        latent = None
    for found in () if latent is None else (latent, _unturned(latent)):
        if identity.latent_facts(found) == facts:
            return found, ()
    return None, (f"The latent {path.name} is damaged or another take's; the take is opened by its sound.",)


def _unturned(latent: np.ndarray) -> np.ndarray:
    """A latent of an earlier version, which wrote some column by column under the shape of rows."""
    return latent.reshape(latent.shape[::-1]).T


def _read_latent(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array of a latent's file, None where it is of another shape or type; LibraryError for no ordinary file."""
    most = 4 * math.prod(shape) + _HEADER_BYTES
    found = load(read_bytes(path, "The latent", LibraryError, most))["latent"]
    return found if found.dtype == np.float32 and found.shape == shape else None


def write_sound(path: Path, audio: Audio, data: dict[str, Any]) -> None:
    """Write a sound with its manifest inside; where the format has no room for it, beside the file."""
    kind, title = path.suffix.lower(), (mended_text(data["recipe"]["caption"])[:200] or data["id"])
    text = manifest.to_text(data)
    fits = kind not in (".opus", ".ogg") or len(text.encode()) <= MOST_OPUS
    audio.write(path, comment=text if fits else None, title=title)
    if not fits:
        write_whole(path.with_suffix(".json"), lambda draft: draft.write_text(text, encoding="utf-8"))


def write_latent(path: Path, latent: np.ndarray) -> None:
    """Write a latent as safetensors; OSError where the disk refuses, which safetensors' own writer words otherwise."""
    path.write_bytes(save({"latent": np.ascontiguousarray(latent)}))


def export(take: Take, path: str | os.PathLike[str]) -> Path:
    """Write a take as .flac, .wav (float), .opus, .ogg, .mp3 with its manifest inside — or .zip: sound, latent and manifest.

    A FLAC of a sound its 24-bit grid does not hold is a copy: opened again, it is recognised as the same take.
    """
    target = path_of(path)
    try:
        if target.suffix.lower() == ".zip":
            return _export_zip(take, target)
        target, kind = can_write(target)
        data = manifest.describe(take)
        if kind == "flac" and take.audio.lossless_kind != "flac":
            facts = {**_as_flac(take.audio, target.parent), "original": identity.original_of(data)}
            data = manifest.with_checksum({**data, "audio": facts})
        write_sound(target, take.audio, data)
    except OSError as problem:
        raise SourceError(f"{shown(target.name)} cannot be written ({problem.strerror or problem}).") from None
    return target


def _as_flac(audio: Audio, folder: Path) -> dict[str, object]:
    """The facts of a sound as a FLAC gives it back."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".draft-") as place:
        return identity.sound_facts(Audio.read(audio.write(Path(place) / "sound.flac")))


def _export_zip(take: Take, target: Path) -> Path:
    can_write(target.with_suffix(".flac"))
    data = manifest.describe(take)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".draft-") as draft:
        folder = Path(draft)
        write_sound(folder / f"{take.id}.{take.audio.lossless_kind}", take.audio, data)
        write_latent(folder / f"{take.id}.safetensors", take.latent)
        (folder / f"{take.id}.json").write_text(manifest.to_text(data), encoding="utf-8")
        with zipfile.ZipFile(folder / "whole.zip", "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.glob(f"{take.id}.*")):
                archive.write(file, file.name)
        os.replace(folder / "whole.zip", target)
    return target
