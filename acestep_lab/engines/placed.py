"""What a loop is led by, beside the module that hears it. Knows no model and no loop: only tensors and where a module is.

A step of a loop brings its latent to the card and takes a velocity home; conditions and context, which are the same in every step,
are brought once::

    placed = Placed()                               # one for each run
    placed.beside(states, dit.scale_shift_table)    # in the module's dtype, on its device; a second time: the same tensor
"""

from __future__ import annotations

from torch import Tensor

from acestep_lab.models.written import own


class Placed:
    """Tensors of one run where a module is: brought once, and again only where it has moved, or computes in another dtype."""

    def __init__(self) -> None:
        self._kept: dict[
            int, tuple[Tensor, Tensor]
        ] = {}  # by the identity of a tensor, which is held, so that it stays its own
        self._masks: dict[int, tuple[Tensor, bool]] = {}

    def beside(self, tensor: Tensor, like: Tensor) -> Tensor:
        """The tensor on the device of `like`, numbers in its dtype; one row said many times (expanded) stays one in memory."""
        dtype = like.dtype if tensor.is_floating_point() else tensor.dtype
        known = self._kept.get(id(tensor))
        if known is None or known[1].device != like.device or known[1].dtype != dtype:
            once = tuple(slice(0, 1) if step == 0 else slice(None) for step in tensor.stride())
            known = self._kept[id(tensor)] = tensor, own(tensor[once].to(like.device, dtype)).expand(tensor.shape)
        return known[1]

    def mask_beside(self, mask: Tensor, like: Tensor) -> Tensor | None:
        """The same for a mask of True and False; None for one that leaves nothing out, which is asked once."""
        if id(mask) not in self._masks:
            self._masks[id(mask)] = mask, bool(mask.all())
        return None if self._masks[id(mask)][1] else self.beside(mask, like)
