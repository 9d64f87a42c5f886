"""A torchaudio whose compiled half does not load harms nobody; one that loads is left alone.

The tests make both kinds: small packages called torchaudio, of the real one's construction, in front of it on the path.
"""

from __future__ import annotations

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


CURED = (
    "from acestep_lab._torchaudio import patch_torchaudio, state\ncure()\ncure()\nimport torchaudio\nprint(state())\n"
)
WHOLE = "_IS_TORCHAUDIO_EXT_AVAILABLE = True\ndef fail_if_no_align(f): return f\nmine = 'untouched'\n"


@pytest.mark.parametrize(
    "fault", ["OSError('no libc10_cuda.so')", "ImportError('no libtorchaudio')", "RuntimeError('other CUDA')"]
)
def test_a_broken_torchaudio_can_be_imported_after_the_cure(fault: str, tmp_path: Path) -> None:
    broken = pretended(tmp_path, f"raise {fault}")
    refuses = "try: torchaudio.functional.align()\nexcept Exception as reason: print(type(reason).__name__, reason)"

    assert run(CURED, broken) == "cured"
    assert "MachineError torchaudio's forced alignment (align) needs its compiled half" in run(CURED + refuses, broken)


def test_a_working_torchaudio_is_left_as_it_is(tmp_path: Path) -> None:
    working = pretended(tmp_path, WHOLE)

    said = run(CURED + "print(torchaudio._extension.mine, torchaudio.functional.align())", working)

    assert said.split("\n") == ["works", "untouched aligned"]


def test_the_remains_of_a_failed_import_are_cleared_away(tmp_path: Path) -> None:
    broken = pretended(tmp_path, "import torchaudio.left_behind\nraise OSError('no')")
    (broken / "torchaudio" / "left_behind.py").write_text("")
    before = "import sys\ntry: import torchaudio\nexcept OSError: print('torchaudio.left_behind' in sys.modules)\n"

    assert run(before + CURED, broken).split("\n") == ["True", "cured"]


def test_the_cure_is_cheap_and_imports_neither_torch_nor_torchaudio() -> None:
    code = (
        "import sys\nfrom acestep_lab._torchaudio import patch_torchaudio\ncure(); finders = len(sys.meta_path); patch_torchaudio()\n"
        "print('torch' in sys.modules, 'torchaudio' in sys.modules, len(sys.meta_path) - finders)"
    )

    assert run(code) == "False False 0"


@installed
def test_diffusers_and_transformers_import_after_the_cure_whatever_torchaudio_is_installed() -> None:
    code = (
        "import acestep_lab.models\n"
        "from diffusers import AceStepPipeline\nfrom transformers import Qwen3Model\nimport transformers.audio_utils\n"
        "from acestep_lab._torchaudio import state\nprint(AceStepPipeline.__name__, state() in ('works', 'cured'))"
    )

    assert run(code) == "AceStepPipeline True"


@installed
def test_resampling_keeps_a_tone_and_its_length() -> None:
    seconds = torch.arange(8000) / 8000
    tone = torch.sin(2 * torch.pi * 440 * seconds).repeat(2, 1)

    up = _torchaudio.resample(tone, 8000, 24_000)

    expected = torch.sin(2 * torch.pi * 440 * torch.arange(24_000) / 24_000)
    assert up.shape == (2, 24_000)
    assert float((up[:, 500:-500] - expected[500:-500]).abs().max()) < 2e-3
    assert _torchaudio.resample(tone, 8000, 8000) is tone


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
        "try: _torchaudio.resample(torch.zeros(10), 8000, 16000)\nexcept Exception as reason: print(type(reason).__name__, reason)"
    )

    said = run(code)
    assert said.startswith(MachineError.__name__)
    assert "pip install torchaudio" in said
