"""Where lyrics are sung: the attention of their tokens becomes lines, words and sections with times. Knows numbers and text only.

A token's attention is held against its own mean over the song (so that words everybody looks at do not count), words gather
their tokens, and what is neither is rest: tags, line ends, caption, timbre. The best monotone path through words and rests
says when each is sung; how often a line stands out above all others while its words are sung says how sure that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np

from acestep_lab.engines.base import LyricAttention
from acestep_lab.errors import RecipeError, shown
from acestep_lab.listen.lyric_text import Line, LyricText, Tag
from acestep_lab.listen.monotone_path import monotone_path
from acestep_lab.listen.timed_lyrics import Alignment, Timed
from acestep_lab.prompt import checks
from acestep_lab.prompt import lyrics as prompt_lyrics
from acestep_lab.prompt.tasks import Region

FLOOR = 0.02
"""Attention that every token is granted, as a share of its own mean: one frame without any does not forbid a word."""
MOST_EVIDENCE = 4.0
"""Nats that one frame can say for or against a word."""
ESTIMATED = "These sections are estimated from words and tempo; nobody has listened to the sound."
SURE = 0.5
"""From here on a line counts as found."""


# -- evidence


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for each unit and for rest, frame by frame."""

    mass: np.ndarray
    """Share of attention on each unit, `[units, frames]`."""
    rest_mass: np.ndarray
    units: np.ndarray
    """Log of it over its own mean, `[units, frames]`."""
    rest: np.ndarray
    line_of: np.ndarray
    """The line each unit stands in, `[units]`."""
    words_of: tuple[tuple[int, ...], ...]
    """The words of the text that each unit stands for: one, or those that share a token."""

    @property
    def last_of_line(self) -> np.ndarray:
        """Which units end their line."""
        return np.append(self.line_of[1:] != self.line_of[:-1], True) if len(self.line_of) else np.zeros(0, bool)

    def reordered(self, order: np.ndarray) -> Evidence:
        """The same sound under lyrics whose words stand in another order."""
        return replace(self, mass=self.mass[order], units=self.units[order])


def evidence(attention: LyricAttention, text: LyricText, silent: np.ndarray | None = None) -> Evidence:
    """Attention on the words of a text; in frames where `silent` `[frames]` is True nothing can be sung."""
    words = [(line, span) for line, one in enumerate(text.lines) for span in one.words]
    owner = _owners(attention.spans, [span for _, span in words])
    units, words_of = _units(owner, [line for line, _ in words])
    mass = np.zeros((len(words_of), len(attention.rest)), np.float32)
    rest = np.exp(attention.rest)
    for token, unit in enumerate(units):
        share = np.exp(attention.log[token])
        if unit < 0:
            rest = rest + share
        else:
            mass[unit] += share
    log, still = _over_mean(mass), _over_mean(rest[None])[0]
    if silent is not None:
        still = np.where(silent, MOST_EVIDENCE, still)
        log[:, silent] = -MOST_EVIDENCE
    return Evidence(mass, rest, log, still, np.array([words[one[0]][0] for one in words_of], int), words_of)


def mean_attention(draws: Iterable[LyricAttention]) -> LyricAttention:
    """The mean of what several draws attend to, one after another: no more than two are held."""
    shares, rests, count, last = np.zeros(()), np.zeros(()), 0, None
    for last in draws:
        shares, rests, count = shares + np.exp(last.log), rests + np.exp(last.rest), count + 1
    assert last is not None
    return replace(last, log=np.log(shares / count).astype(np.float32), rest=np.log(rests / count).astype(np.float32))


def _over_mean(mass: np.ndarray) -> np.ndarray:
    """Log of mass `[rows, frames]` over each row's mean."""
    mean = mass.mean(axis=1, keepdims=True) if mass.size else mass
    floor = FLOOR * mean + np.float32(1e-12)
    found: np.ndarray = np.log((mass + floor) / (mean + floor))
    return np.clip(found, -MOST_EVIDENCE, MOST_EVIDENCE)


def _owners(spans: Sequence[tuple[int, int]], words: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The words that each token has letters of, in order."""
    starts, ends = (np.array([span[side] for span in words], int) for side in (0, 1))
    found = []
    for start, end in spans:
        first, last = np.searchsorted(ends, start, "right"), np.searchsorted(starts, end, "left")
        found.append(tuple(range(int(first), int(last))))
    return found


def _units(owners: Sequence[tuple[int, ...]], line_of: Sequence[int]) -> tuple[list[int], tuple[tuple[int, ...], ...]]:
    """The unit each token belongs to, -1 for none, and the words of each unit; words of a line that share a token are one."""
    leader = list(range(len(line_of)))
    for words in owners:
        for word in words[1:]:
            if line_of[word] == line_of[words[0]]:
                leader[word] = leader[words[0]]
    heard = {leader[words[0]] for words in owners if words}
    groups: dict[int, list[int]] = {}
    for word, first in enumerate(leader):
        if first in heard:
            groups.setdefault(first, []).append(word)
    place = {first: unit for unit, first in enumerate(groups)}
    return [place[leader[words[0]]] if words else -1 for words in owners], tuple(map(tuple, groups.values()))


# -- alignment


def align(attention: LyricAttention, lyrics: str, silent: np.ndarray | None = None) -> Alignment:
    """Lines, words and sections with their times; `silent` `[frames]` says where the sound is silent.

    RecipeError where there are no words.
    """
    text = text_with_words(lyrics)
    found = evidence(attention, text, silent)
    return of_path(found, monotone_path(found.units, found.rest, found.last_of_line), text, attention)


def realigned(
    attention: LyricAttention,
    lyrics: str,
    regions: Sequence[Region],
    before: Alignment,
    silent: np.ndarray | None = None,
) -> Alignment:
    """The alignment of a sound that is another one outside of regions, whose alignment is `before`: lines outside stay as they
    are, to the last digit; only what the lyrics have besides those is looked for, and only inside.
    """
    text = text_with_words(lyrics)
    outside = [line for line in before.found if not any(_overlap(line, region) for region in regions)]
    kept = _matched([line.text for line in text.lines], [line.text for line in outside])
    inside = np.zeros(len(attention.rest), bool)
    for region in regions:
        inside[region.frames(1 / attention.seconds_per_frame)] = True
    new = replace(text, lines=tuple(line for n, line in enumerate(text.lines) if n not in kept))
    found = evidence(attention, new, ~inside if silent is None else silent | ~inside)
    anew = of_path(found, monotone_path(found.units, found.rest, found.last_of_line), new, attention)
    return _joined(text, kept, outside, anew, before, len(inside) * attention.seconds_per_frame)


def _overlap(line: Timed, region: Region) -> bool:
    return line.start < region.end and region.start < line.end


def _matched(new: Sequence[str], old: Sequence[str]) -> dict[int, int]:
    """Lines that two lyrics have in common, in order: the place in the new one → the place in the old one."""
    blocks = SequenceMatcher(None, new, old, autojunk=False).get_matching_blocks()
    return {block.a + n: block.b + n for block in blocks for n in range(block.size)}


def _joined(
    text: LyricText,
    kept: Mapping[int, int],
    outside: Sequence[Timed],
    anew: Alignment,
    before: Alignment,
    seconds: float,
) -> Alignment:
    """Lines that stayed and lines that are new, by their times, each with its words."""
    fresh = iter(anew.lines)
    own = [outside[kept[n]] if n in kept else next(fresh) for n in range(len(text.lines))]
    others = [line for place, line in enumerate(outside) if place not in kept.values()]
    rows = [(line, before if n in kept else anew) for n, line in enumerate(own)] + [(line, before) for line in others]
    rows.sort(key=lambda row: (row[0].start, row[0].line))
    lines = tuple(replace(line, line=n) for n, (line, _) in enumerate(rows))
    words = tuple(replace(word, line=n) for n, (line, source) in enumerate(rows) for word in source.words_of(line))
    sections = sections_of(text.tags, text.lines, own, seconds) if kept or not outside else before.sections
    return Alignment(lines, words, sections, anew.remarks, lyrics=text.text)


def planned(lyrics: str, seconds: float, bpm: float | None = None) -> Alignment:
    """Sections as long as their words take at a tempo, stretched to a song's length: an estimate, nobody listened.

    RecipeError where the lyrics have no sections.
    """
    sections = [section for section in prompt_lyrics.sections(lyrics) if section.tag or section.lines]
    if not any(section.tag for section in sections):
        raise RecipeError("These lyrics have no section tags such as [Verse], so that no plan says where sections are.")
    lengths = np.array([prompt_lyrics.estimate_seconds(section, bpm or 100.0) for section in sections])
    edges = np.append(0.0, lengths.cumsum()) * seconds / lengths.sum()
    rows = enumerate(zip(sections, edges, edges[1:], strict=False))
    timed = tuple(Timed(one.tag, *_times(start, end), 0.0, n) for n, (one, start, end) in rows if one.tag)
    return Alignment((), (), timed, (ESTIMATED,), heard=False, lyrics=lyrics)


def text_with_words(lyrics: str) -> LyricText:
    """Lyrics cut up; RecipeError where no words are in them."""
    text = LyricText.of(checks.text("The lyrics", lyrics))
    if text.lines:
        return text
    if lyrics.strip():
        raise RecipeError("There are no words to find in these lyrics, only section tags or signs.")
    raise RecipeError("There are no words to find: these lyrics are empty.")


def of_path(found: Evidence, path: np.ndarray, text: LyricText, attention: LyricAttention) -> Alignment:
    """An alignment out of a path through its words."""
    each, lines = attention.seconds_per_frame, len(text.lines)
    starts, ends = unit_spans(path, len(found.words_of))
    sure_words = standing_out(found.mass, None, starts, ends)
    word_rows = _words(found, text, starts * each, ends * each, sure_words)
    line_starts, line_ends = line_spans(found.line_of, starts, ends, lines)
    sure = line_sureness(found, path, lines)
    timed = tuple(
        Timed(line.text, *_times(line_starts[n] * each, line_ends[n] * each), round(float(sure[n]), 3), n)
        for n, line in enumerate(text.lines)
    )
    timed = _unheard_in_place(timed)
    sections = sections_of(text.tags, text.lines, timed, len(path) * each)
    return Alignment(
        timed,
        word_rows,
        sections,
        tuple(_remarks(timed, set(found.line_of.tolist()), text, attention)),
        lyrics=text.text,
    )


def _times(start: float, end: float) -> tuple[float, float]:
    return round(float(start), 3), round(float(end), 3)


def unit_spans(path: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last frame of each unit, both 0 where it is left out."""
    starts, ends = np.zeros(count, int), np.zeros(count, int)
    for frame in range(len(path) - 1, -1, -1):
        if (unit := path[frame]) >= 0:
            starts[unit] = frame
            ends[unit] = max(ends[unit], frame + 1)
    return starts, ends


def line_spans(line_of: np.ndarray, starts: np.ndarray, ends: np.ndarray, lines: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last frame of each line, both 0 where none of its words is sung."""
    first, last = np.zeros(lines, int), np.zeros(lines, int)
    for line in range(lines):
        sung = (line_of == line) & (ends > starts)
        if sung.any():
            first[line], last[line] = starts[sung].min(), ends[sung].max()
    return first, last


def standing_out(mass: np.ndarray, rest: np.ndarray | None, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """For each row the share of its frames in which it stands furthest above its own mean, `[rows]`."""
    over = mass / (mass.mean(axis=1, keepdims=True) + 1e-12)
    most = over.max(axis=0) if len(over) else np.zeros(mass.shape[1])
    if rest is not None:
        most = np.maximum(most, rest / (rest.mean() + 1e-12))
    found = [
        float((over[row, start:end] >= most[start:end]).mean()) if end > start else 0.0
        for row, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    return np.array(found)


def line_mass(found: Evidence, lines: int) -> np.ndarray:
    """Attention on each line, each of its words over its own mean, `[lines, frames]`."""
    over = found.mass / (found.mass.mean(axis=1, keepdims=True) + 1e-12)
    total = np.zeros((lines, found.mass.shape[1]), np.float32)
    np.add.at(total, found.line_of, over)
    return total


def line_sureness(found: Evidence, path: np.ndarray, lines: int) -> np.ndarray:
    """The share of each line's sung frames in which it stands furthest above its mean, above all others and above rest."""
    over = line_mass(found, lines)
    over = over / (over.mean(axis=1, keepdims=True) + 1e-12)
    most = np.maximum(over.max(axis=0, initial=0.0), found.rest_mass / (found.rest_mass.mean() + 1e-12))
    at = np.where(path >= 0, found.line_of[path] if len(found.line_of) else -1, -1)
    return np.array(
        [float((over[n, at == n] >= most[at == n]).mean()) if (at == n).any() else 0.0 for n in range(lines)]
    )


def _words(
    found: Evidence, text: LyricText, starts: np.ndarray, ends: np.ndarray, sure: np.ndarray
) -> tuple[Timed, ...]:
    """The words with their times; words that share a token share its time, by their letters."""
    spans = [span for line in text.lines for span in line.words]
    rows = []
    for unit, words in enumerate(found.words_of):
        lengths = np.array([spans[word][1] - spans[word][0] for word in words], float)
        edges = starts[unit] + (ends[unit] - starts[unit]) * np.append(0.0, lengths.cumsum() / lengths.sum())
        for place, word in enumerate(words):
            letters = text.text[slice(*spans[word])]
            times = _times(edges[place], edges[place + 1])
            rows.append(Timed(letters, *times, round(float(sure[unit]), 3), int(found.line_of[unit])))
    return tuple(rows)


def _unheard_in_place(lines: tuple[Timed, ...]) -> tuple[Timed, ...]:
    """Lines that are not sung stand, without length, where the one before them ends."""
    placed: list[Timed] = []
    at = 0.0
    for line in lines:
        placed.append(line if line.found else replace(line, start=at, end=at, sure=0.0))
        at = max(at, placed[-1].end)
    return tuple(placed)


def sections_of(
    tags: Sequence[Tag], lines: Sequence[Line], timed: Sequence[Timed], seconds: float
) -> tuple[Timed, ...]:
    """Sections from their first line to the next section's; those without words share the rest between their neighbours."""
    own = [[timed[n] for n, line in enumerate(lines) if line.section == place] for place in range(len(tags))]
    sung = [[line for line in several if line.found] for several in own]
    ends = [max((line.end for line in several), default=0.0) for several in sung]
    starts = _filled([min((line.start for line in several), default=None) for several in sung], ends, seconds)
    return tuple(
        Timed(tag.text, *_times(start, max(start, end)), _mean_sureness(own[n]), n)
        for n, (tag, start, end) in enumerate(zip(tags, starts, [*starts[1:], seconds], strict=True))
        if tag.text
    )


def _mean_sureness(lines: Sequence[Timed]) -> float:
    return round(sum(line.sure for line in lines) / len(lines), 3) if lines else 0.0


def _filled(starts: Sequence[float | None], ends: Sequence[float], seconds: float) -> list[float]:
    """Starts, those of sections without sung words spread between the end before and the start behind them."""
    found: list[float] = []
    at = 0.0
    while len(found) < len(starts):
        place = len(found)
        known = starts[place]
        if known is not None:
            found.append(known)
            at = max(at, ends[place])
            continue
        behind = next(((n, start) for n, start in enumerate(starts) if n > place and start is not None), None)
        after, upto = behind or (len(starts), seconds)
        found += [at + max(0.0, upto - at) * n / (after - place) for n in range(after - place)]
    return found


def _remarks(timed: Sequence[Timed], heard: set[int], text: LyricText, attention: LyricAttention) -> Iterable[str]:
    """Sentences about what was not found."""
    if attention.is_cut:
        yield (
            f"The lyrics have {attention.tokens} tokens; the model reads the first {attention.limit}: what stands behind "
            f"“…{_last_heard(text, attention)}” was not heard, and has no times."
        )
    lost = [line for line in timed if not line.found and line.line in heard]
    if len(lost) == 1:
        yield f"One line was not found in the sound: {shown(lost[0].text, 40)}."
    elif lost:
        yield f"{len(lost)} of {len(timed)} lines were not found in the sound, first {shown(lost[0].text, 40)}."


def _last_heard(text: LyricText, attention: LyricAttention) -> str:
    end = max((span[1] for span in attention.spans), default=0)
    return " ".join(text.text[max(0, end - 24) : end].split())
