"""A name or folder, and the components of the ACE-Step v1 checkpoint it stands for. Knows files; never the network.

Opening reads small JSON files and no weights; `build(component)` makes one, strictly: every stored tensor has its place and every
place its tensor. Only safetensors are read. A published checkpoint is four folders, each with a config.json and its weights;
`codec` is two of them, the DCAE and the vocoder, which are never wanted apart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acestep_lab.engines.ace_v1 import catalog
from acestep_lab.engines.ace_v1.catalog import Row
from acestep_lab.engines.ace_v1.geometry import HOP, SAMPLE_RATE, V1Config
from acestep_lab.errors import CheckpointError, NotFoundError, shown
from acestep_lab.models import loading
from acestep_lab.models.weights import Entry, read_config, short

if TYPE_CHECKING:
    import torch
    from torch import nn

COMPONENTS = ("text", "dit", "codec")
"""In the order a render uses them."""
TRANSFORMER, DCAE, VOCODER, TEXT = "ace_step_transformer", "music_dcae_f8c8", "music_vocoder", "umt5-base"
LYRICS = "lyric_tokenizer"
"""The folder that the vocabulary of lyrics may be in."""
FOLDERS: Mapping[str, str] = {
    TRANSFORMER: "the transformer", DCAE: "the autoencoder (DCAE)", VOCODER: "the vocoder", TEXT: "the text encoder (UMT5)",
}  # fmt: skip
"""The folders of a published checkpoint and what is in each."""


@dataclass(frozen=True)
class Checkpoint:
    """One ACE-Step v1 checkpoint on disk."""

    row: Row | None
    """Its catalog row; None for a folder of somebody's own."""
    name: str
    folder: Path
    config: V1Config
    """The transformer's sizes."""

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Checkpoint:
        """Find a checkpoint by catalog name, folder or hub id; light. CheckpointError says which part is missing."""
        folder, row = loading.located(name, catalog.find, catalog.ROWS)
        for part, what in FOLDERS.items():
            if not (folder / part / "config.json").is_file():
                raise NotFoundError(
                    f"{short(folder)} lacks {what}: there is no {part}/config.json. ACE-Step v1 has the four folders "
                    f"{', '.join(FOLDERS)}."
                )
        config = V1Config.from_config(read_config(folder / TRANSFORMER / "config.json"))
        _check_together(folder, config)
        return cls(row, row.name if row else folder.name, folder, config)

    def place(self, part: str) -> Path:
        """The folder of a part."""
        return self.folder / part

    def folders(self) -> list[Path]:
        """Every folder of the checkpoint: its four parts, and the lyric tokenizer where somebody put one."""
        words = self.folder / LYRICS
        return [self.place(part) for part in FOLDERS] + ([words] if words.is_dir() else [])

    def parts(self, component: str) -> tuple[str, ...]:
        """The folders that a component's weights are in; CheckpointError for an unknown one."""
        found = {"text": (TEXT,), "dit": (TRANSFORMER,), "codec": (DCAE, VOCODER)}.get(component)
        if found is None:
            raise CheckpointError(f"{self.name} has no component {shown(component)}; it has {', '.join(COMPONENTS)}.")
        return found

    def entries(self, component: str) -> dict[str, Entry]:
        """The stored tensors of a component by the names its module gives them, headers only; CheckpointError where one of its
        folders holds none.
        """
        from acestep_lab.engines.ace_v1 import components

        self.parts(component)
        return components.entries(self, component)

    def config_of(self, component: str) -> dict[str, Any]:
        """The configs that a component is made from, by their folders."""
        return {part: read_config(self.place(part) / "config.json") for part in self.parts(component)}

    def sizes(self) -> dict[str, int]:
        """Bytes of each component at two bytes a number."""
        return {name: 2 * sum(entry.numbers for entry in self._own(name).values()) for name in COMPONENTS}

    def _own(self, component: str) -> dict[tuple[Path, str], Entry]:
        """Each stored tensor once, under whatever names."""
        return {(entry.file, entry.key): entry for entry in self.entries(component).values()}

    def build(self, component: str, dtype: torch.dtype) -> nn.Module:
        """Make a component on the CPU: "text" UMT5EncoderModel, "dit" AceStepV1Transformer, "codec" `components.Codecs`."""
        from acestep_lab.engines.ace_v1 import components

        self.parts(component)
        return components.build(self, component, dtype)

    def verify(self, component: str) -> None:
        """Check a component's tensors against its config, names and shapes, without reading them; CheckpointError."""
        from acestep_lab.engines.ace_v1 import components

        self.parts(component)
        components.verify(self, component)

    def mark(self, *parts: str) -> str:
        """Which weights these are, from the first bytes of their files."""
        digest = hashlib.blake2b(digest_size=8)
        for part in parts:
            for file in sorted(self.place(part).glob("*.safetensors")):
                with file.open("rb") as opened:
                    digest.update(str(file.stat().st_size).encode() + opened.read(1 << 20))
        return digest.hexdigest()


def claims(name: str | os.PathLike[str]) -> bool:
    """Whether a name or folder is ACE-Step v1's: a catalog name, or a folder with the transformer's or the DCAE's own folder."""
    if isinstance(name, str) and catalog.find(name) is not None:
        return True
    try:
        folder = Path(name).expanduser()
        if folder.is_dir():
            return any((folder / part).is_dir() for part in (TRANSFORMER, DCAE, VOCODER))
    except (OSError, ValueError, TypeError, RuntimeError):  # a name that no disk has
        return False
    return isinstance(name, str) and loading.is_hub_id(name) and _is_cached(name)


def _check_together(folder: Path, config: V1Config) -> None:
    """Refuse parts that are each whole and not of one model, before one of them hands the other what it cannot take."""
    if not config.in_channels == config.out_channels == 8 or config.max_height != 16:
        raise CheckpointError(
            f"The transformer in {short(folder)} takes latents of {config.in_channels} channels with {config.max_height} rows and "
            f"makes {config.out_channels}; ACE-Step v1's have 8 and 16."
        )
    text, dcae, vocoder = (read_config(folder / part / "config.json") for part in (TEXT, DCAE, VOCODER))
    if [vocoder.get("sampling_rate", SAMPLE_RATE), vocoder.get("hop_length", HOP)] != [SAMPLE_RATE, HOP]:
        raise CheckpointError(
            f"The vocoder in {short(folder)} makes {shown(vocoder.get('sampling_rate'))} samples a second, "
            f"{shown(vocoder.get('hop_length'))} a frame; ACE-Step v1's makes {SAMPLE_RATE} and {HOP}."
        )
    for part, there, wanted in (
        (
            TEXT,
            text.get("d_model") if text.get("model_type") == "umt5" else None,
            config.text_embedding_dim,
        ),
        (DCAE, dcae.get("latent_channels"), config.in_channels),
    ):
        if there is not None and there != wanted:
            raise CheckpointError(
                f"{short(folder / part)} is {shown(there)} numbers wide where the transformer beside it takes {wanted}: they "
                "are parts of different models."
            )


def _is_cached(repo: str) -> bool:
    """Whether the hub's cache holds a transformer of this family under a repo."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(repo, f"{TRANSFORMER}/config.json"), str)
    except HFValidationError:
        return False
