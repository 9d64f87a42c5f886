"""A whole song on every size of machine: the same music, no more components on_the_device than allowed, memory that runs out survived."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from acestep_lab import Library, MachineError, Recipe, Session
from acestep_lab.engines.ace15.engine import Ace15Engine, build
from acestep_lab.models.device_manager import DeviceManager, DeviceMover
from acestep_lab.models.loading import Checkpoint, component_specs
from acestep_lab.models.memory_plan import TILES, budget
from acestep_lab.models.tiers import GB, OFFLOAD_LEVELS, Machine
from tests.closeness import assert_near

WORDS = Recipe("slow dub techno", lyrics="[Verse]\nla la", seconds=2, seed=7, steps=3, bpm=118, language="en")


class WatchedMover(DeviceMover):
    """The real carrier on the CPU; counts who is on_the_device, and can run out of memory at an arrival."""

    def __init__(self, plan, runs_out_at=()):
        super().__init__("cpu")
        self.on_device, self.peak, self.arrivals, self.runs_out_at = set(), 0, 0, runs_out_at

    def bring(self, module):
        self.arrivals += 1
        if self.arrivals in self.runs_out_at:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        super().bring(module)
        self.on_device.add(id(module))
        self.peak = max(self.peak, len(self.on_device))

    def park(self, module):
        super().park(module)
        self.on_device.discard(id(module))


@pytest.fixture(scope="module")
def checkpoint(tiny_turbo):
    return Checkpoint.open(tiny_turbo)


def plan_at(checkpoint, level, tile=TILES[0]):
    """The tiny checkpoint as if it were big: on the level, whatever its size."""
    plan = budget(Machine("cuda", 80 * GB, simulated=True), component_specs(checkpoint))
    return replace(plan, level=level, tile_frames=tile, dtype="float32")


def song(checkpoint, folder, plan, mover=WatchedMover):
    """A take made under a plan, and the manager it was made with."""
    devices = DeviceManager(partial(build, checkpoint), plan, mover)
    with Session(Ace15Engine(checkpoint), library=Library(folder), devices=devices) as lab:
        return lab.make(WORDS), devices


@pytest.fixture(scope="module")
def roomy(checkpoint, tmp_path_factory):
    return song(checkpoint, tmp_path_factory.mktemp("roomy"), plan_at(checkpoint, OFFLOAD_LEVELS[0]))[0]


def test_sizes_read_from_headers_are_those_of_the_parts_once_built(checkpoint):
    for component, size in checkpoint.sizes(4).items():
        numbers = {tensor.data_ptr(): tensor.numel() for tensor in checkpoint.build(component).state_dict().values()}
        assert 4 * sum(numbers.values()) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("level", OFFLOAD_LEVELS, ids=lambda level: level.name)
def test_every_level_makes_the_song_with_no_more_parts_on_the_device_than_it_allows(checkpoint, roomy, tmp_path, level):
    take, devices = song(checkpoint, tmp_path, plan_at(checkpoint, level))
    assert devices.peak_on_device <= devices.memory_plan.at_once
    assert devices.mover.peak <= devices.memory_plan.at_once
    assert devices.messages == []
    if level.storage == "full":
        assert np.array_equal(take.latent, roomy.latent)
    else:
        difference = np.linalg.norm(take.latent - roomy.latent) / np.linalg.norm(roomy.latent)
        assert 0 < difference < 0.3


def test_memory_that_runs_out_on_the_way_costs_no_take_and_is_told(checkpoint, roomy, tmp_path):
    take, devices = song(
        checkpoint,
        tmp_path,
        plan_at(checkpoint, OFFLOAD_LEVELS[0]),
        lambda plan: WatchedMover(plan, runs_out_at=(1, 4)),
    )
    assert np.array_equal(take.latent, roomy.latent)
    assert len(devices.messages) == 2
    assert devices.memory_plan.level is not OFFLOAD_LEVELS[0]


def test_whoever_waits_for_the_take_is_told_that_memory_ran_out(checkpoint, tmp_path):
    plan = plan_at(checkpoint, OFFLOAD_LEVELS[0])
    devices = DeviceManager(
        partial(build, checkpoint),
        plan,
        lambda plan: WatchedMover(plan, runs_out_at=(4,)),
    )
    with Session(Ace15Engine(checkpoint), library=Library(tmp_path), devices=devices) as lab:
        run = lab.start(WORDS)
        run.take()
        assert [note for note in run.messages if note.startswith("Memory ran out")] == devices.messages


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
    plan = plan_at(checkpoint, OFFLOAD_LEVELS[0])
    devices = DeviceManager(partial(build, checkpoint), plan, GoneMover)
    with Session(Ace15Engine(checkpoint), library=Library(tmp_path), devices=devices) as lab:
        with pytest.raises(MachineError, match="stopped answering"):
            lab.make(WORDS)
        assert np.array_equal(lab.make(WORDS).latent, roomy.latent)


def test_a_tiny_tile_sounds_the_same(checkpoint, roomy, tmp_path):
    take, _ = song(checkpoint, tmp_path, plan_at(checkpoint, OFFLOAD_LEVELS[0], tile=TILES[-1]))
    assert_near(take.audio.samples, roomy.audio.samples)
