"""Peaks and differences are the samples' own."""

from __future__ import annotations

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.serve.sound_urls import SoundUrls, byte_range
from acestep_lab.ui.difference import Difference
from acestep_lab.ui.peaks import Peaks
from tests.pretend import tone


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (2, samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("start", "end", "pixels"), [(0, 10, 300), (0, 10, 3000), (2.5, 2.6, 100), (9.9, 10, 50), (0, 0.001, 20)]
)
def test_every_view_spans_what_was_asked_and_hides_no_peak(start: float, end: float, pixels: int) -> None:
    samples, rate = noise(80_000), 8000
    peaks = Peaks(samples, rate)
    seen = peaks.view(start, end, pixels)
    assert seen.start <= start + 1e-9
    assert seen.end >= min(end, 10) - 1 / rate
    part = samples[:, round(start * rate) : round(end * rate)]
    assert seen.pairs[1::2].max() >= np.floor(part.max() * 127)
    assert seen.pairs[::2].min() <= np.ceil(part.min() * 127)
    assert len(seen.pairs) // 2 <= max(pixels, 1)


def test_a_click_of_one_sample_is_seen_from_afar() -> None:
    samples = np.zeros((1, 2_000_000), np.float32)
    samples[0, 1_234_567] = 1.0
    seen = Peaks(samples, 48_000).view(0, 2_000_000 / 48_000, 500)
    at = int(seen.pairs[1::2].argmax())
    assert seen.pairs.max() == 127
    assert abs(at / 500 - 1_234_567 / 2_000_000) < 0.01


def test_silence_and_samples_that_are_no_numbers_do_not_break_it() -> None:
    assert Peaks(np.zeros((2, 10), np.float32), 8000).view(0, 1, 100).pairs.max() == 0
    assert Peaks(np.full((1, 100), np.nan, np.float32), 8000).view(0, 1, 10).pairs.max() == 0
    assert len(Peaks(np.zeros((2, 0), np.float32), 8000).levels) == 0


def test_the_difference_names_what_changed_and_counts_what_did_not() -> None:
    before = tone(10.0)
    samples = before.samples.copy()
    samples[:, 16_000:24_000] *= 0.5
    found = Difference(before, Audio(samples, before.rate))
    assert [(round(r.start, 1), round(r.end, 1)) for r in found.changed] == [(2.0, 3.0)]
    assert "Changed only within 2.00–3.00 s" in found.sentence()
    lane = found.peaks.view(0, 10, 100).pairs[1::2]
    assert lane[:19].max() == 0
    assert lane[31:].max() == 0
    assert lane[22:28].min() > 0


def test_two_equal_sounds_differ_nowhere() -> None:
    assert Difference(tone(2.0), tone(2.0)).changed == []
    assert Difference(tone(2.0), tone(2.0)).sentence().startswith("Nothing differs: all 16,000 samples")


@pytest.mark.parametrize(
    ("header", "span"),
    [("", (0, 99)), ("bytes=0-", (0, 99)), ("bytes=10-19", (10, 19)), ("bytes=90-500", (90, 99)), ("bytes=-5", (95, 99)), ("bytes=100-", None),
     ("bytes=5-4", None), ("bytes=-0", None), ("bytes=a-b", (0, 99)), ("items=1-2", (0, 99)), ("bytes=0-1,5-6", (0, 99))],
)  # fmt: skip
def test_a_range_is_read_as_the_standard_says(header: str, span: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == span


def test_a_sound_has_one_name_that_says_nothing_of_it() -> None:
    shelf = SoundUrls()
    url = shelf.url(tone(1.0))
    name = url.removeprefix("takes/").removesuffix(".wav")
    assert shelf.url(tone(1.0)) == url
    assert len(name) == 32
    assert shelf.open(name) == tone(1.0)
    assert shelf.open("nothing") is None
    assert shelf.url(tone(1.0, seed=2)) != url
