"""What a chat asks for: the last message of a user, as the fields of a render. Plain functions: no web, no session.

The words are those of ACE-Step's own chat endpoint and of the clients written for it. A message is text, or parts of text
and sounds; a chat's other fields are a render's, some under other names, and all others go to `rest_fields` as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acestep_lab.errors import RecipeError, shown
from acestep_lab.prompt import checks
from acestep_lab.serve.rest_fields import TASKS
from acestep_lab.serve.rest_verbs import is_on

SOURCE, REFERENCE = "src_audio", "reference_audio"
_SECTIONS = re.compile(
    r"\[\s*(verse|(pre-?|post-?)?chorus|bridge|intro|outro|hook|refrain|inst(rumental)?|interlude|drop|break|build|solo)\b",
    re.IGNORECASE,
)
FEWEST_LINES, LONGEST_LINE = 4, 60
"""Text of at least so many lines that are shorter than so many characters on average is lyrics."""
_PLANNER = {"temperature": "lm_temperature", "top_p": "lm_top_p", "top_k": "lm_top_k"}
_CONFIG = {
    "duration": "audio_duration", "format": "audio_format", "bpm": "bpm", "key_scale": "key_scale",
    "time_signature": "time_signature", "vocal_language": "vocal_language",
}  # fmt: skip
"""Fields of `audio_config`, and the render's they become."""
_CHATS_OWN = {
    "messages", "modalities", "stream", "stream_options", "audio_config", "audio", "n", "metadata", "prompt", "format",
    "seed", "use_random_seed", *_PLANNER,
}  # fmt: skip
"""Fields that mean something else in a chat than under the same name in a render, or nothing there."""
USUAL_CFG_SCALE = 2.0
"""The planner's guidance where a chat says nothing, as ACE-Step's own endpoint has it."""
_TAGS = {
    name: (re.compile(f"<{name}>", re.IGNORECASE), re.compile(f"</{name}>", re.IGNORECASE))
    for name in ("prompt", "lyrics")
}
_ADDRESS = re.compile(r"\s*(?!data:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
"""The beginning of an address of something that would have to be fetched."""
_LONGEST_SCHEME = 100
_TEXT_PARTS = ("text", "input_text")
_REFERENCE_FIRST = "acemusic/", "comfyui"
"""How ComfyUI's node is known, by the beginning of its model and in its `User-Agent`: it sends a reference before the source."""


@dataclass(frozen=True)
class CodedSound:
    """A sound in a message: its base64 or data URL, or the name of the file that holds it."""

    data: str
    ending: str = ""
    """What the sender calls its kind: wav, mp3."""


@dataclass(frozen=True)
class ChatRequest:
    """A chat as a render: the fields of one (`rest_fields.read_request`), and the sounds by the names of its files."""

    fields: Mapping[str, Any]
    sounds: Mapping[str, CodedSound] = field(default_factory=dict)
    model: str = ""
    """As asked, for the answer repeats it."""
    streams: bool = False
    tells_usage: bool = False
    """Whether a stream ends with what it has used."""


def read_chat(body: Mapping[str, Any], agent: str = "", files: Sequence[str] = ()) -> ChatRequest:
    """A body of `/v1/chat/completions` of the program `agent`; RecipeError in a sentence.

    `files` are the names under which long strings were put aside: only a sound may be one.
    """
    text, sounds = _content(_asked(body.get("messages")))
    model = _text("model", body.get("model"))
    fields = {name: value for name, value in body.items() if name not in _CHATS_OWN and value is not None}
    fields |= _settings(body) | _words(body, text) | {"model": model.partition("/")[2] or model}
    if any(isinstance(value, str) and value in files for value in [text, *fields.values()]):
        raise RecipeError("Only a sound may be so long; a text of a chat has at most half a megabyte.")
    if not (text or sounds or fields.get("lyrics") or fields.get("audio_codes") or is_on(fields.get("sample_mode"))):
        raise RecipeError("The last message of the user is empty: say in it what the music is like.")
    return ChatRequest(
        fields, _placed(sounds, fields, _sends_reference_first(model, agent)), model, is_on(body.get("stream")),
        is_on(_object("stream_options", body.get("stream_options")).get("include_usage")),
    )  # fmt: skip


def _asked(messages: object) -> Any:
    """The content of the last message of a user."""
    if not isinstance(messages, list):
        raise RecipeError('A chat has messages: [{"role": "user", "content": "…"}].')
    users = [one for one in messages if isinstance(one, Mapping) and one.get("role") == "user"]
    if not users:
        raise RecipeError("None of the messages is a user's; the last of them says what the music is like.")
    return users[-1].get("content")


def _content(content: object) -> tuple[str, list[CodedSound]]:
    """The text and the sounds of a message."""
    if content is None or isinstance(content, str):
        return (content or "").strip(), []
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise RecipeError(f"A message is text or a list of parts, not {checks.kind_of(content)}.")
    texts = [_text("text", part.get("text")) for part in content if part.get("type") in _TEXT_PARTS]
    sounds = [_sound(part) for part in content if part.get("type") not in _TEXT_PARTS]
    if len(sounds) > 2:
        raise RecipeError(f"A message has at most two sounds, a source and a reference, not {len(sounds)}.")
    return "\n".join(text.strip() for text in texts if text.strip()), sounds


def _sound(part: Mapping[str, Any]) -> CodedSound:
    """A part that is a sound: as it is sent, or as it was answered."""
    kind = part.get("type")
    if kind == "input_audio":
        inside = _object("input_audio", part.get("input_audio"))
        return CodedSound(_text("data", inside.get("data")), _text("format", inside.get("format")).lstrip("."))
    if kind == "audio_url":
        url = _text("url", _object("audio_url", part.get("audio_url")).get("url"))
        if _ADDRESS.match(url[:_LONGEST_SCHEME]):
            raise RecipeError("A sound comes inside its message, as base64; addresses are not fetched from here.")
        return CodedSound(url)
    raise RecipeError(f"A part of a message is text or input_audio, not {shown(kind)}.")


def _object(what: str, value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecipeError(f"{what} is an object, {{…}}, not {checks.kind_of(value)}.")
    return value


def _text(what: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecipeError(f"{what} is text, not {checks.kind_of(value)}.")
    return value


# -- fields


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a chat says under other names than a render does, or has other defaults for."""
    config = _object("audio_config", body.get("audio_config"))
    found = {ours: config[name] for name, ours in _CONFIG.items() if config.get(name) is not None}
    found |= {ours: body[name] for name, ours in _PLANNER.items() if body.get(name) is not None}
    if "audio_format" not in found and isinstance(body.get("audio"), Mapping):
        found |= {"audio_format": body["audio"].get("format")}  # as OpenAI's own models are asked
    if body.get("seed") not in (None, ""):
        found |= {"seed": body["seed"], "use_random_seed": False}
    if body.get("lm_cfg_scale") is None:
        found["lm_cfg_scale"] = USUAL_CFG_SCALE
    counts = [str(body[name]) for name in ("batch_size", "n") if body.get(name) is not None]
    count = counts[0] if counts and re.fullmatch("[0-9]*[1-9][0-9]*", counts[0]) else 1  # as any bad number
    return found | {"batch_size": count}


def _words(body: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The prompt, the lyrics, or the sentence that the planner makes them of."""
    instrumental = is_on(_object("audio_config", body.get("audio_config")).get("instrumental"))
    given = _text("lyrics", body.get("lyrics"))
    if is_on(body.get("sample_mode")):
        prompt, lyrics = text, given
    elif given.strip():
        prompt, lyrics = _tagged(text)[0] or text, given
    else:
        prompt, lyrics = _read(text)
    return {"prompt": prompt, "lyrics": "[Instrumental]" if instrumental else lyrics}


def _read(text: str) -> tuple[str, str]:
    """What of a text is the prompt, and what the lyrics: as its tags say, else as it looks."""
    prompt, lyrics, rest = _tagged(text)
    if prompt is None and lyrics is None:
        return ("", text) if looks_like_lyrics(text) else (text, "")
    return rest if prompt is None else prompt, lyrics or ""


def _tagged(text: str) -> tuple[str | None, str | None, str]:
    """What stands in `<prompt>` and in `<lyrics>`, None where there is no such tag, and what stands in neither."""
    prompt, text = _within(_TAGS["prompt"], text)
    lyrics, text = _within(_TAGS["lyrics"], text)
    return prompt, lyrics, text


def _within(tags: tuple[re.Pattern[str], re.Pattern[str]], text: str) -> tuple[str | None, str]:
    """What stands between the first pair of tags, None where there is none, and what stands around it.

    Two searches, one after the other: a single pattern of both looks for the end from every one of many beginnings.
    """
    begin = tags[0].search(text)
    end = None if begin is None else tags[1].search(text, begin.end())
    if begin is None or end is None:
        return None, text
    return text[begin.end() : end.start()].strip(), (text[: begin.start()] + text[end.end() :]).strip()


def looks_like_lyrics(text: str) -> bool:
    """Whether a text has the marks of sections, or several short lines."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    short = len(lines) >= FEWEST_LINES and sum(map(len, lines)) / len(lines) < LONGEST_LINE
    return short or _SECTIONS.search(text) is not None


# -- sounds


def _placed(sounds: Sequence[CodedSound], fields: Mapping[str, Any], reference_first: bool) -> dict[str, CodedSound]:
    """Each sound by what it is to its task: whatever starts from a sound names it first, others a reference."""
    names = [SOURCE, REFERENCE] if _starts_from_a_sound(fields) else [REFERENCE, SOURCE]
    if len(sounds) == 2 and reference_first:
        names = [REFERENCE, SOURCE]
    return dict(zip(names, sounds, strict=False))


def _starts_from_a_sound(fields: Mapping[str, Any]) -> bool:
    task = str(fields.get("task_type") or TASKS[0]).strip().lower().replace("_", "-")
    if task.startswith("cover") and fields.get("audio_codes"):
        return False  # the codes are what it starts from
    listens = any(is_on(fields.get(name)) for name in ("analysis_only", "full_analysis_only", "extract_codes_only"))
    return listens or (task in TASKS and task != TASKS[0])


def _sends_reference_first(model: str, agent: str) -> bool:
    prefix, name = _REFERENCE_FIRST
    return model.startswith(prefix) or name in agent.lower()
