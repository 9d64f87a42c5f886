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
# # 09 · Two architectures
#
# **For whom:** whoever wants to know why two models from one house differ, and has met a matrix · **How long:** 40 minutes; the machine works
# for less than one · **You will be able to** say what linear attention saves and pays, what a log-mel throws away, where a sampler's error
# comes from, and how to check what is written about a model · **Runs on** any laptop, with the model in this package.
#
# **What this lesson teaches.** ACE-Step v1 (arXiv 2506.00045) and ACE-Step 1.5 (arXiv 2602.00744) answer three questions differently: how
# frames of a song look at each other, what a song is made *into* before a model touches it, and how noise becomes that. We measure all three.
#
# Here are the pocket, small, trained, built like 1.5; and v1's classes at their true sizes, **without weights**. So nothing of v1 is
# *played* unless `ace-step-v1` is installed; its sizes, costs, and what it throws away can be measured all the same. First, a song that no
# model made:

# %%
import statistics
import time

import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from acestep_lab import Audio, Session
from acestep_lab.engines.ace_v1 import geometry
from acestep_lab.engines.ace_v1.linear_attention import CrossAttention, LinearAttention, turned, turns
from acestep_lab.engines.ace_v1.log_mel import LogMel
from acestep_lab.evaluate.speed import installed, speeds
from acestep_lab.lessons import check
from acestep_lab.lessons.five_spots import ddpm, error, exactly, flow
from acestep_lab.lessons.round_trip import Spectrum, kept, picture
from acestep_lab.lessons.written_about_v1 import claims
from acestep_lab.train.synthetic_music import compose, render
from acestep_lab.ui.line_chart import Axis, Line, LineChart
from acestep_lab.ui.mel_image import sound_png

lab = Session.open()
lab.jobs.progress = False
mel = LogMel()
song = Audio(render(compose(3, seconds=4, style="house"), mel.rate).mix, mel.rate).with_channels(1)
song

# %% [markdown]
# ## 1 · How frames look at each other
# In attention every frame asks all others a question: a *query* meets every *key*, and the better they match, the more of that frame's
# *value* is taken. Twice the song: four times the pairs.
#
# v1 has two kinds. Frames look at the words by **softmax** attention; at each other by **linear** attention (arXiv 2006.16236). Here is one layer
# of each, narrow, with random weights, and both look at frames.
#
# **Predict, then look:** which is quicker for ten seconds of music? For four minutes?

# %%
HEADS, HEAD = 4, 32
torch.manual_seed(0)
torch.set_num_threads(1)
linear, softmax = LinearAttention(HEADS, HEAD).eval(), CrossAttention(HEADS, HEAD).eval()


@torch.inference_mode()
def milliseconds(seconds, layer):
    """The median time of a layer for so much music, of this thread alone."""
    frames = torch.randn(1, geometry.frames_of(seconds), HEADS * HEAD)
    by, took = turns(torch.arange(frames.shape[1])[None], HEAD, 1e6), []
    for _ in range(6):
        start = time.thread_time()
        linear(frames, by) if layer is linear else softmax(frames, by, *softmax.prepare(frames, by), None)
        took.append(1000 * (time.thread_time() - start))
    return statistics.median(took[1:])


LENGTHS = (10, 30, 60, 120, 240)
cost = {name: [milliseconds(s, layer) for s in LENGTHS] for name, layer in (("linear", linear), ("softmax", softmax))}
LineChart(
    "One attention layer, 4 heads of 32, one thread of this machine",
    Axis("seconds of music", log=True, ticks=LENGTHS),
    Axis("milliseconds (median of 5)", log=True),
    tuple(Line(name, LENGTHS, took) for name, took in cost.items()),
)

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# On this log–log paper a slope of 1 means "twice the song, twice the time", a slope of 2 "four times". Softmax bends towards 2, linear stays
# near 1. Where the lines cross depends on the machine; that they do, does not.
#
# </details>
#
# **Why?** Softmax needs `exp(q·k)` of every pair before anything can be summed. Linear attention takes `relu(q)·relu(k)`: a plain product,
# and products may be bracketed as one likes. `(q·k)·v` is a table of all pairs; `q·(k·v)` **sums first**: one small matrix holds all that
# any query will ever need to know of the song.

# %%
frames, by = torch.randn(1, 300, HEADS * HEAD), turns(torch.arange(300)[None], HEAD, 1e6)
with torch.inference_mode():
    q, k, v = (linear.split(layer(frames)) for layer in (linear.to_q, linear.to_k, linear.to_v))
    q, k = turned(q, by).relu()[0].transpose(0, 1), turned(k, by).relu()[0].transpose(0, 1)  # [heads, frames, head]
    v = v[0].transpose(0, 1)
    pairs = q @ k.mT  # [heads, frames, frames]
    sums = k.mT @ v  # [heads, head, head], whatever the length
    by_pairs, sums_first = pairs @ v / pairs.sum(-1, keepdim=True), q @ sums / (q @ k.sum(1)[..., None])
print(f"kept meanwhile: {pairs.numel():,} numbers of all pairs, {sums.numel():,} of the sums")
print("the same result:", torch.allclose(by_pairs, sums_first, atol=1e-5))

# %% [markdown]
# What it pays: no weight can be sharp. Softmax can look at *one* frame and no other; a sum of products is a mean over many. 1.5 went back to
# softmax, lets every other layer see its neighbourhood only, and halves the frames in a patch.
#
# ## 2 · What a song is made into
# Neither model touches samples. 1.5's autoencoder (**Oobleck**) reads the waveform. v1's (**DCAE**) reads a picture, the *log-mel*: how loud each
# of 128 bands is, 86 times a second. A second model, the *vocoder*, makes sound of the picture again. In numbers they hardly differ: a second
# is 10.8 columns of 128 for v1, 25 frames of 64 for 1.5. In *kind* they do: a log-mel has no **phase**. It knows how loud, never where in its
# swing a wave is.
#
# So send the song there and back. Through the pocket's Oobleck that is the real thing. For v1 the picture is taken as perfect, and its phase is
# guessed by **Griffin–Lim**: once from all frequencies, once from the 128 bands.
#
# **Predict, then listen:** whose *loudness* survives: bass, cymbals? Whose *waveform*?

# %%
spectrum, filters = Spectrum(song, mel.n_fft, mel.hop), mel.filters()
bands = filters.T.float() @ spectrum.loudness  # the picture that DCAE reads
trips = {
    "spectrum, phase guessed": spectrum.guessed(spectrum.loudness),
    "log-mel, phase guessed": spectrum.guessed((torch.linalg.pinv(filters.T).float() @ bands).clamp_min(0)),
    "pocket's Oobleck": lab.decode(lab.encode(song)),
}
if "ace-step-v1" in installed():
    v1 = Session.open("ace-step-v1")
    trips["v1's DCAE and vocoder"] = v1.decode(v1.encode(song))
for name, sound in {"the song": song, **trips}.items():
    print(f"{name}: 4 s to the right, 40 Hz to 12 kHz upwards, 60 dB from dark to bright")
    display(Image(sound_png(picture(sound)), width=640, height=110))
pd.DataFrame({name: kept(sound, song) for name, sound in trips.items()}).round(2)

# %%
trips["log-mel, phase guessed"]

# %%
trips["pocket's Oobleck"]

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# 1 is the same, 0 has nothing in common. Loudness survives everywhere, and of the waveform nothing does where phase was guessed: two sounds
# under one picture. The pocket keeps the waveform up to 2 kHz; above, it guesses too, for it was trained to *sound* right there. (v1's trained
# vocoder guesses far better than Griffin–Lim, and the pocket is tiny: take them as kinds, not as qualities.)
#
# </details>
#
# ## 3 · How noise becomes music
# Both use flow matching (arXiv 2210.02747); the older way is DDPM (arXiv 2006.11239). Of v1 one reads: *27 to 60 steps, where DDPM requires
# 1000.* No network is needed to test that. Let "music" be five spots in a plane: the best guess of the music in a noisy point is then a
# formula (`acestep_lab/lessons/five_spots.py`), and whatever error is left is the sampler's.
#
# **Predict, then look:** how does the error fall with the steps, and is it flow matching or the missing dice that makes it fall quickly? (DDIM,
# arXiv 2010.02502, is DDPM's road without dice.)

# %%
SPREAD, COUNT = 0.12, 1000
start = np.random.default_rng(1).standard_normal((COUNT, 2))
COUNTS = (4, 8, 16, 27, 60, 125, 250, 1000)
music = exactly(np.random.default_rng(3), 20 * COUNT, SPREAD)
samplers = {
    "flow, Euler": lambda steps: flow(start, steps, SPREAD),
    "DDPM": lambda steps: ddpm(start, steps, SPREAD, np.random.default_rng(2)),
    "DDIM": lambda steps: ddpm(start, steps, SPREAD),
}
errors = {name: [error(list(walk(steps))[-1], music) for steps in COUNTS] for name, walk in samplers.items()}
floor = float(np.mean([error(exactly(np.random.default_rng(seed), COUNT, SPREAD), music) for seed in range(20)]))
lines = [Line(name, COUNTS, found) for name, found in errors.items()]
lines.append(Line("drawn exactly", (COUNTS[0], COUNTS[-1]), (floor, floor), marked=False))
LineChart("Error against steps", Axis("steps", log=True), Axis("sliced Wasserstein distance", log=True), tuple(lines))

# %% [markdown]
# <details><summary>What to see in it</summary>
#
# About half the error for twice the steps without dice, for four times with them. So the sentence is half true: most of what is gained comes from
# *not throwing dice*. And here the guess is perfect: a network's own error is a floor as well, and no number of steps lowers that.
#
# </details>
#
# ## 4 · What is written, and what is so
# Two documents describe v1: **A**, the architecture page of AceSteps' docs, and **B**, lofi.nvim's specification. We ask the classes. ✓: the same,
# rounded to as many digits, or within 1 %.

# %%
table = claims()
for name in "ab":
    said = [one.right(getattr(one, name)) for one in table]
    print(f"{name.upper()}: {said.count(True)} of {len(said) - said.count(None)} right")
pd.DataFrame([one.row() for one in table]).set_index("")

# %% [markdown]
# Where A is wrong about widths it quotes the *defaults of a class*, which the published config overrides. B's one gigabyte is what is
# busy, not what has to be there.
#
# ## 5 · What is installed, and how quick it is
# Seconds of music in a second of work: yours are measured now, with all that runs beside it; the others are what is published for v1.

# %%
lab.free()
speeds(seconds=2)

# %% [markdown]
# ## Exercises
# Put your answer in the place of `...` and run the cell.
#
# **1.** For 300 frames, all pairs are 90,000 numbers a head. From how many frames on are they more than the sums of a head of 32?

# %%
answer = ...
check("09.1", answer)

# %% [markdown]
# **2.** Hand in a sound with the *loudness* of `song`, whose middle band's waveform correlates with it by less than 0.5.

# %%
answer = ...
check("09.2", song, answer)

# %% [markdown]
# **3.** How many steps of flow matching come below the error of 125 steps of DDPM? The smallest of `COUNTS`.

# %%
answer = ...
check("09.3", answer, COUNTS, errors)

# %% [markdown]
# **A harder question.** Set `SPREAD = 0.02`: smaller spots. Which sampler suffers most at 27 steps, and why? (A [step](../acestep_lab/lessons/GLOSSARY.md)
# is long where the guess changes suddenly.)
#
# ## Words
# - **linear attention**: weights are products, so that sums can be made once for all queries. **Log-mel**: loudness by band, no phase.
# - **phase**: where in its swing a wave is. **Vocoder**: what makes sound of a picture that lacks it.
# - **DDPM, DDIM**: the older road, with dice and without. **Real-time factor**: seconds of music made in a second.
#
# More of them: [the glossary](../acestep_lab/lessons/GLOSSARY.md).
