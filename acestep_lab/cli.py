"""The command line: `acestep-lab compose | demo | serve | judge | download | doctor`. Thin: every verb is a Session's."""

from __future__ import annotations

import argparse
import io
import itertools
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acestep_lab.errors import LabError, Stopped, shown
from acestep_lab.files import read_text
from acestep_lab.prompt.lyrics import without_times
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import GUIDANCE, SOLVERS

if TYPE_CHECKING:
    from acestep_lab.jobs.events import Event
    from acestep_lab.jobs.kinds import RenderRun
    from acestep_lab.models.download import Progress
    from acestep_lab.session import Session
    from acestep_lab.takes.take import Take

PLANNERS = "another planner than the checkpoint's own: 0.6B, 1.7B, 4B, a folder or a hub id"
DEMO = "warm lo-fi hip hop with soft keys, round bass and lazy drums"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors are one sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a letter shows a mark for it
    chosen = _parser().parse_args(arguments)
    # On a busy machine, threads that spin cost twenty times the work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        status: int = chosen.run(chosen)
        sys.stdout.flush()
    except Stopped:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("\nStopped; nothing was written.", file=sys.stderr)
        return 130
    except LabError as error:
        print(f"acestep-lab: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _parser() -> argparse.ArgumentParser:
    from acestep_lab import __version__

    parser = argparse.ArgumentParser(prog="acestep-lab", description="A workbench for composing with ACE-Step.")
    parser.add_argument("--version", action="version", version=f"acestep_lab {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for add in (_add_compose, _add_demo, _add_serve, _add_judge, _add_download, _add_doctor):
        add(commands)
    return parser


Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _command(commands: Commands, name: str, run: Callable[..., int], about: str) -> argparse.ArgumentParser:  # type: ignore[valid-type]
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)  # type: ignore[attr-defined]
    command.set_defaults(run=run)
    return command


def _checkpoint_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--checkpoint", default="pocket", help="pocket, a catalog name such as turbo, a folder, or a hub id"
    )


def _machine_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device", help="where the work runs: auto, cpu, cuda, cuda:1, mps or xpu (or ACESTEP_DEVICE)"
    )
    command.add_argument("--dtype", help="what it computes in: auto, float32, bfloat16 or float16 (or ACESTEP_DTYPE)")


def _add_compose(commands: Commands) -> None:  # type: ignore[valid-type]
    command = _command(commands, "compose", _compose, "Make music from a sentence and write it to a file.")
    command.add_argument("caption", help="what it should sound like, or @file")
    command.add_argument(
        "-o", "--out", type=Path, help=".flac, .wav, .opus, .ogg or .mp3; by default a new take.flac, take-2.flac, …"
    )
    command.add_argument("--lyrics", default="", help="words with section tags, or @file")
    command.add_argument(
        "--without-times", action="store_true", help="take the times of an LRC, SRT or WebVTT file off the lyrics"
    )
    command.add_argument("--language", help="code of the lyrics' language, such as en")
    command.add_argument("--seconds", type=_number, help="length")
    command.add_argument("--seed", type=_whole, help="the same seed gives the same take")
    command.add_argument("--bpm", type=_whole, help="beats per minute")
    command.add_argument("--key", dest="keyscale", help="such as 'F# minor'")
    command.add_argument("--meter", dest="timesignature", help="2, 3, 4 or 6 beats in a bar")
    command.add_argument("--steps", type=_whole, help="sampling steps; fewer are faster")
    command.add_argument("--shift", type=_number, help="shift of the schedule")
    command.add_argument("--solver", help=", ".join(SOLVERS))
    command.add_argument("--guidance", help=", ".join(GUIDANCE))
    command.add_argument("--guidance-scale", type=_number, help="how strongly; 1 is off")
    command.add_argument("--lm", help=PLANNERS)
    command.add_argument(
        "--precision",
        choices=("auto", "int8"),
        default="auto",
        help="int8: kept where it is measured to be close and quicker",
    )
    _machine_options(command)
    command.add_argument("--page", type=Path, help="also write a self-contained HTML page here")
    _checkpoint_option(command)


def _add_demo(commands: Commands) -> None:  # type: ignore[valid-type]
    command = _command(commands, "demo", _demo, "Compose a first song with the pocket checkpoint: FLAC and a page.")
    command.add_argument("caption", nargs="?", default=DEMO)
    command.add_argument("--out", type=Path, default=Path("demo"), help="folder to write into")
    command.add_argument("--seconds", type=_number, default=20.0)
    command.add_argument("--seed", type=_whole, default=7)


def _add_serve(commands: Commands) -> None:  # type: ignore[valid-type]
    command = _command(commands, "serve", _serve, "Open the studio page in a browser.")
    command.add_argument("--port", type=_port, default=5006)
    command.add_argument("--address", default="127.0.0.1", help="anything but loopback asks for a token")
    command.add_argument(
        "--token", help="word that visitors must know; made up where needed; each browser has takes of its own"
    )
    command.add_argument(
        "--origin",
        action="append",
        default=[],
        help="host by which the studio is known behind a proxy, such as hub.example.org; may be repeated; * is any",
    )
    command.add_argument("--show", action="store_true", help="open the page in this machine's browser")
    command.add_argument("--takes", type=Path, help="folder of the library")
    _machine_options(command)
    command.add_argument("--lm", help=PLANNERS)
    _checkpoint_option(command)


def _add_judge(commands: Commands) -> None:  # type: ignore[valid-type]
    command = _command(commands, "judge", _judge, "Measure what a checkpoint can do, with chance and ceiling beside.")
    command.add_argument("checkpoint", nargs="?", default="pocket")
    command.add_argument("--prompts", type=_whole, default=64, help="how many of the fixed prompts")
    command.add_argument("--seconds", type=_number, default=10.0)
    command.add_argument("--out", type=Path, help="folder for the table (JSON, Markdown) and the picture")
    command.add_argument("--only", help="comma-separated measures")


def _add_download(commands: Commands) -> None:  # type: ignore[valid-type]
    command = _command(commands, "download", _download, "Fetch a published checkpoint (resumable, checked).")
    command.add_argument("checkpoint", help="a catalog name such as turbo, or a hub id")
    command.add_argument("--lm", help="also fetch a planner: 0.6B, 1.7B or 4B")
    command.add_argument("--folder", type=Path, help="where to; the hub's cache by default")
    command.add_argument("--update", action="store_true", help="the newest revision instead of the one fetched first")
    command.add_argument(
        "--offline", action=argparse.BooleanOptionalAction, help="ask nobody; only say what is missing (HF_HUB_OFFLINE)"
    )


def _add_doctor(commands: Commands) -> None:  # type: ignore[valid-type]
    command = _command(commands, "doctor", _doctor, "Look this machine over: what works, what does not, what helps.")
    command.add_argument("--deep", action="store_true", help="also read what was downloaded, for its checksums")
    _machine_options(command)
    _checkpoint_option(command)


# -- commands ------------------------------------------------------------------------------------------------------------


def _compose(chosen: argparse.Namespace) -> int:
    fields = (
        "lyrics", "language", "seconds", "seed", "bpm", "keyscale", "timesignature",
        "steps", "shift", "solver", "guidance", "guidance_scale",
    )  # fmt: skip
    asked = {name: getattr(chosen, name) for name in fields}
    asked["lyrics"] = _text(asked["lyrics"])
    if chosen.without_times:
        asked["lyrics"] = without_times(asked["lyrics"])
    recipe = Recipe(_text(chosen.caption), **{k: v for k, v in asked.items() if v is not None})
    out = chosen.out or _free("take.flac")
    _writable(out, chosen.page)
    from acestep_lab.session import Session

    machine = {"device": chosen.device, "dtype": chosen.dtype}
    with Session.open(chosen.checkpoint, precision=chosen.precision, lm=chosen.lm, **machine) as lab:
        run, take = _watch(lab, recipe)
        _export(take, out)
        if chosen.page:
            print(f"{_page(run, take, chosen.page)}: the page of it, to open in any browser")
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    began = time.perf_counter()
    recipe = Recipe(chosen.caption, seconds=chosen.seconds, seed=chosen.seed)
    sound, page = (_folder(chosen.out) / f"first_song.{ending}" for ending in ("flac", "html"))
    _writable(sound, page)
    print(f'Composing {chosen.seconds:g} seconds of "{chosen.caption}", seed {chosen.seed} …', flush=True)
    from acestep_lab.session import Session

    with Session.open() as lab:
        run, take = _watch(lab, recipe)
        _export(take, sound)
        _page(run, take, page)
    print(f"\nDone in {time.perf_counter() - began:.1f} s.\n")
    print(f"  sound   {sound.resolve()}\n  page    {page.resolve()}   (open it in any browser)")
    print("  studio  make studio   (or: acestep-lab serve --show)")
    return 0


def _serve(chosen: argparse.Namespace) -> int:
    from acestep_lab.serve.app import serve
    from acestep_lab.session import Session

    machine = {"device": chosen.device, "dtype": chosen.dtype}
    with Session.open(chosen.checkpoint, library=chosen.takes, lm=chosen.lm, **machine) as lab:
        serve(lab, chosen.port, chosen.address, chosen.show, chosen.token, chosen.origin)
    return 0


def _judge(chosen: argparse.Namespace) -> int:
    if chosen.out:
        _folder(chosen.out)
    from acestep_lab.evaluate import judge

    report = judge(
        chosen.checkpoint,
        prompts=chosen.prompts,
        seconds=chosen.seconds,
        only=chosen.only.split(",") if chosen.only else None,
        say=lambda sentence: print(sentence, file=sys.stderr, flush=True),
    )
    print(report.table())
    if chosen.out:
        report.write(chosen.out)
    return 0


def _download(chosen: argparse.Namespace) -> int:
    from acestep_lab.models.download import fetch

    line = Line()
    try:
        fetched = fetch(
            chosen.checkpoint, lm=chosen.lm, folder=chosen.folder, say=line.say, report=line.show,
            update=chosen.update, offline=chosen.offline,
        )  # fmt: skip
    finally:
        line.close()
    print(fetched)
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    from acestep_lab.doctor import Asked, examine

    findings = examine(chosen.checkpoint, deep=chosen.deep, asked=Asked(chosen.device, chosen.dtype))
    for finding in findings:
        print(finding)
    return 1 if any(finding.state == "bad" for finding in findings) else 0


# -- what the commands share ---------------------------------------------------------------------------------------------


def _watch(lab: Session, recipe: Recipe) -> tuple[RenderRun, Take]:
    """Render with a progress bar on stderr; Ctrl-C stops within a step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an odd choice is among the run's messages
        run = lab.start(recipe)
    bar = Bar(run)
    run.subscribe(bar.show)
    try:
        take = run.take()
    finally:
        bar.close()
    for message in run.messages:
        print(message, file=sys.stderr)
    return run, take


class Bar:
    """One line of progress, redrawn in a terminal, written sparsely elsewhere."""

    def __init__(self, run: RenderRun) -> None:
        self.run, self.live = run, sys.stderr.isatty()
        self.columns = shutil.get_terminal_size((80, 24)).columns - 1 if self.live else 79
        self.width = min(32, max(0, self.columns - 40))
        self.shown = ""

    def show(self, event: Event) -> None:
        """Draw the run's state."""
        done = round(self.width * self.run.fraction)
        eta = self.run.eta
        line = f"{self.run.state:>9} [{'█' * done}{'·' * (self.width - done)}] {100 * self.run.fraction:3.0f} %"
        line += f"  {eta:.0f} s to go" if eta and not self.run.over else ""
        if self.live:
            print(f"\r{line[: self.columns]:<{self.columns}}", end="", file=sys.stderr, flush=True)
        elif event.kind == "state" and self.run.state != self.shown:
            print(self.run.state, file=sys.stderr, flush=True)
        self.shown = self.run.state

    def close(self) -> None:
        """Leave the line."""
        if self.live:
            print(file=sys.stderr)


class Line:
    """How far a download is: redrawn on one line in a terminal, a tenth at a time elsewhere."""

    def __init__(self) -> None:
        self.live, self.drawn = sys.stderr.isatty(), False
        self.last: tuple[str, int] = ("", 0)

    def show(self, progress: Progress) -> None:
        """Draw how far one file is."""
        now = (progress.path, 10 * progress.done // max(progress.total, 1))
        if self.live:
            print(f"\r{str(progress)[:100]:<100}", end="", file=sys.stderr, flush=True)
            self.drawn = True
        elif now != self.last and progress.total > 10 * 2**20:
            print(progress, file=sys.stderr, flush=True)
        self.last = now

    def say(self, sentence: str) -> None:
        """A sentence on a line of its own."""
        self.close()
        print(sentence, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self.drawn:
            print(file=sys.stderr)
        self.drawn = False


def _export(take: Take, path: Path) -> Path:
    """Write the sound with its manifest inside, and say where."""
    written = take.export(path)
    print(f"{written}: {take.seconds:.1f} s, seed {take.recipe.seed}, {take.audio.loudness():.1f} LUFS")
    return written


def _page(run: RenderRun, take: Take, path: Path) -> Path:
    from acestep_lab.ui import report
    from acestep_lab.ui.latent_image import picture, png_bytes

    chosen = run.steps if len(run.steps) <= 12 else [run.steps[round(i * (len(run.steps) - 1) / 11)] for i in range(12)]
    steps = [(f"after step {f.index + 1} of {f.steps}, t = {f.t:.2f}", png_bytes(picture(f.estimate))) for f in chosen]
    return report.write(take, path, steps)


def _writable(sound: Path, page: Path | None) -> None:
    """Refuse output paths that cannot be written, before any work."""
    from acestep_lab.audio.audio import can_write, has_room

    can_write(sound)
    if page is not None:
        has_room(page)
        if os.path.realpath(page) == os.path.realpath(sound):
            raise LabError(f"{str(page)!r} cannot be the sound and its page; name two files.")


def _folder(path: Path) -> Path:
    """A folder to write into, made where there is none yet."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"The folder {str(path)!r} cannot be made ({error.strerror}).") from None
    return path


def _free(name: str) -> Path:
    """A name no file has here yet: take.flac, take-2.flac, …"""
    path = Path(name)
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2)))
    return next(one for one in names if not one.exists())


def _text(value: str) -> str:
    """Words as given, or from the file named after an @."""
    return read_text(value[1:], "The text file") if value.startswith("@") else value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no number") from None


def _port(text: str) -> int:
    port = _whole(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port lies between 1 and 65535, not at {port}")
    return port


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no whole number, such as 7") from None


if __name__ == "__main__":
    sys.exit(main())
