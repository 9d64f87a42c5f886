"""The table of tiers, proven: for every row of machine, model and length, the plan's estimate against a trace on a pretended card.

python -m tests.benchmarks.tier_table              # computes it, draws it, says where it is not as it should be
python -m tests.benchmarks.tier_table --write      # and writes acestep_lab/models/tier_table.json
python -m tests.benchmarks.tier_table --write "8 GB" cpu          # some rows only; the others stay as they are written
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from acestep_lab.models.memory_plan import budget
from acestep_lab.models.tier_table import CLOSE, FILE, Cell, drawn, read, written
from acestep_lab.models.tiers import TIERS, Tier
from acestep_lab.prompt.recipe import Recipe
from tests.benchmarks.card_peaks import Peaks
from tests.phantom import PhantomCard

LENGTHS = (10.0, 60.0, 240.0, 600.0)
MODELS = ("turbo", "base", "xl-turbo", "ace-step-v1", "musicgen-small", "musicgen-medium", "musicgen-large")
LMS = {"turbo", "base", "xl-turbo"}


class Tracer:
    """Traces of every model, made once."""

    def __init__(self, card: PhantomCard, folder: Path) -> None:
        self.card, self.folder, self._known = card, folder, dict[tuple[str, str], Peaks]()
        self._traces: dict[tuple[object, ...], object] = {}

    def of(self, model: str, lm: str) -> Peaks:
        """The traces of a model with the planner of a row."""
        key = model, lm if model in LMS else ""
        if key not in self._known:
            self._known[key] = Peaks(self.card, self.folder / "-".join(key), *key, known=self._traces)
        return self._known[key]

    def cell(self, tier: Tier, model: str, seconds: float) -> Cell | None:
        """One cell: as many takes as the row allows at that length; None for a length that is not offered there."""
        peaks = self.of(model, tier.lm)
        engine, recipe = peaks.engine, Recipe("dub", seconds=seconds)
        about = {"tier": tier, "passes": engine.passes, "longest": engine.capabilities.seconds[1]}
        asked = budget(tier.machine, peaks.specs, recipe, **about)
        if seconds > asked.longest_seconds:
            return None
        plan = budget(tier.machine, peaks.specs, recipe, takes=asked.batch, **about)
        return Cell(
            tier.name, model, seconds, plan.takes, plan.level.name, plan.tile_frames, plan.left_out, tier.machine.memory_bytes,
            plan.use_bytes, peaks.traced(plan).use_bytes,
        )  # fmt: skip

    def cells(self, names: Collection[str]) -> Iterator[Cell]:
        """All of the rows of these names."""
        for tier in (row for row in TIERS if row.name in names):
            for model in MODELS:
                found = [self.cell(tier, model, seconds) for seconds in LENGTHS]
                yield from (cell for cell in found if cell is not None)
                print(tier.name, model, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    names = [one for one in arguments if not one.startswith("--")] or [tier.name for tier in TIERS]
    cells: tuple[Cell, ...] = ()
    with tempfile.TemporaryDirectory() as folder, PhantomCard(real_host=True) as card:
        tracer = Tracer(card, Path(folder))
        for name in names:
            cells += tuple(tracer.cells([name]))
            if "--write" in arguments:
                _write(cells)
    print(drawn(cells))
    wrong = [cell for cell in cells if not abs(cell.error) <= CLOSE or (not cell.fits and cell.planned <= cell.memory)]
    for cell in wrong:
        print(f"{cell.tier}, {cell.model}, {cell.seconds:g} s x {cell.takes}: planned {cell.planned / 2**30:.2f} GB, "
              f"traced {cell.traced / 2**30:.2f} of {cell.memory / 2**30:g} ({cell.error:+.0%}), {cell.level}")  # fmt: skip
    return len(wrong)


def _write(cells: Collection[Cell]) -> None:
    """Put these rows into the table; the others stay."""
    order, made = [tier.name for tier in TIERS], {cell.tier for cell in cells}
    others = [cell for cell in (read() if FILE.is_file() else ()) if cell.tier not in made]
    FILE.write_text(written(sorted([*others, *cells], key=lambda cell: order.index(cell.tier))), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
