"""Every session speaks alike: the real one and the stand-in of the page's tests fulfil `SessionLike`, in form and in what they do."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Cover, Recipe, Session, Text2Music
from acestep_lab.engines.base import Capabilities
from acestep_lab.engines.step import Step
from acestep_lab.errors import CheckpointError, LabError, LibraryError, RecipeError, SourceError
from acestep_lab.prompt.sampling import FlowSampling, TokenSampling
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.library import RemoteLibrary
from acestep_lab.remote.session import RemoteSession
from acestep_lab.serve.api import ApiServer
from acestep_lab.session_like import SessionLike
from tests.pretend import PretendSession
from tests.tiny_musicgen import tiny_musicgen

KINDS = (Session, PretendSession, RemoteSession)
VERBS = sorted(name for name, one in vars(SessionLike).items() if inspect.isfunction(one) and not name.startswith("_"))
FACTS = sorted(name for name, one in vars(SessionLike).items() if isinstance(one, property))


def song(**changes: Any) -> Recipe:
    return Recipe("warm lo-fi keys", seconds=1.0, seed=3, thinking=False, steps=2).replace(**changes)


@contextmanager
def opened(kind: type[Any], folder: Path) -> Iterator[Any]:
    """A session of a kind; one elsewhere speaks to a stand-in behind a door, whose library it sees."""
    if kind is Session:
        with Session.open(library=folder) as session:
            yield session
        return
    there = PretendSession(folder / "there", pause=0.0)
    try:
        if kind is PretendSession:
            yield there
            return
        with ApiServer(there, port=0) as door:
            line = Connection(door.address)
            session = RemoteSession(line, RemoteLibrary(line, folder / "mirror"))
            yield session
            session.close()
            session.library.close()
    finally:
        there.close()
        there.library.close()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(request.param, tmp_path_factory.mktemp("library")) as session:
        yield session


@pytest.fixture(scope="module")
def other(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `use` is handed for a checkpoint of another family."""
    if not isinstance(lab, Session):
        return "pretend-tokens"
    return str(tiny_musicgen(tmp_path_factory.mktemp("musicgen")))


# -- form


def parameters(verb: Any) -> dict[str, inspect.Parameter]:
    """What a verb takes, by name."""
    return {name: one for name, one in inspect.signature(verb).parameters.items() if name != "self"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_what_the_protocol_says_by_the_same_names_in_the_same_order(kind: type[Any], verb: str) -> None:
    asked, there = parameters(getattr(SessionLike, verb)), parameters(getattr(kind, verb))
    common = [name for name in there if name in asked]
    assert common == list(asked), f"{verb} lacks or reorders parameters"
    for name, parameter in asked.items():
        assert there[name].kind == parameter.kind, f"{verb}({name})"
        assert there[name].default == parameter.default, f"{verb}({name}=…)"
    for name in set(there) - set(asked):
        assert there[name].default is not inspect.Parameter.empty, f"{verb} asks for {name}, which nobody hands over"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_the_protocol_tells_is_told_as_a_property(kind: type[Any]) -> None:
    own = [name for name in FACTS if not isinstance(getattr(kind, name, None), property)]
    assert own in ([], ["tier"]), "a stand-in may hold a tier of its own; all else is computed"


def test_a_session_is_what_the_protocol_describes(lab: Any) -> None:
    assert isinstance(lab, SessionLike)
    assert isinstance(lab.capabilities, Capabilities)
    assert lab.name in lab.checkpoints
    assert lab.capabilities_of(lab.name) == lab.capabilities
    assert isinstance(lab.has_planner, bool)
    assert isinstance(lab.tier.name, str)


# -- behaviour


def test_a_take_carries_its_recipe_with_everything_decided_and_is_found_again(lab: Any) -> None:
    take = lab.make(song(seed=None))
    assert take.recipe.seed is not None
    assert take.recipe.sampling.steps == 2
    assert take.recipe.sampling.guidance is not None
    assert take.seconds == pytest.approx(1.0, rel=0.1)
    assert lab.keep(take).id == take.id
    assert take.id in lab.library
    assert lab.load(take.id).audio == take.audio
    assert lab.sound(take.id).id == take.id
    assert lab.analyze(take).bpm > 0
    found = lab.scores(take)
    assert found["key"].heard
    assert found["coverage"].value is None, "nothing is sung"
    assert lab.library.annotation(take.id, "scores")["scores"] == found.to_json()
    planned = lab.align(take, "[Verse]\nla la\n[Chorus]\nlo", by="plan")
    assert ([one.text for one in planned.sections], planned.heard) == (["Verse", "Chorus"], False)
    with pytest.raises(RecipeError, match=r"no words|no lyrics"):
        lab.align(take, "")


def test_a_run_is_watched_step_by_step_and_ends_in_a_take_for_each_recipe(lab: Any) -> None:
    run = lab.start([song(seed=1), song(seed=2)])
    steps = list(run)
    assert all(isinstance(step, Step) for step in steps)
    assert {step.steps for step in steps} == {2}
    assert [take.recipe.seed for take in run.takes()] == [1, 2]
    assert run.state == "done"


def test_a_run_that_is_stopped_ends_stopped(lab: Any) -> None:
    run = lab.start(song(steps=200, seconds=4.0))
    run.stop()
    assert run.wait(60)
    assert run.state == "stopped"


def test_variations_are_a_take_for_each_seed(lab: Any) -> None:
    assert [take.recipe.seed for take in lab.vary(song(), (5, 6))] == [5, 6]


def test_what_is_not_there_is_said_by_the_error_of_its_kind(lab: Any) -> None:
    with pytest.raises(LibraryError):
        lab.load("take-000000000000")
    with pytest.raises(SourceError):
        lab.sound("take-000000000000")
    with pytest.raises(SourceError):
        lab.start(song(task=Cover("take-000000000000")))
    for verb in (lab.use, lab.cost):
        with pytest.raises(CheckpointError):
            verb("no such checkpoint")
    with pytest.raises(CheckpointError, match="open"):
        lab.capabilities_of("no such checkpoint")
    with pytest.raises(CheckpointError):
        lab.start(song(checkpoint="no such checkpoint"))


def test_a_recipe_with_another_familys_knobs_is_refused_before_any_work(lab: Any) -> None:
    with pytest.raises(RecipeError, match="temperature"):
        lab.start(Recipe("dub", seconds=1.0, temperature=0.5))
    with pytest.raises(RecipeError, match="No model has both"):
        song(temperature=0.5, shift=3.0)


def test_the_defaults_are_of_the_kind_the_capabilities_name_and_leave_nothing_open(lab: Any) -> None:
    found = lab.defaults(Text2Music())
    assert type(found) is lab.capabilities.sampling
    assert found.steps > 0
    assert lab.defaults(Text2Music(), lab.name) == found


def test_another_checkpoint_says_its_price_and_then_makes_the_music(lab: Any, other: str) -> None:
    first = lab.name
    try:
        assert "more" in str(lab.cost(other))
        assert lab.name == first, "a price changes nothing"
        can = lab.use(other)
        assert can == lab.capabilities != lab.capabilities_of(first)
        assert lab.checkpoints == (first, lab.name)
        assert can.sampling is TokenSampling
        assert isinstance(lab.defaults(Text2Music()), TokenSampling)
        assert isinstance(lab.defaults(Text2Music(), first), FlowSampling)
        assert not lab.has_planner
        made = lab.make(Recipe("dub", seconds=1.0, seed=4, temperature=0.9))
        assert made.recipe.sampling.temperature == 0.9
        by_name = lab.make(song(checkpoint=first))
        assert isinstance(by_name.recipe.sampling, FlowSampling)
    finally:
        lab.use(first)
    assert lab.name == first


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_closed_session_says_that_it_is_closed(kind: type[Any], tmp_path: Path) -> None:
    with opened(kind, tmp_path) as session:
        session.close()
        with pytest.raises(LabError, match="closed"):
            session.make(song())


def test_a_sweep_keeps_each_cell_in_its_library_and_makes_none_twice(lab: Any) -> None:
    for to_make in (2, 0):
        run = lab.sweep(song(caption="swept keys"), seed=[31, 32])
        ids = run.result()
        assert (run.budget.to_make, len({*ids})) == (to_make, 2)
        assert all(id in lab.library for id in ids)
    assert None not in lab.map_songs("analyze", ids).result()
