"""What a listener hears in the songs that are learnt: features of a HuBERT-like encoder, made once and kept.

A training may draw the model's hidden states towards them (`train.alignment`, REPA: Yu et al. 2024). An encoder takes mono
sound at its own rate and gives `[frames, width]`; songs are heard in chunks, each brought to mean 0 and deviation 1 with its
song, as HuBERT and MERT expect. Knows no engine and no trainer.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from acestep_lab import files
from acestep_lab._libraries import transformers
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LibraryError, RecipeError, SourceError, Stopped, shown
from acestep_lab.lru_cache import LRUCache
from acestep_lab.takes.take import Take
from acestep_lab.train.cache import Failed
from acestep_lab.train.rows import sound_of
from acestep_lab.train.song import Song

FORMAT = 1
LONG_CHUNK, SHORT_CHUNK = 30.0, 5.0
"""Seconds an encoder hears at once: what mHuBERT-147 is used with, and MERT, which was taught on five."""
HUBERT_RATE, MERT_RATE = 16_000, 24_000
LEAST_HEARD = 1.0
"""A last chunk is padded to so many seconds, or to a whole one; what is heard of the padding is left out."""
FEWEST_PER_SECOND = 2.0
"""Fewer features of a second are no frames but a summary of the sound, which cannot be followed."""
MOST_ENCODERS = 4
IN_MEMORY = 64
"""Songs whose features are kept in RAM."""
ENDING = ".features.safetensors"


@dataclass(frozen=True, eq=False)
class Features:
    """What an encoder heard in a song."""

    values: Tensor
    """`[frames, width]`, in RAM."""
    per_second: float

    def until(self, seconds: float) -> Tensor:
        """Those of the first seconds, one at least `[frames, width]`."""
        return self.values[: max(1, round(seconds * self.per_second))].float()


@dataclass(frozen=True, eq=False)
class SoundEncoder:
    """A HuBERT-like encoder with what has to be known of it; `lab.train(songs, repa=[SoundEncoder(my_model, 16_000)])`.

    ::

        SoundEncoder(HubertModel.from_pretrained("utter-project/mHuBERT-147"))      # the rate is known of transformers' models
        SoundEncoder(lambda sound: features(sound), rate=24_000, name="mine")       # `[1, samples]` → `[frames, width]`
    """

    model: Callable[..., Any]
    """A transformers model (HuBERT, wav2vec 2, MERT, …), or what turns mono sound `[1, samples]` into `[frames, width]`."""
    rate: int = 0
    """Samples a second that it hears; 0: as the model's own config says."""
    name: str = ""
    chunk_seconds: float = 0.0
    """Seconds it hears at once; 0: 5 for MERT, else 30."""
    normalise: bool = True
    """Whether each song is brought to mean 0 and deviation 1 before."""
    mark: str = field(default="", repr=False)
    """What tells its weights from others; "": made of the weights, or of what it hears in a fixed noise."""

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise RecipeError(f"An encoder is a model or a function of sound, not {shown(self.model)}.")
        config = getattr(self.model, "config", None)
        known = getattr(config, "sample_rate", None) or getattr(config, "sampling_rate", None)
        rate = (
            self.rate or known or getattr(self.model, "sample_rate", None) or (HUBERT_RATE if _is_hubert(config) else 0)
        )
        if not rate:
            raise RecipeError("An encoder's rate must be known: SoundEncoder(my_function, rate=16_000).")
        if isinstance(rate, bool) or not isinstance(rate, int) or not 1000 <= rate <= 384_000:
            raise RecipeError(f"An encoder's rate is a whole number from 1000 to 384000 a second, not {shown(rate)}.")
        chunk = self.chunk_seconds or (SHORT_CHUNK if rate == MERT_RATE and config is not None else LONG_CHUNK)
        if isinstance(chunk, bool) or not isinstance(chunk, int | float) or not 1.0 <= chunk <= 600.0:
            raise RecipeError(f"An encoder hears from 1 to 600 seconds at once, not {shown(self.chunk_seconds)}.")
        named = self.name or getattr(config, "model_type", "") or getattr(self.model, "__name__", "") or "encoder"
        for key, value in (("rate", rate), ("chunk_seconds", float(chunk)), ("name", str(named)[:60])):
            object.__setattr__(self, key, value)

    @cached_property
    def key(self) -> str:
        """What tells its features from any other's: its weights, its rate, how songs are put to it."""
        weights = self.mark or (_weights_mark(self.model) if isinstance(self.model, nn.Module) else self._probe_mark())
        text = json.dumps([FORMAT, weights, self.rate, self.chunk_seconds, self.normalise])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _probe_mark(self) -> str:
        """A function has no weights to look at: what it hears in a noise that is always the same."""
        return hashlib.sha256(self._probe.contiguous().numpy().data).hexdigest()[:16]

    @cached_property
    def _probe(self) -> Tensor:
        """What it hears in a second of noise that is always the same `[frames, width]`."""
        return self._chunk(np.random.default_rng(0).standard_normal(self.rate).astype(np.float32) * 0.1, self.rate)

    @property
    def width(self) -> int:
        """How many numbers a feature has; RecipeError where the model cannot hear, or gives no features."""
        return int(self._probe.shape[1])

    def features(self, sound: Audio, stop: threading.Event | None = None) -> Features:
        """What it hears in an `Audio`, chunk after chunk; RecipeError where what it gives are no features of it."""
        samples = np.asarray(sound.with_channels(1).resample(self.rate).samples[0], np.float32)
        seconds, size = len(samples) / self.rate, round(self.chunk_seconds * self.rate)
        if self.normalise:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        found: list[Tensor] = []
        for first in range(0, len(samples), size):
            if stop is not None and stop.is_set():
                raise Stopped("The training was stopped while an encoder listened.")
            found.append(self._chunk(samples[first : first + size], size))
        if not found:
            raise RecipeError("There is no sound in it.")
        if len({one.shape[1] for one in found}) > 1:
            raise RecipeError(f"The encoder {shown(self.name)} gives features of different widths.")
        values = torch.cat(found)
        if not bool(torch.isfinite(values).all()):
            raise SourceError(f"the encoder {shown(self.name)} hears no numbers in it (NaN or infinite features)")
        return Features(values, len(values) / seconds)

    def _chunk(self, samples: np.ndarray, size: int) -> Tensor:
        """Features of one chunk `[samples]`; what it hears of padding is left out."""
        room = min(size, round(LEAST_HEARD * self.rate))
        padded = np.pad(samples, (0, max(0, room - len(samples))))
        heard = self._heard(torch.from_numpy(np.ascontiguousarray(padded))[None])
        if len(heard) / (len(padded) / self.rate) < FEWEST_PER_SECOND:
            raise RecipeError(
                f"The encoder {shown(self.name)} gave {len(heard)} features for {len(padded) / self.rate:.1f} s: it should give "
                f"[frames, width], several a second. Is its rate really {self.rate}?"
            )
        return heard[: max(1, round(len(heard) * len(samples) / len(padded)))]

    def _heard(self, samples: Tensor) -> Tensor:
        """What the model gives for mono sound `[1, samples]`, as `[frames, width]` on the CPU."""
        try:
            with torch.no_grad(), _judging(self.model):
                given = self.model(_put(samples, self.model))
        except (RuntimeError, ValueError, TypeError, IndexError) as problem:
            raise RecipeError(
                f"The encoder {shown(self.name)} cannot hear mono sound at {self.rate} Hz, handed over as [1, samples]: "
                f"{shown(str(problem), 90)}"
            ) from problem
        return _two_dimensional(given, self.name).detach().float().cpu()


def encoders_of(given: Any) -> tuple[SoundEncoder, ...]:
    """Encoders as they were handed in: models, functions with a `sample_rate`, folders of transformers' models, SoundEncoders."""
    listed = given if isinstance(given, list | tuple) else () if given is None else (given,)
    if len(listed) > MOST_ENCODERS:
        raise RecipeError(f"repa takes at most {MOST_ENCODERS} encoders, not {len(listed)}.")
    found = tuple(_encoder(one) for one in listed)
    names = [one.name for one in found]
    return tuple(
        replace(one, name=f"{one.name} {place + 1}") if names.count(one.name) > 1 else one
        for place, one in enumerate(found)
    )


def _encoder(given: Any) -> SoundEncoder:
    if isinstance(given, SoundEncoder):
        return given
    if isinstance(given, str | Path):
        return SoundEncoder(_loaded(Path(given).expanduser()), name=Path(given).name)
    return SoundEncoder(given)


def _loaded(folder: Path) -> Any:
    """A transformers model out of its folder."""
    if not (folder / "config.json").is_file():
        raise RecipeError(f"{shown(str(folder))} is no folder of a transformers model, which has a config.json.")
    try:
        return transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as problem:
        raise RecipeError(
            f"The encoder in {shown(folder.name)} cannot be opened ({shown(str(problem), 90)}); load it yourself and hand it in: "
            "repa=[my_model]."
        ) from problem


# -- kept --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeptFeatures:
    """A song's features in the cache, by their key."""

    key: str
    name: str
    """Of the song."""
    new: bool = False


class FeatureCache:
    """A folder of features, one file for a song and an encoder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known = LRUCache[Features](IN_MEMORY)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise LibraryError(f"The folder for features cannot be made ({problem.strerror}).") from None

    def make(
        self, encoder: SoundEncoder, rows: Sequence[Song], stop: threading.Event | None = None
    ) -> Iterator[KeptFeatures | Failed]:
        """The features of songs, each kept once it exists; a song that cannot be heard is `Failed`."""
        for row in rows:
            try:
                kept = KeptFeatures(feature_key(encoder, row), row.name)
                if self.find(kept.key) is None:
                    self._write(kept, encoder.features(_audio(row), stop))
                    kept = replace(kept, new=True)
                yield kept
            except SourceError as problem:
                yield Failed(row.name, str(problem))

    def has(self, encoder: SoundEncoder, row: Song) -> bool:
        """Whether a song's features seem to be here; False too for one that cannot be read."""
        try:
            return self._file(feature_key(encoder, row)).is_file()
        except SourceError:
            return False

    def find(self, key: str) -> Features | None:
        """Features by their key; None where there are none, or their file is damaged."""
        try:
            with safe_open(self._file(key), "pt") as opened:
                about = json.loads(opened.metadata()["acestep_lab"])
                values = opened.get_tensor("features")
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None
        if about.get("key") != key or about.get("digest") != _digest(values):
            return None
        return Features(values, float(about["per_second"]))

    def read(self, kept: KeptFeatures) -> Features:
        """Those of a song, the last ones from RAM; LibraryError where their file is gone or damaged since."""

        def from_file() -> Features:
            found = self.find(kept.key)
            if found is None:
                raise LibraryError(
                    f"The features of {shown(kept.name)} are gone or damaged; train again, and they are made anew."
                )
            return found

        return self._known.recall(kept.key, from_file)

    def _write(self, kept: KeptFeatures, features: Features) -> None:
        values = features.values.to(torch.float16).contiguous()
        if not bool(torch.isfinite(values).all()):  # larger than sixteen bits hold
            values = features.values.contiguous()
        about = {"key": kept.key, "song": kept.name, "per_second": features.per_second, "digest": _digest(values)}
        data = save({"features": values}, {"format": "pt", "acestep_lab": json.dumps(about)})
        files.write_whole(self._file(kept.key), lambda draft: draft.write_bytes(data), "What an encoder heard")

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}{ENDING}"


class HeardSongs(Sequence[tuple[Features, ...]]):
    """Of each lesson what each encoder heard in its song, read when it is learnt."""

    def __init__(self, cache: FeatureCache, kept: Sequence[Sequence[KeptFeatures]]) -> None:
        """`kept` holds for each lesson one of each encoder."""
        self._cache, self._kept = cache, tuple(tuple(one) for one in kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, place: int) -> tuple[Features, ...]:  # type: ignore[override]
        """LibraryError where a file is gone or damaged since it was made."""
        return tuple(self._cache.read(one) for one in self._kept[place])


def feature_key(encoder: SoundEncoder, row: Song) -> str:
    """A name made of the song's sound and the encoder; SourceError where the sound cannot be read."""
    return hashlib.sha256(f"{FORMAT} {row.sound_hash} {encoder.key}".encode()).hexdigest()[:32]


def _audio(row: Song) -> Audio:
    sound = sound_of(row)
    return sound.audio if isinstance(sound, Take) else sound


def _digest(values: Tensor) -> str:
    digest = hashlib.blake2b(f"{values.dtype} {tuple(values.shape)}".encode(), digest_size=16)
    digest.update(values.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


# -- models ------------------------------------------------------------------------------------------------------------


def _is_hubert(config: Any) -> bool:
    """Whether a config is of the kinds that hear 16 kHz and have no word for it."""
    return any(kind in str(getattr(config, "model_type", "")) for kind in ("hubert", "wav2vec2", "wavlm", "data2vec"))


def _weights_mark(model: nn.Module) -> str:
    """A digest of all weights of a model, by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _put(samples: Tensor, model: Any) -> Tensor:
    """Sound where a model is, in what it computes in."""
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return samples if first is None else samples.to(first.device, first.dtype)


@contextmanager
def _judging(model: Any) -> Iterator[None]:
    """A model that listens and does not learn; afterwards it is as it was."""
    learning = isinstance(model, nn.Module) and model.training
    if learning:
        model.eval()
    try:
        yield
    finally:
        if learning:
            model.train()


def _two_dimensional(given: Any, name: str) -> Tensor:
    """What a model gave, as `[frames, width]`: a tensor, an array, a tuple's first, or transformers' own output."""
    found = getattr(given, "last_hidden_state", given)
    found = found[0] if isinstance(found, tuple | list) and found else found
    if isinstance(found, np.ndarray):
        found = torch.from_numpy(found)
    if isinstance(found, Tensor) and found.ndim == 3 and len(found) == 1:
        found = found[0]
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.numel() or not found.is_floating_point():
        what = f"a tensor {list(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else shown(found)
        raise RecipeError(f"The encoder {shown(name)} should give features [frames, width], not {what}.")
    return found
