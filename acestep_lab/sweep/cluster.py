"""The workers of a Dask cluster as a pool: each with a resident session (`worker`), one song at a time, whatever dies.

A result is taken over on arrival and its future let go: a worker that is killed costs the song in flight. Never more tasks wait than
the workers need, since what they start from travels with them. Knows the verbs of no session.

Dask's port runs whatever code comes: keep it on loopback, behind an ssh tunnel, or under TLS.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from acestep_lab.errors import CheckpointError, LabError, MachineError, RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep import worker
from acestep_lab.sweep.packing import pack, unpack
from acestep_lab.sweep.work import Job, News
from acestep_lab.versions import version_of

CONNECT = 15.0
"""Seconds for a scheduler to answer."""
NAP = 0.3
PATIENCE = 120.0
"""Seconds for which a cluster may be without any worker, as when all are started again, before the work is given up."""
LEAVE = 60.0
"""Seconds for work under way to stop once somebody asked."""
RETRIES = 3
"""How often a song is tried again whose worker went away with it."""


def distributed() -> Any:
    """Dask's package; LabError where it is not installed."""
    try:
        import distributed as found
    except ImportError:
        raise LabError("A cluster needs dask.distributed: pip install 'acestep_lab[many]'.") from None
    return found


class Cluster:
    """Workers of Dask; MachineError where there are none, or they are not what this needs."""

    is_local = False

    def __init__(self, on: Any, resource: str | None = None) -> None:
        self._dask = distributed()
        self._own = isinstance(on, str)
        self._resource = worker.RESOURCE if resource is None else checks.name("A resource", resource)
        self.client = self._connected(on) if self._own else on
        try:
            self._facts = self._checked()
        except BaseException:
            self.close()
            raise

    def _connected(self, address: str) -> Any:
        try:
            return self._dask.Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError, TimeoutError, ImportError):
            raise MachineError(
                f"No Dask scheduler answers at {shown(address)}; `acestep-lab workers --local 2` starts one and says its address."
            ) from None

    def close(self) -> None:
        """Let the client go that was opened for this; the cluster goes on."""
        if self._own:
            self.client.close()

    # -- who is there

    def _workers(self) -> dict[str, Any]:
        """The workers, by address."""
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def _able(self) -> dict[str, Any]:
        """Those that have what a song needs."""
        found = self._workers()
        return {address: one for address, one in found.items() if one.get("resources", {}).get(self._resource, 0) >= 1}

    def _checked(self) -> dict[str, Mapping[str, Any]]:
        """What every worker is, looked at before any work: one of another version or checkpoint is named."""
        there, able = self._workers(), self._able()
        address = self.client.scheduler.address if self.client.scheduler else "it"
        if not there:
            raise MachineError(
                f"The scheduler at {address} has no workers yet; start some, such as `acestep-lab workers --local 2`."
            )
        if not able:
            offered = sorted({name for one in there.values() for name in one.get("resources", {})})
            raise MachineError(
                f"No worker has the resource {shown(self._resource)}, and a task would wait for ever; they have "
                f"{', '.join(offered) or 'none'}. Start them with --resources {self._resource}=1."
            )
        found = self.client.run(worker.facts, workers=list(able), on_error="return")
        for address, one in found.items():
            _check(address, one)
        in_use = {one["checkpoint"]: address for address, one in found.items()}
        if len(in_use) > 1:
            raise CheckpointError(
                f"The workers have different checkpoints in use ({', '.join(in_use)}): start them all with the same --checkpoint."
            )
        return dict(found)

    @property
    def width(self) -> int:
        """How many songs are made side by side, as things stand."""
        return max(1, sum(int(one["resources"][self._resource]) for one in self._able().values()))

    @property
    def where(self) -> str:
        """In words."""
        return f"{self.width} workers of {self.client.scheduler.address}"

    @property
    def checkpoint(self) -> str:
        """The checkpoint in use in all of them."""
        return str(next(iter(self._facts.values()))["checkpoint"])

    def open(self, checkpoints: Iterable[str], really: bool = True) -> None:
        """CheckpointError where a worker does not have one of these open."""
        for name in checkpoints:
            for address, one in self._facts.items():
                if name not in one["checkpoints"]:
                    raise CheckpointError(
                        f"The worker {address} has {', '.join(one['checkpoints'])} open and not {shown(name)}: start it with "
                        f"--checkpoint {name}."
                    )

    def is_open(self, checkpoint: str) -> bool:
        """Whether all workers have a checkpoint open."""
        return all(checkpoint in one["checkpoints"] for one in self._facts.values())

    def attaches(self, checkpoint: str) -> bool:
        """Nobody knows here: what a worker wears is its own."""
        return False

    def wear(self, adapters: Iterable[str]) -> None:
        """Have every worker look at adapters, as files of its own machine; CheckpointError for one that is none there."""
        listed = list(adapters)
        found = self.client.run(worker.wear, listed, workers=list(self._facts), on_error="return") if listed else {}
        for address, one in found.items():
            if isinstance(one, BaseException):
                raise CheckpointError(f"The worker {address} cannot put these adapters on: {str(one)[:160]}")

    # -- the work

    def resolve(self, recipes: Iterable[Recipe]) -> list[Recipe | str]:
        """Each recipe as the engine of the first worker decides it, or the sentence it is refused with."""
        packed = [pack(one) for one in recipes]
        if not packed:
            return []
        first = next(iter(self._facts))
        with self._large():
            answer = self.client.run(worker.resolve, packed, workers=[first], on_error="return")[first]
        if isinstance(answer, BaseException):
            told = answer if isinstance(answer, LabError) else None
            raise told or MachineError(
                f"The worker {first} cannot say what it makes of these recipes: {str(answer)[:100]}"
            )
        return [unpack(one) for one in answer]

    def run(self, jobs: Iterable[Job], news: Callable[[News], None], stopped: Callable[[], bool]) -> None:
        """Do all jobs on the workers; what a stop finds under way ends within a step or is waited for a minute."""
        _Round(self, iter(jobs), news, stopped).run()

    def _large(self) -> Any:
        """Sounds travel with the tasks that start from them; Dask would warn of each."""
        import dask

        return dask.config.set({"distributed.admin.large-graph-warning-threshold": "4 GiB"})


class _Round:
    """One run over a cluster: tasks out, results in, nothing held."""

    def __init__(self, pool: Cluster, jobs: Any, news: Callable[[News], None], stopped: Callable[[], bool]) -> None:
        self._pool, self._jobs, self._news, self._stopped = pool, jobs, news, stopped
        self._client, self._id = pool.client, secrets.token_hex(8)
        self._topic, self._halt = f"acestep-lab-{self._id}", f"acestep-lab-stop-{self._id}"
        self._out: dict[Any, tuple[Job, int]] = {}
        self._begun: set[int] = set()
        self._news_came = threading.Event()
        self._alone_since: float | None = None

    def run(self) -> None:
        """Until nothing is left, or somebody stops."""
        halt = self._pool._dask.Event(self._halt, client=self._client)
        self._client.subscribe_topic(self._topic, self._hear)
        try:
            while (self._fill() or self._out) and not self._stopped():
                self._collect(NAP)
                self._look_after()
        finally:
            halt.set()
            self._leave()
            self._client.unsubscribe_topic(self._topic)
            self._client.cancel(list(self._out))

    def _fill(self) -> bool:
        """Send out what the workers need next: one song each, and one that waits for each; whether anything was sent."""
        room = 2 * self._pool.width - len(self._out)
        sent = False
        while room > 0 and not self._stopped():
            job = next(self._jobs, None)
            if job is None:
                break
            self._send(job, 0)
            room, sent = room - 1, True
        return sent

    def _send(self, job: Job, tries: int) -> None:
        arguments = {name: pack(one) for name, one in job.arguments().items()}
        with self._pool._large():
            future = self._client.submit(
                worker.do, job.work, job.place, self._topic, self._halt, arguments, pure=False,
                key=f"acestep-lab-{self._id}-{job.place}-{tries}", resources={self._pool._resource: 1}, retries=0,
            )  # fmt: skip
        self._out[future] = (job, tries)
        future.add_done_callback(lambda _: self._news_came.set())

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """What a worker tells of a song."""
        _, said = event
        rest = {name: value for name, value in said.items() if name not in ("place", "by")}
        kind = "begun" if rest.pop("begun", False) else "told"
        self._begun.add(int(said["place"]))
        self._news(News(int(said["place"]), kind, rest, str(said["by"])))

    def _collect(self, seconds: float) -> None:
        """Take over what has come, and let its future go at once: what is held would be made again after a kill."""
        self._news_came.wait(seconds)
        self._news_came.clear()
        for future in [one for one in self._out if one.done()]:
            job, tries = self._out.pop(future)
            try:
                self._end(job, tries, future)
            finally:
                future.release()

    def _end(self, job: Job, tries: int, future: Any) -> None:
        """What became of a task; one that went away with its worker's memory is sent out again."""
        if future.status in ("lost", "cancelled"):
            if tries < RETRIES and not self._stopped():
                self._send(job, tries + 1)
            else:
                self._news(News(job.place, "failed", MachineError("The cluster lost this song; ask for it again.")))
            return
        if future.status == "error":
            self._news(News(job.place, "failed", _ours(future.exception())))
            return
        state, value, seconds = future.result()
        try:
            made = unpack(value) if state == "done" else value
        except (LabError, OSError) as problem:
            state, made = "failed", problem
        self._news(News(job.place, state, made, seconds=seconds if state == "done" else None))

    def _look_after(self) -> None:
        """MachineError where the scheduler, or every worker, has been gone for long."""
        if self._client.status not in ("running", "connecting"):
            raise MachineError(
                "The Dask scheduler went away; what is made is kept, and the same call goes on once it is back."
            )
        if self._pool._able():
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > PATIENCE:
            raise MachineError(
                f"No worker has been there for {PATIENCE:.0f} s; what is made is kept, and the same call goes on."
            )

    def _leave(self) -> None:
        """After a stop: drop what waits, and take what is finished meanwhile."""
        for future in [one for one, (job, _) in self._out.items() if job.place not in self._begun]:
            job, _ = self._out.pop(future)
            future.cancel()
            self._news(News(job.place, "stopped"))
        end = time.monotonic() + LEAVE
        while self._out and time.monotonic() < end:
            self._collect(NAP)


def _check(address: str, said: Any) -> None:
    """Refuse a worker that cannot do this; what is wrong, and what would be right."""
    if isinstance(said, BaseException):
        raise MachineError(
            f"The worker {address} has no session ({str(said)[:80]}): start it with --preload acestep_lab.sweep.worker."
        )
    if said["version"] != (own := version_of("acestep_lab")):
        raise MachineError(
            f"The worker {address} has acestep_lab {said['version']}, and here it is {own}: install the same on both."
        )


def _ours(problem: Any) -> BaseException:
    """An error of a task as somebody is told of it."""
    if isinstance(problem, LabError):
        return problem
    if type(problem).__name__ == "KilledWorker":
        return MachineError(
            "Several workers died over this song, one after another; it may need more memory than they have."
        )
    return problem if isinstance(problem, BaseException) else RecipeError(str(problem))
