"""The export dialog in a real browser: opened by a take's id, its choices kept, the file downloaded and read back."""

from __future__ import annotations

from typing import Any

import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.exchange import read_file
from tests.browser.conftest import Studio, Window, wait_for

pytestmark = pytest.mark.browser
OPEN = "id => window.dispatchEvent(new CustomEvent('acestep-lab:export', {detail: {id}}))"


def opened(window: Window, studio: Studio, id: str) -> Any:
    """The page with the dialog of a take."""
    page = window.page
    page.goto(studio.url)
    page.locator(".acl-player[data-ready]").wait_for()
    page.locator(".acl-export[data-ready]").wait_for(state="attached")
    page.evaluate(OPEN, id)
    dialog = page.locator(".acl-export dialog[open]")
    dialog.wait_for()
    return dialog


def test_a_take_is_exported_with_bits_level_and_fades_and_the_choices_are_kept(
    window: Window, studio: Studio, tmp_path: Any
) -> None:
    take = studio.session.keep(studio.session.make(Recipe("slow dub", seconds=4.0, seed=7)))
    dialog = opened(window, studio, take.id)
    page = window.page
    dialog.get_by_label("File", exact=True).select_option("wav")
    dialog.get_by_label("Bits", exact=True).select_option("16")
    dialog.get_by_label("Level", exact=True).select_option("peak")
    dialog.get_by_label("Peak in dBFS").fill("-6")
    dialog.get_by_label("Fade out, seconds").fill("1")
    offered = dialog.locator("[data-field]:visible").evaluate_all("nodes => nodes.map((one) => one.dataset.field)")
    assert offered == ["form", "bits", "rate", "level", "fade_in", "fade_out"]
    assert "it is a new take" in dialog.locator(".says").inner_text()
    assert "kB" in dialog.locator(".size").inner_text()
    window.picture("export")
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Export", exact=True).click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "slow dub.wav"
    assert Audio.read(path).peak == pytest.approx(0.501, abs=0.005)
    assert read_file(path).parents == (take.id,)
    wait_for(lambda: "Saved as" in dialog.get_by_role("status").inner_text(), what="the word that it is saved")
    dialog = opened(window, studio, take.id)
    assert dialog.get_by_label("Bits", exact=True).input_value() == "16"
    assert dialog.get_by_label("Peak in dBFS").input_value() == "-6"


def test_a_wrong_value_and_a_take_that_is_gone_are_sentences_in_the_dialog(window: Window, studio: Studio) -> None:
    take = studio.session.keep(studio.session.make(Recipe("slow dub", seconds=4.0, seed=7)))
    dialog = opened(window, studio, take.id)
    dialog.get_by_label("Fade in, seconds").fill("-3")
    dialog.get_by_role("button", name="Export", exact=True).click()
    wait_for(lambda: "0 to 3600" in dialog.get_by_role("alert").inner_text(), what="the sentence on the fade")
    window.page.keyboard.press("Escape")
    window.page.locator(".acl-export dialog[open]").wait_for(state="detached")
    window.page.evaluate(OPEN, "take-0123456789abcdef")
    wait_for(lambda: "take-0123" in dialog.get_by_role("alert").inner_text(), what="the sentence on the take")


def test_on_a_phone_in_chinese_nothing_is_cut_off(browser: Any, studio: Studio) -> None:
    take = studio.session.keep(studio.session.make(Recipe("slow dub", seconds=4.0, seed=7)))
    window = Window(browser, 390, 844)
    try:
        window.page.add_init_script("localStorage.setItem('acestep-lab:language', 'zh')")
        dialog = opened(window, studio, take.id)
        dialog.get_by_label("文件格式").select_option("zip")
        window.picture("export-phone-zh")
        box = dialog.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert dialog.get_by_role("button", name="导出", exact=True).bounding_box()["height"] >= 24
    finally:
        window.close()
