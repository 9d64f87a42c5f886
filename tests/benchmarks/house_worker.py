"""One checkout's half of bench_house: does a named piece of work when told to, and answers what it cost.

Knows two sets of names at its few seams: those of 51a500e and those of today. Whatever else it needs of a checkout are verbs
of the Session. Lines in on stdin, each a name of `CASES`; lines out on stdout, each processor milliseconds per unit as JSON.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

ATTENTION = ("engines.ace15.attention", "synth.attention")
SEAMS = {
    "install": [f"{file}:install" for file in ATTENTION],
    "velocity": [f"{file}:{name}" for file in ATTENTION for name in ("predict_velocity", "velocity")],
    "memory": [f"{file}:{name}" for file in ATTENTION for name in ("CrossAttentionCache", "Memory")],
    "decode_batch": ["plan.decode_batch:DecodeBatch", "plan.choir:Choir"],
    "token_sampler": ["plan.token_sampler:TokenSampler", "plan.sampling:Draw"],
    "patch": ["_torchaudio:patch_torchaudio", "_torchaudio:cure"],
}
FEED, PREFILL, CFG, SAMPLE = ("feed", "say"), ("prefill", "read"), ("add_cfg_rows", "pair"), ("sample", "pick")
"""What a checkout may call a thing, today's name first."""
FRAMES, TOKENS, WIDTH, CHANNELS = 250, 351, 2048, 64
TEXT, CODES = 151_669, 64_000
WORDS = "slow dub techno, tape hiss"


def method(of: Any, names: tuple[str, ...]) -> Any:
    """The method that exists of those that a checkout may have."""
    return getattr(of, next(name for name in names if hasattr(of, name)))


def seam(name: str) -> Any:
    """The class or function that exists of those a seam names."""
    for place in SEAMS[name]:
        path, member = place.split(":")
        try:
            return getattr(importlib.import_module(f"acestep_lab.{path}"), member)
        except ModuleNotFoundError as missing:
            if not f"acestep_lab.{path}".startswith(str(missing.name)):
                raise
        except AttributeError:
            pass
    raise SystemExit(f"This checkout has none of {', '.join(SEAMS[name])}; name its own in SEAMS.")


def spent(work: Callable[[], Any]) -> float:
    """Processor milliseconds of this process for one call."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


@cache
def session() -> Any:
    from acestep_lab import Session

    return Session.open("pocket", library=tempfile.mkdtemp(prefix="bench-house-"), device="cpu", dtype="float32")


@cache
def seeds() -> Iterator[int]:
    """Fresh seeds, the same in both checkouts: nothing is remembered from one round to the next."""
    return itertools.count(100)


def pocket_step() -> float:
    """A step of the pocket's loop at 10 s, guided, as a run shows it: from the fourth to the last of 16."""
    from acestep_lab import Recipe

    run = session().start(Recipe(WORDS, seconds=10, seed=next(seeds()), steps=16, thinking=False))
    at = {}
    for frame in run:
        at[frame.index] = time.process_time()
    run.take()
    first = min(index for index in at if index >= 3)
    last = max(at)
    return 1000 * (at[last] - at[first]) / (last - first)


def pocket_take() -> float:
    """A take of 10 s from words alone."""
    from acestep_lab import Recipe

    return spent(lambda: session().make(Recipe(WORDS, seconds=10, seed=next(seeds()), thinking=False)))


def pocket_planned_take() -> float:
    """A take of 10 s that the planner thought about."""
    from acestep_lab import Recipe

    return spent(lambda: session().make(Recipe(WORDS, seconds=10, seed=next(seeds()))))


def pocket_plan() -> float:
    """A plan with 100 codes."""
    from acestep_lab import Recipe

    return spent(lambda: session().plan(Recipe(WORDS, seconds=20, seed=next(seeds()))))


@cache
def large_dit() -> Callable[[], Any]:
    """A step of two layers of the 2B DiT, random weights in bfloat16, 10 s."""
    import torch
    from diffusers import AceStepTransformer1DModel

    torch.manual_seed(0)
    dit = seam("install")(AceStepTransformer1DModel(num_hidden_layers=2).eval().requires_grad_(False).bfloat16())
    shapes = ((1, FRAMES, CHANNELS), (1, TOKENS, WIDTH), (1, FRAMES, 2 * CHANNELS))
    x, states, context = (torch.randn(shape).bfloat16() for shape in shapes)
    velocity, memory = seam("velocity"), seam("memory")()
    kept = {"cache" if "cache" in inspect.signature(velocity).parameters else "memory": memory}
    return lambda: velocity(dit, x, 0.7, states, context, **kept)


def large_dit_step() -> float:
    """A step of two layers of the 2B DiT."""
    import torch

    with torch.inference_mode():
        return spent(large_dit())


@cache
def large_planner() -> Any:
    """A random model of the 0.6B shape with four layers, and a prompt read into it."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from acestep_lab.plan.decoder import Decoder

    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=TEXT + CODES + 1535, hidden_size=1024, intermediate_size=3072, num_hidden_layers=4,
                         num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True)  # fmt: skip
    return Decoder(Qwen3ForCausalLM(config).bfloat16().eval())


def large_planner_step() -> float:
    """A guided code step after 300 tokens, sampling included; the mean of twelve."""
    from acestep_lab import Planning

    sampler, prompt = seam("token_sampler")(Planning(), 1), list(range(300))
    batch = method(seam("decode_batch"), PREFILL)(large_planner(), [0], prompt, 2.0, 24)
    method(batch, CFG)(prompt, 24)
    feed, sample = method(batch, FEED), method(sampler, SAMPLE)

    def steps(count: int) -> None:
        for _ in range(count):
            feed([[TEXT + sample(batch.logits(slice(TEXT, TEXT + CODES))[0])]])

    steps(2)
    return spent(lambda: steps(12)) / 12


CASES: dict[str, Callable[[], float]] = {
    "pocket: a step of the loop, 10 s": pocket_step,
    "pocket: a take of 10 s from words": pocket_take,
    "pocket: a take of 10 s with a plan": pocket_planned_take,
    "pocket: a plan of 100 codes": pocket_plan,
    "2B DiT: a step of 2 layers, 10 s": large_dit_step,
    "0.6B planner: a code step of 4 layers": large_planner_step,
}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may speak between the answers
    seam("patch")()
    for line in sys.stdin:
        print(json.dumps(CASES[line.strip()]()), file=answers, flush=True)
    if session.cache_info().currsize:
        session().close()


if __name__ == "__main__":
    main()
