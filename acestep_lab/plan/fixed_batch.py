"""Rows decoded together on a card: a DecodeBatch whose work is steps of fixed shapes, recorded once and repeated.

Knows no grammar and no fields. A step reads its tokens, masks and random numbers from fixed places that are filled between steps,
and leaves what it chose at another. Under a grammar one token is chosen at a time, for the next mask depends on it; freely written
tokens (codes, lyrics) go from step to step on the card, `WINDOW` of them before the host looks. A row that is done or was given up
goes on beside the others, unheard, until at most half of the rows are left: shapes do not change, and a graph is not made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic

import torch
import torch.nn.functional as F
from torch import Tensor

from acestep_lab.models.backends import exact_dtype
from acestep_lab.models.recording import Recorder, Step
from acestep_lab.plan.decode_batch import FEW_TOKENS, Choice, Row
from acestep_lab.plan.decoder import Decoder
from acestep_lab.plan.fixed_step import WINDOW, FixedRoom
from acestep_lab.plan.token_sampler import drawn, penalised
from acestep_lab.prompt.recipe import Planning

WIDTH = 8
"""So many forced tokens are read in one step."""


class FixedBatch(Generic[Row]):
    """Rows and their room on the card. `rows` are those that go on; the room also has those that were put aside or left."""

    def __init__(self, decoder: Decoder, recorder: Recorder, rows: list[Row], scale: float, room: FixedRoom) -> None:
        self.decoder, self.recorder, self.rows, self.scale = decoder, recorder, rows, scale
        self.guided = False
        self._parked: list[Row] = []
        self._unfed = 0  # 1 while the host counts the last written token as not yet fed, as a DecodeBatch does
        self._cfg_length = 0
        self._settle(room, list(rows), [0] * len(rows))

    def _settle(self, room: FixedRoom, slots: list[Row], lengths: list[int]) -> None:
        """Move into a room; nothing that was recorded in another is of use there."""
        self.room, self._slots, self._lengths = room, slots, lengths
        self._pending: list[list[int]] = [[] for _ in slots]
        self._steps: dict[object, Step] = {}
        count, exact = len(slots), exact_dtype(self.decoder.device)
        self._ids, self._counts = self._zeros(torch.long, count, WIDTH), self._zeros(torch.long, count)
        self._numbers, self._found = self._zeros(exact, WINDOW, count), self._zeros(torch.long, WINDOW, count)
        self._at, self._greedy = self._zeros(torch.long, 1), self._zeros(torch.bool, count)
        self._forbidden, self._repeated = self._zeros(torch.bool, 0), self._zeros(torch.bool, 0)

    def _zeros(self, dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.decoder.device)

    @classmethod
    @torch.inference_mode()
    def prefill(
        cls, decoder: Decoder, rows: list[Row], prompt: list[int], scale: float, ahead: int, recorder: Recorder
    ) -> FixedBatch[Row]:
        """Every row after the prompt, which is read once, with room for `ahead` tokens more; no row is guided yet."""
        batch = cls(decoder, recorder, rows, scale, FixedRoom(decoder, len(rows), len(prompt) + ahead + WIDTH))
        batch._read(slice(0, len(rows)), prompt)
        batch._lengths = [len(prompt)] * len(rows)
        return batch

    def _read(self, rows: slice, prompt: list[int]) -> None:
        """Let some rows of the room be those that have read a prompt."""
        cache = self.decoder.new_cache(1, len(prompt))
        hidden = self.decoder.feed(cache, [prompt])
        self.room.fill(rows, cache, hidden)

    # ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _slot(self, row: Row) -> int:
        return next(index for index, one in enumerate(self._slots) if one is row)

    def keep(self, rows: list[Row], beside: list[Any] | None = None) -> list[Any]:
        """Go on with some rows; what lies `beside` them, one item a row, is thinned out alike and returned."""
        kept = [index for index, row in enumerate(self.rows) if any(row is one for one in rows)]
        self.rows = [self.rows[index] for index in kept]
        return [beside[index] for index in kept] if beside else []

    def park(self, rows: list[Row]) -> None:
        """Put some rows aside until the others have come as far."""
        self._parked += rows
        self.keep([row for row in self.rows if not any(row is parked for parked in rows)])

    def unpark(self) -> None:
        """Go on with the rows that were put aside, first come first, and with no others."""
        self.rows, self._parked = self._parked, []

    def remaining(self) -> int:
        """How many tokens the longest row may still be fed before the model's positions run out."""
        return max(self.decoder.max_positions - self._longest(self.rows) + self._unfed, 0)

    def _longest(self, rows: list[Row]) -> int:
        """How many tokens the longest of these rows will have, what waits to be fed included."""
        slots = [self._slot(row) for row in rows]
        return max([self._cfg_length, *(self._lengths[slot] + len(self._pending[slot]) for slot in slots)])

    @torch.inference_mode()
    def _move(self, rows: list[Row], capacity: int, spare: int = 0) -> None:
        """The same in a room for these rows only, and of another size; behind them `spare` rows that have read nothing."""
        slots = [self._slot(row) for row in rows]
        theirs = [*slots, *(len(self._slots) + slot for slot in slots)] if self.guided else slots
        room = FixedRoom(self.decoder, len(theirs) + spare, capacity)
        room.take(slice(0, len(theirs)), self.room, theirs)
        pending = [self._pending[slot] for slot in slots]
        self._settle(room, list(rows), [self._lengths[slot] for slot in slots])
        self._pending = pending

    def _reserve(self, more: int) -> None:
        """Room for `more` tokens a row, with some to spare where it must be made."""
        needed = self._longest(self._slots) + more
        if needed > self.room.capacity:
            self._move(self._slots, needed + max(needed // 4, 256))

    @torch.inference_mode()
    def add_cfg_rows(self, prompt: list[int] | None, ahead: int) -> None:
        """Give each row a CFG row after `prompt` (None = no guidance), and all of them room for `ahead` tokens."""
        self._feed_pending(0)
        rows, spare = self.rows, 0 if prompt is None else len(self.rows)
        self._move(rows, max(self._longest(rows), len(prompt or [])) + ahead + WINDOW, spare)
        if prompt is not None:
            self.guided, self._cfg_length = True, len(prompt)
            self._read(slice(spare, 2 * spare), prompt)

    # ── tokens ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def feed(self, tokens: Sequence[Sequence[int]]) -> None:
        """Feed each row's tokens; the card is told with the next choice."""
        for row, more in zip(self.rows, tokens, strict=True):
            self._pending[self._slot(row)] += more

    @torch.inference_mode()
    def choose(self, choices: Sequence[Choice], end: int) -> list[int]:
        """Each row's next token, of those its choice allows; `end` is past the last that any may."""
        if not choices:
            return []
        slots, planning = [self._slot(row) for row in self.rows], choices[0].sampler.planning
        self._feed_pending(WIDTH)
        self._reserve(WIDTH)
        self._tell(slots, choices, end, planning)
        most = self._tell_tokens()
        self._played(("choose", most, end), lambda: self._choosing(most, end, planning))()
        [chosen] = self._chosen(1)
        return [chosen[slot] for slot in slots]

    @torch.inference_mode()
    def write(self, choices: Sequence[Choice], ids: Tensor, last: Sequence[Sequence[int]]) -> list[list[int]]:
        """Each row's next tokens, of `ids` (increasing), in up to `WINDOW` columns; the card has fed them already."""
        if 2 * len(self.rows) <= len(self._slots):
            self._move(self.rows, self.room.capacity)
        self._reserve(WINDOW)
        slots, planning = [self._slot(row) for row in self.rows], choices[0].sampler.planning
        count = max(min(WINDOW, self.remaining() + 1 - self._unfed), 1)
        numbers = torch.zeros(self._numbers.shape, dtype=self._numbers.dtype)
        for slot, choice in zip(slots, choices, strict=True):
            numbers[:count, slot] = choice.sampler.uniforms(count, numbers.dtype)
        self._numbers.copy_(numbers)
        self._at.copy_(torch.zeros(1, dtype=torch.long))  # a copy, for to set it there is a kernel
        if "write" not in self._steps and planning.repetition_penalty != 1.0:
            self._repeated = self._marked(slots, choices, int(ids[-1]) + 1)
        play = self._played("write", lambda: self._writing(ids, planning))
        for _ in range(count):
            play()
        self._lengths, self._unfed = [length + count for length in self._lengths], 1
        self._cfg_length += count if self.guided else 0
        return [[column[slot] for slot in slots] for column in self._chosen(count)]

    def _chosen(self, count: int) -> list[list[int]]:
        """What the last steps chose, all rows of the room: here the host waits for the card."""
        return self._found[:count].tolist()

    def _feed_pending(self, left: int) -> None:
        """Tell the card what waits to be fed, until at most `left` tokens a row wait."""
        while (most := max((len(tokens) for tokens in self._pending), default=0)) > left:
            self._reserve(WIDTH)
            width = self._tell_tokens(most - left)
            self._played(("feed", width), lambda width=width: self._feeding(width))()  # type: ignore[misc]

    def _tell_tokens(self, most: int = WIDTH) -> int:
        """Lay down the next tokens of all rows, at most so many; how wide a step reads them."""
        told = [tokens[: min(most, WIDTH)] for tokens in self._pending]
        self._pending = [tokens[len(now) :] for tokens, now in zip(self._pending, told, strict=True)]
        self._lengths = [length + len(now) for length, now in zip(self._lengths, told, strict=True)]
        self._ids.copy_(torch.tensor([[*now, *[0] * (WIDTH - len(now))] for now in told]))
        self._counts.copy_(torch.tensor([len(now) for now in told]))
        return 1 if max(map(len, told)) <= 1 else WIDTH

    def _tell(self, slots: list[int], choices: Sequence[Choice], end: int, planning: Planning) -> None:
        """Lay down masks, random numbers and what is greedy."""
        forbidden, numbers = torch.zeros(len(self._slots), end, dtype=torch.bool), torch.zeros(len(self._slots))
        numbers, greedy = numbers.to(self._numbers.dtype), torch.zeros(len(self._slots), dtype=torch.bool)
        for slot, choice in zip(slots, choices, strict=True):
            assert choice.allowed is not None
            torch.logical_not(choice.allowed[:end], out=forbidden[slot])
            greedy[slot] = choice.greedy
            if not choice.greedy:
                numbers[slot] = choice.sampler.uniforms(1, numbers.dtype)[0]
        if self._forbidden.shape != forbidden.shape:
            self._forbidden = torch.zeros_like(forbidden, device=self.decoder.device)
            self._repeated = torch.zeros_like(self._forbidden)
        self._forbidden.copy_(forbidden)
        self._numbers[0].copy_(numbers)
        self._greedy.copy_(greedy)
        if planning.repetition_penalty != 1.0:
            self._repeated.copy_(self._marked(slots, choices, end))

    def _marked(self, slots: list[int], choices: Sequence[Choice], end: int) -> Tensor:
        """Which tokens below `end` each row has written, [slots, end]."""
        marked = torch.zeros(len(self._slots), end, dtype=torch.bool)
        for slot, choice in zip(slots, choices, strict=True):
            marked[slot, [token for token in choice.written if token < end]] = True
        return marked.to(self.decoder.device)

    # ── steps ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _played(self, name: object, step: Callable[[], Step]) -> Step:
        """What plays a step of this room, recorded when it is first asked for."""
        if name not in self._steps:
            state = (*self.room.state, self._at, self._found, self._repeated)
            self._steps[name] = self.recorder(step(), state, self.room.layers)
        return self._steps[name]

    def _feeding(self, width: int) -> Step:
        return lambda: self.room.advance(self._ids[:, :width], self._counts)

    def _choosing(self, width: int, end: int, planning: Planning) -> Step:
        """Feed, and choose one token under the masks."""

        def step() -> None:
            self.room.advance(self._ids[:, :width], self._counts)
            logits = F.linear(self.room.hidden, self.decoder.head[:end]).float()
            if planning.repetition_penalty != 1.0:
                logits = penalised(logits, self._repeated, planning.repetition_penalty)
            logits = logits.masked_fill(self._forbidden, float("-inf"))
            index = drawn(logits, self._numbers[0], planning)
            self._found[0].copy_(torch.where(self._greedy, logits.argmax(dim=-1), index))

        return step

    def _writing(self, ids: Tensor, planning: Planning) -> Step:
        """Choose one token of `ids`, and feed it: to the CFG rows as well."""
        head, first, named, forbidden = self._head_of(ids)
        columns = slice(first, first + head.shape[0]) if named is None else named

        def step() -> None:
            logits = self._guided(F.linear(self.room.hidden, head).float())
            if planning.repetition_penalty != 1.0:
                logits = penalised(logits, self._repeated[:, columns], planning.repetition_penalty)
            if forbidden is not None:
                logits = logits.masked_fill(forbidden, float("-inf"))
            index = drawn(logits, self._numbers.index_select(0, self._at)[0], planning)
            token = index + first if named is None else named[index]
            if planning.repetition_penalty != 1.0:
                self._repeated.scatter_(1, token[:, None], True)
            self._found.index_copy_(0, self._at, token[None])
            self._at.add_(1)
            self.room.advance((token.repeat(2) if self.guided else token)[:, None])

        return step

    def _head_of(self, ids: Tensor) -> tuple[Tensor, int, Tensor | None, Tensor | None]:
        """The head's rows for these tokens; the first one's id where they follow one another, else their ids; and which of the rows
        are for no token of theirs. Rows are copied only where they are few.
        """
        head, first, past = self.decoder.head, int(ids[0]), int(ids[-1]) + 1
        if past - first == len(ids):
            return head[first:past], first, None, None
        ids = ids.to(head.device)
        if len(ids) <= FEW_TOKENS:
            return head[ids], 0, ids, None
        forbidden = torch.ones(past, dtype=torch.bool, device=head.device)
        forbidden[ids] = False
        return head[:past], 0, None, forbidden

    def _guided(self, logits: Tensor) -> Tensor:
        """Logits guided where there are CFG rows: u + s·(c − u)."""
        if not self.guided:
            return logits
        conditional, unconditional = logits.chunk(2)
        return torch.add(unconditional, conditional - unconditional, alpha=self.scale)
