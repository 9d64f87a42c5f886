"""Hidden states are drawn towards what a listener hears: by the published formula, resumed exactly, and never without being asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from acestep_lab import Recipe, Session
from acestep_lab._libraries import transformers
from acestep_lab.audio.audio import Audio
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.jobs.training import Loss, TrainingRun
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take
from acestep_lab.train.alignment import Alignment, block_of, resampled
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.lora import HeldOut, Learnt, LoraConfig, Trainer
from acestep_lab.train.loss_history import LossHistory
from acestep_lab.train.repa import FeatureCache, Features, SoundEncoder, encoders_of
from acestep_lab.train.run_folder import RunFolder
from acestep_lab.ui.training_view import TrainingViewWidget
from tests.test_train_lora import LESSONS

QUICK = LoraConfig(rank=2, steps=6, learning_rate=1e-2, warm_up=0, seed=3)
OPTIONS: dict[str, Any] = {"steps": 6, "rank": 2, "warm_up": 0, "learning_rate": 1e-2, "held_out_every": 3, "seed": 3}


@pytest.fixture(scope="module")
def lab(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("library"))) as lab:
        lab.jobs.progress = False
        yield lab


@pytest.fixture(scope="module")
def takes(lab: Session) -> list[Take]:
    return [lab.make(Recipe(f"song {n}", seconds=2 + 0.2 * n, seed=n, steps=1)) for n in range(5)]


@pytest.fixture(scope="module")
def hubert() -> nn.Module:
    """A HuBERT as small as they come: 16 kHz, 50 frames a second, 12 wide."""
    config = transformers.HubertConfig(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model: nn.Module = transformers.HubertModel(config).eval()
    return model


class Levels:
    """A listener without weights, who counts how often it is asked: how loud and how bright each fiftieth of a second is."""

    sample_rate = 8000

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, sound: Tensor) -> Tensor:
        self.asked += 1
        pieces = sound[0, : sound.shape[1] // 160 * 160].reshape(-1, 160)
        return torch.stack([pieces.std(dim=1), pieces.diff(dim=1).std(dim=1), torch.ones(len(pieces))], dim=1)


def heard(lesson_seconds: float, seed: int, width: int = 6) -> tuple[Features, ...]:
    values = torch.randn(round(50 * lesson_seconds), width, generator=torch.Generator().manual_seed(seed))
    return (Features(values, 50.0),)


def alignment(lab: Session, held_out: int = 0) -> Alignment:
    rate = lab.engine.training_rule.frames_per_second  # type: ignore[attr-defined]
    songs = [heard(len(one.target) / rate, seed) for seed, one in enumerate(LESSONS)]
    return Alignment(("ear",), ("mark",), (6,), songs, songs[:held_out])


def trainer(lab: Session, config: LoraConfig = QUICK, **how: Any) -> Trainer:
    how.setdefault("alignment", alignment(lab))
    return Trainer(lab.engine, LESSONS, config, **how)  # type: ignore[arg-type]


# -- the loss ----------------------------------------------------------------------------------------------------------


def test_the_alignment_is_the_published_formula(lab: Session) -> None:
    one = trainer(lab)
    (event,) = [event for event in trainer(lab, QUICK.replace(steps=1)).run() if isinstance(event, Learnt)]
    place, seen = one._places(0)[0], []
    block = one.module.layers[one.aligner.block - 1]  # type: ignore[index,union-attr]
    handle = block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    one.one_pass()
    handle.remove()
    ears = one.alignment.lessons[place][0].values  # type: ignore[union-attr]
    found = one.aligner.projectors[0](seen[0].float()).detach()  # type: ignore[union-attr,operator,index]
    long = functional.interpolate(found.transpose(1, 2), size=len(ears), mode="linear", align_corners=False)
    wanted = functional.cosine_embedding_loss(long[0].T, ears, torch.ones(len(ears)))
    assert event.alignment == pytest.approx(float(wanted), rel=1e-4)


def test_a_token_that_is_partly_padding_is_not_stretched_over_the_song() -> None:
    states = torch.arange(10.0)[:, None]
    assert torch.allclose(resampled(states, 10, 10), states)
    half = resampled(states, 9.5, 19)[:, 0]  # two features a token
    assert float(half[0]) == 0.0
    assert float(half[2]) == pytest.approx(0.75)
    assert float(half.max()) <= 9.0
    assert torch.equal(resampled(states[:1], 0.5, 3), torch.zeros(3, 1))


@pytest.mark.parametrize(
    "more", [{}, {"gradient_checkpointing": True}, {"accumulation": 2, "ema": 0.9, "batch": 2, "crop_seconds": 0.5}]
)
def test_states_come_nearer_and_projectors_learn_under_every_option(lab: Session, more: dict[str, Any]) -> None:
    config = QUICK.replace(steps=16, held_out_every=8, repa_coefficient=2.0, **more)
    one = trainer(lab, config, alignment=alignment(lab, 2), held_out=LESSONS[:2])
    before = {name: weight.detach().clone() for name, weight in one.parameters.items()}
    told = [event.alignment for event in one.run() if isinstance(event, HeldOut)]
    assert told[-1] < told[0]  # type: ignore[operator]
    moved = {name for name, weight in one.parameters.items() if not torch.equal(weight, before[name])}
    assert {name for name in before if name.startswith("repa.")} <= moved
    assert not any(block._forward_hooks for block in one.module.layers)  # type: ignore[union-attr]


def test_checkpointing_and_half_precision_leave_the_gradients(lab: Session) -> None:
    def gradients(config: LoraConfig, dtype: torch.dtype = torch.float32) -> Tensor:
        one = trainer(lab, config, dtype=dtype)
        one.one_pass()
        found = {name: weight.grad for name, weight in one.parameters.items() if weight.grad is not None}
        kept = [found[name].flatten() for name in sorted(found) if dtype == torch.float32 or name.startswith("repa.")]
        return torch.cat(kept)

    whole = gradients(QUICK)
    assert torch.allclose(gradients(QUICK.replace(gradient_checkpointing=True)), whole, atol=1e-6)
    half = gradients(QUICK, torch.bfloat16)  # of the projectors, which stay in float32
    assert functional.cosine_similarity(half, whole[-len(half) :], dim=0) > 0.99


def test_the_adapter_holds_no_projector_and_begins_as_without(lab: Session) -> None:
    with_, without = trainer(lab), trainer(lab, alignment=None)
    assert with_.adapter_state().keys() == without.adapter_state().keys()
    assert all(torch.equal(with_.adapter_state()[name], one) for name, one in without.adapter_state().items())


def test_an_interrupted_one_ends_with_the_same_weights(lab: Session) -> None:
    whole, first, second = (trainer(lab, QUICK.replace(ema=0.5)) for _ in range(3))
    list(whole.run())
    events = first.run()
    while first.step < 3:
        next(events)
    second.load_state(first.state())
    list(second.run())
    assert any(name.startswith("repa.") for name in whole.parameters)
    assert all(torch.equal(one, second.parameters[name]) for name, one in whole.parameters.items())


def test_a_block_beyond_the_model_is_a_sentence_before_any_work(
    lab: Session, takes: list[Take], tmp_path: Path
) -> None:
    assert (block_of(None, 24), block_of(None, 8), block_of(None, 2), block_of(5, 8)) == (8, 4, 1, 5)
    with pytest.raises(RecipeError, match="repa_block is 99, but this model has"):
        trainer(lab, QUICK.replace(repa_block=99))
    with pytest.raises(RecipeError, match="repa_block is 99, but this model has"):
        lab.train(takes, folder=tmp_path / "never", repa=[Levels()], repa_block=99, **OPTIONS)
    assert not (tmp_path / "never").exists()


# -- encoders ----------------------------------------------------------------------------------------------------------


def test_a_transformers_model_tells_its_own_rate_and_is_told_by_its_weights(hubert: nn.Module, tmp_path: Path) -> None:
    (ear,) = encoders_of([hubert])
    assert (ear.rate, ear.width, ear.name) == (16_000, 12, "hubert")
    sound = Audio(np.random.default_rng(1).standard_normal((2, 96_000)).astype(np.float32) * 0.1, 48_000)
    found = ear.features(sound)
    assert found.per_second == pytest.approx(50, rel=0.02)
    hubert.save_pretrained(tmp_path / "ear")  # type: ignore[operator]
    assert encoders_of(str(tmp_path / "ear"))[0].key == ear.key
    with torch.no_grad():
        next(hubert.parameters()).add_(1e-3)
    assert SoundEncoder(hubert).key != ear.key


def test_songs_are_heard_in_chunks_and_nothing_of_the_padding_is_kept() -> None:
    ear = SoundEncoder(Levels(), chunk_seconds=1.0, normalise=False)
    sound = Audio(np.random.default_rng(1).standard_normal(19_200).astype(np.float32) * 0.1, 8000)  # 2.4 s
    found = ear.features(sound)
    assert len(found.values) == 120
    assert float(found.values[:, 0].min()) > 0.05  # no silence was heard
    assert len(found.until(0.5)) == 25


def test_a_song_is_heard_once_and_a_damaged_file_is_made_anew(takes: list[Take], tmp_path: Path) -> None:
    ear, cache, levels = SoundEncoder(levels := Levels()), FeatureCache(tmp_path), levels
    rows = list(Dataset.of_takes(takes[:2]))
    first = list(cache.make(ear, rows))
    asked = levels.asked
    again = list(FeatureCache(tmp_path).make(ear, rows))
    assert levels.asked == asked
    assert [one.key for one in again] == [one.key for one in first]
    file = next(tmp_path.glob("*.features.safetensors"))
    file.write_bytes(file.read_bytes()[:-3])
    assert sum(one.new for one in FeatureCache(tmp_path).make(ear, rows)) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (lambda sound: sound, "rate must be known"),
        (SoundEncoder(lambda sound: sound.mean(), 16_000), r"should give features \[frames, width\]"),
        (SoundEncoder(lambda sound: torch.ones(1, 1, 4), 16_000), "several a second"),
        (SoundEncoder(nn.Linear(3, 3), 16_000), "cannot hear mono sound at 16000 Hz"),
        ("nowhere at all", "no folder of a transformers model"),
        (7, "is a model or a function of sound"),
    ],
)
def test_what_cannot_hear_is_told_before_any_work(lab: Session, takes: list[Take], given: Any, match: str) -> None:
    with pytest.raises(RecipeError, match=match) as told:
        lab.train(takes, repa=[given], **OPTIONS)
    assert len(str(told.value)) < 300


def test_features_that_are_no_numbers_are_refused() -> None:
    broken = SoundEncoder(lambda sound: torch.full((sound.shape[1] // 160, 3), float("nan")), 8000, "broken")
    with pytest.raises(SourceError, match=r"broken.*hears no numbers"):
        broken.features(Audio(np.ones(8000, np.float32), 8000))


def test_a_setting_of_repa_without_an_encoder_is_a_sentence(lab: Session, takes: list[Take]) -> None:
    with pytest.raises(RecipeError, match="hand in an encoder too"):
        lab.train(takes, repa_block=2, **OPTIONS)


# -- a training --------------------------------------------------------------------------------------------------------


def test_a_training_is_aligned_forecast_recorded_and_gone_on_with(
    lab: Session, takes: list[Take], hubert: nn.Module, tmp_path: Path
) -> None:
    ears = [hubert, Levels()]
    plan = lab.train(takes, dry_run=True, repa=ears, **OPTIONS)
    assert "Aligned with hubert and " in str(plan)
    assert plan.projectors > 0
    run = lab.train(takes, folder=tmp_path / "zafu", repa=ears, **OPTIONS)
    folder = run.result()
    assert all(isinstance(one.alignment, float) for one in run.curve)
    assert [one.step for one in run.alignment_curve] == [one.step for one in run.held_out_curve] == [0, 3, 6]
    history = LossHistory.read(folder)
    assert len(history.aligned) == 6
    assert len(history.aligned_held_out) == 3
    told = json.loads((folder / "run.json").read_text())["config"]
    assert len(told["repa"]) == 2
    again = lab.train(takes, folder=folder, repa=ears, **OPTIONS)
    assert again.result() == folder
    assert again.step == 6
    for other in ({"repa": [hubert]}, {}, {"repa": ears, "repa_coefficient": 0.5}):
        with pytest.raises(RecipeError, match="The training there"):
            lab.train(takes, folder=folder, **OPTIONS, **other).result()


def test_without_repa_nothing_is_said_of_it(lab: Session, takes: list[Take], tmp_path: Path) -> None:
    run = lab.train(takes, folder=tmp_path / "plain", **OPTIONS)
    kept = (run.result() / "run.json").read_text() + str(run.to_json()) + repr(QUICK)
    assert "repa" not in kept
    assert "align" not in kept
    assert "aligned" not in json.loads((run.result() / "losses.json").read_text())


def test_a_song_that_an_encoder_cannot_hear_is_left_out_and_named(
    lab: Session, takes: list[Take], tmp_path: Path
) -> None:
    longest = max(len(one.audio.resample(8000).samples[0]) for one in takes)

    def picky(sound: Tensor) -> Tensor:
        found = Levels()(sound)
        return found * float("nan") if sound.shape[1] == longest else found

    run = lab.train(takes, folder=tmp_path / "picky", repa=[SoundEncoder(picky, 8000, mark="picky")], **OPTIONS)
    assert run.result() == tmp_path / "picky"
    assert any("is left out: the encoder" in one for one in run.messages)


def test_curves_of_an_earlier_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "losses.json").write_text('{"learnt": [[1, 0.5]], "held_out": []}')
    found = LossHistory.read(tmp_path).and_of([Loss(2, 0.4, alignment=0.9)])
    assert found.learnt == ((1, 0.5), (2, 0.4))
    assert found.aligned == ((2, 0.9),)
    found.write(tmp_path)
    assert LossHistory.read(tmp_path) == found
    assert RunFolder(tmp_path).folder == tmp_path


def test_the_view_shows_how_it_converges_as_one_more_curve(tmp_path: Path) -> None:
    run = TrainingRun("zafu", 4, 0, 0, tmp_path, 1.0)
    view: Any = TrainingViewWidget(run)
    assert "aligned" not in view.curves
    run.held_out(Loss(0, 2.0, True, {0.3: 2.0}, True, alignment=1.0))
    run.learnt(Loss(1, 0.7, alignment=0.9))
    run.held_out(Loss(1, 1.9, True, {0.3: 1.9}, True, alignment=0.8))
    view._show(run)
    assert view.curves["aligned"] == [[0, 1.0, 0.0], [1, 0.8, 0.0]]
    assert run.to_json()["alignment"] == 0.8


def test_two_lessons_of_one_data_set_are_in_order_whatever_was_read_before(lab: Session, tmp_path: Path) -> None:
    takes = [lab.make(Recipe(f"new {n}", seconds=2 + 0.1 * n, seed=n, steps=1)) for n in range(4)]
    how = {**OPTIONS, "steps": 2, "folder": tmp_path / "order"}
    lab.train(takes, dry_run=True, **how)  # reads the longest one alone
    first = lab.train(takes, **how)
    first.result()
    again = lab.train(takes, **how)  # all of them are at hand now
    assert again.result() == first.result()
