"""A row per published MusicGen checkpoint: where it is and how large, by arithmetic. Knows no tensors and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LICENCE = "CC-BY-NC-4.0"
LICENCE_MEANING = (
    "CC-BY-NC-4.0: MusicGen's weights may be used and shared with credit to Meta, and not for commercial purposes: nothing that is "
    "meant to earn money."
)
"""What the licence asks, in a sentence to show wherever such a checkpoint is chosen."""

WINDOW_SECONDS = 30.0
"""The longest music the models were taught at once."""
STRIDE_SECONDS = 18.0
"""How far the window moves on where more is asked for; it hears the 12 s before as its beginning (audiocraft's
`extend_stride`)."""
LONGEST_SECONDS = 120.0
"""The longest song that is stitched from windows."""

CODEBOOK_WORDS = 2048
T5_BASE = {"words": 32_128, "width": 768, "inner": 768, "feed_forward": 3072, "layers": 12, "heads": 12, "buckets": 32}
"""The text encoder of every published checkpoint."""
CODEC_NUMBERS = 58_990_022
"""Numbers in `facebook/encodec_32khz`, which is inside every published checkpoint, counted from its config."""


@dataclass(frozen=True)
class Row:
    """One published checkpoint."""

    name: str
    repo: str
    width: int
    layers: int
    melody: bool = False
    stereo: bool = False
    licence: str = LICENCE
    window_seconds: float = WINDOW_SECONDS
    longest_seconds: float = LONGEST_SECONDS
    note: str = ""

    @property
    def codebooks(self) -> int:
        return 8 if self.stereo else 4

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each component at two bytes a number; EnCodec, computed in float32, at four."""
        decoder = decoder_numbers(
            self.width, 4 * self.width, self.layers, self.codebooks, CODEBOOK_WORDS, not self.melody
        )
        projections = projection_numbers(T5_BASE["width"], self.width, 12 if self.melody else None)
        return {"text": 2 * t5_numbers(**T5_BASE), "decoder": 2 * (decoder + projections), "codec": 4 * CODEC_NUMBERS}


def t5_numbers(words: int, width: int, inner: int, feed_forward: int, layers: int, heads: int, buckets: int) -> int:
    """Numbers in a T5 encoder: its words, and per layer four projections, two of the feed-forward and two norms."""
    layer = 4 * width * inner + 2 * width * feed_forward + 2 * width
    return words * width + layers * layer + buckets * heads + width


def decoder_numbers(
    width: int, feed_forward: int, layers: int, codebooks: int, words: int, hears_words_apart: bool
) -> int:
    """Numbers in a MusicGen decoder; a melody checkpoint reads words before the music and has no cross-attention."""
    attentions = 2 if hears_words_apart else 1
    layer = attentions * (4 * width * width + 2 * width) + 2 * width * feed_forward + 2 * width
    return codebooks * (words + 1) * width + layers * layer + 2 * width + codebooks * words * width


def projection_numbers(text: int, width: int, chroma: int | None) -> int:
    """Numbers in what brings words, and a melody's pitch classes, to the decoder's width."""
    words = (text + 1) * width if text != width else 0
    return words + ((chroma + 1) * width if chroma is not None and chroma != width else 0)


SMALL, MEDIUM, LARGE = (1024, 24), (1536, 48), (2048, 48)
"""Width and layers."""


def _row(name: str, size: tuple[int, int], note: str, melody: bool = False, stereo: bool = False) -> Row:
    return Row(f"musicgen-{name}", f"facebook/musicgen-{name}", *size, melody, stereo, note=note)


ROWS: Mapping[str, Row] = MappingProxyType(
    {
        row.name: row
        for row in (
            _row("small", SMALL, "mono, the quickest"),
            _row("medium", MEDIUM, "mono"),
            _row("large", LARGE, "mono, the best of them"),
            _row("melody", MEDIUM, "mono; follows a melody (Cover)", melody=True),
            _row("melody-large", LARGE, "mono; follows a melody (Cover)", melody=True),
            _row("stereo-small", SMALL, "stereo, the quickest", stereo=True),
            _row("stereo-medium", MEDIUM, "stereo", stereo=True),
            _row("stereo-large", LARGE, "stereo, the best of them", stereo=True),
            _row("stereo-melody", MEDIUM, "stereo; follows a melody (Cover)", melody=True, stereo=True),
            _row("stereo-melody-large", LARGE, "stereo; follows a melody (Cover)", melody=True, stereo=True),
        )
    }
)


def find(name: str) -> Row | None:
    """The row of a name ("musicgen-small") or of its repo; None if there is none."""
    low = name.lower()
    return ROWS.get(low) or next((row for row in ROWS.values() if row.repo == low), None)
