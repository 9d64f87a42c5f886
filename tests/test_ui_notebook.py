"""Every component in a cell: the notebook runs, and showing much leaves the file small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acestep_lab import ui
from tests.test_contributing import ours

SOURCE = Path(__file__).parent.parent / "notebooks" / "components.py"


def test_every_component_has_a_cell() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    shown = {name.removesuffix("Widget") for name in ui.__all__ if name.endswith("Widget")} - {"Topbar", "Tabs"}
    assert [name for name in shown if f"{name}Widget(" not in text] == []


def test_every_component_is_followed_by_what_it_is_and_the_page_is_committed_as_it_ran() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    shown = {name for name in ui.__all__ if name.endswith("Widget")} - {"TopbarWidget", "TabsWidget"}
    assert [name for name in shown if f"\nabout({name})\n" not in text] == []
    paired = json.loads(SOURCE.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert paired["metadata"]["acestep_lab"]["ran"] == ours("lessons").digest(SOURCE), (
        "make lessons runs what has changed"
    )
    assert str(paired["cells"]).count("Told to .on(…)") == len(shown)


@pytest.mark.slow
def test_the_notebook_runs_and_stays_small_even_with_the_widgets_state_in_it(tmp_path: Path) -> None:
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(SOURCE)
    notebook.cells.insert(
        0, nbformat.v4.new_code_cell(f"import os; os.environ['ACESTEP_LAB_TAKES'] = {str(tmp_path)!r}")
    )
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        store_widget_state=True,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    assert len(json.dumps(notebook)) < 280_000, "some 30 kB of it are the tables of what each component is"
