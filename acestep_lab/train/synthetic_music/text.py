"""The text of a song: captions in varied plain English, lyrics with section tags and syllables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from acestep_lab.train.synthetic_music.rng import SeededRNG

SOUND_WORDS = {
    "piano": ("piano", "soft piano", "grand piano"), "electric piano": ("electric piano", "Rhodes", "Rhodes electric piano"),
    "organ": ("organ", "Hammond organ", "drawbar organ"), "nylon guitar": ("nylon guitar", "classical guitar", "nylon-string guitar"),
    "acoustic guitar": ("acoustic guitar", "steel-string guitar", "strummed guitar"), "electric guitar": ("electric guitar", "clean guitar", "clean electric guitar"),
    "distorted guitar": ("distorted guitar", "overdriven guitar", "crunchy guitar"), "bass guitar": ("bass guitar", "electric bass", "bass"),
    "upright bass": ("upright bass", "double bass", "acoustic bass"), "synth bass": ("synth bass", "analog bass", "bass synth"),
    "sub bass": ("sub bass", "deep bass", "deep sub bass"), "warm pad": ("warm pad", "soft synth pad", "pad"),
    "bright pad": ("bright synth pad", "shimmering pad", "synth pad"), "synth pluck": ("plucked synth", "synth arpeggio", "synth plucks"),
    "synth lead": ("synth lead", "saw lead", "lead synth"), "square lead": ("square-wave lead", "chiptune lead", "square synth lead"),
    "strings": ("strings", "string section", "lush strings"), "violin": ("violin", "solo violin", "fiddle"),
    "pizzicato strings": ("pizzicato strings", "plucked strings", "pizzicato"), "flute": ("flute", "airy flute", "solo flute"),
    "clarinet": ("clarinet", "mellow clarinet", "solo clarinet"), "saxophone": ("saxophone", "sax", "tenor sax"),
    "trumpet": ("trumpet", "solo trumpet", "bright trumpet"), "brass section": ("brass", "brass section", "horns"),
    "voice": ("vocals", "a lead singer", "singing voice"), "choir a": ("choir", "backing vocals", "background choir"),
    "choir u": ("humming choir", "backing vocals", "soft background voices"), "shaker": ("shaker", "percussion", "soft shaker"),
    "tambourine": ("tambourine", "percussion", "tambourine hits"), "conga": ("congas", "percussion", "hand drums"),
    "riser": ("risers", "sweeping effects", "noise sweeps"), "impact": ("impacts", "boom effects", "sound effects"),
    "vinyl": ("vinyl crackle", "tape hiss", "record crackle"), "drums": ("drums", "a drum kit", "a steady beat"),
}  # fmt: skip
ABSENT_WORDS = {
    "drums": "drums", "bass": "bass", "vocals": "vocals", "guitar": "guitar", "keyboard": "keys", "synth": "synths",
    "strings": "strings", "brass": "brass", "percussion": "percussion", "woodwinds": "woodwinds",
}  # fmt: skip
FAMILY_WORDS = {
    "keyboard": "keys",
    "guitar": "guitar",
    "synth": "synth",
    "strings": "strings",
    "brass": "brass",
    "woodwinds": "woodwinds",
    "bass": "bass",
    "vocals": "vocals",
    "drums": "drums",
}


def caption_words(stem: str, sounds: Iterable[str]) -> set[str]:
    """Every word by which a caption may name a stem that plays these sounds."""
    words = {FAMILY_WORDS[stem]} if stem in FAMILY_WORDS else set()
    names = ("drums",) if stem == "drums" else ["voice" if sound.startswith("voice") else sound for sound in sounds]
    return {word.removeprefix("a ") for word in words.union(*(SOUND_WORDS[name] for name in names))}


@dataclass(frozen=True)
class CaptionFacts:
    """What a caption may mention."""

    style: str
    style_words: tuple[str, ...]
    moods: tuple[str, ...]
    bpm: int
    keyscale: str
    timesignature: str
    sounds: tuple[tuple[str, str], ...]  # (stem, sound)
    absent: tuple[str, ...]


def tempo_word(bpm: int, rng: SeededRNG) -> str:
    """A word for a tempo."""
    rows = ((66, ("very slow", "slow", "crawling")), (88, ("slow", "downtempo", "unhurried")), (112, ("mid-tempo", "walking-pace", "moderate")),
            (138, ("upbeat", "lively", "moving")), (400, ("fast", "fast-paced", "quick")))  # fmt: skip
    return rng.choice(next(words for top, words in rows if bpm < top))


def meter_word(sign: str, rng: SeededRNG) -> str:
    """Words for a meter."""
    return rng.choice(
        {
            "2": ("in 2/4", "in two"),
            "3": ("in 3/4", "in three-four time", "in waltz time"),
            "4": ("in 4/4", "in four-four time"),
            "6": ("in 6/8", "in six-eight time"),
        }[sign]
    )


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _names(facts: CaptionFacts, rng: SeededRNG) -> list[str]:
    names = []
    for stem, sound in rng.shuffled(facts.sounds):
        if len(facts.sounds) > 1 and rng.happens(0.1):
            continue
        word = (
            FAMILY_WORDS[stem]
            if stem in FAMILY_WORDS and rng.happens(0.25)
            else rng.choice(SOUND_WORDS["voice" if sound.startswith("voice") else sound])
        )
        if word not in names:
            names.append(word)
    return names or [rng.choice(SOUND_WORDS["voice" if facts.sounds[0][1].startswith("voice") else facts.sounds[0][1]])]


def caption(facts: CaptionFacts, rng: SeededRNG) -> str:
    """One or two sentences, or a list of tags, about style, mood, instruments, absences, tempo, key."""
    names, style, mood = _names(facts, rng), rng.choice(facts.style_words), rng.choice(facts.moods)
    tempo = tempo_word(facts.bpm, rng) if rng.happens(0.5) else ""
    mood, tempo = (
        "" if word in style or word == said_before else word for word, said_before in ((mood, ""), (tempo, mood))
    )
    missing = (
        [ABSENT_WORDS[s] for s in rng.shuffled(facts.absent)][: rng.integer(1, 2)]
        if facts.absent and rng.happens(0.45)
        else []
    )
    extras = (
        [f"{facts.bpm} BPM"] * rng.happens(0.15)
        + [facts.keyscale] * rng.happens(0.12)
        + [meter_word(facts.timesignature, rng)] * rng.happens(0.15)
    )
    if len(facts.sounds) == 1 and rng.happens(0.8):
        head = f"{tempo} {mood} solo {names[0].replace('solo ', '').removeprefix('a ')} {rng.choice(('piece', 'performance', 'improvisation'))}".strip()
        return _finish(", ".join([f"{head} in {_article(style)} style", *extras]), rng)
    if rng.happens(0.3):
        return ", ".join(
            [*rng.shuffled([x for x in (style, mood, tempo) if x]), *names, *[f"no {g}" for g in missing], *extras]
        )
    what = " ".join(x for x in (tempo, mood, style) if x)
    without = f"{rng.choice((' without ', ', no ', ' but no '))}{' or '.join(missing)}" if missing else ""
    form = rng.integer(0, 4)
    listed = _joined(names)
    if form == 0:
        text = f"{what} with {listed}{without}"
    elif form == 1:
        text = f"{_article(what)} {rng.choice(('track', 'piece', 'song', 'tune'))} featuring {listed}{without}"
    elif form == 2:
        text = f"{what}: {listed}{without}"
    elif form == 3:
        text = f"{what} {rng.choice(('built on', 'carried by', 'led by', 'driven by'))} {listed}{without}"
    else:
        text = f"{listed} {rng.choice(('play', 'in'))} {_article(what)}{rng.choice((' groove', ' piece', ' track'))}{without}"
    return _finish(", ".join([text, *extras]), rng)


def _article(words: str) -> str:
    return ("an " if words[0].lower() in "aeiou8" else "a ") + words


def _finish(text: str, rng: SeededRNG) -> str:
    if rng.happens(0.5):
        return text
    return text[0].upper() + text[1:] + "."


# Sung words: each syllable's vowel, so that what is sung is what is written.
SYLLABLE_VOWELS: dict[str, str] = {
    "moon": "u", "light": "a", "fire": "a", "night": "a", "day": "e", "home": "o", "road": "o", "rain": "e", "sea": "i", "free": "i",
    "dream": "i", "soul": "o", "heart": "a", "star": "a", "sky": "a", "blue": "u", "true": "u", "you": "u", "me": "i", "go": "o",
    "slow": "o", "stay": "e", "away": "ae", "river": "ie", "morning": "oi", "golden": "oe", "summer": "ae", "window": "io",
    "dancing": "ai", "falling": "oi", "over": "oe", "under": "ae", "again": "ae", "the": "e", "my": "a", "we": "i", "in": "i",
    "love": "a", "on": "o", "and": "a", "so": "o", "now": "a", "all": "o", "hold": "o", "come": "a", "sleep": "i", "deep": "i",
}  # fmt: skip
FUNCTION_WORDS = ("the", "my", "we", "in", "on", "and", "so", "all", "you", "me")


def lyric_line(rng: SeededRNG) -> list[str]:
    """The words of one sung line."""
    content_words = [w for w in SYLLABLE_VOWELS if w not in FUNCTION_WORDS]
    shape = rng.choice(("sBsB", "BsB", "sBB", "BBsB", "sBsBB"))
    return [rng.choice(FUNCTION_WORDS) if mark == "s" else rng.choice(content_words) for mark in shape]


def vowels(words: list[str]) -> list[str]:
    """The vowel of each syllable of some words."""
    return [vowel for word in words for vowel in SYLLABLE_VOWELS[word]]
