"""The Sweep tab without a browser: axes over the form's recipe, the budget first, cells that fill, blind votes, files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.errors import LabError, RecipeError
from acestep_lab.sweep.axes import Between, from_text
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.studio import Studio
from tests.pretend import PretendSession

TWO = [{"field": "shift", "values": "1,3"}, {"field": "seed", "values": "1..2"}]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "takes", pause=0.0)
    session.jobs.progress = False
    yield session
    session.close()


def page(lab: PretendSession, rows: Any = TWO, owner: str = "", **more: Any) -> Studio:
    studio = Studio(backend_of(lab), owner, panes=False)
    studio.prompt.do_edit("caption", "a sine")
    studio.prompt.do_edit("seconds", "1")
    if not owner:
        studio.sweep_form.do_draft(rows=rows, **({"how": "grid", "count": 12, "name": ""} | more))
    return studio


def until(ready: Callable[[], Any], seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def told(component: Any) -> list[dict[str, Any]]:
    """What a component sends to its page from here on."""
    sent: list[dict[str, Any]] = []
    component.emit = lambda kind, *buffers, **body: sent.append({"kind": kind, "buffers": buffers, **body})
    return sent


def idle(studio: Studio) -> bool:
    return not studio.sweep_form.busy


def test_values_are_read_as_they_are_typed() -> None:
    assert from_text("1, 3,5") == [1, 3, 5]
    assert list(from_text("0..3")) == [0, 1, 2, 3]
    assert from_text("1.0..5.0") == Between(1.0, 5.0)
    assert from_text("C major, A minor") == ["C major", "A minor"]
    assert from_text('["a, b", null]') == ["a, b", None]
    with pytest.raises(RecipeError, match="at most 10,000"):
        from_text("0..99999999999")


def test_the_budget_is_said_before_anything_is_made_and_then_the_grid_fills(lab: PretendSession) -> None:
    studio = page(lab)
    studio.sweep_form.do_foretell()
    until(lambda: studio.sweep_form.plan)
    assert studio.sweep_form.plan["to_make"] == 4
    assert not lab.started
    until(lambda: idle(studio))
    studio.sweep_form.do_sweep()
    until(lambda: studio.sweep_view.followed is not None and studio.sweep_view.followed.over and studio.sweep_view.over)
    assert [cell["state"] for cell in studio.sweep_view.cells] == ["done"] * 4
    assert not studio.sweep_form.plan or studio.sweep_form.plan["refused"] == 0
    until(lambda: idle(studio))
    assert studio.sweep_form.kept == [studio.sweep_view.title]
    studio.sweep_form.do_resume(studio.sweep_view.title)
    until(lambda: idle(studio))
    assert len(lab.started) == 4, "nothing is made twice"
    studio.close()


def test_a_page_opened_in_the_middle_takes_up_the_sweep_and_what_was_typed(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    lab = PretendSession(tmp_path, gate=gate)
    lab.jobs.progress = False
    first = page(lab, name="mine")
    first.sweep_form.do_sweep()
    until(lambda: first.sweep_view.followed is not None)
    first.close()
    again = Studio(backend_of(lab), panes=False)
    assert again.sweep_view.followed is first.sweep_view.followed
    assert not again.sweep_view.hidden
    assert ([dict(row) for row in again.sweep_form.rows], again.sweep_form.called) == (TWO, "mine")
    again.sweep_view.do_stop()
    gate.release(100)
    until(lambda: again.sweep_view.followed.over)
    again.close()
    lab.close()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "goes over something"),
        ([{"field": "shift", "values": " "}], "Write what shift goes over"),
        ([*TWO, {"field": "seed", "values": "9"}], "twice"),
        ([{"field": "seed", "values": "0..9999"}, {"field": "shift", "values": "1,2"}], "20,000 cells is too large"),
        ([{"field": "seed", "values": "1..1001"}], "at most 1,000 cells"),
        ([{"field": "colour", "values": "1"}], "colour"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_a_sentence_on_the_page(lab: PretendSession, rows: Any, says: str) -> None:
    studio = page(lab, rows)
    sent = told(studio.sweep_form)
    studio.sweep_form.do_sweep()
    assert says in sent[-1]["text"]
    assert not lab.started
    assert idle(studio)
    studio.close()


def test_ten_thousand_cells_are_said_to_be_so_many_and_a_refused_cell_why(lab: PretendSession) -> None:
    studio = page(lab, [{"field": "seconds", "values": "1.5,90.0"}, {"field": "seed", "values": "1..200"}])
    studio.sweep_form.do_foretell()
    until(lambda: studio.sweep_form.plan)
    words = studio.sweep_form.plan["words"]
    assert words[0].startswith("400 cells: 200 to make")
    assert studio.sweep_form.plan["refused"] == 200
    assert len(words) == 6
    assert "seconds=90" in words[1]
    studio.close()


def test_a_guest_is_offered_no_sweep_and_cannot_ask_for_one(lab: PretendSession) -> None:
    guest = page(lab, owner="ada")
    assert not guest.sweep_form.offered
    assert not guest.listening.tabs.sweep
    with pytest.raises(LabError, match="the host's"):
        guest.sweep_form.do_sweep()
    guest.close()


def test_two_takes_are_heard_without_their_names_until_the_vote_which_is_kept(lab: PretendSession) -> None:
    studio = page(lab)
    view = studio.sweep_view
    with pytest.raises(LabError, match="There is no sweep here"):
        view.do_blind("shift")
    studio.sweep_form.do_sweep()
    until(lambda: view.over and view.followed is not None and view.followed.over)
    view.do_blind("shift")
    made = set(view.followed.made.values())
    assert not any(id in str(view.ballot) for id in made)
    assert "=" not in view.ballot["said"]
    [one, other] = [sound["id"] for sound in view.ballot["sounds"]]
    view.do_bytes(one)
    view.do_bytes(other)
    view.do_vote("b", by="Ada")
    assert view.ballot["said"].count("shift=") == 2
    assert (view.votes, len(view.preferred)) == (1, 2)
    with pytest.raises(LabError, match="nothing to vote on"):
        view.do_vote("A")
    view.do_blind("shift")
    with pytest.raises(RecipeError, match="comparison is over"):
        view.do_bytes(one)
    [vote] = lab.sweep(view.title).votes
    assert (vote.by, vote.blind) == ("Ada", True)
    studio.close()


def test_the_table_and_the_report_come_as_files(lab: PretendSession) -> None:
    studio = page(lab)
    view = studio.sweep_view
    studio.sweep_form.do_sweep()
    until(lambda: view.over and view.followed is not None and view.followed.over)
    said = told(view)
    for form in ("csv", "html"):
        view.receive({"kind": "file", "form": form})
        until(lambda: not view.writing)
    sent = [one for one in said if one["kind"] == "file"]
    assert [one["name"].rpartition(".")[2] for one in sent] == ["csv", "html"]
    assert sent[1]["buffers"][0].count(b"<audio") == 4
    with pytest.raises(RecipeError, match="one of csv, html"):
        view.do_file("exe")
    studio.close()


def test_before_anything_is_written_axes_are_offered(lab: PretendSession) -> None:
    page = Studio(backend_of(lab))
    assert {"seed", "shift", "caption"} <= set(page.sweep_form.names)
    page.close()
