"""The routes by which a session far away sees this machine's library, and brings sounds into it (`remote/library.py` asks).

Thin: a request becomes values, the work is `api_lab_shelf`'s, in a thread. Plain JSON without an envelope; sounds as files.
Whose takes are seen and changed is the key's; the first key is the host's.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from acestep_lab.errors import LibraryError, shown
from acestep_lab.serve.api_body import Upload
from acestep_lab.serve.api_handler import ApiHandler, Refused
from acestep_lab.serve.api_lab_shelf import MOST_ASKED, Shelf, shelf_of
from acestep_lab.serve.rest_paths import MEDIA
from acestep_lab.takes.ids import MOST_LETTERS, is_take_id

_PIECE = 2**18
_TAKE = rf"(take-[0-9a-z]{{1,{MOST_LETTERS}}})"
_SOUND = rf"(audio-[0-9a-z]{{1,{MOST_LETTERS}}})"


class _Shelf(ApiHandler):
    """A route of the library."""

    @property
    def shelf(self) -> Shelf:
        """What the asker sees of the library."""
        return shelf_of(self.door.tasks.backend)

    def ids(self) -> list[str]:
        """The takes that a body names."""
        asked = self.read_body().fields.get("ids")
        if not isinstance(asked, list) or len(asked) > MOST_ASKED or not all(map(is_take_id, asked)):
            raise LibraryError(
                f"`ids` is a list of takes' names, at most {MOST_ASKED}; one is like 'take-1f0c9a52b7d3e846'."
            )
        return list(asked)

    async def send_file(self, opened: AbstractContextManager[Path | None]) -> None:
        """A file, piece by piece, as fast as whoever fetches it takes them."""
        path = await self.work(opened.__enter__)
        try:
            if path is None:
                raise Refused(404, "This take has no latent.")
            self.set_header("Content-Type", MEDIA.get(path.suffix, "application/octet-stream"))
            self.set_header("Content-Length", str(path.stat().st_size))
            self.set_header("Content-Disposition", f'attachment; filename="{path.name}"')
            with contextlib.suppress(StreamClosedError), path.open("rb") as file:  # whoever fetched it has gone
                while piece := file.read(_PIECE):
                    self.write(piece)
                    await self.flush()
        finally:
            await self.work(opened.__exit__, None, None, None)


class Listing(_Shelf):
    """All takes and recordings of the asker, each with a stamp that changes when it does; `?known=` is the stamp of all."""

    takes_files = True

    async def get(self) -> None:
        self.send(await self.work(self.shelf.listing, self.owner, self.get_query_argument("known", "")[:100]))

    async def post(self) -> None:
        """Bring a take: `file` is its sound with the manifest inside, `latent` its latent."""
        body = self.read_body()
        try:
            sound, latent = _file(body.files, "file"), body.files.get("latent")
            found = await self.work(
                self.shelf.receive_take, sound.path, sound.name, self.owner, None if latent is None else latent.path
            )
        finally:
            body.forget()
        self.send(found)


class Told(_Shelf):
    """Manifests and marks of several takes: `ids`."""

    async def post(self) -> None:
        self.send(await self.work(self.shelf.told, self.ids(), self.owner))


class Bin(_Shelf):
    """Put takes into the bin: `ids`."""

    async def post(self) -> None:
        self.send({"binned": await self.work(self.shelf.bin, self.ids(), self.owner)})


class Restore(_Shelf):
    """Bring takes back out of the bin: `ids`."""

    async def post(self) -> None:
        self.send({"restored": await self.work(self.shelf.restore, self.ids(), self.owner)})


class Empty(_Shelf):
    """Delete for good what has been in the bin for so many `hours` (the host)."""

    async def post(self) -> None:
        hours = self.read_body().fields.get("hours", 0.0)
        await self.work(self.shelf.empty, hours, self.owner)
        self.send({})


class TakeSound(_Shelf):
    """A take's sound, lossless, with its manifest inside: a file that opens as the very same take."""

    async def get(self, id: str) -> None:
        await self.send_file(self.shelf.sound(id, self.owner))


class TakeLatent(_Shelf):
    """A take's latent."""

    async def get(self, id: str) -> None:
        await self.send_file(self.shelf.latent(id, self.owner))


class TakeManifest(_Shelf):
    """A take's manifest."""

    async def get(self, id: str) -> None:
        self.send((await self.work(self.shelf.takes.told, id, self.owner))[0])


class TakeMarks(_Shelf):
    """What was said about a take; POST says more: `marks`."""

    async def get(self, id: str) -> None:
        self.send((await self.work(self.shelf.takes.told, id, self.owner))[1])

    async def post(self, id: str) -> None:
        marks = self.read_body().fields.get("marks")
        self.send(await self.work(self.shelf.mark, id, self.owner, marks))


class Recordings(_Shelf):
    """The asker's recordings: id, name and seconds of each; POST brings one: `file`, and what it is called (`name`)."""

    takes_files = True

    async def get(self) -> None:
        self.send({"sounds": (await self.work(self.shelf.listing, self.owner))["sounds"]})

    async def post(self) -> None:
        body = self.read_body()
        try:
            name = str(body.fields.get("name", ""))
            found = await self.work(self.shelf.receive_sound, _file(body.files, "file").path, name, self.owner)
        finally:
            body.forget()
        self.send(found)


class Recording(_Shelf):
    """A recording's samples."""

    async def get(self, id: str) -> None:
        await self.send_file(self.shelf.sound(id, self.owner))


class RecordingName(_Shelf):
    """Call a recording otherwise: `name`."""

    async def post(self, id: str) -> None:
        await self.work(self.shelf.name_sound, id, self.owner, str(self.read_body().fields.get("name", "")))
        self.send({})


class ForgetRecording(_Shelf):
    """Take a recording off the asker's list; takes made from it keep it."""

    async def post(self, id: str) -> None:
        self.read_body()
        self.send({"gone": await self.work(self.shelf.forget_sound, id, self.owner)})


class Known(_Shelf):
    """Which of these takes and recordings (`ids`) a run of the asker's can start from as it is."""

    async def post(self) -> None:
        asked = self.read_body().fields.get("ids")
        if not isinstance(asked, list) or len(asked) > MOST_ASKED:
            raise LibraryError(f"`ids` is a list of at most {MOST_ASKED} names of takes and recordings.")
        self.send({"known": await self.work(self.shelf.knows, asked, self.owner)})


def _file(files: Any, name: str) -> Upload:
    found: Upload | None = files.get(name)
    if found is None:
        raise LibraryError(f"The sound comes as a file of a multipart body, under the name {shown(name)}.")
    return found


_OF, _ID = "/v1/lab", "{id}"
LIBRARY_ROUTES: dict[str, type[RequestHandler]] = {
    f"{_OF}/takes": Listing,
    f"{_OF}/takes/told": Told,
    f"{_OF}/takes/bin": Bin,
    f"{_OF}/takes/restore": Restore,
    f"{_OF}/takes/empty": Empty,
    f"{_OF}/takes/{_TAKE}": TakeSound,
    f"{_OF}/takes/{_TAKE}/latent": TakeLatent,
    f"{_OF}/takes/{_TAKE}/manifest": TakeManifest,
    f"{_OF}/takes/{_TAKE}/marks": TakeMarks,
    f"{_OF}/known": Known,
    f"{_OF}/sounds": Recordings,
    f"{_OF}/sounds/{_SOUND}": Recording,
    f"{_OF}/sounds/{_SOUND}/name": RecordingName,
    f"{_OF}/sounds/{_SOUND}/forget": ForgetRecording,
}
"""The library's routes by their patterns."""

_TEXT, _FILE, _IDS = (
    {"type": "string"},
    {"type": "string", "format": "binary"},
    {"type": "array", "items": {"type": "string"}},
)
LIBRARY_ROWS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("get", f"{_OF}/takes", "The asker's takes and recordings, each with a stamp that changes when it does", {"known": _TEXT}),
    ("post", f"{_OF}/takes", "Bring a take: its sound with the manifest inside, and its latent", {"file": _FILE, "latent": _FILE}),
    ("post", f"{_OF}/takes/told", "Manifests and marks of takes", {"ids": _IDS}),
    ("post", f"{_OF}/takes/bin", "Put takes into the bin", {"ids": _IDS}),
    ("post", f"{_OF}/takes/restore", "Bring takes back out of the bin", {"ids": _IDS}),
    ("post", f"{_OF}/takes/empty", "Delete what has been in the bin for so many hours (the host)", {"hours": {"type": "number"}}),
    ("get", f"{_OF}/takes/{_ID}", "A take's sound, lossless, with its manifest inside", {}),
    ("get", f"{_OF}/takes/{_ID}/latent", "A take's latent, as safetensors", {}),
    ("get", f"{_OF}/takes/{_ID}/manifest", "A take's manifest", {}),
    ("get", f"{_OF}/takes/{_ID}/marks", "What was said about a take", {}),
    ("post", f"{_OF}/takes/{_ID}/marks", "Say something about a take", {"marks": {"type": "object"}}),
    ("post", f"{_OF}/known", "Which of these takes and recordings a run can start from as it is", {"ids": _IDS}),
    ("get", f"{_OF}/sounds", "The asker's recordings", {}),
    ("post", f"{_OF}/sounds", "Bring a recording", {"file": _FILE, "name": _TEXT}),
    ("get", f"{_OF}/sounds/{_ID}", "A recording's samples, lossless", {}),
    ("post", f"{_OF}/sounds/{_ID}/name", "Call a recording otherwise", {"name": _TEXT}),
    ("post", f"{_OF}/sounds/{_ID}/forget", "Take a recording off the list; takes made from it keep it", {}),
)  # fmt: skip
"""The same routes as `openapi.py` describes them."""
