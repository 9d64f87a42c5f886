"""Waveform, gallery, lineage, files, backend and studio, without a browser."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import LabError, LibraryError, RecipeError, SourceError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Region, Repaint
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.controllers.base import Controller, tell
from acestep_lab.ui.formatters import sound_bundle
from acestep_lab.ui.gallery import GalleryWidget, differing
from acestep_lab.ui.latent_preview import LatentPreviewWidget
from acestep_lab.ui.marks import Link
from acestep_lab.ui.player import PlayerWidget
from acestep_lab.ui.sound_drop import SoundDropWidget, decode
from acestep_lab.ui.studio import Studio
from acestep_lab.ui.take_tree import TakeTreeWidget
from acestep_lab.ui.waveform_picker import WaveformPickerWidget
from tests.pretend import PretendSession, png, tone
from tests.test_ui_editors import sent


def take(seed: int = 1, seconds: float = 4.0, **about: Any) -> Take:
    return Take(
        Recipe("dub", seconds=seconds, seed=seed, bpm=120), tone(seconds, seed), np.zeros((20, 8), np.float32), **about
    )


# -- the waveform


def spans(picker: Any) -> list[tuple[float, float]]:
    return [(r["start"], r["end"]) for r in picker.regions]


def asked(*regions: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"name": "", "start": a, "end": b} for a, b in regions]


def test_a_whole_number_from_json_is_as_good_as_a_broken_one() -> None:
    picker = WaveformPickerWidget(take())
    picker.do_regions(asked((1, 2), (2.5, 3)))
    assert spans(picker) == [(1.0, 2.0), (2.5, 3.0)]
    assert [r["name"] for r in picker.regions] == ["A", "B"]
    assert picker.value == [Region(1, 2), Region(2.5, 3)]


@pytest.mark.parametrize(
    ("region", "kept", "said"),
    [((1, 900), (1.0, 4.0), "ends at 4.0 s; the region was cut"), ((50, 60), None, "before that region begins"), (("one", 2), None, "not 'one'"),
     ((-3, 2), (0.0, 2.0), None), ((3, 1), (1.0, 3.0), None), ((2, 2), (2.0, 2.1), None), ((float("nan"), 2), None, "is a number")],
)  # fmt: skip
def test_a_region_that_makes_no_sense_is_cut_or_answered(region: tuple[Any, Any], kept: Any, said: str | None) -> None:
    picker = WaveformPickerWidget(take())
    messages = sent(picker)
    picker.receive({"kind": "regions", "regions": asked(region)}, [])
    assert spans(picker) == ([kept] if kept else [])
    assert [said in m["text"] for m in messages if m["kind"] == "error"] == ([True] if said else [])


def test_regions_that_overlap_are_shown_and_said_and_not_repainted() -> None:
    picker = WaveformPickerWidget(take())
    with pytest.raises(RecipeError, match="overlap"):
        picker.do_regions(asked((1, 2), (1.5, 3)))
    assert len(picker.regions) == 2
    with pytest.raises(RecipeError, match="overlap"):
        picker.do_repaint()


def test_edges_snap_to_beats_and_lines_on_request() -> None:
    picker = WaveformPickerWidget()
    picker.load(take(), beats=[0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5], lines=[(0.7, "la"), (2.2, "lo")])
    picker.do_regions(asked((0.6, 1.9)), snapped=True)
    assert spans(picker) == [(0.6, 1.9)], "off unless asked for"
    picker.do_snap("beats")
    assert spans(picker) == [(0.5, 2.0)]
    picker.do_snap("lines")
    assert spans(picker) == [(0.7, 2.2)]
    assert picker.snaps == ["off", "beats", "bars", "lines", "silence"]


def test_two_edges_typed_in_a_row_both_count_however_slow_the_answer() -> None:
    picker = WaveformPickerWidget(take())
    picker.do_regions(asked((0.5, 1)))
    picker.do_edge(0, "start", "0.2")
    picker.do_edge(0, "end", "1.5")  # sent before the page has heard of the first
    picker.do_edge(7, "end", "1.9", change_id="me:3")  # a region removed meanwhile
    assert picker.change_id == "me:3"  # the page is answered all the same
    assert spans(picker) == [(0.2, 1.5)]


def test_an_edge_typed_past_the_other_carries_it_along() -> None:
    picker = WaveformPickerWidget(take())
    picker.do_regions(asked((0, 1)))
    picker.do_regions(asked((2, 1)))
    assert spans(picker) == [(2.0, 3.0)]


def test_a_repaint_is_asked_for_with_all_that_was_set_and_the_code_says_the_same() -> None:
    picker = WaveformPickerWidget(one := take())
    heard: list[dict[str, Any]] = []
    picker.on("repaint", lambda **request: heard.append(request))
    with pytest.raises(RecipeError, match="Mark a region"):
        picker.do_repaint()
    picker.do_regions(asked((1, 2)))
    for name, value in (
        ("mode", "aggressive"),
        ("strength", "0,8"),
        ("caption", "brushed snare"),
        ("wave_crossfade", "0.1"),
    ):
        picker.do_setting(name, value)
    picker.do_repaint()
    assert heard == [
        {
            "take": one,
            "links": [Link((Region(1, 2),), "brushed snare", ("A",))],
            "mode": "aggressive",
            "strength": 0.8,
            "injection": None,
            "latent_crossfade": None,
            "wave_crossfade": 0.1,
        }
    ]
    assert (
        picker.code
        == "take = lab.repaint(take, [Region(1, 2)], caption='brushed snare', mode='aggressive', strength=0.8, wave_crossfade=0.1)"
    )
    with pytest.raises(RecipeError, match="between 0 and 5"):
        picker.do_setting("wave_crossfade", "9")


def test_all_that_is_shown_goes_out_when_a_view_is_drawn() -> None:
    picker = WaveformPickerWidget(take())
    messages = sent(picker)
    picker.do_ready()
    shown = [(m["kind"], m.get("lane")) for m in messages if m["kind"] != "figure"]
    assert shown == [("peaks", "overview"), ("peaks", "wave"), ("grid", None)]
    picker.do_view(1.0, 1.5, 100)
    assert messages[-1]["start"] <= 1.0
    assert messages[-1]["end"] >= 1.5
    assert len(messages[-1]["buffers"][0]) <= 2 * 100
    picker.compare(take(seed=1))
    assert picker.verdict.startswith("Nothing differs")


# -- the gallery


def test_louder_takes_are_turned_down_and_none_is_turned_up() -> None:
    loud, soft = take(1), Take(Recipe("dub", seed=2), take(2).audio.gain(-9), np.zeros((2, 8), np.float32))
    gallery = GalleryWidget([loud, soft])
    messages = sent(gallery)
    gallery.do_compare([loud.id, soft.id])
    gains = messages[0]["gains"]
    assert gains[soft.id] == 0
    assert gains[loud.id] == pytest.approx(soft.audio.loudness() - loud.audio.loudness(), abs=0.01)


def test_a_vote_in_a_blind_comparison_is_counted_and_revealed() -> None:
    one, two = take(1), take(2)
    gallery = GalleryWidget([one, two])
    gallery.do_vote(winner=two.id, among=[one.id, two.id], blind=True)
    assert {c["id"]: c["scores"]["blind"] for c in gallery.cards} == {one.id: "0 of 1", two.id: "1 of 1"}
    assert "without knowing" in gallery.verdict
    assert gallery.columns == [{"name": "blind", "meaning": "Preferred in blind comparisons, out of how many."}]


def test_only_parameters_that_differ_are_on_the_cards() -> None:
    assert differing([{"caption": "a", "seed": 1, "steps": 8}, {"caption": "b", "seed": 2, "steps": 8}]) == ["seed"]
    gallery = GalleryWidget([take(1), take(2)])
    assert [set(c["differs"]) for c in gallery.cards] == [{"seed"}, {"seed"}]


def test_a_star_takes_a_rejection_back_and_nothing_is_binned_without_a_star() -> None:
    gallery = GalleryWidget([one := take(1), two := take(2)])
    binned: list[list[str]] = []
    gallery.on("bin", lambda ids: binned.append(ids))
    with pytest.raises(RecipeError, match="Nothing is starred"):
        gallery.do_bin()
    gallery.do_mark(one.id, reject=True)
    gallery.do_mark(one.id, star=True)
    assert next(c for c in gallery.cards if c["id"] == one.id)["reject"] is False
    gallery.do_bin()
    assert binned == [[two.id]]
    with pytest.raises(LabError, match="no take"):
        gallery.do_peaks("take-unknown")


def test_a_sweep_is_a_grid_of_ids_with_its_values() -> None:
    gallery = GalleryWidget([one := take(1)])
    gallery.sweep(("shift", [1.0, 3.0]), None, [[one.id, ""]])
    assert (gallery.grid["x"], gallery.grid["y"]) == ({"name": "shift", "values": ["1", "3"]}, None)
    assert (gallery.grid["cells"], gallery.grid["missing"]) == ([[one.id, ""]], 1)
    assert [card["id"] for card in gallery.grid["made"]] == [one.id]


def test_lineage_places_children_right_of_parents_and_families_apart() -> None:
    tree = TakeTreeWidget()
    tree.draw([{"id": "a", "title": "a", "parents": []}, {"id": "b", "title": "b", "parents": ["a"]}, {"id": "c", "title": "c", "parents": ["a"]},
               {"id": "d", "title": "d", "parents": ["b"]}, {"id": "e", "title": "e", "parents": ["gone"]}, {"id": "alone", "title": "", "parents": []}], "d")  # fmt: skip
    at = {n["id"]: (n["x"], n["y"]) for n in tree.nodes}
    assert at["a"] == (0, 0)
    assert at["b"] == (1, 0)
    assert at["d"] == (2, 0)
    assert at["c"][1] not in (0, at["e"][1])
    assert "alone" not in at
    assert not next(n for n in tree.nodes if n["id"] == "gone")["here"]
    assert len(set(at.values())) == len(at)


# -- sounds


def test_a_player_hands_over_its_sound_by_message_or_by_address_never_as_state() -> None:
    one = take()
    player = PlayerWidget(one)
    messages = sent(player)
    player.do_peaks(one.id, 100)
    player.do_bytes(one.id)
    player.do_bytes("another")
    assert [m["kind"] for m in messages] == ["peaks", "bytes"]
    assert messages[1]["buffers"][0][:4] == b"RIFF"
    assert "url" in player.track
    assert player.track["url"] is None
    assert PlayerWidget(one, url=lambda audio: "takes/x.wav").track["url"] == "takes/x.wav"


@pytest.mark.parametrize("form", ["flac", "wav", "opus", "mp3", "zip"])
def test_a_player_writes_its_sound_as_any_kind_of_file(form: str) -> None:
    one = take()
    room = PlayerWidget(one.replace(recipe=one.recipe.replace(caption="any <words> at all")))
    messages = sent(room)
    room.do_save(form)
    for thread in [t for t in threading.enumerate() if t.name == "acestep_lab save"]:
        thread.join(60)
    [message] = messages
    assert (message["kind"], message["name"]) == ("file", f"any words at all, seed 1.{form}")
    assert len(message["buffers"][0]) > 1000


def test_a_sound_that_is_no_take_has_no_zip_and_an_odd_kind_is_answered() -> None:
    room = PlayerWidget(tone(1.0))
    assert [form for form, _ in room.forms] == ["flac", "wav", "opus", "mp3"]
    with pytest.raises(LabError, match="no kind of file"):
        room.do_save("exe")


def test_a_take_in_a_notebook_is_a_small_thing() -> None:
    bundle = sound_bundle(take())
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert len(json.dumps(data)) < 2000
    assert "Take" in data["text/plain"]


def test_ten_takes_shown_leave_less_than_a_hundred_kilobytes_in_a_notebook() -> None:
    players = [PlayerWidget(take(seed)) for seed in range(1, 11)]
    stored = sum(len(json.dumps(player.get_state(), default=str)) for player in players)
    assert stored < 100_000, "even where a front end stores the widgets' state"


def test_a_sound_comes_in_pieces_and_our_own_file_brings_its_recipe(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    path = library.keep(one := take())
    data, drop = path.read_bytes(), SoundDropWidget()
    came: list[Any] = []
    drop.on("sound", lambda sound, name: came.append((sound, name)))
    drop.do_begin("mine.flac", len(data))
    half = len(data) // 2
    drop.do_piece([data[:half]], at=0)
    drop.do_piece([data[half:]], at=half)
    sound, name = came[0]
    assert isinstance(sound, Take)
    assert sound.recipe == one.recipe
    assert name == "mine.flac"
    library.close()


@pytest.mark.parametrize(
    ("name", "size", "answer"),
    [
        ("a.wav", 2 * 2**30, "2,048 MB"),
        ("a.exe", 10, "no sound file"),
        ("../../etc/passwd", 10, "no sound file"),
        ("a.wav", 0, "is empty"),
    ],
)
def test_a_file_is_refused_by_size_and_kind_before_a_byte_is_read(name: str, size: int, answer: str) -> None:
    with pytest.raises(SourceError, match=answer):
        SoundDropWidget().do_begin(name, size)


def test_a_file_that_lies_about_its_kind_or_size_is_refused() -> None:
    with pytest.raises(SourceError, match=r"'liar\.wav' is no sound file"):
        decode(b"these are words", "liar.wav")
    drop = SoundDropWidget()
    drop.do_begin("a.wav", 4)
    with pytest.raises(SourceError, match="did not arrive whole"):
        drop.do_piece([b"12345678"], at=0)
    with pytest.raises(SourceError, match="did not arrive whole"):
        drop.do_piece([b"1234"], at=0)


# -- watching


def test_pictures_are_made_only_as_fast_as_somebody_looks_and_the_last_is_shown() -> None:
    drawn: list[int] = []
    view = LatentPreviewWidget(picture=lambda step: drawn.append(step.index) or b"png", later=lambda kind, work: work())
    view.begin("run-1", 10.0)
    for index in range(9):
        view.add(Step(index, 9, 0.5, np.zeros((4, 8)), np.zeros((4, 8))))
    view.end()
    assert drawn[0] == 0
    assert drawn[-1] == 8
    assert len(drawn) <= 3
    view.do_picture(4)
    assert drawn[-1] == 4, "a past step is drawn when asked for"
    with pytest.raises(RecipeError, match="Step 21 has not been reached"):
        view.do_keep(20)


# -- backend and studio


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


def until(ready: Callable[[], Any]) -> None:
    """Wait for the worker thread's news to have arrived."""
    for _ in range(2000):
        if ready():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen")


def ids_of(run: Any) -> list[str]:
    """Ids of what a run has made."""
    return [take.id for take in run.made.values()]


def made(page: Studio, run: Any) -> None:
    """Wait until a page shows what a run has made."""
    until(
        lambda: (
            page.selected is not None and page.selected.id in ids_of(run) and page.gallery.selected == page.selected.id
        )
    )


def studio_of(session: Any, **options: Any) -> Studio:
    return Studio(
        backend_of(session), panes=False, picture=png, crossfades=lambda mode, strength: (0.04, 0.05), **options
    )


def test_a_take_is_on_disk_the_moment_it_exists_and_in_every_open_page(lab: Any) -> None:
    one, two = studio_of(lab), studio_of(lab)
    run = one.start(Recipe("dub", seconds=2, seed=3))
    for page in (one, two):
        made(page, run)
    assert lab.library.ids() == ids_of(run)
    for page in (one, two):
        assert [c["id"] for c in page.gallery.cards] == ids_of(run)
        assert page.selected.id == ids_of(run)[0]


def test_the_window_that_is_heard_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    asked_for: list[tuple[float, float]] = []

    class Listened(PretendSession):
        def preview(self, step: Any, at: float, seconds: float = 3.0) -> Audio:
            asked_for.append((at, seconds))  # `at` is the middle of the window
            return super().preview(step, at, seconds)

    session = Listened(tmp_path)
    page = studio_of(session)
    run = page.start(Recipe("dub", seconds=4, seed=3))
    made(page, run)
    page.preview.do_play_step(step=2, start=1.0, end=2.5)
    until(lambda: bool(page.preview.track))
    assert asked_for[-1] == (1.75, 1.5)  # before it, pictures of steps may have been decoded
    session.close()


def test_a_step_that_comes_while_a_page_catches_up_is_the_one_it_shows() -> None:
    preview = LatentPreviewWidget(picture=png)
    steps = [Step(i, 3, 1.0, np.zeros((4, 8)), np.zeros((4, 8))) for i in range(3)]

    def so_far() -> Iterator[Step]:
        yield from steps[:2]
        preview.add(steps[2])  # as the worker does, from its own thread

    preview.begin("run-1", 2.0, 3)
    preview.catch_up(so_far())
    assert preview.latest == 2
    preview.do_picture(2)


def test_a_picture_that_waits_for_its_moment_is_not_shown_for_the_next_run() -> None:
    preview = LatentPreviewWidget(picture=png)
    steps = [Step(i, 3, 1.0, np.zeros((4, 8)), np.zeros((4, 8))) for i in range(3)]
    preview.begin("run-1", 2.0, 3)
    for step in steps:
        preview.add(step)
    preview.begin("run-2", 2.0, 3)
    preview.end()
    assert preview.latest == -1


def test_a_page_that_was_closed_hears_nothing_more_and_a_new_one_takes_up(lab: Any) -> None:
    gone = studio_of(lab)
    gone.close()
    run = (there := studio_of(lab)).start(Recipe("dub", seconds=2, seed=3))
    made(there, run)
    assert gone.gallery.cards == []
    back = studio_of(lab)
    assert back.preview.latest == 5
    assert back.selected.id == ids_of(run)[0]
    assert back.queue.rows[0]["state"] == "done"


def test_people_see_their_own_takes_and_stop_only_their_own_runs(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "library", gate=gate)
    ada, bob = studio_of(session, owner="ada"), studio_of(session, owner="bob")
    run = ada.start(Recipe("private words", seconds=2, seed=3))
    assert bob.queue.rows[0]["title"] == "Somebody else's run"
    assert bob.queue.rows[0]["mine"] is False
    bob.watching._stop_run(run.id)
    assert not run.stopping
    [gate.release() for _ in range(10)]
    made(ada, run)
    assert len(ada.gallery.cards) == 1
    assert bob.gallery.cards == []
    with pytest.raises(LibraryError, match="somebody else"):
        bob.backend.takes.mark(ids_of(run)[0], "bob", star=True)
    messages = sent(bob.gallery)
    bob.gallery.receive({"kind": "bytes", "id": ids_of(run)[0]}, [])
    assert [m["kind"] for m in messages] == ["error"], "an id is no key"
    session.close()
    session.library.close()


def test_a_page_holds_moves_and_pauses_what_is_its_own(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "library", gate=gate)
    host, ada = studio_of(session), studio_of(session, owner="ada")
    _, one, two, three = (ada.start(Recipe("dub", seconds=2, seed=seed)) for seed in range(4))
    until(lambda: session.runs[0].state == "rendering")
    ada.queue.receive({"kind": "move", "id": three.id, "place": 0}, [])
    assert session.runs[1:] == (three, one, two)
    ada.queue.receive({"kind": "hold", "id": three.id, "held": True}, [])
    assert session.runs[1:] == (one, two, three)
    ada.watching._show_queue()
    rows = {row["id"]: row for row in ada.queue.rows}
    assert [rows[run.id]["held"] for run in (one, three)] == [False, True]
    assert (host.queue.hosts, ada.queue.hosts) == (True, False)
    answers = [sent(page.queue) for page in (host, ada)]
    ada.queue.receive({"kind": "pause", "paused": True}, [])
    host.queue.receive({"kind": "hold", "id": one.id, "held": True}, [])
    assert [len(heard) for heard in answers] == [1, 1], "both are answered by a sentence"
    assert not session.jobs.paused
    assert not one.held
    host.queue.receive({"kind": "pause", "paused": True}, [])
    until(lambda: ada.queue.paused)
    session.close()
    session.library.close()


class FullDisk(Library):
    """A library on a disk with no room."""

    full = True

    def keep(self, take: Take) -> Path:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().keep(take)


def test_a_full_disk_costs_a_sentence_and_no_take(tmp_path: Path) -> None:
    library = FullDisk(tmp_path / "library")
    session = PretendSession(tmp_path / "library", pause=0.0, library=library)
    page = studio_of(session)
    run = page.start(Recipe("dub", seconds=2, seed=3))
    made(page, run)
    assert "no space left on device" in page.top.banner
    assert "stays in memory" in page.top.banner
    assert [c["unsaved"] for c in page.gallery.cards] == [True]
    assert page.selected.id == ids_of(run)[0]
    library.full = False
    page.listening._save_again()
    assert page.top.banner == ""
    assert library.ids() == ids_of(run)
    assert page.gallery.cards[0]["unsaved"] is False
    session.close()
    library.close()


def a_file_takes_the_place_of(folder: Path) -> None:
    """Move a folder away at once, whoever is writing into it, and put a file where it was."""
    for number in itertools.count():
        folder.rename(folder.with_name(f"moved away {number}"))
        try:
            folder.write_text("a file stands where the folder was")
        except IsADirectoryError:  # a writer has made the folder anew meanwhile
            continue
        return


def test_a_library_folder_that_vanishes_costs_no_take(tmp_path: Path) -> None:
    session = PretendSession(tmp_path / "library", pause=0.0)
    page = studio_of(session)
    made(page, page.start(Recipe("before", seconds=2, seed=1)))
    a_file_takes_the_place_of(session.library.folder)
    made(page, page.start(Recipe("after", seconds=2, seed=2)))
    assert "stays in memory" in page.top.banner
    assert page.top.unsaved == 1
    session.library.folder.unlink()
    page.listening._save_again()
    assert page.top.banner == ""
    assert session.library.ids() == [page.selected.id]
    session.close()
    session.library.close()


def test_a_click_while_the_session_closes_is_answered(lab: Any) -> None:
    page = studio_of(lab)
    messages = sent(page.prompt)
    lab.close()
    page.prompt.do_edit("caption", "too late")
    page.prompt.do_make()
    assert any("closed" in m.get("text", "") for m in messages)


def test_a_repaint_shows_what_did_not_change(lab: Any) -> None:
    page = studio_of(lab)
    made(page, page.start(Recipe("dub", seconds=4, seed=3)))
    first = page.selected
    page.picker.do_regions(asked((1, 2)))
    page.picker.do_repaint()
    made(page, page.backend.jobs.runs()[0])
    assert page.selected.parents == (first.id,)
    assert isinstance(page.selected.recipe.task, Repaint)
    page.repainting.compare(page.selected)
    assert "Changed only within" in page.picker.verdict
    same = page.selected.audio.samples[:, : int(0.9 * page.selected.audio.rate)]
    assert (same == first.audio.samples[:, : same.shape[1]]).all()


def test_a_sweep_fills_its_grid(lab: Any) -> None:
    page = studio_of(lab)
    page.prompt.do_edit("caption", "dub")
    page.prompt.do_edit("seconds", "2")
    page.prompt.do_sweep(x="seed", xs="1,2", y="steps", ys="2,3")
    made(page, page.backend.jobs.runs()[0])
    assert [len([i for i in row if i]) for row in page.gallery.grid["cells"]] == [2, 2]


def test_words_are_reused_from_a_take(lab: Any) -> None:
    page = studio_of(lab)
    made(page, page.start(Recipe("dub", "[Verse]\nla", seconds=2, seed=3, language="en")))
    page.prompt.do_edit("caption", "something else")
    page.reuse(page.selected)
    assert page.prompt.value.caption == "dub"
    assert page.lyrics.value == "[Verse]\nla"
    assert page.lyrics.chosen_language == "en"


def test_a_page_that_breaks_costs_neither_the_take_nor_the_other_pages(
    lab: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run: Any, event: Any) -> None:
        raise ZeroDivisionError

    lab.jobs.subscribe(broken)
    page = studio_of(lab)
    made(page, page.start(Recipe("dub", seconds=2, seed=3)))
    assert len(lab.library.ids()) == 1
    assert "A listener of the queue failed" in caplog.text


def test_a_listener_may_be_called_from_any_thread(lab: Any) -> None:
    page = studio_of(lab)
    threads = [
        threading.Thread(target=lambda seed=seed: page.start(Recipe("dub", seconds=2, seed=seed)))
        for seed in range(1, 6)
    ]
    [t.start() for t in threads]
    [t.join() for t in threads]
    until(lambda: len(page.gallery.cards) == 5)


def test_audio_that_is_no_take_can_be_selected(lab: Any) -> None:
    page = studio_of(lab)
    page.select(Audio(np.zeros((1, 8000), np.float32), 8000), title="silence.wav")
    assert page.player.track["title"] == "silence.wav"
    assert page.prompt.source == "silence.wav"


def test_a_part_of_the_page_that_refuses_keeps_no_other_from_hearing_and_is_heard_itself() -> None:
    class Part(Controller):
        heard_of: ClassVar[list[str]] = []

        def renamed(self, id: str, title: str) -> None:
            self.heard_of.append(id)
            raise RecipeError(f"no {len(self.heard_of)}")

    parts = [Part(None), Part(None)]  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="no 1"):
        tell(parts, "renamed", "take-1", "dub")
    assert Part.heard_of == ["take-1", "take-1"]
