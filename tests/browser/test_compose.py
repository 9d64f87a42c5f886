"""The form in a real browser: everything within reach, the draft that comes back, errors that leave with their cause."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_accessibility import findings
from tests.browser.test_studio import compose, errors_shown, field, open_page, until

pytestmark = pytest.mark.browser
TRACE = "() => JSON.stringify(Object.entries(localStorage).filter(([key]) => key.startsWith('acestep-lab:draft')))"

ON_TOP = """node => {
  const {x, y, width, height} = node.getBoundingClientRect();
  return node.getRootNode().elementFromPoint(x + width / 2, y + height / 2) === node;
}"""


def form(page: Any) -> Any:
    return page.locator(".acl-compose")


def open_more(page: Any) -> Any:
    form(page).locator("details.more > summary").click()
    return form(page).locator(".folded")


def test_more_holds_every_field_with_its_sentence_and_three_values_make_a_row(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    assert form(page).locator(".folded .box").count() == 0, "nothing is built before it is asked for"
    page.locator(".acl-compose textarea").first.fill("tried")
    field(page, "Length").fill("2")
    more = open_more(page)
    groups = more.locator(".groups button")
    assert groups.all_inner_texts() == ["Sampling", "Planning", "Guidance", "Sound", "Words"]
    boxes = more.locator(".box")
    assert boxes.count() >= 30
    assert all(text.strip() for text in boxes.locator(".hint").all_inner_texts())
    assert boxes.locator("button.try").count() == boxes.count()
    assert findings(page) == []
    groups.nth(1).click()
    more.locator("[data-field='planning.temperature'] button.try").click()
    until(page, ".acl-gallery", "cards", "3")
    assert [recipe.planning.temperature for recipe in studio.session.started] == [0.6, 0.85, 1.1]
    assert len({recipe.seed for recipe in studio.session.started}) == 1


def test_a_bad_field_behind_more_is_unfolded_focused_and_forgiven(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    page.locator(".acl-compose textarea").first.fill("dub")
    open_more(page).locator(".groups button", has_text="Sound").click()
    form(page).locator("[data-field='fade_in'] input").fill("soon")
    box = form(page).locator("[data-field='fade_in']")
    box.locator(".error", has_text="not 'soon'").wait_for()
    form(page).locator(".groups button", has_text="Words").click()
    form(page).locator("details.more > summary").click()
    form(page).get_by_text("1 to mend").wait_for()
    page.get_by_role("button", name="Make it", exact=True).click()
    wait_for(lambda: box.locator("input").is_visible(), what="the field in view")
    assert box.locator("input").evaluate("node => node.getRootNode().activeElement === node")
    wait_for(lambda: box.locator("input").evaluate(ON_TOP), what="the field beside the row of buttons, not under it")
    assert studio.session.started == []
    box.locator("input").fill("")
    wait_for(lambda: errors_shown(page) == [], what="the error to leave with its cause")


def test_a_click_makes_as_many_takes_as_chosen_and_the_draft_survives_a_reload(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    form(page).locator("[data-count='4']").click()
    page.locator(".acl-lyrics textarea").fill("[Verse]\nla la")
    compose(page, "kept words", "2", "41")
    until(page, ".acl-gallery", "cards", "4")
    assert [recipe.seed for recipe in studio.session.started] == [41, 42, 43, 44]
    wait_for(lambda: "la la" in page.evaluate(TRACE), what="the draft to be kept")
    page.reload()
    form(page).get_by_text("Your words from last time are back.").wait_for()
    wait_for(lambda: form(page).locator("textarea").first.input_value() == "kept words", what="the caption")
    assert page.locator(".acl-lyrics textarea").input_value() == "[Verse]\nla la"
    assert form(page).locator("[data-count='4']").get_attribute("aria-pressed") == "true"
    form(page).locator(".restored").get_by_role("button", name="Undo").click()
    wait_for(lambda: form(page).locator("textarea").first.input_value() == "", what="an empty form again")
    wait_for(lambda: page.locator(".acl-lyrics textarea").input_value() == "", what="no lyrics again")


def test_the_folded_form_fits_beside_the_music(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    box = form(page).bounding_box()
    assert box["height"] <= 740, box
    assert form(page).evaluate("node => node.scrollWidth <= node.clientWidth")
