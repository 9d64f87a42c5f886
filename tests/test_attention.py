"""diffusers is the oracle: the same numbers with masks, with memory, in slabs, and under a LoRA."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.attention import CrossAttentionCache, attend, velocity
from acestep_lab.errors import RecipeError
from tests.closeness import NEAR, assert_near
from tests.tiny import CONDITION, LATENT, tiny_components

ITEMS, FRAMES, TOKENS = 2, 1061, 13  # more tokens than two slabs, an odd number of frames


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def stock() -> Any:
    return tiny_components()["dit"]


@pytest.fixture(scope="module")
def ours(stock: Any) -> Any:
    return attention.install(copy.deepcopy(stock))


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    return draw(ITEMS, FRAMES, LATENT), draw(ITEMS, TOKENS, CONDITION, seed=2), draw(ITEMS, FRAMES, 2 * LATENT, seed=3)


def oracle(dit: Any, x: Tensor, states: Tensor, context: Tensor, t: float = 0.7) -> Tensor:
    times = torch.full((len(x),), t, dtype=x.dtype)
    with torch.inference_mode():
        return dit(x, times, times, states, context).sample


def test_the_velocity_is_the_one_of_diffusers(stock: Any, ours: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = inputs
    found = velocity(ours, x, 0.7, states, context)
    assert_near(found, oracle(stock, *inputs))
    torch.testing.assert_close(oracle(ours, *inputs), found, atol=0, rtol=0)  # and so it is for a stock caller


@pytest.mark.parametrize("quick", [True, False])
def test_an_item_in_a_padded_batch_is_the_item_alone(stock: Any, inputs: tuple[Tensor, ...], quick: bool) -> None:
    x, states, context = inputs
    dit = attention.install(copy.deepcopy(stock), quick=quick)
    sizes = [(FRAMES, TOKENS), (533, 7)]
    frame_mask = torch.stack([torch.arange(FRAMES) < frames for frames, _ in sizes])
    mask = torch.stack([torch.arange(TOKENS) < tokens for _, tokens in sizes])
    found = velocity(dit, x, 0.7, states, context, mask=mask, frame_mask=frame_mask)
    for item, (frames, tokens) in enumerate(sizes):
        row = slice(item, item + 1)
        alone = oracle(stock, x[row, :frames], states[row, :tokens], context[row, :frames])
        assert_near(found[row, :frames], alone)
    assert not found[1, 533:].any()


def test_a_mask_may_have_holes_among_the_words(stock: Any, ours: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = inputs
    mask = torch.arange(TOKENS) % 3 != 1
    found = velocity(ours, x[:1], 0.7, states[:1], context[:1], mask=mask[None])
    expected = oracle(stock, x[:1], states[:1, mask], context[:1])
    assert_near(found, expected)


def test_one_word_said_many_times_is_heard_once(stock: Any, ours: Any, inputs: tuple[Tensor, ...]) -> None:
    x, _, context = inputs
    nothing, memory = draw(1, 1, CONDITION).expand(ITEMS, TOKENS, CONDITION), CrossAttentionCache()
    found = velocity(ours, x, 0.7, nothing, context, cache=memory)
    assert_near(found, oracle(stock, x, nothing, context))
    key, _ = next(iter(memory._kept.values()))[3].kept[ours.layers[0].cross_attn]
    assert key.shape[1] == 1


def counted(dit: Any) -> list[str]:
    """The names of cross-attention projections, as they are called from now on."""
    calls: list[str] = []
    for name, layer in dit.named_modules():
        if name.endswith(("cross_attn.to_k", "cross_attn.to_v")) or name == "condition_embedder":
            layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    return calls


def test_what_was_heard_is_remembered_by_its_content(stock: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = inputs
    dit, memory = attention.install(copy.deepcopy(stock)), CrossAttentionCache()
    calls = counted(dit)
    first = velocity(dit, x, 0.7, states, context, cache=memory)
    made = len(calls)
    again = velocity(dit, x, 0.7, states.clone(), context, cache=memory)  # a re-roll: same words, new tensors
    assert (made, len(calls)) == (2 * len(dit.layers) + 1, made)
    assert torch.equal(first, again) and (memory.hits, memory.misses) == (1, 1)  # noqa: PT018
    other = velocity(dit, x, 0.7, states + 1, context, cache=memory)
    assert len(calls) == 2 * made and not torch.equal(other, first)  # noqa: PT018
    masked = torch.ones(ITEMS, TOKENS, dtype=torch.bool)
    masked[0, 5:] = False
    assert not torch.equal(velocity(dit, x, 0.7, states, context, mask=masked, cache=memory), first)


def test_memory_notices_a_lora_and_every_change_of_it(stock: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = (value[:1, :20] for value in inputs)
    dit, memory = attention.install(copy.deepcopy(stock)), CrossAttentionCache()
    bare = velocity(dit, x, 0.7, states, context, cache=memory)
    torch.manual_seed(9)
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["to_k", "to_v"], init_lora_weights=False), dit)
    dit.requires_grad_(False)
    plain = attention.uninstall(copy.deepcopy(dit))
    worn = velocity(dit, x, 0.7, states, context, cache=memory)
    assert_near(worn, oracle(plain, x, states, context))
    assert not torch.equal(worn, bare)
    for module in dit.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.set_scale("default", 0.5)
    assert not torch.equal(velocity(dit, x, 0.7, states, context, cache=memory), worn)
    for module in dit.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.enable_adapters(False)
    assert torch.equal(velocity(dit, x, 0.7, states, context, cache=memory), bare)


def test_memory_keeps_within_its_bounds_and_lets_go_of_the_longest_unused(
    ours: Any, inputs: tuple[Tensor, ...]
) -> None:
    x, states, context = (value[:1, :20] for value in inputs)
    memory = CrossAttentionCache(entries=2)
    for shift in (0, 1, 0, 2, 0, 1):
        velocity(ours, x, 0.7, states + shift, context, cache=memory)
    assert (memory.hits, memory.misses) == (2, 4)
    assert memory.size > 0
    memory.clear()
    assert memory.size == 0


def test_gradients_flow_and_nothing_is_remembered_while_they_do(stock: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = (value[:1, :600] for value in inputs)
    grown = {}
    for name, dit in {"stock": copy.deepcopy(stock), "ours": attention.install(copy.deepcopy(stock))}.items():
        dit.requires_grad_(True)
        times = torch.tensor([0.7])
        extra = {"cache": CrossAttentionCache()} if name == "ours" else {}
        dit(x, times, times, states, context, **extra).sample.square().mean().backward()
        grown[name] = dit.layers[0].self_attn.to_q.weight.grad
        assert not extra or extra["cache"].size == 0
    assert_near(grown["ours"], grown["stock"])


def test_bfloat16_strays_no_further_from_float32_than_diffusers_does(stock: Any, inputs: tuple[Tensor, ...]) -> None:
    exact, half = oracle(stock, *inputs), copy.deepcopy(stock).bfloat16()
    theirs = oracle(half, *(value.bfloat16() for value in inputs)).float()
    found = velocity(attention.install(half), *inputs[:1], 0.7, *inputs[1:])
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 1.1 * (theirs - exact).norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 7, 256, 257, 700])
@pytest.mark.parametrize("window", [None, 6, 128, 1000])
def test_attention_in_slabs_is_attention_under_a_dense_mask(
    tokens: int, window: int | None, dtype: torch.dtype
) -> None:
    query, key, value = (draw(2, tokens, heads, 8, seed=heads).to(dtype) for heads in (4, 2, 1))
    value = value.expand(2, tokens, 2, 8)
    steps = torch.arange(tokens)
    near = (steps[:, None] - steps).abs() <= (tokens if window is None else window)
    wide = [x.double().transpose(1, 2) for x in (query, key, value)]
    expected = nn.functional.scaled_dot_product_attention(*wide, attn_mask=near, scale=0.3, enable_gqa=True)
    found = attend(query, key, value, 0.3, window).double().transpose(1, 2)
    assert_near(found, expected, NEAR if dtype == torch.float32 else 0.03)


def test_what_a_hook_keeps_of_a_layers_network_is_not_overwritten(stock: Any) -> None:
    mlp, kept = stock.layers[0].mlp, list[Tensor]()
    x = torch.randn(1, 5, mlp.gate_proj.in_features)
    with torch.no_grad():
        exact, alone = mlp(x), attention.in_slabs(mlp, x)
        mlp.gate_proj.register_forward_hook(lambda module, given, found: kept.append(found))
        heard = attention.in_slabs(mlp, x)
        assert torch.equal(kept[0], torch.nn.functional.linear(x.flatten(0, 1), mlp.gate_proj.weight))
    assert torch.equal(alone, heard)
    assert_near(alone, exact, NEAR)


def test_the_precision_of_other_products_is_left_alone() -> None:
    query = draw(1, 300, 2, 8).bfloat16()
    attend(query, query, query, 0.3)
    one, other = draw(64, 64), draw(64, 64, seed=2)
    assert_near((one @ other).double(), one.double() @ other.double())


def test_uninstalling_leaves_diffusers_as_it_was(stock: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = (value[:1, :20] for value in inputs)
    dit = attention.uninstall(attention.install(copy.deepcopy(stock)))
    assert torch.equal(oracle(dit, x, states, context), oracle(stock, x, states, context))
    assert torch.equal(velocity(dit, x, 0.7, states, context), oracle(stock, x, states, context))


def test_what_cannot_be_is_said_in_words(stock: Any, ours: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = (value[:1, :20] for value in inputs)
    with pytest.raises(RecipeError, match="install"):
        velocity(stock, x, 0.7, states, context, cache=CrossAttentionCache())
    holes = torch.arange(20)[None] % 2 == 0
    with pytest.raises(RecipeError, match="first frame"):
        velocity(ours, x, 0.7, states, context, frame_mask=holes)


# --- canary: what a newer diffusers may change -------------------------------------------------------------------------


def test_diffusers_still_has_everything_the_dit_is_asked_for(stock: Any) -> None:
    there = {type(module).__name__: module for module in stock.modules()}
    missing = [
        f"{kind}.{name}"
        for kind, names in attention.RELIED_ON.items()
        for name in names
        if not hasattr(there.get(kind), name)
    ]
    assert missing == []
    asked = [
        "hidden_states",
        "timestep",
        "timestep_r",
        "encoder_hidden_states",
        "context_latents",
        "attention_kwargs",
        "return_dict",
    ]
    assert list(inspect.signature(type(stock).forward).parameters)[1:] == asked


def test_the_rotary_positions_and_the_dense_mask_are_those_of_diffusers() -> None:
    stock = pytest.importorskip("diffusers.models.transformers.ace_step_transformer")
    rotate = pytest.importorskip("diffusers.models.embeddings").apply_rotary_emb
    for dtype in (torch.float32, torch.bfloat16):
        x = draw(2, 301, 3, 8).to(dtype)
        ours, theirs = (
            attention.rotary_tables(301, 8, 1e6, x),
            stock._ace_step_rotary_freqs(301, 8, 1e6, x.device, dtype),
        )
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        expected = rotate(x, theirs, use_real=True, use_real_unbind_dim=-2, sequence_dim=1)
        assert torch.equal(attention.rotate(x, ours), expected)
        keep = torch.arange(301)[None] < torch.tensor([[301], [40]])
        for window, kept in ((None, keep), (7, None), (7, keep)):
            mask = stock._create_4d_mask(301, dtype, x.device, kept, window, window is not None, is_causal=False)
            assert torch.equal(attention.dense_mask(301, x, window, kept), mask)


def test_the_strength_of_a_lora_is_not_asked_for_in_a_call(ours: Any, inputs: tuple[Tensor, ...]) -> None:
    x, states, context = inputs
    times = torch.full((len(x),), 0.7)
    with pytest.raises(RecipeError, match="strength is set where it is attached"):
        ours(x, times, times, states, context, attention_kwargs={"scale": 0.5})
