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
# # 08 · Why does it sound like that?
#
# **For whom:** whoever has made a first song (lesson 01) and asked, "was that my word, or luck?" · **How long:** 30 minutes; the
# machine works for less than two · **You will be able to** say what one word of a caption did, when, in which part of the spectrum,
# and how sure that is · **Runs on** any laptop, with the model in this package.
#
# **What this lesson teaches.** To find out what a word does, take it away and leave everything else as it was, the dice included.
# How much that moved the music means nothing by itself: hold it against what other dice would have done. And where a model *looks*
# is not what makes it do what it does.
#
# ## 1 · A sound, and four words for it
# Listen first: a [take](../acestep_lab/lessons/GLOSSARY.md) of four phrases. Write down which words of the caption you hear.

# %%
from acestep_lab import Recipe, Session
from acestep_lab.lessons import check
from acestep_lab.listen.variants import without
from acestep_lab.ui.line_chart import Axis, Line, LineChart

lab = Session.open()
lab.jobs.progress = False
CAPTION = "slow dub techno, warm pad, deep bass, sparse drums"
take = lab.make(Recipe(CAPTION, seconds=8, seed=3, bpm=112, keyscale="A minor", thinking=False))
take

# %% [markdown]
# A caption goes into the model whole. Nobody inside it keeps a list "bass → lower the cutoff"; words change numbers that change
# other numbers, a few million of them, at every step. So the question "what did *deep bass* do?" has no place in the model where
# its answer is written. It can only be asked from outside, as a physician or a gardener would: change one thing and look.
#
# ## 2 · One thing at a time
# `lab.attribute` makes the song again for each phrase and each field, with that one thing left out. Everything else stays: the other
# words, the length and, above all, the **noise** that the song is carved out of. Were the noise another one too, two things would
# have changed, and you could not say which of them you hear.
#
# It costs renders, so it says how many before it begins:

# %%
print(lab.attribute(take, dry_run=True))

# %% [markdown]
# Eight steps a render instead of sixteen are enough to compare. What is compared are two songs of eight steps, never one of eight
# with one of sixteen.
#
# **Predict, then look.** Which of the six, four phrases and two fields, moves the music most? Which one least? Write two names
# down. It is no shame to be wrong: the surprise is the lesson.

# %%
run = lab.attribute(take)
found = run.result()
found

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# Numbers are shares of the last row: *another seed and nothing else*. A field of two words, such as a key, can outweigh a whole
# phrase, since every note obeys it. And a phrase that fills half of the caption may do next to nothing: its neighbours said the same.
#
# </details>
#
# ### What is measured
# The model's own picture of the song is its **latent**, called x₀ once all noise is gone: here 32 numbers a hundred times a second.
# We take two of them, with the word and without, and ask how far apart they are, as a share of how large the first is. In symbols,
# with ‖ ‖ for the length of a vector: *moved* = ‖x₀′ − x₀‖ / ‖x₀‖.
#
# ## 3 · The ruler
# Say that something moved by 0.5. Is that much? Two songs that have nothing in common differ by about √2 ≈ 1.4 on this scale, for
# the sides of a right angle are that far apart. But two songs of *one caption* are not strangers. The honest ruler is: **the same
# words, another seed.** It says how much of the music was never decided by words at all.

# %%
ruler = found.control.moved
for one in found.ranked:
    print(f"{one.name:>16}: moved {one.moved:.2f}, which is {found.share(one):.2f} of what another seed does ({ruler:.2f})")

# %% [markdown]
# A share near 1 means: without it you would have got a song as different as if you had rolled the dice again. A share near 0
# means: the model did as if you had not said it. Neither is *better*. A small share may be a word that its neighbours repeat.
#
# ## 4 · When, and in which band
# A word need not act everywhere. Here is each phrase along the song.

# %%
times = found.start_of_slices
phrases = [one for one in found.effects if one.kind == "phrase"]
LineChart(
    "How far the latent moves without a phrase, on the same noise",
    Axis("seconds into the song"),
    Axis("movement (share of the latent's size)"),
    tuple(Line(one.name, times, one.over_time, marked=False) for one in phrases),
)

# %% [markdown]
# And in which octave of the spectrum. **Predict, then look:** in which band should *deep bass* stand out?

# %%
LineChart(
    "How far the level moves in each octave",
    Axis("lower edge of the octave (Hz)", log=True, ticks=(31, 125, 500, 2000, 8000)),
    Axis("movement of the level (dB)"),
    tuple(Line(one.name, found.edges[:-1], one.over_band) for one in phrases),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# One would bet on the octaves below 125 Hz. Look whether the line of *deep bass* is highest there, and then whether it is *only*
# high there. Mostly it is not: take the bass away and the model does not leave a hole, it arranges another piece, whose upper
# voices move as well. Words are not faders of a mixing desk.
#
# </details>
#
# ## 5 · Hear it
# A number is a hint where to listen. So listen: the take as it is was the first sound of this page; here it is without the phrase
# that moved it most.

# %%
strongest = max(phrases, key=lambda one: one.moved)
caption = without(CAPTION, strongest.span)
print(f"without {strongest.name!r}: {caption!r}")
lab.make(take.recipe.replace(caption=caption))

# %% [markdown]
# ## 6 · Where the model looks
# There is a cheaper thing to look at. Inside the model every moment of the song asks all words a question, and weighs their
# answers: **cross-attention** (arXiv 1706.03762). The weights can be read off in one pass, no render needed.

# %%
seen = found.attention
whole = sum(seen.mean())
looked = {word: share / whole for word, share in found.looked_at()}
for word, share in looked.items():
    print(f"{word:>10}: {100 * share:4.0f} % of the look at the caption")

# %% [markdown]
# It is tempting to read this table as the one above. **Do not.** A word may be looked at and change nothing, for what is carried
# over from it may be what is there already; a word that is hardly looked at may tip everything. Language models taught people this
# lesson first: *Attention is not Explanation* (arXiv 1902.10186), with an answer that is worth as much, *Attention is not not
# Explanation* (arXiv 1908.04626). Let us see how well the two agree here.

# %%
def looked_at(one):
    """How much of the look lies on the words of a phrase."""
    inside = [place for place, (a, b) in enumerate(seen.spans) if one.span[0] <= a and b <= one.span[1]]
    return sum(seen.mean()[place] for place in inside) / whole


LineChart(
    "Looked at, and doing something",
    Axis("share of the look at the caption"),
    Axis("moved (share of another seed)"),
    tuple(Line(one.name, [looked_at(one)], [found.share(one)], joined=False) for one in phrases),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# If attention were a cause, the dots would climb from the lower left to the upper right. Four dots are few, and no proof either way; but
# one dot far from that road is enough to show that looking and doing are two things.
#
# </details>
#
# ## Exercises
# Put your answer in the place of `...` and run the cell. What is right is worked out from your own run.
#
# **1.** Which phrase or field moved the music *least*? Its name, as text.

# %%
answer = ...
check("08.1", answer, found)

# %% [markdown]
# **2.** How many of the changes moved the music more than *half* as far as another seed does? A whole number.

# %%
answer = ...
check("08.2", answer, found)

# %% [markdown]
# **3.** Swap instead of leaving out: `lab.attribute(take, swap={"warm pad": "distorted guitar"}, what="fields")`. Hand in what
# came of it (its `result()`), and whether the swap moved the music further than leaving *warm pad* out: `True` or `False`.

# %%
answer, swapped = ..., ...
check("08.3", answer, swapped, found)

# %% [markdown]
# **A harder question.** One seed made the ruler, and one noise the song. Make the same take with three other seeds and attribute
# each. Does the *order* of the phrases stay? If it does not, what may you still say about "deep bass"? And what of two words that
# only work together: leave out each alone, then both at once (`swap={"warm pad, deep bass": ""}`).
#
# ## Words
# - **Attribution**: how much of a result is due to one part of what went in. Here by **ablation**: leaving that part out.
# - **Control**: a change whose effect is known to mean nothing, beside which the others are held. Here another seed.
# - **x₀**: the latent without noise, as the model estimates it at every step, and has it at the last.
# - **Cross-attention**: how moments of the song weigh the words. Where the model looks; no cause.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md).
#
# What it does *not* say: a phrase that repeats another one looks weak, since the other one still says it. Two changes together need
# not move as far as both alone. And all of it is true of this take, this seed and this model; a word has no effect as such.
