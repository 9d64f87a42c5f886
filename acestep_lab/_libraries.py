"""Where diffusers, transformers and peft come from: the one boundary through which every room imports them.

All three import torchaudio wherever it is installed, and a wheel that does not load takes them down with it. So torchaudio is
made harmless here (`patch_torchaudio`) in the moment before one of them is imported, and nothing is patched or imported
when a module of ours is. They are named at the top of a file as ever and are there when something of them is first used::

    from acestep_lab._libraries import diffusers, transformers

    vae = diffusers.AutoencoderOobleck(**config)

Only names for type checkers are imported from them directly, under `TYPE_CHECKING`. A test keeps all this true.
"""

from __future__ import annotations

import importlib
from typing import Any

from acestep_lab._torchaudio import patch_torchaudio


def load(module: str) -> Any:
    """A module of one of the libraries, imported after torchaudio has been made harmless."""
    patch_torchaudio()
    return importlib.import_module(module)


class Library:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, module: str):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspection (copy, pickle, doctest) asks everything it meets; it imports nothing
            raise AttributeError(name)
        return getattr(load(self._module), name)

    def __repr__(self) -> str:
        return f"Library({self._module!r})"


diffusers = Library("diffusers")
diffusers_embeddings = Library("diffusers.models.embeddings")
diffusers_hooks = Library("diffusers.hooks")
ace_step_modules = Library("diffusers.pipelines.ace_step.modeling_ace_step")
"""diffusers' condition encoder and audio tokenizers of ACE-Step 1.5."""
ace_step_transformer = Library("diffusers.models.transformers.ace_step_transformer")
diffusers_outputs = Library("diffusers.models.modeling_outputs")
oobleck = Library("diffusers.models.autoencoders.autoencoder_oobleck")
transformers = Library("transformers")
peft = Library("peft")
peft_layers = Library("peft.tuners.tuners_utils")
accelerate = Library("accelerate")
accelerate_utils = Library("accelerate.utils")
