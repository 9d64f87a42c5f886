"""Training of the pocket checkpoint, stage by stage: autoencoder, tokenizer, codes, transformer, planner, export."""

from acestep_lab._torchaudio import patch_torchaudio

patch_torchaudio()  # diffusers and transformers are imported by every stage
