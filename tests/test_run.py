"""A run can be waited for, looked at, awaited and stopped from anywhere, and its queue is nobody's burden."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, Stopped
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.events import Event
from acestep_lab.jobs.kinds import PlanRun, RenderRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.plan.plan import Plan
from acestep_lab.plan.token import Token
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from tests.pretend import PretendSession, tone

RECIPE = Recipe("dub", seconds=2, seed=1)
STEPS = 400


def until(ready: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for news of another thread."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def take_of(recipe: Recipe) -> Take:
    return Take(recipe, tone(1.0, recipe.seed or 1), np.zeros((4, 8), np.float32))


def render(run: RenderRun, steps: int = STEPS, pause: float = 0.01) -> None:
    """What a session does, without a model."""
    run.enter("rendering")
    for index in range(steps):
        run.stop_event.wait(pause)
        run.check()
        run.show(Step(index, steps, 0.0, torch.zeros(4, 8), torch.zeros(4, 8)))  # type: ignore[arg-type]
    run.enter("decoding")
    for place, recipe in enumerate(run.recipes):
        run.add(place, take_of(recipe))
    run.finish()


def quick(run: RenderRun) -> None:
    render(run, 4, 0.0)


@pytest.fixture
def jobs() -> Iterator[JobQueue]:
    jobs = JobQueue("test queue")
    yield jobs
    jobs.close()


_interrupts: list[threading.Timer] = []


@pytest.fixture(autouse=True)
def no_late_interrupt() -> Iterator[None]:
    """A test that fails before its Ctrl-C has come must not have it end the tests after it."""
    yield
    for timer in _interrupts:
        timer.cancel()
    _interrupts.clear()


def interrupt_soon() -> None:
    """Ctrl-C, a moment from now."""
    _interrupts.append(threading.Timer(0.15, lambda: os.kill(os.getpid(), signal.SIGINT)))
    _interrupts[-1].start()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "look",
    [lambda run: list(run), lambda run: run.take(), lambda run: run.takes(), lambda run: run.wait()],
    ids=["for", "take", "takes", "wait"],
)
def test_ctrl_c_stops_the_run_that_is_waited_for(jobs: JobQueue, look: Callable[[RenderRun], Any]) -> None:
    run = jobs.submit(RenderRun((RECIPE,)), render)
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        look(run)
    assert run.wait(5)
    assert run.state == "stopped"


def test_ctrl_c_in_the_body_of_a_loop_stops_the_run_and_interrupts_are_as_before(jobs: JobQueue) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = jobs.submit(RenderRun((RECIPE,)), render)

    def look() -> None:
        for _ in run:
            interrupt_soon()
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        look()
    assert signal.getsignal(signal.SIGINT) == before
    assert run.wait(5)
    assert run.state == "stopped"


def test_leaving_a_loop_by_break_lets_the_run_go_on(jobs: JobQueue) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = jobs.submit(RenderRun((RECIPE,)), quick)
    for _ in run:
        break
    assert next(iter(run)).index == 0
    assert run.take().recipe == RECIPE
    assert signal.getsignal(signal.SIGINT) == before


def test_two_loops_at_once_give_the_interrupt_back_whichever_ends_first(jobs: JobQueue) -> None:
    before = signal.getsignal(signal.SIGINT)
    one, two = (iter(jobs.submit(RenderRun((RECIPE,)), quick)) for _ in range(2))
    next(one)
    next(two)
    list(one)
    list(two)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_loop_in_another_thread_leaves_interrupts_alone(jobs: JobQueue) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []
    run = jobs.submit(RenderRun((RECIPE,)), quick)
    thread = threading.Thread(target=lambda: seen.extend((signal.getsignal(signal.SIGINT), len(list(run)))))
    thread.start()
    thread.join()
    assert seen == [before, 4]


def test_ctrl_c_drops_a_small_job_that_has_not_begun(jobs: JobQueue) -> None:
    run = jobs.submit(RenderRun((RECIPE,)), render)
    until(lambda: run.steps)
    done, stop = [], threading.Event()
    interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        jobs.call(lambda: done.append(1), stop)
    assert stop.is_set()
    run.stop()
    run.wait()
    jobs.call(lambda: None)
    assert done == []


async def await_it(run: RenderRun) -> None:
    """Wait for a run."""
    await run


async def iterate_over_it(run: RenderRun) -> None:
    """Look at a run's steps."""
    async for _ in run:
        pass


async def work_in_its_loop(run: RenderRun) -> None:
    """Be busy in the body of a loop over a run's steps."""
    async for _ in run:
        time.sleep(0.5)


@pytest.mark.parametrize("look", [await_it, iterate_over_it, work_in_its_loop])
@pytest.mark.parametrize("how", ["asyncio.run", "run_until_complete"])
def test_ctrl_c_stops_a_run_that_is_awaited_whatever_runs_the_loop(
    jobs: JobQueue, look: Callable[[RenderRun], Coroutine[Any, Any, None]], how: str
) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = jobs.submit(RenderRun((RECIPE,)), render)
    interrupt_soon()
    if how == "asyncio.run":
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(look(run))
    else:
        loop = asyncio.new_event_loop()
        task = loop.create_task(look(run))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        assert run.stopping
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
            task.result()
        del task
        loop.close()
    assert run.wait(6)
    assert run.state == "stopped"
    gc.collect()
    assert signal.getsignal(signal.SIGINT) == before


# --- in an event loop ------------------------------------------------------------------------------------------------


def test_a_run_can_be_awaited_and_iterated_without_holding_up_the_loop(jobs: JobQueue) -> None:
    async def main() -> tuple[Take, list[int], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        run = jobs.submit(RenderRun((RECIPE,)), lambda run: render(run, 20))
        steps = [step.index async for step in run]
        again = await jobs.submit(RenderRun((RECIPE,)), quick)
        assert await run == again
        ticking.cancel()
        return again, steps, ticks

    take, steps, ticks = asyncio.run(main())
    assert take.recipe == RECIPE
    assert steps == list(range(20))
    assert ticks > 10


def test_awaiting_what_failed_or_was_stopped_raises_it(jobs: JobQueue) -> None:
    def fails(run: RenderRun) -> None:
        raise LabError("no music today")

    async def main() -> None:
        with pytest.raises(LabError, match="no music"):
            await jobs.submit(RenderRun((RECIPE,)), fails)
        run = jobs.submit(RenderRun((RECIPE,)), render)
        run.stop()
        with pytest.raises(Stopped):
            await run
        assert [step async for step in run] == list(run.steps)

    asyncio.run(main())


def test_several_runs_are_awaited_together_and_with_a_timeout(jobs: JobQueue) -> None:
    async def main() -> list[Take]:
        runs = [jobs.submit(RenderRun((RECIPE,)), quick) for _ in range(3)]
        takes = await asyncio.gather(*runs)
        return [*takes, await asyncio.wait_for(jobs.submit(RenderRun((RECIPE,)), quick), 10)]

    assert [take.recipe for take in asyncio.run(main())] == [RECIPE] * 4


async def _awaiting(run: RenderRun) -> None:
    await run


async def _looking(run: RenderRun) -> None:
    async for _ in run:
        pass


async def _busy_in_the_body(run: RenderRun) -> None:
    async for _ in run:
        await asyncio.sleep(60)


@pytest.mark.parametrize("look", [_awaiting, _looking, _busy_in_the_body])
@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_a_cancelled_task_stops_the_run_it_looks_at(jobs: JobQueue, look: Callable[[RenderRun], Any], how: str) -> None:
    async def main() -> None:
        if how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    await look(run)
            return
        task = asyncio.create_task(look(run))
        await asyncio.sleep(0.15)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run = jobs.submit(RenderRun((RECIPE,)), render)
    asyncio.run(main())
    assert run.wait(5)
    assert run.state == "stopped"


def test_an_async_loop_left_by_break_lets_the_run_go_on(jobs: JobQueue) -> None:
    async def main(run: RenderRun) -> None:
        async for _ in run:
            break

    run = jobs.submit(RenderRun((RECIPE,)), lambda run: render(run, 10))
    asyncio.run(main(run))
    assert run.take().recipe == RECIPE


# --- listeners -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait",
    [
        lambda run, jobs: run.take(),
        lambda run, jobs: run.wait(1),
        lambda run, jobs: list(run),
        lambda run, jobs: jobs.submit(RenderRun((RECIPE,)), quick).take(),
        lambda run, jobs: jobs.refuse_to_wait(),
        lambda run, jobs: asyncio.run(_awaiting(run)),
        lambda run, jobs: asyncio.run(_looking(run)),
    ],
)
def test_waiting_inside_a_listener_is_a_sentence_and_not_a_deadlock(
    jobs: JobQueue, wait: Callable[[RenderRun, JobQueue], Any]
) -> None:
    said: list[BaseException] = []

    def listener(event: Event) -> None:
        if event.kind == "step" and not said:
            try:
                wait(run, jobs)
            except LabError as error:
                said.append(error)

    run = RenderRun((RECIPE,))
    run.subscribe(listener)
    jobs.submit(run, quick)
    assert run.take().recipe == RECIPE
    assert "very thread it is called on" in str(said[0])


def test_a_small_job_and_a_new_run_may_be_asked_for_inside_a_listener(jobs: JobQueue) -> None:
    begun: list[RenderRun] = []
    run = RenderRun((RECIPE,))
    run.subscribe(
        lambda event: (
            begun.append(jobs.submit(RenderRun((RECIPE,)), quick))
            if event.kind == "step" and not begun and jobs.call(lambda: True)
            else None
        )
    )
    jobs.submit(run, quick)
    assert run.take() == begun[0].take()


@pytest.mark.parametrize("crash", [ValueError("a bug"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["state", "step", "take", "progress"])
def test_a_listener_that_crashes_costs_neither_the_take_nor_the_queue(
    jobs: JobQueue, crash: BaseException, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(event: Event) -> None:
        if event.kind == kind:
            raise crash

    def work(run: RenderRun) -> None:
        run.progress(0.0)
        quick(run)

    run = RenderRun((RECIPE,))
    run.subscribe(listener)
    assert jobs.submit(run, work).take().recipe == RECIPE
    assert "was let go" in caplog.text
    assert jobs.submit(RenderRun((RECIPE,)), quick).take().recipe == RECIPE


# --- stopping and what is left ---------------------------------------------------------------------------------------


def test_what_was_made_before_a_stop_or_a_failure_stays(jobs: JobQueue) -> None:
    def stopped(run: RenderRun) -> None:
        run.enter("rendering")
        run.add(1, take_of(RECIPE))
        run.stop()
        run.check()

    def failed(run: RenderRun) -> None:
        run.add(0, take_of(RECIPE))
        raise LabError("out of memory")

    run = jobs.submit(RenderRun((RECIPE, RECIPE, RECIPE)), stopped)
    with pytest.raises(Stopped, match="1 of its 3 takes made"):
        run.takes()
    assert list(run.made) == [1]
    run = jobs.submit(RenderRun((RECIPE, RECIPE)), failed)
    with pytest.raises(LabError, match="out of memory"):
        run.takes()
    assert list(run.made) == [0]


def test_a_run_stopped_while_it_waits_is_over_before_its_turn(jobs: JobQueue) -> None:
    def breathing(run: RenderRun) -> None:
        run.enter("rendering")
        while not run.stop_event.wait(0.005):
            jobs.run_small_jobs()

    first = jobs.submit(RenderRun((RECIPE,)), breathing)
    second, third = (jobs.submit(RenderRun((RECIPE,)), quick) for _ in range(2))
    until(lambda: first.state == "rendering")
    assert (second.position, third.position) == (1, 2)
    second.stop()
    assert third.position == 1
    assert second.wait(5)
    assert (first.state, second.state) == ("rendering", "stopped")
    first.stop()
    assert third.take().recipe == RECIPE


def test_whoever_waits_is_told_their_place_as_others_come_and_go(jobs: JobQueue) -> None:
    heard: list[int] = []
    go = threading.Event()

    def breathing(run: RenderRun) -> None:
        run.enter("rendering")
        while not go.is_set():
            jobs.run_small_jobs()
            time.sleep(0.005)
        run.finish()

    def run_for(owner: str) -> RenderRun:
        with Client(owner).acting():
            return RenderRun((RECIPE,))

    jobs.submit(run_for("ada"), breathing)
    waiting = run_for("ada")
    waiting.subscribe(lambda event: heard.append(event.value) if event.kind == "position" else None)
    jobs.submit(waiting, quick)
    until(lambda: heard == [1])
    bob = jobs.submit(run_for("bob"), quick)
    until(lambda: heard == [1, 2])
    bob.stop()
    until(lambda: heard == [1, 2, 1])
    go.set()
    assert waiting.take().recipe == RECIPE


def test_asking_the_planner_is_a_run_of_its_own_kind_whose_result_is_plans(jobs: JobQueue) -> None:
    plans = [Plan(bpm=118), Plan(bpm=90)]

    def work(run: PlanRun) -> None:
        with run.stage("plan"):
            for number in range(3):
                run.token(Token(0, "bpm", f"{number}", 0.0))
            run.written(plans)
        run.finish()

    async def main() -> list[Plan]:
        return await jobs.submit(PlanRun("words"), work)

    run = jobs.submit(PlanRun("words"), work)
    assert (run.kind, RenderRun((RECIPE,)).kind) == ("plan", "render")
    assert [token.text for token in run] == ["0", "1", "2"]
    assert run.result() == asyncio.run(main()) == plans
    assert not hasattr(run, "take")
    assert not hasattr(run, "recipes")


def test_a_render_that_ended_without_a_take_says_so(jobs: JobQueue) -> None:
    run = jobs.submit(RenderRun((RECIPE,)), lambda run: run.finish())
    assert run.takes() == []
    with pytest.raises(LabError, match="without a take"):
        run.take()


def test_a_closed_queue_says_so_and_everything_that_waited_is_over() -> None:
    jobs = JobQueue()
    runs = [jobs.submit(RenderRun((RECIPE,)), render) for _ in range(3)]
    until(lambda: runs[0].steps)
    jobs.close()
    assert [run.state for run in runs] == ["stopped"] * 3
    for late in (lambda: jobs.submit(RenderRun((RECIPE,)), quick), lambda: jobs.call(lambda: 1), jobs.refuse_to_wait):
        with pytest.raises(LabError, match="closed"):
            late()
    jobs.close()


# --- threads and processes -------------------------------------------------------------------------------------------


def threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_sessions_that_are_dropped_leave_no_threads(tmp_path: Path) -> None:
    before = len(threads("acestep_lab"))
    gone = []
    for number in range(5):
        lab = PretendSession(tmp_path / str(number), pause=0.0)
        lab.start(RECIPE).take()
        gone.append(weakref.ref(lab))
        lab.library.close()
    del lab
    gc.collect()
    assert [ref() for ref in gone] == [None] * 5
    until(lambda: len(threads("acestep_lab")) == before)


def test_what_was_asked_of_a_dropped_queue_is_still_done() -> None:
    jobs = JobQueue("dropped")
    runs = [jobs.submit(RenderRun((RECIPE,)), lambda run: render(run, 10)) for _ in range(2)]
    del jobs
    gc.collect()
    assert [run.take().recipe for run in runs] == [RECIPE] * 2
    until(lambda: not threads("dropped"))


def script(text: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run a small program that has a queue, a run that takes seconds, and `quick`."""
    head = """
        import os, sys, threading, time
        from acestep_lab.errors import LabError
        from acestep_lab.prompt.recipe import Recipe
        from acestep_lab.jobs.queue import JobQueue
        from acestep_lab.jobs.kinds import RenderRun
        recipe, jobs = Recipe("dub", seconds=2, seed=1), JobQueue()
        def long(run):
            run.enter("rendering")
            while True:
                run.check()
                time.sleep(0.01)
        def quick(run):
            run.finish()
    """
    program = textwrap.dedent(head) + textwrap.dedent(text)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=seconds, check=False)


def test_after_a_fork_there_is_a_sentence_and_no_hang() -> None:
    done = script("""
        over, run = jobs.submit(RenderRun((recipe,)), quick), jobs.submit(RenderRun((recipe,)), long)
        over.wait()
        child = os.fork()
        if child == 0:
            said = []
            for ask in (lambda: jobs.submit(RenderRun((recipe,)), quick), lambda: jobs.call(int), run.wait, run.take,
                        lambda: list(run), lambda: run.subscribe(print), jobs.refuse_to_wait):
                try:
                    ask()
                except LabError as error:
                    said.append("after a fork" in str(error))
            run.stop(), jobs.close(), jobs.waiting, run.position, run.eta
            fresh = JobQueue()
            said.append(over.wait() and fresh.submit(RenderRun((recipe,)), quick).wait())
            os._exit(0 if said == [True] * 8 else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("child", status, "parent", run.state)
    """)
    assert done.stdout.strip() == "child 0 parent rendering", done.stderr


def test_python_ends_at_once_with_a_run_under_way_and_no_thread_left() -> None:
    began = time.monotonic()
    done = script("""
        run = jobs.submit(RenderRun((recipe,)), long)
        waiting = jobs.submit(RenderRun((recipe,)), long)
        while run.state != "rendering":
            time.sleep(0.01)
        print("going")
    """)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "going", "")
    assert time.monotonic() - began < 8
