"""Speed and memory are measured, and what others publish is written beside and never mixed in."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from acestep_lab.cli import main
from acestep_lab.errors import RecipeError
from acestep_lab.evaluate import speed
from acestep_lab.evaluate.speed import PUBLISHED, PUBLISHED_STEPS, Speed, SpeedTable, measure, peak_memory
from acestep_lab.models.tiers import GB
from tests.tiny_v1 import tiny_v1


def test_a_checkpoint_is_measured_and_its_factor_is_music_by_time(tmp_path: Path) -> None:
    found = measure(str(tiny_v1(tmp_path / "tiny")), seconds=2.0)
    assert found.checkpoint == "tiny"
    assert found.steps == PUBLISHED_STEPS, "As many as the figures beside it were measured with."
    assert found.seconds == pytest.approx(2.0, abs=0.1)
    assert found.real_time_factor == pytest.approx(found.seconds / found.took)
    assert found.memory_bytes > 10 * 2**20
    with pytest.raises(RecipeError):
        measure("pocket", rounds=0)


def test_the_peak_counts_what_was_held_meanwhile_and_given_back() -> None:
    with peak_memory("cpu") as small:
        pass
    with peak_memory("cpu") as large:
        held = np.ones(12_000_000)
        until = time.monotonic() + 30
        while large.bytes - small.bytes < 60e6 and time.monotonic() < until:
            time.sleep(0.005)  # the watcher looks every 5 ms, if the machine lets it
        del held
    assert large.of == "process"
    assert large.bytes - small.bytes > 60e6


def test_the_table_has_each_row_once_and_says_which_cards_are_too_small() -> None:
    ours = Speed("pocket", "CPU", 10.0, 4.0, 16, GB // 2, "process")
    printed = str(SpeedTable((ours,)))
    assert printed.count("\n") == len(PUBLISHED) + 1
    assert "2.50" in printed.splitlines()[1]
    assert "0.50 GB (process)" in printed.splitlines()[1]
    assert [one.machine for one in PUBLISHED if one.fits is False] == ["RTX 3080"]
    assert SpeedTable((ours,))._repr_html_().count("<tr>") == len(PUBLISHED) + 2
    assert [one.real_time_factor for one in PUBLISHED] == sorted((p.real_time_factor for p in PUBLISHED), reverse=True)


def test_the_doctor_measures_when_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []

    def table(names: object, **how: object) -> SpeedTable:
        asked.append(names)
        return SpeedTable((Speed("pocket", "CPU", 10.0, 4.0, 16, GB, "process"),))

    monkeypatch.setattr(speed, "speeds", table)
    monkeypatch.setattr("acestep_lab.doctor.examine", lambda *_, **__: [])
    assert main(["doctor", "--speed", "--checkpoint", "pocket"]) == 0
    assert main(["doctor"]) == 0
    assert asked == [["pocket"]]
    assert "real-time factor" in capsys.readouterr().out
