"""Every lesson runs from top to bottom, says what it teaches, and stays small when executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
def test_a_lesson_runs_top_to_bottom_stays_under_a_megabyte_and_gives_the_same_bytes_again(
    lesson: Path, tmp_path: Path
) -> None:
    size = len(json.dumps(executed(lesson, tmp_path)))
    assert size < 1_000_000, f"{lesson.name} is {size:,} bytes when executed."
    first = sounds(tmp_path)
    executed(lesson, tmp_path)
    assert sounds(tmp_path) == first, "A second run made other sounds."


def executed(lesson: Path, takes: Path) -> Any:
    """The lesson's notebook after it ran in a kernel of its own."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(lesson)
    setting = f"import os; os.environ['ACESTEP_LAB_TAKES'] = {str(takes)!r}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(setting))
    where = {"metadata": {"path": str(takes)}}
    return NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()


def sounds(folder: Path) -> dict[str, str]:
    """Every kept take and the digest of its samples; an id is made of them, so other samples are another take."""
    stories = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("take-*.json")))
    return {story["id"]: story["audio"]["sha256"] for story in stories if "audio" in story}
