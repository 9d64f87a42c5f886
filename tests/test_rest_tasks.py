"""A task of the REST door goes from its request to files that clients can fetch, and nobody sees anybody else's."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from acestep_lab.audio import pyav
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError
from acestep_lab.serve.rest_fields import read_request
from acestep_lab.serve.rest_paths import ForbiddenSound, MissingSound, SoundPlaces
from acestep_lab.serve.rest_tasks import DoorClosed, QueueFull, RestTask, RestTasks
from tests.pretend import TOKENS, PretendSession, tone

Make = Callable[..., RestTasks]
SONG = {"prompt": "dub", "audio_duration": 1, "batch_size": 1}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Doors over a pretended session, closed at the end."""
    made: list[RestTasks] = []

    def door(pause: float = 0.0, gate: threading.Semaphore | None = None, **how: Any) -> RestTasks:
        session = PretendSession(tmp_path / "library", pause, gate)
        made.append(RestTasks(session, tmp_path / "door", **how))
        return made[-1]

    yield door
    for one in made:
        one.close()
        one.session.close()


def begin(door: RestTasks, owner: str = "", uploads: dict[str, Path] | None = None, **body: Any) -> RestTask:
    request = read_request(SONG | body, uploads, place=door.place(owner), models=door.session.checkpoints)
    return door.begin(request, owner)


def until(ready: Callable[[], object], seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "It never happened."
        time.sleep(0.01)


def done(door: RestTasks, task: RestTask) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A task's entry and its items, once it is over."""
    until(lambda: task.over)
    entry = door.entries([task.id], task.owner)[0]
    return entry, json.loads(entry["result"])


def path_of(item: dict[str, Any]) -> str:
    return parse_qs(urlsplit(item["file"]).query)["path"][0]


def wav_format(file: Path) -> tuple[int, int]:
    """Format tag and bits of a WAV, as a client that only knows the plain header reads them."""
    data = file.read_bytes()
    at = data.index(b"fmt ")
    tag, _, _, _, _, bits = struct.unpack_from("<HHIIHH", data, at + 8)
    return tag, bits


def test_a_request_becomes_songs_with_all_that_clients_read(make: Make) -> None:
    door = make()
    task = begin(door, batch_size=2, seed="5,6", use_random_seed=False, lyrics="[Verse]", bpm=90)
    entry, items = done(door, task)
    assert (entry["task_id"], entry["status"], len(items)) == (task.id, 1, 2)
    item = items[0]
    assert item["url"] == item["file"]
    assert item["file"].startswith("/v1/audio?path=%2F")
    assert item["file"].endswith(".mp3")
    assert (item["status"], item["progress"], item["stage"], item["seed_value"]) == (1, 1.0, "succeeded", "5,6")
    assert item["metas"] == {
        "bpm": 90, "duration": 1.0, "genres": "N/A", "keyscale": "N/A", "timesignature": "N/A", "prompt": "dub",
        "lyrics": "[Verse]",
    }  # fmt: skip
    assert (item["prompt"], item["lyrics"], item["dit_model"]) == ("dub", "[Verse]", "pretend")
    file, media = door.sound_file(path_of(item))
    assert (Audio.read(file).seconds > 0.9, media) == (True, "audio/mpeg")
    assert sorted(one["take_id"] for one in items) == sorted(door.session.library.ids())


@pytest.mark.parametrize(
    ("form", "ending", "header"),
    [
        ("wav", ".wav", (1, 16)),
        ("wav24", ".wav", (1, 24)),
        ("wav32", ".wav", (3, 32)),
        ("flac", ".flac", None),
        ("opus", ".opus", None),
    ],
)
def test_every_format_is_a_file_of_that_kind(
    make: Make, form: str, ending: str, header: tuple[int, int] | None
) -> None:
    door = make()
    _, (item,) = done(door, begin(door, audio_format=form))
    file, _ = door.sound_file(path_of(item))
    assert file.suffix == ending
    assert Audio.read(file).seconds == pytest.approx(1, abs=0.1)
    assert header is None or wav_format(file) == header


def test_aac_is_made_where_it_can_be_and_else_refused_in_a_sentence(make: Make) -> None:
    door = make()
    entry, (item,) = done(door, begin(door, audio_format="aac"))
    assert (entry["status"], item["file"][-4:]) == (1, ".m4a") if pyav.is_there() else "PyAV" in item["error"]


def test_takes_belong_to_whoever_asked_and_tasks_are_unknown_to_others(make: Make) -> None:
    door = make()
    task = begin(door, "ada")
    _, (item,) = done(door, task)
    assert door.backend.takes.ids("ada") == [item["take_id"]]
    assert door.backend.takes.ids("bob") == []
    for who in ("bob", ""):
        other = door.entries([task.id, "never"], who)
        assert [one["status"] for one in other] == [2, 2]
        assert other[0]["result"] == other[1]["result"]
        assert "not known" in json.loads(other[0]["result"])[0]["error"]
        assert not door.cancel(task.id, who)
        assert door.tasks(who) == []
        with pytest.raises(ForbiddenSound):
            door.sound_file(path_of(item), who)
    assert door.tasks("ada") == [task]


def test_a_task_tells_how_far_it_is_between_nothing_and_one(make: Make) -> None:
    gate = threading.Semaphore(0)
    door = make(gate=gate)
    task = begin(door, inference_steps=4)
    until(lambda: task.run is not None and task.run.state == "rendering")
    entry = door.entries([task.id])[0]
    item = json.loads(entry["result"])[0]
    assert (entry["status"], item["file"], item["status"]) == (0, "", 0)
    gate.release(2)
    until(lambda: task.fraction > 0.3)
    assert task.fraction < 1
    assert door.stats()["jobs"]["running"] == 1
    gate.release(10)
    assert done(door, task)[0]["status"] == 1
    assert door.stats()["jobs"] == {"total": 1, "queued": 0, "running": 0, "succeeded": 1, "failed": 0}


def test_waiting_and_running_tasks_can_be_cancelled_and_a_full_queue_says_so(make: Make) -> None:
    gate = threading.Semaphore(0)
    door = make(gate=gate, most_queued=2)
    busy: list[RestTask] = []
    for _ in range(4):  # one after the other: two may wait
        busy.append(begin(door))
        until(lambda: all(one.state == "running" for one in busy))
    waiting = [begin(door, "ada"), begin(door, "bob")]
    assert [door.position(one) for one in waiting] == [1, 2]
    with pytest.raises(QueueFull, match="waiting"):
        begin(door)
    assert door.stats()["queue_size"] == 2
    assert len(door.tasks()) == 4, "what was refused leaves no ghost"
    assert door.cancel(waiting[0].id, "ada")
    assert not door.cancel(waiting[0].id, "ada")
    for one in busy:
        assert door.cancel(one.id)
        assert done(door, one)[0]["status"] == 2
    gate.release(100)
    assert done(door, waiting[1])[0]["status"] == 1
    entry, (item,) = done(door, waiting[0])
    assert (entry["status"], "cancelled" in item["error"]) == (2, True)


def test_many_tasks_of_one_person_all_come_to_an_end(make: Make) -> None:
    door = make()
    tasks = [begin(door, "ada", audio_duration=0.5) for _ in range(20)]
    assert [done(door, one)[0]["status"] for one in tasks] == [1] * 20


def test_the_planner_sketches_polishes_and_hears(make: Make, tmp_path: Path) -> None:
    door = make()
    _, (item,) = done(door, begin(door, prompt="", sample_query="a sad song", audio_duration=None))
    assert (item["prompt"], item["metas"]["keyscale"]) == ("a sad song, sketched", "A minor")
    _, (item,) = done(door, begin(door, use_format=True))
    assert item["prompt"] == "dub, polished"
    sound = tone(1).write(tmp_path / "heard.wav")
    _, (item,) = done(door, begin(door, src_audio_path=str(sound), full_analysis_only=True))
    assert (item["bpm"], item["keyscale"], item["prompt"]) == (90, "N/A", "a sine of 1.0 s")
    assert item["audio_codes"].startswith("<|audio_code_0|>")
    _, (item,) = done(door, begin(door, src_audio_path=str(sound), extract_codes_only=True))
    assert (item["audio_codes"].count("|>"), item["metas"], item["file"]) == (5, {}, "")
    _, (item,) = done(door, begin(door, analysis_only=True))
    assert item["bpm"] == 100


def test_without_a_planner_what_needs_one_fails_and_the_rest_does_not(make: Make) -> None:
    door = make()
    door.session.use(TOKENS.name)
    for more in ({"thinking": True}, {"use_format": True}, {"sample_query": "x"}, {"analysis_only": True}):
        entry, (item,) = done(door, begin(door, **more))
        assert (entry["status"], "no planner" in item["error"]) == (2, True)
    entry, _ = done(door, begin(door, guidance_scale=7, shift=3, use_cot_caption=True))
    assert entry["status"] == 1, "knobs that this model does not have are left away"


def test_an_upload_is_covered_and_gone_when_its_task_is_over(make: Make) -> None:
    door = make()
    file = door.places.new_upload("ada", "../../evil name.WAV")
    assert file.suffix == ".wav"
    tone(2).write(file)
    entry, (item,) = done(door, begin(door, "ada", {"src_audio": file}, task_type="cover"))
    assert (entry["status"], item["metas"]["duration"]) == (1, 2.0)
    until(lambda: not file.exists())


def test_what_cannot_be_read_fails_its_task_with_a_sentence(make: Make) -> None:
    door = make()
    file = door.places.new_upload("", "noise.mp3")
    file.write_bytes(b"no sound at all")
    entry, (item,) = done(door, begin(door, uploads={"src_audio": file}, task_type="cover"))
    assert entry["status"] == 2
    assert len(item["error"]) > 20
    assert entry["progress_text"] == item["error"]


def test_somebody_elses_take_is_no_source(make: Make) -> None:
    door = make()
    _, (item,) = done(door, begin(door, "ada"))
    entry, _ = done(door, begin(door, "bob", task_type="cover", src_audio_path=item["take_id"]))
    assert entry["status"] == 2
    assert done(door, begin(door, "ada", task_type="cover", src_audio_path=item["take_id"]))[0]["status"] == 1
    with pytest.raises(RecipeError, match="outside"):
        begin(door, "bob", task_type="cover", src_audio_path=path_of(item))
    assert done(door, begin(door, "ada", task_type="cover", src_audio_path=path_of(item)))[0]["status"] == 1


def test_results_go_when_they_are_old_or_too_many(make: Make) -> None:
    now = [time.time()]
    door = make(clock=lambda: now[0], most_bytes=60_000, most_age=100)
    tasks = [begin(door, audio_format="wav") for _ in range(3)]  # 32 kB each
    until(lambda: all(one.over for one in tasks))
    until(lambda: len(door.tasks()) == 1)
    left = door.tasks()[0]
    file = left.files[0]
    assert sum(one.is_file() for task in tasks for one in task.files) == 1
    now[0] += 101
    door.begin(read_request(SONG), "")
    assert not file.exists()
    assert door.entries([left.id])[0]["status"] == 2
    assert len(door.session.library.ids()) >= 1, "takes stay in the library"


def test_a_closed_door_takes_nothing_more_and_its_threads_have_ended(make: Make) -> None:
    door = make(gate=threading.Semaphore(0))
    tasks = [begin(door) for _ in range(6)]
    door.close()
    assert [one.state for one in tasks] == ["stopped"] * 6
    assert not [one for one in threading.enumerate() if one.name.startswith("acestep_lab rest")]
    with pytest.raises(DoorClosed):
        begin(door)


# -- paths


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoundPlaces:
    """A door's folder, a temp folder and a library, beside a folder of secrets."""
    for name in ("temp", "library", "secrets", "temp/door"):
        (tmp_path / name).mkdir()
    for name in ("temp/a.wav", "secrets/s.wav", "library/take-1f0c9a52.flac", "library/take-aaaa9a52.flac"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temp"))
    return SoundPlaces(
        tmp_path / "temp/door", tmp_path / "library", lambda id, owner: (id, owner) == ("take-1f0c9a52", "ada")
    )


def test_the_hosts_temp_folder_and_ones_own_part_of_the_library_may_be_read(
    places: SoundPlaces, tmp_path: Path
) -> None:
    own = places.new_upload("ada", "a.wav")
    own.write_bytes(b"x")
    for path in (tmp_path / "library/take-1f0c9a52.flac", own):
        assert places.source(str(path), "ada") == str(path)
    assert places.source(str(tmp_path / "temp/a.wav"), "") == str(tmp_path / "temp/a.wav")
    with pytest.raises(RecipeError, match="outside"):  # other people's files lie in the temp folder too
        places.source(str(tmp_path / "temp/a.wav"), "ada")
    assert places.source(own.name, "ada") == str(own)
    assert places.source("take-1f0c9a52", "ada") == "take-1f0c9a52"
    assert places.sound(str(tmp_path / "library/take-aaaa9a52.flac"), "").is_file()


def test_nothing_else_may_be_read_however_the_path_is_written(places: SoundPlaces, tmp_path: Path) -> None:
    others = places.new_upload("bob", "a.wav")
    others.write_bytes(b"x")
    link, circle = tmp_path / "temp/link.wav", tmp_path / "temp/circle.wav"
    link.symlink_to(tmp_path / "secrets/s.wav")
    circle.symlink_to(circle)
    (tmp_path / "temp/folder").symlink_to(tmp_path / "secrets")
    hostile = [
        link, circle, tmp_path / "temp/folder/s.wav", tmp_path / "secrets/s.wav", tmp_path / "temp/../secrets/s.wav", others,
        "/etc/passwd", "../../../../etc/passwd", "", "a\0b", "x" * 5000, "~/a.wav", "file:///etc/passwd", "\ud800",
        tmp_path / "library/take-aaaa9a52.flac", tmp_path / "temp/door", tmp_path / "temp", tmp_path / "temp/none.wav",
    ]  # fmt: skip
    for path in hostile:
        with pytest.raises(RecipeError):
            places.source(str(path), "ada")
        with pytest.raises((ForbiddenSound, MissingSound)):
            places.sound(str(path), "ada")


def test_only_sounds_are_handed_out_and_absent_ones_are_absent(places: SoundPlaces) -> None:
    (places.results("ada") / "notes.txt").write_text("x")
    for name in ("notes.txt", "gone.mp3"):
        with pytest.raises(MissingSound):
            places.sound(str(places.results("ada") / name), "ada")


def test_what_an_earlier_server_left_goes_by_its_age(places: SoundPlaces) -> None:
    old, new = places.new_upload("ada", "a.wav"), places.new_upload("ada", "b.wav")
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    places.sweep(time.time() - 100)
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize(
    ("module", "absent"),
    [("rest_tasks", {"panel", "bokeh", "tornado"}), ("rest_fields", {"panel", "bokeh", "tornado", "torch"})],
)
def test_the_half_without_a_server_loads_none(module: str, absent: set[str]) -> None:
    look = f"import sys, acestep_lab.serve.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    assert absent & set(loaded) == set()


def test_the_doors_errors_are_errors_of_the_lab() -> None:
    assert all(issubclass(kind, LabError) for kind in (QueueFull, DoorClosed, ForbiddenSound, MissingSound))
