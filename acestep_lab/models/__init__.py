"""Weights and where they live: the catalog, the loader, adapters, tiers of machines, and who is aboard.

Importing this room makes a broken torchaudio harmless, so that diffusers and transformers can be imported after it.
"""

from acestep_lab._torchaudio import patch_torchaudio

patch_torchaudio()
