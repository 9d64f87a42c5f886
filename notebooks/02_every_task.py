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
# # 02 · Every task
#
# **For whom:** whoever has made a first song and asks what else there is. **How long:** 30 minutes.
# **You will be able to** choose, out of nine tasks, the one that changes what you want changed and leaves the rest; and follow a piece back
# to its first sketch. **It runs on** any computer (the pocket, no graphics card).
#
# **What this lesson teaches.** A task says which part of the music is *given* and which is *to be made*. All nine are answers to that
# one question. We meet them on one small piece that grows from a sketch to a song.
#
# Begin with a sound: four seconds from words alone, and that is the first task, **Text2Music**. Nothing is given; all is made.

# %%
import numpy as np

from acestep_lab import Cover, Recipe, RecipeError, Region, Session

lab = Session.open()
recipe = Recipe(
    "slow dub techno with deep bass, a soft pad and drums",
    seconds=4, steps=8, seed=7, bpm=100, keyscale="A minor",
)
sketch = lab.make(recipe)
sketch

# %% [markdown]
# ## Retake: nearly the same
#
# You like the sketch, but not quite. A **Retake** turns the noise it came from a little towards the noise of another seed. `variance` 0 is
# the same take, bit for bit; 1 is another one; in between lie its neighbours.

# %%
near = lab.vary(sketch, seeds=[21], variance=0.2)[0]
near

# %% [markdown]
# ## Repaint: a part anew
#
# The third second should hold its breath. A **Repaint** is given all of the piece but a [region](../acestep_lab/lessons/GLOSSARY.md), and
# makes the region, with words of its own if you like.
#
# **Predict, then listen.** The new part is made with the rest in view. Will the rest be the same, similar, or new?

# %%
bridge = lab.repaint(sketch, Region(2, 3), "brushed drums, softer", seed=8)
bridge

# %% [markdown]
# <details><summary>What did you expect, and what do you hear?</summary>
#
# The same: every sample outside the region and its short crossfades is the sketch's own. Lesson 04 proves it, and says why that is not a
# matter of course.
#
# </details>
#
# ## Extend: more of it
#
# An **Extend** is given the whole piece and makes what comes before it, after it, or both. The added part hears its own words.

# %%
words = "the same groove opens up, with a bell melody"
song = lab.extend(bridge, after=2, caption=words, seed=9)
print(f"{bridge.seconds:g} s -> {song.seconds:g} s")
song

# %% [markdown]
# ## Extract, Lego, Complete: one stem at a time
#
# A *stem* is what one player plays. Three tasks work on stems, and they differ in what is given:
#
# | task | given | made |
# |---|---|---|
# | **Extract** | the mix | one stem of it, alone |
# | **Lego** | a mix or a stem | one more stem that fits, heard together with it |
# | **Complete** | a stem | its accompaniment by the stems you name |
#
# We take the drums out of the song, and give them a new bass.

# %%
drums = lab.extract(song, "drums", seed=11)
drums

# %%
lab.lego(drums, "bass", "a round walking bass", seed=12)

# %% [markdown]
# And the same drums with a small band. (Checkpoints distilled for speed, such as ACE-Step's *turbo*, were trained on whole mixes and
# cannot work on stems. They say so, and name one that can.)

# %%
lab.complete(drums, ["bass", "keyboard"], "a small jazz band", seed=13)

# %% [markdown]
# ## Cover: the same music in another sound
#
# A **Cover** is given the rhythm and harmony of a source and makes all of the sound anew. What it is given are *audio codes*: five
# numbers a second, the same alphabet in which the planner writes its sketches. Whatever five numbers a second cannot say is left to your
# words. `strength` is the share of the steps that follow the source; after it only the words are heard.

# %%
codes = lab.codes(song)
print(len(codes), "codes for", song.seconds, "s:", codes[:10], "…")
cover = lab.cover(song, "warm lo-fi hip hop with soft keys", strength=0.7, seed=10)
cover

# %% [markdown]
# **Predict, then listen.** If the source is heard as its codes only, does it matter whether a cover is given the sound or the codes?

# %%
of_sound = lab.make(recipe.replace(seconds=song.seconds, task=Cover(song)))
of_codes = lab.make(recipe.replace(seconds=song.seconds, task=Cover(codes=codes)))
print("largest difference between the two latents:", np.abs(of_sound.latent - of_codes.latent).max())

# %% [markdown]
# <details><summary>What did you expect, and what came out?</summary>
#
# No difference: the two are the same music. With `through_codes=False` a cover hears the source as it is, and with `noise_strength` it
# starts from the source with noise added instead of from noise alone, so that more of the source's sound stays.
#
# </details>
#
# ## FlowEdit: from these words to those
#
# A **FlowEdit** is given the piece *and* the words it came from. It follows the difference between what the model hears in the
# old words and in the new ([arXiv 2412.08629](https://arxiv.org/abs/2412.08629)), so that what both say the same stays. `n_max` limits how
# far back towards noise it goes.

# %%
edited = lab.edit(cover, "warm lo-fi hip hop with a choir pad", n_max=0.8, seed=14)
edited

# %% [markdown]
# ## What stays, what changes: one picture
#
# Now the lesson's one question, measured. Each line compares a take with the one it was made from: how far apart are their latents at each
# moment, in spreads of a latent's numbers? Two unrelated takes would stand at about 1.4, the square root of two.

# %%
from acestep_lab.ui.line_chart import Axis, Line, LineChart


def apart(child, parent, window=0.2):
    """Times, and how far two latents are apart in each window (root of the mean square)."""
    frames = min(len(child.latent), len(parent.latent))
    width = round(window * len(parent.latent) / parent.seconds)
    squares = ((child.latent[:frames] - parent.latent[:frames]) ** 2).mean(axis=1)
    rows = np.sqrt(squares[: frames // width * width].reshape(-1, width).mean(axis=1))
    return window * (np.arange(len(rows)) + 0.5), rows


pairs = {
    "retake": (near, sketch), "repaint": (bridge, sketch), "extend": (song, bridge),
    "cover": (cover, song), "edit": (edited, cover),
}
lines = tuple(Line(name, *apart(*pair)) for name, pair in pairs.items())
distance = Axis("distance of latents, in spreads")
LineChart("How far from its parent", Axis("time in seconds"), distance, lines)

# %% [markdown]
# Read it line by line. The repaint leaves zero in its region and, a little, where its latent fades over on both sides (in the *samples*
# that crossfade is far shorter). The extension stays at zero up to the seam: the old music is still in there. The retake stays near, the
# cover goes further, for only rhythm and harmony were given to it, and the edit is somewhere between: it had all of the music, and other
# words.
#
# ## Nine tasks, several at once, and a sentence where one cannot be done
#
# A run may hold any number of recipes, and each take is what it would have been alone. What cannot be done is said before any
# work, with what would be right.

# %%
print(", ".join(sorted(lab.capabilities.tasks)))
plain = recipe.replace(thinking=False)
both = [plain.replace(seed=0, caption="a waltz"), plain.replace(seed=1, caption="a march")]
two = lab.start(both).takes()
alone = lab.make(two[1].recipe)
print("in company and alone:", np.abs(two[1].latent - alone.latent).max())
for wrong in (
    lambda: lab.repaint(song, Region(20, 21)),
    lambda: lab.extract(song, "dums"),
    lambda: lab.make(recipe.replace(task=Cover(codes=(10**6,)))),
):
    try:
        wrong()
    except RecipeError as sentence:
        print("·", sentence)

# %% [markdown]
# Another [checkpoint](../acestep_lab/lessons/GLOSSARY.md) can do other things: `lab.cost("base")` says what it would take of this machine before
# anything loads, and `lab.use("base")` makes it the one at work.
#
# ## Exercises
#
# **02.1 From here on.** Make a take out of `sketch` that is as long, whose first two seconds are the same samples, and whose rest,
# or a part of it, is new.

# %%
from acestep_lab.lessons import check

new = ...
check("02.1", sketch, new)

# %% [markdown]
# **02.2 Longer.** Make a take that is longer than `sketch` and holds all of it. (Before or after? Both are right.)

# %%
longer = ...
check("02.2", sketch, longer)

# %% [markdown]
# **02.3 The family tree.** Hand in a list of at least four takes, the oldest first, each made out of the one before by another task. Takes
# of this lesson will do: `take.parents` says what each came from.

# %%
chain = ...
check("02.3", chain)

# %% [markdown]
# **A harder question, without a check.** Take the drums out of `song`, subtract them from the mix sample by sample, and listen to
# what is left. Then `lab.stems(song)` and its residual. Why is the sum of made stems not the mix, and what would a model have to promise
# for it to be?
#
# **Where to go on.** [04 · Repaint and prove it](04_repaint_and_prove_it.ipynb) for the edges of a region; [03 · Inside a
# render](03_inside_a_render.ipynb) for what all nine tasks have in common; ACE-Step's tasks are described in [arXiv
# 2602.00744](https://arxiv.org/abs/2602.00744). The folded answers stand right after the cells they speak of; open them before you print.
