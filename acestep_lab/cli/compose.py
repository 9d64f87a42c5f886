"""Music from words: compose, and demo, which is compose with everything chosen."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.outputs import check_outputs, ensure_folder
from acestep_lab.cli.render import open_session, render_to_file, render_with_progress, write_page, write_sound

DEMO_CAPTION = "warm lo-fi hip hop with soft keys, round bass and lazy drums"

output_options = options.together(
    click.option(
        "-o", "--out", type=click.Path(path_type=Path, readable=False), metavar="FILE",
        help=".flac, .wav, .opus, .ogg or .mp3; by default a new take.flac, take-2.flac, …",
    ),
    click.option(
        "--page", type=click.Path(path_type=Path, readable=False), metavar="FILE",
        help="Also write a self-contained HTML page here.",
    ),
)  # fmt: skip


def given_fields(lyrics: str | None = None, without_times: bool = False, **fields: object) -> dict[str, object]:
    """The fields of a recipe that were given on the command line."""
    if lyrics is not None and without_times:
        from acestep_lab.prompt.lyrics import without_times as remove_times

        lyrics = remove_times(lyrics)
    return {name: value for name, value in {"lyrics": lyrics, **fields}.items() if value is not None}


SESSION_OPTIONS = ("checkpoint", "lm", "precision", "device", "dtype", "library")
"""What a session is opened with; whatever else is given is a field of the recipe."""


def split_fields(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a command was given, as fields of the recipe and options of the session."""
    session = {name: given.pop(name) for name in SESSION_OPTIONS if name in given}
    return given_fields(**given), session


@options.command()
@click.argument("caption", type=options.TextOrFile(), help="What it should sound like, or @file.")
@output_options
@click.option("--seconds", type=options.Number(), help="Length in seconds.")
@options.recipe_options
@options.session_options
def compose(caption: str, out: Path | None, page: Path | None, **given: Any) -> None:
    """Make music from a sentence and write it to a file."""
    from acestep_lab.prompt.recipe import Recipe

    fields, session = split_fields(given)
    recipe = Recipe(caption, **fields)
    render_to_file(lambda lab: recipe, out, page, **session)


@options.command()
@click.argument("caption", default=DEMO_CAPTION, help="What it should sound like.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, metavar="FOLDER",
    help="Folder to write into.",
)  # fmt: skip
@click.option("--seconds", type=options.Number(), default=20.0, show_default=True, help="Length in seconds.")
@click.option("--seed", type=options.WholeNumber(), default=7, show_default=True, help="Another one, another song.")
def demo(caption: str, out: Path, seconds: float, seed: int) -> None:
    """Compose a first song with the pocket: FLAC and page."""
    from acestep_lab.prompt.recipe import Recipe

    began = time.perf_counter()
    recipe = Recipe(caption, seconds=seconds, seed=seed)
    sound, page = (ensure_folder(out) / f"first_song.{ending}" for ending in ("flac", "html"))
    check_outputs(sound, page)
    print(f'Composing {seconds:g} seconds of "{caption}", seed {seed} …', flush=True)
    with open_session("pocket") as lab:
        run, take = render_with_progress(lab, recipe)
        write_sound(take, sound)
        write_page(run, take, page)
    print(f"\nDone in {time.perf_counter() - began:.1f} s.\n")
    print(f"  sound   {sound.resolve()}\n  page    {page.resolve()}   (open it in any browser)")
    print("  studio  make studio   (or: acestep-lab serve --show)")
