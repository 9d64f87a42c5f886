"""What usually comes of an odd choice: a sentence for each, before any work is done.

Knows recipes and a checkpoint's row; no torch and no weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from acestep_lab.engines.ace15.request import flow
from acestep_lab.engines.ace15.task_rows import row_of
from acestep_lab.models.catalog import Row
from acestep_lab.prompt.lyrics import unintended_lines
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.sampling import FlowSampling

TURBO_TIMES = tuple(sorted({round(shift * n / (8 + (shift - 1) * n), 12) for shift in (1, 2, 3) for n in range(1, 9)}))
"""The 20 times of the reference's turbo tables: eight steps at shift 1, 2 and 3."""

NEAR_TIME = 1e-3
"""How far a timestep may lie beside one of them and still be meant: the tables are printed with four digits."""

MOST_TIMES = 20
"""Timesteps the reference reads of a turbo's own schedule."""


def lint(asked: Recipe, row: Row) -> Iterator[str]:
    """A sentence for each explicit choice that usually spoils the music with this checkpoint, or does nothing."""
    if asked.planning.thinking and not row_of(asked.task).heeds_planner:
        yield f"{type(asked.task).__name__} follows its source and not the planner; thinking=True does nothing here."
    how = flow(asked)
    scale = how.guidance_scale if how.guidance_scale is not None else row.guidance_scale
    usual = row.guidance_for(asked.task.name)
    guided = (how.guidance or usual) != "none" and scale > 1.0
    if row.is_turbo and guided:
        yield f"{row.name} has its guidance built in; more of it ({how.guidance or usual}) usually gives noise."
    if not row.is_turbo and not guided and usual != "none":
        yield f"{row.name} was trained to be guided ({row.guidance}, {row.guidance_scale:g}); without, it usually drifts."
    if how.shift is not None and row.name != "turbo-continuous" and abs(how.shift - row.shift) >= 0.5:
        yield f"{row.name} is used with shift {row.shift:g}; with {how.shift:g} its steps fall where it did not learn."
    if row.most_steps is not None:
        yield from _beyond_the_reference(how, row)
    yield from _unintended_lines(asked.lyrics)
    yield from _idle_choices(asked, row)


def _beyond_the_reference(how: FlowSampling, row: Row) -> Iterator[str]:
    """A sentence where the reference would silently take other times for a turbo than those asked for: it cuts its steps
    down and moves each timestep to the nearest of TURBO_TIMES.
    """
    if not how.timesteps:
        if how.steps is not None and row.most_steps is not None and how.steps > row.most_steps:
            yield (
                f"{row.name} is made for {row.steps} steps, and the reference cuts more than {row.most_steps} down to "
                f"{row.most_steps} unsaid; all {how.steps} are taken here."
            )
        return
    off = [t for t in how.timesteps if min(abs(t - known) for known in TURBO_TIMES) > NEAR_TIME]
    if off:
        nearest = min(TURBO_TIMES, key=lambda known: abs(known - off[0]))
        yield (
            f"{row.name} was distilled at {len(TURBO_TIMES)} times, and the reference moves others there unsaid "
            f"({off[0]:g} to {nearest:.4g}); the timesteps are taken here as they are."
        )
    elif len(how.timesteps) > MOST_TIMES:
        yield (
            f"The reference reads the first {MOST_TIMES} timesteps of a turbo and drops the rest unsaid; all "
            f"{len(how.timesteps)} are taken here."
        )


def _unintended_lines(lyrics: str) -> Iterator[str]:
    """A sentence for the times in lyrics, and one for section tags in another form; the first of each says how to mend it."""
    found = unintended_lines(lyrics)
    for remark in found[:2]:
        more = len(found) - 2 if remark is found[:2][-1] and len(found) > 2 else 0
        also = f" ({more} more line{'s' * (more > 1)} like it.)" if more else ""
        yield f"Lyrics, line {remark.line + 1}: {remark.text}{also}"


def _idle_choices(asked: Recipe, row: Row) -> Iterator[str]:
    """A sentence for each explicit choice that another one leaves without effect."""
    how, task = flow(asked), row_of(asked.task)
    yield from _idle_guidance(how, row, asked.task.name)
    if how.global_caption and not row.stem_captions:
        yield f"global_caption is not used: {row.name} reads one caption; only checkpoints tuned on stems read two."
    if task.keeps_outside and (asked.normalize is not None or asked.peak_db is not None):
        yield "normalize and peak_db are not used: what is made anew takes the level of the source around it."
    if task.regions(asked.task) and task.keeps_outside and (asked.fade_in or asked.fade_out):
        yield "fade_in and fade_out are heard only where a region reaches them: a repaint keeps what lies outside."
    if how.timesteps and how.steps is not None and how.steps != len(how.timesteps):
        yield f"steps={how.steps} is not used: timesteps names {len(how.timesteps)}."
    if not task.corrected and how.solver not in (None, "euler"):
        yield f"solver={how.solver!r} is not used: a flow-edit goes by euler's steps."
    yield from _idle_dcw(how, row, task.corrected)


def _idle_guidance(how: FlowSampling, row: Row, task: str) -> Iterator[str]:
    if (how.guidance or row.guidance_for(task)) != "none":
        return
    if (how.guidance_scale or 1.0) > 1.0:
        yield (
            f"guidance_scale={how.guidance_scale:g} is not used: {row.name} is sampled with guidance 'none'. Whoever "
            "insists says which: guidance='apg'."
        )
    if how.guidance_interval is not None:
        yield f"guidance_interval is not used: {row.name} is sampled with guidance 'none' here."


def _idle_dcw(how: FlowSampling, row: Row, corrected: bool) -> Iterator[str]:
    """A sentence for each part of DCW that was asked for and does nothing."""
    if not corrected and (how.dcw or "off") != "off":
        yield f"dcw={how.dcw!r} is not used: a flow-edit's steps are not corrected."
    mode = how.dcw or row.dcw if corrected else "off"
    for name in ("dcw_low", "dcw_high"):
        if getattr(how, name) is not None and name not in _DCW_READS[mode]:
            yield f"{name}={getattr(how, name):g} is not used: with dcw={mode!r} nothing reads it."


_DCW_READS: Mapping[str, tuple[str, ...]] = {
    "off": (),
    "low": ("dcw_low",),
    "high": ("dcw_high",),
    "double": ("dcw_low", "dcw_high"),
    "pix": ("dcw_low",),
}
"""Which strengths a mode of DCW reads."""
