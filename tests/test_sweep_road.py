"""Other long work goes the road of sweeps: labels and evaluation, on other sessions and on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Recipe, Session
from acestep_lab.errors import MachineError, RecipeError
from acestep_lab.evaluate import Metric, evaluate, evaluation
from acestep_lab.evaluate.evaluation import EvalContext, MeasureGroup
from acestep_lab.remote.session import RemoteSession
from acestep_lab.serve.api import ApiServer
from acestep_lab.sweep import worker
from acestep_lab.sweep.client import ClientSession
from tests.pretend import PretendSession
from tests.pretend_training import songs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return songs(tmp_path_factory.mktemp("songs") / "mine", 3, 1.0)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "takes", pause=0.0)
    session.jobs.progress = False
    yield session
    session.close()


def labels(data: Any) -> list[dict[str, Any]]:
    return [{name: label.value for name, label in song.labels.items()} for song in data]


def test_songs_are_labelled_by_other_sessions_as_they_would_be_here_and_none_twice(
    lab: PretendSession, folder: Path, tmp_path: Path
) -> None:
    here = lab.label(folder, seeds=1, folder=tmp_path / "here").result()
    there = PretendSession(tmp_path / "there", pause=0.0)
    with ApiServer(there, port=0) as door:
        far = RemoteSession.connect(door.address)
        run = lab.label(folder, seeds=1, folder=tmp_path / "far", on=[far])
        assert labels(run.result()) == labels(here)
        assert run.failed == 0
        far.close()
    there.close()
    alone = lab.label(folder, seeds=1, folder=tmp_path / "far", on=PretendSession(tmp_path / "idle", pause=0.0))
    assert labels(alone.result()) == labels(here)
    assert all(event.resumed for event in alone.events)


def test_a_cluster_labels_songs_that_lie_on_the_asking_machine_alone(folder: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    resident = PretendSession(tmp_path / "worker", pause=0.0)
    worker.reside(resident)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, resources={"SONG": 1}, dashboard_address="127.0.0.1:0", protocol="inproc://"
    ) as found, distributed.Client(found, set_as_default=False) as client, ClientSession(client, tmp_path / "mine") as lab:  # fmt: skip
        run = lab.label(folder, seeds=1, folder=tmp_path / "labels")
        assert labels(run.result()) == labels(resident.label(folder, seeds=1, folder=tmp_path / "there").result())
        assert run.failed == 0
        assert all(event.labels for event in run.events)
        assert lab.analyze(resident.make(Recipe("a sine", seconds=1.0, steps=2, seed=3))).loudness < 0
        with pytest.raises(MachineError, match="No worker has the resource 'GPU'"):
            lab.label(folder, on=client, resource="GPU")
    worker._resident.clear()
    resident.close()


def test_groups_of_measures_are_taken_by_whoever_is_free_and_reported_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def group(name: str) -> MeasureGroup:
        def measure(context: EvalContext) -> list[Metric]:
            context.progress(f"{name} begins")
            return [Metric(name, f"{name} of {len(context.prompts)}", 1.0)]

        return MeasureGroup(measure)

    monkeypatch.setattr(evaluation, "MEASURES", {name: group(name) for name in ("one", "two", "three")})
    said: list[str] = []
    with Session.open(library=tmp_path / "a") as first, Session.open(library=tmp_path / "b") as second:
        report = evaluate(prompts=2, seconds=5.0, on=[first, second], progress=said.append)
    assert [metric.name for metric in report.metrics] == ["one of 2", "two of 2", "three of 2"]
    assert report.settings["prompts"] == 2
    assert "two begins" in said
    with pytest.raises(MachineError, match="computes where it is asked"):
        evaluate(prompts=2, seconds=5.0, on=PretendSession(tmp_path / "c", pause=0.0))
    with pytest.raises(RecipeError, match="not on 3"):
        evaluate(prompts=2, on=3)
