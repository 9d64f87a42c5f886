"""The manifest: a take's data as JSON, written beside its sound and inside it.

Knows values only. Samples and latents travel in their own files; their digests stand here. Whatever comes from a file passes
`checked` before anybody looks into it, and a recipe from a file names its sources by id: never a path of this machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LabError, LibraryError, shown
from acestep_lab.files import NO_CHARACTER, clean_text, parse_json
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Text2Music
from acestep_lab.takes import identity
from acestep_lab.takes.identity import FORMAT, OLD_FORMAT
from acestep_lab.takes.ids import is_id, is_take_id
from acestep_lab.takes.take import Take
from acestep_lab.takes.titles import MOST_TITLE

MOST_PARENTS = 64
MOST_TAG = 1_000
"""Characters of a tag, or of what a score is called."""
MOST_SCORES = 1_000
_FAMILY = "acestep_lab.take/"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9T:.+\-Z]{1,40}")
_EDITED = (
    "The sound in {where} is not the one its manifest tells of: it is opened as a new take, with {id} as its parent."
)
_ALTERED = (
    "{where} is an export of {id} that was changed on purpose ({edits}): it is opened as a new take, with that one as its "
    "parent."
)
_REWRITTEN = (
    "The manifest in {where} is not the one that {id} earned: it is opened as a new take, with that one as its parent."
)
_UNSURE = "{where} was written by an earlier version, which does not tell whether the sound was changed since."


def describe(take: Take) -> dict[str, Any]:
    """Everything about a take but its samples and latent, as plain data."""
    details = {
        "created": take.created,
        "asked": _asked(take).to_json() if take.asked else None,
        "plan": take.plan.to_json() if take.plan else None,
        "made_with": dict(take.made_with),
    }
    if take.manifest is None:
        return with_checksum({"format": FORMAT, "id": take.id, **take.facts, **details})
    facts = {"audio": _audio(take.manifest, take), "latent": _latent(take.manifest, take)}
    return with_checksum({**take.manifest, **details, **facts})


def with_checksum(data: Mapping[str, object]) -> dict[str, object]:
    """A manifest with a checksum of all it says."""
    return {**data, "checksum": _checksum(data)}


def is_intact(data: Mapping[str, object]) -> bool:
    """Whether a manifest says what it said when it was written."""
    return data.get("checksum") in (None, _checksum(data))


def _checksum(data: Mapping[str, object]) -> str:
    text = json.dumps({name: value for name, value in data.items() if name != "checksum"}, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _asked(take: Take) -> Recipe:
    """The recipe as asked, its sources by id: a file's place on this machine is nobody else's business."""
    asked = take.asked or take.recipe
    known: dict[str, Any] = dict(take.recipe.task.with_ids().sources())
    paths = [name for name, source in asked.task.with_ids().sources().items() if not is_id(source)]
    if any(not is_id(known.get(name)) for name in paths):
        return asked.replace(task=take.recipe.task.with_ids())
    return asked.replace(task=asked.task.with_ids().with_sources({name: known[name] for name in paths}))


def _audio(data: Mapping[str, Any], take: Take) -> dict[str, Any]:
    """The facts of a take's sound, and of the original that earned the id where this is a copy of it."""
    now, original = take.facts["audio"], identity.original_of(data)
    same = original["sha256"] == now["sha256"] and original["rate"] == now["rate"] and "fingerprint" in original
    return dict(original) if same else {**now, "original": dict(original)}


def _latent(data: Mapping[str, Any], take: Take) -> dict[str, Any]:
    """The facts of a take's latent, also where the latent itself is not at hand."""
    return dict(take.facts["latent"] if take.latent.size else data["latent"])


def to_text(manifest: Mapping[str, object]) -> str:
    """A manifest as the one line of JSON that goes into a file's comment tag; LibraryError for what JSON cannot hold."""
    try:
        text = json.dumps(manifest, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text = NO_CHARACTER.sub(lambda bad: f"\\u{ord(bad.group()):04x}", text)  # such as an adapter's name may hold
    except (TypeError, ValueError, RecursionError) as problem:
        raise LibraryError(f"A take's manifest holds what cannot be written ({shown(str(problem))}).") from None
    return text


def from_text(text: str, where: str) -> dict[str, object]:
    """Read a manifest back; LibraryError says which file holds none, or what of it is damaged."""
    try:
        found = parse_json(text, where, LibraryError) if text.lstrip()[:1] == "{" else None
    except LibraryError:
        found = None
    return checked(found, where)


def checked(found: object, where: str) -> dict[str, Any]:
    """Plain data as a manifest, every field of the right kind; LibraryError says what is wrong."""
    kind = found.get("format") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(kind, str) or not kind.startswith(_FAMILY):
        raise LibraryError(f"{where} carries no take of ours: its comment holds no acestep_lab manifest.")
    if kind not in (FORMAT, OLD_FORMAT):
        raise LibraryError(f"{where} was written by a newer acestep_lab ({shown(kind)}); update to open it.")
    data = {"asked": None, "plan": None, **found}
    for name, check in _FIELDS.items():
        if name not in data or not check(data[name]):
            raise LibraryError(f"{where} is damaged: its {name} is {shown(data.get(name))}.")
    if kind == FORMAT and not _has_facts(identity.original_of(data)):
        raise LibraryError(f"{where} is damaged: it does not tell its sound's fingerprint.")
    to_text(data)
    _values(data, where)
    return data


@dataclass(frozen=True)
class _Values:
    """A manifest's values, and what had to be left out."""

    values: dict[str, Any]
    remarks: tuple[str, ...]
    whole: bool
    """Whether the recipe is the one written there."""


def to_take(data: Mapping[str, Any], audio: Audio, latent: np.ndarray | None, *remarks: str) -> Take:
    """The take of a checked manifest, bearing its id, with its samples, and its latent where that is at hand."""
    found = _values(data, "The manifest")
    empty = np.zeros((0, data["latent"]["shape"][1]), np.float32)
    take = Take(
        audio=audio, latent=empty if latent is None else latent, remarks=(*remarks, *found.remarks), **found.values
    )
    return take.with_manifest(data) if found.whole else replace(take, parents=(data["id"],))


def from_file(data: Mapping[str, Any], audio: Audio, latent: np.ndarray | None, lossy: bool, where: str) -> Take:
    """The take in a file from anywhere: the one its manifest names if the sound is that one's, else a new one."""
    if edits := _edits(data):
        take = to_take(data, audio, None, _ALTERED.format(where=where, id=data["id"], edits=edits))
        return replace(take, parents=(data["id"],))
    found = identity.compare_with_manifest(data, audio, lossy)
    is_own = data["format"] == OLD_FORMAT or (identity.is_proven(data) and is_intact(data))
    if found != "other" and is_own:
        remarks = (_UNSURE.format(where=where),) if found == "unsure" else ()
        return to_take(data, audio, latent, *remarks)
    sentence = _EDITED if is_own else _REWRITTEN
    take = to_take(data, audio, None, sentence.format(where=where, id=data["id"]))
    return replace(take, parents=(data["id"],))


def _edits(data: Mapping[str, Any]) -> str:
    """What an export changed on purpose, in words; "" where it changed nothing."""
    told = data["audio"].get("edited")
    words = [one for one in told[:8] if isinstance(one, str)] if isinstance(told, list) else []
    return clean_text(", ".join(words), "What was changed", LibraryError)[:160] or (
        "in a way it does not tell" if told else ""
    )


def recipe_of(data: Mapping[str, Any]) -> dict[str, object]:
    """The recipe of a checked manifest as plain data of today."""
    recipe: Recipe = _values(data, "The manifest").values["recipe"]
    return recipe.to_json()


def _values(data: Mapping[str, Any], where: str) -> _Values:
    """A manifest's values; LibraryError for a recipe or plan that is none."""
    from acestep_lab.plan.plan import Plan

    try:
        written = _recipe(data["recipe"], data["format"])
        asked = _recipe(data["asked"], data["format"]) if data["asked"] else None
        plan = Plan.from_json(data["plan"]) if data["plan"] else None
        recipe = _by_ids(written)
    except LabError as problem:
        raise LibraryError(f"{where} is damaged: {problem}") from None
    parents = tuple(name for name in data["parents"] if is_id(name))
    values = {
        "recipe": recipe,
        "asked": _asked_by_ids(asked, recipe),
        "plan": plan,
        "parents": parents,
        "made_with": dict(data["made_with"]),
        "created": data["created"],
    }
    whole = recipe == written and len(parents) == len(data["parents"])
    remark = f"{where} names a file of some machine as what the take came from; that was left out."
    return _Values(values, () if whole else (remark,), whole)


def _recipe(recipe: Mapping[str, Any], kind: str) -> Recipe:
    """A recipe from a file. Those of take/1 were rendered before there was DCW, so without it."""
    return Recipe.from_json({"dcw": "off", **recipe} if kind == OLD_FORMAT else recipe)


def _by_ids(recipe: Recipe) -> Recipe:
    """The recipe, music from words alone where it names anything but takes and recordings."""
    return recipe if all(map(is_id, recipe.task.sources().values())) else recipe.replace(task=Text2Music())


def _asked_by_ids(asked: Recipe | None, recipe: Recipe) -> Recipe | None:
    """What was asked, with the sources that were decided on where it names files."""
    if asked is None or all(map(is_id, asked.task.sources().values())):
        return asked
    return asked.replace(task=recipe.task)


# -- kinds of fields ------------------------------------------------------------------------------------------------------


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_table_or_none(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _are_parents(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MOST_PARENTS and all(isinstance(name, str) for name in value)


def _is_making(value: object) -> bool:
    """Checkpoint, step and gain are looked at by others; the rest is only shown."""
    if not isinstance(value, dict):
        return False
    step, gain, seconds = value.get("step", 0), value.get("gain", 1.0), value.get("seconds", {})
    return (
        isinstance(value.get("checkpoint", ""), str)
        and _is_count(step, 10**6)
        and _is_between(gain, 1e-12, 1e12)
        and isinstance(seconds, dict)
        and all(_is_between(value, 0, 1e9) for value in seconds.values())
    )


def _is_sha(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _is_sound(value: object) -> bool:
    """The facts of a sound, perhaps with those of its original."""
    if not isinstance(value, dict) or not _is_sha(value.get("sha256")):
        return False
    inner = value.get("original", {})
    plain = isinstance(inner, dict) and "original" not in inner and (not inner or _is_sound(inner))
    return bool(
        plain
        and ("original" not in value or inner)
        and _is_between(value.get("seconds"), 0, 1e6)
        and _is_count(value.get("rate"), 768_000)
        and _is_count(value.get("channels"), 64)
        and value["rate"] and value["channels"]
    )  # fmt: skip


def _is_between(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _has_facts(value: Mapping[str, object]) -> bool:
    return _is_count(value.get("frames"), 2**40) and isinstance(value.get("fingerprint"), str)


def _is_latent(value: object) -> bool:
    if not isinstance(value, dict) or not _is_sha(value.get("sha256")):
        return False
    shape = value.get("shape")
    return isinstance(shape, list) and len(shape) == 2 and _is_count(shape[0], 2**24) and _is_count(shape[1], 4096)


_FIELDS: dict[str, Callable[[object], bool]] = {
    "id": is_take_id,
    "created": _is_time,
    "recipe": _is_table,
    "asked": _is_table_or_none,
    "plan": _is_table_or_none,
    "parents": _are_parents,
    "made_with": _is_making,
    "audio": _is_sound,
    "latent": _is_latent,
}


# -- marks ----------------------------------------------------------------------------------------------------------------


def checked_marks(found: Mapping[str, Any], where: str) -> dict[str, object]:
    """What was said about a take, every field of the right kind; LibraryError says what is wrong."""
    marks = dict(found)
    for name, value in marks.items():
        if name not in _MARKS:
            raise LibraryError(f"{where}: takes have no mark {shown(name)}; there are {', '.join(_MARKS)}.")
        if not _MARKS[name](value):
            raise LibraryError(f"{where}: the {name} cannot be {shown(value)}.")
    if "note" in marks:
        marks["note"] = clean_text(marks["note"], f"{where}: the note", LibraryError)
    for name in ("title", "batch"):
        if name in marks:
            marks[name] = " ".join(clean_text(marks[name], f"{where}: the {name}", LibraryError).split())
    if "tags" in marks:
        marks["tags"] = [clean_text(tag, f"{where}: a tag", LibraryError) for tag in marks["tags"]]
    return marks


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


_MARKS: dict[str, Callable[[object], bool]] = {
    "star": _is_truth,
    "reject": _is_truth,
    "note": lambda value: isinstance(value, str) and len(value) <= 100_000,
    "title": lambda value: isinstance(value, str) and len(value) <= MOST_TITLE,
    "batch": lambda value: isinstance(value, str) and len(value) <= 64,
    "heard": lambda value: (
        isinstance(value, dict)
        and len(value) <= 16
        and all(isinstance(name, str) and isinstance(word, str) and len(word) <= 64 for name, word in value.items())
    ),
    "tags": lambda value: (
        isinstance(value, list)
        and len(value) <= 1000
        and all(isinstance(tag, str) and len(tag) <= MOST_TAG for tag in value)
    ),
    "locks": lambda value: (
        isinstance(value, list)
        and len(value) <= 300
        and all(isinstance(name, str) and len(name) <= 60 for name in value)
    ),
    "scores": lambda value: (
        isinstance(value, dict)
        and len(value) <= MOST_SCORES
        and all(
            isinstance(name, str) and len(name) <= MOST_TAG and _is_between(score, -1e300, 1e300)
            for name, score in value.items()
        )
    ),
}
