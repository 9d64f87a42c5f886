"""The plan score: how well codes fit a plan, as the language model that describes codes finds that description likely.

Knows no audio and no Session: a Qwen3 module, its tokenizer, codes and fields in, one number a field out. The measures are
those of ACE-Step 1.5's test-time scaling. Words (caption, lyrics): pointwise mutual information, the mean log probability of
a token of the text after the codes less the same after `NO USER INPUT`, through a sigmoid of width `scale`; one half means
that the codes did not help. Metadata: the rank of each token of `field: value` among the ten likeliest, 1 for the first, 0.1
for the tenth, 0 beyond, averaged. The total weighs caption 0.5, lyrics 0.3 and the mean of the metadata 0.2, over what there
is. A random model scores near one half on words: the scores compare takes of one model, they are no grades.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acestep_lab.errors import RecipeError
from acestep_lab.plan import prompt_template
from acestep_lab.plan.prompt_template import PromptTemplate, Tokenizer

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = {"caption": 0.5, "lyrics": 0.3, "metadata": 0.2}
METADATA = ("bpm", "duration", "genres", "keyscale", "language", "timesignature")


@dataclass(frozen=True)
class PlanScore:
    """A score from 0 to 1 for each field that had a value, and their weighted total."""

    scores: dict[str, float]
    total: float


def plan_score(
    lm: nn.Module,
    tokenizer: Tokenizer,
    codes: Sequence[int],
    plan: Mapping[str, object] | object,
    *,
    scale: float = 0.1,
) -> PlanScore:
    """Score a plan (or a mapping with its fields) against the codes of a take; RecipeError where there is nothing to score.

    A larger `scale` makes the words' scores less sensitive: 0.1 is the reference's default, its page offers 0.01 to 1.
    """
    targets = _targets(plan)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise RecipeError(f"The scale of a plan score is a number above 0, such as 0.1, not {scale!r}.")
    if not codes or not targets:
        raise RecipeError("A plan score needs codes and at least one field, such as a caption, to compare them with.")
    from acestep_lab.listen.answer_scorer import AnswerScorer  # and with it torch, which a page elsewhere lacks

    conditional = AnswerScorer(lm, tokenizer, prompt_template.understand_prompt(codes))
    unconditional = AnswerScorer(lm, tokenizer, prompt_template.null_prompt())
    scores: dict[str, float] = {}
    for name, answer in targets.items():
        if name in METADATA:
            scores[name] = conditional.recall(answer)
        else:
            scores[name] = _sigmoid((conditional.likelihood(answer) - unconditional.likelihood(answer)) / scale)
    return PlanScore(scores, total(scores))


def total(scores: Mapping[str, float]) -> float:
    """The weighted mean of caption, lyrics and metadata, over those that are there."""
    metadata = [score for name, score in scores.items() if name in METADATA]
    weighed = {name: score for name, score in scores.items() if name in WEIGHTS}
    if metadata:
        weighed["metadata"] = sum(metadata) / len(metadata)
    return sum(WEIGHTS[name] * score for name, score in weighed.items()) / sum(WEIGHTS[name] for name in weighed)


def _targets(plan: Mapping[str, Any] | object) -> dict[str, PromptTemplate]:
    """Field → the answer whose likelihood is asked for, in the reference's shapes (one line break after the tag)."""
    think, thought = prompt_template.control(prompt_template.THINK), prompt_template.control(prompt_template.THOUGHT)
    targets = {}
    for name in ("caption", *METADATA):
        if line := prompt_template.thought(plan, [name]):
            targets[name] = think + prompt_template.plain(f"\n{line}\n") + thought + prompt_template.plain("\n")
    lyrics = plan.get("lyrics") if isinstance(plan, Mapping) else getattr(plan, "lyrics", "")
    if lyrics and lyrics.strip():
        targets["lyrics"] = (
            think + prompt_template.plain("\n") + thought + prompt_template.plain(f"\n# Lyric\n{lyrics}\n")
        )
    return targets


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else math.exp(value) / (1.0 + math.exp(value))
