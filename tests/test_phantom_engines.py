"""Every engine's render on a pretended card, by its own code: nothing lies on the wrong side, a step copies its latent and no more,
and nobody waits for a number of the card within a step (there a wait raises).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from acestep_lab.engines.ace15.attention import CrossAttentionCache, velocity
from acestep_lab.models.memory_plan import plan_for_tier
from acestep_lab.models.tiers import Tier
from acestep_lab.prompt.recipe import Recipe
from tests.hollow import HollowDevices, hollow_ace15, hollow_musicgen, hollow_v1
from tests.phantom import Count, PhantomCard
from tests.tiny import tiny_diffusers
from tests.tiny_musicgen import tiny_musicgen
from tests.tiny_v1 import tiny_v1

TIMBRE = (0, 1, 1)
"""What diffusers' condition encoder waits for before the loop: the last item, how many there are, references of the fullest."""
GUIDED = {"guidance_scale": 5.0, "guidance": "apg"}


@dataclass
class Rendered:
    """What a render did on the card."""

    steps: list[list[tuple[str, str, int]]] = field(default_factory=list)  # copies of each
    loop: Count = field(default_factory=Count)
    decoded: Count = field(default_factory=Count)
    latent: Any = None
    samples: Any = None
    asked: Any = None


def render(
    card: PhantomCard,
    engine: Any,
    recipe: Recipe,
    waits: tuple[object, ...] = (),
    items: int = 1,
    looks: tuple[bool, ...] = (),
) -> Rendered:
    """A whole render: words, conditions, loop and tiles. `waits` are answered before the loop, `looks` in it."""
    devices, found = HollowDevices(card, engine), Rendered()
    requests = [engine.resolve(recipe.replace(seed=seed), None, lambda *_: None, 600.0) for seed in range(items)]
    with card.answering(*waits) if waits else nullcontext():
        prepared = engine.prepare(requests)
    with card.counting() as found.loop, card.answering(*looks, all_asked=False):
        done = 0
        for step in engine.sample(prepared, lambda: None):  # noqa: B007 - the last one is decoded
            found.steps.append(found.loop.copies[done:])
            done = len(found.loop.copies)
    with card.counting() as found.decoded:
        found.latent = step.state[0]
        found.samples = engine.decode(prepared[0].after_sampling(), found.latent).audio.samples
    found.asked = devices.asked
    return found


def turbo(folder: Path) -> Any:
    return hollow_ace15(folder, tiny=tiny_diffusers(folder / "turbo", lm=False, shallow=True))


def base(folder: Path) -> Any:
    return hollow_ace15(folder, tiny=tiny_diffusers(folder / "base", turbo=False, lm=False, shallow=True))


def v1(folder: Path) -> Any:
    return hollow_v1(folder, tiny=tiny_v1(folder / "v1"))


def musicgen(folder: Path) -> Any:
    return hollow_musicgen(folder, tiny=tiny_musicgen(folder / "musicgen"))


@pytest.fixture
def card() -> Iterator[PhantomCard]:
    with PhantomCard(real_host=True) as found:
        yield found


SUNG = Recipe("slow dub techno", lyrics="[verse]\na b c", seconds=2.0, steps=2)


@pytest.mark.parametrize(
    ("make", "recipe", "items", "per_step"),
    [
        (turbo, SUNG, 2, 2),
        (base, SUNG.replace(**GUIDED, solver="heun"), 1, 4),  # two looks a step, both halves of guidance in one batch
        (
            v1,
            SUNG.replace(seconds=5.0, solver="pingpong"),
            2,
            2,
        ),  # its loop is on the card; new noise goes there, a look comes home
    ],
)
def test_a_step_copies_its_latent_and_nothing_else(
    card: PhantomCard, tmp_path: Path, make: Callable[[Path], Any], recipe: Recipe, items: int, per_step: int
) -> None:
    engine = make(tmp_path)
    found = render(card, engine, recipe, () if make is v1 else TIMBRE, items)
    latent = (
        items * found.latent.nbytes * (1 if make is v1 else 2)
    )  # at most: both halves of guidance, or state and estimate
    for copies in found.steps[1:]:
        assert len(copies) <= per_step
        assert all(size <= 2 * latent for _, _, size in copies)
    if (
        make is not v1
    ):  # what both halves of guidance hear is made once, the same tensors each time: to compare them would wait
        looks = engine._attention_cache
        assert looks.misses == 1
        assert looks.hits >= len(found.steps) - 1
    assert found.samples.shape[1] > 0
    assert len([1 for at, _, _ in found.decoded.copies if at == "cpu"]) <= len(found.decoded.copies) // 2 + 1


def test_eight_tokens_are_written_for_one_look_at_the_card(card: PhantomCard, tmp_path: Path) -> None:
    looks = (True,) * 2  # whether all numbers were finite, once in eight tokens
    found = render(card, musicgen(tmp_path), Recipe("dub", seconds=0.5), looks=looks)
    home = [copy for copies in found.steps for copy in copies if copy[1] == "cpu"]
    assert len(found.steps) <= 8 * len(looks)
    assert len(home) <= len(looks)
    assert sum(map(len, found.steps[1:])) <= 3 * len(looks)
    assert found.samples.shape[1] == 24_000
    assert found.asked == {"text": 1, "decoder": len(looks), "codec": 1}


def test_the_published_transformer_takes_a_step_in_the_planned_dtype(card: PhantomCard, tmp_path: Path) -> None:
    engine = hollow_ace15(tmp_path, "turbo")
    dit: Any = card.holds(engine.build("dit", torch.bfloat16))
    x, states, context = (card.tensor(1, *shape) for shape in ((250, 64), (769, 2048), (250, 128)))
    cache = CrossAttentionCache()
    velocity(dit, x, 0.9, states, context, cache=cache)
    with card.counting(dit, x, states, context) as count:
        velocity(dit, x, 0.5, states, context, cache=cache)
    assert count.copies == []
    assert set(count.products) == {torch.bfloat16}
    assert count.kernels / 24 <= 36, count.launches


def test_a_plan_for_memory_counts_every_number_of_a_published_checkpoint(tmp_path: Path) -> None:
    specs = hollow_ace15(tmp_path, "xl-turbo").component_specs()
    plan = plan_for_tier(Tier.for_memory(24), specs)
    published = hollow_ace15(tmp_path, "xl-turbo").checkpoint.row.sizes
    assert {name: plan.sizes[name] for name in ("dit", "vae")} == {name: published[name] for name in ("dit", "vae")}
