"""Which version of a package is at work, also where it was never installed: a copied folder knows its own."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable

UNKNOWN = "unknown"


def version_of(package: str, installed: Callable[[str], str | None] = importlib.metadata.version) -> str:
    """The version of a package: ours as its code says; others' as they were installed, else as their code says.

    Never raises: a render that is finished must not be lost to the name of a number.
    """
    if package != "acestep_lab":  # what is installed under our own name may be another copy than the one at work
        try:
            if found := installed(package):
                return str(found)
        except (importlib.metadata.PackageNotFoundError, KeyError, ValueError, OSError):
            pass  # never installed, or its records are damaged
    try:
        return str(getattr(importlib.import_module(package), "__version__", UNKNOWN))
    except ImportError:
        return UNKNOWN
