"""How far a run is, for whoever waits: the line of a script, the card of a session, a run's own widget, an interrupt's words."""

from __future__ import annotations

import io
import signal
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from acestep_lab.engines.step import Step
from acestep_lab.errors import Stopped
from acestep_lab.jobs import progress
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.progress import Line, line_of
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.ui.run_display import run_widget
from acestep_lab.ui.run_view import RunViewWidget
from tests.pretend import PretendSession


class Screen(io.StringIO):
    """A terminal, or none."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def standing(**how: Any) -> Any:
    usual = {
        "title": "slow dub techno with deep bass and a soft pad", "doing": "step 3 of 8", "fraction": 0.375, "eta": 65.0,
        "over": False, "seconds_running": 41.0,
    }  # fmt: skip
    return SimpleNamespace(**(usual | how))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    opened = PretendSession(tmp_path, pause=0.2)
    yield opened
    opened.close()


def test_a_line_says_what_how_far_and_how_long() -> None:
    line = line_of(standing())
    assert line.startswith("slow dub techno with deep b… ")
    assert "step 3 of 8" in line
    assert line.endswith("0:41, 1:05 to go")
    assert len(line) <= progress.WIDTH
    assert line_of(standing(eta=None, doing="loading weights (text)")).endswith("loading weights (text) · 0:41")


def test_a_line_fits_a_narrow_terminal_also_where_its_letters_are_wide() -> None:
    for columns in (40, 60, 80, 100):
        for title in ("慢速的下行电子舞曲加上磁带的嘶声", "slow dub techno with deep bass and tape hiss", ""):
            line = progress.fitted(line_of(standing(title=title), columns), columns)
            assert sum(2 if unicodedata.east_asian_width(letter) == "W" else 1 for letter in line) == columns
            assert line.startswith(title[:3] or "a run")
            assert "step 3" in line or columns < 60


def test_a_run_that_writes_tokens_counts_them() -> None:
    run = RenderRun([Recipe("x", seconds=10)])
    run._state = "rendering"
    run.show(Step(119, 500, 0.76, None, None))
    assert run._at_work() == "token 121 of at most 500"


def test_a_terminal_s_line_is_rewritten_in_place_and_ended_once() -> None:
    now, screen = [0.0], Screen(True)
    line = Line(screen, clock=lambda: now[0])
    for done in (0.1, 0.2, 0.2, 0.3):
        line.show(standing(fraction=done))
        now[0] += 0.2
    line.close(standing(over=True, fraction=1.0, doing="done"))
    text = screen.getvalue()
    assert text.count("\n") == 1
    assert text.count("\r") == 4, "what says the same is not written again"
    assert "done" in text.splitlines()[-1]


def test_a_log_gets_at_most_a_line_every_ten_seconds() -> None:
    now, log = [0.0], Screen(False)
    line = Line(log, clock=lambda: now[0])
    for tick in range(250):
        now[0] = tick / 10
        line.show(standing(fraction=tick / 250))
    line.close(standing(over=True))
    assert len(log.getvalue().splitlines()) == 3
    assert "\r" not in log.getvalue()


def test_a_stream_that_is_closed_or_knows_ascii_alone_costs_nothing() -> None:
    closed = Screen(True)
    closed.close()
    Line(closed).show(standing())
    raw = io.BytesIO()
    plain = io.TextIOWrapper(raw, encoding="ascii")
    Line(plain).show(standing())
    plain.flush()
    assert b"step 3 of 8" in raw.getvalue()


@pytest.mark.parametrize(("said", "shows"), [("0", False), ("off", False), ("No", False), ("1", True), ("", True)])
def test_the_environment_is_the_switch_unless_a_session_says_otherwise(
    said: str, shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(progress.SWITCH, said)
    assert progress.wanted() is shows
    assert progress.wanted(True)
    assert not progress.wanted(False)


def test_whoever_waits_in_a_script_sees_a_line_and_a_switch_turns_it_off(
    lab: PretendSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.jobs.progress = True
    lab.make(Recipe("slow dub", seconds=2, steps=5))
    assert "slow dub" in capsys.readouterr().err
    lab.jobs.progress = False
    lab.make(Recipe("slow dub", seconds=2, steps=5))
    assert capsys.readouterr().err == ""


def test_nothing_is_shown_of_what_is_over_at_once_or_waited_for_elsewhere(
    lab: PretendSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.jobs.progress = True
    lab._pause = 0.0
    lab.make(Recipe("quick", seconds=2, steps=2))
    lab._pause = 0.2
    other = threading.Thread(target=lambda: lab.make(Recipe("aside", seconds=2, steps=4)))
    other.start()
    other.join()
    assert capsys.readouterr().err == ""


def test_ctrl_c_while_a_script_waits_says_what_can_be_kept(lab: PretendSession) -> None:
    threading.Timer(0.7, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt) as interrupt:
        lab.make(Recipe("long", seconds=2, steps=100))
    [note] = interrupt.value.__notes__
    assert note.startswith("Interrupted: this run stops as soon as it can. No take was made yet. Step ")
    assert len(note) < 300
    run = lab.jobs.interrupted
    assert run is not None
    assert run.wait(10)
    step = int(note.split("run.keep(")[1].split(")")[0])
    assert run.keep(step).recipe.caption == "long"


def test_a_run_stopped_from_elsewhere_says_so_too(lab: PretendSession) -> None:
    run = lab.start(Recipe("long", seconds=2, steps=100))
    threading.Timer(0.7, run.stop).start()
    for _ in range(2):
        with pytest.raises(Stopped) as stopped:
            run.take()
        [note] = stopped.value.__notes__
        assert "can still be kept as a take: run.keep(" in note
    assert lab.jobs.interrupted is run


def test_a_display_that_breaks_costs_nobody_the_take(
    lab: PretendSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def show(self, run: Any) -> None:
            raise ZeroDivisionError("a view")

        close = show

    lab.jobs.progress = True
    monkeypatch.setattr(progress, "in_notebook", Broken)
    assert lab.make(Recipe("slow dub", seconds=2, steps=4)).seconds == 2
    assert "could not be shown" in caplog.text


def test_ctrl_c_in_the_middle_of_several_names_the_takes_that_are_kept(lab: PretendSession) -> None:
    run = lab.start([Recipe("one", seconds=2, seed=1), Recipe("two", seconds=2, seed=2)])
    run.wait(20)
    kept = run.what_is_kept()
    assert all(take.id in kept for take in run.made.values())
    assert "(2 of 2)" in kept
    assert "can still be kept" not in kept


def test_a_run_s_own_widget_follows_it_and_stops_it(lab: PretendSession) -> None:
    run = lab.start(Recipe("slow dub", seconds=2, steps=100))
    view = RunViewWidget(run)
    assert (view.title, view.over) == ("slow dub", False)
    view.receive({"kind": "stop"})
    assert run.wait(10)
    assert (view.state, view.over) == ("stopped", True)


def test_a_step_can_be_heard_by_the_run_itself(lab: PretendSession) -> None:
    run = lab.start(Recipe("slow dub", seconds=2, steps=2))
    run.wait(10)
    assert run.hear(0, 0.5, 1.0).seconds == pytest.approx(0.5)


# -- the session's card --------------------------------------------------------------------------------------------------


def test_a_session_s_card_loads_nothing_and_says_where_all_lies(tmp_path: Path) -> None:
    from acestep_lab import Session
    from acestep_lab.ui.formatters import session_bundle

    with Session.open(library=tmp_path / "<b>takes") as session:
        bundle: Any = session_bundle(session)
        html = bundle["text/html"]
        assert bundle["text/plain"] == repr(session)
        assert session.engines.on_device() == ()
        for name in session.explain().names:
            assert f"<td>{name}</td>" in html
        assert html.count("not loaded") == len(session.explain().names)
        assert "<script" not in html
        assert "<b>takes" not in html
        assert "lab.make(" in html
        assert "Licence" in html
        assert len(html) < 20_000


# -- a run shown by its name ---------------------------------------------------------------------------------------------


def kinds(box: Any) -> list[str]:
    return [type(child).__name__ for child in box.children]


def settle(ready: Any) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_a_run_is_a_bar_and_its_steps_and_at_the_end_its_player(lab: PretendSession) -> None:
    run = lab.start(Recipe("slow dub", seconds=2, steps=3))
    box = run_widget(run)
    assert kinds(box) == ["RunViewWidget", "LatentPreviewWidget"]
    run.wait(20)
    settle(lambda: kinds(box) == ["RunViewWidget", "PlayerWidget"])
    assert kinds(run_widget(run)) == ["RunViewWidget", "PlayerWidget"]


def test_several_takes_stand_side_by_side_in_the_same_output(lab: PretendSession) -> None:
    run = lab.start([Recipe("slow dub", seconds=2, steps=2, seed=seed) for seed in (1, 2)])
    box = run_widget(run)
    run.wait(20)
    settle(lambda: kinds(box) == ["RunViewWidget", "GalleryWidget"])


def test_the_steps_of_a_stopped_run_stay_and_one_can_be_kept_and_heard(lab: PretendSession) -> None:
    run = lab.start(Recipe("slow dub", seconds=2, steps=100))
    box = run_widget(run)
    settle(lambda: len(run.steps) > 1)
    box.children[0].receive({"kind": "stop"})
    assert run.wait(20)
    preview = box.children[1]
    preview.receive({"kind": "keep", "step": 0})
    settle(lambda: kinds(box) == ["RunViewWidget", "LatentPreviewWidget", "PlayerWidget"])
    preview.receive({"kind": "play_step", "step": 1, "start": 0.0, "end": 1.0})
    settle(lambda: preview.track)
