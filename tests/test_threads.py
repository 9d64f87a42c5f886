"""How many threads a CPU works with: measured once for a machine, remembered, and never where somebody chose."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from acestep_lab.models import threads

AUTO = {"ACESTEP_LAB_THREADS": "auto"}


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A machine of four cores on which nobody chose; torch's number is put back after."""
    before = torch.get_num_threads()
    for name in threads.OTHERS_SAY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    torch.set_num_threads(4)
    yield []
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "tried"),
    [
        (1, (2,)),
        (2, (2,)),
        (4, (2, 3, 4)),
        (12, (3, 4, 6, 9, 12)),
        (64, (16, 21, 32, 48, 64)),
        (200, (16, 21, 32, 48, 64)),
    ],
)
def test_what_is_tried_lies_between_two_and_sixty_four(cores: int, tried: tuple[int, ...]) -> None:
    assert threads.counts(cores) == tried


def test_fewer_threads_win_where_more_are_hardly_quicker() -> None:
    assert threads.quickest((2, 4, 8), {2: 2.0, 4: 1.03, 8: 1.0}.__getitem__) == 4
    assert threads.quickest((2, 4, 8), {2: 2.0, 4: 1.2, 8: 1.0}.__getitem__) == 8


def test_a_machine_is_measured_once_and_chooses_the_same_again(four_cores: list[int], tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "threads.json"

    def measure(count: int) -> float:
        four_cores.append(count)
        return abs(count - 3) + 1.0

    assert threads.settle(measure, AUTO, kept) == torch.get_num_threads() == 3
    assert four_cores == [2, 3, 4]
    torch.set_num_threads(4)
    assert threads.settle(measure, AUTO, kept) == 3
    assert four_cores == [2, 3, 4], "nothing is measured again"
    torch.set_num_threads(4)
    kept.write_text("[1, 2")
    assert threads.settle(measure, AUTO, kept) == 3, "what cannot be read is measured anew"


@pytest.mark.parametrize(("asked", "found"), [("7", 7), ("torch", 4)])
def test_what_is_set_comes_before_any_measurement(
    four_cores: list[int], tmp_path: Path, asked: str, found: int
) -> None:
    assert threads.settle(four_cores.append, {"ACESTEP_LAB_THREADS": asked}, tmp_path / "t.json") == found  # type: ignore[arg-type]
    assert four_cores == []


def test_who_chose_for_torch_is_left_in_peace(
    four_cores: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    assert threads.settle(four_cores.append, AUTO, tmp_path / "t.json") == 1  # type: ignore[arg-type]
    torch.set_num_threads(4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads.settle(four_cores.append, AUTO, tmp_path / "t.json") == 4  # type: ignore[arg-type]
    assert four_cores == []


def test_a_choice_that_cannot_be_kept_is_told(
    four_cores: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where a folder belongs")
    with caplog.at_level(logging.WARNING):
        assert threads.settle(float, AUTO, tmp_path / "taken" / "threads.json") == 2
    assert "ACESTEP_LAB_THREADS" in caplog.text


def test_measuring_leaves_the_number_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "measured_flops", lambda *_, **__: 1e12 * torch.get_num_threads())
    monkeypatch.setattr(threads, "measured_bandwidth", lambda **_: 1e10)
    assert threads.seconds_with(2) == pytest.approx(0.43 / 2 + 0.51), "both are measured with so many threads"
    assert torch.get_num_threads() == before
