"""The time to go is right from a third of a run on, whatever the run is made of; shown with a clock that stands in."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from acestep_lab.jobs.eta import EtaEstimator, ItemWork, Round, StageHistory, Work

STAGES = ("plan", "encode", "render", "decode")


class StandInClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Machine:
    """A machine that is not quite linear: seconds of a piece by stage, fixed and by size, and how much slower it is now."""

    fixed: dict[str, float] = field(
        default_factory=lambda: {"plan": 0.03, "encode": 0.4, "render": 0.05, "decode": 0.2}
    )
    by_size: dict[str, float] = field(
        default_factory=lambda: {"plan": 0.01, "encode": 0.05, "render": 0.012, "decode": 0.09}
    )
    starts: dict[str, float] = field(default_factory=dict)
    """Seconds a round's first piece takes besides."""
    slower: float = 1.0
    jitter: float = 0.05
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def seconds(self, stage: str, size: float) -> float:
        curved = 0.00004 * size**2 if stage == "render" else 0.0  # attention over a longer song
        usual = self.fixed[stage] + self.by_size[stage] * size + curved
        return self.slower * usual * self.chance.uniform(1 - self.jitter, 1 + self.jitter)


Told = list[tuple[float, float | None]]


def order(work: Work) -> Iterator[tuple[str, Round]]:
    """The rounds as a session does them: all plans, all words, then each loop and the sounds of its songs."""
    stages = {name: list(rounds) for name, rounds in work.stages.items()}
    for name in ("plan", "encode"):
        yield from ((name, one) for one in stages.get(name, ()))
    sounds = stages["decode"]
    for number, loop in enumerate(stages["render"], 1):
        yield "render", loop
        until = round(len(work.stages["decode"]) * number / len(stages["render"]))
        while len(work.stages["decode"]) - len(sounds) < until:
            yield "decode", sounds.pop(0)


def done(work: Work, machine: Machine, history: StageHistory) -> Told:
    """Do work on a machine; returns what was told at many moments: seconds since the beginning, and seconds to go."""
    clock = StandInClock()
    began, told = clock.now, []
    estimator = EtaEstimator(work, history, clock)
    for stage, one in order(work):
        estimator.begin(stage)
        pieces = 8 if stage == "decode" else round(one.pieces)
        for number in range(pieces):
            took = machine.seconds(stage, one.size) * one.pieces / pieces
            took += machine.starts.get(stage, 0.0) * machine.slower if number == 0 else 0.0
            for _ in range(4):
                clock.now += took / 4
                told.append((clock.now - began, estimator.remaining))
            if stage == "decode":
                estimator.advance_to((number + 1) / pieces)
            elif stage != "encode":
                estimator.advance()
            told.append((clock.now - began, estimator.remaining))
        estimator.end()
    estimator.commit()
    return told


def errors(told: Told) -> list[float]:
    """How far the whole time that was told is from the true one, as a share of it, from a third of the run on."""
    whole = told[-1][0]
    return [
        abs(at + (left if left is not None else float("inf")) - whole) / whole for at, left in told if at >= whole / 3
    ]


def render(seconds: float = 30.0, steps: int = 8, passes: int = 1, batch: int = 1, codes: int = 0) -> Work:
    tokens = 40.0 + codes if codes else 0.0
    return Work.of(
        "turbo",
        [ItemWork(seconds, steps, passes * seconds, tokens if n == 0 else 0.0, 2.0) for n in range(batch)],
        batch,
    )


WARM = [render(20), render(60, steps=12), render(30, codes=150), render(120), render(45, passes=2)]
SHAPES: dict[str, tuple[Work, Callable[[Machine], Any]]] = {
    "an ordinary render": (render(40), lambda machine: None),
    "plan-heavy": (render(40, codes=400), lambda machine: None),
    "decode-heavy": (render(90), lambda machine: machine.by_size.update(decode=0.5)),
    "a batch of four": (render(30, batch=4), lambda machine: None),
    "many steps with guidance": (render(30, steps=50, passes=2), lambda machine: None),
    "a long song": (render(230), lambda machine: None),
    "a short one": (render(5), lambda machine: None),
    "every round begins slowly": (render(40), lambda machine: machine.starts.update(render=2.0, decode=1.0)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_time_to_go_is_within_a_tenth_from_a_third_of_the_run_on(shape: str) -> None:
    work, change = SHAPES[shape]
    machine, history = Machine(), StageHistory()
    change(machine)
    for warm in WARM:
        done(warm, machine, history)
    assert max(errors(done(work, machine, history))) < 0.1


@pytest.mark.parametrize("slower", [0.5, 1.5, 2.0])
@pytest.mark.parametrize("work", [render(40, steps=12), render(40, codes=300), render(30, steps=20, batch=4)])
def test_a_machine_that_has_changed_its_pace_between_runs_is_noticed(work: Work, slower: float) -> None:
    machine, history = Machine(), StageHistory()
    for warm in WARM:
        done(warm, machine, history)
    machine.slower = slower
    assert max(errors(done(work, machine, history))) < 0.1


def test_a_first_step_that_is_slow_this_once_moves_nothing_after_it() -> None:
    machine, history = Machine(), StageHistory()
    for warm in WARM:
        done(warm, machine, history)
    machine.starts = {"render": 3.0}  # a component had left the device
    assert max(errors(done(render(40), machine, history))) < 0.1
    machine.starts = {}
    assert max(errors(done(render(40), machine, history))) < 0.1, "nor the run after it"


def test_what_loads_in_the_first_run_is_not_expected_of_the_second() -> None:
    machine, history = Machine(starts={"plan": 5.0, "encode": 8.0, "render": 6.0, "decode": 2.0}), StageHistory()
    done(render(40, codes=200), machine, history)
    machine.starts = {}
    told = done(render(40, codes=200), machine, history)
    assert max(errors(told)) < 0.1


def test_nothing_is_told_before_anything_is_known_and_the_first_run_is_told_by_its_own_pace() -> None:
    machine, history = Machine(), StageHistory()
    told = done(render(40, steps=30), machine, history)
    assert told[0][1] is None
    known = [left for _, left in told if left is not None]
    assert known
    assert known[-1] == pytest.approx(0.0, abs=0.05)


def test_each_checkpoint_has_a_history_of_its_own() -> None:
    machine, history = Machine(), StageHistory()
    done(render(40), machine, history)
    assert EtaEstimator(render(40), history, StandInClock()).remaining is not None
    other = Work("base", render(40).stages)
    assert EtaEstimator(other, history, StandInClock()).remaining is None


def test_a_plan_that_settles_the_length_changes_what_is_to_come_and_not_what_is_done() -> None:
    machine, history, clock = Machine(jitter=0.0), StageHistory(), StandInClock()
    for warm in WARM:
        done(warm, machine, history)
    estimator = EtaEstimator(render(30, codes=150), history, clock)
    estimator.begin("plan")
    for _ in range(190):
        clock.now += machine.seconds("plan", 2.0)
        estimator.advance()
    estimator.end()
    before = estimator.remaining or 0.0
    estimator.replan(render(60, codes=300))
    after = estimator.remaining or 0.0
    fresh = EtaEstimator(render(60), history, clock).remaining or 0.0
    assert after > 1.5 * before
    assert after == pytest.approx(fresh, rel=0.02), "the plan is not written twice"


def test_the_fraction_weighs_the_stages_and_never_goes_back() -> None:
    machine, history, clock = Machine(jitter=0.0), StageHistory(), StandInClock()
    for warm in WARM:
        done(warm, machine, history)
    estimator, seen = EtaEstimator(render(40, codes=200), history, clock), []
    for stage, one in order(estimator.work):
        estimator.begin(stage)
        for _ in range(round(one.pieces)):
            clock.now += machine.seconds(stage, one.size)
            estimator.advance()
            seen.append((clock.now - 1000.0, estimator.fraction))
        estimator.end()
    whole = seen[-1][0]
    assert [fraction for _, fraction in seen] == sorted(fraction for _, fraction in seen)
    assert max(abs(at / whole - fraction) for at, fraction in seen) < 0.05
