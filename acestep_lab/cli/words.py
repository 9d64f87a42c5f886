"""What the planner says, without a note of music: plan, sketch, polish, understand. Each prints a plan, or writes it as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.compose import given_fields, own_fields, read_settings
from acestep_lab.cli.render import find_source, open_session, print_json
from acestep_lab.errors import LabError
from acestep_lab.settings import VARIABLES

if TYPE_CHECKING:
    from acestep_lab.listen.analysis import Analysis
    from acestep_lab.plan.plan import Plan
    from acestep_lab.session import Session

_SHOWN = ("bpm", "keyscale", "timesignature", "seconds", "language", "genres", "caption")
planner_options = options.together(
    click.option(
        "-o", "--out", type=click.Path(path_type=Path, readable=False), metavar="FILE",
        help="Also write the plan as JSON; `compose --plan` takes it.",
    ),
    options.json_option,
    options.checkpoint_option,
    options.planner_option,
    options.machine_options,
)  # fmt: skip
seed_option = click.option(
    "--seed", type=options.WholeNumber(), default=0, show_default=True, help="Another one, other words."
)


def _tell(
    ask: Callable[[Session], Plan],
    out: Path | None,
    as_json: bool,
    checkpoint: str | None,
    lm: str | None,
    **machine: Any,
) -> None:
    """Ask the planner, and show what it wrote."""
    with open_session(checkpoint, lm=lm, **machine) as lab:
        plan = ask(lab)
    if out is not None:
        from acestep_lab.files import to_json, write_whole

        write_whole(out, lambda path: path.write_text(to_json(plan.to_json()), encoding="utf-8"))
    if as_json:
        print_json(plan.to_json())
    else:
        print(as_lines(plan))


def as_lines(plan: Plan) -> str:
    """A plan as a person reads it: a line for each field, then the lyrics."""
    lines = [f"{name:<14} {value}" for name in _SHOWN if (value := getattr(plan, name)) not in (None, "")]
    lines += [f"{'codes':<14} {len(plan.codes)}"] if plan.codes else []
    return "\n".join([*lines, *(["", plan.lyrics] if plan.lyrics else [])])


@options.command()
@click.argument("caption", required=False, type=options.TextOrFile(), help="What it should sound like, or @file.")
@options.recipe_file_option
@click.option("--seconds", type=options.Number(), help="Length in seconds.")
@click.option("--codes/--no-codes", default=True, help="Whether to write the audio codes as well.")
@options.recipe_options
@planner_options
def plan(
    caption: str | None, recipe_file: Path | None, codes: bool, out: Path | None, as_json: bool, checkpoint: str | None,
    lm: str | None, device: str | None, devices: str | None, dtype: str | None, **given: Any,
) -> None:  # fmt: skip
    """Let the planner decide tempo, key, words and codes."""
    from acestep_lab.prompt.recipe import Recipe

    fields = given_fields(**given) | ({} if caption is None else {"caption": caption})
    base = own_fields(read_settings(recipe_file).recipe) if recipe_file else {}
    recipe = Recipe(str({**base, **fields}.get("caption", ""))).replace(**base).replace(**fields)
    _tell(
        lambda lab: lab.plan(recipe, codes=codes),
        out,
        as_json,
        checkpoint,
        lm,
        device=device,
        devices=devices,
        dtype=dtype,
    )


@options.command()
@click.argument("sentence", type=options.TextOrFile(), help="Such as 'a sad song about rain', or @file.")
@click.option("--instrumental", is_flag=True, help="Without singing.")
@click.option("--language", type=options.LANGUAGE, help="Code of the lyrics' language, such as en.")
@seed_option
@planner_options
def sketch(
    sentence: str, instrumental: bool, language: str | None, seed: int, out: Path | None, as_json: bool, **session: Any
) -> None:
    """Write a caption, lyrics and metadata out of a sentence."""
    _tell(lambda lab: lab.sketch(sentence, instrumental, seed, language=language), out, as_json, **session)


@options.command()
@click.argument("caption", type=options.TextOrFile(), help="The words as they are, or @file.")
@click.option("--lyrics", type=options.TextOrFile(), default="", help="Words with section tags, or @file.")
@click.option("--bpm", type=options.WholeNumber(), help="Stands as it is, as the next two do.")
@click.option("--key", "keyscale", metavar="KEY", help="Such as 'F# minor'.")
@click.option("--meter", "timesignature", type=options.METER, help="Beats in a bar.")
@seed_option
@planner_options
def polish(
    caption: str, lyrics: str, bpm: int | None, keyscale: str | None, timesignature: str | None, seed: int,
    out: Path | None, as_json: bool, **session: Any,
) -> None:  # fmt: skip
    """Let the planner find better words for a caption and lyrics."""
    fixed: dict[str, Any] = given_fields(bpm=bpm, keyscale=keyscale, timesignature=timesignature)
    _tell(lambda lab: lab.polish(caption, lyrics, seed, **fixed), out, as_json, **session)


@options.command()
@click.argument("source", type=options.SOURCE, help="A sound file, or the id of a kept take.")
@seed_option
@planner_options
def understand(source: str, seed: int, out: Path | None, as_json: bool, **session: Any) -> None:
    """Say what the planner hears in a sound: words and metadata."""
    _tell(lambda lab: lab.understand(find_source(lab, source), seed), out, as_json, **session)


@options.command()
@click.argument("sources", type=options.SOURCE, nargs=-1, required=True, help="Sound files, or ids of kept takes.")
@options.json_option
@options.library_option
def analyze(sources: tuple[str, ...], as_json: bool, library: Path | None) -> int:
    """Measure tempo, key, meter, loudness and instruments."""
    with _measuring(library) as measure:
        return _analyze(measure, sources, as_json)


@contextmanager
def _measuring(library: Path | None) -> Iterator[Callable[[str], Analysis]]:
    """What measures a file or take of ours: this machine, or the one which ACESTEP_LAB_SERVER names."""
    if library is None and VARIABLES.get("ACESTEP_LAB_SERVER"):
        with open_session(None) as lab:
            yield lambda source: lab.analyze(find_source(lab, source))
        return
    from acestep_lab.listen.analysis import analyze as measure
    from acestep_lab.takes.library import Library, default_folder
    from acestep_lab.takes.sounds import Sounds

    sounds = Sounds(Library(library or default_folder()))
    yield lambda source: measure(sounds.find(source))


def _analyze(measure: Callable[[str], Analysis], sources: tuple[str, ...], as_json: bool) -> int:
    failed = 0
    for source in sources:
        try:
            found = measure(source)
        except LabError as problem:
            if len(sources) == 1:
                raise
            failed += 1
            click.echo(str(problem), err=True)
            continue
        if as_json:
            print_json(
                {"source": source, **vars(found), "instruments": dict(found.instruments), "unsure": found.unsure}
            )
        else:
            print(f"{source}: {found}")
    return 2 if failed else 0
