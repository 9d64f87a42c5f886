"""Every lesson runs from top to bottom, says what it teaches, and stays small when executed."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

SMALLER = {
    "01": {"seed=7, bpm": "seed=7, steps=4, bpm", "steps=8))": "steps=4))"},
    "02": {"steps=8, seed=7": "steps=2, seed=7"},
    "03": {
        "steps=12, thinking": "steps=5, thinking",
        "(0, 5, 9, 11)": "(0, 1, 3, 4)",
        "(0, 3, 11)": "(0, 2, 4)",
        "at = 6 ": "at = 3 ",
        "(8, 16, 32, 64), 200": "(2, 3), 4",
    },
    "04": {"seed=5, bpm": "seed=5, steps=4, bpm"},
    "05": {"seed=1, bpm": "seed=1, steps=4, bpm", "0.15, 0.3, 0.5,": "0.3,"},
    "06": {
        "seconds=SECONDS, seed=3": "seconds=SECONDS, steps=4, seed=3",
        "SECONDS, PLANS = 5, 4": "SECONDS, PLANS = 2, 2",
    },
    "07": {
        "SONGS, STEPS, TAKES = 12, 100, 8": "SONGS, STEPS, TAKES = 4, 4, 1",
        "seed=501, ": "seed=501, steps=4, ",
        "seed=500 + number, ": "seed=500 + number, steps=4, ",
    },
    "11": {
        "SECONDS, seed": "SECONDS, steps=2, seed",
        'alone", seed=5': 'alone", seed=5, steps=2',
        'join", seed=6': 'join", seed=6, steps=2',
        '["drums", "bass"]': '["drums", "bass"], steps=2',
        "n=4": "n=2",
    },
    "12": {
        "SECONDS = 6": "SECONDS = 4",
        "SECONDS, seed": "SECONDS, steps=2, seed",
        "WORDS, seed": "WORDS, steps=2, seed",
        "seed=11": "seed=11, steps=2",
        "seed=13": "seed=13, steps=2",
    },
}
"""By lesson, what is computed less here than there: fewer steps of as long songs, so that pages are as large as a reader's."""
_SPEC = spec_from_file_location("lessons", Path(__file__).parent.parent / ".ci/lessons.py")
assert _SPEC is not None
assert _SPEC.loader is not None
runner = module_from_spec(_SPEC)
_SPEC.loader.exec_module(runner)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
UNLIKE = re.compile(r"data:audio/[^\"]*|\b\d+:\d\d\b")
"""What is another each time: the serial number inside a written sound, and how long something took."""
TIMED = ("09",)
"""Lessons whose figures show seconds of this machine, which are never the same twice."""
FRESH = ("01", "07", "10")
"""Lessons whose first run has a kernel of its own, as a reader's has; the others' kernel forgets every name between two runs."""
PARAMETERS: dict[str, dict[str, Any]] = {
    "10": {"SEEDS": 2, "SECONDS": 1.0, "VALUES": [2, 3], "QUESTION": "Do steps matter?"}
}
"""By lesson, what is put in after its cell tagged `parameters`, as papermill does it."""
LESSONS = sorted((Path(__file__).parent.parent / "notebooks").glob("[0-9]*.py"))


def test_the_lessons_are_all_there() -> None:
    assert [lesson.stem[:2] for lesson in LESSONS] == [
        "01",
        "02",
        "03",
        "04",
        "05",
        "06",
        "07",
        "08",
        "09",
        "10",
        "11",
        "12",
    ]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_committed_as_it_ran_with_sound_and_figures_and_says_what_it_teaches(lesson: Path) -> None:
    import jupytext

    source = jupytext.read(lesson)
    assert "What this lesson teaches" in source.cells[0].source
    text = lesson.with_suffix(".ipynb").read_text(encoding="utf-8")
    paired = json.loads(text)
    assert ["".join(cell["source"]) for cell in paired["cells"]] == [cell.source for cell in source.cells]
    assert paired["metadata"]["acestep_lab"]["ran"] == runner.digest(lesson), "make lessons runs what has changed"
    runner.refuse(lesson, text)
    shown = pictures(paired)
    assert any("<audio" in one for one in shown), "music that plays where no kernel is"
    assert any("<svg" in one and "role" in one and "Waveform" not in one for one in shown) or "image/png" in text
    assert runner.WIDGET not in text


@pytest.fixture(scope="module")
def used() -> Iterator[Any]:
    """A kernel in which one lesson runs after another."""
    from jupyter_client.manager import AsyncKernelManager

    kernel = AsyncKernelManager(kernel_name="python3")
    yield kernel
    asyncio.run(kernel.shutdown_kernel(now=True))


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_top_to_bottom_stays_under_a_megabyte_and_gives_the_same_bytes_again(
    lesson: Path, used: Any, tmp_path: Path
) -> None:
    first = executed(lesson, tmp_path, None if lesson.stem[:2] in FRESH else used)
    size = len(json.dumps(first))
    assert size < 1_000_000, f"{lesson.name} is {size:,} bytes when executed."
    made = sounds(tmp_path)
    again = executed(lesson, tmp_path, used)
    assert sounds(tmp_path) == made, "A second run made other sounds."
    assert digests(again) == digests(first), "A second run made other files."
    assert lesson.stem[:2] in TIMED or near(pictures(again), pictures(first)), "A second run drew other pictures."
    assert bool(digests(first)) == lesson.stem.startswith("07"), "The adapter's digest is printed, and nothing else's."


def executed(lesson: Path, takes: Path, kernel: Any = None) -> Any:
    """The lesson's notebook after it ran in a kernel of its own, or in one that forgets what it ran before."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(lesson)
    for cell in notebook.cells:
        for there, here in SMALLER.get(lesson.stem[:2], {}).items():
            cell.source = cell.source.replace(there, here)
    inject(notebook, PARAMETERS.get(lesson.stem[:2], {}))
    setting = f"%reset -f\nimport os\nos.chdir({str(takes)!r})\nos.environ['ACESTEP_LAB_TAKES'] = {str(takes)!r}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(setting))
    where = {"metadata": {"path": str(takes)}}
    return NotebookClient(notebook, km=kernel, timeout=300, kernel_name="python3", resources=where).execute()


def pictures(notebook: Any) -> list[str]:
    """What HTML a notebook's cells gave, in order; but for a sweep's table: a second run finds its cells there already."""
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", ())]
    shown = ["".join(out["data"]["text/html"]) for out in outputs if "text/html" in out.get("data", {})]
    return [one for one in shown if not one.startswith("<p>sweep ")]


def near(mine: list[str], others: list[str]) -> bool:
    """Whether the same is shown: words are equal, and numbers, such as where a line runs, but for their last digits.

    That samples are equal, `sounds` says.
    """
    mine, others = ([UNLIKE.sub("", one) for one in shown] for shown in (mine, others))
    if [NUMBER.sub("", one) for one in mine] != [NUMBER.sub("", one) for one in others]:
        return False
    pairs = [(NUMBER.findall(a), NUMBER.findall(b)) for a, b in zip(mine, others, strict=True)]
    return all(
        math.isclose(float(x), float(y), rel_tol=0.05, abs_tol=2) for a, b in pairs for x, y in zip(a, b, strict=True)
    )


def inject(notebook: Any, parameters: dict[str, Any]) -> None:
    """Put values in as papermill does: a cell of assignments after the one that is tagged."""
    import nbformat

    tagged = [at for at, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    assert len(tagged) == bool(parameters)
    for at in tagged:
        text = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(text, metadata={"tags": ["injected-parameters"]}))


def test_the_parameters_that_papermill_may_set_are_plain_values_in_one_cell() -> None:
    import jupytext

    for number, asked in PARAMETERS.items():
        cells = jupytext.read(next(one for one in LESSONS if one.stem.startswith(number))).cells
        [cell] = [one for one in cells if "parameters" in one.metadata.get("tags", ())]
        scope: dict[str, Any] = {}
        exec(cell.source, scope)
        plain = {name: value for name, value in scope.items() if name.isupper()}
        assert json.loads(json.dumps(plain)) == plain
        assert asked.keys() <= plain.keys()


def digests(notebook: Any) -> list[str]:
    """The digests of files that a lesson prints, each after the word sha256."""
    printed = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))
    return re.findall(r"sha256 ([0-9a-f]{64})", printed)


def test_what_is_made_smaller_here_stands_in_its_lesson() -> None:
    texts = {lesson.stem[:2]: lesson.read_text(encoding="utf-8") for lesson in LESSONS}
    assert all(there in texts[number] for number, smaller in SMALLER.items() for there in smaller)


def sounds(folder: Path) -> dict[str, str]:
    """Every kept take and the digest of its samples; an id is made of them, so other samples are another take."""
    stories = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("take-*.json")))
    return {story["id"]: story["audio"]["sha256"] for story in stories if "audio" in story}
