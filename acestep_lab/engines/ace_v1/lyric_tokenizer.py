"""Lyrics become the tokens ACE-Step v1 sings, line by line, each after the sign of its language. Knows no model.

    LyricReader(folder).read("[Verse 1]\\nBonjour", "fr").ids     (261, 259, 6683, 2, 262, …, 2)

261 begins, 2 stands for a space and ends a line. A blank text is the one token 0, masked, and needs no vocabulary. What was not
read is told in `remarks`. The vocabulary is no part of the published checkpoint and has to be fetched by its user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from acestep_lab.engines.ace_v1 import languages
from acestep_lab.engines.ace_v1.lyric_cleaning import Readers, clean
from acestep_lab.errors import CheckpointError, RecipeError, shown
from acestep_lab.models.weights import read_json, short
from acestep_lab.prompt import checks
from acestep_lab.settings import VARIABLES

START, LINE_END, UNKNOWN, NO_WORDS_TOKEN = 261, 2, 1, 0
MOST_TOKENS = 4096
STRUCTURE = (
    "start", "intro", "verse", "pre-chorus", "chorus", "bridge", "outro", "end", "inst", "solo", "hook", "break",
)  # fmt: skip
"""The section tags with a token of their own."""
SETTING = "ACESTEP_LAB_LYRIC_VOCABULARY"
PLACES = ("lyric_tokenizer/vocab.json", "vocab.json", "ace_step_transformer/vocab.json")
"""Where a checkpoint's folder may have the vocabulary."""

_FIXED = {"[STOP]": NO_WORDS_TOKEN, "[UNK]": UNKNOWN, "[SPACE]": LINE_END, "[START]": START}
_MEANT = {"instrumental": "inst", "interlude": "inst", "prechorus": "pre-chorus", "refrain": "chorus", "ending": "end"}
_TAG = re.compile(r"\[([^\[\]]*)\]\s*(.*)")


@dataclass(frozen=True)
class LyricTokens:
    """A song's words as the lyric encoder takes them."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]
    """1 for each token that is heard."""
    languages: tuple[str, ...] = ()
    """Of each line that is sung, in order."""
    remarks: tuple[str, ...] = ()
    """Sentences on what was not read, or read otherwise than it is written."""


NO_WORDS = LyricTokens((NO_WORDS_TOKEN,), (0,))
"""A song without words."""


class LyricReader:
    """What reads the lyrics of one checkpoint; the vocabulary is opened when there are words."""

    def __init__(
        self, folder: Path, size: int = 6693, readers: Readers | None = None, guess: languages.Guess | None = None
    ) -> None:
        """`folder` is the checkpoint's, `size` how many tokens its lyric encoder knows; `readers` and `guess` stand in for the
        libraries.
        """
        self.folder, self.size, self.readers, self.guess = folder, size, readers, guess

    def read(self, lyrics: str, language: str | None = None) -> LyricTokens:
        """The tokens of a song in the language a recipe names, or in that of each line.

        CheckpointError where the vocabulary is missing or damaged, RecipeError for a language that v1 does not read or whose
        library is not installed.
        """
        lyrics = checks.text("The text of the lyrics", lyrics, verbatim=True)
        return self.tokenizer.read(lyrics, language) if lyrics.strip() else NO_WORDS

    @cached_property
    def tokenizer(self) -> LyricTokenizer:
        """The vocabulary at work."""
        file = find_vocabulary(self.folder)
        return LyricTokenizer(open_vocabulary(file, self.size), self.readers, self.guess)


def find_vocabulary(folder: Path) -> Path:
    """The vocabulary in a checkpoint's folder, or where the setting says; CheckpointError saying where to get it."""
    for place in PLACES:
        if (folder / place).is_file():
            return folder / place
    if named := VARIABLES.get(SETTING):
        if not (file := Path(named).expanduser()).is_file():
            raise CheckpointError(f"{SETTING} names {shown(named)}, where no file is.")
        return file
    raise CheckpointError(
        f"To sing, ACE-Step v1 needs vocab.json of github.com/ace-step/ACE-Step (acestep/models/lyrics_utils) in "
        f"{short(folder / 'lyric_tokenizer')}, or named in {SETTING}; songs without words need none."
    )


def open_vocabulary(file: Path, size: int = 6693) -> Tokenizer:
    """A vocabulary file as a tokenizer; CheckpointError unless it is that of ACE-Step v1's lyrics."""
    read_json(file)  # missing, damaged or no table: said there
    try:
        found = Tokenizer.from_file(str(file))
    except Exception as reason:  # the library raises nothing more particular
        raise CheckpointError(
            f"The vocabulary in {short(file)} cannot be read ({shown(' '.join(str(reason).split()), 100)})."
        ) from reason
    for sign, place in _FIXED.items():
        if (there := found.token_to_id(sign)) != place:
            raise CheckpointError(
                f"In {short(file)}, {sign} is {shown(there)} where ACE-Step v1 has {place}: it is another vocabulary."
            )
    if found.get_vocab_size() > size:
        raise CheckpointError(
            f"The vocabulary in {short(file)} has {found.get_vocab_size():,} tokens and the model {size:,}: they are not of a "
            "kind."
        )
    found.no_padding()
    found.no_truncation()
    return found


@dataclass(frozen=True)
class _Line:
    """One line as it is encoded: a section tag, something sung, or nothing."""

    number: int
    text: str
    tag: bool = False


class LyricTokenizer:
    """A vocabulary, and what makes lines of lyrics fit it."""

    def __init__(
        self, vocabulary: Tokenizer, readers: Readers | None = None, guess: languages.Guess | None = None
    ) -> None:
        self.vocabulary, self.readers, self.guess = vocabulary, readers or Readers(), guess

    def read(self, lyrics: str, language: str | None = None) -> LyricTokens:
        """The tokens of a song; at most MOST_TOKENS, and what goes beyond is told."""
        notes = _Notes(self.readers.number is not None)
        lines = list(self._lines(lyrics, notes))
        sung_lines = ["" if line.tag else line.text for line in lines]
        spoken = languages.languages_of(sung_lines, language, self.guess, [line.number for line in lines])
        self._note_guess(lines, language, notes)
        ids, sung = [START], []
        for line, code in zip(lines, spoken, strict=True):
            ids += [*(self._encoded(line, "en" if line.tag else code, notes) if line.text else ()), LINE_END]
            if len(ids) > MOST_TOKENS:
                notes.cut = line.number
                break
            sung += [code] if line.text and not line.tag else []
        ids = ids[:MOST_TOKENS]
        return LyricTokens(tuple(ids), (1,) * len(ids), tuple(sung), notes.sentences())

    def _lines(self, lyrics: str, notes: _Notes) -> Iterator[_Line]:
        """The lines, section tags that words follow on lines of their own."""
        for number, line in enumerate(lyrics.split("\n"), 1):
            text = line.strip()
            tag = _TAG.fullmatch(text)
            while tag is not None:
                yield _Line(number, self._structure(tag[1], notes), tag=True)
                text = tag[2]
                tag = _TAG.fullmatch(text)
            if text or not line.strip():
                yield _Line(number, text)

    def _structure(self, inside: str, notes: _Notes) -> str:
        """A section tag as the vocabulary has it: "Verse 2" is [verse], "Guitar Solo" [solo]."""
        name = " ".join(inside.lower().split())
        if self.vocabulary.token_to_id(f"[{name}]") is not None:
            return f"[{name}]"
        words = re.findall(r"[^\W\d_]+", name.replace("pre-chorus", "prechorus").replace("pre chorus", "prechorus"))
        known = [meant for one in words if (meant := _MEANT.get(one, one)) in STRUCTURE]
        if not known:
            notes.strange[inside.strip()] = None
            return f"[{name}]"
        if len(words) > 1:
            notes.shortened[inside.strip()] = known[0]
        return f"[{known[0]}]"

    def _encoded(self, line: _Line, language: str, notes: _Notes) -> list[int]:
        """One line after the sign of its language."""
        sign = "[zh-cn]" if language == "zh" else f"[{language}]"
        if self.vocabulary.token_to_id(sign) is None:
            raise RecipeError(
                f"Line {line.number} of the lyrics is in {languages.NAMES[language]}, which this vocabulary lacks."
            )
        cleaned = clean(line.text, language, self.readers)
        notes.numbers |= dict.fromkeys(cleaned.unread)
        text = sign + cleaned.text.replace(" ", "[SPACE]")
        found: Any = self.vocabulary.encode(text)
        signs = [text[slice(*place)] for token, place in zip(found.ids, found.offsets, strict=True) if token == UNKNOWN]
        notes.letters |= dict.fromkeys(one for one in signs if not (line.tag and one in "[]"))
        return list(found.ids)

    def _note_guess(self, lines: Sequence[_Line], language: str | None, notes: _Notes) -> None:
        """Tell where words in Latin letters were taken for English since nothing could say better."""
        named = languages.spoken(language) in languages.WRITTEN_IN["latin"]
        if not named and self.guess is None and languages.guesser() is None:
            notes.english = any(languages.script_of(line.text) == "latin" for line in lines if not line.tag)


class _Notes:
    """What happened on the way that a musician wants to know, each thing once."""

    def __init__(self, has_numbers: bool) -> None:
        self.has_numbers = has_numbers
        self.letters: dict[str, None] = {}
        self.numbers: dict[str, None] = {}
        self.strange: dict[str, None] = {}
        self.shortened: dict[str, str] = {}
        self.english = False
        self.cut: int | None = None

    def sentences(self) -> tuple[str, ...]:
        """The remarks."""
        return tuple(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if self.letters:
            yield f"The lyric vocabulary has no sign for {_first(self.letters)}: not sung as written."
        if self.numbers and self.has_numbers:
            yield f"Numbers that have no words stayed digits: {_first(self.numbers)}."
        elif self.numbers:
            yield f'Numbers stayed digits ({_first(self.numbers)}): `pip install "acestep_lab[ace-v1]"` reads them in words.'
        if self.shortened:
            told = {f"[{written}]": meant for written, meant in self.shortened.items()}
            yield f"ACE-Step v1 knows {len(STRUCTURE)} section tags; read as the nearest were {_first(told)}."
        if self.strange:
            yield f"ACE-Step v1 may sing tags it does not know: {_first(self.strange)}; it knows {', '.join(STRUCTURE)}."
        if self.english:
            yield 'Lines in Latin letters were taken for English; name the language, or `pip install "acestep_lab[ace-v1]"`.'
        if self.cut is not None:
            yield f"ACE-Step v1 reads {MOST_TOKENS:,} tokens of lyrics: from line {self.cut} on they were not read."


def _first(things: Sequence[str] | dict[str, Any], most: int = 5) -> str:
    """A few things as a sentence quotes them, and how many more there are."""
    told = ", ".join(shown(one, 30) for one in list(things)[:most])
    return f"{told} and {len(things) - most} more" if len(things) > most else told


def batch(songs: Sequence[LyricTokens]) -> tuple[Tensor, Tensor]:
    """The words of several songs, each its own, as ids and mask [songs, longest] (int64); short ones are filled up, masked."""
    longest = max(len(song.ids) for song in songs)
    ids = torch.full((len(songs), longest), NO_WORDS_TOKEN)
    mask = torch.zeros_like(ids)
    for row, song in enumerate(songs):
        ids[row, : len(song.ids)], mask[row, : len(song.ids)] = torch.tensor(song.ids), torch.tensor(song.mask)
    return ids, mask
