"""When the sampler looks."""

from types import SimpleNamespace

import pytest
import torch

from acestep_lab._torchaudio import cure
from acestep_lab.errors import RecipeError
from acestep_lab.synth.schedule import checked_times, starting_near, step_count, times

cure()
from diffusers import AceStepPipeline  # noqa: E402


@pytest.mark.parametrize("steps", [1, 2, 8, 9, 27, 50, 99])
@pytest.mark.parametrize("shift", [1.0, 2.0, 2.5, 3.0])
def test_times_equal_those_of_diffusers_bit_for_bit(steps, shift):
    theirs = AceStepPipeline._get_timestep_schedule(SimpleNamespace(), steps, shift, "cpu", torch.float32)
    assert torch.equal(torch.tensor(times(steps, shift)), theirs)


def test_the_turbo_table_of_shift_three_comes_out_of_the_formula():
    table = [1.0, 0.9545454545, 0.9, 0.8333333333, 0.75, 0.6428571429, 0.5, 0.3]
    assert times(8, 3.0) == pytest.approx(table)


def test_times_by_hand_are_kept_and_a_trailing_zero_is_implied():
    assert checked_times([1, 0.5, 0.25, 0]) == (1.0, 0.5, 0.25)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "empty"),
        ([0.0], "empty"),
        ([1.2, 0.5], "1.2"),
        ([0.5, 0.7], "fall"),
        ([0.5, 0.5], "fall"),
        ([0.5, -0.1], "-0.1"),
    ],
)
def test_impossible_times_are_refused_in_a_sentence(values, says):
    with pytest.raises(RecipeError, match=says):
        checked_times(values)


@pytest.mark.parametrize(("steps", "shift"), [(0, 1.0), (8, 0.0), (8, -1.0)])
def test_impossible_schedules_are_refused(steps, shift):
    with pytest.raises(RecipeError):
        times(steps, shift)


def test_a_noised_source_joins_at_the_nearest_time():
    assert starting_near(times(8, 3.0), 0.7) == times(8, 3.0)[4:]
    assert starting_near(times(8, 3.0), 0.0) == times(8, 3.0)[-1:]


def test_shares_of_the_schedule_are_cut_downwards():
    assert [step_count(share, 8) for share in (0.0, 0.49, 0.5, 1.0)] == [0, 3, 4, 8]
