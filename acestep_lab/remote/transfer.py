"""Sounds on their way between a box and here, each checked before anybody hears it: what comes is the very take that was asked
for, or an error.

Every name on disk is ours; of what the box sends only the bytes are looked at. Knows no listing.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from acestep_lab.audio.audio import Audio
from acestep_lab.audio.reading import seconds_of
from acestep_lab.errors import LabError, LibraryError, SourceError, shown
from acestep_lab.remote.connection import MOST_FILE, Connection, ConnectionLost
from acestep_lab.takes import identity, manifest
from acestep_lab.takes.exchange import read_file, read_latent, write_latent, write_sound
from acestep_lab.takes.ids import is_sound_id, is_take_id, sound_id, take_id
from acestep_lab.takes.library import match_recording
from acestep_lab.takes.take import Take

TAKES, SOUNDS = "/v1/lab/takes", "/v1/lab/sounds"
_HEADERS = 2**22
"""Bytes of a sound file that are no samples: its manifest, its title."""
_KINDS = ((b"fLaC", "flac"), (b"RIFF", "wav"), (b"RF64", "wav"))


def path_of(id: str, what: str = "") -> str:
    """The route of a take or a recording, or of something about it."""
    root = SOUNDS if is_sound_id(id) else TAKES
    return f"{root}/{quote(id, safe='')}{f'/{what}' if what else ''}"


def fetch_sound(line: Connection, id: str, folder: Path, facts: Mapping[str, Any] | None = None) -> Path:
    """The sound of a take or recording as `<id>.flac` or `.wav` in a folder; LabError for what is no such file.

    `facts` are those of its manifest: a file that says it lasts longer is not unpacked.
    """
    fetched = folder / "fetched"
    line.fetch(path_of(id), fetched, _most(facts))
    with fetched.open("rb") as file:
        head = file.read(4)
    kind = next((kind for mark, kind in _KINDS if head == mark), None)
    if kind is None:
        raise LibraryError(f"What came for {id} is no FLAC and no WAV file.")
    sound = fetched.rename(folder / f"{id}.{kind}")
    if facts is not None and abs(_seconds(sound, id) - facts["seconds"]) > 0.5:
        raise LibraryError(f"What came for {id} is not as long as its manifest says.")
    return sound


def _most(facts: Mapping[str, Any] | None) -> int:
    """Bytes that a sound of so many samples has at most as a file."""
    if facts is None:
        return MOST_FILE
    return min(MOST_FILE, _HEADERS + math.ceil(4.2 * facts["seconds"] * facts["rate"] * facts["channels"]))


def _seconds(sound: Path, id: str) -> float:
    try:
        return seconds_of(sound)
    except SourceError as problem:
        raise LibraryError(f"What came for {id} cannot be read: {problem}") from None


def checked_manifest(id: str, found: object) -> dict[str, Any]:
    """A manifest that came, which proves that it is this take's; LibraryError otherwise."""
    try:
        data = manifest.checked(found, f"The manifest of {id}")
    except RecursionError:
        raise LibraryError(f"The manifest of {id} is nested too deeply.") from None
    if data["id"] != id:
        raise LibraryError(f"What was told of {id} is the manifest of another take.")
    if data["format"] == identity.FORMAT and not (identity.is_proven(data) and manifest.is_intact(data)):
        raise LibraryError(f"What was told of {id} is not what earned that id.")
    return data


def fetch_latent(line: Connection, id: str, folder: Path, facts: Mapping[str, Any]) -> Path | None:
    """The latent of a take as `<id>.safetensors` in a folder; None where the box has none, or another one."""
    file = folder / f"{id}.safetensors"
    if not facts["shape"][0]:
        return None
    try:
        line.fetch(path_of(id, "latent"), file, min(MOST_FILE, _HEADERS + 4 * math.prod(facts["shape"])))
    except ConnectionLost:
        raise
    except LabError:  # it has none, or sends something else: the take is opened by its sound
        return None
    return file if read_latent(file, dict(facts))[0] is not None else None


def fetch_take(line: Connection, id: str) -> Take:
    """A take of the box, whole: its sound sample for sample, and its latent. LibraryError where another one comes."""
    data = checked_manifest(id, line.get(path_of(take_id(id), "manifest")))
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as place:
        sound = fetch_sound(line, id, Path(place), data["audio"])
        fetch_latent(line, id, Path(place), data["latent"])
        try:
            take = read_file(sound)
        except SourceError as problem:
            raise LibraryError(f"What came for {id} cannot be read: {problem}") from None
    if take.id != id:
        raise LibraryError(f"What came for {id} is another take, {shown(take.id)}.")
    return take


class Sent(NamedTuple):
    """What a box said of something that was sent."""

    id: str
    """Under which it is known there."""
    kept: bool
    """Whether it is in the library; else in hand, for a run of ours."""
    remark: str


def send_take(line: Connection, take: Take) -> Sent:
    """Send a take as files: its sound sample for sample, with the manifest inside, and its latent."""
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as place:
        sound = Path(place) / f"{take.id}.{take.audio.lossless_kind}"
        write_sound(sound, take.audio, manifest.describe(take))
        beside = {}
        if take.latent.size:
            beside["latent"] = Path(place) / f"{take.id}.safetensors"
            write_latent(beside["latent"], take.latent)
        answer = _table(line.send(TAKES, sound, beside))
    id, remark = answer.get("id"), answer.get("remark")
    if not is_take_id(id):
        raise LibraryError(f"{take.id} was sent, and that machine does not say what became of it.")
    return Sent(str(id), answer.get("kept") is True, remark if isinstance(remark, str) else "")


def send_sound(line: Connection, audio: Audio, name: str = "") -> str:
    """Send a recording, sample for sample, under a name ("": on no list); gives the id it has there, which is its own."""
    with tempfile.TemporaryDirectory(prefix="acestep-lab-") as place:
        file = audio.write(Path(place) / f"{audio.id}.{audio.lossless_kind}")
        answer = _table(line.send(SOUNDS, Path(file), name=name))
    if answer.get("id") != audio.id:
        raise LibraryError(f"{audio.id} did not arrive on that machine as it is.")
    return audio.id


def _table(answer: object) -> Mapping[str, Any]:
    return answer if isinstance(answer, Mapping) else {}


def check_recording(file: Path, id: str) -> None:
    """LibraryError for a file that holds another recording than that of an id."""
    try:
        audio = Audio.read(file)
    except SourceError as problem:
        raise LibraryError(f"What came for {id} cannot be read: {problem}") from None
    if match_recording(audio, sound_id(id)) == "other":
        raise LibraryError(f"What came for {id} is another recording.")
