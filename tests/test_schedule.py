"""When the sampler looks."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import AceStepPipeline

from acestep_lab import Recipe
from acestep_lab.diffusion.schedule import checked_times, starting_near, step_count, times
from acestep_lab.engines.ace15.resolve import TURBO_TIMES, lint
from acestep_lab.errors import RecipeError
from acestep_lab.models.catalog import ROWS
from tests.closeness import ROUNDING, assert_near


@pytest.mark.parametrize("steps", [1, 2, 8, 9, 27, 50, 99])
@pytest.mark.parametrize("shift", [1.0, 2.0, 2.5, 3.0])
def test_times_equal_those_of_diffusers_to_the_last_bit(steps, shift):
    theirs = AceStepPipeline._get_timestep_schedule(SimpleNamespace(), steps, shift, "cpu", torch.float32)
    assert_near(torch.tensor(times(steps, shift)), theirs, ROUNDING)  # linspace itself rounds by the CPU


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


def test_the_twenty_times_of_the_reference_are_those_of_its_three_tables():
    assert len(TURBO_TIMES) == 20
    assert sorted({round(t, 5) for shift in (1, 2, 3) for t in times(8, shift)}) == pytest.approx(TURBO_TIMES, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "asked", "says"),
    [
        ("turbo", {"steps": 8}, None),
        ("turbo", {"steps": 4}, None),
        ("turbo", {"steps": 9}, "cuts more than 8 down to 8"),
        ("turbo-shift1", {"steps": 50}, "all 50 are taken here"),
        ("xl-turbo", {"steps": 20}, None),
        ("xl-turbo", {"steps": 21}, "cuts more than 20 down to 20"),
        ("base", {"steps": 200}, None),
        ("pocket", {"steps": 200}, None),
        ("turbo", {"timesteps": (1.0, 0.9545, 0.6429, 0.3)}, None),
        ("turbo", {"timesteps": (0.97, 0.76, 0.615, 0.5)}, "0.97 to 0.9545"),
        ("xl-turbo", {"timesteps": (1.0, 0.1)}, "0.1 to 0.125"),
        ("turbo", {"timesteps": tuple(0.5 + 0.0004 * n / 24 for n in range(24, -1, -1))}, "first 20"),
        ("base", {"timesteps": (0.97, 0.1)}, None),
        ("turbo", {"timesteps": (1.0, 0.5), "steps": 30}, "steps=30 is not used"),
    ],
)
def test_what_the_reference_would_change_of_a_turbo_unsaid_is_said_in_one_sentence(row, asked, says):
    said = list(lint(Recipe("dub", **asked), ROWS[row]))
    assert len(said) == (says is not None)
    assert all(says in sentence and len(sentence) < 300 for sentence in said)
