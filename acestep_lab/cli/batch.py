"""Many recipes from one file, in one session: batch. What is there already is not made again, so that it resumes."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.outputs import check_outputs, ensure_folder, numbered
from acestep_lab.cli.render import open_session, render_with_progress, with_seeds, write_sound
from acestep_lab.errors import LabError, RecipeError, sentence, shown
from acestep_lab.features import Feature, require

if TYPE_CHECKING:
    from acestep_lab.prompt.settings import Settings
    from acestep_lab.session import Session

OWN = ("out", "count")
"""Fields of an entry that are about its files; all others are settings."""


@options.command()
@click.argument(
    "file", type=click.Path(path_type=Path, readable=False), help="JSON lines, a JSON list, or TOML with [[take]]."
)
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), default=Path("takes"), show_default=True, metavar="FOLDER",
    help="Folder for the sounds; an entry's own `out` is a name in it.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Make anew what is there already.")
@options.json_option
@options.session_options
def batch(file: Path, folder: Path, again: bool, as_json: bool, **session: Any) -> int:
    """Make a take of each recipe in a file; go on where it ended."""
    require(Feature.BATCH_GENERATION)
    entries = read_entries(file)
    named = {number: names(entry, number) for number, entry in enumerate(entries)}
    taken = [name for _, each in sorted(named.items()) for name in each]
    if twice := sorted({name for name in taken if taken.count(name) > 1}):
        raise RecipeError(f"Two entries would write {shown(twice[0])}; give each its own `out`.")
    read = [settings_of(entry, number) for number, entry in enumerate(entries)]
    for number, found in enumerate(read):
        for remark in found.remarks:
            print(f"{entry_name(number)}: {remark}", file=sys.stderr)
    ensure_folder(folder)
    failed = 0
    with open_session(**session) as lab:
        for number, found in enumerate(read):
            sounds = [folder / name for name in named[number]]
            if not again and all(sound.exists() for sound in sounds):
                print(f"{entry_name(number)}: there already, {sounds[0]}", file=sys.stderr)
                continue
            try:
                _make(lab, found, sounds, as_json)
            except LabError as problem:
                failed += 1
                print(f"{entry_name(number)}: {sentence(problem)}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(entries)} could not be made.", file=sys.stderr)
    return 2 if failed else 0


def _make(lab: Session, found: Settings, sounds: list[Path], as_json: bool) -> None:
    """Render one entry and write its sounds."""
    for sound in sounds:
        check_outputs(sound, None)
    _, takes = render_with_progress(lab, with_seeds(found.recipe, len(sounds), found.seeds))
    for take, sound in zip(takes, sounds, strict=True):
        write_sound(take, sound, as_json)


def read_entries(file: Path) -> list[dict[str, Any]]:
    """The tables in a file: of TOML those named [[take]], of JSON a list or a table on each line; RecipeError otherwise."""
    from acestep_lab.files import parse_json, read_text

    text, named = read_text(str(file), "The batch"), f"The batch {shown(file.name)}"
    if file.suffix.lower() == ".toml":
        try:
            found = tomllib.loads(text).get("take", [])
        except (tomllib.TOMLDecodeError, RecursionError) as problem:
            raise RecipeError(f"{named} is not TOML ({str(problem)[:80]}).") from None
    elif text.lstrip().startswith("["):
        found = parse_json(text, named)
    else:
        lines = enumerate(text.splitlines(), 1)
        found = [parse_json(line, f"Line {number} of {named.lower()}") for number, line in lines if line.strip()]
    if not isinstance(found, list) or not found or not all(isinstance(entry, Mapping) for entry in found):
        raise RecipeError(f"{named} holds no list of tables, each with the settings of a take such as a caption.")
    return [dict(entry) for entry in found]


def names(entry: Mapping[str, Any], number: int) -> list[str]:
    """The names of an entry's files; RecipeError for one that leads out of the folder."""
    out, count = entry.get("out", f"take-{number + 1:03d}.flac"), entry.get("count", 1)
    if not isinstance(out, str) or not out or Path(out).name != out or "\\" in out:
        raise RecipeError(f"{entry_name(number)}: `out` is a file's name such as song.flac, not {shown(out)}.")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 64:
        raise RecipeError(f"{entry_name(number)}: `count` is a whole number from 1 to 64, not {shown(count)}.")
    return [str(path) for path in numbered(Path(out), count)]


def settings_of(entry: Mapping[str, Any], number: int) -> Settings:
    """An entry's settings; RecipeError says which entry is wrong, before anything is made."""
    from acestep_lab.prompt import settings

    try:
        return settings.understand({name: value for name, value in entry.items() if name not in OWN})
    except RecipeError as problem:
        raise RecipeError(f"{entry_name(number)}: {problem}") from None


def entry_name(number: int) -> str:
    """How an entry is told: counted from 1."""
    return f"Entry {number + 1}"
