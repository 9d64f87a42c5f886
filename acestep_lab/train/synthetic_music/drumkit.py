"""Drums, hand percussion and effects as one-shots. Kicks and skins are tuned to the song's tonic, the rest is noise."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np

Signal = np.ndarray


def _time_axis(seconds: float, rate: int) -> Signal:
    return np.arange(int(seconds * rate)) / rate


def _bandpass(signal: Signal, rate: int, low: float, high: float) -> Signal:
    hz = np.fft.rfftfreq(len(signal), 1 / rate)
    gate = 1 / (1 + (np.maximum(hz, 1) / high) ** 6) ** 0.5 / (1 + (low / np.maximum(hz, 1)) ** 6) ** 0.5
    return np.fft.irfft(np.fft.rfft(signal) * gate, len(signal))


def kick(
    rate: int, hz: float, random: np.random.Generator, decay_rate: float = 9, click: float = 0.2, sweep: float = 110
) -> Signal:
    """A kick drum: a sine swept down from `hz + sweep`, and a click."""
    time = _time_axis(0.45, rate)
    phase = np.cumsum(hz + sweep * np.exp(-45 * time)) / rate
    body = np.sin(2 * np.pi * phase) * np.exp(-decay_rate * time)
    snap = _bandpass(random.standard_normal(len(time)), rate, 800, 5000) * np.exp(-250 * time)
    return np.tanh(1.6 * body + click * snap)


def snare(
    rate: int, hz: float, random: np.random.Generator, decay_rate: float = 16, low: float = 900, body: float = 0.5
) -> Signal:
    """A snare: a short tuned skin and band-passed noise for the wires."""
    time = _time_axis(0.35, rate)
    skin = np.sin(2 * np.pi * np.cumsum(185 + 60 * np.exp(-60 * time)) / rate) * np.exp(-32 * time)
    wires = _bandpass(random.standard_normal(len(time)), rate, low, 9000) * np.exp(-decay_rate * time)
    return np.tanh(body * skin + 0.9 * wires)


def hat(
    rate: int, hz: float, random: np.random.Generator, decay_rate: float = 55, low: float = 6500, seconds: float = 0.2
) -> Signal:
    """A hi-hat or ride: high noise that decays."""
    time = _time_axis(seconds, rate)
    return _bandpass(random.standard_normal(len(time)), rate, low, 11500) * np.exp(-decay_rate * time) * 0.5


def clap(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A hand clap: three bursts of noise and a tail."""
    time = _time_axis(0.3, rate)
    bursts = sum(np.where(time >= t, np.exp(-90 * (time - t)), 0) for t in (0.0, 0.011, 0.022)) * 0.6
    return _bandpass(random.standard_normal(len(time)), rate, 900, 4500) * (bursts + 0.7 * np.exp(-18 * time))


def brush(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A brush on a snare: soft-edged noise."""
    time = _time_axis(0.3, rate)
    return (
        _bandpass(random.standard_normal(len(time)), rate, 1800, 7500)
        * np.exp(-13 * time)
        * np.clip(time / 0.008, 0, 1)
    )


def rim(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A rim shot: a very short band of noise."""
    time = _time_axis(0.08, rate)
    return _bandpass(random.standard_normal(len(time)), rate, 1500, 3500) * np.exp(-90 * time)


def tom(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A tom an octave above the kick."""
    time = _time_axis(0.35, rate)
    tone = np.sin(2 * np.pi * np.cumsum(2 * hz * (1 + 0.5 * np.exp(-30 * time))) / rate) * np.exp(-11 * time)
    return np.tanh(
        1.2 * tone + 0.3 * _bandpass(random.standard_normal(len(time)), rate, 400, 3000) * np.exp(-50 * time)
    )


def crash(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A crash cymbal: long high noise."""
    time = _time_axis(1.4, rate)
    return _bandpass(random.standard_normal(len(time)), rate, 4000, 11000) * np.exp(-3.2 * time) * 0.5


def conga(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A conga two octaves above the kick."""
    time = _time_axis(0.25, rate)
    tone = np.sin(2 * np.pi * 4 * hz * time) * np.exp(-26 * time)
    return tone + 0.35 * _bandpass(random.standard_normal(len(time)), rate, 700, 4000) * np.exp(-90 * time)


def shaker(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A shaker: high noise that swells and falls."""
    time = _time_axis(0.12, rate)
    return (
        _bandpass(random.standard_normal(len(time)), rate, 5000, 10000)
        * np.clip(time / 0.02, 0, 1)
        * np.exp(-38 * time)
    )


def tambourine(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A tambourine: high noise and three jingles."""
    time = _time_axis(0.25, rate)
    jingle = sum(np.sin(2 * np.pi * f * time) for f in (6210, 7340, 8830)) * 0.3
    return (_bandpass(random.standard_normal(len(time)), rate, 5500, 11000) + jingle) * np.exp(-22 * time)


def riser(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """A riser: bands of noise one after another upwards over two seconds, cut off at the end."""
    time = _time_axis(2.0, rate)
    noise = random.standard_normal(len(time))
    layers = (
        _bandpass(noise, rate, c, 2 * c) * np.exp(-(((time / 2.0) * 5 - i) ** 2))
        for i, c in enumerate((350, 700, 1400, 2800, 5000, 6500))
    )
    return sum(layers, np.zeros(len(time))) * (0.15 + 0.85 * (time / 2.0) ** 2) * np.clip((2.0 - time) / 0.02, 0, 1)


def impact(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """An impact: a low boom and noise."""
    time = _time_axis(1.8, rate)
    boom = np.sin(2 * np.pi * np.cumsum(hz * (1 + np.exp(-12 * time))) / rate) * np.exp(-3 * time)
    return np.tanh(
        1.3 * boom + 0.35 * _bandpass(random.standard_normal(len(time)), rate, 200, 2500) * np.exp(-5 * time)
    )


def vinyl(rate: int, hz: float, random: np.random.Generator) -> Signal:
    """Two seconds of record crackle."""
    time = _time_axis(2.0, rate)
    crackle = np.where(random.random(len(time)) < 12 / rate, random.standard_normal(len(time)) * 8, 0)
    return _bandpass(crackle + 0.05 * random.standard_normal(len(time)), rate, 900, 7000)


Synthesize = Callable[[int, float, np.random.Generator], Signal]
CEILING = 0.36  # hits are pressed below this, so that one hit does not set the level of a song
# name: (maker, loudness as RMS of its loudest 60 ms)
ONE_SHOTS: dict[str, tuple[Synthesize, float]] = {
    "kick acoustic": (lambda r, h, g: kick(r, h, g, 12, 0.35, 90), 0.30),
    "kick electronic": (lambda r, h, g: kick(r, h, g, 8, 0.25, 160), 0.33),
    "kick soft": (lambda r, h, g: kick(r, h, g, 11, 0.05, 60), 0.26),
    "snare acoustic": (snare, 0.19),
    "snare electronic": (lambda r, h, g: snare(r, h, g, 13, 1300, 0.35), 0.18),
    "snare soft": (lambda r, h, g: snare(r, h, g, 22, 700, 0.6), 0.14),
    "snare big": (lambda r, h, g: snare(r, h, g, 9, 700, 0.6), 0.20),
    "clap": (clap, 0.15),
    "brush": (brush, 0.09),
    "rim": (rim, 0.11),
    "tom": (tom, 0.20),
    "hat": (hat, 0.065),
    "hat open": (lambda r, h, g: hat(r, h, g, 11, 6000, 0.4), 0.065),
    "ride": (lambda r, h, g: hat(r, h, g, 9, 5000, 0.5), 0.05),
    "crash": (crash, 0.09),
    "conga": (conga, 0.11),
    "shaker": (shaker, 0.06),
    "tambourine": (tambourine, 0.06),
    "riser": (riser, 0.06),
    "impact": (impact, 0.16),
    "vinyl": (vinyl, 0.016),
}


def make_one_shot(name: str, pitch: int, rate: int) -> Signal:
    """One dry hit, float64 [samples]; `pitch` (MIDI, 36-47) tunes the skins to the tonic."""
    synthesize, loudness = ONE_SHOTS[name]
    random = np.random.Generator(np.random.PCG64([crc32(name.encode()), pitch]))
    signal = synthesize(rate, 440 * 2 ** ((pitch - 69) / 12), random)
    window = int(0.06 * rate)
    sums = np.cumsum(signal**2)
    level = loudness / np.sqrt(np.max(sums[window:] - sums[:-window]) / window + 1e-12)
    return CEILING * np.tanh(signal * (level / CEILING))
