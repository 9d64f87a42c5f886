"""The queue is fair by person and says its real order; one person's Stop, quota and takes are their own."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acestep_lab.errors import LabError, LibraryError, Stopped
from acestep_lab.jobs.client import Client
from acestep_lab.jobs.eta import Round, StageHistory, Work
from acestep_lab.jobs.fair_queue import FairQueue, network
from acestep_lab.jobs.kinds import PlanRun, RenderRun
from acestep_lab.jobs.owners import FILE, Owners
from acestep_lab.jobs.queue import MOST_ASIDE, MOST_WAITING, JobQueue
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover, Repaint, Retake, Text2Music
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend, backend_of
from acestep_lab.ui.studio import Studio
from tests.pretend import PretendSession, png, tone
from tests.test_ui_editors import sent

# --- the order -------------------------------------------------------------------------------------------------------


def queue_of(*asked: tuple[str, float]) -> FairQueue[str]:
    """A queue of jobs named after who asked, "ada1", "ada2" …"""
    queue: FairQueue[str] = FairQueue()
    count: dict[str, int] = {}
    for who, seconds in asked:
        count[who] = count.get(who, 0) + 1
        queue.join(f"{who}{count[who]}", (who, who), seconds)
    return queue


def served(queue: FairQueue[str]) -> list[str]:
    """All that waits, in the order it is really served."""
    found = []
    while (run := queue.pop()) is not None:
        found.append(run)
        queue.leave(run)
    return found


def test_people_take_turns_and_one_who_asks_for_much_does_not_keep_the_others_waiting() -> None:
    queue = queue_of(*[("ada", 30.0)] * 4, ("bob", 30.0), ("bob", 30.0), ("cem", 30.0))
    assert served(queue) == ["ada1", "bob1", "cem1", "ada2", "bob2", "ada3", "ada4"]


def test_turns_are_weighed_by_seconds_asked() -> None:
    queue = queue_of(*[("ada", 240.0)] * 2, *[("bob", 60.0)] * 6)
    assert served(queue) == ["ada1", "bob1", "bob2", "bob3", "bob4", "ada2", "bob5", "bob6"]


def test_whoever_comes_late_is_next_but_does_not_catch_up_on_time_they_did_not_ask_for() -> None:
    queue = queue_of(*[("ada", 30.0)] * 6)
    for _ in range(3):
        queue.leave(queue.pop() or "")
    queue.pop()
    for _ in range(3):
        queue.join("bob", ("bob", "bob"), 30.0)
    assert queue.order() == ["ada4", "bob", "ada5", "bob", "ada6", "bob"]


def test_whoever_has_been_served_and_comes_back_waits_for_those_who_were_not() -> None:
    queue = queue_of(("ada", 240.0), ("bob", 30.0), ("bob", 30.0))
    queue.leave(queue.pop() or "")
    queue.join("ada again", ("ada", "ada"), 10.0)
    assert served(queue) == ["bob1", "bob2", "ada again"]


def test_what_was_stopped_early_costs_only_what_it_used() -> None:
    queue = queue_of(("ada", 200.0), ("ada", 30.0), ("bob", 30.0), ("bob", 30.0), ("bob", 30.0))
    queue.leave(queue.pop() or "", share=0.1)
    assert served(queue) == ["bob1", "ada2", "bob2", "bob3"]


def test_whoever_stops_or_fails_early_pays_the_least_and_is_not_next_again() -> None:
    queue = queue_of(*[("ada", 30.0)] * 4, ("bob", 30.0), ("ada", 0.0))
    for done in ("ada1", "bob1"):
        assert queue.pop() == done
        queue.leave(done, share=0.0)
    assert served(queue)[:2] == ["ada2", "ada3"]


def test_one_person_at_several_addresses_has_one_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(4):
        queue.join(f"ada{number}", (f"at 192.0.2.{number}", "ada"), 30.0)
    for number in range(3):
        queue.join(f"bob{number}", ("at 198.51.100.1", "bob"), 30.0)
    assert queue.order() == ["ada0", "bob0", "ada1", "bob1", "ada2", "bob2", "ada3"]
    assert served(queue) == ["ada0", "bob0", "ada1", "bob1", "ada2", "bob2", "ada3"]


def test_people_of_one_address_share_what_it_gets() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(3):
        queue.join(f"cookie{number}", ("192.0.2.7", f"cookie{number}"), 30.0)
    queue.join("bob1", ("192.0.2.8", "bob"), 30.0)
    queue.join("bob2", ("192.0.2.8", "bob"), 30.0)
    assert served(queue) == ["cookie0", "bob1", "cookie1", "bob2", "cookie2"]


def test_a_queue_that_is_empty_remembers_nobody() -> None:
    queue = queue_of(*[(f"person {number}", 30.0) for number in range(100)])
    served(queue)
    assert (queue._served, queue._now) == ({}, {})


ASKED = st.tuples(st.sampled_from("abcd"), st.floats(0, 600))


@settings(max_examples=150, deadline=None)
@given(st.lists(ASKED, max_size=25), st.data())
def test_the_order_that_is_told_is_the_order_that_comes_whoever_joins_or_leaves(
    asked: list[tuple[str, float]], data: st.DataObject
) -> None:
    queue: FairQueue[int] = FairQueue()
    under_way: int | None = None
    for number, (who, seconds) in enumerate(asked):
        queue.join(number, (who, who), seconds)
        action = data.draw(st.sampled_from(["nothing", "serve", "end", "give up"]))
        if action == "serve" and under_way is None:
            next_one = queue.order()[0]
            under_way = queue.pop()
            assert under_way == next_one
            assert queue.order()[0] == under_way
        elif action == "end" and under_way is not None:
            queue.leave(under_way, data.draw(st.floats(0, 1)))
            under_way = None
        elif action == "give up" and queue.waiting:
            gone = data.draw(st.sampled_from(queue.waiting))
            queue.leave(gone)
            assert gone not in queue.order()
    told_order = queue.order()
    if under_way is not None:
        assert told_order.pop(0) == under_way
        queue.leave(under_way)
        told_order = queue.order()
    real = []
    while (run := queue.pop()) is not None:
        real.append(run)
        queue.leave(run)
    assert real == told_order


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 240)), min_size=1, max_size=40))
def test_nobody_who_waits_is_behind_another_by_more_than_one_piece_of_work(asked: list[tuple[str, float]]) -> None:
    """The bound of start-time fair queueing: over any time in which two wait, they differ by at most one piece each."""
    queue: FairQueue[int] = FairQueue()
    for number, (who, seconds) in enumerate(asked):
        queue.join(number, (who, who), seconds)
    got = dict.fromkeys("abc", 0.0)
    longest = max(seconds for _, seconds in asked)
    while (run := queue.pop()) is not None:
        who, seconds = asked[run]
        got[who] += seconds
        queue.leave(run)
        left = {asked[waiting][0] for waiting in queue.waiting}
        assert all(abs(got[one] - got[other]) <= longest + 1e-6 for one in left for other in left)


@pytest.mark.parametrize(
    ("address", "is_"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::99", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", ""),
        ("a unix socket", "a unix socket"),
    ],
)
def test_a_visitor_is_known_by_the_network_they_come_from(address: str, is_: str) -> None:
    assert network(address) == is_


# --- runs ------------------------------------------------------------------------------------------------------------


def run_for(owner: str, seconds: float = 30.0, expected: float | None = 10.0, address: str = "") -> RenderRun:
    work = Work("known" if expected else "unknown", {"render": [Round(1.0, expected or 1.0)]})
    with Client(owner, address).acting():
        return RenderRun((Recipe("dub", seconds=seconds, seed=1),), work)


@pytest.fixture
def gate() -> Iterator[threading.Semaphore]:
    gate = threading.Semaphore(0)
    yield gate
    for _ in range(1000):
        gate.release()


def test_position_and_time_to_go_are_those_of_the_real_order_as_others_join_and_leave(
    gate: threading.Semaphore,
) -> None:
    history = StageHistory()
    history.learn("known", "render", size=1.0, piece=1.0)
    jobs, ended = JobQueue(history=history), []

    def work(run: RenderRun) -> None:
        run.enter("rendering")
        gate.acquire()
        run.finish()
        ended.append(run)

    running, *adas = [jobs.submit(run_for("ada"), work) for _ in range(4)]
    running.subscribe(lambda event: None)
    while running.state == "queued":
        threading.Event().wait(0.005)
    assert [run.position for run in adas] == [1, 2, 3]
    bob = jobs.submit(run_for("bob"), work)
    assert (bob.position, [run.position for run in adas]) == (1, [2, 3, 4])
    assert jobs.waiting == (running, bob, *adas)
    assert bob.eta == pytest.approx(20, abs=1)
    assert adas[2].eta == pytest.approx(50, abs=1)
    adas[0].stop()
    assert (adas[1].position, adas[2].position) == (2, 3)
    assert adas[2].eta == pytest.approx(40, abs=1)
    unknown = jobs.submit(run_for("cem", expected=None), work)
    assert (unknown.position, unknown.eta, adas[1].eta) == (2, None, None)
    unknown.stop()
    for _ in range(4):
        gate.release()
    assert adas[2].wait(5)
    assert ended == [running, bob, adas[1], adas[2]]
    assert [run.eta for run in (bob, adas[0])] == [0.0, 0.0]
    jobs.close()


def test_a_client_stops_what_was_begun_on_its_behalf_and_what_is_about_to_begin() -> None:
    ada, bob = Client("ada"), Client("bob")
    with ada.acting():
        one = RenderRun((Recipe("dub"),))
        with bob.acting():
            other = RenderRun((Recipe("dub"),))
    ada.stop()
    with ada.acting():
        late = RenderRun((Recipe("dub"),))
    assert [run.stopping for run in (one, other, late, RenderRun((Recipe("dub"),)))] == [True, False, True, False]
    assert [run.client.owner for run in (one, other, RenderRun((Recipe("dub"),)))] == ["ada", "bob", ""]


# --- the backend -----------------------------------------------------------------------------------------------------


class Planning(PretendSession):
    """A pretend session whose planner writes until it is stopped, or let through."""

    def plan(self, recipe: Recipe, *, keep: Plan | None = None, on_token: Any = None) -> Plan:
        def work(run: PlanRun) -> None:
            with run.stage("plan"):
                self._wait(run)
                run.check()
                run.written([Plan(bpm=118)])
            run.finish()

        [plan] = self.jobs.submit(PlanRun(recipe.caption), work).result()
        return plan


@pytest.fixture
def lab(tmp_path: Path, gate: threading.Semaphore) -> Iterator[Planning]:
    session = Planning(tmp_path / "library", gate=gate)
    yield session
    session.close()
    session.library.close()


def page_of(session: Any, owner: str = "", address: str = "") -> Studio:
    return Studio(
        backend_of(session),
        owner,
        address=address,
        panes=False,
        picture=png,
        crossfades=lambda mode, strength: (0.04, 0.05),
    )


def until(ready: Callable[[], Any]) -> None:
    for _ in range(1000):
        if ready():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


def song(seed: int = 1, seconds: float = 2.0) -> Recipe:
    return Recipe("dub", seconds=seconds, seed=seed)


def test_one_persons_stop_ends_their_own_planning_and_no_other(lab: Planning, gate: threading.Semaphore) -> None:
    ada, bob = page_of(lab, "ada"), page_of(lab, "bob")
    mine = threading.Thread(target=lambda: notebook.append(lab.plan(song())))
    notebook: list[Plan] = []
    ada.planning.plan_first(song())
    until(lambda: len(lab.runs) == 1)
    bob.planning.plan_first(song())
    mine.start()
    until(lambda: len(lab.runs) == 3)
    bob.planning.stop_writing()
    until(lambda: not bob.plan.live)
    assert [run.client.owner for run in lab.runs] == ["ada", ""]
    assert not any(run.stopping for run in lab.runs)
    for _ in range(2):
        gate.release()
    mine.join(10)
    until(lambda: not ada.plan.live)
    assert ada.plan.value is not None
    assert (ada.plan.value.bpm, notebook[0].bpm) == (118, 118)
    assert bob.plan.value is None


def test_a_page_that_goes_takes_its_planning_along(lab: Planning) -> None:
    ada = page_of(lab, "ada")
    ada.planning.plan_first(song())
    until(lambda: len(lab.runs) == 1)
    ada.close()
    until(lambda: not lab.runs)


def test_planning_waits_its_turn_and_counts(lab: Planning) -> None:
    backend, client = backend_of(lab), Client("ada")
    for number in range(MOST_WAITING - 1):
        backend.start(song(number), owner="ada")
    said: list[str] = []

    def ask() -> None:
        try:
            backend.ask(client, lambda: lab.plan(song()))
        except Stopped:
            said.append("stopped")

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: len(lab.runs) == MOST_WAITING)
    for more in (
        lambda: backend.start(song(99), owner="ada"),
        lambda: backend.ask(Client("ada"), lambda: lab.plan(song())),
    ):
        with pytest.raises(LabError, match="12 runs are waiting already; stop one"):
            more()
    assert backend.start(song(), owner="bob").position == 1
    client.stop()
    for run in backend.jobs.runs("ada"):
        backend.jobs.stop(run.id, "ada")
    asking.join(10)
    assert said == ["stopped"]
    until(lambda: all(run.over for run in backend.jobs.runs("ada")))
    backend.start(song(5), owner="ada")


def test_a_new_cookie_buys_no_new_quota_from_one_address(lab: Planning) -> None:
    backend = backend_of(lab)
    for number in range(MOST_WAITING):
        backend.start(song(number), owner=f"cookie {number}", address=f"2001:db8::{number}")
    with pytest.raises(LabError, match="12 runs are waiting already"):
        backend.start(song(), owner="another cookie", address="2001:db8::ffff")
    backend.start(song(), owner="bob", address="192.0.2.8")
    for number in range(MOST_WAITING):
        backend.start(song(number), owner="", address="127.0.0.1")
    page = page_of(lab, "one more cookie", "2001:db8::1")
    messages = sent(page.prompt)
    page.prompt.do_edit("caption", "dub")
    page.prompt.receive({"kind": "make"}, [])
    assert any("waiting already" in message.get("text", "") for message in messages)


def test_a_page_lists_the_queue_in_its_real_order_and_tells_the_real_wait(lab: Planning) -> None:
    ada, bob = page_of(lab, "ada"), page_of(lab, "bob")
    jobs = [ada.start(song(number)) for number in range(3)]
    late = bob.start(song(9))
    ada.watching._throttle.flush()
    ada.watching._show_queue()
    order = [jobs[0].id, late.id, jobs[1].id, jobs[2].id]
    assert [row["id"] for row in ada.queue.rows] == order
    assert [row["position"] for row in ada.queue.rows] == [0, 1, 2, 3]
    etas = [row["eta"] for row in ada.queue.rows]
    assert etas == sorted(etas)
    assert etas[3] == pytest.approx(4.0, abs=0.8)
    ada.backend.jobs.stop(jobs[1].id, "ada")
    assert jobs[2].position == 2


# --- takes and their owners ------------------------------------------------------------------------------------------


@pytest.fixture
def quick_lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


def take(seed: int = 1) -> Take:
    import numpy as np

    return Take(song(seed), tone(1.0, seed), np.zeros((4, 8), np.float32))


def ids_of(run: Any) -> list[str]:
    return [take.id for take in run.made.values()]


def made_by(backend: Backend, owner: str, recipe: Recipe) -> str:
    run = backend.start(recipe, owner=owner)
    assert run.wait(10)
    backend.session.jobs.call(lambda: None)  # by then the backend has heard of the end
    [id] = ids_of(run)
    return id


def test_two_who_make_the_very_same_take_both_have_it_and_the_first_owns_it(quick_lab: PretendSession) -> None:
    backend = backend_of(quick_lab)
    id = made_by(backend, "ada", song())
    backend.takes.mark(id, "ada", star=True, note="for my mother")
    assert made_by(backend, "bob", song()) == id
    assert (backend.takes.owner_of(id), backend.takes.owners.holders(id)) == ("ada", ("ada", "bob"))
    assert backend.takes.take(id, "bob").id == id
    [card] = backend.cards("bob")
    assert (card["id"], card["star"], card["note"]) == (id, False, "")
    for forbidden in (lambda: backend.takes.mark(id, "bob", star=False), lambda: backend.takes.take(id, "cem")):
        with pytest.raises(LibraryError, match="somebody else"):
            forbidden()
    assert backend.takes.bin([id], "bob") == []
    assert (backend.takes.ids("bob"), backend.takes.ids("ada")) == ([], [id])
    again = Backend(quick_lab)
    assert (again.takes.owner_of(id), again.takes.ids("bob"), again.cards("ada")[0]["note"]) == (
        "ada",
        [],
        "for my mother",
    )


def test_whoever_bins_what_others_made_as_well_takes_it_from_nobody(quick_lab: PretendSession) -> None:
    backend = backend_of(quick_lab)
    [id] = {made_by(backend, who, song()) for who in ("ada", "bob")}
    own = made_by(backend, "ada", song(2))
    backend.takes.mark(id, "ada", note="for my mother")
    assert backend.takes.bin([id, own], "ada") == [own]
    assert (backend.takes.ids("ada"), backend.takes.ids("bob"), backend.takes.owner_of(id)) == ([], [id], "ada")
    for forbidden in (lambda: backend.takes.take(id, "ada"), lambda: backend.takes.mark(id, "bob", star=True)):
        with pytest.raises(LibraryError, match="somebody else"):
            forbidden()
    assert backend.cards("bob")[0]["note"] == ""
    again = Backend(quick_lab)
    assert set(again.takes.binned("ada")) == {id, own}
    assert (again.takes.ids("ada"), again.takes.ids("bob")) == ([], [id])
    assert set(backend.takes.restore("ada")) == {id, own}
    assert (set(backend.takes.ids("ada")), backend.takes.ids("bob"), backend.takes.binned("ada")) == (
        {id, own},
        [id],
        [],
    )
    assert backend.takes.bin([id], "ada") == []
    assert backend.takes.bin([id], "bob") == [id], "nobody has it any more"
    assert (backend.takes.binned("bob"), backend.takes.binned("ada")) == ([id], [])
    assert backend.takes.restore("bob") == [id]
    assert (backend.takes.ids("bob"), backend.takes.ids("ada")) == ([id], [own])
    assert made_by(backend, "ada", song()) == id
    assert (backend.takes.owner_of(id), set(backend.takes.ids("ada"))) == ("ada", {id, own})


def test_a_file_that_claims_a_known_id_never_stands_for_the_take_that_has_it(quick_lab: PretendSession) -> None:
    backend, adas = backend_of(quick_lab), take(2)
    backend.takes.keep(adas, "ada")
    forged = song(2).replace(caption="forged")

    class Claims(Take):
        """Says it were another one, as a file might."""

        id = adas.id  # type: ignore[assignment]

    for who in ("bob", "ada", ""):
        backend.takes.keep(Claims(forged, tone(1.0, 9), adas.latent), who, made=False)
        known = backend.takes.take(adas.id, "ada")
        assert (known.recipe, known.audio) == (adas.recipe, adas.audio), who
    assert backend.takes.ids("bob") == backend.takes.ids("") == []


def test_one_persons_small_requests_are_done_a_few_at_once(quick_lab: PretendSession) -> None:
    backend = backend_of(quick_lab)
    id = made_by(backend, "ada", song())
    hold = threading.Event()
    heard = SimpleNamespace(bpm=120.0, pulse=0.5, key_confidence=0.1, loudness=-14.0)
    quick_lab.use("pretend-tokens")
    quick_lab.analyze = lambda take: hold.wait(20) and heard  # type: ignore[attr-defined]
    ada, again, bob = page_of(quick_lab, "ada"), page_of(quick_lab, "ada"), page_of(quick_lab, "bob")
    before = threading.active_count()
    answers = [sent(page.gallery) for page in (ada, again)]
    for page in (ada, again):
        for _ in range(30):
            page.gallery.receive({"kind": "analyze", "ids": [id]})
    assert threading.active_count() - before <= MOST_ASIDE
    refused = [one for heard in answers for one in heard if "being done for you already" in one.get("text", "")]
    assert len(refused) == 60 - MOST_ASIDE
    done = []
    bob.collecting.in_background(bob.gallery, lambda: done.append(1))
    until(lambda: done)
    newcomer = Client("cem", "192.0.2.7")
    for who in range(MOST_ASIDE):
        backend.jobs.attend(Client(f"cookie {who}", "192.0.2.7"))
    with pytest.raises(LabError, match="already"):
        backend.jobs.attend(newcomer)
    hold.set()
    until(lambda: [one for one in backend.jobs._attended if one.owner == "ada"] == [])


def test_presets_are_their_makers_own(quick_lab: PretendSession) -> None:
    pages = {who: page_of(quick_lab, who) for who in ("", "ada", "../bob", "user:" + "x" * 190)}
    for who, page in pages.items():
        page.prompt.do_edit("caption", f"words of {who[:20]}")
        page.prompt.do_save_preset("my own")
        page.prompt.do_save_preset(f"of {who[:20] or 'the host'}")
    for who in pages:
        page = page_of(quick_lab, who)
        assert {name for name in page.prompt.presets if name.startswith("of ")} == {f"of {who[:20] or 'the host'}"}
        page.prompt.do_preset("my own")
        assert page.prompt.value.caption == f"words of {who[:20]}"
    assert len(list(quick_lab.library.folder.glob("presets*.yaml"))) == len(pages)
    assert (quick_lab.library.folder / "presets.yaml").is_file(), "the host's are where they were"


def test_what_is_only_in_memory_is_told_to_whom_it_belongs(quick_lab: PretendSession) -> None:
    backend = backend_of(quick_lab)
    backend.takes.owners._path = quick_lab.library.folder / "gone" / FILE
    assert "stays in memory" in backend.takes.keep(take(1), "ada")
    pages = [page_of(quick_lab, who) for who in ("ada", "bob", "")]
    assert [page.top.unsaved for page in pages] == [1, 0, 0]


def test_a_file_brought_by_another_changes_no_owner_and_opens_nothing(quick_lab: PretendSession) -> None:
    backend, hosts, adas = backend_of(quick_lab), take(1), take(2)
    quick_lab.library.keep(hosts)
    assert backend.takes.keep(adas, "ada") == ""
    for known in (hosts, adas):
        assert "somebody else's" in backend.takes.keep(known, "bob", made=False)
        with pytest.raises(LibraryError, match="somebody else"):
            backend.takes.take(known.id, "bob")
    assert (backend.takes.ids("bob"), backend.takes.ids(""), backend.takes.ids("ada")) == ([], [hosts.id], [adas.id])
    assert backend.takes.keep(take(3), "bob", made=False) == ""
    assert backend.takes.ids("bob") == [take(3).id]


def test_nobody_starts_from_what_is_somebody_elses_by_naming_its_id(quick_lab: PretendSession) -> None:
    backend, adas, recording = backend_of(quick_lab), take(2), tone(1.0, 5)
    backend.takes.keep(adas, "ada")
    backend.takes.keep(take(3).replace(parents=(recording.id,)), "ada")
    quick_lab.library.keep_sound(recording)
    forged = take(4).replace(recipe=song(4).replace(task=Repaint(adas.id, ((0, 1),))))
    backend.takes.keep(forged, "bob", made=False)
    stolen = [
        Cover(adas.id),
        Retake(forged, 0.1, 1),
        Retake(forged.id, 0.1, 1),
        Text2Music(reference=adas.id),
        Cover(recording.id),
        Cover("/etc/passwd"),
        Cover(Path("/etc/passwd")),
    ]
    for task in stolen:
        with pytest.raises(LibraryError, match=r"somebody else|no recording of yours"):
            backend.start(song().replace(task=task), owner="bob")
        with pytest.raises(LibraryError, match=r"somebody else|no recording of yours"):
            backend.start([song(), song().replace(task=task)], owner="bob")
    assert quick_lab.runs == ()
    for task in (Cover(adas.id), Cover(recording.id)):
        assert backend.start(song().replace(task=task), owner="ada").wait(10)
    bob = page_of(quick_lab, "bob")
    messages = sent(bob.picker)
    bob.select(forged.replace(parents=(adas.id,)))
    until(lambda: any("somebody else" in message.get("text", "") for message in messages))
    assert bob.picker.verdict == ""


def test_a_take_that_lay_in_the_library_before_is_still_its_owners_when_somebody_makes_it_again(
    tmp_path: Path,
) -> None:
    class Keeping(PretendSession):
        """Keeps a take the moment it exists, as a session does."""

        def _take(self, recipe: Recipe, frame: Any) -> Take:
            made = super()._take(recipe, frame)
            self.library.keep(made)
            return made

    session = Keeping(tmp_path / "library", pause=0.0)
    hosts = session.start(song(1)).take()
    backend = backend_of(session)
    assert made_by(backend, "bob", song(1)) == hosts.id
    assert backend.takes.owners.holders(hosts.id) == ("", "bob")
    mine = made_by(backend, "bob", song(2))
    assert backend.takes.owners.holders(mine) == ("bob",)
    session.close()
    session.library.close()


BROKEN: dict[str, Callable[[Path], object]] = {
    "no json": lambda path: path.write_text("{"),
    "a list": lambda path: path.write_text("[1]"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "utf-16": lambda path: path.write_bytes(b"\xff\xfe{"),
    "bytes": lambda path: path.write_bytes(b"\x80\x81\x82"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a broken link": lambda path: path.symlink_to("nowhere"),
    "infinite": lambda path: path.write_text('{"a": Infinity}'),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_list_of_owners_is_told_kept_aside_and_gives_nothing_away(
    quick_lab: PretendSession, kind: str
) -> None:
    path = quick_lab.library.folder / FILE
    quick_lab.library.keep(take(7))
    BROKEN[kind](path)
    page = page_of(quick_lab, "bob")
    assert "list of owners" in page.top.banner
    assert page.gallery.cards == []
    assert os.path.lexists(path), "reading changes nothing"
    id = made_by(page.backend, "bob", song())
    assert (page.backend.takes.ids("bob"), page.backend.takes.ids("")) == ([id], [take(7).id])
    assert json.loads(path.read_text()) == {id: "bob"}
    assert len(list(path.parent.glob("owners-unread-*"))) == 1


def test_entries_that_name_nobody_cost_only_themselves(tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "take-a": {"made": []},
        "take-b": {"made": ["ada"], "left": [5]},
        "take-c": {"made": "ada", "left": {"x": 1}},
        "take-1": None,
        "take-2": 5,
        "take-3": ["ada", 5],
        "take-4": [],
        "take-5": {},
        "take-6": "x" * 999,
    }
    (tmp_path / FILE).write_text(json.dumps(odd | {"take-7": "ada", "take-8": ["bob", "ada"]}))
    owners = Owners(tmp_path)
    assert owners.problem.startswith("9 entries")
    assert [owners.of(id) for id in (*odd, "take-7", "take-8")] == [None] * 9 + ["ada", "bob"]
    assert owners.holders("take-8") == ("bob", "ada")
    owners.claim("take-9", None, "cem")
    owners.write()
    assert json.loads((tmp_path / FILE).read_text()) == {"take-7": "ada", "take-8": ["bob", "ada"], "take-9": "cem"}


def test_two_processes_write_one_list_and_neither_takes_from_the_other(tmp_path: Path) -> None:
    one, two = Owners(tmp_path), Owners(tmp_path)
    one.claim("take-1", None, "ada")
    one.write()
    two.claim("take-2", None, "bob")
    two.write()
    assert two.of("take-1") == "ada"
    (tmp_path / FILE).write_text(json.dumps({"take-1": "mallory", "take-2": "mallory"}))
    one.write()
    assert one.of("take-1") == "ada"
    assert json.loads((tmp_path / FILE).read_text())["take-1"] == "ada"


def test_a_list_of_owners_that_cannot_be_written_costs_a_sentence_and_no_take(quick_lab: PretendSession) -> None:
    backend = backend_of(quick_lab)
    backend.takes.owners._path = quick_lab.library.folder / "gone" / FILE
    assert "stays in memory" in backend.takes.keep(take(1), "ada")
    assert backend.takes.ids("ada") == [take(1).id]
    backend.takes.owners._path = quick_lab.library.folder / FILE
    assert backend.takes.keep_unsaved() == ""
    assert backend.takes.unsaved == ()


def test_takes_show_one_by_one_and_those_of_a_stopped_run_stay(tmp_path: Path) -> None:
    class OneByOne(PretendSession):
        """A run of several songs, each kept before the next."""

        def _render(self, run: RenderRun) -> None:
            run.enter("rendering")
            for place in (2, 0, 1):
                self._wait(run)
                run.check()
                run.add(place, take(place))
            run.finish()

    gate = threading.Semaphore(0)
    session = OneByOne(tmp_path / "library", gate=gate)
    page = page_of(session, "ada")
    page.composing._start_sweep(("seed", [0, 1, 2]), None, [[song(0), song(1), song(2)]])
    run = page.backend.jobs.runs()[0]
    gate.release()
    until(lambda: page.gallery.grid["cells"] == [["", "", take(2).id]])
    gate.release()
    until(lambda: page.gallery.grid["cells"] == [[take(0).id, "", take(2).id]])
    page.backend.jobs.stop(run.id, "ada")
    assert run.wait(10)
    session.jobs.call(lambda: None)
    assert run.state == "stopped"
    assert ids_of(run) == [take(0).id, take(2).id]
    assert set(session.library.ids()) == set(ids_of(run)) == set(page.backend.takes.ids("ada"))
    session.close()
    session.library.close()
