"""Which component is on the device: built once, no more there than allowed, and memory that runs out is survived."""

import sys
import threading

import psutil
import pytest
import torch
from torch import nn

from acestep_lab.errors import MachineError
from acestep_lab.models.device_manager import DeviceManager, DeviceMover, is_lost_device, is_out_of_memory
from acestep_lab.models.loading import specs_of_sizes
from acestep_lab.models.memory_plan import budget, tier_alone
from acestep_lab.models.tiers import GB, Machine, Tier

SPECS = specs_of_sizes(
    {"text": 1.19e9, "condition": 1.22e9, "dit": 3.15e9, "vae": 0.34e9, "codes": 0.42e9, "lm": 1.33e9}
)
ORDER = ("lm", "vae", "codes", "text", "condition", "dit", "vae", "dit", "vae")
"""What a render enters, in its order; between two steps of the DiT somebody listens."""


class CountingMover:
    """Carries nothing, counts who is on the device, and runs out of memory at the next so many arrivals."""

    def __init__(self, plan=None):
        self.memory_plan = plan
        self.on_device: set[int] = set()
        self.peak = 0
        self.streamed: list[str] = []
        self.runs_out = 0

    def bring(self, module):
        if self.runs_out:
            self.runs_out -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.on_device.add(id(module))
        self.peak = max(self.peak, len(self.on_device))

    def park(self, module):
        self.on_device.discard(id(module))

    def stream(self, module, level):
        self.streamed.append(level)

    def tidy(self):
        pass


class Builder:
    """Makes a tiny module per component and remembers how often."""

    def __init__(self):
        self.built: list[str] = []

    def __call__(self, component, dtype):
        self.built.append(component)
        return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))


def manager(gigabytes, kind="cuda", **more):
    plan = budget(Machine(kind, int(gigabytes * GB), simulated=True), SPECS)
    return opened(plan, **more)


def opened(plan, mover=CountingMover, **more):
    """A manager whose builder can be asked what it built."""
    devices = DeviceManager(builder := Builder(), plan, mover, **more)
    devices.builder = builder
    return devices


def built(devices):
    """Which components were built, in order."""
    return devices.builder.built


def enter(devices, order=ORDER):
    for component in order:
        if component not in devices.memory_plan.left_out:
            with devices.on(component):
                pass


def runs_out(times):
    """An operation that runs out of memory so many times before it succeeds."""
    left = iter(range(times))

    def operation(module):
        for _ in left:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return "done"

    return operation


def test_a_part_is_built_when_first_entered_and_only_once():
    devices = manager(80)
    assert built(devices) == []
    enter(devices)
    enter(devices)
    assert sorted(built(devices)) == sorted(spec.name for spec in SPECS)
    assert devices.peak_on_device == len(SPECS)


@pytest.mark.parametrize("gigabytes", [3, 4, 6, 8, 10, 12, 16, 24, 80])
def test_a_part_that_waits_in_ram_is_not_built_again(gigabytes):
    devices = manager(gigabytes)
    enter(devices)
    enter(devices)
    assert len(built(devices)) == len(set(built(devices)))


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps", "cpu"])
@pytest.mark.parametrize("gigabytes", [2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 48, 80])
def test_never_more_parts_on_the_device_than_the_tier_allows(gigabytes, kind):
    devices = manager(gigabytes, kind)
    enter(devices)
    assert 0 < devices.peak_on_device <= devices.memory_plan.at_once
    if devices.memory_plan.parked == "ram":
        assert devices.mover.peak <= devices.memory_plan.at_once


def test_a_tier_alone_is_enough_to_open_the_manager():
    devices = opened(tier_alone(Tier.for_memory(8), SPECS))
    enter(devices)
    assert devices.peak_on_device == devices.memory_plan.at_once == 2


def test_without_a_tier_everything_stays_in_ram():
    devices = opened(tier_alone(Tier.for_memory(16, "cpu"), SPECS), lambda plan: DeviceMover("cpu"))
    enter(devices)
    assert set(devices.on_device) == set(ORDER)
    assert devices.device == torch.device("cpu")


def test_the_lm_leaves_while_the_dit_works_and_the_dit_while_the_lm_plans():
    devices = opened(tier_alone(Tier.for_memory(12), SPECS))
    enter(devices, ("lm", "vae", "text"))
    assert "lm" in devices.on_device
    enter(devices, ("dit",))
    assert "lm" not in devices.on_device
    enter(devices, ("lm",))
    assert "dit" not in devices.on_device
    assert {"vae", "text"} <= set(devices.on_device)


def test_listening_between_two_steps_does_not_send_the_dit_away():
    devices = opened(tier_alone(Tier.for_memory(6), SPECS))
    with devices.on("dit") as before:
        pass
    with devices.on("vae"):
        pass
    assert "dit" in devices.on_device
    with devices.on("dit") as after:
        assert after is before


def test_entering_again_from_the_same_thread_is_free():
    devices = manager(3)
    with devices.on("vae") as outer, devices.on("vae") as inner:
        assert outer is inner
    assert built(devices) == ["vae"]


def test_a_second_part_is_refused_in_a_sentence_while_the_only_place_is_at_work():
    devices = manager(3)
    with devices.on("codes"):
        with pytest.raises(MachineError, match="holds 1 at once"), devices.on("vae"):
            pass
        assert devices.on_device == ("codes",)
    with devices.on("vae") as vae:
        assert vae is not None


def test_a_part_left_out_is_refused_with_what_to_do():
    devices = manager(2)
    with pytest.raises(MachineError, match="take a smaller one"), devices.on("lm"):
        pass


def test_two_threads_take_turns():
    devices = manager(8)
    inside, most = [0], [0]

    def work(component):
        for _ in range(50):
            with devices.on(component):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(component,)) for component in ("dit", "lm", "text", "dit")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert devices.peak_on_device <= devices.memory_plan.at_once


def test_free_gives_the_memory_back_and_the_next_use_loads_again():
    devices = manager(80)
    enter(devices, ("dit", "vae"))
    devices.free()
    assert devices.on_device == ()
    enter(devices, ("dit",))
    assert built(devices) == ["dit", "vae", "dit"]


def test_free_leaves_a_part_alone_that_is_at_work():
    devices = manager(80)
    with devices.on("dit"):
        devices.free()
        assert devices.on_device == ("dit",)


def test_running_out_of_memory_steps_down_says_so_and_finishes():
    heard = []
    devices = manager(80, notify=heard.append)
    assert devices.run_with_retry("dit", runs_out(2)) == "done"
    assert devices.memory_plan.level.name == "in turn"
    assert heard == devices.messages
    assert heard[0] == "Memory ran out in the dit; now: LM leaves while the DiT works."


def test_a_decoder_that_runs_out_gets_a_smaller_tile_first():
    devices = manager(80)
    tile = devices.memory_plan.tile_frames
    assert devices.run_with_retry("vae", runs_out(1)) == "done"
    assert devices.memory_plan.tile_frames < tile
    assert f"instead of {tile}" in devices.messages[0]


def test_a_part_that_does_not_even_come_on_the_device_steps_down_and_comes():
    devices = manager(80)
    enter(devices, ("lm", "vae"))
    devices.mover.runs_out = 2
    with devices.on("dit") as dit:
        assert dit is not None
    assert "lm" not in devices.on_device
    assert len(devices.messages) == 2
    assert devices.memory_plan.level.name == "in turn"


def test_a_part_that_never_comes_on_the_device_leaves_nothing_behind():
    devices = manager(80, "cpu")
    devices.mover.runs_out = 99
    with pytest.raises(MachineError, match="leanest plan"), devices.on("dit"):
        pass
    assert devices.on_device == ()
    assert devices.mover.on_device == set()


def test_where_a_card_has_no_room_at_all_the_take_is_finished_on_the_cpu():
    devices = manager(80)
    depth = 0
    while devices.memory_plan.device != "cpu" or devices.memory_plan.level.name != "cpu":
        devices.step_down("dit")
        depth += 1
    assert depth < 10
    assert devices.run_with_retry("dit", lambda dit: "done") == "done"
    assert devices.messages[-1] == "Memory ran out in the dit; now: the card is left and the work goes on on the CPU."


def test_where_nothing_is_left_to_try_a_sentence_says_what_would_fit():
    devices = manager(80, "cpu")
    with pytest.raises(MachineError, match="A shorter piece, fewer takes at once"):
        devices.run_with_retry("dit", runs_out(99))
    assert devices.on_device == ()
    assert devices.run_with_retry("vae", lambda vae: "alive") == "alive"


def test_an_error_that_is_not_about_memory_is_nobody_elses_business():
    devices = manager(80)
    with pytest.raises(RuntimeError, match="shapes"):
        devices.run_with_retry("dit", lambda dit: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    assert devices.messages == []
    with devices.on("dit"):
        pass


def test_a_card_that_disappears_becomes_a_sentence_and_the_next_render_works_on_the_cpu():
    plan = budget(Machine("cuda", 24 * GB), SPECS)

    class GoneMover(CountingMover):
        def __init__(self, plan):
            super().__init__(plan)
            self.device = torch.device(plan.device)

        def bring(self, module):
            if self.device.type == "cuda":
                raise RuntimeError("CUDA error: device unavailable\nmore of it")

    devices = opened(plan, GoneMover)
    with pytest.raises(MachineError, match=r"cuda device stopped answering .* Takes made so far are safe"):
        devices.run_with_retry("dit", lambda dit: dit)
    assert devices.device.type == "cpu"
    assert "on the cpu" in devices.messages[-1]
    assert devices.run_with_retry("dit", lambda dit: "alive") == "alive"


def test_errors_are_told_apart_by_their_words():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert is_lost_device(RuntimeError("CUDA error: unspecified launch failure"))
    assert not is_lost_device(RuntimeError("CUDA error: out of memory"))


def test_another_recipe_may_rearrange_the_house_and_parts_come_back_whole():
    devices = manager(2.55)
    enter(devices, ("dit",))
    assert devices.mover.streamed == ["block"]
    devices.change_plan(budget(Machine("cuda", 80 * GB, simulated=True), SPECS))
    enter(devices, ("dit",))
    assert built(devices) == ["dit", "dit"]


def test_a_long_batch_gets_a_leaner_plan_says_so_and_a_short_piece_the_usual_one_again():
    heard = []
    devices = manager(12)
    usual = devices.memory_plan.level
    with devices.notifying(heard.append):
        devices.fit_to(30)
        assert (devices.memory_plan.level, heard) == (usual, [])
        devices.fit_to(600, takes=8)
        assert devices.memory_plan.level is not usual
        assert heard == [f"For this piece: {devices.memory_plan.way}."]
        devices.fit_to(30)
    assert devices.memory_plan.level is usual
    assert len(heard) == 1


def test_what_memory_was_survived_with_stays_for_the_pieces_to_come():
    devices = manager(80)
    devices.run_with_retry("dit", runs_out(2))
    survived = devices.memory_plan
    devices.fit_to(30)
    assert devices.memory_plan is survived


def test_the_same_plan_again_moves_nobody():
    devices = manager(80)
    enter(devices)
    on_the_device = devices.on_device
    devices.change_plan(devices.memory_plan.fit())
    assert devices.on_device == on_the_device


def test_the_real_carrier_carries_to_the_cpu_and_back():
    mover, module = DeviceMover("cpu"), nn.Linear(2, 2)
    mover.bring(module)
    mover.park(module)
    mover.tidy()
    assert next(module.parameters()).device.type == "cpu"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds")
def test_what_a_component_held_in_ram_goes_back_to_the_machine():
    process = psutil.Process()
    held = [torch.ones(2**16) for _ in range(2000)]  # half a gigabyte in the heap
    kept, filled = held[::500], process.memory_info().rss
    del held
    DeviceMover("cpu").tidy()
    assert process.memory_info().rss < filled - 250e6
    assert all(one.all() for one in kept)
