"""One take, or several, as one HTML file that needs nothing else: players, waveforms, recipes, where each came from.

The sound is Opus inside the page, played by the browser's own controls; the few lines of script only make waveform and
lyrics places to click, and light the word that is sung. Knows values only; the pictures of the steps are handed in as PNG bytes.
"""

from __future__ import annotations

import base64
import html
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acestep_lab.audio.audio import Audio
from acestep_lab.errors import LibraryError
from acestep_lab.files import write_whole
from acestep_lab.prompt.literal import literal
from acestep_lab.takes.take import Take

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1d2330; --soft: #626b7c; --paper: #fbfaf7; --line: #e2dfd6; --wave: #0072b2;
  --played: #d55e00; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e9e7e1; --soft: #9aa3b2; --paper: #14171d; --line: #2a303b;
  --wave: #56b4e9; --played: #e69f00; }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }}
main {{ max-width: 860px; margin: 0 auto; padding: 48px 20px 80px }}
h1 {{ font-size: 1.7rem; line-height: 1.25; font-weight: 600; margin: 0 0 6px; text-wrap: balance }}
h3 {{ font-size: 1.25rem; line-height: 1.3; font-weight: 600; margin: 0 0 6px }}
section + section {{ margin-top: 72px; border-top: 1px solid var(--line); padding-top: 40px }}
h2 {{ font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); margin: 44px 0 12px }}
p {{ margin: 0 0 10px; color: var(--soft) }}
.wave {{ position: relative; margin: 22px 0 10px; cursor: pointer }}
.wave svg {{ display: block; width: 100%; height: 130px }}
.wave path {{ fill: var(--wave) }}
.wave i {{ position: absolute; inset: 0 auto 0 0; width: 2px; background: var(--played); pointer-events: none }}
audio {{ width: 100% }}
.steps {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); gap: 14px }}
figure {{ margin: 0 }}
figure img {{ width: 100%; height: 84px; object-fit: fill; border-radius: 6px; border: 1px solid var(--line);
  image-rendering: auto }}
figcaption {{ font-size: .8rem; color: var(--soft) }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0 }}
dt {{ color: var(--soft) }} dd {{ margin: 0 }} h1, h3, li, dd, figcaption {{ unicode-bidi: isolate }}
.now {{ min-height: 1.6em; margin: 12px 0 0; font-size: 1.3rem; text-align: center; color: var(--ink) }}
.lyrics {{ list-style: none; margin: 0; padding: 0 }} .lyrics li {{ margin: 0 }}
.lyrics .tag {{ margin: 14px 0 2px; font-size: .8rem; color: var(--soft) }}
.lyrics button {{ font: inherit; min-height: 28px; padding: 2px 8px; border: 0; border-radius: 6px; background: none; color: inherit;
  text-align: start; cursor: pointer }}
.lyrics button:hover {{ text-decoration: underline }}
.lyrics .on button {{ background: var(--line); box-shadow: inset 3px 0 0 var(--wave); font-weight: 600 }}
.unsure {{ text-decoration: underline dotted var(--played) 2px; text-underline-offset: 3px }}
.word.on {{ background: var(--wave); color: var(--paper); border-radius: 4px; box-shadow: 0 0 0 2px var(--wave) }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; padding: 14px 16px; border: 1px solid var(--line);
  border-radius: 8px; font-size: .85rem }}
</style>
</head>
<body><main>
{takes}
</main>
<script>
let playing = null;
for (const wave of document.querySelectorAll(".wave")) {{
  const audio = wave.parentElement.querySelector("audio"), head = wave.querySelector("i");
  audio.volume = 0.5;
  wave.addEventListener("click", (e) => {{ const box = wave.getBoundingClientRect();
    audio.currentTime = audio.duration * (e.clientX - box.left) / box.width; audio.play(); }});
  audio.addEventListener("play", () => {{ if (playing && playing !== audio) playing.pause(); playing = audio; draw(); }});
  audio.addEventListener("timeupdate", place);
  function place() {{ sing(); if (audio.duration) head.style.left = 100 * audio.currentTime / audio.duration + "%"; }}
  const lines = [...wave.parentElement.querySelectorAll(".lyrics li[data-start]")], now = wave.parentElement.querySelector(".now");
  const lit = (node) => node.dataset.start <= audio.currentTime + 0.05 && audio.currentTime < node.dataset.end;
  let sung = null;
  for (const line of lines) line.querySelector("button").addEventListener("click", () => {{
    audio.currentTime = Number(line.dataset.start); audio.play(); }});
  function sing() {{ const found = lines.findLast(lit) ?? null;
    if (found !== sung) {{ for (const line of lines) {{ line.classList.toggle("on", line === found);
        line === found ? line.setAttribute("aria-current", "true") : line.removeAttribute("aria-current"); }}
      sung = found; now.replaceChildren(...(found ? found.querySelector("button").cloneNode(true).childNodes : [])); }}
    for (const word of now?.querySelectorAll(".word") ?? []) word.classList.toggle("on", lit(word)); }}
  function draw() {{ place(); if (!audio.paused) requestAnimationFrame(draw); }}
}}
</script>
</body></html>
"""
_TAKE = """<section>
<{heading}>{title}</{heading}>
<p>{facts}</p>
<div class="wave" role="img" aria-label="Waveform; click to listen from there"><svg viewBox="0 0 860 130"
 preserveAspectRatio="none"><path d="{wave}"/></svg><i></i></div>
<audio controls preload="metadata" aria-label="{title}" src="data:audio/ogg;codecs=opus;base64,{sound}"></audio>
{lyrics}{steps}<h2>Recipe</h2>
<dl>{rows}</dl>
{lineage}<h2>Make it again</h2>
<pre>from acestep_lab import *
lab = Session.open({checkpoint})
{code}</pre>
</section>
"""
_STEPS = """<h2>From noise to music</h2>
<p>Each picture is the model's estimate of the finished song after one more step (time runs to the right).</p>
<div class="steps">{steps}</div>
"""
_LYRICS = """<p class="now" dir="auto" aria-hidden="true"></p>
<h2>Lyrics</h2>
<ol class="lyrics">{lines}</ol>
"""
BITRATE = 128
"""Kilobits a second of the sound inside a page."""
UNSURE = 0.5
"""A line less sure than this is underlined."""
Timed = Mapping[str, Mapping[str, Any]]
NOTHING: Timed = {}


def page(take: Take, steps: Sequence[tuple[str, bytes]] = ()) -> str:
    """The page of a take as HTML; `steps` are (caption, PNG bytes)."""
    return _PAGE.format(title=escaped(_title(take)), takes=_section(take, take.audio, BITRATE, (), steps))


def pages(
    takes: Sequence[Take], sounds: Sequence[Audio] | None = None, bitrate: int = BITRATE, lyrics: Timed = NOTHING
) -> str:  # fmt: skip
    """The page of several takes; `sounds` are played in place of their own, such as at another level; `lyrics` are alignments
    as plain data, by the ids of their takes: they are lit as they are sung.
    """
    heard = sounds or [take.audio for take in takes]
    sections = [_section(take, sound, bitrate, takes, (), lyrics) for take, sound in zip(takes, heard, strict=True)]
    title = _title(takes[0]) if len(takes) == 1 else f"{len(takes)} takes"
    head = "" if len(takes) == 1 else f"<h1>{escaped(title)}</h1>\n"
    return _PAGE.format(title=escaped(title), takes=head + "".join(sections))


def _section(
    take: Take, sound: Audio, bitrate: int, others: Sequence[Take], steps: Sequence[tuple[str, bytes]] = (),
    lyrics: Timed = NOTHING,
) -> str:  # fmt: skip
    """A take's part of the page."""
    recipe = take.recipe.to_json()
    task = recipe.pop("task")["task"]
    facts = f"{sound.seconds:.1f} s · seed {take.recipe.seed} · {sound.rate:,} Hz · {sound.loudness():.1f} LUFS"
    return _TAKE.format(
        heading="h1" if len(others) <= 1 else "h3",
        title=escaped(_title(take)),
        facts=escaped(facts.replace(",", " ")),
        wave=wave_path(sound, 860, 130),
        sound=base64_of(sound.encoded("opus", bitrate=bitrate)),
        lyrics=_lyrics(lyrics.get(take.id, {})),
        steps=_STEPS.format(steps="".join(_figure(caption, png) for caption, png in steps)) if steps else "",
        rows="".join(_row(name, value) for name, value in {"task": task, **recipe}.items()),
        lineage=_lineage(take, others),
        checkpoint=escaped(literal(str(take.made_with.get("checkpoint", "pocket")))),
        code=escaped(take.code()),
    )


def _lyrics(alignment: Mapping[str, Any]) -> str:
    """An alignment's lines under its sections, by their times; "" where none is sung."""
    lines = sorted((row for row in alignment.get("lines", ()) if row[2] > row[1]), key=lambda row: (row[1], row[4]))
    tags = sorted((row for row in alignment.get("sections", ()) if row[0]), key=lambda row: row[1])
    rows = []
    for text, start, end, sure, place in lines:
        while tags and tags[0][1] <= start + 1e-6:
            rows.append(f'<li class="tag">{escaped(tags.pop(0)[0])}</li>')
        words = [row for row in alignment.get("words", ()) if row[4] == place and row[2] > row[1]]
        said = _with_words(text, words)
        unsure = ' class="unsure" title="Unsure: read its time as a guess"' if sure < UNSURE else ""
        rows.append(
            f'<li dir="auto" data-start="{start:.3f}" data-end="{end:.3f}"><button><span{unsure}>{said}</span></button></li>'
        )
    return _LYRICS.format(lines="\n".join(rows)) if lines else ""


def _with_words(text: str, words: Sequence[Sequence[Any]]) -> str:
    """A line as HTML, each word with its times around it."""
    found, at = "", 0
    for word, start, end, *_ in words:
        place = text.find(word, at)
        if place < 0:
            continue
        found += escaped(text[at:place])
        found += f'<span class="word" data-start="{start:.3f}" data-end="{end:.3f}">{escaped(word)}</span>'
        at = place + len(word)
    return found + escaped(text[at:])


def _title(take: Take) -> str:
    return take.recipe.caption or take.id


def _lineage(take: Take, others: Sequence[Take]) -> str:
    """What a take was made from, by its words where that take is on the page too."""
    names = {other.id: f"{_title(other)} ({other.id})" for other in others}
    made_from = "".join(f"<li>{escaped(names.get(parent, parent))}</li>" for parent in take.parents)
    return f"<h2>Made from</h2>\n<ul>{made_from}</ul>\n" if made_from else ""


def write(take: Take, path: str | Path, steps: Sequence[tuple[str, bytes]] = ()) -> Path:
    """Write the page of a take and return its path; LibraryError where the disk refuses, and nothing half is left."""
    text = page(take, steps)
    return write_whole(
        Path(path).expanduser(), lambda draft: draft.write_text(text, encoding="utf-8"), "The page", LibraryError
    )


def escaped(text: str) -> str:
    """Text as HTML that says just it, in an element or an attribute: no markup, no half or invisible control
    characters.

    Marks that turn the reading direction stay, and turn only the element they stand in (`unicode-bidi: isolate`).
    """
    plain = "".join(ch if ch in "\n\t" or unicodedata.category(ch) not in ("Cc", "Cs") else "\ufffd" for ch in text)
    return html.escape(plain, quote=True)


def wave_path(audio: Audio, width: int, height: int, points: int | None = None) -> str:
    """The outline of a waveform as an SVG path, by so many points, else one a pixel."""
    peaks = audio.with_channels(1).peaks(points or width)[0]
    step, middle = width / max(1, len(peaks)), height / 2
    top = [f"{i * step:.1f},{middle - high * middle:.1f}" for i, (_, high) in enumerate(peaks)]
    bottom = [f"{i * step:.1f},{middle - low * middle:.1f}" for i, (low, _) in enumerate(peaks)]
    return "M" + "L".join(top + bottom[::-1]) + "Z" if len(peaks) else ""


def base64_of(data: bytes) -> str:
    """Bytes as text for a data: address."""
    return base64.b64encode(data).decode("ascii")


def _figure(caption: str, png: bytes) -> str:
    return (
        f'<figure><img alt="{escaped(caption)}" src="data:image/png;base64,{base64_of(png)}">'
        f"<figcaption>{escaped(caption)}</figcaption></figure>"
    )


def _row(name: str, value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>"
