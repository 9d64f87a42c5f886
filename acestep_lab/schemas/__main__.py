"""`python -m acestep_lab.schemas recipe` prints a schema; `--write` makes all of them anew from the readers of today."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from acestep_lab.errors import LabError
from acestep_lab.schemas import NAMES, schema, text

HERE = Path(__file__).parent


def main(arguments: Sequence[str]) -> int:
    """Print one schema, or write all; returns the exit status."""
    if list(arguments) == ["--write"]:
        write(HERE)
        return 0
    try:
        print(text(" ".join(arguments) or NAMES[0]), end="")
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def write(folder: Path) -> None:
    """Every schema into a folder, one file each; the version goes up where the content is not that of the file there."""
    from acestep_lab.schemas.making import made, versioned

    for name, content in made().items():
        file = folder / f"{name}.json"
        before = schema(name) if (HERE / f"{name}.json").exists() else None
        found = versioned(name, content, before)
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{file.name}: version {found['version']}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
