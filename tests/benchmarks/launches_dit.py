"""Kernels that a step of a DiT launches on a card, counted on a pretended one: the CPU's road there, and the card's.

    python -m tests.benchmarks.launches_dit [--seconds 10 30 60 240 600]        # full size, some seconds each, no card needed

Rows are of `models.backends`; peak is what lives above the weights while a step is worked out, copies are those between the card and
the host. Keys and values of the conditions are there already, as from a run's second step on. A recorded step is one launch.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from typing import Any

import torch

from acestep_lab._libraries import ace_step_transformer
from acestep_lab.engines.ace15 import attention, card_attention
from acestep_lab.engines.ace15.card_attention import CardRoad
from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer, PreparedStates
from acestep_lab.models.backends import BY_NAME
from tests.phantom import Count, PhantomCard

WORDS = 600
"""States of the conditions."""
SIZES = {
    "2B": {},
    "XL": {"hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 32, "num_attention_heads": 32,
           "encoder_hidden_size": 2048},
}  # fmt: skip
ROADS = ("cpu's road", "cuda", "turing", "xpu")


def ace15(size: str, road: str) -> Any:
    """A DiT without numbers, on one of the roads."""
    with torch.device("meta"):
        dit = ace_step_transformer.AceStepTransformer1DModel(**SIZES[size]).requires_grad_(False)
    if road not in BY_NAME:
        return attention.install(dit)
    return card_attention.install(dit, CardRoad(row=lambda device: BY_NAME[road]))


def counted(card: PhantomCard, dit: Any, seconds: float, items: int, dtype: torch.dtype) -> Count:
    """A run's second step."""
    frames = round(seconds * 25)
    shapes = ((items, frames, 64), (items, WORDS, 2048), (items, frames, 128))
    x, states, context = (card.tensor(*shape, dtype=dtype) for shape in shapes)
    cache = attention.CrossAttentionCache()
    attention.velocity(dit, x, 0.9, states, context, cache=cache)
    with card.counting(dit, x, states, context, *(vars(cache)["_kept"].values())) as count:
        attention.velocity(dit, x, 0.7, states, context, cache=cache)
    return count


def rows_of_ace15(lengths: list[float], size: str) -> Iterator[tuple[str, float, Count]]:
    """Every road at every length."""
    for road in ROADS:
        dtype = torch.float16 if road == "turing" else torch.bfloat16
        with PhantomCard() as card:
            dit = card.holds(ace15(size, road), dtype)
            for seconds in lengths:
                yield f"{size} {road}", seconds, counted(card, dit, seconds, 1, dtype)


def rows_of_v1(lengths: list[float]) -> Iterator[tuple[str, float, Count]]:
    """ACE-Step v1, whose road on a card is its own."""
    with torch.device("meta"):
        dit: Any = AceStepV1Transformer(V1Config()).requires_grad_(False)
    config = dit.config
    with PhantomCard() as card:
        card.holds(dit, torch.bfloat16)
        heads = (1, config.num_attention_heads, WORDS, config.attention_head_dim)
        one = tuple(card.tensor(*heads) for _ in range(config.num_layers))
        for seconds in lengths:
            x = card.tensor(1, 8, 16, round(seconds * 10.77), dtype=torch.float32)
            t, heard = card.tensor(1, dtype=torch.float32), PreparedStates(one, copy.copy(one), None)
            with card.counting(dit, x, t, heard) as count:
                dit.velocity(x, t, heard)
            yield "v1 cuda", seconds, count


def main(lengths: list[float]) -> None:
    """Print a row for each road and length, and what a step is made of at the first."""
    print(f"{'road':<16}{'seconds':>8}{'kernels':>9}{'copies':>8}{'peak MB':>9}  most of them")
    rows = (*rows_of_ace15(lengths, "2B"), *rows_of_ace15(lengths[:1], "XL"), *rows_of_v1(lengths))
    for name, seconds, count in rows:
        most = ", ".join(f"{kind} {number}" for kind, number in count.launches.most_common(6))
        print(f"{name:<16}{seconds:>8g}{count.kernels:>9}{len(count.copies):>8}{count.peak / 2**20:>9.0f}  {most}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 30.0, 60.0, 240.0, 600.0])
    main(parser.parse_args().seconds)
