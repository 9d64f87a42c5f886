"""Who is next: the work of several people in a fair order. Knows no threads, no runs and no models.

Start-time fair queueing (Goyal, Vin and Cheng 1996): every lane has a clock, the seconds of music it has been served so far,
and the lane that has been served least is next; one that comes late starts where the others are, not from zero. Lanes nest:
addresses share alike, and the people of one address share what it gets. Within a lane, first come is first served.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Lane = tuple[str, ...]
"""Where somebody waits: an address, then a person; the outermost first."""

LEAST_SECONDS = 1.0
"""What every piece of work costs at least, in seconds of music."""

MOST_ADDRESS = 60
"""Characters of an address that are looked at."""


@dataclass(frozen=True, eq=False)
class Ticket(Generic[T]):
    """A piece of work that waits: in which lane, for how many seconds of music, and as which one it came."""

    job: T
    lane: Lane
    seconds: float
    number: int


class FairQueue(Generic[T]):
    """Jobs in lanes; `pop` gives the next one, `order` says beforehand which that will be, and the ones after it."""

    def __init__(self) -> None:
        self._waiting: list[Ticket[T]] = []
        self._serving: Ticket[T] | None = None
        self._served: dict[Lane, float] = {}
        self._now: dict[Lane, float] = {}
        self._count = 0
        self._known: list[T] | None = None

    @property
    def waiting(self) -> list[T]:
        """Jobs that wait, as they came."""
        return [ticket.job for ticket in self._waiting]

    def join(self, job: T, lane: Lane, seconds: float) -> None:
        """Let a job wait in a lane; whoever has one in use already stays in it, from wherever they come now."""
        lane = next((ticket.lane for ticket in self._tickets() if ticket.lane[-1:] == lane[-1:]), lane)
        busy = {part for ticket in self._tickets() for part in _parts(ticket.lane)}
        for part in _parts(lane):
            if part not in busy:
                self._served[part] = max(self._served.get(part, 0.0), self._now.get(part[:-1], 0.0))
        self._count += 1
        self._waiting.append(Ticket(job, lane, max(LEAST_SECONDS, seconds), self._count))
        self._known = None

    def pop(self) -> T | None:
        """The next job, which is served from now on until it leaves; None where nothing waits."""
        if not self._waiting:
            return None
        ticket = _next(self._waiting, self._served)
        self._waiting.remove(ticket)
        for part in _parts(ticket.lane):
            self._now[part[:-1]] = self._served[part]
        _charge(ticket, self._served)
        self._serving, self._known = ticket, None
        return ticket.job

    def leave(self, job: T, share: float = 1.0) -> None:
        """A job is over, or does not want to wait any longer; of one that was served, only a share is paid.

        The least is paid in any case: who could stop, or fail, for nothing would be next for as long as they go on.
        """
        ticket = next((one for one in self._tickets() if one.job is job), None)
        if ticket is None:
            return
        if ticket is self._serving:
            least = LEAST_SECONDS / ticket.seconds
            _charge(ticket, self._served, min(1.0, max(least, share)) - 1.0)
            self._serving = None
        else:
            self._waiting.remove(ticket)
        self._known = None
        self._forget()

    def order(self) -> list[T]:
        """All jobs as they will be served if nobody comes or goes, the one being served first."""
        if self._known is None:
            served, left = dict(self._served), list(self._waiting)
            found = [] if self._serving is None else [self._serving.job]
            while left:
                ticket = _next(left, served)
                left.remove(ticket)
                _charge(ticket, served)
                found.append(ticket.job)
            self._known = found
        return list(self._known)

    def _tickets(self) -> Iterator[Ticket[T]]:
        yield from self._waiting
        if self._serving is not None:
            yield self._serving

    def _forget(self) -> None:
        """Let go of lanes that wait for nothing and owe nothing; of all of them where nobody waits."""
        busy = {part for ticket in self._tickets() for part in _parts(ticket.lane)}
        if not busy:
            self._served.clear()
            self._now.clear()
        for part in [one for one in self._served if one not in busy]:
            if self._served[part] <= self._now.get(part[:-1], 0.0):
                del self._served[part]
        open_lanes = {part[:-1] for part in self._served}
        self._now = {part: now for part, now in self._now.items() if part in open_lanes}


def _parts(lane: Lane) -> list[Lane]:
    """A lane and those around it, the outermost first."""
    return [lane[: depth + 1] for depth in range(len(lane))]


def _charge(ticket: Ticket[T], served: dict[Lane, float], share: float = 1.0) -> None:
    for part in _parts(ticket.lane):
        served[part] = served.get(part, 0.0) + share * ticket.seconds


def _next(waiting: Sequence[Ticket[T]], served: dict[Lane, float]) -> Ticket[T]:
    """The ticket to serve, of tickets as they came: the outer lane served least, in it the inner one, there the first."""
    left = list(waiting)
    for depth in range(1, 1 + max(len(ticket.lane) for ticket in left)):
        first: dict[Lane, Ticket[T]] = {}
        for ticket in left:
            first.setdefault(ticket.lane[:depth], ticket)
        best = min(first, key=lambda lane: (served.get(lane, 0.0), first[lane].number))
        left = [ticket for ticket in left if ticket.lane[:depth] == best]
    return left[0]


def network(address: str) -> str:
    """What one visitor can be told apart by: an IPv4 address, or the /64 network that a household has of IPv6.

    An IPv4 address written as IPv6 is that address; what is no address at all stands for itself.
    """
    text = str(address).strip()[:MOST_ADDRESS]
    try:
        found = ipaddress.ip_address(text.split("%")[0])
    except ValueError:
        return text
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped
        if inner is None and not found.is_loopback:
            return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
        return str(inner or found)
    return str(found)
