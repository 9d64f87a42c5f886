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
# **What this lesson teaches.** ACE-Step v1 and ACE-Step 1.5 answer the same three questions differently: how frames of a song
# look at each other, what a song is made *into* before a model touches it, and how noise becomes that. We measure all three,
# then hold what is written about v1 against what its classes say.
#
# What is here: the pocket, small, trained, built like 1.5. And v1's classes at their true sizes, **without weights**: they are
# not published with this package. So nothing of v1 is *played* below unless `ace-step-v1` is installed on your machine; its
# sizes, its costs and what it throws away can be measured all the same.

# %%
import statistics
import time

import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from acestep_lab import Audio, Session
from acestep_lab._libraries import transformers
from acestep_lab.diffusion.sampler import rotate_noise
from acestep_lab.engines.ace_v1 import dcae, geometry, languages, layout, schedules
from acestep_lab.engines.ace_v1.catalog import V1
from acestep_lab.engines.ace_v1.codec import EXPORT_RATE
from acestep_lab.engines.ace_v1.linear_attention import CrossAttention, LinearAttention, turned, turns
from acestep_lab.engines.ace_v1.log_mel import LogMel
from acestep_lab.engines.ace_v1.transformer import AceStepV1Transformer
from acestep_lab.engines.ace_v1.vocoder import Vocoder, VocoderConfig
from acestep_lab.evaluate.speed import installed, speeds
from acestep_lab.train.alignment import distance
from acestep_lab.train.synthetic_music import compose, render
from acestep_lab.ui.line_chart import Axis, Line, LineChart
from acestep_lab.ui.mel_image import mel_levels, sound_png

lab = Session.open()
lab.jobs.progress = False
here = installed()
print("installed here:", ", ".join(here))

# %% [markdown]
# ## 1 · How frames look at each other
# In attention every frame asks all others a question: a *query* meets every *key*, and the better they match, the more of that
# frame's *value* is taken. Twice the song: twice the frames, four times the pairs.
#
# v1 has both kinds. Frames look at the conditions (words, lyrics) by **softmax** attention; at each other by **linear** attention.
# Here is one layer of each, from its own classes, narrow and with random weights; the softmax layer is made to look at the
# frames as well.
#
# **Predict, then look:** which of the two is quicker for ten seconds of music? For four minutes? Where do they cross?

# %%
HEADS, HEAD = 4, 32
torch.manual_seed(0)
linear, softmax = LinearAttention(HEADS, HEAD).eval(), CrossAttention(HEADS, HEAD).eval()


def milliseconds(work, rounds=5):
    """The median of some rounds, after one that does not count."""
    took = []
    for _ in range(rounds + 1):
        start = time.thread_time()  # of this thread alone, whatever else the machine does
        work()
        took.append(1000 * (time.thread_time() - start))
    return statistics.median(took[1:])


def cost_of(seconds):
    """Milliseconds of each layer for so much music at v1's rate of frames."""
    frames = torch.randn(1, geometry.frames_of(seconds), HEADS * HEAD)
    by = turns(torch.arange(frames.shape[1])[None], HEAD, 1e6)
    return {
        "linear": milliseconds(lambda: linear(frames, by)),
        "softmax": milliseconds(lambda: softmax(frames, by, *softmax.prepare(frames, by), None)),
    }


lengths, threads = (10, 30, 60, 120, 240), torch.get_num_threads()
torch.set_num_threads(1)
with torch.inference_mode():
    costs = [cost_of(seconds) for seconds in lengths]
torch.set_num_threads(threads)
cost = {name: [one[name] for one in costs] for name in ("linear", "softmax")}


def slope(took):
    """The power of the length that the cost grew with, from one minute to four."""
    return np.log(took[-1] / took[2]) / np.log(lengths[-1] / lengths[2])


for name, took in cost.items():
    print(f"{name:>8}: " + "  ".join(f"{s} s {ms:.2f} ms" for s, ms in zip(lengths, took)) +
          f"   grows with length to the power {slope(took):.2f}")  # fmt: skip
LineChart(
    "One attention layer, 4 heads of 32, one thread",
    Axis("seconds of music", log=True, ticks=lengths),
    Axis("milliseconds (median of 5)", log=True),
    tuple(Line(name, lengths, took) for name, took in cost.items()),
)

# %% [markdown]
# ### Why
# Softmax needs `exp(q·k)` of every pair before anything can be summed. Linear attention takes `relu(q)·relu(k)` instead: a plain
# product, and products may be bracketed as one likes. `(q·k)·v` is a table of all pairs; `q·(k·v)` **sums first**: one small matrix
# holds all that any query will ever need to know of the song.

# %%
frames = torch.randn(1, 300, HEADS * HEAD)
by = turns(torch.arange(300)[None], HEAD, 1e6)
with torch.inference_mode():
    q, k, v = (linear.split(layer(frames)) for layer in (linear.to_q, linear.to_k, linear.to_v))
    q, k = turned(q, by).relu()[0].transpose(0, 1), turned(k, by).relu()[0].transpose(0, 1)  # [heads, frames, head]
    v = v[0].transpose(0, 1)
    pairs = q @ k.mT  # [heads, frames, frames]
    by_pairs = pairs @ v / pairs.sum(-1, keepdim=True)
    sums_first = q @ (k.mT @ v) / (q @ k.sum(1)[..., None])  # k.mT @ v: [heads, head, head], whatever the length
    mine = [linear.to_out(one.transpose(0, 1).flatten(1)) for one in (by_pairs, sums_first)]
    module = linear(frames, by)[0]

print("numbers kept meanwhile:", f"{pairs.numel():,} of all pairs, {(k.mT @ v).numel():,} of the sums")
print("largest difference to the module:", *(f"{float((one - module).abs().max()):.1e}" for one in mine))
assert all(torch.allclose(one, module, atol=1e-5) for one in mine)

# %% [markdown]
# What it pays: no weight can be sharp. Softmax can look at *one* frame and no other; a sum of products is a mean over many. 1.5 went
# back to softmax, lets every other layer see its neighbourhood only, and halves the frames in a patch.
#
# ## 2 · What a song is made into
# Neither model touches samples. 1.5's autoencoder (**Oobleck**) reads the waveform. v1's (**DCAE**) reads a picture, the *log-mel*:
# how loud each of 128 bands is, 86 times a second. A second model, the *vocoder*, has to make sound of the picture again.

# %%
with torch.device("meta"), torch.no_grad():  # true sizes, no memory: a tensor on "meta" has a shape and no numbers
    autoencoder = dcae.build().eval()
    mel = LogMel()
    latent = autoencoder.encode(torch.empty(1, 2, mel.bands, 80)).latent
    picture = autoencoder.decode(latent).sample
_, channels, heights, columns = latent.shape
mel_frames = picture.shape[-1] // columns
ours = lab.capabilities.latent
sizes = {  # name: (samples a second, channels of sound, frames a second, numbers in a frame)
    "v1: log-mel, DCAE": (mel.rate, 2, mel.rate / mel.hop / mel_frames, channels * heights),
    "1.5: Oobleck": (48_000, 2, 48_000 / np.prod((2, 4, 4, 6, 10)), 64),  # its published strides
    "pocket: Oobleck": (ours.rate, ours.audio_channels, ours.frames_per_second, ours.channels),
}
pd.DataFrame(
    {
        "frames a second": {name: f"{one[2]:.2f}" for name, one in sizes.items()},
        "numbers a frame": {name: one[3] for name, one in sizes.items()},
        "latent, kB a minute": {name: f"{2 * 60 * one[2] * one[3] / 1000:,.0f}" for name, one in sizes.items()},
        "sound, kB a minute": {name: f"{2 * 60 * one[0] * one[1] / 1000:,.0f}" for name, one in sizes.items()},
        "smaller by": {name: f"{one[0] * one[1] / one[2] / one[3]:.0f}×" for name, one in sizes.items()},
    }
)

# %% [markdown]
# (Two bytes a number, on both sides.) In numbers the two large ones hardly differ. In *kind* they do: a log-mel has no **phase**. It
# knows how loud, never where in its swing a wave is. And bands are wide:

# %%
filters = mel.filters()
hertz = torch.linspace(0, mel.rate / 2, len(filters), dtype=filters.dtype)
centres = (filters * hertz[:, None]).sum(0) / filters.sum(0)
for note, at in (("A2", 110.0), ("A4", 440.0), ("A6", 1760.0), ("A8", 7040.0)):
    low = centres[centres < at].max()
    high = centres[centres >= at].min()
    semitones = 12 * np.log2(float(high / low))
    print(f"{note} ({at:5.0f} Hz): the next bands are {high - low:4.0f} Hz apart, {semitones:.1f} semitones")

# %% [markdown]
# ### A round trip
# A song that no model made, so that we know the truth. Its way through the pocket's Oobleck and back is the real thing. v1's way is
# too where you have its checkpoint. Where not, a random DCAE would make noise and prove nothing. So we show what comes *before* it and
# cannot be undone: the picture is taken as perfect, and sound made of it by **Griffin–Lim**, which guesses a phase until sound and
# picture agree. Two stations: all frequencies kept (only phase is lost), and the 128 bands (the picture that DCAE reads).
#
# **Predict, then look and listen:** whose *loudness* survives: bass, middle, cymbals? Whose *waveform*? And does Oobleck give all of
# the waveform back?

# %%
master = Audio(render(compose(3, seconds=4, style="house"), mel.rate).mix, mel.rate).with_channels(1)
samples = torch.tensor(master.samples[0])
SIZE = {"n_fft": mel.n_fft, "hop_length": mel.hop, "window": torch.hann_window(mel.n_fft)}


def griffin_lim(loudness, rounds=32):
    """Sound of which a spectrum [bins, frames] could be: go back and forth, keep the loudness, take the phase that came."""
    phase = torch.rand(loudness.shape, generator=torch.Generator().manual_seed(0)) * 2 * np.pi
    spectrum, before = torch.polar(loudness, phase), 0
    for _ in range(rounds):
        found = torch.stft(torch.istft(spectrum, **SIZE, length=len(samples)), **SIZE, return_complex=True)
        pushed = found + 0.9 * (found - before)  # Perraudin 2013: a little further the same way
        spectrum, before = torch.polar(loudness, pushed.angle()), found
    return Audio(torch.istft(spectrum, **SIZE, length=len(samples)).numpy()[None], mel.rate)


loudness = torch.stft(samples, **SIZE, return_complex=True).abs()
bands = mel(torch.nn.functional.pad(samples, (256, 256)))  # its frames lie where those of `loudness` do
unmixed = (torch.linalg.pinv(filters.T).float() @ bands.exp()).clamp_min(0)
exact = (filters.T.float() @ loudness).clamp_min(1e-5).log()
assert torch.allclose(bands.exp()[:, 4:-4], exact.exp()[:, 4:-4], atol=1e-3)  # the picture DCAE reads, but for the ends
trips = {
    "the song": master,
    "spectrum, phase guessed": griffin_lim(loudness),
    "log-mel, phase guessed": griffin_lim(unmixed),
    "pocket's Oobleck": lab.decode(lab.encode(master)),
}
if "ace-step-v1" in here:
    v1 = Session.open("ace-step-v1")
    trips["v1's DCAE and vocoder"] = v1.decode(v1.encode(master))


# %%
BANDS = {"bass": (30, 150), "middle": (150, 2000), "high": (2000, 6000), "cymbals": (6000, 11_500)}  # Hz


def compared(sound):
    """A sound and the song as the pocket has them: one channel at its rate, equally long."""
    made, true = (one.with_channels(1).resample(ours.rate).samples[0] for one in (sound, master))
    length = min(len(made), len(true)) // 480 * 480
    return made[:length], true[:length]


def only(samples, low, high):
    """What of a sound lies between two frequencies."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / ours.rate)
    return np.fft.irfft(np.where((hertz >= low) & (hertz < high), spectrum, 0))


def picture_of(samples):
    return mel_levels(Audio(samples[None].astype(np.float32), ours.rate), 300)


def alike(sound):
    """A row: how many dB the picture is off where there is something to see; how alike loudness and waveform are."""
    made, true = compared(sound)
    wanted = picture_of(true)
    floor = np.percentile(wanted, 99.5) - 60
    row = {"picture off, dB": np.abs(np.maximum(picture_of(made), floor) - np.maximum(wanted, floor)).mean()}
    for name, band in BANDS.items():
        a, b = only(made, *band), only(true, *band)
        each_20_ms = [one.reshape(-1, 480).std(axis=1) for one in (a, b)]
        row[f"{name}: loudness"] = np.corrcoef(*each_20_ms)[0, 1]
        row[f"{name}: waveform"] = np.corrcoef(a, b)[0, 1]
    return row


rows_of = pd.DataFrame({name: alike(sound) for name, sound in trips.items() if sound is not master}).round(2)
print("1 is the same, 0 has nothing in common\n")
print(rows_of.to_string())
for name, sound in trips.items():
    print(f"{name}: 4 s to the right, 40 Hz to 12 kHz upwards, 60 dB from dark to bright")
    made, _ = compared(sound)
    display(Image(sound_png(picture_of(made)), width=640, height=110))

# %% [markdown]
# Loudness survives everywhere, and of the waveform nothing does: two sounds under one picture. Now listen: the song,

# %%
trips["the song"]

# %% [markdown]
# from its log-mel,

# %%
trips["log-mel, phase guessed"]

# %% [markdown]
# and through the pocket.

# %%
trips["pocket's Oobleck"]

# %%
trips.get("v1's DCAE and vocoder", "v1's own round trip: install ace-step-v1 and run this lesson again.")

# %% [markdown]
# The pocket keeps the waveform up to 2 kHz. Above, it guesses too: it was trained to *sound* right there, not to be equal. So the
# difference is not that one guesses. v1 must guess every wave, in a second model that never saw the song; Oobleck may keep what matters,
# and learns what that is. (v1's trained vocoder guesses far better than Griffin–Lim. And the pocket is tiny and spends more numbers a
# second than either: take it as the kind, not as 1.5's quality.)
#
# ## 3 · How noise becomes music
# Both models use flow matching; the older way is DDPM. Of v1 one reads: *27 to 60 steps, where DDPM requires 1000 and more.* No
# network is needed to test that. Let "music" be five spots in a plane: then the best guess of the music, given a noisy point, is a
# formula, and whatever error is left is the sampler's.

# %%
fifths = 2 * np.pi * np.arange(5) / 5
SPOTS, SPREAD, COUNT = 1.3 * np.stack([np.sin(fifths), np.cos(fifths)], 1), 0.12, 1000


def exactly(random, count):
    """Points drawn from the music itself."""
    return SPOTS[random.integers(0, 5, count)] + SPREAD * random.standard_normal((count, 2))


def best_guess(x, signal, noise):
    """E[music | x] where x = signal · music + noise · (a standard normal): exact for a mixture of normals."""
    variance = (signal * SPREAD) ** 2 + noise**2
    apart = x[:, None] - signal * SPOTS  # [points, spots, 2]
    likely = -(apart**2).sum(-1) / (2 * variance)
    weight = np.exp(likely - likely.max(1, keepdims=True))
    guess = SPOTS + signal * SPREAD**2 / variance * apart
    return (weight[..., None] * guess).sum(1) / weight.sum(1)[:, None]


def flow(x, steps):
    """Euler along v = (x − guess) / t, on v1's own schedule."""
    times = (*schedules.times(steps), 0.0)
    for t, after in zip(times, times[1:]):
        yield x
        x = x + (after - t) * (x - best_guess(x, 1 - t, t)) / t
    yield x


KEPT = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))  # Ho 2020: the share of music left at each of 1000 times


def ddpm(x, steps, random=None):
    """Ancestral: go towards the guess, add new noise. Without `random` none is added: DDIM."""
    chain = np.append(KEPT[np.linspace(999, 0, steps).round().astype(int)], 1.0)
    for now, after in zip(chain, chain[1:]):
        yield x
        guess = best_guess(x, now**0.5, (1 - now) ** 0.5)
        if random is None:
            x = after**0.5 * guess + (1 - after) ** 0.5 * (x - now**0.5 * guess) / (1 - now) ** 0.5
        else:
            ratio = now / after
            mean = (after**0.5 * (1 - ratio) * guess + ratio**0.5 * (1 - after) * x) / (1 - now)
            x = mean + ((1 - ratio) * (1 - after) / (1 - now)) ** 0.5 * random.standard_normal(x.shape)
    yield x


def paths(title, states):
    """Four points on their way, over the music."""
    way = np.stack(list(states))[:, :4].transpose(1, 0, 2)  # [points, steps + 1, 2]
    way = np.concatenate([way, np.full((4, 1, 2), np.nan)], 1).reshape(-1, 2)
    spots = Line("the music", *exactly(np.random.default_rng(5), 200).T, joined=False)
    went = Line("4 points, from noise to music", *way.T, marked=False)
    return LineChart(title, Axis("first coordinate"), Axis("second coordinate"), (spots, went))


start = np.random.default_rng(1).standard_normal((COUNT, 2))
paths("Flow matching, 27 steps", flow(start, 27))

# %%
paths("DDPM, 27 steps", ddpm(start, 27, np.random.default_rng(2)))

# %% [markdown]
# **Predict, then look:** how does the error fall with the steps, and where does it stop falling?

# %%
along = np.linspace(0, np.pi, 16, endpoint=False)
AXES = np.stack([np.cos(along), np.sin(along)])
ROUND = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in fifths])


def seen(points):
    """Points on each of 16 axes, sorted. The spots are alike but for a fifth of a turn: so each point is turned to all five."""
    return np.sort(np.concatenate([points @ turn for turn in ROUND]) @ AXES, axis=0)


WANTED = seen(exactly(np.random.default_rng(3), 20 * COUNT))[10::20]


def error(points):
    """Sliced Wasserstein distance: how far points must move, seen along 16 axes, to lie as the music does."""
    return float(np.sqrt(((seen(points) - WANTED) ** 2).mean()))


def after(states):
    *_, x = states
    return error(x)


COUNTS = (1, 2, 4, 8, 16, 27, 40, 60, 125, 250, 500, 1000)
errors = {
    "flow, Euler": [after(flow(start, n)) for n in COUNTS[:10]],
    "DDPM": [after(ddpm(start, n, np.random.default_rng(2))) for n in COUNTS],
    "DDIM": [after(ddpm(start, n)) for n in COUNTS[:10]],
}
drawn = [error(exactly(np.random.default_rng(seed), COUNT)) for seed in range(20)]
floor = float(np.mean(drawn))
table = pd.DataFrame({name: pd.Series(found, COUNTS[: len(found)]) for name, found in errors.items()}).round(3)
print(
    f"{COUNT} points drawn exactly are off by {floor:.3f}, at most {max(drawn):.3f}: nothing can be told below that\n"
)
print(table.loc[[27, 40, 60, 1000]].rename_axis("steps").to_string(na_rep="–"))
for name, found in errors.items():
    enough = next((n for n, one in zip(COUNTS, found) if one <= max(drawn)), None)
    power = np.log(found[5] / found[8]) / np.log(COUNTS[5] / COUNTS[8])
    print(f"{name}: from 27 to 125 steps the error falls with their number to the power {power:.2f}; "
          f"as good as drawn exactly from {enough or 'no number of'} steps")  # fmt: skip
lines = [Line(name, COUNTS[: len(found)], found) for name, found in errors.items()]
lines.append(Line("drawn exactly", (1, 1000), (floor, floor), marked=False))
LineChart("Error against steps", Axis("steps", log=True), Axis("sliced Wasserstein distance", log=True), tuple(lines))

# %% [markdown]
# Straight lines: about half the error for twice the steps without dice, for four times with them. So the sentence is half true. Most of
# what is gained comes from *not throwing dice*: DDIM walks DDPM's own road as quickly as flow matching walks its. And here the guess is
# perfect: a network's own error is a floor as well, and no number of steps lowers that.
#
# ## 4 · What is written, and what is so
# Two documents describe v1: **A**, the architecture page of AceSteps' docs, and **B**, lofi.nvim's specification. We ask the classes.
# A number is right (✓) where the measured one, rounded to as many digits, is the same, or within 1 %.

# %%
with torch.device("meta"):
    config = geometry.V1Config()
    dit, vocoder = AceStepV1Transformer(config, projectors=True), Vocoder(VocoderConfig())
    umt5 = {"vocab_size": 256_384, "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12}
    words = transformers.UMT5EncoderModel(transformers.UMT5Config(**umt5))
block, MIB, GIB = dit.transformer_blocks[0], 2**20, 2**30


def numbers(module):
    return sum(one.numel() for one in module.parameters())


stored = {name: tuple(one.shape) for name, one in dit.state_dict().items()} | layout.uncalled(config)
in_file = sum(int(np.prod(shape)) for shape in stored.values())
never = sum(int(np.prod(shape)) for shape in layout.uncalled(config).values())
whole = 2 * in_file + 2 * numbers(autoencoder) + 2 * numbers(vocoder) + 4 * numbers(words)  # UMT5 is stored in float32
attentions = [type(one).__name__ for one in dit.modules() if isinstance(one, LinearAttention | CrossAttention)]
KINDS = {3: "waveform", 4: "log-mel"}  # a weight of a convolution over time, and of one over a picture
reads, gives = (KINDS[conv.weight.ndim] for conv in (autoencoder.encoder.conv_in, autoencoder.decoder.conv_out))

torch.manual_seed(0)
small = AceStepV1Transformer(geometry.V1Config.tiny()).eval()
with torch.inference_mode():
    one, other = torch.zeros(1, 9, small.config.dim), torch.zeros(1, 9, small.config.dim)
    other[:, 4] = 1
    changed = (small.transformer_blocks[0].ff(one, None) - small.transformer_blocks[0].ff(other, None)).abs().sum(-1)
    hears = int((changed > 0).sum())
    told = []  # what scales and shifts all blocks, at two times, then with other conditions
    small.t_block.register_forward_hook(lambda _, __, found: told.append(found))
    states = torch.randn(2, 1, 5, small.config.dim)
    for t, condition in ((0.5, states[0]), (0.7, states[0]), (0.5, states[1])):
        small.velocity(torch.ones(1, 8, 16, 4), torch.tensor([t]), condition, torch.ones(1, 5, dtype=torch.bool))
    follows = [what for what, now in (("time", told[1]), ("text", told[2])) if not torch.equal(now, told[0])]
    first, second = torch.randn(2, 100_000)
    mixed, rotated = float((0.5 * first + 0.5 * second).std()), float(rotate_noise(first, second, 0.5).std())
    heard = torch.randn(50, 8)
    doubled = float(distance(heard, 2 * heard))


def at_least(claim, found):
    return claim >= found


rows = [  # what, A says, B says, measured
    ("width of a token", 1536, 2560, block.attn.to_q.in_features),
    ("attention heads", 24, 20, block.attn.heads),
    ("numbers in a head", 64, 128, block.attn.to_q.out_features // block.attn.heads),
    ("blocks", 24, 24, len(dit.transformer_blocks)),
    ("its network widens by", 4, 2.5, block.ff.point_conv.conv.in_features / config.dim),
    ("frames its network hears", 1, None, hears),
    ("attentions that are linear, of 48", 48, None, attentions.count("LinearAttention")),
    ("what scales and shifts a block follows", "time and text", None, " and ".join(follows)),
    ("width of the text encoder's states", 1024, 768, dit.genre_embedder.in_features),
    ("width of the lyric encoder", None, 1024, dit.lyric_embs.embedding_dim),
    ("channels of a latent", 16, 8, channels),
    ("rows of a latent", None, 16, heights),
    ("latent frames in 30 s", 41_000, None, geometry.frames_of(30)),
    ("samples in a latent frame", 32, None, mel.hop * mel_frames),
    ("mel frames in a latent frame", None, 8, mel_frames),
    ("the autoencoder's encoder reads", "waveform", "waveform", reads),
    ("its decoder gives", "waveform", "log-mel", gives),
    ("autoencoder, million numbers", None, 100, numbers(autoencoder) / 1e6),
    ("autoencoder, MiB", None, 299, 2 * numbers(autoencoder) / MIB),
    ("vocoder, million numbers", None, 50, numbers(vocoder) / 1e6),
    ("vocoder, MiB", None, 197, 2 * numbers(vocoder) / MIB),
    ("transformer, billion numbers", None, 3.5, in_file / 1e9),
    ("transformer, GiB", None, 6.2, 2 * in_file / GIB),
    ("text encoder, million numbers", None, 300, numbers(words) / 1e6),
    ("all four, GiB", None, 7.7, whole / GIB),
    ("samples a second inside", 44_100, 44_100, mel.rate),
    ("samples a second handed out", 44_100, 48_000, EXPORT_RATE),
    ("languages it sings", 19, None, len(languages.NAMES)),
    ("steps where nothing is said", 27, 27, schedules.USUAL.steps),
    ("GiB on a card that holds one part at a time", 8, 1, max(V1.sizes.values()) / GIB, at_least),
    ("spread of a variation's start, by its formula", round(mixed, 2), None, rotated),
    ("REPA loss of features and their double", round(float((heard**2).mean()), 2), None, doubled),
]


def agrees(claim, found):
    """Whether a claim is what was measured, to as many digits as it has."""
    if isinstance(claim, str):
        return claim == found
    digits = len(str(claim).replace(".", "").strip("0"))
    return float(f"{found:.{max(1, digits)}g}") == claim or abs(found - claim) < 0.01 * abs(claim)


def plain(value):
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def said(claim, found, right=agrees):
    return "" if claim is None else f"{plain(claim)} {'✓' if right(claim, found) else '✗'}"


verdicts = pd.DataFrame(
    [(what, said(a, found, *how), said(b, found, *how), plain(found)) for what, a, b, found, *how in rows],
    columns=["", "A", "B", "measured"],
).set_index("")
for name in "AB":
    right, wrong = (int(verdicts[name].str.contains(mark).sum()) for mark in "✓✗")
    print(f"{name}: {right} of {right + wrong} right")
print(f"{len(stored)} tensors in the transformer's file, {in_file:,} numbers; {never:,} of them are never called")
verdicts

# %% [markdown]
# Where A is wrong about widths it quotes the *defaults of a class*, which the published config overrides. Its 16 channels are rows. Its
# "variation" adds noises whose spread falls below the 1 that the model was taught, where v1 *turns* one noise into another. Its REPA
# loss punishes a feature for its size, the true one compares directions. B's one gigabyte is what is busy, not what has to be there.
#
# Not measurable here, so no verdict: how good it sounds, "3–5× faster convergence", what a cloud costs, and A's example call, which
# is of a package that is not installed.
#
# ## 5 · What is installed, and how quick it is
# Seconds of music in a second of work, beside what is published for v1. Yours are measured now, with all that runs beside it; the
# others are claims. (`acestep-lab doctor --speed` prints the same.)

# %%
lab.free()
speeds(seconds=2)

# %% [markdown]
# Do not compare rows of different models: the pocket has a few million numbers, v1 three billion. And look at the RTX 3080: 16 GB
# are called for, and it has 10; whether its speed is one with parts kept elsewhere, the page does not say.
#
# ## Words
# - **linear attention**: attention whose weights are products, so that sums can be made once for all queries.
# - **latent**: what a model works on instead of sound. **Log-mel**: loudness by frequency band, no phase.
# - **phase**: where in its swing a wave is. **Vocoder**: what makes sound of a picture that lacks it.
# - **velocity**: the direction from music to noise. **DDPM, DDIM**: the older road, with dice and without.
# - **real-time factor**: seconds of music made in a second.
#
# ## Try it
# 1. Set `HEADS, HEAD = 1, 128`: as wide, one head. Which of the two lines moves, and why? (Look at what `sums_first` keeps.)
# 2. `SPREAD = 0.02`: smaller spots. Which sampler suffers most at 27 steps?
# 3. Take `style="waltz"` in the round trip. Does the picture get worse, or the waveform? If you have `ace-step-v1`, compare its row.
