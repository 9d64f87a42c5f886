"""One queue for all work of a session: whose a run is, who is next, what may be held, moved, paused and seen; news as JSON."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, MachineError, RecipeError, Stopped
from acestep_lab.jobs import events
from acestep_lab.jobs.changes import Change, Changes
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.eta import Round, Work
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.fair_queue import FairQueue
from acestep_lab.jobs.ids import new_id, short_id
from acestep_lab.jobs.kinds import PlanRun, RenderRun
from acestep_lab.jobs.queue import MOST_FINISHED, MOST_WAITING, JobQueue
from acestep_lab.jobs.run import Run
from acestep_lab.jobs.training import Loss, Preview
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.token import Token
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from tests.pretend import PretendSession, tone

RECIPE = Recipe("dub", seconds=2, seed=1)


def run_of(owner: str = "", title: str = "") -> RenderRun:
    with Client(owner).acting(title):
        return RenderRun((RECIPE,))


def finish(run: Run[Any, Any]) -> None:
    run.finish()


@pytest.fixture
def jobs() -> Iterator[JobQueue]:
    """A queue whose first run is under way until `jobs.go` is set."""
    jobs, began = JobQueue(), threading.Event()
    jobs.go = threading.Event()  # type: ignore[attr-defined]

    def occupy(run: RenderRun) -> None:
        run.enter("rendering")
        began.set()
        while not jobs.go.wait(0.005):  # type: ignore[attr-defined]
            jobs.run_small_jobs()
            run.check()
        run.finish()

    jobs.submit(run_of("somebody"), occupy)
    assert began.wait(10)
    yield jobs
    jobs.go.set()  # type: ignore[attr-defined]
    jobs.close()


def served(jobs: JobQueue, *runs: RenderRun) -> list[RenderRun]:
    """These runs in the order they end in, once the queue goes on."""
    ended: list[RenderRun] = []
    for run in runs:
        run.subscribe(lambda event, run=run: ended.append(run) if event.value == "done" else None)  # type: ignore[misc]
    jobs.go.set()  # type: ignore[attr-defined]
    for run in runs:
        assert run.wait(10)
    return ended


# --- ids -------------------------------------------------------------------------------------------------------------


def test_ids_sort_by_when_they_were_made_and_no_two_are_alike_in_any_process() -> None:
    made = [new_id() for _ in range(2000)]
    assert made == sorted(set(made))
    program = "from acestep_lab.jobs.ids import new_id\nprint(*(new_id() for _ in range(500)))"
    others = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert len({*made, *others[0], *others[1]}) == 3000
    assert made[-1] < min(others[0]) < min(others[1])
    assert len({short_id(id) for id in made}) > 1990


def test_after_a_fork_parent_and_child_make_different_ids() -> None:
    reader, writer = os.pipe()
    new_id()
    child = os.fork()
    mine = [new_id() for _ in range(50)]
    if child == 0:
        os.write(writer, " ".join(mine).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        theirs = pipe.read().split()
    os.waitpid(child, 0)
    assert len(theirs) == 50
    assert not set(mine) & set(theirs)


# --- events ----------------------------------------------------------------------------------------------------------

STEP = Step(2, 8, float("nan"), torch.zeros(4, 8), torch.zeros(4, 8), items=(1,))
TAKE = Take(RECIPE, tone(0.5), np.zeros((4, 8), np.float32))
CHANGES = Changes(4, (Change("tempo", 90.0, 120.0, 118.0, (88.0, 96.0)),), 2, 4)
VALUES: dict[str, tuple[Any, Any]] = {
    "state": ("decoding", "decoding"),
    "error": (MachineError("no room"), {"kind": "MachineError", "message": "no room"}),
    "step": (STEP, {"index": 2, "steps": 8, "t": None, "fraction": 0.375, "item": 1}),
    "token": (Token(0, "bpm", "118", 0.5), {"row": 0, "field": "bpm", "text": "118"}),
    "plan": ((0, Plan(bpm=118)), {"place": 0, "plan": {"bpm": 118}}),
    "take": ((3, TAKE), {"place": 3, "id": TAKE.id}),
    "message": ("It is cold.", "It is cold."),
    "progress": (np.float32(0.5), 0.5),
    "position": (2, 2),
    "held": (True, True),
    "eta": (float("inf"), None),
    "learnt": (Loss(3, 0.5, learning_rate=0.25), {"step": 3, "loss": 0.5, "learning_rate": 0.25}),
    "held_out": (
        Loss(4, float("nan"), True, {0.3: 0.5}, best=True),
        {"step": 4, "loss": None, "best": True, "losses": {"0.3": 0.5}},
    ),
    "preview": (Preview(4, TAKE, TAKE), {"step": 4, "take": TAKE.id, "bare": TAKE.id}),
    "saved": (4, 4),
    "measured": (CHANGES, CHANGES.to_json()),
    "labelled": (SimpleNamespace(to_json=lambda: {"done": 1}), {"done": 1}),
    "cell": (SimpleNamespace(to_json=lambda: {"place": 1}), {"place": 1}),
    "effect": (SimpleNamespace(to_json=lambda: {"kind": "phrase"}), {"kind": "phrase"}),
    "mapped": (SimpleNamespace(to_json=lambda: {"place": 1}), {"place": 1}),
}


@pytest.mark.parametrize("kind", get_args(events.Kind))
def test_every_kind_of_event_is_json(kind: Any) -> None:
    value, plain = VALUES[kind]
    told = json.loads(json.dumps(Event(kind, value, "run-1", 5.0).to_json(), allow_nan=False))
    assert told == {"version": events.VERSION, "kind": kind, "run": "run-1", "time": 5.0, "value": plain}
    assert kind in (events.__doc__ or ""), "what its value is, is written down"


def test_all_that_a_render_and_a_planning_tell_is_json_and_in_order() -> None:
    jobs, told = JobQueue(), []
    jobs.subscribe(lambda run, event: told.append(json.loads(json.dumps(event.to_json()))) if event else None)
    jobs.history.learn("k", "render", 1.0, 0.01)

    def render(run: RenderRun) -> None:
        with run.stage("plan"):
            run.token(Token(0, "codes", "<|audio_code_1|>", 0.1))
        with run.stage("render"):
            run.show(STEP)  # type: ignore[arg-type]
        with run.stage("decode"):
            run.progress(0.5)
            run.add(0, TAKE)
        run.message("done so far")
        raise MachineError("no room")

    def plan(run: PlanRun) -> None:
        with run.stage("plan"):
            run.written([Plan(bpm=90)])
        run.finish()

    one = jobs.submit(RenderRun((RECIPE,), Work("k", {"render": [Round(1.0)]})), render)
    assert one.wait(10)
    assert jobs.submit(PlanRun("words"), plan).result() == [Plan(bpm=90)]
    jobs.close()
    kinds = [(event["kind"], event["value"]) for event in told if event["run"] == one.id]
    states = [value for kind, value in kinds if kind == "state"]
    assert states[-4:] == ["planning", "rendering", "decoding", "failed"]
    assert kinds[-2:] == [("error", {"kind": "MachineError", "message": "no room"}), ("state", "failed")]
    assert {kind for kind, _ in kinds} >= {"token", "step", "progress", "take", "message", "eta"}
    assert ("plan", {"place": 0, "plan": {"bpm": 90}}) in [(e["kind"], e["value"]) for e in told]
    json.dumps(one.to_json(), allow_nan=False)
    assert one.problem == "no room"


# --- the order and what may be done with it --------------------------------------------------------------------------


def test_a_person_moves_their_own_runs_among_their_own_and_nobody_elses_turn_changes(jobs: JobQueue) -> None:
    one, two, three = (jobs.submit(run_of("ada"), finish) for _ in range(3))
    bobs = jobs.submit(run_of("bob"), finish)
    assert jobs.waiting[1:] == (one, bobs, two, three)
    jobs.move(three, 0, by="ada")
    assert jobs.waiting[1:] == (three, bobs, one, two)
    jobs.move(three.id, 99, by="ada")
    assert jobs.waiting[1:] == (one, bobs, two, three)
    for forbidden in (lambda: jobs.move(one, 0, by="bob"), lambda: jobs.hold(one, by="bob"), lambda: jobs.stop(one, by="bob"),
                      lambda: jobs.prioritise(one.id, 5, by="bob"), lambda: jobs.dismiss(one.id, by="bob")):  # fmt: skip
        with pytest.raises(LabError, match="no run"):
            forbidden()
    assert [row["place"] for row in jobs.rows("ada")[1:]] == [0, None, 1, 2]
    assert served(jobs, one, bobs, two, three) == [one, bobs, two, three]


def test_a_priority_goes_before_ones_own_and_takes_no_turn_from_others(jobs: JobQueue) -> None:
    plain, bobs = jobs.submit(run_of("ada"), finish), jobs.submit(run_of("bob"), finish)
    background = jobs.submit(run_of("cem"), finish, priority=-1)
    urgent = jobs.submit(run_of("ada"), finish, priority=50)
    assert jobs.waiting[1:] == (urgent, bobs, plain, background)
    late = jobs.submit(run_of("dora"), finish)
    jobs.prioritise(plain, 60, by="ada")
    assert jobs.waiting[1:] == (plain, bobs, late, urgent, background)
    with pytest.raises(RecipeError, match="priority"):
        jobs.submit(run_of("ada"), finish, priority=10**9)
    assert served(jobs, plain, bobs, late, urgent, background) == [plain, bobs, late, urgent, background]


@pytest.mark.parametrize("how", ["prioritise", "move", "hold"])
def test_whoever_let_others_go_first_does_not_catch_up_on_it(how: str) -> None:
    queue: FairQueue[str] = FairQueue()
    adas, bobs = ([f"{who}{number}" for number in range(9)] for who in ("ada", "bob"))
    for job in adas:
        queue.join(job, ("ada", "ada"), 30.0, 0 if how == "hold" else -1)
        if how == "hold":
            queue.hold(job)
    for job in bobs:
        queue.join(job, ("bob", "bob"), 30.0)
    assert [queue.pop(), queue.leave(bobs[0]), queue.pop(), queue.leave(bobs[1])] == [bobs[0], None, bobs[1], None]
    for job in adas:
        assert queue.hold(job, False) if how == "hold" else queue.prioritise(job, 0)
    if how == "move":
        assert queue.move(adas[-1], 0)
    first = [job[:3] for job in queue.order()[:8]]
    assert first in (["ada", "bob"] * 4, ["bob", "ada"] * 4, ["ada", "ada", *["bob", "ada"] * 3])


def test_a_run_is_submitted_once(jobs: JobQueue) -> None:
    run = jobs.submit(run_of("ada"), finish)
    for queue in (jobs, JobQueue()):
        with pytest.raises(LabError, match="once"):
            queue.submit(run, finish)


def test_a_run_held_back_is_passed_and_comes_back_without_catching_up(jobs: JobQueue) -> None:
    held, adas, bobs = (jobs.submit(run_of(who), finish) for who in ("ada", "ada", "bob"))
    told: list[Any] = []
    held.subscribe(lambda event: told.append(event.value) if event.kind == "held" else None)
    jobs.hold(held, by="ada")
    assert jobs.waiting[1:] == (adas, bobs, held)
    assert (held.held, held.eta, held.state) == (True, None, "queued")
    assert served(jobs, adas, bobs) == [adas, bobs]
    assert not held.wait(0.1)
    jobs.release(short_id(held.id), by="ada")
    assert held.wait(10)
    assert (held.state, told) == ("done", [True, False])
    with pytest.raises(LabError, match="does not wait any more"):
        jobs.hold(held)


def test_a_paused_queue_begins_nothing_does_small_jobs_and_goes_on(jobs: JobQueue) -> None:
    with pytest.raises(LabError, match="Only the host"):
        jobs.pause(by="ada")
    jobs.pause(by="")
    waits, stopped = jobs.submit(run_of("ada"), finish), jobs.submit(run_of("ada"), finish)
    jobs.go.set()  # type: ignore[attr-defined]
    assert jobs.call(lambda: 5) == 5
    assert not waits.wait(0.1)
    assert (jobs.paused, waits.position, waits.eta) == (True, 0, None)
    stopped.stop()
    assert stopped.wait(5)
    jobs.resume()
    assert waits.wait(10)
    assert (waits.state, stopped.state) == ("done", "stopped")


def test_a_paused_queue_can_be_closed_and_one_that_is_dropped_does_what_it_was_asked_for() -> None:
    jobs = JobQueue("paused one")
    jobs.pause()
    runs = [jobs.submit(run_of("ada"), finish) for _ in range(2)]
    jobs.hold(runs[1])
    jobs.close()
    assert [run.state for run in runs] == ["stopped"] * 2
    jobs = JobQueue("dropped one")
    jobs.pause()
    runs = [jobs.submit(run_of("ada"), finish) for _ in range(2)]
    jobs.hold(runs[1])
    del jobs
    gc.collect()
    assert [run.wait(10) and run.state for run in runs] == ["done"] * 2


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 200)), min_size=1, max_size=15), st.data())
def test_the_order_told_is_the_order_that_comes_whatever_is_held_moved_or_preferred(
    asked: list[tuple[str, float]], data: st.DataObject
) -> None:
    queue: FairQueue[int] = FairQueue()
    for number, (who, seconds) in enumerate(asked):
        queue.join(number, (who, who), seconds, data.draw(st.integers(-2, 2)))
        one = data.draw(st.integers(0, number))
        action = data.draw(st.sampled_from(["nothing", "hold", "release", "move", "prefer", "serve"]))
        if action in ("hold", "release"):
            queue.hold(one, action == "hold")
        elif action == "move":
            before = [asked[job][0] for job in queue.waiting]
            queue.move(one, data.draw(st.integers(0, 20)))
            assert [asked[job][0] for job in queue.waiting] == before, "lanes keep the turns they have"
        elif action == "prefer":
            queue.prioritise(one, data.draw(st.integers(-2, 2)))
        elif (job := queue.pop() if action == "serve" else None) is not None:
            queue.leave(job)
    told = [job for job in queue.order() if not queue.is_held(job)]
    real = []
    while (job := queue.pop()) is not None:
        real.append(job)
        queue.leave(job)
    assert real == told
    for job in queue.waiting:
        queue.hold(job, False)
    assert len(queue.order()) == len(queue.waiting)


# --- whose a run is --------------------------------------------------------------------------------------------------


def test_whoever_subscribes_hears_of_the_runs_they_may_see_and_rows_hide_the_rest(jobs: JobQueue) -> None:
    heard: dict[Any, set[str]] = {who: set() for who in ("ada", "bob", None)}
    for who, names in heard.items():
        jobs.subscribe(lambda run, event, names=names: names.add(run.owner) if run else None, who)  # type: ignore[misc]
    adas, bobs = jobs.submit(run_of("ada", "a secret"), finish), jobs.submit(run_of("bob"), finish)
    served(jobs, adas, bobs)
    assert jobs.call(lambda: True)
    assert heard == {"ada": {"ada"}, "bob": {"bob"}, None: {"ada", "bob", "somebody"}}
    waiting = jobs.submit(run_of("ada", "another secret"), finish, priority=-1)
    assert waiting.wait(10)
    assert "secret" not in json.dumps(jobs.rows("bob"))
    assert {run.owner for run in jobs.runs("bob")} == {"bob"}
    assert jobs.find(adas.id, "bob") is None
    assert jobs.find(short_id(adas.id), "ada") is adas
    assert jobs.runs("ada") == [waiting, adas], "newest first"
    jobs.dismiss(adas, by="ada")
    assert jobs.runs("ada") == [waiting]


def test_what_came_through_a_door_is_counted_and_remembered_and_what_a_notebook_began_is_its_own(
    jobs: JobQueue,
) -> None:
    for _ in range(MOST_WAITING + 3):
        jobs.submit(RenderRun((RECIPE,)), finish)
    last = jobs.submit(run_of(""), finish)
    for _ in range(MOST_WAITING - 1):
        last = jobs.submit(run_of(""), finish)
    with pytest.raises(LabError, match="waiting already"):
        jobs.submit(run_of(""), finish)
    served(jobs, last)
    jobs.call(gc.collect)
    gc.collect()
    assert len(jobs.runs("")) == MOST_FINISHED
    gone = weakref.ref(jobs.submit(RenderRun((RECIPE,)), finish))
    run = gone()
    assert run is not None
    assert run.wait(10)
    del run
    jobs.call(lambda: None)
    gc.collect()
    assert gone() is None, "a notebook's run is held by nobody else"


def test_a_notebooks_run_is_seen_by_the_hosts_page_and_a_full_queue_is_no_concern_of_it(tmp_path: Path) -> None:
    from acestep_lab.ui.backend import backend_of

    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path, gate=gate)
    backend = backend_of(session)
    run = session.start(RECIPE)
    assert [row["id"] for row in backend.jobs.rows("")] == [run.id]
    assert backend.jobs.rows("ada")[0]["title"] == "Somebody else's run"
    run.stop()
    with pytest.raises(Stopped):
        run.take()
    session.close()
    session.library.close()


def test_facts_never_change_and_a_title_is_one_short_line() -> None:
    run = run_of("ada", "  a title\nin  two lines " + "x" * 200)
    assert run.title.startswith("a title in two lines x")
    assert len(run.title) == 90
    assert (run.owner, run.facts.kind, run.facts.seconds) == ("ada", "render", 2.0)
    with pytest.raises(AttributeError):
        run.facts.title = "other"  # type: ignore[misc]


# -- bodies, errors and listeners that behave badly


class Unsayable(BaseException):
    """An error that fails even to say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raising(error: BaseException) -> Any:
    def work(run: RenderRun) -> None:
        raise error

    return work


@pytest.mark.parametrize(
    "error",
    [
        Unsayable(),
        SystemExit(3),
        KeyboardInterrupt(),
        OSError(3, 7),
        OSError(),
        KeyError("bpm"),
        ValueError("x" * 9999),
    ],
    ids=repr,
)
def test_whatever_a_body_raises_is_a_sentence_and_the_next_run_is_done(error: BaseException) -> None:
    jobs = JobQueue()
    bad, good = jobs.submit(run_of(), raising(error)), jobs.submit(run_of(), finish)
    assert bad.wait(10)
    assert good.wait(10)
    assert (bad.state, good.state) == ("failed", "done")
    assert bad.problem.endswith(".")
    assert 10 < len(bad.problem) < 300
    assert json.loads(json.dumps(Event("error", error).to_json()))["value"]["message"] == bad.problem
    jobs.close()


def test_a_body_that_comes_back_without_a_word_has_ended_and_nobody_waits_for_it() -> None:
    jobs = JobQueue()
    quiet = jobs.submit(run_of(), lambda run: run.enter("rendering"))
    stopped = jobs.submit(run_of(), lambda run: run.stop())
    assert quiet.wait(10)
    assert stopped.wait(10)
    assert (quiet.state, stopped.state) == ("done", "stopped")
    jobs.close()


def test_a_run_ends_once_whatever_comes_after() -> None:
    def late(run: RenderRun) -> None:
        run.finish()
        run.finish()
        run.enter("rendering")

    jobs, ends = JobQueue(), []
    run = run_of()
    run.subscribe(lambda event: ends.append(event.value) if event.kind == "state" else None)
    jobs.submit(run, late)
    assert jobs.submit(run_of(), finish).wait(10)
    assert (run.state, run.problem, ends) == ("done", "", ["done"])
    jobs.close()


def test_a_listener_of_the_queue_that_exits_silences_nobody() -> None:
    jobs, heard = JobQueue(), []

    def leave(run: Any, event: Event | None) -> None:
        raise SystemExit(1)

    jobs.subscribe(leave)
    jobs.subscribe(lambda run, event: heard.append(event.value) if event and event.kind == "state" else None)
    first, last = jobs.submit(run_of(), finish), jobs.submit(run_of(), finish)
    assert first.wait(10)
    assert last.wait(10)
    jobs.call(lambda: None)  # what was told is told
    assert sorted(heard) == ["done", "done", "queued", "queued"]
    jobs.close()


def test_a_run_that_was_held_is_not_held_once_it_is_stopped(jobs: JobQueue) -> None:
    run = jobs.submit(run_of(), finish)
    jobs.hold(run)
    run.stop()
    assert (run.state, run.held, run.to_json()["held"]) == ("stopped", False, False)
    with pytest.raises(LabError, match="does not wait any more"):
        jobs.release(run)


@pytest.mark.parametrize("step", ["x", None, -1, float("nan"), 1.5, True, b"1"])
def test_until_which_step_is_a_whole_number_or_a_sentence(step: Any) -> None:
    jobs = JobQueue()
    with pytest.raises(RecipeError, match="A step"):
        jobs.submit(run_of(), finish).until(step)
    jobs.close()


def test_until_is_for_the_first_recipe_whichever_is_shown_first() -> None:
    def show(run: RenderRun) -> None:
        run.can_keep(lambda step, item: kept[item])
        for item in (1, 0):
            run.show(Step(0, 1, 0.0, None, None, (item,)))
        run.finish()

    jobs, kept = JobQueue(), {0: Take(RECIPE, tone(1.0), np.zeros((5, 8), np.float32))}
    assert jobs.submit(RenderRun((RECIPE, RECIPE)), show).until(0) is kept[0]
    jobs.close()


def test_thousands_of_waiting_runs_are_put_in_order_in_a_moment() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(3000):
        queue.join(number, ("", str(number % 3)), 1.0 + number % 7, number % 5 - 2)
    began = time.monotonic()
    order = queue.order()
    assert time.monotonic() - began < 2.0
    assert [_served(queue) for _ in range(300)] == order[:300], "as told beforehand"


def _served(queue: FairQueue[int]) -> int | None:
    job = queue.pop()
    if job is not None:
        queue.leave(job)
    return job
