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
# # 06 · The planner thinks aloud
#
# **What this lesson teaches.** Before a note is made, a language model writes the song's blueprint: tempo, key, meter, a
# description, and then five *audio codes* a second that fix rhythm and harmony. We watch it write, change its mind for it, and
# lock what we like.

# %%
from acestep_lab import Recipe, Session

lab = Session.open()
recipe = Recipe("a lazy lo-fi beat with keys and bass", seconds=10, seed=3)

# %% [markdown]
# ## Watch it write
# Every token is an event that knows its field. What the recipe fixed (here the length) is not guessed but given.

# %%
written = {}
plan = lab.plan(recipe, on_token=lambda token: written.setdefault(token.field, []).append(token.text))
for name, pieces in written.items():
    print(f"{name:>14}: {''.join(pieces).strip()[:76]!r}  ({len(pieces)} tokens)")

# %%
print(plan.thought)
plan

# %% [markdown]
# ## Change it
# A plan is a value. Changing the tempo drops the codes, which were written for the old one; `lab.make(recipe, faster)` has
# the planner write new ones and leaves every other field as it stands.

# %%
faster = plan.replace(bpm=140)
print(*plan.diff(faster))
print(lab.make(recipe, faster).plan)

# %% [markdown]
# ## Lock and ask again
# Keep tempo and key, let the rest be written anew — several times from one reading of the prompt.

# %%
for another in lab.plan(recipe.replace(seed=8), keep=plan.lock("bpm", "keyscale"), n=3):
    print(another.bpm, another.keyscale, another.timesignature, another.codes[:6])

# %% [markdown]
# ## From plan to sound
# The same plan makes the same take. What you fixed in the recipe always stands; the plan only fills in what you left open.

# %%
take = lab.make(recipe, plan)
take

# %%
print(take.recipe.bpm, take.recipe.keyscale, take.plan == plan)

# %% [markdown]
# ## And back: what does it hear?
# The other way round, the planner reads the codes of a finished take and says what it hears.

# %%
heard = lab.understand(take)
print(heard.bpm, heard.keyscale, heard.timesignature, "—", heard.caption)

# %% [markdown]
# Asked the other way: how much more likely does the planner find these words once it has heard the take? One half means that
# hearing it did not help; numbers compare takes of one model, they are no grades.

# %%
plan_score = lab.plan_score(take)
for name, score in plan_score.scores.items():
    print(f"{name:>14}: {score:.2f}")
