"""How far a graph is from torch: both are asked the same, at two lengths. Knows tensors and onnxruntime; no engine, no folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from acestep_lab.errors import MachineError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
_FLOATS = {"tensor(float16)": np.float16, "tensor(float)": np.float32}


def require_onnx(names: Sequence[str] = LIBRARIES) -> None:
    """MachineError where a library of the extra is not installed."""
    from importlib.util import find_spec

    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MachineError(
            f'{missing[0]}, which works with ONNX files, is not installed here: pip install "acestep_lab[onnx]".'
        )


def session(file: Path) -> Any:
    """An onnxruntime session of a file, on the CPU with torch's number of threads; MachineError where it cannot be."""
    require_onnx(("onnxruntime",))
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads, options.log_severity_level = 1, 3
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except (RuntimeError, ValueError) as reason:  # its own errors are kinds of these
        said = " ".join(str(reason).split())[:120]
        raise MachineError(f"onnxruntime cannot open {file.name} ({said}); a newer onnxruntime may.") from reason


def answers(opened: Any, tensors: Sequence[Tensor], only: Sequence[str] = ()) -> list[Tensor]:
    """What a session makes of tensors, in the order of its ports; on the CPU. `only` these outputs: what they do not need is not
    worked out.
    """
    import onnxruntime
    import torch

    asked = {}
    for port, tensor in zip(opened.get_inputs(), tensors, strict=True):
        array = tensor.detach().cpu().numpy() if tensor.dtype != torch.bfloat16 else tensor.float().cpu().numpy()
        asked[port.name] = np.ascontiguousarray(array, dtype=_FLOATS.get(port.type, array.dtype))
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = bool(only)
    return [torch.from_numpy(found) for found in opened.run(list(only) or None, asked, options)]


@dataclass(frozen=True)
class Case:
    """One question to a graph, and torch's answer."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    lengths: Mapping[str, int]


def error(file: Path, cases: Sequence[Case]) -> float:
    """The largest difference of a graph to torch; see `difference`. Infinite where a shape or a number is wrong."""
    opened = session(file)
    worst = 0.0
    for case in cases:
        found = answers(opened, case.inputs)
        each = [difference(one, other) for one, other in zip(found, case.outputs, strict=True)]
        worst = max(worst, *each)
    return worst


def difference(found: Tensor, wanted: Tensor) -> float:
    """The largest difference as a share of the largest number wanted; of whole numbers, the share that differs."""
    if found.shape != wanted.shape:
        return math.inf
    if not wanted.numel():
        return 0.0
    if not wanted.is_floating_point():
        return float((found != wanted).double().mean())
    gap = (found.double() - wanted.double()).abs().masked_fill(found == wanted, 0.0).max()  # -inf is -inf
    most = wanted.double().abs().masked_fill(wanted.isinf(), 0.0).max()
    share = float(gap / most.clamp_min(_least(wanted.dtype)))
    return share if math.isfinite(share) else math.inf


def _least(dtype: torch.dtype) -> float:
    import torch

    return float(torch.finfo(dtype).tiny)
