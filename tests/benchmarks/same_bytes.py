"""Whether two checkouts render the kept takes of earlier versions to the same bytes on this machine.

    python -m tests.benchmarks.same_bytes OLD_TREE [NEW_TREE]      # a minute of processor time; NEW_TREE: this one

Each checkout renders, in a process of its own on one thread, every take of `tests/data/takes_of_2026_11` from its recipe and from
what was asked (so that the planner writes anew). Exit code 1 where a latent or a sound differs in any bit between the two; that
the bytes are also those on disk is only told, since another machine made them. Runs from any checkout: the worker below uses
`Session.open`, `load` (in earlier checkouts `open`), `make`, `lora` and `start` alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
TAKES = Path("tests") / "data" / "takes_of_2026_11"
WORKER = """
import hashlib, json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np, torch
torch.set_num_threads(1)
import acestep_lab
from acestep_lab import Session
folder, tree = Path(sys.argv[1]), sys.argv[2]
assert acestep_lab.__file__.startswith(tree), acestep_lab.__file__

def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()

def marks(take):
    return {"latent": digest(take.latent), "sound": digest(take.audio.samples), "id": take.id}

def step_of(lab, recipe, plan, step):
    run = lab.start(recipe, plan)
    for frame in run:
        if frame.index == step:
            kept = run.keep(step)
    run.take()
    return kept

with Session.open("pocket", library=folder, device="cpu", dtype="float32") as lab:
    for name, told in json.loads((folder / "takes.json").read_text()).items():
        take = getattr(lab, "load", lab.open)(told["id"])
        worn = take.made_with["adapters"]
        lab.lora(*((folder / f"{adapter}.safetensors", strength) for adapter, strength in worn.items()))
        step = take.made_with.get("step")
        found = {"kept": marks(take)}
        for way, recipe, plan in (("recipe", take.recipe, take.plan), ("asked", take.asked, None)):
            again = lab.make(recipe, plan) if step is None else step_of(lab, recipe, plan, step)
            found[way] = marks(again)
        print(json.dumps({"name": name, **found}), flush=True)
"""


def rendered(tree: Path) -> dict[str, dict[str, Any]]:
    """What one checkout makes of every take: digests by the take's name."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "takes"
        shutil.copytree(HERE / TAKES, folder)
        settings = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run([sys.executable, "-c", WORKER, str(folder), str(tree)], env=settings, cwd=place,
                              capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{tree} could not render the takes:\n{done.stderr[-3000:]}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row.pop("name"): row for row in rows}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What of one take is not the same in both checkouts, as "asked: sound"."""
    pairs = [(way, what) for way in ("recipe", "asked") for what in ("latent", "sound")]
    return [f"{way}: {what}" for way, what in pairs if old[way][what] != new[way][what]]


def as_on_disk(row: dict[str, Any]) -> str:
    """Whether the bytes rendered from the recipe are those that were kept."""
    return "yes" if all(row["kept"][what] == row["recipe"][what] for what in ("latent", "sound")) else "no"


def main(old_tree: Path, new_tree: Path) -> int:
    """Print a row per take; 1 where any differs."""
    old, new = rendered(old_tree), rendered(new_tree)
    if list(old) != list(new):
        raise SystemExit("The two checkouts did not render the same takes.")
    print(f"{'take':<24}{'old and new':<64}{'as on disk (old, new)':<24}same id")
    bad = 0
    for name, before in old.items():
        after = new[name]
        apart = differences(before, after)
        bad += bool(apart)
        disk = f"{as_on_disk(before)}, {as_on_disk(after)}"
        same_id = "yes" if before["recipe"]["id"] == after["recipe"]["id"] else "no"
        print(f"{name:<24}{'; '.join(apart) or 'same bytes':<64}{disk:<24}{same_id}")
    print(f"{len(old) - bad} of {len(old)} takes have the same bytes in {old_tree.name} and {new_tree.name}.")
    return 1 if bad else 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit(__doc__)
    trees = [Path(word).resolve() for word in sys.argv[1:]]
    sys.exit(main(trees[0], trees[1] if len(trees) == 2 else HERE))
