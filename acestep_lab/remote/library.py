"""The library of a box, seen from here: a mirror of its takes in a folder, sounds fetched when they are opened.

Whatever a page asks is answered from the mirror, which asks the box first whether anything has changed (at most once a second).
What is said about a take, and what is binned, is done on the box first; a box that refuses changes nothing here. Where the box
does not answer, what is mirrored can still be read, and `offline` says why the rest cannot. Two processes may use one mirror.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, RecipeError, sentence, shown
from acestep_lab.files import clean_text, to_json
from acestep_lab.remote.connection import Connection, ConnectionLost
from acestep_lab.remote.mirrored import MOST_NAME, Busy, Known, Listing, MirrorState
from acestep_lab.remote.transfer import (
    Sent,
    check_recording,
    checked_manifest,
    fetch_latent,
    fetch_sound,
    path_of,
    send_sound,
    send_take,
)
from acestep_lab.settings import VARIABLES
from acestep_lab.takes import identity, manifest
from acestep_lab.takes.exchange import write_latent, write_sound
from acestep_lab.takes.ids import is_id, is_sound_id, is_take_id, sound_id, take_id
from acestep_lab.takes.index import Card
from acestep_lab.takes.library import DRAFT_HOURS, KINDS, SOUNDS, Library, Problem, check_can_be_kept, new_marks
from acestep_lab.takes.take import Take
from acestep_lab.takes.trash import files_of

ASK_EVERY = 1.0
"""Seconds for which what the box last said is taken to be so."""
USUAL_GIGABYTES = 2.0
"""How much of a box's sounds is kept here, unless `ACESTEP_LAB_MIRROR_GB` says otherwise."""
AT_ONCE = 200
"""Takes whose manifests are asked for together."""
SYNC_SECONDS = 60.0
"""How long one question brings the mirror up to date; the next goes on."""
MOST_TOLD = 2**31
"""Bytes of manifests and marks that a mirror holds."""
LOCK_SECONDS = 2.0
"""How long another process that brings the mirror up to date is waited for."""
AWAY_SECONDS = (2.0, 60.0)
"""How soon a box that did not answer is asked again: the first time, and at most."""
MARKS = ("star", "reject", "note", "tags", "scores", "title", "batch", "heard", "locks")
_TAKES = "/v1/lab/takes"
_INCOMING = ".incoming-"


class RemoteLibrary(Library):
    """The takes and recordings that the bearer of a connection's key has on its box.

    ::

        library = RemoteLibrary(Connection("http://gpu-box:8001", key))
        library.open(library.ids()[0])          # fetched once, then here
    """

    def __init__(
        self, connection: Connection, folder: str | os.PathLike[str] | None = None, most_bytes: int | None = None,
        ask_every: float = ASK_EVERY,
    ) -> None:  # fmt: skip
        """`folder` is the mirror's, by default one of the user's cache for each address and key; `most_bytes` bounds the sounds
        in it; `ask_every` is in seconds. LibraryError where the folder cannot be made.
        """
        self.connection = connection
        self.most_bytes = most_mirrored() if most_bytes is None else most_bytes
        self.offline = ""
        """Why the box was not asked last time, as a sentence; "" while it answers."""
        self._quick, self._write = connection.in_a_hurry(3.0, 20.0), connection.in_a_hurry(5.0, 120.0)
        self._fetch = connection.in_a_hurry(5.0, 60.0, patience=20.0)
        self._ask_every, self._asked_at, self._away = ask_every, -float("inf"), AWAY_SECONDS[0]
        self._asking, self._inside = threading.RLock(), False
        self._fetching: dict[str, threading.Lock] = {}
        self._mended, self._without = set[str](), set[str]()
        self._listing = Listing()
        self._state: MirrorState | None = None
        place = Path(folder) if folder is not None else mirror_folder(connection.url, connection.key)
        _make_private(place)
        super().__init__(place)
        self._state = MirrorState(self.folder / ".box.sqlite")
        with contextlib.suppress(LibraryError), self._state.alone(LOCK_SECONDS):
            self._listing = self._state.read()

    def __repr__(self) -> str:
        away = f"; {self.offline}" if self.offline else ""
        return f"<RemoteLibrary of {len(self)} takes at {self.connection.url}{away}>"

    def __contains__(self, take: Take | str) -> bool:
        if super().__contains__(take):
            return True
        self._ask()
        return super().__contains__(take)

    def close(self) -> None:
        """Let the mirror's files go; the connection is its owner's."""
        super().close()
        if self._state is not None:
            self._state.close()

    def has(self, id: str) -> bool:
        """Whether the box lists a take or recording under this id."""
        self._ask()
        return id in self._listing.takes or id in self._listing.sounds

    def _known(self, name: str) -> str:
        if take_id(name) not in self:
            hint = f" {self.offline}" if self.offline else ""
            raise LibraryError(f"{self.connection.url} keeps no take {shown(name)} of yours.{hint}")
        return name

    # -- what the box says ----------------------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Ask the box now; whether it answered. `offline` says why not."""
        self._asked_at = -float("inf")
        self._away = AWAY_SECONDS[0]
        self._query(lambda: None)
        return not self.offline

    def _sync(self) -> None:
        self._ask()
        super()._sync()
        if lost := [name for name in self._damaged if name in self._listing.takes and name not in self._mended]:
            self._mended.update(lost)  # once: a disk that damages it again is told of in `problems`
            self._forget_stamps(lost)
            self._asked_at = -float("inf")
            self._ask()
            super()._sync()

    def _ask(self) -> None:
        """Bring the mirror up to date, unless that was done a moment ago, or the box was away then."""
        if self._state is None or not self._asking.acquire(timeout=SYNC_SECONDS):
            return
        try:
            wait = max(self._away, self._ask_every) if self.offline else self._ask_every
            if not self._inside and time.monotonic() - self._asked_at >= wait:
                self._take_up(self._state)
        finally:
            self._asking.release()

    def _take_up(self, state: MirrorState) -> None:
        """Ask what has changed, and change it here; where that fails, `offline` says why, and all stays as it was."""
        self._inside = True
        try:
            if not self.folder.is_dir():  # somebody emptied the cache
                state.close()
                _make_private(self.folder)
            with state.alone(LOCK_SECONDS):
                self._listing = self._still_here(state.read())  # another process may have been quicker
                told = self._quick.get(_TAKES, known=self._listing.stamp or None)
                if not (isinstance(told, Mapping) and told.get("same") is True and self._listing.stamp):
                    self._take_over(Listing.of(told), state)
            self.offline, self._away = "", AWAY_SECONDS[0]
        except Busy:  # that process brings all of it
            pass
        except (LabError, OSError) as problem:
            self._away = min(2 * self._away, AWAY_SECONDS[1]) if self.offline else AWAY_SECONDS[0]
            self.offline = sentence(problem)
        finally:
            self._inside, self._asked_at = False, time.monotonic()

    def _still_here(self, listing: Listing) -> Listing:
        """What was known, without takes whose files somebody removed."""
        here = self._stamps()
        if gone := [
            id for id, stamp in listing.takes.items() if stamp and id not in here and not _told_of(listing, id)
        ]:
            listing.takes |= dict.fromkeys(gone, "")
            listing.stamp = ""
        return listing

    def _take_over(self, new: Listing, state: MirrorState) -> None:
        """Make the mirror what the box told: move, remove, fetch; what could not be fetched in time comes next time."""
        old = self._listing
        self._move(new)
        here, binned = set(self._stamps()), set(self.trash())
        unread = [id for id, stamp in new.takes.items() if not stamp or old.takes.get(id) != stamp or id not in here]
        unread = [id for id in unread if not (_told_of(old, id) and old.takes.get(id) == new.takes[id])]
        kept = [one for one in old.damaged if one[0].removesuffix(".json") in new.takes and one not in new.damaged]
        lost = [id for id in new.binned if id not in binned and id not in here and not _told_of(old, id)]
        done, problems = self._read(unread + lost, frozenset(lost))
        kept = [one for one in kept if one[0].removesuffix(".json") not in done]
        missing = [id for id in unread if id not in done]
        new.takes |= dict.fromkeys(missing, "")
        new.stamp = "" if missing else new.stamp
        new.damaged += [*kept, *problems]
        state.write(new)
        self._listing = new
        if new.sounds != old.sounds:
            self._index.revision += 1  # what was made from them is called by their names

    def _move(self, new: Listing) -> None:
        """Bin, bring back and remove what is here as the box has it: sounds that were fetched stay."""
        gone, binned = set(self._stamps()) - set(new.takes), {one.name: one for one in self._trash}
        for id in gone:
            if id in new.binned:
                self._trash.add(id, files_of(self.folder, id))
            else:
                _remove(files_of(self.folder, id))
        for id, one in binned.items():
            if id in new.takes and not super().__contains__(id):
                self._trash.restore(one, self.folder)
            elif id in new.takes or id not in new.binned:
                self._trash.delete(one)

    def _read(self, ids: list[str], binned: frozenset[str]) -> tuple[set[str], list[tuple[str, str]]]:
        """Fetch manifests and marks; which of the takes are done, and what is wrong with some of them."""
        done, problems = set[str](), list[tuple[str, str]]()
        end, left, size = time.monotonic() + SYNC_SECONDS, list(ids), _bytes_told(self.folder) if ids else 0
        while left and time.monotonic() < end:
            if size > MOST_TOLD:
                raise LibraryError(f"That machine's takes tell more than {MOST_TOLD / 2**30:g} GB of themselves.")
            told = self._quick.post(f"{_TAKES}/told", {"ids": left[:AT_ONCE]})
            answered = [id for id in left[:AT_ONCE] if isinstance(told, Mapping) and id in told]
            if not answered:
                raise LibraryError("That machine lists takes, and tells nothing of them.")
            for id in answered:
                try:
                    size += self._write_told(id, told[id], id in binned)
                except LibraryError as problem:
                    problems.append((f"{id}.json", str(problem)))
            done.update(answered)
            left = [id for id in left if id not in done]
        return done, problems

    def _write_told(self, id: str, told: object, binned: bool) -> int:
        """Write one take's manifest and marks as they were told, and give their bytes; LibraryError where they are none."""
        if not isinstance(told, Mapping) or "error" in told:
            why = told.get("error") if isinstance(told, Mapping) else None
            raise LibraryError(why if isinstance(why, str) else f"That machine tells nothing of {id}.")
        data, marks = checked_manifest(id, told.get("manifest")), _checked_marks(id, told.get("marks"))
        texts = {f"{id}.json": manifest.to_text(data), f"{id}.marks.json": to_json(marks) if marks else ""}
        folder = self.folder
        if binned:
            folder = self._trash.folder / f"{time.time_ns()}-{id}"
            folder.mkdir(parents=True)
        for name, text in reversed(texts.items()):  # the manifest last: it means a take
            _put(folder / name, text)
        return sum(map(len, texts.values()))

    def _forget_stamps(self, ids: Iterable[str]) -> None:
        """Have the manifests of these takes fetched again."""
        with contextlib.suppress(LibraryError):
            self._note(lambda listing: listing.takes.update(dict.fromkeys(ids, "")), whole=False)

    def _note(self, change: Any, whole: bool = True) -> None:
        """Change what is known of the box, here and in the mirror's file."""
        assert self._state is not None
        with contextlib.suppress(Busy), self._asking, self._state.alone(LOCK_SECONDS):  # who is busy brings it anyway
            listing = self._state.read()
            change(listing)
            listing.stamp = listing.stamp if whole else ""
            self._state.write(listing)
            self._listing = listing

    # -- takes ----------------------------------------------------------------------------------------------------------

    def open(self, name: str) -> Take:
        """Read a take, fetched from the box where it is not here yet, or damaged here. LibraryError where there is none, or
        the box does not answer.
        """
        there = self._sound_of(self.folder, self._known(name)) is not None
        try:
            take = super().open(name)
        except LibraryError:
            if not there:
                raise
            _remove(self._files_of_sound(name))
            take = super().open(name)
        if there and not take.latent.size and self._bring_latent(name):
            take = super().open(name)
        return take

    def sound(self, name: str) -> Path:
        """The sound file of a take, fetched where it is not here yet; LibraryError where it cannot be."""
        found = self._sound_of(self.folder, self._known(name))
        if found is None:
            with self._fetching.setdefault(name, threading.Lock()):
                found = self._sound_of(self.folder, name) or self._bring(name)
        _touch(found)
        return found

    def latent(self, name: str) -> Path | None:
        """The latent's file of a take, fetched with its sound where that is not here yet."""
        self.sound(name)
        return super().latent(name)

    def _bring(self, name: str) -> Path:
        """Fetch a take's sound and latent, whole or not at all."""
        data = self._manifest(name)
        with self._arriving(name) as folder:
            sound = fetch_sound(self._fetch, name, folder, data["audio"])
            audio = Audio.read(sound)
            if identity.compare_with_manifest(data, audio, lossy=False) == "other":
                raise LibraryError(f"What came for {name} is another sound than its manifest tells of.")
            latent = fetch_latent(self._fetch, name, folder, data["latent"])
            if latent is not None:
                os.replace(latent, self.folder / latent.name)
            os.replace(sound, self.folder / sound.name)
        self._drop_other_kinds(name, sound.suffix[1:])
        self._make_room(name)
        return self.folder / sound.name

    def _bring_latent(self, name: str) -> bool:
        """Fetch a latent that is not here, or damaged; whether there is one. Asked once for each take."""
        facts = self._manifest(name)["latent"]
        if name in self._without or not facts["shape"][0]:
            return False
        with contextlib.suppress(LibraryError), self._arriving(name) as folder:
            latent = fetch_latent(self._fetch, name, folder, facts)
            if latent is not None:
                os.replace(latent, self.folder / latent.name)
                return True
            self._without.add(name)
        return False

    @contextlib.contextmanager
    def _arriving(self, name: str) -> Iterator[Path]:
        """A folder inside the mirror for what is on its way; LibraryError where the line or the disk fails."""
        try:
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=_INCOMING) as folder:
                yield Path(folder)
        except ConnectionLost as problem:
            raise LibraryError(f"{name} has not been fetched yet, and cannot be now. {problem}") from None
        except LibraryError:
            raise
        except LabError as problem:
            raise LibraryError(f"{name} cannot be fetched: {problem}") from None
        except OSError as problem:
            raise LibraryError(f"{name} cannot be fetched ({problem.strerror or problem}).") from None

    def _files_of_sound(self, name: str) -> list[Path]:
        return [self.folder / f"{name}.{kind}" for kind in (*KINDS, "safetensors")]

    def _make_room(self, keep: str) -> None:
        """Let go of the sounds that were opened longest ago, once there are too many bytes of them."""
        files = [one for folder in (self.folder, self.folder / SOUNDS) for one in _sounds_in(folder)]
        held = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if held <= self.most_bytes:
                return
            if file.name.partition(".")[0] != keep:
                _remove([file])
                held -= size

    def keep(self, take: Take) -> Path:
        """Bring a take to the box, and give its sound file here; keeping it twice changes nothing.

        LibraryError where the box refuses it, or does not answer.
        """
        check_can_be_kept(take)
        take = self.admit(take)
        if take.id in self._listing.takes and take in self and (take.is_copy or self._has_latent(take)):
            return self._put_sound(take)
        sent: Sent = self._do(lambda: send_take(self._write, take))
        if not sent.kept:
            raise LibraryError(sent.remark or f"{take.id} could not be kept on that machine.")
        self.refresh()
        return self._put_sound(take) if sent.id == take.id else self.sound(sent.id)

    def _has_latent(self, take: Take) -> bool:
        """Whether the box is to be told of no latent that this take has and the one there lacks."""
        with contextlib.suppress(LibraryError):
            return not take.latent.size or bool(self._manifest(take.id)["latent"]["shape"][0])
        return False

    def _put_sound(self, take: Take) -> Path:
        """Have the sound of a take that the box keeps here, without fetching it: it is at hand."""
        found = self._sound_of(self.folder, take.id)
        if found is not None or take.is_copy or take not in self:
            return found or self.sound(take.id)
        data = self._manifest(take.id)
        with self._arriving(take.id) as folder:
            sound = folder / f"{take.id}.{take.audio.lossless_kind}"
            write_sound(sound, take.audio, data)
            if take.latent.size:
                write_latent(folder / f"{take.id}.safetensors", take.latent)
                os.replace(folder / f"{take.id}.safetensors", self.folder / f"{take.id}.safetensors")
            os.replace(sound, self.folder / sound.name)
        self._make_room(take.id)
        return self.folder / sound.name

    def _kept_under(self, name: str) -> tuple[dict[str, object], Path | None] | None:
        found = super()._kept_under(name)
        if found is not None and found[1] is None and found[0]["format"] != identity.FORMAT and name in self:
            return found[0], self.sound(name)  # an old manifest cannot tell its sound from another
        return found

    # -- what is said about them ----------------------------------------------------------------------------------------

    def _do(self, ask: Any) -> Any:
        """Have the box do something; LibraryError where it refuses or does not answer."""
        try:
            return ask()
        except LibraryError:
            raise
        except LabError as problem:
            raise LibraryError(str(problem)) from None

    def _post(self, path: str, **body: Any) -> Any:
        return self._do(lambda: self._write.post(path, body))

    def mark(self, name: str, **marks: Any) -> Card:
        """Say something about a take (see `Library.mark`), on the box first; LibraryError where it refuses."""
        if odd := [one for one in marks if one not in MARKS]:
            raise TypeError(f"mark() got an unexpected keyword argument {odd[0]!r}")
        asked = new_marks({one: marks.get(one) for one in MARKS})
        new = manifest.checked_marks(asked, "The marks")
        answer = self._post(path_of(self._known(name), "marks"), marks=new)
        said = _checked_marks(name, answer.get("marks") if isinstance(answer, Mapping) else None)
        _put(self.folder / f"{name}.marks.json", to_json(said))
        stamp = answer.get("stamp")
        if isinstance(stamp, str):
            self._note(lambda listing: listing.takes.update({name: stamp[:200]}))
        return self.card(name)

    def bin(self, *names: str) -> list[str]:
        """Put takes into the box's bin, from where `restore` brings them back for a day; returns their ids."""
        gone = [self._known(name if isinstance(name, str) else getattr(name, "id", name)) for name in names]
        for first in range(0, len(gone), AT_ONCE):
            self._post(f"{_TAKES}/bin", ids=gone[first : first + AT_ONCE])
        self.refresh()
        return gone

    def restore(self, *names: str) -> list[str]:
        """Bring takes back out of the box's bin; returns the ids found there."""
        wanted, back = list(dict.fromkeys(filter(is_take_id, names))), list[str]()
        for first in range(0, len(wanted), AT_ONCE):
            answer = self._post(f"{_TAKES}/restore", ids=wanted[first : first + AT_ONCE])
            found = answer.get("restored") if isinstance(answer, Mapping) else None
            back += [id for id in found if id in wanted] if isinstance(found, list) else []
        self.refresh()
        return back

    def trash(self) -> list[str]:
        """Ids in the box's bin, newest first."""
        self._ask()
        here = super().trash()
        order = {id: at for at, id in enumerate(self._listing.binned)}
        return sorted(dict.fromkeys(here), key=lambda id: order.get(id, -1))

    def empty_trash(self, older_than_hours: float = 0.0) -> None:
        """Delete for good, on the box, what has been in its bin for so many hours; only the host's key may."""
        if self._state is None:  # the box empties its own bin; the mirror follows
            return
        if isinstance(older_than_hours, bool) or not isinstance(older_than_hours, int | float):
            raise LibraryError(
                f"How long a take lies in the trash is a number of hours, not {shown(older_than_hours)}."
            )
        self._post(f"{_TAKES}/empty", hours=older_than_hours)
        self.refresh()

    # -- recordings -----------------------------------------------------------------------------------------------------

    def sounds(self) -> list[str]:
        """Ids of all recordings of the box that one may start from, the one brought last first."""
        self._ask()
        return list(self._listing.sounds)

    def sound_name(self, name: str) -> str:
        """What a recording is called; "" where nobody said."""
        known = self._listing.sounds.get(sound_id(name))
        return "" if known is None else known.name

    def sound_seconds(self, name: str) -> float:
        """How long a recording lasts; LibraryError where there is none."""
        known = self._listing.sounds.get(sound_id(name))
        return known.seconds if known is not None and known.seconds else super().sound_seconds(name)

    def source_title(self, name: str) -> str:
        """What a recording, or a take in the bin, is called; "" where there is none, or it has no name."""
        if not is_sound_id(name):
            return super().source_title(name)
        return self.sound_name(name) or ("a recording" if name in self._listing.sounds else "")

    def recording(self, name: str) -> Path:
        """The file of a recording, fetched where it is not here yet; LibraryError where it cannot be."""
        found = self._sound_of(self.folder / SOUNDS, sound_id(name))
        if found is None:
            with self._fetching.setdefault(name, threading.Lock()):
                found = self._sound_of(self.folder / SOUNDS, name) or self._bring_recording(name)
        _touch(found)
        return found

    def _bring_recording(self, name: str) -> Path:
        with self._arriving(name) as folder:
            file = fetch_sound(self._fetch, name, folder)
            check_recording(file, name)
            (self.folder / SOUNDS).mkdir(exist_ok=True)
            os.replace(file, self.folder / SOUNDS / file.name)
        self._make_room(name)
        return self.folder / SOUNDS / file.name

    def open_sound(self, name: str) -> Audio:
        """Read a recording, fetched from the box where it is not here yet, or damaged here."""
        there = self._sound_of(self.folder / SOUNDS, sound_id(name)) is not None
        try:
            return super().open_sound(name)
        except LibraryError:
            if not there:
                raise
        _remove([self.folder / SOUNDS / f"{name}.{kind}" for kind in KINDS])
        return super().open_sound(name)

    def keep_sound(self, audio: Audio, name: str = "") -> Path:
        """Bring a recording to the box, and give its file here; keeping it twice changes nothing. `name` is what it is called."""
        if not isinstance(audio, Audio):
            raise LibraryError(f"A recording is an Audio, not {shown(audio)}.")
        if audio.id not in self._listing.sounds:
            self._do(lambda: send_sound(self._write, audio, name))
            self._note(
                lambda listing: _put_first(listing, audio.id, Known(name[:MOST_NAME], audio.seconds)), whole=False
            )
        kept = super().keep_sound(audio)
        self._make_room(audio.id)
        return kept

    def name_sound(self, name: str, called: str) -> None:
        """Say what a recording is called, on the box first; LibraryError where it is none of one's own."""
        words = " ".join(clean_text(called, "The name of a recording", LibraryError).split())[:MOST_NAME]
        known = self._listing.sounds.get(sound_id(name))
        if known is None:
            raise LibraryError(f"The library keeps no recording {shown(name)}.")
        if words == known.name:
            return
        self._post(path_of(name, "name"), name=words)
        self._note(lambda listing: listing.sounds.update({name: Known(words, known.seconds)}))
        self._index.revision += 1  # what was made from it is called by its name

    def forget_sound(self, name: str) -> bool:
        """Take a recording off one's list on the box; returns whether it is gone there."""
        answer = self._post(path_of(sound_id(name), "forget"))
        gone = isinstance(answer, Mapping) and answer.get("gone") is True
        if gone:
            _remove([self.folder / SOUNDS / f"{name}.{kind}" for kind in KINDS])
        self.refresh()
        return gone

    # -- the mirror itself ----------------------------------------------------------------------------------------------

    @property
    def damaged(self) -> tuple[Problem, ...]:
        """The manifests that could not be read, there or here."""
        return (*super().damaged, *(Problem(name, why) for name, why in self._listing.damaged))

    def _lost(self, names: Iterable[str]) -> list[Problem]:
        return []  # sounds come when they are opened

    def rebuild(self) -> None:
        """Make the index anew, and ask the box for everything it says of its takes; sounds stay."""
        with contextlib.suppress(LibraryError):
            self._note(lambda listing: listing.takes.update(dict.fromkeys(listing.takes, "")), whole=False)
        self._asked_at = -float("inf")
        super().rebuild()

    def _sweep(self) -> None:
        super()._sweep()
        for place in self.folder.glob(f"{_INCOMING}*"):
            with contextlib.suppress(OSError):
                if time.time() - place.stat().st_mtime > DRAFT_HOURS * 3600:
                    shutil.rmtree(place, ignore_errors=True)


def mirror_folder(url: str, key: str) -> Path:
    """Where the mirror of a box lies for one key, in this user's cache; its name tells neither."""
    from platformdirs import user_cache_path

    name = hashlib.sha256(f"{url}\n{key}".encode()).hexdigest()[:24]
    return Path(user_cache_path("acestep_lab")) / "mirrors" / name


def most_mirrored() -> int:
    """Bytes of sounds that a mirror keeps: 2 GB, or `ACESTEP_LAB_MIRROR_GB`."""
    said = VARIABLES.get("ACESTEP_LAB_MIRROR_GB")
    return round((float(said) if said else USUAL_GIGABYTES) * 1e9)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise LibraryError(
            f"The mirror's folder {shown(str(folder), 120)} cannot be made ({problem.strerror})."
        ) from None


def _checked_marks(id: str, found: object) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise LibraryError(f"What is said about {id} came as {shown(found)}.")
    try:
        return manifest.checked_marks(found, f"The marks of {id}")
    except (TypeError, RecipeError) as problem:
        raise LibraryError(f"What is said about {id} cannot be read: {problem}") from None


def _told_of(listing: Listing, id: str) -> bool:
    return any(name == f"{id}.json" for name, _ in listing.damaged)


def _put(path: Path, text: str) -> None:
    """Write a small file that can be fetched again, whole or not at all; "" removes it."""
    if not text:
        path.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:
            return
    draft = path.with_name(f".draft-{secrets.token_hex(6)}.json")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _bytes_told(folder: Path) -> int:
    """Bytes of the manifests and marks in a mirror."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.name.endswith(".json"))
    return 0


def _put_first(listing: Listing, id: str, known: Known) -> None:
    listing.sounds = {id: known, **{name: one for name, one in listing.sounds.items() if name != id}}


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        with contextlib.suppress(OSError):  # gone meanwhile, or open in another process
            file.unlink(missing_ok=True)


def _touch(file: Path) -> None:
    """Say that a file was used just now: what was not goes first."""
    with contextlib.suppress(OSError):
        os.utime(file)


def _sounds_in(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Sounds and latents in a folder: when they were used, their bytes, and where they are."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name, _, kind = entry.name.partition(".")
            if is_id(name) and kind in (*KINDS, "safetensors"):
                with contextlib.suppress(OSError):  # gone meanwhile
                    facts = entry.stat()
                    yield facts.st_mtime, facts.st_size, folder / entry.name
