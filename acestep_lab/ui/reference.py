"""What a component is, read off its class: its fields, what the browser may ask of it, what it tells whoever listens, its shortest use.

    about(PlayerWidget)        # in a notebook a table; `notebooks/components.py` is made of these

Nothing here is written down twice, so no table can go stale: fields and requests are the class's own, events are found in its source.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Container, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.ui.component import Component

_STYLE = 'style="text-align: start; vertical-align: top; padding: 2px 10px 2px 0"'
_HEADS = ("Fields (Python to browser)", "Asked by the browser", "Told to .on(…)")


@dataclass(frozen=True)
class ComponentReference:
    """What a component is, as text and as a table."""

    name: str
    says: str
    use: str
    """Lines of Python; "" where its docstring has none."""
    fields: tuple[tuple[str, str], ...]
    """Each with its first value, as Python writes it."""
    asks: tuple[tuple[str, str], ...]
    """What a page may ask for, each with its arguments."""
    events: tuple[tuple[str, str], ...]
    """What `.on(kind, function)` hears, each with the keywords the function is called with."""

    @property
    def columns(self) -> tuple[list[str], list[str], list[str]]:
        """Fields, requests and events as lines."""
        fields = [f"{name} = {value}" for name, value in self.fields]
        return (
            fields,
            [f"{name}({given})" for name, given in self.asks],
            [f"{name}({told})" for name, told in self.events],
        )

    def __repr__(self) -> str:
        return (
            f"<{self.name}: {len(self.fields)} fields, {len(self.asks)} requests, {len(self.events)} events; print it>"
        )

    def __str__(self) -> str:
        parts = [f"{head}: {', '.join(lines) or 'nothing'}" for head, lines in zip(_HEADS, self.columns)]
        return "\n".join([f"{self.name}: {self.says}", *parts, self.use])

    def _repr_html_(self) -> str:
        cells = "".join(f"<td {_STYLE}>{_lines(lines)}</td>" for lines in self.columns)
        heads = "".join(f"<th {_STYLE}>{escape(head)}</th>" for head in _HEADS)
        use = f"<pre>{escape(self.use)}</pre>" if self.use else ""
        table = f"<table><tr>{heads}</tr><tr>{cells}</tr></table>"
        return f"<div><strong>{escape(self.name)}</strong> {escape(self.says)}{use}{table}</div>"


def about(component: Any) -> ComponentReference:
    """What a component is: of a `…Widget`, a `…Pane` or one of either; RecipeError for what is none."""
    kind = component if isinstance(component, type) else type(component)
    core: type[Component] | None = next((one for one in kind.__mro__ if _is_core(one)), None)
    if core is None:
        raise RecipeError(f"A component is one of acestep_lab.ui, such as PlayerWidget, not {shown(component)}.")
    says, use = _said(inspect.getdoc(core) or "")
    fields = tuple((name, _short(value)) for name, value in core.fields.items())
    asks = tuple(
        (name, _arguments(work)) for name, work in sorted(core._requests.items()) if name not in Component._requests
    )
    return ComponentReference(core.__name__, says, use, fields, asks, tuple(sorted(dict(_events(core)).items())))


def _is_core(kind: type) -> bool:
    """Whether a class is the half that both hosts share: it names a module, and no host made it."""
    return issubclass(kind, Component) and "module" in vars(kind) and kind is not Component


def _said(text: str) -> tuple[str, str]:
    """The first sentences of a docstring, and the code after its first double colon."""
    first, _, rest = text.partition("::\n")
    says = " ".join(first.partition("\n\n")[0].split()).rstrip(":")
    block = re.match(r"(?:\n*(?:[ ]{4}.*)?)*", "\n" + rest) if rest else None
    return says, textwrap.dedent(block.group(0)).strip() if block else ""


def _short(value: object) -> str:
    """A first value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…{text[-1]}"


def _arguments(work: Any) -> str:
    """What a request takes: "id, name", with what may be left out in brackets."""
    given = list(inspect.signature(work).parameters.values())[1:]
    return ", ".join(one.name if one.default is one.empty else f"[{one.name}]" for one in given)


def _events(core: type[Component]) -> Iterator[tuple[str, str]]:
    """Each kind a component notifies of, and the keywords that go with it, by its source."""
    for part in core.__mro__[:-1]:
        if not issubclass(part, Component) or part is Component:
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
        through = {"notify": (), **dict(_forwarders(tree))}
        for call in ast.walk(tree):
            if kind := _kind(call, through):
                yield kind, ", ".join([*_keywords(call), *through[_named(call)]])


def _forwarders(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Methods that hand their first argument to `notify`, each with the keywords it adds: whoever calls them says the kind."""
    for method in ast.walk(tree):
        if isinstance(method, ast.FunctionDef) and len(method.args.args) > 1:
            kind = method.args.args[1].arg
            for call in ast.walk(method):
                first = call.args[0] if isinstance(call, ast.Call) and _named(call) == "notify" else None
                if isinstance(first, ast.Name) and first.id == kind:
                    yield method.name, tuple(one for one in _keywords(call) if one != "…")


def _keywords(call: ast.AST) -> list[str]:
    """The keywords of a call; an ellipsis for those that are found when it runs."""
    return [one.arg or "…" for one in call.keywords] if isinstance(call, ast.Call) else []


def _kind(call: ast.AST, through: Container[str]) -> str:
    """The kind a call notifies of; "" for any other."""
    if not isinstance(call, ast.Call) or _named(call) not in through or not call.args:
        return ""
    first = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def _named(call: ast.AST) -> str:
    """The name of the method a call calls."""
    return call.func.attr if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else ""


def _lines(lines: list[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else "nothing"
