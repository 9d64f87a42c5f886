"""A file that grows until it is whole: pieces are appended, over broken connections, and the whole is checked.

Knows one file on this disk, and something that yields its bytes from an offset on; no hub, no store.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator
from contextlib import closing
from io import FileIO
from pathlib import Path

from acestep_lab.errors import MachineError
from acestep_lab.models.download.hub import HubError, RemoteFile
from acestep_lab.models.download.store import file_size, make_folder
from acestep_lab.models.download.verify import checksum, expected_checksum
from acestep_lab.models.memory_plan import gb

TRIES = 5  # in a row without a byte won
REPORT_EVERY = 1 << 18  # bytes

PiecesFrom = Callable[[int], Generator[tuple[int, bytes]]]
"""The bytes of a file from an offset on, each piece with its own; from 0 where the hub cannot begin later."""


def complete_file(
    partial: Path, file: RemoteFile, pieces_from: PiecesFrom, report: Callable[[int], None], pause: float
) -> None:
    """Make a partial file whole, trying as long as bytes keep coming; HubError for what is wrong with this hub.

    A file that fails its checksum is thrown away; if only its end came from here, all of it is asked for, once.
    """
    make_folder(partial.parent)
    if (file_size(partial) or 0) > file.size:
        partial.unlink()
    began_elsewhere = bool(file_size(partial))
    _try_repeatedly(partial, file, pieces_from, report, pause)
    wrong = _wrong_checksum(partial, file)
    if wrong and began_elsewhere:
        partial.unlink()
        _try_repeatedly(partial, file, pieces_from, report, pause)
        wrong = _wrong_checksum(partial, file)
    if wrong:
        partial.unlink()
        raise HubError(
            f"sent another file: its checksum is {wrong[:12]}… instead of {expected_checksum(file)[:12]}…",
            "ACESTEP_DOWNLOAD_SOURCE names another hub",
        )


def _try_repeatedly(
    partial: Path, file: RemoteFile, pieces_from: PiecesFrom, report: Callable[[int], None], pause: float
) -> None:
    """Append until a file has its size; HubError once nothing more comes."""
    tries = TRIES
    while True:
        before = file_size(partial) or 0
        try:
            _append(partial, file.size, pieces_from, report)
            size = file_size(partial) or 0
            if size == file.size:
                return
            error = HubError(f"stopped after {size:,} of {file.size:,} bytes")
        except HubError as failure:
            error = failure
        tries = TRIES if (file_size(partial) or 0) > before else tries - 1
        if error.permanent or not tries:
            raise error
        time.sleep(pause)


def _append(partial: Path, size: int, pieces_from: PiecesFrom, report: Callable[[int], None]) -> None:
    """Write what comes behind what is there; HubError where it breaks off, MachineError where the disk refuses."""
    with _opened(partial) as out:
        start = reported = file_size(partial) or 0
        if start == size:
            return
        with closing(pieces_from(start)) as pieces:
            for offset, piece in pieces:
                done = _write(out, offset, piece[: size - offset])
                if done == size or abs(done - reported) >= REPORT_EVERY:
                    report(reported := done)
                if done == size:
                    return


def _opened(partial: Path) -> FileIO:
    """A file to append to, unbuffered: what has been written is there, whatever happens next."""
    try:
        return partial.open("ab", buffering=0)
    except OSError as error:
        raise MachineError(
            f"{partial} cannot be written ({error.strerror}); name another folder (--folder)."
        ) from error


def _write(out: FileIO, offset: int, piece: bytes) -> int:
    """Write a piece at its offset, which is the file's end or before it; the new length. MachineError for a full disk."""
    rest = memoryview(piece)
    try:
        if offset < out.tell():
            out.truncate(offset)
            out.seek(offset)
        while rest:
            rest = rest[out.write(rest) :]
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise MachineError(
                f"The disk is full; {gb(offset)} of what was being fetched are kept. Make room and go on."
            ) from error
        raise MachineError(
            f"{out.name} cannot be written ({error.strerror}); name another folder (--folder)."
        ) from error
    return offset + len(piece)


def _wrong_checksum(partial: Path, file: RemoteFile) -> str:
    """The checksum of a file whose contents are not what the hub listed; "" of one that is right."""
    found = checksum(partial, file)
    return found if found != expected_checksum(file) else ""
