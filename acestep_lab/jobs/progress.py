"""Whoever waits for a run sees how far it is: one line on stderr, or what a notebook puts in its place.

Knows runs by how they say they stand; no page and no IPython (`ui/formatters.py` tells `in_notebook`). It is shown from the
thread that waits, so that nothing is drawn while nobody waits, and nothing from a thread of which the shell knows nothing::

    lab.jobs.progress = False         # this session says nothing; True: also where the environment says no
    ACESTEP_LAB_PROGRESS=0            # no session does

A terminal's line is rewritten in place; elsewhere (a log, a pipe) a line is written at most every ten seconds.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from acestep_lab.jobs.eta import Clock
from acestep_lab.settings import VARIABLES

_log = logging.getLogger(__name__)
SWITCH = "ACESTEP_LAB_PROGRESS"
PATIENCE = 0.4
"""Seconds a run may take before anything is shown of it."""
EVERY = 0.2
"""Seconds between two looks at a run that is waited for."""
RARELY = 10.0
"""Seconds between two lines of a stream that is no terminal."""
WIDTH, BAR = 100, 20
"""Columns of a line at most, and of its bar."""


class Waited(Protocol):
    """What is asked of a run that is shown."""

    @property
    def title(self) -> str: ...
    @property
    def doing(self) -> str: ...
    @property
    def fraction(self) -> float: ...
    @property
    def eta(self) -> float | None: ...
    @property
    def over(self) -> bool: ...
    @property
    def seconds_running(self) -> float: ...


class Display(Protocol):
    """Something a waiting thread can see a run in."""

    def show(self, run: Any) -> None:
        """Show how it stands now; called several times a second."""

    def close(self, run: Any) -> None:
        """It is over, or nobody waits for it any more."""


in_notebook: Callable[[], Display | None] = lambda: None  # noqa: E731 - a place to put a function, not a function
"""Makes what a notebook shows a run in; None where this is no notebook. Set by `put_in_notebook`."""


def put_in_notebook(make: Callable[[], Display | None]) -> None:
    """From now on a notebook shows a run by this."""
    global in_notebook
    in_notebook = make


def wanted(choice: bool | None = None) -> bool:
    """Whether progress is to be shown: as a session says, else as the environment does, else yes."""
    return VARIABLES.get(SWITCH, "1").strip().lower() not in ("0", "off", "no", "false") if choice is None else choice


def display_for(choice: bool | None = None) -> Display | None:
    """What to show a run in that this thread waits for; None where nothing is to be shown, as on any thread but the main one."""
    if not wanted(choice) or threading.current_thread() is not threading.main_thread():
        return None
    return in_notebook() or (Line(sys.stderr) if sys.stderr is not None else None)


_showing = False  # a run that is waited for inside another one is part of that one's line


@contextmanager
def shown(run: Any, choice: bool | None) -> Iterator[Callable[[], None] | None]:
    """What to call every `EVERY` seconds while this thread waits for a run; None where nothing is shown."""
    global _showing
    display = None if _showing else display_for(choice)
    if display is None:
        yield None
        return
    began, _showing = time.monotonic(), True
    try:
        yield lambda: _tried(display.show, run) if time.monotonic() - began >= PATIENCE else None
    finally:
        _showing = False
        _tried(display.close, run)


def _tried(show: Callable[[Any], None], run: Any) -> None:
    """Show a run; a display that is broken must not cost a musician the take."""
    try:
        show(run)
    except Exception:  # noqa: BLE001 - see above: whatever is wrong in what is shown, the music goes on
        _log.exception("A run could not be shown.")


class Line:
    """One line on a stream, rewritten in place where that is a terminal, and rarely written anew where it is none."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        self.stream, self._clock = stream, clock
        self.in_place = _is_terminal(stream)
        self._last: float | None = None
        self._text = ""

    def show(self, run: Waited) -> None:
        """Write how it stands, where that is due."""
        now = self._clock()
        if self._last is not None and not self.in_place and now - self._last < RARELY:
            return
        columns = _columns() if self.in_place else WIDTH
        text = line_of(run, columns)
        if text != self._text:
            self._last, self._text = now, text
            self._write(f"\r{fitted(text, columns)}" if self.in_place else f"{text}\n")

    def close(self, run: Waited) -> None:
        """Leave the line as it stands at the end."""
        if self._last is not None and self.in_place:
            self.show(run)
            self._write("\n")

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except UnicodeEncodeError:
            self.stream.write(text.encode("ascii", "replace").decode())
        except (OSError, ValueError):  # a stream that somebody closed costs nobody the music
            self.in_place, self._last = False, float("inf")


def line_of(run: Waited, columns: int = WIDTH) -> str:
    """A run in a line: what it is, a bar, what it does, how long it has taken and will take."""
    room, width = max(8, min(28, columns - BAR - 44)), BAR if columns > 70 else BAR // 2
    title = fitted(run.title, room).rstrip() or "a run"
    title = title if title == run.title or not run.title else f"{fitted(run.title, room - 1).rstrip()}…"
    done = round(width * run.fraction)
    bar = "█" * done + "░" * (width - done)
    times = f"{clock_of(run.seconds_running)}"
    if not run.over and (eta := run.eta) is not None:
        times += f", {clock_of(eta)} to go"
    return f"{title} {bar} {100 * run.fraction:3.0f} % · {run.doing} · {times}"


def fitted(text: str, columns: int) -> str:
    """Text that fills so many columns of a terminal and no more; a Chinese, Japanese or Korean letter takes two of them."""
    kept, free = "", columns
    for letter in text:
        free -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if free < 0:
            break
        kept += letter
    return kept + " " * max(0, free)


def _columns() -> int:
    """One less than the terminal has: a line that fills it would be wrapped, and could not be rewritten."""
    return min(WIDTH, max(20, shutil.get_terminal_size((WIDTH, 24)).columns - 1))


def clock_of(seconds: float) -> str:
    """Seconds as minutes and seconds, as musicians read them."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False
