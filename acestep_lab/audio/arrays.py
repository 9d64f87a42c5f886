"""Samples out of whatever somebody holds: one form for arrays, tensors and lists.

Knows numpy only; a tensor is recognised by its `detach`, so that torch is not imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from acestep_lab.audio.layouts import MOST_CHANNELS
from acestep_lab.errors import SourceError, shown
from acestep_lab.prompt import checks

MOST_SAMPLES = 2**28
"""Samples of all channels together that a sound may have: 1 GiB in float32, 46 minutes of 48 kHz stereo, 11 of 192."""
MOST_BYTES = 4 * MOST_SAMPLES

LOWEST_RATE, HIGHEST_RATE = 1000, 768_000


def planar(samples: Any) -> np.ndarray:
    """float32 `[channels, samples]`, full scale at ±1, of any array of numbers; read-only, and nobody else's memory.

    Whole numbers are taken by their type: uint8 lies around 128, int16 reaches to ±32768, and so on (as in WAV files);
    64-bit ones, which have no such custom, only where they are -1, 0 and 1. `[samples, channels]` is turned where only
    that can be meant. Raises SourceError for everything else.
    """
    given = checks.is_a(samples, OwnedArray)
    array = samples.array if given else _shaped(_array(samples))
    if array.size > MOST_SAMPLES:
        raise SourceError(
            f"These are {array.size:,} samples ({size(array.size)}); "
            f"a sound may have {MOST_SAMPLES:,} ({size(MOST_SAMPLES)})."
        )
    if given:
        array = np.require(array, np.float32, ["C"])
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused below
            array = np.array(to_full_scale(array), dtype=np.float32, order="C")
    check_finite(array)
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class OwnedArray:
    """A float32 array `[channels, samples]` that its maker gives away: `planar` takes it without a copy."""

    array: np.ndarray


def check_finite(array: np.ndarray, name: str = "The samples", rate: int = 0, at: int = 0) -> None:
    """Raise SourceError where something is NaN or infinite; `at` is the first sample's place in its sound."""
    low, high = array.min(initial=0.0), array.max(initial=0.0)  # NaN comes through both
    if np.isfinite(low) and np.isfinite(high):
        return
    first = at + int(np.argmin(np.isfinite(array).all(axis=0)))
    where = f"at {first / rate:.2f} s" if rate else f"at sample {first:,}"
    raise SourceError(
        f"{name} hold{'s samples' if rate else ' values'} that are not numbers (NaN or infinity), first {where}."
    )


def check_size(name: str, rate: int, channels: int, frames: int, longest: float) -> None:
    """Refuse by what a file says, or what has come of it so far: SourceError with its size and the most."""
    rate_of_file(name, rate)
    if not 1 <= channels <= MOST_CHANNELS:
        raise SourceError(f"{name} has {channels} channels; 1 to {MOST_CHANNELS} can be read.")
    if frames > longest * rate:
        raise SourceError(f"{name} lasts {span(frames / rate)}; at most {span(longest)} can be read. Cut it first.")
    if frames * channels > MOST_SAMPLES:
        raise SourceError(
            f"{name} would take at least {size(frames * channels)} "
            f"({span(frames / rate)}, {channels} channels, {rate} Hz); "
            f"at most {size(MOST_SAMPLES)} can be read: {span(MOST_SAMPLES / rate / channels)} of this kind. "
            "Convert it to 48000 Hz stereo."
        )


def rate_of_file(name: str, rate: int) -> None:
    """Refuse a file whose rate no sound has."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise SourceError(f"{name} has {rate:,} samples a second; {LOWEST_RATE:,} to {HIGHEST_RATE:,} can be read.")


def span(seconds: float) -> str:
    """A length in words."""
    return f"{seconds / 60:,.1f} minutes" if seconds >= 120 else f"{seconds:,.2f} s"


def size(samples: int) -> str:
    """What so many samples take in memory, in words."""
    return f"{4 * samples / 2**30:,.1f} GB" if samples >= 2**26 else f"{4 * samples / 2**20:,.1f} MB"


def rate_of(rate: object) -> int:
    """A sample rate as a whole number between 1 kHz and 768 kHz; SourceError for anything else."""
    found = checks.plain_number(rate)
    if found is None or found != int(found) or not LOWEST_RATE <= found <= HIGHEST_RATE:
        raise SourceError(
            f"A sample rate is a whole number from {LOWEST_RATE} to {HIGHEST_RATE}, such as 48000 (per second), "
            f"not {shown(rate)}."
        )
    return int(found)


def whole(value: object, what: str, least: int, most: int) -> int:
    """A whole number between two others; SourceError for anything else."""
    found = checks.plain_number(value)
    if found is None or found != int(found) or not least <= found <= most:
        raise SourceError(f"{what} is a whole number from {least} to {most}, not {shown(value)}.")
    return int(found)


def finite(value: object, what: str, least: float = -np.inf) -> float:
    """A finite number, at least `least`; SourceError for anything else."""
    found = checks.plain_number(value)
    number = np.nan if found is None or abs(found) > 1e300 else float(found)
    if not number >= least:
        raise SourceError(
            f"{what} is a number{f' of at least {least:g}' if least > -np.inf else ''}, not {shown(value)}."
        )
    return number


def _array(samples: object) -> np.ndarray:
    """Anything as an array of numbers, without copying where that can be."""
    array = checks.tried(lambda: _as_array(samples))
    if not checks.is_a(array, np.ndarray):
        raise SourceError(f"Samples are an array of numbers [channels, samples], not {shown(samples)}.")
    if array.ndim == 0 or array.dtype.kind not in "iuf":
        found = f"an array of {array.dtype}" if array.ndim else shown(samples)
        raise SourceError(f"Samples are an array of numbers [channels, samples], not {found}.")
    return array


def _as_array(samples: Any) -> np.ndarray:
    if hasattr(samples, "detach"):  # a tensor, perhaps with a gradient, on an accelerator, or bfloat16
        samples = samples.detach().cpu()
        samples = samples.float() if samples.is_floating_point() else samples
    array = np.asarray(samples)
    return array.astype(np.float64) if array.dtype == object and array.ndim else array


def _shaped(array: np.ndarray) -> np.ndarray:
    """`[channels, samples]`, turned where only the other orientation has a possible number of channels."""
    if array.ndim == 1:
        return array[None]
    if array.ndim == 2 and 1 <= array.shape[0] <= MOST_CHANNELS:
        return array
    if array.ndim == 2 and array.shape[0] and 1 <= array.shape[1] <= MOST_CHANNELS:
        return array.T
    raise SourceError(
        f"Samples come as [channels, samples] with 1 to {MOST_CHANNELS} channels; "
        f"these have the shape {shown(list(array.shape))}."
    )


def to_full_scale(array: np.ndarray) -> np.ndarray:
    """Whole numbers as fractions of their full scale."""
    if array.dtype.kind == "f":
        return array
    if array.dtype.itemsize == 8:
        if np.abs(array).max(initial=0) > 1:
            raise SourceError(
                f"Samples of the type {array.dtype} have no full scale; give float (±1), int16, int32 or uint8."
            )
        return array
    half = 2 ** (8 * array.dtype.itemsize - 1)
    return (array.astype(np.float64) - (half if array.dtype.kind == "u" else 0)) / half
