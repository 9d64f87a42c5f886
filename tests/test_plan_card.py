"""The planner as it runs on a card: steps of fixed shapes, recorded once and played; the same tokens, fewer launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from acestep_lab import Plan, Planning, Recipe
from acestep_lab.errors import LabError
from acestep_lab.models.backends import BY_NAME
from acestep_lab.models.recording import CudaGraphs, Recorder, Step, plain, recorder_for
from acestep_lab.plan import Planner, Token
from acestep_lab.plan.decoder import Decoder
from acestep_lab.plan.fixed_batch import WINDOW
from acestep_lab.plan.fixed_step import FixedRoom
from acestep_lab.plan.token_sampler import TokenSampler, drawn
from tests.benchmarks import launches
from tests.closeness import assert_near
from tests.stand_in_graph import StandInGraph
from tests.tiny import tiny_lm, tiny_tokenizer

GEOMETRY = SimpleNamespace(
    code_count=40, codes_per_second=5.0, longest_seconds=600.0, codes=lambda seconds: int(seconds * 5 + 1e-6)
)
RECIPE = Recipe("dub techno", "[Verse]\nla")
PENALTY = Planning(repetition_penalty=1.3, top_p=0.8, top_k=20)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer(40)


@pytest.fixture(scope="module")
def lm(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    model = tiny_lm(tokenizer).eval()
    model.config.max_position_embeddings = 720
    return model


def planner(tokenizer: PreTrainedTokenizerFast, recorder: Recorder | None) -> Planner:
    return Planner(tokenizer, GEOMETRY, road=lambda device: recorder)


def heard(found: list[Token]) -> dict[int, list[Token]]:
    """What was heard of each plan."""
    return {row: [token for token in found if token.plan_index == row] for row in {token.plan_index for token in found}}


def written(planner: Planner, lm: Qwen3ForCausalLM, planning: Planning) -> tuple[list[Plan], Any, Plan, list[Token]]:
    """Three plans of different lengths side by side with all their events, and a sketch with its."""
    tokens: list[Token] = []
    lines: list[Token] = []
    plans = planner.plan(lm, RECIPE.replace(planning=planning), 3, n=3, longest=20, on_token=tokens.append)
    sketch = planner.sketch(lm, "a sad song", seed=4, planning=planning, on_token=lines.append)
    return plans, heard(tokens), sketch, lines


@pytest.mark.parametrize(("planning", "lengths"), [(Planning(), 1), (PENALTY, 2)], ids=["usual", "penalty"])
def test_a_recorded_step_writes_the_tokens_a_cpu_writes(
    tokenizer: PreTrainedTokenizerFast, lm: Qwen3ForCausalLM, planning: Planning, lengths: int
) -> None:
    graph = StandInGraph()
    there, here = written(planner(tokenizer, graph), lm, planning), written(planner(tokenizer, None), lm, planning)
    assert there == here
    assert len({len(plan.codes) for plan in here[0]}) == lengths  # of several, some go on unheard while others write
    assert graph.recorded < 16 < graph.played


def test_a_recorded_step_reads_tokens_lengths_and_state_only_where_they_lie(lm: Qwen3ForCausalLM) -> None:
    decoder, graph = Decoder(lm), StandInGraph()
    with torch.inference_mode():
        cache = decoder.new_cache(1, 3)
        hidden = decoder.feed(cache, [[1, 2, 3]])
        room = FixedRoom(decoder, 2, 16)
        room.fill(slice(0, 2), cache, hidden)
        ids, counts = torch.zeros(2, 2, dtype=torch.long), torch.ones(2, dtype=torch.long)
        play = graph(lambda: room.advance(ids, counts), room.state, room.layers)
        assert room.lengths.tolist() == [3, 3]
        rows = [[1, 2, 3], [1, 2, 3]]
        for told in ([[4], [5, 6]], [[7, 8], [9]], [[], [4]]):
            ids.copy_(torch.tensor([[*more, 0, 0][:2] for more in told]))
            counts.copy_(torch.tensor([len(more) for more in told]))
            play()
            rows = [row + more for row, more in zip(rows, told, strict=True)]
            alone = [decoder.feed(decoder.new_cache(1, len(row)), [row])[0] for row in rows]
            assert room.lengths.tolist() == [len(row) for row in rows]
            assert_near(room.hidden, torch.stack(alone))
    assert (graph.recorded, graph.played) == (1, 3)


def test_the_stand_in_notices_a_number_of_the_host_and_a_wait() -> None:
    place, said = torch.zeros(1), [1.0]
    play = StandInGraph()(lambda: place.copy_(place + said[0]), [place], [])  # type: ignore[arg-type]
    said[0] = 100.0
    play()
    assert place.tolist() == [1.0]
    with pytest.raises(AssertionError, match="waits"):
        StandInGraph()(lambda: place.fill_(float(place)), [place], [])  # type: ignore[arg-type]


def test_who_says_stop_is_heard_within_a_window(tokenizer: PreTrainedTokenizerFast, lm: Qwen3ForCausalLM) -> None:
    graph = StandInGraph()
    request = planner(tokenizer, graph).request(RECIPE.replace(seconds=20))
    generation = planner(tokenizer, graph).generate(lm, request, [1, 2])
    codes: list[Token] = []
    for token in generation:
        codes += [token] if token.field == "codes" else []
        if len(codes) == 21:
            generation.stop(0)
            played = graph.played
            break
    after = [token for token in generation if token.plan_index == 0]
    assert len(after) == 0
    assert generation.plans[0] is None
    assert len(generation.plans[1].codes) == 100  # type: ignore[union-attr]
    assert graph.played - played < 100
    generation = planner(tokenizer, graph).generate(lm, request, [1, 2])
    next(token for token in generation if token.field == "codes")
    before = graph.played
    generation.close()
    assert graph.played == before


def test_all_rows_at_once_are_sampled_as_one_by_one() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 300) * 3
    logits[:, ::3] = float("-inf")
    for planning in (
        Planning(), Planning(temperature=0.0), Planning(top_k=5, top_p=1.0), Planning(top_k=90, top_p=0.7),
        Planning(top_p=1.0, temperature=1.5), Planning(top_p=0.3),
    ):  # fmt: skip
        samplers, again = ([TokenSampler(planning, seed) for seed in range(6)] for _ in range(2))
        numbers = torch.stack([sampler.uniforms(20) for sampler in samplers], dim=1)  # [20, rows]
        for column in numbers:
            assert drawn(logits.clone(), column, planning).tolist() == [
                int(sampler.sample(row)) for sampler, row in zip(again, logits, strict=True)
            ]


def test_a_number_close_to_one_chooses_what_may_be_chosen() -> None:
    logits = torch.tensor([[0.0, 0.1, float("-inf"), float("-inf")]])
    last = TokenSampler(Planning(), 0).uniforms(1).fill_(1 - torch.finfo(torch.float64).eps)
    assert drawn(logits, last, Planning(top_p=1.0)).tolist() == [1]


def test_a_card_is_told_of_a_token_once_and_launches_two_fifths_of_the_kernels() -> None:
    before, after = (launches.of_deep(way, Planning()) for way in (launches.before, launches.after))
    assert after <= 0.4 * before
    one = launches.after(replace(launches.SMALL, layers=1), Planning())
    assert one.played <= 1
    assert one.copies * WINDOW <= 3


def test_each_device_has_its_way() -> None:
    cpu, cuda, mps = (torch.device(name) for name in ("cpu", "cuda", "mps"))
    assert recorder_for(cpu) is None
    assert isinstance(recorder_for(cuda, row=lambda device: BY_NAME["cuda"]), CudaGraphs)
    assert recorder_for(cuda, row=lambda device: BY_NAME["rocm"]) is plain, (
        "never seen there: only where it is asked for"
    )
    assert isinstance(recorder_for(cuda, "graph"), CudaGraphs)
    assert recorder_for(mps) is recorder_for(cuda, "plain") is recorder_for(cpu, "plain") is plain
    assert recorder_for(cuda, "compile") is recorder_for(cpu, "compile")
    with pytest.raises(LabError, match="lm_step"):
        recorder_for(mps, "graph")


def test_each_step_is_one_graph_to_torchs_compiler(tokenizer: PreTrainedTokenizerFast, lm: Qwen3ForCausalLM) -> None:
    def traced(step: Step, state: Sequence[Tensor], cache: Sequence[Tensor]) -> Step:
        return torch.compile(step, backend="eager", fullgraph=True, dynamic=False)

    recipe = RECIPE.replace(seconds=2, bpm=90, planning=Planning(writes_caption=False))
    there, here = (planner(tokenizer, recorder).plan(lm, recipe, 1) for recorder in (traced, None))
    assert there == here
