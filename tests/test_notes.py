"""Notes, chords and beats: what is heard of music whose notes are known, what odd sounds give, and what a MIDI file holds."""

from __future__ import annotations

import struct
from contextlib import closing
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from acestep_lab.audio.audio import Audio
from acestep_lab.cli import main
from acestep_lab.errors import CheckpointError, RecipeError
from acestep_lab.jobs import noting
from acestep_lab.listen import beat_grid
from acestep_lab.listen.beat_grid import BeatGrid, BeatThis
from acestep_lab.listen.notes import NO_BEAT, NO_EXTRA, NO_PITCH, NO_SOUND, Notes, listen_for_notes
from acestep_lab.listen.pitch import HarmonicSum, Note, PitchLine, SwiftPitch
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.remote.wire import from_wire, to_wire
from tests.benchmarks.notes import Known, Table, beat_f1, chord_accuracy, measured, note_f1
from tests.pretend import PretendSession

SONG_SEED = 70_003


@cache
def known() -> Known:
    return Known.made(SONG_SEED, 10.0)


@cache
def heard() -> Notes:
    return listen_for_notes(known().mix)


def test_chords_notes_and_beats_of_known_music_are_heard_clearly_above_chance() -> None:
    table = Table()
    measured(known(), Known.made(SONG_SEED + 1, 6.0), table)
    assert table["chords"] > table["chords, the key's tonic all along"] > table["chords, chance"]
    assert table["bass, in its stem (ceiling)"] > 0.8
    assert table["bass, in the mix"] > table["bass, chance"] + 0.3
    assert table["beats, ceiling"] > table["beats, chance"] + 0.4


def test_perfect_answers_score_one_and_another_songs_score_little() -> None:
    song = known().song
    written = known().notes("bass") or known().notes(song.instruments[0])
    assert note_f1(written, written) == 1.0
    assert beat_f1(song.beats, song.beats) == 1.0
    assert chord_accuracy(heard().chords, song.chords, 10.0) > 0.7


def odd_sounds() -> dict[str, tuple[np.ndarray, int, str]]:
    random = np.random.default_rng(0)
    loop = np.tile(random.standard_normal(6000) * np.exp(-np.arange(6000) / 600), 16)
    return {
        "silence": (np.zeros((2, 48_000)), 48_000, NO_SOUND),
        "half a second": (known().mix.samples[:, :12_000], 24_000, NO_BEAT),
        "a hundred samples": (known().mix.samples[:, 5000:5100], 24_000, NO_BEAT),
        "96 kHz": (np.repeat(known().mix.samples[:, :72_000], 4, axis=1), 96_000, ""),
        "a drum loop without pitch": (0.3 * loop[None], 24_000, NO_PITCH),
    }


@pytest.mark.parametrize("name", odd_sounds())
def test_an_odd_sound_gets_an_answer_that_says_what_is_missing(name: str) -> None:
    samples, rate, said = odd_sounds()[name]
    found = listen_for_notes(Audio(samples.astype(np.float32), rate))
    assert said in found.remarks if said else found.beats
    assert all(0 <= one.start < one.end <= found.seconds for one in (*found.melody, *found.bass))
    assert Notes.from_json(found.to_json()) == found
    assert found.midi().startswith(b"MThd")


def test_a_drum_loop_has_beats_and_no_notes() -> None:
    samples, rate, _ = odd_sounds()["a drum loop without pitch"]
    found = listen_for_notes(Audio(samples.astype(np.float32), rate))
    assert (found.melody, found.bass, found.named_chords) == ((), (), ())
    assert np.diff(found.beats) == pytest.approx(np.diff(found.beats)[0], rel=0.05)


def test_where_the_extra_is_missing_our_own_ears_follow_the_voice_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SwiftPitch, "found", classmethod(lambda cls: None))
    found = listen_for_notes(known().mix, stem="vocals", alone=known().stems[known().song.instruments[-1]])
    assert NO_EXTRA in found.remarks
    assert found.heard_by[0] == HarmonicSum.name


def test_whoever_is_handed_in_follows_the_voice_of_the_stem() -> None:
    class Steady:
        name = "steady"

        def line(self, sound: Audio) -> PitchLine:
            looks = sound.samples.shape[-1] // 240 + 1
            return PitchLine(np.full(looks, 69.2), np.ones(looks), np.zeros(looks))

    found = listen_for_notes(known().mix, stem="vocals", alone=known().mix, voice=Steady())
    assert [(one.pitch, one.sure) for one in found.melody] == [(69, 1.0)]
    assert found.heard_by[0] == "steady"


# -- MIDI


def midi_events(data: bytes) -> list[list[tuple[int, int, bytes]]]:
    """Tick, first byte and data of every event, track by track, as a player reads them."""
    kind, size, form, count, ticks = struct.unpack(">4sIHHH", data[:14])
    assert (kind, size, form, ticks) == (b"MThd", 6, 1, 480)
    tracks, at = [], 14
    for _ in range(count):
        name, length = struct.unpack(">4sI", data[at : at + 8])
        assert name == b"MTrk"
        tracks.append(_events(data[at + 8 : at + 8 + length]))
        at += 8 + length
    assert at == len(data)
    return tracks


def _number(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        value = value << 7 | body[at] & 0x7F
        at += 1
        if body[at - 1] < 0x80:
            return value, at


def _events(body: bytes) -> list[tuple[int, int, bytes]]:
    found, at, now = [], 0, 0
    while at < len(body):
        wait, at = _number(body, at)
        now, status = now + wait, body[at]
        if status == 0xFF:
            length, start = _number(body, at + 2)
            found.append((now, status, body[at + 1 : at + 2] + body[start : start + length]))
            at = start + length
        else:
            length = 1 if status & 0xF0 == 0xC0 else 2
            found.append((now, status, body[at + 1 : at + 1 + length]))
            at += 1 + length
    return found


def test_a_midi_file_has_every_note_once_and_downbeats_on_bars() -> None:
    found = heard()
    conductor, *tracks = midi_events(found.midi())
    for track, notes in zip(tracks, (found.melody, found.bass), strict=False):
        on = sorted(data[0] for _, status, data in track if status & 0xF0 == 0x90)
        assert on == sorted(one.pitch for one in notes)
        assert len(on) == sum(status & 0xF0 == 0x80 for _, status, _ in track)
    assert [data[1:].decode() for _, _, data in conductor if data[:1] == b"\x06"] == [
        one.name for one in found.named_chords
    ]
    tempos = [60e6 / int.from_bytes(data[1:], "big") for _, _, data in conductor if data[:1] == b"\x51"]
    assert np.median(tempos) == pytest.approx(found.bpm, rel=0.02)


def test_a_note_on_a_downbeat_stands_at_the_start_of_a_bar() -> None:
    beats = tuple(np.arange(0.3, 8.0, 0.5).round(3))
    notes = Notes(
        8.0, melody=(Note(float(beats[3]), float(beats[4]), 60, 1.0),), beats=beats, downbeats=beats[3::4], bpm=120.0
    )
    _, melody, *_ = midi_events(notes.midi())
    (start,) = (tick for tick, status, _ in melody if status & 0xF0 == 0x90)
    assert start % (4 * 480) == 0


def test_a_midi_file_is_written_where_it_is_asked_for_and_nowhere_else(tmp_path: Path) -> None:
    assert heard().to_midi(tmp_path / "song.mid").read_bytes() == heard().midi()
    with pytest.raises(RecipeError, match=r"ends in \.mid"):
        heard().to_midi(tmp_path / "song.txt")


# -- beside a take, over the line, from the command line


def test_notes_of_a_take_lie_beside_it_and_are_heard_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(PretendSession(tmp_path)) as lab:
        take = lab.keep(lab.make(Recipe("dub", seconds=2.0, seed=1)))
        found = lab.notes(take)
        monkeypatch.setattr(noting, "listen_for_notes", None)
        assert lab.notes(take.id) == found
        assert lab.library.open(take.id).audio == take.audio
        lab.library.annotate(take.id, "notes", {"": {"method": noting.METHOD, "notes": {"odd": 1}}})
        assert noting.kept_notes(lab.library, take.id) is None


def test_a_stem_is_made_once_and_drums_have_no_melody(tmp_path: Path) -> None:
    with closing(PretendSession(tmp_path)) as lab:
        take = lab.keep(lab.make(Recipe("dub", seconds=2.0, seed=1)))
        assert lab.notes(take, stem="Bass").stem == "bass"
        made = len(lab.started)
        assert lab.notes(take, stem="bass").stem == "bass"
        assert len(lab.started) == made
        with pytest.raises(RecipeError, match="drums has no melody"):
            lab.notes(take, stem="drums")


def test_notes_go_over_the_line_and_what_is_none_is_refused() -> None:
    assert from_wire(to_wire(heard())) == heard()
    for odd in ({}, heard().to_json() | {"chords": [[0, 1, "H", 1]]}, heard().to_json() | {"bass": [[0, 1]]}):
        with pytest.raises(RecipeError):
            Notes.from_json(odd)


def test_the_command_writes_notes_down_and_a_midi_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song, out = known().mix.write(tmp_path / "song.wav"), tmp_path / "song.mid"
    assert main(["notes", str(song), "--midi", str(out), "--takes", str(tmp_path / "takes")]) == 0
    assert "chords:" in capsys.readouterr().out
    assert midi_events(out.read_bytes())


# -- a beat-this checkpoint


def test_a_beat_this_network_is_believed_where_one_is_handed_in() -> None:
    beats = np.arange(0.25, 9.0, 0.5)
    found = listen_for_notes(known().mix, beats=BeatThis(lambda signal, rate: (beats, beats[::3])))
    assert found.beats == tuple(beats)
    assert (found.bpm, found.beats_per_bar, found.heard_by[2]) == (120.0, 3, "beat-this")


def test_a_beat_this_file_that_is_missing_or_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no beat-this checkpoint at"):
        BeatThis.open(tmp_path / "final0.ckpt")
    (tmp_path / "final0.ckpt").write_bytes(b"none")
    with pytest.raises(CheckpointError, match=r"pip install beat-this|no beat-this checkpoint"):
        BeatThis.open(tmp_path / "final0.ckpt")


def test_the_setting_names_who_hears_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert beat_grid.tracker_of(120.0).name == "own"
    monkeypatch.setenv(beat_grid.SETTING, str(tmp_path / "none.ckpt"))
    with pytest.raises(CheckpointError, match="no beat-this checkpoint at"):
        beat_grid.tracker_of()


def test_beats_that_are_too_few_are_no_grid() -> None:
    assert BeatGrid.of([], [], 1.0) == BeatGrid()
    assert BeatGrid.of([1.0], [1.0], 1.0) == BeatGrid()
