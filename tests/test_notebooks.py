"""Every lesson runs from top to bottom, says what it teaches, and stays small when executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

LESSONS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.py"))


def test_the_lessons_are_all_there() -> None:
    assert [lesson.stem[:2] for lesson in LESSONS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_says_what_it_teaches_and_its_notebook_carries_no_outputs(lesson: Path) -> None:
    import jupytext

    source = jupytext.read(lesson)
    assert "What this lesson teaches" in source.cells[0].source
    paired = jupytext.read(lesson.with_suffix(".ipynb"))
    assert [cell.source for cell in paired.cells] == [cell.source for cell in source.cells]
    assert not any(cell.get("outputs") for cell in paired.cells)


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_top_to_bottom_and_stays_under_a_megabyte(lesson: Path, tmp_path: Path) -> None:
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(lesson)
    setting = f"import os; os.environ['ACESTEP_LAB_TAKES'] = {str(tmp_path)!r}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(setting))
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    size = len(json.dumps(notebook))
    assert size < 1_000_000, f"{lesson.name} is {size:,} bytes when executed."
