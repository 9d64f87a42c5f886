"""What makes a take this take: the facts of its sound and latent, the id they earn, and whether a sound is the one told of.

Knows samples and plain data; no Take and no file. An id of format take/2 is a digest of recipe, checkpoint, parents and the
facts of sound and latent, so a manifest proves its own id, and whoever changes any of them has another. One of take/1 is
only claimed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.takes.fingerprint import fingerprint, is_copy

FORMAT = "acestep_lab.take/2"
OLD_FORMAT = "acestep_lab.take/1"

Match = Literal["same", "copy", "unsure", "other"]
"""same: sample for sample; copy: as another format left it; unsure: an old manifest cannot tell; other: not this sound."""

_MOST_HASHED = 2**28
_SPLICED = ("Repaint", "Extend", "Retake")
"""Tasks that put new samples between a source's own; a retake does if its source did."""
_COPY_RATES = (8000, 12000, 16000, 24000, 48000)


def without_negative_zeros(audio: Audio) -> Audio:
    """The same sound with 0 for -0, which integer files cannot hold, so that a sound read back is the one written."""
    zeros = audio.samples == 0
    if not np.signbit(audio.samples[zeros]).any():
        return audio
    return replace(audio, samples=audio.samples + np.float32(0))


def digest(array: np.ndarray) -> str:
    """sha256 of an array's bytes, 0 standing for -0."""
    plain = np.ascontiguousarray(array, dtype="<f4") + np.float32(0)
    return hashlib.sha256(plain.tobytes()).hexdigest()


def sound_facts(audio: Audio) -> dict[str, object]:
    """What a manifest tells of a sound."""
    return {
        "seconds": audio.seconds,
        "rate": audio.rate,
        "channels": audio.channels,
        "frames": int(audio.samples.shape[1]),
        "sha256": digest(audio.samples),
        "fingerprint": fingerprint(audio),
    }


def latent_facts(latent: np.ndarray) -> dict[str, object]:
    """What a manifest tells of a latent."""
    return {"shape": list(latent.shape), "sha256": hashlib.sha256(np.ascontiguousarray(latent).tobytes()).hexdigest()}


def original_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts of the sound that earned a manifest's id; the sound beside it may be a copy of that one."""
    audio: Mapping[str, Any] = data["audio"]
    return audio.get("original", audio)


def identity(data: Mapping[str, Any]) -> str:
    """The id that a manifest's content earns."""
    audio, latent = original_of(data), data["latent"]
    content = [
        data["recipe"],
        str(data["made_with"].get("checkpoint", "")),
        list(data["parents"]),
        [audio.get(name) for name in ("rate", "channels", "frames", "sha256", "fingerprint")],
        [list(latent["shape"]), latent["sha256"]],
    ]
    text = json.dumps(content, sort_keys=True)
    return f"take-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def is_proven(data: Mapping[str, object]) -> bool:
    """Whether a manifest's id is the one its content earns."""
    return bool(data["format"] == FORMAT and data["id"] == identity(data))


def compare_with_manifest(data: Mapping[str, Any], audio: Audio, lossy: bool) -> Match:
    """Whether a sound is the one a manifest describes; `lossy`: it comes from a format that changes samples."""
    if data["format"] == OLD_FORMAT:
        return _compare_with_old_manifest(data, audio, lossy)
    if not is_proven(data):
        return "other"
    facts, original = data["audio"], original_of(data)
    exact = _shape(facts) == _shape_of(audio) and facts["sha256"] == digest(audio.samples)
    if exact and original is facts:
        return "same"
    return "copy" if (exact or lossy) and is_copy_of(original, audio) else "other"


def is_copy_of(facts: Mapping[str, Any], audio: Audio) -> bool:
    """Whether a sound is what a format that changes samples made of the one with these facts."""
    rates = (facts["rate"], *_COPY_RATES)
    if audio.rate not in rates or audio.channels != facts["channels"] or "fingerprint" not in facts:
        return False
    return is_copy(facts["fingerprint"], facts["frames"] / facts["rate"], audio)


def _compare_with_old_manifest(data: Mapping[str, Any], audio: Audio, lossy: bool) -> Match:
    """The same for a manifest without a fingerprint, whose digest told 0 from -0, as a FLAC does not.

    What was spliced (a repaint, an extension) was not on the grid of the FLAC that it was kept in, nor always within full
    scale: its digest is that of no file, and whether such a file was changed cannot be told.
    """
    facts = data["audio"]
    if lossy:
        near = abs(audio.seconds - facts["seconds"]) < 0.15 and audio.channels == facts["channels"]
        return "unsure" if near else "other"
    wanted = facts["seconds"], facts["rate"], facts["channels"]
    if wanted != (audio.seconds, audio.rate, audio.channels):
        return "other"
    found = match_signs(audio.samples, hashlib.sha256, facts["sha256"])
    return "unsure" if found == "other" and _task(data) in _SPLICED else found


def _task(data: Mapping[str, Any]) -> object:
    task = data["recipe"].get("task")
    return task.get("task") if isinstance(task, dict) else None


def match_signs(samples: np.ndarray, begin: Callable[[], Any], wanted: str) -> Match:
    """Whether a digest is that of these samples with some of their zeros negative.

    `begin` starts a hash. All signs are tried where that takes a fraction of a second; else "unsure".
    """
    flat = np.ascontiguousarray(samples, dtype="<f4").reshape(-1)
    for signs in (flat, flat + np.float32(0), np.where(flat == 0, np.float32(-0.0), flat)):
        if _hashed(begin(), signs).hexdigest() == wanted:
            return "same"
    zeros = np.flatnonzero(flat == 0)
    if not zeros.size:
        return "other"
    left = np.append(zeros, flat.size)
    if zeros.size > 20 or sum(2.0 ** (i + 1) * (b - a) * 4 for i, (a, b) in enumerate(_pairs(left))) > _MOST_HASHED:
        return "unsure"
    return "same" if wanted in _all_signs(flat, left, begin()) else "other"


def _all_signs(flat: np.ndarray, zeros: np.ndarray, start: Any) -> set[str]:
    """Digests of samples under every choice of signs for their zeros."""
    states = [_hashed(start, flat[: zeros[0]])]
    for first, last in _pairs(zeros):
        grown = [(state.copy(), zero) for state in states for zero in (np.float32(0), np.float32(-0.0))]
        states = [_hashed(_hashed(state, np.array([zero])), flat[first + 1 : last]) for state, zero in grown]
    return {state.hexdigest() for state in states}


def _pairs(ends: np.ndarray) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _hashed(state: Any, samples: np.ndarray) -> Any:
    state.update(np.ascontiguousarray(samples, dtype="<f4").tobytes())
    return state


def _shape(facts: Mapping[str, object]) -> tuple[object, ...]:
    return facts["rate"], facts["channels"], facts["frames"]


def _shape_of(audio: Audio) -> tuple[int, int, int]:
    return audio.rate, audio.channels, int(audio.samples.shape[1])
