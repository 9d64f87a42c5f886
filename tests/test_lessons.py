"""The exercises of the lessons: every right answer is told from wrong ones, and nothing that is handed in raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.diffusion.schedule import times
from acestep_lab.engines.step import Step
from acestep_lab.errors import RecipeError
from acestep_lab.lessons import check, questions
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover, Extend, FlowEdit, Region, Repaint, Retake
from acestep_lab.takes.take import Take
from tests import lesson_answers
from tests.pretend import tone


def take(**changed: Any) -> Take:
    recipe = Recipe("soft keys", "la", seconds=1.0, seed=1).replace(**changed)
    return Take(recipe, tone(1.0), np.zeros((5, 8), np.float32))


def made_from(parent: Take, task: Any, samples: np.ndarray) -> Take:
    """A take out of another one, with these samples."""
    audio = Audio(samples.astype(np.float32), parent.audio.rate)
    return Take(parent.recipe.replace(task=task), audio, parent.latent, parents=(parent.id,))


def repainted(source: Take, *spans: tuple[float, float], early: float = 0.0) -> Take:
    """A repaint of these spans, and of a crossfade before each."""
    samples = source.audio.samples.copy()
    for start, end in spans:
        samples[:, round((start - early) * source.audio.rate) : round(end * source.audio.rate)] += 0.25
    return made_from(source, Repaint(source, tuple(Region(*span) for span in spans)), samples)


def changed_share(one: Take, other: Take) -> float:
    return float((one.audio.samples != other.audio.samples).any(axis=0).mean())


RESOLVED = Take(take().recipe.replace(steps=8, shift=3.0), tone(1.0), np.zeros((5, 8), np.float32), asked=take().recipe)
SONG = Take(take(seconds=4.0).recipe, tone(4.0), np.zeros((5, 8), np.float32))
SILENCE = np.zeros((SONG.audio.samples.shape[0], SONG.audio.rate), np.float32)
LONGER = made_from(SONG, Extend(SONG, after=1.0), np.concatenate([SONG.audio.samples, SILENCE], axis=1))
EARLIER = made_from(SONG, Extend(SONG, before=1.0), np.concatenate([SILENCE, SONG.audio.samples], axis=1))
LATE, EARLY = repainted(SONG, (3.0, 4.0), early=0.02), repainted(SONG, (2.0, 3.0), early=0.02)
TWO = repainted(SONG, (1.0, 1.25), (3.0, 3.25))
CHAIN = [SONG, LATE]
for number, kind in enumerate((Cover(LATE), FlowEdit(LATE, "soft keys"), Retake(LATE, variance=0.2, seed=3))):
    CHAIN.append(made_from(CHAIN[-1], kind, SONG.audio.samples * (0.5 + 0.1 * number)))
NOISE, MUSIC = (np.random.default_rng(seed).normal(size=(6, 4)) for seed in (1, 2))
FIRST = Step(0, 8, 0.9, 0.9 * NOISE + 0.1 * MUSIC, MUSIC)  # type: ignore[arg-type]
COUNT = sum(t > 0.5 for t in times(20, 3.0))

RIGHT: dict[str, tuple[Any, ...]] = {
    "01.1": (take(), take(seed=2)),
    "01.2": (RESOLVED, {"steps", "shift"}),
    "01.3": (SONG, SONG.audio.samples.size / SONG.latent.size),
    "02.1": (SONG, LATE),
    "02.2": (SONG, EARLIER),
    "02.3": (CHAIN,),
    "03.1": (FIRST, NOISE),
    "03.2": (COUNT,),
    "03.3": (NOISE, MUSIC, MUSIC + 5 * (NOISE - MUSIC)),
    "04.1": (SONG, TWO, changed_share(SONG, TWO)),
    "04.2": (SONG, LATE, 0.02),
    "04.3": (SONG, TWO),
}
"""By question, an answer that is right."""
WRONG: dict[str, list[tuple[Any, ...]]] = {
    "01.1": [(take(), take()), (take(), take(seed=2, bpm=90))],
    "01.2": [(RESOLVED, {"steps"}), (RESOLVED, {"steps", "shift", "seed"}), (RESOLVED, set()), (take(), {"seed"})],
    "01.3": [(SONG, SONG.latent.size / SONG.audio.samples.size), (SONG, 1.0)],
    "02.1": [(SONG, SONG), (SONG, LONGER), (SONG, EARLY)],
    "02.2": [(SONG, SONG), (SONG, made_from(SONG, Cover(SONG), LONGER.audio.samples * 0.5))],
    "02.3": [(CHAIN[:3],), ([SONG, LATE, SONG, LATE],), (CHAIN[::-1],)],
    "03.1": [
        (FIRST, FIRST.state),
        (FIRST, MUSIC),
        (FIRST, NOISE[:3]),
        (FIRST, FIRST.t * NOISE),
        (Step(1, 8, 0.9, FIRST.state, FIRST.estimate), NOISE),
    ],
    "03.2": [(10,), (0,), (True,), (COUNT + 1,), (list(times(20, 3.0)),)],
    "03.3": [
        (NOISE, MUSIC, NOISE + 5 * (NOISE - MUSIC)),
        (NOISE, MUSIC, NOISE),
        (NOISE, MUSIC, MUSIC),
        (NOISE, NOISE, NOISE),
    ],
    "04.1": [(SONG, TWO, 12.5), (SONG, TWO, 0.875), (SONG, TWO, 0.5), (SONG, SONG, 0.0), (SONG, LONGER, 0.1)],
    "04.2": [(SONG, LATE, -0.02), (SONG, LATE, 0.5), (SONG, LONGER, 0.02), (SONG, SONG, 0.0)],
    "04.3": [(SONG, LATE), (SONG, repainted(SONG, (0.0, 2.0), (2.5, 4.0))), (SONG, SONG)],
}
"""By question, answers somebody may well give."""
RIGHT |= lesson_answers.RIGHT
WRONG |= lesson_answers.WRONG
NONSENSE: list[Any] = [None, ..., "", "words", -1, float("nan"), 10**30, [], {}, np.zeros((2, 2)), object()]


def test_every_question_has_answers_here() -> None:
    assert list(questions()) == sorted(RIGHT) == sorted(WRONG)


@pytest.mark.parametrize("number", sorted(RIGHT))
def test_a_right_answer_is_right_and_wrong_ones_get_a_hint(number: str) -> None:
    assert (told := check(number, *RIGHT[number])), told
    for answer in WRONG[number]:
        told = check(number, *answer)
        assert not told
        assert len(told.text) > 20, "a hint is a sentence"


@pytest.mark.parametrize("number", sorted(RIGHT))
def test_nonsense_is_answered_and_never_right(number: str) -> None:
    for one in NONSENSE:
        assert not check(number, *[one] * len(RIGHT[number]))
    assert not check(number)
    assert not check(number, *[0] * 9)


def test_a_question_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r"01\.1"):
        check("99.9", 1)
