"""A data set of a page as files: saved under a name into one folder, or handed to the browser. Knows data sets; no page.

A name is a word or a few: whoever writes it chooses no place. What lies there already is replaced only where that is asked for, or
where this very table wrote it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from acestep_lab.errors import LibraryError, RecipeError, shown
from acestep_lab.files import NO_CHARACTER
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.dataset_writing import METADATA, metadata_text, reference_text

FORMS = ("folder", "json")
"""A folder that `datasets` opens, with copies of the sounds; or the reference's JSON, which names the sounds where they are."""
MOST_NAME = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def name_of(text: str) -> str:
    """A name for a data set; RecipeError for one that a disk could take for something else."""
    name = " ".join(text.split())
    odd = re.search(r'[/\\:*?"<>|]', name) or NO_CHARACTER.search(name) or _RESERVED.fullmatch(name)
    if not name or odd or name.startswith(".") or name.endswith(".") or len(name.encode()) > MOST_NAME:
        raise RecipeError(
            f"A data set is saved under a name of a word or a few, without / \\ : * ? and no dot at its ends, not {shown(text)}."
        )
    return name


def form_of(text: str) -> str:
    """One of the forms; RecipeError for another."""
    if text not in FORMS:
        raise RecipeError(f"A data set is saved as one of {', '.join(FORMS)}, not {shown(text)}.")
    return text


def save(dataset: Dataset, home: Path, name: str, form: str, replace: bool) -> Path:
    """Write a data set under a name into a folder, which is made; LibraryError where something is there and is not to be replaced."""
    target = home / (name if form == "folder" else f"{name}.json")
    if os.path.lexists(target) and not replace:
        raise LibraryError(f"There is a data set {shown(name)} already; replace it, or save under another name.")
    if target.is_symlink() or (os.path.lexists(target) and target.is_dir() != (form == "folder")):
        raise LibraryError(f"{shown(name)} is something else there; save under another name.")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LibraryError(f"The folder for data sets cannot be made ({problem.strerror}).") from None
    return dataset.write(target, overwrite=replace) if form == "folder" else dataset.write_reference_json(target)


def as_file(dataset: Dataset, form: str) -> tuple[str, bytes]:
    """The table of a data set as a file, its name and its bytes: metadata.jsonl, or the reference's JSON; the sounds are not in it."""
    if form == "folder":
        return METADATA, metadata_text(dataset.songs, dataset.folder, dataset.about).encode()
    return "dataset.json", reference_text(dataset.songs, dataset.about, dataset.folder).encode()
