"""The manifest: a take's story as JSON, written beside its sound and inside it.

Knows values only. Samples and latents travel in their own files; their digests stand here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from acestep_lab.decode.audio import Audio
from acestep_lab.errors import LibraryError
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.takes.take import Take

FORMAT = "acestep_lab.take/1"


def digest(array: np.ndarray) -> str:
    """sha256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def describe(take: Take) -> dict[str, Any]:
    """Everything about a take but its samples and latent, as plain data."""
    return {
        "format": FORMAT,
        "id": take.id,
        "created": take.created,
        "recipe": take.recipe.to_json(),
        "asked": take.asked.to_json() if take.asked else None,
        "plan": take.plan.to_json() if take.plan else None,
        "parents": list(take.parents),
        "made_with": dict(take.made_with),
        "audio": {
            "seconds": take.audio.seconds,
            "rate": take.audio.rate,
            "channels": take.audio.channels,
            "sha256": digest(take.audio.samples),
        },
        "latent": {"shape": list(take.latent.shape), "sha256": digest(take.latent)},
    }


def to_text(manifest: Mapping[str, Any]) -> str:
    """A manifest as the one line of JSON that goes into a file's comment tag."""
    return json.dumps(manifest, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_text(text: str, where: str) -> dict[str, Any]:
    """Read a manifest back; LibraryError says which file holds none."""
    try:
        manifest = json.loads(text)
    except json.JSONDecodeError:
        manifest = None
    if not isinstance(manifest, dict) or not str(manifest.get("format", "")).startswith("acestep_lab.take/"):
        raise LibraryError(f"{where} carries no take of ours: its comment holds no acestep_lab manifest.")
    if manifest["format"] != FORMAT:
        raise LibraryError(f"{where} was written by a newer acestep_lab ({manifest['format']}); update to open it.")
    return manifest


def rebuild(manifest: Mapping[str, Any], audio: Audio, latent: np.ndarray | None) -> Take:
    """A take from its manifest, its samples, and its latent where that is at hand."""
    from acestep_lab.plan.plan import Plan

    return Take(
        recipe=Recipe.from_json(manifest["recipe"]),
        audio=audio,
        latent=latent if latent is not None else np.zeros((0, manifest["latent"]["shape"][1]), np.float32),
        plan=Plan.from_json(manifest["plan"]) if manifest.get("plan") else None,
        parents=tuple(manifest["parents"]),
        made_with=manifest["made_with"],
        asked=Recipe.from_json(manifest["asked"]) if manifest.get("asked") else None,
        created=manifest["created"],
        known_as=manifest["id"],
    )
