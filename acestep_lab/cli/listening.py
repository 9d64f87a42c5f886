"""What is heard in a sound: its lyrics in time, and what was asked for against what came: align, scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from acestep_lab.cli import options
from acestep_lab.cli.render import find_source, open_session, print_json

_FORMS = ("lrc", "word-lrc", "vtt", "srt", "json")
_FILES = (".lrc", ".srt", ".vtt")
session_options = options.together(options.checkpoint_option, options.machine_options)


@options.command()
@click.argument(
    "source", type=options.SOURCE, help="A sound file, the id of a kept take, or an .lrc, .srt or .vtt file."
)
@click.option("--lyrics", type=options.TextOrFile(), help="What it sings, or @file; a take knows its own.")
@click.option("--language", type=options.LANGUAGE, help="Code of the lyrics' language, such as en.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMS),
    default="lrc",
    show_default=True,
    help="What is written; word-lrc times words.",
)
@click.option(
    "--by", type=click.Choice(("sound", "plan")), default="sound", help="plan: only estimate where sections lie."
)
@click.option("--anew", is_flag=True, help="Listen again, whatever is kept beside the take.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, readable=False), metavar="FILE", help="Write it there instead."
)
@session_options
def align(
    source: str, lyrics: str | None, language: str | None, form: str, by: Any, anew: bool, out: Path | None,
    checkpoint: str | None, **machine: Any,
) -> None:  # fmt: skip
    """Find when each line and word of the lyrics is sung."""
    if source.lower().endswith(_FILES):
        from acestep_lab.files import read_text
        from acestep_lab.listen.timed_lyrics import Alignment

        found = Alignment.from_file_text(read_text(source, "The timed lyrics"))
    else:
        with open_session(checkpoint, **machine) as lab:
            sound = find_source(lab, source)
            found = lab.align(sound, lyrics, language=language, by=by, anew=anew)
    for remark in found.remarks:
        click.echo(remark, err=True)
    text = found.written(form) if found.lines or form == "json" else f"{found}\n"
    if out is None:
        print(text, end="")
    else:
        from acestep_lab.files import write_whole

        print(write_whole(out, lambda path: path.write_text(text, encoding="utf-8")))


@options.command()
@click.argument(
    "sources", metavar="TAKE...", type=options.SOURCE, nargs=-1, required=True, help="Kept takes, or their files."
)
@click.option("--reference", is_flag=True, help="Also the two lyric scores of ACE-Step's own code.")
@click.option("--anew", is_flag=True, help="Listen again, whatever is kept beside the take.")
@options.json_option
@session_options
def scores(
    sources: tuple[str, ...], reference: bool, anew: bool, as_json: bool, checkpoint: str | None, **machine: Any
) -> None:
    """Say what was asked for against what is heard, beside chance."""
    with open_session(checkpoint, **machine) as lab:
        for source in sources:
            take = lab.load(source)
            found = lab.scores(take, reference=reference, anew=anew)
            if as_json:
                print_json({"id": take.id, **found.to_json()})
            else:
                print(f"{take.id}\n{found}")
