"""A module asked the same again answers from memory, and notices everything that would change its answer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from acestep_lab.engines.ace15 import conditioning
from acestep_lab.engines.ace15.cache import remember
from acestep_lab.engines.ace15.conditioning import Reading
from tests.closeness import assert_near
from tests.tiny import TEXT, tiny_components


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return remember(nn.Linear(3, 2))


@torch.no_grad()
def test_the_same_question_is_answered_once_and_another_anew(layer: nn.Linear) -> None:
    x = torch.ones(1, 3)
    first = layer(x)
    assert layer(x.clone()) is first
    assert layer(input=x) is first
    assert not torch.equal(layer(2 * x), first)
    assert (layer.remembered.hits, layer.remembered.misses) == (2, 2)


@torch.no_grad()
def test_a_changed_weight_is_noticed(layer: nn.Linear) -> None:
    x = torch.ones(1, 3)
    first = layer(x)
    layer.weight.mul_(2)
    assert not torch.equal(layer(x), first)
    layer.weight = nn.Parameter(torch.zeros(2, 3))
    assert_near(layer(x)[0], layer.bias)


def test_nothing_is_kept_while_gradients_flow(layer: nn.Linear) -> None:
    x = torch.ones(1, 3)
    assert layer(x) is not layer(x)
    layer(x).sum().backward()
    assert layer.weight.grad is not None


@torch.no_grad()
def test_only_the_last_few_answers_are_kept() -> None:
    layer = remember(remember(nn.Linear(1, 1), entries=2), entries=9)
    for value in (0.0, 1.0, 0.0, 2.0, 0.0, 1.0):
        layer(torch.tensor([[value]]))
    assert (layer.remembered.hits, layer.remembered.misses) == (2, 4)


def test_the_silent_timbre_is_read_once_for_all_words() -> None:
    plain = tiny_components()["condition"]
    encoder = copy.deepcopy(plain)
    remember(encoder.timbre_encoder)
    torch.manual_seed(1)
    for tokens in (3, 5, 4):
        reading = Reading(torch.randn(tokens, TEXT), torch.randn(2 * tokens, TEXT))
        found = conditioning.fuse(encoder, [reading], 60).states
        torch.testing.assert_close(found, conditioning.fuse(plain, [reading], 60).states, atol=0, rtol=0)
    assert (encoder.timbre_encoder.remembered.hits, encoder.timbre_encoder.remembered.misses) == (2, 1)
