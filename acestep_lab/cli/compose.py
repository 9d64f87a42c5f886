"""Music from words: compose, and demo, which is compose with everything chosen."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.outputs import check_outputs, ensure_folder
from acestep_lab.cli.render import (
    Output,
    open_session,
    render_to_files,
    render_with_progress,
    write_page,
    write_sound,
)
from acestep_lab.errors import LabError, RecipeError

if TYPE_CHECKING:
    from acestep_lab.plan.plan import Plan
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.prompt.settings import Settings

DEMO_CAPTION = "warm lo-fi hip hop with soft keys, round bass and lazy drums"

output_options = options.together(
    click.option(
        "-o", "--out", type=click.Path(path_type=Path, readable=False), metavar="FILE",
        help=".flac, .wav, .opus, .ogg, .mp3 or .m4a; by default a new .flac with title and seed.",
    ),
    click.option(
        "--page", type=click.Path(path_type=Path, readable=False), metavar="FILE",
        help="Also write a self-contained HTML page here.",
    ),
    click.option(
        "-n", "--count", type=options.WholeNumber(1, 64), help="So many takes, each with the next seed."
    ),
    options.json_option,
)  # fmt: skip


def given_fields(lyrics: str | None = None, without_times: bool = False, **fields: object) -> dict[str, object]:
    """The fields of a recipe that were given on the command line."""
    if lyrics is not None and without_times:
        from acestep_lab.prompt.lyrics import without_times as remove_times

        lyrics = remove_times(lyrics)
    return {name: value for name, value in {"lyrics": lyrics, **fields}.items() if value is not None}


SESSION_OPTIONS = ("checkpoint", "lm", "precision", "device", "devices", "dtype", "library")
"""What a session is opened with; whatever else is given is a field of the recipe."""
OUTPUT_OPTIONS = ("out", "page", "count", "as_json")
"""Where takes go, and how many."""


def split_fields(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Output]:
    """What a command was given, as fields of the recipe, options of the session, and where takes go."""
    session = {name: given.pop(name) for name in SESSION_OPTIONS if name in given}
    output = Output(**{name: given.pop(name) for name in OUTPUT_OPTIONS if name in given})
    return given_fields(**given), session, output


def read_settings(file: Path) -> Settings:
    """The settings of a file; what is worth knowing of them goes to stderr. RecipeError where there are none."""
    from acestep_lab.prompt import settings

    found = settings.read(file)
    for remark in found.remarks:
        print(remark, file=sys.stderr)
    return found


def own_fields(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says that is not at its default, its task and length left out: they are a source's."""
    usual = type(recipe)("words")
    names = ("caption", *(name for name in vars(recipe) if name not in ("caption", "task", "seconds")))
    return {name: value for name in names if (value := getattr(recipe, name)) != getattr(usual, name) and value != ""}


@options.command()
@click.argument("caption", required=False, type=options.TextOrFile(), help="What it should sound like, or @file.")
@output_options
@options.recipe_file_option
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path), metavar="FILE", help="A plan as `plan --out` wrote it."
)
@click.option("--seconds", type=options.Number(), help="Length in seconds.")
@options.recipe_options
@options.session_options
def compose(caption: str | None, recipe_file: Path | None, plan_file: Path | None, **given: Any) -> None:
    """Make music from a sentence, or a recipe, and write it."""
    from acestep_lab.prompt.recipe import Recipe

    fields, session, output = split_fields(given)
    settings = read_settings(recipe_file) if recipe_file else None
    if caption is None and settings is None:
        raise LabError("There are no words to work from: say what it should sound like, or name a file with --recipe.")
    words = {} if caption is None else {"caption": caption}
    recipe = settings.recipe.replace(**words, **fields) if settings else Recipe(caption or "", **fields)
    seeds = settings.seeds if settings and "seed" not in fields else ()
    render_to_files(lambda lab: recipe, output, seeds, read_plan(plan_file), **session)


def read_plan(file: Path | None) -> Plan | None:
    """A plan out of a file; LabError where there is none in it."""
    if file is None:
        return None
    from acestep_lab.files import read_json
    from acestep_lab.plan.plan import Plan

    return Plan.from_json(read_json(file, "The plan", RecipeError))


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
        run, (take,) = render_with_progress(lab, [recipe])
        write_sound(take, sound)
        write_page(run, take, page)
    print(f"\nDone in {time.perf_counter() - began:.1f} s.\n")
    print(f"  sound   {sound.resolve()}\n  page    {page.resolve()}   (open it in any browser)")
    print("  studio  make studio   (or: acestep-lab serve --show)")
