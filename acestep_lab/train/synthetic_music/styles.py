"""The styles of synthetic songs, one row each, and the rhythmic patterns they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

# Drum patterns on the sixteenth grid of one bar (6/8: twelve sixteenths), per meter.
# x full, o softer, - ghost.
Pattern = dict[str, dict[str, str]]
DRUMS: dict[str, Pattern] = {
    "four": {
        "4": {"kick": "x...x...x...x...", "snare": "....x.......x...", "hat": "..x...x...x...x.", "hat2": "-.-.-.-.-.-.-.-."},
        "3": {"kick": "x...x...x...", "snare": "....o...x...", "hat": "..x...x...x."},
        "2": {"kick": "x...x...", "snare": "....x...", "hat": "..x...x."},
        "6": {"kick": "x.....x.....", "snare": "......x.....", "hat": "x.o.o.x.o.o."},
    },
    "back": {
        "4": {"kick": "x.......x.o.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
        "3": {"kick": "x...........", "snare": "....x...x...", "hat": "x.o.x.o.x.o."},
        "2": {"kick": "x.....o.", "snare": "....x...", "hat": "x.o.x.o."},
        "6": {"kick": "x.........o.", "snare": "......x.....", "hat": "x.o.o.x.o.o."},
    },
    "funk": {
        "4": {"kick": "x..o..o...x..o..", "snare": "....x..-.-..x..-", "hat": "x-o-x-o-x-o-x-o-"},
        "3": {"kick": "x..o......o.", "snare": "....x..-x...", "hat": "x-o-x-o-x-o-"},
        "2": {"kick": "x..o..o.", "snare": "....x..-", "hat": "x-o-x-o-"},
        "6": {"kick": "x....o....o.", "snare": "......x..-..", "hat": "x-o-o-x-o-o-"},
    },
    "hiphop": {
        "4": {"kick": "x......ox.o.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.xo"},
        "3": {"kick": "x......o....", "snare": "....x...o...", "hat": "x.x.x.x.x.x."},
        "2": {"kick": "x..o....", "snare": "....x...", "hat": "x.x.x.xo"},
        "6": {"kick": "x...o.......", "snare": "......x.....", "hat": "x.o.o.x.o.o."},
    },
    "bossa": {
        "4": {"kick": "x..ox..ox..ox..o", "rim": "x..x..x...x..x..", "hat": "x.o.x.o.x.o.x.o."},
        "3": {"kick": "x..o....o...", "rim": "....x...x...", "hat": "x.o.x.o.x.o."},
        "2": {"kick": "x..ox..o", "rim": "x..x..x.", "hat": "x.o.x.o."},
        "6": {"kick": "x....ox....o", "rim": "x..x....x...", "hat": "x.o.o.x.o.o."},
    },
    "waltz": {
        "4": {"kick": "x...............", "snare": "....o...o...o...", "hat": "....x...x...x..."},
        "3": {"kick": "x...........", "snare": "....o...o...", "hat": "....x...x..."},
        "2": {"kick": "x.......", "snare": "....o...", "hat": "....x..."},
        "6": {"kick": "x...........", "snare": "......o.....", "hat": "..x.x...x.x."},
    },
    "half": {
        "4": {"kick": "x.........o.....", "snare": "........x.......", "hat": "x...o...x...o..."},
        "3": {"kick": "x...........", "snare": "........x...", "hat": "x...o...o..."},
        "2": {"kick": "x.......", "snare": "....x...", "hat": "x...o..."},
        "6": {"kick": "x...........", "snare": "......x.....", "hat": "x.....o....."},
    },
    "break": {
        "4": {"kick": "x.x.......x.....", "snare": "....x..-.-..x...", "hat": "x.x.x.x.x.x.x.x."},
        "3": {"kick": "x.x.........", "snare": "....x..-x...", "hat": "x.x.x.x.x.x."},
        "2": {"kick": "x.x.....", "snare": "....x..-", "hat": "x.x.x.x."},
        "6": {"kick": "x...o.......", "snare": "......x...-.", "hat": "x.x.x.x.x.x."},
    },
    "march": {
        "4": {"kick": "x.......x.......", "snare": "....x..o....x.oo", "hat": "x...x...x...x..."},
        "3": {"kick": "x...........", "snare": "....x...x.oo", "hat": "x...x...x..."},
        "2": {"kick": "x.......", "snare": "....x.oo", "hat": "x...x..."},
        "6": {"kick": "x...........", "snare": "......x...o.", "hat": "x.....x....."},
    },
    "jazz": {
        "4": {"kick": "x.......o.......", "snare": "....-.......-...", "ride": "x...x.o.x...x.o.", "hat": "....o.......o..."},
        "3": {"kick": "x...........", "snare": "........-...", "ride": "x...x.o.x...", "hat": "....o...o..."},
        "2": {"kick": "x.......", "snare": "....-...", "ride": "x...x.o.", "hat": "....o..."},
        "6": {"kick": "x...........", "snare": "......o.....", "ride": "x.o.o.x.o.o."},
    },
}  # fmt: skip

PERCUSSION: Pattern = {
    "shaker": {"4": "o-x-o-x-o-x-o-x-", "3": "o-x-o-x-o-x-", "2": "o-x-o-x-", "6": "x.o.o.x.o.o."},
    "tambourine": {"4": "....x.......x...", "3": "....x...x...", "2": "....x...", "6": "......x....."},
    "conga": {"4": "..o...xx..o...xx", "3": "..o...x...xx", "2": "..o...xx", "6": "x...o.x.o.o."},
}  # fmt: skip

# Bass on the eighth grid (6/8: six eighths): 1 root, 5 fifth, 8 octave, 3 third, - hold, . rest.
BASS: Pattern = {
    "roots": {"4": "1---1---", "3": "1-----", "2": "1---", "6": "1-----"},
    "eighths": {"4": "11111111", "3": "111111", "2": "1111", "6": "111111"},
    "fifths": {"4": "1---5---", "3": "1---5-", "2": "1-5-", "6": "1--5--"},
    "walk": {"4": "1-3-5-3-", "3": "1-3-5-", "2": "1-5-", "6": "1-35-3"},
    "octaves": {"4": "18181818", "3": "181818", "2": "1818", "6": "118118"},
    "off": {"4": ".1.1.1.1", "3": ".1.1.1", "2": ".1.1", "6": "1.11.1"},
    "bossa": {"4": "1--55--1", "3": "1--55-", "2": "1--5", "6": "1-55-1"},
    "funk": {"4": "1.81.1.5", "3": "1.81.5", "2": "1.85", "6": "1.81.5"},
    "dub": {"4": "1-.1..5.", "3": "1-.1..", "2": "1-.1", "6": "1-.1.."},
    "long": {"4": "1-------", "3": "1-----", "2": "1---", "6": "1-----"},
}

# Chords on the eighth grid: x short, h held until the next, . nothing.
COMPING: Pattern = {
    "held": {"4": "h.......", "3": "h.....", "2": "h...", "6": "h....."},
    "halves": {"4": "h...h...", "3": "h...h.", "2": "h.h.", "6": "h..h.."},
    "quarters": {"4": "x.x.x.x.", "3": "x.x.x.", "2": "x.x.", "6": "x..x.."},
    "offbeat": {"4": ".x.x.x.x", "3": ".x.x.x", "2": ".x.x", "6": "..x..x"},
    "oompah": {"4": "..x...x.", "3": "..x.x.", "2": "..x.", "6": ".xx.xx"},
    "strum": {"4": "h.hh.hh.", "3": "h.hhh.", "2": "h.hh", "6": "h.hh.h"},
    "charleston": {"4": "h..h....", "3": "h..h..", "2": "h..h", "6": "h.h..."},
    "bossa": {"4": "h..h..h.", "3": "h..h.h", "2": "h..h", "6": "h..hh."},
    "dub": {"4": "...x...x", "3": "...x.x", "2": "...x", "6": "..x..x"},
    "pulse": {"4": "xxxxxxxx", "3": "xxxxxx", "2": "xxxx", "6": "xxxxxx"},
}


@dataclass(frozen=True)
class Style:
    """A way of making music; `parts` maps a stem to (probability, ((sound, manner), …)).

    A manner is a COMP pattern's name, "arp", "pad" or "lead"; for bass a BASS pattern's name.
    """

    name: str
    words: tuple[str, ...]
    moods: tuple[str, ...]
    bpm: tuple[int, int]
    meters: tuple[tuple[str, float], ...]
    minor: float
    harmony: str
    kit: dict[str, str]
    drums: tuple[str, ...]
    parts: dict[str, tuple[float, tuple[tuple[str, str], ...]]]
    drum_chance: float = 0.78
    swing: float = 0.5  # where the offbeat eighth falls within the beat
    echo: float = 0.0  # echo level on keyboard, guitar, synth stabs and leads
    pump: float = 0.0  # how far the kick pushes pads down
    levels: dict[str, float] = field(default_factory=dict)


ACOUSTIC = {"kick": "kick acoustic", "snare": "snare acoustic", "rim": "rim"}
ELECTRONIC = {"kick": "kick electronic", "snare": "clap", "rim": "rim"}
MACHINE = {"kick": "kick electronic", "snare": "snare electronic", "rim": "rim"}
SOFT = {"kick": "kick soft", "snare": "snare soft", "rim": "rim"}
BRUSHES = {"kick": "kick soft", "snare": "brush", "rim": "rim"}
BIG = {"kick": "kick acoustic", "snare": "snare big", "rim": "rim"}
SUNG = (("voice", "lead"),)
CHOIR = (("choir a", "pad"), ("choir u", "pad"))
HANDS = (("shaker", "hit"), ("tambourine", "hit"), ("conga", "hit"))

STYLES: dict[str, Style] = {
    row.name: row
    for row in (
        Style(
            "house", ("house", "deep house", "club house", "dance house"),
            ("uplifting", "groovy", "driving", "bright", "late-night"), (116, 130), (("4", 1.0),), 0.5, "pop", ELECTRONIC, ("four",),
            {
                "bass": (0.85, (("synth bass", "off"), ("synth bass", "octaves"), ("sub bass", "off"))),
                "keyboard": (0.7, (("piano", "offbeat"), ("organ", "offbeat"), ("electric piano", "charleston"))),
                "synth": (0.75, (("warm pad", "pad"), ("synth pluck", "arp"), ("synth lead", "lead"))),
                "strings": (0.45, (("strings", "pad"),)),
                "guitar": (0.2, (("electric guitar", "offbeat"),)),
                "brass": (0.2, (("brass section", "offbeat"), ("trumpet", "lead"))),
                "woodwinds": (0.12, (("saxophone", "lead"),)),
                "percussion": (0.45, HANDS), "vocals": (0.3, SUNG), "backing_vocals": (0.15, CHOIR),
                "fx": (0.3, (("riser", "fx"), ("impact", "fx"))),
            },
            0.88, pump=0.6,
        ),
        Style(
            "dub techno", ("dub techno", "minimal dub", "deep dub techno", "dub"),
            ("deep", "hazy", "slow-burning", "dark", "hypnotic"), (96, 126), (("4", 1.0),), 0.85, "drone", ELECTRONIC, ("four", "half"),
            {
                "bass": (0.8, (("sub bass", "dub"), ("sub bass", "long"), ("synth bass", "dub"))),
                "keyboard": (0.55, (("electric piano", "dub"), ("organ", "dub"))),
                "synth": (0.85, (("warm pad", "pad"), ("synth pluck", "dub"))),
                "strings": (0.3, (("strings", "pad"),)),
                "guitar": (0.25, (("electric guitar", "dub"),)),
                "woodwinds": (0.12, (("flute", "lead"),)), "brass": (0.12, (("trumpet", "lead"),)),
                "percussion": (0.4, HANDS), "vocals": (0.08, SUNG),
                "fx": (0.35, (("vinyl", "fx"), ("impact", "fx"))),
            },
            0.8, echo=0.45, pump=0.35,
        ),
        Style(
            "lo-fi hip hop", ("lo-fi hip hop", "lofi beats", "chillhop", "lo-fi"),
            ("mellow", "dusty", "relaxed", "sleepy", "warm"), (68, 92), (("4", 0.9), ("3", 0.1)), 0.55, "jazz", SOFT, ("hiphop",),
            {
                "bass": (0.75, (("upright bass", "roots"), ("sub bass", "fifths"), ("bass guitar", "dub"))),
                "keyboard": (0.75, (("electric piano", "charleston"), ("piano", "halves"), ("electric piano", "held"))),
                "guitar": (0.45, (("nylon guitar", "arp"), ("electric guitar", "charleston"), ("electric guitar", "lead"))),
                "synth": (0.45, (("warm pad", "pad"), ("square lead", "lead"))),
                "strings": (0.35, (("strings", "pad"), ("pizzicato strings", "arp"))),
                "woodwinds": (0.25, (("flute", "lead"), ("saxophone", "lead"))), "brass": (0.15, (("trumpet", "lead"),)),
                "percussion": (0.25, HANDS), "vocals": (0.15, SUNG), "backing_vocals": (0.1, CHOIR),
                "fx": (0.45, (("vinyl", "fx"),)),
            },
            0.8, swing=0.58,
        ),
        Style(
            "bossa nova", ("bossa nova", "bossa", "Brazilian bossa nova"),
            ("sunny", "gentle", "breezy", "elegant", "tender"), (110, 150), (("4", 0.7), ("2", 0.3)), 0.4, "jazz", BRUSHES, ("bossa",),
            {
                "bass": (0.8, (("upright bass", "bossa"), ("bass guitar", "bossa"))),
                "guitar": (0.8, (("nylon guitar", "bossa"),)),
                "keyboard": (0.45, (("piano", "charleston"), ("electric piano", "bossa"), ("piano", "lead"))),
                "strings": (0.4, (("strings", "pad"),)), "synth": (0.22, (("warm pad", "pad"),)),
                "woodwinds": (0.45, (("flute", "lead"), ("saxophone", "lead"), ("clarinet", "lead"))), "brass": (0.15, (("trumpet", "lead"),)),
                "percussion": (0.5, HANDS), "vocals": (0.3, SUNG), "backing_vocals": (0.1, CHOIR),
            },
            0.7,
        ),
        Style(
            "waltz", ("waltz", "ballroom waltz", "old waltz", "Viennese waltz"),
            ("graceful", "nostalgic", "dreamy", "romantic", "playful"), (88, 180), (("3", 1.0),), 0.4, "plain", BRUSHES, ("waltz",),
            {
                "bass": (0.75, (("upright bass", "long"), ("upright bass", "fifths"))),
                "keyboard": (0.6, (("piano", "oompah"), ("piano", "arp"))),
                "strings": (0.75, (("strings", "pad"), ("violin", "lead"), ("pizzicato strings", "oompah"), ("strings", "oompah"))),
                "guitar": (0.3, (("nylon guitar", "oompah"), ("acoustic guitar", "arp"))),
                "woodwinds": (0.45, (("clarinet", "lead"), ("flute", "lead"))),
                "brass": (0.3, (("brass section", "oompah"), ("brass section", "pad"), ("trumpet", "lead"))),
                "synth": (0.18, (("warm pad", "pad"),)), "percussion": (0.25, HANDS[:2]), "vocals": (0.2, SUNG), "backing_vocals": (0.15, CHOIR),
            },
            0.66,
        ),
        Style(
            "rock", ("rock", "indie rock", "garage rock", "classic rock"),
            ("energetic", "raw", "driving", "anthemic", "loud"), (100, 168), (("4", 0.9), ("3", 0.1)), 0.4, "pop", BIG, ("back", "break"),
            {
                "bass": (0.85, (("bass guitar", "eighths"), ("bass guitar", "roots"))),
                "guitar": (0.9, (("distorted guitar", "power"), ("electric guitar", "strum"), ("distorted guitar", "held"), ("electric guitar", "lead"))),
                "keyboard": (0.4, (("organ", "held"), ("piano", "quarters"))),
                "synth": (0.3, (("synth lead", "lead"), ("bright pad", "pad"))),
                "strings": (0.25, (("strings", "pad"),)), "brass": (0.15, (("brass section", "halves"),)), "woodwinds": (0.08, (("saxophone", "lead"),)),
                "percussion": (0.25, HANDS[:2]), "vocals": (0.45, SUNG), "backing_vocals": (0.25, CHOIR),
                "fx": (0.1, (("impact", "fx"),)),
            },
            0.88,
        ),
        Style(
            "ballad", ("ballad", "slow ballad", "piano ballad", "love ballad"),
            ("tender", "emotional", "sad", "heartfelt", "intimate"), (54, 84), (("4", 0.7), ("3", 0.15), ("6", 0.15)), 0.45, "pop", SOFT, ("half", "back"),
            {
                "bass": (0.65, (("bass guitar", "roots"), ("upright bass", "long"), ("bass guitar", "fifths"))),
                "keyboard": (0.85, (("piano", "arp"), ("piano", "quarters"), ("electric piano", "halves"))),
                "guitar": (0.4, (("acoustic guitar", "arp"), ("acoustic guitar", "strum"), ("electric guitar", "lead"))),
                "strings": (0.7, (("strings", "pad"), ("violin", "lead"))),
                "synth": (0.35, (("warm pad", "pad"),)),
                "woodwinds": (0.2, (("flute", "lead"), ("saxophone", "lead"))), "brass": (0.15, (("brass section", "pad"),)),
                "percussion": (0.12, HANDS[:2]), "vocals": (0.5, SUNG), "backing_vocals": (0.25, CHOIR),
            },
            0.7,
        ),
        Style(
            "synthwave", ("synthwave", "retrowave", "80s synth pop", "outrun synthwave"),
            ("neon", "nostalgic", "driving", "cinematic", "glossy"), (84, 124), (("4", 1.0),), 0.65, "pop", {**MACHINE, "snare": "snare big"}, ("back", "four"),
            {
                "bass": (0.9, (("synth bass", "eighths"), ("synth bass", "octaves"))),
                "synth": (0.92, (("bright pad", "pad"), ("synth pluck", "arp"), ("synth lead", "lead"), ("square lead", "lead"))),
                "keyboard": (0.35, (("electric piano", "held"), ("organ", "held"))),
                "guitar": (0.3, (("electric guitar", "lead"), ("distorted guitar", "power"))),
                "strings": (0.45, (("strings", "pad"),)), "brass": (0.12, (("brass section", "held"),)), "woodwinds": (0.12, (("saxophone", "lead"),)),
                "percussion": (0.15, HANDS[:2]), "vocals": (0.3, SUNG), "backing_vocals": (0.15, CHOIR),
                "fx": (0.3, (("riser", "fx"), ("impact", "fx"))),
            },
            0.85, echo=0.25, pump=0.3,
        ),
        Style(
            "funk", ("funk", "disco funk", "funky groove", "70s funk"),
            ("tight", "groovy", "playful", "upbeat", "sweaty"), (94, 122), (("4", 1.0),), 0.5, "plain", ACOUSTIC, ("funk",),
            {
                "bass": (0.92, (("bass guitar", "funk"), ("bass guitar", "octaves"), ("synth bass", "funk"))),
                "guitar": (0.75, (("electric guitar", "offbeat"), ("electric guitar", "charleston"))),
                "keyboard": (0.6, (("electric piano", "charleston"), ("organ", "offbeat"))),
                "brass": (0.5, (("brass section", "charleston"), ("trumpet", "lead"))),
                "synth": (0.3, (("synth lead", "lead"), ("synth pluck", "arp"))), "strings": (0.35, (("strings", "pad"),)),
                "woodwinds": (0.25, (("saxophone", "lead"),)), "percussion": (0.45, HANDS), "vocals": (0.3, SUNG), "backing_vocals": (0.2, CHOIR),
            },
            0.9,
        ),
        Style(
            "ambient", ("ambient", "ambient drone", "ambient soundscape", "slow ambient"),
            ("calm", "spacious", "floating", "meditative", "icy"), (48, 84), (("4", 0.7), ("3", 0.15), ("6", 0.15)), 0.5, "drone", SOFT, ("half",),
            {
                "synth": (0.92, (("warm pad", "pad"), ("bright pad", "pad"), ("synth pluck", "arp"))),
                "strings": (0.65, (("strings", "pad"), ("violin", "lead"))),
                "keyboard": (0.5, (("piano", "arp"), ("electric piano", "held"), ("piano", "held"))),
                "bass": (0.5, (("sub bass", "long"),)),
                "guitar": (0.3, (("electric guitar", "arp"), ("nylon guitar", "held"))),
                "woodwinds": (0.3, (("flute", "lead"), ("clarinet", "lead"))), "brass": (0.12, (("brass section", "pad"),)),
                "vocals": (0.06, SUNG), "backing_vocals": (0.35, CHOIR), "percussion": (0.1, HANDS[:1]),
                "fx": (0.3, (("vinyl", "fx"), ("riser", "fx"))),
            },
            0.28, echo=0.35,
        ),
        Style(
            "folk", ("folk", "acoustic folk", "country folk", "campfire folk"),
            ("warm", "honest", "rustic", "cheerful", "wistful"), (84, 140), (("4", 0.5), ("2", 0.2), ("3", 0.2), ("6", 0.1)), 0.35, "plain", BRUSHES, ("march", "back"),
            {
                "guitar": (0.92, (("acoustic guitar", "strum"), ("acoustic guitar", "arp"), ("nylon guitar", "arp"))),
                "bass": (0.65, (("upright bass", "fifths"), ("bass guitar", "roots"))),
                "strings": (0.6, (("violin", "lead"), ("strings", "pad"))),
                "keyboard": (0.3, (("piano", "quarters"), ("organ", "held"))),
                "woodwinds": (0.35, (("flute", "lead"), ("clarinet", "lead"))), "brass": (0.08, (("brass section", "pad"),)), "synth": (0.16, (("warm pad", "pad"),)),
                "percussion": (0.45, HANDS[:2]), "vocals": (0.45, SUNG), "backing_vocals": (0.2, CHOIR),
            },
            0.66,
        ),
        Style(
            "blues", ("slow blues", "6/8 blues", "blues", "smoky blues"),
            ("smoky", "lazy", "soulful", "gritty", "late-night"), (48, 84), (("6", 0.85), ("4", 0.15)), 0.45, "blues", ACOUSTIC, ("back", "jazz"),
            {
                "bass": (0.85, (("bass guitar", "walk"), ("upright bass", "walk"))),
                "guitar": (0.75, (("electric guitar", "lead"), ("electric guitar", "charleston"), ("distorted guitar", "lead"), ("electric guitar", "arp"))),
                "keyboard": (0.65, (("organ", "held"), ("piano", "oompah"), ("piano", "quarters"))),
                "brass": (0.3, (("brass section", "halves"), ("trumpet", "lead"))), "woodwinds": (0.35, (("saxophone", "lead"), ("clarinet", "lead"))),
                "strings": (0.22, (("strings", "pad"),)), "synth": (0.15, (("warm pad", "pad"),)),
                "percussion": (0.15, HANDS[:2]), "vocals": (0.4, SUNG), "backing_vocals": (0.15, CHOIR),
            },
            0.82,
        ),
        Style(
            "drum and bass", ("drum and bass", "liquid drum and bass", "jungle", "DnB"),
            ("fast", "restless", "airy", "dark", "rolling"), (160, 178), (("4", 1.0),), 0.7, "pop", MACHINE, ("break",),
            {
                "bass": (0.92, (("sub bass", "roots"), ("synth bass", "dub"), ("synth bass", "roots"))),
                "synth": (0.85, (("bright pad", "pad"), ("synth lead", "lead"), ("synth pluck", "arp"))),
                "keyboard": (0.45, (("electric piano", "held"), ("piano", "charleston"))),
                "strings": (0.5, (("strings", "pad"),)), "guitar": (0.12, (("electric guitar", "dub"),)),
                "woodwinds": (0.1, (("flute", "lead"),)), "brass": (0.1, (("brass section", "held"),)),
                "percussion": (0.3, HANDS), "vocals": (0.25, SUNG), "backing_vocals": (0.15, CHOIR),
                "fx": (0.3, (("riser", "fx"), ("impact", "fx"))),
            },
            0.9, pump=0.3,
        ),
        Style(
            "swing jazz", ("swing jazz", "jazz", "jazz combo", "smoky club jazz"),
            ("swinging", "cool", "witty", "relaxed", "lively"), (104, 208), (("4", 0.8), ("3", 0.2)), 0.35, "jazz", BRUSHES, ("jazz",),
            {
                "bass": (0.88, (("upright bass", "walk"),)),
                "keyboard": (0.75, (("piano", "charleston"), ("electric piano", "charleston"), ("piano", "lead"))),
                "guitar": (0.4, (("electric guitar", "quarters"), ("electric guitar", "lead"))),
                "woodwinds": (0.5, (("saxophone", "lead"), ("clarinet", "lead"), ("flute", "lead"))),
                "brass": (0.45, (("trumpet", "lead"), ("brass section", "charleston"))),
                "strings": (0.22, (("strings", "pad"),)), "synth": (0.13, (("warm pad", "pad"),)),
                "percussion": (0.12, HANDS[:1]), "vocals": (0.25, SUNG), "backing_vocals": (0.08, CHOIR),
            },
            0.82, swing=0.64,
        ),
    )
}  # fmt: skip
