"""The table of tiers: what was traced fits, the plan's estimates are near it, and the code still says what the table says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acestep_lab.errors import MachineError
from acestep_lab.models.tier_table import CLOSE, drawn, read, written
from acestep_lab.models.tiers import TIERS
from tests.benchmarks.card_peaks import Peaks
from tests.benchmarks.tier_table import LENGTHS, MODELS, Tracer
from tests.phantom import PhantomCard

CELLS = read()
BY_NAME = {(cell.tier, cell.model, cell.seconds): cell for cell in CELLS}


@pytest.fixture
def card() -> Iterator[PhantomCard]:
    with PhantomCard(real_host=True) as found:
        yield found


def test_every_row_and_model_is_in_the_table_at_every_length_it_offers() -> None:
    assert {(cell.tier, cell.model) for cell in CELLS} == {(tier.name, model) for tier in TIERS for model in MODELS}
    assert {cell.seconds for cell in CELLS} == set(LENGTHS)


def test_what_was_traced_is_there_and_the_plan_is_near_it() -> None:
    for cell in CELLS:
        assert abs(cell.error) <= CLOSE, cell
        assert cell.fits or cell.planned > cell.memory, cell  # where there is no room, the plan says so


@pytest.mark.parametrize(
    ("tier", "model", "seconds"),
    [("24 GB", "turbo", 60.0), ("8 GB", "ace-step-v1", 240.0), ("more", "musicgen-small", 10.0)],
)
def test_the_code_plans_what_the_table_says(
    card: PhantomCard, tmp_path: Path, tier: str, model: str, seconds: float
) -> None:
    found = Planned(card, tmp_path).cell(next(row for row in TIERS if row.name == tier), model, seconds)
    there = BY_NAME[tier, model, seconds]
    assert found is not None
    assert (found.takes, found.level, found.tile_frames) == (there.takes, there.level, there.tile_frames)
    assert found.planned == pytest.approx(there.planned, rel=0.001)


class Planned(Tracer):
    """Plans as the table has them, with nothing traced."""

    def of(self, model: str, lm: str) -> Peaks:
        peaks = super().of(model, lm)
        vars(peaks)["traced"] = lambda plan: plan
        return peaks


def test_a_trace_is_what_the_table_says(card: PhantomCard, tmp_path: Path) -> None:
    there = BY_NAME["4 GB", "musicgen-small", 10.0]
    found = Tracer(card, tmp_path).cell(TIERS[0], "musicgen-small", 10.0)
    assert found is not None
    assert found.traced == pytest.approx(there.traced, rel=0.02)


def test_the_table_is_drawn_without_torch_and_survives_being_written() -> None:
    assert "musicgen-large" in drawn(CELLS)
    draw = "import sys; from acestep_lab.models.tier_table import drawn, read; drawn(read()); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", draw], check=False).returncode == 0


def test_a_table_reads_as_it_was_written_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(written(CELLS[:3]), encoding="utf-8")
    assert read(file) == CELLS[:3]
    file.write_text("[{}]", encoding="utf-8")
    with pytest.raises(MachineError, match="cannot be read"):
        read(file)
