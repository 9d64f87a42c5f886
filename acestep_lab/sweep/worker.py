"""One resident Session in a Dask worker: opened before the worker registers, so that no song waits for imports.

::

    dask worker tcp://127.0.0.1:8786 --nthreads 1 --resources SONG=1 --preload acestep_lab.sweep.worker --checkpoint turbo

`--checkpoint` may be repeated; the first is the one in use. Without any it is what the environment says, else the pocket. Its library
is a folder of its own that goes with it: takes are kept by whoever asked for them.
"""

from __future__ import annotations

import logging
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.errors import LabError, MachineError, Stopped
from acestep_lab.prompt.recipe import Planning, Recipe
from acestep_lab.sweep.here import look_at, resolved
from acestep_lab.sweep.packing import pack, unpack
from acestep_lab.sweep.work import Watch, Work
from acestep_lab.versions import version_of

if TYPE_CHECKING:
    from acestep_lab.session import Session

RESOURCE = "SONG"
"""What a worker has one of: a card makes one song at a time."""
ASK_EVERY = 0.4
"""Seconds between two questions to the scheduler whether somebody asked to stop."""
_log = logging.getLogger(__name__)
_resident: list[tuple[Any, tempfile.TemporaryDirectory[str] | None]] = []


def reside(session: Any, folder: tempfile.TemporaryDirectory[str] | None = None) -> None:
    """Have this session be the one that works in this process."""
    _resident[:] = [(session, folder)]


def resident() -> Any:
    """The session of this process; MachineError where it was started without one."""
    if not _resident:
        raise MachineError("This worker has no session: start it with --preload acestep_lab.sweep.worker.")
    return _resident[0][0]


@click.command()
@click.option(
    "--checkpoint", "checkpoints", multiple=True, help="What it works with; may be repeated, the first is in use."
)
@click.option("--cold", is_flag=True, help="Leave the weights unread until the first song.")
@click.option("--of-another", is_flag=True, help="Leave Ctrl-C to the process that started this one, which ends it.")
def dask_setup(worker: Any, checkpoints: tuple[str, ...] = (), cold: bool = False, of_another: bool = False) -> None:
    """Open the session of a worker, before it says that it is there."""
    from acestep_lab.session import Session

    if of_another:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.monotonic()
    folder = tempfile.TemporaryDirectory(prefix="acestep-lab-worker-")
    lab = Session.open(checkpoints[0] if checkpoints else None, library=folder.name)
    for name in checkpoints[1:]:
        lab.use(name)
    if checkpoints[1:]:
        lab.use(checkpoints[0])
    reside(lab, folder)
    if not cold:
        _warm(lab)
    _log.info("A session with %s is open after %.0f s.", ", ".join(lab.checkpoints), time.monotonic() - began)


def dask_teardown(worker: Any) -> None:
    """Close the session of a worker that ends."""
    for session, folder in _resident:
        session.close()
        if folder is not None:
            folder.cleanup()
    _resident.clear()


def _warm(lab: Session) -> None:
    """Make a second of music, so that weights are read; a checkpoint that refuses warms up with its first song."""
    try:
        lab.start(Recipe("warming up", seconds=1.0, seed=1, planning=Planning(thinking=False))).wait()
    except LabError as problem:
        _log.warning("The session is not warm: %s", problem)


# -- what a client asks ------------------------------------------------------------------------------------------------


def facts() -> dict[str, Any]:
    """What works here: version, checkpoints, the one in use."""
    lab = resident()
    return {"version": version_of("acestep_lab"), "checkpoint": str(lab.name), "checkpoints": list(lab.checkpoints)}


def wear(adapters: Iterable[str]) -> None:
    """Look at adapters, as files of this machine; CheckpointError for one that is none."""
    look_at(resident(), adapters)


def resolve(packed: Iterable[Any]) -> list[Any]:
    """Each recipe as the engine here decides it, or the sentence it is refused with."""
    lab = resident()
    return [pack(resolved(lab, unpack(one))) for one in packed]


def do(work: Work, place: int, topic: str, halt: str, arguments: Mapping[str, Any]) -> tuple[str, Any, float]:
    """A piece of work, as a task of Dask: what became of it, what came of it, and the seconds it took."""
    from distributed import get_worker

    worker, lab, began = get_worker(), resident(), time.monotonic()

    def tell(said: dict[str, Any]) -> None:
        worker.log_event(topic, {"place": place, "by": worker.address, **said})

    tell({"begun": True})
    with _Stopped(halt) as stopped:
        try:
            value = work(lab, Watch(tell, stopped), **{name: unpack(one) for name, one in arguments.items()})
        except Stopped:
            return "stopped", None, time.monotonic() - began
        except LabError as problem:  # ours travels as its kind and its sentence; another's is Dask's to carry
            return "failed", problem, time.monotonic() - began
    return "done", pack(value), time.monotonic() - began


class _Stopped:
    """Whether the client asked to stop: a thread asks the scheduler, so that the work never waits for it."""

    def __init__(self, name: str) -> None:
        from distributed import Event, get_client

        self._event = Event(name, client=get_client())  # found from a task's own thread only
        self._set, self._over = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        return self._set.is_set()

    def __enter__(self) -> Callable[[], bool]:
        threading.Thread(target=self._ask, name="acestep_lab stop", daemon=True).start()
        return self

    def _ask(self) -> None:
        try:
            while not self._over.wait(ASK_EVERY):
                if self._event.is_set():
                    self._set.set()
                    return
        except (OSError, RuntimeError) as problem:  # the scheduler is gone: nobody can ask for anything any more
            _log.info("Nobody can be asked whether to stop: %s", problem)

    def __exit__(self, *_: object) -> None:
        self._over.set()
