"""All that commands ask of a Session: open one, render a recipe while a line says how far it is, write the take.

Verbs of a session are called nowhere else in the command line (`studio` hands a whole session on).
"""

from __future__ import annotations

import json
import math
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acestep_lab.cli.outputs import check_outputs, numbered, unused_name
from acestep_lab.errors import LibraryError, RecipeError, Stopped
from acestep_lab.settings import VARIABLES

if TYPE_CHECKING:
    from acestep_lab.audio.audio import Audio
    from acestep_lab.jobs.kinds import RenderRun
    from acestep_lab.plan.plan import Plan
    from acestep_lab.prompt.recipe import Recipe
    from acestep_lab.prompt.tasks import Task
    from acestep_lab.session import Session
    from acestep_lab.sweep.client import ClientSession
    from acestep_lab.takes.take import Take

MOST_PICTURES = 12
"""Steps that a page shows."""


def open_session(checkpoint: str | None, **options: Any) -> Session:
    """A session, as `session_options` ask for it, and the settings where those say nothing of checkpoint, planner or server.

    A licence of the weights that does not let everything is said.
    """
    from acestep_lab.engines.offered import licence_note
    from acestep_lab.engines.opened import checkpoint_set, planner_set
    from acestep_lab.session import Session

    if checkpoint is not None or not VARIABLES.get("ACESTEP_LAB_SERVER"):
        checkpoint = checkpoint or checkpoint_set()
        if options.get("lm", "") is None:
            options["lm"] = planner_set(checkpoint)
    lab = Session.open(checkpoint, **options)
    if note := licence_note(lab.capabilities.licence):
        print(f"{lab.name}: {note}", file=sys.stderr)
    return lab


def open_client(on: str | list[str], checkpoint: str | None = None, **options: Any) -> ClientSession:
    """A session that has its takes made elsewhere and needs no model here; RecipeError for a checkpoint that only others can open."""
    from acestep_lab.sweep.client import ClientSession

    if checkpoint is not None:
        raise RecipeError(
            "With --on the checkpoint is that of the other machines; name another as an axis: --axis checkpoint=turbo."
        )
    return ClientSession(on, options.get("library"))


def places_of(on: tuple[str, ...]) -> str | list[str] | None:
    """What `--on` names, as `lab.sweep` takes it: nothing, one scheduler, or the doors of several machines."""
    doors = [one for one in on if one.startswith(("http://", "https://"))]
    if not on or doors == list(on):
        return doors or None
    if len(on) > 1:
        raise RecipeError("One scheduler or several doors make a sweep: --on tcp://…, or --on http://… --on http://….")
    return on[0]


@dataclass(frozen=True)
class Output:
    """Where takes go, how many there are to be, and how what was made is told."""

    out: Path | None = None
    page: Path | None = None
    count: int | None = None
    as_json: bool = False

    def check(self, count: int) -> None:
        """Refuse, before any work, what so many takes cannot be written to; LabError."""
        check_outputs(self.out or Path("take.flac"), self.page, count)

    def sounds(self, lab: Session, takes: Sequence[Take]) -> Iterator[Path]:
        """A file for each take: as was asked for, else a new one with its title and seed."""
        if self.out is not None:
            yield from numbered(self.out, len(takes))
            return
        from acestep_lab.takes import titles

        for take in takes:
            room = titles.LONGEST_FILE - len(f", seed {take.recipe.seed}")
            title = titles.title(titles.TitleParts.of(take), lambda id: title_of_source(lab, id), room)
            yield unused_name(f"{titles.file_name(title, take.recipe.seed)}.flac")

    def pages(self, count: int) -> list[Path | None]:
        """A page, or None, for each of so many takes."""
        return [None] * count if self.page is None else list(numbered(self.page, count))


def title_of_source(lab: Session, id: str) -> str:
    """What a source is called; "" where nobody knows."""
    return lab.library.titles().get(id) or lab.library.source_title(id)


def render_to_files(
    make_recipe: Callable[[Session], Recipe], output: Output, seeds: Sequence[int] = (), plan: Plan | None = None,
    **session: Any,
) -> None:  # fmt: skip
    """Open a session, render what `make_recipe` asks of it with so many seeds, and write the sounds and perhaps pages."""
    count = output.count or max(1, len(seeds))
    output.check(count)
    with open_session(**session) as lab:
        recipes = with_seeds(make_recipe(lab), count, seeds)
        run, takes = render_with_progress(lab, recipes, plan)
        written = zip(takes, output.sounds(lab, takes), output.pages(count), strict=True)
        for place, (take, sound, page) in enumerate(written):
            write_sound(take, sound, output.as_json)
            if page is not None:
                made = write_page(run, take, page, place)
                print(f"{made}: the page of it, to open in any browser", file=sys.stderr if output.as_json else None)


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
    with remarks_as_sentences():
        try:
            return lab.load(source)
        except LibraryError as error:
            sound = lab.sound(source)
            print(f"{error} Its sound alone is the source.", file=sys.stderr)
            return sound


@contextmanager
def remarks_as_sentences() -> Iterator[None]:
    """What Python would warn of is a sentence on stderr."""
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        yield
    for remark in remarks:
        print(remark.message, file=sys.stderr)


def render_with_progress(
    lab: Session, recipes: Sequence[Recipe], plan: Plan | None = None
) -> tuple[RenderRun, list[Take]]:
    """Render, with the line on stderr that whoever waits for a run sees; what was made until Ctrl-C is kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an odd choice is among the run's messages
        run = lab.start(recipes[0] if len(recipes) == 1 else recipes, plan)
    try:
        takes = [run.take()] if len(recipes) == 1 else run.takes()
    except (KeyboardInterrupt, Stopped):
        if run.made:
            print(f"Kept in the library: {', '.join(take.id for take in run.made.values())}.", file=sys.stderr)
        raise
    for message in run.messages:
        print(message, file=sys.stderr)
    return run, takes


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
        seed = "" if take.recipe.seed is None else f"seed {take.recipe.seed}, "
        print(f"{written}: {take.seconds:.1f} s, {seed}{loudness:.1f} LUFS")
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
