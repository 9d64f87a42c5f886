"""Graphs leave as ONNX: each exported, kept in the numbers that were asked for, and held against torch before it counts.

::

    export(engine_parts, folder)                      # everything, in fp32
    export(engine_parts, folder, ["dit"], "int8")     # one component again, beside what is there

Knows no model. An engine says what its graphs are (`OnnxParts`, by the protocol `engines.base.Exports`); a family that comes later
offers the same: one `OnnxGraph` for each of its components, with a wrapper module that takes and gives plain tensors,
two examples of different lengths, and the exporter that works for it. "legacy" traces: a deep model in a second, recurrent layers as
one node, UMT5; whatever a trace takes for a constant is found at the second length. "dynamo" proves its lengths, for which it
takes 10 to 50 times as long, and cannot follow UMT5. Padding that depends on a length's remainder is done outside of the graph, so say
`multiples={"frames": 2}`.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from acestep_lab.errors import CheckpointError, RecipeError, shown
from acestep_lab.models import onnx_manifest, onnx_parity
from acestep_lab.models.onnx_manifest import DTYPES, Axis, Graph, Manifest, Port
from acestep_lab.models.onnx_parity import Case, require_onnx
from acestep_lab.models.stored_content import StoredFile, digest
from acestep_lab.models.weights import short
from acestep_lab.versions import version_of

EXTERNAL_ABOVE = 2_000_000_000
"""Bytes of weights from which on they lie in a file beside the graph: a protobuf ends at 2 GiB."""
LARGE = 100_000_000
"""Bytes of a module from which on its memory is asked back at once."""
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 2e-1}
"""How far a graph may be from torch, as a share of the largest number, unless told otherwise."""
OPSETS = {"dynamo": 18, "legacy": 17}
_CANNOT_FOLLOW = (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError, LookupError)
"""What torch's exporters raise of their own accord."""
_OF_ANGLES = (
    "Constant",
    "Sub",
    "Neg",
    "Exp",
    "Mul",
    "Div",
    "MatMul",
    "Einsum",
    "Cast",
    "Unsqueeze",
    "Squeeze",
    "Reshape",
    "Expand",
    "Concat",
    "Transpose",
    "Range",
)
"""Operators between a position or time and its sine."""
_SQUARES, _LENGTHS = ("ReduceMean", "Mul", "Pow"), ("Add", "Sqrt", "Reciprocal", "Mul", "Div")
"""Operators before the mean of a norm, and from there to its row of numbers over their length."""
_TALKING = ("torch.onnx", "torch.onnx._internal.exporter._registration", "torch.__trace")
_QUANTIZED = ["MatMul", "Gemm"]
"""Operators kept in eight bits: products with weights. Convolutions in eight bits are slower than in 32 on a CPU."""


@dataclass(frozen=True)
class Slot:
    """An input or output of a graph, and which of its axes may have any length."""

    name: str
    axes: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxGraph:
    """One graph that an engine can export."""

    name: str
    component: str
    """The engine's component that it is (part of)."""
    make: Callable[[], nn.Module]
    """Builds a module of tensors in, tensors out, with its weights, in float32 on the CPU."""
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    examples: Callable[[], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
    """Inputs of two lengths, always the same ones: the first is exported with, both are compared."""
    exporter: Literal["dynamo", "legacy"] = "legacy"
    multiples: Mapping[str, int] = field(default_factory=dict)
    """Axes whose length must be a multiple of something."""
    wide: tuple[str, ...] = ()
    """Patterns of the names of operators that stay float32 in half precision, beside angles and norms: long sums, as those of linear
    attention. A trace names an operator after the module it is in: "/blocks.0/attn/MatMul_3"."""
    int8: bool = True
    """Whether eight bits are of use; where not, it stays in fp32."""
    fp16: bool = True
    """Whether half precision is of use; where not, it stays in fp32."""


@dataclass(frozen=True)
class OnnxParts:
    """All that an engine's export consists of."""

    family: str
    checkpoint: str
    graphs: tuple[OnnxGraph, ...]
    files: Mapping[str, Path] = field(default_factory=dict)
    """The checkpoint's own small files (configs, tokenizers): where each goes in the folder, and where it is."""
    tensors: Callable[[], Mapping[str, Tensor]] = dict
    """Numbers that belong to no graph."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the family wants to know again when the folder is opened."""


def export(
    parts: OnnxParts,
    folder: Path,
    components: Sequence[str] = (),
    dtype: str = "fp32",
    tolerance: float | None = None,
    external_above: int = EXTERNAL_ABOVE,
    on_graph: Callable[[Graph], None] = lambda graph: None,
) -> Manifest:
    """Write graphs into a folder, each only if it agrees with torch; an earlier export of the checkpoint is added to.

    Nothing of it is there where one of them fails: what was written is deleted and CheckpointError says how far off it was.
    RecipeError for names that do not exist.
    """
    require_onnx()
    tolerance = _checked(dtype, tolerance)
    chosen, before = _chosen(parts, components), _before(parts, folder)
    with _staged(folder) as stage:
        fresh = tuple(_exported(one, stage, dtype, tolerance, external_above, on_graph) for one in chosen)
        kept = [graph for graph in before.graphs if graph.name not in {one.name for one in fresh}] if before else []
        for name in {name for graph in kept for name in graph.files}:
            _linked(folder / name, stage / name)
        order = [graph.name for graph in parts.graphs]
        graphs = sorted([*kept, *fresh], key=lambda graph: order.index(graph.name))
        made = Manifest(parts.family, parts.checkpoint, tuple(graphs), _copied(parts, stage), parts.facts, _versions())
        made.write(stage)
        _moved(stage, folder)
    return made


def _checked(dtype: str, tolerance: float | None) -> float:
    """The tolerance of a dtype; RecipeError where one of the two makes no sense."""
    if dtype not in DTYPES:
        raise RecipeError(f"An ONNX graph is kept in {', '.join(DTYPES)}, not in {shown(dtype)}.")
    if tolerance is None:
        return TOLERANCES[dtype]
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance < math.inf:
        raise RecipeError(f"A tolerance is a number above 0, such as {TOLERANCES[dtype]:g}, not {shown(tolerance)}.")
    return float(tolerance)


def _chosen(parts: OnnxParts, names: Sequence[str]) -> list[OnnxGraph]:
    """The graphs that are asked for, by their own names or their component's; all where none is named."""
    known = {graph.name for graph in parts.graphs} | {graph.component for graph in parts.graphs}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RecipeError(f"{parts.checkpoint} exports no {shown(unknown[0])}; it has {', '.join(sorted(known))}.")
    return [graph for graph in parts.graphs if not names or {graph.name, graph.component} & set(names)]


def _before(parts: OnnxParts, folder: Path) -> Manifest | None:
    """What an earlier export into a folder has; CheckpointError where the folder holds anything else."""
    if not os.path.lexists(folder):
        return None
    if not folder.is_dir():
        raise CheckpointError(f"{short(folder)} is a file; an ONNX export is a folder.")
    if not any(folder.iterdir()):
        return None
    if not onnx_manifest.is_exported(folder):
        raise CheckpointError(f"The folder {short(folder)} holds something else; export into a new or empty folder.")
    found = onnx_manifest.read(folder, parts.family)
    if (found.checkpoint, found.facts) != (parts.checkpoint, parts.facts):
        raise CheckpointError(
            f"The folder {short(folder)} holds the export of another checkpoint, {shown(found.checkpoint)}; choose another."
        )
    known = {graph.name for graph in parts.graphs}
    return replace(found, graphs=tuple(graph for graph in found.graphs if graph.name in known))


# --- the folder ---------------------------------------------------------------------------------------------------------


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder beside the target that is gone afterwards, whatever happens; CheckpointError where the disk refuses."""
    stage = folder.parent / f".{folder.name}-{secrets.token_hex(6)}"
    try:
        stage.mkdir(parents=True)
        yield stage
    except OSError as reason:
        raise CheckpointError(
            f"The export into {short(folder)} cannot be written ({reason.strerror or reason})."
        ) from reason
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _linked(there: Path, here: Path) -> None:
    """A file once more, without a copy where the disk can."""
    try:
        os.link(there, here)
    except OSError:
        shutil.copy2(there, here)


def _copied(parts: OnnxParts, stage: Path) -> dict[str, str]:
    """The checkpoint's small files and loose tensors in the folder, and their digests."""
    from safetensors.torch import save_file

    for name, source in parts.files.items():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, stage / name)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in parts.tensors().items()}
    names = list(parts.files)
    if tensors:
        save_file(tensors, stage / onnx_manifest.TENSORS)
        names.append(onnx_manifest.TENSORS)
    return {name: digest(StoredFile.at(stage / name)) for name in names}


def _moved(stage: Path, folder: Path) -> None:
    """The finished folder in its place: it is whole in every moment that it is there."""
    old = folder.parent / f".{folder.name}-old-{secrets.token_hex(6)}"
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(stage, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _versions() -> dict[str, str]:
    return {name: version_of(name) for name in ("acestep_lab", "torch", *onnx_parity.LIBRARIES)}


# --- one graph ----------------------------------------------------------------------------------------------------------


def _exported(
    one: OnnxGraph,
    stage: Path,
    dtype: str,
    tolerance: float,
    external_above: int,
    on_graph: Callable[[Graph], None],
) -> Graph:
    """A graph written and compared; CheckpointError where it is further from torch than the tolerance."""
    dtype = dtype if {"int8": one.int8, "fp16": one.fp16}.get(dtype, True) else "fp32"
    draft = stage / "draft"
    draft.mkdir()
    cases = _traced(one, draft / "whole.onnx")
    kept = _in_numbers(draft, dtype, one.wide)
    file = stage / f"{one.name}.{dtype}.onnx"
    _saved(kept, file, external_above)
    opset = next(entry.version for entry in kept.opset_import if entry.domain in ("", "ai.onnx"))
    del kept
    shutil.rmtree(draft)
    graph = _described(one, file, dtype, cases, opset, tolerance)
    if not graph.error <= tolerance:
        raise CheckpointError(
            f"{one.name} in {dtype} is {graph.error:.2g} away from what torch computes, and {tolerance:g} is allowed (as a "
            "share of its largest number). What was written is deleted; allow more with --tolerance, or take another dtype."
        )
    on_graph(graph)
    return graph


def _traced(one: OnnxGraph, file: Path) -> list[Case]:
    """Write a module as fp32, and say what torch makes of the examples."""
    module = one.make().eval().requires_grad_(False)
    examples = one.examples()
    try:
        with _quietly(), torch.no_grad():
            (_by_dynamo if one.exporter == "dynamo" else _by_legacy)(one, module, examples[0], file)
    except _CANNOT_FOLLOW as reason:
        said = " ".join(str(reason).split())[:100]
        raise CheckpointError(
            f"torch's {one.exporter} exporter cannot follow {one.name} ({said}); another version of torch may. Nothing was written."
        ) from reason
    module.eval()  # the exporter puts a module's parts back into the mode of the whole
    with torch.inference_mode():
        cases = [Case(inputs, _tuple(module(*inputs)), _lengths(one, inputs)) for inputs in examples]
    large = sum(one.nbytes for one in (*module.parameters(), *module.buffers())) > LARGE
    del module
    if large:  # looking through all of Python's objects takes a second
        gc.collect()
    return cases


def _tuple(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


@contextmanager
def _quietly() -> Iterator[None]:
    """torch.onnx talks about itself in warnings and logs; what is wrong with a graph, the comparison finds."""
    loggers = [logging.getLogger(name) for name in _TALKING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _by_dynamo(one: OnnxGraph, module: nn.Module, inputs: tuple[Tensor, ...], file: Path) -> None:
    """By torch.export: what is dynamic is proven."""
    dims: dict[str, Any] = {}
    for axis in dict.fromkeys(axis for slot in one.inputs for axis in slot.axes.values()):
        times = one.multiples.get(axis, 1)
        dims[axis] = torch.export.Dim(axis) if times == 1 else times * torch.export.Dim(f"{axis}_part")
    shapes = tuple({place: dims[axis] for place, axis in slot.axes.items()} for slot in one.inputs)
    program = torch.onnx.export(
        module, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False, opset_version=OPSETS["dynamo"],
        input_names=[slot.name for slot in one.inputs], output_names=[slot.name for slot in one.outputs],
    )  # fmt: skip
    assert program is not None
    program.save(str(file), external_data=True)


def _by_legacy(one: OnnxGraph, module: nn.Module, inputs: tuple[Tensor, ...], file: Path) -> None:
    """By tracing: a recurrent layer stays one node, and a deep model takes seconds where a proof takes minutes."""
    for name, symbolic in (("rms_norm", _rms_norm), ("movedim", _movedim)):
        torch.onnx.register_custom_op_symbolic(f"aten::{name}", symbolic, OPSETS["legacy"])
    torch.onnx.export(
        module, inputs, str(file), dynamo=False, verbose=False, opset_version=OPSETS["legacy"],
        input_names=[slot.name for slot in one.inputs], output_names=[slot.name for slot in one.outputs],
        dynamic_axes={slot.name: dict(slot.axes) for slot in (*one.inputs, *one.outputs)},
    )  # fmt: skip


def _rms_norm(graph: Any, x: Any, shape: Any, weight: Any, eps: Any) -> Any:
    """The tracer's missing operator, by plain ones; `shape` is of the last axes."""
    from torch.onnx import symbolic_helper as said

    known = said._maybe_get_const(shape, "is")
    axes = range(-len(known if isinstance(known, Sequence) else said._unpack_list(shape)), 0)
    least = torch.finfo(torch.float32).eps if said._is_none(eps) else said._maybe_get_const(eps, "f")
    square = graph.op("ReduceMean", graph.op("Mul", x, x), axes_i=list(axes), keepdims_i=1)
    length = graph.op("Sqrt", graph.op("Add", square, graph.op("Constant", value_t=torch.tensor(float(least)))))
    unit = graph.op("Div", x, length)
    return unit if said._is_none(weight) else graph.op("Mul", unit, weight)


def _movedim(graph: Any, x: Any, source: Any, destination: Any) -> Any:
    """The tracer's own takes no axis counted from the end."""
    from torch.onnx import symbolic_helper as said

    count = said._get_tensor_rank(x)
    if count is None:
        raise RuntimeError("movedim of a tensor whose number of axes is not known")
    moved, to = (range(count)[said._maybe_get_const(axis, "i")] for axis in (source, destination))
    order = [axis for axis in range(count) if axis != moved]
    order.insert(to, moved)
    return graph.op("Transpose", x, perm_i=order)


def _lengths(one: OnnxGraph, inputs: Sequence[Tensor]) -> dict[str, int]:
    pairs = zip(one.inputs, inputs, strict=True)
    return {axis: tensor.shape[place] for slot, tensor in pairs for place, axis in slot.axes.items()}


# --- its numbers --------------------------------------------------------------------------------------------------------


def _in_numbers(draft: Path, dtype: str, wide: Sequence[str] = ()) -> Any:
    """The graph in a folder as a model in memory, in fp32, fp16 or int8."""
    import onnx

    whole = draft / "whole.onnx"
    if dtype == "int8":
        _quantized(whole, draft / "int8.onnx")
        return onnx.load(str(draft / "int8.onnx"))
    return _halved(whole, wide) if dtype == "fp16" else onnx.load(str(whole))


def _halved(whole: Path, wide: Sequence[str]) -> Any:
    """In half precision inside; what goes in and comes out stays float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(whole), load_external_data=False)
    named = [node.name for node in model.graph.node if any(re.search(one, node.name) for one in wide)]
    kept = list(dict.fromkeys([*_angles(model), *_norms(model), *named]))
    with _quietly():
        return _without_detours(convert_float_to_float16(str(whole), keep_io_types=True, node_block_list=kept), kept)


def _without_detours(model: Any, kept: Sequence[str]) -> Any:
    """What is float32 on both sides stays it in between: the converter puts half precision between any two nodes, and behind inputs.

    A time of 0.2 is 0.05 off there once it is multiplied by 1000, which was all but a fiftieth of a DiT's error.
    """
    import onnx

    made_by = {name: node for node in model.graph.node for name in node.output}
    wide = {one.name for one in model.graph.input if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    wide |= {name for node in model.graph.node if node.name in set(kept) for name in node.output}
    instead: dict[str, str] = {}
    for node in model.graph.node:
        narrowed = made_by.get(node.input[0]) if _casts_to(node, onnx.TensorProto.FLOAT) else None
        if narrowed is not None and _casts_to(narrowed, onnx.TensorProto.FLOAT16) and narrowed.input[0] in wide:
            instead[node.output[0]] = narrowed.input[0]
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)
    return _without_unused(model)


def _casts_to(node: Any, dtype: int) -> bool:
    return node.op_type == "Cast" and any(one.name == "to" and one.i == dtype for one in node.attribute)


def _without_unused(model: Any) -> Any:
    """A graph without casts that nobody looks at any more."""
    while True:
        looked_at = {name for node in model.graph.node for name in node.input} | {
            one.name for one in model.graph.output
        }
        idle = [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] not in looked_at]
        if not idle:
            return model
        for node in idle:
            model.graph.node.remove(node)


def _angles(model: Any) -> list[str]:
    """Names of sines and cosines and of what their angles are made by: at 1000 · t half precision has lost the turn."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    asked = [node for node in model.graph.node if node.op_type in ("Sin", "Cos")]
    kept: dict[str, None] = {}
    while asked:
        node = asked.pop()
        if node.name not in kept:
            kept[node.name] = None
            before = (made_by[name] for name in node.input if name in made_by)
            asked += [one for one in before if one.op_type in _OF_ANGLES]
    return list(kept)


def _norms(model: Any) -> list[str]:
    """Names of what makes a length of a row of numbers: half precision has no square of 256."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    kept: dict[str, None] = {}
    lengths: set[str] = set()
    for node in model.graph.node:  # which is in the order of work
        if node.op_type == "ReduceMean":
            square = made_by.get(node.input[0])
            kept |= {one.name: None for one in (square, node) if one is not None and one.op_type in _SQUARES}
            lengths |= set(node.output)
        elif node.op_type in _LENGTHS and lengths & set(node.input):
            kept[node.name] = None
            lengths |= set(node.output) if node.op_type not in ("Mul", "Div") else set()
    return list(kept)


def _quantized(whole: Path, file: Path) -> None:
    """Weights of products as eight bits with a scale for each output; activations are scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises through the root logger
    try:
        with _quietly():
            quantize_dynamic(
                str(whole), str(file), op_types_to_quantize=_QUANTIZED, per_channel=True, weight_type=QuantType.QInt8,
                use_external_data_format=True, extra_options={"MatMulConstBOnly": True},
            )  # fmt: skip
    finally:
        root.setLevel(level)


def _weight_bytes(model: Any) -> int:
    return sum(len(weight.raw_data) for weight in model.graph.initializer)


def _saved(model: Any, file: Path, external_above: int) -> None:
    """A model as one file, or with its weights in a second one beside it."""
    import onnx

    if _weight_bytes(model) > external_above:
        onnx.save_model(model, str(file), save_as_external_data=True, location=f"{file.name}.data", size_threshold=64)
    else:
        onnx.save_model(model, str(file))


def _described(one: OnnxGraph, file: Path, dtype: str, cases: Sequence[Case], opset: int, tolerance: float) -> Graph:
    """What the manifest says of a graph, its distance to torch measured."""
    names = [name for name in (file.name, f"{file.name}.data") if (file.parent / name).is_file()]
    first = cases[0]
    return Graph(
        one.name, one.component, dtype, file.name, _ports(one, one.inputs, first.inputs),
        _ports(one, one.outputs, first.outputs), opset, one.exporter,
        {name: digest(StoredFile.at(file.parent / name)) for name in names},
        sum((file.parent / name).stat().st_size for name in names), tolerance, onnx_parity.error(file, cases),
        tuple(case.lengths for case in cases),
    )  # fmt: skip


def _ports(one: OnnxGraph, slots: Sequence[Slot], tensors: Sequence[Tensor]) -> tuple[Port, ...]:
    return tuple(
        Port(slot.name, str(tensor.dtype).removeprefix("torch."), tuple(_axes(one, slot, tensor)))
        for slot, tensor in zip(slots, tensors, strict=True)
    )


def _axes(one: OnnxGraph, slot: Slot, tensor: Tensor) -> Iterator[Axis]:
    for place, length in enumerate(tensor.shape):
        axis = slot.axes.get(place)
        times = 1 if axis is None else one.multiples.get(axis, 1)
        yield length if axis is None else axis if times == 1 else f"{times}*{axis}"
