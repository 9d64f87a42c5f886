"""The fixed prompts: those of synthetic songs, written down once so that a change of the composer cannot change the evaluation.

`python -m acestep_lab.evaluate.prompts` writes them anew; a test says when the composer no longer writes what stands here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from acestep_lab.engines.base import Vocabulary
from acestep_lab.plan.plan import Plan
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.train.synthetic_music import Song, compose
from acestep_lab.train.synthetic_music.text import caption_words

FILE = Path(__file__).with_name("prompts.json")
FIRST_SEED, SOLO_SEED = 7_700_000, 7_800_000
"""Seeds that no training draws from."""
SECONDS = 10.0
MIXES, SOLOS = 128, 32
SOLO_STEMS = ("keyboard", "guitar", "bass", "drums", "strings", "synth", "woodwinds", "brass")


@dataclass(frozen=True)
class Prompt:
    """What is asked of the model, and the seed of the song it describes."""

    seed: int
    caption: str
    lyrics: str
    bpm: int
    keyscale: str
    timesignature: str
    instruments: tuple[str, ...]
    solo: bool

    @property
    def named(self) -> frozenset[str]:
        """The instruments that caption or lyrics name.

        A caption leaves out one in ten of those that play, and no model can be blamed for what it does not say.
        """
        text, sounds = f"{self.caption}\n{self.lyrics}".lower(), {(n.stem, n.sound) for n in self.song().notes}
        names = {stem: caption_words(stem, {sound for s, sound in sounds if s == stem}) for stem in self.instruments}
        named = {stem for stem, said in names.items() if any(word.lower() in text for word in said)}
        sung = any(line and not line.startswith("[") for line in self.lyrics.splitlines())
        return frozenset(named | ({"vocals"} & set(self.instruments) if sung else set()))

    def song(self, seconds: float = SECONDS) -> Song:
        """The synthetic song that this prompt describes."""
        only = {"instruments": self.instruments} if self.solo else {}
        return compose(self.seed, seconds, **only)  # type: ignore[arg-type]

    def for_engine(self, vocabulary: Vocabulary) -> Prompt:
        """The prompt as an engine with this vocabulary can be asked: one that does not sing gets no lyrics."""
        return self if vocabulary.lyrics else replace(self, lyrics="")

    def recipe(self, seconds: float = SECONDS, **more: object) -> Recipe:
        """The prompt as a recipe with the song's seed; `more` are further fields."""
        return Recipe(
            self.caption,
            self.lyrics,
            seconds,
            self.seed,
            self.bpm,
            self.keyscale,
            self.timesignature,
            "en" if self.lyrics else None,
            **more,  # type: ignore[arg-type]
        )

    def plan(self, seconds: float = SECONDS) -> Plan:
        """The prompt as a plan without codes."""
        return Plan(
            caption=self.caption, lyrics=self.lyrics, seconds=seconds, bpm=self.bpm, keyscale=self.keyscale,
            timesignature=self.timesignature, language="en",
        )  # fmt: skip


def prompts(count: int = 64, solo: bool = False) -> list[Prompt]:
    """The first `count` fixed prompts (all, if there are fewer) for mixes or, with `solo`, for single instruments."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))
    found = [Prompt(**{**row, "instruments": tuple(row["instruments"])}) for row in rows]
    return [p for p in found if p.solo == solo][:count]


def recomposed() -> list[Prompt]:
    """The prompts as the composer would write them now."""
    mixes = [_prompt(seed, compose(seed, SECONDS), False) for seed in range(FIRST_SEED, FIRST_SEED + MIXES)]
    stems = [(SOLO_SEED + i, SOLO_STEMS[i % len(SOLO_STEMS)]) for i in range(SOLOS)]
    return mixes + [_prompt(seed, compose(seed, SECONDS, instruments=(stem,)), True) for seed, stem in stems]


def _prompt(seed: int, song: Song, solo: bool) -> Prompt:
    return Prompt(seed, song.caption, song.lyrics, song.bpm, song.keyscale, song.timesignature, song.instruments, solo)


if __name__ == "__main__":
    FILE.write_text(
        json.dumps([asdict(p) for p in recomposed()], ensure_ascii=False, indent=0) + "\n", encoding="utf-8"
    )
