"""A session elsewhere over a real door: the same verbs and sounds, lines that drop, people who do not see each other."""

from __future__ import annotations

import contextlib
import json
import socket
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

from acestep_lab import Cover, Plan, Recipe, Region, Session, Text2Music
from acestep_lab.errors import CheckpointError, LabError, LibraryError, MachineError, RecipeError, SourceError, Stopped
from acestep_lab.listen.analysis import Analysis
from acestep_lab.plan.token import Token
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.library import RemoteLibrary
from acestep_lab.remote.session import RemoteSession
from acestep_lab.remote.wire import Price, Problem, from_wire, to_wire
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.api_lab_runs import MOST_LOGGED, LabRun
from acestep_lab.takes.library import Library
from acestep_lab.takes.verdict import Verdict
from tests.pretend import FLOW, TOKENS, PretendSession, tone

HOST, ADA, BOB = "the-hosts-key", "the-key-of-ada", "the-key-of-bob"
SONG = Recipe("dub", seconds=2.0, seed=3)


def soon(found: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What comes true within a while."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
    return value


class Box:
    """A stand-in behind a door, and sessions elsewhere that speak to it."""

    def __init__(self, folder: Path, keys: tuple[str, ...] = (), **how: Any) -> None:
        self.folder, self.keys = folder, keys
        self.lab = PretendSession(folder / "there", **how)
        self.door = ApiServer(self.lab, port=0, keys=keys)
        self._far: list[Any] = []

    def far(self, key: str = "", library: Any = "there", url: str = "", patience: float = 20.0) -> RemoteSession:
        line = Connection(url or self.door.address, key, patience=patience)
        mirror = self.folder / f"mirror-{len(self._far)}"
        session = RemoteSession(line, RemoteLibrary(line, mirror) if library == "there" else Library(library))
        self._far.append(session)
        return session

    def close(self) -> None:
        for session in self._far:
            session.close()
            session.library.close()
        self.door.close()
        self.lab.close()
        self.lab.library.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box for tests that change nothing."""
    made = Box(tmp_path_factory.mktemp("shared"))
    yield made
    made.close()


@pytest.fixture
def gate() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def gated(tmp_path: Path, gate: threading.Semaphore) -> Iterator[Box]:
    made = Box(tmp_path, gate=gate)
    yield made
    gate.release(1000)
    made.close()


def hang_up(one: socket.socket) -> None:
    """Close a socket that another thread may be reading."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


class Proxy:
    """A line that can be cut: what goes through it is passed on until `cut`, or, where `loses_answers`, only one way."""

    def __init__(self, port: int) -> None:
        self._there, self._pairs, self.loses_answers, self.is_down = port, list[socket.socket](), 0, False
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                here, _ = self._door.accept()
            except OSError:
                return
            if self.is_down:
                here.close()
                continue
            there = socket.create_connection(("127.0.0.1", self._there))
            self._pairs += [here, there]
            for one, other, back in ((here, there, False), (there, here, True)):
                threading.Thread(target=self._pass, args=(one, other, back), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, back: bool) -> None:
        try:
            while data := one.recv(65536):
                if back and self.loses_answers:
                    self.loses_answers -= 1
                    break
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            hang_up(end)

    def cut(self) -> None:
        """Drop every connection."""
        pairs, self._pairs = self._pairs, []
        for one in pairs:
            hang_up(one)

    def close(self) -> None:
        self.cut()
        self._door.close()


@pytest.fixture
def proxy(gated: Box) -> Iterator[Proxy]:
    made = Proxy(gated.door.port)
    yield made
    made.close()


# -- the wire


@pytest.mark.parametrize(
    "value",
    [
        FLOW.capabilities, TOKENS.capabilities, FLOW.usual, TOKENS.usual, SONG, Plan(bpm=90, codes=(1, 2)), Text2Music(),
        Cover("take-1"), Token(1, "bpm", "12", 0.5), Price("a", "a: 1 GB more.", 5), Problem("RECIPE", "No."),
        Analysis(120.0, 0.5, "A minor", 0.1, "4", 0.9, float("-inf"), (("drums", 0.4),)),
        Verdict("different", float("inf"), 1.0), None, True, 3, 0.1, "ß", float("inf"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_comes_over_the_wire_as_it_is(value: Any) -> None:
    assert from_wire(json.loads(json.dumps(to_wire(value), allow_nan=False))) == value


def test_what_has_no_place_on_the_wire_is_said() -> None:
    with pytest.raises(LabError, match="cannot be sent"):
        to_wire(object())
    nested: Any = 1
    for _ in range(60):
        nested = [nested]
    for odd in ({"$": "session", "value": 1}, {"$": "recipe"}, {"$": "verdict", "value": 3}, nested):
        with pytest.raises(RecipeError):
            from_wire(odd)


# -- verbs


def test_a_render_shows_its_steps_with_latents_and_ends_in_the_very_take_of_the_other_machine(box: Box) -> None:
    far = box.far()
    run = far.start(SONG)
    shown = list(run)
    take = run.take()
    there = box.lab.jobs.runs()[0]
    assert [step.index for step in shown] == list(range(6)) == [step.index for step in there.steps]
    for mine, theirs in zip(shown, there.steps, strict=True):
        assert mine.estimate.dtype == np.float32
        np.testing.assert_array_equal(mine.estimate, theirs.estimate)
        np.testing.assert_array_equal(mine.state, theirs.state)
    assert take.id == box.lab.library.ids()[0] == far.library.ids()[0]
    kept = box.lab.library.open(take.id)
    assert take.audio == kept.audio
    assert (take.latent == kept.latent).all()
    assert run.state == "done" and run.fraction == 1.0 and run.eta == 0.0  # noqa: PT018


def test_a_step_is_heard_kept_and_previewed_there_also_after_the_run(box: Box) -> None:
    far = box.far()
    run = far.start(SONG)
    run.take()
    assert run.hear(1, 0.5, 1.5) == tone(1.0, 2)
    assert far.preview(run.steps[4], at=1.0, seconds=0.5) == tone(0.5, 5)
    kept = run.keep(2)
    assert kept.id in box.lab.library
    assert kept.id in far.library
    assert far.preview(kept, 1.0).seconds == 3.0
    with pytest.raises(RecipeError, match="no step 9"):
        run.keep(9)


def test_takes_come_into_a_library_of_this_machine_where_one_is_given(box: Box, tmp_path: Path) -> None:
    far = box.far(library=tmp_path / "mine")
    take = far.make(SONG)
    assert far.library.ids() == [take.id]
    assert far.load(take.id).audio == take.audio
    mine = tone(3.0, 7)
    cover = far.cover(mine, "strings")
    assert cover.parents == (mine.id,)
    assert mine.id in far.library.sounds(), "a take kept here has what it starts from beside it"


def test_verbs_that_go_on_from_a_sound_send_it_once_and_never_a_path(box: Box, tmp_path: Path) -> None:
    far, sound = box.far(), tone(2.0, 5).on_grid()
    file = sound.write(tmp_path / "mine.wav")
    take = far.cover(str(file), "a flute", seed=4)
    assert take.parents == (sound.id,)
    assert str(box.lab.started[-1].task.to_json()).count(str(tmp_path)) == 0
    for made in (
        far.repaint(take, Region(0.5, 1.0), "a harp"), far.extend(take, after=1.0), far.extract(take, "drums"), far.lego(take, "bass"), far.complete(take, ["drums"]),
        far.edit(take, "a choir"), far.stitch([(take, Region(0, 1)), take], crossfade="none"),
    ):  # fmt: skip
        assert made.id in far.library
    stems = far.stems(take, ["drums", "bass"])
    assert sorted(stems) == ["bass", "drums"]
    begun = len(box.lab.started)
    assert far.stems(take, ["drums", "bass"])["drums"].id == stems["drums"].id
    assert len(box.lab.started) == begun, "what is kept is not made again"


def test_the_planner_is_asked_there_and_heard_here(box: Box) -> None:
    far, heard = box.far(), list[Any]()
    sketched = far.sketch("rain", True, 4, language="de", on_token=heard.append)
    assert sketched == box.lab.sketch("rain", True, 4, language="de")
    assert heard == ["<think>", "caption: rain", "</think>"]
    assert far.plan(SONG) == box.lab.plan(SONG)
    assert far.plan(SONG, 2) == box.lab.plan(SONG, 2)
    assert far.polish("dub", "la", bpm=100) == Plan(caption="dub, polished", lyrics="la", bpm=100)
    sound = tone(2.0, 5).on_grid()
    assert far.understand(sound).caption == "a sine of 2.0 s"
    assert far.codes(sound) == box.lab.codes(sound)
    assert far.plan_score(sound, sketched).total == 0.5
    assert far.analyze(sound) == box.lab.analyze(sound)
    assert far.defaults(Text2Music()) == FLOW.usual
    assert far.start(SONG, sketched).take().recipe.caption == "dub"


def test_adapters_and_checkpoints_of_the_other_machine_are_named_there(box: Box, tmp_path: Path) -> None:
    far = box.far()
    file = tmp_path / "soft.safetensors"
    file.touch()
    assert far.lora((str(file), 0.5)) == ("soft",)
    assert far.adapters == box.lab.adapters == (("soft", str(file), 0.5),)
    assert far.lora() == () == far.adapters
    assert far.start(SONG, adapters=[(str(file), 0.25)]).take().made_with["adapters"] == {"soft": 0.25}
    assert far.use("pretend-tokens") == TOKENS.capabilities == far.capabilities
    with pytest.raises(RecipeError, match="goes by its name"):
        far.use("/etc/passwd")


ERRORS: dict[str, Callable[[Any], object]] = {
    "a song that is too long": lambda lab: lab.start(SONG.replace(seconds=80.0)),
    "another family's knob": lambda lab: lab.start(Recipe("dub", seconds=2.0, temperature=0.5)),
    "no such checkpoint": lambda lab: lab.start(SONG.replace(checkpoint="none")),
    "a price of nothing": lambda lab: lab.cost("none"),
    "no such take": lambda lab: lab.start(SONG.replace(task=Cover("take-000000"))),
    "no such adapter": lambda lab: lab.lora("/nowhere/at.safetensors"),
    "too short to measure": lambda lab: lab.analyze(tone(0.5)),
    "planner of nobody": lambda lab: lab.sketch("rain", checkpoint="none"),
}


@pytest.mark.parametrize("said", ERRORS)
def test_an_error_is_the_same_kind_and_the_same_sentence_as_there(shared: Box, said: str) -> None:
    far, problems = shared.far(), list[LabError]()
    for lab in (far, shared.lab):
        with pytest.raises((RecipeError, SourceError, CheckpointError)) as caught:
            ERRORS[said](lab)
        problems.append(caught.value)
    assert type(problems[0]) is type(problems[1])
    assert str(problems[0]) == str(problems[1])


def test_a_run_that_fails_there_fails_here_with_its_takes_so_far(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    far, make = box.far(), box.lab._take

    def second_fails(recipe: Recipe, step: Any) -> Any:
        if recipe.seed == 2:
            raise MachineError("There is no memory left.")
        return make(recipe, step)

    monkeypatch.setattr(box.lab, "_take", second_fails)
    run = far.start([SONG.replace(seed=1), SONG.replace(seed=2)])
    with pytest.raises(MachineError, match="no memory left"):
        run.takes()
    assert run.state == "failed"
    assert [take.recipe.seed for take in run.made.values()] == [1]


# -- stopping, and lines that drop


def test_a_stop_is_heeded_within_one_step(gated: Box, gate: threading.Semaphore) -> None:
    run = gated.far().start(SONG.replace(steps=50))
    gate.release(2)
    soon(lambda: len(run.steps) == 2)
    run.stop()
    assert run.wait(10)
    assert run.state == "stopped"
    there = gated.lab.jobs.runs()[0]
    assert there.state == "stopped"
    assert len(there.steps) <= 3
    with pytest.raises(Stopped, match="before it had a take"):
        run.take()
    assert run.keep(1).recipe.caption == "dub"


def test_a_dropped_line_is_taken_up_where_it_was(gated: Box, gate: threading.Semaphore, proxy: Proxy) -> None:
    far = gated.far(url=proxy.url)
    run = far.start(SONG)
    gate.release(2)
    soon(lambda: len(run.steps) == 2)
    proxy.is_down = True
    proxy.cut()
    gate.release(2)
    soon(lambda: len(gated.lab.jobs.runs()[0].steps) == 4)
    proxy.is_down = False
    soon(lambda: len(run.steps) == 4)
    proxy.cut()
    gate.release(10)
    take = run.take()
    assert [step.index for step in run.steps] == list(range(6)), "nothing is lost or told twice"
    assert all(step.estimate is not None for step in run.steps)
    assert len(gated.lab.started) == 1
    assert far.library.ids() == [take.id]


def test_a_request_whose_answer_is_lost_begins_nothing_twice(
    gated: Box, gate: threading.Semaphore, proxy: Proxy
) -> None:
    far = gated.far(url=proxy.url)
    gate.release(100)
    begin = far._line.begin

    def lost(*args: Any) -> None:
        proxy.cut()
        proxy.loses_answers = 1
        begin(*args)

    far._line.begin = lost  # type: ignore[method-assign]
    assert far.make(SONG).recipe.caption == "dub"
    assert proxy.loses_answers == 0
    assert len(gated.lab.started) == 1


def test_a_machine_that_was_started_anew_says_so(gated: Box, tmp_path: Path, gate: threading.Semaphore) -> None:
    far = gated.far(library=tmp_path / "mine")
    run = far.start(SONG)
    gate.release(1)
    soon(lambda: run.steps)
    port, other = gated.door.port, PretendSession(tmp_path / "other")
    gated.door._door.door.lab.close = lambda: None  # type: ignore[method-assign]  # it does not get to say goodbye
    gated.door.close()
    with ApiServer(other, port=port):
        with pytest.raises(LabError, match="not known there any more"):
            run.take()
        assert far.make(SONG).id == other.library.ids()[0]
    other.close()


def test_a_machine_that_stays_away_is_said_and_a_stop_does_not_wait_for_it(
    gated: Box, gate: threading.Semaphore, proxy: Proxy
) -> None:
    far = gated.far(url=proxy.url, patience=1.0)
    run = far.start(SONG)
    soon(lambda: run.state != "queued" and gated.lab.jobs.runs())
    proxy.close()
    proxy.is_down = True
    with pytest.raises(MachineError, match="does not answer"):
        run.take()
    assert far.name == "pretend", "what was in use is still known"
    with pytest.raises(MachineError, match="does not answer"):
        RemoteSession.connect("127.0.0.1:9", library=gated.folder / "none")


# -- people


@pytest.fixture
def keyed(tmp_path: Path, gate: threading.Semaphore) -> Iterator[Box]:
    made = Box(tmp_path, (HOST, ADA, BOB), gate=gate)
    gate.release(1000)
    yield made
    made.close()


def test_two_keys_do_not_see_each_others_runs_and_takes(keyed: Box) -> None:
    ada, bob = keyed.far(ADA), keyed.far(BOB)
    run = ada.start(SONG)
    take = run.take()
    assert ada.library.ids() == [take.id]
    assert bob.library.ids() == []
    with pytest.raises(SourceError):
        bob.cover(take.id)
    with pytest.raises(LibraryError):
        bob.load(take.id)
    client = httpx2.Client(base_url=keyed.door.address, headers={"Authorization": f"Bearer {BOB}"})
    id = run.steps[0].run  # type: ignore[attr-defined]
    for method, path in (
        ("get", "events"), ("get", "steps/0/0"), ("post", "stop"), ("post", "keep"), ("get", "hear?step=0&item=0&start=0&end=1"),
    ):  # fmt: skip
        answer = client.request(method, f"/v1/lab/runs/{id}/{path}", **({"json": {}} if method == "post" else {}))
        assert answer.status_code == 404, path
    asked = {"id": "b" * 12, "kind": "render", "recipes": [to_wire(SONG.replace(task=Cover(take.id)))]}
    assert client.post("/v1/lab/runs", json=asked).status_code == 400
    assert client.get(f"/v1/lab/preview?take={take.id}&at=1&seconds=1").status_code == 400
    client.close()


def test_what_moves_things_for_everybody_is_the_hosts(
    keyed: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, host = keyed.far(ADA), keyed.far(HOST)
    file = tmp_path / "soft.safetensors"
    file.touch()
    for ask in (lambda: ada.use("pretend-tokens"), lambda: ada.lora()):
        with pytest.raises(LabError, match="Only the host"):
            ask()
    with pytest.raises(RecipeError, match="outside the folders"):
        ada.start(SONG, adapters=[str(file)]).take()
    (tmp_path / "adapters" / "warm.safetensors").parent.mkdir()
    (tmp_path / "adapters" / "warm.safetensors").touch()
    monkeypatch.setattr(keyed.door._door.door.tasks.places, "adapters", (tmp_path / "adapters").resolve())
    worn = ada.start(SONG, adapters=[("warm.safetensors", 0.5)]).take().made_with["adapters"]
    assert worn == {"warm": 0.5}
    host.lora(str(file))
    soon(lambda: [(name, strength) for name, _, strength in ada.adapters] == [("soft", 1.0)], 3.0)
    assert ada.adapters[0][1] == "", "where files lie is nobody else's business"
    with pytest.raises(LabError, match="key"):
        keyed.far("not-a-key-of-this-door")


# -- the door


def test_those_who_hang_up_leave_nothing_behind(gated: Box, gate: threading.Semaphore) -> None:
    gated.far().start(SONG)
    id = soon(lambda: list(gated.door._door.door.lab._runs))[0][1]
    soon(lambda: len(gated.door._door.door.listeners) == 1)
    before = threading.active_count()
    asked = f"GET /v1/lab/runs/{id}/events HTTP/1.1\r\nHost: 127.0.0.1:{gated.door.port}\r\n\r\n"
    lines = [socket.create_connection(("127.0.0.1", gated.door.port)) for _ in range(20)]
    for line in lines:
        line.sendall(asked.encode())
    soon(lambda: len(gated.door._door.door.listeners) == 21)
    for line in lines:
        line.close()
    gate.release(3)
    soon(lambda: len(gated.door._door.door.listeners) == 1)
    assert threading.active_count() <= before


def test_the_log_of_a_run_is_bounded_and_its_outcome_says_what_was_made() -> None:
    run = LabRun("an-id-of-8", "render", "")
    for number in range(MOST_LOGGED + 500):
        run.log("token", {"token": str(number)})
    run.end(None)
    entries = run.since(0)
    assert len(entries) == MOST_LOGGED
    assert [entry.kind for entry in run.since(entries[-2].number)] == ["outcome"]
    assert json.loads(entries[-1].text)["takes"] == {}
    run.log("token", {"token": "late"})
    assert run.since(entries[-1].number) == []


BAD: list[tuple[str, dict[str, Any]]] = [
    ("runs", {}),
    ("runs", {"id": "../../etc", "kind": "render"}),
    ("runs", {"id": "12345678", "kind": "train"}),
    ("runs", {"id": "12345678", "kind": "render"}),
    ("runs", {"id": "12345678", "kind": "render", "recipes": []}),
    ("runs", {"id": "12345678", "kind": "render", "recipes": [3]}),
    ("runs", {"id": "12345678", "kind": "render", "recipes": [{"$": "recipe", "value": {"seconds": "x"}}]}),
    ("runs", {"id": "12345678", "kind": "render", "recipes": [to_wire(SONG.replace(task=Cover("/etc/passwd")))]}),
    ("runs", {"id": "12345678", "kind": "vary", "source": "take-1", "seeds": [1]}),
    ("runs", {"id": "12345678", "kind": "vary", "source": to_wire(SONG), "seeds": 3}),
    ("runs", {"id": "12345678", "kind": "sketch"}),
    ("runs", {"id": "12345678", "kind": "sketch", "sentence": "a", "on_token": "b", "seed": [1]}),
    ("runs", {"id": "12345678", "kind": "polish", "caption": "a", "fixed": {"on_token": 1}}),
    ("runs", {"id": "12345678", "kind": "plan", "recipe": to_wire(SONG), "n": "many"}),
    ("do/nothing", {}),
    ("do/use", {"checkpoint": 3}),
    ("do/cost", {"checkpoint": "../x"}),
    ("do/defaults", {"task": 3}),
    ("do/analyze", {"source": "/etc/passwd"}),
    ("do/codes", {"source": "audio-123", "checkpoint": [1]}),
    ("do/lora", {"adapters": "x"}),
    ("do/lora", {"adapters": [["a"]]}),
    ("do/plan_score", {"source": "take-1", "plan": 3}),
    ("runs/12345678/keep", {"step": 0}),
    ("do/defaults", {"task": to_wire(Text2Music()), "checkpoint": ["a"]}),
    ("do/analyze", {"source": {"a": 1}, "bpm": "x"}),
    ("runs", {"id": "12345678", "kind": "understand", "source": 3}),
    ("runs", {"id": "12345678", "kind": "verify"}),
]


@pytest.mark.parametrize(("path", "body"), BAD, ids=lambda one: one if isinstance(one, str) else json.dumps(one)[:60])
def test_a_request_that_makes_no_sense_is_answered_with_a_sentence(
    shared: Box, path: str, body: dict[str, Any]
) -> None:
    with httpx2.Client(base_url=shared.door.address, timeout=10) as client:
        answer = client.post(f"/v1/lab/{path}", json=body)
        assert answer.status_code in (400, 403, 404), answer.text
        said = answer.json()
        assert said["error"].endswith(".")
        assert said["code"]
        assert "unexpectedly" not in said["error"]
        assert client.get("/v1/lab").status_code == 200


# -- a model


def test_a_model_elsewhere_makes_the_very_same_sound_and_take(tmp_path: Path) -> None:
    song = Recipe("warm lo-fi keys", seconds=1.5, seed=3, steps=2, thinking=False)
    with (
        Session.open(library=tmp_path / "here") as here,
        Session.open(library=tmp_path / "there") as there,
        ApiServer(there, port=0) as door,
        Session.connect(door.address, library=tmp_path / "mine") as far,
    ):
        one, other = here.make(song), far.make(song)
        assert other.id == one.id
        assert other.audio == one.audio
        assert (other.latent == one.latent).all()
        assert (other.recipe, other.asked, other.plan) == (one.recipe, one.asked, one.plan)
        assert far.verify(other).word == "same"
        assert far.preview(other, 1.0) == here.preview(one, 1.0)
        again = far.repaint(other, Region(0.5, 1.0), "a flute", seed=5)
        assert again.id == here.repaint(one, Region(0.5, 1.0), "a flute", seed=5).id


LAPTOP = """
import sys
sys.modules["torch"] = None  # whoever imports it fails
import time
began = time.perf_counter()
from acestep_lab import Recipe, Session
lab = Session.connect(sys.argv[1], library=sys.argv[2])
took = time.perf_counter() - began
run = lab.start(Recipe("dub", seconds=2.0, seed=4))
assert [step.estimate.shape for step in run] == [(10, 8)] * 6
take = run.take()
assert lab.keep(take).id in lab.library
assert lab.vary(take, [7])[0].recipe.seed == 7
assert lab.sketch("rain").caption
assert lab.preview(run.steps[0], 1.0).seconds == 3.0
lab.close()
print(took)
"""


def test_nothing_on_this_road_needs_torch(box: Box, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAPTOP, box.door.address, str(tmp_path / "mine")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(box.lab.started) == 2


def test_opening_where_a_server_is_set_connects_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = PretendSession(tmp_path / "there")
    with contextlib.closing(lab), ApiServer(lab, port=0, keys=["sesame-123"]) as server:
        monkeypatch.setenv("ACESTEP_LAB_SERVER", server.address)
        monkeypatch.setenv("ACESTEP_API_KEY", "sesame-123")
        with Session.open(library=tmp_path / "here") as there:
            assert isinstance(there, RemoteSession)
            assert there.name == lab.name
    with Session.open("pocket") as here:  # one that is named is opened here
        assert isinstance(here, Session)


def test_what_each_word_did_is_found_out_there_and_told_here_as_it_is_measured(shared: Box) -> None:
    far = shared.far()
    take = far.make(SONG.replace(caption="dub, warm pad, bass", lyrics=""))
    assert far.attribute(take, dry_run=True) == shared.lab.attribute(take.id, dry_run=True)
    run = far.attribute(take, swap={"bass": "flute"})
    told = list(run)
    found = run.result()
    assert tuple(told) == found.effects
    assert [(one.name, one.change) for one in told][:1] == [("bass", "→ flute")]
    assert found == shared.lab.attribute(take.id, swap={"bass": "flute"}).result()
    with pytest.raises(RecipeError, match=r"not made from words here"):
        far.attribute(tone(2.0, 5).on_grid())
