"""Every public name says what it is; one that takes or gives arrays says their shape, one that raises says what.

Shapes are wanted where a signature names an array, a tensor or a latent; units where it names a length, rate or level by a plain
number; errors where the body raises one of ours. Who has nothing to say of these is asked for one plain sentence only.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

import acestep_lab

MODULES = (
    "engines.base",
    "engines.step",
    "jobs.run",
    "jobs.kinds",
    "jobs.queue",
    "jobs.client",
    "jobs.eta",
    "jobs.events",
    "jobs.owners",
    "jobs.verbs",
)
"""Whose public classes and functions are public too, beside `acestep_lab.__all__`."""

ARRAY = re.compile(r"\b(ndarray|Tensor)\b")
SHAPE = re.compile(r"\[[^\]]*(frames|channels|samples|batch|rows|tokens|bins|codes|\d)[^\]]*\]|0-d|scalar|any shape")
NUMBER = re.compile(r"\b(int|float)\b")
UNITS: dict[str, str] = {
    "seconds": r"second|\bs\b|length", "rate": r"rate|per second|Hz", "start": r"second", "end": r"second", "before": r"second",
    "after": r"second", "at": r"second|time", "longest": r"second", "gain": r"multiplied|factor|dB", "peak_db": r"dB",
    "bpm": r"tempo|beats|bpm", "gigabytes": r"GB|gigabyte", "memory_bytes": r"byte", "eta": r"second", "timeout": r"second",
}  # fmt: skip
"""Parameters and fields that are plain numbers of something, and what a docstring has to call it."""
OURS = re.compile(r"(Lab|Recipe|Checkpoint|Download|Source|Machine|Library)Error$|^Stopped$")


def public() -> Iterator[tuple[str, Any]]:
    """Every public name with what it stands for, and then the methods of each class."""
    found = {name: getattr(acestep_lab, name) for name in acestep_lab.__all__ if not name.startswith("_")}
    for module in MODULES:
        loaded = importlib.import_module(f"acestep_lab.{module}")
        own = {
            n: v
            for n, v in vars(loaded).items()
            if not n.startswith("_") and getattr(v, "__module__", "") == loaded.__name__
        }
        found |= {f"{module}.{n}": v for n, v in own.items() if inspect.isclass(v) or inspect.isfunction(v)}
    for name, value in found.items():
        yield name, value
        if inspect.isclass(value):
            yield from ((f"{name}.{part}", method) for part, method in methods(value))


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class of ours adds under public names: methods and properties."""
    for name, part in vars(cls).items():
        part = getattr(part, "__func__", part)
        part = getattr(part, "fget", None) or getattr(part, "func", None) or part
        if not name.startswith("_") and inspect.isfunction(part):
            yield name, inspect.unwrap(part)


def lacks(name: str, value: Any) -> list[str]:
    """What its docstring does not say and should."""
    if inspect.isclass(value):
        return [] if has_sentence(value) else [f"{name} says nothing of itself"]
    tree = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    said = (ast.get_docstring(tree) or "").strip()
    if not said:
        return [] if is_plain(tree, value) else [f"{name} says nothing of itself"]
    return [f"{name} {problem}" for problem in (*shapes(tree, said), *units(tree, said), *errors(tree, said))]


def has_sentence(cls: type) -> bool:
    said = (cls.__doc__ or "").strip()
    return bool(said) and not (is_dataclass(cls) and said.startswith(f"{cls.__name__}("))


def is_plain(tree: ast.FunctionDef | ast.AsyncFunctionDef, value: Any) -> bool:
    """A property or a member of a protocol that is its name: a noun or `is_…`, no argument, one line or none of body."""
    only_self = len(tree.args.args) <= 1 and not tree.args.kwonlyargs and not tree.args.vararg
    one_line = len(tree.body) == 1 and isinstance(tree.body[0], ast.Return | ast.Expr)
    overrides = tree.name in OVERRIDDEN
    return overrides or (only_self and one_line and any("property" in ast.unparse(d) for d in tree.decorator_list))


OVERRIDDEN = {"instruction"}
"""Said once, where it is first defined."""


def shapes(tree: ast.FunctionDef | ast.AsyncFunctionDef, said: str) -> list[str]:
    hints = [arg.annotation for arg in (*tree.args.args, *tree.args.kwonlyargs)] + [tree.returns]
    named = any(ARRAY.search(ast.unparse(hint)) for hint in hints if hint is not None)
    return ["names no shape such as [frames, channels]"] if named and not SHAPE.search(said) else []


def units(tree: ast.FunctionDef | ast.AsyncFunctionDef, said: str) -> list[str]:
    numbers = [
        a.arg
        for a in (*tree.args.args, *tree.args.kwonlyargs)
        if a.annotation and NUMBER.search(ast.unparse(a.annotation))
    ]
    silent = [name for name in numbers if name in UNITS and not re.search(UNITS[name], said, re.IGNORECASE)]
    return [f"names no unit for {name}" for name in silent]


def errors(tree: ast.FunctionDef | ast.AsyncFunctionDef, said: str) -> list[str]:
    """Errors of ours that its own body raises, each by its name."""
    raised = {raising(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None}
    return [f"does not say that it raises {name}" for name in sorted(filter(OURS.search, raised)) if name not in said]


def raising(node: ast.expr) -> str:
    called = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(called)


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return dict(public())


def test_every_public_name_says_what_it_is_with_shapes_units_and_errors(everything: dict[str, Any]) -> None:
    assert [sentence for name, value in everything.items() for sentence in lacks(name, value)] == []


def test_the_fields_of_public_values_that_are_arrays_or_bare_numbers_say_what_they_hold(
    everything: dict[str, Any],
) -> None:
    silent = []
    for name, cls in everything.items():
        if inspect.isclass(cls) and is_dataclass(cls):
            said = field_docs(cls)
            silent += [f"{name}.{f.name}" for f in fields(cls) if wants_words(f) and not said.get(f.name)]
    assert silent == []


def wants_words(field: Any) -> bool:
    return not field.name.startswith("_") and bool(ARRAY.search(str(field.type)))


def field_docs(cls: type) -> dict[str, str]:
    """The string under each field, or the comment beside it; what the class's own docstring says of it counts."""
    source = textwrap.dedent(inspect.getsource(cls))
    body = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)).body
    lines, found = source.splitlines(), {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            under = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            beside = lines[node.end_lineno - 1].partition("#")[2] if node.end_lineno else ""
            found[node.target.id] = (
                str(under) + beside if SHAPE.search(str(under) + beside + (cls.__doc__ or "")) else ""
            )
            found[node.target.id] = (
                found[node.target.id] or (cls.__doc__ if SHAPE.search(cls.__doc__ or "") else "") or ""
            )
    return found


def test_there_is_enough_to_look_at(everything: dict[str, Any]) -> None:
    assert {
        "Recipe.replace",
        "Session.start",
        "jobs.verbs.Verbs.make",
        "Take.verify",
        "engines.base.Engine.decode",
        "jobs.run.Run",
        "jobs.kinds.RenderRun",
    } <= set(everything)
    assert len(everything) > 150


def test_a_docstring_that_lacks_shape_unit_or_error_is_seen() -> None:
    source = 'def planted(samples: np.ndarray, seconds: float) -> Tensor:\n    """Make something."""\n    raise RecipeError("No.")\n'
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.FunctionDef)
    found = [*shapes(tree, "Make it."), *units(tree, "Make it."), *errors(tree, "Make it.")]
    assert [sentence.split(" such")[0] for sentence in found] == [
        "names no shape",
        "names no unit for seconds",
        "does not say that it raises RecipeError",
    ]
    good = "Samples [channels, samples], so many seconds; RecipeError for none."
    assert [*shapes(tree, good), *units(tree, good), *errors(tree, good)] == []
