"""A small multilayer perceptron in numpy: standardised features in, one probability per label out. Knows no sound."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np


@dataclass(frozen=True)
class Classifier:
    """One hidden layer; labels are independent (sigmoid) or exclusive (softmax)."""

    labels: tuple[str, ...]
    exclusive: bool
    centre: np.ndarray  # [features]
    scale: np.ndarray  # [features]
    weights: tuple[np.ndarray, ...]  # w1 [features, hidden], b1, w2 [hidden, labels], b2

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities `[songs, labels]` of features `[songs, features]`."""
        return _forward(np.clip((features - self.centre) / self.scale, -5, 5), self.weights, self.exclusive)[1]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an .npz, weights as half floats."""
        target = Path(path)
        arrays: dict[str, Any] = {f"w{i}": weight.astype(np.float16) for i, weight in enumerate(self.weights)}
        arrays |= {"centre": self.centre.astype(np.float32), "scale": self.scale.astype(np.float32)}
        arrays |= {"labels": np.array(self.labels), "exclusive": np.array(self.exclusive)}
        np.savez_compressed(target, **arrays)
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        with np.load(path, allow_pickle=False) as file:
            weights = tuple(file[f"w{i}"].astype(np.float32) for i in range(4))
            return cls(
                tuple(str(x) for x in file["labels"]), bool(file["exclusive"]), file["centre"], file["scale"], weights
            )


def _forward(x: np.ndarray, weights: tuple[np.ndarray, ...], exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hidden activations and probabilities."""
    w1, b1, w2, b2 = weights
    hidden = np.maximum(x @ w1 + b1, 0)
    logits = hidden @ w2 + b2
    if not exclusive:
        return hidden, 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return hidden, power / power.sum(axis=1, keepdims=True)


def train(
    features: np.ndarray, targets: np.ndarray, labels: tuple[str, ...], *, exclusive: bool = False, hidden: int = 48,
    epochs: int = 60, decay: float = 2e-3, rate: float = 3e-3, seed: int = 0,
) -> Classifier:  # fmt: skip
    """Fit to features `[songs, features]` and targets `[songs, labels]` of 0 and 1 (AdamW, dropout, cosine)."""
    random = np.random.Generator(np.random.PCG64(seed))
    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    x = np.clip((features - centre) / scale, -5, 5).astype(np.float32)
    shapes = ((x.shape[1], hidden), (hidden,), (hidden, len(labels)), (len(labels),))
    weights = [random.standard_normal(s).astype(np.float32) * (2 / s[0]) ** 0.5 * (len(s) > 1) for s in shapes]
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    batch, step, steps = 64, 0, epochs * -(-len(x) // 64)
    for _ in range(epochs):
        order = random.permutation(len(x))
        for at in range(0, len(x), batch):
            pick = order[at : at + batch]
            noisy = (x[pick] + 0.1 * random.standard_normal((len(pick), x.shape[1]), np.float32)).astype(np.float32)
            gradients = _gradients(noisy, targets[pick], weights, exclusive, random)
            step += 1
            speed = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for i, gradient in enumerate(gradients):
                first[i] += 0.1 * (gradient - first[i])
                second[i] += 0.01 * (gradient**2 - second[i])
                move = (first[i] / (1 - 0.9**step)) / (np.sqrt(second[i] / (1 - 0.99**step)) + 1e-8)
                weights[i] = weights[i] - speed * (move + decay * 10 * weights[i] * (weights[i].ndim > 1))
    return Classifier(labels, exclusive, centre, scale, tuple(weights))


def _gradients(
    x: np.ndarray, targets: np.ndarray, weights: list[np.ndarray], exclusive: bool, random: np.random.Generator
) -> list[np.ndarray]:
    """Of the mean cross entropy, with a third of the inputs dropped."""
    x = x * ((random.random(x.shape) < 0.7) / 0.7)
    hidden, probability = _forward(x, tuple(weights), exclusive)
    error = (probability - targets) / len(x)
    back = (error @ weights[2].T) * (hidden > 0)
    return [g.astype(np.float32) for g in (x.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0))]
