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
# # 11 · A piece from nothing
#
# **For whom:** whoever wants to end the evening with a piece, not with a list of features · **How long:** 45 minutes with listening; the
# machine works for about one of them · **You will be able to** go from a sentence to a finished file by seven decisions, each of them
# heard, and go back to any one of them · **Runs on** any laptop, with the model in this package.
#
# **What this lesson teaches.** A model makes a piece in seconds, and nobody's. It becomes yours by deciding: this plan and not
# that one, other drums here, four bars more, a different beginning. Composing with a model is *choosing, then changing one thing at a time*.
# Each decision below ends in a sound, and each take remembers the one that it came from.
#
# ## 0 · A sentence
# Say what you want as you would say it to a band. Here is what comes back when nothing else is decided:

# %%
import tempfile
from pathlib import Path

import numpy as np

from acestep_lab import Audio, Recipe, Region, Session
from acestep_lab.lessons import check
from acestep_lab.ui.line_chart import Axis, Line, LineChart

SENTENCE = "a slow night train, soft drums, round bass and a lonely piano"
SECONDS = 6

lab = Session.open()
lab.jobs.progress = False
recipe = Recipe(SENTENCE, seconds=SECONDS, seed=4)
nobodys = lab.make(recipe)
nobodys

# %% [markdown]
# ## 1 · Several plans
# Before it is sound, a piece is a [plan](../acestep_lab/lessons/GLOSSARY.md): tempo, key, meter, and the codes that say what happens when. Plans
# are cheap. So ask for several before you listen to any.

# %%
plans = lab.plan(recipe, n=4)
for number, plan in enumerate(plans):
    print(f"{number}: {plan.bpm} bpm, {plan.keyscale}, {plan.timesignature} beats in a bar")

# %% [markdown]
# ## 2 · Choose
# You know things about night trains that no model does: they are slow, and nobody ever called one cheerful. So the slowest plan it is;
# of two equally slow ones, that in minor. Where you have no such reason, listen to all of them *blind* (lesson 05).
#
# **Predict, then listen:** the words are the same as before. What will be different, and what will sound the same?

# %%
chosen = min(plans, key=lambda plan: (plan.bpm, "minor" not in plan.keyscale))
draft = lab.make(recipe, chosen)
print(f"decided: {draft.recipe.bpm} bpm, {draft.recipe.keyscale}")
draft

# %% [markdown]
# <details><summary>What to hear</summary>
#
# When things happen, and on which notes, is the plan's; who plays them, and how it was recorded, is the words'. So tempo and harmony are
# new, and the band is more or less the same one.
#
# </details>
#
# ## 3 · Change one place
# Something in the middle disturbs. Do not roll the dice for the whole piece: **repaint** two seconds, with words of their own. Everything
# outside is not made again but *kept*, sample for sample (lesson 04 proves it).

# %%
MIDDLE = Region(2, 4)
mended = lab.repaint(draft, MIDDLE, "a quiet break, piano alone", seed=5)
mended


# %%
def level(take, width=0.05):
    """The level of each twentieth of a second, in dB below full scale."""
    size = round(width * take.audio.rate)
    mono = take.audio.samples.mean(axis=0)
    frames = mono[: len(mono) // size * size].reshape(-1, size)
    return 20 * np.log10(np.maximum(1e-3, np.sqrt((frames**2).mean(axis=1))))


times = np.arange(len(level(draft))) * 0.05
LineChart(
    f"One place made anew, from {MIDDLE.start:g} to {MIDDLE.end:g} s",
    Axis("seconds of the piece"),
    Axis("level (dB below full scale)"),
    (Line("before", times, level(draft), marked=False), Line("after", times, level(mended)[: len(times)], marked=False)),
)

# %% [markdown]
# **Predict, then look:** where will the two lines lie on one another?
#
# <details><summary>What to see in it</summary>
#
# Before 2 s and after 4 s there is one line only, but for a few hundredths of a second at each border, where old and new are faded into one
# another. A decision about one place stays in that place.
#
# </details>
#
# ## 4 · Go on
# Six seconds are a thought, no piece. **Extend** it: the new part hears what came before, and obeys words of its own.

# %%
longer = lab.extend(mended, after=4, caption="the train leaves the tunnel, strings join", seed=6)
print(f"{mended.seconds:g} s → {longer.seconds:g} s")
longer

# %% [markdown]
# ## 5 · A form
# The ear wants to come home. **Stitch** puts pieces of takes one after another, on the beat: the first two seconds return at the end, and a
# piece of the very first take, nobody's, is what is between. No model is asked; each piece is its source's own samples.

# %%
home = Region(0, 2)
song = lab.stitch([longer, (nobodys, Region(1, 3)), (draft, home)])
print(f"{len(song.recipe.task.pieces)} pieces, {song.seconds:.1f} s")
song

# %% [markdown]
# ## 6 · Stems
# Is the bass too loud? **Stems** takes a mix apart: each is what the model *hears* as that instrument, and the **residual** is what is left. Added
# up they are the mix again, so that nothing is lost by trying.
#
# **Predict, then listen:** what will be in the residual?

# %%
stems = lab.stems(draft, ["drums", "bass"])
stems.residual

# %% [markdown]
# <details><summary>What to hear</summary>
#
# In theory, the piano alone. In practice also what was not quite taken out: shadows of the drums, and the other way round, holes in the piano
# where a drum was. The smaller the model, the more. That is why a remix turns stems up and down by a few dB, and rarely off.
#
# </details>

# %%
remix = stems.mix({"drums": 0.7, "bass": 1.2})
remix

# %% [markdown]
# ## 7 · Hand it on
# A piece is finished when somebody else can hear it. `export` writes a file by its ending. `lufs` brings it to a loudness, `fade_out` lets it
# end. (Streaming services play at about −14 LUFS. A piece whose peaks stand far above the rest cannot be that loud without being cut
# off; then `export` stops before that, and says so.) The recipe of the whole road is inside the file.

# %%
with tempfile.TemporaryDirectory() as desk:
    path = song.export(Path(desk) / "night_train.flac", lufs=-24, fade_out=1.5)
    back = Audio.read(path)
    print(path.name, f"{path.stat().st_size / 1000:.0f} kB, {back.loudness():.1f} LUFS")
back

# %% [markdown]
# And the road back. Each take knows its parents, so *every* decision can be taken again:

# %%
for name, take in {"draft": draft, "mended": mended, "longer": longer, "song": song}.items():
    task = type(take.recipe.task).__name__
    print(f"{name:>7}: {task:<10} from {len(take.parents)} take(s)  seed {take.recipe.seed}  {take.recipe.caption[:44]!r}")

# %% [markdown]
# ## Exercises
# Put your answer in the place of `...` and run the cell. What is right is found out from the sounds themselves.
#
# **1.** Another ending: hand in a repaint of `mended` that changes its last second, and nothing before its last two.

# %%
answer = ...
check("11.1", mended, answer)

# %% [markdown]
# **2.** Another form: hand in a stitched song A B A of three pieces, where the first and the last are the same part of the same take and
# the middle one is of another take.

# %%
answer = ...
check("11.2", answer)

# %% [markdown]
# **3.** Hand in a mix of `stems` in which the drums are 6 dB softer, and everything else is as it was.

# %%
answer = ...
check("11.3", answer, stems)

# %% [markdown]
# **A harder question.** Which of the seven decisions was the worst? Change that one and leave the others: choose another plan, and do steps 3 to 5 again
# with the same words and seeds. What breaks first, and why does a repaint of a new draft not sound like the old repaint? Then write your
# own sentence, and let nobody else choose.
#
# ## Words
# - **plan**: what is decided before a note is made. **Take**: one result, with the recipe that makes it again. **Parents**: the takes it is
#   made from.
# - **repaint**: new music in one region. **Extend**: new music before or after. **Stitch**: pieces one after another, no model.
# - **stem**: one instrument of a mix. **Residual**: the mix without its stems. **LUFS**: loudness as ears weigh it.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md). The model is that of arXiv 2602.00744 at tiny size; on a large checkpoint the same lines make
# grown-up music.
