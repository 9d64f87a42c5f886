"""A sound that is there, changed: repaint, extend, cover, extract, lego, complete, edit, vary.

The source is a sound file or the id of a kept take. A command turns its options into a task; what a checkpoint cannot do,
the session says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.compose import output_options, own_fields, read_settings, split_fields
from acestep_lab.cli.render import (
    find_source,
    open_session,
    recipe_for_source,
    render_to_files,
    write_sound,
)
from acestep_lab.errors import LabError
from acestep_lab.features import Feature, require

if TYPE_CHECKING:
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.prompt.tasks import Region, Task
    from acestep_lab.session import Session

source_argument = click.argument("source", type=options.SOURCE, help="A sound file, or the id of a kept take.")
caption_option = click.option(
    "--caption", type=options.TextOrFile(), help="What it should sound like, or @file; by default a take's own words."
)
rework_options = options.together(
    caption_option, output_options, options.recipe_file_option, options.recipe_options, options.session_options
)


def _rework(source: str, task: Task, recipe_file: Path | None, given: dict[str, Any]) -> None:
    """Render a task on a source and write the sound."""
    fields, session, output = split_fields(given)
    settings = read_settings(recipe_file) if recipe_file else None
    base = own_fields(settings.recipe) if settings else {}
    seeds = settings.seeds if settings and "seed" not in fields else ()

    def make(lab: Session) -> Recipe:
        return recipe_for_source(lab, source, task).replace(**base).replace(**fields)

    render_to_files(make, output, seeds, **session)


def _regions(spans: Iterable[tuple[float, float]]) -> tuple[Region, ...]:
    from acestep_lab.prompt.tasks import Region

    return tuple(Region(*span) for span in spans)


@options.command()
@source_argument
@click.option(
    "--region", "spans", type=options.Span(), multiple=True, required=True,
    help="What is made anew, in seconds: 8:12; may be repeated.",
)  # fmt: skip
@click.option("--mode", type=options.REPAINT_MODE, help="How freely.")
@click.option("--strength", type=options.Number(), help="How far from what was there: 0 to 1.")
@rework_options
def repaint(
    source: str, spans: tuple[tuple[float, float], ...], mode: str | None, strength: float | None,
    recipe_file: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Make a region of a sound anew; the rest stays as it is."""
    from acestep_lab.prompt.tasks import Repaint

    _rework(source, Repaint(source, _regions(spans), **_given(mode=mode, strength=strength)), recipe_file, given)


@options.command()
@source_argument
@click.option("--before", type=options.Number(), help="Seconds of new music before it.")
@click.option("--after", type=options.Number(), help="Seconds of new music after it.")
@rework_options
def extend(source: str, before: float | None, after: float | None, recipe_file: Path | None, **given: Any) -> None:
    """Add new music before a sound, after it, or both."""
    from acestep_lab.prompt.tasks import Extend

    _rework(source, Extend(source, **_given(before=before, after=after)), recipe_file, given)


@options.command()
@source_argument
@click.option("--strength", type=options.Number(), help="Share of the steps that follow the source: 0 to 1.")
@click.option("--noise-strength", type=options.Number(), help="Above 0, more of the source's own sound stays.")
@rework_options
def cover(
    source: str, strength: float | None, noise_strength: float | None,
    recipe_file: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Keep a sound's rhythm and harmony, in another sound."""
    from acestep_lab.prompt.tasks import Cover

    _rework(source, Cover(source, **_given(strength=strength, noise_strength=noise_strength)), recipe_file, given)


@options.command()
@source_argument
@click.argument("stem", type=options.STEM, help="Such as drums, bass or vocals.")
@rework_options
def extract(source: str, stem: str, recipe_file: Path | None, **given: object) -> None:
    """Take one stem out of a mix."""
    from acestep_lab.prompt.tasks import Extract

    _rework(source, Extract(source, stem), recipe_file, given)


@options.command()
@source_argument
@click.argument("stem", type=options.STEM, help="Such as drums, bass or vocals.")
@click.option("--region", "span", type=options.Span(), help="Where it plays, in seconds: 8:12; by default all along.")
@rework_options
def lego(source: str, stem: str, span: tuple[float, float] | None, recipe_file: Path | None, **given: object) -> None:
    """Make a new stem that fits a sound."""
    from acestep_lab.prompt.tasks import Lego

    (region,) = _regions([span]) if span else (None,)
    _rework(source, Lego(source, stem, region), recipe_file, given)


@options.command()
@source_argument
@click.argument("stems", type=options.STEM, nargs=-1, required=True, help="What is added, such as drums bass.")
@rework_options
def complete(source: str, stems: tuple[str, ...], recipe_file: Path | None, **given: object) -> None:
    """Add the named stems to a sound, as its accompaniment."""
    from acestep_lab.prompt.tasks import Complete

    _rework(source, Complete(source, stems), recipe_file, given)


@options.command()
@source_argument
@click.argument("caption", type=options.TextOrFile(), help="What it should become, or @file.")
@click.option("--described", type=options.TextOrFile(), help="What it is, or @file; a take knows.")
@click.option("--described-lyrics", type=options.TextOrFile(), help="The words it has, or @file; a take knows.")
@click.option(
    "--from", "n_min", type=options.Number(), help="Share of the schedule at which the change begins: 0 to 1."
)
@click.option("--to", "n_max", type=options.Number(), help="Share of the schedule at which it ends: 0 to 1.")
@click.option("--average", "n_avg", type=options.WholeNumber(), help="Noises averaged in each step; more is steadier.")
@options.together(output_options, options.recipe_file_option, options.recipe_options, options.session_options)
def edit(
    source: str, caption: str, described: str | None, described_lyrics: str | None, n_min: float | None,
    n_max: float | None, n_avg: int | None, recipe_file: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Move a sound from its words to others (FlowEdit)."""
    from acestep_lab.prompt.tasks import FlowEdit

    require(Feature.ADVANCED_EDITING)
    chosen = _given(caption=described, lyrics=described_lyrics, n_min=n_min, n_max=n_max, n_avg=n_avg)
    _rework(source, FlowEdit(source, **chosen), recipe_file, given | {"caption": caption})


@options.command()
@source_argument
@click.option("--seed", "seeds", type=options.WholeNumber(), multiple=True, help="A take for it; may be repeated.")
@click.option("--variance", type=options.Number(), help="0 is the take itself, 1 another one; by default other noise.")
@output_options
@options.session_options
def vary(source: str, seeds: tuple[int, ...], variance: float | None, **given: Any) -> None:
    """Make a take again from other noise, or near itself."""
    from acestep_lab.audio.audio import Audio

    _, session, output = split_fields(given)
    with open_session(**session) as lab:
        take = find_source(lab, source)
        if isinstance(take, Audio):
            raise LabError(f"{source!r} has no recipe to vary: only takes have; cover or repaint it instead.")
        count = output.count or len(seeds) or 2
        first = seeds[-1] + 1 if seeds else (take.recipe.seed or 0) + 1
        chosen = [*seeds[:count], *range(first, first + count - len(seeds[:count]))]
        if output.page is not None:
            raise LabError("vary writes no page; `export` does: acestep-lab export TAKE page.html.")
        output.check(len(chosen))
        takes = lab.vary(take, chosen, variance)
        for one, sound in zip(takes, output.sounds(lab, takes), strict=True):
            write_sound(one, sound, output.as_json)


def _given(**values: Any) -> dict[str, Any]:
    """The options that were given; the task knows the others' defaults."""
    return {name: value for name, value in values.items() if value is not None}
