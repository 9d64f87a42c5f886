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
# **For whom:** whoever has made a first song (lesson 01) and wonders who chose the key · **How long:** 30 minutes; the machine works for
# less than one · **You will be able to** watch a plan being written, change it, hold parts of it, say how free its author was, and
# tell what guidance does to it · **Runs on** any laptop, with the model in this package.
#
# **What this lesson teaches.** Before a note is made, a language model writes the song's blueprint: tempo, key, meter, a
# description, and then five *audio codes* a second that fix rhythm and harmony. It writes by throwing dice at every word. How those
# dice are loaded is up to you.
#
# ## 1 · A song, and the plan behind it

# %%
import numpy as np

from acestep_lab import Recipe, Session
from acestep_lab.lessons import check
from acestep_lab.plan.grammar import pattern
from acestep_lab.ui.line_chart import Axis, Line, LineChart

SECONDS, PLANS = 5, 4  # of the song; plans of each kind that are compared

lab = Session.open()
lab.jobs.progress = False
recipe = Recipe("a lazy lo-fi beat with keys and bass", seconds=SECONDS, seed=3)
take = lab.make(recipe)
take

# %% [markdown]
# You asked for a sentence and a length. Tempo and key came from somewhere: a [plan](../acestep_lab/lessons/GLOSSARY.md). Let us watch it being
# written. Every **token** (a word, a part of one, a number, a code) is an event that knows the field it belongs to.
#
# **Predict, then look:** which field takes most tokens? And which ones are not thought of at all?

# %%
written = {}
plan = lab.plan(recipe, on_token=lambda token: written.setdefault(token.field, []).append(token.text))
for name, pieces in written.items():
    print(f"{name:>14}: {''.join(pieces).strip()[:70]!r}  ({len(pieces)} tokens)")
assert plan == take.plan

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# Most of the writing is codes: the blueprint of the music itself, five a second. Your caption and the length were in the recipe. So they
# were not guessed but *given*, each in one go: the planner reads them as if it had written them. What you fix costs nothing, and
# everything after it follows from it.
#
# </details>
#
# ## 2 · Grammar: what may come next
# A language model could write anything, a poem instead of a tempo. It is not left the choice. The whole thought is one **regular
# expression**, a pattern of letters; before each token all tokens that would break it are struck out, and the dice fall among those
# that are left. So a plan is never malformed, whatever the model is.

# %%
rules = pattern({"bpm": 84}, ("bpm", "keyscale", "timesignature")).split(r"\n")
for line in filter(None, rules):
    print(f"{line.count('|') + 1:3d} possible: {line[:74]}{'…' if len(line) > 74 else ''}")

# %% [markdown]
# The tempo was fixed here, and became a line with one possibility: no dice. Of keys there are as many as musicians write. A caption
# would be a free line.
#
# ## 3 · Dice, and how they are loaded
# For each token the model gives every candidate a number, its *logit* ℓ. The probability of a candidate is e^(ℓ/T), divided by the sum of
# all. **T** is the *temperature*. Near 0 the largest logit takes all: no dice. At 1 the dice are as the model learnt them. Above 1
# they become more even, and unlikely things happen. (`top_p` cuts off the unlikeliest tail before the dice are thrown, arXiv 1904.09751;
# we switch it off here, so that only T acts.)
#
# How free was the author? Measure it. We ask for several plans by several seeds and take them in pairs: **diversity** is the share of
# places where two plans have different codes. 0: all are one plan. 1: no code in common.
#
# **Predict, then look:** at T = 0.85, the usual value, do two plans share half of their codes? More? Fewer? And what if tempo, key and the
# rest of the thought are held, so that only the codes are free?


# %%
def diversity(plans):
    """The share of places at which two of the plans have different codes, over all pairs."""
    codes = np.array([one.codes for one in plans])
    return float(np.mean([codes[a] != codes[b] for a in range(len(codes)) for b in range(a)]))


def ask(keep=None, **planning):
    """Several plans, drawn as `planning` says; nothing is cut off."""
    return lab.plan(recipe.replace(planning=recipe.planning.replace(top_p=1.0, **planning)), n=PLANS, keep=keep)


held = plan.lock("bpm", "keyscale", "timesignature", "language", "caption")
TEMPERATURES = (0.0, 0.2, 0.5, 0.85, 1.5)
free = [ask(temperature=t) for t in TEMPERATURES]
tied = [ask(held, temperature=t) for t in TEMPERATURES]
LineChart(
    f"How far {PLANS} plans of one sentence differ",
    Axis("temperature T", ticks=TEMPERATURES),
    Axis("diversity (share of different codes)"),
    (
        Line("everything is free", TEMPERATURES, [diversity(plans) for plans in free]),
        Line("tempo, key, words held", TEMPERATURES, [diversity(plans) for plans in tied]),
    ),
)

# %%
for t, plans in zip(TEMPERATURES, free):
    print(f"T {t:4.2f}: " + ", ".join(f"{one.bpm} bpm {one.keyscale}" for one in plans))

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# At 0 all seeds write one plan: without dice a seed decides nothing. As soon as there are dice at all, the plans part early, at the
# tempo, and everything after it follows another tempo: so even mildly loaded dice give plans with little in common. Held, they part
# later. Two curves of four plans each are a rough measure; the last tenth of either is luck.
#
# </details>
#
# ## 4 · Codes as a picture
# A code is a number of a fifth of a second of music. It is not a note: it stands for the whole sound's rhythm and harmony there, at a
# place on a grid (*finite scalar quantization*, arXiv 2309.15505). The pocket's grid has 8 · 5 · 5 · 5 = 1,000 places. The numbers have
# no order that you could hear, but *equal* ones mean equal things. Two plans with one thought, drawn by two seeds:

# %%
one, other = tied[3][:2]
at = np.arange(len(one.codes)) / 5
LineChart(
    "Two plans with the same thought",
    Axis("seconds of the song"),
    Axis("audio code (of 1,000)"),
    (Line("first seed", at, one.codes, joined=False), Line("second seed", at, other.codes, joined=False)),
)

# %% [markdown]
# Where a square sits on a circle both chose the same: there the planner was sure. Marks on one level that come back later are the song
# repeating itself.
#
# ## 5 · What guidance does to them
# For the codes the model is asked *twice*: once with your words, and once with none. What the words change is the difference, and
# guidance exaggerates it: ℓ = ℓ(without) + s · (ℓ(with) − ℓ(without)), with the scale `cfg_scale` s (classifier-free guidance,
# arXiv 2207.12598). At 1 it is off. At 2, the usual value, words count double.
#
# **Predict, then look:** with a larger scale, are there more codes in use or fewer? Do plans differ more from each other, or less?

# %%
SCALES = (1.0, 2.0, 4.0, 8.0)
guided = [ask(held, temperature=0.85, cfg_scale=s) for s in SCALES]
bare = {code for one in guided[0] for code in one.codes}
LineChart(
    "Guidance of the codes, the thought held",
    Axis("scale s", log=True, ticks=SCALES),
    Axis("share"),
    (
        Line("diversity", SCALES, [diversity(plans) for plans in guided]),
        Line("codes that are not used at s = 1", SCALES,
             [np.mean([code not in bare for one in plans for code in one.codes]) for plans in guided]),
    ),
)  # fmt: skip

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# The second line is the telling one: the larger the scale, the more codes are written that the bare model did not choose at all.
# Guidance is not "more of the same, but surer". It goes beyond what was learnt, in the direction of your words, and past a certain scale it
# goes to places where no music was ever heard. Diversity need not fall: for a small model an exaggerated difference is partly exaggerated
# noise.
#
# </details>
#
# ## 6 · Change it, hold it
# A plan is a value. Changing the tempo drops the codes, which were written for the old one; the planner writes new ones, and leaves
# every other field as it stands.

# %%
faster = plan.replace(bpm=140)
print(*plan.diff(faster))
quick = lab.make(recipe, faster)
quick

# %% [markdown]
# What you like, you lock. Here tempo and key stand, the rest is written anew:

# %%
for another in lab.plan(recipe.replace(seed=8), keep=plan.lock("bpm", "keyscale"), n=2):
    changed = sum(a != b for a, b in zip(another.codes, plan.codes))
    print(f"{another.bpm} bpm, {another.keyscale}: {changed} of {len(plan.codes)} codes are others than in the first plan")

# %% [markdown]
# And the other way round, the planner reads the codes of a finished take and says what it hears. Then: how much more likely does it
# find these words once it has heard the take? One half means that hearing did not help. Such numbers compare takes of one model; they are
# no grades.

# %%
heard = lab.understand(take)
print("heard: ", heard.bpm, heard.keyscale, heard.timesignature, "—", heard.caption)
print("played:", plan.bpm, plan.keyscale, plan.timesignature)
print("plan score:", ", ".join(f"{name} {score:.2f}" for name, score in lab.plan_score(take).scores.items()))

# %% [markdown]
# ## Exercises
# Put your answer in the place of `...` and run the cell.
#
# **1.** Hand in a plan with the tempo and the key of `plan`, and other codes.

# %%
answer = ...
check("06.1", plan, answer)

# %% [markdown]
# **2.** `replace(bpm=140)` dropped the codes. Hand in `plan` at 140 bpm *with* its old codes. (Make a take of it afterwards: who wins?)

# %%
answer = ...
check("06.2", plan, answer)

# %% [markdown]
# **3.** Five codes a second, each one of 1,000. How many *bits* a second is that, at the most? (Stereo sound of 16 bits at 48 kHz has
# 1,536,000.)

# %%
answer = ...
check("06.3", answer)

# %% [markdown]
# **A harder question.** Diversity counts places where codes differ. Is it what an ear would call different? Make takes of two plans at T = 0.2 and
# of two at T = 1.5, compare them blind as in lesson 05, and say what a measure would have to know of the grid to do better.
#
# ## Words
# - **plan**, **thought**: what is decided before a note is made; the model's text of it.
# - **token**: what the model writes at a time. **Grammar**: what may come next. **Logit**: how much the model is for a token.
# - **temperature**: how even the dice are. **top_p**: the share of probability that is kept. **Guidance**: exaggerating what words change.
# - **audio code**: a fifth of a second's rhythm and harmony, as one number.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md). The model that reads these codes and makes music of them is that of lesson 03;
# both are described in arXiv 2602.00744.
