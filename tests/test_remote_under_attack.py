"""What strangers ask of a box, and what a broken or hostile box says to a laptop: sentences on both sides, nobody else's
sounds, no key at another address, no thread that stays."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from acestep_lab import Cover, Plan, Recipe, Retake, Text2Music
from acestep_lab.errors import LabError, LibraryError, MachineError
from acestep_lab.remote import stream
from acestep_lab.remote.connection import Connection, ConnectionLost
from acestep_lab.remote.facts import Facts
from acestep_lab.remote.library import RemoteLibrary
from acestep_lab.remote.session import RemoteSession
from acestep_lab.remote.stream import EventStream, lines_of, read_events
from acestep_lab.remote.telling import read_event, recipes_from, understood
from acestep_lab.remote.transfer import send_take
from acestep_lab.remote.wire import Problem, fits, to_wire
from acestep_lab.serve import api_lab_runs
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.api_background import serve
from acestep_lab.serve.api_lab_asked import RUNS, VERBS
from acestep_lab.serve.api_lab_runs import LabRun, LabRuns
from acestep_lab.takes.take import Take
from tests.pretend import PretendSession, tone

HOST, ADA = "the-hosts-key", "the-key-of-ada"
SONG = Recipe("dub", seconds=1.0, seed=3)
JUNK: tuple[Any, ...] = (
    None, True, 5, -1, 10**12, 1.5, "", "x", "/etc/passwd", r"\\host\a.wav", "file:///etc/passwd", "take-1", [], [[1]], {},
    {"a": 1}, {"$": "nope", "value": 1}, {"$": "recipe", "value": []}, {"$": "number", "value": "nan"},
    {"$": "plan", "value": {"codes": [10**300]}}, {"$": "task", "value": {"task": "Cover", "source": "/etc/passwd"}},
    {"$": "sampling", "value": {"kind": []}}, {"$": "capabilities", "value": {"vocabulary": 1}}, to_wire(SONG), [to_wire(SONG)],
)  # fmt: skip


class Line(httpx2.BaseTransport):
    """A network on which some answers are swapped for others: `swaps` gives them by a part of their path."""

    def __init__(self) -> None:
        self.swaps: dict[str, Callable[[httpx2.Request], httpx2.Response]] = {}
        self.asked: list[httpx2.Request] = []
        self._net = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        for part, answer in self.swaps.items():
            if part in request.url.path:
                return answer(request)
        return self._net.handle_request(request)

    def close(self) -> None:
        self._net.close()


class Desk:
    """A box with two keys, and a laptop over a line that can be tampered with."""

    def __init__(self, folder: Path) -> None:
        self.lab = PretendSession(folder / "there", pause=0.001)
        self.door = ApiServer(self.lab, 0, keys=[HOST, ADA])
        self.line = Line()
        self.ada = Connection(self.door.address, ADA, transport=self.line, patience=0.3)
        self.far = RemoteSession(self.ada, RemoteLibrary(self.ada, folder / "mirror"))

    def says(self, part: str, value: Any, status: int = 200) -> None:
        """Have the box answer so, wherever a path has this part."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.line.swaps = {part: lambda _: httpx2.Response(status, content=body)}

    def tells(self, *events: tuple[str, Any]) -> None:
        """Have runs tell these events."""
        self.says("/events", sse(*events))

    def close(self) -> None:
        self.line.swaps = {}
        self.far.close()
        self.far.library.close()
        self.door.close()
        self.lab.close()
        self.lab.library.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def honest(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test begins with an honest line."""
    yield
    if "desk" in request.fixturenames:
        request.getfixturevalue("desk").line.swaps = {}


def sse(*events: tuple[str, Any]) -> bytes:
    rows = [(kind, data if isinstance(data, str) else json.dumps(data)) for kind, data in events]
    return "".join(f"id: {n}\nevent: {kind}\ndata: {data}\n\n" for n, (kind, data) in enumerate(rows, 1)).encode()


STEP = {"number": 0, "index": 0, "steps": 6, "t": 1.0, "item": 0, "checkpoint": "a", "seen": True, "walked": True}
OUTCOME = {"state": "done", "error": None, "value": None, "takes": {}, "problem": ""}


# -- strangers at the box


ASKED: dict[str, dict[str, Any]] = {
    "use": {"checkpoint": "pretend"}, "cost": {"checkpoint": "pretend"}, "defaults": {"task": to_wire(Text2Music())},
    "resolve": {"recipes": [to_wire(SONG)]}, "lora": {"adapters": []}, "codes": {"source": ""}, "analyze": {"source": ""}, "align": {"source": "", "lyrics": "la"},
    "scores": {"source": "", "reference": True, "anew": False},
    "notes": {"source": ""}, "attribute": {"take": "", "what": ["phrases"]}, "attribution_cost": {"take": ""},
    "plan_score": {"source": "", "plan": to_wire(Plan(bpm=90)), "scale": 0.1}, "capabilities_of": {"checkpoint": "pretend"},
    "has_planner_of": {"checkpoint": "pretend"}, "render": {"recipes": [to_wire(SONG)], "plan": None, "adapters": []},
    "vary": {"source": to_wire(SONG), "seeds": [1], "variance": None}, "verify": {"take": ""},
    "plan": {"recipe": to_wire(SONG), "n": 1, "keep": None}, "sketch": {"sentence": "a", "seed": 1},
    "polish": {"caption": "a", "fixed": {}}, "understand": {"source": "", "seed": 1},
}  # fmt: skip


def test_whatever_is_asked_of_every_verb_is_answered_or_refused_with_a_sentence(desk: Desk) -> None:
    assert set(ASKED) == {*VERBS, *RUNS}
    chance = random.Random(15)
    with httpx2.Client(base_url=desk.door.address, timeout=20) as door:
        for n in range(200):
            verb = chance.choice([*ASKED])
            body = ASKED[verb] | {chance.choice([*ASKED[verb]]): chance.choice(JUNK)}
            path = f"/v1/lab/do/{verb}" if verb in VERBS else "/v1/lab/runs"
            more = {} if verb in VERBS else {"id": f"run-number-{n}", "kind": verb}
            answer = door.post(path, json=body | more, headers={"Authorization": f"Bearer {ADA}"})
            said = answer.json()
            assert answer.status_code < 500, (verb, body, said)
            assert answer.status_code == 200 or (10 < len(said["error"]) <= 300 and "unexpectedly" not in said["error"])


@pytest.mark.parametrize(
    "inner", ["[" * 10_000 + "]" * 10_000, '{"$":"verdict","value":{"word":' * 240 + "1" + "}}" * 240]
)
def test_what_is_nested_too_deeply_is_refused(desk: Desk, inner: str) -> None:
    answer = httpx2.post(
        f"{desk.door.address}/v1/lab/do/resolve", content=f'{{"recipes": {inner}}}',
        headers={"Authorization": f"Bearer {ADA}", "Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 400
    assert "unexpectedly" not in answer.json()["error"]


def test_a_take_that_claims_to_come_from_somebody_elses_is_not_made_again(desk: Desk) -> None:
    secret = desk.lab.keep(desk.lab.make(SONG.replace(seed=77)))
    latent = np.zeros((4, 8), np.float32)
    forged = Take(SONG.replace(task=Cover(secret.id)), tone(1.0, 3), latent, parents=(secret.id,))
    mine = send_take(desk.ada, forged).id
    asked: list[dict[str, Any]] = [
        {"kind": "vary", "source": mine, "seeds": [1]}, {"kind": "vary", "source": mine, "seeds": [1], "variance": 0.5},
        {"kind": "verify", "take": mine}, {"kind": "render", "recipes": [to_wire(SONG.replace(task=Retake(mine, 0.5, 2)))]},
        {"kind": "vary", "source": to_wire(SONG.replace(task=Retake(mine, 0.5, 2))), "seeds": [1]},
        {"kind": "plan", "recipe": to_wire(SONG.replace(task=Retake(mine, 0.5, 2)))},
    ]  # fmt: skip
    for n, one in enumerate(asked):
        with pytest.raises(LibraryError, match="somebody else"):
            desk.ada.post("/v1/lab/runs", {"id": f"forged-{n}-run", **one})
    with pytest.raises(LibraryError, match="somebody else"):
        desk.ada.post("/v1/lab/do/resolve", {"recipes": [to_wire(SONG.replace(task=Retake(mine, 0.5, 2)))]})
    assert len(desk.far.vary(desk.far.make(SONG), [5])) == 1


@pytest.mark.parametrize(
    "question",
    [
        "preview?take=x&at=0&seconds=1", "preview?take=audio-0000&at=0&seconds=1", "preview?at=0&seconds=1e9", "preview?at=1",
        "runs/{run}/hear?step=1&item=0&start=0&end=1e9", "runs/{run}/hear?step=1.5&item=0&start=0&end=1",
        "runs/{run}/hear?step=-1&item=0&start=nan&end=1", "runs/{run}/steps/999999999/0", "runs/{run}/steps/0/999999999",
    ],
)  # fmt: skip
def test_a_question_about_no_step_and_no_time_is_refused(desk: Desk, question: str) -> None:
    desk.ada.post("/v1/lab/runs", {"id": "asked-about", "kind": "render", "recipes": [to_wire(SONG)]})
    list(desk.ada.events("/v1/lab/runs/asked-about/events"))
    answer = httpx2.get(
        f"{desk.door.address}/v1/lab/{question.format(run='asked-about')}", headers={"Authorization": f"Bearer {ADA}"}
    )
    assert answer.status_code in (400, 404)
    assert 10 < len(answer.json()["error"]) <= 300


def test_logs_of_runs_that_are_over_are_bounded_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = LabRun("a", "plan", "")
    monkeypatch.setattr(api_lab_runs, "MOST_LOGGED_BYTES", 10_000)
    for _ in range(api_lab_runs.MOST_LOGGED + 5):
        run.log("message", {"message": "x"})
    assert run.size == sum(len(entry.text) for entry in run.since(0)) > 10_000
    lab = PretendSession(tmp_path, pause=0.0)
    runs = LabRuns(lab)
    for n in range(6):
        id = f"number-{n}"
        made = runs.begin(
            id, "plan", "ada", "", lambda: lambda client, run: run.log("message", {"message": "x" * 4000})
        )
        while not made.over:
            time.sleep(0.001)
    assert len(runs._runs) < 6
    runs.find("number-5", "ada")
    runs.close()
    lab.close()
    lab.library.close()


# -- a box that is broken, or means harm


@pytest.mark.parametrize("status", [200, 302, 500])
@pytest.mark.parametrize(
    "said", [b"", b"<html>", b"[" * 5000, b"NaN", b'{"value": [1, {}]}', b'{"error": 5, "take": "../x"}']
)
def test_an_answer_of_another_shape_is_a_sentence(desk: Desk, said: bytes, status: int) -> None:
    far = desk.far
    asked: list[Callable[[], Any]] = [
        lambda: far.cost("pretend"), lambda: far.defaults(Text2Music()), lambda: far.resolve(SONG), lambda: far.start(SONG).take(),
        lambda: far.analyze(tone(0.3)), lambda: far.codes(tone(0.3)), lambda: far.plan_score(tone(0.3)), lambda: far.plan(SONG),
        lambda: far._line.keep("some-run", 1, 0), lambda: far._line.latent("some-run", 1, 0),
        lambda: far._line.sound("/v1/lab/preview"), lambda: Facts.read(desk.ada.get("/v1/lab"), "http://box"),
    ]  # fmt: skip
    desk.says("/v1/lab", said, status)
    for ask in asked:
        with pytest.raises(LabError) as refused:
            ask()
        assert "unexpectedly" not in str(refused.value)


def test_the_key_stays_at_its_address_wherever_an_answer_sends_us(desk: Desk) -> None:
    desk.line.asked.clear()
    desk.line.swaps = {"/v1/lab": lambda _: httpx2.Response(307, headers={"location": "http://elsewhere.example/v1"})}
    far = desk.far
    for ask in (
        lambda: far.cost("pretend"),
        lambda: list(desk.ada.events("/v1/lab/runs/x/events")),
        lambda: far.start(SONG),
    ):
        with pytest.raises(MachineError, match="elsewhere"):
            ask()
    assert {one.url.host for one in desk.line.asked} == {"127.0.0.1"}


def test_events_of_another_shape_end_a_run_with_a_sentence_or_change_nothing(desk: Desk) -> None:
    odd: list[tuple[str, Any]] = [(kind, junk) for kind in ("step", "take", "recipes", "outcome") for junk in JUNK[:14]]
    odd += [("step", STEP | {name: {"$": "x"}}) for name in STEP if name not in ("seen", "walked")]
    odd += [
        ("step", STEP | {"steps": 0}),
        ("state", {"state": "failed"}),
        ("outcome", "{broken"),
        ("outcome", "[" * 5000),
    ]
    odd += [("outcome", OUTCOME | {"takes": {"99999999": "take-1"}}), ("outcome", OUTCOME | {"state": "failed"})]
    odd += [("recipes", {"recipes": [to_wire(SONG.replace(task=Cover("/etc/passwd")))], "plans": []})]
    for event in random.Random(4).sample(odd, 15):
        desk.tells(event, ("outcome", OUTCOME))
        with pytest.raises(LabError) as refused:
            desk.far.make(SONG)
        assert "unexpectedly" not in str(refused.value), event
    desk.line.swaps = {}
    assert desk.far.make(SONG).seconds == 1.0


def test_what_is_told_of_progress_is_a_number_in_its_bounds() -> None:
    told = read_event("status", {"fraction": 1e300, "eta": {"$": "number", "value": "nan"}, "doing": "x" * 10_000})
    assert told["fraction"] == 1.0
    assert told["eta"] is None
    assert len(told["doing"]) < 5_000
    assert read_event("of a later version", {"a": 1}) == {}


def test_a_value_is_of_the_type_that_it_should_be() -> None:
    good = [
        (1, float),
        (1.5, float),
        ((1, "a"), tuple[int, str]),
        ({"a": 1.0}, dict[str, float]),
        (None, int | None),
        ((), tuple[int, ...]),
    ]
    bad = [
        (True, int),
        (10**30, int),
        ("1", float),
        ((1,), tuple[int, str]),
        ([1], tuple[int, ...]),
        ([None], list[int]),
        (None, int),
    ]
    assert all(fits(value, hint) for value, hint in good)
    assert not any(fits(value, hint) for value, hint in bad)
    with pytest.raises(MachineError), understood("http://box"):
        recipes_from([Recipe("x", task=Cover("/etc/passwd"))])


def test_a_picture_that_does_not_come_does_not_fail_the_render(desk: Desk) -> None:
    desk.says("/steps/", {"error": "This run holds no steps any more.", "detail": "", "code": "ERROR"}, 400)
    run = desk.far.start(SONG)
    assert run.take().seconds == 1.0
    with pytest.raises(LabError, match="no steps"):
        _ = run.steps[0].estimate
    desk.line.swaps = {}
    assert np.asarray(run.steps[5].estimate).shape[1] == 8


def _npy(shape: str, dtype: str, data: bytes) -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


@pytest.mark.parametrize(
    "body",
    [
        b"", b"PK\x03\x04", _npy("(1000000000, 64)", "<f4", b""), _npy("(2,)", "<f4", bytes(8)), _npy("(1, 2)", "|O", bytes(16)),
        _npy("(1, 2)", "<f8", bytes(16)), _npy("(1, 2)", "<f4", bytes(12)), _npy("(" * 100, "<f4", b""),
    ],
)  # fmt: skip
def test_a_latent_is_what_its_bytes_hold_and_not_what_its_header_claims(desk: Desk, body: bytes) -> None:
    desk.says("/steps/", body)
    with pytest.raises(MachineError, match="cannot be read"):
        desk.far._line.latent("some-run", 1, 0)
    desk.says("/steps/", _npy("(1, 2)", "<f4", struct.pack("<2f", 1.0, float("nan"))))
    np.testing.assert_array_equal(desk.far._line.latent("some-run", 1, 0), [[1.0, np.nan]])


def test_a_stream_is_gone_on_with_once_and_nothing_is_told_twice() -> None:
    asked: list[str | None] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers.get("Last-Event-ID"))
        if len(asked) == 2:
            return httpx2.Response(503, content=b"a machine before it")
        rows = b"id: \xc3\xa9\nevent: status\ndata: 0\n\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"
        return httpx2.Response(
            200, content=rows if len(asked) == 1 else rows + b"id: 3\ndata: 3\n\nevent: end\ndata: 0\n\n"
        )

    line = Connection("http://box", "key", transport=httpx2.MockTransport(answer), patience=5.0)
    assert [told.data for told in line.events("/events")] == [0, 1, 2, 0, 3]
    assert asked == [None, "2", "2"]
    line.close()


def test_an_event_without_an_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_EVENT", 1000)
    with pytest.raises(MachineError, match="longer"):
        list(lines_of(b"x" * 100 for _ in range(100)))
    with pytest.raises(MachineError, match="longer"):
        list(read_events(("data: " + "x" * 100 for _ in range(100)), "box"))
    told = list(read_events(lines_of([b"event: a\r\nda", b"ta: 1\r\n\r\n", b"data: 2\n"]), "box"))
    assert [(one.kind, one.data) for one in told] == [("a", 1)]


# -- closing


def test_a_stream_is_given_up_from_another_thread(desk: Desk, tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    lab = PretendSession(tmp_path, gate=gate)
    with ApiServer(lab, 0) as door:
        line = Connection(door.address)
        line.post("/v1/lab/runs", {"id": "a-waiting-run", "kind": "render", "recipes": [to_wire(SONG)]})
        events: EventStream = line.events("/v1/lab/runs/a-waiting-run/events")
        reader = threading.Thread(target=lambda: list(events))
        reader.start()
        time.sleep(0.2)
        assert reader.is_alive()
        events.close()
        reader.join(2.0)
        assert not reader.is_alive()
        line.close()
        gate.release(100)
    lab.close()
    lab.library.close()


def test_a_closed_session_says_so_at_once_and_leaves_no_thread(desk: Desk, tmp_path: Path) -> None:
    line = Connection(desk.door.address, ADA)
    far = RemoteSession(line, RemoteLibrary(line, tmp_path / "mirror"))
    run = far.start(SONG.replace(seconds=2.0))
    far.close()
    assert run.over
    for ask in (lambda: far.cost("pretend"), lambda: far.make(SONG), lambda: far._line.keep("a-run-that-was", 1, 0)):
        began = time.monotonic()
        with pytest.raises(LabError, match="closed"):
            ask()
        assert time.monotonic() - began < 1.0
    far.close()
    far.library.close()
    end = time.monotonic() + 5
    while any(one.name == "acestep_lab far run" for one in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_box_that_is_away_fails_a_run_and_leaves_no_thread(desk: Desk) -> None:
    def lost(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("away")

    desk.line.swaps = {"/events": lost}
    with pytest.raises(ConnectionLost):
        desk.far.make(SONG)
    assert not any(one.name == "acestep_lab far run" for one in threading.enumerate())


def test_servers_come_and_go_and_leave_no_thread_behind(tmp_path: Path) -> None:
    lab = PretendSession(tmp_path, pause=0.001)
    before = {one.name for one in threading.enumerate()}
    for _ in range(5):
        with serve(lab, 0, studio=False) as server:
            assert httpx2.get(f"{server.address}/health").status_code == 200
    assert {one.name for one in threading.enumerate()} <= before
    lab.close()
    lab.library.close()


def test_a_session_elsewhere_imports_nothing_that_it_does_not_need() -> None:
    heavy = ("torch", "asyncio", "yaml", "panel", "tornado", "acestep_lab.models.", "acestep_lab.engines.opened")
    code = f"import sys; from acestep_lab import Session; print([m for m in sys.modules if m.startswith({heavy})])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == "[]"


def test_an_error_of_a_later_version_is_an_error_of_ours(desk: Desk) -> None:
    desk.tells(("outcome", OUTCOME | {"state": "failed", "error": to_wire(Problem("OF-NEXT-YEAR", "x" * 10_000))}))
    with pytest.raises(LabError) as failed:
        desk.far.make(SONG)
    assert len(str(failed.value)) <= 300
