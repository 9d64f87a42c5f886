"""How the model of a loop is made ready for its device and asked: compiled, recorded, in float16 with islands. Knows no family.

    running = StepRunning(blocks_of, PARTS, compiler=compile_block, recorder=CudaGraphs())
    running.ready(dit)                                   # when it is built, or adapters were put on it
    velocity = running.asked(dit, lambda: ask(dit), say) # at every step

Each of the three is left where the device has no use for it, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab.models.backends import DeviceFacts, row_of
from acestep_lab.models.compiling import BlockCompiling, Compiler, Say
from acestep_lab.models.islands import Islands
from acestep_lab.models.memory_plan import MemoryPlan
from acestep_lab.models.recording import Recorder, StepGraphs


@dataclass(eq=False)
class StepRunning:
    """What is done around a look at the model of a loop; `parts` are what an island widens, level by level."""

    blocks: Callable[[Any], Sequence[nn.Module]]
    parts: tuple[tuple[str, ...], ...]
    compiler: Compiler | None = None
    recorder: Recorder | None = None
    measured: bool = False
    """Whether float16 was measured with the adapters that are on now."""
    compiling: BlockCompiling = field(init=False)
    islands: Islands = field(init=False)
    graphs: StepGraphs = field(init=False)

    def __post_init__(self) -> None:
        self.compiling = BlockCompiling(self.compiler)
        self.islands = Islands(self.blocks, self.parts)
        self.graphs = StepGraphs(self.recorder)

    def ready(self, model: Any) -> None:
        """After it was built, or adapters were put on: the islands that are known, compiled at the first look."""
        if _is_half(model):
            self.islands.restore(model)
        self.measured = False
        self.compiling.take(self.blocks(model))

    def asked(self, model: nn.Module, look: Callable[[], Tensor], say: Say) -> Tensor:
        """What a look gives; the first one of compiled blocks says how long it takes, one that overflows is taken again."""
        self.compiling.warm_up(look, say)
        return self.islands.settled(model, look) if _is_half(model) else look()

    def measure(self, model: nn.Module, probe: Callable[[nn.Module], Tensor]) -> str:
        """Where float16 overflows, before the first song; a sentence, "" where there is nothing to measure."""
        if self.measured or not _is_half(model):
            return ""
        self.measured = True
        self.islands.settled(model, lambda: probe(model))
        return str(self.islands)

    def may_record(self, plan: MemoryPlan, name: str) -> str:
        """Let steps be recorded under a plan, or not; why not, the first time it is asked for in vain."""
        if self.recorder is None:
            return ""
        before, why = self.graphs.held, _why_not(plan, name)
        self.graphs.hold(why)
        return why if why != before else ""


def _is_half(model: nn.Module) -> bool:
    """Whether a model computes in float16."""
    return next((one.dtype for one in model.parameters() if one.is_floating_point()), None) == torch.float16


def _why_not(plan: MemoryPlan, name: str) -> str:
    """Why steps of a component are not recorded under a plan; "" where they are."""
    row = row_of(DeviceFacts.of_machine(plan.machine))
    if plan.device == "cpu" or not row.graphs:
        return f"Steps are not recorded: {'a CPU' if plan.device == 'cpu' else row.title} has no recordings."
    if plan.mechanism(name) != "resident" or plan.stored(name) == "fp8":
        return f"Steps are not recorded: the {plan.component(name).title} leaves the card in this plan ({plan.way})."
    return ""
