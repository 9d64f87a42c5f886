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


class LabError(Exception):
    """The root of every error this package raises on purpose."""


class RecipeError(LabError, ValueError):
    """What was asked for makes no sense, or this checkpoint cannot make it."""


class CheckpointError(LabError):
    """A checkpoint is missing, incomplete, damaged, or of another kind."""


class DownloadError(CheckpointError):
    """A checkpoint could not be fetched whole."""


class SourceError(LabError):
    """A sound that was handed in cannot be read or is unfit for the task."""


class MachineError(LabError):
    """This machine has too little memory or disk for what was asked."""


class LibraryError(LabError):
    """A take cannot be written, found, or opened."""


class Stopped(LabError):
    """The run was stopped before it had a take."""
