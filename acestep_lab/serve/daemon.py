"""The JSON-RPC daemon: editors ask for tracks by the line, over a session's own queue (`acestep-lab daemon`).

Each connection has three threads: one reads, so that a client's end is seen at once; one answers, in order; one writes, so
that a client that reads slowly holds up nobody. Renders are runs of the session like any other.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from acestep_lab.errors import LabError, RecipeError, sentence, shown
from acestep_lab.jobs.client import Host
from acestep_lab.serve import jsonrpc
from acestep_lab.serve.backends import Backends
from acestep_lab.serve.jsonrpc import INVALID_PARAMS, NO_METHOD, Reply, RpcError
from acestep_lab.serve.track_cache import TrackCache, key_of
from acestep_lab.serve.track_jobs import Finisher, TrackJob, told
from acestep_lab.serve.track_request import TrackRequest, known, name_of, refusal, text, whole
from acestep_lab.session_like import SessionLike
from acestep_lab.versions import version_of

MOST_TRACKS = 10
"""Tracks that may be under way or wait, of all clients together."""
MOST_HELD, A_LINE = 4 * 2**20, 128
"""Bytes of lines that wait to be answered, and to be written; and what a line takes beside its own."""
PLAYBACK = (
    "play", "pause", "resume", "stop", "skip", "playlist_add", "playlist_remove", "playlist_clear", "playlist_get",
    "volume_get", "volume_set", "crossfade_set", "audio_devices", "audio_device_set",
)  # fmt: skip
"""What other daemons do about playing; here the client plays the file."""


class Daemon:
    """The methods, over one session; `ended` is set when somebody asked it to end."""

    def __init__(self, lab: SessionLike, cache: TrackCache, backends: Backends | None = None) -> None:
        self.lab, self.cache, self.backends = lab, cache, backends or Backends(lab)
        self.version = version_of("acestep_lab")
        self.ended = threading.Event()
        self._jobs: dict[str, TrackJob] = {}
        self._lock = threading.Lock()
        self._finisher = Finisher(cache, self._over)
        self._began = self._heard = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """Seconds since a client last asked for something, or a track was under way."""
        if self._jobs or self.backends.busy:
            self._heard = time.monotonic()
        return time.monotonic() - self._heard

    def call(self, peer: Peer, method: str, params: dict[str, Any]) -> Reply:
        """Do what a client asks; RpcError where it cannot be done."""
        self._heard = time.monotonic()
        if method in PLAYBACK:
            raise RpcError(
                NO_METHOD, f"{method} is the client's: this daemon plays nothing; play the file of the track."
            )
        if method not in METHODS:
            raise RpcError(NO_METHOD, f"There is no method {shown(method)}; there are {', '.join(METHODS)}.")
        names, do = METHODS[method]
        return do(self, peer, params if method == "generate" else known(params, names))

    def leave(self, peer: Peer) -> None:
        """A client has gone: what only it asked for stops."""
        for job in tuple(self._jobs.values()):
            job.leave(peer)

    def close(self) -> None:
        """Stop what is under way."""
        self.ended.set()
        for job in tuple(self._jobs.values()):
            job.run.stop()
        self._finisher.close()

    def _over(self, job: TrackJob) -> None:
        with self._lock:
            if self._jobs.get(job.key) is job:
                del self._jobs[job.key]

    # -- making --------------------------------------------------------------------------------------------------------

    def generate(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Begin a track, join the one under way that is the same, or find it among those that are here."""
        asked = TrackRequest.read(params)
        backend, checkpoint = self.backends.choose(asked.backend)
        asked.check(self.lab.capabilities_of(checkpoint), backend)
        facts = {
            "backend": backend, "prompt": asked.prompt, "seed": asked.seed, "duration": asked.seconds,
            "model_version": f"{checkpoint} (acestep_lab {self.version})", "knobs": asked.knobs(),
            "adapters": [list(one) for one in self.lab.adapters],
        }  # fmt: skip
        key = key_of(facts)
        answer = {"track_id": key, "status": "queued", "position": 0, "seed": asked.seed, "backend": backend}
        with self._lock:
            job = self._jobs.get(key)
            if job is None or job.run.stopping:
                if (kept := self.cache.find(key)) is not None:
                    return Reply(answer, (lambda: peer.tell("generation_complete", told(kept, cached=True)),))
                job = self._begin(key, asked, checkpoint, facts)
            job.owners.add(peer)
        return Reply(answer | {"position": job.run.position}, (lambda: job.hear(peer, peer.tell),))

    def _begin(self, key: str, asked: TrackRequest, checkpoint: str, facts: Mapping[str, Any]) -> TrackJob:
        """Put a track into the session's queue; the lock is held."""
        if len(self._jobs) >= MOST_TRACKS:
            raise refusal("QUEUE_FULL", f"{MOST_TRACKS} tracks are under way or wait already.")
        try:
            with Host().acting():
                run = self.lab.start(asked.recipe(checkpoint))
        except RecipeError as problem:
            raise RpcError(INVALID_PARAMS, str(problem)) from None
        except LabError as problem:
            raise refusal(name_of(problem), sentence(problem)) from None
        if asked.urgent:
            self.lab.jobs.prioritise(run, 1)
        job = self._jobs[key] = TrackJob(key, run, facts)
        self._finisher.watch(job)
        return job

    def _job(self, peer: Peer, params: Mapping[str, Any]) -> TrackJob:
        """The track under way that a client means; another's is as unknown as one that never was."""
        key = text(params, "track_id")
        job = self._jobs.get(key)
        if job is None or peer not in job.owners:
            raise RpcError(INVALID_PARAMS, f"No track {shown(key)} of yours is under way; queue_status lists them.")
        return job

    def cancel(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Stop a track, waiting or under way."""
        job = self._job(peer, params)
        job.leave(peer)
        then = (lambda: peer.tell("generation_cancelled", job.cancelled()),)
        return Reply({"track_id": job.key, "status": "cancelled", "cancelled": True}, then)

    def queue_cancel(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Take a waiting track out of the queue."""
        job = self._job(peer, params)
        if job.run.state != "queued":
            raise RpcError(INVALID_PARAMS, f"{job.key} is under way, and waits no more; cancel stops it.")
        return self.cancel(peer, params)

    def queue_clear(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Take all of one's waiting tracks out of the queue."""
        waiting = [job for job in self._of(peer) if job.run.state == "queued"]
        replies = [self.cancel(peer, {"track_id": job.key}) for job in waiting]
        return Reply({"cleared": len(waiting)}, tuple(one for reply in replies for one in reply.then))

    def _of(self, peer: Peer) -> list[TrackJob]:
        return [job for job in tuple(self._jobs.values()) if peer in job.owners]

    def queue_status(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """One's tracks under way and waiting, and how many there are of everybody."""
        rows = [
            {"track_id": job.key, "state": job.run.state, "position": job.run.position, "percent": max(0, job.percent)}
            for job in self._of(peer)
        ]
        return Reply({"tracks": rows, "size": len(self._jobs), "max_size": MOST_TRACKS})

    # -- the rest ------------------------------------------------------------------------------------------------------

    def get_backends(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """The backends and how they stand."""
        rows = self.backends.rows()
        return Reply({"backends": rows, "default": next(row["name"] for row in rows if row["default"])})

    def download_backend(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Fetch a backend's weights; how far it is comes as notifications."""
        answer, begin = self.backends.download(text(params, "backend"), peer.tell)
        return Reply(answer, (begin,))

    def ping(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Say that one is there."""
        return Reply({"pong": True, "status": "ok", "version": self.version, "uptime_sec": self._uptime()})

    def status(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """How the daemon stands."""
        facts = {"version": self.version, "pid": os.getpid(), "uptime_sec": self._uptime(), "methods": list(METHODS)}
        queue_facts = {"size": len(self._jobs), "max_size": MOST_TRACKS}
        return Reply(facts | {"queue": queue_facts, "checkpoints": list(self.lab.checkpoints)})

    def shutdown(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """End, once this is answered."""
        return Reply({"status": "shutting_down"}, (self.ended.set,))

    def _uptime(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def cache_list(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Finished tracks, a page at a time, that used last first."""
        limit, offset = whole(params, "limit", 20, 1, 100), whole(params, "offset", 0, 0, 10**9)
        tracks = self.cache.tracks()
        page = [told(one, cached=True) for one in tracks[offset : offset + limit]]
        return Reply({"tracks": page, "total": len(tracks), "offset": offset})

    def cache_delete(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Give a finished track up."""
        key = text(params, "track_id")
        if not self.cache.delete(key):
            raise RpcError(INVALID_PARAMS, f"No track {shown(key)} is kept; cache_list lists them.")
        return Reply({"track_id": key, "deleted": True})

    def cache_clear(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """Give all finished tracks up."""
        return Reply({"cleared": self.cache.clear()})

    def cache_stats(self, peer: Peer, params: dict[str, Any]) -> Reply:
        """How much is kept."""
        return Reply(self.cache.stats())


Method = Callable[[Daemon, "Peer", dict[str, Any]], Reply]
METHODS: Mapping[str, tuple[tuple[str, ...], Method]] = {
    "generate": ((), Daemon.generate),
    "cancel": (("track_id",), Daemon.cancel),
    "get_backends": ((), Daemon.get_backends),
    "download_backend": (("backend",), Daemon.download_backend),
    "ping": ((), Daemon.ping),
    "shutdown": ((), Daemon.shutdown),
    "queue_status": ((), Daemon.queue_status),
    "queue_cancel": (("track_id",), Daemon.queue_cancel),
    "queue_clear": ((), Daemon.queue_clear),
    "status": ((), Daemon.status),
    "cache_list": (("limit", "offset"), Daemon.cache_list),
    "cache_delete": (("track_id",), Daemon.cache_delete),
    "cache_clear": ((), Daemon.cache_clear),
    "cache_stats": ((), Daemon.cache_stats),
}
"""Every method with the names of its parameters (those of `generate` are read by `TrackRequest`)."""


class Lines:
    """Lines on their way from one thread to another; of a client that sends much or reads nothing, no more than some are held."""

    def __init__(self) -> None:
        self._lines: deque[bytes | None] = deque()
        self._held, self._ended = 0, False
        self._changed = threading.Condition()

    def put(self, line: bytes | None, waits: bool = False) -> None:
        """Add a line, or None as the last one; `waits` until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or not waits or self._held < MOST_HELD)
            if not self._ended:
                self._lines.append(line)
                self._held += len(line or b"") + A_LINE
                self._changed.notify_all()

    def get(self) -> bytes | None:
        """The next line, once there is one; None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ended)
            line = self._lines.popleft() if self._lines and not self._ended else None
            self._held -= len(line or b"") + A_LINE
            self._changed.notify_all()
            return line

    def end(self) -> None:
        """Nobody wants any more: whoever waits goes on, and what comes is dropped."""
        with self._changed:
            self._ended = True
            self._lines.clear()
            self._changed.notify_all()


class Peer:
    """One client: reads its lines, answers them in order, tells it what happens.

    `hung_up` is set when nothing more comes from it, `gone` when all it asked for is answered as well."""

    _numbers = itertools.count()

    def __init__(
        self, daemon: Callable[[], Daemon], read: Callable[[int], bytes], write: Callable[[bytes], object]
    ) -> None:
        self._daemon, self._read, self._write = daemon, read, write
        self.gone, self.hung_up = threading.Event(), threading.Event()
        self._lines, self._out = Lines(), Lines()

    def begin(self) -> None:
        """Read, answer and write from now on, each on its own thread."""
        for work in (self._reads, self._answers, self._writes):
            threading.Thread(target=work, daemon=True, name=f"client {next(self._numbers)}").start()

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the client something; waits for nothing."""
        self._out.put(jsonrpc.notification(method, params))

    def _reads(self) -> None:
        try:
            for line in jsonrpc.lines(self._read):
                self._lines.put(line, waits=True)
        except OSError:  # it hung up
            pass
        self._lines.put(None)
        self.hung_up.set()

    def _answers(self) -> None:
        daemon = self._daemon()
        while (line := self._lines.get()) is not None:
            answer, then = jsonrpc.answered(line, lambda method, params: daemon.call(self, method, params))
            if answer:
                self._out.put(answer, waits=True)
            for do in then:
                do()
        daemon.leave(self)
        self._lines.end()
        self._out.put(None)

    def _writes(self) -> None:
        try:
            while (line := self._out.get()) is not None:
                self._write(line)
        except OSError:  # nobody reads any more
            self._out.end()
            self._lines.end()
        self.gone.set()
