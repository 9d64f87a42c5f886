"""Where ACE-Step v1's loop was found to differ from the original's, and which folders its parts were taken for a model in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from acestep_lab.engines.ace_v1 import erg, schedules
from acestep_lab.engines.ace_v1.checkpoint import Checkpoint
from acestep_lab.engines.ace_v1.guidance import Branch, Branches, Guide, Strength
from acestep_lab.engines.ace_v1.loop import Settings, Song, sample
from acestep_lab.engines.ace_v1.regions import extend_window
from acestep_lab.engines.ace_v1.task_rows import TASK_ROWS
from acestep_lab.engines.ace_v1.vocoder import VocoderConfig
from acestep_lab.errors import CheckpointError
from acestep_lab.models.weights import read_config
from acestep_lab.prompt.sampling import FlowSamplingV1
from acestep_lab.prompt.tasks import Cover, Extend, FlowEdit, Repaint, Text2Music
from tests.tiny_v1 import tiny_v1


def test_each_task_is_sampled_as_the_original_samples_it_where_nobody_says_how() -> None:
    assert {TASK_ROWS[kind].sampling.omega for kind in (Text2Music, Cover)} == {10.0}
    assert {TASK_ROWS[kind].sampling.omega for kind in (Repaint, Extend, FlowEdit)} == {0.0}, "plain Euler steps"
    edit = TASK_ROWS[FlowEdit].sampling
    assert (edit.guidance_share, edit.erg_tag, edit.erg_lyric, edit.erg_diffusion) == (1.0, False, False, False)
    assert TASK_ROWS[Repaint].sampling.erg_lyric


@pytest.mark.parametrize(("edits", "heard"), [(True, 0), (False, 3)])
def test_erased_lyrics_are_masked_in_an_edit_and_heard_as_nothing_elsewhere(edits: bool, heard: int) -> None:
    ones = torch.ones(1, 3)
    words = erg.Words(ones[None], ones[None], ones, ones, ones.long(), ones)

    def encode(text: Tensor, text_mask: Tensor, speaker: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return ids, mask

    for lyric, expected in ((False, heard), (True, 3)):
        hearing = erg.null_hearing(False, lyric, edits)
        ids, mask = erg.encoded(encode, words, hearing, torch.nn.Identity(), ())
        assert int(mask.sum()) == expected
        assert int(ids.sum()) == (3 if lyric else 0)


@pytest.mark.parametrize(("before", "after", "longer"), [(30, 0, 0), (0, 30, 0), (0, 30, 1)])
def test_defect_2_the_whole_song_is_in_the_latent_on_whichever_side_it_grows(
    before: int, after: int, longer: int
) -> None:
    source, window = torch.randn(50 + longer, 2), extend_window(50, before, after, most=64)
    whole = window.whole(source, torch.zeros(window.frames, 2))
    assert torch.equal(whole[before : before + 50], source[:50])
    assert len(whole) == 80, "a last frame that the source fills in part is made anew"


def test_the_only_step_of_cfg_star_is_taken_and_not_stood_still_in() -> None:
    how = schedules.decided(FlowSamplingV1(steps=1, guidance="cfg_star", guidance_share=1.0))
    branch = Branches(Branch(2.0), Branch(1.0))
    (step,) = sample([Song(1, 4)], lambda x, t, to: x * to, branch, Settings.of(how), schedules.walk(how))
    assert step.state is not None
    assert not torch.equal(step.state[0], Song(1, 4).start_noise())


def test_momentum_goes_on_at_each_look_of_heun() -> None:
    how = schedules.decided(FlowSamplingV1(steps=4, guidance_scale=2.0, guidance_share=1.0))
    looks = torch.randn(3, 2, 1, 8, 16, 5, generator=torch.Generator().manual_seed(1)) * 0.1
    told = iter(looks.flatten(0, 1))
    guide = Guide(lambda *_: next(told), Branches(Branch(1), Branch(0)), Strength.of(how), schedules.walk(how))
    average = torch.zeros(1, 8, 16, 5)
    for t, (whole, null) in zip(
        (0.9, 0.6, 0.6), looks, strict=True
    ):  # the second look of a step and the first of the next
        average = whole - null - 0.75 * average
        length = average.norm(dim=(-1, -2), keepdim=True)
        push = average * (2.5 / length).clamp(max=1.0)
        along = whole / whole.norm(dim=(-1, -2), keepdim=True)
        push = push - (push * along).sum((-1, -2), keepdim=True) * along
        assert torch.allclose(guide(whole, t), whole + push, atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_v1(tmp_path_factory.mktemp("v1") / "tiny")


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("ace_step_transformer", {"in_channels": 4}, "4 channels"), ("umt5-base", {"d_model": 8}, "different models"),
        ("music_dcae_f8c8", {"latent_channels": 32}, "different models"), ("music_vocoder", {"sampling_rate": 48000}, "48000"),
        ("music_dcae_f8c8", {"encoder_layers_per_block": [10**7]}, "no model is that large"),
    ],
)  # fmt: skip
def test_parts_that_make_no_model_together_are_told_when_the_folder_is_opened(
    folder: Path, tmp_path: Path, part: str, change: dict[str, Any], said: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    file = copy / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError, match=said) as told:
        Checkpoint.open(copy)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("odd", [{"f_min": 1e9}, {"f_max": 30_000.0}, {"n_fft": 10**7}, {"win_length": 4096}])
def test_a_vocoder_without_a_picture_is_a_sentence(odd: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="no such picture"):
        VocoderConfig(**odd)


def test_depths_are_counted_as_layers_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"depths": [3, 10000000]}')
    with pytest.raises(CheckpointError, match="no model is that large"):
        read_config(tmp_path / "config.json")
