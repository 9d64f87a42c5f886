"""JSON schemas of what is written to files: a recipe, a plan, a take's manifest. Knows how to read them, not what is in them.

For other tools, in any language; ours read through `Recipe.from_json`, `Plan.from_json` and `takes.manifest`, which also
understand what people type ("120 bpm") and say in a sentence what is wrong. A schema holds what these readers write and take
field by field; what they refuse for two fields together (an end before its start) it does not know.

The files are made by `python -m acestep_lab.schemas --write`, which asks the readers (`asking`), never by hand. Each has a
version, in its `$id` too, that goes up whenever its content changes.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from acestep_lab.errors import LabError, shown

NAMES = ("recipe", "plan", "manifest")
"""What there is a schema of."""


def schema(name: str) -> dict[str, Any]:
    """The schema of a name (JSON Schema 2020-12) as plain data; LabError where there is none of that name."""
    found: dict[str, Any] = json.loads(text(name))
    return found


def text(name: str) -> str:
    """The same as the text of its file; LabError where there is none of that name."""
    if name not in NAMES:
        raise LabError(f"There is no schema of {shown(name)}; there are {', '.join(NAMES)}.")
    return resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
