"""What can go wrong, as sentences. Every message says what was wrong and what would be right.

::

    LabError                 everything this package raises on purpose
    ├── RecipeError          what was asked cannot be made (also a ValueError)
    ├── CheckpointError      weights are missing, broken, or of another kind
    │   └── DownloadError    weights could not be fetched
    ├── SourceError          a sound that was handed in cannot be used
    ├── MachineError         this machine has too little memory, disk or time
    ├── LibraryError         a take cannot be kept, found or opened
    └── Stopped              the run was stopped before it had a take
"""

from __future__ import annotations

import sys
import warnings
from typing import ClassVar

MOST_CHARACTERS = 300
"""The longest sentence an error says; what is longer loses its middle."""


def shown(value: object, most: int = 60) -> str:
    """A value as a sentence may quote it: its repr in at most `most` characters, whatever the value is."""
    kind = type(value)  # and not isinstance: a value may lie about its class, or raise when it is asked
    if issubclass(kind, int) and (bits := int.bit_length(value)) > 4 * most:  # type: ignore[arg-type]
        return "a number of hundreds of digits" if bits < 10_000 else "an enormous number"
    try:
        text = repr(value[: most + 1] if issubclass(kind, str | bytes) else value)  # type: ignore[index]
    except Exception:  # noqa: BLE001 - somebody else's __repr__ may raise anything, and this is called while raising
        text = f"<{type(value).__name__}>"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"


class LabError(Exception):
    """The root of every error this package raises on purpose; its `code` says its kind to programs and tables."""

    code: ClassVar[str] = "ERROR"

    def __init__(self, message: str = "") -> None:
        text = str(message).encode("utf-8", "backslashreplace").decode()
        if len(text) > MOST_CHARACTERS:
            text = f"{text[: MOST_CHARACTERS - 81]}…{text[-80:]}"
        super().__init__(text)


class RecipeError(LabError, ValueError):
    """What was asked for makes no sense, or this checkpoint cannot make it."""

    code = "RECIPE"


class CheckpointError(LabError):
    """A checkpoint is missing, incomplete, damaged, or of another kind."""

    code = "CHECKPOINT"


class NotFoundError(CheckpointError):
    """A checkpoint, or one of its files, is not on this machine."""

    code = "NOT_FOUND"


class DownloadError(CheckpointError):
    """A checkpoint could not be fetched whole."""

    code = "DOWNLOAD"


class SourceError(LabError):
    """A sound that was handed in cannot be read or is unfit for the task."""

    code = "SOURCE"


class MachineError(LabError):
    """This machine has too little memory or disk for what was asked."""

    code = "MACHINE"


class LibraryError(LabError):
    """A take cannot be written, found, or opened."""

    code = "LIBRARY"


class Stopped(LabError):
    """The run was stopped before it had a take."""

    code = "STOPPED"


class TakeWarning(UserWarning):
    """Opening a take found something out of the ordinary."""


class EngineWarning(UserWarning):
    """A family of engines of another package cannot be used."""


class LintWarning(UserWarning):
    """An explicit choice that usually spoils the music with this checkpoint."""


def warn_caller(sentence: str, kind: type[Warning]) -> None:
    """Warn of something, pointing at the line outside this package that led to it."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("acestep_lab"):
        level, frame = level + 1, frame.f_back
    warnings.warn(sentence, kind, stacklevel=level + 1)


def sentence(problem: BaseException) -> str:
    """What a person is told about an error, whatever it is: one of ours is a sentence already, another becomes one."""
    if isinstance(problem, LabError):
        return str(problem)
    if isinstance(problem, OSError):
        why = str(problem.strerror or type(problem).__name__)[:MOST_CHARACTERS]
        return f"The disk refused: {why.lower()}. Nothing already kept was lost."
    told = " ".join(_text(problem).split())[: MOST_CHARACTERS - 100]
    return f"This failed unexpectedly ({type(problem).__name__[:40]}{': ' if told else ''}{told})."


def code_of(problem: BaseException) -> str:
    """The kind of an error: one of ours says it, a refusal of the disk is "DISK", all else "UNEXPECTED"."""
    return problem.code if isinstance(problem, LabError) else "DISK" if isinstance(problem, OSError) else "UNEXPECTED"


def _text(problem: BaseException) -> str:
    """What an error says of itself; nothing where even that fails."""
    try:
        return str(problem).encode("utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001 - the error of somebody else's code may be of any kind, and say so in any way
        return ""
