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
# **What this lesson teaches.** The nine things the music model can be asked for, each as a small value (`Repaint`, `Cover`,
# …) and as a verb of the session (`lab.repaint`, `lab.cover`, …); what stays and what changes in each; and how samplers,
# guidance and batches are chosen. Every line names its seed, so that the lesson sounds the same when it is run again.
#
# Everything runs on the *pocket* checkpoint: real model classes at tiny size. On a large checkpoint the same lines make
# grown-up music. Where a checkpoint was not trained for a task it says so, and names one that was.

# %%
import numpy as np

from acestep_lab import Cover, Recipe, RecipeError, Region, Session, Text2Music

lab = Session.open()
recipe = Recipe("slow dub techno with deep bass, a soft pad and drums", seconds=8, seed=7, bpm=100, keyscale="A minor")
sorted(lab.capabilities.tasks)

# %% [markdown]
# ## Text2Music
# Words alone. The planner (if the checkpoint has one) decides what you left open and writes *audio codes*, a sketch of
# rhythm and harmony that the music model follows. `thinking=False` goes straight from the words to the music.

# %%
take = lab.make(recipe)
take

# %%
straight = lab.make(recipe.replace(thinking=False))
straight

# %% [markdown]
# A **reference** lends its timbre: front, middle and back of it are heard, always the same windows, so the same reference
# always gives the same timbre.

# %%
lab.make(recipe.replace(task=Text2Music(reference=take), caption="a bright tune with bells", seed=8))

# %% [markdown]
# ## Repaint
# New music inside one region or several, with its own words if you like. Every sample outside the regions and their short
# crossfades is *identical* to the source's — not similar: identical. `mode` sets how firmly the outside is held while the
# inside forms.

# %%
regions = (Region(1, 2), Region(4, 5.5))
bridge = lab.repaint(take, regions, "brushed drums, softer", mode="balanced", seed=8)

rate = bridge.audio.rate
time = np.arange(bridge.audio.samples.shape[1]) / rate
outside = np.all([(time < r.start - 0.03) | (time >= r.end + 0.03) for r in regions], axis=0)
difference = np.abs(bridge.audio.samples - take.audio.samples).max(axis=0)
assert difference[outside].max() == 0
print(f"outside: {difference[outside].max():g}   inside: {difference[~outside].max():.3f}")
bridge

# %% [markdown]
# ## Extend
# More music before, after, or both; the source stays as it is. The new part hears its own lyrics and words.

# %%
longer = lab.extend(take, before=1, after=3, caption="the same groove opens up, with a bell melody", seed=9)
print(f"{take.seconds:g} s -> {longer.seconds:g} s")
longer

# %% [markdown]
# ## Cover
# The source's rhythm and harmony in another sound. `strength` is the share of the steps that follow the source before only
# the words are heard; `noise_strength` starts from the noised source, so that more of its sound stays; `through_codes=False`
# hears the source as it is instead of through the five-a-second codes.

# %%
cover = lab.cover(take, "warm lo-fi hip hop with soft keys", strength=0.7, seed=10)
cover

# %%
near = lab.cover(take, "warm lo-fi hip hop with soft keys", noise_strength=0.6, through_codes=False, seed=10)
near

# %% [markdown]
# ## Codes out, codes in
# Any sound can be written as codes, and codes can be covered like a sound: the two give the same music.

# %%
codes = lab.codes(take)
print(len(codes), "codes for", take.seconds, "s:", codes[:12], "…")
of_codes = lab.make(recipe.replace(task=Cover(codes=codes)))
of_sound = lab.make(recipe.replace(task=Cover(take)))
print("largest difference between the two:", np.abs(of_codes.latent - of_sound.latent).max())

# %% [markdown]
# ## Retake
# The same recipe with its start noise turned towards another seed. Variance 0 is the same take bit for bit, 1 another one.

# %%
same, *others = (lab.vary(take, seeds=[21], variance=variance)[0] for variance in (0.0, 0.1, 0.4))
assert np.array_equal(same.audio.samples, take.audio.samples)
for variance, other in zip((0.1, 0.4), others):
    print(f"variance {variance}: mean distance {np.abs(other.latent - take.latent).mean():.3f}")
others[0]

# %% [markdown]
# ## Stems: Extract, Lego, Complete
# Take one of twelve stems out of a mix; add a stem to it; or accompany a stem with others. Distilled checkpoints cannot do
# this: they were trained on whole mixes.

# %%
drums = lab.extract(take, "drums", seed=11)
drums

# %%
lab.lego(drums, "bass", "a round walking bass", seed=12)

# %%
lab.complete(drums, ["bass", "keyboard"], "a small jazz band", seed=13)

# %% [markdown]
# ## FlowEdit
# From one description to another without starting over: the loop follows the *difference* between what it hears in the old
# words and in the new. A window over the schedule (`n_min`, `n_max`) limits how far it goes.

# %%
edited = lab.edit(take, "slow dub techno with deep bass, a choir pad and no drums", n_max=0.8, seed=14)
print("moved by", np.abs(edited.latent - take.latent).mean())
edited

# %% [markdown]
# ## Samplers and guidance
# Steps, shift, solver and guidance come from the checkpoint's row. Whoever insists on something odd is told once what
# usually comes of it. The interval of guidance is given on *t*: 1 is pure noise, 0 the finished song.

# %%
for solver in ("euler", "heun", "sde", "dpmpp2m"):
    made = lab.make(take.recipe.replace(solver=solver, steps=8))
    print(f"{solver:8}", f"{np.abs(made.latent - take.latent).mean():.3f} from the take of {take.recipe.steps} euler steps")

# %%
for guidance in ("none", "cfg", "apg", "adg", "cfg_zero"):
    made = lab.make(take.recipe.replace(guidance=guidance, guidance_scale=3.0, guidance_interval=(0.2, 1.0), steps=8))
    print(f"{guidance:8}", f"loudness {made.audio.loudness():.1f} LUFS")

# %% [markdown]
# ## Several at once
# A run may hold any number of recipes; those that can share a loop do, and each is what it would have been alone.

# %%
run = lab.start([recipe.replace(seed=seed, caption=caption, thinking=False) for seed, caption in enumerate(("a slow waltz", "a march"))])
takes = run.takes()
alone = lab.make(recipe.replace(seed=1, caption="a march", thinking=False))
print("in company and alone:", np.abs(takes[1].latent - alone.latent).max())

# %% [markdown]
# ## What cannot be done is a sentence
# Before any work, and with what would be right.

# %%
for wrong in (
    lambda: lab.repaint(take, Region(9, 10)),
    lambda: lab.make(recipe.replace(seconds=500)),
    lambda: lab.extract(take, "dums"),
    lambda: lab.make(recipe.replace(task=Cover(codes=(10**6,)))),
):
    try:
        wrong()
    except RecipeError as sentence:
        print("·", sentence)

# %% [markdown]
# ## What a checkpoint can do, and another one beside it
# Everything above was asked of the pocket. Other checkpoints can do other things, and say so before anybody asks: the tasks, the
# knobs of a recipe, the languages, the longest song, the licence of the weights. `acestep-lab checkpoints` lists those there are.

# %%
can = lab.capabilities
print(can.family, "·", can.licence, "·", f"{can.seconds[0]:g} to {can.seconds[1]:g} s", "·", len(can.vocabulary.languages), "languages")
print("knobs:", ", ".join(can.sampling.names()))
print("by default:", lab.defaults(Text2Music()).given())

# %% [markdown]
# A session may hold several. `lab.cost` says what one more would take of this machine before anything is loaded, and `lab.use`
# makes it the one at work; what two have in common is in memory once. Nothing is downloaded here: a copy of the pocket plays the
# part of a checkpoint of your own, such as one that you have trained further.

# %%
import shutil
import tempfile
from pathlib import Path

from acestep_lab.models.loading import POCKET

folder = Path(tempfile.mkdtemp()) / "my-band"
shutil.copytree(POCKET, folder)
print(lab.cost(folder))
lab.use(folder)
print("at work:", lab.name, "· open:", ", ".join(lab.checkpoints))

# %%
theirs = lab.make(recipe.replace(seed=15, thinking=False))
lab.use("pocket")
ours = lab.make(recipe.replace(seed=15, thinking=False))
print("the same weights, so the same music:", np.array_equal(theirs.audio.samples, ours.audio.samples))

# %% [markdown]
# A recipe may name the checkpoint it is for, and a run may hold recipes for several. A knob that an engine does not have is
# refused by its own sentence.

# %%
mixed = lab.start([recipe.replace(seed=16, checkpoint=name, thinking=False) for name in lab.checkpoints]).takes()
print([take.recipe.checkpoint for take in mixed])
try:
    lab.make(Recipe("a march", top_k=40))
except RecipeError as sentence:
    print("·", sentence)

# %% [markdown]
# ## Where it all came from
# Every take knows its parents and the recipe that makes it again.

# %%
print(bridge.parents, "->", bridge.id)
print(bridge.code())
assert lab.make(bridge.recipe).id == bridge.id

# %%
lab.close()
