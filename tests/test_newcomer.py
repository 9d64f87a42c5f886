"""What somebody meets who opens a session elsewhere for the first time: wrong keys, machines that go away, settings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acestep_lab import Cover, Recipe, Text2Music
from acestep_lab.cli import main
from acestep_lab.doctor import examine, server
from acestep_lab.errors import MachineError
from acestep_lab.remote.session import RemoteSession
from acestep_lab.ui.controllers.composing import _EXAMPLES, defaults
from acestep_lab.ui.controllers.listening import about
from tests.test_remote import HOST, Box, Proxy, soon

SONG = Recipe("dub", seconds=2.0, seed=3)


@pytest.fixture
def gate() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def box(tmp_path: Path, gate: threading.Semaphore) -> Iterator[Box]:
    opened = Box(tmp_path, keys=(HOST,), gate=gate)
    yield opened
    gate.release(100)
    opened.close()


@pytest.fixture
def proxy(box: Box) -> Iterator[Proxy]:
    opened = Proxy(box.door.port)
    yield opened
    opened.close()


def take_away(proxy: Proxy) -> None:
    """The machine is gone, with every line to it."""
    proxy.is_down = True
    proxy.cut()


@pytest.mark.parametrize(("key", "said"), [("not-the-key", "does not know this key"), ("", "none was given")])
def test_a_wrong_key_is_said_with_where_a_right_one_goes(box: Box, key: str, said: str) -> None:
    with pytest.raises(MachineError, match=f"{said}.*ACESTEP_API_KEY"):
        RemoteSession.connect(box.door.address, key, box.folder / "mine")


def test_a_page_asks_no_machine_that_is_away_for_long(box: Box, proxy: Proxy) -> None:
    far = box.far(HOST, url=proxy.url)
    known = far.defaults(Text2Music())
    take_away(proxy)
    assert far.defaults(Text2Music()) == known, "it was told before"
    began = time.monotonic()
    with pytest.raises(MachineError, match="does not answer"):
        far.defaults(Cover("a take"))
    assert time.monotonic() - began < 6, "one blink, not the patience of a run"
    began = time.monotonic()
    for example in _EXAMPLES:
        assert defaults(far, type(example).__name__, far.name) in ({}, defaults(far, "Text2Music")), "the page stands"
    assert time.monotonic() - began < 1, "it is left alone for a moment"
    with pytest.raises(MachineError, match="does not answer"):
        far.start(SONG)
    assert time.monotonic() - began < 6, "a start returns at once, or says why not"


def test_a_run_says_that_its_line_dropped_and_that_it_is_there_again(
    box: Box, proxy: Proxy, gate: threading.Semaphore
) -> None:
    far = box.far(HOST, url=proxy.url)
    run = far.start(SONG)
    gate.release(2)
    soon(lambda: len(run.steps) == 2)
    take_away(proxy)
    soon(lambda: "does not answer for now" in " ".join(run.messages))
    assert run.doing == "waiting for the other machine"
    assert run.remaining is None, "nobody knows"
    proxy.is_down = False
    soon(lambda: "answers again" in " ".join(run.messages))
    assert run.doing != "waiting for the other machine"
    gate.release(20)
    assert run.take().seconds == pytest.approx(2.0)


@pytest.fixture
def from_here(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Semaphore) -> Box:
    """A command line whose settings name the box, where one take is."""
    monkeypatch.setenv("ACESTEP_LAB_SERVER", box.door.address)
    monkeypatch.setenv("ACESTEP_API_KEY", HOST)
    monkeypatch.setenv("ACESTEP_LAB_TAKES", str(tmp_path / "this machine's own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gate.release(20)
    box.far(HOST).make(SONG)
    return box


def test_the_command_line_shows_marks_bins_and_exports_the_takes_of_the_machine_it_is_set_to(
    from_here: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (id,) = from_here.lab.library.ids()
    assert main(["takes"]) == 0
    assert id in capsys.readouterr().out
    assert main(["mark", id, "--star"]) == 0
    assert from_here.lab.library.card(id).star
    assert main(["export", id, str(tmp_path / "song.wav")]) == 0
    assert (tmp_path / "song.wav").stat().st_size > 10_000
    assert main(["bin", id]) == 0
    assert from_here.lab.library.ids() == []
    assert main(["restore", id]) == 0
    assert from_here.lab.library.ids() == [id]
    capsys.readouterr()
    assert main(["takes", "--takes", str(tmp_path / "a folder of mine")]) == 0
    assert id not in capsys.readouterr().out, "a folder that is named is that folder"


def test_doctor_says_whether_the_machine_it_is_set_to_answers(from_here: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = examine(checks=[server])
    assert found.state == "ok"
    assert "answers and takes the key" in str(found)
    monkeypatch.setenv("ACESTEP_API_KEY", "not-the-key")
    (found,) = examine(checks=[server])
    assert found.state == "bad"
    assert "does not know this key" in str(found)
    monkeypatch.delenv("ACESTEP_LAB_SERVER")
    assert examine(checks=[server]) == []


def test_the_page_says_on_which_machine_it_computes_where_that_is_another(box: Box) -> None:
    assert about(box.far(HOST), "pretend")[-1] == f"127.0.0.1:{box.door.port}"
    assert len(about(box.lab, "pretend")) == 2
