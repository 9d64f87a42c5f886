"""Checkpoints and the machine they run on: checkpoints, download, evaluate, doctor."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acestep_lab.cli import options
from acestep_lab.cli.outputs import ensure_folder
from acestep_lab.settings import VARIABLES

if TYPE_CHECKING:
    from acestep_lab.engines.base import Engine
    from acestep_lab.engines.offered import OfferedCheckpoint
    from acestep_lab.models.download import Progress

MIB = 2**20


@options.command("checkpoints")
@click.argument(
    "checkpoint", required=False, type=options.CHECKPOINT, help="One of them, or a folder: all that can be asked of it."
)
@click.option("--here", is_flag=True, help="Only those that are on this machine.")
def list_checkpoints(checkpoint: str | None, here: bool) -> None:
    """List the checkpoints: size, licence, what each can do."""
    from acestep_lab.engines import registry
    from acestep_lab.engines.offered import offered

    if checkpoint is not None:
        print(card(registry.open_engine(checkpoint)))
        return
    for one in offered():
        if not (here and one.missing):
            print(row(one))


def row(one: OfferedCheckpoint) -> str:
    """A checkpoint in two lines: what it is, and what it can do."""
    from acestep_lab.models.memory_plan import gb

    where = "not here" if one.missing else "here"
    return f"{one.name:<28} {one.family:<13} {gb(one.bytes):>7}  {one.licence:<13}  {where}\n  {_tasks(one.tasks)}"


def card(engine: Engine) -> str:
    """All that can be asked of an engine, line by line."""
    from acestep_lab.engines.offered import licence_note
    from acestep_lab.models.memory_plan import gb
    from acestep_lab.prompt.tasks import Text2Music

    can = engine.capabilities
    knobs = ", ".join(f"{name} {value}" for name, value in engine.defaults(Text2Music()).given().items())
    sound = f"{can.latent.rate:,} Hz, {'stereo' if can.latent.audio_channels == 2 else 'mono'}"
    also = {"a planner": can.plans, "previews": can.previews, "adapters": can.attaches, "audio codes": can.codes}
    lines = {
        "family": can.family,
        "licence": licence_note(can.licence) or can.licence,
        "size": gb(sum(spec.bytes for spec in engine.component_specs())),
        "tasks": _tasks(can.tasks),
        "sound": f"{sound}, {can.seconds[0]:g} to {can.seconds[1]:g} s",
        "sings": "yes" if can.vocabulary.lyrics else "no",
        "also has": ", ".join(name for name, has in also.items() if has) or "nothing more",
        "sampling": f"{', '.join(can.sampling.names())}; by default {knobs}",
    }
    folded = (
        textwrap.fill(text, 80, initial_indent=f"  {name:<9} ", subsequent_indent=" " * 12)
        for name, text in lines.items()
    )
    return "\n".join([engine.name, *folded])


def _tasks(tasks: frozenset[str]) -> str:
    """Tasks in their usual order."""
    from acestep_lab.prompt.tasks import TASKS

    return ", ".join(sorted(tasks, key=lambda task: list(TASKS).index(task) if task in TASKS else len(TASKS)))


@options.command()
@click.argument("checkpoint", type=options.DOWNLOAD, help="A name such as turbo or musicgen-small, or a hub id.")
@click.option("--lm", type=options.PLANNER_TO_FETCH, help="Also fetch a planner: 0.6B, 1.7B or 4B.")
@click.option(
    "--folder", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to; the hub's cache by default."
)
@click.option("--update", is_flag=True, help="The newest revision instead of the one fetched first.")
@click.option("--offline/--no-offline", default=None, help="Ask nobody; only say what is missing (or HF_HUB_OFFLINE).")
def download(checkpoint: str, lm: str | None, folder: Path | None, update: bool, offline: bool | None) -> None:
    """Fetch a published checkpoint (resumable, checked)."""
    from acestep_lab.engines import registry
    from acestep_lab.engines.offered import licence_note
    from acestep_lab.models.download import fetch

    selections = registry.download(checkpoint, lm)
    licences = {one.name: one.licence for one in registry.entries() if checkpoint.lower() in (one.name, one.repo)}
    for name, licence in licences.items():
        if note := licence_note(licence):
            print(f"{name}: {note}", file=sys.stderr)
    progress = DownloadProgress()
    try:
        fetched = fetch(
            checkpoint,
            selections,
            folder=folder,
            on_message=progress.say,
            on_progress=progress.show,
            update=update,
            offline=offline,
        )
    finally:
        progress.close()
    print(fetched)


class DownloadProgress:
    """How far a download is: redrawn on one line in a terminal, a tenth of a large file at a time elsewhere."""

    def __init__(self) -> None:
        self.in_terminal, self.line_open = sys.stderr is not None and sys.stderr.isatty(), False
        self.last_tenth: tuple[str, int] = ("", 0)

    def show(self, progress: Progress) -> None:
        """Draw how far one file is."""
        tenth = (progress.path, 10 * progress.done // max(progress.total, 1))
        if self.in_terminal:
            print(f"\r{str(progress)[:100]:<100}", end="", file=sys.stderr, flush=True)
            self.line_open = True
        elif tenth != self.last_tenth and progress.total > 10 * MIB:
            print(progress, file=sys.stderr, flush=True)
        self.last_tenth = tenth

    def say(self, sentence: str) -> None:
        """A sentence on a line of its own."""
        self.close()
        print(sentence, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self.line_open:
            print(file=sys.stderr)
        self.line_open = False


@options.command()
@click.argument("checkpoint", default="pocket", type=options.CHECKPOINT, help="A catalog name, a folder, or a hub id.")
@click.option(
    "--prompts", type=options.WholeNumber(), default=64, show_default=True, help="How many of the fixed prompts."
)
@click.option("--seconds", type=options.Number(), default=10.0, show_default=True, help="Seconds of each song.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Folder for the table (JSON, Markdown) and the picture.",
)  # fmt: skip
@click.option("--only", metavar="MEASURES", help="Some of the measures, with commas between.")
@click.option("--on", metavar="ADDRESS", help="A Dask scheduler whose workers measure their own checkpoint.")
def evaluate(
    checkpoint: str, prompts: int, seconds: float, out: Path | None, only: str | None, on: str | None
) -> None:  # fmt: skip
    """Measure what a checkpoint can do, beside chance and ceiling."""
    if out:
        ensure_folder(out)
    from acestep_lab.evaluate import evaluate as measure

    report = measure(
        checkpoint,
        prompts=prompts,
        seconds=seconds,
        only=only.split(",") if only else None,
        progress=lambda sentence: print(sentence, file=sys.stderr, flush=True),
        on=on,
    )
    print(report.table())
    if out:
        report.write(out)


@options.command()
@click.option("--deep", is_flag=True, help="Also read what was downloaded, for its checksums.")
@click.option(
    "--speed", is_flag=True, help="Also render with what is installed (or --checkpoint): speed and peak memory."
)
@click.option("--table", is_flag=True, help="Only draw what each model takes on each size of machine, as traced.")
@options.machine_options
@options.checkpoint_option
def doctor(
    deep: bool, speed: bool, table: bool, device: str | None, devices: str | None, dtype: str | None,
    checkpoint: str | None,
) -> int:  # fmt: skip
    """Look this machine over: what works, and what would help."""
    if table:
        from acestep_lab.models import tier_table

        print(tier_table.drawn(tier_table.read()))
        return 0
    from acestep_lab.doctor import DeviceRequest, examine

    findings = examine(
        checkpoint or VARIABLES.get("ACESTEP_LAB_CHECKPOINT") or "pocket",
        deep=deep,
        requested=DeviceRequest(device, dtype, devices),
    )
    for finding in findings:
        print(finding)
    if speed:
        from acestep_lab.evaluate.speed import speeds

        print(speeds([checkpoint] if checkpoint else None, device=device, dtype=dtype))
    return 1 if any(finding.state == "bad" for finding in findings) else 0
