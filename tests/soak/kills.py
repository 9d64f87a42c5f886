"""kill -9 in a loop: whoever keeps takes when the plug is pulled leaves whole takes or none."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from acestep_lab import Library
from tests.soak import Row

KEEPER = """
import sys, itertools
from acestep_lab import Library
from tests.soak.files import take
library = Library(sys.argv[1])
for number in itertools.count(int(sys.argv[2])):
    one = take(number)
    library.keep(one)
    library.mark(one.id, note="kept", star=number % 2 == 0)
    if number % 5 == 4:
        library.bin(one.id)
    print(one.id, flush=True)
"""


def trial(seconds: float, seed: int, folder: Path) -> list[Row]:
    """Start a process that keeps takes, kill it somewhere, look at what is left; again and again in one library."""
    chance, place = random.Random(seed), folder / "takes"
    row, told = Row("kill -9 while takes are kept, marked and binned"), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or row.tried < 3:
        promised = killed(place, told, chance)
        told += 1000
        row.count(*left_whole(place, promised))
    drafts = Row("drafts of the killed are swept when they are old")
    old = time.time() - 7 * 24 * 3600
    for draft in place.rglob(".draft-*"):
        os.utime(draft, (old, old))
    Library(place).close()
    left = list(place.rglob(".draft-*"))
    drafts.count(not left, f"{len(left)} left")
    return [row, drafts]


def killed(place: Path, first: int, chance: random.Random) -> list[str]:
    """Ids that a keeper had said it kept when it was killed."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(place), str(first)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert keeper.stdout is not None
    said = [keeper.stdout.readline().strip()]
    time.sleep(chance.random() * 0.6)
    os.kill(keeper.pid, signal.SIGKILL)
    said += keeper.stdout.read().split()
    keeper.wait()
    return [name for name in said if name.startswith("take-")]


def left_whole(place: Path, promised: list[str]) -> tuple[bool, str]:
    """Everything said to be kept is there, in the library or its trash, and all that is listed opens."""
    library = Library(place)
    try:
        ids = library.ids()
        missing = set(promised) - set(ids) - set(library.trash())
        if missing:
            return False, f"{sorted(missing)[0]} was said to be kept and is gone"
        for name in ids[:12]:
            library.open(name)
    except Exception as error:  # noqa: BLE001 - whatever comes is what is being looked for
        return False, f"{type(error).__name__}: {error}"
    finally:
        library.close()
    return True, ""
