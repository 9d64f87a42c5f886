"""Every kind of accelerator is a row with rules; float16 widens where it overflows; blocks compile with a word on how long."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acestep_lab import doctor
from acestep_lab.engines.ace15 import attention, card_attention
from acestep_lab.engines.ace15.card_attention import CardRoad
from acestep_lab.engines.ace15.engine import WIDENED
from acestep_lab.models import backends
from acestep_lab.models.backends import DeviceFacts, row_of
from acestep_lab.models.compiling import BlockCompiling
from acestep_lab.models.islands import Islands
from acestep_lab.models.loading import specs_of_sizes
from acestep_lab.models.memory_plan import LAST_RESORT, budget
from acestep_lab.models.step_running import StepRunning
from acestep_lab.models.tiers import GB, OFFLOAD_LEVELS, Machine, Tier
from tests.closeness import assert_near
from tests.stand_in_graph import StandInGraph
from tests.test_card_dit import SHORT, two
from tests.tiny import tiny_components

TURING = Machine("cuda", 16 * GB, name="T4", bf16=False)
SIZES = {"text": 1.2 * GB, "dit": 3.2 * GB, "vae": 0.3 * GB, "condition": 1.2 * GB}


@pytest.mark.parametrize(
    ("facts", "row"),
    [
        (DeviceFacts("cuda"), "cuda"),
        (DeviceFacts("cuda", bf16=False), "turing"),
        (DeviceFacts("cuda", is_hip=True), "rocm"),
        (DeviceFacts("xpu"), "xpu"),
        (DeviceFacts("mps"), "mps"),
        (DeviceFacts("cpu"), "cpu"),
        (DeviceFacts("privateuseone"), "cuda"),
    ],
)
def test_a_device_has_one_row(facts: DeviceFacts, row: str) -> None:
    assert row_of(facts).name == row
    assert backends.BY_NAME[row].title in str(row_of(facts))


def test_rows_agree_with_what_plans_do() -> None:
    kept_in_fp8 = {kind for level in OFFLOAD_LEVELS if level.storage == "fp8" for kind in level.kinds}
    assert all(row_of(DeviceFacts(kind)).fp8 for kind in kept_in_fp8)
    assert all(set(row.attention) <= set(backends.KERNELS) and row.attention[-1] == "banded" for row in backends.ROWS)
    assert not any(row.graphs for row in backends.ROWS if row.name not in ("cuda", "turing"))


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps", "cpu"])
def test_the_doctor_shows_the_row_in_use(kind: str) -> None:
    (finding,) = doctor.backend(Machine(kind))
    assert finding.message == str(row_of(DeviceFacts(kind)))
    assert ("worked out on the CPU" in finding.message) == (kind == "mps")


def test_without_bfloat16_the_dit_computes_in_float16_and_all_else_in_float32() -> None:
    plan = budget(TURING, specs_of_sizes(SIZES))
    assert {name: plan.dtype_of(name) for name in plan.names} == {
        name: torch.float16 if name == "dit" else torch.float32 for name in SIZES
    }
    asked = budget(TURING, specs_of_sizes(SIZES), tier=Tier.for_memory(16).computing_in("float32"))
    assert asked.kept_in("dit") == "float32"
    assert plan.device_bytes("dit") < asked.device_bytes("dit")
    assert replace(plan, level=LAST_RESORT).kept_in("dit") == "float32", "a CPU goes on in float32"


# --- float16 with islands -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock() -> Any:
    return tiny_components()["dit"].requires_grad_(False)


def loud(stock: Any, part: str) -> Any:
    """A DiT whose second block says, in one part, more than float16 holds; its weights are numbers still."""
    dit = copy.deepcopy(stock)
    weight = dit.layers[1].get_submodule(part).weight
    weight *= 6e4 / weight.abs().max()
    return dit


def halved(dit: Any) -> tuple[Any, Islands]:
    road = CardRoad(everywhere=True, kernel="banded")
    return card_attention.install(copy.deepcopy(dit).half(), road), Islands(attention.layers_of, WIDENED)


@pytest.mark.parametrize(("part", "level"), [("mlp.up_proj", 1), ("self_attn.to_v", 2)])
def test_where_float16_overflows_it_is_widened_and_the_step_taken_again(stock: Any, part: str, level: int) -> None:
    dit = loud(stock, part)
    half, islands = halved(dit)
    x, t, states, context = two(SHORT)
    with torch.inference_mode():
        wanted = attention.velocity(attention.install(dit), x, t, states, context)
        found = islands.settled(half, lambda: attention.velocity(half, x, t, states, context))
        assert islands.levels == {1: level}
        assert islands.redone == level
        assert_near(found, wanted, 2e-2)
        again = half.__class__.from_config(half.config).half()
        again.load_state_dict({name: value.half() for name, value in dit.state_dict().items()})
        islands.restore(again)
    assert again.layers[1].mlp.down_proj.weight.dtype == torch.float32
    assert again.layers[0].mlp.down_proj.weight.dtype == torch.float16
    assert "block 2" in str(islands)


def test_what_overflows_outside_of_blocks_makes_all_of_it_float32(stock: Any) -> None:
    dit = copy.deepcopy(stock)
    dit.proj_in_conv.weight *= 2.0**16
    half, islands = halved(dit)
    with torch.inference_mode():
        found = islands.settled(half, lambda: attention.velocity(half, *two(SHORT)))
    assert islands.whole
    assert found.isfinite().all()
    assert next(half.parameters()).dtype == torch.float32


def test_weights_that_are_no_numbers_are_not_asked_for_ever(stock: Any) -> None:
    dit = copy.deepcopy(stock)
    dit.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    half, islands = halved(dit)
    with torch.inference_mode():
        found = islands.settled(half, lambda: attention.velocity(half, *two(SHORT)))
    assert not found.isfinite().all()
    assert islands.redone <= len(WIDENED) + 1


# --- compiled, recorded ---------------------------------------------------------------------------------------------------


class Ticking:
    """A clock that is 21 seconds later at every look."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 21.0
        return self.now


def test_the_first_look_at_compiled_blocks_says_how_long_it_took_and_the_next_says_nothing() -> None:
    compiled, said, looks = list[nn.Module](), list[str](), list[int]()
    compiling = BlockCompiling(compiled.append, clock=Ticking())
    blocks = [nn.Linear(2, 2), nn.Linear(2, 2)]
    compiling.take(blocks)
    for _ in range(2):
        compiling.warm_up(lambda: looks.append(1), said.append)
    assert compiled == blocks
    assert said[0].startswith("Compiling the 2 blocks")
    assert said[1].startswith("Compiled in 21 s")
    assert (len(said), len(looks)) == (2, 1)


def test_where_the_compiler_fails_blocks_run_as_they_are_and_it_says_why() -> None:
    def broken(graph: Any, examples: Any) -> Any:
        raise RuntimeError("no C++ compiler here")

    class Block(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    block, said = Block(2, 2), list[str]()
    compiling = BlockCompiling(lambda one: one.compile(backend=broken))
    compiling.take([block])
    compiling.warm_up(lambda: block(torch.ones(1, 2)), said.append)
    assert "no C++ compiler here" in said[-1]
    assert block(torch.ones(1, 2)).shape == (1, 2)
    compiling.take([block])
    assert block(torch.ones(1, 2)).shape == (1, 2)


def test_a_dit_compiles_once_for_each_kind_of_layer_and_says_what_it_said(stock: Any) -> None:
    graphs: list[object] = []

    def watched(graph: Any, examples: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    dit, given = card_attention.install(copy.deepcopy(stock), CardRoad(everywhere=True, kernel="banded")), two(60)
    running = StepRunning(
        attention.layers_of, WIDENED, lambda block: block.compile(backend=watched, dynamic=True, fullgraph=True)
    )
    said: list[str] = []
    with torch.inference_mode():
        wanted = attention.velocity(dit, *given)
        running.ready(dit)
        found: Tensor = running.asked(dit, lambda: attention.velocity(dit, *given), said.append)
    assert (len(said), len(graphs)) == (2, 2), "one for each kind of layer, however many there are"
    assert_near(found, wanted)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (Machine("cpu"), "a CPU has no recordings"),
        (Machine("cuda", 24 * GB, is_hip=True), "AMD (ROCm) has no recordings"),
        (Machine("cuda", 4 * GB), "leaves the card"),
        (Machine("cuda", 80 * GB), ""),
    ],
)
def test_steps_are_recorded_only_where_that_holds_and_it_says_why_not(machine: Machine, said: str) -> None:
    running = StepRunning(attention.layers_of, WIDENED, recorder=StandInGraph())
    plan = budget(machine, specs_of_sizes(SIZES))
    why = running.may_record(plan, "dit")
    assert said in why
    assert bool(why) == bool(said)
    assert running.graphs.records == (not said)
    assert running.may_record(plan, "dit") == "", "once is enough"
