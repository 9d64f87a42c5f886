"""An exported folder at work: a session is loaded when a component is first asked, and dropped when another one is.

::

    runner = OnnxRunner.open(folder, "ace-step-1.5")
    velocity, = runner.ask("dit", x, t, states, mask, context)     # loads dit, drops what was there
    runner.drop(); runner.peak_bytes                               # nothing is held; the most there ever was

Load → run → drop: never is more than one component's file in memory, so the largest decides what a machine needs. Knows no
model; a family hands `OnnxModule`s, shaped like its own modules, to the loop that it has anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from acestep_lab.errors import CheckpointError, shown
from acestep_lab.models import onnx_manifest, onnx_parity
from acestep_lab.models.component_spec import ComponentSpec
from acestep_lab.models.onnx_manifest import Graph, Manifest
from acestep_lab.models.weights import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass
class OnnxRunner:
    """The sessions of one exported folder."""

    folder: Path
    manifest: Manifest
    loads: list[str] = field(default_factory=list)
    """Every graph that was loaded, in order, also when it was loaded again."""
    peak_bytes: int = 0
    """The most bytes of graphs that were in memory at once."""
    _open: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @classmethod
    def open(cls, folder: Path, family: str) -> OnnxRunner:
        """The runner of a folder; light. CheckpointError where the folder is damaged or of another family, MachineError
        without onnxruntime.
        """
        onnx_parity.require_onnx(("onnxruntime",))
        found = cls(folder, onnx_manifest.read(folder, family))
        onnx_manifest.verify(folder, found.manifest.files)
        return found

    def need(self, names: Iterable[str]) -> None:
        """CheckpointError where a graph that cannot be done without was not exported, or its file is missing."""
        for name in names:
            graph = self.manifest.named(name)
            missing = [file for file in graph.files if not (self.folder / file).is_file()]
            if missing:
                raise CheckpointError(
                    f"The file {shown(missing[0])} of {short(self.folder)} is missing; export the checkpoint again."
                )

    def ask(self, name: str, *tensors: Tensor, only: Sequence[str] = ()) -> tuple[Tensor, ...]:
        """What a graph makes of tensors, where the first of them lies; `only` these of its outputs."""
        with self._lock:  # who listens to a step asks for the autoencoder from another thread
            found = onnx_parity.answers(self._session(self.manifest.named(name)), tensors, only)
        device = tensors[0].device
        return tuple(one.to(device) for one in found)

    def _session(self, graph: Graph) -> Any:
        if graph.name not in self._open:
            if any(self.manifest.named(name).component != graph.component for name in self._open):
                self.drop()
            onnx_manifest.verify(self.folder, graph.files)
            self._open[graph.name] = onnx_parity.session(self.folder / graph.file)
            self.loads.append(graph.name)
            self.peak_bytes = max(self.peak_bytes, sum(self.manifest.named(name).bytes for name in self._open))
        return self._open[graph.name]

    @property
    def loaded(self) -> tuple[str, ...]:
        """The graphs that are in memory."""
        return tuple(self._open)

    def drop(self) -> None:
        """Give all memory back; the next question loads again."""
        with self._lock:
            self._open.clear()

    def tensors(self) -> Mapping[str, Tensor]:
        """The numbers that belong to no graph."""
        from safetensors.torch import load_file

        return load_file(self.folder / onnx_manifest.TENSORS)

    def specs(self, usual: Sequence[ComponentSpec]) -> tuple[ComponentSpec, ...]:
        """Components as a plan for memory sees them here: never kept in eight bits otherwise, never streamed or shared."""
        sizes = self.manifest.components
        return tuple(
            ComponentSpec(spec.name, sizes[spec.name], spec.role, spec.label, optional=spec.optional)
            for spec in usual
            if spec.name in sizes
        )

    def verify(self, component: str) -> None:
        """Compare a component's files with their digests; CheckpointError where one differs or is missing."""
        for graph in self.manifest.graphs:
            if graph.component == component:
                onnx_manifest.verify(self.folder, graph.files)

    @property
    def dtypes(self) -> dict[str, str]:
        """In which numbers each graph is."""
        return {graph.name: graph.dtype for graph in self.manifest.graphs}


class OnnxModule(nn.Module):
    """A component as its graphs: looks like a module to whoever moves it about, and has no weights of its own."""

    def __init__(self, runner: OnnxRunner) -> None:
        super().__init__()
        self.runner = runner
        self.like = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.eval()

    def ask(self, graph: str, *tensors: Tensor, only: Sequence[str] = ()) -> tuple[Tensor, ...]:
        """What a graph makes of tensors, where this module is; `only` these of its outputs."""
        return tuple(one.to(self.like.device) for one in self.runner.ask(graph, *tensors, only=only))
