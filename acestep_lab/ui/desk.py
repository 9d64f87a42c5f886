"""The Desk: what all open pages of one Session share; runs and their owners, takes and where they lie.

Knows no browser. Pages come and go; a run, and the take it ends in, outlive them. A take is kept in the library the
moment it exists; where the disk refuses, it stays in memory and the sentence says so.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from acestep_lab.errors import LabError, LibraryError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.run import Event
from acestep_lab.takes.take import Take
from acestep_lab.ui.gallery import card_of
from acestep_lab.ui.spec import sentence

MOST_REMEMBERED = 512 * 2**20
"""Bytes of takes held in memory besides those on disk."""
MOST_FINISHED = 12
"""Finished runs remembered with their steps, so that one may still hear and keep them."""
MOST_WAITING = 12
"""Runs one person may have under way and waiting."""
_OWNERS = "owners.json"
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """A run, whose it is, and what became of it."""

    run: Any
    owner: str
    title: str
    problem: str = ""
    stopping: bool = False
    settled: bool = False
    takes: tuple[str, ...] = ()
    began: float = field(default_factory=time.time)

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.run.id)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.run.state in ("done", "stopped", "failed")

    def row(self, asking: str) -> dict[str, Any]:
        """What a page is told of it."""
        mine = asking == self.owner
        eta = self.run.eta
        return {
            "id": self.id, "title": self.title if mine else "Somebody else's run", "state": self.run.state,
            "fraction": float(self.run.fraction), "eta": None if eta is None else round(float(eta), 1),
            "position": int(self.run.position), "mine": mine, "problem": self.problem if mine else "",
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
        self._lock = threading.RLock()
        self._owners = self._read_owners()

    def start(self, recipe: Recipe | Sequence[Recipe], plan: Any = None, owner: str = "", title: str = "") -> Job:
        """Begin a render for somebody; returns at once."""
        with self._lock:
            if len([job for job in self._jobs if job.owner == owner and not job.over]) >= MOST_WAITING:
                raise LabError(f"{MOST_WAITING} runs are waiting already; stop one, or let one finish first.")
            run = self.session.start(recipe, plan) if plan is not None else self.session.start(recipe)
            first = recipe if isinstance(recipe, Recipe) else recipe[0]
            return self.follow(run, owner, title or first.caption or first.lyrics or type(first.task).__name__)

    def follow(self, run: Any, owner: str = "", title: str = "") -> Job:
        """Put a run that was started elsewhere on the desk."""
        job = Job(run, owner, " ".join(title.split())[:90])
        with self._lock:
            done = [j for j in self._jobs if j.over][: MOST_FINISHED - 1]
            self._jobs = [job, *[j for j in self._jobs if not j.over], *done]
        run.subscribe(lambda event: self._heard(job, event))
        self._tell(job, None)
        if job.over:  # it was quicker than we
            self._settle(job)
        return job

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

    def keep(self, take: Take, owner: str = "") -> str:
        """Write a take to the library and return ""; or the sentence that says why the disk refused (it stays in memory)."""
        with self._lock:
            self._remember(take)
            self._owners[take.id] = owner
        try:
            self.session.library.keep(take)
            self._unsaved.pop(take.id, None)
            self._write_owners()
            return ""
        except (LabError, OSError) as problem:
            self._unsaved[take.id] = take
            return f"{sentence(problem)} The take stays in memory while this session runs; press Save again once there is room."

    def keep_unsaved(self) -> str:
        """Try once more to write the takes the disk refused."""
        return next(
            (said for take in list(self._unsaved.values()) if (said := self.keep(take, self.owner_of(take.id)))), ""
        )

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Ids of the takes that are only in memory."""
        return tuple(self._unsaved)

    def owner_of(self, id: str) -> str:
        """Whose take it is; "" for takes that were there before."""
        return self._owners.get(id, "")

    def take(self, id: str, owner: str | None = None) -> Take:
        """A take by its id, from memory or disk; with an owner, only if it is theirs."""
        if owner is not None:
            self._own(id, owner)
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
        lost = [id for id in reversed(self._unsaved) if self.owner_of(id) == owner]
        return lost + [
            id
            for id in self._reading(self.session.library.ids)
            if self.owner_of(id) == owner and id not in self._unsaved
        ]

    def cards(self, owner: str = "", query: str = "", most: int = 60) -> list[dict[str, Any]]:
        """Cards of somebody's takes, newest first; no sound is read for those on disk."""
        lost = (
            []
            if query
            else [card_of(take) for id, take in reversed(self._unsaved.items()) if self.owner_of(id) == owner]
        )
        found = self._reading(lambda: self.session.library.cards(query))
        mine = [card for card in found if self.owner_of(card.id) == owner and card.id not in self._unsaved]
        return lost + [_plain(card) for card in mine[:most]]

    def mark(self, id: str, owner: str, **marks: Any) -> None:
        """Star, reject or write a note on somebody's own take."""
        self._own(id, owner)
        if id not in self._unsaved:
            self._reading(lambda: self.session.library.mark(id, **marks))

    def bin(self, ids: list[str], owner: str) -> list[str]:
        """Put somebody's own takes into the bin, from where they come back for a day."""
        for id in ids:
            self._own(id, owner)
        return list(self._reading(lambda: self.session.library.bin(*[id for id in ids if id not in self._unsaved])))

    def binned(self, owner: str) -> list[str]:
        """Ids of somebody's takes in the bin."""
        return [id for id in self._reading(self.session.library.trash) if self.owner_of(id) == owner]

    def restore(self, owner: str) -> list[str]:
        """Bring back what somebody binned."""
        return list(self._reading(lambda: self.session.library.restore(*self.binned(owner))))

    def _own(self, id: str, owner: str) -> None:
        if self.owner_of(id) != owner:
            raise LibraryError("That take belongs to somebody else.")

    def _reading(self, work: Callable[[], Any]) -> Any:
        """Ask the library; a folder that has vanished becomes a sentence."""
        try:
            return work()
        except OSError as problem:
            raise LibraryError(
                f"The library folder cannot be used ({(problem.strerror or str(problem)).lower()}). Takes of this session are still in memory."
            ) from None

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
        if getattr(event, "kind", "") == "state" and job.over:
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
        if job.run.state == "done":
            takes = job.run.takes()
            said = [self.keep(take, job.owner) for take in takes]
            job.takes = tuple(take.id for take in takes)
            job.problem = next((text for text in said if text), "")
        elif job.run.state == "failed":
            job.problem = sentence(job.run.error) if job.run.error is not None else "The run failed."

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

    def _read_owners(self) -> dict[str, str]:
        path = self.session.library.folder / _OWNERS if hasattr(self.session.library, "folder") else None
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
        except (OSError, ValueError):
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    def _write_owners(self) -> None:
        named = {id: owner for id, owner in self._owners.items() if owner}
        if not named or not hasattr(self.session.library, "folder"):
            return
        with self._lock:
            handle, draft = tempfile.mkstemp(dir=self.session.library.folder, prefix=".draft-", suffix=".json")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(named, file)
            os.replace(draft, self.session.library.folder / _OWNERS)


def _plain(card: Any) -> dict[str, Any]:
    """A library's card as plain data for the gallery."""
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
        "parents": list(card.parents), "star": card.star, "reject": card.reject, "note": card.note, "scores": dict(card.scores),
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
