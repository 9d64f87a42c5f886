"""What the house itself costs: two checkouts at the same work in one run, and their ratio.

    python -m tests.benchmarks.bench_house OLD_TREE                       # about three minutes of processor time
    python -m tests.benchmarks.bench_house OLD_TREE --new TREE --rounds 9 --cases take import

Each checkout works in a process of its own on one thread (`house_worker.py`). They take turns as old, new, new, old, so that a
drift of the machine weighs on both alike; figures are processor milliseconds, and what counts is the median of the rounds'
ratios old / new: above 1 the new one is quicker. Import times are whole processes less an empty one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.house_worker import CASES

HERE = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
IMPORTS = {"import acestep_lab": "import acestep_lab", "import acestep_lab.session": "import acestep_lab.session"}


def settings(tree: Path) -> dict[str, str]:
    """The surroundings in which a checkout works."""
    return os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


class Worker:
    """A checkout at work in its own process."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        program = [sys.executable, "-P", str(Path(__file__).with_name("house_worker.py"))]
        self.process = subprocess.Popen(program, env=settings(tree), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip

    def measure(self, case: str) -> float:
        """Processor milliseconds of one unit of a case."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(case, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.tree} could not do '{case}'; its own words are above.")
        return float(json.loads(answer))

    def close(self) -> None:
        """End the process at the end of its work."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def importing(tree: Path, line: str) -> float:
    """Processor milliseconds of a whole Python that runs one line with a checkout on its path."""
    child = subprocess.Popen([sys.executable, "-P", "-c", line], env=settings(tree))
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{tree} could not do '{line}'.")
    return 1000 * (usage.ru_utime + usage.ru_stime)


def pairs(old: Callable[[], float], new: Callable[[], float], rounds: int) -> list[tuple[float, float]]:
    """Milliseconds of both, round by round, in the order old, new, new, old; each warms up once."""
    old(), new()
    found = []
    for number in range(rounds):
        if number % 2:
            after, before = new(), old()
        else:
            before, after = old(), new()
        found.append((before, after))
    return found


def row(measured: list[tuple[float, float]]) -> dict[str, float]:
    """Medians of both in milliseconds, and of the rounds' ratios old / new with their extremes."""
    ratios = [before / after for before, after in measured]
    return {
        "old ms": round(median(before for before, _ in measured), 2),
        "new ms": round(median(after for _, after in measured), 2),
        "old / new": round(median(ratios), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
    }


def working(old: Path, new: Path, cases: list[str], rounds: int, swapped: bool) -> dict[str, list[tuple[float, float]]]:
    """Rounds of the cases by two fresh processes, the old checkout's started first, or last."""
    started = {tree: Worker(tree) for tree in ((new, old) if swapped else (old, new))}
    try:
        return {
            case: pairs(partial(started[old].measure, case), partial(started[new].measure, case), rounds)
            for case in cases
        }
    finally:
        for worker in started.values():
            worker.close()


def run(old: Path, new: Path, cases: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """The figures of every case, printed as they come; half of a worker's rounds each in two processes, since where one lies
    in memory can cost a few per cent for as long as it lives.
    """
    found: dict[str, dict[str, float]] = {}
    work = [case for case in cases if case in CASES]
    halves = [working(old, new, work, (rounds + 1) // 2, swapped) for swapped in (False, True)] if work else []
    for case in cases:
        if case in CASES:
            found[case] = row([pair for half in halves for pair in half[case]])
        else:
            sides = [partial(importing, tree, IMPORTS[case]) for tree in (old, new)]
            least = min(importing(old, "pass") for _ in range(3))
            found[case] = row([(a - least, b - least) for a, b in pairs(sides[0], sides[1], rounds)])
        print(f"{case:<40}" + "".join(f"{name} {value:<10}" for name, value in found[case].items()), flush=True)
    return found


def commit(tree: Path) -> str:
    """A checkout's commit, with a + where its files are not that commit's."""
    ask: dict[str, Any] = {"cwd": tree, "capture_output": True, "text": True}
    name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **ask).stdout.strip() or tree.name
    changed = subprocess.run(["git", "status", "--porcelain", "--", "acestep_lab"], **ask).stdout.strip()
    return name + "+" * bool(changed)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("old", type=Path, help="a checkout to compare with")
    options.add_argument("--new", type=Path, default=HERE, help="the checkout that is compared; this one")
    options.add_argument("--rounds", type=int, default=6)
    options.add_argument("--cases", nargs="*", default=[""], help="words; cases whose name holds one of them")
    asked = options.parse_args()
    cases = [case for case in [*CASES, *IMPORTS] if any(word in case for word in asked.cases)]
    old, new = asked.old.resolve(), asked.new.resolve()
    print(f"old {commit(old)}, new {commit(new)}; processor milliseconds of one thread")
    table = run(old, new, cases, asked.rounds)
    if len(cases) == len(CASES) + len(IMPORTS):
        RESULTS.mkdir(exist_ok=True)
        whole = {
            "command": "python -m tests.benchmarks.bench_house OLD_TREE",
            "old": commit(old),
            "new": commit(new),
            **table,
        }
        (RESULTS / "house.json").write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
