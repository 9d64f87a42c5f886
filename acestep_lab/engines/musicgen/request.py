"""A recipe with every number decided for MusicGen. Knows no weights and no loop; no field is None."""

from __future__ import annotations

from dataclasses import dataclass, replace

from acestep_lab.engines.base import Request
from acestep_lab.engines.musicgen.windows import Window


@dataclass(frozen=True)
class Rules:
    """How a token is drawn, every number decided."""

    temperature: float
    top_k: int
    top_p: float
    guidance_scale: float

    @property
    def rows(self) -> int:
        """Rows the decoder is asked in: with the words, and without where the two are weighed against each other."""
        return 1 if self.guidance_scale == 1.0 else 2

    @property
    def after_temperature(self) -> Rules:
        """What is left to be done with logits that were divided by the temperature; 0 stays."""
        return replace(self, temperature=1.0 if self.temperature else 0.0)


@dataclass(frozen=True)
class TokenRequest(Request):
    """A request for MusicGen."""

    rules: Rules
    windows: tuple[Window, ...]
    latest: int
    """By how many steps the last codebook is late."""

    @property
    def steps(self) -> int:
        return sum(window.end - window.start + self.latest for window in self.windows)

    @property
    def passes(self) -> int:
        return self.rules.rows
