"""The command line beyond one take: recipe files, counts, batches, JSON, the planner's words, the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.cli import main
from acestep_lab.prompt.tasks import FlowEdit, Repaint
from acestep_lab.takes.library import Library, read_file


@pytest.fixture
def usual(tiny_base: Path, tmp_path: Path) -> list[str]:
    """How a session of these tests is opened."""
    return ["--steps", "1", "--checkpoint", str(tiny_base), "--takes", str(tmp_path / "library")]


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    """What a command writes to stdout."""
    capsys.readouterr()
    found = main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    assert found == status, err
    return out


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_recipe_out_of_a_file_and_the_options_beside_it_win(
    usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, song = tmp_path / "recipe.toml", tmp_path / "song.flac"
    recipe.write_text('caption = "slow dub"\nbpm = 90\nseconds = 2\nseed = 5\n', encoding="utf-8")
    run(capsys, "compose", "--recipe", recipe, "--bpm", "100", *usual, "-o", song)
    made = read_file(song).recipe
    assert (made.caption, made.bpm, made.seed, made.seconds) == ("slow dub", 100, 5, 2)
    run(capsys, "compose", "other words", "--recipe", song, *usual, "-o", tmp_path / "again.flac")
    assert read_file(tmp_path / "again.flac").recipe.replace(caption="slow dub") == made


def test_a_recipe_file_reaches_a_rework_but_for_its_task(
    usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, song, out = tmp_path / "r.json", tmp_path / "song.flac", tmp_path / "out.flac"
    recipe.write_text(json.dumps({"caption": "soft piano", "bpm": 90, "shift": 2.0}), encoding="utf-8")
    run(capsys, "compose", "dub", "--seconds", "2", *usual, "-o", song)
    run(capsys, "repaint", song, "--region", "0.5:1", "--recipe", recipe, "--bpm", "95", *usual, "-o", out)
    made = read_file(out).recipe
    assert isinstance(made.task, Repaint)
    assert (made.caption, made.bpm, made.sampling.shift) == ("soft piano", 95, 2.0)  # type: ignore[union-attr]


def test_a_count_makes_takes_with_consecutive_seeds_and_json_tells_each_on_a_line(
    usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.flac"
    told = lines(run(capsys, "compose", "dub", "--seconds", "2", "--seed", "7", "-n", "3", "--json", *usual, "-o", out))
    assert [one["seed"] for one in told] == [7, 8, 9]
    assert [Path(one["file"]).name for one in told] == ["s-1.flac", "s-2.flac", "s-3.flac"]
    assert [read_file(one["file"]).id for one in told] == [one["id"] for one in told]
    assert lines(run(capsys, "takes", "--json", "--takes", tmp_path / "library"))[0]["id"] == told[2]["id"]


def test_edit_and_vary_start_from_a_take(usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song, out = tmp_path / "song.flac", tmp_path / "out.flac"
    run(capsys, "compose", "dub", "--seconds", "2", "--seed", "4", *usual, "-o", song)
    run(capsys, "edit", song, "soft piano", "--from", "0.2", "--average", "2", *usual, "-o", out)
    made = read_file(out).recipe
    assert isinstance(made.task, FlowEdit)
    assert (made.caption, made.task.n_min, made.task.n_avg) == ("soft piano", 0.2, 2)
    told = lines(run(capsys, "vary", song, "-n", "2", "--json", *usual[2:], "-o", tmp_path / "v.flac"))
    assert [one["seed"] for one in told] == [5, 6]


def test_a_batch_makes_what_is_missing_and_says_which_entry_failed(
    usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder, session = tmp_path / "b.jsonl", tmp_path / "out", usual[2:]
    rows = [
        {"caption": "dub", "seconds": 2, "steps": 1, "out": "dub.flac", "count": 2},
        {"caption": "far too long", "seconds": 599, "steps": 1, "bpm": 100, "task": {"task": "Extract", "source": "nowhere.wav", "stem": "drums"}},
        {"caption": "jazz", "seconds": 2, "steps": 1},
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run(capsys, "batch", file, "--out", folder, *session, status=2)
    assert sorted(path.name for path in folder.iterdir()) == ["dub-1.flac", "dub-2.flac", "take-003.flac"]
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    file.write_text(json.dumps([rows[0], {"caption": "new", "seconds": 2, "steps": 1, "out": "new.flac"}]))
    run(capsys, "batch", file, "--out", folder, *session)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert (folder / "new.flac").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "no list of tables"),
        ("{not json", "Line 1"),
        ('[{"caption": "x", "out": "../x.flac"}]', "`out` is a file's name"),
        ('[{"caption": "x", "count": 0}]', "`count`"),
        ('[{"caption": "x", "bpm": 9999}]', "Entry 1"),
        ('[{"caption": "x", "out": "a.flac"}, {"caption": "y", "out": "a.flac"}]', "Two entries"),
    ],
)
def test_a_batch_is_refused_before_anything_is_made(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.json").write_text(text)
    assert main(["batch", str(tmp_path / "b.json"), "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_planner_writes_a_plan_that_compose_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, song, takes = tmp_path / "plan.json", tmp_path / "s.flac", str(tmp_path / "library")
    told = lines(run(capsys, "plan", "dub", "--seconds", "2", "--bpm", "100", "--seed", "3", "--json", "-o", plan))
    assert told == [json.loads(plan.read_text(encoding="utf-8"))]
    assert told[0]["bpm"] == 100
    run(capsys, "compose", "dub", "--seconds", "2", "--plan", plan, "--takes", takes, "--steps", "1", "-o", song)
    made = read_file(song)
    assert made.plan is not None
    assert list(made.plan.codes) == told[0]["codes"]
    assert "bpm" in run(capsys, "understand", song)


def test_what_is_measured_is_told_of_each_sound(
    usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = tmp_path / "song.flac"
    run(capsys, "compose", "dub", "--seconds", "2", *usual, "-o", song)
    (told,) = lines(run(capsys, "analyze", song, "--json", "--takes", tmp_path / "library"))
    assert {"bpm", "keyscale", "loudness", "instruments"} <= set(told)
    assert "bpm" in run(capsys, "analyze", song, tmp_path / "no.wav", "--takes", tmp_path / "library", status=2)


def test_takes_are_listed_marked_exported_binned_and_brought_back(
    usual: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--takes", tmp_path / "library"]
    run(capsys, "compose", "dub", "--seconds", "2", *usual, "-o", tmp_path / "song.flac")
    (id,) = Library(tmp_path / "library").ids()
    assert "★" in run(capsys, "mark", id, "--star", "--note", "for the bridge", "--tag", "night", *folder)
    assert id in run(capsys, "takes", "bridge", "--starred", *folder)
    run(capsys, "export", id, tmp_path / "out.wav", *folder)
    assert read_file(tmp_path / "out.wav").id == id
    assert id in run(capsys, "bin", id, *folder)
    assert run(capsys, "takes", *folder) == ""
    assert id in run(capsys, "restore", *folder)
    assert id in run(capsys, "restore", id, *folder)
    assert id in run(capsys, "takes", *folder)
    assert main(["bin", "take-00000000", "--takes", str(folder[1])]) == 2
