"""Player: hear one sound. The browser half is `widgets/player.js`."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, SourceError, sentence, shown
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import file_name
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id, Name

FILES = (
    ("flac", "FLAC, with its recipe"),
    ("wav", "WAV, 32-bit float"),
    ("opus", "Opus, with its recipe"),
    ("mp3", "MP3"),
    ("zip", "Zip: FLAC, latent, manifest"),
)
"""Kinds of file a sound can be saved as, and what they are called; a zip only for takes."""
MOST_WRITTEN = 2
"""Files that one player writes at once."""


class Player(Component):
    """A waveform one can play: keyboard, −6 dB at the start, one voice at a time, lyrics following where timed.

    The sound travels by message into a Blob, or by URL in an app; nothing of it is stored in a notebook.
    """

    module = "player"
    includes = ("audio_player",)
    fields: ClassVar[Mapping[str, object]] = {"track": {}, "code": "", "forms": []}

    def setup(self, take: Take | Audio | None = None, *, url: tracks.UrlOf | None = None, **about: Any) -> None:
        """Show a take or a sound, if one is given."""
        self._url = url
        self._sound: Take | Audio | None = None
        self._writers = threading.Semaphore(MOST_WRITTEN)
        if take is not None:
            self.load(take, **about)

    def load(
        self, take: Take | Audio, lines: Sequence[tuple[float, str]] = (), title: str = "", code: str = ""
    ) -> None:
        """Show another sound; `lines` are (seconds, words) for lyrics that follow."""
        if not isinstance(take, Take | Audio):
            raise SourceError(f"A player plays a take or an audio, not {shown(take)}.")
        self._sound = take
        self.code = code or getattr(take, "code", str)()
        self.forms = [list(form) for form in FILES if form[0] != "zip" or isinstance(take, Take)]
        self.track = tracks.track(take, self._url, lines, title)

    def do_peaks(self, id: Id, pixels: int = 800) -> None:
        """Send the peaks of the whole sound for a picture this wide."""
        if self._sound is not None and self._sound.id == id:
            seen = tracks.view(self._sound, 0.0, self._sound.seconds, pixels)
            self.emit("peaks", seen.pairs.tobytes(), id=id)

    def do_bytes(self, id: Id) -> None:
        """Send the sound as a WAV file."""
        if self._sound is not None and self._sound.id == id:
            self.emit("bytes", tracks.wav_of(tracks.audio_of(self._sound)), id=id)

    def do_save(self, form: Name = "flac") -> None:
        """Hand over the sound as a file; written aside, since ten minutes of Opus take a while."""
        if self._sound is None:
            raise SourceError("There is nothing to save yet.")
        if form not in dict(FILES):
            raise SourceError(f"{shown(form)} is no kind of file that can be written here.")
        if not self._writers.acquire(blocking=False):
            raise SourceError(f"{MOST_WRITTEN} files are being written already; wait for one of them.")
        threading.Thread(
            target=self._save, args=(self._sound, form, str(self.track["title"])), name="acestep_lab save", daemon=True
        ).start()

    def _save(self, what: Take | Audio, form: str, title: str) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="acestep-lab-") as folder:
                path = Path(folder) / f"sound.{form}"  # never by a name that came from a file
                what.export(path) if isinstance(what, Take) else what.write(path)
                data = path.read_bytes()
        except (LabError, OSError) as problem:
            self.show_error(sentence(problem))
        else:
            self.emit("file", data, name=f"{file_name(title, tracks.seed_of(what))}.{form}")
        finally:
            self._writers.release()

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused or sought here."""
        self.notify("at", seconds=float(seconds))


PlayerWidget, PlayerPane = widget_and_pane(Player)
