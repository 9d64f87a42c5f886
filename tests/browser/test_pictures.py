"""The pictures of a run, the plan and the queue, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_studio import compose, open_page, state_of, until

pytestmark = pytest.mark.browser


def tall(page: Any, selector: str) -> float:
    return float(page.locator(selector).bounding_box()["height"])


def release(studio: Studio, steps: int) -> None:
    for _ in range(steps):
        studio.gate.release()


def test_a_run_is_watched_as_sound_then_is_one_line_that_opens_by_hand(window: Window, gated: Studio) -> None:
    page = open_page(window, gated)
    compose(page, "tape loops in the rain")
    release(gated, 2)
    until(page, ".acl-watch", "latest", "1")
    page.wait_for_timeout(300)
    release(gated, 1)
    until(page, ".acl-watch", "shown", lambda shown: shown.startswith("sound:"))
    window.picture("pictures-middle")
    watch = page.locator(".acl-watch")
    watch.get_by_role("button", name="Change").click()
    until(page, ".acl-watch", "shown", lambda shown: shown.startswith("change:"))
    watch.get_by_text("Step 3 of 6:").first.wait_for()
    window.picture("pictures-change")
    page.get_by_label("Step", exact=True).fill("1")
    watch.get_by_text("Step 2 of 6:").first.wait_for()
    watch.get_by_role("button", name="Latent").click()
    until(page, ".acl-watch", "shown", "latent:1")
    watch.get_by_role("button", name="Sound").click()
    until(page, ".acl-watch", "shown", "sound:1")
    release(gated, 20)
    watch.get_by_text("Watched 6 steps").wait_for()
    assert tall(page, ".acl-watch") <= 36
    window.picture("pictures-folded")
    watch.get_by_role("button", name="Show").click()
    page.get_by_label("Step", exact=True).fill("6")
    watch.get_by_text("The finished take").first.wait_for()
    window.picture("pictures-take")


def test_one_run_is_one_line_and_what_is_done_can_be_sent_away(window: Window, gated: Studio) -> None:
    page = open_page(window, gated)
    compose(page, "the first of three")
    page.locator(".acl-runs li[data-state=rendering]").wait_for()
    assert tall(page, ".acl-runs") <= 44
    for seed in ("8", "9"):
        compose(page, f"and another, {seed}", seed=seed)
        page.locator(".acl-runs li", has_text=f"and another, {seed}").wait_for()
    window.picture("pictures-queue")
    release(gated, 60)
    page.get_by_text("and 2 more").wait_for()
    assert tall(page, ".acl-runs") <= 44
    window.picture("pictures-queue-done")
    page.get_by_role("button", name="Dismiss all finished runs").click()
    page.locator(".acl-runs").wait_for(state="hidden")


def test_a_plan_is_mended_where_it_was_typed_and_goes_with_the_next_song(window: Window, studio: Studio) -> None:
    page = open_page(window, studio)
    page.locator(".acl-compose textarea").fill("plan me")
    page.get_by_role("button", name="Plan first").click()
    plan = page.locator(".acl-plan")
    tempo = plan.get_by_label("Tempo", exact=True)
    tempo.fill("900")
    tempo.press("Tab")
    plan.locator(".box", has_text="Tempo").locator(".error", has_text="900").wait_for()
    assert tempo.input_value() == "900"
    window.picture("pictures-plan-mend")
    tempo.fill("96")
    tempo.press("Tab")
    wait_for(lambda: not any(plan.locator(".error").all_inner_texts()), what="no error")
    plan.get_by_role("button", name="Make it with this plan").click()
    until(page, ".acl-gallery", "cards", "1")
    compose(page, "another song")
    until(page, ".acl-gallery", "cards", "2")
    plan.wait_for(state="hidden")


def test_a_token_model_shows_calmly_how_far_it_is(browser: Any, gated: Studio) -> None:
    gated.session.use("pretend-tokens")
    phone = Window(browser, width=390, height=844, dark=True)
    page = open_page(phone, gated)
    compose(page, "token by token")
    page.set_default_timeout(12_000)
    for step in range(3):  # each is seen before the next is let go: the panel turns to a run that has begun
        release(gated, 1)
        until(page, ".acl-watch", "latest", str(step), 12)
    page.get_by_role("tab", name="Listen").click()
    page.get_by_text("1.5 s of at most 6.0 s written").wait_for()
    assert not page.get_by_role("button", name="Keep this step").is_visible()
    phone.picture("pictures-tokens-390-dark")
    release(gated, 60)
    until(page, ".acl-gallery", "cards", "1")
    assert state_of(page, ".acl-watch", "pictures") == "0"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    phone.close()
