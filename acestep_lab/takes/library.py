"""The Library: a folder that keeps takes, each whole or not at all.

Knows takes and files; no model. A take is three files named by its id: the sound (FLAC, 24 bit, with the manifest in
its comment), the latent (safetensors) and the manifest (JSON) — the last written, so that a manifest means a take.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from safetensors.numpy import load_file, save_file

from acestep_lab.decode.audio import Audio
from acestep_lab.errors import LibraryError, SourceError
from acestep_lab.takes import manifest
from acestep_lab.takes.take import Take


class Library:
    """Kept takes in one folder, newest first."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(f"The library folder {str(self.folder)!r} cannot be made ({error.strerror}).") from None

    def __len__(self) -> int:
        return len(self.ids())

    def __iter__(self) -> Iterator[Take]:
        return (self.open(name) for name in self.ids())

    def __contains__(self, take: Take | str) -> bool:
        return self._file(getattr(take, "id", take), "json").is_file()

    def ids(self) -> list[str]:
        """Ids of all kept takes, newest first."""
        files = sorted(self.folder.glob("take-*.json"), key=lambda f: (f.stat().st_mtime_ns, f.name), reverse=True)
        return [f.stem for f in files]

    def takes(self, most: int | None = None) -> list[Take]:
        """Kept takes, newest first."""
        return [self.open(name) for name in self.ids()[:most]]

    def keep(self, take: Take) -> Path:
        """Write a take and return its sound file; keeping it twice changes nothing."""
        sound = self._file(take.id, "flac")
        if take in self:
            return sound
        story = manifest.describe(take)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            take.audio.write(sound, comment=manifest.to_text(story), title=take.recipe.caption[:200] or take.id)
            self._whole(take.id, "safetensors", lambda path: save_file({"latent": np.array(take.latent)}, path))
            self._whole(take.id, "json", lambda path: path.write_text(manifest.to_text(story), encoding="utf-8"))
        except (OSError, SourceError) as error:
            raise LibraryError(f"The take could not be kept in {str(self.folder)!r}: {error}") from None
        return sound

    def open(self, name: str) -> Take:
        """Read a kept take by its id; LibraryError where there is none."""
        story = self._file(name, "json")
        if not story.is_file():
            raise LibraryError(f"The library {str(self.folder)!r} keeps no take {name!r}.")
        facts = manifest.from_text(story.read_text(encoding="utf-8"), story.name)
        return manifest.rebuild(facts, Audio.read(self._file(name, "flac")), self._latent(name))

    def _latent(self, name: str) -> np.ndarray | None:
        path = self._file(name, "safetensors")
        return load_file(path)["latent"] if path.is_file() else None

    def _file(self, name: str, kind: str) -> Path:
        """The path of one of a take's files; a name that leaves the folder is refused."""
        if not name or Path(name).name != name or name.startswith("."):
            raise LibraryError(f"{name!r} is no take's name.")
        return self.folder / f"{name}.{kind}"

    def _whole(self, name: str, kind: str, write: Callable[[Path], object]) -> None:
        """Write a file under a draft name and move it into place."""
        handle, draft = tempfile.mkstemp(dir=self.folder, prefix=".draft-", suffix=f".{kind}")
        os.close(handle)
        try:
            write(Path(draft))
            os.replace(draft, self._file(name, kind))
        finally:
            Path(draft).unlink(missing_ok=True)


def read_file(path: str | os.PathLike[str]) -> Take:
    """Read a take out of any of our sound files; its latent comes along where it lies beside the file."""
    file = Path(path).expanduser()
    audio = Audio.read(file)
    with soundfile.SoundFile(str(file)) as opened:
        facts = manifest.from_text(opened.comment or "", file.name)
    beside = file.with_suffix(".safetensors")
    return manifest.rebuild(facts, audio, load_file(beside)["latent"] if beside.is_file() else None)
