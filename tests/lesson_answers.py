"""Answers to the questions of lessons 05 to 12: right ones, and wrong ones that somebody may well give."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.jobs.stems import Stems
from acestep_lab.listen.analysis import Analysis
from acestep_lab.listen.attribution import Attribution, Effect
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Cover, Piece, Region, Stitch
from acestep_lab.sweep.cells import Sweep
from acestep_lab.sweep.votes import Ballot
from acestep_lab.takes.take import Take
from acestep_lab.train.lora import LoraConfig
from tests.pretend import tone


def take(**changed: Any) -> Take:
    recipe = Recipe("soft keys", "la", seconds=1.0, seed=1).replace(**changed)
    return Take(recipe, tone(1.0), np.zeros((5, 8), np.float32))


def latent(turn: float = 0.0) -> Any:
    """A latent whose likeness to the first is the cosine of `turn`."""
    at = np.arange(40.0).reshape(5, 8) * np.pi / 4
    return np.cos(at + turn).astype(np.float32)


def heard(*moved: float, name: str = "warm pad") -> Attribution:
    """What came of leaving out some phrases, the first called `name`."""
    names = (name, "deep bass", "drums")
    effects = tuple(Effect("phrase", one, "", None, by, (), (), ()) for one, by in zip(names, moved, strict=False))
    return Attribution(
        "a", "b", "", "c", 1.0, 2, effects=effects, control=Effect("seed", "5", "", None, 1.0, (), (), ())
    )


FIRST = take().replace(latent=latent())
COUSIN, STRANGER = (take(seed=2).replace(latent=latent(turn)) for turn in (0.6, 1.4))
PLAN = Plan(bpm=84, keyscale="A minor", caption="keys", codes=(1, 2, 3, 4))
MATRICES = (np.arange(6.0).reshape(2, 3), np.arange(8.0).reshape(4, 2), LoraConfig(rank=2, alpha=4.0))
CURVE = [SimpleNamespace(losses={"0.1": one, "0.9": two}) for one, two in ((0.2, 1.0), (0.19, 0.6))]
FOUND, SWAPPED = heard(0.6, 0.7, 0.1), heard(0.9)
BALLOTS = [Ballot("steps", (0, 1)), Ballot("steps", (3, 2))]
SONG = take(seconds=3.0).replace(audio=tone(3.0))
ENDED = SONG.replace(audio=Audio(SONG.audio.samples * np.where(np.arange(24000) < 14000, 1, 0.5), SONG.audio.rate))
OTHERS = SONG.replace(audio=Audio(SONG.audio.samples * np.float32(0.5), SONG.audio.rate))
STEMS = Stems(SONG, {"drums": take(seed=3).replace(audio=tone(3.0, 3))})
HEARD = Analysis(120.0, 1.0, "A minor", 0.3, "3", 1.0, -14.0, ())
CODES = (1, 2, 3, 4, 5)


COUNTS, ERRORS = (4, 27, 60, 125), {"flow, Euler": (0.5, 0.03, 0.02, 0.01), "DDPM": (0.5, 0.2, 0.1, 0.05)}


def hiss(seed: int, swells: float = 1.0) -> Audio:
    """Noise that comes and goes: its loudness is known, its wave is another one with each seed."""
    at = np.arange(36_000) / 24_000
    swell = (at * swells % 1 < 0.5) * np.random.default_rng(seed).standard_normal(len(at))
    return Audio((0.1 * swell[None]).astype(np.float32), 24_000)


def form(*pieces: Piece) -> Take:
    """A song stitched of pieces."""
    return take(task=Stitch(pieces))


def cover(turn: float, source: str = "own") -> Take:
    """A cover that is so far from the recording."""
    return take(task=Cover(source)).replace(latent=latent(turn))


def codes_of(*codes: int) -> Recipe:
    """A recipe that covers codes."""
    return Recipe("keys", task=Cover(codes=codes))


A, B = Piece("a", Region(0, 2)), Piece("b", Region(0, 2))
RIGHT: dict[str, tuple[Any, ...]] = {
    "05.1": (FIRST, COUSIN),
    "05.2": ((tone(1.0), tone(1.0, 2).gain(tone(1.0).loudness() - tone(1.0, 2).loudness())),),
    "05.3": (10,),
    "06.1": (PLAN, PLAN.replace(codes=(4, 3))),
    "06.2": (PLAN, PLAN.replace(bpm=140, codes=PLAN.codes)),
    "06.3": (49.8,),
    "07.1": (1 / 16,),
    "07.2": (MATRICES[1] @ MATRICES[0], *MATRICES),
    "07.3": (0.9, CURVE),
    "08.1": ("drums", FOUND),
    "08.2": (2, FOUND),
    "08.3": (True, SWAPPED, FOUND),
    "09.1": (33,),
    "09.2": (hiss(1), hiss(2)),
    "09.3": (27, COUNTS, ERRORS),
    "10.1": ("aB", BALLOTS),
    "10.2": (10,),
    "10.3": (Sweep.grid(Recipe("keys"), shift=[1, 3], seed=range(5)), "steps"),
    "11.1": (SONG, ENDED),
    "11.2": (form(A, B, A),),
    "11.3": (STEMS.mix({"drums": 0.5}), STEMS),
    "12.1": (latent(), cover(1.0), cover(0.5)),
    "12.2": (1.5, HEARD),
    "12.3": (codes_of(3, 4, 5, 1, 2), CODES),
}
"""By question, an answer that is right."""
WRONG: dict[str, list[tuple[Any, ...]]] = {
    "05.1": [(FIRST, FIRST), (FIRST, STRANGER), (FIRST, COUSIN.replace(latent=latent()[:3]))],
    "05.2": [
        ((tone(1.0), tone(1.0)),),
        ((tone(1.0), tone(1.0, 2).gain(6)),),
        ((tone(1.0).gain(10), tone(1.0, 2).gain(13.08)),),
    ],
    "05.3": [(9,), (11,), (12,), (9.5,)],
    "06.1": [(PLAN, PLAN), (PLAN, PLAN.replace(bpm=90, codes=(4,))), (PLAN, PLAN.replace(caption="x"))],
    "06.2": [
        (PLAN, PLAN.replace(bpm=140)),
        (PLAN, PLAN),
        (PLAN, PLAN.replace(bpm=140, keyscale="C major", codes=PLAN.codes)),
    ],
    "06.3": [(5000,), (9.97,), (1000,)],
    "07.1": [(16,), (1 / 32,), (1 / 64,)],
    "07.2": [(2 * MATRICES[1] @ MATRICES[0], *MATRICES), (MATRICES[0].T @ MATRICES[1].T, *MATRICES), (1.0, *MATRICES)],
    "07.3": [(0.1, CURVE), (0.5, CURVE)],
    "08.1": [("warm pad", FOUND), ("deep bass", FOUND), ("bass", FOUND)],
    "08.2": [(1, FOUND), (3, FOUND), (7, FOUND)],
    "08.3": [(False, SWAPPED, FOUND), (False, FOUND, FOUND), (1, SWAPPED, FOUND), (True, heard(0.9, name="x"), FOUND)],
    "09.1": [(32,), (34,), (300,), (1024,)],
    "09.2": [(hiss(1), hiss(1)), (hiss(1), hiss(2, 3.0)), (hiss(1), tone(1.0))],
    "09.3": [(4, COUNTS, ERRORS), (60, COUNTS, ERRORS), (5, COUNTS, ERRORS)],
    "10.1": [("A", BALLOTS), ("AC", BALLOTS)],
    "10.2": [(9,), (11,), (0,)],
    "10.3": [
        (Sweep.grid(Recipe("keys"), **axes), "steps")
        for axes in (
            {"shift": [1, 3]},
            {"steps": [1, 3], "seed": range(5)},
            {"shift": [1], "seed": range(5)},
            {"seed": range(5)},
        )
    ],
    "11.1": [(SONG, SONG), (SONG, OTHERS), (SONG, take())],
    "11.2": [(form(A, B, B),), (form(A, A, A),), (form(A, B),), (form(A, B, Piece("a", Region(0, 1))),), (take(),)],
    "11.3": [
        (STEMS.mix(), STEMS),
        (STEMS.mix({"drums": 0}), STEMS),
        (STEMS.mix(residual=0.5), STEMS),
        (tone(1.0), STEMS),
    ],
    "12.1": [
        (latent(), cover(1.0), cover(1.2)),
        (latent(), cover(1.0), cover(0.5, "theirs")),
        (latent(), cover(1.0), take()),
    ],
    "12.2": [(0.5, HEARD), (2.0, HEARD)],
    "12.3": [
        (codes_of(*CODES), CODES),
        (codes_of(3, 4, 5, 2, 1), CODES),
        (codes_of(3, 4, 5), CODES),
        (Recipe("x"), CODES),
    ],
}
"""By question, answers somebody may well give."""
