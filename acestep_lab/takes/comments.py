"""The comment inside a sound file, where a take's manifest travels, and whether the file's format changes samples.

Knows files and text; no take.
"""

from __future__ import annotations

from pathlib import Path

import soundfile

from acestep_lab.audio.audio import tags
from acestep_lab.errors import SourceError

MOST_OPUS = 48_000
"""Bytes of comment that an Opus file holds; with more, libsndfile writes one that nobody can open."""

_LOSSY = ("VORBIS", "OPUS", "MPEG", "MS_ADPCM", "IMA_ADPCM", "GSM610", "ULAW", "ALAW")


def read_comment(path: Path) -> tuple[str, bool]:
    """The comment in a sound file, "" where there is none, and whether its format changes samples."""
    try:
        comment = tags(path).get("comment", "")
    except SourceError:
        return "", True
    try:
        return comment, soundfile.info(str(path)).subtype.startswith(_LOSSY)
    except soundfile.LibsndfileError:
        return comment, True  # AAC and the like, which only ffmpeg reads
