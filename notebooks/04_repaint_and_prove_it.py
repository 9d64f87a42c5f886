# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Repaint, and prove it
#
# **What this lesson teaches.** Changing a part of a take without touching the rest — and not taking anybody's word for it. We
# repaint two regions, listen, and count the samples that changed.

# %%
import numpy as np

from acestep_lab import Recipe, Region, Session

lab = Session.open()
song = lab.make(Recipe("funky disco with drums, bass guitar and strings", seconds=10, seed=5, bpm=116, keyscale="E minor"))
song

# %% [markdown]
# ## Two regions at once

# %%
regions = [Region(2, 4), Region(6.5, 8)]
new = lab.repaint(song, regions, "soft flute melody over strings", seed=3)
new

# %% [markdown]
# ## What changed?
# The returned samples outside the regions and their short crossfades are the source's own — not similar: the same numbers.

# %%
changed = np.nonzero((new.audio.samples != song.audio.samples).any(axis=0))[0] / song.audio.rate
spans = np.split(changed, np.nonzero(np.diff(changed) > 0.2)[0] + 1)
for span in spans:
    print(f"changed between {span[0]:.3f} s and {span[-1]:.3f} s")

margin = 0.05
outside = np.ones(song.audio.samples.shape[1], bool)
for region in regions:
    outside[Region(region.start - margin, region.end + margin).samples(song.audio.rate)] = False
difference = np.abs(new.audio.samples - song.audio.samples)[:, outside].max()
print("largest difference outside:", difference)
assert difference == 0

# %% [markdown]
# This works because a take keeps its *latent*: the repaint starts from that, never from re-encoded sound, and at the end the
# old samples are put back outside the regions.
#
# ## How firmly the outside holds
# *conservative* keeps the noised source in place during the whole walk, *aggressive* lets the model roam and joins only at the
# end. Between them, `strength` says how much. Listen at the borders.

# %%
takes = {mode: lab.repaint(song, regions, "soft flute melody over strings", seed=3, mode=mode) for mode in ("conservative", "aggressive")}
takes["conservative"]

# %%
takes["aggressive"]

# %%
from acestep_lab.listen import discontinuities

for mode, take in takes.items():
    steps = discontinuities(take.audio, [r.start for r in regions] + [r.end for r in regions])
    print(f"{mode:>12}: level steps at the borders {[round(s.level, 1) for s in steps]} dB, audible: {[s.audible for s in steps]}")

# %% [markdown]
# ## Where it came from
# The new take knows its parent, and its recipe says what was done.

# %%
print(new.parents)
print(new.code())
