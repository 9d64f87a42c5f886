"""What may be wrong with a song to learn from, as remarks on its row: its words at once, its sound when it is asked for.

Knows samples and words; no model. A tokenizer may be handed in; without one, tokens are counted by the letters they take.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import SourceError, shown
from acestep_lab.prompt import lyrics as sheet
from acestep_lab.train.duplicates import Duplicates
from acestep_lab.train.encodings import garbled
from acestep_lab.train.song import TEXTS, Remark, Song

Tokens = Callable[[str], int]
"""Counts the tokens of a text."""

SHORTEST_SECONDS = 5.0
"""What is shorter gives a crop too little to learn from."""

SILENT_DB = -60.0
"""Root mean square, in dB of full scale, below which a song is silence."""

LYRIC_TOKENS, CAPTION_TOKENS = 2048, 256
"""What inference reads of lyrics, and of caption and metadata."""

CLIPPED_RUNS = 10
"""Flat tops a song may have; a master may touch full scale here and there."""
_FLAT_SAMPLES = 3
_FULL_SCALE = 0.985

WORD_KINDS = frozenset({"unlabelled", "script", "tags", "long", "garbled", "instrumental"})
SOUND_KINDS = frozenset({"short", "silent", "clipped", "duplicate", "unreadable"})

_HAN, _KANA = frozenset({"CJK"}), frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"})
_LATIN = frozenset({"LATIN"})
SCRIPTS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("zh", "yue"), _HAN),
    "ja": _HAN | _KANA,
    "ko": frozenset({"HANGUL", "CJK"}),
    **dict.fromkeys(("ru", "uk", "bg"), frozenset({"CYRILLIC"})),
    "sr": _LATIN | {"CYRILLIC"},
    "az": _LATIN | {"CYRILLIC", "ARABIC"},
    "el": frozenset({"GREEK"}),
    "he": frozenset({"HEBREW"}),
    **dict.fromkeys(("ar", "fa", "ur"), frozenset({"ARABIC"})),
    **dict.fromkeys(("hi", "ne", "sa"), frozenset({"DEVANAGARI"})),
    "bn": frozenset({"BENGALI"}),
    "pa": frozenset({"GURMUKHI", "ARABIC"}),
    "ta": frozenset({"TAMIL"}),
    "te": frozenset({"TELUGU"}),
    "th": frozenset({"THAI"}),
}
"""Scripts a language is written in, as Unicode begins its letters' names; every other language in Latin letters."""

_NAMES = {"CJK": "Chinese characters", "LATIN": "Latin letters", "ARABIC": "Arabic letters", "HANGUL": "Hangul"}


# -- words -------------------------------------------------------------------------------------------------------------


def word_remarks(song: Song, tokens: Tokens | None = None) -> tuple[Remark, ...]:
    """What is odd about the words of a song."""
    labels = song.labels
    if all(label.is_open for label in labels.values()):
        return (Remark("unlabelled", "Nothing is said of this song yet."),)
    sung = _sung(song.lyrics)
    found = [*_garbled(song), *_script(song.language, song.lyrics), *_tags(song), *_too_long(song, tokens)]
    if song.instrumental and sung:
        sentence = "It is said to be instrumental and has lyrics."
        found.append(Remark("instrumental", sentence, "instrumental"))
    return tuple(found)


def _garbled(song: Song) -> Iterator[Remark]:
    for name in TEXTS:
        if garbled(str(song.labels[name].value or "")):
            sentence = f"The {name} looks as if it was read in a wrong encoding."
            yield Remark("garbled", sentence, name)


def _sung(lyrics: str) -> str:
    """Lyrics without their section tags."""
    return "\n".join(line for line in lyrics.split("\n") if not line.strip().startswith("[")).strip()


@functools.lru_cache(maxsize=20_000)
def _script_of(ch: str) -> str:
    """The script of a letter, "" for what is none."""
    if not ch.isalpha():
        return ""
    name = unicodedata.name(ch, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")
    return name.split(" ")[0]


def scripts_of(text: str) -> Counter[str]:
    """How many letters of each script a text has."""
    found: Counter[str] = Counter()
    for ch, count in Counter(text).items():
        if script := _script_of(ch):
            found[script] += count
    return found


def _script(language: str | None, lyrics: str) -> Iterator[Remark]:
    if language in (None, "unknown"):
        return
    found = scripts_of(_sung(lyrics))
    letters, wanted = sum(found.values()), SCRIPTS.get(str(language), _LATIN)
    if letters < 4:
        return
    most = found.most_common(1)[0][0]
    kana = sum(found[one] for one in _KANA)
    if sum(found[one] for one in wanted) < 0.5 * letters or (language in ("zh", "yue") and kana > 0.1 * letters):
        seen = "kana" if most in wanted or most in _KANA else _NAMES.get(most, f"{most.capitalize()} letters")
        yield Remark("script", f"The language is {language!r}, and the lyrics are in {seen}.", "language")
    elif language == "ja" and letters >= 20 and not kana:
        yield Remark("script", "The language is 'ja', and the lyrics have no kana: they look Chinese.", "language")


def _tags(song: Song) -> Iterator[Remark]:
    """Tags nobody was taught, look-alikes, open brackets, more words than the song has room for."""
    if not song.lyrics:
        return
    found = sheet.remarks(song.lyrics, song.seconds, song.bpm)
    for text in list(dict.fromkeys(remark.text for remark in found))[:5]:
        yield Remark("tags", text, "lyrics")


def _too_long(song: Song, tokens: Tokens | None) -> Iterator[Remark]:
    about = "" if tokens else "about "
    for name, most in (("lyrics", LYRIC_TOKENS), ("caption", CAPTION_TOKENS)):
        text = str(song.labels[name].value or "")
        if len(text) < most // 8:  # a letter takes four tokens at most, most take a quarter of one
            continue
        count = tokens(text) if tokens else tokens_by_letters(text)
        if count > most:
            sentence = f"The {name} have {about}{count:,} tokens, and {most:,} are read: the end is lost."
            yield Remark("long", sentence.replace("caption have", "caption has"), name)


def tokens_by_letters(text: str) -> int:
    """About how many tokens a text has: four plain letters, or one of another script, make one."""
    plain = sum(ch < "\u0250" for ch in text)
    return round(plain / 4 + (len(text) - plain))


# -- sounds ------------------------------------------------------------------------------------------------------------


def sound_remarks(audio: Audio, shortest: float = SHORTEST_SECONDS) -> tuple[Remark, ...]:
    """What is odd about a sound by itself: too short (in seconds), silent, clipped."""
    found = []
    if audio.seconds < shortest:
        found.append(
            Remark("short", f"It lasts {audio.seconds:.1f} s; at least {shortest:g} s are worth learning from.")
        )
    level = _level(audio)
    if level < SILENT_DB:
        found.append(Remark("silent", "It is silent." if level < -150 else f"It is nearly silent ({level:.0f} dB)."))
    if (runs := clipped_runs(audio.samples)) > CLIPPED_RUNS:
        found.append(
            Remark("clipped", f"It is clipped at {runs:,} places: its tops are cut off, which would be learnt.")
        )
    return tuple(found)


def _level(audio: Audio) -> float:
    """Root mean square over all channels, in dB of full scale."""
    power = sum(float(np.vdot(channel, channel)) for channel in audio.samples) / max(audio.samples.size, 1)
    return float(10 * np.log10(power + 1e-20))


def clipped_runs(samples: np.ndarray) -> int:
    """How many flat tops `[channels, samples]` have: runs of equal samples at full scale."""
    total = 0
    for channel in samples:
        loud = np.abs(channel) >= _FULL_SCALE
        if loud.sum() < _FLAT_SAMPLES:
            continue
        flat = np.zeros(len(channel) + 1, np.int8)
        flat[1:-1] = loud[1:] & (channel[1:] == channel[:-1])  # each sample that repeats the one before it
        edges = np.flatnonzero(np.diff(flat))
        total += int((edges[1::2] - edges[::2] >= _FLAT_SAMPLES - 1).sum())
    return total


def checked(
    songs: Iterable[Song],
    tokens: Tokens | None = None,
    sounds: bool = True,
    shortest: float = SHORTEST_SECONDS,
    on_song: Callable[[int, Song], object] | None = None,
) -> list[Song]:
    """The same songs with all remarks new; `shortest` in seconds. Sounds are read one after another and let go.

    `on_song` is called with each song's number before it is read, and may raise to stop.
    """
    songs = list(songs)
    found = [rechecked(song, tokens) for song in songs]
    if not sounds:
        return found
    duplicates = Duplicates()
    heard: list[tuple[Remark, ...]] = []
    for number, song in enumerate(songs):
        if on_song is not None:
            on_song(number, song)
        heard.append(_heard(song, duplicates, shortest))
    same = duplicates.pairs({song.name: song for song in songs})
    return [
        replace(
            song,
            remarks=(
                *(one for one in song.remarks if one.kind not in SOUND_KINDS),
                *remarks,
                *_duplicate(same.get(song.name)),
            ),
        )
        for song, remarks in zip(found, heard, strict=True)
    ]


def rechecked(song: Song, tokens: Tokens | None = None) -> Song:
    """A song with the remarks about its words new."""
    remarks = (*(one for one in song.remarks if one.kind not in WORD_KINDS), *word_remarks(song, tokens))
    return song if remarks == song.remarks else replace(song, remarks=remarks)


def _heard(song: Song, duplicates: Duplicates, shortest: float) -> tuple[Remark, ...]:
    try:
        audio = song.audio()
    except SourceError as problem:
        return (Remark("unreadable", f"It cannot be read: {problem}"),)
    remarks = sound_remarks(audio, shortest)
    if not any(remark.kind == "silent" for remark in remarks):
        duplicates.add(song.name, audio)
    return remarks


def _duplicate(other: str | None) -> tuple[Remark, ...]:
    if other is None:
        return ()
    return (Remark("duplicate", f"It is the same sound as {shown(other, 120)}.", other=other),)
