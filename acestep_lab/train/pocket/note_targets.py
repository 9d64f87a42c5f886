"""Note targets: a song as a transcript frame by frame (harmony, bass, drums, note entries, leads). The audio codes are trained on it.

Our latents carry phase, and ten bits a fifth of a second cannot say anything about phase: a tokenizer pair trained to rebuild
latents learns next to nothing. So the detokenizer is trained to give this instead, in the same [frames, channels] form, and the
transformer learns to use it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from acestep_lab.train.synthetic_music import Song

LOW, HIGH = ("kick", "tom", "conga"), ("hat", "ride", "shaker", "tambourine", "crash")  # every other hit is a snare
TARGET_CHANNELS = {
    "chroma": slice(0, 12),
    "bass": slice(12, 24),
    "drums": slice(24, 27),
    "entries": slice(27, 28),
    "lead": slice(28, 32),
}
"""Kind of target → its channels."""
UNPITCHED = frozenset({"drums", "percussion", "fx"})
HIT_DECAY, NOTE_DECAY = 0.06, 1.5  # seconds in which a drum hit and a held note fall to a third
LEADS = ("vocals", "woodwinds", "brass")


def note_targets_of(song: Song, frames: int, per_second: float) -> Tensor:
    """The note targets of a song at `per_second` frames, [frames, 32], half precision, each channel about -1 to 2."""
    targets = np.zeros((frames + 1, 32), np.float32)
    seconds = np.arange(frames) / per_second
    hit, held = np.exp(-seconds / HIT_DECAY), np.exp(-seconds / NOTE_DECAY)
    for note in song.notes:
        first = round(note.start * per_second)
        last = min(frames, first + max(8, round(note.length * per_second)))
        if not 0 <= first < frames:
            continue
        if note.stem in UNPITCHED:
            channel = 24 + (0 if note.sound.startswith(LOW) else 2 if note.sound.startswith(HIGH) else 1)
            targets[first:frames, channel] += note.velocity * hit[: frames - first]
            continue
        channel = note.pitch % 12 + (12 if note.stem == "bass" else 0)
        targets[first:last, channel] += note.velocity * held[: last - first]
        targets[first:frames, 27] += note.velocity * hit[: frames - first]
        if note.stem in LEADS:
            targets[first:last, 28 + LEADS.index(note.stem)] = (note.pitch - 54) / 24
        elif note.pitch > 59:
            targets[first:last, 31] = np.maximum(targets[first:last, 31], (note.pitch - 48) / 24)
    return torch.from_numpy(2.5 * np.tanh(targets[:frames]) - 0.4).half()
