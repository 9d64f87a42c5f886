"""What the pictures of a run mean, what they cost, and that a page shows one song at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.step import Step
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.listen import mel_levels
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Text2Music
from acestep_lab.ui import code_features, colours, mel_image
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.drawing_thread import DrawingThread
from acestep_lab.ui.forms import Form
from acestep_lab.ui.latent_preview import LatentPreviewWidget
from acestep_lab.ui.plan_view import PlanViewWidget
from acestep_lab.ui.step_sounds import SHARE, DecodeBudget, StepSounds
from acestep_lab.ui.studio import Studio
from tests.pretend import FLOW, PretendSession, png, tone

RATE = 8000


def sine(hz: float, seconds: float = 2.0, level: float = 0.5) -> Audio:
    at = np.arange(round(seconds * RATE)) / RATE
    return Audio((level * np.sin(2 * np.pi * hz * at))[None].astype(np.float32), RATE)


def until(ready: Any) -> None:
    for _ in range(1000):
        if ready():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


# -- pictures


@pytest.mark.parametrize(("hz", "where"), [(120, "low"), (700, "middle"), (3000, "high")])
def test_a_change_is_told_by_where_it_is_and_which_way_it_goes(hz: float, where: str) -> None:
    quiet = mel_image.mel_levels(sine(hz, level=0.01), 40)
    loud = mel_image.mel_levels(sine(hz, level=0.5), 40)
    assert mel_image.summary(loud, quiet, RATE) == mel_levels.Change(where, "louder")
    assert mel_image.summary(quiet, loud, RATE) == mel_levels.Change(where, "quieter")
    assert mel_image.summary(loud, loud, RATE).where == "little"


def test_a_higher_tone_is_higher_in_the_picture_and_the_axis_says_so() -> None:
    rows = [int(mel_image.mel_levels(sine(hz), 40).mean(axis=0).argmax()) for hz in (100, 500, 2000, 3500)]
    assert rows == sorted(set(rows))
    places = [float(str(place)) for place, _ in mel_image.axis(48_000)]
    assert places == sorted(places)
    assert [text for _, text in mel_image.axis(48_000)][-1] == "10 kHz"
    assert len(mel_image.mel_levels(sine(100), 40)) == 40


def test_sound_and_change_are_each_one_table_of_colours_that_grows_evenly() -> None:
    luma = colours.LOUDNESS.astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luma) >= -0.5).all(), "brighter is louder, also in grey"
    assert luma[-1] - luma[0] > 150
    assert {len(stops) for stops in colours.scales().values()} == {9}
    with pytest.raises(SourceError, match="one size"):
        mel_image.difference(np.zeros((4, 80), np.float32), np.zeros((5, 80), np.float32))
    with pytest.raises(SourceError, match="no samples"):
        mel_image.mel_levels(Audio(np.zeros((1, 0), np.float32), RATE), 4)


def test_pictures_may_cost_a_twentieth_of_a_render_and_no_more() -> None:
    now = [100.0]
    budget = DecodeBudget(lambda: now[0])
    assert not budget.allows(10.0), "nothing is decoded before the run has run for a moment"
    decoded = 0
    for _ in range(2000):
        now[0] += 0.05
        if budget.is_cheap(10.0, 0.05) and budget.allows(10.0):
            budget.spend(0.033, 10.0)
            decoded += 1
    assert decoded > 50
    assert decoded * 0.033 <= SHARE * 100 + 0.033
    budget.spend(3.0, 1.0)
    assert not budget.allows(10.0), "what was spent at once is made up for first"
    slow = DecodeBudget(lambda: now[0])
    slow.spend(3.0, 1.0)
    assert not slow.is_cheap(10.0, 0.05)
    assert slow.is_cheap(1.0, 30.0), "beside a step of half a minute three seconds are little"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Any]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


def steps_of(count: int) -> list[Step]:
    return [Step(i, count, 1.0, np.zeros((10, 8)), np.ones((10, 8)), checkpoint="pretend") for i in range(count)]


def test_a_step_is_decoded_once_for_all_pages_and_only_when_asked_or_allowed(lab: Any) -> None:
    asked: list[int] = []
    lab.preview = lambda step, at, seconds=3.0: asked.append(step.index) or tone(seconds, step.index + 1)
    sounds = StepSounds(lab, lambda: 5.0)  # a clock that stands still: there is no budget
    sounds.begin("run-1")
    first, second = steps_of(2)
    assert sounds.of_step(first, 2.0) is None
    found = sounds.of_step(first, 2.0, asked=True)
    assert found is not None
    assert found.source == "decoded"
    assert sounds.of_step(first, 2.0) is found
    sounds.budget.spend(0.1, 2.0)
    assert sounds.of_step(second, 2.0) is None
    assert set(asked) == {0}


def test_the_views_of_a_step_can_be_switched_and_scrubbed_and_the_take_is_the_last(lab: Any) -> None:
    take = lab.make(Recipe("dub", seconds=2, seed=3))
    view = LatentPreviewWidget(picture=png, sounds=StepSounds(lab), later=lambda kind, work: work())
    sent: list[dict[str, Any]] = []
    view.emit = lambda kind, *buffers, **body: sent.append({**body, "kind": kind, "bytes": buffers})
    view.begin("run-1", 2.0, 3)
    for step in steps_of(3):
        view.add(step)
    view.end()
    view.finish(take)
    assert (sent[-1]["view"], sent[-1]["step"], sent[-1]["source"]) == ("sound", 3, "take")
    for name in ("latent", "sound", "change"):
        view.receive({"kind": "view", "view": name})
        view.receive({"kind": "picture", "step": 1, "view": name})
        assert (sent[-1]["view"], sent[-1]["step"]) == (name, 1)
        assert sent[-1]["bytes"][0].startswith(b"\x89PNG")
    assert sent[-1]["where"] in ("low", "middle", "high", "all", "little")
    view.receive({"kind": "view", "view": "nonsense"})
    assert sent[-1]["kind"] == "error"
    assert not view.unfolded
    view.end("It failed.")
    assert view.unfolded, "what is to be read stays open"


def test_of_what_waits_of_a_kind_only_the_newest_is_drawn_and_a_bad_picture_stops_nobody() -> None:
    drawing, gate, drawn = DrawingThread(), threading.Event(), []
    drawing.ask("slow", lambda: (gate.wait(5), drawn.append("slow"))[1])
    until(lambda: not drawing._waiting)
    for number in range(5):
        drawing.ask("live", lambda number=number: drawn.append(number))
    drawing.ask("bad", lambda: 1 / 0)
    drawing.ask("other", lambda: drawn.append("other"))
    gate.set()
    until(lambda: len(drawn) == 3)
    assert drawn == ["slow", 4, "other"]


# -- codes


def test_the_lane_of_a_scale_shows_its_notes_and_where_they_begin() -> None:
    notes = (60, 64, 67, 72)
    samples = np.concatenate([sine(440 * 2 ** ((note - 69) / 12), 1.0).samples for note in notes], axis=1)
    found = code_features.of_sound(Audio(samples, RATE), 20)
    assert found.chroma.shape == (20, 12)
    middles = [int(found.chroma[5 * place + 2].argmax()) for place in range(4)]
    assert middles == [0, 4, 7, 0]
    assert found.table().shape == (20, code_features.ROWS)
    assert {0 <= value <= 1 for value in (*found.chroma.ravel(), *found.onset)} == {True}
    assert list(code_features.repeats((5, 9, 5, 5))) == [3, 1, 3, 3]
    with pytest.raises(SourceError):
        code_features.of_sound(sine(100), 0)


# -- a plan's fields


def test_a_plans_field_is_read_as_the_forms_and_a_bad_value_stays_to_be_mended() -> None:
    view = PlanViewWidget(Plan(bpm=100, caption="c", codes=(1, 2)), Recipe("dub"))
    view.adopt(Form.of(FLOW.capabilities))
    for name, value in (("bpm", 301), ("bpm", "fast"), ("seconds", 900), ("keyscale", "Z major")):
        with pytest.raises(RecipeError):
            view.do_edit(name, value)
        row = next(row for row in view.rows if row["name"] == name)
        assert row["value"] == value
        assert row["problem"]
    assert view.value == Plan(bpm=100, caption="c", codes=(1, 2))
    with pytest.raises(RecipeError):
        view.recipe()
    for name, value in (("bpm", "118"), ("seconds", ""), ("keyscale", "A minor")):
        view.do_edit(name, value)
    assert view.recipe().bpm == 118
    assert not any(row["problem"] for row in view.rows)


# -- one song at a time


def studio_of(session: Any) -> Studio:
    return Studio(backend_of(session), panes=False, picture=png, crossfades=lambda mode, strength: (0.04, 0.05))


class SlowPlanner(PretendSession):
    """Writes when it is let to, and says what it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, pause=0.0)
        self.go = threading.Event()
        self.asked: list[dict[str, Any]] = []
        self.written = 0

    def plan(self, recipe: Recipe, n: Any = None, *, keep: Any = None, codes: Any = None, on_token: Any = None) -> Any:
        self.asked.append({"recipe": recipe, "keep": keep})
        on_token(f"{recipe.caption} begins ")
        self.go.wait(5)
        on_token(f"{recipe.caption} ends ")
        self.written += 1
        return Plan(bpm=100, caption=f"plan of {recipe.caption}", codes=(1, 2, 1))

    def polish(
        self, caption: str, lyrics: str = "", seed: int = 0, *, checkpoint: str | None = None, on_token: Any = None,
        **fixed: Any,
    ) -> Plan:  # fmt: skip
        self.asked.append(fixed)
        return Plan(**{"caption": "better", "lyrics": "better", **fixed})


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowPlanner]:
    session = SlowPlanner(tmp_path / "slow")
    yield session
    session.go.set()
    session.close()
    session.library.close()


def test_a_plan_that_comes_after_make_was_pressed_is_dropped(slow: SlowPlanner) -> None:
    page = studio_of(slow)
    page.planning.plan_first(Recipe("old", seed=1))
    until(lambda: slow.asked)
    run = page.start(Recipe("new", seconds=2, seed=3))
    run.wait(10)
    slow.go.set()
    until(lambda: slow.written)
    threading.Event().wait(0.05)
    assert page.plan.value is None
    assert "old" not in page.plan.stream
    assert (page.plan.live, page.plan.codes) == (False, 0)


def test_after_a_stop_another_plan_may_be_asked_for_and_the_stopped_one_adds_nothing(slow: SlowPlanner) -> None:
    page = studio_of(slow)
    page.planning.plan_first(Recipe("first", seed=1))
    until(lambda: slow.asked)
    page.planning.stop_writing()
    assert not page.plan.live
    page.planning.plan_first(Recipe("second", seed=1))
    until(lambda: len(slow.asked) == 2)
    slow.go.set()
    until(lambda: page.plan.value is not None and not page.plan.live and slow.written == 2)
    assert page.plan.value.caption == "plan of second"
    assert "first ends" not in page.plan.stream
    assert page.plan.stream.startswith("second begins")


def test_a_take_without_a_plan_clears_the_last_songs_and_codes_come_from_its_recipe(lab: Any) -> None:
    page = studio_of(lab)
    page.plan.show_plan(Plan(bpm=90, codes=(4, 4)), Recipe("old"))
    bare = lab.make(Recipe("bare", seconds=2, seed=3))
    page.select(bare)
    assert (page.plan.value, page.plan.rows, page.plan.codes) == (None, [], 0)
    page.select(bare.replace(recipe=bare.recipe.replace(task=Text2Music(codes=(7, 8, 7)))))
    assert page.plan.codes == 3
    until(lambda: page.plan._features is not None)


def test_a_new_run_clears_the_last_plan_and_one_made_with_a_plan_keeps_its_own(lab: Any) -> None:
    page = studio_of(lab)
    page.plan.show_plan(Plan(bpm=90, caption="mine", codes=(4, 4)), Recipe("old", seconds=2, seed=1))
    page.plan.do_make()
    assert page.plan.value is None or page.plan.value.caption == "mine"
    page.plan.show_plan(Plan(bpm=90, caption="mine"), Recipe("old"))
    run = page.start(Recipe("next", seconds=2, seed=2))
    run.wait(10)
    until(lambda: page.selected is not None and page.selected.id in {take.id for take in run.made.values()})
    assert page.plan.value is None


def test_polish_and_plan_obey_every_lock_wherever_it_was_set(slow: SlowPlanner) -> None:
    slow.go.set()
    page = studio_of(slow)
    page.plan.show_plan(Plan(keyscale="F# minor", timesignature="3", caption="c").lock("keyscale"), Recipe("old"))
    page.prompt.do_lock("caption", True)
    recipe = Recipe("my own words", bpm=118, seed=1)
    page.planning.polish(recipe)
    until(lambda: slow.asked and not page.plan.live)
    assert slow.asked[-1] == {"keyscale": "F# minor", "bpm": 118}
    assert page.plan.value.caption == "my own words"
    page.plan.show_plan(Plan(keyscale="F# minor", caption="c").lock("keyscale"), Recipe("old"))
    page.planning.plan_first(recipe)
    until(lambda: len(slow.asked) == 2 and not page.plan.live)
    kept = slow.asked[-1]["keep"]
    assert (kept.keyscale, kept.caption, kept.locked) == ("F# minor", "my own words", {"keyscale", "caption"})
    page.plan.show_plan(Plan(bpm=90, caption="c").lock("bpm"), Recipe("old"))
    with pytest.raises(RecipeError, match="another bpm"):
        page.planning.polish(recipe)


def test_the_song_that_is_being_made_is_the_one_that_is_watched(lab: Any) -> None:
    page = studio_of(lab)
    run = page.start([Recipe("one", seconds=2, seed=1), Recipe("two", seconds=2, seed=2)])
    run.wait(10)
    until(lambda: page.preview.take)
    assert page.preview.songs == 2
    assert page.preview.take == run.made[0].id
