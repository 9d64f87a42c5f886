"""A card at work: planner, DiT step, decoder and whole songs at full size beside diffusers and transformers, in one run of minutes.

python -m tests.benchmarks.bench_card                        # one card, at most 8 minutes; results/card.json
python -m tests.benchmarks.bench_card --budget 240 --lengths 30 60 --without compile
python -m tests.benchmarks.bench_card --dry                  # tiny sizes on the CPU: whether everything runs; nothing is kept

The 2B turbo, its autoencoder, its text encoder and the 0.6B planner are made on the card with random weights, so that no folder is
needed. Peers: `AceStepPipeline` of diffusers (its DiT, its VAE with tiles as the pipeline sets them, the whole call) and
`transformers.generate` with guidance. Variants take turns, times are CUDA events (a clock on the wall without them), figures are
medians, "quicker" is the median of the rounds' ratios to the peer. Ours runs plain, recorded (CUDA graphs) and compiled, as
`ACESTEP_LM_STEP`, `ACESTEP_LAB_GRAPHS` and `ACESTEP_COMPILE_MODEL` have it. What no longer fits the budget is left out and said.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from acestep_lab._libraries import ace_step_modules, diffusers, transformers
from acestep_lab.diffusion.sampler import sample
from acestep_lab.diffusion.schedule import times
from acestep_lab.engines.ace15 import attention, card_attention
from acestep_lab.engines.ace15.card_attention import CardRoad
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace15.conditioning import PromptFields, encode_both, timbre_frames
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from acestep_lab.errors import LabError
from acestep_lab.models import roofline
from acestep_lab.models.compiling import compile_block
from acestep_lab.models.device_manager import is_out_of_memory
from acestep_lab.models.recording import CudaGraphs, StepGraphs, plain, recorder_for
from acestep_lab.plan.decode_batch import Choice, DecodeBatch
from acestep_lab.plan.decoder import Decoder
from acestep_lab.plan.fixed_batch import FixedBatch
from acestep_lab.plan.token_sampler import TokenSampler
from acestep_lab.prompt.recipe import Planning
from tests.benchmarks.bench_planner import CODES, FIRST, TEXT, planner_config, vocabulary
from tests.benchmarks.full_size import vae as published_vae
from tests.benchmarks.meter import error, machine, show, write
from tests.tiny import tiny_components, tiny_lm, tiny_tokenizer

LENGTHS, BUDGET, STEPS = (30, 60, 240), 480.0, 8
ROADS = ("plain", "graph", "compile")
USED_CODES, CODES_A_SECOND, PROMPT = 64_000, 5, 300
CAPTION, LYRICS = "warm dub techno with tape hiss", "[verse]\nslow and deep\nwe go to sleep\n[chorus]\nall the way down"
SKIPPED = "left out"
COMPILING = 60.0
"""Seconds that must be left for a compiler to be begun with."""


# --- time ----------------------------------------------------------------------------------------------------------------


@dataclass
class Budget:
    """So many seconds for everything; what would not fit is left out, and said."""

    seconds: float
    clock: Callable[[], float] = time.perf_counter
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun = self.clock()

    @property
    def left(self) -> float:
        return self.seconds - (self.clock() - self.begun)

    def allows(self, what: str, cost: float) -> bool:
        """Whether there is time for something that takes about so many seconds."""
        if cost <= self.left:
            return True
        self.leave_out(what, f"it takes about {cost:.0f} s and {max(0.0, self.left):.0f} s are left")
        return False

    def leave_out(self, what: str, why: str) -> None:
        """Say that something is not measured, and why."""
        self.skipped.append(f"{what}: {why}")
        print(f"  {SKIPPED}: {what} ({why})", flush=True)


@dataclass(frozen=True)
class Clock:
    """How long work takes on a device, and how much memory it needs there at most."""

    device: torch.device

    @property
    def _is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds from before the first kernel to after the last: CUDA events, else a clock on the wall."""
        if not self._is_cuda:
            begun = time.perf_counter()
            work()
            return time.perf_counter() - begun
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(self.device)
        start.record()
        work()
        end.record()
        torch.cuda.synchronize(self.device)
        return float(start.elapsed_time(end)) / 1000

    def peak(self, work: Callable[[], object]) -> float | None:
        """The most GB on the card during work, weights of everything here included; None where nothing counts them."""
        if not self._is_cuda:
            work()
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        torch.cuda.synchronize(self.device)
        return round(torch.cuda.max_memory_allocated(self.device) / 2**30, 3)


Variants = Mapping[str, Callable[[], object]]
Table = dict[str, dict[str, Any]]


def race(
    what: str, clock: Clock, budget: Budget, variants: Variants, rounds: int, least: float | None = None,
    tokens: float | None = None,
) -> Table:  # fmt: skip
    """A row per variant: median ms, how many times quicker than the first, peak GB, percent of the roofline (`least`
    seconds) and tokens a second of so many `tokens`. All take turns; one that fails or has no time left is left out.
    """
    peaks, warm = {}, {}
    for name, work in variants.items():
        compiles = COMPILING if name.endswith("compile") else 0.0
        if not budget.allows(f"{what}, {name}", max(compiles, *warm.values(), 0.0)):
            continue
        try:
            begun = time.perf_counter()
            peaks[name] = clock.peak(work)
            warm[name] = time.perf_counter() - begun
        except (RuntimeError, LabError) as error:
            why = "no memory left" if is_out_of_memory(error) else str(error).splitlines()[0][:120]
            budget.leave_out(f"{what}, {name}", why)
    if not warm:
        return {}
    taken: dict[str, list[float]] = {name: [clock.seconds(variants[name])] for name in warm}
    for _ in range(rounds - 1):
        if sum(one[-1] for one in taken.values()) > budget.left:
            break
        for name in warm:
            taken[name].append(clock.seconds(variants[name]))
    first = taken[next(iter(taken))]
    table = {name: _row(found, first, peaks[name], least, tokens) for name, found in taken.items()}
    show(what, table)
    return table


def _row(
    found: Sequence[float], first: Sequence[float], peak: float | None, least: float | None, tokens: float | None
) -> dict[str, Any]:
    seconds = median(found)
    row: dict[str, Any] = {
        "ms": round(seconds * 1000, 3),
        "quicker": round(median(a / b for a, b in zip(first, found, strict=True)), 3),
        "rounds": len(found),
        "peak GB": peak,
    }
    row |= {"% of roofline": round(100 * least / seconds, 1)} if least else {}
    return row | ({"tokens/s": round(tokens / seconds, 1)} if tokens else {})


# --- what is measured ----------------------------------------------------------------------------------------------------


@dataclass
class Models:
    """Everything at one size, made on the device when it is first asked for."""

    device: torch.device
    dtype: torch.dtype
    tiny: bool

    def made(self, make: Callable[[], nn.Module]) -> Any:
        """A module made on the device, with random weights and tables of its own."""
        torch.manual_seed(0)
        with torch.device(self.device):
            return make().eval().requires_grad_(False).to(self.device, self.dtype)

    @cached_property
    def _small(self) -> dict[str, nn.Module]:
        made = tiny_components(shallow=True)
        return {name: one.eval().requires_grad_(False).to(self.device, self.dtype) for name, one in made.items()}

    def _of(self, name: str, make: Callable[[], nn.Module]) -> Any:
        return self._small[name] if self.tiny else self.made(make)

    @cached_property
    def dit(self) -> Any:
        make = partial(diffusers.AceStepTransformer1DModel, is_turbo=True, model_version="turbo")
        return self._of("dit", make).requires_grad_(True)  # as from_pretrained leaves it: see the README

    @cached_property
    def vae(self) -> Any:
        return self._of("vae", published_vae)

    @cached_property
    def condition(self) -> Any:
        encoder = self._of("condition", ace_step_modules.AceStepConditionEncoder)
        encoder.silence_latent.normal_(0, 0.3)
        return encoder

    @cached_property
    def text(self) -> Any:
        return self._of("text", lambda: transformers.Qwen3Model(planner_config(TEXT, 28)))

    @cached_property
    def tokenizer(self) -> Any:
        return tiny_tokenizer(0) if self.tiny else vocabulary()

    @cached_property
    def lm(self) -> Any:
        if self.tiny:
            return tiny_lm(tiny_tokenizer()).to(self.device, self.dtype)
        return self.made(lambda: transformers.Qwen3ForCausalLM(planner_config(TEXT + CODES, 28)))

    @property
    def codes(self) -> slice:
        """Which tokens are codes."""
        words = self.lm.config.vocab_size
        return slice(words - 64, words) if self.tiny else slice(FIRST, FIRST + USED_CODES)

    @cached_property
    def pipeline(self) -> Any:
        """diffusers' pipeline of the same modules."""
        pipe = diffusers.AceStepPipeline(
            vae=self.vae, text_encoder=self.text, tokenizer=self.tokenizer, transformer=self.dit,
            condition_encoder=self.condition, audio_tokenizer=None, audio_token_detokenizer=None,
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def our_dit(self, way: str) -> Any:
        """A copy of the DiT with our forward: plain, recorded, or with its blocks compiled."""
        recorder = CudaGraphs() if self.device.type == "cuda" else plain
        graphs = StepGraphs(recorder if way == "graph" else None)
        dit = copy.deepcopy(self.dit).requires_grad_(False)
        card_attention.install(dit, CardRoad(everywhere=way == "compile", graphs=graphs))
        for block in attention.layers_of(dit) if way == "compile" else ():
            compile_block(block)
        return dit

    @cached_property
    def our_vae(self) -> Any:
        """The same weights once more (weight norm cannot be copied), made quicker."""
        again = tiny_components(shallow=True)["vae"].to(self.device) if self.tiny else self.made(published_vae)
        return prepare_vae(again.float()).to(self.dtype)

    @property
    def frames_per_second(self) -> float:
        return Codec(self.vae).frames_per_second

    def frames(self, seconds: float) -> int:
        return max(8, round(seconds * self.frames_per_second))

    def drawn(self, *shape: int) -> Tensor:
        """Random numbers on the device."""
        return torch.randn(shape, device=self.device, dtype=self.dtype)


@dataclass
class Bench:
    """One run: models, clock, budget, peak of the machine, and which of our roads are tried."""

    models: Models
    clock: Clock
    budget: Budget
    peak: roofline.Peak
    roads: tuple[str, ...]
    rounds: int = 5

    @property
    def size(self) -> int:
        return self.models.dtype.itemsize

    @torch.inference_mode()
    def dit_step(self, seconds: float) -> Table:
        """One look of the DiT at a song of this length."""
        models, frames = self.models, self.models.frames(seconds)
        config = models.dit.config
        states = models.drawn(1, 351, models.condition.null_condition_emb.shape[-1])
        channels = config.in_channels // 3
        x, context = models.drawn(1, frames, channels), models.drawn(1, frames, 2 * channels)
        at = torch.full((1,), 0.7, device=models.device, dtype=models.dtype)
        works: dict[str, Callable[[], object]] = {
            "diffusers": lambda: models.dit(x, at, at, states, context, return_dict=False)
        }
        for way in self.roads:
            cache = attention.CrossAttentionCache()
            dit = self.dits[way]
            works[f"ours, {way}"] = partial(attention.velocity, dit, x, 0.7, states, context, cache=cache)
        least = roofline.dit_step(config, frames, 351, size=self.size).roofline(self.peak)
        table = race(f"DiT step, {seconds:g} s of music", self.clock, self.budget, works, self.rounds, least)
        theirs = works["diffusers"]()[0] if "diffusers" in table else None  # type: ignore[index]
        for name in (name for name in table if name != "diffusers" and theirs is not None):
            table[name]["away from diffusers"] = float(f"{error(works[name](), theirs):.1e}")  # type: ignore[arg-type]
        return table

    @cached_property
    def dits(self) -> dict[str, Any]:
        """Our DiT on each road, made once."""
        return {}

    def make_models(self) -> None:
        """Make all models and the DiTs of our roads. Not in inference mode, in which weights have no versions to be known by."""
        models = self.models
        _ = models.dit, models.vae, models.our_vae, models.condition, models.text, models.lm, models.tokenizer
        for way in self.roads:
            if way not in self.dits:
                self.dits[way] = models.our_dit(way)

    @torch.inference_mode()
    def decode(self, seconds: float) -> Table:
        """A latent of this length becoming sound, in tiles: diffusers as its pipeline sets it, ours as large as ours are."""
        models, frames = self.models, self.models.frames(seconds)
        latent = models.drawn(frames, models.vae.config.decoder_input_channels)
        models.vae.enable_tiling()
        works = {
            "diffusers": lambda: models.vae.decode(latent.T[None], return_dict=False),
            **{
                f"ours, tiles of {tile}": partial(Codec(models.our_vae, tile).decode, latent)
                for tile in self.tiles(frames)
            },
        }
        least = roofline.decode(models.vae.config, frames, self.size).roofline(self.peak)
        return race(f"decode, {seconds:g} s of music", self.clock, self.budget, works, min(3, self.rounds), least)

    def tiles(self, frames: int) -> tuple[int, ...]:
        return (
            (Codec(self.models.our_vae).tile,)
            if self.models.tiny
            else tuple(t for t in (256, 512, 1536) if t < 2 * frames)
        )

    def lm(self, seconds: float, tokens: int = 32) -> Table:
        """Guided codes a second in the middle of a song of this length."""
        models = self.models
        before = 12 if models.tiny else PROMPT + round(seconds * CODES_A_SECOND / 2)
        prompt = [1 + token % 90 for token in range(before)]
        with torch.inference_mode():
            decoder = Decoder(models.lm)
        works: dict[str, Callable[[], object]] = {"transformers": partial(self._generate, prompt, tokens)}
        for way in self.roads:
            works[f"ours, {way}"] = self._writer(decoder, prompt, tokens, way)
        least = tokens * roofline.plan_token(
            models.lm.config.to_dict(), before, self.models.codes.stop - self.models.codes.start, 2, self.size
        ).roofline(self.peak)
        what = f"planner, {tokens} guided codes after {before} tokens ({seconds:g} s of music)"
        return race(what, self.clock, self.budget, works, min(3, self.rounds), least, tokens)

    @torch.inference_mode()
    def _generate(self, prompt: Sequence[int], tokens: int) -> object:
        """What a careful user of `generate` writes; reading the prompt, a few percent, is in it."""
        ids, codes = torch.tensor([list(prompt)], device=self.models.device), self.models.codes
        allowed = list(range(codes.start, codes.stop))
        return self.models.lm.generate(
            ids, attention_mask=torch.ones_like(ids), guidance_scale=2.0, negative_prompt_ids=ids, do_sample=True,
            temperature=0.85, top_p=0.9, top_k=0, max_new_tokens=tokens, min_new_tokens=tokens,
            logits_processor=transformers.LogitsProcessorList([_Only(self.models.lm.config.vocab_size, allowed, ids.device)]),
        )  # fmt: skip

    def _writer(self, decoder: Decoder, prompt: list[int], tokens: int, way: str) -> Callable[[], object]:
        """Our code phase after the prompt, which the first call reads; it goes on from call to call, as in a song."""
        begun: list[Any] = []

        @torch.inference_mode()
        def work() -> None:
            if not begun:
                begun.append(self._begun(decoder, prompt, tokens * (self.rounds + 4), way))
            self._write(begun[0], tokens)

        return work

    def _begun(self, decoder: Decoder, prompt: list[int], room: int, way: str) -> Any:
        """A guided row behind the prompt, with room for so many codes."""
        recorder = recorder_for(self.models.device, way)
        batch: Any = (
            DecodeBatch.prefill(decoder, [0], prompt, 2.0, room)
            if recorder is None
            else FixedBatch.prefill(decoder, [0], prompt, 2.0, room, recorder)
        )
        batch.add_cfg_rows(prompt, room)
        return batch

    def _write(self, batch: Any, tokens: int) -> None:
        """So many codes, in as many columns at a time as the batch hands over."""
        choices = [Choice(TokenSampler(Planning(), 1))]
        done: list[int] = []
        while len(done) < tokens:
            done += [token for [token] in batch.write(choices, self.ids, [done[-1:]])]

    @cached_property
    def ids(self) -> Tensor:
        """The tokens that are codes: one tensor, since what is asked is the same for every token."""
        return torch.arange(self.models.codes.start, self.models.codes.stop)

    @torch.inference_mode()
    def whole(self, seconds: float) -> Table:
        """From words to sound in eight steps."""
        models = self.models
        pipe = models.pipeline
        works: dict[str, Callable[[], object]] = {
            "diffusers": lambda: pipe(
                CAPTION, LYRICS, audio_duration=seconds, num_inference_steps=STEPS, guidance_scale=1.0
            )
        }
        works |= {f"ours, {way}": partial(self._song, self.dits[way], seconds) for way in self.roads}
        return race(f"words to sound, {seconds:g} s of music", self.clock, self.budget, works, min(3, self.rounds))

    @torch.inference_mode()
    def _song(self, dit: Any, seconds: float) -> Tensor:
        """Words, loop and sound as our engine does them; nothing is remembered from the song before."""
        models, frames = self.models, self.models.frames(seconds)
        fields = PromptFields(CAPTION, LYRICS, "en", seconds)
        heard = timbre_frames(models.frames_per_second)
        said = encode_both(models.text, models.condition, models.tokenizer, [fields], heard)
        silence = models.condition.silence_latent[:, :frames].to(models.dtype)
        silence = nn.functional.pad(silence, (0, 0, 0, frames - silence.shape[1]))
        context = torch.cat([silence, torch.ones_like(silence)], dim=-1)
        cache = attention.CrossAttentionCache()

        def velocity(x: Tensor, t: float) -> Tensor:
            return attention.velocity(dit, x, t, said.states, context, mask=said.mask, cache=cache)

        latent = models.drawn(1, frames, silence.shape[-1])
        for step in sample(velocity, latent, times(STEPS, 3.0)):
            latent = step.state  # type: ignore[assignment]
        return Codec(models.our_vae, self.tiles(frames)[-1]).decode(latent[0])


class _Only(transformers.LogitsProcessor):  # type: ignore[misc]
    """Everything but some tokens is masked."""

    def __init__(self, words: int, allowed: Sequence[int], device: torch.device) -> None:
        self.mask = torch.full((words,), float("-inf"), device=device)
        self.mask[list(allowed)] = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores + self.mask


# --- the run -------------------------------------------------------------------------------------------------------------


def everything(bench: Bench, lengths: Sequence[float]) -> dict[str, dict[str, Table]]:
    """Every stage at every length; what is compiled comes last and has a race of its own, since a compiler may eat the budget."""
    roads = bench.roads
    bench.roads = tuple(way for way in roads if way != "compile")
    tables = run(bench, lengths)
    if "compile" in roads:
        bench.roads = ("compile",)
        for stage, found in run(bench, lengths, ("decode",)).items():
            for length, table in found.items():
                ours = {name: row for name, row in table.items() if name.endswith("compile")}
                tables[stage].setdefault(length, {}).update(ours)
    return tables


def run(bench: Bench, lengths: Sequence[float], without: Sequence[str] = ()) -> dict[str, dict[str, Table]]:
    """Some stages at every length, the shortest first; a stage that has no time left is left out and said."""
    stages: dict[str, Callable[[float], Table]] = {
        "DiT step": bench.dit_step, "decode": bench.decode, "planner": bench.lm, "words to sound": bench.whole,
    }  # fmt: skip
    stages = {name: stage for name, stage in stages.items() if name not in without}
    tables: dict[str, dict[str, Table]] = {name: {} for name in stages}
    bench.make_models()
    for seconds in lengths:
        for name, stage in stages.items():
            if bench.budget.allows(f"{name}, {seconds:g} s of music", 0.0):
                tables[name][f"{seconds:g} s"] = stage(seconds)
    return tables


def figures(bench: Bench, lengths: Sequence[float]) -> dict[str, Any]:
    """What the run found, with the machine, what was left out and how long it all took."""
    tables = everything(bench, lengths)
    device = bench.models.device
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "card": card,
        "machine": machine(),
        "dtype": str(bench.models.dtype).removeprefix("torch."),
        "sizes": "tiny" if bench.models.tiny else "2B turbo, 0.6B planner",
        "peak TFLOP/s": round(bench.peak.flops / 1e12, 3),
        "peak GB/s": round(bench.peak.bandwidth / 1e9, 1),
        "left out": bench.budget.skipped,
        "seconds": round(bench.budget.seconds - bench.budget.left, 1),
        **tables,
    }


def opened(dry: bool, budget: float, roads: Sequence[str]) -> Bench:
    """A bench on the card, or (dry) at tiny sizes on the CPU; LabError where there is no card."""
    began = Budget(budget)
    if dry:
        device, dtype = torch.device("cpu"), torch.float32
    elif torch.cuda.is_available():
        device, dtype = torch.device("cuda"), torch.bfloat16
    else:
        raise LabError("There is no CUDA card here; --dry runs everything at tiny sizes on the CPU.")
    peak = roofline.measured_peak(dtype, device, 0.02 if dry else 1.0)
    return Bench(Models(device, dtype, dry), Clock(device), began, peak, tuple(roads), 2 if dry else 7)


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU; nothing is kept")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for everything")
    parser.add_argument("--lengths", type=float, nargs="+", default=None, help="seconds of music")
    parser.add_argument(
        "--without", nargs="*", choices=ROADS[1:], default=None, help="roads of ours that are not tried"
    )
    parser.add_argument("--out", type=Path, help="write the figures here instead of results/card.json")
    asked = parser.parse_args(words)
    without = ROADS[1:] if asked.dry and asked.without is None else asked.without or ()
    bench = opened(asked.dry, asked.budget, [way for way in ROADS if way not in without])
    found = figures(bench, asked.lengths or ((1, 2) if asked.dry else LENGTHS))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    elif not asked.dry:
        write("card", found)
    return found


if __name__ == "__main__":
    main()
