"""Metrics as values: a table to print, a chart, files to keep. Knows no models."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from acestep_lab.errors import LibraryError


@dataclass(frozen=True)
class Metric:
    """One measured value with its chance level, its ceiling and the threshold it should reach."""

    group: str
    name: str
    value: float
    chance: float | None = None
    ceiling: float | None = None
    n: int = 0
    unit: str = ""
    threshold: float | None = None
    """The project's own threshold for the pocket, where there is one."""

    @property
    def met(self) -> bool | None:
        """Whether the threshold is met; None where there is none."""
        return None if self.threshold is None else self.value >= self.threshold


@dataclass(frozen=True)
class Report:
    """All metrics of one evaluation, and the settings it was made with."""

    checkpoint: str
    settings: dict[str, object]
    metrics: tuple[Metric, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Groups of measures that this checkpoint cannot be measured by, each with the reason as a sentence."""

    def __getitem__(self, name: str) -> Metric:
        """The first metric of a name; raises KeyError where there is none."""
        found = next((metric for metric in self.metrics if metric.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def table(self) -> str:
        """The metrics as a Markdown table."""
        head = f"Evaluated: {self.checkpoint} ({', '.join(f'{k} {v}' for k, v in self.settings.items())})\n\n"
        rows = ["| | measure | value | chance | ceiling | n | threshold |", "|---|---|---|---|---|---|---|"]
        for metric in self.metrics:
            threshold = "" if metric.threshold is None else f"≥ {_text(metric.threshold)} {'✓' if metric.met else '✗'}"
            cells = (metric.group, metric.name, f"{_text(metric.value)} {metric.unit}".strip(),
                     _text(metric.chance), _text(metric.ceiling), str(metric.n or ""), threshold)  # fmt: skip
            rows.append("| " + " | ".join(cells) + " |")
        missing = [f"\n\nLeft out: {name}. {why}" for name, why in self.left_out.items()]
        return head + "\n".join(rows) + "".join(missing)

    def picture(self) -> str:
        """Shares from 0 to 1 as an SVG: a bar from chance to value, a tick at the ceiling."""
        shares = [f for f in self.metrics if not f.unit and f.chance is not None]
        rows = "".join(_bar(metric, 34 + 26 * place) for place, metric in enumerate(shares))
        height = 52 + 26 * len(shares)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" font-family="system-ui, sans-serif" '
            f'font-size="13"><rect width="760" height="{height}" fill="#fff"/>'
            f'<text x="12" y="20" font-weight="600">{html.escape(self.checkpoint)}</text>'
            f'<text x="250" y="20" fill="#666">chance ○ — value ● — ceiling ▏</text>{rows}</svg>'
        )

    def write(self, folder: str | Path) -> Path:
        """Write `evaluation.json`, `evaluation.md` and `evaluation.svg` into a folder; raises LibraryError where that cannot be done."""
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            values = {
                "checkpoint": self.checkpoint,
                "settings": self.settings,
                "metrics": [asdict(f) for f in self.metrics],
                "left_out": dict(self.left_out),
            }
            (target / "evaluation.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
            (target / "evaluation.md").write_text(self.table() + "\n", encoding="utf-8")
            (target / "evaluation.svg").write_text(self.picture() + "\n", encoding="utf-8")
        except OSError as error:
            raise LibraryError(f"The report cannot be written to {str(target)!r} ({error.strerror}).") from None
        return target


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 2 else f"{value:.2f}"


def _bar(metric: Metric, y: int) -> str:
    def x(share: float | None) -> float:
        return 250 + 480 * min(1.0, max(0.0, share or 0.0))

    ceiling = "" if metric.ceiling is None else (
        f'<line x1="{x(metric.ceiling):.0f}" x2="{x(metric.ceiling):.0f}" y1="{y - 2}" y2="{y + 16}" stroke="#000" stroke-width="2"/>'
    )  # fmt: skip
    return (
        f'<text x="12" y="{y + 12}">{html.escape(metric.name)}</text>'
        f'<line x1="250" x2="730" y1="{y + 7}" y2="{y + 7}" stroke="#ddd"/>'
        f'<line x1="{x(metric.chance):.0f}" x2="{x(metric.value):.0f}" y1="{y + 7}" y2="{y + 7}" stroke="#0072B2" stroke-width="5"/>'
        f'<circle cx="{x(metric.chance):.0f}" cy="{y + 7}" r="5" fill="#fff" stroke="#0072B2" stroke-width="2"/>'
        f'<circle cx="{x(metric.value):.0f}" cy="{y + 7}" r="6" fill="#D55E00"/>{ceiling}'
    )
