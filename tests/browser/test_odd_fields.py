"""The browser halves by themselves, with fields as no version of Python would send them: each is drawn all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from acestep_lab import ui
from acestep_lab.ui import assets
from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_studio import compose, errors_shown, field, open_page, until

pytestmark = pytest.mark.browser
CORES = sorted({name.removesuffix("Widget") for name in ui.__all__ if name.endswith("Widget")})
ODD: tuple[Any, ...] = (
    None, True, 5, -1, "", "x", "<img src=x onerror=alert(1)>", [], {}, [None], [[]], [{}], [5], ["x"], [{"id": None, "name": 5, "title": {}, "parts": 5, "options": "x", "fields": [{}]}], {"a": None},
    {"x": 5, "cells": 5, "tasks": [{}], "values": 5, "locked": 5, "id": 5, "seconds": "x", "lines": [5], "metadata": [{"name": "bpm"}], "song": [{"kind": "choice"}], "sampling": 5},
)  # fmt: skip

DRAWN = """async ([text, odd, kinds]) => {
  const module = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const wrong = [];
  for (const value of odd) {
    let shown = value;
    const heard = [], el = document.createElement("div");
    document.body.append(el);
    const model = { get: () => shown, on: (event, cb) => heard.push([event, cb]), off: () => {}, send: () => {} };
    const step = (what, work) => { try { work(); } catch (error) { wrong.push(`${what} of ${JSON.stringify(value)}: ${error.message}`); } };
    let stop = null;
    step("render", () => { stop = module.default.render({ model, el }); });
    for (const next of odd) { shown = next; for (const [event, cb] of heard) if (event.startsWith("change:")) step(`${event} to ${JSON.stringify(next)}`, () => cb()); }
    for (const kind of kinds) for (const body of [{}, { id: null, at: null, text: null, field: "constructor", gains: null, lane: "no", item: null, each: null }])
      for (const [event, cb] of heard) if (event === "msg:custom") step(`message ${kind}`, () => cb({ ...body, kind }, []));
    if (el.querySelector("img[onerror]")) wrong.push("markup was made of text");
    step("removal", () => stop?.());
    el.remove();
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  return [...new Set(wrong)];
}"""


@pytest.mark.parametrize("name", CORES)
def test_odd_fields_and_messages_leave_a_component_standing(name: str, window: Window) -> None:
    core = next(c for c in getattr(ui, f"{name}Widget").__mro__ if c.__name__ == name)
    text = assets.module(core.module, *core.includes)
    kinds = [
        "error",
        "peaks",
        "bytes",
        "codes",
        "grid",
        "picture",
        "next",
        "done",
        "file",
        "heartbeat",
        "compare",
        "sweep_code",
    ]
    wrong = window.page.evaluate(DRAWN, json.loads(json.dumps([text, list(ODD), kinds])))
    assert wrong == []


def test_a_tempo_that_is_no_number_is_answered_beside_its_box_and_the_editor_goes_on(
    window: Window, studio: Studio
) -> None:
    page = open_page(window, studio)
    page.locator(".acl-compose textarea").fill("slow dub techno")
    for typed in ("²", "Ⅷ", "1e400", "-0", "120,5"):
        field(page, "Tempo").fill(typed)
        wait_for(
            lambda typed=typed: field(page, "Tempo").get_attribute("aria-invalid") == "true",
            what=f"an answer to {typed}",
        )
        box = page.locator(".acl-compose .box:has(label:has-text('Tempo'))")
        assert box.locator(".error").inner_text().startswith(("Tempo is a", "The tempo", "0 beats", "A tempo")), typed
        if typed == "²":
            window.picture("tempo")
        field(page, "Tempo").fill("")
        wait_for(lambda: field(page, "Tempo").get_attribute("aria-invalid") == "false", what="Auto")
    field(page, "Tempo").fill("１２０")
    compose(page, "slow dub techno, tape hiss")
    until(page, ".acl-gallery", "cards", "1")
    assert errors_shown(page) == []
