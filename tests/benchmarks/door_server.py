"""A REST door in a process of its own, whose time, memory, threads and files can be looked at from outside.

`python -m tests.benchmarks.door_server '{"folder": …, "pause": 0.01, "keys": […]}'` prints one line of JSON (address, pid) and
then one for each step of a render ({"step", "at"}); it closes when its input ends. Sines instead of a model, unless it is
told a `checkpoint`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUIET = "Traceback"
"""What a server that does well never writes."""


@dataclass
class Served:
    """A server process, from outside."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_seconds(self) -> float:
        """Processor time so far of all threads, to the nanosecond."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((one / "schedstat").read_text().split()[0]) for one in tasks) / 1e9

    def megabytes(self, what: str = "VmRSS") -> float:
        """Memory now (VmRSS) or at its most (VmHWM)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))

    def forget_peak(self) -> None:
        """Let VmHWM begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @property
    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    @property
    def handles(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def uploads(self) -> list[Path]:
        """Files that were sent and are still there."""
        return [one for one in (self.folder / "door" / "uploads").rglob("*") if one.is_file()]


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[Served]:
    """A server process while the block runs; its errors go to `folder/stderr`."""
    command = [sys.executable, "-m", "tests.benchmarks.door_server", json.dumps({"folder": str(folder), **options})]
    with (folder / "stderr").open("wb") as errors, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdin
        try:
            told = json.loads(process.stdout.readline())
            yield Served(process, told["address"], folder)
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            finally:
                process.kill()


def bare() -> None:
    """The least that Tornado can do for the same question: a peer to measure the door by."""
    import asyncio

    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler

    class Answer(RequestHandler):
        def post(self) -> None:
            asked = json.loads(self.request.body)["task_id_list"]
            self.finish({"data": [{"task_id": id, "status": 1} for id in asked]})

    async def serve() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        HTTPServer(Application([("/query_result", Answer)], log_function=lambda _: None)).add_sockets(sockets)
        print(json.dumps({"address": f"http://127.0.0.1:{sockets[0].getsockname()[1]}"}), flush=True)
        await asyncio.to_thread(sys.stdin.read)

    asyncio.run(serve())


def main(options: dict[str, Any]) -> None:
    """Serve until the input ends."""
    if options.get("bare"):
        bare()
        return
    from acestep_lab.serve.api import ApiServer
    from tests.pretend import PretendSession

    folder = Path(options["folder"])
    lab: Any
    if "checkpoint" in options:
        from acestep_lab.session import Session

        lab = Session.open(options["checkpoint"], library=folder / "library")
    else:
        lab = PretendSession(folder / "library", pause=options.get("pause", 0.01))

    def told(run: Any, event: Any) -> None:
        if options.get("tells") and event is not None and event.kind == "step":
            print(json.dumps({"step": int(event.value.index) + 1, "at": time.monotonic()}), flush=True)

    lab.jobs.subscribe(told)
    with ApiServer(lab, 0, keys=options.get("keys", ()), folder=folder / "door") as door:
        print(json.dumps({"address": door.address}), flush=True)
        sys.stdin.read()
    lab.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
