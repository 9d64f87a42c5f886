"""Whatever is handed to a constructor, a reader, an edit or a verb: it is accepted and survives, or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acestep_lab import Audio, LabError, Library, Plan, Planning, Recipe, Region, Session, Take
from acestep_lab.engines.ace15.engine import Ace15Engine
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.models.loading import Checkpoint
from acestep_lab.plan import plan
from acestep_lab.prompt import checks, recipe
from tests.values import CALLS, FIELDS, ODD, Survey, values

SURVEY = Survey()


@pytest.fixture(scope="module", autouse=True)
def _say(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    print(f"\n{SURVEY}")


def test_every_field_has_a_reader() -> None:
    assert set(recipe._CHECKS) == set(Recipe.__dataclass_fields__)
    assert set(recipe._PLANNING) == set(Planning.__dataclass_fields__)
    assert set(plan._CHECKS) == set(Plan.__dataclass_fields__)


@pytest.mark.parametrize("value", range(len(ODD)))
def test_every_odd_value_in_every_field_is_accepted_or_refused(value: int) -> None:
    for kind, name in FIELDS:
        SURVEY.field((kind, name), ODD[value](), by_edit=bool((value + len(name)) % 2))
    for name in CALLS:
        SURVEY.call(name, ODD[value]())


@settings(max_examples=600, derandomize=True, database=None, deadline=None)
@given(st.sampled_from(FIELDS), values(), st.booleans())
def test_any_value_in_any_field_is_accepted_or_refused(
    place: tuple[str, str], value: Callable[[], Any], by_edit: bool
) -> None:
    SURVEY.field(place, value(), by_edit)


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(st.sampled_from(sorted(CALLS)), values())
def test_any_value_handed_to_any_reader_is_accepted_or_refused(name: str, value: Callable[[], Any]) -> None:
    SURVEY.call(name, value())


# -- verbs -------------------------------------------------------------------------------------------------------------


class Begun(LabError):
    """A verb's arguments were accepted, and work would begin."""


class Idle:
    """A worker that begins nothing."""

    waiting = ()

    def submit(self, *_: Any) -> Any:
        raise Begun("This is where work begins.")

    call = aside = submit

    def must_be_open(self) -> None: ...

    def refuse_to_wait(self) -> None: ...

    def close(self) -> None: ...


SOUND = Audio(np.sin(np.arange(24_000 * 3) / 20, dtype=np.float32), 24_000)
RECIPE = Recipe("dub", seconds=2, seed=7, thinking=False)

VERBS: dict[str, Callable[[Session, Any], Any]] = {
    "start": lambda lab, v: lab.start(v),
    "start plan": lambda lab, v: lab.start(RECIPE, v),
    "make": lambda lab, v: lab.make(v),
    "vary": lambda lab, v: lab.vary(v, [1]),
    "vary seeds": lambda lab, v: lab.vary(RECIPE, v),
    "vary variance": lambda lab, v: lab.vary(take(), [1], v),
    "repaint": lambda lab, v: lab.repaint(v, Region(1, 2)),
    "repaint region": lambda lab, v: lab.repaint(SOUND, v),
    "repaint caption": lambda lab, v: lab.repaint(SOUND, (1, 2), v),
    "repaint mode": lambda lab, v: lab.repaint(SOUND, (1, 2), mode=v),
    "repaint steps": lambda lab, v: lab.repaint(SOUND, (1, 2), steps=v),
    "extend": lambda lab, v: lab.extend(v, after=1),
    "extend after": lambda lab, v: lab.extend(SOUND, after=v),
    "cover": lambda lab, v: lab.cover(v, "x"),
    "cover strength": lambda lab, v: lab.cover(SOUND, "x", strength=v),
    "cover through": lambda lab, v: lab.cover(SOUND, "x", through_codes=v),
    "cover reference": lambda lab, v: lab.cover(SOUND, "x", reference=v),
    "extract": lambda lab, v: lab.extract(SOUND, v),
    "lego region": lambda lab, v: lab.lego(SOUND, "drums", region=v),
    "complete": lambda lab, v: lab.complete(SOUND, v),
    "edit": lambda lab, v: lab.edit(SOUND, v),
    "edit described": lambda lab, v: lab.edit(SOUND, "x", described=v),
    "edit n_avg": lambda lab, v: lab.edit(SOUND, "x", n_avg=v),
    "codes": lambda lab, v: lab.codes(v),
    "recipe_from": lambda lab, v: lab.recipe_from(v, Recipe("x").task),
    "recipe_from task": lambda lab, v: lab.recipe_from(SOUND, v),
    "plan": lambda lab, v: lab.plan(v),
    "plan n": lambda lab, v: lab.plan(RECIPE, v),
    "plan keep": lambda lab, v: lab.plan(RECIPE, keep=v),
    "plan codes": lambda lab, v: lab.plan(RECIPE, codes=v),
    "plan on_token": lambda lab, v: lab.plan(RECIPE, on_token=v),
    "sketch": lambda lab, v: lab.sketch(v),
    "sketch instrumental": lambda lab, v: lab.sketch("x", v),
    "sketch seed": lambda lab, v: lab.sketch("x", seed=v),
    "sketch language": lambda lab, v: lab.sketch("x", language=v),
    "polish": lambda lab, v: lab.polish(v),
    "polish bpm": lambda lab, v: lab.polish("x", bpm=v),
    "understand": lambda lab, v: lab.understand(v),
    "understand seed": lambda lab, v: lab.understand(SOUND, v),
    "plan score": lambda lab, v: lab.plan_score(SOUND, v),
    "plan score scale": lambda lab, v: lab.plan_score(SOUND, Plan(bpm=120), v),
    "keep": lambda lab, v: lab.keep(v),
    "open": lambda lab, v: lab.load(v),
    "sound": lambda lab, v: lab.sound(v),
    "listen bpm": lambda lab, v: lab.analyze(take(), v),
    "glimpse": lambda lab, v: lab.preview(v, 1),
    "glimpse at": lambda lab, v: lab.preview(take(), v),
    "encode": lambda lab, v: lab.encode(v),
    "decode": lambda lab, v: lab.decode(v),
    "explain": lambda lab, v: lab.explain(v),
    "lora": lambda lab, v: lab.lora(v),
    "lora strength": lambda lab, v: lab.lora(("nowhere", v)),
    "profile": lambda lab, v: lab.profile(v),
    "compare": lambda lab, v: lab.compare(v, take()),
    "verify": lambda lab, v: lab.verify(v),
    "resolve": lambda lab, v: lab.resolve(v),
    "Session.open": lambda lab, v: Session.open(v, library=lab.library),
    "Session.open tier": lambda lab, v: Session.open("pocket", v, library=lab.library),
    "Session.open precision": lambda lab, v: Session.open("pocket", library=lab.library, precision=v),
    "Session.open lm": lambda lab, v: Session.open("pocket", library=lab.library, lm=v),
    "library.open": lambda lab, v: lab.library.open(v),
    "library.card": lambda lab, v: lab.library.card(v),
    "library.cards": lambda lab, v: lab.library.cards(v),
    "library.cards most": lambda lab, v: lab.library.cards(most=v),
    "library.cards where": lambda lab, v: lab.library.cards(bpm=v),
    "library.takes": lambda lab, v: lab.library.takes(v),
    "library.keep": lambda lab, v: lab.library.keep(v),
    "library.mark": lambda lab, v: lab.library.mark(v, star=True),
    "library.mark star": lambda lab, v: lab.library.mark(kept(lab), star=v),
    "library.mark note": lambda lab, v: lab.library.mark(kept(lab), note=v),
    "library.mark tags": lambda lab, v: lab.library.mark(kept(lab), tags=v),
    "library.mark scores": lambda lab, v: lab.library.mark(kept(lab), scores=v),
    "library.bin": lambda lab, v: lab.library.bin(v),
    "library.problems": lambda lab, v: lab.library.problems(v),
    "take.export": lambda lab, v: take().export(v) if not checks.is_a(v, Path, str) else None,
    "audio.encoded": lambda lab, v: SOUND.encoded("wav", v),
    "Audio rate": lambda lab, v: Audio(SOUND.samples, v),
    "Audio": lambda lab, v: Audio(v, 8000),
    "run.keep": lambda lab, v: RenderRun((RECIPE,)).keep(v),
    "run.keep song": lambda lab, v: RenderRun((RECIPE,)).keep(0, v),
    "Take": lambda lab, v: Take(v, SOUND, np.zeros((4, 8), np.float32)),
    "Take audio": lambda lab, v: Take(RECIPE, v, np.zeros((4, 8), np.float32)),
    "Take latent": lambda lab, v: Take(RECIPE, SOUND, v),
    "Take parents": lambda lab, v: Take(RECIPE, SOUND, np.zeros((4, 8), np.float32), parents=v),
}


def take() -> Take:
    """A take of no checkpoint."""
    return Take(RECIPE, SOUND, np.zeros((75, 8), np.float32), created="2026-01-01T00:00:00+00:00")


def kept(lab: Session) -> str:
    """The id of a take in the session's library."""
    lab.library.keep(take())
    return take().id


@pytest.fixture(scope="module")
def lab(tiny_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    library = Library(tmp_path_factory.mktemp("takes"))
    with Session(Ace15Engine(Checkpoint.open(tiny_turbo)), library=library, jobs=Idle()) as session:  # type: ignore[arg-type]
        yield session


@pytest.mark.filterwarnings("ignore::acestep_lab.errors.LintWarning")
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_refuses_in_a_sentence_before_any_work(verb: str, lab: Session) -> None:
    for make in ODD:
        SURVEY.verb(partial(VERBS[verb], lab), make())
