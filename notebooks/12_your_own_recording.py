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
# # 12 · Your own recording
#
# **For whom:** whoever has a melody, a loop or a song of their own, and wants to hear it as something else · **How long:** 40 minutes with
# listening; the machine works for about one of them · **You will be able to** cover a recording in five ways, say for each what it kept,
# keep a rhythm and change the harmony over it, and blend a recording with its cover · **Runs on** any laptop, with the model in this
# package.
#
# **What this lesson teaches.** A recording has a rhythm, a harmony and a sound. A cover keeps some of it and lets go of the rest, and there
# is not *one* cover but a handful of knobs for what is kept. Turn them one at a time, and measure rhythm and harmony apart.
#
# ## 1 · A recording
# So that this page runs anywhere, the recording is made here, by a small program that composes and plays. To bring your own,
# exchange the line `own = …` for the one below it; nothing else on this page changes. (Sounds of others: ask whose they are.)

# %%
import numpy as np

from acestep_lab import Audio, Recipe, Region, Session  # noqa: F401
from acestep_lab.lessons import check
from acestep_lab.listen.key import chroma_frames
from acestep_lab.listen.tempo import onset_envelope
from acestep_lab.train.synthetic_music import compose, render
from acestep_lab.ui.line_chart import Axis, Line, LineChart

SECONDS = 6

lab = Session.open()
lab.jobs.progress = False
own = Audio(render(compose(12, seconds=SECONDS, style="rock", bpm=120, keyscale="D minor"), 48_000).mix, 48_000)
# own = Audio.read("my recording.wav").cut(Region(0, SECONDS))
own

# %% [markdown]
# What the machine hears in it, and how sure it is:

# %%
heard = lab.analyze(own)
print(heard)

# %% [markdown]
# ## 2 · Five covers
# The new words are always the same, and so is the seed. What differs is *how much of the recording gets in, and by which door*:
#
# | cover | what the model is given of the recording |
# |---|---|
# | **codes** | five [codes](../acestep_lab/lessons/GLOSSARY.md) a second: rhythm and harmony, hardly any sound |
# | **half** | the codes too, but only for the first half of the steps; then words alone |
# | **latents** | the recording as it is, at full detail (`through_codes=False`) |
# | **noise** | codes, and the recording itself, half drowned in noise, as the place to start from (`noise_strength`) |
# | **timbre** | codes, and *another* take to lend its sound (`reference`) |
#
# **Predict, then listen:** which one stays nearest to the recording? Which one is furthest away?

# %%
WORDS = "warm lo-fi hip hop with soft keys and bass"
band = lab.make(Recipe("a bright tune with bells and strings", seconds=SECONDS, seed=3, thinking=False))
ways = {
    "codes": {},
    "half": {"strength": 0.5},
    "latents": {"through_codes": False},
    "noise": {"noise_strength": 0.5},
    "timbre": {"reference": band},
}
covers = {name: lab.cover(own, WORDS, seed=10, **way) for name, way in ways.items()}
covers["codes"]

# %%
covers["latents"]

# %%
covers["noise"]

# %%
covers["timbre"]

# %% [markdown]
# ## 3 · What was kept?
# Ears first, then numbers. **Rhythm:** when does something begin? That is a curve over time, the *onsets*; we correlate the cover's with
# the recording's. **Harmony:** how strong is each of the twelve pitch classes, moment by moment? That is the *chroma*; we correlate as well. 1 is
# the same, 0 has nothing in common. And a *control*, without which no number means anything: a take of the same words that never heard the
# recording.
#
# **Predict, then look:** where will the control lie?


# %%
def rhythm(sound):
    """Onsets at each fiftieth of a second."""
    curve, per_second = onset_envelope(sound)
    at = np.arange(0, SECONDS - 0.1, 0.02)
    return np.interp(at, np.arange(len(curve)) / per_second, curve)


def harmony(sound):
    """Strength of the twelve pitch classes in each third of a second."""
    rows = chroma_frames(sound)
    return np.concatenate([part.mean(axis=0) for part in np.array_split(rows, 3 * SECONDS)])


def kept(take):
    """How much of the recording's rhythm and harmony a take has, as two correlations."""
    sound, mine = take.audio.with_channels(1), own.with_channels(1).resample(take.audio.rate)
    return [float(np.corrcoef(what(mine), what(sound))[0, 1]) for what in (rhythm, harmony)]


control = lab.make(Recipe(WORDS, seconds=SECONDS, seed=10, thinking=False))
measured = {name: kept(take) for name, take in {**covers, "never heard it": control}.items()}
for name, (beat, chords) in measured.items():
    print(f"{name:>15}: rhythm {beat:5.2f}   harmony {chords:5.2f}")
LineChart(
    "What five covers keep of a recording",
    Axis("rhythm kept (correlation of onsets)"),
    Axis("harmony kept (correlation of chroma)"),
    tuple(Line(name, [beat], [chords], joined=False) for name, (beat, chords) in measured.items() if name != "timbre"),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# The control is the zero of this picture, and it need not lie at 0: any two pieces of pop music share beats and notes. What a cover *kept* is
# how far it lies beyond the control, to the right (rhythm) and upwards (harmony). *Noise* keeps nearly all: where a render starts decides
# more than what it is told. *Timbre* (in the list) lies where *codes* lies: another band's sound is neither rhythm nor harmony. And the widest
# door need not be the best one: look where *latents* lies. A model does with what it is given what it was taught to do with it, and no more.
#
# </details>
#
# ## 4 · Keep the rhythm, change the harmony
# No cover knob does that: the codes carry both. But **stems** come apart. Take the drums out of the recording, and let the model *complete* them in
# another key. What beats is yours; what sounds over it is new.

# %%
drums = lab.extract(own, "drums", seed=11)
moved = lab.complete(drums, ["bass", "keyboard"], "a soulful band with bass and keys", seed=13, keyscale="F# major", bpm=120)
moved

# %%
for name, take in {"drums alone": drums, "completed": moved}.items():
    beat, chords = kept(take)
    print(f"{name:>12}: rhythm {beat:5.2f}   harmony {chords:5.2f}   heard key {lab.analyze(take).keyscale}")

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# The completed one has some of the rhythm and nothing of the harmony, which is what was asked for. That it is heard in the new key is
# likely and not sure: a model of this size obeys a key as a beginner does, mostly. And *drums alone* have more harmony than drums should:
# what was taken out of a mix brings shadows of the others along (lesson 11 listens to them).
#
# </details>
#
# ## 5 · Blend
# Between your recording and its cover there is a road. `noise_strength` says how much of the recording stands where the render starts from: at
# 0 it starts from noise alone, near 1 it hardly has anything left to do.
#
# **Predict, then look:** does the recording come back evenly?

# %%
STARTS = (0.1, 0.25, 0.8)
latent = lab.encode(own)


def likeness(take):
    """The correlation of a take's latent with that of the recording."""
    length = min(len(latent), len(take.latent))
    return float(np.corrcoef(latent[:length].ravel(), take.latent[:length].ravel())[0, 1])


road = {0.0: covers["codes"], 0.5: covers["noise"]}
road |= {start: lab.cover(own, WORDS, seed=10, noise_strength=start) for start in STARTS}
starts = sorted(road)
LineChart(
    "From a cover back to the recording",
    Axis("noise_strength (share of the recording at the start)", ticks=tuple(starts)),
    Axis("likeness to the recording (correlation of latents)"),
    (Line("cover", starts, [likeness(road[start]) for start in starts]),),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# Not evenly: most of it is back long before the end. From there on you hear the recording in a new coat rather than a cover. For a cover with
# traces of its origin, look for the steep part and listen there.
#
# </details>
#
# And the oldest blend needs no model: both at once, at equal loudness. Since the cover kept rhythm and harmony, they play
# *together*.

# %%
cover = covers["codes"].audio
mine = own.resample(cover.rate).with_channels(cover.channels)
mine = mine.gain(cover.loudness() - mine.loudness())
length = min(mine.samples.shape[1], cover.samples.shape[1])
both = Audio(0.5 * mine.samples[:, :length] + 0.5 * cover.samples[:, :length], cover.rate)
both

# %% [markdown]
# ## Exercises
# Put your answer in the place of `...` and run the cell. What is right is found out from your own sounds.
#
# **1.** Hand in a cover of `own` that is more like the recording than `covers["noise"]`.

# %%
answer = ...
check("12.1", latent, covers["noise"], answer)

# %% [markdown]
# **2.** How long is one bar of the recording, in seconds, if what the machine heard is right?

# %%
answer = ...
check("12.2", answer, heard)

# %% [markdown]
# **3.** Codes are a score that you can cut. `codes = lab.codes(own)` are those of the recording: hand in a recipe whose task covers the same
# codes with their two halves exchanged.

# %%
answer, codes = ..., ...
check("12.3", answer, codes)

# %% [markdown]
# **A harder question.** Now the other way round: keep the harmony and change the rhythm. Which knob would you turn, or which stems would you
# take? Say before you try how the dot will move in the picture of part 3, and try.
#
# ## Words
# - **cover**: the rhythm and harmony of a sound in another sound. **Codes**: five numbers a second that carry both.
# - **onset**: where something begins. **Chroma**: how strong the twelve pitch classes are. **Control**: the same measure where there is nothing to
#   be found.
# - **stem**: one instrument of a mix. **Complete**: what a model plays to a stem. **Timbre**: the sound of an instrument, whatever it plays.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md). The codes are those of ACE-Step 1.5 (arXiv 2602.00744), a grid by finite scalar
# quantization (arXiv 2309.15505).
