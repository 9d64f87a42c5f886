"""Who is next: the work of several people in a fair order. Knows no threads, no runs and no models.

Start-time fair queueing (Goyal, Vin and Cheng 1996): every lane has a clock, the seconds of music it has been served so far,
and the lane that has been served least is next; one that comes late starts where the others are, not from zero. Lanes nest:
addresses share alike, and the people of one address share what it gets. Within a lane, first come is first served, unless
its owner says otherwise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")
Lane = tuple[str, ...]
"""Where somebody waits: an address, then a person; the outermost first."""

LEAST_SECONDS = 1.0
"""What every piece of work costs at least, in seconds of music."""

MOST_ADDRESS = 60
"""Characters of an address that are looked at."""


@dataclass(eq=False)
class Ticket(Generic[T]):
    """A piece of work that waits: in which lane, for how many seconds of music, and as which one it came."""

    job: T
    lane: Lane
    seconds: float
    number: int
    priority: int = 0
    held: bool = False
    long: bool = False
    """Whether it gives way between two pieces of itself."""
    begun: bool = False
    """Whether it was served in part already."""

    @property
    def rank(self) -> tuple[int, bool]:
        """What is served first: who is not modest, and of two alike, what was begun."""
        return min(self.priority, 0), self.begun


class FairQueue(Generic[T]):
    """Jobs in lanes; `pop` gives the next one, `order` says beforehand which that will be, and the ones after it.

    A priority above 0 goes before what else waits in its own lane, and takes nothing from anybody; one below 0 lets
    everybody else go first. Jobs that are held back are passed over, and own no place. A long job is put back between two
    pieces of it, once something waits that goes before it.
    """

    def __init__(self) -> None:
        self._waiting: list[Ticket[T]] = []
        self._serving: Ticket[T] | None = None
        self._served: dict[Lane, float] = {}
        self._now: dict[Lane, float] = {}
        self._count = 0
        self._known: list[T] | None = None

    @property
    def waiting(self) -> list[T]:
        """Jobs that wait, as they came, or were moved since."""
        return [ticket.job for ticket in self._waiting]

    def join(self, job: T, lane: Lane, seconds: float, priority: int = 0, long: bool = False) -> None:
        """Let a job wait in a lane; whoever has one in use already stays in it, from wherever they come now."""
        lane = next((ticket.lane for ticket in self._tickets() if ticket.lane[-1:] == lane[-1:]), lane)
        self._catch_up(lane)
        self._count += 1
        self._waiting.append(Ticket(job, lane, max(LEAST_SECONDS, seconds), self._count, priority, long=long))
        self._known = None

    def _catch_up(self, lane: Lane) -> None:
        """Somebody comes, or comes back: they start where the others are, not from zero, nor from where they let others go."""
        claiming = {p for one in self._tickets() if not one.held and one.priority >= 0 for p in _parts(one.lane)}
        for part in _parts(lane):
            if part not in claiming:
                self._served[part] = max(self._served.get(part, 0.0), self._now.get(part[:-1], 0.0))

    def pop(self) -> T | None:
        """The next job, which is served from now on until it leaves; None where nothing waits that is not held back."""
        ticket = next(_in_turn([one for one in self._waiting if not one.held], dict(self._served)), None)
        return None if ticket is None else self._serve(ticket)

    def pop_this(self, job: T) -> T | None:
        """A job that waits, out of its turn; None where it does not wait."""
        ticket = self._ticket(job)
        return None if ticket is None else self._serve(ticket)

    def _serve(self, ticket: Ticket[T]) -> T:
        self._waiting.remove(ticket)
        for part in _parts(ticket.lane):
            self._now[part[:-1]] = max(self._now.get(part[:-1], 0.0), self._served.get(part, 0.0))
        _charge(ticket, self._served)
        self._serving, self._known = ticket, None
        return ticket.job

    def must_give_way(self, job: T) -> bool:
        """Whether a long job that is served is held back, or something waits that goes before it."""
        own = self._serving
        if own is None or own.job is not job or not own.long:
            return False
        return own.held or any(one.rank[0] > own.rank[0] for one in self._waiting if not one.held)

    def put_back(self, job: T, share: float) -> None:
        """A long job that is served waits again, with this share of what was left of it done, and paid."""
        own = self._serving
        if own is None or own.job is not job:
            return
        left = 1.0 - min(1.0, max(0.0, share))
        _charge(own, self._served, -left)
        own.seconds, own.begun = max(LEAST_SECONDS, own.seconds * left), True
        self._serving, self._known = None, None
        self._waiting.append(own)

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
        """All jobs as they will be done if nobody comes or goes, the one being served first, those held back last.

        A long one that is served comes after those that it will give way to.
        """
        if self._known is None:
            served, left = dict(self._served), [one for one in self._waiting if not one.held]
            own = self._serving
            if own is not None and self.must_give_way(own.job):
                left, own = [*left, replace(own, begun=True)], None
            found = [] if own is None else [own.job]
            found += [ticket.job for ticket in _in_turn(left, served)]
            self._known = found + [one.job for one in self._waiting if one.held]
        return list(self._known)

    # -- what waits, changed

    def is_held(self, job: T) -> bool:
        """Whether a job is held back."""
        return any(one.held for one in self._tickets() if one.job is job)

    def hold(self, job: T, held: bool = True) -> bool:
        """Hold back a job that waits, or let it go; a long one that is served, from its next piece on. False for any other."""
        own = self._serving
        ticket = own if own is not None and own.job is job and own.long else self._ticket(job)
        if ticket is not None and ticket.held != held:
            if not held:
                self._catch_up(ticket.lane)
            ticket.held, self._known = held, None
        return ticket is not None

    def prioritise(self, job: T, priority: int) -> bool:
        """Give a job that waits another priority; False where it does not wait."""
        ticket = self._ticket(job)
        if ticket is not None:
            self._set_priority(ticket, priority)
        return ticket is not None

    def _set_priority(self, ticket: Ticket[T], priority: int) -> None:
        if ticket.priority < 0 <= priority:
            self._catch_up(ticket.lane)
        ticket.priority, self._known = priority, None

    def move(self, job: T, place: int) -> bool:
        """Put a job at this place among those of its own lane that wait, 0 being the first; False where it does not wait.

        The lane keeps the turns it has: only what it does with them changes. The job takes the priority of its new neighbour.
        """
        ticket = self._ticket(job)
        if ticket is None:
            return False
        slots = [at for at, one in enumerate(self._waiting) if one.lane == ticket.lane]
        numbers = [self._waiting[at].number for at in slots]
        others = _by_priority([self._waiting[at] for at in slots if self._waiting[at] is not ticket])
        place = max(0, min(place, len(others)))
        if others:
            self._set_priority(ticket, others[min(place, len(others) - 1)].priority)
        others.insert(place, ticket)
        for at, number, one in zip(slots, numbers, others, strict=True):
            self._waiting[at], one.number = one, number
        self._known = None
        return True

    def _ticket(self, job: T) -> Ticket[T] | None:
        return next((one for one in self._waiting if one.job is job), None)

    def _tickets(self) -> Iterator[Ticket[T]]:
        yield from self._waiting
        if self._serving is not None:
            yield self._serving

    def _busy(self) -> set[Lane]:
        """Lanes with something that is served, or waits for its turn."""
        return {part for ticket in self._tickets() if not ticket.held for part in _parts(ticket.lane)}

    def _forget(self) -> None:
        """Let go of lanes that wait for nothing and owe nothing; of all of them where nobody waits."""
        busy = self._busy()
        if not busy:
            self._served.clear()
            self._now.clear()
        for part in [one for one in self._served if one not in busy]:
            if self._served[part] <= self._now.get(part[:-1], 0.0):
                del self._served[part]
        open_lanes = {part[:-1] for part in self._served}
        self._now = {part: now for part, now in self._now.items() if part in open_lanes}


def _by_priority(tickets: Sequence[Ticket[T]]) -> list[Ticket[T]]:
    """Tickets of one lane as they will be served."""
    return sorted(tickets, key=lambda ticket: -ticket.priority)


def _parts(lane: Lane) -> list[Lane]:
    """A lane and those around it, the outermost first."""
    return [lane[: depth + 1] for depth in range(len(lane))]


def _charge(ticket: Ticket[T], served: dict[Lane, float], share: float = 1.0) -> None:
    for part in _parts(ticket.lane):
        served[part] = served.get(part, 0.0) + share * ticket.seconds


def _in_turn(waiting: Sequence[Ticket[T]], served: dict[Lane, float]) -> Iterator[Ticket[T]]:
    """Tickets as they will be served; each is charged to `served` once the one after it is asked for.

    Where anything waits whose priority is not below 0, what is below 0 waits on; what was begun goes before what was not.
    Each lane is sorted once, so that thousands that wait cost no more than a moment.
    """
    for rank in sorted({ticket.rank for ticket in waiting}, reverse=True):
        lanes: dict[Lane, dict[int, Ticket[T]]] = {}
        for ticket in waiting:
            if ticket.rank == rank:
                lanes.setdefault(ticket.lane, {})[ticket.number] = ticket
        lines = {lane: iter(_by_priority(list(there.values()))) for lane, there in lanes.items()}
        while lanes:
            lane = _next_lane({lane: next(iter(there)) for lane, there in lanes.items()}, served)
            yield (ticket := next(lines[lane]))
            _charge(ticket, served)
            del lanes[lane][ticket.number]
            if not lanes[lane]:
                del lanes[lane]


def _next_lane(first: Mapping[Lane, int], served: Mapping[Lane, float]) -> Lane:
    """Which lane is next, of these with the number of who came first in each: the outer one served least, in it the inner."""
    left = dict(first)
    for depth in range(1, 1 + max(map(len, left))):
        outer: dict[Lane, int] = {}
        for lane, number in left.items():
            outer[lane[:depth]] = min(number, outer.get(lane[:depth], number))
        best = min(outer, key=lambda lane: (served.get(lane, 0.0), outer[lane]))
        left = {lane: number for lane, number in left.items() if lane[:depth] == best}
    return next(iter(left))


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
