"""The DiT's road on an accelerator: the CPU's numbers by every kernel, few launches, nothing asked of the device in a step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acestep_lab._libraries import ace_step_transformer
from acestep_lab.engines.ace15 import attention, card_attention
from acestep_lab.engines.ace15.attention import CrossAttentionCache, velocity
from acestep_lab.engines.ace15.card_attention import CardRoad
from acestep_lab.models.backends import BY_NAME
from acestep_lab.models.recording import Step, StepGraphs, plain
from tests.closeness import assert_near
from tests.phantom import PhantomCard
from tests.stand_in_graph import StandInGraph
from tests.tiny import CONDITION, LATENT, tiny_components

ITEMS, TOKENS = 2, 13
LONG, SHORT = 1061, 301  # frames: more than two slabs and an odd number; less


def flash(
    query: Tensor, key: Tensor, value: Tensor, asked: Tensor, ends: Tensor, most: int, longest: int, *, scale: float,
    window_size: tuple[int, int], enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """What flash attention over stretches says, worked out in the plainest way; as strict as it is about what it is handed."""
    assert asked.dtype == ends.dtype == torch.int32
    assert int(ends.diff().max()) <= longest
    assert int(asked.diff().max()) <= most
    out = torch.zeros_like(query)
    for (a, b), (c, d) in zip(asked.unfold(0, 2, 1).tolist(), ends.unfold(0, 2, 1).tolist(), strict=True):
        near = (torch.arange(b - a)[:, None] - torch.arange(d - c)).abs() <= (
            window_size[0] if window_size[0] >= 0 else 10**6
        )
        heads = (one.transpose(0, 1)[None] for one in (query[a:b], key[c:d], value[c:d]))
        found = nn.functional.scaled_dot_product_attention(*heads, attn_mask=near, scale=scale, enable_gqa=enable_gqa)
        out[a:b] = found[0].transpose(0, 1)
    return out


@pytest.fixture(scope="module")
def stock() -> Any:
    return tiny_components()["dit"].requires_grad_(False)


def on_road(stock: Any, kernel: str, **more: Any) -> Any:
    """A DiT whose every step goes the card's road, by one kernel."""
    return card_attention.install(copy.deepcopy(stock), CardRoad(everywhere=True, kernel=kernel, flash=flash, **more))


def inputs(frames: int, items: int = ITEMS) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    shapes = ((items, frames, LATENT), (items, TOKENS, CONDITION), (items, frames, 2 * LATENT))
    x, states, context = (torch.randn(*shape, generator=draw) for shape in shapes)
    return x, states, context


WORDS = torch.stack([torch.arange(TOKENS) % 3 != 1, torch.arange(TOKENS) < 6])
FRAMES = torch.stack([torch.arange(LONG) < LONG, torch.arange(LONG) < 533])


@pytest.mark.filterwarnings("ignore:flex_attention called without:UserWarning")  # there is nothing to compile for here
@pytest.mark.parametrize(
    ("kernel", "frames"), [("flash", SHORT), ("flash", LONG), ("banded", SHORT), ("banded", LONG), ("flex", SHORT)]
)
def test_every_kernel_gives_the_numbers_of_the_cpu(stock: Any, kernel: str, frames: int) -> None:
    x, states, context = inputs(frames)
    usual = attention.install(copy.deepcopy(stock))
    card = on_road(stock, kernel, row=lambda device: BY_NAME["turing" if frames == SHORT else "cpu"])
    with torch.inference_mode():
        assert_near(velocity(card, x, 0.7, states, context), velocity(usual, x, 0.7, states, context))


@pytest.mark.parametrize("frames", [20, SHORT, LONG])
def test_no_kernel_that_cannot_share_key_heads_is_asked_to(
    stock: Any, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    plain = nn.functional.scaled_dot_product_attention

    def spy(*heads: Tensor, attn_mask: Tensor | None, enable_gqa: bool = False, **more: Any) -> Tensor:
        asked.append(enable_gqa)
        return plain(*heads, attn_mask=attn_mask, enable_gqa=enable_gqa, **more)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", spy)
    card, given = on_road(stock, "", row=lambda device: BY_NAME["turing"]), inputs(frames)
    with torch.inference_mode():
        velocity(card, given[0], 0.7, *given[1:], mask=WORDS)
    assert len(asked) == 2 * len(stock.layers)
    assert not any(asked), "it would be left for one that holds a square of scores"


@pytest.mark.parametrize("kernel", ["flash", "banded"])
def test_lengths_and_words_of_a_batch_stay_each_items_own(stock: Any, kernel: str) -> None:
    x, states, context = inputs(LONG)
    usual, card = attention.install(copy.deepcopy(stock)), on_road(stock, kernel)
    with torch.inference_mode():
        found, wanted = (
            velocity(dit, x, 0.7, states, context, mask=WORDS, frame_mask=FRAMES, cache=CrossAttentionCache())
            for dit in (card, usual)
        )
    assert_near(found, wanted)


def test_the_road_is_left_for_learning_and_on_a_cpu(stock: Any) -> None:
    x, states, context = inputs(20)
    usual, card = attention.install(copy.deepcopy(stock)), card_attention.install(copy.deepcopy(stock))
    assert torch.equal(velocity(card, x, 0.7, states, context), velocity(usual, x, 0.7, states, context))
    assert not CardRoad(everywhere=True).takes(x)
    bare = attention.uninstall(card)
    assert not any("forward" in vars(module) for module in bare.modules())


@pytest.fixture(scope="module")
def hollow() -> Any:
    """A small DiT without numbers."""
    with torch.device("meta"):
        return ace_step_transformer.AceStepTransformer1DModel(
            hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
            head_dim=64, in_channels=192, sliding_window=32,
        ).requires_grad_(False)  # fmt: skip


@pytest.mark.parametrize(("row", "most"), [("cuda", 34), ("turing", 48), ("rocm", 40)])
def test_a_step_launches_few_kernels_and_asks_nothing_of_the_device(hollow: Any, row: str, most: int) -> None:
    dit = card_attention.install(copy.deepcopy(hollow), CardRoad(row=lambda device: BY_NAME[row]))
    with PhantomCard() as card:
        dtype = torch.float16 if row == "turing" else torch.bfloat16
        card.holds(dit, dtype)
        x, states, context = (card.tensor(2, *shape, dtype=dtype) for shape in ((700, 64), (40, 256), (700, 128)))
        cache = CrossAttentionCache()
        velocity(dit, x, 0.7, states, context, cache=cache)
        with card.counting(dit, x, states, context) as count:
            velocity(dit, x, 0.4, states, context, cache=cache)
    assert count.copies == []
    assert (count.kernels - 50) / 4 <= most, count.launches
    assert (
        count.launches["mm"] == 4 * 9
    )  # projections and networks: keys and values of the conditions are not made again


def refusing(step: Step, state: Sequence[Tensor], places: Sequence[Tensor]) -> Step:
    """A recorder that cannot."""
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_a_step_is_recorded_once_and_played_for_other_times_songs_and_near_lengths(stock: Any) -> None:
    graphs = StepGraphs(plain, first=1)
    card = on_road(stock, "flash", graphs=graphs)
    usual, cache = attention.install(copy.deepcopy(stock)), CrossAttentionCache()
    with torch.inference_mode():
        for frames, t in ((SHORT, 0.9), (SHORT, 0.7), (SHORT - 20, 0.5), (SHORT, 0.2)):
            x, states, context = inputs(frames, 1)
            found = velocity(card, x * t, t, states + t, context, cache=cache)
            assert_near(found, velocity(usual, x * t, t, states + t, context))
    assert (graphs.recorded, graphs.played) == (1, 3)


def test_what_does_not_say_whether_it_was_written_into_is_read_anew(stock: Any) -> None:
    recorder, cache = StandInGraph(), CrossAttentionCache()
    card = on_road(stock, "banded", graphs=StepGraphs(recorder, first=0))
    with torch.inference_mode():
        x, states, context = inputs(20, 1)  # made here, torch does not count what is written into them
        velocity(card, x, 0.7, states, context, cache=cache)
        for tensor in (x, states, context):
            tensor.mul_(0.5)
        found = velocity(card, x, 0.7, states, context, cache=cache)
        assert_near(found, velocity(attention.install(copy.deepcopy(stock)), x, 0.7, states, context))
    assert (recorder.recorded, recorder.played) == (1, 2)


def test_what_stays_for_a_run_is_copied_into_a_recording_once() -> None:
    graphs, filled = StepGraphs(plain, first=0), []
    kept, changing = torch.ones(3), torch.ones(3)

    def function(kept: Tensor, changing: Tensor) -> Tensor:
        filled.append((kept.clone(), kept._version, changing._version))
        return kept + changing

    for step in range(3):
        changing.fill_(step)
        assert graphs.run("sum", 0, function, (kept, changing)).tolist() == [1.0 + step] * 3
    assert [(once, often) for _, once, often in filled] == [(1, 1), (1, 2), (1, 3)]


def test_other_weights_are_recorded_anew(stock: Any) -> None:
    graphs, cache = StepGraphs(plain, first=0), CrossAttentionCache()
    card = on_road(stock, "flash", graphs=graphs)
    x, states, context = inputs(SHORT, 1)
    with torch.no_grad():
        velocity(card, x, 0.9, states, context, cache=cache)
        card.layers[0].mlp.down_proj.weight.mul_(2)
        found = velocity(card, x, 0.9, states, context, cache=cache)
        assert graphs.recorded == 2
        assert_near(found, velocity(attention.install(card), x, 0.9, states, context))


def test_what_cannot_be_recorded_runs_and_says_why(stock: Any) -> None:
    graphs = StepGraphs(refusing, first=0)
    card = on_road(stock, "flash", graphs=graphs)
    with torch.inference_mode():
        assert velocity(card, *two(SHORT)).isfinite().all()
    assert graphs.reason == "Steps are not recorded: operation not permitted when stream is capturing"
    assert graphs.recorder is None


def two(frames: int) -> tuple[Tensor, float, Tensor, Tensor]:
    x, states, context = inputs(frames)
    return x, 0.7, states, context


def test_few_lengths_are_recorded() -> None:
    lengths = {card_attention.roomy(tokens) for tokens in range(1, 7501)}
    assert all(tokens <= card_attention.roomy(tokens) <= max(tokens + 31, tokens * 9 // 8) for tokens in range(1, 7501))
    assert len(lengths) <= 60
