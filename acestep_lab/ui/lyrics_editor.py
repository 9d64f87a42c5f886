"""LyricsEditor: words and section tags. The browser half is `widgets/lyrics.js`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import lyrics as words
from acestep_lab.prompt import vocabulary
from acestep_lab.prompt.literal import literal
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Name, fits
from acestep_lab.ui.messages import text as words_of

NAMES = {
    "ar": "Arabic", "az": "Azerbaijani", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da":
    "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "ht": "Haitian Creole", "hu": "Hungarian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean", "la": "Latin", "lt":
    "Lithuanian", "ms": "Malay", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pa": "Punjabi", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sa": "Sanskrit", "sk": "Slovak", "sr": "Serbian", "sv":
    "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish", "uk":
    "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "yue": "Cantonese", "zh": "Chinese", "unknown": "Unknown",
}  # fmt: skip
"""What a language is called in this interface."""

_LONGEST = 100_000
Lyrics = Annotated[str, words_of(_LONGEST)]
_read = words_of(_LONGEST)


class LyricsEditor(Component):
    """Lyrics with section tags recognised as they are typed, an estimate of each section's length, and what may
    surprise.

    Any script; the text is never rewritten. `instrumental` puts the text aside and brings it back.

    ::

        words = LyricsEditorWidget("[Verse]\\nRain on the tin roof", language="en", seconds=20)
        words.on("changed", lambda: print(words.text))
    """

    module = "lyrics"
    fields: ClassVar[Mapping[str, object]] = {
        "text": "",
        "language": "",
        "instrumental": False,
        "sections": [],
        "remarks": [],
        "needed": 0.0,
        "duration": None,
        "tag_names": [],
        "languages": [],
        "sings": True,
        "revision": 0,
        "code": "",
        "kept_for": "",
        "locked": False,
    }

    revision: int
    sings: bool
    locked: bool
    kept_for: str
    languages: list[list[str]]
    sections: list[dict[str, Any]]

    def setup(
        self, text: str = "", language: str | None = None, seconds: float | None = None, bpm: float | None = None
    ) -> None:
        """Begin with these lyrics; `seconds` and `bpm` are what the estimate is compared with."""
        self._seconds, self._bpm = _measure("length", seconds), _measure("tempo", bpm)
        self._text = ""
        self.tag_names = list(vocabulary.SECTION_TAGS)
        self.languages = _named(vocabulary.LANGUAGES)
        self.load(text, language)

    def adopt(self, languages: Sequence[str], sings: bool) -> None:
        """Offer what another checkpoint understands; the words stay, also where they are not sung for now."""
        self.languages, self.sings = _named(languages), sings
        self._show()

    @property
    def value(self) -> str:
        """The lyrics as a recipe wants them; "[Instrumental]" where the switch is on, none where nobody sings."""
        if not self.sings:
            return ""
        return vocabulary.INSTRUMENTAL if self.instrumental else self._text

    @property
    def chosen_language(self) -> str | None:
        """The language code, or None for auto, and for one that is not offered."""
        offered = self.sings and any(code == self.language for code, _ in self.languages)
        return self.language if offered else None

    def load(self, text: str, language: str | None = None) -> None:
        """Show other lyrics; the typed ones are replaced."""
        text, code = _read("The lyrics", text), vocabulary.language(language) if language else ""
        self.instrumental = text.strip() == vocabulary.INSTRUMENTAL
        self._text = "" if self.instrumental else text
        self.language = code
        self.revision = self.revision + 1
        self._show()
        self.notify("changed")

    def to_keep(self) -> dict[str, object]:
        """What a browser keeps of the words for the next visit."""
        return {"text": self._text, "language": self.language or "", "instrumental": self.instrumental}

    def restore(self, words: Mapping[str, object]) -> None:
        """Take up words that a browser kept; what it did not keep is empty. A language that is none is auto."""
        text, code = words.get("text") or "", str(words.get("language") or "")
        self.load(str(text), code if code in NAMES else None)
        self.instrumental = words.get("instrumental") is True
        self._show()
        self.notify("changed")

    def compare_with(self, seconds: float | None, bpm: float | None) -> None:
        """Hold the estimate against another length and tempo."""
        if (seconds, bpm) != (self._seconds, self._bpm):
            self._seconds, self._bpm = _measure("length", seconds), _measure("tempo", bpm)
            self._show()

    def do_text(self, text: Lyrics) -> None:
        """The text was changed."""
        self._text = text
        self._show()
        self.notify("changed")

    def do_language(self, code: Name = "") -> None:
        """The language was chosen; "" is auto."""
        self.language = vocabulary.language(code) if code else ""
        self._show()
        self.notify("changed")

    def do_instrumental(self, on: bool) -> None:
        """No voice, or the words again."""
        self.instrumental = on
        self._show()
        self.notify("changed")

    def do_lock(self, on: bool = True) -> None:
        """Leave these words alone when a take is loaded or the planner polishes; or let them go."""
        self.locked = on
        self.notify("lock", on=on)

    def _show(self) -> None:
        text, bpm = self._text, self._bpm or 100.0
        found = words.sections(text)
        self.sections = [
            {
                "tag": s.tag or "before the first tag",
                "modifier": s.modifier,
                "line": s.start_line,
                "known": s.known,
                "seconds": round(words.estimate_seconds(s, bpm), 1),
                "lines": len(s.lines),
                "first": s.lines[0] if s.lines else "",
            }
            for s in found
        ]
        self.needed = round(sum(s["seconds"] for s in self.sections), 1)
        self.duration = self._seconds
        self.remarks = [{"line": r.line, "text": r.text} for r in words.remarks(text, self._seconds, self._bpm)]
        self.text = text
        self.code = f"lyrics = {literal(self.value)}"


def _named(languages: Sequence[str]) -> list[list[str]]:
    """Language codes with their names."""
    return [[code, NAMES.get(code, code)] for code in languages]


def _measure(name: str, value: float | None) -> float | None:
    """A length or tempo to hold the words against, or None."""
    if not fits(None, value) or (value is not None and value <= 0):
        raise RecipeError(f"Lyrics are compared with a {name} above 0, not {shown(value)}.")
    return value


LyricsEditorWidget, LyricsEditorPane = widget_and_pane(LyricsEditor)
