"""How long a stage must take on this machine at least: its arithmetic and its traffic, counted from configs alone.

It knows no weights and runs no model. A roofline is the larger of arithmetic / peak arithmetic and bytes / peak bandwidth
(the roofline of Williams et al. 2009); a measured time beside it says how well a machine is used.

    work = dit_step(checkpoint.config("dit"), frames=250, tokens=351)
    work.roofline(measured_peak(torch.bfloat16))            # seconds
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Peak:
    """What a machine can do at best."""

    flops: float  # per second; a multiplication with its addition counts two
    bandwidth: float  # bytes per second


@dataclass(frozen=True)
class Work:
    """What a stage has to do: arithmetic, and weights and states that must be read."""

    flops: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float) -> Work:
        return Work(self.flops * times, self.bytes * times)

    def roofline(self, peak: Peak) -> float:
        """Seconds below which it cannot be done, if arithmetic and traffic overlap perfectly."""
        return max(self.flops / peak.flops, self.bytes / peak.bandwidth)


# --- the stages ------------------------------------------------------------------------------------------------------


def dit_step(config: Config, frames: int, tokens: int, items: int = 1, size: float = 2) -> Work:
    """One look of the DiT at `frames` latent frames listening to `tokens` states, `size` bytes per number.

    The least there is: windows without a dense mask, keys and values of what is listened to kept from the first step.
    """
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    heads, shared, head = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    steps = math.ceil(frames / config["patch_size"])
    kinds = config.get("layer_types") or [("sliding_attention", "full_attention")[i % 2] for i in range(layers)]
    window = min(steps, 2 * config["sliding_window"] + 1)
    own = width * head * (2 * heads + 2 * shared) + 2 * width * heads * head + 3 * width * config["intermediate_size"]
    ends = config["patch_size"] * width * (config["in_channels"] + config["audio_acoustic_hidden_dim"])
    times = 2 * (256 * width + 7 * width**2)
    seen = sum(window if kind == "sliding_attention" else steps for kind in kinds) + layers * tokens
    flops = 2 * items * (steps * (layers * own + ends) + times) + 4 * items * steps * seen * heads * head
    kept = 2 * layers * tokens * shared * head * items
    return Work(flops, size * (layers * own + ends + times + kept))


def decode(config: Config, frames: int, size: float = 2) -> Work:
    """A VAE decoding `frames` latent frames: every convolution once over its output."""
    ratios, multiples = list(config["downsampling_ratios"]), [1, *config["channel_multiples"]]
    base, steps = config["decoder_channels"], frames
    width = base * multiples[-1]
    flops = weights = 0.0
    flops += 2 * steps * 7 * config["decoder_input_channels"] * width
    weights += 7 * config["decoder_input_channels"] * width
    for stage in range(len(ratios) - 1, -1, -1):
        narrower, stride = base * multiples[stage], ratios[stage]
        flops += 2 * steps * 2 * stride * width * narrower
        weights += 2 * stride * width * narrower
        steps, width = steps * stride, narrower
        flops += 2 * steps * 3 * 8 * width**2
        weights += 3 * 8 * width**2
    flops += 2 * steps * 7 * width * config["audio_channels"]
    return Work(flops, size * weights)


def encode_sound(config: Config, frames: int, size: float = 2) -> Work:
    """A VAE encoding a sound of `frames` latent frames."""
    ratios, multiples = list(config["downsampling_ratios"]), [1, *config["channel_multiples"]]
    base, steps = config["encoder_hidden_size"], frames * math.prod(config["downsampling_ratios"])
    flops = 2.0 * steps * 7 * config["audio_channels"] * base
    weights = 7.0 * config["audio_channels"] * base
    for stage, stride in enumerate(ratios):
        width, wider = base * multiples[stage], base * multiples[stage + 1]
        flops += 2 * steps * 3 * 8 * width**2
        steps //= stride
        flops += 2 * steps * 2 * stride * width * wider
        weights += 3 * 8 * width**2 + 2 * stride * width * wider
    flops += 2 * steps * 3 * base * multiples[-1] * base
    return Work(flops, size * (weights + 3 * base**2 * multiples[-1]))


def read(config: Config, tokens: int, layers: int | None = None, size: float = 2) -> Work:
    """A transformer encoder (text, lyrics or timbre) reading `tokens` tokens in `layers` layers (None: the config's)."""
    count = config["num_hidden_layers"] if layers is None else layers
    own, heads = _block(config), config["num_attention_heads"] * config["head_dim"]
    return Work(2 * tokens * count * own + 4 * tokens * tokens * heads * count, size * count * own)


def encode(text: Config, condition: Config, words: int, lyrics: int, timbre_frames: int, size: float = 2) -> Work:
    """Text, lyrics and timbre becoming states: the text encoder once, the condition encoder's two stacks once."""
    lyric_layers, timbre_layers = (
        condition["num_lyric_encoder_hidden_layers"],
        condition["num_timbre_encoder_hidden_layers"],
    )
    return (
        read(text, words, None, size)
        + read(condition, lyrics, lyric_layers, size)
        + read(condition, timbre_frames, timbre_layers, size)
    )


def plan_token(config: Config, context: int, head_rows: int | None = None, rows: int = 1, size: float = 2) -> Work:
    """The planner saying one more token after `context` others, in `rows` rows sharing the weights (2 with guidance).

    `head_rows` is how much of the vocabulary is scored (None: all): the codes alone in the code phase.
    """
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    weights = layers * _block(config) + (head_rows or config["vocab_size"]) * width
    kept = 2 * layers * config["num_key_value_heads"] * config["head_dim"] * context * rows
    asked = 4 * layers * config["num_attention_heads"] * config["head_dim"] * context * rows
    return Work(2 * weights * rows + asked, size * (weights + kept))


def _block(config: Config) -> int:
    """Weights of one layer of self-attention and SwiGLU."""
    width, head = config["hidden_size"], config["head_dim"]
    attention = width * head * (2 * config["num_attention_heads"] + 2 * config["num_key_value_heads"])
    return attention + 3 * width * config["intermediate_size"]


# --- the machine -----------------------------------------------------------------------------------------------------


def measured_peak(dtype: torch.dtype, device: str | torch.device = "cpu", seconds: float = 0.5) -> Peak:
    """What this machine does at best in about so many seconds, by a clock on the wall: run it while it is quiet."""
    return Peak(measured_flops(dtype, device, seconds / 2), measured_bandwidth(device, seconds / 2))


def measured_flops(dtype: torch.dtype, device: str | torch.device = "cpu", seconds: float = 0.25) -> float:
    """Arithmetic per second of a matrix product: of the DiT's shape on a CPU; of one that fills an accelerator, there."""
    import torch

    rows, width, out = (512, 2048, 2048) if torch.device(device).type == "cpu" else (8192, 4096, 4096)
    one, other = torch.randn(rows, width).to(device, dtype), torch.randn(out, width).to(device, dtype)
    return 2 * rows * width * out / _took(lambda: torch.nn.functional.linear(one, other), device, seconds)


def measured_bandwidth(device: str | torch.device = "cpu", seconds: float = 0.25) -> float:
    """Bytes read per second from memory, by summing 128 MB, more than any cache holds; 512 MB where a launch weighs as much."""
    import torch

    numbers = torch.ones(2**25 if torch.device(device).type == "cpu" else 2**27, device=device)
    return numbers.nbytes / _took(numbers.sum, device, seconds)


def _took(work: Callable[[], object], device: str | torch.device, seconds: float) -> float:
    """The least seconds a piece of work took, repeated for about `seconds`, at least three times: a peak is the best seen."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    once()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(once())
    return min(times)
