"""Scores of what the REST door made, when somebody asks: how well a take agrees with its plan, in the planner's judgement.

Knows a session's `plan_score`; no server. The names are upstream's: `lm_score` is the plan score; `dit_score` would say how well
the words are sung, for which they would have to be aligned with the sound, and is null with the reason.
"""

from __future__ import annotations

from typing import Any

from acestep_lab.errors import LabError, Stopped
from acestep_lab.features import Feature, is_feature_enabled
from acestep_lab.serve.rest_fields import SCORE_SCALE
from acestep_lab.session_like import SessionLike
from acestep_lab.takes.take import Take

NO_ALIGNMENT = "Timed lyrics need the words aligned with the sound, which this version does not do yet."
NOT_SUNG = (
    "How well the words are sung is heard once they are aligned with the sound, which this version does not do yet."
)
NO_WORDS = "The song has no words to time."
_INSTRUMENTAL = ("", "[instrumental]", "[inst]")


def scores_of(session: SessionLike, take: Take, scale: float = SCORE_SCALE) -> dict[str, Any]:
    """A take's scores under upstream's names, 0 to 1; null with a reason where there is none. Waits for the planner."""
    found: dict[str, Any] = {"lm_score": None, "dit_score": None, "dit_score_reason": NOT_SUNG}
    if not is_feature_enabled(Feature.EXPERIMENTAL_SCORING):
        off = f"Scoring is switched off here; {Feature.EXPERIMENTAL_SCORING.variable}=true switches it on."
        return found | {"lm_score_reason": off}
    try:
        score = session.plan_score(take, scale=scale)
    except Stopped:
        raise
    except LabError as problem:  # no planner, no codes, nothing to compare with: it says so
        return found | {"lm_score_reason": str(problem)}
    return found | {"lm_score": round(float(score.total), 6), "fields": dict(getattr(score, "scores", {}))}


def untimed(lyrics: str) -> dict[str, Any]:
    """The timed lyrics of a song, of which there are none yet: null, and why.

    Sections of lyrics have no times either: a plan does not say them, and a guess would look like a measurement.
    """
    sings = lyrics.strip().lower() not in _INSTRUMENTAL
    return {"lrc": None, "lrc_reason": NO_ALIGNMENT if sings else NO_WORDS}
