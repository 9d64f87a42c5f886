"""Recipes become takes: planned, prepared, sampled, decoded, kept. Knows engines by their contract only; no page, no files.

The loop stores each take the moment it exists: for a group, sample; then per item decode, keep, forget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Protocol

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import (
    Attaches,
    Engine,
    Merges,
    Plans,
    Prepared,
    Previews,
    Profiles,
    Rendered,
    Request,
    able,
    groups,
)
from acestep_lab.engines.step import Step
from acestep_lab.errors import CheckpointError, LintWarning, RecipeError, shown, warn_caller
from acestep_lab.jobs.client import usual_priority
from acestep_lab.jobs.eta import DECODE, ENCODE, PLAN, RENDER, Work
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.latents import NO_PREVIEW
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.spreading import Lane, Spread, Told, make, spread_work
from acestep_lab.jobs.stitching import Stitched, decided, is_stitch, only_stitches
from acestep_lab.jobs.work import item_work, work_key
from acestep_lab.plan.following import thinks
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt import checks
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import MAX_SEED, TASKS, Retake, Task
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take

if TYPE_CHECKING:
    from torch import Tensor

    from acestep_lab.models.adapters import Adapter
    from acestep_lab.models.merging import Merged

Adapters = Sequence[tuple["Adapter", float]]
"""Adapters that were opened, each with its strength."""
MOST_RECIPES = 10_000
"""Recipes of one start; a generator without end is refused."""
_NO_ADAPTERS = "takes no adapters"


class Engines(Protocol):
    """The engines that are open, and the memory they share."""

    current: Engine

    def of(self, recipe: Recipe) -> Engine:
        """The engine that makes a recipe; CheckpointError where it is not open."""

    def maker_of(self, take: Take) -> Engine:
        """The engine to make a take again with: where it is open, the one it was made with."""

    def has_planner(self, engine: Engine) -> bool:
        """Whether an engine has a planner and this machine has room for it."""

    def longest(self, engine: Engine) -> float:
        """The longest song, in seconds, that this machine has room for."""

    def fit_to(self, engine: Engine, seconds: float, takes: int) -> None:
        """Take up the memory plan for songs of so many seconds."""

    def batch(self, engine: Engine) -> int:
        """How many songs may share a loop."""

    def device(self, engine: Engine) -> object:
        """Where an engine works."""

    def lanes(self, engine: Engine) -> Sequence[Lane]:
        """The cards over which its takes are spread, each with a copy of it; none where one device does the work."""

    def cards(self, engine: Engine) -> int:
        """Over how many cards its takes are spread; 1 where they are not. Nothing is opened for it."""

    def notifying(self, on_message: Callable[[str], None]) -> AbstractContextManager[None]:
        """For a time, tell somebody of every change of the memory plan."""

    def loading(self) -> str:
        """The component whose weights are being read now; "" where none are."""

    def explain(self, engine: Engine) -> str:
        """How it fits this machine, as a sentence."""

    def made_with(self, engine: Engine) -> Mapping[str, Any]:
        """What a take should remember of the machine."""


@dataclass(frozen=True, eq=False)
class Item:
    """One recipe of a run: as asked, and as the engine that makes it decided it."""

    asked: Recipe
    engine: Engine
    request: Request
    plan: Plan | None = None


@dataclass(frozen=True)
class SharedPlan:
    """One plan for all recipes of a run: this one, or the first that is written."""

    plan: Plan | None = None


class Renderer:
    """Begins renders, and does them on the queue's thread."""

    def __init__(self, engines: Engines, sounds: Sounds, queue: JobQueue) -> None:
        self.engines, self.sounds, self.queue = engines, sounds, queue
        self._warned: set[str] = set()
        self._spread: Spread | None = None  # a run's takes, while they are spread over cards

    def begin(
        self,
        asked: Sequence[Recipe],
        plan: Plan | None = None,
        shared: SharedPlan | None = None,
        engine: Engine | None = None,
        adapters: Sequence[object] | None = None,
    ) -> RenderRun:
        """Queue a run; RecipeError for what cannot be made, before any work. With `shared`, one plan for all its recipes;
        with `engine`, that one makes them all; with `adapters`, these are on while it works, and no others.
        """
        wanted = None if adapters is None else _opened(adapters)
        self.queue.must_be_open()
        if only_stitches(asked):
            return self._begin_stitches(asked)
        items = [self.resolve(recipe, plan, engine) for recipe in asked]
        for maker in {id(item.engine): item.engine for item in items if wanted is not None}.values():
            able(maker, Attaches, _NO_ADAPTERS)
        planned = [thinks(item.request.recipe, self.engines.has_planner(item.engine)) for item in items]
        run = RenderRun([item.request.recipe for item in items], self._work(items, planned))
        self._remark(run, items, plan)
        return self.queue.submit(run, partial(self.render, items=items, plan=plan, shared=shared, adapters=wanted))

    def _begin_stitches(self, asked: Sequence[Recipe]) -> RenderRun:
        """Queue stitched songs, which no engine is asked for."""
        found = [decided(recipe, self.sounds.find) for recipe in asked]
        run = RenderRun([one.recipe for one in found])
        for remark in dict.fromkeys(remark for one in found for remark in one.remarks):
            run.message(remark)
        return self.queue.submit(run, partial(self._stitch, found=found))

    def vary(self, source: Take | Recipe, seeds: Iterable[int], variance: float | None = None) -> RenderRun:
        """Queue a take for each seed: by the source's own plan, or near the source where there is a variance."""
        listed = varied_seeds(source, seeds, variance)
        if variance is None:
            recipe, plan = (source.recipe, source.plan) if isinstance(source, Take) else (source, None)
            engine = self.engines.maker_of(source) if isinstance(source, Take) else None
            recipes = recipes_of([recipe.replace(seed=seed) for seed in listed])
            return self.begin(recipes, shared=SharedPlan(plan), engine=engine)
        assert isinstance(source, Take)
        retakes = recipes_of([source.recipe.replace(task=Retake(source, variance, seed)) for seed in listed])
        return self.begin(retakes, engine=self.engines.maker_of(source))

    def again(self, take: Take) -> Take:
        """Make a take again, by the checkpoint that made it where that one is open; of one that was kept in the middle, as far
        as its step.
        """
        run = self.begin(recipes_of(take.recipe), take.plan, engine=self.engines.maker_of(take))
        step = take.made_with.get("step")
        return run.take() if step is None else run.until(step)

    def attach(self, adapters: Sequence[object]) -> tuple[str, ...]:
        """Put these adapters on the engine in use between two runs, and only these; their names."""
        wanted, engine = _opened(adapters), able(self.engines.current, Attaches, _NO_ADAPTERS)
        return self.queue.call(partial(engine.attach, wanted), between=True)

    def merge(self, folder: object, adapters: Sequence[object], link: bool, exact: bool) -> Merged:
        """Write the checkpoint in use with these adapters, or those that are on, in its weights."""
        engine = self.engines.current
        maker = able(engine, Merges, _NO_ADAPTERS)
        wanted = _opened(adapters) or tuple(able(engine, Attaches, _NO_ADAPTERS).attached)
        place = Path(checks.place("A merged checkpoint's folder", folder, CheckpointError)).expanduser().absolute()
        self.queue.must_be_open()
        self.queue.refuse_to_wait()
        return self.queue.call(
            partial(maker.merged, wanted, place, checks.truth("link", link), checks.truth("exact", exact))
        )

    @property
    def attached(self) -> tuple[tuple[str, str, float], ...]:
        """The adapters that are on the engine in use: name, file and strength of each."""
        engine = self.engines.current
        on = engine.attached if isinstance(engine, Attaches) else ()
        return tuple((adapter.name, str(adapter.file), strength) for adapter, strength in on)

    def profile(self, recipe: Recipe) -> Any:
        """Render a recipe, once to warm up with other words, and say where the seconds of the second time went."""
        self.queue.refuse_to_wait()
        checks.instance("What is profiled", recipe, Recipe)
        _refuse_stitch(recipe)
        engine = self.engines.of(recipe)
        if not isinstance(engine, Profiles):
            raise RecipeError(f"{engine.name} has no profile yet.")
        self.begin([recipe.replace(caption=f"{recipe.caption} (warming up)", steps=1)], engine=engine).take()
        with engine.watched() as watch:
            run = self.begin([recipe], engine=engine)
            take = run.take()
        return self.queue.call(partial(engine.profile, take, run.shown_at, watch))

    def resolve(self, recipe: Recipe, plan: Plan | None = None, engine: Engine | None = None) -> Item:
        """A recipe as its engine decides it: the one it names, or the one in use; or as `engine` does."""
        checks.instance("What is made", recipe, Recipe, " Write Recipe('…', seconds=30).")
        checks.instance("A plan", plan, (Plan, NoneType), " lab.plan(Recipe('…')) gives one.")
        engine = engine or self.engines.of(recipe)
        if isinstance(recipe.task, Retake) and isinstance(turned := self.sounds.find(recipe.task.source), Take):
            _refuse_stitch(turned.recipe)
        return Item(recipe, engine, engine.resolve(recipe, plan, self.sounds.find, self.engines.longest(engine)), plan)

    def recipe(self, recipe: Recipe, plan: Plan | None = None) -> Recipe:
        """A recipe with every "auto" decided, by the engine that makes it, or by its pieces where it is stitched."""
        return (
            decided(recipe, self.sounds.find).recipe if is_stitch(recipe) else self.resolve(recipe, plan).request.recipe
        )

    def _work(self, items: Sequence[Item], planned: Sequence[bool] = ()) -> Work:
        """What there is to do; `planned` says for which items the planner writes first, none once it has."""
        engine, planned = items[0].engine, planned or [False] * len(items)
        found = [
            item_work(item.engine, item.request, wanted and not (item.plan and item.plan.codes))
            for item, wanted in zip(items, planned, strict=True)
        ]
        key, batch = work_key(engine, self.engines.device(engine)), self.engines.batch(engine)
        cards = min(len(items), self.engines.cards(engine))
        return spread_work(key, found, cards) if cards > 1 else Work.of(key, found, batch)

    # -- on the worker thread ------------------------------------------------------------------------------------------

    def render(
        self, run: RenderRun, items: Sequence[Item], plan: Plan | None = None, shared: SharedPlan | None = None,
        adapters: Adapters | None = None,
    ) -> None:  # fmt: skip
        """Plan → words and sources → conditions → steps → sound → takes; what the machine does meanwhile is told."""
        run.may_load(self.engines.loading)
        with self.engines.notifying(partial(self._told, run)):
            items = self._planned(run, items, plan, shared)
            run.replan(self._work(items))
            prepared: dict[int, Prepared] = {}
            run.can_keep(partial(self._keep_step, run, items, prepared))
            run.can_hear(partial(self._hear_step, items))
            for engine, places in _by_engine(items):
                with _with_adapters(engine, adapters):
                    lanes = self.engines.lanes(engine) if len(places) > 1 else ()
                    if len(lanes) > 1:
                        self._render_over(lanes, run, items, places, prepared)
                    else:
                        self._render_with(engine, run, items, places, prepared)
        run.finish()

    def _told(self, run: RenderRun, sentence: str) -> None:
        """A change of the memory plan, said on the thread of the run, whichever card's thread it comes from."""
        if self._spread is not None and not self.queue.is_current:
            self._spread.tell(partial(run.message, sentence))
        else:
            run.message(sentence)

    def _render_over(
        self, lanes: Sequence[Lane], run: RenderRun, items: Sequence[Item], places: Sequence[int],
        prepared: dict[int, Prepared],
    ) -> None:  # fmt: skip
        """The items of one engine over several cards; each take is kept the moment it exists."""
        lanes = lanes[: len(places)]

        def keep(place: int, rendered: Rendered, engine: Engine) -> None:
            take = self._taken(run, replace(items[place], engine=engine), rendered)
            prepared[place] = prepared[place].after_sampling()
            for remark in prepared[place].remarks:
                run.message(remark)
            self._store(run, take, items[place])
            run.add(place, take)

        def aside() -> None:
            self.queue.run_small_jobs()
            run.check()

        def work(lane: Lane, place: int) -> None:
            make(spread, lane, place, items[place].request, told, run.stop_event)

        told = Told(run.show, prepared.__setitem__, keep)
        self._spread = spread = Spread(lanes, places, run.check)
        try:
            with run.stage(RENDER):
                spread.work_through(work, run.message, aside)
        finally:
            self._spread = None

    def _stitch(self, run: RenderRun, found: Sequence[Stitched]) -> None:
        """Put stitched songs together, one after another, each kept the moment it exists."""
        for place, one in enumerate(found):
            run.check()
            with run.stage(DECODE):
                take = one.take()
            self.sounds.store(take, one.recipe.task.sources().values(), run.message)
            run.add(place, take)
        run.finish()

    def _render_with(
        self,
        engine: Engine,
        run: RenderRun,
        items: Sequence[Item],
        places: Sequence[int],
        prepared: dict[int, Prepared],
    ) -> None:
        """The items of one engine, from words to kept takes; `prepared` is theirs by place, and stays while steps can be kept."""
        requests, batch = [items[place].request for place in places], self.engines.batch(engine)
        self.engines.fit_to(engine, max(request.seconds for request in requests), min(len(requests), batch))
        with run.stage(ENCODE):
            prepared |= zip(places, engine.prepare(requests, run.stop_event), strict=True)
        for remark in dict.fromkeys(remark for place in places for remark in prepared[place].remarks):
            run.message(remark)
        for group in groups([prepared[place] for place in places], batch):
            here = [places[index] for index in group]
            latents = self._sample(engine, run, prepared, here)
            for place in here:
                prepared[place] = prepared[place].after_sampling()
            for place in here:
                with run.stage(DECODE):
                    take = self._take(run, items[place], prepared[place], latents.pop(place), run.progress)
                self._store(run, take, items[place])
                run.add(place, take)

    def _sample(
        self, engine: Engine, run: RenderRun, prepared: Mapping[int, Prepared], places: Sequence[int]
    ) -> dict[int, Tensor]:
        """Run the loop of a group, show every step, and return each item's last latent."""
        latents: dict[int, Tensor] = {}
        with run.stage(RENDER):
            for step in engine.sample([prepared[place] for place in places], run.check):
                shown = [replace(one, items=(places[one.item],), checkpoint=engine.name) for one in step.each()]
                latents = {one.item: one.state for one in shown if one.state is not None}
                run.show(*shown)
                self.queue.run_small_jobs()
                run.check()
        return latents

    def _planned(
        self, run: RenderRun, items: Sequence[Item], plan: Plan | None, shared: SharedPlan | None
    ) -> list[Item]:
        """Let the planner decide for each recipe that wants it, and resolve those recipes anew."""
        common = None if shared is None else shared.plan
        found = [replace(item, plan=plan or common) for item in items]
        for place, item in enumerate(items):
            if not thinks(item.request.recipe, self.engines.has_planner(item.engine)):
                continue
            seeded = item.asked.replace(seed=item.request.seed)
            written = common or self._thought(run, item.engine, seeded, plan)
            common = None if shared is None else written
            found[place] = replace(self.resolve(seeded, written, item.engine), asked=item.asked)
        run.recipes, run.plans = tuple(item.request.recipe for item in found), tuple(item.plan for item in found)
        return found

    def _thought(self, run: RenderRun, engine: Engine, recipe: Recipe, plan: Plan | None) -> Plan:
        """A plan for a recipe; of a plan at hand everything stands, and only what it lacks is written."""
        assert isinstance(engine, Plans)
        assert recipe.seed is not None
        held = None if plan is None else plan.held(recipe)
        how = {"longest": self.engines.longest(engine), "on_token": run.token, "stop": lambda: run.stopping}
        with run.stage(PLAN):
            [written] = engine.plans(recipe, [recipe.seed], keep=held, **how)
        return replace(written, locked=frozenset() if plan is None else plan.locked)

    def _take(
        self,
        run: RenderRun,
        item: Item,
        prepared: Prepared,
        latent: Tensor,
        progress: Callable[[float], None] | None = None,
    ) -> Take:
        """Decode an item's latent and make its take."""
        stop = None if progress is None else run.stop_event
        return self._taken(run, item, item.engine.decode(prepared, latent, stop, progress))

    def _taken(self, run: RenderRun, item: Item, rendered: Rendered) -> Take:
        """The take of an item's sound."""
        task = item.request.task
        seconds = {name: round(seconds, 4) for name, seconds in run.timer.so_far().items()}
        return Take(
            recipe=item.request.recipe.replace(task=task.with_ids()),
            audio=rendered.audio,
            latent=rendered.latent.float().numpy(),
            plan=item.plan,
            parents=tuple(dict.fromkeys(source.id for source in task.sources().values())),  # type: ignore[union-attr]
            made_with={**self.engines.made_with(item.engine), "gain": rendered.gain, "seconds": seconds},
            asked=item.asked.replace(task=item.asked.task.with_ids()),
        )

    def _keep_step(
        self, run: RenderRun, items: Sequence[Item], prepared: Mapping[int, Prepared], step: Step, place: int
    ) -> Take:
        """The take of a step's estimate, kept."""

        def keep() -> Take:
            if step.estimate is None:
                raise RecipeError(f"{items[place].engine.name} {NO_PREVIEW}.")
            take = self._take(run, items[place], prepared[place], step.estimate)
            take = take.replace(made_with={**take.made_with, "step": step.index})
            self._store(run, take, items[place])
            return take

        return self.queue.call(keep)

    def _hear_step(self, items: Sequence[Item], step: Step, place: int, start: float, end: float) -> Audio:
        """A window of a step's estimate."""
        estimate: Any = step.estimate
        engine = able(items[place].engine, Previews, NO_PREVIEW, estimate is not None)
        return self.queue.call(partial(engine.preview, estimate, (start + end) / 2, max(0.2, end - start)))

    def _store(self, run: RenderRun, take: Take, item: Item) -> None:
        self.sounds.store(take, item.request.task.sources().values(), run.message)

    # -- what is said beforehand ---------------------------------------------------------------------------------------

    def _remark(self, run: RenderRun, items: Sequence[Item], plan: Plan | None) -> None:
        """Say once what usually comes of an odd choice, what of a plan is not followed, and what is done only in part."""
        for sentence in dict.fromkeys(line for item in items for line in item.engine.lint(item.asked, plan)):
            run.message(sentence)
            if (
                sentence not in self._warned and usual_priority() >= 0
            ):  # a sweep's cell has no caller's line: its run says it
                self._warned.add(sentence)
                warn_caller(sentence, LintWarning)
        for remark in (remark for item in items for remark in item.request.remarks):
            run.message(remark)
        for item in items:
            missing = item.engine.capabilities.plans and not self.engines.has_planner(item.engine)
            if missing and thinks(item.request.recipe, True):
                run.message(
                    "The planner has no room here, and the music is made straight from the words. "
                    f"{self.engines.explain(item.engine)}."
                )
                break


@contextmanager
def _with_adapters(engine: Engine, adapters: Adapters | None) -> Iterator[None]:
    """For a time, let these adapters be on and no others; None: those that are on anyway."""
    if adapters is None or not isinstance(engine, Attaches):
        yield
        return
    usual = engine.attached
    engine.attach(adapters)
    try:
        yield
    finally:
        engine.attach(usual)


def _refuse_stitch(recipe: Recipe) -> None:
    """Refuse what needs noise for a song that is stitched and has none."""
    if is_stitch(recipe):
        raise RecipeError("A stitched song has no noise of its own to vary; vary or repaint the takes it is made of.")


def _by_engine(items: Iterable[Item]) -> Iterator[tuple[Engine, list[int]]]:
    """Each engine with the places of its items, in order of their first."""
    found: dict[int, tuple[Engine, list[int]]] = {}
    for place, item in enumerate(items):
        found.setdefault(id(item.engine), (item.engine, []))[1].append(place)
    yield from found.values()


def varied_seeds(source: Take | Recipe, seeds: Iterable[int], variance: float | None) -> list[int]:
    """The seeds that something is varied by; RecipeError for what is none, and for what cannot be varied."""
    if not checks.is_a(seeds, Iterable) or checks.is_a(seeds, str):
        raise RecipeError(f"vary makes a take for each of several seeds, such as seeds=range(4), not {shown(seeds)}.")
    what = "A seed" if variance is None else "A retake's second seed"
    listed = [checks.whole(what, seed, 0, MAX_SEED) for seed in checks.sequence("seeds", seeds, MOST_RECIPES)]
    checks.instance("What is varied", source, (Take, Recipe))
    _refuse_stitch(source.recipe if isinstance(source, Take) else source)
    if variance is not None and not isinstance(source, Take):
        raise RecipeError("A variance is the distance from a take; make one first, then vary it.")
    return listed


def recipes_of(asked: Any) -> tuple[Recipe, ...]:
    """What is to be made as a tuple; RecipeError where there is none, or something else."""
    if checks.is_a(asked, str):
        raise RecipeError(f"Words become a recipe first: Recipe({asked[:40]!r}, seconds=30).")
    if not checks.is_a(asked, Recipe, Iterable) or checks.is_a(asked, bytes):
        raise RecipeError(f"A session makes recipes, not {checks.kind_of(asked)}; write Recipe('…', seconds=30).")
    found = (asked,) if checks.is_a(asked, Recipe) else checks.sequence("Recipes", asked, MOST_RECIPES)
    for one in found:
        if not checks.is_a(one, Recipe):
            raise RecipeError(f"A session makes recipes, not {checks.kind_of(one)}; write Recipe('…', seconds=30).")
    if not found:
        raise RecipeError("There is no recipe to make; hand over at least one.")
    return found


def one_recipe(asked: Any) -> Recipe:
    """The one recipe to be made; RecipeError where there are several."""
    found = recipes_of(asked)
    if len(found) != 1:
        raise RecipeError("make renders one recipe; for several write lab.start(recipes).takes().")
    return found[0]


def _opened(adapters: Sequence[object]) -> tuple[tuple[Adapter, float], ...]:
    """Adapters, read; a session elsewhere, which needs only the words of this module, reads none."""
    from acestep_lab.models.adapters import opened

    return opened(adapters)


def recipe_from(
    sound: Take | Audio, task: Task, changes: Mapping[str, Any], caption: object = None, lyrics: object = None
) -> Recipe:
    """A recipe for a task on a sound: a take's words and choices come along, its seed and length do not.

    `caption` and `lyrics` None: the take's own stand.
    """
    words_given = {name: text for name, text in (("caption", caption), ("lyrics", lyrics)) if text is not None}
    checks.instance("What is to be done", task, tuple(TASKS.values()), " Such as Cover(take).")
    asked = (sound.asked or sound.recipe) if isinstance(sound, Take) else Recipe("", task=task)
    asked = asked if task.plans else asked.replace(task=task, thinking=None)
    words = sound.recipe if isinstance(sound, Take) else asked
    kept = {name: getattr(words, name) for name in ("bpm", "keyscale", "timesignature", "language")}
    return asked.replace(**({**kept, "task": task, "seed": None, "seconds": None} | dict(changes) | words_given))
