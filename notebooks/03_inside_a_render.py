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
# **For whom:** whoever wants to know what happens between the words and the music. If you can read a graph you can follow; a little
# numpy is used, and you may skip it. **How long:** 40 minutes.
# **You will be able to** read the state and the estimate of a step, say what steps, shift, solver and guidance do and show it in a
# figure. **It runs on** any computer (the pocket, no graphics card).
#
# **What this lesson teaches.** A render is a walk from noise to music. At every step the model answers one question: in which direction
# is the music? Steps, shift, solver and guidance are four ways of asking it.
#
# Begin with a sound. The planner sleeps in this lesson (`thinking=False`), so that nothing but the walk makes the music.

# %%
import warnings

import numpy as np

from acestep_lab import Recipe, Session
from acestep_lab.errors import LintWarning

warnings.simplefilter("ignore", LintWarning)  # the lab says what is unusual; today we are so on purpose
lab = Session.open()
recipe = Recipe(
    "bright house with piano chords, bass and a steady kick",
    seconds=6, seed=21, bpm=124, keyscale="C major", steps=12, thinking=False,
)
run = lab.start(recipe)
steps = list(run)
take = run.take()
take

# %% [markdown]
# ## One formula
#
# The model works on a [latent](../acestep_lab/lessons/GLOSSARY.md): 32 numbers for each moment of the music. It was trained on mixtures
#
# > **x_t = t · noise + (1 − t) · music**
#
# At *t* = 1 a mixture is all noise, at *t* = 0 all music. Along this straight line the direction from music to noise is always the same,
# *v = noise − music*, and that *velocity* is what the model learned to guess (flow matching,
# [arXiv 2210.02747](https://arxiv.org/abs/2210.02747)). A render turns it round: start from noise at *t* = 1 and walk against *v*.
#
# So each [step](../acestep_lab/lessons/GLOSSARY.md) knows where it ends: its `state` is x_t, where the walk stands after it, and its `t` is
# the t of that place. And it knows what the model believed when the step began: its `estimate` is where the walk would end if it went
# straight on from there, **x_0 = x_t − t · v**.

# %%
from acestep_lab.ui.picture_chart import latents, spectrograms

shown = (0, 5, 9, 11)  # counted from 0
part = slice(0, len(take.latent) // 4)  # a quarter of the song, so that single moments can be seen
states = [(f"after step {n + 1}, t = {steps[n].t:.2f}", steps[n].state[part]) for n in shown]
latents("Where the walk stands: x_t", states, take.seconds / 4)

# %%
estimates = [(f"estimate of step {n + 1}", steps[n].estimate[part]) for n in shown]
latents("Where it believes it is going: x_0", estimates, take.seconds / 4)

# %% [markdown]
# (A row is a channel, a column a moment; in the array it is the other way round. Amber is above zero, blue below, black is zero.) In the
# state noise covers the music almost to the end. The estimate is smooth and dark at first and gains detail step by step, so a walk is better
# judged by its estimate. And that can be heard: the session decodes a window of it (below, three seconds around second 3), exactly as the
# finished song would sound there.
#
# **Predict, then listen.** Will the estimate of step 1 have a beat already? And that of step 4?

# %%
heard = []
for n in (0, 3, 11):
    heard.append((f"estimate of step {n + 1}", lab.preview(steps[n], at=3.0, seconds=3.0)))
heard[0][1]

# %%
heard[1][1]

# %%
spectrograms("The same three seconds, as they form", heard, start=1.5)

# %% [markdown]
# <details><summary>What did you expect, and what do you hear?</summary>
#
# The first has none: a quiet, steady hum, balanced from low to high as such music is. When it was made there was nothing but noise and
# your words, so it is near the *mean* of all music that those words allow, and in a mean the strokes of one song fall where another has
# none. By step 4 there are strokes, though not yet all of those the finished song will have; level lines, the held notes, grow sharp
# last. (Each picture is as bright as its own loudest moment; the first sound is far quieter than it looks.) With `thinking=True` the
# planner's codes say beforehand where things happen. Try what the first estimate is like then.
#
# </details>
#
# ## The path in a plane
#
# A latent of six seconds is a point in a space of 19,200 dimensions. No picture shows that. But a plane through it can be chosen so that
# as much as possible of the movement lies in it: the plane of the first two *principal components*. Below are three walks in one plane:
# ours, one from the same noise with other words, and one with the same words from other noise.

# %%
from acestep_lab.ui.line_chart import Axis, Line, LineChart

others = {
    "other words": recipe.replace(caption="a slow waltz for strings, without drums"),
    "other noise": recipe.replace(seed=22),
}
walks = {"ours": steps, **{name: list(lab.start(one)) for name, one in others.items()}}


def flat(latent):
    return np.asarray(latent).reshape(-1)


paths = {name: np.stack([flat(step.state) for step in walk]) for name, walk in walks.items()}
points = np.concatenate(list(paths.values()))
middle = points.mean(axis=0)
_, sizes, directions = np.linalg.svd(points - middle, full_matrices=False)
share = sizes**2 / (sizes**2).sum()
per_number = np.sqrt(points.shape[1])
lines = []
for name, path in paths.items():
    x, y = ((path - middle) @ directions[:2].T / per_number).T
    lines.append(Line(name, x, y))
LineChart(
    "Three walks from noise to music",
    Axis(f"first principal component, in spreads ({share[0]:.0%} of the movement)"),
    Axis(f"second component, in spreads ({share[1]:.0%})"),
    tuple(lines),
)

# %% [markdown]
# Each mark is the state after a step, and a walk begins where its marks are dense. A *spread* is this lesson's unit of length: how far one
# of the numbers of pure noise typically lies from zero (its standard deviation). Two walks begin side by side, for they have one noise, and
# part as the words pull. The third starts elsewhere. See how nearly straight the walks are, and how the marks move apart towards the
# end: most steps are spent near the noise.
#
# ## When is it decided?
#
# **Predict, then look.** How far is each estimate from the song it ends as? Will the error fall evenly, mostly in the first steps, or
# mostly in the last ones? And does the answer depend on whether you count in steps or in *t*? (*Shift* says how far the steps are crowded
# towards the noise: 1 is evenly spaced, and our walk has 3. The next section has its formula.)

# %%
def distance(one, other):
    """The root of the mean square of what lies between two latents, in spreads."""
    return float(np.sqrt(np.mean((flat(one) - flat(other)) ** 2)))


def errors(walk):
    """How far each estimate is from the last one."""
    return [distance(step.estimate, walk[-1].estimate) for step in walk[:-1]]


def began(walk):
    """The t at which each step asked the model."""
    return [1.0, *(step.t for step in walk[:-1])]


by_step, by_t = [], []
for shift in (1.0, 3.0, 5.0):
    walk = steps if shift == take.recipe.sampling.shift else list(lab.start(recipe.replace(shift=shift)))
    by_step.append(Line(f"shift {shift:g}", range(1, len(walk)), errors(walk)))
    by_t.append(Line(f"shift {shift:g}", began(walk)[:-1], errors(walk)))
far = Axis("distance in spreads")
LineChart("Distance of the estimate from the finished song", Axis("step"), far, tuple(by_step))

# %%
over_t = Axis("t: 1 is noise, 0 is music (a walk goes from right to left)")
LineChart("The same distance, over t", over_t, far, tuple(by_t))

# %% [markdown]
# <details><summary>What did you expect, and what do you see?</summary>
#
# Over the *steps* the three shifts look like different models: with shift 1 the error falls mostly in the first steps, with 3 and 5 rather
# evenly. Over *t* they nearly fall on one curve, and most of the way is gone while *t* is still above 0.7: how much is still open depends
# above all on how much noise is left, not on how many steps were spent to get there. Shift moves the steps along that curve, so what you
# choose with it is *which part of the decision gets the most looks* (a look is one question to the model).
#
# </details>
#
# ## Steps and shift
#
# The schedule is `shift · t / (1 + (shift − 1) · t)` over even steps ([arXiv 2403.03206](https://arxiv.org/abs/2403.03206)). In Jupyter
# the sliders below are alive; the figure after them holds three of their positions still. Its last mark, at *t* = 0, is not a step but the
# music.

# %%
from ipywidgets import interact

from acestep_lab.diffusion.schedule import times


def schedules(count, *shifts):
    """Where each step begins, and at the end the music, for some shifts."""
    lines = []
    for shift in shifts:
        lines.append(Line(f"shift {shift:g}", range(1, count + 2), [*times(count, shift), 0.0]))
    axes = Axis("step"), Axis("t: 1 is noise, 0 is music")
    return LineChart(f"Where each of {count} steps begins", *axes, tuple(lines))


_ = interact(lambda count, shift: schedules(count, shift), count=(2, 30), shift=(1.0, 6.0, 0.5))

# %%
schedules(12, 1.0, 3.0, 5.0)

# %% [markdown]
# ## The solver: what a look buys
#
# Between two looks the walk has to guess. *Euler* goes straight on. *Heun* looks again at the end of the step and takes the mean
# ([arXiv 2206.00364](https://arxiv.org/abs/2206.00364)); *DPM-Solver++ 2M* remembers the look before
# ([arXiv 2211.01095](https://arxiv.org/abs/2211.01095)). A solver is of *order p* if, with many steps, twice as many make the error 2^p
# times smaller. On logarithmic axes that is a straight line, and its slope is −p.
#
# **Predict, then look.** The truth here is a walk of very many Heun steps. Which line will be the steepest, and which is the best buy at
# 16 looks? (The walks here have shift 1. With shift 3 the last step is a long one, and Heun takes that one as Euler does.)

# %%
from acestep_lab.ui.slope_chart import SlopeChart

COUNTS, TRUTH = (8, 16, 32, 64), 200
short = recipe.replace(seconds=1, guidance="none", guidance_scale=1.0, shift=1.0)
truth = lab.make(short.replace(solver="heun", steps=TRUTH)).latent


def missed(solver, count):
    """How far a walk of so many steps ends from where it should have ended, in spreads."""
    return distance(lab.make(short.replace(solver=solver, steps=count)).latent, truth)


lines = []
for solver, looks in {"euler": 1, "dpmpp2m": 1, "heun": 2}.items():
    missing = [missed(solver, count) for count in COUNTS]
    lines.append(Line(solver, [looks * count for count in COUNTS], missing))
error = Axis("error at the end, in spreads")
SlopeChart("What more looks buy", Axis("looks at the model"), error, tuple(lines))

# %% [markdown]
# <details><summary>What did you expect, and what do you see?</summary>
#
# Euler's slope is near −1: twice the looks, half the error. Heun's is near −2, and that of 2M (`dpmpp2m`) comes there with many steps (at
# first it has no past to remember). At 16 looks Heun ends a little nearer than 2M; for equal looks those two are close everywhere, and both
# leave Euler further behind the more looks there are. An order is a promise about *many* steps; with few of them the lines lie close
# together. And it is a promise about arriving where this model's walk ends, not about better music: a distilled model, one taught to
# reach in a few Euler steps where another needs many, is best walked by Euler.
#
# </details>
#
# ## Guidance: an arrow made longer
#
# The model can be asked twice: with your words and without. *Classifier-free guidance* (CFG,
# [arXiv 2207.12598](https://arxiv.org/abs/2207.12598)) goes from the answer without words, *u*, through the answer with words, *c*, and
# on: **u + w · (c − u)**. The pocket was trained for w = 3. *Adaptive projected guidance* (APG,
# [arXiv 2410.02416](https://arxiv.org/abs/2410.02416)) keeps only the part of the difference that stands at right angles to *c*, and
# limits it.
#
# We walk six of the twelve steps without guidance, and there, at one and the same place, ask in different ways. `guidance_interval` says
# between which two *t* guidance is on.

# %%
from acestep_lab.ui.arrow_chart import Arrow, ArrowChart

at = 6  # the step at which we ask
unguided = lab.start(recipe.replace(guidance="none", guidance_scale=1.0))
plain = list(unguided)
place, t = flat(plain[at - 1].state), plain[at - 1].t


def velocity(step):
    """What the model answered at our place: x_0 = x_t − t · v, solved for v."""
    return (place - flat(step.estimate)) / t


def asked(guidance, scale=3.0):
    changed = recipe.replace(guidance=guidance, guidance_scale=scale, guidance_interval=(0.0, t))
    return velocity(list(lab.start(changed))[at])


c, cfg, apg = velocity(plain[at]), asked("cfg"), asked("apg")
u = c - (cfg - c) / 2  # cfg = u + 3 · (c − u) = c + 2 · (c − u)

along = c / np.linalg.norm(c)
across = (c - u) - ((c - u) @ along) * along
across /= np.linalg.norm(across)
arrows = []
for name, v in {"u: without words": u, "c: with words": c, "cfg, w = 3": cfg, "apg, w = 3": apg}.items():
    arrows.append(Arrow(name, (float(v @ along) / per_number, float(v @ across) / per_number)))
axes = Axis("along c, in spreads"), Axis("across c, in spreads")
ArrowChart(f"Four answers at one place, t = {t:.2f}", *axes, tuple(arrows))

# %% [markdown]
# The words turn the arrow only a little; guidance turns it on in the same direction and, with CFG, makes it longer as well. Length
# along *c* is what can become too loud or too dense. APG has none of that: its tip lies straight above that of *c*. (What APG does outside
# this plane is not drawn.)

# %%
unguided.take()

# %% [markdown]
# That was the walk without any guidance. Compare it with the sound at the top: same noise, same words, w = 1 instead of 3.
#
# ## Exercises
#
# **03.1 Where it began.** From the `state`, `estimate` and `t` of `steps[0]`, compute the noise the walk began with, as an array of the
# shape of the state. (A step goes straight towards its estimate, so the state is the mixture of *One formula*, at the step's `t` and with the
# estimate in place of the music. `np.asarray(steps[0].state)` makes an array.)

# %%
from acestep_lab.lessons import check

noise = ...
check("03.1", steps[0], noise)

# %% [markdown]
# **03.2 Near the noise.** Of 20 steps with shift 3, how many begin while *t* is above 0.5 (not at it)? Guess from the figure *Where each of
# 12 steps begins*, then count with `times(20, 3.0)`, which lists the *t* at which each step begins. The answer is one whole number.

# %%
count = ...
check("03.2", count)

# %% [markdown]
# **03.3 Further.** From `c` and `u` compute the velocity that classifier-free guidance of scale 5 (w = 5) walks by, as an array.

# %%
further = ...
check("03.3", c, u, further)

# %% [markdown]
# **A harder question, without a check.** The estimate of step 1 is a mean over songs, so it is pale. Is a mean of the *estimates of
# many seeds* at step 1 the mean of the *finished songs*? Render ten seeds of one second, compare the two means, and say what part of the
# difference you would expect from ten seeds alone.
#
# **Where to go on.** `run.keep(3)` makes a take of an early estimate, if you like it. [04 · Repaint and prove
# it](04_repaint_and_prove_it.ipynb) holds a part of the walk to a known song. ACE-Step's own account is [arXiv
# 2602.00744](https://arxiv.org/abs/2602.00744). The folded answers stand right after the cells they speak of; open them before you print.
