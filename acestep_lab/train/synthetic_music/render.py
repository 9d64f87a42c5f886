"""Score to sound: pre-rendered notes with baked early reflections, added slice by slice. Knows nothing of styles."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from acestep_lab.train.synthetic_music.drumkit import ONE_SHOTS, make_one_shot
from acestep_lab.train.synthetic_music.patches import PATCHES, make_note
from acestep_lab.train.synthetic_music.score import Note, Song

TARGET_LUFS = -16.0
PEAK = 0.95
CACHE_BYTES = 256 * 2**20
LEVELS = {
    "drums": 0.9, "percussion": 0.95, "bass": 1.15, "keyboard": 0.6, "guitar": 0.6, "synth": 0.5, "strings": 0.5,
    "woodwinds": 0.75, "brass": 0.65, "vocals": 0.95, "backing_vocals": 0.4, "fx": 0.8,
}  # fmt: skip
PANS = {
    "keyboard": -0.3, "guitar": 0.35, "strings": 0.25, "synth": -0.15, "woodwinds": 0.2, "brass": -0.25,
    "percussion": 0.4, "backing_vocals": -0.1,
}  # fmt: skip
PUMP_ATTACK = 0.004  # seconds a duck takes to bite
LOOP_FADE = 0.4  # seconds over which a held note joins its own repetition


@dataclass(frozen=True)
class Rendering:
    """A song as sound; `mix` is exactly the sum of `stems` in their order."""

    mix: np.ndarray  # float32 [channels, samples]
    stems: dict[str, np.ndarray]  # each float32 [channels, samples]
    rate: int


class NoteCache:
    """A least-recently-used cache of rendered notes, bounded in bytes."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._notes: OrderedDict[tuple[str, int, int], np.ndarray] = OrderedDict()
        self._limit, self.bytes = limit, 0

    def get(self, sound: str, pitch: int, rate: int) -> np.ndarray:
        """A note at a rate, float32 [samples], made on first use."""
        key = (sound, pitch, rate)
        note = self._notes.get(key)
        if note is None:
            note = self._notes[key] = _with_room(sound, pitch, rate)
            self.bytes += note.nbytes
            while self.bytes > self._limit:
                self.bytes -= self._notes.popitem(last=False)[1].nbytes
        else:
            self._notes.move_to_end(key)
        return note


CACHE = NoteCache()


def _room_response(rate: int, wet: float) -> np.ndarray:
    """Six early reflections and a short diffuse tail, the same for every note."""
    response = np.zeros(int(0.3 * rate))
    response[0] = 1.0
    for delay, gain in (
        (0.0071, 0.22),
        (0.0113, -0.18),
        (0.0177, 0.15),
        (0.0231, -0.12),
        (0.0313, 0.1),
        (0.0419, -0.08),
    ):
        response[int(delay * rate)] += wet * gain
    random = np.random.Generator(np.random.PCG64(1))
    time = np.arange(len(response)) / rate
    return response + wet * 0.02 * random.standard_normal(len(response)) * np.exp(-14 * time) * (time > 0.02)


def _with_room(sound: str, pitch: int, rate: int) -> np.ndarray:
    dry = make_one_shot(sound, pitch, rate) if sound in ONE_SHOTS else make_note(sound, pitch, rate)
    wet = 0.0 if sound.startswith(("kick", "sub")) else 0.4 if sound.endswith("bass") else 1.0
    size = 1 << (len(dry) + int(0.3 * rate)).bit_length()
    full = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(_room_response(rate, wet), size), size)[: len(dry)]
    edge = min(len(dry), int(0.02 * rate))
    full[-edge:] *= np.linspace(1, 0, edge)
    return full.astype(np.float32)


def _add(buffer: np.ndarray, at: int, piece: np.ndarray) -> None:
    end = min(len(buffer), at + len(piece))
    if end > at:
        buffer[at:end] += piece[: end - at]


def _sustained(cached: np.ndarray, count: int, fade: int) -> np.ndarray:
    """A note longer than its cached sound: the sustained part joined to itself by crossfades."""
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    body = cached[fade : len(cached) - fade // 8]
    out = np.zeros(count + len(cached), np.float32)
    out[: len(body)] = cached[: len(body)]
    end = len(body)
    while end < count:
        out[end - fade : end] *= 1 - ramp
        piece = body.copy()
        piece[:fade] *= ramp
        out[end - fade : end - fade + len(piece)] += piece
        end += len(piece) - fade
    return out[:count]


def _add_note(buffer: np.ndarray, note: Note, rate: int) -> None:
    cached = CACHE.get(note.sound, note.pitch, rate)
    at, gain = round(note.start * rate), np.float32(note.velocity)
    if note.sound in ONE_SHOTS:
        return _add(buffer, at, cached * gain)
    row = PATCHES[note.sound]
    hold, release = int(note.length * rate), int(row.release * rate)
    if hold + release > len(cached) and row.seconds >= 3:
        cached = _sustained(cached, hold + release, int(LOOP_FADE * rate))
    piece = cached[: hold + release] * gain
    tail = len(piece) - hold
    if tail > 0:
        piece[hold:] *= np.linspace(1, 0, tail, dtype=np.float32) ** 2
    _add(buffer, at, piece)


def _echo(stem: np.ndarray, delay: int, level: float) -> None:
    """Three repeats of a stem, each softer; in tempo, as a dub delay is."""
    dry = stem.copy()
    for turn in range(1, 4):
        if turn * delay < len(stem):
            stem[turn * delay :] += np.float32(level**turn) * dry[: -turn * delay]


def _duck(stem: np.ndarray, song: Song, rate: int) -> None:
    """Duck a stem at every beat while the drums play, as a compressor keyed by the kick does, without a step."""
    period = 60 / song.bpm
    time, decay = np.arange(int(period * rate)) / rate, min(0.12, period / 3)
    curve = (np.exp(-time / decay) - np.exp(-period / decay)) * np.minimum(1, time / PUMP_ATTACK)
    gain_curve = (1 - song.pump * curve).astype(np.float32)
    for section in song.sections:
        if "drums" not in section.stems_playing:
            continue
        for beat in song.beats:
            if section.start_s - 1e-6 <= beat < section.end_s - 1e-6:
                at = round(beat * rate)
                span = stem[at : at + len(gain_curve)]
                span *= gain_curve[: len(span)]


def _k_power(mono: np.ndarray, rate: int) -> float:
    """K-weighted mean power of the louder blocks, BS.1770's weighting approximated on block spectra."""
    block = 4096
    frames = mono[: len(mono) // block * block].reshape(-1, block)
    if len(frames) == 0:
        frames = np.pad(mono, (0, block - len(mono)))[None]
    hz = np.fft.rfftfreq(block, 1 / rate)
    shelf = 1 + (10**0.4 - 1) / (1 + (1680 / np.maximum(hz, 1)) ** 4)
    weight = shelf / (1 + (38 / np.maximum(hz, 1)) ** 4) * 2 / block**2
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2) @ weight
    return float(power[power >= 0.1 * power.mean()].mean())


def _loudness_gain(mono: np.ndarray, rate: int) -> np.float32:
    target_power = 10 ** ((TARGET_LUFS + 0.691) / 10)
    return np.float32(min((target_power / (_k_power(mono, rate) + 1e-12)) ** 0.5, PEAK / (np.abs(mono).max() + 1e-9)))


def _stem(song: Song, name: str, notes: list[Note], rate: int, count: int) -> np.ndarray:
    buffer = np.zeros(count, np.float32)
    for note in notes:
        _add_note(buffer, note, rate)
    if song.echo and name in ("keyboard", "guitar", "synth", "woodwinds", "brass"):
        _echo(buffer, round(0.75 * 60 / song.bpm * rate), song.echo)
    if song.pump and name in ("synth", "strings", "backing_vocals"):
        _duck(buffer, song, rate)
    edge = min(count, int(0.05 * rate))
    buffer[-edge:] *= np.linspace(1, 0, edge, dtype=np.float32)
    return buffer * np.float32(LEVELS[name])


def _pan(mono: np.ndarray, name: str, channels: int) -> np.ndarray:
    if channels == 1:
        return mono[None]
    angle = (PANS.get(name, 0.0) + 1) * np.pi / 4
    sides = np.array([np.cos(angle), np.sin(angle)], np.float32) * np.float32(2**0.5)
    return mono[None] * sides[:, None]


def render(song: Song, rate: int = 24000, channels: int = 1) -> Rendering:
    """Render a song at `rate` Hz: its mix and its stems, levelled to about -16 LUFS without clipping."""
    count = round(song.seconds * rate)
    lines: dict[str, list[Note]] = {name: [] for name in song.instruments}
    for note in song.notes:
        lines[note.stem].append(note)
    stems = {name: _pan(_stem(song, name, notes, rate, count), name, channels) for name, notes in lines.items()}
    mix = sum(stems.values(), np.zeros((channels, count), np.float32))
    gain = _loudness_gain(mix[0] if channels == 1 else mix[np.abs(mix).max(axis=1).argmax()], rate)
    stems = {name: stem * gain for name, stem in stems.items()}
    mix = np.zeros((channels, count), np.float32)
    for stem in stems.values():
        mix += stem
    return Rendering(mix, stems, rate)
