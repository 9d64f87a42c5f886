"""What every test stands on: no network, one thread, and a torchaudio that cannot break anything."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from acestep_lab._torchaudio import cure

cure()
