"""Where a song comes from: a line described, an example by the dice, a sound brought in, adapters, another planner."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from acestep_lab import Audio, Recipe
from acestep_lab.engines.offered import OfferedPlanner
from acestep_lab.errors import LabError, LibraryError, RecipeError, SourceError
from acestep_lab.jobs.owned_library import MOST_SOUNDS, OwnedLibrary
from acestep_lab.prompt.tasks import Cover
from acestep_lab.takes.library import Library
from acestep_lab.ui.adapter_list import AdapterList
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.controllers.describing import NO_PLANNER
from acestep_lab.ui.describe import DescribeStripWidget
from acestep_lab.ui.sound_drop import SoundDropWidget, clipping, trimmed
from acestep_lab.ui.studio import Studio
from tests.pretend import RATE, PretendSession, png, tone


def sent(component: Any) -> list[dict[str, Any]]:
    """Messages a component sends from now on."""
    messages: list[dict[str, Any]] = []
    component.emit = lambda kind, *buffers, **body: messages.append({"kind": kind, "buffers": buffers, **body})
    return messages


def until(ready: Callable[[], Any]) -> Any:
    end = monotonic() + 10
    while not (found := ready()):
        assert monotonic() < end, "it did not happen"
        sleep(0.01)
    return found


def page_of(session: Any, owner: str = "") -> Studio:
    return Studio(backend_of(session), owner, panes=False, picture=png, catalog=lambda: ())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()
    session.library.close()


@pytest.fixture
def growl(tmp_path: Path) -> str:
    file = tmp_path / "growl.safetensors"
    file.write_bytes(b"a pretended adapter")
    return str(file)


def bring(drop: Any, data: bytes, name: str, turn: str = "1") -> None:
    """A file as a page sends it, in two pieces."""
    half = len(data) // 2
    drop.receive({"kind": "begin", "name": name, "size": len(data), "turn": turn})
    drop.receive({"kind": "piece", "at": 0, "turn": turn}, [data[:half]])
    drop.receive({"kind": "piece", "at": half, "turn": turn}, [data[half:]])


def names(page: Studio) -> list[str]:
    return [row["name"] for row in page.drop.sounds]


# -- describing


def test_a_line_becomes_a_plan_to_read_and_fills_the_form_on_request(lab: PretendSession) -> None:
    page = page_of(lab)
    page.prompt.do_edit("bpm", "111")
    page.prompt.do_lock("bpm")
    page.prompt.do_edit("steps", "3")
    page.describe.do_sketch("a sad song about rain", language="de", seed=7)
    until(lambda: page.describe.offered and not page.describe.busy)
    assert page.plan.value.caption == "a sad song about rain, sketched"
    assert page.plan.recipe().seed == 7
    assert page.prompt.value.caption == "", "nothing is filled in unasked"
    page.describe.do_use()
    values = page.prompt.value.values
    assert (values["bpm"], values["keyscale"], values["steps"]) == ("111", "A minor", "3")
    assert page.prompt.value.caption == "a sad song about rain, sketched"
    assert (page.lyrics.value, page.lyrics.chosen_language) == ("[Verse]\na sad song about rain", "de")
    assert page.describe.offered == ""


def test_what_is_changed_in_the_plan_is_what_is_used(lab: PretendSession) -> None:
    page = page_of(lab)
    page.describe.do_sketch("dub", seed=7)
    until(lambda: page.describe.offered and not page.describe.busy)
    page.plan.do_edit("caption", "slow dub")
    assert page.describe.offered == "slow dub"
    page.describe.do_use()
    assert page.prompt.value.caption == "slow dub"


def test_a_sound_in_hand_is_described_and_nothing_without_one(lab: PretendSession) -> None:
    page = page_of(lab)
    with pytest.raises(LabError, match="no sound in hand"):
        page.describe.do_understand()
    page.select(tone(3.0), "hum.wav")
    assert page.describe.source == "hum.wav"
    page.describe.do_understand()
    until(lambda: page.describe.offered and not page.describe.busy)
    assert page.describe.heard
    page.describe.do_use()
    assert page.prompt.value.caption == "a sine of 3.0 s"
    assert page.lyrics.instrumental


def test_what_makes_no_sense_is_answered_and_nothing_waits(lab: PretendSession) -> None:
    page = page_of(lab)
    for body, answer in (
        ({"sentence": " "}, "Describe the song"),
        ({"sentence": "dub", "language": "klingon"}, "language"),
        ({"sentence": "dub", "seed": -1}, "A seed is"),
    ):
        messages = sent(page.describe)
        page.describe.receive({"kind": "sketch", **body})
        assert answer in next(m["text"] for m in messages if m["kind"] == "error")
        assert page.describe.busy == ""
    lab.sketch = lambda *args, **how: (_ for _ in ()).throw(RecipeError("It broke."))  # type: ignore[method-assign]
    messages = sent(page.describe)
    page.describe.do_sketch("dub")
    until(lambda: any(m["kind"] == "error" and m["text"] == "It broke." for m in messages))
    until(lambda: page.describe.busy == "")


def test_a_checkpoint_without_a_planner_says_so_and_the_dice_still_roll(lab: PretendSession) -> None:
    page = page_of(lab)
    assert page.describe.cannot == ""
    backend_of(lab).use("pretend-tokens")
    assert page.describe.cannot == NO_PLANNER
    assert "no planner" in page.switch.plans
    page.describe.do_dice()
    assert page.prompt.value.caption


def test_a_visitor_keeps_the_planner_of_the_checkpoint_they_chose(lab: PretendSession) -> None:
    visitor = page_of(lab, "ada")
    backend_of(lab).use("pretend-tokens")
    assert visitor.describe.cannot
    visitor.switch.do_list()
    until(lambda: visitor.switch.choices)
    visitor.switch.do_choose("pretend")
    until(lambda: visitor.switch.cost)
    visitor.switch.do_use()
    assert visitor.describe.cannot == ""
    assert visitor.plans
    assert visitor.prompt.forms["plans"]
    visitor.describe.do_sketch("dub", seed=1)
    until(lambda: visitor.describe.offered)
    visitor.prompt.do_edit("caption", "dub")
    until(lambda: not visitor.plan.live)
    visitor.prompt.do_plan()
    until(lambda: visitor.plan.value is not None and visitor.plan.value.bpm == 100)


# -- the dice


def test_the_dice_fill_what_is_not_locked_and_one_undo_brings_all_of_it_back(lab: PretendSession) -> None:
    page = page_of(lab)
    page.prompt.do_edit("caption", "mine")
    page.prompt.do_edit("seed", "42")
    page.lyrics.do_text("[Verse]\nmine")
    page.lyrics.do_language("fr")
    for undo in (page.describe.do_undo, page.prompt.do_undo):
        page.describe.do_dice()
        assert page.prompt.value.caption != "mine"
        assert page.prompt.value.values["seed"] == "42"
        assert page.describe.filled == "example"
        undo()
        assert page.prompt.value.caption == "mine"
        assert (page.lyrics.value, page.lyrics.chosen_language) == ("[Verse]\nmine", "fr")
        assert page.describe.filled == ""
    page.prompt.do_lock("caption")
    page.describe.do_dice()
    assert page.prompt.value.caption == "mine"


def test_words_put_aside_by_instrumental_come_back_as_they_were(lab: PretendSession) -> None:
    page = page_of(lab)
    page.lyrics.do_text("[Verse]\nmine")
    page.lyrics.do_instrumental(True)
    page.describe.do_dice()
    page.describe.do_undo()
    assert page.lyrics.instrumental
    page.lyrics.do_instrumental(False)
    assert page.lyrics.value == "[Verse]\nmine"


# -- codes


def test_codes_come_out_as_a_list_that_json_and_the_form_read(lab: PretendSession) -> None:
    page = page_of(lab)
    page.select(tone(2.0), "hum.wav")
    messages = sent(page.describe)
    page.describe.do_codes()
    found = until(lambda: next((m for m in messages if m["kind"] == "codes"), None))
    assert tuple(json.loads(found["text"])) == lab.codes(tone(2.0))
    assert (found["count"], found["name"]) == (10, "hum.wav")
    backend_of(lab).use("pretend-tokens")
    assert not page.describe.has_codes


def test_a_strip_used_alone_offers_a_plan_and_hands_it_on() -> None:
    strip, used = DescribeStripWidget(), []
    strip.on("use", lambda plan: used.append(plan))
    with pytest.raises(LabError, match="nothing to use"):
        strip.do_use()
    from acestep_lab.plan.plan import Plan

    strip.offer(Plan(caption="dub " * 60))
    assert len(strip.offered) == 120
    strip.do_use()
    assert used[0].caption == "dub " * 60


# -- sounds brought in


def test_a_file_keeps_its_name_is_listed_and_survives_the_page(lab: PretendSession) -> None:
    page = page_of(lab)
    bring(page.drop, tone(3.0).encoded(), "my_guitar_idea.wav")
    assert names(page) == ["my_guitar_idea.wav"]
    assert page.drop.sounds[0]["seconds"] == pytest.approx(3.0)
    assert page.selected == tone(3.0)
    assert page.describe.source == "my_guitar_idea.wav"
    later = page_of(lab)
    later.drop.do_ready()
    assert names(later) == ["my_guitar_idea.wav"]
    later.drop.do_use(later.drop.sounds[0]["id"])
    assert later.selected == tone(3.0)
    later.drop.do_rename(later.drop.sounds[0]["id"], " idea  one ")
    assert names(later) == ["idea one"]
    with pytest.raises(SourceError, match="needs a name"):
        later.drop.do_rename(later.drop.sounds[0]["id"], "  ")
    later.drop.do_forget(later.drop.sounds[0]["id"])
    assert later.drop.sounds == []
    assert lab.library.sounds() == []


def test_a_part_is_kept_as_a_sound_of_its_own_that_says_where_it_was(lab: PretendSession) -> None:
    page = page_of(lab)
    bring(page.drop, tone(13.0).encoded(), "my_guitar_idea.wav")
    whole = page.drop.sounds[0]["id"]
    page.drop.do_trim(whole, 4, 12)
    assert names(page) == ["my_guitar_idea.wav 0:04–0:12", "my_guitar_idea.wav"]
    assert page.selected.seconds == pytest.approx(8.0)
    assert np.array_equal(page.selected.samples, tone(13.0).samples[:, 4 * RATE : 12 * RATE])
    page.drop.do_trim(whole, 1, 2.5, normalize=True)
    assert page.selected.peak == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    for start, end in ((5, 5), (-1, 3), (13, 20), (3, 2)):
        with pytest.raises(SourceError, match=r"lasts 0\.1 s or longer"):
            page.drop.do_trim(whole, start, end)
    assert trimmed(tone(2.0), 1, 99).seconds == pytest.approx(1.0)


def test_a_clipped_sound_is_said_to_be_one_and_a_loud_one_is_not() -> None:
    loud = tone(1.0).normalized(0.0)
    assert clipping(loud) == ""
    flat = Audio(np.clip(loud.samples * 3, -1, 1), RATE)
    assert "It is clipped in" in clipping(flat)
    assert "6.0 dB above full scale" in clipping(Audio(loud.samples * 2, RATE))
    assert clipping(Audio(np.zeros((1, 2), np.float32), RATE)) == ""


def test_nobody_sees_or_uses_anybody_elses_recordings(lab: PretendSession) -> None:
    host, ada, bob = page_of(lab), page_of(lab, "ada"), page_of(lab, "bob")
    bring(ada.drop, tone(3.0).encoded(), "ada.wav")
    id = ada.drop.sounds[0]["id"]
    for page in (host, bob):
        page.drop.do_ready()
        assert page.drop.sounds == []
        for ask in (page.drop.do_use, page.drop.do_hear, page.drop.do_peaks, page.drop.do_forget):
            with pytest.raises(LibraryError, match="not on your list"):
                ask(id)
        with pytest.raises(LibraryError, match="not on your list"):
            page.drop.do_rename(id, "mine")
    stolen = Recipe("dub", task=Cover(id))
    with pytest.raises(LibraryError, match="no recording of yours"):
        backend_of(lab).takes.check_sources(stolen, "bob")
    backend_of(lab).takes.check_sources(stolen, "ada")


def test_two_people_who_bring_the_same_each_have_it_by_their_own_name(lab: PretendSession, tmp_path: Path) -> None:
    ada, bob = page_of(lab, "ada"), page_of(lab, "bob")
    bring(ada.drop, tone(3.0).encoded(), "ada.wav")
    bring(bob.drop, tone(3.0).encoded(), "bob.wav")
    id = ada.drop.sounds[0]["id"]
    assert (names(ada), names(bob)) == (["ada.wav"], ["bob.wav"])
    bob.drop.do_rename(id, "bob too")
    ada.drop.show_sounds()
    assert names(ada) == ["ada.wav"]
    again = OwnedLibrary(Library(lab.library.folder))
    assert again.sound_name(id, "bob") == "bob too"
    assert again.sounds("") == []
    ada.drop.do_forget(id)
    assert ada.drop.sounds == []
    bob.drop.show_sounds()
    assert names(bob) == ["bob too"]
    again.library.close()


def test_the_hosts_recording_stays_the_hosts_when_somebody_brings_the_same(tmp_path: Path) -> None:
    first = OwnedLibrary(Library(tmp_path))
    first.keep_sound(tone(2.0), "", "host.wav")
    later = OwnedLibrary(Library(tmp_path))
    later.keep_sound(tone(2.0), "ada", "ada.wav")
    id = tone(2.0).id
    assert (later.sounds(""), later.sound_name(id, "")) == ([id], "host.wav")
    assert later.sound_name(id, "ada") == "ada.wav"
    first.library.close()
    later.library.close()


def test_what_a_take_started_from_leaves_the_list_and_stays_for_the_take(lab: PretendSession) -> None:
    page = page_of(lab)
    bring(page.drop, tone(2.0).encoded(), "hum.wav")
    take = page.start(Recipe("dub", task=Cover(page.selected), seed=1)).take()
    lab.keep(take.replace(parents=(tone(2.0).id,)))
    page.drop.do_forget(tone(2.0).id)
    assert page.drop.sounds == []
    assert lab.library.open_sound(tone(2.0).id) == tone(2.0)


def test_a_full_disk_leaves_the_sound_in_hand_and_on_the_list_of_the_page(lab: PretendSession) -> None:
    page = page_of(lab)
    lab.library.keep_sound = lambda audio: (_ for _ in ()).throw(LibraryError("There is no room."))  # type: ignore[method-assign]
    bring(page.drop, tone(2.0).encoded(), "hum.wav")
    assert "There is no room." in page.drop.status
    assert names(page) == ["hum.wav"]
    assert page.selected == tone(2.0)


def test_a_visitor_keeps_so_many_recordings_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acestep_lab.jobs.owned_library.MOST_SOUNDS", 2)
    takes = OwnedLibrary(Library(tmp_path))
    for seed in (1, 2):
        takes.keep_sound(tone(0.5, seed), "ada", f"{seed}.wav")
    with pytest.raises(LibraryError, match="forget one"):
        takes.keep_sound(tone(0.5, 3), "ada", "3.wav")
    takes.keep_sound(tone(0.5, 2), "ada", "again.wav")
    assert MOST_SOUNDS > 2
    takes.library.close()


def test_files_of_two_views_do_not_mix_and_a_refused_one_is_told_to_its_own() -> None:
    drop, came = SoundDropWidget(), []
    drop.on("sound", lambda sound, name: came.append((name, sound.id)))
    messages = sent(drop)
    one, two = tone(1.0, 1).encoded(), tone(1.0, 2).encoded()
    drop.receive({"kind": "begin", "name": "one.wav", "size": len(one), "turn": "a"})
    drop.receive({"kind": "begin", "name": "two.wav", "size": len(two), "turn": "b"})
    drop.receive({"kind": "begin", "name": "notes.txt", "size": 3, "turn": "c"})
    drop.receive({"kind": "piece", "at": 0, "turn": "b"}, [two])
    drop.receive({"kind": "piece", "at": 0, "turn": "a"}, [one])
    assert came == [("two.wav", tone(1.0, 2).id), ("one.wav", tone(1.0, 1).id)]
    assert [m["turn"] for m in messages if m["kind"] == "refused"] == ["c"]
    assert "notes.txt" in next(m["text"] for m in messages if m["kind"] == "error")
    assert [row["name"] for row in drop.sounds] == ["one.wav", "two.wav"], "used alone it holds them in memory"


# -- adapters


def test_adapters_are_added_weighed_switched_and_removed(lab: PretendSession, growl: str) -> None:
    page = page_of(lab)
    page.adapters.do_add(growl)
    until(lambda: lab.adapters)
    until(lambda: not page.adapters.waits)
    assert page.adapters.rows == [{"name": "growl", "strength": 1.0, "on": True}]
    page.adapters.do_weigh("growl", -2.5)
    until(lambda: lab.adapters[0][2] == -2.5)
    page.adapters.do_switch("growl", False)
    until(lambda: lab.adapters == ())
    until(lambda: page.adapters.rows == [{"name": "growl", "strength": -2.5, "on": False}])
    page.adapters.do_remove("growl")
    until(lambda: page.adapters.rows == [])


def test_what_is_no_adapter_is_answered_and_leaves_all_as_it_was(lab: PretendSession, growl: str) -> None:
    adapters = AdapterList(lab)
    adapters.add(growl)
    for ask, answer in (
        (lambda: adapters.add(f"{growl}.not"), "no adapter"),
        (lambda: adapters.add(" "), "Write where"),
        (lambda: adapters.add(growl), "here already"),
        (lambda: adapters.weigh("growl", 4), "between -3 and 3"),
        (lambda: adapters.switch("choir", True), "no adapter 'choir'"),
    ):
        with pytest.raises(LabError, match=answer):
            ask()
    assert [slot.name for slot in adapters.slots] == ["growl"]
    assert not adapters.waits


def test_a_visitor_only_switches_what_the_host_added_and_is_told_no_place(lab: PretendSession, growl: str) -> None:
    host, ada = page_of(lab), page_of(lab, "ada")
    backend_of(lab).adapters.add(growl)
    assert not ada.adapters.host
    assert [row["name"] for row in ada.adapters.rows] == ["growl"]
    assert growl not in json.dumps(ada.adapters.rows)
    messages = sent(ada.adapters)
    for body in ({"kind": "add", "place": growl}, {"kind": "weigh", "name": "growl", "strength": 2.0},
                 {"kind": "remove", "name": "growl"}):  # fmt: skip
        before = len(messages)
        ada.adapters.receive(body)
        until(lambda before=before: any("Only the host" in m.get("text", "") for m in messages[before:]))
    ada.adapters.receive({"kind": "switch", "name": "growl", "on": False})
    until(lambda: lab.adapters == ())
    until(lambda: not host.adapters.rows[0]["on"])


def test_a_run_under_way_keeps_its_adapters_and_the_page_says_that_it_waits(tmp_path: Path, growl: str) -> None:
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "gated", gate=gate)
    page = page_of(session)
    run = page.start(Recipe("dub", seconds=2, seed=3))
    gate.release()
    until(lambda: run.steps)
    page.adapters.do_add(growl)
    until(lambda: page.adapters.waits)
    assert session.adapters == ()
    [gate.release() for _ in range(20)]
    assert run.take().made_with["adapters"] == {}
    until(lambda: session.adapters)
    until(lambda: not page.adapters.waits)
    assert page.start(Recipe("dub", seconds=2, seed=3)).take().made_with["adapters"] == {"growl": 1.0}
    session.close()
    session.library.close()


def test_a_slider_moved_often_while_a_run_is_under_way_is_put_on_once_as_it_stands_last(
    tmp_path: Path, growl: str
) -> None:
    gate = threading.Semaphore(0)
    session = PretendSession(tmp_path / "gated", gate=gate)
    page = page_of(session)
    backend_of(session).adapters.add(growl)
    run = page.start(Recipe("dub", seconds=2, seed=3))
    gate.release()
    until(lambda: run.steps)
    messages = sent(page.adapters)
    for strength in range(-3, 3):
        for part in (0.0, 0.25, 0.5, 0.75):
            page.adapters.do_weigh("growl", strength + part)
    until(lambda: page.adapters.rows[0]["strength"] == 2.75)
    [gate.release() for _ in range(20)]
    run.take()
    until(lambda: session.adapters[0][2] == 2.75 and not page.adapters.waits)
    assert not [m for m in messages if m["kind"] == "error"]
    session.close()
    session.library.close()


def test_with_and_without_makes_two_takes_that_differ_in_the_adapters_alone(lab: PretendSession, growl: str) -> None:
    page = page_of(lab)
    backend_of(lab).adapters.add(growl)
    page.prompt.do_edit("caption", "dub")
    page.prompt.do_edit("seconds", "2")
    page.adapters.do_pair()
    runs = until(lambda: (found := backend_of(lab).jobs.runs())[1:] and all(run.over for run in found) and found)
    without, worn = runs
    assert worn.take().made_with["adapters"] == {"growl": 1.0}
    assert without.take().made_with["adapters"] == {}
    assert worn.take().recipe == without.take().recipe
    assert "with growl" in worn.title
    assert "without growl" in without.title
    assert lab.adapters, "they are on again"
    until(lambda: page.gallery.grid)
    assert page.gallery.grid["cells"] == [[worn.take().id, without.take().id]]


def test_a_panel_is_not_offered_where_nothing_can_be_put_on(lab: PretendSession) -> None:
    page = page_of(lab)
    assert page.adapters.offered
    backend_of(lab).use("pretend-tokens")
    assert not page.adapters.offered


# -- planners


def test_another_planner_is_read_about_then_used(lab: PretendSession) -> None:
    page = page_of(lab)
    page.checkpoints.planners = lambda name: (
        OfferedPlanner("small", "quick"),
        OfferedPlanner("big", missing="Fetch it."),
    )
    page.switch.do_list()
    until(lambda: page.switch.choices)
    page.switch.do_choose("pretend")
    until(lambda: page.switch.planners)
    with pytest.raises(LabError, match="Fetch it"):
        page.switch.do_choose_planner("big")
    with pytest.raises(LabError, match="no planner 'huge'"):
        page.switch.do_choose_planner("huge")
    page.switch.do_choose_planner("small")
    until(lambda: page.switch.cost and not page.switch.busy)
    page.switch.do_use()
    until(lambda: lab.planners == {"pretend": "small"})
    until(lambda: page.switch.chosen == "")
