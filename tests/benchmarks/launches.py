"""Kernels the planner launches for a token on a card that is not there: as rows are decoded on a CPU, and in steps of fixed shapes.

    python -m tests.benchmarks.launches              # some seconds; writes results/launches.json

Counted on the pretended card (`tests/phantom.py`) for a guided code, the song and its CFG row in one batch: attention and RMSNorm are
one kernel each, views are none. Where the way of the CPU waits for a number of the card it is told one, and the wait is counted;
the steps of fixed shapes are told nothing: they must not ask. "played" is how many recorded steps the host plays for a token: on a
card with graphs each is one launch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from acestep_lab._libraries import transformers
from acestep_lab.plan.decode_batch import Choice, DecodeBatch
from acestep_lab.plan.decoder import Decoder
from acestep_lab.plan.fixed_batch import WINDOW, FixedBatch
from acestep_lab.plan.fixed_step import FixedRoom
from acestep_lab.plan.token_sampler import TokenSampler
from acestep_lab.prompt.recipe import Planning
from tests.benchmarks.meter import show, write
from tests.phantom import PhantomCard

PROMPT, CFG_PROMPT = 300, 60


@dataclass(frozen=True)
class Layout:
    """A Qwen3's sizes, and which of its words are codes."""

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    width: int
    words: int
    codes: tuple[int, int]

    def model(self) -> Any:
        """The model on meta."""
        config = transformers.Qwen3Config(
            vocab_size=self.words, hidden_size=self.hidden, intermediate_size=self.mlp, num_hidden_layers=self.layers,
            num_attention_heads=self.heads, num_key_value_heads=self.kv_heads, head_dim=self.width, tie_word_embeddings=True,
        )  # fmt: skip
        with torch.device("meta"):
            return transformers.Qwen3ForCausalLM(config).eval()


SMALL = Layout(28, 1024, 3072, 16, 8, 128, 217_204, (151_669, 215_669))
"""The published planner of 0.6B."""


class Plainly(TorchDispatchMode):
    """Takes operators that are made of others apart, as a card is handed them; tells whoever waits for a number one, and counts it."""

    def __init__(self, answers: bool) -> None:
        super().__init__()
        self.answers, self.waits = answers, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.answers and func._schema.name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::item"):
            self.waits += 1
            return {torch.bool: False, torch.int64: 1}.get(args[0].dtype, 0.5)
        if func.namespace != "aten":
            return func(*args, **(kwargs or {}))
        with self:
            found = func.decompose(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if found is NotImplemented else found


class Shapes(FixedBatch[int]):
    """A FixedBatch whose card has no numbers: whoever reads what it chose is told zeros, after the copy."""

    def _chosen(self, count: int) -> list[list[int]]:
        found = self._found[:count].cpu()
        return [[0] * found.shape[1]] * count


@dataclass(frozen=True)
class PerToken:
    """What a guided code costs: kernels, copies between card and host, waits of the host, and steps played, all for one token."""

    kernels: float
    copies: float
    waits: float
    by_operator: Counter[str]
    played: float = 0


def on_card(card: PhantomCard, layout: Layout) -> Decoder:
    """The model's decoder on the card, in bfloat16."""
    decoder = Decoder(card.holds(layout.model(), torch.bfloat16))
    for layer in decoder.layers:
        for maps in (
            layer.qkv,
            layer.out,
            layer.gate_up,
            layer.down,
        ):  # plain weights, which those of a card without numbers are not
            maps.weight = card.tensor(sum(one.out_features for one in maps.maps), maps.maps[0].in_features)
    return decoder


def before(layout: Layout, planning: Planning) -> PerToken:
    """A token in a DecodeBatch: a song and its CFG row, ragged as they always are."""
    with PhantomCard() as card:
        decoder = on_card(card, layout)
        cache, hidden = decoder.new_cache(2, PROMPT + 64), card.tensor(2, layout.hidden)
        cache.lengths = [PROMPT, CFG_PROMPT]
        decoder.rotary_table(cache.capacity)
        batch = DecodeBatch(decoder, [0], cache, hidden, 2.0, True)
        sampler = TokenSampler(planning, 0)
        with card.counting() as count, Plainly(answers=True) as card_host:
            sampler.sample(batch.logits(slice(*layout.codes))[0])
            batch.feed([[0]])
    return PerToken(count.kernels, len(count.copies) + card_host.waits, card_host.waits, count.launches)


def after(layout: Layout, planning: Planning) -> PerToken:
    """A token in a FixedBatch: a window of them, by the window."""
    with PhantomCard() as card:
        decoder, played = on_card(card, layout), Counter[str]()
        room = FixedRoom(decoder, 2, PROMPT + 64)
        batch = Shapes(decoder, lambda step, state, cache: lambda: played.update(token=1) or step(), [0], 2.0, room)
        batch.guided, batch._lengths, batch._cfg_length = True, [PROMPT], CFG_PROMPT
        choices, ids = [Choice(TokenSampler(planning, 0))], range(*layout.codes)
        with card.counting() as count, Plainly(answers=False):
            batch.write(choices, ids, [])
    return PerToken(
        count.kernels / WINDOW, len(count.copies) / WINDOW, 1 / WINDOW, count.launches, played["token"] / WINDOW
    )


def of_deep(cost: Callable[[Layout, Planning], PerToken], planning: Planning) -> float:
    """The kernels of `SMALL`, worked out from narrow models of one and of two layers."""
    narrow = Layout(1, 64, 96, 4, 2, 16, 400, (100, 300))
    one, two = (cost(replace(narrow, layers=layers), planning).kernels for layers in (1, 2))
    return one + (two - one) * (SMALL.layers - 1)


def main() -> None:
    rows = {}
    for name, planning in {"sampled": Planning(), "greedy": Planning(temperature=0.0)}.items():
        for way, cost in {"before": before(SMALL, planning), "after": after(SMALL, planning)}.items():
            rows[f"{name}, {way}"] = {
                "kernels": cost.kernels, "copies": cost.copies, "waits": cost.waits, "played": cost.played,
            }  # fmt: skip
        rows[f"{name}, after"]["of before"] = round(
            rows[f"{name}, after"]["kernels"] / rows[f"{name}, before"]["kernels"], 3
        )
    show("a guided code of the 0.6B planner, per token", rows)
    write("launches", {"command": "python -m tests.benchmarks.launches", "per token, 0.6B": rows})


if __name__ == "__main__":
    main()
