"""What can be measured in a take: tempo, key, loudness, meter, instruments, sections, discontinuities.

`analyze(take)` measures everything at once. Each measure has its own file and also works alone; all of them are numpy and
take an `Audio`, or anything with `.samples` `[channels, samples]` and `.rate`.
"""

from __future__ import annotations

from acestep_lab.listen.analysis import Analysis, analyze
from acestep_lab.listen.discontinuities import Discontinuity, discontinuities, discontinuity
from acestep_lab.listen.instruments import InstrumentTagger, train_tagger
from acestep_lab.listen.key import chroma_correlation, key, same_key, scale_mass
from acestep_lab.listen.meter import meter
from acestep_lab.listen.sections import drums_in, section_accuracy
from acestep_lab.listen.tempo import pulse, same_tempo, tempo

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
    "train_tagger",
]
