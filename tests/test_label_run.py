"""Labelling as a run of the session: song by song, beside other runs; a stop keeps, the same call goes on, a merge is written."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Dataset, Recipe, Session
from acestep_lab.cli import main
from acestep_lab.cli.merge import adapter_of
from acestep_lab.errors import CheckpointError, LabError, LibraryError, RecipeError, SourceError, Stopped
from acestep_lab.jobs.events import Event
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.session import RemoteSession
from acestep_lab.serve.api import ApiServer
from acestep_lab.train.song import Song
from acestep_lab.ui import formatters
from tests.pretend import PretendSession
from tests.pretend_training import songs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return songs(tmp_path_factory.mktemp("songs") / "mine", 4, 2.0)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    session.jobs.progress = False
    yield session
    session.close()


def digests(folder: Path) -> dict[str, str]:
    """A digest of every file of weights under a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.safetensors")
    }


def was_heard(song: Song) -> bool:
    """Whether somebody listened to a song and said something of it."""
    return any(label.source in ("heard", "guessed") for label in song.labels.values() if not label.is_open)


def test_each_song_is_told_as_it_is_done_and_the_result_is_the_data_set(lab: PretendSession, folder: Path) -> None:
    heard: list[Event] = []
    run = lab.label(folder, seeds=1)
    run.subscribe(heard.append)
    told = [event.song.name for event in run]
    data = run.result()
    assert told == [song.name for song in data] == [song.name for song in Dataset.scan(folder)]
    assert all(map(was_heard, data))
    assert data[0].caption == Dataset.scan(folder)[0].caption, "what a person wrote stays"
    assert (run.state, run.failed, run.to_json()["done"]) == ("done", 0, 4)
    assert run in lab.jobs.runs()
    assert data.undo().songs == Dataset.scan(folder).songs
    assert "song 000.wav" in run._repr_html_()
    bundle: Any = formatters.FORMATTERS["acestep_lab.train.labelling", "LabelRun"](run)
    assert "text/html" in (bundle[0] if isinstance(bundle, tuple) else bundle)


def test_a_stop_keeps_and_the_same_call_listens_only_to_the_rest(lab: PretendSession, folder: Path) -> None:
    second, go, asked = threading.Event(), threading.Event(), []
    plain = lab.analyze

    def analyze(source: Any, bpm: float | None = None) -> Any:
        asked.append(source)
        if len(asked) == 2:
            second.set()
            go.wait(10)
        return plain(source, bpm)

    lab.analyze = analyze  # type: ignore[method-assign]
    run = lab.label(folder, seeds=1)
    assert second.wait(20)
    assert lab.make(Recipe("meanwhile", seconds=1.0)).seconds == 1.0, "other runs have their turn"
    run.stop()
    go.set()
    with pytest.raises(Stopped, match="1 of 4"):
        run.result()
    assert list(map(was_heard, run.dataset)) == [True, False, False, False]
    lab.analyze = plain  # type: ignore[method-assign]
    again = lab.label(folder, seeds=1)
    again.result()
    assert [event.resumed for event in again.events] == [True, False, False, False]


def test_a_folder_of_one_s_own_knows_what_is_finished_and_nonsense_is_a_sentence(
    lab: PretendSession, folder: Path, tmp_path: Path
) -> None:
    lab.label(folder, seeds=1, folder=tmp_path / "labels").result()
    assert (tmp_path / "labels" / ".labels.jsonl").is_file()
    (tmp_path / "a file").write_text("")
    for place in (tmp_path / "a file", 7):
        with pytest.raises(LibraryError):
            lab.label(folder, folder=place)
    for wrong in ({"seeds": 0}, {"seeds": 99}, {"lyrics": "some"}):
        with pytest.raises(RecipeError):
            lab.label(folder, **wrong)  # type: ignore[arg-type]
    with pytest.raises((RecipeError, SourceError)):
        lab.label([])


def test_a_session_elsewhere_labels_songs_of_this_machine_and_refuses_to_merge(
    lab: PretendSession, folder: Path, tmp_path: Path
) -> None:
    with ApiServer(lab, port=0) as door:
        far = RemoteSession(Connection(door.address))
        far.jobs.progress = False
        data = far.label(Dataset.scan(folder)[:2], seeds=1, folder=tmp_path / "labels").result()
        assert all(map(was_heard, data))
        with pytest.raises(CheckpointError, match="acestep-lab merge"):
            far.merge(tmp_path / "merged", tmp_path)
        far.close()


def test_merge_writes_a_checkpoint_with_each_adapter_at_its_strength(
    tiny_original_turbo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session.open(tiny_original_turbo, library=tmp_path / "library") as lab:
        lab.jobs.progress = False
        takes = [lab.make(Recipe(f"song {n}", seconds=2, seed=n, steps=1, thinking=False)) for n in range(2)]
        lab.train(takes, folder=tmp_path / "zafu", steps=2, rank=2, learning_rate=1e-2).result()
        whole = lab.merge(tmp_path / "verb" / "new", (tmp_path / "zafu", 0.5))
    command = [
        "merge",
        str(tiny_original_turbo),
        "--adapter",
        f"{tmp_path / 'zafu'}:0.5",
        "--to",
        str(tmp_path / "command" / "new"),
    ]
    assert main(command) == 0
    assert f"{whole.layers} layers merged" in capsys.readouterr().out
    made, other = (digests(tmp_path / name) for name in ("verb", "command"))
    assert made == other
    assert main(command) == 2, "the folder holds a checkpoint already"
    assert "holds something already" in capsys.readouterr().err


def test_an_adapter_is_named_with_or_without_its_strength(tmp_path: Path) -> None:
    odd = tmp_path / "a:1"
    odd.mkdir()
    assert adapter_of("zafu") == ("zafu", 1.0)
    assert adapter_of("zafu:0.8") == ("zafu", 0.8)
    assert adapter_of(str(odd)) == (str(odd), 1.0)
    for wrong in ("zafu:much", ":0.5", "zafu:nan"):
        with pytest.raises(LabError, match="strength"):
            adapter_of(wrong)
