"""Values in a notebook: IPython is told how they are shown, and the values themselves know nothing of it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from acestep_lab.engines.step import Step
from acestep_lab.jobs.stems import Stems
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.ui import formatters
from acestep_lab.ui.latent_preview import LatentPreviewWidget
from tests.pretend import PretendSession, tone

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def display() -> DisplayFormatter:
    """A notebook's display that was told how our values are shown."""
    formatter = DisplayFormatter()
    formatters.register(SimpleNamespace(display_formatter=formatter))
    return formatter


def take() -> Take:
    return Take(Recipe("dub", seconds=1.0, seed=1), tone(1.0), np.zeros((5, 8), np.float32))


def wait_for(ready: Callable[[], bool], seconds: float = 20.0) -> None:
    """Listeners are told on the worker's thread, perhaps a moment after the run is over."""
    until = time.monotonic() + seconds
    while not ready() and time.monotonic() < until:
        time.sleep(0.01)


def step(estimate: Any) -> Step:
    return Step(2, 8, 0.5, estimate, estimate)


@pytest.mark.parametrize(("module", "name"), formatters.FORMATTERS)
def test_every_value_is_registered_by_the_name_it_has(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    assert (value.__module__, value.__qualname__) == (module, name)
    assert not [method for method in ("_repr_mimebundle_", "_ipython_display_") if hasattr(value, method)]


@pytest.mark.parametrize("make", [take, lambda: tone(1.0)], ids=["take", "audio"])
def test_a_sound_is_a_player_of_that_sound_and_its_repr_where_there_are_no_widgets(
    display: DisplayFormatter, make: Any
) -> None:
    sound = make()
    data, _ = display.format(sound)
    assert data["text/plain"] == repr(sound)
    assert data[WIDGET]["model_id"]


def test_stems_are_lanes_with_what_is_left(display: DisplayFormatter) -> None:
    mix, drums = take(), take()
    data, _ = display.format(Stems(mix, {"drums": drums}))
    assert data[WIDGET]["model_id"]
    assert "drums" in data["text/plain"]


def test_a_step_is_a_picture_of_its_estimate_and_a_line_of_text(display: DisplayFormatter) -> None:
    data, metadata = display.format(step(torch.zeros(40, 8)))
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == "<Step 3 of 8, t = 0.500>"
    assert metadata["image/png"] == {"width": 640, "height": 110}


def test_the_steps_of_a_batch_stand_one_under_the_other(display: DisplayFormatter) -> None:
    _, one = display.format(step(torch.zeros(1, 40, 8)))
    _, three = display.format(step(torch.zeros(3, 40, 8)))
    assert three["image/png"]["height"] == 3 * one["image/png"]["height"]


def test_a_step_of_a_model_without_an_estimate_is_text(display: DisplayFormatter) -> None:
    data, _ = display.format(step(None))
    assert set(data) == {"text/plain"}


def test_a_run_is_the_preview_of_its_steps(display: DisplayFormatter, tmp_path: Path) -> None:
    run = PretendSession(tmp_path).start(Recipe("dub", seconds=2.0, steps=4))
    data, _ = display.format(run)
    assert WIDGET in data
    assert data["text/plain"] == repr(run)


def test_a_preview_follows_a_run_to_its_end_and_takes_over_one_that_is_over(tmp_path: Path) -> None:
    during, after = LatentPreviewWidget(), LatentPreviewWidget()
    run = PretendSession(tmp_path).start(Recipe("dub", seconds=2.0, steps=4))
    during.follow(run)
    run.wait(20)
    wait_for(lambda: not during.live)
    after.follow(run)
    assert [(view.run, view.latest, view.live) for view in (during, after)] == [(run.id, 3, False)] * 2


def test_a_preview_that_follows_a_run_stops_it_when_asked_to(tmp_path: Path) -> None:
    run = PretendSession(tmp_path, pause=0.05).start(Recipe("dub", seconds=2.0, steps=200))
    preview = LatentPreviewWidget()
    preview.follow(run)
    preview.receive({"kind": "stop"})
    assert run.wait(20)
    assert run.state == "stopped"


def test_a_step_without_an_estimate_counts_and_has_no_picture() -> None:
    preview, messages = LatentPreviewWidget(), []
    preview.emit = lambda kind, *buffers, **body: messages.append(kind)
    preview.begin("run-1", 2.0, 8)
    preview.add(step(None))
    assert (preview.latest, preview.steps, "picture" in messages) == (2, 8, False)


def test_what_somebody_else_registered_stays(display: DisplayFormatter) -> None:
    own = DisplayFormatter()
    own.mimebundle_formatter.for_type_by_name("acestep_lab.takes.take", "Take", lambda _: {"text/html": "mine"})
    formatters.register(SimpleNamespace(display_formatter=own))
    assert own.format(take())[0]["text/html"] == "mine"


NOTEBOOK = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def bundles(): return [name for _, name in shell.display_formatter.mimebundle_formatter.deferred_printers]
shell.run_cell("{cell}").raise_error()
print(*sorted(set(bundles()) & {{"Audio", "RenderRun", "Step", "Take"}}), "torch" in sys.modules, "panel" in sys.modules)
"""


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("import acestep_lab", "False False"),
        ("from acestep_lab import Recipe", "Audio RenderRun Step Take False False"),
        ("import acestep_lab; found = acestep_lab.Recipe", "Audio RenderRun Step Take False False"),
        ("%load_ext acestep_lab", "Audio RenderRun Step Take False False"),
    ],
)
def test_a_notebook_is_told_when_the_first_name_is_used_and_nothing_is_imported_for_it(cell: str, said: str) -> None:
    code = NOTEBOOK.format(cell=cell)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[0].strip() == said


SHOWN = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("import numpy; from acestep_lab import Audio; sound = Audio(numpy.zeros((1, 800)), 8000)").raise_error()
print(*sorted(shell.display_formatter.format(shell.user_ns["sound"])[0]))
"""


def test_a_sound_without_any_session_is_shown_in_a_running_notebook() -> None:
    found = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [WIDGET, "text/plain"]


def test_outside_of_a_notebook_nothing_is_told_and_ipython_is_not_imported() -> None:
    code = "import sys; from acestep_lab import Recipe; print('IPython' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    "estimate",
    [None, torch.zeros(0, 8), torch.zeros(0, 5, 8), torch.zeros(5)],
    ids=["none", "no frame", "no item", "flat"],
)
def test_a_step_that_cannot_be_drawn_is_a_line_of_text(display: DisplayFormatter, estimate: Any) -> None:
    data, _ = display.format(Step(2, 8, 0.5, torch.zeros(9000, 8), estimate))
    assert set(data) == {"text/plain"}
    assert data["text/plain"].splitlines()[0] == "<Step 3 of 8, t = 0.500>"
    assert len(data["text/plain"]) < 400
