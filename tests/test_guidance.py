"""Two velocities become one."""

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

from acestep_lab.diffusion.guidance import RULES, guided
from acestep_lab.diffusion.sampler import sample
from acestep_lab.diffusion.schedule import times
from acestep_lab.errors import RecipeError
from tests.closeness import assert_near

torch.manual_seed(0)
WISHED, PLAIN, X = torch.randn(3, 2, 40, 6).unbind(0)


def pair(x, t):
    return WISHED * t, PLAIN * t


def alone(x, t):
    return WISHED * t


def test_cfg_goes_beyond_the_wish_by_the_scale():
    assert_near(guided(alone, pair, "cfg", 3.0)(X, 1.0), PLAIN + 3.0 * (WISHED - PLAIN))


def test_apg_is_that_of_diffusers_over_several_steps():
    ours, momentum = guided(alone, pair, "apg", 7.0), MomentumBuffer(-0.75)
    for t in times(6, 3.0):
        theirs = normalized_guidance(
            *pair(X, t),
            6.0,
            momentum,
            eta=0.0,
            norm_threshold=2.5,
            use_original_formulation=True,
            norm_dim=(1,),
        )
        assert_near(ours(X, t), theirs)


def test_apg_remembers_one_thing_per_time_however_often_it_is_asked():
    once, twice = guided(alone, pair, "apg", 7.0), guided(alone, pair, "apg", 7.0)
    for t in times(4):
        twice(X, t)
        assert torch.equal(once(X, t), twice(X, t))


def test_every_run_begins_without_memory():
    first = guided(alone, pair, "apg", 7.0)
    first(X, 1.0)
    assert not torch.equal(first(X, 0.5), guided(alone, pair, "apg", 7.0)(X, 0.5))


def reference_adg(latents, cond, uncond, sigma, scale, clip=3.14 / 6):
    """The published arithmetic, written out per frame in double precision."""
    x, c, u = (v.double() for v in (latents, cond, uncond))
    weight = (scale - 1) + 1e-3
    text, other = x - sigma * c, x - sigma * u
    theta = torch.acos(torch.cosine_similarity(text, other, dim=-1).clamp(-1, 1))[..., None]
    new = (weight * theta).clip(-clip, clip)
    diff = text - other
    perp = diff - (diff * other).sum(-1, keepdim=True) / other.square().sum(-1, keepdim=True) * other
    return (x - (torch.cos(new) * text + perp * torch.sin(new) / torch.sin(theta))) / sigma


def test_adg_turns_the_estimate_by_at_most_thirty_degrees():
    ours = guided(alone, pair, "adg", 5.0)(X, 0.6)
    assert_near(ours, reference_adg(X, *pair(X, 0.6), 0.6, 5.0), 1e-4)


def test_adg_of_two_equal_velocities_is_that_velocity():
    ours = guided(alone, lambda x, t: (WISHED, WISHED), "adg", 5.0)(X, 0.6)
    assert_near(ours, WISHED, 1e-4)


def test_cfg_zero_stands_still_in_pure_noise_and_fits_the_plain_velocity_later():
    velocity = guided(alone, lambda x, t: (WISHED, 5.0 * WISHED), "cfg_zero", 4.0)
    assert not velocity(X, 1.0).any()
    assert_near(velocity(X, 0.5), WISHED)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_treats_an_item_in_a_batch_as_it_treats_it_alone(name):
    def only(index):
        return guided(
            lambda x, t: WISHED[index : index + 1] * t,
            lambda x, t: (WISHED[index : index + 1] * t, PLAIN[index : index + 1] * t),
            name,
            6.0,
        )

    together, single = guided(alone, pair, name, 6.0), only(1)
    for t in times(4):
        assert_near(together(X, t)[1:], single(X[1:], t))


def test_outside_the_interval_only_the_wish_is_heard_and_t_one_is_noise():
    asked = []

    def watched(x, t):
        asked.append(t)
        return pair(x, t)

    velocity = guided(alone, watched, "cfg", 3.0, interval=(0.5, 1.0))
    list(sample(velocity, X, times(4)))
    assert asked == [1.0, 0.75, 0.5]


@pytest.mark.parametrize("steps", [5, 10, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("ends", [(0.3, 0.8), (0.2, 0.6), (0.1, 0.7), (0.4, 0.4)])
def test_the_interval_is_compared_in_the_precision_of_the_schedule(steps, shift, ends):
    asked = []

    def watched(x, t):
        asked.append(t)
        return pair(x, t)

    list(sample(guided(alone, watched, "cfg", 3.0, interval=ends), X, times(steps, shift)))
    schedule = torch.tensor(times(steps, shift), dtype=torch.float32)
    assert asked == [float(t) for t in schedule if ends[0] <= t <= ends[1]]  # the reference's own comparison


def test_an_end_of_the_interval_is_inside_it_however_a_step_is_rounded():
    def inside(t):
        return not torch.equal(guided(alone, pair, "cfg", 3.0, interval=(0.3, 0.8))(X, t), alone(X, t))

    assert [t for t in (*times(5), *times(10)) if inside(t)] == [times(5)[1], times(5)[2], times(5)[3], *times(10)[2:8]]
    assert inside(0.8)
    assert inside(0.3)
    assert not inside(0.8001)


def written_apg(wished, plain, before, scale=7.0):
    """ACE-Step's rule with its running average written out; (velocity, the average after it)."""
    average = (wished - plain) + -0.75 * before
    length = average.norm(p=2, dim=1, keepdim=True)
    held = average * torch.minimum(torch.ones_like(length), 2.5 / length)
    along = wished.double() / wished.double().norm(dim=1, keepdim=True)
    orthogonal = held.double() - (held.double() * along).sum(1, keepdim=True) * along
    return wished + (scale - 1) * orthogonal.float(), average


def test_over_several_draws_of_a_time_apg_remembers_their_mean_and_each_sees_what_was_before():
    draws = [torch.randn(3, 2, 40, 6, generator=torch.Generator().manual_seed(n)) for n in range(6)]
    at = iter(draws)

    def drawn(x, t):
        wished, plain, _ = next(at)
        return wished, plain

    ours = guided(alone, drawn, "apg", 7.0, draws=True)
    before = torch.zeros_like(X)
    for step, t in enumerate(times(3)):
        both = draws[2 * step : 2 * step + 2]
        for wished, plain, _ in both:
            assert_near(ours(X, t), written_apg(wished, plain, before)[0])
        before = sum((wished - plain) for wished, plain, _ in both) / 2 + -0.75 * before


@pytest.mark.parametrize(("name", "scale"), [("none", 7.0), ("cfg", 1.0), ("apg", 0.5)])
def test_without_guidance_only_one_velocity_is_worked_out(name, scale):
    assert guided(alone, pair, name, scale) is alone


def test_unknown_rules_and_backward_intervals_are_refused():
    with pytest.raises(RecipeError, match="none, cfg, apg, adg, cfg_zero"):
        guided(alone, pair, "cfg++", 3.0)
    with pytest.raises(RecipeError, match="1 is noise"):
        guided(alone, pair, "cfg", 3.0, interval=(0.9, 0.1))
