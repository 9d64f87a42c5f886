"""`lab.sweep`: what is asked becomes a value, every cell is looked at before any work, then a run makes what is not there.

Knows a session by its verbs, and who may do the work (`here`, `cluster`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.jobs.events import Event
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.sweep import budget, record
from acestep_lab.sweep.axes import Worn
from acestep_lab.sweep.cells import Cell, Sweep
from acestep_lab.sweep.existing import Existing
from acestep_lab.sweep.pools import pool_for
from acestep_lab.sweep.record import Record
from acestep_lab.sweep.run import NAP, SweepRun
from acestep_lab.sweep.work import OWN, Job, News, Pool, make
from acestep_lab.takes.take import Take


def sweep(
    session: Any, asked: Any, *, on: Any = None, name: str = "", adapters: Any = None, dry_run: bool = False,
    skip_refused: bool = False, resource: str | None = None, axes: Mapping[str, Any] | None = None,
) -> SweepRun | budget.Budget:  # fmt: skip
    """Begin a sweep, go on with one, or (`dry_run`) only say what it costs; RecipeError for what cannot be made, before any work."""
    session.jobs.must_be_open()
    dry_run, skip_refused = checks.truth("dry_run", dry_run), checks.truth("skip_refused", skip_refused)
    kept = _record(session, asked, name, adapters, axes or {}, dry_run)
    undo = ExitStack()
    try:
        pool = pool_for(session, on, resource)
        undo.callback(pool.close)
        kept = _settled(session, kept, pool)
        found = _look(session, kept, pool, opens=not dry_run)
        if found.refused and not (dry_run or skip_refused):
            raise _refusal(kept.sweep, found.refused)
        cost = found.budget(session, kept, pool)
        if dry_run:
            undo.close()
            return cost
        undo.enter_context(kept.alone())
        run = SweepRun(session, kept, cost)
        run.subscribe(partial(_let_go, run, undo))
        session.jobs.submit(run, _Driver(session, run, kept, pool, found, undo).work, OWN)
    except BaseException:
        undo.close()
        raise
    return run


def seen(session: Any, asked: Any) -> SweepRun:
    """A sweep to look at, by itself, its value or its name, as far as it is made; RecipeError where nothing of it is."""
    if checks.is_a(asked, SweepRun):
        found: SweepRun = asked
        return found
    if not checks.is_a(asked, str, Sweep):
        raise RecipeError(f"A sweep is what lab.sweep(…) gave, a Sweep, or the name of one, not {shown(asked)}.")
    kept = _settled(session, _record(session, asked, "", None, {}, dry_run=True), pool_for(session, None)).as_seen()
    for place in [place for place, id in kept.takes.items() if id not in session.library]:
        kept.forget(place)
    if not kept.takes:
        raise RecipeError(f"No take of the sweep {shown(kept.sweep.full_name)} is here; make some first: lab.sweep(…).")
    return SweepRun(session, kept, budget.Budget(kept.sweep, len(kept.takes), 0))


def _let_go(run: SweepRun, undo: ExitStack, event: Event) -> None:
    """Once a run is over, begun or not, others may work at its sweep, and what was opened for it is closed."""
    if event.kind == "state" and run.over:
        undo.close()


# -- what is asked -----------------------------------------------------------------------------------------------------


def _record(session: Any, asked: Any, name: str, adapters: Any, axes: Mapping[str, Any], dry_run: bool) -> Record:
    """The sweep that is asked for, with what is known of it."""
    library = session.library
    if checks.is_a(asked, str):
        if axes or adapters is not None or name:
            raise RecipeError(
                "A sweep that is gone on with is what it was: lab.sweep('its name'), and nothing more of it."
            )
        return record.opened(library, asked)
    if checks.is_a(asked, Sweep):
        if axes or adapters is not None:
            raise RecipeError(
                "A Sweep has its axes and adapters already; name them where it is made: Sweep.grid(recipe, shift=[1, 3])."
            )
        found = replace(asked, name=name) if name else asked
    elif checks.is_a(asked, Recipe):
        found = Sweep.grid(asked, adapters=adapters, name=name, **axes)
    else:
        if axes:
            raise RecipeError("A list of recipes has no axes; sweep one recipe, or leave the axes out.")
        found = Sweep.of(asked, adapters=adapters, name=name)
    return Record(_with_ids(session, found, keep=not dry_run), None)


def _with_ids(session: Any, sweep: Sweep, keep: bool) -> Sweep:
    """The sweep with every sound it starts from given by its id, kept in the library, so that it can be gone on with."""
    settle = partial(_by_id, session, keep)
    axes = tuple(
        (name, tuple(map(settle, values)) if isinstance(values, tuple) else values) for name, values in sweep.axes
    )
    picks = None if sweep.picks is None else tuple(tuple(map(settle, one)) for one in sweep.picks)
    return replace(sweep, recipe=settle(sweep.recipe), axes=axes, picks=picks)


def _by_id(session: Any, keep: bool, value: Any) -> Any:
    """A recipe or task with ids for its sounds, a sound's id; anything else as it is."""
    if isinstance(value, Recipe):
        return value.replace(task=_by_id(session, keep, value.task))
    if isinstance(value, Take | Audio):
        return _kept_id(session, keep, value)
    if hasattr(value, "with_sources") and (sources := value.sources()):
        return value.with_sources({name: _kept_id(session, keep, session.sound(one)) for name, one in sources.items()})
    return value


def _kept_id(session: Any, keep: bool, sound: Take | Audio) -> str:
    if isinstance(sound, Audio):
        if keep:
            session.library.keep_sound(sound)
        return str(sound.id)
    return str(session.keep(sound).id) if keep else sound.id


def _settled(session: Any, kept: Record, pool: Pool) -> Record:
    """The sweep with the checkpoint and adapters that are in use now written into it: it stays what it is whatever is used later."""
    found = kept.sweep
    if kept.path is not None:
        return kept
    names = [name for name, _ in found.axes]
    if found.recipe.checkpoint is None and not {"checkpoint", "recipe"} & set(names):
        found = replace(found, recipe=found.recipe.replace(checkpoint=pool.checkpoint))
    if found.adapters is None and "adapter" not in names and pool.is_local and session.adapters:
        found = replace(found, adapters=tuple((file, float(strength)) for _, file, strength in session.adapters))
    found.cells  # noqa: B018 - every value is read before anything else
    return record.of(session.library, found)


# -- what there is to do -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """What looking at every cell found: how each is decided, which takes are there, which are refused."""

    recipes: Mapping[int, Recipe]
    """Of cells to make: as asked, with the sounds they start from."""
    resolved: Mapping[int, Recipe]
    refused: Mapping[int, str]

    def budget(self, session: Any, kept: Record, pool: Pool) -> budget.Budget:
        """What it costs."""
        to_make = [self.resolved.get(place, recipe) for place, recipe in self.recipes.items()]
        first = next(iter(self.recipes.values()), kept.sweep.recipe)
        checkpoint = first.checkpoint or pool.checkpoint
        seconds = budget.seconds_of(to_make, pool.width, session.library, checkpoint, kept.seconds)
        music = sum(one.seconds or 30.0 for one in to_make)
        size = int(music * budget.BYTES_A_SECOND)
        return budget.Budget(kept.sweep, len(kept.takes), len(to_make), dict(self.refused), seconds, size, pool.where)


def _look(session: Any, kept: Record, pool: Pool, opens: bool) -> _Found:
    """Look at every cell before any work: resolve it, and find its take."""
    cells, existing = kept.sweep.cells, Existing(session.library)
    for place, known_id in list(kept.takes.items()):
        if known_id not in session.library:
            kept.forget(place)
    wanted = dict.fromkeys(one.recipe.checkpoint for one in cells if one.recipe.checkpoint)
    pool.open(wanted, opens)
    pool.wear(dict.fromkeys(place for one in cells for place, _ in one.adapters or ()))
    asked = {one.place: with_sounds(session, one.recipe) for one in cells if one.place not in kept.takes}
    known = {place: one for place, one in asked.items() if opens or _is_open(pool, one)}
    answers = dict(zip(known, pool.resolve(known.values()), strict=True))
    refused = {place: one for place, one in answers.items() if isinstance(one, str)}
    resolved = {place: one for place, one in answers.items() if isinstance(one, Recipe)}
    for place in [place for place in asked if place not in refused]:
        cell = cells[place]
        checkpoint = cell.recipe.checkpoint or pool.checkpoint
        id = existing.find(cell.recipe, resolved.get(place), checkpoint, cell.adapters or ())
        if id is not None:
            kept.takes[place] = id
    recipes = {place: one for place, one in asked.items() if place not in refused and place not in kept.takes}
    return _Found(recipes, resolved, refused)


def _is_open(pool: Pool, recipe: Recipe) -> bool:
    """Whether anything can be asked about a recipe without opening a checkpoint for it."""
    return not pool.is_local or recipe.checkpoint is None or pool.is_open(recipe.checkpoint)


def with_sounds(session: Any, recipe: Recipe) -> Recipe:
    """A recipe with the sounds it starts from, wherever it is made; SourceError where one is gone."""
    sources = {name: session.sound(one) for name, one in recipe.task.sources().items()}
    return recipe.replace(task=recipe.task.with_sources(sources)) if sources else recipe


def worn_by(pool: Pool, cell: Cell) -> Worn | None:
    """What a cell wears: of one that names nothing, nothing, where there could be something."""
    if cell.adapters is not None or not pool.is_local:
        return cell.adapters
    return () if pool.attaches(cell.recipe.checkpoint or pool.checkpoint) else None


def _refusal(sweep: Sweep, refused: Mapping[int, str]) -> RecipeError:
    place, why = next(iter(refused.items()))
    return RecipeError(
        f"{len(refused)} of {len(sweep.cells)} cells cannot be made, first {sweep.cells[place].title}: {why} "
        "Change them, or leave them out: skip_refused=True."
    )


# -- the work ----------------------------------------------------------------------------------------------------------


class _Driver:
    """A thread that has the takes made and keeps them; the run in the queue gives way to the very renders this asks for."""

    def __init__(
        self, session: Any, run: SweepRun, kept: Record, pool: Pool, found: _Found, undo: ExitStack
    ) -> None:  # fmt: skip
        self._session, self._run, self._kept, self._pool = session, run, kept, pool
        self._undo = undo
        self._found = found
        self._over, self._halt = threading.Event(), threading.Event()
        self._error: BaseException | None = None

    def work(self, run: SweepRun) -> Iterator[None]:
        """The run's body: wait for the thread, piece by piece."""
        run.begin()
        threading.Thread(target=self._drive, name="acestep_lab sweep", daemon=True).start()
        try:
            while not self._over.wait(NAP):
                yield
        finally:
            self._halt.set()
            self._undo.close()  # before anybody who waits for the run goes on: they may begin the next
        if self._error is not None and not run.stopping:
            raise self._error
        run.check()
        self._say_what_failed()
        run.finish()

    def _say_what_failed(self) -> None:
        """A cell that failed costs itself; where every one did, so did the sweep."""
        failed = self._run.failed
        if failed and not self._run.made:
            raise LabError(f"No cell could be made, first {failed[0].cell.title}: {failed[0].problem}")
        if failed:
            self._run.message(
                f"{len(failed)} of {len(self._run.cells)} cells could not be made, first {failed[0].cell.title}: "
                f"{failed[0].problem} The same call tries them again."
            )

    def _drive(self) -> None:
        try:
            self._pool.run(self._jobs(), self._hear, self._stopped)
        except BaseException as error:  # noqa: BLE001 - whatever happens in it belongs to the run
            self._error = error
        finally:
            self._over.set()

    def _stopped(self) -> bool:
        return self._run.stopping or self._halt.is_set()

    def _jobs(self) -> list[Job]:
        """What is to be done, by checkpoint, so that none is loaded twice."""
        cells = self._kept.sweep.cells
        order = sorted(self._found.recipes, key=lambda place: str(cells[place].recipe.checkpoint or ""))
        recipes = self._found.recipes
        return [
            Job(
                place,
                make,
                partial(dict, recipe=recipes[place], adapters=worn_by(self._pool, cells[place])),
            )
            for place in order
        ]

    def _hear(self, news: News) -> None:
        """Keep what was made the moment it is here, then tell of it."""
        if news.kind == "done":
            try:
                take = self._session.keep(news.value)
                self._session.library.mark(take.id, batch=self._run.id)  # a gallery shows what one run made together
                self._kept.made(news.place, take.id, news.seconds)
                news = replace(news, value=take.id)
            except (LabError, OSError) as problem:
                news = replace(news, kind="failed", value=problem)
        self._run.hear(news)
