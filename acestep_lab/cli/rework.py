"""A sound that is there, changed: repaint, extend, cover, extract, lego, complete.

The source is a sound file or the id of a kept take. A command turns its options into a task; what a checkpoint cannot do,
the session says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.compose import output_options, split_fields
from acestep_lab.cli.render import recipe_for_source, render_to_file

if TYPE_CHECKING:
    from acestep_lab.prompt.tasks import Region, Task

source_argument = click.argument("source", type=options.SOURCE, help="A sound file, or the id of a kept take.")
caption_option = click.option(
    "--caption", type=options.TextOrFile(), help="What it should sound like, or @file; by default a take's own words."
)
rework_options = options.together(caption_option, output_options, options.recipe_options, options.session_options)


def _rework(source: str, task: Task, out: Path | None, page: Path | None, given: dict[str, Any]) -> None:
    """Render a task on a source and write the sound."""
    fields, session = split_fields(given)
    render_to_file(lambda lab: recipe_for_source(lab, source, task, **fields), out, page, **session)


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
    out: Path | None, page: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Make a region of a sound anew; the rest stays as it is."""
    from acestep_lab.prompt.tasks import Repaint

    _rework(source, Repaint(source, _regions(spans), **_given(mode=mode, strength=strength)), out, page, given)


@options.command()
@source_argument
@click.option("--before", type=options.Number(), help="Seconds of new music before it.")
@click.option("--after", type=options.Number(), help="Seconds of new music after it.")
@rework_options
def extend(
    source: str, before: float | None, after: float | None, out: Path | None, page: Path | None, **given: Any
) -> None:
    """Add new music before a sound, after it, or both."""
    from acestep_lab.prompt.tasks import Extend

    _rework(source, Extend(source, **_given(before=before, after=after)), out, page, given)


@options.command()
@source_argument
@click.option("--strength", type=options.Number(), help="Share of the steps that follow the source: 0 to 1.")
@click.option("--noise-strength", type=options.Number(), help="Above 0, more of the source's own sound stays.")
@rework_options
def cover(
    source: str, strength: float | None, noise_strength: float | None,
    out: Path | None, page: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Keep a sound's rhythm and harmony, in another sound."""
    from acestep_lab.prompt.tasks import Cover

    _rework(source, Cover(source, **_given(strength=strength, noise_strength=noise_strength)), out, page, given)


@options.command()
@source_argument
@click.argument("stem", type=options.STEM, help="Such as drums, bass or vocals.")
@rework_options
def extract(source: str, stem: str, out: Path | None, page: Path | None, **given: object) -> None:
    """Take one stem out of a mix."""
    from acestep_lab.prompt.tasks import Extract

    _rework(source, Extract(source, stem), out, page, given)


@options.command()
@source_argument
@click.argument("stem", type=options.STEM, help="Such as drums, bass or vocals.")
@click.option("--region", "span", type=options.Span(), help="Where it plays, in seconds: 8:12; by default all along.")
@rework_options
def lego(
    source: str, stem: str, span: tuple[float, float] | None, out: Path | None, page: Path | None, **given: object
) -> None:
    """Make a new stem that fits a sound."""
    from acestep_lab.prompt.tasks import Lego

    (region,) = _regions([span]) if span else (None,)
    _rework(source, Lego(source, stem, region), out, page, given)


@options.command()
@source_argument
@click.argument("stems", type=options.STEM, nargs=-1, required=True, help="What is added, such as drums bass.")
@rework_options
def complete(source: str, stems: tuple[str, ...], out: Path | None, page: Path | None, **given: object) -> None:
    """Add the named stems to a sound, as its accompaniment."""
    from acestep_lab.prompt.tasks import Complete

    _rework(source, Complete(source, stems), out, page, given)


def _given(**values: Any) -> dict[str, Any]:
    """The options that were given; the task knows the others' defaults."""
    return {name: value for name, value in values.items() if value is not None}
