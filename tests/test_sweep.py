"""Sweeps: a value of cells, made once each, gone on with after a stop; the same on a cluster as here."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Audio, Between, Cover, Recipe, Sweep, Take
from acestep_lab.errors import CheckpointError, LabError, LibraryError, MachineError, RecipeError
from acestep_lab.remote.session import RemoteSession
from acestep_lab.serve.api import ApiServer
from acestep_lab.sweep import worker
from acestep_lab.sweep.packing import pack, unpack
from acestep_lab.sweep.run import SweepRun
from tests.pretend import PretendSession, tone

SONG = Recipe("a sine", seconds=1.0, steps=2)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "takes", pause=0.0)
    session.jobs.progress = False
    yield session
    session.close()


# -- the value


def test_a_grid_has_every_combination_and_comes_back_from_json() -> None:
    sweep = Sweep.grid(SONG, shift=[1, 3, 5], seed=range(4), task__reference=[None])
    assert [(c.recipe.shift, c.recipe.seed) for c in sweep.cells] == [(s, n) for s in (1, 3, 5) for n in range(4)]
    assert Sweep.from_json(json.loads(json.dumps(sweep.to_json()))) == sweep


def test_draws_are_repeatable_and_a_latin_hypercube_meets_every_part_of_every_axis_once() -> None:
    space = Sweep.grid(SONG, shift=Between(1.0, 2.0), guidance_scale=Between(2.0, 3.0))
    drawn = space.latin_hypercube(8, seed=3)
    assert drawn == space.latin_hypercube(8, seed=3) != space.latin_hypercube(8, seed=4)
    for axis, low in (("shift", 1.0), ("guidance_scale", 2.0)):
        assert sorted(int(8 * (cell.values[axis] - low)) for cell in drawn.cells) == list(range(8))
    some = Sweep.grid(SONG, seed=range(10)).random(4, seed=1)
    assert len({cell.recipe.seed for cell in some.cells}) == 4
    assert Sweep.from_json(drawn.to_json()).cells == drawn.cells


def test_cells_without_a_seed_share_one_so_that_they_differ_by_their_axes_alone() -> None:
    seeds = {cell.recipe.seed for cell in Sweep.grid(SONG, shift=[1, 2]).cells}
    assert len(seeds) == 1
    assert seeds == {cell.recipe.seed for cell in Sweep.grid(SONG, shift=[1, 2]).cells}


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"shfit": [1]}, "Did you mean 'shift'"),
        ({"shift": 3}, "several values"),
        ({"shift": []}, "no values"),
        ({"shift": [1, 1]}, "twice"),
        ({"shift": ["x"]}, "number"),
        ({"adapter_strength": [0.5]}, "adapters"),
        ({"shift": Between(1.0, 2.0)}, "random"),
        ({}, "goes over something"),
        ({"seed": range(20_000)}, "10,000"),
    ],
)
def test_what_makes_no_sense_is_a_sentence_before_any_work(lab: PretendSession, axes: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        lab.sweep(SONG, **axes)
    assert not lab.started
    assert not (lab.library.folder / "sweeps").exists()


# -- made here


def test_every_cell_is_made_once_and_the_same_call_or_its_name_makes_nothing_again(lab: PretendSession) -> None:
    first = lab.sweep(SONG, shift=[1, 3], seed=[1, 2], name="four")
    ids = first.result()
    assert len(set(ids)) == len(lab.library) == 4
    for again in (lab.sweep(SONG, shift=[1, 3], seed=[1, 2], name="four"), lab.sweep("four")):
        assert again.result() == ids
        assert again.budget.to_make == 0
    assert len(lab.started) == 4
    assert [lab.load(id).recipe.shift for id in ids] == [1, 1, 3, 3]


def test_a_take_that_is_there_already_is_found_by_recipe_checkpoint_and_adapters(
    lab: PretendSession, tmp_path: Path
) -> None:
    mine = lab.keep(lab.make(SONG.replace(shift=3, seed=7)))
    (tmp_path / "growl.safetensors").touch()
    run = lab.sweep(SONG.replace(seed=7), shift=[1, 3])
    assert run.result()[1] == mine.id
    worn = lab.sweep(SONG.replace(seed=7), shift=[3], adapters=[(str(tmp_path / "growl.safetensors"), 0.5)])
    assert worn.budget.to_make == 1
    assert lab.load(worn.result()[0]).made_with["adapters"] == {"growl": 0.5}


def test_a_stop_keeps_what_is_made_and_the_same_call_goes_on(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    lab = PretendSession(tmp_path, gate=gate)
    lab.jobs.progress = False
    run = lab.sweep(SONG, seed=range(1, 5))
    gate.release(4)
    _until(lambda: len(run.made) == 2)
    with pytest.raises(LibraryError, match="under way already"):
        lab.sweep(SONG, seed=range(1, 5))
    run.stop()
    assert run.wait(5)
    assert (run.state, len(lab.library)) == ("stopped", 2)
    gate.release(100)
    rest = lab.sweep(SONG, seed=range(1, 5))
    assert (rest.budget.there, rest.budget.to_make) == (2, 2)
    assert len(set(rest.result())) == len(lab.library) == 4
    lab.close()


def test_what_a_person_asks_for_goes_before_the_next_cell(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    lab = PretendSession(tmp_path, gate=gate)
    lab.jobs.progress = False
    run = lab.sweep(SONG, seed=range(1, 6))
    _until(lambda: bool(lab.started))
    mine = lab.start(SONG.replace(seed=99))
    gate.release(4)
    assert mine.wait(5)
    assert len(run.made) <= 1
    gate.release(100)
    assert len(run.result()) == 5
    lab.close()


def test_checkpoints_are_opened_for_a_sweep_and_the_one_in_use_stays(lab: PretendSession) -> None:
    run = lab.sweep(Recipe("a sine", seconds=1.0, seed=3), checkpoint=["pretend", "pretend-tokens"])
    assert [lab.load(id).made_with["checkpoint"] for id in run.result()] == ["pretend", "pretend-tokens"]
    assert lab.name == "pretend"
    with pytest.raises(CheckpointError, match="No checkpoint"):
        lab.sweep(SONG, checkpoint=["nowhere"])


def test_a_cell_that_its_engine_refuses_is_said_before_any_render_and_can_be_left_out(lab: PretendSession) -> None:
    assert lab.sweep(SONG, seconds=[1.0, 90.0], dry_run=True).refused.keys() == {1}
    with pytest.raises(RecipeError, match="1 of 2 cells cannot be made, first seconds=90"):
        lab.sweep(SONG, seconds=[1.0, 90.0])
    assert not lab.started
    run = lab.sweep(SONG, seconds=[1.0, 90.0], skip_refused=True)
    assert len(run.result()) == 1
    assert [cell.state for cell in run.cells] == ["done", "refused"]


def test_a_sound_that_cells_start_from_is_kept_so_that_the_sweep_can_be_gone_on_with(lab: PretendSession) -> None:
    sound = tone(1.0, 5)
    run = lab.sweep(Recipe("a cover", task=Cover(sound)), task__strength=[0.2, 0.8], name="covers")
    ids = run.result()
    assert lab.library.open_sound(sound.id) == sound
    assert {lab.load(id).recipe.task.strength for id in ids} == {0.2, 0.8}
    assert lab.sweep("covers").result() == ids


# -- what it tells


def test_the_table_the_best_and_the_events_are_plain_data(lab: PretendSession, tmp_path: Path) -> None:
    run, heard = lab.sweep(SONG, seed=[1, 2, 3]), list[dict[str, Any]]()
    run.subscribe(lambda event: heard.append(event.to_json()))
    run.result()
    json.dumps([heard, run.to_json(), run.budget.to_json()], allow_nan=False)
    measured = run.measure("loudness")
    best = max(measured, key=lambda place: measured[place])
    assert run.best(by="loudness").id == run.made[best]
    assert run.best(by=lambda take: take.recipe.seed, least=True).recipe.seed == 1
    rows = list(csv.DictReader(run.to_csv(tmp_path / "table.csv").open(encoding="utf-8")))
    assert [float(row["loudness"]) for row in rows] == [measured[place] for place in range(3)]
    with pytest.raises(RecipeError, match="measured by one of"):
        run.best(by="goodness")
    assert "<table>" in run._repr_html_()


def test_another_sweep_of_the_same_name_is_refused_and_so_is_an_unknown_name(lab: PretendSession) -> None:
    lab.sweep(SONG, seed=[1], name="one").wait(5)
    with pytest.raises(LibraryError, match="Another sweep is called 'one'"):
        lab.sweep(SONG, seed=[2], name="one")
    with pytest.raises(RecipeError, match="kept are one"):
        lab.sweep("two")


# -- elsewhere


def test_several_sessions_share_the_cells_and_one_library_keeps_all(lab: PretendSession, tmp_path: Path) -> None:
    others = [PretendSession(tmp_path / name, pause=0.01) for name in ("a", "b")]
    run = lab.sweep(SONG, seed=range(1, 7), on=others)
    assert len(set(run.result())) == len(lab.library) == 6
    assert sum(len(one.started) for one in others) == 6
    assert not lab.started
    for one in others:
        one.close()


def test_what_travels_comes_back_as_it_was(lab: PretendSession) -> None:
    take = lab.make(SONG.replace(seed=5))
    recipe = unpack(pack(Recipe("a cover", task=Cover(take))))
    assert isinstance(recipe.task.source, Take)
    assert recipe.task.source == take
    assert isinstance(unpack(pack(take.audio)), Audio)
    assert unpack(pack([take.audio]))[0] == take.audio


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """A scheduler and a worker of Dask in this process, whose resident session plays sines."""
    distributed = pytest.importorskip("distributed")
    resident = PretendSession(tmp_path / "worker", pause=0.01)
    worker.reside(resident)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, resources={"SONG": 1}, dashboard_address="127.0.0.1:0", protocol="inproc://"
    ) as found, distributed.Client(found, set_as_default=False) as client:  # fmt: skip
        yield client
    worker._resident.clear()
    resident.close()


def test_a_cluster_makes_what_a_session_makes_and_takes_travel_to_it_and_back(
    lab: PretendSession, cluster: Any
) -> None:
    source = lab.make(SONG.replace(seed=5))
    run: SweepRun = lab.sweep(Recipe("a cover", seed=2, task=Cover(source)), task__strength=[0.2, 0.8], on=cluster)
    ids = run.result()
    assert run.failed == ()
    assert all(lab.load(id).parents == (source.id,) for id in ids)
    assert len(lab.started) == 1
    assert [cell.by for cell in run.cells] == 2 * [next(iter(cluster.scheduler_info()["workers"]))]
    here = PretendSession(lab.library.folder.parent / "here", pause=0.0)
    here.keep(source)
    here.jobs.progress = False
    again = here.sweep(Recipe("a cover", seed=2, task=Cover(source)), task__strength=[0.2, 0.8])
    assert again.result() == ids
    here.close()
    with pytest.raises(MachineError, match=r"No worker has the resource 'GPU'.*they have SONG"):
        lab.sweep(SONG, seed=[1], on=cluster, resource="GPU")
    with pytest.raises(CheckpointError, match="open and not 'turbo'"):
        lab.sweep(SONG, checkpoint=["turbo"], on=cluster)
    worker._resident.clear()
    with pytest.raises(MachineError, match=r"--preload acestep_lab.sweep.worker"):
        lab.sweep(SONG, seed=[1], on=cluster)


def test_a_stop_reaches_the_worker_and_a_song_that_fails_costs_itself(lab: PretendSession, cluster: Any) -> None:
    worker.resident()._pause = 0.3
    run = lab.sweep(SONG.replace(steps=40), seed=[1, 2, 3], on=cluster)
    _until(lambda: any(cell.state == "rendering" for cell in run.cells))
    run.stop()
    assert run.wait(10)
    assert run.state == "stopped"
    assert len(lab.library) == 0
    worker.resident()._pause = 0.0
    found = lab.map_songs(_only_short, [tone(0.5), tone(2.0, 3)], on=cluster)
    assert found.result() == [0.5, None]
    assert "too long" in found.failed[0].problem


def _only_short(lab: Any, song: Audio) -> float:
    if song.seconds > 1:
        raise LabError("This song is too long.")
    return song.seconds


def test_nobody_at_an_address_is_a_sentence(lab: PretendSession, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("acestep_lab.sweep.cluster.CONNECT", 0.3)
    with pytest.raises(MachineError, match="No Dask scheduler answers"):
        lab.sweep(SONG, seed=[1], on="tcp://127.0.0.1:9")
    with pytest.raises(RecipeError, match="not on 3"):
        lab.sweep(SONG, seed=[1], on=3)


# -- songs of a library


def test_a_library_is_aligned_and_what_is_kept_is_not_aligned_again(lab: PretendSession) -> None:
    takes = [lab.make(SONG.replace(seed=seed, lyrics="one line\nanother")) for seed in (1, 2)]
    run = lab.map_songs("align", [take.id for take in takes])
    assert [len(one.lines) for one in run.result()] == [2, 2]
    assert all(lab.library.annotation(take.id, "alignment") for take in takes)
    again = lab.map_songs("align", [take.id for take in takes])
    again.result()
    assert {one.by for one in again.songs} == {"the library"}
    with pytest.raises(RecipeError, match="The work is one of"):
        lab.map_songs("close", takes)


def _until(ready: Any, seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_session_behind_a_door_makes_cells_from_a_sound_that_only_this_library_has(
    lab: PretendSession, tmp_path: Path
) -> None:
    source, there = lab.keep(lab.make(SONG.replace(seed=5))), PretendSession(tmp_path / "there", pause=0.0)
    with ApiServer(there, port=0) as door:
        far = RemoteSession.connect(door.address)
        run = lab.sweep(Recipe("a cover", seed=2, task=Cover(source)), task__strength=[0.2, 0.8], on=[far])
        ids = run.result()
        assert run.failed == ()
        assert [lab.library.card(id).parents for id in ids] == 2 * [(source.id,)]
        assert {cell.by for cell in run.cells} == {far.url}
        assert lab.sweep(run.sweep, on=[far]).budget.to_make == 0
        far.close()
    there.close()
