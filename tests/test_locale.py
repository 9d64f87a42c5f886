"""Every word of the page is in one table for each language, and what Python says can be told in all of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import acestep_lab.errors
from acestep_lab.errors import LabError, code_of
from acestep_lab.ui import assets, locale

PACKAGE = Path(acestep_lab.errors.__file__).parent
ERRORS = {
    name for name, kind in vars(acestep_lab.errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
}
ERRORS = {name for name in ERRORS if not name.endswith("Warning")} | {"MissingKnob"}
NOT_ON_THE_PAGE = (
    "train",
    "evaluate",
    "lessons",
    "schemas",
    "cli",
    "diffusion",
    "doctor.py",
    "engines/contract.py",
    "pipeline",
)
"""Rooms whose sentences no page shows."""
OTHERS = [language for language in locale.languages() if language != locale.SOURCE]


def template_of(node: ast.expr) -> str:
    """A text as it stands in the source, with {} for each value."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else "{}"
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template_of(node.left) + template_of(node.right)
    return "{}"


def is_said(template: str) -> bool:
    return bool(re.search(r"[A-Za-z]{2}", template.replace("{}", "")))


def errors_of(tree: ast.AST) -> Iterator[str]:
    """The sentences that errors are raised with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in ERRORS and is_said(template := template_of(node.args[0])):
                yield template


def sources(*under: str) -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(NOT_ON_THE_PAGE) and (not under or name.startswith(under)):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def flat(words: Mapping[str, Any], where: str = "") -> dict[str, str]:
    """Every word by its key; forms of one word (one, other) count as one key."""
    found: dict[str, str] = {}
    for name, value in words.items():
        if isinstance(value, Mapping) and "other" in value:
            found[f"{where}{name}"] = str(value["other"])
        elif isinstance(value, Mapping):
            found |= flat(value, f"{where}{name}.")
        else:
            found[f"{where}{name}"] = value
    return found


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_of_an_error_has_its_translation(language: str) -> None:
    known = locale.sentences(language)
    missing = [f"{name}: {one}" for name, tree in sources() for one in errors_of(tree) if one not in known]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_keeps_every_value_of_its_sentence(language: str) -> None:
    for source, other in locale.sentences(language).items():
        places = re.findall(r"\{(\d*)\}", other)
        wanted = source.count("{}")
        assert len(places) == wanted or {int(place) for place in places if place} == set(range(1, wanted + 1)), source


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_a_word_for_every_key_and_no_other(language: str) -> None:
    english, other = (flat(locale.table(one)["words"]) for one in (locale.SOURCE, language))
    assert sorted(other) == sorted(english)
    for key, text in english.items():
        assert text.strip(), key
        assert set(re.findall(r"\{\w+\}", other[key])) == set(re.findall(r"\{\w+\}", text)), key


def test_a_sentence_with_values_is_told_in_another_language_and_an_unknown_one_stays() -> None:
    assert locale.translate("There is no file 'a.wav'.", "zh") == "没有文件 'a.wav'。"
    assert locale.translate("Nobody ever said this.", "zh") == "Nobody ever said this."
    assert locale.translate("There is no file 'a.wav'.", "en") == "There is no file 'a.wav'."
    assert locale.translate("There is no file 'a.wav'.", "xx") == "There is no file 'a.wav'."


def test_every_key_a_browser_half_asks_for_is_in_the_table() -> None:
    known = flat(locale.table(locale.SOURCE)["words"])
    for path in sorted(assets.folder().glob("*.js")):
        text = path.read_text(encoding="utf-8")
        for key in re.findall(r"""\bt\(\s*["']([a-z_]+\.[A-Za-z0-9_.]+)["']""", text):
            assert key in known, f"{path.name}: {key}"
        sections = set(locale.ALWAYS) | {path.stem, "audio_player"}
        used = {key.split(".")[0] for key in re.findall(r"""\bt\(\s*["'`]([a-z_]+)\.""", text)}
        assert used <= sections, (
            f"{path.name} asks for words of {sorted(used - sections)}, which are not linked into it"
        )


_SEEN = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`')
_COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", re.DOTALL)
_WORDS = re.compile(r"^[A-Z][a-z]+( [a-z]+|[.…:!?]|$)|[a-z]{2,} [a-z]{2,} [a-z]{2,}")
_NO_WORDS = re.compile(r"^(Enter|Escape|Tab|Space|Delete|Backspace|Home|End|Insert|Shift|Control|Alt|Meta|F\d+|Key[A-Z]|Digit\d"
                       r"|Arrow(Left|Right|Up|Down)|Page(Up|Down)|AbortError|Files?|Bokeh|Infinity|NaN|Waveform|[A-Z]+)$")  # fmt: skip
"""Names of keys, events and classes."""


def test_no_words_are_left_in_the_browser_halves() -> None:
    left = []
    for path in sorted(assets.folder().glob("*.js")):
        text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
        text = re.sub(r"(mount|titleOf)\(\s*\"[A-Za-z ]+\"", "(", text)
        for found in _SEEN.finditer(text):
            said = found[1] if found[1] is not None else re.sub(r"\$\{[^}]*\}", "", found[2])
            if _WORDS.search(said) and not _NO_WORDS.match(said) and not re.search(r"[{};]|--|^M\d|px|var\(", said):
                left.append(f"{path.name}: {said[:80]}")
    assert not left, "\n".join(left)


# -- what is shown without being raised --------------------------------------------------------------------------------

NOTEBOOK_ONLY = ("ui/__init__.py", "ui/formatters.py", "ui/run_display.py", "ui/session_card.py", "ui/notebook.py",
                 "ui/controllers/base.py")  # fmt: skip
"""Rooms of the page whose words only a notebook's own output shows, which stays English; and names of classes."""
BESIDE_THE_PAGE = (
    "jobs/progress.py",
    "takes/page.py",
    "takes/verdict.py",
    "engines/contract.py",
    "plan/report",
    "serve/",
)
"""Outside the page: progress bars of a cell, exported pages, reports, answers of the server before there is a page."""
SHOWN_ELSEWHERE = ("jobs/", "audio/", "listen/", "takes/", "engines/", "prompt/", "plan/", "session.py")
"""Rooms whose sentences (remarks, notes, verdicts) reach the page."""
_SHORT = re.compile(r"[A-Z][a-z]+")
_SENTENCE = re.compile(r"(^|[\s}(“])[a-zA-Z]+ .*[a-z)}`'”][.…]$", re.DOTALL)
_MARKUP = re.compile(r"[<>]|^#|^[A-Z][a-z]+[A-Z]\w*$|^\w+\.\w+$|::|--|\n.*\n", re.DOTALL)
NO_WORDS_OF_OURS = {
    "Lego": "a task's name in code", "Extract": "a task's name in code", "Retake": "a task's name in code",
    "Text": "a kind of field in code", "Auto": "a value in code",
    "Text2Music": "a task's name in code", "Adapters": "a component's class", "Gallery": "a component's class",
    "Export": "a component's class", "Player": "a component's class", "Tabs": "a component's class",
    "Topbar": "a component's class", "Pane": "an ending of class names", "Widget": "an ending of class names",
    "Region({}, {})": "code",
    "{} uses names that belong to {}: {}.": "a programmer's mistake",
    "{} does not say how its field {} is read.": "a programmer's mistake",
    "A studio has no {}; its components are {}.": "Python's own, no page asks for it",
    "low quality, muffled, noisy": "an example to type over",
    "All files of the kinds stem and residual at 0 dB add up to the mix.": "written into a zip's manifest",
    "A manifest": "written into a zip",
}  # fmt: skip
"""Strings that look like words and are none that a page shows, with the reason."""


def not_shown(tree: ast.AST) -> set[int]:
    """Docstrings, annotations, log lines, and the parts of an f-string that are no values."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
            skipped |= {id(inner) for part in node.values if isinstance(part, ast.FormattedValue) and part.format_spec
                        for inner in ast.walk(part.format_spec)}  # fmt: skip
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in (
            "debug",
            "info",
            "warning",
            "exception",
            "compile",
        ):
            skipped |= {id(inner) for argument in node.args for inner in ast.walk(argument)}
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            skipped |= {id(inner) for inner in ast.walk(annotation)} if isinstance(annotation, ast.AST) else set()
    return skipped


def strings_of(tree: ast.AST) -> Iterator[str]:
    """Every text of a module that somebody may come to read, with {} for its values."""
    skipped = not_shown(tree)
    for node in ast.walk(tree):
        whole = isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
        if whole and id(node) not in skipped:
            yield re.sub(r"\{\w+(!r)?\}", "{}", template_of(node)).strip()  # type: ignore[arg-type]


def shown_texts() -> Iterator[tuple[str, str]]:
    """What looks like words for people: on the page's own floor any, elsewhere whole sentences."""
    for name, tree in sources("ui/", *SHOWN_ELSEWHERE):
        if name in NOTEBOOK_ONLY or name.startswith(BESIDE_THE_PAGE):
            continue
        for text in strings_of(tree):
            short = name.startswith("ui/") and _SHORT.match(text)
            if is_said(text) and (short or _SENTENCE.search(text)) and not _MARKUP.search(text):
                yield name, text


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_that_python_shows_has_its_translation(language: str) -> None:
    known = locale.sentences(language)
    missing = {f"{name}: {text}" for name, text in shown_texts() if text not in known and text not in NO_WORDS_OF_OURS}
    assert not missing, "\n".join(sorted(missing))


def test_the_extraction_finds_labels_hints_verdicts_banners_and_remarks() -> None:
    found = {text for _, text in shown_texts()}
    assert {
        "Tempo",
        "The scale the song stands in.",
        "Stopped. The steps so far can still be heard and kept.",
        "Nothing differs: all {} samples are the same.",
        "{} is used with shift {}; with {} its steps fall where it did not learn.",
        "{} Only its sound was taken.",
    } <= found


@pytest.mark.parametrize("language", OTHERS)
def test_every_form_of_a_derived_title_is_told_and_its_words_stay(language: str) -> None:
    for form in ("Cover of {title}", "Drums of {title}", "Bass added to {title} 1–2 s", "{title} with drums and bass",
                 "{title}, repainted 8–12 s", "{title}, varied 0.3", "{title}, extended", "{title}, step 6/16"):  # fmt: skip
        told = locale.translate(form, language)
        assert told != form
        assert told.count("{title}") == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "The disk refused: no space left on device. Nothing already kept was lost. The take stays in memory while this "
            "session runs; press Save again once there is room.",
            "磁盘拒绝写入：磁盘空间不足。已保存的内容没有丢失。作品在会话运行期间留在内存中；有空间后请按“再次保存”。",
        ),
        (
            "turbo: 2.1 GB more; the others stay loaded beside it; batch 2.",
            "turbo：还需 2.1 GB; 其他模型保持载入; 每批 2 个",
        ),
        (
            "Tempo lies between 30 and 300 with this checkpoint, not at 'so'.",
            "在当前模型中，速度在 30 和 300 之间，不能是 'so'。",
        ),
    ],
)
def test_sentences_and_words_of_ours_inside_a_sentence_are_told_too(said: str, told: str) -> None:
    assert locale.translate(said, "zh") == told


def test_every_kind_of_error_has_a_code_and_each_language_a_word_for_it() -> None:
    kinds = [
        kind for kind in vars(acestep_lab.errors).values() if isinstance(kind, type) and issubclass(kind, LabError)
    ]
    codes = [code_of(kind("why")) for kind in kinds] + [code_of(OSError(28, "full")), code_of(ZeroDivisionError())]
    assert len(set(codes)) == len(codes)
    for language in locale.languages():
        assert sorted(locale.table(language)["words"]["errors"]) == sorted(codes)
