"""Labels: what is measured is heard, what is guessed is voted on, what a person wrote stays, and a thousand songs survive a kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LibraryError, RecipeError, SourceError, Stopped
from acestep_lab.listen.analysis import Analysis
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.vocabulary import LANGUAGES, STEMS
from acestep_lab.session_like import SessionLike
from acestep_lab.train.activation_tag import position_of, tagged, taught_caption
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.label import Labelled, Listeners, label, labelled, loudest_part
from acestep_lab.train.label_progress import LabelProgress
from acestep_lab.train.label_votes import counted_tempo, guessed, likeness, measured, voice
from acestep_lab.train.labels import TAG_POSITIONS, Label, Remark, read_value
from acestep_lab.train.song import Song
from tests.pretend import PretendSession, tone

HEARD = Analysis(
    bpm=120.4, pulse=0.8, keyscale="F# minor", key_confidence=0.3, timesignature="3", meter_confidence=0.9, loudness=-14.0,
    instruments=tuple((stem, 0.95 if stem in ("drums", "bass", "vocals") else 0.02) for stem in STEMS),
)  # fmt: skip
PLANS = (
    Plan(caption="slow dub with deep bass", genres="dub", language="en", lyrics="[Verse]\nla la"),
    Plan(caption="slow dub with bass", genres="Dub", language="de", lyrics="[Verse]\nla lu"),
    Plan(caption="bright house", genres="house", language="en", lyrics="[Verse]\nhey"),
)
FILLED = {"caption", "genre", "language", "bpm", "keyscale", "timesignature", "instruments", "instrumental"}


class Ear:
    """Listeners that count what they are asked, and fail where they are told to."""

    def __init__(
        self, analysis: Analysis = HEARD, plans: tuple[Plan, ...] = PLANS, quieter: float | None = 3.0
    ) -> None:
        self.analysis, self.plans, self.quieter = analysis, plans, quieter
        self.asked: list[tuple[str, str]] = []
        self.tempi: list[float | None] = []
        self.wrong: dict[str, BaseException] = {}

    def _ask(self, what: str, sound: Any) -> None:
        name = Path(sound).name if isinstance(sound, str) else ""
        self.asked.append((what, name))
        for place, problem in self.wrong.items():
            if place in (what, name, f"{what} {name}"):
                raise problem

    def analyze(self, sound: Any, bpm: float | None) -> Analysis:
        self._ask("analyze", sound)
        self.tempi.append(bpm)
        return self.analysis

    def understand(self, sound: Any, seed: int) -> Plan:
        self._ask("understand", sound)
        return self.plans[seed % len(self.plans)]

    def extract(self, sound: Audio) -> Audio:
        self._ask("extract", sound)
        return sound.gain(-float(self.quieter or 0.0))

    def listeners(self, **changes: Any) -> Listeners:
        return replace(Listeners(self.analyze, self.understand, self.extract, "ear"), **changes)


@pytest.fixture
def songs(tmp_path: Path) -> Dataset:
    """Three songs of a second and a bit, of which nothing is said."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for number, name in enumerate(("a.wav", "b.wav", "c.wav"), start=1):
        tone(1.2, seed=number).write(folder / name)
    return Dataset.scan(folder)


def done(songs: Dataset, ear: Ear, **how: Any) -> Dataset:
    return labelled(songs, label(songs, ear.listeners(), **how))


# -- who said it -------------------------------------------------------------------------------------------------------


def test_what_is_measured_is_heard_and_the_rest_is_guessed_with_how_many_agree(songs: Dataset) -> None:
    song = done(songs, Ear())[0]
    said = {name: (one.value, one.source) for name, one in song.labels.items() if not one.is_open}
    assert said == {
        "bpm": (120, "heard"), "keyscale": ("F# minor", "heard"), "timesignature": ("3", "heard"),
        "instruments": ("bass, drums, vocals", "heard"), "instrumental": (False, "heard"),
        "genre": ("dub", "guessed"), "language": ("en", "guessed"), "caption": ("slow dub with deep bass", "guessed"),
    }  # fmt: skip
    assert song.labels["bpm"].sure == pytest.approx(0.8)
    assert song.labels["genre"].sure == pytest.approx(2 / 3, abs=1e-3)
    assert song.instruments == ("bass", "drums", "vocals")
    assert "lyrics" not in said


def test_lyrics_are_guessed_only_where_that_is_asked_for_and_nobody_wrote_any(songs: Dataset) -> None:
    songs = songs.edit("b.wav", lyrics="[Verse]\nmy own words")
    found = done(songs, Ear(), lyrics=True)
    assert (found["a.wav"].lyrics, found["a.wav"].labels["lyrics"].source) == ("[Verse]\nla la", "guessed")
    assert found["b.wav"].labels["lyrics"] == songs["b.wav"].labels["lyrics"]


@given(
    st.dictionaries(st.sampled_from(sorted(FILLED)), st.sampled_from(["written", "locked open", "locked"]), min_size=1)
)
@settings(max_examples=25, deadline=None)
def test_what_is_written_or_locked_is_never_overwritten(tmp_path_factory: Any, marks: dict[str, str]) -> None:
    own = {
        "caption": "mine", "genre": "polka", "language": "pt", "bpm": 77, "keyscale": "C major", "timesignature": "2",
        "instruments": "kazoo", "instrumental": True,
    }  # fmt: skip
    labels = {
        name: Label(
            None if how == "locked open" else own[name], "guessed" if how == "locked" else "written", how != "written"
        )
        for name, how in marks.items()
    }
    path = tmp_path_factory.getbasetemp() / "kept.wav"
    if not path.exists():
        tone(1.2).write(path)
    before = Song("kept.wav", 1.2, labels, path)
    after = done(Dataset((before,)), Ear())[0]
    assert {name: after.labels[name] for name in marks} == {name: before.labels[name] for name in marks}
    assert all(not after.labels[name].is_open for name in FILLED - set(marks) - {"language"})


def test_nobody_listens_for_what_may_not_be_filled(songs: Dataset) -> None:
    ear = Ear()
    assert [event.labels for event in label(songs.lock(), ear.listeners())] == [{}, {}, {}]
    assert ear.asked == []
    done(songs.edit(0, caption="x", genre="y", language="en")[:1], ear)
    assert {what for what, _ in ear.asked} == {"analyze", "extract"}


def test_a_tempo_that_a_person_wrote_tells_the_meter_which_beat_to_count(songs: Dataset) -> None:
    ear = Ear()
    done(songs.edit("b.wav", bpm=90), ear)
    assert ear.tempi == [None, 90, None]


def test_the_meter_is_heard_by_the_octave_that_the_planner_counts(songs: Dataset) -> None:
    ear = Ear(plans=tuple(replace(plan, bpm=240) for plan in PLANS))
    assert done(songs[:1], ear)[0].bpm == 241
    assert ear.tempi == [None, pytest.approx(240.8)]


def test_labelling_is_one_change_that_can_be_undone_and_labels_of_machines_are_made_anew(songs: Dataset) -> None:
    first = done(songs, Ear())
    assert first.undo().songs == songs.songs
    again = done(first, Ear(replace(HEARD, bpm=60.0), PLANS[:1]), seeds=1)
    assert (again[0].bpm, again[0].genre, again[0].labels["genre"].sure) == (60, "dub", None)


# -- voices ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extracted", "chance", "sings"),
    [
        (-2.0, None, True), (-2.0, 0.0, True), (-60.0, None, False), (float("-inf"), 0.1, False), (-60.0, 0.9, None),
        (-14.0, 0.9, True), (-14.0, 0.1, False), (-14.0, 0.52, None), (None, 0.9, True), (None, 0.1, False), (None, None, None),
        (-14.0, None, None),
    ],
)  # fmt: skip
def test_a_voice_is_told_by_its_loudness_else_by_ear_else_not_at_all(
    extracted: float | None, chance: float | None, sings: bool | None
) -> None:
    found = None if chance is None else replace(HEARD, instruments=(("vocals", chance), ("drums", 1.0)))
    said = voice(found, extracted)
    assert said.sings is sings
    assert 0 <= said.sure <= 1


def test_a_song_without_a_voice_has_no_language_to_guess_and_a_sheet_that_says_so(songs: Dataset) -> None:
    mute = replace(HEARD, instruments=tuple((stem, 0.01) for stem in STEMS))
    found = done(songs, Ear(mute, quieter=60.0), lyrics=True)[0]
    assert (found.instrumental, found.language, found.lyrics) == (True, None, "[Instrumental]")


def test_lyrics_of_a_person_say_that_somebody_sings_and_nobody_extracts(songs: Dataset) -> None:
    ear = Ear(quieter=60.0)
    found = done(songs.edit(lyrics="[Verse]\nhello"), ear)
    assert all(song.instrumental is False for song in found)
    assert not any(what == "extract" for what, _ in ear.asked)


def test_a_sheet_of_a_person_that_asks_for_no_voice_is_believed(songs: Dataset) -> None:
    found = done(songs.edit(lyrics="[instrumental]"), Ear())
    assert all((song.instrumental, song.language) == (True, None) for song in found)


def test_without_extract_the_ear_decides_and_without_an_ear_it_stays_open(songs: Dataset) -> None:
    ear = Ear()
    heard = [event.song.instrumental for event in label(songs, ear.listeners(extract=None))]
    assert heard == [False] * 3
    nobody = list(label(songs, ear.listeners(extract=None, analyze=None)))
    assert all(event.song.instrumental is None for event in nobody)


@given(st.integers(0, 8), st.floats(0.5, 3.0))
@settings(max_examples=20, deadline=None)
def test_the_loudest_part_holds_what_is_loud(start: int, seconds: float) -> None:
    samples = np.full((2, 12_000), 0.01, np.float32)
    samples[:, start * 1000 : start * 1000 + 400] = 0.9
    part = loudest_part(Audio(samples, 1000), seconds)
    assert part.seconds == pytest.approx(seconds, abs=0.11)
    assert (part.samples > 0.5).sum() == 2 * 400


# -- votes -------------------------------------------------------------------------------------------------------------


def test_a_genre_that_no_two_of_several_readings_share_stays_open_with_a_remark(songs: Dataset) -> None:
    plans = tuple(replace(plan, genres=name) for plan, name in zip(PLANS, ("dub", "rock", "jazz"), strict=True))
    song = done(songs, Ear(plans=plans))[0]
    assert song.genre == ""
    assert [one.field for one in song.remarks if one.kind == "unsure"] == ["genre"]
    assert song.caption


def test_a_language_that_the_lyrics_are_not_written_in_is_no_answer() -> None:
    russian = [replace(plan, language="ru") for plan in PLANS]
    assert "language" not in guessed(PLANS, "привет, мой старый друг", True)
    assert guessed(russian, "привет, мой старый друг", True)["language"].value == "ru"


@given(st.lists(st.builds(
    Plan, caption=st.text("abc ", max_size=12), genres=st.sampled_from(["", "dub", "DUB ", "rock"]),
    language=st.sampled_from([None, *LANGUAGES[:4]]), lyrics=st.text("la\n", max_size=9),
), max_size=5), st.sampled_from([True, False, None]))  # fmt: skip
def test_whatever_is_read_every_vote_is_something_that_was_said_and_sure_is_a_share(
    plans: list[Plan], sings: bool | None
) -> None:
    found = guessed(plans, "", sings)
    assert all(one.source == "guessed" and not one.is_open for one in found.values())
    assert all((one.sure is None) == (len(plans) == 1) for one in found.values())
    if "genre" in found:
        assert found["genre"].value in {plan.genres.strip() for plan in plans}
    if "caption" in found:
        assert found["caption"].value in {plan.caption.strip() for plan in plans}
    assert sings is not False or "language" not in found


@given(st.text(max_size=30), st.text(max_size=30))
def test_likeness_is_a_share_the_same_both_ways_and_whole_with_itself(one: str, other: str) -> None:
    assert 0 <= likeness(one, other) == likeness(other, one) <= 1
    assert likeness(one, one) == 1


@pytest.mark.parametrize(
    ("heard", "planned", "counted"),
    [
        (87.0, [173, 174, 60], 174),
        (160.0, [81, 80], 80),
        (120.0, [177, 176, 178], 120),
        (120.0, [], 120),
        (0.0, [90], 0),
    ],
)
def test_a_planner_says_which_octave_of_a_measured_tempo_is_counted(
    heard: float, planned: list[int], counted: float
) -> None:
    assert counted_tempo(heard, planned) == counted


def test_what_is_too_unsure_or_no_value_stays_open_with_a_remark() -> None:
    labels, remarks = measured(replace(HEARD, bpm=900.0, key_confidence=0.0))
    assert set(labels) == {"timesignature", "instruments"}
    assert {one.field for one in remarks} == {"bpm", "keyscale"}


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem",
    [SourceError("It is torn."), OSError(5, "Input/output error"), RuntimeError("out of memory"), ValueError("odd")],
)
def test_one_song_that_fails_is_a_remark_and_the_rest_go_on(
    songs: Dataset, problem: BaseException, tmp_path: Path
) -> None:
    ear = Ear()
    ear.wrong["b.wav"] = problem
    events = list(label(songs, ear.listeners(), progress=tmp_path / "p.jsonl"))
    assert [event.failed for event in events] == [False, True, False]
    found = labelled(songs, events)
    assert any(one.kind == "label" and one.is_serious for one in found["b.wav"].remarks)
    assert found["c.wav"].bpm == 120
    ear.wrong.clear()
    again = list(label(found, ear.listeners(), progress=tmp_path / "p.jsonl"))
    assert [event.resumed for event in again] == [True, False, True]
    assert not any(one.kind == "label" for one in labelled(found, again)["b.wav"].remarks)


def test_what_one_listener_cannot_say_another_still_does(songs: Dataset) -> None:
    ear = Ear()
    ear.wrong["understand"] = RecipeError("No planner.")
    event = next(label(songs, ear.listeners()))
    assert event.failed
    assert (event.song.bpm, event.song.caption) == (120, "")


def test_a_sound_that_is_gone_is_named(songs: Dataset) -> None:
    assert songs[0].path is not None
    songs[0].path.unlink()
    event = next(label(songs, Ear().listeners()))
    assert event.failed
    assert "read" in str(event.remarks[0])


def test_a_mistake_of_ours_and_a_stop_are_no_remarks(songs: Dataset) -> None:
    for problem in (Stopped("Stopped."), TypeError("a mistake")):
        ear = Ear()
        ear.wrong["understand"] = problem
        with pytest.raises(type(problem)):
            list(label(songs, ear.listeners()))


def test_nonsense_is_refused_before_anybody_listens(songs: Dataset, tmp_path: Path) -> None:
    ear = Ear()
    for wrong in ({"seeds": 0}, {"seeds": 17}, {"seeds": "x"}, {"lyrics": "maybe"}):
        with pytest.raises(RecipeError):
            label(songs, ear.listeners(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(RecipeError):
        label([], ear.listeners())  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "p.jsonl"):
        with pytest.raises(LibraryError):
            label(songs, ear.listeners(), progress=place)
    assert ear.asked == []


# -- a thousand songs --------------------------------------------------------------------------------------------------


def test_every_song_is_told_with_how_many_are_done_as_plain_data(songs: Dataset) -> None:
    events = list(label(songs, Ear().listeners()))
    assert [(event.done, event.of, event.song.name) for event in events] == [
        (1, 3, "a.wav"), (2, 3, "b.wav"), (3, 3, "c.wav"),
    ]  # fmt: skip
    data = events[0].to_json()
    assert data["labels"]["bpm"] == {"value": 120, "source": "heard", "sure": 0.8}  # type: ignore[index]
    assert (data["done"], data["of"], data["song"], data["failed"]) == (1, 3, "a.wav", False)


def test_asked_to_stop_it_ends_between_two_listenings_and_goes_on_later(songs: Dataset, tmp_path: Path) -> None:
    ear, place = Ear(), tmp_path / "p.jsonl"
    first = list(label(songs, ear.listeners(), progress=place, stop=lambda: len(ear.asked) >= 7))
    assert [event.song.name for event in first] == ["a.wav"]
    assert len(ear.asked) == 7
    whole = list(label(songs, ear.listeners(), progress=place))
    assert [event.resumed for event in whole] == [True, False, False]
    assert labelled(songs, whole) == done(songs, Ear())


KILLED = """
import os, signal, sys
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.label import label
from tests.test_label import Ear
class Mortal(Ear):
    def analyze(self, sound, bpm):
        if sound.endswith("c.wav"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().analyze(sound, bpm)
list(label(Dataset.scan(sys.argv[1]), Mortal().listeners(), progress=sys.argv[2]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_killed_in_the_middle_it_goes_on_with_the_song_it_was_at(songs: Dataset, tmp_path: Path) -> None:
    place = tmp_path / "p.jsonl"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(songs.folder), str(place)], env=os.environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    ear = Ear()
    events = list(label(songs, ear.listeners(), progress=place))
    assert [event.resumed for event in events] == [True, True, False]
    assert {name for _, name in ear.asked} <= {"c.wav", ""}
    assert labelled(songs, events) == done(songs, Ear())


@pytest.mark.parametrize("spoil", [
    lambda data: data[:-9], lambda data: data + b'{"version": 1, "key"', lambda data: data + b"\xff\xfe\n[]\n12\n{}\n",
    lambda data: data + b'{"version": 1, "key": "k", "labels": {"bpm": [1e9, "heard", 1]}, "remarks": []}\n',
    lambda data: data.replace(b'"version": 1', b'"version": 7'),
])  # fmt: skip
def test_half_a_line_or_a_foreign_one_costs_that_song_alone(
    songs: Dataset, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    place, whole = tmp_path / "p.jsonl", done(songs, Ear())
    list(label(songs[:1], Ear().listeners(), progress=place))
    place.write_bytes(spoil(place.read_bytes()))
    events = list(label(songs, Ear().listeners(), progress=place))
    assert labelled(songs, events) == whole
    assert all(event.resumed for event in label(songs, Ear().listeners(), progress=place))


def test_it_is_the_sound_that_is_known_and_not_the_name_and_only_for_the_same_question(
    songs: Dataset, tmp_path: Path
) -> None:
    place, ear = tmp_path / "p.jsonl", Ear()
    list(label(songs, ear.listeners(), progress=place))
    assert songs.folder is not None
    (songs.folder / "a.wav").rename(songs.folder / "z.wav")
    renamed = Dataset.scan(songs.folder)
    known = [event.resumed for event in label(renamed, ear.listeners(), progress=place)]
    assert known == [True, True, True]
    for changes in ({"seeds": 2}, {"lyrics": True}):
        assert not any(event.resumed for event in label(renamed, ear.listeners(), progress=place, **changes))  # type: ignore[arg-type]
    assert not any(event.resumed for event in label(renamed, ear.listeners(name="another"), progress=place))
    assert [event.resumed for event in label(renamed.edit("b.wav", bpm=99), ear.listeners(), progress=place)] == [
        False,
        True,
        True,
    ]


@given(
    st.dictionaries(st.sampled_from(("caption", "genre", "tag")), st.text(min_size=1, max_size=20)),
    st.text(max_size=20),
)
@settings(max_examples=30, deadline=None)
def test_what_is_finished_comes_back_from_its_line(tmp_path_factory: Any, said: dict[str, str], odd: str) -> None:
    place = tmp_path_factory.mktemp("progress") / "p.jsonl"
    labels = {name: Label(text.strip(), "guessed", sure=0.5) for name, text in said.items() if _is_clean(text)}
    LabelProgress(place).add("key", "song", labels, (Remark("unsure", odd, "genre"),))
    assert LabelProgress(place).get("key") == (labels, (Remark("unsure", odd, "genre"),))
    assert LabelProgress(place).get("another") is None


def _is_clean(text: str) -> bool:
    """Whether a song takes a text as it is: cleaning is the reader's, and is tested there."""
    try:
        return text.strip() != "" and read_value("genre", text) == text.strip()
    except RecipeError:
        return False


# -- a session ---------------------------------------------------------------------------------------------------------


def test_any_session_lends_its_verbs_and_nothing_it_extracts_stays_in_the_library(
    songs: Dataset, tmp_path: Path
) -> None:
    lab = PretendSession(tmp_path / "takes", pause=0.0)
    assert isinstance(lab, SessionLike)
    with contextlib.closing(lab):
        found = labelled(songs, label(songs, Listeners.of(lab), seeds=2))
        assert found[0].caption == "a sine of 1.2 s"
        assert found[0].labels["caption"].sure == 1
        assert len(lab.started) == 3
        assert len(lab.library) == 0
        lab.use("pretend-tokens")
        poor = Listeners.of(lab)
        assert (poor.understand, poor.extract) == (None, None)
        assert "planner" in poor.lacks
        assert {event.song.caption for event in label(songs, poor)} == {""}


# -- the tag -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "position", "taught"),
    [
        ("slow dub.", "prepend", "zafu, slow dub."), ("slow dub.", "append", "slow dub, zafu"), ("slow dub.", "replace", "zafu"),
        ("", "prepend", "zafu"), ("", "append", "zafu"), ("Zafu, slow dub", "prepend", "Zafu, slow dub"),
        ("zafuri dub", "prepend", "zafu, zafuri dub"),
    ],
)  # fmt: skip
def test_the_tag_stands_where_it_is_told_to_and_is_not_said_twice(caption: str, position: str, taught: str) -> None:
    song = Song("a", 5.0, {"caption": Label(caption), "tag": Label("zafu")})
    assert taught_caption(song, position) == taught


@given(st.text("ab ", max_size=12), st.sampled_from(TAG_POSITIONS))
def test_without_a_tag_the_caption_is_taught_as_it_is(caption: str, position: str) -> None:
    assert taught_caption(Song("a", 5.0, {"caption": Label(caption)}), position) == caption.strip()


def test_a_tag_goes_to_songs_that_have_none_and_its_place_comes_back_from_the_files(
    songs: Dataset, tmp_path: Path
) -> None:
    found = tagged(songs.edit("b.wav", tag="mine").lock("c.wav", "tag"), "zafu", "append")
    assert [song.tag for song in found] == ["zafu", "mine", ""]
    assert position_of(found.about) == "append"
    assert position_of({}) == position_of({"tag_position": 7}) == "prepend"
    found.write(tmp_path / "out")
    assert position_of(Dataset.scan(tmp_path / "out").about) == "append"
    for wrong in (("", "append"), ("zafu", "behind")):
        with pytest.raises(RecipeError):
            tagged(songs, *wrong)


def test_instruments_come_back_from_every_form_that_is_written(songs: Dataset, tmp_path: Path) -> None:
    found = done(songs, Ear())
    found.write(tmp_path / "out")
    again = Dataset.scan(tmp_path / "out")
    assert [song.labels for song in again] == [song.labels for song in found]
    assert songs.folder is not None
    again.write_reference_json(tmp_path / "out" / "reference.json")
    (tmp_path / "out" / "metadata.jsonl").unlink()
    assert [song.labels for song in Dataset.scan(tmp_path / "out")] == [song.labels for song in found]


def test_an_event_of_a_song_that_is_gone_changes_nothing(songs: Dataset) -> None:
    gone = Labelled(1, 1, replace(songs[0], name="gone.wav"), {"bpm": Label(99, "heard")})
    assert labelled(songs, [gone]).songs == songs.songs
