"""What a page may send and what leaves for a page: every message is answered, and no text becomes code or markup."""

from __future__ import annotations

import ast
import datetime
import html.parser
import json
import math
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acestep_lab import ui
from acestep_lab.errors import LabError, RecipeError
from acestep_lab.evaluate.report import Metric, Report
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.literal import comment, literal
from acestep_lab.prompt.recipe import Planning, Recipe
from acestep_lab.prompt.sampling import FlowSampling
from acestep_lab.prompt.tasks import Complete, FlowEdit, Region, Repaint
from acestep_lab.takes import page as report
from acestep_lab.takes.take import Take
from acestep_lab.ui import assets
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.draft import Draft, value_in
from acestep_lab.ui.formatters import sound_bundle
from acestep_lab.ui.forms import PLAIN_FIELDS, SAMPLING, Form
from acestep_lab.ui.gallery import GalleryWidget
from acestep_lab.ui.lyrics_editor import LyricsEditorWidget
from acestep_lab.ui.messages import Name, RequestSchema, typed
from acestep_lab.ui.plan_view import PlanViewWidget
from acestep_lab.ui.player import PlayerWidget, file_name
from acestep_lab.ui.presets import MOST_BYTES, Presets
from acestep_lab.ui.prompt_editor import PRESETS, PromptEditorWidget
from acestep_lab.ui.take_tree import TakeTreeWidget
from acestep_lab.ui.waveform_picker import WaveformPickerWidget
from tests.pretend import tone
from tests.soak import messages
from tests.test_ui_editors import sent

CORES = sorted({name.removesuffix("Widget") for name in ui.__all__ if name.endswith("Widget")})
HOSTILE = (
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", '"><svg onload=alert(1)>', "'><b>", "javascript:alert(1)", "&lt;b&gt;", "]]>", "--><i>",
    "'", '"', '"""', "'''", "\\", "\\'", "\n", "\r\nimport os", "x')\nimport os\n('", "\\N{DIGIT ONE}", "{__import__('os')}", "{0}{title}", "%s", "${1}", "#", "\u2028x\u2029", "\x85y",
    "\x1b[31m", "\u202etxt.exe", "\u2066\u2069", "\ufeffa", "語☂𝄞", "a\tb", "\x0b\x0c",
)  # fmt: skip
"""Words that would be code, markup, or another reading direction, where they are not kept as words."""


def take(words: str = "dub", **about: Any) -> Take:
    recipe = Recipe("x" + words, "y" + words, seconds=1.0, seed=1)
    return Take(recipe, tone(1.0), np.zeros((5, 8), np.float32), **about)


def foreign(id: str, **about: Any) -> Take:
    """A take that says of itself it were called so, as one made by somebody else's program might."""

    class Foreign(Take):
        """Calls itself what it likes."""

    Foreign.id = property(lambda self: id)  # type: ignore[assignment, method-assign]
    made = take(**about)
    return Foreign(made.recipe, made.audio, made.latent, made_with=made.made_with)


# -- every message is answered


def test_thousands_of_hostile_messages_end_in_a_sentence_or_in_work_done(tmp_path: Path) -> None:
    count = int(os.environ.get("ACESTEP_MESSAGES", "3080"))
    tally = messages.run(count, 7, tmp_path)
    assert tally.others == []
    assert tally.total("sentence") + tally.total("accepted") >= count
    assert min(tally.total("sentence"), tally.total("accepted")) > count / 4, "as many right as wrong ones are tried"


class Careless(Component):
    """Does what its page asks without looking, and fails at it."""

    module = "topbar"
    fields: ClassVar[dict[str, Any]] = {"rung": 0}

    def do_ring(self, by: Name = "") -> None:
        """Ring."""
        raise KeyError(by)

    def do_send(self, buffers: list[Any], at: int = 0) -> None:
        """Take bytes."""
        self.rung = len(buffers[0])


CarelessWidget, CarelessPane = widget_and_pane(Careless)


def test_the_trial_notices_what_is_no_answer() -> None:
    tally, room = messages.Tally(), messages.Room("careless", CarelessWidget())
    messages.tried(tally, room, "ring", lambda: room.send({"kind": "ring"}))
    assert tally.total("other") == 1
    assert "KeyError" in tally.others[0]


ARRAYS: tuple[Any, ...] = (
    np.array([1, 2]), np.array(5), np.array([]), np.array(["ring", "x"]), np.zeros((2, 2)), np.float64(1), np.bool_(True), slice(1, 2),
    datetime.timedelta(1), memoryview(b"x"), range(3), frozenset([1]),
)  # fmt: skip
"""What Bokeh makes of a browser's message besides plain values: arrays above all, whose comparison is no yes or no."""


@pytest.mark.parametrize("host", [CarelessWidget, CarelessPane])
def test_an_array_anywhere_in_a_message_is_answered_as_any_other_odd_value(host: Any) -> None:
    room = messages.Room("careless", host())
    it = room.it
    for odd in ARRAYS:
        for value in (odd, [odd], {"a": odd}):
            for message, buffers in (
                (value, ()),
                ({"kind": value}, ()),
                ({"kind": "ready", "x": value}, ()),
                ({"kind": "send", "at": value}, [b"x"]),
                ({"kind": "send"}, value),
                ({"kind": "ready"}, value),
            ):
                it.receive(message, buffers)
            it._handle_msg({"kind": "send", "_buffers": value})
            (it._process_events if hasattr(it, "param") else it.set_state)({"rung": value})
            (it._process_events if hasattr(it, "param") else it.set_state)(value)
            assert it.rung in (0, 1), "one byte came in a list, as it should"
    it.receive({"kind": "send"}, [b"xyz"])
    assert it.rung == 3


def test_a_player_writes_a_few_files_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()
    monkeypatch.setattr(Take, "export", lambda self, path: hold.wait(20) and path.write_bytes(b"x"))
    room = PlayerWidget(take())
    answers = sent(room)
    for _ in range(30):
        room.receive({"kind": "save", "form": "flac"})
    assert sum("are being written already" in one.get("text", "") for one in answers) == 28
    hold.set()
    end = time.monotonic() + 20
    while sum(one["kind"] == "file" for one in answers) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    room.receive({"kind": "save", "form": "flac"})
    assert sum("already" in one.get("text", "") for one in answers) == 28


@pytest.mark.parametrize("host", [CarelessWidget, CarelessPane])
@pytest.mark.parametrize(
    ("message", "sent", "answer"),
    [({"kind": "ring", "by": 5}, (), "By is text, not 5"), ({"kind": "ring", "by": "\ud800"}, (), r"none \(U\+D800\)"), ({"kind": "ring", "by": "x" * 61}, (), "at most 60"),
     ({"kind": "ring", "self": 1}, (), "takes no field 'self'"), ({"kind": "ring"}, [b"x"], "takes no field 'buffers'"), ({"kind": "send"}, (), "without its buffers"),
     ({"kind": "send"}, [10**12], "should have come as bytes"), ({"kind": "send"}, {"a": 1}, "should have come as bytes"), ({"kind": "send"}, [b"x"] * 17, "up to 16 pieces"),
     ({"kind": "send", "at": 0.5}, [b"x"], "whole number"), ({"kind": "send", "at": True}, [b"x"], "not yes or no"), ({"kind": "send", "at": 10**400}, [b"x"], "too large"),
     ({"kind": "send", "at": math.nan}, [b"x"], "is a number"), ({"kind": "hum"}, (), "unknown here"), ("ring", (), "where a message was expected")],
)  # fmt: skip
def test_what_is_wrong_with_a_message_is_said_and_nothing_is_done(
    host: Any, message: Any, sent: Any, answer: str
) -> None:
    room = messages.Room("careless", host())
    if isinstance(message, dict) or not hasattr(room.it, "param"):
        [said] = room.send(message, sent)
        assert re.search(answer, said["text"])
    room.send({"kind": "send", "at": 0.0}, [b"xyz"])
    assert room.it.rung == 3, "the next right message works"


def test_a_request_says_how_each_of_its_fields_is_read() -> None:
    def do_ring(self: Any, by: Component) -> None:
        """Ring."""

    with pytest.raises(TypeError, match="how its field 'by' is read"):
        RequestSchema.of(do_ring)
    for name in CORES:
        component = getattr(ui, f"{name}Widget")
        assert {"code", "ready"} < set(component._requests) or name in ("Topbar", "TakeTree")
        assert all(hasattr(work, "__wrapped__") for work in component._requests.values())


@pytest.mark.parametrize("panes", [False, True])
def test_state_goes_from_python_to_the_page_only(panes: bool) -> None:
    lyrics = (ui.LyricsEditorPane if panes else ui.LyricsEditorWidget)("la")
    again: list[Any] = []
    if panes:
        lyrics.param.watch(lambda *events: again.extend(event.name for event in events), "text", onlychanged=False)
        lyrics._process_events({"text": 5, "sections": None, "nobody": 1})
    else:
        lyrics.send_state = again.extend
        lyrics.set_state({"text": 5, "sections": None, "nobody": 1, "_esm": "alert(1)"})
        assert "alert" not in str(lyrics._esm)
    assert "text" in again, "the page is shown Python's again"
    assert (lyrics.text, lyrics.value, len(lyrics.sections)) == ("la", "la", 1)


@pytest.mark.parametrize("name", CORES)
def test_a_field_of_another_kind_is_refused_by_a_sentence(name: str) -> None:
    component = getattr(ui, f"{name}Widget")()
    for field, default in component.fields.items():
        for odd in ("\x00", 5, [], {}, object()):
            if type(odd) is not type(default) and not (
                isinstance(odd, int) and (default is None or isinstance(default, float))
            ):
                with pytest.raises(RecipeError, match=field):
                    setattr(component, field, odd)


@pytest.mark.parametrize("name", ["PromptEditor", "LyricsEditor", "PlanView", "WaveformPicker", "Gallery", "Player"])
@pytest.mark.parametrize("odd", [5, "\ud800x", [1], {"a": 1}, object(), True, b"x", 10**400, math.nan])
def test_a_component_made_of_anything_else_says_what_it_is_made_of(name: str, odd: Any) -> None:
    for host in ("Widget", "Pane"):
        with pytest.raises(LabError) as problem:
            getattr(ui, name + host)(odd)
        assert len(str(problem.value)) <= 300


# -- what is typed into a number's box

NO_NUMBERS = (
    "²",
    "Ⅷ",
    "⑦",
    "½",
    "1e400",
    "--5",
    "+-1",
    "1_000",
    "0x1F",
    "nan",
    "inf",
    "12 0",
    "9" * 5000,
    10**400,
    math.nan,
    math.inf,
    True,
    ["1"],
    "\ud800",
    "\0",
    "1\n2",
    "一",
    "1/0",
    "e5",
    ".",
)


@pytest.mark.parametrize("field", [name for name, form in PLAIN_FIELDS.items() if form.kind in ("number", "whole")])
def test_what_is_no_number_is_said_beside_its_box_and_the_editor_goes_on(field: str) -> None:
    kind = next((kind for kind, knobs in SAMPLING.items() if field in {one.name for one in knobs}), FlowSampling)
    prompt = PromptEditorWidget(Draft("dub", {"seed": 5, "bpm": 120}), form=Form(sampling=kind))
    said = sent(prompt)
    small = ("top_p", "velocity_ema", "dcw_low", "dcw_high", "planning.top_p", "guidance_share", "guidance_decay")
    right = {"bpm": "40", "shift": "3,5", "peak_db": "-5", **dict.fromkeys(small, "0,5")}.get(field, "5")
    right = "1,5" if field in ("planning.temperature", "planning.repetition_penalty") else right
    for value in NO_NUMBERS:
        prompt.receive({"kind": "edit", "field": field, "value": value})
        beside = prompt.errors.get(field) or next(one["text"] for one in reversed(said) if one["field"] == field)
        assert len(beside) <= 300
        for kind in ("make", "plan", "next_seed", "undo", "redo"):
            prompt.receive({"kind": kind})
        for name, typed_now in (("seed", "5"), (field, right)):
            prompt.receive({"kind": "edit", "field": name, "value": typed_now})
        assert prompt.errors == {}, value
        assert value_in(prompt.recipe(), field) == float(right.replace(",", "."))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("-0", None),
        ("120,5", None),
        ("", 0),
        ("  ", 0),
        ("１２０", 120),
        ("१२०", 120),
        (" 120 ", 120),
        ("120.0", 120),
        ("1.2e2", 120),
        (120.0, 120),
    ],
)
def test_a_tempo_is_read_as_people_write_it(value: Any, read: int | None) -> None:
    prompt = PromptEditorWidget(Draft("dub", {"seed": 5}))
    prompt.receive({"kind": "edit", "field": "bpm", "value": value})
    if read is None:
        assert "bpm" in prompt.errors
    else:
        assert prompt.recipe().bpm == (read or None)


def test_no_number_in_a_plan_or_a_waveform_leaves_what_stood_there() -> None:
    view, picker = PlanViewWidget(Plan(bpm=90, seconds=4.0), Recipe("dub")), WaveformPickerWidget(tone(4.0))
    picker.do_regions([{"name": "A", "start": 1, "end": 2}])
    heard = [sent(view), sent(picker)]
    for turn, value in enumerate(NO_NUMBERS):
        for field in ("bpm", "seconds"):
            view.receive({"kind": "edit", "field": field, "value": value})
        for key in ("start", "end"):
            picker.receive({"kind": "edge", "place": 0, "key": key, "value": value, "change_id": f"me:{turn}"})
        picker.receive({"kind": "setting", "name": "wave_crossfade", "value": value})
        assert (view.value.bpm, view.value.seconds) == (90, 4.0)
        assert [(r["start"], r["end"]) for r in picker.regions] == [(1.0, 2.0)]
        assert picker.wave_crossfade is None
        assert picker.change_id == f"me:{turn}", "the page waits for its turn"
    count = len(NO_NUMBERS)
    assert [len([one for one in said if one["kind"] == "error"]) for said in heard] == [2 * count, 3 * count]


def test_an_emptied_seed_is_drawn_anew_when_it_is_made() -> None:
    prompt = PromptEditorWidget(Draft("dub", {"seed": 5}))
    made: list[Recipe] = []
    prompt.on("make", lambda recipe: made.append(recipe))
    prompt.receive({"kind": "edit", "field": "seed", "value": None})
    prompt.receive({"kind": "make"})
    assert made[0].seed == prompt.draft["values"]["seed"]
    assert made[0].seed is not None


def test_too_many_words_are_refused_and_none_is_cut_off() -> None:
    prompt, lyrics = PromptEditorWidget(Draft("dub")), LyricsEditorWidget("la")
    heard = [sent(prompt), sent(lyrics)]
    prompt.receive({"kind": "edit", "field": "caption", "value": "x" * 20_001})
    lyrics.receive({"kind": "text", "text": "x" * 100_001})
    assert (prompt.value.caption, lyrics.value) == ("dub", "la")
    assert ["at most" in said[-1]["text"] for said in heard] == [True, True]


@pytest.mark.parametrize("value", [float("nan"), 10**30, [1], {"a": 1}, object(), b"x", ["a"] * 65])
def test_a_draft_holds_plain_values_only(value: Any) -> None:
    with pytest.raises(RecipeError):
        typed("value", value)
    with pytest.raises(RecipeError):
        Draft("dub").put("bpm", value)
    with pytest.raises(RecipeError):
        Draft("dub", {"bpm": value})
    for odd in (Draft("dub").put, Draft("dub").lock):
        with pytest.raises(RecipeError, match="no field"):
            odd("nobody", True)


# -- copy as code


def source_of(code: str) -> ast.Module:
    """The syntax of a line of code that holds nothing but assignments of calls, values and names."""
    tree = ast.parse(code)
    compile(code, "copied", "exec")
    plain = (ast.Assign, ast.Expr, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.Attribute, ast.Tuple, ast.List, ast.Load, ast.Store, ast.ListComp, ast.comprehension, ast.UnaryOp, ast.USub, ast.Module)  # fmt: skip
    assert [type(node).__name__ for node in ast.walk(tree) if not isinstance(node, plain)] == []
    known = {
        "Recipe",
        "Region",
        "Repaint",
        "Planning",
        "FlowEdit",
        "Complete",
        "lab",
        "take",
        "takes",
        "recipe",
        "lyrics",
        "plan",
        *PLAIN_FIELDS,
    }
    assert {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} <= known
    return tree


def constants(code: str) -> list[Any]:
    return [node.value for node in ast.walk(source_of(code)) if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("words", HOSTILE, ids=repr)
def test_copied_code_says_just_the_words_wherever_they_stand(words: str) -> None:
    recipe = Recipe(
        "a" + words,
        "b" + words,
        seed=4,
        task=Repaint("take-1" + words, (Region(1, 2),)),
        planning=Planning(negative_prompt="n" + words),
    )
    edit = Recipe("a" + words, task=FlowEdit("take-1", "c" + words, "d" + words))
    both_of = (recipe.caption, recipe.lyrics)  # a recipe may put its words into one form (line ends, NFC)
    for code in (recipe.code(), edit.code(), replace(recipe, task=Complete("t" + words, ("drums",))).code()):
        assert set(constants(code)) >= {recipe.caption}
    assert set(constants(recipe.code())) >= {*both_of, recipe.planning.negative_prompt}
    lyrics = LyricsEditorWidget("b" + words)
    assert constants(lyrics.code) == [lyrics.value]
    prompt = PromptEditorWidget(Draft("a" + words, {"seed": 4}), words=lambda: (recipe.lyrics, None, ()))
    messages = sent(prompt)
    prompt.do_sweep_code(x="seed", xs="1, 2", y="keyscale", ys="C major")
    for code in (prompt.code, messages[-1]["text"]):
        assert set(constants(code)) >= set(both_of)
    view = PlanViewWidget(Plan(bpm=90, caption="p" + words), Recipe("a" + words))
    view.do_accept("caption", True)
    assert any(isinstance(value, str) and value.startswith("p") for value in constants(view.code))
    picker = WaveformPickerWidget(tone(4.0))
    picker.do_regions([{"name": words, "start": 1, "end": 2}])
    picker.do_setting("caption", "q" + words)
    assert set(constants(picker.code)) >= {"q" + words}


@pytest.mark.parametrize("id", [*HOSTILE, '")\nimport os\n("', "\ud800", "take-1"], ids=repr)
def test_an_id_from_a_file_is_quoted_in_code(id: str) -> None:
    gallery, tree = GalleryWidget(), TakeTreeWidget()
    gallery.show_cards([{"id": id, "title": "t"}])
    tree.draw([{"id": id, "title": "t", "parents": []}], id)
    player = PlayerWidget(foreign(id, made_with={"checkpoint": id}))
    for code in (gallery.cards[0]["code"], tree.code):
        assert constants(code) == [id]
    source_of(player.code)
    shown = html.unescape(
        re.search(r"<pre>(.*?)</pre>", report.page(foreign(id, made_with={"checkpoint": id})), re.S)[1]
    )  # type: ignore[index]
    assert "import os" not in [line.strip() for line in shown.splitlines()]


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_VALUES)
def test_a_value_as_code_is_that_value(value: Any) -> None:
    assert ast.literal_eval(literal(value)) == value
    assert len(ast.parse(f"x = 1\n{comment(value)}").body) == 1, "a remark does nothing, whatever it says"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        (np.bool_(True), None),
        (math.inf, None),
        (object(), None),
        ({1, 2}, None),
        (1j, None),
        (Region(1, 2), "Region(start=1.0, end=2.0)"),
    ],
)
def test_only_plain_values_are_written_as_code(value: Any, code: str | None) -> None:
    if code is None:
        with pytest.raises(RecipeError):
            literal(value)
    else:
        assert literal(value) == code


# -- markup, names of files


class Tags(html.parser.HTMLParser):
    """The tags of a page with the names of their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("words", HOSTILE, ids=repr)
def test_no_words_become_markup_in_anything_the_package_shows(words: str) -> None:
    def pages(words: str) -> list[str]:
        evaluated = Report("c" + words, {"s" + words: 1}, (Metric("f" + words, "g" + words, 0.5, chance=0.1),))
        plan = Plan(bpm=90, caption="p" + words, genres="g" + words, lyrics="l" + words)
        return [report.page(take(words), [("step" + words, b"png")]), plan._repr_html_(), evaluated.picture()]

    for calm, odd in zip(pages("calm"), pages(words), strict=True):
        assert Tags(odd).found == Tags(calm).found
        odd.encode()
    bundle = sound_bundle(take(words))
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert set(data) == {"text/plain", "application/vnd.jupyter.widget-view+json"}, "no HTML of our own making"
    json.dumps(data)


def test_a_halved_character_does_not_stop_a_page_from_being_written(tmp_path: Path) -> None:
    path = report.write(take(), tmp_path / "page.html", [("step \ud800 \0", b"png")])
    assert "step \ufffd \ufffd" in path.read_text(encoding="utf-8")
    with pytest.raises(LabError, match="cannot be written"):
        report.write(take(), tmp_path / "nowhere" / "page.html")


@pytest.mark.parametrize(
    ("words", "name"),
    [("../../etc/passwd", "etcpasswd"), ("a\u202egnp.exe", "agnpexe"), ("CON", "CON_"), ("lpt1", "lpt1_"), ("\ud800", "sound"), ("<>:\"/\\|?*", "sound"), ("  lo-fi\n\tdub ", "lo-fi dub"),
     ("हिन्दी गीत", "हिन्दी गीत"), ("-rf", "rf"), ("", "sound"), ("x" * 300, "x" * 59), ("slow dub\u2013techno, live", "slow dub-techno, live")],
)  # fmt: skip
def test_a_file_is_offered_under_a_name_every_system_takes(words: str, name: str) -> None:
    assert file_name(words) == name


def test_a_sound_is_written_where_no_id_from_a_file_can_lead(tmp_path: Path) -> None:
    aim = tmp_path / "stolen"
    room = PlayerWidget(foreign(f"../../../../../../../../{aim}"))
    heard = sent(room)
    room.do_save("wav")
    for thread in [t for t in threading.enumerate() if t.name == "acestep_lab save"]:
        thread.join(60)
    assert [one["kind"] for one in heard] == ["file"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", sorted(path.stem for path in assets.folder().glob("*.js")))
def test_no_module_makes_markup_or_code_of_text(module: str) -> None:
    text = assets.read(f"{module}.js")
    for danger in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "srcdoc",
        "eval(",
        "new Function",
        "setHTML",
    ):
        assert danger not in text


# -- the presets' file

GOOD = "Mine:\n  caption: täglich dub\n  bpm: 110\n"
ODD = {
    "a list": "[1, 2]", "a number": "5", "nothing": "null", "a wrong tempo": "{bpm: fast}", "a list of tempos": "{bpm: [1, 2]}", "a table of words": "{caption: {a: 1}}", "no task": "{task: Sing}",
    "a date": "{caption: 2024-01-01, task: !!timestamp 2024-99-99}", "bytes": "{caption: !!binary 5}", "an object": "{caption: !!python/object/apply:os.system [echo]}", "half": '{caption: "\\ud800"}',
    "digits": "{bpm: " + "9" * 5000 + "}", "endless": "{bpm: .inf}", "itself": "&x {caption: *x}", "a merge": "{<<: {bpm: 100}}", "nul": '{caption: "a\\0b"}', "base 60": "{bpm: 1:30:00}", "a set": "{caption: !!set {a}}",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_odd_preset_is_left_out_by_name_and_kept_when_another_is_saved(odd: str, tmp_path: Path) -> None:
    file = tmp_path / "presets.yaml"
    file.write_text(f"{GOOD}{odd}: {ODD[odd]}\n", encoding="utf-8")
    prompt = PromptEditorWidget(Draft("new words", {"seed": 1}), presets=file)
    assert prompt.presets == sorted({*PRESETS, "Mine"})
    [said] = prompt.left_out
    assert odd in said
    assert len(said) <= 300
    prompt.receive({"kind": "save_preset", "name": "Other"})
    assert set(Presets(file).read()) == {"Mine", "Other"}
    assert odd in file.read_text(encoding="utf-8")
    again = Presets(file)
    again.read()
    assert [odd in one for one in again.problems] == [True]


def _unreadable(kind: str, file: Path) -> None:
    texts = {
        "broken": b"{: broken", "legacy": "Mine: {caption: caf\xe9}".encode("latin-1"), "list": b"- a\n- b\n", "deep": b"[" * 5_000, "nul": b"a: \0", "large": b"a: b\n" * (MOST_BYTES // 5 + 1),
        "alias": b"a: *nobody", "tab": b"a:\n\t- b", "documents": b"a: {bpm: 90}\n---\nb: {bpm: 91}\n",
    }  # fmt: skip
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "loop":
        file.symlink_to(file)
    else:
        file.write_bytes(texts[kind])


@pytest.mark.parametrize(
    "kind", ["broken", "legacy", "list", "deep", "nul", "large", "alias", "tab", "documents", "folder", "pipe", "loop"]
)
def test_a_file_of_presets_that_cannot_be_read_is_said_and_never_written_over(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "presets.yaml"
    _unreadable(kind, file)
    before = file.read_bytes() if file.is_file() else None
    prompt = PromptEditorWidget(Draft("new words", {"seed": 1}), presets=file)
    assert prompt.presets == sorted(PRESETS)
    assert [len(said) <= 300 and "presets" in said for said in prompt.left_out] == [True]
    heard = sent(prompt)
    prompt.receive({"kind": "save_preset", "name": "Other"})
    assert "presets" in heard[-1]["text"]
    assert (file.read_bytes() if file.is_file() else None) == before
    assert [one.name for one in tmp_path.iterdir()] == ["presets.yaml"], "and no draft is left behind"
    prompt.receive({"kind": "preset", "name": "Waltz for strings"})
    assert prompt.value.caption.startswith("waltz"), "those that ship are there"


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_presets_saved_by_any_editor_are_read(coding: str, tmp_path: Path) -> None:
    file = tmp_path / "presets.yaml"
    file.write_bytes(GOOD.replace("\n", "\r\n").encode(coding))
    assert Presets(file).read() == {"Mine": {"caption": "täglich dub", "bpm": 110}}


def test_a_few_lines_that_merge_each_other_do_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "presets.yaml"
    rows = ["a0: &a0 {bpm: 90}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 14)]
    file.write_text("\n".join(rows), encoding="utf-8")
    presets = Presets(file)
    assert list(presets.read()) == ["a0"]
    assert len(presets.problems) == 13


def test_a_draft_that_makes_no_sense_is_not_kept_as_a_preset(tmp_path: Path) -> None:
    prompt = PromptEditorWidget(Draft("dub", {"bpm": "fast", "seed": 1}), presets=tmp_path / "presets.yaml")
    with pytest.raises(RecipeError, match="not 'fast'"):
        prompt.do_save_preset("Mine")
    assert list(tmp_path.iterdir()) == []
