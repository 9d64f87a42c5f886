"""Several checkpoints in one session: what is the same is loaded once, counted once and freed once; what another costs is known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from acestep_lab.errors import CheckpointError, MachineError
from acestep_lab.models import stored_content
from acestep_lab.models.component_spec import ComponentSpec, WorkingMemory
from acestep_lab.models.device_manager import DeviceManager
from acestep_lab.models.loading import Checkpoint, component_specs, specs_of_sizes
from acestep_lab.models.memory_plan import MemoryPlan, budget
from acestep_lab.models.products import PLAIN
from acestep_lab.models.shared_memory_plan import SharedMemoryPlan
from acestep_lab.models.stored_content import StoredContent, StoredFile
from acestep_lab.models.tiers import GB, OFFLOAD_LEVELS, Machine
from tests.test_device_manager import CountingMover, runs_out

TURBO = {"text": 1.19e9, "condition": 1.22e9, "dit": 3.15e9, "vae": 0.34e9, "codes": 0.42e9}


def card(gigabytes: float) -> Machine:
    return Machine("cuda", int(gigabytes * GB), simulated=True, ram_bytes=128 * GB)


def same_content(names: str, made_by: str = "one") -> dict[str, StoredContent]:
    """Contents that differ by name only, as of files that are one on disk."""
    return {name: StoredContent(f"{made_by} {name}", ()) for name in names.split()}


TURBO_SPECS = specs_of_sizes(TURBO, same_content("text vae codes"))
BASE_SPECS = specs_of_sizes(TURBO, same_content("text vae codes"))
MUSICGEN_SPECS = (
    ComponentSpec("t5", 438_000_000),
    ComponentSpec("decoder", 2_800_000_000, "loop", "decoder", int8=0.52, working=WorkingMemory(5e8, 2e8)),
    ComponentSpec("encodec", 118_000_000, "decoder", "EnCodec"),
)


class Builder:
    """Makes a tiny module per component and remembers which, for which checkpoint."""

    def __init__(self, checkpoint: str, built: list[tuple[str, str]]) -> None:
        self.checkpoint, self.built = checkpoint, built

    def __call__(self, component: str, dtype: torch.dtype) -> nn.Module:
        self.built.append((self.checkpoint, component))
        return nn.Linear(2, 2, dtype=dtype)


class Pair:
    """A manager with turbo and base open on a card, and what was built."""

    def __init__(self, gigabytes: float, specs: Any = BASE_SPECS) -> None:
        self.built: list[tuple[str, str]] = []
        plan = budget(card(gigabytes), TURBO_SPECS)
        self.devices = DeviceManager(Builder("turbo", self.built), plan, CountingMover, checkpoint="turbo")
        self.cost = self.devices.add("base", specs, Builder("base", self.built), passes=2)

    def enter(self, checkpoint: str, *names: str) -> None:
        for name in names or self.devices.plan_of(checkpoint).names:
            with self.devices.on(name, checkpoint) as module:
                assert isinstance(module, nn.Module)


# --- any component ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gigabytes", [3, 4, 6, 8, 12, 24])
def test_whatever_an_engine_names_is_budgeted_and_moved(gigabytes: float) -> None:
    plan = budget(card(gigabytes), MUSICGEN_SPECS)
    assert plan.names == ("t5", "decoder", "encodec")
    assert [row[0] for row in plan.table()[1:]] == list(plan.names)
    built: list[tuple[str, str]] = []
    devices = DeviceManager(Builder("", built), plan, CountingMover)
    for name in (*plan.names, *plan.names):
        with devices.on(name):
            assert name in devices.on_device
    assert [name for _, name in built] == list(plan.names)
    assert devices.peak_on_device <= plan.at_once


def test_more_memory_never_gives_another_engine_a_worse_plan() -> None:
    ladder = [level.name for level in OFFLOAD_LEVELS]
    plans = [budget(card(half / 2), MUSICGEN_SPECS) for half in range(4, 60)]
    for less, more in zip(plans, plans[1:], strict=False):
        assert (more.fits, -ladder.index(more.level.name)) >= (less.fits, -ladder.index(less.level.name))
        assert more.need_bytes <= more.have_bytes or not more.fits
    assert plans[0].way == "one component at a time, decoder kept in int8"
    assert {plan.level.group for plan in plans} == {""}, "what cannot be streamed never is"


def test_traits_decide_and_not_names() -> None:
    renamed = tuple(replace(spec, name=f"x {spec.name}") for spec in specs_of_sizes({**TURBO, "lm": 3.7e9}))
    for gigabytes in (4, 6, 8, 12, 24):
        mine, theirs = (
            budget(card(gigabytes), renamed),
            budget(card(gigabytes), specs_of_sizes({**TURBO, "lm": 3.7e9})),
        )
        assert (mine.level, mine.need_bytes, mine.way, mine.batch) == (
            theirs.level,
            theirs.need_bytes,
            theirs.way,
            theirs.batch,
        )


@pytest.mark.parametrize("ask", [
    lambda plan, devices: plan.device_bytes("transformer"),
    lambda plan, devices: plan.component("transformer"),
    lambda plan, devices: devices.on("transformer").__enter__(),
    lambda plan, devices: devices.run_with_retry("transformer", id),
    lambda plan, devices: devices.step_down("transformer"),
])  # fmt: skip
def test_a_component_nobody_named_is_refused_with_those_there_are(ask: Any) -> None:
    plan = budget(card(24), MUSICGEN_SPECS)
    with pytest.raises(
        MachineError, match="No component is called 'transformer'; this checkpoint has t5, decoder, encodec"
    ):
        ask(plan, DeviceManager(Builder("", []), plan, CountingMover))


def test_a_component_larger_than_promised_is_told() -> None:
    def build(component: str, dtype: torch.dtype) -> nn.Module:
        return nn.Linear(2**13, 2**12, dtype=dtype, device="meta")  # 64 MB in bf16

    specs = (ComponentSpec("small", 1000, "loop"), ComponentSpec("right", 2 * 2**25, "encoder"))
    devices = DeviceManager(build, replace(budget(card(24), specs), dtype="float32"), CountingMover)
    for name in ("right", "small"):
        with devices.on(name):
            pass
    assert devices.messages == ["The small is 0.1 GB and was planned for with 1 MB; memory may run out."]


def test_specs_that_are_none_are_refused_in_a_sentence() -> None:
    with pytest.raises(CheckpointError, match="No component is called 'tokeniser'; the components are text, condition"):
        specs_of_sizes({"tokeniser": 1})
    with pytest.raises(MachineError, match="made from ComponentSpec values, not 'text'"):
        budget(card(8), TURBO)  # type: ignore[arg-type]
    with pytest.raises(MachineError, match="Two components are called 't5'"):
        budget(card(8), (*MUSICGEN_SPECS, ComponentSpec("t5", 1)))
    with pytest.raises(MachineError, match="needs at least one component"):
        budget(card(8), ())
    with pytest.raises(MachineError, match="has the role 'heart'; a component is encoder, loop, decoder or planner"):
        ComponentSpec("x", 1, "heart")
    for odd in (-1, 0.5, True, "big"):
        with pytest.raises(MachineError, match="size of x is a whole number of bytes"):
            ComponentSpec("x", odd)  # type: ignore[arg-type]
    with pytest.raises(MachineError, match="built 'no module' for 't5'"):
        DeviceManager(lambda name, dtype: "no module", budget(card(8), MUSICGEN_SPECS), CountingMover).on(
            "t5"
        ).__enter__()  # type: ignore[arg-type, return-value]


# --- sharing ----------------------------------------------------------------------------------------------------------


def test_what_two_checkpoints_have_in_common_is_built_once_and_is_one_module() -> None:
    pair = Pair(80)
    pair.enter("turbo")
    pair.enter("base")
    assert pair.built == [("turbo", name) for name in TURBO_ORDER] + [("base", "condition"), ("base", "dit")]
    with pair.devices.on("vae", "turbo") as one, pair.devices.on("vae", "base") as other:
        assert one is other
    assert len(pair.devices.on_device) == 7
    assert set(pair.devices.of("base").on_device) == set(TURBO)


TURBO_ORDER = tuple(spec.name for spec in TURBO_SPECS)


def test_the_cost_of_another_is_said_before_anything_is_loaded() -> None:
    pair = Pair(80)
    cost = pair.cost
    assert pair.built == []
    assert cost.more_bytes == int(TURBO["condition"] + TURBO["dit"])
    assert cost.shared == {"text": "turbo", "vae": "turbo", "codes": "turbo"}
    assert cost.shared_bytes == int(TURBO["text"] + TURBO["vae"] + TURBO["codes"])
    assert cost.evicted == ()
    assert str(cost).startswith(
        "base: 4.1 GB more, 1.8 GB shared with turbo (text, vae, codes); the others stay loaded beside it; "
        "everything stays loaded; up to 10 min"
    )
    assert cost.plan.loaded_bytes == sum(map(int, TURBO.values())) + cost.more_bytes


def test_each_is_planned_for_as_if_alone_and_all_are_explained() -> None:
    pair = Pair(12)
    plans = pair.devices.plans
    assert plans["turbo"].level is budget(card(12), TURBO_SPECS).level
    assert plans["base"].level is budget(card(12), BASE_SPECS, passes=2).level
    assert plans.need_bytes == max(plans["turbo"].need_bytes, plans["base"].need_bytes)
    text = str(plans)
    assert text.startswith("12 GB: turbo: ")
    assert [line.split()[:2] for line in text.splitlines()[3:13]] == [
        [c, n] for c in ("turbo", "base") for n in TURBO_ORDER
    ]
    assert text.count("shared with turbo") == 3


def test_one_checkpoint_is_explained_as_ever() -> None:
    plan = budget(card(12), TURBO_SPECS)
    assert str(SharedMemoryPlan.of("turbo", plan)) == str(plan)


def test_what_is_not_in_use_leaves_first_and_no_more_than_has_to() -> None:
    pair = Pair(12)
    pair.enter("turbo")
    pair.enter("base")
    room = pair.devices.plans.room_beside("base")
    there = [place for place in pair.devices.places_on_device if place[0] == "turbo"]
    plan = pair.devices.plan_of("turbo")
    beside = [name for _, name in there if name in ("dit", "condition")]
    assert sum(map(plan.device_bytes, beside)) <= room
    assert {("turbo", name) for name in ("dit", "condition")} - set(there) == set(pair.cost.evicted)
    assert pair.cost.evicted, "on a card of 12 GB somebody has to leave"
    assert "may have to leave" in str(pair.cost)
    pair.enter("turbo", "dit")
    assert ("turbo", "dit") in pair.devices.places_on_device


@pytest.mark.parametrize("gigabytes", [4, 6, 8, 12, 16, 24])
def test_both_work_in_turn_on_every_card_with_no_more_bytes_than_there_are(gigabytes: float) -> None:
    pair = Pair(gigabytes)
    for _ in range(2):
        for checkpoint in ("turbo", "base"):
            for name in pair.devices.plan_of(checkpoint).names:
                pair.enter(checkpoint, name)
                on = {id(one): one.bytes for one in pair.devices._modules() if one.on_device}
                assert sum(on.values()) <= pair.devices.plan_of(checkpoint).have_bytes
                assert len(pair.devices.of(checkpoint).on_device) <= pair.devices.plan_of(checkpoint).at_once
    assert len(pair.built) == len(set(pair.built)), "what waits in RAM is not built again"


def test_what_is_kept_in_other_precision_is_not_shared() -> None:
    large = specs_of_sizes({**TURBO, "dit": 8.3e9, "lm": 8.4e9}, same_content("text vae codes"))
    pair = Pair(6, large)
    assert pair.devices.plan_of("base").stored("text") != pair.devices.plan_of("turbo").stored("text")
    assert "text" not in pair.cost.shared
    assert "codes" in pair.cost.shared
    pair.enter("turbo")
    pair.enter("base")
    assert ("base", "text") in pair.built
    assert ("base", "codes") not in pair.built


def test_memory_that_runs_out_sends_the_others_away_before_anything_gets_leaner() -> None:
    pair = Pair(80)
    pair.enter("turbo")
    level = pair.devices.plan_of("base").level
    assert pair.devices.run_with_retry("dit", runs_out(1), "base") == "done"
    assert pair.devices.plan_of("base").level is level
    assert pair.devices.messages == ["Memory ran out in the dit; condition of turbo, dit of turbo made room."]
    assert pair.devices.run_with_retry("dit", runs_out(1), "base") == "done"
    assert pair.devices.plan_of("base").level is not level
    assert pair.devices.plan_of("turbo").level.name == "all", "the other one's plan is its own"


def test_leaner_for_one_leaves_the_others_module_as_it_was() -> None:
    pair = Pair(80)
    pair.enter("turbo")
    pair.enter("base")
    leaner = replace(
        pair.devices.plan_of("base"), level=next(one for one in OFFLOAD_LEVELS if one.name == "in turn int8")
    )
    pair.devices.change_plan(leaner, "base")
    pair.enter("base")
    with pair.devices.on("text", "turbo") as turbo, pair.devices.on("text", "base") as base:
        assert type(turbo) in PLAIN
        assert base is not turbo
    assert pair.built.count(("turbo", "text")) == 1


def test_freed_for_one_what_both_use_stays_and_closed_it_goes_with_the_last() -> None:
    pair = Pair(80)
    pair.enter("turbo")
    pair.enter("base")
    pair.devices.of("base").free()
    assert set(pair.devices.of("turbo").on_device) == set(TURBO)
    assert {"text", "vae", "codes"} == set(pair.devices.of("base").on_device)
    pair.devices.remove("turbo")
    assert set(pair.devices.on_device) == {"text", "vae", "codes"}
    assert pair.devices.checkpoints == ("base",)
    assert pair.devices.memory_plan is pair.devices.plan_of("base")
    with pytest.raises(MachineError, match="'base' is the only checkpoint open"):
        pair.devices.remove("base")
    pair.devices.free()
    assert pair.devices.on_device == ()


def test_a_third_shares_with_whoever_is_left() -> None:
    pair = Pair(80)
    pair.enter("base", "vae")
    pair.devices.remove("turbo")
    cost = pair.devices.add("sft", TURBO_SPECS, Builder("sft", pair.built))
    assert set(cost.shared.values()) == {"base"}
    pair.enter("sft", "vae")
    assert pair.built == [("base", "vae")]


def test_checkpoints_are_opened_closed_and_named_in_sentences() -> None:
    pair = Pair(80)
    with pytest.raises(MachineError, match="'base' is open already"):
        pair.devices.add("base", BASE_SPECS, Builder("base", []))
    for ask in (pair.devices.of, pair.devices.plan_of, pair.devices.remove, pair.devices.device_of):
        with pytest.raises(MachineError, match="No checkpoint 'sft' is open; open are turbo, base"):
            ask("sft")
    with pair.devices.on("dit", "turbo"), pytest.raises(MachineError, match="'turbo' is at work"):
        pair.devices.remove("turbo")


def test_ram_for_two_is_counted_once_for_what_they_share() -> None:
    machine = replace(
        card(12), ram_bytes=int(1.2 * sum(TURBO.values()) + 1.2 * (TURBO["condition"] + TURBO["dit"])) + GB
    )
    plan = SharedMemoryPlan.of("turbo", budget(machine, TURBO_SPECS))
    assert plan.with_checkpoint("base", BASE_SPECS).plan["turbo"].parked == "ram"
    apart = plan.with_checkpoint("base", specs_of_sizes(TURBO)).plan
    assert {apart["turbo"].parked, apart["base"].parked} == {"disk"}


def test_where_ram_is_the_memory_what_makes_room_is_built_again() -> None:
    built: list[tuple[str, str]] = []
    plan = budget(Machine("cpu", 10 * GB), TURBO_SPECS)
    devices = DeviceManager(Builder("turbo", built), plan, CountingMover, checkpoint="turbo")
    devices.add("base", BASE_SPECS, Builder("base", built))
    for checkpoint in ("turbo", "base", "turbo"):
        for name in devices.plan_of(checkpoint).names:
            with devices.on(name, checkpoint):
                pass
    assert built.count(("turbo", "dit")) == 2
    assert not any(place == ("base", name) for place in built for name in ("text", "vae", "codes"))


# --- proof ------------------------------------------------------------------------------------------------------------


def content(folder: Path, component: str = "vae") -> StoredContent:
    return Checkpoint.open(folder).content(component)


@pytest.fixture
def copied(tiny_turbo: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint somewhere else: other files with the same bytes."""
    return Path(shutil.copytree(tiny_turbo, tmp_path / "copied"))


def test_copies_links_and_the_file_itself_are_the_same_weights(
    tiny_turbo: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert content(tiny_turbo).is_same_as(content(copied))
    linked = tmp_path / "linked"
    linked.symlink_to(tiny_turbo, target_is_directory=True)
    monkeypatch.setattr(stored_content, "digest", lambda stored: pytest.fail("a link is proof enough"))
    assert content(tiny_turbo).is_same_as(content(linked))
    assert content(tiny_turbo).is_same_as(content(tiny_turbo))


def test_one_number_deep_inside_tells_a_tuned_autoencoder_apart(tiny_turbo: Path, copied: Path) -> None:
    [file] = (copied / "vae").glob("*.safetensors")
    size, tensors = file.stat().st_size, load_file(file)
    last = sorted(tensors)[-1]
    tensors[last].view(-1)[-1] += 1.0
    save_file(tensors, file, metadata={"format": "pt"})
    assert file.stat().st_size == size, "alike but for the number"
    assert not content(tiny_turbo).is_same_as(content(copied))
    assert content(tiny_turbo, "text").is_same_as(content(copied, "text"))


def test_the_same_numbers_under_another_config_or_for_another_class_are_not_the_same(
    tiny_turbo: Path, copied: Path
) -> None:
    file = copied / "vae" / "config.json"
    file.write_text(file.read_text().replace('"sampling_rate": 8000', '"sampling_rate": 16000'))
    assert not content(tiny_turbo).is_same_as(content(copied))
    entries = Checkpoint.open(tiny_turbo)._entries("vae")
    assert not StoredContent.of("ours", {}, entries).is_same_as(StoredContent.of("another family's", {}, entries))


def test_a_file_that_is_gone_or_changes_under_the_reading_is_a_sentence(copied: Path) -> None:
    [file] = (copied / "vae").glob("*.safetensors")
    stored = StoredFile.at(file)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        stored_content.digest(replace(stored, modified=1))
    file.unlink()
    with pytest.raises(CheckpointError, match=r"vae/\S+ cannot be read"):
        StoredFile.at(file)


def test_two_checkpoints_on_disk_share_their_autoencoder_and_text_encoder(
    tiny_turbo: Path, tiny_base: Path, tmp_path: Path
) -> None:
    tuned = Path(shutil.copytree(tiny_base, tmp_path / "tuned"))
    for folder in ("vae", "text_encoder"):
        shutil.rmtree(tuned / folder)
        shutil.copytree(tiny_turbo / folder, tuned / folder)
    one, other, built = Checkpoint.open(tiny_turbo), Checkpoint.open(tuned), []

    def build(checkpoint: Checkpoint, component: str, dtype: torch.dtype) -> nn.Module:
        built.append((checkpoint.folder.name, component))
        return checkpoint.build(component, dtype)

    plan: MemoryPlan = budget(Machine("cpu", 16 * GB), component_specs(one))
    devices = DeviceManager(partial(build, one), plan, checkpoint="turbo")
    cost = devices.add("base", component_specs(other), partial(build, other), passes=2)
    assert {"text", "vae"} <= set(cost.shared)
    assert "dit" not in cost.shared
    assert cost.plan.loaded_bytes == cost.before.loaded_bytes + cost.more_bytes
    for key in ("turbo", "base", "turbo"):
        for name in devices.plan_of(key).names:
            with devices.on(name, key) as module:
                assert next(module.parameters()).dtype == torch.float32
    assert [name for _, name in built].count("vae") == 1
    assert [name for _, name in built].count("text") == 1
    assert [name for _, name in built].count("dit") == 2
    with devices.on("vae", "turbo") as vae, devices.on("vae", "base") as again:
        assert vae is again
        assert np.isfinite(float(next(vae.parameters()).sum()))
    devices.free()
    assert devices.on_device == ()
    assert devices._loaded == {}
