"""ACE-Step v1's sampling: equal to diffusers' schedulers and guidance, and better than the original at its numbered defects.

Defects 1 to 9 of the original pipeline that lie in sampling each have a test with their number in its name. Velocities here are small
formulas; no transformer is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acestep_lab._libraries import diffusers, load
from acestep_lab.diffusion import sampler
from acestep_lab.engines.ace_v1 import erg, schedules, stepping
from acestep_lab.engines.ace_v1.geometry import to_frames, to_image
from acestep_lab.engines.ace_v1.guidance import Branch, Branches, Guide, Strength, apart, cfg, cfg_star
from acestep_lab.engines.ace_v1.loop import Settings, Song, sample
from acestep_lab.engines.ace_v1.regions import extend_window, repaint_mask
from acestep_lab.engines.ace_v1.schedules import (
    EDITING,
    USUAL,
    Walk,
    decided,
    edit_walk,
    repaint_walk,
    source_walk,
    walk,
)
from acestep_lab.engines.step import Step
from acestep_lab.errors import RecipeError, Stopped
from acestep_lab.pipeline.arguments import Model, read
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSampling, FlowSamplingV1, converted, read_sampling
from acestep_lab.prompt.settings import understand
from acestep_lab.prompt.tasks import Region
from acestep_lab.serve.rest_fields import read_request

FRAMES = 6


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Pull:
    """The velocity that leads straight to a latent, each condition to its own; remembers where it was asked."""

    def __init__(self, spin: float = 0.0) -> None:
        self.asked: list[tuple[float, Any]] = []
        self.spin = spin

    def __call__(self, x: Tensor, t: Tensor, condition: Any) -> Tensor:
        assert t.shape == x.shape[:1]
        self.asked.append((float(t[0]), condition))
        straight = (x - condition) / t.view(-1, 1, 1, 1)
        return straight + self.spin * torch.tanh(x.roll(1, -1) + condition)


def heard(whole: Tensor, null: Tensor | None = None, text: Tensor | None = None) -> Branches:
    return Branches(
        Branch(whole), Branch(torch.zeros_like(whole) if null is None else null), None if text is None else Branch(text)
    )


def last(steps: Sequence[Step] | Any) -> Tensor:
    state = list(steps)[-1].state
    assert state is not None
    return state  # type: ignore[no-any-return]


def made(
    how: FlowSamplingV1, songs: Sequence[Song], branches: Branches, velocity: Any, way: Walk | None = None, **more: Any
) -> list[Step]:
    how = decided(how, EDITING if way is not None and way.edit is not None else USUAL)
    return list(sample(songs, velocity, branches, Settings.of(how), walk(how) if way is None else way, **more))


# -- knobs -------------------------------------------------------------------------------------------------------------


def test_flat_knobs_stay_the_first_familys_and_become_v1s_where_that_engine_is() -> None:
    recipe = Recipe("dub", steps=8, guidance_scale=7)
    assert recipe.sampling == FlowSampling(steps=8, guidance_scale=7)
    assert "sampling" not in recipe.to_json()
    assert converted(recipe.sampling, FlowSamplingV1, "v1") == FlowSamplingV1(steps=8, guidance_scale=7)
    assert Recipe("dub", steps=8, omega=5).sampling == FlowSamplingV1(steps=8, omega=5)
    assert converted(FlowSampling(solver="sde"), FlowSamplingV1, "v1") == FlowSamplingV1(solver="pingpong")


@pytest.mark.parametrize("sampling", [
    FlowSamplingV1(), FlowSamplingV1(steps=27), FlowSamplingV1(guidance_share=0.5),
    FlowSamplingV1(solver="pingpong", own_steps=(16, 29, 52), erg_tag=False, guidance="cfg_star"),
])  # fmt: skip
def test_a_recipe_for_v1_comes_back_out_of_its_json_and_its_code(sampling: FlowSamplingV1) -> None:
    recipe = Recipe("dub", sampling=sampling)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert eval(recipe.code(), {"Recipe": Recipe}) == recipe
    assert read_sampling({"kind": "flow-v1", **sampling.to_json()}) == sampling


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: Recipe("dub", omega=3, velocity_clamp=1), "No model has both 'velocity_clamp' and 'omega'.*ACE-Step v1"),
    (lambda: Recipe("dub", omega=3, top_k=1), "No model has both 'top_k' and 'omega'.*MusicGen.*ACE-Step v1"),
    (lambda: converted(FlowSampling(dcw="low"), FlowSamplingV1, "v1"), "v1 has no dcw"),
    (lambda: converted(FlowSamplingV1(omega=1), FlowSampling, "turbo"), "turbo has no omega: that is a knob of ACE-Step v1"),
    (lambda: converted(FlowSampling(solver="dpmpp2m"), FlowSamplingV1, "v1"), "no solver of ACE-Step v1. Known: euler, heun"),
    (lambda: FlowSamplingV1(own_steps=(5, 3)), "counted upwards"),
    (lambda: FlowSamplingV1(steps=201), "between 1 and 200"),
    (lambda: FlowSamplingV1(guidance_share=1.5), "a share between 0 and 1"),
    (lambda: decided(FlowSamplingV1(guidance_scale_text=5)), "both above 1"),
])  # fmt: skip
def test_what_makes_no_sense_for_v1_is_a_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence) as said:
        call()
    assert len(str(said.value)) < 300


def test_parameters_that_the_original_wrote_are_read_as_its_kind() -> None:
    told = {
        "prompt": "dub", "infer_step": 27, "scheduler_type": "heun", "cfg_type": "cfg_star", "omega_scale": 10.0,
        "guidance_interval": 0.4, "guidance_interval_decay": 0.5, "use_erg_lyric": False, "oss_steps": "16,29,52",
    }  # fmt: skip
    assert understand(told).recipe.sampling == FlowSamplingV1(
        steps=27, solver="heun", guidance="cfg_star", omega=10, guidance_share=0.4, guidance_decay=0.5, erg_lyric=False,
        own_steps=(16, 29, 52),
    )  # fmt: skip


def test_the_rest_door_and_the_pipelines_read_its_knobs_by_the_originals_names() -> None:
    body = {
        "prompt": "dub",
        "omega_scale": "10",
        "use_erg_lyric": "false",
        "oss_steps": "16,29",
        "sampler_mode": "pingpong",
    }
    (recipe, *_) = read_request(body, None, models=("v1",)).recipes
    assert recipe.sampling == FlowSamplingV1(omega=10, erg_lyric=False, own_steps=(16, 29), solver="pingpong")
    model = Model("v1", "ace-step-v1", FlowSamplingV1.names(), has_planner=False)
    asked = read({"prompt": "dub", "omega_scale": 10, "scheduler_type": "pingpong", "oss_steps": [16, 29]}, model)
    assert asked.recipes[0].sampling == FlowSamplingV1(omega=10, own_steps=(16, 29), solver="pingpong")
    with pytest.raises(RecipeError, match="v1 has no velocity_clamp"):
        read({"prompt": "dub", "velocity_clamp": 1.0}, model)


# -- equality to diffusers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 27, 60])
@pytest.mark.parametrize("shift", [3.0, 1.7])
def test_the_schedule_is_diffusers_to_the_last_bit(steps: int, shift: float) -> None:
    euler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    heun = diffusers.FlowMatchHeunDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    for scheduler in (euler, heun):
        scheduler.set_timesteps(steps)
    ours = schedules.times(steps, shift)
    assert [*ours, 0.0] == euler.sigmas.tolist()
    twice = [t for index, t in enumerate(ours) for _ in range(2 if index else 1)]
    assert [*twice, 0.0] == heun.sigmas.tolist()


def test_own_steps_are_what_the_original_makes_of_them_with_diffusers() -> None:
    own = (16, 29, 52, 96, 129, 158, 172, 183, 189, 200)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    scheduler.set_timesteps(max(own))
    picked = torch.stack([scheduler.timesteps[index - 1] for index in own])
    scheduler.set_timesteps(sigmas=(picked / 1000).numpy())
    assert [*walk(decided(FlowSamplingV1(own_steps=own))).times, 0.0] == scheduler.sigmas.tolist()


def through(scheduler: Any, velocity: Callable[[Tensor], Tensor], x: Tensor, omega: float = 0.0, **more: Any) -> Tensor:
    """A whole loop of diffusers' scheduler, with omega around each of its steps."""
    for t in scheduler.timesteps:
        step = scheduler.step(velocity(x), t, x, return_dict=False, **more)[0] - x
        mean = step.mean(dim=(1, 2, 3), keepdim=True)
        x = x + (step if omega == 0 else (step - mean) * (0.9 + 0.2 / (1 + math.exp(-0.1 * omega))) + mean)
    return x


def test_euler_steps_are_diffusers_to_the_last_bit() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    scheduler.set_timesteps(9)
    x = theirs = random(2, 8, 16, FRAMES)
    take = stepping.solver("euler")(lambda x, t: torch.sin(x), None)
    times = [*schedules.times(9), 0.0]
    for index, t in enumerate(scheduler.timesteps):
        theirs = scheduler.step(torch.sin(theirs), t, theirs, return_dict=False)[0]
        x, _ = take(index, x, times[index], times[index + 1])
        assert torch.equal(x, theirs)


@pytest.mark.parametrize(("name", "omega"), [("Euler", -30.0), ("Euler", 10.0), ("Heun", 0.0)])
def test_omega_and_heun_are_diffusers_but_for_rounding(name: str, omega: float) -> None:
    """Not 0: theirs recovers the velocity as (x − x0) / t, and omega's step is a difference of two latents."""
    scheduler = getattr(diffusers, f"FlowMatch{name}DiscreteScheduler")(num_train_timesteps=1000, shift=3.0)
    scheduler.set_timesteps(9)
    x = random(1, 8, 16, FRAMES)
    ours = sampler.sample(lambda x, t: torch.sin(x), x, schedules.times(9), solver=stepping.solver(name.lower(), omega))
    assert (last(ours) - through(scheduler, torch.sin, x, omega)).abs().max() < 1e-5


def test_omega_weights_both_looks_of_heun() -> None:
    """Against the original's way: one loop of 2N − 1 looks, every second of which steps again from where the one before began."""
    weight, x = stepping.weight_of(20.0), random(1, 8, 16, FRAMES).double()
    times = [*schedules.times(5), 0.0]
    ours = sampler.sample(lambda x, t: torch.sin(x), x, times[:-1], solver=stepping.solver("heun", 20.0))
    found, begun, first = last(ours), x, x
    for look in range(2 * 5 - 1):
        v, n = torch.sin(x), (look + 1) // 2 - look % 2
        begun, first, mean = (begun, first, (first + v) / 2) if look % 2 else (x, v, v)
        dx = (times[n + 1] - times[n]) * mean
        x = begun + (dx - dx.mean()) * weight + dx.mean()
    assert torch.allclose(found, x, atol=1e-12)


def test_omega_0_is_the_plain_step_and_the_weight_lies_between_a_tenth_less_and_more() -> None:
    found = [stepping.weight_of(omega) for omega in (-100, 0, 10, 20, 100)]
    assert found == pytest.approx([0.9, 1.0, 1.0462, 1.0762, 1.1], abs=1e-4)


def test_pingpong_is_diffusers_stochastic_euler_to_the_last_bit() -> None:
    kind = diffusers.FlowMatchEulerDiscreteScheduler
    scheduler = kind(num_train_timesteps=1000, shift=3.0, stochastic_sampling=True)
    scheduler.set_timesteps(7)
    theirs = random(1, 8, 16, FRAMES)
    generator, noises = torch.Generator().manual_seed(5), []
    again = torch.Generator().manual_seed(5)
    noises = [torch.randn(theirs.shape, generator=again) for _ in range(7)]
    ours = sampler.sample(
        lambda x, t: torch.sin(x), theirs, schedules.times(7), solver=stepping.solver("pingpong", 10.0),
        noise_fn=lambda index: noises[index],
    )  # fmt: skip
    found = last(ours)
    for t in scheduler.timesteps:
        theirs = scheduler.step(torch.sin(theirs), t, theirs, generator=generator, return_dict=False)[0]
    assert torch.equal(found, theirs)


STRENGTH = Strength.of(schedules.USUAL)


def guide(velocity: Any, branches: Branches, way: Walk | None = None, **changes: Any) -> Guide:
    from dataclasses import replace

    return Guide(velocity, branches, replace(STRENGTH, **changes), Walk((1.0, 0.8, 0.6, 0.4)) if way is None else way)


def test_apg_is_diffusers_to_the_last_bit_with_its_momentum() -> None:
    module = load("diffusers.guiders.adaptive_projected_guidance")
    buffer = module.MomentumBuffer(-0.75)
    ours = guide(lambda x, t, condition: torch.sin(x + condition), heard(random(2, 8, 16, FRAMES, seed=1)), share=1.0)
    for index, t in enumerate((1.0, 0.8, 0.6)):
        x, ours.index = random(2, 8, 16, FRAMES, seed=index + 2), index
        theirs = module.normalized_guidance(
            torch.sin(x + ours.branches.whole.condition), torch.sin(x), 14.0, buffer, 0.0, 2.5, True, (-1, -2)
        )
        assert torch.equal(ours(x, t), theirs)


def test_cfg_cfg_star_and_the_double_condition_are_their_formulas() -> None:
    whole, null, text = (random(2, 8, 16, FRAMES, seed=seed) for seed in range(3))
    fit = load("diffusers.guiders.classifier_free_zero_star_guidance").cfg_zero_star_scale(
        whole.flatten(1), null.flatten(1)
    )
    fitted = null * fit[..., None, None]
    assert torch.equal(cfg(whole, null, 7.0), null + 7.0 * (whole - null))
    assert torch.equal(cfg_star(whole, null, 7.0), fitted + 7.0 * (whole - fitted))
    assert torch.equal(apart(whole, text, null, 5.0, 1.5), -4.0 * null + 3.5 * text + 1.5 * whole)


# -- the ten defects ---------------------------------------------------------------------------------------------------


def source_and_goal() -> tuple[Tensor, Tensor, Tensor]:
    """A source as the house has it, what describes it, and the description of where it shall go."""
    source, goal = random(FRAMES, 128, seed=3), random(1, 8, 16, FRAMES, seed=4)
    return source, to_image(source[None]), goal


@pytest.mark.parametrize("solver", ["euler", "heun", "pingpong"])
@pytest.mark.parametrize("n_max", [1.0, 0.5])
def test_defect_1_an_edit_arrives_with_every_solver(solver: str, n_max: float) -> None:
    source, there, goal = source_and_goal()
    how = FlowSamplingV1(steps=6, solver=solver, guidance="none")
    way = edit_walk(decided(how, EDITING), 0.0, n_max, 2)
    found = last(made(how, [Song(1, FRAMES, source=source)], heard(goal), Pull(), way, old=heard(there)))
    assert torch.allclose(found, to_frames(goal), atol=1e-4)


def test_an_edit_between_the_same_words_leaves_the_source_and_one_of_the_presets_moves_it() -> None:
    source, there, goal = source_and_goal()
    song = Song(1, FRAMES, source=source)
    for solver in ("euler", "heun", "pingpong"):
        how = FlowSamplingV1(steps=10, solver=solver)
        way = edit_walk(decided(how, EDITING), *schedules.EDITS["only_lyrics"], 1)
        run = partial(made, how, [song], velocity=Pull(0.1), way=way)
        assert torch.allclose(last(run(branches=heard(there), old=heard(there))), source[None], atol=1e-3)
        steps = run(branches=heard(goal), old=heard(there))
        assert len(steps) == 10
        assert torch.equal(steps[5].state, source[None]), "the first n_min of the steps stand still"  # type: ignore[arg-type]
        assert not torch.allclose(last(steps), source[None], atol=0.1)


@pytest.mark.parametrize(("before", "after"), [(30, 0), (0, 30), (7, 7)])
def test_defect_2_a_song_longer_than_the_model_sees_keeps_all_of_its_source(before: int, after: int) -> None:
    frames, most = 50, 64
    source = random(frames, 128, seed=8)
    window = extend_window(frames, before, after, most)
    assert window.frames == min(most, before + frames + after)
    song = Song(1, window.frames, source=window.source(source), mask=window.mask())
    how = FlowSamplingV1(steps=4)
    made_now = last(made(how, [song], heard(random(1, 8, 16, window.frames)), Pull(), repaint_walk(decided(how), 1.0)))
    whole = window.whole(source, made_now[0])
    assert len(whole) == before + frames + after
    assert torch.equal(whole[before : before + frames], source)
    assert torch.equal(made_now[0][~window.mask()], source[window.first : window.last]), "what is seen is held exactly"
    for part in (whole[:before], whole[before + frames :]):
        assert part.numel() == 0 or part.abs().max() > 0


def test_an_extension_that_no_window_holds_is_refused() -> None:
    for frames, before, after in ((60, 5, 5), (60, 70, 0), (10, 0, 64)):
        with pytest.raises(RecipeError, match="sees 240 s at once"):
            extend_window(frames, before, after, 64)


def test_defect_3_heun_is_guided_in_the_middle_of_its_real_steps_and_counts_them() -> None:
    whole, null = random(1, 8, 16, FRAMES, seed=1), random(1, 8, 16, FRAMES, seed=2)
    velocity, how = Pull(), FlowSamplingV1(steps=8, solver="heun")
    steps = made(how, [Song(1, FRAMES)], heard(whole, null), velocity)
    assert [(step.index, step.steps) for step in steps] == [(index, 8) for index in range(8)]
    assert steps[-1].t == 0.0
    times = schedules.times(8)
    asked = [t for t, condition in velocity.asked if condition is null]
    looks = [t for index in range(2, 6) for t in times[index : index + 2]]
    assert asked == pytest.approx(looks), "both looks of steps 2 to 5, and of no other"
    assert len(velocity.asked) - len(asked) == 2 * 8 - 1


@pytest.mark.parametrize("solver", ["heun", "pingpong"])
def test_defect_3_heun_and_pingpong_really_step_in_a_repaint_and_with_own_steps(solver: str) -> None:
    source = random(FRAMES, 128, seed=5)
    mask = repaint_mask(FRAMES, [Region(0.15, 0.35)])
    assert mask.tolist() == [False, True, True, True, False, False]
    goal = heard(random(1, 8, 16, FRAMES))
    song, found = Song(1, FRAMES, turns=((2, 0.5),), source=source, mask=mask), {}
    for name in ("euler", solver):
        how, velocity = FlowSamplingV1(own_steps=(2, 5, 7, 9), solver=name, guidance="none"), Pull(0.4)
        found[name] = last(made(how, [song], goal, velocity, repaint_walk(decided(how), 0.75)))[0]
        assert len(velocity.asked) == (5 if name == "heun" else 3)
        assert torch.equal(found[name][~mask], source[~mask])
    assert (found["euler"] - found[solver])[mask].abs().max() > 1e-3


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.5, 0.8, 0.99, 1.0])
def test_defect_4_audio2audio_mixes_at_the_time_it_begins(strength: float) -> None:
    source, goal = random(FRAMES, 128, seed=5), random(1, 8, 16, FRAMES)
    how = decided(FlowSamplingV1(steps=20, guidance="none"))
    way, seen = source_walk(how, strength), []

    def velocity(x: Tensor, t: Tensor, condition: Any) -> Tensor:
        seen.append((x, float(t[0])))
        return Pull()(x, t, condition)

    song = Song(1, FRAMES, source=source)
    last(made(how, [song], heard(goal), velocity, way))
    x, t = seen[0]
    assert t == way.times[0]
    assert torch.equal(to_frames(x)[0], sampler.add_noise(source, song.start_noise(), t))
    assert way.steps == max(1, round(20 * (1 - strength)))
    assert way.times == tuple(sorted(way.times, reverse=True))


class Reads(nn.Module):
    """An encoder with one lyric query and a marker of what it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(3, 3, bias=False)

    def encode(
        self, text: Tensor, text_mask: Tensor, speaker: Tensor, ids: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        return torch.cat([speaker, text.flatten(1), self.query(ids.float())], 1), mask


def test_defect_5_the_captions_erg_does_not_hang_on_the_lyrics() -> None:
    model = Reads()
    ones = torch.ones(1, 3)
    words = erg.Words(ones[None], 0.5 * ones[None], ones, ones, ones.long(), ones)
    plain = model.query(ones)

    def found(hearing: erg.Hearing) -> Tensor:
        return erg.encoded(model.encode, words, hearing, model, ["query"])[0][0]

    for tag in (True, False):
        for lyric in (True, False):
            speaker, text, lyrics = found(erg.null_hearing(tag, lyric)).split(3)
            assert speaker.eq(0).all()
            assert text.eq(0.5 if tag else 0.0).all()
            assert torch.allclose(lyrics, plain[0] * (0.01 if lyric else 0.0))
    assert found(erg.text_hearing(True))[3:6].eq(1).all()
    assert torch.equal(found(erg.WHOLE)[6:], plain[0])


def test_erg_leaves_nothing_behind_even_after_an_error() -> None:
    model = Reads()
    with erg.dampened(model, ["query"]):
        assert torch.allclose(model.query(torch.ones(3)), 0.01 * model.query.weight.sum(1))
    with pytest.raises(RuntimeError, match="shape"), erg.dampened(model, ["query"]):
        model.query(torch.ones(4))
    assert torch.allclose(model.query(torch.ones(3)), model.query.weight.sum(1))
    assert not model.query._forward_hooks


@pytest.mark.parametrize("steps", [range(3, 4), range(2, 2), range(5)])
def test_defect_6_decay_over_one_guided_step_is_no_division_by_zero(steps: range) -> None:
    from dataclasses import replace

    strength = replace(STRENGTH, decay=1.0, scale=15.0, smallest=3.0)
    scales = [strength.at(index, steps) for index in steps]
    assert scales == ([15.0, 12.0, 9.0, 6.0, 3.0] if len(steps) == 5 else [15.0] * len(steps))
    assert replace(strength, scale=2.0).at(4, range(5)) == 2.0, "a smallest scale above the scale raises nothing"


@pytest.mark.parametrize("solver", ["euler", "heun", "pingpong"])
def test_defect_7_an_item_of_a_batch_is_the_item_alone(solver: str) -> None:
    how = FlowSamplingV1(steps=5, solver=solver, omega=40, guidance_share=1.0)
    songs = [Song(seed, FRAMES) for seed in (1, 2, 3)]
    targets = random(3, 8, 16, FRAMES, seed=9)
    together = last(made(how, songs, heard(targets), Pull(0.3)))
    for place, song in enumerate(songs):
        alone = last(made(how, [song], heard(targets[place : place + 1]), Pull(0.3)))
        assert torch.equal(together[place], alone[0])
    assert not torch.allclose(together[0], together[1])


def test_defect_8_both_descriptions_of_an_edit_are_guided_with_a_memory_of_their_own() -> None:
    """The same words on both sides cancel at every step, which they would not with momentum on one side only."""
    source, there, _ = source_and_goal()
    how = FlowSamplingV1(steps=6)
    way = edit_walk(decided(how, EDITING), 0.0, 1.0, 1)
    steps = made(how, [Song(1, FRAMES, source=source)], heard(there), Pull(0.5), way, old=heard(there))
    assert all(torch.allclose(step.state, source[None], atol=1e-5) for step in steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", ["euler", "heun", "pingpong"])
def test_defect_9_cfg_star_stands_still_where_guidance_begins(solver: str) -> None:
    whole = random(1, 8, 16, FRAMES, seed=1)
    how = FlowSamplingV1(steps=8, solver=solver, guidance="cfg_star")
    states = [step.state for step in made(how, [Song(1, FRAMES)], heard(whole), Pull(0.2))]
    still = [index for index in range(1, 8) if torch.equal(states[index], states[index - 1])]  # type: ignore[arg-type]
    assert still == [2], "the first guided one of steps 2 to 5"


# -- the loop ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "passes"), [
    ({}, 2), ({"guidance": "none"}, 1), ({"guidance_scale": 0}, 1), ({"guidance_scale": 1}, 1), ({"guidance_share": 0}, 1),
    ({"guidance_scale_text": 5, "guidance_scale_lyric": 1.5}, 3),
])  # fmt: skip
def test_guidance_looks_at_as_many_branches_as_it_says_in_the_guided_steps_only(
    changes: dict[str, Any], passes: int
) -> None:
    how, velocity = FlowSamplingV1(steps=8, **changes), Pull()
    images = [random(1, 8, 16, FRAMES, seed=seed) for seed in range(3)]
    made(how, [Song(1, FRAMES)], heard(*images), velocity)
    assert len(velocity.asked) == 8 + 4 * (passes - 1)
    assert Strength.of(decided(how)).passes == passes


def test_a_retake_of_no_variance_is_the_take_and_of_1_the_other_seeds() -> None:
    first, other = Song(1, FRAMES).start_noise(), Song(2, FRAMES).start_noise()
    assert torch.equal(Song(1, FRAMES, ((2, 0.0),)).start_noise(), first)
    assert torch.allclose(Song(1, FRAMES, ((2, 1.0),)).start_noise(), other, atol=1e-6)
    half = Song(1, FRAMES, ((2, 0.5),)).start_noise()
    assert torch.allclose(half, (first + other) / math.sqrt(2), atol=1e-6)


def test_a_repaint_skips_steps_by_its_variance_and_holds_the_source_after_each() -> None:
    source, mask = random(FRAMES, 128, seed=5), torch.tensor([0, 1, 1, 0, 0, 0], dtype=torch.bool)
    how = decided(FlowSamplingV1(steps=10))
    song, way = Song(1, FRAMES, ((2, 0.3),), source, mask), repaint_walk(how, 0.3)
    assert (way.steps, way.skipped, way.schedule_steps) == (3, 7, 10)
    noise = song.start_noise()
    assert torch.equal(noise[~mask], Song(1, FRAMES).start_noise()[~mask])
    for step in made(how, [song], heard(random(1, 8, 16, FRAMES)), Pull(0.3), way):
        assert step.state is not None
        assert torch.equal(step.state[0][~mask], sampler.add_noise(source, noise, step.t)[~mask])
    assert repaint_walk(how, 0.0).steps == 1


def test_check_is_called_before_every_look_and_stops_between_steps() -> None:
    counted: list[int] = []

    def check() -> None:
        counted.append(1)
        if len(counted) > 8:
            raise Stopped("Enough.")

    how = decided(FlowSamplingV1(steps=30))
    steps = sample([Song(1, FRAMES)], Pull(), heard(random(1, 8, 16, FRAMES)), Settings.of(how), walk(how), check)
    came = []
    with pytest.raises(Stopped):
        came.extend(iter(steps))
    assert len(came) == 0 or len(came) <= 4


def test_presets_and_what_is_decided_of_an_edit() -> None:
    assert schedules.PRESETS == {"fast": 27, "balanced": 40, "best": 60}
    assert decided(FlowSamplingV1(own_steps=(3, 9))).steps == 2
    assert decided(FlowSamplingV1(), EDITING).omega == 0.0
    assert decided(decided(FlowSamplingV1(steps=9))) == decided(FlowSamplingV1(steps=9))
    assert np.isclose(schedules.times(60)[-1], 0.00893, atol=1e-5)
