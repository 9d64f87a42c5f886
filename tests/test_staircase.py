"""Imports point down the stairs of the house, never up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "acestep_lab"
STAIRS = (
    ("errors",),
    ("files", "settings", "upstairs"),
    ("versions", "lru_cache", "features"),
    ("_torchaudio",),
    ("_libraries",),
    ("prompt",),
    ("audio",),
    ("engines.step",),
    ("diffusion", "models"),
    ("plan",),
    ("takes",),
    ("engines.base",),
    ("listen", "schemas"),
    ("jobs",),
    ("engines",),
    ("train",),
    ("session_like",),
    ("remote",),
    ("session",),
    ("pipeline", "sweep"),
    ("train.synthetic_music", "doctor"),
    ("train.pocket",),
    ("train.tagger",),
    ("evaluate", "lessons"),
    ("ui",),
    ("serve",),
    ("__init__",),
    ("cli",),
    ("__main__", "train.__main__"),
)
"""From the ground up. Rooms on one stair do not enter each other; a room's contract may lie lower than the room."""
LEVEL = {room: level for level, rooms in enumerate(STAIRS) for room in rooms}
OURS = re.compile(r"acestep_lab((?:\.\w+)+)(:\w+)?")
"""A module of ours named in a string, as import_module, IPython or an entry point read it."""


def room_of(module: str) -> str:
    """The room of a module's name after `acestep_lab.`; the package's own names live in `__init__`."""
    path = module.split(":")[0].split(".")
    rooms = [".".join(path[:length]) for length in (2, 1)]
    found = next((room for room in rooms if room in LEVEL), path[0])
    return found if found in LEVEL or (PACKAGE / found).is_dir() else "__init__"


def imports(source: str) -> Iterator[tuple[str, int]]:
    """Every module of ours that a source imports, wherever and for whatever it does, or names in a string."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "acestep_lab":
            names = [f"acestep_lab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            name = node.value.removesuffix(".")
            names = [name] if OURS.fullmatch(name) else []
        elif isinstance(node, ast.JoinedStr) and ast.unparse(node).startswith("f'acestep_lab.{"):
            names = ["acestep_lab.?"]
        else:
            continue
        for name in names:
            if name == "acestep_lab" and isinstance(node, ast.Import):
                yield "__init__", node.lineno
            elif name.startswith("acestep_lab."):
                yield name.removeprefix("acestep_lab."), node.lineno


def climbs(room: str, source: str) -> list[str]:
    """Sentences about imports in `source`, a file of `room`, that point up or sideways."""
    found = [
        f"line {node.lineno}: {room} imports by dots; write the whole name, so that the direction can be read"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    for module, line in imports(source):
        other = room_of(module)
        if other == room:
            continue
        if other not in LEVEL:
            found.append(f"line {line}: {other} has no stair; give it one in STAIRS")
        elif LEVEL[other] >= LEVEL[room]:
            found.append(f"line {line}: {room} may not import {module}")
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_every_import_points_down_the_stairs(file: Path) -> None:
    room = room_of(".".join(file.relative_to(PACKAGE).with_suffix("").parts))
    assert room in LEVEL, f"{room} has no stair; give it one in STAIRS."
    assert climbs(room, file.read_text(encoding="utf-8")) == []


UPWARD = {
    "at the top": "from acestep_lab.session import Session",
    "a module": "import acestep_lab.session",
    "under another name": "import acestep_lab.session as lab",
    "a room": "from acestep_lab import session",
    "the package": "import acestep_lab",
    "a public name": "from acestep_lab import Session",
    "in a function": "def f():\n    from acestep_lab.session import Session",
    "to show itself": "class Step:\n    def _repr_html_(self):\n        from acestep_lab.ui.player import PlayerWidget",
    "to be shown": "class Step:\n    def show(self):\n        from acestep_lab.ui.notebook import show",
    "to be analyzed": "class Take:\n    def listen(self):\n        from acestep_lab.listen import analyze",
    "for types": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from acestep_lab.session import Session",
    "a value": "from acestep_lab.takes.take import Take",
    "by dots": "from ..session import Session",
    "by name": "importlib.import_module('acestep_lab.ui.formatters')",
    "by the beginning of a name": "importlib.import_module(f'acestep_lab.ui.{name}')",
    "by half a name": "importlib.import_module(f'acestep_lab.{room}')",
    "as an entry point": "FORMATTER = 'acestep_lab.ui.formatters:sound_bundle'",
    "by name as a keyword": "__import__(name='acestep_lab.session')",
    "sideways": "from acestep_lab.models import catalog",
    "a room without a stair": "from acestep_lab.attic import box",
}


@pytest.mark.parametrize("source", UPWARD.values(), ids=UPWARD.keys())
def test_a_planted_upward_import_is_seen_however_it_is_written(source: str) -> None:
    assert climbs("diffusion", source) != []


def test_an_import_that_points_down_passes_and_one_that_does_not_is_named() -> None:
    assert climbs("session", "from acestep_lab.diffusion import sampler") == []
    assert climbs("jobs", "from acestep_lab.engines.step import Step") == []
    assert climbs("jobs", "from acestep_lab.engines.ace15 import engine") != []
    assert climbs("listen", '"""What `acestep_lab.session` does with it."""\nimport numpy') == []
    assert climbs("diffusion", "def f():\n    from acestep_lab.session import Session\n") == [
        "line 2: diffusion may not import session"
    ]


def test_the_package_imports_fast_and_without_torch() -> None:
    import subprocess
    import sys

    look = "import sys; before = set(sys.modules); import acestep_lab; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "numpy", "transformers", "diffusers", "panel", "bokeh"} & {name.split(".")[0] for name in loaded}
    assert heavy == set()


def test_every_public_name_can_be_looked_up() -> None:
    import acestep_lab

    assert [name for name in acestep_lab.__all__ if not hasattr(acestep_lab, name)] == []
    assert sorted(acestep_lab.__all__) == acestep_lab.__all__
