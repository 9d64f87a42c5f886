"""Hostile files: every file the workbench reads, broken in every way, must be a value or a sentence."""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import shutil
import signal
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from acestep_lab import Audio, Library, Plan, Recipe, Take
from acestep_lab.errors import LabError
from acestep_lab.models.adapters import Adapter
from acestep_lab.models.loading import Checkpoint
from acestep_lab.takes.library import read_file
from tests.pretend import tone
from tests.soak import Row
from tests.tiny import tiny_diffusers

JSON = [
    b"", b"{", b"null", b"[]", b'"x"', b"{}", b"\xff\xfe\x00", b"\xef\xbb\xbf{}", b"[" * 60_000, b'{"a":' * 30_000, b"NaN",
    b'{"id": 1e999}', b"9" * 5000, b'"\\ud800"', b"\0" * 4096, json.dumps({"id": "x"}).encode("utf-16"),
]  # fmt: skip
ODD: list[Any] = [
    None,
    3,
    -1,
    1e308,
    10**40,
    "",
    "x" * 5000,
    "../../etc/passwd",
    "\u202e",
    [],
    {},
    [[]],
    True,
    {"a": 1},
]


def take(seed: int) -> Take:
    """A small take over a tone."""
    recipe = Recipe(f"soak {seed}", seconds=1.0, seed=seed)
    return Take(recipe, tone(1.0, seed).on_grid(), np.full((25, 4), seed, np.float32), made_with={"checkpoint": "soak"})


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A file's bytes after an accident: a flip, a cut, a hole, something doubled, or somebody else's text."""
    kind = chance.randrange(6)
    at = chance.randrange(len(data)) if data else 0
    if kind == 0 or not data:
        return chance.choice(JSON)
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    if kind == 3:
        return data[:at] + b"\0" * min(64, len(data) - at) + data[at + 64 :]
    if kind == 4:
        return data[:at] + data[at // 2 :]
    return odd_field(data, chance)


def odd_field(data: bytes, chance: random.Random) -> bytes:
    """JSON with one value, somewhere inside, replaced by an odd one; other files with random bytes in their head."""
    try:
        story = json.loads(data)
    except ValueError:
        return chance.randbytes(16) + data[16:]
    place: Any = story
    while isinstance(place, dict | list) and place:
        key = chance.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.4:
            place[key] = chance.choice(ODD)
            break
        place = place[key]
    return json.dumps(story).encode()


LONGEST = 30.0
"""Seconds after which a question counts as one that hangs."""


class Hangs(Exception):
    """Something took longer than `LONGEST`."""


@contextmanager
def limited(seconds: float = LONGEST) -> Iterator[None]:
    """Raise Hangs where what is inside takes longer; what no signal ends shows its stack and ends the soak."""

    def stop(*_: object) -> None:
        raise Hangs(f"no answer in {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(3 * seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def answers(ask: Callable[[], object]) -> str:
    """ "" where it was a value or a sentence; else what came instead."""
    try:
        with warnings.catch_warnings(), limited():
            warnings.simplefilter("ignore")
            ask()
    except LabError as error:
        return "" if 0 < len(str(error)) <= 300 else f"a sentence of {len(str(error))} characters"
    except Exception as error:  # noqa: BLE001 - whatever else comes is what is being looked for
        return f"{type(error).__name__}: {error}"
    return ""


def trial(seconds: float, seed: int, folder: Path) -> list[Row]:
    """Break library files, sound files, checkpoints and adapters until the time is over."""
    parts = [a_library, sounds, checkpoints, adapters, values]
    return [part(seconds / len(parts), random.Random(seed), folder / part.__name__) for part in parts]


def a_library(seconds: float, chance: random.Random, folder: Path) -> Row:
    """One broken file in a library costs at most its own take: all others are listed, found and opened."""
    row = Row("a file of a kept take broken: the others list, search and open")
    whole = Library(folder / "whole")
    kept = [take(n) for n in range(3)]
    for one in kept:
        whole.keep(one)
        whole.mark(one.id, star=True)
    whole.close()
    end = time.monotonic() + seconds
    while time.monotonic() < end or row.tried < 10:
        place = folder / f"try{row.tried}"
        shutil.copytree(folder / "whole", place)
        for index in place.glob(".index*") if chance.random() < 0.7 else []:
            index.unlink()
        victim = chance.choice(kept)
        file = chance.choice(sorted(place.glob(f"{victim.id}*")))
        spoil(file, chance)
        row.count(*survives(place, kept, victim, file.name))
        shutil.rmtree(place, ignore_errors=True)
    return row


def spoil(file: Path, chance: random.Random) -> None:
    """Break a file, or put a folder or a pipe where it was."""
    data = file.read_bytes()
    kind = chance.random()
    if kind < 0.1:
        file.unlink()
        file.mkdir()
    elif kind < 0.2:
        file.unlink()
        os.mkfifo(file)
    else:
        file.write_bytes(mutated(data, chance))


def survives(place: Path, kept: list[Take], victim: Take, broken: str) -> tuple[bool, str]:
    others = {one.id for one in kept if one.id != victim.id}
    library = None
    try:
        with limited():
            library = Library(place)
            listed = set(library.ids())
            if not others <= listed:
                return False, f"{broken}: {others - listed} not listed"
            library.cards("soak")
            library.rebuild()
            for name in others:
                if library.open(name).audio != next(one for one in kept if one.id == name).audio:
                    return False, f"{broken}: {name} opens as something else"
    except Exception as error:  # noqa: BLE001 - whatever comes is what is being looked for
        return False, f"{broken}: {type(error).__name__}: {error}"
    found = answers(lambda: opened(library, victim))
    library.close()
    return not found, f"{broken}: {found}"


def opened(library: Library, victim: Take) -> None:
    """The broken take itself: a sentence, or the very take; never another sound under its name."""
    again = library.open(victim.id)
    assert again.audio == victim.audio, "another sound under its name"
    assert again.latent.size == 0 or (again.latent == victim.latent).all(), "another latent under its name"


def sounds(seconds: float, chance: random.Random, folder: Path) -> Row:
    """Sound files with broken bytes and lying headers."""
    row = Row("a sound file broken or lying: a sound of bounded size, or a sentence")
    folder.mkdir(parents=True)
    originals = []
    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = tone(1.0).write(folder / f"tone.{suffix}")
        originals.append((suffix, path.read_bytes()))
    library = Library(folder / "library")
    originals.append(("flac", library.keep(take(1)).read_bytes()))
    end = time.monotonic() + seconds
    while time.monotonic() < end or row.tried < 20:
        suffix, data = chance.choice(originals)
        file = folder / f"broken.{suffix}"
        file.write_bytes(bomb(chance) if chance.random() < 0.15 else mutated(data, chance))
        found = answers(lambda file=file: bounded(Audio.read(file))) or answers(lambda file=file: read_file(file))
        row.count(not found, found)
    return row


def bounded(audio: Audio) -> None:
    assert audio.samples.nbytes < 4 * 2**30
    assert np.isfinite(audio.samples).all()


def bomb(chance: random.Random) -> bytes:
    """A small WAV whose header promises the world."""
    channels, rate = chance.choice([1, 2, 8, 255, 65535]), chance.choice([0, 1, 8000, 44101, 655350, 2**32 - 1])
    size = chance.choice([0, 100, 2**31, 2**32 - 1])
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * channels * 2) % 2**32, (channels * 2) % 65536, 16)
    return b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + b"\0" * 4096  # fmt: skip


def checkpoints(seconds: float, chance: random.Random, folder: Path) -> Row:
    """A checkpoint folder with one broken file opens and builds, or says why not."""
    row = Row("a checkpoint's file broken: it opens and builds, or a sentence")
    whole = tiny_diffusers(folder / "whole")
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    end = time.monotonic() + seconds
    while time.monotonic() < end or row.tried < 10:
        file = chance.choice(files)
        data = file.read_bytes()
        try:
            spoil(file, chance)
            found = answers(lambda: built(Checkpoint.open(str(whole))))
        finally:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
            file.write_bytes(data)
        row.count(not found, f"{file.name}: {found}")
    return row


def built(checkpoint: Checkpoint) -> None:
    for part in checkpoint.parts:
        checkpoint.build(part)
    checkpoint.tokenizer()
    checkpoint.lm_tokenizer()


def adapters(seconds: float, chance: random.Random, folder: Path) -> Row:
    """An adapter's config or weights broken."""
    from safetensors.numpy import save

    row = Row("an adapter's file broken: it opens, or a sentence")
    end = time.monotonic() + seconds
    name = "base_model.model.transformer_blocks.0.attn.to_q"
    weights = save(
        {f"{name}.lora_A.weight": np.ones((2, 8), np.float32), f"{name}.lora_B.weight": np.ones((8, 2), np.float32)}
    )
    config = json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["to_q"]}).encode()
    while time.monotonic() < end or row.tried < 20:
        place = folder / f"try{row.tried}"
        place.mkdir(parents=True)
        (place / "adapter_config.json").write_bytes(config)
        (place / "adapter_model.safetensors").write_bytes(weights)
        spoil(chance.choice(sorted(place.iterdir())), chance)
        found = answers(lambda place=place: Adapter.open(place))
        row.count(not found, found)
        shutil.rmtree(place, ignore_errors=True)
    return row


def values(seconds: float, chance: random.Random, folder: Path) -> Row:
    """Recipes and plans out of mutated JSON."""
    row = Row("a recipe's or a plan's JSON odd: a value or a sentence")
    recipe = Recipe("dub", "la", 4.0, 7, bpm=90, keyscale="C minor", steps=8, guidance_interval=(0.1, 0.9)).to_json()
    plan = Plan(bpm=90, keyscale="C minor", codes=(1, 2, 3), caption="dub", lyrics="la").lock("bpm").to_json()
    end = time.monotonic() + seconds
    while time.monotonic() < end or row.tried < 100:
        kind, data = chance.choice([(Recipe, recipe), (Plan, plan)])
        odd = json.load(io.BytesIO(odd_field(json.dumps(data).encode(), chance)))
        found = answers(lambda kind=kind, odd=odd: kind.from_json(odd))
        row.count(not found, f"{odd}: {found}")
    return row
