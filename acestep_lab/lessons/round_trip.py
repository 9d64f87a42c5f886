"""A song that goes somewhere and comes back: a phase guessed by Griffin and Lim, and what of the song is left. For lesson 09."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acestep_lab.audio.audio import Audio
from acestep_lab.listen.mel_levels import mel_levels

BANDS = {"bass": (30, 150), "middle": (150, 2000), "high": (2000, 6000), "cymbals": (6000, 11_500)}
"""Hz."""
RATE = 24_000
SPAN = 480
"""Samples of a fiftieth of a second, in which loudness is compared."""
FLOOR = 60
"""dB below the loudest, where nothing is seen any more."""


class Spectrum:
    """The short-time spectrum of one channel of a sound: loudness `[bins, frames]`, and sound of another loudness."""

    def __init__(self, sound: Audio, n_fft: int, hop: int) -> None:
        self.rate, self.samples = sound.rate, torch.tensor(sound.with_channels(1).samples[0])
        self.size: dict[str, Any] = {"n_fft": n_fft, "hop_length": hop, "window": torch.hann_window(n_fft)}
        self.loudness = torch.stft(self.samples, **self.size, return_complex=True).abs()

    def guessed(self, loudness: torch.Tensor, rounds: int = 32) -> Audio:
        """Sound of which a loudness could be (Griffin and Lim 1984): go back and forth, keep the loudness, take the phase that came."""
        length = len(self.samples)
        phase = torch.rand(loudness.shape, generator=torch.Generator().manual_seed(0)) * 2 * np.pi
        spectrum, before = torch.polar(loudness, phase), torch.zeros(())
        for _ in range(rounds):
            sound = torch.istft(spectrum, **self.size, length=length)
            found = torch.stft(sound, **self.size, return_complex=True)
            pushed = found + 0.9 * (found - before)  # Perraudin 2013: a little further the same way
            spectrum, before = torch.polar(loudness, pushed.angle()), found
        return Audio(torch.istft(spectrum, **self.size, length=length).numpy()[None], self.rate)


def picture(sound: Audio) -> NDArray[np.float32]:
    """The levels of a sound over time and pitch, of one channel at 24 kHz."""
    return np.asarray(mel_levels(sound.with_channels(1).resample(RATE), 300), np.float32)


def kept(sound: Audio, song: Audio) -> dict[str, float]:
    """How far a sound's picture is from a song's in dB where there is something to see, and by band how alike loudness and waveform are."""
    made, true = (one.with_channels(1).resample(RATE).samples[0] for one in (sound, song))
    length = min(len(made), len(true)) // SPAN * SPAN
    wanted, found = (picture(Audio(one[None, :length], RATE)) for one in (true, made))
    floor = np.percentile(wanted, 99.5) - FLOOR
    row = {"picture off, dB": float(np.abs(np.maximum(found, floor) - np.maximum(wanted, floor)).mean())}
    for name, band in BANDS.items():
        mine, its = (_only(one[:length], *band) for one in (made, true))
        loud, wished = (one.reshape(-1, SPAN).std(axis=1) for one in (mine, its))
        row[f"{name}: loudness"] = float(np.corrcoef(loud, wished)[0, 1])
        row[f"{name}: waveform"] = float(np.corrcoef(mine, its)[0, 1])
    return row


def _only(samples: NDArray[np.float32], low: float, high: float) -> NDArray[np.float64]:
    """What of a sound lies between two frequencies."""
    spectrum, hertz = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / RATE)
    return np.fft.irfft(np.where((hertz >= low) & (hertz < high), spectrum, 0))
