"""The library from the command line: takes, export, mark, bin, restore. No model is opened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acestep_lab.cli import options
from acestep_lab.cli.outputs import check_outputs
from acestep_lab.cli.render import print_json

if TYPE_CHECKING:
    from acestep_lab.takes.index import Card
    from acestep_lab.takes.library import Library

take_argument = click.argument("id", type=options.SOURCE, help="The id of a kept take.")
ids_argument = click.argument("ids", nargs=-1, required=True, type=options.SOURCE, help="Ids of kept takes.")


def _library(folder: Path | None) -> Library:
    from acestep_lab.takes.library import Library, default_folder

    return Library(folder or default_folder())


@options.command()
@click.argument(
    "query", required=False, default="", help="Words that must all occur: in the caption, lyrics, note, key …"
)
@click.option("--starred", is_flag=True, help="Only those with a star.")
@click.option(
    "-n", "--most", type=options.WholeNumber(1, 100_000), default=20, show_default=True, help="At most so many."
)
@options.json_option
@options.library_option
def takes(query: str, starred: bool, most: int, as_json: bool, library: Path | None) -> None:
    """List kept takes, newest first."""
    kept = _library(library)
    where = {"star": True} if starred else {}
    for card in kept.cards(query, most, **where):
        if as_json:
            print_json(vars(card) | {"recipe": dict(card.recipe), "scores": dict(card.scores)})
        else:
            print(row(card))
    for problem in kept.damaged:
        print(problem, file=sys.stderr)


def row(card: Card) -> str:
    """A take in one line of at most about a hundred columns."""
    facts = [f"{card.seconds:.0f} s", *([] if card.task == "Text2Music" else [card.task.lower()])]
    facts += [f"seed {card.seed}"] if card.seed is not None else []
    facts += [f"{card.bpm} bpm"] if card.bpm else []
    words = " ".join(card.caption.split()) or "(no words)"
    star = "★" if card.star else " "
    return f"{card.id} {star} {words[:48]:<48} {', '.join(facts)}"


@options.command()
@take_argument
@click.argument("file", type=click.Path(path_type=Path, readable=False), help="Where to; its ending says the kind.")
@options.json_option
@options.library_option
def export(id: str, file: Path, as_json: bool, library: Path | None) -> None:
    """Write a kept take as .flac, .wav, .opus, .mp3 or .zip."""
    if file.suffix.lower() != ".zip":
        check_outputs(file, None)
    written = _library(library).open(id).export(file)
    if as_json:
        print_json({"id": id, "file": str(written)})
    else:
        print(written)


@options.command()
@take_argument
@click.option("--star/--no-star", default=None, help="Whether it has a star.")
@click.option("--note", help="A note on it; '' takes it away.")
@click.option("--tag", "tags", multiple=True, help="Its tags from now on; may be repeated.")
@options.library_option
def mark(id: str, star: bool | None, note: str | None, tags: tuple[str, ...], library: Path | None) -> None:
    """Star a take, write a note on it, tag it."""
    print(row(_library(library).mark(id, star=star, note=note, tags=tags or None)))


@options.command("bin")
@ids_argument
@options.library_option
def to_bin(ids: tuple[str, ...], library: Path | None) -> None:
    """Put takes into the bin; for a day they come back."""
    for id in _library(library).bin(*ids):
        print(id)


@options.command()
@click.argument("ids", nargs=-1, type=options.SOURCE, help="Ids of binned takes; none: list what is in the bin.")
@options.library_option
def restore(ids: tuple[str, ...], library: Path | None) -> None:
    """Bring takes back out of the bin, or list them."""
    kept = _library(library)
    for id in kept.restore(*ids) if ids else kept.trash():
        print(id)
