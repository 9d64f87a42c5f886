"""Where the seconds of a render go: per stage, beside the least this machine could take.

Knows a checkpoint's configs, a take's clock and the rooflines of `models/roofline.py`; runs no model itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from acestep_lab.engines.ace15.request import flow
from acestep_lab.engines.timeline import NOTHING_MOVED, Timeline
from acestep_lab.models import roofline
from acestep_lab.models.loading import Checkpoint
from acestep_lab.models.roofline import Peak, Work
from acestep_lab.takes.take import Take

if TYPE_CHECKING:
    import pandas

STAGES = ("plan", "encode", "render", "decode")


@dataclass(frozen=True)
class Stage:
    """One stage of a render: what it took, and what it had to take."""

    name: str
    seconds: float
    share: float
    """Of the whole render, 0 to 1."""
    roofline: float
    """Seconds this machine needs at least: arithmetic or traffic at measured peak, whichever is longer."""

    @property
    def of_roofline(self) -> float:
        """How much of the machine's best was reached, 0 to 1."""
        return self.roofline / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Profile:
    """The stages of one render; a table, and a picture in a notebook."""

    stages: tuple[Stage, ...]
    """plan (where there was one), encode, step 1, step 2, …, decode."""
    peak: Peak
    take: Take
    timeline: Timeline = NOTHING_MOVED
    """What a card copied while it worked; empty on a machine whose memory is where it works."""

    def frame(self) -> pandas.DataFrame:
        """Seconds, share, roofline and percent of roofline per stage."""
        import pandas

        rows = [(s.name, s.seconds, 100 * s.share, s.roofline, 100 * s.of_roofline) for s in self.stages]
        return pandas.DataFrame(rows, columns=["stage", "seconds", "share %", "roofline s", "of roofline %"]).set_index(
            "stage"
        )

    def __str__(self) -> str:
        rows = (
            f"{s.name:>7} {s.seconds:8.3f} s  {100 * s.share:5.1f} %  roofline {s.roofline:8.4f} s  {100 * s.of_roofline:5.1f} % of it"
            for s in self.stages
        )
        return "\n".join((*rows, "", str(self.timeline)))

    def _repr_html_(self) -> str:
        return _bars(self.stages) + str(self.frame().round(4).to_html(border=0)) + self.timeline._repr_html_()


def profile(
    take: Take, checkpoint: Checkpoint, peak: Peak, size: int = 4, shown_at: Sequence[float] = (),
    timeline: Timeline = NOTHING_MOVED,
) -> Profile:  # fmt: skip
    """The profile of a render from its take's clock; `size` is bytes per number (4 float32, 2 bfloat16).

    `shown_at` says when each frame came; with it every step is a stage of its own, without it they are one.
    """
    seconds: Mapping[str, float] = take.made_with["seconds"]
    work = _work(take, checkpoint, size)
    whole = sum(seconds.get(name, 0.0) for name in STAGES) or 1.0
    stages: list[Stage] = []
    for name in STAGES:
        took, roofline = seconds.get(name, 0.0), work[name].roofline(peak)
        if name == "render" and shown_at:
            each = _steps(took, shown_at)
            stages += [Stage(f"step {n}", s, s / whole, roofline / len(each)) for n, s in enumerate(each, 1)]
        elif took:
            stages.append(Stage(name, took, took / whole, roofline))
    return Profile(tuple(stages), peak, take, timeline)


def _steps(took: float, shown_at: Sequence[float]) -> list[float]:
    """Seconds of each step; the first one's begin with the loop and are what the others leave."""
    later = [after - before for before, after in pairwise(shown_at)]
    return [took - sum(later), *later]


def _work(take: Take, checkpoint: Checkpoint, size: int) -> dict[str, Work]:
    """What each stage has to do, counted from the configs."""
    config, recipe, frames = checkpoint.config, take.recipe, len(take.latent)
    tokenizer = checkpoint.tokenizer()
    words, lyrics = (len(tokenizer(text or " ").input_ids) + 40 for text in (recipe.caption, recipe.lyrics))
    encode = roofline.encode(
        config("text"), config("condition"), words, lyrics, 0, size
    )  # silence is read once a session
    if "reference" in recipe.task.sources():
        timbre_frames = round(30 * checkpoint.geometry.frames_per_second)
        encode = roofline.encode(config("text"), config("condition"), words, lyrics, timbre_frames, size)
    how = flow(recipe)
    passes = 2 if how.guidance not in (None, "none") and (how.guidance_scale or 1) > 1 else 1
    condition_tokens = words + lyrics + 1
    work = {
        "encode": encode,
        "render": roofline.dit_step(config("dit"), frames, condition_tokens, passes, size) * (how.steps or 1),
        "decode": roofline.decode(config("vae"), frames, size),
        "plan": Work(0, 0),
    }
    if take.plan is not None and checkpoint.has_lm:
        rows = 2 if recipe.planning.cfg_scale > 1 else 1
        token = roofline.plan_token(config("lm"), 300, checkpoint.geometry.code_count, rows, size)
        work["plan"] = token * (len(take.plan.codes) + 80)
    return work


def _bars(stages: tuple[Stage, ...], width: int = 520) -> str:
    """A bar per stage, its roofline drawn darker."""
    longest = max((s.seconds for s in stages), default=1.0) or 1.0
    rows = "".join(
        f'<text x="0" y="{24 * i + 15}" font-size="13">{s.name}</text>'
        f'<rect x="70" y="{24 * i + 3}" width="{width * s.seconds / longest:.1f}" height="16" fill="#56B4E9"/>'
        f'<rect x="70" y="{24 * i + 3}" width="{width * min(s.roofline, s.seconds) / longest:.1f}" height="16" fill="#0072B2"/>'
        f'<text x="{78 + width * s.seconds / longest:.0f}" y="{24 * i + 15}" font-size="12">{s.seconds:.2f} s</text>'
        for i, s in enumerate(stages)
    )
    return f'<svg width="{width + 150}" height="{24 * len(stages) + 6}" fill="currentColor">{rows}</svg>'
