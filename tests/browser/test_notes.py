"""The lane of chords and notes under the waveform, in a real browser."""

from __future__ import annotations

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.prompt.recipe import Recipe
from tests.benchmarks.notes import Known
from tests.browser.conftest import Studio, Window
from tests.browser.test_studio import open_page, until

pytestmark = pytest.mark.browser
WAVE = ".acl-waveform"


def test_notes_and_chords_are_shown_once_asked_for_and_bars_can_be_snapped_to(window: Window, studio: Studio) -> None:
    song = Known.made(70_003, 10.0)
    made = studio.session.make(Recipe("a known song", seconds=10.0, seed=1))
    sound = Audio(np.repeat(song.mix.samples, made.audio.channels, axis=0), song.mix.rate)
    take = studio.session.keep(made.replace(audio=sound, latent=made.latent[:1]))
    page = open_page(window, studio)
    until(page, WAVE, "drawn", lambda s: s.startswith("take-"))
    page.get_by_role("button", name="Show notes").click()
    chords, *_, bars = until(page, WAVE, "notes", bool).split()
    lane = page.locator(f"{WAVE} .note-lane")
    assert (lane.locator(".chord").count(), int(bars) > 2) == (int(chords), True)
    first = lane.locator(".chord").nth(1)
    assert first.get_attribute("aria-label").split()[1] == "from"
    assert lane.locator("canvas").get_attribute("aria-label").startswith("Piano roll. Melody:")
    first.click()
    until(page, WAVE, "head", lambda s: float(s) > 0)
    page.locator(f"{WAVE} select[aria-label='Snap to']").select_option("bars")
    until(page, WAVE, "grid", lambda s: s == bars)
    lane.scroll_into_view_if_needed()
    window.picture("note_lane")
    assert studio.session.library.annotation(take.id, "notes") is not None
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as MIDI").click()
    assert saved.value.suggested_filename.endswith(".mid")
