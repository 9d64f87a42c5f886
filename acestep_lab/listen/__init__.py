"""What can be measured in a take: tempo, key, loudness, meter, instruments, sections, discontinuities.

`analyze(take)` measures everything at once. Each measure has its own file and also works alone; all of them are numpy and
take an `Audio`, or anything with `.samples` `[channels, samples]` and `.rate`.
"""

from __future__ import annotations

from dataclasses import dataclass

from acestep_lab.errors import SourceError
from acestep_lab.listen.discontinuities import Discontinuity, discontinuities, discontinuity
from acestep_lab.listen.instruments import InstrumentTagger, shipped, train_presence
from acestep_lab.listen.key import chroma_correlation, key, same_key, scale_mass
from acestep_lab.listen.meter import meter
from acestep_lab.listen.sections import drums_in, section_accuracy
from acestep_lab.listen.spectra import Sound
from acestep_lab.listen.tempo import pulse, same_tempo, tempo
from acestep_lab.takes.take import Take

__all__ = [
    "Analysis",
    "Discontinuity",
    "InstrumentTagger",
    "analyze",
    "chroma_correlation",
    "discontinuities",
    "discontinuity",
    "drums_in",
    "key",
    "meter",
    "pulse",
    "same_key",
    "same_tempo",
    "scale_mass",
    "section_accuracy",
    "tempo",
    "train_presence",
]


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
        return tuple(stem for stem, chance in self.instruments if chance > 0.5)


def analyze(sound: Take | Sound, bpm: float | None = None) -> Analysis:
    """What can be heard in a take or any sound, each measure with how far to trust it.

    An asked `bpm` (a take's own, where none is given) only tells the meter which beat to count. Raises SourceError for less
    than a second.
    """
    audio: Sound = sound.audio if isinstance(sound, Take) else sound
    bpm = sound.recipe.bpm if bpm is None and isinstance(sound, Take) else bpm
    if audio.samples.shape[-1] < audio.rate:
        raise SourceError("A sound shorter than a second has no tempo, key or meter to hear; play a longer one.")
    speed, strength = tempo(audio)
    name, lead = key(audio)
    sign, sure = meter(audio, bpm or speed)
    return Analysis(
        bpm=round(speed, 1), pulse=strength, keyscale=name, key_confidence=lead, timesignature=sign, meter_confidence=sure,
        loudness=audio.loudness(), instruments=tuple(shipped().probabilities(audio).items()),
    )  # fmt: skip
