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
# # 03 · Inside a render
#
# **What this lesson teaches.** Flow matching, by watching it. A render starts from noise and goes, step by step, to a song.
# We look at the two things every step knows — where it stands, and where it believes it is going — and check the one formula
# behind both.

# %%
import numpy as np
from IPython.display import Image, display

from acestep_lab import Recipe, Session
from acestep_lab.ui.latent_image import picture, png_bytes

lab = Session.open()
recipe = Recipe("bright house with piano chords, bass and a steady kick", seconds=6, seed=21, bpm=124, keyscale="C major")
run = lab.start(recipe.replace(steps=12))
steps = list(run)
take = run.take()
take

# %% [markdown]
# ## Where it stands: x_t
# The model was trained on mixtures: `x_t = t · noise + (1 − t) · music`. At t = 1 there is only noise, at t = 0 only music. The
# sampler moves t from 1 to 0. What it holds on the way looks like noise almost to the end.

# %%
def show(title, latent):
    print(title)
    display(Image(png_bytes(picture(latent)), width=640, height=96))


for step in (steps[0], steps[5], steps[-1]):
    show(f"x_t after step {step.index + 1}, t = {step.t:.2f}", step.state)

# %% [markdown]
# ## Where it is going: x_0
# At every step the model says in which direction the music lies (a *velocity* v, from music to noise). Following it all the
# way at once, `x_0 = x_t − t · v`, gives its best guess of the finished song — already at the first step.

# %%
for step in (steps[0], steps[2], steps[5], steps[-1]):
    show(f"estimate at step {step.index + 1}", step.estimate)

# %% [markdown]
# **Predict, then look:** does the estimate change most in the first steps or in the last ones?

# %%
estimates = [np.asarray(step.estimate) for step in steps]
changes = [float(np.sqrt(np.mean((b - a) ** 2))) for a, b in zip(estimates, estimates[1:])]
for step, change in zip(steps[1:], changes):
    print(f"step {step.index + 1:2d}  {'█' * round(40 * change / max(changes))} {change:.3f}")

# %% [markdown]
# Tempo and harmony are decided while t is high; the last steps only polish. That is why schedules spend more steps near the
# noise (`shift` > 1).
#
# ## Hear it form
# Any step can be heard: the session decodes a window of the estimate, exactly as the finished song would sound there.

# %%
early = lab.preview(steps[0], at=3.0, seconds=3.0)
late = lab.preview(steps[-1], at=3.0, seconds=3.0)
early

# %%
late

# %% [markdown]
# ## Keep a step
# An early estimate is a take like any other, if you like it.

# %%
kept = run.keep(3)
print(kept.id, "from step 4;", "the finished one is", take.id)

# %% [markdown]
# ## Check the formula
# The sampler's Euler step is one line: `x ← x + (t_next − t) · v`. From two neighbouring steps we can compute v and get the
# estimate back.

# %%
a, b = steps[4], steps[5]
before, after, estimate = np.asarray(a.state), np.asarray(b.state), np.asarray(b.estimate)
v = (before - after) / (a.t - b.t)
mine = before - a.t * v
print("largest difference to the session's own estimate:", float(np.abs(mine - estimate).max()))
assert np.allclose(mine, estimate, atol=1e-3)
