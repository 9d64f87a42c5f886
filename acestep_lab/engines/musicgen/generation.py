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
from acestep_lab.engines.musicgen.request import Rules
from acestep_lab.engines.musicgen.windows import Window, delayed, undelayed
from acestep_lab.errors import MachineError
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
    ):
        self.windows, self.late, self.pad, self.conditions, self.rules = windows, late, pad, conditions, rules
        self.codes = torch.zeros(windows[-1].end, len(late), dtype=torch.long)
        self.codes[: len(known)] = known
        self.generator = torch.Generator("cpu").manual_seed(seed)
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

    def advance(self, ask: Callable[[Callable[[Decoder], Tensor]], Tensor], device: Callable[[], torch.device]) -> None:
        """Write one column of the grid; `ask` hands the decoder to what is given to it, perhaps more than once."""
        logits = ask(lambda decoder: self.logits(decoder, device()))
        if not torch.isfinite(logits).all():
            raise MachineError(
                "MusicGen's decoder produced values that are not numbers; its weights may be damaged. Fetch them again, or "
                'compute in dtype="float32".'
            )
        self._read = self.at
        drawn = draw(logits.cpu(), self.rules, self.generator)
        is_open = self._open[:, self.at]
        self._grid[is_open, self.at] = drawn[is_open]
        self.at += 1
        if self.at == self._grid.shape[1]:
            self._finish()

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
        """Guided logits of the next column: float32 `[codebooks, words]`.

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
        rows = found.float().reshape(self.rules.rows, len(self.late), -1)
        return guided(rows, self.rules.guidance_scale)


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
    chances = torch.rand(len(logits), generator=generator, dtype=torch.float64)
    if rules.temperature == 0.0:
        return logits.argmax(dim=-1)
    return torch.tensor(
        [_drawn(row / rules.temperature, rules, float(chance)) for row, chance in zip(logits, chances, strict=True)]
    )


def _drawn(logits: Tensor, rules: Rules, chance: float) -> int:
    kept, places = nucleus(logits, rules.top_k, rules.top_p)
    heights = kept.double().softmax(dim=0).cumsum(dim=0)
    index = min(int(torch.searchsorted(heights, chance * heights[-1], right=True)), len(heights) - 1)
    return index if places is None else int(places[index])
