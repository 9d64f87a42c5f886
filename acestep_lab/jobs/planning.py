"""Asking the planner: each question is a run of its own kind, which waits its turn and can be interrupted.

Knows engines by their contract; no page, no files.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from types import NoneType
from typing import Any, cast

from acestep_lab.engines.base import Engine, Plans, Sound
from acestep_lab.errors import MachineError, RecipeError, shown
from acestep_lab.jobs.eta import PLAN, Work
from acestep_lab.jobs.kinds import PlanRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.jobs.rendering import Engines
from acestep_lab.jobs.work import WORDS, plan_size, work_key
from acestep_lab.listen.plan_score import PlanScore
from acestep_lab.plan.fields import ATTRIBUTES
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.token import Token
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import MOST_CAPTION
from acestep_lab.prompt.tasks import MAX_SEED, MOST_LYRICS
from acestep_lab.takes.take import Take

MOST_PLANS = 16
"""Plans written from one reading."""

NO_ROOM = "This machine has no room for the planner of this checkpoint."

OnToken = Callable[[Token], None] | None
Fields = dict[str, Any]
"""Options of a planner, and fields of a plan, by name; what each is says `Planner.plan`."""
Ask = Callable[[Plans, Fields], list[Plan]]
"""Hears every token as it is written."""


class Planning:
    """What the planner is asked; all arguments are checked before anything waits."""

    def __init__(self, engines: Engines, queue: JobQueue) -> None:
        self.engines, self.queue = engines, queue

    def plan(
        self, recipe: Recipe, n: int | None, keep: Plan | None, codes: bool | None, on_token: OnToken
    ) -> list[Plan]:
        """So many plans, by the recipe's seed and those after it; None: one."""
        if n is not None and not (checks.is_whole(n) and 1 <= (checks.plain_number(n) or 0) <= MOST_PLANS):
            raise RecipeError(f"The planner writes 1 to {MOST_PLANS} plans at once, not {shown(n)}.")
        count = 1 if n is None else checks.whole("n", n, 1, MOST_PLANS)
        codes = None if codes is None else checks.truth("codes", codes)
        if not checks.is_a(recipe, Recipe) or not checks.is_a(keep, Plan, NoneType):
            raise RecipeError(
                "The planner is asked with a recipe, and keeps a plan: lab.plan(Recipe('dub'), keep=plan)."
            )
        first = secrets.randbelow(2**32) if recipe.seed is None else recipe.seed
        seeded, engine = recipe.replace(seed=first), self.engines.of(recipe)
        title = recipe.caption or recipe.lyrics

        def ask(planner: Plans, how: Fields) -> list[Plan]:
            return planner.plans(seeded, range(first, first + count), keep=keep, codes=codes, **how)

        return self._ask(engine, title, ask, on_token, plan_size(engine, recipe, codes))

    def sketch(
        self, sentence: str, instrumental: bool, seed: int, language: str | None, on_token: OnToken,
        engine: Engine,
    ) -> Plan:  # fmt: skip
        sentence = checks.text("The sentence a sketch starts from", sentence, MOST_CAPTION)
        instrumental, seed = checks.truth("instrumental", instrumental), checks.whole("A seed", seed, 0, MAX_SEED)
        language = None if language is None else vocabulary.language(language)

        def ask(planner: Plans, how: Fields) -> list[Plan]:
            return [planner.sketch(sentence, instrumental, seed, language=language, **how)]

        return self._ask(engine, sentence, ask, on_token)[0]

    def polish(self, caption: str, lyrics: str, seed: int, on_token: OnToken, fixed: Fields, engine: Engine) -> Plan:
        caption = checks.text("The caption to be polished", caption, MOST_CAPTION)
        lyrics = checks.text("The text of the lyrics to be polished", lyrics, MOST_LYRICS)
        seed, fixed = checks.whole("A seed", seed, 0, MAX_SEED), _fixed(fixed)

        def ask(planner: Plans, how: Fields) -> list[Plan]:
            return [planner.polish(caption, lyrics, seed, fixed=fixed, **how)]

        return self._ask(engine, caption or lyrics, ask, on_token)[0]

    def understand(self, sound: Sound, seed: int, on_token: OnToken, engine: Engine) -> Plan:
        seed = checks.whole("A seed", seed, 0, MAX_SEED)

        def ask(planner: Plans, how: Fields) -> list[Plan]:
            how.pop("longest")
            return [planner.understand(sound, seed, **how)]

        return self._ask(engine, f"what the planner hears in {sound.id}", ask, on_token)[0]

    def score(self, sound: Sound, plan: Plan | None, scale: float) -> PlanScore:
        """How well a sound agrees with a plan; without one, a take's own, or its recipe."""
        checks.instance("A plan", plan, (Plan, NoneType))
        scale = checks.real("The scale of a plan score", scale, -1e6, 1e6)
        judged = plan or (plan_asked_by(sound) if isinstance(sound, Take) else None)
        if judged is None:
            raise RecipeError(
                "A sound that is no take has no plan of its own; say what to hold it against: plan=Plan(…)."
            )
        engine = self._with_planner(self.engines.current)
        found: PlanScore = self.queue.call(lambda: engine.plan_score(sound, judged, scale))
        return found

    def _with_planner(self, engine: Engine) -> Plans:
        """The engine, where it has a planner that can be asked."""
        if engine.capabilities.plans and not self.engines.has_planner(engine):
            raise MachineError(f"{NO_ROOM} Open a smaller one, or write the plan by hand: Plan(bpm=118, …).")
        if not engine.capabilities.plans:
            hand = "Hand it one with Session.open(…, lm='0.6B'), or write the plan by hand: Plan(bpm=118, …)."
            raise RecipeError(f"{engine.name} has no planner.{' ' + hand if engine.capabilities.takes_lm else ''}")
        return cast("Plans", engine)

    def _ask(
        self,
        engine: Engine,
        title: str,
        ask: Ask,
        on_token: OnToken = None,
        written: tuple[int, int] = WORDS,
    ) -> list[Plan]:
        """Ask in a run of its own, and wait for what is written."""
        if on_token is not None and not callable(on_token):
            raise RecipeError(f"on_token is a function that hears each token, not {shown(on_token)}.")
        self._with_planner(engine)
        self.queue.refuse_to_wait()
        run = PlanRun(title, work=Work.of_plan(work_key(engine, self.engines.device(engine)), *written))
        if on_token is not None:
            run.subscribe(lambda event: on_token(event.value) if event.kind == "token" else None)
        return self.queue.submit(run, partial(self._work, engine=engine, ask=ask)).result()

    def _work(self, run: PlanRun, engine: Engine, ask: Ask) -> None:
        how = {"longest": self.engines.longest(engine), "on_token": run.token, "stop": lambda: run.stopping}
        with self.engines.notifying(run.message), run.stage(PLAN):
            plans = ask(cast("Plans", engine), how)
        run.written(plans)
        run.finish()


def plan_asked_by(take: Take) -> Plan:
    """What a take was made from, as a plan."""
    recipe = take.recipe
    return take.plan or Plan(
        caption=recipe.caption, lyrics=recipe.lyrics, bpm=recipe.bpm, keyscale=recipe.keyscale,
        timesignature=recipe.timesignature, language=recipe.language,
    )  # fmt: skip


def _fixed(fields: Fields) -> Fields:
    """Fields that are to stand, each as a plan reads it; what is None is open."""
    given = {name: value for name, value in fields.items() if value is not None}
    checks.known_fields("A plan", given, ATTRIBUTES)
    plan = Plan(**given)
    return {name: getattr(plan, name) for name in given}
