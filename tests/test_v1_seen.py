"""ACE-Step v1 as people meet it: settings files of its page, REST, the daemon; on a tiny random checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from acestep_lab._libraries import transformers
from acestep_lab.doctor import checkpoint_files
from acestep_lab.engines.ace_v1.catalog import V1
from acestep_lab.engines.ace_v1.engine import _INT8
from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.offered import OfferedCheckpoint
from acestep_lab.engines.registry import open_engine
from acestep_lab.models.device_manager import DeviceManager
from acestep_lab.models.memory_plan import budget
from acestep_lab.models.tiers import GB, OFFLOAD_LEVELS, Machine
from acestep_lab.prompt import settings
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSamplingV1
from acestep_lab.prompt.tasks import Cover, Extend, FlowEdit, Region, Repaint, Retake, Text2Music
from acestep_lab.serve.backends import Backends
from acestep_lab.serve.daemon import Daemon
from acestep_lab.serve.jsonrpc import RpcError
from acestep_lab.serve.rest_fields import read_request
from acestep_lab.serve.track_cache import TrackCache
from acestep_lab.session import Session
from acestep_lab.takes.library import Library
from acestep_lab.ui.forms import WHOLE, Form
from acestep_lab.ui.prompt_editor import PromptEditorWidget
from acestep_lab.ui.waveform_picker import WaveformPickerWidget
from tests.pretend import tone
from tests.test_daemon import Editor
from tests.test_small_machine import WatchedMover
from tests.tiny_v1 import tiny_v1

WRITTEN: dict[str, Any] = {
    "format": "wav", "lora_name_or_path": "none", "lora_weight": 1, "task": "text2music", "prompt": "dub", "lyrics": "[verse]\nhi",
    "audio_duration": 30.0, "infer_step": 27, "guidance_scale": 15, "scheduler_type": "pingpong", "cfg_type": "cfg_star",
    "omega_scale": 10, "guidance_interval": 0.65, "guidance_interval_decay": 0, "min_guidance_scale": 3, "use_erg_tag": True,
    "use_erg_lyric": False, "use_erg_diffusion": True, "oss_steps": [], "timecosts": {"diffusion": 17.4},
    "actual_seeds": [3299954530], "retake_seeds": [601086915], "retake_variance": 0.2, "guidance_scale_text": 0,
    "guidance_scale_lyric": 0, "repaint_start": 0, "repaint_end": 0, "edit_n_min": 0.6, "edit_n_max": 1.0, "edit_n_avg": 1,
    "src_audio_path": None, "edit_target_prompt": None, "edit_target_lyrics": None, "audio2audio_enable": False,
    "ref_audio_strength": 0.4, "ref_audio_input": None, "audio_path": "./outputs/output.wav",
}  # fmt: skip
"""What the original's page writes beside a song, field for field."""
SOURCE = "take-0123456789abcdef"


def test_a_file_of_the_originals_page_is_understood_to_the_last_field() -> None:
    found = settings.understand(WRITTEN)
    assert found.ignored == ()
    recipe, how = found.recipe, found.recipe.sampling
    assert isinstance(how, FlowSamplingV1)
    assert (recipe.caption, recipe.seconds, recipe.seed, recipe.task) == ("dub", 30.0, 3299954530, Text2Music())
    assert (how.steps, how.solver, how.guidance, how.guidance_share, how.erg_lyric) == (
        27,
        "pingpong",
        "cfg_star",
        0.65,
        False,
    )
    assert how.own_steps is None
    adapted = settings.understand({**WRITTEN, "lora_name_or_path": "someone/rap", "lora_weight": 0.8})
    assert any("someone/rap" in remark and "0.8" in remark for remark in adapted.remarks)


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"task": "retake"}, Retake(SOURCE, 0.2, 601086915)),
        ({"task": "repaint", "repaint_start": 2, "repaint_end": 5}, Repaint(SOURCE, (Region(2, 5),), strength=0.2)),
        ({"task": "extend", "repaint_start": -3, "repaint_end": 38.0}, Extend(SOURCE, 3.0, 8.0)),
        ({"task": "edit"}, FlowEdit(SOURCE, n_min=0.6)),
        ({"audio2audio_enable": True}, Cover(SOURCE, noise_strength=0.4)),
        ({"task": "audio2audio"}, Cover(SOURCE, noise_strength=0.4)),
    ],
)  # fmt: skip
def test_each_task_of_such_a_file_is_the_one_it_means_and_asks_for_its_sound(changes: Any, task: Any) -> None:
    found = settings.understand({**WRITTEN, **changes}, source=SOURCE).recipe
    assert found.task == task
    if changes.get("task") in ("repaint", "extend", "edit"):
        assert found.seconds is None, "the source says how long it is"
    without = {**WRITTEN, **changes, "ref_audio_input": "gone.wav"}
    if changes.get("task", "") not in ("audio2audio", ""):
        with pytest.raises(settings.RecipeError, match="name no sound"):
            settings.understand(without)


@pytest.mark.parametrize(
    ("body", "task"),
    [
        ({"task": "retake", "retake_variance": 0.2, "retake_seeds": [7]}, Retake(SOURCE, 0.2, 7)),
        ({"task_type": "extend", "left_extend_length": 3, "right_extend_length": 4}, Extend(SOURCE, 3.0, 4.0)),
        ({"task_type": "extend", "repaint_start": -2, "repaint_end": 33, "audio_duration": 30}, Extend(SOURCE, 2.0, 3.0)),
        ({"task_type": "extend"}, Extend(SOURCE, 0.0, 8.0)),
        ({"task_type": "edit", "edit_n_min": 0.2, "edit_n_max": 0.4}, FlowEdit(SOURCE, "", "", 0.2, 0.4)),
        ({"audio2audio_enable": True, "ref_audio_strength": 0.3}, Cover(SOURCE, noise_strength=0.3)),
    ],
)  # fmt: skip
def test_rest_takes_the_tasks_of_the_original_by_its_names(body: dict[str, Any], task: object) -> None:
    (recipe,) = read_request({"prompt": "dub", "src_audio_path": SOURCE, "batch_size": 1, **body}).recipes
    assert recipe.task == task


def test_rest_takes_the_knobs_of_the_original_and_the_checkpoint_by_each_of_its_names() -> None:
    body = {
        "prompt": "dub", "infer_step": 27, "scheduler_type": "pingpong", "cfg_type": "cfg_star", "omega_scale": 5,
        "guidance_interval": 0.3, "guidance_scale": 0, "use_erg_tag": False, "oss_steps": "2,9,16", "manual_seeds": "7,8",
    }  # fmt: skip
    for name in ("ace-step-v1", "acestep/ace-step-v1", "ACE-Step/ACE-Step-v1-3.5B", "ACE-Step-v1-3.5B"):
        found = read_request({**body, "model": name}, models=("pocket", "ace-step-v1"))
        assert found.model == "ace-step-v1"
    assert [one.seed for one in found.recipes] == [7, 8]
    assert found.recipes[0].sampling == FlowSamplingV1(
        steps=27, solver="pingpong", guidance="cfg_star", omega=5.0, guidance_share=0.3, guidance_scale=0.0, erg_tag=False,
        own_steps=(2, 9, 16),
    )  # fmt: skip


class Shelf:
    """Two families of ACE-Step in a catalog; which checkpoints are on this machine is up to the test."""

    def __init__(self, *here: str) -> None:
        self.here = here

    def __call__(self) -> list[OfferedCheckpoint]:
        rows = (("pocket", "ace-step-1.5"), ("turbo", "ace-step-1.5"), ("ace-step-v1", "ace-step-v1"))
        return [
            OfferedCheckpoint(name, family, "MIT", "" if name in self.here else f"{name} is not here; fetch it.")
            for name, family in rows
        ]


class Desk:
    """What the backends need of a session: which checkpoints are open."""

    def __init__(self, name: str) -> None:
        self.name, self.checkpoints, self.adapters = name, (name,), ()

    def capabilities_of(self, checkpoint: str) -> Any:
        family = "ace-step-v1" if "v1" in checkpoint else "ace-step-1.5"
        return type("Can", (), {"family": family})()

    def use(self, checkpoint: str) -> None:
        self.checkpoints = (*self.checkpoints, checkpoint)


@pytest.mark.parametrize(
    ("opened", "here", "asked", "gets"),
    [
        ("pocket", ("pocket", "turbo", "ace-step-v1"), "ace-step", "ace-step-v1"),
        ("pocket", ("pocket", "turbo"), "ace-step", "turbo"),
        ("pocket", ("pocket",), "ace_step", "pocket"),
        ("turbo", ("pocket", "turbo", "ace-step-v1"), "ace-step", "turbo"),
        ("turbo", ("pocket", "turbo", "ace-step-v1"), "ace-step-v1", "ace-step-v1"),
        ("ace-step-v1", ("pocket", "turbo", "ace-step-v1"), "ace-step-1.5", "turbo"),
        ("pocket", ("pocket", "turbo", "ace-step-v1"), "ACE-Step/ACE-Step-v1-3.5B", "ace-step-v1"),
        ("pocket", ("pocket", "turbo"), None, "pocket"),
    ],
)
def test_ace_step_is_v1_where_it_is_installed_and_each_family_can_be_named(
    opened: str, here: tuple[str, ...], asked: str | None, gets: str
) -> None:
    desk: Any = Desk(opened)
    backend, checkpoint = Backends(desk, catalog=Shelf(*here)).choose(asked)
    assert checkpoint == gets
    assert checkpoint in desk.checkpoints
    assert backend == ("ace_step" if asked not in ("ace-step-v1", "ace-step-1.5") else asked.replace("-", "_"))


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("ACE-Step/ACE-Step-v1-3.5B", "MODEL_NOT_FOUND"),
        ("ace-step-v1", "BACKEND_NOT_INSTALLED"),
        ("suno", "INVALID_BACKEND"),
    ],
)
def test_what_is_not_on_this_machine_is_told_by_name(asked: str, name: str) -> None:
    desk: Any = Desk("pocket")
    with pytest.raises(RpcError) as told:
        Backends(desk, catalog=Shelf("pocket")).choose(asked)
    assert told.value.name == name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_v1(tmp_path / "v1")


@pytest.fixture
def lab(folder: Path, tmp_path: Path) -> Iterator[Session]:
    lab = Session.open(folder, library=tmp_path / "takes")
    yield lab
    lab.close()


def failed(editor: Editor) -> str:
    """The code of the track that fails."""
    answer = editor.call("generate", prompt="dub", duration_sec=5, seed=1, inference_steps=1)["result"]
    code: str = editor.told("generation_error", answer["track_id"])["code"]
    return code


def test_an_editor_gets_a_track_of_v1_and_its_errors_by_name(lab: Session, folder: Path, tmp_path: Path) -> None:
    editor = Editor(Daemon(lab, TrackCache(tmp_path / "tracks")))
    asked = {
        "prompt": "dub",
        "duration_sec": 5,
        "seed": 1,
        "inference_steps": 1,
        "backend": "ace-step",
        "scheduler": "pingpong",
    }
    for seconds in (4, 241):
        error = editor.call("generate", **{**asked, "duration_sec": seconds})["error"]
        assert error["data"]["error_code"] == "INVALID_DURATION"
    answer = editor.call("generate", **asked)["result"]
    done = editor.told("generation_complete", answer["track_id"])
    assert (done["sample_rate"], done["duration_sec"], done["seed"]) == (48_000, 5.0, 1)
    assert "v1" in done["model_version"]


@pytest.mark.parametrize(("damage", "code"), [("gone", "MODEL_NOT_FOUND"), ("cut short", "MODEL_LOAD_FAILED")])
def test_weights_that_go_after_opening_are_told_by_name(
    lab: Session, folder: Path, tmp_path: Path, damage: str, code: str
) -> None:
    weights = folder / "ace_step_transformer" / "diffusion_pytorch_model.safetensors"
    if damage == "gone":
        shutil.rmtree(weights.parent)
    else:
        weights.write_bytes(weights.read_bytes()[:5000])
    assert failed(Editor(Daemon(lab, TrackCache(tmp_path / "tracks")))) == code


# -- the form, and memory


def test_the_form_has_its_presets_and_its_own_defaults_and_another_checkpoints_has_not(lab: Session) -> None:
    form = Form.of(lab.capabilities)
    assert form.presets["Fast: 27 steps"] == {"steps": 27}
    assert form.of_task("Cover")["Cover.noise_strength"].default == 0.5
    assert "Cover.strength" not in form.of_task("Cover")
    assert [form.by_name[name].kind for name in ("guidance_share", "guidance_decay")] == ["number", "number"]
    editor = PromptEditorWidget(form=form)
    editor.do_edit("caption", "dub")
    editor.do_preset("Edit: remix")
    shown = editor.draft
    assert (shown["task"], shown["values"]["FlowEdit.n_min"], shown["caption"]) == ("FlowEdit", 0.2, "dub")
    assert "Best: 60 steps" in editor.presets
    editor.adopt(WHOLE)
    assert "Best: 60 steps" not in editor.presets
    assert editor.draft["caption"] == "dub"


def test_what_a_repaint_has_no_use_for_is_neither_shown_nor_sent(lab: Session) -> None:
    picker = WaveformPickerWidget(tone(2.0))
    picker.do_setting("injection", "0.5")
    picker.adopt("", lab.capabilities.fixed)
    assert picker.unused == ["injection", "latent_crossfade"]
    picker.mark([Region(0.5, 1.0)])
    assert "injection" not in picker.code
    picker.adopt("", ())
    assert "injection" in picker.code


def test_the_shares_of_int8_are_those_of_the_published_sizes() -> None:
    with torch.device("meta"):
        sizes = transformers.UMT5Config(
            vocab_size=256_384, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12,
            feed_forward_proj="gated-gelu",
        )  # fmt: skip
        modules = {"dit": AceStepV1Transformer(V1Config()), "text": transformers.UMT5EncoderModel(sizes)}
    for name, module in modules.items():
        layers = {id(one.weight) for one in module.modules() if type(one) is nn.Linear}
        kept = [(one.numel() + 2 * len(one) if id(one) in layers else 2 * one.numel()) for one in module.parameters()]
        whole = 2 * sum(one.numel() for one in module.parameters())
        assert sum(kept) / whole == pytest.approx(_INT8[name], abs=0.005)
        assert whole == V1.sizes[name]


@pytest.mark.parametrize("level", ["in turn", "in turn int8"])
def test_a_take_made_in_turn_is_the_resident_one(folder: Path, tmp_path: Path, level: str) -> None:
    """Load, run, drop: UMT5 and the DiT take turns beside DCAE and vocoder."""
    takes = []
    for name in ("all", level):
        engine = open_engine(folder)
        plan = budget(Machine("cuda", 80 * GB, simulated=True), engine.component_specs(), passes=2)
        way = next(one for one in OFFLOAD_LEVELS if one.name == name)
        devices = DeviceManager(engine.build, replace(plan, level=way, dtype="float32"), WatchedMover)
        with Session(engine, library=Library(tmp_path / name), devices=devices) as lab:
            takes.append(lab.make(Recipe("dub", seconds=1, steps=2, seed=1)).latent)
            assert devices.mover.peak == (3 if name == "all" else 2)
    if level == "in turn":
        assert np.array_equal(*takes)
    else:
        assert 0 < float(np.abs(takes[0] - takes[1]).max()) < 0.1 * float(np.abs(takes[0]).max())


def test_the_doctor_says_what_a_checkpoint_lacks_to_sing(folder: Path, tmp_path: Path) -> None:
    wordless = tiny_v1(tmp_path / "wordless", words=False)
    said = {one: [row for row in checkpoint_files(one) if row.name == "lyrics"] for one in (folder, wordless)}
    assert said[folder] == []
    (row,) = said[wordless]
    assert (row.state, "vocab.json" in row.message) == ("warn", True)
