"""One seed, one song: draws the facts, the form, the harmony and every player's notes. Knows nothing of sound."""

from __future__ import annotations

import math
from collections.abc import Iterable

from acestep_lab.errors import RecipeError
from acestep_lab.prompt.vocabulary import STEMS, nearest
from acestep_lab.train.synthetic_music import arrangement
from acestep_lab.train.synthetic_music.arrangement import ArrangementContext, BeatNote, HarmonySlot
from acestep_lab.train.synthetic_music.form import METERS, FormSection, Meter, bars_in, plan_form
from acestep_lab.train.synthetic_music.harmony import CHORDS, NOTE_NAMES, PROGRESSIONS, key_name, parse_key, progression
from acestep_lab.train.synthetic_music.rng import SeededRNG
from acestep_lab.train.synthetic_music.score import Chord, Note, Section, Song
from acestep_lab.train.synthetic_music.styles import STYLES, Style
from acestep_lab.train.synthetic_music.text import ABSENT_WORDS, CaptionFacts, caption, lyric_line, vowels

SHORTEST, LONGEST = 4.0, 240.0
SOLOISTS = ("keyboard", "guitar", "synth", "strings", "woodwinds", "bass", "drums", "brass")
HARMONIC_STEMS = ("keyboard", "guitar", "synth", "strings")


def _draw_bpm(style: Style, rng: SeededRNG) -> int:
    typical, anywhere = rng.integer(*style.bpm), rng.integer(45, 200)
    return typical if rng.happens(0.7) else anywhere


def _draw_meter(style: Style, rng: SeededRNG) -> str:
    usual, anything = rng.weighted_choice(style.meters), rng.choice(tuple(METERS))
    return usual if rng.happens(0.8) else anything


def _draw_key(style: Style, rng: SeededRNG) -> str:
    return key_name(rng.integer(0, 11), "minor" if rng.happens(style.minor) else "major")


def _draw_stems(style: Style, rng: SeededRNG, full: bool) -> tuple[str, ...]:
    """The stems that play: each by its chance in the style; sometimes one alone; always something pitched."""
    solo, soloist = rng.happens(0.065), rng.choice(SOLOISTS)
    drums, present = rng.happens(style.drum_chance), set()
    for stem in STEMS:
        if stem != "drums" and rng.happens(style.parts[stem][0] if stem in style.parts else 0.0):
            present.add(stem)
    if full:
        present |= {s for s, (chance, _) in style.parts.items() if chance >= 0.3}
    elif solo:
        return (soloist,)
    if drums or full:
        present.add("drums")
    if not present & set(HARMONIC_STEMS):
        present.add(rng.choice([s for s in HARMONIC_STEMS if s in style.parts]))
    return tuple(s for s in STEMS if s in present)


FALLBACK_SOUNDS = {
    "keyboard": (("piano", "quarters"), ("piano", "arp")), "guitar": (("electric guitar", "charleston"), ("nylon guitar", "arp")),
    "synth": (("warm pad", "pad"), ("synth pluck", "arp")), "strings": (("strings", "pad"),), "bass": (("bass guitar", "roots"),),
    "woodwinds": (("flute", "lead"), ("clarinet", "lead")), "brass": (("trumpet", "lead"), ("brass section", "halves")),
    "percussion": (("shaker", "hit"), ("conga", "hit")), "fx": (("impact", "fx"), ("riser", "fx")),
    "vocals": (("voice", "lead"),), "backing_vocals": (("choir a", "pad"), ("choir u", "pad")),
}  # fmt: skip
SOLO_SOUNDS = {
    "keyboard": (("piano", "arp"), ("piano", "quarters"), ("electric piano", "charleston"), ("organ", "halves")),
    "guitar": (("nylon guitar", "arp"), ("acoustic guitar", "strum"), ("electric guitar", "arp"), ("distorted guitar", "power")),
    "synth": (("warm pad", "pad"), ("bright pad", "pad"), ("synth pluck", "arp")), "strings": (("strings", "pad"), ("pizzicato strings", "arp")),
    "brass": (("brass section", "halves"),), "bass": (("bass guitar", "walk"), ("synth bass", "walk"), ("upright bass", "walk")),
}  # fmt: skip


def _assign_sounds(style: Style, stems: tuple[str, ...], rng: SeededRNG) -> dict[str, tuple[str, str]]:
    """The sound and manner of every stem; at most one lead besides a singer, the others accompany."""
    cast: dict[str, tuple[str, str]] = {}
    leads = 1 if "vocals" in stems else 0
    for stem in STEMS:
        solo, usual = SOLO_SOUNDS.get(stem, ()), style.parts.get(stem, (0, ()))[1] or FALLBACK_SOUNDS.get(stem, ())
        choice = rng.shuffled(solo if stems == (stem,) and solo else usual)
        if stem not in stems or stem == "drums":
            continue
        accompanying = [c for c in choice if c[1] != "lead"]
        cast[stem] = accompanying[0] if leads and accompanying and stem != "vocals" else choice[0]
        leads += cast[stem][1] == "lead" and stem != "vocals"
    return cast


def _harmony_slots(
    bars: int, beats: float, meter: Meter, tonic: int, mode: str, harmony: str, rng: SeededRNG
) -> tuple[HarmonySlot, ...]:
    """A chord a bar, or half a bar where the song is so short that it would not come home."""
    halves = bars < 4 and meter.beats % 2 == 0
    length = meter.beats / 2 if halves else float(meter.beats)
    count = bars * (2 if halves else 1)
    sounding = min(count, max(1, math.ceil(beats / length - 0.12)))
    cadence = rng.choice(("V", "V", "IV" if mode == "major" else "iv"))
    names = progression(rng.choice(PROGRESSIONS[mode][harmony]), sounding, mode, cadence)
    names += names[-1:] * (count - sounding)
    classes = [tuple((tonic + c) % 12 for c in CHORDS[mode][name]) for name in names]
    return tuple(HarmonySlot(i * length, length, n, c) for i, (n, c) in enumerate(zip(names, classes, strict=True)))


def _sing(context: ArrangementContext, seed: int) -> tuple[list[BeatNote], dict[int, list[str]]]:
    """A syllable a note, section by section; returns the notes and each section's lines."""
    rng = SeededRNG(seed, "vocals")
    lyrics_rng = SeededRNG(seed, "lyrics")
    notes = arrangement.melody(context, rng, arrangement.LEAD_CENTRES["vocals"] + rng.integer(-3, 3))
    refrain = [lyric_line(lyrics_rng) for _ in range(2)]
    hits, lines = [], {}
    for index, section in enumerate(context.form):
        if "vocals" not in section.stems:
            continue
        begin, end = section.first * context.meter.beats, (section.first + section.bars) * context.meter.beats
        sung = [n for n in notes if begin - 1e-6 <= n[0] < end - 1e-6]
        text = list(refrain) if section.tag == "Chorus" else [lyric_line(lyrics_rng) for _ in range(2)]
        while sum(len(vowels(line)) for line in text) < len(sung) and len(text) < 6:
            text.append(lyric_line(lyrics_rng))
        if section.bars < 3:
            text = text[:2] if len(sung) > 5 else text[:1]
        syllables = [v for line in text for v in vowels(line)]
        hits += [BeatNote("vocals", f"voice {syllables[i % len(syllables)]}", *note) for i, note in enumerate(sung)]
        lines[index] = [" ".join(line) for line in text]
    return hits, lines


def _play(context: ArrangementContext, stem: str, sound: str, manner: str, seed: int) -> list[BeatNote]:
    rng = SeededRNG(seed, f"play {stem}")
    if stem == "bass" and manner != "lead":
        return arrangement.bass(context, sound, manner, rng)
    if stem == "percussion":
        return arrangement.percussion(context, sound, rng)
    if stem == "fx":
        return arrangement.effects(context, sound, rng)
    if manner == "pad":
        return arrangement.pad(context, stem, sound, rng)
    if manner == "arp":
        return arrangement.arpeggio(context, stem, sound, rng)
    if manner == "lead":
        return arrangement.lead(context, stem, sound, rng)
    return arrangement.chords(context, stem, sound, manner, rng)


def _in_seconds(context: ArrangementContext, hits: Iterable[BeatNote], seconds: float) -> list[Note]:
    """Keep what falls into a section where its stem plays; beats become seconds."""
    beat, beats = 60 / context.bpm, context.meter.beats
    notes = []
    for stem, sound, start, length, pitch, velocity in hits:
        section = context.section_at(min(context.bars - 1, int(start / beats + 1e-6)))
        if stem not in section.stems and not (stem == "fx" and sound == "riser"):
            continue
        at = start * beat
        if at < seconds - 0.04:
            notes.append(Note(stem, sound, at, min(length * beat, seconds - at), pitch, velocity))
    return notes


MODIFIERS = {"drums": "no drums", "bass": "no bass", "vocals": "instrumental"}


def _lyrics(form: tuple[FormSection, ...], lines: dict[int, list[str]], stems: tuple[str, ...], rng: SeededRNG) -> str:
    """Tags with what is special about each section, and the words sung there."""
    if not lines and len(form) == 1:
        return "[Instrumental]"
    tells_rests, blocks = rng.happens(0.4), []
    for index, section in enumerate(form):
        missing = [MODIFIERS[s] for s in ("drums", "bass") if s in stems and s not in section.stems]
        tag = f"[{section.tag} - {missing[0]}]" if tells_rests and missing else f"[{section.tag}]"
        blocks.append("\n".join([tag, *lines.get(index, [])]))
    return "\n\n".join(blocks)


def _sections(context: ArrangementContext, notes: list[Note], seconds: float) -> tuple[Section, ...]:
    bar = context.meter.beats * 60 / context.bpm
    rows = []
    for index, section in enumerate(context.form):
        start, end = (
            section.first * bar,
            seconds if index == len(context.form) - 1 else (section.first + section.bars) * bar,
        )
        playing = {n.stem for n in notes if start - 1e-6 <= n.start < end - 1e-6}
        rows.append(Section(section.tag, start, end, tuple(s for s in STEMS if s in playing)))
    return tuple(rows)


def _check_arguments(
    seconds: float, style: str | None, timesignature: str | None, instruments: Iterable[str] | None
) -> None:
    if not SHORTEST <= seconds <= LONGEST:
        raise RecipeError(f"A synthetic song lasts {SHORTEST:g} to {LONGEST:g} seconds, not {seconds:g}.")
    if style is not None and style not in STYLES:
        raise RecipeError(
            f"There is no style {style!r}.{nearest(style, STYLES)} There are {', '.join(sorted(STYLES))}."
        )
    if timesignature is not None and timesignature not in METERS:
        raise RecipeError(f"{timesignature!r} is no meter of a synthetic song; there are {', '.join(METERS)}.")
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

    `full` asks for every stem that usually plays in the style, in every section (no solos, no breakdowns). Raises RecipeError
    for an unknown style, meter or instrument, a length outside 4 to 240 seconds, or instruments that would play nothing.
    """
    instruments = None if instruments is None else tuple(instruments)
    _check_arguments(seconds, style, timesignature, instruments)
    row = STYLES[style or SeededRNG(seed, "style").choice(sorted(STYLES))]
    bpm = bpm or _draw_bpm(row, SeededRNG(seed, "bpm"))
    keyscale = keyscale or _draw_key(row, SeededRNG(seed, "key"))
    meter = METERS[timesignature or _draw_meter(row, SeededRNG(seed, "meter"))]
    requested = tuple(s for s in STEMS if s in set(instruments)) if instruments is not None else None
    stems = requested or _draw_stems(row, SeededRNG(seed, "stems"), full)
    tonic, mode = parse_key(keyscale)
    bars = bars_in(seconds, bpm, meter)
    form = tuple(plan_form(bars, stems, SeededRNG(seed, "form"), full))
    slots = _harmony_slots(bars, seconds * bpm / 60, meter, tonic, mode, row.harmony, SeededRNG(seed, "harmony"))
    context = ArrangementContext(row, meter, bpm, tonic, mode, slots, form, bars)
    cast = _assign_sounds(row, stems, SeededRNG(seed, "cast"))
    lines: dict[int, list[str]] = {}
    hits: list[BeatNote] = arrangement.drums(context, SeededRNG(seed, "drums")) if "drums" in stems else []
    for stem, (sound, manner) in cast.items():
        if stem == "vocals":
            sung, lines = _sing(context, seed)
            hits += sung
        else:
            hits += _play(context, stem, sound, manner, seed)
    notes = sorted(_in_seconds(context, hits, seconds), key=lambda n: (n.start, n.stem, n.pitch))
    present = tuple(s for s in STEMS if any(n.stem == s for n in notes))
    if not present:
        raise RecipeError(
            f"In {seconds:g} seconds {' and '.join(stems)} alone would play nothing; add another instrument."
        )
    sounds = tuple((s, "drums" if s == "drums" else cast[s][0]) for s in present)
    absent = tuple(s for s in ABSENT_WORDS if s not in present and not (s == "vocals" and "backing_vocals" in present))
    facts = CaptionFacts(row.name, row.words, row.moods, bpm, keyscale, meter.sign, sounds, absent)
    beat = 60 / bpm
    total = int(seconds / beat - 1e-6) + 1
    return Song(
        seed=seed, seconds=seconds, bpm=bpm, keyscale=keyscale, timesignature=meter.sign, style=row.name, instruments=present,
        caption=caption(facts, SeededRNG(seed, "caption")), lyrics=_lyrics(form, lines, present, SeededRNG(seed, "tags")),
        sections=_sections(context, notes, seconds), beats=tuple(i * beat for i in range(total)),
        downbeats=tuple(i * beat for i in range(0, total, meter.beats)),
        chords=tuple(Chord(s.start * beat, min(seconds, (s.start + s.length) * beat), f"{NOTE_NAMES[s.classes[0]]} ({s.numeral})", s.classes) for s in context.slots if s.start * beat < seconds),
        notes=tuple(notes), echo=row.echo, pump=row.pump,
    )  # fmt: skip
