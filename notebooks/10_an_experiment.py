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
# # 10 · An experiment
#
# **For whom:** whoever has a claim about a setting, such as "more steps sound better" · **How long:** half an hour with listening; the machine
# works for about a minute of it · **You will be able to** plan a sweep, vote without knowing what you hear, say how sure a result is, have
# another machine make the same takes, and hand over one file · **Runs on** any laptop, with the model in this package.
#
# **What this lesson teaches.** How to find out, rather than to believe: from a question to a file that somebody else can listen to,
# doubt and repeat.
#
# ## 1 · The question
# A question for an experiment names one thing that is changed, one thing that is observed, and what would
# prove you wrong. "Is the model good?" has none of them. This one has all:
#
# > Do people prefer takes of *eight* steps to takes of *two*, everything else being equal? If blind listeners choose eight about as
# > often as two, the answer is no.
#
# The cell below is tagged `parameters`. [papermill](https://papermill.readthedocs.io) puts its own cell after it, so that the whole
# lesson runs for another question without being edited:
# `papermill 10_an_experiment.ipynb mine.ipynb -p AXIS shift -y "VALUES: [1, 5]"`.

# %% tags=["parameters"]
QUESTION = "Do people prefer takes of eight steps to takes of two?"
CAPTION = "calm house with a soft pad, bass and drums"
AXIS, VALUES = "steps", [2, 8]
SEEDS = 6  # takes of each value
SECONDS = 4.0
MEASURE = "pulse"  # a number for each take: how clearly it beats
VOTES = ""  # your letters, such as "ABBABA"; "" has a stand-in vote for you
MACHINE = ""  # the address of another machine, such as "http://gpu-box:8001"; "" is a second session here

# %%
import math
import random
import tempfile

import pandas as pd

from acestep_lab import Audio, Recipe, Session, Sweep
from acestep_lab.lessons import check
from acestep_lab.sweep.intervals import by_chance, share, votes_needed
from acestep_lab.takes.verdict import compare
from acestep_lab.ui.line_chart import Axis, Line, LineChart

lab = Session.open()
lab.jobs.progress = False
recipe = Recipe(CAPTION, seconds=SECONDS, seed=1, thinking=False)  # no planner: nothing but the axis and the seed may differ
lab.make(recipe)

# %% [markdown]
# ## 2 · How many takes, before any is made
# Chance is generous to whoever asks few people. Somebody who cannot hear any difference still chooses *eight steps* in half of all
# votes, and in a short run often in more.
#
# **Predict, then look:** out of six votes, how many for one side would you take as proof? And if listeners truly prefer it in 7 of 10
# cases, how many votes does it take until that shows?

# %%
for won in range(3, 7):
    print(f"{won} of 6: a coin does as well or better with probability {by_chance(won, 6):.3f}; "
          f"the true share may be {share(won, 6).low:.2f} to {share(won, 6).high:.2f}")  # fmt: skip
shares = [0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0]
needed = [votes_needed(one) for one in shares]
LineChart(
    "Votes until a preference is not taken for chance",
    Axis("true share of listeners who prefer it", ticks=tuple(shares)),
    Axis("votes needed (p < 0.05)", log=True),
    (Line("a pair: two takes, one vote", shares, needed),),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# Five in a row already do it, and five of six do not. A preference that is real but mild needs dozens.
#
# </details>
#
# So decide the number *before* you
# listen: whoever counts after every vote, and stops when it looks good, will find something in noise.
#
# ## 3 · The sweep
# A [sweep](../acestep_lab/lessons/GLOSSARY.md) is a value: what is changed, over which values, how often. Each seed is made with every value, so that takes come in **pairs**
# that differ in nothing else. What it costs is said before anything is made.

# %%
sweep = Sweep.grid(recipe, **{AXIS: VALUES, "seed": range(1, SEEDS + 1)}, name=f"lesson 10 {AXIS}")
print(lab.sweep(sweep, dry_run=True))

# %% [markdown]
# Then it is made, beside whatever else you ask for. Stop it, restart the kernel, run this cell again: cells that exist are not made
# twice. With `on="tcp://…"` the workers of a cluster make it, with `on=[session, …]` sessions on other machines.

# %%
run = lab.sweep(sweep)
run.result()
run

# %% [markdown]
# ## 4 · Listening without knowing
# Louder seems better, and so does what one hopes for. `ballots` pairs takes that are alike in all but the axis and shuffles them;
# `hear_blind` makes both equally loud and takes their names off. Listen to A and B of the first ballot:

# %%
ballots = run.ballots(AXIS, seed=10)
heard = run.hear_blind(ballots[0])
heard["A"]

# %%
heard["B"]

# %% [markdown]
# Write one letter for each ballot into `VOTES`, and only then go on. In JupyterLab the sweep's own view above has *Listen blind*, which does
# the same by clicks. Nobody is here to listen while this page is made, so a **stand-in** votes: it prefers what measures higher, and
# guesses in one case of four. Its votes are signed with its name. They teach you the arithmetic and say nothing about ears.

# %%
measured = run.measure(MEASURE)


def stand_in(ballot, dice):
    """A listener made of one number and some chance."""
    better = max(ballot.letters, key=lambda letter: measured.get(ballot.place_of(letter), -math.inf))
    return dice.choice(ballot.letters) if dice.random() < 0.25 else better


dice = random.Random(10)
letters = VOTES or [stand_in(ballot, dice) for ballot in ballots]
if not run.votes:  # running this cell twice is no second opinion
    for ballot, letter in zip(ballots, letters):
        run.vote(ballot, letter, by="you" if VOTES else "the stand-in")
print(len(run.votes), "votes by", ", ".join(sorted({vote.by for vote in run.votes})))

# %% [markdown]
# ## 5 · How sure is that?
# For each value: how often it won, the interval in which its true share lies (Wilson's, which is honest for few votes), and how easily
# guessing does as well. **Predict, then look:** does the interval contain one half?

# %%
for preference in run.preferences(AXIS):
    print(preference)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# With six votes it nearly always does. Had you written "eight steps won five to one" into a paper, you would have claimed what this
# experiment cannot say. The interval is the honest form of the same sentence.
#
# </details>
#
# What is measured gets an interval as well. The right column is the one to read: it compares each take with *its own twin*, so what
# seeds do to all values alike is taken out of it. Two wide means may overlap while every single pair points the same way.

# %%
effects = run.effects(AXIS, by=MEASURE)
pd.DataFrame(
    {
        AXIS: [effect.value for effect in effects],
        f"mean {MEASURE} [95 %]": [str(effect.mean) for effect in effects],
        "against the first, pair by pair": [str(effect.difference or "–") for effect in effects],
        "sure": [effect.is_sure for effect in effects],
    }
)

# %% [markdown]
# *Sure* means: the interval of the pairs leaves zero out. It does not mean that the effect is large, or that it holds for another
# caption, or another model. This experiment knows one caption.
#
# ## 6 · Another machine
# A result that only your machine gives is an anecdote. `verify` sends each resolved recipe elsewhere and compares sounds, with three
# verdicts: **same** (every sample is equal), **same to the ear** (levels of third-octave bands, 20 times a second, differ by at most 1 dB
# on average), **different**. First, what each of them looks like:

# %%
take = run.take(0)
with tempfile.TemporaryDirectory() as folder:
    copy = Audio.read(take.audio.write(f"{folder}/copy.wav", bits=16))
print("itself:         ", compare(take.audio, take.audio))
print("a 16-bit copy:  ", compare(take.audio, copy))
print("another seed:   ", compare(take.audio, run.take(1).audio))

# %% [markdown]
# And now the whole sweep, made again. Without an address in `MACHINE` that is a second session on this machine, with a library of its
# own. **Predict:** which verdict will it be? And on a machine with a graphics card?

# %%
with tempfile.TemporaryDirectory() as folder:
    other = Session.connect(MACHINE, library=folder) if MACHINE else Session.open(library=folder)
    again = lab.verify(run, on=other)
    again.result()
    other.close()
print(again)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# The same processor, the same libraries, the same number of threads: the same bytes. Another processor adds numbers in another order, and
# the last bits differ: same to the ear. A card in another precision may drift further, most of all over many steps. If it says
# *different*, look first at checkpoint, precision and adapters; the verdict's remark names what was not alike.
#
# </details>
#
# ## 7 · One file for everybody
# The report holds all of it: your question and answer, the grid with its sounds, votes and intervals, verdicts, every cell, the recipe,
# the versions, and the lines that repeat it. It needs no network and no program but a browser. Send it to somebody who doubts you.

# %%
[_, *rest] = run.preferences(AXIS)
answer = "; ".join(str(one) for one in rest)
path = lab.report(run, question=QUESTION, answer=f"{answer}.", seconds=SECONDS, measures=[MEASURE])
print(path.name, f"{path.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## Exercises
# Put your answer in the place of `...` and run the cell. What is right is worked out from your own run.
#
# **1.** Vote: hand in your letters for all ballots, one for each, as text such as "ABBABA". (It checks that you voted, not how. Then
# put them into `VOTES`, and run the lesson again from there.)

# %%
answer = ...
check("10.1", answer, ballots)

# %% [markdown]
# **2.** How many votes, all for one side, does it take until a coin would do so in fewer than 1 of 1,000 runs?

# %%
answer = ...
check("10.2", answer)

# %% [markdown]
# **3.** Hand in a sweep that answers another question *fairly*: `Sweep.grid(recipe, …)` over one axis of two or more values and at least
# five seeds, so that every take has its twin.

# %%
answer = ...
check("10.3", answer, AXIS)

# %% [markdown]
# **A harder question.** With three values there are three pairs for each seed, and three chances to be fooled. How many votes must a pair
# win now before you call it more than chance? (Look for *Bonferroni*.) And why is an experiment with no difference at all
# (`AXIS = "shift"`, two values very close) still worth running once?
#
# ## Words
# - **axis**: what a sweep goes over. **Cell**: one combination of values, one take. **Ballot**: cells heard one against the other.
# - **blind**: without knowing which is which. **Chance**: what guessing gives. **p**: how often guessing does as well or better.
# - **interval**: where the true number lies, 95 times in 100. **Paired**: compared with its own twin, all else equal.
# - **verdict**: same, same to the ear, different.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md).
