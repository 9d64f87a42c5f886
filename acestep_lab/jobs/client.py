"""On whose behalf runs begin: a person and where they come from. Knows runs only by their `stop`."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from acestep_lab.jobs.fair_queue import Lane, network


class Stoppable(Protocol):
    """What can be asked to stop."""

    def stop(self) -> None:
        """End soon."""


class Client:
    """On whose behalf runs begin: a person's name and the address they come from; without a name it is the host.

    ::

        client = Client("ada", "192.0.2.7")
        with client.acting():
            lab.plan(recipe)      # in another thread: client.stop() ends this, and nothing of anybody else
    """

    counted = True
    """Whether its runs come through a page or another server: they count against what one person may have waiting, and the
    last ones are remembered when they are over. A notebook's own are neither, since it holds what it wants to keep.
    """

    def __init__(self, owner: str = "", address: str = "") -> None:
        self.owner = owner
        self.address = network(address) if owner else ""
        """What a quota counts besides the name; nothing for the host."""
        self._runs: list[weakref.ref[Stoppable]] = []
        self._stopped = False

    def __repr__(self) -> str:
        return f"<Client {self.owner or 'host'}{f' at {self.address}' if self.address else ''}>"

    @property
    def lane(self) -> Lane:
        """Where its runs wait: people of one address share what the address gets."""
        return (f"at {self.address}" if self.address else f"as {self.owner}", self.owner)

    @contextmanager
    def acting(self, title: str = "") -> Iterator[None]:
        """Runs that begin inside, in this thread, are this client's, and have this title."""
        token = _acting.set((self, title))
        try:
            yield
        finally:
            _acting.reset(token)

    def stop(self) -> None:
        """Ask everything begun on its behalf to stop, also what is about to begin."""
        self._stopped = True
        for known in tuple(self._runs):
            if (run := known()) is not None:
                run.stop()

    def begun(self, run: Stoppable) -> None:
        """A run begins on its behalf."""
        self._runs = [known for known in self._runs if known() is not None]
        self._runs.append(weakref.ref(run))
        if self._stopped:
            run.stop()


class Host(Client):
    """Whoever runs the process itself: a notebook, a script."""

    counted = False


@contextmanager
def at_priority(priority: int) -> Iterator[None]:
    """Runs that begin inside, in this thread, and name no priority have this one (see `JobQueue.submit`)."""
    token = _priority.set(priority)
    try:
        yield
    finally:
        _priority.reset(token)


def usual_priority() -> int:
    """The priority of a run that names none: 0, or that of the `at_priority` around it."""
    return _priority.get()


_priority: ContextVar[int] = ContextVar("acestep_lab priority", default=0)
_acting: ContextVar[tuple[Client, str] | None] = ContextVar("acestep_lab client", default=None)


def acting() -> tuple[Client, str]:
    """On whose behalf this thread works now, and what a run that begins is to be called."""
    return _acting.get() or (Host(), "")
