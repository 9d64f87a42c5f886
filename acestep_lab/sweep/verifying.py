"""Takes made once more, here or on another machine, and held against what was kept: same, same to the ear, different.

Knows sessions by their verbs. The other machine makes the sound from the resolved recipe and the plan; the comparing is done here, on
samples, by `takes.verdict`. A sweep's verdicts are kept beside its record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.sweep.axes import Worn
from acestep_lab.sweep.begin import seen, with_sounds, worn_by
from acestep_lab.sweep.mapping import Mapped, MapRun, Songs, submitted
from acestep_lab.sweep.pools import pool_for
from acestep_lab.sweep.run import SweepRun
from acestep_lab.sweep.work import Job, News, Pool, make
from acestep_lab.takes.take import Take
from acestep_lab.takes.verdict import WORDS, Verdict


class VerifyRun(MapRun):
    """The takes of a sweep made again: iterate it for each verdict as it comes; `verdicts` has them by cell."""

    kind = "verify"

    def __init__(self, what: str, songs: list[Mapped], places: tuple[int, ...], where: str) -> None:
        super().__init__(what, songs)
        self.places, self.where = places, where

    @property
    def verdicts(self) -> dict[int, Verdict]:
        """What each cell's take is to the one that was made again, as far as that is known."""
        return {place: one.value for place, one in zip(self.places, self.songs, strict=True) if one.value is not None}

    @property
    def counts(self) -> dict[str, int]:
        """How many are the same, the same to the ear, and different."""
        found = Counter(verdict.word for verdict in self.verdicts.values())
        return {word: found[word] for word in WORDS}

    def what_is_kept(self) -> str:
        """How many verdicts there are."""
        return f"{len(self.verdicts)} of {len(self.songs)} takes are compared, in run.verdicts."

    def __str__(self) -> str:
        """The counts in a line."""
        counts = ", ".join(f"{count} {word}" for word, count in self.counts.items())
        failed = f", {len(self.failed)} could not be made again" if self.failed else ""
        return f"{len(self.songs)} takes made again on {self.where}: {counts}{failed}"


def verify(session: Any, what: Any, *, on: Any = None, resource: str | None = None) -> Verdict | VerifyRun:
    """Hold a take, or every take of a sweep, against what `on` makes of the same recipe.

    Of a take, wait and give the verdict; of a sweep, a run. RecipeError for anything else.
    """
    session.jobs.must_be_open()
    if not checks.is_a(what, Take):
        return _sweep(session, seen(session, what), pool_for(session, on, resource))
    if "step" in what.made_with:
        raise RecipeError("This take was kept in the middle of its render, which only lab.verify(take) goes to again.")
    session.jobs.refuse_to_wait()
    run = _begun(session, [(0, what, None)], pool_for(session, on, resource), None)
    run.result()
    if run.failed:
        raise LabError(f"The take could not be made again: {run.failed[0].problem}")
    return run.verdicts[0]


def _sweep(session: Any, run: SweepRun, pool: Pool) -> VerifyRun:
    made = [(place, id, worn_by(pool, run.sweep.cells[place])) for place, id in run.made.items()]
    if not made:
        raise RecipeError(
            f"No take of the sweep {shown(run.sweep.full_name)} is made yet, so there is none to make again."
        )
    return _begun(session, made, pool, run)


def _begun(session: Any, made: list[tuple[int, Any, Worn | None]], pool: Pool, of: SweepRun | None) -> VerifyRun:
    songs = [Mapped(at, str(getattr(take, "id", take))) for at, (_, take, _) in enumerate(made)]
    run = VerifyRun("verifying", songs, tuple(place for place, _, _ in made), pool.where)
    return submitted(session, run, pool, Again(session, run, pool, made, of))


@dataclass
class Again(Songs):
    """Has the takes made again, and compares."""

    of: SweepRun | None = None

    def _jobs(self) -> Iterator[Job]:
        for at, (_, take, worn) in enumerate(self.songs):
            yield Job(at, make, partial(self._recipe_of, take, worn))

    def _recipe_of(self, asked: Any, worn: Worn | None) -> Mapping[str, Any]:
        take = self._take(asked)
        recipe = with_sounds(self.session, take.recipe)
        if recipe.checkpoint is None and (name := take.made_with.get("checkpoint")):
            recipe = recipe.replace(checkpoint=name)
        return {"recipe": recipe, "adapters": worn, "plan": take.plan}

    def _take(self, asked: Any) -> Take:
        return asked if isinstance(asked, Take) else self.session.load(asked)

    def _hear(self, news: News) -> None:
        if news.kind == "done":
            place, asked, _ = self.songs[news.place]
            try:
                verdict = self._take(asked).verify(news.value)
                if self.of is not None:
                    self.of.remark(place, news.by or self.run.songs[news.place].by or self.pool.where, verdict)
                news = replace(news, value=verdict)
            except (LabError, OSError) as problem:
                news = replace(news, kind="failed", value=problem)
        self.run.hear(news)
