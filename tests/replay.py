"""Replays a recorded conversation of a client over real HTTP, and checks of each answer what that client reads.

A recording (`tests/conversations/*.json`) is data: `client`, `version`, `steps`. A step is a request with exactly the headers
and the kind of body the client sends, and `reads`: where the client looks, and what it must find there. Its keys:

- `what`: in a few words; `needs`: a route without which the step is left out; `method`, `path`, `headers`
- a body: `json`, `form`, `multipart` (parts with `name` and `text`, or `filename`, `type` and `sound`), or `text` as it is
- `status`: the HTTP status, 200 unless it says otherwise; `until`: [where, values], asked again until one of them is found
- `reads`: {where: check}; `keep`: {name: where}, later written `{name}` in a path or body. `{sound}` is a file in the temp folder.

A place is names with dots: `data.0.result.(json).0.url|file`; `(json)` reads text as JSON, `a|b` is the first of two that has a
value, `header.x` and `bytes` are the answer's own. A check is a value that is equal, or an object of one of `CHECKS`.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import numpy as np

from acestep_lab.audio.audio import Audio

FOLDER = Path(__file__).parent / "conversations"
BOUNDARY = "----WebKitFormBoundaryX3bY9qFhZ2mVd0aK"
PATIENCE = 60.0
CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "one_of": lambda found, wanted: found in wanted,
    "kind": lambda found, wanted: _kind(found) == wanted,
    "has": lambda found, wanted: wanted in found,
    "starts": lambda found, wanted: found.startswith(wanted),
    "after_last_dot": lambda found, wanted: found.rpartition(".")[2] == wanted,
    "between": lambda found, wanted: not isinstance(found, bool) and wanted[0] <= found <= wanted[1],
    "length": lambda found, wanted: len(found) == wanted,
    "at_least": lambda found, wanted: len(found) >= wanted,
    "falsy": lambda found, wanted: (not found) == wanted,
    "number_or": lambda found, wanted: found == wanted or isinstance(found, int | float),
    "file_on_disk": lambda found, wanted: _named_file(found).is_file() == wanted,
    "seconds": lambda found, wanted: abs(Audio.read(found).seconds - wanted) < 0.05,
}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Replay:
    """What a conversation left: every answer by its step's words, what was kept, and what was left out."""

    answers: dict[str, Answer] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def recording(name: str) -> dict[str, Any]:
    """A recorded conversation."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def replay(name: str, address: str, routes: Collection[str], **kept: str) -> Replay:
    """Hold a conversation with a server; AssertionError with the step's words where the client would not find what it reads."""
    done = Replay(kept=dict(kept))
    for step in recording(name)["steps"]:
        if "needs" in step and step["needs"] not in routes:
            done.left_out.append(step["what"])
            continue
        answer = _asked_until(step, address, done.kept)
        done.answers[step["what"]] = answer
        where = f"{name}, {step['what']}"
        assert answer.status == step.get("status", 200), f"{where}: {answer.status} {answer.body[:300]!r}"
        for place, check in step.get("reads", {}).items():
            found = read(answer, place)
            said = f"{place} is {str(found)[:300]!r}, and not {check}: {answer.body[:400]!r}"
            assert _holds(found, check), f"{where}: {said}"
        done.kept |= {known: str(read(answer, place)) for known, place in step.get("keep", {}).items()}
    return done


def read(answer: Answer, place: str) -> Any:
    """What a client finds in an answer at a place; None where there is nothing."""
    if place == "bytes":
        return answer.body
    if place.startswith("header."):
        return answer.headers.get(place.removeprefix("header."))
    found: Any = json.loads(answer.body)
    for name in place.split("."):
        if name == "(json)":
            found = json.loads(found)
        elif isinstance(found, list):
            found = found[int(name)] if int(name) < len(found) else None
        elif found is not None:
            found = next((found[one] for one in name.split("|") if found.get(one)), found.get(name.split("|")[-1]))
    return found


def silence(seconds: float = 1.0, rate: int = 48_000) -> bytes:
    """A silent WAV file, as the DAW sends it along with everything."""
    return Audio(np.zeros((2, round(seconds * rate)), np.float32), rate).encoded("wav", bits=16)


def sine(seconds: float = 2.0, rate: int = 48_000) -> bytes:
    """A quiet tone as a WAV file."""
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)
    return Audio(np.stack([wave, wave]).astype(np.float32), rate).encoded("wav", bits=16)


def _holds(found: Any, check: Any) -> bool:
    if not isinstance(check, dict):
        return bool(found == check and isinstance(found, bool) == isinstance(check, bool))
    ((name, wanted),) = check.items()
    return CHECKS[name](found, wanted)


def _kind(found: Any) -> str:
    kinds = {bool: "truth", str: "text", int: "number", float: "number", list: "list", dict: "object"}
    return kinds.get(type(found), "nothing")


def _named_file(url: str) -> Path:
    """The file that Wrangler opens itself: what stands behind `path=`."""
    return Path(parse_qs(urlsplit(url).query)["path"][0])


def _asked_until(step: Mapping[str, Any], address: str, kept: Mapping[str, str]) -> Answer:
    end = time.monotonic() + PATIENCE
    while True:
        answer = _ask(step, address, kept)
        if "until" not in step or answer.status != 200 or read(answer, step["until"][0]) in step["until"][1]:
            return answer
        assert time.monotonic() < end, f"{step['what']}: still {answer.body[:300]!r}"
        for place, check in step.get("meanwhile", {}).items():
            found = read(answer, place)
            assert _holds(found, check), f"{step['what']}, meanwhile: {place} is {found!r}, and not {check}"
        time.sleep(0.05)


def _ask(step: Mapping[str, Any], address: str, kept: Mapping[str, str]) -> Answer:
    kind, body = _body(_filled(step, kept))
    headers = dict(_filled(step.get("headers", {}), kept))
    if kind:
        headers.setdefault("Content-Type", kind)
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)
    try:
        connection.request(step["method"], _filled(step["path"], kept), body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def _filled(value: Any, kept: Mapping[str, str]) -> Any:
    """A value with every `{name}` in its texts replaced; `{name:path}` percent-encoded."""
    if isinstance(value, dict):
        return {name: _filled(one, kept) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, kept) for one in value]
    if isinstance(value, str):
        for name, known in kept.items():
            value = value.replace(f"{{{name}}}", known).replace(f"{{{name}:path}}", quote(known, safe=""))
    return value


def _body(step: Mapping[str, Any]) -> tuple[str, bytes | None]:
    """The kind and bytes of what is sent."""
    if "json" in step:
        return "application/json", json.dumps(step["json"], ensure_ascii=False).encode()
    if "form" in step:
        return "application/x-www-form-urlencoded", urlencode(step["form"]).encode()
    if "multipart" in step:
        return f"multipart/form-data; boundary={BOUNDARY}", _multipart(step["multipart"])
    return "", step["text"].encode() if "text" in step else None


def _multipart(parts: list[dict[str, Any]]) -> bytes:
    """Parts as a browser's FormData writes them."""
    out = b""
    for part in parts:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part["name"]}"'
        if "sound" in part:
            head += f'; filename="{part["filename"]}"\r\nContent-Type: {part["type"]}'
            content = {"silence": silence, "sine": sine}[part["sound"]]()
        else:
            content = part["text"].encode()
        out += head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()
