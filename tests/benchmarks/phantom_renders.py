"""Whole renders at published sizes on a card that is not there: words, conditions, loop, tiles; and each planner's prompt and token.

    python -m tests.benchmarks.phantom_renders              # half a minute on an idle core; no card, no weights

What the suite shows with tiny checkpoints (`tests/test_phantom_engines.py`) and one step of the 2B transformer, for everything that is
published: nothing lies on the wrong side and nothing waits within a step (there both raise). A row says how many kernels a step
launches, what it copies, how many kernels decode it, and in which dtypes products are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from acestep_lab.plan.decoder import decoder_of
from acestep_lab.prompt.recipe import Recipe
from tests.hollow import LMS, hollow_ace15, hollow_musicgen, hollow_v1
from tests.phantom import PhantomCard
from tests.test_phantom_engines import GUIDED, SUNG, TIMBRE, Rendered, render


def line(name: str, found: Rendered, per: int) -> str:
    copies = max(map(len, found.steps[1:]))
    dtypes = sorted({str(one)[6:] for count in (found.loop, found.decoded) for one in count.products})
    return f"{name:<18}{found.loop.kernels / per:>10.0f}{copies:>10}{found.decoded.kernels:>10}  {', '.join(dtypes)}"


def main() -> None:
    print(f"{'render':<18}{'kernels':>10}{'copies':>10}{'decoding':>10}  products in")
    sung, text = SUNG.replace(seconds=10.0), Recipe("dub", seconds=0.5)
    with tempfile.TemporaryDirectory() as folder, PhantomCard(real_host=True) as card:
        place = Path(folder)
        for name, knobs in (("turbo", {}), ("base", GUIDED), ("xl-turbo", {})):
            found = render(card, hollow_ace15(place, name), sung.replace(**knobs), TIMBRE)
            print(line(name, found, len(found.steps)), flush=True)
        found = render(card, hollow_v1(place), sung)
        print(line("ace-step-v1", found, len(found.steps)), flush=True)
        for name in ("musicgen-small", "musicgen-melody"):
            found = render(card, hollow_musicgen(place, name), text, looks=(True,) * 8)
            print(line(name, found, len(found.steps)), flush=True)
        for size in LMS:
            print(f"planner {size:<10}{planned(card, hollow_ace15(place / size, 'turbo', lm=size)):>10}", flush=True)


def planned(card: PhantomCard, engine: Any) -> int:
    """Kernels of a prompt that is read, and a token that is written."""
    decoder = decoder_of(card.holds(engine.build("lm", torch.bfloat16)))
    with card.counting() as count, card.answering(True, True, all_asked=False):
        cache = decoder.new_cache(2, 600)
        for tokens in ([7] * 400, [8]):
            assert decoder.logits(decoder.feed(cache, [tokens, tokens]), slice(0, 1000)).shape == (2, 1000)
    assert set(count.products) == {torch.bfloat16}
    return count.kernels


if __name__ == "__main__":
    main()
