"""Full, read-only and vanished disks, as real ones: a tmpfs of a few megabytes, mounted where this user may."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acestep_lab import Library
from acestep_lab.errors import LabError
from tests.soak import Row
from tests.soak.files import answers, take


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A disk of so many megabytes; PermissionError where none may be mounted."""
    place.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], capture_output=True
    )
    if done.returncode:
        raise PermissionError(done.stderr.decode().strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def trial(seconds: float, seed: int, folder: Path) -> list[Row]:
    """Each kind of disk once; without the right to mount one, that is said and nothing is counted as survived."""
    rows = [Row("a full disk: a sentence, all listed, space can be freed, keeping goes on"), Row("a read-only disk: opens, lists, searches, opens takes; keeping is a sentence"), Row("a folder that vanishes and comes back")]  # fmt: skip
    try:
        with small_disk(folder / "full", 3) as disk:
            full(disk, rows[0])
        with small_disk(folder / "locked", 8) as disk:
            locked(disk, rows[1])
    except PermissionError as refused:
        for row in rows[:2]:
            row.count(False, f"no disk could be mounted here ({refused})")
    vanished(folder / "gone", rows[2])
    return rows


def full(disk: Path, row: Row) -> None:
    library, kept = Library(disk / "takes"), []
    for number in range(200):
        one = take(number)
        try:
            library.keep(one)
            kept.append(one.id)
        except LabError:
            break
    row.count(0 < len(kept) < 199, f"{len(kept)} takes were kept")
    (disk / "filler").write_bytes(b"\0" * 1) if not _fill(disk) else None
    for ask in (lambda: library.ids(), lambda: library.cards("soak"), lambda: Library(disk / "takes").ids()):
        row.count(set(ask()) != set(), "nothing was listed")
    row.count(library.open(kept[0]).audio is not None)
    row.count(set(library.ids()) == set(kept), "what is listed is not what was kept")
    found = answers(lambda: (library.bin(*kept[:3]), library.empty_trash()))
    row.count(not found and kept[0] not in library.ids(), found or "binned takes are still listed")
    (disk / "filler").unlink(missing_ok=True)
    again = take(1000)
    found = answers(lambda: library.keep(again))
    row.count(not found and again.id in library.ids(), found or "keeping did not go on")


def _fill(disk: Path) -> bool:
    """Take the last byte of a disk."""
    try:
        with (disk / "filler").open("wb") as file:
            while True:
                file.write(b"\0" * 4096)
                file.flush()
    except OSError:
        return True


def locked(disk: Path, row: Row) -> None:
    place = disk / "takes"
    first, kept = Library(place), [take(n) for n in range(3)]
    for one in kept:
        first.keep(one)
    first.close()
    for indexed in (True, False):
        if not indexed:
            for file in place.glob(".index*"):
                file.unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        try:
            library = Library(place)
            row.count(set(library.ids()) == {one.id for one in kept}, "not all were listed")
            row.count(len(library.cards("soak")) == 3, "the search found others")
            row.count(library.open(kept[0].id) == kept[0], "another take was opened")
            try:
                library.keep(take(7))
                row.count(False, "kept on a read-only disk?")
            except LabError:
                row.count(True)
            library.close()
        except Exception as error:  # noqa: BLE001 - whatever comes is what is being looked for
            row.count(False, f"{type(error).__name__}: {error}")
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def vanished(place: Path, row: Row) -> None:
    library, one = Library(place), take(1)
    library.keep(one)
    place.rename(place.with_name("elsewhere"))
    for ask in (library.ids, lambda: library.open(one.id), lambda: library.cards("x")):
        found = answers(ask)
        row.count(not found, found)
    if place.exists():
        place.rmdir() if not any(place.iterdir()) else None
    place.with_name("elsewhere").rename(place)
    row.count(library.open(one.id) == one, "it did not come back")
