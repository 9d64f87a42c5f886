"""Rows decoded together: one KV cache, one forward pass a step, each row with its own tokens.

Knows no grammar and no fields. With classifier-free guidance every row has an unconditional one in the same
batch (a CFG row), which is fed the same tokens after another prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from acestep_lab.plan.decoder import Decoder, KVCache
from acestep_lab.plan.token_sampler import TokenSampler

Row = TypeVar("Row")

FEW_TOKENS = 4096
"""Up to so many allowed tokens, only their rows of the head are computed."""


@dataclass(frozen=True)
class Choice:
    """How a row's next token is chosen."""

    sampler: TokenSampler
    written: Sequence[int] = ()
    """The tokens that row has written itself: what a repetition penalty looks at."""
    allowed: Tensor | None = None
    """Which tokens may come, bool [vocabulary]; None where they are the same for all rows and all tokens."""
    greedy: bool = False

    def index(self, ids: Tensor, logits: Tensor) -> int:
        """The place of the chosen token in `ids`, of which `logits` are given."""
        repeated = None
        if self.sampler.planning.repetition_penalty != 1.0:
            repeated = torch.isin(ids, torch.tensor(list(self.written), dtype=ids.dtype))
        return self.sampler.sample(logits, repeated, self.greedy)


class DecodeBatch(Generic[Row]):
    """Rows, their KV cache, and the hidden state after each one's last token; in both the CFG rows follow the rows."""

    def __init__(
        self, decoder: Decoder, rows: list[Row], cache: KVCache, hidden: Tensor, scale: float, guided: bool
    ) -> None:
        self.decoder, self.rows, self.cache, self.hidden = decoder, rows, cache, hidden
        self.scale, self.guided = scale, guided
        self._parked: list[DecodeBatch[Row]] = []
        self._ids: Tensor | None = None
        self._places: Tensor | None = None
        self._span: slice | Tensor = slice(0)

    @classmethod
    def prefill(
        cls, decoder: Decoder, rows: list[Row], prompt: list[int], scale: float, ahead: int
    ) -> DecodeBatch[Row]:
        """Every row after the prompt, which is read once, with room for `ahead` tokens more; no row is guided yet."""
        cache = decoder.new_cache(1, len(prompt))
        hidden = decoder.feed(cache, [prompt])
        copies = [0] * len(rows)
        return cls(decoder, rows, cache.select(copies, cache.capacity + ahead), hidden[copies], scale, False)

    def feed(self, tokens: Sequence[Sequence[int]]) -> None:
        """Feed each row's tokens, to its CFG row as well."""
        fed = [*tokens, *tokens] if self.guided else list(tokens)
        if fed:
            self._reserve(max(len(row) for row in fed))
            self.hidden = self.decoder.feed(self.cache, fed)

    def _reserve(self, more: int) -> None:
        """Room for `more` tokens a row, with some to spare where it must be made."""
        needed = max(self.cache.lengths) + more
        if needed > self.cache.capacity:
            self.cache = self.cache.select(range(len(self.cache.lengths)), needed + needed // 4)

    def keep(self, rows: list[Row], beside: list[Any] | None = None) -> list[Any]:
        """Go on with some rows; what lies `beside` them, one item a row, is thinned out alike and returned."""
        kept_indices = [index for index, row in enumerate(self.rows) if any(row is kept for kept in rows)]
        if len(kept_indices) < len(self.rows):
            both = [*kept_indices, *(len(self.rows) + index for index in kept_indices)] if self.guided else kept_indices
            self.cache, self.hidden = self.cache.select(both), self.hidden[both]
            self.rows = [self.rows[index] for index in kept_indices]
            beside = [beside[index] for index in kept_indices] if beside else beside
        return beside or []

    def subset(self, rows: list[Row]) -> DecodeBatch[Row]:
        """Some rows as a batch of their own, without their CFG rows."""
        kept_indices = [index for index, row in enumerate(self.rows) if any(row is kept for kept in rows)]
        alone = [self.rows[index] for index in kept_indices]
        return DecodeBatch(
            self.decoder, alone, self.cache.select(kept_indices), self.hidden[kept_indices], self.scale, False
        )

    def park(self, rows: list[Row]) -> None:
        """Put some rows aside until the others have come as far."""
        self._parked.append(self.subset(rows))
        self.keep([row for row in self.rows if not any(row is parked for parked in rows)])

    def unpark(self) -> None:
        """Go on with the rows that were put aside, first come first, and with no others."""
        parked, self._parked = self._parked, []
        self.merge(parked)

    def choose(self, choices: Sequence[Choice], end: int) -> list[int]:
        """Each row's next token, of those its choice allows; `end` is past the last that any may."""
        masks = [choice.allowed for choice in choices if choice.allowed is not None]
        found = self.allowed_logits(masks, end)
        return [int(ids[choice.index(ids, logits)]) for choice, (ids, logits) in zip(choices, found, strict=True)]

    def write(self, choices: Sequence[Choice], ids: Tensor, last: Sequence[Sequence[int]]) -> list[list[int]]:
        """Each row's next tokens, of `ids` (increasing), in columns: here one. `last` are those of the column before."""
        if any(last):
            self.feed(last)
        rows = self._logits_of(ids)
        return [[int(ids[choice.index(ids, logits)]) for choice, logits in zip(choices, rows, strict=True)]]

    def _logits_of(self, ids: Tensor) -> Tensor:
        """Logits of some tokens; their rows of the head are copied only where they are few and do not follow one another."""
        if self._ids is not ids:  # what is asked is the same for every token
            first, past = int(ids[0]), int(ids[-1]) + 1
            few, follow = len(ids) <= FEW_TOKENS, past - first == len(ids)
            self._ids, self._places = ids, None if few or follow else ids.to(self.hidden.device)
            self._span = slice(first, past) if follow else ids.to(self.hidden.device) if few else slice(0, past)
        logits = self.logits(self._span)
        return logits if self._places is None else logits[:, self._places]

    def merge(self, batches: Sequence[DecodeBatch[Row]]) -> None:
        """Become all the rows of these batches, in their order."""
        batches = [batch for batch in batches if batch.rows]
        self.guided, self.rows = False, [row for batch in batches for row in batch.rows]
        if batches:
            self.cache = KVCache.stack(
                [batch.cache for batch in batches], max(batch.cache.capacity for batch in batches)
            )
            self.hidden = torch.cat([batch.hidden for batch in batches])

    def add_cfg_rows(self, prompt: list[int] | None, ahead: int) -> None:
        """Give each row a CFG row after `prompt` (None = no guidance), and all of them room for `ahead` tokens."""
        caches, hidden = [self.cache], [self.hidden]
        if prompt is not None:
            null_cache = self.decoder.new_cache(1, len(prompt))
            hidden.append(self.decoder.feed(null_cache, [prompt]).expand(len(self.rows), -1))
            caches += [null_cache.select([0] * len(self.rows))]
        self.guided = prompt is not None
        self.cache = KVCache.stack(caches, max(length for cache in caches for length in cache.lengths) + ahead)
        self.hidden = torch.cat(hidden)

    def remaining(self) -> int:
        """How many tokens the longest row may still be fed before the model's positions run out."""
        return max(self.decoder.max_positions - max(self.cache.lengths), 0)

    def logits(self, wanted: slice | Tensor) -> Tensor:
        """Logits of the wanted tokens, guided where there are CFG rows, float32 [rows, wanted]: u + s·(c − u)."""
        logits = self.decoder.logits(self.hidden, wanted)
        if not self.guided:
            return logits
        conditional, unconditional = logits.chunk(2)
        return unconditional + self.scale * (conditional - unconditional)

    def allowed_logits(self, masks: Sequence[Tensor], end: int) -> list[tuple[Tensor, Tensor]]:
        """For each row the allowed ids and their logits; `end` is past the last id that any mask may allow."""
        allowed = [mask[:end].nonzero()[:, 0] for mask in masks]
        if max(len(ids) for ids in allowed) > FEW_TOKENS:
            rows = self.logits(slice(0, end)).unbind()
            return [(ids, row[ids.to(row.device)]) for ids, row in zip(allowed, rows, strict=True)]
        union = torch.cat(allowed).unique()
        rows = self.logits(union.to(self.hidden.device)).unbind()
        columns = [torch.searchsorted(union, ids) for ids in allowed]
        return [(ids, row[column.to(row.device)]) for ids, row, column in zip(allowed, rows, columns, strict=True)]
