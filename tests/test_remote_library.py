"""A library far away is as the one beside it: the same takes, bit for bit, marks both ways, and nothing a box says can do harm."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, MachineError
from acestep_lab.jobs.owned_library import OwnedLibrary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover, Retake
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.library import RemoteLibrary, mirror_folder, most_mirrored
from acestep_lab.remote.mirrored import Busy, Listing, MirrorState
from acestep_lab.remote.sources import Sources
from acestep_lab.remote.transfer import fetch_take
from acestep_lab.serve.api import ApiServer
from acestep_lab.serve.api_keys import ApiKeys
from acestep_lab.serve.api_lab_library import LIBRARY_ROUTES
from acestep_lab.serve.api_lab_shelf import shelf_of
from acestep_lab.serve.rest import ROUTES
from acestep_lab.takes import manifest
from acestep_lab.takes.library import Library
from acestep_lab.takes.sounds import Sounds
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend, backend_of
from tests.pretend import PretendSession, tone

HOST, ADA, BOB = "the-hosts-key", "the-key-of-ada", "the-key-of-bob"
KEYS = ApiKeys([HOST, ADA, BOB])
Open = Callable[..., RemoteLibrary]


def owner(key: str) -> str:
    name = KEYS.owner(f"Bearer {key}")
    assert name is not None
    return name


def a_take(seed: int = 1, caption: str = "dub", seconds: float = 0.5, **more: Any) -> Take:
    latent = np.random.default_rng(seed).standard_normal((5, 8)).astype(np.float32)
    recipe = Recipe(caption, seed=seed, seconds=max(0.5, seconds), **more.pop("recipe", {}))
    return Take(recipe, tone(seconds, seed).on_grid(), latent, made_with={"checkpoint": "pretend"}, **more)


def of_floats(seed: int = 9) -> Take:
    """A take whose samples no FLAC holds."""
    samples = np.random.default_rng(seed).standard_normal((2, 4000)).astype(np.float32) / 3
    return replace(a_take(seed), audio=Audio(samples, 8000))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendSession]:
    for path, handler in LIBRARY_ROUTES.items():
        monkeypatch.setitem(ROUTES, path, handler)
    session = PretendSession(tmp_path / "box", pause=0.0)
    yield session
    session.close()
    session.library.close()


@pytest.fixture
def box(lab: PretendSession) -> Backend:
    return backend_of(lab)


@pytest.fixture
def door(lab: PretendSession, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(lab, 0, keys=[HOST, ADA, BOB], folder=tmp_path / "door") as server:
        yield server


@pytest.fixture
def away(door: ApiServer, tmp_path: Path) -> Iterator[Open]:
    """Opens mirrors of the box, which ask at every question."""
    opened: list[RemoteLibrary] = []

    def library(key: str = HOST, folder: str = "mirror", **more: Any) -> RemoteLibrary:
        place = tmp_path / f"{folder}-{key[-3:]}"
        opened.append(RemoteLibrary(Connection(door.address, key), place, **({"ask_every": 0.0} | more)))
        return opened[-1]

    yield library
    for one in opened:
        one.close()
        one.connection.close()


# -- takes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [a_take, of_floats])
def test_a_take_is_the_same_after_the_trip_sample_for_sample(
    away: Open, lab: PretendSession, make: Callable[[], Take]
) -> None:
    take = make()
    lab.library.keep(take)
    mirror = away()
    assert mirror.ids() == [take.id]
    assert not list(mirror.folder.glob("*.flac"))
    assert not list(mirror.folder.glob("*.wav"))
    there = mirror.open(take.id)
    assert there.id == take.id
    assert there.remarks == ()
    assert there.recipe == take.recipe
    assert np.array_equal(there.audio.samples, take.audio.samples)
    assert there.audio.rate == take.audio.rate
    assert np.array_equal(there.latent, take.latent)
    again = fetch_take(mirror.connection, take.id)
    assert again.id == take.id
    assert np.array_equal(again.latent, take.latent)
    assert again.audio == take.audio


def test_everything_a_page_asks_is_as_it_is_on_the_box(away: Open, lab: PretendSession) -> None:
    first, second = a_take(1, "slow dub"), a_take(2, "slow dub")
    child = a_take(3, "cover", parents=(first.id,), recipe={"task": Cover(first.id)})
    for take in (first, second, child):
        lab.library.keep(take)
    lab.library.mark(
        first.id, star=True, note="the one", tags=["warm"], scores={"ear": 0.5}, title="Night", batch="run-1"
    )
    mirror, there = away(), lab.library
    assert mirror.ids() == there.ids()
    assert len(mirror) == 3
    assert mirror.cards() == there.cards()
    assert mirror.cards("night") == there.cards("night")
    assert mirror.titles() == there.titles()
    assert mirror.marks(first.id) == there.marks(first.id)
    assert mirror.children(first.id) == there.children(first.id)
    assert mirror.cards(star=True)[0].note == "the one"
    assert mirror.knows(child.id)
    assert first.id in mirror
    assert not mirror.knows("take-0123")
    assert mirror.problems() == ()
    assert mirror.damaged == ()
    with pytest.raises(LibraryError, match="keeps no take"):
        mirror.open("take-0123456789abcdef")


def test_what_others_make_on_the_box_appears_at_the_next_question(
    away: Open, lab: PretendSession, box: Backend
) -> None:
    mirror = away()
    before = mirror.revision
    assert mirror.ids() == []
    assert mirror.revision == before
    run = box.start(Recipe("dub", seconds=1.0))
    made = run.take()
    lab.library.keep(made)
    assert mirror.ids() == [made.id]
    assert mirror.revision != before
    lab.library.mark(made.id, star=True)
    assert mirror.card(made.id).star


def test_marks_are_made_on_the_box_first_and_seen_by_every_mirror(away: Open, lab: PretendSession) -> None:
    take = a_take()
    lab.library.keep(take)
    one, other = away(), away(folder="other")
    card = one.mark(take.id, star=True, title="Night", tags=["b", "a"], locks=["bpm"])
    assert (card.star, card.title, card.tags) == (True, "Night", ("a", "b"))
    assert lab.library.marks(take.id) == one.marks(take.id)
    assert lab.library.card(take.id).title == "Night"
    assert other.card(take.id) == one.card(take.id)
    other.mark(take.id, reject=True)
    assert not one.card(take.id).star
    assert lab.library.card(take.id).reject
    with pytest.raises(LibraryError):
        one.mark(take.id, scores={"ear": float("nan")})
    with pytest.raises(LibraryError):
        one.mark(take.id, title="x" * 5000)
    with pytest.raises(TypeError):
        one.mark(take.id, colour="red")


def test_binned_takes_come_back_with_the_sound_that_was_here(away: Open, lab: PretendSession) -> None:
    take, child = a_take(1), a_take(2, parents=("take-aa",), recipe={"task": Cover("take-aa")})
    for one in (take, child):
        lab.library.keep(one)
    mirror, other = away(), away(folder="other")
    mirror.open(take.id)
    mirror.mark(take.id, title="Night")
    assert mirror.bin(take.id) == [take.id]
    assert take.id in lab.library.trash()
    for seen in (mirror, other):
        assert seen.ids() == [child.id]
        assert seen.trash() == [take.id]
        assert seen.knows(take.id)
        assert seen.source_title(take.id) == "Night"
        assert seen.binned_parents(take.id) == ()
    assert other.restore(take.id, "take-0000") == [take.id]
    assert take.id in lab.library
    assert set(mirror.ids()) == set(other.ids()) == {take.id, child.id}
    assert mirror.trash() == []
    lab.close()
    assert list(mirror.folder.glob(f"{take.id}.flac"))
    assert mirror.open(take.id) == take
    lab.library.bin(child.id)
    mirror.empty_trash()
    assert mirror.trash() == [] == lab.library.trash()
    assert not mirror.knows(child.id)


def test_a_take_kept_here_is_kept_on_the_box(away: Open, lab: PretendSession) -> None:
    mirror, take = away(), of_floats()
    file = mirror.keep(take)
    assert file.exists()
    assert file.parent == mirror.folder
    assert mirror.keep(take) == file
    kept = lab.library.open(take.id)
    assert np.array_equal(kept.audio.samples, take.audio.samples)
    assert np.array_equal(kept.latent, take.latent)
    assert mirror.open(take.id).created == take.created
    changed = replace(lab.library.open(take.id), audio=tone(0.7, 4))
    assert Sounds(mirror).keep(changed).id == changed.id != take.id
    assert changed.id in lab.library


def test_a_box_that_refuses_changes_nothing_here(away: Open, lab: PretendSession, box: Backend) -> None:
    mine, bobs = a_take(1), a_take(2)
    assert box.takes.keep(mine, owner(ADA)) == "" == box.takes.keep(bobs, owner(BOB))
    box.takes.keep(bobs, owner(ADA))  # who made the very same
    mirror = away(ADA)
    assert set(mirror.ids()) == {mine.id, bobs.id}
    with pytest.raises(LibraryError, match="somebody else"):
        mirror.mark(bobs.id, star=True)
    with pytest.raises(LibraryError, match="host"):
        mirror.empty_trash()
    assert not set(mirror.marks(bobs.id)) - {"batch"}
    assert mirror.card(mine.id).star is False
    assert lab.library.marks(bobs.id).get("star") is None


def test_a_take_the_box_has_no_disk_for_is_heard_all_the_same(away: Open, box: Backend) -> None:
    take = of_floats()
    box.takes.owners.claim(take.id, None, owner(ADA))
    box.takes._unsaved[take.id] = take
    mirror = away(ADA)
    assert mirror.ids() == [take.id]
    there = mirror.open(take.id)
    assert (there, there.audio) == (take, take.audio)
    assert np.array_equal(there.latent, take.latent)
    assert away(BOB).ids() == []


def test_what_is_said_of_a_take_is_its_owners_alone(away: Open, lab: PretendSession, box: Backend) -> None:
    take = a_take()
    box.takes.keep(take, owner(BOB))
    box.takes.keep(take, owner(ADA))
    away(BOB).mark(take.id, title="Secret", note="mine", scores={"ear": 1.0}, star=True)
    card = away(ADA).card(take.id)
    assert (card.title, card.note, dict(card.scores), card.star) == ("", "", {}, False)
    away(ADA).bin(take.id)
    assert away(ADA).ids() == []
    assert away(BOB).ids() == [take.id]
    assert away(ADA).restore(take.id) == [take.id]


# -- owners ---------------------------------------------------------------------------------------------------------------


def test_a_key_sees_and_changes_only_its_own(away: Open, lab: PretendSession, box: Backend, door: ApiServer) -> None:
    mine, bobs, hosts = a_take(1), a_take(2), a_take(3)
    box.takes.keep(mine, owner(ADA))
    box.takes.keep(bobs, owner(BOB))
    lab.library.keep(hosts)
    box.takes.keep_sound(tone(0.3, 5), owner(BOB), "bobs.wav")
    mirror = away(ADA)
    assert mirror.ids() == [mine.id]
    assert mirror.sounds() == []
    client = httpx2.Client(base_url=door.address, headers={"Authorization": f"Bearer {ADA}"})
    for id in (bobs.id, hosts.id):
        for path in ("", "/latent", "/manifest", "/marks"):
            assert client.get(f"/v1/lab/takes/{id}{path}").status_code >= 400
        for path in ("bin", "restore"):
            client.post(f"/v1/lab/takes/{path}", json={"ids": [id]})
        assert client.post("/v1/lab/takes/told", json={"ids": [id]}).json()[id].keys() == {"error"}
        assert client.post(f"/v1/lab/takes/{id}/marks", json={"marks": {"star": True}}).status_code == 400
    sound = tone(0.3, 5).id
    for answer in (
        client.get(f"/v1/lab/sounds/{sound}"),
        client.post(f"/v1/lab/sounds/{sound}/name", json={"name": "x"}),
        client.post(f"/v1/lab/sounds/{sound}/forget", json={}),
    ):
        assert answer.status_code == 400, answer.text
    assert client.post("/v1/lab/known", json={"ids": [bobs.id, sound, mine.id]}).json() == {"known": [mine.id]}
    assert set(lab.library.ids()) == {mine.id, bobs.id, hosts.id}
    assert not lab.library.card(bobs.id).star
    assert httpx2.get(f"{door.address}/v1/lab/takes").status_code == 401
    assert len(away(HOST).ids()) == len([id for id in lab.library.ids() if id == hosts.id])


def test_what_is_brought_proves_its_sound_and_nothing_about_whose_it_is(
    away: Open, lab: PretendSession, box: Backend, tmp_path: Path
) -> None:
    bobs = a_take(2)
    box.takes.keep(bobs, owner(BOB))
    mirror = away(ADA)
    with pytest.raises(LibraryError, match="somebody else's"):
        mirror.keep(bobs)
    assert mirror.ids() == []
    assert box.takes.owner_of(bobs.id) == owner(BOB)
    assert shelf_of(box).source(bobs.id, owner(ADA)) == bobs  # in hand: a run of hers may start from it
    with pytest.raises(LabError):
        box.takes.take(bobs.id, owner(ADA))
    forged = manifest.with_checksum({**manifest.describe(a_take(7)), "id": bobs.id})
    file = tmp_path / "forged.wav"
    a_take(7).audio.write(file, comment=manifest.to_text(forged))
    answer = mirror.connection.send("/v1/lab/takes", file)
    assert answer["id"] != bobs.id
    assert "new take" in answer["remark"]
    assert mirror.ids() == [answer["id"]]
    assert lab.library.open(bobs.id) == bobs


@pytest.mark.parametrize(
    ("name", "data"), [("a.wav", b"RIFF"), ("a.flac", b""), ("a.exe", b"MZ"), ("../../a.wav", b"fLaC00")]
)
def test_a_file_that_is_none_is_refused_and_leaves_nothing(
    door: ApiServer, lab: PretendSession, tmp_path: Path, name: str, data: bytes
) -> None:
    for route in ("takes", "sounds"):
        answer = httpx2.post(
            f"{door.address}/v1/lab/{route}", files={"file": (name, data)}, headers={"Authorization": f"Bearer {ADA}"}
        )
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]
    assert not [one for one in (tmp_path / "door").rglob("*") if one.is_file()]
    assert lab.library.ids() == [] == lab.library.sounds()


ODD: tuple[Any, ...] = (
    {}, {"ids": "take-a"}, {"ids": [5]}, {"ids": ["take-../x"]}, {"ids": ["take-a"] * 500}, {"ids": [["take-a"]]}, {"ids": ["take-a"]},
    {"marks": 5}, {"marks": {"colour": 1}}, {"marks": {"star": "yes"}}, {"marks": {"tags": [5]}}, {"marks": {"scores": {"a": "b"}}},
    {"marks": {"title": "\ud800"}}, {"marks": {"note": "x" * 200_000}}, {"marks": {"locks": [[]]}}, {"hours": "x"}, {"hours": None},
    {"hours": True}, {"hours": -1e308}, {"name": 5}, {"name": "\x00"}, {"name": ""}, {"name": "x" * 10_000}, {"ids": [None, {}, "audio-a"]},
)  # fmt: skip


@pytest.mark.parametrize("key", [HOST, ADA])
def test_whatever_is_asked_is_answered_with_a_sentence(
    door: ApiServer, lab: PretendSession, box: Backend, key: str
) -> None:
    take, sound = a_take(), tone(0.2, 3)
    box.takes.keep(take, owner(key))
    box.takes.keep_sound(sound, owner(key), "x")
    client = httpx2.Client(base_url=door.address, headers={"Authorization": f"Bearer {key}"}, timeout=20)
    paths = [
        f"/v1/lab/{path}"
        for path in (
            "takes", "takes/told", "takes/bin", "takes/restore", "takes/empty", f"takes/{take.id}/marks", "known", "sounds",
            f"sounds/{sound.id}/name", "takes/take-0123/marks", "sounds/audio-0123/name", "sounds/audio-0123/forget",
        )
    ]  # fmt: skip
    for path in paths:
        for body in ODD:
            answer = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (path, body, answer.text[:300])
            assert answer.status_code == 200 or len(answer.json()["error"]) > 5, (path, body)
    for path in (
        "takes/../x",
        "takes/take-%2e%2e",
        "takes/take-0123",
        "sounds/audio-0123",
        "takes/take-A/latent",
        "takes/x/marks",
    ):
        assert 400 <= client.get(f"/v1/lab/{path}").status_code < 500, path
    assert take.id in lab.library
    assert sound.id in lab.library.sounds()


# -- recordings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [HOST, ADA])
def test_recordings_and_their_names_go_both_ways(away: Open, lab: PretendSession, box: Backend, key: str) -> None:
    brought, sent = tone(0.4, 3), Audio(np.random.default_rng(0).standard_normal((1, 900)).astype(np.float32), 8000)
    box.takes.keep_sound(brought, owner(key), "guitar.wav")
    mirror = away(key)
    assert mirror.sounds() == [brought.id]
    assert mirror.sound_name(brought.id) == "guitar.wav"
    assert abs(mirror.sound_seconds(brought.id) - 0.4) < 0.01
    assert mirror.source_title(brought.id) == "guitar.wav"
    assert mirror.open_sound(brought.id) == brought
    mirror.name_sound(brought.id, "  my\nguitar ")
    assert box.takes.sound_name(brought.id, owner(key)) == "my guitar" == mirror.sound_name(brought.id)
    mirror.keep_sound(sent)
    assert box.takes.sounds(owner(key)) == [brought.id]
    assert lab.library.open_sound(sent.id) == sent
    assert mirror.source_title(sent.id) == "a recording"
    assert mirror.forget_sound(brought.id)
    assert mirror.sounds() == [sent.id]
    assert brought.id not in lab.library.sounds()
    with pytest.raises(LibraryError):
        mirror.open_sound(brought.id)


def test_a_studio_here_over_a_box_there_keeps_its_people_apart(away: Open, lab: PretendSession) -> None:
    takes = OwnedLibrary(away())
    mine = a_take(1)
    assert takes.keep(mine, "ada") == ""
    assert takes.ids("ada") == [mine.id]
    assert takes.ids("eve") == []
    takes.keep_sound(tone(0.2, 2), "ada", "voice.wav")
    assert takes.sounds("ada") == [tone(0.2, 2).id]
    assert takes.sound_name(tone(0.2, 2).id, "ada") == "voice.wav"
    assert takes.titles("ada")[mine.id] == "dub"
    assert takes.bin([mine.id], "ada") == [mine.id]
    assert takes.binned("ada") == [mine.id]
    assert takes.restore("ada") == [mine.id]
    assert mine.id in lab.library


# -- sources of recipes ---------------------------------------------------------------------------------------------------


def test_what_a_recipe_starts_from_is_sent_once(
    door: ApiServer, lab: PretendSession, box: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Library(tmp_path / "laptop")
    line = Connection(door.address, ADA)
    sent: list[Path] = []
    monkeypatch.setattr(
        line,
        "send",
        lambda path, file, *more, **fields: (sent.append(file), Connection.send(line, path, file, *more, **fields))[1],
    )
    sources = Sources(line, Sounds(here).find)
    file = tone(0.3, 6).write(tmp_path / "riff.wav", bits=32)
    take, recording = a_take(4), tone(0.3, 5)
    for source in (take, recording, str(file)):
        for _ in range(2):
            brought = sources.bring(Recipe("again", task=Cover(source)))
    assert len(sent) == 3
    assert brought.task.sources() == {"source": Audio.read(file).id}
    assert box.takes.sound_name(Audio.read(file).id, owner(ADA)) == "riff.wav"
    at_hand = shelf_of(box).with_sources(sources.bring(Recipe("x", task=Cover(take))), owner(ADA))
    assert at_hand.task.sources() == {"source": take}
    with pytest.raises(LabError):
        shelf_of(box).with_sources(Recipe("x", task=Cover(take.id)), owner(BOB))
    with pytest.raises(LabError):
        sources.bring(Recipe("x", task=Cover("take-0123456789abcdef")))
    assert sources.bring(Recipe("words alone")) == Recipe("words alone")
    line.close()
    here.close()


def test_a_take_that_has_another_name_there_is_known_by_it(door: ApiServer, box: Backend, tmp_path: Path) -> None:
    theirs, mine = a_take(1), a_take(2)
    box.takes.keep(theirs, owner(ADA))
    old = {name: value for name, value in manifest.describe(mine).items() if name != "checksum"}
    claimed = mine.with_manifest({**old, "format": "acestep_lab.take/1", "id": theirs.id})
    line = Connection(door.address, ADA)
    sources = Sources(line, lambda source: source)
    first = sources.bring_all([claimed, theirs])
    assert first[0] not in (theirs.id, claimed.id)
    assert first[1] == theirs.id
    assert box.takes.take(first[0], owner(ADA)).audio == mine.audio
    assert sources.bring_all([claimed]) == first[:1]
    assert len(box.takes.ids(owner(ADA))) == 2
    line.close()


def test_behind_a_retake_what_its_source_came_from_is_brought_as_well(
    door: ApiServer, box: Backend, tmp_path: Path
) -> None:
    here = Library(tmp_path / "laptop")
    root = a_take(1)
    middle = a_take(2, parents=(root.id,), recipe={"task": Cover(root.id)})
    for one in (root, middle):
        here.keep(one)
    line = Connection(door.address, ADA)
    Sources(line, Sounds(here).find).bring(Recipe("x", task=Retake(middle.id, 0.5, 3)))
    assert set(box.takes.ids(owner(ADA))) == {root.id, middle.id}
    line.close()
    here.close()


def test_sounds_brought_for_runs_are_let_go_once_there_are_many(
    box: Backend, lab: PretendSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("acestep_lab.serve.api_lab_shelf.MOST_UNNAMED", 3)
    shelf, ada = shelf_of(box), owner(ADA)
    bring = lambda seed: shelf.receive_sound(tone(0.1, seed).write(tmp_path / "s.wav", bits=32), "", ada)["id"]  # noqa: E731
    ids = [bring(seed) for seed in range(3)]
    with pytest.raises(LibraryError, match="in an hour"):
        bring(3)
    needed = a_take(8, parents=(ids[0],), recipe={"task": Cover(ids[0])})
    box.takes.keep(needed, ada)
    for id in ids:
        os.utime(lab.library.recording(id), (1, 1))
    assert bring(3) in lab.library.sounds()
    assert ids[0] in lab.library.sounds()
    assert ids[1] not in lab.library.sounds()


# -- the mirror -----------------------------------------------------------------------------------------------------------


def test_without_the_box_what_is_mirrored_can_still_be_read(door: ApiServer, away: Open, lab: PretendSession) -> None:
    heard, unheard = a_take(1), a_take(2)
    for take in (heard, unheard):
        lab.library.keep(take)
    mirror = away()
    mirror.open(heard.id)
    door.close()
    mirror._fetch.patience = 0.0
    again = away()
    again._fetch.patience = 0.0
    for one in (mirror, again):
        assert set(one.ids()) == {heard.id, unheard.id}
        assert one.titles()
        assert "does not answer" in one.offline
        assert one.open(heard.id) == heard
        assert one.card(unheard.id).caption == "dub"
        for asked in (
            lambda one=one: one.open(unheard.id),
            lambda one=one: one.mark(heard.id, star=True),
            lambda one=one: one.bin(heard.id),
            lambda one=one: one.keep(a_take(3)),
        ):
            with pytest.raises(LibraryError, match="does not answer"):
                asked()
        assert not one.card(heard.id).star
        assert one.trash() == []


def test_a_damaged_mirror_is_fetched_again(away: Open, lab: PretendSession) -> None:
    take = a_take()
    lab.library.keep(take)
    lab.library.mark(take.id, star=True)
    mirror = away()
    file = mirror.sound(take.id)
    for damage in (b"", b"fLaC and nothing", file.read_bytes()[:-200]):
        file.write_bytes(damage)
        assert mirror.open(take.id).audio == take.audio
    (mirror.folder / f"{take.id}.safetensors").write_bytes(b"half")
    assert np.array_equal(mirror.open(take.id).latent, take.latent)
    (mirror.folder / f"{take.id}.json").write_text("{")
    assert mirror.ids() == [take.id]
    assert mirror.card(take.id).star
    assert mirror.problems() == ()
    for name in (".box.sqlite", ".index.sqlite"):
        mirror.close()
        (mirror.folder / name).write_bytes(b"no database at all" * 100)
        mirror = away()
        assert (mirror.ids(), mirror.open(take.id)) == ([take.id], take), name
    (mirror.folder / f"{take.id}.json").unlink()
    assert mirror.ids() == [take.id]


def test_a_mirror_that_somebody_deletes_is_made_anew(away: Open, lab: PretendSession) -> None:
    kept, binned = a_take(1), a_take(2)
    for take in (kept, binned):
        lab.library.keep(take)
    mirror = away()
    mirror.open(kept.id)
    mirror.bin(binned.id)
    mirror.folder.rename(mirror.folder.with_name("moved away"))  # at once, whoever is writing into it
    assert mirror.ids() == [kept.id]
    assert mirror.open(kept.id) == kept
    assert mirror.restore(binned.id) == [binned.id]
    assert len(mirror.cards()) == 2


def test_what_one_answer_or_one_question_does_not_hold_comes_with_the_next(
    away: Open, lab: PretendSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5):
        lab.library.keep(a_take(seed))
    monkeypatch.setattr("acestep_lab.serve.api_lab_shelf.MOST_TOLD", 1)
    assert len(away()) == 5
    with monkeypatch.context() as patched:
        patched.setattr("acestep_lab.remote.library.SYNC_SECONDS", 0.0)
        late = away(folder="late")
        assert late.ids() == []
        assert not late.offline
    assert late.ids() == lab.library.ids()
    late.rebuild()
    assert late.cards() == lab.library.cards()


def test_sounds_not_heard_for_long_make_room(away: Open, lab: PretendSession) -> None:
    takes = [a_take(seed, seconds=0.5) for seed in range(4)]
    for take in takes:
        lab.library.keep(take)
    mirror = away()
    size = mirror.sound(takes[0].id).stat().st_size
    mirror.close()
    small = away(most_bytes=round(2.6 * size))
    for at, take in enumerate(takes):
        os.utime(small.sound(take.id), (at + 1, at + 1))
    held = {one.name.split(".")[0] for one in small.folder.iterdir() if one.suffix in (".flac", ".wav")}
    assert takes[3].id in held
    assert takes[0].id not in held
    assert len(held) == 2
    assert small.open(takes[0].id) == takes[0]
    assert len(small) == 4


def test_two_processes_on_one_mirror_do_not_disturb_each_other(away: Open, lab: PretendSession) -> None:
    for seed in range(12):
        lab.library.keep(a_take(seed, seconds=0.1))
    libraries, failed = [away(ask_every=0.01) for _ in range(3)], list[BaseException]()

    def use(library: RemoteLibrary, at: int) -> None:
        try:
            for place, id in enumerate(library.ids()):
                assert library.open(id).id == id
                if place % 3 == at:
                    library.mark(id, note=f"by {at}")
        except BaseException as problem:  # noqa: BLE001 - told below
            failed.append(problem)

    threads = [threading.Thread(target=use, args=pair) for pair in zip(libraries, range(3), strict=True)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert not failed
    assert len(lab.library.cards()) == 12
    for library in libraries:
        library.refresh()
        assert library.cards() == lab.library.cards()
    assert not list(libraries[0].folder.glob(".incoming-*"))
    assert not list(libraries[0].folder.glob(".draft-*"))


def test_a_mirror_in_other_hands_is_waited_for_and_then_left(tmp_path: Path) -> None:
    state = MirrorState(tmp_path / "box.sqlite")
    other = sqlite3.connect(tmp_path / "box.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy), state.alone(0.05):
        pass
    other.execute("COMMIT")
    other.close()
    with state.alone(1.0):
        state.write(Listing("s", {"take-1": "a"}))
        assert state.read() == Listing("s", {"take-1": "a"})
    state.close()


def test_a_mirror_lies_in_the_cache_by_address_and_key_and_its_size_is_a_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = mirror_folder("http://a:1", "key"), mirror_folder("http://a:1", "other")
    assert one != two
    assert one.parent == two.parent
    assert "key" not in one.name
    assert most_mirrored() == 2_000_000_000
    monkeypatch.setenv("ACESTEP_LAB_MIRROR_GB", "0.5")
    assert most_mirrored() == 500_000_000


# -- a box that means harm ------------------------------------------------------------------------------------------------


class Evil(httpx2.BaseTransport):
    """Answers as it is told to: by path, JSON or bytes or an endless stream."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers, self.asked = answers, list[str]()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        found = next((value for path, value in self.answers.items() if request.url.path.endswith(path)), None)
        if found is None:
            return httpx2.Response(404, json={"error": "no"})
        if isinstance(found, bytes):
            return httpx2.Response(
                200, content=found, headers={"Content-Disposition": 'attachment; filename="../../x"'}
            )
        if callable(found):
            return httpx2.Response(200, stream=Endless(found))
        return httpx2.Response(200, content=json.dumps(found).encode())


class Endless(httpx2.SyncByteStream):
    def __init__(self, piece: Callable[[], bytes]) -> None:
        self._piece = piece

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._piece()


def listing(*ids: str, **more: Any) -> dict[str, Any]:
    return {"stamp": "1", "takes": dict.fromkeys(ids, "1"), "binned": [], "sounds": [], "damaged": []} | more


def everything_in(folder: Path) -> set[str]:
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}


GOOD = a_take(1, seconds=0.2)
HOSTILE_LISTS: dict[str, Any] = {
    "a path": listing("../../../evil"),
    "a path in the bin": listing(binned=["take-../x"]),
    "a path of a sound": listing(sounds=[["audio-/../x", "x", 1.0]]),
    "a long name": listing("take-" + "a" * 41),
    "a line in a name": listing("take-a\n"),
    "a number": 5,
    "a list": [1, 2],
    "no takes": {"stamp": "1"},
    "a stamp too long": listing() | {"takes": {"take-a": "x" * 10_000}},
    "sounds of no length": listing(sounds=[["audio-a", "x", -1.0]]),
    "an odd sound": listing(sounds=["audio-a"]),
    "a name that is none": listing(sounds=[["audio-a", "\x00", 1.0]]),
    "too many": listing(*(f"take-{n}" for n in range(100_001))),
    "nothing of anything": listing("take-abc"),
    "no JSON": b"<html>",
    "deep": b"[" * 200_000,
    "the same as nothing": {"same": True},
    "endless": lambda: b" " * 2**20,
}


@pytest.mark.parametrize("what", HOSTILE_LISTS)
def test_a_list_that_means_harm_changes_nothing(what: str, tmp_path: Path) -> None:
    line = Connection("http://evil", transport=Evil({"/takes": HOSTILE_LISTS[what]}), patience=0.0)
    began = time.monotonic()
    mirror = RemoteLibrary(line, tmp_path / "a" / "mirror", ask_every=0.0)
    assert mirror.ids() == []
    assert mirror.sounds() == []
    assert mirror.trash() == []
    assert mirror.offline
    assert everything_in(tmp_path) <= {f"a/mirror/{name}" for name in everything_in(mirror.folder)}
    assert not any(name.startswith(("take", "audio")) for name in everything_in(mirror.folder))
    assert time.monotonic() - began < 5
    mirror.close()


TOLD: dict[str, Any] = {
    "another's manifest": {"manifest": manifest.describe(a_take(2)), "marks": {}},
    "a manifest that was changed": {
        "manifest": {**manifest.describe(GOOD), "recipe": Recipe("evil").to_json()},
        "marks": {},
    },
    "no manifest": {"manifest": None, "marks": {}},
    "marks that are none": {"manifest": manifest.describe(GOOD), "marks": {"../x": 1}},
    "marks of another kind": {"manifest": manifest.describe(GOOD), "marks": {"star": "yes"}},
    "a refusal": {"error": 5},
    "text": "take",
}


@pytest.mark.parametrize("what", TOLD)
def test_a_take_that_is_not_what_it_says_is_a_problem_and_no_take(what: str, tmp_path: Path) -> None:
    evil = Evil({"/takes": listing(GOOD.id), "/told": {GOOD.id: TOLD[what]}})
    mirror = RemoteLibrary(Connection("http://evil", transport=evil), tmp_path / "mirror", ask_every=0.0)
    assert mirror.ids() == []
    assert [one.name for one in mirror.damaged] == [f"{GOOD.id}.json"]
    assert mirror.ids() == []
    assert evil.asked.count("/v1/lab/takes/told") == 1
    assert not any(name.startswith("take") for name in everything_in(mirror.folder))
    mirror.close()


def bomb() -> bytes:
    """A small FLAC of ten minutes of silence."""
    import io

    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.zeros((600 * 8000, 2), np.int16), 8000, format="FLAC")
    return out.getvalue()


def flac_of(take: Take, tmp_path: Path) -> bytes:
    return take.audio.write(tmp_path / "other.flac").read_bytes()


@pytest.mark.parametrize("what", ["endless", "bomb", "another", "zip", "html", "nothing"])
def test_a_sound_that_is_not_the_one_asked_for_never_comes_in(what: str, tmp_path: Path) -> None:
    sounds: dict[str, Any] = {
        "endless": lambda: b"fLaC" + bytes(2**20), "bomb": bomb(), "another": flac_of(a_take(3, seconds=0.2), tmp_path),
        "zip": b"PK\x03\x04" + bytes(100), "html": b"<html>", "nothing": b"",
    }  # fmt: skip
    told = {"manifest": manifest.describe(GOOD), "marks": {}}
    evil = Evil(
        {
            "/takes": listing(GOOD.id),
            "/told": {GOOD.id: told},
            "/manifest": told["manifest"],
            f"/{GOOD.id}": sounds[what],
        }
    )
    mirror = RemoteLibrary(Connection("http://evil", transport=evil), tmp_path / "mirror", ask_every=0.0)
    assert mirror.ids() == [GOOD.id]
    began = time.monotonic()
    with pytest.raises(LibraryError):
        mirror.open(GOOD.id)
    with pytest.raises((LibraryError, MachineError)):
        fetch_take(mirror.connection, GOOD.id)
    assert time.monotonic() - began < 8
    kept = {name for name in everything_in(mirror.folder) if not name.startswith(".")}
    assert kept == {f"{GOOD.id}.json"}
    assert not list(mirror.folder.glob(".incoming-*"))
    with pytest.raises(LibraryError):
        fetch_take(mirror.connection, a_take(2).id)
    assert everything_in(tmp_path) - {"other.flac"} == {f"mirror/{name}" for name in everything_in(mirror.folder)}
    mirror.close()


def test_a_box_that_only_drips_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("acestep_lab.remote.connection.time.monotonic", lambda: float(next(clock)))
    line = Connection("http://evil", transport=Evil({"/takes": lambda: b" "}), patience=0.0)
    with pytest.raises(MachineError, match="too slowly"):
        line.get("/v1/lab/takes")
    with pytest.raises(MachineError, match="too slowly"):
        line.fetch("/v1/lab/takes", tmp_path / "file")
    assert everything_in(tmp_path) == set()


def test_a_laptop_without_torch_opens_a_library_elsewhere() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = sys.modules['diffusers'] = None;"
        "import acestep_lab.remote.library, acestep_lab.remote.sources"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_latent_that_is_another_ones_is_left_out_and_the_take_opens(tmp_path: Path) -> None:
    told = {"manifest": manifest.describe(GOOD), "marks": {}}
    library = Library(tmp_path / "here")
    sound = library.keep(GOOD).read_bytes()
    evil = Evil({"/takes": listing(GOOD.id), "/told": {GOOD.id: told}, f"/{GOOD.id}": sound, "/latent": b"x" * 99})
    mirror = RemoteLibrary(Connection("http://evil", transport=evil), tmp_path / "mirror", ask_every=0.0)
    assert mirror.open(GOOD.id).audio == GOOD.audio
    assert mirror.open(GOOD.id).latent.size == 0
    mirror.close()
    library.close()
