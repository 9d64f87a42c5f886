"""A task that is over as OpenAI's clients read it: a completion, or the chunks of a stream. Plain data: no web.

The sounds stand in the JSON as base64. They are put in as it is sent, piece by piece: an album is never in memory.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acestep_lab.errors import LabError, RecipeError, SourceError
from acestep_lab.serve.rest_paths import MEDIA, MissingSound
from acestep_lab.serve.rest_tasks import NONE, RestTask

DONE = "data: [DONE]\n\n"
_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_PIECE = 3 * 2**16  # a multiple of three, so that the pieces of base64 join
_LABELS = {
    "bpm": "BPM",
    "duration": "Duration",
    "keyscale": "Key",
    "timesignature": "Time Signature",
    "genres": "Genre",
}


class Sounds:
    """Sound files as a message holds them; `value` goes into its JSON, `pieces` is that JSON with the sounds in it.

    Raises MissingSound for a file that is not there any more.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        mark = secrets.token_hex(16)  # stands in no text that somebody else wrote
        self._files = {f"{mark}-{place}.": file for place, file in enumerate(files)}
        try:
            self._sizes = {file: file.stat().st_size for file in files}
        except OSError:
            raise MissingSound("This sound is not here any more, or never was; make it once more.") from None

    @property
    def value(self) -> list[dict[str, Any]] | None:
        """The list of sounds; None where there are none."""
        urls = [f"data:{MEDIA[file.suffix.lower()]};base64,{mark}" for mark, file in self._files.items()]
        return [{"type": "audio_url", "audio_url": {"url": url}} for url in urls] or None

    def size(self, text: str) -> int:
        """Bytes of all the pieces of a text."""
        return len(text.encode()) + sum(
            4 * -(-self._sizes[file] // 3) - len(mark) for mark, file in self._files.items() if mark in text
        )

    def pieces(self, text: str) -> Iterator[bytes]:
        """A text with the sounds in the places of their marks."""
        for mark, file in self._files.items():
            before, found, after = text.partition(mark)
            if not found:
                continue
            text = after
            yield before.encode()
            with file.open("rb") as sound:
                while piece := sound.read(_PIECE):
                    yield base64.b64encode(piece)
        yield text.encode()


@dataclass(frozen=True)
class Answer:
    """What all parts of one answer have in common."""

    model: str
    created: int
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")

    def completion(self, task: RestTask, sounds: Sounds) -> str:
        """The JSON of a whole answer, with marks for the sounds."""
        message = {
            "role": "assistant", "content": content_of(task.items), "audio": sounds.value, "audio_codes": _codes(task),
        }  # fmt: skip
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps(self._common("chat.completion", [choice]) | {"usage": _USAGE})

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> str:
        """One server-sent event."""
        return self._event([{"index": 0, "delta": dict(delta), "finish_reason": finish}])

    def result(self, task: RestTask, sounds: Sounds) -> str:
        """The event that brings the sounds."""
        codes = _codes(task)
        return self.chunk({"audio": sounds.value} | ({} if codes is None else {"audio_codes": codes}))

    def failure(self, sentence: str) -> str:
        """The event that says why there will be none."""
        return self.chunk({"content": f"Error: {sentence}"}, "error")

    def usage(self) -> str:
        """The event that says what was used, for who asks."""
        return self._event([], usage=_USAGE)

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps(self._common('chat.completion.chunk', choices) | more)}\n\n"

    def _common(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def content_of(items: Sequence[Mapping[str, Any]]) -> str:
    """The text of an answer: what the music is, and what is sung."""
    first = items[0]
    metas: Mapping[str, Any] = first.get("metas", {})
    said = {"Caption": first.get("prompt"), **{label: metas.get(name) for name, label in _LABELS.items()}}
    said |= {"Language": first.get("language"), "Seed": first.get("seed_value")}
    lines = [f"**{label}:** {_shown(label, value)}" for label, value in said.items() if value not in (None, "", NONE)]
    lyrics = str(first.get("lyrics") or "").strip()
    return "## Metadata\n" + "\n".join(lines) + (f"\n\n## Lyrics\n{lyrics}" if lyrics else "")


def _shown(label: str, value: object) -> str:
    return f"{value}s" if label == "Duration" else str(value)


def _codes(task: RestTask) -> str | None:
    return next((item["audio_codes"] for item in task.items if item.get("audio_codes")), None)


def status_of(problem: BaseException | None) -> int:
    """The HTTP status of what a task failed by: the asker's fault, or not."""
    if isinstance(problem, RecipeError | SourceError):
        return 400
    return int(getattr(problem, "status", 500)) if isinstance(problem, LabError) else 500
