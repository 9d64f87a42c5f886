"""Synthetic music: one seed, one song, composed and rendered by a few hundred lines of numpy.

`compose(seed, seconds)` writes a `Song` (a frozen score that knows its tempo, key, meter, sections, caption and
lyrics), `render(song, rate)` plays it. Training data and tests are made with it because everything about a song is known.
"""

from acestep_lab.prompt.vocabulary import STEMS
from acestep_lab.train.synthetic_music.compose import compose
from acestep_lab.train.synthetic_music.render import Rendering, render
from acestep_lab.train.synthetic_music.score import Chord, Note, Section, Song
from acestep_lab.train.synthetic_music.styles import STYLES

__all__ = ["STEMS", "STYLES", "Chord", "Note", "Rendering", "Section", "Song", "compose", "render"]
