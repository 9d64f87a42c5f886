"""Export: a take, or several, as a file for others. The browser half is `widgets/export.js`."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.audio import pyav
from acestep_lab.audio.audio import Audio
from acestep_lab.audio.exporting import BITRATES, LOSSY, ExportOptions, ready
from acestep_lab.errors import LabError, RecipeError, SourceError, code_of, sentence, shown
from acestep_lab.listen.timed_lyrics import Alignment
from acestep_lab.takes.exchange import export
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Ids, Name
from acestep_lab.ui.player import MOST_WRITTEN, file_name

STEPS = (32, 48, 64, 96, 128, 160, 192, 256, 320, 510)
"""Bitrates that are offered, where a format has them."""
LEVELS = ("", "peak", "loudness")
RATES = (44_100, 48_000, 96_000)
SOUNDS = ("flac", "wav", "opus", "mp3", "m4a")
"""Kinds of file that hold one sound, in the order they are offered; a zip and a page hold takes."""


def _form(kind: str) -> dict[str, Any]:
    """What can be chosen of a kind of file."""
    found: dict[str, Any] = {"kind": kind, "bits": [], "bitrates": [], "rates": [], "usual": 0, "share": 1.0}
    if kind in LOSSY or kind == "html":
        least, most, usual = BITRATES["opus" if kind == "html" else kind]
        found |= {"bitrates": [step for step in STEPS if least <= step <= most], "usual": usual}
        found["rates"] = list(RATES[:2]) if kind in ("mp3", "m4a") else []
    if kind in ("wav", "flac"):
        found |= {"bits": [16, 24, 32] if kind == "wav" else [16, 24], "rates": list(RATES), "usual": 24}
        found["share"] = 0.62 if kind == "flac" else 1.0
    return found


def forms_for(takes: bool, several: bool) -> list[dict[str, Any]]:
    """The kinds of file offered for a sound, a take, or several of them."""
    here = [kind for kind in SOUNDS if kind != "m4a" or pyav.is_there()]
    kinds = ([] if several else here) + (["zip", "html"] if takes else [])
    return [_form(kind) for kind in kinds]


MOST_HELD = 2**30
"""Bytes of samples that are exported at once: about 45 minutes of stereo at 48 kHz."""


class Export(Component):
    """Choose form, bits or bitrate, rate, level and fades; the file arrives in the browser. Several takes go into a zip or a
    page.

    On the studio page it is a dialog, opened by `broadcast("export", {id})` or `open_for(id)`; alone it stands in the cell.

    ::

        ExportWidget(take)
        ExportWidget([one, two])
    """

    module = "export"
    fields: ClassVar[Mapping[str, object]] = {
        "subject": {},
        "forms": [],
        "sounds": [],
        "writing": 0,
        "inline": True,
    }

    subject: dict[str, Any]
    forms: list[Any]
    sounds: list[Any]
    writing: int
    inline: bool

    def setup(
        self,
        takes: Take | Audio | Sequence[Take] = (),
        *,
        find: Callable[[str], Take | Audio] | None = None,
        lyrics: Callable[[Take | Audio], Alignment | tuple[()]] = lambda sound: (),
        standalone: bool = True,
    ) -> None:
        """Offer these, if any are given; `find` gives what a page asks for by its id, `lyrics` a sound's words in time."""
        self._lyrics_of = lyrics
        self._find = find
        self._sounds: list[Take | Audio] = []
        self._counting = threading.Lock()
        self.inline = standalone
        self.sounds = [_form(kind) for kind in SOUNDS if kind != "m4a" or pyav.is_there()]
        given = [takes] if isinstance(takes, Take | Audio) else list(takes)
        if given:
            self.load(given)

    def load(self, sounds: Sequence[Take | Audio]) -> None:
        """Offer these for export; SourceError for what is neither a take nor an audio."""
        if not sounds or not all(isinstance(one, Take | Audio) for one in sounds):
            raise SourceError("What is exported are takes, or one audio.")
        takes = all(isinstance(one, Take) for one in sounds)
        if len(sounds) > 1 and not takes:
            raise SourceError("Several sounds are exported together where all of them are takes; choose one.")
        self._sounds = list(sounds)
        audios = [tracks.audio_of(one) for one in sounds]
        self.forms = forms_for(takes, len(sounds) > 1)
        self.subject = {
            "ids": [one.id for one in sounds],
            "title": tracks.title_of(sounds[0]),
            "seconds": float(sum(audio.seconds for audio in audios)),
            "rate": audios[0].rate,
            "channels": max(audio.channels for audio in audios),
        }

    def open_for(self, *ids: str) -> None:
        """Show the dialog for takes by their ids."""
        self.do_open(list(ids))

    def do_open(self, ids: Ids) -> None:
        """Offer takes by their ids."""
        found: list[Take | Audio] = []
        held = 0
        for id in dict.fromkeys(ids):
            found.append(self._found(id))
            held += tracks.audio_of(found[-1]).samples.nbytes
            if held > MOST_HELD and len(found) > 1:
                raise RecipeError(
                    f"That is too much for one file: export the first {len(found) - 1} apart from the rest."
                )
        if not found:
            raise RecipeError("Choose at least one take to export.")
        self.load(found)
        self.emit("open")

    def do_write(
        self,
        form: Name = "flac",
        bits: int = 0,
        bitrate: int = 0,
        rate: int = 0,
        level: Name = "",
        target: float = 0.0,
        fade_in: float = 0.0,
        fade_out: float = 0.0,
        sound: Name = "",
        latent: bool = True,
    ) -> None:
        """Write the file, aside, and hand it over; 0 and "" stand for "as it is"."""
        if not self._sounds:
            raise SourceError("There is nothing to export yet; choose a take.")
        if form not in [one["kind"] for one in self.forms]:
            raise SourceError(f"{shown(form)} is no kind of file that can be written of this here.")
        if level not in LEVELS:
            raise SourceError(f"A level is kept, a peak or a loudness, not {shown(level)}.")
        options = ExportOptions(
            bits=bits or None, bitrate=bitrate or None, rate=rate or None, fade_in=fade_in, fade_out=fade_out,
            peak_db=target if level == "peak" else None, lufs=target if level == "loudness" else None,
            form=sound, latent=latent,
        )  # fmt: skip
        if form not in ("zip", "html"):
            options.fit(form)
        with self._counting:
            if self.writing >= MOST_WRITTEN:
                raise SourceError(f"{MOST_WRITTEN} files are being written already; wait for one of them.")
            self.writing = self.writing + 1
        work = (list(self._sounds), form, options)
        threading.Thread(target=self._write, args=work, name="acestep_lab export", daemon=True).start()

    def _found(self, id: str) -> Take | Audio:
        known = next((one for one in self._sounds if one.id == id), None)
        if known is not None:
            return known
        if self._find is None:
            raise RecipeError(f"There is no {shown(id)} here; give me a session: ExportWidget(session=lab).")
        return self._find(id)

    def _write(self, sounds: list[Take | Audio], form: str, options: ExportOptions) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="acestep-lab-") as folder:
                timed = {one.id: found.to_json() for one in sounds if (found := self._lyrics_of(one))}
                path, remarks = _written(sounds, Path(folder) / f"sound.{form}", options, timed)
                data = path.read_bytes()
            self.emit("file", data, name=f"{name_of(sounds)}.{form}", remarks=list(remarks))
        except (LabError, OSError, MemoryError) as problem:
            self.show_error(sentence(problem), code=code_of(problem))
        finally:
            with self._counting:
                self.writing = self.writing - 1


def _written(
    sounds: list[Take | Audio], path: Path, options: ExportOptions, lyrics: Mapping[str, Mapping[str, Any]]
) -> tuple[Path, tuple[str, ...]]:
    """Write takes, or one sound alone, to a path; what could not be done as asked."""
    takes = [one for one in sounds if isinstance(one, Take)]
    if takes:
        return export(takes, path, options, lyrics)
    made = ready(tracks.audio_of(sounds[0]), path.suffix[1:], options)
    return made.audio.write(path, bits=options.bits, bitrate=options.bitrate), made.remarks


def name_of(sounds: Sequence[Take | Audio]) -> str:
    """What the file is called, without its ending."""
    first = file_name(tracks.title_of(sounds[0], 60))
    return first if len(sounds) == 1 else f"{first} and {len(sounds) - 1} more"


ExportWidget, ExportPane = widget_and_pane(Export)
