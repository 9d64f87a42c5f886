"""An adapter is taught by the published formula, from words that inference hears, and interrupted without a trace."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from acestep_lab import Recipe, Session
from acestep_lab.engines.ace15 import attention, training
from acestep_lab.engines.base import Lesson
from acestep_lab.errors import MachineError, RecipeError, Stopped
from acestep_lab.takes.library import Library
from acestep_lab.train.cache import Kept, LessonCache
from acestep_lab.train.dataset import Dataset
from acestep_lab.train.lora import HeldOut, Learnt, LoraConfig, Trainer, _generator, batched
from acestep_lab.train.rows import recipe_of
from tests.closeness import assert_near
from tests.opening import prepared

QUICK = LoraConfig(rank=2, steps=6, learning_rate=1e-2, warm_up=0, seed=3)


@pytest.fixture(scope="module")
def turbo(tiny_original_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_turbo, library=Library(tmp_path_factory.mktemp("turbo"))) as lab:
        yield lab


@pytest.fixture(scope="module")
def base(tiny_original_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session.open(tiny_original_base, library=Library(tmp_path_factory.mktemp("base"))) as lab:
        yield lab


def lesson(frames: int = 40, tokens: int = 7, seed: int = 0, width: int = 32, channels: int = 8) -> Lesson:
    """A lesson of noise, in the tiny checkpoints' shapes."""
    draw = torch.Generator().manual_seed(seed)
    context = torch.cat([torch.zeros(frames, channels), torch.ones(frames, channels)], dim=-1)
    return Lesson(
        torch.randn(frames, channels, generator=draw), torch.randn(tokens, width, generator=draw),
        torch.randn(1, width, generator=torch.Generator().manual_seed(99)), context,
    )  # fmt: skip


LESSONS = [lesson(seed=seed, tokens=5 + seed) for seed in range(4)]


def trainer(lab: Session, config: LoraConfig = QUICK, **how: Any) -> Trainer:
    return Trainer(lab.engine, how.pop("lessons", LESSONS), config, **how)  # type: ignore[arg-type]


def gradients(one: Trainer) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in one.parameters.items() if weight.grad is not None}


# -- what is learnt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["turbo", "base"])
def test_a_lessons_words_are_those_that_a_render_hears_bit_for_bit(
    kind: str, turbo: Session, base: Session, tmp_path: Path
) -> None:
    lab = {"turbo": turbo, "base": base}[kind]
    take = lab.make(Recipe("a slow dub", "[verse]\nwarm bass", seconds=2, seed=4, bpm=120, keyscale="C major"))
    row, cache = Dataset.of_takes([take])[0], LessonCache(tmp_path)
    (ready,) = prepared(lab, recipe_of(row, row.seconds))
    with Session.open(lab.engine.checkpoint.folder) as fresh:  # which has read nothing yet
        (kept,) = cache.make(fresh.engine, [row])  # type: ignore[arg-type]
    assert isinstance(kept, Kept)
    found = cache.find(kept.key)
    assert found is not None
    assert torch.equal(found.states, ready.conditions[0].states[0].float())
    assert torch.equal(found.context, ready.spec.context.latents.float())
    assert torch.equal(found.target, torch.tensor(take.latent))


def test_the_loss_is_the_published_formula(base: Session) -> None:
    config = QUICK.replace(dropout=0.0)
    one = trainer(base, config)
    place = one._places(0)[0]
    told = one.one_pass()
    draw = _generator(config.seed, 1)
    t, noise = base.engine.draw_times(1, draw), torch.randn(1, 40, 8, generator=draw)  # type: ignore[attr-defined]
    heard = LESSONS[place]
    dit = base.engine.checkpoint.build("dit", torch.float32).eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        x = t * noise + (1 - t) * heard.target
        v = dit(x, t, t, heard.states[None], heard.context[None], return_dict=False)[0]
        bare = (v - (noise - heard.target)).square().mean()
    assert_near(torch.tensor(told), bare, 1e-4)


def test_padding_is_never_heard(base: Session) -> None:
    one = trainer(base)
    short, long = lesson(tokens=3, seed=1), lesson(tokens=20, seed=2)
    t, noise, none = torch.tensor([0.6]), torch.randn(1, 40, 8), torch.tensor([False])
    alone = one._errors(batched([short]), t, noise, none)
    both = one._errors(batched([short, long]), t.repeat(2), noise.repeat(2, 1, 1), none.repeat(2))
    assert_near(both[0].detach(), alone[0].detach(), 1e-5)


def test_lessons_of_other_lengths_are_cut_and_crops_begin_at_the_start() -> None:
    batch = batched([lesson(40, seed=1), lesson(30, seed=2)])
    assert batch.target.shape[1] == 30
    assert torch.equal(batched([lesson(40, seed=1)], 10).target[0], lesson(40, seed=1).target[:10])


def test_songs_of_any_length_can_be_learnt(turbo: Session) -> None:
    one = trainer(turbo, QUICK.replace(steps=2), lessons=[lesson(41), lesson(7)])
    assert len(list(one.run())) == 2


def test_a_dropped_lesson_hears_nothing_asked(base: Session) -> None:
    batch = batched(LESSONS[:2])
    states, _ = batch.heard(torch.tensor([True, False]))
    assert torch.equal(states[0], LESSONS[0].null.expand(len(states[0]), -1))
    assert torch.equal(states[1], batch.states[1])


def test_words_are_dropped_only_where_guidance_needs_it(turbo: Session, base: Session) -> None:
    assert trainer(turbo).dropout == 0.0
    assert trainer(base).dropout == training.DROPOUT == 0.15


def test_a_turbo_hears_its_own_times_alone(turbo: Session) -> None:
    found = turbo.engine.draw_times(4000, torch.Generator().manual_seed(1))  # type: ignore[attr-defined]
    values, counts = found.unique(return_counts=True)
    assert len(values) == 8
    assert found.mean() == pytest.approx(0.74, abs=0.02)
    assert counts.min() > 400


def test_other_checkpoints_hear_the_larger_of_two_draws(base: Session) -> None:
    found = base.engine.draw_times(40_000, torch.Generator().manual_seed(1))  # type: ignore[attr-defined]
    assert found.mean() == pytest.approx(0.535, abs=0.005)
    assert (found > 0.8).float().mean() == pytest.approx(0.073, abs=0.006)


def test_every_song_is_heard_before_any_comes_again(base: Session) -> None:
    one = trainer(base, QUICK.replace(batch=3))
    heard = [place for turn in range(8) for place in one._places(turn)]
    assert all(sorted(heard[at : at + 4]) == [0, 1, 2, 3] for at in range(0, 24, 4))


# -- how it is learnt --------------------------------------------------------------------------------------------------

CONFIGS = {
    "lora": QUICK,
    "rslora, mlp, average": QUICK.replace(kind="rslora", targets=("attention", "mlp"), ema=0.5),
    "dora, batch": QUICK.replace(kind="dora", batch=2, accumulation=2, adapter_dropout=0.2),
    "lokr, the best": QUICK.replace(kind="lokr", patience=3, held_out_every=1),
    "prodigy": QUICK.replace(optimiser="prodigy"),
    "schedule-free": QUICK.replace(optimiser="schedule_free", patience=3, held_out_every=1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_interrupted_is_uninterrupted(base: Session, name: str) -> None:
    config, held_out = CONFIGS[name], [lesson(seed=9)]
    whole = trainer(base, config, held_out=held_out)
    for _ in whole.run():
        pass
    first = trainer(base, config, held_out=held_out)
    for event in first.run():
        if isinstance(event, Learnt) and event.step == 3:
            break
    second = trainer(base, config, held_out=held_out)
    second.load_state(first.state())
    for _ in second.run():
        pass
    there, here = whole.adapter_state(), second.adapter_state()
    assert whole.step == second.step
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in there)


def test_a_stop_in_the_middle_of_a_step_makes_none_of_it(base: Session) -> None:
    one, calls = trainer(base, QUICK.replace(accumulation=3)), []

    def check() -> None:
        calls.append(one.step)
        if len(calls) == 5:
            raise Stopped("stopped")

    with pytest.raises(Stopped):
        list(one.run(check))
    assert one.step == 1


def test_it_learns_what_it_hears(base: Session) -> None:
    one = trainer(
        base, QUICK.replace(steps=30, rank=8, dropout=0.0, held_out_every=30), held_out=LESSONS[:2], lessons=LESSONS[:2]
    )
    judged = [event for event in one.run() if isinstance(event, HeldOut)]
    assert judged[-1].total < 0.97 * judged[0].total


def test_a_new_adapter_changes_nothing(base: Session) -> None:
    one = trainer(base)
    bare = base.engine.training_module(torch.float32)  # type: ignore[attr-defined]
    heard = batched(LESSONS[:1])
    args = (heard.target, torch.tensor([0.5]), heard.states, heard.context)
    with torch.no_grad():
        assert torch.equal(
            attention.velocity(one.module, *args, mask=heard.mask), attention.velocity(bare, *args, mask=heard.mask)
        )


def test_checkpointing_keeps_half_and_gives_the_same_gradients(base: Session) -> None:
    kept = {}
    for again in (False, True):
        one, seen = trainer(base, QUICK.replace(gradient_checkpointing=again)), [0]

        def pack(tensor: Tensor, seen: list[int] = seen) -> Tensor:
            seen[0] += tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            one.one_pass()
        kept[again] = seen[0], gradients(one)
    assert kept[True][0] < 0.5 * kept[False][0]
    for name, found in kept[False][1].items():
        assert_near(kept[True][1][name], found, 1e-5)


def test_accumulation_is_the_mean_of_its_passes(base: Session) -> None:
    singles = []
    for turn in range(2):
        one = trainer(base)
        one._pass(turn)
        singles.append(gradients(one))
    both = trainer(base, QUICK.replace(accumulation=2))
    both._pass(0)
    both._pass(1)
    for name, found in gradients(both).items():
        assert_near(found, (singles[0][name] + singles[1][name]) / 2, 1e-5)


def test_an_average_follows_slowly(base: Session) -> None:
    one = trainer(base, QUICK.replace(ema=0.75))
    before = {name: weight.detach().clone() for name, weight in one.parameters.items()}
    next(one.run())
    for name, weight in one.parameters.items():
        assert_near(one._average[name], 0.75 * before[name] + 0.25 * weight.detach(), 1e-6)


def test_a_frozen_base_in_half_precision_teaches_a_whole_adapter(base: Session) -> None:
    one = trainer(base, QUICK.replace(steps=2), dtype=torch.bfloat16)
    losses = [event.loss for event in one.run() if isinstance(event, Learnt)]
    assert {weight.dtype for weight in one.parameters.values()} == {torch.float32}
    assert {w.dtype for n, w in one.module.named_parameters() if n not in one.parameters} == {torch.bfloat16}
    assert all(loss == loss for loss in losses)


def test_it_ends_when_nothing_gets_better_and_keeps_the_best(base: Session) -> None:
    config = QUICK.replace(steps=50, held_out_every=1, patience=2, learning_rate=1.0, clip=1e6)
    one = trainer(base, config, held_out=[lesson(seed=9)])
    judged = [event for event in one.run() if isinstance(event, HeldOut)]
    assert one.step < 50
    best = min(judged, key=lambda event: event.total)
    kept = one.adapter_state()
    again = trainer(base, config.replace(steps=max(1, best.step)), held_out=[lesson(seed=9)])
    if best.step:
        list(again.run())
    then = {name.replace(".trained", ""): weight.detach() for name, weight in again.parameters.items()}
    assert best.step > 0 or all(not weight.any() for name, weight in kept.items() if "lora_B" in name)
    assert best.step == 0 or all(torch.equal(kept[name], then[name]) for name in kept)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_names_the_song_and_keeps_the_last_good(base: Session) -> None:
    broken = replace(lesson(seed=8), target=torch.full((40, 8), torch.nan))
    one = trainer(base, lessons=[*LESSONS, broken], names=["a", "b", "c", "d", "night.flac"])
    with pytest.raises(MachineError, match=r"night\.flac"):
        list(one.run())
    kept = one.adapter_state()
    assert all(torch.isfinite(weight).all() for weight in kept.values())


def test_what_makes_no_sense_is_a_sentence(base: Session) -> None:
    with pytest.raises(RecipeError, match="A rank of 500"):
        trainer(base, QUICK.replace(rank=500))
    with pytest.raises(RecipeError, match="no lesson"):
        trainer(base, lessons=[])
    for wrong in ({"steps": 0}, {"kind": "loha"}, {"ema": 1.0}, {"targets": "attention"}, {"seed": -1}):
        with pytest.raises(RecipeError):
            QUICK.replace(**wrong)
    with pytest.raises(RecipeError, match="targets"):
        trainer(base, QUICK.replace(targets=("everything",)))


def test_an_optimiser_that_is_not_installed_names_its_package(base: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(MachineError, match="pip install prodigyopt"):
        trainer(base, QUICK.replace(optimiser="prodigy"))


def test_one_song_is_enough(turbo: Session) -> None:
    one = trainer(turbo, QUICK.replace(batch=2), lessons=LESSONS[:1])
    assert [event.step for event in one.run()] == [1, 2, 3, 4, 5, 6]
