"""What every engine of an exported folder (ONNX) has in common, to stand before a family's own engine::

    class OnnxMusicGenEngine(ExportedEngine, MusicGenEngine): ...

Knows no family: the loop, the tasks and the codec are the family's own, and its graphs are asked through `runner`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from acestep_lab.engines.base import Rendered
from acestep_lab.errors import CheckpointError

if TYPE_CHECKING:
    from acestep_lab.models.adapters import Adapter
    from acestep_lab.models.onnx_export import OnnxParts

FIXED = (
    "The weights of an ONNX export are fixed: adapters, merging and training need the checkpoint that it was made from."
)


class ExportedEngine:
    """An exported checkpoint; see `engines.base.Engine` for what each method promises."""

    def __init__(self, checkpoint: Any) -> None:
        super().__init__(checkpoint)  # type: ignore[call-arg]
        self.runner = checkpoint.runner

    def decode(self, *args: Any, **named: Any) -> Rendered:
        """The same, and then nothing is held any more."""
        try:
            found: Rendered = super().decode(*args, **named)  # type: ignore[misc]
            return found
        finally:
            self.runner.drop()

    def onnx_parts(self) -> OnnxParts:
        raise CheckpointError("This is an ONNX export already; export the checkpoint that it was made from.")

    def made_with(self) -> Mapping[str, Any]:
        return {**super().made_with(), "onnx": self.runner.dtypes}  # type: ignore[misc]


class FixedWeights:
    """An exported checkpoint of a family that takes adapters and is taught: here its weights cannot be reached."""

    def attach(self, adapters: Sequence[tuple[Adapter, float]]) -> tuple[str, ...]:
        if adapters:
            raise CheckpointError(FIXED)
        return ()

    def merged(self, *args: Any, **named: Any) -> Any:
        raise CheckpointError(FIXED)

    def training_module(self, dtype: object) -> Any:
        raise CheckpointError(FIXED)
