"""The parts' house: built once, no more aboard than allowed, and memory that runs out is survived."""


import pytest
from torch import nn

from acestep_lab.errors import MachineError
from acestep_lab.models.budget import budget
from acestep_lab.models.residency import Residency
from acestep_lab.models.tiers import GB, PARTS, Machine, Tier

SIZES = {"text": 1.19e9, "condition": 1.22e9, "dit": 3.15e9, "vae": 0.34e9, "codes": 0.42e9, "lm": 3.7e9}


class CountingMover:
    """Carries nothing, counts who is on the device, and runs out of memory when told to."""

    def __init__(self):
        self.on_device: set[int] = set()
        self.peak = 0
        self.moves = 0

    def bring(self, module):
        self.on_device.add(id(module))
        self.moves += 1
        self.peak = max(self.peak, len(self.on_device))

    def park(self, module):
        self.on_device.discard(id(module))

    def stream(self, module, level):
        self.moves += 1

    def tidy(self):
        pass


class Builder:
    """Makes a tiny module per part and remembers how often."""

    def __init__(self):
        self.built: list[str] = []

    def __call__(self, part):
        self.built.append(part)
        return nn.Linear(4, 4)


def house(gigabytes, kind="cuda", **more):
    arrangement = budget(Machine(kind, int(gigabytes * GB), simulated=True), SIZES)
    return Residency(Builder(), arrangement, CountingMover(), **more)


def render(residency, steps=3):
    """What a render enters, in its order, with a preview after each step."""
    for part in ("lm", "vae", "codes", "text", "condition"):
        with residency.on(part):
            pass
    for _ in range(steps):
        with residency.on("dit"):
            pass
        if residency.arrangement.preview != "picture":
            with residency.on("vae"):
                pass
    with residency.on("vae"):
        pass


def test_a_part_is_built_when_first_entered_and_only_once():
    residency = house(80)
    assert residency.build.built == []
    render(residency)
    render(residency)
    assert sorted(residency.build.built) == sorted(PARTS)


@pytest.mark.parametrize("gigabytes", [2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 48, 80])
def test_never_more_parts_aboard_than_the_tier_allows(gigabytes):
    residency = house(gigabytes)
    render(residency)
    assert residency.peak_aboard <= residency.arrangement.parts_at_once
    assert residency.mover.peak <= residency.arrangement.parts_at_once


def test_entering_again_from_the_same_thread_is_free():
    residency = Residency(Builder(), Tier.for_memory(4), CountingMover())
    with residency.on("vae") as outer, residency.on("vae") as inner:
        assert outer is inner
    assert residency.build.built == ["vae"]


def test_a_second_part_is_refused_while_the_only_place_is_at_work():
    residency = Residency(Builder(), Tier.for_memory(4), CountingMover())
    with residency.on("codes"), pytest.raises(MachineError, match="holds 1 at once"), residency.on("vae"):
        pass
    with residency.on("vae") as vae:
        assert vae is not None
