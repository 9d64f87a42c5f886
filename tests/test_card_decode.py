"""Decoders at work on a pretended card: what is copied, how much lives there, and nothing on the wrong side."""

import pytest
import torch

from acestep_lab._libraries import diffusers
from acestep_lab.engines.ace15 import attention
from acestep_lab.engines.ace15.codec import Codec
from acestep_lab.engines.ace15.fast_vae import prepare_vae
from acestep_lab.engines.card_tiles import CardTiles
from acestep_lab.models.assembly import empty
from acestep_lab.models.component_spec import WorkingMemory
from acestep_lab.models.pinned import Streamed
from tests.phantom import PhantomCard


class PhantomLanes:
    """Lanes of a pretended card: everything happens at once and in order."""

    watch = None

    def __init__(self, card):
        self.card = card

    def pinned(self, shape, dtype):
        return torch.empty(tuple(shape), dtype=dtype)

    def room(self, size):
        return torch.empty(size, dtype=torch.uint8, device=self.card.device)

    def holds(self, tensor):
        return tensor.device.type == self.card.device.type

    def copy(self, what, pairs, after=()):
        for into, source in pairs:
            into.copy_(source)

    def mark(self):
        return None

    def work_after(self, mark):
        pass

    def wait(self, mark):
        pass
