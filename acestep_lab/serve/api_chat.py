"""The chat door: `/v1/chat/completions` as OpenAI's clients and ACE-Step's own use it, over the tasks of the REST door.

Thin: `api_chat_body` reads what is sent, `api_chat_request` says what it asks for, `api_chat_answer` writes what came of
it. A chat is a task like any other: of the same queue, with its takes in the same library. Whoever hangs up ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from pathlib import Path
from typing import Any

from tornado.iostream import StreamClosedError

from acestep_lab.errors import LabError, sentence
from acestep_lab.serve.api_body import NewFile, Reader
from acestep_lab.serve.api_chat_answer import DONE, Answer, Sounds, content_of, status_of
from acestep_lab.serve.api_chat_body import LongStrings, decode_sound
from acestep_lab.serve.api_chat_request import ChatRequest, CodedSound, read_chat
from acestep_lab.serve.api_handler import ApiHandler, Door, Refused, from_near
from acestep_lab.serve.rest_fields import read_request
from acestep_lab.serve.rest_tasks import DONE as MADE
from acestep_lab.serve.rest_tasks import RestTask

HEARTBEAT = 2.0
"""Seconds of waiting after which a stream says that it still waits."""
LONGEST_RETRY = 60
"""Seconds after which a refused client asks again, at most."""
_OWN_HEADER = re.compile(r"x-stainless-[a-z-]{1,40}")
_KINDS = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
}  # fmt: skip
"""What OpenAI calls an error of a status, where it has a name of its own."""


class OpenAiHandler(ApiHandler):
    """A route of OpenAI's API, whose clients look for the sentence of an error within `error`."""

    def set_default_headers(self) -> None:
        """OpenAI's client for browsers says in headers of its own what it runs on."""
        super().set_default_headers()
        asked = self.request.headers.get("Access-Control-Request-Headers", "").lower().split(",")
        own = [name for name in map(str.strip, asked) if _OWN_HEADER.fullmatch(name)]
        if own and from_near(self.request.headers.get("Origin", "")):
            self.set_header("Access-Control-Allow-Headers", ", ".join(["Content-Type", "Authorization", *own]))

    def error_of(self, status: int, text: str) -> Any:
        kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
        return {"message": text, "type": kind, "param": None, "code": None}


class ChatCompletions(OpenAiHandler):
    """Ask for music in a message, and wait for it."""

    takes_files = True

    def initialize(self, door: Door) -> None:
        super().initialize(door)
        self._task: RestTask | None = None
        self._gone = False

    def new_reader(self, new_file: NewFile | None) -> Reader:
        """Whoever shows a key in the header may send whole songs; others what a key in the body can come with."""
        knows_who = self.door.keys.owner(self.request.headers.get("Authorization", "")) is not None
        return LongStrings(new_file) if knows_who and new_file is not None else super().new_reader(new_file)

    async def post(self) -> None:
        self.read_body()
        chat, task = await self.work(self._begin)
        self._task = task
        if self._gone:
            await self._stop(task)
            return
        answer, over = Answer(chat.model, int(time.time())), self._end_of(task)
        with contextlib.suppress(StreamClosedError):  # who asked has gone, which stops the task
            if chat.streams:
                await self._stream(chat, answer, task, over)
            else:
                await self._complete(answer, task, over)

    # -- the task

    def _begin(self) -> tuple[ChatRequest, RestTask]:
        """The task of a message; its sounds are files by now, and go when it ends."""
        uploads: dict[str, Path] = {}
        try:
            self._must_be_open()
            chat = read_chat(self.body.fields, self.request.headers.get("User-Agent", ""), tuple(self.body.files))
            for name, sound in chat.sounds.items():
                uploads[name] = self._upload(sound)
            tasks = self.door.tasks
            request = read_request(
                chat.fields, uploads, place=tasks.place(self.owner), models=self.door.session.checkpoints
            )
            return chat, tasks.begin(request, self.owner, str(self.request.remote_ip))
        except BaseException:
            for path in uploads.values():
                path.unlink(missing_ok=True)
            raise
        finally:
            self.body.forget()

    def _must_be_open(self) -> None:
        try:
            self.door.session.jobs.must_be_open()
        except LabError as problem:
            raise Refused(503, str(problem)) from None

    def _upload(self, sound: CodedSound) -> Path:
        """The file of a sound that came as text."""
        path = self.door.tasks.places.new_upload(self.owner, f"sound.{sound.ending}")
        long = self.body.files.get(sound.data)
        try:
            decode_sound(sound.data if long is None else long.path, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _end_of(self, task: RestTask) -> asyncio.Event:
        """What is set once a task is over."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(over.set)

        self.door.tasks.when_over(task, wake)
        return over

    async def _stop(self, task: RestTask) -> None:
        await self.work(self.door.tasks.cancel, task.id, self.owner)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._gone = True
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # the door is closing, and stops it anyway
                self.door.threads.submit(self.door.tasks.cancel, self._task.id, self.owner)

    # -- answers

    async def _complete(self, answer: Answer, task: RestTask, over: asyncio.Event) -> None:
        """One answer, once there is one."""
        if not await _within(over, self.door.patience):
            await self._stop(task)
            raise Refused(504, self._too_long)
        if self._gone:
            return
        if task.state != MADE:
            raise Refused(status_of(task.problem), task.error)
        sounds = Sounds(task.files)
        text = answer.completion(task, sounds)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Content-Length", str(sounds.size(text)))
        await self._send(sounds, text)
        self.finish()

    async def _stream(self, chat: ChatRequest, answer: Answer, task: RestTask, over: asyncio.Event) -> None:
        """Events while it is made, and then what was made; what goes wrong from here on is an event as well."""
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        await self._say(answer.chunk({"role": "assistant", "content": ""}))
        try:
            beats = await self._wait_aloud(answer, over)
            await self._tell(answer, task, beats)
        except (LabError, OSError) as problem:
            if isinstance(problem, StreamClosedError):
                raise
            await self._stop(task)
            await self._say(answer.failure(sentence(problem)))
        if chat.tells_usage:
            await self._say(answer.usage())
        await self._say(DONE)
        self.finish()

    async def _wait_aloud(self, answer: Answer, over: asyncio.Event) -> int:
        """Wait for the end of the task, with a sign of life now and then; gives how many. Refused where it takes too long."""
        end, beats = time.monotonic() + self.door.patience, 0
        while not await _within(over, min(HEARTBEAT, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                raise Refused(504, self._too_long)
            await self._say(answer.chunk({"content": "."}))
            beats += 1
        return beats

    async def _tell(self, answer: Answer, task: RestTask, beats: int) -> None:
        if task.state != MADE:
            await self._say(answer.failure(task.error))
            return
        sounds = Sounds(task.files)
        await self._say(answer.chunk({"content": ("\n\n" if beats else "") + content_of(task.items)}))
        await self._send(sounds, answer.result(task, sounds))
        await self._say(answer.chunk({}, "stop"))

    async def _send(self, sounds: Sounds, text: str) -> None:
        """A text with its sounds, as fast as whoever fetches it takes them.

        Where a file goes meanwhile the connection ends: in the middle of JSON nothing can be said any more.
        """
        try:
            for piece in sounds.pieces(text):
                self.write(piece)
                await self.flush()
                await asyncio.sleep(0)  # others have their turn, however fast this one is fetched
        except FileNotFoundError as problem:
            self.detach().close()
            raise StreamClosedError(problem) from None

    async def _say(self, event: str) -> None:
        self.write(event)
        await self.flush()

    @property
    def _too_long(self) -> str:
        return f"The music was not ready within {self.door.patience:g} s, and was stopped; ask for a shorter song."

    def _refuse(self, status: int, text: str, code: str = LabError.code) -> None:
        """OpenAI's clients ask again by themselves: in good time where the queue is full, never for a song that failed."""
        if status == 429:
            usual = self.door.tasks.stats()["avg_job_seconds"]
            self.set_header("Retry-After", str(min(LONGEST_RETRY, max(1, math.ceil(usual)))))
        elif status >= 500 and self._task is not None:
            self.set_header("X-Should-Retry", "false")
        super()._refuse(status, text, code)


async def _within(over: asyncio.Event, seconds: float) -> bool:
    """Whether something happens within so many seconds."""
    try:
        await asyncio.wait_for(over.wait(), seconds)
    except TimeoutError:
        return False
    return True
