"""One song's codes, written token by token. Knows a decoder and how its codes are ordered; no words, no sound, no devices.

The loop is our own and not transformers' `generate`: a song has a generator of its own, so that a seed means the same song
whatever is made beside it; whoever waits can stop between two tokens; and each token can be told of. Greedy, it gives the codes
that `generate(do_sample=False)` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab._libraries import transformers
from acestep_lab.engines.musicgen.fixed_columns import AHEAD, FixedColumns, addresses
from acestep_lab.engines.musicgen.request import Rules
from acestep_lab.engines.musicgen.windows import Window, delayed, undelayed
from acestep_lab.errors import MachineError
from acestep_lab.models.recording import Recorder, recorder_for
from acestep_lab.plan.token_sampler import nucleus


class Decoder(nn.Module):
    """MusicGen's transformer with what brings its conditions to its width; the names are those of the published weights."""

    def __init__(self, decoder: Any, text_width: int, chroma: int | None):
        super().__init__()
        width: int = decoder.config.hidden_size
        self.decoder = decoder
        if text_width != width:
            self.enc_to_dec_proj = nn.Linear(text_width, width)
        if chroma is not None and chroma != width:
            self.audio_enc_to_dec_proj = nn.Linear(chroma, width)

    def words(self, text: Tensor) -> Tensor:
        """Words at the decoder's width."""
        return self.enc_to_dec_proj(text) if hasattr(self, "enc_to_dec_proj") else text

    def melody(self, chroma: Tensor) -> Tensor:
        """Pitch classes at the decoder's width."""
        return self.audio_enc_to_dec_proj(chroma) if hasattr(self, "audio_enc_to_dec_proj") else chroma

    def new_cache(self) -> Any:
        """Keys and values of the music, and of the words, with nothing in them."""
        own, words = (transformers.DynamicCache(config=self.decoder.config) for _ in range(2))
        return transformers.EncoderDecoderCache(own, words)

    def heard(self, text: Tensor, has_words: bool, chroma: Tensor | None, rows: int) -> dict[str, Tensor]:
        """What is listened to, row by row: with the words, and then without (transformers' own null rows)."""
        dtype, device = self.decoder.dtype, next(self.parameters()).device
        text = self.words(text[None].to(device, dtype))  # [1, tokens, width]
        mask = torch.full(text.shape[:2], int(has_words), device=device)
        states = rows_of(text * mask[..., None], torch.zeros_like(text), rows)
        if chroma is None:
            return {
                "encoder_hidden_states": states,
                "encoder_attention_mask": rows_of(mask, torch.zeros_like(mask), rows),
            }
        melody = self.melody(with_null(chroma[None].to(device, dtype), rows))
        return {"encoder_hidden_states": torch.cat([melody, states], dim=1)}

    def next(self, ids: Tensor, cache: Any, heard: Mapping[str, Tensor]) -> Tensor:
        """Logits of the next column `[rows * codebooks, words]` after new columns; the cache takes those in."""
        logits: Tensor = self.decoder(input_ids=ids, past_key_values=cache, use_cache=True, **heard).logits[:, -1]
        return logits


@dataclass(frozen=True)
class Conditions:
    """What a song follows."""

    text: Tensor
    """T5's states `[tokens, width]`; of no words, one token that counts for nothing."""
    has_words: bool
    melodies: tuple[Tensor, ...] | None = None
    """Of each window `[frames, pitch classes]`, one-hot; None for checkpoints that follow none."""


class Generation:
    """A song under way: its codes so far, and the decoder's memory of the window at hand."""

    def __init__(
        self,
        windows: Sequence[Window],
        known: Tensor,
        late: Sequence[int],
        pad: int,
        conditions: Conditions,
        rules: Rules,
        seed: int,
        road: Callable[[torch.device], Recorder | None] = recorder_for,
    ):
        """`road` says how steps are run on a device: what records them, or None where the host computes."""
        self._road = road
        self.windows, self.late, self.pad, self.conditions, self.rules = windows, late, pad, conditions, rules
        self.codes = torch.zeros(windows[-1].end, len(late), dtype=torch.long)
        self.codes[: len(known)] = known
        self.generator = torch.Generator("cpu").manual_seed(seed)
        self._numbers: Tensor | None = None
        """The random numbers of the columns that are being written on a card."""
        self.steps = sum(window.end - window.start + max(late) for window in windows)
        self._begin(0)

    def _begin(self, place: int) -> None:
        window = self.windows[place]
        self.place, self.at = place, window.start - window.begin + 1
        self._grid, self._open = delayed(
            self.codes[window.begin : window.start], window.end - window.begin, self.late, self.pad
        )
        self._cache: Any = None
        self._heard: dict[str, Any] = {}
        self._read, self._where = 0, torch.device("cpu")
        self._fixed: FixedColumns | None = None
        self._ahead: Tensor | None = None
        self._ahead_from = 0

    def advance(self, ask: Callable[[Callable[[Decoder], Tensor]], Tensor], device: Callable[[], torch.device]) -> None:
        """Write one column of the grid; `ask` hands the decoder to what is given to it, perhaps more than once."""
        written = self._ahead[:, self.at - self._ahead_from :] if self._ahead is not None else None
        if written is None or not written.shape[1]:
            written = ask(lambda decoder: self._next(decoder, device()))
        self._grid[:, self.at] = written[:, 0]
        self.at += 1
        if self.at == self._grid.shape[1]:
            self._finish()

    def _next(self, decoder: Decoder, device: torch.device) -> Tensor:
        """The next columns of the grid [codebooks, columns]: one, or on a card several that are kept for later."""
        recorder = self._road(device) if isinstance(decoder, Decoder) else None
        if recorder is None:
            return self._one(self.logits(decoder, device))
        if self._numbers is None:  # drawn once, whatever fails
            count = min(AHEAD, self._grid.shape[1] - self.at)
            self._numbers = torch.stack([numbers(len(self.late), self.generator) for _ in range(count)])
        fixed, self._fixed = self._fixed, None  # a failure leaves none behind
        if fixed is None or self._where != device or fixed.weights != addresses(decoder):
            fixed = self._begun(decoder, device, recorder)
        written, finite = fixed.write(self._numbers, self.at)
        _check(finite)
        self._fixed, self._ahead, self._ahead_from, self._numbers = fixed, written, self.at, None
        return written

    @torch.inference_mode()
    def _begun(self, decoder: Decoder, device: torch.device, recorder: Recorder) -> FixedColumns:
        """The window at hand on a card: what is known of it is read as everywhere, and goes on in fixed shapes."""
        self._cache, self._where = None, device
        found = self._asked(decoder, device)
        cache, self._cache = self._cache, None
        return FixedColumns(decoder, cache, found, self._grid, self._open, self.at, self.rules, recorder)

    def _one(self, logits: Tensor) -> Tensor:
        """The column of these logits [codebooks, 1]: drawn where it is open."""
        logits = logits.cpu()  # the one thing that comes home for a token
        _check(bool(torch.isfinite(logits).all()))
        self._read = self.at
        found, is_open = self._grid[:, self.at].clone(), self._open[:, self.at]
        found[is_open] = draw(logits, self.rules, self.generator)[is_open]
        return found[:, None]

    def _finish(self) -> None:
        """Take over what a window has written, and begin the next."""
        window = self.windows[self.place]
        written = undelayed(self._grid, window.end - window.begin, self.late)
        self.codes[window.start : window.end] = written[window.start - window.begin :]
        self._cache = None
        if self.place + 1 < len(self.windows):
            self._begin(self.place + 1)

    @torch.inference_mode()
    def logits(self, decoder: Decoder, device: torch.device) -> Tensor:
        """Guided logits of the next column: float32 `[codebooks, words]`."""
        rows = self._asked(decoder, device).float().reshape(self.rules.rows, len(self.late), -1)
        return guided(rows, self.rules.guidance_scale)

    def _asked(self, decoder: Decoder, device: torch.device) -> Tensor:
        """Logits of the next column as the decoder gives them, `[rows * codebooks, words]`.

        What failed halfway, or was begun on another device, is read again from the window's begin.
        """
        if self._cache is None or self._where != device:
            self._cache, self._where, self._read = decoder.new_cache(), device, 0
            melodies = self.conditions.melodies
            chroma = None if melodies is None else melodies[self.place]
            self._heard = decoder.heard(self.conditions.text, self.conditions.has_words, chroma, self.rules.rows)
        cache, self._cache = self._cache, None  # a failure leaves none behind
        ids = self._grid[:, self._read : self.at].repeat(self.rules.rows, 1).to(device)
        heard = (
            {} if self._read and self.conditions.melodies is not None else self._heard
        )  # stands before the music, read once
        found = decoder.next(ids, cache, heard)
        self._cache = cache
        return found


def with_null(chroma: Tensor, rows: int) -> Tensor:
    """A melody `[1, frames, pitch classes]` row by row: itself, and then transformers' own silence."""
    null = torch.zeros_like(chroma)
    null[:, :, 0] = 1
    return rows_of(chroma, null, rows)


def rows_of(one: Tensor, null: Tensor, rows: int) -> Tensor:
    """What a song hears `[rows, …]`: itself, and under guidance what stands for nothing below it."""
    return torch.cat([one, null]) if rows == 2 else one


def guided(rows: Tensor, scale: float) -> Tensor:
    """Logits `[rows, codebooks, words]` with the words weighed against no words (classifier-free guidance)."""
    return rows[0] if len(rows) == 1 else rows[1] + (rows[0] - rows[1]) * scale


def draw(logits: Tensor, rules: Rules, generator: torch.Generator) -> Tensor:
    """A token for each codebook of `[codebooks, words]`; one number of the generator is used up for each.

    Temperature, then top-k, then top-p, as in transformers and audiocraft.
    """
    chances = numbers(len(logits), generator)
    if rules.temperature == 0.0:
        return logits.argmax(dim=-1)
    return torch.tensor(
        [_drawn(row / rules.temperature, rules, float(chance)) for row, chance in zip(logits, chances, strict=True)]
    )


def numbers(codebooks: int, generator: torch.Generator) -> Tensor:
    """The random numbers of one column."""
    return torch.rand(codebooks, generator=generator, dtype=torch.float64)


def _check(finite: bool) -> None:
    if not finite:
        raise MachineError(
            "MusicGen's decoder produced values that are not numbers; its weights may be damaged. Fetch them again, or "
            'compute in dtype="float32".'
        )


def _drawn(logits: Tensor, rules: Rules, chance: float) -> int:
    kept, places = nucleus(logits, rules.top_k, rules.top_p)
    heights = kept.double().softmax(dim=0).cumsum(dim=0)
    index = min(int(torch.searchsorted(heights, chance * heights[-1], right=True)), len(heights) - 1)
    return index if places is None else int(places[index])
