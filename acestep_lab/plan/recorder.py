"""How a step whose shapes never change is run again and again: recorded once, played many times.

Knows no model. A step is a function without arguments that reads and writes tensors at fixed places. A recorder is handed such
a step and what it writes, and gives what runs it from then on: a CUDA graph costs the host for all of a step's kernels; torch's compiler also joins kernels, and takes a minute or more at the first song.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from acestep_lab.errors import LabError

Step: TypeAlias = Callable[[], None]
Recorder: TypeAlias = Callable[[Step, Sequence[Tensor], Sequence[Tensor]], Step]
"""(step, state, cache) → what runs the step. `state` are the tensors that hold what was done before; of the `cache` only what
lies behind the state's lengths is written, so that a step tried out leaves nothing there."""

WISHES = ("auto", "graph", "compile", "plain")


def recorder_for(device: torch.device, wish: str = "auto") -> Recorder | None:
    """How a step is run on a device; None where shapes need not be fixed, because the host is what computes.

    "auto": a graph on CUDA and ROCm, plain on other cards. LabError where a graph is asked for and there is none.
    """
    if wish == "graph" and device.type != "cuda":
        raise LabError(
            f'lm_step "graph" needs a CUDA or ROCm card, and the planner is on {device.type}. Set it to "auto".'
        )
    if wish == "compile":
        return compiled
    if device.type == "cuda" and wish != "plain":
        return cuda_graph
    return None if device.type == "cpu" and wish == "auto" else plain


def plain(step: Step, state: Sequence[Tensor], cache: Sequence[Tensor]) -> Step:
    """The step as it is, one launch a kernel."""
    return step


def compiled(step: Step, state: Sequence[Tensor], cache: Sequence[Tensor]) -> Step:
    """The step compiled by torch when it is first run; on CUDA its kernels go into graphs."""
    for tensor in (*state, *cache):
        torch._dynamo.mark_static_address(tensor)
    return torch.compile(step, mode="reduce-overhead", fullgraph=True, dynamic=False)


def cuda_graph(step: Step, state: Sequence[Tensor], cache: Sequence[Tensor]) -> Step:
    """The step as a CUDA graph: run on the side until nothing is set up any more, put back, captured."""
    with torch.cuda.device(state[0].device):
        before, side = [tensor.clone() for tensor in state], torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
            step()
        torch.cuda.current_stream().wait_stream(side)
        for tensor, kept in zip(state, before, strict=True):
            tensor.copy_(kept)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    return graph.replay
