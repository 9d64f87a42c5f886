"""A latent as a picture: colours mean values, a run keeps its order of rows, and the file is a PNG anybody can open."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch

from acestep_lab.errors import SourceError
from acestep_lab.ui.colours import ABOVE, BELOW, ZERO
from acestep_lab.ui.latent_image import LIMIT, Probe, order_of, picture, png_bytes


def test_colours_say_the_sign_and_the_size_of_every_value() -> None:
    latent = np.array([[0.0, LIMIT], [-LIMIT, 99.0], [np.nan, -99.0]], dtype=np.float32)  # [frames, channels]
    found = picture(latent, row_height=1)
    assert found.shape == (2, 3, 3)
    assert [tuple(colour) for colour in found[0]] == [ZERO, BELOW, ZERO]
    assert [tuple(colour) for colour in found[1]] == [ABOVE, ABOVE, BELOW]


@pytest.mark.parametrize("width", [1, 7, 40, 100])
def test_a_picture_has_the_width_asked_for_whatever_the_length(width: int) -> None:
    latent = torch.randn(40, 8).bfloat16()
    assert picture(latent, width=width, row_height=3).shape == (24, width, 3)
    assert (picture(torch.zeros(40, 8), width=width) == np.asarray(ZERO)).all()


def test_channels_that_move_together_lie_side_by_side_and_stay_there() -> None:
    rng = np.random.default_rng(0)
    wave = rng.standard_normal((200, 1))
    latent = rng.standard_normal((200, 6)) * 0.1
    latent[:, [0, 3, 5]] += wave
    latent[:, [1]] -= wave
    order = order_of(latent)
    assert set(order[:3]) == {0, 3, 5}
    assert order[-1] == 1
    assert (order == order_of(latent + 0.01 * rng.standard_normal(latent.shape))).mean() >= 0.5
    assert (picture(latent, order, row_height=1)[0] == picture(latent, row_height=1)[order[0]]).all()


@pytest.mark.parametrize("shape", [(5, 9, 3), (4, 3)])
def test_a_png_holds_exactly_the_pixels(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    data = png_bytes(image)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0] == zlib.crc32(name + body)
        chunks[name], place = body, place + 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (shape[1], shape[0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(shape[0], -1)
    assert not lines[:, 0].any()
    assert (lines[:, 1:].reshape(shape) == image).all()


def test_a_probe_finds_what_a_spectrum_owes_to_a_latent_and_says_how_much() -> None:
    rng = np.random.default_rng(2)
    latent = rng.standard_normal((600, 4)).astype(np.float32)
    bands = np.stack([np.log(np.abs(latent[:, 0]) + 0.1), latent[:, 1]], axis=1)
    probe = Probe.fit(latent, bands)
    assert probe.explained > 0.9
    assert np.abs(probe.spectrum(latent) - bands).mean() < 0.1
    assert Probe.fit(latent, rng.standard_normal((600, 2))).explained < 0.1


def test_what_is_no_latent_and_no_picture_is_refused_in_words() -> None:
    with pytest.raises(SourceError, match=r"\[frames, channels\]"):
        picture(np.zeros(5))
    with pytest.raises(SourceError, match="uint8"):
        png_bytes(np.zeros((2, 2, 3)))
    with pytest.raises(SourceError, match="spectrum per latent frame"):
        Probe.fit(np.zeros((5, 2)), np.zeros((4, 2)))
