"""Takes as files that travel: reading one from anywhere, writing one in any format.

Knows files and takes; no library. A file from anywhere may claim to be any take: it is that one only if its sound is.
"""

from __future__ import annotations

import math
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from acestep_lab.audio.audio import Audio, can_write
from acestep_lab.audio.exporting import ExportOptions, Ready, ready
from acestep_lab.audio.reading import path_of
from acestep_lab.audio.writing import wav_bits
from acestep_lab.errors import LibraryError, SourceError, shown
from acestep_lab.files import mended_text, read_bytes, read_json, write_whole
from acestep_lab.takes import identity, manifest
from acestep_lab.takes.comments import MOST_OPUS, read_comment
from acestep_lab.takes.take import Take

_HEADER_BYTES = 2**20
AS_IT_IS = ExportOptions()


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


def write_sound(path: Path, audio: Audio, data: dict[str, Any], options: ExportOptions = AS_IT_IS) -> None:
    """Write a sound with its manifest inside; where the format has no room for it, beside the file."""
    kind, title = path.suffix.lower(), (mended_text(data["recipe"]["caption"])[:200] or data["id"])
    text = manifest.to_text(data)
    fits = kind not in (".opus", ".ogg") or len(text.encode()) <= MOST_OPUS
    audio.write(path, comment=text if fits else None, title=title, bits=options.bits, bitrate=options.bitrate)
    if not fits:
        write_whole(path.with_suffix(".json"), lambda draft: draft.write_text(text, encoding="utf-8"))


def write_latent(path: Path, latent: np.ndarray) -> None:
    """Write a latent as safetensors; OSError where the disk refuses, which safetensors' own writer words otherwise."""
    path.write_bytes(save({"latent": np.ascontiguousarray(latent)}))


def export(
    takes: Take | Sequence[Take], path: str | os.PathLike[str], options: ExportOptions = AS_IT_IS,
    lyrics: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Path, tuple[str, ...]]:  # fmt: skip
    """Write a take by the file's ending, or several as .zip or .html; the path, and what could not be done as asked.

    `lyrics` are alignments as plain data by the ids of their takes: a page lights them as they are sung.

    The manifest is inside the file. Where level, rate or fades were changed it says so, and the file opened again is a new
    take; a lossy file, or one of fewer bits, is recognised as a copy.
    """
    target, several = path_of(path), [takes] if isinstance(takes, Take) else list(takes)
    if not several:
        raise LibraryError("There is no take to export; hand over at least one.")
    kind = target.suffix.lower()
    if len(several) > 1 and kind not in (".zip", ".html"):
        raise SourceError(f"{len(several)} takes go into a .zip or an .html page, not into {shown(target.name)}.")
    try:
        if kind == ".html":
            return _export_page(several, target, options, lyrics or {}), ()
        if kind == ".zip":
            return _export_zip(several, target, options)
        return _export_sound(several[0], target, options)
    except OSError as problem:
        raise SourceError(f"{shown(target.name)} cannot be written ({problem.strerror or problem}).") from None


def _export_sound(take: Take, target: Path, options: ExportOptions) -> tuple[Path, tuple[str, ...]]:
    target, kind = can_write(target)
    made = ready(take.audio, kind, options)
    write_sound(target, made.audio, _story(take, made, kind, options), options)
    return target, made.remarks


def _story(take: Take, made: Ready, kind: str, options: ExportOptions) -> dict[str, Any]:
    """The manifest of a take for a file that holds its sound, or a changed one."""
    data = manifest.describe(take)
    if made.edits:
        facts = {
            **identity.sound_facts(made.audio), "edited": list(made.edits), "original": dict(identity.original_of(data))
        }  # fmt: skip
    elif kind in ("wav", "flac") and not _keeps_all(made.audio, take.audio, kind, options):
        facts = {**_as_read_back(made.audio, kind, options), "original": dict(identity.original_of(data))}
    else:
        return data
    return manifest.with_checksum({**data, "audio": facts})


def _keeps_all(made: Audio, own: Audio, kind: str, options: ExportOptions) -> bool:
    """Whether a WAV or FLAC gives back the take's very samples."""
    if made is not own:
        return False
    if kind == "flac":
        return options.bits != 16 and own.lossless_kind == "flac"
    return options.bits in (None, 32) or wav_bits(own.samples, options.bits) == options.bits


def _as_read_back(audio: Audio, kind: str, options: ExportOptions) -> dict[str, object]:
    """The facts of a sound as such a file gives it back."""
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as place:
        return identity.sound_facts(Audio.read(audio.write(Path(place) / f"sound.{kind}", bits=options.bits)))


def _export_page(
    takes: Sequence[Take], target: Path, options: ExportOptions, lyrics: Mapping[str, Mapping[str, Any]]
) -> Path:
    from acestep_lab.takes import page

    sounds = [ready(take.audio, "opus", replace(options, bits=None, rate=None)).audio for take in takes]
    text = page.pages(takes, sounds=sounds, bitrate=options.bitrate or page.BITRATE, lyrics=lyrics)
    return write_whole(target, lambda draft: draft.write_text(text, encoding="utf-8"), "The page", LibraryError)


def _export_zip(takes: Sequence[Take], target: Path, options: ExportOptions) -> tuple[Path, tuple[str, ...]]:
    """Sound, latent and manifest of each take in one archive, whole or not at all."""
    can_write(target.with_suffix(".flac"))
    remarks: list[str] = []
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".draft-") as draft:
        folder = Path(draft)
        with zipfile.ZipFile(folder / "whole.zip", "w", zipfile.ZIP_STORED) as archive:
            for take in dict.fromkeys(takes):
                found = _write_parts(take, folder, options)
                remarks += found if len(takes) == 1 else [f"{take.id}: {one}" for one in found]
                for file in sorted(folder.glob(f"{take.id}.*")):
                    archive.write(file, file.name)
                    file.unlink()
        os.replace(folder / "whole.zip", target)
    return target, tuple(remarks)


def _write_parts(take: Take, folder: Path, options: ExportOptions) -> tuple[str, ...]:
    """Write a take's sound, latent and manifest into a folder; what could not be done as asked."""
    kind = options.form or ("wav" if options.bits == 32 else "flac" if options.bits else take.audio.lossless_kind)
    made = ready(take.audio, kind, options)
    data = _story(take, made, kind, options)
    write_sound(folder / f"{take.id}.{kind}", made.audio, data, options)
    if options.latent:
        write_latent(folder / f"{take.id}.safetensors", take.latent)
    (folder / f"{take.id}.json").write_text(manifest.to_text(data), encoding="utf-8")
    return made.remarks
