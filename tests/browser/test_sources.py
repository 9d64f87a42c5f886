"""Where a song comes from, in a real browser: described in a line, thrown by the dice, dropped anywhere on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Studio, Window, wait_for
from tests.pretend import tone

pytestmark = pytest.mark.browser
PARTS = ("describe", "compose", "lyrics", "adapters", "bring-in-a-sound", "checkpoint")

DROP = """([name, bytes, words]) => {
  const data = new DataTransfer();
  if (words) data.setData("text/plain", words);
  else data.items.add(new File([new Uint8Array(bytes)], name, { type: "audio/wav" }));
  const put = (kind, to) =>
    to.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, composed: true, cancelable: true }));
  const to = document.body;
  put("dragover", to);
  const covered = Boolean(document.querySelector(".acl-drop-overlay"));
  put("drop", to);
  return [covered, Boolean(document.querySelector(".acl-drop-overlay"))];
}"""


def open_page(window: Window, studio: Studio) -> Any:
    """Open the studio and wait until the parts meant here are drawn."""
    window.page.goto(studio.url)
    for part in PARTS:
        window.page.locator(f".acl-{part}[data-ready]").first.wait_for(state="attached")
    return window.page


def test_a_line_is_described_and_used_and_the_strip_is_low_when_folded(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    heights = {part: page.locator(f".acl-{part}").bounding_box()["height"] for part in PARTS}
    assert heights["describe"] <= 44
    assert heights["adapters"] <= 44
    assert heights["bring-in-a-sound"] <= 56
    assert heights["checkpoint"] <= 34
    page.locator(".acl-describe summary").click()
    page.locator(".acl-describe .line").fill("a sad song about rain")
    page.locator(".acl-describe .line").press("Enter")
    page.locator(".acl-describe .use").click()
    wait_for(lambda: page.locator(".acl-compose textarea").first.input_value() == "a sad song about rain, sketched")
    page.locator(".acl-describe .undo").click()
    wait_for(lambda: page.locator(".acl-compose textarea").first.input_value() == "")
    window.picture("sources_described")


def test_files_dropped_anywhere_come_in_and_words_stay_words(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    assert page.evaluate(DROP, ["", [], "only words"]) == [False, False]
    sound = list(tone(2.0).encoded())
    assert page.evaluate(DROP, ["my_guitar_idea.wav", sound, ""]) == [True, False]
    row = page.locator(".acl-bring-in-a-sound li[data-sound]")
    row.wait_for()
    assert "my_guitar_idea.wav" in row.inner_text()
    assert page.evaluate(DROP, ["notes.txt", [1, 2], ""]) == [True, False]
    refused = page.locator(".acl-bring-in-a-sound .refused li")
    refused.wait_for()
    assert "notes.txt" in refused.inner_text()
    page.reload()
    page.locator(".acl-bring-in-a-sound li[data-sound]").wait_for()


def test_several_files_are_brought_in_and_a_part_of_one_is_kept(window: Window, studio: Studio, tmp_path: Path) -> None:
    page = open_page(window, studio)
    files = [tmp_path / "idea.wav", tmp_path / "hum.wav"]
    for file, seconds in zip(files, (6.0, 3.0), strict=True):
        tone(seconds).write(file)
    page.locator(".acl-bring-in-a-sound input[type=file]").set_input_files([str(file) for file in files])
    rows = page.locator(".acl-bring-in-a-sound li[data-sound]")
    wait_for(lambda: rows.count() == 2, what="two sounds")
    page.get_by_role("button", name="Trim idea.wav").click()
    page.get_by_label("End in seconds").fill("2")
    page.get_by_label("End in seconds").press("Tab")
    page.get_by_role("button", name="Keep this part").click()
    wait_for(lambda: rows.count() == 3, what="the part")
    assert "idea.wav 0:00–0:02" in rows.first.inner_text()
    window.picture("sources_trimmed")


def test_an_adapter_is_added_with_its_slider(window: Window, studio: Studio, tmp_path: Path) -> None:
    page = open_page(window, studio)
    (tmp_path / "growl.safetensors").write_bytes(b"a pretended adapter")
    page.locator(".acl-adapters summary").click()
    page.locator(".acl-adapters .place").fill(str(tmp_path / "not.safetensors"))
    page.locator(".acl-adapters .add").click()
    wait_for(lambda: "no adapter" in page.locator(".acl-adapters .error").inner_text())
    page.locator(".acl-adapters .place").fill(str(tmp_path / "growl.safetensors"))
    page.locator(".acl-adapters .add").click()
    wait_for(lambda: page.locator(".acl-adapters li[data-adapter=growl]").count() == 1)
    page.get_by_label("Strength of growl as a number").fill("-1,5")
    page.get_by_label("Strength of growl as a number").press("Tab")
    wait_for(lambda: studio.session.adapters and studio.session.adapters[0][2] == -1.5)
    page.get_by_label("growl on", exact=True).uncheck()
    wait_for(lambda: studio.session.adapters == ())
