"""Who a browser belongs to: names that only this server can give, and that outlive it. Knows no page and no token.

A person is a random name, signed with a secret of this user's data folder. It is not in the library's folder, since a
library is copied, shared and zipped, and whoever can read the secret can be anybody.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

from tornado.web import create_signed_value, decode_signed_value

from acestep_lab.errors import MachineError, shown
from acestep_lab.files import flush_folder

COOKIE = "acestep_lab_person"
DAYS = 400
"""Days a browser is known again; browsers keep no cookie for longer."""
BYTES = 32
_PERSON = re.compile(r"[A-Za-z0-9_-]{16}", re.ASCII)


class People:
    """Gives names to browsers, and knows those it gave."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def new(self) -> str:
        """A name nobody has."""
        return secrets.token_urlsafe(12)

    def signed(self, person: str) -> str:
        """What a browser keeps of a name."""
        return create_signed_value(self._secret, COOKIE, person).decode()

    def read(self, name: str, value: str) -> str:
        """Whom a cookie names, or "" where it is none of ours; the port of an earlier day does not matter."""
        read = decode_signed_value(self._secret, COOKIE, value, DAYS) if name.startswith(COOKIE) else None
        person = "" if read is None else read.decode("utf-8", "replace")
        return person if _PERSON.fullmatch(person) else ""


def default_secret_path() -> Path:
    """Where the secret of this user's studios is kept."""
    from platformdirs import user_data_path

    return user_data_path("acestep_lab") / "people.secret"


def read_secret(place: Path) -> bytes:
    """The secret of a file that only this user can read, made where there is none yet.

    MachineError where others can read it (they could be anybody) or it is damaged; OSError where it cannot be written.
    """
    if not place.exists():
        _make(place)
    with place.open("rb") as file:
        mode, found = os.fstat(file.fileno()).st_mode, file.read(BYTES + 1)
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise MachineError(
            f"Others can read {shown(str(place), 120)}, by which this studio knows whose takes are whose. "
            "Run chmod 600 on it, or delete it: then everybody is new."
        )
    if len(found) != BYTES:
        raise MachineError(
            f"{shown(str(place), 120)}, by which this studio knows whose takes are whose, is damaged. Bring it back, "
            "or delete it: then everybody is new."
        )
    return found


def _make(place: Path) -> None:
    """Write a new secret whole, unless another studio is quicker."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=place.parent, prefix=".draft-")  # only its maker can read it
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, place)
        except FileExistsError:
            return
        flush_folder(place.parent)
    finally:
        os.unlink(draft)
