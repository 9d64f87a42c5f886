"""Names of takes and recordings: `take-` or `audio-` and small letters and digits, so that none is a path, code or markup.

Knows nothing else. Every id that comes from a file, a page or a caller passes here before it becomes part of a path.
"""

from __future__ import annotations

import re

from acestep_lab.errors import LibraryError, shown
from acestep_lab.prompt.checks import plain_text

MOST_LETTERS = 40
_TAKE = re.compile(rf"take-[0-9a-z]{{1,{MOST_LETTERS}}}")
_SOUND = re.compile(rf"audio-[0-9a-z]{{1,{MOST_LETTERS}}}")


def is_take_id(name: object) -> bool:
    """Whether this can be the id of a take."""
    return _TAKE.fullmatch(plain_text(name) or "") is not None


def is_sound_id(name: object) -> bool:
    """Whether this can be the id of a recording."""
    return _SOUND.fullmatch(plain_text(name) or "") is not None


def is_id(name: object) -> bool:
    """Whether this can be the id of a take or a recording."""
    return is_take_id(name) or is_sound_id(name)


def take_id(name: object) -> str:
    """The name of a take; LibraryError for anything else."""
    if is_take_id(name):
        return plain_text(name) or ""
    raise LibraryError(f"{shown(name)} is no take's name; one looks like 'take-1f0c9a52b7d3e846'.")


def sound_id(name: object) -> str:
    """The name of a recording; LibraryError for anything else."""
    if is_sound_id(name):
        return plain_text(name) or ""
    raise LibraryError(f"{shown(name)} is no recording's name; one looks like 'audio-1f0c9a52b7d3e846'.")
