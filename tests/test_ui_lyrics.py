"""Lyrics in time on the page's Python side: what a lane is told, what a take without them offers, who looks for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.cli import main
from acestep_lab.listen.timed_lyrics import Alignment, Timed
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes import page
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui import lyric_lane
from acestep_lab.ui.gallery import GalleryWidget
from acestep_lab.ui.player import PlayerWidget
from acestep_lab.ui.waveform_picker import WaveformPickerWidget
from tests.pretend import PretendSession, tone

SONG = "[Verse]\nla la\nlo lo\n[Chorus]\nda da"
FOUND = Alignment(
    (Timed("la la", 0.5, 1.0, 0.9, 0), Timed("lo lo", 1.0, 1.0, 0.0, 1), Timed("da da", 2.0, 3.0, 0.2, 2)),
    (Timed("la", 0.5, 0.7, 1.0, 0), Timed("da", 2.0, 2.5, 1.0, 2)),
    (Timed("Verse", 0.0, 2.0), Timed("Chorus", 2.0, 4.0)),
)


def take_of(lyrics: str, seed: int = 1) -> Take:
    return Take(Recipe("a song", lyrics=lyrics, seconds=4.0, seed=seed), tone(4.0, seed), np.zeros((2, 8), np.float32))


def sent(component: Any) -> list[dict[str, Any]]:
    """What a component sends from here on."""
    messages: list[dict[str, Any]] = []
    component.emit = lambda kind, *buffers, **body: messages.append({"kind": kind, **body})
    return messages


def lane(component: Any, id: str) -> dict[str, Any]:
    messages = sent(component)
    component.receive({"kind": "lyrics", "id": id})
    (only,) = messages
    return only


@pytest.mark.parametrize("kind", [PlayerWidget, WaveformPickerWidget])
def test_a_lane_has_the_lines_that_are_sung_their_words_and_whether_to_trust_them(kind: type[Any]) -> None:
    take, shown = take_of(SONG), kind()
    shown.load(take, lines=FOUND)
    told = lane(shown, take.id)
    assert told["lines"] == [["la la", 0.5, 1.0, True], ["da da", 2.0, 3.0, False]]
    assert told["words"] == [["la", 0.5, 0.7, 0], ["da", 2.0, 2.5, 1]], "a word's line is its place among those sung"
    assert [row[0] for row in told["sections"]] == ["Verse", "Chorus"]
    assert (told["why"], told["offers"]) == ("", [])


def test_lines_with_nothing_but_their_starts_last_until_the_next() -> None:
    take = take_of(SONG)
    told = lane(PlayerWidget(take, lines=[(0.5, "la"), (1.5, ""), (2.0, "lo")]), take.id)
    assert [row[:3] for row in told["lines"]] == [["la", 0.5, 1.5], ["lo", 2.0, 4.0]]


def test_a_sound_without_times_says_why_and_what_may_be_done(tmp_path: Path) -> None:
    lab = PretendSession(tmp_path / "takes", pause=0.0)
    made = lab.make(Recipe("a song", lyrics=SONG, seconds=4.0))
    assert lyric_lane.without(made, lab) == lyric_lane.Without(lyric_lane.NOT_YET, ("sound", "plan"))
    assert lyric_lane.without(made) == lyric_lane.Without(lyric_lane.NOT_YET, ("plan",))
    assert lyric_lane.without(made.audio, lab).why == lyric_lane.RECORDING
    assert lyric_lane.without(take_of("[Instrumental]"), lab) == lyric_lane.Without(lyric_lane.NO_WORDS)
    lab.use("pretend-tokens")
    played = lab.make(Recipe("a song", lyrics="la la", seconds=4.0))
    assert "pretend-tokens aligns no lyrics" in lyric_lane.without(played, lab).why
    lab.close()
    lab.library.close()


def test_planned_sections_are_shown_as_planned_and_need_nobody_who_listens() -> None:
    take = take_of(SONG)
    player = PlayerWidget(take)
    messages = sent(player)
    player.receive({"kind": "find_lyrics", "id": take.id, "by": "plan"})
    assert [row[0] for row in messages[-1]["sections"]] == ["Verse", "Chorus"]
    assert not messages[-1]["heard"]
    player.receive({"kind": "find_lyrics", "id": take.id, "by": "ear"})
    assert messages[-1]["kind"] == "error"
    player.receive({"kind": "find_lyrics", "id": take.id, "by": "sound"})
    assert "Nobody listens here" in messages[-1]["text"]


def test_words_are_found_once_however_often_one_clicks_and_regions_snap_to_their_lines(tmp_path: Path) -> None:
    lab = PretendSession(tmp_path / "takes", pause=0.0)
    take = lab.keep(lab.make(Recipe("a song", lyrics=SONG, seconds=4.0)))
    gate, asked, found = threading.Event(), [], lab.align

    def slow(*about: Any, **how: Any) -> Alignment:
        asked.append(about)
        gate.wait(5)
        return found(*about, **how)

    lab.align = slow  # type: ignore[method-assign]
    picker = WaveformPickerWidget(take, session=lab)
    messages = sent(picker)
    for _ in range(3):
        picker.receive({"kind": "find_lyrics", "id": take.id, "by": "sound"})
    there = threading.Event()
    picker.emit = lambda kind, *buffers, **body: (
        messages.append({"kind": kind, **body}),
        kind == "lyrics" and there.set(),
    )
    gate.set()
    assert there.wait(5)
    assert len(asked) == 1
    assert len(messages[-1]["lines"]) == 3
    assert "lines" in picker.snaps
    picker.close()
    lab.close()
    lab.library.close()


def test_what_is_heard_of_a_take_becomes_columns_with_the_chance_of_each_and_words(tmp_path: Path) -> None:
    from acestep_lab.ui.listed_takes import heard_in

    lab = PretendSession(tmp_path / "takes", pause=0.0)
    one, other = (lab.keep(lab.make(Recipe("drums", lyrics=SONG, seconds=2.0, seed=seed, bpm=100))) for seed in (1, 2))
    numbers, words = heard_in(lab, one)
    assert (numbers["coverage"], numbers["coverage chance"], words["coverage"]) == (1.0, 0.2, "3 of 3 lines")
    lab.library.mark(one.id, scores=numbers, heard=words)
    gallery = GalleryWidget(lab.library)
    names = [column["name"] for column in gallery.columns]
    assert names[:3] == ["coverage", "order", "sureness"]
    assert not [name for name in names if name.endswith("chance")], "chance is a mark, no column"
    shown = {card["id"]: card for card in gallery.cards}
    assert shown[one.id]["said"]["coverage"] == "3 of 3 lines"
    assert shown[one.id]["kin"] == shown[other.id]["kin"], "takes of the same words are compared"
    lab.close()
    lab.library.close()


def test_a_page_holds_the_words_with_their_times_as_text_and_nothing_else() -> None:
    bad = "<script>la</script>"
    found = Alignment((Timed(bad, 0.5, 1.0, 0.1, 0),), (Timed("<script>la</script>", 0.5, 1.0, 1.0, 0),))
    take = take_of(bad)
    text = page.pages([take], lyrics={take.id: found.to_json()})
    assert text.count("<script>") == 1, "its own"
    assert 'data-start="0.500" data-end="1.000"' in text
    assert 'class="unsure"' in text
    assert "data-start" not in page.pages([take]).split("<script>")[0]


def test_the_command_line_turns_one_file_of_times_into_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "song.lrc"
    file.write_text("[00:01.00]<00:01.00>la <00:01.50>lo\n[00:03.00]da\n", encoding="utf-8")
    for form, wanted in {
        "vtt": "00:00:01.000 --> 00:00:03.000",
        "srt": "00:00:01,000 --> ",
        "word-lrc": "<00:01.50>lo",
    }.items():
        assert main(["align", str(file), "--format", form]) == 0
        assert wanted in capsys.readouterr().out
    assert main(["align", str(file), "--format", "json", "-o", str(tmp_path / "a.json")]) == 0
    assert main(["align", str(tmp_path / "none.lrc")]) == 2
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_an_exported_page_has_the_lyrics_that_lie_beside_a_kept_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = Library(tmp_path / "takes")
    take = take_of(SONG)
    library.keep(take)
    library.annotate(take.id, "alignment", {"key": {}, "alignment": FOUND.to_json()})
    library.close()
    assert main(["export", take.id, str(tmp_path / "a.html"), "--takes", str(tmp_path / "takes")]) == 0
    capsys.readouterr()
    assert 'data-start="2.000"' in (tmp_path / "a.html").read_text(encoding="utf-8")
