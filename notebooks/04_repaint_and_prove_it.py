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
# **For whom:** whoever wants to change eight bars and keep the rest, and does not like to take anybody's word for it. **How long:** 20
# minutes. **You will be able to** repaint any part of a take, choose how firmly the rest holds, and prove, sample by sample, what changed.
# **It runs on** any computer (the pocket, no graphics card).
#
# **What this lesson teaches.** Outside the regions you name and their short crossfades, a repaint gives back *the same samples*. Not
# similar ones. That is a claim, so it can be checked, and you will check it yourself.
#
# Begin with a sound.

# %%
import numpy as np

from acestep_lab import Recipe, Region, Session

lab = Session.open()
recipe = Recipe(
    "funky disco with drums, bass guitar and strings",
    seconds=6, seed=5, bpm=116, keyscale="E minor",
)
song = lab.make(recipe)
song

# %% [markdown]
# ## Two regions at once
#
# A [region](../acestep_lab/lessons/GLOSSARY.md) is a span in seconds. We ask for a flute in two of them.
#
# **Predict, then listen.** The song lasts six seconds. Will the music at 3 s, between the two regions, be a little different
# afterwards? And the very last second?

# %%
regions = [Region(1, 2.5), Region(4, 5)]
new = lab.repaint(song, regions, "soft flute melody over strings", seed=3)
new

# %% [markdown]
# Listening cannot answer that: an ear does not notice a thousandth. Counting can. Here is the largest difference between old and new
# within each hundredth of a second.

# %%
from acestep_lab.ui.line_chart import Axis, Line, LineChart


def largest(one, other, window=0.01):
    """The largest difference of two takes in each window, and the windows' times in seconds."""
    difference = np.abs(one.audio.samples - other.audio.samples).max(axis=0)
    width = round(window * one.audio.rate)
    rows = difference[: len(difference) // width * width].reshape(-1, width).max(axis=1)
    return np.arange(len(rows)) * window, rows


when, how_much = largest(song, new)
LineChart(
    "What the repaint changed",
    Axis("time in seconds", ticks=(0, 1, 2.5, 4, 5, 6)),
    Axis("largest difference (full scale is 1)"),
    (Line("new against old", when, how_much, marked=False),),
)

# %%
differs = (new.audio.samples != song.audio.samples).any(axis=0)  # one truth for each sample
time = np.arange(len(differs)) / song.audio.rate
margin = 0.05  # seconds of crossfade outside a region, at most
away = [(time < r.start - margin) | (time >= r.end + margin) for r in regions]
outside = np.all(away, axis=0)
print(f"samples outside: {outside.sum():,}; of them changed: {differs[outside].sum()}")
print(f"samples inside:  {(~outside).sum():,}; of them changed: {differs[~outside].sum():,}")
assert not differs[outside].any()

# %% [markdown]
# <details><summary>What did you expect, and what do you see?</summary>
#
# Between the regions and at the end nothing has changed, not in the last bit: the curve does not come near zero there, it *is* zero.
# Inside nearly every sample is new. The `assert` would have stopped this notebook if one sample outside had been different; that it runs on
# is the proof.
#
# </details>
#
# ## Why this is not a matter of course
#
# The music model works on [latents](../acestep_lab/lessons/GLOSSARY.md), and the way from sound to latent and back loses something. Whoever
# repaints by encoding the song, changing the latent and decoding all of it, changes *every* sample a little. See what the mere round
# trip does, with nothing repainted at all:

# %%
round_trip = lab.decode(lab.encode(song.audio))
length = min(round_trip.samples.shape[1], song.audio.samples.shape[1])
old = song.audio.samples[:, :length]
noise = round_trip.samples[:, :length] - old
print(f"samples changed by encoding and decoding alone: {(noise != 0).any(axis=0).mean():.1%}")
ratio = 10 * np.log10((old**2).sum() / (noise**2).sum())
print(f"the signal stands above the error by {ratio:.1f} dB")
round_trip

# %% [markdown]
# So two things are done here. A take keeps its latent, and the repaint starts from that one instead of encoding the sound again. And at the
# end the old samples are put back outside the regions, with a short crossfade that lies *outside* each region.
#
# ## How firmly the outside holds
#
# During the walk from noise to music the model sees the whole song, old and new. At each step the outside can be set back to where the
# old song would be at that moment (the idea of RePaint, [arXiv 2201.09865](https://arxiv.org/abs/2201.09865)). *conservative* does so at
# every step, *aggressive* never, and *balanced* for a share of the steps that `strength` sets. In the first the new music has to fit what
# stands; in the last the model writes a whole new song, and only the region of it is used.
#
# **Predict, then listen.** In which of the two will you hear the borders?

# %%
asked = {"seed": 3, "caption": "soft flute melody over strings"}
modes = {}
for mode in ("conservative", "aggressive"):
    modes[mode] = lab.repaint(song, regions, mode=mode, **asked)
modes["conservative"]

# %%
modes["aggressive"]

# %%
from acestep_lab.listen import discontinuities

borders = [border for region in regions for border in (region.start, region.end)]
compared = {"before the repaint": song, **modes}
jumps = {name: discontinuities(made.audio, borders) for name, made in compared.items()}
lines = []
for name, found in jumps.items():
    lines.append(Line(name, borders, [jump.spectrum for jump in found], joined=False))
LineChart(
    "How much the sound changes at each border",
    Axis("border, time in seconds", ticks=tuple(borders)),
    Axis("step in timbre, dB"),
    tuple(lines),
)

# %%
for name, found in jumps.items():
    rank = max(max(jump.level_rank, jump.spectrum_rank) for jump in found)
    print(f"{name:>18}: the largest step at a border is above {rank:.1%} of all steps in this sound")

# %% [markdown]
# <details><summary>What did you expect, and what do you hear?</summary>
#
# Each dot compares the sound just before a border with the sound just after it, in 24 bands. The song itself has steps there, for music
# moves; that is why it is in the figure. With a flute coming in and going out most of them are larger, and where the two modes differ
# most, at 2.5 s, the aggressive one makes the larger step: nothing held it to the place where the old song goes on. Whether a step is
# *heard* depends on what else the sound does. The printed lines rank each against all steps of the same sound; the lab calls a border
# audible above 99 %, or where there is a click. Did you hear one?
#
# </details>
#
# ## Where it came from
#
# The new take knows its parent, and its recipe says what was done. Whoever has the parent can make it again, and prove that too.

# %%
print("parents:", new.parents, " the song:", song.id)
print("made again, the same take:", lab.make(new.recipe).id == new.id)

# %% [markdown]
# ## Exercises
#
# **04.1 Count.** Which share of the samples of `new` differs from `song` in any channel? (A number from 0 to 1; `differs` above helps.)

# %%
from acestep_lab.lessons import check

share = ...
check("04.1", song, new, share)

# %% [markdown]
# **04.2 The crossfade.** How many seconds before the first region does the first sample change? (`np.argmax` of an array of truths is the
# place of the first true one.)

# %%
seconds = ...
check("04.2", song, new, seconds)

# %% [markdown]
# **04.3 A small one.** Repaint two regions of `song` so that at most a quarter of its samples changes.

# %%
small = ...
check("04.3", song, small)

# %% [markdown]
# **A harder question, without a check.** The crossfade has to lie somewhere. Here it lies outside the region, so the region is all new
# and a little of the old song is touched. What would be better about the other choice, and for which music would you hear it? Try
# `wave_crossfade=0` and look at the first figure again.
#
# **Where to go on.** In a studio or in Jupyter a repaint is two clicks in the waveform, and its verdict, the count you have just made by
# hand, stands above it. [05 · Seeds and blind listening](05_seeds_and_blind_listening.ipynb) asks when a difference is more than chance.
# The folded answers stand right after the cells they speak of; open them before you print.
