"""A torchaudio whose compiled half does not load harms nobody; one that loads is left alone.

The tests make both kinds: small packages called torchaudio, of the real one's construction, in front of it on the path.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from acestep_lab import _torchaudio
from acestep_lab.errors import MachineError

ROOT = Path(__file__).parents[1]
installed = pytest.mark.skipif(importlib.util.find_spec("torchaudio") is None, reason="torchaudio is not installed")


def run(code: str, *front: Path) -> str:
    """What a fresh Python prints, with these folders in front on its path."""
    path = os.pathsep.join(map(str, (*front, ROOT)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pretended(folder: Path, extension: str) -> Path:
    """A package called torchaudio whose `_extension` runs this code."""
    package = folder / "torchaudio"
    (package / "_extension").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import _extension\nfrom . import functional\n")
    (package / "_extension" / "__init__.py").write_text(extension)
    (package / "functional.py").write_text(
        "from torchaudio._extension import _IS_TORCHAUDIO_EXT_AVAILABLE, fail_if_no_align\n"
        "@fail_if_no_align\ndef align(): return 'aligned'\n"
    )
    return folder


PATCHED = "from acestep_lab._torchaudio import patch_torchaudio, state\npatch_torchaudio()\npatch_torchaudio()\nimport torchaudio\nprint(state())\n"
WHOLE = "_IS_TORCHAUDIO_EXT_AVAILABLE = True\ndef fail_if_no_align(f): return f\nmine = 'untouched'\n"


@pytest.mark.parametrize(
    "fault", ["OSError('no libc10_cuda.so')", "ImportError('no libtorchaudio')", "RuntimeError('other CUDA')"]
)
def test_a_broken_torchaudio_can_be_imported_after_the_patch(fault: str, tmp_path: Path) -> None:
    broken = pretended(tmp_path, f"raise {fault}")
    refuses = "try: torchaudio.functional.align()\nexcept Exception as reason: print(type(reason).__name__, reason)"

    assert run(PATCHED, broken) == "patched"
    assert "MachineError torchaudio's forced alignment (align) needs its compiled half" in run(
        PATCHED + refuses, broken
    )


def test_a_working_torchaudio_is_left_as_it_is(tmp_path: Path) -> None:
    working = pretended(tmp_path, WHOLE)

    said = run(PATCHED + "print(torchaudio._extension.mine, torchaudio.functional.align())", working)

    assert said.split("\n") == ["works", "untouched aligned"]


def test_the_remains_of_a_failed_import_are_cleared_away(tmp_path: Path) -> None:
    broken = pretended(tmp_path, "import torchaudio.left_behind\nraise OSError('no')")
    (broken / "torchaudio" / "left_behind.py").write_text("")
    before = "import sys\ntry: import torchaudio\nexcept OSError: print('torchaudio.left_behind' in sys.modules)\n"

    assert run(before + PATCHED, broken).split("\n") == ["True", "patched"]


def test_the_patch_is_cheap_and_imports_neither_torch_nor_torchaudio() -> None:
    code = (
        "import sys\nfrom acestep_lab._torchaudio import patch_torchaudio\npatch_torchaudio(); finders = len(sys.meta_path); patch_torchaudio()\n"
        "print('torch' in sys.modules, 'torchaudio' in sys.modules, len(sys.meta_path) - finders)"
    )

    assert run(code) == "False False 0"


@installed
def test_diffusers_and_transformers_import_after_the_patch_whatever_torchaudio_is_installed() -> None:
    code = (
        "from acestep_lab._libraries import diffusers, transformers\n"
        "print(diffusers.AceStepPipeline.__name__, transformers.Qwen3Model.__name__)\nimport transformers.audio_utils\n"
        "from acestep_lab._torchaudio import state\nprint(state() in ('works', 'patched'))"
    )

    assert run(code).split("\n") == ["AceStepPipeline Qwen3Model", "True"]


@installed
def test_a_mel_spectrogram_shows_a_tone_in_one_band() -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)

    power = _torchaudio.mel(tone, 16_000, bins=40, window=1024, hop=256)

    assert power.shape == (40, 63)
    assert float(power.sum(1).max() / power.sum()) > 0.4


def test_without_torchaudio_the_sentence_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys, torch\nsys.modules['torchaudio'] = None\n"
        "from acestep_lab import _torchaudio\n"
        "try: _torchaudio.mel(torch.zeros(2048), 16000)\nexcept Exception as reason: print(type(reason).__name__, reason)"
    )

    said = run(code)
    assert said.startswith(MachineError.__name__)
    assert "pip install torchaudio" in said


def test_a_session_is_imported_and_makes_music_beside_a_torchaudio_that_does_not_load(tmp_path: Path) -> None:
    broken = pretended(tmp_path, "raise OSError('no libc10_cuda.so')")
    code = (
        f"import sys\nimport acestep_lab.session\nprint('torchaudio' in sys.modules)\n"
        f"from acestep_lab import Recipe, Session\n"
        f"with Session.open('pocket', library={str(tmp_path / 'takes')!r}) as lab:\n"
        "    print(lab.make(Recipe('dub', seconds=1, steps=1, seed=1, thinking=False)).audio.samples.shape[0])\n"
    )

    assert run(code, broken).split("\n") == ["False", "1"]


LIBRARIES = ("diffusers", "transformers", "peft")


def imported_outright(source: str) -> list[int]:
    """Lines on which a source imports one of the libraries, those for type checkers left out."""
    tree = ast.parse(source)
    typed = {id(n) for i in ast.walk(tree) if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test)
             for n in ast.walk(i)}  # fmt: skip
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) and id(n) not in typed]
    named = [(n.lineno, getattr(n, "module", None) or n.names[0].name) for n in found]
    return [line for line, name in named if name.split(".")[0] in LIBRARIES]


def test_every_room_imports_the_libraries_through_the_one_boundary() -> None:
    assert imported_outright("import peft\nfrom diffusers.hooks import x\nif TYPE_CHECKING:\n    import peft") == [1, 2]
    rooms = (ROOT / "acestep_lab").rglob("*.py")
    assert {str(file): lines for file in rooms if (lines := imported_outright(file.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "module", ["_libraries", "models.components", "models.adapters", "engines.ace15.attention", "session"]
)
def test_nothing_is_patched_and_no_library_imported_when_a_module_of_ours_is(module: str) -> None:
    code = (
        f"import sys\nimport acestep_lab.{module}\nfrom acestep_lab import _torchaudio\n"
        f"print([name for name in {LIBRARIES} if name in sys.modules], any(isinstance(f, _torchaudio._Finder) for f in sys.meta_path))"
    )

    assert run(code) == "[] False"
