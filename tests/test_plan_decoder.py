"""The own Qwen3 step against the stock model, and sampling against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from acestep_lab import CheckpointError
from acestep_lab.plan.decode_batch import DecodeBatch
from acestep_lab.plan.decoder import Decoder, KVCache
from acestep_lab.plan.token_sampler import TokenSampler, nucleus, penalised
from acestep_lab.prompt.recipe import Planning
from tests.closeness import assert_near


@pytest.fixture(scope="module")
def lm() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=300, hidden_size=48, num_hidden_layers=3, intermediate_size=64, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def stock(lm: Qwen3ForCausalLM, tokens: list[int]) -> Tensor:
    with torch.inference_mode():
        return lm(torch.tensor([tokens])).logits[0, -1]


def test_rows_of_different_lengths_give_the_stock_logits(lm: Qwen3ForCausalLM) -> None:
    decoder, everything = Decoder(lm), slice(0, 300)
    rows = [list(range(20)), list(range(40, 73))]
    cache = decoder.new_cache(2, 64)
    for more in ([[], []], [[7, 8], [9]], [[1], [2]]):
        fed = rows if not more[0] else more
        rows = rows if not more[0] else [row + new for row, new in zip(rows, more, strict=True)]
        logits = decoder.logits(decoder.feed(cache, fed), everything)
        for row, got in zip(rows, logits, strict=True):
            assert_near(got, stock(lm, row))


def test_rows_can_be_doubled_dropped_and_put_together(lm: Qwen3ForCausalLM) -> None:
    decoder = Decoder(lm)
    cache = decoder.new_cache(2, 8)
    decoder.feed(cache, [[1, 2, 3], [4, 5]])
    joined = KVCache.stack([cache.select([1, 0, 1], 9), cache.select([0])], 16)
    logits = decoder.logits(decoder.feed(joined, [[6], [6], [7], [7]]), slice(0, 300))
    for row, got in zip(([4, 5, 6], [1, 2, 3, 6], [4, 5, 7], [1, 2, 3, 7]), logits, strict=True):
        assert_near(got, stock(lm, list(row)))


def test_part_of_the_head_is_that_part_of_the_logits(lm: Qwen3ForCausalLM) -> None:
    decoder = Decoder(lm)
    hidden = decoder.feed(decoder.new_cache(1, 4), [[1, 2, 3]])
    whole = decoder.logits(hidden, slice(0, 300))
    assert_near(decoder.logits(hidden, slice(250, 290)), whole[:, 250:290])
    assert_near(decoder.logits(hidden, torch.tensor([5, 250])), whole[:, [5, 250]])


def test_fused_weights_are_held_once_and_the_stock_model_still_works(lm: Qwen3ForCausalLM) -> None:
    before = stock(lm, [1, 2, 3])
    Decoder(lm)
    gate, up = lm.model.layers[0].mlp.gate_proj.weight, lm.model.layers[0].mlp.up_proj.weight
    assert gate.untyped_storage().data_ptr() == up.untyped_storage().data_ptr()
    place = gate.data_ptr()
    Decoder(lm)
    assert lm.model.layers[0].mlp.gate_proj.weight.data_ptr() == place
    assert_near(stock(lm, [1, 2, 3]), before)


def test_a_model_with_a_sliding_window_is_refused() -> None:
    config = Qwen3Config(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, intermediate_size=8, num_attention_heads=1, head_dim=8,
        num_key_value_heads=1, layer_types=["sliding_attention"], use_sliding_window=True, sliding_window=4,
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="sliding window"):
        Decoder(Qwen3ForCausalLM(config))


def test_the_cache_grows_when_a_row_is_fed_more_than_was_foreseen(lm: Qwen3ForCausalLM) -> None:
    batch: DecodeBatch[str] = DecodeBatch.prefill(Decoder(lm), ["one"], [1, 2], 1.0, 1)
    batch.add_cfg_rows([3], 1)
    for token in range(10, 20):
        batch.feed([[token]])
    assert_near(batch.logits(slice(0, 300))[0], stock(lm, [1, 2, *range(10, 20)]))


def test_few_and_many_allowed_tokens_have_the_same_logits(lm: Qwen3ForCausalLM) -> None:
    batch: DecodeBatch[str] = DecodeBatch.prefill(Decoder(lm), ["one", "two"], [1, 2], 1.0, 1)
    masks = [torch.zeros(300, dtype=torch.bool) for _ in range(2)]
    masks[0][[5, 9]], masks[1][[9, 200, 250]] = True, True
    (ids, logits), (more, others) = batch.allowed_logits(masks, 300)
    whole = batch.logits(slice(0, 300))
    assert_near(logits, whole[0, ids])
    assert_near(others, whole[1, more])


# ── sampling ──


def test_the_nucleus_is_the_references() -> None:
    torch.manual_seed(1)
    for size, p in ((50, 0.9), (3000, 0.5), (3000, 0.9999)):
        logits = torch.randn(size) * (3 if p < 0.9 else 0.1)
        kept, places = nucleus(logits, 0, p)
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(0).cumsum(0) - ordered.softmax(0)
        assert places is not None
        assert set(places.tolist()) == set(order[before <= p].tolist())
        assert_near(kept, logits[places])


def test_top_k_comes_before_top_p() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0]).log_softmax(0)
    assert nucleus(logits, 2, 1.0)[1].tolist() == [3, 2]  # type: ignore[union-attr]
    assert nucleus(logits, 2, 0.5)[1].tolist() == [3]  # type: ignore[union-attr]
    assert nucleus(logits, 0, 1.0) == (logits, None)


def test_repetition_is_punished_on_both_sides_of_zero() -> None:
    got = penalised(torch.tensor([2.0, -2.0, 2.0]), torch.tensor([True, True, False]), 2.0)
    assert got.tolist() == [1.0, -4.0, 2.0]


def test_samples_follow_the_probabilities_and_the_seed() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    sampler = TokenSampler(Planning(temperature=0.5, top_p=1.0), 3)
    counts = torch.bincount(torch.tensor([sampler.sample(logits) for _ in range(4000)]), minlength=3) / 4000
    torch.testing.assert_close(counts, (logits / 0.5).softmax(0), atol=0.03, rtol=0)
    first, again = (TokenSampler(Planning(), 9) for _ in range(2))
    assert [first.sample(logits) for _ in range(20)] == [again.sample(logits) for _ in range(20)]
    assert TokenSampler(Planning(temperature=0.0), 0).sample(logits) == 2
