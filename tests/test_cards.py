"""Several cards in one machine: who works where, takes spread over cards alike, and wishes that cannot be met."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from acestep_lab import Recipe, Session
from acestep_lab.doctor import DeviceRequest, several_cards
from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.opened import OpenEngines, asked_engine
from acestep_lab.errors import LabError, MachineError, Stopped
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.rendering import Renderer
from acestep_lab.models.cards import Placement, asked_cards, name_of, placed
from acestep_lab.models.device_manager import CardFull
from acestep_lab.models.loading import specs_of_sizes
from acestep_lab.models.several_cards import CardsManager
from acestep_lab.models.tiers import GB, Machine
from acestep_lab.settings import Settings
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from tests.phantom import PhantomCard
from tests.test_device_manager import Builder, CountingMover
from tests.tiny import tiny_components

SPECS = specs_of_sizes(
    {"text": 1.19e9, "condition": 1.22e9, "dit": 3.15e9, "vae": 0.34e9, "codes": 0.42e9, "lm": 8.4e9}
)


def card(gigabytes: float, index: int, name: str = "A") -> Machine:
    """A card that is not there: its work runs on the CPU."""
    return Machine("cuda", int(gigabytes * GB), name=name, simulated=True, index=index)


CARDS = [card(24, 0), card(24, 1)]


# -- wishes


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ("dit:cpu", "component:card"),
        ("dit", "component:card"),
        ("dit:0;lm:1", "component:card"),
        (3.5, "component:card"),
        ("dit:0,dit:1", "two cards"),
        ("text:0,text_encoder:1", "two cards"),
        ("0,0", "twice"),
        ("cuda:1,1", "twice"),
        ("0,dit:1", "mixes"),
        ("brass:0,dit:1", "brass.*text, condition, dit"),
        ("dit:0,lm:7", "card 7.*cuda:0 and cuda:1"),
        ("dit:xpu:0", "card xpu:0"),
        ("single:4", "card 4"),
        ("0,1,2", "card 2"),
    ],
)
def test_a_wish_that_cannot_be_met_is_said_before_anything_opens(wish: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=why) as said:
        Session(asked_engine("pocket"), None, Library(tmp_path), wish, cards=CARDS)
    assert len(str(said.value)) < 300


def test_a_session_refuses_two_masters_and_cards_that_are_not_there() -> None:
    with pytest.raises(MachineError, match="not both"):
        Session.open("pocket", device="cpu", devices="0,1")
    with pytest.raises(MachineError, match="twice"):
        Session.open("pocket", devices="0,0")
    with pytest.raises(MachineError, match="is another than"):
        placed("0,1", [card(24, 0), card(12, 1)], SPECS)


def test_the_variable_of_the_reference_is_read_in_its_own_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = "dit:0,vae:0,text_encoder:0,lm:1"
    assert asked_cards(None, {"ACESTEP_GPU_MAPPING": theirs}) == theirs
    assert asked_cards({"dit": 0, "lm": 1}) == "dit:0,lm:1"
    assert asked_cards([0, 1]) == "0,1"
    assert Settings.read(env={"ACESTEP_GPU_MAPPING": theirs}, folder=tmp_path).value("devices") == theirs
    with pytest.raises(LabError, match="component:card"):
        Settings.read(env={"ACESTEP_GPU_MAPPING": "both"}, folder=tmp_path)
    monkeypatch.setenv("ACESTEP_GPU_MAPPING", theirs)
    with Session(asked_engine("pocket"), None, Library(tmp_path), cards=CARDS) as lab:
        assert "lm on cuda:1" in lab.explain().summary()


# -- by memory


def where(placement: Placement | None) -> dict[str, str]:
    """Component → card."""
    assert placement is not None
    return {one.name: name_of(placement.card_of(one)) for one in SPECS}


def test_what_fits_whole_is_spread_over_cards_alike() -> None:
    found = placed("auto", [card(48, 0), card(48, 1), card(48, 2, "B"), card(12, 3)], SPECS)
    assert found is not None
    assert [name_of(one) for one in (found.main, *found.copies)] == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize("sizes", [(12, 16), (16, 12), (12, 12, 4)])
def test_the_planner_goes_where_room_is_and_the_model_keeps_its_decoder(sizes: Sequence[float]) -> None:
    cards = [card(size, index, f"{size}") for index, size in enumerate(sizes)]
    at = where(placed("auto", cards, SPECS))
    assert at["dit"] == at["vae"]
    assert at["lm"] != at["dit"]
    assert {at["lm"], at["dit"]} <= {name_of(one) for one in cards if one.gigabytes > 4}


def test_one_card_or_none_is_left_as_it_is() -> None:
    assert placed("auto", [card(8, 0)], SPECS) is None
    assert placed("auto", [], SPECS) is None


def test_the_doctor_says_who_works_where() -> None:
    [found] = several_cards(DeviceRequest(devices="dit:0,lm:1"), "pocket", CARDS)
    assert found.state == "ok"
    assert "lm on cuda:1" in found.message
    [hint] = several_cards(DeviceRequest(), "pocket", CARDS)
    assert "spread over cuda:0 and cuda:1" in hint.message
    assert 'devices="auto"' in hint.fix
    assert not list(several_cards(DeviceRequest(), "pocket", CARDS[:1]))


# -- components apart


class Movers:
    """A mover for each card, which can be asked what it carries."""

    def __init__(self) -> None:
        self.of: dict[int, CountingMover] = {}

    def __call__(self, plan: Any) -> CountingMover:
        return self.of.setdefault(plan.machine.index, CountingMover(plan))


def apart(wish: str = "dit:0,lm:1", movers: Any = None, sizes: Sequence[float] = (24, 24)) -> CardsManager:
    """A manager of several cards, with stand-ins for modules."""
    placement = placed(wish, [card(size, index) for index, size in enumerate(sizes)], SPECS)
    assert placement is not None
    return CardsManager(Builder(), SPECS, placement, mover=movers or Movers(), checkpoint="turbo")


def test_every_component_works_on_its_card_and_stays_there() -> None:
    devices = apart(movers=(movers := Movers()))
    for name in ("lm", "text", "dit", "vae", "lm", "dit"):
        with devices.on(name):
            pass
    assert (len(movers.of[0].on_device), len(movers.of[1].on_device)) == (3, 1)
    said = str(devices.plan_of())
    assert "lm on cuda:1 (24 GB): everything stays loaded" in said
    assert said.count("\nlm ") == 1
    with pytest.raises(MachineError, match="brass"), devices.on("brass"):
        pass


def test_memory_that_runs_out_on_one_card_leaves_the_other_as_it_was() -> None:
    devices = apart(movers=(movers := Movers()))
    movers.of[1].runs_out = 1
    with devices.on("lm"):
        pass
    one, other = devices.plan_of(), devices.plan_of().beside[0]
    assert one.level.name == "all"
    assert other.level.name != "all"
    assert any("lm" in line for line in devices.messages)


def test_a_second_checkpoint_is_placed_alike_and_its_planner_exchanged() -> None:
    devices = apart()
    without = [one for one in SPECS if one.name != "lm"]
    before = devices.plan_of("turbo")
    cost = devices.cost("base", SPECS)
    assert cost.fits
    assert "cuda:1" in str(cost)
    devices.add("base", SPECS, Builder())
    assert devices.plan_of("base").beside[0].names == ("lm",)
    devices.exchange("base", without, Builder())
    assert devices.plan_of("base").beside == ()
    devices.exchange("base", SPECS, Builder())
    assert devices.plan_of("base").beside[0].names == ("lm",)
    devices.remove("base")
    assert devices.checkpoints == ("turbo",)
    assert devices.plan_of("turbo").names == before.names


def test_a_planner_without_room_beside_the_model_has_it_on_another_card() -> None:
    devices = apart(sizes=(8, 16))
    assert "lm" not in devices.plan_of().left_out
    assert devices.plan_of().fit(Recipe("dub", seconds=60)).beside[0].names == ("lm",)


class PhantomMover:
    """Carries modules to a pretended card of a number."""

    def __init__(self, phantom: PhantomCard, index: int) -> None:
        self.phantom, self.device = phantom, torch.device("card", index)

    def bring(self, module: nn.Module) -> None:
        self.phantom.device = self.device
        self.phantom.holds(module, torch.bfloat16)

    def park(self, module: nn.Module) -> None: ...
    def stream(self, module: nn.Module, level: str) -> None: ...
    def tidy(self) -> None: ...


def test_nothing_meets_on_the_wrong_card() -> None:
    """On the phantom: the DiT works on card 1, the autoencoder on card 0; a tensor on the other one would raise."""
    modules = tiny_components(shallow=True)
    with PhantomCard() as phantom:
        placement = placed("dit:1,vae:0", CARDS, SPECS)
        assert placement is not None
        devices = CardsManager(
            lambda name, dtype: modules[name], SPECS, placement, checkpoint="turbo",
            mover=lambda plan: PhantomMover(phantom, plan.machine.index or 0),
        )  # fmt: skip
        width = modules["dit"].config.in_channels // 3
        states = torch.empty(1, 7, modules["condition"].null_condition_emb.shape[-1])
        x, context = torch.empty(1, 20, width), torch.empty(1, 20, 2 * width)
        with devices.on("dit") as dit:
            velocity = attention.velocity(dit, x, 0.5, states, context)
        assert velocity.shape == x.shape
        assert str(devices.device_for("dit")) == str(devices.device) == "card:1"
        with devices.on("vae") as vae:
            sound = Codec(vae, 256).decode(velocity.cpu())
        assert str(devices.device_for("vae")) == "card:0"
        assert sound.device.type == "cpu"


# -- takes spread


RECIPES = [Recipe("dub", seconds=1, seed=seed, steps=2, thinking=False) for seed in (5, 3, 8)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The takes of one card, each made alone."""
    with Session(asked_engine("pocket"), None, Library(tmp_path_factory.mktemp("one")), "0", cards=CARDS) as lab:
        return [lab.make(recipe) for recipe in RECIPES]


@pytest.fixture
def spread(tmp_path: Path) -> Iterator[tuple[Renderer, Movers]]:
    """A renderer over two cards, whose movers can run out of memory."""
    movers = Movers()
    queue = JobQueue()
    engines = OpenEngines(asked_engine("pocket"), None, "0,1", cards=CARDS, mover=movers)
    yield Renderer(engines, Sounds(Library(tmp_path)), queue), movers
    queue.close()


def same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether takes are the same bytes in the same order."""
    return all(np.array_equal(a.audio.samples, b.audio.samples) for a, b in zip(some, others, strict=True))


def test_takes_are_shared_and_each_is_the_same_bytes_as_on_one_card(alone: list[Any], tmp_path: Path) -> None:
    with Session(asked_engine("pocket"), None, Library(tmp_path), "0,1", cards=CARDS) as lab:
        told = {threading.get_ident()}
        run = lab.start(RECIPES)
        run.subscribe(lambda event: told.add(threading.get_ident()))
        takes = run.takes()
        assert "spread over cuda:0 and cuda:1" in lab.explain().summary()
        assert same(takes, alone)
        assert [take.recipe.seed for take in takes] == [recipe.seed for recipe in RECIPES]
        assert len(run.steps) == 6
        assert len(told) <= 2  # listeners hear the thread of the run, whatever card works
        assert run.keep(0, item=2).recipe.seed == 8
        assert lab.verify(takes[1]).word == "same"
        lab.free()


def test_a_card_that_runs_out_of_memory_gives_its_takes_to_the_other(
    spread: tuple[Renderer, Movers], alone: list[Any]
) -> None:
    renderer, movers = spread
    engine = renderer.engines.current
    renderer.engines.lanes(engine)  # type: ignore[attr-defined]
    movers.of[1].runs_out = 10**6
    run = renderer.begin(RECIPES)
    assert same(run.takes(), alone)
    assert any("The other cards make the takes of cuda:1" in line for line in run.messages)


def test_where_every_card_runs_out_the_last_one_steps_down(spread: tuple[Renderer, Movers], alone: list[Any]) -> None:
    renderer, movers = spread
    renderer.engines.lanes(renderer.engines.current)  # type: ignore[attr-defined]
    movers.of[0].runs_out = movers.of[1].runs_out = 2
    run = renderer.begin(RECIPES)
    assert same(run.takes(), alone)
    assert any("now:" in line for line in run.messages)


def test_stop_stops_every_card(spread: tuple[Renderer, Movers]) -> None:
    renderer, _ = spread
    run = renderer.begin([recipe.replace(seconds=10, steps=50) for recipe in RECIPES])
    next(iter(run))
    run.stop()
    with pytest.raises(Stopped):
        run.takes()
    assert not [one for one in threading.enumerate() if one.name.startswith("acestep_lab cuda")]


def test_what_goes_wrong_on_one_card_ends_the_run(
    spread: tuple[Renderer, Movers], monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer, _ = spread
    lanes = renderer.engines.lanes(renderer.engines.current)  # type: ignore[attr-defined]

    def broken(*args: Any) -> Any:
        raise ValueError("a bug")

    monkeypatch.setattr(lanes[1].engine, "decode", broken, raising=False)
    with pytest.raises(ValueError, match="a bug"):
        renderer.begin(RECIPES).takes()


def test_a_card_gives_up_only_while_another_one_works() -> None:
    devices = apart("single:0")._of_main()
    devices.gives_up = lambda: True
    with pytest.raises(CardFull, match="cuda:0"):
        devices.step_down("dit")
    devices.gives_up = lambda: False
    devices.step_down("dit")
    assert devices.memory_plan.level.name != "all"
