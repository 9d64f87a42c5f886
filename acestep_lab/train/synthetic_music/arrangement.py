"""What each stem plays: drums, bass, chords, arpeggios, pads, melodies. Times here are beats, not seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from acestep_lab.train.synthetic_music.form import FormSection, Meter
from acestep_lab.train.synthetic_music.harmony import SCALES
from acestep_lab.train.synthetic_music.rng import SeededRNG
from acestep_lab.train.synthetic_music.styles import BASS, COMPING, DRUMS, PERCUSSION, Style

STRENGTH = {"x": 1.0, "o": 0.68, "-": 0.4, "h": 1.0}


class HarmonySlot(NamedTuple):
    """A harmony that holds for some beats; `classes` are pitch classes, root first."""

    start: float
    length: float
    numeral: str
    classes: tuple[int, ...]


class BeatNote(NamedTuple):
    """A note in beats, before tempo turns it into seconds."""

    stem: str
    sound: str
    start: float
    length: float
    pitch: int
    velocity: float


@dataclass(frozen=True)
class ArrangementContext:
    """What the parts of all stems have in common: key, meter, harmony, form, tempo."""

    style: Style
    meter: Meter
    bpm: int
    tonic: int
    mode: str
    slots: tuple[HarmonySlot, ...]
    form: tuple[FormSection, ...]
    bars: int

    def slot_at(self, beat: float) -> HarmonySlot:
        """The harmony at a beat."""
        for slot in self.slots:
            if slot.start - 1e-6 <= beat < slot.start + slot.length - 1e-6:
                return slot
        return self.slots[-1]

    def section_at(self, bar: int) -> FormSection:
        """The section of the form in which a bar lies."""
        return next(section for section in self.form if section.first <= bar < section.first + section.bars)

    def swung(self, beat: float) -> float:
        """Move an offbeat eighth to where the style swings it."""
        if self.style.swing == 0.5 or self.meter.sign == "6":
            return beat
        whole, rest = divmod(beat, 1)
        return whole + self.style.swing if abs(rest - 0.5) < 1e-6 else beat

    def drum_pitch(self) -> int:
        """The MIDI note between 30 and 41 that drums are tuned to: the tonic."""
        return 30 + (self.tonic - 30) % 12


def humanized(rng: SeededRNG) -> float:
    """A random factor on velocity, so that no two hits are alike."""
    return rng.uniform(0.88, 1.0)


def _onsets(pattern: str, step: float) -> list[tuple[float, str]]:
    return [(i * step, mark) for i, mark in enumerate(pattern) if mark != "."]


def _accent(context: ArrangementContext, offset: float) -> float:
    """Metrical weight of a place in the bar: the first beat heaviest."""
    if offset < 1e-6:
        return 1.0
    if context.meter.sign == "4" and abs(offset - 2) < 1e-6:
        return 0.9
    return 0.84 if abs(offset - round(offset)) < 1e-6 else 0.72


def drums(context: ArrangementContext, rng: SeededRNG) -> list[BeatNote]:
    """The style's pattern bar by bar, a crash where sections begin, a fill where they end."""
    style, meter, drum_pitch = context.style, context.meter, context.drum_pitch()
    rows = DRUMS[rng.choice(style.drums)][meter.sign]
    hat = rng.choice(
        (
            "hat",
            "hat",
            "hat open" if style.name == "house" else "hat",
            "ride" if style.name in ("rock", "blues") else "hat",
        )
    )
    names = {**style.kit, "hat": hat, "hat2": "hat", "ride": "ride"}
    fills = rng.happens(0.75)
    hits = []
    for bar in range(context.bars):
        section = context.section_at(bar)
        last = bar == section.first + section.bars - 1 and bar < context.bars - 1
        at, fill_from = bar * meter.beats, meter.beats - 1 if fills and last else 99
        for row, pattern in rows.items():
            for offset, mark in _onsets(pattern, meter.sixteenth):
                busy = context.bpm > 150 and (offset / meter.sixteenth) % 2 == 1 and row.startswith("hat")
                if (mark == "-" and section.intensity < 0.9) or busy or (offset >= fill_from and row != "kick"):
                    continue
                strength = STRENGTH[mark] * humanized(rng) * (_accent(context, offset) if row != "snare" else 1)
                hits.append(
                    BeatNote(
                        "drums", names[row], context.swung(at + offset), 0.2, drum_pitch, strength * section.intensity
                    )
                )
        if fill_from < 99:
            hits += _fill(context, at + fill_from, rng)
        if (
            bar == section.first
            and (section.intensity >= 0.95 or bar == 0)
            and style.name not in ("bossa nova", "waltz", "ambient")
        ):
            hits.append(BeatNote("drums", "crash", at, 1, drum_pitch, 0.8))
    return hits


def _fill(context: ArrangementContext, at: float, rng: SeededRNG) -> list[BeatNote]:
    step = context.meter.sixteenth if context.bpm < 140 else context.meter.eighth
    count = round(1 / step)
    sounds = rng.choice(("st", "s", "t"))
    snare = context.style.kit["snare"]
    return [
        BeatNote(
            "drums",
            snare if sounds == "s" or (sounds == "st" and i < count / 2) else "tom",
            at + i * step,
            0.2,
            context.drum_pitch(),
            (0.5 + 0.4 * i / count) * humanized(rng),
        )
        for i in range(count)
    ]


def percussion(context: ArrangementContext, sound: str, rng: SeededRNG) -> list[BeatNote]:
    """The pattern of a percussion sound, bar by bar."""
    hits = []
    for bar in range(context.bars):
        for offset, mark in _onsets(PERCUSSION[sound][context.meter.sign], context.meter.sixteenth):
            if context.bpm > 150 and mark == "-":
                continue
            strength = STRENGTH[mark] * humanized(rng) * context.section_at(bar).intensity
            hits.append(
                BeatNote(
                    "percussion",
                    sound,
                    context.swung(bar * context.meter.beats + offset),
                    0.2,
                    context.drum_pitch(),
                    strength,
                )
            )
    return hits


def effects(context: ArrangementContext, sound: str, rng: SeededRNG) -> list[BeatNote]:
    """A bed of crackle, or risers before and impacts on the start of sections."""
    beats, length = context.bars * context.meter.beats, 2.0 * context.bpm / 60
    if sound == "vinyl":
        return [BeatNote("fx", sound, i * length, 1, 40, 1.0) for i in range(int(beats / length) + 1)]
    starts = [float(section.first * context.meter.beats) for section in context.form]
    if sound == "riser":
        ends = starts[1:] or [min(beats, max(length, context.meter.beats * 2.0))]
        return [BeatNote("fx", sound, max(0.0, end - length), 1, context.drum_pitch(), 1.0) for end in ends]
    return [BeatNote("fx", sound, start, 1, context.drum_pitch(), 0.9) for start in starts]


def _nearest_pitch(pitch_class: int, centre: int) -> int:
    """The MIDI note of a pitch class nearest to `centre`."""
    return centre - 6 + (pitch_class - centre + 6) % 12


def bass(context: ArrangementContext, sound: str, manner: str, rng: SeededRNG) -> list[BeatNote]:
    """Roots on strong beats; a run into the next chord now and then."""
    pattern, eighth = BASS[manner][context.meter.sign], context.meter.eighth
    lowest = 28 + rng.integer(0, 3)
    walks = rng.happens(0.35)
    hits = []
    for bar in range(context.bars):
        at, section = bar * context.meter.beats, context.section_at(bar)
        for i, mark in enumerate(pattern):
            if mark in ".-":
                continue
            start = at + i * eighth
            slot = context.slot_at(start)
            root = lowest + (slot.classes[0] - lowest) % 12
            pitch = {"1": root, "5": root + 7, "8": root + 12, "3": root + (slot.classes[1] - slot.classes[0]) % 12}[
                mark
            ]
            holds = 1 + next((k for k, m in enumerate(pattern[i + 1 :]) if m != "-"), len(pattern) - i - 1)
            if walks and i == len(pattern) - 1 and bar + 1 < context.bars:
                target = context.slot_at(at + context.meter.beats)
                if target.classes[0] != slot.classes[0]:
                    pitch = lowest + (target.classes[0] - lowest) % 12
            strength = humanized(rng) * _accent(context, i * eighth) * section.intensity
            hits.append(BeatNote("bass", sound, context.swung(start), holds * eighth * 0.94, pitch, strength))
    return hits


def voicing(slot: HarmonySlot, centre: int, size: int = 3) -> list[int]:
    """A close chord around `centre`, its notes falling wherever they lie nearest."""
    return sorted(_nearest_pitch(c, centre) for c in slot.classes[:size])


def power_chord(slot: HarmonySlot, centre: int) -> list[int]:
    """Root and fifth, and the third an octave up, so that the mode is clear."""
    root = _nearest_pitch(slot.classes[0], centre)
    return [root, root + 7, root + 12 + (slot.classes[1] - slot.classes[0]) % 12]


def chords(context: ArrangementContext, stem: str, sound: str, manner: str, rng: SeededRNG) -> list[BeatNote]:
    """A comping pattern; "power" is root and fifth in eighths."""
    power = manner == "power"
    pattern = COMPING["pulse" if power else manner][context.meter.sign]
    eighth, beats = context.meter.eighth, context.meter.beats
    centre = (52 if power else 64) + rng.integer(-3, 3)
    if stem in ("brass", "backing_vocals"):
        centre = 62 + rng.integer(-2, 3)
    size = 4 if context.style.harmony == "jazz" else 3
    marks = [(i, m) for i, m in enumerate(pattern) if m != "."]
    if context.bpm > 170 and manner in ("pulse", "offbeat") and not power:
        marks = marks[::2]
    hits = []
    for bar in range(context.bars):
        section = context.section_at(bar)
        for n, (i, mark) in enumerate(marks):
            start = bar * beats + i * eighth
            slot = context.slot_at(start)
            following = marks[n + 1][0] if n + 1 < len(marks) else len(pattern)
            length = (
                (following - i) * eighth * 0.96 if mark == "h" or power else min(eighth * 0.7, 0.35 * context.bpm / 60)
            )
            notes = power_chord(slot, centre) if power else voicing(slot, centre, size)
            strength = humanized(rng) * _accent(context, i * eighth) * section.intensity * (3 / len(notes)) ** 0.5
            hits += [BeatNote(stem, sound, context.swung(start), length, p, strength) for p in notes]
    return hits


def pad(context: ArrangementContext, stem: str, sound: str, rng: SeededRNG) -> list[BeatNote]:
    """Held chords, one for each harmony."""
    centre = 62 + rng.integer(-4, 5)
    size = 4 if context.style.harmony in ("jazz", "drone") else 3
    return [
        BeatNote(
            stem,
            sound,
            slot.start,
            slot.length * 0.98,
            pitch,
            humanized(rng) * context.section_at(int(slot.start / context.meter.beats + 1e-6)).intensity,
        )
        for slot in context.slots
        for pitch in voicing(slot, centre, size)
    ]


def arpeggio(context: ArrangementContext, stem: str, sound: str, rng: SeededRNG) -> list[BeatNote]:
    """Broken chords, low note on the chord's first beat."""
    eighth = context.meter.eighth
    step = (
        eighth / 2
        if context.bpm < 76 or (context.bpm < 118 and sound == "synth pluck" and context.meter.sign != "6")
        else eighth
    )
    centre = 60 + rng.integer(-2, 8)
    shape = rng.choice(((0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 2, 3, 2, 1), (0, 2, 3, 2), (0, 1, 2)))
    hits = []
    for slot in context.slots:
        notes = voicing(slot, centre)
        root = _nearest_pitch(slot.classes[0], centre - 6)
        ladder = sorted({root, *[n if n > root else n + 12 for n in notes], root + 12})
        for k in range(round(slot.length / step)):
            start = slot.start + k * step
            section = context.section_at(min(context.bars - 1, int(start / context.meter.beats + 1e-6)))
            pitch = ladder[min(shape[k % len(shape)], len(ladder) - 1)]
            strength = humanized(rng) * (0.7 + 0.3 * _accent(context, start % context.meter.beats)) * section.intensity
            hits.append(BeatNote(stem, sound, context.swung(start), step * 1.6, pitch, strength))
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


class MotifNote(NamedTuple):
    offset: float
    length: float
    step: int  # scale steps above the tonic
    rest: bool


def _motif(context: ArrangementContext, rng: SeededRNG) -> list[MotifNote]:
    """One bar of melody: a rhythm and a contour that moves mostly by step."""
    lengths = [float(x) for x in rng.choice(RHYTHMS[context.meter.sign]).split()]
    if context.bpm < 66 and context.meter.sign != "6":
        lengths = [half for x in lengths for half in ((x / 2, x / 2) if x > 1 and rng.happens(0.6) else (x,))]
    step, offset, line = rng.choice((0, 2, 4, 0)), 0.0, []
    for n, length in enumerate(lengths):
        line.append(MotifNote(offset, length, step, n > 0 and n == len(lengths) - 1 and rng.happens(0.25)))
        step = max(-2, min(7, step + rng.choice((-2, -1, -1, 1, 1, 2, 0))))
        offset += length
    return line


def _pitch(context: ArrangementContext, step: int, base: int) -> int:
    octave, degree = divmod(step, 7)
    return base + 12 * octave + SCALES[context.mode][degree]


def _nearest_chord_tone(pitch: int, slot: HarmonySlot) -> int:
    return min(
        (pitch + d for d in (0, -1, 1, -2, 2, -3, 3)), key=lambda p: (p % 12 not in slot.classes, abs(p - pitch))
    )


def melody(context: ArrangementContext, rng: SeededRNG, centre: int) -> list[tuple[float, float, int, float]]:
    """(start, length, pitch, velocity) in beats: motif, motif, motif varied, answer; strong beats on chord tones, the end on the tonic."""
    base = _nearest_pitch(context.tonic, centre)
    call, answer = _motif(context, rng), _motif(context, rng)
    notes = []
    for bar in range(context.bars):
        line = (call, answer, call, answer)[bar % 4] if bar % 8 < 4 else (answer, call, call, answer)[bar % 4]
        shift = (0, 0, rng.choice((1, -1, 0)), 0)[bar % 4]
        for degree in line:
            start = bar * context.meter.beats + degree.offset
            if degree.rest:
                continue
            slot = context.slot_at(start)
            pitch = _pitch(context, degree.step + shift, base)
            if abs(degree.offset - round(degree.offset)) < 1e-6 or degree.length >= 1:
                pitch = _nearest_chord_tone(pitch, slot)
            elif (context.tonic + 11) % 12 in slot.classes and (pitch - context.tonic) % 12 == 10:
                pitch += 1
            if (bar == context.bars - 1 or bar % 4 == 3) and degree is line[-1]:
                pitch = (
                    _nearest_pitch(context.tonic, pitch)
                    if context.tonic in slot.classes
                    else _nearest_chord_tone(pitch, slot)
                )
            strength = (
                humanized(rng) * (0.75 + 0.25 * _accent(context, degree.offset)) * context.section_at(bar).intensity
            )
            notes.append((context.swung(start), degree.length * 0.93, pitch, strength))
    return notes


LEAD_CENTRES = {
    "woodwinds": 74, "brass": 69, "vocals": 66, "strings": 74, "guitar": 69, "keyboard": 74, "synth": 74,
    "backing_vocals": 66, "bass": 40,
}  # fmt: skip


def lead(context: ArrangementContext, stem: str, sound: str, rng: SeededRNG) -> list[BeatNote]:
    """The melody around the stem's usual register."""
    centre = LEAD_CENTRES[stem] + rng.integer(-3, 3)
    return [BeatNote(stem, sound, *note) for note in melody(context, rng, centre)]
