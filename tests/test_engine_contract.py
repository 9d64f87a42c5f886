"""One contract, every engine: each keeps what `engines.contract` asks, and one that lies is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Engine, Request
from acestep_lab.engines.contract import (
    CHECKS,
    Bench,
    check_engine,
    check_one,
    decides_everything,
    keeps_its_promises,
)
from acestep_lab.engines.registry import open_engine
from acestep_lab.errors import Stopped
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Extend
from tests.tiny import tiny_diffusers
from tests.tiny_musicgen import tiny_musicgen
from tests.tiny_v1 import tiny_v1


class Liar:
    """An engine that does all that another does, and says more."""

    def __init__(self, engine: Engine, **promises: Any):
        self._engine, self._promises = engine, promises

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @property
    def capabilities(self) -> Any:
        return replace(self._engine.capabilities, **self._promises)


class Remembering(Liar):
    """An engine whose components are built once."""

    def __init__(self, engine: Engine, **promises: Any):
        super().__init__(engine, **promises)
        self._built: dict[str, Any] = {}

    def build(self, component: str, dtype: torch.dtype) -> Any:
        if component not in self._built:
            self._built[component] = self._engine.build(component, dtype)
        return self._built[component]


@dataclass(frozen=True)
class Case:
    """An engine to hold to the contract: how its small checkpoint is written, and knobs that make it quick."""

    name: str
    write: Callable[[Path], Path | str]
    seconds: float = 0.5
    knobs: Mapping[str, Any] = field(default_factory=dict)


CASES = (
    Case("musicgen", lambda folder: tiny_musicgen(folder), knobs={"top_k": 8}),
    Case("musicgen-melody", lambda folder: tiny_musicgen(folder, melody=True)),
    Case("musicgen-stereo", lambda folder: tiny_musicgen(folder, stereo=True)),
    Case("ace15-turbo", lambda folder: tiny_diffusers(folder, turbo=True), knobs={"steps": 2}),
    Case("ace15-base", lambda folder: tiny_diffusers(folder, turbo=False), knobs={"steps": 2}),
    Case("ace-step-v1", lambda folder: tiny_v1(folder), seconds=1.0, knobs={"steps": 2}),
    Case("pocket", lambda folder: "pocket", seconds=1.0, knobs={"steps": 2}),
)
"""Every engine in the house, each by a small checkpoint; a new family adds a line."""


class Opened(dict[str, Engine]):
    """Each engine by its case's name, written and opened when first asked for; its components are built once for all checks."""

    def __init__(self, root: Path):
        super().__init__()
        self._root = root

    def __missing__(self, name: str) -> Engine:
        case = next(case for case in CASES if case.name == name)
        self[name] = Remembering(open_engine(case.write(self._root / name)))
        return self[name]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return Opened(tmp_path_factory.mktemp("engines"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_engine_keeps_the_contract(case: Case, check: Any, opened: Mapping[str, Engine]) -> None:
    assert check_one(check, lambda: opened[case.name], case.seconds, **case.knobs) == []


def found(engine: Callable[[Engine], Any], honest: Engine) -> str:
    return "\n".join(check_engine(lambda: engine(honest), seconds=0.5))


def test_an_engine_that_promises_what_it_cannot_do_is_found_out(opened: Mapping[str, Engine]) -> None:
    honest = opened["musicgen"]
    told = found(
        lambda engine: Liar(
            engine,
            tasks=engine.capabilities.tasks | {"Repaint"},
            components=(*engine.capabilities.components, "ghost"),
            previews=True,
            licence="",
        ),
        honest,
    )
    for sentence in (
        "It promises Repaint and refuses it",
        "Its component 'ghost' cannot be built",
        "Its capabilities say previews, and it lacks the methods of Previews.",
        "Its capabilities name no licence.",
    ):
        assert sentence in told


def test_an_engine_that_hides_what_it_can_do_is_found_out(opened: Mapping[str, Engine]) -> None:
    told = found(
        lambda engine: Liar(engine, tasks=frozenset({"Text2Music"}), components=("text", "codec")), opened["musicgen"]
    )
    assert "It does not refuse Extend, which it does not promise." in told
    assert "It uses decoder, which its capabilities do not name." in told


@dataclass(frozen=True)
class Undecided(Request):
    """A request with a number left open."""

    bars: tuple[int | None, ...] = (4, None)


class Shy(Liar):
    """An engine that leaves a number open where a sound is gone on from."""

    def resolve(self, recipe: Recipe, *how: Any) -> Request:
        found: Request = self._engine.resolve(recipe, *how)
        if type(recipe.task) is not Extend:
            return found
        return Undecided(found.recipe, found.seconds, found.seed, found.remarks)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_field_of_a_request_is_none_whatever_the_task(case: Case, opened: Mapping[str, Engine]) -> None:
    bench = Bench(opened[case.name], case.seconds, case.knobs)
    for name in bench.can.tasks:
        request = bench.resolve(bench.recipe(task=bench.tasks()[name]).replace(seed=None, seconds=None))
        assert [one.name for one in fields(request) if getattr(request, one.name) is None] == [], name


def test_a_request_with_an_open_field_is_found_out(opened: Mapping[str, Engine]) -> None:
    said = check_one(decides_everything, lambda: Shy(opened["musicgen"]), 0.5)
    assert said == ["A request for Extend leaves bars[1] open."]


class Retouching(Liar):
    """An engine that touches what it was told to keep."""

    def decode(self, *how: Any) -> Any:
        made = self._engine.decode(*how)
        return replace(made, audio=Audio(made.audio.samples * np.float32(0.9), made.audio.rate))


@pytest.mark.parametrize(("name", "task"), [("musicgen", "Extend"), ("pocket", "Repaint"), ("pocket", "Extend")])
def test_a_source_that_does_not_stay_is_found_out(name: str, task: str, opened: Mapping[str, Engine]) -> None:
    said = check_one(
        keeps_its_promises, lambda: Retouching(opened[name], tasks=frozenset({task})), 1.0, **knobs_of(name)
    )
    assert said
    assert all(one.startswith(f"{task}: the source's own samples do not stay (") for one in said)


def knobs_of(name: str) -> Mapping[str, Any]:
    return next(case.knobs for case in CASES if case.name == name)


class Careless(Liar):
    """An engine whose seeds mean nothing, and which nobody can stop."""

    def sample(self, prepared: Any, check: Any) -> Iterator[Any]:
        for step in self._engine.sample(prepared, lambda: None):
            chance = None if step.state is None else torch.randint_like(step.state, 0, 30)
            try:
                check()
            except Stopped:
                return
            yield replace(step, state=chance)


def test_an_engine_without_seeds_that_cannot_be_stopped_is_found_out(opened: Mapping[str, Engine]) -> None:
    told = found(Careless, opened["musicgen"])
    assert "The same recipe made twice gives different bytes." in told
    assert "comes out otherwise than alone." in told
    assert "It swallows what check() raises" in told
