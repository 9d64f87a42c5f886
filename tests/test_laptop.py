"""A machine without torch works with a session elsewhere: nothing on that road imports what runs models."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from acestep_lab.doctor import MODEL_PACKAGES
from acestep_lab.serve.api import ApiServer
from tests.pretend import PretendSession

ROOT = Path(__file__).parent.parent
MODULES = (
    "torch",
    "torchaudio",
    "transformers",
    "diffusers",
    "peft",
    "huggingface_hub",
    "llguidance",
    "hf_xet",
    "accelerate",
)
"""What those packages are imported as, and what they bring along."""
WITHOUT_MODELS = f"""
import sys
for name in {MODULES!r}:
    sys.modules[name] = None  # importing one raises, as where it is not installed
"""
"""Begins a Python in which nothing that runs a model is installed."""


def on_a_laptop(script: str) -> str:
    """What a script prints in a Python of its own without the packages that run models."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:acestep_lab", "-c", WITHOUT_MODELS + script],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_laptop_needs_all_libraries_but_those_that_run_models():
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = (ROOT / "binder" / "laptop.txt").read_text().splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    wanted = {
        one.partition(";")[0].strip() for one in ours if Requirement(one).name.replace("_", "-") not in MODEL_PACKAGES
    }
    assert listed - {"jupyterlab>=4.3"} == wanted


def test_pages_doors_and_verbs_import_where_no_model_can_run():
    rooms = (
        "session",
        "session_like",
        "remote.connection",
        "ui.studio",
        "ui.notebook",
        "serve.app",
        "serve.api",
        "cli",
    )
    imports = "\n".join(f"import acestep_lab.{room}" for room in rooms)
    told = on_a_laptop(f"{imports}\nprint(sorted(name for name in {MODULES!r} if sys.modules[name]))")
    assert told.strip() == "[]"


def test_opening_a_checkpoint_there_says_what_is_missing_and_what_works_instead():
    script = """
from acestep_lab import Session
from acestep_lab.errors import MachineError
try:
    Session.open()
except MachineError as problem:
    print(problem)
"""
    told = on_a_laptop(script)
    assert "torch" in told
    assert "Session.connect" in told


def test_the_doctor_there_examines_what_is_there():
    script = """
from acestep_lab.doctor import examine
for finding in examine():
    print(finding)
"""
    told = on_a_laptop(script)
    assert "could not be examined" not in told
    assert "Session.connect" in told


def test_a_command_that_needs_models_says_so_in_a_sentence_there():
    script = """
from acestep_lab.cli import main
for command in (["checkpoints"], ["download", "turbo"]):
    print(main(command))
"""
    told = on_a_laptop(script + "\nimport sys").split()
    assert told == ["2", "2"], "refused, and no trace of calls"


def test_a_sweep_is_driven_from_there_by_the_command_line_and_its_measures_are_taken_where_the_models_are(
    tmp_path: Path,
):
    there = PretendSession(tmp_path / "there", pause=0.0)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"caption": "a sine", "seconds": 1.0, "steps": 2, "seed": 5}')
    with ApiServer(there, port=0) as door:
        script = f"""
import os
os.environ["ACESTEP_LAB_TAKES"] = {str(tmp_path / "here")!r}
from acestep_lab.cli import main
command = ["sweep", {str(recipe)!r}, "--axis", "shift=1,3", "--on", {door.address!r}, "--best", "loudness", "--report"]
print(main([*command, {str(tmp_path / "report.html")!r}]))
"""
        told = on_a_laptop(script)
    there.close()
    assert told.split()[-1] == "0"
    assert told.count("loudness -") == 2
    assert (tmp_path / "report.html").read_text().count("<audio") == 2
    assert len(list((tmp_path / "here").glob("take-*.flac"))) == 2


def test_what_drives_a_cluster_imports_where_no_model_can_run():
    told = on_a_laptop(
        """
from acestep_lab import Recipe
from acestep_lab.errors import MachineError
from acestep_lab.sweep.client import ClientSession
import acestep_lab.sweep.cluster, acestep_lab.sweep.report, acestep_lab.sweep.verifying, acestep_lab.cli.sweep, tempfile
with tempfile.TemporaryDirectory() as folder, ClientSession("tcp://127.0.0.1:9", folder) as lab:
    try:
        lab.make(Recipe("a sine"))
    except MachineError as problem:
        print(problem)
"""
    )
    assert "no model of its own" in told
