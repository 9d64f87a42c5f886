"""All that commands ask of a Session: open one, render a recipe under a progress bar, write the take.

Verbs of a session are called nowhere else in the command line (`studio` hands a whole session on).
"""

from __future__ import annotations

import json
import math
import secrets
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from acestep_lab.cli.outputs import check_outputs, numbered, unused_name
from acestep_lab.errors import LibraryError

if TYPE_CHECKING:
    from acestep_lab.audio.audio import Audio
    from acestep_lab.engines.step import Step
    from acestep_lab.jobs.events import Event
    from acestep_lab.jobs.kinds import RenderRun
    from acestep_lab.jobs.worker import AnyRun
    from acestep_lab.plan.plan import Plan
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.prompt.tasks import Task
    from acestep_lab.session import Session
    from acestep_lab.takes.take import Take

T = TypeVar("T")
MOST_PICTURES = 12
"""Steps that a page shows."""

TOKENS_BETWEEN_LINES = 100
"""Of a token model's tokens, every so many are told where there is no terminal to redraw a line in."""


def open_session(checkpoint: str, **options: Any) -> Session:
    """A session, as `session_options` ask for it; a licence of the weights that does not let everything is said."""
    from acestep_lab.engines.offered import licence_note
    from acestep_lab.session import Session

    lab = Session.open(checkpoint, **options)
    if note := licence_note(lab.capabilities.licence):
        print(f"{lab.name}: {note}", file=sys.stderr)
    return lab


@dataclass(frozen=True)
class Output:
    """Where takes go, how many there are to be, and how what was made is told."""

    out: Path | None = None
    page: Path | None = None
    count: int | None = None
    as_json: bool = False

    def paths(self, count: int) -> tuple[list[Path], list[Path | None]]:
        """A sound file for each of so many takes, and a page or None; LabError where one cannot be written."""
        sound = self.out or unused_name("take.flac")
        check_outputs(sound, self.page, count)
        pages: Sequence[Path | None] = [None] * count if self.page is None else numbered(self.page, count)
        return numbered(sound, count), list(pages)


def render_to_files(
    make_recipe: Callable[[Session], Recipe], output: Output, seeds: Sequence[int] = (), plan: Plan | None = None,
    **session: Any,
) -> None:  # fmt: skip
    """Open a session, render what `make_recipe` asks of it with so many seeds, and write the sounds and perhaps pages."""
    count = output.count or max(1, len(seeds))
    sounds, pages = output.paths(count)
    with open_session(**session) as lab:
        recipes = with_seeds(make_recipe(lab), count, seeds)
        run, takes = render_with_progress(lab, recipes, plan)
        for place, (take, sound, page) in enumerate(zip(takes, sounds, pages, strict=True)):
            write_sound(take, sound, output.as_json)
            if page is not None:
                written = write_page(run, take, page, place)
                print(f"{written}: the page of it, to open in any browser", file=sys.stderr if output.as_json else None)


def with_seeds(recipe: Recipe, count: int, seeds: Sequence[int] = ()) -> list[Recipe]:
    """The recipe with each of the seeds, then with those that follow the last; a recipe without one begins at a drawn one."""
    if count == 1 and not seeds:
        return [recipe]
    listed = list(seeds[:count]) or [secrets.randbelow(10**9) if recipe.seed is None else recipe.seed]
    listed += [listed[-1] + step for step in range(1, count - len(listed) + 1)]
    return [recipe.replace(seed=seed) for seed in listed]


def recipe_for_source(lab: Session, source: str, task: Task, **fields: object) -> Recipe:
    """A recipe for a task on a take or a file: a take's own words come along unless others are given."""
    sound = find_source(lab, source)
    task = replace(task, source=sound)  # type: ignore[arg-type]  # Text2Music alone has no source, and does not come here
    return lab.recipe_from(sound, task, **fields)


def find_source(lab: Session, source: str) -> Take | Audio:
    """The take of an id or of one of our files, or the sound of any other file; SourceError where there is neither."""
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        try:
            sound: Take | Audio = lab.load(source)
        except LibraryError as error:
            sound = lab.sound(source)
            print(f"{error} Its sound alone is the source.", file=sys.stderr)
    for remark in remarks:
        print(remark.message, file=sys.stderr)
    return sound


def render_with_progress(
    lab: Session, recipes: Sequence[Recipe], plan: Plan | None = None
) -> tuple[RenderRun, list[Take]]:
    """Render with a progress bar on stderr; Ctrl-C stops within a step, and what was made until then is kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an odd choice is among the run's messages
        run = lab.start(recipes[0] if len(recipes) == 1 else recipes, plan)
    progress = RenderProgress(run, counts_tokens=lab.capabilities.latent.kind == "tokens")
    run.subscribe(progress.show)
    try:
        takes = [run.take()] if len(recipes) == 1 else run.takes()
    finally:
        progress.close()
    for message in run.messages:
        print(message, file=sys.stderr)
    return run, takes


def with_progress(lab: Session, work: Callable[[], T]) -> T:
    """Do what waits for one render of the session, its progress on stderr."""
    shown: list[RenderProgress] = []

    def follow(run: AnyRun | None, event: Event | None) -> None:
        if event is None or not hasattr(run, "made"):
            return
        if not shown:
            shown.append(RenderProgress(run))  # type: ignore[arg-type]  # only renders have takes
        shown[0].show(event)

    forget = lab.jobs.subscribe(follow)
    try:
        return work()
    finally:
        forget()
        for progress in shown:
            progress.close()


class RenderProgress:
    """One line of progress, redrawn in a terminal; elsewhere a line for each state, and for every hundredth token."""

    def __init__(self, run: RenderRun, counts_tokens: bool = False) -> None:
        self.run, self.counts_tokens = run, counts_tokens
        self.in_terminal = sys.stderr is not None and sys.stderr.isatty()
        self.columns = shutil.get_terminal_size((80, 24)).columns - 1 if self.in_terminal else 79
        self.bar_columns = min(32, max(0, self.columns - (68 if counts_tokens else 40)))
        self.state_shown, self.tokens = "", ""

    def show(self, event: Event) -> None:
        """Draw the run's state."""
        if event.kind == "step" and self.counts_tokens:
            self.count(event.value)
        if self.in_terminal:
            print(f"\r{self.line()[: self.columns]:<{self.columns}}", end="", file=sys.stderr, flush=True)
        elif event.kind == "state" and self.run.state != self.state_shown:
            print(self.run.state, file=sys.stderr, flush=True)
        self.state_shown = self.run.state

    def count(self, step: Step) -> None:
        """A token model's step is a token of each codebook; how many there will be, only the last one says."""
        self.tokens = f"token {step.index + 1} of at most {step.steps}"
        if not self.in_terminal and (step.index + 1) % TOKENS_BETWEEN_LINES == 0:
            print(self.tokens, file=sys.stderr, flush=True)

    def line(self) -> str:
        """ "rendering [████····]  50 %  12 s to go"; of tokens, "rendering [██··]  24 %  token 120 of at most 500  9 s to go"."""
        run, done = self.run, round(self.bar_columns * self.run.fraction)
        bar = f"{'█' * done}{'·' * (self.bar_columns - done)}"
        eta = f"  {run.eta:.0f} s to go" if run.eta and not run.over else ""
        tokens = f"  {self.tokens}" if self.tokens and run.state == "rendering" else ""
        return f"{run.state:>9} [{bar}] {100 * run.fraction:3.0f} %{tokens}{eta}"

    def close(self) -> None:
        """Leave the line."""
        if self.in_terminal:
            print(file=sys.stderr)


def write_sound(take: Take, path: Path, as_json: bool = False) -> Path:
    """Write the sound with its manifest inside, and say where: as a sentence, or as one line of JSON."""
    written = take.export(path)
    loudness = take.audio.loudness()
    if as_json:
        print_json(
            {
                "file": str(written), "id": take.id, "seconds": take.seconds, "seed": take.recipe.seed,
                "loudness": loudness if math.isfinite(loudness) else None, "parents": list(take.parents),
                "recipe": take.recipe.to_json(),
            }
        )  # fmt: skip
    else:
        print(f"{written}: {take.seconds:.1f} s, seed {take.recipe.seed}, {loudness:.1f} LUFS")
    return written


def print_json(value: object) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=list), flush=True)


def write_page(run: RenderRun, take: Take, path: Path, place: int = 0) -> Path:
    """Write a page that needs nothing else: player, pictures of at most `MOST_PICTURES` steps that have an estimate, recipe."""
    from acestep_lab.takes import page as report
    from acestep_lab.ui.latent_image import picture, png_bytes

    steps = [step for step in run.steps if step.estimate is not None and step.item == place]
    if len(steps) > MOST_PICTURES:
        last = len(steps) - 1
        steps = [steps[round(i * last / (MOST_PICTURES - 1))] for i in range(MOST_PICTURES)]
    pictures = [
        (f"after step {step.index + 1} of {step.steps}, t = {step.t:.2f}", png_bytes(picture(step.estimate)))
        for step in steps
    ]
    return report.write(take, path, pictures)
