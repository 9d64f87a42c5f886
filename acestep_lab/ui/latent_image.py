"""A latent made visible while it comes to be. Does not know steps, models or widgets: numbers in, picture out.

Rows are channels, columns are time, colours are values: amber above zero, blue below, near-black at zero. Colours and
the order of rows are fixed for a run (`order_of` its first estimate), so that from step to step only the music changes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acestep_lab.errors import SourceError
from acestep_lab.ui.colours import ABOVE, BELOW, ZERO

LIMIT = 3.0
"""The value drawn in full colour; latents have unit spread, so this is three spreads."""

Picture = NDArray[np.uint8]


def picture(
    latent: object, order: NDArray[np.intp] | None = None, width: int | None = None, row_height: int = 2
) -> Picture:
    """A latent [frames, channels] as an image [height, width, 3], `row_height` pixels per channel.

    `width` pixels (None: one per frame); a wider latent is averaged into them, a narrower one repeated.
    """
    values = _array(latent)
    if order is not None:
        values = values[:, order]
    values = _columns(values, width or len(values))
    share = np.clip(values.T / LIMIT, -1.0, 1.0)[..., None]  # [channels, width, 1]
    zero = np.asarray(ZERO, dtype=np.float32)
    ends = np.where(share < 0, np.asarray(BELOW, np.float32), np.asarray(ABOVE, np.float32))
    colours = (zero + (ends - zero) * np.abs(share)).round().astype(np.uint8)
    return np.repeat(colours, row_height, axis=0)


def order_of(latent: object) -> NDArray[np.intp]:
    """An order of channels that puts those that move together side by side: by their part in the strongest movement.

    Take it once per run and hand it to every `picture` of the run.
    """
    values = _array(latent)
    centred = values - values.mean(axis=0)
    strongest = np.linalg.svd(centred, full_matrices=False)[2][0]  # [channels]
    if strongest[np.argmax(np.abs(strongest))] < 0:  # the sign of a singular vector is free; fix it
        strongest = -strongest
    return np.argsort(-strongest, kind="stable")


def png_bytes(image: NDArray[Any]) -> bytes:
    """An image [height, width, 3] or [height, width] of uint8 as a PNG file (W3C PNG, third edition), no filter."""
    pixels = np.ascontiguousarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise SourceError(f"A picture is uint8 [height, width, 3]; this is {pixels.dtype} {pixels.shape}.")
    height, width = pixels.shape[:2]
    kind = 2 if pixels.ndim == 3 else 0  # true colour, grey
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _array(latent: object) -> NDArray[np.float32]:
    """Values as float32 [frames, channels], from a tensor on any device or an array."""
    if hasattr(latent, "detach"):
        latent = latent.detach().float().cpu().numpy()
    values = np.asarray(latent, dtype=np.float32)
    if values.ndim != 2 or 0 in values.shape:
        raise SourceError(f"A latent to draw is [frames, channels]; this one is {values.shape}.")
    return np.nan_to_num(values, nan=0.0, posinf=LIMIT, neginf=-LIMIT)


def _columns(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Frames brought to so many columns, [width, channels]."""
    frames = len(values)
    if width == frames:
        return values
    if width > frames:
        return values[np.arange(width) * frames // width]
    edges = np.arange(width) * frames // width
    counts = np.diff(np.append(edges, frames))
    return (np.add.reduceat(values, edges, axis=0) / counts[:, None]).astype(np.float32)


# --- the sound of a latent guessed without decoding ------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """A spectrogram guessed from a latent by one matrix product, fitted once per VAE (ridge regression).

    A picture of an estimate costs microseconds instead of a decode. `explained` says how much of the variance of
    spectra it was not fitted on it gets right (1: all), so that whoever shows it can say how far to trust it.
    """

    weights: NDArray[np.float32]  # [features, bands]
    explained: float

    @classmethod
    def fit(cls, latents: object, bands: object, ridge: float = 1e-2) -> Probe:
        """Fit on a latent [frames, channels] and the log band energies [frames, bands] of its sound.

        The last fifth is kept aside to measure `explained`.
        """
        inputs, targets = features(_array(latents)), _array(bands)
        if len(inputs) != len(targets):
            raise SourceError(
                f"A probe wants a spectrum per latent frame: {len(inputs)} frames, {len(targets)} spectra."
            )
        cut = max(1, len(inputs) * 4 // 5)
        weights = _ridge(inputs[:cut], targets[:cut], ridge)
        missed = targets[cut:] - inputs[cut:] @ weights
        spread = targets[cut:] - targets[cut:].mean(axis=0)
        return cls(weights, float(1.0 - (missed**2).sum() / max(float((spread**2).sum()), 1e-12)))

    def spectrum(self, latent: object) -> NDArray[np.float32]:
        """Guessed log band energies [frames, bands] of a latent [frames, channels]."""
        return features(_array(latent)) @ self.weights


def features(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the probe looks at, [frames, 3 * channels + 1]: values, how large they are, how large they are nearby."""
    size = np.log(np.abs(values) + 0.1)
    padded = np.pad(np.abs(values), ((2, 2), (0, 0)), mode="edge")
    nearby = sum(padded[shift : shift + len(values)] for shift in range(5)) / 5
    ones = np.ones((len(values), 1), np.float32)
    return np.concatenate([values, size, np.log(nearby + 0.1), ones], axis=1).astype(np.float32)


def _ridge(inputs: NDArray[np.float32], targets: NDArray[np.float32], ridge: float) -> NDArray[np.float32]:
    """Least squares with a pull towards zero relative to the features' size."""
    product = (inputs.T @ inputs).astype(np.float64)
    product += ridge * len(inputs) * np.eye(len(product))
    return np.linalg.solve(product, (inputs.T @ targets).astype(np.float64)).astype(np.float32)
