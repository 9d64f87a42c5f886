"""A folder that a training lives in: what it is, how far it is, its adapter; what a killed one goes on from.

`run.json` says of what data, checkpoint and config it is, and never changes; `state.pt` is all that going on needs; `last/` is
the adapter as other programs open it, and `lab.lora` by the folder's own name. Each is written whole or not at all. Knows trainers by their state alone; no engine, no run.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from acestep_lab import files
from acestep_lab.errors import LibraryError, RecipeError, shown
from acestep_lab.models.adapter_names import ACE15
from acestep_lab.train.adapter_export import AdapterFacts, write_adapter
from acestep_lab.train.lora import UNTOLD, LoraConfig, Trainer
from acestep_lab.train.repa import SoundEncoder

RUN, STATE, ADAPTER = "run.json", "state.pt", "last"
FREE = ("save_every", "preview_every")
"""What of a config may be another when a training goes on: it changes no weight."""
FORMAT = 1
_DAMAGE = (
    OSError, RuntimeError, pickle.UnpicklingError, EOFError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError,
)  # fmt: skip
"""What torch.load raises for bytes that are no state (fuzzed: 6,000 damaged files), and `load_state` for one that is none."""


@dataclass(frozen=True)
class RunFacts:
    """What a training is of: one goes on only with the same."""

    data: str
    """A digest of the lessons, in order, and of those held out."""
    checkpoint: str
    mark: str
    """Which weights are taught."""
    dtype: str
    roads: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ""
    songs: int = 0
    family: str = ACE15.name
    """Of the checkpoint."""

    @classmethod
    def of(
        cls, config: LoraConfig, encoders: Sequence[SoundEncoder] = (), processes: int = 1, **facts: Any
    ) -> RunFacts:  # fmt: skip
        """With a config as plain data; the encoders that it is aligned with, and how many teach it together, if more than one."""
        told = config.told() | ({"repa": [f"{one.name} {one.key}" for one in encoders]} if encoders else {})
        told |= {"processes": processes} if processes > 1 else {}
        return cls(config=json.loads(json.dumps(told)), **facts)

    def adapter(self, steps: int) -> AdapterFacts:
        """What the adapter should remember after so many steps."""
        return AdapterFacts(
            self.checkpoint, self.tag, self.songs, self.data, steps, self.roads, self.config, self.family
        )


class RunFolder:
    """The folder of one training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _made(folder)

    @property
    def adapter(self) -> Path:
        """The adapter's folder, as other programs open it; `lab.lora` takes the training's."""
        return self.folder / ADAPTER

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process train here meanwhile; LibraryError where one does."""
        lock = FileLock(self.folder / ".lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise LibraryError(
                f"Another training is at work in {shown(self.folder.name)}; wait, or name another folder."
            ) from None
        except OSError as problem:
            raise LibraryError(f"Nothing can be written in {shown(self.folder.name)} ({problem.strerror}).") from None
        try:
            yield
        finally:
            lock.release()

    def claim(self, facts: RunFacts) -> None:
        """Be the folder of this training: a new one, or the one it holds; RecipeError, saying what differs, for another's."""
        file = self.folder / RUN
        if file.is_file():
            _must_be_same(files.read_json(file, "The training's run.json", LibraryError), facts, self.folder.name)
            return
        if (self.folder / STATE).exists() or self.adapter.exists():
            raise LibraryError(f"{shown(self.folder.name)} holds something else already; name another folder.")
        self._begin(facts)

    def _begin(self, facts: RunFacts) -> None:
        """Say what training this is."""
        text = json.dumps({"format": FORMAT, **asdict(facts)}, indent=2, sort_keys=True)
        files.write_whole(
            self.folder / RUN, lambda draft: draft.write_text(text + "\n", encoding="utf-8"), "The training"
        )

    def save(self, trainer: Trainer, facts: RunFacts) -> Path:
        """Keep how far a training is, and its adapter as of now; LibraryError where the disk refuses, what was there stays."""
        data = io.BytesIO()
        torch.save(trainer.state(), data)
        self._be_there(facts)
        files.write_whole(
            self.folder / STATE, lambda draft: draft.write_bytes(data.getbuffer()), "The training's state"
        )
        return self.save_adapter(trainer, facts)

    def save_adapter(self, trainer: Trainer, facts: RunFacts) -> Path:
        """Keep the adapter alone, such as after a loss that was no number; its file."""
        self._be_there(facts)
        return self.write(self.adapter, trainer, facts)

    def _be_there(self, facts: RunFacts) -> None:
        """Be made anew where somebody removed the folder meanwhile: what was learnt is still at hand."""
        if not (self.folder / RUN).is_file():
            _made(self.folder)
            self._begin(facts)

    def write(self, folder: Path, trainer: Trainer, facts: RunFacts) -> Path:
        """Write the adapter as of now into any folder."""
        try:
            return write_adapter(folder, trainer.adapter_state(), trainer.config, facts.adapter(trainer.step))
        except OSError as problem:
            raise LibraryError(f"The adapter cannot be written ({problem.strerror}).") from None

    def resume(self, trainer: Trainer) -> int:
        """Let a trainer go on from what was kept, and say at which step; 0 where nothing was."""
        file = self.folder / STATE
        if not file.is_file():
            return 0
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            trainer.load_state(state)
        except _DAMAGE as problem:
            if isinstance(problem, RecipeError):
                raise
            raise LibraryError(
                f"The state in {shown(self.folder.name)} is damaged; delete state.pt to begin anew, or name another folder."
            ) from None
        return trainer.step


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise LibraryError(f"The folder {shown(folder.name)} cannot be made ({problem.strerror}).") from None


def _must_be_same(known: Mapping[str, Any], facts: RunFacts, name: str) -> None:
    wanted = json.loads(json.dumps(asdict(facts)))
    other = f"Name another folder, or train with what {shown(name)} was begun with."
    if known.get("mark") != wanted["mark"] or known.get("dtype") != wanted["dtype"]:
        was = f"{known.get('checkpoint')} in {known.get('dtype')}"
        raise RecipeError(
            f"The training there is of the checkpoint {was}, not of this {wanted['checkpoint']} in {wanted['dtype']}. {other}"
        )
    if known.get("roads") != wanted["roads"] or known.get("data") != wanted["data"]:
        raise RecipeError(f"The training there learns from other songs, other words or other roads. {other}")
    before, now = known.get("config") or {}, wanted["config"]
    if not isinstance(before, dict) or not isinstance(before.get("repa") or [], list):
        raise LibraryError(f"The run.json in {shown(name)} is damaged; begin anew in another folder.")
    if _weights(before) != _weights(now):
        was, is_ = (", ".join(map(str, one.get("repa") or ["nothing"])) for one in (before, now))
        raise RecipeError(f"The training there is aligned with {shown(was)}, not with {shown(is_)}. {other}")
    usual = UNTOLD | {"processes": 1}
    for key in (*now, *(one for one in usual if one in before)):
        had, has = (one.get(key, usual.get(key)) for one in (before, now))
        if key not in (*FREE, "repa") and had != has:
            raise RecipeError(f"The training there has {key} {shown(had)}, not {shown(has)}. {other}")


def _weights(config: Mapping[str, Any]) -> list[str]:
    """What tells the encoders of a training, without the names they were handed in by."""
    return [str(one).rpartition(" ")[2] for one in config.get("repa") or ()]
