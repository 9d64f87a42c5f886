"""Copies beside work: nothing begins before what it needs has come, nothing is written over while it is used, the numbers stay."""

import weakref
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from acestep_lab.engines import card_tiles
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace_v1 import codec as v1_codec
from acestep_lab.engines.card_tiles import SHAPES, CardTiles, brought_home
from acestep_lab.engines.musicgen import codec as musicgen_codec
from acestep_lab.engines.tiles import tiles
from acestep_lab.engines.timeline import NOTHING, Timeline
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.device_manager import DeviceManager, DeviceMover
from acestep_lab.models.lanes import COMES, GOES, PIECE, WORK, Stretch, Watch, watching
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.memory_plan import GB, budget
from acestep_lab.models.pinned import Homes, Streamed, tensors_of
from acestep_lab.models.storage import store
from acestep_lab.models.tiers import Machine
from tests.stand_in_lanes import StandInLanes
from tests.test_storage import dit_inputs, relative, velocity
from tests.test_v1_sound import latent_of, tiny_dcae, tiny_vocoder
from tests.tiny_musicgen import WORDS, tiny_model


@pytest.fixture(scope="module")
def checkpoint(tiny_turbo):
    return Checkpoint.open(tiny_turbo)


def blocks(count=5, width=8):
    torch.manual_seed(count)
    layers = (nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(count))
    return nn.ModuleDict({"first": nn.Linear(width, width), "blocks": nn.ModuleList(layers)})


class Walk(nn.Module):
    """Blocks in the order that is asked for."""

    def __init__(self, count=5):
        super().__init__()
        self.parts = blocks(count)

    def forward(self, x, order):
        x = self.parts["first"](x)
        for number in order:
            x = self.parts["blocks"][number](x)
        return x


def streamed(module, level, lanes):
    """The module streamed, each of its parts telling the lanes when it works with which memory."""
    found = Streamed(module, level, lanes, "dit")
    for number, part in enumerate(found.parts):
        part.register_forward_pre_hook(partial(_tell, lanes, number))
    return found


def _tell(lanes, number, part, given):
    for one in tensors_of([part]):
        lanes.works_with(one, str(number + 1))


# --- streaming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["block", "leaf"])
@pytest.mark.parametrize("how", ["full", "int8", "fp8"])
def test_streamed_weights_come_before_the_work_and_the_numbers_stay(checkpoint, level, how):
    lanes, still, moving = StandInLanes(), checkpoint.build("dit"), checkpoint.build("dit")
    store(still, how)
    store(moving, how)
    found = streamed(moving, level, lanes)
    for seed in (0, 1, 2):
        inputs = dit_inputs(checkpoint, seed)
        assert relative(velocity(moving, inputs), velocity(still, inputs)) < 1e-6
    assert not lanes.races
    assert found.bytes < sum(one.nbytes for one in tensors_of([moving])) or level == "block"


def test_the_next_block_is_on_its_way_before_the_one_at_work_is_asked_for():
    lanes, walk = StandInLanes(), Walk()
    streamed(walk, "block", lanes)
    walk(torch.ones(1, 8), range(5))
    lanes.log.clear()
    walk(torch.ones(1, 8), range(5))
    said = [line for line in lanes.log if line != "mark"]
    for number in range(1, 5):
        assert said.index(f"copy dit {number + 1}") < said.index(f"work {number}")
    assert "wait" not in said  # the processor waits for none of it


def test_two_rooms_are_enough_and_leaving_gives_them_back():
    lanes, walk = StandInLanes(), Walk(9)
    found = streamed(walk, "block", lanes)
    each = sum(pack.size for pack in found._kept[0])
    for _ in range(3):
        walk(torch.ones(1, 8), range(9))
    rest = sum(pack.size for pack in found._rest)
    assert found.bytes == 2 * each + rest
    found.leave()
    assert found.bytes == 0
    assert torch.isfinite(walk(torch.ones(1, 8), range(9))).all()
    assert not lanes.races


def test_blocks_in_an_order_nobody_expected_are_waited_for():
    lanes, walk, still = StandInLanes(), Walk(), Walk()
    streamed(walk, "block", lanes)
    for order in ([0, 1, 2, 3, 4], [0, 2, 1, 4], [3, 3, 0], [0, 1, 2, 3, 4]):
        assert torch.allclose(walk(torch.ones(1, 8), order), still(torch.ones(1, 8), order))
    assert not lanes.races


def test_a_streamed_component_that_nobody_needs_is_let_go_of():
    mover, walk = DeviceMover("cpu", None, StandInLanes()), Walk()
    mover.stream(walk, "block")
    gone = weakref.ref(walk)
    del walk
    mover.tidy()
    assert gone() is None
    assert not mover._streamed


def test_a_block_without_room_is_asked_for_again():
    class Full(StandInLanes):
        full = True

        def room(self, size):
            if size == 512 and self.full:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().room(size)

    lanes, walk = Full(), Walk()
    streamed(walk, "block", lanes)
    with pytest.raises(torch.OutOfMemoryError):
        walk(torch.ones(1, 8), range(5))
    lanes.full = False
    assert torch.allclose(walk(torch.ones(1, 8), range(5)), Walk()(torch.ones(1, 8), range(5)))


def test_an_adapter_put_on_later_streams_with_its_block():
    lanes, walk = StandInLanes(), Walk()
    streamed(walk, "block", lanes)
    walk(torch.ones(1, 8), range(5))
    walk.parts["blocks"][2].append(nn.Linear(8, 8))
    made = walk(torch.ones(1, 8), range(5))
    still = Walk()
    still.parts["blocks"][2].append(nn.Linear(8, 8))
    still.load_state_dict(walk.state_dict())
    assert torch.allclose(made, still(torch.ones(1, 8), range(5)))
    assert not lanes.races


@pytest.mark.parametrize(("broken", "shown"), [("work_after", "NaN"), ("copy", "a race")])
def test_the_stand_in_finds_out_who_does_not_wait(broken, shown):
    class Careless(StandInLanes):
        pass

    if broken == "work_after":
        Careless.work_after = lambda self, mark: None
    else:
        Careless.copy = lambda self, what, pairs, after=(): StandInLanes.copy(self, what, pairs)
    lanes, walk = Careless(), Walk()
    streamed(walk, "block", lanes)
    made = [walk(torch.ones(1, 8), range(5)) for _ in range(2)]
    assert made[-1].isnan().any() if shown == "NaN" else lanes.races


# --- components in turn -----------------------------------------------------------------------------------------------


def on_card(module, lanes):
    """The module as if it lay on the card."""
    for one in tensors_of([module]):
        room = lanes.room(one.nbytes).view(one.dtype).view(one.shape)
        room.copy_(one.data)
        one.data = room
    return module


def test_a_component_comes_from_pinned_memory_and_leaves_without_a_copy():
    lanes, module, still = StandInLanes(), blocks(), blocks()
    homes = Homes(lanes, most=float("inf"))
    on_card(module, lanes)
    held = [id(one) for one in tensors_of([module])]
    assert not homes.fetch(module, "vae")  # it has never left
    assert homes.keep(module, "vae")
    assert not any(map(lanes.holds, tensors_of([module])))
    lanes.log.clear()
    assert homes.fetch(module, "vae")
    assert all(map(lanes.holds, tensors_of([module])))
    assert homes.keep(module, "vae")
    assert [line for line in lanes.log if line.startswith("copy")] == ["copy vae"]
    assert [id(one) for one in tensors_of([module])] == held
    assert all(torch.equal(one, other) for one, other in zip(module.parameters(), still.parameters()))
    assert not lanes.races


def test_what_changed_on_the_card_is_kept():
    lanes, module = StandInLanes(), blocks()
    homes = Homes(lanes, most=float("inf"))
    homes.keep(on_card(module, lanes), "dit")
    homes.fetch(module, "dit")
    with torch.no_grad():
        module["first"].weight.fill_(3.0)
    homes.keep(module, "dit")
    assert (module["first"].weight == 3).all()


def test_no_more_is_pinned_than_may_be():
    lanes, small, large = StandInLanes(), blocks(1), blocks(20)
    homes = Homes(lanes, most=4000)
    assert homes.keep(small, "vae")
    assert not homes.keep(large, "dit")
    assert 0 < homes.bytes < 4000


def test_weights_that_lie_sideways_stay_so():
    lanes, module = StandInLanes(), nn.Conv1d(4, 6, 3)
    module.weight = nn.Parameter(module.weight.detach().transpose(1, 2).contiguous().transpose(1, 2))
    before = module.weight.detach().clone(), module.weight.stride()
    Homes(lanes, most=float("inf")).keep(module, "vae")
    assert torch.equal(module.weight, before[0])
    assert module.weight.stride() == before[1]


def test_a_manager_with_lanes_brings_components_in_turn_and_writes_it_down():
    lanes = StandInLanes()
    specs = [
        ComponentSpec("text", 8 * GB),
        ComponentSpec("dit", 8 * GB, "loop"),
        ComponentSpec("vae", 8 * GB, "decoder"),
    ]
    plan = budget(Machine("cuda", 12 * GB, ram_bytes=64 * GB), specs)
    assert plan.mechanism("dit") == "offload"
    devices = DeviceManager(lambda name, dtype: blocks(), plan, lambda plan: DeviceMover("cpu", None, lanes))
    with devices.of().watched() as watch:
        for name in ("text", "dit", "text"):
            with devices.on(name) as module:
                assert torch.isfinite(module["first"](torch.ones(1, 8))).all()
    told = watch.read()
    assert [one.what for one in told if one.kind == WORK] == ["text", "dit", "text"]
    assert [one.what for one in told if one.kind == COMES] == ["text"]  # the first time it is built, not fetched
    assert lanes.watch is None


# --- sound comes home -------------------------------------------------------------------------------------------------


def test_a_piece_of_sound_comes_home_while_the_next_is_worked_out():
    lanes, asked = StandInLanes(), []

    def pieces():
        for number in range(4):
            asked.append(f"tile {number}")
            lanes.log.append(f"tile {number}")
            yield torch.full((2, 10 - number), float(number))

    found = list(brought_home(pieces(), lanes))
    assert [(one.shape[1], one.unique().tolist()) for one in found] == [(10 - n, [float(n)]) for n in range(4)]
    said = [line for line in lanes.log if line != "mark"]
    assert said[:4] == ["tile 0", "copy sound 1", "tile 1", "copy sound 2"]
    assert said.index("wait") > said.index("tile 1")
    assert len(lanes._pinned) == 2


def test_without_lanes_pieces_are_handed_on_as_they_are():
    pieces = [torch.ones(2, 3), torch.zeros(2, 4)]
    assert all(one is other for one, other in zip(brought_home(pieces, None), pieces, strict=True))


@pytest.mark.parametrize("frames", [40, 64, 150, 233])
def test_a_decoder_on_a_card_makes_the_same_sound(checkpoint, frames):
    vae, lanes = checkpoint.build("vae"), StandInLanes()
    latent = torch.randn(frames, checkpoint.geometry.latent_channels, generator=torch.Generator().manual_seed(frames))
    plain, sized = Codec(vae, 256), Codec(vae, 256, lanes, CardTiles(96))
    whole = plain.decode(latent)
    assert (sized.decode(latent) - whole).abs().max() < 1e-5
    assert torch.equal(torch.cat(list(sized.stream(latent)), dim=-1), sized.decode(latent))
    assert (sized.window(latent, 10, 30) - whole[:, 10 * plain.hop : 30 * plain.hop]).abs().max() < 1e-5


@pytest.mark.parametrize("overlapped", [False, True])
def test_the_first_ace_step_on_a_card_makes_the_same_sound(monkeypatch, overlapped):
    monkeypatch.setattr(card_tiles, "SHAPES", (19,))
    for name, value in {"WINDOW": 24, "WINDOW_HOP": 12, "FADE": 4}.items():
        monkeypatch.setattr(v1_codec, name, value)
    parts, latent, lanes = (tiny_dcae(), tiny_vocoder().fuse()), latent_of(28), StandInLanes()
    whole = v1_codec.Codec(*parts, overlapped=overlapped)
    sized = v1_codec.Codec(*parts, overlapped=overlapped, lanes=lanes, sizes=CardTiles(19))
    assert (sized.decode(latent) - whole.decode(latent)).abs().max() < 1e-12
    assert sum(line.startswith("copy sound") for line in lanes.log) > 1


@pytest.mark.parametrize("first", [0, 70])
def test_encodec_on_a_card_makes_the_same_sound(monkeypatch, first):
    monkeypatch.setattr(card_tiles, "SHAPES", (40, 48))
    model, lanes, told = tiny_model().audio_encoder, StandInLanes(), []
    codes = torch.randint(0, WORDS, (130, 4), generator=torch.Generator().manual_seed(1))
    whole = musicgen_codec.Codec(model, 1, tile=500).decode(codes, first=first)
    sized = musicgen_codec.Codec(model, 1, lanes=lanes, sizes=CardTiles(48))
    assert (sized.decode(codes, progress=told.append, first=first) - whole).abs().max() < 1e-4
    assert told[-1] == 1
    assert len(told) == sum(line.startswith("copy sound") for line in lanes.log)


# --- tiles sized to the card ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [64, 256, 2048])
def test_tiles_of_a_card_have_few_shapes_and_little_to_do_twice(most):
    sizes, seen = CardTiles(most), set()
    for frames in range(60, 7500, 37):
        tile = sizes.frames(frames, 9)
        seen.add(tile) if frames > SHAPES[0] else None
        assert tile <= max(most, SHAPES[0])
        worked = sum(one.end - one.start for one in tiles(frames, tile, 9))
        assert worked <= 2 * frames
        if frames > 4 * most:
            assert worked < 1.6 * frames
    assert seen <= set(SHAPES)


def plan_for(gigabytes, free=None):
    specs = [ComponentSpec("dit", 3 * GB, "loop"), ComponentSpec("vae", GB // 3, "decoder")]
    return budget(Machine("cuda", int(gigabytes * GB), free, ram_bytes=64 * GB), specs)


def test_tiles_grow_with_the_card_and_shrink_with_what_is_free():
    most = []
    for gigabytes in (6, 8, 12, 24, 80):  # below, components take turns and leave the decoder more
        plan = plan_for(gigabytes)
        each = plan.bytes_per_frame("vae")
        found = CardTiles.of(plan, "vae", each, plan.tile_frames, int(gigabytes * GB))
        assert found.most * each <= max(plan.room_bytes("vae"), SHAPES[0] * each)
        most.append(found.most)
    assert most == sorted(most)
    assert most[-1] == SHAPES[-1]
    plan = plan_for(80)
    assert CardTiles.of(plan, "vae", plan.bytes_per_frame("vae"), plan.tile_frames, GB).most < SHAPES[-1]


def test_where_memory_ran_out_tiles_stay_as_small_as_the_plan_says():
    plan = plan_for(80).step_down("vae")
    found = CardTiles.of(plan, "vae", plan.bytes_per_frame("vae"), plan.tile_frames, 80 * GB)
    assert found.most == plan.tile_frames


def test_the_plan_counts_what_copies_pin():
    plan = plan_for(4)
    moving = [name for name in plan.names if plan.mechanism(name) != "resident"]
    assert plan.pinned_bytes >= 2 * plan.tile_frames * 1920 * 2 * 4 + sum(map(plan.device_bytes, moving))
    assert replace(plan, machine=replace(plan.machine, kind="mps")).pinned_bytes == 0
    assert plan.most_pinned_bytes == 32 * GB


# --- drawn ------------------------------------------------------------------------------------------------------------


def test_a_timeline_says_what_streamed_while_what_computed():
    found = Timeline(
        (
            Stretch(WORK, "dit", 0.0, 4.0),
            Stretch(COMES, "dit 1", 0.0, 1.0, GB),
            Stretch(PIECE, "dit 1", 1.0, 2.0),
            Stretch(COMES, "dit 2", 1.0, 2.0, GB),
            Stretch(PIECE, "dit 2", 2.0, 3.0),
            Stretch(GOES, "sound 1", 2.5, 3.5, 8),
        )
    )
    weights, sound = found.copied()
    assert (weights.what, weights.times, weights.bytes, weights.seconds, weights.hidden) == ("dit", 2, 2 * GB, 2.0, 1.0)
    assert (sound.hidden, sound.meanwhile) == (0.5, "dit")
    assert "50 %" in str(found)
    assert found._repr_html_().count("<rect") == 6
    assert NOTHING in str(Timeline())
    assert NOTHING in Timeline()._repr_html_()


def test_watched_lanes_write_down_copies_and_pieces_in_order():
    lanes, walk = StandInLanes(), Walk()
    streamed(walk, "block", lanes)
    walk(torch.ones(1, 8), range(5))
    with watching(Watch(), [lanes]) as watch:
        walk(torch.ones(1, 8), range(5))
    told = watch.read()
    assert [one.what for one in told if one.kind == PIECE] == [f"dit {n}" for n in range(1, 6)]
    assert [one.what for one in told if one.kind == COMES] == [f"dit {n}" for n in (1, 2, 3, 4, 5, 1)]
    assert all(one.start <= other.start for one, other in pairwise(told))
    assert "dit" in str(Timeline(told))
