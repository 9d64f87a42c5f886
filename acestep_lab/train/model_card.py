"""An adapter's README: what it is, how it came to be, how it is used here and elsewhere, and two examples to hear.

Markdown as model hubs show it, all in one file: the curve is a drawing, the sounds are Opus. Whatever a person or a file said
(tag, checkpoint, words) is escaped. Knows no engine and no trainer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acestep_lab import files
from acestep_lab.engines import registry
from acestep_lab.engines.catalog_entry import CatalogEntry
from acestep_lab.jobs.training import Preview
from acestep_lab.models import catalog
from acestep_lab.models.adapter_names import V1
from acestep_lab.takes.page import base64_of, escaped
from acestep_lab.train.adapter_export import DIFFUSERS, LYCORIS, WEIGHTS, AdapterFacts
from acestep_lab.train.loss_history import LossHistory

FILE = "README.md"
EXAMPLE_SECONDS = 10.0
NAMES = {"lora": "LoRA", "dora": "DoRA", "rslora": "rank-stabilised LoRA", "lokr": "LoKr"}
ROADS = {
    "words": "words (silence as context)",
    "codes": "the songs' own audio codes as context, as a planner gives them",
}
WIDTH, HEIGHT, EDGE = 480, 160, 28
SMOOTH = 0.9
MOST_ROWS = 11
"""Held-out losses in the table, the last one not counted."""
RUNNING, HELD_OUT = "#777777", "#0072b2"
_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:=])")


@dataclass(frozen=True)
class Card:
    """What a README is written from."""

    facts: AdapterFacts
    history: LossHistory = field(default_factory=LossHistory)
    preview: Preview | None = None
    """Two takes of one recipe and seed, without and with the adapter."""

    @property
    def kind(self) -> str:
        """ "lora", "dora", "rslora" or "lokr"."""
        return str(self.facts.config.get("kind", "lora"))

    def __str__(self) -> str:
        parts = [
            _front(self), f"# {plain(self.facts.tag) or 'An adapter'}", _sentence(self), _table(self), _heard(self),
            _learnt(self.history), _use(self),
        ]  # fmt: skip
        return "\n\n".join(part for part in parts if part) + "\n"

    def write(self, folder: Path) -> Path:
        """Write it beside the adapter; LibraryError where the disk refuses."""
        text = str(self)
        return files.write_whole(
            folder / FILE, lambda draft: draft.write_text(text, encoding="utf-8"), "The model card"
        )


def plain(text: object, most: int = 200) -> str:
    """Anything as one line of Markdown that says just it: no markup, no link, no end of a table's cell."""
    line = " ".join(str(text).split())
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    return _MARKS.sub(r"\\\1", escaped(line).replace("&#x27;", "'"))


def _front(card: Card) -> str:
    """What a hub reads: JSON strings are YAML's too."""
    row = _row(card.facts.checkpoint)
    lines = ["---", "library_name: peft" if card.kind != "lokr" else "library_name: lycoris"]
    lines += [f"base_model: {_literal(row.repo)}"] if row is not None and row.repo else []
    lines += ["pipeline_tag: text-to-audio", f"tags: [{', '.join(map(_literal, ('music', 'ace-step', card.kind)))}]"]
    lines += [f"instance_prompt: {_literal(card.facts.tag)}"] if card.facts.tag else []
    return "\n".join([*lines, "---"])


def _row(checkpoint: str) -> catalog.Row | CatalogEntry | None:
    """What a catalog says of a checkpoint, whichever family's it is in."""
    of_others = (one for one in registry.entries() if one.name == checkpoint)
    return catalog.find(checkpoint) or next(of_others, None)


def _sentence(card: Card) -> str:
    facts, config = card.facts, card.facts.config
    layers = " and ".join(plain(one) for one in config.get("targets", ())) or "some"
    songs = f"{facts.songs} song{'s' * (facts.songs != 1)}"
    asked = f" Say **{plain(facts.tag)}** in the caption to ask for it." if facts.tag else ""
    return (
        f"A {NAMES.get(card.kind, plain(card.kind))} of rank {config.get('rank', '?')} on the {layers} layers of "
        f"{plain(facts.checkpoint)}, taught by {songs} in {facts.steps} steps with acestep\\_lab.{asked}"
    )


def _table(card: Card) -> str:
    facts = card.facts
    rows: dict[str, object] = {
        "checkpoint": facts.checkpoint, "tag": facts.tag or "none", "songs": facts.songs, "steps": facts.steps,
        "roads": ", ".join(ROADS.get(road, road) for road in facts.roads), "data": facts.data or "unknown",
    }  # fmt: skip
    rows |= {name.replace("_", " "): _value(value) for name, value in facts.config.items() if name not in rows}
    body = "\n".join(f"| {plain(name)} | {plain(value)} |" for name, value in rows.items())
    return f"## What it is\n\n| | |\n|---|---|\n{body}"


def _value(value: object) -> object:
    """A setting as a person reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if value is None:
        return "as the checkpoint has it"
    return "yes" if value is True else value if value else "no"


# -- to hear and to see ------------------------------------------------------------------------------------------------


def _heard(card: Card) -> str:
    if card.preview is None:
        return ""
    start = 0.0 if card.preview.bare.seconds <= EXAMPLE_SECONDS else None
    parts = [f"## Heard\n\nThe same words and seed ({card.preview.bare.recipe.seed}), without and with it."]
    for name, take in (("Without", card.preview.bare), (f"With, after step {card.preview.step}", card.preview.take)):
        parts.append(f"**{name}**\n\n{' '.join(take.embed(EXAMPLE_SECONDS, start).html.split())}")
    return "\n\n".join(parts)


def _learnt(history: LossHistory) -> str:
    if not history.learnt and not history.held_out:
        return ""
    parts = ["## Learnt", f'<img alt="{escaped(_told(history))}" width="{WIDTH}" src="{_address(curve(history))}">']
    if history.held_out:
        times = list(history.held_out[0][1])
        head = f"| step | sum | {' | '.join(f't = {plain(t)}' for t in times)} |\n|{'---|' * (len(times) + 2)}"
        every = -(-len(history.held_out) // MOST_ROWS)
        shown = (*history.held_out[::every], history.held_out[-1])
        rows = []
        for step, losses in dict(shown).items():
            cells = " | ".join(f"{losses.get(t, math.nan):.3f}" for t in times)
            rows.append(f"| {step} | {sum(losses.values()):.3f} | {cells} |")
        parts.append("The loss on songs that were not learnt from, always at the same times and noise:")
        parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts)


def _told(history: LossHistory) -> str:
    """The curve in words, for who cannot see it."""
    first, last = (history.held_out[place][1] for place in (0, -1)) if history.held_out else ({}, {})
    if first and last:
        return f"Held-out loss from {sum(first.values()):.3f} to {sum(last.values()):.3f} over {_steps(history)} steps"
    return f"Running loss over {_steps(history)} steps; no song was held out"


def _steps(history: LossHistory) -> int:
    return max((one[0] for one in (*history.learnt, *history.held_out)), default=0)


def _address(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64_of(svg.encode())}"


def curve(history: LossHistory) -> str:
    """Running loss (smoothed, thin) and held-out loss (mean over its times, with dots) as an SVG of some kilobytes."""
    running = _finite(_smoothed(history.learnt))
    held_out = _finite([(step, float(np.mean(list(one.values())))) for step, one in history.held_out if one])
    if not (points := running + held_out):
        return _svg("")
    low, high, last = min(p[1] for p in points), max(p[1] for p in points), max(p[0] for p in points)
    across, down = (WIDTH - 2 * EDGE) / (last or 1), (HEIGHT - 2 * EDGE) / ((high - low) or 1.0)
    places = [
        [(EDGE + across * step, EDGE + down * (high - loss)) for step, loss in line] for line in (running, held_out)
    ]
    dots = "".join(f'<circle r="3" fill="{HELD_OUT}" cx="{x:.1f}" cy="{y:.1f}"/>' for x, y in places[1])
    return _svg(_labels(low, high, last) + _line(places[0], RUNNING) + _line(places[1], HELD_OUT) + dots)


def _labels(low: float, high: float, last: int) -> str:
    right, bottom, top = WIDTH - 2, HEIGHT - 6, EDGE - 8
    return (
        f'<text x="2" y="{top}">loss {high:.2f}</text><text x="2" y="{bottom}">{low:.2f}</text>'
        f'<text x="{right}" y="{bottom}" text-anchor="end">step {last}</text><text x="{right}" y="{top}" text-anchor="end">'
        f'<tspan fill="{RUNNING}">running</tspan> · <tspan fill="{HELD_OUT}">held out ●</tspan></text>'
    )


def _line(places: Sequence[tuple[float, float]], colour: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>'


def _finite(line: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    return [point for point in line if np.isfinite(point[1])]


def _smoothed(losses: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Running losses as a moving mean, in at most some hundred points."""
    found: list[tuple[int, float]] = []
    mean = None
    for step, loss in losses:
        mean = loss if mean is None else SMOOTH * mean + (1 - SMOOTH) * loss
        found.append((step, mean))
    return found[:: max(1, len(found) // 200)]


def _svg(inside: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#ffffff"/>{inside}</svg>'
    )


# -- how it is used ----------------------------------------------------------------------------------------------------


def _use(card: Card) -> str:
    notes = ["## How to use it", "Strength 1 is as taught, in every program: alpha is baked into the weights."]
    return "\n\n".join([*notes, *_ways(card), *_remarks(card)])


def _ways(card: Card) -> Iterator[str]:
    """Each program that reads it, and how."""
    words = _literal(f"{card.facts.tag}, a slow dub" if card.facts.tag else "a slow dub")
    checkpoint = _literal(card.facts.checkpoint)
    yield _code(
        "Here (acestep_lab)",
        f'lab = Session.open({checkpoint})\nlab.lora("folder of this file")              # or ("folder of this file", 0.7)\n'
        f"take = lab.make(Recipe({words}, seconds=30))",
    )
    if card.facts.family == V1.name:
        yield from _ways_of_v1(card)
        return
    if card.kind == "lokr":
        yield f"**ComfyUI and the reference's LoKr loader**: `{LYCORIS}` has LyCORIS' names; put it into `models/loras`."
        return
    text = 'model.decoder = PeftModel.from_pretrained(model.decoder, "folder of this file")'
    yield _code("PEFT, on the published model", f"from peft import PeftModel\n{text}")
    if card.kind != "dora" and "attention" in card.facts.config.get("targets", ("attention",)):
        yield _code("diffusers", f'pipe.load_lora_weights("folder of this file", weight_name="{WEIGHTS}")')
    if card.kind != "dora":
        yield f"**ComfyUI**: put `{WEIGHTS}` into `models/loras` under another name, and load it with strength 1."
    yield "**The reference's page**: name this folder as the LoRA path, and load it."


def _ways_of_v1(card: Card) -> Iterator[str]:
    """The programs that read an adapter of ACE-Step v1."""
    if card.kind == "lokr":
        yield f"`{LYCORIS}` has LyCORIS' names. The original reads no LoKr; a LoRA is what it takes."
        return
    yield f"**The original (ACE-Step)**: name this folder as the LoRA; it holds `{DIFFUSERS}` as `save_lora_adapter` writes it."
    yield _code(
        "diffusers, on the original's transformer",
        f'transformer.load_lora_adapter("folder of this file/{DIFFUSERS}", prefix=None)',
    )
    if card.kind != "dora":
        yield f"**ComfyUI**: put `{DIFFUSERS}` into `models/loras` under another name, and load it with strength 1."


def _remarks(card: Card) -> Iterator[str]:
    if card.kind == "dora":
        others = "ComfyUI leaves" if card.facts.family == V1.name else "ComfyUI and diffusers leave"
        yield f"A DoRA is read here and by PEFT; {others} its magnitudes out."
    if card.facts.roads == ("words",) and card.facts.family != V1.name:
        yield "It was taught without audio codes: where a planner writes codes first, less of it is heard. Render without the planner."
    if card.facts.checkpoint:
        yield f"It fits checkpoints of the size of {plain(card.facts.checkpoint)} only."


def _literal(text: str) -> str:
    """A text as a string of JSON, YAML and Python at once, in ASCII, with nothing that is markup or ends a block of code."""
    found = json.dumps(files.mended_text(" ".join(text.split())))
    return re.sub(r"[<>&`]", lambda match: f"\\u{ord(match[0]):04x}", found)


def _code(title: str, text: str) -> str:
    return f"**{plain(title)}**\n\n```python\n{text}\n```"
