"""The pretended card notices what a real one would: a tensor on the wrong side, a wait for a number, copies, kernels, bytes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from tests.phantom import PhantomCard


def test_a_tensor_left_on_the_host_raises() -> None:
    with PhantomCard() as card, pytest.raises(Exception, match="device"):
        card.tensor(3, 4) @ torch.empty(4, 5, dtype=torch.bfloat16)


def test_a_number_asked_for_on_the_host_raises() -> None:
    with PhantomCard() as card:
        for ask in (lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: bool(x.any())):
            with pytest.raises(Exception, match=r"item|local_scalar|tolist|nonzero|Fake"):
                ask(card.tensor(3))


def test_bytes_kernels_and_copies_are_counted() -> None:
    with torch.device("meta"):
        layer = nn.Linear(64, 32)
    with PhantomCard() as card:
        card.holds(layer, torch.float16)
        x = card.tensor(10, 64, dtype=torch.float16)
        with card.counting(layer, x) as count:
            y = layer(x).view(5, 64)
            y = (y + torch.as_tensor(1.0, device=card.device)).cpu()
            assert y.shape == (5, 64)
    assert count.launches["addmm"] == 1
    assert count.launches["view"] == 0
    assert [(at, to) for at, to, _ in count.copies] == [("cpu", "card"), ("card", "cpu")]
    assert count.peak >= 10 * 32 * 2


def test_attention_is_one_kernel_without_a_square_of_scores() -> None:
    with PhantomCard() as card:
        q = card.tensor(1, 8, 5000, 64)
        with card.counting(q) as count:
            out = scaled_dot_product_attention(q, q, q)
    assert out.shape == q.shape
    assert count.kernels == 1
    assert count.peak == q.nbytes
