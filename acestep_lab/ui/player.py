"""Player: hear one sound. The browser half is `widgets/player.js`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from acestep_lab.decode.audio import Audio
from acestep_lab.takes.take import Take
from acestep_lab.ui import sound
from acestep_lab.ui.spec import Component, both


class Player(Component):
    """A waveform one can play: keyboard, −6 dB at the start, one voice at a time, lyrics following where timed.

    The sound travels by message into a Blob, or by URL in an app; nothing of it is stored in a notebook.
    """

    module = "player"
    parts = ("voice",)
    fields: ClassVar[dict[str, Any]] = {"track": {}, "code": ""}

    def setup(self, take: Take | Audio | None = None, *, url: sound.UrlOf | None = None, **about: Any) -> None:
        """Show a take or a sound, if one is given."""
        self._url, self._sound = url, None
        if take is not None:
            self.load(take, **about)

    def load(
        self, take: Take | Audio, lines: Sequence[tuple[float, str]] = (), title: str = "", code: str = ""
    ) -> None:
        """Show another sound; `lines` are (seconds, words) for lyrics that follow."""
        self._sound = take
        self.code = code or getattr(take, "code", str)()
        self.track = sound.track(take, self._url, lines, title)

    def do_peaks(self, id: str = "", pixels: int = 800) -> None:
        """Send the peaks of the whole sound for a picture this wide."""
        if self._sound is not None and self._sound.id == id:
            seen = sound.view(self._sound, 0.0, float(self.track["seconds"]), int(pixels))
            self.tell("peaks", seen.pairs.tobytes(), id=id)

    def do_bytes(self, id: str = "") -> None:
        """Send the sound as a WAV file."""
        if self._sound is not None and self._sound.id == id:
            self.tell("bytes", sound.wav_of(sound.audio_of(self._sound)), id=id)

    def do_at(self, seconds: float = 0.0) -> None:
        """The listener paused or sought here."""
        self.ask("at", seconds=float(seconds))


PlayerWidget, PlayerPane = both(Player)
