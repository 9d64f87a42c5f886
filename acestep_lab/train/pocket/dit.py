"""The transformer's stage: flow matching on all tasks at once, with a dashboard that says which words are obeyed.

x_t = (1 - t)·music + t·noise, and the model learns the velocity noise - music. High noise gets more than its share of the
lessons, because tempo, key and form are decided there, and a step at t = 1 is the first that sampling takes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from acestep_lab.train.pocket.stage import Average, Every, Stage, quick, set_rate
from acestep_lab.train.pocket.clips import Clip, ClipPool
from acestep_lab.train.pocket.codes import Codec5, hints
from acestep_lab.train.pocket.attribute_pretraining import Gist
from acestep_lab.train.pocket.components import Parts
from acestep_lab.train.pocket.auxiliary_head import WEIGHTS, Reader
from acestep_lab.train.pocket.tasks import Batch, choose_task, collate, lesson
from acestep_lab.train.pocket.vae import PocketVae

PEAK = 2e-3
REMINDER = 0.02  # weight of what the words have to mean
ALONE = 150  # steps in which a new reader learns to read before the transformer is asked to write for it
DIRECT = {"extract": 0.8}
"""Tasks made in one step and without guidance → the share of their lessons that stand where that step does, at t = 1."""
UNTOLD = 0.10  # chance that an item hears nothing at all, for guidance
LONGEST = 20  # seconds of a clip on the CPU; attention grows with the square
MISHEARD = 0.04  # share of codes replaced at random, because a language model's codes are not perfect
SECONDS_A_BATCH = {"cpu": 100, "cuda": 2400}


def times(count: int, random: torch.Generator) -> Tensor:
    """Times of a batch, [items]: half from high noise, the rest from everywhere, a twentieth at t = 1; spread evenly."""
    even = (torch.arange(count) + torch.rand(count, generator=random)) / count
    normal = torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4))
    kind = torch.rand(count, generator=random)
    t = torch.where(kind < 0.5, torch.sigmoid(normal + 1.0), torch.where(kind < 0.85, torch.sigmoid(normal), even))
    return torch.where(kind > 0.95, torch.ones(()), t).clamp(1e-3, 1.0)


def moments(tasks: list[str], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """For lessons of these tasks, each [items]: the times, and whether the words go unheard, as guidance needs it."""
    t = times(len(tasks), random)[torch.randperm(len(tasks), generator=random)]
    untold = torch.rand(len(tasks), generator=random) < UNTOLD
    direct = torch.tensor([DIRECT.get(task, 0.0) for task in tasks])
    t = torch.where(torch.rand(len(tasks), generator=random) < direct, torch.ones(()), t)
    return t, untold & (direct == 0)


class CodeSource:
    """Turns note sheets into what the pipeline would make of their codes; the models behind it are frozen."""

    def __init__(self, codec: Codec5, seed: int = 0) -> None:
        self.codec = codec.eval().requires_grad_(False)
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, sheet: Tensor, misheard: float = MISHEARD) -> Tensor:
        """Sheets [items, frames, channels] through five codes a second, a few of them misheard."""
        indices = self.codec.true_codes(sheet)
        wrong = torch.rand(indices.shape, generator=self.random) < misheard
        other = torch.randint(self.codec.tokenizer.quantizer.codebook_size, indices.shape, generator=self.random)
        indices = torch.where(wrong.to(indices.device), other.to(indices.device), indices)
        return hints(self.codec.tokenizer, self.codec.detokenizer, indices)


def fill_in(batch: Batch, source: CodeSource | None) -> None:
    """Replace the sources of coded items (note sheets so far) by what their codes stand for."""
    if batch.coded and source is not None:
        batch.source[batch.coded] = source(batch.source[batch.coded])


@torch.no_grad()
def audibility(vae: PocketVae, clips: list[Clip]) -> Tensor:
    """How much each latent channel should count, [channels], mean 1: the root of its share of the sound's energy.

    Latents are standardised, so without weights a channel of faint treble counts as much as one that carries the tune. The
    best velocity of every channel stays the same; a small model just spends itself on what is heard.
    """
    device = next(vae.parameters()).device
    latents = torch.stack([clip.mix for clip in clips]).float().transpose(1, 2).to(device)  # [items, channels, frames]
    sound = vae.decode(latents)
    lost = []
    for channel in range(latents.shape[1]):
        without = latents.clone()
        without[:, channel] = 0
        lost.append((vae.decode(without) - sound).square().mean())
    share = torch.stack(lost).sqrt()
    return share / share.mean()


def velocity_loss(
    parts: Parts,
    batch: Batch,
    t: Tensor,
    noise: Tensor,
    untold: Tensor,
    told: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Squared error of the velocity per item, [items]; items marked `untold` hear the null condition.

    `told` are the states of the prompts where they are known already; `weights` [channels] say what counts more.
    """
    noisy = torch.lerp(batch.goal, noise, t[:, None, None])
    context = torch.cat([batch.source, batch.mask[..., None].expand_as(batch.source)], dim=-1)
    with quick(noisy.device.type, short_rows=True):
        heard = parts.conditions(batch.texts, batch.lyrics, batch.references, told)
        heard = torch.where(untold[:, None, None], parts.null(heard), heard)
        answer = parts.velocity(noisy, t, heard, context)
    error = (answer.float() - (noise - batch.goal)).square()
    return (error if weights is None else error * weights).mean((1, 2))


def optimisers(parts: Parts, gist: Gist, reader: Reader) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the transformer (Jordan 2024), AdamW for everything else."""
    inner = [p for name, p in parts.dit.named_parameters() if p.ndim == 2 and "layers." in name and "table" not in name]
    chosen = {id(p) for p in inner}
    others = [p for model in (parts, gist) for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": others, "scale": 0.7}, {"params": list(reader.parameters())}]
    return [
        torch.optim.Muon(inner, PEAK, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, PEAK, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def draw(
    pool: ClipPool,
    tokenizer: PreTrainedTokenizerFast,
    silence: Tensor,
    frames_a_code: int,
    budget: int,
    random: np.random.Generator,
    coded: bool,
) -> Batch:
    """A batch of lessons of one length, worth `budget` seconds of music."""
    seconds = pool.length(LONGEST)
    clips = pool.draw(seconds, max(2, budget // seconds))
    tasks = [choose_task(clip, random) for clip in clips]
    tasks = ["text2music" if task == "codes" and not coded else task for task in tasks]
    return collate(
        [lesson(c, task, silence, random, frames_a_code) for c, task in zip(clips, tasks, strict=True)], tokenizer
    )


def train_dit(
    stage: Stage,
    parts: Parts,
    gist: Gist,
    pool: ClipPool,
    tokenizer: PreTrainedTokenizerFast,
    codes: CodeSource | None,
    vae: PocketVae,
) -> Average:
    """Train until the box is used up; returns the averaged weights, which are what counts."""
    # without this, plain attention on the CPU goes through float32
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    weights = audibility(vae, pool.draw(10, 12)).to(stage.device)
    parts.to(stage.device).train(), gist.to(stage.device)
    reader = Reader(parts.shapes.dit).to(stage.device)
    tools, average = optimisers(parts, gist, reader), Average(parts, 0.998)
    kept = stage.load()
    if kept:
        _restore(kept, parts, gist, reader, tools, average)
    learning = stage.step + ALONE if kept and "reader" not in kept else 0
    random, dice = np.random.default_rng(17 + stage.step), torch.Generator().manual_seed(17 + stage.step)
    look, keep, more = Every(60), Every(180), Every(20)
    silence, smooth = parts.condition.silence_latent[0].cpu(), {}
    for _ in stage.steps():
        for tool in tools:
            set_rate(tool, stage.rate(PEAK, warm=200))
        budget = SECONDS_A_BATCH["cpu" if stage.device == "cpu" else "cuda"]
        batch = draw(pool, tokenizer, silence, parts.shapes.pool, budget, random, codes is not None).to(stage.device)
        losses, read = _step(parts, gist, reader, batch, codes, tools, dice, weights, alone=stage.step < learning)
        average.follow(parts)
        _remember(smooth, batch.tasks, losses, read)
        if more.due(stage.spent):
            pool.update(2)
        if look.due(stage.spent):
            stage.log(clips=len(pool), **smooth)
        if keep.due(stage.spent):
            _keep(stage, parts, gist, reader, tools, average)
    _keep(stage, parts, gist, reader, tools, average)
    return average


def _step(
    parts: Parts,
    gist: Gist,
    reader: Reader,
    batch: Batch,
    codes: CodeSource | None,
    tools: list[torch.optim.Optimizer],
    dice: torch.Generator,
    weights: Tensor,
    alone: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    fill_in(batch, codes)
    device = batch.goal.device
    t, untold = (x.to(device) for x in moments(batch.tasks, dice))
    with quick(device.type, short_rows=True):
        told = parts.tell(batch.texts)
    with reader.listening_to(parts.dit):
        losses = velocity_loss(parts, batch, t, torch.randn_like(batch.goal), untold, told, weights)
    meant = gist.losses(told, batch.texts["attention_mask"], batch.meanings)
    read = reader.losses(batch.playing, batch.sheets, alone=alone)
    known = sum(WEIGHTS[name] * loss for name, loss in read.items())
    (losses.mean() + REMINDER * torch.stack(list(meant.values())).sum() + known).backward()
    nn.utils.clip_grad_norm_(parts.parameters(), 1.0, error_if_nonfinite=True)
    for tool in tools:
        tool.step()
        tool.zero_grad()
    return losses.detach(), {name: loss.detach() for name, loss in read.items()}


def _remember(smooth: dict[str, float], tasks: list[str], losses: Tensor, read: dict[str, Tensor]) -> None:
    """Slow averages of the loss, over all and per task, and of the reader's."""
    rows = [("loss", float(losses.mean())), *((name, float(loss)) for name, loss in read.items())]
    rows += zip(tasks, losses.tolist(), strict=True)
    for name, value in rows:
        smooth[name] = value if name not in smooth else 0.98 * smooth[name] + 0.02 * value


def _keep(
    stage: Stage, parts: Parts, gist: Gist, reader: Reader, tools: list[torch.optim.Optimizer], average: Average
) -> None:
    stage.save(
        parts=parts.state_dict(), gist=gist.state_dict(), tools=[t.state_dict() for t in tools], average=average.weights,
        count=average.count, reader=reader.state_dict(),
    )  # fmt: skip


def _restore(
    kept: dict, parts: Parts, gist: Gist, reader: Reader, tools: list[torch.optim.Optimizer], average: Average
) -> None:
    parts.load_state_dict(kept["parts"])
    gist.load_state_dict(kept["gist"])
    if "reader" in kept:
        reader.load_state_dict(kept["reader"])
    for tool, state in zip(tools, kept.get("tools") or (), strict="tools" in kept):
        tool.load_state_dict(state)
    average.weights, average.count = kept["average"], kept["count"]
