"""JSON-RPC 2.0, one message a line: lines out of a stream, requests out of lines, answers and errors as lines. Knows no music.

::

    for line in lines(read): text, then = answered(line, call); send(text); do each of then

`call(method, params)` gives a `Reply`; what is in its `then` is done after the answer has gone out, so that nobody hears of a
thing before the answer that names it. Answers are ASCII and short: some clients read them in pieces that they do not join.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from acestep_lab.errors import LabError, code_of, sentence, shown

MOST_LINE = 2**20
"""Bytes of the longest line that is read."""
MOST_BATCH = 50
"""Requests in one batch."""
PIECE = 65536
TOO_LONG = b"\0too long"
"""Stands for a line longer than `MOST_LINE`; no JSON begins like this."""

PARSE, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
STANDARD = {
    PARSE: ("PARSE_ERROR", "Send one JSON object a line, as UTF-8."),
    INVALID_REQUEST: ("INVALID_REQUEST", 'Send {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {}}.'),
    NO_METHOD: ("METHOD_NOT_FOUND", "Call one of the methods that `status` lists."),
    INVALID_PARAMS: ("INVALID_PARAMS", "Correct the parameter that the message names."),
    INTERNAL: ("INTERNAL_ERROR", "Read the daemon's stderr, and report it."),
}
"""Name and recovery hint of the errors that the standard numbers."""


class RpcError(Exception):
    """A request that is refused: number, name, sentence, and what would help."""

    def __init__(self, number: int, message: str, name: str = "", hint: str = "") -> None:
        super().__init__(message)
        usual = STANDARD.get(number, ("", ""))
        self.number, self.message = number, message
        self.name, self.hint = name or usual[0], hint or usual[1]

    def to_json(self) -> dict[str, Any]:
        """The error object of an answer."""
        data = {"error_code": self.name, "details": self.message, "recovery": self.hint}
        return {"code": self.number, "message": self.message, "data": data}


@dataclass(frozen=True)
class Reply:
    """What a method answers, and what is to be done once the answer has gone out."""

    result: Mapping[str, Any]
    then: tuple[Callable[[], object], ...] = ()


_log = logging.getLogger(__name__)
Call = Callable[[str, dict[str, Any]], Reply]


@dataclass
class _Answers:
    """The answers to one line as they come together."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    then: list[Callable[[], object]] = field(default_factory=list)


def lines(read: Callable[[int], bytes], most: int = MOST_LINE) -> Iterator[bytes]:
    """The lines of a stream without what ends them, empty ones left out; `TOO_LONG` once for each that is longer.

    `read(n)` waits for some bytes and gives b"" at the end. A last line without an end counts.
    """
    held, skipping = bytearray(), False
    while piece := read(PIECE):
        *whole, rest = piece.split(b"\n")
        for part in whole:
            held += part
            if not skipping and held.strip():
                yield TOO_LONG if len(held) > most else bytes(held).strip()
            held, skipping = bytearray(), False
        if not skipping:
            held += rest
            if len(held) > most:
                yield TOO_LONG
                held, skipping = bytearray(), True
    if held.strip():
        yield bytes(held).strip()


def line(message: object) -> bytes:
    """A message as a line; everything outside ASCII is escaped."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    """The line that tells a client something."""
    return line({"jsonrpc": "2.0", "method": method, "params": params})


def answered(text: bytes, call: Call) -> tuple[bytes, list[Callable[[], object]]]:
    """The line that answers a line, b"" where nothing is to be answered; and what to do after it has gone out."""
    answers = _Answers()
    try:
        asked = _parsed(text)
    except RpcError as refusal:
        return line(_refused(None, refusal)), []
    if not isinstance(asked, list):
        _answer(asked, call, answers)
        return (line(answers.messages[0]) if answers.messages else b""), answers.then
    if not 1 <= len(asked) <= MOST_BATCH:
        wrong = RpcError(INVALID_REQUEST, f"A batch holds 1 to {MOST_BATCH} requests, not {len(asked)}.")
        return line(_refused(None, wrong)), []
    for one in asked:
        _answer(one, call, answers)
    return (line(answers.messages) if answers.messages else b""), answers.then


def _parsed(text: bytes) -> object:
    if text == TOO_LONG:
        raise RpcError(
            INVALID_REQUEST, f"A line has at most {MOST_LINE:,} bytes; this one was longer and was not read."
        )
    try:
        return json.loads(text.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as problem:
        why = "nested too deeply" if isinstance(problem, RecursionError) else str(problem)[:80]
        raise RpcError(PARSE, f"This line is no JSON ({why}).") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text[:20])


def _answer(asked: object, call: Call, answers: _Answers) -> None:
    """Do one request and add its answer; a request without an id is not answered, whatever comes of it."""
    id, quiet = None, False
    try:
        method, params, id, quiet = _request(asked)
        reply = call(method, params)
        answers.then.extend(reply.then)
        message = {"jsonrpc": "2.0", "id": id, "result": dict(reply.result)}
    except RpcError as refusal:
        message = _refused(id if id is not None else _readable_id(asked), refusal)
    except Exception as problem:  # noqa: BLE001 - whatever goes wrong, a client waits for its answer
        _log.log(logging.INFO if isinstance(problem, LabError) else logging.ERROR, "%s failed", asked, exc_info=True)
        message = _refused(id, RpcError(INTERNAL, sentence(problem), code_of(problem), "Do what the message says."))
    if not quiet:
        answers.messages.append(message)


def _refused(id: object, refusal: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": refusal.to_json()}


def _is_id(id: object) -> bool:
    """Whether something can be an id: a string, a number, or null; true and false are numbers to Python alone."""
    return id is None or (isinstance(id, str | int | float) and not isinstance(id, bool))


def _readable_id(asked: object) -> object:
    """The id of a request that is refused, null where it has none."""
    id = asked.get("id") if isinstance(asked, dict) else None
    return id if _is_id(id) else None


def _request(asked: object) -> tuple[str, dict[str, Any], object, bool]:
    """Method, parameters, id, and whether no answer is wanted; RpcError where it is no request."""
    if not isinstance(asked, dict):
        raise RpcError(INVALID_REQUEST, f"A request is a JSON object, not {shown(asked)}.")
    if asked.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'A request says "jsonrpc": "2.0".')
    if not _is_id(asked.get("id")):
        raise RpcError(INVALID_REQUEST, f"An id is a string or a number, not {shown(asked['id'])}.")
    method = asked.get("method")
    if not isinstance(method, str) or not method:
        raise RpcError(INVALID_REQUEST, f"A method is a name, not {shown(method)}.")
    params = asked.get("params")
    if params is None or params == []:  # Lua writes an empty table as an empty list
        params = {}
    if not isinstance(params, dict):
        return _positional(asked)
    return method, params, asked.get("id"), "id" not in asked


def _positional(asked: dict[str, Any]) -> tuple[str, dict[str, Any], object, bool]:
    """Refuse what is no object of parameters, as an answer where one is wanted."""
    refusal = RpcError(INVALID_PARAMS, "Parameters are an object, by name; they are not taken in order.")
    if "id" in asked:
        raise refusal
    return "", {}, None, True
