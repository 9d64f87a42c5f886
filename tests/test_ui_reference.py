"""What the gallery says of a component is read off its class, and is what its own words and its users say."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from acestep_lab import ui
from acestep_lab.errors import RecipeError
from acestep_lab.ui.component import Component
from acestep_lab.ui.reference import about

NAMES = [name for name in ui.__all__ if name.endswith("Widget")]
FURNITURE = {"TabsWidget", "TopbarWidget"}
"""Parts of the page that nobody puts into a cell."""
UI = Path(ui.__file__).parent


@pytest.mark.parametrize("name", NAMES)
def test_a_component_says_its_use_and_every_event_its_docstring_names(name: str) -> None:
    widget = getattr(ui, name)
    found = about(widget)
    text = inspect.getdoc(widget) or ""
    listed = re.search(r"Listeners?: (.*?)(?:\. [A-Z]|::|\n\n|\.?$)", text, re.DOTALL)
    named = set(re.findall(r'"(\w+)"', re.sub(r"\(.*?\)", "", listed.group(1), flags=re.DOTALL))) if listed else set()
    assert named - {kind for kind, _ in found.events} == set()
    assert name in FURNITURE or f"{found.name}Widget(" in found.use
    assert {field for field, _ in found.fields} == set(widget.fields)
    assert {name.removeprefix("do_") for name in dir(widget) if name.startswith("do_")} == set(widget._requests)
    compile(found.use, name, "exec")


def test_the_page_listens_to_nothing_that_no_component_tells() -> None:
    told = {kind for name in NAMES for kind, _ in about(getattr(ui, name)).events} | Component.news
    calls = [
        call
        for file in UI.glob("controllers/*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "connect"
    ]
    asked = {one.arg for call in calls for one in call.keywords}
    assert asked - told == set()
    assert len(asked) > 20


def test_widget_pane_and_an_instance_are_one_component_and_markup_stays_text() -> None:
    assert about(ui.PlayerWidget) == about(ui.PlayerPane) == about(ui.PlayerWidget())
    assert "star(id, on)" in about(ui.PlayerWidget)._repr_html_()
    assert "PlayerWidget(take)" in str(about(ui.PlayerWidget))
    with pytest.raises(RecipeError, match="PlayerWidget"):
        about("Player")
