"""One bad file costs one take, reading needs no right to write, and a disk that refuses costs a sentence and no take.

Full and read-only disks are played here; real ones are tried in `tests/soak`.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab import Audio, LabError, LibraryError, Recipe, Region, Repaint
from acestep_lab.takes import Library, index, read_file
from tests.test_library import take


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    opened = Library(tmp_path / "takes")
    yield opened
    opened.close()


def three(library: Library) -> list[str]:
    """Ids of three kept takes, the first of which will be hurt."""
    for seed in range(3):
        library.keep(take(seed, "slow dub techno"))
    return [take(seed, "slow dub techno").id for seed in range(3)]


def odd(path: Path, what: str) -> None:
    """Put something that is no ordinary file of ours in a file's place."""
    path.unlink(missing_ok=True)
    contents = {
        "empty": b"", "zeros": b"\0" * 300, "noise": bytes(range(256)) * 20, "deep": b"[" * 200_000, "a list": b"[1]",
        "UTF-16": '{"a": 1}'.encode("utf-16"), "Latin-1": '{"note": "Bär"}'.encode("latin-1"), "half": b'{"format": "acest',
    }  # fmt: skip
    if what in contents:
        path.write_bytes(contents[what])
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link to nowhere":
        path.symlink_to("/nowhere/at/all")
    else:
        path.symlink_to(path.parent)


ODD = (
    "empty", "zeros", "noise", "deep", "a list", "UTF-16", "Latin-1", "half", "folder", "pipe", "link to nowhere", "loop",
)  # fmt: skip


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("kind", ["json", "marks.json", "flac", "safetensors"])
def test_an_odd_file_costs_at_most_its_own_take(what: str, kind: str, library: Library) -> None:
    bad, *good = three(library)
    odd(library.folder / f"{bad}.{kind}", what)
    again = Library(library.folder)
    for one in (library, again):
        one.rebuild()
        assert set(one.ids()) - {bad} == set(good)
        assert {card.id for card in one.cards("dub")} - {bad} == set(good)
        assert {found.id for found in one.takes()} - {bad} == set(good)
        named = {problem.name for problem in one.problems(sounds=True)}
        assert any(name.startswith(bad) for name in named), "it is told of"
        assert (bad in one.ids()) == (kind != "json")
        assert ("damaged" in repr(one)) == (kind == "json")
    again.bin(*good)
    again.empty_trash()
    assert set(again.ids()) <= {bad}
    again.close()


WRONG = (None, True, -1, 10**400, 1.5, "", "x", "../../etc", "\ud800", "²", [], [[]], {}, {"task": 5}, [None] * 3)


def test_no_odd_field_of_a_manifest_stops_anything(library: Library) -> None:
    bad, *good = three(library)
    path = library.folder / f"{bad}.json"
    whole = json.loads(path.read_text())
    places = [(name,) for name in whole] + [(o, n) for o in ("audio", "latent", "made_with") for n in whole[o]]
    tried = 0
    for place in places:
        for value in WRONG:
            changed = json.loads(json.dumps(whole))
            inner = changed if len(place) == 1 else changed[place[0]]
            if place[-1] in ("recipe", "asked", "plan") and isinstance(value, dict):
                continue  # what a recipe bears is its own test's
            if inner[place[-1]] == value or (place, value) == (("checksum",), None):
                continue
            inner[place[-1]] = value
            path.write_text(json.dumps(changed))
            library._seen = 0
            assert set(library.ids()) == set(good), (place, value)
            with pytest.raises(LibraryError):
                library.open(bad)
            tried += 1
    assert tried > 200
    path.write_text(json.dumps(whole))
    assert {problem.name for problem in library.problems()} == set()
    assert library.open(bad).id == bad


@pytest.mark.parametrize(
    "said",
    [{"star": 1}, {"note": 5}, {"note": "\ud800"}, {"tags": "x"}, {"tags": [5]}, {"scores": {"a": "x"}}, {"x": 1}],
)  # fmt: skip
def test_odd_marks_are_told_of_and_count_as_none(said: dict[str, Any], library: Library) -> None:
    bad, *_ = three(library)
    (library.folder / f"{bad}.marks.json").write_text(json.dumps(said))
    library.rebuild()
    assert library.marks(bad) == {}
    assert len(library.ids()) == 3
    assert [problem.name for problem in library.problems()] == [f"{bad}.marks.json"]
    assert library.mark(bad, star=True).star
    assert library.problems() == ()
    assert json.loads((library.folder / f"{bad}.marks.unread").read_text()) == said, "a person may still read it"


def test_marks_and_searches_of_another_kind_are_sentences(library: Library) -> None:
    one, *_ = three(library)
    for wrong in ({"note": 5}, {"star": "yes"}, {"tags": 5}, {"scores": {"a": float("nan")}}, {"note": "\ud800"}):
        with pytest.raises(LibraryError):
            library.mark(one, **wrong)  # type: ignore[arg-type]
    for query in (5, None, b"x"):
        with pytest.raises(LibraryError):
            library.cards(query)  # type: ignore[arg-type]
    for where in ({"1=1 --": 1}, {"id": []}, {"seed": 10**400}):
        with pytest.raises(LibraryError):
            library.cards(**where)  # type: ignore[arg-type]
    for most in (-1, 1.5, True, 10**40):
        with pytest.raises(LibraryError):
            library.cards(most=most)  # type: ignore[arg-type]
    assert library.cards("\ud800 \0 " + "a " * 5000, seed=1) == []
    assert len(library.cards("dub " * 5000)) == 3
    with pytest.raises(LibraryError):
        Library(5)  # type: ignore[arg-type]


def test_what_lies_about_in_the_trash_and_elsewhere_is_left_alone_and_told_of(library: Library) -> None:
    kept = three(library)
    trash, sounds = library.folder / ".trash", library.folder / "sounds"
    sounds.mkdir()
    for name in ("x-take-1", "-take-", "9" * 30 + "-take-1", "٣-take-1", "notes"):
        (trash / name).mkdir()
    (trash / "8-take-2").symlink_to(library.folder.parent)
    os.mkfifo(trash / "pipe")
    for name in ("take-É.json", "take-a b.json", "take-.json", 'take-".json', "take-\n.json"):
        (library.folder / name).write_text("{}")
    (sounds / "song.wav").write_text("")
    again = Library(library.folder)
    assert again.trash() == []
    again.bin(kept[0])
    assert again.restore(kept[0], "take-1") == [kept[0]]
    again.bin(kept[1])
    again.empty_trash()
    assert len(again) == 2
    assert len(again.problems()) == 13
    assert library.folder.parent.is_dir()
    assert len(list(trash.iterdir())) == 7
    again.close()


def test_a_take_binned_in_a_future_of_the_clock_can_be_deleted(library: Library) -> None:
    one, *_ = three(library)
    library.bin(one)
    [place] = (library.folder / ".trash").iterdir()
    place.rename(place.with_name(f"{10**19}-{one}"))
    assert library.trash() == [one]
    library.empty_trash()
    assert library.trash() == []


def test_a_manifest_under_another_takes_name_is_no_take(library: Library) -> None:
    one, other, _ = three(library)
    (library.folder / f"{other}.json").write_bytes((library.folder / f"{one}.json").read_bytes())
    library.rebuild()
    assert other not in library.ids()
    assert "another take" in str(library.damaged[0])
    with pytest.raises(LibraryError, match="another take"):
        library.open(other)
    library.keep(read_file(library.folder / f"{other}.flac"))
    assert library.open(other).id == other, "its sound carried the manifest as well"


# -- the index


@pytest.mark.parametrize("what", ["folder", "pipe", "loop"])
def test_a_library_whose_index_cannot_be_a_file_lists_from_memory(what: str, library: Library) -> None:
    kept = three(library)
    library.close()
    library._index.forget()
    odd(library.folder / ".index.sqlite", what)
    again = Library(library.folder)
    assert sorted(again.ids()) == sorted(kept)
    assert len(again.cards("dub", seed=1)) == 1
    again.keep(take(9))
    again.mark(kept[0], star=True)
    again.bin(kept[1])
    assert len(again) == 3
    again.close()


class Refusing(sqlite3.Connection):
    """A connection whose disk is full or write-protected."""

    name = "SQLITE_FULL"

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith(("INSERT", "DELETE")):
            problem = sqlite3.OperationalError("database or disk is full")
            problem.sqlite_errorname = self.name
            raise problem
        return super().execute(sql, *values)


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR_WRITE", "SQLITE_BUSY"])
def test_an_index_that_cannot_be_written_moves_into_memory(
    name: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = three(library)
    connect = sqlite3.connect

    def refusing(place: Any, **more: Any) -> sqlite3.Connection:
        return connect(place, **more, **({} if place == ":memory:" else {"factory": Refusing}))

    monkeypatch.setattr(Refusing, "name", name)
    monkeypatch.setattr(index.sqlite3, "connect", refusing)
    again = Library(library.folder)
    assert sorted(again.ids()) == sorted(kept)
    assert len(again.cards("dub")) == 3
    again.bin(kept[0])
    assert len(again) == 2
    again.close()


def test_an_index_with_strange_rows_is_made_anew(library: Library) -> None:
    kept = three(library)
    library.ids()
    library.close()
    for column, value in (("parents", "{"), ("recipe", "[]"), ("seconds", "x"), ("tags", b"\xff")):
        db = sqlite3.connect(library.folder / ".index.sqlite")
        db.execute(f"UPDATE takes SET {column} = ?", (value,))
        db.commit()
        db.close()
        assert sorted(card.id for card in library.cards()) == sorted(kept)
        library.close()


# -- disks


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the disk refuse to move, make or delete anything with a reason, from now on."""

    def start(code: int, *verbs: str) -> None:
        def no(*_: Any, **__: Any) -> None:
            raise OSError(code, os.strerror(code))

        for verb in verbs:
            monkeypatch.setattr(Path if verb in ("mkdir", "unlink", "touch") else os, verb, no)

    return start


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENOENT])
def test_a_refused_take_is_a_sentence_and_stays_whole_in_memory(
    code: int, library: Library, refuse: Callable[..., None]
) -> None:
    kept, one = three(library), take(7)
    refuse(code, "replace", "unlink")
    with pytest.raises(LibraryError, match="The take could not be kept") as told:
        library.keep(one)
    assert len(str(told.value)) <= 300
    with pytest.raises(LibraryError):
        library.keep_sound(one.audio)
    with pytest.raises(LibraryError):
        library.mark(kept[0], star=True)
    assert sorted(library.ids()) == sorted(kept)
    assert one.audio.samples.size


def test_a_write_protected_library_opens_lists_and_searches(library: Library, refuse: Callable[..., None]) -> None:
    kept = three(library)
    library.close()
    refuse(errno.EROFS, "replace", "unlink", "mkdir", "touch", "rename", "rmdir")
    again = Library(library.folder)
    assert sorted(again.ids()) == sorted(kept)
    assert len(again.cards("dub")) == 3
    assert len(again.takes()) == 3
    again.empty_trash()
    again.rebuild()
    for verb in (again.bin, lambda name: again.mark(name, star=True)):
        with pytest.raises(LibraryError):
            verb(kept[0])
    assert len(again) == 3
    again.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_space_can_be_freed_on_a_full_disk(code: int, library: Library, refuse: Callable[..., None]) -> None:
    kept = three(library)
    library.mark(kept[0], star=True)
    refuse(code, "mkdir")  # not even a folder fits
    assert library.bin(*kept[:2]) == kept[:2]
    assert sorted(library.trash()) == sorted(kept[:2])
    assert library.ids() == kept[2:]
    assert library.restore(kept[0]) == [kept[0]]
    assert library.card(kept[0]).star
    library.empty_trash()
    assert library.trash() == []
    assert not [file for file in library.folder.rglob("*") if kept[1] in file.name]
    assert library.problems() == ()


def test_a_vanished_folder_is_a_sentence(library: Library) -> None:
    three(library)
    library.folder.rename(library.folder.with_name("away"))
    library.folder.write_text("in the way")
    verbs: list[Callable[[], object]] = [
        library.ids, library.cards, library.problems, lambda: library.keep(take(7)), lambda: library.open("take-1"),
        lambda: library.keep_sound(take(7).audio), lambda: library.bin("take-1"), lambda: library.mark("take-1"),
    ]  # fmt: skip
    for verb in verbs:
        with pytest.raises(LabError):
            verb()
    assert library.trash() == []
    library.empty_trash()
    library.folder.unlink()
    library.folder.with_name("away").rename(library.folder)
    assert len(library) == 3


def test_drafts_a_kill_left_are_swept_and_nobody_elses(library: Library) -> None:
    long_ago = time.time() - 2 * 3600
    (library.folder / "sounds").mkdir()
    swept = [".draft-0123456789ab.flac", ".draft-ab12cd34ef56.marks.json", "sounds/.draft-0123456789ab.wav"]
    left = [".draft-notes of mine.txt", ".draftsman.json", "draft-0123456789ab.flac"]
    for name in [*swept, *left, ".draft-fedcba987654.flac"]:
        (library.folder / name).write_text("x")
        os.utime(library.folder / name, (long_ago, long_ago))
    (library.folder / ".draft-fedcba987654.flac").touch()
    Library(library.folder).close()
    assert not [name for name in swept if (library.folder / name).exists()]
    assert all((library.folder / name).exists() for name in [*left, ".draft-fedcba987654.flac"])


def test_what_is_kept_is_flushed_to_the_disk_before_its_name_appears(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    flush, move = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (said.append("flush"), flush(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (said.append(Path(b).suffix), move(a, b))[1])
    library.keep(take(3))
    for kind in (".flac", ".safetensors", ".json"):
        place = len(said) - 1 - said[::-1].index(kind)
        assert said[place - 1] == said[place + 1] == "flush", "the file before, its folder after"


def test_recordings_are_let_go_with_the_last_take_that_needs_them_and_never_while_in_doubt(library: Library) -> None:
    recording = Audio(np.random.default_rng(0).standard_normal((1, 900)), 8000)
    library.keep_sound(recording)
    made = [
        take(seed, task=Repaint(recording, [Region(0.1, 0.2)]).with_ids()).replace(parents=(recording.id,) * seed)
        for seed in range(3)
    ]  # the first names it in its recipe only
    for one in made:
        library.keep(one)
    library.bin(made[1].id)
    library.empty_trash()
    library.bin(made[2].id)
    (library.folder / f"{made[0].id}.json").write_text("{")
    library.empty_trash()
    assert library.open_sound(recording.id) == recording, "the damaged one may need it"
    library.keep(made[0])
    library.bin(made[0].id)
    library.empty_trash()
    with pytest.raises(LibraryError, match="keeps no recording"):
        library.open_sound(recording.id)


def test_a_run_gives_its_take_although_the_disk_refuses(
    tiny_base: Path, library: Library, refuse: Callable[..., None]
) -> None:
    from acestep_lab import Session
    from acestep_lab.models.loading import Checkpoint

    with Session(Checkpoint.open(tiny_base), library=library) as lab:
        refuse(errno.ENOSPC, "replace")
        run = lab.start(Recipe("dub", seconds=2, seed=7, steps=2, thinking=False))
        one = run.take()
        assert one.audio.seconds == pytest.approx(2, abs=0.1)
        assert any("could not be kept" in note and "safe in memory" in note for note in run.messages)
        assert lab.open(one.id) == one


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("which", ["a FLAC", "floats", "a large latent"])
def test_a_disk_that_refuses_in_the_middle_of_any_file_is_heard(which: str, share: float, library: Library) -> None:
    resource = pytest.importorskip("resource")
    one = take(5)
    if which == "floats":
        one = one.replace(audio=Audio(one.audio.samples * np.float32(1.7), one.audio.rate))
    if which == "a large latent":
        one = one.replace(latent=np.ones((40_000, 8)))
    probe = Library(library.folder.with_name("probe"))
    probe.keep(one)
    largest = max(file.stat().st_size for file in probe.folder.iterdir() if file.name.startswith(one.id))
    probe.close()
    kept = three(library)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest * share), hard))  # what is longer is refused by the system
    try:
        with pytest.raises(LibraryError, match="The take could not be kept"):
            library.keep(one)
        with pytest.raises(LabError):
            one.export(library.folder.parent / "one.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(library.ids()) == sorted(kept)
    assert not [file for file in library.folder.iterdir() if file.name.startswith((one.id, ".draft-"))]
    library.keep(one)
    assert library.open(one.id) == one
    assert library.problems(sounds=True) == ()


@pytest.mark.parametrize("failing", range(1, 5))
def test_a_take_that_cannot_be_moved_whole_stays_where_it_is(
    failing: int, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, real, calls = three(library), os.replace, [0]
    library.mark(kept[0], note="mine")
    before = {name: file.read_bytes() for name in kept for file in library.folder.glob(f"{name}*")}

    def once(source: Path, target: Path) -> None:
        calls[0] += 1
        if calls[0] == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(LibraryError, match="cannot be binned"):
        library.bin(kept[0])
    assert (sorted(library.ids()), library.trash()) == (sorted(kept), [])
    assert {name: file.read_bytes() for name in kept for file in library.folder.glob(f"{name}*")} == before
    library.bin(kept[0])
    calls[0] = 0
    with pytest.raises(LibraryError, match="cannot be brought back"):
        library.restore(kept[0])
    assert library.trash() == [kept[0]]
    assert library.restore(kept[0]) == [kept[0]]
    assert library.marks(kept[0])["note"] == "mine"


def test_bringing_back_a_take_that_was_kept_again_gives_it_what_it_lacks(library: Library, tmp_path: Path) -> None:
    one = take(3)
    library.keep(one)
    library.mark(one.id, star=True, note="mine")
    copy = read_file(one.export(tmp_path / "copy.opus"))
    library.bin(one.id)
    library.keep(copy)
    assert copy.id == one.id
    assert not library.open(one.id).latent.size
    library.restore(one.id)
    again = library.open(one.id)
    assert np.array_equal(again.audio.samples, one.audio.samples)
    assert np.array_equal(again.latent, one.latent)
    assert library.card(one.id).star
    assert library.marks(one.id)["note"] == "mine"
    library.bin(one.id)
    library.keep(one)
    library.mark(one.id, note="newer")
    library.restore(one.id)
    assert library.marks(one.id)["note"] == "newer"
    assert (library.trash(), library.problems(sounds=True)) == ([], ())


@pytest.mark.parametrize("hurt", [".flac", ".safetensors", ".json"])
def test_keeping_a_take_again_heals_its_files(hurt: str, library: Library) -> None:
    kept, other = take(1), take(2)
    library.keep(kept)
    library.keep(other)
    (library.folder / f"{kept.id}{hurt}").write_bytes((library.folder / f"{other.id}{hurt}").read_bytes())
    library.keep(kept)
    assert library.open(kept.id) == kept
    assert library.open(kept.id).latent.size
    assert library.problems(sounds=True) == ()
    recording = Audio(kept.audio.samples[:, :5000], 8000)
    library.keep_sound(recording)
    next((library.folder / "sounds").iterdir()).write_bytes(b"something else")
    library.keep_sound(recording)
    assert library.open_sound(recording.id) == recording


def test_an_index_whose_error_is_no_text_is_made_anew(library: Library) -> None:
    kept = three(library)
    library.ids()
    library.close()
    whole = (library.folder / ".index.sqlite").read_bytes()
    for seed in range(12):
        dice = np.random.default_rng(seed)
        hurt = np.frombuffer(whole, np.uint8).copy()
        hurt[dice.integers(0, len(hurt), 200)] = dice.integers(0, 256, 200)
        (library.folder / ".index.sqlite").write_bytes(hurt.tobytes())
        again = Library(library.folder)
        assert sorted(again.ids()) == sorted(kept)
        assert len(again.cards("dub")) == 3
        again.close()


def test_a_take_binned_under_a_clock_before_1970_can_be_brought_back(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = three(library)
    monkeypatch.setattr("acestep_lab.takes.trash.time.time_ns", lambda: -(10**18))
    library.bin(kept[0])
    assert library.trash() == [kept[0]]
    assert library.restore(kept[0]) == [kept[0]]
    assert sorted(library.ids()) == sorted(kept)
