"""Whether one head of the pocket can be taught to listen to the words that are sung: an experiment, nothing of it is shipped.

    python -m tests.benchmarks.pocket_head [songs=120] [steps=600] [layer=1] [head=2]

The world knows which word is sung when. Query and key of one head of cross-attention are taught, all else of the pocket stays: the
cross-entropy of the head's share on the tokens of the sung word, or on all that is no word of the lyrics while nothing is sung.
Songs that were not learnt from are then aligned by `listen.alignment`, as any checkpoint's are. Beside it: the pocket's head as it
is, and what whoever hears nothing would say (lines spread evenly over the time in which vocals have sections).

What came out (November 2026, one core; median error of where 158 lines of 16 songs begin): the head as it is 2.8 s; layer 1 head 2, 900 steps,
2.2 s; layer 3 head 1, 1500 steps, 1.8 s; spread evenly 0.36 s. Songs it learnt from are no better (1.8 and 2.3 s), the loss stays at 2.6
nats, which suggests that what the head may look at does not tell vowels apart. So no head was added to the
pocket's weights, and alignment is tested on attention with a known path (`tests/benchmarks/alignment.py`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acestep_lab import Audio, Recipe, Session
from acestep_lab.engines.ace15 import alignment as heads_of
from acestep_lab.engines.ace15 import attention, conditioning
from acestep_lab.jobs.aligning import DRAWS
from acestep_lab.listen import alignment
from acestep_lab.listen.lyric_text import LyricText
from acestep_lab.listen.monotone_path import monotone_path
from acestep_lab.train import synthetic_music
from acestep_lab.train.synthetic_music.text import vowels

RATE, LENGTHS = 24_000, (18.0, 22.0, 26.0, 30.0)
HELD_OUT = 16
TIMES = (0.125, 0.3, 0.5)
BATCH = 4


@dataclass(frozen=True, eq=False)
class Lesson:
    """A song as the pocket hears it, and what is sung in each of its frames."""

    lyrics: str
    prepared: Any
    latent: Tensor
    states: Tensor
    context: Tensor
    tokens: Any
    word: Tensor
    """The word of the lyrics sung in each frame of the transformer, -1 where none is, `[frames]`."""
    owner: Tensor
    """Which tokens are of which word, `[words, tokens]`."""
    starts: tuple[float, ...]
    """Seconds at which each line begins."""
    sung: tuple[tuple[float, float], ...]
    """From when to when each section with words lasts."""
    rests: Tensor
    """Which states are no token of a word, `[states]`."""
    patch: int
    each: float
    """Latent frames, and seconds, of a frame of the transformer."""


def main(arguments: list[str]) -> None:
    """Teach, align what was not learnt from, print."""
    asked = {"songs": 120, "steps": 600, "layer": 1, "head": 2}
    asked |= {name: int(value) for name, value in (one.split("=") for one in arguments)}
    begun = time.monotonic()
    with Session.open() as lab:
        engine: Any = lab.engine
        lessons = [
            one for seed in range(asked["songs"] + HELD_OUT) if (one := lesson(engine, 700_000 + seed)) is not None
        ]
        taught, held = lessons[HELD_OUT:], lessons[:HELD_OUT]
        print(f"{len(taught)} songs to learn from, {len(held)} held out, {time.monotonic() - begun:.0f} s to make")
        dit = engine.build("dit", torch.float32)
        heads = {asked["layer"]: (asked["head"],)}
        told("the pocket's head as it is", [errors(dit, one, heads) for one in held])
        teach(dit, taught, asked["layer"], asked["head"], asked["steps"])
        told("taught", [errors(dit, one, heads) for one in held])
        told("taught, songs it learnt from", [errors(dit, one, heads) for one in taught[:HELD_OUT]])
    told("spread evenly over the sung sections", [evenly(one) for one in held])
    print(f"{time.monotonic() - begun:.0f} s in all")


def lesson(engine: Any, seed: int) -> Lesson | None:
    """A song of the world with words; None where nothing is sung."""
    seconds = LENGTHS[seed % len(LENGTHS)]
    song = synthetic_music.compose(seed, seconds, instruments=("drums", "bass", "keyboard", "vocals"))
    text = LyricText.of(song.lyrics)
    notes = sorted((n for n in song.notes if n.stem == "vocals"), key=lambda n: n.start)
    sections = [one for one in song.sections if "vocals" in one.stems_playing]
    if not notes or len({line.section for line in text.lines}) != len(sections):
        return None
    sound = Audio(np.asarray(synthetic_music.render(song, RATE, 1).mix, np.float32).reshape(1, -1), RATE)
    recipe = Recipe(
        song.caption, song.lyrics, seconds=seconds, bpm=song.bpm, keyscale=song.keyscale, seed=1, thinking=False
    )
    prepared = engine.prepare([engine.resolve(recipe, None, lambda _: None, 60.0)])[0]
    fields = engine.reader.wanted(prepared.request, prepared.spec)[0].fields
    tokens = conditioning.lyric_tokens(engine.checkpoint.tokenizer(), fields)
    latent, context = heads_of._fitted(prepared, engine.encode(sound))
    patch, each = engine.geometry.patch, engine.geometry.patch / engine.geometry.frames_per_second
    word, starts = sung_words(text, sections, notes, -(-len(latent) // patch), each)
    owners = alignment._owners(tokens.spans, [span for line in text.lines for span in line.words])
    owner = torch.zeros(sum(len(line.words) for line in text.lines), len(owners))
    for token, words in enumerate(owners):
        owner[list(words), token] = 1.0
    states = prepared.conditions[0].states[:, prepared.conditions[0].mask[0]].detach().clone()
    rests = torch.ones(states.shape[1], dtype=torch.bool)
    rests[[row for row, of in zip(tokens.rows, owner.sum(0) > 0, strict=True) if of]] = False
    return Lesson(
        song.lyrics, prepared, latent.detach().clone(), states, context.detach().clone(), tokens, word, owner,
        starts, tuple((one.start_s, one.end_s) for one in sections), rests, patch, each,
    )  # fmt: skip


def sung_words(
    text: LyricText, sections: Sequence[Any], notes: Sequence[Any], frames: int, each: float
) -> tuple[Tensor, tuple[float, ...]]:
    """The word in each frame, and when each line begins: a syllable a note, section by section, from the front again where notes
    are left (`synthetic_music.compose`).
    """
    word, starts, first = torch.full((frames,), -1), list[float](), 0
    for section, number in zip(sections, sorted({line.section for line in text.lines}), strict=True):
        syllables, lines = list[int](), [line for line in text.lines if line.section == number]
        begins = list[int]()  # the syllable that each line begins with
        for line in lines:
            begins.append(len(syllables))
            for a, b in line.words:
                syllables += [first] * len(vowels([text.text[a:b]]))
                first += 1
        here = [one for one in notes if section.start_s - 1e-6 <= one.start < section.end_s - 1e-6]
        for k, note in enumerate(here):
            at = round(note.start / each)
            word[at : max(at + 1, round((note.start + note.length) / each))] = syllables[k % len(syllables)]
        starts += [here[at].start if at < len(here) else float("nan") for at in begins]
    return word, tuple(starts)


def shares(dit: Any, one: Lesson, layer: int, head: int, t: float, seed: int) -> Tensor:
    """The head's share of each frame on each state, `[frames, states]`."""
    found: list[Tensor] = []

    def listen(at: int, query: Tensor, key: Tensor) -> None:
        if at == layer:
            group = query.shape[2] // key.shape[2]
            scores = query[0, :, head] @ key[0, :, head // group].t()
            found.append((scores * float(dit.layers[0].cross_attn.scaling)).softmax(-1))

    noise = torch.randn(one.latent.shape, generator=torch.Generator().manual_seed(seed))
    attention.overhear(
        dit, (t * noise + (1 - t) * one.latent)[None], t, one.states, one.context[None], last=layer, listen=listen
    )
    return found[0]


def teach(dit: Any, lessons: list[Lesson], layer: int, head: int, steps: int) -> None:
    """Teach query and key of one layer's cross-attention by what is sung when."""
    dit.requires_grad_(False)
    cross = dit.layers[layer].cross_attn
    parts = [cross.to_q, cross.to_k, cross.norm_q, cross.norm_k]
    weights = [weight for part in parts for weight in part.parameters()]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    dice, lost = np.random.default_rng(0), list[float]()
    for step in range(steps):
        optimizer.zero_grad()
        for _ in range(BATCH):
            one, t = lessons[dice.integers(len(lessons))], float(dice.choice(TIMES))
            loss = lesson_loss(shares(dit, one, layer, head, t, int(dice.integers(1 << 30))), one) / BATCH
            loss.backward()  # type: ignore[no-untyped-call]
            lost.append(float(loss.detach()) * BATCH)
        optimizer.step()
        plan.step()
        if (step + 1) % max(1, steps // 6) == 0:
            print(f"step {step + 1}: {np.mean(lost[-100:]):.3f} nats a frame", flush=True)
    dit.requires_grad_(False)


def lesson_loss(share: Tensor, one: Lesson) -> Tensor:
    """Mean of -log of the share on what is sung, or on what is no word where nothing is."""
    words = share[:, list(one.tokens.rows)] @ one.owner.t()
    everything = torch.cat([words, share[:, one.rests].sum(1, keepdim=True)], dim=1)[: len(one.word)]
    wanted = torch.where(one.word < 0, words.shape[1], one.word)[: len(everything), None]
    return -everything.gather(1, wanted).clamp_min(1e-9).log().mean()


@torch.no_grad()
def errors(dit: Any, one: Lesson, heads: heads_of.Heads) -> list[float]:
    """How far each line's beginning is from where it is sung, in seconds, by the house's own road."""
    found = heads_of.lyric_attention(dit, one.prepared, one.latent, one.tokens, heads, DRAWS, one.patch, one.each)
    text = alignment.text_with_words(one.lyrics)
    evidence = alignment.evidence(found, text)
    path = monotone_path(evidence.units, evidence.rest, evidence.last_of_line)
    timed = alignment.of_path(evidence, path, text, found)
    return _errors([line.start for line in timed.lines], one)


def evenly(one: Lesson) -> list[float]:
    """The same for lines spread evenly over each sung section."""
    text = LyricText.of(one.lyrics)
    guesses = list[float]()
    for place, section in enumerate(sorted({line.section for line in text.lines})):
        count, (start, end) = sum(line.section == section for line in text.lines), one.sung[place]
        guesses += [start + (end - start) * k / count for k in range(count)]
    return _errors(guesses, one)


def _errors(guesses: list[float | None], one: Lesson) -> list[float]:
    return [
        abs((len(one.word) * one.each if guess is None else guess) - start)
        for guess, start in zip(guesses, one.starts, strict=True) if not np.isnan(start)
    ]  # fmt: skip


def told(name: str, found: list[list[float]]) -> None:
    """Print the errors of all lines."""
    flat = [value for one in found for value in one]
    near = 100 * np.mean([value < 0.5 for value in flat])
    print(
        f"{name:<40} median {median(flat):.2f} s, mean {np.mean(flat):.2f} s, within half a second {near:.0f} % of {len(flat)} lines"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
