"""Regions, their words, chains of repaints, what belongs to which take; without a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.listen.analysis import analyze
from acestep_lab.listen.beats import bar_times, beat_times
from acestep_lab.listen.silence import cut_points, quiet_spans
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Region, Repaint, Text2Music
from acestep_lab.takes.take import Take
from acestep_lab.ui import code_features
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.difference import Difference
from acestep_lab.ui.studio import Studio
from acestep_lab.ui.waveform_figure import HEIGHTS
from acestep_lab.ui.waveform_picker import WaveformPickerWidget, known_tempo
from tests.pretend import PretendSession, png, tone
from tests.test_ui_editors import sent

RATE = 8000


def take(seed: int = 1, seconds: float = 4.0, **about: Any) -> Take:
    recipe = about.pop("recipe", Recipe("dub", seconds=seconds, seed=seed))
    return Take(recipe, tone(seconds, seed), np.zeros((20, 8), np.float32), **about)


def rows(*regions: tuple[float, float, str]) -> list[dict[str, Any]]:
    return [{"name": "", "start": a, "end": b, "words": words} for a, b, words in regions]


def spans(picker: Any) -> list[tuple[float, float]]:
    return [(r["start"], r["end"]) for r in picker.regions]


def until(so: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := so():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.fixture
def gate() -> threading.Semaphore:
    return threading.Semaphore(1000)


@pytest.fixture
def lab(tmp_path: Path, gate: threading.Semaphore) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", gate=gate)
    yield session
    session.close()
    session.library.close()


def page_of(lab: PretendSession, owner: str = "ada") -> Any:
    return Studio(backend_of(lab), owner, panes=False, picture=png)


def composed(page: Any, seed: int = 3) -> Take:
    run = page.start(Recipe("dub", seconds=4, seed=seed))
    assert run.wait(20)
    found: Take = until(lambda: page.selected if page.selected in run.made.values() else None)
    until(lambda: page.picker.track.get("id") == found.id)
    return found


# -- marks


def test_each_take_has_regions_of_its_own_and_gets_them_back() -> None:
    one, two = take(1), take(2)
    picker = WaveformPickerWidget(one)
    picker.do_regions(rows((1, 2, "brass")))
    picker.do_setting("caption", "strings")
    picker.load(two)
    assert (spans(picker), picker.caption) == ([], "")
    picker.do_regions(rows((0, 1, "")))
    picker.load(one)
    assert (spans(picker), picker.caption, picker.regions[0]["words"]) == ([(1.0, 2.0)], "strings", "brass")


def test_a_change_that_comes_late_belongs_to_the_take_it_was_made_on() -> None:
    one, two = take(1), take(2)
    picker = WaveformPickerWidget(one)
    picker.load(two)
    picker.receive({"kind": "regions", "regions": rows((1, 2, "")), "take": one.id, "change_id": "me:1"})
    assert spans(picker) == []
    assert picker.change_id == "me:1"
    picker.load(one)
    assert spans(picker) == [(1.0, 2.0)]


def test_undo_covers_drags_words_and_deletes() -> None:
    picker = WaveformPickerWidget(take())
    picker.do_regions(rows((1, 2, "")))
    picker.do_regions(rows((1.5, 2.5, "")))
    picker.do_regions(rows((1.5, 2.5, "brass")))
    picker.do_setting("caption", "all of it")
    picker.do_regions([])
    assert picker.can_undo
    seen = []
    for _ in range(5):
        picker.do_undo()
        seen.append((spans(picker), picker.regions[0]["words"] if picker.regions else None, picker.caption))
    assert seen == [
        ([(1.5, 2.5)], "brass", "all of it"),
        ([(1.5, 2.5)], "brass", ""),
        ([(1.5, 2.5)], "", ""),
        ([(1.0, 2.0)], "", ""),
        ([], None, ""),
    ]
    assert not picker.can_undo
    with pytest.raises(RecipeError, match="nothing to take back"):
        picker.do_undo()


def test_regions_of_the_same_words_are_one_repaint_and_the_code_says_the_chain() -> None:
    picker = WaveformPickerWidget(take())
    picker.do_setting("caption", "brass")
    picker.do_regions(rows((0, 0.5, ""), (1, 1.5, "choir"), (2, 2.5, "brass"), (3, 3.5, "choir")))
    asked: list[dict[str, Any]] = []
    picker.on("repaint", lambda **request: asked.append(request))
    picker.do_repaint(clicks=0)
    picker.do_repaint(clicks=0)  # the second half of a double click
    assert [[(link.caption, link.title) for link in request["links"]] for request in asked] == [
        [("brass", "A, C"), ("choir", "B, D")]
    ]
    assert picker.code.splitlines() == [
        "take = lab.repaint(take, [Region(0, 0.5), Region(2, 2.5)], caption='brass', mode='balanced', strength=0.5)",
        "take = lab.repaint(take, [Region(1, 1.5), Region(3, 3.5)], caption='choir', mode='balanced', strength=0.5)",
    ]
    picker.do_setting("caption", "")
    assert [line.split("caption=")[1].split(",")[0] for line in picker.code.splitlines()[1:]] == ["'choir'", "'brass'"]


def test_a_region_without_words_after_one_with_words_is_asked_for_the_takes_own() -> None:
    picker = WaveformPickerWidget(take())
    picker.do_regions(rows((0, 1, "choir"), (2, 3, "")))
    assert "caption='dub'" in picker.code.splitlines()[1]


# -- chains


def test_other_words_make_a_chain_of_takes_each_from_the_last(lab: PretendSession) -> None:
    page = page_of(lab)
    first = composed(page)
    page.picker.do_regions(rows((0.5, 1, "brass"), (2, 2.5, "choir"), (3, 3.3, "")))
    page.picker.do_repaint()
    last = until(lambda: page.selected if page.selected.recipe.seed and len(lab.started) == 4 and done(page, 4) else 0)
    middle = page.open(last.parents[0])
    second = page.open(middle.parents[0])
    assert second.parents == (first.id,)
    assert [one.recipe.caption for one in (second, middle, last)] == ["brass", "choir", "dub"]
    assert [one.recipe.task.regions for one in (second, middle, last)] == [
        (Region(0.5, 1),),
        (Region(2, 2.5),),
        (Region(3, 3.3),),
    ]
    assert len({one.recipe.seed for one in (second, middle, last)}) == 1, "the seed of the form, for all"
    kept = Difference(first.audio, last.audio)
    assert all(any(r.start - 0.06 <= c.start and c.end <= r.end + 0.06 for r in WANTED) for c in kept.changed)
    until(lambda: page.picker.verdict.count("–") == 3)  # held against the sound before all three
    assert page.picker.before["id"] == first.id
    assert [r["words"] for r in page.picker.regions] == ["brass", "choir", ""], "the words stay with their regions"
    until(lambda: page.picker.chain == "")


WANTED = (Region(0.5, 1), Region(2, 2.5), Region(3, 3.3))


def done(page: Any, runs: int) -> bool:
    """Whether so many runs are over and the page has taken the last one up."""
    known = page.backend.jobs.runs()
    return len(known) == runs and all(run.over for run in known) and page.selected in known[0].made.values()


def test_a_stop_between_keeps_what_there_is_and_says_so(lab: PretendSession, gate: threading.Semaphore) -> None:
    page = page_of(lab)
    composed(page)
    while gate.acquire(blocking=False):
        pass
    page.picker.do_regions(rows((0.5, 1, "brass"), (2, 2.5, "choir")))
    page.picker.do_repaint()
    assert page.picker.chain == "Repaint 1 of 2: A"
    [gate.release() for _ in range(6)]
    until(lambda: page.picker.chain == "Repaint 2 of 2: B")
    until(lambda: len(page.backend.jobs.runs()) == 3 and page.backend.jobs.runs()[0].state == "rendering")
    page.backend.jobs.runs()[0].stop()
    until(lambda: "Stopped after 1 of 2" in page.picker.chain)
    assert len(page.gallery.cards) == 2
    [gate.release() for _ in range(50)]
    composed(page, 9)
    assert page.picker.chain == "", "a new run clears what was said of the last one"


def test_an_error_in_the_middle_says_which_region(lab: PretendSession, monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_of(lab)
    composed(page)
    whole = lab.recipe_from

    def refuse(source: Any, task: Any, **changes: Any) -> Recipe:
        if changes.get("caption") == "choir":
            raise RecipeError("No choir today.")
        return whole(source, task, **changes)

    monkeypatch.setattr(lab, "recipe_from", refuse)
    messages = sent(page.picker)
    page.picker.do_regions(rows((0.5, 1, "brass"), (2, 2.5, "choir")))
    page.picker.do_repaint()
    until(lambda: any("Region B was not repainted. No choir today." in m.get("text", "") for m in messages))
    assert len(page.gallery.cards) == 2


def test_a_chain_goes_on_when_its_page_is_closed(lab: PretendSession, gate: threading.Semaphore) -> None:
    page = page_of(lab)
    first = composed(page)
    while gate.acquire(blocking=False):
        pass
    page.picker.do_regions(rows((0.5, 1, "brass"), (2, 2.5, "choir")))
    page.picker.do_repaint()
    page.close()
    [gate.release() for _ in range(50)]
    until(lambda: len(lab.started) == 3 and all(run.over for run in lab.jobs.runs()))
    again = page_of(lab)
    until(lambda: again.picker.verdict)
    assert again.picker.before["id"] == first.id


def test_the_words_of_somebodys_chain_are_theirs(lab: PretendSession) -> None:
    ada, bob = page_of(lab), page_of(lab, "bob")
    first = composed(ada)
    ada.picker.do_regions(rows((0.5, 1, "a secret")))
    ada.picker.do_repaint()
    until(lambda: done(ada, 2))
    forged = take().replace(recipe=ada.selected.recipe)
    bob.select(forged)
    assert [r["words"] for r in ada.picker.regions] == ["a secret"]
    assert [r["words"] for r in bob.picker.regions] == [""]
    assert first.id not in str(bob.picker.before)


# -- a verdict belongs to its take


def test_a_comparison_that_comes_late_is_dropped(lab: PretendSession) -> None:
    picker = WaveformPickerWidget(one := take(1))
    entered, go = threading.Event(), threading.Event()

    class Slow:
        """A parent whose sound takes its time."""

        id, seconds, recipe = "take-slow", 4.0, None

        @property
        def audio(self) -> Audio:
            entered.set()
            go.wait(10)
            return tone(4.0, 9)

    late = threading.Thread(target=lambda: picker.compare(Slow(), one))  # type: ignore[arg-type]
    late.start()
    entered.wait(10)
    picker.load(take(2))
    go.set()
    late.join(10)
    assert (picker.verdict, picker.before, picker.kept) == ("", {}, 0.0)
    picker.load(one)
    picker.compare(take(2), one)
    assert picker.verdict.startswith("Changed")
    picker.load(take(2))
    assert picker.verdict == ""


def test_a_parent_in_the_bin_is_said_to_be_there_and_one_outside_a_search_is_still_the_parent(
    lab: PretendSession,
) -> None:
    page = page_of(lab)
    first = composed(page)
    page.picker.do_regions(rows((1, 2, "brass")))
    page.picker.do_repaint()
    until(lambda: done(page, 2))
    child = page.selected
    page.gallery.do_search("nothing is called this")
    page.select(child)
    until(lambda: page.picker.before.get("id") == first.id)
    page.backend.takes.bin([first.id], "ada")
    messages = sent(page.picker)
    page.select(child)
    until(lambda: any("in the bin" in m.get("text", "") for m in messages))
    assert page.picker.verdict == ""


def test_before_and_after_are_handed_over_as_they_are() -> None:
    picker = WaveformPickerWidget(one := take(1))
    picker.compare(two := take(2), one)
    messages = sent(picker)
    for id in (one.id, two.id, "take-other"):
        picker.do_bytes(id)
    assert [m["id"] for m in messages] == [one.id, two.id]


def test_a_comparison_never_claims_all_where_one_sample_differs() -> None:
    samples = np.zeros((1, 96_000), np.float32)
    other = samples.copy()
    other[0, 5000] = 0.5
    difference = Difference(Audio(samples, RATE), Audio(other, RATE))
    assert "95,999 samples of 96,000 (99.9 %)" in difference.sentence()
    assert 0.99 < difference.kept < 1
    assert Difference(Audio(samples, RATE), Audio(samples, 2 * RATE)).kept == 0


# -- snapping


def clicks(bpm: float, phase: float, seconds: float = 45.0, accent: int = 4, first: int = 1) -> Audio:
    """Clicks at a tempo; every `accent`-th, from the `first` on, has a low drum with it."""
    at, samples = np.arange(int(0.05 * RATE)) / RATE, np.zeros(int(seconds * RATE), np.float32)
    high = np.exp(-at * 90) * np.sin(2 * np.pi * 1800 * at)
    low = np.exp(-at * 40) * np.sin(2 * np.pi * 80 * at) * 2
    for beat, time_ in enumerate(np.arange(phase, seconds - 0.1, 60 / bpm)):
        place = round(time_ * RATE)
        samples[place : place + len(at)] += high + (low if beat % accent == first else 0)
    return Audio(0.3 * samples[None], RATE)


def test_the_first_beat_is_measured_and_the_bar_begins_where_the_drum_is() -> None:
    sound = clicks(120, 0.21)
    beats = beat_times(sound, 120)
    assert np.abs((beats - 0.21 + 0.25) % 0.5 - 0.25).max() < 0.03
    assert np.diff(beats) == pytest.approx(0.5, abs=0.05)
    bars = bar_times(sound, beats, 4)
    assert np.abs((bars - 0.71 + 1) % 2 - 1).max() < 0.03


def test_quiet_stretches_are_found_and_a_loud_sound_has_none() -> None:
    samples = np.concatenate([tone(1.0, 1).samples, np.zeros((2, 2000), np.float32), tone(1.0, 2).samples], axis=1)
    spans = quiet_spans(Audio(samples, RATE))
    assert any(start == pytest.approx(1.0, abs=0.03) and end == pytest.approx(1.25, abs=0.03) for start, end in spans)
    assert all(0 <= at <= 2.25 for at in cut_points(Audio(samples, RATE)))
    steady = Audio(np.full((1, RATE), 0.5, np.float32), RATE)
    assert quiet_spans(steady) == []
    assert quiet_spans(Audio(np.zeros((1, RATE), np.float32), RATE)) == [(0.0, pytest.approx(1.0))]


def test_regions_snap_to_beats_of_a_known_tempo_once_asked_and_to_silence() -> None:
    sound = clicks(120, 0.2, 6.0)
    one = Take(Recipe("dub", seconds=6, seed=1, bpm=120, timesignature="4"), sound, np.zeros((20, 8), np.float32))
    picker = WaveformPickerWidget()
    picker._later = lambda work: work()
    picker.load(one)
    assert picker.snaps == ["off", "beats", "bars", "silence"]
    picker.do_regions(rows((1.0, 2.9, "")))
    picker.do_snap("beats")
    (start, end) = spans(picker)[0]
    assert start == pytest.approx(1.2, abs=0.03) or start == pytest.approx(0.7, abs=0.03)
    assert (end - 0.2) % 0.5 == pytest.approx(0.0, abs=0.04) or (end - 0.2) % 0.5 == pytest.approx(0.5, abs=0.04)
    steady = WaveformPickerWidget(Audio(np.full((1, RATE), 0.5, np.float32), RATE))
    with pytest.raises(RecipeError, match="no silence"):
        steady.do_snap("silence")
    assert steady.snap == "off"


def test_a_tempo_nobody_knows_is_measured_on_request_and_dropped_where_it_comes_late() -> None:
    jobs: list[Callable[[], None]] = []
    seen: list[str] = []

    def listen(sound: Any) -> Any:
        seen.append(picker.finding)
        return analyze(sound)

    picker = WaveformPickerWidget(clicks(100, 0.1, 20.0), background=lambda _, work: jobs.append(work), listen=listen)
    assert picker.snaps == ["off", "silence"]
    assert picker.can_find_beat
    picker.do_find_beat()
    jobs.pop()()
    assert seen == ["beat"]
    assert (picker.finding, picker.snap, picker.can_find_beat) == ("", "beats", False)
    assert len(picker._grids["beats"]) == pytest.approx(33, abs=1)
    picker.do_snap("off")
    picker.load(clicks(90, 0.1, 20.0))
    picker.do_find_beat()
    picker.load(take(2))
    jobs.pop()()
    assert (picker.snaps, picker.snap, picker.finding) == (["off", "silence"], "off", "")


def test_a_beat_that_cannot_be_found_leaves_nothing_half_done() -> None:
    jobs: list[Callable[[], None]] = []
    picker = WaveformPickerWidget(tone(0.5), background=lambda _, work: jobs.append(work))
    picker.do_find_beat()
    with pytest.raises(SourceError, match="shorter than a second"):
        jobs.pop()()
    assert (picker.snap, picker.finding, picker.can_find_beat) == ("off", "", True)


def test_a_recipe_stands_against_its_plan() -> None:
    assert known_tempo(take(recipe=Recipe("dub", seed=1, bpm=90, timesignature="3"), plan=Plan(bpm=120))) == (90, 3)
    assert known_tempo(take(plan=Plan(bpm=120))) == (120, 0)
    assert known_tempo(tone(1.0)) is None


# -- codes


def test_the_codes_lane_is_there_whenever_there_are_codes() -> None:
    named = take(recipe=Recipe("dub", seconds=4, seed=1, task=Text2Music(codes=(1, 2, 3))))
    for one, has in ((take(), False), (take(plan=Plan(codes=(1, 2, 3))), True), (named, True)):
        picker = WaveformPickerWidget()
        picker._later = lambda work: work()
        messages = sent(picker)
        picker.load(one)
        assert picker.has_codes is has
        assert [m["kind"] for m in messages].count("codes") == int(has)


def test_codes_are_found_on_request() -> None:
    picker = WaveformPickerWidget(take(), codes=lambda sound: (1, 2, 3), background=lambda _, work: work())
    assert picker.can_find_codes
    messages = sent(picker)
    picker.do_find_codes()
    assert (picker.has_codes, picker.can_find_codes, picker.finding) == (True, False, "")
    lane = next(m for m in messages if m["kind"] == "codes")
    assert len(lane["buffers"][0]) == lane["bins"] * lane["rows"] == 20 * code_features.ROWS


def test_the_lane_shows_the_pitch_that_sounds_and_where_it_begins() -> None:
    at = np.arange(2 * RATE) / RATE
    samples = np.concatenate([np.zeros(2 * RATE), 0.5 * np.sin(2 * np.pi * 440 * at)]).astype(np.float32)
    lane = code_features.of_sound(Audio(samples[None], RATE)).table()
    assert lane.shape == (20, code_features.ROWS)
    assert lane[13:18, :12].argmax(axis=1).tolist() == [9] * 5, "an A"
    assert abs(int(lane[:, 12].argmax()) - 10) <= 1
    assert code_features.of_sound(Audio(np.zeros((1, 10), np.float32), RATE)).table().max() == 0


# -- one home


def test_all_that_a_repaint_was_asked_with_comes_back() -> None:
    one = take()
    picker = WaveformPickerWidget()
    picker.adopt_task(Repaint(one.id, (Region(1, 2),), "aggressive", 0.7, injection=0.4, wave_crossfade=0.1))
    picker.load(one)
    assert spans(picker) == [(1.0, 2.0)]
    assert (picker.mode, picker.strength, picker.injection, picker.wave_crossfade, picker.latent_crossfade) == (
        "aggressive", 0.7, 0.4, 0.1, None,
    )  # fmt: skip


def test_where_a_checkpoint_cannot_repaint_the_rest_still_works() -> None:
    picker = WaveformPickerWidget(take(), cannot="It cannot.")
    picker.do_regions(rows((1, 2, "")))
    assert spans(picker) == [(1.0, 2.0)]
    with pytest.raises(RecipeError, match="It cannot"):
        picker.do_repaint()


# -- the figure


def sent_figure(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [m for m in messages if m["kind"] == "figure"]


def test_a_page_is_sent_a_bokeh_figure_without_tools_whose_times_are_linked() -> None:
    picker = WaveformPickerWidget(take())
    messages = sent(picker)
    picker.do_ready()
    kinds = [m["kind"] for m in messages]
    assert kinds.index("figure") < kinds.index("peaks"), "its frame is drawn while the peaks are on their way"
    rows = picker.figure()
    assert [part.name for part in rows.children] == list(HEIGHTS) == ["main", "difference", "codes", "overview"]
    main, difference, codes, overview = rows.children
    assert main.x_range is difference.x_range is codes.x_range is not overview.x_range
    assert all(not part.tools and part.output_backend == "canvas" for part in rows.children)
    assert "CustomJS" not in sent_figure(messages)[0]["item"], "that would need eval"


def test_what_somebody_adds_to_the_figure_reaches_the_page() -> None:
    picker = WaveformPickerWidget(take())
    messages = sent(picker)
    picker.load(take(2))
    assert not sent_figure(messages), "a page keeps the figure it has"
    picker.figure().select_one({"name": "main"}).line([0, 2], [0, 1], name="my own line")
    picker.do_ready()
    picker.do_ready()
    picker.load(take(3))
    keys = {m["key"] for m in sent_figure(messages)}
    assert len(keys) == 1, "a second view, or another take, is no other figure"
    assert all("my own line" in m["item"] for m in sent_figure(messages))
    picker.figure().select_one({"name": "overview"}).line([0, 2], [0, 1], name="another")
    picker.load(take(4))
    assert "another" in sent_figure(messages)[-1]["item"]
    assert sent_figure(messages)[-1]["key"] not in keys
    other = WaveformPickerWidget(take())
    others = sent(other)
    other.do_ready()
    assert "my own line" not in sent_figure(others)[0]["item"]


def test_bokeh_itself_is_handed_over_where_a_host_has_none() -> None:
    handed: list[tuple[str, tuple[Any, ...]]] = []
    picker = WaveformPickerWidget(take())
    picker.emit = lambda kind, *buffers, **body: handed.append((kind, buffers))
    picker.receive({"kind": "bokeh"})
    [(kind, [script])] = handed
    assert kind == "bokeh"
    assert b"embed_item" in script
