"""The daemon as a process: standard streams or a Unix socket, a file with its number, and when it ends. Knows no method."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acestep_lab.errors import LabError, MachineError, shown
from acestep_lab.serve.daemon import Daemon, Peer

NAP = 0.05
LAST_ANSWERS = 0.4
"""Seconds that a client that has hung up leaves for what it asked before."""


class Opening:
    """A daemon whose session opens on a thread, so that a client's end is seen meanwhile."""

    def __init__(self, make: Callable[[], Daemon]) -> None:
        self.daemon: Daemon | None = None
        self.problem: BaseException | None = None
        self._make, self._done = make, threading.Event()
        threading.Thread(target=self._open, daemon=True, name="acestep_lab opening").start()

    def _open(self) -> None:
        try:
            self.daemon = self._make()
        except BaseException as problem:  # noqa: BLE001 - raised again on the main thread
            self.problem = problem
        self._done.set()

    def get(self) -> Daemon:
        """The daemon, once its session is open."""
        self._done.wait()
        if self.daemon is None:
            raise SystemExit  # ends the client's thread; the main thread says why
        return self.daemon

    def wait(self, peer: Peer | None, idle_timeout: float) -> None:
        """Wait until a client asked it to end, its only client hung up, or nothing happened for so many seconds (0: ever)."""
        while self.problem is None and not (peer and (peer.hung_up.is_set() or peer.gone.is_set())):
            if self.daemon is not None and (
                self.daemon.ended.is_set() or 0 < idle_timeout < self.daemon.idle_seconds
            ):  # fmt: skip
                time.sleep(NAP)  # for the last answer to go out
                return
            time.sleep(NAP)
        if self.problem is not None:
            raise self.problem
        if peer is not None:
            peer.gone.wait(LAST_ANSWERS)


@contextmanager
def own_streams() -> Iterator[tuple[Callable[[int], bytes], Callable[[bytes], object]]]:
    """How to read standard input and write standard output, which is ours alone: what anybody prints goes to stderr."""
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        yield (lambda most: os.read(0, most)), (lambda text: _write_all(own, text))
    finally:
        os.dup2(own, 1)
        os.close(own)


def _write_all(handle: int, text: bytes) -> None:
    while text:
        text = text[os.write(handle, text) :]


@contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """A file with this process's number while the block runs; LabError where a process of that number lives."""
    if path is None:
        yield
        return
    if (other := _living(path)) is not None:
        raise MachineError(f"A daemon runs already as process {other}; end it, or remove {shown(path.name)}.")
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as problem:
        raise MachineError(f"The pid file {shown(path.name)} cannot be written ({problem.strerror}).") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _living(path: Path) -> int | None:
    """The number in a pid file, where another process has it now."""
    try:
        number = int(path.read_text(encoding="ascii"))
        os.kill(number, 0)
    except PermissionError:
        return number
    except (OSError, ValueError, OverflowError):
        return None
    return number if number > 0 and number != os.getpid() else None


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A listening Unix socket that only this user may use; LabError where something else is at its place."""
    if not hasattr(socket, "AF_UNIX"):
        raise MachineError("This system has no Unix sockets; leave --socket out.")
    listener = socket.socket(socket.AF_UNIX)
    _make_way(path)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as problem:
        raise MachineError(f"The socket {shown(path.name)} cannot be made ({problem.strerror or problem}).") from None
    finally:
        os.umask(mask)
    listener.listen()
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _make_way(path: Path) -> None:
    """Remove a socket on which nobody listens any more."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise LabError(f"{shown(path.name)} is there already, and is no socket; choose another path.")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        raise LabError(f"A daemon listens at {shown(path.name)} already; connect to it, or choose another path.")


def accept(listener: socket.socket, get: Callable[[], Daemon]) -> None:
    """Serve every client of a socket from now on, on threads."""

    def work() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            Peer(get, connection.recv, connection.sendall).begin()

    threading.Thread(target=work, daemon=True, name="acestep_lab clients").start()
