"""A step recorded once and played again: thousands of kernels become one launch. The one home for it; knows no model.

A step is a function without arguments that reads and writes tensors at fixed places. A `Recorder` is handed one and gives what runs it
from then on: as it is (`plain`), as a CUDA graph (`CudaGraphs`), compiled (`models.compiling.compiled_step`).

There are two kinds of steps. A language model's keeps its own places: tokens, lengths, caches; it is handed to a recorder as it is.
A DiT's is a function of tensors that come anew each time, in as many shapes as songs have; `StepGraphs` gives such a function places::

    graphs = StepGraphs(CudaGraphs())
    velocity = graphs.run(("dit", tokens), weights, lambda x, t: step(x, t), (x, t))

Each recording keeps inputs of its own, and what has changed since is copied into them before it is played; the answer is copied out,
for the next play writes over it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from acestep_lab.errors import LabError
from acestep_lab.models.backends import Backend, backend_of
from acestep_lab.models.compiling import compiled_step
from acestep_lab.models.written import version

Step: TypeAlias = Callable[[], None]
Recorder: TypeAlias = Callable[[Step, Sequence[Tensor], Sequence[Tensor]], Step]
"""(step, state, places) → what runs the step; RuntimeError where it cannot be recorded. `state` are the tensors that hold what was
done before, and are put back after the step was tried out; `places` are the others that stay where they are: what is only read, and
caches, of which only what lies behind the state's lengths is written."""

Given = tuple[Tensor | None, ...]
Function = Callable[..., Tensor]

WISHES = ("auto", "graph", "compile", "plain")


def recorder_for(
    device: torch.device, wish: str = "auto", row: Callable[[torch.device], Backend] = backend_of
) -> Recorder | None:
    """How a language model's steps are run on a device; None where shapes need not be fixed, because the host is what computes.

    "auto": a graph where the device's row of `models.backends` has them, plain on other cards. LabError where a graph is asked for and
    there is none; on ROCm it may be asked for.
    """
    if wish == "graph" and device.type != "cuda":
        raise LabError(
            f'lm_step "graph" needs a CUDA or ROCm card, and the planner is on {device.type}. Set it to "auto".'
        )
    if wish == "compile":
        return compiled_step
    if device.type == "cpu" and wish == "auto":
        return None
    return (
        CudaGraphs() if wish == "graph" or (wish == "auto" and device.type == "cuda" and row(device).graphs) else plain
    )


def plain(step: Step, state: Sequence[Tensor], places: Sequence[Tensor]) -> Step:
    """The step as it is, one launch a kernel."""
    return step


class CudaGraphs:
    """Records CUDA graphs. All of one recorder share their memory, so they are never played side by side."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, step: Step, state: Sequence[Tensor], places: Sequence[Tensor]) -> Step:
        """Run the step on the side until nothing is set up any more, put the state back, record it. What other threads ask of the
        card meanwhile (a preview) is no part of it.
        """
        with torch.cuda.device((*state, *places)[0].device):
            before, side = [tensor.clone() for tensor in state], torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step()
                step()
            torch.cuda.current_stream().wait_stream(side)
            for tensor, kept in zip(state, before, strict=True):
                tensor.copy_(kept)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                step()
        return graph.replay


@dataclass(eq=False)
class _Recording:
    """A recording with the inputs it reads, what they were copied from, and where its answer lies once it was played."""

    play: Step
    inputs: Given
    answer: list[Tensor]
    last: list[tuple[Tensor | None, int | None]]

    def fill(self, given: Given) -> None:
        """Copy into its inputs what is not there yet, and what does not say whether it is."""
        for place, (into, come) in enumerate(zip(self.inputs, given, strict=True)):
            if into is None or come is None:
                continue
            now, (known, then) = version(come), self.last[place]
            if known is not come or now is None or now != then:
                into.copy_(come)
                self.last[place] = come, now


@dataclass(eq=False)
class StepGraphs:
    """Recordings by shape, the longest unused let go; without a recorder, or where recording failed, functions just run.

    `first` calls of a shape run as they are: a piece of few steps is not held up by a recording that it hardly uses.
    """

    recorder: Recorder | None
    most: int = 4
    first: int = 2
    reason: str = ""
    """Why recording was given up; "" while it was not."""
    held: str = ""
    """Why nothing is recorded for now."""
    recorded: int = 0
    played: int = 0
    _kept: OrderedDict[Hashable, _Recording] = field(default_factory=OrderedDict)
    _seen: dict[Hashable, int] = field(default_factory=dict)
    _weights: Hashable = None

    def run(self, key: Hashable, weights: Hashable, function: Function, given: Given) -> Tensor:
        """What `function(*given)` gives; `weights` changes whenever what it reads besides `given` may have."""
        if not self.records:
            return function(*given)
        if weights != self._weights:
            self.clear()
            self._weights = weights
        key = key, tuple(None if one is None else (one.shape, one.dtype, one.device) for one in given)
        recording = self._kept.get(key) or self._made(key, function, given)
        if recording is None:
            return function(*given)
        self._kept.move_to_end(key)
        recording.fill(given)
        self.played += 1
        recording.play()
        return recording.answer[0].clone()

    @property
    def records(self) -> bool:
        """Whether steps are recorded."""
        return self.recorder is not None and not self.held

    def hold(self, why: str) -> None:
        """Record nothing for now, for a reason; "": go on."""
        self.held = why
        if why:
            self.clear()

    def _made(self, key: Hashable, function: Function, given: Given) -> _Recording | None:
        """A recording of this shape, once it has been seen often enough."""
        assert self.recorder is not None
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] <= self.first:
            return None
        inputs = tuple(None if one is None else one.clone() for one in given)
        answer: list[Tensor] = []

        def step() -> None:
            answer[:] = [function(*inputs)]

        try:
            play = self.recorder(step, (), [one for one in inputs if one is not None])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.stop(f"Steps are not recorded: {(str(error).splitlines() or [type(error).__name__])[0][:160]}")
            return None
        self.recorded += 1
        self._kept[key] = _Recording(play, inputs, answer, [(None, None)] * len(inputs))
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return self._kept[key]

    def stop(self, reason: str) -> None:
        """Record no more, for a reason."""
        self.recorder, self.reason = None, reason
        self.clear()

    def clear(self) -> None:
        """Let go of every recording and its memory."""
        self._kept.clear()
        self._seen.clear()
