"""The daemon as a process: standard streams or a Unix socket, a file with its number, and when it ends. Knows no method."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from acestep_lab.errors import LabError, MachineError, shown
from acestep_lab.serve import jsonrpc
from acestep_lab.serve.daemon import Daemon, Peer
from acestep_lab.serve.track_request import refusal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAP = 0.05
PATIENCE = 1.0
"""Seconds that a socket which is there already has to answer."""
MOST_CLIENTS = 64
"""Clients of a socket at once; each has three threads."""
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
    if None in (sys.stdin, sys.stdout, sys.stderr):  # whatever file is opened next takes the number of one of them
        raise MachineError("The daemon speaks over its standard streams, and one of them is closed; use --socket.")
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
    """A file with this process's number while the block runs; LabError where another daemon has it.

    A daemon holds a lock on its file: a number that is left over, and is some other program's by now, stops nobody.
    """
    if path is None:
        yield
        return
    handle = _claimed(path)
    try:
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        if fcntl is not None:  # while the lock is held; Windows removes no open file
            path.unlink(missing_ok=True)
        os.close(handle)
        if fcntl is None:
            path.unlink(missing_ok=True)


def _claimed(path: Path) -> int:
    """A pid file opened, and locked by this process."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags, 0o644)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise MachineError(f"The pid file {shown(path.name)} cannot be written ({why}).") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise MachineError(f"{shown(path.name)} is there already, and is no ordinary file; choose another path.")
        if not _lock(handle):
            number = os.read(handle, 20).decode("ascii", "replace").strip()
            raise MachineError(f"A daemon runs already as process {number}; end it, or choose another --pid-file.")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _lock(handle: int) -> bool:
    """Lock a file until this process ends, and say whether nobody else had; True where the system has no such locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """A listening Unix socket that only this user may use; LabError where something else is at its place."""
    if not hasattr(socket, "AF_UNIX"):
        raise MachineError("This system has no Unix sockets; leave --socket out.")
    _make_way(path)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except (OSError, ValueError) as problem:
        listener.close()
        raise _no_socket(path, problem) from None
    finally:
        os.umask(mask)
    listener.listen()
    try:
        yield listener
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for the next client
        listener.close()
        path.unlink(missing_ok=True)


def _make_way(path: Path) -> None:
    """Remove a socket on which nobody listens any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise LabError(f"{shown(path.name)} is there already, and is no socket; choose another path.")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PATIENCE)  # one that is busy lets others wait
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return
    except (TimeoutError, BlockingIOError):
        pass
    except (OSError, ValueError) as problem:
        raise _no_socket(path, problem) from None
    raise LabError(f"A daemon listens at {shown(path.name)} already; connect to it, or choose another path.")


def _no_socket(path: Path, problem: Exception) -> MachineError:
    why = getattr(problem, "strerror", None) or problem
    return MachineError(f"The socket {shown(path.name)} cannot be made ({why}).")


def accept(listener: socket.socket, get: Callable[[], Daemon]) -> None:
    """Serve every client of a socket from now on, on threads."""

    peers: list[Peer] = []

    def work() -> None:
        while listener.fileno() >= 0:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed, or too many files are open just now
                time.sleep(NAP)
                continue
            peers[:] = [peer for peer in peers if not peer.gone.is_set()]
            if len(peers) >= MOST_CLIENTS:
                _turn_away(connection)
                continue
            peers.append(Peer(get, connection.recv, connection.sendall))
            peers[-1].begin()

    threading.Thread(target=work, daemon=True, name="acestep_lab clients").start()


def _turn_away(connection: socket.socket) -> None:
    """Tell a client that there are too many, and wait for nothing."""
    why = refusal("QUEUE_FULL", f"{MOST_CLIENTS} clients are connected already.")
    with suppress(OSError), connection:
        connection.setblocking(False)
        connection.sendall(jsonrpc.line({"jsonrpc": "2.0", "id": None, "error": why.to_json()}))
