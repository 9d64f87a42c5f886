"""Which channel stands where, and how many become few.

Knows numbers and names of loudspeakers; no file, no model. Names and order are those of WAVE_FORMAT_EXTENSIBLE.
"""

from __future__ import annotations

import numpy as np

from acestep_lab.errors import SourceError

MOST_CHANNELS = 16

SPEAKERS = tuple("FL FR FC LFE BL BR FLC FRC BC SL SR TC TFL TFC TFR TBL TBC TBR".split())
"""Front left, front right, front centre, low frequencies, back left …: bit by bit of a WAV's channel mask."""

STANDARD = {
    count: tuple(names.split())
    for count, names in {
        1: "FC",
        2: "FL FR",
        3: "FL FR FC",
        4: "FL FR BL BR",
        5: "FL FR FC BL BR",
        6: "FL FR FC LFE BL BR",
        7: "FL FR FC LFE BC SL SR",
        8: "FL FR FC LFE BL BR SL SR",
    }.items()
}
"""The order of WAV and FLAC where a file does not say another (RFC 9639, section 9.1.3)."""

VORBIS = {
    count: tuple(names.split())
    for count, names in {
        3: "FL FC FR",
        5: "FL FC FR BL BR",
        6: "FL FC FR BL BR LFE",
        7: "FL FC FR SL SR BC LFE",
        8: "FL FC FR SL SR BL BR LFE",
    }.items()
}
"""The order of Vorbis and Opus where it differs (Vorbis I, section 4.3.9; RFC 7845, section 5.1.1.2)."""

_HALF_POWER = 0.5**0.5
_LEFT = {"FL": 1.0, "FLC": 1.0, "FC": _HALF_POWER, "BL": _HALF_POWER, "SL": _HALF_POWER, "BC": 0.5, "TFL": _HALF_POWER,
         "TBL": _HALF_POWER, "TC": 0.5, "TFC": 0.5, "TBC": 0.5}  # fmt: skip
_MIRROR = {"FR": "FL", "FRC": "FLC", "BR": "BL", "SR": "SL", "TFR": "TFL", "TBR": "TBL"}
_BOTH = ("FC", "BC", "TC", "TFC", "TBC")


def of_mask(mask: int, channels: int) -> tuple[str, ...]:
    """The layout a WAV's channel mask names; () where it names another number of channels."""
    names = tuple(name for bit, name in enumerate(SPEAKERS) if mask >> bit & 1)
    return names if len(names) == channels else ()


def mask_of(layout: tuple[str, ...], channels: int) -> int:
    """The channel mask of a layout; 0, "nobody says", where the channels have no such order."""
    names = layout or STANDARD.get(channels, ())
    bits = [SPEAKERS.index(name) for name in names]
    return sum(1 << bit for bit in bits) if bits == sorted(set(bits)) else 0


def checked(layout: object, channels: int) -> tuple[str, ...]:
    """A layout as names, () where it is the standard one of its number of channels; SourceError where it is none."""
    names = tuple(layout) if isinstance(layout, tuple | list) else None
    if names is None or not all(isinstance(name, str) and name in SPEAKERS for name in names):
        raise SourceError(
            f"A layout names a loudspeaker per channel, such as ('FL', 'FR'); known are {' '.join(SPEAKERS)}."
        )
    if names and (len(names) != channels or len(set(names)) != channels):
        raise SourceError(f"A layout names each of the {channels} channels once; this one names {len(names)}.")
    return () if channels <= 2 or names == STANDARD.get(channels) else names


def known(names: tuple[str, ...], channels: int) -> tuple[str, ...]:
    """The layout a file names, () where it names no such places."""
    fits = len(names) == len(set(names)) == channels and set(names) <= set(SPEAKERS)
    return checked(names, channels) if fits else ()


def reorder(samples: np.ndarray, layout: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Channels of one layout in the order of another with the same loudspeakers, else as they are."""
    names = layout or STANDARD.get(len(samples), ())
    if names == wanted or set(names) != set(wanted):
        return samples
    return samples[[names.index(name) for name in wanted]]


def fold(samples: np.ndarray, layout: tuple[str, ...] = ()) -> np.ndarray:
    """Three and more channels as stereo (ITU-R BS.775-4, table 2): L + 0.707·C + 0.707·Ls, and its mirror image.

    The low frequency channel is left out. Nothing is clipped or levelled: loud channels may add up to more than full
    scale, and a part of a sound folds to that part of the folded sound. More than eight channels without a layout have
    no standard places and are averaged. `[channels, samples]` → `[2, samples]`.
    """
    names = layout or STANDARD.get(len(samples), ())
    if not names:
        mean = samples.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        return np.repeat(mean, 2, axis=0)
    left = [_LEFT.get(name, 0.0) for name in names]
    right = [_LEFT.get(_MIRROR.get(name, name if name in _BOTH else ""), 0.0) for name in names]
    return np.array([left, right], np.float32) @ samples


def to_channels(samples: np.ndarray, channels: int, layout: tuple[str, ...] = ()) -> np.ndarray:
    """Samples in another number of channels: one copied to all, more are folded to stereo, stereo is averaged to one.

    Towards more than two, every channel keeps its place where the larger layout has it, and new places are silent.
    """
    count = len(samples)
    if count == channels:
        return samples
    if count == 1:
        return np.repeat(samples, channels, axis=0)
    if channels > 2:
        return _placed(samples, channels, layout)
    stereo = samples if count == 2 else fold(samples, layout)
    return stereo if channels == 2 else stereo.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)


def _placed(samples: np.ndarray, channels: int, layout: tuple[str, ...]) -> np.ndarray:
    wanted = STANDARD.get(channels)
    if wanted is None:
        raise SourceError(f"There is no standard layout of {channels} channels; 1 to 8 can be made.")
    names = layout or STANDARD.get(len(samples), ())
    if not names or not set(names) <= set(wanted):
        names, samples = STANDARD[2], samples if len(samples) == 2 else fold(samples, layout)
    placed = np.zeros((channels, samples.shape[1]), np.float32)
    placed[[wanted.index(name) for name in names]] = samples
    return placed
