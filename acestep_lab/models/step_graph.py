"""A step recorded once and replayed: thousands of kernels become one launch. Knows no model; what records is handed in.

    graphs = StepGraphs(CudaRecorder())
    velocity = graphs.run(("dit", tokens), weights, lambda x, t: step(x, t), (x, t))

A recording reads its inputs where they lay when it was made. So each keeps inputs of its own, and what has changed since is copied
into them before a replay; the answer is copied out, for the next replay writes over it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

Given = tuple[Tensor | None, ...]
Function = Callable[..., Tensor]


class Recorder(Protocol):
    """What records a function of no arguments on a device; the tests' one records nothing and counts."""

    def record(self, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """What runs the function's kernels again and gives the tensor they write into; RuntimeError where it cannot."""


class CudaRecorder:
    """CUDA graphs. A first run on a stream of its own prepares what may not be prepared while recording."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record the function; its memory comes from one pool for all recordings, which are never replayed side by side."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            function()
        torch.cuda.current_stream().wait_stream(aside)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            found = function()

        def replay() -> Tensor:
            graph.replay()
            return found

        return replay


@dataclass(eq=False)
class _Recording:
    """A recording with the inputs it reads and what they were copied from."""

    replay: Callable[[], Tensor]
    inputs: Given
    last: list[tuple[Tensor, int] | None]

    def fill(self, given: Given) -> None:
        """Copy into its inputs what is not there yet."""
        for place, (into, come) in enumerate(zip(self.inputs, given, strict=True)):
            if into is None or come is None:
                continue
            state = (come, _version(come))
            known = self.last[place]
            if known is None or known[0] is not come or known[1] != state[1]:
                into.copy_(come)
                self.last[place] = state


def _version(tensor: Tensor) -> int:
    """How often a tensor was written into; one made in inference mode does not say and is taken to be written into never."""
    return 0 if tensor.is_inference() else tensor._version


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
    replayed: int = 0
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
        self.replayed += 1
        return recording.replay().clone()

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
        try:
            replay = self.recorder.record(lambda: function(*inputs))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.stop(f"Steps are not recorded: {(str(error).splitlines() or [type(error).__name__])[0][:160]}")
            return None
        self.recorded += 1
        self._kept[key] = _Recording(replay, inputs, [None] * len(inputs))
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
