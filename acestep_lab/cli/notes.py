"""`acestep-lab notes`: melody, bass, chords and beats of a sound, shown, as JSON, or as a MIDI file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import find_source, open_session, print_json
from acestep_lab.errors import RecipeError
from acestep_lab.settings import VARIABLES

if TYPE_CHECKING:
    from acestep_lab.listen.notes import Notes


@options.command()
@click.argument("sources", type=options.SOURCE, nargs=-1, required=True, help="Sound files, or ids of kept takes.")
@click.option(
    "--stem",
    type=options.STEM,
    help="Listen to this stem alone, such as vocals; a checkpoint takes it out of the sound.",
)
@click.option(
    "-o",
    "--midi",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Write a MIDI file; of several sounds, a folder of them.",
)
@click.option("--anew", is_flag=True, help="Listen again, whatever is kept beside the take.")
@options.json_option
@options.checkpoint_option
@options.library_option
@options.machine_options
def notes(
    sources: tuple[str, ...], stem: str | None, midi: Path | None, anew: bool, as_json: bool, checkpoint: str | None,
    library: Path | None, **machine: Any,
) -> None:  # fmt: skip
    """Write down melody, bass, chords and beats; also as MIDI."""
    with _listening(stem, checkpoint, library, machine) as listen:
        for source in sources:
            found = listen(source, anew)
            if midi is not None:
                found.to_midi(_target(midi, source, len(sources)))
            if as_json:
                print_json({"source": source, **found.to_json()})
            else:
                print(f"{source}: {found}")


@contextmanager
def _listening(
    stem: str | None, checkpoint: str | None, library: Path | None, machine: dict[str, Any]
) -> Iterator[Callable[[str, bool], Notes]]:
    """Who listens: a session where a stem is to be made, or where the sounds are on another machine; else nothing is opened."""
    if stem is not None or checkpoint is not None or (library is None and VARIABLES.get("ACESTEP_LAB_SERVER")):
        with open_session(checkpoint, library=library, **machine) as lab:
            yield lambda source, anew: lab.notes(find_source(lab, source), stem, anew=anew)
        return
    from acestep_lab.jobs.noting import MIX, notes_of_sound
    from acestep_lab.takes.library import Library, default_folder
    from acestep_lab.takes.sounds import Sounds

    sounds = Sounds(Library(library or default_folder()))
    yield lambda source, anew: notes_of_sound(sounds.library, sounds.find(source), MIX, None, anew)


def _target(midi: Path, source: str, count: int) -> Path:
    """Where the MIDI file of a sound goes."""
    if count == 1 and midi.suffix.lower() in (".mid", ".midi"):
        return midi
    if midi.suffix:
        raise RecipeError(
            f"The notes of {count} sounds go into a folder, not into one file {midi.name}; name a folder."
        )
    midi.mkdir(parents=True, exist_ok=True)
    return midi / f"{Path(source).stem}.mid"
