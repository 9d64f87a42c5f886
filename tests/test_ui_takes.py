"""Gallery, tree and sweeps over a library, without a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, RecipeError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover, Extract, Stitch
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.gallery import PAGE, GalleryWidget
from acestep_lab.ui.studio import Studio
from acestep_lab.ui.sweeps import Sweep, file_of
from tests.pretend import PretendSession, tone
from tests.test_ui_editors import sent


def until(so: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := so()) and time.monotonic() < end:
        time.sleep(0.01)
    assert found
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PretendSession]:
    session = PretendSession(tmp_path / "library", pause=0.0)
    yield session
    session.close()


def studio(session: PretendSession, owner: str = "", address: str = "") -> Studio:
    return Studio(backend_of(session), owner, address=address, panes=False, catalog=tuple)


def make(page: Studio, *recipes: Recipe) -> list[Take]:
    run = page.start(list(recipes))
    takes = run.takes()
    until(lambda: {take.id for take in takes} <= {card["id"] for card in page.gallery._cards})
    return takes


def put(library: Library, seed: int, **about: Any) -> Take:
    take = Take(
        Recipe(about.pop("words", "dub"), seconds=1, seed=seed, **about.pop("asked", {})), tone(1.0, seed),
        np.zeros((2, 8), np.float32), created=f"2026-01-01T00:{seed // 60:02d}:{seed % 60:02d}+00:00", **about,
    )  # fmt: skip
    library.keep(take)
    return take


def card(gallery: Any, id: str) -> dict[str, Any]:
    return next(one for one in gallery.cards if one["id"] == id)


def test_a_gallery_alone_reads_and_writes_what_the_library_knows(lab: PretendSession) -> None:
    one, two = put(lab.library, 1), put(lab.library, 2)
    lab.library.mark(one.id, star=True, title="The keeper", tags=["live"], scores={"agreement": 0.5})
    gallery = GalleryWidget(lab.library)
    assert [c["title"] for c in gallery.cards] == ["dub", "The keeper"]
    assert (card(gallery, one.id)["star"], card(gallery, one.id)["tags"]) == (True, ["live"])
    assert gallery.columns[0]["name"] == "agreement"
    gallery.receive({"kind": "mark", "id": two.id, "title": "Second", "tags": ["slow", " slow "]}, [])
    assert lab.library.card(two.id).title == "Second"
    assert (gallery.known_tags, card(gallery, two.id)["tags"]) == (["live", "slow"], ["slow"])
    messages = sent(gallery)
    gallery.receive({"kind": "more_like", "id": one.id}, [])
    assert "give it a session" in messages[-1]["text"]
    alive = GalleryWidget(session=lab)
    alive.receive({"kind": "more_like", "id": one.id}, [])
    until(lambda: alive.total == 6)
    assert len({c["seed"] for c in alive.cards}) == 6


def test_cards_come_page_by_page_in_any_order_and_narrowed(lab: PretendSession) -> None:
    for seed in range(1, 31):
        put(lab.library, seed, words=f"song {seed:02d}", asked={"bpm": 60 + seed} if seed % 2 else {})
    gallery = GalleryWidget(lab.library)
    assert (len(gallery.cards), gallery.total) == (PAGE, 30)
    gallery.do_more()
    assert len(gallery.cards) == 30
    for down, first in ((False, "song 01"), (True, "song 29")):
        gallery.do_sort("tempo", down)
        assert gallery.cards[0]["title"] == first
        assert gallery.cards[-1]["measured"]["tempo"]["asked"] is None, "what has no tempo comes last, both ways"
    with pytest.raises(RecipeError, match="in order of"):
        gallery.do_sort("mood")
    gallery.do_search("song 07")
    assert [c["title"] for c in gallery.cards] == ["song 07"]


def test_takes_of_one_run_stay_together_and_one_walks_from_run_to_run(lab: PretendSession) -> None:
    page = studio(lab)
    first = make(page, Recipe("one", seconds=1, seed=1), Recipe("one", seconds=1, seed=2))
    make(page, Recipe("two", seconds=1, seed=3))
    gallery = page.gallery
    until(lambda: gallery.batch == {"at": 0, "of": 2})
    gallery.do_batch(1)
    assert [c["title"] for c in gallery.cards] == ["two"]
    gallery.do_batch(1)
    assert {c["id"] for c in gallery.cards} == {take.id for take in first}
    assert gallery.batch == {"at": 2, "of": 2}
    gallery.do_batch(1)
    assert gallery.batch["at"] == 2, "there is none before the first"
    gallery.do_batch(0)
    assert gallery.total == 3


def test_one_take_goes_to_the_bin_and_comes_back_by_itself(lab: PretendSession) -> None:
    page = studio(lab)
    one, two = make(page, Recipe("one", seconds=1, seed=1), Recipe("two", seconds=1, seed=2))
    page.gallery.receive({"kind": "bin", "ids": [one.id]}, [])
    assert [c["id"] for c in page.gallery.cards] == [two.id]
    assert page.gallery.binned == [{"id": one.id, "title": "one"}]
    page.gallery.receive({"kind": "bin", "ids": [two.id]}, [])
    page.gallery.receive({"kind": "restore", "ids": [one.id]}, [])
    assert [c["id"] for c in page.gallery.cards] == [one.id]
    messages = sent(page.gallery)
    page.gallery.receive({"kind": "restore", "ids": [one.id]}, [])
    assert "not in the bin any more" in messages[-1]["text"]


def test_what_was_measured_is_said_with_how_sure_it_is(lab: PretendSession) -> None:
    one = put(lab.library, 1, asked={"bpm": 120, "keyscale": "F# minor"})
    lab.library.mark(
        one.id,
        scores={"tempo": 118.0, "pulse": 0.05, "key": 0.2, "meter": 0.9, "loudness": -14.0},
        heard={"keyscale": "A minor", "timesignature": "3"},
    )
    seen = card(GalleryWidget(lab.library), one.id)["measured"]
    assert seen["tempo"] == {"heard": 118.0, "asked": 120, "sure": False, "same": True, "said": "as asked"}
    apart = {"heard": "A minor", "asked": "F# minor", "sure": True, "same": False, "said": "another key"}
    assert seen["key"] == apart
    assert (seen["meter"]["heard"], seen["loudness"]) == ("3/4", -14.0)


def test_a_waveform_is_drawn_once_for_all_pages_and_kernels(lab: PretendSession) -> None:
    one = put(lab.library, 1)
    for _ in range(2):
        gallery = GalleryWidget(lab.library)
        messages = sent(gallery)
        gallery.do_peaks(one.id)
        until(lambda messages=messages: messages)
        assert len(messages[0]["buffers"][0]) > 100
    lab.library.sound(one.id).unlink()
    messages = sent(last := GalleryWidget(lab.library))
    last.do_peaks(one.id)
    assert len(messages[0]["buffers"][0]) > 100, "the sound is not read again"
    with pytest.raises(LabError, match=r"keeps no take|no take"):
        last.do_peaks("take-0000")


def test_the_tree_is_the_library_s_whatever_is_searched_for(lab: PretendSession) -> None:
    page = studio(lab)
    sound = tone(1.0, 5)
    lab.library.keep_sound(sound)
    lab.library.name_sound(sound.id, "idea.wav")
    root = put(lab.library, 1, parents=(sound.id,))
    gone = "take-00000000"
    child = put(lab.library, 2, asked={"task": Extract(root.id, "drums")}, parents=(root.id, gone))
    page.list_takes()
    page.select(page.open(child.id))
    page.gallery.do_search("nothing has these words")
    states = {node["id"]: (node["state"], node["title"]) for node in page.tree.nodes}
    assert states == {
        sound.id: ("recording", "idea.wav"), root.id: ("here", "dub"), child.id: ("here", "Drums of dub"), gone: ("gone", ""),
    }  # fmt: skip
    page.tree.receive({"kind": "select", "id": sound.id}, [])
    assert isinstance(page.selected, Audio)
    assert page.player.track["title"] == "idea.wav"
    page.gallery.do_search("")
    page.gallery.receive({"kind": "bin", "ids": [root.id]}, [])
    page.select(page.open(child.id))
    assert next(node for node in page.tree.nodes if node["id"] == root.id)["state"] == "bin"
    messages = sent(page.tree)
    page.tree.receive({"kind": "select", "id": root.id}, [])
    assert "cannot be selected" in messages[-1]["text"]


def test_somebody_else_s_titles_marks_and_parents_stay_theirs(lab: PretendSession) -> None:
    ada, bob = studio(lab, "ada", "192.0.2.1"), studio(lab, "bob", "192.0.2.2")
    [hers] = make(ada, Recipe("secret words", seconds=1, seed=1))
    ada.gallery.receive({"kind": "mark", "id": hers.id, "title": "my secret", "tags": ["private"]}, [])
    child = Take(
        Recipe("mine", seconds=1, seed=2, task=Extract(hers.id, "drums")), tone(1.0, 2), np.zeros((2, 8), np.float32),
        parents=(hers.id,),
    )  # fmt: skip
    bob.add(child)
    assert [c["title"] for c in bob.gallery.cards] == ["Drums of mine"]
    assert bob.gallery.known_tags == []
    other = next(node for node in bob.tree.nodes if node["id"] == hers.id)
    assert (other["state"], other["title"], other["here"]) == ("other", "", False)


def test_a_sweep_outlives_its_page_and_what_is_missing_is_made_later(tmp_path: Path) -> None:
    gate = threading.Semaphore(0)
    first = PretendSession(tmp_path / "library", gate=gate)
    page = studio(first)
    recipes = [[Recipe("swept", seconds=1, seed=4, shift=value) for value in (1.0, 2.0)]]
    page.composing._start_sweep(("shift", [1.0, 2.0]), None, recipes)
    run = first.jobs.waiting[0]
    run.stop()
    until(lambda: run.over)
    first.close()
    first.library.close()
    second = PretendSession(tmp_path / "library", pause=0.0)
    page = studio(second)
    assert (page.gallery.grid["missing"], page.gallery.grid["cells"]) == (2, [["", ""]])
    page.gallery.receive({"kind": "complete_sweep"}, [])
    until(lambda: page.gallery.grid["missing"] == 0)
    made = [second.library.open(id).recipe for id in page.gallery.grid["cells"][0]]
    assert [recipe.sampling.shift for recipe in made] == [1.0, 2.0]
    assert [recipe.seed for recipe in made] == [4, 4]
    until(lambda: second.jobs.waiting == ())
    path = file_of(second.library.folder)
    assert path is not None
    again = Sweep.read(path)
    assert again is not None
    assert again.missing == []
    path.write_text("{}")
    messages = sent(page.gallery)
    page.collecting._read_sweep()
    assert "cannot be read" in messages[-1]["text"]
    second.close()


def test_a_comparison_can_be_asked_for_in_python(lab: PretendSession) -> None:
    one, two = put(lab.library, 1), put(lab.library, 2, words="choir")
    gallery = GalleryWidget(lab.library)
    gallery.compare([one, two.id], blind=True)
    assert [(lane["title"], lane["blind"]) for lane in gallery.compared] == [("dub", True), ("choir", True)]
    with pytest.raises(RecipeError, match="From two to 4"):
        gallery.compare([one])


def test_what_is_said_on_one_page_is_seen_on_the_other(lab: PretendSession) -> None:
    here, there = studio(lab), studio(lab)
    [one] = make(here, Recipe("one", seconds=1, seed=1))
    until(lambda: there.gallery.total == 1)
    here.gallery.receive({"kind": "mark", "id": one.id, "title": "The keeper", "star": True}, [])
    assert (there.gallery.cards[0]["title"], there.gallery.cards[0]["star"]) == ("The keeper", True)
    there.gallery.receive({"kind": "bin", "ids": [one.id]}, [])
    assert (here.gallery.total, here.gallery.trashed) == (0, 1)
    here.close()
    there.gallery.receive({"kind": "restore"}, [])
    assert (there.gallery.total, here.gallery.total) == (1, 0), "a page that is gone hears nothing"


def test_a_cover_of_a_sound_that_was_brought_says_the_name_of_its_file(lab: PretendSession) -> None:
    page, idea = Studio(backend_of(lab), panes=False), tone(2.0, 5)
    page.backend.takes.keep_sound(idea, "", "my_guitar_idea.wav")
    page.start(lab.recipe_from(idea, Cover(idea), caption="soft piano")).takes()
    page.list_takes()
    card = page.gallery.cards[0]
    assert (card["title"], card["parent_title"]) == ("Cover of my_guitar_idea.wav", "my_guitar_idea.wav")
    page.close()


def test_a_stitched_song_is_called_so(lab: PretendSession) -> None:
    page = Studio(backend_of(lab), panes=False)
    first = page.start(Recipe("dub", seconds=2, seed=1)).take()
    page.start(Recipe("dub", task=Stitch((first, first), 0.1))).takes()
    page.list_takes()
    assert page.gallery.cards[0]["title"] == "dub, stitched"
    page.close()
