"""What our ears say of music whose notes are known: chords, melody, bass and beats of the synthetic world, beside chance and ceiling.

    python -m tests.benchmarks.notes [songs=40] [seconds=20] [librosa]

Measures are mir_eval's: a chord's share of the time (triads), notes by onset (50 ms) and pitch, beats within 70 ms. Chance is what
another song's chords, notes and beats get. Ceiling: the written chords in frames of 85 ms; melody and bass out
of the stem alone instead of the mix; beats at the tempo and meter that the song was written in. `librosa` adds what its chroma
gives the same model, its beats, and its pitch tracker (pyin) on the stem of the first songs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mir_eval
import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.listen import chords as chord_ears
from acestep_lab.listen.beat_grid import OwnBeats
from acestep_lab.listen.chords import ChordSpan, chord_spans
from acestep_lab.listen.notes import listen_for_notes
from acestep_lab.listen.pitch import HarmonicSum, Note, notes_of
from acestep_lab.train.synthetic_music import Chord, Song, compose, render

FIRST_SEED = 70_000
"""Numbers in `listen/` were set on other songs."""
LEADS = ("vocals", "woodwinds")
PYIN_SONGS = 4


@dataclass
class Known:
    """A song, its sound, and its stems."""

    song: Song
    mix: Audio
    stems: dict[str, Audio]

    @classmethod
    def made(cls, seed: int, seconds: float) -> Known:
        """The song of a seed."""
        song = compose(seed, seconds)
        sound = render(song)
        return cls(
            song, Audio(sound.mix, sound.rate), {name: Audio(one, sound.rate) for name, one in sound.stems.items()}
        )

    @property
    def lead(self) -> str:
        """The stem that has the melody, "" where none has."""
        return next((name for name in LEADS if name in self.stems), "")

    def notes(self, stem: str) -> list[Any]:
        """The written notes of a stem."""
        return [one for one in self.song.notes if one.stem == stem and one.start < self.song.seconds - 0.1]


@dataclass
class Table:
    """Measures by name, each a list over songs."""

    rows: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """One song's."""
        self.rows.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> float:
        return float(np.mean(self.rows[name]))

    def __str__(self) -> str:
        return "\n".join(f"{name:38} {self[name]:.3f}   n = {len(found)}" for name, found in self.rows.items())


# -- measures


def chord_accuracy(found: Sequence[ChordSpan], written: Sequence[Chord], seconds: float) -> float:
    """Share of the time in which the triad is right, of that in which a major or minor one is written."""
    spans = np.array([[one.start, min(one.end, seconds)] for one in written if one.start < seconds])
    labels = [_written(one) for one in written if one.start < seconds]
    heard = np.array([[one.start, one.end] for one in found])
    heard, names = mir_eval.util.adjust_intervals(
        heard,
        [_label(one.name) for one in found],
        spans.min(),
        spans.max(),
        mir_eval.chord.NO_CHORD,
        mir_eval.chord.NO_CHORD,
    )
    merged, wanted, got = mir_eval.util.merge_labeled_intervals(spans, labels, heard, names)
    return float(
        mir_eval.chord.weighted_accuracy(
            mir_eval.chord.majmin(wanted, got), mir_eval.util.intervals_to_durations(merged)
        )
    )


def _label(name: str) -> str:
    return name if name == "N" else f"{name.removesuffix('m')}:{'min' if name.endswith('m') else 'maj'}"


def _written(chord: Chord) -> str:
    root = chord.classes[0]
    steps = {(one - root) % 12 for one in chord.classes}
    kind = "maj" if 4 in steps else "min" if 7 in steps else "dim"
    return f"{chord_ears.NAMES[root]}:{kind}"


def note_f1(found: Sequence[Any], written: Sequence[Any]) -> float:
    """F1 of notes by onset within 50 ms and pitch within half a semitone."""
    if not found or not written:
        return 0.0
    ends = [getattr(one, "end", None) or one.start + max(one.length, 0.05) for one in (*written, *found)]
    spans = np.array([[one.start, end] for one, end in zip((*written, *found), ends)])
    hertz = 440 * 2 ** ((np.array([one.pitch for one in (*written, *found)]) - 69) / 12)
    count = len(written)
    return float(
        mir_eval.transcription.precision_recall_f1_overlap(
            spans[:count], hertz[:count], spans[count:], hertz[count:], offset_ratio=None
        )[2]
    )


def beat_f1(found: Sequence[float], written: Sequence[float]) -> float:
    """F1 of beats within 70 ms."""
    if not len(found):
        return 0.0
    return float(mir_eval.beat.f_measure(np.array(written), np.array(found)))


# -- songs


def in_frames(written: Sequence[Chord], seconds: float) -> tuple[ChordSpan, ...]:
    """The written chords as our frames of 85 ms can say them: what nobody who listens in these frames can be better than."""
    at = (np.arange(int(seconds / 0.085) + 1) + 0.5) * 0.085
    names = [next((_written(one) for one in written if one.start <= time < one.end), "N") for time in at]
    plain = [name.replace(":maj", "").replace(":min", "m").split(":")[0] for name in names]
    return tuple(
        ChordSpan(time - 0.0425, min(time + 0.0425, seconds), name, 1.0)
        for time, name in zip(at, plain)
        if time < seconds
    )


def _by_model(whole: np.ndarray, bass: np.ndarray, seconds: float) -> tuple[ChordSpan, ...]:
    path, sure = chord_ears._decoded(chord_ears._likeness(whole, bass))
    each = seconds / len(path)
    return tuple(
        ChordSpan(place * each, (place + 1) * each, chord_ears.NAMES[one], float(sure[place]))
        for place, one in enumerate(path)
    )


def measured(known: Known, other: Known, table: Table) -> None:
    """Add what one song gets; `other` is the song whose answers chance gives."""
    song, seconds = known.song, known.song.seconds
    found = listen_for_notes(known.mix)
    if set(song.instruments) - {"drums", "percussion", "fx"}:
        table.add("chords", chord_accuracy(found.chords, song.chords, seconds))
        table.add("chords, ceiling", chord_accuracy(in_frames(song.chords, seconds), song.chords, seconds))
        table.add("chords, chance", chord_accuracy(chord_spans(other.mix), song.chords, seconds))
        table.add("chords, the key's tonic all along", chord_accuracy([_tonic(song)], song.chords, seconds))
    for name, stem, heard in (
        ("melody", known.lead, found.melody),
        ("bass", "bass" * ("bass" in known.stems), found.bass),
    ):
        if stem:
            _lines(known, other, table, name, stem, heard)
    table.add("beats", beat_f1(found.beats, song.beats))
    table.add("beats, ceiling", beat_f1(OwnBeats(song.bpm).grid(known.mix).beats, song.beats))
    table.add("beats, chance", beat_f1(other.song.beats, song.beats))
    table.add("downbeats", beat_f1(found.downbeats, song.downbeats))
    told = OwnBeats(song.bpm, _beats_of_a_bar(song)).grid(known.mix)
    table.add("downbeats, ceiling", beat_f1(told.downbeats, song.downbeats))
    table.add("downbeats, chance", beat_f1(other.song.downbeats, song.downbeats))


def _lines(known: Known, other: Known, table: Table, name: str, stem: str, heard: Sequence[Note]) -> None:
    alone = listen_for_notes(known.mix, stem=stem, alone=known.stems[stem])
    written = known.notes(stem)
    table.add(f"{name}, in the mix", note_f1(heard, written))
    table.add(f"{name}, in its stem (ceiling)", note_f1(getattr(alone, name), written))
    if name == "melody":
        own = notes_of(known.stems[stem], HarmonicSum())
        table.add("melody, in its stem, without the extra", note_f1(own, written))
    others = [one for one in other.song.notes if one.stem not in ("drums", "percussion", "fx")]
    shown = [one for one in others if (one.pitch < 50) == (name == "bass")][: 2 * len(written)]
    table.add(f"{name}, chance", note_f1(shown, written))


def _tonic(song: Song) -> ChordSpan:
    root, mode = song.keyscale.split()
    return ChordSpan(0.0, song.seconds, root + "m" * (mode == "minor"), 1.0)


def _beats_of_a_bar(song: Song) -> int:
    gaps = np.diff(np.searchsorted(np.array(song.beats), np.array(song.downbeats) - 0.01))
    return int(gaps[0]) if len(gaps) else 0


def by_librosa(known: Known, table: Table, pyin: bool) -> None:
    """The same song by librosa's chroma, beats and pitch."""
    import librosa

    song, mono, rate = known.song, known.mix.samples[0], known.mix.rate
    if set(song.instruments) - {"drums", "percussion", "fx"}:
        chroma = librosa.feature.chroma_cqt(y=mono, sr=rate, hop_length=2048).T.astype(np.float64) ** 2
        spans = _by_model(chroma, np.zeros_like(chroma), song.seconds)
        table.add("chords, librosa's chroma", chord_accuracy(spans, song.chords, song.seconds))
    found = librosa.beat.beat_track(y=mono, sr=rate, units="time")[1]
    table.add("beats, librosa", beat_f1(found, song.beats))
    if pyin and known.lead:
        table.add(
            "melody, in its stem, librosa's pyin", note_f1(_pyin(known.stems[known.lead]), known.notes(known.lead))
        )


def _pyin(stem: Audio) -> tuple[Note, ...]:
    import librosa

    from acestep_lab.listen.pitch import PER_SECOND, RATE, PitchLine, _level, _looks

    class Pyin:
        name = "pyin"

        def line(self, sound: Audio) -> PitchLine:
            hertz, _, sure = librosa.pyin(sound.samples[0], fmin=80, fmax=1100, sr=RATE, hop_length=480)
            at = np.clip((np.arange(_looks(sound)) / PER_SECOND * RATE / 480).astype(int), 0, len(hertz) - 1)
            return PitchLine(69 + 12 * np.log2(hertz / 440)[at], sure[at], _level(sound))

    return notes_of(stem, Pyin())


def bench(songs: int = 40, seconds: float = 20.0, more: Callable[[Known, Table, bool], None] | None = None) -> Table:
    """All measures over so many songs."""
    table = Table()
    other = Known.made(FIRST_SEED - 1, seconds)
    for place in range(songs):
        known = Known.made(FIRST_SEED + place, seconds)
        measured(known, other, table)
        if more is not None:
            more(known, table, place < PYIN_SONGS)
        other = known
    return table


if __name__ == "__main__":
    named = dict(one.split("=") for one in sys.argv[1:] if "=" in one)
    began = time.process_time()
    found = bench(
        int(named.get("songs", 40)), float(named.get("seconds", 20)), by_librosa if "librosa" in sys.argv else None
    )
    print(found)
    print(f"{time.process_time() - began:.0f} s of processor time")
