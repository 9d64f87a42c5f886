"""One seed, one song: draws the facts, the form, the harmony and every player's notes. Knows nothing of sound."""

from __future__ import annotations

import math
from collections.abc import Iterable

from acestep_lab.errors import RecipeError
from acestep_lab.prompt.vocabulary import STEMS, nearest
from acestep_lab.train.synthetic_music import arrangement as players
from acestep_lab.train.synthetic_music.rng import SeededRNG
from acestep_lab.train.synthetic_music.form import METERS, Meter, Part, bars_in, plan_form
from acestep_lab.train.synthetic_music.harmony import CHORDS, NOTE_NAMES, PROGRESSIONS, key_name, parse_key, progression
from acestep_lab.train.synthetic_music.arrangement import ArrangementContext, Hit, Slot
from acestep_lab.train.synthetic_music.score import Chord, Note, Section, Song
from acestep_lab.train.synthetic_music.styles import STYLES, Style
from acestep_lab.train.synthetic_music.text import ABSENT_WORDS, Facts, caption, lyric_line, vowels

SHORTEST, LONGEST = 4.0, 240.0
SOLOISTS = ("keyboard", "guitar", "synth", "strings", "woodwinds", "bass", "drums", "brass")
HARMONIC_STEMS = ("keyboard", "guitar", "synth", "strings")


def _draw_bpm(style: Style, dice: SeededRNG) -> int:
    typical, anywhere = dice.whole(*style.bpm), dice.whole(45, 200)
    return typical if dice.chance(0.7) else anywhere


def _draw_meter(style: Style, dice: SeededRNG) -> str:
    usual, anything = dice.weighted(style.meters), dice.pick(tuple(METERS))
    return usual if dice.chance(0.8) else anything


def _draw_key(style: Style, dice: SeededRNG) -> str:
    return key_name(dice.whole(0, 11), "minor" if dice.chance(style.minor) else "major")


def _draw_stems(style: Style, dice: SeededRNG, full: bool) -> tuple[str, ...]:
    """Who plays: each by its chance in the style; sometimes one alone; always something pitched."""
    solo, soloist = dice.chance(0.065), dice.pick(SOLOISTS)
    drums, present = dice.chance(style.drum_chance), set()
    for stem in STEMS:
        if stem != "drums" and dice.chance(style.parts[stem][0] if stem in style.parts else 0.0):
            present.add(stem)
    if full:
        present |= {s for s, (chance, _) in style.parts.items() if chance >= 0.3}
    elif solo:
        return (soloist,)
    if drums or full:
        present.add("drums")
    if not present & set(HARMONIC_STEMS):
        present.add(dice.pick([s for s in HARMONIC_STEMS if s in style.parts]))
    return tuple(s for s in STEMS if s in present)


FALLBACK_SOUNDS = {
    "keyboard": (("piano", "quarters"), ("piano", "arp")), "guitar": (("electric guitar", "charleston"), ("nylon guitar", "arp")),
    "synth": (("warm pad", "pad"), ("synth pluck", "arp")), "strings": (("strings", "pad"),), "bass": (("bass guitar", "roots"),),
    "woodwinds": (("flute", "lead"), ("clarinet", "lead")), "brass": (("trumpet", "lead"), ("brass section", "halves")),
    "percussion": (("shaker", "hit"), ("conga", "hit")), "fx": (("impact", "fx"), ("riser", "fx")),
    "vocals": (("voice", "lead"),), "backing_vocals": (("choir a", "pad"), ("choir u", "pad")),
}  # fmt: skip
ALONE = {
    "keyboard": (("piano", "arp"), ("piano", "quarters"), ("electric piano", "charleston"), ("organ", "halves")),
    "guitar": (("nylon guitar", "arp"), ("acoustic guitar", "strum"), ("electric guitar", "arp"), ("distorted guitar", "power")),
    "synth": (("warm pad", "pad"), ("bright pad", "pad"), ("synth pluck", "arp")), "strings": (("strings", "pad"), ("pizzicato strings", "arp")),
    "brass": (("brass section", "halves"),), "bass": (("bass guitar", "walk"), ("synth bass", "walk"), ("upright bass", "walk")),
}  # fmt: skip


def _cast(style: Style, stems: tuple[str, ...], dice: SeededRNG) -> dict[str, tuple[str, str]]:
    """Who plays what how; at most one lead besides a singer, the others accompany."""
    cast: dict[str, tuple[str, str]] = {}
    leads = 1 if "vocals" in stems else 0
    for stem in STEMS:
        alone, usual = ALONE.get(stem, ()), style.parts.get(stem, (0, ()))[1] or FALLBACK_SOUNDS.get(stem, ())
        choice = dice.shuffled(alone if stems == (stem,) and alone else usual)
        if stem not in stems or stem == "drums":
            continue
        calm = [c for c in choice if c[1] != "lead"]
        cast[stem] = calm[0] if leads and calm and stem != "vocals" else choice[0]
        leads += cast[stem][1] == "lead" and stem != "vocals"
    return cast


def _slots(
    bars: int, beats: float, meter: Meter, tonic: int, mode: str, harmony: str, dice: SeededRNG
) -> tuple[Slot, ...]:
    """A chord a bar, or half a bar where the song is so short that it would not come home."""
    halves = bars < 4 and meter.beats % 2 == 0
    length = meter.beats / 2 if halves else float(meter.beats)
    count = bars * (2 if halves else 1)
    heard = min(count, max(1, math.ceil(beats / length - 0.12)))
    cadence = dice.pick(("V", "V", "IV" if mode == "major" else "iv"))
    names = progression(dice.pick(PROGRESSIONS[mode][harmony]), heard, mode, cadence)
    names += names[-1:] * (count - heard)
    classes = [tuple((tonic + c) % 12 for c in CHORDS[mode][name]) for name in names]
    return tuple(Slot(i * length, length, n, c) for i, (n, c) in enumerate(zip(names, classes, strict=True)))


def _sing(sheet: ArrangementContext, seed: int) -> tuple[list[Hit], dict[int, list[str]]]:
    """A syllable a note, section by section; returns the notes and each section's lines."""
    dice = SeededRNG(seed, "vocals")
    words_dice = SeededRNG(seed, "lyrics")
    notes = players.melody(sheet, dice, players.LEAD_CENTRES["vocals"] + dice.whole(-3, 3))
    refrain = [lyric_line(words_dice) for _ in range(2)]
    hits, lines = [], {}
    for index, part in enumerate(sheet.form):
        if "vocals" not in part.stems:
            continue
        begin, end = part.first * sheet.meter.beats, (part.first + part.bars) * sheet.meter.beats
        sung = [n for n in notes if begin - 1e-6 <= n[0] < end - 1e-6]
        text = list(refrain) if part.tag == "Chorus" else [lyric_line(words_dice) for _ in range(2)]
        while sum(len(vowels(line)) for line in text) < len(sung) and len(text) < 6:
            text.append(lyric_line(words_dice))
        if part.bars < 3:
            text = text[:2] if len(sung) > 5 else text[:1]
        syllables = [v for line in text for v in vowels(line)]
        hits += [Hit("vocals", f"voice {syllables[i % len(syllables)]}", *note) for i, note in enumerate(sung)]
        lines[index] = [" ".join(line) for line in text]
    return hits, lines


def _play(sheet: ArrangementContext, stem: str, sound: str, manner: str, seed: int) -> list[Hit]:
    dice = SeededRNG(seed, f"play {stem}")
    if stem == "bass" and manner != "lead":
        return players.bass(sheet, sound, manner, dice)
    if stem == "percussion":
        return players.percussion(sheet, sound, dice)
    if stem == "fx":
        return players.effects(sheet, sound, dice)
    if manner == "pad":
        return players.pad(sheet, stem, sound, dice)
    if manner == "arp":
        return players.arpeggio(sheet, stem, sound, dice)
    if manner == "lead":
        return players.lead(sheet, stem, sound, dice)
    return players.chords(sheet, stem, sound, manner, dice)


def _audible(sheet: ArrangementContext, hits: Iterable[Hit], seconds: float) -> list[Note]:
    """Keep what falls into a section where its stem plays; beats become seconds."""
    beat, beats = 60 / sheet.bpm, sheet.meter.beats
    notes = []
    for stem, sound, start, length, pitch, velocity in hits:
        part = sheet.part_at(min(sheet.bars - 1, int(start / beats + 1e-6)))
        if stem not in part.stems and not (stem == "fx" and sound == "riser"):
            continue
        at = start * beat
        if at < seconds - 0.04:
            notes.append(Note(stem, sound, at, min(length * beat, seconds - at), pitch, velocity))
    return notes


MODIFIERS = {"drums": "no drums", "bass": "no bass", "vocals": "instrumental"}


def _lyrics(form: tuple[Part, ...], lines: dict[int, list[str]], stems: tuple[str, ...], dice: SeededRNG) -> str:
    """Tags with what is special about each section, and the words sung there."""
    if not lines and len(form) == 1:
        return "[Instrumental]"
    telling, blocks = dice.chance(0.4), []
    for index, part in enumerate(form):
        missing = [MODIFIERS[s] for s in ("drums", "bass") if s in stems and s not in part.stems]
        tag = f"[{part.tag} - {missing[0]}]" if telling and missing else f"[{part.tag}]"
        blocks.append("\n".join([tag, *lines.get(index, [])]))
    return "\n\n".join(blocks)


def _sections(sheet: ArrangementContext, notes: list[Note], seconds: float) -> tuple[Section, ...]:
    bar = sheet.meter.beats * 60 / sheet.bpm
    rows = []
    for index, part in enumerate(sheet.form):
        start, end = part.first * bar, seconds if index == len(sheet.form) - 1 else (part.first + part.bars) * bar
        heard = {n.stem for n in notes if start - 1e-6 <= n.start < end - 1e-6}
        rows.append(Section(part.tag, start, end, tuple(s for s in STEMS if s in heard)))
    return tuple(rows)


def _refuse_nonsense(
    seconds: float, style: str | None, timesignature: str | None, instruments: Iterable[str] | None
) -> None:
    if not SHORTEST <= seconds <= LONGEST:
        raise RecipeError(f"A song of this world lasts {SHORTEST:g} to {LONGEST:g} seconds, not {seconds:g}.")
    if style is not None and style not in STYLES:
        raise RecipeError(
            f"This world has no style {style!r}.{nearest(style, STYLES)} It has {', '.join(sorted(STYLES))}."
        )
    if timesignature is not None and timesignature not in METERS:
        raise RecipeError(f"{timesignature!r} is no meter of this world; it has {', '.join(METERS)}.")
    if instruments is not None and (not set(instruments) or set(instruments) - set(STEMS)):
        raise RecipeError(
            f"Instruments are some of {', '.join(STEMS)}; these are not: {sorted(set(instruments) - set(STEMS))}."
        )


def compose(
    seed: int,
    seconds: float = 10.0,
    *,
    bpm: int | None = None,
    keyscale: str | None = None,
    timesignature: str | None = None,
    style: str | None = None,
    instruments: Iterable[str] | None = None,
    full: bool = False,
) -> Song:
    """Write the song of a seed; what is given is obeyed and leaves the other choices as they were.

    `full` asks for everybody who usually plays in the style, in every section (no solos, no breakdowns).
    """
    instruments = None if instruments is None else tuple(instruments)
    _refuse_nonsense(seconds, style, timesignature, instruments)
    row = STYLES[style or SeededRNG(seed, "style").pick(sorted(STYLES))]
    bpm = bpm or _draw_bpm(row, SeededRNG(seed, "bpm"))
    keyscale = keyscale or _draw_key(row, SeededRNG(seed, "key"))
    meter = METERS[timesignature or _draw_meter(row, SeededRNG(seed, "meter"))]
    asked = tuple(s for s in STEMS if s in set(instruments)) if instruments is not None else None
    stems = asked or _draw_stems(row, SeededRNG(seed, "stems"), full)
    tonic, mode = parse_key(keyscale)
    bars = bars_in(seconds, bpm, meter)
    form = tuple(plan_form(bars, stems, SeededRNG(seed, "form"), full))
    slots = _slots(bars, seconds * bpm / 60, meter, tonic, mode, row.harmony, SeededRNG(seed, "harmony"))
    sheet = ArrangementContext(row, meter, bpm, tonic, mode, slots, form, bars)
    cast = _cast(row, stems, SeededRNG(seed, "cast"))
    lines: dict[int, list[str]] = {}
    hits: list[Hit] = players.drums(sheet, SeededRNG(seed, "drums")) if "drums" in stems else []
    for stem, (sound, manner) in cast.items():
        if stem == "vocals":
            sung, lines = _sing(sheet, seed)
            hits += sung
        else:
            hits += _play(sheet, stem, sound, manner, seed)
    notes = sorted(_audible(sheet, hits, seconds), key=lambda n: (n.start, n.stem, n.pitch))
    present = tuple(s for s in STEMS if any(n.stem == s for n in notes))
    if not present:
        raise RecipeError(
            f"In {seconds:g} seconds {' and '.join(stems)} alone would play nothing; add another instrument."
        )
    sounds = tuple((s, "drums" if s == "drums" else cast[s][0]) for s in present)
    absent = tuple(s for s in ABSENT_WORDS if s not in present and not (s == "vocals" and "backing_vocals" in present))
    facts = Facts(row.name, row.words, row.moods, bpm, keyscale, meter.sign, sounds, absent)
    beat = 60 / bpm
    total = int(seconds / beat - 1e-6) + 1
    return Song(
        seed=seed, seconds=seconds, bpm=bpm, keyscale=keyscale, timesignature=meter.sign, style=row.name, instruments=present,
        caption=caption(facts, SeededRNG(seed, "caption")), lyrics=_lyrics(form, lines, present, SeededRNG(seed, "tags")),
        sections=_sections(sheet, notes, seconds), beats=tuple(i * beat for i in range(total)),
        downbeats=tuple(i * beat for i in range(0, total, meter.beats)),
        chords=tuple(Chord(s.start * beat, min(seconds, (s.start + s.length) * beat), f"{NOTE_NAMES[s.classes[0]]} ({s.numeral})", s.classes) for s in sheet.slots if s.start * beat < seconds),
        notes=tuple(notes), echo=row.echo, pump=row.pump,
    )  # fmt: skip
