"""Runs lessons and keeps what came out in their notebooks: music, figures and printed words, readable where no kernel is.

    python .ci/lessons.py                 # every lesson whose source has changed since it was run
    python .ci/lessons.py 03 06           # these
    python .ci/lessons.py --all

The source is `notebooks/NN_name.py`; outputs stand in the paired `.ipynb` only. Widgets are taken out (no kernel stands behind
them); the short sounds and drawings beside them stay (`ACESTEP_LAB_STILLS`). What would differ from run to run or from machine
to machine without saying anything (times of day, places on this disk) is refused, so that a lesson says nothing of the kind.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
LARGEST = 1_000_000
WIDGET = "application/vnd.jupyter.widget-view+json"
PERSONAL = re.compile(r"(/home/|/root/|/tmp/|/Users/|C:\\\\|\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d)")
"""Places on a disk, and times of day."""


def main(arguments: Sequence[str]) -> int:
    """Run the lessons asked for; returns the exit status."""
    asked = [one for one in arguments if one != "--all"]
    for source in sorted(NOTEBOOKS.glob("[0-9]*.py")):
        wanted = any(source.stem.startswith(one) for one in asked) if asked else "--all" in arguments or stale(source)
        if wanted:
            print(f"{source.name}: {run(source):,} bytes", flush=True)
    return 0


def digest(source: Path) -> str:
    """What a notebook's outputs belong to: the text of its cells."""
    import jupytext

    cells = [cell.source for cell in jupytext.read(source).cells]
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()


def stale(source: Path) -> bool:
    """Whether a lesson has not been run since its source was changed."""
    import nbformat

    notebook = source.with_suffix(".ipynb")
    return not notebook.is_file() or nbformat.read(notebook, 4).metadata.get("acestep_lab", {}).get("ran") != digest(source)


def run(source: Path) -> int:
    """Run a lesson in an empty folder and write its notebook; returns its size. RuntimeError where it must not be kept."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "ACESTEP_LAB_STILLS": "1", "ACESTEP_LAB_PROGRESS": "0", "ACESTEP_LAB_TAKES": folder,
            "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg",
        }  # fmt: skip
        client = NotebookClient(
            notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}}, record_timing=False
        )
        client.execute()
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        if cell.cell_type == "code":
            cell.outputs = [kept(output) for output in cell.outputs]
    notebook.metadata["acestep_lab"] = {"ran": digest(source)}
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata.pop("widgets", None)
    text = nbformat.writes(notebook).replace(folder, "takes") + "\n"
    refuse(source, text)
    source.with_suffix(".ipynb").write_text(text, encoding="utf-8")
    return len(text)


def kept(output: Any) -> Any:
    """An output without its widget, which would be an error message where there is no kernel."""
    output.get("data", {}).pop(WIDGET, None)
    return output


def refuse(source: Path, text: str) -> None:
    """Raise where the notebook is too large or tells of the machine it ran on."""
    if len(text) > LARGEST:
        raise RuntimeError(f"{source.name} is {len(text):,} bytes as it ran; a lesson has at most {LARGEST:,}.")
    plain = re.sub(r"base64,[^\"\\]*", "", text)
    if found := PERSONAL.search(plain):
        around = plain[max(0, found.start() - 60) : found.end() + 60]
        raise RuntimeError(f"{source.name} tells of the machine or the hour it ran at: {around!r}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
