"""The Desk: what all open pages of one Session share; runs and their owners, takes and where they lie.

Knows no browser. Pages come and go; a run, and the take it ends in, outlive them. A take is kept in the library the
moment it exists; where the disk refuses, it stays in memory and the sentence says so.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from acestep_lab.errors import LabError, LibraryError, shown
from acestep_lab.jobs.run import Client, Event
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Retake, Task
from acestep_lab.takes.take import Take
from acestep_lab.ui.component import sentence
from acestep_lab.ui.gallery import card_of
from acestep_lab.ui.owners import Owners

MOST_REMEMBERED = 512 * 2**20
"""Bytes of takes held in memory besides those on disk."""
MOST_FINISHED = 12
"""Finished runs remembered with their steps, so that one may still hear and keep them."""
MOST_SEARCHED = 100_000
"""Takes looked through for one that started from a recording."""
MOST_WAITING = 12
"""Runs one person, or one address, may have under way and waiting; those that ask the planner count."""
MOST_ASIDE = 8
"""Small things, such as hearing a step, that are done at once for one person, or one address; they go before all runs."""
T = TypeVar("T")
NOT_YOURS = "That take belongs to somebody else."
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """A run, whose it is, and what became of it."""

    run: Any
    client: Client
    title: str
    problem: str = ""
    stopping: bool = False
    settled: bool = False
    places: dict[int, str] = field(default_factory=dict)
    """Ids of the takes so far, by the place of their recipe."""
    began: float = field(default_factory=time.time)

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.run.id)

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self.client.owner

    @property
    def takes(self) -> tuple[str, ...]:
        """Ids of the takes so far, in the order of the recipes."""
        return tuple(self.places[place] for place in sorted(self.places))

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.run.state in ("done", "stopped", "failed")

    def row(self, asking: str, place: tuple[int, float | None] | None = None) -> dict[str, Any]:
        """What a page is told of it; `place` is its position and its seconds to go, where these are known already."""
        mine = asking == self.owner
        position, eta = place or (self.run.position, self.run.eta)
        return {
            "id": self.id, "title": self.title if mine else "Somebody else's run", "state": self.run.state,
            "fraction": float(self.run.fraction), "eta": None if eta is None else round(float(eta), 1),
            "position": int(position), "mine": mine, "problem": self.problem if mine else "",
            "notes": list(getattr(self.run, "notes", ())) if mine else [], "stopping": self.stopping,
            "took": f"{self.run.seconds_running:.1f} s" if self.over and hasattr(self.run, "seconds_running") else "",
        }  # fmt: skip


class Desk:
    """Starts runs for people, remembers them, and keeps what they make."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self._jobs: list[Job] = []
        self._shelf: OrderedDict[str, Take] = OrderedDict()
        self._unsaved: dict[str, Take] = {}
        self._listeners: list[Callable[[Job, Any], None]] = []
        self._asking: list[Client] = []
        self._attended: list[Client] = []
        self._lock = threading.RLock()
        self.owners = Owners(getattr(session.library, "folder", None))

    def start(
        self,
        recipe: Recipe | Sequence[Recipe],
        plan: Any = None,
        owner: str = "",
        title: str = "",
        address: str = "",
    ) -> Job:
        """Begin a render for somebody, who comes from an address; returns at once."""
        client = Client(owner, address)
        if owner:
            for one in (recipe,) if isinstance(recipe, Recipe) else recipe:
                self._check_sources(one.task, owner)
        with self._lock:
            self._admit(client)
            with client.acting():
                run = self.session.start(recipe, plan) if plan is not None else self.session.start(recipe)
            first = recipe if isinstance(recipe, Recipe) else recipe[0]
            return self._put(run, client, title or first.caption or first.lyrics or type(first.task).__name__)

    def _check_sources(self, task: Task, owner: str) -> None:
        """LabError where a task starts from what is somebody else's: an id in a recipe may come out of any file."""
        for source in task.sources().values():
            if isinstance(source, str | os.PathLike):
                source = self._source(os.fspath(source), owner)
            if isinstance(task, Retake) and isinstance(source, Take):  # it is made once more, from its own sources
                self._check_sources(source.recipe.task, owner)

    def _source(self, name: str, owner: str) -> Take | None:
        """The take of an id that somebody may start from; None for a recording that one of their takes started from."""
        if name.startswith("take-"):
            return self.take(name, owner)
        if not any(name in card["parents"] for card in self.cards(owner, most=MOST_SEARCHED)):
            raise LibraryError(f"{shown(name)} is no recording of yours; bring its file once more.")
        return None

    def ask(self, client: Client, work: Callable[[], T]) -> T:
        """Ask the planner for somebody, and wait for what it says; `client.stop()` ends it, and nothing of anybody else."""
        with self._lock:
            self._admit(client)
            self._asking.append(client)
        self._tell(None, None)
        try:
            with client.acting():
                return work()
        finally:
            with self._lock:
                self._asking.remove(client)
            self._tell(None, None)

    def _admit(self, client: Client) -> None:
        """LabError where a person, or everybody at their address together, has enough to wait for; the lock is held."""
        if _count([*(job.client for job in self._jobs if not job.over), *self._asking], client) >= MOST_WAITING:
            raise LabError(f"{MOST_WAITING} runs are waiting already; stop one, or let one finish first.")

    def attend(self, client: Client) -> Callable[[], None]:
        """Let something small be done for somebody besides their runs; returns what to call after it. LabError if it is much."""
        with self._lock:
            if _count(self._attended, client) >= MOST_ASIDE:
                raise LabError(f"{MOST_ASIDE} things are being done for you already; wait for one of them.")
            self._attended.append(client)
        return partial(self._attended_to, client)

    def _attended_to(self, client: Client) -> None:
        with self._lock:
            self._attended.remove(client)

    def follow(self, run: Any, owner: str = "", title: str = "") -> Job:
        """Put a run that was started elsewhere on the desk."""
        return self._put(run, Client(owner), title)

    def _put(self, run: Any, client: Client, title: str) -> Job:
        job = Job(run, client, " ".join(title.split())[:90])
        with self._lock:
            done = [j for j in self._jobs if j.over][: MOST_FINISHED - 1]
            self._jobs = [job, *[j for j in self._jobs if not j.over], *done]
        run.subscribe(lambda event: self._heard(job, event))
        self._tell(job, None)
        if job.over:  # it was quicker than we
            self._settle(job)
        return job

    def rows(self, asking: str, most_over: int) -> list[dict[str, Any]]:
        """What a page is told: runs under way and waiting as they will be done, then somebody's own last ones."""
        places, wait = {}, 0.0
        known = True
        for position, run in enumerate(self.session.runs):
            remaining = run.remaining
            known = known and remaining is not None
            wait += remaining or 0.0
            places[run.id] = (position, wait if known else None)
        jobs = self.jobs()
        live = [job for job in reversed(jobs) if not job.over]
        live.sort(key=lambda job: places.get(job.id, (0, None))[0])
        over = [job for job in jobs if job.over and job.owner == asking][:most_over]
        return [job.row(asking, places.get(job.id)) for job in (*live, *over)]

    def jobs(self, owner: str | None = None) -> list[Job]:
        """Runs, newest first; only somebody's, if asked."""
        with self._lock:
            return [job for job in self._jobs if owner is None or job.owner == owner]

    def job(self, id: str) -> Job | None:
        """A run by its id."""
        return next((job for job in self.jobs() if job.id == id), None)

    def stop(self, id: str, owner: str = "") -> None:
        """Ask somebody's own run to stop; a run of someone else, or one that is over, is left alone."""
        job = self.job(id)
        if job is not None and job.owner == owner and not job.over:
            job.stopping = True
            job.run.stop()
            self._tell(job, None)

    def dismiss(self, id: str, owner: str = "") -> None:
        """Take a finished run off the list."""
        with self._lock:
            self._jobs = [j for j in self._jobs if not (j.id == id and j.owner == owner and j.over)]
        self._tell(None, None)

    def subscribe(self, listener: Callable[[Job | None, Any], None]) -> Callable[[], None]:
        """Call `listener(job, event)` whenever something happens, from whatever thread; returns the way to unsubscribe."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self._forget(listener)

    # -- takes ----------------------------------------------------------------------------------------------------------

    def keep(self, take: Take, owner: str = "", made: bool = True) -> str:
        """Write a take to the library and return ""; or the sentence that says why the disk refused (it stays in memory).

        A take that is known already stays whose it is. Somebody who `made` the very same sees it as well; somebody who
        brought it as a file has it in hand, and that is all.
        """
        with self._lock:
            before = self._whose(take, made)
            if before is not None and before != owner and not made:
                return "This take is in the library already, and somebody else's there; you have it in hand."
            self.owners.claim(take.id, before, owner)
            if made or before is None:  # a file may hold less than what is known under its id
                self._remember(take)
            elif take.id in self._unsaved:
                return ""
        try:
            self.session.library.keep(take)
            self.owners.write()
            self._unsaved.pop(take.id, None)
            return ""
        except (LabError, OSError) as problem:
            self._unsaved.setdefault(take.id, take)
            return f"{sentence(problem)} The take stays in memory while this session runs; press Save again once there is room."

    def _whose(self, take: Take, made: bool) -> str | None:
        """Whose a take is already; None for one that nobody has. What a run has made the session may have kept a moment ago,
        and only one kept at another time was there before.
        """
        known = self.owners.of(take.id)
        if known is not None or take.id not in self.session.library:
            return known
        return None if made and self._created(take.id) in (take.created, None) else ""

    def _created(self, id: str) -> str | None:
        """When a kept take was made; None where the library cannot say."""
        try:
            return str(self._reading(lambda: self.session.library.card(id)).created)
        except LibraryError:
            return None

    def keep_unsaved(self) -> str:
        """Try once more to write the takes the disk refused."""
        return next(
            (said for take in list(self._unsaved.values()) if (said := self.keep(take, self.owner_of(take.id)))), ""
        )

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Ids of the takes that are only in memory."""
        return tuple(self._unsaved)

    def unsaved_of(self, owner: str) -> list[str]:
        """Ids of somebody's takes that are only in memory."""
        return [id for id in self._unsaved if self._sees(id, owner)]

    def owner_of(self, id: str) -> str:
        """Whose take it is; "" for takes that were there before."""
        return self.owners.of(id) or ""

    def _sees(self, id: str, owner: str) -> bool:
        """Whether somebody owns a take, or made the very same one."""
        return owner in self.owners.holders(id)

    def take(self, id: str, owner: str | None = None) -> Take:
        """A take by its id, from memory or disk; with an owner, only if it is theirs or they made the same."""
        if owner is not None and not self._sees(id, owner):
            raise LibraryError(NOT_YOURS)
        with self._lock:
            if id in self._shelf:
                self._shelf.move_to_end(id)
                return self._shelf[id]
        take = self._unsaved.get(id) or self.session.library.open(id)
        with self._lock:
            self._remember(take)
        return take

    def ids(self, owner: str = "") -> list[str]:
        """Ids of somebody's takes, newest first: those in memory only, then the library's."""
        lost = [id for id in reversed(self._unsaved) if self._sees(id, owner)]
        return lost + [
            id for id in self._reading(self.session.library.ids) if self._sees(id, owner) and id not in self._unsaved
        ]

    def cards(self, owner: str = "", query: str = "", most: int = 60) -> list[dict[str, Any]]:
        """Cards of somebody's takes, newest first; no sound is read for those on disk."""
        lost = [] if query else [card_of(take) for id, take in reversed(self._unsaved.items()) if self._sees(id, owner)]
        found = self._reading(lambda: self.session.library.cards(query))
        mine = [card for card in found if self._sees(card.id, owner) and card.id not in self._unsaved]
        return lost + [_plain(card, self.owner_of(card.id) == owner) for card in mine[:most]]

    def mark(self, id: str, owner: str, **marks: Any) -> None:
        """Star, reject or write a note on somebody's own take."""
        self._own(id, owner)
        if id not in self._unsaved:
            self._reading(lambda: self.session.library.mark(id, **marks))

    def bin(self, ids: list[str], owner: str) -> list[str]:
        """Put somebody's takes into the bin, from where they come back for a day; what others made as well lives on for them."""
        for id in ids:
            if not self._sees(id, owner):
                raise LibraryError(NOT_YOURS)
        shared = [id for id in ids if len(self.owners.holders(id)) > 1]
        for id in shared:
            self.owners.leave(id, owner)
        self.owners.write()
        gone = [id for id in ids if id not in shared and id not in self._unsaved]
        return list(self._reading(lambda: self.session.library.bin(*gone)))

    def binned(self, owner: str) -> list[str]:
        """Ids of what somebody binned."""
        gone = [id for id in self._reading(self.session.library.trash) if self._sees(id, owner)]
        return gone + [id for id in self.owners.left(owner) if id in self.session.library]

    def restore(self, owner: str) -> list[str]:
        """Bring back what somebody binned."""
        ids = self.binned(owner)
        for id in ids:
            self.owners.claim(id, self.owners.of(id), owner)
        self.owners.write()
        back = self._reading(lambda: self.session.library.restore(*ids))
        return [id for id in ids if id in back or id in self.session.library]

    def _own(self, id: str, owner: str) -> None:
        if self.owner_of(id) != owner:
            raise LibraryError(NOT_YOURS)

    def _reading(self, work: Callable[[], Any]) -> Any:
        """Ask the library; a folder that has vanished becomes a sentence."""
        try:
            return work()
        except OSError as problem:
            raise LibraryError(
                f"The library folder cannot be used ({(problem.strerror or str(problem)).lower()}). Takes of this session are still in memory."
            ) from None

    def admit(self, take: Take) -> Take:
        """A take that was brought in, under an id of its own where the one it claims is another sound's here."""
        known = self._unsaved.get(take.id) or self._shelf.get(take.id)
        if known is not None and take.manifest is not None and not take.has_sound_of(known):
            return take.descended()
        admitted: Take = self.session.library.admit(take)
        return admitted

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _remember(self, take: Take) -> None:
        """Hold a take in memory, and let go of those not asked for lately once there are too many bytes."""
        self._shelf[take.id] = take
        self._shelf.move_to_end(take.id)
        held = sum(one.audio.samples.nbytes for one in self._shelf.values())
        while held > MOST_REMEMBERED and len(self._shelf) > 1:
            _, old = self._shelf.popitem(last=False)
            held -= old.audio.samples.nbytes

    def _heard(self, job: Job, event: Any) -> None:
        kind = getattr(event, "kind", "")
        if kind == "take":
            self._receive(job, *event.value)
        if kind == "state" and job.over:
            self._settle(job)
        else:
            self._tell(job, event)

    def _settle(self, job: Job) -> None:
        """See to the end of a run, once."""
        with self._lock:
            if job.settled:
                return
            job.settled = True
        self._ended(job)
        self._tell(job, Event("state", job.run.state))

    def _ended(self, job: Job) -> None:
        """Keep what was made, however the run ended."""
        made: Mapping[int, Take] = job.run.made
        for place, take in made.items():
            self._receive(job, place, take)
        if job.run.state == "failed":
            job.problem = sentence(job.run.error) if job.run.error is not None else "The run failed."

    def _receive(self, job: Job, place: int, take: Take) -> None:
        """A take exists: keep it for whoever asked, once."""
        with self._lock:
            if place in job.places:
                return
            job.places[place] = take.id
        job.problem = job.problem or self.keep(take, job.owner)

    def _tell(self, job: Job | None, event: Any) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            try:
                listener(job, event)
            except Exception:  # noqa: BLE001 - a broken page must not silence the others, nor cost a take
                _log.exception("A page failed to show what happened.")

    def _forget(self, listener: Callable[[Job | None, Any], None]) -> None:
        with self._lock:
            self._listeners = [one for one in self._listeners if one is not listener]


def _count(clients: Sequence[Client], client: Client) -> int:
    """How many of these are for the same person, or for anybody at their address, whichever are more."""
    mine = sum(one.owner == client.owner for one in clients)
    return max(mine, sum(one.address == client.address for one in clients) if client.address else 0)


def _plain(card: Any, mine: bool = True) -> dict[str, Any]:
    """A library's card as plain data for the gallery; what its owner said of it is for the owner."""
    title = " ".join(card.caption.split()) or card.id
    facts = [] if card.task == "Text2Music" else [card.task.lower()]
    facts += [
        text
        for text in (
            f"seed {card.seed}" if card.seed is not None else "",
            f"{card.bpm} bpm" if card.bpm else "",
            card.keyscale or "",
        )
        if text
    ]
    return {
        "id": card.id, "title": title[:90], "facts": facts, "seconds": float(card.seconds), "created": card.created, "task": card.task,
        "parents": list(card.parents), "star": mine and card.star, "reject": mine and card.reject,
        "note": card.note if mine else "", "scores": dict(card.scores) if mine else {},
        "recipe": dict(card.recipe),
    }  # fmt: skip


_ONE = threading.Lock()


def desk_of(session: Any) -> Desk:
    """The one Desk of a session; it lives as long as the session does."""
    with _ONE:
        desk = vars(session).get("_desk")
        if desk is None:
            desk = vars(session)["_desk"] = Desk(session)
        return desk
