"""What a listener would write down of a song, frame by frame: harmony, bass, drums, entries. The goal of the audio codes.

Our latents carry phase, and ten bits a fifth of a second cannot say anything about phase: a code pair taught to rebuild latents
learns next to nothing. So the detokenizer is taught to give this instead, in the same [frames, channels] form, and the
transformer learns to read it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from acestep_lab.train.synthetic_music import Song

LOW, HIGH = ("kick", "tom", "conga"), ("hat", "ride", "shaker", "tambourine", "crash")  # every other hit is a snare
KINDS = {
    "chroma": slice(0, 12),
    "bass": slice(12, 24),
    "drums": slice(24, 27),
    "entries": slice(27, 28),
    "lead": slice(28, 32),
}
"""Name → channels."""
UNPITCHED = frozenset({"drums", "percussion", "fx"})
HIT, FADE = 0.06, 1.5  # seconds in which a hit and a held note fall to a third
LEADS = ("vocals", "woodwinds", "brass")


def note_sheet(song: Song, frames: int, per_second: float) -> Tensor:
    """The sheet [frames, 32], half precision, each channel about -1 to 2 around zero."""
    sheet = np.zeros((frames + 1, 32), np.float32)
    age = np.arange(frames) / per_second
    hit, held = np.exp(-age / HIT), np.exp(-age / FADE)
    for note in song.notes:
        first = round(note.start * per_second)
        last = min(frames, first + max(8, round(note.length * per_second)))
        if not 0 <= first < frames:
            continue
        if note.stem in UNPITCHED:
            channel = 24 + (0 if note.sound.startswith(LOW) else 2 if note.sound.startswith(HIGH) else 1)
            sheet[first:frames, channel] += note.velocity * hit[: frames - first]
            continue
        channel = note.pitch % 12 + (12 if note.stem == "bass" else 0)
        sheet[first:last, channel] += note.velocity * held[: last - first]
        sheet[first:frames, 27] += note.velocity * hit[: frames - first]
        if note.stem in LEADS:
            sheet[first:last, 28 + LEADS.index(note.stem)] = (note.pitch - 54) / 24
        elif note.pitch > 59:
            sheet[first:last, 31] = np.maximum(sheet[first:last, 31], (note.pitch - 48) / 24)
    return torch.from_numpy(2.5 * np.tanh(sheet[:frames]) - 0.4).half()
