"""The library from the command line: takes, export, mark, bin, restore. No model is opened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import print_json, remarks_as_sentences
from acestep_lab.errors import LibraryError, shown
from acestep_lab.settings import VARIABLES

if TYPE_CHECKING:
    from acestep_lab.takes.index import Card
    from acestep_lab.takes.library import Library

take_argument = click.argument("id", metavar="TAKE", type=options.SOURCE, help="The id of a kept take.")
ids_argument = click.argument(
    "ids", metavar="TAKE...", nargs=-1, required=True, type=options.SOURCE, help="Ids of kept takes."
)


def _library(folder: Path | None) -> Library:
    """The library of a folder, else that of the machine which ACESTEP_LAB_SERVER names, else this user's own."""
    from acestep_lab.takes.library import Library, default_folder

    server = VARIABLES.get("ACESTEP_LAB_SERVER")
    return Library(folder or default_folder()) if folder or not server else _library_at(server)


def _library_at(server: str) -> Library:
    """The library of another machine; while that does not answer, what is known of it here, and that is said."""
    from acestep_lab.remote.connection import Connection
    from acestep_lab.remote.library import RemoteLibrary

    kept = RemoteLibrary(Connection(server, VARIABLES.get("ACESTEP_API_KEY", "")))
    if not kept.refresh():
        if not len(kept):
            raise LibraryError(kept.offline)
        print(kept.offline, file=sys.stderr)
    return kept


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
    cards, titles = kept.cards(query, most, **where), kept.titles()
    for card in cards:
        called = titles.get(card.id, "")
        if as_json:
            print_json(vars(card) | {"title": called, "recipe": dict(card.recipe), "scores": dict(card.scores)})
        else:
            print(row(card, called))
    if not cards:
        print("No take is kept yet." if not query and not starred else "No kept take is like that.", file=sys.stderr)
    for problem in kept.damaged:
        print(problem, file=sys.stderr)


def row(card: Card, title: str) -> str:
    """A take in one line of at most about a hundred columns."""
    from acestep_lab.jobs.progress import fitted
    from acestep_lab.takes.titles import cut

    facts = [f"{card.seconds:.0f} s", *([] if card.task == "Text2Music" else [card.task.lower()])]
    facts += [f"seed {card.seed}"] if card.seed is not None else []
    facts += [f"{card.bpm} bpm"] if card.bpm else []
    star = "★" if card.star else " "
    return f"{card.id} {star} {fitted(cut(title or '(no words)', 48), 48)} {', '.join(facts)}"


@options.command()
@click.argument(
    "sources",
    metavar="TAKE...",
    nargs=-1,
    required=True,
    type=options.SOURCE,
    help="Ids of kept takes, or sound files of ours; several go into a .zip or an .html page.",
)
@click.argument("file", type=click.Path(path_type=Path, readable=False), help="Where to; its ending says the kind.")
@click.option("--bits", type=options.WholeNumber(), help="Of a WAV 16, 24 or 32 (floats), of a FLAC 16 or 24.")
@click.option("--bitrate", type=options.WholeNumber(), help="Of an MP3, Opus or M4A, in kbit/s, such as 320.")
@click.option("--rate", type=options.WholeNumber(), help="Samples a second, such as 44100.")
@click.option("--peak", "peak_db", type=options.Number(), help="Bring the highest peak here, in dBFS, such as -1.")
@click.option("--lufs", type=options.Number(), help="Bring the loudness here, such as -14.")
@click.option("--fade-in", type=options.Number(), default=0.0, help="Seconds from silence at the start.")
@click.option("--fade-out", type=options.Number(), default=0.0, help="Seconds to silence at the end.")
@click.option("--form", default="", metavar="KIND", help="Of the sounds in a .zip: flac, wav, opus, mp3 or m4a.")
@click.option("--latent/--no-latent", default=True, help="Whether a .zip holds the latents as well.")
@options.json_option
@options.library_option
def export(sources: tuple[str, ...], file: Path, as_json: bool, library: Path | None, **asked: Any) -> None:
    """Write takes as a sound file, a .zip or an .html page."""
    from acestep_lab.audio.exporting import ExportOptions
    from acestep_lab.jobs.aligning import kept_alignment
    from acestep_lab.takes.exchange import export as write
    from acestep_lab.takes.sounds import Sounds

    how = ExportOptions.of(None, asked)
    shelf = _library(library)
    sounds = Sounds(shelf)
    with remarks_as_sentences():
        found = [sounds.load(source) for source in sources]
    sung = {take.id: known.to_json() for take in found if (known := kept_alignment(shelf, take.id)) is not None}
    written, remarks = write(found, file, how, sung)
    for remark in remarks:
        print(remark, file=sys.stderr)
    if as_json:
        print_json({"ids": [take.id for take in found], "file": str(written)})
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
    kept = _library(library)
    print(row(kept.mark(id, star=star, note=note, tags=tags or None), kept.titles().get(id, "")))


@options.command("bin")
@ids_argument
@options.library_option
def to_bin(ids: tuple[str, ...], library: Path | None) -> None:
    """Put takes into the bin; for a day they come back."""
    for id in _library(library).bin(*ids):
        print(id)


@options.command()
@click.argument(
    "ids", metavar="[TAKE...]", nargs=-1, type=options.SOURCE, help="Ids of binned takes; none: list what is there."
)
@options.library_option
def restore(ids: tuple[str, ...], library: Path | None) -> None:
    """Bring takes back out of the bin, or list them."""
    kept = _library(library)
    if missing := [id for id in ids if id not in kept.trash()]:
        raise LibraryError(f"The bin holds no take {shown(missing[0])}; `restore` alone lists what it holds.")
    found = kept.restore(*ids) if ids else kept.trash()
    for id in found:
        print(id)
    if not found:
        print("The bin is empty.", file=sys.stderr)
