"""The routes of whoever watches tasks: `/v1/events`, which tells and shows as it happens, and `/v1/latent`, a single picture.

Thin: what there is to tell is found out in `rest_events`, once for all who listen.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import time
from dataclasses import dataclass

from tornado.iostream import StreamClosedError

from acestep_lab.errors import shown
from acestep_lab.serve import rest_verbs
from acestep_lab.serve.api_handler import ApiHandler, Refused
from acestep_lab.serve.rest_events import OFTEN, SMALL, NoPicture, StepPicture

MOST_LISTENERS = 200
"""Clients of one person that may listen to events at once."""
HEARTBEAT = 15.0
"""Seconds of silence after which a listener is told that the connection still stands."""
PICTURE_EVERY = 0.25
"""Seconds between two pictures of one task that are sent to one listener."""


class Events(ApiHandler):
    """Server-sent events of the asker's tasks (all, or `?task_id=`): a `task` whenever one of them has changed, with
    `?latents=1` a `latent` with a picture of the newest step, and an `end` after the last of a single task.

    `Last-Event-ID` says where to go on: only what changed since is told.
    """

    async def get(self) -> None:
        only = self.get_query_argument("task_id", "")
        if only and self.door.tasks.find(only, self.owner) is None:
            raise Refused(404, "There is no such task of yours.")
        listeners = self.door.listeners
        if sum(isinstance(one, Events) and one.owner == self.owner for one in listeners) >= MOST_LISTENERS:
            raise Refused(503, f"{MOST_LISTENERS} clients of yours listen already; ask /query_result instead.")
        sees = rest_verbs.is_on(self.get_query_argument("latents", ""))
        heard = self.request.headers.get("Last-Event-ID", "") or self.get_query_argument("last_event_id", "")
        number, ended = self.door.feed.number_of(heard)
        if only and ended:
            self.set_status(204)  # which tells a browser not to ask again
            return
        news = _News(asyncio.get_running_loop())
        stop = self.door.feed.listen(self.owner, news.wake)
        listeners.add(self)
        try:
            await self._tell(only, number, news, sees)
        except StreamClosedError:  # whoever listened has gone
            pass
        finally:
            listeners.discard(self)
            stop()

    async def _tell(self, only: str, number: int, news: _News, sees: bool) -> None:
        """Tell until the task is over, or whoever listens has gone; `sees` is whether pictures are asked for."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        self.write("retry: 1000\n\n")
        await self.flush()
        seen: dict[str, _Seen] = {}
        last, quiet = "{}", 0.0
        while True:
            told = self.door.feed.since(number, self.owner, only)
            for one in told:
                number, last, quiet = one.number, one.text, 0.0
                self.write(f"id: {self.door.feed.id_of(number)}\nevent: task\ndata: {one.text}\n\n")
            if sees and await self._show(only, seen):
                quiet = 0.0
            if quiet >= HEARTBEAT:
                self.write(": still here\n\n")
                quiet = 0.0
            await self.flush()
            if only and self._is_over(only) and not self.door.feed.since(number, self.owner, only, anew=True):
                self.write(f"id: {self.door.feed.id_of(number, last=True)}\nevent: end\ndata: {last}\n\n")
                return
            quiet += await news.wait(min(0.5, HEARTBEAT))

    def _is_over(self, id: str) -> bool:
        task = self.door.tasks.find(id, self.owner)
        return task is None or task.over

    async def _show(self, only: str, seen: dict[str, _Seen]) -> bool:
        """Write pictures of what is rendered now, of each task a few a second; whether there were any."""
        wrote = False
        for task in self.door.tasks.tasks(self.owner):
            if task.over or (only and task.id != only):
                continue
            at, now = task.reached, time.monotonic()
            before = seen.get(task.id, _Seen())
            if not at["step"] or (at["song"], at["step"]) == before.place or now - before.when < PICTURE_EVERY:
                continue
            seen[task.id] = _Seen((at["song"], at["step"]), now)
            with contextlib.suppress(NoPicture):  # it has ended meanwhile, or cannot be seen
                picture = await self.work(self.door.pictures.draw, task, None, None, SMALL)
                self.write(_event_of(picture, task.id, at["steps"]))
                wrote = True
        return wrote


def _event_of(picture: StepPicture, task_id: str, steps: int) -> str:
    """The event that shows a step."""
    png = base64.b64encode(picture.png).decode()
    told = {"task_id": task_id, "step": picture.step, "steps": steps, "song": picture.song, "png": png}
    return f"event: latent\ndata: {json.dumps(told)}\n\n"


@dataclass(frozen=True)
class _Seen:
    """Which step of a task a listener was shown last, and when."""

    place: tuple[int, int] = (0, 0)
    when: float = -math.inf


class _News:
    """What wakes one listener, from whatever thread; what comes together wakes it once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._changed, self._woken = loop, asyncio.Event(), False

    def wake(self) -> None:
        """Something may have changed."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self, seconds: float) -> float:
        """Wait for a change, at most so long; gives how long at most. What comes together is told together."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return seconds
        await asyncio.sleep(OFTEN)
        self._changed.clear()
        self._woken = False
        return 0.0


class Latent(ApiHandler):
    """A picture of a step of a task that is being rendered: `task_id`, and perhaps `step` (from 1) and `song` (from 0)."""

    async def get(self) -> None:
        task = self.door.tasks.find(self.get_query_argument("task_id", ""), self.owner)
        if task is None:
            raise Refused(404, "There is no such task of yours.")
        step, song = self._whole("step"), self._whole("song")
        picture = await self.work(self.door.pictures.draw, task, step, song)
        self.set_header("Content-Type", "image/png")
        self.finish(picture.png)

    def _whole(self, name: str) -> int | None:
        value = self.get_query_argument(name, "")
        if value and not (value.isascii() and value.isdigit() and len(value) < 10):
            raise Refused(400, f"{name} is a whole number, not {shown(value)}.")
        return int(value) if value else None
