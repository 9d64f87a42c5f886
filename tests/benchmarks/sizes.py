"""What a checkout looks like to somebody who has to read it, counted from its syntax; several stand side by side.

    python -m tests.benchmarks.sizes [TREE …]        # a second each; this checkout where none is named

Counts are of the package alone (no tests, no notebooks). A function's length is that of its lines in the file, decorators and
docstring among them. `Any` is each use of the name; an upward edge is a file of one room that imports a higher one, by that
checkout's own stairs (tests/test_staircase.py), imports for type checking and inside functions among them.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
TASKS = {"Text2Music", "Repaint", "Extend", "Cover", "Retake", "Extract", "Lego", "Complete", "FlowEdit"}
LONG = 30
"""Lines above which a function is counted as long."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A file of a package: its name from the package's root, its text, its syntax."""

    name: str
    text: str
    tree: ast.Module

    @classmethod
    def all_of(cls, tree: Path) -> list[Source]:
        """Every file of a checkout's package."""
        package = tree / "acestep_lab"
        if not package.is_dir():
            raise SystemExit(f"{tree} holds no acestep_lab.")
        found = []
        for file in sorted(package.rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            found.append(cls(file.relative_to(package).as_posix(), text, ast.parse(text)))
        return found

    @property
    def module(self) -> str:
        """The module's name after `acestep_lab.`."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def functions(self) -> Iterator[tuple[Function, int]]:
        """Every function and how many lines it has."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                yield node, (node.end_lineno or node.lineno) - first + 1

    def ignored_types(self) -> int:
        """Comments that silence the type checker."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return sum(one.type == tokenize.COMMENT and "type: ignore" in one.string for one in tokens)


def names_in(node: ast.AST) -> set[str]:
    """Every name and attribute below a node."""
    return {one.id if isinstance(one, ast.Name) else one.attr
            for one in ast.walk(node) if isinstance(one, ast.Name | ast.Attribute)}  # fmt: skip


def uses_of_any(tree: ast.AST) -> int:
    """How often the name Any is used; its import is no use."""
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree))


def is_question_of_kind(node: ast.AST) -> bool:
    """Whether a node asks which task something is: isinstance or checks.is_a of a task, or with a task's class."""
    if not isinstance(node, ast.Call) or len(node.args) < 2:
        return isinstance(node, ast.MatchClass) and bool(names_in(node.cls) & TASKS)
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    about = node.args[0]
    subject = about.id if isinstance(about, ast.Name) else getattr(about, "attr", "")
    kinds = set().union(*(names_in(kind) for kind in node.args[1:]))
    return called in ("isinstance", "is_a") and (subject == "task" or bool(kinds & TASKS))


def public_names(sources: list[Source]) -> set[str]:
    """Methods, properties and attributes of the class Session that have no underscore."""
    [session] = [s for s in sources if s.name in ("session.py", "session/__init__.py")]
    [found] = [node for node in session.tree.body if isinstance(node, ast.ClassDef) and node.name == "Session"]
    names = {node.name for node in found.body if isinstance(node, Function)}
    names |= {target.id for node in found.body if isinstance(node, ast.Assign)
              for target in node.targets if isinstance(target, ast.Name)}  # fmt: skip
    for node in ast.walk(found):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and names_in(node.value) == {"self"}:
            names.add(node.attr)
    return {name for name in names if not name.startswith("_")}


def stairs(tree: Path) -> dict[str, int]:
    """The level of each room, as the checkout's own test has it."""
    test = ast.parse((tree / "tests" / "test_staircase.py").read_text(encoding="utf-8"))
    for node in test.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "STAIRS":
            return {room: level for level, rooms in enumerate(ast.literal_eval(node.value)) for room in rooms}
    raise SystemExit(f"{tree} has no STAIRS in tests/test_staircase.py.")


def room_of(module: str, level: dict[str, int]) -> str:
    """The room of a module: its contract where that has a stair of its own (`engines.step`), else its first name."""
    path = module.split(".")
    return next((name for name in (".".join(path[:2]), path[0]) if name in level), path[0])


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """What every acestep_lab module that is imported anywhere in a file is called after `acestep_lab.`."""
    for node in ast.walk(tree):
        whole = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "acestep_lab":
            whole = [f"acestep_lab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [node.module]
        yield from (name.removeprefix("acestep_lab.") for name in whole if name.startswith("acestep_lab."))


def upward_edges(sources: list[Source], level: dict[str, int]) -> set[tuple[str, str]]:
    """Pairs of a file and a higher room that it imports; the package's own __init__ lists names and is left out."""
    found = set()
    for source in sources:
        own = level.get(room_of(source.module, level))
        above = [room_of(module, level) for module in imported_modules(source.tree)]
        found |= {(source.name, room) for room in above if own is not None and level.get(room, -1) > own}
    return found


def figures(tree: Path) -> dict[str, str]:
    """A row for each figure of one checkout."""
    sources = Source.all_of(tree)
    lengths = [(lines, f"{s.name}:{node.name}") for s in sources for node, lines in s.functions()]
    session = next(s for s in sources if s.name in ("session.py", "session/__init__.py"))
    longest = sorted(lengths, reverse=True)[:3]
    edges = upward_edges(sources, stairs(tree))
    return {
        "files": str(len(sources)),
        "lines": str(sum(s.text.count("\n") for s in sources)),
        "lines of session.py": str(session.text.count("\n")),
        "public names of Session": str(len(public_names(sources))),
        "functions": str(len(lengths)),
        f"functions over {LONG} lines": str(sum(lines > LONG for lines, _ in lengths)),
        **{f"longest function, {n}.": f"{lines} {name}" for n, (lines, name) in enumerate(longest, 1)},
        "uses of Any": str(sum(uses_of_any(s.tree) for s in sources)),
        "asked which task it is": str(sum(is_question_of_kind(node) for s in sources for node in ast.walk(s.tree))),
        "# type: ignore": str(sum(s.ignored_types() for s in sources)),
        "imports that point up": str(len(edges)),
    }


def main(trees: list[Path]) -> None:
    """Print the checkouts side by side, and which imports point up in each."""
    columns = {tree: figures(tree) for tree in trees}
    wide = 4 + max(len(value) for column in columns.values() for value in column.values())
    print(f"{'':<28}" + "".join(f"{tree.name:<{wide}}" for tree in trees))
    for row in dict.fromkeys(name for column in columns.values() for name in column):
        print(f"{row:<28}" + "".join(f"{column.get(row, '-'):<{wide}}" for column in columns.values()))
    for tree in trees:
        edges = upward_edges(Source.all_of(tree), stairs(tree))
        print(f"{tree.name}, up: " + (", ".join(f"{file} → {room}" for file, room in sorted(edges)) or "none"))


if __name__ == "__main__":
    main([Path(word).resolve() for word in sys.argv[1:]] or [HERE])
