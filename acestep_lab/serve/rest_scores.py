"""Scores of what the REST door made, and its words in time, when somebody asks: how well a take agrees with its plan, in the
planner's judgement, and how well its words are sung, by the heads that listen to them.

Knows a session's `plan_score` and `align`; no server. The names are upstream's: `lm_score` is the plan score, `dit_score` the
reference's own score of its lyrics; `sung` are ours, beside what shuffled lyrics get. What there is not is null, and why.
"""

from __future__ import annotations

from typing import Any

from acestep_lab.errors import LabError, Stopped
from acestep_lab.features import Feature, is_feature_enabled
from acestep_lab.serve.rest_fields import SCORE_SCALE
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take

NOT_ASKED = "Timed lyrics are found when they are asked for, by get_lrc=true, or later by /v1/scores."
NO_ALIGNMENT = "This checkpoint aligns no lyrics: which of its heads listen to them is not known."
NO_WORDS = "The song has no words to time."
_INSTRUMENTAL = ("", "[instrumental]", "[inst]")


def scores_of(session: SessionLike, take: Take, scale: float = SCORE_SCALE) -> dict[str, Any]:
    """A take's scores under upstream's names, 0 to 1; null with a reason where there is none. Waits for planner and engine."""
    found: dict[str, Any] = {"lm_score": None}
    if not is_feature_enabled(Feature.EXPERIMENTAL_SCORING):
        off = f"Scoring is switched off here; {Feature.EXPERIMENTAL_SCORING.variable}=true switches it on."
        return found | {"lm_score_reason": off, "dit_score": None, "dit_score_reason": off}
    return _plan_score(session, take, scale) | _sung(session, take)


def _plan_score(session: SessionLike, take: Take, scale: float) -> dict[str, Any]:
    try:
        score = session.plan_score(take, scale=scale)
    except Stopped:
        raise
    except LabError as problem:  # no planner, no codes, nothing to compare with: it says so
        return {"lm_score": None, "lm_score_reason": str(problem)}
    return {"lm_score": round(float(score.total), 6), "fields": dict(getattr(score, "scores", {}))}


def _sung(session: SessionLike, take: Take) -> dict[str, Any]:
    """How well the words are sung."""
    if not sings(take.recipe.lyrics):
        return {"dit_score": None, "dit_score_reason": NO_WORDS}
    try:
        scores = dict(session.align(take, reference=True).scores or {})
    except Stopped:
        raise
    except LabError as problem:  # no known heads, no words, a silent sound: it says so
        return {"dit_score": None, "dit_score_reason": str(problem)}
    return {"dit_score": dict(scores.pop("reference", {})).get("dit_score"), "sung": scores}


def sings(lyrics: str) -> bool:
    """Whether there are words."""
    return lyrics.strip().lower() not in _INSTRUMENTAL


def untimed(lyrics: str, aligns: bool) -> dict[str, Any]:
    """The timed lyrics of a song nobody has asked for yet: null, and why.

    Sections of lyrics have no times either: a plan does not say them, and a guess would look like a measurement.
    """
    if not sings(lyrics):
        return {"lrc": None, "lrc_reason": NO_WORDS}
    return {"lrc": None, "lrc_reason": NOT_ASKED if aligns else NO_ALIGNMENT}


def timed(session: SessionLike, take: Take) -> dict[str, Any]:
    """The timed lyrics of a song as an LRC file; null, and why, where there are none. Waits for the engine."""
    if not sings(take.recipe.lyrics):
        return {"lrc": None, "lrc_reason": NO_WORDS}
    try:
        found = session.align(take)
    except Stopped:
        raise
    except LabError as problem:
        return {"lrc": None, "lrc_reason": str(problem)}
    return {"lrc": found.lrc(), "lrc_reason": " ".join(found.remarks)}
