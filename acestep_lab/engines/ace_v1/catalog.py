"""The published ACE-Step v1 checkpoint: where it is and how large, by arithmetic. Knows no tensors and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LICENCE = "Apache-2.0"
LONGEST_SECONDS = 240.0
"""The longest song the model was taught, and looks at at once."""
TRANSFORMER_NUMBERS = 3_305_659_264
"""Of the published transformer, all that its file holds."""
UNUSED_NUMBERS = 629_391_360 + 87_840_512
"""Of these, projections that are never called, and REPA's projectors, which are left on the disk."""
UMT5_NUMBERS = 281_861_376
"""UMT5-base's encoder, counted from its config."""
DCAE_NUMBERS, VOCODER_NUMBERS = 156_812_426, 103_005_138


@dataclass(frozen=True)
class Row:
    """One published checkpoint."""

    name: str
    repo: str
    sizes: Mapping[str, int]
    """Bytes of each component at two bytes a number."""
    licence: str = LICENCE
    longest_seconds: float = LONGEST_SECONDS
    note: str = ""


V1 = Row(
    "ace-step-v1",
    "ACE-Step/ACE-Step-v1-3.5B",
    MappingProxyType(
        {
            "text": 2 * UMT5_NUMBERS,
            "dit": 2 * (TRANSFORMER_NUMBERS - UNUSED_NUMBERS),
            "codec": 2 * (DCAE_NUMBERS + VOCODER_NUMBERS),
        }
    ),
    note="the first ACE-Step: linear attention, sings in 17 languages, songs of up to 4 minutes; 8.3 GB to fetch",
)
ROWS: Mapping[str, Row] = MappingProxyType({V1.name: V1})


def find(name: str) -> Row | None:
    """The row of a name ("ace-step-v1") or of its repo, with or without the owner; None if there is none."""
    low = name.lower()
    repos = {row.repo.lower(): row for row in ROWS.values()}
    return ROWS.get(low) or repos.get(low) or repos.get(f"ace-step/{low}")
