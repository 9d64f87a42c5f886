"""ACE-Step v1 on an accelerator: the CPU's numbers from few large operators, guidance's branches heard in one batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from acestep_lab.engines.ace_v1 import card_attention, erg
from acestep_lab.engines.ace_v1.engine import AceV1Engine
from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.engines.ace_v1.guidance import Branch, Branches, Guide, Strength
from acestep_lab.engines.ace_v1.linear_attention import LinearAttention, turned, turns
from acestep_lab.engines.ace_v1.schedules import decided, walk
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer, Block, PreparedStates
from acestep_lab.engines.card_blocks import modulations
from acestep_lab.engines.contract import Bench
from acestep_lab.engines.registry import open_engine
from acestep_lab.prompt.sampling import FlowSamplingV1
from tests.closeness import assert_near
from tests.phantom import PhantomCard
from tests.test_v1_models import drawn
from tests.tiny_v1 import tiny_v1


def test_a_card_turns_and_attends_as_a_cpu_does() -> None:
    by = turns(torch.arange(40)[None], 10, 100.0)
    there = by._replace(signed=card_attention.signed(by.sin))
    layer, frames, mask = LinearAttention(3, 10), drawn(2, 40, 30), (torch.arange(40) < 31)[None, :, None].float()
    with torch.inference_mode():
        assert_near(card_attention.turned(drawn(1, 40, 3, 10), there), turned(drawn(1, 40, 3, 10), by))
        for heard in (None, mask):
            assert_near(card_attention.attended(layer, frames, there, heard), layer(frames, by, heard))


def test_a_long_song_launches_as_few_kernels_as_a_short_one() -> None:
    with torch.device("meta"):
        dit = AceStepV1Transformer(
            V1Config(num_layers=2, damped_blocks=(0, 1), ssl_encoder_depths=(1, 1))
        ).requires_grad_(False)
    config, counts = dit.config, list[int]()
    with PhantomCard() as card:
        card.holds(dit, torch.bfloat16)
        heads = (1, config.num_attention_heads, 60, config.attention_head_dim)
        heard = PreparedStates(*[tuple(card.tensor(*heads) for _ in range(2))] * 2, None)
        for frames in (108, 2584):
            x, t = card.tensor(1, 8, 16, frames, dtype=torch.float32), card.tensor(1, dtype=torch.float32)
            with card.counting(dit, x, t, heard) as count:
                dit.velocity(x, t, heard)
            assert count.copies == []
            counts.append(count.kernels)
    assert counts[0] == counts[1] <= 2 * 42 + 50


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(open_engine(tiny_v1(tmp_path_factory.mktemp("v1") / "tiny", whole=True)), 2.0, {"steps": 4})


def test_rows_made_for_all_blocks_at_once_are_each_blocks_own(bench: Bench) -> None:
    config = bench.engine.checkpoint.config  # type: ignore[attr-defined]
    blocks, time = [Block(config), Block(config)], drawn(2, 6, config.dim)
    frames, heads = drawn(2, 9, config.dim), (2, config.num_attention_heads, 5, config.attention_head_dim)
    by = turns(torch.arange(9)[None], config.attention_head_dim, config.rope_theta)
    given = (frames, time, by, drawn(*heads), drawn(*heads, seed=2), None, None)
    with torch.inference_mode():
        for block, rows in zip(blocks, modulations(blocks, time), strict=True):
            assert_near(block(*given, rows), block(*given))


def test_branches_in_one_batch_say_what_each_says_alone(bench: Bench) -> None:
    engine: Any = bench.engine
    assert isinstance(engine, AceV1Engine)
    prepared = engine.prepare([bench.resolve(bench.recipe(lyrics="[verse]\nhello there"))])
    words, x = engine._words(prepared, 0), drawn(1, 8, 16, 21)
    hearings = [erg.WHOLE, erg.null_hearing(True, True), erg.text_hearing(False)]
    batch = engine._at_once(words, hearings, quietly=True)
    found = engine._velocity(torch.cat([x] * 3), torch.full((3,), 0.7), batch.condition)
    for place, (one, hearing) in enumerate(zip(found.split(1), hearings, strict=True)):
        alone = type(batch.condition)(engine._encoded(words, hearing), quietly=place == 1)
        assert_near(one, engine._velocity(x, torch.full((1,), 0.7), alone))


def test_a_guided_step_of_one_batch_is_that_of_its_branches() -> None:
    how = decided(FlowSamplingV1(steps=4, guidance_scale=7.0, guidance_share=0.5, guidance="cfg"))

    def velocity(x: torch.Tensor, t: torch.Tensor, by: Any) -> torch.Tensor:
        asked.append(len(x))
        return x * by

    asked: list[int] = []
    rows = torch.tensor([2.0, 2.0, 0.5, 0.5]).view(4, 1, 1, 1)
    apart = Branches(Branch(2.0), Branch(0.5))
    at_once = Branches(Branch(2.0), together=Branch(rows))
    guides = [Guide(velocity, one, Strength.of(how), walk(how)) for one in (apart, at_once)]
    x = drawn(2, 8, 16, 5)
    for index in range(4):
        for guide in guides:
            guide.index = index
        one, other = (guide(x, 0.5) for guide in guides)
        assert_near(one, other)
    assert asked.count(4) == 2
