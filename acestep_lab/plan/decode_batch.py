"""Rows that speak together: one memory, one forward pass a step, each row with its own words.

Knows no grammar and no fields. Guided rows have an unconditional twin in the same batch that hears the same tokens after
another prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from acestep_lab.plan.decoder import Decoder, Memory

Row = TypeVar("Row")

_FEW = 4096
"""Up to so many allowed tokens, only their rows of the head are computed."""


class DecodeBatch(Generic[Row]):
    """Rows, their memory, and the hidden state after each one's last token; twins follow the rows in both."""

    def __init__(
        self, decoder: Decoder, rows: list[Row], memory: Memory, hidden: Tensor, scale: float, twins: bool
    ) -> None:
        self.decoder, self.rows, self.memory, self.hidden = decoder, rows, memory, hidden
        self.scale, self.twins = scale, twins

    @classmethod
    def read(cls, decoder: Decoder, rows: list[Row], prompt: list[int], scale: float, ahead: int) -> DecodeBatch[Row]:
        """Every row behind the prompt, which is read once; twins come with `pair`."""
        memory = decoder.memory(1, len(prompt))
        hidden = decoder.feed(memory, [prompt])
        places = [0] * len(rows)
        return cls(decoder, rows, memory.pick(places, memory.room + ahead), hidden[places], scale, False)

    def say(self, tokens: Sequence[Sequence[int]]) -> None:
        """Feed each row's tokens, to its twin as well."""
        heard = [*tokens, *tokens] if self.twins else list(tokens)
        if heard:
            self._widen(max(len(row) for row in heard))
            self.hidden = self.decoder.feed(self.memory, heard)

    def _widen(self, more: int) -> None:
        """Room for `more` tokens a row, with some to spare where it must be made."""
        needed = max(self.memory.lengths) + more
        if needed > self.memory.room:
            self.memory = self.memory.pick(range(len(self.memory.lengths)), needed + needed // 4)

    def keep(self, rows: list[Row], beside: list[Any] | None = None) -> list[Any]:
        """Go on with some rows; what lies `beside` them, one item a row, is thinned out alike and returned."""
        places = [index for index, row in enumerate(self.rows) if any(row is kept for kept in rows)]
        if len(places) < len(self.rows):
            both = [*places, *(len(self.rows) + place for place in places)] if self.twins else places
            self.memory, self.hidden = self.memory.pick(both), self.hidden[both]
            self.rows = [self.rows[place] for place in places]
            beside = [beside[place] for place in places] if beside else beside
        return beside or []

    def part(self, rows: list[Row]) -> DecodeBatch[Row]:
        """Some rows apart, without their twins."""
        places = [index for index, row in enumerate(self.rows) if any(row is kept for kept in rows)]
        alone = [self.rows[place] for place in places]
        return DecodeBatch(self.decoder, alone, self.memory.pick(places), self.hidden[places], self.scale, False)

    def gather(self, parts: Sequence[DecodeBatch[Row]]) -> None:
        """Become all the rows of these parts, in the order of the parts."""
        parts = [part for part in parts if part.rows]
        self.twins, self.rows = False, [row for part in parts for row in part.rows]
        if parts:
            self.memory = Memory.stack([part.memory for part in parts], max(part.memory.room for part in parts))
            self.hidden = torch.cat([part.hidden for part in parts])

    def pair(self, prompt: list[int] | None, ahead: int) -> None:
        """Give each row a twin behind `prompt` (None = no twins), and all of them room for `ahead` tokens."""
        parts, hidden = [self.memory], [self.hidden]
        if prompt is not None:
            twin = self.decoder.memory(1, len(prompt))
            hidden.append(self.decoder.feed(twin, [prompt]).expand(len(self.rows), -1))
            parts += [twin.pick([0] * len(self.rows))]
        self.twins = prompt is not None
        self.memory = Memory.stack(parts, max(length for part in parts for length in part.lengths) + ahead)
        self.hidden = torch.cat(hidden)

    def left(self) -> int:
        """How many tokens the longest row may still hear before the model's places run out."""
        return max(self.decoder.longest - max(self.memory.lengths), 0)

    def logits(self, wanted: slice | Tensor) -> Tensor:
        """Logits of the wanted tokens, guided where there are twins, float32 [rows, wanted]: u + s·(c − u)."""
        logits = self.decoder.logits(self.hidden, wanted)
        if not self.twins:
            return logits
        told, untold = logits.chunk(2)
        return untold + self.scale * (told - untold)

    def chances(self, masks: Sequence[Tensor], end: int) -> list[tuple[Tensor, Tensor]]:
        """For each row the allowed ids and their logits; `end` is past the last id that any mask may allow."""
        allowed = [mask[:end].nonzero()[:, 0] for mask in masks]
        if max(len(ids) for ids in allowed) > _FEW:
            rows = self.logits(slice(0, end)).unbind()
            return [(ids, row[ids.to(row.device)]) for ids, row in zip(allowed, rows, strict=True)]
        union = torch.cat(allowed).unique()
        rows = self.logits(union.to(self.hidden.device)).unbind()
        places = [torch.searchsorted(union, ids) for ids in allowed]
        return [(ids, row[place.to(row.device)]) for ids, row, place in zip(allowed, rows, places, strict=True)]
