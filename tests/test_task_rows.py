"""A task becomes what the DiT sees and what is held."""

import pytest
import torch

from acestep_lab.engines.ace15.context import Context, crossfaded, fade, stacked
from acestep_lab.engines.ace15.edit_spec import SourceLatents, holding, put_back
from acestep_lab.engines.ace15.task_rows import TASK_ROWS, edit_spec, frame_count, repaint_strength
from acestep_lab.errors import RecipeError, SourceError
from acestep_lab.models.geometry import Geometry
from acestep_lab.prompt.tasks import (
    MODEL_TASKS,
    Complete,
    Cover,
    Extend,
    Extract,
    FlowEdit,
    Lego,
    Region,
    Repaint,
    Text2Music,
)
from tests.closeness import assert_near

GEOMETRY = Geometry(2400, 1, 96, 4, 2, 5, 1000, 60.0)  # 25 frames a second
SECONDS = 4.0
SILENCE = torch.full((500, 4), 0.25)
SOURCE = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
TAKE = "a take's id"


def made(task, seconds=SECONDS, source=SOURCE, **material):
    return edit_spec(task, SourceLatents(SILENCE, source, **material), GEOMETRY, seconds)


def test_text_alone_sees_silence_and_makes_everything():
    seen = made(Text2Music(), source=None)
    assert torch.equal(seen.context.source, SILENCE[:100])
    assert seen.context.mask.all()
    assert seen.kept is None


def test_songs_longer_than_the_recorded_silence_hear_it_again():
    assert made(Text2Music(), 30.0, None).context.source.shape == (750, 4)


def test_codes_are_followed_as_in_a_cover_and_filled_up_with_silence():
    semantic = torch.ones(60, 4)
    seen = made(Text2Music(codes=(1, 2)), source=None, semantic=semantic)
    assert torch.equal(seen.context.source, torch.cat([semantic, SILENCE[:40]]))
    assert seen.instruction == "Generate audio semantic tokens based on the given conditions:"


def test_a_repaint_sees_silence_in_each_region_and_the_source_elsewhere():
    seen = made(Repaint(TAKE, (Region(0, 1), Region(2, 2.5), Region(3.9, 9)))).context
    mask = torch.zeros(100)
    for span in (slice(0, 25), slice(50, 63), slice(97, 100)):
        mask[span] = 1
    assert torch.equal(seen.mask, mask)
    assert torch.equal(seen.source[mask == 0], SOURCE[mask == 0])
    assert torch.equal(seen.source[mask == 1], SILENCE[:100][mask == 1])


def test_a_region_after_the_end_is_refused_and_extend_is_named():
    with pytest.raises(RecipeError, match="Extend"):
        made(Repaint(TAKE, (Region(4, 5),)))


@pytest.mark.parametrize(
    ("mode", "strength", "numbers"),
    [
        ("conservative", 0.5, (1, 1, 0.05)),
        ("balanced", 0.5, (0.5, 0.5, 0.025)),
        ("balanced", 0.9, (0.1, 0.1, 0.005)),
        ("aggressive", 0.5, (0, 0, 0)),
    ],
)
def test_the_modes_stand_for_the_reference_numbers(mode, strength, numbers):
    keep = repaint_strength(Repaint(TAKE, (Region(1, 2),), mode=mode, strength=strength))
    assert (keep.injection, keep.latent_seconds, keep.wave_seconds) == pytest.approx(numbers)


def test_a_number_given_by_hand_wins_over_the_mode():
    keep = repaint_strength(Repaint(TAKE, (Region(1, 2),), "conservative", injection=0.25, wave_crossfade=0.0))
    assert (keep.injection, keep.latent_seconds, keep.wave_seconds) == (0.25, 1.0, 0.0)


def test_outside_the_region_and_its_crossfade_the_latent_is_the_source_bit_for_bit():
    kept = made(Repaint(TAKE, (Region(1, 2),), latent_crossfade=0.2)).kept
    end = put_back(torch.randn(100, 4), kept)
    assert torch.equal(end[:20], SOURCE[:20])
    assert torch.equal(end[55:], SOURCE[55:])
    assert not torch.isclose(end[20:55], SOURCE[20:55]).all(dim=1).any()


def test_a_crossfade_is_linear_and_lies_outside_its_border():
    mask = torch.tensor([[0, 0, 0, 0, 1, 1, 0, 0, 0.0]])
    assert fade(mask, 3)[0].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])
    assert torch.equal(fade(mask, 0), mask)
    assert torch.equal(crossfaded(torch.ones(1, 9, 2), torch.zeros(1, 9, 2), mask, 3)[..., 0], fade(mask, 3))


def test_the_outside_is_held_at_the_noised_source_for_the_first_steps():
    kept = made(Repaint(TAKE, (Region(1, 2),), injection=0.5)).kept
    start = torch.randn(1, 100, 4)
    hold = holding([kept], start, steps=8)
    x = torch.zeros_like(start)
    held = hold(3, 0.6, x)
    assert_near(held[0, :25], 0.6 * start[0, :25] + 0.4 * SOURCE[:25])
    assert not held[0, 25:50].any()
    assert hold(4, 0.5, x) is x or torch.equal(hold(4, 0.5, x), x)


def test_items_of_a_batch_are_held_each_by_its_own():
    kept = made(Repaint(TAKE, (Region(1, 2),), "conservative")).kept
    x = torch.zeros(2, 100, 4)
    held = holding([None, kept], torch.ones(2, 100, 4), 8)(0, 0.9, x)
    assert not held[0].any()
    assert held[1, :25].any()
    assert holding([None, None], x, 8) is None


def test_an_extension_makes_what_is_new_and_keeps_the_source():
    seen = made(Extend(TAKE, before=1.0, after=0.4), 5.4, samples=9600)
    assert seen.frames == 135
    assert torch.equal(seen.context.source[25:125], SOURCE)
    assert seen.context.mask.nonzero()[:, 0].tolist() == [*range(25), *range(125, 135)]
    assert torch.equal(seen.kept.clean[25:125], SOURCE)


def test_a_frame_the_source_fills_only_in_part_belongs_to_what_is_added():
    seen = made(Extend(TAKE, after=1.0), 9590 / 2400 + 1.0, samples=9590)
    assert seen.context.mask.nonzero()[:, 0].tolist() == list(range(99, 125))


def test_a_cover_follows_codes_or_latents_and_later_only_the_words():
    semantic = torch.ones(100, 4)
    through, raw = made(Cover(TAKE, strength=0.5, noise_strength=0.2), semantic=semantic), made(Cover(TAKE))
    assert torch.equal(through.context.source, semantic)
    assert torch.equal(raw.context.source, SOURCE)
    assert torch.equal(through.fallback.source, SILENCE[:100])
    assert (through.cover_strength, through.init_noise) == (0.5, 0.2)
    assert torch.equal(through.source, SOURCE)


@pytest.mark.parametrize("task", [Extract(TAKE, "drums"), Complete(TAKE, ("drums", "bass")), Lego(TAKE, "bass")])
def test_stems_see_the_whole_source(task):
    seen = made(task).context
    assert torch.equal(seen.source, SOURCE)
    assert seen.mask.all()


def test_lego_in_a_region_still_sees_the_source_there():
    seen = made(Lego(TAKE, "bass", Region(1, 2))).context
    assert torch.equal(seen.source, SOURCE)
    assert seen.mask.sum() == 25


def test_flow_edit_sees_silence_and_starts_from_the_source():
    seen = made(FlowEdit(TAKE))
    assert torch.equal(seen.context.source, SILENCE[:100])
    assert torch.equal(seen.source, SOURCE)


def test_a_source_shorter_than_a_token_or_full_of_nan_is_refused():
    with pytest.raises(SourceError, match="only 1 latent"):
        made(Extract(TAKE, "drums"), source=SOURCE[:1])
    with pytest.raises(SourceError, match="NaN"):
        made(Extract(TAKE, "drums"), source=SOURCE * torch.nan)


def test_a_task_without_its_source_says_so():
    with pytest.raises(SourceError, match="take or an audio"):
        made(Extract(TAKE, "drums"), source=None)


def test_frames_hold_every_sample_of_a_song():
    assert [frame_count(seconds, GEOMETRY) for seconds in (4.0, 4.001, 0.0001)] == [100, 101, 1]


def test_contexts_of_a_batch_stack_source_and_mask():
    context = Context(SOURCE, torch.ones(100))
    assert stacked([context, context]).shape == (2, 100, 8)
    assert torch.equal(stacked([context])[0, :, 4:], torch.ones(100, 4))


def test_every_task_has_its_row():
    assert set(TASK_ROWS) == set(MODEL_TASKS.values())
