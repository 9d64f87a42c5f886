"""A component in a cell of its own: with a session it does what it does on the page, without one it says what it misses."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import ui
from acestep_lab.errors import LabError
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Text2Music
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.component import NOBODY
from tests.pretend import PretendSession


def wait_for(ready: Callable[[], Any], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    opened = PretendSession(tmp_path, pause=0.0)
    yield opened
    opened.close()


def alone(name: str, *arguments: Any, **keywords: Any) -> tuple[Any, list[tuple[str, dict[str, Any]]]]:
    """A component and all it says to its page."""
    component, said = getattr(ui, f"{name}Widget")(*arguments, **keywords), []
    component.emit = lambda kind, *buffers, **body: said.append((kind, body))
    return component, said


def errors(said: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [body["text"] for kind, body in said if kind == "error" and body["text"]]


NAMES = sorted(
    {name.removesuffix("Widget") for name in ui.__all__ if name.endswith("Widget")}
    - {"ComparisonView", "RunView", "SweepView"}
)


@pytest.mark.parametrize("name", NAMES)
def test_every_component_takes_a_session_and_lets_it_go_when_it_is_closed(name: str, lab: PretendSession) -> None:
    backend_of(lab)
    listeners = len(lab.jobs._listeners)
    component, _ = alone(name, session=lab)
    assert len(lab.jobs._listeners) > listeners
    component.close()
    assert len(lab.jobs._listeners) == listeners


@pytest.mark.parametrize("name", ["PromptEditor", "Player", "Gallery"])
def test_a_name_without_an_ending_is_the_widget(name: str) -> None:
    assert getattr(ui, name) is getattr(ui, f"{name}Widget")


def test_what_is_no_session_is_refused_in_a_sentence() -> None:
    with pytest.raises(LabError, match=r"Session\.open"):
        ui.PromptEditorWidget(session="lab")


def test_a_prompt_editor_with_a_session_makes_a_take(lab: PretendSession) -> None:
    editor, said = alone("PromptEditor", Recipe("dub", seconds=2.0), session=lab)
    editor.receive({"kind": "make"})
    wait_for(lambda: len(lab.library) == 1)
    assert lab.started[0].caption == "dub"
    assert errors(said) == []


def test_a_waveform_picker_with_a_session_repaints_its_own_take(lab: PretendSession) -> None:
    take = lab.keep(lab.make(Recipe("dub", seconds=4.0, seed=3)))
    lab.keep(lab.make(Recipe("newer", seconds=4.0, seed=4)))
    picker, said = alone("WaveformPicker", take, session=lab)
    picker.receive({"kind": "regions", "regions": [{"start": 1.0, "end": 2.0}]})
    picker.receive({"kind": "repaint"})
    wait_for(lambda: any(type(one.task).__name__ == "Repaint" for one in lab.started))
    assert lab.started[-1].task.source == take
    assert errors(said) == []


def test_a_gallery_with_a_session_shows_the_library_and_stars_in_it(lab: PretendSession) -> None:
    take = lab.keep(lab.make(Recipe("dub", seconds=2.0)))
    gallery, said = alone("Gallery", session=lab)
    assert [card["id"] for card in gallery.cards] == [take.id]
    gallery.receive({"kind": "mark", "id": take.id, "star": True})
    assert [card.star for card in lab.library.cards()] == [True]
    assert errors(said) == []


def test_a_queue_with_a_session_stops_runs(lab: PretendSession) -> None:
    lab._pause = 0.05
    queue, said = alone("RunQueue", session=lab)
    run = lab.start(Recipe("long", seconds=2.0, steps=200))
    wait_for(lambda: queue.rows)
    queue.receive({"kind": "stop", "id": run.id})
    assert run.wait(10)
    assert run.state == "stopped"
    assert errors(said) == []


def test_a_plan_view_with_a_session_makes_music_by_its_plan(lab: PretendSession) -> None:
    view, said = alone("PlanView", Plan(caption="dub", bpm=100), Recipe("dub", seconds=2.0), session=lab)
    view.receive({"kind": "make"})
    wait_for(lambda: len(lab.library) == 1)
    assert errors(said) == []


def test_a_checkpoint_switch_with_a_session_lists_and_uses(lab: PretendSession) -> None:
    switch, said = alone("CheckpointSwitch", session=lab)
    assert switch.current == "pretend"
    switch.receive({"kind": "list"})
    wait_for(lambda: switch.choices)
    assert errors(said) == []


def test_a_preview_with_a_session_shows_what_is_made_and_keeps_a_step(lab: PretendSession) -> None:
    preview, said = alone("LatentPreview", session=lab)
    run = lab.start(Recipe("dub", seconds=2.0, steps=4))
    run.wait(10)
    wait_for(lambda: (not preview.live and preview.run == "") or preview.run == run.id)
    assert errors(said) == []


ASKS = {
    "PromptEditor": ({"kind": "make"}, (Recipe("dub", seconds=2.0),)),
    "PlanView": ({"kind": "make"}, (Plan(caption="dub"), Recipe("dub", seconds=2.0))),
    "RunQueue": ({"kind": "stop", "id": "run-1"}, ()),
    "CheckpointSwitch": ({"kind": "list"}, ()),
    "LatentPreview": ({"kind": "stop"}, ()),
    "Gallery": ({"kind": "restore"}, ()),
    "Topbar": ({"kind": "retry"}, ()),
}


@pytest.mark.parametrize("name", ASKS)
def test_a_click_that_nobody_listens_to_says_what_is_missing(name: str) -> None:
    message, arguments = ASKS[name]
    component, said = alone(name, *arguments)
    component.receive(message)
    assert errors(said) == [NOBODY.format(name=f"{name}Widget", kind=message["kind"])]


def test_a_take_of_a_tree_that_nobody_listens_to_says_what_is_missing() -> None:
    tree, said = alone("TakeTree")
    parent, child = "take-0123456789abcdef", "take-fedcba9876543210"
    tree.draw([{"id": parent, "title": "dub"}, {"id": child, "title": "dub, varied", "parents": [parent]}])
    tree.receive({"kind": "select", "id": parent})
    assert errors(said) == [NOBODY.format(name="TakeTreeWidget", kind="select")]


@pytest.mark.parametrize("name", NAMES)
def test_being_looked_at_or_typed_into_asks_for_nothing_and_says_nothing(name: str) -> None:
    component, said = alone(name)
    component.receive({"kind": "ready"})
    assert errors(said) == []


def test_a_listener_of_one_s_own_is_enough() -> None:
    editor, said = alone("PromptEditor", Recipe("dub", seconds=2.0))
    heard: list[Recipe] = []
    editor.on("make", lambda recipe: heard.append(recipe))
    editor.receive({"kind": "make"})
    assert [one.caption for one in heard] == ["dub"]
    assert errors(said) == []


def test_the_parts_that_nobody_looks_at_open_no_channel_to_the_page(lab: PretendSession) -> None:
    from ipywidgets import Widget

    gc.collect()
    before = len(Widget.widgets) if hasattr(Widget, "widgets") else 0
    component, _ = alone("Gallery", session=lab)
    assert len(Widget.widgets) - before <= 2, "the component and its layout"
    component.close()


def test_a_waveform_that_is_on_a_screen_at_once_works_from_its_first_take_on(lab: PretendSession) -> None:
    class OnScreen(ui.WaveformPickerWidget):
        has_views = True

    take = lab.make(Recipe("slow dub", seconds=2, steps=2, task=Text2Music(codes=range(10))))
    picker = OnScreen(take, session=lab)
    assert list(picker.value) == []
    picker.close()
