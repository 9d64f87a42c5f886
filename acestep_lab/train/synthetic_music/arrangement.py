"""What each stem plays: drums, bass, chords, arpeggios, pads, melodies. Times here are beats, not seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from acestep_lab.train.synthetic_music.rng import SeededRNG
from acestep_lab.train.synthetic_music.form import Meter, Part
from acestep_lab.train.synthetic_music.harmony import SCALES
from acestep_lab.train.synthetic_music.styles import BASS, COMP, DRUMS, PERCUSSION, Style

STRENGTH = {"x": 1.0, "o": 0.68, "-": 0.4, "h": 1.0}


class Slot(NamedTuple):
    """A harmony that holds for some beats; `classes` are pitch classes, root first."""

    start: float
    length: float
    numeral: str
    classes: tuple[int, ...]


class Hit(NamedTuple):
    """A note in beats, before tempo turns it into seconds."""

    stem: str
    sound: str
    start: float
    length: float
    pitch: int
    velocity: float


@dataclass(frozen=True)
class ArrangementContext:
    """What all players read: key, meter, harmony, form, tempo."""

    style: Style
    meter: Meter
    bpm: int
    tonic: int
    mode: str
    slots: tuple[Slot, ...]
    form: tuple[Part, ...]
    bars: int

    def slot_at(self, beat: float) -> Slot:
        for slot in self.slots:
            if slot.start - 1e-6 <= beat < slot.start + slot.length - 1e-6:
                return slot
        return self.slots[-1]

    def part_at(self, bar: int) -> Part:
        return next(part for part in self.form if part.first <= bar < part.first + part.bars)

    def swung(self, beat: float) -> float:
        """Move an offbeat eighth to where the style swings it."""
        if self.style.swing == 0.5 or self.meter.sign == "6":
            return beat
        whole, rest = divmod(beat, 1)
        return whole + self.style.swing if abs(rest - 0.5) < 1e-6 else beat

    def tune(self) -> int:
        """The MIDI note between 30 and 41 that drums are tuned to: the tonic."""
        return 30 + (self.tonic - 30) % 12


def human(dice: SeededRNG) -> float:
    return dice.real(0.88, 1.0)


def _grid(pattern: str, step: float) -> list[tuple[float, str]]:
    return [(i * step, mark) for i, mark in enumerate(pattern) if mark != "."]


def _accent(sheet: ArrangementContext, offset: float) -> float:
    """Metrical weight of a place in the bar: the first beat heaviest."""
    if offset < 1e-6:
        return 1.0
    if sheet.meter.sign == "4" and abs(offset - 2) < 1e-6:
        return 0.9
    return 0.84 if abs(offset - round(offset)) < 1e-6 else 0.72


def drums(sheet: ArrangementContext, dice: SeededRNG) -> list[Hit]:
    """The style's pattern bar by bar, a crash where sections begin, a fill where they end."""
    style, meter, tune = sheet.style, sheet.meter, sheet.tune()
    rows = DRUMS[dice.pick(style.drums)][meter.sign]
    hat = dice.pick(
        (
            "hat",
            "hat",
            "hat open" if style.name == "house" else "hat",
            "ride" if style.name in ("rock", "blues") else "hat",
        )
    )
    names = {**style.kit, "hat": hat, "hat2": "hat", "ride": "ride"}
    fills = dice.chance(0.75)
    hits = []
    for bar in range(sheet.bars):
        part = sheet.part_at(bar)
        last = bar == part.first + part.bars - 1 and bar < sheet.bars - 1
        at, fill_from = bar * meter.beats, meter.beats - 1 if fills and last else 99
        for row, pattern in rows.items():
            for offset, mark in _grid(pattern, meter.sixteenth):
                busy = sheet.bpm > 150 and (offset / meter.sixteenth) % 2 == 1 and row.startswith("hat")
                if (mark == "-" and part.intensity < 0.9) or busy or (offset >= fill_from and row != "kick"):
                    continue
                strength = STRENGTH[mark] * human(dice) * (_accent(sheet, offset) if row != "snare" else 1)
                hits.append(Hit("drums", names[row], sheet.swung(at + offset), 0.2, tune, strength * part.intensity))
        if fill_from < 99:
            hits += _fill(sheet, at + fill_from, dice)
        if (
            bar == part.first
            and (part.intensity >= 0.95 or bar == 0)
            and style.name not in ("bossa nova", "waltz", "ambient")
        ):
            hits.append(Hit("drums", "crash", at, 1, tune, 0.8))
    return hits


def _fill(sheet: ArrangementContext, at: float, dice: SeededRNG) -> list[Hit]:
    step = sheet.meter.sixteenth if sheet.bpm < 140 else sheet.meter.eighth
    count = round(1 / step)
    sounds = dice.pick(("st", "s", "t"))
    snare = sheet.style.kit["snare"]
    return [
        Hit(
            "drums",
            snare if sounds == "s" or (sounds == "st" and i < count / 2) else "tom",
            at + i * step,
            0.2,
            sheet.tune(),
            (0.5 + 0.4 * i / count) * human(dice),
        )
        for i in range(count)
    ]


def percussion(sheet: ArrangementContext, sound: str, dice: SeededRNG) -> list[Hit]:
    hits = []
    for bar in range(sheet.bars):
        for offset, mark in _grid(PERCUSSION[sound][sheet.meter.sign], sheet.meter.sixteenth):
            if sheet.bpm > 150 and mark == "-":
                continue
            strength = STRENGTH[mark] * human(dice) * sheet.part_at(bar).intensity
            hits.append(
                Hit("percussion", sound, sheet.swung(bar * sheet.meter.beats + offset), 0.2, sheet.tune(), strength)
            )
    return hits


def effects(sheet: ArrangementContext, sound: str, dice: SeededRNG) -> list[Hit]:
    """A bed of crackle, or risers before and impacts on the start of sections."""
    beats, length = sheet.bars * sheet.meter.beats, 2.0 * sheet.bpm / 60
    if sound == "vinyl":
        return [Hit("fx", sound, i * length, 1, 40, 1.0) for i in range(int(beats / length) + 1)]
    starts = [float(part.first * sheet.meter.beats) for part in sheet.form]
    if sound == "riser":
        ends = starts[1:] or [min(beats, max(length, sheet.meter.beats * 2.0))]
        return [Hit("fx", sound, max(0.0, end - length), 1, sheet.tune(), 1.0) for end in ends]
    return [Hit("fx", sound, start, 1, sheet.tune(), 0.9) for start in starts]


def _near(pitch_class: int, centre: int) -> int:
    """The MIDI note of a pitch class nearest to `centre`."""
    return centre - 6 + (pitch_class - centre + 6) % 12


def bass(sheet: ArrangementContext, sound: str, manner: str, dice: SeededRNG) -> list[Hit]:
    """Roots on strong beats; a run into the next chord now and then."""
    pattern, eighth = BASS[manner][sheet.meter.sign], sheet.meter.eighth
    floor = 28 + dice.whole(0, 3)
    walks = dice.chance(0.35)
    hits = []
    for bar in range(sheet.bars):
        at, part = bar * sheet.meter.beats, sheet.part_at(bar)
        for i, mark in enumerate(pattern):
            if mark in ".-":
                continue
            start = at + i * eighth
            slot = sheet.slot_at(start)
            root = floor + (slot.classes[0] - floor) % 12
            pitch = {"1": root, "5": root + 7, "8": root + 12, "3": root + (slot.classes[1] - slot.classes[0]) % 12}[
                mark
            ]
            holds = 1 + next((k for k, m in enumerate(pattern[i + 1 :]) if m != "-"), len(pattern) - i - 1)
            if walks and i == len(pattern) - 1 and bar + 1 < sheet.bars:
                target = sheet.slot_at(at + sheet.meter.beats)
                if target.classes[0] != slot.classes[0]:
                    pitch = floor + (target.classes[0] - floor) % 12
            strength = human(dice) * _accent(sheet, i * eighth) * part.intensity
            hits.append(Hit("bass", sound, sheet.swung(start), holds * eighth * 0.94, pitch, strength))
    return hits


def voicing(slot: Slot, centre: int, size: int = 3) -> list[int]:
    """A close chord around `centre`, its notes falling wherever they lie nearest."""
    return sorted(_near(c, centre) for c in slot.classes[:size])


def power_chord(slot: Slot, centre: int) -> list[int]:
    """Root and fifth, and the third an octave up, so that the mode is heard."""
    root = _near(slot.classes[0], centre)
    return [root, root + 7, root + 12 + (slot.classes[1] - slot.classes[0]) % 12]


def chords(sheet: ArrangementContext, stem: str, sound: str, manner: str, dice: SeededRNG) -> list[Hit]:
    """A comping pattern; "power" is root and fifth in eighths."""
    power = manner == "power"
    pattern = COMP["pulse" if power else manner][sheet.meter.sign]
    eighth, beats = sheet.meter.eighth, sheet.meter.beats
    centre = (52 if power else 64) + dice.whole(-3, 3)
    if stem in ("brass", "backing_vocals"):
        centre = 62 + dice.whole(-2, 3)
    size = 4 if sheet.style.harmony == "jazz" else 3
    marks = [(i, m) for i, m in enumerate(pattern) if m != "."]
    if sheet.bpm > 170 and manner in ("pulse", "offbeat") and not power:
        marks = marks[::2]
    hits = []
    for bar in range(sheet.bars):
        part = sheet.part_at(bar)
        for n, (i, mark) in enumerate(marks):
            start = bar * beats + i * eighth
            slot = sheet.slot_at(start)
            following = marks[n + 1][0] if n + 1 < len(marks) else len(pattern)
            length = (
                (following - i) * eighth * 0.96 if mark == "h" or power else min(eighth * 0.7, 0.35 * sheet.bpm / 60)
            )
            notes = power_chord(slot, centre) if power else voicing(slot, centre, size)
            strength = human(dice) * _accent(sheet, i * eighth) * part.intensity * (3 / len(notes)) ** 0.5
            hits += [Hit(stem, sound, sheet.swung(start), length, p, strength) for p in notes]
    return hits


def pad(sheet: ArrangementContext, stem: str, sound: str, dice: SeededRNG) -> list[Hit]:
    centre = 62 + dice.whole(-4, 5)
    size = 4 if sheet.style.harmony in ("jazz", "drone") else 3
    return [
        Hit(
            stem,
            sound,
            slot.start,
            slot.length * 0.98,
            pitch,
            human(dice) * sheet.part_at(int(slot.start / sheet.meter.beats + 1e-6)).intensity,
        )
        for slot in sheet.slots
        for pitch in voicing(slot, centre, size)
    ]


def arpeggio(sheet: ArrangementContext, stem: str, sound: str, dice: SeededRNG) -> list[Hit]:
    """Broken chords, low note on the chord's first beat."""
    eighth = sheet.meter.eighth
    step = (
        eighth / 2
        if sheet.bpm < 76 or (sheet.bpm < 118 and sound == "synth pluck" and sheet.meter.sign != "6")
        else eighth
    )
    centre = 60 + dice.whole(-2, 8)
    shape = dice.pick(((0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 2, 3, 2, 1), (0, 2, 3, 2), (0, 1, 2)))
    hits = []
    for slot in sheet.slots:
        notes = voicing(slot, centre)
        root = _near(slot.classes[0], centre - 6)
        ladder = sorted({root, *[n if n > root else n + 12 for n in notes], root + 12})
        for k in range(round(slot.length / step)):
            start = slot.start + k * step
            part = sheet.part_at(min(sheet.bars - 1, int(start / sheet.meter.beats + 1e-6)))
            pitch = ladder[min(shape[k % len(shape)], len(ladder) - 1)]
            strength = human(dice) * (0.7 + 0.3 * _accent(sheet, start % sheet.meter.beats)) * part.intensity
            hits.append(Hit(stem, sound, sheet.swung(start), step * 1.6, pitch, strength))
    return hits


RHYTHMS = {
    "4": ("2 1 1", "1 1 2", "1.5 .5 1 1", ".5 .5 1 2", "1 .5 .5 2", "1 1 1 1", "3 1", "1.5 .5 2", ".5 .5 .5 .5 1 1"),
    "3": ("2 1", "1 1 1", "1.5 .5 1", "3", "1 .5 .5 1"),
    "2": ("1 1", "2", "1 .5 .5", "1.5 .5"),
    "6": (
        "1 1",
        "0.66666667 0.33333333 1",
        "0.66666667 0.33333333 0.66666667 0.33333333",
        "0.33333333 0.33333333 0.33333333 1",
        "2",
    ),
}


class Degree(NamedTuple):
    offset: float
    length: float
    step: int  # scale steps above the tonic
    rest: bool


def _motif(sheet: ArrangementContext, dice: SeededRNG) -> list[Degree]:
    """One bar of melody: a rhythm and a contour that moves mostly by step."""
    lengths = [float(x) for x in dice.pick(RHYTHMS[sheet.meter.sign]).split()]
    if sheet.bpm < 66 and sheet.meter.sign != "6":
        lengths = [half for x in lengths for half in ((x / 2, x / 2) if x > 1 and dice.chance(0.6) else (x,))]
    step, offset, line = dice.pick((0, 2, 4, 0)), 0.0, []
    for n, length in enumerate(lengths):
        line.append(Degree(offset, length, step, n > 0 and n == len(lengths) - 1 and dice.chance(0.25)))
        step = max(-2, min(7, step + dice.pick((-2, -1, -1, 1, 1, 2, 0))))
        offset += length
    return line


def _pitch(sheet: ArrangementContext, step: int, base: int) -> int:
    octave, degree = divmod(step, 7)
    return base + 12 * octave + SCALES[sheet.mode][degree]


def _on_chord(pitch: int, slot: Slot) -> int:
    return min(
        (pitch + d for d in (0, -1, 1, -2, 2, -3, 3)), key=lambda p: (p % 12 not in slot.classes, abs(p - pitch))
    )


def melody(sheet: ArrangementContext, dice: SeededRNG, centre: int) -> list[tuple[float, float, int, float]]:
    """(start, length, pitch, velocity) in beats: motif, motif, motif varied, answer; strong beats on chord tones, the end on the tonic."""
    base = _near(sheet.tonic, centre)
    call, answer = _motif(sheet, dice), _motif(sheet, dice)
    notes = []
    for bar in range(sheet.bars):
        line = (call, answer, call, answer)[bar % 4] if bar % 8 < 4 else (answer, call, call, answer)[bar % 4]
        shift = (0, 0, dice.pick((1, -1, 0)), 0)[bar % 4]
        for degree in line:
            start = bar * sheet.meter.beats + degree.offset
            if degree.rest:
                continue
            slot = sheet.slot_at(start)
            pitch = _pitch(sheet, degree.step + shift, base)
            if abs(degree.offset - round(degree.offset)) < 1e-6 or degree.length >= 1:
                pitch = _on_chord(pitch, slot)
            elif (sheet.tonic + 11) % 12 in slot.classes and (pitch - sheet.tonic) % 12 == 10:
                pitch += 1
            if (bar == sheet.bars - 1 or bar % 4 == 3) and degree is line[-1]:
                pitch = _near(sheet.tonic, pitch) if sheet.tonic in slot.classes else _on_chord(pitch, slot)
            strength = human(dice) * (0.75 + 0.25 * _accent(sheet, degree.offset)) * sheet.part_at(bar).intensity
            notes.append((sheet.swung(start), degree.length * 0.93, pitch, strength))
    return notes


LEAD_CENTRES = {
    "woodwinds": 74, "brass": 69, "vocals": 66, "strings": 74, "guitar": 69, "keyboard": 74, "synth": 74,
    "backing_vocals": 66, "bass": 40,
}  # fmt: skip


def lead(sheet: ArrangementContext, stem: str, sound: str, dice: SeededRNG) -> list[Hit]:
    centre = LEAD_CENTRES[stem] + dice.whole(-3, 3)
    return [Hit(stem, sound, *note) for note in melody(sheet, dice, centre)]
