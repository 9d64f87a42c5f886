"""A module and the tensors that belong in it, put together. Knows neither layouts nor names of checkpoints."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from acestep_lab.errors import CheckpointError, LabError
from acestep_lab.models import weights

ODD_CONFIG = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, RuntimeError, StrictDataclassError,
    TypeError, ValueError,
)  # fmt: skip
"""What the classes of diffusers, transformers and torch raise when a config asks for a module that cannot be."""


def assemble(
    make: Callable[[], nn.Module],
    entries: Mapping[str, weights.Entry],
    folder: Path,
    dtype: torch.dtype | None = None,
    given: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """Build a module without memory, then hand it the stored tensors (and those given), strictly; ready for inference.

    `dtype` None is float32 whatever is stored, so that a CPU can compute with it.
    """
    given = dict(given or {})
    module, tied = fitting(make, entries, folder, given)
    dtype = dtype or torch.float32
    tensors = read(entries, dtype) | {name: _cast(tensor, dtype) for name, tensor in given.items()}
    module.load_state_dict(tensors, strict=not tied, assign=True)
    if tied:
        module.tie_weights()  # type: ignore[operator]
    return module.requires_grad_(False).eval()


def fitting(
    make: Callable[[], nn.Module], entries: Mapping[str, weights.Entry], folder: Path, given: Mapping[str, Tensor]
) -> tuple[nn.Module, set[str]]:
    """The module without memory, and the names it ties; CheckpointError unless every stored tensor has its place."""
    module = _made(make, folder)
    tensors = module.state_dict()
    wanted = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    tied = tied_names(module) - set(entries)
    weights.check({n: s for n, s in wanted.items() if n not in tied and n not in given}, entries, folder)
    for name, entry in entries.items():
        if entry.is_floating != tensors[name].is_floating_point():
            raise CheckpointError(f"In {weights.short(entry.file)}, {entry.key} is of the type {entry.dtype}.")
    for name, tensor in given.items():
        if tuple(tensor.shape) != wanted[name]:
            raise CheckpointError(
                f"{weights.short(folder)} has {name} {list(tensor.shape)} where {list(wanted[name])} belongs."
            )
    return module, tied


def _made(make: Callable[[], nn.Module], folder: Path) -> nn.Module:
    """The module without memory; CheckpointError where its config asks for one that cannot be."""
    try:
        return empty(make)
    except LabError:
        raise
    except ODD_CONFIG as reason:
        said = f"{type(reason).__name__}: {' '.join(str(reason).split())[:120]}"
        raise CheckpointError(
            f"The config of {weights.short(folder)} describes no module that can be made ({said}). Fetch it again."
        ) from reason


def empty(make: Callable[[], nn.Module]) -> nn.Module:
    """The module with its parameters on the meta device (no memory) and its buffers in place."""
    with parameters_without_memory(), quiet():
        return make()


DRAWING = threading.RLock()
"""Held by whoever draws from torch's own generator, of which there is one for all threads: modules are born with drawn weights,
before they read their own, and a training draws from a seed meanwhile."""


@contextmanager
def parameters_without_memory() -> Iterator[None]:
    """Modules made inside have their parameters on the meta device, in this thread and in no other.

    accelerate's `init_empty_weights` does the same for the whole process: two sessions that build at once left it switched
    on for ever, and every module made later came out empty.
    """
    with DRAWING:
        register, owner = nn.Module.register_parameter, threading.get_ident()

        def without_memory(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
            register(module, name, param)
            if param is not None and threading.get_ident() == owner:
                module._parameters[name] = nn.Parameter(param.detach().to("meta"), param.requires_grad)

        nn.Module.register_parameter = without_memory  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.register_parameter = register  # type: ignore[method-assign]


@contextmanager
def quiet() -> Any:
    """Without torch's word that diffusers' autoencoder uses the old weight norm, which its user cannot change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
        yield


MAPPED_AT_ONCE = 2**29
"""Bytes of tensors taken from a file before it is opened anew: until it is closed, all that was read of it counts as this process's memory
beside what was made of it, and a float32 copy of half precision is twice as large already."""


def read(entries: Mapping[str, weights.Entry], dtype: torch.dtype) -> dict[str, Tensor]:
    """The stored tensors by name, each file opened now and then; floating numbers in the given dtype."""
    found: dict[str, Tensor] = {}
    for file in sorted({entry.file for entry in entries.values()}):
        names = [name for name, entry in entries.items() if entry.file == file]
        while names:
            with opened(file) as shelf:
                taken = 0
                while names and taken < MAPPED_AT_ONCE:
                    name = names.pop(0)
                    tensor = shelf.get_tensor(entries[name].key)
                    found[name], taken = _cast(tensor, dtype), taken + tensor.nbytes
                del tensor
    return found


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file for reading; CheckpointError where the library finds it damaged, or the disk does."""
    try:
        with safe_open(file, framework="pt", device="cpu") as shelf:
            yield shelf
    except (SafetensorError, OSError) as reason:
        raise CheckpointError(
            f"The file {weights.short(file)} is damaged ({str(reason)[:120]}). Fetch it again."
        ) from reason


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def tied_names(module: nn.Module) -> set[str]:
    """Weights a language model does not store because they are its embedding table over again."""
    config = getattr(module, "config", None)
    ties = hasattr(module, "lm_head") and getattr(config, "tie_word_embeddings", False)
    return {"lm_head.weight"} if ties else set()


class Codes(nn.Module):
    """The two halves of the audio codes: sound's latents to codes (`tokenizer`) and back (`detokenizer`)."""

    def __init__(self, tokenizer: nn.Module, detokenizer: nn.Module):
        super().__init__()
        self.tokenizer = tokenizer
        self.detokenizer = detokenizer
