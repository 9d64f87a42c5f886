"""Player: hear one sound. The browser half is `widgets/player.js`."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, SourceError, code_of, sentence, shown
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import file_name
from acestep_lab.ui import tracks
from acestep_lab.ui.component import widget_and_pane
from acestep_lab.ui.gallery import loudness_of
from acestep_lab.ui.lyric_lane import Lines, LyricLane, Without, without
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


class Player(LyricLane):
    """A waveform one can play: keyboard, −6 dB at the start, one voice at a time, its lyrics in a lane and lit as they are sung
    (`PlayerWidget(take, lines=lab.align(take))`), a loop, and the switch between a take and its parent.

    The sound travels by message into a Blob, or by URL in an app; nothing of it is stored in a notebook. `bar` makes it
    the thin bar at the foot of a page, which plays at the space bar wherever one is. Listeners: "star" (id, on), "at".

    ::

        PlayerWidget(take)
        PlayerWidget(take, lines=lab.align(take))      # its lyrics lit as they are sung
    """

    module = "player"
    includes = ("audio_player", "lyric_lane")
    fields: ClassVar[Mapping[str, object]] = {
        "track": {},
        "code": "",
        "forms": [],
        "bar": False,
        "starred": False,
        "starrable": False,
        "parent": {},
        "exports": False,
    }

    def setup(
        self,
        take: Take | Audio | None = None,
        *,
        url: tracks.UrlOf | None = None,
        open: Callable[[str], Take] | None = None,
        bar: bool = False,
        lyrics: Callable[[Take | Audio], Without] = without,
        **about: Any,
    ) -> None:
        """Show a take or a sound, if one is given; `open` finds the parent of a take, to compare it with; `lyrics` says why a
        sound has none in time, and what may be done.
        """
        self._without = lyrics
        self._url, self._open = url, open
        self._sound: Take | Audio | None = None
        self._parent: Take | None = None
        self._writers = threading.Semaphore(MOST_WRITTEN)
        self.bar = bar
        if take is not None:
            self.load(take, **about)

    def load(self, take: Take | Audio, lines: Lines = (), title: str = "", code: str = "") -> None:
        """Show another sound; `lines` are its lyrics in time: an alignment, or (seconds, words)."""
        if not isinstance(take, Take | Audio):
            raise SourceError(f"A player plays a take or an audio, not {shown(take)}.")
        self._sound, self._parent = take, None
        self.parent = {} if self._open is None else {"why": _without(take)}
        self.starrable, self.starred = self.bar and isinstance(take, Take), False
        self.code = code or getattr(take, "code", str)()
        self.forms = [list(form) for form in FILES if form[0] != "zip" or isinstance(take, Take)]
        self.track = tracks.track(take, self._url, self._hold_lyrics(take, lines), title)

    def find_parent(self) -> None:
        """Look for the take that this one was made from and offer to compare the two; say why where that cannot be.

        It reads a file, so it is not part of `load`; whoever has the time calls it.
        """
        sound = self._sound
        parents = getattr(sound, "parents", ())[:1]
        if sound is None or self._open is None or not parents:
            return
        try:
            found = self._open(parents[0])
        except (LabError, OSError) as problem:
            told = {"why": sentence(problem)}
        else:
            told = {"id": found.id, "title": tracks.title_of(found, 60)}
        if self._sound is sound:
            self._parent = found if "id" in told else None
            self.parent = told

    def do_peaks(self, id: Id, pixels: int = 800) -> None:
        """Send the peaks of the whole sound for a picture this wide."""
        if self._sound is not None and self._sound.id == id:
            seen = tracks.view(self._sound, 0.0, self._sound.seconds, pixels)
            self.emit("peaks", seen.pairs.tobytes(), id=id)

    def do_bytes(self, id: Id) -> None:
        """Send the sound as a WAV file."""
        if self._sound is not None and self._sound.id == id:
            self.emit("bytes", tracks.wav_of(tracks.audio_of(self._sound)), id=id)

    def do_pair(self, id: Id) -> None:
        """Send the parent's sound, and by how many dB each of the two is turned down so that both are equally loud."""
        sound, parent = self._sound, self._parent
        if sound is not None and parent is not None and sound.id == id:
            threading.Thread(target=self._pair, args=(sound, parent), name="acestep_lab pair", daemon=True).start()

    def _pair(self, sound: Take | Audio, parent: Take) -> None:
        try:
            levels = [loudness_of(tracks.audio_of(one)) for one in (sound, parent)]
            goal = min(levels) if all(map(math.isfinite, levels)) else None
            gains = [0.0 if goal is None else round(goal - level, 2) for level in levels]
            about = {"id": sound.id, "parent": parent.id, "gains": gains, "seconds": float(parent.seconds)}
            if self._url:
                self.emit("pair", **about, url=self._url(parent.audio))
            else:
                self.emit("pair", tracks.wav_of(parent.audio), **about, url=None)
        except (LabError, OSError) as problem:
            self.show_error(sentence(problem), code=code_of(problem))

    def do_star(self, on: bool) -> None:
        """Star the take in hand, or take its star away."""
        if not isinstance(self._sound, Take):
            raise SourceError("Only takes can be starred; this is a sound that was brought in.")
        self.notify("star", id=self._sound.id, on=on)

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
            self.show_error(sentence(problem), code=code_of(problem))
        else:
            self.emit("file", data, name=f"{file_name(title, tracks.seed_of(what))}.{form}")
        finally:
            self._writers.release()

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused or sought here."""
        self.notify("at", seconds=float(seconds))


def _without(sound: Take | Audio) -> str:
    """Why there is nothing to compare a sound with; "" while its parent is looked for."""
    if getattr(sound, "parents", ()):
        return ""
    return "This take was made from words alone: there is no parent to compare it with."


PlayerWidget, PlayerPane = widget_and_pane(Player)
