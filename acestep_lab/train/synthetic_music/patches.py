"""How each pitched sound is made, as rows. Knows wavetables and envelopes; knows nothing of songs or mixing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

Signal = np.ndarray  # float64 [samples] while a note is made
Level = Callable[[np.ndarray, np.ndarray], np.ndarray]  # harmonic numbers and their Hz to amplitudes
TABLE = 8192


@dataclass(frozen=True)
class Patch:
    """What a maker is told about the note it makes."""

    hz: float
    count: int  # samples
    rate: int
    random: np.random.Generator

    @property
    def time(self) -> Signal:
        return np.arange(self.count) / self.rate


def table(voice: Patch, amplitude: Level, phases: bool = False) -> Signal:
    """One period of a band-limited wave; `amplitude(harmonic, hz)` gives each harmonic's level."""
    top = max(1, min(TABLE // 4, int(0.47 * voice.rate / voice.hz)))
    harmonic = np.arange(1, top + 1)
    spectrum = np.zeros(TABLE // 2 + 1, complex)
    turn = voice.random.uniform(0, 2 * np.pi, top) if phases else np.full(top, -np.pi / 2)
    spectrum[1 : top + 1] = amplitude(harmonic, harmonic * voice.hz) * np.exp(1j * turn)
    wave = np.fft.irfft(spectrum) * TABLE / 2
    return wave


def play(
    voice: Patch, wave: Signal, cents: float = 0.0, vibrato: float = 0.0, wobble: float = 5.2, late: float = 0.25
) -> Signal:
    """Read a period at the voice's pitch; `vibrato` in cents grows in after `late` seconds."""
    start = voice.random.random()
    hz = voice.hz * 2 ** (cents / 1200)
    if vibrato == 0.0:
        phase = start + hz / voice.rate * np.arange(voice.count)
    else:
        depth = vibrato * np.clip((voice.time - late) / 0.3, 0, 1)
        swing = np.sin(2 * np.pi * (wobble * voice.time + voice.random.random()))
        phase = start + np.cumsum(hz * 2 ** (depth * swing / 1200)) / voice.rate
    return wave[(phase * TABLE).astype(np.int64) % TABLE]


def envelope(voice: Patch, attack: float, decay: float = 0.0, sustain: float = 1.0) -> Signal:
    """Rise over `attack` seconds, then fall towards `sustain` with `decay` per second."""
    time = voice.time
    rise = np.clip(time / max(attack, 1e-4), 0, 1)
    return np.sin(rise * np.pi / 2) ** 2 * (sustain + (1 - sustain) * np.exp(-decay * np.maximum(time - attack, 0)))


def low(hz: np.ndarray, corner: float, order: float = 2.0) -> np.ndarray:
    return 1 / (1 + (hz / corner) ** (2 * order)) ** 0.5


def peak(hz: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((hz - centre) / width) ** 2)


def shaped_noise(voice: Patch, curve: Callable[[np.ndarray], np.ndarray]) -> Signal:
    spectrum = np.fft.rfft(voice.random.standard_normal(voice.count))
    return np.fft.irfft(spectrum * curve(np.fft.rfftfreq(voice.count, 1 / voice.rate)), voice.count)


def struck(voice: Patch, level: Level, fall: float, spread: float = 1.0) -> Signal:
    """A struck or plucked string: three groups of harmonics, the higher ones falling faster."""
    total = np.zeros(voice.count)
    for first, last, faster in ((1, 2, 1.0), (3, 6, 2.2), (7, 400, 5.0)):
        wave = table(voice, _between(level, first, last))
        total += play(voice, wave) * np.exp(-fall * faster * voice.time)
    second = play(voice, table(voice, _between(level, 1, 4)), cents=spread)  # the other string of the course
    return (total + 0.5 * second * np.exp(-fall * 1.3 * voice.time)) * envelope(voice, 0.003)


def _between(level: Level, first: int, last: int) -> Level:
    return lambda h, f: level(h, f) * ((h >= first) & (h <= last))


def piano(voice: Patch) -> Signal:
    fall = 0.9 * (voice.hz / 220) ** 0.6
    tone = struck(voice, lambda h, f: np.sin(h * np.pi / 8.2) ** 2 / h**1.1 * low(f, 3200, 1) + 0.02 / h, fall)
    knock = shaped_noise(voice, lambda f: low(f, 1200)) * np.exp(-60 * voice.time)
    return tone + 0.05 * knock


def electric_piano(voice: Patch) -> Signal:
    time, turn = voice.time, 2 * np.pi * voice.hz * voice.time
    bark = np.exp(-3.5 * time) * min(1.6, 1.1 * (220 / voice.hz) ** 0.3)
    body = np.sin(turn + bark * np.sin(turn)) * np.exp(-0.9 * time)
    tine = 0.12 * np.sin(turn * 7.0) * np.exp(-14 * time) if voice.hz * 7 < voice.rate * 0.45 else 0.0
    return (body + tine) * (1 + 0.12 * np.sin(2 * np.pi * 4.8 * time)) * envelope(voice, 0.004)


def organ(voice: Patch) -> Signal:
    bars = {1: 0.8, 2: 1.0, 3: 0.5, 4: 0.45, 6: 0.2, 8: 0.22}
    wave = table(voice, lambda h, f: np.array([bars.get(int(i), 0.0) for i in h]) * low(f, 5000))
    return play(voice, wave, vibrato=7, wobble=6.1, late=0) * envelope(voice, 0.008)


def nylon_guitar(voice: Patch) -> Signal:
    fall = 1.8 * (voice.hz / 220) ** 0.5
    return struck(voice, lambda h, f: np.abs(np.sin(h * np.pi * 0.22)) / h**1.5 * low(f, 3500, 1), fall, 0.6)


def steel_guitar(voice: Patch) -> Signal:
    fall = 1.3 * (voice.hz / 220) ** 0.5
    return struck(voice, lambda h, f: np.abs(np.sin(h * np.pi * 0.13)) / h**0.9 * low(f, 5500, 1), fall, 1.2)


def clean_guitar(voice: Patch) -> Signal:
    fall = 1.1 * (voice.hz / 220) ** 0.4
    tone = struck(voice, lambda h, f: np.abs(np.sin(h * np.pi * 0.27)) / h**1.1 * low(f, 3800, 2), fall, 2.0)
    return tone * (1 + 0.25 * np.sin(2 * np.pi * 5.0 * voice.time))


def distorted_guitar(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: np.abs(np.sin(h * np.pi * 0.2)) / h * low(f, 4000))
    driven = np.tanh(5 * (play(voice, wave) + 0.7 * play(voice, wave, 3)) * np.exp(-0.4 * voice.time))
    spectrum = np.fft.rfft(driven)
    hz = np.fft.rfftfreq(voice.count, 1 / voice.rate)
    return np.fft.irfft(spectrum * low(hz, 3600, 3), voice.count) * envelope(voice, 0.006)


def finger_bass(voice: Patch) -> Signal:
    return struck(voice, lambda h, f: (0.4 + np.abs(np.sin(h * np.pi * 0.2))) / h**1.3 * low(f, 1400, 1.5), 1.1, 0.0)


def upright_bass(voice: Patch) -> Signal:
    tone = struck(voice, lambda h, f: 1 / h**1.5 * low(f, 900, 1), 1.9, 0.0)
    return tone + 0.03 * shaped_noise(voice, lambda f: low(f, 900)) * np.exp(-50 * voice.time)


def synth_bass(voice: Patch) -> Signal:
    bright = play(voice, table(voice, lambda h, f: low(f, 1800) / h))
    dark = play(voice, table(voice, lambda h, f: low(f, 420) / h))
    sweep = np.exp(-7 * voice.time)
    return (bright * sweep + dark * (1 - sweep)) * envelope(voice, 0.004, 1.0, 0.6)


def sub_bass(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: np.select([h == 1, h == 2, h == 3], [1.0, 0.45, 0.18], 0.0))
    return play(voice, wave) * envelope(voice, 0.008, 0.5, 0.6)


def _ensemble(voice: Patch, wave: Signal, voices: int, cents: float, vibrato: float = 0.0) -> Signal:
    spread = np.linspace(-cents, cents, voices)
    return sum((play(voice, wave, c, vibrato, 4.6 + 0.5 * i) for i, c in enumerate(spread)), np.zeros(voice.count))


def warm_pad(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: low(f, 900, 1) / h)
    return _ensemble(voice, wave, 4, 7) * envelope(voice, 0.18)


def bright_pad(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: low(f, 2600, 1) / h)
    return _ensemble(voice, wave, 5, 9) * envelope(voice, 0.09)


def synth_pluck(voice: Patch) -> Signal:
    bright = _ensemble(voice, table(voice, lambda h, f: low(f, 4500) / h), 2, 5)
    dark = _ensemble(voice, table(voice, lambda h, f: low(f, 700) / h), 2, 5)
    return (bright * np.exp(-14 * voice.time) + dark * np.exp(-4 * voice.time)) * envelope(voice, 0.002)


def saw_lead(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: low(f, 3800, 1) / h)
    return _ensemble(voice, wave, 3, 6, vibrato=10) * envelope(voice, 0.01, 2, 0.75)


def square_lead(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: (h % 2) * low(f, 3000, 1) / h)
    return play(voice, wave, vibrato=12) * envelope(voice, 0.008, 2, 0.8)


def string_ensemble(voice: Patch) -> Signal:
    body = table(voice, lambda h, f: (0.5 + peak(f, 500, 250) + 0.6 * peak(f, 2400, 900)) * low(f, 4200, 1) / h, True)
    return _ensemble(voice, body, 5, 8, vibrato=9) * envelope(voice, 0.11)


def violin(voice: Patch) -> Signal:
    body = table(
        voice, lambda h, f: (0.5 + peak(f, 480, 160) + peak(f, 1100, 350) + 0.7 * peak(f, 2800, 800)) * low(f, 5500) / h
    )
    bow = 0.02 * shaped_noise(voice, lambda f: peak(f, 3000, 1500))
    return (play(voice, body, vibrato=22, wobble=5.7) + bow) * envelope(voice, 0.06)


def pizzicato(voice: Patch) -> Signal:
    return struck(voice, lambda h, f: (0.5 + peak(f, 500, 250)) / h**1.4 * low(f, 2500, 1), 6.0, 3.0)


def flute(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: np.select([h == 1, h == 2, h == 3, h == 4], [1.0, 0.35, 0.12, 0.05], 0.0))
    breath = 0.03 * shaped_noise(voice, lambda f: peak(f, voice.hz * 2, 900) + 0.15 * low(f, 5000))
    return (play(voice, wave, vibrato=14, wobble=5.0) + breath) * envelope(voice, 0.05)


def clarinet(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: np.where(h % 2 == 1, 1.0, 0.12) * low(f, 1900, 1) / h**0.8)
    return play(voice, wave, vibrato=4) * envelope(voice, 0.035)


def saxophone(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: (0.3 + peak(f, 700, 300) + 0.6 * peak(f, 1700, 600)) * low(f, 4200) / h**0.5)
    breath = 0.03 * shaped_noise(voice, lambda f: peak(f, 2200, 1400))
    return (play(voice, wave, vibrato=16, wobble=5.1) + breath) * envelope(voice, 0.03, 3, 0.8)


def trumpet(voice: Patch) -> Signal:
    bright = table(voice, lambda h, f: (0.3 + peak(f, 1300, 700)) * low(f, 4200) / h**0.5)
    dark = table(voice, lambda h, f: low(f, 1300, 1.5) / h**0.5)
    open_ = np.clip(voice.time / 0.09, 0, 1) * (0.6 + 0.4 * np.exp(-3 * voice.time))
    start = play(voice, dark, vibrato=9) * (1 - open_)
    return (play(voice, bright, vibrato=9) * open_ + start) * envelope(voice, 0.025)


def horn_section(voice: Patch) -> Signal:
    wave = table(voice, lambda h, f: (0.4 + peak(f, 600, 350)) * low(f, 2600, 1.5) / h**0.6, True)
    return _ensemble(voice, wave, 3, 6, vibrato=5) * envelope(voice, 0.045, 2, 0.8)


VOWELS = {
    "a": ((750, 90, 1.0), (1200, 110, 0.6), (2600, 180, 0.25)),
    "e": ((480, 80, 1.0), (1850, 130, 0.5), (2600, 180, 0.3)),
    "i": ((310, 70, 1.0), (2200, 140, 0.45), (2950, 200, 0.3)),
    "o": ((480, 80, 1.0), (850, 90, 0.6), (2500, 180, 0.12)),
    "u": ((330, 70, 1.0), (720, 90, 0.35), (2300, 180, 0.06)),
}  # formants as (Hz, width, level), after Peterson & Barney 1952


def _formants(vowel: str) -> Level:
    rows = VOWELS[vowel]
    return lambda h, f: (sum(g * peak(f, c, 1.6 * w) for c, w, g in rows) + 0.06 * low(f, 3500)) / h**0.35


def singer(vowel: str) -> Callable[[Patch], Signal]:
    def sing(voice: Patch) -> Signal:
        air = 0.02 * shaped_noise(voice, lambda f: peak(f, 3200, 1500))
        onset = 0.15 * shaped_noise(voice, lambda f: peak(f, 4500, 1800)) * np.exp(-45 * voice.time)
        return (play(voice, table(voice, _formants(vowel)), vibrato=28, wobble=5.5) + air) * envelope(
            voice, 0.04
        ) + onset

    return sing


def choir(vowel: str) -> Callable[[Patch], Signal]:
    def sing(voice: Patch) -> Signal:
        return _ensemble(voice, table(voice, _formants(vowel), True), 5, 11, vibrato=14) * envelope(voice, 0.13)

    return sing


@dataclass(frozen=True)
class Sound:
    """A pitched sound: its maker, playable range (MIDI), longest cached note and release (seconds), level."""

    maker: Callable[[Patch], Signal]
    lowest: int
    highest: int
    seconds: float = 2.4
    release: float = 0.07
    level: float = 1.0


SOUNDS: dict[str, Sound] = {
    "piano": Sound(piano, 36, 88, 2.4, 0.14),
    "electric piano": Sound(electric_piano, 36, 84, 2.4, 0.12),
    "organ": Sound(organ, 40, 84, 2.4, 0.06),
    "nylon guitar": Sound(nylon_guitar, 40, 82, 2.2, 0.12),
    "acoustic guitar": Sound(steel_guitar, 40, 84, 2.4, 0.12),
    "electric guitar": Sound(clean_guitar, 40, 86, 2.4, 0.10),
    "distorted guitar": Sound(distorted_guitar, 38, 84, 2.4, 0.06),
    "bass guitar": Sound(finger_bass, 26, 55, 1.8, 0.05),
    "upright bass": Sound(upright_bass, 26, 55, 1.6, 0.08),
    "synth bass": Sound(synth_bass, 26, 55, 2.0, 0.03, 1.15),
    "sub bass": Sound(sub_bass, 26, 55, 2.4, 0.05, 0.85),
    "warm pad": Sound(warm_pad, 43, 80, 3.2, 0.35),
    "bright pad": Sound(bright_pad, 43, 80, 3.2, 0.30),
    "synth pluck": Sound(synth_pluck, 48, 88, 1.2, 0.10, 1.3),
    "synth lead": Sound(saw_lead, 52, 88, 2.0, 0.06, 1.4),
    "square lead": Sound(square_lead, 52, 88, 2.0, 0.05, 1.3),
    "strings": Sound(string_ensemble, 40, 88, 3.2, 0.25),
    "violin": Sound(violin, 55, 90, 2.4, 0.10),
    "pizzicato strings": Sound(pizzicato, 45, 86, 1.0, 0.10),
    "flute": Sound(flute, 59, 90, 2.2, 0.08),
    "clarinet": Sound(clarinet, 52, 84, 2.2, 0.06),
    "saxophone": Sound(saxophone, 50, 82, 2.2, 0.06),
    "trumpet": Sound(trumpet, 54, 84, 2.2, 0.06),
    "brass section": Sound(horn_section, 45, 80, 2.2, 0.07, 0.8),
    **{f"voice {v}": Sound(singer(v), 52, 80, 2.2, 0.08) for v in VOWELS},
    "choir a": Sound(choir("a"), 48, 78, 3.2, 0.22),
    "choir u": Sound(choir("u"), 48, 78, 3.2, 0.22),
}


def make_note(name: str, pitch: int, rate: int) -> np.ndarray:
    """One dry note, float64 [samples], its loudest 200 ms at RMS 0.1; same name and pitch, same samples."""
    sound = SOUNDS[name]
    random = np.random.Generator(np.random.PCG64([crc32(name.encode()), pitch]))
    voice = Patch(440 * 2 ** ((pitch - 69) / 12), int(sound.seconds * rate), rate, random)
    signal = sound.maker(voice)
    window = rate // 5
    sums = np.cumsum(signal[: 4 * window] ** 2)
    loudest = np.max(sums[window:] - sums[:-window]) / window
    return signal * (0.1 * sound.level / np.sqrt(loudest + 1e-12))
