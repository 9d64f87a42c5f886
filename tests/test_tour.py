"""CONTRIBUTING's tour is the road a sentence takes: ten functions that are there, called in that order by a real render."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Recipe, Session

GUIDE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOUR = re.findall(
    r"^(\d+)\. `([\w/]+)\.py`, `([\w.]+)`: \w", GUIDE.partition("## The tour")[2].partition("## Words")[0], re.M
)


def test_the_tour_has_ten_stops() -> None:
    assert [number for number, _, _ in TOUR] == [str(n) for n in range(1, 11)]


def test_a_sentence_passes_the_stops_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[str] = []
    with Session.open(library=tmp_path) as lab:
        for _, file, name in TOUR:
            watch(monkeypatch, f"acestep_lab.{file.replace('/', '.')}", name, passed)
        take = lab.make(Recipe("slow dub techno", seconds=1, steps=1, seed=1))
        assert lab.library.ids() == [take.id]
    assert list(dict.fromkeys(passed)) == [name for _, _, name in TOUR]


def watch(monkeypatch: pytest.MonkeyPatch, module: str, name: str, passed: list[str]) -> None:
    """Note each call of a function or method, wherever it was imported to."""
    *owner, last = name.split(".")
    holder = functools.reduce(getattr, owner, importlib.import_module(module))
    work: Callable[..., Any] = vars(holder)[last]

    @functools.wraps(work)
    def noted(*given: Any, **named: Any) -> Any:
        passed.append(name)
        return work(*given, **named)

    monkeypatch.setattr(holder, last, noted)
    if not owner:
        for other in [one for key, one in sys.modules.items() if key.startswith("acestep_lab.")]:
            if vars(other).get(last) is work:
                monkeypatch.setattr(other, last, noted)
