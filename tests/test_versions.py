"""A take is never lost to the name of a version, however the packages came here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import acestep_lab
from acestep_lab.versions import UNKNOWN, version_of

PACKAGE = Path(acestep_lab.__file__).parent


@pytest.mark.parametrize(
    "problem", [PackageNotFoundError("x"), KeyError("Version"), ValueError("bad"), OSError(5, "io")]
)
def test_a_package_without_records_is_asked_itself(problem: Exception) -> None:
    def installed(name: str) -> str:
        raise problem

    import numpy

    assert version_of("numpy", installed) == numpy.__version__
    assert version_of("acestep_lab", installed) == acestep_lab.__version__
    assert version_of("no_such_package", installed) == UNKNOWN
    assert version_of("antigravity_of_nothing", lambda name: None) == UNKNOWN


def test_our_own_version_is_that_of_the_code_at_work() -> None:
    assert version_of("acestep_lab", lambda name: "99.0") == acestep_lab.__version__
    assert version_of("numpy", lambda name: "99.0") == "99.0"


def test_a_copied_source_tree_keeps_what_it_renders(tmp_path: Path, tiny_base: Path) -> None:
    """As somebody runs it who installed nothing: a folder on the path, and no records of any package of ours."""
    copy = shutil.copytree(PACKAGE, tmp_path / "source" / "acestep_lab", ignore=shutil.ignore_patterns("__pycache__"))
    program = f"""
        import importlib.metadata
        known, loaded = importlib.metadata.version, []
        def version(name):
            if name == "acestep_lab" or (name == "torch" and loaded):  # diffusers and accelerate want to know while they are loaded
                raise importlib.metadata.PackageNotFoundError(name)
            return known(name)
        importlib.metadata.version = version
        import acestep_lab, torch
        assert acestep_lab.__file__.startswith({str(tmp_path)!r}), acestep_lab.__file__
        with acestep_lab.Session.open({str(tiny_base)!r}, library={str(tmp_path / "takes")!r}) as lab:
            recipe = acestep_lab.Recipe("dub", seconds=0.5, seed=1, steps=1, thinking=False)
            lab.make(recipe)  # libraries are loaded when they are first used
            loaded.append(lab.engine)
            take = lab.make(recipe.replace(seed=2))
            assert take.id in lab.library.ids()
            found = take.made_with["versions"]
            assert found["torch"] == torch.__version__
            print(found["acestep_lab"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ | {"PYTHONPATH": str(copy.parent)},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == acestep_lab.__version__, done.stderr
