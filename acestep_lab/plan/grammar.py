"""What the model may write next while it thinks: an ordered list of fields, compiled for llguidance.

Knows no model and no sampling. The whole thought is one regular expression: fields the musician fixed are literals, fields
that are skipped are absent, the rest are the closed vocabularies or free lines. A literal is handed out as forced tokens, so
that it costs one forward pass however long it is. Control tokens and codes are no text to llguidance: no spelling reaches
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import llguidance
import numpy as np
import yaml
from numpy.typing import NDArray

from acestep_lab.errors import CheckpointError, LabError
from acestep_lab.plan import prompt_template
from acestep_lab.plan.fields import FIELDS, ROWS
from acestep_lab.prompt import vocabulary

SHORTEST_SECONDS = 10
"""The shortest song the published planners choose by themselves."""

LINE, LINES = 240, 12
"""Letters in a free line, and lines in a caption: more than any training caption, few enough to end."""

_LETTER = r"[^\x00-\x1f\x7f<`]"
_FIRST = r"[^\x00-\x20\x7f<`'\"\u00a0\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\u0085\u1680]"
_QUOTED = r"(''|[^\x00-\x1f\x7f<`'])"
_SLICES = [r"[^\x00-\x1f\x7f<`']{1,8}", r"[^\x00-\x1f\x7f<`']{1,16}"]
"""Runs of free letters whose token masks llguidance works out once, so that a free line costs no walk through the vocabulary."""

_FREE = {
    "plain": rf"{_FIRST}{_LETTER}{{0,{LINE}}}",
    "more": rf"(\n  {_FIRST}{_LETTER}{{0,{LINE}}}){{0,{LINES}}}",
    "quoted": rf"'{_FIRST}{_QUOTED}{{0,{LINE}}}(\n  {_FIRST}{_QUOTED}{{0,{LINE}}}){{0,{LINES}}}'",
}


def pattern(
    fixed: Mapping[str, object], names: Iterable[str] = prompt_template.PLAN_FIELDS, longest: float = 600.0
) -> str:
    """The regular expression of a thought's inside, from the line break after `<think>` to the one before `</think>`.

    `fixed` maps field names to values that must stand as they are; `names` are the fields a thought has, in any order;
    `longest` is the most seconds the model may choose.
    """
    wanted = [name for name in FIELDS if name in set(names)]
    return r"\n" + "".join(_line(name, fixed.get(name), longest) + r"\n" for name in wanted)


def _line(name: str, value: Any, longest: float) -> str:
    if value is not None:
        return _escape(_written(name, value))
    if name == "caption":
        return f"caption: ({_FREE['plain']}{_FREE['more']}|{_FREE['quoted']})"
    if name == "genres":
        return f"genres: {_FREE['plain']}"
    return f"({_choices(name, int(longest))})"


@lru_cache(maxsize=64)
def _choices(name: str, longest: int) -> str:
    return "|".join(_escape(_written(name, value)) for value in _values(name, longest))


def _values(name: str, longest: int) -> Sequence[object]:
    """Every value a closed field may take."""
    low, high = vocabulary.BPM_RANGE
    closed: dict[str, Sequence[object]] = {
        "bpm": range(low, high + 1),
        "duration": range(min(SHORTEST_SECONDS, max(1, longest)), max(1, longest) + 1),
        "keyscale": vocabulary.KEYSCALES,
        "language": vocabulary.LANGUAGES,
        "timesignature": vocabulary.TIMESIGNATURES,
    }
    return closed[name]


def _written(name: str, value: object) -> str:
    """One field as YAML writes it, folded and quoted as in training."""
    plain = ROWS[name].write(value)
    if isinstance(plain, int):
        return f"{name}: {plain}"
    return str(yaml.dump({name: plain}, allow_unicode=True)).strip("\n")


def _escape(text: str) -> str:
    return "".join(f"\\{letter}" if letter in r"\.+*?()|[]{}^$#&-~/" else letter for letter in text).replace(
        "\n", r"\n"
    )


class TokenTable:
    """A tokenizer's vocabulary as bytes, with its control tokens apart: what grammar and events are spelled in.

    Made from the vocabulary itself and not by llguidance's own reader, which needs over a minute for 65,000 added tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        self.end = self.id(prompt_template.END)
        self.think = self.id(prompt_template.THINK)
        self.think_end = self.id(prompt_template.THOUGHT)

    def id(self, name: str) -> int:
        """A control token's id; CheckpointError when the tokenizer has none of that name."""
        found = self.tokenizer.convert_tokens_to_ids(name)
        if found is None or found == self.tokenizer.unk_token_id:
            raise CheckpointError(f"This language model's tokenizer has no {name!r} token, so it cannot plan music.")
        return int(found)

    def codes(self, count: int) -> NDArray[np.int64]:
        """Token ids of the codes 0 … count − 1."""
        return np.array([self.id(f"<|audio_code_{code}|>") for code in range(count)], dtype=np.int64)

    @cached_property
    def bytes(self) -> list[bytes]:
        """What each token spells."""
        letters, added = _byte_letters(), dict.fromkeys(self.tokenizer.added_tokens_encoder.values())
        names = self.tokenizer.convert_ids_to_tokens(list(range(self.size)))
        return [_spell(name or "", letters, token in added) for token, name in enumerate(names)]

    @cached_property
    def is_text(self) -> NDArray[np.bool_]:
        """Which tokens are text, that is neither control nor codes."""
        known = np.array([bool(spelled) for spelled in self.bytes])
        known[[token for token in self.tokenizer.added_tokens_encoder.values() if token < self.size]] = False
        return known

    @cached_property
    def grammar_tokenizer(self) -> llguidance.LLTokenizer:
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_TokenizerView(self)), slices=_SLICES)

    def decode(self, tokens: Iterable[int]) -> str:
        """Tokens as text; bytes that are no text become �."""
        return b"".join(self.bytes[token] for token in tokens).decode("utf-8", "replace")


class _TokenizerView:
    """A TokenTable in the shape llguidance asks for."""

    def __init__(self, table: TokenTable) -> None:
        self.tokenizer = table.tokenizer
        self.eos_token_id, self.bos_token_id = table.end, None
        self.tokens = table.bytes
        self.special_token_ids = np.flatnonzero(~table.is_text).tolist()

    def __call__(self, text: bytes | str) -> list[int]:
        return prompt_template.encode_plain(
            text if isinstance(text, str) else text.decode("utf-8", "replace"), self.tokenizer
        )


class GrammarMatcher:
    """One thought under way: what is forced and what is allowed after the tokens accepted so far."""

    def __init__(self, table: TokenTable, pattern: str) -> None:
        self.table = table
        self._matcher = llguidance.LLMatcher(table.grammar_tokenizer, f"start: /{pattern}/")
        self._check()

    @property
    def done(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    def forced(self) -> list[int]:
        """Tokens that must follow, as the tokenizer would write them; they count as accepted."""
        tokens = list(self._matcher.compute_ff_tokens())
        if tokens:
            self._matcher.consume_tokens(tokens)
            self._check()
        return tokens

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may follow."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        mask = np.unpackbits(bits, count=self.table.size, bitorder="little").view(np.bool_)
        mask[self.table.end] = False  # an end is a control token and no part of a thought
        return mask

    def accept(self, token: int) -> None:
        """Advance by one token."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise LabError(f"The planner's grammar failed: {self._matcher.get_error()}")


def _spell(name: str, letters: Mapping[int, int], added: bool) -> bytes:
    """A token's bytes; added tokens are written as they are, others in the letters of byte-level BPE."""
    if not added:
        try:
            return name.translate(letters).encode("latin-1")
        except UnicodeEncodeError:
            pass
    return name.encode("utf-8", "replace")


@lru_cache(maxsize=1)
def _byte_letters() -> dict[int, int]:
    """Letter → byte, both as numbers: printable bytes stand for themselves, the rest follow from 256 (as in GPT-2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in set(plain)]
    return {256 + index: byte for index, byte in enumerate(rest)}
