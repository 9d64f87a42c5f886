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
# **What this lesson teaches.** What a seed decides and what it does not; how to walk from one take towards another; and how to
# compare takes fairly — at the same loudness, without knowing which is which.

# %%
import random

import numpy as np

from acestep_lab import Recipe, Session

lab = Session.open()
recipe = Recipe("calm folk waltz with guitar and strings", seconds=6, seed=1, bpm=96, timesignature="3", keyscale="G major")
first = lab.make(recipe)
first

# %% [markdown]
# ## The same seed, the same take — to the last byte

# %%
assert np.array_equal(lab.make(recipe).audio.samples, first.audio.samples)
print("verified:", lab.verify(first))

# %% [markdown]
# ## Other seeds: same words, other music

# %%
others = lab.vary(first, seeds=[2, 3])
for take in others:
    likeness = np.corrcoef(first.latent.ravel(), take.latent.ravel())[0, 1]
    print(f"seed {take.recipe.seed}: likeness to the first {likeness:.2f}")
others[0]

# %% [markdown]
# ## Between two seeds
# `variance` turns the noise from one seed towards another: 0 is the take itself, 1 is the other one.

# %%
for variance in (0.0, 0.2, 0.5):
    (near,) = lab.vary(first, seeds=[2], variance=variance)
    likeness = np.corrcoef(first.latent.ravel(), near.latent.ravel())[0, 1]
    print(f"variance {variance:.1f}: likeness {likeness:.3f}")
    if variance == 0:
        assert np.array_equal(near.audio.samples, first.audio.samples)

# %% [markdown]
# ## Listen fairly
# Louder always seems better. So bring all to one loudness, shuffle, listen, vote — and only then look.

# %%
candidates = [first, *others]
target = min(take.audio.loudness() for take in candidates)
matched = {take.id: take.audio.gain(target - take.audio.loudness()) for take in candidates}
for take in candidates:
    print(f"{take.id}: {take.audio.loudness():.1f} LUFS → {matched[take.id].loudness():.1f} LUFS")

order = random.Random(4).sample(list(matched), len(matched))
matched[order[0]]  # A

# %%
matched[order[1]]  # B

# %% [markdown]
# Vote before you run the next cell. The studio's gallery does the same with one click, and switches between takes in place.

# %%
for letter, name in zip("ABC", order):
    seed = next(take.recipe.seed for take in candidates if take.id == name)
    print(f"{letter} was seed {seed}")
