"""A training's folder looked at again, and what an adapter changed, with chance beside it: nothing is trained anew."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab import Recipe, Session
from acestep_lab.errors import LibraryError, Stopped
from acestep_lab.jobs.changes import Changes, compared
from acestep_lab.jobs.training import TrainingRun
from acestep_lab.listen.analysis import Analysis
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui.training_view import TrainingViewWidget

QUICK: dict[str, Any] = {
    "steps": 4, "rank": 2, "warm_up": 0, "learning_rate": 1e-2, "held_out_every": 2, "seed": 3, "preview_every": 2,
    "preview": Recipe("zafu", seconds=2.0, steps=1, thinking=False),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def takes(lab: Session) -> list[Take]:
    return [lab.make(Recipe(f"song {n}", seconds=2 + 0.2 * n, seed=n, steps=1)) for n in range(4)]


@pytest.fixture(scope="module")
def done(lab: Session, takes: list[Take], tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    run = lab.train(takes, folder=tmp_path_factory.mktemp("done") / "zafu", **QUICK)
    run.result()
    return run


def an_analysis(bpm: float, key: str, drums: float) -> Analysis:
    return Analysis(bpm, 0.5, key, 0.2, "4", 0.9, float("-inf"), (("drums", drums), ("harp", 0.1)))


def test_chance_is_the_range_of_the_measure_without_the_adapter_at_several_seeds() -> None:
    free = [an_analysis(bpm, key, 0.4) for bpm, key in ((80, "A minor"), (95, "C major"), (88, "A minor"))]
    rows = compared(
        an_analysis(90, "A minor", 0.4), an_analysis(120, "G major", 0.9), [an_analysis(118, "G major", 1)], free
    )
    found = {row.stem or row.kind: row for row in rows}
    assert (found["tempo"].chance, found["tempo"].beyond) == ((80, 95), True)
    assert (found["key"].chance, found["key"].beyond) == (("A minor", "C major"), True)
    assert (found["pulse"].chance, found["pulse"].beyond) == ((0.5, 0.5), False)
    assert (found["loudness"].after, found["loudness"].beyond) == (None, None), "silence has no loudness to compare"
    assert found["drums"].beyond is True
    assert "harp" not in found
    alone = compared(an_analysis(90, "A minor", 0.4), an_analysis(120, "G major", 0.9))
    assert {row.chance for row in alone} == {()}, "who cannot render says nothing of chance"
    changes = Changes(4, rows, 1, 4)
    assert Changes.from_json(json.loads(json.dumps(changes.to_json()))) == changes
    assert "A minor, C major" in str(changes)
    assert "3 others" in changes._repr_html_()


def test_a_finished_folder_shows_its_curves_previews_and_changes_again(lab: Session, done: TrainingRun) -> None:
    kept = set(lab.library.ids())
    changes = done.what_changed()
    assert changes.seeds == 4
    assert all(row.chance for row in changes.rows if row.kind != "loudness")
    assert set(lab.library.ids()) == kept, "what chance is measured by is kept nowhere"
    for again in (lab.training(done.folder), _trained_again(lab, done)):
        assert (again.state, again.step) == ("done", 4)
        assert [(one.step, pytest.approx(one.loss)) for one in again.curve] == [
            (one.step, one.loss) for one in done.curve
        ]
        assert [one.step for one in again.held_out_curve] == [0, 2, 4]
        assert [one.take.id for one in again.previews] == [one.take.id for one in done.previews]
        assert again.changes == changes
        assert str(changes.rows[0].name) in again._repr_html_()
        assert again.to_json()["changes"] == changes.to_json()
        view: Any = TrainingViewWidget(again)
        assert [point[0] for point in view.curves["held_out"]] == [0, 2, 4]
        assert len(view.previews) == 3
        assert view.changes["rows"][0]["chance"]


def _trained_again(lab: Session, done: TrainingRun) -> TrainingRun:
    """The same call again: nothing is left to do, and no preview is made anew."""
    songs = [take for take in (lab.load(id) for id in lab.library.ids()) if take.recipe.caption.startswith("song")]
    run = lab.train(sorted(songs, key=lambda take: take.recipe.caption), folder=done.folder, **QUICK)
    run.result()
    assert run.losses == ()
    return run


def test_a_folder_is_looked_at_by_its_name_while_it_learns_and_after_a_stop(lab: Session, takes: list[Take]) -> None:
    reached, go = threading.Event(), threading.Event()
    run = lab.train(takes, **QUICK | {"seed": 5, "preview_every": 0})

    def hold(event: Any) -> None:
        if event.kind == "learnt" and event.value.step == 2:
            reached.set()
            go.wait(10)

    run.subscribe(hold)
    assert reached.wait(20)
    assert lab.training(run.folder.name) is run
    run.stop()
    go.set()
    with pytest.raises(Stopped):
        run.result()
    again = lab.training(run.folder.name)
    assert (again.state, again.step, again.saved_step, again.steps) == ("stopped", 2, 2, 4)
    assert [one.step for one in again.curve] == [1, 2]


def test_what_is_missing_or_damaged_is_left_out_and_a_folder_without_a_training_is_a_sentence(
    lab: Session, done: TrainingRun, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done.folder, copy)
    (copy / "changes.json").write_text('{"step": 4, "rows": [{"kind": 3}]}')
    (copy / "losses.json").write_text("[]")
    (copy / "previews.json").write_text(
        json.dumps({"previews": [{"step": 2, "take": "take-0000000000000000", "bare": "x"}, 7]})
    )
    run = lab.training(copy)
    assert (run.curve, run.previews, run.changes, run.saved_step) == ((), [], None, 4)
    assert "not in this library" in run.messages[0]
    (copy / "run.json").write_text("{}")
    for place in (copy, tmp_path / "nowhere", tmp_path):
        with pytest.raises(LibraryError):
            lab.training(place)
