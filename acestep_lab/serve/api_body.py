"""What a client sends, read as it arrives: JSON, a form, or several parts whose files go straight to the disk.

Knows no route. A body says its kind by its `Content-Type`, or, where it says none of these, by its first byte. Fields
are held in memory and therefore few and small; a file never is.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from acestep_lab.errors import LabError, shown

MOST_FIELD_BYTES = 4 * 2**20
"""Bytes of everything in a body that is no file."""
MOST_FILE_BYTES = 512 * 2**20
"""Bytes of a body's files together."""
MOST_PARTS = 200
NewFile = Callable[[str], Path]
"""Gives a file that is not there yet, for something that its sender calls by this name."""


class BadBody(LabError):
    """A body that cannot be read; `status` is the HTTP status that says so."""

    code = "BODY"

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Upload:
    """A file that came along: where it lies now, and what its sender calls it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Body:
    """What was sent: fields by their names, and files."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Upload] = field(default_factory=dict)

    def forget(self) -> None:
        """Remove the files from the disk."""
        for one in self.files.values():
            one.path.unlink(missing_ok=True)


class Reader(Protocol):
    """What takes the bytes of a body as they come."""

    def feed(self, chunk: bytes) -> None:
        """Take some more; BadBody where they cannot be right."""

    def finish(self) -> Body:
        """All is there."""

    def drop(self) -> None:
        """Nobody wants it any more: leave nothing behind."""


def reader_for(content_type: str, new_file: NewFile | None) -> Reader:
    """The reader for a `Content-Type`; `new_file` says where a file goes, None that none is kept. BadBody where it names no boundary."""
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not 0 < len(boundary) <= 200:
            raise BadBody("A multipart body names its boundary in the Content-Type; this one does not.")
        return _Parts(boundary, new_file)
    return _Text(kind.decode("latin-1"))


class _Text:
    """JSON or a form, whole in memory."""

    def __init__(self, kind: str) -> None:
        self._kind, self._bytes = kind, bytearray()

    def feed(self, chunk: bytes) -> None:
        self._bytes += chunk
        if len(self._bytes) > MOST_FIELD_BYTES:
            raise BadBody(f"A body without files has at most {MOST_FIELD_BYTES // 2**20} MB.", 413)

    def finish(self) -> Body:
        data = bytes(self._bytes).strip()
        if not data:
            return Body()
        if "json" in self._kind or data[:1] == b"{":
            return Body(json_object(data))
        if self._kind == "application/x-www-form-urlencoded" or b"=" in data[:4096]:
            return Body(_form(data))
        raise BadBody("A body is JSON, a form, or multipart; this is none of them.", 415)

    def drop(self) -> None:
        self._bytes.clear()


def json_object(data: bytes) -> dict[str, Any]:
    """The JSON object that these bytes are; BadBody where they are none."""
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadBody("The body is no JSON that can be read.") from None
    if not isinstance(found, dict):
        raise BadBody("The body is a JSON object: {…}.", 422)
    return found


def _form(data: bytes) -> dict[str, Any]:
    try:
        return dict(parse_qsl(data.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_PARTS))
    except ValueError:  # not UTF-8, or too many
        raise BadBody("The body is no form that can be read.") from None


class _Parts:
    """multipart/form-data (RFC 7578): fields in memory, each file written as it comes."""

    def __init__(self, boundary: bytes, new_file: NewFile | None) -> None:
        self._new_file, self._fields, self._files = new_file, dict[str, Any](), dict[str, Upload]()
        self._name = self._file_name = ""
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._value = bytearray()
        self._out: BinaryIO | None = None
        self._passes_by = False
        self._parts = self._field_bytes = self._file_bytes = 0
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
                "on_header_field": self._header_name, "on_header_value": self._header_value,
                "on_header_end": self._header_end, "on_headers_finished": self._described, "on_end": self._over,
            },
        )  # fmt: skip

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise BadBody("The multipart body is not as RFC 7578 has it.") from None
        except OSError as problem:
            raise BadBody(f"The disk refused the upload ({problem.strerror}).", 507) from None

    def finish(self) -> Body:
        if not self._ended:
            raise BadBody("The multipart body breaks off before its end.")
        return Body(self._fields, self._files)

    def drop(self) -> None:
        out, self._out = self._out, None
        if out is not None:
            with contextlib.suppress(OSError):  # a full disk refuses the last bytes as well
                out.close()
        Body({}, self._files).forget()

    # -- what the parser tells

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BadBody(f"A body has at most {MOST_PARTS} parts.", 413)
        self._headers, self._value, self._passes_by = {}, bytearray(), False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _described(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise BadBody("Each part of the body has a name: Content-Disposition: form-data; name=…")
        self._name = options[b"name"].decode("utf-8", "replace")[:200]
        self._passes_by = b"filename" in options and self._new_file is None
        if b"filename" in options and self._new_file is not None:
            self._file_name = options[b"filename"].decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
            path = self._new_file(self._file_name)
            old = self._files.get(self._name)
            if old is not None:
                old.path.unlink(missing_ok=True)
            self._files[self._name] = Upload(path, self._file_name[:200])
            self._out = path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._passes_by:
            return
        if self._out is not None:
            self._file_bytes += end - start
            if self._file_bytes > MOST_FILE_BYTES:
                raise BadBody(f"The files of a body have at most {MOST_FILE_BYTES // 2**20} MB together.", 413)
            self._out.write(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > MOST_FIELD_BYTES:
            raise BadBody(f"The fields of a body have at most {MOST_FIELD_BYTES // 2**20} MB together.", 413)
        self._value += data[start:end]

    def _end(self) -> None:
        out, self._out = self._out, None
        if out is not None:
            out.close()
        elif not self._passes_by:
            try:
                self._fields[self._name] = self._value.decode("utf-8")
            except UnicodeDecodeError:
                raise BadBody(f"The field {shown(self._name)} is no text in UTF-8.") from None

    def _over(self) -> None:
        self._ended = True
