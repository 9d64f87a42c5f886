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
# **For whom:** anybody who can run a cell; no model, no programming and no theory is needed. **How long:** 15 minutes.
# **You will be able to** make a song out of a sentence, hear it form, change one thing at a time, and get the very same song again.
# **It runs on** any computer: the *pocket* checkpoint comes with the package. It has the classes of ACE-Step 1.5
# ([arXiv 2602.00744](https://arxiv.org/abs/2602.00744)) at tiny size and was trained on synthetic music, so expect simple tunes.
#
# **What this lesson teaches.** A *recipe* is all a song is made from. What you say in it stands, what you leave out is decided
# and written down, and the same recipe gives the same samples on the same machine.
#
# The first cell below is for Colab and Kaggle, where the package has to be fetched once a session; elsewhere it does nothing. The pocket
# needs no graphics card. A T4 card computes float16 and float32, not bfloat16; the session sees that by itself.

# %%
import importlib.util

from IPython import get_ipython

if importlib.util.find_spec("acestep_lab") is None:  # restart the session afterwards if it asks for that
    source = "git+https://github.com/acestep-lab/acestep_lab"
    get_ipython().run_line_magic("pip", f'install -q "acestep_lab @ {source}"')

# %% [markdown]
# Begin with a sound. Run this cell; if you read this where no kernel runs, press play on what came out.

# %%
from acestep_lab import Recipe, Session

lab = Session.open()
recipe = Recipe(
    "warm lo-fi hip hop with soft keys, round bass and lazy drums",
    seconds=6, seed=7, bpm=84, keyscale="A minor",
)
take = lab.make(recipe)
take

# %% [markdown]
# ## What just happened
#
# You wrote a [recipe](../acestep_lab/lessons/GLOSSARY.md): a caption, a length, a seed, a tempo and a key. The
# [session](../acestep_lab/lessons/GLOSSARY.md) `lab` turned it into a [take](../acestep_lab/lessons/GLOSSARY.md): the sound, together with everything it
# came from.
#
# Three models worked one after another. The *planner*, a language model, filled in what you had left open and wrote a sketch of
# rhythm and harmony. The *music model* started from pure noise and, in a few steps, changed it into a *latent*: a compact
# description of the music, some numbers for each hundredth of a second. The *decoder* turned that into sound.
#
# Here is that sound as a picture. Time runs to the right, low tones are at the bottom, and the louder something is, the brighter.

# %%
from acestep_lab.ui.picture_chart import spectrograms

spectrograms("What you hear, as a spectrogram", [("the take", take.audio)])

# %% [markdown]
# Upright bars are drum strokes, level lines are held notes, and what glows at the bottom is the bass. Let it play and follow it with a
# finger: after a few seconds you will hear what you see.
#
# ## What you said, and what was decided
#
# A recipe never changes. The take holds another one, *as resolved*: yours, with every open question answered. Below, *decided* is what
# your recipe did not name, and *filled in* is what it had already, with less in it: the task, which is to make music from words unless you
# name another, gained the planner's sketch as `codes`. Any other word you do not know stands in the
# [glossary](../acestep_lab/lessons/GLOSSARY.md) or in a later lesson; none is needed here.

# %%
said, resolved = recipe.to_json(), take.recipe.to_json()
for name, value in resolved.items():
    short = str(value) if len(str(value)) < 60 else f"{str(value)[:57]}…"
    who = "you said" if said.get(name) == value else "filled in" if name in said else "decided"
    print(f"{who:10}{name:16}{short}")

# %% [markdown]
# Nothing remains hidden in the machine. How many steps the music model took, how strongly it listened to your words, which meter the
# planner chose: all of it can be read, changed, and sent to somebody else.
#
# ## Hear it form
#
# `start` returns at once and gives a *run*. You can watch a run, stop it, or ask it for its steps. Each
# [step](../acestep_lab/lessons/GLOSSARY.md) knows two things: `state`, where the music model stands, and `estimate`, what the song would be if
# it ended there.
#
# **Predict, then look.** The render below takes eight steps. After which of them will the estimate first look like the finished song:
# the first, the fourth or the last?

# %%
words = "slow dub techno with deep bass and a soft pad"
run = lab.start(recipe.replace(caption=words, seed=11, steps=8))
steps = list(run)
shown = (0, len(steps) // 2 - 1, len(steps) - 1)  # counted from 0
guesses = []
for n in shown:
    sound = lab.preview(steps[n], at=3.0, seconds=6.0)
    guesses.append((f"estimate of step {n + 1} of {len(steps)}", sound))
spectrograms("The same song, guessed three times", guesses)

# %% [markdown]
# <details><summary>What did you expect, and what do you see?</summary>
#
# The fourth guess is nearly the finished song; the steps after it only make its lines sharper. The first is a blur: broad bands where there
# will be lines, and a few strokes, the upright bars, that will not stay. When it was made there was only noise, your words and the planner's
# sketch, so it is close to the *mean* of all the songs that could still come of them, and means are blurred. Lesson 03 looks into this properly.
#
# </details>

# %%
run.take()

# %% [markdown]
# ## One thing at a time
#
# `replace` gives a new recipe with something changed. To learn what one word, or one number, does to music, change that one only.
# The [seed](../acestep_lab/lessons/GLOSSARY.md) is the number from which the noise at the beginning is drawn: chance, made repeatable.
#
# **Predict, then listen.** `vary` keeps the words *and* the planner's sketch, and takes another seed for the music model. What will stay:
# the tempo, the key, the exact notes?

# %%
[other] = lab.vary(take, seeds=[8])
for one in (take, other):
    print(f"seed {one.recipe.seed}:", lab.analyze(one))
other

# %% [markdown]
# <details><summary>What did you expect, and what do you hear?</summary>
#
# Tempo, key and the course of the piece are in the words and in the sketch, and both were the same. Strokes, sounds and small turns
# come from the noise, so they differ. The printed lines are *measured in the sound* by the lab's own ears, not copied from
# the recipe; those ears say "unsure" where they are, and they err like ears do. A measure that differs between the two is a reason to
# listen again, not yet a finding. Lesson 05 is about when a difference is more than chance.
#
# </details>
#
# ## The same again
#
# The take's own recipe makes the take again. Not a similar one: the same samples. The name of a take is computed from what it
# holds, so one look at the name is enough. (On another machine sums may be rounded otherwise in the last digit; then it is the same to
# the ear, and `lab.verify` tells the two apart.)

# %%
again = lab.make(take.recipe)
print("the same take:", again.id == take.id)
print(take.code())

# %% [markdown]
# Those last lines are a program: a friend who has the package and an open session `lab` makes this song with it.
#
# ## Keep it, hand it on
#
# Everything a run makes is kept in your *library*, a folder: a FLAC that carries its recipe in its tags, and the latent beside it.
# Nothing you hear is stored in the notebook unless you say so; `take.embed(seconds=3)` puts a few seconds into it, and
# `take.export("song.mp3")` writes a file for others, its kind by the ending: FLAC, WAV, Opus, MP3, a zip, or a page that plays.

# %%
take.embed(seconds=3)

# %% [markdown]
# ## Exercises
#
# Put your answer where `...` stands and run the cell. `check` works out what is right from what you hand in; it tells right from wrong
# and gives a hint. There is more than one right answer to the first.
#
# **01.1 Chance alone.** Make a second take that differs from `take` in nothing but the seed. (Hint: which recipe holds *everything*,
# the planner's decisions too?)

# %%
from acestep_lab.lessons import check

second = ...
check("01.1", take, second)

# %% [markdown]
# **01.2 What you did not say.** Which fields of `take.recipe` did you not ask for? Give their names as a set, such as
# `{"steps", "shift"}`. What you asked for is in `take.asked`.

# %%
names = ...
check("01.2", take, names)

# %% [markdown]
# **01.3 How much smaller?** The music model never sees the sound, only the latent. How many times as many numbers are there in
# `take.audio.samples` as in `take.latent`? Both are numpy arrays, and an array has a `.size`.

# %%
times_smaller = ...
check("01.3", take, times_smaller)

# %% [markdown]
# **A harder question, without a check.** Change one word of the caption and nothing else, seed and sketch included, and find a word
# that moves the music *less* than another seed does. How would you measure "less", so that somebody who disagrees could check you?
#
# **Where to go on.** [02 · Every task](02_every_task.ipynb) lets a sketch grow into a piece.
# [03 · Inside a render](03_inside_a_render.ipynb) opens the loop you have just watched. If you print this page or read it on paper: the
# folded answers stand right after the cells they speak of, and a browser opens them with a click before it prints.
