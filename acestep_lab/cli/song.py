"""A song out of pieces, and a take in lanes: stitch, stems."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.compose import output_options, split_fields
from acestep_lab.cli.outputs import ensure_folder
from acestep_lab.cli.render import find_source, open_session, print_json, render_to_files
from acestep_lab.errors import LabError


def read_piece(text: str) -> tuple[str, tuple[float, float] | None]:
    """A source and, behind it, from where to where: "song.flac:0:8"; without times the whole of it."""
    parts = text.rsplit(":", 2)
    try:
        return (parts[0], (float(parts[1]), float(parts[2]))) if len(parts) == 3 and parts[0] else (text, None)
    except ValueError:
        return text, None


def read_crossfade(text: str) -> str | float:
    """Seconds, or the name of a way to join."""
    try:
        return float(text)
    except ValueError:
        return text


@options.command()
@click.argument(
    "pieces", metavar="PIECE...", nargs=-1, required=True, type=options.SOURCE,
    help="Sound files or ids of kept takes, each perhaps with a part of it in seconds: a.flac:0:8 b.flac.",
)  # fmt: skip
@click.option("--crossfade", default="beat", show_default=True, metavar="HOW", help="beat, none, or seconds.")
@click.option("--caption", type=options.TextOrFile(), help="What it is; by default the first take's words.")
@output_options
@options.session_options
def stitch(pieces: tuple[str, ...], crossfade: str, caption: str | None, **given: Any) -> None:
    """Join parts of takes and sounds into one song."""
    from acestep_lab.jobs.stitching import recipe_for
    from acestep_lab.prompt.tasks import Piece, Region

    _, session, output = split_fields(given)
    if output.count not in (None, 1):
        raise LabError("A stitch is the same each time; leave --count out.")
    named = [read_piece(piece) for piece in pieces]
    words = {} if caption is None else {"caption": caption}

    def make(lab: Any) -> Any:
        parts = [Piece(find_source(lab, source), span and Region(*span)) for source, span in named]
        return recipe_for(lab.sound, parts, read_crossfade(crossfade), words)

    render_to_files(make, output, **session)


@options.command()
@click.argument("source", type=options.SOURCE, help="A sound file, or the id of a kept take.")
@click.argument("stems", type=options.STEM, nargs=-1, help="Such as drums bass; by default those that are heard.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), default=Path("stems"), show_default=True, metavar="FOLDER",
    help="Folder for the sounds: drums.wav, bass.wav, rest.wav.",
)  # fmt: skip
@options.json_option
@options.session_options
def stems(source: str, stems: tuple[str, ...], folder: Path, as_json: bool, **session: Any) -> None:
    """Take a mix apart; its stems and the rest add up to it."""
    ensure_folder(folder)
    with open_session(**session) as lab:
        found = lab.stems(find_source(lab, source), stems or "present")
        sounds = {name: found.sound(name) for name in found} | {"rest": found.residual}
        for name, sound in sounds.items():
            written = sound.write(folder / f"{name}.wav")
            id = found[name].id if name in found else None
            if as_json:
                print_json({"stem": name, "file": str(written), "id": id})
            else:
                print(f"{written}: {sound.seconds:.1f} s, {sound.loudness():.1f} LUFS")
    if not found:
        print("No stem is heard in it for certain; name some: stems SOURCE drums bass.", file=sys.stderr)
