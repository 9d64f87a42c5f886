"""A take scored: what was asked for against what is heard, part by part, behind everybody's renders, and kept beside the take.

Knows the verbs of a session, and no model. One take is scored at a time; each part, and each small job of one, waits until no
render is under way or about to begin, so that one that comes meanwhile waits for one such job at most, which is no longer than a
step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from acestep_lab.errors import LabError, Stopped, sentence
from acestep_lab.jobs import annotating
from acestep_lab.jobs.planning import plan_asked_by
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.listen import alignment, scores
from acestep_lab.listen.analysis import analyze
from acestep_lab.listen.lyric_text import LyricText
from acestep_lab.listen.plan_score import PlanScore
from acestep_lab.listen.scores import Score, Scores
from acestep_lab.listen.segmentation import heard_sections
from acestep_lab.listen.timed_lyrics import Alignment, Timed
from acestep_lab.prompt import checks
from acestep_lab.prompt.tasks import Source
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take

KIND = "scores"
METHOD = 2
"""Which version of the scores is kept; another one scores anew."""
T = TypeVar("T")


class Judge(Protocol):
    """The verbs that scores are made of."""

    jobs: JobQueue
    library: Library

    @property
    def name(self) -> str: ...
    @property
    def has_planner(self) -> bool: ...
    def sound(self, source: Source) -> Any: ...
    def align(
        self, source: Source, lyrics: None = None, *, reference: bool = False, anew: bool = False
    ) -> Alignment: ...
    def plan_score(self, source: Source) -> PlanScore: ...


def scores_of(session: Judge, source: Source, reference: bool = False, anew: bool = False) -> Scores:
    """The scores of a take, out of what is kept beside it, else found now. RecipeError for a sound that is no take."""
    reference, anew = checks.truth("reference", reference), checks.truth("anew", anew)
    take = checks.instance("What is scored", session.sound(source), Take)
    known = None if anew else _known(session, take, reference)
    if known is not None:
        return known
    session.jobs.refuse_to_wait()
    with annotating.alone(session.jobs, KIND):  # one take of a session at a time
        known = None if anew else _known(session, take, reference)  # somebody else may have asked for the same
        return known or _kept(session, take, reference, Scoring(session, take, reference, anew).found())


def kept_scores(library: Library, id: str) -> Scores | None:
    """What was found for a take and lies beside it; None where nothing does, or its file is damaged."""
    return annotating.read(Scores.from_json, annotating.kept(library, id, KIND), KIND)


class Scoring:
    """One take being scored."""

    def __init__(self, session: Judge, take: Take, reference: bool, anew: bool) -> None:
        self.session, self.take, self.reference, self.anew = session, take, reference, anew
        self.sings = bool(LyricText.of(take.recipe.lyrics).lines)
        self.measures: dict[str, float] = {}
        self.plan = plan_asked_by(take)
        """What was asked for, and what the planner made of what was not."""

    def found(self) -> Scores:
        """All rows, each with its value or why it has none."""
        aligned, why = self._aligned()
        lyric_rows = scores.lyric_rows(aligned) if aligned else scores.no_lyric_rows(why)
        rows = [*self._measured(), self._sections(aligned), *self._judged(), *lyric_rows]
        said = aligned.remarks if aligned else ()
        return Scores(tuple(_within(row) for row in rows), tuple(said), self.measures)

    def _part(self, work: Callable[[], T]) -> T:
        """One part, once nobody renders."""
        jobs = self.session.jobs
        jobs.wait_for_renders()
        with jobs.behind_renders():
            return work()

    def _try(self, work: Callable[[], T]) -> tuple[T | None, str]:
        """What a part gives, or the sentence by which it is refused."""
        try:
            return self._part(work), ""
        except Stopped:
            raise
        except LabError as problem:
            return None, sentence(problem)

    def _measured(self) -> list[Score]:
        """Tempo, key, meter and instruments."""
        recipe, plan = self.take.recipe, self.plan
        found, why = self._try(lambda: analyze(self.take, recipe.bpm or plan.bpm))
        if found is None:
            return [scores.nothing(name, why) for name in ("tempo", "key", "meter", "instruments")]
        self.measures = scores.measures_of(found)
        return [
            scores.tempo_row(recipe.bpm or plan.bpm, found),
            scores.key_row(recipe.keyscale or plan.keyscale, found),
            scores.meter_row(recipe.timesignature or plan.timesignature, found),
            scores.instruments_row(recipe.caption, found),
        ]

    def _aligned(self) -> tuple[Alignment | None, str]:
        if not self.sings:
            return None, scores.INSTRUMENTAL
        return self._try(lambda: self.session.align(self.take, reference=self.reference, anew=self.anew))

    def _sections(self, aligned: Alignment | None) -> Score:
        """Where an alignment has none, sections lie as the words' lengths say."""
        asked: tuple[Timed, ...] = aligned.sections if aligned and aligned.sections else ()
        if not asked:
            planned, why = self._try(
                lambda: alignment.planned(self.take.recipe.lyrics, self.take.seconds, self.plan.bpm)
            )
            if planned is None:
                return scores.nothing("sections", why)
            asked = planned.sections
        heard, why = self._try(lambda: heard_sections(self.take.audio))
        return (
            scores.nothing("sections", why) if heard is None else scores.sections_row(asked, heard, self.take.seconds)
        )

    def _judged(self) -> list[Score]:
        """Language and agreement, in the planner's judgement."""
        asked = self.take.recipe.language or self.plan.language
        if not self.session.has_planner:
            return [scores.language_row(asked, self.sings, {}), scores.nothing("agreement", scores.NO_READER)]
        judged, why = self._try(lambda: self.session.plan_score(self.take))
        if judged is None:
            return [scores.language_row(asked, self.sings, {}), scores.nothing("agreement", why)]
        fields_of_plan = getattr(judged, "scores", {})
        return [scores.language_row(asked, self.sings, fields_of_plan), scores.agreement_row(judged.total)]


def _within(row: Score) -> Score:
    """A row with its numbers as they are kept."""
    value, chance = (None if number is None else round(number, 4) for number in (row.value, row.chance))
    return replace(row, value=value, chance=chance)


# -- what is kept beside a take


def _key(session: Judge) -> dict[str, Any]:
    return {"method": METHOD, "planner": session.has_planner}


def _known(session: Judge, take: Take, reference: bool) -> Scores | None:
    kept = annotating.kept(session.library, take.id, KIND)
    if kept.get("key") != _key(session) or (reference and not kept.get("reference")):
        return None
    return annotating.read(Scores.from_json, kept, KIND)


def _kept(session: Judge, take: Take, reference: bool, found: Scores) -> Scores:
    """The scores, once they are beside the take."""
    data = {"key": _key(session), "reference": reference, KIND: found.to_json()}
    return replace(found, remarks=(*found.remarks, *annotating.keep(session.library, take.id, KIND, data)))
