"""A row per published checkpoint: where it is, how big it is, and how it wants to be sampled. Knows no tensors.

A row rather than a branch: steps, shift, guidance, tasks and the longest song come from the row of the checkpoint at hand,
so that a turbo model under guidance, which gives noise, cannot happen by accident.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from acestep_lab.errors import CheckpointError

EVERY_TASK = ("text2music", "cover", "repaint", "extract", "lego", "complete")
WHOLE_MIX_TASKS = ("text2music", "cover", "repaint")
"""What a distilled or finely tuned transformer can do; stems are left to the base models."""

MAIN_REPO = "ACE-Step/Ace-Step1.5"
"""Holds the turbo transformer and what every other checkpoint shares: the autoencoder, the text encoder, an LM."""

VAE_FOLDER = "vae"
TEXT_FOLDER = "Qwen3-Embedding-0.6B"


@dataclass(frozen=True)
class Row:
    """One checkpoint: where its files are and with what defaults it is sampled."""

    name: str
    kind: str  # "turbo" (distilled, no guidance), "sft" or "base"
    repo: str | None  # on the Hugging Face hub; None: a folder of somebody's own, or the pocket
    folder: str  # inside the repo, "" when the repo itself is the folder
    steps: int
    shift: float
    guidance: str  # a name from `prompt.recipe.GUIDANCE`
    guidance_scale: float
    tasks: tuple[str, ...]
    lm: str | None  # the recommended planner: a name in LMS, or None
    longest_seconds: float = 600.0
    sizes: Mapping[str, int] = field(default_factory=dict)  # bytes on disk by component, as published
    licence: str = "MIT"
    note: str = ""
    direct: tuple[str, ...] = ()
    """Tasks, as in `tasks`, that have one right answer: sampled in a single step without guidance unless asked otherwise.

    The first estimate is the mean of all answers and so the nearest to the right one; every further step chooses among them.
    """

    tells_key: bool = False
    """Whether a cover says in words the key detected in its source, for codes that carry the beat and hardly a chord."""

    repeats_caption: bool = False
    """Whether its planner was taught to repeat the asked caption in its thought, and not to write one of its own."""

    stem_captions: bool = False
    """Whether it was finely tuned on stems and reads a caption in a block with the song's own (`is_lego_sft`)."""

    dcw: str = "off"
    """The mode of DCW, a correction of every step, that is used unless another is asked for: the reference has it on for
    turbo and off for the guided ones."""

    dcw_low: float = 0.05
    dcw_high: float = 0.02
    """How far DCW moves the means and the half-differences of frame pairs; the reference's defaults."""

    most_steps: int | None = None
    """Steps to which the reference cuts down more of them without a word; None: it cuts nothing."""

    def guidance_for(self, task: str) -> str:
        """The guidance a task is sampled with unless another is asked for."""
        return "none" if task in self.direct else self.guidance

    def steps_for(self, task: str) -> int:
        """The steps a task is sampled in unless others are asked for."""
        return 1 if task in self.direct else self.steps

    @property
    def is_turbo(self) -> bool:
        """Whether guidance is distilled into the weights, so that none may be applied."""
        return self.kind == "turbo"

    def allows(self, task: str) -> bool:
        """Whether the task, by the reference's name for it ("repaint", "lego", …), is for this checkpoint."""
        return task in self.tasks

    def replace(self, **changes: Any) -> Row:
        return replace(self, **changes)


@dataclass(frozen=True)
class LMRow:
    """One planner: where its files are and how big they are."""

    name: str
    repo: str
    folder: str
    size: int  # bytes on disk, as published
    note: str
    licence: str = "MIT"


LMS: Mapping[str, LMRow] = MappingProxyType(
    {
        "0.6B": LMRow(
            "0.6B",
            "ACE-Step/acestep-5Hz-lm-0.6B",
            "",
            1_200_000_000,
            "small; composes well, copies melodies weakly",
        ),
        "1.7B": LMRow("1.7B", MAIN_REPO, "acestep-5Hz-lm-1.7B", 3_400_000_000, "the default; ships with turbo"),
        "4B": LMRow("4B", "ACE-Step/acestep-5Hz-lm-4B", "", 8_000_000_000, "the strongest; wants 12 GB and more"),
    }
)

# Bytes on disk: two per parameter (bfloat16), counted from the modules' shapes without any weights.
_SHARED = {"condition": 1_218_659_328, "codes": 420_087_948, "vae": 337_390_852, "text": 1_191_553_024}
_2B = MappingProxyType({"dit": 3_150_917_760, **_SHARED})
_XL = MappingProxyType({"dit": 8_337_794_176, **_SHARED})


def _turbo(name: str, repo: str, folder: str = "", **changes: Any) -> Row:
    row = Row(
        name, "turbo", repo, folder, 8, 3.0, "none", 1.0, WHOLE_MIX_TASKS, "1.7B", sizes=_2B, dcw="double", most_steps=8
    )  # fmt: skip
    return replace(row, **changes)


def _guided(name: str, kind: str, tasks: tuple[str, ...], **changes: Any) -> Row:
    row = Row(name, kind, f"ACE-Step/acestep-v15-{name}", "", 50, 1.0, "apg", 7.0, tasks, "1.7B", sizes=_2B)
    return replace(row, **changes)


ROWS: Mapping[str, Row] = MappingProxyType(
    {
        row.name: row
        for row in (
            Row(
                "pocket", "base", None, "", 30, 1.0, "apg", 4.0, EVERY_TASK, None, 60.0,
                note="ships with this package; its defaults stand in its pocket.json",
            ),
            _turbo("turbo", MAIN_REPO, "acestep-v15-turbo", note="the default: eight steps, no guidance"),
            _turbo("turbo-shift1", "ACE-Step/acestep-v15-turbo-shift1", shift=1.0, note="distilled at shift 1"),
            _turbo("turbo-shift3", "ACE-Step/acestep-v15-turbo-shift3", note="distilled at shift 3"),
            _turbo(
                "turbo-continuous", "ACE-Step/acestep-v15-turbo-continuous", note="any shift from 1 to 5, experimental"
            ),
            _guided("sft", "sft", WHOLE_MIX_TASKS, note="finely tuned, guided"),
            _guided("base", "base", EVERY_TASK, note="every task, stems included, guided"),
            _turbo(
                "xl-turbo", "ACE-Step/acestep-v15-xl-turbo", lm="4B", sizes=_XL, most_steps=20,
                note="four billion parameters, eight steps",
            ),
            _guided("xl-sft", "sft", WHOLE_MIX_TASKS, lm="4B", sizes=_XL),
            _guided("xl-base", "base", EVERY_TASK, lm="4B", sizes=_XL),
        )
    }
)  # fmt: skip


def row(name: str) -> Row:
    """The row of a name ("turbo", "acestep-v15-sft", a repo); CheckpointError with the nearest names otherwise."""
    found = find(name)
    if found is None:
        raise CheckpointError(f"No checkpoint is called {name!r}; {nearest(name, ROWS)}")
    return found


def find(name: str) -> Row | None:
    """The row of a name, of a published folder's name or of a repo; None if there is none."""
    bare = _bare(name)
    if bare in ROWS:
        return ROWS[bare]
    return next((row for row in ROWS.values() if row.repo and row.repo.lower() == name.lower()), None)


def lm_row(name: str) -> LMRow | None:
    """The planner of a name ("1.7B", "acestep-5Hz-lm-1.7B"); None if there is none."""
    bare = name.split("/")[-1].lower().removeprefix("acestep-5hz-lm-")
    return next((row for row in LMS.values() if row.name.lower() == bare), None)


def lm_name(folder: Path, checkpoint: str) -> str:
    """What the planner in a folder is called: as published, else as its folder; one called plainly "lm" after its checkpoint."""
    for row in LMS.values():
        published = row.folder or row.repo.partition("/")[2]
        if published in folder.parts or (
            f"models--{row.repo.replace('/', '--')}" in folder.parts[:-1] and not row.folder
        ):
            return published
    return folder.name if folder.name not in ("", "lm") else f"{checkpoint}-lm"


def nearest(name: str, names: Iterable[str]) -> str:
    """Half a sentence naming what somebody may have meant."""
    known = sorted(names)
    close = difflib.get_close_matches(_bare(name), known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(known)}; a folder or a hub id in the cache will do as well."


def inferred(folder: Path, dit: Mapping[str, object]) -> Row:
    """The row for a folder, from its name and its transformer's config; the config decides where they disagree."""
    named = ROWS.get(_bare(folder.name))
    named = named if named is not None and named.repo is not None else None
    kind = _kind(dit, named)
    if named is not None and (kind in (None, named.kind) or (kind, named.kind) == ("base", "sft")):
        return named  # finely tuned models may be written down as base: the same defaults
    model = ROWS[kind or "base"]
    return replace(model, name=folder.name, repo=None, folder="", note=f"not in the catalog; sampled like {model.name}")


def _kind(dit: Mapping[str, Any], named: Row | None) -> str | None:
    """ "turbo", "sft" or "base" as the config says it; None if it does not.

    `is_turbo` is the reference's own mark. A version of "turbo" without it is believed (diffusers does), unless the folder
    bears the name of another kind: the reference's config class writes "turbo" where nothing was said.
    """
    version = str(dit.get("model_version") or "").lower()
    if dit.get("is_turbo"):
        return "turbo"
    if "turbo" in version:
        return named.kind if named is not None and "is_turbo" in dit else "turbo"
    return next((kind for kind in ("sft", "base") if kind in version), "base" if "is_turbo" in dit else None)


def _bare(name: str) -> str:
    """The catalog's name inside a published one: "ACE-Step/acestep-v15-xl-sft-diffusers" is "xl-sft"."""
    return name.split("/")[-1].lower().removeprefix("acestep-v15-").removesuffix("-diffusers")
