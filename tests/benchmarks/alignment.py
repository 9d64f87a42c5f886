"""Lyric alignment on attention whose path is known, beside the reference's algorithm on the same matrices; its chance, memory
and time.

    python -m tests.benchmarks.alignment [paths=200]

The pocket sings no words and no other weights are in the package, so that attention is made up here: lines of words of one to
three tokens, tags, line ends, rests of all lengths; heads that look at the sung token with a share of 0.1 to 0.6, a little
early or late and at its neighbours, others that see nothing; tokens that everybody looks at.
"""

from __future__ import annotations

import sys
import tracemalloc
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from acestep_lab._libraries import diffusers
from acestep_lab.engines.ace15.alignment import KNOWN, HeadCollector
from acestep_lab.engines.ace15.attention import CrossAttentionCache, install, overhear, velocity
from acestep_lab.engines.base import LyricAttention
from acestep_lab.jobs.aligning import DRAWS
from acestep_lab.listen.alignment import Alignment, align, evidence
from acestep_lab.listen.lyric_scores import MEASURES, SHUFFLES, dtw_path, lyric_scores
from acestep_lab.listen.lyric_text import LyricText
from acestep_lab.listen.monotone_path import monotone_path
from tests.benchmarks.meter import race

SECONDS = 0.08
"""Of a frame: 25 a second, two to a token of the transformer."""
HEADS = 7
HEADER = 12
"""Tokens beside the lyrics: header, end, timbre, caption."""
TAGS = ("[Verse]", "[Chorus]", "[Bridge]", "[Outro]")


@dataclass(frozen=True, eq=False)
class Known:
    """Made-up attention, and where its lines are."""

    lyrics: str
    spans: tuple[tuple[int, int], ...]
    heads: np.ndarray
    """`[heads, tokens, frames]`, the lyrics' share of each frame."""
    starts: tuple[float, ...]
    """Seconds at which each sung line begins."""
    ends: tuple[float, ...]
    resting: np.ndarray
    """`[frames]`, True where nothing is sung."""

    given: LyricAttention | None = None

    @property
    def attention(self) -> LyricAttention:
        """What an engine would hand over."""
        if self.given is not None:
            return self.given
        mass = self.heads.mean(axis=0)
        log, rest = np.log(mass + 1e-9), np.log(np.maximum(1 - mass.sum(axis=0), 1e-6))
        return LyricAttention(
            log.astype(np.float32), rest.astype(np.float32), self.spans, SECONDS, len(self.spans), 2048
        )


def known(seed: int, lines: int | None = None, strength: float = 1.0) -> Known:
    """Attention with a random path, the same for a seed; with less `strength` heads look at the sung token less."""
    rng = np.random.default_rng(seed)
    lyrics, spans, sung, line_of = _words(rng, int(rng.integers(6, 25)) if lines is None else lines)
    path, starts, ends = _path(rng, sung, line_of)
    return Known(lyrics, spans, _heads(rng, path, len(spans), strength), starts, ends, path < 0)


def _words(rng: np.random.Generator, lines: int) -> tuple[str, tuple[tuple[int, int], ...], list[int], list[int]]:
    """Lyrics, the letters of each token, the tokens that are sung and the line of each of those."""
    text, spans, sung, line_of = "", [], [], []

    def token(letters: str) -> None:
        nonlocal text
        spans.append((len(text), len(text) + len(letters)))
        text += letters

    for line in range(lines):
        if line % 4 == 0:
            token(str(rng.choice(TAGS)))
            token("\n")
        for word in range(int(rng.integers(2, 9))):
            for piece in range(int(rng.integers(1, 4))):
                sung.append(len(spans))
                line_of.append(line)
                letters = "".join(rng.choice(list("abcdefghijkl"), 3))
                token(letters if piece or not word else f" {letters}")
        token("\n")
    return text, tuple(spans), sung, line_of


def _path(
    rng: np.random.Generator, sung: list[int], line_of: list[int]
) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """The token of each frame, -1 for rest; where lines begin and end."""
    path = [-1] * int(rng.integers(0, 120))
    starts, ends = [], []
    for place, token in enumerate(sung):
        if place == 0 or line_of[place] != line_of[place - 1]:
            if place:
                ends.append(len(path) * SECONDS)
                long = line_of[place] % 4 == 0
                path += [-1] * int(rng.integers(10, 100) if long and rng.random() < 0.6 else rng.integers(0, 12))
            starts.append(len(path) * SECONDS)
        path += [token] * int(rng.integers(1, 6))
    ends.append(len(path) * SECONDS)
    path += [-1] * int(rng.integers(0, 100))
    return np.array(path), tuple(starts), tuple(ends)


def _heads(rng: np.random.Generator, path: np.ndarray, tokens: int, strength: float) -> np.ndarray:
    """Heads that look at the sung token, each in its own way; one or two of them see nothing."""
    blind = rng.permutation(HEADS)[: int(rng.integers(1, 3))]
    loved = np.exp(rng.normal(0, 1.0, tokens))  # tokens that are looked at whatever is sung
    found = np.zeros((HEADS, tokens, len(path)))
    for head in range(HEADS):
        away = loved[:, None] * np.exp(rng.normal(0, 0.7, (tokens, len(path))))
        away = away / away.sum(axis=0) * rng.uniform(0.2, 0.7)
        if head in blind:
            found[head] = away
            continue
        share = strength * rng.uniform(0.1, 0.6) * np.exp(rng.normal(0, 0.4, len(path))).clip(0.2, 1.6)
        seen = np.zeros((tokens, len(path)))
        shifted = np.roll(path, int(rng.integers(-1, 2)))
        for frame, token in enumerate(shifted):
            if token >= 0:
                for off, weight in ((-1, 0.15), (0, 0.7), (1, 0.15)):
                    if 0 <= token + off < tokens:
                        seen[token + off, frame] += weight * min(share[frame], 0.9)
        found[head] = seen + away * (1 - seen.sum(axis=0))
    return found


# -- the reference's algorithm, from its description (facts on training and alignment, B1)


def reference_starts(one: Known) -> list[float]:
    """Where the reference's algorithm has the sung lines begin: softmax twice, medians taken off, squares, DTW without rests."""
    stack = np.stack([_cleaned(head) for head in one.heads])
    stack = (stack - stack.mean()) / (stack.std() + 1e-9)
    first = dict(reversed(dtw_path(stack.mean(axis=0))))
    starts, at, begun = [], None, False
    for token, (start, end) in enumerate(one.spans):
        letters = one.lyrics[start:end]
        if not begun:
            at, begun, tag = first[token], True, letters.startswith("[")
        if "\n" in letters:
            if not tag:
                starts.append(at * SECONDS)
            begun = False
    return starts


def _cleaned(head: np.ndarray) -> np.ndarray:
    """A head `[tokens, frames]` through both softmaxes, medians and square."""
    product = _softmax(head, 1) * _softmax(head, 0)
    product = np.maximum(product - 2 * np.median(product, axis=1, keepdims=True), 0)
    product = np.maximum(product - 2 * np.median(product, axis=0, keepdims=True), 0)
    return product**2


def _softmax(values: np.ndarray, axis: int) -> np.ndarray:
    grown = np.exp(values - values.max(axis=axis, keepdims=True))
    found: np.ndarray = grown / grown.sum(axis=axis, keepdims=True)
    return found


# -- what is measured


def errors(one: Known, starts: list[float]) -> list[float]:
    """Seconds by which each line's start is off."""
    return [abs(found - true) for found, true in zip(starts, one.starts, strict=True)]


def resting(found: Alignment, frames: int) -> np.ndarray:
    """Frames `[frames]` in which no word is sung."""
    still = np.ones(frames, bool)
    for word in found.words:
        still[round(word.start / SECONDS) : round(word.end / SECONDS)] = False
    return still


def compare(paths: int, strength: float = 1.0) -> dict[str, dict[str, float]]:
    """Errors of line starts and how well rests are found over random paths: ours beside the reference's."""
    ours: list[float] = []
    theirs: list[float] = []
    first: dict[str, list[float]] = {"ours": [], "reference": []}
    hits = rests = said = 0
    for seed in range(paths):
        one = known(seed, strength=strength)
        found, reference = align(one.attention, one.lyrics), reference_starts(one)
        mine = errors(one, [line.start for line in found.lines])
        ours += mine
        theirs += errors(one, reference)
        first["ours"].append(mine[0])
        first["reference"].append(errors(one, reference)[0])
        still = resting(found, len(one.resting))
        hits, rests, said = (
            hits + int((still & one.resting).sum()),
            rests + int(one.resting.sum()),
            said + int(still.sum()),
        )
    return {
        "ours": _figures(ours, first["ours"]) | {"rest found": hits / rests, "rest right": hits / said},
        "reference": _figures(theirs, first["reference"]) | {"rest found": 0.0, "rest right": float("nan")},
    }


def _figures(all_of: list[float], first: list[float]) -> dict[str, float]:
    within = float(np.mean([error <= 0.3 for error in all_of]))
    return {
        "median ms": 1000 * median(all_of), "90 % ms": 1000 * float(np.quantile(all_of, 0.9)), "within 0.3 s": within,
        "first line ms": 1000 * median(first),
    }  # fmt: skip


# -- chance, memory, time


def fit(one: Known, seed: int | None = None, shuffles: int = SHUFFLES) -> dict[str, Any]:
    """Scores of a song's words; with a seed, of another song's: the same words in another order."""
    text = LyricText.of(one.lyrics)
    found = evidence(one.attention, text)
    if seed is not None:
        found = found.reordered(np.random.default_rng(seed).permutation(len(found.words_of)))
    return lyric_scores(found, monotone_path(found.units, found.rest, found.last_of_line), len(text.lines), shuffles)


def chance(paths: int) -> dict[str, dict[str, float]]:
    """Mean scores of the right words, of another song's and of their shuffles, and how often each fits."""
    rows = {}
    for name, seed in (("own words", None), ("another song's", 1)):
        found = [fit(known(n), seed) for n in range(paths)]
        rows[name] = {what: float(np.mean([one[what] for one in found])) for what in (*MEASURES, "fits")}
        rows[f"{name}, shuffled"] = {what: float(np.mean([one["chance"][what] for one in found])) for what in MEASURES}
    return rows


def held(seconds: float = 240.0, lyric_tokens: int = 600, states: int = 900) -> dict[str, float]:
    """Megabytes held while a long song is listened to, beside a step's own tensors: tensors by their sizes while the heads of the
    2B map are heard, numpy's by tracemalloc while the path and its scores are found.
    """
    frames, heads = int(seconds / SECONDS), KNOWN[24, 16]
    query, key = torch.randn(1, frames, 16, 128), torch.randn(1, states, 8, 128)
    collector = HeadCollector(heads, torch.arange(lyric_tokens), torch.zeros(lyric_tokens, frames), 128**-0.5)
    with Held() as tensors:
        for layer in heads:
            collector(layer, query, key)
    dice = np.random.default_rng(0)
    spans = tuple((5 * n, 5 * n + 4) for n in range(lyric_tokens))
    lyrics = "".join("word\n" if n % 8 == 7 else "word " for n in range(lyric_tokens))
    log = dice.normal(-7, 1, (lyric_tokens, frames)).astype(np.float32)
    attention = LyricAttention(log, np.full(frames, -0.5, np.float32), spans, SECONDS, lyric_tokens, 2048)
    tracemalloc.start()
    one = Known(lyrics, spans, np.zeros((1, 1, 1)), (), (), np.zeros(0, bool), attention)
    fit(one, shuffles=1)  # one after another, they hold what one does
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    own = collector.total.numel() * 4
    return {"heads MB": (tensors.peak + own) / 2**20, "path and scores MB": (peak + log.nbytes) / 2**20}


class Held(TorchDispatchMode):
    """Bytes of the tensors that live at once among those made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = call(*args, **(kwargs or {}))
        for one in (
            (made,) if isinstance(made, torch.Tensor) and made._base is None and not _is_among(made, args) else ()
        ):
            size = one.numel() * one.element_size()
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(one, self._gone, size)
        return made

    def _gone(self, size: int) -> None:
        self.now -= size


def _is_among(made: torch.Tensor, args: Any) -> bool:
    return any(isinstance(one, torch.Tensor) and one.data_ptr() == made.data_ptr() for one in args)


def times(seconds: float = 60.0, width: int = 1024) -> dict[str, float]:
    """Processor seconds of one step of a transformer of 24 layers and 16 heads (half the width of 2B), and of listening at all
    draws and finding path and scores, for a song of so many seconds with 200 tokens of lyrics.
    """
    config = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": 24, "num_attention_heads": 16,
              "num_key_value_heads": 8, "head_dim": width // 16, "in_channels": 192, "audio_acoustic_hidden_dim": 64,
              "patch_size": 2, "encoder_hidden_size": width, "sliding_window": 128}  # fmt: skip
    dit = install(diffusers.AceStepTransformer1DModel(**config).requires_grad_(False).eval())
    frames, one = int(seconds * 25), known(3, 20)
    x, context, states = torch.randn(1, frames, 64), torch.randn(1, frames, 128), torch.randn(1, 400, width)
    collector = HeadCollector(KNOWN[24, 16], torch.arange(200), torch.zeros(200, frames // 2), 64**-0.5)

    def listen() -> None:
        with torch.inference_mode():
            for t, _ in DRAWS:
                overhear(dit, x, t, states, context, last=6, listen=collector)
        fit(one)

    def step() -> None:
        with torch.inference_mode():
            velocity(dit, x, 0.5, states, context, mask=torch.ones(1, 400, dtype=torch.bool), cache=cache)

    cache = CrossAttentionCache()
    found = race({"step": step, "align": listen}, 3)
    return {"step s": found["step"]["ms"] / 1000, "align s": found["align"]["ms"] / 1000,
            "align / step": 1 / found["align"]["quicker"]}  # fmt: skip


def main(paths: int = 200) -> None:
    """Print everything."""
    print(f"{paths} random paths, line starts against the truth (a frame is 80 ms):")
    _show(compare(paths))
    for strength in (0.2, 0.05):
        print(
            f"The same with heads that look at the sung token {strength:g} times as much, {max(1, paths // 5)} paths:"
        )
        _show(compare(max(1, paths // 5), strength))
    print("Scores, beside chance:")
    _show(chance(max(1, paths // 10)))
    print("Memory at 240 s and 600 tokens:", "  ".join(f"{what} {value:.1f}" for what, value in held().items()))
    print("Time at 60 s:", "  ".join(f"{what} {value:.2f}" for what, value in times().items()))


def _show(rows: Mapping[str, Mapping[str, float]]) -> None:
    for name, figures in rows.items():
        print(f"  {name:24s}", "  ".join(f"{what} {value:.2f}" for what, value in figures.items()))


if __name__ == "__main__":
    main(*(int(word.rpartition("=")[2]) for word in sys.argv[1:2]))
