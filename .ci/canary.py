"""Does the newest diffusers, transformers and torch still give what this package relies on? Says which names broke.

Makes an environment beside `.venv` that sees everything in it, brings the newest releases pip finds into it (and nothing else),
and runs the tests that hold our code to theirs. `.venv` stays as it is.

    python .ci/canary.py                     # what `make canary` runs
    python .ci/canary.py diffusers==0.41.0   # some other release
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "canary"
NEWEST = ("diffusers", "transformers", "torch")
TESTS = (
    "tests/test_oracle.py",
    "tests/test_parity_modules.py",
    "tests/test_attention.py",
    "tests/test_codec.py",
    "tests/test_plan_decoder.py",
    "tests/test_musicgen.py",
)
"""The oracles: ours beside diffusers' and transformers' own modules and loops."""
VERSIONS = "from importlib.metadata import version\nfor name in {names!r}: print(name, version(name))"


def main(arguments: Sequence[str]) -> int:
    """Install, test, tell; returns the exit status: 0 where nothing broke."""
    wanted = list(arguments or NEWEST)
    names = [re.split(r"[<>=!~\[]", one)[0] for one in wanted]
    before = versions(Path(sys.executable), names)
    python = environment(FOLDER)
    install = [str(python), "-m", "pip", "install", "-q", "--upgrade", *wanted]
    subprocess.run(install, check=True)
    after = versions(python, names)
    for name in names:
        same = "" if after[name] != before[name] else " (the newest pip finds here is what is here)"
        print(f"{name:<14} {before[name]} → {after[name]}{same}", flush=True)
    return test(python, names)


def environment(folder: Path) -> Path:
    """A fresh environment that also sees the packages of the one this runs in; its python."""
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    inside = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True)
    (Path(inside.stdout.strip()) / "house.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """Installed versions by name, as an environment sees them."""
    asked = [str(python), "-c", VERSIONS.format(names=list(names))]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: version for name, _, version in (line.partition(" ") for line in lines)}


def test(python: Path, names: Sequence[str]) -> int:
    """Run the oracles and say what broke."""
    report = FOLDER / "report.xml"
    asked = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", f"--junitxml={report}", *TESTS]
    result = subprocess.run(asked, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if result.returncode not in (0, 1) or not report.exists():  # the tests could not run at all
        print(result.stdout[-4000:], result.stderr[-4000:])
        return result.returncode or 1
    broken = list(failures(ElementTree.parse(report)))
    for name, reason in broken:
        print(f"broken  {name}\n        {reason}")
    gone = sorted({found for _, reason in broken for found in missing(reason)})
    print(f"names that are gone: {', '.join(gone)}" if gone else "no name is gone")
    print(result.stdout.strip().splitlines()[-1])
    return 1 if broken else result.returncode


def failures(report: ElementTree.ElementTree) -> Iterator[tuple[str, str]]:
    """Each test that failed or could not run, with the line that says why."""
    for case in report.iter("testcase"):
        for kind in ("failure", "error"):
            if (found := case.find(kind)) is not None:
                reason = (found.get("message") or found.text or "").strip().splitlines()
                yield f"{case.get('classname')}::{case.get('name')}", " ".join(reason)[:300]


def missing(reason: str) -> list[str]:
    """The names a reason says are not there, as Python, our canary test and our CheckpointErrors say it."""
    said = r"has no attribute '(\w+)'|cannot import name '(\w+)'|No module named '([\w.]+)'|unexpected keyword argument '(\w+)'"
    names = [next(filter(None, found)) for found in re.findall(said, reason)]
    return names + re.findall(r"'(\w+\.\w+)'", reason) * ("== []" in reason)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
