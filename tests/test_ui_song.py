"""The song builder and the stems view: what they do with an arrangement and with lanes, and what they answer to nonsense."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab import Audio, Recipe, Region, Take
from acestep_lab.errors import RecipeError
from acestep_lab.listen.segmentation import heard_sections
from acestep_lab.ui import locale
from acestep_lab.ui.backend import Backend
from acestep_lab.ui.song_arrangement import Block, SongArrangement, SongDraft, blocks_of, joint_of, trimmed
from acestep_lab.ui.song_builder import SongBuilderWidget
from acestep_lab.ui.stems_view import Lane, StemsViewWidget
from acestep_lab.ui.studio import Studio
from tests.browser.conftest import wait_for
from tests.pretend import PretendSession, tone

LYRICS = "[Verse]\nslow rivers run to the sea\n[Chorus - loud]\nhey hey\n[Outro]"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Any]:
    session = PretendSession(tmp_path, pause=0.0)
    yield session
    session.close()


@pytest.fixture
def take(lab: Any) -> Take:
    return lab.keep(lab.make(Recipe("a song", LYRICS, 12, 3)))


@pytest.fixture
def studio(lab: Any, take: Take) -> Studio:
    page = Studio(Backend(lab), panes=False)
    page.select(take)
    return page


def told(component: Any, kind: str = "error") -> list[dict[str, Any]]:
    """What a component sends to the browser from now on, of one kind."""
    heard: list[dict[str, Any]] = []
    plain = component.emit

    def emit(what: str, *buffers: Any, **body: Any) -> None:
        if what == kind:
            heard.append({**body, "buffers": buffers})
        plain(what, *buffers, **body)

    component.emit = emit
    return heard


def ask(component: Any, kind: str, **body: Any) -> None:
    component.receive({"kind": kind, **body})


def labels(component: Any) -> list[str]:
    return [block["label"] for block in component.blocks]


def until(ready: Callable[[], Any]) -> Any:
    return wait_for(ready, 20)


# -- the arrangement ---------------------------------------------------------------------------------------------------------


def arrangement() -> SongArrangement:
    return SongArrangement().insert([Block(0, "take-1", 4.0 * n, 4.0 * n + 4, name) for n, name in enumerate("ABC")])


def test_a_strip_is_reordered_doubled_cut_and_shortened_and_the_old_one_stays() -> None:
    old = arrangement()
    assert [block.label for block in old.move(1, 2).blocks] == ["B", "C", "A"]
    assert [block.label for block in old.move(3, -5).blocks] == ["C", "A", "B"]
    assert [(block.id, block.label) for block in old.duplicate(2).blocks] == [(1, "A"), (2, "B"), (4, "B"), (3, "C")]
    assert [(block.start, block.end) for block in old.split(2, 1.5).blocks][1:3] == [(4.0, 5.5), (5.5, 8.0)]
    assert [block.label for block in old.remove(2).blocks] == ["A", "C"]
    assert [block.label for block in old.blocks] == ["A", "B", "C"]
    with pytest.raises(RecipeError, match="no longer in the song"):
        old.remove(9)
    with pytest.raises(RecipeError, match=r"at least 0\.25 s from its ends"):
        old.split(1, 0.1)
    with pytest.raises(RecipeError, match="at most 64"):
        old.insert(list(old.blocks) * 21)


def test_blocks_become_pieces_with_their_joints() -> None:
    changed = (
        arrangement().put(Block(2, "take-1", 4, 8, "B", joint="none")).put(Block(3, "take-1", 8, 12, "C", joint=0.5))
    )
    pieces = changed.pieces(lambda id: tone(12))
    assert [piece.crossfade for piece in pieces] == [None, 0.0, 0.5]
    assert pieces[1].region == Region(4, 8)
    assert [joint_of(how) for how in ("beat", "none", 1)] == ["beat", "none", 1.0]
    for wrong in ("soft", 99, None, [1]):
        with pytest.raises(RecipeError):
            joint_of(wrong)


def test_every_edit_can_be_undone_and_redone() -> None:
    draft, seen = SongDraft(), []
    forget = draft.listen(lambda: seen.append(len(draft.arrangement.blocks)))
    draft.change(arrangement())
    draft.change(draft.arrangement.remove(1))
    draft.undo()
    draft.redo()
    draft.undo()
    draft.change(draft.arrangement)
    assert (len(draft.past), len(draft.future)) == (1, 1), "what changes nothing is no edit"
    draft.change(draft.arrangement.remove(2))
    draft.redo()
    assert [block.label for block in draft.arrangement.blocks] == ["A", "C"]
    forget()
    count = len(seen)
    draft.undo()
    assert len(seen) == count


def test_sections_of_the_lyrics_lie_end_to_end_and_say_that_they_are_estimated(take: Take) -> None:
    blocks = blocks_of(take, "lyrics")
    assert [(block.label, block.kind) for block in blocks] == [
        ("Verse", "verse"),
        ("Chorus", "chorus"),
        ("Outro", "outro"),
    ]
    assert [block.start for block in blocks[1:]] == [block.end for block in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].end) == (0.0, take.seconds)
    assert {block.origin for block in blocks} == {"estimated from the lyrics"}
    assert blocks[1].lyrics == "[Chorus - loud]\nhey hey"


def test_lyrics_with_times_are_taken_at_their_word(take: Take) -> None:
    timed = take.replace(recipe=take.recipe.replace(lyrics="[Verse]\n[00:00.50] la\n[Chorus]\n[00:07.25] hey"))
    blocks = blocks_of(timed, "lyrics")
    assert [(block.start, block.end) for block in blocks] == [(0.0, 7.25), (7.25, 12.0)]
    assert blocks[0].origin == "from the times in the lyrics"


def test_what_there_is_nothing_to_read_from_is_said(take: Take) -> None:
    with pytest.raises(RecipeError, match="no plan with lyrics"):
        blocks_of(take, "plan")
    with pytest.raises(RecipeError, match="by ear"):
        blocks_of(tone(4), "lyrics")
    with pytest.raises(RecipeError, match="not from 'magic'"):
        blocks_of(take, "magic")


def test_the_ear_finds_where_the_music_turns_and_what_comes_back() -> None:
    def chord(notes: list[int], seconds: float, hiss: float = 0.0) -> np.ndarray:
        at = np.arange(round(seconds * 24_000)) / 24_000
        noise = hiss * np.random.default_rng(1).standard_normal(len(at))
        return noise + sum(0.1 * np.sin(2 * np.pi * 220 * 2 ** (note / 12) * at) for note in notes)

    one, two = chord([0, 4, 7], 12), chord([2, 5, 9, 14], 10, 0.05)
    found = heard_sections(Audio(np.concatenate([one, two, one])[None], 24_000))
    assert [section.letter for section in found] == ["A", "B", "A"]
    assert np.allclose([section.start for section in found], [0, 12, 22], atol=0.6)
    assert [(one.start, one.end) for one in heard_sections(tone(2))] == [(0.0, 2.0)]


def test_a_trim_ends_inside_the_take_and_leaves_something(take: Take) -> None:
    block = Block(1, take.id, 2, 6)
    assert trimmed(take, block, 0.01, 99).end == take.seconds
    assert trimmed(take, block, 0.01, 6).start == 0.0
    with pytest.raises(RecipeError, match=r"at least 0\.25 s"):
        trimmed(take, block, 5.9, 6)


# -- the builder on its page -------------------------------------------------------------------------------------------


def test_a_song_of_the_sections_becomes_a_take_with_its_parents_and_its_words(studio: Studio, lab: Any) -> None:
    ask(studio.song, "fill", how="lyrics")
    ask(studio.song, "move", block=2, to=0)
    ask(studio.song, "joint", block=1, how=0.25)
    assert labels(studio.song) == ["Chorus", "Verse", "Outro"]
    first = studio.selected
    ask(studio.song, "make")
    song = until(lambda: studio.selected if studio.selected is not first else None)
    assert song.parents == (first.id,)
    assert song.recipe.lyrics.startswith("[Chorus - loud]\nhey hey\n\n[Verse]")
    first_piece = song.recipe.task.pieces[0]
    assert first_piece.region.start == pytest.approx(studio.song.blocks[0]["start"], abs=1e-3)
    assert labels(studio.song) == ["Chorus", "Verse", "Outro"], (
        "the arrangement belongs to the song, not to the take in hand"
    )


def test_the_strip_is_there_after_a_reload_and_for_its_owner_only(studio: Studio) -> None:
    ask(studio.song, "fill", how="whole")
    again = Studio(studio.backend, panes=False)
    assert labels(again.song) == labels(studio.song)
    ask(again.song, "duplicate", block=1)
    assert len(studio.song.blocks) == 2, "two pages of one person show one arrangement"
    assert Studio(studio.backend, "somebody else", panes=False).song.blocks == []
    again.close()
    ask(studio.song, "undo")
    assert len(studio.song.blocks) == 1


def test_a_section_is_rerolled_in_its_place_or_grown_and_goes_on_from_there(studio: Studio, lab: Any) -> None:
    ask(studio.song, "fill", how="lyrics")
    before = [dict(block) for block in studio.song.blocks]
    ask(studio.song, "reroll", block=1)
    until(lambda: not studio.song.blocks[0]["busy"] and studio.song.blocks[0]["source"] != before[0]["source"])
    made = lab.library.open(studio.song.blocks[0]["source"])
    assert made.recipe.task.regions == (Region(before[0]["start"], before[0]["end"]),)
    ask(studio.song, "grow", block=2)
    until(lambda: not studio.song.blocks[1]["busy"] and studio.song.blocks[1]["source"] != before[1]["source"])
    assert studio.song.blocks[1]["end"] == pytest.approx(before[1]["end"] + 8, abs=0.01)
    assert studio.song.blocks[1]["start"] == before[1]["start"]
    ask(studio.song, "undo")
    ask(studio.song, "undo")
    assert [block["source"] for block in studio.song.blocks] == [block["source"] for block in before]


def test_a_stop_leaves_the_section_as_it_was_and_says_so(tmp_path: Path) -> None:
    lab: Any = PretendSession(tmp_path, gate=threading.Semaphore(0))
    take = lab.keep(Take(Recipe("a song"), tone(6).on_grid(), np.zeros((4, 8))))
    page = Studio(Backend(lab), panes=False)
    page.select(take)
    ask(page.song, "fill", how="whole")
    errors = told(page.song)
    ask(page.song, "reroll", block=1)
    assert page.song.blocks[0]["busy"] == "reroll"
    ask(page.song, "grow", block=1)
    assert "already" in errors[0]["text"]
    for run in lab.runs:
        run.stop()
    until(lambda: page.song.said)
    assert page.song.said == "The new music was stopped. The section is as it was."
    assert page.song.blocks[0]["source"] == take.id
    lab.close()


def test_reusing_a_stitched_take_brings_its_strip_back(studio: Studio, take: Take, lab: Any) -> None:
    sound = tone(5, 7)
    song = lab.keep(lab.stitch([(take, Region(0, 4)), sound, (take, Region(6, 8), 0.25)], 0))
    studio.reuse(song)
    assert [(block["source"], block["start"], block["end"], block["joint"]) for block in studio.song.blocks] == [
        (take.id, 0, 4, "none"), (sound.id, 0, 5, "none"), (take.id, 6, 8, 0.25),
    ]  # fmt: skip
    ask(studio.song, "undo")
    assert studio.song.blocks == []


def test_the_song_is_heard_before_it_is_made(studio: Studio) -> None:
    ask(studio.song, "fill", how="lyrics")
    heard = told(studio.song, "heard")
    ask(studio.song, "hear")
    until(lambda: heard)
    assert studio.song.track["seconds"] == pytest.approx(12, abs=0.1)
    sent = told(studio.song, "bytes")
    ask(studio.song, "bytes", id=heard[0]["id"])
    assert bytes(sent[0]["buffers"][0][:4]) == b"RIFF"
    studio.select(tone(3))
    assert studio.song.track["id"] == heard[0]["id"], "another take in hand changes nothing of the song"
    ask(studio.song, "remove", block=1)
    assert studio.song.track == {}, "what was heard is not what would be made any more"


def test_a_recording_can_stand_in_a_song(studio: Studio) -> None:
    sound = tone(5, 7)
    studio.select(sound)
    ask(studio.song, "append")
    studio.select(tone(3, 2))
    ask(studio.song, "append")
    ask(studio.song, "make")
    song: Any = until(lambda: studio.selected if isinstance(studio.selected, Take) else None)
    assert song.parents[0] == sound.id


def test_nonsense_and_an_empty_strip_are_answered_by_sentences(studio: Studio) -> None:
    errors = told(studio.song)
    for kind, body in [
        ("make", {}), ("hear", {}), ("move", {"block": 9, "to": 0}), ("joint", {"block": 9, "how": "beat"}),
        ("trim", {"block": 1, "start": "a", "end": 2}), ("fill", {"how": "plan"}), ("split", {"block": 1}),
    ]:  # fmt: skip
        ask(studio.song, kind, **body)
    assert len(errors) == 7
    assert "no sections yet" in errors[0]["text"]


def test_a_builder_alone_edits_and_says_what_it_misses(take: Take) -> None:
    builder = SongBuilderWidget()
    builder.hold(take)
    ask(builder, "fill", how="lyrics")
    assert len(builder.blocks) == 3
    builder.hold(tone(2))
    errors = told(builder)
    ask(builder, "trim", block=1, start=1.0, end=3.0)
    assert "SongBuilderWidget(lab.load)" in errors[0]["text"]


# -- stems -------------------------------------------------------------------------------------------------------------


def lanes(page: Studio) -> dict[str, bool]:
    return {lane["name"]: lane["made"] for lane in page.stems.lanes}


def test_stems_are_made_in_one_run_and_found_again_by_the_next_page(studio: Studio, lab: Any, take: Take) -> None:
    lab.started.clear()
    ask(studio.stems, "open", on=True)
    ask(studio.stems, "extract", stems=["drums", "bass"])
    until(lambda: lanes(studio) == {"drums": True, "bass": True, "residual": True})
    assert len([run for run in lab.jobs.runs("") if "Stems of" in run.title]) == 1
    total = sum(lane.audio.samples.astype(np.float64) for lane in studio.stems.laid)
    assert np.abs(total - take.audio.samples).max() < 1e-6
    again = Studio(studio.backend, panes=False)
    again.select(take)
    ask(again.stems, "open", on=True)
    until(lambda: lanes(again) == {"drums": True, "bass": True, "residual": True})
    ask(again.stems, "extract", stems=["drums"])
    assert len(lab.started) == 2, "nothing is made twice"


def test_choosing_one_of_the_stems_leaves_the_lanes_and_another_take_begins_anew(studio: Studio, take: Take) -> None:
    ask(studio.stems, "open", on=True)
    ask(studio.stems, "extract", stems=["drums"])
    until(lambda: lanes(studio).get("residual"))
    studio.select(studio.open(studio.stems.laid[0].take))
    assert lanes(studio) == {"drums": True, "residual": True}
    studio.select(tone(4))
    assert lanes(studio) == {}
    studio.select(take)
    until(lambda: lanes(studio) == {"drums": True, "residual": True})


def test_a_layer_is_a_lane_of_its_own_and_no_part_of_the_sum(studio: Studio) -> None:
    ask(studio.stems, "layer", stem="guitar", caption="soft")
    until(lambda: lanes(studio) == {"guitar layer 1": True})
    ask(studio.stems, "layer", stem="guitar")
    until(lambda: lanes(studio) == {"guitar layer 1": True, "guitar layer 2": True})


def test_a_stop_keeps_what_was_made_and_takes_the_empty_lanes_away(tmp_path: Path) -> None:
    lab: Any = PretendSession(tmp_path, gate=threading.Semaphore(0))
    take = lab.keep(Take(Recipe("a song"), tone(6).on_grid(), np.zeros((4, 8))))
    page = Studio(Backend(lab), panes=False)
    page.select(take)
    errors = told(page.stems)
    ask(page.stems, "extract", stems=["drums"])
    assert lanes(page) == {"drums": False}
    ask(page.stems, "extract", stems=["bass"])
    assert "already" in errors[0]["text"]
    ask(page.stems, "halt")
    until(lambda: page.stems.said)
    assert lanes(page) == {}
    assert page.stems.said == "Stopped. What was made stays."
    lab.close()


def test_the_lanes_come_as_a_zip_with_a_manifest(take: Take) -> None:
    view = StemsViewWidget()
    view.hold(take, known=("drums",))
    view.lay(Lane("drums", "stem", "drums", "take-1", tone(4).on_grid()))
    files = told(view, "file")
    ask(view, "save", levels=[{"name": "drums", "decibels": -6, "heard": False}])
    with zipfile.ZipFile(io.BytesIO(files[0]["buffers"][0])) as archive:
        assert archive.namelist() == ["01-drums.flac", "manifest.json"]
        about = json.loads(archive.read("manifest.json"))
        assert Audio.read(archive.read("01-drums.flac")) == tone(4).on_grid()
    assert about["mix"] == take.id
    assert about["lanes"] == [
        {
            "file": "01-drums.flac", "lane": "drums", "kind": "stem", "stem": "drums", "take": "take-1", "decibels": -6,
            "heard": False,
        }
    ]  # fmt: skip


def test_where_stems_cannot_be_taken_out_the_view_says_why(lab: Any, take: Take) -> None:
    lab.use("pretend-tokens")
    page = Studio(Backend(lab), panes=False)
    page.select(take)
    assert "cannot do this" in page.stems.cannot
    errors = told(page.stems)
    ask(page.stems, "extract", stems=["drums"])
    assert errors[0]["text"] == page.stems.cannot
    assert "cannot do this" in page.song.can["reroll"]


def test_the_words_of_both_parts_are_there_in_both_languages() -> None:
    for section in ("song", "stems"):
        tables = [locale.table(tag)["words"][section] for tag in ("en", "zh")]
        assert set(tables[0]) == set(tables[1])
        assert "_" not in tables[0]
