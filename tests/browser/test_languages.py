"""The page in the reader's language: the browser's at first, the chosen one after that, and one written from right to left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Complete
from acestep_lab.ui import assets, locale
from tests.browser.conftest import Studio, Window, wait_for
from tests.browser.test_studio import open_page, until

pytestmark = pytest.mark.browser

ROOTS = """() => {
  const found = [];
  const beyond = one => {
    const box = one.getBoundingClientRect();
    return one.checkVisibility() && box.width && (box.left < -1 || box.right > innerWidth + 1);
  };
  const walk = root => { for (const node of root.querySelectorAll("*")) {
    if (node.matches("section.acl")) found.push({
      name: node.className, dir: getComputedStyle(node).direction, lang: node.lang, shown: node.offsetWidth > 0,
      text: node.innerText,
      beyond: [...node.querySelectorAll("*")].filter(beyond).map(one => one.className || one.tagName).slice(0, 5),
    });
    if (node.shadowRoot) walk(node.shadowRoot);
  } };
  walk(document);
  return found;
}"""
WIDER = "() => document.documentElement.scrollWidth - innerWidth"


def roots(page: Any, language: str) -> list[dict[str, Any]]:
    """Every component of the page, once all of them speak a language."""

    def all_speak() -> Any:
        found = page.evaluate(ROOTS)
        return found if found and all(one["lang"] == language for one in found) else None

    return list(wait_for(all_speak, 20, f"every component in {language}"))


def text_of(page: Any) -> str:
    return "\n".join(one["text"] for one in page.evaluate(ROOTS))


def test_a_chinese_browser_sees_chinese_at_once_and_english_stays_once_chosen(browser: Any, studio: Studio) -> None:
    window = Window(browser, locale="zh-CN")
    page = open_page(window, studio)
    roots(page, "zh")
    wait_for(lambda: "速度" in text_of(page), 20, "what Python says, in Chinese")
    assert page.evaluate("() => document.documentElement.lang") == "zh"
    page.locator(".acl-compose textarea").fill("slow dub")
    page.get_by_role("button", name="生成", exact=True).first.click()
    until(page, ".acl-waveform", "drawn", lambda s: s.startswith("take-"))
    first = str(page.locator(".acl-waveform").first.get_attribute("data-drawn"))
    takes = studio.session.start(Recipe("slow dub", seed=3, task=Complete(first, ("drums", "bass")))).takes()
    studio.session.library.keep(takes[0])
    page.locator(".acl-gallery input[type=search]").fill("slow")
    wait_for(
        lambda: "slow dub（配鼓和贝斯）" in text_of(page), 20, "a derived title in Chinese, its words as they were"
    )
    window.picture("studio-zh")
    page.set_viewport_size({"width": 390, "height": 800})
    window.picture("studio-zh-390")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("select.language").select_option("en")
    roots(page, "en")
    assert "Tempo" in text_of(page)
    assert "速度" not in text_of(page)
    page.reload()
    page.wait_for_selector(".acl-gallery[data-ready]", state="attached")
    roots(page, "en")
    window.close()
    assert window.errors == []


@pytest.fixture
def third_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One more file beside the others, as long as German and written from right to left."""
    for language in locale.languages():
        (tmp_path / f"{language}.json").write_text(json.dumps(locale.table(language)), encoding="utf-8")
    table = json.loads(json.dumps(locale.table("en")))
    table |= {"language": "عربي", "direction": "rtl", "words": longer(table["words"]), "sentences": {"Tempo": "سرعة"}}
    (tmp_path / "ar.json").write_text(json.dumps(table), encoding="utf-8")
    monkeypatch.setattr(locale, "_FOLDER", tmp_path)
    forget()
    yield "ar"
    monkeypatch.undo()
    forget()


def longer(words: Any) -> Any:
    if isinstance(words, dict):
        return {name: longer(one) for name, one in words.items()}
    return f"{words} لغة" if len(words) > 3 else words


def forget() -> None:
    for kept in (locale.languages, locale.table, locale.words, locale._patterns, assets.module):
        kept.cache_clear()


def test_a_third_file_alone_is_a_third_language_from_right_to_left_in_which_nothing_overflows(
    browser: Any, third_language: str, studio: Studio
) -> None:
    window = Window(browser, locale="ar-EG")
    page = open_page(window, studio)
    offered = page.locator("select.language option").evaluate_all("all => all.map(one => one.value)")
    assert offered == ["en", "ar", "zh"]
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(200)
        shown = [one for one in roots(page, third_language) if one["shown"]]
        assert {one["dir"] for one in shown} == {"rtl"}
        assert page.evaluate(WIDER) <= 0
        assert {one["name"]: one["beyond"] for one in shown if one["beyond"]} == {}
        window.picture(f"studio-rtl-{width}")
    wait_for(lambda: "سرعة" in text_of(page), 20, "a sentence of the third file")
    window.close()
    assert window.errors == []
