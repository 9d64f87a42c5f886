"""Adapters made part of a checkpoint: merge. Merging is `Session.merge`; this reads which adapters, and tells what was written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import open_session, print_json
from acestep_lab.errors import LabError, shown

PLACE = click.Path(path_type=Path, readable=False)


@options.command()
@click.argument("checkpoint", type=options.CHECKPOINT, help="The checkpoint: a name, a folder or a hub id.")
@click.option(
    "--adapter", "adapters", multiple=True, required=True, metavar="FILE[:STRENGTH]",
    help="An adapter, a file or a folder, and how strongly; may be repeated.",
)  # fmt: skip
@click.option(
    "--to", "folder", required=True, type=PLACE, metavar="FOLDER", help="Where the new checkpoint is written."
)
@click.option("--copy", is_flag=True, help="Copy the files that stay, instead of linking them.")
@click.option("--exact", is_flag=True, help="Store what changes in float32.")
@options.json_option
def merge(checkpoint: str, adapters: tuple[str, ...], folder: Path, copy: bool, exact: bool, as_json: bool) -> None:
    """Write a checkpoint with adapters in its weights.

    For example: `acestep-lab merge turbo --adapter zafu:0.8 --to turbo-zafu`. It opens like any other checkpoint."""
    wanted = [adapter_of(text) for text in adapters]
    with open_session(checkpoint) as lab:
        merged: Any = lab.merge(folder, *wanted, link=not copy, exact=exact)
    if as_json:
        print_json({"folder": str(folder), "text": str(merged)})
    else:
        print(merged)


def adapter_of(text: str) -> tuple[str, float]:
    """An adapter and its strength out of FILE[:STRENGTH]; a file that is called so itself is meant whole, at 1."""
    place, colon, number = text.rpartition(":")
    if not colon or Path(text).exists():
        return text, 1.0
    try:
        strength = float(number)
    except ValueError:
        if len(place) == 1:  # a drive of Windows
            return text, 1.0
        raise LabError(f"A strength is a number, such as zafu:0.8, not {shown(number)}.") from None
    if not place or not math.isfinite(strength):
        raise LabError(f"An adapter is named with its strength as FILE:STRENGTH, such as zafu:0.8, not {shown(text)}.")
    return place, strength
