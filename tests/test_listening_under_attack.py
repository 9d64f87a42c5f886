"""What strangers, damaged files, and two who ask at once do to what was heard in a take and lies beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from acestep_lab.errors import LibraryError
from acestep_lab.jobs import annotating, noting
from acestep_lab.jobs.aligning import kept_alignment
from acestep_lab.jobs.attributing import kept_attribution
from acestep_lab.jobs.noting import kept_notes
from acestep_lab.jobs.scoring import kept_scores
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover
from acestep_lab.remote.connection import Connection
from acestep_lab.remote.transfer import send_take
from acestep_lab.serve.api import ApiServer
from acestep_lab.takes.take import Take
from acestep_lab.ui.attribution import AttributionWidget
from acestep_lab.ui.backend import backend_of
from acestep_lab.ui.lyric_lane import Without
from acestep_lab.ui.lyric_lane import told as lyrics_told
from acestep_lab.ui.note_lane import told as notes_told
from acestep_lab.ui.studio import Studio
from acestep_lab.ui.waveform_picker import WaveformPicker
from tests.pretend import PretendSession, tone

ADA = "the-key-of-ada"
WORDS = "[Verse]\na line here\nand another\n[Chorus]\nla la"
SONG = Recipe("dub, warm pad", lyrics=WORDS, seconds=1.5, bpm=100, seed=3)
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 1e300, 10**30, "", "<img src=x onerror=alert(1)>", "\u202e", [], {}, [[[[]]]], {"a": {"b": 1}}, "9" * 5000,
)  # fmt: skip
KINDS = {
    "alignment": (kept_alignment, lambda one: [one.lrc(True), one.vtt(), one.srt(), lyrics_told(one, Without())]),
    "scores": (kept_scores, lambda one: one.to_json()),
    "notes": (kept_notes, lambda one: [len(one.midi()), notes_told(one)]),
    "attribution": (kept_attribution, lambda one: [AttributionWidget(one).caption, one._repr_html_(), one.to_json()]),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretendSession]:
    made = PretendSession(tmp_path_factory.mktemp("attacked"), pause=0.001)
    yield made
    made.close()
    made.library.close()


@pytest.fixture(scope="module")
def take(lab: PretendSession) -> Take:
    made: Take = lab.keep(lab.make(SONG))
    return made


def claiming(take: Take, seed: int) -> Take:
    """A take whose file says that it was made from another one."""
    return Take(SONG.replace(task=Cover(take.id)), tone(1.5, seed), np.zeros((4, 8), np.float32), parents=(take.id,))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value of plain data has values; of a list only the first."""
    yield at
    keys = list(value)[:9] if isinstance(value, dict) else range(min(1, len(value))) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*at, key))


def swapped(value: Any, at: tuple[Any, ...], other: Any) -> Any:
    """Plain data with another value in one place."""
    if not at:
        return other
    made = dict(value) if isinstance(value, dict) else list(value)
    made[at[0]] = swapped(value[at[0]], at[1:], other)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_lies_beside_a_take_is_read_as_what_it_is_or_counts_as_nothing(
    kind: str, lab: PretendSession, take: Take
) -> None:
    """Every place of the file in turn holds something else, and what is read of it can be shown, written and sent."""
    ask = {
        "alignment": lab.align,
        "scores": lab.scores,
        "notes": lab.notes,
        "attribution": lambda one: lab.attribute(one).result(),
    }
    ask[kind](take)
    file = lab.library.folder / f"{take.id}.{kind}.json"
    whole, (read, use) = json.loads(file.read_text()), KINDS[kind]
    assert read(lab.library, take.id) is not None
    for number, place in enumerate(places(whole)):
        file.write_text(json.dumps(swapped(whole, place, HOSTILE[number % len(HOSTILE)])))
        found = read(lab.library, take.id)
        if found is not None:
            assert "<img" not in str(getattr(found, "_repr_html_", str)())
            json.dumps(use(found), allow_nan=False)
    for text in ("", "[" * 50_000, '{"key": NaN}', "null", "\x00"):
        file.write_text(text)
        assert read(lab.library, take.id) is None
    file.write_text(json.dumps(whole))


def test_an_alignment_in_which_nothing_was_found_is_an_empty_file_of_every_form() -> None:
    assert [Alignment(()).written(form) for form in ("lrc", "word-lrc", "srt")] == ["", "", ""]
    assert Alignment(()).vtt().startswith("WEBVTT")


def test_of_two_who_ask_for_the_same_at_once_one_listens(
    lab: PretendSession, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    real = noting.listen_for_notes
    monkeypatch.setattr(noting, "listen_for_notes", lambda *how, **more: (heard.append(1), real(*how, **more))[1])
    (lab.library.folder / f"{take.id}.notes.json").unlink(missing_ok=True)
    asking = [threading.Thread(target=lab.notes, args=(take,)) for _ in range(3)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert heard == [1]
    assert annotating._turns.get(lab.library) == {}, "nothing is left of those who waited"


def test_what_was_found_of_a_take_that_has_gone_is_told_and_kept_nowhere(lab: PretendSession) -> None:
    gone: Take = lab.keep(lab.make(SONG.replace(seed=9)))
    lab.library.bin(gone.id)
    assert annotating.keep(lab.library, gone.id, "notes", {}) == ()
    assert lab.notes(gone).to_json()
    assert not list(lab.library.folder.glob(f"{gone.id}.*"))


@pytest.mark.parametrize("verb", ["scores", "notes", "align", "attribution_cost", "analyze", "plan_score"])
def test_nobody_listens_to_somebody_elses_take_or_with_what_it_was_made_from(
    verb: str, lab: PretendSession, take: Take
) -> None:
    with ApiServer(lab, 0, keys=["the-hosts-key", ADA]) as door:
        ada = Connection(door.address, ADA, patience=0.3)
        named = "take" if verb == "attribution_cost" else "source"
        with pytest.raises(LibraryError, match="somebody else"):
            ada.post(f"/v1/lab/do/{verb}", {named: take.id})
        mine = send_take(ada, claiming(take, 4)).id
        if verb in ("scores", "align", "attribution_cost"):
            with pytest.raises(LibraryError, match="somebody else"):
                ada.post(f"/v1/lab/do/{verb}", {named: mine})


def test_a_page_neither_aligns_nor_measures_with_what_is_somebody_elses(lab: PretendSession, take: Take) -> None:
    page = Studio(backend_of(lab), owner="ada")
    claims = claiming(take, 5)
    page.backend.takes.keep(claims, "ada")
    for work in (
        lambda: page.singing._find(claims),
        lambda: page.collecting.listing.measure(claims.id),
        lambda: page.attributing._as_made(claims),
    ):
        with pytest.raises(LibraryError, match="somebody else"):
            work()
    with pytest.raises(LibraryError, match="somebody else"):
        page.collecting.listing.open(take.id)
    page.close()


def test_a_component_of_two_lanes_answers_what_a_page_may_ask_of_either() -> None:
    assert {"lyrics", "find_lyrics", "notes", "midi", "ready", "repaint"} <= set(WaveformPicker._requests)
