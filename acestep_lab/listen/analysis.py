"""Everything that can be measured in a take or a sound, at once. Knows the measures, and no model."""

from __future__ import annotations

from dataclasses import dataclass

from acestep_lab.audio import layouts
from acestep_lab.audio.loudness import integrated_loudness, weights_of
from acestep_lab.errors import SourceError
from acestep_lab.listen.instruments import default_tagger
from acestep_lab.listen.key import key
from acestep_lab.listen.meter import meter
from acestep_lab.listen.spectra import Sound
from acestep_lab.listen.tempo import tempo
from acestep_lab.prompt import checks
from acestep_lab.takes.take import Take


@dataclass(frozen=True)
class Analysis:
    """What was measured; strengths and confidences say how far to trust each."""

    bpm: float
    pulse: float  # 0 to 1
    keyscale: str
    key_confidence: float  # lead over the second best key, 0 to about 0.5
    timesignature: str
    meter_confidence: float  # 0 to 1
    loudness: float  # LUFS, -inf for silence
    instruments: tuple[tuple[str, float], ...]  # stems and how likely each is there

    @property
    def present(self) -> tuple[str, ...]:
        """The stems more likely there than not."""
        return tuple(stem for stem, probability in self.instruments if probability > 0.5)


def analyze(sound: Take | Sound, bpm: float | None = None) -> Analysis:
    """What can be measured in a take or any sound, each measure with how far to trust it.

    `bpm` (10 to 1000; a take's own recipe's, where none is given) only tells the meter which beat to count. Raises RecipeError for
    what is no tempo, SourceError for less than a second.
    """
    bpm = None if bpm is None else checks.real("A tempo to listen for", bpm, 10, 1000)
    if isinstance(sound, Take):
        bpm, sound = bpm or sound.recipe.bpm, sound.audio
    if sound.samples.shape[-1] < sound.rate:
        raise SourceError("A sound shorter than a second has no tempo, key or meter to measure; take a longer one.")
    speed, strength = tempo(sound)
    name, lead = key(sound)
    sign, certainty = meter(sound, bpm or speed)
    return Analysis(
        bpm=round(speed, 1), pulse=strength, keyscale=name, key_confidence=lead, timesignature=sign, meter_confidence=certainty,
        loudness=_loudness(sound), instruments=tuple(default_tagger().probabilities(sound).items()),
    )  # fmt: skip


def _loudness(sound: Sound) -> float:
    """Integrated loudness in LUFS, of an `Audio` by its layout."""
    channels = sound.samples.shape[0]
    layout = getattr(sound, "layout", ()) or layouts.STANDARD.get(channels, ())
    return integrated_loudness(sound.samples, sound.rate, weights_of(layout))
