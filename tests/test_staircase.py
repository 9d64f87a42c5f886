"""Imports point down the stairs of the house, never up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "acestep_lab"
STAIRS = (
    ("errors",),
    ("files",),
    ("versions",),
    ("_torchaudio",),
    ("_libraries",),
    ("prompt",),
    ("audio",),
    ("diffusion", "models"),
    ("plan",),
    ("takes",),
    ("listen", "schemas"),
    ("jobs",),
    ("engines",),
    ("session",),
    ("train", "doctor"),
    ("evaluate",),
    ("ui",),
    ("serve",),
    ("cli",),
    ("__main__",),
)
"""From the ground up. Rooms on one stair do not enter each other, except audio.audio, which is a value for all above."""
LEVEL = {room: level for level, rooms in enumerate(STAIRS) for room in rooms}
FOR_ALL = {"audio.audio", "plan.plan"}
"""Values that travel: any room from the stages up may hold one."""
SHOWING = {"ui", "serve"}
BELLS = {
    "_repr_mimebundle_": SHOWING,
    "_ipython_display_": SHOWING,
    "show": SHOWING,
    "studio": SHOWING,
    "listen": {"listen"},
}
"""A value may ring for somebody who can show it, or hear it: inside these functions only, and for these rooms only."""


def room_of(module: str) -> str:
    return module.split(".")[0]


def imports(source: str) -> Iterator[tuple[str, int]]:
    """Every acestep_lab module a source imports, with its line; those for type checking and what bells ring for left out."""

    def walk(node: ast.AST) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name in BELLS:
                yield from (found for found in walk(child) if room_of(found[0]) not in BELLS[child.name])
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.ImportFrom) and child.module and child.module.startswith("acestep_lab."):
                yield child.module.removeprefix("acestep_lab."), child.lineno
            elif isinstance(child, ast.ImportFrom) and child.module == "acestep_lab":
                for alias in child.names:
                    yield alias.name, child.lineno
            elif isinstance(child, ast.Import):
                for alias in child.names:
                    if alias.name.startswith("acestep_lab."):
                        yield alias.name.removeprefix("acestep_lab."), child.lineno
            yield from walk(child)

    yield from walk(ast.parse(source))


def climbs(room: str, source: str) -> list[str]:
    """Sentences about imports in `source`, a file of `room`, that point up or sideways."""
    found = [
        f"line {node.lineno}: {room} imports by dots; write the whole name, so that the direction can be read"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    for module, line in imports(source):
        other = room_of(module)
        if other == room or other not in LEVEL or any(module.startswith(name) for name in FOR_ALL):
            continue
        if LEVEL[other] >= LEVEL[room]:
            found.append(f"line {line}: {room} may not import {module}")
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_every_import_points_down_the_stairs(file: Path) -> None:
    room = room_of(str(file.relative_to(PACKAGE).with_suffix("")).replace("/", "."))
    if room == "__init__":
        return
    assert room in LEVEL, f"{room} has no stair; give it one in STAIRS."
    assert climbs(room, file.read_text(encoding="utf-8")) == []


def test_a_planted_upward_import_is_seen() -> None:
    assert climbs("diffusion", "def f():\n    from acestep_lab.session import Session\n") == [
        "line 2: diffusion may not import session"
    ]
    assert climbs("diffusion", "from acestep_lab.models import catalog") != []
    assert climbs("session", "from acestep_lab.diffusion import sampler") == []
    assert climbs("diffusion", "from ..session import Session") != []
    assert climbs("diffusion", "import acestep_lab.session") != []
    assert climbs("takes", "def listen():\n    from acestep_lab.listen import key\n") == []
    assert climbs("takes", "def listen():\n    from acestep_lab.session import Session\n") != []
    assert climbs("takes", "def hear():\n    from acestep_lab.listen import key\n") != []


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
