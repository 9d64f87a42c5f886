"""The closed vocabularies of ACE-Step 1.5: keys, meters, languages, stems, section tags, instructions.

Knows no torch and no model. The strings are the ones the published models were trained on
(arXiv 2602.00744 and its public inference code), so they must not be prettified.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from numbers import Real

from acestep_lab.errors import RecipeError

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
    "Intro", "Verse", "Pre-Chorus", "Chorus", "Post-Chorus", "Hook", "Bridge", "Interlude", "Instrumental", "Solo",
    "Build", "Drop", "Breakdown", "Break", "Outro", "Fade Out", "Silence",
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


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `", did you mean 'x'?"`, or nothing where no known word is near."""
    close = difflib.get_close_matches(word.lower(), {k.lower(): k for k in known}, n=1, cutoff=0.5)
    by_lower = {k.lower(): k for k in known}
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


_KEY = re.compile(r"^\s*([A-Ga-g])\s*(#|b|♯|♭|sharp|flat)?\s*[- ]?\s*(major|minor|maj|min|dur|moll|m)?\s*$")


def keyscale(text: str) -> str:
    """Return a key in the models' spelling ("c♯ min" → "C# minor"); RecipeError if it is none."""
    match = _KEY.match(text)
    if not match:
        raise RecipeError(
            f"{text!r} is no key. A key is a note from A to G, perhaps with # or b, and major or minor: 'F# minor'."
        )
    letter, accidental, mode = match.groups()
    sign = {"#": "#", "♯": "#", "sharp": "#", "b": "b", "♭": "b", "flat": "b"}.get(accidental or "", "")
    minor = mode in ("minor", "min", "moll", "m")
    return f"{letter.upper()}{sign} {'minor' if minor else 'major'}"


_PITCH = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def key_parts(text: str) -> tuple[int, bool]:
    """Return (pitch class of the tonic with C = 0, whether it is minor)."""
    name, mode = keyscale(text).split(" ")
    shift = {"#": 1, "b": -1}.get(name[1:], 0)
    return (_PITCH[name[0]] + shift) % 12, mode == "minor"


def timesignature(value: object) -> str:
    """Return "2", "3", "4" or "6" from 4, "4", "4/4", "6/8"; RecipeError otherwise."""
    text = str(value).strip()
    beats = text.split("/")[0].strip()
    if beats not in TIMESIGNATURES or (("/" in text) and text.split("/")[1].strip() not in ("2", "4", "8")):
        raise RecipeError(f"{value!r} is no meter these models know. They know 2, 3, 4 and 6 beats in a bar: '4/4'.")
    return beats


def bpm(value: object) -> int:
    """Return a tempo as a whole number of beats per minute in BPM_RANGE; RecipeError otherwise."""
    low, high = BPM_RANGE
    if isinstance(value, bool) or not isinstance(value, Real | str):
        raise RecipeError(f"A tempo is a number of beats per minute, not {value!r}.")
    try:
        number = float(value)
    except ValueError:
        raise RecipeError(f"A tempo is a number of beats per minute from {low} to {high}, not {value!r}.") from None
    if not low <= number <= high:
        raise RecipeError(f"{value} beats per minute is outside what these models know: {low} to {high}.")
    return round(number)


def language(value: str) -> str:
    """Return a language code of LANGUAGES; RecipeError otherwise."""
    code = str(value).strip().lower()
    if code not in LANGUAGES:
        raise RecipeError(
            f"{value!r} is no language code these models know.{nearest(code, LANGUAGES)} "
            "Use a code such as 'en', 'ja' or 'unknown'."
        )
    return code


def stem(value: str) -> str:
    """Return one of the 12 stem names ("Backing vocals" → "backing_vocals"); RecipeError otherwise."""
    name = str(value).strip().lower().replace(" ", "_").replace("-", "_")
    if name not in STEMS:
        raise RecipeError(
            f"{value!r} is no stem these models know.{nearest(name, STEMS)} The twelve are: {', '.join(STEMS)}."
        )
    return name
