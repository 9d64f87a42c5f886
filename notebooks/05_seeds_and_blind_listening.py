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
# # 05 · Seeds, variations and blind listening
#
# **For whom:** whoever has made a first song (lesson 01) and now has ten, and cannot say which is best · **How long:** 25 minutes; the
# machine works for less than one · **You will be able to** get a take again to the last byte, walk from one take towards another, compare
# takes without fooling yourself, and say how many votes it takes until a preference is not luck · **Runs on** any laptop, with the
# model in this package.
#
# **What this lesson teaches.** A seed decides everything that your words leave open. So there are always several takes to choose from,
# and choosing is where people fool themselves: louder seems better, and so does what one hopes for. We take both away, and then ask
# how many votes are enough.
#
# ## 1 · One seed, one take
# Listen first.

# %%
import random

import numpy as np

from acestep_lab import Recipe, Session
from acestep_lab.lessons import check
from acestep_lab.sweep.intervals import by_chance, share, votes_needed
from acestep_lab.ui.line_chart import Axis, Line, LineChart

lab = Session.open()
lab.jobs.progress = False
recipe = Recipe("calm folk waltz with guitar and strings", seconds=5, seed=1, bpm=96, timesignature="3", keyscale="G major")
first = lab.make(recipe)
first

# %% [markdown]
# The song was carved out of **noise**: a table of random numbers, a row for each moment of the song. The *seed* is the number from
# which a computer makes that table, always the same one from the same seed. Nothing else in the render is random. So the same
# [recipe](../acestep_lab/lessons/GLOSSARY.md) gives the same [take](../acestep_lab/lessons/GLOSSARY.md), on the same machine to the last byte:

# %%
again = lab.make(recipe)
print("every sample the same:", np.array_equal(again.audio.samples, first.audio.samples))

# %% [markdown]
# That is worth more than it seems. A take that you can make again is a take that you can change *in one place*, and hear what the
# change did. (Another processor adds up its numbers in another order. There the take is the same to the ear, not to the byte;
# lesson 10 measures it.)
#
# ## 2 · Other seeds
# `vary` makes the same music from other noise. We compare what the model works on, the **latent**: 32 numbers for each hundredth of a
# second. *Likeness* is the correlation of two latents: 1 is the same, 0 is nothing in common.
#
# **Predict, then listen:** the words, the tempo and the key are the same. How alike are two seeds: nearer to 0 or nearer to 1?


# %%
def likeness(one, other):
    """The correlation of two takes' latents, from -1 to 1."""
    return float(np.corrcoef(one.latent.ravel(), other.latent.ravel())[0, 1])


others = lab.vary(first, seeds=[2, 3])
for take in others:
    print(f"seed {take.recipe.seed}: likeness to the first {likeness(first, take):.2f}")
others[0]

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# Nearer to 0. What the words, the numbers and the plan decided is there in both, and it is the smaller part of what the model works
# on: how a string is bowed, where exactly a note begins, is chance.
#
# </details>
#
# ## 3 · Between two seeds
# Two takes need not be all or nothing. `variance` *turns* the noise of one seed towards that of another: 0 is the take itself, 1 is the
# other one. It is a turn and no mixture, since a mean of two noises would be too quiet a noise: its spread falls below the 1 that the
# model was taught to start from.
#
# **Predict, then look:** half way between two seeds, is the music half as like?

# %%
TURNS = (0.0, 0.15, 0.3, 0.5, 1.0)
between = [lab.vary(first, seeds=[2], variance=turn)[0] for turn in TURNS[1:-1]]
walk = [first, *between, others[0]]
LineChart(
    "From one seed to another",
    Axis("variance (share of the turn)"),
    Axis("likeness (correlation of latents)"),
    (
        Line("to the first take", TURNS, [likeness(first, take) for take in walk]),
        Line("to the last one", TURNS, [likeness(walk[-1], take) for take in walk]),
    ),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# It is not. Small turns cost little likeness, and half way the take is about 0.7 like *both* ends: what a turn by 45° leaves (its cosine is
# 0.71). So much is the noise's own geometry, carried through. Where a line bends away from that, the model tipped over into another
# idea. Likeness says nothing of *which* things stayed: for that you listen.
#
# </details>
#
# This is how you keep what you like about a take and still get another one. Here is a small turn, 0.15:

# %%
walk[1]

# %% [markdown]
# ## 4 · Listen fairly
# Now choose. First, bring all candidates to one **loudness**. It is measured in LUFS (ITU-R BS.1770-4), which weighs frequencies as ears
# do; a difference of 1 LU is heard, and the louder one mostly wins. Turn down, never up: what is turned up may clip.

# %%
candidates = [first, *others]
target = min(take.audio.loudness() for take in candidates)
matched = {take.id: take.audio.gain(target - take.audio.loudness()) for take in candidates}
for take in candidates:
    print(f"seed {take.recipe.seed}: {take.audio.loudness():.1f} LUFS → {matched[take.id].loudness():.1f} LUFS")

# %% [markdown]
# Then shuffle, and take the names off. Below are two of the three: **A**,

# %%
order = random.Random(6).sample(list(matched), len(matched))
matched[order[0]]

# %% [markdown]
# and **B**.

# %%
matched[order[1]]

# %% [markdown]
# Vote before you run the next cell. In JupyterLab the studio's gallery does all this with one click (*Listen blind*), and switches
# between takes in place, at the same moment of the song, which makes small differences audible.

# %%
for letter, name in zip("ABC", order):
    seed = next(take.recipe.seed for take in candidates if take.id == name)
    print(f"{letter} was seed {seed}")

# %% [markdown]
# ## 5 · How many votes are enough?
# Say you heard ten such pairs, and chose *seed 2* seven times. Is it better? Ask first what somebody does who cannot hear any
# difference and throws a coin.
#
# **Predict, then look:** how often does a coin win 7 or more of 10?

# %%
won = range(5, 11)
LineChart(
    "What a coin does in ten votes",
    Axis("votes won, of 10"),
    Axis("probability of so many or more", log=True),
    (
        Line("a coin", won, [by_chance(n, 10) for n in won]),
        Line("1 in 20", (5, 10), (0.05, 0.05), marked=False),
    ),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# A coin wins 7 or more of 10 in 17 of 100 such evenings. The usual line is drawn at 1 in 20 (p < 0.05). Of ten votes only 9 or 10 lie
# below it. The line is a custom and no law of nature: whoever draws it there is fooled once in 20 times in which there is nothing.
#
# </details>
#
# And the other way round: how many votes will it take, if listeners *do* prefer one take, in six, seven, eight of ten cases?

# %%
for preferred in (0.6, 0.7, 0.8, 0.9, 1.0):
    needed = votes_needed(preferred)
    interval = share(round(preferred * needed), needed)
    print(f"preferred in {preferred:.0%}: {needed:3d} votes, and then the true share lies in {interval.low:.2f} to {interval.high:.2f}")

# %% [markdown]
# Even then all you know is an **interval** (Wilson's, which is right for few votes too), and a wide one. In the upper rows it still holds one
# half: an interval asks about surprises on both sides, the coin only about those on one. So that is the *least* number. Small
# differences between models need panels of listeners, and large ones need you and five minutes.
#
# ## Exercises
# Put your answer in the place of `...` and run the cell. What is right is worked out from your own takes.
#
# **1.** Make a *cousin* of the first take: a variation whose likeness to it lies between 0.6 and 0.95.

# %%
answer = ...
check("05.1", first, answer)

# %% [markdown]
# **2.** Hand in `others[0]` and `others[1]` as two sounds of equal loudness (to 0.1 LU) that do not clip, as a pair: `(one, other)`.

# %%
answer = ...
check("05.2", answer)

# %% [markdown]
# **3.** You plan twelve votes. How many of them must one side win, at least, until a coin does so in fewer than 1 of 20 evenings?

# %%
answer = ...
check("05.3", answer)

# %% [markdown]
# **A harder question.** The coin again, but impatient: it counts after *every* vote, and stops as soon as `by_chance(won, votes) < 0.05`, at the
# latest after 30. In how many of 1,000 evenings does it "find" a preference? Write the loop. What does that say of listening until it
# looks good, and what would you decide *before* the first vote?
#
# ## Words
# - **seed**: the number the noise is made from. **Variance**: how far that noise is turned towards another seed's.
# - **latent**: what the model works on instead of sound. **Likeness**: here, the correlation of two of them.
# - **LUFS, LU**: loudness as ears weigh it, and differences of it.
# - **blind**: without knowing which is which. **p**: how often chance does as well or better. **Interval**: where the true share lies, 95
#   times in 100.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md). Lesson 10 makes an experiment of this: a sweep, votes by several people, a report
# that others can doubt.
