"""Patches: how each pitched sound is synthesised, as rows. Knows wavetables and envelopes, no songs and no mixing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

Signal = np.ndarray  # float64 [samples] while a note is made
HarmonicLevels = Callable[[np.ndarray, np.ndarray], np.ndarray]  # harmonic numbers and their Hz to amplitudes
TABLE = 8192


@dataclass(frozen=True)
class NoteSpec:
    """The note that a patch synthesises: its frequency, length and rate, and its source of randomness."""

    hz: float
    count: int  # samples
    rate: int
    random: np.random.Generator

    @property
    def time(self) -> Signal:
        """The seconds of each sample, [samples]."""
        return np.arange(self.count) / self.rate


def wavetable(note: NoteSpec, amplitude: HarmonicLevels, phases: bool = False) -> Signal:
    """One period of a band-limited wave; `amplitude(harmonic, hz)` gives each harmonic's level."""
    top = max(1, min(TABLE // 4, int(0.47 * note.rate / note.hz)))
    harmonic = np.arange(1, top + 1)
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    phase_turn = note.random.uniform(0, 2 * np.pi, top) if phases else np.full(top, -np.pi / 2)
    spectrum[1 : top + 1] = amplitude(harmonic, harmonic * note.hz) * np.exp(1j * phase_turn)
    wave = np.fft.irfft(spectrum) * TABLE / 2
    return wave


def oscillator(
    note: NoteSpec,
    wave: Signal,
    cents: float = 0.0,
    vibrato: float = 0.0,
    vibrato_hz: float = 5.2,
    vibrato_delay: float = 0.25,
) -> Signal:
    """Read a period at the note's pitch; `vibrato` in cents grows in after `vibrato_delay` seconds."""
    start = note.random.random()
    hz = note.hz * 2 ** (cents / 1200)
    if vibrato == 0.0:
        phase = start + hz / note.rate * np.arange(note.count)
    else:
        depth = vibrato * np.clip((note.time - vibrato_delay) / 0.3, 0, 1)
        swing = np.sin(2 * np.pi * (vibrato_hz * note.time + note.random.random()))
        phase = start + np.cumsum(hz * 2 ** (depth * swing / 1200)) / note.rate
    return wave[(phase * TABLE).astype(np.int64) % TABLE]


def envelope(note: NoteSpec, attack: float, decay: float = 0.0, sustain: float = 1.0) -> Signal:
    """Rise over `attack` seconds, then fall towards `sustain` with `decay` per second."""
    time = note.time
    rise = np.clip(time / max(attack, 1e-4), 0, 1)
    return np.sin(rise * np.pi / 2) ** 2 * (sustain + (1 - sustain) * np.exp(-decay * np.maximum(time - attack, 0)))


def lowpass(hz: np.ndarray, corner: float, order: float = 2.0) -> np.ndarray:
    """A low-pass response over `hz`: 1 below `corner`, falling by 6·`order` dB an octave above it."""
    return 1 / (1 + (hz / corner) ** (2 * order)) ** 0.5


def resonance(hz: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A bell-shaped response over `hz`, 1 at `centre`."""
    return np.exp(-0.5 * ((hz - centre) / width) ** 2)


def filtered_noise(note: NoteSpec, curve: Callable[[np.ndarray], np.ndarray]) -> Signal:
    """White noise shaped by a frequency response."""
    spectrum = np.fft.rfft(note.random.standard_normal(note.count))
    return np.fft.irfft(spectrum * curve(np.fft.rfftfreq(note.count, 1 / note.rate)), note.count)


def struck_string(note: NoteSpec, level: HarmonicLevels, decay_rate: float, spread: float = 1.0) -> Signal:
    """A struck or plucked string: three groups of harmonics, the higher ones falling faster."""
    total = np.zeros(note.count)
    for first, last, relative_rate in ((1, 2, 1.0), (3, 6, 2.2), (7, 400, 5.0)):
        wave = wavetable(note, _partials(level, first, last))
        total += oscillator(note, wave) * np.exp(-decay_rate * relative_rate * note.time)
    second = oscillator(note, wavetable(note, _partials(level, 1, 4)), cents=spread)  # the other string of the course
    return (total + 0.5 * second * np.exp(-decay_rate * 1.3 * note.time)) * envelope(note, 0.003)


def _partials(level: HarmonicLevels, first: int, last: int) -> HarmonicLevels:
    return lambda h, f: level(h, f) * ((h >= first) & (h <= last))


def piano(note: NoteSpec) -> Signal:
    """Hammered strings whose decay quickens with pitch, and the knock of the key."""
    decay_rate = 0.9 * (note.hz / 220) ** 0.6
    tone = struck_string(
        note, lambda h, f: np.sin(h * np.pi / 8.2) ** 2 / h**1.1 * lowpass(f, 3200, 1) + 0.02 / h, decay_rate
    )
    knock = filtered_noise(note, lambda f: lowpass(f, 1200)) * np.exp(-60 * note.time)
    return tone + 0.05 * knock


def electric_piano(note: NoteSpec) -> Signal:
    """Two-operator FM with a tine and a tremolo."""
    time, phase_turn = note.time, 2 * np.pi * note.hz * note.time
    bark = np.exp(-3.5 * time) * min(1.6, 1.1 * (220 / note.hz) ** 0.3)
    body = np.sin(phase_turn + bark * np.sin(phase_turn)) * np.exp(-0.9 * time)
    tine = 0.12 * np.sin(phase_turn * 7.0) * np.exp(-14 * time) if note.hz * 7 < note.rate * 0.45 else 0.0
    return (body + tine) * (1 + 0.12 * np.sin(2 * np.pi * 4.8 * time)) * envelope(note, 0.004)


def organ(note: NoteSpec) -> Signal:
    """Drawbars with a slow rotary vibrato."""
    bars = {1: 0.8, 2: 1.0, 3: 0.5, 4: 0.45, 6: 0.2, 8: 0.22}
    wave = wavetable(note, lambda h, f: np.array([bars.get(int(i), 0.0) for i in h]) * lowpass(f, 5000))
    return oscillator(note, wave, vibrato=7, vibrato_hz=6.1, vibrato_delay=0) * envelope(note, 0.008)


def nylon_guitar(note: NoteSpec) -> Signal:
    """A dark plucked string."""
    decay_rate = 1.8 * (note.hz / 220) ** 0.5
    return struck_string(
        note, lambda h, f: np.abs(np.sin(h * np.pi * 0.22)) / h**1.5 * lowpass(f, 3500, 1), decay_rate, 0.6
    )


def steel_guitar(note: NoteSpec) -> Signal:
    """A bright plucked string."""
    decay_rate = 1.3 * (note.hz / 220) ** 0.5
    return struck_string(
        note, lambda h, f: np.abs(np.sin(h * np.pi * 0.13)) / h**0.9 * lowpass(f, 5500, 1), decay_rate, 1.2
    )


def clean_guitar(note: NoteSpec) -> Signal:
    """A plucked string with tremolo."""
    decay_rate = 1.1 * (note.hz / 220) ** 0.4
    tone = struck_string(
        note, lambda h, f: np.abs(np.sin(h * np.pi * 0.27)) / h**1.1 * lowpass(f, 3800, 2), decay_rate, 2.0
    )
    return tone * (1 + 0.25 * np.sin(2 * np.pi * 5.0 * note.time))


def distorted_guitar(note: NoteSpec) -> Signal:
    """Two detuned strings through a saturating amplifier and a cabinet."""
    wave = wavetable(note, lambda h, f: np.abs(np.sin(h * np.pi * 0.2)) / h * lowpass(f, 4000))
    driven = np.tanh(5 * (oscillator(note, wave) + 0.7 * oscillator(note, wave, 3)) * np.exp(-0.4 * note.time))
    spectrum = np.fft.rfft(driven)
    hz = np.fft.rfftfreq(note.count, 1 / note.rate)
    return np.fft.irfft(spectrum * lowpass(hz, 3600, 3), note.count) * envelope(note, 0.006)


def finger_bass(note: NoteSpec) -> Signal:
    """A plucked electric bass."""
    return struck_string(
        note, lambda h, f: (0.4 + np.abs(np.sin(h * np.pi * 0.2))) / h**1.3 * lowpass(f, 1400, 1.5), 1.1, 0.0
    )


def upright_bass(note: NoteSpec) -> Signal:
    """A plucked double bass with finger noise."""
    tone = struck_string(note, lambda h, f: 1 / h**1.5 * lowpass(f, 900, 1), 1.9, 0.0)
    return tone + 0.03 * filtered_noise(note, lambda f: lowpass(f, 900)) * np.exp(-50 * note.time)


def synth_bass(note: NoteSpec) -> Signal:
    """A saw whose filter closes."""
    bright = oscillator(note, wavetable(note, lambda h, f: lowpass(f, 1800) / h))
    dark = oscillator(note, wavetable(note, lambda h, f: lowpass(f, 420) / h))
    sweep = np.exp(-7 * note.time)
    return (bright * sweep + dark * (1 - sweep)) * envelope(note, 0.004, 1.0, 0.6)


def sub_bass(note: NoteSpec) -> Signal:
    """A sine with two faint harmonics."""
    wave = wavetable(note, lambda h, f: np.select([h == 1, h == 2, h == 3], [1.0, 0.45, 0.18], 0.0))
    return oscillator(note, wave) * envelope(note, 0.008, 0.5, 0.6)


def _unison(note: NoteSpec, wave: Signal, voices: int, cents: float, vibrato: float = 0.0) -> Signal:
    spread = np.linspace(-cents, cents, voices)
    return sum((oscillator(note, wave, c, vibrato, 4.6 + 0.5 * i) for i, c in enumerate(spread)), np.zeros(note.count))


def warm_pad(note: NoteSpec) -> Signal:
    """Four detuned dark saws, slow attack."""
    wave = wavetable(note, lambda h, f: lowpass(f, 900, 1) / h)
    return _unison(note, wave, 4, 7) * envelope(note, 0.18)


def bright_pad(note: NoteSpec) -> Signal:
    """Five detuned brighter saws."""
    wave = wavetable(note, lambda h, f: lowpass(f, 2600, 1) / h)
    return _unison(note, wave, 5, 9) * envelope(note, 0.09)


def synth_pluck(note: NoteSpec) -> Signal:
    """Two detuned saws whose filter closes quickly."""
    bright = _unison(note, wavetable(note, lambda h, f: lowpass(f, 4500) / h), 2, 5)
    dark = _unison(note, wavetable(note, lambda h, f: lowpass(f, 700) / h), 2, 5)
    return (bright * np.exp(-14 * note.time) + dark * np.exp(-4 * note.time)) * envelope(note, 0.002)


def saw_lead(note: NoteSpec) -> Signal:
    """Three detuned saws with vibrato."""
    wave = wavetable(note, lambda h, f: lowpass(f, 3800, 1) / h)
    return _unison(note, wave, 3, 6, vibrato=10) * envelope(note, 0.01, 2, 0.75)


def square_lead(note: NoteSpec) -> Signal:
    """A square wave with vibrato."""
    wave = wavetable(note, lambda h, f: (h % 2) * lowpass(f, 3000, 1) / h)
    return oscillator(note, wave, vibrato=12) * envelope(note, 0.008, 2, 0.8)


def string_ensemble(note: NoteSpec) -> Signal:
    """Five bowed players with random phases."""
    body = wavetable(
        note,
        lambda h, f: (0.5 + resonance(f, 500, 250) + 0.6 * resonance(f, 2400, 900)) * lowpass(f, 4200, 1) / h,
        True,
    )
    return _unison(note, body, 5, 8, vibrato=9) * envelope(note, 0.11)


def violin(note: NoteSpec) -> Signal:
    """One bowed string with body resonances and bow noise."""
    body = wavetable(
        note,
        lambda h, f: (
            (0.5 + resonance(f, 480, 160) + resonance(f, 1100, 350) + 0.7 * resonance(f, 2800, 800))
            * lowpass(f, 5500)
            / h
        ),
    )
    bow = 0.02 * filtered_noise(note, lambda f: resonance(f, 3000, 1500))
    return (oscillator(note, body, vibrato=22, vibrato_hz=5.7) + bow) * envelope(note, 0.06)


def pizzicato(note: NoteSpec) -> Signal:
    """A plucked string section."""
    return struck_string(note, lambda h, f: (0.5 + resonance(f, 500, 250)) / h**1.4 * lowpass(f, 2500, 1), 6.0, 3.0)


def flute(note: NoteSpec) -> Signal:
    """Four harmonics with vibrato and breath."""
    wave = wavetable(note, lambda h, f: np.select([h == 1, h == 2, h == 3, h == 4], [1.0, 0.35, 0.12, 0.05], 0.0))
    breath = 0.03 * filtered_noise(note, lambda f: resonance(f, note.hz * 2, 900) + 0.15 * lowpass(f, 5000))
    return (oscillator(note, wave, vibrato=14, vibrato_hz=5.0) + breath) * envelope(note, 0.05)


def clarinet(note: NoteSpec) -> Signal:
    """Odd harmonics, little vibrato."""
    wave = wavetable(note, lambda h, f: np.where(h % 2 == 1, 1.0, 0.12) * lowpass(f, 1900, 1) / h**0.8)
    return oscillator(note, wave, vibrato=4) * envelope(note, 0.035)


def saxophone(note: NoteSpec) -> Signal:
    """A reed with two formants, vibrato and breath."""
    wave = wavetable(
        note, lambda h, f: (0.3 + resonance(f, 700, 300) + 0.6 * resonance(f, 1700, 600)) * lowpass(f, 4200) / h**0.5
    )
    breath = 0.03 * filtered_noise(note, lambda f: resonance(f, 2200, 1400))
    return (oscillator(note, wave, vibrato=16, vibrato_hz=5.1) + breath) * envelope(note, 0.03, 3, 0.8)


def trumpet(note: NoteSpec) -> Signal:
    """A dark wave that opens into a bright one."""
    bright = wavetable(note, lambda h, f: (0.3 + resonance(f, 1300, 700)) * lowpass(f, 4200) / h**0.5)
    dark = wavetable(note, lambda h, f: lowpass(f, 1300, 1.5) / h**0.5)
    open_ = np.clip(note.time / 0.09, 0, 1) * (0.6 + 0.4 * np.exp(-3 * note.time))
    start = oscillator(note, dark, vibrato=9) * (1 - open_)
    return (oscillator(note, bright, vibrato=9) * open_ + start) * envelope(note, 0.025)


def horn_section(note: NoteSpec) -> Signal:
    """Three brass players."""
    wave = wavetable(note, lambda h, f: (0.4 + resonance(f, 600, 350)) * lowpass(f, 2600, 1.5) / h**0.6, True)
    return _unison(note, wave, 3, 6, vibrato=5) * envelope(note, 0.045, 2, 0.8)


VOWELS = {
    "a": ((750, 90, 1.0), (1200, 110, 0.6), (2600, 180, 0.25)),
    "e": ((480, 80, 1.0), (1850, 130, 0.5), (2600, 180, 0.3)),
    "i": ((310, 70, 1.0), (2200, 140, 0.45), (2950, 200, 0.3)),
    "o": ((480, 80, 1.0), (850, 90, 0.6), (2500, 180, 0.12)),
    "u": ((330, 70, 1.0), (720, 90, 0.35), (2300, 180, 0.06)),
}  # formants as (Hz, width, level), after Peterson & Barney 1952


def _formants(vowel: str) -> HarmonicLevels:
    rows = VOWELS[vowel]
    return lambda h, f: (sum(g * resonance(f, c, 1.6 * w) for c, w, g in rows) + 0.06 * lowpass(f, 3500)) / h**0.35


def singer(vowel: str) -> Callable[[NoteSpec], Signal]:
    """A patch that sings a vowel of VOWELS with vibrato, breath and an onset."""

    def sing(note: NoteSpec) -> Signal:
        air = 0.02 * filtered_noise(note, lambda f: resonance(f, 3200, 1500))
        onset = 0.15 * filtered_noise(note, lambda f: resonance(f, 4500, 1800)) * np.exp(-45 * note.time)
        return (oscillator(note, wavetable(note, _formants(vowel)), vibrato=28, vibrato_hz=5.5) + air) * envelope(
            note, 0.04
        ) + onset

    return sing


def choir(vowel: str) -> Callable[[NoteSpec], Signal]:
    """A patch of five singers on a vowel of VOWELS."""

    def sing(note: NoteSpec) -> Signal:
        return _unison(note, wavetable(note, _formants(vowel), True), 5, 11, vibrato=14) * envelope(note, 0.13)

    return sing


@dataclass(frozen=True)
class Patch:
    """A pitched sound: its synthesis, playable range (MIDI), longest cached note and release (seconds), level."""

    synthesize: Callable[[NoteSpec], Signal]
    lowest: int
    highest: int
    seconds: float = 2.4
    release: float = 0.07
    level: float = 1.0


PATCHES: dict[str, Patch] = {
    "piano": Patch(piano, 36, 88, 2.4, 0.14),
    "electric piano": Patch(electric_piano, 36, 84, 2.4, 0.12),
    "organ": Patch(organ, 40, 84, 2.4, 0.06),
    "nylon guitar": Patch(nylon_guitar, 40, 82, 2.2, 0.12),
    "acoustic guitar": Patch(steel_guitar, 40, 84, 2.4, 0.12),
    "electric guitar": Patch(clean_guitar, 40, 86, 2.4, 0.10),
    "distorted guitar": Patch(distorted_guitar, 38, 84, 2.4, 0.06),
    "bass guitar": Patch(finger_bass, 26, 55, 1.8, 0.05),
    "upright bass": Patch(upright_bass, 26, 55, 1.6, 0.08),
    "synth bass": Patch(synth_bass, 26, 55, 2.0, 0.03, 1.15),
    "sub bass": Patch(sub_bass, 26, 55, 2.4, 0.05, 0.85),
    "warm pad": Patch(warm_pad, 43, 80, 3.2, 0.35),
    "bright pad": Patch(bright_pad, 43, 80, 3.2, 0.30),
    "synth pluck": Patch(synth_pluck, 48, 88, 1.2, 0.10, 1.3),
    "synth lead": Patch(saw_lead, 52, 88, 2.0, 0.06, 1.4),
    "square lead": Patch(square_lead, 52, 88, 2.0, 0.05, 1.3),
    "strings": Patch(string_ensemble, 40, 88, 3.2, 0.25),
    "violin": Patch(violin, 55, 90, 2.4, 0.10),
    "pizzicato strings": Patch(pizzicato, 45, 86, 1.0, 0.10),
    "flute": Patch(flute, 59, 90, 2.2, 0.08),
    "clarinet": Patch(clarinet, 52, 84, 2.2, 0.06),
    "saxophone": Patch(saxophone, 50, 82, 2.2, 0.06),
    "trumpet": Patch(trumpet, 54, 84, 2.2, 0.06),
    "brass section": Patch(horn_section, 45, 80, 2.2, 0.07, 0.8),
    **{f"voice {v}": Patch(singer(v), 52, 80, 2.2, 0.08) for v in VOWELS},
    "choir a": Patch(choir("a"), 48, 78, 3.2, 0.22),
    "choir u": Patch(choir("u"), 48, 78, 3.2, 0.22),
}


def make_note(name: str, pitch: int, rate: int) -> np.ndarray:
    """One dry note, float64 [samples], its loudest 200 ms at RMS 0.1; same name and pitch, same samples."""
    sound = PATCHES[name]
    random = np.random.Generator(np.random.PCG64([crc32(name.encode()), pitch]))
    note = NoteSpec(440 * 2 ** ((pitch - 69) / 12), int(sound.seconds * rate), rate, random)
    signal = sound.synthesize(note)
    window = rate // 5
    sums = np.cumsum(signal[: 4 * window] ** 2)
    loudest = np.max(sums[window:] - sums[:-window]) / window
    return signal * (0.1 * sound.level / np.sqrt(loudest + 1e-12))
