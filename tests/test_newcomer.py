"""What somebody meets who opens a session elsewhere for the first time: wrong keys, machines that go away, settings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acestep_lab import Cover, Recipe, Text2Music
from acestep_lab.errors import MachineError
from acestep_lab.remote.session import RemoteSession
from acestep_lab.ui.controllers.composing import _EXAMPLES, defaults
from tests.pretend import PretendSession
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
