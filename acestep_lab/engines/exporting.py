"""An open engine's checkpoint written as ONNX. Knows engines by their contract; the family says what its graphs are."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acestep_lab.engines import registry
from acestep_lab.engines.base import Attaches, Engine, Exports, able
from acestep_lab.errors import CheckpointError
from acestep_lab.prompt import checks

if TYPE_CHECKING:
    from acestep_lab.models.onnx_manifest import Manifest

_ADAPTERS = (
    "Adapters are on, and an ONNX export is of the checkpoint's own weights: lab.merge(folder) first and export that, or put them "
    "off with lab.lora()."
)
_NO_EXPORT = "is of a family that cannot be exported to ONNX"


def export_onnx(
    engine: Engine | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    components: Sequence[str] = (),
    dtype: str = "fp32",
    tolerance: float | None = None,
    on_graph: Callable[[Any], None] = lambda graph: None,
) -> Manifest:
    """Write an engine's checkpoint, or the one of a name or folder, into a folder as ONNX graphs that agree with torch, and say how well.

    `components` empty: all; `dtype` "fp32", "fp16" or "int8". CheckpointError, and nothing written, where one is further from
    torch than `tolerance` (a share of its largest number), or where adapters are on, which are not in it: merge them into a checkpoint
    first. `on_graph` hears of each that is done.
    """
    from acestep_lab.models import onnx_parity

    place = Path(checks.place("An ONNX export's folder", folder, CheckpointError)).expanduser().absolute()
    opened = registry.open_engine(engine) if isinstance(engine, str | os.PathLike) else engine
    exporter = able(opened, Exports, _NO_EXPORT)
    if isinstance(opened, Attaches) and opened.attached:
        raise CheckpointError(_ADAPTERS)
    onnx_parity.require_onnx()
    from acestep_lab.models.onnx_export import export

    return export(exporter.onnx_parts(), place, components, dtype, tolerance, on_graph=on_graph)
