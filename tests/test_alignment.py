"""Lyrics in time: paths through made-up attention whose truth is known, text of all scripts, files of players, scores."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from acestep_lab.engines.base import LyricAttention
from acestep_lab.errors import RecipeError
from acestep_lab.listen.alignment import align, planned, realigned
from acestep_lab.listen.lyric_scores import reference_score
from acestep_lab.listen.lyric_text import LyricText
from acestep_lab.listen.monotone_path import monotone_path
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.prompt.lyrics import without_times
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Region
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.studio import Studio
from tests.benchmarks.alignment import SECONDS, compare, fit, held, known
from tests.pretend import PretendSession, tone

RTL = "[مقطع]\nيا ليل يا عين\nקול דודי דופק"
UNSPACED = "[主歌]\n夜空中最亮的星，能否听清\n恋をしている\nรักเธอที่สุด"


def attention_of(lyrics: str, seconds: float = 8.0, step: int = 4, limit: int = 2048) -> LyricAttention:
    """A token for every `step` letters, each sung for its share of the time."""
    spans = [(at, min(at + step, len(lyrics))) for at in range(0, len(lyrics), step)]
    frames = max(1, round(seconds / SECONDS))
    log = np.full((len(spans), frames), -7.0, np.float32)
    for n, at in enumerate(np.linspace(0, frames, len(spans), endpoint=False).astype(int)):
        log[n, at : at + max(1, frames // len(spans))] = -1.0
    read = min(len(spans), limit)
    rest = np.full(frames, -1.0, np.float32)
    return LyricAttention(log[:read], rest, tuple(spans[:read]), SECONDS, len(spans), limit)


def test_lines_are_found_within_a_frame_and_rests_with_them_where_the_reference_finds_none() -> None:
    ours, theirs = compare(20).values()
    assert ours["median ms"] <= 80 < theirs["median ms"]
    assert ours["first line ms"] <= 160 < theirs["first line ms"], "an intro is rest, not the first line"
    assert (ours["rest found"] > 0.85, ours["rest right"] > 0.95, theirs["rest found"]) == (True, True, 0.0)


def test_a_path_goes_on_only_and_a_frame_belongs_to_one_word_at_most() -> None:
    dice = np.random.default_rng(5)
    for units, frames in ((1, 9), (30, 200), (200, 6)):
        path = monotone_path(dice.normal(size=(units, frames)), dice.normal(size=frames), dice.random(units) < 0.2)
        sung = path[path >= 0]
        assert len(path) == frames
        assert (np.diff(sung) >= 0).all()
        assert sung.max(initial=0) < units


def test_the_path_is_the_best_one_of_all() -> None:
    from acestep_lab.listen.monotone_path import PAUSE, PAUSE_INSIDE, REST, SKIP

    dice = np.random.default_rng(2)
    units, rest, ends = 2 * dice.normal(size=(2, 4)), dice.normal(size=4), np.array([False, True])

    def score(path: tuple[int, ...]) -> float:
        sung = [one for one in path if one >= 0]
        total = -SKIP * (2 - len(set(sung)))
        for frame, one in enumerate(path):
            total += rest[frame] + REST if one < 0 else units[one, frame]
            if one < 0 and frame and path[frame - 1] >= 0:
                total -= PAUSE if ends[path[frame - 1]] else PAUSE_INSIDE
        return total if sung == sorted(sung) else -np.inf

    def whole(path: tuple[int, ...]) -> bool:
        """A word that a rest cut in two would be sung twice."""
        runs = [one for n, one in enumerate(path) if not n or path[n - 1] != one]
        return len([one for one in runs if one >= 0]) == len({one for one in runs if one >= 0})

    every = [path for path in np.ndindex(3, 3, 3, 3) if whole(tuple(one - 1 for one in path))]
    best = max(score(tuple(one - 1 for one in path)) for path in every)
    assert score(tuple(monotone_path(units, rest, ends))) == pytest.approx(best)


def test_another_songs_words_and_noise_fit_no_better_than_shuffled_ones() -> None:
    for seed in range(2):
        one = known(seed, 8)
        own, other = fit(one), fit(one, seed=9)
        assert own["fits"]
        assert own["coverage"] > 0.9 > 0.6 > own["chance"]["coverage"]
        assert own["order"] > 0.9
        assert own["chance"]["order"] == pytest.approx(0.5, abs=0.2)
        assert not other["fits"]
        assert other["sureness"] < own["sureness"] - 0.3


def test_the_references_score_is_between_0_and_1_and_there_is_none_without_words() -> None:
    one = known(1)
    assert 0.0 < reference_score(one.attention, LyricText.of(one.lyrics)) < 1.0  # type: ignore[operator]
    assert reference_score(attention_of("[Instrumental]"), LyricText.of("[Instrumental]")) is None


@pytest.mark.parametrize("lyrics", ["", "  \n", "[Intro]\n\n[Outro]", "...\n!!"])
def test_lyrics_without_words_are_refused(lyrics: str) -> None:
    with pytest.raises(RecipeError, match="no words"):
        align(attention_of(lyrics or " "), lyrics)


@pytest.mark.parametrize(("lyrics", "lines", "words"), [
    (RTL, ["يا ليل يا عين", "קול דודי דופק"], 7),
    (UNSPACED, ["夜空中最亮的星，能否听清", "恋をしている", "รักเธอที่สุด"], 11 + 6 + 8),
    ("(ooh) don't stop-it\n[Chorus] la la", ["(ooh) don't stop-it", "la la"], 5),
])  # fmt: skip
def test_every_script_is_cut_into_lines_and_words(lyrics: str, lines: list[str], words: int) -> None:
    text = LyricText.of(lyrics)
    assert [line.text for line in text.lines] == lines
    assert sum(len(line.words) for line in text.lines) == words
    found = align(attention_of(lyrics, 20, step=1), lyrics)
    assert [line.text for line in found.lines if line.found] == lines
    assert sorted(found.words, key=lambda word: word.start) == sorted(found.words, key=lambda word: word.line)


def test_letters_that_share_a_token_share_its_time() -> None:
    found = align(attention_of("夜空中最", step=2), "夜空中最")
    assert [word.text for word in found.words] == list("夜空中最")
    assert [word.start for word in found.words] == sorted({word.start for word in found.words})


def test_tags_are_sections_also_those_without_words() -> None:
    lyrics = "[Intro]\n\n[Verse 1]\none two three\n[Solo]\n[Break]\n[Chorus]\nfour five\n[Outro]"
    found = align(attention_of(lyrics, 30), lyrics)
    assert [line.text for line in found.lines] == ["one two three", "four five"]
    assert [section.text for section in found.sections] == ["Intro", "Verse 1", "Solo", "Break", "Chorus", "Outro"]
    edges = [edge for section in found.sections for edge in (section.start, section.end)]
    assert edges == sorted(edges)
    assert (edges[0], edges[-1]) == (0.0, pytest.approx(30, abs=SECONDS))
    assert found.sections[1].start == found.lines[0].start


def test_words_beyond_the_reading_limit_have_no_times_and_are_said() -> None:
    lyrics = "\n".join(f"line {n:04d} of many" for n in range(600))
    found = align(attention_of(lyrics, 120, limit=1000), lyrics)
    assert len(found.lines) == 600
    assert not any(line.found for line in found.lines[300:])
    assert any("reads the first 1000" in remark for remark in found.remarks)
    assert len(json.dumps(found.to_json())) < 200_000


def test_half_a_second_under_many_words_gives_what_there_is_room_for() -> None:
    lyrics = "\n".join(["so many words in here"] * 25)
    found = align(attention_of(lyrics, 0.5), lyrics)
    assert all(0 <= line.start <= line.end <= 0.5 for line in found.lines)
    assert any("not found" in remark for remark in found.remarks)


def test_nothing_is_sung_where_the_sound_is_silent() -> None:
    one = known(4)
    silent = np.zeros(len(one.resting), bool)
    silent[len(silent) // 2 :] = True
    found = align(one.attention, one.lyrics, silent)
    assert max(word.end for word in found.words) <= (len(silent) // 2) * SECONDS + 1e-6


def test_of_a_repaint_only_the_region_is_found_anew() -> None:
    one = known(6, 12)
    before = align(one.attention, one.lyrics)
    region = Region(before.lines[4].start - 0.1, before.lines[6].end + 0.1)
    changed = one.lyrics.replace(before.lines[5].text, "qqqq rrrr ssss tttt"[: len(before.lines[5].text)])
    other = dataclasses.replace(one.attention, log=one.attention.log[:, ::-1].copy())
    after = realigned(other, changed, [region], before)
    outside = [n for n in range(12) if n not in (4, 5, 6)]
    assert [after.lines[n] for n in outside] == [before.lines[n] for n in outside], "to the last digit"
    assert all(region.start - SECONDS <= after.lines[n].start <= region.end + SECONDS for n in (4, 5, 6))
    assert [word for word in after.words if word.line in outside] == [
        word for word in before.words if word.line in outside
    ]
    alone = realigned(attention_of("only here", len(one.resting) * SECONDS), "only here", [region], before)
    assert [line.text for line in alone.lines if line.text != "only here"] == [before.lines[n].text for n in outside]


# -- files


@pytest.mark.parametrize("lyrics", [RTL, UNSPACED, "[Verse]\none & <two>\n[Chorus]\n1 --> 2\nthree four"])
def test_files_of_players_give_the_lines_back(lyrics: str) -> None:
    found = align(attention_of(lyrics, 20, step=1), lyrics)
    texts = [line.text for line in found.found]
    for form in (found.lrc(), found.lrc(words=True), found.vtt(), found.srt()):
        back = Alignment.from_file_text(form)
        same = [line.replace("->", "-->") if "--" not in line else line for line in (one.text for one in back.lines)]
        assert same == texts
        assert [line.start for line in back.lines] == pytest.approx([line.start for line in found.found], abs=0.006)
        assert not back.heard
    words = [word.text for line in found.found for word in found.words_of(line)]
    back_words = [word.text for word in Alignment.from_file_text(found.lrc(words=True)).words]
    assert all(one.startswith(word) for one, word in zip(back_words, words, strict=True)), "punctuation behind it aside"
    assert [line for line in without_times(found.lrc()).split("\n") if line] == texts


def test_an_lrc_file_of_elsewhere_is_read() -> None:
    back = Alignment.from_file_text(
        "[ti:Song]\n[offset:500]\n[00:10.50][00:20.50]la la\n[00:15.00]\n[Chorus]\n[01:00.5]end", 70
    )
    assert [(line.text, line.start, line.end) for line in back.lines] == [
        ("la la", 10.0, 14.5), ("la la", 20.0, 60.0), ("end", 60.0, 70),
    ]  # fmt: skip
    with pytest.raises(RecipeError, match="carries a time"):
        Alignment.from_file_text("no times\nat all")


def test_an_alignment_is_plain_data_and_back() -> None:
    found = dataclasses.replace(align(known(2).attention, known(2).lyrics), scores={"coverage": 0.5, "fits": True})
    assert Alignment.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.at(found.lines[0].start) == found.lines[0]


@pytest.mark.parametrize("odd", [
    None, [], {"lines": 3}, {"lines": [["a", 0, 1]]}, {"lines": [["a", "x", 1, 1, 0]]}, {"lines": [[1, 0, 1, 1, 0]]},
    {"lines": [["a", 0, float("nan"), 1, 0]]}, {"nobody": 1}, {"scores": 3}, {"remarks": "x" * 3_000_000}, {"heard": "yes"},
])  # fmt: skip
def test_what_is_no_alignment_is_refused(odd: Any) -> None:
    with pytest.raises(RecipeError):
        Alignment.from_json(odd)


def test_a_plan_says_sections_only_and_that_nobody_listened() -> None:
    found = planned("[Verse]\nla la la\n[Chorus]\nlo", 10.0)
    assert ([section.text for section in found.sections], found.lines, found.heard) == (["Verse", "Chorus"], (), False)
    assert found.sections[-1].end == 10.0
    with pytest.raises(RecipeError, match="no section tags"):
        planned("la la", 10.0)


def test_listening_to_four_minutes_of_600_tokens_holds_less_than_100_mb() -> None:
    small = held(60, 150, 225)  # a fourth of both: the whole is a benchmark's
    assert sum(small.values()) < 100 / 16, small


# -- beside the take


def test_what_was_found_lies_beside_the_take_goes_into_the_trash_with_it_and_comes_back(tmp_path: Any) -> None:
    library, kept = Library(tmp_path), Take(Recipe("a sine"), tone(0.5), np.zeros((2, 8), np.float32))
    library.keep(kept)
    manifest = (tmp_path / f"{kept.id}.json").read_bytes()
    library.annotate(kept.id, "alignment", {"key": 1})
    assert (library.annotation(kept.id, "alignment"), library.ids()) == ({"key": 1}, [kept.id])
    assert (tmp_path / f"{kept.id}.json").read_bytes() == manifest
    assert not library.problems()
    library.bin(kept.id)
    assert library.annotation(kept.id, "alignment") is None
    library.restore(kept.id)
    assert library.annotation(kept.id, "alignment") == {"key": 1}
    (tmp_path / f"{kept.id}.alignment.json").write_text("{damaged")
    assert library.annotation(kept.id, "alignment") is None
    with pytest.raises(RecipeError):
        library.annotate(kept.id, "../marks", {})
    library.close()


def test_player_and_waveform_take_up_the_lines_once_they_were_found(tmp_path: Any) -> None:
    lab = PretendSession(tmp_path, pause=0.0)
    studio: Any = Studio(backend_of(lab), panes=False)
    made = lab.keep(lab.make(Recipe("a sine", lyrics="[verse]\nla la\nlo", seconds=4.0)))
    studio.select(made)
    assert studio.player.track["lines"] == []
    lab.align(made)
    studio.select(made)
    lines = [[0.0, "la la"], [2.0, "lo"], [4.0, ""]]
    assert studio.player.track["lines"] == lines, "an empty one where a rest begins"
    assert studio.picker.track["lines"] == lines[:2]
    lab.close()
