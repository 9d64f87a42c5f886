"""Everything that can be measured in a take or a sound, at once. Knows the measures, and no model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from acestep_lab.audio import layouts
from acestep_lab.audio.audio import Audio
from acestep_lab.audio.loudness import integrated_loudness, weights_of
from acestep_lab.errors import SourceError
from acestep_lab.listen.beat_grid import BeatGrid, BeatTracker, named_tracker
from acestep_lab.listen.calibration import shipped
from acestep_lab.listen.instruments import default_tagger, mel_spectrogram
from acestep_lab.listen.key import chroma_frames, has_notes, key_of, profile_of
from acestep_lab.listen.meter import meter
from acestep_lab.listen.spectra import Sound
from acestep_lab.listen.tempo import tempo
from acestep_lab.prompt import checks
from acestep_lab.takes.take import Take

SURE = 0.6
"""From this probability on a measure is told without a remark."""
CLEAR = 0.2
"""Mean distance of instruments' probabilities from one half, below which they are a guess."""


@dataclass(frozen=True)
class Analysis:
    """What was measured; probabilities say how far to trust each, `unsure` what is rather a guess. Prints as a sentence."""

    bpm: float
    pulse: float  # 0 to 1
    keyscale: str
    key_confidence: float  # lead over the second best key, 0 to about 0.5
    timesignature: str
    meter_confidence: float  # 0 to 1
    loudness: float  # LUFS, -inf for silence
    instruments: tuple[tuple[str, float], ...]  # stems and how likely each is there
    tempo_probability: float | None = None
    """How likely the tempo is right, up to an octave; None from a machine that does not say. So for key and meter below."""
    key_probability: float | None = None
    meter_probability: float | None = None
    strangeness: float | None = None
    """0 for what sounds like the music our ears were taught on, 1 and more for what does not."""

    @property
    def unsure(self) -> tuple[str, ...]:
        """What is rather a guess: of "tempo", "key", "meter" and "instruments" those that are not likely enough to be right."""
        likely = {"tempo": self.tempo_probability, "key": self.key_probability, "meter": self.meter_probability}
        names = [name for name, share in likely.items() if share is not None and share < SURE]
        clear = sum(abs(share - 0.5) for _, share in self.instruments) / max(1, len(self.instruments))
        return (*names, *(["instruments"] if self.strangeness is not None and clear < CLEAR else []))

    def __str__(self) -> str:
        said = {"tempo": f"{self.bpm:g} bpm", "key": self.keyscale, "meter": f"{self.timesignature} beats in a bar"}
        words = [f"{value} (unsure)" if name in self.unsure else value for name, value in said.items()]
        stems = ", ".join(self.present) or "no instrument for certain"
        return f"{', '.join(words)}, {self.loudness:.1f} LUFS; {stems}{' (unsure)' if 'instruments' in self.unsure else ''}"

    @property
    def present(self) -> tuple[str, ...]:
        """The stems more likely there than not."""
        return tuple(stem for stem, probability in self.instruments if probability > 0.5)


def analyze(sound: Take | Sound, bpm: float | None = None, beats: BeatTracker | None = None) -> Analysis:
    """What can be measured in a take or any sound, each measure with how far to trust it.

    `bpm` (10 to 1000; a take's own recipe's, where none is given) only tells the meter which beat to count. Raises RecipeError for
    what is no tempo, SourceError for less than a second. `beats` hears tempo and meter in our ears' place; None: the
    beat-this checkpoint that ACESTEP_LAB_BEAT_THIS names, where one is named.
    """
    bpm = None if bpm is None else checks.real("A tempo to listen for", bpm, 10, 1000)
    if isinstance(sound, Take):
        bpm, sound = bpm or sound.recipe.bpm, sound.audio
    if sound.samples.shape[-1] < sound.rate:
        raise SourceError("A sound shorter than a second has no tempo, key or meter to measure; take a longer one.")
    speed, strength = tempo(sound)
    harmony = chroma_frames(sound)
    name, lead = key_of(profile_of(harmony))
    sign, certainty = meter(sound, bpm or speed)
    trust, tagger, picture = shipped(), default_tagger(), mel_spectrogram(sound)
    strange = trust.strangeness(picture)
    said = zip(tagger.roles, tagger.probabilities_of(picture).tolist(), strict=True)
    found = Analysis(
        bpm=round(speed, 1), pulse=strength, keyscale=name, key_confidence=lead, timesignature=sign, meter_confidence=certainty,
        loudness=_loudness(sound), instruments=tuple((stem, trust.instrument(share, strange)) for stem, share in said),
        tempo_probability=trust.probability("tempo", strength, strange), strangeness=strange,
        key_probability=trust.probability("key", lead, strange, has_notes(harmony)),
        meter_probability=trust.probability("meter", certainty, strange),
    )  # fmt: skip
    return _with_beats(found, sound, beats or named_tracker())


def _with_beats(found: Analysis, sound: Sound, beats: BeatTracker | None) -> Analysis:
    """Tempo and meter by somebody else's ears, where they hear beats; as likely as the beats are steady."""
    grid = BeatGrid() if beats is None else beats.grid(Audio(sound.samples, sound.rate))
    if grid.bpm is None:
        return found
    return replace(
        found, bpm=round(grid.bpm, 1), tempo_probability=grid.steadiness, timesignature=grid.timesignature,
        meter_probability=grid.evenness,
    )  # fmt: skip


def _loudness(sound: Sound) -> float:
    """Integrated loudness in LUFS, of an `Audio` by its layout."""
    channels = sound.samples.shape[0]
    layout = getattr(sound, "layout", ()) or layouts.STANDARD.get(channels, ())
    return integrated_loudness(sound.samples, sound.rate, weights_of(layout))
