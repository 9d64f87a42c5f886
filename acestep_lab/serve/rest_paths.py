"""Which files a request may name: those in its owner's part of the door's own folder, in the temp folder, in the library.

Knows paths and whose they are; no server, no take. A path is judged as it is once every link in it has been followed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.files import NO_CHARACTER
from acestep_lab.serve.api_body import BadBody
from acestep_lab.settings import VARIABLES
from acestep_lab.takes.ids import is_id

UPLOADS, RESULTS = "uploads", "results"
MOST_UPLOADED = 4 * 2**30
"""Bytes of what one person has sent and still waits to be heard, beyond which nothing more is taken."""
MOST_PATH = 4096
"""Characters of the longest path that is looked at."""
MEDIA = {
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".opus": "audio/ogg", ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
}  # fmt: skip
"""Files that are handed out, by their endings, with their media types."""
Sees = Callable[[str, str], bool]
"""`sees(id, owner)`: whether a take or recording of the library is somebody's."""


class ForbiddenSound(LabError):
    """A file was asked for that is none of this person's, or lies where no sounds are handed out (HTTP 403)."""

    code = "FORBIDDEN"
    status = 403


class MissingSound(LabError):
    """A file was asked for that is not there, or not any more (HTTP 404)."""

    code = "MISSING"
    status = 404


def default_adapters() -> Path:
    """Where adapters lie unless told otherwise: `ACESTEP_LAB_ADAPTERS`, or this user's data folder."""
    from platformdirs import user_data_path

    return Path(VARIABLES.get("ACESTEP_LAB_ADAPTERS") or user_data_path("acestep_lab") / "adapters")


def default_training() -> Path:
    """Where data sets lie unless told otherwise: `ACESTEP_LAB_TRAINING`, or this user's data folder."""
    from platformdirs import user_data_path

    return Path(VARIABLES.get("ACESTEP_LAB_TRAINING") or user_data_path("acestep_lab") / "training")


class SoundPlaces:
    """The folders of one door: people's uploads and results in `folder`, and the library beside it."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        library: str | os.PathLike[str] | None,
        sees: Sees,
        adapters: str | os.PathLike[str] | None = None,
    ) -> None:
        """`adapters` is the folder of adapters; None: the one that is set, or `adapters` in this user's data folder."""
        self.folder = Path(folder).resolve()
        self.adapters = (default_adapters() if adapters is None else Path(adapters)).expanduser().resolve()
        self.training = default_training().expanduser().resolve()
        self._library = None if library is None else Path(library).resolve()
        self._sees = sees
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def uploads(self, owner: str) -> Path:
        """The folder of what somebody sends."""
        return self._own(UPLOADS, owner)

    def results(self, owner: str) -> Path:
        """The folder of what is made for somebody."""
        return self._own(RESULTS, owner)

    def new_upload(self, owner: str, name: str) -> Path:
        """A file that is not there yet, for something sent under this name: only its ending is kept.

        BadBody where what this person has sent and still waits fills its share.
        """
        if sum(_size(one) for one in self.uploads(owner).iterdir()) > MOST_UPLOADED:
            raise BadBody(
                "What you have sent for tasks that still wait fills your share; send more when some are done.", 507
            )
        ending = Path(name[-64:]).suffix.lower()
        safe = ending if ending[1:].isascii() and ending[1:].isalnum() and len(ending) <= 8 else ""
        return self.uploads(owner) / f"{secrets.token_hex(16)}{safe}"

    def source(self, text: str, owner: str) -> str:
        """What a request starts from, as it may: an id of the library as it is, or the real path of a file.

        RecipeError for a file that is not there or lies elsewhere.
        """
        if is_id(text):
            return text
        path = self._resolved(text, owner)
        if path is None or not self._may_start_from(path, owner):
            raise RecipeError(
                f"The file {shown(text)} lies outside the folders this server reads: send the sound as an upload, or put it "
                "into the system's temp folder or the library."
            )
        if not _is_file(path):
            raise RecipeError(f"There is no file {shown(text)} on the server's machine; send the sound as an upload.")
        return str(path)

    def adapter(self, text: str, owner: str) -> str:
        """The real path of an adapter, a file or a folder: in the folder of adapters, or among what its owner sent; the host's
        also in the library, the folder of training and the system's temp folder. RecipeError for one that is not there or lies elsewhere.
        """
        named = None if Path(text).is_absolute() else self._resolved(text, owner, self.adapters)
        path = named if named is not None and named.exists() else self._resolved(text, owner)
        ours = path is not None and (path.is_relative_to(self.adapters) or self._may_start_from(path, owner))
        taught = path is not None and not owner and path.is_relative_to(self.training)
        if path is None or not (ours or taught):
            raise RecipeError(
                f"The adapter {shown(text)} lies outside the folders this server reads: put it into the folder of adapters "
                "(ACESTEP_LAB_ADAPTERS) and name it from there, or send the file."
            )
        if not path.exists():
            raise RecipeError(f"There is no adapter {shown(text)} in the folder of adapters (ACESTEP_LAB_ADAPTERS).")
        return str(path)

    def of_training(self, text: str, writes: bool = False) -> Path:
        """The real path of a data set, of its songs, of a training: where the host may train. RecipeError for another place.

        That is the folder of training, from which relative names start, that of adapters and the system's temp folder; to read
        also what the host may start from. Whether anything is there is another question.
        """
        path = self._resolved(text, "", self.training)
        if path is None or not self.may_train_in(path, writes):
            raise RecipeError(
                f"{shown(text)} lies outside the folders this server trains in: put it into the folder of training "
                "(ACESTEP_LAB_TRAINING), into that of adapters or into the system's temp folder."
            )
        return path

    def may_train_in(self, path: Path, writes: bool = False) -> bool:
        """Whether a real path lies where the host may train; the door's own folder is none to write into."""
        if any(path.is_relative_to(folder) for folder in (self.training, self.adapters)):
            return True
        own = path.is_relative_to(self.folder)
        library = self._library is not None and path.is_relative_to(self._library)
        return self._may_start_from(path, "") and not (writes and (own or library))

    def sound(self, text: str, owner: str) -> Path:
        """The file that `/v1/audio` hands out; ForbiddenSound outside somebody's results and library, MissingSound where none is."""
        path = self._resolved(text, owner)
        if path is None or not (path.is_relative_to(self.results(owner)) or self._in_library(path, owner)):
            raise ForbiddenSound("Only sounds that were made for you, and those of your library, can be fetched here.")
        if path.suffix.lower() not in MEDIA or not _is_file(path):
            raise MissingSound("This sound is not here any more, or never was; make it once more.")
        return path

    def sweep(self, before: float) -> None:
        """Delete uploads and results last written before a time in seconds since 1970: what an earlier server left."""
        for kind in (UPLOADS, RESULTS):
            for file in (self.folder / kind).glob("*/*"):
                with contextlib.suppress(OSError):  # gone meanwhile
                    if file.lstat().st_mtime < before:
                        file.unlink()

    def _own(self, kind: str, owner: str) -> Path:
        name = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:16] if owner else "host"
        own = self.folder / kind / name
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        return own

    def _resolved(self, text: str, owner: str, base: Path | None = None) -> Path | None:
        """The real path of what is written; None for what is no path. One without a root starts at `base`, or the owner's uploads."""
        if not text.strip() or len(text) > MOST_PATH or NO_CHARACTER.search(text) or text.startswith(("\\\\", "//")):
            return None  # the last: a share of another machine, which Windows would already log on to here
        try:
            path = ((self.uploads(owner) if base is None else base) / text).resolve()
            path.exists()  # which is where the system says that it has no such names
        except (OSError, RuntimeError, ValueError):  # links in a circle, a name too long, a folder that is closed to us
            return None
        return path

    def _may_start_from(self, path: Path, owner: str) -> bool:
        if path.is_relative_to(self.folder):  # which may lie in the temp folder itself
            return path.is_relative_to(self.uploads(owner)) or path.is_relative_to(self.results(owner))
        if self._library is not None and path.is_relative_to(self._library):
            return self._in_library(path, owner)
        return not owner and path.is_relative_to(Path(tempfile.gettempdir()).resolve())  # other people's lie there too

    def _in_library(self, path: Path, owner: str) -> bool:
        """Whether a path lies in the library and belongs to somebody there; the host's is everything."""
        if self._library is None or not path.is_relative_to(self._library):
            return False
        names = [part.split(".")[0] for part in path.relative_to(self._library).parts]
        return not owner or any(is_id(name) and self._sees(name, owner) for name in names)


def _is_file(path: Path) -> bool:
    """Whether an ordinary file is there; what the disk refuses to look at, such as a name too long, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _size(path: Path) -> int:
    """Bytes of a file; 0 where it has gone."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
