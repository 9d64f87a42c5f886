"""A checkpoint as ONNX: export-onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from acestep_lab.cli import options

if TYPE_CHECKING:
    from acestep_lab.models.onnx_manifest import Graph


@options.command("export-onnx")
@click.argument("checkpoint", type=options.CHECKPOINT, help="A name, a folder or a hub id.")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), help="A new folder, or an earlier export."
)
@click.option(
    "--component", "components", multiple=True, metavar="NAME", help="Only this one (again and again: those)."
)
@click.option(
    "--dtype",
    default="fp32",
    show_default=True,
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="Numbers it is kept in.",
)
@click.option(
    "--tolerance", type=float, metavar="SHARE",
    help="How far from torch a graph may be, as a share of its largest number. [default: 1e-4, 2e-2 in fp16, 2e-1 in int8]",
)  # fmt: skip
def export_onnx(
    checkpoint: str, folder: Path, components: tuple[str, ...], dtype: str, tolerance: float | None
) -> None:
    """Write a checkpoint as ONNX graphs, each held against torch.

    The folder opens like any checkpoint; one that is there already is added to, so that components can differ in numbers."""
    from acestep_lab.engines.exporting import export_onnx as export
    from acestep_lab.models.memory_plan import gb

    made = export(
        checkpoint, folder, components, dtype, tolerance, on_graph=lambda graph: print(row(graph), flush=True)
    )
    size = gb(sum(made.components.values()))
    count = f"{len(made.graphs)} graph{'s' * (len(made.graphs) != 1)}"
    print(f"{folder}: {count}, {size}, of {', '.join(made.components)}.")


def row(graph: Graph) -> str:
    """A graph in a line: its numbers, how far it is from torch, how far it may be."""
    megabytes = graph.bytes / 1e6
    return f"{graph.name:<22} {graph.dtype}  {megabytes:>9.2f} MB  error {graph.error:.1e} of {graph.tolerance:.0e}"
