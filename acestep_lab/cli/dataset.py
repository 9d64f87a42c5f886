"""Songs to learn from: dataset scan, label, check. Reading them is a Dataset's, labelling a session's verbs; this only tells."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import open_client, open_session, places_of, print_json
from acestep_lab.errors import LabError, shown

if TYPE_CHECKING:
    from acestep_lab.train.dataset import Dataset
    from acestep_lab.train.label import Labelled
    from acestep_lab.train.labelling import LabelRun
    from acestep_lab.train.song import Song

FAREWELL = 10.0
"""Seconds that Ctrl-C waits for the song that is being listened to."""

RARELY = 5.0
"""Seconds between two lines that say how far something is."""


def _tag_positions() -> tuple[str, ...]:
    from acestep_lab.train.labels import TAG_POSITIONS

    return TAG_POSITIONS


FOLDER = click.Path(path_type=Path, readable=False)
TAG_POSITION = options.Name("position", _tag_positions, listed=True)
place_argument = click.argument(
    "place", metavar="FOLDER", type=FOLDER,
    help="A folder of songs with whatever lies beside them, or one table of them: CSV, JSON or JSON lines.",
)  # fmt: skip


@click.group(
    "dataset",
    cls=options.InOrder,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="For example: `acestep-lab dataset label songs --out labelled --tag zafu`, then `acestep-lab dataset check labelled`.",
)
def dataset() -> None:
    """Songs to learn from: look at them, label them, check them."""


# -- scan ----------------------------------------------------------------------------------------------------------------


@options.command()
@place_argument
@options.json_option
def scan(place: Path, as_json: bool) -> None:
    """Say which songs are there, and what is said of them."""
    songs = scanned(place)
    for song in songs:
        if as_json:
            print_json(song_data(song))
        else:
            print(f"{song.name}: {song.seconds:.1f} s, {words_of(song) or 'nothing is said of it'}")
    tell_problems(songs)
    print(summary(songs), file=sys.stderr)


def scanned(place: Path) -> Dataset:
    """The songs of a place; where reading takes long, stderr hears how far it is."""
    from acestep_lab.train.dataset import Dataset

    say = _rarely("files read")
    return Dataset.scan(place, lambda done, of: say(done, of))


def song_data(song: Song) -> dict[str, object]:
    """A song as plain data: what is said of it, by whom, and what is odd."""
    said = {
        name: {"value": label.value, "source": label.source, "locked": label.locked, "sure": label.sure}
        for name, label in song.labels.items()
        if not label.is_open or label.locked
    }
    odd = [{"kind": one.kind, "serious": one.is_serious, "field": one.field, "text": str(one)} for one in song.remarks]
    return {"song": song.name, "seconds": round(song.seconds, 3), "repeat": song.repeat, "labels": said, "remarks": odd}


def words_of(song: Song) -> str:
    """What is said of a song in a line: its fields, and in brackets who says so where that was no person."""
    return "; ".join(f"{name} {_said(song, name)}" for name, label in song.labels.items() if not label.is_open)


def _said(song: Song, name: str) -> str:
    label = song.labels[name]
    value = {True: "yes", False: "no"}[label.value] if isinstance(label.value, bool) else label.value
    text = shown(value, 70) if name in ("caption", "lyrics") else str(value)
    if label.source == "written":
        return text
    return f"{text} ({label.source}{'' if label.sure is None else f', {label.sure:.0%} sure'})"


def summary(songs: Dataset) -> str:
    """How many songs, how long, how many with remarks, how many files left out."""
    odd = sum(bool(song.remarks) for song in songs)
    left = f"; {len(songs.problems)} files left out" if songs.problems else ""
    return f"{count_of(len(songs), 'song')}, {songs.seconds / 60:.1f} minutes, {odd} with remarks{left}."


def count_of(number: int, word: str) -> str:
    """A number of things, such as "1 song"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def tell_problems(songs: Dataset) -> None:
    """Say on stderr which files were left out, and why."""
    for problem in songs.problems:
        print(problem, file=sys.stderr)


def _rarely(what: str) -> Callable[[int, int], None]:
    """Says how far something is on stderr, where it takes longer than a person waits in silence."""
    last = time.monotonic()

    def say(done: int, of: int) -> None:
        nonlocal last
        if time.monotonic() - last >= RARELY:
            last = time.monotonic()
            print(f"{done:,} of {of:,} {what}", file=sys.stderr)

    return say


# -- check ---------------------------------------------------------------------------------------------------------------


@options.command()
@place_argument
@options.json_option
def check(place: Path, as_json: bool) -> int:
    """Listen for what is odd; exit status 1 where it is serious."""
    songs = scanned(place)
    say = _rarely("songs heard")
    songs = songs.check(on_song=lambda number, song: say(number, len(songs)))
    for song in songs:
        if as_json:
            print_json(song_data(song))
        else:
            for remark in song.remarks:
                print(f"{song.name}: {'' if remark.is_serious else '(note) '}{remark}")
    tell_problems(songs)
    serious = sum(any(one.is_serious for one in song.remarks) for song in songs)
    print(f"{summary(songs)[:-1]}; {count_of(serious, 'song')} to look after.", file=sys.stderr)
    return 1 if serious or songs.problems else 0


# -- label ---------------------------------------------------------------------------------------------------------------


@options.command()
@place_argument
@click.option(
    "--out", type=FOLDER, metavar="FOLDER",
    help="Write the data set, with copies of its sounds, into this folder; by default labels are written beside the songs.",
)  # fmt: skip
@click.option(
    "--seeds", type=options.WholeNumber(1, 16), default=3, show_default=True, help="Readings that are voted on."
)
@click.option("--tag", help="A word that is to call the sound up later, for every song that has none.")
@click.option("--tag-position", type=TAG_POSITION, help="Where it stands: before the caption, behind it, in its place.")
@click.option("--lyrics", is_flag=True, help="Guess lyrics too, where nobody wrote any; a planner invents them.")
@click.option("--again", is_flag=True, help="Listen anew to what is labelled already, and write over what --out holds.")
@options.on_option
@options.json_option
@options.checkpoint_option
@options.planner_option
@options.machine_options
def label(
    place: Path, out: Path | None, seeds: int, tag: str | None, tag_position: str | None, lyrics: bool, again: bool,
    on: tuple[str, ...], as_json: bool, **session: Any,
) -> int:  # fmt: skip
    """Measure tempo, key, meter and instruments; guess the words.

    What a person wrote, and what is locked, stays. The same command goes on where it ended.
    """
    songs = with_tag(scanned(place), tag, tag_position)
    tell_problems(songs)
    folder = _writable(songs, out, again)
    with _listening(session, places_of(on)) as lab:
        run = _labelled(songs, lab, folder, seeds, lyrics, as_json)
    songs, failed = run.result(), run.failed
    songs.write(folder, overwrite=True)
    print(f"{folder}: {summary(songs)}", file=sys.stderr)
    if failed:
        print(f"{failed} of {count_of(len(songs), 'song')} could not be labelled whole.", file=sys.stderr)
    return 2 if failed else 0


def with_tag(songs: Dataset, tag: str | None, position: str | None) -> Dataset:
    """The songs with a tag; LabError for a position without any tag to stand there."""
    from acestep_lab.prompt import checks
    from acestep_lab.train.activation_tag import USUAL_POSITION, tagged
    from acestep_lab.train.labels import TAG_POSITIONS

    if position is not None:
        position = checks.choice("position of a tag", position, TAG_POSITIONS)
    if tag is None:
        if position is None:
            return songs
        if not any(song.tag for song in songs):
            raise LabError("--tag-position says where a tag stands; say which: --tag zafu.")
        return songs.describe(tag_position=position)
    songs = tagged(songs, tag, position or USUAL_POSITION)
    other = [song.name for song in songs if song.tag != tag.strip()]
    if other:
        print(
            f"{len(other)} of {count_of(len(songs), 'song')} keep their own tag, such as {shown(other[0])}.",
            file=sys.stderr,
        )
    return songs


def _writable(songs: Dataset, out: Path | None, again: bool) -> Path:
    """The folder to write into, refused before any work; LabError."""
    from acestep_lab.train.dataset_writing import METADATA, may_write

    folder = out or songs.folder
    if folder is None:
        raise LabError("These songs lie in no folder; say where the data set is to be written: --out FOLDER.")
    if out is not None and songs.folder is not None and songs.folder in out.resolve().parents:
        raise LabError(
            f"{shown(str(out))} lies inside the songs' own folder, and would be read as more songs; name another."
        )
    if out is not None and not again and (out / METADATA).exists() and out.resolve() != songs.folder:
        raise LabError(f"{shown(str(out))} holds a data set already; label that one, or write over it with --again.")
    _, here, _ = may_write(folder, songs.folder, overwrite=True)
    if here and (other := _left_alone(folder)):
        raise LabError(
            f"{other} in {shown(str(folder), 100)} is another program's and stays as it is; write elsewhere: --out FOLDER."
        )
    if again:
        from acestep_lab.train.labelling import PROGRESS

        (folder / PROGRESS).unlink(missing_ok=True)
    return folder


def _left_alone(folder: Path) -> str:
    """What a folder holds that must not get our table beside it or in its place, "" where that is nothing."""
    from acestep_lab.train.dataset_tables import read_table
    from acestep_lab.train.dataset_writing import METADATA

    if (folder / ".trash").exists() or (folder / ".index.sqlite").exists():
        return "a library of takes"
    if (folder / "metadata.csv").exists():  # audiofolder opens tables of one kind alone
        return "a metadata.csv"
    table = read_table(folder / METADATA, METADATA) if (folder / METADATA).exists() else None
    foreign = table is not None and not all(entry.told.whole for entry in table.entries)
    return f"a {METADATA} of another program" if foreign else ""


@contextmanager
def _listening(session: dict[str, Any], on: str | list[str] | None) -> Iterator[Any]:
    """A session whose takes nobody wants: a voice that is extracted to be measured. Its songs are told, and not its runs."""
    with TemporaryDirectory(prefix="acestep-lab-", ignore_cleanup_errors=True) as folder, \
            (open_session(**session, library=folder) if on is None else open_client(on, **session, library=folder)) as lab:  # fmt: skip
        lab.jobs.progress = False
        yield lab


def _labelled(songs: Dataset, lab: Any, folder: Path, seeds: int, lyrics: bool, as_json: bool) -> LabelRun:
    """Label song after song, and tell of each; what is done when Ctrl-C comes is kept."""
    run: LabelRun = lab.label(songs, seeds=seeds, lyrics=lyrics, folder=folder)
    for message in run.messages:
        print(message, file=sys.stderr)
    try:
        for event in run:
            _tell(event, as_json)
    except KeyboardInterrupt:
        run.stop()
        run.wait(FAREWELL)
        print(f"{len(run.events)} of {len(songs)} are labelled; the same command goes on.", file=sys.stderr)
        raise
    run.result()
    return run


def _tell(event: Labelled, as_json: bool) -> None:
    """A song that is done: in a line, or as JSON; what was odd goes to stderr."""
    if as_json:
        print_json(event.to_json())
        return
    known = " (known already)" if event.resumed else ""
    print(f"{event.done} of {event.of}: {event.song.name}: {words_of(event.song) or 'nothing'}{known}", flush=True)
    for remark in event.remarks:
        print(f"{event.song.name}: {remark}", file=sys.stderr)


for one in (scan, label, check):
    dataset.add_command(one)
