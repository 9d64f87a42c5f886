"""Finished tracks by what they were asked with, on disk: the same request again is answered at once, also after a restart.

A track is a WAV and a JSON beside it, `<key>.wav` and `<key>.json`; the sidecar is written last and its time is when the track
was last used. Several daemons may share a folder: what is there is looked up anew each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError
from acestep_lab.files import read_json, to_json, write_whole

MOST_BYTES = 500 * 10**6
"""Bytes of sounds that are kept."""
MOST_TEXT = 2000
"""Characters of the longest text that is believed of a track."""
OLD_DRAFT = 3600.0
"""Seconds after which what a daemon that died left half written is removed."""
_KEY = re.compile("[0-9a-f]{16}")


def key_of(asked: Mapping[str, Any]) -> str:
    """The key of a track: 16 hex digits of the SHA-256 of everything it was asked with, in whichever order."""
    text = json.dumps(asked, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class TrackCache:
    """Tracks in a folder, those used longest ago given up first where they are more than `most_bytes`."""

    def __init__(self, folder: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = Path(folder).expanduser().absolute(), most_bytes
        self.hits = self.misses = 0
        self._lock = threading.RLock()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise LibraryError(f"The folder of the tracks cannot be made ({problem.strerror}).") from None
        self._sweep()

    def find(self, key: str) -> dict[str, Any] | None:
        """What is known of a track that is here whole, its `path` included; from now on it is the one used last."""
        with self._lock:
            found = self._read(key)
            self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
            if found is not None:
                with contextlib.suppress(OSError):
                    os.utime(self._sidecar(key))
            return found

    def put(self, key: str, audio: Audio, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a track with what is to be known of it; gives what `find` would. LabError where the disk refuses."""
        with self._lock:
            sound = self._sound(key)
            with contextlib.suppress(OSError):  # somebody may have removed the folder; what is wrong, the writing says
                self.folder.mkdir(parents=True, exist_ok=True)
            audio.write(sound, bits=16)
            about = {
                **facts, "track_id": key, "duration_sec": round(audio.seconds, 3), "sample_rate": audio.rate,
                "bytes": sound.stat().st_size, "created": time.time(),
            }  # fmt: skip
            text = to_json(about)
            write_whole(self._sidecar(key), lambda draft: draft.write_text(text, encoding="utf-8"), "The track")
            self._shrink(keep=key)
            return about | {"path": str(sound)}

    def tracks(self) -> list[dict[str, Any]]:
        """What is known of every track, that used last first."""
        with self._lock:
            return [found for key in reversed(self._keys()) if (found := self._read(key)) is not None]

    def delete(self, key: str) -> bool:
        """Give a track up, and say whether it was there."""
        if not _KEY.fullmatch(key):
            return False
        with self._lock:
            there = self._sidecar(key).is_file()
            for file in (self._sidecar(key), self._sound(key)):
                with contextlib.suppress(OSError):  # a folder of that name is nothing of ours
                    file.unlink(missing_ok=True)
            return there

    def clear(self) -> int:
        """Give all tracks up, and say how many there were."""
        with self._lock:
            return sum(self.delete(key) for key in self._keys())

    def stats(self) -> dict[str, Any]:
        """How much is kept, and how often it served."""
        tracks = self.tracks()
        return {
            "tracks": len(tracks), "bytes": sum(int(one["bytes"]) for one in tracks), "max_bytes": self.most_bytes,
            "hits": self.hits, "misses": self.misses, "path": str(self.folder),
        }  # fmt: skip

    # -- the files -----------------------------------------------------------------------------------------------------

    def _sound(self, key: str) -> Path:
        return self.folder / f"{key}.wav"

    def _sidecar(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _keys(self) -> list[str]:
        """The keys of the sidecars that are here, that used longest ago first."""
        dated = []
        for file in self.folder.glob("*.json"):
            with contextlib.suppress(OSError):  # another daemon has just given it up
                if _KEY.fullmatch(file.stem) and file.is_file():
                    dated.append((file.stat().st_mtime_ns, file.stem))
        return [key for _, key in sorted(dated)]

    def _read(self, key: str) -> dict[str, Any] | None:
        """What is known of a track; None where it is not here, or its sound is not the one that was written."""
        if not _KEY.fullmatch(key):
            return None
        try:
            about = read_json(self._sidecar(key), "The track", LibraryError)
            size = self._sound(key).stat().st_size
        except (LabError, OSError):
            return None
        if about.get("bytes") != size or about.get("track_id") != key or not _is_plain(about):
            return None
        return {**about, "path": str(self._sound(key))}

    def _shrink(self, keep: str) -> None:
        """Give up the tracks used longest ago until the rest takes no more than it may; `keep` stays in any case."""
        keys = self._keys()
        sizes = {key: self._size(key) for key in keys}
        while keys and sum(sizes.values()) > self.most_bytes:
            oldest = keys.pop(0)
            if oldest != keep:
                self.delete(oldest)
                del sizes[oldest]

    def _size(self, key: str) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._sound(key).stat().st_size
        return 0

    def _sweep(self) -> None:
        """Remove what a daemon that died left: drafts, and sounds nothing is known of."""
        for file in (*self.folder.glob(".draft-*"), *self.folder.glob("*.wav")):
            lone = file.suffix == ".wav" and _KEY.fullmatch(file.stem) and not self._sidecar(file.stem).exists()
            with contextlib.suppress(FileNotFoundError):
                if (lone or file.name.startswith(".draft-")) and time.time() - file.stat().st_mtime > OLD_DRAFT:
                    file.unlink()


def _is_plain(about: Mapping[str, Any]) -> bool:
    """Whether a sidecar holds what one of ours holds where clients are told of it: short texts and numbers."""
    told = ("prompt", "model_version", "backend", "seed", "duration_sec", "sample_rate", "generation_time_sec")
    texts, numbers = told[:3], told[3:]
    return all(
        isinstance(about.get(name, ""), str) and len(about.get(name, "")) <= MOST_TEXT for name in texts
    ) and all(isinstance(about.get(name, 0), int | float) for name in numbers)
