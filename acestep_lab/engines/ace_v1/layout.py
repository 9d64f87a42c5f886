"""Which tensors of a published ACE-Step v1 transformer are read and which are left on the disk. Knows names and shapes only.

Its file holds 874 tensors. Cross-attention projections that the original never calls (`add_*`, `to_add_out`: 629 million numbers)
and the projectors of REPA, which only training needs (88 million), are left out by name. That the first are *there* makes the
original turn the keys of the conditions and heed their mask; our transformer always does both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from acestep_lab.engines.ace_v1.geometry import V1Config
from acestep_lab.errors import CheckpointError, shown

Shape = tuple[int, ...]


class Shaped(Protocol):
    """A tensor, or what a file's header says of one."""

    @property
    def shape(self) -> Shape: ...


Stored = TypeVar("Stored", bound=Shaped)

UNCALLED = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def uncalled(config: V1Config) -> dict[str, Shape]:
    """Names and shapes of the projections that are stored and never called."""
    found: dict[str, Shape] = {}
    for block in range(config.num_layers):
        for layer in UNCALLED:
            name = f"transformer_blocks.{block}.cross_attn.{layer}"
            found |= {f"{name}.weight": (config.dim, config.dim), f"{name}.bias": (config.dim,)}
    return found


def projectors(config: V1Config) -> dict[str, Shape]:
    """Names and shapes of REPA's projectors: three layers for each model that training listens with."""
    found: dict[str, Shape] = {}
    for index, width in enumerate(config.ssl_latent_dims):
        widths = (config.dim, 2 * config.dim, 2 * config.dim, width)
        for layer, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            name = f"projectors.{index}.{2 * layer}"
            found |= {f"{name}.weight": (after, before), f"{name}.bias": (after,)}
    return found


def without_unused(stored: Mapping[str, Stored], config: V1Config, keep_projectors: bool = False) -> dict[str, Stored]:
    """What is stored but for what is never called, and for REPA's projectors unless they are kept.

    A file may lack each of these groups as a whole, as one of ours does; CheckpointError where it has a part of one, or has it
    in other shapes.
    """
    left = dict(stored)
    for group in (uncalled(config), projectors(config)):
        _check_whole(stored, group)
        if not (keep_projectors and any(name.startswith("projectors.") for name in group)):
            left = {name: tensor for name, tensor in left.items() if name not in group}
    return left


def check(stored: Mapping[str, Stored], wanted: Mapping[str, Shape]) -> None:
    """CheckpointError naming the first tensor that is missing, over, or of another shape than the transformer's."""
    if missing := sorted(set(wanted) - set(stored)):
        raise CheckpointError(
            f"The weights lack {missing[0]} and {len(missing) - 1} more of the {len(wanted)} that a v1 transformer has."
        )
    if over := sorted(set(stored) - set(wanted)):
        raise CheckpointError(
            f"The weights hold {shown(over[0])}, for which a v1 transformer of this size has no place."
        )
    for name, shape in wanted.items():
        _check_shape(name, stored[name], shape)


def _check_whole(stored: Mapping[str, Stored], group: Mapping[str, Shape]) -> None:
    there = [name for name in group if name in stored]
    if there and len(there) < len(group):
        missing = next(name for name in group if name not in stored)
        raise CheckpointError(
            f"The weights lack {missing}, of which they hold {len(there)} of {len(group)} companions. Fetch the file again."
        )
    for name in there:
        _check_shape(name, stored[name], group[name])


def _check_shape(name: str, tensor: Shaped, shape: Shape) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise CheckpointError(
            f"The weights have {name} in the shape {list(tensor.shape)} where the config asks for {list(shape)}."
        )
