"""The stems of a take: extracted once each, found again in the library, and held against the mix. Knows recipes and takes.

The same stem of the same take by the same checkpoint is never rendered twice: a kept take whose recipe is the one that would be
made is the stem, whatever its seed where none is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np

from acestep_lab.audio.audio import Audio
from acestep_lab.engines.base import Capabilities
from acestep_lab.errors import LibraryError, RecipeError, SourceError
from acestep_lab.jobs.kinds import RenderRun
from acestep_lab.jobs.queue import JobQueue
from acestep_lab.listen.analysis import Analysis
from acestep_lab.prompt import checks, vocabulary
from acestep_lab.prompt.recipe import Recipe
from acestep_lab.prompt.tasks import Extract, Source
from acestep_lab.takes.index import Card
from acestep_lab.takes.library import Library
from acestep_lab.takes.take import Take

Sound: TypeAlias = Take | Audio

PRESENT = "present"
"""In place of a list of stems: those that are heard in the sound."""
_LEVEL = ("normalize", "peak_db")
"""Fields of a recipe that change a stem's level alone."""


class Stems(Mapping[str, Take]):
    """Stems of a sound by their names, what is left of it without them, and the sum of any of them.

    ::

        stems = lab.stems(take, ["drums", "bass"])
        stems["drums"].audio, stems.residual, stems.mix({"drums": 0.5})
    """

    def __init__(self, source: Sound, takes: Mapping[str, Take]) -> None:
        self.source, self._takes = source, dict(takes)

    def __getitem__(self, stem: str) -> Take:
        return self._takes[stem]

    def __iter__(self) -> Iterator[str]:
        return iter(self._takes)

    def __len__(self) -> int:
        return len(self._takes)

    def __repr__(self) -> str:
        return f"<Stems of {self.source.id}: {', '.join(self._takes) or 'none'}>"

    @property
    def audio(self) -> Audio:
        """The mix that the stems were taken out of."""
        return self.source.audio if isinstance(self.source, Take) else self.source

    def level(self, stem: str) -> float:
        """What a stem's samples are multiplied by to stand in the mix as loud as the model heard them there.

        A take is brought to its level after it was made, and so is its stem; both numbers are known.
        """
        take, source = self._takes[stem], self.source
        own = float(take.made_with.get("gain", 1.0)) or 1.0
        shared = isinstance(source, Take) and source.made_with.get("vae") == take.made_with.get("vae")
        return (float(source.made_with.get("gain", 1.0)) if shared else 1.0) / own  # type: ignore[union-attr]

    def sound(self, stem: str) -> Audio:
        """A stem at its level in the mix, as long as the mix and at its rate: `[channels, samples]`."""
        return Audio(self._samples(stem), self.audio.rate)

    def _samples(self, stem: str) -> np.ndarray:
        mix = self.audio
        sound = self._takes[stem].audio.with_channels(mix.channels).resample(mix.rate)
        samples = np.zeros_like(mix.samples, np.float32)
        count = min(mix.samples.shape[1], sound.samples.shape[1])
        samples[:, :count] = sound.samples[:, :count] * np.float32(self.level(stem))
        return samples

    @cached_property
    def residual(self) -> Audio:
        """What is left of the mix once all stems are taken away: with it, the sum is the mix to within float32's rounding."""
        left = self.audio.samples.astype(np.float64)
        for stem in self._takes:
            left -= self._samples(stem)
        return Audio(left.astype(np.float32), self.audio.rate)

    def mix(self, levels: Mapping[str, float] | None = None, residual: float = 1.0) -> Audio:
        """The stems and what is left, added up; `levels` are factors by stem, 1 where none is given, 0 for silence.

        Without arguments it is the mix again, sample for sample to within 1e-6 of full scale.
        """
        asked = checks.mapping("Levels", {} if levels is None else levels)
        checks.known_fields("These stems", asked, self._takes)
        factors = {stem: checks.real(f"The level of {stem}", asked.get(stem, 1.0), 0.0, 16.0) for stem in self._takes}
        total = self.residual.samples * np.float64(checks.real("The residual's level", residual, 0.0, 16.0))
        for stem, factor in factors.items():
            total += factor * self._samples(stem).astype(np.float64)
        return Audio(total.astype(np.float32), self.audio.rate)


class Lab(Protocol):
    """What is asked of a session."""

    jobs: JobQueue

    @property
    def library(self) -> Library: ...
    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...
    def sound(self, source: Any) -> Sound: ...
    def analyze(self, source: Any) -> Analysis: ...
    def recipe_from(self, source: Any, task: Any, **changes: object) -> Recipe: ...
    def resolve(self, recipe: Recipe) -> Recipe: ...
    def start(self, recipe: Any) -> RenderRun: ...


@dataclass(frozen=True)
class KeptTakes:
    """Where kept stems are looked for: cards of takes, and how one is opened."""

    cards: Callable[[], Iterable[Card]]
    open: Callable[[str], Take]


@dataclass
class Wanted:
    """The stems that are asked for: what is kept already, and the recipes of what is not."""

    source: Sound
    kept: dict[str, Take] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)


def of(lab: Lab, source: Source, which: Any = None, **changes: object) -> Stems:
    """The stems of a sound, all made in one run; RecipeError where the checkpoint in use has no Extract."""
    lab.jobs.refuse_to_wait()
    sound = lab.sound(source)
    names = asked_stems(lab, sound, which)
    wanted = find(lab, sound, names, KeptTakes(lab.library.cards, lab.library.open), **changes)
    made = lab.start(list(wanted.recipes.values())).takes() if wanted.recipes else []
    found = wanted.kept | dict(zip(wanted.recipes, made, strict=True))
    return Stems(wanted.source, {stem: found[stem] for stem in names})


def asked_stems(lab: Lab, sound: Sound, which: Any = None) -> tuple[str, ...]:
    """Names of the stems that are asked for: a list, "present" for those that are heard, None for all the engine knows."""
    can = lab.capabilities
    known = tuple(can.vocabulary.stems)
    if "Extract" not in can.tasks or not known:
        raise RecipeError(f"{lab.name} cannot take stems out of a sound; use a checkpoint that can, such as 'base'.")
    if which is None:
        return known
    if checks.is_a(which, str) and checks.word(which) == PRESENT:
        heard = tuple(stem for stem in lab.analyze(sound).present if stem in known)
        if not heard:
            raise SourceError("No stem is heard clearly in this sound; name those you want, such as ['drums'].")
        return heard
    listed = (which,) if checks.is_a(which, str) else checks.sequence("The stems", which, len(vocabulary.STEMS))
    if not listed:
        raise RecipeError("Name at least one stem, such as ['drums'], or leave the list out for all of them.")
    return tuple(dict.fromkeys(vocabulary.stem(one) for one in listed))


def find(lab: Lab, sound: Sound, names: Iterable[str], kept: KeptTakes, **changes: object) -> Wanted:
    """What is kept of the stems of these names, and the recipes of the others."""
    wanted = Wanted(sound)
    cards = [card for card in kept.cards() if card.task == "Extract" and sound.id in card.parents]
    for stem in names:
        recipe = lab.recipe_from(sound, Extract(sound, stem), **changes)
        take = _kept(lab, recipe, cards, kept.open) if cards else None
        if take is None:
            wanted.recipes[stem] = recipe
        else:
            wanted.kept[stem] = take
    return wanted


def _kept(lab: Lab, recipe: Recipe, cards: Sequence[Card], open: Callable[[str], Take]) -> Take | None:
    """The kept take of a recipe, None where there is none: the same task, words and knobs, by the same checkpoint."""
    resolved = lab.resolve(recipe)
    name = resolved.checkpoint or lab.name
    wanted = _compared(resolved.replace(task=resolved.task.with_ids()).to_json(), recipe.seed)
    for card in cards:
        if _compared(card.recipe, recipe.seed) != wanted:
            continue
        try:
            take = open(card.id)
        except LibraryError:  # damaged or gone since it was listed: it is made again
            continue
        if take.made_with.get("checkpoint", name) == name:
            return take
    return None


def _compared(recipe: Mapping[str, Any], seed: int | None) -> str:
    """What two recipes of one stem have in common, as text."""
    left_out = {*_LEVEL, "checkpoint", *(("seed",) if seed is None else ())}
    return json.dumps({name: value for name, value in recipe.items() if name not in left_out}, sort_keys=True)
