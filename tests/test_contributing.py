"""What CONTRIBUTING.md and pyproject.toml say of the code is so: words, paths, commands, libraries, one version."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import acestep_lab

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "acestep_lab"
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

IMPORTED_AS = {
    "hangul-romanize": "hangul_romanize",
    "python-dotenv": "dotenv",
    "python-multipart": "python_multipart",
    "pyyaml": "yaml",
    "swift-f0": "swift_f0",
}
NOT_IMPORTED = {"ipywidgets"}
"""Required without an import of ours: what shows widgets in a notebook."""
OF_OTHERS = {"tokenizers", "traitlets", "IPython"}
"""Imported without a line of their own: transformers' and anywidget's, at the version these want; a notebook's kernel."""


def ours(name: str) -> ModuleType:
    """A script of .ci/ as a module."""
    spec = spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


# -- the guide ---------------------------------------------------------------------------------------------------------


def glossary() -> Iterator[tuple[list[str], list[Path]]]:
    """Each row of the table of words: names in code, and the files they live in."""
    for row in re.findall(
        r"^\| (.+?) \| (`.+?) \| .+ \|$", GUIDE.partition("## Words")[2].partition("## How")[0], re.MULTILINE
    ):
        yield (
            re.findall(r"`(\w+)`", row[0]),
            [PACKAGE / place.replace(".", "/") for place in re.findall(r"`([\w.]+)`", row[1])],
        )


def sources(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def defined(file: Path) -> set[str]:
    """Names a module defines at its top."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_every_word_of_the_glossary_is_where_it_says() -> None:
    rows = list(glossary())
    assert len(rows) > 25
    lost = []
    for names, places in rows:
        there = {name for place in places for file in sources(place) for name in defined(file)}
        lost += [name for name in names if name not in there]
    assert lost == []


@pytest.mark.parametrize("text", ["CONTRIBUTING.md", "README.md"])
def test_every_path_and_command_that_is_named_is_there(text: str) -> None:
    said = re.sub(r"```.*?```", "", (ROOT / text).read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]*\w\.(?:py|md|js|json))`", said))
    lost = [
        name for name in named if not (ROOT / name).exists() and not (PACKAGE / name).exists() and "NAME" not in name
    ]
    assert lost == []
    targets = re.findall(r"(?:`|^)make (\w+)", (ROOT / text).read_text(encoding="utf-8"), re.MULTILINE)
    assert targets != []
    assert [name for name in targets if not re.search(rf"^{name}:", MAKEFILE, re.MULTILINE)] == []


def test_how_to_add_something_takes_ten_lines_and_names_a_commit() -> None:
    sections = GUIDE.partition("## How to add …")[2].partition("## Libraries")[0].split("### … ")[1:]
    named = ["a task", "a checkpoint", "an engine", "a component", "a field of the form", "a language"]
    assert [section.splitlines()[0] for section in sections] == named
    for section in sections[:4]:
        assert re.findall(r"^(\d+)\. ", section, re.MULTILINE) == [str(n) for n in range(1, 11)]
        assert re.search(r'^10\. Look at: ".+"\.$', section, re.MULTILINE)
    for section in sections[4:]:
        assert re.findall(r"^(\d+)\. ", section, re.MULTILINE) == ["1", "2", "3"]


def test_no_line_of_ours_is_wider_than_a_screen_outside_tables() -> None:
    wide = [line for line in GUIDE.splitlines() if len(line) > 150 and not line.startswith(("|", "10. Look at"))]
    assert wide == []


# -- checks and extras -------------------------------------------------------------------------------------------------


def test_a_commit_is_checked_as_ci_checks() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    check = re.search(r"^check: ([\w ]+?) *(##|$)", MAKEFILE, re.MULTILINE)
    assert check is not None
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for target in check.group(1).split():
        assert f"make --no-print-directory {target}" in run
    for command in ("ruff check", "ruff format --check", "mypy", ".ci/widgets", "jupytext --sync"):
        assert command in hooks
    assert "repo: http" not in hooks, "hooks come out of .venv, so that no network is needed"
    assert run.rstrip().splitlines()[-1].startswith("make --no-print-directory test ")


def test_the_canary_runs_tests_that_are_there() -> None:
    canary = ours("canary")
    assert [name for name in canary.TESTS if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("reason", "gone"),
    [
        (
            "AttributeError: module 'diffusers.models.embeddings' has no attribute 'apply_rotary_emb'",
            ["apply_rotary_emb"],
        ),
        ("ImportError: cannot import name 'AceStepPipeline' from 'diffusers'", ["AceStepPipeline"]),
        ("TypeError: forward() got an unexpected keyword argument 'timestep_r'", ["timestep_r"]),
        ("AssertionError: assert ['AceStepAttention.to_q'] == []", ["AceStepAttention.to_q"]),
        ("AssertionError: assert 0.2 < 0.1", []),
    ],
)
def test_the_canary_says_which_names_broke(reason: str, gone: list[str]) -> None:
    assert ours("canary").missing(reason) == gone


def test_the_reference_is_written_without_a_network(tmp_path: Path) -> None:
    docs = ours("docs")
    docs.reference(["acestep_lab.errors"], tmp_path)
    page = (tmp_path / "acestep_lab" / "errors.html").read_text(encoding="utf-8")
    assert "What was asked for makes no sense" in page
    written = [
        *docs.notebooks([ROOT / "notebooks" / "01_first_song.ipynb"], tmp_path),
        docs.page(ROOT / "CONTRIBUTING.md", tmp_path),
    ]
    assert "What this lesson teaches" in written[0].read_text(encoding="utf-8")
    for file in (tmp_path / "acestep_lab" / "errors.html", *written):
        fetched = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', file.read_text(encoding="utf-8")
        )
        assert fetched == [], f"{file.name} would fetch {fetched}"


# -- libraries and the version -----------------------------------------------------------------------------------------


def required(group: str | None = None) -> set[str]:
    project: dict[str, Any] = PROJECT["project"]
    named = project["dependencies"] if group is None else project["optional-dependencies"][group]
    return {re.split(r"[<>=\[; ]", one)[0].lower() for one in named}


@cache
def imported() -> dict[str, str]:
    """Every package of others that ours imports, with a file that does."""
    found: dict[str, str] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.partition(".")[0]: str(file.relative_to(ROOT)) for name in names}
    return {name: file for name, file in found.items() if name not in {*sys.stdlib_module_names, "acestep_lab", ""}}


def test_what_is_imported_is_required_and_what_is_required_is_imported() -> None:
    needed = {IMPORTED_AS.get(name, name) for name in required()}
    chosen = set[str]().union(*map(required, ("codecs", "melody", "proxy", "ace-v1", "onnx", "many")))
    by_choice = {IMPORTED_AS.get(name, name) for name in chosen}
    undeclared = {name: file for name, file in imported().items() if name not in needed | by_choice | OF_OTHERS}
    assert undeclared == {}
    assert sorted(needed - set(imported()) - NOT_IMPORTED) == []


def test_every_tool_of_the_tests_and_the_reference_is_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    chosen = required("docs") | required("codecs") | required("ace-v1") | required("onnx")
    wanted = required() | chosen | required("test") - {"acestep_lab"}
    assert sorted(wanted - pinned) == []


def test_the_version_stands_in_one_place() -> None:
    assert "version" not in PROJECT["project"]
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "acestep_lab/__init__.py"
    lines = [line for line in (PACKAGE / "__init__.py").read_text().splitlines() if line.startswith("__version__")]
    assert lines == [f'__version__ = "{acestep_lab.__version__}"']
    again = [
        file for file in PACKAGE.rglob("*.py") if f'"{acestep_lab.__version__}"' in file.read_text(encoding="utf-8")
    ]
    assert again == [PACKAGE / "__init__.py"]


def test_a_wheel_takes_version_and_schemas_along() -> None:
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(ROOT))
    assert builder.metadata.version == acestep_lab.__version__
    taken = {file.distribution_path for file in builder.recurse_included_files()}
    assert {f"acestep_lab/schemas/{name}.json" for name in ("recipe", "plan", "manifest")} <= taken
