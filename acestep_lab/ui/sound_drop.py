"""SoundDrop: bring in sounds, or any of our files with everything in it, and pick among those that are here. The browser half is
`widgets/drop.js`.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, SourceError, sentence
from acestep_lab.files import clean_text
from acestep_lab.prompt.tasks import Region
from acestep_lab.takes.comments import read_comment
from acestep_lab.takes.exchange import read_file
from acestep_lab.takes.take import Take
from acestep_lab.ui import tracks
from acestep_lab.ui.component import Component, widget_and_pane
from acestep_lab.ui.messages import Id, Line, Name, field_of

MOST_BYTES = 200 * 1024 * 1024
KINDS = tuple("wav flac ogg opus oga mp3 aif aiff caf au w64 rf64 m4a aac mp4 mov webm mka wma".split())
"""Endings that are let in; what is in a file, and whether it can be read here, `Audio.read` tells."""
CHUNK = 512 * 1024
"""Bytes in one message; a web socket refuses very large ones."""
MOST_ARRIVING = 3
"""Files that come in at once, from several views of one component; the one begun first is given up for a fourth."""
MOST_HELD = 12
"""Sounds that are held in memory where nothing keeps them."""
SHORTEST = 0.1
"""Seconds that a trimmed sound has at least."""
FULL_SCALE, FLAT = 0.999, 3
"""So many samples in a row at full scale are a clipped top, not a loud one."""


class Brought(NamedTuple):
    """A sound that was brought in, as the list shows it."""

    id: str
    name: str
    seconds: float


class RecordingStore(Protocol):
    """Where sounds that were brought in are kept for somebody."""

    def put(self, sound: Audio, name: str) -> None:
        """Keep a sound; LabError or OSError where it cannot be kept beyond this page."""

    def rows(self) -> list[Brought]:
        """What is there, the one brought last first."""

    def open(self, id: str) -> Audio:
        """One of them; LabError where there is none."""

    def rename(self, id: str, name: str) -> None:
        """Call it otherwise."""

    def forget(self, id: str) -> None:
        """Take it off the list."""


class MemoryRecordings:
    """A store for a component used alone: the last sounds, as long as the process lives."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[Audio, str]] = OrderedDict()

    def put(self, sound: Audio, name: str) -> None:
        """Hold a sound, and let go of the oldest once there are too many."""
        self._held[sound.id] = (sound, name)
        self._held.move_to_end(sound.id)
        while len(self._held) > MOST_HELD:
            self._held.popitem(last=False)

    def rows(self) -> list[Brought]:
        """What is held, the last one first."""
        return [Brought(id, name, sound.seconds) for id, (sound, name) in reversed(self._held.items())]

    def open(self, id: str) -> Audio:
        """One of them; SourceError where there is none."""
        return self._entry(id)[0]

    def rename(self, id: str, name: str) -> None:
        """Call it otherwise."""
        self._held[id] = (self._entry(id)[0], name)

    def forget(self, id: str) -> None:
        """Let it go."""
        self._entry(id)
        del self._held[id]

    def _entry(self, id: str) -> tuple[Audio, str]:
        if id not in self._held:
            raise SourceError("That sound is not here any more; bring its file in once more.")
        return self._held[id]


@dataclass
class Arrival:
    """A file on its way: what it is called, how long it will be, and what came so far."""

    name: str
    size: int
    data: bytearray = field(default_factory=bytearray)


class SoundDrop(Component):
    """Takes files in pieces, one after another, refuses what is too big or of another kind, and lists what it was brought.

    The name a file had is shown and never used as a path. Each view numbers its files (`turn`), so that two of them do not mix
    and a page that is reloaded loses only the file under way. Used alone, the sounds are held in memory; a `store` keeps them.
    Listener: "sound" (a Take for our own files, else an Audio, and its name), for what arrives and for what is chosen.

    ::

        drop = SoundDropWidget()
        drop.on("sound", lambda sound, name: print(name, sound))
    """

    module = "drop"
    news = Component.news | {"sound"}
    fields: ClassVar[Mapping[str, object]] = {
        "limit": MOST_BYTES, "kinds": list(KINDS), "chunk": CHUNK, "status": "", "sounds": [], "anywhere": False,
    }  # fmt: skip

    def setup(
        self, most_bytes: int = MOST_BYTES, *, store: RecordingStore | None = None, url: tracks.UrlOf | None = None
    ) -> None:
        """Refuse files larger than this; `url` gives a sound an address to play it from."""
        self.limit = most_bytes
        self._arriving: OrderedDict[str, Arrival] = OrderedDict()
        self._store: RecordingStore = MemoryRecordings() if store is None else store
        self._url = url

    def show_sounds(self) -> None:
        """Show what is kept."""
        self.sounds = [{"id": one.id, "name": one.name, "seconds": round(one.seconds, 3)} for one in self._store.rows()]

    # -- files ---------------------------------------------------------------------------------------------------------

    def do_begin(self, name: str = "", size: int = 0, turn: Name = "") -> None:
        """A file is about to come."""
        check(name, size, self.limit)
        self._arriving.pop(turn, None)
        while len(self._arriving) >= MOST_ARRIVING:
            self._arriving.popitem(last=False)
        self._arriving[turn] = Arrival(name[-200:], size)
        self.status = "Reading…"
        self.emit("next", at=0, turn=turn)

    def do_piece(self, buffers: list[Any], at: int = 0, turn: Name = "") -> None:
        """A piece of it."""
        arrival, data = self._arriving.get(turn), bytes(buffers[0])
        if arrival is None or at != len(arrival.data) or len(arrival.data) + len(data) > arrival.size:
            self._arriving.pop(turn, None)
            raise SourceError("The file did not arrive whole; bring it in again.")
        arrival.data += data
        if len(arrival.data) < arrival.size:
            self.emit("next", at=len(arrival.data), turn=turn)
            return
        del self._arriving[turn]
        self._bring(*receive(bytes(arrival.data), arrival.name), arrival.name)
        self.emit("done", name=arrival.name, turn=turn)

    def _bring(self, sound: Take | Audio, remarks: tuple[str, ...], name: str) -> None:
        """Keep what arrived, say what was found, and hand it on."""
        if isinstance(sound, Audio):
            remarks = (*remarks, clipping(sound), self._kept(sound, name))
        self.status = " ".join([f"Brought in: {name}", *filter(None, remarks)])
        self.notify("sound", sound=sound, name=name)

    def _kept(self, sound: Audio, name: str) -> str:
        """Keep a sound; the sentence that says why it cannot be kept, "" where it is."""
        try:
            self._store.put(sound, name)
            return ""
        except (LabError, OSError) as problem:
            return sentence(problem)
        finally:
            self.show_sounds()

    # -- what is here --------------------------------------------------------------------------------------------------

    def do_ready(self) -> None:
        """A view was drawn: list what is here."""
        self.show_sounds()
        super().do_ready()

    def do_use(self, id: Id) -> None:
        """Take a sound in hand."""
        self.notify("sound", sound=self._store.open(id), name=self._name(id))

    def do_hear(self, id: Id) -> None:
        """Send a sound to be played: where it is, or as a WAV file."""
        sound = self._store.open(id)
        if self._url is not None:
            self.emit("hear", id=id, url=self._url(sound))
        else:
            self.emit("hear", tracks.wav_of(sound), id=id)

    def do_peaks(self, id: Id, pixels: int = 600) -> None:
        """Send the picture of a sound that is to be trimmed, and what there is to say of its level."""
        sound = self._store.open(id)
        seen = tracks.view(sound, 0.0, sound.seconds, pixels)
        self.emit("peaks", seen.pairs.tobytes(), id=id, seconds=sound.seconds, note=clipping(sound))

    def do_trim(self, id: Id, start: float, end: float, normalize: bool = False) -> None:
        """A part of a sound as a sound of its own, in hand; `normalize` brings its peak to −1 dB."""
        sound, name = self._store.open(id), self._name(id)
        part = trimmed(sound, start, end)
        part = part.normalized() if normalize else part
        self._bring(part, (), f"{name} {_clock(start)}–{_clock(min(end, sound.seconds))}")
        self.emit("trimmed", id=id)

    def do_rename(self, id: Id, name: Line) -> None:
        """Call a sound otherwise."""
        words = clean_text(" ".join(name.split()), "The name of a sound", SourceError)
        if not words:
            raise SourceError("A sound needs a name; write one, or leave the one it has.")
        self._store.rename(id, words)
        self.show_sounds()

    def do_forget(self, id: Id) -> None:
        """Take a sound off the list; takes made from it keep it."""
        name = self._name(id)
        self._store.forget(id)
        self.status = f"Forgotten: {name}"
        self.show_sounds()

    def _name(self, id: str) -> str:
        """What a kept sound is called."""
        return next((one.name for one in self._store.rows() if one.id == id), id)

    def show_error(self, text: str, field: str = "", code: str = "") -> None:
        self.status = ""
        super().show_error(text, field, code)

    def _refused(self, message: object) -> None:
        """Tell the view whose file it was, so that the next one in its row may come."""
        if turn := field_of(message, "turn"):
            self._arriving.pop(turn, None)
            self.emit("refused", turn=turn)


def trimmed(sound: Audio, start: float, end: float) -> Audio:
    """The seconds from `start` to `end` of a sound, cut at its end; SourceError where nothing is left."""
    last = min(end, sound.seconds)
    if start < 0 or last - start < SHORTEST:
        raise SourceError(
            f"What is kept begins at 0 s or later and lasts {SHORTEST:g} s or longer; this sound has {sound.seconds:.1f} s."
        )
    return sound.cut(Region(start, last))


def clipping(sound: Audio) -> str:
    """What there is to say of a sound that is too loud, as a sentence; "" where nothing is wrong."""
    if not sound.samples.size:
        return ""
    if sound.peak > 1.0:
        over = 20 * np.log10(sound.peak)
        return f"Its peak is {over:.1f} dB above full scale; trim it with Normalise on to bring it down."
    full = np.abs(sound.samples) >= FULL_SCALE
    flat = full[:, : -FLAT + 1].copy() if full.shape[1] >= FLAT else full[:, :0]
    for shift in range(1, FLAT):
        flat &= full[:, shift : full.shape[1] - FLAT + 1 + shift]
    places = int(np.sum(flat[:, 1:] & ~flat[:, :-1]) + np.sum(flat[:, :1]))
    if not places:
        return ""
    return f"It is clipped in {places:,} places, which will be heard; a quieter recording would do better."


def _clock(seconds: float) -> str:
    """A time as musicians read it: 0:04, or 0:04.5 where it is not a whole second."""
    whole, tenths = divmod(round(seconds * 10), 10)
    return f"{whole // 60}:{whole % 60:02d}" + (f".{tenths}" if tenths else "")


def check(name: str, size: int, most: int = MOST_BYTES) -> None:
    """Refuse by size and kind, before a byte is read; SourceError says what would do."""
    kind = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    if kind not in KINDS:
        raise SourceError(
            f"{name[-60:]!r} is no sound file; {', '.join(k.upper() for k in KINDS[:4])}, MP3, AIFF, M4A and WebM can be "
            "brought in."
        )
    if size <= 0:
        raise SourceError(f"{name[-60:]!r} is empty.")
    if size > most:
        raise SourceError(
            f"{name[-60:]!r} has {size / 2**20:,.0f} MB; at most {most / 2**20:,.0f} MB can be brought in. "
            "Cut it, or save it as FLAC."
        )


def decode(data: bytes, name: str) -> Take | Audio:
    """A take where the file is one of ours, else its sound; the bytes are written to a file of our own naming."""
    return receive(data, name)[0]


def receive(data: bytes, name: str) -> tuple[Take | Audio, tuple[str, ...]]:
    """The same, and what was found out of the ordinary, in sentences: whoever edits a take's file brings a new take."""
    kind = name.rsplit(".", 1)[-1].lower()
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as folder:
        path = Path(folder) / f"sound.{kind}"
        path.write_bytes(data)
        try:
            audio = Audio.read(path)
        except SourceError as problem:
            raise SourceError(str(problem).replace(repr(path.name), repr(name[-60:]))) from None
        try:
            take = read_file(path)
        except LabError as problem:
            ours = "acestep_lab.take/" in read_comment(path)[0]
            return audio, (f"{_named(str(problem), path.name, name)} Only its sound was taken.",) if ours else ()
    remarks = tuple(_named(remark, path.name, name) for remark in take.remarks)
    return take.replace(remarks=remarks), remarks


def _named(text: str, ours: str, theirs: str) -> str:
    """A sentence about our file of the bytes, told of the file that came."""
    return text.replace(ours, repr(theirs[-60:]))


SoundDropWidget, SoundDropPane = widget_and_pane(SoundDrop)
