"""Checkpoints and the machine they run on: download, evaluate, doctor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acestep_lab.cli import options
from acestep_lab.cli.outputs import ensure_folder

if TYPE_CHECKING:
    from acestep_lab.models.download import Progress

MIB = 2**20


@click.command()
@click.argument("checkpoint", type=options.DOWNLOAD, help="A catalog name such as turbo, or a hub id.")
@click.option("--lm", type=options.PLANNER_TO_FETCH, help="Also fetch a planner: 0.6B, 1.7B or 4B.")
@click.option(
    "--folder", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to; the hub's cache by default."
)
@click.option("--update", is_flag=True, help="The newest revision instead of the one fetched first.")
@click.option("--offline/--no-offline", default=None, help="Ask nobody; only say what is missing (or HF_HUB_OFFLINE).")
def download(checkpoint: str, lm: str | None, folder: Path | None, update: bool, offline: bool | None) -> None:
    """Fetch a published checkpoint (resumable, checked)."""
    from acestep_lab.models.download import fetch

    progress = DownloadProgress()
    try:
        fetched = fetch(
            checkpoint,
            lm=lm,
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


@click.command()
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
def evaluate(checkpoint: str, prompts: int, seconds: float, out: Path | None, only: str | None) -> None:
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
    )
    print(report.table())
    if out:
        report.write(out)


@click.command()
@click.option("--deep", is_flag=True, help="Also read what was downloaded, for its checksums.")
@options.machine_options
@options.checkpoint_option
def doctor(deep: bool, device: str | None, dtype: str | None, checkpoint: str) -> int:
    """Look this machine over: what works, what does not, what helps."""
    from acestep_lab.doctor import DeviceRequest, examine

    findings = examine(checkpoint, deep=deep, requested=DeviceRequest(device, dtype))
    for finding in findings:
        print(finding)
    return 1 if any(finding.state == "bad" for finding in findings) else 0
