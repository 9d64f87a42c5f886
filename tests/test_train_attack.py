"""What a hostile or unlucky person hands a training: folders, tables, states, disks; each is a sentence, or costs itself alone."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from acestep_lab import Recipe, Session
from acestep_lab.errors import LabError, LibraryError, MachineError, RecipeError
from acestep_lab.models.assembly import DRAWING
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train import lora, run_memory
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.encodings import decoded
from acestep_lab.train.lora import LoraConfig
from acestep_lab.train.optimisers import NAMES, optimiser_for
from acestep_lab.train.run_folder import RunFolder
from tests.pretend import tone
from tests.test_train_lora import trainer

QUICK: dict[str, Any] = {"steps": 6, "rank": 2, "warm_up": 0, "learning_rate": 1e-2, "seed": 3, "save_every": 2}


@pytest.fixture(scope="module")
def lab(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def takes(lab: Session) -> list[Take]:
    return [lab.make(Recipe(f"song {n}", seconds=1 + 0.2 * n, seed=n, steps=1, thinking=False)) for n in range(2)]


@pytest.fixture(scope="module")
def whole(lab: Session, takes: list[Take], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.train(takes, folder=tmp_path_factory.mktemp("whole") / "zafu", **QUICK).result()


def weights(folder: Path) -> bytes:
    return (folder / "last" / "adapter_model.safetensors").read_bytes()


# -- data sets ---------------------------------------------------------------------------------------------------------


def test_a_folder_whose_name_is_no_text_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    tone(1.0, 1).write(tmp_path / "fine.wav")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9"))
    odd.mkdir()
    shutil.copy(tmp_path / "fine.wav", odd / "in.wav")
    songs = Dataset.scan(tmp_path)
    assert [song.name for song in songs] == ["fine.wav"]
    assert "rename the folder" in str(songs.problems[0])


@pytest.mark.parametrize("table", ["m.csv", "metadata.jsonl", "beside"])
def test_a_name_in_two_characters_is_the_one_of_a_single_character(tmp_path: Path, table: str) -> None:
    on_disk, said = (unicodedata.normalize(form, "café.wav") for form in ("NFD", "NFC"))
    tone(1.0, 1).write(tmp_path / on_disk)
    row = {"file_name": said, "caption": "warm"}
    file = tmp_path / (table if table != "beside" else f"{said[:-4]}.json")
    file.write_text("file_name,caption\n" + ",".join(row.values()) if table == "m.csv" else json.dumps(row))
    songs = Dataset.scan(tmp_path)
    assert songs[0].caption == "warm"
    assert not songs.problems


def test_a_sound_named_letter_for_letter_is_meant_where_two_differ_in_case(tmp_path: Path) -> None:
    for number, name in enumerate(("a.wav", "A.WAV"), start=1):
        tone(1.0, number).write(tmp_path / name)
    (tmp_path / "m.csv").write_text("file_name,caption\na.wav,small\nA.WAV,large\n")
    assert {song.name: song.caption for song in Dataset.scan(tmp_path)} == {"a.wav": "small", "A.WAV": "large"}


def test_lines_of_two_encodings_are_each_read_in_theirs() -> None:
    text, guessed = decoded("uma canção é\n".encode() + "Ça va là, été\n".encode("cp1252"), "A table")
    assert text == "uma canção é\nÇa va là, été\n"
    assert guessed == "cp1252"


def test_a_row_that_cannot_be_read_costs_itself(tmp_path: Path) -> None:
    for name in "abc":
        tone(1.0, 1).write(tmp_path / f"{name}.wav")
    (tmp_path / "m.csv").write_text(f'file_name,caption\na.wav,{"x" * 200_000}\nb.wav,fine\nc.wav,"never\nclosed\n')
    songs = Dataset.scan(tmp_path)
    assert [song.caption for song in songs] == ["", "fine", ""]
    assert [("Row 2" in str(one), "Row 4" in str(one)) for one in songs.problems] == [(True, False), (False, True)]


def test_a_sound_left_out_while_a_training_scans_is_named(lab: Session, tmp_path: Path) -> None:
    tone(1.0, 1).write(tmp_path / "fine.wav")
    (tmp_path / "fine.txt").write_text("caption: warm")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    run = lab.train(tmp_path, folder=tmp_path / "run", **QUICK | {"steps": 1})
    run.result()
    assert any("broken.wav" in sentence for sentence in run.messages)


# -- what is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [
    {"alpha": None}, {"clip": None}, {"ema": None}, {"held_out": None}, {"targets": 5}, {"targets": (5,)}, {"optimiser": "sgd"},
    {"optimiser": []}, {"gradient_checkpointing": "no"}, {"learning_rate": float("inf")}, {"steps": 0},
])  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_before_any_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        LoraConfig(**wrong)


def test_unknown_layers_are_refused_before_any_work(lab: Session, takes: list[Take]) -> None:
    with pytest.raises(RecipeError, match="attention, mlp"):
        lab.train(takes, **QUICK | {"targets": ("foo",)})


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_begins_without_a_held_out_song(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = torch.nn.Parameter(torch.ones(3))
    optimiser = optimiser_for(name, [one], 1e-2, 0.01)
    optimiser.begin(1e-2)
    one.grad = torch.ones(3)
    optimiser.step()
    optimiser.load_state(optimiser.state())
    assert bool(torch.isfinite(one).all())
    assert not capsys.readouterr().out


# -- a folder that somebody else filled --------------------------------------------------------------------------------


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def _with(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda state: state | values


def _moments(state: dict[str, Any]) -> Any:
    for one in state["optimiser"]["state"].values():
        one["exp_avg"] = torch.zeros(5)
    return state


SPOILT: tuple[Callable[[dict[str, Any]], Any], ...] = (
    lambda state: [1], _with(parameters=[]), _with(parameters=None), _with(step=-5), _with(step=10**18), _with(step=float("inf")),
    _with(best=float("nan")), _with(best_weights={"x": torch.zeros(1)}), _with(since_best=-1), _with(optimiser={}), _moments,
    lambda state: state | {"parameters": {name: one * float("nan") for name, one in state["parameters"].items()}},
)  # fmt: skip


def test_a_state_that_no_training_left_is_a_sentence(lab: Session, whole: Path, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(whole, tmp_path / "zafu"))
    teacher = trainer(lab, LoraConfig(**QUICK))
    assert folder.resume(teacher) == QUICK["steps"]
    for spoil in SPOILT:
        torch.save(spoil(torch.load(whole / "state.pt", weights_only=True)), folder.folder / "state.pt")
        with pytest.raises(LibraryError, match="damaged"):
            folder.resume(teacher)


def test_a_state_is_never_executed(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(tmp_path / "zafu")
    for data in (pickle.dumps(_Evil(), protocol=2), b"", b"PK\x03\x04", b"\x80\x02}q\x00."):
        (folder.folder / "state.pt").write_bytes(data)
        with pytest.raises(LibraryError, match="damaged"):
            folder.resume(None)  # type: ignore[arg-type]
    assert not Path("executed").exists()


@pytest.mark.parametrize("value", ["9" * 4000, "1e308", "-5", '"x"', "[[[1]]]", "null", '{"a": 1}'])
def test_what_a_folder_tells_may_be_anything(whole: Path, tmp_path: Path, value: str) -> None:
    run = json.loads((whole / "run.json").read_text())
    for file, text in {
        "losses.json": f'{{"learnt": [[1, {value}]], "held_out": [[1, {{"abc": 1, "0.3": {value}}}]]}}',
        "changes.json": f'{{"step": {value}, "rows": {value}, "songs": 1, "seeds": 1}}',
        "previews.json": f'{{"previews": [{{"step": {value}, "take": {value}, "bare": 1, "words": 1}}]}}',
        "run.json": json.dumps(run | {"config": run["config"] | {"repa": "@", "steps": "@"}}).replace('"@"', value),
    }.items():
        folder = shutil.copytree(whole, tmp_path / file)
        (folder / file).write_text(text)
        try:
            json.dumps(run_memory.opened(folder, Library(tmp_path / "none").open).to_json(), allow_nan=False)
        except LabError:
            continue


def test_a_loss_that_is_no_number_at_once_leaves_the_better_adapter(
    lab: Session, takes: list[Take], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(whole, tmp_path / "zafu")
    state = torch.load(folder / "state.pt", weights_only=True)
    torch.save(state | {"step": 4}, folder / "state.pt")
    monkeypatch.setattr(lora.Trainer, "_pass", lambda self, turn: self._refuse([0]))
    with pytest.raises(MachineError, match="no number"):
        lab.train(takes, folder=folder, **QUICK).result()
    assert weights(folder) == weights(whole)


def test_a_folder_that_was_removed_meanwhile_is_made_anew(
    lab: Session, takes: list[Take], whole: Path, tmp_path: Path
) -> None:
    run = lab.train(takes, folder=tmp_path / "zafu", **QUICK)
    for _ in run:
        shutil.rmtree(tmp_path / "zafu")
        break
    assert weights(run.result()) == weights(whole)


# -- several at once ---------------------------------------------------------------------------------------------------


def test_whoever_draws_waits_for_whoever_draws() -> None:
    drawn = []

    def draw() -> None:
        with lora._seeded(3, 1, torch.device("cpu")):
            drawn.append(float(torch.rand(1)))

    with DRAWING:
        other = threading.Thread(target=draw)
        other.start()
        other.join(0.1)
        assert not drawn, "it drew while another did"
    other.join(5)
    draw()
    assert drawn[0] == drawn[1]
