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
# # 07 · Teach it your sound
#
# **For whom:** whoever has a sound that the model does not know, and twelve recordings of it · **How long:** 40 minutes; the machine works
# for about two · **You will be able to** label songs, teach an adapter, tell from held-out songs whether it learnt, and measure
# what it changed · **Runs on** any laptop, with the model in this package.
#
# **What this lesson teaches.** What a LoRA is (arXiv 2106.09685), and how one is taught: songs become rows, rows get labels (measured,
# guessed, written), a few numbers beside the model learn what the songs have in common, and then we measure whether they did. With
# what chance alone would give, and what the songs themselves give, beside it.
#
# ## A sound that it does not know
# A house track on flutes and shakers. So is the rock song, so is the waltz: whatever the style, woodwinds and percussion play it, and
# nothing else. Here a small program composes twelve of them, so that we know the truth; your own would be files in a folder. Listen:

# %%
import hashlib
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from acestep_lab import Audio, Dataset, LoraConfig, Recipe, Session
from acestep_lab.lessons import check
from acestep_lab.train.activation_tag import tagged
from acestep_lab.train.label import Listeners, label, labelled
from acestep_lab.train.synthetic_music import STYLES, compose, render
from acestep_lab.ui.line_chart import Axis, Line, LineChart

SONGS, STEPS, TAKES = 12, 100, 8  # to learn from, of the training, to judge by; smaller is quicker and says less

lab = Session.open()
lab.jobs.progress = False
desk = tempfile.TemporaryDirectory(dir=".")  # removed when this page is closed
folder = Path(desk.name) / "songs"
folder.mkdir()

truth = {}
for number, style in enumerate(list(STYLES)[:SONGS]):
    written = compose(100 + number, seconds=10, style=style, instruments=("woodwinds", "percussion"))
    truth[f"{number:02d}.flac"] = written
    Audio(render(written, 48_000).mix, 48_000).write(folder / f"{number:02d}.flac")
    (folder / f"{number:02d}.txt").write_text(f"genre: {style}\n", encoding="utf-8")

songs = Dataset.scan(folder).check()
songs[0].audio()

# %% [markdown]
# Together they are a [data set](../acestep_lab/lessons/GLOSSARY.md). Beside each song lies a text with the one thing that we say ourselves: its
# genre.

# %%
songs

# %% [markdown]
# ## Label them
# A model learns sound *together with words*. So each song needs words, and they should be right. There are three sources:
#
# - **written** by a person: never overwritten;
# - **heard**: tempo, key, meter, instruments and whether anybody sings are measured in the sound;
# - **guessed**: caption, genre and language are what the planner believes, asked several times and voted on.

# %%
progress = Path(desk.name) / "labels.jsonl"
events = list(label(songs, Listeners.of(lab), seeds=2, progress=progress))
songs = labelled(songs, events)
for name, one in songs[0].labels.items():
    if one.value is not None:
        print(f"{name:>14}  {one.source:<8} {'' if one.sure is None else f'{one.sure:.2f}':>5}  {one.value}")

# %% [markdown]
# The number says how sure that is: of a measure by the measure itself, of a guess by how far its readings agree.
#
# `progress` is a file that knows what is done. After a crash the same call goes on, and nobody listens twice:

# %%
again = list(label(songs, Listeners.of(lab), seeds=2, progress=progress))
print(sum(event.resumed for event in again), "of", len(again), "songs were known already")

# %% [markdown]
# **Predict, then look:** which labels are right more often, the measured ones or the guessed ones? Of these songs we know.


# %%
def same_tempo(heard, true):
    """Whether two tempi are one, or an octave apart (a half, a double), which is no mistake to a dancer."""
    return heard is not None and min(abs(heard * octave / true - 1) for octave in (0.5, 1, 2)) < 0.04


def share(right):
    return f"{sum(right)} of {len(right)}"


pairs = [(song, truth[song.name]) for song in songs]
foreign = ("piano", "bass", "guitar", "synth", "strings", "drum")
print("tempo, an octave allowed:  ", share([same_tempo(song.bpm, true.bpm) for song, true in pairs]))
print("key:                       ", share([song.keyscale == true.keyscale for song, true in pairs]))
print("nobody sings:              ", share([song.instrumental is True for song, _ in pairs]))
print("captions that name what does not play:", share([any(w in song.caption for w in foreign) for song, _ in pairs]))
for song in songs[:3]:
    print(f"   {song.genre}: {song.caption}")

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# What is measured is mostly right. What is guessed is not: the planner never heard such music, so it describes what it knows.
# That is the rule for any odd sound: *the stranger it is, the less a model can say about it*.
#
# </details>
#
# A wrong caption is worse than none: it would teach that "guitar" means flute. So we take the captions out, and say that nobody
# sings, which we know. What stays in the words (genre, tempo, key) remains ours to ask for. What all songs share and no word
# says, the adapter has to learn by itself.
#
# Last, a **tag**: a word without a meaning that goes before each caption.

# %%
songs = tagged(songs.edit(caption="", language=None, instrumental=True), "zafu")
songs

# %% [markdown]
# ## What will be learnt
# A layer of the model is a matrix `W`. Training all of them would make a second model. A LoRA leaves `W` as it is, and puts a
# product of two thin matrices beside it:
#
# `y = W·x + (α / r) · B·A·x`
#
# `A` has `r` rows and `B` has `r` columns; `r` is the *rank*. `B` begins as zeros, so before the first step nothing changes.
#
# And it is taught by the formula of lesson 03. Mix a song with noise, `x_t = t · noise + (1 − t) · music`, and ask for the
# direction from music to noise:
#
# `loss = mean( (v(x_t, t, words) − (noise − music))² )`
#
# That is all. No one says "flute" to it: only these numbers, lowered step by step.
#
# `dry_run` says what it would take, from a step that it makes and forgets.

# %%
config = LoraConfig(
    rank=8, targets=("attention", "mlp"), steps=STEPS, batch=4, crop_seconds=5, learning_rate=4e-3, held_out=0.2, seed=7
)
plan = lab.train(songs, config, folder=Path(desk.name) / "zafu", dry_run=True)
print(plan)

# %% [markdown]
# ## Train
# It works beside you: between two steps the session answers whatever else you ask. The take below, the one to compare with, is
# made while it trains. `run.stop()` would keep what there is, and the same call would go on from there; without a `folder` it
# is kept in the library.

# %%
ask = Recipe("zafu, drum and bass", "[Instrumental]", seconds=5, seed=501, bpm=172, keyscale="A minor", thinking=False)
run = lab.train(songs, config, folder=Path(desk.name) / "zafu")
bare = lab.make(ask)
adapter = run.result()
run

# %% [markdown]
# ## Did it learn?
# The running loss is that of the lessons it just heard. Each came with another `t` and another noise, and near `t = 1` the loss
# is several times that near 0: so mostly it says which times were drawn.
#
# So some songs are **held out**: never learnt from, and always asked at the same times with the same noise. Now the only thing that
# differs from one value to the next is the adapter.
#
# **Predict, then look:** at which time does it learn most: near the noise (t = 1), or near the song (t = 0)?

# %%
running = [loss.loss for loss in run.curve]
print(f"running loss: from {min(running):.2f} to {max(running):.2f}, a step differs from the next by "
      f"{np.abs(np.diff(running)).mean():.2f} on average\n")  # fmt: skip
steps = [loss.step for loss in run.held_out_curve]
assert run.held_out_curve[-1].loss < run.held_out_curve[0].loss
LineChart(
    "Songs that it never learnt from",
    Axis("training step"),
    Axis("loss (mean squared error of the direction)"),
    tuple(
        Line(f"t = {t}", steps, [loss.losses[t] for loss in run.held_out_curve])
        for t in run.held_out_curve[0].losses
    ),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# Compare where each line begins and ends. Near the noise (t = 0.9) nothing is decided yet: *who plays* is decided there, and there is
# most to be learnt. Near t = 0 most of the song is there to be heard, and the bare model knew already how to take a little noise away.
#
# </details>
#
# The whole of what it learnt is this file:

# %%
weights = adapter / "last" / "adapter_model.safetensors"
tensors = load_file(weights)
a = next(one for name, one in tensors.items() if "lora_A" in name)
b = next(one for name, one in tensors.items() if "lora_B" in name)
print(f"A {a.shape} and B {b.shape}: {a.size + b.size:,} numbers for a matrix of {b.shape[0] * a.shape[1]:,}")
print(
    f"{sum(one.size for one in tensors.values()):,} numbers in {len(tensors)} matrices, {weights.stat().st_size:,} bytes"
)
assert sum(one.size for one in tensors.values()) == plan.parameters
print("sha256", hashlib.sha256(weights.read_bytes()).hexdigest(), "(the same when you run this again on this machine)")

# %% [markdown]
# ## Hear it
# The same words, the same seed. Without:

# %%
bare

# %% [markdown]
# With:

# %%
lab.lora(adapter)
taught = lab.make(ask)
taught

# %% [markdown]
# ## Measure it
# One take proves nothing. So the same words and seeds, all with it and all without, judged by an ear that was not there when it
# was taught. Two more rows tell what the numbers mean:
#
# - **without** is *chance*: what these words give anyway (adapter on, at strength 0: we shall see that this is the bare model);
# - **the songs** are the *ceiling*: nobody should play more percussion than they do.


# %%
def asked(number, tag="zafu, "):
    """Words like those of the songs, of styles both taught and not, in tempi and keys of their own."""
    style = list(STYLES)[-1 - number]
    written = compose(500 + number, seconds=5, style=style)
    return Recipe(f"{tag}{style}", "[Instrumental]", seconds=5, seed=500 + number, bpm=written.bpm,
                  keyscale=written.keyscale, thinking=False)  # fmt: skip


def treble(sound):
    """Share of a sound's energy above 2.5 kHz, where shakers are."""
    power = np.abs(np.fft.rfft(sound.samples.mean(axis=0))) ** 2
    return float(power[round(2500 * sound.seconds) :].sum() / power.sum())


def row(name, sounds):
    heard = [dict(lab.analyze(sound).instruments) for sound in sounds]
    others = [np.mean([p for stem, p in one.items() if stem not in ("woodwinds", "percussion")]) for one in heard]
    print(f"{name:<22} {np.mean([one['percussion'] for one in heard]):10.2f} "
          f"{np.mean([one['woodwinds'] for one in heard]):10.2f} {np.mean(others):11.2f} "
          f"{np.mean([treble(sound) for sound in sounds]):10.3f} {len(sounds):4d}")  # fmt: skip


recipes = [asked(number) for number in range(TAKES)]
takes = {}
for strength in (0.0, 0.5, 1.0):
    lab.lora((adapter, strength))
    takes[strength] = [lab.make(recipe) for recipe in recipes]
no_tag = {}
for strength in (0.0, 1.0):
    lab.lora((adapter, strength))
    no_tag[strength] = [lab.make(asked(number, tag="")) for number in range(TAKES)]

print(" " * 22, "percussion  woodwinds  the others  > 2.5 kHz    n")
row("without (chance)", [take.audio for take in takes[0.0]])
row("strength 0.5", [take.audio for take in takes[0.5]])
row("strength 1", [take.audio for take in takes[1.0]])
row("no tag: without", [take.audio for take in no_tag[0.0]])
row("no tag: strength 1", [take.audio for take in no_tag[1.0]])
row("the songs (ceiling)", [song.audio() for song in songs])

# %% [markdown]
# Read it with care. A difference of less than about 0.15 between two rows of eight takes is nothing. What is left:
#
# - **Percussion** was rarely there and now mostly is, and with it the treble. That is what it was taught, and no word asked for it.
# - **Woodwinds** were there without it: this model answers an unknown word such as the tag with them. There the adapter proves
#   nothing; only the rows without the tag can say whether it brings them.
# - **The tag hardly matters.** With it or without it, the adapter adds about as much. Each song had the tag, so the adapter never
#   met music that has none, and learnt to act always. For a switch by word you would have to mix in ordinary songs without it.
# - **Strength is the switch.** It stands before `B·A`: 0 is the bare model, 0.5 half of the change.
#
# ## Strength, from 0 to 1
# Half of it:

# %%
lab.lora((adapter, 0.5))
lab.make(ask)

# %% [markdown]
# And none of it: the same bytes as without.

# %%
lab.lora((adapter, 0.0))
assert np.array_equal(lab.make(ask).audio.samples, bare.audio.samples)
print(lab.adapters[0][0], "is on at strength", lab.adapters[0][2], "and changes nothing")

# %% [markdown]
# ## Forget
# `W` was never touched. Take the adapter off, and the model is the one from before, to the last byte.

# %%
lab.lora()
assert lab.adapters == ()
assert np.array_equal(lab.make(ask).audio.samples, bare.audio.samples)
print("forgotten")

# %% [markdown]
# ## Exercises
# Put your answer in the place of `...` and run the cell.
#
# **1.** A layer of a large model is a matrix of 2,048 × 2,048. How many numbers has a LoRA of rank 64 beside it, as a share of the
# matrix's own?

# %%
answer = ...
check("07.1", answer)

# %% [markdown]
# **2.** What is added to the matrix of `a` and `b` above at strength 0.5? An array as large as `W`. (`config.alpha` is α, and
# `config.rank` is r.)

# %%
answer = ...
check("07.2", answer, a, b, config)

# %% [markdown]
# **3.** At which of its times did the held-out loss fall by the largest *share* of what it was at first? The time, as a number.

# %%
answer = ...
check("07.3", answer, run.held_out_curve)

# %% [markdown]
# **A harder question.** Leave the guessed captions in, teach again, and ask for "zafu, rock with guitar": who plays? Then strength 1.5, and
# −1: what is the opposite of a flute? And with a folder of your own (`Dataset.scan("…")`), write down *before* you train what you will
# measure.
#
# ## Words
# - **LoRA**, **adapter**: two thin matrices beside each of the model's; what they change. **Rank**: how thin. **Strength**: how much of it.
# - **label**: what is said of a song, and by whom. **Tag**: a word that means the songs. **Held out**: never learnt from.
# - **loss**: how wrong the model is, as one number. **t**: how much of what it sees is noise.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md).
