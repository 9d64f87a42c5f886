"""Keys, chords and progressions that leave no doubt about the key: everything starts and ends on I."""

from __future__ import annotations

NOTE_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "b": -1, "♯": 1, "♭": -1}
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}

# Triads as (degree in semitones above the tonic, chord tones above the tonic, roman numeral).
CHORDS: dict[str, dict[str, tuple[int, ...]]] = {
    "major": {
        "I": (0, 4, 7), "ii": (2, 5, 9), "IV": (5, 9, 0), "V": (7, 11, 2), "V7": (7, 11, 2, 5),
        "vi": (9, 0, 4), "iii": (4, 7, 11), "Imaj7": (0, 4, 7, 11), "I6": (0, 4, 7, 9), "ii7": (2, 5, 9, 0),
    },
    "minor": {
        "i": (0, 3, 7), "iv": (5, 8, 0), "V": (7, 11, 2), "V7": (7, 11, 2, 5), "v": (7, 10, 2),
        "VI": (8, 0, 3), "VII": (10, 2, 5), "iio": (2, 5, 8), "i7": (0, 3, 7, 10),
    },
}  # fmt: skip

# One entry per harmony slot; half of the slots are tonic so that a key finder (and an ear) has no doubt.
PROGRESSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "major": {
        "plain": ("I IV I V", "I I IV I", "I IV I I", "I IV V I"),
        "pop": ("I IV I V", "I vi IV I", "I I IV V", "I IV vi I"),
        "jazz": ("I ii V7 I", "I6 IV ii7 I", "I IV I V7", "I6 I6 ii7 V7"),
        "blues": ("I IV I I", "I I IV I", "I IV I V7"),
        "drone": ("I I IV I", "I IV I I", "I I I IV"),
    },
    "minor": {
        "plain": ("i iv i V", "i i iv i", "i iv i i", "i iv V i"),
        "pop": ("i VI iv i", "i iv i V", "i VI i iv", "i i VI iv"),
        "jazz": ("i iio V7 i", "i iv i V7", "i VI iv i", "i iv i i7"),
        "blues": ("i iv i i", "i i iv i", "i iv i V7"),
        "drone": ("i i iv i", "i iv i i", "i i i iv"),
    },
}


def parse_key(keyscale: str) -> tuple[int, str]:
    """The tonic's pitch class and the mode of a key such as "C# minor"."""
    note, mode = keyscale.split()
    return (_LETTERS[note[0].upper()] + _ACCIDENTALS[note[1:]]) % 12, mode.lower()


def key_name(tonic: int, mode: str) -> str:
    """The name of a key, such as "C# minor"."""
    return f"{NOTE_NAMES[tonic % 12]} {mode}"


def progression(loop: str, slots: int, mode: str, cadence: str) -> list[str]:
    """`slots` numerals: the loop repeated, but the first and last are I and the last is led into by `cadence`.

    A short song rests on I before its cadence: two bars away from home in five would leave the key open.
    """
    numerals = loop.split()
    tonic = "I" if mode == "major" else "i"
    line = [numerals[i % len(numerals)] for i in range(slots)]
    if slots >= 4:
        line[-2] = cadence
        if slots <= 6 or line[-3] == cadence:
            line[-3] = tonic
    line[0] = line[-1] = tonic
    return line
