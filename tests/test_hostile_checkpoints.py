"""A checkpoint that somebody damaged or made up is opened and built, or refused in one sentence; nothing else happens.

`ACESTEP_MUTATIONS=2000 pytest tests/test_hostile_checkpoints.py` tries more of them and renders with those that still open.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from diffusers import AceStepTransformer1DModel, AutoencoderOobleck
from diffusers.pipelines.ace_step.modeling_ace_step import AceStepAudioTokenizer

from acestep_lab import Recipe, Session
from acestep_lab.errors import CheckpointError, LabError
from acestep_lab.models import geometry
from acestep_lab.models.geometry import Geometry
from acestep_lab.models.loading import Checkpoint

COUNT = int(os.environ.get("ACESTEP_MUTATIONS", "60"))
RENDERS = COUNT > 60

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**9, 10**30, 0.5, -2.5, 1e300, "", "7", "x" * 5000, "\ud800", "auto", [], [0], [-1, 2],
    ["a"], [[1]], [10**12] * 3, list(range(1000)), {}, {"rope_type": "yarn"}, {"a": [{"b": None}]},
]  # fmt: skip


def used(folder: Path) -> list[Path]:
    """The files of a checkpoint, as a render reads them."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "model_index.json")


def a_value(file: Path, dice: random.Random) -> None:
    """Another value, a missing one or one too many in a JSON file."""
    table = json.loads(file.read_text())
    for _ in range(dice.randint(1, 2)):
        key, what = dice.choice(list(table)), dice.randrange(6)
        if what == 0:
            table.pop(key)
        elif what == 1:
            table[dice.choice(["extra", "auto_map", "_attn_implementation", "quantization_config"])] = dice.choice(ODD)
        else:
            table[key] = dice.choice(ODD)
        table = table or {"empty": 1}
    file.write_text(json.dumps(table))


def a_row(file: Path, dice: random.Random) -> None:
    """Another header of a safetensors file."""
    raw = file.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8 : 8 + size])
    key = dice.choice(list(table))
    if isinstance(table[key], dict) and key != "__metadata__" and dice.random() < 0.8:
        what = dice.choice(["shape", "dtype", "data_offsets"])
        table[key][what] = dice.choice([*ODD, [2**62, 4], "F4", "I64", "U8", "F8_E4M3", table[key][what]])
        if dice.random() < 0.3:
            del table[key][what]
    else:
        table[key] = dice.choice(ODD)
    text = json.dumps(table).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


def bytes_changed(file: Path, dice: random.Random) -> None:
    raw = bytearray(file.read_bytes())
    match dice.randrange(5):
        case 0:
            raw = raw[: dice.randrange(len(raw))]
        case 1:
            for _ in range(dice.choice([1, 20])):
                raw[dice.randrange(min(len(raw), 3000))] ^= 1 << dice.randrange(8)
        case 2:
            raw[:8] = dice.choice([2**63, 0, 1, 2**40]).to_bytes(8, "little")
        case 3:
            raw = bytearray(dice.choice([b"[" * 200_000, b'{"a":' * 200_000, b"", b"null", b"[]", b"\x80\x04K\x01."]))
        case _:
            raw = bytearray(raw.decode("latin-1").encode(dice.choice(["utf-8-sig", "utf-16", "utf-32"])))
    file.write_bytes(bytes(raw))


def another_kind_of_file(file: Path, dice: random.Random) -> None:
    file.unlink()
    ways: list[Callable[[], Any]] = [
        lambda: None, file.mkdir, lambda: os.mkfifo(file), lambda: file.symlink_to(file.name), lambda: file.symlink_to("/dev/zero"),
    ]  # fmt: skip
    dice.choice(ways)()


def damage(folder: Path, dice: random.Random) -> Path:
    """Damage one file of a checkpoint; the file comes back."""
    file = dice.choice(used(folder))
    ways = [bytes_changed, another_kind_of_file]
    if file.suffix == ".json" and isinstance(json.loads(file.read_text()), dict):
        ways += [a_value] * 6
    if file.suffix == ".safetensors":
        ways += [a_row] * 4
    dice.choice(ways)(file, dice)
    return file


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(COUNT))
def test_a_damaged_checkpoint_is_built_or_refused_in_a_sentence(
    seed: int, tiny_turbo: Path, tiny_original_base: Path, tmp_path: Path
) -> None:
    dice = random.Random(seed)
    folder = Path(shutil.copytree(dice.choice([tiny_turbo, tiny_original_base]), tmp_path / "odd"))
    file = damage(folder, dice)
    with suppress(LabError):
        checkpoint = Checkpoint.open(folder)
        assert checkpoint.sizes(2)
        for component in checkpoint.components:
            places = {checkpoint.places[component], checkpoint.places["codes_back"]} if component == "codes" and "codes_back" in (
                checkpoint.places) else {checkpoint.places[component]}  # fmt: skip
            if file.parent in places:
                assert checkpoint.build(component) is not None
        assert checkpoint.tokenizer()("a")["input_ids"]
        assert checkpoint.lm_tokenizer()("a")["input_ids"]
        if RENDERS:
            with Session.open(folder, library=tmp_path / "takes") as lab:
                lab.make(Recipe("dub", "[verse]\nla", seconds=1.0, steps=2, thinking=False))


@pytest.mark.parametrize(
    "name", ["transformer", "vae", "audio_tokenizer", "audio_token_detokenizer", "condition_encoder"]
)
def test_what_was_saved_as_null_is_the_default(name: str, tiny_turbo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_turbo, tmp_path / "saved"))
    config = json.loads((folder / name / "config.json").read_text())
    config |= {key: None for key in ("layer_types", "model_version", "rope_theta") if key in config}
    (folder / name / "config.json").write_text(json.dumps(config))
    component = {"transformer": "dit", "vae": "vae", "condition_encoder": "condition"}.get(name, "codes")
    assert Checkpoint.open(folder).build(component) is not None


def test_codes_left_as_null_are_those_of_diffusers(tiny_turbo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_turbo, tmp_path / "saved"))
    file = folder / "audio_tokenizer" / "config.json"
    for change in ({"fsq_input_levels": None}, {}):
        config = json.loads(file.read_text()) | change
        if not change:
            del config["fsq_input_levels"]
        file.write_text(json.dumps(config))
        assert Checkpoint.open(folder).geometry.code_count == 8 * 8 * 8 * 5 * 5 * 5
    file.write_text(json.dumps(config | {"fsq_input_levels": ["8", 5]}))
    with pytest.raises(CheckpointError, match="audio codes has '8' for fsq_input_levels"):
        Checkpoint.open(folder)


def test_the_defaults_are_those_of_diffusers_classes() -> None:
    vae = inspect.signature(AutoencoderOobleck.__init__).parameters
    for name in ("sampling_rate", "audio_channels", "decoder_input_channels"):
        assert vae[name].default == geometry.DEFAULTS[name]
    assert tuple(vae["downsampling_ratios"].default) == geometry.RATIOS
    assert inspect.signature(AceStepTransformer1DModel.__init__).parameters["patch_size"].default == 2
    assert inspect.signature(AceStepAudioTokenizer.__init__).parameters["pool_window_size"].default == 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert AceStepAudioTokenizer(fsq_dim=6).config.fsq_input_levels is None
    assert Geometry.read({}, {}, {}, 600.0).code_count == 64_000
    assert Geometry.read({}, {}, {}, 600.0).hop == 2048


@pytest.mark.parametrize(
    "asked", [5, None, b"pocket", "", "  ", "\0", "x" * 5000, "a/" * 3000, ["pocket"], "~nobody-here/x", "../" * 50]
)
def test_what_is_no_name_of_a_checkpoint_is_a_sentence(asked: Any) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.open(asked)


def test_a_damaged_neighbour_does_not_close_a_published_checkpoint(tiny_original_turbo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_original_turbo, tmp_path / "models"))
    (folder / "another").mkdir()
    (folder / "another" / "config.json").write_text("{")
    assert Checkpoint.open(folder).components == Checkpoint.open(tiny_original_turbo).components
    (folder / "acestep-v15-turbo" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"acestep-v15-turbo/config\.json is not JSON"):
        Checkpoint.open(folder)


def test_a_pipe_among_a_tokenizers_files_is_not_waited_for(tiny_turbo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_turbo, tmp_path / "odd"))
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    os.mkfifo(folder / "tokenizer" / "tokenizer_config.json")
    with pytest.raises(CheckpointError, match=r"tokenizer/tokenizer_config\.json of the tokenizer is no ordinary file"):
        Checkpoint.open(folder).tokenizer()
