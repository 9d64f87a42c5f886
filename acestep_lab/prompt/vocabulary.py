"""The closed vocabularies of ACE-Step 1.5: keys, meters, languages, stems, section tags, instructions.

Knows no torch and no model. The strings are the ones the published models were trained on
(arXiv 2602.00744 and its public inference code), so they must not be prettified.
"""

from __future__ import annotations

import re

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks, keys, languages
from acestep_lab.prompt.checks import nearest

BPM_RANGE = (30, 300)
"""Beats per minute the published planner accepts, both ends included."""

TIMESIGNATURES = ("2", "3", "4", "6")
"""Beats per bar as the models write them: "4" is 4/4, "6" is 6/8."""

NOTES = ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B")
"""The spellings musicians use; every letter × accidental of KEYSCALES is accepted."""

KEYSCALES = tuple(
    f"{letter}{accidental} {mode}"
    for letter in "ABCDEFG"
    for accidental in ("", "#", "b", "♯", "♭")
    for mode in ("major", "minor")
)
"""The 70 keys of the planner's grammar, the two accidental glyphs included."""

LANGUAGES = tuple(
    "ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru "
    "sa sk sr sv sw ta te th tl tr uk ur vi yue zh unknown".split()
)
"""Codes the lyric header may carry; "unknown" is a value of its own."""

STEMS = (
    "woodwinds", "brass", "fx", "synth", "strings", "percussion",
    "keyboard", "guitar", "bass", "drums", "backing_vocals", "vocals",
)  # fmt: skip
"""The 12 track names of extract, lego and complete."""

SECTION_TAGS = (
    "Intro", "Verse", "Pre-Chorus", "Chorus", "Post-Chorus", "Hook", "Bridge", "Interlude", "Piano Interlude", "Instrumental", "Solo",
    "Guitar Solo", "Build", "Drop", "Breakdown", "Break", "Outro", "Fade Out", "Silence",
)  # fmt: skip
"""Section tags of the published tutorial; others are allowed, with a remark."""

INSTRUCTIONS = {
    "text2music": "Fill the audio semantic mask based on the given conditions:",
    "repaint": "Repaint the mask area based on the given conditions:",
    "cover": "Generate audio semantic tokens based on the given conditions:",
    "extract": "Extract the {} track from the audio:",
    "lego": "Generate the {} track based on the audio context:",
    "complete": "Complete the input track with {}:",
}
"""The instruction line the DiT reads, by task; stems are filled in in capitals, joined by " | "."""

INSTRUMENTAL = "[Instrumental]"
"""Lyrics that ask for no voice."""


def keyscale(value: object) -> str:
    """Return a key in the models' spelling ("c♯ min", "cis-moll", "C#:min" → "C# minor"); RecipeError if it is none.

    `prompt.keys` says which spellings are read, and that "B-Dur" is B flat.
    """
    text = checks.bare(value)
    if (found := keys.read(text)) is not None:
        return str(found)
    hint = ""
    if mode := keys.church_mode(text):
        hint = f" These models know no {mode[0]}; the nearest is {str(mode[1])!r}."
    raise RecipeError(
        f"{shown(value)} is no key.{hint} A key is a note from A to G, perhaps with # or b, and major or minor: 'F# minor'."
    )


_PITCH = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def key_parts(text: str) -> tuple[int, bool]:
    """Return (pitch class of the tonic with C = 0, whether it is minor)."""
    name, mode = keyscale(text).split(" ")
    shift = {"#": 1, "b": -1}.get(name[1:], 0)
    return (_PITCH[name[0]] + shift) % 12, mode == "minor"


_METER = re.compile(r"^(\d{1,3}(?:\.0+)?)\s*(?:[/／|:]\s*(2|4|8))?(?:\s*[- ]?(?:time|beats?|beats in a bar|takt))?$")


def timesignature(value: object) -> str:
    """Return "2", "3", "4" or "6" from 4, "4", "4/4", "6/8 time"; RecipeError otherwise."""
    text = checks.word(value)
    beats = _decimal(match.group(1)) if (match := _METER.match(text[:40])) else checks.plain_number(value)
    found = next((known for known in TIMESIGNATURES if beats is not None and beats == int(known)), None)
    if found is None:
        raise RecipeError(
            f"{shown(value)} is no meter these models know. They know 2, 3, 4 and 6 beats in a bar: '4/4'."
        )
    return found


_TEMPO = re.compile(r"^(?:tempo|bpm|[♩♪𝅘])?\s*[:=]?\s*([\d.,]{1,12})\s*(?:bpm|beats per minute|beats/min(?:ute)?)?$")


def bpm(value: object) -> int:
    """Return a tempo as a whole number of beats per minute in BPM_RANGE ("120 bpm" as well); RecipeError otherwise."""
    low, high = BPM_RANGE
    text = checks.word(value)
    match = _TEMPO.match(text[:60])
    number = _decimal(match.group(1)) if match else checks.plain_number(value)
    if number is None:
        raise RecipeError(f"A tempo is a number of beats per minute from {low} to {high}, not {shown(value)}.")
    if not low <= number <= high:
        raise RecipeError(
            f"{checks.figure(number)} beats per minute is outside what these models know: {low} to {high}."
        )
    return round(number)


def _decimal(text: str) -> float | None:
    """The number in digits and at most one point or comma; None where they make none."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def language(value: object) -> str:
    """Return a language code of LANGUAGES ("pt-BR", "Portuguese" → "pt"); RecipeError otherwise.

    `prompt.languages` says what is read; a word is taken for what it means, never for a code it merely looks like.
    """
    word = checks.word(value)
    if (found := languages.read(word)) is not None:
        return found
    hint = checks.nearest(word, languages.names(), 0.8) if 4 < len(word) < 60 else ""
    hint = f" Did you mean {languages.COUNTRIES[word]!r}?" if word in languages.COUNTRIES else hint
    if checks.plain_text(value) is not None and word in languages.AUTO:
        hint = " Leave it away to have it chosen."
    raise RecipeError(
        f"{shown(value)} is no language code these models know.{hint} Use a code such as 'en', 'ja' or 'unknown'."
    )


def stem(value: object) -> str:
    """Return one of the 12 stem names ("Backing vocals" → "backing_vocals"); RecipeError otherwise."""
    name = checks.word(value).replace(" ", "_").replace("-", "_")
    if name not in STEMS:
        raise RecipeError(
            f"{shown(value)} is no stem these models know.{nearest(name, STEMS)} The twelve are: {', '.join(STEMS)}."
        )
    return name
