"""What lies beside or inside a sound file: x.txt in its three meanings, x.lyrics.txt, x.caption.txt, x.json, our own manifest.

Knows text and names; nothing of a data set. A file that cannot be read costs its words, not the song: a remark says which.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from acestep_lab.errors import LibraryError, RecipeError, SourceError, shown
from acestep_lab.files import parse_json, read_bytes
from acestep_lab.takes import manifest
from acestep_lab.train.encodings import decoded
from acestep_lab.train.labels import FIELDS, Remark
from acestep_lab.train.told import ALIASES, REPEAT, Told, bare_key, guess_remark, words_of

MOST_SIDECAR = 4 * 2**20
"""Bytes of the largest text beside a song that is read."""

_MANIFEST = '"acestep_lab.take/'
_TAGGED = re.compile(
    r"<(caption|lyrics|bpm|keyscale|timesignature|duration|language|genre|instrumental)>(.*?)(?:</\1>|(?=<(?:caption|lyrics|bpm|"
    r"keyscale|timesignature|duration|language|genre|instrumental)>)|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_LINE = re.compile(r"^\s*([^\W\d_][\w /-]{0,30}?)\s*:(.*)$")

_ALIASES = {**ALIASES, "tag": (*ALIASES["tag"], "tags"), "caption": ALIASES["caption"][:-1]}
"""The same, as Side-Step calls them: tags are the words that call a sound up."""

_ELSEWHERE = frozenset("title artist album year duration id file filename promptoverride camelot".split())
_KEYS = frozenset({key for names in _ALIASES.values() for key in names} | set(REPEAT) | _ELSEWHERE)


def text_form(text: str) -> str:
    """Which of its three meanings an x.txt has: "tagged", "lines" (key: value) or "lyrics"."""
    if _TAGGED.match(text.lstrip()):
        return "tagged"
    lines = [line for line in text.split("\n") if line.strip()]
    keys = [bare_key(match.group(1)) if (match := _LINE.match(line)) else "" for line in lines]
    told = any(key in _KEYS - _ELSEWHERE for key in keys)  # a title above plain lyrics tells no field
    return "lines" if told and keys[0] in _KEYS else "lyrics"


def from_text(text: str, where: str) -> Told:
    """What an x.txt says, whichever form it has."""
    form = text_form(text)
    if form == "lyrics":
        return Told(where, {"lyrics": text} if text.strip() else {}, remarks=_looks_like_a_caption(text, where))
    data = _tagged(text) if form == "tagged" else _lines(text)
    words, repeat = words_of(data, _ALIASES)
    return Told(where, words, repeat=repeat)


def _looks_like_a_caption(text: str, where: str) -> tuple[Remark, ...]:
    line = text.strip()
    if "\n" in line or "[" in line or line.count(",") < 2:
        return ()
    name = re.sub(r"\.txt$", ".caption.txt", where)
    sentence = f"{where} is read as lyrics and looks like a caption; call it {name} if it is one."
    return (Remark("form", sentence, "lyrics"),)


def _tagged(text: str) -> dict[str, object]:
    """<CAPTION>…</CAPTION><LYRICS>…, as ai-toolkit writes it; a closing tag may be missing."""
    return {match.group(1).lower(): html.unescape(match.group(2)).strip() for match in _TAGGED.finditer(text)}


def _lines(text: str) -> dict[str, object]:
    """Lines of "key: value", as Side-Step writes them: what follows goes on until the next key, and lyrics to the end."""
    found: dict[str, list[str]] = {}
    now = ""
    for line in text.split("\n"):
        match = None if now in ALIASES["lyrics"] else _LINE.match(line)
        if match and bare_key(match.group(1)) in _KEYS:
            now = bare_key(match.group(1))
            found[now] = [match.group(2)]
        elif now:
            found[now].append(line)
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def from_sidecar_json(text: str, where: str) -> Told:
    """What an x.json says: another program's fields, or one of our manifests."""
    data = parse_json(text, where, RecipeError)
    if not isinstance(data, dict):
        raise RecipeError(f"{where} holds no JSON object, but {type(data).__name__}.")
    if _is_manifest(data):
        return from_manifest(data, where)
    words, repeat = words_of(data)
    return Told(where, words, repeat=repeat)


def _is_manifest(data: Mapping[str, object]) -> bool:
    return str(data.get("format", "")).startswith("acestep_lab.take/")


def from_manifest(data: Mapping[str, object], where: str) -> Told:
    """What one of our takes was made of: what its recipe asked for is written, what was decided for it is guessed."""
    whole = manifest.checked(dict(data), where)
    return from_recipes(whole["recipe"], whole["asked"], where, str(whole["id"]))


def from_recipes(recipe: Mapping[str, Any], asked: Mapping[str, Any] | None, where: str, take: str) -> Told:
    """What a recipe as resolved says, beside the one that was asked for."""
    words = {name: recipe[name] for name in FIELDS if name not in ("genre", "tag") and recipe.get(name)}
    wanted = recipe if asked is None else asked
    decided = {name: "guessed" for name, value in words.items() if wanted.get(name) != value}
    return Told(where, words, decided, take=take)


def from_comment(comment: str, where: str) -> Told:
    """What our own manifest inside a sound file says; nothing for anybody else's comment."""
    if not comment.lstrip().startswith("{") or _MANIFEST not in comment:
        return Told(where)
    return _read(where, lambda: from_manifest(dict(manifest.from_text(comment, where)), where))


def beside(sound: str, find: Callable[[str], Path | None]) -> list[Told]:
    """Everything said beside one sound file, the most telling first; `find` gives a file by its place within the folder."""
    stem = sound.rpartition(".")[0]
    told = [_said(find, f"{stem}.json", from_sidecar_json)]
    told.append(_said(find, f"{stem}.lyrics.txt", lambda text, where: Told(where, {"lyrics": text})))
    told.append(_said(find, f"{stem}.caption.txt", lambda text, where: Told(where, {"caption": text})))
    has_lyrics = "lyrics" in told[1].words
    plain = _said(find, f"{stem}.txt", lambda text, where: _beside_lyrics(from_text(text, where), has_lyrics))
    return [*told, plain]


def _beside_lyrics(told: Told, has_lyrics: bool) -> Told:
    """An x.txt of plain words where x.lyrics.txt holds the lyrics: a single paragraph there is the caption."""
    if not has_lyrics or set(told.words) != {"lyrics"}:
        return told
    text = str(told.words["lyrics"]).strip()
    if "\n" not in text and "[" not in text:
        return Told(told.where, {"caption": text})
    return told


def _said(find: Callable[[str], Path | None], name: str, read: Callable[[str, str], Told]) -> Told:
    path, where = find(name), Path(name).name
    if path is None:
        return Told(where)

    def call() -> Told:
        text, guessed = decoded(read_bytes(path, "The file", SourceError, MOST_SIDECAR), shown(where))
        told = read(text, where)
        return replace(told, remarks=(*told.remarks, guess_remark(where, guessed))) if guessed else told

    return _read(where, call)


def _read(where: str, call: Callable[[], Told]) -> Told:
    try:
        return call()
    except (RecipeError, SourceError, LibraryError) as problem:
        return Told(where, remarks=(Remark("form", f"{where} is not read: {problem}"),))
