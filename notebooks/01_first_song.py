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
# # 01 · First song
#
# **What this lesson teaches.** How a sentence becomes music: open a session, write a recipe, render it, hear it, make
# variations, and get the very same take again from its recipe.
#
# Everything runs on the *pocket* checkpoint that ships with the package — the same model classes as ACE-Step 1.5 at tiny
# size, trained on synthetic music, simple tunes. No graphics card, no download, under a minute.

# %%
from acestep_lab import Recipe, Session

lab = Session.open()
lab

# %% [markdown]
# ## A recipe
# A recipe holds everything asked for. What you leave out is decided for you — and written down in the take. While `make` is
# at work the cell shows how far it is, with a Stop; after that, the player.

# %%
recipe = Recipe("warm lo-fi hip hop with soft keys, round bass and lazy drums", seconds=10, seed=7, bpm=84, keyscale="A minor")
take = lab.make(recipe)
take

# %% [markdown]
# The take carries its recipe *as resolved*: steps, guidance, seed and all.

# %%
take.recipe.to_json()

# %% [markdown]
# ## Watch it form
# `start` returns at once. As the last line of a cell (`run`) a run shows itself: the music as it forms, Stop, then the player.
# It can be iterated (it yields its steps), asked how long it will take, and stopped, also by interrupting the cell. Where a loop of events is at work, as in a notebook, `async for step in run` and
# `take = await run` leave it awake.
# Each step holds `state` (where the sampler stands, still noisy) and `estimate` (what the song would be if it ended
# here). The estimate is worth looking at from the first step.

# %%
run = lab.start(recipe.replace(caption="slow dub techno with deep bass and a soft pad", seed=11))
for step in run:
    print(f"step {step.index + 1}/{step.steps}  t={step.t:.2f}  estimate's spread {float(step.estimate.std()):.2f}")

# %%
from IPython.display import display

steps = run.steps
for step in (steps[0], steps[len(steps) // 2], steps[-1]):
    display(step)

# %%
run.take()

# %% [markdown]
# ## Variations
# The same words, other seeds.

# %%
variations = lab.vary(take, seeds=range(2))
variations[0]

# %%
variations[1]

# %% [markdown]
# ## The same again
# A take's own recipe makes the same take: same recipe, same machine, same bytes.

# %%
again = lab.make(take.recipe)
assert again.id == take.id
print(take.code())

# %% [markdown]
# ## Keep it
# Takes are kept in the library: a FLAC with the whole story in its tags, and the latent beside it.

# %%
lab.keep(take)
lab.library.takes(most=3)

# %% [markdown]
# Nothing you hear is stored in the notebook itself. Where it should be, `embed` keeps a few seconds (about 8 kB a second), which
# play where no kernel is; `export` writes a file for others, by its ending: FLAC, WAV, Opus, MP3, a zip, or a page that plays.

# %%
take.embed(seconds=3)
