"""What differs between two takes, in words first, in figures, as a page and as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.comparison import Comparisons, SungLines, TakeComparison
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take
from acestep_lab.ui.comparison_view import ComparisonViewWidget, comparison_table

HEARD = Analysis(
    bpm=100.0, pulse=0.8, keyscale="C major", key_confidence=0.3, timesignature="4", meter_confidence=0.9, loudness=-14.0,
    instruments=(("bass", 0.9), ("drums", 0.2)), tempo_probability=0.9, key_probability=0.9, meter_probability=0.9, strangeness=0.0,
)  # fmt: skip


def take(hertz: float = 220.0, gain: float = 0.2, seconds: float = 2.0, **words: object) -> Take:
    time = np.arange(round(24_000 * seconds)) / 24_000
    sound = Audio((gain * np.sin(2 * np.pi * hertz * time))[None].astype(np.float32), 24_000)
    recipe = Recipe("dub", seconds=seconds, seed=1).replace(**words)
    return Take(recipe, sound, np.zeros((2, 4), np.float32))


def compared(one: Take, other: Take, left: Analysis | None = HEARD, right: Analysis | None = HEARD) -> TakeComparison:
    return TakeComparison.between(one, other, (left, right))


def words_of(found: TakeComparison) -> dict[str, str]:
    return {row.what: row.words for row in found.rows}


def test_the_same_take_differs_in_nothing() -> None:
    words = words_of(compared(take(), take()))
    assert words["sound"] == "same"
    assert {words[name] for name in ("tempo", "key", "meter", "instruments", "sections")} == {"the same"}
    assert (words["loudness"], words["spectrum"]) == ("as loud", "hardly changed")


@pytest.mark.parametrize(
    ("changed", "what", "said"),
    [
        ({"bpm": 112.0}, "tempo", "faster by 12 bpm"),
        ({"bpm": 50.0}, "tempo", "slower by 50 bpm (or the same, counted twice as fast)"),
        ({"tempo_probability": 0.3}, "tempo", "unsure"),
        ({"keyscale": "A minor"}, "key", "its relative"),
        ({"keyscale": "C minor"}, "key", "its parallel"),
        ({"keyscale": "F major"}, "key", "a fourth up"),
        ({"keyscale": "B major"}, "key", "a semitone down"),
        ({"timesignature": "3"}, "meter", "another meter"),
        ({"instruments": (("bass", 0.1), ("drums", 0.9))}, "instruments", "adds drums; lacks bass"),
    ],
)
def test_what_is_heard_differently_is_said_in_words(changed: dict[str, object], what: str, said: str) -> None:
    assert words_of(compared(take(), take(), right=replace(HEARD, **changed)))[what] == said


def test_louder_and_brighter_are_told_from_the_sound_itself() -> None:
    found = compared(take(gain=0.05), take(hertz=5000.0, gain=0.2))
    assert words_of(found)["loudness"].startswith("louder by")
    assert found.spectrogram.shape == found.levels[0].shape
    assert found.spectrogram.max() > 20 > -20 > found.spectrogram.min()


def test_lyrics_are_compared_line_by_line() -> None:
    assert SungLines.of("a\n\nb\nc", " a \nx\nc") == (("b",), ("x",), 2)
    found = compared(take(lyrics="one\ntwo"), take(lyrics="one\nthree"))
    assert words_of(found)["lyrics"] == "1 new lines, 1 gone, 1 kept"
    assert "asked: lyrics" not in words_of(found)


def test_a_take_that_is_too_short_is_said_and_the_rest_is_compared() -> None:
    words = words_of(compared(take(seconds=0.5), take(), left=None))
    assert words["tempo, key, meter"] == "too short to measure"
    assert words["asked: seconds"] == "differs"


def test_it_is_a_page_a_table_and_a_widget_that_escape_what_titles_say(tmp_path: Path) -> None:
    found = compared(take(), take(caption="<script>alert(1)</script>"))
    page = found.export(tmp_path / "differences.html").read_text(encoding="utf-8")
    assert "<script" not in page + comparison_table(found)
    assert page.count("data:image/png;base64,") == 1
    view = ComparisonViewWidget(found)
    assert [row[0] for row in view.rows] == [row.what for row in found.rows]
    with pytest.raises(RecipeError, match=r"\.html page"):
        found.export(tmp_path / "differences.txt")


def test_words_come_before_figures_in_plain_text() -> None:
    line = next(
        line for line in str(compared(take(), take(), right=replace(HEARD, bpm=112.0))).splitlines() if "tempo" in line
    )
    assert line.split("  ")[-1] == "faster by 12 bpm (100 bpm → 112 bpm)"


def test_several_takes_are_each_held_against_the_first() -> None:
    found = Comparisons(compared(take(), other) for other in (take(gain=0.1), take(hertz=330.0)))
    assert str(found).count("sound") == len(found) == 2


# -- what is unsure


def test_noise_and_silence_have_no_tempo_or_key_that_is_sure() -> None:
    from acestep_lab.listen.analysis import analyze

    noise = np.random.default_rng(1).standard_normal((1, 72_000)).astype(np.float32)
    for samples in (noise * np.float32(0.1), np.zeros((1, 72_000), np.float32)):
        found = analyze(Audio(samples, 24_000))
        assert {"tempo", "key"} <= set(found.unsure)
        assert "(unsure)" in str(found)


def test_an_analysis_of_an_earlier_machine_calls_nothing_unsure() -> None:
    old = replace(HEARD, tempo_probability=None, key_probability=None, meter_probability=None, strangeness=None)
    assert old.unsure == ()


def test_stranger_sounds_are_never_surer() -> None:
    from acestep_lab.listen.calibration import MEASURES, shipped

    trust = shipped()
    for measure in MEASURES:
        said = [trust.probability(measure, 0.4, strange) for strange in (0.0, 1.0, 2.0, 4.0)]
        assert all(then <= before or then <= 0.5 for before, then in zip(said, said[1:], strict=False))
    assert abs(trust.instrument(0.95, 3.0) - 0.5) < abs(trust.instrument(0.95, 0.0) - 0.5)
