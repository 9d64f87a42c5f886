"""Machines as values, tiers as rows, and a budget that never does worse with more memory."""

import math
from dataclasses import replace

import pytest

from acestep_lab.errors import MachineError
from acestep_lab.models.loading import COMPONENTS, specs_of_sizes
from acestep_lab.models.memory_plan import TILES, MemoryPlan, budget, gb, plan_for_tier, tier_alone
from acestep_lab.models.tiers import (
    GB,
    LEVEL_BY_NAME,
    LM_SIZES,
    OFFLOAD_LEVELS,
    PREVIEWS,
    TIERS,
    Machine,
    Tier,
    asked_device,
    asked_dtype,
)
from acestep_lab.prompt import Recipe

SHARED = {"text": 1_191_586_816, "condition": 1_218_659_328, "vae": 337_390_852, "codes": 420_087_948}
_TURBO, _XL = {**SHARED, "dit": 3_150_917_760}, {**SHARED, "dit": 8_337_794_176}
LM = {"none": 0, "0.6B": 1_330_000_000, "1.7B": 3_700_000_000, "4B": 8_400_000_000}
TURBO = specs_of_sizes(_TURBO)
WITH_LM = {name: specs_of_sizes({**_TURBO, "lm": size}) for name, size in LM.items()}
POCKET = specs_of_sizes(dict.fromkeys(COMPONENTS, 10_000_000))
KINDS = ("cuda", "xpu", "mps", "cpu")
SIZES_GB = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 80)
LADDER = {level.name: index for index, level in enumerate(OFFLOAD_LEVELS)}
CHECKPOINTS = {
    "turbo with 1.7B": WITH_LM["1.7B"],
    "turbo with 4B": WITH_LM["4B"],
    "turbo alone": TURBO,
    "xl with 4B": specs_of_sizes({**_XL, "lm": LM["4B"]}),
    "pocket": POCKET,
}


def machine(gigabytes: float, kind: str = "cuda") -> Machine:
    return Machine(kind, int(gigabytes * GB))


def worth(plan: MemoryPlan) -> tuple[bool, bool, int, int]:
    """What a plan is worth: that it fits, that the LM is in, how high on the ladder, how large the tile."""
    fits, lm = plan.fits, not plan.left_out
    return fits, lm, -LADDER[plan.level.name], plan.tile_frames


@pytest.mark.parametrize(
    ("gigabytes", "row"),
    [(2, "4 GB"), (4, "4 GB"), (6, "6 GB"), (7.8, "8 GB"), (8.2, "8 GB"), (10, "12 GB"), (11.6, "12 GB"), (15.7, "16 GB"),
     (20, "20 GB"), (23.6, "24 GB"), (25, "more"), (80, "more")],
)  # fmt: skip
def test_a_card_finds_its_row(gigabytes, row):
    assert Tier.for_memory(gigabytes).name == row


@pytest.mark.parametrize("kind", ["cpu", "mps", "xpu"])
def test_the_other_kinds_of_machine_have_rows_of_their_own(kind):
    assert Tier.for_memory(16, kind).name == kind


@pytest.mark.parametrize("nonsense", [0, -4, math.nan, math.inf, "8"])
def test_memory_that_is_no_size_is_refused_in_a_sentence(nonsense):
    with pytest.raises(MachineError, match="Memory is a size in GB"):
        Tier.for_memory(nonsense)


def test_a_kind_of_machine_nobody_knows_is_refused_with_those_known():
    with pytest.raises(MachineError, match="'tpu' is no kind of machine; known: cuda, xpu, mps, cpu"):
        Tier.for_memory(8, "tpu")


@pytest.mark.parametrize("tier", [row for row in TIERS if row.kind == "cuda"], ids=lambda row: row.name)
def test_a_row_says_what_the_full_size_checkpoint_with_its_lm_really_gets(tier):
    there = replace(tier, gigabytes=48.0 if math.isinf(tier.up_to) else tier.up_to)
    plan = budget(there.machine, WITH_LM[tier.lm])
    assert (plan.level.name, plan.tile_frames, plan.preview) == (tier.level, tier.tile_frames, tier.preview)
    assert (plan.longest_seconds, plan.batch, plan.left_out) == (tier.longest_seconds, tier.batch, ())
    assert plan.at_once == LEVEL_BY_NAME[tier.level].at_once(plan.components)
    assert plan.fits


def test_a_bigger_card_never_has_a_poorer_row():
    rows = [row for row in TIERS if row.kind == "cuda"]
    for less, more in zip(rows, rows[1:], strict=False):
        assert LADDER[more.level] <= LADDER[less.level]
        assert more.tile_frames >= less.tile_frames
        assert more.longest_seconds >= less.longest_seconds
        assert more.longest_without_lm >= less.longest_without_lm
        assert more.batch >= less.batch
        assert more.batch_without_lm >= less.batch_without_lm
        assert LM_SIZES.index(more.lm) >= LM_SIZES.index(less.lm)
        assert PREVIEWS.index(more.preview) >= PREVIEWS.index(less.preview)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", CHECKPOINTS.values(), ids=CHECKPOINTS)
@pytest.mark.parametrize("seconds", [None, 600.0])
def test_more_memory_never_gives_a_worse_plan(kind, sizes, seconds):
    recipe = Recipe("dub", seconds=seconds)
    steps = [half / 2 for half in range(4, 54)] + [4.2, 6.3, 8.2, 12.3, 16.2, 20.3, 24.2, 32, 48, 64, 80]
    plans = [budget(machine(size, kind), sizes, recipe) for size in sorted(steps)]
    for less, more in zip(plans, plans[1:], strict=False):
        if seconds is not None or less.seconds == more.seconds:
            assert worth(more) >= worth(less)
        if less.left_out == more.left_out:
            assert more.longest_seconds >= less.longest_seconds
            assert more.batch >= less.batch or more.seconds > less.seconds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gigabytes", SIZES_GB)
@pytest.mark.parametrize("sizes", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_what_is_said_to_fit_is_within_the_memory_and_what_does_not_says_so(kind, gigabytes, sizes):
    plan = budget(machine(gigabytes, kind), sizes)
    assert plan.fits == (plan.need_bytes <= gigabytes * GB)
    assert ("it may run out" in plan.summary()) == (not plan.fits)
    assert kind in plan.level.kinds
    assert 1 <= plan.at_once <= len(plan.components)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pocket_checkpoint_stays_loaded_on_two_gigabytes(kind):
    assert budget(machine(2, kind), POCKET).level.name == "all"


def test_a_plan_says_itself_in_one_sentence():
    plan = budget(machine(12), WITH_LM["1.7B"])
    assert plan.summary() == "12 GB: LM leaves while the DiT works; up to 8 min; batch 2"


def test_a_plan_shows_a_row_per_component():
    header, *rows = budget(machine(4), WITH_LM["0.6B"]).table()
    assert header == ("component", "size", "kept as", "on device", "at work")
    assert [row[0] for row in rows] == list(COMPONENTS)
    assert dict(zip(header, rows[2], strict=True)) | {"at work": ""} == {
        "component": "dit", "size": "2.9 GB", "kept as": "int8", "on device": "in turn", "at work": "",
    }  # fmt: skip


def test_a_plan_printed_is_the_sentence_and_the_table():
    first, empty, header, *rows, gap, last = str(budget(machine(12), TURBO)).splitlines()
    assert first.startswith("12 GB: ")
    assert empty == gap == ""
    assert last == "Computes in bfloat16 on cuda."
    assert header.split()[0] == "component"
    assert len(rows) == len(TURBO)


def test_a_checkpoint_may_allow_less_than_the_machine():
    plan = budget(machine(24), POCKET, longest=60)
    assert (plan.longest_seconds, plan.seconds) == (60, 60)
    assert "up to 1 min" in plan.summary()
    assert plan.fit().longest_seconds == 60


def test_an_lm_too_big_for_the_card_is_left_out_and_the_words_say_what_to_do():
    plan = budget(machine(6), WITH_LM["4B"])
    assert plan.left_out == ("lm",)
    assert "no room for the LM: take a smaller one, or plan by hand" in plan.summary()


def test_a_busy_card_is_planned_for_by_what_is_free():
    busy = Machine("cuda", 24 * GB, free_bytes=7 * GB)
    assert LADDER[budget(busy, TURBO).level.name] > LADDER[budget(machine(24), TURBO).level.name]


def test_a_long_guided_batch_needs_more_than_a_short_take():
    short = budget(machine(16), WITH_LM["1.7B"], Recipe("dub", seconds=30))
    long = short.fit(Recipe("dub", seconds=480), takes=8, passes=2)
    assert long.need_bytes - long.device_bytes("dit") > 0
    assert LADDER[long.level.name] > LADDER[short.level.name]


def test_older_cards_compute_in_full_precision_and_small_checkpoints_do_on_a_cpu():
    assert budget(Machine("cuda", 24 * GB, bf16=False), TURBO).dtype == "float32"
    assert budget(machine(24), TURBO).dtype == "bf16"
    assert budget(machine(24, "cpu"), POCKET).dtype == "float32"
    assert budget(machine(24, "cpu"), TURBO).dtype == "bf16"


@pytest.mark.parametrize("kind", KINDS)
def test_stepping_down_takes_a_smaller_tile_then_fewer_on_the_device_then_ends(kind):
    plan: MemoryPlan | None = budget(machine(24, kind), WITH_LM["1.7B"])
    seen = []
    while plan is not None:
        seen.append((plan.tile_frames, plan.level, plan.at_once))
        plan = plan.step_down()
    tiles = [tile for tile, level, _ in seen if level is seen[0][1]]
    assert tiles == [tile for tile in TILES if tile <= tiles[0]]
    counts = [count for _, _, count in seen]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    assert len(set(seen)) == len(seen)


def test_memory_that_ran_out_in_the_dit_is_not_mended_by_a_smaller_tile():
    plan = budget(machine(24), WITH_LM["1.7B"])
    lower = plan.step_down("dit")
    assert lower is not None
    assert (lower.tile_frames, lower.level.name) == (plan.tile_frames, "lm leaves")


@pytest.mark.parametrize(
    ("variable", "kind"), [("MAX_CUDA_VRAM", "cuda"), ("MAX_MPS_VRAM", "mps"), ("MAX_XPU_VRAM", "xpu")]
)
def test_a_card_can_be_simulated_where_there_is_none(variable, kind):
    found = Machine.detect({variable: "8"}, lambda: Machine("cpu", 32 * GB))
    assert (found.kind, found.gigabytes, found.device, found.simulated) == (kind, 8, "cpu", True)
    assert Tier.detect({variable: "8"}, lambda: Machine("cpu", 32 * GB)).kind == kind


def test_a_real_card_is_made_smaller_and_the_process_capped():
    card = Machine("cuda", 24 * GB, 23 * GB, "a card")
    found = Machine.detect({"MAX_CUDA_VRAM": "8"}, lambda: card)
    assert (found.gigabytes, found.free_bytes, found.device) == (8, 8 * GB, "cuda")
    assert found.fraction == pytest.approx(7.5 / 24)
    assert card.fraction is None


def test_a_simulated_size_beyond_the_real_card_changes_nothing():
    card = Machine("cuda", 8 * GB, 7 * GB, "a card")
    assert Machine.detect({"MAX_CUDA_VRAM": "80"}, lambda: card) == card


@pytest.mark.parametrize("nonsense", ["eight", "-1", "0", "nan"])
def test_a_simulated_size_that_is_no_number_is_refused_in_a_sentence(nonsense):
    with pytest.raises(MachineError, match="MAX_CUDA_VRAM is a size in GB"):
        Machine.detect({"MAX_CUDA_VRAM": nonsense}, lambda: Machine("cpu", 32 * GB))


def test_a_tier_asked_for_limits_the_real_card_or_is_simulated():
    card = Machine("cuda", 24 * GB, 23 * GB, "a card", ram_bytes=64 * GB)
    tier = Tier.for_memory(8)
    assert Machine.for_tier(tier, {}, lambda: card).fraction is not None
    assert Machine.for_tier(tier, {}, lambda: Machine("cpu", 16 * GB)).simulated
    assert Machine.for_tier(Tier.for_memory(16, "cpu"), {}, lambda: card).device == "cpu"


def test_components_wait_on_disk_where_ram_is_the_memory_or_too_small():
    assert budget(machine(8, "cpu"), TURBO).parked == "disk"
    assert budget(Machine("cuda", 8 * GB, ram_bytes=32 * GB), TURBO).parked == "ram"
    assert budget(Machine("cuda", 8 * GB, ram_bytes=6 * GB), TURBO).parked == "disk"


def test_this_machine_is_found_with_some_memory():
    found = Machine.detect({})
    assert found.memory_bytes > GB
    assert Tier.for_machine(found).gigabytes == pytest.approx(found.gigabytes)


def test_sizes_are_written_for_people():
    assert [gb(size) for size in (0, 3_000, 50 * 2**20, 3 * GB)] == ["0 MB", "1 MB", "50 MB", "3.0 GB"]


@pytest.mark.parametrize("free", [0.2, 0.8, 2, 6])
def test_how_a_small_checkpoint_sounds_does_not_depend_on_what_else_runs(free):
    crowded = replace(machine(24, "cpu"), free_bytes=int(free * GB))
    found = budget(crowded, POCKET)
    assert (found.level.storage, found.dtype) == ("full", "float32")


@pytest.mark.parametrize("gigabytes", [2, 8, 24, 64])
def test_the_pocket_has_all_its_components_on_the_device_wherever_a_gigabyte_and_a_half_is_free(gigabytes: int):
    laptop = Machine("cpu", gigabytes * GB, free_bytes=3 * GB // 2)
    found = budget(laptop, POCKET, passes=2)
    assert found.fits, found.summary()
    assert found.left_out == ()
    assert found.level.name == "all"


# --- device and dtype that are asked for ------------------------------------------------------------------------------

CARDS = {"cpu": 1, "cuda": 2, "xpu": 0, "mps": 0}


def one_of_them(kind: str, index: int | None) -> Machine:
    return Machine(kind, (16 if kind == "cpu" else 24) * GB, index=index, ram_bytes=None if kind == "cpu" else 64 * GB)


def on(device: str, environ: dict[str, str] | None = None) -> Machine:
    return Machine.on(device, environ or {}, lambda: one_of_them("cuda", None), one_of_them, lambda: CARDS)


@pytest.mark.parametrize("dtype", ["float32", "bf16", "float16"])
@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps", "cpu"])
@pytest.mark.parametrize("sizes", [TURBO, POCKET], ids=["turbo", "pocket"])
def test_a_tiers_dtype_is_kept_to_on_every_device_and_for_every_size(dtype, kind, sizes):
    asked = replace(Tier.for_memory(64, kind), dtype=dtype)
    for has_bf16 in (True, False):
        plan = budget(Machine(kind, 64 * GB, bf16=has_bf16), sizes, tier=asked)
        assert plan.dtype == dtype
        assert str(plan.torch_dtype) == {"bf16": "torch.bfloat16"}.get(dtype, f"torch.{dtype}")
        assert plan.fit().dtype == dtype
    assert plan_for_tier(asked, sizes).dtype == dtype
    assert tier_alone(asked, sizes).dtype == dtype


def test_float32_is_planned_for_with_twice_the_bytes():
    asked = replace(Tier.for_memory(24), dtype="float32")
    assert budget(machine(24), TURBO, tier=asked).device_bytes("vae") == 2 * budget(machine(24), TURBO).device_bytes(
        "vae"
    )


@pytest.mark.parametrize(
    ("device", "expected"), [("auto", "cuda"), ("cuda", "cuda"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu"),
                             ("cpu:0", "cpu")])  # fmt: skip
def test_a_device_asked_for_is_the_one_the_work_runs_on(device, expected):
    assert on(device).device == expected
    assert budget(on(device), TURBO).device == expected


@pytest.mark.parametrize("device", ["cuda:2", "mps", "xpu", "cuda:99"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(device):
    with pytest.raises(MachineError, match=rf"no device {device} here; there is cpu, cuda:0 and cuda:1\."):
        on(device)


def test_a_simulated_card_may_be_asked_for_and_a_real_one_made_smaller():
    cpu_only = {"cpu": 1, "cuda": 0}
    found = Machine.on("cuda", {"MAX_CUDA_VRAM": "8"}, lambda: Machine("cpu", 32 * GB), one_of_them, lambda: cpu_only)
    assert (found.simulated, found.device, found.gigabytes) == (True, "cpu", 8)
    assert on("cuda:1", {"MAX_CUDA_VRAM": "8"}).gigabytes == 8
    assert on("cpu", {"MAX_CUDA_VRAM": "8"}).device == "cpu"


def test_a_tier_makes_the_device_smaller_or_contradicts_it():
    assert Machine.for_session(Tier.for_memory(8), "cuda:1", on).gigabytes == 8
    assert Machine.for_session(Tier.for_memory(8), "cuda:1", on).device == "cuda:1"
    assert Machine.for_session(Tier.for_memory(8), "cpu", on).simulated
    assert Machine.for_session(Tier.for_memory(16, "cpu"), "auto", on).device == "cpu"
    with pytest.raises(MachineError, match=r"tier cpu is a CPU's and the device asked for is cuda"):
        Machine.for_session(Tier.for_memory(16, "cpu"), "cuda", on)


def test_words_and_torchs_own_objects_name_devices_and_dtypes():
    import torch

    for given, expected in {
        "CPU": "cpu",
        " cuda:1 ": "cuda:1",
        torch.device("cuda", 1): "cuda:1",
        torch.device("mps"): "mps",
    }.items():
        assert asked_device(given, {}) == expected
    for given, expected in {
        "float32": "float32",
        "FP32": "float32",
        torch.bfloat16: "bf16",
        torch.float16: "float16",
    }.items():
        assert asked_dtype(given, {}) == expected


def test_the_environment_says_it_for_all_sessions_and_an_argument_wins():
    environ = {"ACESTEP_DEVICE": "cuda:1", "ACESTEP_DTYPE": "float32"}
    assert (asked_device(None, environ), asked_dtype(None, environ)) == ("cuda:1", "float32")
    assert (asked_device("cpu", environ), asked_dtype("bf16", environ)) == ("cpu", "bf16")
    assert (asked_device("auto", environ), asked_dtype("auto", environ)) == ("auto", "auto")
    assert (asked_device(None, {}), asked_dtype(None, {})) == ("auto", "auto")
    with pytest.raises(MachineError, match=r"not 'toaster' \(from ACESTEP_DEVICE\); here there is cpu"):
        asked_device(None, {"ACESTEP_DEVICE": "toaster"})
    with pytest.raises(MachineError, match=r"not 'int4' \(from ACESTEP_DTYPE\)"):
        asked_dtype(None, {"ACESTEP_DTYPE": "int4"})


@pytest.mark.parametrize("nonsense", ["8", None, True, 0, -1, math.nan, math.inf, 10**400, [8]])
def test_what_is_no_size_or_no_tier_is_a_sentence(nonsense):
    with pytest.raises(MachineError, match="Memory is a size in GB"):
        Tier.for_memory(nonsense)
    if nonsense is not None:
        with pytest.raises(MachineError, match="A tier is a row"):
            Machine.for_session(nonsense, "auto", on)


@pytest.mark.parametrize(
    "nonsense", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", 0, 1.5, b"cpu", ["cpu"], object(), True, "cuda:" + "9" * 400]
)
def test_what_is_no_device_or_dtype_is_a_sentence(nonsense):
    with pytest.raises(MachineError, match="A device is"):
        asked_device(nonsense, {})
    with pytest.raises(MachineError, match="A dtype is"):
        asked_dtype(nonsense, {})
