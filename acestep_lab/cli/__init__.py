"""The command line. Thin: every command is a Session's verb. Knows no models and no mathematics.

::

    options      what commands have in common: kinds of values, what the shell completes, groups of options
    render       a session opened, a recipe rendered, a take named and written: all that commands ask of a Session
    outputs      paths to write to, refused before any work
    compose      compose, demo
    batch        batch: many recipes from one file
    sweep        sweep, workers: many takes that differ in what is named, here or on many machines
    rework       repaint, extend, cover, extract, lego, complete, edit, vary: a sound that is there, changed
    song         stitch, stems: a song out of pieces, a take in lanes
    words        plan, sketch, polish, understand, analyze: what the planner says, and what can be measured
    notes        notes: melody, bass, chords and beats, also as MIDI
    dataset      dataset scan, label, check: songs to learn from
    train        train: an adapter out of songs
    merge        merge: adapters made part of a checkpoint
    kept         takes, export, mark, bin, restore: the library
    studio       serve
    api          api: ACE-Step's REST clients
    launch       how serve and api are started: options, and settings behind them
    habits       flags of the reference's launchers, translated for serve and api
    daemon       daemon
    checkpoints  checkpoints, download, evaluate, doctor
    onnx         export-onnx
    schemas      schema
    completion   --install-completion, --show-completion

A command is a function with a click decorator in one of these files, and its name in `COMMANDS` below. What it needs
beyond words and numbers it imports when it runs, so that `--help` and completion load neither torch nor numpy.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from acestep_lab import __version__
from acestep_lab.cli import (
    api,
    attribute,
    batch,
    checkpoints,
    completion,
    compose,
    daemon,
    dataset,
    habits,
    kept,
    listening,
    merge,
    notes,
    onnx,
    options,
    rework,
    schemas,
    song,
    studio,
    sweep,
    train,
    words,
)
from acestep_lab.errors import LabError, Stopped

if TYPE_CHECKING:
    from acestep_lab.train.ranks import Ranks

PROGRAM = completion.PROGRAM
COMMANDS = (
    compose.compose, rework.repaint, rework.extend, rework.cover, rework.extract, rework.lego, rework.complete, rework.edit,
    rework.vary, song.stitch, song.stems, batch.batch, sweep.sweep, sweep.workers,
    attribute.attribute, words.plan, words.sketch, words.polish, words.understand, words.analyze, listening.align, listening.scores,
    notes.notes, kept.takes, kept.export,
    kept.mark, kept.to_bin, kept.restore, dataset.dataset, train.train, merge.merge, compose.demo, studio.serve, api.api, daemon.daemon,
    checkpoints.list_checkpoints, checkpoints.download, checkpoints.evaluate, checkpoints.doctor,
    onnx.export_onnx, schemas.schema,
)  # fmt: skip
"""In the order in which `--help` lists them."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Why a stream takes no more, besides that nobody reads it."""


@click.group(
    PROGRAM,
    cls=options.InOrder,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"`{PROGRAM} COMMAND --help` says what a command takes.",
)
@click.version_option(__version__, message="acestep_lab %(version)s", help="Say which version this is.")
@completion.options
def commands() -> None:
    """A workbench for composing with music models."""


def main(arguments: Sequence[str] | None = None, ranks: Ranks | None = None) -> int:
    """Run one command; returns the exit status. Errors are one sentence on stderr.

    `ranks` are the processes that train together, which `python -m acestep_lab.train` hands over.

    0: done; 1: the doctor or `dataset check` found something bad, or `train --dry-run` that it does not fit; 2: it cannot be done as asked; 130: stopped; 141: nobody reads the output.
    """
    _replace_unprintable_characters()
    # On a busy machine, threads that spin cost twenty times the work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if instruction := os.environ.get(completion.VARIABLE):
        return completion.answer(commands, instruction)
    try:
        status = _run(_with_daemon_named(sys.argv[1:] if arguments is None else arguments), ranks)
        if sys.stdout is not None:  # as it is where a shell closed it
            sys.stdout.flush()
    except (Stopped, KeyboardInterrupt) as stop:
        _say_on_stderr("\n" * isinstance(stop, KeyboardInterrupt) + "Stopped.")
        return 130
    except LabError as error:
        _say_on_stderr(f"{PROGRAM}: {error}")
        return 2
    except ModuleNotFoundError as missing:  # a laptop that works with another machine has no libraries that run models
        if not _runs_models(missing.name or ""):
            raise
        _say_on_stderr(
            f"{PROGRAM}: {missing.name}, which this needs, is not installed here; `pip install torch` and acestep_lab's other "
            "libraries, or ask on the machine where the models are."
        )
        return 2
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        _discard_output()
        return 141
    except OSError as error:
        if error.errno not in NO_ROOM or error.filename is not None:
            raise
        _discard_output()
        _say_on_stderr(f"{PROGRAM}: What there is to say could not be written ({error.strerror}).")
        return 2
    return status


def _runs_models(module: str) -> bool:
    """Whether a library that is missing is one of those that a laptop does without."""
    from acestep_lab.doctor import MODEL_PACKAGES

    return module.partition(".")[0].replace("_", "-") in MODEL_PACKAGES


def _with_daemon_named(arguments: Sequence[str]) -> Sequence[str]:
    """lofi.nvim starts a daemon by `--daemon`, as a flag: it names the command."""
    return ["daemon", *arguments[1:]] if arguments[:1] == ["--daemon"] else arguments


def _run(arguments: Sequence[str], ranks: Ranks | None = None) -> int:
    """Parse and run; what click says of wrong arguments becomes a LabError. Click's own `main` would end the process."""
    try:
        with commands.make_context(PROGRAM, habits.with_command(list(arguments)), obj=ranks) as context:
            return int(commands.invoke(context) or 0)
    except click.exceptions.Exit as done:  # after --help and --version
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as help_page:
        _say_on_stderr(help_page.format_message())
        return help_page.exit_code
    except click.UsageError as error:
        sentence = " ".join(error.format_message().split())
        sentence = sentence.replace("?.", "?")
        end = "" if sentence.endswith((".", "?", "?)")) else "."
        raise LabError(f"{sentence}{end} `{_command_path(error, arguments)} --help` says what there is.") from None


def _command_path(error: click.UsageError, arguments: Sequence[str]) -> str:
    """The command that was asked for, which click's parser of options does not always tell."""
    if error.ctx is not None:
        return error.ctx.command_path
    return " ".join([PROGRAM, *(name for name in arguments[:1] if name in commands.commands)])


def _replace_unprintable_characters() -> None:
    """A terminal without a letter shows a mark for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _say_on_stderr(sentence: str) -> None:
    """Say why it ended; where nobody can be told, the exit status still does."""
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Send what is still buffered for a stream that takes no more nowhere, so that Python does not complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
