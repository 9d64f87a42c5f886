"""Several people at one studio: what is somebody's stays theirs, whatever another's page sends or another's file claims."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import (
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Piece,
    Region,
    Repaint,
    Retake,
    Stitch,
    Task,
    Text2Music,
)
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import Backend
from acestep_lab.ui.studio import Studio
from tests.pretend import PretendSession, tone
from tests.soak.messages import fitting

SECRET = ("zanzibar", "quixotic", "marzipan", "obelisk", "heirloom")
"""A caption's, a title's, a note's, a tag's and a file's word, which are Ann's alone."""

STAYING = ("acestep_lab worker",)
OTHERS: set[threading.Thread] = set()


@dataclass
class Ear:
    """All that a page is told: messages and fields, as text, and the bytes."""

    page: Studio
    said: list[str] = field(default_factory=list)
    bulk: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, part in self.page.components.items():
            part.emit = lambda kind, *buffers, _of=name, **body: self._hear(_of, kind, buffers, body)

    def _hear(self, of: str, kind: str, buffers: Any, body: Any) -> None:
        self.said.append(json.dumps([of, kind, body], ensure_ascii=False, default=str))
        self.bulk.extend(bytes(one) for one in buffers)
        if kind == "error" and body["text"]:
            self.errors.append(body["text"])

    def all(self) -> str:
        """Everything as one text."""
        fields = [[getattr(part, name) for name in part.fields] for part in self.page.components.values()]
        return "\n".join([*self.said, json.dumps(fields, ensure_ascii=False, default=str)]).casefold()


@dataclass
class House:
    """A session that Ann has worked in and Bob has just come to."""

    session: PretendSession
    backend: Backend
    ann: Studio
    bob: Studio
    ear: Ear
    sound: Audio
    takes: list[Take]
    folder: Path

    @property
    def ids(self) -> list[str]:
        return [self.sound.id, *(take.id for take in self.takes)]


def made(page: Studio, recipe: Recipe) -> Take:
    """A take made on a page."""
    run = page.start(recipe)
    run.wait(20)
    settle()
    return next(iter(run.made.values()))


def _is_a_pages(thread: threading.Thread) -> bool:
    return thread.name.startswith("acestep_lab ") and thread.name not in STAYING and thread not in OTHERS


def settle() -> None:
    """Wait for the threads that pages have begun; those of other tests, which may live on, are none of theirs."""
    for _ in range(200):
        if not any(_is_a_pages(one) for one in threading.enumerate()):
            return
        time.sleep(0.01)


def bring(page: Studio, path: Path, name: str = "") -> None:
    """Send a file as a browser does."""
    data = path.read_bytes()
    page.drop.receive({"kind": "begin", "name": name or path.name, "size": len(data), "turn": "t"})
    page.drop.receive({"kind": "piece", "at": 0, "turn": "t"}, [data])
    settle()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    OTHERS.update(threading.enumerate())
    session = PretendSession(tmp_path / "library", pause=0.0)
    backend = Backend(session)
    ann = Studio(backend, "ann", panes=False)
    sound = tone(2.0, 7)
    bring(ann, sound.write(tmp_path / "heirloom.wav"))
    sound = ann.selected
    first = made(ann, Recipe("zanzibar dub", seconds=2.0, seed=1, steps=2))
    cover = made(ann, Recipe("zanzibar cover", seed=2, seconds=2.0, steps=2, task=Cover(sound)))
    ann.gallery.receive({"kind": "mark", "id": first.id, "title": "quixotic", "note": "marzipan", "tags": ["obelisk"]})
    ann.gallery.receive({"kind": "peaks", "id": first.id})
    settle()
    bob = Studio(backend, "bob", panes=False)
    yield House(session, backend, ann, bob, Ear(bob), sound, [first, cover], tmp_path)
    ann.close()
    bob.close()
    session.close()
    session.library.close()


def forged(house: House, task: Task, number: int, words: str = "bob's own") -> Path:
    """A file of ours that claims to come from what is Ann's; it proves its own id as any of them does."""
    sources = tuple(dict.fromkeys(map(str, task.with_ids().sources().values())))
    take = Take(
        Recipe(words, seed=number, seconds=1.0, task=task),
        tone(1.0, number),
        np.zeros((5, 8), np.float32),
        parents=sources,
    )
    return take.export(house.folder / f"forged-{number}.wav")


def every_task(id: str) -> list[Task]:
    return [
        Text2Music(reference=id), Repaint(id, (Region(0, 1),)), Extend(id, after=1.0), Cover(id), Cover(codes=(1, 2), reference=id),
        Retake(id, 0.5, 1), Extract(id, "drums"), Lego(id, "drums"), Complete(id, ("drums",)), FlowEdit(id),
        Stitch((Piece(id), Piece(id, Region(0, 1)))),
    ]  # fmt: skip


def test_no_message_with_the_ids_of_somebody_else_tells_anything_of_them(house: House) -> None:
    dice = random.Random(3)
    waves = list(house.backend.session.library.folder.joinpath(".waveforms").iterdir())
    assert waves, "a waveform of Ann's is kept"
    pictures = {one.read_bytes() for one in waves}
    for name, part in house.bob.components.items():
        for kind in sorted(part._requests):
            code = part._requests[kind].__wrapped__.__code__
            names = [one for one in code.co_varnames[1 : code.co_argcount] if one != "buffers"]
            for id in house.ids:
                body = {one: [id] if one in ("ids", "among") else fitting(dice, one, id) for one in names}
                if "value" in body and name == "prompt":
                    body["value"] = id
                part.receive({"kind": kind, **body})
    settle()
    heard = house.ear.all()
    assert not [word for word in SECRET if word in heard]
    assert not pictures & set(house.ear.bulk)
    marks = house.session.library.marks(house.takes[0].id)
    assert (marks["title"], marks["note"], marks["tags"]) == ("quixotic", "marzipan", ["obelisk"])
    assert [card["id"] for card in house.ann.gallery.cards] == [take.id for take in reversed(house.takes)]
    assert house.ann.drop.sounds


@pytest.mark.parametrize("of", [0, 1])
def test_a_file_that_claims_to_come_from_somebody_elses_opens_none_of_it(house: House, of: int) -> None:
    id = house.ids[of]
    for number, task in enumerate(every_task(id), 40):
        bring(house.bob, forged(house, task, number))
        bob = house.bob
        brought = bob.open(next(card["id"] for card in bob.gallery.cards if card["seed"] == number))
        assert brought.recipe.task == task
        bob.select(brought)
        for part, message in [
            (bob.tree, {"kind": "select", "id": id}),
            (bob.gallery, {"kind": "reuse", "id": brought.id}),
            (bob.song, {"kind": "hear"}),
            (bob.export, {"kind": "open", "ids": [id]}),
            (bob.gallery, {"kind": "more_like", "id": brought.id}),
            (bob.prompt, {"kind": "make"}),
            (bob.player, {"kind": "pair", "id": brought.id}),
        ]:
            part.receive(message)
            settle()
            assert bob.selected is not None
            assert bob.selected.id != id, (task, message)
        for run in house.backend.jobs.runs("bob"):
            run.wait(10)
        with pytest.raises(LabError):
            bob.start(brought.recipe)
        assert not bob.song.draft.sounds, task
    heard = house.ear.all()
    assert not [word for word in SECRET if word in heard]
    mine = [house.backend.takes.take(one, "bob") for one in house.backend.takes.ids("bob")]
    assert not [one for one in mine if id in one.parents and "checkpoint" in one.made_with], "none was made of it here"


def test_what_two_made_alike_shows_each_their_own_words_for_it(house: House) -> None:
    first = house.takes[0]
    same = made(house.bob, first.recipe)
    assert same.id == first.id
    bob = house.bob
    assert [card["id"] for card in bob.gallery.cards] == [first.id]
    bob.gallery.receive({"kind": "search", "text": "marzipan"})
    assert bob.gallery.cards == []
    bob.gallery.receive({"kind": "search", "text": "zanzibar"})
    assert [card["title"] for card in bob.gallery.cards] == ["zanzibar dub"]
    made(bob, Recipe("other", seed=5, seconds=2.0, steps=2, task=Cover(same)))
    told = house.ear.all()
    assert not [word for word in ("quixotic", "marzipan", "obelisk", "heirloom") if word in told]
    house.ann.gallery.receive({"kind": "bin", "ids": [first.id]})
    assert first.id in house.backend.takes.ids("bob")
    bob.gallery.receive({"kind": "bin", "ids": [first.id]})
    assert "quixotic" not in house.ear.all()
    bob.gallery.receive({"kind": "restore"})
    assert first.id in house.backend.takes.ids("bob")


def test_a_recording_that_two_brought_bears_for_each_the_name_of_their_file(house: House) -> None:
    bring(house.bob, house.sound.write(house.folder / "kite.wav"))
    assert [one["name"] for one in house.bob.drop.sounds] == ["kite.wav"]
    made(house.bob, Recipe("", lyrics="la", seed=9, seconds=2.0, steps=2, task=Cover(house.sound.id)))
    assert "heirloom" not in house.ear.all()
    assert [card["title"] for card in house.bob.gallery.cards] == ["Cover of kite.wav"]


def test_what_a_run_started_from_may_be_started_from_again_and_by_nobody_else(house: House) -> None:
    cut = tone(1.5, 3)  # in hand, and kept by nobody: as a section that grows
    take = made(house.ann, Recipe("grown", seed=4, seconds=2.0, steps=2, task=Cover(cut)))
    house.session.library.keep_sound(cut)
    house.ann.start(take.recipe).wait(20)
    assert [one["id"] for one in house.ann.drop.sounds] == [house.sound.id]
    with pytest.raises(LibraryError, match="no recording of yours"):
        house.bob.start(take.recipe)
    bring(house.bob, forged(house, Cover(cut.id), 77))
    with pytest.raises(LibraryError, match="no recording of yours"):
        house.bob.start(take.recipe)


# -- what is held does not grow, and nobody listens for a page that is gone


def listeners(house: House) -> tuple[int, ...]:
    backend = house.backend
    return tuple(
        map(
            len,
            (
                backend.jobs._listeners,
                backend._on_switch,
                backend._on_marked,
                backend.adapters._listeners,
                backend.drafts,
            ),
        )
    )


@pytest.mark.parametrize("panes", [False, True])
def test_pages_that_open_and_close_leave_nobody_listening(house: House, panes: bool) -> None:
    before = listeners(house)
    for turn in range(6):
        page = Studio(house.backend, f"guest {turn}", panes=panes)
        page.song.receive({"kind": "open", "on": True})
        page.close()
        page.close()
    assert listeners(house) == before


def test_buttons_pressed_on_two_pages_at_once_break_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Select, star, bin, bring back, stop and start from several threads, while pages open and close."""
    pages, failed, until = [house.ann, Studio(house.backend, "ann", panes=False), house.bob], [], time.monotonic() + 2.5

    def press(number: int) -> None:
        dice = random.Random(number)
        while time.monotonic() < until:
            try:
                _press(dice, house, dice.choice(pages))
            except Exception as problem:
                failed.append(problem)
                raise

    threads = [threading.Thread(target=press, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "two pages wait for each other"
    assert failed == []
    settle()
    pages[1].close()
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def _press(dice: random.Random, house: House, page: Studio) -> None:
    cards = list(page.gallery.cards)
    id = dice.choice(cards)["id"] if cards else house.takes[0].id
    what, message = dice.choice([
        ("gallery", {"kind": "select", "id": id}), ("gallery", {"kind": "mark", "id": id, "star": True}), ("gallery", {"kind": "reuse", "id": id}),
        ("gallery", {"kind": "bin", "ids": [id]}), ("gallery", {"kind": "restore"}), ("gallery", {"kind": "search", "text": "dub"}), ("gallery", {"kind": "search", "text": ""}),
        ("prompt", {"kind": "make"}), ("preview", {"kind": "stop"}), ("song", {"kind": "append"}), ("song", {"kind": "hear"}), ("song", {"kind": "undo"}), ("song", {"kind": "clear"}),
        ("stems", {"kind": "open", "on": True}), ("tree", {"kind": "select", "id": id}), ("player", {"kind": "star", "on": True}), ("export", {"kind": "open", "ids": [id]}),
    ])  # fmt: skip
    page.components[what].receive(message)
    if dice.random() < 0.1:
        Studio(house.backend, "ann", panes=False).close()


# -- what only the host may do, and what files do not carry


def test_a_take_that_claims_to_be_made_from_itself_ends_in_a_sentence(house: House) -> None:
    takes = house.backend.takes
    loop = Recipe("loop", seed=3, seconds=1.0, task=Retake("take-5e1f", 0.5, 1))
    take = Take(loop, tone(1.0), np.zeros((5, 8), np.float32), parents=("take-5e1f",))
    takes._recent["take-5e1f"] = take
    takes.owners.claim("take-5e1f", None, "bob")
    with pytest.raises(LibraryError, match="made from itself"):
        house.bob.start(loop)


def test_a_waveform_kept_beside_the_takes_is_read_from_no_other_place(house: House) -> None:
    from acestep_lab.ui.thumbnails import FOLDER, Thumbnails

    library, id = house.session.library.folder, house.takes[0].id
    kept = library / FOLDER
    assert Thumbnails(library).has(id)
    elsewhere = kept.rename(house.folder / "elsewhere")
    kept.symlink_to(elsewhere)
    assert not Thumbnails(library).has(id)
    kept.unlink()
    kept.mkdir()
    (kept / id).write_bytes(b"x" * 10_000_000)
    assert not Thumbnails(library).has(id)


def test_a_tag_of_megabytes_in_a_file_of_marks_reaches_no_page(house: House) -> None:
    id = house.takes[0].id
    place = house.session.library.folder / f"{id}.marks.json"
    place.write_text(json.dumps({"tags": ["x" * 5_000_000]}))
    again = Studio(house.backend, "ann", panes=False)
    assert [card["id"] for card in again.gallery.cards].count(id) == 1
    assert all(len(json.dumps(getattr(again.gallery, name))) < 100_000 for name in again.gallery.fields)
    again.close()


def test_an_invisible_name_is_no_name_for_a_recording(house: House) -> None:
    house.ann.drop.receive({"kind": "rename", "id": house.sound.id, "name": "\u200b \ufeff"})
    assert [one["name"] for one in house.ann.drop.sounds] == ["heirloom.wav"]


def test_a_level_nobody_knows_is_refused_and_too_many_takes_are_not_held_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acestep_lab.ui import export

    ear = Ear(house.ann)
    dialog = house.ann.export
    dialog.receive({"kind": "open", "ids": [house.takes[0].id]})
    dialog.receive({"kind": "write", "form": "wav", "level": "loud"})
    assert ear.errors == ["A level is kept, a peak or a loudness, not 'loud'."]
    monkeypatch.setattr(export, "MOST_HELD", house.takes[0].audio.samples.nbytes)
    dialog.receive({"kind": "open", "ids": [take.id for take in house.takes]})
    assert "export the first 1 apart" in ear.errors[-1]
    assert dialog.subject["ids"] == [house.takes[0].id]


def test_a_stitched_song_is_made_again_by_its_own_recipe_however_short_its_pieces(house: House) -> None:
    pieces = [tone(1.0), tone(0.01), tone(1.0, 4)]
    song = house.session.stitch(pieces, "none")
    again = house.session.make(song.recipe)
    assert again.id == song.id
    assert np.array_equal(again.audio.samples, song.audio.samples)
    assert house.session.make(again.recipe).id == song.id


def test_recordings_that_no_strip_holds_are_let_go(house: House) -> None:
    song = house.ann.song
    for number in range(30):
        song.hold(tone(1.0, number))
        song.receive({"kind": "fill", "how": "whole"})
    assert len(song.draft.sounds) <= 6
    assert song.draft.arrangement.blocks[0].source in song.draft.sounds
