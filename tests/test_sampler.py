"""The loop, on velocities whose answer is known."""

import math

import pytest
import torch

from acestep_lab.diffusion.flowedit import edit
from acestep_lab.diffusion.guidance import guided
from acestep_lab.diffusion.sampler import SOLVERS, add_noise, checked, clamp_ema, noise, noises, rotate_noise, sample
from acestep_lab.diffusion.schedule import times
from acestep_lab.errors import MachineError, RecipeError
from tests.closeness import assert_near

MEAN, SPREAD = 0.7, 0.5


def gaussian(x, t):
    """Velocity of the flow from noise N(0, 1) to music N(MEAN, SPREAD²): known in closed form."""
    variance = (1 - t) ** 2 * SPREAD**2 + t**2
    centred = x - (1 - t) * MEAN
    return -MEAN + (t - (1 - t) * SPREAD**2) / variance * centred


def exact(start):
    """Where that flow ends."""
    return MEAN + SPREAD * start


def last(steps):
    *_, step = steps
    return step


def error(solver, steps, shift=3.0):
    start = noises([1], 64, 4)
    return (last(sample(gaussian, start, times(steps, shift), solver=solver)).state - exact(start)).abs().max().item()


def test_with_thirty_two_steps_heun_and_dpmpp_are_closer_than_euler():
    euler = error("euler", 32)
    assert error("heun", 32) < euler / 2
    assert error("dpmpp2m", 32) < euler / 2


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp2m"])
def test_every_solver_gets_closer_with_more_steps(solver):
    assert error(solver, 64) < error(solver, 16) < error(solver, 4)


def test_euler_halves_its_error_and_heun_quarters_it_when_the_steps_double():
    assert error("euler", 32) / error("euler", 64) == pytest.approx(2.0, rel=0.1)
    assert error("heun", 32) / error("heun", 64) > 3.0


def test_euler_is_the_scheduler_of_diffusers():
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0)
    scheduler.set_timesteps(sigmas=list(times(8, 3.0)))
    theirs = start = noises([3], 20, 4)
    for t in scheduler.timesteps:
        theirs = scheduler.step(gaussian(theirs, float(t)), t, theirs, return_dict=False)[0]
    ours = last(sample(gaussian, start, times(8, 3.0))).state
    assert_near(ours, theirs)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_step_is_yielded_with_its_place_and_its_estimate(solver):
    start = noises([1, 2], 10, 3)
    steps = list(sample(gaussian, start, times(5), solver=solver, noise_fn=lambda i: noises([1, 2], 10, 3, i + 1)))
    assert [step.index for step in steps] == [0, 1, 2, 3, 4]
    assert steps[-1].t == 0.0
    assert steps[-1].fraction == 1.0
    assert all(step.state.shape == step.estimate.shape == start.shape for step in steps)
    if solver != "heun":  # heun's estimate is its predictor's
        assert_near(steps[-1].state, steps[-1].estimate)


def test_a_consumer_who_stops_looking_stops_the_work():
    asked = []

    def counting(x, t):
        asked.append(t)
        return gaussian(x, t)

    steps = sample(counting, noises([1], 10, 3), times(8))
    next(steps)
    next(steps)
    steps.close()
    assert len(asked) == 2


def test_sde_makes_the_same_music_from_the_same_seeds_and_needs_fresh_noise():
    def run():
        return last(
            sample(
                gaussian,
                noises([5], 30, 3),
                times(8),
                solver="sde",
                noise_fn=lambda i: noises([5], 30, 3, i + 1),
            )
        )

    assert torch.equal(run().state, run().state)
    with pytest.raises(RecipeError, match="noise_fn"):
        next(sample(gaussian, noises([5], 30, 3), times(8), solver="sde"))


def test_what_happens_after_a_step_is_where_the_next_one_begins():
    seen = []

    def watching(x, t):
        seen.append(x.clone())
        return gaussian(x, t)

    steps = list(sample(watching, noises([1], 4, 2), times(3), after=lambda index, t, x: torch.full_like(x, index)))
    assert [s.mean().item() for s in seen[1:]] == [0.0, 1.0]
    assert steps[-1].state.mean() == 2.0


def test_clamp_holds_the_norm_and_ema_blends_with_the_step_before():
    x = torch.ones(2, 5, 3)
    clamped = clamp_ema(lambda x, t: 10 * x, clamp=2.0)(x, 1.0)
    assert_near(clamped, 2 * x)
    blend = clamp_ema(lambda x, t: x * t, ema=0.25)
    assert blend(x, 1.0).mean() == 1.0
    assert blend(x, 0.5).mean() == pytest.approx(0.75 * 0.5 + 0.25)
    assert clamp_ema(gaussian) is gaussian


def test_heun_hands_the_velocity_it_went_by_to_the_moving_average():
    start, schedule, ema = noises([1, 2], 12, 3).double(), times(5, 3.0), 0.3
    x, before = start, None
    for t, t_next in zip(schedule, (*schedule[1:], 0.0)):
        v = gaussian(x, t) if before is None else (1 - ema) * gaussian(x, t) + ema * before
        if t_next > 0:
            ahead = (1 - ema) * gaussian(x + (t_next - t) * v, t_next) + ema * v
            v = (v + ahead) / 2
        x, before = x + (t_next - t) * v, v
    ours = last(sample(gaussian, start, schedule, solver="heun", ema=ema)).state
    assert (ours - x).abs().max() <= 1e-12


def test_a_longer_song_begins_with_the_same_noise():
    assert torch.equal(noise(7, 900, 5)[:300], noise(7, 300, 5))


def test_every_item_draws_from_its_own_seed_alone():
    assert torch.equal(noises([4, 9], 50, 3)[1], noise(9, 50, 3))
    assert not torch.equal(noise(9, 50, 3), noise(9, 50, 3, draw=1))


def test_turning_by_nothing_is_the_same_noise_and_any_turn_keeps_its_spread():
    one, other = noise(1, 4000, 2), noise(2, 4000, 2)
    assert rotate_noise(one, other, 0.0) is one
    assert_near(rotate_noise(one, other, 1.0), other)
    assert rotate_noise(one, other, 0.5).std() == pytest.approx(1.0, abs=0.05)


def test_nan_and_empty_latents_are_named_where_they_appear():
    with pytest.raises(MachineError, match="Step 1 of 4 produced NaN"):
        list(checked(sample(lambda x, t: x * math.nan, noises([1], 4, 2), times(4))))
    with pytest.raises(MachineError, match="zeros"):
        list(checked(sample(lambda x, t: x / t, noises([1], 4, 2), times(4))))


def test_an_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(RecipeError, match="euler, heun, sde, dpmpp2m"):
        next(sample(gaussian, noises([1], 4, 2), times(4), solver="rk45"))


# --- flow edit -------------------------------------------------------------------------------------------------------


def towards(goal):
    """Velocity of a flow that ends in one point."""
    return lambda x, t: (x - goal) / t


def edited(old, new, source, **how):
    return last(edit(old, new, source, times(8), lambda k: noises([1], 6, 2, k), **how)).state


def test_an_edit_without_a_difference_changes_nothing():
    source = torch.rand(1, 6, 2)
    assert_near(edited(towards(source), towards(source), source), source)


@pytest.mark.parametrize("how", [{}, {"n_avg": 3}, {"n_max": 0.5}, {"n_min": 0.25}])
def test_an_edit_arrives_where_the_new_velocity_points(how):
    source, goal = torch.rand(1, 6, 2), torch.rand(1, 6, 2)
    assert_near(edited(towards(source), towards(goal), source, **how), goal, 1e-4)


def test_an_edit_over_several_noises_is_the_written_one_under_guidance_and_a_moving_average():
    """The reference's loop with its snapshots written out: momentum and average advance once a step, by the draws' mean."""
    source, schedule, ema, scale, n_avg = torch.randn(1, 10, 3).double(), times(6), 0.2, 5.0, 3

    def answers(bend):
        return lambda x, t: (torch.sin(bend * x) - x.roll(1, 1) * t, torch.cos(x) * t)

    def rule(wished, plain, before):
        average = wished - plain - 0.75 * before
        length = average.norm(dim=1, keepdim=True)
        held = average * torch.minimum(torch.ones_like(length), 2.5 / length)
        along = wished / wished.norm(dim=1, keepdim=True)
        return wished + (scale - 1) * (held - (held * along).sum(1, keepdim=True) * along)

    edited, momentum, before = source, [0.0, 0.0], [None, None]
    for index, (t, t_next) in enumerate(zip(schedule, (*schedule[1:], 0.0))):
        means = []
        for which, bend in enumerate((1.3, 2.1)):  # the old description, the new
            pairs = []
            for k in range(n_avg):
                there = add_noise(source, noises([1], 10, 3, index * n_avg + k).double(), t)
                pairs.append(answers(bend)(there if which == 0 else edited + there - source, t))
            v = sum(rule(*pair, momentum[which]) for pair in pairs) / n_avg
            momentum[which] = sum(wished - plain for wished, plain in pairs) / n_avg - 0.75 * momentum[which]
            before[which] = v if before[which] is None else (1 - ema) * v + ema * before[which]
            means.append(before[which])
        edited = edited + (t_next - t) * (means[1] - means[0])

    old, new = (guided(None, answers(bend), "apg", scale, draws=True) for bend in (1.3, 2.1))
    ours = last(edit(old, new, source, schedule, lambda k: noises([1], 10, 3, k), n_avg=n_avg, ema=ema)).state
    assert (ours - edited).abs().max() / edited.abs().max() <= 1e-9


def test_an_edit_of_no_steps_is_the_source():
    source, goal = torch.rand(1, 6, 2), torch.rand(1, 6, 2)
    assert torch.equal(edited(towards(source), towards(goal), source, n_min=1.0), source)


def test_noising_is_linear_between_music_and_noise():
    clean, start = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    assert add_noise(clean, start, 0.25).mean() == 0.25
