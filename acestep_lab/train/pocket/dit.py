"""The transformer's stage: flow matching on all tasks at once, with auxiliary losses that tie it to the prompt.

x_t = (1 - t)·music + t·noise, and the model learns the velocity noise - music. High noise gets more than its share of the
examples, because tempo, key and form are decided there, and a step at t = 1 is the first that sampling takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from acestep_lab.train.pocket.attribute_pretraining import AttributeHeads
from acestep_lab.train.pocket.auxiliary_head import LOSS_WEIGHTS, ScoreHead
from acestep_lab.train.pocket.clips import Clip, ClipPool
from acestep_lab.train.pocket.codes import AudioCodeModel, decode_codes
from acestep_lab.train.pocket.components import Components
from acestep_lab.train.pocket.stage import Interval, Stage, WeightAverage, fast_precision, set_learning_rate
from acestep_lab.train.pocket.tasks import Batch, choose_task, collate, make_example
from acestep_lab.train.pocket.vae import PocketVae

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PEAK_LEARNING_RATE = 2e-3
ATTRIBUTE_WEIGHT = 0.02  # of the attribute losses beside the velocity's
HEAD_WARMUP_STEPS = 150  # steps in which a new score head learns alone, before its gradient reaches the transformer
ONE_STEP_TASKS = {"extract": 0.8}
"""Tasks made in one step and without guidance → the share of their examples at t = 1, where that step is taken."""
CONDITION_DROPOUT = 0.10  # chance that an item gets the null condition, for classifier-free guidance
LONGEST_SECONDS = 20  # of a clip on the CPU; attention grows with the square
CODE_CORRUPTION = 0.04  # share of codes replaced at random, because a language model's codes are not perfect
SECONDS_PER_BATCH = {"cpu": 100, "cuda": 2400}


def draw_times(count: int, random: torch.Generator) -> Tensor:
    """Draw the times of a batch, [items]: half from high noise, the rest from everywhere, a twentieth at t = 1; spread evenly."""
    even = (torch.arange(count) + torch.rand(count, generator=random)) / count
    normal = torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4))
    kind = torch.rand(count, generator=random)
    t = torch.where(kind < 0.5, torch.sigmoid(normal + 1.0), torch.where(kind < 0.85, torch.sigmoid(normal), even))
    return torch.where(kind > 0.95, torch.ones(()), t).clamp(1e-3, 1.0)


def draw_times_and_dropout(tasks: list[str], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw for examples of these tasks, each [items]: the times, and whether conditions are dropped (never for one-step tasks)."""
    t = draw_times(len(tasks), random)[torch.randperm(len(tasks), generator=random)]
    unconditional = torch.rand(len(tasks), generator=random) < CONDITION_DROPOUT
    one_step = torch.tensor([ONE_STEP_TASKS.get(task, 0.0) for task in tasks])
    t = torch.where(torch.rand(len(tasks), generator=random) < one_step, torch.ones(()), t)
    return t, unconditional & (one_step == 0)


class CodeSource:
    """Turns note targets into the source that the pipeline would make of their codes, with frozen models."""

    def __init__(self, code_model: AudioCodeModel, seed: int = 0) -> None:
        self.code_model = code_model.eval().requires_grad_(False)
        self.random = torch.Generator().manual_seed(seed)

    def __call__(self, targets: Tensor, corruption: float = CODE_CORRUPTION) -> Tensor:
        """Note targets [items, frames, channels] through the codes and back, a share of the codes replaced at random."""
        indices = self.code_model.nearest_codes(targets)
        wrong = torch.rand(indices.shape, generator=self.random) < corruption
        other = torch.randint(self.code_model.tokenizer.quantizer.codebook_size, indices.shape, generator=self.random)
        indices = torch.where(wrong.to(indices.device), other.to(indices.device), indices)
        return decode_codes(self.code_model.tokenizer, self.code_model.detokenizer, indices)


def fill_code_sources(batch: Batch, source: CodeSource | None) -> None:
    """Replace the sources of coded items (note targets so far) by what their codes decode to; in place."""
    if batch.coded and source is not None:
        batch.source[batch.coded] = source(batch.source[batch.coded])


@torch.no_grad()
def channel_weights(vae: PocketVae, clips: list[Clip]) -> Tensor:
    """Loss weights of the latent channels, [channels], mean 1: the root of each one's share of the sound's energy.

    Latents are standardised, so without weights a channel of faint treble counts as much as one that carries the tune. The
    best velocity of every channel stays the same; a small model just spends itself on what is audible.
    """
    device = next(vae.parameters()).device
    latents = (
        torch.stack([clip.mix_latents for clip in clips]).float().transpose(1, 2).to(device)
    )  # [items, channels, frames]
    sound = vae.decode(latents)
    errors = []
    for channel in range(latents.shape[1]):
        without = latents.clone()
        without[:, channel] = 0
        errors.append((vae.decode(without) - sound).square().mean())
    share = torch.stack(errors).sqrt()
    return share / share.mean()


def velocity_loss(
    components: Components,
    batch: Batch,
    t: Tensor,
    noise: Tensor,
    unconditional: Tensor,
    text_states: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Squared error of the velocity per item, [items]; items marked `unconditional` get the null condition.

    `text_states` are the states of the prompts where they are known already; `weights` [channels] weigh the latent channels.
    """
    noisy = torch.lerp(batch.target, noise, t[:, None, None])
    context = torch.cat([batch.source, batch.mask[..., None].expand_as(batch.source)], dim=-1)
    with fast_precision(noisy.device.type, short_rows=True):
        conditions = components.conditions(batch.texts, batch.lyrics, batch.references, text_states)
        conditions = torch.where(unconditional[:, None, None], components.null(conditions), conditions)
        velocity = components.velocity(noisy, t, conditions, context)
    error = (velocity.float() - (noise - batch.target)).square()
    return (error if weights is None else error * weights).mean((1, 2))


def make_optimisers(
    components: Components, attribute_heads: AttributeHeads, score_head: ScoreHead
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the transformer (Jordan 2024), AdamW for everything else."""
    matrices = [
        p for name, p in components.dit.named_parameters() if p.ndim == 2 and "layers." in name and "table" not in name
    ]
    chosen = {id(p) for p in matrices}
    others = [p for model in (components, attribute_heads) for p in model.parameters() if id(p) not in chosen]
    groups: list[dict[str, object]] = [{"params": others, "scale": 0.7}, {"params": list(score_head.parameters())}]
    return [
        torch.optim.Muon(matrices, PEAK_LEARNING_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, PEAK_LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def draw_batch(
    pool: ClipPool,
    tokenizer: PreTrainedTokenizerFast,
    silence: Tensor,
    frames_per_code: int,
    budget: int,
    random: np.random.Generator,
    coded: bool,
) -> Batch:
    """A batch of examples of one length, `budget` seconds of music; without `coded` no task needs audio codes."""
    seconds = pool.draw_length(LONGEST_SECONDS)
    clips = pool.draw(seconds, max(2, budget // seconds))
    tasks = [choose_task(clip, random) for clip in clips]
    tasks = ["text2music" if task == "codes" and not coded else task for task in tasks]
    return collate(
        [make_example(c, task, silence, random, frames_per_code) for c, task in zip(clips, tasks, strict=True)],
        tokenizer,
    )


def train_dit(
    stage: Stage,
    components: Components,
    attribute_heads: AttributeHeads,
    pool: ClipPool,
    tokenizer: PreTrainedTokenizerFast,
    codes: CodeSource | None,
    vae: PocketVae,
) -> WeightAverage:
    """Train until the time budget is used up; returns the averaged weights, which are what is exported."""
    # without this, plain attention on the CPU goes through float32
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    weights = channel_weights(vae, pool.draw(10, 12)).to(stage.device)
    components.to(stage.device).train(), attribute_heads.to(stage.device)
    score_head = ScoreHead(components.config.dit_width).to(stage.device)
    optimisers, average = make_optimisers(components, attribute_heads, score_head), WeightAverage(components, 0.998)
    saved = stage.load()
    if saved:
        restore_state(saved, components, attribute_heads, score_head, optimisers, average)
    warmup_end = stage.step + HEAD_WARMUP_STEPS if saved and "score_head" not in saved else 0
    random, generator = np.random.default_rng(17 + stage.step), torch.Generator().manual_seed(17 + stage.step)
    log_interval, save_interval, refill_interval = Interval(60), Interval(180), Interval(20)
    silence, averages = components.condition.silence_latent[0].cpu(), dict[str, float]()
    for _ in stage.steps():
        for optimiser in optimisers:
            set_learning_rate(optimiser, stage.learning_rate(PEAK_LEARNING_RATE, warmup=200))
        budget = SECONDS_PER_BATCH["cpu" if stage.device == "cpu" else "cuda"]
        batch = draw_batch(pool, tokenizer, silence, components.config.pool, budget, random, codes is not None).to(
            stage.device
        )
        losses, head_losses = train_step(
            components, attribute_heads, score_head, batch, codes, optimisers, generator, weights, head_only=stage.step < warmup_end
        )  # fmt: skip
        average.update(components)
        _smooth(averages, batch.tasks, losses, head_losses)
        if refill_interval.due(stage.elapsed):
            pool.update(2)
        if log_interval.due(stage.elapsed):
            stage.log(clips=len(pool), **averages)
        if save_interval.due(stage.elapsed):
            save_state(stage, components, attribute_heads, score_head, optimisers, average)
    save_state(stage, components, attribute_heads, score_head, optimisers, average)
    return average


def train_step(
    components: Components,
    attribute_heads: AttributeHeads,
    score_head: ScoreHead,
    batch: Batch,
    codes: CodeSource | None,
    optimisers: list[torch.optim.Optimizer],
    generator: torch.Generator,
    weights: Tensor | None,
    head_only: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """One step of all optimisers; returns the velocity loss per item, [items], and the score head's losses.

    With `head_only` the score head learns without a gradient into the transformer. Raises RuntimeError where a gradient is not finite.
    """
    fill_code_sources(batch, codes)
    device = batch.target.device
    t, unconditional = (x.to(device) for x in draw_times_and_dropout(batch.tasks, generator))
    with fast_precision(device.type, short_rows=True):
        text_states = components.encode_text(batch.texts)
    with score_head.reading_from(components.dit):
        losses = velocity_loss(
            components, batch, t, torch.randn_like(batch.target), unconditional, text_states, weights
        )
    attribute_losses = attribute_heads.losses(text_states, batch.texts["attention_mask"], batch.attributes)
    head_losses = score_head.losses(batch.activity, batch.note_targets, head_only=head_only)
    score_loss = sum((LOSS_WEIGHTS[name] * loss for name, loss in head_losses.items()), torch.zeros(()))
    (losses.mean() + ATTRIBUTE_WEIGHT * torch.stack(list(attribute_losses.values())).sum() + score_loss).backward()
    nn.utils.clip_grad_norm_(components.parameters(), 1.0, error_if_nonfinite=True)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad()
    return losses.detach(), {name: loss.detach() for name, loss in head_losses.items()}


def _smooth(averages: dict[str, float], tasks: list[str], losses: Tensor, head_losses: dict[str, Tensor]) -> None:
    """Update running averages of the loss, over all and per task, and of the score head's."""
    rows = [("loss", float(losses.mean())), *((name, float(loss)) for name, loss in head_losses.items())]
    rows += zip(tasks, losses.tolist(), strict=True)
    for name, value in rows:
        averages[name] = value if name not in averages else 0.98 * averages[name] + 0.02 * value


def save_state(
    stage: Stage,
    components: Components,
    attribute_heads: AttributeHeads,
    score_head: ScoreHead,
    optimisers: list[torch.optim.Optimizer],
    average: WeightAverage,
) -> None:
    """Save all that training needs to continue."""
    stage.save(
        components=components.state_dict(), attribute_heads=attribute_heads.state_dict(), optimisers=[t.state_dict() for t in optimisers], average=average.weights,
        count=average.count, score_head=score_head.state_dict(),
    )  # fmt: skip


def restore_state(
    saved: dict[str, Any],
    components: Components,
    attribute_heads: AttributeHeads,
    score_head: ScoreHead,
    optimisers: list[torch.optim.Optimizer],
    average: WeightAverage,
) -> None:
    """Restore in place what `save_state` saved; heads and optimisers that a state lacks stay as they are."""
    components.load_state_dict(saved["components"])
    attribute_heads.load_state_dict(saved["attribute_heads"])
    if "score_head" in saved:
        score_head.load_state_dict(saved["score_head"])
    for optimiser, state in zip(optimisers, saved.get("optimisers") or (), strict="optimisers" in saved):
        optimiser.load_state_dict(state)
    average.weights, average.count = saved["average"], saved["count"]
