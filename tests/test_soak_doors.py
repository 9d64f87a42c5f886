"""A small soak of the REST door: a server process, requests of every kind good and bad, and nothing lost or left."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.benchmarks.soak_doors import FLOOD, soak_doors


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the process through /proc")
def test_a_door_stands_sixty_requests_of_every_kind_and_a_full_queue(tmp_path: Path) -> None:
    seen = soak_doors(60, 7, tmp_path)
    assert seen["succeeded"] > 0
    assert seen["tasks known"] >= seen["tasks accepted"]
    assert 0 < seen["flood refused"] < FLOOD
