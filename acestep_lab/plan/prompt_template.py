"""What the language model reads and writes, to the letter: prompts, thoughts, codes, and reading them back.

Knows nothing of token ids, models or sampling. A `PromptTemplate` is a sequence of pieces: control tokens (`<|im_start|>`, `<think>`, a
code) and plain text. Because a piece says which it is, a musician who types `</think>` into the lyrics has typed eight
letters, not an order.

The format is that of the published 5 Hz language models: Qwen's chat template, a system message `# Instruction\\n…\\n\\n`,
the thought as YAML with sorted keys between `<think>` and `</think>`, a blank line, then codes or `# Lyric` text. During
training the assistant's turn stays open from `<think>` to the last code, so the prompt for codes ends in `</think>\\n\\n`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from acestep_lab.files import mended_text
from acestep_lab.plan.fields import FIELDS, ROWS

MODES: dict[str, str] = {
    "plan": "Generate audio semantic tokens based on the given conditions:",
    "understand": "Understand the given musical conditions and describe the audio semantics accordingly:",
    "sketch": "Expand the user's input into a more detailed and specific musical description:",
    "polish": "Format the user's input into a more detailed and specific musical description:",
}
"""Mode → the instruction the models were trained with."""

NO_INPUT = "NO USER INPUT"
INSTRUMENTAL = "[Instrumental]"
START, END, THINK, THOUGHT = "<|im_start|>", "<|im_end|>", "<think>", "</think>"

_CODE = re.compile(r"<\|audio_code_(\d+)\|>")
_CLOSE = re.compile(r"^</think>", re.MULTILINE)
_FIELD = re.compile(rf"^({'|'.join(FIELDS)}):(.*)$")
_LYRIC_HEADING = re.compile(r"\A#\s*lyrics?[ \t]*(?:\n|\Z)", re.IGNORECASE)


class Tokenizer(Protocol):
    """The few methods of a `transformers` fast tokenizer that a template needs."""

    def __call__(self, text: str, **options: Any) -> Mapping[str, Any]: ...
    def convert_tokens_to_ids(self, tokens: str) -> Any: ...
    @property
    def added_tokens_encoder(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class Piece:
    """A control token by its name, or plain text in which nothing is control."""

    text: str
    control: bool = False


@dataclass(frozen=True)
class PromptTemplate:
    """Pieces in order; `str(template)` is the text, `template.encode(tokenizer)` the token ids."""

    pieces: tuple[Piece, ...] = ()

    def __add__(self, other: PromptTemplate) -> PromptTemplate:
        return PromptTemplate(self.pieces + other.pieces)

    def __str__(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    def encode(self, tokenizer: Tokenizer) -> list[int]:
        """Token ids; the same as encoding the whole text, save that typed control tokens stay plain letters."""
        return [token for piece in self._joined() for token in _encode(piece, tokenizer)]

    def _joined(self) -> list[Piece]:
        """Neighbouring plain pieces made one, so that no word is torn where two pieces meet."""
        joined: list[Piece] = []
        for piece in self.pieces:
            if joined and not piece.control and not joined[-1].control:
                joined[-1] = Piece(joined[-1].text + piece.text)
            else:
                joined.append(piece)
        return joined


def plain(text: str) -> PromptTemplate:
    """Text in which nothing is control."""
    return PromptTemplate((Piece(text),))


def control(name: str) -> PromptTemplate:
    """One control token."""
    return PromptTemplate((Piece(name, control=True),))


def encode_plain(text: str, tokenizer: Tokenizer) -> list[int]:
    """Token ids of text in which a control token's spelling is only letters.

    Tokenizers match added tokens anywhere in a text, marked special or not; so the text is cut inside each such match.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    added = _added_ids(tokenizer)
    for token, (start, _) in zip(found["input_ids"], found["offset_mapping"], strict=True):
        if token in added:
            return _encode_cut(text, start, tokenizer)
    return list(found["input_ids"])


def _encode_cut(text: str, start: int, tokenizer: Tokenizer) -> list[int]:
    """The first match starts at `start`: its first letter ends one piece, the rest is searched again."""
    head, tail = text[: start + 1], text[start + 1 :]
    head_ids = tokenizer(head, add_special_tokens=False)["input_ids"]
    return list(head_ids) + (encode_plain(tail, tokenizer) if tail else [])


def _added_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Ids of the added tokens; remembered on the tokenizer, which takes a second to list 65,000 of them."""
    found: frozenset[int] | None = getattr(tokenizer, "_ids_of_added_tokens", None)
    if found is None:
        found = frozenset(tokenizer.added_tokens_encoder.values())
        tokenizer._ids_of_added_tokens = found  # type: ignore[attr-defined]
    return found


def _encode(piece: Piece, tokenizer: Tokenizer) -> list[int]:
    if piece.control:
        return [tokenizer.convert_tokens_to_ids(piece.text)]
    return encode_plain(piece.text, tokenizer) if piece.text else []


# ── prompts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan_prompt(caption: str, lyrics: str) -> PromptTemplate:
    """The prompt of a plan: words in, a thought and codes out."""
    return _chat("plan", plain(f"# Caption\n{caption}\n\n# Lyric\n{lyrics}\n"))


def negative_prompt(caption: str, lyrics: str, negative: str = NO_INPUT, *, legacy: bool = False) -> PromptTemplate:
    """The unconditional side while writing codes, up to and including an empty thought.

    Training dropped the whole user message for `NO USER INPUT`; the older (`legacy`) layout kept caption and lyrics and
    dropped only the thought, so that guidance could not strengthen the words (ACE-Step 1.5, change 1127).
    """
    if not legacy:
        return _chat("plan", plain(_or(negative, NO_INPUT))) + thought_block("")
    return plan_prompt(negative if _meant(negative) else caption, lyrics) + thought_block("")


def sketch_prompt(sentence: str, instrumental: bool = False) -> PromptTemplate:
    """The prompt of a sketch: one sentence in, caption, lyrics and metadata out."""
    return _chat("sketch", plain(f"{_or(sentence, NO_INPUT)}\n\ninstrumental: {str(instrumental).lower()}"))


def polish_prompt(caption: str, lyrics: str) -> PromptTemplate:
    """The prompt of a polish: rough words in, better words and metadata out."""
    return _chat("polish", plain(f"# Caption\n{_or(caption, NO_INPUT)}\n\n# Lyric\n{_or(lyrics, INSTRUMENTAL)}"))


def understand_prompt(codes: Iterable[int]) -> PromptTemplate:
    """The prompt of understanding: codes in, words and metadata out."""
    return _chat("understand", code_tokens(codes))


def null_prompt() -> PromptTemplate:
    """`understand_prompt` without codes: the baseline of the plan score."""
    return _chat("understand", plain(NO_INPUT))


def _chat(mode: str, user: PromptTemplate) -> PromptTemplate:
    """Qwen's chat template, written out: system, user, and the assistant's turn left open."""
    system = control(START) + plain(f"system\n# Instruction\n{MODES[mode]}\n\n") + control(END) + plain("\n")
    user_turn = control(START) + plain("user\n") + user + control(END) + plain("\n")
    return system + user_turn + control(START) + plain("assistant\n")


def _or(text: str, default: str) -> str:
    return text if text.strip() else default


def _meant(negative: str) -> bool:
    return negative.strip() not in ("", NO_INPUT)


# ── answers ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def thought(fields: Mapping[str, Any] | object, names: Iterable[str] = FIELDS) -> str:
    """The YAML between the think tags: sorted keys, unicode, folded lines; what is None is left out.

    `fields` is a mapping or any value with such attributes; seconds may be called `seconds` or `duration`.
    """
    values = {name: ROWS[name].write(value) for name in names if (value := _value(fields, name)) not in (None, "")}
    import yaml

    return str(yaml.dump(values, allow_unicode=True, sort_keys=True)).strip() if values else ""


def thought_block(text: str) -> PromptTemplate:
    """A finished thought with its tags and the blank line after it."""
    return control(THINK) + plain(f"\n{text}\n") + control(THOUGHT) + plain("\n\n")


def codes_text(codes: Iterable[int]) -> str:
    """Codes as the one string the reference accepts: `<|audio_code_5|><|audio_code_17|>…`."""
    return "".join(f"<|audio_code_{code}|>" for code in codes)


def code_tokens(codes: Iterable[int]) -> PromptTemplate:
    """Codes as control tokens."""
    return PromptTemplate(tuple(Piece(f"<|audio_code_{code}|>", control=True) for code in codes))


def lyric_answer(lyrics: str) -> PromptTemplate:
    """Lyrics as an answer gives them, after the thought."""
    return plain(f"# Lyric\n{lyrics}\n")


def closing() -> PromptTemplate:
    """The end of the assistant's turn."""
    return control(END) + plain("\n")


def example(mode: str, fields: Mapping[str, Any] | object, **prompt: Any) -> tuple[PromptTemplate, PromptTemplate]:
    """Prompt and answer of one training example; learn on the answer only, `prompt + answer` is the whole text.

    `mode` is a key of `MODES`. `fields` holds caption, lyrics, bpm, seconds, keyscale, language, timesignature, genres,
    codes. `prompt` replaces what the prompt says where it is not what the answer says: `caption` and `lyrics` for plan
    and polish, `sentence` and `instrumental` for sketch. In plan mode the thought has no genres, as in generation.
    """
    caption, lyrics = str(_get(fields, "caption") or ""), str(_get(fields, "lyrics") or "")
    codes: tuple[int, ...] = tuple(_get(fields, "codes") or ())
    asked: dict[str, Any] = {"caption": caption, "lyrics": lyrics, "sentence": caption}
    asked |= {"instrumental": lyrics in ("", INSTRUMENTAL)} | prompt
    if mode == "plan":
        body = thought_block(thought(fields, PLAN_FIELDS)) + code_tokens(codes)
        return plan_prompt(asked["caption"], asked["lyrics"]), body + closing()
    answer = thought_block(thought(fields)) + lyric_answer(lyrics or INSTRUMENTAL) + closing()
    prompts = {
        "sketch": lambda: sketch_prompt(asked["sentence"], asked["instrumental"]),
        "polish": lambda: polish_prompt(asked["caption"], asked["lyrics"]),
        "understand": lambda: understand_prompt(codes),
    }
    return prompts[mode](), answer


PLAN_FIELDS: tuple[str, ...] = tuple(name for name in FIELDS if name != "genres")
"""What a thought before codes holds: everything but genres, which only descriptions have."""


def _value(fields: Mapping[str, object] | object, name: str) -> object:
    value = _get(fields, name)
    return value if value is not None else _get(fields, ROWS[name].attribute)


def _get(fields: Mapping[str, Any] | object, name: str) -> Any:
    return fields.get(name) if isinstance(fields, Mapping) else getattr(fields, name, None)


# ── reading back ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ParsedAnswer:
    """What could be read: values by attribute name (`bpm`, `seconds`, …), codes, lyrics, and a sentence per trouble."""

    fields: dict[str, Any] = field(default_factory=dict)
    codes: tuple[int, ...] = ()
    lyrics: str = ""
    thought: str = ""
    problems: dict[str, str] = field(default_factory=dict)


def parse(text: str, codes: int | None = None) -> ParsedAnswer:
    """A whole answer (thought, then codes or lyrics) as values; never raises, what is odd is named in `problems`.

    `codes` is how many codes the checkpoint has; numbers beyond it are left out and reported.
    """
    inside, after = _split(mended_text(text))
    fields, problems = parse_thought(inside)
    numbers = [int(number) for number in _CODE.findall(after) if len(number) < 10]
    known = tuple(number for number in numbers if codes is None or number < codes)
    if len(known) < len(_CODE.findall(after)):
        problems["codes"] = (
            f"{len(_CODE.findall(after)) - len(known)} codes lie beyond the {codes} this checkpoint knows."
        )
    return ParsedAnswer(fields, known, parse_lyrics(_CODE.sub("", after)), inside, problems)


def parse_thought(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The YAML of a thought as (values by attribute name, problems by field name); line by line, so one bad line stays one."""
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, raw in _raw_fields(mended_text(text)).items():
        try:
            values[ROWS[name].attribute] = ROWS[name].read(raw)
        except ValueError as trouble:
            problems[name] = str(trouble)
    return values, problems


def parse_lyrics(text: str) -> str:
    """The lyrics after a thought, without heading and end token."""
    text = mended_text(text).strip().removesuffix(END).strip()
    return _LYRIC_HEADING.sub("", text).strip()


def _split(text: str) -> tuple[str, str]:
    """(inside the think tags, after them); an answer without tags is split where the first code begins."""
    close = _CLOSE.search(text) or re.search(THOUGHT, text)
    if close is None:
        first = _CODE.search(text)
        cut = first.start() if first else len(text)
        return text[:cut].replace(THINK, "", 1).strip(), text[cut:]
    opened = text[: close.start()].split(THINK, 1)[-1]
    return opened.strip("\n"), text[close.end() :]


def _raw_fields(text: str) -> dict[str, str]:
    """Field name → its text, quotes and folding undone; lines that belong to no field are passed over."""
    chunks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        match = _FIELD.match(line)
        if match and match[1] not in chunks:
            lines = chunks[match[1]] = [match[2]]
        elif not line or line[0].isspace():
            lines.append(line)
        else:
            lines = []
    return {name: _scalar("\n".join(chunk)) for name, chunk in chunks.items()}


def _scalar(text: str) -> str:
    """A YAML scalar as text; quoting is honoured when it is whole, and is only letters when it is not."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        import yaml

        try:
            value = yaml.load(text, Loader=yaml.BaseLoader)  # strings only
        except (yaml.YAMLError, ValueError):
            value = None
        if isinstance(value, str):
            return value
    return _folded(text)


def _folded(text: str) -> str:
    """Plain YAML folding: one line break is a space, an empty line is a line break."""
    paragraphs = re.split(r"\n[ \t]*\n", text)
    return "\n".join(" ".join(line.strip() for line in part.split("\n")).strip() for part in paragraphs).strip()
