"""A whole song on every size of machine: the same music, no more parts aboard than allowed, memory that runs out survived."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from acestep_lab import Library, MachineError, Recipe, Session
from acestep_lab.engines.ace15.engine import build
from acestep_lab.models.device_manager import DeviceManager, DeviceMover
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.memory_plan import TILES, budget
from acestep_lab.models.tiers import GB, OFFLOAD_LEVELS, Machine
from tests.closeness import assert_near

WORDS = Recipe("slow dub techno", lyrics="[Verse]\nla la", seconds=2, seed=7, steps=3, bpm=118, language="en")


class WatchedMover(DeviceMover):
    """The real carrier on the CPU; counts who is aboard, and can run out of memory at an arrival."""

    def __init__(self, arrangement, runs_out_at=()):
        super().__init__("cpu")
        self.aboard, self.peak, self.arrivals, self.runs_out_at = set(), 0, 0, runs_out_at

    def bring(self, module):
        self.arrivals += 1
        if self.arrivals in self.runs_out_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        super().bring(module)
        self.aboard.add(id(module))
        self.peak = max(self.peak, len(self.aboard))

    def park(self, module):
        super().park(module)
        self.aboard.discard(id(module))


@pytest.fixture(scope="module")
def checkpoint(tiny_turbo):
    return Checkpoint.open(tiny_turbo)


def arrangement(checkpoint, rung, tile=TILES[0]):
    """The tiny checkpoint as if it were big: on the rung, whatever its size."""
    plan = budget(Machine("cuda", 80 * GB, simulated=True), checkpoint.sizes(2))
    return replace(plan, rung=rung, tile_frames=tile, dtype="float32")


def song(checkpoint, folder, plan, mover=WatchedMover):
    """A take made under an arrangement, and the house it was made in."""
    house = DeviceManager(lambda part: build(checkpoint, part, plan.torch_dtype), plan, mover)
    with Session(checkpoint, library=Library(folder), residency=house) as lab:
        return lab.make(WORDS), house


@pytest.fixture(scope="module")
def roomy(checkpoint, tmp_path_factory):
    return song(checkpoint, tmp_path_factory.mktemp("roomy"), arrangement(checkpoint, OFFLOAD_LEVELS[0]))[0]


def test_sizes_read_from_headers_are_those_of_the_parts_once_built(checkpoint):
    for part, size in checkpoint.sizes(4).items():
        numbers = {tensor.data_ptr(): tensor.numel() for tensor in checkpoint.build(part).state_dict().values()}
        assert 4 * sum(numbers.values()) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("rung", OFFLOAD_LEVELS, ids=lambda rung: rung.name)
def test_every_rung_makes_the_song_with_no_more_parts_aboard_than_it_allows(checkpoint, roomy, tmp_path, rung):
    take, house = song(checkpoint, tmp_path, arrangement(checkpoint, rung))
    assert house.peak_aboard <= house.arrangement.parts_at_once
    assert house.mover.peak <= house.arrangement.parts_at_once
    assert house.said == []
    if rung.storage == "full":
        assert np.array_equal(take.latent, roomy.latent)
    else:
        difference = np.linalg.norm(take.latent - roomy.latent) / np.linalg.norm(roomy.latent)
        assert 0 < difference < 0.3


def test_memory_that_runs_out_on_the_way_costs_no_take_and_is_told(checkpoint, roomy, tmp_path):
    take, house = song(
        checkpoint,
        tmp_path,
        arrangement(checkpoint, OFFLOAD_LEVELS[0]),
        lambda plan: WatchedMover(plan, runs_out_at=(1, 4)),
    )
    assert np.array_equal(take.latent, roomy.latent)
    assert len(house.said) == 2
    assert house.arrangement.rung is not OFFLOAD_LEVELS[0]


def test_whoever_waits_for_the_take_hears_that_memory_ran_out(checkpoint, tmp_path):
    plan = arrangement(checkpoint, OFFLOAD_LEVELS[0])
    house = DeviceManager(
        lambda part: build(checkpoint, part, plan.torch_dtype), plan, lambda plan: WatchedMover(plan, runs_out_at=(4,))
    )
    with Session(checkpoint, library=Library(tmp_path), residency=house) as lab:
        run = lab.start(WORDS)
        run.take()
        assert [note for note in run.messages if note.startswith("Memory ran out")] == house.said


def test_a_card_that_disappears_fails_its_run_in_a_sentence_and_the_next_song_is_made_on_the_cpu(
    checkpoint, roomy, tmp_path
):
    class GoneMover(WatchedMover):
        def bring(self, module):
            self.arrivals += 1
            if lost and self.arrivals == 3:
                lost.pop()
                raise RuntimeError("CUDA error: device unavailable")
            super().bring(module)

    lost = ["once"]
    plan = arrangement(checkpoint, OFFLOAD_LEVELS[0])
    house = DeviceManager(lambda part: build(checkpoint, part, plan.torch_dtype), plan, GoneMover)
    with Session(checkpoint, library=Library(tmp_path), residency=house) as lab:
        with pytest.raises(MachineError, match="stopped answering"):
            lab.make(WORDS)
        assert np.array_equal(lab.make(WORDS).latent, roomy.latent)


def test_a_tiny_tile_sounds_the_same(checkpoint, roomy, tmp_path):
    take, _ = song(checkpoint, tmp_path, arrangement(checkpoint, OFFLOAD_LEVELS[0], tile=TILES[-1]))
    assert_near(take.audio.samples, roomy.audio.samples)
